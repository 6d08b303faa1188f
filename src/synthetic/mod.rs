//! The catalog of `emac_journey_*` series: names, labels, help, and which quantity each one is.

pub mod catalog;
pub mod evaluation;
pub mod render;
