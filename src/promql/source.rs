//! Where the evaluator's samples come from.

use super::matcher::MatcherSet;
use crate::series::Series;
use crate::unit::Timestamp;

/// Series in memory.
pub trait SeriesSource {
    /// The series that match, with their samples in `[from, to]`, in rising order of time. Stale markers
    /// ([`crate::series::STALE_NAN_BITS`]) are kept. A series without a sample in the range may be left out.
    ///
    /// # Errors
    /// A sentence for the client, where the samples cannot be had.
    fn select(&self, matchers: &MatcherSet, from: Timestamp, to: Timestamp) -> Result<Vec<Series>, String>;
}

/// What one selector asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Which series.
    pub matchers: MatcherSet,
    /// The earliest sample of use, inclusive.
    pub from: Timestamp,
    /// The latest, inclusive.
    pub to: Timestamp,
}

/// The answers to a query's selections, fetched before the evaluation.
#[derive(Debug, Clone, Default)]
pub struct Fetched(pub Vec<(Selection, Vec<Series>)>);

impl SeriesSource for Fetched {
    fn select(&self, matchers: &MatcherSet, from: Timestamp, to: Timestamp) -> Result<Vec<Series>, String> {
        let asked = |held: &Selection| held.matchers == *matchers && held.from == from && held.to == to;
        self.0
            .iter()
            .find(|(held, _)| asked(held))
            .map(|(_, series)| series.clone())
            .ok_or_else(|| format!("the selection {matchers} was not fetched"))
    }
}
