//! Composition: a fold of a journey's operator tree over the evidence of its components.
//!
//! The mathematics is told in `ARCHITECTURE.md` and in the modules below; [`composition`] is what comes out.

pub mod compose;
pub mod composition;
pub mod verdict;

mod availability;
mod common_rank;
mod curve;
mod engine;
mod explanation;
mod fold;
mod leaf;
mod readout;
mod scenario;
mod sensitivity;
mod tree;
