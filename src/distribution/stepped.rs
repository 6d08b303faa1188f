//! Sums of independent times whose laws jump at the same few times, as those do that put each bucket of a histogram at one
//! of its edges: most services share their edges.
//!
//! The spectrum of a jump is known in closed form. It is found once for each edge and grid; the spectrum of a law is then a
//! weighted sum of a dozen of them, which costs a third of a transform.

use std::f64::consts::{PI, TAU};
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rustc_hash::FxHashMap;
use rustfft::num_complex::Complex64;

use super::transform::TILT;

/// Values that are worked on at once.
const WIDTH: usize = 32;
/// The most edges whose spectra are kept: 1 MiB on a grid of 2,048 cells.
const MOST_EDGES: usize = 64;

/// Real and imaginary parts of neighbouring values of a spectrum.
type Block = [[f64; WIDTH]; 2];

const ONES: Block = [[1.0; WIDTH], [0.0; WIDTH]];

/// Laws with their jumps: times in seconds, and masses.
#[derive(Debug, Default)]
pub struct SteppedLaws {
    jumps: Vec<(f64, f64)>,
    laws: Vec<Range<usize>>,
}

impl SteppedLaws {
    /// Adds a law by its jumps.
    pub fn push(&mut self, jumps: impl IntoIterator<Item = (f64, f64)>) {
        let first = self.jumps.len();
        self.jumps.extend(jumps);
        self.laws.push(first..self.jumps.len());
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.laws.is_empty()
    }

    /// The jumps of each law.
    pub fn iter(&self) -> impl Iterator<Item = &[(f64, f64)]> {
        self.laws.iter().map(|law| &self.jumps[law.clone()])
    }
}

/// The spectra of jumps on one grid, as [`super::transform::Transform`] has them.
pub(super) struct Jumps {
    cells: usize,
    step: f64,
    /// How many laws were asked for on this grid: edges that few of them share pay when the laws come again.
    asked: usize,
    /// `e^{−2πi·k/N}`.
    roots: Vec<Complex64>,
    /// Of one cell's delay.
    unit: Vec<Block>,
    places: FxHashMap<u64, usize>,
    spectra: Vec<Vec<Block>>,
    product: Vec<Block>,
}

impl Jumps {
    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    pub(super) fn new(cells: usize) -> Self {
        let root = |k: usize| Complex64::from_polar(1.0, -TAU * k as f64 / cells as f64);
        let mut jumps = Self {
            cells,
            step: f64::NAN,
            asked: 0,
            roots: (0..cells).map(root).collect(),
            unit: Vec::new(),
            places: FxHashMap::default(),
            spectra: Vec::new(),
            product: vec![ONES; cells / 2 / WIDTH],
        };
        jumps.unit = jumps.at_point(1);
        jumps
    }

    /// Writes the product of the laws' spectra; `false` where transforming each of them costs less.
    pub(super) fn product(&mut self, step: f64, laws: &SteppedLaws, product: &mut [Complex64]) -> bool {
        if !self.cells.is_multiple_of(2 * WIDTH) {
            return false;
        }
        #[expect(clippy::float_cmp, reason = "another grid")]
        if step != self.step {
            self.places.clear();
            self.spectra.clear();
            (self.step, self.asked) = (step, 0);
        }
        let known = self.spectra.len();
        // By place; those not known yet are only counted at first.
        let mut new: Vec<f64> = Vec::new();
        let mut jumps: Vec<(usize, f64)> = Vec::with_capacity(laws.jumps.len());
        for &(time, mass) in &laws.jumps {
            let place = *self.places.entry(time.to_bits()).or_insert_with(|| {
                new.push(time);
                known + new.len() - 1
            });
            jumps.push((place, mass));
        }
        self.asked += laws.laws.len();
        if new.len() > self.asked || known + new.len() > MOST_EDGES {
            self.places.retain(|_, place| *place < known);
            return false;
        }
        for time in new {
            let spectrum = self.at(time / step);
            self.spectra.push(spectrum);
        }
        self.product.fill(ONES);
        let Self { product: blocks, spectra, .. } = self;
        Arch::new().dispatch(Product { blocks, laws: &laws.laws, jumps: &jumps, spectra });
        Arch::new().dispatch(|| {
            for (values, [re, im]) in product.chunks_exact_mut(WIDTH).zip(blocks) {
                for ((value, &mut re), &mut im) in values.iter_mut().zip(re).zip(im) {
                    *value = Complex64::new(re, im);
                }
            }
        });
        true
    }

