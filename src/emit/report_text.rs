//! The report for reading: Markdown, as shown in a code review. What stands where, keeps an edit of a spec in one hunk, as
//! in [`super::report`].

use std::fmt::Write as _;

use super::decimal::complement;
use super::provenance;
use super::report::{Report, is_known};
use crate::derive::formula;
use crate::derive::number::{decimals, seconds, share};
use crate::derive::step::Step;
use crate::derive::text::{self, percentile};
use crate::unit::Probability;

/// Columns of the tree, and of each number beside it.
const TREE: usize = 34;
const NUMBER: usize = 13;

/// The document.
pub(crate) fn markdown(report: &Report<'_>) -> String {
    let derivation = report.derivation;
    let mut out = String::with_capacity(1 << 14);
    let _ = write!(out, "# Journey {}\n\n", report.journey.name);
    let verdict = &derivation.verdict;
    let _ = write!(out, "**{}**: {}.", verdict.verdict.as_str().to_uppercase(), verdict.reason);
    out.push('\n');
    let dominant: Vec<String> = report
        .dominant()
        .into_iter()
        .map(|(kind, name, part)| format!("{kind} `{name}` ({})", share(part)))
        .collect();
    if !dominant.is_empty() {
        let _ = writeln!(out, "Dominant: {}.", dominant.join(", "));
    }
    if let Some(objective) = &report.journey.objectives.availability {
        let _ = writeln!(
            out,
            "The error budget is {} over {}.",
            complement(objective.target.get()),
            objective.window
        );
    }
    if let Some(allocation) = &derivation.allocation {
        let _ = writeln!(out, "{}", allocation.sentence());
    }
    if let Some(advice) = &derivation.width.advice {
        let _ = writeln!(out, "{advice}");
    }
    let _ = write!(out, "`{}`", report.expression);
    for (name, value) in &derivation.evidence.parameters {
        let _ = match value {
            Some(value) => write!(out, ", {name} = {value}"),
            None => write!(out, ", {name} unknown"),
        };
    }
    let _ = writeln!(out, "\n\n<!-- {} -->", provenance::line(report.journey));
    numbers(report, &mut out);
    allocation(report, &mut out);
    by_dependence(report, &mut out);
    tree(report, &mut out);
    domains(report, &mut out);
    latencies(report, &mut out);
    let remarks = report.remarks();
    if !remarks.is_empty() {
        out.push_str("\n## Warnings\n\n");
    }
    for remark in remarks {
        let _ = writeln!(out, "- {}: {}", remark.code, remark.message);
    }
    out.push_str("\n## Artifacts\n\n| file | rests on |\n|---|---|\n");
    for artifact in &report.artifacts {
        let _ = writeln!(out, "| `{}` | {} |", artifact.path, artifact.rests_on.join(", "));
    }
    out
}

fn numbers(report: &Report<'_>, out: &mut String) {
    let derivation = report.derivation;
    let availability = &derivation.availability;
    let objectives = &derivation.objectives;
    let _ = writeln!(
        out,
        "\n| | objective | pessimistic | estimate | optimistic |\n|---|---|---|---|---|\n| availability | {} | {} | {} | {} |",
        objectives.availability.as_ref().map_or_else(|| "–".to_owned(), |o| decimals(o.target)),
        decimals(availability.pessimistic),
        decimals(availability.estimate),
        decimals(availability.optimistic),
    );
    if let Some(objective) = &objectives.latency
        && let Some(latency) = derivation.latency.get(&objective.quantile)
    {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            percentile(&objective.quantile),
            seconds(objective.threshold),
            seconds(latency.pessimistic),
            seconds(latency.estimate),
            seconds(latency.optimistic),
        );
    }
}

/// What each component must keep: it changes with the objectives and with every number, and stands between them.
fn allocation(report: &Report<'_>, out: &mut String) {
    let Some(allocation) = &report.derivation.allocation else { return };
    out.push_str("\n| component | availability | share | must keep | latency |\n|---|---|---|---|---|\n");
    for (component, now) in allocation.components.iter().zip(&report.derivation.components) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            component.name,
            eight_places(now.availability.get()),
            eight_places(now.budget_share),
            component.availability.map_or_else(|| "–".to_owned(), |a| eight_places(a.get())),
            component.latency.map_or_else(|| "–".to_owned(), seconds),
        );
    }
}

fn by_dependence(report: &Report<'_>, out: &mut String) {
    out.push_str("\n| availability by dependence alone | lower | upper |\n|---|---|---|\n");
    for (name, range) in report.derivation.availability.by_dependence.iter() {
        let _ = writeln!(out, "| {name} | {} | {} |", decimals(range.lower), decimals(range.upper));
    }
}

