//! Shared fate against Gaussian copulas: in each domain the ranks of all calls have one common normal factor.
//!
//! Availability is integrated over the factors, so that the bounds are held to the truth itself; latency is simulated.

use emac::algebra::compose::Composer;
use emac::journey::domain::DomainLatency;
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::operator::{AttemptsFate, Operator};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};

use crate::journey_builder::{Case, leaf, probability, quantile, time};
use crate::random_tree::{self, Shape};
use crate::simulation::{Behaviour, Family, Truth, exact_availability, play};

const CORRELATIONS: [f64; 5] = [0.0, 0.2, 0.5, 0.8, 1.0];

/// Attempts share the fate of their domain.
pub(crate) fn with_shared_attempts(operator: Operator) -> Operator {
    let one = |body: Box<Operator>| Box::new(with_shared_attempts(*body));
    let each = |all: Vec<Operator>| all.into_iter().map(with_shared_attempts).collect();
    match operator {
        Operator::Retry { attempts, per_try_timeout, backoff, body, .. } => Operator::Retry {
            attempts,
            per_try_timeout,
            backoff,
            fate: AttemptsFate::Shared,
            body: one(body),
        },
        Operator::Series(all) => Operator::Series(each(all)),
        Operator::Parallel(all) => Operator::Parallel(each(all)),
        Operator::Race(all) => Operator::Race(each(all)),
        Operator::KofN { k, branches } => Operator::KofN { k, branches: each(branches) },
        Operator::Cond(mut branches) => {
            branches.iter_mut().for_each(|branch| branch.body = with_shared_attempts(branch.body.clone()));
            Operator::Cond(branches)
        }
        Operator::Timeout { after, body, fallback } => {
            Operator::Timeout { after, body: one(body), fallback: fallback.map(one) }
        }
        Operator::Fallback { body, fallback } => {
            Operator::Fallback { body: one(body), fallback: one(fallback) }
        }
        Operator::Hedge { delay, body, alternate } => {
            Operator::Hedge { delay, body: one(body), alternate: one(alternate) }
        }
        Operator::Optional { timeout, body } => Operator::Optional { timeout, body: one(body) },
        Operator::Repeat { counts, body } => Operator::Repeat { counts, body: one(body) },
        leaf @ Operator::Component(_) => leaf,
    }
}

/// Values of a common factor with their masses: the trapezoidal rule, exact to rounding for smooth functions of a normal
/// variable; at ρ = 1 one value between each two ranks at which a leaf changes.
fn factors(rho: f64, availabilities: &[f64]) -> Vec<(f64, f64)> {
    const STEP: f64 = 0.25;
    let normal = Normal::standard();
    if rho < 1.0 {
        return (-36..=36)
            .map(|k| {
                let z = STEP * f64::from(k);
                (z, STEP * normal.pdf(z))
            })
            .collect();
    }
    let mut ranks = [availabilities, &[0.0, 1.0]].concat();
    ranks.sort_unstable_by(f64::total_cmp);
    ranks.windows(2).map(|pair| (normal.inverse_cdf(0.5 * (pair[0] + pair[1])), pair[1] - pair[0])).collect()
}

/// P(success) of a leaf given its domain's factor.
fn given(availability: f64, rho: f64, z: f64) -> f64 {
    let normal = Normal::standard();
    if rho >= 1.0 {
        return f64::from(u8::from(normal.cdf(z) < availability));
    }
    normal.cdf((normal.inverse_cdf(availability) - rho.sqrt() * z) / (1.0 - rho).sqrt())
}

/// P(success) of the journey, by integration over the factors of the domains, one after the other.
fn truth(
    operator: &Operator,
    components: &mut [Behaviour],
    domains: &[Option<usize>],
    rho: f64,
    domain: usize,
    rng: &mut SmallRng,
) -> f64 {
    let members: Vec<usize> = (0..domains.len()).filter(|&leaf| domains[leaf] == Some(domain)).collect();
    if domains.iter().flatten().all(|&of| of < domain) {
        return exact_availability(operator, components, 0, rng);
    }
    let own: Vec<f64> = members.iter().map(|&leaf| components[leaf].availability).collect();
    let mut sum = 0.0;
    for (z, mass) in factors(rho, &own) {
        for (&leaf, &availability) in members.iter().zip(&own) {
            components[leaf].availability = given(availability, rho, z);
        }
        sum += mass * truth(operator, components, domains, rho, domain + 1, rng);
    }
    for (&leaf, &availability) in members.iter().zip(&own) {
        components[leaf].availability = availability;
    }
    sum
}

