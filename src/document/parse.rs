//! YAML text becomes a tree of nodes that know their places, under budgets.
//!
//! The parser hands out events, so that nothing recurses: ten thousand nested sequences cost no stack. Aliases are
//! expanded by copying under the budget of nodes: an alias bomb is a diagnostic, as is an alias inside its own anchor.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::SourceFile;
use super::decode::MAX_DIAGNOSTICS;
use super::diagnostic::{Code, Diagnostic};
use super::tree::{Content, Document, Node, NodeId, Slot, shortened};

/// The largest file, in bytes. A spec of 1,000 components is a fifth of it.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The most nodes (keys, values, sequences, mappings) of one file, aliases expanded.
pub const MAX_NODES: usize = 200_000;
/// The deepest nesting of nodes: 256 operators take two levels each, and a few around them.
pub(crate) const MAX_NODE_DEPTH: usize = 540;
/// The most documents of one file.
pub(crate) const MAX_DOCUMENTS: usize = 1_000;

/// A collection whose end has not come yet.
struct Open {
    id: NodeId,
    anchor: usize,
    /// In a mapping: the key that waits for its value.
    key: Option<NodeId>,
    /// The keys of a large mapping; those of a small one are looked through.
    keys: Option<HashSet<String>>,
}

/// From this many entries on, the keys of a mapping are kept in a set.
const LARGE_MAPPING: usize = 12;

struct Builder<'a> {
    file: &'a str,
    documents: Vec<Document>,
    diagnostics: Vec<Diagnostic>,
    nodes: Vec<Node>,
    root: Option<NodeId>,
    open: Vec<Open>,
    anchors: HashMap<usize, NodeId>,
    /// Nodes of the finished documents of this file.
    spent: usize,
}

/// Reads all documents of a file. What is wrong with its YAML is in the diagnostics; a document with such a fault is
/// left out, and so is everything after a syntax error.
pub(crate) fn parse(file: &SourceFile) -> (Vec<Document>, Vec<Diagnostic>) {
    let mut builder = Builder {
        file: &file.path,
        documents: Vec::new(),
        diagnostics: Vec::new(),
        nodes: Vec::new(),
        root: None,
        open: Vec::new(),
        anchors: HashMap::new(),
        spent: 0,
    };
    if file.text.len() > MAX_FILE_BYTES {
        builder.diagnostics.push(too_large(&file.path));
        return (Vec::new(), builder.diagnostics);
    }
    let text = text_of(file);
    // Dense specs hold a value every seven bytes.
    builder.nodes.reserve(text.len() / 6);
    let mut faults_before = 0;
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((Event::DocumentEnd, _)) => {
                builder.finish_document(faults_before);
                faults_before = builder.diagnostics.len();
                if builder.documents.len() > MAX_DOCUMENTS {
                    let message = format!("the file holds more than {MAX_DOCUMENTS} documents");
                    builder.diagnostics.push(Diagnostic::of_file(
                        Code::TooManyNodes,
                        &file.path,
                        message,
                        Some("split the file".to_owned()),
                    ));
                    break;
                }
                Ok(())
            }
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let at = error.marker();
                // The parser's own limit on flow collections.
                let fault = if error.info() == "recursion limit exceeded" {
                    builder.too_deep(at.line(), at.col() + 1)
                } else {
                    builder.fault(
                        Code::Syntax,
                        at.line(),
                        at.col() + 1,
                        format!("not valid YAML: {}", error.info()),
                        None,
                    )
                };
                Err(fault)
            }
        };
        if let Err(fault) = step {
            builder.diagnostics.push(*fault);
            break;
        }
    }
    (builder.documents, builder.diagnostics)
}

/// The text in which nodes have their places: without a byte order mark.
pub(crate) fn text_of(file: &SourceFile) -> &str {
    file.text.strip_prefix('\u{feff}').unwrap_or(&file.text)
}

pub(crate) fn too_large(path: &str) -> Diagnostic {
    Diagnostic::of_file(
        Code::FileTooLarge,
        path,
        format!("the file is larger than {MAX_FILE_BYTES} bytes"),
        Some("split it, one journey a file".to_owned()),
    )
}

