//! The independent truth: journeys as sequences of events, drawn from laws of latency that are known exactly.
//!
//! Nothing here uses the algebra. Tests and the study of coverage (`examples/coverage.rs`) share it.

use emac::distribution::histogram::ClassicHistogram;
use emac::journey::evidence::{Counts, Measurement};
use emac::journey::operator::{BranchProbability, Jitter, Operator};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use rand_distr::{Binomial, Distribution};
use statrs::distribution::{ContinuousCDF, Gamma, LogNormal};

/// Prometheus' default edges in seconds.
pub(crate) const DEFAULT_EDGES: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Edges that double eight times per factor of ten or so: 40 buckets from 1 ms to 30 s.
pub(crate) fn fine_edges() -> Vec<f64> {
    (0..=40).map(|k| 0.001 * 30_000_f64.powf(f64::from(k) / 40.0)).collect()
}

/// A law of times in seconds.
#[derive(Debug, Clone)]
pub(crate) enum Family {
    Exponential {
        mean: f64,
    },
    Lognormal {
        median: f64,
        sigma: f64,
    },
    Gamma {
        shape: f64,
        mean: f64,
    },
    Weibull {
        scale: f64,
        shape: f64,
    },
    LogLogistic {
        median: f64,
        shape: f64,
    },
    /// Mostly fast, sometimes slow: two lognormals.
    Bimodal {
        fast: f64,
        slow: f64,
        slow_share: f64,
    },
    Uniform {
        from: f64,
        to: f64,
    },
    /// Pareto between two bounds.
    BoundedPareto {
        from: f64,
        to: f64,
        shape: f64,
    },
}

impl Family {
    /// P(time ≤ t).
    pub(crate) fn cdf(&self, t: f64) -> f64 {
        if t <= 0.0 {
            return 0.0;
        }
        let lognormal = |median: f64, sigma: f64| LogNormal::new(median.ln(), sigma).unwrap().cdf(t);
        match *self {
            Self::Exponential { mean } => -f64::exp_m1(-t / mean),
            Self::Lognormal { median, sigma } => lognormal(median, sigma),
            Self::Gamma { shape, mean } => Gamma::new(shape, shape / mean).unwrap().cdf(t),
            Self::Weibull { scale, shape } => -f64::exp_m1(-(t / scale).powf(shape)),
            Self::LogLogistic { median, shape } => 1.0 / (1.0 + (t / median).powf(-shape)),
            Self::Bimodal { fast, slow, slow_share } => {
                (1.0 - slow_share) * lognormal(fast, 0.3) + slow_share * lognormal(slow, 0.3)
            }
            Self::Uniform { from, to } => ((t - from) / (to - from)).clamp(0.0, 1.0),
            Self::BoundedPareto { from, to, shape } => {
                if t <= from {
                    0.0
                } else {
                    let tail = |t: f64| (from / t).powf(shape);
                    ((1.0 - tail(t)) / (1.0 - tail(to))).min(1.0)
                }
            }
        }
    }

    /// The time at rank `u` in (0, 1).
    pub(crate) fn quantile(&self, u: f64) -> f64 {
        match *self {
            Self::Exponential { mean } => -mean * f64::ln_1p(-u),
            Self::Lognormal { median, sigma } => LogNormal::new(median.ln(), sigma).unwrap().inverse_cdf(u),
            Self::Weibull { scale, shape } => scale * (-f64::ln_1p(-u)).powf(1.0 / shape),
            Self::LogLogistic { median, shape } => median * (u / (1.0 - u)).powf(1.0 / shape),
            Self::Uniform { from, to } => from + u * (to - from),
            Self::BoundedPareto { from, to, shape } => {
                from * (1.0 - u * (1.0 - (from / to).powf(shape))).powf(-1.0 / shape)
            }
            Self::Gamma { .. } | Self::Bimodal { .. } => self.bisected(u),
        }
    }

    fn bisected(&self, u: f64) -> f64 {
        let (mut low, mut high) = (1e-9_f64, 1e6_f64);
        for _ in 0..100 {
            let middle = (low * high).sqrt();
            if self.cdf(middle) < u { low = middle } else { high = middle }
        }
        high
    }

