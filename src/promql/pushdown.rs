//! Who evaluates what, where some series are held here and others by an upstream: a plan as data.
//!
//! The largest subtrees that select nothing but the upstream's series are evaluated there, each on exactly the grid on
//! which its value is needed: the query's, or that of the subquery around it. What comes back is taken as it is, since
//! its lookback was applied already. The rest is evaluated here. Where a range selector of the upstream's has to be
//! read here (its function also looks at a series of ours), its raw samples are asked for.

use std::collections::HashMap;

use super::evaluate::{EvaluationError, query_times};
use super::expression::{
    Aggregate, Binary, Grouping, Kind, Node, Selector, Subquery, Subtree, SubtreeId, ValueType,
};
use super::function::Function;
use super::grid::{Grid, QueryTimes};
use super::info_function::info_selector;
use super::limits::Options;
use super::matcher::MatcherSet;
use super::print::{Printed, duration, print, selector_text};
use super::query::Query;
use super::selector::{checked_grid, visit_selectors};
use super::source::{Reading, Selection};
use crate::series::{NAME, StepGrid};
use crate::unit::Timestamp;

/// Who holds the series of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The upstream alone.
    Theirs,
    /// We alone.
    Ours,
    /// Both hold some.
    Both,
}

/// What a plan depends on besides the query.
pub trait Origin {
    /// Who holds the series of a selector. The same for equal matchers.
    fn side(&self, matchers: &MatcherSet) -> Side;

    /// Whether the upstream evaluates this subtree as a whole. It always evaluates instant selectors of its own.
    fn pushes(&self, subtree: &Node) -> bool {
        let _ = subtree;
        true
    }
}

/// When a request's text is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At one time.
    Instant(Timestamp),
    /// At every step.
    Steps(StepGrid),
    /// At one time, for the raw samples of a range that ends there.
    Samples(Timestamp),
}

/// A question to the upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    printed: Printed,
    /// When.
    pub when: When,
    /// What its answer is.
    pub value_type: ValueType,
}

impl Request {
    /// The question.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.printed.text
    }

    /// A note of the upstream's on the question, with its place in the text of the whole query.
    #[must_use]
    pub fn translated(&self, note: &str, query: &Query) -> String {
        self.printed.translated(note, query.text())
    }
}

/// Samples that are read for the evaluation here.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Which.
    pub selection: Selection,
    /// Whether ours are among them.
    pub ours: bool,
    /// The requests for those of the upstream.
    pub(crate) theirs: Option<Theirs>,
}

/// The requests whose answers make a selection of the upstream's series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theirs {
    /// Raw samples.
    pub(crate) samples: usize,
    /// Values by step: raw samples tell nothing of stale markers, these do.
    pub(crate) steps: Option<usize>,
}

/// Who evaluates what.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryPlan {
    pub(crate) query: Query,
    pub(crate) grid: StepGrid,
    pub(crate) range_query: bool,
    pub(crate) requests: Vec<Request>,
    pub(crate) reads: Vec<Read>,
}

impl QueryPlan {
    /// Plans an evaluation of `query` on `grid`; `range_query` and `options` as for
    /// [`super::evaluate::evaluate`].
    ///
    /// # Errors
    /// Where the steps of a subquery are too many.
    pub fn new(
        query: &Query,
        grid: &StepGrid,
        range_query: bool,
        options: &Options,
        origin: &dyn Origin,
    ) -> Result<Self, EvaluationError> {
        let steps = Grid::of(grid);
        let mut planner = Planner {
            grid: *grid,
            steps,
            range_query,
            // Whether it is a range query matters to `step()` alone, and what calls that stays here.
            times: query_times(grid, range_query),
            options,
            origin,
            sides: Vec::new(),
            held: HashMap::new(),
            requests: Vec::new(),
        };
        planner.find_out(query.root())?;
        let root = planner.rewritten(query.root(), steps)?;
        let query = query.with_root(root);
        let reads = planner.reads(query.root(), steps)?;
        Ok(Self { query, grid: *grid, range_query, requests: planner.requests, reads })
    }

    /// The query whose tree refers to the answers of the requests.
    #[must_use]
    pub const fn query(&self) -> &Query {
        &self.query
    }

    /// When it is evaluated.
    #[must_use]
    pub const fn grid(&self) -> &StepGrid {
        &self.grid
    }

