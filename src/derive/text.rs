//! A derivation as text for a terminal of 100 columns: tables aligned, the operator tree drawn, no colour needed.

use super::Derivation;
use super::derivation::{AvailabilityResult, ComponentResult, IndependentCalls};
pub use super::lines::WIDTH;
use super::lines::{NUMBER, line, paragraph, printable, row, row_then, section, width, wrapped};
use super::number::{count, decimals, seconds, share, significant, times};
use super::step::Step;
use crate::journey::governance::Dependence;
use crate::unit::Seconds;

/// The width of the tree's column.
const TREE: usize = WIDTH - 4 * NUMBER;

/// Draws the whole derivation; ends with a line break.
#[must_use]
pub fn render(derivation: &Derivation) -> String {
    let mut out = String::with_capacity(1 << 14);
    head(&mut out, derivation);
    objectives(&mut out, derivation);
    dependence(&mut out, &derivation.availability);
    latency(&mut out, derivation);
    distribution(&mut out, derivation);
    width_by_source(&mut out, derivation);
    tree(&mut out, derivation);
    components(&mut out, derivation);
    domains(&mut out, derivation);
    allocation(&mut out, derivation);
    warnings(&mut out, derivation);
    out
}

fn head(out: &mut String, derivation: &Derivation) {
    let age =
        derivation.evidence.age.map_or_else(String::new, |age| format!(", evidence {} old", seconds(age)));
    line(out, &format!("{} over {}{age}", printable(&derivation.journey), derivation.window));
    let verdict = &derivation.verdict;
    paragraph(out, &format!("{}: ", verdict.verdict.as_str().to_uppercase()), &verdict.reason);
}

fn objectives(out: &mut String, derivation: &Derivation) {
    let objectives = &derivation.objectives;
    if objectives.availability.is_none() && objectives.latency.is_none() {
        return;
    }
    section(
        out,
        "OBJECTIVES",
        22,
        &["objective", "estimate", "pessimistic", "optimistic", "margin", "burn rate"],
    );
    if let Some(objective) = &objectives.availability {
        let value = &derivation.availability;
        row(
            out,
            &format!("availability, {}", objective.window),
            22,
            &[
                decimals(objective.target),
                decimals(value.estimate),
                decimals(value.pessimistic),
                decimals(value.optimistic),
                format!("{:+.8}", objective.margin.pessimistic),
                times(objective.burn_rate.pessimistic),
            ],
        );
    }
    if let Some(objective) = &objectives.latency {
        let value = derivation.latency.get(&objective.quantile);
        let of = |pick: fn(&super::derivation::LatencyResult) -> Seconds| {
            value.map_or_else(|| "?".to_owned(), |value| seconds(pick(value)))
        };
        row(
            out,
            &format!("{} latency, {}", percentile(&objective.quantile), objective.window),
            22,
            &[
                seconds(objective.threshold),
                of(|value| value.estimate),
                of(|value| value.pessimistic),
                of(|value| value.optimistic),
                objective.margin.map_or_else(|| "?".to_owned(), |margin| signed_seconds(margin.pessimistic)),
                times(objective.burn_rate.pessimistic),
            ],
        );
    }
    line(out, "Margin and burn rate are those of the pessimistic bound.");
}

fn dependence(out: &mut String, availability: &AvailabilityResult) {
    section(out, "AVAILABILITY", 22, &["lower", "upper"]);
    for (name, range) in availability.by_dependence.iter() {
        row(out, name, 22, &[decimals(range.lower), decimals(range.upper)]);
    }
}

fn latency(out: &mut String, derivation: &Derivation) {
    let assumptions: Vec<_> = Dependence::REPORTED.iter().map(|dependence| dependence.as_str()).collect();
    let mut heads = vec!["estimate", "pessimistic", "optimistic"];
    heads.extend(&assumptions);
    section(out, "LATENCY", 9, &heads);
    for (quantile, value) in &derivation.latency {
        let mut cells = vec![seconds(value.estimate), seconds(value.pessimistic), seconds(value.optimistic)];
        for name in &assumptions {
            let range = value.by_dependence.get(name);
            cells.push(range.map_or_else(|| "?".to_owned(), |range| seconds(range.upper)));
        }
        row(out, &percentile(quantile), 9, &cells);
    }
    line(out, "Given success. The last four columns are upper bounds by dependence alone.");
}

