//! Sums of independent times: products of spectra on a grid of N cells, exponentially tilted instead of zero padded.
//!
//! Mass that wraps around the end of the grid returns `e^{−TILT}` times as heavy (2e-9), and the untilting amplifies
//! rounding errors by at most `e^{TILT}` at the very end of the grid (5e-8) and by its square root in the middle.

use std::sync::Arc;

use realfft::num_complex::Complex64;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustc_hash::FxHashMap;

/// The exponent over the whole grid.
const TILT: f64 = 20.0;

/// The transform of a law's masses on a grid: `N/2 + 1` values.
pub type Spectrum = Vec<Complex64>;

/// Transforms of one grid size.
pub struct Transform {
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    /// `e^{−TILT·k/N}`.
    tilt: Vec<f64>,
    /// `e^{TILT·k/N}/N`.
    untilt: Vec<f64>,
    masses: Vec<f64>,
    scratch: Vec<Complex64>,
    /// See [`Self::forward_in_place`].
    spectrum: Spectrum,
}

impl Transform {
    fn new(planner: &mut RealFftPlanner<f64>, cells: usize) -> Self {
        let (forward, inverse) = (planner.plan_fft_forward(cells), planner.plan_fft_inverse(cells));
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let n = cells as f64;
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let exponent = |k: usize| TILT * k as f64 / n;
        let scratch = vec![Complex64::ZERO; forward.get_scratch_len().max(inverse.get_scratch_len())];
        Self {
            forward,
            inverse,
            tilt: (0..cells).map(|k| (-exponent(k)).exp()).collect(),
            untilt: (0..cells).map(|k| exponent(k).exp() / n).collect(),
            masses: vec![0.0; cells],
            scratch,
            spectrum: vec![Complex64::ZERO; cells / 2 + 1],
        }
    }

    /// How many cells the grid has.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.tilt.len()
    }

    /// The spectrum of the masses whose running sum is `cdf` (one value for each cell).
    pub fn forward(&mut self, cdf: &[f64], spectrum: &mut Spectrum) {
        let mut previous = 0.0;
        for ((mass, &value), &tilt) in self.masses.iter_mut().zip(cdf).zip(&self.tilt) {
            *mass = (value - previous) * tilt;
            previous = value;
        }
        self.transform(spectrum);
    }

    /// The spectrum of the buffer, which is overwritten.
    fn transform(&mut self, spectrum: &mut Spectrum) {
        spectrum.resize(self.cells() / 2 + 1, Complex64::ZERO);
        // The lengths are those of the plan, so that the only error there is cannot occur.
        let done = self.forward.process_with_scratch(&mut self.masses, spectrum, &mut self.scratch);
        debug_assert!(done.is_ok(), "forward transform: {done:?}");
    }

    /// As [`Self::forward`] of the running sum that `fill` writes, into a buffer of the transform's own; without a result,
    /// there is none.
    pub fn forward_in_place<T>(
        &mut self,
        fill: impl FnOnce(&mut [f64]) -> Option<T>,
    ) -> Option<(&[Complex64], T)> {
        let result = fill(&mut self.masses)?;
        let mut previous = 0.0;
        for (mass, &tilt) in self.masses.iter_mut().zip(&self.tilt) {
            let value = *mass;
            *mass = (value - previous) * tilt;
            previous = value;
        }
        let Self { masses, spectrum, scratch, .. } = self;
        let done = self.forward.process_with_scratch(masses, spectrum, scratch);
        debug_assert!(done.is_ok(), "forward transform: {done:?}");
        Some((&self.spectrum, result))
    }

    /// The spectrum of the masses themselves.
    pub fn forward_masses(&mut self, masses: &[f64], spectrum: &mut Spectrum) {
        for ((mass, &value), &tilt) in self.masses.iter_mut().zip(masses).zip(&self.tilt) {
            *mass = value * tilt;
        }
        self.transform(spectrum);
    }

    /// The masses with this spectrum, which is overwritten.
    pub fn inverse_masses(&mut self, spectrum: &mut Spectrum, masses: &mut [f64]) {
        self.invert(spectrum);
        for ((value, &mass), &untilt) in masses.iter_mut().zip(&self.masses).zip(&self.untilt) {
            *value = mass * untilt;
        }
    }

    /// The adjoint of [`Self::inverse_masses`] but for its normalisation: the spectrum of masses tilted the other way.
    pub fn forward_dual(&mut self, masses: &[f64], spectrum: &mut Spectrum) {
        for ((mass, &value), &tilt) in self.masses.iter_mut().zip(masses).zip(&self.tilt) {
            *mass = value / tilt;
        }
        self.transform(spectrum);
    }

    /// Back from [`Self::forward_dual`] and to the tilt of [`Self::forward_masses`], of which it is the adjoint, added to
    /// `masses`; the spectrum is overwritten.
    pub fn add_inverse_dual(&mut self, spectrum: &mut Spectrum, masses: &mut [f64]) {
        self.invert(spectrum);
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let norm = 1.0 / self.cells() as f64;
        for ((value, &mass), &tilt) in masses.iter_mut().zip(&self.masses).zip(&self.tilt) {
            *value += mass * norm * tilt;
        }
    }

    /// The running sum of the masses with this spectrum, which is overwritten.
    pub fn inverse(&mut self, spectrum: &mut Spectrum, cdf: &mut [f64]) {
        self.invert(spectrum);
        let (mut sum, mut greatest) = (0.0_f64, 0.0_f64);
        for ((value, &mass), &untilt) in cdf.iter_mut().zip(&self.masses).zip(&self.untilt) {
            sum += mass * untilt;
            // Rounding noise must not make it fall.
            greatest = greatest.max(sum);
            *value = greatest;
        }
    }

    fn invert(&mut self, spectrum: &mut Spectrum) {
        // The transform of real masses is real at both ends; products are so up to rounding.
        if let Some(first) = spectrum.first_mut() {
            first.im = 0.0;
        }
        if let Some(last) = spectrum.last_mut() {
            last.im = 0.0;
        }
        let done = self.inverse.process_with_scratch(spectrum, &mut self.masses, &mut self.scratch);
        debug_assert!(done.is_ok(), "inverse transform: {done:?}");
    }

    /// The spectrum of a fixed delay of `delay` cells (a fraction is split onto both neighbours); 0 where it lies beyond
    /// the grid.
    pub fn delay(&self, delay: f64, spectrum: &mut Spectrum) {
        let n = self.cells();
        spectrum.clear();
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let cells = n as f64;
        if delay >= cells {
            spectrum.resize(n / 2 + 1, Complex64::ZERO);
            return;
        }
        let (whole, fraction) = (delay.floor(), delay.fract());
        let rate = -TILT / cells;
        let mut turn = 0.0;
        for _ in 0..=n / 2 {
            let unit = Complex64::new(rate, -std::f64::consts::TAU * turn / cells);
            let at = (unit * whole).exp();
            spectrum.push(at * (1.0 - fraction) + (unit * (whole + 1.0)).exp() * fraction);
            turn += 1.0;
        }
    }
}

