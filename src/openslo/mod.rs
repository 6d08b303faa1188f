//! OpenSLO v1: the contracts and indicators that a component's `atomicSLORef` names.
//!
//! Files, each of one or several documents, become a [`Catalog`] of SLOs and findings with file, line and column. SLO,
//! SLI and DataSource are read; the other kinds are known and reported as unused. Only what journeys need is taken: the
//! target, the window, and the ratio of calls that the indicator counts, as queries whose range is `{{window}}`
//! ([`query`]), so that they can be asked for every window of a journey.
//!
//! A language of others: a field that is not read is not a fault here.

mod catalog;
pub mod query;
mod reader;

pub use catalog::{Catalog, Ratio, Slo};
pub use reader::load;

/// Whether a file may hold documents of this kind: cheap, and never wrongly false.
#[must_use]
pub fn concerns(file: &crate::document::SourceFile) -> bool {
    file.text.contains(reader::VERSION)
}
