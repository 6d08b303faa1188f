//! HTTP: one router, pass-through first.
//!
//! [`mod@router`] lists every route. A request that concerns no synthetic series goes to the upstream as it came
//! (`forward`; plain queries before they meet the router, `front`); `classify` decides which do, by a linear scan before
//! any parsing. [`error`] is the one place that maps
//! errors to HTTP. [`server`] accepts connections and drains them.

mod body;
mod classify;
mod connection;
mod connections;
mod discovery;
pub mod error;
mod exposition;
mod federate;
mod forward;
mod front;
mod guarded_io;
pub mod journeys;
mod json_weight;
mod lifecycle;
pub mod page;
mod parameters;
mod query;
mod reader_labels;
mod remote_read;
mod reply;
pub mod router;
pub mod server;
pub mod state;
mod tenant;
mod timed_body;
pub mod web_security;

pub use connection::ConnectionLimits;
pub(crate) use parameters::parse_time;
pub use router::router;
pub use server::serve;
pub use state::{ApiSettings, ApiState, QueryLimits, Reload};
pub use web_security::WebSecurity;
