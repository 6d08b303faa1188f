//! The operator: from the tree or the text form to ids.

use std::collections::HashMap;

use super::intent::JourneySpec;
use super::lower::Places;
use super::step::{ExpressionText, HOLE, node_of};
use crate::document::decode::Decoder;
use crate::document::diagnostic::{Code, did_you_mean};
use crate::document::tree::NodeId;
use crate::journey::component::{Component, ComponentId};
use crate::journey::expression::{Expression, Repetitions, Share, Term};
use crate::journey::operator::{
    AttemptsFate, Backoff, Branch, BranchProbability, Jitter, Operator, ParameterId,
};
use crate::journey::{JourneyError, Parameter};
use crate::unit::{Probability, Seconds};

/// The written tree, its meaning, and where its nodes stand.
pub(crate) struct Tree<'a> {
    pub(crate) expression: Expression,
    /// `None` where a part of it is faulty, which is reported.
    pub(crate) operator: Option<Operator>,
    text: Option<&'a ExpressionText>,
}

impl Tree<'_> {
    /// Reports about a node of the tree.
    pub(crate) fn report(
        &self,
        decoder: &mut Decoder<'_>,
        code: Code,
        expression: &Expression,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        report(decoder, self.text, code, expression.at, message, help);
    }
}

fn report(
    decoder: &mut Decoder<'_>,
    text: Option<&ExpressionText>,
    code: Code,
    at: usize,
    message: impl Into<String>,
    help: Option<String>,
) {
    match text {
        None => decoder.report(code, NodeId::from_index(at), message, help),
        Some(text) => {
            let (line, column) = if decoder.is_full() { (0, 0) } else { place_in_text(decoder, text, at) };
            decoder.report_at(code, text.at, line, column, message, help);
        }
    }
}

/// Where the character `at` of a scalar's value stands in the file. YAML folds and indents only white space, so the
/// other characters are counted.
fn place_in_text(decoder: &Decoder<'_>, text: &ExpressionText, at: usize) -> (usize, usize) {
    let node = decoder.document.node(text.at);
    let before = text.text.chars().take(at).filter(|c| !c.is_whitespace()).count();
    let mut source = decoder.source.chars().skip(node.start).peekable();
    let (mut line, mut column) = (node.line, node.column);
    let mut step = |c: char| {
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
        (line, column)
    };
    let mut place = (node.line, node.column);
    match source.peek() {
        // The header of a block scalar.
        Some('|' | '>') => {
            for c in source.by_ref() {
                place = step(c);
                if c == '\n' {
                    break;
                }
            }
        }
        Some('"' | '\'') => {
            if let Some(c) = source.next() {
                place = step(c);
            }
        }
        _ => {}
    }
    let mut seen = 0;
    for c in source {
        if !c.is_whitespace() {
            if seen == before {
                return place;
            }
            seen += 1;
        }
        place = step(c);
    }
    place
}

/// Reads the operator in whichever form it is written. Where the spec declares no components at all, every name in
/// it becomes one, without telemetry; parameters likewise.
pub(crate) fn lower<'a>(
    spec: &'a JourneySpec,
    decoder: &mut Decoder<'_>,
    components: &mut Vec<Component>,
    parameters: &mut Vec<Parameter>,
    places: &mut Places,
) -> Option<Tree<'a>> {
    let text = spec.expression.as_ref().filter(|_| spec.operator.is_none());
    let expression = match (&spec.operator, text) {
        (Some(step), _) => step.0.clone(),
        (None, Some(text)) => match Expression::parse(&text.text) {
            Ok(expression) => expression,
            Err(error) => {
                let help = error
                    .found
                    .strip_prefix('`')
                    .and_then(|found| found.strip_suffix("(`"))
                    .and_then(|found| did_you_mean(found, crate::journey::expression::KEYWORDS));
                let code = if error.found == "one more" { Code::TooDeep } else { Code::ExpressionSyntax };
                report(decoder, Some(text), code, error.at, error.to_string(), help);
                return None;
            }
        },
        (None, None) => return None,
    };
    let component_ids =
        components.iter().enumerate().map(|(id, c)| (c.name.clone(), ComponentId(id))).collect();
    let parameter_ids =
        parameters.iter().enumerate().map(|(id, p)| (p.name.clone(), ParameterId(id))).collect();
    let operator = Lowering {
        decoder,
        text,
        components,
        parameters,
        places,
        component_ids,
        parameter_ids,
        components_declared: spec.components.is_some(),
        parameters_declared: spec.parameters.is_some(),
    }
    .operator(&expression);
    Some(Tree { expression, operator, text })
}

