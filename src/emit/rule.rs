//! Rules and their groups, and the documents that platforms read them from.

use std::borrow::Cow;

use super::Target;
use super::decimal::push_count;
use super::yaml::Writer;

/// Labels of a rule, in this order.
pub(crate) type Labels = Vec<(Cow<'static, str>, String)>;

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    Record {
        name: String,
        expr: String,
        labels: Labels,
    },
    Alert {
        name: &'static str,
        expr: String,
        hold_minutes: u64,
        keep_minutes: u64,
        labels: Labels,
        annotations: Vec<(&'static str, String)>,
    },
}

/// Rules evaluated one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) rules: Vec<Rule>,
}

/// A duration in Prometheus' notation.
pub(crate) fn minutes(count: u64) -> String {
    let mut text = String::with_capacity(8);
    let (count, unit) =
        if count >= 60 && count.is_multiple_of(60) { (count / 60, 'h') } else { (count, 'm') };
    push_count(count, &mut text);
    text.push(unit);
    text
}

/// Texts by name, in this order.
pub(crate) fn pairs<'p, K: AsRef<str> + 'p>(
    out: &mut Writer<'_>,
    pairs: impl IntoIterator<Item = &'p (K, String)>,
) {
    for (key, value) in pairs {
        out.named(key.as_ref(), value);
    }
}

impl Rule {
    fn write(&self, out: &mut Writer<'_>) {
        match self {
            Self::Record { name, expr, labels } => {
                out.text("record", name).text("expr", expr);
                if !labels.is_empty() {
                    out.map("labels", |out| pairs(out, labels));
                }
            }
            Self::Alert { name, expr, hold_minutes, keep_minutes, labels, annotations } => {
                out.text("alert", name).text("expr", expr);
                if *hold_minutes > 0 {
                    out.word("for", &minutes(*hold_minutes));
                }
                if *keep_minutes > 0 {
                    out.word("keep_firing_for", &minutes(*keep_minutes));
                }
                out.map("labels", |out| pairs(out, labels));
                out.map("annotations", |out| pairs(out, annotations));
            }
        }
    }
}

fn write_groups(groups: &[Group], out: &mut Writer<'_>) {
    out.list("groups", |out| {
        for group in groups.iter().filter(|group| !group.rules.is_empty()) {
            out.item(|out| {
                out.text("name", &group.name).list("rules", |out| {
                    for rule in &group.rules {
                        out.item(|out| rule.write(out));
                    }
                });
            });
        }
    });
}

/// The document of these groups for a platform, behind its provenance or around it; `name` is that of the object, where it
/// is one.
pub(crate) fn document(name: &str, header: &str, of: &[Group], target: Target) -> String {
    let mut text = String::with_capacity(1 << 14);
    let mut out = Writer::new(&mut text);
    let (version, kind) = match target {
        Target::Prometheus => {
            write_groups(of, out.comment(header));
            return text;
        }
        Target::Operator => ("monitoring.coreos.com/v1", "PrometheusRule"),
        Target::Vm => ("operator.victoriametrics.com/v1beta1", "VMRule"),
    };
    object(&mut out, version, kind, name);
    out.map("spec", |out| write_groups(of, out.comment(header)));
    text
}

/// What stands before the `spec` of an object of Kubernetes.
pub(crate) fn object(out: &mut Writer<'_>, version: &'static str, kind: &'static str, name: &str) {
    out.word("apiVersion", version).word("kind", kind).map("metadata", |out| {
        out.text("name", name).map("labels", |out| {
            out.word("app.kubernetes.io/managed-by", "emac");
        });
    });
}
