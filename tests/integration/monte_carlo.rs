//! Latency against simulation: every operator in one tree, and the scenario family at its own correlations.

use emac::algebra::composition::Composition;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::Measurement;
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::operator::{AttemptsFate, Backoff, Operator};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use statrs::distribution::{ContinuousCDF, LogNormal, Normal};

use crate::journey_builder::{
    Case, cond, estimate, leaf, leaves, measured, measured_with_failures, probability, quantile, time,
};

/// What became of a call: when it succeeded or when it was known to fail.
type Outcome = Result<f64, f64>;

/// Runs one journey; `call` draws an outcome of a leaf.
fn run(
    operator: &Operator,
    rng: &mut StdRng,
    call: &mut dyn FnMut(usize, &mut StdRng) -> Outcome,
) -> Outcome {
    let mut each = |all: &[Operator], rng: &mut StdRng| -> Vec<Outcome> {
        all.iter().map(|one| run(one, rng, call)).collect()
    };
    let within = |outcome: Outcome, deadline: f64| match outcome {
        Ok(t) if t <= deadline => Ok(t),
        Ok(_) => Err(deadline),
        Err(t) => Err(t.min(deadline)),
    };
    match operator {
        Operator::Component(id) => call(id.0, rng),
        Operator::Series(all) => {
            let mut sum = 0.0;
            for one in all {
                match run(one, rng, call) {
                    Ok(t) => sum += t,
                    Err(t) => return Err(sum + t),
                }
            }
            Ok(sum)
        }
        Operator::Parallel(all) => {
            let all = each(all, rng);
            let failed = all.iter().filter_map(|o| o.err()).fold(f64::INFINITY, f64::min);
            if failed.is_finite() {
                Err(failed)
            } else {
                Ok(all.iter().filter_map(|o| o.ok()).fold(0.0, f64::max))
            }
        }
        Operator::Race(all) => {
            let all = each(all, rng);
            let won = all.iter().filter_map(|o| o.ok()).fold(f64::INFINITY, f64::min);
            if won.is_finite() {
                Ok(won)
            } else {
                Err(all.iter().filter_map(|o| o.err()).fold(0.0, f64::max))
            }
        }
        Operator::KofN { k, branches } => {
            let all = each(branches, rng);
            let mut good: Vec<f64> = all.iter().filter_map(|o| o.ok()).collect();
            let mut bad: Vec<f64> = all.iter().filter_map(|o| o.err()).collect();
            good.sort_by(f64::total_cmp);
            bad.sort_by(f64::total_cmp);
            if good.len() >= *k { Ok(good[k - 1]) } else { Err(bad[branches.len() - k]) }
        }
        Operator::Cond(branches) => {
            let mut u: f64 = rng.random();
            for branch in branches {
                let emac::journey::operator::BranchProbability::Fixed(p) = branch.probability else {
                    panic!()
                };
                if u < p.get() {
                    return run(&branch.body, rng, call);
                }
                u -= p.get();
            }
            run(&branches[branches.len() - 1].body, rng, call)
        }
        Operator::Timeout { after, body, fallback } => {
            let after = after.get();
            match (within(run(body, rng, call), after), fallback) {
                (Ok(t), _) => Ok(t),
                (Err(_), Some(fallback)) => {
                    run(fallback, rng, call).map(|t| after + t).map_err(|t| after + t)
                }
                (Err(t), None) => Err(t),
            }
        }
        Operator::Fallback { body, fallback } => match run(body, rng, call) {
            Ok(t) => Ok(t),
            Err(known) => run(fallback, rng, call).map(|t| known + t).map_err(|t| known + t),
        },
        Operator::Retry { attempts, per_try_timeout, backoff, body, .. } => {
            let mut sum = 0.0;
            for k in 1..=*attempts {
                let limit = per_try_timeout.map_or(f64::INFINITY, |t| t.get());
                match within(run(body, rng, call), limit) {
                    Ok(t) => return Ok(sum + t),
                    Err(t) => sum += t,
                }
                if k < *attempts {
                    sum += backoff.map_or(0.0, |b| b.after_attempt(k).get());
                }
            }
            Err(sum)
        }
        Operator::Hedge { delay, body, alternate } => {
            let first = run(body, rng, call);
            let second = run(alternate, rng, call).map(|t| t + delay.get()).map_err(|t| t + delay.get());
            match (first, second) {
                (Ok(a), Ok(b)) => Ok(a.min(b)),
                (Ok(a), Err(_)) | (Err(_), Ok(a)) => Ok(a),
                (Err(a), Err(b)) => Err(a.max(b)),
            }
        }
        Operator::Optional { timeout, body } => {
            let (Ok(t) | Err(t)) = run(body, rng, call);
            Ok(t.min(timeout.get()))
        }
        Operator::Repeat { counts, body } => {
            let mut u: f64 = rng.random();
            let mut times = counts[counts.len() - 1].0;
            for (count, p) in counts {
                if u < p.get() {
                    times = *count;
                    break;
                }
                u -= p.get();
            }
            let mut sum = 0.0;
            for _ in 0..times {
                match run(body, rng, call) {
                    Ok(t) => sum += t,
                    Err(t) => return Err(sum + t),
                }
            }
            Ok(sum)
        }
    }
}

