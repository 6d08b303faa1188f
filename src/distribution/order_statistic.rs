//! P(at least k of n succeed): exactly for independent trials (Poisson-binomial), sharply for any joint law (Rüger).

/// The distribution of a count of successes, cut off at `k`: only "at least k" is asked in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// `exactly[j] = P(count = j)` for j < k, and `P(count ≥ k)` at k.
    exactly: Vec<f64>,
}

impl Count {
    /// No trials yet; `k` is the count that will be asked for.
    #[must_use]
    pub fn zero(k: usize) -> Self {
        let mut exactly = vec![0.0; k + 1];
        exactly[0] = 1.0;
        Self { exactly }
    }

    /// Adds one independent trial. O(k).
    pub fn add_trial(&mut self, success: f64) {
        let k = self.exactly.len() - 1;
        if k == 0 {
            return;
        }
        self.exactly[k] += self.exactly[k - 1] * success;
        for j in (1..k).rev() {
            self.exactly[j] = self.exactly[j] * (1.0 - success) + self.exactly[j - 1] * success;
        }
        self.exactly[0] *= 1.0 - success;
    }

    /// Adds an independent group whose count has the tail `at_least[j − 1] = P(count ≥ j)`, not rising in j; a tail
    /// that rises is lowered to its predecessor. O(k · length).
    pub fn add(&mut self, at_least: &[f64]) {
        let k = self.exactly.len() - 1;
        let mut tail = Vec::with_capacity(at_least.len() + 2);
        tail.push(1.0_f64);
        for &next in at_least {
            let previous = tail[tail.len() - 1];
            tail.push(next.clamp(0.0, previous));
        }
        tail.push(0.0);
        let mut sum = vec![0.0; k + 1];
        for (j, &mass) in self.exactly.iter().enumerate() {
            for (i, pair) in tail.windows(2).enumerate() {
                sum[(i + j).min(k)] += mass * (pair[0] - pair[1]);
            }
        }
        self.exactly = sum;
    }

    /// P(count ≥ k).
    #[must_use]
    pub fn at_least(&self) -> f64 {
        self.exactly.last().copied().unwrap_or(1.0).clamp(0.0, 1.0)
    }
}

