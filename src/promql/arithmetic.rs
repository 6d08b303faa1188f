//! Arithmetic and comparison of numbers.

use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LSS, T_LTE, T_MOD, T_MUL, T_NEQ, T_POW, T_SUB, TokenId,
};

/// A binary operator on numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Yields a number.
    Arithmetic(Arithmetic),
    /// Holds or not.
    Comparison(Comparison),
}

/// `+ - * / % ^ atan2`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`, with the sign of the dividend
    Remainder,
    /// `^`
    Power,
    /// `atan2`
    Atan2,
}

/// `== != > < >= <=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterOrEqual,
    /// `<=`
    LessOrEqual,
}

impl Operation {
    /// The operation of a token; `None` for `and`, `or`, `unless`, which are on sets.
    #[must_use]
    pub const fn of_token(token: TokenId) -> Option<Self> {
        Some(match token {
            T_ADD => Self::Arithmetic(Arithmetic::Add),
            T_SUB => Self::Arithmetic(Arithmetic::Subtract),
            T_MUL => Self::Arithmetic(Arithmetic::Multiply),
            T_DIV => Self::Arithmetic(Arithmetic::Divide),
            T_MOD => Self::Arithmetic(Arithmetic::Remainder),
            T_POW => Self::Arithmetic(Arithmetic::Power),
            T_ATAN2 => Self::Arithmetic(Arithmetic::Atan2),
            T_EQLC => Self::Comparison(Comparison::Equal),
            T_NEQ => Self::Comparison(Comparison::NotEqual),
            T_GTR => Self::Comparison(Comparison::Greater),
            T_LSS => Self::Comparison(Comparison::Less),
            T_GTE => Self::Comparison(Comparison::GreaterOrEqual),
            T_LTE => Self::Comparison(Comparison::LessOrEqual),
            _ => return None,
        })
    }

    /// The number, or 1 and 0 for a comparison that holds and one that does not.
    #[must_use]
    pub fn number(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Arithmetic(operation) => operation.apply(left, right),
            Self::Comparison(comparison) => f64::from(u8::from(comparison.holds(left, right))),
        }
    }
}

impl Arithmetic {
    /// IEEE 754 throughout: a division by zero is infinite or NaN.
    #[must_use]
    pub fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
            Self::Power => left.powf(right),
            Self::Atan2 => left.atan2(right),
        }
    }
}

impl Comparison {
    /// Whether it holds; NaN differs from everything.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::GreaterOrEqual => left >= right,
            Self::LessOrEqual => left <= right,
        }
    }
}
