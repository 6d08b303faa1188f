//! What an evaluation here reads: the answers to a plan's requests, as the steps that they are, beside series of ours.

use std::collections::HashSet;

use super::expression::{SubtreeId, ValueType};
use super::pushdown::{QueryPlan, Read, Request, Theirs, When};
use super::source::{Fetched, Reading, Selection, SeriesSource};
use super::value::{StepSeries, Value};
use crate::series::{Labels, STALE_NAN_BITS, Sample, Series, StepGrid};
use crate::unit::Timestamp;

/// Why an answer is not the answer to its request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer to {request} is unusable: {fault}")]
pub struct UnusableAnswer {
    /// What was asked.
    pub request: String,
    /// What is wrong.
    pub fault: String,
}

/// Everything that a planned evaluation reads.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// One for each request whose answer stands in the tree.
    evaluated: Vec<Option<Value>>,
    fetched: Fetched,
}

impl Gathered {
    /// The answers to the requests of `plan` and the series of ours that its reads select, both in their order.
    ///
    /// # Errors
    /// [`UnusableAnswer`]: a sample off the grid, two series with the same labels, a scalar with labels or holes.
    pub fn new(
        plan: &QueryPlan,
        answers: Vec<Vec<Series>>,
        ours: Vec<Vec<Series>>,
    ) -> Result<Self, UnusableAnswer> {
        let mut fetched = Vec::with_capacity(plan.reads.len());
        for (read, ours) in plan.reads.iter().zip(ours) {
            fetched.push((read.selection.clone(), joined(read, ours, &answers)));
        }
        let mut evaluated = Vec::with_capacity(plan.requests.len());
        for (request, series) in plan.requests.iter().zip(answers) {
            let value = match request.value_type {
                ValueType::Range | ValueType::Text => Ok(None),
                ValueType::Scalar => scalar(request, series).map(Some),
                ValueType::Vector => vector(request, series).map(Some),
            };
            let unusable = |fault| UnusableAnswer { request: request.text().to_owned(), fault };
            evaluated.push(value.map_err(unusable)?);
        }
        Ok(Self { evaluated, fetched: Fetched(fetched) })
    }
}

impl SeriesSource for Gathered {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
        self.fetched.select(selection)
    }

    fn evaluated(&self, subtree: SubtreeId) -> Option<&Value> {
        self.evaluated.get(subtree.0)?.as_ref()
    }
}

/// At each step of the request the value there, if any.
fn values(when: When, samples: &[Sample]) -> Result<Vec<Option<f64>>, String> {
    let grid = match when {
        When::Steps(grid) => grid,
        // The one sample of an instant is that of the time asked for, whatever its own time says.
        When::Instant(_) | When::Samples(_) => {
            return match samples {
                [sample] => Ok(vec![Some(sample.value)]),
                _ => Err(format!("{} samples where one was due", samples.len())),
            };
        }
    };
    let mut values = vec![None; grid.points()];
    for sample in samples {
        let place = step_of(&grid, sample.time).and_then(|step| values.get_mut(step));
        let place = place.ok_or_else(|| format!("a sample at {} is off the grid", sample.time.seconds()))?;
        *place = Some(sample.value);
    }
    Ok(values)
}

fn step_of(grid: &StepGrid, time: Timestamp) -> Option<usize> {
    let since = u64::try_from(time.millis().checked_sub(grid.start().millis())?).ok()?;
    let step = grid.step().millis();
    if since.is_multiple_of(step) { usize::try_from(since / step).ok() } else { None }
}

fn vector(request: &Request, series: Vec<Series>) -> Result<Value, String> {
    let mut seen = HashSet::new();
    if let Some(twice) = series.iter().find(|series| !seen.insert(&series.labels)) {
        return Err(format!("{} stands in it twice", twice.labels));
    }
    let mut vector = Vec::with_capacity(series.len());
    for Series { labels, samples } in series.into_iter().filter(|series| !series.samples.is_empty()) {
        vector.push(StepSeries { labels, values: values(request.when, &samples)?, drops_name: false });
    }
    Ok(Value::Vector(vector))
}

fn scalar(request: &Request, series: Vec<Series>) -> Result<Value, String> {
    let [Series { labels, samples }] = &series[..] else {
        return Err(format!("{} series where a scalar was due", series.len()));
    };
    if !labels.is_empty() {
        return Err(format!("{labels} where a scalar was due"));
    }
    let numbers: Option<Vec<f64>> = values(request.when, samples)?.into_iter().collect();
    numbers.map(Value::Scalar).ok_or_else(|| "a scalar has no value at some step".to_owned())
}

/// The series of a selection: ours, and those of the upstream with other labels.
fn joined(read: &Read, ours: Vec<Series>, answers: &[Vec<Series>]) -> Vec<Series> {
    let mut all = ours;
    if let Some(theirs) = read.theirs {
        let own: HashSet<Labels> = all.iter().map(|series| series.labels.clone()).collect();
        let theirs = of_upstream(&read.selection, theirs, answers);
        all.extend(theirs.into_iter().filter(|series| !own.contains(&series.labels)));
    }
    all
}

fn of_upstream(selection: &Selection, theirs: Theirs, answers: &[Vec<Series>]) -> Vec<Series> {
    let no_series = Vec::new();
    let mut series = answers.get(theirs.samples).unwrap_or(&no_series).clone();
    for one in &mut series {
        one.samples.retain(|sample| (selection.from..=selection.to).contains(&sample.time));
    }
    if let (Reading::InfoSeries(grid), Some(steps)) = (selection.reading, theirs.steps) {
        let steps = answers.get(steps).unwrap_or(&no_series);
        for one in &mut series {
            let present = steps.iter().find(|present| present.labels == one.labels);
            mark_stale(&mut one.samples, &grid, present.map_or(&[][..], |present| &present.samples));
        }
    }
    series
}

/// Raw samples come without stale markers. Where a series has no value at a step, a marker there says so.
fn mark_stale(samples: &mut Vec<Sample>, grid: &StepGrid, present: &[Sample]) {
    let mut present = present.iter().map(|sample| sample.time).peekable();
    for time in grid.iter() {
        if present.next_if_eq(&time).is_none() {
            let at = samples.partition_point(|sample| sample.time <= time);
            let marker = Sample { time, value: f64::from_bits(STALE_NAN_BITS) };
            match at.checked_sub(1).and_then(|before| samples.get_mut(before)) {
                Some(last) if last.time == time => *last = marker,
                _ => samples.insert(at, marker),
            }
        }
    }
}