/// A bar for each time: full up to the pessimistic bound, then shaded up to the estimate, lightly up to the optimistic one.
fn distribution(out: &mut String, derivation: &Derivation) {
    /// Columns of a bar.
    const BAR: usize = 60;
    if derivation.distribution.is_empty() {
        return;
    }
    section(out, "DISTRIBUTION", 14, &["pessimistic", "estimate"]);
    let objective = derivation.objectives.latency.as_ref().map(|objective| objective.threshold);
    let mut before = Seconds::ZERO;
    for point in &derivation.distribution {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a line"
        )]
        let columns = |share: f64| (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
        let ends = [point.pessimistic, point.estimate, point.optimistic].map(columns);
        let mut bar = "█".repeat(ends[0]);
        bar.push_str(&"▒".repeat(ends[1].saturating_sub(ends[0])));
        bar.push_str(&"░".repeat(ends[2].saturating_sub(ends[1].max(ends[0]))));
        let here = objective.is_some_and(|objective| before < objective && objective <= point.seconds);
        let label = format!("{}{}", seconds(point.seconds), if here { " ◂" } else { "" });
        row_then(out, &label, 12, &[reached(point.pessimistic), reached(point.estimate)], &bar);
        before = point.seconds;
    }
    let mark = if objective.is_some() { " ◂ holds the objective." } else { "" };
    line(out, &format!("Within a time, given success: █ at least, ▒ estimated, ░ at most.{mark}"));
}

/// A share of calls in per cent, never rounded up.
fn reached(share: f64) -> String {
    format!("{:.1} %", (share * 1e3).floor() / 10.0)
}

fn width_by_source(out: &mut String, derivation: &Derivation) {
    let Some(advice) = &derivation.width.advice else { return };
    section(out, "WIDTH", 9, &["share"]);
    for (source, part) in derivation.width.sources() {
        row(out, source, 11, &[share(part)]);
    }
    paragraph(out, "", advice);
}

fn tree(out: &mut String, derivation: &Derivation) {
    let quantile = derivation.objectives.latency.as_ref().map_or("0.99", |latency| &latency.quantile);
    let alone = format!("{} alone", percentile(quantile));
    section(out, "DERIVATION", TREE, &["independent", "shared_fate", "unknown", &alone]);
    step(out, &derivation.derivation, "", "");
    line(
        out,
        "Availabilities are lower bounds by dependence alone; latencies are estimates of each subtree.",
    );
}

/// Draws `step`: its head after `lead`, its formula and operands after `below`.
fn step(out: &mut String, step: &Step, lead: &str, below: &str) {
    let lower = |dependence: Dependence| {
        let range = step.availability.by_dependence.get(dependence.as_str());
        range.map_or_else(|| decimals(step.availability.estimate), |range| decimals(range.lower))
    };
    row(
        out,
        &format!("{lead}{}", printable(&step.operator)),
        TREE,
        &[
            lower(Dependence::Independent),
            lower(Dependence::SharedFate),
            lower(Dependence::Unknown),
            seconds(step.latency_estimate),
        ],
    );
    if !step.substituted.is_empty() {
        let stem = if step.children.is_empty() { "  " } else { "│ " };
        let formula = step.equation();
        for text in wrapped(&formula, WIDTH.saturating_sub(width(below) + 4).max(24)) {
            line(out, &format!("{below}{stem}  {text}"));
        }
    }
    for (index, child) in step.children.iter().enumerate() {
        let last = index + 1 == step.children.len();
        let (branch, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        self::step(out, child, &format!("{below}{branch}"), &format!("{below}{stem}"));
    }
}

fn components(out: &mut String, derivation: &Derivation) {
    section(out, "COMPONENTS", 20, &["availability", "sensitivity", "budget", "latency"]);
    for component in by_share(&derivation.components, |component| component.budget_share) {
        row_then(
            out,
            &printable(&component.name),
            20,
            &[
                decimals(component.availability),
                significant(component.sensitivity, 4),
                share(component.budget_share),
                share(component.latency_share),
            ],
            &measured(component, &derivation.window),
        );
        for reason in &component.evidence.reasons {
            paragraph(out, &format!("  ! {}: ", reason.reason), &reason.message);
        }
    }
    line(out, "Budget: share of the journey's unavailability. Latency: share of its main quantile.");
    if let Some(bursts) = bursts(derivation) {
        paragraph(out, "Calls come in bursts: ", &bursts);
    }
}

/// What was measured, in a few words; the window only where it is not the one `asked` for.
#[must_use]
pub fn measured(component: &ComponentResult, asked: &str) -> String {
    let evidence = &component.evidence;
    let window = if evidence.window == asked { String::new() } else { format!(" in {}", evidence.window) };
    let latency = if evidence.latency { "" } else { ", no latency" };
    match (evidence.kind, evidence.total, evidence.good) {
        ("counts", Some(total), Some(good)) => {
            format!("{} of {}{window}{latency}", count(good), count(total))
        }
        ("figure", ..) => "a figure, no latency".to_owned(),
        _ => "nothing measured".to_owned(),
    }
}

/// Whose calls bursts take most from, where that is noticeable.
fn bursts(derivation: &Derivation) -> Option<String> {
    let least = |worth: fn(&IndependentCalls) -> Option<f64>, what: &str| {
        let of = |component: &ComponentResult| {
            let total = component.evidence.total?;
            let worth = worth(component.evidence.independent_calls.as_ref()?)?;
            (worth < 0.9 * total).then(|| (printable(&component.name).into_owned(), worth, total))
        };
        let least = derivation.components.iter().filter_map(of);
        let (name, worth, total) = least.min_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)))?;
        let worth = count(worth.round().max(1.0));
        Some(format!("of {what} the {} of {name} are worth {worth} independent ones", count(total)))
    };
    let parts = [least(|calls| calls.failures, "failures"), least(|calls| calls.latency, "latency")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("as a sample {}.", parts.join(", ")))
}

