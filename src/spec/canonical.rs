//! The digest of a model: SHA-256 of a canonical text that depends on what the model says, and not on comments,
//! formatting, the form of the operator, or the order in which things are declared.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::journey::Journey;
use crate::journey::component::{
    Component, ComponentKind, HistogramType, LatencyScope, LatencyUnit, Telemetry,
};
use crate::journey::operator::{BranchProbability, Operator};
use crate::series::{MatchOp, Matcher};

/// The first line; it changes with the meaning of the rest.
const VERSION: &str = "emac-model-1";

/// In hex.
pub(crate) fn digest(journey: &Journey) -> String {
    let mut hex = String::with_capacity(64);
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in Sha256::digest(text(journey).as_bytes()) {
        hex.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
    }
    hex
}

/// One fact a line. Numbers print shortest and exactly; text is quoted, so that no name can forge a line.
fn text(journey: &Journey) -> String {
    let mut facts = vec![format!("journey {:?}", journey.name)];
    let mut labels = journey.labels.clone();
    labels.sort();
    facts.push(format!("labels {labels:?}"));
    facts.push(format!("objectives {:?}", journey.objectives));
    facts.push(format!("windows {:?}", journey.windows));
    facts.push(format!("quantiles {:?}", journey.quantiles));
    facts.push(format!("latency_buckets {:?}", journey.latency_buckets));
    facts.push(format!("governance {:?}", journey.governance));
    let mut tables = Vec::new();
    for component in &journey.components {
        // A fleet has tens of thousands of them: with room for most.
        let mut fact = String::with_capacity(384);
        write_component(journey, component, &mut fact);
        tables.push(fact);
    }
    tables.extend(journey.domains.iter().map(|domain| format!("domain {domain:?}")));
    tables.extend(journey.parameters.iter().map(|parameter| format!("parameter {parameter:?}")));
    tables.extend(journey.variants.iter().map(|variant| {
        let mut components: Vec<_> =
            variant.components.iter().map(|id| journey.components[id.0].name.as_str()).collect();
        components.sort_unstable();
        let mut matchers: Vec<String> = variant.matchers.iter().map(ToString::to_string).collect();
        matchers.sort_unstable();
        format!("variant {:?} {components:?} {matchers:?} {:?}", variant.name, variant.pod_hash_label)
    }));
    tables.sort_unstable();
    facts.extend(tables);
    let mut operator = String::from("operator ");
    write_operator(journey, &journey.operator, &mut operator);
    facts.push(operator);
    facts.insert(0, VERSION.to_owned());
    facts.push(String::new());
    facts.join("\n")
}

/// Field by field, as `{:?}` writes them: the formatter's own way costs more than all else that is read of a component.
fn write_component(journey: &Journey, component: &Component, out: &mut String) {
    let mut domains: Vec<_> =
        component.domains.iter().map(|id| journey.domains[id.0].name.as_str()).collect();
    domains.sort_unstable();
    let Component { name, kind, atomic_slo_ref, contract, telemetry, scope, .. } = component;
    out.push_str("component ");
    write_text(name, out);
    out.push_str(match kind {
        ComponentKind::Service => " Service ",
        ComponentKind::ExternalDependency => " ExternalDependency ",
    });
    match (atomic_slo_ref, contract) {
        (None, None) => out.push_str("None None"),
        _ => {
            let _ = write!(out, "{atomic_slo_ref:?} {contract:?}");
        }
    }
    out.push(' ');
    write_list(&domains, out, |domain, out| write_text(domain, out));
    out.push(' ');
    match telemetry {
        Some(Telemetry::Histogram { metric, matchers, success, unit, histogram_type }) => {
            out.push_str("Some(Histogram { metric: ");
            write_text(metric, out);
            out.push_str(", matchers: ");
            write_list(matchers, out, write_matcher);
            out.push_str(", success: ");
            write_list(success, out, write_matcher);
            out.push_str(match unit {
                LatencyUnit::Seconds => ", unit: Seconds",
                LatencyUnit::Milliseconds => ", unit: Milliseconds",
            });
            out.push_str(match histogram_type {
                HistogramType::Classic => ", histogram_type: Classic })",
                HistogramType::Native => ", histogram_type: Native })",
            });
        }
        other => {
            let _ = write!(out, "{other:?}");
        }
    }
    out.push_str(match scope {
        LatencyScope::Exclusive => " Exclusive",
        LatencyScope::Inclusive => " Inclusive",
    });
}

fn write_matcher(matcher: &Matcher, out: &mut String) {
    out.push_str("Matcher { name: ");
    write_text(&matcher.name, out);
    out.push_str(match matcher.op {
        MatchOp::Equal => ", op: Equal, value: ",
        MatchOp::NotEqual => ", op: NotEqual, value: ",
        MatchOp::Regex => ", op: Regex, value: ",
        MatchOp::NotRegex => ", op: NotRegex, value: ",
    });
    write_text(&matcher.value, out);
    out.push_str(" }");
}

