//! Emergence-as-Code: bounded journey SLOs, computed from per-service evidence.
//!
//! Four ways lead through the house, and all of them meet in one pure core, so that a rule, a query and a
//! report can never disagree:
//!
//! 1. **query** ([`api`]): a selector of a synthetic series is answered from [`execute`], everything else
//!    passes to the upstream unchanged;
//! 2. **scrape window** ([`execute`]): every evaluation interval, evidence is fetched ([`plan`],
//!    [`upstream`]), composed ([`algebra`]) and rendered as samples ([`synthetic`]);
//! 3. **explain** ([`mod@derive`]): a journey and its evidence become a derivation that a person can check;
//! 4. **compile** ([`spec`], [`emit`]): files become diagnostics or a [`journey::Journey`], and a journey and its
//!    derivation become rules, gates and reports.
//!
//! Dependencies between the top-level modules run one way, in the order in which they are declared here;
//! `tests/integration/layering.rs` holds them to it. Everything up to and including [`plan`] is pure: no I/O,
//! no async, no clock, no global state. Time is an argument.

pub mod unit;

pub mod series;

pub mod distribution;

pub mod journey;

pub mod algebra;

pub mod derive;

pub mod promql;

pub mod document;

pub mod openslo;

pub mod spec;

pub mod synthetic;

pub mod emit;

pub mod plan;

pub mod config;

pub mod telemetry;

pub mod wire;

pub mod upstream;

pub mod execute;

pub mod api;

pub mod demo;

pub mod cli;