struct Lowering<'a, 'd> {
    decoder: &'a mut Decoder<'d>,
    text: Option<&'a ExpressionText>,
    components: &'a mut Vec<Component>,
    parameters: &'a mut Vec<Parameter>,
    places: &'a mut Places,
    component_ids: HashMap<String, ComponentId>,
    parameter_ids: HashMap<String, ParameterId>,
    components_declared: bool,
    parameters_declared: bool,
}

impl Lowering<'_, '_> {
    fn operator(&mut self, expression: &Expression) -> Option<Operator> {
        let operator = self.unchecked(expression)?;
        match operator.check() {
            Ok(()) => Some(operator),
            Err(JourneyError::Operator { operator: keyword, fault }) => {
                let probabilities = matches!(operator, Operator::Cond(_) | Operator::Repeat { .. });
                let code = if probabilities { Code::Probabilities } else { Code::OperatorRule };
                let help = matches!(operator, Operator::Cond(_)).then(|| {
                    "exactly one branch of a `cond` is taken; if all start at once, write a `race`".to_owned()
                });
                report(self.decoder, self.text, code, expression.at, format!("`{keyword}`: {fault}"), help);
                None
            }
            Err(JourneyError::DanglingId { .. }) => None,
        }
    }

    fn unchecked(&mut self, expression: &Expression) -> Option<Operator> {
        match &expression.term {
            Term::Component(name) => self.component(name, expression.at).map(Operator::Component),
            Term::Series(all) => self.all(all).map(Operator::Series),
            Term::Parallel { branches, .. } => self.all(branches).map(Operator::Parallel),
            Term::Race { branches, .. } => self.all(branches).map(Operator::Race),
            Term::KofN { k, branches } => {
                self.all(branches).map(|branches| Operator::KofN { k: *k, branches })
            }
            Term::Cond(branches) => self.cond(branches, expression.at),
            Term::Timeout { after, body, fallback } => {
                let body = self.boxed(body);
                let fallback = fallback.as_ref().map(|fallback| self.boxed(fallback));
                Some(Operator::Timeout {
                    after: after.value,
                    body: body?,
                    fallback: match fallback {
                        None => None,
                        Some(fallback) => Some(fallback?),
                    },
                })
            }
            Term::Fallback { body, fallback } => {
                let (body, fallback) = (self.boxed(body), self.boxed(fallback));
                Some(Operator::Fallback { body: body?, fallback: fallback? })
            }
            Term::Hedge { delay, body, alternate } => {
                let (body, alternate) = (self.boxed(body), self.boxed(alternate));
                Some(Operator::Hedge { delay: delay.value, body: body?, alternate: alternate? })
            }
            Term::Optional { timeout, body } => {
                self.boxed(body).map(|body| Operator::Optional { timeout: timeout.value, body })
            }
            Term::Retry { attempts, per_try_timeout, backoff, fate, body } => Some(Operator::Retry {
                attempts: *attempts,
                per_try_timeout: per_try_timeout.as_ref().map(|after| after.value),
                backoff: backoff.as_ref().map(|backoff| Backoff {
                    base: backoff.base.value,
                    factor: backoff.factor.as_ref().map_or(1.0, |factor| factor.value),
                    max: backoff.max.as_ref().map_or(Seconds::INFINITY, |max| max.value),
                    jitter: backoff.jitter.unwrap_or(Jitter::None),
                }),
                fate: fate.unwrap_or(AttemptsFate::Shared),
                body: self.boxed(body)?,
            }),
            Term::Repeat { counts, body } => self.repeat(counts, body, expression.at),
        }
    }

    fn boxed(&mut self, expression: &Expression) -> Option<Box<Operator>> {
        self.operator(expression).map(Box::new)
    }

    /// All of them, also after a faulty one, so that every fault is found.
    fn all(&mut self, expressions: &[Expression]) -> Option<Vec<Operator>> {
        let read: Vec<_> = expressions.iter().map(|expression| self.operator(expression)).collect();
        read.into_iter().collect()
    }