/// Transforms by grid size, planned once.
#[derive(Default)]
pub struct Transforms {
    planner: Option<RealFftPlanner<f64>>,
    by_cells: FxHashMap<usize, Transform>,
}

impl Transforms {
    /// None planned yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The transform of grids with `cells` cells, an even number.
    pub fn of(&mut self, cells: usize) -> &mut Transform {
        let planner = self.planner.get_or_insert_with(RealFftPlanner::new);
        self.by_cells.entry(cells).or_insert_with(|| Transform::new(planner, cells))
    }
}

/// Multiplies `by` into `product`.
pub fn multiply(product: &mut [Complex64], by: &[Complex64]) {
    for (value, factor) in product.iter_mut().zip(by) {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::law::Law;

    #[test]
    fn the_sum_of_two_dice_is_a_triangle() {
        let mut transforms = Transforms::new();
        let transform = transforms.of(32);
        let mut cdf = vec![0.0; 32];
        for (k, value) in cdf.iter_mut().enumerate() {
            *value = (k as f64 / 6.0).min(1.0);
        }
        let mut spectrum = Spectrum::new();
        transform.forward(&cdf, &mut spectrum);
        let die = spectrum.clone();
        multiply(&mut spectrum, &die);
        transform.inverse(&mut spectrum, &mut cdf);
        let mass = |k: usize| cdf[k] - cdf[k - 1];
        for k in 2..=12 {
            let expected = (6.0 - (k as f64 - 7.0).abs()) / 36.0;
            assert!((mass(k) - expected).abs() < 1e-8, "{k}: {} for {expected}", mass(k));
        }
    }

    #[test]
    fn a_delay_shifts_by_fractions_of_a_cell_and_leaves_the_grid() {
        let mut transforms = Transforms::new();
        let transform = transforms.of(64);
        let (mut cdf, mut spectrum, mut delay) = (vec![0.0; 64], Spectrum::new(), Spectrum::new());
        Law::constant(3.0).cells(1.0, 1.0, &mut cdf);
        transform.forward(&cdf, &mut spectrum);
        transform.delay(10.25, &mut delay);
        multiply(&mut spectrum, &delay);
        transform.inverse(&mut spectrum, &mut cdf);
        assert!((cdf[12]).abs() < 1e-8 && (cdf[13] - 0.75).abs() < 1e-8 && (cdf[14] - 1.0).abs() < 1e-8);
        transform.delay(64.0, &mut delay);
        assert!(delay.iter().all(|value| value.norm() == 0.0));
    }
}
