//! What the estimate owes to each component: derivatives of availability, and shares of a latency quantile, each by
//! one sweep from the root down.

use super::availability::{Bounds, any_of};
use super::curve::{Curve, Reading, Spectra};
use super::engine::{ESTIMATE, Engine};
use super::fold::{Grid, Readings};
use super::readout::Conditional;
use super::tree::{Kind, Tree};
use crate::distribution::order_statistic::exactly_among_others;
use crate::distribution::transform::{Complex64, Spectrum, Transform, multiply, multiply_conjugate};

/// Cells of the grid of latency shares; they are shown as percentages.
const SHARE_CELLS: usize = 256;

/// For each operand the product of the others' values.
fn products_of_others(values: &[f64]) -> Vec<f64> {
    let mut others = vec![1.0; values.len()];
    let mut before = 1.0;
    for (other, value) in others.iter_mut().zip(values) {
        *other = before;
        before *= value;
    }
    let mut after = 1.0;
    for (other, value) in others.iter_mut().zip(values).rev() {
        *other *= after;
        after *= value;
    }
    others
}

/// `∂A/∂A_i` for each component, summed over its occurrences (Birnbaum's importance). What arrives before a deadline is
/// taken to be a fixed share of the body's successes.
pub(crate) fn of_availability(
    tree: &Tree,
    components: usize,
    availability: &[Bounds],
    on_time: &[Option<Bounds>],
) -> Vec<f64> {
    let a = |at: usize| availability[at].lower;
    let mut gradient = vec![0.0; tree.nodes.len()];
    gradient[tree.root()] = 1.0;
    let mut by_component = vec![0.0; components];
    for at in (0..tree.nodes.len()).rev() {
        let node = &tree.nodes[at];
        let own = gradient[at];
        let values: Vec<f64> = node.operands.iter().map(|&operand| a(operand)).collect();
        let timely = |body: f64| {
            let q = on_time[at].map_or(body, |bounds| bounds.lower);
            (q, if body > 0.0 { q / body } else { 1.0 })
        };
        let partial: Vec<f64> = match &node.kind {
            Kind::Leaf(component) => {
                by_component[*component] += own;
                continue;
            }
            Kind::Series | Kind::Parallel => products_of_others(&values),
            Kind::Race | Kind::Hedge(_) | Kind::Fallback => {
                products_of_others(&values.iter().map(|a| 1.0 - a).collect::<Vec<_>>())
            }
            Kind::KofN(k) => exactly_among_others(&values, k - 1),
            Kind::Cond(weights) => {
                let mut partial = weights.known.clone();
                let worst = weights.free.iter().min_by(|&&x, &&y| values[x].total_cmp(&values[y]));
                if let Some(&worst) = worst {
                    partial[worst] += weights.rest;
                }
                partial
            }
            Kind::Timeout(_) => {
                let (q, share) = timely(values[0]);
                let fallback = values.get(1).copied();
                let body = share * (1.0 - fallback.unwrap_or(0.0));
                [body].into_iter().chain(fallback.map(|_| 1.0 - q)).collect()
            }
            Kind::Retry { attempts, per_try, .. } => {
                let (q, share) = if per_try.is_some() { timely(values[0]) } else { (values[0], 1.0) };
                vec![f64::from(*attempts) * (1.0 - any_of(q, attempts - 1)) * share]
            }
            Kind::Optional(_) => vec![0.0],
            Kind::Repeat(counts) => {
                let term = |&(count, p): &(u32, f64)| match count {
                    0 => 0.0,
                    _ => p * f64::from(count) * values[0].powf(f64::from(count) - 1.0),
                };
                vec![counts.iter().map(term).sum()]
            }
        };
        for (&operand, partial) in node.operands.iter().zip(partial) {
            gradient[operand] += own * partial;
        }
    }
    by_component
}

