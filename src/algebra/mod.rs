//! Composition: a fold of a journey's operator tree over the evidence of its components.
//!
//! The mathematics is told in `ARCHITECTURE.md` and in the modules below; [`composition`] is what comes out.

pub mod composition;

pub mod verdict;
