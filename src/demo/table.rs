//! The live table as text: at most eighty columns, two lines a journey.

use std::fmt::Write as _;

use super::live::{Comparison, JourneyView, View};
use crate::unit::{Probability, Quantile, Seconds, Timestamp};

/// The width of the widest line, so that a terminal never wraps one.
pub const WIDTH: usize = 80;

/// Of the four columns with numbers.
const COLUMN_WIDTHS: [usize; 4] = [9, 11, 9, 9];

/// The table of one view, one entry a line. The number of lines depends on the journeys alone.
#[must_use]
pub fn lines(view: &View) -> Vec<String> {
    let mut lines = vec![headline(view)];
    let mut columns = format!("{:<9} {:<16}", "journey", "");
    for (column, width) in ["estimate", "pessimistic", "observed", "objective"].iter().zip(COLUMN_WIDTHS) {
        let _ = write!(columns, " {column:>width$}");
    }
    columns.push_str("  verdict");
    lines.push(columns);
    for journey in &view.journeys {
        lines.extend(journey_lines(journey));
    }
    for line in &mut lines {
        if let Some((end, _)) = line.char_indices().nth(WIDTH) {
            line.truncate(end);
        }
    }
    lines
}

/// The time and what is going on.
#[must_use]
pub fn headline(view: &View) -> String {
    let time = time_of_day(view.time);
    match &view.incident {
        Some((name, left)) => format!("{time}  INCIDENT {name}, {left} to go"),
        None => format!("{time}  no incident"),
    }
}

/// `12:04:15 UTC`.
fn time_of_day(time: Timestamp) -> String {
    let seconds = time.millis().div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn journey_lines(view: &JourneyView) -> [String; 2] {
    let verdict = view.judgement.as_ref().map_or("no data", |judgement| judgement.verdict.as_str());
    let label = format!("availability {}", view.window);
    let mut first = format!("{:<9} {label:<16}", view.journey);
    cells(&mut first, &view.availability, percent);
    let _ = write!(first, "  {verdict}");
    let label = view.quantile.map(|quantile| format!("{} {}", percentile(quantile), view.window));
    let mut second = format!("{:<9} {:<16}", "", label.unwrap_or_default());
    cells(&mut second, &view.latency, duration);
    [first, second]
}

fn cells<T: Copy>(line: &mut String, comparison: &Comparison<T>, print: impl Fn(T) -> String) {
    let predicted = comparison.predicted;
    let columns = [
        predicted.map(|predicted| predicted.estimate),
        predicted.map(|predicted| predicted.pessimistic),
        comparison.observed,
        comparison.objective,
    ];
    for (value, width) in columns.into_iter().zip(COLUMN_WIDTHS) {
        let _ = write!(line, " {:>width$}", value.map_or_else(|| "–".to_owned(), &print));
    }
}

/// `p99`, `p99.9`.
fn percentile(quantile: Quantile) -> String {
    format!("p{}", (quantile.get() * 1e6).round() / 1e4)
}

/// Rounded down, so that what is below an objective never reads as meeting it.
fn percent(p: Probability) -> String {
    // Digits of binary fractions such as 0.985 · 1e5 = 98499.99… are not below the decimal.
    format!("{:.3}%", (p.get() * 1e5 + 1e-6).floor() / 1e3)
}

/// Rounded up to a millisecond, likewise.
fn duration(t: Seconds) -> String {
    if t.is_finite() { format!("{} ms", (t.get() * 1e3 - 1e-6).ceil()) } else { "+Inf".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algebra::composition::Bounded;
    use crate::algebra::verdict::{Judgement, Verdict};

    #[test]
    fn the_table_fits_a_terminal_and_rounds_against_the_reader() {
        let p = |value| Probability::new(value).unwrap();
        let s = |value| Seconds::new(value).unwrap();
        let view = View {
            time: Timestamp::from_millis(1_000_000_000_000),
            incident: Some(("payment brown-out: 3% fail at both providers", "6m50s".parse().unwrap())),
            journeys: vec![JourneyView {
                journey: "checkout".to_owned(),
                window: "5m".parse().unwrap(),
                requests: 1,
                availability: Comparison {
                    predicted: Some(Bounded {
                        estimate: p(0.999_999),
                        pessimistic: p(0.985),
                        optimistic: p(1.0),
                    }),
                    observed: None,
                    objective: Some(p(0.985)),
                },
                quantile: Some("p99.9".parse().unwrap()),
                latency: Comparison {
                    predicted: Some(Bounded {
                        estimate: s(0.4001),
                        pessimistic: Seconds::INFINITY,
                        optimistic: s(0.1),
                    }),
                    observed: Some(s(0.4)),
                    objective: Some(s(0.4)),
                },
                judgement: Some(Judgement { verdict: Verdict::Review, reason: String::new() }),
            }],
        };
        assert_eq!(
            lines(&view),
            [
                "01:46:40 UTC  INCIDENT payment brown-out: 3% fail at both providers, 6m50s to go",
                "journey                     estimate pessimistic  observed objective  verdict",
                "checkout  availability 5m    99.999%     98.500%         –   98.500%  review",
                "          p99.9 5m            401 ms        +Inf    400 ms    400 ms",
            ]
        );
    }
}
