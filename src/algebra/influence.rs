//! What each category of each leaf's sample does to one number of the journey: the late reading of the fold on a
//! [`Tape`], and its derivatives.
//!
//! A leaf's sample is multinomial: its categories are the buckets of its successes and of its failures. The number is
//! `(1−q)·S̲(t) − q·D̄(t)` (the margin of a quantile, semantics §3) or P(success by a deadline). The grid is coarser
//! than that of the estimates: standard errors need no third digit.

mod operators;

use super::category::{Category, Placement};
use super::fold::Grid;
use super::leaf::Outcome;
use super::tape::{ByMass, CurveId, SpectrumId, Tape};
use super::tree::Tree;
use crate::distribution::transform::Transform;

/// A bracket of one event: P(by t) from below and, where it differs, the measure of its tail (see [`super::curve`]).
#[derive(Debug, Clone, Copy)]
struct Event {
    within: CurveId,
    later: Option<CurveId>,
}

#[derive(Debug, Clone, Copy)]
struct EventSpectra {
    within: SpectrumId,
    later: Option<SpectrumId>,
}

#[derive(Debug, Clone, Copy)]
struct Recorded {
    success: Event,
    failure: Option<Event>,
}

/// What an input of the tape is made of.
enum Input {
    /// The law of an outcome.
    Law(Outcome),
    /// A constant: this share of each category.
    Shares(Vec<f64>),
}

/// The fold of a subtree on a tape.
pub(crate) struct Influence<'a> {
    tree: &'a Tree,
    samples: &'a [Vec<Category>],
    placement: Placement,
    grid: Grid,
    tape: Tape<'a>,
    inputs: Vec<(CurveId, usize, Input)>,
    root: Event,
}

impl<'a> Influence<'a> {
    /// Folds the subtree of `top`; `samples` has the categories of each component, `grid` as many cells as `transform`.
    pub(crate) fn new(
        tree: &'a Tree,
        top: usize,
        samples: &'a [Vec<Category>],
        placement: Placement,
        grid: Grid,
        transform: &'a mut Transform,
    ) -> Self {
        let mut tape = Tape::new(transform);
        let nothing = tape.affine(0.0, Vec::new());
        let root = Event { within: nothing, later: None };
        let mut influence = Self { tree, samples, placement, grid, tape, inputs: Vec::new(), root };
        let mut recorded: Vec<Option<Recorded>> = vec![None; tree.nodes.len()];
        for at in tree.nodes[top].first..=top {
            let node = &tree.nodes[at];
            let operands: Vec<Recorded> =
                node.operands.iter().filter_map(|&operand| recorded[operand]).collect();
            recorded[at] = Some(influence.node(node, &operands));
        }
        if let Some(top) = recorded[top] {
            influence.root = top.success;
        }
        influence
    }

    /// `(1−q)·S̲ − q·D̄` of each cell's mean, and `S̲ + D̄`.
    pub(crate) fn margins(&self, q: f64) -> (Vec<f64>, Vec<f64>) {
        let within = self.tape.value(self.root.within);
        let later = self.tape.value(self.root.later.unwrap_or(self.root.within));
        let total = later[self.grid.cells];
        (0..self.grid.cells)
            .map(|k| {
                let tail = total - later[k];
                ((1.0 - q) * within[k] - q * tail, within[k] + tail)
            })
            .unzip()
    }

    /// The derivatives of the margin of `q` in a cell by the probability of every category of every component.
    pub(crate) fn of_margin(&mut self, q: f64, cell: usize) -> Vec<Vec<f64>> {
        let later = self.root.later.unwrap_or(self.root.within);
        self.contract(&[(self.root.within, cell, 1.0 - q), (later, self.grid.cells, -q), (later, cell, q)])
    }

    /// The derivatives of `S̲` in a cell (the number of cells: at ∞).
    pub(crate) fn of_success(&mut self, cell: usize) -> Vec<Vec<f64>> {
        self.contract(&[(self.root.within, cell, 1.0)])
    }

