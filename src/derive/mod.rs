//! Derivations: how a journey's numbers follow from its model and its evidence, for people and for machines.
//!
//! [`explain`] composes and derives; a [`Derivation`] tells what came out and why: every operator with its formula and the
//! numbers put in, the evidence of each component, objectives with their margins, the verdict and the warnings. It is
//! data ([`serde::Serialize`]) whose JSON shape is a public contract; [`text`] draws it as a tree. The command line,
//! the API and the page show the same derivation, so that they cannot disagree.

pub mod allocation;
mod assemble;
pub mod by_assumption;
pub mod derivation;
pub mod distribution;
pub mod evidence_file;
pub mod formula;
mod lines;
pub mod model;
pub mod number;
pub mod reason;
pub mod step;
pub mod text;
pub mod what_if;
mod what_if_text;
pub mod width;

pub use assemble::explain;
pub use derivation::Derivation;
