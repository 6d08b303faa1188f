//! Bounds of availability under each dependence assumption: a fold of intervals over the tree.
//!
//! Groups of operands that share no fate combine exactly as if independent. Within a group:
//!
//! | | Series, lower | Series, upper | Race, lower | Race, upper |
//! |---|---|---|---|---|
//! | shared fate | `∏ A_i` | `min A_i` | `max A_i` | `1 − ∏(1−A_i)` |
//! | unknown (Fréchet–Hoeffding) | `max(0, 1 − Σ(1−A_i))` | `min A_i` | `max A_i` | `min(1, Σ A_i)` |
//! | the paper's eq. (1) | `min A_i` | `min A_i` | as shared fate | as shared fate |
//!
//! The bounds of shared fate hold for positively associated failures (Barlow & Proschan); those of `unknown` for
//! every joint law, since each operator is monotone in its operands.

use super::tree::{Kind, Node, Tree, Weights};
use crate::distribution::order_statistic::{self, at_least};
use crate::journey::governance::Dependence;
use crate::journey::operator::AttemptsFate;

/// A lower and an upper bound of one probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Bounds {
    pub(crate) const VACUOUS: Self = Self { lower: 0.0, upper: 1.0 };

    pub(crate) const fn exactly(value: f64) -> Self {
        Self { lower: value, upper: value }
    }

    fn clamped(lower: f64, upper: f64) -> Self {
        let lower = lower.clamp(0.0, 1.0);
        Self { lower, upper: upper.clamp(lower, 1.0) }
    }
}

/// How operands of one group are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Independent,
    SharedFate,
    Unknown,
    PaperEq1,
}

/// The bounds of every node. `leaves` has one entry for each component; `on_time` gives, for a Timeout and a Retry with
/// a deadline per try, the bounds of the body's P(success by the deadline) from the node and the bounds below it.
pub(crate) fn fold(
    tree: &Tree,
    leaves: &[Bounds],
    on_time: impl Fn(usize, &[Bounds]) -> Bounds,
    dependence: Dependence,
) -> Vec<Bounds> {
    let mut bounds = Vec::with_capacity(tree.nodes.len());
    for at in 0..tree.nodes.len() {
        let next = match tree.nodes[at].kind {
            Kind::Leaf(component) => leaves[component],
            _ => node(tree, at, |bounds| on_time(at, bounds), dependence, &bounds),
        };
        bounds.push(next);
    }
    bounds
}

/// The bounds of an operator from those below it.
fn node(
    tree: &Tree,
    at: usize,
    on_time: impl FnOnce(&[Bounds]) -> Bounds,
    dependence: Dependence,
    below: &[Bounds],
) -> Bounds {
    match tree.nodes[at].kind {
        Kind::Timeout(_) | Kind::Retry { per_try: Some(_), .. } => {
            let body = below[tree.nodes[at].operands[0]];
            let by = on_time(below);
            let by = Bounds::clamped(by.lower.min(body.lower), by.upper.min(body.upper));
            combine(tree, at, by, dependence, below)
        }
        _ => combine(tree, at, Bounds::VACUOUS, dependence, below),
    }
}

/// The bounds of every node, of which single leaves and deadlines can be moved without folding the whole tree again.
pub(crate) struct Refold<'a> {
    tree: &'a Tree,
    dependence: Dependence,
    on_time: &'a [Bounds],
    bounds: Vec<Bounds>,
}

impl<'a> Refold<'a> {
    /// Folds; `on_time` gives the bounds of each body's P(success by the deadline).
    pub(crate) fn new(
        tree: &'a Tree,
        leaves: &[Bounds],
        on_time: &'a [Bounds],
        dependence: Dependence,
    ) -> Self {
        let bounds = fold(tree, leaves, |at, _| on_time[at], dependence);
        Self { tree, dependence, on_time, bounds }
    }

    /// The root's bounds.
    pub(crate) fn root(&self) -> Bounds {
        self.bounds[self.tree.root()]
    }

    /// The nodes whose bounds follow from those of `nodes`, rising, without these themselves.
    pub(crate) fn above(&self, nodes: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut above = Vec::new();
        for mut at in nodes {
            while let Some(parent) = self.tree.nodes[at].parent {
                above.push(parent);
                at = parent;
            }
        }
        above.sort_unstable();
        above.dedup();
        above
    }

    /// The root's bounds with those of `leaves` (nodes) replaced; `above` are [`Self::above`] these.
    pub(crate) fn with_leaves(&mut self, leaves: &[usize], moved: Bounds, above: &[usize]) -> Bounds {
        let kept: Vec<Bounds> = leaves.iter().chain(above).map(|&at| self.bounds[at]).collect();
        leaves.iter().for_each(|&at| self.bounds[at] = moved);
        self.refolded(above, None, leaves.iter().chain(above).zip(kept))
    }