fn domains(out: &mut String, derivation: &Derivation) {
    if derivation.domains.is_empty() {
        return;
    }
    section(out, "FAILURE DOMAINS", 32, &["sensitivity", "budget"]);
    for domain in by_share(&derivation.domains, |domain| domain.budget_share) {
        let members: Vec<_> = domain.members.iter().map(|name| printable(name)).collect();
        row_then(
            out,
            &printable(&domain.name),
            32,
            &[significant(domain.sensitivity, 4), share(domain.budget_share)],
            &members.join(", "),
        );
    }
}

fn allocation(out: &mut String, derivation: &Derivation) {
    let Some(allocation) = &derivation.allocation else { return };
    section(out, "ALLOCATION", 20, &["availability", "latency"]);
    for component in &allocation.components {
        row(
            out,
            &printable(&component.name),
            20,
            &[
                component.availability.map_or_else(|| "not called".to_owned(), decimals),
                component.latency.map_or_else(String::new, seconds),
            ],
        );
    }
    paragraph(out, "", &allocation.sentence());
}

fn warnings(out: &mut String, derivation: &Derivation) {
    // Flaws of evidence stand beside their components.
    let mut others = derivation.warnings.iter().filter(|warning| !warning.is_of_evidence()).peekable();
    if others.peek().is_none() {
        return;
    }
    line(out, "");
    line(out, "WARNINGS");
    for warning in others {
        paragraph(out, &format!("{}: ", warning.code), &warning.message);
    }
}

/// The greatest share first; equals in their order.
fn by_share<T>(items: &[T], share: impl Fn(&T) -> f64) -> Vec<&T> {
    let mut sorted: Vec<_> = items.iter().collect();
    sorted.sort_by(|a, b| share(b).total_cmp(&share(a)));
    sorted
}

/// `0.99` as `p99`, `0.999` as `p99.9`; the decimal point is shifted as text.
#[must_use]
pub fn percentile(quantile: &str) -> String {
    let Some(digits) = quantile.strip_prefix("0.") else {
        return quantile.to_owned();
    };
    let padded = format!("{digits:0<2}");
    let (whole, fraction) = padded.split_at(2);
    let whole = whole.strip_prefix('0').unwrap_or(whole);
    if fraction.is_empty() { format!("p{whole}") } else { format!("p{whole}.{fraction}") }
}

fn signed_seconds(value: f64) -> String {
    let magnitude = Seconds::new(value.abs()).map_or_else(|_| "?".to_owned(), seconds);
    match value {
        v if v < 0.0 => format!("-{}", magnitude.trim_start_matches('+')),
        _ => format!("+{}", magnitude.trim_start_matches('+')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_named_without_binary_rounding() {
        for (quantile, name) in [
            ("0.5", "p50"),
            ("0.9", "p90"),
            ("0.99", "p99"),
            ("0.999", "p99.9"),
            ("0.05", "p5"),
            ("0.9999", "p99.99"),
        ] {
            assert_eq!(percentile(quantile), name);
        }
    }
}
