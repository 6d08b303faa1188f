//! The operator tree and its text form, as decoded: both become an [`Expression`].
//!
//! `operator_shape` says which fields each operator has.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::operator_shape::{SHAPES, Shape, keywords};
use super::scalar::{ComponentName, Duration, ShareText, Times, TimesKey, WrittenFraction, WrittenGrowth};
use super::word::{Fate, JitterWord, Join, RaceSemantics};
use crate::document::decode::{At, Decode, Decoder, Scalar, Table, record};
use crate::document::diagnostic::{Code, did_you_mean};
use crate::document::tree::{Content, NodeId, Plain, shortened};
use crate::journey::expression::{Expression, MAX_DEPTH, Repetitions, Share, Term, Written, WrittenBackoff};
use crate::unit::Seconds;

/// Stands for an operand that could not be decoded, which is reported: no component has an empty name.
pub(crate) const HOLE: &str = "";

/// The root of an operator tree; `at` of each node is its [`NodeId`] ([`node_of`]).
#[derive(Debug)]
pub(crate) struct Step(pub(crate) Expression);

/// The text form, as written.
#[derive(Debug)]
pub(crate) struct ExpressionText {
    pub(crate) at: NodeId,
    pub(crate) text: String,
}

record! {
    /// A wait between attempts that grows.
    BackoffRecord {
        /// The wait after the first attempt.
        required base: At<Duration> = "base",
        /// Growth per attempt, 1 by default.
        optional factor: At<WrittenGrowth> = "factor",
        /// The longest wait.
        optional max: At<Duration> = "max",
        /// Random spread, none by default.
        optional jitter: At<JitterWord> = "jitter",
    }
}

/// A wait between attempts: a duration or a record.
pub(super) struct BackoffField(Option<WrittenBackoff>);

impl JsonSchema for BackoffField {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Backoff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (duration, record) =
            (generator.subschema_for::<At<Duration>>(), generator.subschema_for::<BackoffRecord>());
        schemars::json_schema!({ "anyOf": [duration, record] })
    }
}

impl Decode for BackoffField {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        let whole = |base| WrittenBackoff { base, factor: None, max: None, jitter: None };
        if matches!(decoder.document.node(at).content, Content::Mapping(_)) {
            let record = BackoffRecord::decode(at, decoder)?;
            return Some(Self(record.base.map(|base| WrittenBackoff {
                factor: record.factor.map(|factor| factor.value.0),
                max: record.max.map(|max| max.value.0),
                jitter: record.jitter.map(|jitter| jitter.value.0),
                ..whole(base.value.0)
            })));
        }
        At::<Duration>::decode(at, decoder).map(|base| Self(Some(whole(base.value.0))))
    }
}

/// Where a node of a decoded tree stands.
pub(crate) fn node_of(expression: &Expression) -> NodeId {
    NodeId::from_index(expression.at)
}

fn hole(at: NodeId) -> Expression {
    Expression { at: at.index(), term: Term::Component(HOLE.to_owned()) }
}

impl Decode for Step {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        let mut tree = Tree { decoder, too_deep: false };
        Some(Self(tree.step(at, 1, false)))
    }
}

struct Tree<'a, 'd> {
    decoder: &'a mut Decoder<'d>,
    too_deep: bool,
}

impl Tree<'_, '_> {
    /// A step; with `branch`, a probability may stand beside its fields.
    fn step(&mut self, at: NodeId, depth: usize, branch: bool) -> Expression {
        if depth > MAX_DEPTH {
            // Once is enough: a faulty tree may have many such branches.
            if !std::mem::replace(&mut self.too_deep, true) {
                let message = format!("operators are nested more than {MAX_DEPTH} deep");
                self.decoder.report(Code::TooDeep, at, message, None);
            }
            return hole(at);
        }
        let Some(shape) = self.shape(at, branch) else { return hole(at) };
        match shape {
            Head::Component(name) => Expression { at: at.index(), term: Term::Component(name) },
            Head::Operator(shape) => {
                let term =
                    self.operator(shape, at, depth).unwrap_or_else(|| Term::Component(HOLE.to_owned()));
                Expression { at: at.index(), term }
            }
        }
    }

