//! YAML that people review: keys in the order given, one spelling for each value, so that equal input gives equal bytes
//! and a small change a small difference.
//!
//! [`render`] writes whatever serde can describe straight into one text: reports are records of their own, rules and
//! gates are built as a tree of [`Yaml`].

use std::borrow::Cow;

use serde::{Serialize, ser};

use super::yaml_writer::Writer;

/// A document under construction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    /// Text, quoted where it would read as something else; several lines become a literal block.
    Text(Cow<'static, str>),
    Count(usize),
    /// A list.
    List(Vec<Yaml>),
    /// A mapping, in this order.
    Map(Vec<(Cow<'static, str>, Yaml)>),
}

impl From<&'static str> for Yaml {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<usize> for Yaml {
    fn from(value: usize) -> Self {
        Self::Count(value)
    }
}

impl From<Vec<Yaml>> for Yaml {
    fn from(items: Vec<Yaml>) -> Self {
        Self::List(items)
    }
}

/// A mapping of these fields.
pub(crate) fn map<const N: usize>(fields: [(&'static str, Yaml); N]) -> Yaml {
    Yaml::Map(fields.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
}

impl Serialize for Yaml {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Count(count) => count.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, value))),
        }
    }
}

/// How a document is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One field a line.
    Block,
    /// Short mappings and lists on one line, and no fields that hold nothing (null, an empty text, list or mapping): for
    /// reports, which repeat small records many times.
    Compact,
}

/// Writes `value`, a mapping or a list, behind what `out` holds; it ends with a line break.
pub(crate) fn render(value: &impl Serialize, layout: Layout, out: &mut String) {
    let mut writer = Writer::new(out, layout);
    // Nothing here fails but keys that are no text, and those are not written by anything that is emitted.
    let written = value.serialize(&mut writer);
    debug_assert!(written.is_ok(), "{written:?}");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rendered(value: &impl Serialize, layout: Layout) -> String {
        let mut out = String::new();
        render(value, layout, &mut out);
        out
    }

    /// Whole numbers are written without a point, and mean the same.
    fn by_value(value: &Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64()),
            Value::Array(all) => all.iter().map(by_value).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), by_value(value))).collect()
            }
            other => other.clone(),
        }
    }

    /// Read back by another implementation, from both layouts.
    fn assert_read_back(value: &Value) {
        for layout in [Layout::Block, Layout::Compact] {
            let text = rendered(value, layout);
            let read: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
            assert_eq!(by_value(&read), by_value(value), "{text}");
        }
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
            "a:b",
            "a, b",
            "a}b",
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
            "ends:",
            "'",
            "*a",
            "&a",
        ] {
            assert_read_back(&json!({"k": [text, {"v": text}, {"v": text, "w": 1}, [text]], text: text}));
        }
        for number in [0.0, 0.005, -14.4, 1e-9, 3e-10, -2.5e-300, 1e300, 0.1 + 0.2] {
            assert_read_back(&json!({"k": [number, {"v": number}]}));
        }
    }

    #[test]
    fn nesting_keeps_its_shape() {
        assert_read_back(&json!({
            "groups": [{"name": "g", "rules": [{"alert": "A", "labels": {"x": "1"}, "none": [], "empty": {}}]}],
            "nested": [[1.5, true], [null], [], {}, [[{"a": {"b": {"c": [{"d": 1}]}}}]]],
        }));
    }

    #[test]
    fn short_records_take_one_line_and_nothing_takes_none_in_a_report() {
        #[derive(Serialize)]
        struct Range {
            note: &'static str,
            lower: f64,
            upper: f64,
            members: Vec<&'static str>,
        }
        #[derive(Serialize)]
        struct All {
            ranges: Vec<Range>,
            long: std::collections::BTreeMap<String, f64>,
        }
        let range = |note| Range { note, lower: 0.25, upper: 1.0, members: Vec::new() };
        let long: std::collections::BTreeMap<_, _> =
            (0..3).map(|i| (format!("{i}{}", "x".repeat(40)), 1.0)).collect();
        let all = All { ranges: vec![range(""), range("a, b")], long };
        let lines = rendered(&all, Layout::Compact);
        let expected = "ranges:\n  - {lower: 0.25, upper: 1}\n  - note: a, b\n    lower: 0.25\n    upper: 1\nlong:\n  \"0xx";
        assert!(lines.starts_with(expected), "{lines}");
        assert_eq!(lines.lines().count(), 9);
        let block = rendered(&all, Layout::Block);
        let expected =
            "ranges:\n  - note: \"\"\n    lower: 0.25\n    upper: 1\n    members: []\n  - note: a, b\n";
        assert!(block.starts_with(expected), "{block}");
    }
}
