//! A YAML document as a tree of nodes that know their places and what they mean.

use std::fmt::Write as _;

/// Index of a node in its [`Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The inverse of [`Self::index`]; indices beyond the budget of nodes do not exist.
    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// How a scalar is to be read, by the YAML 1.2 core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plain<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'a str),
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<NodeId>),
    /// Keys and values, without repetition of keys.
    Mapping(Vec<(NodeId, NodeId)>),
}

/// Which part of its parent a node is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Root,
    Key,
    Index(usize),
    /// The value of this key.
    Value(NodeId),
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) content: Content,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In characters from the start of the file.
    pub(crate) start: usize,
    /// Behind the last character; for block collections this may reach to the next token.
    pub(crate) end: usize,
    /// Reached through an alias, or holding one.
    pub(crate) aliased: bool,
    pub(super) parent: Option<NodeId>,
    pub(super) slot: Slot,
}

/// One YAML document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

impl Document {
    pub(crate) const fn root(&self) -> NodeId {
        self.root
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The value of `key` in a mapping.
    pub(crate) fn get(&self, mapping: NodeId, key: &str) -> Option<NodeId> {
        let Content::Mapping(entries) = &self.node(mapping).content else { return None };
        entries.iter().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// The characters of a scalar, whatever it means.
    pub(crate) fn text(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).content {
            Content::Scalar { text, .. } => Some(text),
            Content::Sequence(_) | Content::Mapping(_) => None,
        }
    }

    /// What a scalar means; `None` for collections.
    pub(crate) fn plain(&self, id: NodeId) -> Option<Plain<'_>> {
        match &self.node(id).content {
            Content::Scalar { text, plain: false } => Some(Plain::Text(text)),
            Content::Scalar { text, plain: true } => Some(resolve(text)),
            Content::Sequence(_) | Content::Mapping(_) => None,
        }
    }

    /// What stands there, in words.
    pub(crate) fn describe(&self, id: NodeId) -> String {
        match (&self.node(id).content, self.plain(id)) {
            (Content::Sequence(items), _) => format!("a list of {} items", items.len()),
            (Content::Mapping(entries), _) => format!("a mapping of {} fields", entries.len()),
            (_, Some(Plain::Null)) => "nothing".to_owned(),
            (_, Some(Plain::Bool(value))) => format!("`{value}`"),
            (Content::Scalar { text, .. }, Some(Plain::Number(_))) => {
                format!("the number {}", shortened(text))
            }
            (Content::Scalar { text, .. }, _) => format!("the text `{}`", shortened(text)),
        }
    }

    /// `spec.operator.steps[1].ref`; a node's path is that of its value where it is a key.
    pub(crate) fn path(&self, id: NodeId) -> String {
        let mut steps = Vec::new();
        let mut at = Some(id);
        while let Some(id) = at {
            let node = self.node(id);
            match node.slot {
                Slot::Root => {}
                Slot::Key => steps.push((Some(id), 0)),
                Slot::Index(index) => steps.push((None, index)),
                Slot::Value(key) => steps.push((Some(key), 0)),
            }
            at = node.parent;
        }
        let mut path = String::new();
        for (key, index) in steps.into_iter().rev() {
            match key.and_then(|key| self.text(key)) {
                Some(key)
                    if !key.is_empty()
                        && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') =>
                {
                    path.push_str(if path.is_empty() { "" } else { "." });
                    path.push_str(key);
                }
                Some(key) => {
                    let _ = write!(path, "[\"{}\"]", shortened(key));
                }
                None => {
                    let _ = write!(path, "[{index}]");
                }
            }
            // Deep paths say nothing that line and column do not say better.
            if path.len() > 400 {
                path.push('…');
                break;
            }
        }
        path
    }

    /// The document as JSON, for comparing documents and checking them against the schema; numbers beyond JSON become text.
    pub(crate) fn json(&self, id: NodeId) -> serde_json::Value {
        use serde_json::Value;
        match &self.node(id).content {
            Content::Sequence(items) => items.iter().map(|item| self.json(*item)).collect(),
            Content::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (self.text(*key).unwrap_or_default().to_owned(), self.json(*value)))
                    .collect(),
            ),
            Content::Scalar { text, .. } => match self.plain(id) {
                Some(Plain::Null) => Value::Null,
                Some(Plain::Bool(value)) => Value::Bool(value),
                Some(Plain::Number(value)) => serde_json::Number::from_f64(value)
                    .map_or_else(|| Value::String(text.clone()), Value::Number),
                Some(Plain::Text(_)) | None => Value::String(text.clone()),
            },
        }
    }
}

/// At most 60 characters.
pub(crate) fn shortened(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.to_owned();
    }
    text.chars().take(MAX).chain(['…']).collect()
}

/// Whether a plain scalar is read as text.
pub(crate) fn is_text(plain: &str) -> bool {
    matches!(resolve(plain), Plain::Text(_))
}

/// The YAML 1.2 core schema.
fn resolve(text: &str) -> Plain<'_> {
    // Whatever is not text begins with one of these; most scalars do not.
    if !matches!(
        text.as_bytes().first(),
        None | Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F')
    ) {
        return Plain::Text(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Plain::Number(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Number(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Plain::Number(f64::NAN),
        _ => {}
    }
    let radix = |prefix, radix| {
        let digits = text.strip_prefix(prefix)?;
        u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
    };
    if let Some(integer) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        #[expect(clippy::cast_precision_loss, reason = "no field takes integers beyond 2^53")]
        return Plain::Number(integer as f64);
    }
    // Rust reads `inf` and `nan` as numbers, YAML does not: only digits, signs, a point and an exponent are.
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
        && text.bytes().any(|b| b.is_ascii_digit());
    match numeric.then(|| text.parse::<f64>()) {
        Some(Ok(number)) => Plain::Number(number),
        _ => Plain::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, plain) in [
            (".5", Plain::Number(0.5)),
            ("1e3", Plain::Number(1000.0)),
            ("0x10", Plain::Number(16.0)),
            ("inf", Plain::Text("inf")),
            ("nan", Plain::Text("nan")),
            ("e", Plain::Text("e")),
            ("200ms", Plain::Text("200ms")),
            ("yes", Plain::Text("yes")),
            ("~", Plain::Null),
        ] {
            assert_eq!(resolve(text), plain, "{text}");
        }
    }
}
