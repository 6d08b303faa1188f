//! Evidence that says little or something odd: the bound that is right, its reason, and never NaN.

use emac::algebra::composition::{Composition, Side};
use emac::algebra::verdict::{Verdict, judge};
use emac::distribution::histogram::{ClassicHistogram, HistogramError};
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{ComponentEvidence, Counts, Measurement, Reason};
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::objective::AvailabilityObjective;
use emac::journey::operator::Operator;
use emac::unit::Probability;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::journey_builder::{Case, leaf, leaves, probability, quantile, time};
use crate::random_tree::{self, Shape};

const EDGES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];

fn histogram(buckets: [f64; 5]) -> ClassicHistogram {
    let mut sum = 0.0;
    let counts = buckets.iter().map(|count| {
        sum += count;
        sum
    });
    ClassicHistogram::new(EDGES.to_vec(), counts.collect()).unwrap()
}

/// Successes and failures by bucket: up to 0.1, 0.25, 0.5, 1 s and longer.
fn counted(successes: [f64; 5], failures: [f64; 5]) -> Measurement {
    let (good, bad): (f64, f64) = (successes.iter().sum(), failures.iter().sum());
    let failures = (bad > 0.0).then(|| histogram(failures));
    Measurement::Counts(Counts::new(good + bad, good, Some(histogram(successes)), failures).unwrap())
}

const NONE: [f64; 5] = [0.0; 5];

fn bounded(operator: Operator, components: Vec<Measurement>) -> Case {
    let mut case = Case::new(operator).policy(Dependence::SharedFate, BucketError::Bound);
    for component in components {
        case = case.component(component, &[]);
    }
    case
}

fn latency(composition: &Composition, q: f64, side: Side) -> f64 {
    composition.latency_at(quantile(q)).unwrap().value.side(side).get()
}

fn late(composition: &Composition, q: f64) -> f64 {
    latency(composition, q, Side::Pessimistic)
}

#[test]
fn a_handful_of_calls_proves_little_about_availability_and_nothing_beyond_the_next_bucket() {
    // No error among n calls: Clopper and Pearson's exact limit.
    for n in [1.0, 4.0, 20.0, 300.0] {
        let composition = bounded(leaf(0), vec![counted([n, 0.0, 0.0, 0.0, 0.0], NONE)]).compose();
        let expected = 0.05_f64.powf(1.0 / n);
        let lower = composition.availability.pessimistic.get();
        assert!((lower - expected).abs() < 1e-9, "{n}: {lower}, not {expected}");
        assert_eq!(composition.availability.estimate, Probability::ONE);
        // One more call may have taken one bucket longer, and with up to a hundred calls that is the p99.
        let bound = late(&composition, 0.99);
        assert!(if n < 99.0 { bound >= 0.25 } else { bound >= 0.1 }, "{n}: {bound}");
    }
    // What lasts one bucket longer than the last finite one has no bound.
    let at_the_end = bounded(leaf(0), vec![counted([0.0, 0.0, 0.0, 20.0, 0.0], NONE)]).compose();
    assert_eq!(late(&at_the_end, 0.99), f64::INFINITY);
    let many = bounded(leaf(0), vec![counted([0.0, 0.0, 0.0, 2e4, 0.0], NONE)]).compose();
    assert!(late(&many, 0.99) < 1.01, "{}", late(&many, 0.99));
}

#[test]
fn calls_beyond_the_last_bucket_have_no_bound_unless_a_deadline_sets_one() {
    let leaky = || counted([9_000.0, 500.0, 200.0, 100.0, 200.0], NONE);
    let alone = bounded(leaf(0), vec![leaky()]).compose();
    for side in [Side::Estimate, Side::Pessimistic] {
        assert_eq!(latency(&alone, 0.99, side), f64::INFINITY);
        assert!(latency(&alone, 0.9, side) <= 0.26);
    }
    // At best they ended just after the last edge.
    let best = latency(&alone, 0.99, Side::Optimistic);
    assert!((0.5..=1.0).contains(&best), "{best}");
    // 2 % are late at 2 s, known to be: they cost availability instead.
    let timed = Operator::Timeout { after: time(2.0), body: Box::new(leaf(0)), fallback: None };
    let timed = bounded(timed, vec![leaky()]).compose();
    assert!((timed.availability.estimate.get() - 0.98).abs() < 1e-9);
    assert!(timed.availability.pessimistic.get() < 0.98);
    // They may have come after the last edge and before the deadline, too.
    let p99 = late(&timed, 0.99);
    assert!((2.0..2.02).contains(&p99), "{p99}");
    assert!(latency(&timed, 0.99, Side::Estimate) <= 1.0);
}

