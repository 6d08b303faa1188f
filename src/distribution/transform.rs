//! Sums of independent times: products of spectra on a grid of N cells, exponentially tilted instead of zero padded.
//!
//! A spectrum holds the masses' polynomial at one of each conjugate pair of the roots of z^N = −1, which is one complex
//! transform of N/2 values: the second half of the masses is the imaginary part beside the first (right-angle convolution;
//! Crandall & Fagin, *Discrete weighted transforms and large-integer arithmetic*, Mathematics of Computation 62, 1994).
//! Mass that wraps around the end of the grid returns `e^{−TILT}` times as heavy (2e-9) and negative, and the untilting
//! amplifies rounding errors by at most `e^{TILT}` at the very end of the grid (5e-8) and by its square root in the middle.

use std::f64::consts::PI;
use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};
use rustc_hash::FxHashMap;
pub use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

use super::law::split;
use super::stepped::{Jumps, SteppedLaws};

/// The exponent over the whole grid.
pub(super) const TILT: f64 = 20.0;

/// The transform of a law's masses on a grid: `N/2` values.
pub type Spectrum = Vec<Complex64>;

/// The way from pairs of masses N/2 cells apart to complex values, or back, tilted.
struct Twist {
    factors: Vec<Complex64>,
    /// How much more the tilt makes of the second mass of a pair.
    second: f64,
}

impl Twist {
    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    fn new(half: usize, tilt: f64, turn: f64, scale: f64) -> Self {
        let factor = |k: usize| {
            let share = k as f64 / (2 * half) as f64;
            Complex64::from_polar(scale * (tilt * share).exp(), turn * share)
        };
        Self { factors: (0..half).map(factor).collect(), second: (0.5 * tilt).exp() }
    }

    /// `(x_k + i·x_{k+N/2})` turned.
    fn onto(&self, masses: &[f64], twisted: &mut [Complex64]) {
        let (low, high) = masses.split_at(twisted.len());
        Arch::new().dispatch(|| {
            for (((value, factor), &low), &high) in twisted.iter_mut().zip(&self.factors).zip(low).zip(high) {
                let high = high * self.second;
                *value =
                    Complex64::new(low * factor.re - high * factor.im, low * factor.im + high * factor.re);
            }
        });
    }

    /// Back from values that were turned.
    fn back(&self, twisted: &[Complex64], masses: &mut [f64]) {
        let (low, high) = masses.split_at_mut(twisted.len());
        Arch::new().dispatch(|| {
            for (((value, factor), low), high) in twisted.iter().zip(&self.factors).zip(low).zip(high) {
                *low = value.re * factor.re - value.im * factor.im;
                *high = (value.re * factor.im + value.im * factor.re) * self.second;
            }
        });
    }
}

/// Transforms of one grid size.
pub struct Transform {
    forward: Arc<dyn Fft<f64>>,
    inverse: Arc<dyn Fft<f64>>,
    /// With the tilt `e^{−TILT·k/N}`, and the other way.
    tilt: Twist,
    counter_tilt: Twist,
    /// The inverses of the two, normalised.
    untilt: Twist,
    counter_untilt: Twist,
    /// See [`Self::forward_in_place`].
    masses: Vec<f64>,
    spectrum: Spectrum,
    twisted: Spectrum,
    scratch: Spectrum,
    /// See [`Self::stepped_product`].
    product: Spectrum,
    jumps: Jumps,
}

impl Transform {
    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    fn new(planner: &mut FftPlanner<f64>, cells: usize) -> Self {
        let half = cells / 2;
        let (forward, inverse) = (planner.plan_fft_forward(half), planner.plan_fft_inverse(half));
        let norm = 1.0 / half as f64;
        let scratch = forward.get_outofplace_scratch_len().max(inverse.get_outofplace_scratch_len());
        let zeros = |length: usize| vec![Complex64::ZERO; length];
        Self {
            forward,
            inverse,
            tilt: Twist::new(half, -TILT, PI, 1.0),
            counter_tilt: Twist::new(half, TILT, PI, 1.0),
            untilt: Twist::new(half, TILT, -PI, norm),
            counter_untilt: Twist::new(half, -TILT, -PI, norm),
            masses: vec![0.0; cells],
            spectrum: zeros(half),
            twisted: zeros(half),
            scratch: zeros(scratch),
            product: zeros(half),
            jumps: Jumps::new(cells),
        }
    }

