//! One-sided confidence bounds of counts: what a finite sample proves about a rate.
//!
//! A journey's unavailability is, to first order, a weighted sum of the counts of everything that costs availability.
//! [`WeightedCount`] bounds such a sum by the gamma method of Fay & Feuer (*Confidence intervals for directly
//! standardized rates*, Statistics in Medicine 16, 1997): with equal weights it is the exact Poisson limit (Garwood
//! 1936), with unequal ones it holds its level in every published simulation, also where the counts are 0. Normal
//! approximations do not: their width is 0 exactly where no error was seen.

use statrs::function::{beta, erf, gamma};

use crate::unit::Probability;

/// The point below which a standard normal variable falls with probability `confidence`: 1.645 for 0.95.
///
/// ±∞ at the levels 1 and 0.
#[must_use]
pub fn normal_quantile(confidence: Probability) -> f64 {
    let level = confidence.get();
    if level <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if level >= 1.0 {
        return f64::INFINITY;
    }
    -std::f64::consts::SQRT_2 * erf::erfc_inv(2.0 * level)
}

/// A sum `Σ w_k x_k` of Poisson (or multinomial: conservative) counts with known weights.
///
/// Every category that *could* count must be added, also with a count of 0: its weight enters the bound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WeightedCount {
    sum: f64,
    variance: f64,
    largest_weight: f64,
}

impl WeightedCount {
    /// Adds `count` events that weigh `weight` each. Counts may be fractional; weights and counts that are not above
    /// 0 (also NaN) add nothing.
    pub fn add(&mut self, weight: f64, count: f64) {
        if weight > 0.0 {
            self.largest_weight = self.largest_weight.max(weight);
            if count > 0.0 {
                self.sum += weight * count;
                self.variance += weight * weight * count;
            }
        }
    }

    /// `Σ w_k x_k`.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// The upper bound of the expectation of the sum at this one-sided level: the gamma quantile of mean `y + w_M` and
    /// variance `v + w_M²`, where `y = Σ w x`, `v = Σ w² x` and `w_M` is the largest weight. 0 without any weight,
    /// infinite at level 1.
    #[must_use]
    pub fn upper(&self, confidence: Probability) -> f64 {
        if self.largest_weight <= 0.0 {
            return 0.0;
        }
        let mean = self.sum + self.largest_weight;
        let variance = self.variance + self.largest_weight * self.largest_weight;
        gamma_quantile(mean, variance, confidence.get()).max(self.sum)
    }

    /// The lower bound of the expectation of the sum at this one-sided level: the gamma quantile at `1 − confidence` of
    /// mean `y` and variance `v`; 0 where nothing was counted.
    #[must_use]
    pub fn lower(&self, confidence: Probability) -> f64 {
        if self.sum <= 0.0 {
            return 0.0;
        }
        gamma_quantile(self.sum, self.variance, 1.0 - confidence.get()).min(self.sum)
    }
}

/// The quantile of the gamma law with this mean and variance (both above 0).
///
/// Newton steps on the regularised incomplete gamma function from Wilson and Hilferty's approximation, inside a bracket
/// that every step narrows; relative error below 1e-12 for shapes up to 1e6. Larger shapes take the approximation
/// itself, whose relative error there is below 1e-9.
fn gamma_quantile(mean: f64, variance: f64, level: f64) -> f64 {
    /// Above it the incomplete gamma function costs thousands of terms and the approximation is as good.
    const LARGEST_SHAPE: f64 = 1e6;
    const STEPS: usize = 200;
    if level <= 0.0 {
        return 0.0;
    }
    if level >= 1.0 {
        return f64::INFINITY;
    }
    let (shape, scale) = (mean * mean / variance, variance / mean);
    let z = normal_quantile(Probability::saturating(level));
    let third = 1.0 / (9.0 * shape);
    let root = 1.0 - third + z * third.sqrt();
    let mut x = (shape * root * root * root).max(f64::MIN_POSITIVE);
    if shape > LARGEST_SHAPE {
        return x * scale;
    }
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let norm = gamma::ln_gamma(shape);
    for _ in 0..STEPS {
        let excess = gamma::gamma_lr(shape, x) - level;
        if excess > 0.0 {
            high = x
        } else {
            low = x
        }
        let density = ((shape - 1.0) * x.ln() - x - norm).exp();
        let newton = x - excess / density;
        let next = if newton.is_finite() && newton > low && newton < high {
            newton
        } else if high.is_finite() {
            0.5 * (low + high)
        } else {
            2.0 * x
        };
        if (next - x).abs() <= 1e-13 * x {
            return next * scale;
        }
        x = next;
    }
    x * scale
}