    /// What kind of step it is; its fields are checked against the table.
    fn shape(&mut self, at: NodeId, branch: bool) -> Option<Head> {
        self.decoder.mapping(at)?;
        let document = self.decoder.document;
        let more: &[&str] = if branch { &["probability"] } else { &[] };
        let (reference, keyword) = (document.get(at, "ref"), document.get(at, "type"));
        let shape = match (reference, keyword) {
            (Some(reference), None) => {
                self.known_fields(at, "ref", &[&["ref"], more].concat());
                return At::<ComponentName>::decode(reference, self.decoder)
                    .map(|name| Head::Component(name.value.0));
            }
            (Some(_), Some(keyword)) => {
                let message = "the fields ref and type exclude each other; allowed: one of them";
                self.decoder.report(Code::Conflict, keyword, message, None);
                return None;
            }
            (None, None) => {
                let message = "a step needs the field `ref` (a component) or `type` (an operator)";
                self.decoder.report(Code::MissingField, at, message, None);
                return None;
            }
            (None, Some(keyword)) => {
                let word = match document.plain(keyword) {
                    Some(Plain::Text(word)) => word,
                    _ => {
                        self.decoder.refuse(Code::WrongType, keyword, &keywords(), None);
                        return None;
                    }
                };
                let Some(shape) = SHAPES.iter().find(|shape| shape.keyword == word) else {
                    let help = did_you_mean(word, SHAPES.iter().map(|shape| shape.keyword));
                    self.decoder.refuse(Code::NotAllowed, keyword, &keywords(), help);
                    return None;
                };
                shape
            }
        };
        let mut known = vec!["type"];
        known.extend(shape.fields.iter().map(|field| field.0));
        known.extend(more);
        self.known_fields(at, shape.keyword, &known);
        for (name, required, _) in shape.fields {
            if *required && document.get(at, name).is_none() {
                let message = format!("`{}` needs the field `{name}`", shape.keyword);
                self.decoder.report(Code::MissingField, at, message, None);
            }
        }
        for rule in shape.rules {
            self.decoder.obey(at, rule);
        }
        Some(Head::Operator(shape))
    }

    fn known_fields(&mut self, at: NodeId, keyword: &str, known: &[&str]) {
        let document = self.decoder.document;
        let Content::Mapping(entries) = &document.node(at).content else { return };
        for (key, _) in entries {
            let name = document.text(*key).unwrap_or_default();
            if known.contains(&name) {
                continue;
            }
            let help = match name {
                "probability" => Some(
                    "only the branches of a `cond` have probabilities: exactly one of them is taken; in a `race` \
                     all start at once"
                        .to_owned(),
                ),
                _ => did_you_mean(name, known.iter().copied()),
            };
            let message =
                format!("`{keyword}` has no field `{}`; allowed: {}", shortened(name), known.join(", "));
            self.decoder.report(Code::UnknownField, *key, message, help);
        }
    }

    /// Small functions and one of them in a frame, as in the text form's reader: a level must cost little stack.
    fn operator(&mut self, shape: &Shape, at: NodeId, depth: usize) -> Option<Term> {
        let read: fn(&mut Self, NodeId, usize) -> Option<Term> = match shape.keyword {
            "series" => Self::series,
            "parallel" => Self::parallel,
            "cond" => Self::cond,
            "race" => Self::race,
            "kofn" => Self::k_of_n,
            "timeout" => Self::timeout,
            "fallback" => Self::fallback,
            "retry" => Self::retry,
            "hedge" => Self::hedge,
            "optional" => Self::optional,
            _ => Self::repeat,
        };
        read(self, at, depth)
    }

    fn get<T: Decode>(&mut self, at: NodeId, name: &str) -> Option<T> {
        let node = self.decoder.document.get(at, name)?;
        T::decode(node, self.decoder)
    }

    fn child(&mut self, at: NodeId, name: &str, depth: usize) -> Option<Box<Expression>> {
        let node = self.decoder.document.get(at, name)?;
        Some(Box::new(self.step(node, depth + 1, false)))
    }

    /// A child that is required: where it is missing, which is reported, a hole.
    fn body(&mut self, at: NodeId, name: &str, depth: usize) -> Box<Expression> {
        self.child(at, name, depth).unwrap_or_else(|| Box::new(hole(at)))
    }

    fn children(&mut self, at: NodeId, name: &str, depth: usize) -> Option<Vec<Expression>> {
        let node = self.decoder.document.get(at, name)?;
        let items = self.decoder.list(node)?;
        if items.is_empty() {
            self.decoder.refuse(Code::ItemCount, node, "at least one item", None);
            return None;
        }
        Some(items.iter().map(|item| self.step(*item, depth + 1, false)).collect())
    }

    fn series(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        self.children(at, "steps", depth).map(Term::Series)
    }

    fn parallel(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let join = self.get::<At<Join>>(at, "join").is_some();
        self.children(at, "branches", depth).map(|branches| Term::Parallel { join, branches })
    }

