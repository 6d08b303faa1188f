//! The `…_over_time` functions: statistics of the samples in a range.

use super::range_function::RangeFunction;
use super::summation::{Mean, Sum, quantile};
use crate::series::Sample;

/// The statistic, of at least one sample; `None` for a function that is none of these.
pub(crate) fn apply(function: RangeFunction, samples: &[Sample]) -> Option<f64> {
    let [first, .., last] = samples else {
        return match samples {
            [only] => apply_to_pair(function, samples, only, only),
            _ => None,
        };
    };
    apply_to_pair(function, samples, first, last)
}

fn apply_to_pair(function: RangeFunction, samples: &[Sample], first: &Sample, last: &Sample) -> Option<f64> {
    let values = || samples.iter().map(|sample| sample.value);
    Some(match function {
        RangeFunction::Average => {
            let mut mean = Mean::starting_with(first.value);
            samples[1..].iter().for_each(|sample| mean.add(sample.value));
            mean.value()
        }
        RangeFunction::Sum => {
            let sum = values().fold(Sum::default(), Sum::plus);
            if sum.sum.is_infinite() { sum.sum } else { sum.total() }
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of samples in memory")]
        RangeFunction::Count => samples.len() as f64,
        RangeFunction::Minimum => extreme(samples, |value, least| value < least).value,
        RangeFunction::Maximum => extreme(samples, |value, most| value > most).value,
        RangeFunction::TimeOfMinimum => extreme(samples, |value, least| value <= least).time.seconds(),
        RangeFunction::TimeOfMaximum => extreme(samples, |value, most| value >= most).time.seconds(),
        RangeFunction::Variance => variance(values()),
        RangeFunction::StandardDeviation => variance(values()).sqrt(),
        RangeFunction::MedianDeviation => {
            let mut sorted: Vec<f64> = values().collect();
            // A median of which one part is NaN would depend on where NaN is sorted.
            if sorted.iter().any(|value| value.is_nan()) {
                return Some(f64::NAN);
            }
            let median = quantile(0.5, &mut sorted);
            let mut distances: Vec<f64> = values().map(|value| (value - median).abs()).collect();
            quantile(0.5, &mut distances)
        }
        RangeFunction::First => first.value,
        RangeFunction::Last => last.value,
        RangeFunction::Present => 1.0,
        RangeFunction::TimeOfFirst => first.time.seconds(),
        RangeFunction::TimeOfLast => last.time.seconds(),
        _ => return None,
    })
}

/// The interpolated quantile of the values.
pub(crate) fn quantile_of(q: f64, samples: &[Sample]) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    quantile(q, &mut values)
}

/// The sample that beats all before it; NaN is beaten by everything. Needs at least one sample.
fn extreme(samples: &[Sample], beats: impl Fn(f64, f64) -> bool) -> Sample {
    let mut best = samples[0];
    for sample in samples {
        if beats(sample.value, best.value) || best.value.is_nan() {
            best = *sample;
        }
    }
    best
}

/// The variance of the population, by Welford's recurrence with compensated sums.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (value - mean.total()));
    }
    squares.total() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Timestamp;

    fn of(function: RangeFunction, values: &[f64]) -> f64 {
        let sample = |(i, &value): (usize, &f64)| Sample {
            time: Timestamp::from_millis(i64::try_from(i).unwrap() * 1_500),
            value,
        };
        let samples: Vec<_> = values.iter().enumerate().map(sample).collect();
        apply(function, &samples).unwrap()
    }

    #[test]
    fn statistics_are_those_of_the_population() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(of(RangeFunction::StandardDeviation, &values), 2.0);
        assert_eq!(of(RangeFunction::Variance, &values), 4.0);
        assert_eq!(of(RangeFunction::Average, &values), 5.0);
        assert_eq!(of(RangeFunction::MedianDeviation, &values), 0.5);
        assert_eq!(of(RangeFunction::Sum, &[f64::INFINITY, 1.0]), f64::INFINITY);
    }

    #[test]
    fn nan_is_beaten_by_everything_and_equals_count_as_last() {
        assert_eq!(of(RangeFunction::Minimum, &[f64::NAN, 3.0, 1.0, f64::NAN]), 1.0);
        assert_eq!(of(RangeFunction::Maximum, &[f64::NAN, 3.0]), 3.0);
        assert!(of(RangeFunction::Maximum, &[f64::NAN]).is_nan());
        assert_eq!(of(RangeFunction::TimeOfMaximum, &[7.0, 1.0, 7.0]), 3.0);
        assert_eq!(of(RangeFunction::TimeOfMinimum, &[7.0, 1.0, 1.0]), 3.0);
        assert_eq!(of(RangeFunction::TimeOfFirst, &[7.0, 1.0]), 0.0);
        assert!(of(RangeFunction::MedianDeviation, &[1.0, f64::NAN, 2.0]).is_nan());
    }
}
