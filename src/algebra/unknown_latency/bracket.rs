//! What is known of a node: times by which its calls have succeeded, failed, or not.

use crate::algebra::availability::Bounds;
use crate::distribution::expected_shortfall::{TailLaw, sum_quantile};
use crate::distribution::law::Law;

/// Atoms of a leaf's law.
const LEAF_ATOMS: usize = 112;
/// Times at which a pointwise bound is taken.
pub(super) const TIMES: usize = 288;

/// A right-continuous step function of time that does not fall; 0 before its first time.
#[derive(Debug, Clone, Default)]
pub(super) struct Rising {
    pub(super) times: Vec<f64>,
    pub(super) values: Vec<f64>,
}

impl Rising {
    pub(super) fn at(&self, t: f64) -> f64 {
        let next = self.times.partition_point(|&time| time <= t);
        next.checked_sub(1).map_or(0.0, |at| self.values[at])
    }

    /// [`Self::at`] rising times, in one pass.
    pub(super) fn at_each(&self, times: impl IntoIterator<Item = f64>) -> impl Iterator<Item = f64> {
        let mut next = 0;
        times.into_iter().map(move |t| {
            while self.times.get(next).is_some_and(|&time| time <= t) {
                next += 1;
            }
            next.checked_sub(1).map_or(0.0, |at| self.values[at])
        })
    }

