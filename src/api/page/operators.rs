//! The operator tree as nested boxes with their numbers.

use maud::{Markup, html};

use crate::derive::Derivation;
use crate::derive::derivation::DomainResult;
use crate::derive::number::{operand, percent, seconds};
use crate::derive::step::Step;
use crate::journey::operator::{Branch, Operator};
use crate::journey::{Journey, operator::BranchProbability};
use crate::unit::Seconds;

/// Boxes nested deeper than this are left out; the JSON has them all.
const DEEPEST: usize = 24;

/// Draws the tree of a journey.
#[must_use]
pub fn boxes(journey: &Journey, derivation: &Derivation, quantile: &str) -> Markup {
    let drawing = Drawing { journey, derivation, quantile };
    html! { div.operators { (drawing.node(&journey.operator, &derivation.derivation, None, 0)) } }
}

struct Drawing<'a> {
    journey: &'a Journey,
    derivation: &'a Derivation,
    quantile: &'a str,
}

impl Drawing<'_> {
    fn node(&self, operator: &Operator, step: &Step, edge: Option<String>, depth: usize) -> Markup {
        if depth > DEEPEST {
            return html! { div.op.leaf { "…" } };
        }
        if let Operator::Component(id) = operator {
            return self.leaf(id.0, step, edge);
        }
        let edges = self.edges(operator);
        html! {
            section class=(format!("op {}", step.keyword)) {
                (head(step, edge, self.quantile, &[]))
                div.kids {
                    @for ((index, child), operator) in step.children.iter().enumerate().zip(operator.children()) {
                        (self.node(operator, child, edges.get(index).cloned().flatten(), depth + 1))
                    }
                }
            }
        }
    }

    fn leaf(&self, index: usize, step: &Step, edge: Option<String>) -> Markup {
        let component = self.derivation.components.get(index);
        let dominant = self.derivation.dominant_component().map(|component| component.name.as_str());
        let mut tags = Vec::new();
        if let Some(component) = component {
            if component.evidence.kind == "vacuous" {
                tags.push(("missing", "! no evidence"));
            } else if !component.evidence.reasons.is_empty() {
                tags.push(("flawed", "! flawed evidence"));
            }
            if dominant == Some(component.name.as_str()) {
                tags.push(("dominant", "dominant"));
            }
            if self.dominant_domain().is_some_and(|domain| component.domains.contains(&domain.name)) {
                tags.push(("dominant", "dominant domain"));
            }
        }
        let class: String = tags.iter().map(|(class, _)| format!(" {class}")).collect();
        html! { div class=(format!("op leaf{class}")) { (head(step, edge, self.quantile, &tags)) } }
    }

    /// The failure domain that costs most, where sharing its fate costs more than any component by itself.
    fn dominant_domain(&self) -> Option<&DomainResult> {
        let component = self.derivation.dominant_component().map_or(0.0, |component| component.budget_share);
        self.derivation.dominant_domain().filter(|domain| domain.budget_share > component)
    }

    /// What stands above each operand.
    fn edges(&self, operator: &Operator) -> Vec<Option<String>> {
        match operator {
            Operator::Cond(branches) => branches.iter().map(|branch| Some(self.branch(branch))).collect(),
            Operator::Timeout { after, .. } => {
                vec![Some(format!("within {}", seconds(*after))), Some(format!("after {}", seconds(*after)))]
            }
            Operator::Fallback { .. } => vec![None, Some("when that fails".to_owned())],
            Operator::Hedge { delay, .. } => vec![None, Some(format!("also after {}", seconds(*delay)))],
            Operator::Optional { timeout, .. } => vec![Some(format!("at most {}", seconds(*timeout)))],
            _ => Vec::new(),
        }
    }

    fn branch(&self, branch: &Branch) -> String {
        match branch.probability {
            BranchProbability::Fixed(p) => format!("p = {}", operand(p.get())),
            BranchProbability::Remainder => "else".to_owned(),
            BranchProbability::Parameter(id) => {
                let name = self.journey.parameters.get(id.0).map_or("p", |parameter| parameter.name.as_str());
                match self.derivation.evidence.parameters.get(name).copied().flatten() {
                    Some(value) => format!("{name} = {}", operand(value)),
                    None => format!("{name} unknown"),
                }
            }
        }
    }
}

/// The label and the numbers of one box.
fn head(step: &Step, edge: Option<String>, quantile: &str, tags: &[(&str, &str)]) -> Markup {
    let availability = &step.availability;
    let bound = format!("at least {} under the policy's dependence", percent(availability.pessimistic));
    html! {
        @if let Some(edge) = edge { span.edge { (edge) } }
        div.head {
            span.name { (step.operator) }
            span.numbers {
                span title="estimated availability" { (percent(availability.estimate)) }
                span.bound title=(bound) { "≥ " (percent(availability.pessimistic)) }
                @if step.latency_estimate != Seconds::ZERO {
                    span.latency title=(format!("estimated {quantile} of this part alone, given success")) {
                        (quantile) " " (seconds(step.latency_estimate))
                    }
                }
            }
            @for (class, text) in tags { span class=(format!("tag {class}")) { (text) } }
            @if !step.substituted.is_empty() {
                details.formula {
                    summary { "formula" }
                    p { (step.equation()) }
                    @if !step.latency_formula.is_empty() { p { (step.latency_formula) } }
                }
            }
        }
    }
}
