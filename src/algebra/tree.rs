//! A journey's operator tree laid flat: operands before their operators, so that every fold is a loop.
//!
//! Building it resolves what does not depend on numbers: the weights of conditions, which operands may share
//! their fate, and who needs to know when its operands fail.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::journey::operator::{AttemptsFate, Backoff, Branch, BranchProbability, Jitter, Operator};

/// How far probabilities may miss their sum before they contradict each other.
const SUM_TOLERANCE: f64 = 1e-6;

/// How often each branch of a condition is taken: known weights, and a rest that any free branch may take.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    /// The known weight of each branch, 0 where it is free.
    pub(crate) known: Vec<f64>,
    /// What the free branches share in an unknown proportion.
    pub(crate) rest: f64,
    /// Which branches those are; empty where every weight is known.
    pub(crate) free: Vec<usize>,
}

/// An operator without its operands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Leaf(usize),
    Series,
    Parallel,
    Cond(Weights),
    Race,
    KofN(usize),
    /// The second operand, if any, is the fallback.
    Timeout(f64),
    Fallback,
    Retry {
        attempts: u32,
        per_try: Option<f64>,
        backoff: Option<Backoff>,
        fate: AttemptsFate,
    },
    Hedge(f64),
    Optional(f64),
    Repeat(Vec<(u32, f64)>),
}

/// One operator of the flat tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// The operands' indices, all below this node's own.
    pub(crate) operands: Vec<usize>,
    /// For each operand, the number of its group: operands of different groups share no fate.
    pub(crate) group: Vec<usize>,
    /// How many groups there are.
    pub(crate) groups: usize,
    /// The fate classes of the leaves below, rising and unique.
    pub(crate) classes: Vec<usize>,
    /// Whether an operator above acts on the time at which this one fails.
    pub(crate) failure_time_matters: bool,
    /// The first node of this one's subtree, which is `first..=self`.
    pub(crate) first: usize,
    /// The operator that this one is an operand of; `None` for the root.
    pub(crate) parent: Option<usize>,
    /// Which operator of the journey this is (its address), so that two trees of one journey can be compared; 0 for a
    /// node that only groups.
    pub(crate) origin: usize,
}

/// What was wrong with a parameter while the weights of a condition were resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParameterFlaw {
    /// No value: any probability.
    Unknown(usize),
    /// A value that is no probability.
    OutOfRange(usize),
    /// The probabilities of one condition contradict each other, so its parameters are taken as unknown.
    Contradiction,
}

/// The flat tree; the last node is the root.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// For each component, its fate class: components of one class may share their fate.
    pub(crate) class_of: Vec<usize>,
    /// For each component, how often it occurs.
    pub(crate) occurrences: Vec<usize>,
    /// What was wrong with parameters, in the order in which it was met.
    pub(crate) flaws: Vec<ParameterFlaw>,
    /// Whether the tree holds a deadline that decides about success.
    pub(crate) has_deadline: bool,
}

impl Tree {
    /// Flattens the tree as it is written; `journey` has passed [`Journey::check`].
    pub(crate) fn new(journey: &Journey, evidence: &Evidence) -> Self {
        Self::build(journey, evidence, fate_classes(journey, |_| true), false)
    }

    /// Flattens the tree for the scenarios of latency: classes are made of the domains that `slows_together` names, and
    /// operands of a Series, Parallel or Race that share one are grouped below a node of their own, so that what they
    /// share is conditioned on there and nowhere else. (Not where the order of a Series' failures matters.)
    pub(crate) fn grouped(
        journey: &Journey,
        evidence: &Evidence,
        slows_together: impl Fn(usize) -> bool,
    ) -> Self {
        Self::build(journey, evidence, fate_classes(journey, slows_together), true)
    }