/// Whether the mapping that is open holds this key already.
fn is_given(nodes: &[Node], open: Option<&mut Open>, text: &str) -> bool {
    let Some(open) = open else { return false };
    let Content::Mapping(entries) = &nodes[open.id.index()].content else { return false };
    let key = |id: NodeId| match &nodes[id.index()].content {
        Content::Scalar { text, .. } => Some(text.as_str()),
        Content::Sequence(_) | Content::Mapping(_) => None,
    };
    let mut given = entries.iter().filter_map(|(id, _)| key(*id));
    if entries.len() < LARGE_MAPPING {
        return given.any(|given| given == text);
    }
    let keys = open.keys.get_or_insert_with(|| given.map(str::to_owned).collect());
    !keys.insert(text.to_owned())
}

impl Builder<'_> {
    fn fault(
        &self,
        code: Code,
        line: usize,
        column: usize,
        message: String,
        help: Option<String>,
    ) -> Box<Diagnostic> {
        Box::new(Diagnostic { line, column, ..Diagnostic::of_file(code, self.file, message, help) })
    }

    /// Keeps a fault that does not end the reading; beyond the limit, one note stands for the rest.
    fn push_fault(&mut self, fault: Diagnostic) {
        match self.diagnostics.len() {
            n if n < MAX_DIAGNOSTICS => self.diagnostics.push(fault),
            MAX_DIAGNOSTICS => {
                let message = "more findings of this file are left out";
                self.diagnostics.push(Diagnostic::of_file(Code::TooMany, self.file, message, None));
            }
            _ => {}
        }
    }

    fn too_deep(&self, line: usize, column: usize) -> Box<Diagnostic> {
        let message = "collections are nested too deeply".to_owned();
        let help = "an operator tree may be 256 levels deep, 120 in flow style".to_owned();
        self.fault(Code::TooDeep, line, column, message, Some(help))
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    self.refuse_tag(span);
                }
                let plain = style == ScalarStyle::Plain;
                let id = self.add(Content::Scalar { text: text.into_owned(), plain }, span)?;
                self.name(anchor, id);
                self.place(id);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                if tag.is_some() {
                    self.refuse_tag(span);
                }
                self.start(Content::Sequence(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                if tag.is_some() {
                    self.refuse_tag(span);
                }
                self.start(Content::Mapping(Vec::new()), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.nodes[open.id.index()].end = span.end.index();
                    self.name(open.anchor, open.id);
                    self.place(open.id);
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn refuse_tag(&mut self, span: Span) {
        let fault = self.fault(
            Code::Tag,
            span.start.line(),
            span.start.col() + 1,
            "YAML tags are not part of the language".to_owned(),
            Some("leave the tag out; quote what must be text".to_owned()),
        );
        self.push_fault(*fault);
    }

    fn start(&mut self, content: Content, anchor: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        if self.open.len() >= MAX_NODE_DEPTH {
            return Err(self.too_deep(span.start.line(), span.start.col() + 1));
        }
        let id = self.add(content, span)?;
        self.open.push(Open { id, anchor, key: None, keys: None });
        Ok(())
    }

    fn add(&mut self, content: Content, span: Span) -> Result<NodeId, Box<Diagnostic>> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        self.push(Node {
            content,
            line,
            column,
            start: span.start.index(),
            end: span.end.index(),
            aliased: false,
            parent: None,
            slot: Slot::Root,
        })
        .map_err(|()| {
            self.fault(
                Code::TooManyNodes,
                line,
                column,
                format!("the file holds more than {MAX_NODES} values, aliases expanded"),
                Some("split the file, or use fewer aliases".to_owned()),
            )
        })
    }

    fn push(&mut self, node: Node) -> Result<NodeId, ()> {
        if self.spent + self.nodes.len() >= MAX_NODES {
            return Err(());
        }
        let id = NodeId::from_index(self.nodes.len());
        self.nodes.push(node);
        Ok(id)
    }

    fn name(&mut self, anchor: usize, id: NodeId) {
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, id: NodeId) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(id);
            return;
        };
        let parent = open.id;
        let slot = match (&mut self.nodes[parent.index()].content, open.key.take()) {
            (Content::Sequence(items), _) => {
                items.push(id);
                Slot::Index(items.len() - 1)
            }
            (Content::Mapping(entries), Some(key)) => {
                entries.push((key, id));
                Slot::Value(key)
            }
            _ => {
                open.key = Some(id);
                Slot::Key
            }
        };
        let node = &mut self.nodes[id.index()];
        (node.parent, node.slot) = (Some(parent), slot);
        if matches!(slot, Slot::Key) {
            self.check_key(id);
        }
    }

    fn check_key(&mut self, id: NodeId) {
        let node = &self.nodes[id.index()];
        let (line, column) = (node.line, node.column);
        let fault = match &node.content {
            Content::Scalar { text, .. } => is_given(&self.nodes, self.open.last_mut(), text).then(|| {
                let message = format!("`{}` is given twice", shortened(text));
                (Code::DuplicateKey, message, "leave one of them out")
            }),
            Content::Sequence(_) | Content::Mapping(_) => Some((
                Code::KeyNotText,
                "a key must be text, not a collection".to_owned(),
                "quote what begins with `{` or `[`, such as \"{{window}}\"",
            )),
        };
        if let Some((code, message, help)) = fault {
            let fault = self.fault(code, line, column, message, Some(help.to_owned()));
            self.push_fault(*fault);
        }
    }

    /// Copies the anchored subtree here, under the budget. The copy keeps the places of the original, and its paths
    /// are those of the alias.
    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let Some(&original) = self.anchors.get(&anchor) else {
            let message = "the alias stands inside its own anchor".to_owned();
            let fault = self.fault(Code::CyclicAlias, line, column, message, Some("write it out".to_owned()));
            return Err(fault);
        };
        let exhausted = |builder: &Self| {
            builder.fault(
                Code::TooManyNodes,
                line,
                column,
                format!("expanding this alias exceeds {MAX_NODES} values"),
                Some("write fewer aliases of aliases".to_owned()),
            )
        };
        // From which node, into which entry of which copied parent, and how deep.
        let mut waiting = vec![(original, None, 0, Slot::Root, self.open.len())];
        let mut copied_root = None;
        while let Some((from, parent, entry, slot, depth)) = waiting.pop() {
            if depth > MAX_NODE_DEPTH {
                return Err(self.too_deep(line, column));
            }
            let mut node = self.nodes[from.index()].clone();
            let content = std::mem::replace(&mut node.content, Content::Sequence(Vec::new()));
            (node.parent, node.slot, node.aliased) = (parent, slot, true);
            let id = self.push(node).map_err(|()| exhausted(self))?;
            match parent.map(|parent: NodeId| &mut self.nodes[parent.index()].content) {
                None => copied_root = Some(id),
                // The copied parent still holds the original's children.
                Some(Content::Sequence(items)) => items[entry] = id,
                Some(Content::Mapping(entries)) => entries[entry].1 = id,
                Some(Content::Scalar { .. }) => {}
            }
            let content = match content {
                Content::Sequence(items) => {
                    for (index, item) in items.iter().enumerate() {
                        waiting.push((*item, Some(id), index, Slot::Index(index), depth + 1));
                    }
                    Content::Sequence(items)
                }
                Content::Mapping(entries) => {
                    let mut copied = Vec::with_capacity(entries.len());
                    for (index, (key, value)) in entries.into_iter().enumerate() {
                        let mut key_node = self.nodes[key.index()].clone();
                        (key_node.parent, key_node.slot, key_node.aliased) = (Some(id), Slot::Key, true);
                        let key = self.push(key_node).map_err(|()| exhausted(self))?;
                        copied.push((key, value));
                        waiting.push((value, Some(id), index, Slot::Value(key), depth + 1));
                    }
                    Content::Mapping(copied)
                }
                scalar @ Content::Scalar { .. } => scalar,
            };
            self.nodes[id.index()].content = content;
        }
        if let Some(id) = copied_root {
            self.place(id);
            for open in &self.open {
                self.nodes[open.id.index()].aliased = true;
            }
        }
        Ok(())
    }

    fn finish_document(&mut self, faults_before: usize) {
        let nodes = std::mem::take(&mut self.nodes);
        self.spent += nodes.len();
        self.anchors.clear();
        self.open.clear();
        if let Some(root) = self.root.take()
            && self.diagnostics.len() == faults_before
            && faults_before <= MAX_DIAGNOSTICS
        {
            self.documents.push(Document { nodes, root });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::document::tree::Plain;

    fn parsed(text: &str) -> (Vec<Document>, Vec<&'static str>) {
        let (documents, diagnostics) =
            parse(&SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() });
        (documents, diagnostics.iter().map(|diagnostic| diagnostic.code).collect())
    }

    #[test]
    fn nodes_know_their_places_and_paths() {
        let (documents, codes) = parsed("a:\n  - b: 1\n  - \"k8s/zone\": {x: .5}\n");
        assert_eq!(codes, [""; 0]);
        let document = &documents[0];
        let a = document.get(document.root(), "a").unwrap();
        let Content::Sequence(items) = &document.node(a).content else { panic!() };
        let zone = document.get(items[1], "k8s/zone").unwrap();
        let x = document.get(zone, "x").unwrap();
        assert_eq!(document.path(x), "a[1][\"k8s/zone\"].x");
        assert_eq!((document.node(x).line, document.node(x).column), (3, 21));
        assert_eq!(document.plain(x), Some(Plain::Number(0.5)));
    }

    #[test]
    fn aliases_are_copied_with_their_own_paths() {
        let (documents, codes) = parsed("a: &x {b: [1, {c: 2}], d: 3}\ne: *x\n");
        assert_eq!(codes, [""; 0]);
        let document = &documents[0];
        assert_eq!(
            document.json(document.root()).to_string(),
            r#"{"a":{"b":[1.0,{"c":2.0}],"d":3.0},"e":{"b":[1.0,{"c":2.0}],"d":3.0}}"#
        );
        let e = document.get(document.root(), "e").unwrap();
        let Content::Sequence(items) = &document.node(document.get(e, "b").unwrap()).content else {
            panic!()
        };
        assert_eq!(document.path(document.get(items[1], "c").unwrap()), "e.b[1].c");
    }

    #[test]
    fn hostile_files_are_diagnostics() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let _ = writeln!(bomb, "a{i}: &a{i} [{}]", vec![format!("*a{}", i - 1); 10].join(", "));
        }
        assert_eq!(parsed(&bomb).1, ["E005"]);
        assert_eq!(parsed("a: &a [*a]").1, ["E006"]);
        assert_eq!(parsed(&format!("a: {}x", "- ".repeat(10_000))).1, ["E003"]);
        assert_eq!(parsed(&"- ".repeat(10_000)).1, ["E004"]);
        assert_eq!(parsed(&"[".repeat(10_000)).1, ["E004"]);
        assert_eq!(parsed(&"{a: ".repeat(10_000)).1, ["E004"]);
        assert_eq!(parsed(&"x".repeat(MAX_FILE_BYTES + 1)).1, ["E001"]);
        assert_eq!(parsed("a: 1\na: 2\n").1, ["E007"]);
        assert_eq!(parsed("[a]: 1\n").1, ["E008"]);
        assert_eq!(parsed("a: !!str 1\n").1, ["E009"]);
        assert_eq!(parsed(&"---\na\n".repeat(1_100)).1, ["E005"]);
    }

    #[test]
    fn a_fault_in_one_document_leaves_the_others() {
        let (documents, codes) = parsed("a: 1\n---\nb: 1\nb: 2\n---\nc: 3\n");
        assert_eq!((documents.len(), codes), (2, vec!["E007"]));
    }
}
