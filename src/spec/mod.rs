//! The EmaC language: YAML files become diagnostics or a journey.
//!
//! Pure: the caller reads the files. Every fault is reported at once, each with its place.

pub mod diagnostic;
mod load;

pub use diagnostic::{Diagnostic, Severity};
pub use load::{Loaded, load};

/// A file as read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, for messages.
    pub path: String,
    /// Its content.
    pub text: String,
}
