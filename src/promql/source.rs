//! Where the evaluator's samples come from.

use super::expression::SubtreeId;
use super::matcher::MatcherSet;
use super::value::Value;
use crate::series::{Series, StepGrid};
use crate::unit::Timestamp;

/// Series in memory.
pub trait SeriesSource {
    /// The selected series with their samples in `[from, to]`, in rising order of time. Stale markers
    /// ([`crate::series::STALE_NAN_BITS`]) are kept. A series without a sample in the range may be left out.
    ///
    /// # Errors
    /// A sentence for the client, where the samples cannot be had.
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String>;

    /// The value of a subtree that somebody else evaluated, on the grid on which it is needed: a scalar or a vector
    /// with as many values as there are steps. Sources that know no such subtree have none.
    fn evaluated(&self, subtree: SubtreeId) -> Option<&Value> {
        let _ = subtree;
        None
    }
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
    /// What becomes of the samples.
    pub reading: Reading,
}

/// What becomes of the samples of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// At each step the newest value, by lookback.
    Instant,
    /// All of them are looked at, in ranges; stale markers are skipped.
    Range,
    /// At each step of the grid the time of the newest, by lookback: of two series that describe the same target, the
    /// one that was seen last counts.
    InfoSeries(StepGrid),
}

/// The answers to a query's selections, fetched before the evaluation.
#[derive(Debug, Clone, Default)]
pub struct Fetched(pub Vec<(Selection, Vec<Series>)>);

impl SeriesSource for Fetched {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
        self.0
            .iter()
            .find(|(held, _)| held == selection)
            .map(|(_, series)| series.clone())
            .ok_or_else(|| format!("the selection {} was not fetched", selection.matchers))
    }
}
