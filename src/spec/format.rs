//! Rewriting the operator of a spec, as tree or as text, and nothing else: all other bytes of the file stay as they
//! are. Where the block holds comments, anchors or aliases it is not touched: nothing that a person wrote is lost.
//! The result is read again and compared with the original before anyone sees it.

use super::load::{Kind, kind};
use super::step::{ExpressionText, HOLE, Step};
use super::tree_text;
use crate::document::SourceFile;
use crate::document::decode::{Decode as _, Decoder};
use crate::document::diagnostic::{Code, Diagnostic};
use crate::document::parse::{parse, text_of};
use crate::document::tree::{Content, Document, NodeId};
use crate::journey::expression::{Expression, Term};

/// The widest line of a written expression, in characters.
const WIDTH: usize = 100;

/// How an operator is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `operator:` with a tree of mappings.
    Tree,
    /// `expression:` with text.
    Expression,
}

impl Form {
    const fn key(self) -> &'static str {
        match self {
            Self::Tree => "operator",
            Self::Expression => "expression",
        }
    }
}

/// What became of a file.
#[derive(Debug, Clone)]
pub struct Formatted {
    /// Its text; the same as before where nothing could or need be changed.
    pub text: String,
    /// Why something was left as it is; errors where it cannot be read or converted.
    pub diagnostics: Vec<Diagnostic>,
}

/// Formats every JourneyIntent of a file; with `to`, in that form.
#[must_use]
pub fn format(file: &SourceFile, to: Option<Form>) -> Formatted {
    let source = text_of(file);
    let (documents, mut diagnostics) = parse(file);
    let mut text = source.to_owned();
    if diagnostics.is_empty() {
        // From the last to the first, so that earlier places stay true.
        for document in documents.iter().rev().filter(|document| matches!(kind(document), Kind::Journey)) {
            match rewrite(file, document, to) {
                Ok(Some((from, to, replacement))) => text.replace_range(from..to, &replacement),
                Ok(None) => {}
                Err(faults) => diagnostics.extend(faults),
            }
        }
    }
    if text != source && !says_the_same(&documents, &text) {
        let message = "the formatted text would not say the same; this is a bug of emac";
        diagnostics.push(Diagnostic::of_file(Code::Unformattable, &file.path, message, None));
        source.clone_into(&mut text);
    }
    // A byte order mark stays too.
    let mark = &file.text[..file.text.len() - source.len()];
    Formatted { text: format!("{mark}{text}"), diagnostics }
}

/// Which bytes to replace by what.
type Edit = (usize, usize, String);

fn rewrite(
    file: &SourceFile,
    document: &Document,
    to: Option<Form>,
) -> Result<Option<Edit>, Vec<Diagnostic>> {
    let Some(spec) = document.get(document.root(), "spec") else { return Ok(None) };
    let Some((form, key, value)) = entry(document, spec) else { return Ok(None) };
    let mut decoder = Decoder::new(file, document);
    let Some(expression) = expression(form, value, &mut decoder) else { return Err(decoder.finish()) };
    let wanted = to.unwrap_or(form);
    let source = decoder.source;
    let bytes: Vec<usize> = source.char_indices().map(|(at, _)| at).chain([source.len()]).collect();
    let byte = |at: usize| bytes[at.min(bytes.len() - 1)];
    let start = byte(document.node(key).start);
    let end = byte(content_end(document, value, source, &byte));
    let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = source[end..].find('\n').map_or(source.len(), |at| end + at);
    let line_end = line_end - usize::from(source[..line_end].ends_with('\r'));
    let obstacle = if !source[line_start..start].chars().all(|c| c == ' ') {
        Some("does not begin on a line of its own")
    } else {
        obstacle(document, key, value, &source[start..line_end], start, &byte)
    };
    if let Some(obstacle) = obstacle {
        let converting = wanted != form;
        let code = if converting { Code::Unformattable } else { Code::LeftAsIs };
        let message = format!("the operator {obstacle}, so it is left as it is");
        let help = converting.then(|| "move its comments out of the block, then convert it".to_owned());
        decoder.report(code, key, message, help);
        return Err(decoder.finish());
    }
    let indent = start - line_start;
    let newline = if source.contains("\r\n") { "\r\n" } else { "\n" };
    let replacement = write(&expression, wanted, indent).join(newline);
    Ok((replacement != source[line_start..line_end]).then_some((line_start, line_end, replacement)))
}

/// The operator's key and value, whichever form it has.
fn entry(document: &Document, spec: NodeId) -> Option<(Form, NodeId, NodeId)> {
    let Content::Mapping(entries) = &document.node(spec).content else { return None };
    let of = |form: Form| {
        let found = entries.iter().find(|(key, _)| document.text(*key) == Some(form.key()));
        found.map(|(key, value)| (form, *key, *value))
    };
    match (of(Form::Tree), of(Form::Expression)) {
        (Some(entry), None) | (None, Some(entry)) => Some(entry),
        _ => None,
    }
}

