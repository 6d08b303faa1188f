//! One step of a derivation: an operator, its formula with the numbers put in, and what comes out.

use serde::Serialize;

use super::derivation::AvailabilityResult;
use super::formula;
use super::number::{operand, time};
use crate::algebra::composition::NodeResult;
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::journey::operator::{Branch, BranchProbability, Operator};
use crate::unit::Seconds;

/// Operands of a formula are spelled out up to this many; the rest is elided, since nobody checks them by hand.
const SPELLED_OUT: usize = 6;

/// A number that enters a formula.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Input {
    /// What it is, such as `A(front)` or `p(cache)`.
    pub name: String,
    /// Its value in the estimate; `None` where nothing is known.
    pub value: Option<f64>,
}

/// One operator or component, and what is below it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The head as the text form writes it: `Timeout(200ms)`, `Race`, or the component's name.
    pub operator: String,
    /// The operator's keyword; `ref` for a component.
    pub keyword: &'static str,
    /// The formula in the notation of the paper; empty for a component.
    pub formula: &'static str,
    /// How its latency follows from that of the operands; empty for a component.
    pub latency_formula: &'static str,
    /// The formula of the estimate with its inputs put in, and its result; empty for a component.
    pub substituted: String,
    /// The numbers that enter the formula.
    pub inputs: Vec<Input>,
    /// P(success), three ways and under each assumption.
    pub availability: AvailabilityResult,
    /// The estimate of the journey's main latency quantile for this subtree alone, given success.
    #[serde(serialize_with = "time")]
    pub latency_estimate: Seconds,
    /// The operands in their order.
    pub children: Vec<Step>,
}

impl Step {
    /// The step of `operator` whose results are `node`; both trees have the same shape.
    pub(super) fn new(
        journey: &Journey,
        evidence: &Evidence,
        operator: &Operator,
        node: &NodeResult,
    ) -> Self {
        let operators = operator.children();
        let children: Vec<_> = operators
            .iter()
            .zip(&node.children)
            .map(|(operator, node)| Self::new(journey, evidence, operator, node))
            .collect();
        let (substituted, inputs) = substitute(journey, evidence, operator, node, &children);
        Self {
            operator: formula::head(journey, operator),
            keyword: operator.keyword(),
            formula: formula::availability(operator),
            latency_formula: formula::latency(operator),
            substituted,
            inputs,
            availability: AvailabilityResult::new(&node.availability, &node.by_dependence),
            latency_estimate: node.latency_estimate,
            children,
        }
    }

    /// The formula and the numbers put in, as one equation: `A = ∏ Aᵢ = 0.99 × 0.99 = 0.9801`.
    #[must_use]
    pub fn equation(&self) -> String {
        match (self.formula, self.substituted.as_str()) {
            (formula, substituted) if formula.strip_prefix("A = ") == Some(substituted) => formula.to_owned(),
            ("", substituted) => substituted.to_owned(),
            (formula, substituted) => format!("{formula} = {substituted}"),
        }
    }

    /// This step and all below it, parents first, with their depth.
    pub fn walk<'a>(&'a self, depth: usize, visit: &mut impl FnMut(usize, &'a Self)) {
        visit(depth, self);
        for child in &self.children {
            child.walk(depth + 1, visit);
        }
    }
}

/// The probability of each branch of a Cond; `None` where a parameter is unknown, is no probability, or contradicts
/// the others.
#[must_use]
pub fn branch_probabilities(evidence: &Evidence, branches: &[Branch]) -> Vec<Option<f64>> {
    /// How far probabilities may miss their sum before they contradict each other.
    const TOLERANCE: f64 = 1e-6;
    let measured = |index: usize| {
        let value = evidence.parameters.get(index).copied().flatten();
        value.filter(|value| (0.0..=1.0).contains(value))
    };
    let given = |branch: &Branch| match branch.probability {
        BranchProbability::Fixed(p) => Some(Some(p.get())),
        BranchProbability::Parameter(id) => Some(measured(id.0)),
        BranchProbability::Remainder => None,
    };
    let sum: Option<f64> = branches.iter().filter_map(given).sum();
    let complete = branches.iter().all(|branch| given(branch).is_some());
    let consistent = |sum: f64| sum <= 1.0 + TOLERANCE && (!complete || sum >= 1.0 - TOLERANCE);
    let rest = sum.filter(|sum| consistent(*sum)).map(|sum| (1.0 - sum).max(0.0));
    let of = |branch| match (given(branch), branch.probability) {
        (None, _) => rest,
        (Some(_), BranchProbability::Parameter(_)) if sum.is_some() && rest.is_none() => None,
        (Some(p), _) => p,
    };
    branches.iter().map(of).collect()
}

