//! Rules and their groups, and the documents that platforms read them from.

use std::borrow::Cow;

use super::Target;
use super::yaml::{Yaml, map};

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    Record {
        name: String,
        expr: String,
        labels: Vec<(String, String)>,
    },
    Alert {
        name: &'static str,
        expr: String,
        hold_minutes: u64,
        keep_minutes: u64,
        labels: Vec<(String, String)>,
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
    if count >= 60 && count.is_multiple_of(60) { format!("{}h", count / 60) } else { format!("{count}m") }
}

/// A mapping of texts.
pub(crate) fn table<K: Clone + Into<Cow<'static, str>>>(pairs: &[(K, String)]) -> Yaml {
    Yaml::Map(pairs.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect())
}

impl Rule {
    fn yaml(&self) -> Yaml {
        let mut fields: Vec<(Cow<'static, str>, Yaml)> = Vec::new();
        let mut push = |key: &'static str, value: Yaml| fields.push((key.into(), value));
        match self {
            Self::Record { name, expr, labels } => {
                push("record", name.clone().into());
                push("expr", expr.clone().into());
                if !labels.is_empty() {
                    push("labels", table(labels));
                }
            }
            Self::Alert { name, expr, hold_minutes, keep_minutes, labels, annotations } => {
                push("alert", (*name).into());
                push("expr", expr.clone().into());
                if *hold_minutes > 0 {
                    push("for", minutes(*hold_minutes).into());
                }
                if *keep_minutes > 0 {
                    push("keep_firing_for", minutes(*keep_minutes).into());
                }
                push("labels", table(labels));
                push("annotations", table(annotations));
            }
        }
        Yaml::Map(fields)
    }
}

fn groups(groups: &[Group]) -> Yaml {
    let group = |group: &Group| {
        map([
            ("name", group.name.clone().into()),
            ("rules", Yaml::List(group.rules.iter().map(Rule::yaml).collect())),
        ])
    };
    Yaml::List(groups.iter().filter(|group| !group.rules.is_empty()).map(group).collect())
}

/// The document of these groups for a platform; `name` is that of the object, where it is one.
pub(crate) fn document(name: String, of: &[Group], target: Target) -> Yaml {
    let object = |name: String, version: &'static str, kind: &'static str| {
        map([
            ("apiVersion", version.into()),
            ("kind", kind.into()),
            (
                "metadata",
                map([
                    ("name", name.into()),
                    ("labels", map([("app.kubernetes.io/managed-by", "emac".into())])),
                ]),
            ),
            ("spec", map([("groups", groups(of))])),
        ])
    };
    match target {
        Target::Prometheus => map([("groups", groups(of))]),
        Target::Operator => object(name, "monitoring.coreos.com/v1", "PrometheusRule"),
        Target::Vm => object(name, "operator.victoriametrics.com/v1beta1", "VMRule"),
    }
}
