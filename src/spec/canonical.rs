//! The digest of a model: SHA-256 of a canonical text that depends on what the model says, and not on comments,
//! formatting, the form of the operator, or the order in which things are declared.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::journey::Journey;
use crate::journey::operator::{BranchProbability, Operator};

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
        let mut domains: Vec<_> =
            component.domains.iter().map(|id| journey.domains[id.0].name.as_str()).collect();
        domains.sort_unstable();
        // A fleet has tens of thousands of them: with room for most.
        let mut fact = String::with_capacity(384);
        let _ = write!(
            fact,
            "component {:?} {:?} {:?} {:?} {domains:?} {:?} {:?}",
            component.name,
            component.kind,
            component.atomic_slo_ref,
            component.contract,
            component.telemetry,
            component.scope
        );
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

fn write_operator(journey: &Journey, operator: &Operator, out: &mut String) {
    let _ = match operator {
        Operator::Component(id) => write!(out, "{:?}", journey.components[id.0].name),
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