    pub(crate) fn sample(&self, rng: &mut SmallRng) -> f64 {
        match *self {
            Self::Gamma { shape, mean } => rand_distr::Gamma::new(shape, mean / shape).unwrap().sample(rng),
            Self::Bimodal { fast, slow, slow_share } => {
                let median: f64 = if rng.random::<f64>() < slow_share { slow } else { fast };
                rand_distr::LogNormal::new(median.ln(), 0.3).unwrap().sample(rng)
            }
            Self::Lognormal { median, sigma } => {
                rand_distr::LogNormal::new(median.ln(), sigma).unwrap().sample(rng)
            }
            _ => self.quantile(rng.random()),
        }
    }
}

/// How one component behaves.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    pub(crate) availability: f64,
    pub(crate) success: Family,
    pub(crate) failure: Family,
}

/// How a call ends, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    Success(f64),
    Failure(f64),
}

impl Ending {
    pub(crate) fn later(self, by: f64) -> Self {
        match self {
            Self::Success(t) => Self::Success(t + by),
            Self::Failure(t) => Self::Failure(t + by),
        }
    }

    pub(crate) fn time(self) -> f64 {
        match self {
            Self::Success(t) | Self::Failure(t) => t,
        }
    }
}

impl Behaviour {
    pub(crate) fn draw(&self, rng: &mut SmallRng) -> Ending {
        if rng.random::<f64>() < self.availability {
            Ending::Success(self.success.sample(rng))
        } else {
            Ending::Failure(self.failure.sample(rng))
        }
    }

    /// The ending at rank `u`: fast success, slow success, failure.
    pub(crate) fn at_rank(&self, u: f64) -> Ending {
        if u < self.availability {
            Ending::Success(self.success.quantile(u / self.availability))
        } else {
            let rank = (u - self.availability) / (1.0 - self.availability);
            Ending::Failure(self.failure.quantile(rank.clamp(1e-12, 1.0 - 1e-12)))
        }
    }

    /// What `n` calls look like to telemetry: a multinomial sample over these buckets, failures timed or not.
    pub(crate) fn measured(
        &self,
        n: u64,
        edges: &[f64],
        failures_timed: bool,
        rng: &mut SmallRng,
    ) -> Measurement {
        let good = binomial(n, self.availability, rng);
        let histogram = |calls: u64, family: &Family, rng: &mut SmallRng| {
            let (mut left, mut below, mut sum) = (calls, 0.0, 0);
            let mut counts = Vec::with_capacity(edges.len() + 1);
            for &edge in edges {
                let through = family.cdf(edge);
                let share =
                    if below < 1.0 { ((through - below) / (1.0 - below)).clamp(0.0, 1.0) } else { 0.0 };
                let count = binomial(left, share, rng);
                (left, below, sum) = (left - count, through, sum + count);
                counts.push(sum as f64);
            }
            counts.push(calls as f64);
            ClassicHistogram::new(edges.to_vec(), counts).unwrap()
        };
        let latency = histogram(good, &self.success, rng);
        let failures = failures_timed.then(|| histogram(n - good, &self.failure, rng));
        Measurement::Counts(Counts::new(n as f64, good as f64, Some(latency), failures).unwrap())
    }
}

fn binomial(n: u64, p: f64, rng: &mut SmallRng) -> u64 {
    if n == 0 || p <= 0.0 {
        0
    } else if p >= 1.0 {
        n
    } else {
        Binomial::new(n, p).unwrap().sample(rng)
    }
}

