//! Sub-distributions on a grid, and what each operator does to them.
//!
//! A [`Curve`] says when something happens, if it does: success, or the knowledge of failure. It holds the means over
//! the cells `[k·h, (k+1)·h]` of
//!
//! - `within`: P(it happened by t), and
//! - `later`: the running mass of a measure whose tail `total − later(t)` is P(it happens after t). Where nothing
//!   about the total is uncertain, it is `within` itself, and is not stored.
//!
//! An exact curve (an estimate) has no `later`. A bracket is two curves: the *late* one bounds `within` from below and
//! the tail from above, the *early* one the other way round. Mass that may or may not become a success (it straddles a
//! deadline) is what makes `later` differ from `within`: it is missing from the late `within` but present in its tail.

use crate::distribution::order_statistic;
use crate::distribution::transform::{Complex64, Spectrum, Transform, multiply};

/// Which of the three readings of the evidence a curve follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The interpolated estimate.
    Exact,
    /// Everything as late as it can be.
    Late,
    /// Everything as early as it can be.
    Early,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    pub(crate) within: Vec<f64>,
    pub(crate) later: Option<Vec<f64>>,
    pub(crate) total: f64,
}

impl Curve {
    /// Nothing happens on the grid, but `total` may happen later.
    pub(crate) fn beyond(total: f64, cells: usize) -> Self {
        Self { within: vec![0.0; cells], later: None, total }
    }

    /// The measure behind the tail.
    pub(crate) fn later(&self) -> &[f64] {
        self.later.as_deref().unwrap_or(&self.within)
    }

    /// P(it happens after cell `k`).
    pub(crate) fn tail(&self, k: usize) -> f64 {
        (self.total - self.later()[k]).max(0.0)
    }

    fn cells(&self) -> usize {
        self.within.len()
    }

    /// Adds `weight ·` another curve; both exact or both of one reading.
    pub(crate) fn add(&mut self, weight: f64, other: &Self) {
        if self.later.is_some() || other.later.is_some() {
            let later = self.later.get_or_insert_with(|| self.within.clone());
            later.iter_mut().zip(other.later()).for_each(|(a, b)| *a += weight * b);
        }
        self.within.iter_mut().zip(&other.within).for_each(|(a, b)| *a += weight * b);
        self.total += weight * other.total;
    }

    /// Multiplies by `weight`.
    pub(crate) fn scale(&mut self, weight: f64) {
        self.within.iter_mut().chain(self.later.iter_mut().flatten()).for_each(|value| *value *= weight);
        self.total *= weight;
    }

    /// The same, `delay` (in cells) later.
    pub(crate) fn delayed(&self, delay: f64) -> Self {
        Self {
            within: delayed(&self.within, delay),
            later: self.later.as_deref().map(|later| delayed(later, delay)),
            total: self.total,
        }
    }
}

/// Cell means of a function shifted by `delay` cells; a fraction is split onto both neighbours.
fn delayed(values: &[f64], delay: f64) -> Vec<f64> {
    let (whole, fraction) = (delay.floor(), delay.fract());
    let mut shifted = vec![0.0; values.len()];
    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    if whole >= values.len() as f64 {
        return shifted;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above, delays are ≥ 0"
    )]
    let start = whole as usize;
    let mut previous = 0.0;
    for (target, &value) in shifted[start..].iter_mut().zip(values) {
        *target = value * (1.0 - fraction) + previous * fraction;
        previous = value;
    }
    shifted
}

/// Everything happens, and this is when the last does.
pub(crate) fn all_of<'a>(curves: impl Iterator<Item = &'a Curve> + Clone) -> Option<Curve> {
    let uncertain = curves.clone().any(|curve| curve.later.is_some());
    let mut curves = curves;
    let mut product = curves.next()?.clone();
    if uncertain && product.later.is_none() {
        product.later = Some(product.within.clone());
    }
    for curve in curves {
        product.within.iter_mut().zip(&curve.within).for_each(|(a, b)| *a *= b);
        if let Some(later) = &mut product.later {
            later.iter_mut().zip(curve.later()).for_each(|(a, b)| *a *= b);
        }
        product.total *= curve.total;
    }
    Some(product)
}

/// Something happens, and this is when the first does: `D = ∏(1−S_i) − ∏(1−S_i−D_i)`.
pub(crate) fn any_of<'a>(curves: impl Iterator<Item = &'a Curve> + Clone) -> Option<Curve> {
    let uncertain = curves.clone().any(|curve| curve.later.is_some());
    let cells = curves.clone().next()?.cells();
    let mut none_yet = vec![1.0; cells];
    let mut none_ever = vec![1.0; if uncertain { cells } else { 0 }];
    let mut none = 1.0;
    for curve in curves {
        none_yet.iter_mut().zip(&curve.within).for_each(|(a, b)| *a *= 1.0 - b);
        for (k, never) in none_ever.iter_mut().enumerate() {
            *never *= (1.0 - curve.within[k] - curve.tail(k)).max(0.0);
        }
        none *= 1.0 - curve.total;
    }
    let total = 1.0 - none;
    let later = uncertain.then(|| {
        none_yet.iter().zip(&none_ever).map(|(yet, ever)| (total - (yet - ever).max(0.0)).max(0.0)).collect()
    });
    none_yet.iter_mut().for_each(|value| *value = 1.0 - *value);
    Some(Curve { within: none_yet, later, total })
}

