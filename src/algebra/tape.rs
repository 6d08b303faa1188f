//! A tape of operations on curves, for derivatives of one number of the root by every input in one reverse sweep.
//!
//! A *curve* has one value for each cell of a grid (the mean over the cell) and one more for t = ∞. A *spectrum* is the
//! exponentially tilted transform of a curve's masses, beside its value at ∞: products of spectra are sums of times.
//! Every operation appends its value; [`Tape::gradient`] walks back. The adjoint of a spectrum is kept as the transform of
//! the adjoint of the tilted masses, so that the adjoint of a product is a product with the conjugate.

use crate::distribution::order_statistic;
use crate::distribution::transform::{
    Complex64, Spectrum, Transform, multiply_conjugate, times, times_conjugate,
};

/// A curve on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CurveId(usize);

/// A spectrum on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpectrumId(usize);

#[derive(Debug, Clone)]
enum CurveOp {
    Input,
    /// `constant + Σ weight · curve`.
    Affine(Vec<(f64, CurveId)>),
    Product(Vec<CurveId>),
    /// The smaller of two, cell by cell.
    Least(CurveId, CurveId),
    /// P(at least k).
    AtLeast(Vec<CurveId>, usize),
    Delayed(CurveId, f64),
    /// The first up to the deadline (in cells), the second from there on.
    Until(CurveId, CurveId, f64),
    /// The curve's value in this cell (or at ∞), everywhere.
    Everywhere(CurveId, usize),
    OfSpectrum(SpectrumId),
}

#[derive(Debug, Clone)]
enum SpectrumOp {
    Constant,
    OfCurve(CurveId),
    Product(SpectrumId, SpectrumId),
    Sum(Vec<(f64, SpectrumId)>),
}

#[derive(Debug, Clone)]
struct Transformed {
    values: Spectrum,
    ever: f64,
}

enum Entry {
    Curve(usize),
    Spectrum(usize),
}

/// See the module.
pub(crate) struct Tape<'a> {
    transform: &'a mut Transform,
    order: Vec<Entry>,
    curve_ops: Vec<CurveOp>,
    curves: Vec<Vec<f64>>,
    spectrum_ops: Vec<SpectrumOp>,
    spectra: Vec<Transformed>,
}

/// The derivatives by the mass of an input in each cell, which raises the curve there and in every later cell, and by its
/// value at ∞.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ByMass {
    pub(crate) from: Vec<f64>,
    pub(crate) ever: f64,
}

impl ByMass {
    /// The derivative by the value of the curve in cell `k`.
    pub(crate) fn by_value(&self, k: usize) -> f64 {
        self.from[k] - self.of_mass(k + 1)
    }

    /// That by a mass in cell `k`; 0 beyond the grid.
    pub(crate) fn of_mass(&self, k: usize) -> f64 {
        self.from.get(k).copied().unwrap_or(0.0)
    }
}

impl<'a> Tape<'a> {
    pub(crate) fn new(transform: &'a mut Transform) -> Self {
        Self {
            transform,
            order: Vec::new(),
            curve_ops: Vec::new(),
            curves: Vec::new(),
            spectrum_ops: Vec::new(),
            spectra: Vec::new(),
        }
    }

    /// How many cells the grid has; this index of a curve is t = ∞.
    pub(crate) fn cells(&self) -> usize {
        self.transform.cells()
    }

    pub(crate) fn value(&self, id: CurveId) -> &[f64] {
        &self.curves[id.0]
    }

    fn push(&mut self, op: CurveOp, value: Vec<f64>) -> CurveId {
        debug_assert_eq!(value.len(), self.cells() + 1);
        self.order.push(Entry::Curve(self.curves.len()));
        self.curve_ops.push(op);
        self.curves.push(value);
        CurveId(self.curves.len() - 1)
    }

    fn push_spectrum(&mut self, op: SpectrumOp, value: Transformed) -> SpectrumId {
        self.order.push(Entry::Spectrum(self.spectra.len()));
        self.spectrum_ops.push(op);
        self.spectra.push(value);
        SpectrumId(self.spectra.len() - 1)
    }

    /// A curve by which derivatives are wanted; cells, then the value at ∞.
    pub(crate) fn input(&mut self, value: Vec<f64>) -> CurveId {
        self.push(CurveOp::Input, value)
    }

    pub(crate) fn affine(&mut self, constant: f64, terms: Vec<(f64, CurveId)>) -> CurveId {
        let mut value = vec![constant; self.cells() + 1];
        for &(weight, id) in &terms {
            value.iter_mut().zip(&self.curves[id.0]).for_each(|(a, b)| *a += weight * b);
        }
        self.push(CurveOp::Affine(terms), value)
    }