/// The share of the q-quantile that each component's time makes up: `C_i/t*` with `C_i = E[L_i · on the critical path |
/// J = t*]`, the derivative of the quantile when all times of the component are scaled. The shares sum to 1 where no
/// fixed timer and no failing call stands in between, and to less otherwise: waits, and the time that calls take to
/// fail, belong to no component. All are 0 where the quantile is infinite.
pub(crate) fn of_latency(
    engine: &mut Engine<'_>,
    horizon: f64,
    on_time: &[Option<Bounds>],
    q: f64,
) -> Vec<f64> {
    let grid = Grid::new(horizon, SHARE_CELLS);
    let tree = engine.tree;
    let mut curves: Vec<Option<Curve>> = vec![None; tree.nodes.len()];
    let mut failures: Vec<Option<Curve>> = vec![None; tree.nodes.len()];
    let keep = |at: usize, readings: &Readings| {
        curves[at] = Some(readings[0].success.clone());
        failures[at].clone_from(&readings[0].failure);
    };
    engine.independent_throughout(tree.root(), grid, ESTIMATE, on_time, keep);
    let mut shares = vec![0.0; engine.leaves.len()];
    let Some(root) = &curves[tree.root()] else { return shares };
    let quantile = Conditional::new(root, grid, Reading::Exact, None).quantile(q) / grid.step;
    if !quantile.is_finite() || quantile <= 0.0 {
        return shares;
    }
    let mut sweep =
        Sweep { curves: &curves, failures: &failures, grid, transform: engine.transforms.of(grid.cells) };
    #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
    let places: Vec<f64> = (0..grid.cells).map(|k| k as f64).collect();
    let mut gradient: Vec<Option<Vec<f64>>> = vec![None; tree.nodes.len()];
    let mut top = vec![0.0; grid.cells];
    let (first, share) = sweep.middle(quantile);
    let next = (first + 1).min(grid.cells - 1);
    top[first] += 1.0 - share;
    top[next] += share;
    let slope = root.within[next] - root.within[first];
    if slope <= 0.0 {
        return shares;
    }
    gradient[tree.root()] = Some(top);
    for at in (0..tree.nodes.len()).rev() {
        let node = &tree.nodes[at];
        let Some(own) = gradient[at].take() else { continue };
        if let (Kind::Leaf(component), Some(curve)) = (&node.kind, &curves[at]) {
            // Several sums, so that an addition need not wait for the one before.
            let mut sums = [0.0; 4];
            for at in 1..grid.cells {
                let mass = curve.within[at] - curve.within[at - 1];
                sums[at % 4] += own[at] * places[at] * mass;
            }
            let moved: f64 = sums.iter().sum();
            shares[*component] += (moved / slope / quantile).max(0.0);
            continue;
        }
        for (&operand, below) in node.operands.iter().zip(sweep.below(tree, at, &own, on_time[at])) {
            gradient[operand] = below;
        }
    }
    let sum: f64 = shares.iter().sum();
    if sum > 1.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    }
    shares
}

struct Sweep<'a> {
    curves: &'a [Option<Curve>],
    failures: &'a [Option<Curve>],
    grid: Grid,
    transform: &'a mut Transform,
}

