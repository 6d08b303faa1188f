//! A law of times, tabulated: piecewise linear between knots, with jumps where two knots share a time.

/// `F(t) = P(time ≤ t)` of a non-negative time that may be infinite.
///
/// Invariants: at least one knot; times finite, ≥ 0 and not falling; values in `[0, 1]` and not falling. `F` is 0 before
/// the first knot, linear between knots, right-continuous, and constant after the last: what is missing there to 1 is
/// the mass at infinity.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    times: Vec<f64>,
    cdf: Vec<f64>,
}

impl Law {
    /// From knots that hold the invariants; values are made to stay within `[0, 1]` and not to fall, against rounding noise.
    ///
    /// # Panics
    /// In debug builds where the times fall or the lengths differ.
    #[must_use]
    pub fn from_knots(times: Vec<f64>, mut cdf: Vec<f64>) -> Self {
        debug_assert!(!times.is_empty() && times.len() == cdf.len(), "a law needs paired knots");
        debug_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "the times of a law fall");
        let mut least = 0.0_f64;
        for value in &mut cdf {
            least = value.clamp(least, 1.0);
            *value = least;
        }
        Self { times, cdf }
    }

    /// All mass at infinity: nothing is known but that it ends.
    #[must_use]
    pub fn never() -> Self {
        Self::from_knots(vec![0.0], vec![0.0])
    }

    /// All mass at `time`, finite.
    #[must_use]
    pub fn constant(time: f64) -> Self {
        Self::from_knots(vec![time], vec![1.0])
    }

    /// Uniform on `[0, end]`.
    #[must_use]
    pub fn uniform(end: f64) -> Self {
        if end > 0.0 { Self::from_knots(vec![0.0, end], vec![0.0, 1.0]) } else { Self::constant(0.0) }
    }

    /// The law of times that are `slowdown` times as long; above 0 and finite.
    #[must_use]
    pub fn slowed(&self, slowdown: f64) -> Self {
        Self { times: self.times.iter().map(|time| time * slowdown).collect(), cdf: self.cdf.clone() }
    }

    /// The knots' times.
    #[must_use]
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// The values at the knots.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.cdf
    }

    /// The mass at finite times.
    #[must_use]
    pub fn finite_mass(&self) -> f64 {
        self.cdf.last().copied().unwrap_or(0.0)
    }

    /// The last time at which mass lies, 0 where none is finite.
    #[must_use]
    pub fn last_time(&self) -> f64 {
        if self.finite_mass() > 0.0 { self.times.last().copied().unwrap_or(0.0) } else { 0.0 }
    }

    /// `P(time ≤ t)`.
    #[must_use]
    pub fn at(&self, t: f64) -> f64 {
        self.between(self.times.partition_point(|&time| time <= t), t)
    }

    /// `P(time < t)`.
    #[must_use]
    pub fn before(&self, t: f64) -> f64 {
        self.between(self.times.partition_point(|&time| time < t), t)
    }

    fn between(&self, next: usize, t: f64) -> f64 {
        if next == 0 {
            return 0.0;
        }
        let (left, low) = (self.times[next - 1], self.cdf[next - 1]);
        match self.times.get(next) {
            Some(&right) if right > left => {
                low + (self.cdf[next] - low) * ((t - left) / (right - left)).clamp(0.0, 1.0)
            }
            _ => low,
        }
    }

    /// The smallest t with `F(t) ≥ level`; infinite where the finite mass is less.
    #[must_use]
    pub fn quantile(&self, level: f64) -> f64 {
        let at = self.cdf.partition_point(|&value| value < level);
        if at == self.cdf.len() {
            return f64::INFINITY;
        }
        if at == 0 {
            return self.times[0];
        }
        let (low, high) = (self.cdf[at - 1], self.cdf[at]);
        let share = if high > low { (level - low) / (high - low) } else { 1.0 };
        self.times[at - 1] + (self.times[at] - self.times[at - 1]) * share.clamp(0.0, 1.0)
    }

    /// Writes the mean of `scale · F` over each cell `[k·step, (k+1)·step]`.
    pub fn cells(&self, step: f64, scale: f64, cells: &mut [f64]) {
        cell_means(&self.times, &self.cdf, step, scale, cells);
    }
}

