//! An answer as lines: one for each sample.

use std::fmt::Write as _;

use crate::api::page::utc::date_and_time;
use crate::series::{Sample, Series};
use crate::wire::prometheus_json::QueryData;
use crate::wire::prometheus_json::number::float;

/// A line for each sample: an instant's series beside their values, a range's series each above its samples.
pub(super) fn table(data: &QueryData) -> String {
    match data {
        QueryData::Vector(series) if series.is_empty() => "no series\n".to_owned(),
        QueryData::Matrix(series) if series.is_empty() => "no series\n".to_owned(),
        QueryData::Vector(series) => vector(series),
        QueryData::Matrix(series) => matrix(series),
        QueryData::Scalar(sample) => format!("{}\n", float(sample.value)),
        QueryData::String { value, .. } => format!("{value}\n"),
    }
}

fn vector(series: &[Series]) -> String {
    let names: Vec<String> = series.iter().map(|series| series.labels.to_string()).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    for (name, series) in names.iter().zip(series) {
        let value = series.samples.last().map(|sample| float(sample.value)).unwrap_or_default();
        let _ = writeln!(out, "{name:widest$}  {value}");
    }
    out
}

fn matrix(series: &[Series]) -> String {
    let mut out = String::new();
    for series in series {
        let _ = writeln!(out, "{}", series.labels);
        for Sample { time, value } in &series.samples {
            let _ = writeln!(out, "  {}  {}", date_and_time(*time), float(*value));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Labels;
    use crate::unit::Timestamp;

    fn series(job: &str, values: &[f64]) -> Series {
        let samples = values
            .iter()
            .zip(0..)
            .map(|(value, minute)| Sample { time: Timestamp::from_millis(minute * 60_000), value: *value });
        Series { labels: Labels::named("x").with("job", job), samples: samples.collect() }
    }

    #[test]
    fn values_stand_in_a_column_beside_their_series() {
        let data = QueryData::Vector(vec![series("a", &[1.5]), series("longer", &[f64::INFINITY])]);
        assert_eq!(table(&data), "x{job=\"a\"}       1.5\nx{job=\"longer\"}  +Inf\n");
        let data = QueryData::Matrix(vec![series("a", &[1.0, 1e-9])]);
        assert_eq!(
            table(&data),
            "x{job=\"a\"}\n  1970-01-01 00:00:00 UTC  1\n  1970-01-01 00:01:00 UTC  1e-09\n"
        );
        assert_eq!(table(&QueryData::Vector(Vec::new())), "no series\n");
        let scalar = Sample { time: Timestamp::from_millis(0), value: 4.0 };
        assert_eq!(table(&QueryData::Scalar(scalar)), "4\n");
    }
}