/// Plays one journey: `draw` ends a call of a component, `coin` is uniform on [0, 1).
pub(crate) fn play(
    operator: &Operator,
    draw: &mut dyn FnMut(usize) -> Ending,
    coin: &mut dyn FnMut() -> f64,
) -> Ending {
    match operator {
        Operator::Component(id) => draw(id.0),
        Operator::Series(all) => one_after_the_other(all.iter(), draw, coin),
        Operator::Parallel(all) => {
            let n = all.len();
            kth(all.iter().map(|body| play(body, draw, coin)).collect(), n)
        }
        Operator::Race(all) => kth(all.iter().map(|body| play(body, draw, coin)).collect(), 1),
        Operator::KofN { k, branches } => {
            kth(branches.iter().map(|body| play(body, draw, coin)).collect(), *k)
        }
        Operator::Cond(branches) => {
            let fixed = |branch: &emac::journey::operator::Branch| match branch.probability {
                BranchProbability::Fixed(p) => p.get(),
                _ => panic!("the simulation knows fixed probabilities only"),
            };
            let mut left = coin();
            for branch in branches {
                left -= fixed(branch);
                if left < 0.0 {
                    return play(&branch.body, draw, coin);
                }
            }
            play(&branches[branches.len() - 1].body, draw, coin)
        }
        Operator::Timeout { after, body, fallback } => {
            let first = until(after.get(), play(body, draw, coin));
            match (first, fallback) {
                (Ending::Failure(_), Some(fallback)) => play(fallback, draw, coin).later(after.get()),
                _ => first,
            }
        }
        Operator::Fallback { body, fallback } => match play(body, draw, coin) {
            Ending::Failure(t) => play(fallback, draw, coin).later(t),
            success => success,
        },
        Operator::Retry { attempts, per_try_timeout, backoff, body, .. } => {
            let mut start = 0.0;
            for attempt in 1..=*attempts {
                let ending = play(body, draw, coin);
                let ending = per_try_timeout.map_or(ending, |after| until(after.get(), ending));
                if matches!(ending, Ending::Success(_)) || attempt == *attempts {
                    return ending.later(start);
                }
                start += ending.time();
                if let Some(backoff) = backoff {
                    let wait = backoff.after_attempt(attempt).get();
                    start += if backoff.jitter == Jitter::Full { coin() * wait } else { wait };
                }
            }
            unreachable!("there is at least one attempt")
        }
        Operator::Hedge { delay, body, alternate } => {
            let first = play(body, draw, coin);
            kth(vec![first, play(alternate, draw, coin).later(delay.get())], 1)
        }
        Operator::Optional { timeout, body } => {
            Ending::Success(play(body, draw, coin).time().min(timeout.get()))
        }
        Operator::Repeat { counts, body } => {
            let mut left = coin();
            let mut times = 0;
            for &(count, p) in counts {
                times = count;
                left -= p.get();
                if left < 0.0 {
                    break;
                }
            }
            one_after_the_other(std::iter::repeat_n(&**body, times as usize), draw, coin)
        }
    }
}

fn one_after_the_other<'a>(
    calls: impl Iterator<Item = &'a Operator>,
    draw: &mut dyn FnMut(usize) -> Ending,
    coin: &mut dyn FnMut() -> f64,
) -> Ending {
    let mut now = 0.0;
    for call in calls {
        match play(call, draw, coin) {
            Ending::Success(t) => now += t,
            failure => return failure.later(now),
        }
    }
    Ending::Success(now)
}

/// The k-th success, or the failure after which there can be no k successes.
pub(crate) fn kth(endings: Vec<Ending>, k: usize) -> Ending {
    let n = endings.len();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for ending in endings {
        match ending {
            Ending::Success(t) => good.push(t),
            Ending::Failure(t) => bad.push(t),
        }
    }
    good.sort_unstable_by(f64::total_cmp);
    bad.sort_unstable_by(f64::total_cmp);
    if good.len() >= k { Ending::Success(good[k - 1]) } else { Ending::Failure(bad[n - k]) }
}

pub(crate) fn until(deadline: f64, ending: Ending) -> Ending {
    match ending {
        Ending::Success(t) if t <= deadline => ending,
        Ending::Success(_) => Ending::Failure(deadline),
        Ending::Failure(t) => Ending::Failure(t.min(deadline)),
    }
}

/// What many journeys show.
pub(crate) struct Truth {
    pub(crate) availability: f64,
    times: Vec<f64>,
}

impl Truth {
    /// From this many independent journeys whose calls are independent.
    pub(crate) fn independent(
        operator: &Operator,
        components: &[Behaviour],
        journeys: usize,
        rng: &mut SmallRng,
    ) -> Self {
        let mut coins: SmallRng = rand::SeedableRng::seed_from_u64(rng.next_u64());
        Self::of(journeys, || play(operator, &mut |id| components[id].draw(rng), &mut || coins.random()))
    }