#[test]
fn no_gaussian_copula_breaks_the_availability_bounds_of_shared_fate() {
    let mut rng = SmallRng::seed_from_u64(17);
    let mut composer = Composer::new();
    let mut met = 0;
    for number in 0..400 {
        let leaves = 2 + number % 7;
        let operator = with_shared_attempts(random_tree::tree(Shape { leaves, deadlines: false }, &mut rng));
        let mut components: Vec<Behaviour> = (0..leaves)
            .map(|_| Behaviour {
                availability: 1.0 - 10_f64.powf(rng.random_range(-4.0..-0.3)),
                ..random_tree::behaviour(&mut rng)
            })
            .collect();
        // Two domains cost a factor of 73 more.
        let two = number % 16 == 0;
        let domains: Vec<Option<usize>> = (0..leaves)
            .map(|_| match rng.random_range(0..6) {
                0 => None,
                1..3 if two => Some(1),
                _ => Some(0),
            })
            .collect();
        let mut case = Case::new(operator.clone())
            .domain("a", DomainLatency::Independent)
            .domain("b", DomainLatency::Independent);
        for (component, domain) in components.iter().zip(&domains) {
            case = case.figure(component.availability, domain.as_slice());
        }
        let composition = composer.compose(&case.journey, &case.evidence, &[]);
        let bounds = composition.availability_by_dependence[&Dependence::SharedFate];
        for rho in CORRELATIONS {
            let truth = truth(&operator, &mut components, &domains, rho, 0, &mut rng);
            assert!(
                bounds.lower.get() - 1e-9 <= truth && truth <= bounds.upper.get() + 1e-9,
                "{number}, ρ {rho}: {truth} is not in {bounds:?}\n{operator:?}\n{components:?}\n{domains:?}"
            );
            met += usize::from((truth - bounds.lower.get()).abs() < 1e-9);
        }
    }
    // Not by being far away: a Series of independent calls is at the lower bound, a Race of common rank too.
    assert!(met > 100, "lower bounds were met {met} times");
}

/// A component whose ranks are quickly turned into times.
fn quick(rng: &mut SmallRng) -> Behaviour {
    loop {
        let behaviour = random_tree::behaviour(rng);
        if !matches!(behaviour.success, Family::Gamma { .. } | Family::Bimodal { .. }) {
            return behaviour;
        }
    }
}

/// The p99 of the family that consists of independence and one correlation must be that of the simulation, up to 1.5 % and
/// the error of so many journeys. How far it is off, and whether the correlation matters.
fn hold(
    operator: &Operator,
    components: &[Behaviour],
    domains: &[Option<usize>],
    rho: f64,
    journeys: usize,
    seed: u64,
    composer: &mut Composer,
) -> (f64, bool) {
    let normal = Normal::standard();
    let edges: Vec<f64> = (0..350).map(|k| 0.0005 * 1.04_f64.powi(k)).collect();
    let mut case = Case::new(operator.clone())
        .domain("a", DomainLatency::Correlation(rho))
        .policy(Dependence::SharedFate, BucketError::Interpolate);
    for (component, domain) in components.iter().zip(domains) {
        case = case.component(component.expected(&edges), domain.as_slice());
    }
    case.journey.quantiles = vec![quantile(0.99)];
    let composition = composer.compose(&case.journey, &case.evidence, &[]);
    let interval = composition.latency[0].by_dependence[&Dependence::SharedFate];
    let (low, high) = (interval.lower.get(), interval.upper.get());
    let mut coins = SmallRng::seed_from_u64(seed + 1);
    let mut draws = SmallRng::seed_from_u64(seed + 2);
    let score = |rng: &mut SmallRng| normal.inverse_cdf(rng.random_range(1e-15..1.0));
    let truth = Truth::of(journeys, || {
        let factor = score(&mut draws);
        let mut draw = |id: usize| {
            let rank = match domains[id] {
                Some(_) if rho > 0.0 => {
                    normal.cdf(rho.sqrt() * factor + (1.0 - rho).sqrt() * score(&mut draws))
                }
                _ => draws.random(),
            };
            components[id].at_rank(rank.clamp(1e-15, 1.0 - 1e-15))
        };
        play(operator, &mut draw, &mut || coins.random())
    });
    // Three standard errors of the level.
    let error = 3.0 * (0.99 * 0.01 / (truth.availability * journeys as f64)).sqrt();
    let (from, to) = (truth.quantile(0.99 - error) / 1.015, truth.quantile(0.99 + error) * 1.015);
    let within = |t: f64| (from..=to).contains(&t);
    // One end is independence's, the other that of the correlation.
    let independent = composition.latency[0].value.estimate.get();
    let correlated = if independent - low > high - independent { low } else { high };
    assert!(
        within(correlated),
        "ρ {rho}: the p99 of the simulation is {from} to {to}, that of the family {low} to {high}\n\
         {operator:?}\n{components:?}\n{domains:?}"
    );
    ((correlated / truth.quantile(0.99) - 1.0).abs(), high > 1.02 * low)
}

