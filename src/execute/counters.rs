//! What the engine counts about itself.

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
    /// Series held.
    pub series: u64,
    /// Bytes of samples held.
    pub sample_bytes: u64,
}
