//! The categories of a leaf's sample: the buckets of its successes and of its failures.

use super::leaf::Outcome;

/// One category of a leaf's sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Category {
    pub(crate) outcome: Outcome,
    /// The bucket's edges in seconds; the upper one may be infinite.
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    /// The probability of the category.
    pub(crate) share: f64,
    /// How its mass is spread over the bucket: rising times from the lower to the upper edge, with the share up to each;
    /// empty: evenly.
    pub(crate) inner: Vec<(f64, f64)>,
}

/// Where in its bucket a category's mass lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At the upper edge.
    UpperEdge,
    /// Spread over it.
    Spread,
}

impl Category {
    /// `∫_0^t` of the category's step or ramp.
    pub(crate) fn integral(&self, placement: Placement, t: f64) -> f64 {
        if !self.upper.is_finite() {
            return 0.0;
        }
        if placement == Placement::UpperEdge || self.upper <= self.lower {
            return (t - self.upper).max(0.0);
        }
        let mut sum = (t - self.upper).max(0.0);
        let mut piece = |(from, low): (f64, f64), (to, high): (f64, f64)| {
            let end = t.min(to);
            if end > from {
                let reached = low + (high - low) * (end - from) / (to - from);
                sum += 0.5 * (low + reached) * (end - from);
            }
        };
        if self.inner.is_empty() {
            piece((self.lower, 0.0), (self.upper, 1.0));
        }
        self.inner.windows(2).for_each(|pair| piece(pair[0], pair[1]));
        sum
    }

    /// The share of it by a deadline: in the late reading, and in the early one.
    pub(crate) fn by(&self, placement: Placement, t: f64) -> (f64, f64) {
        let whole = |on_time: bool| if on_time { 1.0 } else { 0.0 };
        match placement {
            Placement::UpperEdge => (whole(self.upper <= t), whole(self.lower < t)),
            Placement::Spread if self.upper.is_finite() && self.upper > self.lower && t < self.upper => {
                let next = self.inner.partition_point(|&(time, _)| time <= t);
                let share = match (next.checked_sub(1).map(|at| self.inner[at]), self.inner.get(next)) {
                    (Some((from, low)), Some(&(to, high))) => low + (high - low) * (t - from) / (to - from),
                    _ if self.inner.is_empty() => (t - self.lower) / (self.upper - self.lower),
                    _ => 0.0,
                };
                let share = share.clamp(0.0, 1.0);
                (share, share)
            }
            Placement::Spread => (whole(self.upper <= t), whole(self.upper <= t)),
        }
    }
}
