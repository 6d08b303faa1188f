//! What a journey would be, as text for a terminal.

use super::lines::{line, paragraph, printable, row, section};
use super::number::{decimals, operand, seconds, significant};
use super::text::percentile;
use super::what_if::{AloneResult, OutcomeResult, SuppositionResult, WhatIf};

/// The width of the first column.
const LABEL: usize = 30;

impl WhatIf {
    /// For people; ends with a line break.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(1 << 12);
        line(&mut out, &format!("{} over {}", printable(&self.journey), self.window));
        for supposition in &self.suppositions {
            paragraph(&mut out, "SUPPOSED: ", &sentence(supposition));
        }
        self.outcomes(&mut out);
        self.alone_section(&mut out);
        out
    }

    fn outcomes(&self, out: &mut String) {
        const HEADS: [&str; 4] = ["estimate", "pessimistic", "optimistic", "objective"];
        let both =
            || std::iter::once(("now", &self.now)).chain(self.supposed.iter().map(|then| ("supposed", then)));
        section(out, "AVAILABILITY", LABEL, &HEADS[..3 + usize::from(self.target.is_some())]);
        for (when, OutcomeResult { availability, .. }) in both() {
            let mut cells = vec![
                decimals(availability.estimate),
                decimals(availability.pessimistic),
                decimals(availability.optimistic),
            ];
            cells.extend(self.target.map(decimals));
            row(out, when, LABEL, &cells);
        }
        let title = format!("LATENCY, {}", percentile(&self.quantile));
        section(out, &title, LABEL, &HEADS[..3 + usize::from(self.threshold.is_some())]);
        for (when, outcome) in both() {
            let Some(latency) = &outcome.latency else { continue };
            let mut cells =
                vec![seconds(latency.estimate), seconds(latency.pessimistic), seconds(latency.optimistic)];
            cells.extend(self.threshold.map(seconds));
            row(out, when, LABEL, &cells);
        }
        line(out, "");
        for (when, OutcomeResult { verdict, .. }) in both() {
            paragraph(out, &format!("{} {when}: ", verdict.verdict.as_str().to_uppercase()), &verdict.reason);
        }
    }

    fn alone_section(&self, out: &mut String) {
        if self.alone.is_empty() {
            return;
        }
        section(out, "ONE COMPONENT ALONE", LABEL, &["never failing", "at once", "needs", "may take"]);
        for one in &self.alone {
            let AloneResult { name, never_failing, at_once, .. } = one;
            let cells = [
                decimals(*never_failing),
                at_once.map_or_else(String::new, seconds),
                self.target.map_or_else(String::new, |_| one.needed.map_or_else(|| "-".to_owned(), decimals)),
                self.threshold.and(*at_once).map_or_else(String::new, |_| times_as_long(one.slowdown)),
            ];
            row(out, &printable(name), LABEL, &cells);
        }
        if self.left_out > 0 {
            line(out, &format!("{} more matter less than these.", self.left_out));
        }
        paragraph(
            out,
            "",
            "Estimates of the journey were that component alone different. The last columns: the availability that it needs, \
             and how many times as long as now it may take, for the pessimistic bound to meet the objective if it stays as \
             far from the estimate as it is; with --suppose the bound itself is composed.",
        );
    }
}

fn sentence(supposition: &SuppositionResult) -> String {
    let mut parts = Vec::new();
    if let Some(availability) = supposition.availability {
        parts.push(format!("succeeds {} of the time", operand(availability.get())));
    }
    if supposition.slowdown != 1.0 {
        parts.push(format!("takes {} times as long", significant(supposition.slowdown, 4)));
    }
    format!("{} {}", printable(&supposition.component), parts.join(" and "))
}

/// `any` where nothing is too long, and `-` where nothing is short enough.
fn times_as_long(slowdown: Option<f64>) -> String {
    match slowdown {
        None => "-".to_owned(),
        Some(slowdown) if slowdown.is_infinite() => "any".to_owned(),
        // Not rounded up.
        Some(slowdown) => format!("{}×", significant((slowdown * 1e3).floor() / 1e3, 4)),
    }
}
