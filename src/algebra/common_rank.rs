//! Common ranks: all leaves of a subtree fast, slow or failing together. At each rank every leaf has one outcome, and
//! the tree is a chain of additions and comparisons; no grid is needed until the end.

use super::curve::{Curve, Reading};
use super::fold::{Grid, NodeCurves, Readings};
use super::leaf::{Leaf, Outcome};
use super::scenario::LAST_MASS;
use super::tree::{Kind, Tree};
use crate::journey::operator::{AttemptsFate, Jitter};

/// Ranks tried: their masses fall geometrically towards the slow end, each 2 % of what lies beyond it.
const RANKS: usize = 480;

/// Success or known failure, each at a time that may be infinite.
type Call = Result<f64, f64>;

/// Whether the subtree has one outcome at each rank. A bracket also needs that no deadline turns a time into an
/// outcome: mass that straddles a deadline is on both sides of it.
pub(crate) fn applies(tree: &Tree, top: usize, leaves: &[Leaf], readings: &[Reading]) -> bool {
    tree.nodes[tree.nodes[top].first..=top].iter().all(|node| match &node.kind {
        Kind::Leaf(component) => !leaves[*component].vacuous,
        Kind::Cond(weights) => weights.free.is_empty() && weights.known.iter().all(|&p| p <= 0.0 || p >= 1.0),
        Kind::Timeout(_) => readings == [Reading::Exact],
        Kind::Retry { per_try, backoff, fate, .. } => {
            (per_try.is_none() || readings == [Reading::Exact])
                && *fate == AttemptsFate::Shared
                && backoff.is_none_or(|backoff| backoff.jitter == Jitter::None)
        }
        Kind::Repeat(counts) => counts.iter().filter(|&&(_, p)| p > 0.0).count() == 1,
        _ => true,
    })
}

/// The curves of the subtree of `top` at common ranks.
pub(crate) fn fold(tree: &Tree, top: usize, leaves: &[Leaf], grid: Grid, readings: &[Reading]) -> Readings {
    let ratio = LAST_MASS.powf(1.0 / RANKS as f64);
    readings
        .iter()
        .map(|&reading| {
            let mut success = Masses::new(grid);
            let mut failure = Masses::new(grid);
            let mut tail = 1.0;
            let mut calls: Vec<Call> = Vec::new();
            for part in 0..=RANKS {
                let next = if part == RANKS { 0.0 } else { tail * ratio };
                let rank = 1.0 - 0.5 * (tail + next);
                match at_rank(tree, top, leaves, reading, rank, &mut calls) {
                    Ok(t) => success.add(t, tail - next),
                    Err(t) => failure.add(t, tail - next),
                }
                tail = next;
            }
            NodeCurves {
                success: success.curve(),
                failure: tree.nodes[top].failure_time_matters.then(|| failure.curve()),
            }
        })
        .collect()
}

