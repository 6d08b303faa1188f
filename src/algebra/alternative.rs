//! The estimate, were one component different: what does not follow from that component is folded once and kept.
//!
//! On the way up from a component only the operators above it are folded again; the other operands of a plain Series, which
//! may be many, are one spectrum by then. A Series of thirty costs a transform there and one back.

use super::availability::{self, Bounds};
use super::curve::{Curve, Spectra};
use super::engine::{DEADLINE_MARGIN, ESTIMATE, Engine, Plain, deadline, nothing};
use super::fold::{Fold, Grid, Leaves, NodeCurves, Readings};
use super::independence::{CELLS, Independence};
use super::leaf::{Condition, Leaf};
use super::readout::{exact_quantile, seconds};
use super::timeliness::timeless;
use super::tree::{Kind, Tree};
use crate::distribution::transform::Transforms;
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::journey::evidence::Evidence;
use crate::journey::governance::Dependence;
use crate::unit::{Probability, Seconds};

/// Of a kept grid, the part in which a quantile is read: below it the cells are too coarse, above it mass is missing.
const READ: std::ops::Range<f64> = 0.1..0.9;
/// How many times as slow a component may be supposed to be; the least is as good as at once.
pub const SLOWDOWNS: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// The greatest slowdown that is looked at: what may be slower than that does not matter.
const MOST_SLOWDOWN: f64 = 1e3;
/// What a component that never fails is taken to lose, so that there is something to scale.
const LEAST_LOSS: f64 = 1e-6;
/// Ends are looked for in steps of this factor, so that what is met again beyond one is not taken for it.
const SCALE_STEP: f64 = 1.25;
/// Below this scale the next step is 0.
const LEAST_SCALE: f64 = 1e-3;
/// How closely an end is found, of itself, or of the least scale.
const SCALE_PRECISION: f64 = 1e-3;

/// What a component would be instead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alternative {
    /// P(success).
    pub availability: Probability,
    /// How many times as slow as it is, successes and failures alike; within [`SLOWDOWNS`].
    pub slowdown: f64,
}

/// The estimate of a journey: independent, interpolated, no sampling term.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlternativeEstimate {
    /// P(success).
    pub availability: Probability,
    /// The explained quantile: the objective's, or p99; `None` where no latency was measured.
    pub latency: Option<Seconds>,
}

/// The estimates of one journey over one evidence.
pub struct Alternatives<'a> {
    tree: Tree,
    leaves: Vec<Leaf>,
    level: f64,
    shown: f64,
    timeless: bool,
    on_time: Vec<Option<Bounds>>,
    grid: Grid,
    transforms: &'a mut Transforms,
}

impl<'a> Alternatives<'a> {
    /// `level`: the highest level that grids must reach; `shown`: the one that is read.
    pub(super) fn new(
        journey: &Journey,
        evidence: &Evidence,
        leaves: Vec<Leaf>,
        (level, shown): (f64, f64),
        transforms: &'a mut Transforms,
    ) -> Self {
        let tree = Tree::new(journey, evidence);
        let timeless = timeless(&tree, &leaves);
        let mut engine = Engine { tree: &tree, leaves: &leaves, transforms };
        let on_time = engine.deadlines(ESTIMATE, CELLS, |_| 0.0);
        let horizon = if timeless { 1.0 } else { engine.horizon(tree.root(), ESTIMATE, &on_time, level) };
        let grid = Grid::new(horizon, CELLS);
        Self { tree, leaves, level, shown, timeless, on_time, grid, transforms }
    }

    /// Keeps what does not follow from a component.
    pub fn of(&mut self, component: ComponentId) -> OneComponent<'_> {
        let Self { tree, leaves, level, shown, timeless, on_time, grid, transforms } = self;
        let tree = &*tree;
        let mut follows = vec![false; tree.nodes.len()];
        for (at, node) in tree.nodes.iter().enumerate() {
            follows[at] = match node.kind {
                Kind::Leaf(other) => other == component.0,
                _ => node.operands.iter().any(|&operand| follows[operand]),
            };
        }
        let mut keep = |top: usize, grid: Grid| {
            let mut engine = Engine { tree, leaves, transforms };
            Kept::new(&mut engine, top, grid, on_time, &follows)
        };
        let mut deadlines = Vec::new();
        for (at, node) in tree.nodes.iter().enumerate() {
            let Some(after) = deadline(&node.kind) else { continue };
            let body = node.operands[0];
            if follows[body] {
                let composite = !matches!(tree.nodes[body].kind, Kind::Leaf(_));
                let kept = composite.then(|| keep(body, Grid::new(DEADLINE_MARGIN * after, CELLS)));
                deadlines.push(Deadline { at, after, kept });
            }
        }
        let kept = (!*timeless).then(|| keep(tree.root(), *grid));
        OneComponent {
            component: component.0,
            tree,
            leaves,
            on_time: on_time.clone(),
            level: *level,
            shown: *shown,
            deadlines,
            kept,
            transforms,
        }
    }
}