    /// How many cells the grid has.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.masses.len()
    }

    /// How many values a spectrum has.
    #[must_use]
    pub fn values(&self) -> usize {
        self.spectrum.len()
    }

    /// The spectrum of the masses whose running sum is `cdf` (one value for each cell).
    pub fn forward(&mut self, cdf: &[f64], spectrum: &mut Spectrum) {
        differences(cdf, &mut self.masses);
        self.write_spectrum_of_masses(spectrum);
    }

    /// The spectrum of the buffer of masses.
    fn write_spectrum_of_masses(&mut self, spectrum: &mut Spectrum) {
        self.tilt.onto(&self.masses, &mut self.twisted);
        self.write_spectrum(spectrum);
    }

    /// The spectrum of what is twisted.
    fn write_spectrum(&mut self, spectrum: &mut Spectrum) {
        spectrum.resize(self.values(), Complex64::ZERO);
        self.forward.process_outofplace_with_scratch(&mut self.twisted, spectrum, &mut self.scratch);
    }

    /// The spectrum of the masses that `fill` writes, in a buffer of the transform's own; without a result, there is none.
    pub fn forward_in_place<T>(
        &mut self,
        fill: impl FnOnce(&mut [f64]) -> Option<T>,
    ) -> Option<(&[Complex64], T)> {
        let result = fill(&mut self.masses)?;
        self.transform_masses();
        Some((&self.spectrum, result))
    }

    /// From the buffer of masses to that of the spectrum.
    fn transform_masses(&mut self) {
        self.tilt.onto(&self.masses, &mut self.twisted);
        let Self { forward, twisted, spectrum, scratch, .. } = self;
        forward.process_outofplace_with_scratch(twisted, spectrum, scratch);
    }

    /// The product of the spectra of laws that jump at few times, on a grid with cells of `step` seconds, in a buffer of the
    /// transform's own.
    pub fn stepped_product(&mut self, step: f64, laws: &SteppedLaws) -> &[Complex64] {
        if !self.jumps.product(step, laws, &mut self.product) {
            self.product.fill(Complex64::ONE);
            for jumps in laws.iter() {
                self.masses.fill(0.0);
                jumps.iter().for_each(|&(time, mass)| split(time / step, mass, &mut self.masses));
                self.transform_masses();
                multiply(&mut self.product, &self.spectrum);
            }
        }
        &self.product
    }

    /// The spectrum of the masses themselves.
    pub fn forward_masses(&mut self, masses: &[f64], spectrum: &mut Spectrum) {
        self.tilt.onto(masses, &mut self.twisted);
        self.write_spectrum(spectrum);
    }

    /// The masses with this spectrum, which is overwritten.
    pub fn inverse_masses(&mut self, spectrum: &mut Spectrum, masses: &mut [f64]) {
        self.invert(spectrum);
        self.untilt.back(&self.twisted, masses);
    }

    /// The adjoint of [`Self::inverse_masses`] but for its normalisation: the spectrum of masses tilted the other way.
    pub fn forward_dual(&mut self, masses: &[f64], spectrum: &mut Spectrum) {
        self.counter_tilt.onto(masses, &mut self.twisted);
        self.write_spectrum(spectrum);
    }

    /// Back from [`Self::forward_dual`] and to the tilt of [`Self::forward_masses`], of which it is the adjoint, added to
    /// `masses`; the spectrum is overwritten.
    pub fn add_inverse_dual(&mut self, spectrum: &mut Spectrum, masses: &mut [f64]) {
        self.invert(spectrum);
        self.counter_untilt.back(&self.twisted, &mut self.masses);
        masses.iter_mut().zip(&self.masses).for_each(|(sum, &mass)| *sum += mass);
    }

    /// The running sum of the masses with this spectrum, which is overwritten.
    pub fn inverse(&mut self, spectrum: &mut Spectrum, cdf: &mut [f64]) {
        self.invert(spectrum);
        self.untilt.back(&self.twisted, &mut self.masses);
        running_sums(&self.masses, cdf);
    }

    fn invert(&mut self, spectrum: &mut Spectrum) {
        self.inverse.process_outofplace_with_scratch(spectrum, &mut self.twisted, &mut self.scratch);
    }

    /// The spectrum of a fixed delay of `delay` cells (a fraction is split onto both neighbours); 0 where it lies beyond
    /// the grid.
    pub fn delay(&mut self, delay: f64, spectrum: &mut Spectrum) {
        self.masses.fill(0.0);
        split(delay, 1.0, &mut self.masses);
        self.write_spectrum_of_masses(spectrum);
    }
}

/// The masses whose running sum is `cdf`.
pub fn differences(cdf: &[f64], masses: &mut [f64]) {
    let mut previous = 0.0;
    for (mass, &value) in masses.iter_mut().zip(cdf) {
        *mass = value - previous;
        previous = value;
    }
}

