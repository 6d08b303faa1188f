//! From nodes to typed records: every fault is reported and decoding goes on.
//!
//! A type says in one place how it is decoded and what its JSON Schema is, so that `emac schema` and the decoder
//! cannot differ: records by the [`record!`] macro, scalars by [`Scalar`].

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::SourceFile;
use super::diagnostic::{Code, Diagnostic, did_you_mean};
use super::rule::Rule;
use super::tree::{Content, Document, NodeId, Plain, shortened};

/// The most findings of one document; more help nobody.
pub(crate) const MAX_DIAGNOSTICS: usize = 200;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: NodeId,
}

/// A value that a node can become.
pub(crate) trait Decode: Sized + JsonSchema {
    /// `None` after a fault that makes the value unusable; the fault is reported.
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self>;
}

/// Reports faults of one document.
pub(crate) struct Decoder<'d> {
    pub(crate) file: &'d str,
    pub(crate) document: &'d Document,
    /// The file's text, in which nodes have their places.
    pub(crate) source: &'d str,
    diagnostics: Vec<Diagnostic>,
    left_out: usize,
    errors: usize,
    valid_regexes: ValidRegexes,
}

/// The regular expressions that were found valid: documents say the same ones again and again, and each costs more than
/// reading the rest of its component. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValidRegexes(Rc<RefCell<FxHashSet<String>>>);

impl<'d> Decoder<'d> {
    pub(crate) fn new(file: &'d SourceFile, document: &'d Document) -> Self {
        let source = super::parse::text_of(file);
        Self {
            file: &file.path,
            document,
            source,
            diagnostics: Vec::new(),
            left_out: 0,
            errors: 0,
            valid_regexes: ValidRegexes::default(),
        }
    }

    /// With what other documents said already.
    pub(crate) fn knowing(self, valid_regexes: &ValidRegexes) -> Self {
        Self { valid_regexes: valid_regexes.clone(), ..self }
    }

    /// Whether this is a regular expression, by `check` where it was not met before.
    pub(crate) fn check_regex<E>(
        &mut self,
        regex: &str,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.valid_regexes.0.borrow().contains(regex) {
            check(regex)?;
            self.valid_regexes.0.borrow_mut().insert(regex.to_owned());
        }
        Ok(())
    }

    /// Reports at the place of a node.
    pub(crate) fn report(
        &mut self,
        code: Code,
        at: NodeId,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let node = self.document.node(at);
        self.report_at(code, at, node.line, node.column, message, help);
    }

    /// Reports at a place inside a node's text.
    pub(crate) fn report_at(
        &mut self,
        code: Code,
        at: NodeId,
        line: usize,
        column: usize,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let diagnostic = Diagnostic {
            line,
            column,
            path: self.document.path(at),
            ..Diagnostic::of_file(code, self.file, message, help)
        };
        self.errors += usize::from(diagnostic.severity == super::Severity::Error);
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// `found …; allowed: …`
    pub(crate) fn refuse(&mut self, code: Code, at: NodeId, allowed: &str, help: Option<String>) {
        let message = format!("found {}; allowed: {allowed}", self.document.describe(at));
        self.report(code, at, message, help);
    }

    /// Whether further findings are only counted: then hints for them are wasted work.
    pub(crate) const fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_DIAGNOSTICS
    }

    /// How many errors were reported so far.
    pub(crate) const fn errors(&self) -> usize {
        self.errors
    }

