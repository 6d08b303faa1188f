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

use super::availability::{Bounds, any_of};
use super::tree::{Kind, Node, Tree};
use crate::distribution::expected_shortfall::{TailLaw, sum_quantile, sum_quantile_quick};
use crate::distribution::law::Law;
use crate::distribution::order_statistic;
use crate::distribution::transform::{Spectrum, Transforms, multiply};
use crate::journey::operator::{AttemptsFate, Jitter};

/// Atoms that a law keeps.
const ATOMS: usize = 288;
/// Atoms of a leaf's law.
const LEAF_ATOMS: usize = 112;
/// Times at which a pointwise bound is taken.
const TIMES: usize = 288;
/// Levels at which a bound in the increasing convex order is turned into one of the usual order.
const LEVELS: i32 = 100;
/// Cells of a sum of independent groups, whose times are rounded up.
const CELLS: usize = 2048;
/// Attempts beyond this many are taken as never ending.
const MAX_ATTEMPTS: u32 = 12;

/// A right-continuous step function of time that does not fall; 0 before its first time.
#[derive(Debug, Clone, Default)]
struct Rising {
    times: Vec<f64>,
    values: Vec<f64>,
}

impl Rising {
    fn at(&self, t: f64) -> f64 {
        let next = self.times.partition_point(|&time| time <= t);
        next.checked_sub(1).map_or(0.0, |at| self.values[at])
    }

    /// [`Self::at`] rising times, in one pass.
    fn at_each(&self, times: impl IntoIterator<Item = f64>) -> impl Iterator<Item = f64> {
        let mut next = 0;
        times.into_iter().map(move |t| {
            while self.times.get(next).is_some_and(|&time| time <= t) {
                next += 1;
            }
            next.checked_sub(1).map_or(0.0, |at| self.values[at])
        })
    }

    fn delayed(&self, by: f64) -> Self {
        Self { times: self.times.iter().map(|t| t + by).collect(), values: self.values.clone() }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Bracket {
    bounds: Bounds,
    late: TailLaw,
    convex: Option<TailLaw>,
    /// The terms of a dependent sum, so that a sum of sums is bounded as one.
    terms: Vec<(TailLaw, Option<TailLaw>)>,
    within: Rising,
    early: Rising,
    failed: TailLaw,
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

    fn from_late(bounds: Bounds, late: TailLaw) -> Self {
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
    fn complement_of_late(&self) -> Rising {
        let mut times: Vec<f64> =
            self.late.atoms().map(|(time, _)| time).filter(|time| time.is_finite()).collect();
        times.push(0.0);
        times.reverse();
        times.sort_unstable_by(f64::total_cmp);
        times.dedup();
        let late = self.late.after_each(times.iter().copied());
        let values = late.map(|late| (self.bounds.lower - late).max(0.0)).collect();
        Rising { times, values }
    }

    fn convex(&self) -> &TailLaw {
        self.convex.as_ref().unwrap_or(&self.late)
    }

    fn terms(&self) -> Vec<(TailLaw, Option<TailLaw>)> {
        if self.terms.is_empty() {
            vec![(self.late.clone(), self.convex.clone())]
        } else {
            self.terms.clone()
        }
    }

    fn delayed(&self, by: f64) -> Self {
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
        let terms = self.terms();
        let laws: Vec<&TailLaw> = terms.iter().map(|(late, _)| late).collect();
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
    TailLaw::from_atoms(atoms).coarsened(LEAF_ATOMS)
}

/// The same at the lower ends, running sums.
fn early_steps(law: &Law, mass: f64) -> Rising {
    let mut steps = Rising::default();
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
                for part in 0..parts {
                    let time = |part: u32| from + (to - from) * f64::from(part) / f64::from(parts);
                    visit(time(part), time(part + 1), share / f64::from(parts));
                }
            }
        }
        before = values[at];
    }
}

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

/// The sum of times under any joint law: in the usual order, and in the increasing convex one. The former from the latter
/// alone where nothing but the journey itself asks for it: the root's quantiles are searched one by one.
fn dependent_sum(terms: &[(TailLaw, Option<TailLaw>)], total: f64, searched: bool) -> (TailLaw, TailLaw) {
    let convex: Vec<&TailLaw> = terms.iter().map(|(late, convex)| convex.as_ref().unwrap_or(late)).collect();
    let late: Vec<&TailLaw> = terms.iter().map(|(late, _)| late).collect();
    let comonotone = TailLaw::comonotone_sum(&convex, total).coarsened(ATOMS);
    let bound = |v: f64| {
        let convex = comonotone.expected_shortfall(v);
        // What may never arrive makes every shortfall infinite, the sum only up to its own mass.
        if searched || convex.is_infinite() { convex.min(sum_quantile_quick(&late, v)) } else { convex }
    };
    (from_quantiles(bound, total), comonotone)
}

/// A measure of mass `total` whose quantiles are at least `bound`, taken at some levels.
fn from_quantiles(bound: impl Fn(f64) -> f64, total: f64) -> TailLaw {
    /// The least level, as a share of the mass.
    const LEAST: f64 = 1e-5;
    let mut atoms = Vec::new();
    let (mut before, mut time) = (0.0, bound(0.0));
    for step in 0..=LEVELS {
        let level = total * LEAST.powf(1.0 - f64::from(step) / f64::from(LEVELS));
        atoms.push((time, level - before));
        (before, time) = (level, bound(level).min(time));
    }
    TailLaw::from_atoms(atoms)
}

fn all_bounds(members: &[&Bracket], apart: bool) -> Bounds {
    let lower = members.iter().map(|member| member.bounds.lower);
    let upper = members.iter().map(|member| member.bounds.upper);
    if apart {
        Bounds { lower: lower.product(), upper: upper.product() }
    } else {
        let lost: f64 = lower.map(|a| 1.0 - a).sum();
        let upper = upper.fold(1.0, f64::min);
        Bounds { lower: (1.0 - lost).clamp(0.0, upper), upper }
    }
}

/// At most [`TIMES`] of the times at which one of the laws jumps, and 0; finite and rising. A function that is sampled at
/// them and held until the next is not below a falling one, nor above a rising one.
fn common_times<'a>(laws: impl Iterator<Item = &'a TailLaw>) -> Vec<f64> {
    let mut times: Vec<f64> =
        laws.flat_map(|law| law.atoms().map(|(time, _)| time)).filter(|t| t.is_finite()).collect();
    times.push(0.0);
    times.sort_unstable_by(f64::total_cmp);
    times.dedup();
    thinned(times)
}

