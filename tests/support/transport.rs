//! The multi-marginal transport problem: of all joint laws with given margins, one that makes an expectation greatest.
//!
//! A revised simplex method with a dense inverse of the basis. Its start is the comonotone law; every step keeps the
//! margins, so that also an answer that was cut short is a joint law with these margins.

/// A step that gains less is none.
const LEAST_GAIN: f64 = 1e-11;
/// Steps that gain nothing before the least index is preferred, which cannot go in circles.
const PATIENCE: usize = 40;
const MAX_STEPS: usize = 2_000;

/// The comonotone law (margins in the order given): the corner of the polytope from which the search starts. Pairs of
/// a cell (mixed radix, the last margin runs fastest) and its mass; one cell more than all margins have points, less one
/// each.
pub(crate) fn corner(margins: &[Vec<f64>]) -> Vec<(usize, f64)> {
    let mut at = vec![0; margins.len()];
    let mut left: Vec<f64> = margins.iter().map(|margin| margin[0]).collect();
    let mut cells = Vec::new();
    loop {
        let open = |k: &usize| at[*k] + 1 < margins[*k].len();
        let Some(next) = (0..margins.len()).filter(open).min_by(|&a, &b| left[a].total_cmp(&left[b])) else {
            // Whatever rounding left over.
            let mass = left.iter().copied().fold(f64::INFINITY, f64::min).max(0.0);
            cells.push((index(margins, &at), mass));
            return cells;
        };
        let mass = left.iter().copied().fold(f64::INFINITY, f64::min).max(0.0);
        cells.push((index(margins, &at), mass));
        left.iter_mut().for_each(|left| *left = (*left - mass).max(0.0));
        at[next] += 1;
        left[next] = margins[next][at[next]];
    }
}

fn index(margins: &[Vec<f64>], at: &[usize]) -> usize {
    margins.iter().zip(at).fold(0, |index, (margin, &at)| index * margin.len() + at)
}

/// The rows of a cell: one for each margin's point, without the last point of every margin but the first.
fn rows(margins: &[Vec<f64>], cell: usize, rows: &mut Vec<usize>) {
    rows.clear();
    let mut rest = cell;
    let mut offset: usize =
        margins.iter().skip(1).map(|margin| margin.len() - 1).sum::<usize>() + margins[0].len();
    for (k, margin) in margins.iter().enumerate().rev() {
        let point = rest % margin.len();
        rest /= margin.len();
        let own = if k == 0 { margin.len() } else { margin.len() - 1 };
        offset -= own;
        if point < own {
            rows.push(offset + point);
        }
    }
}

/// The joint law, by cell, that makes `Σ costs[cell]·mass[cell]` greatest.
pub(crate) fn greatest(margins: &[Vec<f64>], costs: &[f64]) -> Vec<f64> {
    let start = corner(margins);
    let m = start.len();
    let mut basis: Vec<usize> = start.iter().map(|&(cell, _)| cell).collect();
    let mut masses: Vec<f64> = start.iter().map(|&(_, mass)| mass).collect();
    let mut inverse = inverted(margins, &basis);
    let mut of_cell = Vec::new();
    let (mut idle, mut duals, mut column) = (0, vec![0.0; m], vec![0.0; m]);
    let sizes: Vec<usize> = margins.iter().map(Vec::len).collect();
    for _ in 0..MAX_STEPS {
        duals.fill(0.0);
        for (row, &cell) in inverse.chunks(m).zip(&basis) {
            duals.iter_mut().zip(row).for_each(|(dual, value)| *dual += costs[cell] * value);
        }
        let Some(entering) = entering(&sizes, &duals, costs, idle > PATIENCE) else { break };
        rows(margins, entering, &mut of_cell);
        for (value, row) in column.iter_mut().zip(inverse.chunks(m)) {
            *value = of_cell.iter().map(|&at| row[at]).sum();
        }
        let mut leaving: Option<(usize, f64)> = None;
        for (at, (&value, &mass)) in column.iter().zip(&masses).enumerate() {
            if value > 1e-9 {
                let ratio = mass / value;
                let better = leaving.is_none_or(|(old, least)| {
                    ratio < least - 1e-15 || (ratio <= least + 1e-15 && basis[at] < basis[old])
                });
                if better {
                    leaving = Some((at, ratio));
                }
            }
        }
        let Some((leaving, ratio)) = leaving else { break };
        idle = if ratio > 1e-13 { 0 } else { idle + 1 };
        masses.iter_mut().zip(&column).for_each(|(mass, value)| *mass = (*mass - ratio * value).max(0.0));
        masses[leaving] = ratio.max(0.0);
        basis[leaving] = entering;
        let pivot = column[leaving];
        let pivot_row: Vec<f64> =
            inverse[leaving * m..(leaving + 1) * m].iter().map(|value| value / pivot).collect();
        for (at, row) in inverse.chunks_mut(m).enumerate() {
            if at == leaving {
                row.copy_from_slice(&pivot_row);
            } else if column[at] != 0.0 {
                row.iter_mut().zip(&pivot_row).for_each(|(value, pivot)| *value -= column[at] * pivot);
            }
        }
    }
    let mut law = vec![0.0; costs.len()];
    basis.iter().zip(&masses).for_each(|(&cell, &mass)| law[cell] += mass);
    law
}