/// Beyond so many trials the Poisson limit of the failures stands for the binomial one: it is a little lower.
const MOST_BINOMIAL_TRIALS: f64 = 1e5;
/// Below this share of the trials the two limits differ by less than a twentieth of the interval, and the Poisson one costs
/// a fraction.
const RARE: f64 = 0.05;
/// Steps towards a binomial limit: each at least narrows its bracket, most double the digits.
const BINOMIAL_STEPS: usize = 60;

/// The share at which `successes` or more become as unlikely as `level`: the quantile of a beta law, by Newton steps from
/// Wilson's limit, inside a bracket that every step narrows.
fn binomial_lower(successes: f64, failures: f64, level: f64) -> f64 {
    if failures <= 0.0 {
        return level.powf(successes.recip());
    }
    let (a, b) = (successes, failures + 1.0);
    let trials = successes + failures;
    let z = normal_quantile(Probability::saturating(1.0 - level)).max(0.0);
    let centre = successes + 0.5 * z * z;
    let start = (centre - z * (successes * failures / trials + 0.25 * z * z).sqrt()) / (trials + z * z);
    let norm = beta::ln_beta(a, b);
    let (mut low, mut high) = (0.0, successes / trials);
    let mut p = start.clamp(f64::MIN_POSITIVE, high);
    for _ in 0..BINOMIAL_STEPS {
        let excess = beta::beta_reg(a, b, p) - level;
        if excess > 0.0 {
            high = p;
        } else {
            low = p;
        }
        let density = ((a - 1.0) * p.ln() + (b - 1.0) * (-p).ln_1p() - norm).exp();
        let newton = p - excess / density;
        let next =
            if newton.is_finite() && newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - p).abs() <= 1e-14 * p {
            return next;
        }
        p = next;
    }
    // Not above the limit, whatever is left of the bracket.
    low
}

/// The lower bound of a share at this one-sided level, from `successes` of `trials` (Clopper–Pearson: exact for
/// whole counts). 0 without successes or trials.
#[must_use]
pub fn share_lower(successes: f64, trials: f64, confidence: Probability) -> Probability {
    let failures = (trials - successes).max(0.0);
    if successes.is_nan() || successes <= 0.0 || confidence.get() >= 1.0 {
        return Probability::ZERO;
    }
    let rare = |count: f64| trials > MOST_BINOMIAL_TRIALS || trials >= 1e3 && count <= RARE * trials;
    let one_each = |count: f64| {
        let mut all = WeightedCount::default();
        all.add(1.0 / trials, count);
        all
    };
    let bound = if failures > 0.0 && rare(failures) {
        1.0 - one_each(failures).upper(confidence)
    } else if failures > 0.0 && rare(successes) {
        one_each(successes).lower(confidence)
    } else {
        binomial_lower(successes, failures, 1.0 - confidence.get())
    };
    Probability::saturating(bound.min(successes / trials))
}

/// The upper bound of a share at this one-sided level (Clopper–Pearson): `1 −` [`share_lower`] of the failures.
#[must_use]
pub fn share_upper(successes: f64, trials: f64, confidence: Probability) -> Probability {
    share_lower((trials - successes).max(0.0), trials, confidence).complement()
}

/// The fewest sub-windows, as even ones, from which a design effect is estimated.
const MIN_SUB_WINDOWS: f64 = 8.0;

/// The level of the upper limit that stands for a design effect. With twelve sub-windows the limit is 1.6 times what was
/// measured: of 95 % bounds on shares of .02 to .1 whose effect is 7, 94 to 96 % hold (72 % taken as independent);
/// independent calls pay with a third more sampling error.
const LIMIT: f64 = 0.75;

/// By how much counts that arrive in bursts are worth less than independent ones: the factor, 1 or more, by which the
/// variance of their share exceeds that of as many independent calls.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct DesignEffect(f64);

impl DesignEffect {
    /// Independent calls.
    pub const NONE: Self = Self(1.0);

    /// `None` unless `1 ≤ factor < ∞`.
    #[must_use]
    pub fn new(factor: f64) -> Option<Self> {
        (factor >= 1.0 && factor.is_finite()).then_some(Self(factor))
    }

    /// The factor.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// How many independent calls so many of these are worth.
    #[must_use]
    pub fn effective(self, calls: f64) -> f64 {
        calls / self.0
    }

