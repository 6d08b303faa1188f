//! Functions of each value alone, and the rounding and clamping of values.

/// A function from number to number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MathFunction {
    Abs,
    Ceil,
    Floor,
    Exp,
    Sqrt,
    Ln,
    Log2,
    Log10,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    /// Degrees to radians.
    Rad,
    /// Radians to degrees.
    Deg,
    /// −1, 1, or the value itself for zeros and NaN.
    Sgn,
}

impl MathFunction {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "ceil" => Self::Ceil,
            "floor" => Self::Floor,
            "exp" => Self::Exp,
            "sqrt" => Self::Sqrt,
            "ln" => Self::Ln,
            "log2" => Self::Log2,
            "log10" => Self::Log10,
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "tan" => Self::Tan,
            "asin" => Self::Asin,
            "acos" => Self::Acos,
            "atan" => Self::Atan,
            "sinh" => Self::Sinh,
            "cosh" => Self::Cosh,
            "tanh" => Self::Tanh,
            "asinh" => Self::Asinh,
            "acosh" => Self::Acosh,
            "atanh" => Self::Atanh,
            "rad" => Self::Rad,
            "deg" => Self::Deg,
            "sgn" => Self::Sgn,
            _ => return None,
        })
    }

    pub(crate) fn of(self, value: f64) -> f64 {
        use std::f64::consts::PI;
        match self {
            Self::Abs => value.abs(),
            Self::Ceil => value.ceil(),
            Self::Floor => value.floor(),
            Self::Exp => value.exp(),
            Self::Sqrt => value.sqrt(),
            Self::Ln => value.ln(),
            Self::Log2 => value.log2(),
            Self::Log10 => value.log10(),
            Self::Sin => value.sin(),
            Self::Cos => value.cos(),
            Self::Tan => value.tan(),
            Self::Asin => value.asin(),
            Self::Acos => value.acos(),
            Self::Atan => value.atan(),
            Self::Sinh => value.sinh(),
            Self::Cosh => value.cosh(),
            Self::Tanh => value.tanh(),
            Self::Asinh => value.asinh(),
            Self::Acosh => value.acosh(),
            Self::Atanh => value.atanh(),
            Self::Rad => value * PI / 180.0,
            Self::Deg => value * 180.0 / PI,
            Self::Sgn if value < 0.0 => -1.0,
            Self::Sgn if value > 0.0 => 1.0,
            Self::Sgn => value,
        }
    }
}

/// The multiple of `nearest` that is closest; ties go up.
pub(crate) fn rounded(value: f64, nearest: f64) -> f64 {
    // Dividing by the inverse keeps 0.1 and the like exact where multiplying by them is not.
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// The smaller of two, NaN if either is (IEEE `minimum`, not `minNum`).
pub(crate) fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The greater of two, NaN if either is.
pub(crate) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// A value held within bounds; none where the bounds contradict each other.
pub(crate) fn clamped(value: f64, lowest: f64, highest: f64) -> Option<f64> {
    if highest < lowest { None } else { Some(maximum(lowest, minimum(highest, value))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_up_at_ties_and_keeps_decimals_exact() {
        assert_eq!(rounded(2.5, 1.0), 3.0);
        assert_eq!(rounded(-2.5, 1.0), -2.0);
        assert_eq!(rounded(0.35, 0.1), 0.4);
        assert_eq!(rounded(7.0, 5.0), 5.0);
    }

    #[test]
    fn bounds_that_contradict_each_other_leave_nothing_and_nan_stays() {
        assert_eq!(clamped(3.0, 5.0, -5.0), None);
        assert_eq!(clamped(3.0, 0.0, 2.0), Some(2.0));
        assert!(clamped(3.0, f64::NAN, 2.0).is_some_and(f64::is_nan));
        assert!(minimum(f64::NAN, 1.0).is_nan() && maximum(1.0, f64::NAN).is_nan());
    }
}
