//! The standard normal law from a table: the copulas of the scenario family need it by the million.

use std::sync::OnceLock;

use statrs::distribution::{ContinuousCDF, Normal};

/// Beyond it the tails (6e-16) are cut off.
const END: f64 = 8.0;
/// Cells of the table per unit: linear interpolation is then within 5e-7.
const PER_UNIT: usize = 256;

fn table() -> &'static [f64] {
    static TABLE: OnceLock<Vec<f64>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let normal = Normal::standard();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "16 · 256")]
        let cells = (2.0 * END) as usize * PER_UNIT;
        #[expect(clippy::cast_precision_loss, reason = "4096 cells")]
        (0..=cells).map(|k| normal.cdf(k as f64 / PER_UNIT as f64 - END)).collect()
    })
}

/// `Φ(x)`, within 5e-7; 0 and 1 beyond ±8.
#[must_use]
pub fn cdf(x: f64) -> f64 {
    tabulated_cdf()(x)
}

/// [`cdf`] for many values: the table is looked up once.
pub fn tabulated_cdf() -> impl Fn(f64) -> f64 {
    let table = table();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "4096 cells; below 0 and NaN are sorted out, what lies above saturates and is checked"
    )]
    move |x| {
        let at = (x + END) * PER_UNIT as f64;
        if at.is_nan() || at <= 0.0 {
            return 0.0;
        }
        let cell = at as usize;
        match table.get(cell..).and_then(|rest| rest.first_chunk()) {
            Some(&[low, high]) => low + (high - low) * (at - cell as f64),
            None => 1.0,
        }
    }
}

/// The inverse of [`cdf`]; infinite at 0 and 1.
#[must_use]
pub fn quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let table = table();
    let next = table.partition_point(|&value| value < p);
    if next == 0 {
        return -END;
    }
    if next == table.len() {
        return END;
    }
    let (low, high) = (table[next - 1], table[next]);
    #[expect(clippy::cast_precision_loss, reason = "4096 cells")]
    let cell = (next - 1) as f64 + (p - low) / (high - low);
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let x = cell / PER_UNIT as f64;
    x - END
}

/// The density at `x`.
#[must_use]
pub fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_quantiles_and_their_inverses() {
        for (p, x) in [(0.5, 0.0), (0.975, 1.959_963_984_540_054), (0.999, 3.090_232_306_167_813)] {
            assert!((cdf(x) - p).abs() < 1e-6 && (quantile(p) - x).abs() < 1e-3, "{p}");
        }
        for k in 1..1000 {
            let p = f64::from(k) / 1000.0;
            assert!((cdf(quantile(p)) - p).abs() < 1e-12);
        }
        assert_eq!(
            (cdf(-9.0), cdf(9.0), quantile(0.0), quantile(1.0)),
            (0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY)
        );
    }
}