    /// From sub-windows in the order of their times, with `x_j` events among `n_j` calls. With `p = Σx/Σn` and
    /// `z_j = x_j − p·n_j` it is the sum of the squared successive differences `z_j+1 − z_j` over what independent calls
    /// would give, `p(1−p)·Σ(n_j + n_j+1 − (n_j+1 − n_j)²/Σn)`; the first and the last difference count twice, so that a
    /// burst weighs the same wherever it falls. Successive differences (von Neumann, *Distribution of the ratio of the
    /// mean square successive difference to the variance*, 1941) see what comes at once and pass over what drifts: a
    /// share that doubles evenly over the window says nothing against its mean. What quiet sub-windows hold weighs
    /// little, whatever its share.
    ///
    /// A dozen sub-windows leave the measure itself uncertain, and it is small where by chance few events were seen: the
    /// effect is its upper limit at 75 %, and at least 1.
    ///
    /// `None` where the traffic is spread over less than eight even sub-windows (`1/Σ(n_j/Σn)² < 8`). 1 where no event,
    /// or nothing else, was seen. Sub-windows without calls, or with counts that are none, are passed over.
    #[must_use]
    pub fn of_sub_windows(sub_windows: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let counted: Vec<(f64, f64)> = sub_windows
            .into_iter()
            .filter(|(x, n)| *n > 0.0 && n.is_finite() && (0.0..=*n).contains(x))
            .collect();
        let calls: f64 = counted.iter().map(|(_, n)| n).sum();
        let windows = counted.iter().map(|(_, n)| (n / calls).powi(2)).sum::<f64>().recip();
        // Rounding may leave eight even ones a little short.
        if !windows.is_finite() || windows < MIN_SUB_WINDOWS - 1e-9 {
            return None;
        }
        let p = counted.iter().map(|(x, _)| x).sum::<f64>() / calls;
        if p <= 0.0 || p >= 1.0 {
            return Some(Self::NONE);
        }
        let (mut measured, mut independent) = (0.0, 0.0);
        let ends = [0, counted.len() - 2];
        for (at, pair) in counted.windows(2).enumerate() {
            let [(x, n), (next_x, next_n)] = [pair[0], pair[1]];
            let weight = if ends.contains(&at) { 2.0 } else { 1.0 };
            measured += weight * (next_x - x - p * (next_n - n)).powi(2);
            independent += weight * (n + next_n - (next_n - n).powi(2) / calls);
        }
        // What a sum of squared differences of even sub-windows is worth in degrees of freedom: 4.75 for 8, 7.33 for 12.
        let freedom = 0.645 * windows - 0.41;
        let limit = freedom / gamma_quantile(freedom, 2.0 * freedom, 1.0 - LIMIT);
        Self::new((limit * measured / (independent * p * (1.0 - p))).max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Distribution, Poisson};

    fn p(value: f64) -> Probability {
        Probability::new(value).unwrap()
    }

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (level, z) in
            [(0.5, 0.0), (0.95, 1.644_853_626_951), (0.975, 1.959_963_984_540), (0.05, -1.644_853_626_951)]
        {
            assert!((normal_quantile(p(level)) - z).abs() < 1e-9, "{level}");
        }
        assert_eq!(normal_quantile(Probability::ONE), f64::INFINITY);
    }

    #[test]
    fn equal_weights_give_the_exact_poisson_limits() {
        // Garwood's limits at two-sided 95 %, that is one-sided 97.5 %.
        for (count, lower, upper) in [
            (0.0, 0.0, 3.688_879),
            (1.0, 0.025_318, 5.571_643),
            (5.0, 1.623_486, 11.668_332),
            (10.0, 4.795_389, 18.390_356),
            (100.0, 81.363_991, 121.626_794),
        ] {
            let mut sum = WeightedCount::default();
            sum.add(0.25, count);
            assert!((sum.upper(p(0.975)) - 0.25 * upper).abs() < 1e-6, "{count}: {}", sum.upper(p(0.975)));
            assert!((sum.lower(p(0.975)) - 0.25 * lower).abs() < 1e-6, "{count}: {}", sum.lower(p(0.975)));
        }
    }

    #[test]
    fn no_errors_among_n_prove_an_error_rate_of_three_over_n() {
        let mut sum = WeightedCount::default();
        sum.add(1.0 / 1000.0, 0.0);
        assert!((sum.upper(p(0.95)) - 20f64.ln() / 1000.0).abs() < 1e-12);
        assert!((share_lower(1000.0, 1000.0, p(0.95)).get() - 0.05f64.powf(1e-3)).abs() < 1e-12);
        assert_eq!(share_upper(1000.0, 1000.0, p(0.95)).get(), 1.0);
        assert!((share_lower(1e12, 1e12, p(0.95)).get() - (1.0 - 20f64.ln() * 1e-12)).abs() < 1e-14);
        assert!((share_lower(5e11, 1e12, p(0.95)).get() - 0.5).abs() < 3e-6);
        assert_eq!(share_lower(0.0, 1000.0, p(0.95)).get(), 0.0);
    }