    fn repeat(&mut self, counts: &Repetitions, body: &Expression, at: usize) -> Option<Operator> {
        let body = self.boxed(body);
        let counts = match counts {
            Repetitions::Count(count) => vec![(*count, Probability::ONE)],
            Repetitions::Distribution(counts) => {
                let mut read = Vec::with_capacity(counts.len());
                for (count, share) in counts {
                    let Ok(probability) = Probability::new(share.value) else {
                        let message = format!("{} is not a probability; allowed: 0 to 1", share.text);
                        report(self.decoder, self.text, Code::Probabilities, at, message, None);
                        return None;
                    };
                    if read.iter().any(|(other, _)| other == count) {
                        let message = format!("the count {count} is given twice");
                        report(self.decoder, self.text, Code::DuplicateName, at, message, None);
                    }
                    read.push((*count, probability));
                }
                read
            }
        };
        Some(Operator::Repeat { counts, body: body? })
    }

    fn cond(&mut self, branches: &[(Share, Expression)], at: usize) -> Option<Operator> {
        let mut read = Vec::with_capacity(branches.len());
        let mut faulty = false;
        let (mut sum, mut remainder, mut unknown) = (0.0, false, false);
        for (share, body) in branches {
            let probability = match share {
                Share::Remainder => {
                    remainder = true;
                    Some(BranchProbability::Remainder)
                }
                Share::Number(number) => {
                    sum += number.value;
                    let probability = Probability::new(number.value).ok();
                    if probability.is_none() {
                        let message = format!("{} is not a probability; allowed: 0 to 1", number.text);
                        report(self.decoder, self.text, Code::Probabilities, body.at, message, None);
                    }
                    probability.map(BranchProbability::Fixed)
                }
                Share::Parameter(name) => self.parameter(name, body.at).map(|id| {
                    match self.parameters.get(id.0).and_then(|parameter| parameter.value) {
                        Some(value) => sum += value,
                        None => unknown = true,
                    }
                    BranchProbability::Parameter(id)
                }),
            };
            let body = self.operator(body);
            match (probability, body) {
                (Some(probability), Some(body)) => read.push(Branch { probability, body }),
                _ => faulty = true,
            }
        }
        let named = branches.iter().any(|(share, _)| matches!(share, Share::Parameter(_)));
        // Without parameters, the operator's own rule says the same.
        if !faulty && named && (sum > 1.0 + 1e-9 || !unknown && !remainder && sum < 1.0 - 1e-9) {
            let message = format!(
                "the probabilities of the branches, with the values of their parameters, sum to {sum}, not 1"
            );
            report(self.decoder, self.text, Code::Probabilities, at, message, None);
        }
        (!faulty).then_some(Operator::Cond(read))
    }

    fn component(&mut self, name: &str, at: usize) -> Option<ComponentId> {
        if name == HOLE {
            return None;
        }
        if let Some(id) = self.component_ids.get(name) {
            return Some(*id);
        }
        if self.components_declared && self.decoder.is_full() {
            report(self.decoder, self.text, Code::UnknownComponent, at, String::new(), None);
            return None;
        }
        if self.components_declared {
            let known = self.components.iter().map(|component| component.name.as_str());
            let help = did_you_mean(name, known.clone())
                .or_else(|| Some("declare it under `components`".to_owned()));
            let listed: Vec<_> = known.take(20).collect();
            let more = if self.components.len() > listed.len() { ", …" } else { "" };
            let message = format!("there is no component `{name}`; allowed: {}{more}", listed.join(", "));
            report(self.decoder, self.text, Code::UnknownComponent, at, message, help);
            return None;
        }
        let id = ComponentId(self.components.len());
        self.components.push(Component::new(name));
        self.places.components.push(self.place(at));
        self.component_ids.insert(name.to_owned(), id);
        Some(id)
    }

    fn parameter(&mut self, name: &str, at: usize) -> Option<ParameterId> {
        if let Some(id) = self.parameter_ids.get(name) {
            return Some(*id);
        }
        if self.parameters_declared {
            let help = did_you_mean(name, self.parameters.iter().map(|parameter| parameter.name.as_str()))
                .or_else(|| Some("declare it under `parameters`".to_owned()));
            let message = format!("there is no parameter `{name}`");
            report(self.decoder, self.text, Code::UnknownParameter, at, message, help);
            return None;
        }
        let id = ParameterId(self.parameters.len());
        self.parameters.push(Parameter { name: name.to_owned(), value: None, promql: None });
        self.places.parameters.push(self.place(at));
        self.parameter_ids.insert(name.to_owned(), id);
        Some(id)
    }

    fn place(&self, at: usize) -> NodeId {
        self.text.map_or_else(|| NodeId::from_index(at), |text| text.at)
    }
}

/// The node of a tree's root, or of its text.
pub(crate) fn root_node(tree: &Tree<'_>) -> NodeId {
    tree.text.map_or_else(|| node_of(&tree.expression), |text| text.at)
}
