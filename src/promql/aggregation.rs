//! Aggregations over series: `sum`, `count`, `min`, `max`, `avg`, with `by` and `without`.

use std::collections::HashMap;

use promql_parser::parser::LabelModifier;
use promql_parser::parser::token::{T_AVG, T_COUNT, T_MAX, T_MIN, T_SUM, TokenId};

use super::value::StepSeries;
use crate::series::{Labels, NAME};

/// How the values of a group become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// `sum`
    Sum,
    /// `count`
    Count,
    /// `min`; NaN only where all are
    Min,
    /// `max`; NaN only where all are
    Max,
    /// `avg`
    Average,
}

impl Aggregation {
    /// The aggregation of a token, if it is one of these.
    #[must_use]
    pub const fn of_token(token: TokenId) -> Option<Self> {
        match token {
            T_SUM => Some(Self::Sum),
            T_COUNT => Some(Self::Count),
            T_MIN => Some(Self::Min),
            T_MAX => Some(Self::Max),
            T_AVG => Some(Self::Average),
            _ => None,
        }
    }

    /// Aggregates `input` into one series for each group, in the order in which the groups first appear.
    #[must_use]
    pub fn apply(
        self,
        modifier: Option<&LabelModifier>,
        input: &[StepSeries],
        steps: usize,
    ) -> Vec<StepSeries> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<(Labels, Vec<Group>)> = Vec::new();
        for series in input {
            let labels = group_labels(modifier, &series.labels);
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                groups.push((labels.clone(), vec![Group::default(); steps]));
                groups.len() - 1
            });
            for (group, value) in groups[place].1.iter_mut().zip(&series.values) {
                if let Some(value) = value {
                    group.add(*value);
                }
            }
        }
        let finish = |groups: Vec<Group>| groups.iter().map(|group| group.finish(self)).collect();
        groups.into_iter().map(|(labels, groups)| StepSeries { labels, values: finish(groups) }).collect()
    }
}

fn group_labels(modifier: Option<&LabelModifier>, labels: &Labels) -> Labels {
    match modifier {
        None => Labels::new(),
        Some(LabelModifier::Include(kept)) => {
            kept.labels.iter().map(|name| (name.clone(), labels.get(name))).collect()
        }
        Some(LabelModifier::Exclude(dropped)) => labels
            .iter()
            .filter(|(name, _)| *name != NAME && !dropped.labels.iter().any(|dropped| dropped == name))
            .collect(),
    }
}

/// One group at one step.
#[derive(Debug, Clone, Copy)]
struct Group {
    count: f64,
    /// Compensated sum (Neumaier): the order of series hardly matters.
    sum: f64,
    compensation: f64,
    /// Running mean, for sums that overflow.
    mean: f64,
    all_finite: bool,
    min: f64,
    max: f64,
}

impl Default for Group {
    fn default() -> Self {
        let (min, max) = (f64::NAN, f64::NAN);
        Self { count: 0.0, sum: 0.0, compensation: 0.0, mean: 0.0, all_finite: true, min, max }
    }
}

impl Group {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let sum = self.sum + value;
        self.compensation +=
            if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
        self.mean += value / self.count - self.mean / self.count;
        self.all_finite &= value.is_finite();
        // `f64::min` and `max` return the other operand where one is NaN.
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Infinite addends make the compensation NaN; the plain sum is right then.
    fn sum(&self) -> f64 {
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }

    fn finish(&self, aggregation: Aggregation) -> Option<f64> {
        if self.count == 0.0 {
            return None;
        }
        Some(match aggregation {
            Aggregation::Sum => self.sum(),
            Aggregation::Count => self.count,
            Aggregation::Min => self.min,
            Aggregation::Max => self.max,
            Aggregation::Average if self.all_finite && !self.sum.is_finite() => self.mean,
            Aggregation::Average => self.sum() / self.count,
        })
    }
}