    /// Whether the answer must have a value at each step.
    #[must_use]
    pub const fn range_query(&self) -> bool {
        self.range_query
    }

    /// What the upstream is asked, each once.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// What is read for the evaluation here, each once.
    #[must_use]
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }
}

/// Whose series a subtree selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// It selects none.
    Nobodys,
    Theirs,
    Ours,
    Mixed,
}

impl Whose {
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobodys, one) | (one, Self::Nobodys) => one,
            (Self::Theirs, Self::Theirs) => Self::Theirs,
            (Self::Ours, Self::Ours) => Self::Ours,
            _ => Self::Mixed,
        }
    }
}

/// What is known of a subtree.
#[derive(Debug, Clone, Copy)]
struct Found {
    whose: Whose,
    /// Whether something in it tells the times of the query, which are not those of a request.
    tells_query_times: bool,
}

impl Found {
    const fn and(self, other: Self) -> Self {
        Self {
            whose: self.whose.and(other.whose),
            tells_query_times: self.tells_query_times || other.tells_query_times,
        }
    }
}

struct Planner<'a> {
    grid: StepGrid,
    steps: Grid,
    range_query: bool,
    times: QueryTimes,
    options: &'a Options,
    origin: &'a dyn Origin,
    /// What was found out about selectors.
    sides: Vec<(MatcherSet, Side)>,
    /// What was found out about each node of the query's tree, by its place in memory: asking the leaves again at every
    /// level would take the square of the text's length.
    held: HashMap<*const Node, Found>,
    requests: Vec<Request>,
}

