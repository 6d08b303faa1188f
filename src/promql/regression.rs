//! Trends: least squares, and double exponential smoothing.

use super::range_function::{InvalidFactor, seconds_between};
use super::summation::Sum;
use crate::series::Sample;

/// The slope per second.
pub(crate) fn derivative(samples: &[Sample]) -> Option<f64> {
    // Times relative to the first sample keep their digits.
    let first = samples.first()?.time.millis();
    (samples.len() > 1).then(|| line(samples, first).0)
}

/// The value of the fitted line `seconds` after `now`.
pub(crate) fn predicted(samples: &[Sample], now: i64, seconds: f64) -> Option<f64> {
    (samples.len() > 1).then(|| {
        let (slope, intercept) = line(samples, now);
        slope * seconds + intercept
    })
}

/// Slope per second, and value at `origin`, of the line of least squares. Equal values make a level line exactly;
/// infinite ones NaN.
fn line(samples: &[Sample], origin: i64) -> (f64, f64) {
    let first = samples[0].value;
    if samples.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let mut sums = [Sum::default(); 4];
    for sample in samples {
        let (x, y) = (seconds_between(origin, sample.time.millis()), sample.value);
        for (sum, term) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            *sum = sum.plus(term);
        }
    }
    let [x, y, xy, xx] = sums.map(Sum::total);
    #[expect(clippy::cast_precision_loss, reason = "a number of samples in memory")]
    let n = samples.len() as f64;
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Holt's linear method: the smoothed level at the last sample. At least two samples are needed.
pub(crate) fn smoothed(samples: &[Sample], smoothing: f64, trend: f64) -> Result<Option<f64>, InvalidFactor> {
    for (name, symbol, value) in [("smoothing", "sf", smoothing), ("trend", "tf", trend)] {
        // NaN passes, as in Prometheus.
        if value <= 0.0 || value >= 1.0 {
            return Err(InvalidFactor { name, symbol, value });
        }
    }
    let [first, second, ..] = samples else { return Ok(None) };
    let (mut before, mut level, mut slope) = (0.0, first.value, second.value - first.value);
    for (at, sample) in samples.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        (before, level) = (level, smoothing * sample.value + (1.0 - smoothing) * (level + slope));
    }
    Ok(Some(level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Timestamp;

    fn samples(values: &[f64]) -> Vec<Sample> {
        let sample = |(i, &value): (usize, &f64)| Sample {
            time: Timestamp::from_millis(10_000 * i64::try_from(i).unwrap()),
            value,
        };
        values.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn a_straight_line_is_found_and_extended() {
        let line = samples(&[1.0, 3.0, 5.0, 7.0]);
        assert!((derivative(&line).unwrap() - 0.2).abs() < 1e-12);
        assert!((predicted(&line, 30_000, 60.0).unwrap() - 19.0).abs() < 1e-9);
        assert_eq!(derivative(&samples(&[0.1; 5])), Some(0.0));
        assert_eq!(derivative(&samples(&[1.0])), None);
        assert!(derivative(&samples(&[f64::INFINITY; 2])).is_some_and(f64::is_nan));
    }

    #[test]
    fn smoothing_follows_a_straight_line_exactly_and_checks_its_factors() {
        let level = smoothed(&samples(&[1.0, 3.0, 5.0, 7.0]), 0.3, 0.6).unwrap().unwrap();
        assert!((level - 7.0).abs() < 1e-12);
        // By hand: level 2 → 0.5·4 + 0.5·(2 + 2) = 4, slope 2 → 0.5·1 + 0.5·(4 + (0.5·2 + 0.5·2)) = 3.5.
        assert_eq!(smoothed(&samples(&[2.0, 4.0, 1.0]), 0.5, 0.5), Ok(Some(3.5)));
        let fault = smoothed(&samples(&[1.0]), 0.5, 1.5).unwrap_err();
        assert_eq!(fault.to_string(), "invalid trend factor. Expected: 0 < tf < 1, got: 1.500000");
        assert_eq!(smoothed(&samples(&[1.0]), 0.5, 0.5), Ok(None));
    }
}
