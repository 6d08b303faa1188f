//! Classic Prometheus histograms as evidence: cumulative counts under rising upper edges.

/// Why a histogram was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// There is no finite edge.
    #[error("the histogram has no finite bucket edge")]
    NoFiniteEdge,
    /// Edges must be finite, above 0 and strictly rising.
    #[error("bucket edge {edge} does not lie above its predecessor {previous}")]
    Edge {
        /// The offending edge, in seconds.
        edge: f64,
        /// The edge before it (0 for the first).
        previous: f64,
    },
    /// A count is negative, NaN or infinite.
    #[error("the count {count} of bucket le={edge} is not a finite number ≥ 0")]
    Count {
        /// The bucket's upper edge, in seconds (+Inf for the last).
        edge: f64,
        /// What was given.
        count: f64,
    },
    /// Cumulative counts may not fall.
    #[error("the cumulative count falls from {previous} to {count} at le={edge}")]
    Falling {
        /// The bucket's upper edge, in seconds.
        edge: f64,
        /// What was given.
        count: f64,
        /// The count of the bucket before.
        previous: f64,
    },
    /// Edges and counts do not pair up.
    #[error("{edges} finite edges need {} counts (one more for +Inf), not {counts}", edges + 1)]
    Lengths {
        /// How many finite edges were given.
        edges: usize,
        /// How many counts were given.
        counts: usize,
    },
}

/// A classic histogram: `counts[i]` events took at most `edges[i]` seconds, the last count is all events (`+Inf`).
///
/// Invariants: at least one finite edge, edges finite, above 0 and strictly rising; counts finite, not negative
/// and not falling. The total may be 0.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassicHistogram {
    edges: Vec<f64>,
    counts: Vec<f64>,
}

impl ClassicHistogram {
    /// Checks the invariants. `edges` are the finite upper edges in seconds; `counts` has one more entry, for `+Inf`.
    ///
    /// # Errors
    /// The first violated invariant.
    pub fn new(edges: Vec<f64>, counts: Vec<f64>) -> Result<Self, HistogramError> {
        if edges.is_empty() {
            return Err(HistogramError::NoFiniteEdge);
        }
        if counts.len() != edges.len() + 1 {
            return Err(HistogramError::Lengths { edges: edges.len(), counts: counts.len() });
        }
        let mut previous = 0.0;
        for &edge in &edges {
            if !(edge.is_finite() && edge > previous) {
                return Err(HistogramError::Edge { edge, previous });
            }
            previous = edge;
        }
        let mut previous = 0.0;
        for (edge, &count) in edges.iter().copied().chain([f64::INFINITY]).zip(&counts) {
            if !(count.is_finite() && count >= 0.0) {
                return Err(HistogramError::Count { edge, count });
            }
            if count < previous {
                return Err(HistogramError::Falling { edge, count, previous });
            }
            previous = count;
        }
        Ok(Self { edges, counts })
    }

    /// The same events, had each taken `slowdown` times as long; above 0 and finite.
    #[must_use]
    pub(crate) fn slowed(&self, slowdown: f64) -> Self {
        let edges = self.edges.iter().map(|edge| edge * slowdown).collect();
        Self { edges, counts: self.counts.clone() }
    }

    /// The finite upper edges in seconds, strictly rising.
    #[must_use]
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Cumulative counts, one for each finite edge and the last for `+Inf`.
    #[must_use]
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// All events.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.counts.last().copied().unwrap_or(0.0)
    }

    /// The last finite edge in seconds.
    #[must_use]
    pub fn last_edge(&self) -> f64 {
        self.edges.last().copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_invariant_has_its_own_error() {
        type E = HistogramError;
        let new = |edges: &[f64], counts: &[f64]| ClassicHistogram::new(edges.to_vec(), counts.to_vec());
        assert!(new(&[0.1, 1.0], &[0.0, 3.0, 3.0]).is_ok());
        assert_eq!(new(&[], &[1.0]), Err(E::NoFiniteEdge));
        assert!(matches!(new(&[0.1], &[1.0]), Err(E::Lengths { .. })));
        assert!(matches!(new(&[0.1, 0.1], &[1.0, 1.0, 1.0]), Err(E::Edge { .. })));
        assert!(matches!(new(&[0.1, f64::INFINITY], &[1.0, 1.0, 1.0]), Err(E::Edge { .. })));
        assert!(matches!(new(&[0.1], &[f64::NAN, 1.0]), Err(E::Count { .. })));
        assert!(matches!(new(&[0.1], &[2.0, 1.0]), Err(E::Falling { .. })));
    }
}
