//! The tables of a journey: objectives, budgets, components, domains.

use maud::{Markup, html};

use super::view::JourneyView;
use crate::algebra::verdict::Verdict;
use crate::derive::Derivation;
use crate::derive::number::{percent, seconds, share, significant, times};
use crate::derive::text::{measured, percentile};
use crate::unit::{Probability, Seconds};

/// The verdict as a badge: symbol and word, never colour alone.
#[must_use]
pub fn badge(verdict: Verdict) -> Markup {
    let symbol = match verdict {
        Verdict::Pass => "✓",
        Verdict::Block => "✕",
        Verdict::Review => "?",
    };
    html! { span class=(format!("badge {verdict}")) { span aria-hidden="true" { (symbol) " " } (verdict) } }
}

/// Objectives beside what is estimated, bounded and observed.
#[must_use]
pub fn objectives(view: &JourneyView, derivation: &Derivation) -> Markup {
    let observed = view.shown.as_ref().is_some_and(|shown| shown.observed.is_some());
    let objectives = &derivation.objectives;
    let head = |text: &str| html! { th.number scope="col" { (text) } };
    html! {
        table.objectives.stack {
            caption { "Objectives" }
            thead { tr {
                th scope="col" { span.visually-hidden { "objective of" } }
                (head("objective")) (head("estimate")) (head("pessimistic"))
                @if observed { (head("observed")) }
                (head("optimistic")) (head("margin"))
            } }
            tbody {
                @if let Some(objective) = &objectives.availability {
                    @let value = &derivation.availability;
                    @let missed = objective.margin.pessimistic < 0.0;
                    tr {
                        th scope="row" { "availability" span.unit { " over " (objective.window) } }
                        td.number data-label="objective" { "≥ " (percent(objective.target)) }
                        td.number data-label="estimate" { (mark(value.estimate < objective.target)) (percent(value.estimate)) }
                        td.number.strong data-label="pessimistic" { (mark(missed)) (percent(value.pessimistic)) }
                        @if observed {
                            td.number data-label="observed" { (optional_percent(view.observed_availability(), objective.target)) }
                        }
                        td.number data-label="optimistic" { (percent(value.optimistic)) }
                        td.number data-label="margin" { (points(objective.margin.pessimistic)) }
                    }
                }
                @if let Some(objective) = &objectives.latency {
                    @let value = derivation.latency.get(&objective.quantile);
                    tr {
                        th scope="row" { (percentile(&objective.quantile)) " latency" span.unit { " over " (objective.window) } }
                        td.number data-label="objective" { "≤ " (seconds(objective.threshold)) }
                        @if let Some(value) = value {
                            td.number data-label="estimate" { (mark(value.estimate > objective.threshold)) (seconds(value.estimate)) }
                            td.number.strong data-label="pessimistic" {
                                (mark(value.pessimistic > objective.threshold)) (seconds(value.pessimistic))
                            }
                        } @else {
                            td.number data-label="estimate" { "?" } td.number data-label="pessimistic" { "?" }
                        }
                        @if observed {
                            td.number data-label="observed" { (optional_time(view.observed_latency(), objective.threshold)) }
                        }
                        td.number data-label="optimistic" { (value.map_or_else(|| "?".to_owned(), |value| seconds(value.optimistic))) }
                        td.number data-label="margin" {
                            (objective.margin.map_or_else(|| "?".to_owned(), |margin| signed(margin.pessimistic)))
                        }
                    }
                }
            }
        }
    }
}

/// A missed objective, in a sign that needs no colour.
fn mark(missed: bool) -> Markup {
    html! { @if missed { span.missed title="misses the objective" { "✕ " } } }
}

fn optional_percent(value: Option<Probability>, target: Probability) -> Markup {
    html! { @match value { Some(value) => { (mark(value < target)) (percent(value)) }, None => "not seen" } }
}

fn optional_time(value: Option<Seconds>, threshold: Seconds) -> Markup {
    html! { @match value { Some(value) => { (mark(value > threshold)) (seconds(value)) }, None => "not seen" } }
}

/// A difference of probabilities in percentage points.
fn points(margin: f64) -> String {
    let sign = if margin < 0.0 { "−" } else { "+" };
    format!("{sign}{} pp", significant(100.0 * margin.abs(), 3))
}

fn signed(margin: f64) -> String {
    let sign = if margin < 0.0 { "−" } else { "+" };
    let magnitude = Seconds::new(margin.abs()).map_or_else(|_| "?".to_owned(), seconds);
    format!("{sign}{}", magnitude.trim_start_matches('+'))
}

