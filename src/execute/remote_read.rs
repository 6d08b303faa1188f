//! What remote read is answered from: the kept samples alone as far as the retention reaches, older ones fetched.
//!
//! A rule of a Prometheus that reads from here waits for its answer, and where that Prometheus is also the upstream it
//! holds one of its few query slots for as long. An evidence query on its behalf needs another slot: enough such rules
//! at once would wait for each other until their deadlines, and Prometheus hides the failure. So nothing within the
//! retention is ever fetched for a reader; what is not filled there yet after a start is empty, and counted.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::counters::add;
use super::engine::{Engine, Kept};
use super::fetch::MAX_POINTS;
use super::history::Block;
use super::pass::blocking;
use super::select;
use super::selection::SelectError;
use crate::promql::matcher::MatcherSet;
use crate::series::{Labels, STALE_NAN_BITS, Sample};
use crate::synthetic::catalog;
use crate::unit::{Timestamp, Window};
use crate::wire::remote_read_response::{ChunkedSamples, ChunkedSeries};

/// The most reads beyond what is kept that are under way or wait: below the 20 queries that a Prometheus runs at a
/// time, so that some slots are left for the evidence. Further ones are refused on arrival.
pub const MAX_OLD_READS: usize = 12;

/// How long one span of the past may take. A reader waits for as many as its range has.
const SPAN_DEADLINE: Duration = Duration::from_secs(10);

/// The points of one span: an hour of the default interval. Its evidence and its samples are held at a time.
const SPAN_POINTS: i64 = 240;

/// How long a read may take in all.
const DEADLINE: Duration = Duration::from_secs(60);

/// The most bytes of compressed samples and labels of one answer.
pub const MAX_ANSWER_BYTES: usize = 32 << 20;

/// What a label costs beside its text, in bytes; rounded up.
const LABEL_BYTES: usize = 64;

const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The past could not be fetched, or is too long.
    #[error(transparent)]
    Past(#[from] SelectError),
    /// Too many reads of the past at a time.
    #[error(
        "{MAX_OLD_READS} reads beyond the retention of {retention} are under way already; rules should look back less"
    )]
    Busy {
        /// How long samples are kept.
        retention: Window,
    },
    /// More samples than one answer may hold.
    #[error("the answer has more than {limit} samples; ask for fewer series or a shorter range")]
    TooManySamples {
        /// Allowed.
        limit: usize,
    },
    /// More bytes than one answer may hold.
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes; ask for fewer series or a shorter range")]
    TooManyBytes,
}

/// The answer under construction.
struct Answer {
    series: BTreeMap<Labels, ChunkedSamples>,
    interval: i64,
    /// The last grid point asked for.
    last: Timestamp,
    samples: usize,
    bytes: usize,
    limit: usize,
}

impl Engine {
    /// The samples in `[from, to]` of the synthetic series that match, sorted by labels. A series that ends, or has a
    /// gap, has a stale marker one interval after its last sample.
    ///
    /// # Errors
    /// Where anything before the retention cannot be fetched, or a budget is exceeded: never a part of the answer.
    pub async fn read(
        self: &Arc<Self>,
        matchers: &MatcherSet,
        from: Timestamp,
        to: Timestamp,
        max_samples: usize,
    ) -> Result<Vec<ChunkedSeries>, ReadError> {
        let settings = &self.settings;
        let interval = self.interval_millis();
        let newest = self.last_due((settings.clock)());
        let first = from.plus_millis(interval - 1).floor_to(settings.interval);
        let last = to.min(newest).floor_to(settings.interval);
        if first > last || !catalog::families().iter().any(|family| matchers.matches_name(family.name)) {
            return Ok(Vec::new());
        }
        let retention = i64::try_from(settings.retention.millis()).unwrap_or(i64::MAX);
        // The oldest point that the loop keeps: from here on nothing is fetched.
        let horizon = newest.plus_millis(interval - 1 - retention).floor_to(settings.interval);
        let mut answer = Answer {
            series: BTreeMap::new(),
            interval,
            last: last.min(newest.plus_millis(-interval)),
            samples: 0,
            bytes: 0,
            limit: max_samples,
        };
        let by_journey: Vec<_> = matchers
            .matchers()
            .iter()
            .filter(|m| select::tells_journeys_apart(m, &settings.external_labels))
            .cloned()
            .collect();
        let by_journey =
            MatcherSet::new(by_journey).map_err(|error| SelectError::Matcher(error.to_string()))?;
        let names = select::journeys(self);
        for name in names.into_iter().filter(|name| select::concerns(&by_journey, name)) {
            answer = self.read_journey(answer, &name, matchers, first, last, horizon).await?;
        }
        answer.finish()
    }

    async fn read_journey(
        self: &Arc<Self>,
        mut answer: Answer,
        name: &str,
        matchers: &MatcherSet,
        first: Timestamp,
        last: Timestamp,
        horizon: Timestamp,
    ) -> Result<Answer, ReadError> {
        let interval = answer.interval;
        let kept: Option<Kept> =
            self.samples.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let begins = kept.as_ref().and_then(|kept| {
            let kept = kept.read().unwrap_or_else(PoisonError::into_inner);
            kept.points().first_key_value().map(|(&first, _)| first)
        });
        let old_until = last.min(begins.unwrap_or(horizon).min(horizon).plus_millis(-interval));
        if first <= old_until && self.wants_journey(name, matchers) {
            answer = self.read_past(answer, name, matchers, first, old_until).await?;
        }
        let unfilled_from = first.max(horizon);
        let unfilled_until = begins.map_or(last.plus_millis(interval), |begins| begins.min(last));
        if let Ok(gap @ 1..) = u64::try_from(unfilled_until.millis().saturating_sub(unfilled_from.millis())) {
            add(&self.counting.unfilled_read_points, gap / interval.unsigned_abs().max(1));
        }
        if let (Some(kept), Some(_)) = (kept, begins) {
            let matchers = matchers.clone();
            let external = self.settings.external_labels.clone();
            let from = first.max(old_until.plus_millis(interval));
            answer = blocking(move || {
                let kept = kept.read().unwrap_or_else(PoisonError::into_inner);
                kept.visit(&matchers, &external, from, last, |labels, samples| answer.push(labels, &samples));
                answer
            })
            .await;
            answer.check()?;
        }
        Ok(answer)
    }