    /// The root's bounds with the deadline of `node` met as `moved` says; `above` are [`Self::above`] the node.
    pub(crate) fn with_deadline(&mut self, node: usize, moved: Bounds, above: &[usize]) -> Bounds {
        let all: Vec<usize> = std::iter::once(node).chain(above.iter().copied()).collect();
        let kept: Vec<Bounds> = all.iter().map(|&at| self.bounds[at]).collect();
        self.refolded(&all, Some((node, moved)), all.iter().zip(kept))
    }

    fn refolded<'b>(
        &mut self,
        nodes: &[usize],
        deadline: Option<(usize, Bounds)>,
        kept: impl Iterator<Item = (&'b usize, Bounds)>,
    ) -> Bounds {
        for &at in nodes {
            let on_time = match deadline {
                Some((node, moved)) if node == at => moved,
                _ => self.on_time[at],
            };
            self.bounds[at] = node(self.tree, at, |_| on_time, self.dependence, &self.bounds);
        }
        let root = self.root();
        kept.for_each(|(&at, bounds)| self.bounds[at] = bounds);
        root
    }
}

/// Bounds of P(success by `t`) of a subtree under a dependence assumption, without any assumption on how latencies
/// depend: what cannot be split exactly (a sum of times) is split somehow below and not at all above. `by` gives the
/// bounds of a component's P(success by `t`), `share` each node's part when the time of a Series is split.
pub(crate) fn by_time(
    tree: &Tree,
    at: usize,
    t: f64,
    by: &impl Fn(usize, f64) -> Bounds,
    share: &[f64],
    dependence: Dependence,
) -> Bounds {
    let side = |lower| one_side_by_time(tree, at, t, by, share, dependence, lower);
    Bounds::clamped(side(true).lower, side(false).upper)
}

/// One side of [`by_time`]; the other side of the answer means nothing. (Both at once would split the tree in two at
/// every Series.)
fn one_side_by_time(
    tree: &Tree,
    at: usize,
    t: f64,
    by: &impl Fn(usize, f64) -> Bounds,
    share: &[f64],
    dependence: Dependence,
    lower: bool,
) -> Bounds {
    if t < 0.0 {
        return Bounds::exactly(0.0);
    }
    let node = &tree.nodes[at];
    let recurse = |operand: usize, t: f64| one_side_by_time(tree, operand, t, by, share, dependence, lower);
    let all_by = |times: &dyn Fn(usize) -> f64| {
        let mut below = vec![Bounds::VACUOUS; at];
        for &operand in &node.operands {
            below[operand] = recurse(operand, times(operand));
        }
        below
    };
    let deadline_met = |t: f64| recurse(node.operands[0], t);
    match &node.kind {
        Kind::Leaf(component) => by(*component, t),
        Kind::Parallel | Kind::Race | Kind::KofN(_) | Kind::Cond(_) => {
            combine(tree, at, Bounds::VACUOUS, dependence, &all_by(&|_| t))
        }
        Kind::Hedge(delay) => {
            let below = all_by(&|operand| if operand == node.operands[0] { t } else { t - delay });
            combine(tree, at, Bounds::VACUOUS, dependence, &below)
        }
        Kind::Series => {
            let all: f64 = node.operands.iter().map(|&operand| share[operand]).sum();
            let part = |operand: usize| {
                if !lower {
                    t
                } else if all > 0.0 {
                    t * share[operand] / all
                } else {
                    0.0
                }
            };
            combine(tree, at, Bounds::VACUOUS, dependence, &all_by(&part))
        }
        Kind::Timeout(after) if t < *after => deadline_met(t),
        Kind::Timeout(after) => {
            let below = all_by(&|operand| if operand == node.operands[0] { *after } else { t - after });
            combine(tree, at, below[node.operands[0]], dependence, &below)
        }
        Kind::Fallback => {
            let below = all_by(&|_| t);
            let upper = combine(tree, at, Bounds::VACUOUS, dependence, &below).upper;
            Bounds::clamped(below[node.operands[0]].lower, upper)
        }
        Kind::Retry { per_try, .. } => {
            let attempt = deadline_met(per_try.map_or(t, |after| after.min(t)));
            let mut below = vec![Bounds::VACUOUS; at];
            below[node.operands[0]] = attempt;
            let upper = combine(tree, at, attempt, dependence, &below).upper;
            Bounds::clamped(attempt.lower, upper)
        }
        Kind::Optional(timeout) if t < *timeout => Bounds::clamped(deadline_met(t).lower, 1.0),
        Kind::Optional(_) => Bounds::exactly(1.0),
        Kind::Repeat(counts) => {
            let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0).max(1);
            let mut below = vec![Bounds::VACUOUS; at];
            below[node.operands[0]] = deadline_met(if lower { t / f64::from(most) } else { t });
            combine(tree, at, Bounds::VACUOUS, dependence, &below)
        }
    }
}

