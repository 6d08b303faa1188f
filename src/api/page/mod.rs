//! The pages at `/` and `/journeys/{name}`: server-rendered, without script, from the derivations that the JSON API
//! answers too.
//!
//! [`mod@routes`] answers; [`view`] gathers what is shown of a journey; [`layout`], [`overview`], [`journey`],
//! [`operators`], [`tables`] and [`plot`] draw it. Every name passes through the template's escaping, and the
//! policy in the headers forbids whatever might get past it.

pub mod journey;
pub mod layout;
pub mod observed;
pub mod operators;
pub mod overview;
pub mod plot;
pub mod routes;
pub mod tables;
pub(crate) mod utc;
pub mod view;

pub use routes::{JourneyState, routes};
