//! Composition: a fold of a journey's operator tree over the evidence of its components.
//!
//! The mathematics is told in `ARCHITECTURE.md` and in the modules below; [`composition`] is what comes out.

pub mod allocation;
pub mod alternative;
pub mod compose;
pub mod composition;
pub mod verdict;

mod availability;
mod availability_sampling;
mod category;
mod common_rank;
mod curve;
mod engine;
mod explanation;
mod fold;
mod independence;
mod influence;
mod latency;
mod leaf;
mod readout;
mod restatement;
mod sampling;
mod scenario;
mod sensitivity;
mod shared_fate;
mod tape;
mod timeliness;
mod tree;
mod uncertainty;
mod unknown_latency;