/// The bounds of an operator from those of its operands (`below` is indexed by node); `on_time` replaces those of a
/// body with a deadline.
fn combine(tree: &Tree, at: usize, on_time: Bounds, dependence: Dependence, below: &[Bounds]) -> Bounds {
    let node = &tree.nodes[at];
    let (within, one_group) = match dependence {
        Dependence::Independent => (Within::Independent, false),
        Dependence::SharedFate => (Within::SharedFate, false),
        Dependence::Unknown => (Within::Unknown, false),
        Dependence::UnknownAll => (Within::Unknown, true),
        Dependence::PaperEq1 => (Within::PaperEq1, false),
    };
    let operands = || node.operands.iter().map(|&operand| below[operand]);
    match &node.kind {
        Kind::Leaf(_) => Bounds::VACUOUS,
        Kind::Series | Kind::Parallel => series(node, operands(), within, one_group),
        Kind::Race | Kind::Fallback | Kind::Hedge(_) => race(node, operands(), within, one_group),
        Kind::KofN(k) => k_of_n(node, &operands().collect::<Vec<_>>(), *k, within, one_group),
        Kind::Cond(weights) => cond(weights, &operands().collect::<Vec<_>>()),
        Kind::Timeout(_) => match node.operands.get(1) {
            None => on_time,
            Some(&fallback) => race(node, [on_time, below[fallback]].into_iter(), within, one_group),
        },
        Kind::Retry { attempts, per_try, fate, .. } => {
            let attempt = if per_try.is_some() { on_time } else { below[node.operands[0]] };
            let apart = *fate == AttemptsFate::Independent && dependence != Dependence::UnknownAll;
            retry(attempt, *attempts, if apart { Within::Independent } else { within })
        }
        Kind::Optional(_) => Bounds::exactly(1.0),
        Kind::Repeat(counts) => repeat(below[node.operands[0]], counts, within),
    }
}

/// Calls `combine` once for each group with its members.
fn by_group(
    node: &Node,
    operands: impl Iterator<Item = Bounds>,
    within: Within,
    one_group: bool,
    mut combine: impl FnMut(&[Bounds]),
) {
    if within == Within::Independent || (!one_group && node.groups == node.operands.len()) {
        operands.for_each(|operand| combine(&[operand]));
    } else if one_group || node.groups == 1 {
        combine(&operands.collect::<Vec<_>>());
    } else {
        let mut members = vec![Vec::new(); node.groups];
        operands.zip(&node.group).for_each(|(operand, &group)| members[group].push(operand));
        members.iter().for_each(|members| combine(members));
    }
}

fn product(values: impl Iterator<Item = f64>) -> f64 {
    values.product()
}

/// `1 − ∏(1−a)`.
fn any(values: impl Iterator<Item = f64>) -> f64 {
    1.0 - values.map(|a| 1.0 - a).product::<f64>()
}

fn series(node: &Node, operands: impl Iterator<Item = Bounds>, within: Within, one_group: bool) -> Bounds {
    let (mut lower, mut upper) = (1.0, 1.0);
    by_group(node, operands, within, one_group, |members| {
        if let [only] = members {
            lower *= only.lower;
            upper *= only.upper;
            return;
        }
        let lowers = || members.iter().map(|member| member.lower);
        upper *= members.iter().map(|member| member.upper).fold(1.0, f64::min);
        lower *= match within {
            Within::Independent | Within::SharedFate => product(lowers()),
            Within::PaperEq1 => lowers().fold(1.0, f64::min),
            Within::Unknown => (1.0 - lowers().map(|a| 1.0 - a).sum::<f64>()).max(0.0),
        };
    });
    Bounds::clamped(lower, upper)
}

fn race(node: &Node, operands: impl Iterator<Item = Bounds>, within: Within, one_group: bool) -> Bounds {
    let (mut all_fail_lower, mut all_fail_upper) = (1.0, 1.0);
    by_group(node, operands, within, one_group, |members| {
        if let [only] = members {
            all_fail_lower *= 1.0 - only.upper;
            all_fail_upper *= 1.0 - only.lower;
            return;
        }
        let uppers = || members.iter().map(|member| member.upper);
        all_fail_upper *= 1.0 - members.iter().map(|member| member.lower).fold(0.0, f64::max);
        all_fail_lower *= match within {
            Within::Unknown => (1.0 - uppers().sum::<f64>()).max(0.0),
            Within::Independent | Within::SharedFate | Within::PaperEq1 => 1.0 - any(uppers()),
        };
    });
    Bounds::clamped(1.0 - all_fail_upper, 1.0 - all_fail_lower)
}

