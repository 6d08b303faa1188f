//! Aggregations of many series to one for each group: `sum`, `count`, `quantile`, `count_values` and the like.

use std::collections::HashMap;

use promql_parser::parser::token::{
    T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_GROUP, T_LIMIT_RATIO, T_LIMITK, T_MAX, T_MIN, T_QUANTILE,
    T_STDDEV, T_STDVAR, T_SUM, T_TOPK, TokenId,
};

use super::expression::Grouping;
use super::number::go_f;
use super::ranking::Ranking;
use super::summation::{Mean, Sum, quantile};
use super::value::StepSeries;
use crate::series::{Labels, NAME};

/// What becomes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Sum,
    Average,
    Count,
    /// NaN only where all are.
    Minimum,
    /// NaN only where all are.
    Maximum,
    /// 1 for each group.
    Group,
    StandardDeviation,
    Variance,
    Quantile,
    /// A series for each value, with the number of its series.
    CountValues,
    /// Some of the series of each group, as they are.
    Rank(Ranking),
}

impl Aggregation {
    /// The aggregation of a token.
    pub(crate) const fn of_token(token: TokenId) -> Option<Self> {
        Some(match token {
            T_SUM => Self::Sum,
            T_AVG => Self::Average,
            T_COUNT => Self::Count,
            T_MIN => Self::Minimum,
            T_MAX => Self::Maximum,
            T_GROUP => Self::Group,
            T_STDDEV => Self::StandardDeviation,
            T_STDVAR => Self::Variance,
            T_QUANTILE => Self::Quantile,
            T_COUNT_VALUES => Self::CountValues,
            T_TOPK => Self::Rank(Ranking::Top),
            T_BOTTOMK => Self::Rank(Ranking::Bottom),
            T_LIMITK => Self::Rank(Ranking::Limit),
            T_LIMIT_RATIO => Self::Rank(Ranking::Ratio),
            _ => return None,
        })
    }
}

impl Grouping {
    /// The labels of the group that a series belongs to.
    pub(crate) fn group(&self, labels: &Labels) -> Labels {
        match self {
            Self::Only(names) => names
                .iter()
                .map(|name| (name.as_str(), labels.get(name)))
                .filter(|(_, v)| !v.is_empty())
                .collect(),
            Self::Except(names) => labels
                .iter()
                .filter(|(name, _)| *name != NAME && !names.iter().any(|except| except == name))
                .collect(),
        }
    }
}

/// The group of each series, and the labels of the groups in the order in which they first appear.
pub(crate) fn groups(grouping: &Grouping, input: &[StepSeries]) -> (Vec<usize>, Vec<Labels>) {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut labels = Vec::new();
    let of_series = input.iter().map(|series| {
        *places.entry(grouping.group(&series.labels)).or_insert_with_key(|group| {
            labels.push(group.clone());
            labels.len() - 1
        })
    });
    (of_series.collect(), labels)
}

/// One number for each group and step. `parameter`: the quantile at each step.
pub(crate) fn aggregated(
    aggregation: Aggregation,
    grouping: &Grouping,
    input: &[StepSeries],
    parameter: Option<&[f64]>,
    steps: usize,
) -> Vec<StepSeries> {
    let (of_series, labels) = groups(grouping, input);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); labels.len()];
    for (series, group) in of_series.iter().enumerate() {
        members[*group].push(series);
    }
    let mut out = Vec::with_capacity(labels.len());
    let mut present = Vec::new();
    for (labels, members) in labels.into_iter().zip(members) {
        // As Prometheus has it, the last step with a value decides about the name.
        let mut drops_name = false;
        let values = (0..steps)
            .map(|step| {
                let here = members.iter().filter(|&&series| input[series].values[step].is_some());
                present.clear();
                present.extend(here.clone().filter_map(|&series| input[series].values[step]));
                if !present.is_empty() {
                    drops_name = here.clone().any(|&series| input[series].drops_name);
                }
                let q = parameter.and_then(|parameter| parameter.get(step)).copied().unwrap_or(f64::NAN);
                aggregation.of_group(&mut present, q)
            })
            .collect();
        out.push(StepSeries { labels, values, drops_name });
    }
    out.retain(|series| series.values.iter().any(Option::is_some));
    out
}