    /// Of a jump `time` cells from 0, split onto its two neighbours; 0 beyond the grid.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "saturates, times are ≥ 0; grids have far fewer than 2^53 cells"
    )]
    fn at(&self, time: f64) -> Vec<Block> {
        let point = time as usize;
        if point >= self.cells {
            return vec![[[0.0; WIDTH]; 2]; self.product.len()];
        }
        let share = time - point as f64;
        let mut spectrum = self.at_point(point);
        // What belongs to the point after the last is not on the grid.
        let next = if point + 1 == self.cells { 0.0 } else { share };
        for ([re, im], [unit_re, unit_im]) in spectrum.iter_mut().zip(&self.unit) {
            for (((re, im), unit_re), unit_im) in re.iter_mut().zip(im).zip(unit_re).zip(unit_im) {
                let (x, y) = (1.0 - share + next * unit_re, next * unit_im);
                (*re, *im) = (*re * x - *im * y, *re * y + *im * x);
            }
        }
        spectrum
    }

    #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
    fn at_point(&self, point: usize) -> Vec<Block> {
        let share = point as f64 / self.cells as f64;
        let start = Complex64::from_polar((-TILT * share).exp(), PI * share);
        let root = |k: usize| self.roots[2 * point * k % self.cells];
        let first: [Complex64; WIDTH] = std::array::from_fn(|k| start * root(k));
        let block = |at: usize| {
            let turn = root(at * WIDTH);
            let parts = |part: fn(Complex64) -> f64| std::array::from_fn(|k| part(first[k] * turn));
            [parts(|value| value.re), parts(|value| value.im)]
        };
        (0..self.product.len()).map(block).collect()
    }
}

/// `∏ Σ mass · spectrum`, block by block.
struct Product<'a> {
    blocks: &'a mut [Block],
    laws: &'a [Range<usize>],
    jumps: &'a [(usize, f64)],
    spectra: &'a [Vec<Block>],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut edges: Vec<&Block> = Vec::with_capacity(self.spectra.len());
        for (at, [product_re, product_im]) in self.blocks.iter_mut().enumerate() {
            edges.clear();
            edges.extend(self.spectra.iter().map(|spectrum| &spectrum[at]));
            let (product_re, product_im) = (vectors_mut::<S>(product_re), vectors_mut::<S>(product_im));
            for (place, (product_re, product_im)) in product_re.iter_mut().zip(product_im).enumerate() {
                for law in self.laws {
                    let (mut re, mut im) = ([simd.splat_f64s(0.0); 4], [simd.splat_f64s(0.0); 4]);
                    for &(edge, mass) in &self.jumps[law.clone()] {
                        let mass = simd.splat_f64s(mass);
                        let [edge_re, edge_im] = edges[edge];
                        let (edge_re, edge_im) =
                            (&vectors::<S>(edge_re)[place], &vectors::<S>(edge_im)[place]);
                        for k in 0..4 {
                            re[k] = simd.mul_add_e_f64s(mass, edge_re[k], re[k]);
                            im[k] = simd.mul_add_e_f64s(mass, edge_im[k], im[k]);
                        }
                    }
                    for k in 0..4 {
                        let (a, b) = (product_re[k], product_im[k]);
                        product_re[k] = simd.sub_f64s(simd.mul_f64s(a, re[k]), simd.mul_f64s(b, im[k]));
                        product_im[k] = simd.add_f64s(simd.mul_f64s(a, im[k]), simd.mul_f64s(b, re[k]));
                    }
                }
            }
        }
    }
}

