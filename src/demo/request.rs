//! One request on its way through the shop: a walk along a journey's operator tree, one draw per call.
//!
//! This is the truth that predictions are held against, so it shares nothing with [`crate::algebra`]: no curves, no
//! grids, only calls that start, end and fail. Time counts in seconds from the request's arrival.
//!
//! A call that has started runs to its end and is recorded with its whole duration, also where nobody waits for it
//! any more (the loser of a race, a call beyond its caller's timeout): the shop measures on the server's side. A
//! caller's clock would cut those durations off, and a model fed with cut durations is too fast. What a caller gives
//! up on starts no further calls.

use rand::{Rng, RngExt};
use smallvec::SmallVec;

use super::counters::Counters;
use super::health::Health;
use crate::journey::operator::{Backoff, Branch, BranchProbability, Jitter, Operator};

/// How a call or a subtree of calls ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// When, in seconds from the request's arrival; infinite where nobody waited for it.
    pub at: f64,
    /// Whether it succeeded.
    pub success: bool,
}

impl Outcome {
    const fn success(at: f64) -> Self {
        Self { at, success: true }
    }

    const fn failure(at: f64) -> Self {
        Self { at, success: false }
    }

    /// Not started, since the caller had given up.
    const ABANDONED: Self = Self::failure(f64::INFINITY);
}

/// Which service and which cache a journey's ids stand for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wiring {
    /// For each component of the journey, the index of its service.
    pub services: Vec<usize>,
    /// For each parameter of the journey, the index of its cache.
    pub caches: Vec<usize>,
}

/// A request under way.
pub struct Request<'a, R> {
    health: &'a Health,
    wiring: &'a Wiring,
    counters: &'a mut Counters,
    rng: &'a mut R,
    /// Whether this request meets the current common trouble, if there is one.
    in_trouble: bool,
}

impl<'a, R: Rng> Request<'a, R> {
    /// A request that arrives now.
    pub fn new(health: &'a Health, wiring: &'a Wiring, counters: &'a mut Counters, rng: &'a mut R) -> Self {
        let in_trouble = health.common_trouble().is_some_and(|trouble| rng.random::<f64>() < trouble.rate);
        Self { health, wiring, counters, rng, in_trouble }
    }

    /// Walks `operator` from `start` on; from `cut` on the caller has given up and starts nothing more.
    pub fn walk(&mut self, operator: &Operator, start: f64, cut: f64) -> Outcome {
        if start >= cut {
            return Outcome::ABANDONED;
        }
        match operator {
            Operator::Component(id) => self.call(self.wiring.services[id.0], start),
            Operator::Series(steps) => self.series(steps, start, cut),
            Operator::Parallel(branches) => self.parallel(branches, start, cut),
            Operator::Cond(branches) => match self.choose(branches) {
                Some(body) => self.walk(body, start, cut),
                None => Outcome::failure(start),
            },
            Operator::Race(branches) => self.race(branches, start, cut),
            Operator::KofN { k, branches } => self.k_of_n(*k, branches, start, cut),
            Operator::Timeout { after, body, fallback } => {
                let deadline = start + after.get();
                let first = self.within(body, start, cut, deadline);
                match fallback {
                    _ if first.success => first,
                    Some(fallback) => self.walk(fallback, deadline, cut),
                    None => first,
                }
            }
            Operator::Fallback { body, fallback } => {
                let first = self.walk(body, start, cut);
                if first.success { first } else { self.walk(fallback, first.at, cut) }
            }
            Operator::Retry { attempts, per_try_timeout, backoff, body, fate: _ } => {
                let per_try = per_try_timeout.map_or(f64::INFINITY, |limit| limit.get());
                self.retry(*attempts, per_try, backoff.as_ref(), body, start, cut)
            }
            Operator::Hedge { delay, body, alternate } => {
                let launch = start + delay.get();
                let first = self.walk(body, start, cut);
                if first.success && first.at <= launch {
                    return first;
                }
                let cut = if first.success { cut.min(first.at) } else { cut };
                earliest_success([first, self.walk(alternate, launch, cut)])
            }
            Operator::Optional { timeout, body } => {
                let deadline = start + timeout.get();
                Outcome::success(self.within(body, start, cut, deadline).at)
            }
            Operator::Repeat { counts, body } => {
                let times = self.count(counts);
                let mut now = start;
                for _ in 0..times {
                    let step = self.walk(body, now, cut);
                    if !step.success {
                        return step;
                    }
                    now = step.at;
                }
                Outcome::success(now)
            }
        }
    }

