//! Properties of compositions of random journeys: order, monotonicity, symmetry, and bounds on work and stack.

use emac::algebra::compose::Composer;
use emac::algebra::composition::{Composition, Side};
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{ComponentEvidence, Counts, Evidence, Measurement, Reason};
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::operator::{
    AttemptsFate, Backoff, Branch, BranchProbability, Jitter, Operator, ParameterId,
};
use emac::journey::{Journey, Parameter};
use emac::unit::Seconds;
use proptest::prelude::*;

use crate::journey_builder::{
    Case, cond, estimate, exponential, leaf, leaves, measured_with_failures, probability, time,
};

const COMPONENTS: usize = 6;

fn operator() -> impl Strategy<Value = Operator> {
    let base = (0..COMPONENTS).prop_map(leaf);
    base.prop_recursive(3, 12, 3, |inner| {
        let pair = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        let several = || prop::collection::vec(inner.clone(), 1..4);
        let t = || (0.005..2.0_f64).prop_map(time);
        prop_oneof![
            several().prop_map(Operator::Series),
            several().prop_map(Operator::Parallel),
            several().prop_map(Operator::Race),
            (several(), 0..3_usize)
                .prop_map(|(branches, k)| Operator::KofN { k: 1 + k % branches.len(), branches }),
            (inner.clone(), inner.clone(), 0.0..1.0_f64)
                .prop_map(|(a, b, p)| cond(vec![(p, a), (1.0 - p, b)])),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Operator::Cond(vec![
                Branch { probability: BranchProbability::Parameter(ParameterId(0)), body: a },
                Branch { probability: BranchProbability::Remainder, body: b },
            ])),
            (pair(), t(), any::<bool>()).prop_map(|((body, fallback), after, has)| Operator::Timeout {
                after,
                body,
                fallback: has.then_some(fallback),
            }),
            pair().prop_map(|(body, fallback)| Operator::Fallback { body, fallback }),
            (pair(), t()).prop_map(|((body, alternate), delay)| Operator::Hedge { delay, body, alternate }),
            (inner.clone(), 1..4_u32, prop::option::of(t()), any::<bool>(), any::<bool>()).prop_map(
                |(body, attempts, per_try_timeout, shared, waits)| Operator::Retry {
                    attempts,
                    per_try_timeout,
                    backoff: waits.then(|| Backoff {
                        base: time(0.02),
                        factor: 2.0,
                        max: time(1.0),
                        jitter: if shared { Jitter::Full } else { Jitter::None },
                    }),
                    fate: if shared { AttemptsFate::Shared } else { AttemptsFate::Independent },
                    body: Box::new(body),
                }
            ),
            (inner.clone(), t())
                .prop_map(|(body, timeout)| Operator::Optional { timeout, body: Box::new(body) }),
            (inner.clone(), 0..4_u32).prop_map(|(body, n)| Operator::Repeat {
                counts: vec![(n, probability(0.4)), (n + 1, probability(0.6))],
                body: Box::new(body),
            }),
        ]
    })
}

fn histogram() -> impl Strategy<Value = ClassicHistogram> {
    prop::collection::vec(0..1000_u32, 6).prop_map(|masses| {
        let mut sum = 0.0;
        let mut counts: Vec<f64> = masses
            .iter()
            .map(|&mass| {
                sum += f64::from(mass.saturating_sub(300));
                sum
            })
            .collect();
        counts.push(sum + f64::from(masses[0] % 3));
        ClassicHistogram::new(vec![0.005, 0.02, 0.1, 0.4, 1.0, 3.0], counts).unwrap()
    })
}

fn measurement() -> impl Strategy<Value = Measurement> {
    prop_oneof![
        1 => Just(Measurement::Vacuous),
        1 => (0.0..=1.0_f64).prop_map(|a| Measurement::Figure(probability(a))),
        8 => (0.5..=1.0_f64, histogram(), prop::option::of(histogram())).prop_map(|(a, good, bad)| {
            Measurement::Counts(Counts::new(1000.0, 1000.0 * a, Some(good), bad).unwrap())
        }),
    ]
}