fn expression(form: Form, value: NodeId, decoder: &mut Decoder<'_>) -> Option<Expression> {
    let expression = match form {
        Form::Tree => Step::decode(value, decoder)?.0,
        Form::Expression => {
            let text = ExpressionText::decode(value, decoder)?;
            match Expression::parse(&text.text) {
                Ok(expression) => expression,
                Err(error) => {
                    decoder.report(Code::ExpressionSyntax, value, error.to_string(), None);
                    return None;
                }
            }
        }
    };
    (decoder.errors() == 0 && !has_hole(&expression)).then_some(expression)
}

fn has_hole(expression: &Expression) -> bool {
    matches!(&expression.term, Term::Component(name) if name == HOLE)
        || expression.operands().into_iter().any(has_hole)
}

/// Behind the last character of a value, in characters: block collections end where their last part does.
fn content_end(document: &Document, value: NodeId, source: &str, byte: &impl Fn(usize) -> usize) -> usize {
    let mut end = 0;
    let mut waiting = vec![value];
    while let Some(id) = waiting.pop() {
        let node = document.node(id);
        let flow = source[byte(node.start)..].starts_with(['{', '[']);
        match &node.content {
            Content::Scalar { .. } => end = end.max(trimmed_end(source, byte, node.start, node.end)),
            Content::Sequence(_) | Content::Mapping(_) if flow => end = end.max(node.end),
            Content::Sequence(items) => waiting.extend(items),
            Content::Mapping(entries) => {
                waiting.extend(entries.iter().flat_map(|(key, value)| [*key, *value]))
            }
        }
    }
    end
}

/// A scalar's end without the white space behind it, which block scalars count as theirs.
fn trimmed_end(source: &str, byte: &impl Fn(usize) -> usize, start: usize, end: usize) -> usize {
    let text = &source[byte(start)..byte(end)];
    start + text.trim_end().chars().count()
}

/// What in the block could not be written again.
fn obstacle(
    document: &Document,
    key: NodeId,
    value: NodeId,
    block: &str,
    block_start: usize,
    byte: &impl Fn(usize) -> usize,
) -> Option<&'static str> {
    if document.node(value).aliased {
        return Some("uses aliases");
    }
    // Scalars are blanked out: what is left is structure and comments.
    let mut rest = block.as_bytes().to_vec();
    let mut waiting = vec![key, value];
    while let Some(id) = waiting.pop() {
        let node = document.node(id);
        match &node.content {
            Content::Scalar { .. } => {
                let (from, to) = (byte(node.start) - block_start, byte(node.end) - block_start);
                let text = &block[from..to.min(block.len())];
                // The header line of a block scalar may hold a comment.
                let header = text.starts_with(['|', '>']).then(|| text.lines().next()).flatten();
                if header.is_some_and(|header| header.contains('#')) {
                    return Some("holds comments");
                }
                let last = to.min(rest.len());
                rest[from..last].fill(b' ');
            }
            Content::Sequence(items) => waiting.extend(items),
            Content::Mapping(entries) => {
                waiting.extend(entries.iter().flat_map(|(key, value)| [*key, *value]))
            }
        }
    }
    if rest.contains(&b'#') {
        Some("holds comments")
    } else if rest.contains(&b'&') {
        Some("holds anchors")
    } else {
        None
    }
}

fn write(expression: &Expression, form: Form, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    match form {
        Form::Tree => {
            let mut lines = vec![format!("{margin}operator:")];
            lines.extend(tree_text::lines(expression, indent + 2));
            lines
        }
        Form::Expression => {
            let line = format!("{margin}expression: {}", tree_text::scalar(&expression.to_string()));
            if line.chars().count() <= WIDTH {
                return vec![line];
            }
            let mut lines = vec![format!("{margin}expression: |")];
            let text = expression.pretty(WIDTH.saturating_sub(indent + 2).max(40));
            lines.extend(text.lines().map(|line| format!("{margin}  {line}")));
            lines
        }
    }
}

/// Whether `text` holds the same documents, the form of the operator aside.
fn says_the_same(documents: &[Document], text: &str) -> bool {
    let file = SourceFile { path: String::new(), text: text.to_owned() };
    let (written, faults) = parse(&file);
    faults.is_empty()
        && written.len() == documents.len()
        && documents.iter().zip(&written).all(|(before, after)| {
            let (operator_before, rest_before) = parts(before);
            let (operator_after, rest_after) = parts(after);
            operator_before == operator_after && rest_before == rest_after
        })
}