impl Planner<'_> {
    fn side(&mut self, matchers: &MatcherSet) -> Side {
        if let Some((_, side)) = self.sides.iter().find(|(known, _)| known == matchers) {
            return *side;
        }
        let side = self.origin.side(matchers);
        self.sides.push((matchers.clone(), side));
        side
    }

    /// Looks at a tree from its leaves upwards.
    fn find_out(&mut self, node: &Node) -> Result<Found, EvaluationError> {
        let mut found = Found { whose: Whose::Nobodys, tells_query_times: tells_query_times(node) };
        match &node.kind {
            Kind::Selector(selector) | Kind::Range(selector, _) => {
                found.whose = self.whose_selector(selector)
            }
            Kind::Call(Function::Info, _, arguments) => {
                found.whose = self.whose_selector(&info_selector(arguments.get(1))?);
                // The second argument is no vector, but says which labels are wanted.
                for argument in arguments.iter().take(1) {
                    found = found.and(self.find_out(argument)?);
                }
            }
            _ => {
                for child in children(node) {
                    found = found.and(self.find_out(child)?);
                }
            }
        }
        self.held.insert(std::ptr::from_ref(node), found);
        Ok(found)
    }

    /// What was found out about a node of the query's tree.
    fn found(&mut self, node: &Node) -> Result<Found, EvaluationError> {
        match self.held.get(&std::ptr::from_ref(node)) {
            Some(found) => Ok(*found),
            None => self.find_out(node),
        }
    }

    fn whose_selector(&mut self, selector: &Selector) -> Whose {
        match self.side(&selector.matchers) {
            Side::Theirs => Whose::Theirs,
            Side::Ours => Whose::Ours,
            Side::Both => Whose::Mixed,
        }
    }

    /// The tree with what the upstream evaluates replaced by references to its answers.
    fn rewritten(&mut self, node: &Node, grid: Grid) -> Result<Node, EvaluationError> {
        let found = self.found(node)?;
        match found.whose {
            Whose::Nobodys | Whose::Ours => Ok(node.clone()),
            Whose::Theirs if must_push(node) || !found.tells_query_times && self.may_push(node) => {
                self.replaced(node, grid, Kind::Evaluated)
            }
            // A selector of both sides, or the times of its samples.
            Whose::Mixed if is_instant(node) => self.replaced(node, grid, Kind::Union),
            Whose::Theirs | Whose::Mixed => {
                self.descended(&node.kind, grid).map(|kind| Node { at: node.at, kind })
            }
        }
    }

    /// A reference to the upstream's answer instead of the node.
    fn replaced(
        &mut self,
        node: &Node,
        grid: Grid,
        kind: fn(Subtree) -> Kind,
    ) -> Result<Node, EvaluationError> {
        let id = self.push(node, grid)?;
        Ok(Node { at: node.at, kind: kind(Subtree { id, node: Box::new(node.clone()) }) })
    }

    // Each kind has a function of its own: this recursion goes as deep as the text may nest, and a frame that held the
    // locals of all kinds would not fit into a thread's stack that often.
    fn descended(&mut self, kind: &Kind, grid: Grid) -> Result<Kind, EvaluationError> {
        match kind {
            Kind::Subquery(subquery) => self.subquery(subquery, grid),
            Kind::Negation(inner) => self.boxed(inner, grid).map(Kind::Negation),
            Kind::Invariant(inner) => self.boxed(inner, grid.first()).map(Kind::Invariant),
            Kind::Binary(binary) => self.binary(binary, grid),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, grid),
            Kind::Call(function, name, arguments) => {
                // The second argument of `info` is no vector, but says which labels are wanted.
                let evaluated = if *function == Function::Info { 1 } else { arguments.len() };
                Ok(Kind::Call(*function, name, self.arguments(arguments, evaluated, grid)?))
            }
            Kind::Unsupported(construct, arguments) => {
                Ok(Kind::Unsupported(construct.clone(), self.arguments(arguments, arguments.len(), grid)?))
            }
            Kind::Number(_)
            | Kind::Text(_)
            | Kind::Selector(_)
            | Kind::Range(..)
            | Kind::Evaluated(_)
            | Kind::Union(_) => Ok(kind.clone()),
        }
    }

    fn boxed(&mut self, inner: &Node, grid: Grid) -> Result<Box<Node>, EvaluationError> {
        self.rewritten(inner, grid).map(Box::new)
    }

    fn subquery(&mut self, subquery: &Subquery, grid: Grid) -> Result<Kind, EvaluationError> {
        let inside = checked_grid(subquery, grid, self.times, self.options)?;
        let inner = match inside {
            Some(inside) => self.rewritten(&subquery.inner, inside)?,
            // It has no step, and nothing is evaluated.
            None => subquery.inner.clone(),
        };
        Ok(Kind::Subquery(Box::new(Subquery { inner, ..Subquery::clone(subquery) })))
    }

    fn binary(&mut self, binary: &Binary, grid: Grid) -> Result<Kind, EvaluationError> {
        let left = self.rewritten(&binary.left, grid)?;
        let right = self.rewritten(&binary.right, grid)?;
        Ok(Kind::Binary(Box::new(Binary { left, right, matching: binary.matching.clone(), ..*binary })))
    }

    fn aggregate(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Kind, EvaluationError> {
        let parameter = match &aggregate.parameter {
            Some(parameter) => Some(self.rewritten(parameter, grid)?),
            None => None,
        };
        let inner = self.rewritten(&aggregate.inner, grid)?;
        let grouping = aggregate.grouping.clone();
        Ok(Kind::Aggregate(Box::new(Aggregate { parameter, inner, grouping, ..*aggregate })))
    }

    fn arguments(
        &mut self,
        all: &[Node],
        evaluated: usize,
        grid: Grid,
    ) -> Result<Vec<Node>, EvaluationError> {
        let argument = |(index, argument): (usize, &Node)| match index < evaluated {
            true => self.rewritten(argument, grid),
            false => Ok(argument.clone()),
        };
        all.iter().enumerate().map(argument).collect()
    }

    /// Whether the upstream may evaluate a subtree that selects its series alone.
    fn may_push(&self, node: &Node) -> bool {
        let is_answer = matches!(node.value_type(), ValueType::Vector | ValueType::Scalar);
        let marked = matches!(node.kind, Kind::Invariant(_));
        let unfinished = self.options.names_dropped_late && may_drop_a_name_late(node);
        is_answer && !marked && !unfinished && self.origin.pushes(node)
    }

    /// The request for a subtree, made where there is no equal one.
    fn push(&mut self, node: &Node, grid: Grid) -> Result<SubtreeId, EvaluationError> {
        let of_query = grid == self.steps;
        let when = match (of_query, grid.count) {
            (true, _) if !self.range_query => When::Instant(self.grid.start()),
            (true, _) => When::Steps(self.grid),
            (false, 1) => When::Instant(Timestamp::from_millis(grid.start)),
            (false, _) => When::Steps(grid.to_steps()?),
        };
        let printed = print(node, (!of_query).then_some(self.times));
        Ok(SubtreeId(self.request(Request { printed, when, value_type: node.value_type() })))
    }

    fn request(&mut self, request: Request) -> usize {
        let same = |known: &Request| known.text() == request.text() && known.when == request.when;
        self.requests.iter().position(same).unwrap_or_else(|| {
            self.requests.push(request);
            self.requests.len() - 1
        })
    }

    /// What the rewritten tree reads.
    fn reads(&mut self, root: &Node, steps: Grid) -> Result<Vec<Read>, EvaluationError> {
        let mut selections: Vec<Selection> = Vec::new();
        let (times, options) = (self.times, self.options);
        visit_selectors(root, steps, times, options, &mut |selector, grid, reach, reading| {
            let selection = selector.selection(reach, grid, times, options, reading);
            if !selections.contains(&selection) {
                selections.push(selection);
            }
        })?;
        let mut reads = Vec::with_capacity(selections.len());
        for selection in selections {
            let side = match selection.reading {
                // Those of the upstream were replaced.
                Reading::Instant => Side::Ours,
                Reading::Range | Reading::InfoSeries(_) => self.side(&selection.matchers),
            };
            let theirs = (side != Side::Ours).then(|| self.ask_for(&selection));
            reads.push(Read { selection, ours: side != Side::Theirs, theirs });
        }
        Ok(reads)
    }

    /// The requests for a selection of the upstream's.
    fn ask_for(&mut self, selection: &Selection) -> Theirs {
        let text = selector_text(&selection.matchers);
        // One more, since ranges do not hold their left edge.
        let length = selection.to.millis().saturating_sub(selection.from.millis()).saturating_add(1).max(1);
        let samples = self.request(Request {
            printed: Printed::of_text(format!("{text}[{}]", duration(length))),
            when: When::Samples(selection.to),
            value_type: ValueType::Range,
        });
        let steps = match selection.reading {
            Reading::InfoSeries(grid) => Some(self.request(Request {
                printed: Printed::of_text(text),
                when: When::Steps(grid),
                value_type: ValueType::Vector,
            })),
            Reading::Instant | Reading::Range => None,
        };
        Theirs { samples, steps }
    }
}

