//! A parsed query and what its selectors ask for.

use std::time::{Duration, UNIX_EPOCH};

use promql_parser::parser::{self, AtModifier, Expr, Offset, VectorSelector};

use super::guard::{self, GuardError};
use super::matcher::{MatcherError, MatcherSet};
use super::source::Selection;
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is too large to be parsed, or its brackets do not balance.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The parser refused it.
    #[error("parse error: {0}")]
    Syntax(String),
    /// A selector's matchers are no legal ones.
    #[error("parse error: {0}")]
    Matcher(#[from] MatcherError),
}

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    expression: Expr,
    selectors: Vec<MatcherSet>,
}

impl Query {
    /// Parses a text of at most `max_bytes`.
    ///
    /// # Errors
    /// [`ParseError`], with the place where it is known.
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, ParseError> {
        guard::check(text, max_bytes)?;
        let expression = parser::parse(text).map_err(ParseError::Syntax)?;
        let mut selectors = Vec::new();
        visit_selectors(&expression, &mut |selector, _| {
            selectors.push(MatcherSet::of_selector(selector)?);
            Ok::<_, MatcherError>(())
        })?;
        Ok(Self { expression, selectors })
    }

    /// The syntax tree.
    #[must_use]
    pub const fn expression(&self) -> &Expr {
        &self.expression
    }

    /// The matchers of every selector, from left to right.
    #[must_use]
    pub fn selectors(&self) -> &[MatcherSet] {
        &self.selectors
    }

    /// Whether the whole query is one selector, perhaps in parentheses: its answer is the union of what several
    /// sources select.
    #[must_use]
    pub fn is_selector(&self) -> bool {
        matches!(without_parentheses(&self.expression), Expr::VectorSelector(_) | Expr::MatrixSelector(_))
    }

    /// The times that each selector looks at, one for each step of `grid`, from left to right.
    #[must_use]
    pub fn looked_at(&self, grid: &StepGrid) -> Vec<Vec<Timestamp>> {
        let mut all = Vec::with_capacity(self.selectors.len());
        let visited = visit_selectors(&self.expression, &mut |selector, _| {
            all.push(grid.iter().map(|at| reference_time(selector, at, grid)).collect());
            Ok::<_, std::convert::Infallible>(())
        });
        match visited {
            Ok(()) => all,
            Err(never) => match never {},
        }
    }

    /// What an evaluation on `grid` reads, once for each different selection.
    ///
    /// # Errors
    /// [`MatcherError`]; not for a query that was parsed here.
    pub fn selections(&self, grid: &StepGrid, lookback: Window) -> Result<Vec<Selection>, MatcherError> {
        let mut selections: Vec<Selection> = Vec::new();
        visit_selectors(&self.expression, &mut |selector, range| {
            let matchers = MatcherSet::of_selector(selector)?;
            let reach = range.map_or(millis(lookback), duration_millis);
            let (from, to) = reach_of(selector, reach, grid);
            let selection = Selection { matchers, from, to };
            if !selections.contains(&selection) {
                selections.push(selection);
            }
            Ok::<_, MatcherError>(())
        })?;
        Ok(selections)
    }
}

/// The expression inside any parentheses.
pub(crate) fn without_parentheses(mut expression: &Expr) -> &Expr {
    while let Expr::Paren(inner) = expression {
        expression = &inner.expr;
    }
    expression
}