    /// Whether any series of a journey that the model knows can match: its past is not fetched for others.
    fn wants_journey(&self, name: &str, matchers: &MatcherSet) -> bool {
        let external = &self.settings.external_labels;
        self.labels_of(name).iter().any(|labels| {
            matchers.matches_by(|name| match labels.get(name) {
                "" => external.get(name),
                value => value,
            })
        })
    }

    /// Span by span, so that the evidence of one span is held at a time.
    async fn read_past(
        self: &Arc<Self>,
        mut answer: Answer,
        name: &str,
        matchers: &MatcherSet,
        first: Timestamp,
        until: Timestamp,
    ) -> Result<Answer, ReadError> {
        let Some(known) = self.model().journey(name).cloned() else { return Ok(answer) };
        let interval = answer.interval;
        let points = until.millis().abs_diff(first.millis()) / interval.unsigned_abs().max(1) + 1;
        let points = usize::try_from(points).unwrap_or(usize::MAX);
        if points > MAX_POINTS {
            return Err(SelectError::TooManyPoints { points, limit: MAX_POINTS }.into());
        }
        let busy = ReadError::Busy { retention: self.settings.retention };
        let _slot = Arc::clone(&self.old_reads).try_acquire_owned().map_err(|_| busy)?;
        let window = select::only_window(matchers.matchers());
        let length = interval.saturating_mul(SPAN_POINTS);
        let span = Window::from_millis(length.unsigned_abs()).unwrap_or(self.settings.interval);
        let end = Instant::now() + DEADLINE;
        let mut begin = first;
        while begin <= until {
            // Spans begin at multiples of their length, so that readers share what is cached.
            let last = begin.floor_to(span).plus_millis(length - interval).min(until);
            let deadline = end.min(Instant::now() + SPAN_DEADLINE);
            let blocks = self.past(&known, window, begin, last, deadline).await?.blocks;
            let matchers = matchers.clone();
            let external = self.settings.external_labels.clone();
            answer = blocking(move || {
                blocks
                    .iter()
                    .for_each(|(_, block)| answer.take_block(block, &matchers, &external, begin, last));
                answer
            })
            .await;
            answer.check()?;
            begin = last.plus_millis(interval);
        }
        Ok(answer)
    }

    /// The labels of the series that match and have kept samples in `[from, to]`, also of earlier models; in no order,
    /// perhaps repeated. Nothing is fetched for it.
    #[must_use]
    pub fn kept_series(&self, matchers: &MatcherSet, from: Timestamp, to: Timestamp) -> Vec<Labels> {
        let all: Vec<Kept> =
            self.samples.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let external = &self.settings.external_labels;
        let of = |kept: Kept| {
            kept.read().unwrap_or_else(PoisonError::into_inner).existing(matchers, external, from, to)
        };
        all.into_iter().flat_map(of).collect()
    }
}

impl Answer {
    fn take_block(
        &mut self,
        block: &Block,
        matchers: &MatcherSet,
        external: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) {
        let block = block.read().unwrap_or_else(PoisonError::into_inner);
        block.visit(matchers, external, from, to, |labels, samples| self.push(labels, &samples));
    }

    /// Appends samples of a later segment; breaks where the budget is spent.
    fn push(&mut self, labels: Labels, samples: &[Sample]) -> ControlFlow<()> {
        if self.check().is_err() {
            return ControlFlow::Break(());
        }
        let fresh = !self.series.contains_key(&labels);
        if fresh {
            self.bytes +=
                labels.iter().map(|(name, value)| name.len() + value.len() + LABEL_BYTES).sum::<usize>();
        }
        let interval = self.interval;
        let series = self.series.entry(labels).or_default();
        let (bytes, count) = (series.bytes(), series.samples());
        for &sample in samples {
            // Where one segment meets the next, and where points are missing, the series ends at once.
            if let Some(gap) = series.alive_at().map(|last| last.plus_millis(interval))
                && sample.time > gap
            {
                series.push(Sample { time: gap, value: STALE });
            }
            series.push(sample);
        }
        self.bytes += series.bytes() - bytes;
        self.samples += series.samples() - count;
        ControlFlow::Continue(())
    }

    fn check(&self) -> Result<(), ReadError> {
        if self.samples > self.limit {
            Err(ReadError::TooManySamples { limit: self.limit })
        } else if self.bytes > MAX_ANSWER_BYTES {
            Err(ReadError::TooManyBytes)
        } else {
            Ok(())
        }
    }

    /// Ends what did not go on. The newest point may be under way still: only what lacks an older one has ended.
    fn finish(mut self) -> Result<Vec<ChunkedSeries>, ReadError> {
        for series in self.series.values_mut() {
            if let Some(last) = series.alive_at()
                && last < self.last
            {
                series.push(Sample { time: last.plus_millis(self.interval), value: STALE });
            }
        }
        self.check()?;
        let finished =
            |(labels, samples): (_, ChunkedSamples)| ChunkedSeries { labels, chunks: samples.finish() };
        Ok(self.series.into_iter().map(finished).collect())
    }
}