/// What a node is made of.
fn children(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(..) => Vec::new(),
        Kind::Subquery(subquery) => vec![&subquery.inner],
        Kind::Negation(inner) | Kind::Invariant(inner) => vec![inner],
        Kind::Binary(binary) => vec![&binary.left, &binary.right],
        Kind::Aggregate(aggregate) => aggregate.parameter.iter().chain([&aggregate.inner]).collect(),
        Kind::Call(_, _, arguments) | Kind::Unsupported(_, arguments) => arguments.iter().collect(),
        Kind::Evaluated(subtree) | Kind::Union(subtree) => vec![&subtree.node],
    }
}

/// An instant selector, or the times of its samples: nothing but whoever holds the samples can tell either.
fn is_instant(node: &Node) -> bool {
    match &node.kind {
        Kind::Selector(_) => true,
        Kind::Call(Function::Timestamp, _, arguments) => {
            matches!(arguments.first().map(|node| &node.unmarked().kind), Some(Kind::Selector(_)))
        }
        _ => false,
    }
}

/// Whether a subtree of the upstream's cannot be evaluated here.
fn must_push(node: &Node) -> bool {
    is_instant(node) || matches!(node.kind, Kind::Unsupported(..))
}

/// Whether a node itself tells the times of the query, which are not those of a request.
const fn tells_query_times(node: &Node) -> bool {
    matches!(
        node.kind,
        Kind::Call(Function::Start | Function::End | Function::Step | Function::QueryRange, ..)
    )
}

/// Whether a name may still be visible in the middle of an expression that will be dropped at its end.
fn may_drop_a_name_late(node: &Node) -> bool {
    match &node.kind {
        Kind::Selector(_) => false,
        Kind::Aggregate(aggregate) => {
            matches!(&aggregate.grouping, Grouping::Only(names) if names.iter().any(|name| name == NAME))
                || matches!(aggregate.aggregation, super::aggregation::Aggregation::Rank(_))
        }
        _ => true,
    }
}