    /// Everything reported, in the order of places.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by(|a, b| (a.line, a.column, a.code).cmp(&(b.line, b.column, b.code)));
        if self.left_out > 0 {
            // The severity of the rest is not lost where all errors came late: the count says that there are some.
            let message = format!("{} more findings of this document are left out", self.left_out);
            self.diagnostics.push(Diagnostic::of_file(Code::TooMany, self.file, message, None));
        }
        self.diagnostics
    }

    /// The entries of a mapping; anything else is a fault.
    pub(crate) fn mapping(&mut self, at: NodeId) -> Option<&'d [(NodeId, NodeId)]> {
        match &self.document.node(at).content {
            Content::Mapping(entries) => Some(entries),
            Content::Scalar { .. } | Content::Sequence(_) => {
                self.refuse(Code::WrongType, at, "a mapping of fields", None);
                None
            }
        }
    }

    /// The items of a list; anything else is a fault.
    pub(crate) fn list(&mut self, at: NodeId) -> Option<&'d [NodeId]> {
        match &self.document.node(at).content {
            Content::Sequence(items) => Some(items),
            Content::Scalar { .. } | Content::Mapping(_) => {
                self.refuse(Code::WrongType, at, "a list", None);
                None
            }
        }
    }

    /// The values of a mapping's fields in the order of `known`. Reports every key that is not among those.
    pub(crate) fn known_fields<const N: usize>(
        &mut self,
        at: NodeId,
        known: &[&str; N],
    ) -> Option<[Option<NodeId>; N]> {
        let mut given = [None; N];
        for (key, value) in self.mapping(at)? {
            let name = self.document.text(*key).unwrap_or_default();
            if let Some(index) = known.iter().position(|known| *known == name) {
                // Of a key that is given twice, which is reported, the first counts.
                given[index].get_or_insert(*value);
                continue;
            }
            let help = if self.is_full() { None } else { did_you_mean(name, known.iter().copied()) };
            let message = format!("unknown field `{}`; allowed: {}", shortened(name), known.join(", "));
            self.report(Code::UnknownField, *key, message, help);
        }
        Some(given)
    }

    /// The decoded field, if it is there and well-formed. A required one that is missing is a fault.
    pub(crate) fn field<T: Decode>(
        &mut self,
        mapping: NodeId,
        name: &str,
        given: Option<NodeId>,
        required: bool,
    ) -> Option<T> {
        match given {
            Some(node) => T::decode(node, self),
            None => {
                if required {
                    self.report(Code::MissingField, mapping, format!("the field `{name}` is missing"), None);
                }
                None
            }
        }
    }

    /// Reports fields that break a rule.
    pub(crate) fn obey(&mut self, mapping: NodeId, rule: &Rule) {
        let given = |names: &'static [&'static str]| -> Vec<&'static str> {
            names.iter().copied().filter(|name| self.document.get(mapping, name).is_some()).collect()
        };
        match rule {
            Rule::ExactlyOne(names) if given(names).is_empty() => {
                let message = format!("one of the fields {} is needed", names.join(", "));
                self.report(Code::MissingField, mapping, message, None);
            }
            Rule::ExactlyOne(names) | Rule::AtMostOne(names) => {
                let given = given(names);
                if let [_, second, ..] = given[..] {
                    let message = format!(
                        "the fields {} exclude each other; allowed: one of them",
                        given.join(" and ")
                    );
                    let at = self.document.get(mapping, second).unwrap_or(mapping);
                    self.report(Code::Conflict, at, message, None);
                }
            }
            Rule::Words { beside, field, words } => {
                let Some(node) = self.document.get(mapping, field) else { return };
                let word = self.document.text(node).unwrap_or_default();
                if !given(beside).is_empty() && !words.contains(&word) {
                    let help = did_you_mean(word, words.iter().copied());
                    self.refuse(Code::NotAllowed, node, &words.join(", "), help);
                }
            }
            Rule::Needs(name, other) => {
                if self.document.get(mapping, name).is_some() && self.document.get(mapping, other).is_none() {
                    let message = format!("`{name}` needs the field `{other}` beside it");
                    self.report(Code::MissingField, mapping, message, None);
                }
            }
        }
    }
}

/// The schema of a mapping with exactly these fields.
pub(crate) fn record_schema(
    description: &str,
    fields: Vec<(&'static str, bool, &'static str, Schema)>,
    rules: &[Rule],
) -> Schema {
    let required: Vec<_> = fields.iter().filter(|field| field.1).map(|field| field.0).collect();
    let mut properties = Map::new();
    for (name, _, description, mut schema) in fields {
        if !description.is_empty() {
            schema.insert("description".to_owned(), json!(description));
        }
        properties.insert(name.to_owned(), schema.to_value());
    }
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    if !description.is_empty() {
        object.insert("description".to_owned(), json!(description));
    }
    object.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object.insert("additionalProperties".to_owned(), json!(false));
    if !rules.is_empty() {
        object.insert("allOf".to_owned(), rules.iter().map(Rule::schema).collect());
    }
    Schema::from(object)
}