/// The cell whose mass is worth raising most, or the first such.
fn entering(sizes: &[usize], duals: &[f64], costs: &[f64], first: bool) -> Option<usize> {
    // The dual of every point; that of a dropped row is 0.
    let mut points: Vec<Vec<f64>> = Vec::with_capacity(sizes.len());
    let mut offset = 0;
    for (k, &size) in sizes.iter().enumerate() {
        let own = if k == 0 { size } else { size - 1 };
        let mut of = duals[offset..offset + own].to_vec();
        of.resize(size, 0.0);
        points.push(of);
        offset += own;
    }
    let mut best: Option<(usize, f64)> = None;
    let mut at = vec![0; sizes.len()];
    let mut sum: f64 = points.iter().map(|of| of[0]).sum();
    for (cell, cost) in costs.iter().enumerate() {
        let gain = cost - sum;
        if gain > best.map_or(LEAST_GAIN, |(_, gain)| gain) {
            best = Some((cell, gain));
            if first {
                break;
            }
        }
        for k in (0..sizes.len()).rev() {
            at[k] += 1;
            if at[k] < sizes[k] {
                break;
            }
            at[k] = 0;
        }
        sum = points.iter().zip(&at).map(|(of, &at)| of[at]).sum();
    }
    best.map(|(cell, _)| cell)
}

/// The inverse of the basis, by Gauss and Jordan with pivoting.
fn inverted(margins: &[Vec<f64>], basis: &[usize]) -> Vec<f64> {
    let m = basis.len();
    let mut of_cell = Vec::new();
    let mut left = vec![0.0_f64; m * m];
    let mut right = vec![0.0; m * m];
    for (column, &cell) in basis.iter().enumerate() {
        rows(margins, cell, &mut of_cell);
        of_cell.iter().for_each(|&row| left[row * m + column] = 1.0);
        right[column * m + column] = 1.0;
    }
    for column in 0..m {
        let by = |&a: &usize, &b: &usize| left[a * m + column].abs().total_cmp(&left[b * m + column].abs());
        let pivot = (column..m).max_by(by).unwrap();
        for k in 0..m {
            left.swap(pivot * m + k, column * m + k);
            right.swap(pivot * m + k, column * m + k);
        }
        let scale = left[column * m + column];
        assert!(scale.abs() > 1e-9, "the corner is a basis");
        for k in 0..m {
            left[column * m + k] /= scale;
            right[column * m + k] /= scale;
        }
        for row in (0..m).filter(|&row| row != column) {
            let factor = left[row * m + column];
            if factor != 0.0 {
                for k in 0..m {
                    left[row * m + k] -= factor * left[column * m + k];
                    right[row * m + k] -= factor * right[column * m + k];
                }
            }
        }
    }
    right
}