/// P(at least k independent trials succeed). O(n·k), counting failures instead where that is shorter.
#[must_use]
pub fn at_least(success: impl ExactSizeIterator<Item = f64>, k: usize) -> f64 {
    let n = success.len();
    if k == 0 {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    if k == n {
        return success.product();
    }
    if k == 1 {
        return 1.0 - success.map(|p| 1.0 - p).product::<f64>();
    }
    let failures = n - k + 1;
    let mut count = Count::zero(k.min(failures));
    if failures < k {
        success.for_each(|p| count.add_trial(1.0 - p));
        1.0 - count.at_least()
    } else {
        success.for_each(|p| count.add_trial(p));
        count.at_least()
    }
}

/// For each trial P(exactly `j` of the others succeed), all independent: the derivative of "at least j+1 of all" by the
/// trial's own probability. O(n²).
#[must_use]
pub fn exactly_among_others(success: &[f64], j: usize) -> Vec<f64> {
    let n = success.len();
    let mut all = vec![0.0; n + 1];
    all[0] = 1.0;
    for (trials, &p) in success.iter().enumerate() {
        for count in (0..=trials).rev() {
            all[count + 1] += all[count] * p;
            all[count] *= 1.0 - p;
        }
    }
    success
        .iter()
        .map(|&p| {
            // Removing a trial is a division of polynomials, stable from the side on which the trial is rarer.
            if j >= n {
                0.0
            } else if p < 0.5 {
                let mut without = 0.0;
                for &mass in &all[..=j] {
                    without = (mass - p * without) / (1.0 - p);
                }
                without.clamp(0.0, 1.0)
            } else {
                let mut without = 0.0;
                for &mass in all[j + 1..].iter().rev() {
                    without = (mass - (1.0 - p) * without) / p;
                }
                without.clamp(0.0, 1.0)
            }
        })
        .collect()
}

/// The greatest P(at least k succeed) over all joint laws with these margins (Rüger 1978), sharp:
/// `min(1, min_{0≤m<k} Σ_{i≤n−m} a_(i)/(k−m))`. `rising` is sorted; `1 ≤ k ≤ n`.
#[must_use]
pub fn greatest_at_least(rising: &[f64], k: usize) -> f64 {
    let mut sum: f64 = rising.iter().sum();
    let mut least = 1.0_f64;
    for m in 0..k {
        #[expect(clippy::cast_precision_loss, reason = "bounded by the fan-out")]
        let share = sum / (k - m) as f64;
        least = least.min(share);
        sum -= rising[rising.len() - 1 - m];
    }
    least.max(0.0)
}

/// The least P(at least k succeed) over all joint laws with these margins: `1 − greatest P(≥ n−k+1 fail)`.
#[must_use]
pub fn least_at_least(rising: &[f64], k: usize) -> f64 {
    let failures: Vec<f64> = rising.iter().rev().map(|a| 1.0 - a).collect();
    1.0 - greatest_at_least(&failures, rising.len() - k + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_follow_the_binomial_law() {
        let p = at_least([0.99, 0.99, 0.99].into_iter(), 2);
        assert!((p - 0.999_702).abs() < 1e-12, "{p}");
        let unequal = at_least([0.5, 0.8, 0.9].into_iter(), 2);
        assert!((unequal - (0.5 * 0.8 + 0.5 * 0.9 + 0.8 * 0.9 - 2.0 * 0.5 * 0.8 * 0.9)).abs() < 1e-12);
    }

    #[test]
    fn counting_successes_and_counting_failures_agree() {
        let p = [0.3, 0.9, 0.7, 0.99, 0.2, 0.6];
        for k in 0..=7 {
            let mut count = Count::zero(k);
            p.iter().for_each(|&p| count.add_trial(p));
            assert!((count.at_least() - at_least(p.into_iter(), k)).abs() < 1e-12, "{k}");
        }
    }

    #[test]
    fn the_derivative_by_one_trial_is_what_the_others_leave_open() {
        let p = [0.3, 0.9, 0.7, 1.0, 0.2, 0.0, 0.6];
        for k in 1..=7 {
            for (trial, derivative) in exactly_among_others(&p, k - 1).into_iter().enumerate() {
                let with = |value: f64| at_least((0..7).map(|i| if i == trial { value } else { p[i] }), k);
                assert!((derivative - (with(1.0) - with(0.0))).abs() < 1e-12, "{k} {trial}");
            }
        }
    }

    #[test]
    fn groups_of_one_are_trials() {
        let (mut trials, mut groups) = (Count::zero(2), Count::zero(2));
        for p in [0.3, 0.9, 0.7] {
            trials.add_trial(p);
            groups.add(&[p]);
        }
        assert!((trials.at_least() - groups.at_least()).abs() < 1e-15);
    }

    #[test]
    fn the_sharp_bounds_of_three_equal_margins_are_those_of_the_literature() {
        // Three trials of 0.5: two of them can be made to succeed with probability 3·0.5/2, and to never do so
        // together with probability 1 − min(1, 1.5/2).
        let a = [0.5; 3];
        assert!((greatest_at_least(&a, 2) - 0.75).abs() < 1e-15);
        assert!((least_at_least(&a, 2) - 0.25).abs() < 1e-15);
        assert!((greatest_at_least(&[0.1, 0.2, 0.9], 2) - 0.3).abs() < 1e-15);
        assert!((greatest_at_least(&[0.2, 0.4], 1) - 0.6).abs() < 1e-15);
        assert!((least_at_least(&[0.2, 0.4], 1) - 0.4).abs() < 1e-15);
    }
}
