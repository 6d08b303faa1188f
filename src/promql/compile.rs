//! From the parser's tree to the one that is evaluated.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use promql_parser::parser::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Expr, LabelModifier, Offset, VectorMatchCardinality,
    VectorSelector,
};

use super::aggregation::Aggregation;
use super::arithmetic::Operation;
use super::expression::{
    Aggregate, At, Binary, Cardinality, Grouping, Kind, Matching, Node, Selector, Shift, Subquery, ValueType,
};
use super::function::Function;
use super::matcher::{MatcherError, MatcherSet};
use super::position::Positions;

/// The deepest tree that is evaluated. The text's bounds keep trees of parsed texts below it.
pub const MAX_TREE_DEPTH: usize = 400;

/// Why a tree is not evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A construct of the parser's that is not PromQL's.
    #[error("parse error: unknown construct {construct}")]
    Unknown {
        /// Its spelling.
        construct: String,
    },
    /// Something of the wrong type.
    #[error("parse error: expected type {expected} in {place}, got {found}")]
    Type {
        /// What is needed.
        expected: &'static str,
        /// Where.
        place: String,
        /// What is there.
        found: &'static str,
    },
    /// A range or a step of no length.
    #[error("parse error: duration must be greater than 0")]
    NoDuration,
    /// Too deep.
    #[error("the query's tree is deeper than {MAX_TREE_DEPTH} levels")]
    TooDeep,
    /// A selector's matchers are no legal ones.
    #[error("parse error: {0}")]
    Matcher(#[from] MatcherError),
}

/// What is known of a node besides itself.
struct Compiled {
    node: Node,
    /// Its value is the same at every step.
    invariant: bool,
    /// Evaluating it once saves something: not for literals, nor for ranges, which functions evaluate.
    worth_marking: bool,
}

impl Compiled {
    fn marked(self) -> Node {
        if self.worth_marking { mark(self.node) } else { self.node }
    }
}

fn mark(node: Node) -> Node {
    Node { at: node.at, kind: Kind::Invariant(Box::new(node)) }
}

/// Resolves functions, operators, durations and positions, and marks what does not change from step to step.
pub(crate) fn compile(expression: &Expr, text: &str) -> Result<Node, CompileError> {
    let positions = Positions::of(text);
    let mut compiler = Compiler { positions, calls: 0 };
    Ok(compiler.expression(expression, 0, 0)?.marked())
}

struct Compiler {
    positions: Positions,
    /// How many calls were met: they are met in the order of the text.
    calls: usize,
}

/// The expression inside any parentheses, and how many pairs there are.
fn without_parentheses(mut expression: &Expr) -> (&Expr, usize) {
    let mut pairs = 0;
    while let Expr::Paren(inner) = expression {
        (expression, pairs) = (&inner.expr, pairs + 1);
    }
    (expression, pairs)
}

