//! The evaluation of function calls.

use super::annotation::Annotation;
use super::evaluate::{Evaluation, EvaluationError};
use super::expression::{Kind, Node};
use super::function::Function;
use super::grid::Grid;
use super::label_function::{joined, of_absent, replaced, without_metadata};
use super::math_function::{clamped, maximum, minimum, rounded};
use super::range_function::{RangeFunction, Window};
use super::selector::advanced;
use super::source::Reading;
use super::time_function::DatePart;
use super::value::{StepSeries, Value};
use super::{histogram_function, info_function, sorting};
use crate::series::{Labels, NAME};

impl Evaluation<'_> {
    pub(crate) fn call(
        &self,
        function: Function,
        arguments: &[Node],
        grid: Grid,
    ) -> Result<Value, EvaluationError> {
        let argument = |index: usize| arguments.get(index).ok_or(EvaluationError::MissingArgument);
        let scalar = |index: usize| self.scalar(argument(index)?, grid);
        let vector = |index: usize| self.vector(argument(index)?, grid);
        let constant = |number: f64| Ok(Value::Scalar(vec![number; grid.count]));
        let each = |change: &dyn Fn(usize, f64) -> Option<f64>| -> Result<Value, EvaluationError> {
            self.mapped(vector(0)?, true, change).map(Value::Vector)
        };
        match function {
            Function::Math(math) => each(&|_, value| Some(math.of(value))),
            Function::Clamp => {
                let (lowest, highest) = (scalar(1)?, scalar(2)?);
                each(&|step, value| clamped(value, lowest[step], highest[step]))
            }
            Function::ClampMin => {
                let lowest = scalar(1)?;
                each(&|step, value| clamped(value, lowest[step], f64::INFINITY))
            }
            Function::ClampMax => {
                let highest = scalar(1)?;
                each(&|step, value| clamped(value, f64::NEG_INFINITY, highest[step]))
            }
            Function::Round if arguments.len() > 1 => {
                let nearest = scalar(1)?;
                each(&|step, value| Some(rounded(value, nearest[step])))
            }
            Function::Round => each(&|_, value| Some(rounded(value, 1.0))),
            Function::Date(part) if arguments.is_empty() => Ok(date_of_steps(part, grid)),
            Function::Date(part) => each(&|_, value| Some(part.of(value))),
            Function::OverRange(function) => self.over_range(function, arguments, grid).map(Value::Vector),
            Function::Absent => {
                let present = vector(0)?;
                Ok(absent(&present, argument(0)?, grid))
            }
            Function::AbsentOverTime => {
                let present = self.each_range(RangeFunction::Present, arguments, grid)?;
                Ok(absent(&present, argument(0)?, grid))
            }
            Function::HistogramQuantile => histogram_function::quantile(self, arguments, grid),
            Function::HistogramQuantiles => histogram_function::quantiles(self, arguments, grid),
            Function::HistogramFraction => histogram_function::fraction(self, arguments, grid),
            Function::OfNativeHistograms => vector(0).map(|_| Value::Vector(Vec::new())),
            Function::LabelReplace => {
                let [destination, replacement, source, pattern] = texts(arguments)?;
                replaced(vector(0)?, destination, replacement, source, pattern).map(Value::Vector)
            }
            Function::LabelJoin => {
                let [destination, separator] = texts(arguments)?;
                let sources = arguments[3..].iter().map(text).collect::<Result<Vec<_>, _>>()?;
                joined(vector(0)?, destination, separator, &sources).map(Value::Vector)
            }
            Function::Info => {
                info_function::enriched(self, vector(0)?, arguments.get(1), grid).map(Value::Vector)
            }
            Function::Sort { descending } => {
                let mut vector = vector(0)?;
                // A range query sorts by labels in the end.
                if grid.count == 1 {
                    sorting::by_value(&mut vector, descending);
                }
                Ok(Value::Vector(vector))
            }
            Function::SortByLabel { descending } => {
                let mut vector = vector(0)?;
                let labels = arguments[1..].iter().map(text).collect::<Result<Vec<_>, _>>()?;
                if grid.count == 1 {
                    sorting::by_labels(&mut vector, &labels, descending);
                }
                Ok(Value::Vector(vector))
            }
            Function::Scalar => {
                let vector = vector(0)?;
                Ok(Value::Scalar((0..grid.count).map(|step| only_value(&vector, step)).collect()))
            }
            Function::Vector => {
                let values = scalar(0)?.into_iter().map(Some).collect();
                let series = StepSeries { labels: Labels::new(), values, drops_name: false };
                Ok(Value::Vector(vec![series]))
            }
            Function::Time => Ok(Value::Scalar(grid.times().map(seconds).collect())),
            Function::Timestamp => self.timestamps(argument(0)?, grid),
            Function::Pi => constant(std::f64::consts::PI),
            Function::Start => constant(seconds(self.query.start)),
            Function::End => constant(seconds(self.query.end)),
            Function::Step => constant(seconds(self.query.step)),
            Function::QueryRange => constant(seconds(self.query.end.saturating_sub(self.query.start))),
            Function::MinOf | Function::MaxOf => {
                let of = if function == Function::MinOf { minimum } else { maximum };
                let pairs = scalar(0)?.into_iter().zip(scalar(1)?);
                Ok(Value::Scalar(pairs.map(|(a, b)| of(a, b)).collect()))
            }
        }
    }

    /// Of a plain selector the times of the samples, of anything else the time of the step.
    fn timestamps(&self, argument: &Node, grid: Grid) -> Result<Value, EvaluationError> {
        if let Kind::Selector(selector) = &argument.unmarked().kind {
            let vector =
                self.instant_vector(selector, grid, Reading::Instant, |sample| sample.time.seconds())?;
            return self.without_names(vector).map(Value::Vector);
        }
        let vector = self.vector(argument, grid)?;
        self.mapped(vector, true, |step, _| Some(seconds(grid.at(step)))).map(Value::Vector)
    }

    fn over_range(
        &self,
        function: RangeFunction,
        arguments: &[Node],
        grid: Grid,
    ) -> Result<Vec<StepSeries>, EvaluationError> {
        let vector = self.each_range(function, arguments, grid)?;
        if function.keeps_name() { Ok(vector) } else { self.without_range_names(vector) }
    }

    /// A range function of each series, with its name.
    fn each_range(
        &self,
        function: RangeFunction,
        arguments: &[Node],
        grid: Grid,
    ) -> Result<Vec<StepSeries>, EvaluationError> {
        let is_range = |node: &&Node| matches!(node.unmarked().kind, Kind::Range(..) | Kind::Subquery(_));
        let range = arguments.iter().find(is_range).ok_or(EvaluationError::MissingArgument)?;
        let others = arguments.iter().filter(|node| !is_range(node));
        let parameters = others.map(|node| self.scalar(node, grid)).collect::<Result<Vec<_>, _>>()?;
        let ranges = self.ranges(range, grid)?;
        let mut vector = Vec::new();
        for range_series in ranges.series {
            let series = range_series.series;
            let (mut first, mut end) = (0, 0);
            let mut values = Vec::with_capacity(grid.count);
            self.hold(grid.count)?;
            for (step, now) in grid.times().enumerate() {
                let to = ranges.shift.of(now, self.query);
                let start = self.options.first_inside(to, ranges.length);
                first += advanced(&series.samples[first..], start.saturating_sub(1));
                end = end.max(first);
                end += advanced(&series.samples[end..], to);
                let samples = &series.samples[first..end];
                if samples.is_empty() {
                    values.push(None);
                    continue;
                }
                self.visit(samples.len())?;
                let parameter =
                    |index: usize| parameters.get(index).map_or(f64::NAN, |numbers| numbers[step]);
                if function == RangeFunction::Quantile && !(0.0..=1.0).contains(&parameter(0)) {
                    self.annotate(&Annotation::InvalidQuantile(parameter(0)), arguments[0].at);
                }
                let window = Window {
                    samples,
                    from: to.saturating_sub(ranges.length),
                    to,
                    now,
                    parameters: [parameter(0), parameter(1)],
                };
                values.push(function.apply(&window)?);
            }
            if values.iter().all(Option::is_none) {
                continue;
            }
            let name = series.labels.get(NAME);
            if function.wants_counter() && !name.is_empty() && !is_named_like_a_counter(name) {
                // Prometheus loses the place of a subquery.
                let of_subquery = matches!(range.unmarked().kind, Kind::Subquery(_));
                self.annotate(&Annotation::PossibleNonCounter(name), if of_subquery { 0 } else { range.at });
            }
            vector.push(StepSeries { labels: series.labels, values, drops_name: range_series.drops_name });
        }
        Ok(vector)
    }

    /// Range functions are computed series by series, and two that then have the same labels are an error, even if
    /// they never have a value at the same step.
    fn without_range_names(&self, vector: Vec<StepSeries>) -> Result<Vec<StepSeries>, EvaluationError> {
        if self.options.names_dropped_late {
            return self.without_names(vector);
        }
        let mut seen = std::collections::HashSet::new();
        if vector.iter().all(|series| seen.insert(without_metadata(&series.labels))) {
            self.without_names(vector)
        } else {
            Err(EvaluationError::SameLabels)
        }
    }
}