#[test]
fn one_non_empty_bucket_is_linear_within_and_bounded_by_its_edges() {
    let composition = bounded(leaf(0), vec![counted([0.0, 1e9, 0.0, 0.0, 0.0], NONE)]).compose();
    let estimate = latency(&composition, 0.99, Side::Estimate);
    assert!((estimate / (0.1 + 0.99 * 0.15) - 1.0).abs() < 2e-3, "{estimate}");
    assert!((late(&composition, 0.99) / 0.25 - 1.0).abs() < 5e-3);
    assert!((latency(&composition, 0.99, Side::Optimistic) / 0.1 - 1.0).abs() < 1e-2);
}

#[test]
fn a_component_without_traffic_is_anything_and_asks_for_a_review() {
    let good = || counted([1e6, 0.0, 0.0, 0.0, 0.0], NONE);
    let mut case = bounded(Operator::Series(leaves(2)), vec![good(), Measurement::Vacuous]);
    case.evidence.components[1] = ComponentEvidence::vacuous(Reason::NoTraffic);
    case.journey.objectives.availability = Some(AvailabilityObjective {
        window: "30d".parse().unwrap(),
        target: probability(0.5),
        observed: None,
    });
    let composition = case.compose();
    let a = composition.availability;
    assert_eq!(
        (a.estimate, a.pessimistic, a.optimistic),
        (Probability::ZERO, Probability::ZERO, Probability::ONE)
    );
    assert_eq!(late(&composition, 0.5), f64::INFINITY);
    let judgement = judge(&case.journey, &case.evidence, &composition);
    assert_eq!(judgement.verdict, Verdict::Review);
    assert!(judgement.reason.contains("c1"), "{}", judgement.reason);
    // Beside a replica that is known, it can only help.
    case.journey.operator = Operator::Race(leaves(2));
    let race = case.compose();
    assert!(race.availability.pessimistic.get() > 1.0 - 1e-5);
    assert_eq!(judge(&case.journey, &case.evidence, &race).verdict, Verdict::Review);
}

#[test]
fn no_success_among_many_calls_is_zero_and_its_latency_unbounded() {
    let dead = bounded(leaf(0), vec![counted(NONE, [500.0, 500.0, 0.0, 0.0, 0.0])]).compose();
    assert_eq!(dead.availability.estimate, Probability::ZERO);
    assert!(dead.availability.optimistic.get() < 0.004);
    for q in [0.5, 0.99] {
        for side in [Side::Estimate, Side::Pessimistic] {
            assert_eq!(latency(&dead, q, side), f64::INFINITY);
        }
    }
}

#[test]
fn buckets_that_fall_are_refused_and_calls_without_latency_keep_their_availability() {
    assert!(matches!(
        ClassicHistogram::new(vec![0.1, 0.2], vec![5.0, 3.0, 6.0]),
        Err(HistogramError::Falling { .. })
    ));
    let blind = Measurement::Counts(Counts::new(1e6, 999_000.0, None, None).unwrap());
    let composition =
        bounded(Operator::Series(leaves(2)), vec![blind, counted([1e6, 0.0, 0.0, 0.0, 0.0], NONE)]).compose();
    assert!((composition.availability.estimate.get() - 0.999).abs() < 1e-12);
    assert!(composition.availability.pessimistic.get() > 0.9989);
    assert_eq!(late(&composition, 0.5), f64::INFINITY);
    assert_eq!(latency(&composition, 0.5, Side::Optimistic), 0.0);
}

#[test]
fn a_component_without_evidence_may_fail_always_and_proves_no_failure() {
    let known = || counted([1e6 - 2e3, 0.0, 0.0, 0.0, 0.0], [2e3, 0.0, 0.0, 0.0, 0.0]);
    let unknown = || Measurement::Vacuous;
    let proven = |operator: Operator, of: Vec<Measurement>| {
        let composition = bounded(operator, of).compose();
        assert_eq!(composition.availability.pessimistic.get(), 0.0);
        composition.proven.availability.get()
    };
    let in_time = |body| Operator::Timeout { after: time(1.0), body: Box::new(body), fallback: None };
    for operator in [Operator::Series(leaves(2)), Operator::Series(vec![leaf(0), in_time(leaf(1))])] {
        // Of 2,000 failures in a million calls at least 1,926 are proven (Garwood's limit at 95 %).
        let availability = proven(operator.clone(), vec![known(), unknown()]);
        assert!((1.0 - 2e-3..1.0 - 1.92e-3).contains(&availability), "{availability}");
        assert_eq!(proven(operator, vec![unknown(), unknown()]), 1.0);
    }
}

