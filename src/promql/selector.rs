//! Selectors: instant vectors by lookback, the ranges of range selectors and subqueries, and what all of them read.

use super::evaluate::{Evaluation, EvaluationError};
use super::expression::{Kind, Node, Selector, Shift, Subquery};
use super::function::Function;
use super::grid::{Grid, QueryTimes};
use super::info_function::info_selector;
use super::limits::Options;
use super::matcher::MatcherSet;
use super::source::{Reading, Selection};
use super::value::StepSeries;
use crate::series::{STALE_NAN_BITS, Sample, Series};
use crate::unit::Timestamp;

/// The range vectors of a grid: the samples of all ranges together, and where the ranges lie.
pub(crate) struct Ranges {
    pub(crate) series: Vec<RangeSeries>,
    /// The length in milliseconds.
    pub(crate) length: i64,
    pub(crate) shift: Shift,
}

/// The samples of a series without stale markers, in rising order of time.
pub(crate) struct RangeSeries {
    pub(crate) series: Series,
    pub(crate) drops_name: bool,
}

impl Selector {
    /// What is read for an evaluation on `grid`, when the selector reaches back by `reach` milliseconds.
    pub(crate) fn selection(
        &self,
        reach: i64,
        grid: Grid,
        query: QueryTimes,
        options: &Options,
        reading: Reading,
    ) -> Selection {
        let first = options.first_inside(self.shift.of(grid.start, query), reach);
        let last = self.shift.of(grid.last(), query);
        Selection {
            matchers: self.matchers.clone(),
            from: Timestamp::from_millis(first),
            to: Timestamp::from_millis(last),
            reading,
        }
    }
}

/// Calls `visit` with every selector that the source is asked for, from left to right, the grid that it is evaluated
/// on, how far it reaches back, and what becomes of its samples.
pub(crate) fn visit_selectors(
    node: &Node,
    grid: Grid,
    query: QueryTimes,
    options: &Options,
    visit: &mut impl FnMut(&Selector, Grid, i64, Reading),
) -> Result<(), EvaluationError> {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Evaluated(_) => {}
        Kind::Union(subtree) => visit_selectors(&subtree.node, grid, query, options, visit)?,
        Kind::Selector(selector) => visit(selector, grid, options.lookback_millis(), Reading::Instant),
        Kind::Range(selector, length) => visit(selector, grid, *length, Reading::Range),
        Kind::Subquery(subquery) => {
            if let Some(inside) = checked_grid(subquery, grid, query, options)? {
                visit_selectors(&subquery.inner, inside, query, options, visit)?;
            }
        }
        Kind::Negation(inner) => visit_selectors(inner, grid, query, options, visit)?,
        Kind::Invariant(inner) => visit_selectors(inner, grid.first(), query, options, visit)?,
        Kind::Binary(binary) => {
            visit_selectors(&binary.left, grid, query, options, visit)?;
            visit_selectors(&binary.right, grid, query, options, visit)?;
        }
        Kind::Aggregate(aggregate) => {
            if let Some(parameter) = &aggregate.parameter {
                visit_selectors(parameter, grid, query, options, visit)?;
            }
            visit_selectors(&aggregate.inner, grid, query, options, visit)?;
        }
        Kind::Call(Function::Info, _, arguments) => {
            if let Some(argument) = arguments.first() {
                visit_selectors(argument, grid, query, options, visit)?;
            }
            let reading = Reading::InfoSeries(grid.to_steps()?);
            visit(&info_selector(arguments.get(1))?, grid, options.lookback_millis(), reading);
        }
        Kind::Call(_, _, arguments) | Kind::Unsupported(_, arguments) => {
            for argument in arguments {
                visit_selectors(argument, grid, query, options, visit)?;
            }
        }
    }
    Ok(())
}

/// Adds the matchers of every selector that the source is asked for, from left to right.
pub(crate) fn collect_matchers(node: &Node, found: &mut Vec<MatcherSet>) {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Evaluated(_) => {}
        Kind::Union(subtree) => collect_matchers(&subtree.node, found),
        Kind::Selector(selector) | Kind::Range(selector, _) => found.push(selector.matchers.clone()),
        Kind::Subquery(subquery) => collect_matchers(&subquery.inner, found),
        Kind::Negation(inner) | Kind::Invariant(inner) => collect_matchers(inner, found),
        Kind::Binary(binary) => {
            collect_matchers(&binary.left, found);
            collect_matchers(&binary.right, found);
        }
        Kind::Aggregate(aggregate) => {
            aggregate.parameter.iter().for_each(|parameter| collect_matchers(parameter, found));
            collect_matchers(&aggregate.inner, found);
        }
        Kind::Call(Function::Info, _, arguments) => {
            arguments.iter().take(1).for_each(|argument| collect_matchers(argument, found));
            found.extend(info_selector(arguments.get(1)).map(|selector| selector.matchers));
        }
        Kind::Call(_, _, arguments) | Kind::Unsupported(_, arguments) => {
            arguments.iter().for_each(|argument| collect_matchers(argument, found));
        }
    }
}

