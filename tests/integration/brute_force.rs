//! Availability bounds against the truth, by enumerating every joint outcome of random trees.

use std::collections::BTreeMap;

use emac::journey::domain::DomainLatency;
use emac::journey::governance::Dependence;
use emac::journey::operator::{AttemptsFate, Operator};
use emac::unit::Probability;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::journey_builder::{Case, cond, leaf, probability, time};

/// Trees tried; each has its own margins, domains and joint laws.
const TREES: usize = 10_000;
const MAX_LEAVES: usize = 8;

/// A random tree over the given leaves, in order; operators with deadlines have none that matters here.
fn tree(rng: &mut StdRng, leaves: &[usize], depth: u32) -> Operator {
    if leaves.len() == 1 {
        let only = leaf(leaves[0]);
        if depth > 3 {
            return only;
        }
        return match rng.random_range(0..12) {
            0 => Operator::Retry {
                attempts: 2,
                per_try_timeout: None,
                backoff: None,
                fate: if rng.random() { AttemptsFate::Shared } else { AttemptsFate::Independent },
                body: Box::new(only),
            },
            1 => Operator::Repeat {
                counts: vec![(1, probability(0.5)), (2, probability(0.5))],
                body: Box::new(only),
            },
            _ => only,
        };
    }
    let parts = rng.random_range(2..=leaves.len().min(4));
    let mut cuts: Vec<usize> = (1..leaves.len()).collect();
    for at in 0..cuts.len() {
        let other = rng.random_range(at..cuts.len());
        cuts.swap(at, other);
    }
    cuts.truncate(parts - 1);
    cuts.sort_unstable();
    let mut branches = Vec::new();
    let mut start = 0;
    for end in cuts.into_iter().chain([leaves.len()]) {
        branches.push(tree(rng, &leaves[start..end], depth + 1));
        start = end;
    }
    let pair = |mut branches: Vec<Operator>| {
        let rest = branches.split_off(1);
        let second = if rest.len() == 1 { rest.into_iter().next() } else { Some(Operator::Series(rest)) };
        (Box::new(branches.remove(0)), Box::new(second.unwrap()))
    };
    match rng.random_range(0..8) {
        0 | 1 => Operator::Series(branches),
        2 => Operator::Parallel(branches),
        3 => Operator::Race(branches),
        4 => Operator::KofN { k: rng.random_range(1..=branches.len()), branches },
        5 => {
            let (body, fallback) = pair(branches);
            Operator::Fallback { body, fallback }
        }
        6 => {
            let (body, alternate) = pair(branches);
            Operator::Hedge { delay: time(0.1), body, alternate }
        }
        _ => {
            let p = 1.0 / branches.len() as f64;
            let last = 1.0 - p * (branches.len() - 1) as f64;
            let n = branches.len();
            cond(
                branches
                    .into_iter()
                    .enumerate()
                    .map(|(at, branch)| (if at + 1 == n { last } else { p }, branch))
                    .collect(),
            )
        }
    }
}

/// P(success) given which leaves work in the first call (`up`); `again` is P(a repeated call works | the leaf's first
/// state), which decides what repeated calls share.
fn succeeds(operator: &Operator, up: &[bool], again: &dyn Fn(usize, bool) -> f64) -> f64 {
    let of = |operator: &Operator| succeeds(operator, up, again);
    match operator {
        Operator::Component(id) => f64::from(u8::from(up[id.0])),
        Operator::Series(all) | Operator::Parallel(all) => all.iter().map(of).product(),
        Operator::Race(all) => 1.0 - all.iter().map(|one| 1.0 - of(one)).product::<f64>(),
        Operator::Fallback { body, fallback: second } | Operator::Hedge { body, alternate: second, .. } => {
            1.0 - (1.0 - of(body)) * (1.0 - of(second))
        }
        Operator::KofN { k, branches } => {
            let mut counts = vec![1.0];
            for branch in branches {
                let p = of(branch);
                let mut next = vec![0.0; counts.len() + 1];
                for (n, mass) in counts.iter().enumerate() {
                    next[n] += mass * (1.0 - p);
                    next[n + 1] += mass * p;
                }
                counts = next;
            }
            counts[*k..].iter().sum()
        }
        Operator::Cond(branches) => branches
            .iter()
            .map(|branch| match branch.probability {
                emac::journey::operator::BranchProbability::Fixed(p) => p.get() * of(&branch.body),
                _ => unreachable!("the generator writes all probabilities"),
            })
            .sum(),
        Operator::Retry { body, .. } => {
            let Operator::Component(id) = **body else { unreachable!("only leaves are retried") };
            let first = up[id.0];
            if first { 1.0 } else { again(id.0, first) }
        }
        Operator::Repeat { counts, body } => {
            let Operator::Component(id) = **body else { unreachable!("only leaves are repeated") };
            let first = f64::from(u8::from(up[id.0]));
            counts
                .iter()
                .map(|(count, p)| p.get() * if *count == 1 { first } else { first * again(id.0, up[id.0]) })
                .sum()
        }
        _ => unreachable!("not generated"),
    }
}

