//! What the engine counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of the engine's counters and gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Passes of the evaluation loop that ended.
    pub evaluations: u64,
    /// Grid points that were skipped because the pass before overran.
    pub skipped_points: u64,
    /// Passes in which the upstream could not be asked at all.
    pub failed_passes: u64,
    /// Evidence queries sent.
    pub queries: u64,
    /// Evidence queries that failed, or were answered with warnings.
    pub failed_queries: u64,
    /// Windows composed.
    pub compositions: u64,
    /// Windows whose evidence had not changed, so that nothing was composed.
    pub reused_compositions: u64,
    /// Grid points of journeys that were back-filled.
    pub backfilled_points: u64,
    /// Grid points of journeys that could not be back-filled and stay empty.
    pub unfilled_points: u64,
    /// Grid points that a remote read asked for within the retention, and that were not filled yet.
    pub unfilled_read_points: u64,
    /// Series held.
    pub series: u64,
    /// Bytes of samples held.
    pub sample_bytes: u64,
}

/// The counters as they count.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) evaluations: AtomicU64,
    pub(super) skipped_points: AtomicU64,
    pub(super) failed_passes: AtomicU64,
    pub(super) queries: AtomicU64,
    pub(super) failed_queries: AtomicU64,
    pub(super) compositions: AtomicU64,
    pub(super) reused_compositions: AtomicU64,
    pub(super) backfilled_points: AtomicU64,
    pub(super) unfilled_points: AtomicU64,
    pub(super) unfilled_read_points: AtomicU64,
}

/// Adds to a counter. Counters order nothing: relaxed suffices.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counting {
    pub(super) fn snapshot(&self, series: usize, sample_bytes: usize) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            evaluations: read(&self.evaluations),
            skipped_points: read(&self.skipped_points),
            failed_passes: read(&self.failed_passes),
            queries: read(&self.queries),
            failed_queries: read(&self.failed_queries),
            compositions: read(&self.compositions),
            reused_compositions: read(&self.reused_compositions),
            backfilled_points: read(&self.backfilled_points),
            unfilled_points: read(&self.unfilled_points),
            unfilled_read_points: read(&self.unfilled_read_points),
            series: u64::try_from(series).unwrap_or(u64::MAX),
            sample_bytes: u64::try_from(sample_bytes).unwrap_or(u64::MAX),
        }
    }
}
