//! Which fields each operator of a tree has: the table that the decoder and the schema both read.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::scalar::{ComponentName, Duration, ShareText, Times, TimesKey, WrittenFraction};
use super::step::{BackoffField, Step};
use super::word::{Fate, Join, RaceSemantics};
use crate::document::decode::{At, NonEmpty, Table, record_schema};
use crate::document::rule::Rule;

/// What a field of an operator holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Steps,
    Branches,
    Step,
    Duration,
    Times,
    Backoff,
    Fate,
    Counts,
    Join,
    Semantics,
}

/// One operator of the tree.
pub(super) struct Shape {
    pub(super) keyword: &'static str,
    description: &'static str,
    /// Name, whether it is needed, and what it holds.
    pub(super) fields: &'static [(&'static str, bool, Field)],
    pub(super) rules: &'static [Rule],
}

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        keyword: "series",
        description: "One after the other, all needed.",
        fields: &[("steps", true, Field::Steps)],
        rules: &[],
    },
    Shape {
        keyword: "parallel",
        description: "All at once, all needed.",
        fields: &[("join", false, Field::Join), ("branches", true, Field::Steps)],
        rules: &[],
    },
    Shape {
        keyword: "cond",
        description: "Exactly one branch is taken; the probabilities sum to 1, one may be left out.",
        fields: &[("branches", true, Field::Branches)],
        rules: &[],
    },
    Shape {
        keyword: "race",
        description: "All at once, the first success wins.",
        fields: &[("semantics", false, Field::Semantics), ("branches", true, Field::Steps)],
        rules: &[],
    },
    Shape {
        keyword: "kofn",
        description: "All at once, k successes are needed.",
        fields: &[("k", true, Field::Times), ("branches", true, Field::Steps)],
        rules: &[],
    },
    Shape {
        keyword: "timeout",
        description: "body within after, else fallback.",
        fields: &[
            ("after", true, Field::Duration),
            ("body", true, Field::Step),
            ("fallback", false, Field::Step),
        ],
        rules: &[],
    },
    Shape {
        keyword: "fallback",
        description: "fallback as soon as body is known to have failed.",
        fields: &[("body", true, Field::Step), ("fallback", true, Field::Step)],
        rules: &[],
    },
    Shape {
        keyword: "retry",
        description: "Up to attempts tries, one after the other.",
        fields: &[
            ("attempts", true, Field::Times),
            ("perTryTimeout", false, Field::Duration),
            ("backoff", false, Field::Backoff),
            ("attemptsFate", false, Field::Fate),
            ("body", true, Field::Step),
        ],
        rules: &[],
    },
    Shape {
        keyword: "hedge",
        description: "body, and after delay also alternate; the first success wins.",
        fields: &[
            ("delay", true, Field::Duration),
            ("body", true, Field::Step),
            ("alternate", true, Field::Step),
        ],
        rules: &[],
    },
    Shape {
        keyword: "optional",
        description: "body within timeout, but its failure does no harm.",
        fields: &[("timeout", true, Field::Duration), ("body", true, Field::Step)],
        rules: &[],
    },
    Shape {
        keyword: "repeat",
        description: "body repeated one after the other, count times or as often as counts says.",
        fields: &[
            ("count", false, Field::Times),
            ("counts", false, Field::Counts),
            ("body", true, Field::Step),
        ],
        rules: &[Rule::ExactlyOne(&["count", "counts"])],
    },
];

/// All of them, for messages.
pub(super) fn keywords() -> String {
    SHAPES.iter().map(|shape| shape.keyword).collect::<Vec<_>>().join(", ")
}

/// A branch of a cond: a step with a probability.
#[derive(Debug)]
struct CondBranch;

fn step_schema(generator: &mut SchemaGenerator, branch: bool) -> Schema {
    let share = |generator: &mut SchemaGenerator| {
        ("probability", false, "How often the branch is taken.", generator.subschema_for::<At<ShareText>>())
    };
    let mut reference = vec![("ref", true, "A component.", generator.subschema_for::<At<ComponentName>>())];
    if branch {
        reference.push(share(generator));
    }
    let mut kinds = vec![record_schema("A call of one component.", reference, &[]).to_value()];
    for shape in SHAPES {
        let keyword = schemars::json_schema!({ "const": shape.keyword });
        let mut fields = vec![("type", true, "", keyword)];
        for (name, required, field) in shape.fields {
            fields.push((name, *required, "", field_schema(*field, generator)));
        }
        if branch {
            fields.push(share(generator));
        }
        kinds.push(record_schema(shape.description, fields, shape.rules).to_value());
    }
    schemars::json_schema!({ "oneOf": kinds })
}

fn field_schema(field: Field, generator: &mut SchemaGenerator) -> Schema {
    match field {
        Field::Steps => generator.subschema_for::<NonEmpty<Step>>(),
        Field::Branches => generator.subschema_for::<NonEmpty<CondBranch>>(),
        Field::Step => generator.subschema_for::<Step>(),
        Field::Duration => generator.subschema_for::<At<Duration>>(),
        Field::Times => generator.subschema_for::<At<Times>>(),
        Field::Backoff => generator.subschema_for::<BackoffField>(),
        Field::Fate => generator.subschema_for::<At<Fate>>(),
        Field::Counts => generator.subschema_for::<Table<TimesKey, At<WrittenFraction>>>(),
        Field::Join => generator.subschema_for::<At<Join>>(),
        Field::Semantics => generator.subschema_for::<At<RaceSemantics>>(),
    }
}

impl JsonSchema for Step {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        step_schema(generator, false)
    }
}

impl JsonSchema for CondBranch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CondBranch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        step_schema(generator, true)
    }
}
