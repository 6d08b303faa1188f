//! The evaluator: a fold over the syntax tree, each node at all steps of the grid at once.

use std::cell::Cell;
use std::collections::HashMap;

use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, MatrixSelector, VectorMatchCardinality, VectorSelector,
};

use super::aggregation::Aggregation;
use super::arithmetic::Operation;
use super::matcher::{MatcherError, MatcherSet};
use super::query::{Query, duration_millis, millis, reach_of, reference_time, without_parentheses};
use super::range_function::RangeFunction;
use super::source::SeriesSource;
use super::value::{StepSeries, Value};
use crate::series::{Labels, NAME, STALE_NAN_BITS, Sample, Series, StepGrid};
use crate::unit::{Timestamp, Window};

/// What the evaluator knows, for messages to the client.
pub const SUPPORTED: &str = "selectors with offset and @, arithmetic and comparison with numbers, arithmetic between vectors of the same labels, sum, count, min, \
     max and avg with by and without, rate, increase, count_over_time, timestamp";

/// Why a query has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A construct that is not built.
    #[error("{construct} is not supported over synthetic series (supported: {SUPPORTED})")]
    Unsupported {
        /// Its spelling, or a description.
        construct: String,
    },
    /// The query's type does not fit its use.
    #[error("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector")]
    RangeType {
        /// What it is.
        found: &'static str,
    },
    /// Two series became one.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabels,
    /// Several series of one side have the same labels but for their names.
    #[error("multiple matches for labels: matching labels must be unique on both sides of the operation")]
    ManyMatches,
    /// Too much to read.
    #[error("query processing would load too many samples into memory in query execution (allowed: {limit})")]
    TooManySamples {
        /// How many are allowed.
        limit: usize,
    },
    /// A matcher that is no legal one.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// The samples cannot be had.
    #[error("{0}")]
    Source(String),
}

/// How a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How far an instant selector looks back.
    pub lookback: Window,
    /// The most samples that the selectors may read together, counted once for each step that they are read at.
    pub max_samples: usize,
}

/// Evaluates `query` on `grid`.
///
/// `range_query`: whether the answer must have a value at each step; a range selector or a text on its own is then an
/// error.
///
/// # Errors
/// [`EvaluationError`].
pub fn evaluate(
    query: &Query,
    grid: &StepGrid,
    range_query: bool,
    options: Options,
    source: &dyn SeriesSource,
) -> Result<Value, EvaluationError> {
    let evaluation = Evaluation {
        grid,
        times: grid.iter().collect(),
        options,
        source,
        samples_left: Cell::new(options.max_samples),
    };
    let value = evaluation.value(query.expression())?;
    match &value {
        Value::Range(_) | Value::Text(_) if range_query => {
            Err(EvaluationError::RangeType { found: value.type_name() })
        }
        _ => Ok(value),
    }
}

/// Whether the evaluator knows every construct of `query`, and its type fits a range query where it is one. Costs no
/// samples.
///
/// # Errors
/// [`EvaluationError::Unsupported`] with the first construct that it does not know, [`EvaluationError::RangeType`].
pub fn check_supported(query: &Query, range_query: bool) -> Result<(), EvaluationError> {
    struct Nothing;
    impl SeriesSource for Nothing {
        fn select(&self, _: &MatcherSet, _: Timestamp, _: Timestamp) -> Result<Vec<Series>, String> {
            Ok(Vec::new())
        }
    }
    let Ok(step) = Window::from_millis(1) else { return Ok(()) };
    let options = Options { lookback: step, max_samples: 0 };
    evaluate(query, &StepGrid::instant(Timestamp::default(), step), range_query, options, &Nothing).map(drop)
}

/// One sample for each step that has a value, in series that have at least one.
#[must_use]
pub fn into_series(vector: Vec<StepSeries>, grid: &StepGrid) -> Vec<Series> {
    let with_samples = |series: StepSeries| {
        let pairs = grid.iter().zip(series.values);
        let samples: Vec<_> =
            pairs.filter_map(|(time, value)| Some(Sample { time, value: value? })).collect();
        (!samples.is_empty()).then_some(Series { labels: series.labels, samples })
    };
    vector.into_iter().filter_map(with_samples).collect()
}

