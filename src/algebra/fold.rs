//! The fold of sub-distributions over the tree, under independence (given the common factors of a scenario, if any).

mod operators;

use super::availability::Bounds;
use super::curve::{Curve, Reading, Spectra};
use super::leaf::Outcome;
use super::tree::{Kind, Node, Tree};
use crate::distribution::stepped::SteppedLaws;
use crate::distribution::transform::{Transform, differences};

/// `cells` cells of `step` seconds from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grid {
    pub(crate) step: f64,
    pub(crate) cells: usize,
}

impl Grid {
    pub(crate) fn new(horizon: f64, cells: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let step = horizon / cells as f64;
        Self { step, cells }
    }

    /// A time in cells.
    fn cells_at(self, t: f64) -> f64 {
        t / self.step
    }

    /// A curve's `within` at time `t`: the cell means stand at the cells' middles; the late reading takes a cell that ends
    /// before `t`, the early one a cell that begins after it.
    pub(crate) fn value(self, curve: &Curve, reading: Reading, t: f64) -> f64 {
        let at = self.cells_at(t);
        let cell = |index: f64| {
            if index < 0.0 {
                return 0.0;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, and is clamped"
            )]
            let index = (index as usize).min(self.cells - 1);
            curve.within[index]
        };
        match reading {
            Reading::Late => cell(at.floor() - 1.0),
            Reading::Early => {
                #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
                let last = (self.cells - 1) as f64;
                if at.ceil() > last { curve.total.max(cell(last)) } else { cell(at.ceil()) }
            }
            Reading::Exact => {
                let middle = at - 0.5;
                let share = middle - middle.floor();
                cell(middle.floor()) * (1.0 - share) + cell(middle.floor() + 1.0) * share
            }
        }
    }
}

/// What a node does: its successes, and where an operator above asks for it, when its failures are known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeCurves {
    pub(crate) success: Curve,
    pub(crate) failure: Option<Curve>,
}

/// One entry for each reading of the fold: `[Exact]`, or `[Late, Early]`.
pub(crate) type Readings = Vec<NodeCurves>;

/// Where the curves of leaves come from.
pub(crate) trait Leaves {
    /// The curve of a component's outcome on the grid.
    fn curve(&self, component: usize, outcome: Outcome, reading: Reading, grid: Grid) -> Curve;
    /// The masses of a component's successes, split onto the grid: their total; `None` where it has a tail of its own.
    fn masses(&self, component: usize, reading: Reading, grid: Grid, masses: &mut [f64]) -> Option<f64>;
    /// Adds the law of a component's successes where it only jumps, at few times: its total.
    fn jumps(&self, component: usize, reading: Reading, laws: &mut SteppedLaws) -> Option<f64>;
    /// P(success by `t`).
    fn success_by(&self, component: usize, reading: Reading, t: f64) -> f64;
}

/// One fold; see the module.
pub(crate) struct Fold<'a, L> {
    pub(crate) tree: &'a Tree,
    pub(crate) grid: Grid,
    /// `[Exact]`, or `[Late, Early]`: the two bound each other's deadlines.
    pub(crate) readings: &'a [Reading],
    pub(crate) leaves: &'a L,
    /// For each node, the bounds of the body's P(success by its deadline) where they are known already; elsewhere they
    /// are read off the grid.
    pub(crate) on_time: &'a [Option<Bounds>],
    pub(crate) transform: &'a mut Transform,
}

impl<L: Leaves> Fold<'_, L> {
    /// The curves of node `at`, from those of its operands; the leaves of a plain Series may be missing there.
    pub(crate) fn node(&mut self, at: usize, results: &[Option<Readings>]) -> Readings {
        let tree = self.tree;
        let node = &tree.nodes[at];
        if tree.is_plain_series(at) {
            let curve = |spectra: Spectra, transform: &mut Transform| NodeCurves {
                success: spectra.into_curve(transform),
                failure: None,
            };
            return (0..self.readings.len())
                .map(|place| curve(self.plain_series(at, place, results), self.transform))
                .collect();
        }
        let on_time = match node.kind {
            Kind::Timeout(after) | Kind::Retry { per_try: Some(after), .. } => {
                self.on_time[at].unwrap_or_else(|| self.read_on_time(node, after, results))
            }
            _ => Bounds::VACUOUS,
        };
        (0..self.readings.len())
            .map(|place| {
                let operands: Vec<&NodeCurves> = node
                    .operands
                    .iter()
                    .filter_map(|&operand| results[operand].as_ref().map(|readings| &readings[place]))
                    .collect();
                self.combine(node, &operands, self.readings[place], on_time)
            })
            .collect()
    }

    /// The spectra of a plain Series in one reading.
    pub(crate) fn plain_series(&mut self, at: usize, place: usize, results: &[Option<Readings>]) -> Spectra {
        self.one_after_the_other(&self.tree.nodes[at].operands, place, results)
    }

    /// The spectra of some operands of a plain Series, one after the other, in one reading.
    pub(crate) fn one_after_the_other(
        &mut self,
        operands: &[usize],
        place: usize,
        results: &[Option<Readings>],
    ) -> Spectra {
        let reading = self.readings[place];
        let mut product: Option<Spectra> = None;
        let mut stepped = SteppedLaws::default();
        let mut stepped_total = 1.0;
        for &operand in operands {
            let known = results[operand].as_ref().map(|readings| &readings[place].success);
            let component = match self.tree.nodes[operand].kind {
                Kind::Leaf(component) => Some(component),
                _ => None,
            };
            let (leaves, grid) = (self.leaves, self.grid);
            if let (None, Some(component)) = (known, component)
                && let Some(total) = leaves.jumps(component, reading, &mut stepped)
            {
                stepped_total *= total;
                continue;
            }
            let plain = self.transform.forward_in_place(|masses| match (known, component) {
                (Some(curve), _) => curve.later.is_none().then(|| {
                    differences(&curve.within, masses);
                    curve.total
                }),
                (None, Some(component)) => leaves.masses(component, reading, grid, masses),
                (None, None) => None,
            });
            if let Some((spectrum, total)) = plain {
                match &mut product {
                    None => product = Some(Spectra { within: spectrum.to_vec(), later: None, total }),
                    Some(product) => product.multiply_plain(spectrum, total),
                }
                continue;
            }
            // A tail of its own.
            let next = match (known, component) {
                (Some(curve), _) => Spectra::of(curve, self.transform),
                (None, Some(component)) => {
                    let curve = leaves.curve(component, Outcome::Success, reading, grid);
                    Spectra::of(&curve, self.transform)
                }
                // A fold visits operands first.
                (None, None) => Spectra::zero(self.transform),
            };
            match &mut product {
                None => product = Some(next),
                Some(product) => product.multiply(&next),
            }
        }
        let mut product = product.unwrap_or_else(|| Spectra::unit(self.transform));
        if !stepped.is_empty() {
            let spectrum = self.transform.stepped_product(self.grid.step, &stepped);
            product.multiply_plain(spectrum, stepped_total);
        }
        product
    }

    fn read_on_time(&self, node: &Node, after: f64, results: &[Option<Readings>]) -> Bounds {
        let body = node.operands[0];
        let value = |place: usize| {
            let reading = self.readings[place];
            match (&self.tree.nodes[body].kind, &results[body]) {
                (Kind::Leaf(component), _) => self.leaves.success_by(*component, reading, after),
                (_, Some(curves)) => self.grid.value(&curves[place].success, reading, after),
                (_, None) => 0.0,
            }
        };
        let lower = value(0);
        Bounds { lower, upper: if self.readings.len() > 1 { value(1).max(lower) } else { lower } }
    }
}
