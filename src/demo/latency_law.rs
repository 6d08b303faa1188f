//! Latency laws of the shop's services: families that differ, so that no one shape is taken for granted.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp, Gamma, LogNormal, Weibull};

/// A law as the catalog declares it. All times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatencyLaw {
    /// Many small delays multiplied: `median · e^(σZ)`.
    LogNormal {
        /// Half of all calls are faster.
        median: f64,
        /// The spread of the logarithm.
        sigma: f64,
    },
    /// Several stages one after the other.
    Gamma {
        /// How many stages.
        shape: f64,
        /// Of all of them together.
        mean: f64,
    },
    /// Ageing (`shape` above 1) or a stretched tail (below 1).
    Weibull {
        /// See above.
        shape: f64,
        /// 63 % of all calls are faster.
        scale: f64,
    },
    /// A constant floor and a memoryless rest.
    ShiftedExponential {
        /// Nothing is faster.
        floor: f64,
        /// The mean of what comes on top.
        mean: f64,
    },
    /// A hit or a miss: two lognormals of the same spread.
    Bimodal {
        /// The median of a hit.
        fast: f64,
        /// The median of a miss.
        slow: f64,
        /// The share of misses.
        slow_share: f64,
        /// The spread of either.
        sigma: f64,
    },
    /// A power law between two bounds: heavy-tailed, yet nothing takes longer than `highest`.
    BoundedPareto {
        /// Nothing is faster.
        lowest: f64,
        /// Nothing is slower.
        highest: f64,
        /// The smaller, the heavier.
        shape: f64,
    },
}

/// A law whose parameters do not describe a distribution.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{law:?} is not a latency law (allowed: finite parameters above 0, shares up to 1, lowest below highest)"
)]
pub struct LawError {
    /// What was given.
    pub law: LatencyLaw,
}

impl LatencyLaw {
    /// Checks the parameters and prepares for drawing.
    ///
    /// # Errors
    /// [`LawError`] where they do not describe a distribution.
    pub fn sampler(self) -> Result<LatencySampler, LawError> {
        let fault = LawError { law: self };
        let positive = |all: &[f64]| {
            if all.iter().all(|x| x.is_finite() && *x > 0.0) { Ok(()) } else { Err(fault) }
        };
        let log_normal = |median: f64, sigma| LogNormal::new(median.ln(), sigma).map_err(|_| fault);
        match self {
            Self::LogNormal { median, sigma } => {
                positive(&[median, sigma])?;
                Ok(LatencySampler::LogNormal(log_normal(median, sigma)?))
            }
            Self::Gamma { shape, mean } => {
                positive(&[shape, mean])?;
                Ok(LatencySampler::Gamma(Gamma::new(shape, mean / shape).map_err(|_| fault)?))
            }
            Self::Weibull { shape, scale } => {
                positive(&[shape, scale])?;
                Ok(LatencySampler::Weibull(Weibull::new(scale, shape).map_err(|_| fault)?))
            }
            Self::ShiftedExponential { floor, mean } => {
                positive(&[floor, mean])?;
                Ok(LatencySampler::ShiftedExponential {
                    floor,
                    rest: Exp::new(1.0 / mean).map_err(|_| fault)?,
                })
            }
            Self::Bimodal { fast, slow, slow_share, sigma } => {
                positive(&[fast, slow, slow_share, sigma])?;
                if slow_share > 1.0 {
                    return Err(fault);
                }
                Ok(LatencySampler::Bimodal {
                    fast: log_normal(fast, sigma)?,
                    slow: log_normal(slow, sigma)?,
                    slow_share,
                })
            }
            Self::BoundedPareto { lowest, highest, shape } => {
                positive(&[lowest, highest, shape])?;
                if lowest >= highest {
                    return Err(fault);
                }
                Ok(LatencySampler::BoundedPareto { lowest, cut: 1.0 - (lowest / highest).powf(shape), shape })
            }
        }
    }
}

/// A law that is ready to be drawn from.
#[derive(Debug, Clone, Copy)]
pub enum LatencySampler {
    /// See [`LatencyLaw::LogNormal`].
    LogNormal(LogNormal<f64>),
    /// See [`LatencyLaw::Gamma`].
    Gamma(Gamma<f64>),
    /// See [`LatencyLaw::Weibull`].
    Weibull(Weibull<f64>),
    /// See [`LatencyLaw::ShiftedExponential`].
    ShiftedExponential {
        /// The constant.
        floor: f64,
        /// What comes on top.
        rest: Exp<f64>,
    },
    /// See [`LatencyLaw::Bimodal`].
    Bimodal {
        /// A hit.
        fast: LogNormal<f64>,
        /// A miss.
        slow: LogNormal<f64>,
        /// How often.
        slow_share: f64,
    },
    /// See [`LatencyLaw::BoundedPareto`].
    BoundedPareto {
        /// The lower bound.
        lowest: f64,
        /// P(an unbounded Pareto stays below the upper bound).
        cut: f64,
        /// The exponent.
        shape: f64,
    },
}