fn at_rank(
    tree: &Tree,
    top: usize,
    leaves: &[Leaf],
    reading: Reading,
    rank: f64,
    calls: &mut Vec<Call>,
) -> Call {
    let first = tree.nodes[top].first;
    calls.clear();
    for node in &tree.nodes[first..=top] {
        let operands = || node.operands.iter().map(|&operand| calls[operand - first]);
        let operand = |place: usize| calls[node.operands[place] - first];
        let good = || operands().filter_map(Result::ok);
        let bad = || operands().filter_map(Result::err);
        let call = match &node.kind {
            Kind::Leaf(component) => {
                let leaf = &leaves[*component];
                let a = leaf.availability;
                if rank < a {
                    Ok(leaf.law(Outcome::Success, reading).quantile(rank / a))
                } else {
                    Err(leaf.law(Outcome::Failure, reading).quantile((rank - a) / (1.0 - a)))
                }
            }
            Kind::Series => series(operands()),
            Kind::Parallel => {
                if bad().next().is_some() {
                    Err(bad().fold(f64::INFINITY, f64::min))
                } else {
                    Ok(good().fold(0.0, f64::max))
                }
            }
            Kind::Race => {
                if good().next().is_some() {
                    Ok(good().fold(f64::INFINITY, f64::min))
                } else {
                    Err(bad().fold(0.0, f64::max))
                }
            }
            Kind::KofN(k) => {
                let (mut won, mut lost): (Vec<f64>, Vec<f64>) = (good().collect(), bad().collect());
                won.sort_unstable_by(f64::total_cmp);
                lost.sort_unstable_by(f64::total_cmp);
                match won.get(k - 1) {
                    Some(&t) => Ok(t),
                    None => Err(lost.get(node.operands.len() - k).copied().unwrap_or(f64::INFINITY)),
                }
            }
            Kind::Cond(weights) => {
                let taken = weights.known.iter().position(|&p| p >= 1.0).unwrap_or(0);
                operand(taken)
            }
            Kind::Timeout(after) => match (within(operand(0), *after), node.operands.get(1)) {
                (Err(_), Some(_)) => later(operand(1), *after),
                (call, _) => call,
            },
            Kind::Fallback => match operand(0) {
                Ok(t) => Ok(t),
                Err(known) => later(operand(1), known),
            },
            Kind::Retry { attempts, per_try, backoff, .. } => {
                // One fate: if the first attempt fails, all do.
                match per_try.map_or(operand(0), |after| within(operand(0), after)) {
                    Ok(t) => Ok(t),
                    Err(t) => {
                        let waits = backoff.map_or(0.0, |backoff| {
                            (1..*attempts).map(|k| backoff.after_attempt(k).get()).sum()
                        });
                        Err(t * f64::from(*attempts) + waits)
                    }
                }
            }
            Kind::Hedge(delay) => match (operand(0), later(operand(1), *delay)) {
                (Ok(a), Ok(b)) => Ok(a.min(b)),
                (Ok(t), Err(_)) | (Err(_), Ok(t)) => Ok(t),
                (Err(a), Err(b)) => Err(a.max(b)),
            },
            Kind::Optional(timeout) => {
                let (Ok(t) | Err(t)) = operand(0);
                Ok(t.min(*timeout))
            }
            Kind::Repeat(counts) => {
                let count = counts.iter().find(|&&(_, p)| p > 0.0).map_or(0, |&(count, _)| count);
                match operand(0) {
                    _ if count == 0 => Ok(0.0),
                    Ok(t) => Ok(t * f64::from(count)),
                    Err(t) => Err(t),
                }
            }
        };
        calls.push(call);
    }
    calls.last().copied().unwrap_or(Err(f64::INFINITY))
}

fn series(operands: impl Iterator<Item = Call>) -> Call {
    let mut sum = 0.0;
    for call in operands {
        match call {
            Ok(t) => sum += t,
            Err(t) => return Err(sum + t),
        }
    }
    Ok(sum)
}

fn within(call: Call, deadline: f64) -> Call {
    match call {
        Ok(t) if t <= deadline => Ok(t),
        Ok(_) => Err(deadline),
        Err(t) => Err(t.min(deadline)),
    }
}

fn later(call: Call, by: f64) -> Call {
    call.map(|t| t + by).map_err(|t| t + by)
}

/// Masses at times, split onto the grid points around them.
struct Masses {
    grid: Grid,
    at: Vec<f64>,
    total: f64,
}

impl Masses {
    fn new(grid: Grid) -> Self {
        Self { grid, at: vec![0.0; grid.cells], total: 0.0 }
    }

    fn add(&mut self, time: f64, mass: f64) {
        self.total += mass;
        let cells = time / self.grid.step;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let first = cells as usize;
        let share = cells.fract();
        for (place, part) in [(first, 1.0 - share), (first.saturating_add(1), share)] {
            if part > 0.0
                && let Some(at) = self.at.get_mut(place)
            {
                *at += mass * part;
            }
        }
    }

    fn curve(mut self) -> Curve {
        let mut sum = 0.0;
        for at in &mut self.at {
            sum += *at;
            *at = sum;
        }
        Curve { within: self.at, later: None, total: self.total }
    }
}