/// The means over the cells `[k·step, (k+1)·step]` of `scale` times a piecewise linear function that is 0 before the first of
/// its knots. The differences of neighbouring means are the mean-preserving split of the law's mass onto the grid points
/// `k·step`.
pub fn cell_means(times: &[f64], values: &[f64], step: f64, scale: f64, cells: &mut [f64]) {
    let factor = scale / step;
    let count = cells.len();
    // The knot before `next`, where there is one: its time, its value and half the slope after it.
    let (mut t0, mut f0, mut half) = (0.0, 0.0, 0.0);
    let (mut next, mut cell) = (0, 0);
    while cell < count {
        // Up to the cell that holds the next knot the function is linear: a cell's mean is the value at its middle.
        let end = match times.get(next) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, times are ≥ 0"
            )]
            Some(&time) => ((time / step) as usize).clamp(cell, count),
            None => count,
        };
        let run = &mut cells[cell..end];
        if half == 0.0 {
            run.fill(f0 * scale);
        } else {
            #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
            let first = scale * (f0 + 2.0 * half * ((cell as f64 + 0.5) * step - t0));
            let rise = 2.0 * half * step * scale;
            let mut k = 0.0;
            for value in run {
                *value = first + rise * k;
                k += 1.0;
            }
        }
        if end == count {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "grids have far fewer than 2^53 cells")]
        let (left, right) = (end as f64 * step, (end + 1) as f64 * step);
        // The area from the cell's left end, piece by piece.
        let (mut t, mut f) = (left, f0 + 2.0 * half * (left - t0));
        let mut area = 0.0;
        // A knot that rounding puts beyond this cell still ends the run here.
        loop {
            // Before its first knot the function is 0.
            let at_knot = if next == 0 { 0.0 } else { values[next] };
            area += (times[next] - t).max(0.0) * 0.5 * (f + at_knot);
            (t, f) = (times[next], values[next]);
            next += 1;
            if times.get(next).is_none_or(|&time| time > right) {
                break;
            }
        }
        (t0, f0) = (t, f);
        half = match times.get(next) {
            Some(&after) if after > t0 => 0.5 * (values[next] - f0) / (after - t0),
            _ => 0.0,
        };
        let rest = (right - t0).max(0.0);
        cells[end] = (area + rest * (f0 + rest * half)) * factor;
        cell = end + 1;
    }
}

/// The mean-preserving split onto the grid points `k·step` of the mass whose distribution function is `scale` times a
/// piecewise linear one that is 0 before the first of its knots: the differences of neighbouring [`cell_means`]. What
/// belongs to points beyond the last is left out.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates, times are ≥ 0; grids have far fewer than 2^53 cells"
)]
pub fn cell_masses(times: &[f64], values: &[f64], step: f64, scale: f64, masses: &mut [f64]) {
    /// So many cells are written at once; what is too many is overwritten.
    const RUN: usize = 16;
    let per_step = 1.0 / step;
    let (mut left, mut first, mut below) = (0.0, 0, 0.0);
    // What lies on the point before `left` and on the one after it, so far.
    let mut open = [0.0; 2];
    for (at, (&time, &value)) in times.iter().zip(values).enumerate() {
        let right = time * per_step;
        let last = right as usize;
        let mass = (scale * (value - below)).max(0.0);
        if at == 0 {
            // All mass at the first knot lies there.
            (left, first) = (right, last);
            masses.iter_mut().take(first).for_each(|mass| *mass = 0.0);
        }
        if first == last {
            let share = 0.5 * (left + right) - first as f64;
            open[0] += mass * (1.0 - share);
            open[1] += mass * share;
        } else {
            let Some(run) = masses.get_mut(first..) else { return };
            let each = mass / (right - left);
            if last == first + 1 {
                // However short the piece is, nothing cancels.
                let edge = last as f64;
                let (before, after) = (each * (edge - left), each * (right - edge));
                let (early, late) = (0.5 * (left + edge) - first as f64, 0.5 * (right - edge));
                write(run, [open[0] + before * (1.0 - early)]);
                open = [open[1] + before * early + after * (1.0 - late), after * late];
            } else {
                // As if the first and the last cell were full; less what they lack.
                let (before, after) = (left - first as f64, right - last as f64);
                let half = 0.5 * each;
                let begin = half * (1.0 - before) * (1.0 - before);
                write(run, [open[0] + begin, open[1] + each - half * before * before]);
                let inner = run.get_mut(2..).unwrap_or_default();
                let cells = last - first - 2;
                match inner.first_chunk_mut::<RUN>() {
                    Some(inner) if cells <= RUN => *inner = [each; RUN],
                    _ => inner.iter_mut().take(cells).for_each(|mass| *mass = each),
                }
                open = [each - half * (1.0 - after) * (1.0 - after), half * after * after];
            }
        }
        (left, first, below) = (right, last, value);
    }
    if let Some(rest) = masses.get_mut(first..) {
        rest.fill(0.0);
        write(rest, open);
    }
}

