//! What an expression yields.

use crate::series::{Labels, Series};

/// One series of an instant vector, at every step of the grid.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSeries {
    /// Its identity.
    pub labels: Labels,
    /// One for each step; `None` where it has no sample.
    pub values: Vec<Option<f64>>,
    /// The name is to be dropped at the end of the evaluation, where names are dropped late.
    pub(crate) drops_name: bool,
}

/// The value of an expression on a grid.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number for each step.
    Scalar(Vec<f64>),
    /// An instant vector at every step.
    Vector(Vec<StepSeries>),
    /// The samples of a range, for an instant query of a range selector.
    Range(Vec<Series>),
    /// A text.
    Text(String),
}

impl Value {
    /// As Prometheus names types in messages.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            Self::Vector(_) => "instant vector",
            Self::Range(_) => "range vector",
            Self::Text(_) => "string",
        }
    }
}
