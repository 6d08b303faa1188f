//! Rules among the fields of a record.

use serde_json::{Value, json};

/// What the fields of a record demand of each other.
pub(crate) enum Rule {
    /// One of them, not several.
    ExactlyOne(&'static [&'static str]),
    /// None or one of them.
    AtMostOne(&'static [&'static str]),
    /// The first only together with the second.
    Needs(&'static str, &'static str),
    /// Beside one of these fields, that field is one of these words.
    Words { beside: &'static [&'static str], field: &'static str, words: &'static [&'static str] },
}

/// The places among `fields` of those whose presence the rule is about, as bits.
const fn bits(rule: &Rule, fields: &[&str]) -> u32 {
    let names: &[&str] = match rule {
        Rule::ExactlyOne(names) | Rule::AtMostOne(names) => names,
        Rule::Needs(name, _) => &[*name],
        Rule::Words { field, .. } => &[*field],
    };
    let (mut bits, mut at) = (0, 0);
    while at < fields.len() {
        let mut index = 0;
        while index < names.len() {
            if is_same(fields[at].as_bytes(), names[index].as_bytes()) {
                bits |= 1 << at;
            }
            index += 1;
        }
        at += 1;
    }
    bits
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// What each rule is about, for a record of these fields.
pub(crate) const fn masks<const N: usize>(rules: &[Rule], fields: &[&str]) -> [u32; N] {
    assert!(fields.len() <= 32, "a record has at most 32 fields");
    let (mut masks, mut at) = ([0; N], 0);
    while at < N {
        masks[at] = bits(&rules[at], fields);
        at += 1;
    }
    masks
}

impl Rule {
    /// Whether it could be broken where so many of the fields that it is about are there: most records break none, and a
    /// fleet has a hundred thousand of them.
    pub(crate) const fn is_at_stake(&self, there: u32) -> bool {
        match self {
            Self::ExactlyOne(_) => there != 1,
            Self::AtMostOne(_) => there > 1,
            Self::Needs(..) | Self::Words { .. } => there > 0,
        }
    }

    /// As a part of JSON Schema.
    pub(super) fn schema(&self) -> Value {
        let required = |names: &[&str]| json!({ "required": names });
        match self {
            Self::ExactlyOne(names) => {
                json!({ "oneOf": names.iter().map(|name| required(&[name])).collect::<Vec<_>>() })
            }
            Self::AtMostOne(names) => {
                let mut pairs = Vec::new();
                for (i, first) in names.iter().enumerate() {
                    pairs.extend(names[i + 1..].iter().map(|second| required(&[first, second])));
                }
                json!({ "not": { "anyOf": pairs } })
            }
            Self::Words { beside, field, words } => json!({
                "if": { "anyOf": beside.iter().map(|name| required(&[name])).collect::<Vec<_>>() },
                "then": { "properties": { *field: { "enum": words } } },
            }),
            Self::Needs(name, other) => json!({ "dependentRequired": { *name: [other] } }),
        }
    }
}
