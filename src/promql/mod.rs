//! PromQL: matchers, guards, and an evaluator over series in memory.
//!
//! A text goes through [`guard`] (size, depth, operators: a linear scan, before anything recursive sees it) and
//! [`query`] (the parser, and what its selectors read), becomes the tree of [`expression`], and is computed by
//! [`evaluate`] over a [`source::SeriesSource`], whole grids at a time: every node yields its values at all steps at
//! once, an instant query being a grid of one. It follows Prometheus 3.x (ranges and lookback are open on the left),
//! and 2.x on request ([`limits::Boundaries`]); [`limits::Options`] bounds what a query may cost.
//!
//! All functions, operators and aggregations for numbers are built. What is not (native histograms, two experimental
//! functions) is a typed answer that names the construct ([`evaluate::EvaluationError::Unsupported`]), never a guess.

mod aggregate;
mod aggregation;
pub mod annotation;
mod arithmetic;
mod call;
mod classic_histogram;
pub mod compile;
mod counter;
pub mod evaluate;
#[cfg(test)]
mod evaluate_tests;
pub mod expression;
mod function;
mod grid;
pub mod guard;
mod histogram_function;
mod info_function;
mod keyword;
mod label_function;
mod label_hash;
pub mod limits;
pub mod literal;
pub mod matcher;
mod math_function;
mod number;
mod over_time;
mod position;
pub mod print;
pub mod pushdown;
pub mod pushdown_answer;
mod pushdown_text;
pub mod query;
pub mod range_function;
pub(crate) mod ranges;
mod ranking;
mod regression;
mod selector;
mod sorting;
pub mod source;
mod summation;
mod time_function;
#[cfg(test)]
mod trap_tests;
pub mod value;
mod vector_matching;
