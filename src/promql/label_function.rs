//! Functions of labels alone: `label_replace`, `label_join`, the labels of `absent`, and dropping names.

use std::collections::HashMap;

use regex::Regex;

use super::evaluate::EvaluationError;
use super::matcher::MatcherSet;
use super::value::StepSeries;
use crate::series::{Labels, MatchOp, NAME};

/// The labels that say what a series measures, and are dropped where a function changes that.
const METADATA: [&str; 3] = [NAME, "__type__", "__unit__"];

/// The labels without those that say what the series measures.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    METADATA.iter().for_each(|name| labels.set(name, ""));
    labels
}

/// Series with the same labels become one.
///
/// # Errors
/// [`EvaluationError::SameLabels`] where both have a value at the same step.
pub(crate) fn merged(vector: Vec<StepSeries>) -> Result<Vec<StepSeries>, EvaluationError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(vector.len());
    let mut merged: Vec<StepSeries> = Vec::with_capacity(vector.len());
    for series in vector {
        match places.get(&series.labels) {
            None => {
                places.insert(series.labels.clone(), merged.len());
                merged.push(series);
            }
            Some(&place) => {
                for (kept, other) in merged[place].values.iter_mut().zip(series.values) {
                    match (&kept, other) {
                        (_, None) => {}
                        (None, Some(_)) => *kept = other,
                        (Some(_), Some(_)) => return Err(EvaluationError::SameLabels),
                    }
                }
            }
        }
    }
    Ok(merged)
}

/// `label_replace`: sets `destination` to `replacement`, in which `$1` and `${name}` stand for groups, wherever
/// `pattern` matches the whole of `source`.
///
/// # Errors
/// A pattern or a label name that is none.
pub(crate) fn replaced(
    mut vector: Vec<StepSeries>,
    destination: &str,
    replacement: &str,
    source: &str,
    pattern: &str,
) -> Result<Vec<StepSeries>, EvaluationError> {
    let Some(pattern) = MatcherSet::anchored(pattern) else {
        return Err(EvaluationError::Labels(format!(
            "invalid regular expression in label_replace(): {pattern}"
        )));
    };
    check_name(destination, "destination", "label_replace")?;
    for series in &mut vector {
        if let Some(value) = expanded(&pattern, series.labels.get(source), replacement) {
            set(series, destination, value);
        }
    }
    merged(vector)
}

/// The template with its groups, if the pattern matches.
fn expanded(pattern: &Regex, text: &str, template: &str) -> Option<String> {
    let captures = pattern.captures(text)?;
    let mut value = String::new();
    captures.expand(template, &mut value);
    Some(value)
}

/// `label_join`: sets `destination` to the values of `sources`, with `separator` between them.
///
/// # Errors
/// A label name that is none.
pub(crate) fn joined(
    mut vector: Vec<StepSeries>,
    destination: &str,
    separator: &str,
    sources: &[&str],
) -> Result<Vec<StepSeries>, EvaluationError> {
    sources.iter().try_for_each(|source| check_name(source, "source", "label_join"))?;
    check_name(destination, "destination", "label_join")?;
    for series in &mut vector {
        let values: Vec<&str> = sources.iter().map(|source| series.labels.get(source)).collect();
        let value = values.join(separator);
        set(series, destination, value);
    }
    merged(vector)
}

/// Setting the name says that it is to stay.
fn set(series: &mut StepSeries, label: &str, value: String) {
    series.labels.set(label, value);
    if label == NAME {
        series.drops_name = false;
    }
}

/// Any text that is not empty is a label name, since UTF-8 names are legal.
pub(crate) fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}

fn check_name(name: &str, which: &str, function: &str) -> Result<(), EvaluationError> {
    if is_label_name(name) {
        return Ok(());
    }
    Err(EvaluationError::Labels(format!("invalid {which} label name in {function}(): {name}")))
}

/// The labels that the absence of a selected series has: those that are matched by equality, once.
pub(crate) fn of_absent(matchers: &MatcherSet) -> Labels {
    let mut labels = Labels::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.matchers().iter().filter(|matcher| matcher.name != NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            labels.set(&matcher.name, matcher.value.as_str());
            seen.push(&matcher.name);
        } else {
            labels.set(&matcher.name, "");
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(labels: Labels) -> Vec<StepSeries> {
        vec![StepSeries { labels, values: vec![Some(1.0)], drops_name: true }]
    }

    #[test]
    fn a_template_takes_groups_by_number_and_name() {
        let vector = || one(Labels::named("x").with("src", "a-b"));
        for (template, result) in
            [("$1", "a"), ("${2}_$1", "b_a"), ("$name", "b"), ("$$", "$"), ("$9", ""), ("-", "-")]
        {
            let out = replaced(vector(), "dst", template, "src", "(.*)-(?P<name>.*)").unwrap();
            assert_eq!(out[0].labels.get("dst"), result, "{template}");
        }
        assert_eq!(replaced(vector(), "dst", "$1", "src", "(a)").unwrap()[0].labels.get("dst"), "");
        assert!(replaced(vector(), "", "$1", "src", "(a)").is_err());
        assert!(replaced(vector(), "dst", "$1", "src", "(a").is_err());
        assert!(!replaced(vector(), NAME, "y", "src", ".*").unwrap()[0].drops_name);
    }

    #[test]
    fn series_that_become_the_same_are_one_unless_they_meet() {
        let series = |values: &[Option<f64>]| StepSeries {
            labels: Labels::named("x"),
            values: values.to_vec(),
            drops_name: false,
        };
        let apart = merged(vec![series(&[Some(1.0), None]), series(&[None, Some(2.0)])]).unwrap();
        assert_eq!(apart, [series(&[Some(1.0), Some(2.0)])]);
        assert!(merged(vec![series(&[Some(1.0)]), series(&[Some(1.0)])]).is_err());
    }
}