struct Evaluation<'a> {
    grid: &'a StepGrid,
    times: Vec<Timestamp>,
    options: Options,
    source: &'a dyn SeriesSource,
    samples_left: Cell<usize>,
}

type Evaluated<T> = Result<T, EvaluationError>;

fn unsupported<T>(construct: impl Into<String>) -> Evaluated<T> {
    Err(EvaluationError::Unsupported { construct: construct.into() })
}

impl Evaluation<'_> {
    fn value(&self, expression: &Expr) -> Evaluated<Value> {
        match expression {
            Expr::NumberLiteral(literal) => Ok(Value::Scalar(vec![literal.val; self.times.len()])),
            Expr::StringLiteral(literal) => Ok(Value::Text(literal.val.clone())),
            Expr::Paren(inner) => self.value(&inner.expr),
            Expr::VectorSelector(selector) => {
                Ok(Value::Vector(self.select(selector, |sample| sample.value)?))
            }
            Expr::MatrixSelector(selector) => self.samples_of_range(selector).map(Value::Range),
            Expr::Unary(unary) => self.negated(&unary.expr),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Subquery(_) => unsupported("a subquery"),
            Expr::Extension(extension) => unsupported(extension.expr.name()),
        }
    }

    fn vector(&self, expression: &Expr) -> Evaluated<Vec<StepSeries>> {
        match self.value(expression)? {
            Value::Vector(vector) => Ok(vector),
            other => unsupported(format!("a {} where an instant vector is needed", other.type_name())),
        }
    }

    /// At each step the newest sample that is not older than the lookback, unless it is a stale marker.
    fn select(
        &self,
        selector: &VectorSelector,
        number: impl Fn(&Sample) -> f64,
    ) -> Evaluated<Vec<StepSeries>> {
        let lookback = millis(self.options.lookback);
        let steps = self.references(selector);
        let mut vector = Vec::new();
        for series in self.fetch(selector, lookback)? {
            let mut next = 0;
            let mut found = 0;
            let values: Vec<Option<f64>> = steps
                .iter()
                .map(|&at| {
                    next += series.samples[next..].partition_point(|sample| sample.time <= at);
                    let newest = series.samples[..next].last()?;
                    let fresh = newest.time > at.plus_millis(lookback.saturating_neg());
                    (fresh && newest.value.to_bits() != STALE_NAN_BITS).then(|| {
                        found += 1;
                        number(newest)
                    })
                })
                .collect();
            self.spend(found)?;
            if found > 0 {
                vector.push(StepSeries { labels: series.labels, values });
            }
        }
        Ok(vector)
    }

    fn references(&self, selector: &VectorSelector) -> Vec<Timestamp> {
        self.times.iter().map(|&at| reference_time(selector, at, self.grid)).collect()
    }

    /// The selected series, sorted by their labels.
    fn fetch(&self, selector: &VectorSelector, reach: i64) -> Evaluated<Vec<Series>> {
        let matchers = MatcherSet::of_selector(selector)?;
        let (from, to) = reach_of(selector, reach, self.grid);
        let mut series = self.source.select(&matchers, from, to).map_err(EvaluationError::Source)?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    fn spend(&self, samples: usize) -> Evaluated<()> {
        match self.samples_left.get().checked_sub(samples) {
            Some(left) => {
                self.samples_left.set(left);
                Ok(())
            }
            None => Err(EvaluationError::TooManySamples { limit: self.options.max_samples }),
        }
    }

    /// The samples of a range selector on its own: only an instant query has such an answer.
    fn samples_of_range(&self, selector: &MatrixSelector) -> Evaluated<Vec<Series>> {
        let range = duration_millis(selector.range);
        let Some(&at) = self.references(&selector.vs).first() else { return Ok(Vec::new()) };
        let mut all = self.fetch(&selector.vs, range)?;
        for series in &mut all {
            let inside = |time: Timestamp| time > at.plus_millis(range.saturating_neg()) && time <= at;
            series.samples.retain(|sample| inside(sample.time) && sample.value.to_bits() != STALE_NAN_BITS);
            self.spend(series.samples.len())?;
        }
        all.retain(|series| !series.samples.is_empty());
        Ok(all)
    }

    fn over_range(&self, function: RangeFunction, selector: &MatrixSelector) -> Evaluated<Vec<StepSeries>> {
        let range = duration_millis(selector.range);
        let steps = self.references(&selector.vs);
        let mut vector = Vec::new();
        for mut series in self.fetch(&selector.vs, range)? {
            series.samples.retain(|sample| sample.value.to_bits() != STALE_NAN_BITS);
            let (mut first, mut end) = (0, 0);
            let mut values = Vec::with_capacity(steps.len());
            for &at in &steps {
                let from = at.plus_millis(range.saturating_neg());
                first += series.samples[first..].partition_point(|sample| sample.time <= from);
                end = end.max(first);
                end += series.samples[end..].partition_point(|sample| sample.time <= at);
                self.spend(end - first)?;
                values.push(function.apply(&series.samples[first..end], from, at));
            }
            if values.iter().any(Option::is_some) {
                vector.push(StepSeries { labels: series.labels, values });
            }
        }
        without_names(vector)
    }

    fn call(&self, call: &Call) -> Evaluated<Value> {
        let name = call.func.name;
        let argument = call.args.args.first().map(|argument| without_parentheses(argument));
        if let Some(function) = RangeFunction::named(name) {
            return match argument {
                Some(Expr::MatrixSelector(selector)) => {
                    self.over_range(function, selector).map(Value::Vector)
                }
                Some(Expr::Subquery(_)) => unsupported("a subquery"),
                _ => unsupported(format!("this argument of {name}()")),
            };
        }
        match (name, argument) {
            // Of a plain selector the time of the sample, of anything else the time of the evaluation.
            ("timestamp", Some(Expr::VectorSelector(selector))) => self
                .select(selector, |sample| sample.time.seconds())
                .and_then(without_names)
                .map(Value::Vector),
            ("timestamp", Some(argument)) => {
                let mut vector = self.vector(argument)?;
                for series in &mut vector {
                    for (value, at) in series.values.iter_mut().zip(&self.times) {
                        *value = value.map(|_| at.seconds());
                    }
                }
                without_names(vector).map(Value::Vector)
            }
            _ => unsupported(format!("{name}()")),
        }
    }

    fn negated(&self, expression: &Expr) -> Evaluated<Value> {
        match self.value(expression)? {
            Value::Scalar(numbers) => Ok(Value::Scalar(numbers.into_iter().map(|number| -number).collect())),
            Value::Vector(vector) => mapped(vector, true, |_, value| Some(-value)).map(Value::Vector),
            other => unsupported(format!("the negative of a {}", other.type_name())),
        }
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Evaluated<Value> {
        match Aggregation::of_token(aggregate.op.id()) {
            Some(aggregation) => {
                let input = self.vector(&aggregate.expr)?;
                let groups = aggregation.apply(aggregate.modifier.as_ref(), &input, self.times.len());
                Ok(Value::Vector(groups))
            }
            None => unsupported(format!("the aggregation {}", aggregate.op)),
        }
    }

    fn binary(&self, binary: &BinaryExpr) -> Evaluated<Value> {
        let Some(operation) = Operation::of_token(binary.op.id()) else {
            return unsupported(format!("the operator {}", binary.op));
        };
        let as_number = binary.return_bool() || matches!(operation, Operation::Arithmetic(_));
        match (self.value(&binary.lhs)?, self.value(&binary.rhs)?) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Ok(Value::Scalar(pairs.map(|(left, right)| operation.number(left, right)).collect()))
            }
            (Value::Vector(vector), Value::Scalar(right)) => mapped(vector, as_number, |step, left| {
                let number = operation.number(left, *right.get(step)?);
                if as_number { Some(number) } else { (number > 0.0).then_some(left) }
            })
            .map(Value::Vector),
            (Value::Scalar(left), Value::Vector(vector)) => mapped(vector, as_number, |step, right| {
                let number = operation.number(*left.get(step)?, right);
                if as_number { Some(number) } else { (number > 0.0).then_some(right) }
            })
            .map(Value::Vector),
            (Value::Vector(left), Value::Vector(right)) => {
                let plain = binary.modifier.as_ref().is_none_or(|modifier| {
                    let fills = &modifier.fill_values;
                    modifier.matching.is_none()
                        && modifier.card == VectorMatchCardinality::OneToOne
                        && fills.lhs.is_none()
                        && fills.rhs.is_none()
                });
                if !(plain && as_number) {
                    return unsupported(format!("this use of {} between two instant vectors", binary.op));
                }
                one_to_one(left, right, |left, right| operation.number(left, right)).map(Value::Vector)
            }
            (left, right) => {
                let (left, right) = (left.type_name(), right.type_name());
                unsupported(format!("the operator {} between types {left} and {right}", binary.op))
            }
        }
    }
}

