//! The pages at `/` and `/journeys/{name}`: server-rendered, without script, from the derivations that the JSON API
//! answers too.

pub mod observed;
