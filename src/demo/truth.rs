//! What users of the shop saw: end-to-end latencies and outcomes of each journey, the truth for the predictions.

use std::collections::VecDeque;

use hdrhistogram::{CreationError, Histogram};

use crate::unit::{Probability, Quantile, Seconds, Timestamp, Window};

/// Latencies are kept in steps of 10 µs, to three significant figures.
const STEPS_PER_SECOND: f64 = 100_000.0;
const SIGNIFICANT_FIGURES: u8 = 3;

/// What was seen of one journey over some time.
#[derive(Debug, Clone)]
pub struct Observed {
    /// All requests.
    pub total: u64,
    /// Those that succeeded.
    pub good: u64,
    latency: Histogram<u32>,
}

impl Observed {
    fn empty() -> Result<Self, CreationError> {
        Ok(Self { total: 0, good: 0, latency: Histogram::new(SIGNIFICANT_FIGURES)? })
    }

    /// The share of successes; `None` without requests.
    #[must_use]
    pub fn availability(&self) -> Option<Probability> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 requests are 57,000 years of this shop")]
        let share = self.good as f64 / self.total as f64;
        (self.total > 0).then(|| Probability::saturating(share))
    }

    /// The latency quantile of the successes; `None` where there was none.
    #[must_use]
    pub fn latency_at(&self, quantile: Quantile) -> Option<Seconds> {
        if self.good == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 steps")]
        let steps = self.latency.value_at_quantile(quantile.get()) as f64;
        Seconds::new(steps / STEPS_PER_SECOND).ok()
    }
}

/// What was seen of every journey, in slots of one scrape interval, for a bounded time.
#[derive(Debug)]
pub struct Truth {
    slot: Window,
    slots_kept: usize,
    /// The newest slot last, each with its start and one entry for each journey.
    slots: VecDeque<(Timestamp, Vec<Observed>)>,
    journeys: usize,
}

impl Truth {
    /// Remembers `kept` in slots of length `slot`.
    #[must_use]
    pub fn new(journeys: usize, slot: Window, kept: Window) -> Self {
        let slots_kept = usize::try_from(kept.millis().div_ceil(slot.millis())).unwrap_or(usize::MAX);
        Self { slot, slots_kept, slots: VecDeque::new(), journeys }
    }

    /// A request that arrived at `time` has ended. Requests come in the order of their slots.
    ///
    /// # Errors
    /// Where no histogram can be made.
    pub fn record(
        &mut self,
        time: Timestamp,
        journey: usize,
        success: bool,
        seconds: f64,
    ) -> Result<(), CreationError> {
        let start = time.floor_to(self.slot);
        if self.slots.back().is_none_or(|(newest, _)| *newest < start) {
            let fresh = (0..self.journeys).map(|_| Observed::empty()).collect::<Result<_, _>>()?;
            self.slots.push_back((start, fresh));
            if self.slots.len() > self.slots_kept {
                self.slots.pop_front();
            }
        }
        if let Some((_, slot)) = self.slots.back_mut() {
            let seen = &mut slot[journey];
            seen.total += 1;
            if success {
                seen.good += 1;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "latencies are minutes at most"
                )]
                let steps = (seconds * STEPS_PER_SECOND).round() as u64;
                seen.latency.saturating_record(steps);
            }
        }
        Ok(())
    }

    /// What was seen of a journey in the slots that lie within `(end − window, end]`.
    ///
    /// # Errors
    /// Where no histogram can be made.
    pub fn observed(
        &self,
        journey: usize,
        end: Timestamp,
        window: Window,
    ) -> Result<Observed, CreationError> {
        let start = end.plus_millis(-i64::try_from(window.millis()).unwrap_or(i64::MAX));
        let slot = i64::try_from(self.slot.millis()).unwrap_or(i64::MAX);
        let mut sum = Observed::empty()?;
        for (_, seen) in self.slots.iter().filter(|(at, _)| *at >= start && at.plus_millis(slot) <= end) {
            let seen = &seen[journey];
            sum.total += seen.total;
            sum.good += seen.good;
            // Adding fails only between histograms of different bounds that may not grow; these may.
            let _ = sum.latency.add(&seen.latency);
        }
        Ok(sum)
    }
}
