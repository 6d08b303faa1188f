//! Levels restated for the samples' error: which level of the law that was seen bounds a level of the true one.
//!
//! A journey's law, composed from samples, errs at its q-quantile by some standard errors of a share: as if so many calls of
//! the journey itself had been seen. With `κ = z/√n` for that number n, P(within t) is at least Wilson's lower limit of the
//! share `c` that was composed: the q with `q + κ·√(q(1−q)) = c`. The number differs from quantile to quantile; it is known
//! at some levels, and between two of them the smaller one holds.

/// How far rounding noise may hold what was seen below the level that it should be.
const NOISE: f64 = 1e-8;

/// `κ` by rising levels; without any, nothing was sampled.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Restatement {
    points: Vec<(f64, f64)>,
}

impl Restatement {
    /// From `(level, κ)` with rising levels in (0, 1); an infinite κ says that the samples prove nothing about the level.
    pub(crate) fn new(points: Vec<(f64, f64)>) -> Self {
        debug_assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "levels must rise");
        Self { points }
    }

    /// The same with every κ `times` as large.
    pub(crate) fn scaled(&self, times: f64) -> Self {
        Self { points: self.points.iter().map(|&(level, spread)| (level, spread * times)).collect() }
    }

    /// `κ` at a level.
    pub(crate) fn spread(&self, q: f64) -> f64 {
        let next = self.points.partition_point(|&(level, _)| level < q);
        match (next.checked_sub(1).map(|before| self.points[before].1), self.points.get(next)) {
            (_, Some(&(level, spread))) if level == q => spread,
            (Some(before), Some(&(_, after))) => f64::max(before, after),
            (Some(only), None) | (None, Some(&(_, only))) => only,
            (None, None) => 0.0,
        }
    }

    fn shift(&self, q: f64) -> f64 {
        if q <= 0.0 || q >= 1.0 { 0.0 } else { self.spread(q) * (q * (1.0 - q)).sqrt() }
    }

    /// The level that must have been seen for the level `q` to be reached; above 1 where no level is enough. What reaches
    /// a higher level reaches this one.
    pub(crate) fn harder(&self, q: f64) -> f64 {
        let higher = self.points.iter().map(|&(level, _)| level).filter(|&level| level > q);
        higher.map(|level| level + self.shift(level)).fold(q + self.shift(q), f64::min)
    }

    /// The level that must have been seen for the level `q` to be possible; below 0 where any is. What is possible for a
    /// lower level is the least for this one.
    pub(crate) fn easier(&self, q: f64) -> f64 {
        let lower = self.points.iter().map(|&(level, _)| level).filter(|&level| level < q);
        lower.map(|level| level - self.shift(level)).fold(q - self.shift(q), f64::max)
    }

    /// The greatest level proven by the level `seen`.
    pub(crate) fn proven(&self, seen: f64) -> f64 {
        self.limit(seen, |place| self.points[place])
    }

    /// The least level that the level `seen` leaves no room above: mirrors [`Self::proven`].
    pub(crate) fn possible(&self, seen: f64) -> f64 {
        let Some(last) = self.points.len().checked_sub(1) else { return seen };
        1.0 - self.limit(1.0 - seen, |place| {
            let (level, spread) = self.points[last - place];
            (1.0 - level, spread)
        })
    }

    /// Wilson's lower limit with the κ of the level it falls on; `point` gives the levels in rising order.
    fn limit(&self, seen: f64, point: impl Fn(usize) -> (f64, f64)) -> f64 {
        if self.points.is_empty() {
            return seen;
        }
        for next in (0..=self.points.len()).rev() {
            // The levels from the point before `next` up to the point `next`.
            let before = next.checked_sub(1).map(&point);
            let after = (next < self.points.len()).then(|| point(next));
            let spread = match (before, after) {
                (Some((_, a)), Some((_, b))) => f64::max(a, b),
                (Some((_, only)), None) | (None, Some((_, only))) => only,
                (None, None) => 0.0,
            };
            let reached = wilson_lower(seen, spread);
            let Some((level, own)) = before else {
                return reached.min(after.map_or(1.0, |(level, _)| level));
            };
            if reached > level {
                return reached.min(after.map_or(1.0, |(level, _)| level));
            }
            if wilson_lower(seen, own) >= level - NOISE {
                return level;
            }
        }
        0.0
    }
}

/// The q with `q + κ·√(q(1−q)) = c`.
fn wilson_lower(c: f64, spread: f64) -> f64 {
    let c = c.clamp(0.0, 1.0);
    let square = spread * spread;
    if square.is_infinite() {
        return 0.0;
    }
    let root = spread * (square + 4.0 * c * (1.0 - c)).sqrt();
    ((2.0 * c + square - root) / (2.0 * (1.0 + square))).clamp(0.0, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Restatement {
        Restatement::new(vec![(0.5, 0.05), (0.9, 0.1), (0.99, 0.02), (0.999, f64::INFINITY)])
    }

    #[test]
    fn with_one_spread_it_is_wilsons_interval() {
        // 95 of 100 with z = 1.959964: Wilson (1927) gives [0.888250, 0.978459].
        let restated = Restatement::new(vec![(0.9, 1.959_963_985 / 10.0)]);
        assert!((restated.proven(0.95) - 0.888_250).abs() < 1e-5, "{}", restated.proven(0.95));
        assert!((restated.possible(0.95) - 0.978_459).abs() < 1e-5, "{}", restated.possible(0.95));
    }

    #[test]
    fn what_is_proven_is_the_greatest_level_whose_harder_level_was_seen() {
        let restated = some();
        let levels: Vec<f64> =
            (0..=100_000).map(|k| f64::from(k) / 1e5).chain([0.5, 0.9, 0.99, 0.999]).collect();
        for seen in [0.0, 0.2, 0.49, 0.53, 0.58, 0.9, 0.92, 0.93, 0.9899, 0.9925, 0.995, 0.999, 1.0] {
            let greatest = |holds: &dyn Fn(f64) -> bool| {
                levels.iter().copied().filter(|&q| holds(q)).fold(0.0, f64::max)
            };
            let proven = greatest(&|q| q < 1.0 && restated.harder(q) <= seen);
            assert!(
                (restated.proven(seen) - proven).abs() < 2e-5,
                "{seen}: {} {proven}",
                restated.proven(seen)
            );
            let possible = 1.0 - greatest(&|p| p < 1.0 && restated.easier(1.0 - p) >= seen);
            let found = restated.possible(seen);
            assert!((found - possible).abs() < 2e-5, "{seen}: {found} {possible}");
        }
    }

    #[test]
    fn without_samples_levels_stay_and_without_proof_none_is_reached() {
        let none = Restatement::default();
        assert_eq!(
            (none.harder(0.9), none.easier(0.9), none.proven(0.3), none.possible(0.3)),
            (0.9, 0.9, 0.3, 0.3)
        );
        assert_eq!(some().harder(0.999), f64::INFINITY);
        assert_eq!(some().easier(0.999), some().easier(0.99));
        assert!(some().proven(1.0) <= 0.99);
    }
}
