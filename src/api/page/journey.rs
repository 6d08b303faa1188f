//! One journey on a page: verdict, what is wrong, numbers, plot, boxes, tables.

use maud::{Markup, html};

use super::view::{JourneyView, ShownWindow, Trouble};
use super::{operators, plot, tables, utc};
use crate::derive::number::seconds;
use crate::derive::text::percentile;

/// Ageing evidence is pointed out from this age on, in evaluation intervals of the default length.
const OLD_SECONDS: f64 = 60.0;

/// The path of a journey's page.
#[must_use]
pub fn path(name: &str) -> String {
    format!("/journeys/{}", encoded(name))
}

/// One path segment or query value: everything but unreserved characters as `%XX`.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// How much of a journey is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Among others: the components that matter most.
    Overview,
    /// On its own page.
    Full,
}

impl Detail {
    /// Rows of the component table; a journey of a thousand components is read through its JSON.
    const fn most_components(self) -> usize {
        match self {
            Self::Overview => 8,
            Self::Full => 60,
        }
    }
}

/// The whole section of a journey. `id` is unique on the page.
#[must_use]
pub fn section(id: usize, view: &JourneyView, detail: Detail) -> Markup {
    let journey = view.journey();
    let judgement = view.judgement();
    let troubles = view.troubles();
    html! {
        article class=(format!("journey {}", judgement.verdict)) aria-labelledby=(format!("journey-{id}")) {
            header {
                h2 id=(format!("journey-{id}")) { a href=(path(&journey.name)) { (journey.name) } }
                (tables::badge(judgement.verdict))
                (windows(view))
            }
            @if troubles.is_empty() && view.shown.is_some() { p.reason { (judgement.reason) } }
            @else { (banner(view, &troubles)) p.reason { (judgement.reason) } }
            @if let Some(shown) = &view.shown { (numbers(id, view, shown, detail)) }
            @else { (no_numbers(view)) }
            (provenance(view))
        }
    }
}

fn windows(view: &JourneyView) -> Markup {
    let name = &view.journey().name;
    let shown = view.shown.as_ref().map(|shown| shown.window);
    html! {
        nav.windows aria-label=(format!("Window of {name}")) {
            span.unit { "window" }
            @for window in &view.windows {
                a href=(format!("{}?window={}", path(name), window.window))
                    aria-current=[(Some(window.window) == shown).then_some("page")] { (window.window) }
            }
        }
    }
}

/// What is wrong with the evidence: the first thing a reader sees.
fn banner(view: &JourneyView, troubles: &[Trouble]) -> Markup {
    html! {
        div.banner role="alert" {
            h3 {
                span aria-hidden="true" { "⚠ " }
                @if view.shown.is_none() { "There are no current numbers" } @else { "The evidence is incomplete or old" }
            }
            @if troubles.is_empty() {
                p { "This journey has not been evaluated yet, or no window could be answered." }
            }
            @if !troubles.is_empty() {
                ul {
                    @for trouble in troubles {
                        li {
                            strong { (trouble.reason) } " "
                            @if !trouble.components.is_empty() { span.names { (trouble.components.join(", ")) ": " } }
                            (trouble.sentence)
                        }
                    }
                }
            }
            p.unit { (age(view)) }
        }
    }
}

fn age(view: &JourneyView) -> String {
    match view.evaluation.evidence_age {
        Some(age) => format!("The oldest evidence used is {} old.", seconds(age)),
        None => "There was never any evidence.".to_owned(),
    }
}

fn numbers(id: usize, view: &JourneyView, shown: &ShownWindow, detail: Detail) -> Markup {
    let journey = view.journey();
    let derivation = &shown.derivation;
    let objective = journey.objectives.latency.as_ref();
    let quantile = objective.map_or_else(|| "0.99".to_owned(), |objective| objective.quantile.to_string());
    let plot = plot::latency(id, &shown.composition, objective, shown.observed.as_ref());
    html! {
        (tables::objectives(view, derivation))
        div.columns {
            section.latency {
                h3 { "Latency of successes" }
                @match plot {
                    Some(plot) => (plot),
                    None => p.empty { "No latency was measured, so there is no distribution to show." },
                }
                (tables::width(derivation))
            }
            section.budget { (tables::budgets(view)) @if !derivation.domains.is_empty() { (tables::domains(derivation)) } }
        }
        section {
            h3 { "How calls compose" span.unit { " availability, its pessimistic bound, " (percentile(&quantile)) " of each part alone" } }
            (operators::boxes(journey, derivation, &percentile(&quantile)))
        }
        (tables::components(derivation, detail.most_components()))
        @if !derivation.warnings.is_empty() {
            section.warnings {
                h3 { "Warnings" }
                ul { @for warning in &derivation.warnings { li { code { (warning.code) } " " (warning.message) } } }
            }
        }
    }
}

/// Objectives alone, where nothing can be said about them.
fn no_numbers(view: &JourneyView) -> Markup {
    let objectives = &view.journey().objectives;
    html! {
        ul.promises {
            @if let Some(objective) = &objectives.availability {
                li { "availability objective " (crate::derive::number::percent(objective.target)) " over " (objective.window) }
            }
            @if let Some(objective) = &objectives.latency {
                li {
                    (percentile(&objective.quantile.to_string())) " objective " (seconds(objective.threshold))
                    " over " (objective.window)
                }
            }
        }
    }
}

fn provenance(view: &JourneyView) -> Markup {
    let evaluation = &view.evaluation;
    let name = &view.journey().name;
    let api = format!("/api/v1/journeys/{}", encoded(name));
    let old = evaluation.evidence_age.is_none_or(|age| age.get() > OLD_SECONDS);
    html! {
        footer.provenance {
            span { "evaluated " (utc::date_and_time(evaluation.time)) }
            span class=[old.then_some("old")] { (age(view)) }
            span { "model " code { (evaluation.model.digest.chars().take(12).collect::<String>()) } " revision " (evaluation.model.revision) }
            @if let Some(shown) = &view.shown {
                span { "bounds under " code { (shown.derivation.model.dependence) } }
                a href=(format!("{api}/explain?window={}", shown.window)) { "derivation as JSON" }
                a href=(format!("{api}/evidence?window={}", shown.window)) { "evidence" }
            }
            a href=(api) { "model" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_path_segment_whatever_it_holds() {
        assert_eq!(path("check out/../<b>?&#é"), "/journeys/check%20out%2F..%2F%3Cb%3E%3F%26%23%C3%A9");
    }
}
