//! What a selector of synthetic series yields.

use crate::series::Series;
use crate::unit::{Seconds, Timestamp};

/// Why samples cannot be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelectError {
    /// The upstream cannot be asked, or its answer cannot be used (422, `execution`).
    #[error("{fault}; the newest evidence is {} old", age.map_or_else(|| "infinitely".to_owned(), |age| age.to_string()))]
    Upstream {
        /// What happened; names the upstream.
        fault: String,
        /// The age of the newest evidence held; `None` where there never was any.
        age: Option<Seconds>,
    },
    /// A point was not evaluated, and the upstream is not to blame: the pass before overran, or the process slept (422).
    #[error("the evaluation at {} did not take place: the one before overran its interval, or the process slept", time.seconds())]
    Skipped {
        /// The grid point.
        time: Timestamp,
    },
    /// More points than one query may ask for (422).
    #[error("{points} points of the evaluation grid are more than {limit}; ask for a shorter range")]
    TooManyPoints {
        /// Asked for.
        points: usize,
        /// Allowed.
        limit: usize,
    },
    /// The deadline passed (503).
    #[error("the deadline passed before the evidence of {} was evaluated", time.seconds())]
    Deadline {
        /// The oldest point that is missing.
        time: Timestamp,
    },
    /// A matcher that cannot be compiled (400).
    #[error("{0}")]
    Matcher(String),
}

/// A span of grid points at which the selected series cannot be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Unanswered {
    /// The first grid point.
    pub from: Timestamp,
    /// Until here, exclusive.
    pub until: Timestamp,
    /// Why.
    pub fault: SelectError,
}

/// The samples of the selected series, and where there are none although there should be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selected {
    /// On the evaluation grid, sorted by labels. A stale marker ([`crate::series::STALE_NAN_BITS`]) stands where a
    /// series ends, so that no lookback reaches beyond it.
    pub series: Vec<Series>,
    /// For the client.
    pub warnings: Vec<String>,
    /// The age of what is shown although it is due to be fetched again.
    pub infos: Vec<String>,
    /// Rising and disjoint. An evaluation at a time within one of them is an error, not an empty result:
    /// [`Selected::unanswered_at`]. Empty where all selected series are always answered, and where nothing matches.
    pub unanswered: Vec<Unanswered>,
}

impl Selected {
    /// Why an evaluation at `time` has no answer, if so.
    #[must_use]
    pub fn unanswered_at(&self, time: Timestamp) -> Option<&SelectError> {
        let after = self.unanswered.partition_point(|span| span.from <= time);
        let span = self.unanswered.get(after.checked_sub(1)?)?;
        (time < span.until).then_some(&span.fault)
    }
}