    /// `1 − a`.
    pub(crate) fn complement(&mut self, id: CurveId) -> CurveId {
        self.affine(1.0, vec![(-1.0, id)])
    }

    pub(crate) fn product(&mut self, factors: Vec<CurveId>) -> CurveId {
        if let [only] = factors[..] {
            return only;
        }
        let mut value = vec![1.0; self.cells() + 1];
        for id in &factors {
            value.iter_mut().zip(&self.curves[id.0]).for_each(|(a, b)| *a *= b);
        }
        self.push(CurveOp::Product(factors), value)
    }

    pub(crate) fn least(&mut self, a: CurveId, b: CurveId) -> CurveId {
        let value = self.curves[a.0].iter().zip(&self.curves[b.0]).map(|(a, b)| a.min(*b)).collect();
        self.push(CurveOp::Least(a, b), value)
    }

    pub(crate) fn at_least(&mut self, trials: Vec<CurveId>, k: usize) -> CurveId {
        let value = (0..=self.cells())
            .map(|cell| order_statistic::at_least(trials.iter().map(|id| self.curves[id.0][cell]), k))
            .collect();
        self.push(CurveOp::AtLeast(trials, k), value)
    }

    pub(crate) fn delayed(&mut self, id: CurveId, cells: f64) -> CurveId {
        if cells <= 0.0 {
            return id;
        }
        let source = &self.curves[id.0];
        let n = self.cells();
        let mut value = vec![0.0; n + 1];
        each_delayed(n, cells, |to, from, share| value[to] += share * source[from]);
        value[n] = source[n];
        self.push(CurveOp::Delayed(id, cells), value)
    }

    pub(crate) fn until(&mut self, before: CurveId, after: CurveId, deadline: f64) -> CurveId {
        let value = (0..=self.cells())
            .map(|cell| {
                let share = share_before(cell, self.cells(), deadline);
                let pick =
                    |id: CurveId, share: f64| if share > 0.0 { share * self.curves[id.0][cell] } else { 0.0 };
                pick(before, share) + pick(after, 1.0 - share)
            })
            .collect();
        self.push(CurveOp::Until(before, after, deadline), value)
    }

    /// The curve's value in `cell`, as a constant curve; the number of cells stands for ∞.
    pub(crate) fn everywhere(&mut self, id: CurveId, cell: usize) -> CurveId {
        let cell = cell.min(self.cells());
        let value = vec![self.curves[id.0][cell]; self.cells() + 1];
        self.push(CurveOp::Everywhere(id, cell), value)
    }

    pub(crate) fn ever(&mut self, id: CurveId) -> CurveId {
        self.everywhere(id, self.cells())
    }

    pub(crate) fn spectrum(&mut self, id: CurveId) -> SpectrumId {
        let (curve, n) = (&self.curves[id.0], self.transform.cells());
        let mut values = Spectrum::new();
        self.transform.forward(&curve[..n], &mut values);
        let ever = curve[n];
        self.push_spectrum(SpectrumOp::OfCurve(id), Transformed { values, ever })
    }

    /// Fixed after `delay` cells, with probability `ever`; beyond the grid nothing of it is seen.
    pub(crate) fn fixed(&mut self, delay: f64, ever: f64) -> SpectrumId {
        let n = self.cells();
        let mut masses = vec![0.0; n];
        each_delayed(n, delay, |to, from, share| {
            if from == 0 {
                masses[to] += share * ever;
            }
        });
        let mut values = Spectrum::new();
        self.transform.forward_masses(&masses, &mut values);
        self.push_spectrum(SpectrumOp::Constant, Transformed { values, ever })
    }

    pub(crate) fn convolution(&mut self, a: SpectrumId, b: SpectrumId) -> SpectrumId {
        let (x, y) = (&self.spectra[a.0], &self.spectra[b.0]);
        let value = Transformed { values: times(&x.values, &y.values), ever: x.ever * y.ever };
        self.push_spectrum(SpectrumOp::Product(a, b), value)
    }

    pub(crate) fn mixture(&mut self, terms: Vec<(f64, SpectrumId)>) -> SpectrumId {
        let mut values = vec![Complex64::ZERO; self.transform.values()];
        let mut ever = 0.0;
        for &(weight, id) in &terms {
            let term = &self.spectra[id.0];
            values.iter_mut().zip(&term.values).for_each(|(a, b)| *a += b * weight);
            ever += weight * term.ever;
        }
        self.push_spectrum(SpectrumOp::Sum(terms), Transformed { values, ever })
    }

    pub(crate) fn curve(&mut self, id: SpectrumId) -> CurveId {
        let mut value = vec![0.0; self.cells()];
        self.transform.inverse_masses(&mut self.spectra[id.0].values.clone(), &mut value);
        let mut sum = 0.0;
        for mass in &mut value {
            sum += *mass;
            *mass = sum;
        }
        value.push(self.spectra[id.0].ever);
        self.push(CurveOp::OfSpectrum(id), value)
    }