/// Vectors by four, which keeps the units for multiplication busy.
#[inline(always)]
fn vectors<S: Simd>(values: &[f64; WIDTH]) -> &[[S::f64s; 4]] {
    S::as_simd_f64s(values).0.as_chunks().0
}

#[inline(always)]
fn vectors_mut<S: Simd>(values: &mut [f64; WIDTH]) -> &mut [[S::f64s; 4]] {
    S::as_mut_simd_f64s(values).0.as_chunks_mut().0
}

#[cfg(test)]
mod tests {
    use super::super::law::split;
    use super::super::transform::{Transforms, multiply};
    use super::*;

    #[test]
    fn the_product_is_that_of_the_laws_transforms() {
        let step = 0.013;
        for cells in [64, 256, 2048] {
            let mut laws = SteppedLaws::default();
            for law in 0..12_u32 {
                let of = f64::from(law);
                laws.push([
                    (0.0, 0.1),
                    (0.05, 0.2 + of / 100.0),
                    (0.25, 0.3),
                    (1.0, 0.2),
                    // In the last cell, and beyond the grid.
                    (step * (f64::from(cells) - 0.4), 0.1),
                    (1e6, 0.05),
                ]);
            }
            let mut transforms = Transforms::new();
            let transform = transforms.of(cells as usize);
            let mut expected = vec![Complex64::ONE; transform.values()];
            for law in laws.iter() {
                let (spectrum, ()) = transform
                    .forward_in_place(|masses| {
                        masses.fill(0.0);
                        law.iter().for_each(|&(time, mass)| split(time / step, mass, masses));
                        Some(())
                    })
                    .unwrap();
                multiply(&mut expected, spectrum);
            }
            for _ in 0..2 {
                let product = transform.stepped_product(step, &laws);
                for (a, b) in product.iter().zip(&expected) {
                    assert!((a - b).norm() < 1e-14, "{cells}: {a} for {b}");
                }
            }
        }
    }

    #[test]
    fn a_machine_without_vectors_finds_the_same() {
        let mut laws = SteppedLaws::default();
        for law in 1..=5_u32 {
            laws.push((0..5).map(|edge| (0.3 * f64::from(edge * edge), 0.1 + f64::from(law) / 70.0)));
        }
        let mut jumps = Jumps::new(256);
        assert!(jumps.product(0.1, &laws, &mut [Complex64::ZERO; 128]));
        let mut blocks = vec![ONES; jumps.product.len()];
        let places: Vec<(usize, f64)> =
            laws.jumps.iter().map(|&(time, mass)| (jumps.places[&time.to_bits()], mass)).collect();
        let (laws, spectra) = (&laws.laws, &jumps.spectra);
        pulp::Scalar::new().vectorize(Product { blocks: &mut blocks, laws, jumps: &places, spectra });
        for (a, b) in blocks.iter().flatten().flatten().zip(jumps.product.iter().flatten().flatten()) {
            assert!((a - b).abs() < 1e-15, "{a} for {b}");
        }
    }

    #[test]
    fn laws_that_share_too_few_edges_are_transformed_one_by_one_until_they_come_again() {
        let (mut jumps, mut product) = (Jumps::new(256), [Complex64::ZERO; 128]);
        let mut laws = SteppedLaws::default();
        for law in 0..4_u32 {
            laws.push((1..=4).map(|edge| (f64::from(4 * law + edge), 0.25)));
        }
        for asked in 1..=5 {
            let known = jumps.product(0.1, &laws, &mut product);
            assert_eq!(known, asked >= 4, "{asked}");
        }
        let one_by_one = Transforms::new().of(256).stepped_product(0.1, &laws).to_vec();
        for (a, b) in one_by_one.iter().zip(product) {
            assert!((a - b).norm() < 1e-14, "{a} for {b}");
        }
        assert!(!jumps.product(0.2, &laws, &mut product));
    }
}