fn write_list<T>(items: &[T], out: &mut String, write: impl Fn(&T, &mut String)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        write(item, out);
    }
    out.push(']');
}

/// In quotes; whatever is not plain ASCII as the formatter escapes it.
fn write_text(text: &str, out: &mut String) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        let _ = write!(out, "{text:?}");
    }
}

fn write_operator(journey: &Journey, operator: &Operator, out: &mut String) {
    let _ = match operator {
        Operator::Component(id) => {
            write_text(&journey.components[id.0].name, out);
            Ok(())
        }
        Operator::Cond(branches) => {
            out.push_str("cond");
            for branch in branches {
                let _ = match branch.probability {
                    BranchProbability::Fixed(p) => write!(out, " {:?}", p.get()),
                    BranchProbability::Parameter(id) => write!(out, " {:?}", journey.parameters[id.0].name),
                    BranchProbability::Remainder => write!(out, " _"),
                };
            }
            Ok(())
        }
        Operator::KofN { k, .. } => write!(out, "kofn {k}"),
        Operator::Timeout { after, fallback, .. } => {
            write!(out, "timeout {:?} {}", after.get(), fallback.is_some())
        }
        Operator::Retry { attempts, per_try_timeout, backoff, fate, .. } => {
            write!(out, "retry {attempts} {per_try_timeout:?} {backoff:?} {fate:?}")
        }
        Operator::Hedge { delay, .. } => write!(out, "hedge {:?}", delay.get()),
        Operator::Optional { timeout, .. } => write!(out, "optional {:?}", timeout.get()),
        Operator::Repeat { counts, .. } => write!(out, "repeat {counts:?}"),
        Operator::Series(_) | Operator::Parallel(_) | Operator::Race(_) | Operator::Fallback { .. } => {
            write!(out, "{}", operator.keyword())
        }
    };
    let children = operator.children();
    if !children.is_empty() {
        out.push('(');
        for child in children {
            write_operator(journey, child, out);
            out.push(',');
        }
        out.push(')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::component::ComponentId;
    use crate::journey::domain::{DomainId, DomainLatency, FailureDomain};
    use crate::journey::fixture;
    use crate::unit::Probability;

    #[test]
    fn a_component_is_written_as_the_formatter_writes_its_fields() {
        let component = Component {
            name: "a/b".to_owned(),
            kind: ComponentKind::Service,
            atomic_slo_ref: None,
            contract: None,
            domains: vec![DomainId(0), DomainId(1)],
            scope: LatencyScope::Exclusive,
            telemetry: None,
        };
        let mut journey = fixture::journey(Operator::Component(ComponentId(0)), vec![component]);
        let domain = |name: &str| FailureDomain {
            name: name.to_owned(),
            declared: true,
            description: None,
            latency: DomainLatency::Shared,
        };
        journey.domains = vec![domain("zone"), domain("\"a")];
        let texts = ["a", "a b'c", "\"q\"", "5..\\d", "ä\u{301}\n\u{7f}", ""];
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let matchers: Vec<Matcher> = texts
            .iter()
            .zip(ops.iter().cycle())
            .map(|(text, op)| Matcher { name: (*text).to_owned(), op: *op, value: (*text).to_owned() })
            .collect();
        let histogram = |matchers: &[Matcher], unit, histogram_type| Telemetry::Histogram {
            metric: "m".to_owned(),
            matchers: matchers.to_vec(),
            success: matchers.iter().take(1).cloned().collect(),
            unit,
            histogram_type,
        };
        let telemetries = [
            None,
            Some(Telemetry::Ratio { query: "a\"b".to_owned() }),
            Some(histogram(&[], LatencyUnit::Seconds, HistogramType::Classic)),
            Some(histogram(&matchers, LatencyUnit::Milliseconds, HistogramType::Native)),
        ];
        for telemetry in telemetries {
            for (kind, scope, slo) in [
                (ComponentKind::Service, LatencyScope::Exclusive, None),
                (ComponentKind::ExternalDependency, LatencyScope::Inclusive, Some("openslo:a".to_owned())),
            ] {
                let component = &mut journey.components[0];
                component.kind = kind;
                component.scope = scope;
                component.contract = slo.as_ref().map(|_| Probability::new(0.99).unwrap());
                component.atomic_slo_ref = slo;
                component.telemetry = telemetry.clone();
                let component = &journey.components[0];
                let mut written = String::new();
                write_component(&journey, component, &mut written);
                let Component { name, kind, atomic_slo_ref, contract, telemetry, scope, .. } = component;
                let domains = ["\"a", "zone"];
                assert_eq!(
                    written,
                    format!(
                        "component {name:?} {kind:?} {atomic_slo_ref:?} {contract:?} {domains:?} {telemetry:?} {scope:?}"
                    )
                );
            }
        }
    }
}