fn thinned(times: Vec<f64>) -> Vec<f64> {
    let every = times.len().div_ceil(TIMES).max(1);
    let last = times.len() - 1;
    times
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % every == 0 || *at == last)
        .map(|(_, time)| time)
        .collect()
}

/// `combine` of the members' `S̄` at each time, held from the time before: not below the function.
fn pointwise_early(members: &[&Bracket], upper: f64, combine: impl Fn(&[f64]) -> f64) -> Rising {
    let mut times: Vec<f64> = members.iter().flat_map(|member| member.early.times.iter().copied()).collect();
    times.push(0.0);
    times.sort_unstable_by(f64::total_cmp);
    times.dedup();
    let times = thinned(times);
    let mut at = vec![0.0; members.len()];
    // On [t_k, t_{k+1}) no more than just before t_{k+1}; thinning may have dropped jumps in between.
    let ends = || times.iter().copied().skip(1).chain([f64::INFINITY]);
    let mut early: Vec<_> = members.iter().map(|member| member.early.at_each(ends())).collect();
    let mut values: Vec<f64> = (0..times.len())
        .map(|_| {
            at.iter_mut().zip(&mut early).for_each(|(value, early)| *value = early.next().unwrap_or(0.0));
            combine(&at).min(upper)
        })
        .collect();
    drop(early);
    let mut most: f64 = 0.0;
    values.iter_mut().for_each(|value| {
        most = value.max(most);
        *value = most;
    });
    Rising { times, values }
}

/// From pointwise bounds: `at(t) = (S̲, D̄)`.
fn pointwise(bounds: Bounds, times: Vec<f64>, mut at: impl FnMut(f64) -> (f64, f64)) -> Bracket {
    let (mut within, mut later): (Vec<f64>, Vec<f64>) = times.iter().map(|&t| at(t)).unzip();
    let (mut most, mut least) = (0.0_f64, bounds.upper);
    for (s, d) in within.iter_mut().zip(&mut later) {
        most = most.max(*s);
        *s = most;
        least = least.min(d.max(0.0)).min((bounds.upper - most).max(0.0));
        *d = least;
    }
    let late = TailLaw::from_tail(&times, &later, bounds.upper);
    Bracket { within: Rising { times, values: within }, ..Bracket::from_late(bounds, late) }
}