    fn race(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let hedged = self.get::<At<RaceSemantics>>(at, "semantics").is_some();
        self.children(at, "branches", depth).map(|branches| Term::Race { hedged, branches })
    }

    fn k_of_n(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let k = self.get::<At<Times>>(at, "k").map(|k| k.value.0 as usize);
        let branches = self.children(at, "branches", depth)?;
        Some(Term::KofN { k: k.unwrap_or(branches.len()), branches })
    }

    fn cond(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let node = self.decoder.document.get(at, "branches")?;
        let items = self.decoder.list(node)?;
        if items.is_empty() {
            self.decoder.refuse(Code::ItemCount, node, "at least one item", None);
            return None;
        }
        let mut branches = Vec::with_capacity(items.len());
        let mut faulty = false;
        for item in items {
            let share = match self.decoder.document.get(*item, "probability") {
                None => Some(Share::Remainder),
                Some(node) => At::<ShareText>::decode(node, self.decoder).map(|share| share.value.0),
            };
            let body = self.step(*item, depth + 1, true);
            faulty |= share.is_none();
            branches.push((share.unwrap_or(Share::Remainder), body));
        }
        if faulty {
            // Without all of the shares their sum says nothing, but the bodies can still be looked at.
            return Some(Term::Series(branches.into_iter().map(|(_, body)| body).collect()));
        }
        Some(Term::Cond(branches))
    }

    fn timeout(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let after = self.duration(at, "after");
        let body = self.body(at, "body", depth);
        let fallback = self.child(at, "fallback", depth);
        Some(Term::Timeout { after, body, fallback })
    }

    fn fallback(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let body = self.body(at, "body", depth);
        Some(Term::Fallback { body, fallback: self.body(at, "fallback", depth) })
    }

    fn hedge(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let delay = self.duration(at, "delay");
        let body = self.body(at, "body", depth);
        Some(Term::Hedge { delay, body, alternate: self.body(at, "alternate", depth) })
    }

    fn optional(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let timeout = self.duration(at, "timeout");
        Some(Term::Optional { timeout, body: self.body(at, "body", depth) })
    }

    fn retry(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let attempts = self.get::<At<Times>>(at, "attempts").map_or(1, |attempts| attempts.value.0);
        let per_try_timeout = self.get::<At<Duration>>(at, "perTryTimeout").map(|after| after.value.0);
        let backoff = self.get::<BackoffField>(at, "backoff").and_then(|backoff| backoff.0).map(Box::new);
        let fate = self.get::<At<Fate>>(at, "attemptsFate").map(|fate| fate.value.0);
        Some(Term::Retry { attempts, per_try_timeout, backoff, fate, body: self.body(at, "body", depth) })
    }

    fn repeat(&mut self, at: NodeId, depth: usize) -> Option<Term> {
        let count = self.get::<At<Times>>(at, "count").map(|count| Repetitions::Count(count.value.0));
        let counts = self.get::<Table<TimesKey, At<WrittenFraction>>>(at, "counts").and_then(|counts| {
            let all: Option<Vec<_>> = counts
                .0
                .into_iter()
                .map(|(key, share)| share.map(|share| (key.value.0, share.value.0)))
                .collect();
            all.map(Repetitions::Distribution)
        });
        let body = self.body(at, "body", depth);
        Some(Term::Repeat { counts: count.or(counts).unwrap_or(Repetitions::Count(1)), body })
    }

    /// A required duration; where it is missing or faulty, which is reported, one that breaks no rule.
    fn duration(&mut self, at: NodeId, name: &str) -> Written<Seconds> {
        self.get::<At<Duration>>(at, name)
            .map_or_else(|| Written { value: Seconds::from_millis(1), text: "1ms".to_owned() }, |d| d.value.0)
    }
}

enum Head {
    Component(String),
    Operator(&'static Shape),
}

impl JsonSchema for ExpressionText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(<ExpressionScalar as Scalar>::schema()).unwrap_or_default()
    }
}

struct ExpressionScalar(String);

impl Scalar for ExpressionScalar {
    const NAME: &'static str = "Expression";
    const ALLOWED: &'static str = "text such as Series(a, Race(b, c))";

    fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
        match plain {
            Plain::Text(text) if !text.is_empty() => Ok(Self(text.to_owned())),
            Plain::Text(_) => Err(Code::Malformed),
            Plain::Null | Plain::Bool(_) | Plain::Number(_) => Err(Code::WrongType),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Decode for ExpressionText {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        At::<ExpressionScalar>::decode(at, decoder).map(|text| Self { at, text: text.value.0 })
    }
}