impl Aggregation {
    fn of_group(self, values: &mut [f64], q: f64) -> Option<f64> {
        let (first, rest) = values.split_first()?;
        Some(match self {
            Self::Sum => rest.iter().fold(Sum::starting_with(*first), |sum, value| sum.plus(*value)).total(),
            Self::Average => {
                let mut mean = Mean::starting_with(*first);
                rest.iter().for_each(|value| mean.add(*value));
                mean.value()
            }
            #[expect(clippy::cast_precision_loss, reason = "a number of series in memory")]
            Self::Count => values.len() as f64,
            Self::Minimum => rest.iter().fold(*first, |a, b| if a > *b || a.is_nan() { *b } else { a }),
            Self::Maximum => rest.iter().fold(*first, |a, b| if a < *b || a.is_nan() { *b } else { a }),
            Self::Group => 1.0,
            Self::StandardDeviation => variance(values).sqrt(),
            Self::Variance => variance(values),
            Self::Quantile => quantile(q, values),
            Self::CountValues | Self::Rank(_) => return None,
        })
    }
}

/// The variance of the population, by Welford's recurrence; NaN where a value is not finite.
fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        if !value.is_finite() {
            return f64::NAN;
        }
        count += 1.0;
        let delta = value - mean;
        // The first value is the mean exactly.
        mean = if count > 1.0 { mean + delta / count } else { *value };
        squares += delta * (value - mean);
    }
    squares / count
}

/// `count_values`: for each group and each value the number of series that have it, the value being put into `label`.
pub(crate) fn values_counted(
    grouping: &Grouping,
    label: &str,
    input: &[StepSeries],
    steps: usize,
) -> Vec<StepSeries> {
    // `by` keeps the new label; `without` drops it if it is listed.
    let grouping = match grouping {
        Grouping::Only(names) => {
            Grouping::Only(names.iter().cloned().chain(std::iter::once(label.to_owned())).collect())
        }
        except @ Grouping::Except(_) => except.clone(),
    };
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<StepSeries> = Vec::new();
    for step in 0..steps {
        for series in input {
            let Some(value) = series.values[step] else { continue };
            let labels = grouping.group(&series.labels.clone().with(label, go_f(value)));
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                out.push(StepSeries { labels: labels.clone(), values: vec![None; steps], drops_name: false });
                out.len() - 1
            });
            let count = &mut out[place].values[step];
            *count = Some(count.unwrap_or_default() + 1.0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(aggregation: Aggregation, values: &[f64]) -> f64 {
        aggregation.of_group(&mut values.to_vec(), 0.5).unwrap()
    }

    #[test]
    fn groups_become_one_number() {
        let values = [3.0, f64::NAN, 1.0];
        assert_eq!(of(Aggregation::Minimum, &values), 1.0);
        assert_eq!(of(Aggregation::Maximum, &[f64::NAN, -1.0]), -1.0);
        assert_eq!(of(Aggregation::Count, &values), 3.0);
        assert_eq!(of(Aggregation::Group, &values), 1.0);
        assert!(of(Aggregation::Sum, &values).is_nan());
        assert_eq!(of(Aggregation::Sum, &[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(of(Aggregation::StandardDeviation, &[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 2.0);
        assert!(of(Aggregation::Variance, &[1.0, f64::INFINITY]).is_nan());
        assert_eq!(of(Aggregation::Quantile, &[4.0, 1.0]), 2.5);
    }

    #[test]
    fn groups_keep_or_lose_the_listed_labels() {
        let labels = Labels::named("x").with("a", "1").with("b", "2");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(Grouping::Only(names(&["a", "c"])).group(&labels).to_string(), r#"{a="1"}"#);
        assert_eq!(Grouping::Only(names(&["__name__"])).group(&labels).to_string(), "x");
        assert_eq!(Grouping::Except(names(&["a"])).group(&labels).to_string(), r#"{b="2"}"#);
        assert_eq!(Grouping::ALL.group(&labels), Labels::new());
    }
}
