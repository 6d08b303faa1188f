//! YAML that people review: keys in the order given, one spelling for each value, one field a line, so that equal input
//! gives equal bytes and a small change a small difference.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::yaml_scalar::{in_block, is_block};

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
    /// A collection with a name by which [`Yaml::Alias`] repeats it further down.
    Anchored(String, Box<Yaml>),
    /// What was written under that name.
    Alias(String),
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

/// What stands before the value to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// `key:`
    Field,
    /// `-`
    Item,
    /// `- &name`
    Anchor,
}

/// Writes `value`, a mapping or a list, behind what `out` holds; it ends with a line break.
pub(crate) fn render(value: &Yaml, out: &mut String) {
    write(value, Place::Root, 0, out);
}

/// `depth` is that of the lines of `value`, in steps of two columns.
fn write(value: &Yaml, place: Place, depth: usize, out: &mut String) {
    match value {
        Yaml::Text(text) if is_block(text) => block(text, depth, out),
        Yaml::Text(text) => {
            out.push(' ');
            in_block(text, out);
            out.push('\n');
        }
        Yaml::Count(count) => {
            let _ = writeln!(out, " {count}");
        }
        Yaml::List(items) if items.is_empty() => out.push_str(" []\n"),
        Yaml::Map(fields) if fields.is_empty() => out.push_str(" {}\n"),
        Yaml::List(items) => {
            if place != Place::Root {
                out.push('\n');
            }
            for item in items {
                indent(depth, out);
                out.push('-');
                write(item, Place::Item, depth + 1, out);
            }
        }
        Yaml::Map(fields) => {
            // The first field of an item stands behind its dash.
            match place {
                Place::Root => {}
                Place::Item => out.push(' '),
                Place::Field | Place::Anchor => out.push('\n'),
            }
            let mut behind_dash = place == Place::Item;
            for (key, value) in fields {
                if !behind_dash {
                    indent(depth, out);
                }
                behind_dash = false;
                in_block(key, out);
                out.push(':');
                write(value, Place::Field, depth + 1, out);
            }
        }
        Yaml::Anchored(name, value) => {
            out.push_str(" &");
            out.push_str(name);
            write(value, Place::Anchor, depth, out);
        }
        Yaml::Alias(name) => {
            out.push_str(" *");
            out.push_str(name);
            out.push('\n');
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    const SPACES: &str = "                                                                ";
    let mut columns = 2 * depth;
    while columns > SPACES.len() {
        out.push_str(SPACES);
        columns -= SPACES.len();
    }
    out.push_str(&SPACES[..columns]);
}

fn block(text: &str, depth: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { " |" } else { " |-" });
    for line in text.trim_end_matches('\n').split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::flow::Flow;
    use super::*;

    const TEXTS: &[&str] = &[
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
    ];

    fn yaml(value: &Value) -> Yaml {
        match value {
            Value::String(text) => text.clone().into(),
            Value::Number(number) => Yaml::Count(usize::try_from(number.as_u64().unwrap()).unwrap()),
            Value::Array(all) => Yaml::List(all.iter().map(yaml).collect()),
            Value::Object(all) => {
                Yaml::Map(all.iter().map(|(key, value)| (key.clone().into(), yaml(value))).collect())
            }
            other => panic!("{other}"),
        }
    }

    /// Read back by another implementation.
    fn assert_read_back(value: &Value) {
        let mut text = String::new();
        render(&yaml(value), &mut text);
        let read: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
        assert_eq!(&read, value, "{text}");
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        for text in TEXTS {
            assert_read_back(&json!({"k": [text, {"v": text}, {"v": text, "w": 1}, [text]], *text: text}));
        }
    }

    #[test]
    fn nesting_keeps_its_shape() {
        assert_read_back(&json!({
            "groups": [{"name": "g", "rules": [{"alert": "A", "labels": {"x": "1"}, "none": [], "empty": {}}]}],
            "nested": [["a", 1], [[]], [], {}, [[{"a": {"b": {"c": [{"d": 1}]}}}]]],
        }));
    }

    #[test]
    fn what_is_named_is_repeated_by_its_name() {
        let alert = map([("labels", map([("tier", "page".into())]))]);
        let list = vec![Yaml::Anchored("a".to_owned(), Box::new(alert)), Yaml::Alias("a".to_owned())];
        let mut out = String::new();
        render(&map([("alerts", Yaml::List(list))]), &mut out);
        assert_eq!(out, "alerts:\n  - &a\n    labels:\n      tier: page\n  - *a\n");
        let read: Value = serde_saphyr::from_str(&out).unwrap();
        assert_eq!(read["alerts"][0], read["alerts"][1]);
    }

    #[test]
    fn a_record_on_one_line_is_read_back_as_it_was() {
        for text in TEXTS {
            let mut out = String::new();
            Flow::new(&mut out, "k: ")
                .text(text, text)
                .texts("list", [text, "b"])
                .map("m", |row| {
                    row.text("t", text);
                })
                .end_line();
            let read: Value = serde_saphyr::from_str(&out).unwrap_or_else(|e| panic!("{e}:\n{out}"));
            assert_eq!(read, json!({"k": {*text: text, "list": [text, "b"], "m": {"t": text}}}), "{out}");
        }
        for number in [0.0, 0.005, -14.4, 1e-9, 3e-10, -2.5e-300, 1e300, 0.1 + 0.2, 1.0] {
            let mut out = String::new();
            Flow::new(&mut out, "k: ").number("n", number).end_line();
            let read: Value = serde_saphyr::from_str(&out).unwrap();
            assert_eq!(read["k"]["n"].as_f64(), Some(number), "{out}");
        }
    }
}
