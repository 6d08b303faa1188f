//! Ranges as a plot in characters: time to the right, values upwards, a letter for each series.

use std::fmt::Write as _;

use crate::api::page::utc::date_and_time;
use crate::series::{Series, StepGrid};
use crate::wire::prometheus_json::QueryData;
use crate::wire::prometheus_json::number::float;

/// Rows of the plot.
const ROWS: usize = 13;
/// Columns of a line, axis included, where the terminal does not say.
const COLUMNS: usize = 80;
/// The fewest columns that are worth a plot.
const MIN_COLUMNS: usize = 30;
/// The most series that are drawn; others are counted.
const MAX_SERIES: usize = 12;

/// What fits into four significant digits.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return float(value);
    }
    let magnitude = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e6).contains(&magnitude) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
        let decimals = (3.0 - magnitude.log10().floor()).clamp(0.0, 7.0) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.3e}")
    }
}

/// The plot and its legend. `columns`: how wide the terminal is, where it is one.
pub(super) fn plot(data: &QueryData, grid: &StepGrid, columns: Option<usize>) -> String {
    let QueryData::Matrix(series) = data else { return super::query_table::table(data) };
    if series.is_empty() {
        return "no series\n".to_owned();
    }
    let shown = &series[..series.len().min(MAX_SERIES)];
    let values = || shown.iter().flat_map(|series| &series.samples).map(|sample| sample.value);
    let finite = values().filter(|value| value.is_finite());
    let (lowest, highest) = finite
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let mut out = String::new();
    if lowest > highest {
        out.push_str("no finite value to draw\n");
    } else {
        let columns = columns.unwrap_or(COLUMNS).max(MIN_COLUMNS);
        draw(&mut out, shown, grid, lowest, highest, columns);
    }
    legend(&mut out, shown, series.len());
    out
}

fn draw(out: &mut String, series: &[Series], grid: &StepGrid, lowest: f64, highest: f64, columns: usize) {
    // A constant is drawn in the middle.
    let (low, high) = if lowest < highest {
        (lowest, highest)
    } else {
        let margin = lowest.abs().max(1.0) * 0.5;
        (lowest - margin, highest + margin)
    };
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let level = |row: usize| low + (high - low) * row as f64 / (ROWS - 1) as f64;
    let labels: Vec<String> = (0..ROWS).map(|row| short(level(row))).collect();
    let widest = labels.iter().map(String::len).max().unwrap_or_default();
    let width = columns.saturating_sub(widest + 3).max(1);
    let mut cells = vec![vec![' '; width]; ROWS];
    for (series, letter) in series.iter().zip('a'..) {
        for sample in series.samples.iter().filter(|sample| sample.value.is_finite()) {
            let column = place(sample.time.millis() - grid.start().millis(), grid, width);
            let share = ((sample.value - low) / (high - low)).clamp(0.0, 1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a few rows"
            )]
            let row = (share * (ROWS - 1) as f64).round() as usize;
            cells[row][column] = letter;
        }
    }
    for row in (0..ROWS).rev() {
        let line: String = cells[row].iter().collect();
        let label = if row % 3 == 0 { labels[row].as_str() } else { "" };
        let _ = writeln!(out, "{label:>widest$} │{}", line.trim_end());
    }
    let _ = writeln!(out, "{:>widest$} └{}", "", "─".repeat(width));
    let (from, to) = (date_and_time(grid.start()), date_and_time(grid.end()));
    let gap = width.saturating_sub(from.len() + to.len()).max(2);
    let _ = writeln!(out, "{:>widest$}  {from}{:gap$}{to}", "", "");
}

/// The column of a time since the start.
fn place(since: i64, grid: &StepGrid, width: usize) -> usize {
    let span = grid.end().millis().saturating_sub(grid.start().millis()).max(1);
    let columns = i64::try_from(width - 1).unwrap_or(i64::MAX);
    let column = i128::from(since.clamp(0, span)) * i128::from(columns) / i128::from(span);
    usize::try_from(column).unwrap_or(0)
}

fn legend(out: &mut String, shown: &[Series], all: usize) {
    for (series, letter) in shown.iter().zip('a'..) {
        let values = series.samples.iter().map(|sample| sample.value);
        let finite = values.filter(|value| !value.is_nan());
        let (least, greatest) =
            (finite.clone().fold(f64::INFINITY, f64::min), finite.fold(f64::NEG_INFINITY, f64::max));
        let last = series.samples.last().map_or(f64::NAN, |sample| sample.value);
        let _ = writeln!(
            out,
            "{letter}  {}  last {}, least {}, greatest {}",
            series.labels,
            short(last),
            short(least),
            short(greatest)
        );
    }
    if all > shown.len() {
        let _ = writeln!(
            out,
            "and {} more series: narrow the expression, or take --format table",
            all - shown.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Labels, Sample};
    use crate::unit::{Timestamp, Window};

    fn grid() -> StepGrid {
        let at = Timestamp::from_millis;
        StepGrid::new(at(0), at(3_600_000), Window::MINUTE).unwrap()
    }

    fn series(name: &str, value: impl Fn(f64) -> f64) -> Series {
        let samples = grid().iter().map(|time| Sample { time, value: value(time.seconds() / 60.0) });
        Series { labels: Labels::named(name), samples: samples.collect() }
    }

    #[test]
    fn a_rising_line_rises_from_corner_to_corner() {
        let data = QueryData::Matrix(vec![series("x", |minute| minute), series("y", |_| f64::INFINITY)]);
        let drawn = plot(&data, &grid(), Some(60));
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0].chars().last(), Some('a'), "{drawn}");
        assert!(lines[0].starts_with("60.00 │"), "{drawn}");
        assert!(lines[ROWS - 1].starts_with("    0 │a"), "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(drawn.contains("a  x  last 60.00, least 0, greatest 60.00\n"), "{drawn}");
        assert!(drawn.contains("b  y  last +Inf"), "{drawn}");
        let columns: Vec<usize> =
            lines[..ROWS].iter().map(|line| line.chars().position(|c| c == 'a').unwrap()).collect();
        assert!(columns.windows(2).all(|pair| pair[0] > pair[1]), "{drawn}");
    }

    #[test]
    fn nothing_to_draw_is_said_in_words() {
        assert_eq!(plot(&QueryData::Matrix(Vec::new()), &grid(), None), "no series\n");
        let data = QueryData::Matrix(vec![series("x", |_| f64::NAN)]);
        assert!(plot(&data, &grid(), None).starts_with("no finite value to draw\na  x"));
        let constant = plot(&QueryData::Matrix(vec![series("x", |_| 5.0)]), &grid(), Some(10));
        assert_eq!(constant.lines().filter(|line| line.contains("│a")).count(), 1, "{constant}");
        let many = (0..20).map(|at| series(&format!("x{at}"), |_| 1.0)).collect();
        assert!(plot(&QueryData::Matrix(many), &grid(), None).contains("and 8 more series"));
    }
}