fn journey() -> impl Strategy<Value = Case> {
    (
        operator(),
        prop::collection::vec((measurement(), prop::sample::subsequence(vec![0, 1], 0..=2)), COMPONENTS),
        prop::option::of(0.0..=1.0_f64),
        0..5_usize,
        any::<bool>(),
    )
        .prop_map(|(operator, components, parameter, policy, bound)| {
            let dependence = [Dependence::REPORTED.as_slice(), &[Dependence::PaperEq1]].concat()[policy];
            let buckets = if bound { BucketError::Bound } else { BucketError::Interpolate };
            let mut case = Case::new(operator)
                .domain("zone", DomainLatency::Shared)
                .domain("rack", DomainLatency::Correlation(0.5))
                .policy(dependence, buckets);
            for (measurement, domains) in components {
                case = case.component(measurement, &domains);
            }
            case.journey.parameters.push(Parameter { name: "p".to_owned(), value: None, promql: None });
            case.journey.latency_buckets = vec![time(0.1), time(1.0)];
            case.evidence.parameters.push(parameter);
            case
        })
}

fn in_order(composition: &Composition) -> Result<(), TestCaseError> {
    let a = composition.availability;
    prop_assert!(a.pessimistic <= a.estimate && a.estimate <= a.optimistic, "{a:?}");
    for (dependence, interval) in &composition.availability_by_dependence {
        prop_assert!(
            interval.lower <= a.estimate && a.estimate <= interval.upper,
            "{dependence:?} {interval:?} {a:?}"
        );
    }
    let mut before = [Seconds::ZERO; 3];
    for latency in &composition.latency {
        let v = latency.value;
        prop_assert!(v.optimistic <= v.estimate && v.estimate <= v.pessimistic, "{latency:?}");
        for interval in latency.by_dependence.values() {
            prop_assert!(interval.lower <= v.estimate && v.estimate <= interval.upper, "{latency:?}");
        }
        for (side, before) in Side::ALL.into_iter().zip(&mut before) {
            prop_assert!(*before <= *v.side(side), "quantiles fall: {latency:?}");
            *before = *v.side(side);
        }
    }
    for t in [0.0, 0.003, 0.05, 0.1, 0.33, 1.0, 2.0, 7.0, 1e3, 1e9] {
        let slower = |side| composition.slower_than(side, time(t)).get();
        let (worst, middle, best) =
            (slower(Side::Pessimistic), slower(Side::Estimate), slower(Side::Optimistic));
        prop_assert!(worst >= middle - 1e-9 && middle >= best - 1e-9, "at {t}: {worst} {middle} {best}");
    }
    for side in Side::ALL {
        let curve = composition.curves.side(side);
        prop_assert!(curve.times.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(curve.within.windows(2).all(|pair| pair[0] <= pair[1]));
        prop_assert!(curve.within.iter().all(|&s| (0.0..=curve.ever.get() + 1e-12).contains(&s)));
        for latency in &composition.latency {
            let t = *latency.value.side(side);
            if t.is_finite() && side == Side::Pessimistic {
                let reached = curve.at(t).get();
                let wanted = latency.quantile.get() * curve.ever.get();
                prop_assert!(reached >= wanted - 1e-6, "{side:?} {latency:?}: {reached} of {wanted}");
            }
        }
    }
    let latency_shares: f64 = composition.components.iter().map(|c| c.latency_share).sum();
    prop_assert!(latency_shares <= 1.0 + 1e-9);
    for component in &composition.components {
        prop_assert!((0.0..=1.0).contains(&component.budget_share) && component.latency_share >= 0.0);
        prop_assert!(component.sensitivity.is_finite() && component.sensitivity >= 0.0);
    }
    for domain in &composition.domains {
        prop_assert!(
            (0.0..=1.0).contains(&domain.budget_share) && domain.sensitivity >= -1e-12,
            "{domain:?}"
        );
    }
    Ok(())
}

/// The same shares, each of so many calls that their sampling error vanishes.
fn of_many_calls(evidence: &Evidence) -> Evidence {
    const TIMES: f64 = 1e12;
    let histogram = |histogram: &ClassicHistogram| {
        let counts = histogram.counts().iter().map(|count| count * TIMES).collect();
        ClassicHistogram::new(histogram.edges().to_vec(), counts).unwrap()
    };
    let mut evidence = evidence.clone();
    for component in &mut evidence.components {
        if let Measurement::Counts(counts) = &component.measurement {
            let (good, total) = (counts.good() * TIMES, counts.total() * TIMES);
            let (latency, failures) =
                (counts.latency().map(histogram), counts.failure_latency().map(histogram));
            component.measurement = Measurement::Counts(Counts::new(total, good, latency, failures).unwrap());
        }
    }
    evidence
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_interval_is_inverted_and_nothing_is_nan(case in journey()) {
        case.journey.check().unwrap();
        let composition = Composer::new().compose(&case.journey, &case.evidence, &[]);
        in_order(&composition)?;
    }

    #[test]
    fn losing_a_components_evidence_never_narrows_a_bound(case in journey(), lost in 0..COMPONENTS) {
        // Of so many calls that no sampling error is left: that error is a linear law's, which may reach beyond the minimum
        // or maximum that another component sets.
        let evidence = of_many_calls(&case.evidence);
        let mut blind = evidence.clone();
        blind.components[lost] = ComponentEvidence::vacuous(Reason::Absent);
        let mut composer = Composer::new();
        let (with, without) =
            (composer.compose(&case.journey, &evidence, &[]), composer.compose(&case.journey, &blind, &[]));
        // A vacuous estimate may widen its own bounds, never the other way round.
        prop_assert!(without.availability.pessimistic.get() <= with.availability.pessimistic.get() + 1e-6);
        prop_assert!(without.availability.optimistic.get() >= with.availability.optimistic.get() - 1e-6);
    }
}

#[test]
fn scaling_time_scales_quantiles() {
    let at = |scale: f64| {
        let operator = Operator::Series(vec![
            leaf(0),
            Operator::Timeout {
                after: time(2.0 * scale),
                body: Box::new(Operator::Race(vec![leaf(1), leaf(2)])),
                fallback: Some(Box::new(leaf(3))),
            },
        ]);
        Case::new(operator).components(4, &exponential(0.9, 1.0 / scale), &[]).compose()
    };
    let (one, many) = (at(1.0), at(1000.0));
    for q in [0.5, 0.9, 0.99] {
        let ratio = estimate(&many, q) / estimate(&one, q);
        assert!((ratio / 1000.0 - 1.0).abs() < 1e-6, "{q}: {ratio}");
    }
}

/// Successes and failures exchanged in every leaf.
fn swapped(availability: f64) -> (Measurement, Measurement) {
    let good = |t: f64| -f64::exp_m1(-t);
    let bad = |t: f64| -f64::exp_m1(-3.0 * t);
    (
        measured_with_failures(availability, 20.0, good, Some(&bad)),
        measured_with_failures(1.0 - availability, 20.0, bad, Some(&good)),
    )
}

#[test]
fn exchanging_success_and_failure_exchanges_dual_operators() {
    // What a Fallback catches is what its dual lets through: a Fallback of everything that fails, tried first by the
    // operator and then by a call that always succeeds at once, takes as long as the operator's failures do.
    let (normal, dual) = swapped(0.7);
    let instant = || measured_with_failures(1.0, 1e-6, |_| 1.0, None);
    let pairs: Vec<(Operator, Operator)> = vec![
        (Operator::Parallel(leaves(3)), Operator::Race(leaves(3))),
        (Operator::KofN { k: 1, branches: leaves(3) }, Operator::KofN { k: 3, branches: leaves(3) }),
        (
            Operator::Series(leaves(2)),
            Operator::Fallback { body: Box::new(leaf(0)), fallback: Box::new(leaf(1)) },
        ),
    ];
    for (one, other) in pairs {
        let direct = Case::new(other.clone()).components(3, &dual, &[]).compose();
        // Failures of `one` over normal leaves, made successes: Optional hides nothing but lets both through; so the
        // failures alone are the difference of the two.
        let both = Case::new(Operator::Fallback { body: Box::new(one), fallback: Box::new(leaf(3)) })
            .components(3, &normal, &[])
            .component(instant(), &[])
            .compose();
        let failing = 1.0 - direct.availability.estimate.get();
        assert!((both.availability.estimate.get() - 1.0).abs() < 1e-9);
        // P(done by t) = P(success by t) + P(failure known by t) = S + R, and R is the dual's S.
        let t = time(1.0);
        let direct_success = direct.curves.estimate.at(t).get();
        let done = both.curves.estimate.at(t).get();
        let own = Case::new(both_success(&other)).components(3, &normal, &[]).compose();
        let success = own.curves.estimate.at(t).get();
        assert!(
            (done - success - direct_success).abs() < 2e-3,
            "{other:?}: {done} {success} {direct_success} {failing}"
        );
    }
}

/// The operator whose dual this is.
fn both_success(operator: &Operator) -> Operator {
    match operator {
        Operator::Race(all) => Operator::Parallel(all.clone()),
        Operator::KofN { k, branches } => {
            Operator::KofN { k: branches.len() + 1 - k, branches: branches.clone() }
        }
        Operator::Fallback { body, fallback } => {
            Operator::Series(vec![(**body).clone(), (**fallback).clone()])
        }
        other => other.clone(),
    }
}

#[test]
fn splitting_a_leaf_into_identical_branches_changes_nothing() {
    let whole = Case::new(Operator::Series(leaves(2))).components(2, &exponential(0.9, 1.0), &[]).compose();
    let split = Case::new(Operator::Series(vec![leaf(0), cond(vec![(0.3, leaf(1)), (0.7, leaf(1))])]))
        .components(2, &exponential(0.9, 1.0), &[])
        .compose();
    assert!((whole.availability.estimate.get() - split.availability.estimate.get()).abs() < 1e-12);
    for q in [0.5, 0.99] {
        // The two trees have grids of slightly different length.
        assert!((estimate(&whole, q) / estimate(&split, q) - 1.0).abs() < 1e-4);
    }
}

#[test]
fn a_tree_as_deep_as_the_language_allows_fits_a_small_stack() {
    let mut operator = leaf(0);
    for depth in 0..256 {
        operator = match depth % 3 {
            0 => Operator::Series(vec![operator, leaf(1)]),
            1 => Operator::Race(vec![operator, leaf(2)]),
            _ => Operator::Optional { timeout: time(50.0), body: Box::new(operator) },
        };
    }
    let case = Case::new(operator)
        .domain("zone", DomainLatency::Independent)
        .figure(0.9, &[0])
        .figure(0.99, &[0])
        .figure(0.5, &[]);
    let done = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            let mut journey: Journey = case.journey;
            journey.quantiles.truncate(1);
            Composer::new().compose(&journey, &case.evidence, &[]).availability.estimate.get()
        })
        .unwrap()
        .join();
    assert!((0.0..=1.0).contains(&done.unwrap()));
}

#[test]
fn thousands_of_operands_are_composed_in_bounded_time() {
    for (n, operator) in [
        (10_000, Operator::Series(leaves(10_000))),
        (2_000, Operator::KofN { k: 1_450, branches: leaves(2_000) }),
    ] {
        let mut case = Case::new(operator);
        for _ in 0..n {
            case = case.figure(0.7, &[]);
        }
        let started = std::time::Instant::now();
        let composition = case.compose();
        assert!(composition.availability.estimate.get() < 0.6);
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }
}
