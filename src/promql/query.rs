//! A parsed query and what its selectors read.

use std::sync::OnceLock;

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, Expr, Function};

use super::compile::{CompileError, compile};
use super::evaluate::{EvaluationError, query_times};
use super::expression::Node;
use super::grid::Grid;
use super::guard::{self, GuardError, Position, Token, Tokens};
use super::keyword::{is_any, is_keyword};
use super::limits::Options;
use super::literal::{self, LiteralFault};
use super::matcher::MatcherSet;
use super::selector::{collect_matchers, visit_selectors};
use super::source::Selection;
use crate::series::StepGrid;
use crate::unit::Timestamp;

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is too large to be parsed, or its brackets do not balance.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// A duration or a string that the parser would misread.
    #[error("{position}: parse error: {fault}")]
    Literal {
        /// Where it starts.
        position: Position,
        /// What is wrong with it.
        fault: LiteralFault,
    },
    /// A label name that is none.
    #[error("{0}")]
    LabelName(LiteralFault),
    /// A modifier of ranges that the parser does not know, so that the text may well be PromQL.
    #[error(
        "{position}: the range modifier \"{modifier}\" is not supported: leave it out, or ask a Prometheus that knows it for \
         the other series of the query alone"
    )]
    RangeModifier {
        /// Where it stands.
        position: Position,
        /// `anchored` or `smoothed`.
        modifier: String,
    },
    /// The parser refused it.
    #[error("parse error: {0}")]
    Syntax(String),
    /// It is PromQL, but not such as can be evaluated.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    text: String,
    expression: Expr,
    root: Node,
    selectors: Vec<MatcherSet>,
}

impl Query {
    /// Parses a text of at most `max_bytes`.
    ///
    /// # Errors
    /// [`ParseError`], with the place where it is known.
    pub fn parse(text: &str, max_bytes: usize) -> Result<Self, ParseError> {
        guard::check(text, max_bytes)?;
        literal::check(text).map_err(|(at, fault)| match fault {
            LiteralFault::LabelName(_) => ParseError::LabelName(fault),
            _ => ParseError::Literal { position: Position::of(text, at), fault },
        })?;
        register_old_names();
        let expression = parser::parse(text).map_err(|fault| match range_modifier(text) {
            Some((at, modifier)) => ParseError::RangeModifier {
                position: Position::of(text, at),
                modifier: modifier.to_ascii_lowercase(),
            },
            None => ParseError::Syntax(fault),
        })?;
        Self::of_expression(expression, text)
    }

    /// A query of a syntax tree. `text`: what messages point into; a text other than the tree's own makes them point
    /// to wrong places.
    ///
    /// # Errors
    /// [`ParseError::Compile`].
    pub fn of_expression(expression: Expr, text: &str) -> Result<Self, ParseError> {
        let root = compile(&expression, text)?;
        let mut selectors = Vec::new();
        collect_matchers(&root, &mut selectors);
        Ok(Self { text: text.to_owned(), expression, root, selectors })
    }