    #[test]
    fn shares_have_the_exact_binomial_limits() {
        // One error in ten calls: the roots of the binomial tails, by bisection.
        let tail = |q: f64| (1.0 - q).powi(10) + 10.0 * q * (1.0 - q).powi(9);
        let (mut low, mut high) = (0.1, 0.9);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if tail(middle) > 0.05 { low = middle } else { high = middle }
        }
        assert!((share_lower(9.0, 10.0, p(0.95)).get() - (1.0 - low)).abs() < 1e-9);
        assert!((share_upper(9.0, 10.0, p(0.95)).get() - 0.95f64.powf(0.1)).abs() < 1e-9);
    }

    #[test]
    fn large_shapes_continue_the_small_ones() {
        for level in [0.05, 0.5, 0.95] {
            let below = gamma_quantile(1e6, 1e6 * (1.0 + 1e-9), level);
            let above = gamma_quantile(1e6, 1e6 * (1.0 - 1e-9), level);
            assert!((below / above - 1.0).abs() < 1e-8, "{level}: {below} {above}");
        }
    }

    /// Weights over three orders of magnitude: the bound covers the expectation at least as often as it says.
    #[test]
    fn the_weighted_bound_covers_at_its_level() {
        let mut rng = SmallRng::seed_from_u64(7);
        for scale in [0.3, 3.0, 30.0] {
            let categories =
                [(1.0, 0.5 * scale), (0.1, 2.0 * scale), (0.01, 10.0 * scale), (0.5, 0.02 * scale)];
            let truth: f64 = categories.iter().map(|(w, rate)| w * rate).sum();
            let (trials, mut upper, mut lower) = (4000, 0, 0);
            for _ in 0..trials {
                let mut sum = WeightedCount::default();
                for (weight, rate) in categories {
                    sum.add(weight, Poisson::new(rate).unwrap().sample(&mut rng));
                }
                upper += usize::from(sum.upper(p(0.95)) >= truth);
                lower += usize::from(sum.lower(p(0.95)) <= truth);
            }
            // Three standard errors of a share of .95 among 4000 are .01.
            assert!(upper >= trials * 94 / 100 && lower >= trials * 94 / 100, "{scale}: {upper} {lower}");
        }
    }

    #[test]
    fn bursts_raise_the_design_effect_and_independent_errors_do_not() {
        let mut rng = SmallRng::seed_from_u64(11);
        let effect = |sub_windows: Vec<(f64, f64)>| DesignEffect::of_sub_windows(sub_windows);
        // Traffic that is even, and that differs by a factor of 200.
        for sizes in [[100, 100], [5, 1000]] {
            let errors = |n: i32| (0..n).filter(|_| rng.random_bool(0.1)).count() as f64;
            let mut errors = errors;
            let independent = (0..4000).map(|j| (errors(sizes[j % 2]), f64::from(sizes[j % 2]))).collect();
            let effect = effect(independent).unwrap().get();
            assert!((1.0..1.15).contains(&effect), "{effect}");
        }
        // All errors of ten sub-windows fall into one: two differences of 100, of eleven (the ends count twice) that are
        // 200·.09 each for independent calls. χ² of 6.04 degrees of freedom is below 3.4863 with probability .25.
        let expected = 6.04 / 3.4863 * 2.0 * 100f64.powi(2) / (11.0 * 200.0 * 0.09);
        let burst = (0..10).map(|j| (if j == 0 { 100.0 } else { 0.0 }, 100.0)).collect();
        let burst = effect(burst).unwrap().get();
        assert!((burst / expected - 1.0).abs() < 1e-3, "{burst} {expected}");
        // The same where it falls at an end, and nearly nothing where the errors only become more frequent.
        let last: Vec<(f64, f64)> = (0..10).map(|j| (if j == 9 { 100.0 } else { 0.0 }, 100.0)).collect();
        assert!((effect(last).unwrap().get() / burst - 1.0).abs() < 1e-9);
        let drift = (0..12).map(|j| (1000.0 + 100.0 * f64::from(j), 1e4)).collect();
        assert!(effect(drift).unwrap().get() < 15.0);
        assert_eq!(effect((0..7).map(|_| (1.0, 10.0)).collect()), None);
        assert_eq!(effect((0..9).map(|_| (0.0, 10.0)).collect()), Some(DesignEffect::NONE));
        // Twelve sub-windows, but nearly all calls in one of them.
        assert_eq!(effect((0..12).map(|j| (1.0, if j == 0 { 1e4 } else { 10.0 })).collect()), None);
        assert_eq!(effect(vec![(f64::NAN, 1.0), (2.0, 1.0), (0.0, 0.0)]), None);
    }
}
