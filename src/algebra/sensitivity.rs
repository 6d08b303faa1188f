//! What the estimate owes to each component: derivatives of availability, and shares of a latency quantile, each by
//! one sweep from the root down.

use pulp::Arch;

use super::availability::{Bounds, any_of};
use super::curve::{Curve, Spectra};
use super::engine::{ESTIMATE, Engine, Plain};
use super::fold::{Fold, Grid, NodeCurves, Readings};
use super::leaf::Condition;
use super::readout::exact_quantile;
use super::tree::{Kind, Node, Tree};
use crate::distribution::order_statistic::exactly_among_others;
use crate::distribution::transform::{
    Complex64, Spectrum, Transform, differences, multiply_conjugate, times, times_conjugate,
};

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
    let mut shares = vec![0.0; engine.leaves.len()];
    let mut sweep = Sweep::up(engine, grid, on_time);
    let Some(root) = sweep.success(tree.root()) else { return shares };
    let quantile = exact_quantile(&root.within, root.total, grid, q) / grid.step;
    if !quantile.is_finite() || quantile <= 0.0 {
        return shares;
    }
    let (first, share) = sweep.middle(quantile);
    let next = (first + 1).min(grid.cells - 1);
    let slope = root.within[next] - root.within[first];
    if slope <= 0.0 {
        return shares;
    }
    #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
    let places: Vec<f64> = (0..grid.cells).map(|k| k as f64).collect();
    let mut gradient: Vec<Option<Vec<f64>>> = vec![None; tree.nodes.len()];
    let mut top = vec![0.0; grid.cells];
    top[first] += 1.0 - share;
    top[next] += share;
    gradient[tree.root()] = Some(top);
    for at in (0..tree.nodes.len()).rev() {
        let node = &tree.nodes[at];
        let Some(own) = gradient[at].take() else { continue };
        if let Kind::Leaf(component) = node.kind {
            let moved = sweep.moved(at, &own, &places);
            shares[component] += (moved / slope / quantile).max(0.0);
            continue;
        }
        for (&operand, below) in node.operands.iter().zip(sweep.below(at, &own, on_time[at])) {
            gradient[operand] = below;
        }
    }
    let sum: f64 = shares.iter().sum();
    if sum > 1.0 {
        shares.iter_mut().for_each(|share| *share /= sum);
    }
    shares
}

/// One fold up to the root, of which everything is kept, and what comes down from there.
struct Sweep<'a> {
    tree: &'a Tree,
    /// By node, without the leaves of plain Series.
    results: Vec<Option<Readings>>,
    /// By node: of a plain Series its terms, of its leaves the masses and their total.
    sums: Vec<Option<Sum>>,
    masses: Vec<Option<(Vec<f64>, f64)>>,
    grid: Grid,
    transform: &'a mut Transform,
}

/// The terms of a plain Series: the spectrum of each, and of all before it.
struct Sum {
    spectra: Vec<Spectrum>,
    before: Vec<Spectrum>,
}

impl Sum {
    /// With the spectrum of all terms together.
    fn of(spectra: Vec<Spectrum>, transform: &Transform) -> (Self, Spectrum) {
        let mut product = Spectra::unit(transform).within;
        let multiplied = |spectrum: &Spectrum| {
            let next = times(&product, spectrum);
            std::mem::replace(&mut product, next)
        };
        let before = spectra.iter().map(multiplied).collect();
        (Self { spectra, before }, product)
    }
}

impl<'a> Sweep<'a> {
    fn up(engine: &'a mut Engine<'_>, grid: Grid, on_time: &[Option<Bounds>]) -> Self {
        let (tree, leaves) = (engine.tree, engine.leaves);
        let nodes = tree.nodes.len();
        let transform = engine.transforms.of(grid.cells);
        let (results, sums, masses) =
            (vec![None; nodes], (0..nodes).map(|_| None).collect(), vec![None; nodes]);
        let mut sweep = Self { tree, results, sums, masses, grid, transform };
        for at in 0..nodes {
            if at != tree.root() && tree.is_plain_term(at) {
                if let Kind::Leaf(component) = tree.nodes[at].kind {
                    let mut masses = vec![0.0; grid.cells];
                    let leaf = &leaves[component];
                    let total = leaf.success_masses(ESTIMATE[0], Condition::None, grid.step, &mut masses);
                    // One of which nothing is known never succeeds in the estimate.
                    sweep.masses[at] = Some((masses, total.unwrap_or(0.0)));
                }
                continue;
            }
            sweep.results[at] = Some(if tree.is_plain_series(at) {
                sweep.add_up(at)
            } else {
                let leaves = &Plain(leaves);
                let mut fold =
                    Fold { tree, grid, readings: ESTIMATE, leaves, on_time, transform: sweep.transform };
                fold.node(at, &sweep.results)
            });
        }
        sweep
    }