/// Both orders carry over to the maximum.
fn parallel(members: &[&Bracket], apart: bool) -> Bracket {
    if let [only] = members {
        return (*only).clone();
    }
    let bounds = all_bounds(members, apart);
    let early = pointwise_early(members, bounds.upper, |at| {
        if apart { at.iter().product() } else { at.iter().copied().fold(1.0, f64::min) }
    });
    let failed = TailLaw::union(members.iter().map(|member| (1.0, &member.failed)))
        .slowest(1.0 - bounds.lower)
        .coarsened(ATOMS);
    let uncertain = members.iter().any(|member| member.convex.is_some());
    if apart {
        let slow = |convex: bool, t: f64| -> f64 {
            let fast: f64 = members
                .iter()
                .map(|member| match &member.convex {
                    Some(law) if convex => {
                        let d = law.after(t);
                        1.0 - if d > 0.0 { (d / member.bounds.lower).min(1.0) } else { 0.0 }
                    }
                    _ => 1.0 - member.slow_share(t),
                })
                .product();
            1.0 - fast
        };
        let times = common_times(members.iter().map(|member| &member.late));
        let bracket = pointwise(bounds, times, |t| {
            let within: f64 = members.iter().map(|member| member.within.at(t)).product();
            (within, bounds.upper * slow(false, t))
        });
        let convex = uncertain.then(|| {
            let times = common_times(members.iter().map(|member| member.convex()));
            let later: Vec<f64> = times.iter().map(|&t| bounds.upper * slow(true, t)).collect();
            TailLaw::from_tail(&times, &later, bounds.upper)
        });
        Bracket { convex, early, failed, ..bracket }
    } else {
        let union = |pick: fn(&Bracket) -> &TailLaw| {
            TailLaw::union(members.iter().map(|member| (1.0, pick(member))))
                .slowest(bounds.upper)
                .coarsened(ATOMS)
        };
        let convex = uncertain.then(|| union(Bracket::convex));
        let mut bracket =
            Bracket { convex, early, failed, ..Bracket::from_late(bounds, union(|member| &member.late)) };
        bracket.within = bracket.complement_of_late();
        bracket
    }
}

fn race(members: &[&Bracket], apart: bool) -> Bracket {
    if let [only] = members {
        return (*only).clone();
    }
    let lower = || members.iter().map(|member| member.bounds.lower);
    let upper = || members.iter().map(|member| member.bounds.upper);
    let any = |values: &mut dyn Iterator<Item = f64>| 1.0 - values.map(|a| 1.0 - a).product::<f64>();
    let bounds = if apart {
        Bounds { lower: any(&mut lower()), upper: any(&mut upper()) }
    } else {
        Bounds { lower: lower().fold(0.0, f64::max), upper: upper().sum::<f64>().min(1.0) }
    };
    let times = common_times(members.iter().map(|member| &member.late));
    let bracket = pointwise(bounds, times, |t| {
        let at = || {
            members.iter().map(move |member| (member.within.at(t), member.late.after(t), member.bounds.upper))
        };
        if apart {
            let yet: f64 = at().map(|(s, _, _)| 1.0 - s).product();
            let ever: f64 = at().map(|(s, d, a)| (1.0 - s - d.min((a - s).max(0.0))).max(0.0)).product();
            (1.0 - yet, yet - ever)
        } else {
            (at().map(|(s, _, _)| s).fold(0.0, f64::max), at().map(|(_, d, _)| d).sum())
        }
    });
    let early = pointwise_early(members, bounds.upper, |at| {
        if apart { any(&mut at.iter().copied()) } else { at.iter().sum::<f64>().min(1.0) }
    });
    let failed = TailLaw::union(members.iter().map(|member| (1.0, &member.failed)))
        .slowest(1.0 - bounds.lower)
        .coarsened(ATOMS);
    Bracket { early, failed, ..bracket }
}