    fn contract(&mut self, seeds: &[(CurveId, usize, f64)]) -> Vec<Vec<f64>> {
        let mut derivatives: Vec<Vec<f64>> =
            self.samples.iter().map(|sample| vec![0.0; sample.len()]).collect();
        let mut input_of = vec![None; self.inputs.len()];
        for (id, adjoint) in self.tape.gradient(seeds) {
            if let Ok(place) = self.inputs.binary_search_by_key(&id, |input| input.0) {
                input_of[place] = Some(adjoint);
            }
        }
        for ((_, component, input), adjoint) in self.inputs.iter().zip(input_of) {
            let Some(adjoint) = adjoint else { continue };
            let sample = &self.samples[*component];
            for (place, (category, derivative)) in sample.iter().zip(&mut derivatives[*component]).enumerate()
            {
                *derivative += match input {
                    Input::Shares(shares) => shares[place] * (adjoint.of_mass(0) + adjoint.ever),
                    Input::Law(outcome) if *outcome == category.outcome => {
                        adjoint.ever + self.against_law(category, &adjoint)
                    }
                    Input::Law(_) => 0.0,
                };
            }
        }
        derivatives
    }

    /// `Σ_k adjoint_k · (mean of the category's unit law over cell k)`.
    fn against_law(&self, category: &Category, adjoint: &ByMass) -> f64 {
        let (first, last) = self.cells_of(category);
        let partial: f64 = (first..last).map(|k| adjoint.by_value(k) * self.cell_mean(category, k)).sum();
        partial + adjoint.of_mass(last)
    }

    /// The cells in which the category's law is neither 0 nor 1 throughout.
    fn cells_of(&self, category: &Category) -> (usize, usize) {
        let cells = self.grid.cells;
        if !category.upper.is_finite() {
            return (cells, cells);
        }
        let begin = if self.placement == Placement::UpperEdge { category.upper } else { category.lower };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, times are ≥ 0"
        )]
        let index = |t: f64| (t / self.grid.step) as usize;
        let first = index(begin).min(cells);
        (first, index(category.upper).saturating_add(1).min(cells))
    }

    #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
    fn cell_mean(&self, category: &Category, k: usize) -> f64 {
        let step = self.grid.step;
        let integral = |k: usize| category.integral(self.placement, k as f64 * step);
        (integral(k + 1) - integral(k)) / step
    }

    fn law(&mut self, component: usize, outcome: Outcome) -> Event {
        let cells = self.grid.cells;
        let mut value = vec![0.0; cells + 1];
        // What lies in the cells before, which rises from one category to the next.
        let (mut full, mut from) = (0.0, 0);
        for category in self.samples[component].iter().filter(|category| category.outcome == outcome) {
            let (first, last) = self.cells_of(category);
            for (k, value) in value.iter_mut().enumerate().take(last).skip(first) {
                *value += category.share * self.cell_mean(category, k);
            }
            value[from..last].iter_mut().for_each(|value| *value += full);
            (full, from) = (full + category.share, last);
        }
        value[from..cells].iter_mut().for_each(|value| *value += full);
        value[cells] = full;
        let within = self.tape.input(value);
        self.inputs.push((within, component, Input::Law(outcome)));
        Event { within, later: None }
    }

    fn constant_of(&mut self, component: usize, shares: Vec<f64>) -> CurveId {
        let sample = &self.samples[component];
        let value: f64 = sample.iter().zip(&shares).map(|(category, share)| category.share * share).sum();
        let id = self.tape.input(vec![value; self.grid.cells + 1]);
        self.inputs.push((id, component, Input::Shares(shares)));
        id
    }

    fn zero(&mut self) -> Event {
        Event { within: self.tape.affine(0.0, Vec::new()), later: None }
    }
}

#[cfg(test)]
mod tests;
