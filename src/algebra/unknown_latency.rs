//! Latency when nothing is known about the dependence inside a domain.
//!
//! Every node carries, in units of mass (see [`crate::distribution::expected_shortfall`]):
//!
//! - `late`: an upper bound of the mass of its successes after t, for every t (the usual stochastic order);
//! - `convex`: a measure that dominates its successes in the increasing convex order only. A Series of dependent calls has
//!   one that is much smaller: the comonotone sum. Where an operator needs more (Race, KofN, Timeout, the root), it is
//!   turned into the former by `Q(v) := ES(v)`;
//! - `within` and `early`: a lower and an upper bound of P(success by t);
//! - `failed`: the mass of its failures that are not known by t.
//!
//! Inside a group of operands that may share their fate any joint law is possible. Groups are independent of each other.

mod bracket;
mod operators;

pub(crate) use bracket::Bracket;

use operators::{
    ATOMS, all_bounds, dependent_sum, fallback, k_of_n, mixture, never_ending, optional, parallel,
    pointwise_early, race, repeat, truncated,
};

use super::tree::{Kind, Node, Tree};
use crate::distribution::expected_shortfall::TailLaw;
use crate::distribution::transform::{Spectrum, Transforms, multiply};
use crate::journey::operator::{AttemptsFate, Jitter};

/// Cells of a sum of independent groups, whose times are rounded up.
const CELLS: usize = 2048;
/// Attempts beyond this many are taken as never ending.
const MAX_ATTEMPTS: u32 = 12;

/// Folds the tree. `leaves` has one bracket for each component.
pub(crate) struct UnknownLatency<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) leaves: &'a [Bracket],
    /// Nothing is independent of anything.
    pub(crate) everywhere: bool,
    pub(crate) transforms: &'a mut Transforms,
}