fn k_of_n(members: &[&Bracket], k: usize, apart: bool) -> Bracket {
    let sorted = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let least = |values: Vec<f64>| {
        if apart {
            order_statistic::at_least(values.into_iter(), k)
        } else {
            order_statistic::least_at_least(&sorted(values), k)
        }
    };
    let most = |values: Vec<f64>| {
        if apart {
            order_statistic::at_least(values.into_iter(), k)
        } else {
            order_statistic::greatest_at_least(&sorted(values), k).min(1.0)
        }
    };
    let lower = least(members.iter().map(|member| member.bounds.lower).collect()).max(0.0);
    let upper = most(members.iter().map(|member| member.bounds.upper).collect()).max(lower);
    let bounds = Bounds { lower, upper };
    let times = common_times(members.iter().map(|member| &member.late));
    let bracket = pointwise(bounds, times, |t| {
        let within = least(members.iter().map(|member| member.within.at(t)).collect()).max(0.0);
        (within, members.iter().map(|member| member.late.after(t)).sum())
    });
    let early = pointwise_early(members, upper, |at| most(at.to_vec()));
    let failed = TailLaw::union(members.iter().map(|member| (1.0, &member.failed)))
        .slowest(1.0 - lower)
        .coarsened(ATOMS);
    Bracket { early, failed, ..bracket }
}

/// A condition; what free branches share may go to any of them.
fn mixture(known: &[f64], rest: f64, free_branches: &[usize], members: &[&Bracket]) -> Bracket {
    let free = || free_branches.iter().map(|&branch| members[branch]);
    let known_sum =
        |side: fn(&Bracket) -> f64| -> f64 { known.iter().zip(members).map(|(p, m)| p * side(m)).sum() };
    let extreme = |side: fn(&Bracket) -> f64, pick: fn(f64, f64) -> f64| {
        if rest > 0.0 { free().map(side).reduce(pick).unwrap_or(0.0) } else { 0.0 }
    };
    let bounds = Bounds {
        lower: known_sum(|m| m.bounds.lower) + rest * extreme(|m| m.bounds.lower, f64::min),
        upper: (known_sum(|m| m.bounds.upper) + rest * extreme(|m| m.bounds.upper, f64::max)).min(1.0),
    };
    let weighted =
        || known.iter().copied().zip(members.iter().copied()).chain(free().map(|member| (rest, member)));
    let union = |pick: fn(&Bracket) -> &TailLaw, total: f64| {
        TailLaw::union(weighted().map(|(p, member)| (p, pick(member)))).slowest(total).coarsened(ATOMS)
    };
    let mut bracket = Bracket::from_late(bounds, union(|member| &member.late, bounds.upper));
    if members.iter().any(|member| member.convex.is_some()) {
        bracket.convex = Some(union(Bracket::convex, bounds.upper));
    }
    bracket.within = bracket.complement_of_late();
    bracket.failed = union(|member| &member.failed, 1.0 - bounds.lower);
    bracket.early = pointwise_early(members, bounds.upper, |at| {
        let sum: f64 = known.iter().zip(at).map(|(p, s)| p * s).sum();
        let best = free_branches.iter().map(|&branch| at[branch]).fold(0.0, f64::max);
        sum + rest * best
    });
    bracket
}

/// Success within the deadline only; what fails is known at the deadline at the latest.
fn truncated(body: &Bracket, after: f64) -> Bracket {
    let bounds = Bounds { lower: body.within.at(after), upper: body.early.at(after).min(body.bounds.upper) };
    let bounds = Bounds { lower: bounds.lower.min(bounds.upper), upper: bounds.upper };
    let mut times = common_times([&body.late].into_iter());
    times.retain(|&t| t < after);
    times.push(after);
    let mut bracket = pointwise(bounds, times, |t| {
        if t < after {
            (body.within.at(t).min(bounds.lower), body.late.after(t))
        } else {
            (bounds.lower, 0.0)
        }
    });
    let at = body.early.times.partition_point(|&time| time <= after);
    bracket.early = Rising {
        times: body.early.times[..at].to_vec(),
        values: body.early.values[..at].iter().map(|value| value.min(bounds.upper)).collect(),
    };
    bracket.failed = TailLaw::from_atoms(vec![(after, 1.0 - bounds.lower)]);
    bracket
}

