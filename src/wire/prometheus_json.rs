//! The JSON of Prometheus' HTTP API, both ways.
//!
//! Encoding follows Prometheus to the byte ([`encode`], [`number`]). Decoding is strict ([`decode`]): what is not a
//! complete, valid answer of the expected shape is an error, since a body that was cut or garbled must never become
//! evidence, let alone an empty answer.

pub mod decode;
pub mod encode;
mod native_histogram;
pub mod number;

use crate::series::{Sample, Series};
use crate::unit::Timestamp;

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryData {
    /// One sample a series, at the time of the query.
    Vector(Vec<Series>),
    /// Samples on a grid or in a range.
    Matrix(Vec<Series>),
    /// One number.
    Scalar(Sample),
    /// A text.
    String {
        /// The time of the query.
        time: Timestamp,
        /// The text.
        value: String,
    },
}

impl QueryData {
    /// The value of `resultType`.
    #[must_use]
    pub const fn result_type(&self) -> &'static str {
        match self {
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
            Self::Scalar(_) => "scalar",
            Self::String { .. } => "string",
        }
    }
}

/// What accompanies an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    /// The answer may be incomplete.
    pub warnings: Vec<String>,
    /// Something the author of the query should know.
    pub infos: Vec<String>,
}

/// A complete answer to `query` or `query_range`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryAnswer {
    /// The result.
    pub data: QueryData,
    /// What accompanies it.
    pub annotations: Annotations,
}

/// The `errorType` of an error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// The request cannot be understood.
    BadData,
    /// The query cannot be executed.
    Execution,
    /// It took too long.
    Timeout,
    /// It was given up.
    Canceled,
    /// There is no such thing.
    NotFound,
    /// Not now.
    Unavailable,
    /// Our fault.
    Internal,
}

impl ErrorType {
    /// Its spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that Prometheus sends with it (a shed or unavailable query is 503).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Execution => 422,
            Self::Timeout | Self::Canceled | Self::Unavailable => 503,
            Self::NotFound => 404,
            Self::Internal => 500,
        }
    }
}