    /// The derivatives of `Σ weight · curve[cell]` over the seeds by every input.
    pub(crate) fn gradient(&mut self, seeds: &[(CurveId, usize, f64)]) -> Vec<(CurveId, ByMass)> {
        let n = self.cells();
        let mut transformed: Vec<Option<ByMass>> = vec![None; self.curves.len()];
        let mut curves: Vec<Option<Vec<f64>>> = vec![None; self.curves.len()];
        let mut spectra: Vec<Option<Transformed>> = vec![None; self.spectra.len()];
        for &(id, cell, weight) in seeds {
            curves[id.0].get_or_insert_with(|| vec![0.0; n + 1])[cell.min(n)] += weight;
        }
        let mut masses = vec![0.0; n];
        let mut inputs = Vec::new();
        for entry in self.order.iter().rev() {
            match *entry {
                Entry::Curve(at) => {
                    let through_spectra = transformed[at].take();
                    let Some(adjoint) = curves[at].take() else {
                        inputs.extend(through_spectra.map(|by_mass| (CurveId(at), by_mass)));
                        continue;
                    };
                    let mut grow = |id: CurveId, add: &mut dyn FnMut(&mut [f64])| {
                        add(curves[id.0].get_or_insert_with(|| vec![0.0; n + 1]));
                    };
                    match &self.curve_ops[at] {
                        CurveOp::Input => {
                            let mut by_mass =
                                through_spectra.unwrap_or_else(|| ByMass { from: vec![0.0; n], ever: 0.0 });
                            let mut later = 0.0;
                            for (from, adjoint) in by_mass.from.iter_mut().zip(&adjoint[..n]).rev() {
                                later += adjoint;
                                *from += later;
                            }
                            by_mass.ever += adjoint[n];
                            inputs.push((CurveId(at), by_mass));
                        }
                        CurveOp::Affine(terms) => {
                            for &(weight, id) in terms {
                                grow(id, &mut |a| {
                                    a.iter_mut().zip(&adjoint).for_each(|(a, b)| *a += weight * b)
                                });
                            }
                        }
                        CurveOp::Product(factors) => {
                            // Products of all others, from both ends: no division by a factor that may be 0.
                            let mut before = vec![adjoint];
                            for id in factors {
                                let next = before[before.len() - 1]
                                    .iter()
                                    .zip(&self.curves[id.0])
                                    .map(|(a, b)| a * b)
                                    .collect();
                                before.push(next);
                            }
                            let mut after = vec![1.0; n + 1];
                            for (place, &id) in factors.iter().enumerate().rev() {
                                grow(id, &mut |a| {
                                    for ((a, b), c) in a.iter_mut().zip(&before[place]).zip(&after) {
                                        *a += b * c;
                                    }
                                });
                                after.iter_mut().zip(&self.curves[id.0]).for_each(|(a, b)| *a *= b);
                            }
                        }
                        &CurveOp::Least(x, y) => {
                            let first = |cell: usize| self.curves[x.0][cell] <= self.curves[y.0][cell];
                            grow(x, &mut |a| {
                                (0..=n).filter(|&cell| first(cell)).for_each(|cell| a[cell] += adjoint[cell]);
                            });
                            grow(y, &mut |a| {
                                (0..=n)
                                    .filter(|&cell| !first(cell))
                                    .for_each(|cell| a[cell] += adjoint[cell]);
                            });
                        }
                        CurveOp::AtLeast(trials, k) => {
                            for cell in 0..=n {
                                if adjoint[cell] == 0.0 {
                                    continue;
                                }
                                let p: Vec<f64> = trials.iter().map(|id| self.curves[id.0][cell]).collect();
                                for (id, derivative) in trials.iter().zip(pivotal(&p, *k)) {
                                    grow(*id, &mut |a| a[cell] += adjoint[cell] * derivative);
                                }
                            }
                        }
                        &CurveOp::Delayed(id, cells) => grow(id, &mut |a| {
                            each_delayed(n, cells, |to, from, share| a[from] += share * adjoint[to]);
                            a[n] += adjoint[n];
                        }),
                        &CurveOp::Until(before, after, deadline) => {
                            grow(before, &mut |a| {
                                (0..=n).for_each(|k| a[k] += share_before(k, n, deadline) * adjoint[k]);
                            });
                            grow(after, &mut |a| {
                                (0..=n)
                                    .for_each(|k| a[k] += (1.0 - share_before(k, n, deadline)) * adjoint[k]);
                            });
                        }
                        &CurveOp::Everywhere(id, cell) => {
                            grow(id, &mut |a| a[cell] += adjoint.iter().sum::<f64>());
                        }
                        &CurveOp::OfSpectrum(id) => {
                            let mut later = 0.0;
                            for (mass, adjoint) in masses.iter_mut().zip(&adjoint[..n]).rev() {
                                later += adjoint;
                                *mass = later;
                            }
                            let mut values = Spectrum::new();
                            self.transform.forward_dual(&masses, &mut values);
                            add_spectrum(&mut spectra[id.0], values.into_iter(), adjoint[n]);
                        }
                    }
                }
                Entry::Spectrum(at) => {
                    let Some(mut adjoint) = spectra[at].take() else { continue };
                    match &self.spectrum_ops[at] {
                        SpectrumOp::Constant => {}
                        &SpectrumOp::OfCurve(id) => {
                            if matches!(self.curve_ops[id.0], CurveOp::Input) {
                                let by_mass = transformed[id.0]
                                    .get_or_insert_with(|| ByMass { from: vec![0.0; n], ever: 0.0 });
                                self.transform.add_inverse_dual(&mut adjoint.values, &mut by_mass.from);
                                by_mass.ever += adjoint.ever;
                                continue;
                            }
                            masses.fill(0.0);
                            self.transform.add_inverse_dual(&mut adjoint.values, &mut masses);
                            let target = curves[id.0].get_or_insert_with(|| vec![0.0; n + 1]);
                            for (k, &mass) in masses.iter().enumerate() {
                                target[k] += mass - masses.get(k + 1).copied().unwrap_or(0.0);
                            }
                            target[n] += adjoint.ever;
                        }
                        &SpectrumOp::Product(a, b) => {
                            let (x, y) = (&self.spectra[a.0], &self.spectra[b.0]);
                            let values = times_conjugate(&adjoint.values, &y.values);
                            add_spectrum(&mut spectra[a.0], values.into_iter(), adjoint.ever * y.ever);
                            if let Some(sum) = &mut spectra[b.0] {
                                let terms = adjoint.values.iter().zip(&x.values);
                                sum.values.iter_mut().zip(terms).for_each(|(a, (x, y))| *a += x * y.conj());
                                sum.ever += adjoint.ever * x.ever;
                            } else {
                                multiply_conjugate(&mut adjoint.values, &x.values);
                                adjoint.ever *= x.ever;
                                spectra[b.0] = Some(adjoint);
                            }
                        }
                        SpectrumOp::Sum(terms) => {
                            for &(weight, id) in terms {
                                let values = adjoint.values.iter().map(|x| x * weight);
                                add_spectrum(&mut spectra[id.0], values, adjoint.ever * weight);
                            }
                        }
                    }
                }
            }
        }
        inputs
    }
}