    /// The curve of a plain Series.
    fn add_up(&mut self, at: usize) -> Readings {
        let operands = &self.tree.nodes[at].operands;
        let mut spectra = Vec::with_capacity(operands.len());
        let mut total = 1.0;
        for &operand in operands {
            let mut spectrum = Spectrum::new();
            total *= match (&self.masses[operand], &self.results[operand]) {
                (Some((masses, total)), _) => {
                    self.transform.forward_masses(masses, &mut spectrum);
                    *total
                }
                (None, Some(readings)) => {
                    let curve = &readings[0].success;
                    self.transform.forward(&curve.within, &mut spectrum);
                    curve.total
                }
                // Operands come first.
                (None, None) => continue,
            };
            spectra.push(spectrum);
        }
        let (sum, within) = Sum::of(spectra, self.transform);
        self.sums[at] = Some(sum);
        let product = Spectra { within, later: None, total };
        vec![NodeCurves { success: product.into_curve(self.transform), failure: None }]
    }

    /// When a node succeeds.
    fn success(&self, at: usize) -> Option<&Curve> {
        self.results[at].as_ref().map(|readings| &readings[0].success)
    }

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

    /// `Σ_k own(k)·k·m(k)` with the masses of a leaf's successes: how far the root's curve falls where it is slowed.
    fn moved(&self, at: usize, own: &[f64], places: &[f64]) -> f64 {
        match (&self.masses[at], self.success(at)) {
            (Some((masses, _)), _) => product_sum(own, places, masses),
            (None, Some(curve)) => {
                let mut masses = vec![0.0; own.len()];
                differences(&curve.within, &mut masses);
                product_sum(own, places, &masses)
            }
            (None, None) => 0.0,
        }
    }

    /// The gradients of a node's operands from its own; `None` where nothing flows.
    fn below(&mut self, at: usize, own: &[f64], on_time: Option<Bounds>) -> Vec<Option<Vec<f64>>> {
        let node = &self.tree.nodes[at];
        if let Some(sum) = self.sums[at].take() {
            return self.series(&sum, own);
        }
        // Taken out, since the transforms of what comes down are the sweep's own.
        let results = std::mem::take(&mut self.results);
        let below = self.below_others(node, &results, own, on_time);
        self.results = results;
        below
    }

    fn below_others(
        &mut self,
        node: &Node,
        results: &[Option<Readings>],
        own: &[f64],
        on_time: Option<Bounds>,
    ) -> Vec<Option<Vec<f64>>> {
        let curves =
            || node.operands.iter().filter_map(|&operand| results[operand].as_ref().map(|of| &of[0]));
        let operands: Vec<&Curve> = curves().map(|curves| &curves.success).collect();
        if operands.len() != node.operands.len() {
            return vec![None; node.operands.len()];
        }
        let first_failure = curves().next().and_then(|curves| curves.failure.as_ref());
        match &node.kind {
            Kind::Leaf(_) => Vec::new(),
            Kind::Series => {
                let transformed = |curve: &&Curve| Spectra::of(curve, self.transform).within;
                let spectra = operands.iter().map(transformed).collect();
                self.series(&Sum::of(spectra, self.transform).0, own)
            }
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
                let second = first_failure.map(|failed| {
                    let mut spectrum = Spectrum::new();
                    self.transform.forward(&failed.within, &mut spectrum);
                    self.correlate(own, &spectrum)
                });
                vec![Some(own.to_vec()), second]
            }
            // The first attempt and what follows it have the same law, so that all attempts share one derivative.
            Kind::Retry { attempts, per_try, .. } => {
                let share: Vec<f64> = match (first_failure, attempts) {
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
    fn series(&mut self, sum: &Sum, own: &[f64]) -> Vec<Option<Vec<f64>>> {
        let mut through = self.dual(own);
        let mut gradients = vec![None; sum.spectra.len()];
        for ((gradient, before), spectrum) in gradients.iter_mut().zip(&sum.before).zip(&sum.spectra).rev() {
            let mut dual = times_conjugate(&through, before);
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

/// `Σ a·b·c` over the cells, several sums at a time, so that an addition need not wait for the one before.
fn product_sum(a: &[f64], b: &[f64], c: &[f64]) -> f64 {
    const SUMS: usize = 16;
    const { assert!(SHARE_CELLS.is_multiple_of(SUMS), "no cell is left out") };
    let (a, _) = a.as_chunks::<SUMS>();
    let (b, _) = b.as_chunks::<SUMS>();
    let (c, _) = c.as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    Arch::new().dispatch(|| {
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            for k in 0..SUMS {
                sums[k] += a[k] * b[k] * c[k];
            }
        }
    });
    sums.iter().sum()
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
