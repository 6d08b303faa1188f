//! The steps of an evaluation in milliseconds: those of the query, or of a subquery within it.

use super::evaluate::EvaluationError;
use super::expression::{At, Shift, Subquery};
use super::limits::{Boundaries, Options};
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};

/// `start, start + step, …`, `count` of them, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) count: usize,
}

/// The times of the whole query, for `@ start()`, `@ end()` and the functions that tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueryTimes {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// 0 for an instant query.
    pub(crate) step: i64,
}

impl Grid {
    pub(crate) fn of(grid: &StepGrid) -> Self {
        let step = i64::try_from(grid.step().millis()).unwrap_or(i64::MAX);
        Self { start: grid.start().millis(), step, count: grid.points() }
    }

    /// The same for those outside.
    pub(crate) fn to_steps(self) -> Result<StepGrid, EvaluationError> {
        let at = Timestamp::from_millis;
        let step = u64::try_from(self.step.max(1)).unwrap_or(1);
        let grid = Window::from_millis(step).map_err(|fault| fault.to_string());
        let grid = grid
            .and_then(|step| StepGrid::new(at(self.start), at(self.last()), step).map_err(|f| f.to_string()));
        grid.map_err(EvaluationError::Source)
    }

    /// The first step alone.
    pub(crate) const fn first(self) -> Self {
        Self { count: 1, ..self }
    }

    pub(crate) fn times(self) -> impl ExactSizeIterator<Item = i64> {
        (0..self.count).map(move |index| self.at(index))
    }

    pub(crate) fn at(self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    pub(crate) fn last(self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// The steps at which a subquery evaluates its inside, for all of its ranges: multiples of its step after the left
    /// edge of the first range, up to the right edge of the last. `None` where there is none.
    pub(crate) fn of_subquery(
        self,
        subquery: &Subquery,
        query: QueryTimes,
        options: &Options,
    ) -> Option<Self> {
        let step = subquery.step.unwrap_or_else(|| options.subquery_step_millis()).max(1);
        let left = subquery.shift.of(self.start, query).saturating_sub(subquery.range);
        let end = subquery.shift.of(self.last(), query);
        let floor = left.div_euclid(step).saturating_mul(step);
        let inside = match options.boundaries {
            Boundaries::LeftOpen => floor > left,
            Boundaries::Closed => floor >= left,
        };
        let start = if inside { floor } else { floor.saturating_add(step) };
        let count = usize::try_from(end.checked_sub(start)?.checked_div(step)?).ok()?.checked_add(1)?;
        (start <= end).then_some(Self { start, step, count })
    }
}

impl Shift {
    /// The time that is looked at for the step `now`.
    pub(crate) const fn of(self, now: i64, query: QueryTimes) -> i64 {
        let fixed = match self.at {
            None => now,
            Some(At::Start) => query.start,
            Some(At::End) => query.end,
            Some(At::Time(time)) => time,
        };
        fixed.saturating_sub(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::query::Query;

    fn subgrid(text: &str, grid: Grid, boundaries: Boundaries) -> Option<(i64, i64, usize)> {
        let query = Query::parse(text, 1_000).unwrap();
        let times = QueryTimes { start: grid.start, end: grid.last(), step: grid.step };
        let super::super::expression::Kind::Subquery(subquery) = &query.root().kind else { panic!("{text}") };
        let options = Options { boundaries, ..Options::default() };
        let of = grid.of_subquery(subquery, times, &options)?;
        Some((of.start, of.last(), of.count))
    }

    #[test]
    fn a_subquery_steps_on_multiples_of_its_step_after_the_left_edge() {
        let grid = Grid { start: 100_000, step: 30_000, count: 3 };
        let open = |text| subgrid(text, grid, Boundaries::LeftOpen);
        assert_eq!(open("x[60s:20s]"), Some((60_000, 160_000, 6)));
        assert_eq!(open("x[1m:]"), Some((60_000, 120_000, 2)));
        assert_eq!(open("x[60s:20s] offset 100s"), Some((-40_000, 60_000, 6)));
        assert_eq!(open("x[50s:25s] @ 50"), Some((25_000, 50_000, 2)));
        assert_eq!(open("x[10s:1h]"), None);
        assert_eq!(subgrid("x[50s:25s] @ 50", grid, Boundaries::Closed), Some((0, 50_000, 3)));
    }
}
