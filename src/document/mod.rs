//! Files of people: YAML becomes a tree of nodes with places, records are decoded from it, and every fault becomes a
//! finding with file, line, column and path.
//!
//! Both languages that are read, [`crate::spec`]'s own and [`crate::openslo`], stand on it. Pure: the caller reads
//! the files.

pub(crate) mod decode;
pub mod diagnostic;
pub(crate) mod parse;
pub(crate) mod rule;
pub(crate) mod tree;

pub use diagnostic::{Code, Diagnostic, Severity};
pub use parse::{MAX_FILE_BYTES, MAX_NODES};

/// A file as read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, for messages.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// Where something is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path of the file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The place in the document.
    pub path: String,
}

impl Place {
    /// Where a node stands.
    pub(crate) fn of(file: &str, document: &tree::Document, at: tree::NodeId) -> Self {
        let node = document.node(at);
        Self { file: file.to_owned(), line: node.line, column: node.column, path: document.path(at) }
    }

    /// A finding at this place.
    #[must_use]
    pub fn finding(&self, code: Code, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        Diagnostic {
            line: self.line,
            column: self.column,
            path: self.path.clone(),
            ..Diagnostic::of_file(code, &self.file, message, help)
        }
    }
}