    /// One call of one service.
    fn call(&mut self, service: usize, start: f64) -> Outcome {
        let health = self.health.service(service);
        let (common_failure, common_slowdown) = match self.health.common_trouble() {
            Some(trouble) if self.in_trouble && trouble.concerns(service) => {
                (trouble.fails, trouble.slowdown)
            }
            _ => (false, 1.0),
        };
        let success = !common_failure && self.rng.random::<f64>() >= health.failure_rate;
        let law = if success { &health.latency } else { self.health.failure_latency() };
        let duration = law.draw(self.rng) * health.slowdown * common_slowdown;
        self.counters.record_call(service, self.rng.random(), success, duration);
        Outcome { at: start + duration, success }
    }

    /// `body`, but at `deadline` it counts as failed.
    fn within(&mut self, body: &Operator, start: f64, cut: f64, deadline: f64) -> Outcome {
        let outcome = self.walk(body, start, cut.min(deadline));
        if outcome.at <= deadline { outcome } else { Outcome::failure(deadline) }
    }

    fn series(&mut self, steps: &[Operator], start: f64, cut: f64) -> Outcome {
        let mut now = start;
        for step in steps {
            let outcome = self.walk(step, now, cut);
            if !outcome.success {
                return outcome;
            }
            now = outcome.at;
        }
        Outcome::success(now)
    }

    fn parallel(&mut self, branches: &[Operator], start: f64, cut: f64) -> Outcome {
        let (mut slowest, mut first_failure) = (start, f64::INFINITY);
        let mut failed = false;
        for branch in branches {
            let outcome = self.walk(branch, start, cut.min(first_failure));
            if outcome.success {
                slowest = slowest.max(outcome.at);
            } else {
                failed = true;
                first_failure = first_failure.min(outcome.at);
            }
        }
        if failed { Outcome::failure(first_failure) } else { Outcome::success(slowest) }
    }

    fn race(&mut self, branches: &[Operator], start: f64, cut: f64) -> Outcome {
        let mut outcomes = SmallVec::<[Outcome; 8]>::new();
        let mut first_success = f64::INFINITY;
        for branch in branches {
            let outcome = self.walk(branch, start, cut.min(first_success));
            if outcome.success {
                first_success = first_success.min(outcome.at);
            }
            outcomes.push(outcome);
        }
        earliest_success(outcomes)
    }

    fn k_of_n(&mut self, k: usize, branches: &[Operator], start: f64, cut: f64) -> Outcome {
        let (mut successes, mut failures) = (SmallVec::<[f64; 8]>::new(), SmallVec::<[f64; 8]>::new());
        for branch in branches {
            let outcome = self.walk(branch, start, cut);
            if outcome.success { successes.push(outcome.at) } else { failures.push(outcome.at) }
        }
        let (times, nth, success) = if successes.len() >= k {
            (&mut successes, k, true)
        } else {
            (&mut failures, branches.len() + 1 - k, false)
        };
        times.sort_by(f64::total_cmp);
        let at = nth.checked_sub(1).map_or(start, |index| times[index]);
        Outcome { at, success }
    }

    fn retry(
        &mut self,
        attempts: u32,
        per_try: f64,
        backoff: Option<&Backoff>,
        body: &Operator,
        start: f64,
        cut: f64,
    ) -> Outcome {
        let mut now = start;
        for attempt in 1..=attempts {
            let outcome = self.within(body, now, cut, now + per_try);
            if outcome.success || attempt == attempts {
                return outcome;
            }
            let wait = backoff.map_or(0.0, |backoff| {
                let longest = backoff.after_attempt(attempt).get();
                match backoff.jitter {
                    Jitter::None => longest,
                    Jitter::Full => longest * self.rng.random::<f64>(),
                }
            });
            now = outcome.at + wait;
        }
        Outcome::failure(now)
    }

    /// The branch that this request takes; `None` where the probabilities leave a gap.
    fn choose<'b>(&mut self, branches: &'b [Branch]) -> Option<&'b Operator> {
        let mut rest = self.rng.random::<f64>();
        let mut remainder = None;
        let mut chosen = None;
        let mut cache_read = None;
        for (index, branch) in branches.iter().enumerate() {
            let share = match branch.probability {
                BranchProbability::Fixed(p) => p.get(),
                BranchProbability::Parameter(id) => {
                    let cache = self.wiring.caches[id.0];
                    cache_read = cache_read.or(Some((cache, index)));
                    self.health.hit_ratio(cache)
                }
                BranchProbability::Remainder => {
                    remainder = Some(index);
                    continue;
                }
            };
            if chosen.is_none() && rest < share {
                chosen = Some(index);
            }
            rest -= share;
        }
        let taken = chosen.or(remainder);
        if let Some((cache, hit)) = cache_read {
            self.counters.record_cache_read(cache, taken == Some(hit));
        }
        taken.map(|index| &branches[index].body)
    }

    fn count(&mut self, counts: &[(u32, crate::unit::Probability)]) -> u32 {
        let mut rest = self.rng.random::<f64>();
        for (count, share) in counts {
            if rest < share.get() {
                return *count;
            }
            rest -= share.get();
        }
        counts.last().map_or(0, |(count, _)| *count)
    }
}