/// The steps of a subquery, counted before anything is evaluated.
pub(crate) fn checked_grid(
    subquery: &Subquery,
    grid: Grid,
    query: QueryTimes,
    options: &Options,
) -> Result<Option<Grid>, EvaluationError> {
    let inside = grid.of_subquery(subquery, query, options);
    let limit = options.max_subquery_steps;
    match inside {
        Some(Grid { count, .. }) if count > limit => {
            Err(EvaluationError::TooManySubquerySteps { steps: count, limit })
        }
        inside => Ok(inside),
    }
}

const fn is_stale(sample: &Sample) -> bool {
    sample.value.to_bits() == STALE_NAN_BITS
}

impl Evaluation<'_> {
    /// At each step the newest sample that the lookback reaches, unless it is a stale marker; `number` says what is
    /// taken of it.
    pub(crate) fn instant_vector(
        &self,
        selector: &Selector,
        grid: Grid,
        reading: Reading,
        number: impl Fn(&Sample) -> f64,
    ) -> Result<Vec<StepSeries>, EvaluationError> {
        let lookback = self.options.lookback_millis();
        let mut vector = Vec::new();
        for series in self.fetch(selector, lookback, grid, reading)? {
            let mut next = 0;
            let value = |now: i64| {
                let at = selector.shift.of(now, self.query);
                next += advanced(&series.samples[next..], at);
                let newest = series.samples[..next].last()?;
                let fresh = newest.time.millis() >= self.options.first_inside(at, lookback);
                (fresh && !is_stale(newest)).then(|| number(newest))
            };
            let values: Vec<Option<f64>> = grid.times().map(value).collect();
            if values.iter().any(Option::is_some) {
                self.hold(grid.count)?;
                vector.push(StepSeries { labels: series.labels, values, drops_name: false });
            }
        }
        Ok(vector)
    }

    /// The selected series, sorted by their labels.
    fn fetch(
        &self,
        selector: &Selector,
        reach: i64,
        grid: Grid,
        reading: Reading,
    ) -> Result<Vec<Series>, EvaluationError> {
        let selection = selector.selection(reach, grid, self.query, self.options, reading);
        let mut series = self.source.select(&selection).map_err(EvaluationError::Source)?;
        self.read(series.iter().map(|series| series.samples.len()).sum())?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    /// The ranges of a range selector or a subquery.
    pub(crate) fn ranges(&self, node: &Node, grid: Grid) -> Result<Ranges, EvaluationError> {
        match &node.kind {
            Kind::Range(selector, length) => {
                let mut fetched = self.fetch(selector, *length, grid, Reading::Range)?;
                fetched.iter_mut().for_each(|series| series.samples.retain(|sample| !is_stale(sample)));
                let series = fetched.into_iter().map(|series| RangeSeries { series, drops_name: false });
                Ok(Ranges { series: series.collect(), length: *length, shift: selector.shift })
            }
            Kind::Subquery(subquery) => self.subquery(subquery, grid),
            Kind::Invariant(inner) => self.ranges(inner, grid),
            _ => Err(EvaluationError::Type { expected: "range vector", found: node.value_type().name() }),
        }
    }

    fn subquery(&self, subquery: &Subquery, grid: Grid) -> Result<Ranges, EvaluationError> {
        let mut ranges = Ranges { series: Vec::new(), length: subquery.range, shift: subquery.shift };
        let inside = checked_grid(subquery, grid, self.query, self.options)?;
        let Some(inside) = inside else { return Ok(ranges) };
        for series in self.vector(&subquery.inner, inside)? {
            let pairs = inside.times().zip(&series.values);
            let samples: Vec<Sample> = pairs
                .filter_map(|(time, value)| {
                    Some(Sample { time: Timestamp::from_millis(time), value: (*value)? })
                })
                .collect();
            if !samples.is_empty() {
                let drops_name = series.drops_name;
                ranges
                    .series
                    .push(RangeSeries { series: Series { labels: series.labels, samples }, drops_name });
            }
        }
        Ok(ranges)
    }

    /// The ranges of the only step: the answer to a range selector on its own.
    pub(crate) fn range_vector(&self, node: &Node, grid: Grid) -> Result<Vec<RangeSeries>, EvaluationError> {
        let ranges = self.ranges(node, grid)?;
        let end = ranges.shift.of(grid.start, self.query);
        let start = self.options.first_inside(end, ranges.length);
        let mut series = ranges.series;
        for range in &mut series {
            range.series.samples.retain(|sample| (start..=end).contains(&sample.time.millis()));
        }
        series.retain(|range| !range.series.samples.is_empty());
        Ok(series)
    }
}

/// How many of `samples` are not after `at`. Looks nearby first: steps are mostly close to each other.
pub(crate) fn advanced(samples: &[Sample], at: i64) -> usize {
    let near = samples.iter().take(8).take_while(|sample| sample.time.millis() <= at).count();
    if near < 8 { near } else { 8 + samples[8..].partition_point(|sample| sample.time.millis() <= at) }
}