/// Bounds the count of successes of each group, then adds the counts of the groups, which are independent.
fn k_of_n(node: &Node, operands: &[Bounds], k: usize, within: Within, one_group: bool) -> Bounds {
    if within == Within::Independent || (!one_group && node.groups == operands.len()) {
        let lower = at_least(operands.iter().map(|a| a.lower), k);
        let certain = operands.iter().all(|a| a.lower == a.upper);
        let upper = if certain { lower } else { at_least(operands.iter().map(|a| a.upper), k) };
        return Bounds::clamped(lower, upper);
    }
    let mut lower = order_statistic::Count::zero(k);
    let mut upper = order_statistic::Count::zero(k);
    let single = one_group || node.groups == 1;
    let mut answer = None;
    by_group(node, operands.iter().copied(), within, one_group, |members| {
        if let [only] = members {
            lower.add_trial(only.lower);
            upper.add_trial(only.upper);
            return;
        }
        let mut lowers: Vec<f64> = members.iter().map(|member| member.lower).collect();
        let mut uppers: Vec<f64> = members.iter().map(|member| member.upper).collect();
        lowers.sort_unstable_by(f64::total_cmp);
        uppers.sort_unstable_by(f64::total_cmp);
        let least = |j: usize| {
            let any_law = order_statistic::least_at_least(&lowers, j);
            match within {
                Within::Unknown => any_law,
                Within::Independent | Within::SharedFate | Within::PaperEq1 => {
                    any_law.max(product(lowers.iter().rev().take(j).copied()))
                }
            }
        };
        let most = |j: usize| order_statistic::greatest_at_least(&uppers, j);
        if single {
            answer = Some(Bounds::clamped(least(k), most(k)));
        } else {
            let levels = 1..=members.len().min(k);
            lower.add(&levels.clone().map(least).collect::<Vec<_>>());
            upper.add(&levels.map(most).collect::<Vec<_>>());
        }
    });
    answer.unwrap_or_else(|| Bounds::clamped(lower.at_least(), upper.at_least()))
}

fn cond(weights: &Weights, operands: &[Bounds]) -> Bounds {
    let known = |side: fn(&Bounds) -> f64| -> f64 {
        weights.known.iter().zip(operands).map(|(p, operand)| p * side(operand)).sum()
    };
    let free = || weights.free.iter().map(|&branch| operands[branch]);
    let (worst, best) = if weights.free.is_empty() {
        (0.0, 0.0)
    } else {
        (free().map(|a| a.lower).fold(1.0, f64::min), free().map(|a| a.upper).fold(0.0, f64::max))
    };
    Bounds::clamped(known(|a| a.lower) + weights.rest * worst, known(|a| a.upper) + weights.rest * best)
}

/// `1 − (1−a)^n`, without cancellation for small `a`.
pub(crate) fn any_of(a: f64, n: u32) -> f64 {
    if a >= 1.0 { 1.0 } else { -f64::exp_m1(f64::from(n) * f64::ln_1p(-a)) }
}

fn retry(attempt: Bounds, attempts: u32, within: Within) -> Bounds {
    let lower = match within {
        Within::Independent => any_of(attempt.lower, attempts),
        Within::SharedFate | Within::Unknown | Within::PaperEq1 => attempt.lower,
    };
    let upper = match within {
        Within::Unknown => f64::from(attempts) * attempt.upper,
        Within::Independent | Within::SharedFate | Within::PaperEq1 => any_of(attempt.upper, attempts),
    };
    Bounds::clamped(lower, upper)
}

fn repeat(body: Bounds, counts: &[(u32, f64)], within: Within) -> Bounds {
    let (mut lower, mut upper) = (0.0, 0.0);
    for &(count, p) in counts {
        let n = f64::from(count);
        let all = |a: f64| if count == 0 { 1.0 } else { a.powf(n) };
        let single = |a: f64| if count == 0 { 1.0 } else { a };
        lower += p * match within {
            Within::Independent | Within::SharedFate => all(body.lower),
            Within::PaperEq1 => single(body.lower),
            Within::Unknown => (1.0 - n * (1.0 - body.lower)).max(0.0),
        };
        upper += p * match within {
            Within::Independent => all(body.upper),
            Within::SharedFate | Within::Unknown | Within::PaperEq1 => single(body.upper),
        };
    }
    Bounds::clamped(lower, upper)
}
