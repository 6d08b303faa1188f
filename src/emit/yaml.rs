//! YAML that people review: block style, keys in the order given, one spelling for each value, so that equal input gives
//! equal bytes and a small change a small difference.

use std::fmt::Write as _;

use serde_json::Value;

/// A document under construction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    /// Text, quoted where it would read as something else; several lines become a literal block.
    Text(String),
    /// A number or flag, as written.
    Plain(String),
    /// A list.
    List(Vec<Yaml>),
    /// A mapping, in this order.
    Map(Vec<(String, Yaml)>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Yaml {
    fn from(value: f64) -> Self {
        Self::Plain(super::decimal::exact(value))
    }
}

impl From<usize> for Yaml {
    fn from(value: usize) -> Self {
        Self::Plain(value.to_string())
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Self::Plain(value.to_string())
    }
}

impl From<Vec<Yaml>> for Yaml {
    fn from(items: Vec<Yaml>) -> Self {
        Self::List(items)
    }
}

/// A mapping of these fields.
pub(crate) fn map<const N: usize>(fields: [(&str, Yaml); N]) -> Yaml {
    Yaml::Map(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// JSON in its own order.
pub(crate) fn from_json(value: &Value) -> Yaml {
    match value {
        Value::Null => Yaml::Plain("null".to_owned()),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => Yaml::Plain(number.to_string()),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Yaml::List(items.iter().map(from_json).collect()),
        Value::Object(fields) => {
            Yaml::Map(fields.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

impl Yaml {
    /// The document, ending with a line break.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        match self {
            Self::List(items) if !items.is_empty() => list(items, 0, &mut out),
            Self::Map(fields) if !fields.is_empty() => mapping(fields, 0, &mut out),
            _ => {
                scalar(self, 0, &mut out);
                out.push('\n');
            }
        }
        out
    }
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn mapping(fields: &[(String, Yaml)], depth: usize, out: &mut String) {
    for (index, (key, value)) in fields.iter().enumerate() {
        // The first key of a list's item stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        scalar(&Yaml::Text(key.clone()), depth, out);
        out.push(':');
        field(value, depth, out);
    }
}

fn field(value: &Yaml, depth: usize, out: &mut String) {
    match value {
        Yaml::List(items) if !items.is_empty() => {
            out.push('\n');
            list(items, depth + 1, out);
        }
        Yaml::Map(fields) if !fields.is_empty() => {
            out.push('\n');
            mapping(fields, depth + 1, out);
        }
        _ => {
            out.push(' ');
            scalar(value, depth + 1, out);
            out.push('\n');
        }
    }
}

fn list(items: &[Yaml], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push_str("- ");
        match item {
            Yaml::Map(fields) if !fields.is_empty() => mapping(fields, depth + 1, out),
            Yaml::List(inner) if !inner.is_empty() => {
                out.pop();
                out.push('\n');
                list(inner, depth + 1, out);
            }
            _ => {
                scalar(item, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

/// One line, or a literal block indented to `depth`.
fn scalar(value: &Yaml, depth: usize, out: &mut String) {
    match value {
        Yaml::Plain(text) => out.push_str(text),
        Yaml::List(_) => out.push_str("[]"),
        Yaml::Map(_) => out.push_str("{}"),
        Yaml::Text(text) if is_block(text) => {
            out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.trim_end_matches('\n').split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    indent(depth, out);
                    out.push_str(line);
                }
            }
        }
        Yaml::Text(text) if is_plain(text) => out.push_str(text),
        Yaml::Text(text) => quoted(text, out),
    }
}

/// Several lines that a literal block holds as they are.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && text.chars().all(|c| c == '\n' || !c.is_control())
}

/// Whether a plain scalar is read as this text, by YAML 1.1 too.
fn is_plain(text: &str) -> bool {
    if is_duration(text) {
        return true;
    }
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    starts
        && text.chars().all(|c| c.is_alphanumeric() || " _./-+()%×,;'=<>".contains(c) || c == ':')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// `5m`, `1h30m`: digits and units in turn, which is no number in any YAML.
fn is_duration(text: &str) -> bool {
    let units = text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty());
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
        && units.clone().all(|unit| ["ms", "s", "m", "h", "d", "w", "y"].contains(&unit))
}

fn quoted(text: &str, out: &mut String) {
    // PromQL is full of double quotes.
    if text.contains(['"', '\\']) && !text.chars().any(char::is_control) {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read back by another implementation.
    fn read(yaml: &Yaml) -> Value {
        serde_saphyr::from_str(&yaml.render()).unwrap_or_else(|e| panic!("{e}:\n{}", yaml.render()))
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        for text in [
            "plain",
            "two words",
            "1h",
            "1h30m",
            "5e3",
            "0x1d",
            "0o7",
            "12",
            "1_0",
            "it's \"quoted\" \\",
            "0.005",
            "true",
            "No",
            "",
            " padded",
            "a: b",
            "a #b",
            "#a",
            "x{a=\"b\"} > 1",
            "line\nline",
            "line\n\nline\n",
            " line\nline",
            "tab\tline\n",
            "{{ $value }}",
            "- a",
            "\u{1}",
            "ä €",
            "'",
            "*a",
            "&a",
        ] {
            let document = map([("k", Yaml::List(vec![text.into(), map([("v", text.into())])]))]);
            assert_eq!(read(&document), serde_json::json!({"k": [text, {"v": text}]}), "{text:?}");
        }
    }

    #[test]
    fn nesting_keeps_its_shape() {
        let document = serde_json::json!({
            "groups": [{"name": "g", "rules": [{"alert": "A", "labels": {"x": "1"}, "none": [], "empty": {}}]}],
            "nested": [[1.5, true], [null]],
        });
        assert_eq!(read(&from_json(&document)), document);
    }
}