    pub(super) fn delayed(&self, by: f64) -> Self {
        Self { times: self.times.iter().map(|t| t + by).collect(), values: self.values.clone() }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Bracket {
    pub(super) bounds: Bounds,
    pub(super) late: TailLaw,
    pub(super) convex: Option<TailLaw>,
    /// The terms of a dependent sum, so that a sum of sums is bounded as one.
    pub(super) terms: Vec<(TailLaw, Option<TailLaw>)>,
    pub(super) within: Rising,
    pub(super) early: Rising,
    pub(super) failed: TailLaw,
}

impl Bracket {
    /// A leaf with these bounds of its availability and these laws of its successes (late and early) and, where an
    /// operator acts on their times, of its failures.
    pub(crate) fn leaf(bounds: Bounds, late: &Law, early: &Law, failure: Option<&Law>) -> Self {
        let late = late_atoms(late, bounds.upper);
        let mut bracket = Self {
            failed: failure.map_or_else(TailLaw::default, |law| late_atoms(law, 1.0 - bounds.lower)),
            early: early_steps(early, bounds.upper),
            ..Self::from_late(bounds, late)
        };
        bracket.within = bracket.complement_of_late();
        bracket
    }

    pub(super) fn from_late(bounds: Bounds, late: TailLaw) -> Self {
        Self {
            bounds,
            late,
            convex: None,
            terms: Vec::new(),
            within: Rising::default(),
            early: Rising::default(),
            failed: TailLaw::default(),
        }
    }

    /// `A̲ − D̄(t)`.
    pub(super) fn complement_of_late(&self) -> Rising {
        let mut times: Vec<f64> = vec![0.0];
        times.extend(self.late.times().iter().rev().filter(|time| time.is_finite() && **time > 0.0));
        let late = self.late.after_each(times.iter().copied());
        let values = late.map(|late| (self.bounds.lower - late).max(0.0)).collect();
        Rising { times, values }
    }

    pub(super) fn convex(&self) -> &TailLaw {
        self.convex.as_ref().unwrap_or(&self.late)
    }

    pub(super) fn terms(&self) -> Vec<(TailLaw, Option<TailLaw>)> {
        if self.terms.is_empty() {
            vec![(self.late.clone(), self.convex.clone())]
        } else {
            self.terms.clone()
        }
    }

    pub(super) fn delayed(&self, by: f64) -> Self {
        Self {
            bounds: self.bounds,
            late: self.late.delayed(by),
            convex: self.convex.as_ref().map(|law| law.delayed(by)),
            terms: Vec::new(),
            within: self.within.delayed(by),
            early: self.early.delayed(by),
            failed: self.failed.delayed(by),
        }
    }

    /// An upper bound of P(success by t | success).
    pub(crate) fn early_share(&self, t: f64) -> f64 {
        if self.bounds.lower > 0.0 { (self.early.at(t) / self.bounds.lower).min(1.0) } else { 1.0 }
    }

    /// Where its finite times end, in seconds.
    pub(crate) fn end(&self) -> f64 {
        self.late.quantile(self.late.never())
    }

    /// P(late | success) in the worst case.
    pub(crate) fn slow_share(&self, t: f64) -> f64 {
        let (d, s) = (self.late.after(t), self.within.at(t));
        if d <= 0.0 { 0.0 } else { d / (s + d) }
    }

    /// The upper bound of the q-quantile given success: `D̄(t) ≤ (1−q)(S̲ + D̄)(t)`, or the bounds of a sum at the mass
    /// `(1−q)·A̲`. Infinite where success is not certain to be possible.
    pub(crate) fn upper_quantile(&self, q: f64) -> f64 {
        let level = (1.0 - q) * self.bounds.lower;
        if level <= 0.0 {
            return f64::INFINITY;
        }
        let mut least = f64::INFINITY;
        let mut times: Vec<f64> = self.late.atoms().map(|(time, _)| time).collect();
        times.push(0.0);
        times.reverse();
        let at = times.partition_point(|&t| t.is_finite() && self.slow_share(t) > 1.0 - q);
        if let Some(&time) = times.get(at) {
            least = time;
        }
        let laws: Vec<&TailLaw> = match &self.terms[..] {
            [] => vec![&self.late],
            terms => terms.iter().map(|(late, _)| late).collect(),
        };
        least.min(sum_quantile(&laws, level)).min(self.convex().expected_shortfall(level))
    }

    /// The lower bound of the q-quantile given success: `S̄(t) ≥ q·A̲`.
    pub(crate) fn lower_quantile(&self, q: f64) -> f64 {
        let level = q * self.bounds.lower;
        let at = self.early.values.partition_point(|&value| value < level);
        self.early.times.get(at).copied().unwrap_or(0.0)
    }
}

/// A law's mass at the upper ends of narrow ranges of ranks; steps are kept as they are.
fn late_atoms(law: &Law, mass: f64) -> TailLaw {
    let mut atoms = Vec::with_capacity(2 * LEAF_ATOMS);
    each_range(law, |_, to, share| atoms.push((to, mass * share)));
    atoms.push((f64::INFINITY, mass * (1.0 - law.finite_mass())));
    TailLaw::from_falling(atoms.into_iter().rev()).coarsened(LEAF_ATOMS)
}

/// The same at the lower ends, running sums.
fn early_steps(law: &Law, mass: f64) -> Rising {
    let mut steps =
        Rising { times: Vec::with_capacity(2 * LEAF_ATOMS), values: Vec::with_capacity(2 * LEAF_ATOMS) };
    let mut sum = 0.0;
    each_range(law, |from, _, share| {
        sum += mass * share;
        steps.times.push(from);
        steps.values.push(sum);
    });
    // Where steps are joined, all of their mass comes at the first of them.
    let every = steps.times.len().div_ceil(TIMES).max(1);
    let last = steps.times.len();
    Rising {
        times: steps.times.iter().step_by(every).copied().collect(),
        values: (0..last).step_by(every).map(|at| steps.values[(at + every).min(last) - 1]).collect(),
    }
}

/// `visit(first time, last time, mass)` of narrow ranges of ranks, rising.
fn each_range(law: &Law, mut visit: impl FnMut(f64, f64, f64)) {
    let (times, values) = (law.times(), law.values());
    let mut before: f64 = 0.0;
    for at in 0..times.len() {
        let (from, to) = (times[at.saturating_sub(1)], times[at]);
        let share = values[at] - before;
        if share > 0.0 {
            if from == to || at == 0 {
                visit(to, to, share);
            } else {
                // No range holds more than an eighth of the mass beyond it, nor more than a hundredth of all.
                let beyond = (1.0 - values[at]).max(1e-7);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
                let parts = ((share / beyond * 16.0).min(share * 128.0).max(share / beyond.max(0.01) * 4.0))
                    .ceil()
                    .clamp(1.0, 64.0) as u32;
                let (step, each) = ((to - from) / f64::from(parts), share / f64::from(parts));
                let mut begin = from;
                for part in 1..=parts {
                    let end = if part == parts { to } else { from + step * f64::from(part) };
                    visit(begin, end, each);
                    begin = end;
                }
            }
        }
        before = values[at];
    }
}