/// Each value through `change`, which also gets the step; series without a value left are dropped.
fn mapped(
    mut vector: Vec<StepSeries>,
    drop_names: bool,
    change: impl Fn(usize, f64) -> Option<f64>,
) -> Evaluated<Vec<StepSeries>> {
    for series in &mut vector {
        for (step, value) in series.values.iter_mut().enumerate() {
            *value = value.and_then(|value| change(step, value));
        }
    }
    vector.retain(|series| series.values.iter().any(Option::is_some));
    if drop_names { without_names(vector) } else { Ok(vector) }
}

/// Pairs the series of two vectors that have the same labels but for their names.
fn one_to_one(
    left: Vec<StepSeries>,
    right: Vec<StepSeries>,
    combine: impl Fn(f64, f64) -> f64,
) -> Evaluated<Vec<StepSeries>> {
    let ambiguous = |_| EvaluationError::ManyMatches;
    let left = without_names(left).map_err(ambiguous)?;
    let right = without_names(right).map_err(ambiguous)?;
    let partners: HashMap<&Labels, &[Option<f64>]> =
        right.iter().map(|series| (&series.labels, series.values.as_slice())).collect();
    let paired = left.into_iter().filter_map(|mut series| {
        let partner = partners.get(&series.labels)?;
        for (value, other) in series.values.iter_mut().zip(*partner) {
            *value = value.zip(*other).map(|(left, right)| combine(left, right));
        }
        Some(series)
    });
    Ok(paired.filter(|series| series.values.iter().any(Option::is_some)).collect())
}

