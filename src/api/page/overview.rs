//! All journeys at a glance.

use maud::{Markup, html};

use super::view::JourneyView;
use super::{journey, tables};
use crate::derive::number::{percent, seconds};
use crate::derive::text::percentile;

/// One line a journey; who needs attention comes first.
#[must_use]
pub fn table(views: &[&JourneyView]) -> Markup {
    let observed = views.iter().any(|view| view.observed_availability().is_some());
    html! {
        table.overview.stack {
            caption.visually-hidden { "All journeys" }
            thead { tr {
                th scope="col" { "journey" }
                th scope="col" { "verdict" }
                th scope="col" { "availability" span.unit { " estimate ≥ pessimistic | objective" } }
                th scope="col" { "latency" span.unit { " estimate ≤ pessimistic | objective" } }
                @if observed { th scope="col" { "observed" } }
                th scope="col" { "evidence" }
            } }
            tbody { @for view in views { (row(view, observed)) } }
        }
    }
}

fn row(view: &JourneyView, observed: bool) -> Markup {
    let model = view.journey();
    let verdict = view.judgement().verdict;
    let derivation = view.shown.as_ref().map(|shown| &shown.derivation);
    let troubles = view.troubles();
    html! {
        tr {
            th scope="row" { a href=(journey::path(&model.name)) { (model.name) } }
            td data-label="verdict" { (tables::badge(verdict)) }
            td data-label="availability" {
                @match derivation {
                    Some(derivation) => {
                        span.keep { (percent(derivation.availability.estimate)) } " ≥ "
                        strong { (percent(derivation.availability.pessimistic)) }
                    }
                    None => "unknown",
                }
                @if let Some(objective) = &model.objectives.availability { span.unit.keep { " | " (percent(objective.target)) } }
            }
            td data-label="latency" {
                @if let Some(objective) = &model.objectives.latency {
                    @let quantile = objective.quantile.to_string();
                    span.unit { (percentile(&quantile)) " " }
                    @match derivation.and_then(|derivation| derivation.latency.get(&quantile)) {
                        Some(value) => { span.keep { (seconds(value.estimate)) } " ≤ " strong { (seconds(value.pessimistic)) } }
                        None => "unknown",
                    }
                    span.unit.keep { " | " (seconds(objective.threshold)) }
                } @else { span.unit { "no objective" } }
            }
            @if observed {
                td data-label="observed" {
                    (view.observed_availability().map_or_else(|| "not seen".to_owned(), percent))
                    @if let Some(time) = view.observed_latency() { ", " (seconds(time)) }
                }
            }
            td data-label="evidence" {
                @if troubles.is_empty() && view.shown.is_some() {
                    @match view.evaluation.evidence_age { Some(age) => { (seconds(age)) " old" }, None => "age unknown" }
                } @else {
                    strong.trouble { "⚠ " (troubles.iter().map(|trouble| trouble.reason).collect::<Vec<_>>().join(", ")) }
                }
            }
        }
    }
}
