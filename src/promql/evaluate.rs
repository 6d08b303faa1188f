//! The evaluator: a fold over the tree, each node at all steps of the grid at once.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::annotation::{Annotation, Annotations};
use super::arithmetic::Operation;
use super::expression::{Aggregate, Binary, Kind, Node, Subtree, ValueType};
use super::grid::{Grid, QueryTimes};
use super::label_function::{merged, without_metadata};
use super::limits::Options;
use super::position::line_and_column;
use super::query::Query;
use super::range_function::InvalidFactor;
use super::source::{Reading, SeriesSource};
use super::value::{StepSeries, Value};
use super::{aggregate, vector_matching};
use crate::series::{Labels, Sample, Series, StepGrid};

/// Why a query has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationError {
    /// A construct that is not built.
    #[error("{construct} is not supported over synthetic series")]
    Unsupported {
        /// Its spelling.
        construct: String,
    },
    /// The query's type does not fit its use.
    #[error("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector")]
    RangeType {
        /// What it is.
        found: &'static str,
    },
    /// An argument's type does not fit its use.
    #[error("expected type {expected}, got {found}")]
    Type {
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// Two series became one.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabels,
    /// Several series of a match group where one is expected.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, \
         {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    Duplicate {
        /// The labels matched on.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// Several series on the left of a match that is one to one.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOneImplicit,
    /// Results of a match that would have the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// Two info series of the same target at the same time.
    #[error("found duplicate series for info metric: existing {existing} @ {time}, new {new} @ {time}")]
    DuplicateInfo {
        /// One.
        existing: String,
        /// The other.
        new: String,
        /// Of their samples, in milliseconds.
        time: i64,
    },
    /// Info series that say different things.
    #[error("conflicting label: {0}")]
    ConflictingInfoLabel(String),
    /// A call without an argument that it needs.
    #[error("a call lacks an argument")]
    MissingArgument,
    /// A parameter of an aggregation.
    #[error("{0}")]
    Parameter(String),
    /// A label name or a pattern that is none.
    #[error("{0}")]
    Labels(String),
    /// A factor of exponential smoothing.
    #[error(transparent)]
    Factor(#[from] InvalidFactor),
    /// Too many samples read.
    #[error("query processing would load too many samples into memory in query execution (allowed: {limit})")]
    TooManySamples {
        /// How many are allowed.
        limit: usize,
    },
    /// Too many values at a time.
    #[error(
        "the query holds too many values, series × steps, at a time (allowed: {limit}): lower its resolution"
    )]
    TooManyValues {
        /// How many are allowed.
        limit: usize,
    },
    /// Too many steps in a subquery.
    #[error("a subquery has {steps} steps (allowed: {limit}): raise its step")]
    TooManySubquerySteps {
        /// How many it has.
        steps: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Too much work for range functions.
    #[error(
        "the query's ranges look at samples more than {limit} times: shorten them, or lower its resolution"
    )]
    TooManyVisits {
        /// How often they may.
        limit: u64,
    },
    /// Nobody waits for the answer.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The samples cannot be had.
    #[error("{0}")]
    Source(String),
}

/// The answer to a query, with Prometheus' notes on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The value.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// How many samples were read.
    pub samples_read: usize,
    /// The most values, series × steps, that were held at a time.
    pub peak_values: usize,
}