impl UnknownLatency<'_> {
    /// The bracket of the root.
    pub(crate) fn fold(&mut self) -> Option<Bracket> {
        let (tree, leaves) = (self.tree, self.leaves);
        if let Some(&Kind::Leaf(component)) = tree.nodes.last().map(|root| &root.kind) {
            return Some(leaves[component].clone());
        }
        // Those of leaves stay where they are.
        let mut brackets: Vec<Option<Bracket>> = Vec::with_capacity(tree.nodes.len());
        for (at, node) in tree.nodes.iter().enumerate() {
            let below = |operand: &usize| match tree.nodes[*operand].kind {
                Kind::Leaf(component) => Some(&leaves[component]),
                _ => brackets[*operand].as_ref(),
            };
            let next = match node.kind {
                Kind::Leaf(_) => None,
                _ => Some(self.node(at, &node.operands.iter().filter_map(below).collect::<Vec<_>>())),
            };
            brackets.push(next);
        }
        brackets.pop().flatten()
    }

    fn node(&mut self, at: usize, operands: &[&Bracket]) -> Bracket {
        let node = &self.tree.nodes[at];
        let wanted = node.failure_time_matters;
        let apart = !self.everywhere && node.groups == operands.len();
        match &node.kind {
            Kind::Leaf(component) => self.leaves[*component].clone(),
            Kind::Series => {
                let last = at == self.tree.root();
                self.by_group(node, operands, |this, members, apart| {
                    this.series(members, apart, wanted, last)
                })
            }
            Kind::Parallel => self.by_group(node, operands, |_, members, apart| parallel(members, apart)),
            Kind::Race => self.by_group(node, operands, |_, members, apart| race(members, apart)),
            Kind::KofN(k) => k_of_n(operands, *k, apart),
            Kind::Cond(weights) => mixture(&weights.known, weights.rest, &weights.free, operands),
            &Kind::Timeout(after) => {
                let body = truncated(operands[0], after);
                match operands.get(1) {
                    None => body,
                    Some(fallback) => {
                        let fallback = fallback.delayed(after);
                        let failed = fallback.failed.clone();
                        let both = race(&[&body, &fallback], apart);
                        Bracket { failed: failed.slowest(1.0 - both.bounds.lower), ..both }
                    }
                }
            }
            Kind::Fallback => fallback(operands[0], operands[1], apart),
            Kind::Retry { attempts, per_try, backoff, fate, .. } => {
                let attempt =
                    per_try.map_or_else(|| operands[0].clone(), |after| truncated(operands[0], after));
                let apart = *fate == AttemptsFate::Independent && !self.everywhere;
                let wait = |k: u32| backoff.map_or(0.0, |backoff| backoff.after_attempt(k).get());
                let mut all = if *attempts > MAX_ATTEMPTS {
                    never_ending(&attempt, attempts - MAX_ATTEMPTS + 1, apart)
                } else {
                    attempt.clone()
                };
                for k in (1..(*attempts).min(MAX_ATTEMPTS)).rev() {
                    let mut later = all.delayed(wait(k));
                    if backoff.is_some_and(|backoff| backoff.jitter == Jitter::Full) {
                        later.early = all.early;
                    }
                    all = fallback(&attempt, &later, apart);
                }
                all
            }
            &Kind::Hedge(delay) => race(&[operands[0], &operands[1].delayed(delay)], apart),
            &Kind::Optional(timeout) => optional(operands[0], timeout),
            Kind::Repeat(counts) => repeat(operands[0], counts),
        }
    }

    /// Groups first, each with any joint law, then the groups with each other, independent.
    fn by_group(
        &mut self,
        node: &Node,
        operands: &[&Bracket],
        mut combine: impl FnMut(&mut Self, &[&Bracket], bool) -> Bracket,
    ) -> Bracket {
        if self.everywhere || node.groups == 1 {
            return combine(self, operands, false);
        }
        if node.groups == operands.len() {
            return combine(self, operands, true);
        }
        let mut members: Vec<Vec<&Bracket>> = vec![Vec::new(); node.groups];
        operands.iter().zip(&node.group).for_each(|(operand, &group)| members[group].push(operand));
        let groups: Vec<Bracket> = members
            .iter()
            .map(
                |members| if let [only] = members[..] { only.clone() } else { combine(self, members, false) },
            )
            .collect();
        combine(self, &groups.iter().collect::<Vec<_>>(), true)
    }

    fn series(&mut self, members: &[&Bracket], apart: bool, wanted: bool, last: bool) -> Bracket {
        if let [only] = members {
            return (*only).clone();
        }
        let bounds = all_bounds(members, apart);
        let mut bracket = if apart {
            let late = self.independent_sum(members, bounds.upper, false);
            let convex = members
                .iter()
                .any(|member| member.convex.is_some())
                .then(|| self.independent_sum(members, bounds.upper, true));
            Bracket { convex, ..Bracket::from_late(bounds, late) }
        } else {
            let terms: Vec<(TailLaw, Option<TailLaw>)> =
                members.iter().flat_map(|member| member.terms()).collect();
            let (late, convex) = dependent_sum(&terms, bounds.upper, !last);
            Bracket { convex: Some(convex), terms, ..Bracket::from_late(bounds, late) }
        };
        bracket.within = bracket.complement_of_late();
        bracket.early = pointwise_early(members, bounds.upper, |at| {
            if apart { at.iter().product() } else { at.iter().copied().fold(1.0, f64::min) }
        });
        if wanted {
            // A failing run lasts at most as long as all its calls, however each ends.
            let calls: Vec<(TailLaw, Option<TailLaw>)> = members
                .iter()
                .map(|member| (TailLaw::union([(1.0, &member.late), (1.0, &member.failed)]), None))
                .collect();
            bracket.failed = dependent_sum(&calls, 1.0 - bounds.lower, false).0;
        }
        bracket
    }

    /// The sum of independent times, given success, as a measure of mass `total`; each is rounded up to the grid.
    fn independent_sum(&mut self, members: &[&Bracket], total: f64, convex: bool) -> TailLaw {
        /// The tail mass, over all members, up to which the grid reaches.
        const BEYOND: f64 = 1e-5;
        let law = |member: &Bracket| -> TailLaw {
            match &member.convex {
                Some(law) if convex => law.clone(),
                _ => member.late.clone(),
            }
        };
        let laws: Vec<TailLaw> = members.iter().map(|member| law(member)).collect();
        #[expect(clippy::cast_precision_loss, reason = "bounded by the fan-out")]
        let share = BEYOND / members.len() as f64;
        let horizon: f64 = laws
            .iter()
            .zip(members)
            .map(|(law, member)| law.quantile(law.never() + share * member.bounds.lower))
            .filter(|time| time.is_finite())
            .sum::<f64>()
            .max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "a constant")]
        let step = horizon * 1.000_001 / (CELLS - members.len().min(CELLS / 2)) as f64;
        let transform = self.transforms.of(CELLS);
        let mut product: Option<Spectrum> = None;
        let mut cdf = vec![0.0; CELLS];
        for (law, member) in laws.iter().zip(members) {
            let times = || (0..CELLS).map(|k| k as f64 * step);
            let known = (!convex || member.convex.is_none()).then(|| member.within.at_each(times()));
            let known = known.into_iter().flatten().chain(std::iter::repeat(0.0));
            for ((value, after), within) in cdf.iter_mut().zip(law.after_each(times())).zip(known) {
                // The whole mass may be late of a success that is only just possible.
                let on_time = within.max(member.bounds.lower - after).max(0.0);
                *value = if after <= 0.0 { 1.0 } else { on_time / (on_time + after) };
            }
            // Rounding must not make it fall.
            let mut most: f64 = 0.0;
            cdf.iter_mut().for_each(|value| {
                most = value.max(most);
                *value = most;
            });
            let mut spectrum = Spectrum::new();
            transform.forward(&cdf, &mut spectrum);
            match &mut product {
                None => product = Some(spectrum),
                Some(product) => multiply(product, &spectrum),
            }
        }
        let Some(mut product) = product else { return TailLaw::default() };
        transform.inverse(&mut product, &mut cdf);
        let (mut times, mut later) = (Vec::with_capacity(CELLS + 1), Vec::with_capacity(CELLS + 1));
        let mut time = 0.0;
        for value in &cdf {
            /// What the transform may be off by.
            const NOISE: f64 = 1e-7;
            times.push(time);
            later.push(total * (1.0 - value + NOISE).clamp(0.0, 1.0));
            time += step;
        }
        // What lies beyond the grid arrives by the sum of the longest times, or never.
        let never = |(law, member): (&TailLaw, &&Bracket)| {
            if law.never() > 0.0 { (law.never() / member.bounds.lower).min(1.0) } else { 0.0 }
        };
        let never: f64 = laws.iter().zip(members).map(never).sum();
        let longest: f64 = laws.iter().map(|law| law.quantile(law.never())).sum();
        times.push(longest.max(time));
        later.push(total * never.min(1.0));
        TailLaw::from_tail(&times, &later, total).coarsened(ATOMS)
    }
}
