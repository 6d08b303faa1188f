//! `info`: adds the labels of info series (`target_info` unless told otherwise) of the same `instance` and `job`.

use std::collections::{BTreeMap, HashMap};

use super::evaluate::{Evaluation, EvaluationError};
use super::expression::{Node, Selector, Shift};
use super::grid::Grid;
use super::label_function::merged;
use super::matcher::MatcherSet;
use super::source::Reading;
use super::value::StepSeries;
use crate::series::{Labels, MatchOp, Matcher, NAME};

/// The labels by which a series and an info series belong together.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info series where no other name is asked for.
const TARGET_INFO: &str = "target_info";

/// The selector of the info series: the second argument's matchers, on [`TARGET_INFO`] unless they name others.
pub(crate) fn info_selector(labels: Option<&Node>) -> Result<Selector, EvaluationError> {
    let given = labels.and_then(Node::selector).map_or(&[][..], |selector| selector.matchers.matchers());
    let mut matchers = given.to_vec();
    if !matchers.iter().any(|matcher| matcher.name == NAME) {
        let name = Matcher { name: NAME.to_owned(), op: MatchOp::Equal, value: TARGET_INFO.to_owned() };
        matchers.insert(0, name);
    }
    let matchers = MatcherSet::new(matchers).map_err(|fault| EvaluationError::Labels(fault.to_string()))?;
    Ok(Selector { matchers, shift: Shift { at: None, offset: 0 } })
}

/// The series of `base` with the labels of their info series.
pub(crate) fn enriched(
    evaluation: &Evaluation<'_>,
    base: Vec<StepSeries>,
    labels: Option<&Node>,
    grid: Grid,
) -> Result<Vec<StepSeries>, EvaluationError> {
    let selector = info_selector(labels)?;
    let reading = Reading::InfoSeries(grid.to_steps()?);
    // The values do not matter, but of two info series the one with the newer sample counts.
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
    let info = evaluation.instant_vector(&selector, grid, reading, |sample| sample.time.millis() as f64)?;
    let wanted = Wanted::of(labels, &selector);
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<StepSeries> = Vec::new();
    for step in 0..grid.count {
        let of_target = newest_of_targets(&info, step)?;
        for series in &base {
            let Some(value) = series.values[step] else { continue };
            let Some(labels) = wanted.add_to(&series.labels, &info, &of_target)? else { continue };
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                let values = vec![None; grid.count];
                out.push(StepSeries { labels: labels.clone(), values, drops_name: series.drops_name });
                out.len() - 1
            });
            if out[place].values[step].replace(value).is_some() {
                return Err(EvaluationError::SameLabels);
            }
        }
    }
    merged(out)
}

/// Name and identity of an info series.
type Target<'a> = (&'a str, [&'a str; 2]);

fn identity(labels: &Labels) -> [&str; 2] {
    IDENTIFYING.map(|name| labels.get(name))
}

fn newest_of_targets(
    info: &[StepSeries],
    step: usize,
) -> Result<BTreeMap<Target<'_>, usize>, EvaluationError> {
    let mut newest: BTreeMap<Target<'_>, (usize, f64)> = BTreeMap::new();
    for (index, series) in info.iter().enumerate() {
        let Some(time) = series.values[step] else { continue };
        let target = (series.labels.get(NAME), identity(&series.labels));
        match newest.get(&target) {
            Some((_, known)) if *known > time => {}
            Some((other, known)) if *known >= time => {
                #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds")]
                return Err(EvaluationError::DuplicateInfo {
                    existing: info[*other].labels.to_string(),
                    new: series.labels.to_string(),
                    time: time as i64,
                });
            }
            _ => {
                newest.insert(target, (index, time));
            }
        }
    }
    Ok(newest.into_iter().map(|(target, (index, _))| (target, index)).collect())
}

/// Which labels are asked for.
struct Wanted<'a> {
    /// None: all of them.
    names: Vec<&'a str>,
    /// Whether a series without any of them is kept.
    keeps_without: bool,
    selector: &'a Selector,
}

impl<'a> Wanted<'a> {
    fn of(labels: Option<&'a Node>, selector: &'a Selector) -> Self {
        let matchers = labels.and_then(Node::selector).map(|given| &given.matchers);
        let of_labels = |matchers: &'a MatcherSet| {
            matchers
                .matchers()
                .iter()
                .filter(|matcher| matcher.name != NAME)
                .map(|matcher| matcher.name.as_str())
        };
        let names = matchers.map(|matchers| of_labels(matchers).collect()).unwrap_or_default();
        let keeps_without = matchers.is_none_or(MatcherSet::matches_without_labels);
        Self { names, keeps_without, selector }
    }

    /// The labels of a series with those of its info series; `None` where it is dropped for lack of them.
    fn add_to(
        &self,
        base: &Labels,
        info: &[StepSeries],
        of_target: &BTreeMap<Target<'_>, usize>,
    ) -> Result<Option<Labels>, EvaluationError> {
        if self.selector.matchers.matches_name(base.get(NAME)) {
            // An info series itself.
            return Ok(Some(base.clone()));
        }
        let own = identity(base);
        let mut added = Labels::new();
        if own.iter().any(|value| !value.is_empty()) {
            for ((_, target), index) in of_target {
                if *target != own {
                    continue;
                }
                for (name, value) in info[*index].labels.iter().filter(|(name, _)| *name != NAME) {
                    if !self.names.is_empty() && !self.names.contains(&name) {
                        continue;
                    }
                    if !added.get(name).is_empty() && added.get(name) != value {
                        return Err(EvaluationError::ConflictingInfoLabel(name.to_owned()));
                    }
                    if base.get(name).is_empty() {
                        added.set(name, value);
                    }
                }
            }
        }
        if added.is_empty() && !self.keeps_without {
            return Ok(None);
        }
        let mut labels = base.clone();
        added.iter().for_each(|(name, value)| labels.set(name, value));
        Ok(Some(labels))
    }
}