/// Availability and the quantiles given success of `runs` simulated journeys.
fn simulate(
    operator: &Operator,
    runs: usize,
    levels: &[f64],
    mut call: impl FnMut(usize, &mut StdRng) -> Outcome,
    mut start: impl FnMut(&mut StdRng),
) -> (f64, Vec<f64>) {
    let mut rng = StdRng::seed_from_u64(7);
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        start(&mut rng);
        times.extend(run(operator, &mut rng, &mut call).ok());
    }
    times.sort_by(f64::total_cmp);
    let at = |q: &f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)];
    (times.len() as f64 / runs as f64, levels.iter().map(at).collect())
}

fn exponential_draw(rng: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random::<f64>()).ln()
}

/// A leaf that succeeds with probability `a` after an exponential time of mean `good`, and else fails after one of mean
/// `bad`.
fn exponential_leaf(a: f64, good: f64, bad: f64) -> Measurement {
    let failures = move |t: f64| -f64::exp_m1(-t / bad);
    measured_with_failures(a, 25.0 * good.max(bad), move |t| -f64::exp_m1(-t / good), Some(&failures))
}

fn retry(attempts: u32, per_try: Option<f64>, backoff: Option<f64>, body: Operator) -> Operator {
    Operator::Retry {
        attempts,
        per_try_timeout: per_try.map(time),
        backoff: backoff.map(|wait| Backoff::constant(time(wait))),
        fate: AttemptsFate::Independent,
        body: Box::new(body),
    }
}

fn boxed(operator: Operator) -> Box<Operator> {
    Box::new(operator)
}

#[test]
fn mixed_trees_agree_with_simulation() {
    let (a, good, bad) = (0.9, 0.1, 0.04);
    let trees: Vec<(&str, Operator)> = vec![
        (
            "deadline over a race, with fallback",
            Operator::Series(vec![
                leaf(0),
                Operator::Timeout {
                    after: time(0.12),
                    body: boxed(Operator::Race(vec![leaf(1), leaf(2)])),
                    fallback: Some(boxed(leaf(3))),
                },
            ]),
        ),
        (
            "deadline over a series, without fallback, inside a fallback",
            Operator::Fallback {
                body: boxed(Operator::Timeout {
                    after: time(0.25),
                    body: boxed(Operator::Series(vec![leaf(0), leaf(1)])),
                    fallback: None,
                }),
                fallback: boxed(leaf(2)),
            },
        ),
        (
            "retries with a deadline and waits",
            retry(3, Some(0.15), Some(0.05), Operator::Series(vec![leaf(0), leaf(1)])),
        ),
        (
            "hedge and quorum",
            Operator::Parallel(vec![
                Operator::Hedge { delay: time(0.15), body: boxed(leaf(0)), alternate: boxed(leaf(1)) },
                Operator::KofN { k: 2, branches: vec![leaf(2), leaf(3), leaf(4)] },
            ]),
        ),
        (
            "best effort, repetition and a branch",
            Operator::Series(vec![
                Operator::Optional {
                    timeout: time(0.2),
                    body: boxed(Operator::Series(vec![leaf(0), leaf(1)])),
                },
                Operator::Repeat {
                    counts: vec![(0, probability(0.25)), (3, probability(0.75))],
                    body: boxed(leaf(2)),
                },
                cond(vec![(0.7, leaf(3)), (0.3, Operator::Series(vec![leaf(4), leaf(5)]))]),
            ]),
        ),
        (
            "failures of a quorum and of a race, retried",
            retry(
                2,
                None,
                None,
                Operator::Series(vec![
                    Operator::KofN { k: 2, branches: vec![leaf(0), leaf(1), leaf(2)] },
                    Operator::Race(vec![leaf(3), leaf(4)]),
                    Operator::Parallel(vec![leaf(5), leaf(6)]),
                ]),
            ),
        ),
    ];
    for (name, operator) in trees {
        let case = Case::new(operator.clone())
            .components(7, &exponential_leaf(a, good, bad), &[])
            .policy(Dependence::Independent, BucketError::Interpolate);
        let composition = case.compose();
        let levels = [0.5, 0.9, 0.99];
        let call = |_: usize, rng: &mut StdRng| {
            if rng.random_bool(a) { Ok(exponential_draw(rng, good)) } else { Err(exponential_draw(rng, bad)) }
        };
        let (availability, quantiles) = simulate(&operator, 200_000, &levels, call, |_| ());
        let composed = composition.availability.estimate.get();
        assert!(
            (composed - availability).abs() < 4e-3,
            "{name}: availability {composed}, simulated {availability}"
        );
        for (q, simulated) in levels.into_iter().zip(quantiles) {
            let composed = estimate(&composition, q);
            assert!(
                (composed / simulated - 1.0).abs() < 0.015,
                "{name}: q{q} {composed}, simulated {simulated}"
            );
        }
    }
}