/// Trees of any operators. One domain, since two whose calls are interleaved share their factor in the family: slower than
/// each with its own.
fn hold_p99(trees: usize, journeys: usize, correlations: &[f64], seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut composer = Composer::new();
    let (mut done, mut mattered) = (0, 0);
    let mut off = Vec::new();
    while done < trees {
        let leaves = 2 + done % 7;
        let operator = with_shared_attempts(random_tree::tree(Shape { leaves, deadlines: true }, &mut rng));
        let components: Vec<Behaviour> = (0..leaves).map(|_| quick(&mut rng)).collect();
        let domains: Vec<Option<usize>> = (0..leaves).map(|_| (!rng.random_bool(0.2)).then_some(0)).collect();
        if domains.iter().flatten().count() < 2 {
            continue;
        }
        done += 1;
        for &rho in correlations {
            let (nearest, matters) =
                hold(&operator, &components, &domains, rho, journeys, seed, &mut composer);
            off.push(nearest);
            mattered += usize::from(matters);
        }
    }
    off.sort_unstable_by(f64::total_cmp);
    eprintln!(
        "p99 at its own ρ: median off by {:.2} %, at most {:.2} % (with the simulation's error)",
        100.0 * off[off.len() / 2],
        100.0 * off[off.len() - 1]
    );
    assert!(mattered > 0, "the correlation must matter somewhere");
}

#[test]
fn the_familys_p99_is_that_of_the_copula_at_its_own_correlation() {
    hold_p99(3, 40_000, &[0.5, 0.8], 23);
}

#[test]
fn a_deadline_over_a_component_outside_of_the_domain_keeps_its_own_chance() {
    let lognormal = |median, sigma| Family::Lognormal { median, sigma };
    let behaviour = |availability, success, failing| Behaviour {
        availability,
        success,
        failure: lognormal(failing, 0.5),
    };
    let timed = Operator::Timeout {
        after: time(1.03),
        body: Box::new(leaf(4)),
        fallback: Some(Box::new(Operator::Repeat {
            counts: vec![(1, probability(0.7)), (2, probability(0.3))],
            body: Box::new(leaf(5)),
        })),
    };
    let race = Operator::Race(vec![Operator::Parallel(vec![leaf(0), leaf(1)]), leaf(2)]);
    let operator = Operator::Parallel(vec![Operator::Series(vec![race, leaf(3)]), timed]);
    let components = [
        behaviour(0.9976, lognormal(0.0618, 0.662), 0.031),
        behaviour(0.999, Family::Exponential { mean: 0.0204 }, 0.01),
        behaviour(0.973, Family::BoundedPareto { from: 0.0415, to: 1.66, shape: 1.83 }, 0.041),
        behaviour(0.9997, lognormal(0.205, 0.317), 0.103),
        behaviour(0.9968, lognormal(0.174, 0.487), 0.087),
        behaviour(0.9836, Family::Weibull { scale: 0.0669, shape: 1.3 }, 0.033),
    ];
    let mut domains = [Some(0); 6];
    domains[4] = None;
    hold(&operator, &components, &domains, 0.2, 300_000, 29, &mut Composer::new());
}

#[test]
#[ignore = "long: simulates 40 million journeys"]
fn the_familys_p99_is_that_of_the_copula_in_many_trees_at_every_correlation() {
    hold_p99(28, 300_000, &CORRELATIONS, 29);
}