/// A deadline whose body follows from the component; `None` for a body that is the component.
struct Deadline {
    at: usize,
    after: f64,
    kept: Option<Kept>,
}

/// The estimates of one journey by what one of its components is.
pub struct OneComponent<'a> {
    component: usize,
    tree: &'a Tree,
    /// As they are, but while an alternative is looked at.
    leaves: &'a mut [Leaf],
    on_time: Vec<Option<Bounds>>,
    level: f64,
    shown: f64,
    /// Inner ones first.
    deadlines: Vec<Deadline>,
    kept: Option<Kept>,
    transforms: &'a mut Transforms,
}

impl OneComponent<'_> {
    /// What the component is.
    #[must_use]
    pub fn now(&self) -> Alternative {
        Alternative { availability: Probability::saturating(self.own().availability), slowdown: 1.0 }
    }

    /// Whether anything is known of the component, so that something else can be supposed of it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.own().vacuous
    }

    fn own(&self) -> &Leaf {
        &self.leaves[self.component]
    }

    /// The estimate, were the component this. A slowdown beyond [`SLOWDOWNS`] is taken as the end that it lies beyond.
    pub fn estimate(&mut self, alternative: &Alternative) -> AlternativeEstimate {
        self.with(alternative, Self::estimate_as_it_is)
    }

    /// Reads off what the journey is while the component is this.
    fn with<T>(&mut self, alternative: &Alternative, read: impl FnOnce(&mut Self) -> T) -> T {
        let slowdown = alternative.slowdown.max(*SLOWDOWNS.start()).min(*SLOWDOWNS.end());
        let alternative = self.own().alternative(alternative.availability.get(), slowdown);
        let own = std::mem::replace(&mut self.leaves[self.component], alternative);
        let read = read(self);
        self.leaves[self.component] = own;
        read
    }

    /// The availability alone.
    fn estimate_availability(&mut self, availability: Probability) -> Probability {
        self.with(&Alternative { availability, slowdown: 1.0 }, |one| {
            one.meet_deadlines();
            one.availability()
        })
    }

    fn estimate_as_it_is(&mut self) -> AlternativeEstimate {
        self.meet_deadlines();
        let availability = self.availability();
        let Some(kept) = &mut self.kept else {
            return AlternativeEstimate { availability, latency: None };
        };
        let top = kept.fold(self.tree, self.leaves, &self.on_time, self.transforms);
        let success = &top[0].success;
        let time = exact_quantile(&success.within, success.total, kept.grid, self.shown);
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let end = kept.grid.step * kept.grid.cells as f64;
        let time = if READ.contains(&(time / end)) { time } else { self.on_a_grid_of_its_own() };
        AlternativeEstimate { availability, latency: Some(seconds(time)) }
    }

    fn meet_deadlines(&mut self) {
        for Deadline { at, after, kept } in &mut self.deadlines {
            let by = match kept {
                None => {
                    let leaf = &self.leaves[self.component];
                    leaf.success_by(ESTIMATE[0], Condition::None, *after)
                }
                Some(kept) => {
                    let top = kept.fold(self.tree, self.leaves, &self.on_time, self.transforms);
                    kept.grid.value(&top[0].success, ESTIMATE[0], *after)
                }
            };
            self.on_time[*at] = Some(Bounds::exactly(by));
        }
    }

    /// The availability that the component needs so that the estimate's is at least `target`, going from now to the nearest
    /// end of what meets it. 0 where no failure of it matters; `None` where not even its never failing is enough.
    pub fn least_availability(&mut self, target: Probability) -> Option<Probability> {
        let lost = (1.0 - self.now().availability.get()).max(LEAST_LOSS);
        let losing = |scale: f64| Probability::saturating(1.0 - scale * lost);
        let scale = nearest_end(1.0 / lost, |scale| self.estimate_availability(losing(scale)) >= target)?;
        Some(losing(scale))
    }

    /// How many times as long as now the component may take so that the estimate's quantile is still at most `threshold`,
    /// going from now to the nearest end of what meets it. Infinite where no slowdown matters; `None` where not even its
    /// answering at once is enough, or where no latency was measured.
    pub fn greatest_slowdown(&mut self, threshold: Seconds) -> Option<f64> {
        self.kept.as_ref()?;
        let now = self.now();
        nearest_end(MOST_SLOWDOWN, |slowdown| {
            self.estimate(&Alternative { slowdown, ..now }).latency.is_some_and(|time| time <= threshold)
        })
    }

    fn availability(&self) -> Probability {
        let exact: Vec<Bounds> = self.leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
        let on_time = |at: usize, _: &[Bounds]| self.on_time[at].unwrap_or(Bounds::VACUOUS);
        let bounds = availability::fold(self.tree, &exact, on_time, Dependence::Independent);
        Probability::saturating(bounds[self.tree.root()].lower)
    }

    /// Far from what the kept grid was made for.
    fn on_a_grid_of_its_own(&mut self) -> f64 {
        let mut independence = Independence {
            tree: self.tree,
            leaves: self.leaves,
            level: self.level,
            shown: self.shown,
            transforms: self.transforms,
        };
        independence.estimate().law.quantile(self.shown)
    }
}