/// How fast each window burns the budgets.
#[must_use]
pub fn budgets(view: &JourneyView) -> Markup {
    let shown = view.shown.as_ref().map(|shown| shown.window);
    html! {
        table.budgets.stack {
            caption { "Burn rate" span.unit { " estimate ≤ pessimistic; 1× lasts exactly the period" } }
            thead { tr {
                th scope="col" { "window" }
                th.number scope="col" { "errors" }
                th.number scope="col" { "slowness" }
                th scope="col" { "verdict" }
            } }
            tbody {
                @for window in &view.windows {
                    tr aria-current=[(Some(window.window) == shown).then_some("true")] {
                        th scope="row" { (window.window) }
                        td.number data-label="errors" { (burn(window.availability_burn)) }
                        td.number data-label="slowness" { (burn(window.latency_burn)) }
                        td data-label="verdict" { (badge(window.verdict)) }
                    }
                }
            }
        }
    }
}

fn burn(rates: Option<(f64, f64)>) -> Markup {
    html! {
        @match rates {
            Some((estimate, pessimistic)) => {
                span.estimate-rate { (times(estimate)) }
                " ≤ "
                span class=(if pessimistic > 1.0 { "burning" } else { "calm" }) {
                    @if pessimistic > 1.0 { span title="burns faster than the budget allows" { "▲ " } }
                    (times(pessimistic))
                }
            }
            None => "no objective",
        }
    }
}

/// The first `most` components by their share of the unavailability, with what was measured of each.
#[must_use]
pub fn components(derivation: &Derivation, most: usize) -> Markup {
    let mut sorted: Vec<_> = derivation.components.iter().collect();
    // Bad evidence first: it is what a person must act on; then by what costs most.
    sorted.sort_by(|a, b| {
        let flawed = |c: &crate::derive::derivation::ComponentResult| c.evidence.reasons.is_empty();
        flawed(a).cmp(&flawed(b)).then(b.budget_share.total_cmp(&a.budget_share))
    });
    let left_out = sorted.len().saturating_sub(most);
    html! {
        table.components.stack {
            caption { "Components" span.unit { " by their share of the unavailability" } }
            thead { tr {
                th scope="col" { "component" }
                th.number scope="col" { "availability" }
                th scope="col" { "of the unavailability" }
                th scope="col" { "of the latency" }
                th.number scope="col" { "sensitivity" }
                th scope="col" { "evidence" }
            } }
            tbody {
                @for component in sorted.into_iter().take(most) {
                    tr class=[(!component.evidence.reasons.is_empty()).then_some("flawed")] {
                        th scope="row" {
                            (component.name)
                            @if !component.domains.is_empty() { span.unit { (component.domains.join(", ")) } }
                        }
                        td.number data-label="availability" { (percent(component.availability)) }
                        td data-label="of the unavailability" { (bar(component.budget_share)) }
                        td data-label="of the latency" { (bar(component.latency_share)) }
                        td.number data-label="sensitivity" { (significant(component.sensitivity, 3)) }
                        td data-label="evidence" {
                            span { (measured(component, &derivation.window)) }
                            @for reason in &component.evidence.reasons { p.reason { "! " (reason.message) } }
                        }
                    }
                }
            }
        }
        @if left_out > 0 { p.note { "and " (left_out) " more with smaller shares" } }
    }
}

/// Failure domains by their share of the unavailability.
#[must_use]
pub fn domains(derivation: &Derivation) -> Markup {
    let mut sorted: Vec<_> = derivation.domains.iter().collect();
    sorted.sort_by(|a, b| b.budget_share.total_cmp(&a.budget_share));
    html! {
        table.domains {
            caption { "Failure domains" span.unit { " under shared fate" } }
            thead { tr {
                th scope="col" { "domain" }
                th scope="col" { "of the unavailability" }
                th.number scope="col" { "sensitivity" }
            } }
            tbody {
                @for domain in sorted {
                    tr {
                        th scope="row" { (domain.name) span.unit { (members(&domain.members)) } }
                        td { (bar(domain.budget_share)) }
                        td.number { (significant(domain.sensitivity, 3)) }
                    }
                }
            }
        }
    }
}

fn members(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// What makes the interval wide, and what to do about it; nothing where it has no width.
pub fn width(derivation: &Derivation) -> Markup {
    html! {
        @if let Some(advice) = &derivation.width.advice {
            section.width {
                h3 { "What makes the bound wide" span.unit { " from the estimate to the pessimistic bound" } }
                table {
                    tbody {
                        @for (source, part) in derivation.width.sources() {
                            tr { th scope="row" { (source) } td { (bar(part)) } }
                        }
                    }
                }
                p { (advice) }
            }
        }
    }
}

/// A share as a bar with its number beside it.
fn bar(fraction: f64) -> Markup {
    let width = format!("{:.1}%", 100.0 * fraction.clamp(0.0, 1.0));
    html! {
        span.share {
            svg.bar aria-hidden="true" width="100%" height="10" {
                rect.track width="100%" height="10" rx="2" {}
                rect.fill width=(width) height="10" rx="2" {}
            }
            span.number { (share(fraction)) }
        }
    }
}