    fn build(journey: &Journey, evidence: &Evidence, class_of: Vec<usize>, regroup: bool) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            class_of,
            occurrences: vec![0; journey.components.len()],
            flaws: Vec::new(),
            has_deadline: false,
        };
        tree.push(&journey.operator, evidence, regroup, false);
        tree
    }

    /// The root's index.
    pub(crate) fn root(&self) -> usize {
        self.nodes.len() - 1
    }

    /// For each component, whether an operator acts on the time at which it fails.
    pub(crate) fn failure_times_matter(&self) -> Vec<bool> {
        let mut matter = vec![false; self.class_of.len()];
        for node in &self.nodes {
            if let Kind::Leaf(component) = node.kind {
                matter[component] |= node.failure_time_matters;
            }
        }
        matter
    }

    /// Whether a node is a sum of times that nobody above asks about failures: its operands' curves are needed for
    /// nothing but their spectra.
    pub(crate) fn is_plain_series(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        matches!(node.kind, Kind::Series) && !node.failure_time_matters
    }

    /// Whether a node is a leaf of a plain Series.
    pub(crate) fn is_plain_term(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        matches!(node.kind, Kind::Leaf(_)) && node.parent.is_some_and(|parent| self.is_plain_series(parent))
    }

    /// Whether a wait is random.
    pub(crate) fn has_jitter(&self) -> bool {
        let jitter = |node: &Node| matches!(&node.kind, Kind::Retry { backoff: Some(backoff), .. } if backoff.jitter == Jitter::Full);
        self.nodes.iter().any(jitter)
    }

    fn push(&mut self, operator: &Operator, evidence: &Evidence, regroup: bool, wanted: bool) -> usize {
        let first = self.nodes.len();
        let children = operator.children();
        let wanted_below = |place: usize| match operator {
            Operator::Fallback { .. } => place == 0 || wanted,
            Operator::Retry { .. } | Operator::Optional { .. } => true,
            _ => wanted,
        };
        let kind = self.kind(operator, evidence);
        let commutes = match kind {
            Kind::Series => !wanted,
            Kind::Parallel | Kind::Race => true,
            _ => false,
        };
        let operands = if regroup && commutes && children.len() > 2 {
            self.push_grouped(&children, &kind, evidence, wanted)
        } else {
            let push = |(place, child)| self.push(child, evidence, regroup, wanted_below(place));
            children.into_iter().enumerate().map(push).collect()
        };
        self.has_deadline |= matches!(kind, Kind::Timeout(_) | Kind::Retry { per_try: Some(_), .. });
        self.finish(kind, operands, wanted, first, std::ptr::from_ref(operator).addr())
    }

    fn push_grouped(
        &mut self,
        children: &[&Operator],
        kind: &Kind,
        evidence: &Evidence,
        wanted: bool,
    ) -> Vec<usize> {
        let classes: Vec<Vec<usize>> = children.iter().map(|child| self.classes_below(child)).collect();
        let (group, groups) = grouped(classes.iter().map(Vec::as_slice));
        if groups == 1 || groups == children.len() {
            return children.iter().map(|child| self.push(child, evidence, true, wanted)).collect();
        }
        let mut members = vec![Vec::new(); groups];
        children.iter().zip(&group).for_each(|(child, &group)| members[group].push(*child));
        members
            .iter()
            .map(|members| {
                let first = self.nodes.len();
                let operands: Vec<usize> =
                    members.iter().map(|child| self.push(child, evidence, true, wanted)).collect();
                match operands[..] {
                    [only] => only,
                    _ => self.finish(kind.clone(), operands, wanted, first, 0),
                }
            })
            .collect()
    }

    fn finish(
        &mut self,
        kind: Kind,
        operands: Vec<usize>,
        failure_time_matters: bool,
        first: usize,
        origin: usize,
    ) -> usize {
        let classes = match kind {
            Kind::Leaf(component) => {
                self.occurrences[component] += 1;
                vec![self.class_of[component]]
            }
            _ => {
                let mut all: Vec<usize> = operands
                    .iter()
                    .flat_map(|&operand| self.nodes[operand].classes.iter().copied())
                    .collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        let (group, groups) = grouped(operands.iter().map(|&operand| &self.nodes[operand].classes[..]));
        let at = self.nodes.len();
        operands.iter().for_each(|&operand| self.nodes[operand].parent = Some(at));
        let parent = None;
        let node =
            Node { kind, operands, group, groups, classes, failure_time_matters, first, parent, origin };
        self.nodes.push(node);
        at
    }

    fn classes_below(&self, operator: &Operator) -> Vec<usize> {
        let mut classes = Vec::new();
        let collected: Result<(), std::convert::Infallible> = operator.visit(&mut |operator| {
            if let Operator::Component(id) = operator {
                classes.push(self.class_of[id.0]);
            }
            Ok(())
        });
        debug_assert!(collected.is_ok());
        classes
    }

    fn kind(&mut self, operator: &Operator, evidence: &Evidence) -> Kind {
        match operator {
            Operator::Component(id) => Kind::Leaf(id.0),
            Operator::Series(_) => Kind::Series,
            Operator::Parallel(_) => Kind::Parallel,
            Operator::Cond(branches) => Kind::Cond(weights(branches, evidence, &mut self.flaws)),
            Operator::Race(_) => Kind::Race,
            Operator::KofN { k, .. } => Kind::KofN(*k),
            Operator::Timeout { after, .. } => Kind::Timeout(after.get()),
            Operator::Fallback { .. } => Kind::Fallback,
            Operator::Retry { attempts, per_try_timeout, backoff, fate, .. } => Kind::Retry {
                attempts: *attempts,
                per_try: per_try_timeout.map(|after| after.get()),
                backoff: *backoff,
                fate: *fate,
            },
            Operator::Hedge { delay, .. } => Kind::Hedge(delay.get()),
            Operator::Optional { timeout, .. } => Kind::Optional(timeout.get()),
            Operator::Repeat { counts, .. } => {
                Kind::Repeat(counts.iter().map(|(count, p)| (*count, p.get())).collect())
            }
        }
    }
}

/// Sets of classes are in one group where they share a class, directly or through others: for each its group's number,
/// and how many groups there are.
fn grouped<'a>(sets_of_classes: impl ExactSizeIterator<Item = &'a [usize]>) -> (Vec<usize>, usize) {
    let mut sets = DisjointSets::new(sets_of_classes.len());
    let mut holder: FxHashMap<usize, usize> = HashMap::default();
    for (place, classes) in sets_of_classes.enumerate() {
        for &class in classes {
            let first = *holder.entry(class).or_insert(place);
            sets.join(first, place);
        }
    }
    sets.numbered()
}

