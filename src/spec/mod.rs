//! The EmaC language: YAML files become diagnostics or a journey.
//!
//! Pure: the caller reads the files. [`crate::document`] turns text into a tree of nodes with places and decodes the
//! records of `intent` and `step`, reporting every fault and going on; `lower` turns records into a
//! [`crate::journey::Journey`], with the contracts that [`crate::openslo`] found; `lint` warns. The JSON Schema comes
//! from the same records.

pub use crate::document::{Code, Diagnostic, MAX_FILE_BYTES, MAX_NODES, Place, Severity, SourceFile};

mod canonical;
mod default_policy;
mod evidence_file;
mod format;
mod intent;
mod json_schema;
mod lint;
mod load;
mod lower;
mod lower_operator;
mod lower_telemetry;
mod operator_shape;
mod preset;
mod scalar;
mod step;
mod tree_text;
pub mod upstream_rules;
mod word;

pub use evidence_file::load_evidence;
pub use format::{Form, Formatted, format};
pub use json_schema::json_schema;
pub use load::{JourneyPlaces, Loaded, load, load_with_contracts};
pub use lower_telemetry::with_window;