#[test]
fn failures_later_than_the_last_bucket_delay_whatever_waits_for_them() {
    let slow_to_fail =
        |failing: f64| counted([1e6 - failing, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, failing]);
    let fallback = |body| Operator::Fallback { body: Box::new(body), fallback: Box::new(leaf(1)) };
    let spare = || counted([1e6, 0.0, 0.0, 0.0, 0.0], NONE);
    // 2 % are never known to have failed: the p99 has no bound, the p90 has, and availability counts the spare.
    let composition = bounded(fallback(leaf(0)), vec![slow_to_fail(2e4), spare()]).compose();
    assert_eq!(late(&composition, 0.99), f64::INFINITY);
    assert!(late(&composition, 0.9) < 0.11, "{}", late(&composition, 0.9));
    assert!(composition.availability.pessimistic.get() > 1.0 - 1e-5);
    // A tenth of a percent cannot move the p99, also where both may depend.
    for dependence in [Dependence::SharedFate, Dependence::Unknown] {
        let mut case = Case::new(fallback(leaf(0)))
            .domain("zone", DomainLatency::Shared)
            .policy(dependence, BucketError::Bound);
        for component in [slow_to_fail(1e3), spare()] {
            case = case.component(component, &[0]);
        }
        let composition = case.compose();
        assert!(late(&composition, 0.9) < 0.11, "{dependence:?} {}", late(&composition, 0.9));
        let p99 = late(&composition, 0.99);
        assert!(p99 < 0.25, "{dependence:?}: {p99}");
        assert_eq!(late(&composition, 0.999), f64::INFINITY);
    }
    // A deadline makes them known.
    let timed = Operator::Timeout { after: time(2.0), body: Box::new(leaf(0)), fallback: None };
    let composition = bounded(fallback(timed), vec![slow_to_fail(2e4), spare()]).compose();
    let p99 = late(&composition, 0.99);
    assert!((2.0..2.2).contains(&p99), "{p99}");
}

/// Every kind of oddity, also in combination.
fn odd(rng: &mut SmallRng) -> Measurement {
    let some = |rng: &mut SmallRng| {
        let mut buckets = [0.0; 5];
        for bucket in &mut buckets {
            if rng.random_bool(0.4) {
                *bucket = 10_f64.powf(rng.random_range(0.0..7.0)).round();
            }
        }
        buckets
    };
    match rng.random_range(0..8) {
        0 => Measurement::Vacuous,
        1 => Measurement::Figure(probability([0.0, 0.5, 1.0][rng.random_range(0..3)])),
        2 => Measurement::Counts(Counts::new(3.0, 2.0, None, None).unwrap()),
        // The histogram knows nothing of the calls that were counted.
        3 => Measurement::Counts(
            Counts::new(100.0, 99.0, Some(histogram(NONE)), Some(histogram(NONE))).unwrap(),
        ),
        4 => counted(NONE, [0.0, 0.0, 0.0, 0.0, 7.0]),
        5 => counted([0.0, 0.0, 0.0, 0.0, 5.0], NONE),
        _ => loop {
            let (good, bad) = (some(rng), some(rng));
            if good.iter().chain(&bad).sum::<f64>() > 0.0 {
                return counted(good, bad);
            }
        },
    }
}

#[test]
fn no_oddity_in_any_tree_makes_a_number_that_is_none_or_an_interval_that_is_inverted() {
    let mut rng = SmallRng::seed_from_u64(31);
    for number in 0..60 {
        let leaves = 1 + number % 4;
        let operator = random_tree::tree(Shape { leaves, deadlines: true }, &mut rng);
        let dependence = Dependence::REPORTED[number % Dependence::REPORTED.len()];
        let buckets = if rng.random() { BucketError::Bound } else { BucketError::Interpolate };
        let mut case =
            Case::new(operator.clone()).domain("zone", DomainLatency::Shared).policy(dependence, buckets);
        case.journey.quantiles = [0.5, 0.99].map(quantile).to_vec();
        for _ in 0..leaves {
            case = case.component(odd(&mut rng), if rng.random() { &[0] } else { &[] });
        }
        let composition = case.compose();
        let a = composition.availability;
        let mut numbers = vec![a.pessimistic.get(), a.estimate.get(), a.optimistic.get()];
        assert!(numbers.is_sorted(), "{number}: {a:?}");
        for interval in composition.availability_by_dependence.values() {
            numbers.extend([interval.lower.get(), interval.upper.get()]);
        }
        for latency in &composition.latency {
            let times = [latency.value.optimistic, latency.value.estimate, latency.value.pessimistic]
                .map(|t| t.get());
            assert!(times.is_sorted(), "{number}: {latency:?}");
            numbers.extend(times);
            for interval in latency.by_dependence.values() {
                numbers.extend([interval.lower.get(), interval.upper.get()]);
            }
        }
        for share in &composition.components {
            numbers.extend([share.sensitivity, share.budget_share, share.latency_share]);
        }
        let width = composition.width;
        numbers.extend([width.samples, width.buckets, width.dependence]);
        for side in Side::ALL {
            numbers.extend(&composition.curves.side(side).within);
            numbers.push(composition.slower_than(side, time(0.3)).get());
        }
        assert!(numbers.iter().all(|number| !number.is_nan()), "{number} {operator:?}: {numbers:?}");
    }
}