impl LatencySampler {
    /// Draws one latency in seconds.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        match self {
            Self::LogNormal(law) => law.sample(rng),
            Self::Gamma(law) => law.sample(rng),
            Self::Weibull(law) => law.sample(rng),
            Self::ShiftedExponential { floor, rest } => floor + rest.sample(rng),
            Self::Bimodal { fast, slow, slow_share } => {
                let law = if rng.random::<f64>() < *slow_share { slow } else { fast };
                law.sample(rng)
            }
            // The inverse of F(x) = (1 − (lowest/x)^shape) / cut.
            Self::BoundedPareto { lowest, cut, shape } => {
                lowest * (1.0 - cut * rng.random::<f64>()).powf(-1.0 / shape)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;
    use statrs::distribution::{
        ContinuousCDF, Gamma as GammaCdf, LogNormal as LogNormalCdf, Weibull as WeibullCdf,
    };

    use super::*;

    /// P(faster than `t`) in closed form.
    fn cdf(law: LatencyLaw, t: f64) -> f64 {
        let log_normal = |median: f64, sigma| LogNormalCdf::new(median.ln(), sigma).unwrap().cdf(t);
        match law {
            LatencyLaw::LogNormal { median, sigma } => log_normal(median, sigma),
            LatencyLaw::Gamma { shape, mean } => GammaCdf::new(shape, shape / mean).unwrap().cdf(t),
            LatencyLaw::Weibull { shape, scale } => WeibullCdf::new(shape, scale).unwrap().cdf(t),
            LatencyLaw::ShiftedExponential { floor, mean } => 1.0 - (-(t - floor).max(0.0) / mean).exp(),
            LatencyLaw::Bimodal { fast, slow, slow_share, sigma } => {
                (1.0 - slow_share) * log_normal(fast, sigma) + slow_share * log_normal(slow, sigma)
            }
            LatencyLaw::BoundedPareto { lowest, highest, shape } => {
                let unbounded = |x: f64| 1.0 - (lowest / x).powf(shape);
                unbounded(t.clamp(lowest, highest)) / unbounded(highest)
            }
        }
    }

    #[test]
    fn every_family_is_drawn_as_its_closed_form_says() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for law in [
            LatencyLaw::LogNormal { median: 0.02, sigma: 0.5 },
            LatencyLaw::Gamma { shape: 2.5, mean: 0.03 },
            LatencyLaw::Gamma { shape: 0.5, mean: 0.03 },
            LatencyLaw::Weibull { shape: 1.5, scale: 0.04 },
            LatencyLaw::ShiftedExponential { floor: 0.005, mean: 0.01 },
            LatencyLaw::Bimodal { fast: 0.002, slow: 0.05, slow_share: 0.1, sigma: 0.3 },
            LatencyLaw::BoundedPareto { lowest: 0.01, highest: 1.0, shape: 1.3 },
        ] {
            let sampler = law.sampler().unwrap();
            let mut draws: Vec<f64> = (0..100_000).map(|_| sampler.draw(&mut rng)).collect();
            draws.sort_by(f64::total_cmp);
            let n = draws.len() as f64;
            let distance = draws
                .iter()
                .enumerate()
                .map(|(i, &t)| {
                    (cdf(law, t) - i as f64 / n).abs().max(((i + 1) as f64 / n - cdf(law, t)).abs())
                })
                .fold(0.0, f64::max);
            // Kolmogorov–Smirnov: beyond 1.95/√n with probability 1e-3.
            assert!(distance < 1.95 / n.sqrt(), "{law:?}: {distance}");
        }
    }

    #[test]
    fn parameters_that_describe_no_law_are_refused() {
        for law in [
            LatencyLaw::LogNormal { median: 0.0, sigma: 0.5 },
            LatencyLaw::Gamma { shape: f64::NAN, mean: 1.0 },
            LatencyLaw::Bimodal { fast: 0.1, slow: 0.2, slow_share: 1.1, sigma: 0.1 },
            LatencyLaw::BoundedPareto { lowest: 1.0, highest: 1.0, shape: 1.0 },
        ] {
            assert!(law.sampler().is_err(), "{law:?}");
        }
    }
}