/// The most evaluations of a Poisson-binomial step (one trial, one count) for one curve.
const MAX_COUNT_STEPS: usize = 64 << 20;

/// At least `k` happen, and this is when the k-th does.
pub(crate) fn kth_of(curves: &[&Curve], k: usize, reading: Reading) -> Curve {
    let n = curves.len();
    let cells = curves.first().map_or(0, |curve| curve.cells());
    // Where the exact count at every cell would be unbounded work, the late reading holds the value of an earlier cell
    // and the early one that of a later cell; the estimate follows the late one.
    let steps = n.saturating_mul(k.min(n - k + 1)).max(1);
    let stride = (cells * steps).div_ceil(MAX_COUNT_STEPS).clamp(1, cells.max(1));
    let count = |cell: usize| order_statistic::at_least(curves.iter().map(|curve| curve.within[cell]), k);
    let mut within = vec![0.0; cells];
    let mut start = 0;
    let mut held = 0.0;
    while start < cells {
        let end = (start + stride).min(cells);
        let at_end = count(end - 1);
        let inner = if reading == Reading::Early { at_end } else { held };
        within[start..end - 1].fill(inner);
        within[end - 1] = at_end;
        (held, start) = (at_end, end);
    }
    let total = order_statistic::at_least(curves.iter().map(|curve| curve.total), k);
    let later = curves.iter().any(|curve| curve.later.is_some()).then(|| {
        (0..cells)
            .map(|cell| {
                let missing = (total - within[cell]).max(0.0);
                let tail = match reading {
                    // At least one of those that happen does so later.
                    Reading::Late => missing.min(curves.iter().map(|curve| curve.tail(cell)).sum()),
                    Reading::Exact | Reading::Early => missing,
                };
                total - tail
            })
            .collect()
    });
    Curve { within, later, total }
}

/// Spectra of one curve: of `within`, and of `later` where it differs.
pub(crate) struct Spectra {
    pub(crate) within: Spectrum,
    pub(crate) later: Option<Spectrum>,
    pub(crate) total: f64,
}

impl Spectra {
    pub(crate) fn of(curve: &Curve, transform: &mut Transform) -> Self {
        let mut spectrum = |values: &[f64]| {
            let mut spectrum = Spectrum::new();
            transform.forward(values, &mut spectrum);
            spectrum
        };
        Self {
            within: spectrum(&curve.within),
            later: curve.later.as_deref().map(&mut spectrum),
            total: curve.total,
        }
    }

    /// Nothing happens.
    pub(crate) fn zero(transform: &Transform) -> Self {
        let within = vec![Complex64::ZERO; transform.values()];
        Self { within, later: None, total: 0.0 }
    }

    /// It happens at once.
    pub(crate) fn unit(transform: &Transform) -> Self {
        Self { within: vec![Complex64::ONE; transform.values()], later: None, total: 1.0 }
    }

    /// It happens after `delay` cells.
    pub(crate) fn constant(transform: &mut Transform, delay: f64) -> Self {
        let mut within = Spectrum::new();
        transform.delay(delay, &mut within);
        Self { within, later: None, total: 1.0 }
    }

    pub(crate) fn multiply(&mut self, by: &Self) {
        if self.later.is_some() || by.later.is_some() {
            let later = self.later.get_or_insert_with(|| self.within.clone());
            multiply(later, by.later.as_ref().unwrap_or(&by.within));
        }
        multiply(&mut self.within, &by.within);
        self.total *= by.total;
    }

    pub(crate) fn add(&mut self, weight: f64, other: &Self) {
        if self.later.is_some() || other.later.is_some() {
            let later = self.later.get_or_insert_with(|| self.within.clone());
            let terms = other.later.as_ref().unwrap_or(&other.within);
            later.iter_mut().zip(terms).for_each(|(a, b)| *a += b * weight);
        }
        self.within.iter_mut().zip(&other.within).for_each(|(a, b)| *a += b * weight);
        self.total += weight * other.total;
    }

    /// Multiplies by a curve without a tail of its own.
    pub(crate) fn multiply_plain(&mut self, by: &[Complex64], total: f64) {
        if let Some(later) = &mut self.later {
            multiply(later, by);
        }
        multiply(&mut self.within, by);
        self.total *= total;
    }

    pub(crate) fn times(&self, by: &Self) -> Self {
        let mut product = Self { within: self.within.clone(), later: self.later.clone(), total: self.total };
        product.multiply(by);
        product
    }

    /// Back to a curve; the total of a measure that counts mass twice is cut to 1.
    pub(crate) fn into_curve(mut self, transform: &mut Transform) -> Curve {
        let mut values = |spectrum: &mut Spectrum| {
            let mut values = vec![0.0; transform.cells()];
            transform.inverse(spectrum, &mut values);
            values
        };
        let mut within = values(&mut self.within);
        within.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        let mut later = self.later.as_mut().map(values);
        if self.total > 1.0 + 1e-9 {
            // A tail above 1 says nothing: what is counted twice is taken from the measure's early part.
            let excess = self.total - 1.0;
            let all = later.get_or_insert_with(|| within.clone());
            all.iter_mut().for_each(|value| *value = (*value - excess).max(0.0));
        }
        Curve { within, later, total: self.total.min(1.0) }
    }
}
