//! YAML that people review: keys in the order given, one spelling for each value, one field a line, so that equal input
//! gives equal bytes and a small change a small difference. It is written straight into the text: a fleet's rules and their
//! tests are millions of lines.

use std::fmt::Write as _;

use super::yaml_scalar::{in_block, is_block};

/// Writes a document whose root is a mapping, behind what the text holds.
pub(crate) struct Writer<'o> {
    out: &'o mut String,
    /// Of the lines to come, in steps of two columns.
    depth: usize,
    /// The next field stands behind the dash of its item.
    behind_dash: bool,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut String) -> Self {
        Self { out, depth: 0, behind_dash: false }
    }

    /// Keys of the program's own need no quotes.
    fn key(&mut self, key: &'static str) {
        if !std::mem::take(&mut self.behind_dash) {
            indent(self.depth, self.out);
        }
        self.out.push_str(key);
        self.out.push(':');
    }

    /// A text whose key is not the program's own.
    pub(crate) fn named(&mut self, key: &str, text: &str) -> &mut Self {
        if !std::mem::take(&mut self.behind_dash) {
            indent(self.depth, self.out);
        }
        in_block(key, self.out);
        self.out.push(':');
        self.value(text)
    }

    fn value(&mut self, text: &str) -> &mut Self {
        if is_block(text) {
            block(text, self.depth + 1, self.out);
        } else {
            self.out.push(' ');
            in_block(text, self.out);
            self.out.push('\n');
        }
        self
    }

    /// A text, quoted where it would read as something else; several lines become a literal block.
    pub(crate) fn text(&mut self, key: &'static str, text: &str) -> &mut Self {
        self.key(key);
        self.value(text)
    }

    /// Words of the program's own that need no quotes, durations among them.
    pub(crate) fn word(&mut self, key: &'static str, word: &str) -> &mut Self {
        self.key(key);
        self.out.push(' ');
        self.out.push_str(word);
        self.out.push('\n');
        self
    }

    pub(crate) fn count(&mut self, key: &'static str, count: usize) -> &mut Self {
        self.key(key);
        let _ = writeln!(self.out, " {count}");
        self
    }

    /// A mapping.
    pub(crate) fn map(&mut self, key: &'static str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.collection(key, " {}\n", fill)
    }

    /// A list, of [`Writer::item`] and the like.
    pub(crate) fn list(&mut self, key: &'static str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.collection(key, " []\n", fill)
    }

    fn collection(&mut self, key: &'static str, empty: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.key(key);
        self.out.push('\n');
        let start = self.out.len();
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        if self.out.len() == start {
            self.out.pop();
            self.out.push_str(empty);
        }
        self
    }

    /// An item that is a mapping of at least one field.
    pub(crate) fn item(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        indent(self.depth, self.out);
        self.out.push_str("- ");
        self.behind_dash = true;
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        self.behind_dash = false;
        self
    }

    /// An item with a name by which [`Writer::alias`] repeats it further down; the name needs no quotes.
    pub(crate) fn anchored(&mut self, name: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.reference('&', name);
        self.depth += 1;
        fill(self);
        self.depth -= 1;
        self
    }

    /// What was written under that name.
    pub(crate) fn alias(&mut self, name: &str) -> &mut Self {
        self.reference('*', name);
        self
    }

    fn reference(&mut self, sign: char, name: &str) {
        indent(self.depth, self.out);
        self.out.push_str("- ");
        self.out.push(sign);
        self.out.push_str(name);
        self.out.push('\n');
    }

    /// An item that is a text on one line.
    pub(crate) fn text_item(&mut self, text: &str) -> &mut Self {
        indent(self.depth, self.out);
        self.out.push_str("- ");
        in_block(text, self.out);
        self.out.push('\n');
        self
    }

    /// Lines of comment.
    pub(crate) fn comment(&mut self, lines: &str) -> &mut Self {
        for line in lines.lines() {
            indent(self.depth, self.out);
            self.out.push_str(line);
            self.out.push('\n');
        }
        self
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

    fn field(out: &mut Writer<'_>, key: &str, value: &Value) {
        let known =
            ["k", "w", "groups", "rules", "labels", "none", "empty", "nested", "a", "b", "c", "d", "e"];
        let own = || known.into_iter().find(|known| *known == key).unwrap();
        match value {
            Value::String(text) => out.named(key, text),
            Value::Number(number) => out.count(own(), usize::try_from(number.as_u64().unwrap()).unwrap()),
            Value::Array(all) => out.list(own(), |out| all.iter().for_each(|value| item(out, value))),
            Value::Object(all) => {
                out.map(own(), |out| all.iter().for_each(|(key, value)| field(out, key, value)))
            }
            other => panic!("{other}"),
        };
    }

    fn item(out: &mut Writer<'_>, value: &Value) {
        match value {
            Value::String(text) => out.text_item(text),
            Value::Object(all) => out.item(|out| all.iter().for_each(|(key, value)| field(out, key, value))),
            other => panic!("{other}"),
        };
    }

    /// Read back by another implementation.
    fn assert_read_back(value: &Value) {
        let mut text = String::new();
        let mut out = Writer::new(&mut text);
        value.as_object().unwrap().iter().for_each(|(key, value)| field(&mut out, key, value));
        let read: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
        assert_eq!(&read, value, "{text}");
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        for text in TEXTS {
            assert_read_back(&json!({"k": [{"v": text}, {"v": text, "w": 1}], *text: text}));
            if !text.contains('\n') {
                assert_read_back(&json!({"k": [text, "a"]}));
            }
        }
    }

    #[test]
    fn nesting_keeps_its_shape() {
        assert_read_back(&json!({
            "groups": [{"name": "g", "rules": [{"alert": "A", "labels": {"x": "1"}, "none": [], "empty": {}}]}],
            "nested": [{"a": {"b": {"c": [{"d": 1}]}}}, {"a": [{"b": ["c"]}], "d": 2}, {"e": {}}],
        }));
    }

    #[test]
    fn what_is_named_is_repeated_by_its_name() {
        let mut out = String::new();
        Writer::new(&mut out).list("alerts", |out| {
            out.anchored("a", |out| {
                out.map("labels", |out| {
                    out.text("tier", "page");
                });
            });
            out.alias("a");
        });
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
