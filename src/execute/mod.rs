//! The async shell: it fetches everything, then calls the pure core synchronously.
//!
//! [`Engine`] is the running model. Every evaluation interval it asks the upstream for the evidence of all journeys
//! in few queries ([`crate::plan`]), composes what changed on blocking threads, and keeps the samples for
//! [`EvaluationSettings::retention`], so that rules are answered without asking the upstream again: where the reader
//! is also the upstream, an evidence query would wait for a slot that the waiting rule itself holds.

mod backfill;
mod budget;
pub mod counters;
pub mod dialect;
pub mod engine;
mod evaluate;
pub mod fetch;
mod history;
pub mod model;
mod pass;
pub mod query;
mod query_request;
pub mod remote_read;
mod samples;
mod select;
pub mod selection;
pub mod self_check;
pub mod settings;

pub use counters::Counters;
pub use dialect::Dialect;
pub use engine::Engine;
pub use fetch::fetch_evidence;
pub use model::Model;
pub use remote_read::ReadError;
pub use selection::{SelectError, Selected, Unanswered};
pub use self_check::SelfCheck;
pub use settings::EvaluationSettings;
