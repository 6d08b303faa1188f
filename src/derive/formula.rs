//! How each operator is written and computed, in the notation of the paper and of the semantics.

use crate::derive::number::operand;
use crate::journey::Journey;
use crate::journey::operator::{BranchProbability, Jitter, Operator};

/// The head of an operator as the text form writes it: `Timeout(200ms)`, `Race`, `KofN(2)`, or the component's name.
#[must_use]
pub fn head(journey: &Journey, operator: &Operator) -> String {
    match operator {
        Operator::Component(id) => journey.components.get(id.0).map_or_else(String::new, |c| c.name.clone()),
        Operator::Series(_) => "Series".to_owned(),
        Operator::Parallel(_) => "Parallel".to_owned(),
        Operator::Cond(_) => "Cond".to_owned(),
        Operator::Race(_) => "Race".to_owned(),
        Operator::KofN { k, .. } => format!("KofN({k})"),
        Operator::Timeout { after, .. } => format!("Timeout({after})"),
        Operator::Fallback { .. } => "Fallback".to_owned(),
        Operator::Retry { attempts, per_try_timeout, backoff, .. } => {
            let timeout = per_try_timeout.map_or_else(String::new, |timeout| format!(", {timeout} each"));
            let wait = backoff.map_or_else(String::new, |backoff| {
                let jitter = if backoff.jitter == Jitter::Full { " with jitter" } else { "" };
                let growth =
                    if backoff.factor > 1.0 { format!(" ×{}", backoff.factor) } else { String::new() };
                format!(", backoff {}{growth}{jitter}", backoff.base)
            });
            format!("Retry({attempts}{timeout}{wait})")
        }
        Operator::Hedge { delay, .. } => format!("Hedge({delay})"),
        Operator::Optional { timeout, .. } => format!("Optional({timeout})"),
        Operator::Repeat { counts, .. } => match counts.as_slice() {
            [(count, _)] => format!("Repeat({count})"),
            _ => {
                let counts: Vec<_> =
                    counts.iter().take(4).map(|(n, p)| format!("{n}: {}", operand(p.get()))).collect();
                format!("Repeat({})", counts.join(", "))
            }
        },
    }
}

/// The name alone: `Timeout`, `Race`, or the component's name.
#[must_use]
pub fn name(head: &str) -> &str {
    head.split_once('(').map_or(head, |(name, _)| name)
}

/// The whole tree as the text form writes it, with its figures: `Series(front, Timeout(200ms; Race(paya, payb), queue))`.
#[must_use]
pub fn expression(journey: &Journey, operator: &Operator) -> String {
    let mut out = String::new();
    write_expression(journey, operator, &mut out);
    out
}

fn write_expression(journey: &Journey, operator: &Operator, out: &mut String) {
    let head = head(journey, operator);
    if let Operator::Component(_) = operator {
        out.push_str(&head);
        return;
    }
    match operator {
        Operator::Cond(branches) => {
            let mut shares: Vec<String> = branches
                .iter()
                .map(|branch| match branch.probability {
                    BranchProbability::Fixed(p) => p.get().to_string(),
                    BranchProbability::Parameter(id) => {
                        journey.parameters.get(id.0).map_or_else(String::new, |p| p.name.clone())
                    }
                    BranchProbability::Remainder => "_".to_owned(),
                })
                .collect();
            if shares.last().is_some_and(|last| last == "_") {
                shares.pop();
            }
            out.push_str("Cond(");
            out.push_str(&shares.join(", "));
            out.push_str("; ");
        }
        _ => match head.strip_suffix(')') {
            Some(figures) => {
                out.push_str(figures);
                out.push_str("; ");
            }
            None => {
                out.push_str(&head);
                out.push('(');
            }
        },
    }
    for (index, operand) in operator.children().into_iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        write_expression(journey, operand, out);
    }
    out.push(')');
}

/// P(success) from that of the operands, under independence; empty for a component.
#[must_use]
pub const fn availability(operator: &Operator) -> &'static str {
    match operator {
        Operator::Component(_) => "",
        Operator::Series(_) | Operator::Parallel(_) => "A = ∏ Aᵢ",
        Operator::Cond(_) => "A = Σ pᵢ Aᵢ",
        Operator::Race(_) => "A = 1 − ∏ (1 − Aᵢ)",
        Operator::KofN { .. } => "A = P(N ≥ k)",
        Operator::Timeout { fallback: Some(_), .. } => "A = q + (1 − q) A_f",
        Operator::Timeout { fallback: None, .. } => "A = q",
        Operator::Fallback { .. } | Operator::Hedge { .. } => "A = 1 − (1 − A₁)(1 − A₂)",
        Operator::Retry { .. } => "A = 1 − (1 − σ)ⁿ",
        Operator::Optional { .. } => "A = 1",
        Operator::Repeat { .. } => "A = Σ p(n) Aⁿ",
    }
}

/// P(success by t), or its density in small letters (`∗` convolves), from that of the operands (semantics §1); empty
/// for a component.
#[must_use]
pub const fn latency(operator: &Operator) -> &'static str {
    match operator {
        Operator::Component(_) => "",
        Operator::Series(_) => "s = s₁ ∗ s₂ ∗ …",
        Operator::Parallel(_) => "S(t) = ∏ Sᵢ(t)",
        Operator::Cond(_) => "S(t) = Σ pᵢ Sᵢ(t)",
        Operator::Race(_) => "S(t) = 1 − ∏ (1 − Sᵢ(t))",
        Operator::KofN { .. } => "S(t) = P(N(t) ≥ k)",
        Operator::Timeout { fallback: Some(_), .. } => "s = s·1{t ≤ T} + (1 − q) δ_T ∗ s_f",
        Operator::Timeout { fallback: None, .. } => "s = s·1{t ≤ T}",
        Operator::Fallback { .. } => "s = s₁ + r₁ ∗ s₂",
        Operator::Retry { .. } => "attempt k = Fallback(Timeout(T; X), Delay(b_k, next))",
        Operator::Hedge { .. } => "S(t) = 1 − (1 − S₁(t))(1 − S₂(t − d))",
        Operator::Optional { .. } => "S(t) = (S + R)(t) before T, 1 from T on",
        Operator::Repeat { .. } => "s = Σ p(n) s ∗ … ∗ s (n times)",
    }
}
