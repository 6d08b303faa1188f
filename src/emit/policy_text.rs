//! What the alerts can and cannot see, for reading: a file of its own, since it changes with the objectives and the policy
//! and not with the numbers.

use std::fmt::Write as _;

use super::decimal::exact;
use super::provenance;
use super::report::Report;
use super::tier::Tier;
use crate::derive::number::{seconds, share, significant};
use crate::unit::Seconds;

/// The document; `None` where no tier is enabled.
pub(crate) fn markdown(report: &Report<'_>) -> Option<String> {
    if report.policy.is_empty() {
        return None;
    }
    let mut out = format!(
        "# Alerts of journey {}\n\nA tier fires where the pessimistic bound burns above its rate in both windows and the \
         samples prove that budget burns at all.\n\n<!-- {} -->\n\n",
        report.journey.name,
        provenance::line(report.journey)
    );
    out.push_str(
        "| tier | budget | burn rate | windows | severity | smallest total outage seen | budget spent | a single error \
         fires below |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in &report.policy {
        let Tier { label, rate, long, short, severity, .. } = &row.tier;
        for (budget, reach) in &row.reach {
            let outage = Seconds::new(reach.smallest_outage_seconds).map_or_else(|_| "?".to_owned(), seconds);
            let outage = if reach.can_fire { outage } else { "it can never fire".to_owned() };
            let single = if reach.single_error_below < 1.0 {
                "never".to_owned()
            } else {
                format!("{} requests in {long}", significant(reach.single_error_below.ceil(), 3))
            };
            let _ = writeln!(
                out,
                "| {label} | {} | {}× | {long} / {short} | {severity} | {outage} | {} | {single} |",
                budget.name(),
                exact(*rate),
                share(reach.spent),
            );
        }
    }
    Some(out)
}