/// Calls `visit` with every selector and, where it is a range selector, its range.
fn visit_selectors<E>(
    expression: &Expr,
    visit: &mut impl FnMut(&VectorSelector, Option<Duration>) -> Result<(), E>,
) -> Result<(), E> {
    match expression {
        Expr::VectorSelector(selector) => visit(selector, None),
        Expr::MatrixSelector(selector) => visit(&selector.vs, Some(selector.range)),
        Expr::Aggregate(aggregate) => {
            aggregate.param.iter().try_for_each(|parameter| visit_selectors(parameter, visit))?;
            visit_selectors(&aggregate.expr, visit)
        }
        Expr::Unary(unary) => visit_selectors(&unary.expr, visit),
        Expr::Binary(binary) => {
            visit_selectors(&binary.lhs, visit)?;
            visit_selectors(&binary.rhs, visit)
        }
        Expr::Paren(inner) => visit_selectors(&inner.expr, visit),
        Expr::Subquery(subquery) => visit_selectors(&subquery.expr, visit),
        Expr::Call(call) => call.args.args.iter().try_for_each(|argument| visit_selectors(argument, visit)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Ok(()),
    }
}

/// The first and the last sample time that a selector reads on `grid`, when it reaches back by `reach` milliseconds:
/// open on the left.
pub(crate) fn reach_of(selector: &VectorSelector, reach: i64, grid: &StepGrid) -> (Timestamp, Timestamp) {
    let last_step = grid.iter().last().unwrap_or(grid.start());
    let first = reference_time(selector, grid.start(), grid);
    let last = reference_time(selector, last_step, grid);
    (first.plus_millis(reach.saturating_neg()).plus_millis(1), last)
}

/// The time that a selector looks at for the step `at`: `@` first, then `offset`, in whichever order they are written.
pub(crate) fn reference_time(selector: &VectorSelector, at: Timestamp, grid: &StepGrid) -> Timestamp {
    let fixed = match &selector.at {
        None => at,
        Some(AtModifier::Start) => grid.start(),
        Some(AtModifier::End) => grid.end(),
        Some(AtModifier::At(time)) => Timestamp::from_millis(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => duration_millis(after),
            Err(before) => duration_millis(before.duration()).saturating_neg(),
        }),
    };
    match &selector.offset {
        None => fixed,
        Some(Offset::Pos(back)) => fixed.plus_millis(duration_millis(*back).saturating_neg()),
        Some(Offset::Neg(ahead)) => fixed.plus_millis(duration_millis(*ahead)),
    }
}

pub(crate) fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn millis(window: Window) -> i64 {
    i64::try_from(window.millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selections(text: &str, start: i64, end: i64) -> Vec<(i64, i64)> {
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(start), at(end), Window::from_millis(60_000).unwrap()).unwrap();
        let query = Query::parse(text, guard::MAX_QUERY_BYTES).unwrap();
        let lookback = Window::from_millis(300_000).unwrap();
        query
            .selections(&grid, lookback)
            .unwrap()
            .iter()
            .map(|selection| (selection.from.millis(), selection.to.millis()))
            .collect()
    }

    #[test]
    fn a_selector_reaches_back_from_where_at_and_offset_put_it() {
        let (start, end) = (1_000_000, 1_150_000);
        for (text, from, to) in [
            ("x", 700_001, 1_120_000),
            ("x offset 1m", 640_001, 1_060_000),
            ("x offset -1m", 760_001, 1_180_000),
            ("x @ 500", 200_001, 500_000),
            ("x @ 500 offset 100s", 100_001, 400_000),
            ("x offset 100s @ 500", 100_001, 400_000),
            ("x @ start()", 700_001, 1_000_000),
            ("x @ end()", 850_001, 1_150_000),
            ("x @ -1.5", -301_499, -1_500),
            ("rate(x[30s])", 970_001, 1_120_000),
            ("rate(x[30s] offset 1m)", 910_001, 1_060_000),
        ] {
            assert_eq!(selections(text, start, end), [(from, to)], "{text}");
        }
    }

    #[test]
    fn equal_selections_are_asked_for_once() {
        assert_eq!(selections("x + x - x{a=\"b\"}", 0, 0).len(), 2);
    }

    #[test]
    fn a_query_that_is_one_selector_is_told_from_others() {
        let is_selector = |text| Query::parse(text, guard::MAX_QUERY_BYTES).unwrap().is_selector();
        assert!(is_selector("((x{a=\"b\"} offset 5m))") && is_selector("x[5m]"));
        assert!(!is_selector("-x") && !is_selector("sum(x)") && !is_selector("1"));
    }

    #[test]
    fn hostile_texts_are_refused_at_once() {
        for text in [
            "(".repeat(8_000),
            format!("{}x{}", "abs(".repeat(2_000), ")".repeat(2_000)),
            "-".repeat(8_000) + "x",
            format!("x{}", "[1m:]".repeat(1_600)),
            format!("x{}", "+x".repeat(4_000)),
            "sum by (".repeat(1_000),
            "\"".to_owned(),
            "\u{0}\u{ffff}é".repeat(100),
            "{".repeat(8_192),
            "x".repeat(100_000),
        ] {
            assert!(Query::parse(&text, guard::MAX_QUERY_BYTES).is_err(), "{}", &text[..20.min(text.len())]);
        }
    }
}
