//! `emac demo`: a simulated shop whose telemetry and truth are both known, so that predictions can be checked.
//!
//! [`shop`] is the simulator: [`services`] with their [`latency_law`]s, [`incident`]s that bend their [`health`],
//! [`request`]s that walk the [`journeys`], [`counters`] as a Prometheus client library keeps them, and the [`truth`]
//! that users saw. It runs in simulated time, about 5,000 calls of services a second, and never asks
//! [`crate::algebra`] for anything: what it observes is an independent check of what is predicted.
//!
//! [`simulation`] adds the embedded Prometheus that scrapes the shop, [`live`] the engine that predicts from those
//! scrapes alone, and sets both side by side for the [`table`] and the page. [`targets`] offers the same shop to a real
//! Prometheus.

pub mod counters;
pub mod health;
pub mod incident;
pub mod journeys;
pub mod latency_law;
pub mod live;
pub mod pace;
pub mod request;
pub mod services;
pub mod shop;
pub mod simulation;
pub mod table;
pub mod targets;
pub mod truth;