fn add_spectrum(slot: &mut Option<Transformed>, values: impl Iterator<Item = Complex64>, ever: f64) {
    match slot {
        Some(sum) => {
            sum.values.iter_mut().zip(values).for_each(|(a, b)| *a += b);
            sum.ever += ever;
        }
        None => *slot = Some(Transformed { values: values.collect(), ever }),
    }
}

/// `visit(to, from, share)` for every cell that a delay of `cells` moves; a fraction is split onto both neighbours.
fn each_delayed(n: usize, cells: f64, mut visit: impl FnMut(usize, usize, f64)) {
    #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
    if cells >= n as f64 {
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above, delays are ≥ 0"
    )]
    let whole = cells as usize;
    let fraction = cells.fract();
    for from in 0..n - whole {
        visit(from + whole, from, 1.0 - fraction);
        if from + whole + 1 < n {
            visit(from + whole + 1, from, fraction);
        }
    }
}

/// The share of a cell that lies before the deadline (in cells); 0 at ∞.
fn share_before(cell: usize, cells: usize, deadline: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
    if cell == cells { 0.0 } else { (deadline - cell as f64).clamp(0.0, 1.0) }
}

/// The derivative of P(at least k) by each trial: P(exactly k − 1 of the others). O(n · k²).
fn pivotal(p: &[f64], k: usize) -> Vec<f64> {
    let add = |count: &[f64], p: f64| -> Vec<f64> {
        (0..k).map(|j| count[j] * (1.0 - p) + if j > 0 { count[j - 1] * p } else { 0.0 }).collect()
    };
    let mut start = vec![0.0; k];
    if let Some(first) = start.first_mut() {
        *first = 1.0;
    }
    let mut before = vec![start.clone()];
    for &p in p {
        let next = add(&before[before.len() - 1], p);
        before.push(next);
    }
    let mut after = start;
    let mut derivatives = vec![0.0; p.len()];
    for place in (0..p.len()).rev() {
        derivatives[place] = (0..k).map(|j| before[place][j] * after[k - 1 - j]).sum();
        after = add(&after, p[place]);
    }
    derivatives
}