fn lognormal(sigma: f64) -> Measurement {
    let law = LogNormal::new(0.0, sigma).unwrap();
    measured(1.0, 150.0, move |t| law.cdf(t))
}

/// The p99 of shared fate's family: lower and upper.
fn family_p99(composition: &Composition) -> (f64, f64) {
    let interval = composition.latency_at(quantile(0.99)).unwrap().by_dependence[&Dependence::SharedFate];
    (interval.lower.get(), interval.upper.get())
}

#[test]
fn thirty_lognormal_leaves_of_one_domain_have_the_familys_published_quantiles() {
    for (latency, expected) in [
        (DomainLatency::Correlation(0.5), 204.0),
        (DomainLatency::Correlation(0.8), 267.0),
        (DomainLatency::Shared, 307.0),
    ] {
        let composition = Case::new(Operator::Series(leaves(30)))
            .domain("cluster", latency)
            .components(30, &lognormal(1.0), &[0])
            .policy(Dependence::SharedFate, BucketError::Interpolate)
            .compose();
        let (independent, worst) = family_p99(&composition);
        assert!((independent / 85.0 - 1.0).abs() < 0.01, "{latency:?}: independent {independent}");
        assert!((worst / expected - 1.0).abs() < 0.015, "{latency:?}: {worst} for {expected}");
    }
}

#[test]
fn rarely_slow_leaves_are_worst_at_intermediate_correlation() {
    // 1 s with probability .006, else at once; the edges hug both times.
    let slow = |t: f64| if t >= 1.0 { 1.0 } else { 0.994 };
    let p99 = |latency| {
        let composition = Case::new(Operator::Series(leaves(20)))
            .domain("cluster", latency)
            .components(20, &measured(1.0, 1.0, slow), &[0])
            .policy(Dependence::SharedFate, BucketError::Interpolate)
            .compose();
        family_p99(&composition)
    };
    for (latency, expected) in [
        (DomainLatency::Correlation(0.5), 3.0),
        (DomainLatency::Correlation(0.8), 4.0),
        (DomainLatency::Shared, 4.0),
    ] {
        let worst = p99(latency).1;
        assert!((worst - expected).abs() < 0.15, "{latency:?}: {worst} for {expected}");
    }
    // At common ranks all are slow at once, with probability .006: the p99 is at once.
    assert!(p99(DomainLatency::Correlation(1.0)).0 < 0.1);
}

#[test]
fn the_family_agrees_with_a_gaussian_copula_in_a_mixed_tree() {
    let normal = Normal::standard();
    let (a, good, bad) = (0.95, 0.1, 0.05);
    let operator = Operator::Series(vec![
        Operator::Race(vec![leaf(0), leaf(4)]),
        Operator::Parallel(vec![leaf(1), leaf(5)]),
        Operator::Fallback { body: boxed(leaf(2)), fallback: boxed(leaf(3)) },
    ]);
    for rho in [0.5, 0.8] {
        let mut case = Case::new(operator.clone()).domain("zone", DomainLatency::Correlation(rho));
        for index in 0..6 {
            let domains: &[usize] = if index < 4 { &[0] } else { &[] };
            case = case.component(exponential_leaf(a, good, bad), domains);
        }
        let composition = case.policy(Dependence::SharedFate, BucketError::Interpolate).compose();
        let factor = std::cell::Cell::new(0.0);
        let draw = |rng: &mut StdRng| normal.inverse_cdf(rng.random::<f64>().clamp(1e-15, 1.0 - 1e-15));
        let call = |component: usize, rng: &mut StdRng| {
            let rank = if component < 4 {
                normal.cdf(rho.sqrt() * factor.get() + (1.0 - rho).sqrt() * draw(rng))
            } else {
                rng.random()
            };
            if rank < a {
                Ok(-good * f64::ln_1p(-rank / a))
            } else {
                Err(-bad * (1.0 - ((rank - a) / (1.0 - a)).min(1.0 - 1e-15)).ln())
            }
        };
        let (_, quantiles) = simulate(&operator, 150_000, &[0.99], call, |rng| factor.set(draw(rng)));
        let (independent, worst) = family_p99(&composition);
        let simulated = quantiles[0];
        // The interval holds independence and this correlation: the simulated one is at one of its ends.
        let off = (worst / simulated - 1.0).abs().min((independent / simulated - 1.0).abs());
        assert!(off < 0.02, "ρ {rho}: [{independent}, {worst}], simulated {simulated}");
        assert!(worst > independent * 1.02, "ρ {rho} must matter: [{independent}, {worst}]");
    }
}