/// Drops the names. Series that are then the same become one where no step has a value of both.
fn without_names(vector: Vec<StepSeries>) -> Evaluated<Vec<StepSeries>> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(vector.len());
    let mut merged: Vec<StepSeries> = Vec::with_capacity(vector.len());
    for mut series in vector {
        series.labels.set(NAME, "");
        match places.get(&series.labels) {
            None => {
                places.insert(series.labels.clone(), merged.len());
                merged.push(series);
            }
            Some(&place) => {
                for (kept, other) in merged[place].values.iter_mut().zip(series.values) {
                    match (&kept, other) {
                        (_, None) => {}
                        (None, Some(_)) => *kept = other,
                        (Some(_), Some(_)) => return Err(EvaluationError::SameLabels),
                    }
                }
            }
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::guard::MAX_QUERY_BYTES;

    struct Memory(Vec<Series>);

    impl SeriesSource for Memory {
        fn select(
            &self,
            matchers: &MatcherSet,
            from: Timestamp,
            to: Timestamp,
        ) -> Result<Vec<Series>, String> {
            let inside = |series: &Series| Series {
                labels: series.labels.clone(),
                samples: series
                    .samples
                    .iter()
                    .filter(|sample| (from..=to).contains(&sample.time))
                    .copied()
                    .collect(),
            };
            Ok(self.0.iter().filter(|series| matchers.matches(&series.labels)).map(inside).collect())
        }
    }

    const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

    /// `name{label=value}` pairs with a value each minute from 0; NaN of the stale kind marks the end.
    type Written<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [f64]);

    fn memory(series: &[Written<'_>]) -> Memory {
        let sample = |(minute, &value): (usize, &f64)| Sample {
            time: Timestamp::from_millis(60_000 * i64::try_from(minute).unwrap()),
            value,
        };
        Memory(
            series
                .iter()
                .map(|(name, labels, values)| Series {
                    labels: labels
                        .iter()
                        .fold(Labels::named(name), |labels, (name, value)| labels.with(name, *value)),
                    samples: values.iter().enumerate().map(sample).collect(),
                })
                .collect(),
        )
    }

    fn run(text: &str, grid: &StepGrid, range: bool, source: &Memory) -> Result<Value, EvaluationError> {
        let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
        let lookback = Window::from_millis(300_000).unwrap();
        evaluate(&query, grid, range, Options { lookback, max_samples: 10_000 }, source)
    }

    /// The answer to an instant query, as `labels value` in the order of the answer.
    fn instant(text: &str, seconds: i64, source: &Memory) -> Vec<String> {
        let grid =
            StepGrid::instant(Timestamp::from_millis(seconds * 1_000), Window::from_millis(1).unwrap());
        match run(text, &grid, false, source).unwrap() {
            Value::Scalar(numbers) => vec![format!("scalar {}", numbers[0])],
            Value::Text(text) => vec![text],
            Value::Vector(vector) => into_series(vector, &grid)
                .iter()
                .map(|series| format!("{} {}", series.labels, series.samples[0].value))
                .collect(),
            Value::Range(all) => all
                .iter()
                .map(|series| {
                    let values: Vec<_> = series.samples.iter().map(|s| s.value.to_string()).collect();
                    format!("{} {}", series.labels, values.join(","))
                })
                .collect(),
        }
    }

    #[test]
    fn lookback_is_five_minutes_and_open_on_the_left() {
        let source = memory(&[("x", &[], &[7.0])]);
        assert_eq!(instant("x", 0, &source), ["x 7"]);
        assert_eq!(instant("x", 299, &source), ["x 7"]);
        assert!(instant("x", 300, &source).is_empty());
        assert!(instant("x", -1, &source).is_empty());
    }

    #[test]
    fn a_stale_marker_ends_a_series_at_once() {
        let source = memory(&[("x", &[], &[7.0, STALE])]);
        assert_eq!(instant("x", 59, &source), ["x 7"]);
        assert!(instant("x", 60, &source).is_empty());
        assert_eq!(instant("count_over_time(x[5m])", 60, &source), ["{} 1"]);
        assert_eq!(instant("x[5m]", 60, &source), ["x 7"]);
    }

    #[test]
    fn vectors_are_divided_where_their_labels_are_the_same() {
        let (a, b) = ([("k", "a")], [("k", "b")]);
        let source = memory(&[
            ("x", &a, &[6.0]),
            ("x", &b, &[5.0]),
            ("y", &a, &[2.0]),
            ("y", &[("k", "c")], &[1.0]),
            ("z", &a, &[1.0]),
        ]);
        assert_eq!(instant("x / y", 0, &source), [r#"{k="a"} 3"#]);
        assert_eq!(instant("sum(x) / sum(y)", 0, &source), [format!("{{}} {}", 11.0 / 3.0)]);
        assert_eq!(instant("x >bool y", 0, &source), [r#"{k="a"} 1"#]);
        assert!(instant("x / nothing", 0, &source).is_empty());
        let grid = StepGrid::instant(Timestamp::default(), Window::from_millis(1).unwrap());
        let refused = run(r#"x / {k="a"}"#, &grid, false, &source).unwrap_err();
        assert_eq!(refused, EvaluationError::ManyMatches);
        let unsupported = run("x / on(k) y", &grid, false, &source).unwrap_err();
        assert!(matches!(unsupported, EvaluationError::Unsupported { .. }));
    }

    #[test]
    fn offset_and_at_move_the_time_that_is_looked_at() {
        let source = memory(&[("x", &[], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]);
        for (text, value) in [
            ("x offset 2m", 3.0),
            ("x offset -1m", 5.0),
            ("x @ 60", 1.0),
            ("x @ 180 offset 1m", 2.0),
            ("x offset 1m @ 180", 2.0),
            ("x @ end()", 5.0),
            ("timestamp(x @ 90)", 60.0),
            ("timestamp((x))", 300.0),
            ("timestamp(-x)", 300.0),
        ] {
            let found = instant(text, 300, &source);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].ends_with(&format!(" {value}")), "{text}: {found:?}");
        }
        assert_eq!(instant("x offset -1m", 240, &source), ["x 5"]);
    }

    #[test]
    fn increase_and_rate_extrapolate_to_the_edges_of_the_range() {
        // 0, 10, … 100 each minute. Over (0, 10m] lie 10 … 100: 90 in 9 minutes, extended by one to the left, where
        // the counter would have been 0.
        let counter: Vec<f64> = (0..=10).map(|i| 10.0 * f64::from(i)).collect();
        let source = memory(&[("x", &[], &counter)]);
        assert_eq!(instant("increase(x[10m])", 600, &source), ["{} 100"]);
        let value = |text: &str, seconds, source: &Memory| -> f64 {
            instant(text, seconds, source)[0].split(' ').next_back().unwrap().parse().unwrap()
        };
        assert!((value("rate(x[10m])", 600, &source) - 1.0 / 6.0).abs() < 1e-15);
        // Past the last sample by 5 minutes: (5m, 15m] holds 60 … 100 at 6 … 10m; one minute to the left edge is
        // within reach, five to the right are not: half a minute instead. 40 · (4 + 1 + 0.5) / 4.
        assert!((value("increase(x[10m])", 900, &source) - 55.0).abs() < 1e-12);
        // A reset: 5, 7, 1, 3 grows by 2 + 1 + 2 within 3 minutes. (−30 s, 3m30s] reaches half a minute beyond each
        // end, and to the left the counter would be 0 only 3 minutes earlier.
        let source = memory(&[("x", &[], &[5.0, 7.0, 1.0, 3.0])]);
        assert!((value("increase(x[4m])", 210, &source) - 5.0 * 4.0 / 3.0).abs() < 1e-12);
        assert!(instant("increase(x[1m])", 60, &source).is_empty(), "one sample is too few");
    }

    #[test]
    fn aggregations_group_by_and_without_labels() {
        let source = memory(&[
            ("x", &[("job", "a"), ("zone", "1")], &[1.0]),
            ("x", &[("job", "a"), ("zone", "2")], &[2.0]),
            ("x", &[("job", "b"), ("zone", "1")], &[f64::NAN]),
            ("x", &[("job", "b"), ("zone", "2")], &[4.0]),
        ]);
        for (text, expected) in [
            ("sum by (job) (x{job=\"a\"})", vec![r#"{job="a"} 3"#]),
            ("sum(x{job=\"a\"})", vec!["{} 3"]),
            ("count without (zone) (x)", vec![r#"{job="a"} 2"#, r#"{job="b"} 2"#]),
            ("max by (job) (x)", vec![r#"{job="a"} 2"#, r#"{job="b"} 4"#]),
            ("min(x)", vec!["{} 1"]),
            ("avg by (zone) (x)", vec![r#"{zone="1"} NaN"#, r#"{zone="2"} 3"#]),
            ("count by (__name__, none) (x)", vec!["x 4"]),
            ("sum(x{job=\"c\"})", vec![]),
        ] {
            assert_eq!(instant(text, 0, &source), expected, "{text}");
        }
    }

    #[test]
    fn sums_and_averages_survive_cancellation_and_overflow() {
        let source = memory(&[
            ("x", &[("a", "1")], &[1e100]),
            ("x", &[("a", "2")], &[1.0]),
            ("x", &[("a", "3")], &[-1e100]),
            ("y", &[("a", "1")], &[f64::MAX]),
            ("y", &[("a", "2")], &[f64::MAX]),
            ("z", &[("a", "1")], &[f64::INFINITY]),
            ("z", &[("a", "2")], &[1.0]),
        ]);
        assert_eq!(instant("sum(x)", 0, &source), ["{} 1"]);
        assert_eq!(instant("avg(y)", 0, &source), [format!("{{}} {}", f64::MAX)]);
        assert_eq!(instant("avg(z)", 0, &source), ["{} inf"]);
        assert_eq!(instant("sum(z)", 0, &source), ["{} inf"]);
    }

    #[test]
    fn comparisons_filter_and_keep_names_arithmetic_drops_them() {
        let source = memory(&[("x", &[("a", "1")], &[1.0]), ("x", &[("a", "2")], &[2.0])]);
        for (text, expected) in [
            ("x > 1", vec![r#"x{a="2"} 2"#]),
            ("1 < x", vec![r#"x{a="2"} 2"#]),
            ("x >bool 1", vec![r#"{a="1"} 0"#, r#"{a="2"} 1"#]),
            ("2 - x", vec![r#"{a="1"} 1"#, r#"{a="2"} 0"#]),
            ("-x{a=\"1\"} ^ 2", vec![r#"{a="1"} -1"#]),
            ("2 ^ 3 ^ 2", vec!["scalar 512"]),
            ("-7 % 3", vec!["scalar -1"]),
            ("1 ==bool 1", vec!["scalar 1"]),
            ("x / 0 > 1", vec![r#"{a="1"} inf"#, r#"{a="2"} inf"#]),
        ] {
            assert_eq!(instant(text, 0, &source), expected, "{text}");
        }
    }

    #[test]
    fn series_that_become_equal_without_their_names_are_an_error_only_where_both_have_a_value() {
        let grid = StepGrid::new(
            Timestamp::from_millis(0),
            Timestamp::from_millis(600_000),
            Window::from_millis(600_000).unwrap(),
        )
        .unwrap();
        let mut source = memory(&[("x", &[], &[1.0]), ("y", &[], &[2.0])]);
        assert_eq!(run("-{__name__=~\"x|y\"}", &grid, true, &source), Err(EvaluationError::SameLabels));
        source.0[1].samples[0].time = Timestamp::from_millis(600_000);
        let Ok(Value::Vector(merged)) = run("-{__name__=~\"x|y\"}", &grid, true, &source) else { panic!() };
        assert_eq!(merged, [StepSeries { labels: Labels::new(), values: vec![Some(-1.0), Some(-2.0)] }]);
    }

    #[test]
    fn a_range_query_has_a_value_at_each_step_that_a_sample_reaches() {
        let source = memory(&[("x", &[], &[1.0, 2.0, STALE])]);
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(-30_000), at(150_000), Window::from_millis(45_000).unwrap()).unwrap();
        let Ok(Value::Vector(vector)) = run("x", &grid, true, &source) else { panic!() };
        // At -30, 15, 60, 105 and 150 seconds.
        assert_eq!(vector[0].values, [None, Some(1.0), Some(2.0), Some(2.0), None]);
        let series = into_series(vector, &grid);
        assert_eq!(series[0].samples.len(), 3);
        assert!(matches!(run("x[5m]", &grid, true, &source), Err(EvaluationError::RangeType { .. })));
        assert!(matches!(run("\"a\"", &grid, true, &source), Err(EvaluationError::RangeType { .. })));
        assert_eq!(run("2", &grid, true, &source), Ok(Value::Scalar(vec![2.0; 5])));
    }

    #[test]
    fn what_is_not_built_is_named() {
        for (text, construct) in [
            ("x + on(k) y", "this use of + between two instant vectors"),
            ("x or y", "the operator or"),
            ("topk(1, x)", "the aggregation topk"),
            ("histogram_quantile(0.9, x)", "histogram_quantile()"),
            ("rate(x[5m:1m])", "a subquery"),
            ("max_over_time(x[5m])", "max_over_time()"),
            ("absent(x)", "absent()"),
        ] {
            let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
            let construct = construct.to_owned();
            assert_eq!(
                check_supported(&query, false),
                Err(EvaluationError::Unsupported { construct }),
                "{text}"
            );
        }
        let query = Query::parse("sum by (a) (rate(x[5m] offset 1m)) * 2 > 1", MAX_QUERY_BYTES).unwrap();
        assert_eq!(check_supported(&query, false), Ok(()));
    }

    #[test]
    fn the_samples_read_are_bounded() {
        let source = memory(&[("x", &[], &[1.0; 200])]);
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(0), at(12_000_000), Window::from_millis(60_000).unwrap()).unwrap();
        let result = run("count_over_time(x[3h])", &grid, true, &source);
        assert_eq!(result, Err(EvaluationError::TooManySamples { limit: 10_000 }));
        assert!(run("x", &grid, true, &source).is_ok());
    }
}