fn fallback(first: &Bracket, second: &Bracket, apart: bool) -> Bracket {
    let (a, b) = (first.bounds, second.bounds);
    let any = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
    let bounds = if apart {
        Bounds { lower: any(a.lower, b.lower), upper: any(a.upper, b.upper) }
    } else {
        Bounds { lower: a.lower.max(b.lower), upper: (a.upper + b.upper).min(1.0) }
    };
    let rescued = if apart { (1.0 - a.lower) * b.upper } else { b.upper.min(1.0 - a.lower) };
    let failed = (first.failed.clone(), None);
    let (then, _) = dependent_sum(&[failed.clone(), (second.late.clone(), None)], rescued, true);
    let late = TailLaw::union([(1.0, &first.late), (1.0, &then)]).slowest(bounds.upper).coarsened(ATOMS);
    let mut bracket = Bracket::from_late(bounds, late);
    let sums = bracket.complement_of_late();
    let times = common_times([&bracket.late, &first.late].into_iter());
    let values = times.iter().map(|&t| first.within.at(t).max(sums.at(t))).collect();
    bracket.within = Rising { times, values };
    bracket.early = pointwise_early(&[first, second], bounds.upper, |at| at[0] + at[1].min(1.0 - a.lower));
    bracket.failed = dependent_sum(&[failed, (second.failed.clone(), None)], 1.0 - bounds.lower, false).0;
    bracket
}

/// Attempts of which nothing but their number is used.
fn never_ending(attempt: &Bracket, attempts: u32, apart: bool) -> Bracket {
    let upper = if apart {
        any_of(attempt.bounds.upper, attempts)
    } else {
        (f64::from(attempts) * attempt.bounds.upper).min(1.0)
    };
    let bounds = Bounds {
        lower: if apart { any_of(attempt.bounds.lower, attempts) } else { attempt.bounds.lower },
        upper,
    };
    let never = |mass| TailLaw::from_atoms(vec![(f64::INFINITY, mass)]);
    Bracket {
        early: Rising { times: vec![0.0], values: vec![upper] },
        within: Rising { times: vec![0.0], values: vec![0.0] },
        failed: never(1.0 - bounds.lower),
        ..Bracket::from_late(bounds, never(upper))
    }
}

/// Done at the deadline at the latest, however it ends.
fn optional(body: &Bracket, timeout: f64) -> Bracket {
    let bounds = Bounds::exactly(1.0);
    let ends = TailLaw::union([(1.0, &body.late), (1.0, &body.failed)]).slowest(1.0);
    let late = TailLaw::from_atoms(ends.atoms().map(|(time, mass)| (time.min(timeout), mass)).collect());
    let mut bracket = Bracket::from_late(bounds, late);
    bracket.within = bracket.complement_of_late();
    let at = body.early.times.partition_point(|&time| time < timeout);
    let failed = 1.0 - body.bounds.lower;
    let mut early = Rising { times: vec![0.0], values: vec![failed] };
    for (&time, &value) in body.early.times[..at].iter().zip(&body.early.values) {
        early.times.push(time);
        early.values.push((value + failed).min(1.0));
    }
    early.times.push(timeout);
    early.values.push(1.0);
    bracket.early = early;
    bracket
}

/// Runs of one component share their fate.
fn repeat(body: &Bracket, counts: &[(u32, f64)]) -> Bracket {
    let at_once = Bracket {
        within: Rising { times: vec![0.0], values: vec![1.0] },
        early: Rising { times: vec![0.0], values: vec![1.0] },
        ..Bracket::from_late(Bounds::exactly(1.0), TailLaw::default())
    };
    let runs: Vec<Bracket> = counts
        .iter()
        .map(|&(count, _)| {
            let n = f64::from(count);
            match count {
                0 => at_once.clone(),
                1 => body.clone(),
                _ => {
                    let times = |law: &TailLaw| {
                        TailLaw::from_atoms(law.atoms().map(|(time, mass)| (n * time, mass)).collect())
                    };
                    let lower = (1.0 - n * (1.0 - body.bounds.lower)).clamp(0.0, body.bounds.upper);
                    let bounds = Bounds { lower, upper: body.bounds.upper };
                    let convex = times(body.convex());
                    let late = from_quantiles(|v| convex.expected_shortfall(v), bounds.upper);
                    let calls = times(&TailLaw::union([(1.0, &body.late), (1.0, &body.failed)]));
                    let failed = from_quantiles(|v| calls.expected_shortfall(v), 1.0 - lower);
                    let mut run = Bracket { convex: Some(convex), ..Bracket::from_late(bounds, late) };
                    run.within = run.complement_of_late();
                    run.early = body.early.clone();
                    run.failed = failed;
                    run
                }
            }
        })
        .collect();
    let shares: Vec<f64> = counts.iter().map(|&(_, p)| p).collect();
    mixture(&shares, 0.0, &[], &runs.iter().collect::<Vec<_>>())
}
