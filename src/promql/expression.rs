//! The tree that is evaluated: the parser's, with functions and operators resolved, durations as milliseconds,
//! parentheses gone, and what does not change from step to step marked.

use std::sync::Arc;

use super::aggregation::Aggregation;
use super::arithmetic::Operation;
use super::function::Function;
use super::matcher::MatcherSet;

/// An expression, with the byte offset in the text at which messages about it point.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A number at every step.
    Number(f64),
    /// A text.
    Text(String),
    /// An instant vector.
    Selector(Arc<Selector>),
    /// A range vector of raw samples.
    Range(Arc<Selector>, i64),
    /// A range vector of computed samples.
    Subquery(Box<Subquery>),
    /// Unary minus.
    Negation(Box<Node>),
    /// Two operands.
    Binary(Box<Binary>),
    /// Many series to one for each group, or to some of each.
    Aggregate(Box<Aggregate>),
    /// A function, as the text names it: some have two names.
    Call(Function, &'static str, Vec<Node>),
    /// A function that is not built, by its name.
    Unsupported(String, Vec<Node>),
    /// Evaluated once, whatever the number of steps.
    Invariant(Box<Node>),
    /// Evaluated by somebody else, on the very grid on which its value is needed.
    Evaluated(Subtree),
    /// An instant vector of two origins, or the times of its samples: what the source selects, and what somebody else
    /// evaluated. Of two series with the same labels the source's own stays.
    Union(Subtree),
}

/// The type of an expression, as PromQL knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// An instant vector.
    Vector,
    /// A range vector.
    Range,
    /// A string.
    Text,
}

impl ValueType {
    /// As Prometheus names types in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Range => "range vector",
            Self::Text => "string",
        }
    }
}

/// The time of `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The first step of the query.
    Start,
    /// The end of the query.
    End,
    /// Milliseconds since the epoch.
    Time(i64),
}

/// `@` and `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) at: Option<At>,
    /// How far back, in milliseconds; negative is ahead.
    pub(crate) offset: i64,
}

/// Which series, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selector {
    pub(crate) matchers: MatcherSet,
    pub(crate) shift: Shift,
}

/// `expression[range:step]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subquery {
    pub(crate) inner: Node,
    pub(crate) shift: Shift,
    /// In milliseconds.
    pub(crate) range: i64,
    /// In milliseconds; none is the default step.
    pub(crate) step: Option<i64>,
}

/// What somebody else evaluates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Subtree {
    /// Which of the source's answers holds its value.
    pub(crate) id: SubtreeId,
    /// What it is.
    pub(crate) node: Box<Node>,
}

/// The number of an answer, from 0: see [`super::source::SeriesSource::evaluated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubtreeId(pub usize);

/// Which labels a group or a match is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// `by (…)`, `on (…)`
    Only(Vec<String>),
    /// `without (…)`, `ignoring (…)`
    Except(Vec<String>),
}

impl Grouping {
    /// `by ()`: everything is one group.
    pub(crate) const ALL: Self = Self::Only(Vec::new());
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) aggregation: Aggregation,
    pub(crate) parameter: Option<Node>,
    pub(crate) inner: Node,
    pub(crate) grouping: Grouping,
}

/// How many series of a side may match one of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    /// `group_left`, with the labels taken from the right
    ManyToOne(Vec<String>),
    /// `group_right`, with the labels taken from the left
    OneToMany(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matching {
    pub(crate) cardinality: Cardinality,
    pub(crate) grouping: Grouping,
    /// What stands for a missing left or right side.
    pub(crate) fill_left: Option<f64>,
    pub(crate) fill_right: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) operation: Operation,
    /// `bool`: 0 or 1 instead of a filter.
    pub(crate) as_number: bool,
    pub(crate) left: Node,
    pub(crate) right: Node,
    pub(crate) matching: Matching,
}

impl Node {
    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number(_) => ValueType::Scalar,
            Kind::Text(_) => ValueType::Text,
            Kind::Selector(_) | Kind::Aggregate(_) | Kind::Unsupported(..) => ValueType::Vector,
            Kind::Range(..) | Kind::Subquery(_) => ValueType::Range,
            Kind::Negation(inner) | Kind::Invariant(inner) => inner.value_type(),
            Kind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Kind::Call(function, ..) => function.value_type(),
            Kind::Evaluated(subtree) | Kind::Union(subtree) => subtree.node.value_type(),
        }
    }

    /// Whether it is one selector, of an instant or a range.
    #[must_use]
    pub fn is_selector(&self) -> bool {
        matches!(self.unmarked().kind, Kind::Selector(_) | Kind::Range(..))
    }

    /// The first construct from the left that is not built.
    #[must_use]
    pub fn unsupported(&self) -> Option<&str> {
        match &self.kind {
            Kind::Unsupported(construct, _) => Some(construct),
            Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(..) => None,
            Kind::Subquery(subquery) => subquery.inner.unsupported(),
            Kind::Negation(inner) | Kind::Invariant(inner) => inner.unsupported(),
            Kind::Binary(binary) => binary.left.unsupported().or_else(|| binary.right.unsupported()),
            Kind::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.as_ref();
                parameter.and_then(Self::unsupported).or_else(|| aggregate.inner.unsupported())
            }
            Kind::Call(_, _, arguments) => arguments.iter().find_map(Self::unsupported),
            // It is for its evaluator to know the construct.
            Kind::Evaluated(_) => None,
            Kind::Union(subtree) => subtree.node.unsupported(),
        }
    }

    /// The expression without the mark of what does not change.
    pub(crate) fn unmarked(&self) -> &Self {
        match &self.kind {
            Kind::Invariant(inner) => inner.unmarked(),
            _ => self,
        }
    }

    /// The selector that it is, whoever evaluates it.
    pub(crate) fn selector(&self) -> Option<&Selector> {
        match &self.kind {
            Kind::Selector(selector) | Kind::Range(selector, _) => Some(selector),
            Kind::Invariant(inner) => inner.selector(),
            Kind::Evaluated(subtree) | Kind::Union(subtree) => subtree.node.selector(),
            _ => None,
        }
    }
}