/// Domains that share a component merge, as far as they `join`; a component without such a domain is a class of its
/// own.
fn fate_classes(journey: &Journey, join: impl Fn(usize) -> bool) -> Vec<usize> {
    let domains = journey.domains.len();
    let mut sets = DisjointSets::new(domains + journey.components.len());
    for (index, component) in journey.components.iter().enumerate() {
        for domain in component.domains.iter().filter(|domain| join(domain.0)) {
            sets.join(domain.0, domains + index);
        }
    }
    (0..journey.components.len()).map(|index| sets.find(domains + index)).collect()
}

/// Union–find with path halving.
pub(crate) struct DisjointSets(Vec<usize>);

impl DisjointSets {
    pub(crate) fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    pub(crate) fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// The smaller root stays the root, so that numbering follows the order of the members.
    pub(crate) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// For each member the number of its set, counted from 0 in the order of first members, and how many there are.
    pub(crate) fn numbered(&mut self) -> (Vec<usize>, usize) {
        let mut number = vec![usize::MAX; self.0.len()];
        let mut next = 0;
        let of = (0..self.0.len())
            .map(|member| {
                let root = self.find(member);
                if number[root] == usize::MAX {
                    number[root] = next;
                    next += 1;
                }
                number[root]
            })
            .collect();
        (of, next)
    }
}

/// Resolves the probabilities of a condition. Parameters without a legal value are free, and with them the branch
/// that takes the remainder; so are all parameters of a condition whose known probabilities contradict each other.
fn weights(branches: &[Branch], evidence: &Evidence, flaws: &mut Vec<ParameterFlaw>) -> Weights {
    let value = |flaws: &mut Vec<ParameterFlaw>, index: usize| match evidence.parameters.get(index) {
        Some(Some(p)) if (0.0..=1.0).contains(p) => Some(*p),
        Some(Some(_)) => {
            flaws.push(ParameterFlaw::OutOfRange(index));
            None
        }
        Some(None) | None => {
            flaws.push(ParameterFlaw::Unknown(index));
            None
        }
    };
    let mut remainder = None;
    let mut measured = Vec::new();
    let mut known = vec![0.0; branches.len()];
    let mut free = Vec::new();
    for (place, branch) in branches.iter().enumerate() {
        match branch.probability {
            BranchProbability::Fixed(p) => known[place] = p.get(),
            BranchProbability::Remainder => remainder = Some(place),
            BranchProbability::Parameter(id) => match value(flaws, id.0) {
                Some(p) => {
                    known[place] = p;
                    measured.push(place);
                }
                None => free.push(place),
            },
        }
    }
    let sum: f64 = known.iter().sum();
    let closed = remainder.is_none() && free.is_empty();
    if sum > 1.0 + SUM_TOLERANCE || (closed && sum < 1.0 - SUM_TOLERANCE) {
        flaws.push(ParameterFlaw::Contradiction);
        for &place in &measured {
            known[place] = 0.0;
        }
        free.extend(measured);
    }
    let sum: f64 = known.iter().sum();
    let rest = (1.0 - sum).max(0.0);
    match remainder {
        Some(place) if free.is_empty() => known[place] = rest,
        Some(place) => free.push(place),
        None => {}
    }
    free.sort_unstable();
    // A single free branch takes the rest: nothing about it is unknown.
    if let &[only] = &free[..] {
        known[only] = rest;
        free.clear();
    }
    if free.is_empty() {
        // Rounding noise only: the weights sum to 1 within the tolerance.
        let sum: f64 = known.iter().sum();
        if sum > 0.0 {
            known.iter_mut().for_each(|p| *p /= sum);
        }
        return Weights { known, rest: 0.0, free };
    }
    Weights { known, rest, free }
}