/// A joint law: outcomes with their masses.
type Law = Vec<(Vec<bool>, f64)>;

/// Independent blocks, each with a law of its own members.
fn product(n: usize, blocks: &[(Vec<usize>, Law)]) -> Law {
    let mut law: Law = vec![(vec![false; n], 1.0)];
    for (members, block) in blocks {
        law = law
            .iter()
            .flat_map(|(up, mass)| {
                block.iter().map(move |(states, p)| {
                    let mut up = up.clone();
                    members.iter().zip(states).for_each(|(&member, &state)| up[member] = state);
                    (up, mass * p)
                })
            })
            .filter(|(_, mass)| *mass > 0.0)
            .collect();
    }
    law
}

fn independent(margins: &[f64]) -> Law {
    (0..1_usize << margins.len())
        .map(|bits| {
            let up: Vec<bool> = (0..margins.len()).map(|i| bits >> i & 1 == 1).collect();
            let mass = up.iter().zip(margins).map(|(&up, &a)| if up { a } else { 1.0 - a }).product();
            (up, mass)
        })
        .collect()
}

/// One uniform rank decides: member i works where its part of the circle holds the rank. Equal starts are the
/// comonotone law, others are extreme in other directions (two complementary starts are the countermonotone law).
fn ranked(margins: &[f64], starts: &[f64]) -> Law {
    let mut cuts: Vec<f64> = vec![0.0, 1.0];
    for (&a, &start) in margins.iter().zip(starts) {
        cuts.extend([start, (start + a).rem_euclid(1.0)]);
    }
    cuts.sort_by(f64::total_cmp);
    cuts.windows(2)
        .filter(|pair| pair[1] > pair[0])
        .map(|pair| {
            let rank = 0.5 * (pair[0] + pair[1]);
            let up =
                margins.iter().zip(starts).map(|(&a, &start)| (rank - start).rem_euclid(1.0) < a).collect();
            (up, pair[1] - pair[0])
        })
        .collect()
}

fn mixture(laws: &[(f64, Law)]) -> Law {
    laws.iter()
        .flat_map(|(weight, law)| law.iter().map(move |(up, mass)| (up.clone(), weight * mass)))
        .collect()
}

/// A mixture of the independent and the comonotone law with common shocks in between: positively associated.
fn associated(rng: &mut StdRng, margins: &[f64]) -> Law {
    if rng.random_bool(0.3) {
        return ranked(margins, &vec![0.0; margins.len()]);
    }
    // A common shock that fails some members, and independent failures that make up each margin.
    let shock = rng.random::<f64>() * margins.iter().map(|a| 1.0 - a).fold(1.0, f64::min);
    let hit: Vec<bool> = margins.iter().map(|_| rng.random_bool(0.7)).collect();
    let own: Vec<f64> =
        margins.iter().zip(&hit).map(|(a, &hit)| if hit { a / (1.0 - shock) } else { *a }).collect();
    let calm = independent(&own);
    let hurt = calm
        .iter()
        .map(|(up, mass)| (up.iter().zip(&hit).map(|(&up, &hit)| up && !hit).collect(), *mass))
        .collect();
    mixture(&[(1.0 - shock, calm), (shock, hurt)])
}

fn arbitrary(rng: &mut StdRng, margins: &[f64]) -> Law {
    let mut starts = |n: usize| -> Vec<f64> {
        match rng.random_range(0..4) {
            // Failures side by side: as disjoint as they can be (the Fréchet lower bound of a Series).
            0 => {
                let mut at = 0.0;
                (0..n)
                    .map(|i| {
                        at += 1.0 - margins[i];
                        f64::rem_euclid(at, 1.0)
                    })
                    .collect()
            }
            // Successes side by side: as disjoint as they can be (the upper bound of a Race).
            1 => {
                let mut at = 0.0;
                (0..n)
                    .map(|i| {
                        let start = f64::rem_euclid(at, 1.0);
                        at += margins[i];
                        start
                    })
                    .collect()
            }
            2 => vec![0.0; n],
            _ => (0..n).map(|_| rng.random()).collect(),
        }
    };
    let (one, other) = (starts(margins.len()), starts(margins.len()));
    if rng.random_bool(0.5) {
        ranked(margins, &one)
    } else {
        mixture(&[(0.5, ranked(margins, &one)), (0.5, ranked(margins, &other))])
    }
}

fn truth(operator: &Operator, law: &Law, again: &dyn Fn(usize, bool) -> f64) -> f64 {
    law.iter().map(|(up, mass)| mass * succeeds(operator, up, again)).sum()
}

fn has_independent_retry(operator: &Operator) -> bool {
    matches!(operator, Operator::Retry { fate: AttemptsFate::Independent, .. })
        || operator.children().into_iter().any(has_independent_retry)
}

