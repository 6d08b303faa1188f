//! What users of the shop saw: end-to-end latencies and outcomes of each journey, the truth for the predictions.

use std::collections::VecDeque;

use hdrhistogram::{AdditionError, CreationError, Histogram, RecordError};

use crate::unit::{Probability, Quantile, Seconds, Timestamp, Window};

/// Latencies are kept in steps of 10 µs, to three significant figures.
const STEPS_PER_SECOND: f64 = 100_000.0;
const SIGNIFICANT_FIGURES: u8 = 3;

/// What the histograms refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TruthError {
    /// It cannot be made.
    #[error("a histogram of end-to-end latencies cannot be made: {0}")]
    Creation(#[from] CreationError),
    /// A latency beyond all bounds.
    #[error("an end-to-end latency cannot be recorded: {0}")]
    Record(#[from] RecordError),
    /// Two of them do not add up.
    #[error("histograms of end-to-end latencies cannot be added: {0}")]
    Addition(#[from] AdditionError),
}

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
    /// [`TruthError`].
    pub fn record(
        &mut self,
        time: Timestamp,
        journey: usize,
        success: bool,
        seconds: f64,
    ) -> Result<(), TruthError> {
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
                seen.latency.record(steps)?;
            }
        }
        Ok(())
    }

    /// What was seen of a journey in the slots that lie within `(end − window, end]`.
    ///
    /// # Errors
    /// [`TruthError`].
    pub fn observed(&self, journey: usize, end: Timestamp, window: Window) -> Result<Observed, TruthError> {
        let start = end.plus_millis(-i64::try_from(window.millis()).unwrap_or(i64::MAX));
        let slot = i64::try_from(self.slot.millis()).unwrap_or(i64::MAX);
        let mut sum = Observed::empty()?;
        for (_, seen) in self.slots.iter().filter(|(at, _)| *at >= start && at.plus_millis(slot) <= end) {
            let seen = &seen[journey];
            sum.total += seen.total;
            sum.good += seen.good;
            sum.latency.add(&seen.latency)?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_successes_and_within_a_thousandth() {
        let slot = Window::from_millis(15_000).unwrap();
        let mut truth = Truth::new(2, slot, Window::from_millis(60_000).unwrap());
        for i in 1..=1000_i32 {
            let success = i <= 900;
            truth.record(Timestamp::from_millis(0), 1, success, f64::from(i) / 1000.0).unwrap();
        }
        let seen = truth.observed(1, Timestamp::from_millis(15_000), slot).unwrap();
        assert_eq!((seen.total, seen.good), (1000, 900));
        assert_eq!(seen.availability(), Some(Probability::new(0.9).unwrap()));
        let median = seen.latency_at("p50".parse().unwrap()).unwrap().get();
        assert!((median / 0.45 - 1.0).abs() < 1e-3, "{median}");
        let other = truth.observed(0, Timestamp::from_millis(15_000), slot).unwrap();
        assert_eq!(
            (other.total, other.availability(), other.latency_at("p50".parse().unwrap())),
            (0, None, None)
        );
    }

    #[test]
    fn a_window_holds_its_own_slots_and_old_ones_are_forgotten() {
        let (slot, minute) = (Window::from_millis(15_000).unwrap(), Window::from_millis(60_000).unwrap());
        let mut truth = Truth::new(1, slot, minute);
        for second in 0..120 {
            truth.record(Timestamp::from_millis(second * 1000), 0, true, 1.0).unwrap();
        }
        let total =
            |end: i64, window| truth.observed(0, Timestamp::from_millis(end * 1000), window).unwrap().total;
        assert_eq!(total(120, minute), 60);
        assert_eq!(total(105, slot), 15);
        assert_eq!(total(90, minute), 30);
    }
}