/// The estimate's formula with numbers, and the numbers by name.
fn substitute(
    journey: &Journey,
    evidence: &Evidence,
    operator: &Operator,
    node: &NodeResult,
    operands: &[Step],
) -> (String, Vec<Input>) {
    let result = node.availability.estimate.get();
    let heads: Vec<&str> = operands.iter().map(|operand| operand.operator.as_str()).collect();
    let a: Vec<f64> = node.children.iter().map(|child| child.availability.estimate.get()).collect();
    let mut inputs: Vec<Input> = heads
        .iter()
        .zip(&a)
        .map(|(head, value)| Input { name: ["A(", head, ")"].concat(), value: Some(*value) })
        .collect();
    let mut given = |name: String, value: Option<f64>| inputs.push(Input { name, value });
    let first = a.first().copied().unwrap_or(1.0);
    let second = a.get(1).copied().unwrap_or(0.0);
    let text = match operator {
        Operator::Component(_) => return (String::new(), Vec::new()),
        Operator::Series(_) | Operator::Parallel(_) => joined(&a, " × ", |p| operand(*p)),
        Operator::Race(_) | Operator::Fallback { .. } => unless_all_fail(&a),
        Operator::Hedge { delay, .. } => {
            given("delay_seconds".to_owned(), Some(delay.get()));
            unless_all_fail(&a)
        }
        Operator::Cond(branches) => {
            let weights = branch_probabilities(evidence, branches);
            for ((weight, branch), head) in weights.iter().zip(branches).zip(&heads) {
                let name = match branch.probability {
                    BranchProbability::Parameter(id) => {
                        journey.parameters.get(id.0).map_or_else(String::new, |p| p.name.clone())
                    }
                    BranchProbability::Fixed(_) | BranchProbability::Remainder => {
                        format!("p({head})")
                    }
                };
                given(name, *weight);
            }
            let terms: Vec<_> = weights.iter().zip(&a).collect();
            joined(&terms, " + ", |(weight, p)| {
                format!("{} × {}", weight.map_or_else(|| "?".to_owned(), operand), operand(**p))
            })
        }
        Operator::KofN { k, .. } => {
            given("k".to_owned(), Some(count(*k)));
            format!("P(at least {k} of {}: {})", a.len(), joined(&a, ", ", |p| operand(*p)))
        }
        Operator::Timeout { after, fallback, .. } => {
            given("after_seconds".to_owned(), Some(after.get()));
            if fallback.is_none() {
                given("q".to_owned(), Some(result));
                "P(success in time)".to_owned()
            } else {
                // The node tells A and A_f; q is what makes the formula hold.
                let q = if second < 1.0 { ((result - second) / (1.0 - second)).clamp(0.0, 1.0) } else { 1.0 };
                given("q".to_owned(), (second < 1.0).then_some(q));
                if second < 1.0 {
                    format!("{} + (1 − {}) × {}", operand(q), operand(q), operand(second))
                } else {
                    "q + (1 − q) × 1".to_owned()
                }
            }
        }
        Operator::Retry { attempts, .. } => {
            let n = f64::from(*attempts);
            let sigma = 1.0 - (1.0 - result).powf(1.0 / n);
            given("attempts".to_owned(), Some(n));
            given("sigma".to_owned(), Some(sigma));
            format!("1 − (1 − {})^{attempts}", operand(sigma))
        }
        Operator::Optional { timeout, .. } => {
            given("timeout_seconds".to_owned(), Some(timeout.get()));
            String::new()
        }
        Operator::Repeat { counts, .. } => {
            for (times, p) in counts {
                given(format!("p({times})"), Some(p.get()));
            }
            joined(counts, " + ", |(times, p)| format!("{} × {}^{times}", operand(p.get()), operand(first)))
        }
    };
    let result = operand(result);
    let text = if text.is_empty() || text == result { result } else { format!("{text} = {result}") };
    (text, inputs)
}

fn count(k: usize) -> f64 {
    f64::from(u32::try_from(k).unwrap_or(u32::MAX))
}

fn unless_all_fail(a: &[f64]) -> String {
    format!("1 − {}", joined(a, " × ", |p| format!("(1 − {})", operand(*p))))
}

fn joined<T>(items: &[T], separator: &str, show: impl Fn(&T) -> String) -> String {
    let shown: Vec<_> = items.iter().take(SPELLED_OUT).map(show).collect();
    let mut text = shown.join(separator);
    if items.len() > SPELLED_OUT {
        text += &format!("{separator}… ({} in all)", items.len());
    }
    text
}
