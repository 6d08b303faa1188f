//! Functions of the samples in a range: `increase`, `rate`, `count_over_time`.

use crate::series::Sample;
use crate::unit::Timestamp;

/// A function that turns a range of samples into one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeFunction {
    /// `increase`
    Increase,
    /// `rate`
    Rate,
    /// `count_over_time`
    CountOverTime,
}

impl RangeFunction {
    /// The function called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "increase" => Some(Self::Increase),
            "rate" => Some(Self::Rate),
            "count_over_time" => Some(Self::CountOverTime),
            _ => None,
        }
    }

    /// The value over `samples`, which lie in `(from, to]` in rising order of time and hold no stale marker. `None`
    /// where there are too few of them.
    #[must_use]
    pub fn apply(self, samples: &[Sample], from: Timestamp, to: Timestamp) -> Option<f64> {
        match self {
            Self::Increase => extrapolated_increase(samples, from, to),
            Self::Rate => {
                let seconds = seconds_between(from, to);
                extrapolated_increase(samples, from, to).map(|increase| increase / seconds)
            }
            #[expect(clippy::cast_precision_loss, reason = "a count of samples in memory")]
            Self::CountOverTime => (!samples.is_empty()).then_some(samples.len() as f64),
        }
    }
}

/// The growth of a counter over `(from, to]`, resets corrected, extrapolated from the first and the last sample
/// towards the edges of the range as Prometheus 3.x does it: all the way where the edge is within 1.1 times the
/// average distance of samples, else by half of that distance; at the left never beyond the point where the counter
/// would have been 0. At least two samples are needed.
fn extrapolated_increase(samples: &[Sample], from: Timestamp, to: Timestamp) -> Option<f64> {
    /// How much longer than average a gap may be and still count as one missing sample.
    const GAP_TOLERANCE: f64 = 1.1;
    let (first, last) = match samples {
        [first, .., last] => (first, last),
        _ => return None,
    };
    let resets: f64 =
        samples.windows(2).filter(|pair| pair[1].value < pair[0].value).map(|pair| pair[0].value).sum();
    let increase = last.value - first.value + resets;
    let sampled = seconds_between(first.time, last.time);
    #[expect(clippy::cast_precision_loss, reason = "a count of samples in memory")]
    let average = sampled / (samples.len() - 1) as f64;
    let towards = |distance: f64| if distance >= average * GAP_TOLERANCE { average / 2.0 } else { distance };
    let mut to_start = towards(seconds_between(from, first.time));
    if increase > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / increase));
    }
    let to_end = towards(seconds_between(last.time, to));
    Some(increase * ((sampled + to_start + to_end) / sampled))
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
    let ms = later.millis().saturating_sub(earlier.millis()) as f64;
    ms / 1000.0
}