/// Writes to the first points, as far as there are so many.
fn write<const N: usize>(points: &mut [f64], values: [f64; N]) {
    match points.first_chunk_mut() {
        Some(first) => *first = values,
        None => points.iter_mut().zip(values).for_each(|(point, value)| *point = value),
    }
}

/// Adds `mass` at a time, in cells, to the grid points on both sides of it, so that its mean is kept.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates, times are ≥ 0; grids have far fewer than 2^53 cells"
)]
pub fn split(time: f64, mass: f64, masses: &mut [f64]) {
    let point = time as usize;
    let share = time - point as f64;
    if let Some(masses) = masses.get_mut(point..) {
        masses.iter_mut().zip([mass * (1.0 - share), mass * share]).for_each(|(mass, more)| *mass += more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Law {
        // Half at 1, then a tenth uniform on [1, 3], and four tenths at infinity.
        Law::from_knots(vec![1.0, 3.0], vec![0.5, 0.6])
    }

    #[test]
    fn jumps_are_right_continuous_and_quantiles_are_the_smallest_time() {
        let law = steps();
        assert_eq!((law.before(1.0), law.at(1.0), law.at(2.0), law.at(9.0)), (0.0, 0.5, 0.55, 0.6));
        assert_eq!((law.quantile(0.3), law.quantile(0.5), law.quantile(0.6)), (1.0, 1.0, 3.0));
        assert_eq!(law.quantile(0.61), f64::INFINITY);
        assert_eq!(Law::never().quantile(1e-9), f64::INFINITY);
    }

    #[test]
    fn splitting_onto_a_grid_preserves_mass_and_mean() {
        for step in [0.07, 0.3, 0.9] {
            let mut cells = vec![0.0; (4.0_f64 / step) as usize + 2];
            steps().cells(step, 1.0, &mut cells);
            let mut previous = 0.0;
            let mut mean = 0.0;
            for (k, &cell) in cells.iter().enumerate() {
                mean += (cell - previous) * k as f64 * step;
                previous = cell;
            }
            assert!((previous - 0.6).abs() < 1e-12, "mass at step {step}");
            assert!((mean - (0.5 + 0.1 * 2.0)).abs() < 1e-12, "mean {mean} at step {step}");
        }
    }

    #[test]
    fn masses_are_the_differences_of_neighbouring_means() {
        let smooth = (0..60).map(|k| f64::from(k) * 0.13 + 0.05);
        let smooth =
            Law::from_knots(smooth.clone().collect(), smooth.map(|t| 0.9 * (1.0 - (-t).exp())).collect());
        // A piece that is a few roundings long and crosses the edge of a cell.
        let steep = Law::from_knots(vec![1.0_f64.next_down(), 1.0_f64.next_up()], vec![0.0, 0.9]);
        let laws =
            [steps(), smooth, steep, Law::constant(0.0), Law::constant(2.6), Law::uniform(2.0), Law::never()];
        for law in laws {
            for step in [0.01, 0.05, 0.07, 0.13, 0.5, 1.0, 2.5, 9.0] {
                for cells in [2, 8, 64, 1024] {
                    let (mut means, mut masses) = (vec![0.0; cells], vec![7.0; cells]);
                    law.cells(step, 0.8, &mut means);
                    cell_masses(law.times(), law.values(), step, 0.8, &mut masses);
                    let mut sum = 0.0;
                    for (k, (mean, mass)) in means.iter().zip(&masses).enumerate() {
                        sum += mass;
                        assert!(*mass >= 0.0 && (mean - sum).abs() < 1e-12, "{step} {k}: {sum} for {mean}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_jump_inside_a_cell_is_shared_by_its_neighbours() {
        let mut cells = [0.0; 4];
        Law::constant(1.25).cells(1.0, 2.0, &mut cells);
        assert_eq!(cells, [0.0, 1.5, 2.0, 2.0]);
    }
}
