//! Growth and resets of counters, and differences of gauges.

use super::range_function::{Window, seconds_between};
use crate::series::Sample;

/// How much longer than average a gap may be and still count as one missing sample.
const GAP_TOLERANCE: f64 = 1.1;

/// The difference of the last and the first sample (of a counter: its growth, resets corrected), and the factor by
/// which it is extrapolated towards the edges of the range as Prometheus 3.x does it: all the way where the edge is
/// less than 1.1 average distances of samples away, else by half of that distance; for a counter at the left never
/// beyond the point where it would have been 0. At least two samples are needed.
pub(crate) fn extrapolated(window: &Window<'_>, is_counter: bool) -> Option<(f64, f64)> {
    let (first, last) = match window.samples {
        [first, .., last] => (first, last),
        _ => return None,
    };
    let mut rise = last.value - first.value;
    if is_counter {
        for pair in window.samples.windows(2).filter(|pair| pair[1].value < pair[0].value) {
            rise += pair[0].value;
        }
    }
    let sampled = seconds_between(first.time.millis(), last.time.millis());
    #[expect(clippy::cast_precision_loss, reason = "a number of samples in memory")]
    let average = sampled / (window.samples.len() - 1) as f64;
    let towards = |distance: f64| if distance >= average * GAP_TOLERANCE { average / 2.0 } else { distance };
    let mut to_start = towards(seconds_between(window.from, first.time.millis()));
    if is_counter && rise > 0.0 && first.value >= 0.0 {
        let to_zero = sampled * (first.value / rise);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let to_end = towards(seconds_between(last.time.millis(), window.to));
    Some((rise, (sampled + to_start + to_end) / sampled))
}

/// The difference of the last two samples; as a rate per second, where a fall is a reset to 0.
pub(crate) fn instant(samples: &[Sample], is_rate: bool) -> Option<f64> {
    let [.., before, last] = samples else { return None };
    if !is_rate {
        return Some(last.value - before.value);
    }
    let rise = if last.value < before.value { last.value } else { last.value - before.value };
    Some(rise / seconds_between(before.time.millis(), last.time.millis()))
}

/// How often the value falls.
pub(crate) fn resets(samples: &[Sample]) -> f64 {
    count(samples, |before, after| after < before)
}

/// How often the value changes; NaN after NaN is no change.
pub(crate) fn changes(samples: &[Sample]) -> f64 {
    count(samples, |before, after| before != after && !(before.is_nan() && after.is_nan()))
}

fn count(samples: &[Sample], counts: impl Fn(f64, f64) -> bool) -> f64 {
    let found = samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count();
    #[expect(clippy::cast_precision_loss, reason = "a number of samples in memory")]
    let found = found as f64;
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Timestamp;

    fn samples(values: &[(i64, f64)]) -> Vec<Sample> {
        let sample =
            |&(seconds, value): &(i64, f64)| Sample { time: Timestamp::from_millis(seconds * 1_000), value };
        values.iter().map(sample).collect()
    }

    fn increase(values: &[(i64, f64)], from: i64, to: i64) -> f64 {
        let samples = samples(values);
        let window =
            Window { samples: &samples, from: from * 1_000, to: to * 1_000, now: 0, parameters: [0.0; 2] };
        let (rise, factor) = extrapolated(&window, true).unwrap();
        rise * factor
    }

    #[test]
    fn an_increase_reaches_the_edges_but_never_below_zero() {
        // Samples each 10 s growing by 10: the whole range is 100 s, so 100.
        let steady: Vec<_> = (0..10).map(|i| (5 + 10 * i, 1_000.0 + 10.0 * f64::from(i as i32))).collect();
        assert!((increase(&steady, 0, 100) - 100.0).abs() < 1e-9);
        // Starting at 2, the counter was 0 two seconds before its first sample.
        let young: Vec<_> = (0..10).map(|i| (5 + 10 * i, 2.0 + 10.0 * f64::from(i as i32))).collect();
        assert!((increase(&young, 0, 100) - 97.0).abs() < 1e-9);
        // The series ends 60 s before the edge: half a distance is added there.
        assert!((increase(&[(10, 100.0), (20, 110.0), (30, 120.0)], 5, 90) - 30.0).abs() < 1e-9);
        // A reset from 110 to 3 adds what was there before.
        assert!((increase(&[(10, 100.0), (20, 110.0), (30, 3.0)], 10, 30) - 13.0).abs() < 1e-9);
    }

    #[test]
    fn the_last_two_samples_alone_make_an_instant_rate() {
        let falling = samples(&[(0, 1.0), (10, 50.0), (20, 30.0)]);
        assert_eq!(instant(&falling, true), Some(3.0));
        assert_eq!(instant(&falling, false), Some(-20.0));
        assert_eq!(instant(&falling[..1], false), None);
    }

    #[test]
    fn nan_after_nan_is_no_change_and_never_a_reset() {
        let values = samples(&[(0, f64::NAN), (1, f64::NAN), (2, 1.0), (3, f64::NAN), (4, 0.0)]);
        assert_eq!(changes(&values), 3.0);
        assert_eq!(resets(&values), 0.0);
    }
}