impl Sweep<'_> {
    /// The cell whose middle lies at or before `cells`, and how far `cells` lies towards the next.
    fn middle(&self, cells: f64) -> (usize, f64) {
        let at = (cells - 0.5).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is clamped"
        )]
        let cell = (at as usize).min(self.grid.cells - 1);
        (cell, at.fract())
    }

    /// The gradients of a node's operands from its own; `None` where nothing flows.
    fn below(
        &mut self,
        tree: &Tree,
        at: usize,
        own: &[f64],
        on_time: Option<Bounds>,
    ) -> Vec<Option<Vec<f64>>> {
        let node = &tree.nodes[at];
        let operands: Vec<&Curve> = node.operands.iter().filter_map(|&o| self.curves[o].as_ref()).collect();
        if operands.len() != node.operands.len() {
            return vec![None; node.operands.len()];
        }
        match &node.kind {
            Kind::Leaf(_) => Vec::new(),
            Kind::Series => self.series(&operands, own),
            Kind::Parallel => self.pointwise(&operands, own, products_of_others),
            Kind::Race => self.pointwise(&operands, own, |values| {
                products_of_others(&values.iter().map(|s| 1.0 - s).collect::<Vec<_>>())
            }),
            Kind::KofN(k) => self.pointwise(&operands, own, |values| exactly_among_others(values, k - 1)),
            Kind::Hedge(delay) => {
                let delay = delay / self.grid.step;
                let second = operands[1].delayed(delay);
                let mut both = self
                    .pointwise(&[operands[0], &second], own, |values| vec![1.0 - values[1], 1.0 - values[0]]);
                if let Some(Some(second)) = both.get_mut(1) {
                    *second = advanced(second, delay);
                }
                both
            }
            Kind::Cond(weights) => {
                let worst =
                    weights.free.iter().min_by(|&&x, &&y| operands[x].total.total_cmp(&operands[y].total));
                (0..operands.len())
                    .map(|branch| {
                        let rest = if worst == Some(&branch) { weights.rest } else { 0.0 };
                        let p = weights.known[branch] + rest;
                        (p > 0.0).then(|| own.iter().map(|value| value * p).collect())
                    })
                    .collect()
            }
            Kind::Timeout(after) => {
                let q = on_time.map_or(operands[0].total, |bounds| bounds.lower);
                self.timeout(*after, q, &operands, own)
            }
            Kind::Fallback => {
                let failed = self.failures[node.operands[0]].as_ref();
                let second = failed.map(|failed| {
                    let mut spectrum = Spectrum::new();
                    self.transform.forward(&failed.within, &mut spectrum);
                    self.correlate(own, &spectrum)
                });
                vec![Some(own.to_vec()), second]
            }
            // The first attempt and what follows it have the same law, so that all attempts share one derivative.
            Kind::Retry { attempts, per_try, .. } => {
                let share: Vec<f64> = match (self.failures[node.operands[0]].as_ref(), attempts) {
                    (Some(failed), 2..) if per_try.is_none() => {
                        let failed = Spectra::of(failed, self.transform);
                        let mut tries = Spectra::unit(self.transform);
                        let mut reached = Spectra::unit(self.transform);
                        for _ in 1..*attempts {
                            reached.multiply(&failed);
                            if reached.total < 1e-12 {
                                break;
                            }
                            tries.add(1.0, &reached);
                        }
                        self.correlate(own, &tries.within)
                    }
                    _ => own.to_vec(),
                };
                let cut = per_try.map_or(f64::INFINITY, |after| after / self.grid.step);
                vec![Some(until(share, cut))]
            }
            Kind::Optional(timeout) => vec![Some(until(own.to_vec(), timeout / self.grid.step))],
            Kind::Repeat(counts) => {
                let body = Spectra::of(operands[0], self.transform);
                let mut derivative = Spectra::zero(self.transform);
                let mut power = Spectra::unit(self.transform);
                let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0);
                for n in 1..=most {
                    let p: f64 = counts.iter().filter(|&&(count, _)| count == n).map(|&(_, p)| p).sum();
                    if p > 0.0 {
                        derivative.add(p * f64::from(n), &power);
                    }
                    power.multiply(&body);
                }
                vec![Some(self.correlate(own, &derivative.within))]
            }
        }
    }

    /// The gradient of a term comes through the masses of all others: those before it, and those after it.
    fn series(&mut self, operands: &[&Curve], own: &[f64]) -> Vec<Option<Vec<f64>>> {
        let mut product = Spectra::unit(self.transform).within;
        let (mut spectra, mut before) = (Vec::new(), Vec::new());
        for operand in operands {
            let mut spectrum = Spectrum::new();
            self.transform.forward(&operand.within, &mut spectrum);
            before.push(product.clone());
            multiply(&mut product, &spectrum);
            spectra.push(spectrum);
        }
        let mut through = self.dual(own);
        let mut gradients = vec![None; operands.len()];
        for ((gradient, before), spectrum) in gradients.iter_mut().zip(&before).zip(&spectra).rev() {
            let mut dual = through.clone();
            multiply_conjugate(&mut dual, before);
            multiply_conjugate(&mut through, spectrum);
            *gradient = Some(self.gradient(&mut dual));
        }
        gradients
    }

    /// `Σ_m g(m)·o(m−k)`: the gradient through a convolution with masses of this spectrum.
    fn correlate(&mut self, own: &[f64], masses: &[Complex64]) -> Vec<f64> {
        let mut through = self.dual(own);
        multiply_conjugate(&mut through, masses);
        self.gradient(&mut through)
    }

    fn dual(&mut self, own: &[f64]) -> Spectrum {
        let mut spectrum = Spectrum::new();
        self.transform.forward_dual(own, &mut spectrum);
        spectrum
    }

    fn gradient(&mut self, dual: &mut Spectrum) -> Vec<f64> {
        let mut gradient = vec![0.0; self.grid.cells];
        self.transform.add_inverse_dual(dual, &mut gradient);
        gradient
    }

    fn pointwise(
        &self,
        operands: &[&Curve],
        own: &[f64],
        partial: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Vec<Option<Vec<f64>>> {
        let mut below = vec![vec![0.0; own.len()]; operands.len()];
        for (k, &weight) in own.iter().enumerate() {
            if weight == 0.0 {
                continue;
            }
            let values: Vec<f64> = operands.iter().map(|curve| curve.within[k]).collect();
            for (below, partial) in below.iter_mut().zip(partial(&values)) {
                below[k] = weight * partial;
            }
        }
        below.into_iter().map(Some).collect()
    }

    fn timeout(&self, after: f64, q: f64, operands: &[&Curve], own: &[f64]) -> Vec<Option<Vec<f64>>> {
        let cells = after / self.grid.step;
        let mut body = until(own.to_vec(), cells);
        let Some(fallback) = operands.get(1) else {
            let late: f64 = own.iter().zip(&body).map(|(own, body)| own - body).sum();
            self.at_deadline(&mut body, cells, late);
            return vec![Some(body)];
        };
        let late: Vec<f64> = own.iter().zip(&body).map(|(own, body)| own - body).collect();
        let delayed = fallback.delayed(cells);
        let more: f64 = late.iter().zip(&delayed.within).map(|(late, s)| late * (1.0 - s)).sum();
        self.at_deadline(&mut body, cells, more);
        let second: Vec<f64> = late.iter().map(|late| late * (1.0 - q)).collect();
        vec![Some(body), Some(advanced(&second, cells))]
    }

    /// Adds to the body's gradient what comes through P(success by the deadline).
    fn at_deadline(&self, body: &mut [f64], cells: f64, weight: f64) {
        if cells < body.len() as f64 {
            let (first, share) = self.middle(cells);
            body[first] += weight * (1.0 - share);
            let next = (first + 1).min(body.len() - 1);
            body[next] += weight * share;
        }
    }
}

/// The part of a gradient before a deadline; the cell that holds it is shared.
fn until(mut gradient: Vec<f64>, cells: f64) -> Vec<f64> {
    for (k, value) in gradient.iter_mut().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let start = k as f64;
        *value *= (cells - start).clamp(0.0, 1.0);
    }
    gradient
}

/// The gradient of a curve before its delay.
fn advanced(gradient: &[f64], delay: f64) -> Vec<f64> {
    let reversed: Vec<f64> = gradient.iter().rev().copied().collect();
    let mut advanced = Curve { within: reversed, later: None, total: 0.0 }.delayed(delay).within;
    advanced.reverse();
    advanced
}