/// From scale 1 on, down to 0 or up to `most`, the end of the scales that are `met`: the first one met on the way down, the
/// last one before one that is not on the way up, to three digits and on the safe side.
fn nearest_end(most: f64, mut met: impl FnMut(f64) -> bool) -> Option<f64> {
    let (mut good, mut bad) = if met(1.0) {
        let mut good = 1.0_f64;
        loop {
            let next = (good * SCALE_STEP).min(most);
            if !met(next) {
                break (good, next);
            }
            if next >= most {
                return Some(f64::INFINITY);
            }
            good = next;
        }
    } else {
        let mut bad = 1.0_f64;
        loop {
            let next = if bad > LEAST_SCALE { bad / SCALE_STEP } else { 0.0 };
            if met(next) {
                break (next, bad);
            }
            if next <= 0.0 {
                return None;
            }
            bad = next;
        }
    };
    while bad - good > SCALE_PRECISION * bad.max(LEAST_SCALE) {
        let middle = 0.5 * (good + bad);
        if met(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

/// A fold of which all but what follows from one component is kept.
struct Kept {
    grid: Grid,
    /// The nodes that follow from it, rising, without the leaves of plain Series.
    moved: Vec<Moved>,
    /// By node, the curves of what they are folded of.
    results: Vec<Option<Readings>>,
}

struct Moved {
    at: usize,
    by: How,
}

/// How an operator follows from the component.
enum How {
    /// A plain Series: these operands do, and this is what all others are one after the other.
    Sum(Vec<usize>, Spectra),
    /// At each time it is linear in what this one operand has reached by then: its curves where that is 0 and 1.
    Linear(usize, Box<[NodeCurves; 2]>),
    /// Folded again.
    Folded,
}

impl Kept {
    /// Of the subtree of `top`; `follows` says of each node whether it follows from the component.
    fn new(
        engine: &mut Engine<'_>,
        top: usize,
        grid: Grid,
        on_time: &[Option<Bounds>],
        follows: &[bool],
    ) -> Self {
        let tree = engine.tree;
        let mut results: Vec<Option<Readings>> = vec![None; tree.nodes.len()];
        // What a moved operator is folded of, and does not move itself.
        let moves = |at: usize| at == top || follows[at];
        let still = |at: usize| !moves(at) && tree.nodes[at].parent.is_some_and(moves);
        engine.independent(top, grid, ESTIMATE, on_time, |at, curves| {
            if still(at) {
                results[at] = Some(curves.clone());
            }
        });
        let leaves = Plain(engine.leaves);
        let transform = engine.transforms.of(grid.cells);
        let mut fold = Fold { tree, grid, readings: ESTIMATE, leaves: &leaves, on_time, transform };
        let mut moved = Vec::new();
        for at in (tree.nodes[top].first..=top).filter(|&at| moves(at)) {
            if at != top && tree.is_plain_term(at) {
                continue;
            }
            let (own, others): (Vec<usize>, Vec<usize>) =
                tree.nodes[at].operands.iter().partition(|&&operand| follows[operand]);
            let by = if tree.is_plain_series(at) {
                let together = fold.one_after_the_other(&others, 0, &results);
                others.iter().for_each(|&other| results[other] = None);
                How::Sum(own, together)
            } else {
                let ends = match own[..] {
                    [only] => linear_in(only, at, &mut fold, &mut results).map(|ends| (only, ends)),
                    _ => None,
                };
                ends.map_or(How::Folded, |(only, ends)| How::Linear(only, Box::new(ends)))
            };
            moved.push(Moved { at, by });
        }
        Self { grid, moved, results }
    }

    /// The curves of the top, with these leaves and deadlines.
    fn fold(
        &mut self,
        tree: &Tree,
        leaves: &[Leaf],
        on_time: &[Option<Bounds>],
        transforms: &mut Transforms,
    ) -> Readings {
        let transform = transforms.of(self.grid.cells);
        let leaves = Plain(leaves);
        let mut fold =
            Fold { tree, grid: self.grid, readings: ESTIMATE, leaves: &leaves, on_time, transform };
        for Moved { at, by } in &self.moved {
            let readings = match by {
                How::Sum(terms, others) => {
                    let mut product = fold.one_after_the_other(terms, 0, &self.results);
                    product.multiply(others);
                    vec![NodeCurves { success: product.into_curve(fold.transform), failure: None }]
                }
                How::Linear(operand, ends) => {
                    let own = self.results[*operand].as_ref();
                    let between = own.and_then(|own| between(ends, &own[0]));
                    between.map_or_else(|| fold.node(*at, &self.results), |curves| vec![curves])
                }
                How::Folded => fold.node(*at, &self.results),
            };
            self.results[*at] = Some(readings);
        }
        let top = self.moved.last().and_then(|top| self.results[top.at].take());
        top.unwrap_or_else(|| nothing(ESTIMATE, self.grid))
    }
}

/// The curves of an operator where one operand has happened never and always, if they are linear in it at each time: all
/// at once, any, some of them, or one of them with probabilities that are known.
fn linear_in<L: Leaves>(
    operand: usize,
    at: usize,
    fold: &mut Fold<'_, L>,
    results: &mut [Option<Readings>],
) -> Option<[NodeCurves; 2]> {
    match &fold.tree.nodes[at].kind {
        Kind::Parallel | Kind::Race | Kind::KofN(_) => {}
        Kind::Cond(weights) if weights.free.is_empty() => {}
        _ => return None,
    }
    let cells = fold.grid.cells;
    let mut end = |value: f64| {
        let curve = Curve { within: vec![value; cells], later: None, total: value };
        results[operand] = Some(vec![NodeCurves { success: curve.clone(), failure: Some(curve) }]);
        let curves = fold.node(at, results).pop();
        results[operand] = None;
        curves
    };
    Some([end(0.0)?, end(1.0)?])
}

/// Between the two ends, as far as the operand has come; `None` where a tail is not what is missing.
fn between(ends: &[NodeCurves; 2], own: &NodeCurves) -> Option<NodeCurves> {
    let curve = |zero: &Curve, one: &Curve, own: &Curve| {
        let exact = [zero, one, own].iter().all(|curve| curve.later.is_none());
        let part = |((zero, one), own): ((&f64, &f64), &f64)| zero + own * (one - zero);
        let within = || zero.within.iter().zip(&one.within).zip(&own.within).map(part).collect();
        let total = part(((&zero.total, &one.total), &own.total));
        exact.then(|| Curve { within: within(), later: None, total })
    };
    let failure = match (&ends[0].failure, &ends[1].failure, &own.failure) {
        (Some(zero), Some(one), Some(own)) => Some(curve(zero, one, own)?),
        _ => None,
    };
    Some(NodeCurves { success: curve(&ends[0].success, &ends[1].success, &own.success)?, failure })
}