/// The first success; where there is none, the last failure.
fn earliest_success(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let (mut success, mut failure) = (f64::INFINITY, 0.0_f64);
    let mut any = false;
    for outcome in outcomes {
        if outcome.success {
            any = true;
            success = success.min(outcome.at);
        } else {
            failure = failure.max(outcome.at);
        }
    }
    if any { Outcome::success(success) } else { Outcome::failure(failure) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;
    use crate::demo::latency_law::LatencyLaw;
    use crate::demo::services::{Cache, Catalog, Service};
    use crate::journey::component::ComponentId;
    use crate::journey::operator::{AttemptsFate, ParameterId};
    use crate::unit::{Probability, Seconds};

    const REQUESTS: usize = 200_000;
    /// Practically Exp(1): success and failure alike.
    const EXP: LatencyLaw = LatencyLaw::Gamma { shape: 1.0, mean: 1.0 };
    const CATALOG: Catalog = Catalog {
        services: &[
            Service { name: "sure", latency: EXP, failure_rate: 0.0 },
            Service { name: "shaky", latency: EXP, failure_rate: 0.1 },
        ],
        caches: &[Cache { name: "cache", parameter: "p", hit_ratio: 0.8 }],
        failure_latency: EXP,
    };

    fn sure() -> Operator {
        Operator::Component(ComponentId(0))
    }

    fn shaky() -> Operator {
        Operator::Component(ComponentId(1))
    }

    fn seconds(value: f64) -> Seconds {
        Seconds::new(value).unwrap()
    }

    /// Availability, the sorted latencies of the successes, and what was counted.
    fn walks(operator: &Operator) -> (f64, Vec<f64>, Counters) {
        let health = Health::good(CATALOG).unwrap();
        let wiring = Wiring { services: vec![0, 1], caches: vec![0] };
        let mut counters = Counters::new(CATALOG, Vec::new());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut latencies = Vec::new();
        for _ in 0..REQUESTS {
            let outcome =
                Request::new(&health, &wiring, &mut counters, &mut rng).walk(operator, 0.0, f64::INFINITY);
            if outcome.success {
                latencies.push(outcome.at);
            }
        }
        latencies.sort_by(f64::total_cmp);
        (latencies.len() as f64 / REQUESTS as f64, latencies, counters)
    }

    /// Holds availability and one quantile of the successes against closed forms, within five standard errors.
    #[track_caller]
    fn expect(operator: &Operator, availability: f64, quantile: f64, latency: f64) {
        let (share, latencies, _) = walks(operator);
        let error = |p: f64, n: usize| 5.0 * (p * (1.0 - p) / n as f64).sqrt() + 1e-12;
        assert!((share - availability).abs() <= error(availability, REQUESTS), "availability {share}");
        let below = latencies.partition_point(|t| *t <= latency) as f64 / latencies.len() as f64;
        assert!((below - quantile).abs() <= error(quantile, latencies.len()), "P(≤ {latency}) = {below}");
    }

    #[test]
    fn five_exponential_calls_one_after_the_other_take_a_gamma_time() {
        expect(&Operator::Series(vec![sure(); 5]), 1.0, 0.99, 11.604625);
    }

    #[test]
    fn a_fan_out_of_ten_waits_for_the_slowest() {
        expect(&Operator::Parallel(vec![sure(); 10]), 1.0, 0.99, 6.903237);
    }

    #[test]
    fn a_fan_out_fails_as_soon_as_one_call_does() {
        let branches = vec![shaky(), shaky()];
        // P(both succeed) and the maximum of two Exp(1).
        expect(&Operator::Parallel(branches), 0.81, 0.99, -(1.0 - 0.99_f64.sqrt()).ln());
    }

    #[test]
    fn a_race_takes_the_first_success_not_the_first_answer() {
        expect(&Operator::Race(vec![shaky(), shaky()]), 0.99, 0.99, 3.087181);
    }

    #[test]
    fn two_of_three_is_an_order_statistic() {
        expect(&Operator::KofN { k: 2, branches: vec![sure(); 3] }, 1.0, 0.99, 2.831861);
        expect(&Operator::KofN { k: 2, branches: vec![shaky(); 3] }, 0.972, 0.99, 3.982931);
    }

    #[test]
    fn a_timeout_without_fallback_fails_at_its_deadline() {
        let within = 1.0 - (-2.0_f64).exp();
        let timeout = Operator::Timeout { after: seconds(2.0), body: Box::new(sure()), fallback: None };
        // Given success, Exp(1) below 2: its median.
        expect(&timeout, within, 0.5, -(1.0 - 0.5 * within).ln());
    }

    #[test]
    fn a_timeouts_fallback_starts_at_the_deadline() {
        let timeout = Operator::Timeout {
            after: seconds(1.0),
            body: Box::new(shaky()),
            fallback: Some(Box::new(shaky())),
        };
        let within = 0.9 * (1.0 - (-1.0_f64).exp());
        let availability = within + (1.0 - within) * 0.9;
        // P(success by 1) is the body's alone.
        expect(&timeout, availability, within / availability, 1.0);
    }

    #[test]
    fn a_fallback_starts_when_the_failure_is_known() {
        let fallback = Operator::Fallback { body: Box::new(shaky()), fallback: Box::new(sure()) };
        // .9 Exp(1) + .1 Gamma(2) at t = 3.
        let (one, two) = (1.0 - (-3.0_f64).exp(), 1.0 - 4.0 * (-3.0_f64).exp());
        expect(&fallback, 1.0, 0.9 * one + 0.1 * two, 3.0);
    }

    #[test]
    fn retries_come_one_after_the_other_and_stop_at_a_success() {
        let retry = |attempts| Operator::Retry {
            attempts,
            per_try_timeout: None,
            backoff: None,
            fate: AttemptsFate::Shared,
            body: Box::new(shaky()),
        };
        let (one, two) = (1.0 - (-3.0_f64).exp(), 1.0 - 4.0 * (-3.0_f64).exp());
        expect(&retry(2), 0.99, (0.9 * one + 0.09 * two) / 0.99, 3.0);
        let (_, _, counters) = walks(&retry(2));
        let per_request = counters.calls() as f64 / REQUESTS as f64;
        assert!((per_request - 1.1).abs() < 0.005, "{per_request}");
    }

    #[test]
    fn a_hedge_starts_its_alternate_only_after_the_delay() {
        let hedge =
            Operator::Hedge { delay: seconds(0.5), body: Box::new(sure()), alternate: Box::new(sure()) };
        // 1 − (1 − F(t))(1 − F(t − d)) at t = 1.5.
        expect(&hedge, 1.0, 1.0 - (-1.5_f64).exp() * (-1.0_f64).exp(), 1.5);
        let (_, _, counters) = walks(&hedge);
        let per_request = counters.calls() as f64 / REQUESTS as f64;
        assert!((per_request - 1.0 - (-0.5_f64).exp()).abs() < 0.01, "{per_request}");
    }

    #[test]
    fn an_optional_call_never_fails_and_never_lasts_beyond_its_timeout() {
        let optional = Operator::Optional { timeout: seconds(2.0), body: Box::new(shaky()) };
        expect(&optional, 1.0, 1.0 - (-1.0_f64).exp(), 1.0);
        expect(&optional, 1.0, 1.0, 2.0);
    }

    #[test]
    fn a_cache_read_takes_the_miss_branch_as_often_as_the_cache_misses() {
        let probability = BranchProbability::Parameter(ParameterId(0));
        let cond = Operator::Cond(vec![
            Branch { probability, body: sure() },
            Branch { probability: BranchProbability::Remainder, body: shaky() },
        ]);
        expect(&cond, 0.98, 0.5, 2.0_f64.ln());
        let half = Probability::new(0.5).unwrap();
        let repeat = Operator::Repeat { counts: vec![(0, half), (1, half)], body: Box::new(shaky()) };
        expect(&repeat, 0.95, (0.5 + 0.45 * (1.0 - (-1.0_f64).exp())) / 0.95, 1.0);
    }

    #[test]
    fn calls_that_nobody_waits_for_are_recorded_whole() {
        let timeout = Operator::Timeout { after: seconds(0.1), body: Box::new(sure()), fallback: None };
        let (_, _, counters) = walks(&timeout);
        let page = counters.exposition();
        let value = |suffix: &str| -> f64 {
            let of = |line: &&str| {
                line.starts_with(&format!("shop_request_duration_seconds_{suffix}"))
                    && line.contains("service=\"sure\"")
                    && line.contains("code=\"200\"")
            };
            page.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
        };
        assert_eq!(value("count"), REQUESTS as f64);
        let mean = value("sum") / value("count");
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}
