//! The report for reading: Markdown, as shown in a code review.

use std::fmt::Write as _;

use super::decimal::{complement, exact};
use super::provenance;
use super::report::Report;
use crate::derive::number::{decimals, percent, seconds, share, significant};
use crate::derive::text;
use crate::unit::Seconds;

/// The document.
pub(crate) fn markdown(report: &Report<'_>) -> String {
    let (journey, derivation) = (report.journey, report.derivation);
    let mut out = format!("# Journey {}\n\n<!-- {} -->\n\n", journey.name, provenance::line(journey));
    let verdict = &derivation.verdict;
    let _ = writeln!(out, "**{}**: {}.\n", verdict.verdict.as_str().to_uppercase(), verdict.reason);
    let dominant: Vec<String> = report
        .dominant()
        .into_iter()
        .map(|(kind, name, part)| format!("{kind} `{name}` ({})", share(part)))
        .collect();
    if !dominant.is_empty() {
        let _ = writeln!(out, "Dominant: {}.\n", dominant.join(", "));
    }
    numbers(report, &mut out);
    policy(report, &mut out);
    budgets(report, &mut out);
    let _ = writeln!(out, "## Derivation\n\n```text\n{}```\n", text::render(derivation));
    let _ = writeln!(out, "## Artifacts\n\n| file | rests on |\n|---|---|");
    for artifact in &report.artifacts {
        let _ = writeln!(out, "| `{}` | {} |", artifact.path, artifact.rests_on.join(", "));
    }
    out
}

fn numbers(report: &Report<'_>, out: &mut String) {
    let derivation = report.derivation;
    let availability = &derivation.availability;
    let _ = writeln!(
        out,
        "| | objective | pessimistic | estimate | optimistic |\n|---|---|---|---|---|\n| availability | {} | {} | {} | {} |",
        derivation.objectives.availability.as_ref().map_or_else(|| "–".to_owned(), |o| decimals(o.target)),
        decimals(availability.pessimistic),
        decimals(availability.estimate),
        decimals(availability.optimistic),
    );
    if let Some(objective) = &derivation.objectives.latency
        && let Some(latency) = derivation.latency.get(&objective.quantile)
    {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            text::percentile(&objective.quantile),
            seconds(objective.threshold),
            seconds(latency.pessimistic),
            seconds(latency.estimate),
            seconds(latency.optimistic),
        );
    }
    if let Some(objective) = &report.journey.objectives.availability {
        let _ = writeln!(
            out,
            "\nThe error budget is {} over {}.",
            complement(objective.target.get()),
            objective.window
        );
    }
    out.push('\n');
}

fn policy(report: &Report<'_>, out: &mut String) {
    if report.policy.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "## Alerts\n\n| tier | budget | burn rate | windows | severity | smallest total outage seen | budget spent | \
         a single error fires below |\n|---|---|---|---|---|---|---|---|"
    );
    for row in &report.policy {
        let outage = Seconds::new(row.reach.smallest_outage_seconds).map_or_else(|_| "?".to_owned(), seconds);
        let _ = writeln!(
            out,
            "| {} | {} | {}× | {} / {} | {} | {} | {} | {} |",
            row.tier.label,
            row.budget.name(),
            exact(row.tier.rate),
            row.tier.long,
            row.tier.short,
            row.tier.severity,
            if row.reach.can_fire { outage } else { "it can never fire".to_owned() },
            share(row.reach.spent),
            if row.reach.single_error_below < 1.0 {
                "never".to_owned()
            } else {
                format!(
                    "{} requests in {}",
                    significant(row.reach.single_error_below.ceil(), 3),
                    row.tier.long
                )
            },
        );
    }
    out.push_str(
        "\nA tier fires where the pessimistic bound burns above its rate in both windows and the samples prove that \
         budget burns at all.\n\n",
    );
}

fn budgets(report: &Report<'_>, out: &mut String) {
    let Some(allocation) = &report.derivation.allocation else { return };
    let _ = writeln!(out, "## Budgets of the components\n\n{}\n", allocation.sentence());
    let _ = writeln!(out, "| component | availability | latency |\n|---|---|---|");
    for component in &allocation.components {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            component.name,
            component.availability.map_or_else(|| "–".to_owned(), percent),
            component.latency.map_or_else(|| "–".to_owned(), seconds),
        );
    }
    out.push('\n');
}
