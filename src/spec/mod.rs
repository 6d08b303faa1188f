//! The EmaC language: YAML files become diagnostics or a journey.
//!
//! Pure: the caller reads the files. `document` turns text into a tree of nodes with places, under budgets;
//! `decode` turns nodes into the records of `intent` and `step`, reporting every fault and going on; `lower`
//! turns records into a [`crate::journey::Journey`]; `lint` warns. The JSON Schema comes from the same records.

mod canonical;
pub(crate) mod decode;
pub mod diagnostic;
pub(crate) mod document;
mod evidence_file;
mod format;
mod intent;
mod json_schema;
mod lint;
mod load;
mod lower;
mod lower_operator;
mod lower_telemetry;
mod preset;
mod scalar;
mod step;
mod tree_text;
pub mod upstream_rules;

pub use diagnostic::{Code, Diagnostic, Severity};
pub use document::{MAX_FILE_BYTES, MAX_NODES};
pub use evidence_file::load_evidence;
pub use format::{Form, Formatted, format};
pub use json_schema::json_schema;
pub use load::{JourneyPlaces, Loaded, Place, load};
pub use lower_telemetry::with_window;

/// A file as read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, for messages.
    pub path: String,
    /// Its content.
    pub text: String,
}
