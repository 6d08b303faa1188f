//! Operators on numbers.

use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD, T_MUL, T_NEQ,
    T_POW, T_SUB, TokenId,
};

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A new number.
    Arithmetic(Arithmetic),
    /// A filter, or 0 and 1.
    Comparison(Comparison),
    /// Of whole vectors.
    Set(SetOperation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The remainder, with the sign of the left side.
    Modulo,
    Power,
    Atan2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOperation {
    And,
    Or,
    Unless,
}

impl Operation {
    /// The operator of a token.
    pub(crate) const fn of_token(token: TokenId) -> Option<Self> {
        Some(match token {
            T_ADD => Self::Arithmetic(Arithmetic::Add),
            T_SUB => Self::Arithmetic(Arithmetic::Subtract),
            T_MUL => Self::Arithmetic(Arithmetic::Multiply),
            T_DIV => Self::Arithmetic(Arithmetic::Divide),
            T_MOD => Self::Arithmetic(Arithmetic::Modulo),
            T_POW => Self::Arithmetic(Arithmetic::Power),
            T_ATAN2 => Self::Arithmetic(Arithmetic::Atan2),
            T_EQLC => Self::Comparison(Comparison::Equal),
            T_NEQ => Self::Comparison(Comparison::NotEqual),
            T_GTR => Self::Comparison(Comparison::Greater),
            T_LSS => Self::Comparison(Comparison::Less),
            T_GTE => Self::Comparison(Comparison::GreaterOrEqual),
            T_LTE => Self::Comparison(Comparison::LessOrEqual),
            T_LAND => Self::Set(SetOperation::And),
            T_LOR => Self::Set(SetOperation::Or),
            T_LUNLESS => Self::Set(SetOperation::Unless),
            _ => return None,
        })
    }

    /// The number, and whether a filter keeps it: arithmetic always does, a comparison yields its left side.
    pub(crate) fn apply(self, left: f64, right: f64) -> (f64, bool) {
        match self {
            Self::Arithmetic(operation) => (operation.apply(left, right), true),
            Self::Comparison(comparison) => (left, comparison.holds(left, right)),
            Self::Set(_) => (left, false),
        }
    }

    /// The number where both sides are scalars: comparisons yield 0 or 1.
    pub(crate) fn number(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Arithmetic(operation) => operation.apply(left, right),
            Self::Comparison(comparison) => f64::from(u8::from(comparison.holds(left, right))),
            Self::Set(_) => f64::NAN,
        }
    }
}

impl Arithmetic {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
            Self::Atan2 => left.atan2(right),
        }
    }
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
    fn holds(self, left: f64, right: f64) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_follow_ieee_754() {
        let number = |token, left, right| Operation::of_token(token).unwrap().number(left, right);
        assert_eq!(number(T_MOD, -7.0, 3.0), -1.0);
        assert_eq!(number(T_MOD, 7.0, f64::INFINITY), 7.0);
        assert!(number(T_MOD, 7.0, 0.0).is_nan());
        assert_eq!(number(T_DIV, 1.0, 0.0), f64::INFINITY);
        assert_eq!(number(T_POW, f64::NAN, 0.0), 1.0);
        assert_eq!(number(T_NEQ, f64::NAN, f64::NAN), 1.0);
        assert_eq!(number(T_EQLC, f64::NAN, f64::NAN), 0.0);
        assert_eq!(Operation::of_token(T_LSS).unwrap().apply(1.0, 2.0), (1.0, true));
    }
}
