//! Plans as data: which evidence to ask for, in how few queries, and what the answers mean.
//!
//! An [`EvidencePlan`] holds the queries of all windows of all journeys, each text once. [`selector`] writes them,
//! [`batch`] lets components that differ in one label value share a query, [`answer`] holds what came back on whatever
//! grid was asked, and [`read`] turns that into [`crate::journey::evidence::Evidence`], with a reason for everything
//! that is missing or bad, and what the calls are worth as a sample. [`budget`] is a plan of its own, for windows of weeks.

pub mod answer;
pub mod batch;
pub mod buckets;
pub mod budget;
pub mod evidence;
pub mod read;
pub mod selector;

pub use evidence::EvidencePlan;