/// A document's operator, where it has one that can be read, and all the rest.
fn parts(document: &Document) -> (Option<Expression>, serde_json::Value) {
    let mut rest = document.json(document.root());
    if !matches!(kind(document), Kind::Journey) {
        return (None, rest);
    }
    let file = SourceFile { path: String::new(), text: String::new() };
    let mut decoder = Decoder::new(&file, document);
    let operator = document
        .get(document.root(), "spec")
        .and_then(|spec| entry(document, spec))
        .and_then(|(form, _, value)| expression(form, value, &mut decoder));
    if operator.is_some()
        && let Some(spec) = rest.get_mut("spec").and_then(serde_json::Value::as_object_mut)
    {
        spec.remove(Form::Tree.key());
        spec.remove(Form::Expression.key());
    }
    (operator, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {name: a}   # kept\nspec:\n";
    const TAIL: &str = "  # about components\n  components: {a: {}, b: {}}\n";

    fn formatted(operator: &str, to: Option<Form>) -> (String, Vec<&'static str>) {
        let text = format!("{HEAD}{operator}{TAIL}");
        let done = format(&SourceFile { path: "a.yaml".to_owned(), text }, to);
        let codes = done.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        let middle = done.text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(TAIL));
        (middle.unwrap_or_else(|| panic!("the rest changed: {}", done.text)).to_owned(), codes)
    }

    #[test]
    fn the_operator_converts_both_ways_and_the_rest_stays() {
        let text = "  expression: Series(a, Retry(3, 1s, 50ms, factor=2; b), Cond(_, .5; a, b))\n";
        let tree = "  operator:
    type: series
    steps:
      - ref: a
      - type: retry
        attempts: 3
        perTryTimeout: 1s
        backoff:
          base: 50ms
          factor: 2
        body:
          ref: b
      - type: cond
        branches:
          - ref: a
          - probability: .5
            ref: b
";
        assert_eq!(formatted(text, Some(Form::Tree)), (tree.to_owned(), vec![]));
        assert_eq!(formatted(tree, Some(Form::Expression)), (text.to_owned(), vec![]));
        assert_eq!(formatted(tree, None), (tree.to_owned(), vec![]));
        assert_eq!(formatted("  expression:   \"Race( a,b )\"\n", None).0, "  expression: Race(a, b)\n");
        let flow = "  operator: {type: race,\n    branches: [{ref: a}, {ref: b}]}\n\n";
        assert_eq!(formatted(flow, Some(Form::Expression)).0, "  expression: Race(a, b)\n\n");
    }

    #[test]
    fn long_expressions_become_blocks_and_come_back() {
        let long = format!("  expression: Series({})\n", vec!["Race(a, b)"; 30].join(", "));
        let (block, _) = formatted(&long, None);
        assert!(block.starts_with("  expression: |\n    Series(\n      Race(a, b),\n"), "{block}");
        assert_eq!(formatted(&block, None).0, block);
        let (tree, _) = formatted(&block, Some(Form::Tree));
        assert_eq!(formatted(&tree, Some(Form::Expression)).0, block);
    }

    #[test]
    fn comments_are_never_lost() {
        for operator in [
            "  operator:   # why\n    ref: a\n",
            "  operator:\n    type: race\n    branches:\n      # first\n      - ref:   a\n      - ref: b\n",
            "  operator:\n    ref:   a  # last\n",
            "  expression: |  # why\n    a\n",
            "  operator: &x\n    ref:  a\n",
        ] {
            assert_eq!(formatted(operator, None), (operator.to_owned(), vec!["N506"]));
            let other = if operator.contains("operator") { Form::Expression } else { Form::Tree };
            assert_eq!(formatted(operator, Some(other)), (operator.to_owned(), vec!["E110"]));
        }
        let behind = "  operator:\n    ref:   a\n  # behind it\n\n";
        assert_eq!(formatted(behind, None).0, "  operator:\n    ref: a\n  # behind it\n\n");
    }

    #[test]
    fn what_cannot_be_read_is_left_as_it_is() {
        for operator in
            ["  expression: Serie(a)\n", "  operator: {type: seris}\n", "  operator:\n    refs: a\n"]
        {
            let (text, codes) = formatted(operator, Some(Form::Tree));
            assert_eq!(text, operator);
            assert!(codes.iter().all(|code| code.starts_with('E')) && !codes.is_empty(), "{codes:?}");
        }
        let json = r#"{"kind": "JourneyIntent", "spec": {"expression": "Race( a )"}}"#;
        let file = SourceFile { path: "a.json".to_owned(), text: json.to_owned() };
        assert_eq!(format(&file, None).text, json);
    }

    #[test]
    fn line_ends_and_byte_order_marks_stay() {
        let text = format!("\u{feff}{HEAD}  expression: Race( a,b )\n{TAIL}").replace('\n', "\r\n");
        let done = format(&SourceFile { path: "a.yaml".to_owned(), text: text.clone() }, Some(Form::Tree));
        assert_eq!(
            done.text,
            text.replace(
                "  expression: Race( a,b )\r\n",
                "  operator:\r\n    type: race\r\n    branches:\r\n      - ref: a\r\n      - ref: b\r\n"
            )
        );
    }

    #[test]
    fn names_that_yaml_would_read_otherwise_are_quoted() {
        let text = "  expression: Series(true, 1, null, a:)\n";
        let (tree, _) = formatted(text, Some(Form::Tree));
        assert!(
            tree.contains("ref: 'true'") && tree.contains("ref: '1'") && tree.contains("ref: 'a:'"),
            "{tree}"
        );
        assert_eq!(formatted(&tree, Some(Form::Expression)).0, text);
    }
}