    /// The same query with another tree: messages point into the same text.
    pub(crate) fn with_root(&self, root: Node) -> Self {
        let mut selectors = Vec::new();
        collect_matchers(&root, &mut selectors);
        Self { text: self.text.clone(), expression: self.expression.clone(), root, selectors }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parser's syntax tree.
    #[must_use]
    pub const fn expression(&self) -> &Expr {
        &self.expression
    }

    /// The tree that is evaluated.
    #[must_use]
    pub const fn root(&self) -> &Node {
        &self.root
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
        self.root.is_selector()
    }

    /// The times that each selector looks at, one for each step of `grid` or of the subquery that it stands in, from
    /// left to right.
    ///
    /// # Errors
    /// [`EvaluationError::TooManySubquerySteps`].
    pub fn looked_at(
        &self,
        grid: &StepGrid,
        options: &Options,
    ) -> Result<Vec<Vec<Timestamp>>, EvaluationError> {
        let mut all = Vec::with_capacity(self.selectors.len());
        let query = query_times(grid, true);
        visit_selectors(&self.root, Grid::of(grid), query, options, &mut |selector, grid, _, _| {
            let times = grid.times().map(|now| Timestamp::from_millis(selector.shift.of(now, query)));
            all.push(times.collect());
        })?;
        Ok(all)
    }

    /// The most steps at which a selector is looked at: those of `grid`, or of a subquery.
    ///
    /// # Errors
    /// [`EvaluationError::TooManySubquerySteps`].
    pub fn most_steps(&self, grid: &StepGrid, options: &Options) -> Result<usize, EvaluationError> {
        let mut most = 0;
        let query = query_times(grid, true);
        visit_selectors(&self.root, Grid::of(grid), query, options, &mut |_, grid, _, _| {
            most = most.max(grid.count);
        })?;
        Ok(most)
    }

    /// What an evaluation on `grid` reads, once for each different selection.
    ///
    /// # Errors
    /// [`EvaluationError::TooManySubquerySteps`].
    pub fn selections(&self, grid: &StepGrid, options: &Options) -> Result<Vec<Selection>, EvaluationError> {
        let mut found = Vec::new();
        // Whether it is a range query matters to `step()` alone, which reads nothing.
        let query = query_times(grid, true);
        visit_selectors(
            &self.root,
            Grid::of(grid),
            query,
            options,
            &mut |selector, grid, reach, reading| {
                let selection = selector.selection(reach, grid, query, options, reading);
                if !found.contains(&selection) {
                    found.push(selection);
                }
            },
        )?;
        Ok(found)
    }
}

/// Where `anchored` or `smoothed` follows a selector, if it does. As words on their own they are names of metrics.
fn range_modifier(text: &str) -> Option<(usize, &str)> {
    let mut after_selector = false;
    for token in Tokens::new(text).map_while(Result::ok) {
        match token {
            (at, Token::Word(word)) => {
                if after_selector && is_any(word, &["anchored", "smoothed"]) {
                    return Some((at, word));
                }
                // A name, or what a modifier such as `offset 5m` ends with.
                after_selector = !is_keyword(word);
            }
            (_, token) => after_selector = matches!(token, Token::Symbol(b']' | b'}' | b')')),
        }
    }
    None
}

/// `holt_winters` is what `double_exponential_smoothing` was called before Prometheus 3; the parser knows the new name
/// alone.
fn register_old_names() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        let arguments = vec![ValueType::Matrix, ValueType::Scalar, ValueType::Scalar];
        let function = Function::new("holt_winters", arguments, 0, ValueType::Vector, false);
        // It fails only where the parser learns the name itself.
        drop(parser::function::register_extra_functions(vec![function]));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Window;

    fn selections(text: &str, start: i64, end: i64) -> Vec<(i64, i64)> {
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(start), at(end), Window::MINUTE).unwrap();
        let query = Query::parse(text, guard::MAX_QUERY_BYTES).unwrap();
        query
            .selections(&grid, &Options::default())
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
            // Steps at 960 … 1,120 s within the subquery's own range and offset.
            ("max_over_time(x[1m:40s])", 660_001, 1_120_000),
            ("max_over_time(rate(x[30s])[2m:1m] offset 1m)", 810_001, 1_020_000),
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
        assert!(is_selector("((x{a=\"b\"} offset 5m))") && is_selector("x[5m]") && is_selector("x @ 5"));
        assert!(!is_selector("-x") && !is_selector("sum(x)") && !is_selector("1"));
    }

    #[test]
    fn a_range_modifier_that_is_not_known_is_named_with_its_place() {
        for (text, column, modifier) in [
            ("rate(x[5m] smoothed)", 12, "smoothed"),
            ("increase(x{a=\"anchored\"}[5m] ANCHORED)", 30, "anchored"),
            ("x smoothed", 3, "smoothed"),
            ("sum(y) + rate(x[5m] offset 1m anchored)", 31, "anchored"),
            ("max_over_time(rate(x[1m] anchored)[5m:])", 26, "anchored"),
        ] {
            let fault = Query::parse(text, guard::MAX_QUERY_BYTES).unwrap_err();
            let position = Position { line: 1, column };
            assert_eq!(
                fault,
                ParseError::RangeModifier { position, modifier: modifier.to_owned() },
                "{text}"
            );
        }
        // Elsewhere they modify nothing.
        for text in ["sum(smoothed) x", "sum by (smoothed) x y", "smoothed anchored +"] {
            let fault = Query::parse(text, guard::MAX_QUERY_BYTES).unwrap_err();
            assert!(matches!(fault, ParseError::Syntax(_)), "{text}: {fault}");
        }
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

    #[test]
    fn each_selector_looks_at_the_steps_of_its_own_grid() {
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(600_000), at(660_000), Window::MINUTE).unwrap();
        let query = Query::parse("x offset 1m + on() max_over_time(y[2m:1m]) + z @ 5", 100).unwrap();
        let times = query.looked_at(&grid, &Options::default()).unwrap();
        let seconds: Vec<Vec<i64>> =
            times.iter().map(|times| times.iter().map(|time| time.millis() / 1_000).collect()).collect();
        assert_eq!(seconds, [vec![540, 600], vec![540, 600, 660], vec![5]]);
        assert_eq!(query.most_steps(&grid, &Options::default()), Ok(3));
        let query = Query::parse("max_over_time(y[10y:1ms])", 100).unwrap();
        assert!(query.looked_at(&grid, &Options::default()).is_err());
        assert!(query.selections(&grid, &Options::default()).is_err());
    }
}
