//! PromQL: matchers, guards, and an evaluator over series in memory.
//!
//! A text goes through [`guard`] (size, depth, operators: a linear scan, before anything recursive sees it) and
//! [`query`] (the parser, and what its selectors ask for), and is computed by [`evaluate`] over a
//! [`source::SeriesSource`], whole steps at a time: every node yields its values at all steps of the grid at once, an
//! instant query being a grid of one. It follows Prometheus 3.x: ranges and lookback are open on the left.
//!
//! What the evaluator does not know is a typed answer ([`evaluate::EvaluationError::Unsupported`]) that names the
//! construct, never a guess.

pub mod aggregation;
pub mod arithmetic;
pub mod evaluate;
pub mod guard;
pub mod matcher;
pub mod query;
pub mod range_function;
pub mod source;
pub mod value;
