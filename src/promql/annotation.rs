//! Warnings and infos, in Prometheus' words.

use std::collections::BTreeMap;

use super::number::go_g;
use crate::series::quoted;

/// The notes on an evaluation by their text, each with the place that gave it last: as in Prometheus, the same text is
/// said once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    warnings: BTreeMap<String, String>,
    infos: BTreeMap<String, String>,
}

fn with_places(notes: &BTreeMap<String, String>) -> Vec<String> {
    notes.iter().map(|(text, place)| format!("{text} ({place})")).collect()
}

/// The notes of several evaluations of parts of one query, sorted, each text once with its last place in the query: as
/// if one evaluation had given all of them.
#[must_use]
pub fn merged(notes: Vec<String>) -> Vec<String> {
    let mut last: BTreeMap<String, Option<(u32, u32)>> = BTreeMap::new();
    for note in notes {
        let placed =
            note.strip_suffix(')').and_then(|note| note.rsplit_once(" (")).and_then(|(text, place)| {
                let (line, column) = place.split_once(':')?;
                Some((text.to_owned(), (line.parse().ok()?, column.parse().ok()?)))
            });
        let (text, place) = placed.map_or((note, None), |(text, place)| (text, Some(place)));
        let known = last.entry(text).or_default();
        *known = place.max(*known);
    }
    let said = |(text, place): (String, Option<(u32, u32)>)| match place {
        Some((line, column)) => format!("{text} ({line}:{column})"),
        None => text,
    };
    last.into_iter().map(said).collect()
}

/// What is worth a note.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Annotation<'a> {
    /// A quantile outside of `[0, 1]`.
    InvalidQuantile(f64),
    /// A ratio outside of `[−1, 1]`, and what is used instead.
    InvalidRatio(f64, f64),
    /// A bucket whose bound is no number; the name of its metric where it is known.
    BadBucketLabel(&'a str, &'a str),
    /// A rate of something that is not named like a counter.
    PossibleNonCounter(&'a str),
    /// Buckets that do not grow; the name of the metric where it is known.
    ForcedMonotonicity(&'a str),
}

impl Annotations {
    /// Warnings, sorted.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        with_places(&self.warnings)
    }

    /// Infos, sorted.
    #[must_use]
    pub fn infos(&self) -> Vec<String> {
        with_places(&self.infos)
    }

    /// Adds a note about the expression at `place` (`line:column`).
    pub(crate) fn add(&mut self, annotation: &Annotation<'_>, place: &str) {
        let of_metric = |name: &str| match name {
            "" => String::new(),
            name => format!(" for metric name {}", quoted(name)),
        };
        let (is_warning, text) = match annotation {
            Annotation::InvalidQuantile(q) => {
                (true, format!("quantile value should be between 0 and 1, got {}", go_g(*q)))
            }
            Annotation::InvalidRatio(ratio, used) => (
                true,
                format!(
                    "ratio value should be between -1 and 1, got {}, capping to {}",
                    go_g(*ratio),
                    go_g(*used)
                ),
            ),
            Annotation::BadBucketLabel(name, value) => (
                true,
                format!(
                    "bucket label \"le\" is missing or has a malformed value of {}{}",
                    quoted(value),
                    of_metric(name)
                ),
            ),
            Annotation::PossibleNonCounter(name) => (
                false,
                format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                    quoted(name)
                ),
            ),
            Annotation::ForcedMonotonicity(name) => (
                false,
                format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                    of_metric(name)
                ),
            ),
        };
        if is_warning {
            self.warnings.insert(format!("PromQL warning: {text}"), place.to_owned());
        } else {
            self.infos.insert(format!("PromQL info: {text}"), place.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_two_parts_give_is_said_once_with_its_last_place() {
        let notes = ["b (1:9)", "a (1:12)", "a (1:4)", "plain", "a (b) (2:1)", "plain", "c (d)"];
        let expected = ["a (1:12)", "a (b) (2:1)", "b (1:9)", "c (d)", "plain"];
        assert_eq!(merged(notes.map(str::to_owned).into()), expected);
    }
}