    pub(crate) fn of(journeys: usize, mut journey: impl FnMut() -> Ending) -> Self {
        let mut times: Vec<f64> = (0..journeys)
            .filter_map(|_| match journey() {
                Ending::Success(t) => Some(t),
                Ending::Failure(_) => None,
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        Self { availability: times.len() as f64 / journeys as f64, times }
    }

    /// The q-quantile given success.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.times.len() as f64).ceil() as usize;
        self.times.get(rank.max(1) - 1).copied().unwrap_or(f64::INFINITY)
    }
}

/// P(success) when all calls are independent: by the laws of probability, the chances of composite deadlines by so many
/// plays.
pub(crate) fn exact_availability(
    operator: &Operator,
    components: &[Behaviour],
    plays: usize,
    rng: &mut SmallRng,
) -> f64 {
    let mut of = |operator: &Operator| exact_availability(operator, components, plays, rng);
    match operator {
        Operator::Component(id) => components[id.0].availability,
        Operator::Series(all) | Operator::Parallel(all) => all.iter().map(of).product(),
        Operator::Race(all) => 1.0 - all.iter().map(|body| 1.0 - of(body)).product::<f64>(),
        Operator::KofN { k, branches } => {
            let mut count = vec![1.0];
            for body in branches {
                let a = of(body);
                let mut next = vec![0.0; count.len() + 1];
                for (successes, p) in count.iter().enumerate() {
                    next[successes] += p * (1.0 - a);
                    next[successes + 1] += p * a;
                }
                count = next;
            }
            count[*k..].iter().sum()
        }
        Operator::Cond(branches) => branches
            .iter()
            .map(|branch| match branch.probability {
                BranchProbability::Fixed(p) => p.get() * of(&branch.body),
                _ => panic!("the simulation knows fixed probabilities only"),
            })
            .sum(),
        Operator::Timeout { after, body, fallback } => {
            let rest = fallback.as_ref().map_or(0.0, |fallback| of(fallback));
            let q = by_deadline(body, after.get(), components, plays, rng);
            q + (1.0 - q) * rest
        }
        Operator::Fallback { body, fallback } | Operator::Hedge { body, alternate: fallback, .. } => {
            let (a, b) = (of(body), of(fallback));
            1.0 - (1.0 - a) * (1.0 - b)
        }
        Operator::Retry { attempts, per_try_timeout, body, .. } => {
            let a = match per_try_timeout {
                Some(after) => by_deadline(body, after.get(), components, plays, rng),
                None => of(body),
            };
            1.0 - (1.0 - a).powi(*attempts as i32)
        }
        Operator::Optional { .. } => 1.0,
        Operator::Repeat { counts, body } => {
            let a = of(body);
            counts.iter().map(|(count, p)| p.get() * a.powi(*count as i32)).sum()
        }
    }
}

fn by_deadline(
    body: &Operator,
    after: f64,
    components: &[Behaviour],
    plays: usize,
    rng: &mut SmallRng,
) -> f64 {
    if let Operator::Component(id) = body {
        return components[id.0].availability * components[id.0].success.cdf(after);
    }
    let mut coins: SmallRng = rand::SeedableRng::seed_from_u64(rng.next_u64());
    let on_time = (0..plays).filter(|_| {
        let ending = play(body, &mut |id| components[id].draw(rng), &mut || coins.random());
        matches!(ending, Ending::Success(t) if t <= after)
    });
    on_time.count() as f64 / plays as f64
}

impl Behaviour {
    /// What telemetry would show without sampling error: expected counts, failures timed.
    pub(crate) fn expected(&self, edges: &[f64]) -> Measurement {
        let n = 1e12;
        let histogram = |calls: f64, family: &Family| {
            let counts = edges.iter().map(|&edge| calls * family.cdf(edge)).chain([calls]).collect();
            ClassicHistogram::new(edges.to_vec(), counts).unwrap()
        };
        let good = n * self.availability;
        let counts = Counts::new(
            n,
            good,
            Some(histogram(good, &self.success)),
            Some(histogram(n - good, &self.failure)),
        );
        Measurement::Counts(counts.unwrap())
    }
}
