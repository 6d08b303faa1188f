//! The scenario family over one journey: its laws, its deadlines, and what the samples' error becomes in it.

use rustc_hash::FxHashMap;

use super::curve::Reading;
use super::engine::{BRACKET, DEADLINE_MARGIN, ESTIMATE, Engine, deadline, horizon_bound};
use super::fold::{Grid, NodeCurves, Readings};
use super::leaf::Leaf;
use super::readout::{Conditional, Member};
use super::restatement::Restatement;
use super::scenario::{self, Plan};
use super::timeliness::{Timeliness, timeless};
use super::tree::Tree;
use super::uncertainty::LatencySampling;
use crate::distribution::transform::Transforms;
use crate::journey::Journey;
use crate::journey::domain::DomainLatency;
use crate::journey::evidence::Evidence;
use crate::journey::governance::{BucketError, Dependence};

/// Cells of the scenarios' grid: enough for 1 %.
const SCENARIO_CELLS: usize = 256;
/// A scenario's grid ends this much after the time at which its slowest outcomes would add up.
const SCENARIO_MARGIN: f64 = 1.25;

/// A grid that is this many times too long is replaced by one that fits, and so many times.
const TOO_LONG: f64 = 2.0;
const REFITS: usize = 2;

/// The members of the scenario family.
pub(crate) struct Shared {
    pub(crate) estimates: Timeliness,
    pub(crate) brackets: Timeliness,
    /// One for each member.
    pub(crate) laws: Vec<Conditional>,
    /// Late and early for each member, where the policy asks for them.
    pub(crate) bracket: Vec<[Member; 2]>,
    pub(crate) shares_factor: bool,
}

/// The leaves of one journey.
pub(crate) struct Evidenced<'a> {
    pub(crate) leaves: &'a [Leaf],
    /// After the pseudo-observations.
    pub(crate) careful: &'a [Leaf],
    /// At the design point of the explained level, where something finite is proven.
    pub(crate) design: &'a dyn Fn() -> Option<&'a [Leaf]>,
    pub(crate) sampling: Option<&'a LatencySampling>,
}

/// What the family is folded from.
pub(crate) struct SharedFate<'a> {
    pub(crate) journey: &'a Journey,
    pub(crate) evidence: &'a Evidence,
    pub(crate) tree: &'a Tree,
    pub(crate) evidenced: Evidenced<'a>,
    /// The highest level that grids must reach.
    pub(crate) level: f64,
    /// The level that is explained.
    pub(crate) shown: f64,
    /// Where the estimate's grid ends.
    pub(crate) horizon: f64,
    /// How many times as long the late side of the bracket lasts as the estimate, about.
    pub(crate) late: f64,
}