/// The running sums of masses, which rounding noise must not make fall, nor lie below 0. Four stretches at a time, since each
/// sum waits for the one before.
fn running_sums(masses: &[f64], sums: &mut [f64]) {
    const STRETCHES: usize = 4;
    let length = masses.len() / STRETCHES;
    let (mut sum, mut greatest) = ([0.0; STRETCHES], [f64::NEG_INFINITY; STRETCHES]);
    for k in 0..length {
        for stretch in 0..STRETCHES {
            let at = stretch * length + k;
            sum[stretch] += masses[at];
            if sum[stretch] > greatest[stretch] {
                greatest[stretch] = sum[stretch];
            }
            sums[at] = greatest[stretch];
        }
    }
    let (mut before, mut least) = (0.0, 0.0);
    let rest = STRETCHES * length;
    for (stretch, sums) in sums[..rest].chunks_exact_mut(length.max(1)).enumerate() {
        for value in &mut *sums {
            *value = (*value + before).max(least);
        }
        before += sum[stretch];
        least = sums.last().copied().unwrap_or(least);
    }
    for (value, mass) in sums[rest..].iter_mut().zip(&masses[rest..]) {
        before += mass;
        least = before.max(least);
        *value = least;
    }
}

/// Transforms by grid size, planned once.
#[derive(Default)]
pub struct Transforms {
    planner: Option<FftPlanner<f64>>,
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
        let planner = self.planner.get_or_insert_with(FftPlanner::new);
        self.by_cells.entry(cells).or_insert_with(|| Transform::new(planner, cells))
    }
}

/// The products of values.
#[must_use]
pub fn times(a: &[Complex64], b: &[Complex64]) -> Spectrum {
    Arch::new().dispatch(|| a.iter().zip(b).map(|(a, b)| a * b).collect())
}

/// The products of values and conjugates.
#[must_use]
pub fn times_conjugate(a: &[Complex64], b: &[Complex64]) -> Spectrum {
    Arch::new().dispatch(|| a.iter().zip(b).map(|(a, b)| a * b.conj()).collect())
}

/// Multiplies `by` into `product`.
pub fn multiply(product: &mut [Complex64], by: &[Complex64]) {
    Arch::new().dispatch(Multiply::<false> { product, by });
}

/// Multiplies the conjugates of `by` into `product`.
pub fn multiply_conjugate(product: &mut [Complex64], by: &[Complex64]) {
    Arch::new().dispatch(Multiply::<true> { product, by });
}

struct Multiply<'a, const CONJUGATE: bool> {
    product: &'a mut [Complex64],
    by: &'a [Complex64],
}

impl<const CONJUGATE: bool> WithSimd for Multiply<'_, CONJUGATE> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (product, product_rest) = S::as_mut_simd_c64s(self.product);
        let (by, by_rest) = S::as_simd_c64s(self.by);
        for (value, &factor) in product.iter_mut().zip(by) {
            *value =
                if CONJUGATE { simd.conj_mul_c64s(factor, *value) } else { simd.mul_c64s(*value, factor) };
        }
        for (value, factor) in product_rest.iter_mut().zip(by_rest) {
            *value *= if CONJUGATE { factor.conj() } else { *factor };
        }
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
    fn a_sum_of_thirty_times_is_their_direct_convolution() {
        const CELLS: usize = 256;
        let step = 0.2;
        let mut transforms = Transforms::new();
        let transform = transforms.of(CELLS);
        let mut product = vec![Complex64::ONE; transform.values()];
        let mut stepped = SteppedLaws::default();
        let mut direct = vec![0.0; CELLS];
        direct[0] = 1.0;
        for law in 0..30_u32 {
            let edges = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
            let rate = 0.9 + f64::from(law) / 7.0;
            let mut before = 0.0;
            let jumps = edges.map(|edge: f64| {
                let below = std::mem::replace(&mut before, 0.999 * (1.0 - (-rate * edge).exp()));
                (edge, before - below)
            });
            stepped.push(jumps);
            let mut masses = vec![0.0; CELLS];
            jumps.iter().for_each(|&(time, mass)| split(time / step, mass, &mut masses));
            let mut spectrum = Spectrum::new();
            transform.forward_masses(&masses, &mut spectrum);
            multiply(&mut product, &spectrum);
            let sum = |k: usize| (0..=k).map(|j| direct[j] * masses[k - j]).sum();
            direct = (0..CELLS).map(sum).collect();
        }
        let mut together = transform.stepped_product(step, &stepped).to_vec();
        for spectrum in [&mut product, &mut together] {
            let (mut cdf, mut sum) = (vec![0.0; CELLS], 0.0);
            transform.inverse(spectrum, &mut cdf);
            for (k, value) in cdf.iter().enumerate() {
                sum += direct[k];
                // 5e-8 at the end of the grid, where rounding is untilted.
                let most = 1e-9 + 5e-8 * (20.0 * (k as f64 / CELLS as f64 - 1.0)).exp();
                assert!((value - sum).abs() < most, "{k}: {value} for {sum}");
            }
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