impl Compiler {
    fn expression(&mut self, expression: &Expr, at: usize, depth: usize) -> Result<Compiled, CompileError> {
        if depth > MAX_TREE_DEPTH {
            return Err(CompileError::TooDeep);
        }
        let constant = |kind| Compiled { node: Node { at, kind }, invariant: true, worth_marking: false };
        match expression {
            Expr::NumberLiteral(literal) => Ok(constant(Kind::Number(literal.val))),
            Expr::StringLiteral(literal) => Ok(constant(Kind::Text(literal.val.clone()))),
            Expr::Paren(inner) => self.expression(&inner.expr, at, depth + 1),
            Expr::VectorSelector(parsed) => {
                let selector = selector(parsed)?;
                let invariant = selector.shift.at.is_some();
                let kind = Kind::Selector(Arc::new(selector));
                Ok(Compiled { node: Node { at, kind }, invariant, worth_marking: invariant })
            }
            Expr::MatrixSelector(parsed) => {
                positive(Some(parsed.range))?;
                let selector = selector(&parsed.vs)?;
                let invariant = selector.shift.at.is_some();
                let kind = Kind::Range(Arc::new(selector), millis(parsed.range));
                Ok(Compiled { node: Node { at, kind }, invariant, worth_marking: false })
            }
            Expr::Subquery(parsed) => {
                positive(Some(parsed.range))?;
                positive(parsed.step)?;
                let inner = self.expression(&parsed.expr, at, depth + 1)?;
                let inner = if inner.invariant { inner.marked() } else { inner.node };
                let shift = shift(parsed.at.as_ref(), parsed.offset.as_ref());
                let (range, step) = (millis(parsed.range), parsed.step.map(millis));
                let kind = Kind::Subquery(Box::new(Subquery { inner, shift, range, step }));
                Ok(Compiled { node: Node { at, kind }, invariant: shift.at.is_some(), worth_marking: false })
            }
            Expr::Unary(unary) => {
                let inner = self.expression(&unary.expr, at, depth + 1)?;
                let Compiled { invariant, worth_marking, .. } = inner;
                expect(&[ValueType::Scalar, ValueType::Vector], &inner.node, "unary expression")?;
                let kind = Kind::Negation(Box::new(inner.node));
                Ok(Compiled { node: Node { at, kind }, invariant, worth_marking })
            }
            Expr::Binary(binary) => self.binary(binary, at, depth),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, at, depth),
            Expr::Call(call) => self.call(call, at, depth),
            Expr::Extension(extension) => unknown(extension.expr.name()),
        }
    }

    fn binary(&mut self, binary: &BinaryExpr, at: usize, depth: usize) -> Result<Compiled, CompileError> {
        let Some(operation) = Operation::of_token(binary.op.id()) else {
            return unknown(&binary.op.to_string());
        };
        let left = self.expression(&binary.lhs, at, depth + 1)?;
        let right = self.expression(&binary.rhs, at, depth + 1)?;
        for side in [&left, &right] {
            expect(&[ValueType::Scalar, ValueType::Vector], &side.node, "binary expression")?;
        }
        let invariant = left.invariant && right.invariant;
        let (left, right) = if invariant { (left.node, right.node) } else { (left.marked(), right.marked()) };
        if left.value_type() != right.value_type() && matches!(operation, Operation::Set(_)) {
            return Err(CompileError::Type {
                expected: ValueType::Vector.name(),
                place: format!("set operator '{}'", binary.op),
                found: ValueType::Scalar.name(),
            });
        }
        let matching = matching(binary);
        let as_number = binary.return_bool();
        let kind = Kind::Binary(Box::new(Binary { operation, as_number, left, right, matching }));
        Ok(Compiled { node: Node { at, kind }, invariant, worth_marking: invariant })
    }

    fn aggregate(
        &mut self,
        aggregate: &AggregateExpr,
        at: usize,
        depth: usize,
    ) -> Result<Compiled, CompileError> {
        let Some(aggregation) = Aggregation::of_token(aggregate.op.id()) else {
            return unknown(&aggregate.op.to_string());
        };
        let call = self.next_call();
        let place = format!("aggregation {}", aggregate.op);
        let parameter =
            aggregate.param.as_ref().map(|parameter| self.argument(parameter, call, 0, depth)).transpose()?;
        let inner = self.argument(&aggregate.expr, call, usize::from(parameter.is_some()), depth)?;
        expect(&[ValueType::Vector], &inner.node, &place)?;
        if let Some(parameter) = &parameter {
            let expected =
                if aggregation == Aggregation::CountValues { ValueType::Text } else { ValueType::Scalar };
            expect(&[expected], &parameter.node, &place)?;
        }
        let parameter_is_invariant = parameter.as_ref().is_none_or(|parameter| parameter.invariant);
        let invariant = inner.invariant && parameter_is_invariant;
        let (inner, parameter) = if invariant {
            (inner.node, parameter.map(|parameter| parameter.node))
        } else {
            (inner.marked(), parameter.map(Compiled::marked))
        };
        let grouping = aggregate.modifier.as_ref().map_or(Grouping::ALL, grouping);
        let kind = Kind::Aggregate(Box::new(Aggregate { aggregation, parameter, inner, grouping }));
        Ok(Compiled { node: Node { at, kind }, invariant, worth_marking: invariant })
    }

    fn call(&mut self, call: &Call, at: usize, depth: usize) -> Result<Compiled, CompileError> {
        let name = call.func.name;
        let number = self.next_call();
        let arguments = call.args.args.iter().enumerate();
        let arguments = arguments.map(|(index, argument)| self.argument(argument, number, index, depth));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let Some(function) = Function::named(name) else {
            // The text is legal; an upstream may know the function.
            let arguments = arguments.into_iter().map(|argument| argument.node).collect();
            let kind = Kind::Unsupported(format!("{name}()"), arguments);
            return Ok(Compiled { node: Node { at, kind }, invariant: false, worth_marking: false });
        };
        let invariant = !function.depends_on_time() && arguments.iter().all(|argument| argument.invariant);
        let arguments: Vec<Node> = arguments
            .into_iter()
            .map(|argument| if invariant { argument.node } else { argument.marked() })
            .collect();
        let node = Node { at, kind: Kind::Call(function, name, arguments) };
        Ok(Compiled { node, invariant, worth_marking: invariant })
    }

    fn argument(
        &mut self,
        argument: &Expr,
        call: usize,
        index: usize,
        depth: usize,
    ) -> Result<Compiled, CompileError> {
        let (argument, pairs) = without_parentheses(argument);
        self.expression(argument, self.positions.argument(call, index, pairs), depth + 1)
    }

    fn next_call(&mut self) -> usize {
        self.calls += 1;
        self.calls - 1
    }
}

