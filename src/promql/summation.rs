//! Sums that keep what rounding would lose: Kahan's summation with Neumaier's improvement, as Prometheus sums.

/// A running sum and the compensation of its rounding errors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) compensation: f64,
}

impl Sum {
    pub(crate) const fn starting_with(sum: f64) -> Self {
        Self { sum, compensation: 0.0 }
    }

    /// The sum with one term more. At infinity the compensation, which would be NaN, is given up.
    #[must_use]
    pub(crate) fn plus(self, term: f64) -> Self {
        let sum = self.sum + term;
        let compensation = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= term.abs() {
            self.compensation + ((self.sum - sum) + term)
        } else {
            self.compensation + ((term - sum) + self.sum)
        };
        Self { sum, compensation }
    }

    pub(crate) fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

/// The mean: of the sum as long as that does not overflow, then updated term by term.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    count: f64,
    /// The sum; once `incremental`, the mean.
    running: Sum,
    incremental: bool,
}

impl Mean {
    pub(crate) const fn starting_with(value: f64) -> Self {
        Self { count: 1.0, running: Sum::starting_with(value), incremental: false }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let next = self.running.plus(value);
            if !next.sum.is_infinite() {
                self.running = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.running =
                Sum { sum: self.running.sum / before, compensation: self.running.compensation / before };
        }
        let weight = (self.count - 1.0) / self.count;
        let weighted =
            Sum { sum: weight * self.running.sum, compensation: weight * self.running.compensation };
        self.running = weighted.plus(value / self.count);
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.running.total()
        } else {
            self.running.sum / self.count + self.running.compensation / self.count
        }
    }
}

/// The quantile `q` of `values`, interpolated between its neighbours; NaN counts as the lowest value. NaN for none,
/// −Inf and +Inf for a `q` below 0 and above 1.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    #[expect(clippy::cast_precision_loss, reason = "a number of values in memory")]
    let rank = q * (values.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_terms_that_cancel_leave_the_small_ones() {
        let sum = [1.0, 1e100, 1.0, -1e100].iter().fold(Sum::default(), |sum, term| sum.plus(*term));
        assert_eq!(sum.total(), 2.0);
        let sum = [f64::INFINITY, 1.0].iter().fold(Sum::default(), |sum, term| sum.plus(*term));
        assert_eq!(sum.total(), f64::INFINITY);
    }

    #[test]
    fn the_mean_does_not_overflow() {
        let mut mean = Mean::starting_with(f64::MAX);
        mean.add(f64::MAX);
        mean.add(f64::MAX);
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-15);
        let mut mean = Mean::starting_with(1.0);
        mean.add(2.0);
        assert_eq!(mean.value(), 1.5);
    }

    #[test]
    fn quantiles_interpolate_and_nan_is_lowest() {
        assert_eq!(quantile(0.75, &mut [4.0, 0.0, 1.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [f64::NAN, 3.0]), 3.0);
        assert!(quantile(0.0, &mut [3.0, f64::NAN]).is_nan());
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan() && quantile(0.5, &mut []).is_nan());
    }
}