#[test]
fn no_joint_law_that_an_assumption_allows_leaves_its_bounds() {
    let mut rng = StdRng::seed_from_u64(0x_e3ac);
    let mut checked: BTreeMap<Dependence, usize> = BTreeMap::new();
    // How often a bound is met exactly: bounds that are merely wide would not be.
    let mut met: BTreeMap<Dependence, usize> = BTreeMap::new();
    let mut composer = emac::algebra::compose::Composer::new();
    for number in 0..TREES {
        let n = rng.random_range(1..=MAX_LEAVES);
        let margins: Vec<f64> = (0..n)
            .map(|_| match rng.random_range(0..4) {
                0 => rng.random_range(0.0..1.0),
                1 => 1.0 - 10_f64.powf(rng.random_range(-5.0..-1.0)),
                _ => rng.random_range(0.5..1.0),
            })
            .collect();
        let domain_count = rng.random_range(1..=3_usize);
        // A leaf is in one domain, in two (which merges them), or in none.
        let domains: Vec<Vec<usize>> = (0..n)
            .map(|_| match rng.random_range(0..5) {
                0 => Vec::new(),
                1 if domain_count > 1 => vec![0, 1],
                _ => vec![rng.random_range(0..domain_count)],
            })
            .collect();
        let operator = tree(&mut rng, &(0..n).collect::<Vec<_>>(), 0);
        let mut case = Case::new(operator.clone());
        for domain in 0..domain_count {
            case = case.domain(&format!("d{domain}"), DomainLatency::Independent);
        }
        for (&a, domains) in margins.iter().zip(&domains) {
            case = case.figure(a, domains);
        }
        let composition = composer.compose(&case.journey, &case.evidence, &[]);
        // Members of a merged domain form one block; the others stand alone.
        let merged = domains.iter().any(|domains| domains.len() > 1);
        let block_of = |leaf: usize| match domains[leaf].first() {
            None => 100 + leaf,
            Some(&domain) if merged && domain < 2 => 0,
            Some(&domain) => domain,
        };
        let mut blocks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        (0..n).for_each(|leaf| blocks.entry(block_of(leaf)).or_default().push(leaf));
        let in_blocks = |law: &mut dyn FnMut(&mut StdRng, &[f64]) -> Law, rng: &mut StdRng| -> Law {
            let blocks: Vec<(Vec<usize>, Law)> = blocks
                .values()
                .map(|members| {
                    let own: Vec<f64> = members.iter().map(|&member| margins[member]).collect();
                    (members.clone(), law(rng, &own))
                })
                .collect();
            product(n, &blocks)
        };
        let alone = |leaf: usize, _: bool| margins[leaf];
        let same = |_: usize, first: bool| f64::from(u8::from(first));
        let opposite = |leaf: usize, first: bool| {
            let a = margins[leaf];
            if first { ((2.0 * a - 1.0) / a).max(0.0) } else { (a / (1.0 - a)).min(1.0) }
        };
        let laws: Vec<(Dependence, Law)> = vec![
            (Dependence::Independent, independent(&margins)),
            (Dependence::SharedFate, in_blocks(&mut |_, own| independent(own), &mut rng)),
            (Dependence::SharedFate, in_blocks(&mut associated, &mut rng)),
            (Dependence::Unknown, in_blocks(&mut arbitrary, &mut rng)),
            (Dependence::UnknownAll, arbitrary(&mut rng, &margins)),
        ];
        for (dependence, law) in laws {
            let interval = composition.availability_by_dependence[&dependence];
            let (lower, upper) = (Probability::get(interval.lower), interval.upper.get());
            // Repeated calls: alone, with the same fate, and (where nothing is assumed) with the opposite one. A Retry
            // that declares independent attempts has them.
            let mut repeats: Vec<&dyn Fn(usize, bool) -> f64> = vec![&alone];
            if dependence != Dependence::Independent && !has_independent_retry(&operator) {
                repeats.push(&same);
                if dependence != Dependence::SharedFate {
                    repeats.push(&opposite);
                }
            }
            for again in repeats {
                let truth = truth(&operator, &law, again);
                assert!(
                    lower - 1e-9 <= truth && truth <= upper + 1e-9,
                    "tree {number}: {truth} is not in [{lower}, {upper}] of {dependence:?}\n{operator:?}\n{margins:?}\n{domains:?}"
                );
                *checked.entry(dependence).or_default() += 1;
                if (truth - lower).abs() < 1e-9 || (truth - upper).abs() < 1e-9 {
                    *met.entry(dependence).or_default() += 1;
                }
            }
        }
    }
    for dependence in Dependence::REPORTED {
        assert!(checked[&dependence] >= TREES, "{dependence:?}: only {} checks", checked[&dependence]);
        assert!(
            met[&dependence] >= TREES / 20,
            "{dependence:?}: bounds are met only {} times",
            met[&dependence]
        );
    }
}