/// Evaluates `query` on `grid`.
///
/// `range_query`: whether the answer must have a value at each step. A range selector or a text on its own is then an
/// error, and series come sorted by their labels; an instant query keeps the order of `sort`, `topk` and the like.
///
/// # Errors
/// [`EvaluationError`].
pub fn evaluate(
    query: &Query,
    grid: &StepGrid,
    range_query: bool,
    options: &Options,
    source: &dyn SeriesSource,
) -> Result<Evaluated, EvaluationError> {
    check_supported(query, range_query)?;
    let steps = Grid::of(grid);
    let evaluation = Evaluation {
        query: query_times(grid, range_query),
        options,
        source,
        text: query.text(),
        annotations: RefCell::default(),
        samples_read: Cell::new(0),
        values_held: Cell::new(0),
        peak_values: Cell::new(0),
        visits: Cell::new(0),
    };
    let mut value = evaluation.answer(query.root(), steps)?;
    if let (Value::Vector(vector), true) = (&mut value, range_query) {
        vector.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    Ok(Evaluated {
        value,
        samples_read: evaluation.samples_read.get(),
        peak_values: evaluation.peak_values.get(),
        annotations: evaluation.annotations.into_inner(),
    })
}

/// Whether the evaluator knows every construct of `query`, and its type fits a range query where it is one. Costs no
/// samples.
///
/// # Errors
/// [`EvaluationError::Unsupported`] with the first construct that it does not know, [`EvaluationError::RangeType`].
pub fn check_supported(query: &Query, range_query: bool) -> Result<(), EvaluationError> {
    let value_type = query.root().value_type();
    if range_query && matches!(value_type, ValueType::Range | ValueType::Text) {
        return Err(EvaluationError::RangeType { found: value_type.name() });
    }
    match query.root().unsupported() {
        Some(construct) => Err(EvaluationError::Unsupported { construct: construct.to_owned() }),
        None => Ok(()),
    }
}

/// The times that `start()`, `end()` and `step()` tell.
pub(crate) fn query_times(grid: &StepGrid, range_query: bool) -> QueryTimes {
    let step = if range_query { i64::try_from(grid.step().millis()).unwrap_or(i64::MAX) } else { 0 };
    QueryTimes { start: grid.start().millis(), end: grid.end().millis(), step }
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

/// What all nodes of a query share.
pub(crate) struct Evaluation<'a> {
    pub(crate) query: QueryTimes,
    pub(crate) options: &'a Options,
    pub(crate) source: &'a dyn SeriesSource,
    text: &'a str,
    annotations: RefCell<Annotations>,
    samples_read: Cell<usize>,
    values_held: Cell<usize>,
    peak_values: Cell<usize>,
    visits: Cell<u64>,
}

impl Evaluation<'_> {
    fn answer(&self, root: &Node, grid: Grid) -> Result<Value, EvaluationError> {
        if root.value_type() != ValueType::Range {
            return match self.value(root, grid)? {
                Value::Vector(vector) => self.finished(vector).map(Value::Vector),
                other => Ok(other),
            };
        }
        let mut series: Vec<Series> = Vec::new();
        for mut range in self.range_vector(root, grid)? {
            if self.options.names_dropped_late && range.drops_name {
                range.series.labels = without_metadata(&range.series.labels);
            }
            series.push(range.series);
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Range(series))
    }

    /// The value of a node. What it holds replaces what its inputs held.
    pub(crate) fn value(&self, node: &Node, grid: Grid) -> Result<Value, EvaluationError> {
        if self.options.is_cancelled() {
            return Err(EvaluationError::Cancelled);
        }
        let held_before = self.values_held.get();
        let value = match &node.kind {
            Kind::Number(number) => Value::Scalar(vec![*number; grid.count]),
            Kind::Text(text) => Value::Text(text.clone()),
            Kind::Selector(selector) => {
                Value::Vector(self.instant_vector(selector, grid, Reading::Instant, |sample| sample.value)?)
            }
            Kind::Range(..) | Kind::Subquery(_) => {
                return Err(EvaluationError::Type {
                    expected: ValueType::Vector.name(),
                    found: ValueType::Range.name(),
                });
            }
            Kind::Unsupported(construct, _) => {
                return Err(EvaluationError::Unsupported { construct: construct.clone() });
            }
            Kind::Negation(inner) => self.negated(inner, grid)?,
            Kind::Binary(binary) => self.binary(binary, grid)?,
            Kind::Aggregate(aggregate) => Value::Vector(self.aggregated(aggregate, grid)?),
            Kind::Call(function, _, arguments) => self.call(*function, arguments, grid)?,
            Kind::Invariant(inner) => repeated(self.value(inner, grid.first())?, grid.count),
            Kind::Evaluated(subtree) => self.evaluated(subtree, grid)?,
            Kind::Union(subtree) => Value::Vector(self.union(subtree, grid)?),
        };
        self.values_held.set(held_before);
        if let Value::Vector(vector) = &value {
            self.hold(vector.len().saturating_mul(grid.count))?;
        }
        Ok(value)
    }

    pub(crate) fn vector(&self, node: &Node, grid: Grid) -> Result<Vec<StepSeries>, EvaluationError> {
        match self.value(node, grid)? {
            Value::Vector(vector) => Ok(vector),
            other => Err(EvaluationError::Type { expected: "instant vector", found: other.type_name() }),
        }
    }

    pub(crate) fn scalar(&self, node: &Node, grid: Grid) -> Result<Vec<f64>, EvaluationError> {
        match self.value(node, grid)? {
            Value::Scalar(numbers) => Ok(numbers),
            other => Err(EvaluationError::Type { expected: "scalar", found: other.type_name() }),
        }
    }

    /// The value of a subtree that the source holds: taken as it is, since its lookback was applied already.
    fn evaluated(&self, subtree: &Subtree, grid: Grid) -> Result<Value, EvaluationError> {
        let missing = || EvaluationError::Source(format!("the value of {} was not fetched", subtree.node));
        let value = self.source.evaluated(subtree.id).ok_or_else(missing)?;
        let fits = match value {
            Value::Scalar(numbers) => numbers.len() == grid.count,
            Value::Vector(vector) => vector.iter().all(|series| series.values.len() == grid.count),
            Value::Range(_) | Value::Text(_) => false,
        };
        if !fits {
            return Err(missing());
        }
        if let Value::Vector(vector) = value {
            self.read(vector.iter().map(|series| series.values.iter().flatten().count()).sum())?;
        }
        Ok(value.clone())
    }

    fn union(&self, subtree: &Subtree, grid: Grid) -> Result<Vec<StepSeries>, EvaluationError> {
        let mut all = self.vector(&subtree.node, grid)?;
        let Value::Vector(theirs) = self.evaluated(subtree, grid)? else {
            return Err(EvaluationError::Type { expected: "instant vector", found: "scalar" });
        };
        // Theirs are complete: names that are to be dropped are dropped.
        let finished = |series: &StepSeries| match series.drops_name {
            true => without_metadata(&series.labels),
            false => series.labels.clone(),
        };
        let own: HashSet<Labels> = all.iter().map(finished).collect();
        all.extend(theirs.into_iter().filter(|series| !own.contains(&series.labels)));
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    fn negated(&self, inner: &Node, grid: Grid) -> Result<Value, EvaluationError> {
        match self.value(inner, grid)? {
            Value::Scalar(numbers) => Ok(Value::Scalar(numbers.into_iter().map(|number| -number).collect())),
            Value::Vector(vector) => self.mapped(vector, true, |_, value| Some(-value)).map(Value::Vector),
            other => Err(EvaluationError::Type { expected: "instant vector", found: other.type_name() }),
        }
    }

    fn binary(&self, binary: &Binary, grid: Grid) -> Result<Value, EvaluationError> {
        let operation = binary.operation;
        let left = self.value(&binary.left, grid)?;
        let right = self.value(&binary.right, grid)?;
        let is_comparison = matches!(operation, Operation::Comparison(_));
        let drops_names = binary.as_number || !is_comparison;
        // A comparison with a scalar keeps the vector's value, on whichever side that is.
        let result = |left: f64, right: f64, of_vector: f64| match operation.apply(left, right) {
            (number, _) if !is_comparison => Some(number),
            (_, keeps) if binary.as_number => Some(f64::from(u8::from(keeps))),
            (_, keeps) => keeps.then_some(of_vector),
        };
        match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Ok(Value::Scalar(pairs.map(|(left, right)| operation.number(left, right)).collect()))
            }
            (Value::Vector(vector), Value::Scalar(right)) => self
                .mapped(vector, drops_names, |step, left| result(left, right[step], left))
                .map(Value::Vector),
            (Value::Scalar(left), Value::Vector(vector)) => self
                .mapped(vector, drops_names, |step, right| result(left[step], right, right))
                .map(Value::Vector),
            (Value::Vector(left), Value::Vector(right)) => {
                let vector = match operation {
                    Operation::Set(set) => {
                        let grouping = &binary.matching.grouping;
                        merged(vector_matching::set_operation(set, grouping, left, right, grid.count))?
                    }
                    _ => {
                        let late = self.options.names_dropped_late;
                        let mut vector = vector_matching::matched(binary, &left, &right, grid.count, late)?;
                        vector.retain(|series| series.values.iter().any(Option::is_some));
                        vector
                    }
                };
                Ok(Value::Vector(vector))
            }
            (Value::Scalar(_) | Value::Vector(_), other) | (other, _) => {
                Err(EvaluationError::Type { expected: "instant vector", found: other.type_name() })
            }
        }
    }

    fn aggregated(&self, aggregate: &Aggregate, grid: Grid) -> Result<Vec<StepSeries>, EvaluationError> {
        aggregate::evaluated(self, aggregate, grid)
    }

    /// Each value through `change`, which also gets the step; series without a value left are dropped.
    pub(crate) fn mapped(
        &self,
        mut vector: Vec<StepSeries>,
        drops_names: bool,
        change: impl Fn(usize, f64) -> Option<f64>,
    ) -> Result<Vec<StepSeries>, EvaluationError> {
        for series in &mut vector {
            for (step, value) in series.values.iter_mut().enumerate() {
                *value = value.and_then(|value| change(step, value));
            }
        }
        vector.retain(|series| series.values.iter().any(Option::is_some));
        if drops_names { self.without_names(vector) } else { Ok(vector) }
    }

    /// Drops the names, or notes that they are to be dropped at the end.
    pub(crate) fn without_names(
        &self,
        mut vector: Vec<StepSeries>,
    ) -> Result<Vec<StepSeries>, EvaluationError> {
        for series in &mut vector {
            series.drops_name = true;
            if !self.options.names_dropped_late {
                series.labels = without_metadata(&series.labels);
            }
        }
        if self.options.names_dropped_late { Ok(vector) } else { merged(vector) }
    }

    /// What is left to do with names at the end.
    fn finished(&self, mut vector: Vec<StepSeries>) -> Result<Vec<StepSeries>, EvaluationError> {
        if !self.options.names_dropped_late {
            return Ok(vector);
        }
        for series in vector.iter_mut().filter(|series| series.drops_name) {
            series.labels = without_metadata(&series.labels);
        }
        merged(vector)
    }

    /// Notes something about the expression at byte `at`.
    pub(crate) fn annotate(&self, annotation: &Annotation<'_>, at: usize) {
        self.annotations.borrow_mut().add(annotation, &line_and_column(self.text, at));
    }

    /// Counts samples that were read.
    pub(crate) fn read(&self, samples: usize) -> Result<(), EvaluationError> {
        let read = self.samples_read.get().saturating_add(samples);
        self.samples_read.set(read);
        let limit = self.options.max_samples;
        if read > limit { Err(EvaluationError::TooManySamples { limit }) } else { Ok(()) }
    }

    /// Counts values that are held until the node that made them is done.
    pub(crate) fn hold(&self, values: usize) -> Result<(), EvaluationError> {
        let held = self.values_held.get().saturating_add(values);
        self.values_held.set(held);
        self.peak_values.set(self.peak_values.get().max(held));
        let limit = self.options.max_values;
        if held > limit { Err(EvaluationError::TooManyValues { limit }) } else { Ok(()) }
    }

    /// Counts samples that a range function looks at, and stops where nobody waits for what it finds.
    pub(crate) fn visit(&self, samples: usize) -> Result<(), EvaluationError> {
        if self.options.is_cancelled() {
            return Err(EvaluationError::Cancelled);
        }
        let visits = self.visits.get().saturating_add(u64::try_from(samples).unwrap_or(u64::MAX));
        self.visits.set(visits);
        let limit = self.options.max_visits;
        if visits > limit { Err(EvaluationError::TooManyVisits { limit }) } else { Ok(()) }
    }
}

/// The value of one step at `count` steps.
fn repeated(value: Value, count: usize) -> Value {
    match value {
        Value::Scalar(numbers) => Value::Scalar(vec![numbers.first().copied().unwrap_or(f64::NAN); count]),
        Value::Vector(mut vector) => {
            for series in &mut vector {
                series.values = vec![series.values.first().copied().flatten(); count];
            }
            Value::Vector(vector)
        }
        other => other,
    }
}
