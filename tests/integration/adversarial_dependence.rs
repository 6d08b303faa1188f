//! The bounds of `unknown` and `unknown_all` against the worst joint laws that linear programmes find.
//!
//! Leaves end in a few ways, each between two edges a billionth apart, so that buckets and interpolation leave nothing
//! open: what is between the bounds and the truth is dependence alone.

use std::collections::BTreeSet;

use emac::algebra::compose::Composer;
use emac::algebra::composition::{Composition, Interval};
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{Counts, Measurement};
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::operator::{AttemptsFate, Jitter, Operator};
use emac::unit::{Probability, Seconds};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::joint_law::{Ends, Journeys};
use crate::journey_builder::{Case, leaf, probability, quantile, time};
use crate::random_tree::{self, Shape};
use crate::simulation::{Behaviour, Ending};

const LEVELS: [f64; 2] = [0.9, 0.99];
/// How far apart the two edges around a time are, of the time.
const NARROW: f64 = 1e-9;
/// Relative to times; absolute for probabilities.
const TIME_TOLERANCE: f64 = 1e-6;
const TOLERANCE: f64 = 1e-9;

/// Evidence of endings at these times with these chances.
fn measurement((ends, timed): &(Ends, bool)) -> Measurement {
    let total = 1e12;
    let histogram = |of: fn(Ending) -> Option<f64>| {
        let mut atoms: Vec<(f64, f64)> =
            ends.iter().filter_map(|&(ending, p)| of(ending).map(|t| (t, p))).collect();
        atoms.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (mut edges, mut counts, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (t, p) in atoms {
            edges.extend([t * (1.0 - NARROW), t]);
            counts.push(sum);
            sum += p * total;
            counts.push(sum);
        }
        // An empty bucket above: the pseudo-observation of a sample goes there.
        edges.push(edges.last()? * 2.0);
        counts.extend([sum, sum]);
        Some((sum, ClassicHistogram::new(edges, counts).unwrap()))
    };
    let good = histogram(|ending| if let Ending::Success(t) = ending { Some(t) } else { None });
    let bad = histogram(|ending| if let Ending::Failure(t) = ending { Some(t) } else { None });
    let (sum, latency) = good.unwrap();
    Measurement::Counts(
        Counts::new(
            total,
            sum.min(total),
            Some(latency),
            bad.filter(|_| *timed).map(|(_, histogram)| histogram),
        )
        .unwrap(),
    )
}

/// Mostly fast, sometimes slow, and failing now and then: `points` ways to end, and whether failures are timed.
fn ends(points: usize, rng: &mut SmallRng) -> (Ends, bool) {
    let moment = |rng: &mut SmallRng| 0.01 * 100_f64.powf(rng.random::<f64>());
    let failing = if rng.random_bool(0.15) { 0.0 } else { 10_f64.powf(rng.random_range(-3.5..-0.7)) };
    let failures = if failing == 0.0 { 0 } else { 1 + usize::from(points > 3 && rng.random_bool(0.5)) };
    let mut times: Vec<f64> = (0..points - failures).map(|_| moment(rng)).collect();
    times.sort_unstable_by(f64::total_cmp);
    times.dedup_by(|a, b| *a - *b <= 1e-3 * *b);
    let mut slow: Vec<f64> =
        (1..times.len()).map(|_| (1.0 - failing) * 10_f64.powf(rng.random_range(-3.0..-0.6))).collect();
    let sum: f64 = slow.iter().sum();
    slow.insert(0, 1.0 - failing - sum);
    let mut ends: Ends = times.iter().zip(slow).map(|(&t, p)| (Ending::Success(t), p)).collect();
    if failures == 1 && rng.random_bool(0.2) {
        // Without times of their own: taken to last as long as the last edge.
        ends.push((Ending::Failure(2.0 * times.last().unwrap()), failing));
        return (ends, false);
    }
    let mut later = moment(rng);
    for _ in 0..failures {
        ends.push((Ending::Failure(later), failing / failures as f64));
        later *= 1.7;
    }
    (ends, true)
}

/// Failure domains by leaf: one for all, one for some, scattered, overlapping.
fn domains(leaves: usize, rng: &mut SmallRng) -> Vec<Vec<usize>> {
    let kind = rng.random_range(0..8);
    (0..leaves)
        .map(|_| match kind {
            0..3 => vec![0],
            3 => (0..rng.random_range(0..=1)).collect(),
            4..6 => vec![rng.random_range(0..2)],
            6 => match rng.random_range(0..4) {
                0 => vec![],
                1 => vec![0, 1],
                at => vec![at - 2],
            },
            _ => (0..3).filter(|_| rng.random_bool(0.3)).collect(),
        })
        .collect()
}

/// The number of the block of each leaf: leaves that share a domain, also by way of others, are in one.
fn blocks(domains: &[Vec<usize>]) -> Vec<usize> {
    let mut of: Vec<usize> = (0..domains.len()).collect();
    for _ in 0..domains.len() {
        for a in 0..domains.len() {
            for b in 0..a {
                if domains[a].iter().any(|domain| domains[b].contains(domain)) {
                    let least = of[a].min(of[b]);
                    (of[a], of[b]) = (least, least);
                }
            }
        }
    }
    of
}

/// The blocks of the leaves of a tree, and whether any operator combines calls of one block.
fn couples(operator: &Operator, block: &dyn Fn(usize) -> usize) -> (BTreeSet<usize>, bool) {
    let (mut all, mut met) = (BTreeSet::new(), false);
    let mut apart = true;
    let operands: Vec<&Operator> = match operator {
        Operator::Component(id) => return (BTreeSet::from([block(id.0)]), false),
        Operator::Series(all) | Operator::Parallel(all) | Operator::Race(all) => all.iter().collect(),
        Operator::KofN { branches, .. } => branches.iter().collect(),
        Operator::Cond(branches) => {
            apart = false;
            branches.iter().map(|branch| &branch.body).collect()
        }
        Operator::Timeout { body, fallback, .. } => {
            std::iter::once(body).chain(fallback).map(|one| &**one).collect()
        }
        Operator::Fallback { body, fallback } | Operator::Hedge { body, alternate: fallback, .. } => {
            vec![body, fallback]
        }
        Operator::Retry { fate, body, .. } => {
            met = *fate == AttemptsFate::Shared;
            vec![body]
        }
        Operator::Optional { body, .. } => vec![body],
        Operator::Repeat { body, .. } => {
            met = true;
            vec![body]
        }
    };
    for operand in operands {
        let (below, already) = couples(operand, block);
        met |= already || (apart && below.iter().any(|block| all.contains(block)));
        all.extend(below);
    }
    (all, met)
}

/// Makes a random tree one whose calls alone are left to chance, and wraps more of it.
fn adapted(operator: Operator, rng: &mut SmallRng) -> Operator {
    let each =
        |all: Vec<Operator>, rng: &mut SmallRng| all.into_iter().map(|one| adapted(one, rng)).collect();
    let one = |body: Box<Operator>, rng: &mut SmallRng| Box::new(adapted(*body, rng));
    let inner = match operator {
        Operator::Retry { attempts, per_try_timeout, mut backoff, body, .. } => {
            if let Some(backoff) = &mut backoff {
                backoff.jitter = Jitter::None;
            }
            let fate = if rng.random() { AttemptsFate::Shared } else { AttemptsFate::Independent };
            return Operator::Retry { attempts, per_try_timeout, backoff, fate, body };
        }
        leaf @ Operator::Component(_) => return leaf,
        Operator::Series(all) => Operator::Series(each(all, rng)),
        Operator::Parallel(all) => Operator::Parallel(each(all, rng)),
        Operator::Race(all) => Operator::Race(each(all, rng)),
        Operator::KofN { k, branches } => Operator::KofN { k, branches: each(branches, rng) },
        Operator::Cond(mut branches) => {
            for branch in &mut branches {
                branch.body = adapted(branch.body.clone(), rng);
            }
            Operator::Cond(branches)
        }
        Operator::Timeout { after, body, fallback } => {
            Operator::Timeout { after, body: one(body, rng), fallback: fallback.map(|body| one(body, rng)) }
        }
        Operator::Fallback { body, fallback } => {
            Operator::Fallback { body: one(body, rng), fallback: one(fallback, rng) }
        }
        Operator::Hedge { delay, body, alternate } => {
            Operator::Hedge { delay, body: one(body, rng), alternate: one(alternate, rng) }
        }
        Operator::Optional { timeout, body } => Operator::Optional { timeout, body: one(body, rng) },
        Operator::Repeat { counts, body } => Operator::Repeat { counts, body },
    };
    let body = Box::new(inner);
    match rng.random_range(0..24) {
        0 => Operator::Retry {
            attempts: 2,
            per_try_timeout: rng.random_bool(0.5).then(|| time(0.3)),
            backoff: None,
            fate: AttemptsFate::Shared,
            body,
        },
        1 => Operator::Repeat { counts: vec![(1, probability(0.6)), (2, probability(0.4))], body },
        2 => Operator::Timeout { after: time(rng.random_range(0.1..2.0)), body, fallback: None },
        3 => Operator::Optional { timeout: time(rng.random_range(0.1..2.0)), body },
        _ => *body,
    }
}

/// What a number was found to be at worst, and its bounds.
#[derive(Default)]
struct Findings {
    trees: usize,
    laws: usize,
    infinite: usize,
    finite: usize,
    violations: Vec<String>,
    /// Bound over sharp p99, where one block makes the programme's answer sharp.
    tightness: Vec<f64>,
    loss: Vec<f64>,
}

impl Findings {
    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    fn availability(&mut self, name: &str, journeys: &Journeys, bounds: Interval<Probability>) {
        let up = |ending| if matches!(ending, Ending::Success(_)) { 1.0 } else { 0.0 };
        let most = journeys.greatest(up);
        let least = -journeys.greatest(|ending| -up(ending));
        let (lower, upper) = (Probability::get(bounds.lower), bounds.upper.get());
        if least < lower - TOLERANCE || most > upper + TOLERANCE {
            self.violated(format!("{name}: availability {least} to {most} is not within {lower} to {upper}"));
        }
        if journeys.blocks() == 1 {
            self.loss.push((1.0 - lower + 1e-6) / (1.0 - least + 1e-6));
        }
        self.laws += 2;
    }

    fn latency(&mut self, name: &str, journeys: &Journeys, q: f64, bounds: Interval<Seconds>, sharp: bool) {
        let (lower, upper) = (bounds.lower.get(), bounds.upper.get());
        // The quantile lies beyond t where this is above 0.
        let beyond = |t: f64| {
            journeys.greatest(|ending| match ending {
                Ending::Success(at) if at > t => q,
                Ending::Success(_) => q - 1.0,
                Ending::Failure(_) => 0.0,
            })
        };
        if upper.is_finite() {
            self.finite += 1;
            let margin = beyond(upper * (1.0 + TIME_TOLERANCE));
            if margin > TOLERANCE {
                self.violated(format!("{name}: q{q} may lie beyond {upper}, by a margin of {margin}"));
            }
        } else {
            self.infinite += 1;
        }
        let before = lower * (1.0 - TIME_TOLERANCE);
        let margin = journeys.greatest(|ending| match ending {
            Ending::Success(at) if at <= before => 1.0 - q,
            Ending::Success(_) => -q,
            Ending::Failure(_) => 0.0,
        });
        if margin > TOLERANCE {
            self.violated(format!("{name}: q{q} may lie before {lower}, by a margin of {margin}"));
        }
        self.laws += 2;
        if sharp && upper.is_finite() && journeys.blocks() == 1 {
            let times = journeys.times();
            let at = times.partition_point(|&t| beyond(t) > TOLERANCE);
            if let Some(&worst) = times.get(at) {
                self.tightness.push(upper / worst);
            }
        }
    }

    /// Where no operator combines what may depend (`couples`), the number by dependence is the estimate itself, which is
    /// as exact as its grid and no bound.
    fn all(
        &mut self,
        name: &str,
        journeys: &Journeys,
        composition: &Composition,
        dependence: Dependence,
        couples: bool,
        sharp: bool,
    ) {
        let availability = composition.availability_by_dependence[&dependence];
        if couples {
            self.availability(&format!("{name}, by dependence"), journeys, availability);
        }
        let certain = availability.lower.get() > 0.0;
        let own = composition.availability;
        let bounds = Interval { lower: own.pessimistic, upper: own.optimistic };
        self.availability(&format!("{name}, policy"), journeys, bounds);
        for latency in &composition.latency {
            let q = latency.quantile.get();
            let infinite = self.infinite;
            let bounds = latency.by_dependence[&dependence];
            if couples {
                self.latency(&format!("{name}, by dependence"), journeys, q, bounds, sharp && q == 0.99);
            }
            let bounds = Interval { lower: latency.value.optimistic, upper: latency.value.pessimistic };
            self.latency(&format!("{name}, policy"), journeys, q, bounds, false);
            if !certain {
                self.infinite = infinite;
            }
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A tree's own way to end for each leaf: the more leaves, the fewer.
fn points(leaves: usize) -> usize {
    match leaves {
        0..=2 => 7,
        3 => 6,
        4 => 5,
        5 => 4,
        _ => 3,
    }
}

fn case(operator: &Operator, ends: &[(Ends, bool)], domains: &[Vec<usize>], dependence: Dependence) -> Case {
    let mut case = Case::new(operator.clone()).policy(dependence, BucketError::Bound);
    for number in 0..3 {
        case = case.domain(&format!("d{number}"), DomainLatency::Independent);
    }
    for (ends, domains) in ends.iter().zip(domains) {
        case = case.component(measurement(ends), domains);
    }
    case.journey.quantiles = LEVELS.map(quantile).to_vec();
    case
}

/// Random trees until `trees` of them were small enough for a linear programme.
fn random_trees(trees: usize, seed: u64) -> Findings {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut findings = Findings::default();
    let mut composer = Composer::new();
    while findings.trees < trees {
        let count = 2 + findings.trees % 7;
        let operator = random_tree::tree(Shape { leaves: count, deadlines: true }, &mut rng);
        let operator = adapted(operator, &mut rng);
        let evidence: Vec<(Ends, bool)> = (0..count).map(|_| ends(points(count), &mut rng)).collect();
        let ends: Vec<Ends> = evidence.iter().map(|(ends, _)| ends.clone()).collect();
        let domains = domains(count, &mut rng);
        let everywhere = rng.random_bool(0.2);
        let blocks = blocks(&domains);
        let Some(journeys) = Journeys::new(&operator, &ends, &blocks, everywhere) else { continue };
        let dependence = if everywhere { Dependence::UnknownAll } else { Dependence::Unknown };
        let case = case(&operator, &evidence, &domains, dependence);
        case.journey.check().unwrap();
        let composition = composer.compose(&case.journey, &case.evidence, &[]);
        let name = format!("tree {} {operator:?}\n{evidence:?}\n{domains:?} {dependence:?}", findings.trees);
        let couples = couples(&operator, &|component| if everywhere { 0 } else { blocks[component] }).1;
        findings.all(&name, &journeys, &composition, dependence, couples, false);
        findings.trees += 1;
    }
    findings
}

fn hold(findings: &mut Findings) {
    eprintln!(
        "{} trees, {} linear programmes' laws: {} violations; of the quantiles' bounds {} finite, {} infinite; \
         unavailability's bound over its sharp value, median {:.4}",
        findings.trees,
        findings.laws,
        findings.violations.len(),
        findings.finite,
        findings.infinite,
        median(&mut findings.loss),
    );
    for violation in findings.violations.iter().take(12) {
        eprintln!("{violation}\n");
    }
    assert!(findings.violations.is_empty(), "{} violations", findings.violations.len());
}

#[test]
fn no_joint_law_inside_domains_breaks_a_bound_of_unknown_dependence() {
    let mut findings = random_trees(60, 11);
    hold(&mut findings);
}

/// A tree of Series and Parallel over the leaves from `first` on.
fn sums_and_maxima(leaves: std::ops::Range<usize>, rng: &mut SmallRng) -> Operator {
    if leaves.len() == 1 {
        return leaf(leaves.start);
    }
    let parts = rng.random_range(2..=leaves.len());
    let mut branches = Vec::new();
    let mut start = leaves.start;
    for part in (1..=parts).rev() {
        let most = leaves.end - start - (part - 1);
        let end = start + if part == 1 { most } else { rng.random_range(1..=most) };
        branches.push(sums_and_maxima(start..end, rng));
        start = end;
    }
    if rng.random_bool(0.7) { Operator::Series(branches) } else { Operator::Parallel(branches) }
}

fn duration(operator: &Operator, times: &[f64]) -> f64 {
    let each = |all: &[Operator]| -> Vec<f64> { all.iter().map(|one| duration(one, times)).collect() };
    match operator {
        Operator::Component(id) => times[id.0],
        Operator::Series(all) => each(all).iter().sum(),
        Operator::Parallel(all) => each(all).into_iter().fold(0.0, f64::max),
        _ => unreachable!("only sums and maxima"),
    }
}

/// A p99 that some joint law has: the slowest successes of all leaves come together, arranged so that the least duration
/// is as long as possible (the rearrangement algorithm of Puccetti & Rüschendorf 2012, then exchanges by twos); failures
/// exclude each other.
fn rearranged_p99(operator: &Operator, leaves: &[Behaviour], rng: &mut SmallRng) -> f64 {
    const ROWS: usize = 120;
    let all_succeed = 1.0 - leaves.iter().map(|leaf| 1.0 - leaf.availability).sum::<f64>();
    let slow = 0.01 * all_succeed;
    let n = leaves.len();
    let mut rows = vec![vec![0.0; n]; ROWS];
    for (column, leaf) in leaves.iter().enumerate() {
        for (place, row) in rows.iter_mut().enumerate() {
            // The later end of the row's ranks would be too slow a law; its middle is within the discretisation.
            let mass = slow * (place as f64 + 0.5) / ROWS as f64;
            row[column] = leaf.success.quantile(1.0 - mass / leaf.availability);
        }
    }
    let least =
        |rows: &[Vec<f64>]| rows.iter().map(|row| duration(operator, row)).fold(f64::INFINITY, f64::min);
    let mut best = least(&rows);
    for _ in 0..30 {
        for column in 0..n {
            let mut own: Vec<f64> = rows.iter().map(|row| row[column]).collect();
            own.sort_unstable_by(f64::total_cmp);
            let rest = |row: &Vec<f64>| {
                let mut row = row.clone();
                row[column] = 0.0;
                duration(operator, &row)
            };
            rows.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
            rows.iter_mut().zip(own).for_each(|(row, own)| row[column] = own);
        }
        let now = least(&rows);
        if now <= best {
            break;
        }
        best = now;
    }
    best = least(&rows);
    let mut idle = 0;
    while idle < 600 {
        let worst =
            (0..ROWS).min_by(|&a, &b| duration(operator, &rows[a]).total_cmp(&duration(operator, &rows[b])));
        let (worst, other, column) = (worst.unwrap(), rng.random_range(0..ROWS), rng.random_range(0..n));
        let exchange = |rows: &mut Vec<Vec<f64>>| {
            let kept = rows[worst][column];
            rows[worst][column] = rows[other][column];
            rows[other][column] = kept;
        };
        exchange(&mut rows);
        if duration(operator, &rows[worst]).min(duration(operator, &rows[other])) <= best {
            exchange(&mut rows);
            idle += 1;
        } else {
            best = least(&rows);
            idle = 0;
        }
    }
    best
}

#[test]
fn bounds_of_sums_and_maxima_are_within_a_few_percent_of_rearranged_laws() {
    let mut rng = SmallRng::seed_from_u64(13);
    let edges: Vec<f64> = (0..300).map(|k| 0.0005 * 1.05_f64.powi(k)).collect();
    let mut composer = Composer::new();
    let mut ratios = Vec::new();
    for number in 0..21 {
        let count = 2 + number % 7;
        let operator = sums_and_maxima(0..count, &mut rng);
        let leaves: Vec<Behaviour> = (0..count).map(|_| random_tree::behaviour(&mut rng)).collect();
        let mut case = Case::new(operator.clone()).domain("zone", DomainLatency::Independent);
        for leaf in &leaves {
            case = case.component(leaf.expected(&edges), &[0]);
        }
        case.journey.quantiles = vec![quantile(0.99)];
        let composition = composer.compose(&case.journey, &case.evidence, &[]);
        let bound = composition.latency[0].by_dependence[&Dependence::Unknown].upper.get();
        let found = rearranged_p99(&operator, &leaves, &mut rng);
        assert!(bound >= 0.995 * found, "{number} {operator:?}: {bound} is less than {found}");
        ratios.push(bound / found);
    }
    let middle = median(&mut ratios);
    let most = ratios.last().unwrap();
    eprintln!("p99's bound over that of rearranged laws: median {middle:.3}, at most {most:.3}");
    assert!(middle <= 1.05, "median {middle}");
}

#[test]
#[ignore = "long: 1,200 random trees, each under the worst joint laws of a linear programme"]
fn no_joint_law_breaks_a_bound_in_over_a_thousand_random_trees() {
    let mut findings = random_trees(1_200, 12);
    hold(&mut findings);
}