impl SharedFate<'_> {
    /// The scenario family; `None` where nothing slows together.
    pub(crate) fn fold(&self, transforms: &mut Transforms) -> Option<Shared> {
        let Evidenced { leaves, careful, design, sampling } = self.evidenced;
        let journey = self.journey;
        let slows = |domain: usize| journey.domains[domain].latency != DomainLatency::Independent;
        let grouped = Tree::grouped(journey, self.evidence, slows);
        let family = scenario::family(journey, &grouped);
        if family.is_empty() || timeless(self.tree, leaves) {
            return None;
        }
        let smooth = journey.governance.bucket_error == BucketError::Interpolate;
        let bracketed =
            matches!(journey.governance.dependence, Dependence::SharedFate | Dependence::PaperEq1);
        let root = grouped.root();
        let plan = Plan::new(&grouped, root);
        let mut shared = Shared {
            estimates: Timeliness::default(),
            brackets: Timeliness::default(),
            laws: Vec::new(),
            bracket: Vec::new(),
            shares_factor: plan.shares_factor,
        };
        self.deadlines(&grouped, &family, bracketed, &mut shared, transforms);
        let margin = (!smooth).then_some(1.0);
        // Common ranks first: they cost least, and tell how long the others may be.
        let mut reached: Option<f64> = None;
        for scenario in family.iter().rev() {
            let mut run = |leaves: &[Leaf], readings: &[Reading], margin: Option<f64>, guess: Option<f64>| {
                let slowest = horizon_bound(&grouped, root, leaves, readings[0], 0.5 * (1.0 - self.level));
                let longest = (SCENARIO_MARGIN * slowest).max(self.horizon);
                let mut horizon = guess.map_or(longest, |guess| guess.clamp(self.horizon, longest));
                let mut engine = Engine { tree: &grouped, leaves, transforms };
                let mut fits = 0;
                loop {
                    let grid = Grid::new(horizon, SCENARIO_CELLS);
                    let curves = engine.scenario(&plan, scenario, root, grid, readings);
                    let laws = conditionals(&curves, grid, readings, margin);
                    let reached = laws.first().map_or(f64::INFINITY, |law| law.quantile(self.level));
                    let fitting =
                        if reached.is_finite() { (2.0 * reached).max(self.horizon) } else { longest };
                    // Where the slowest outcomes hardly ever add up, or add up further: again, on a grid that fits.
                    let fits_well =
                        if reached.is_finite() { TOO_LONG * fitting >= horizon } else { horizon >= longest };
                    if fits_well || fits == REFITS || reached <= 0.0 {
                        return (laws, reached);
                    }
                    (horizon, fits) = (fitting, fits + 1);
                }
            };
            let (laws, level) = run(leaves, ESTIMATE, None, reached.map(|reached| 2.0 * reached));
            shared.laws.extend(laws);
            reached = Some(level).filter(|level| level.is_finite());
            if !bracketed {
                continue;
            }
            let slower = reached.map(|reached| 2.0 * reached * self.late);
            let (both, level) = run(careful, BRACKET, margin, slower);
            let mut both = both.into_iter();
            let (Some(late), Some(early)) = (both.next(), both.next()) else { continue };
            let growth = match (sampling, design()) {
                (Some(sampling), Some(design)) => {
                    // A deadline below the factor is read off both sides; without one the late side does.
                    let readings = if grouped.has_deadline { BRACKET } else { &BRACKET[..1] };
                    let slower = Some(2.2 * level).filter(|slower| slower.is_finite());
                    let (moved, _) = run(design, readings, margin, slower);
                    let time = moved.first().map_or(f64::INFINITY, |law| law.quantile(self.shown));
                    let seen = if time.is_finite() { late.at(time) } else { f64::INFINITY };
                    sampling.growth(self.shown, seen)
                }
                _ => 1.0,
            };
            let scaled = |pick: fn(&LatencySampling) -> &Restatement| {
                sampling.map(|sampling| pick(sampling).scaled(growth)).unwrap_or_default()
            };
            shared.bracket.push([
                Member { law: late, restated: scaled(|sampling| &sampling.restated) },
                Member { law: early, restated: scaled(|sampling| &sampling.eased) },
            ]);
        }
        Some(shared)
    }

    fn deadlines(
        &self,
        grouped: &Tree,
        family: &[scenario::Scenario],
        bracketed: bool,
        shared: &mut Shared,
        transforms: &mut Transforms,
    ) {
        let places: FxHashMap<usize, usize> =
            self.tree.nodes.iter().enumerate().map(|(at, node)| (node.origin, at)).collect();
        let mut engine = Engine { tree: grouped, leaves: self.evidenced.leaves, transforms };
        for node in &grouped.nodes {
            let (Some(after), Some(&place)) = (deadline(&node.kind), places.get(&node.origin)) else {
                continue;
            };
            let body = node.operands[0];
            let plan = Plan::new(grouped, body);
            if !plan.acts() {
                continue;
            }
            let grid = Grid::new(DEADLINE_MARGIN * after, SCENARIO_CELLS);
            for scenario in family {
                let mut by = |readings: &[Reading]| -> Vec<(f64, f64)> {
                    let curves = engine.scenario(&plan, scenario, body, grid, readings);
                    let read = |(curves, &reading): (&NodeCurves, &Reading)| {
                        (grid.value(&curves.success, reading, after), curves.success.total)
                    };
                    curves.iter().zip(readings).map(read).collect()
                };
                shared.estimates.add(place, &by(ESTIMATE));
                if bracketed {
                    shared.brackets.add(place, &by(BRACKET));
                }
            }
        }
    }
}

/// One law for each reading.
fn conditionals(
    curves: &Readings,
    grid: Grid,
    readings: &[Reading],
    margin: Option<f64>,
) -> Vec<Conditional> {
    let one = |(curves, &reading): (&NodeCurves, &Reading)| {
        Conditional::new(&curves.success, grid, reading, margin)
    };
    curves.iter().zip(readings).map(one).collect()
}
