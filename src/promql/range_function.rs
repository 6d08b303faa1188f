//! Functions of the samples in a range.

use super::{counter, over_time, regression};
use crate::series::Sample;

/// A function that turns a range of samples into one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeFunction {
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `irate`
    InstantRate,
    /// `idelta`
    InstantDelta,
    /// `resets`
    Resets,
    /// `changes`
    Changes,
    /// `deriv`
    Derivative,
    /// `predict_linear`
    PredictLinear,
    /// `double_exponential_smoothing`, `holt_winters`
    DoubleExponentialSmoothing,
    /// `avg_over_time`
    Average,
    /// `sum_over_time`
    Sum,
    /// `count_over_time`
    Count,
    /// `min_over_time`
    Minimum,
    /// `max_over_time`
    Maximum,
    /// `stddev_over_time`
    StandardDeviation,
    /// `stdvar_over_time`
    Variance,
    /// `mad_over_time`: the median of the distances from the median
    MedianDeviation,
    /// `quantile_over_time`
    Quantile,
    /// `first_over_time`
    First,
    /// `last_over_time`
    Last,
    /// `present_over_time`
    Present,
    /// `ts_of_first_over_time`
    TimeOfFirst,
    /// `ts_of_last_over_time`
    TimeOfLast,
    /// `ts_of_min_over_time`, the last of equals
    TimeOfMinimum,
    /// `ts_of_max_over_time`, the last of equals
    TimeOfMaximum,
}

/// The samples of one series in one range, and what else a function may look at. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// In rising order of time, without stale markers; never empty.
    pub samples: &'a [Sample],
    /// The left edge.
    pub from: i64,
    /// The right edge.
    pub to: i64,
    /// The step that is evaluated, which `offset` and `@` may have moved away from the range.
    pub now: i64,
    /// The other arguments at this step, in their order.
    pub parameters: [f64; 2],
}

impl Window<'_> {
    /// The length of the range.
    pub(crate) fn seconds(&self) -> f64 {
        seconds_between(self.from, self.to)
    }
}

/// A smoothing parameter outside of `(0, 1)`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {value:.6}")]
pub struct InvalidFactor {
    /// `smoothing` or `trend`.
    pub name: &'static str,
    /// As Prometheus abbreviates it.
    pub symbol: &'static str,
    /// What was given.
    pub value: f64,
}

impl RangeFunction {
    /// The function called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "delta" => Self::Delta,
            "irate" => Self::InstantRate,
            "idelta" => Self::InstantDelta,
            "resets" => Self::Resets,
            "changes" => Self::Changes,
            "deriv" => Self::Derivative,
            "predict_linear" => Self::PredictLinear,
            "double_exponential_smoothing" | "holt_winters" => Self::DoubleExponentialSmoothing,
            "avg_over_time" => Self::Average,
            "sum_over_time" => Self::Sum,
            "count_over_time" => Self::Count,
            "min_over_time" => Self::Minimum,
            "max_over_time" => Self::Maximum,
            "stddev_over_time" => Self::StandardDeviation,
            "stdvar_over_time" => Self::Variance,
            "mad_over_time" => Self::MedianDeviation,
            "quantile_over_time" => Self::Quantile,
            "first_over_time" => Self::First,
            "last_over_time" => Self::Last,
            "present_over_time" => Self::Present,
            "ts_of_first_over_time" => Self::TimeOfFirst,
            "ts_of_last_over_time" => Self::TimeOfLast,
            "ts_of_min_over_time" => Self::TimeOfMinimum,
            "ts_of_max_over_time" => Self::TimeOfMaximum,
            _ => return None,
        })
    }

    /// Whether the value is one of the samples, unchanged, so that the series keeps its name.
    #[must_use]
    pub const fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }

    /// Whether it makes sense for counters alone, so that the name should say that it is one.
    #[must_use]
    pub const fn wants_counter(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }

    /// The value over a window. `None` where there are too few samples.
    ///
    /// # Errors
    /// [`InvalidFactor`], for exponential smoothing alone.
    pub fn apply(self, window: &Window<'_>) -> Result<Option<f64>, InvalidFactor> {
        let samples = window.samples;
        Ok(match self {
            Self::Rate => counter::extrapolated(window, true).map(|(rise, factor)| {
                // In this order, so that the last bits are those of Prometheus.
                rise * (factor / window.seconds())
            }),
            Self::Increase => counter::extrapolated(window, true).map(|(rise, factor)| rise * factor),
            Self::Delta => counter::extrapolated(window, false).map(|(rise, factor)| rise * factor),
            Self::InstantRate => counter::instant(samples, true),
            Self::InstantDelta => counter::instant(samples, false),
            Self::Resets => Some(counter::resets(samples)),
            Self::Changes => Some(counter::changes(samples)),
            Self::Derivative => regression::derivative(samples),
            Self::PredictLinear => regression::predicted(samples, window.now, window.parameters[0]),
            Self::DoubleExponentialSmoothing => {
                let [smoothing, trend] = window.parameters;
                return regression::smoothed(samples, smoothing, trend);
            }
            Self::Quantile => Some(over_time::quantile_of(window.parameters[0], samples)),
            _ => over_time::apply(self, samples),
        })
    }
}

pub(crate) fn seconds_between(earlier: i64, later: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
    let ms = later.saturating_sub(earlier) as f64;
    ms / 1000.0
}