/// One line a node, and one for the formula of an operator.
fn tree(report: &Report<'_>, out: &mut String) {
    let heads = ["estimate", "shared_fate", "unknown", "sensitivity", "share"];
    out.push_str("\n```text\n");
    cells(out, "", heads.into_iter());
    if report.timed {
        out.push_str("   latency, share");
    }
    out.push('\n');
    node(report, &report.derivation.derivation, ["", ""], ["", ""], out);
    out.push_str("```\n");
    out.push_str(
        "shared_fate, unknown: lower bounds by dependence alone. Sensitivity, share: of the journey's unavailability.\n",
    );
}

/// A share, a sensitivity or an availability, all within 0 and 1.
fn eight_places(value: f64) -> String {
    const ONE: f64 = 1e8;
    let scaled = (value * ONE).round();
    if !(0.0..=ONE).contains(&scaled) {
        return format!("{value:.8}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 1e8")]
    let scaled = scaled as u64;
    match scaled {
        0 => "0.00000000".to_owned(),
        _ => format!("{}.{:08}", scaled / 100_000_000, scaled % 100_000_000),
    }
}

fn cells<'c>(out: &mut String, label: &str, cells: impl Iterator<Item = &'c str>) {
    out.push_str(label);
    let mut gap = TREE.saturating_sub(label.chars().count());
    for cell in cells {
        gap += NUMBER.saturating_sub(cell.chars().count()).max(1);
        if !cell.is_empty() {
            out.extend(std::iter::repeat_n(' ', gap));
            out.push_str(cell);
            gap = 0;
        }
    }
}

/// Draws a node: its name after `lead`, its formula and operands after `below`. Both are made where they are needed.
fn node(report: &Report<'_>, step: &Step, lead: [&str; 2], below: [&str; 2], out: &mut String) {
    let label = [lead[0], lead[1], formula::name(&step.operator)].concat();
    let estimate = decimals(step.availability.estimate);
    if step.children.is_empty() {
        let Some(component) = report.component(&step.operator) else { return };
        let known = component.evidence.kind != "vacuous";
        let of = |number: f64| if known { eight_places(number) } else { String::new() };
        let measured = text::measured(component, &report.derivation.window);
        let [sensitivity, part] = [of(component.sensitivity), of(component.budget_share)];
        cells(out, &label, [estimate.as_str(), "", "", &sensitivity, &part].into_iter());
        if report.timed {
            let _ = write!(out, "   {}, {}", seconds(step.latency_estimate), share(component.latency_share));
        }
        let _ = writeln!(out, "   {measured}");
        return;
    }
    let lower = |dependence: &str| {
        let range = step.availability.by_dependence.get(dependence);
        decimals(range.map_or(Probability::ZERO, |range| range.lower))
    };
    cells(out, &label, [estimate.as_str(), &lower("shared_fate"), &lower("unknown")].into_iter());
    if report.timed {
        let _ = write!(out, "   {}", seconds(step.latency_estimate));
    }
    let below = below.concat();
    let _ = write!(out, "\n{below}│   ");
    out.push_str(&if is_known(step) { step.equation() } else { step.formula.to_owned() });
    out.push('\n');
    for (index, child) in step.children.iter().enumerate() {
        let last = index + 1 == step.children.len();
        let (branch, stem) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        node(report, child, [&below, branch], [&below, stem], out);
    }
}

fn domains(report: &Report<'_>, out: &mut String) {
    if report.derivation.domains.is_empty() {
        return;
    }
    out.push_str("\n| failure domain | members | sensitivity | share |\n|---|---|---|---|\n");
    for domain in &report.derivation.domains {
        let _ = writeln!(
            out,
            "| {} | {} | {:.8} | {} |",
            domain.name,
            domain.members.join(", "),
            domain.sensitivity,
            share(domain.budget_share)
        );
    }
}

fn latencies(report: &Report<'_>, out: &mut String) {
    let Some(first) = report.derivation.latency.values().next() else { return };
    let assumptions: Vec<&str> = first.by_dependence.names().collect();
    let _ = write!(
        out,
        "\n| latency given success | pessimistic | estimate | optimistic | {} |\n|---|---|---|---|",
        assumptions.join(" | ")
    );
    out.push_str(&"---|".repeat(assumptions.len()));
    out.push('\n');
    for (quantile, latency) in &report.derivation.latency {
        let _ = write!(
            out,
            "| {} | {} | {} | {} |",
            percentile(quantile),
            seconds(latency.pessimistic),
            seconds(latency.estimate),
            seconds(latency.optimistic)
        );
        for range in latency.by_dependence.values() {
            let _ = write!(out, " {} |", seconds(range.upper));
        }
        out.push('\n');
    }
}
