//! The functions of PromQL by name.

use super::expression::ValueType;
use super::math_function::MathFunction;
use super::range_function::RangeFunction;
use super::time_function::DatePart;

/// A function. What it takes is checked by the parser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Function {
    /// Of each value alone.
    Math(MathFunction),
    /// Of the samples in a range.
    OverRange(RangeFunction),
    /// `clamp(v, min, max)`
    Clamp,
    /// `clamp_min(v, min)`
    ClampMin,
    /// `clamp_max(v, max)`
    ClampMax,
    /// `round(v, nearest = 1)`
    Round,
    /// A part of a date, of the values or of the time of the step.
    Date(DatePart),
    /// `absent(v)`
    Absent,
    /// `absent_over_time(range)`
    AbsentOverTime,
    /// `histogram_quantile(q, v)`
    HistogramQuantile,
    /// `histogram_quantiles(v, label, q…)`
    HistogramQuantiles,
    /// `histogram_fraction(lower, upper, v)`
    HistogramFraction,
    /// `histogram_count` and the like: they take native histograms and drop numbers.
    OfNativeHistograms,
    /// `label_replace(v, destination, replacement, source, pattern)`
    LabelReplace,
    /// `label_join(v, destination, separator, source…)`
    LabelJoin,
    /// `info(v, {labels})`
    Info,
    /// `sort(v)`, `sort_desc(v)`
    Sort {
        /// Greatest first.
        descending: bool,
    },
    /// `sort_by_label(v, label…)`, `sort_by_label_desc(v, label…)`
    SortByLabel {
        /// Last first.
        descending: bool,
    },
    /// `scalar(v)`
    Scalar,
    /// `vector(s)`
    Vector,
    /// `time()`
    Time,
    /// `timestamp(v)`
    Timestamp,
    /// `pi()`
    Pi,
    /// `start()`: the first step of the query
    Start,
    /// `end()`: its end
    End,
    /// `step()`
    Step,
    /// `range()`: from start to end
    QueryRange,
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

impl Function {
    /// The function called `name`, if it is known here.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if let Some(function) = RangeFunction::named(name) {
            return Some(Self::OverRange(function));
        }
        if let Some(function) = MathFunction::named(name) {
            return Some(Self::Math(function));
        }
        if let Some(part) = DatePart::named(name) {
            return Some(Self::Date(part));
        }
        Some(match name {
            "clamp" => Self::Clamp,
            "clamp_min" => Self::ClampMin,
            "clamp_max" => Self::ClampMax,
            "round" => Self::Round,
            "absent" => Self::Absent,
            "absent_over_time" => Self::AbsentOverTime,
            "histogram_quantile" => Self::HistogramQuantile,
            "histogram_quantiles" => Self::HistogramQuantiles,
            "histogram_fraction" => Self::HistogramFraction,
            "histogram_count" | "histogram_sum" | "histogram_avg" | "histogram_stddev"
            | "histogram_stdvar" => Self::OfNativeHistograms,
            "label_replace" => Self::LabelReplace,
            "label_join" => Self::LabelJoin,
            "info" => Self::Info,
            "sort" => Self::Sort { descending: false },
            "sort_desc" => Self::Sort { descending: true },
            "sort_by_label" => Self::SortByLabel { descending: false },
            "sort_by_label_desc" => Self::SortByLabel { descending: true },
            "scalar" => Self::Scalar,
            "vector" => Self::Vector,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "pi" => Self::Pi,
            "start" => Self::Start,
            "end" => Self::End,
            "step" => Self::Step,
            "range" => Self::QueryRange,
            "min_of" => Self::MinOf,
            "max_of" => Self::MaxOf,
            _ => return None,
        })
    }

    /// What it yields.
    pub(crate) const fn value_type(self) -> ValueType {
        match self {
            Self::Scalar
            | Self::Time
            | Self::Pi
            | Self::Start
            | Self::End
            | Self::Step
            | Self::QueryRange
            | Self::MinOf
            | Self::MaxOf => ValueType::Scalar,
            _ => ValueType::Vector,
        }
    }

    /// Whether its value may change from step to step though its arguments do not: it looks at the time of the step,
    /// or at those of its samples.
    pub(crate) const fn depends_on_time(self) -> bool {
        matches!(
            self,
            Self::Date(_)
                | Self::Time
                | Self::Timestamp
                | Self::OverRange(RangeFunction::PredictLinear)
                | Self::Start
                | Self::End
                | Self::Step
                | Self::QueryRange
                | Self::Info
        )
    }
}