/// Declares records: mappings with known fields. Every field becomes an `Option`: `None` where it is left out, or where
/// it is faulty and that is reported. In square brackets stand the rules among fields, in parentheses the fields that
/// are checked and not kept, since they have no effect.
macro_rules! record {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident $([$($rule:expr),*])? $(($(
            $(#[doc = $checked_doc:literal])* $checked_need:ident $checked_type:ty = $checked_key:literal,
        )*))? {
            $($(#[doc = $field_doc:literal])* $need:ident $field:ident: $type:ty = $key:literal,)*
        }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub(crate) struct $name {
            $($(#[doc = $field_doc])* pub(crate) $field: Option<$type>,)*
        }

        impl $name {
            const FIELDS: &'static [&'static str] = &[$($($checked_key,)*)? $($key),*];
            const KNOWN: [&'static str; Self::FIELDS.len()] = [$($($checked_key,)*)? $($key),*];
            const RULES: &'static [$crate::document::rule::Rule] = &[$($($rule),*)?];
            const MASKS: [u32; Self::RULES.len()] = $crate::document::rule::masks(Self::RULES, Self::FIELDS);
        }

        impl $crate::document::decode::Decode for $name {
            fn decode(
                at: $crate::document::tree::NodeId,
                decoder: &mut $crate::document::decode::Decoder<'_>,
            ) -> Option<Self> {
                let given = decoder.known_fields(at, &Self::KNOWN)?;
                let there = given.iter().rev().fold(0_u32, |bits, node| bits << 1 | u32::from(node.is_some()));
                for (rule, mask) in Self::RULES.iter().zip(Self::MASKS) {
                    if rule.is_at_stake((there & mask).count_ones()) {
                        decoder.obey(at, rule);
                    }
                }
                let mut given = given.into_iter();
                // In the order in which they are known.
                $($(
                    let node = given.next().flatten();
                    let _ = decoder.field::<$checked_type>(at, $checked_key, node, stringify!($checked_need) == "required");
                )*)?
                Some(Self {
                    $($field: decoder.field(at, $key, given.next().flatten(), stringify!($need) == "required"),)*
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::document::decode::record_schema(
                    concat!($($doc),*).trim(),
                    vec![$($((
                        $checked_key,
                        stringify!($checked_need) == "required",
                        concat!($($checked_doc),*).trim(),
                        generator.subschema_for::<$checked_type>(),
                    ),)*)? $((
                        $key,
                        stringify!($need) == "required",
                        concat!($($field_doc),*).trim(),
                        generator.subschema_for::<$type>(),
                    ),)*],
                    Self::RULES,
                )
            }
        }
    )*};
}
pub(crate) use record;

/// A value written as one scalar.
pub(crate) trait Scalar: Sized {
    /// Of the schema's definition.
    const NAME: &'static str;
    /// What may be written, in words.
    const ALLOWED: &'static str;

    /// The value, or which code it is refused with.
    fn read(plain: Plain<'_>, text: &str) -> Result<Self, Code>;

    /// Accepts exactly what [`Self::read`] does.
    fn schema() -> Value;

    /// What to do about a refused one.
    fn help(_plain: Plain<'_>, _text: &str) -> Option<String> {
        None
    }
}

impl<T: Scalar> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(T::schema()).unwrap_or_default()
    }
}

impl<T: Scalar> Decode for At<T> {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        let document = decoder.document;
        let (Some(plain), Some(text)) = (document.plain(at), document.text(at)) else {
            decoder.refuse(Code::WrongType, at, T::ALLOWED, None);
            return None;
        };
        match T::read(plain, text) {
            Ok(value) => Some(Self { value, at }),
            Err(code) => {
                let help = match (code, plain) {
                    (Code::WrongType, Plain::Number(_) | Plain::Bool(_))
                        if T::read(Plain::Text(text), text).is_ok() =>
                    {
                        Some(format!("quote it to make it text: \"{}\"", shortened(text)))
                    }
                    _ => T::help(plain, text),
                };
                decoder.refuse(code, at, T::ALLOWED, help);
                None
            }
        }
    }
}

/// A record and where it stands.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    pub(crate) record: T,
    pub(crate) at: NodeId,
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Decode> Decode for Placed<T> {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        T::decode(at, decoder).map(|record| Self { record, at })
    }
}

/// A list. Items that are faulty are left out, and reported.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

impl<T: Decode> Decode for List<T> {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        let list = decoder.list(at)?;
        let mut items = Vec::with_capacity(list.len());
        items.extend(list.iter().filter_map(|item| T::decode(*item, decoder)));
        Some(Self { items })
    }
}

/// A list of at least one item.
#[derive(Debug)]
pub(crate) struct NonEmpty<T>(pub(crate) List<T>);

impl<T: JsonSchema> JsonSchema for NonEmpty<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("NonEmptyListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<T>() })
    }
}

impl<T: Decode> Decode for NonEmpty<T> {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        if decoder.list(at)?.is_empty() {
            decoder.refuse(Code::ItemCount, at, "at least one item", None);
        }
        List::decode(at, decoder).map(Self)
    }
}

/// A mapping from names to values, in the order of the file. An entry whose name is faulty is left out; one whose
/// value is faulty stays, so that references to it still resolve.
#[derive(Debug)]
pub(crate) struct Table<K, V>(pub(crate) Vec<(At<K>, Option<V>)>);

impl<K: Scalar, V: JsonSchema> JsonSchema for Table<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("TableOf{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<At<K>>(),
            "additionalProperties": generator.subschema_for::<V>(),
        })
    }
}

impl<K: Scalar, V: Decode> Decode for Table<K, V> {
    fn decode(at: NodeId, decoder: &mut Decoder<'_>) -> Option<Self> {
        let mapping = decoder.mapping(at)?;
        let mut entries = Vec::with_capacity(mapping.len());
        for (key, value) in mapping {
            // In JSON every key is text, so `5:` and `"5":` name the same.
            let text = decoder.document.text(*key).unwrap_or_default();
            let name = match K::read(Plain::Text(text), text) {
                Ok(value) => Some(At { value, at: *key }),
                Err(code) => {
                    let message = format!("found the key `{}`; allowed: {}", shortened(text), K::ALLOWED);
                    decoder.report(code, *key, message, None);
                    None
                }
            };
            let value = V::decode(*value, decoder);
            entries.extend(name.map(|name| (name, value)));
        }
        Some(Self(entries))
    }
}