fn unknown<T>(construct: &str) -> Result<T, CompileError> {
    Err(CompileError::Unknown { construct: construct.to_owned() })
}

fn expect(expected: &[ValueType], node: &Node, place: &str) -> Result<(), CompileError> {
    let found = node.value_type();
    if expected.contains(&found) {
        return Ok(());
    }
    let expected = expected.last().map_or("", |expected| expected.name());
    Err(CompileError::Type { expected, place: place.to_owned(), found: found.name() })
}

fn selector(parsed: &VectorSelector) -> Result<Selector, MatcherError> {
    let matchers = MatcherSet::of_selector(parsed)?;
    Ok(Selector { matchers, shift: shift(parsed.at.as_ref(), parsed.offset.as_ref()) })
}

fn shift(at: Option<&AtModifier>, offset: Option<&Offset>) -> Shift {
    let at = at.map(|at| match at {
        AtModifier::Start => At::Start,
        AtModifier::End => At::End,
        AtModifier::At(time) => At::Time(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        }),
    });
    let offset = match offset {
        None => 0,
        Some(Offset::Pos(back)) => millis(*back),
        Some(Offset::Neg(ahead)) => -millis(*ahead),
    };
    Shift { at, offset }
}

/// The parser takes `[0]` for a range.
fn positive(duration: Option<Duration>) -> Result<(), CompileError> {
    if duration.is_some_and(|duration| millis(duration) == 0) {
        Err(CompileError::NoDuration)
    } else {
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn grouping(modifier: &LabelModifier) -> Grouping {
    match modifier {
        LabelModifier::Include(labels) => Grouping::Only(labels.labels.clone()),
        LabelModifier::Exclude(labels) => Grouping::Except(labels.labels.clone()),
    }
}

fn matching(binary: &BinaryExpr) -> Matching {
    let modifier = binary.modifier.as_ref();
    let cardinality = match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(labels)) => Cardinality::ManyToOne(labels.labels.clone()),
        Some(VectorMatchCardinality::OneToMany(labels)) => Cardinality::OneToMany(labels.labels.clone()),
        _ => Cardinality::OneToOne,
    };
    let grouping = modifier.and_then(|modifier| modifier.matching.as_ref()).map(grouping);
    Matching {
        cardinality,
        grouping: grouping.unwrap_or(Grouping::Except(Vec::new())),
        fill_left: modifier.and_then(|modifier| modifier.fill_values.lhs),
        fill_right: modifier.and_then(|modifier| modifier.fill_values.rhs),
    }
}