/// `timestamp / 1000` as Prometheus computes it.
fn seconds(millis: i64) -> f64 {
    crate::unit::Timestamp::from_millis(millis).seconds()
}

fn date_of_steps(part: DatePart, grid: Grid) -> Value {
    let values = grid.times().map(|now| Some(part.of(seconds(now).floor()))).collect();
    Value::Vector(vec![StepSeries { labels: Labels::new(), values, drops_name: false }])
}

fn is_named_like_a_counter(name: &str) -> bool {
    ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

/// The value of the only series that has one; NaN where there is none, or several.
fn only_value(vector: &[StepSeries], step: usize) -> f64 {
    let mut present = vector.iter().filter_map(|series| series.values[step]);
    match (present.next(), present.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

/// 1 at the steps at which nothing is present, with the labels that the argument selects by equality.
fn absent(present: &[StepSeries], argument: &Node, grid: Grid) -> Value {
    let missing = |step: usize| present.iter().all(|series| series.values[step].is_none());
    let values: Vec<Option<f64>> = (0..grid.count).map(|step| missing(step).then_some(1.0)).collect();
    if values.iter().all(Option::is_none) {
        return Value::Vector(Vec::new());
    }
    let labels = argument.selector().map_or_else(Labels::new, |selector| of_absent(&selector.matchers));
    Value::Vector(vec![StepSeries { labels, values, drops_name: false }])
}

pub(crate) fn text(node: &Node) -> Result<&str, EvaluationError> {
    match &node.unmarked().kind {
        Kind::Text(text) => Ok(text),
        _ => Err(EvaluationError::Type { expected: "string", found: node.value_type().name() }),
    }
}

/// The texts after the first argument.
fn texts<const N: usize>(arguments: &[Node]) -> Result<[&str; N], EvaluationError> {
    let mut texts = [""; N];
    for (index, place) in texts.iter_mut().enumerate() {
        *place = text(arguments.get(index + 1).ok_or(EvaluationError::MissingArgument)?)?;
    }
    Ok(texts)
}
