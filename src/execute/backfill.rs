//! Filling the retention after a start, in the background: newest first, at most half a core.
//!
//! Rules that wait are answered from what is kept and from nothing else, so that what is missing there is missing for
//! them; an hour after the start nothing of this is left to do.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::counters::add;
use super::engine::Engine;
use super::history::SpanOptions;
use super::model::ModelledJourney;
use super::samples::{JourneySamples, Point, PointState};
use super::selection::SelectError;
use crate::series::StepGrid;
use crate::unit::Timestamp;

/// Points of one request.
const BLOCK_POINTS: i64 = 60;

/// The most values (series × points) of one request's answers; journeys are taken in groups that stay below.
const MAX_VALUES: usize = 1_000_000;

/// How long one block's queries may take: longer than a rule's, since nobody waits.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often a block is tried before it stays empty.
const ATTEMPTS: u32 = 3;

/// The wait after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Journeys whose kept samples begin at the same point.
struct Gap {
    journeys: Vec<ModelledJourney>,
    /// Their first known point.
    until: Timestamp,
    /// The oldest point to be kept.
    horizon: Timestamp,
}

impl Engine {
    /// Fills, and then waits for journeys that a reload adds. Never ends.
    pub(super) async fn backfill(self: Arc<Self>) {
        loop {
            match self.newest_gap() {
                Some(gap) => self.fill(gap).await,
                None => self.changed.notified().await,
            }
        }
    }

    /// The journeys whose samples begin latest, if that is within the retention.
    fn newest_gap(&self) -> Option<Gap> {
        let model = self.model();
        let retention = i64::try_from(self.settings.retention.millis()).unwrap_or(i64::MAX);
        let mut firsts: Vec<(Timestamp, Timestamp, &ModelledJourney)> = model
            .journeys
            .iter()
            .filter_map(|known| {
                let kept = self.kept(&known.journey.name);
                let kept = kept.read().unwrap_or_else(PoisonError::into_inner);
                let (first, last) = kept.points().first_key_value().zip(kept.points().last_key_value())?;
                // Measured from the newest point, as the loop forgets: else the two would undo each other's work.
                let horizon = last.0.plus_millis(self.interval_millis() - 1 - retention);
                Some((*first.0, horizon.floor_to(self.settings.interval), known))
            })
            .filter(|(first, horizon, _)| first > horizon)
            .collect();
        let (until, horizon) = firsts.iter().map(|(first, horizon, _)| (*first, *horizon)).max()?;
        firsts.retain(|(first, ..)| *first == until);
        // What a live pass holds for a journey says what a block will.
        let series = self.evidence_series.load(std::sync::atomic::Ordering::Relaxed).max(1);
        let points = usize::try_from(BLOCK_POINTS).unwrap_or(1);
        let groups = series.saturating_mul(points).div_ceil(MAX_VALUES);
        let most = firsts.len().div_ceil(groups.max(1)).max(1);
        let journeys = firsts.into_iter().take(most).map(|(_, _, known)| known.clone()).collect();
        Some(Gap { journeys, until, horizon })
    }

    async fn fill(&self, gap: Gap) {
        let interval = self.interval_millis();
        let last = gap.until.plus_millis(-interval);
        let first = gap.until.plus_millis(-interval * BLOCK_POINTS).max(gap.horizon);
        let Ok(grid) = StepGrid::new(first, last, self.settings.interval) else { return };
        let count = u64::try_from(grid.points() * gap.journeys.len()).unwrap_or(u64::MAX);
        let options = SpanOptions { window: None, block_points: None, half_speed: true };
        let mut attempt = 0;
        let filled = loop {
            attempt += 1;
            let deadline = Instant::now() + DEADLINE;
            match self.span(gap.journeys.clone(), grid, options, deadline).await {
                Ok(span) => break Ok(span),
                Err(fault) if attempt >= ATTEMPTS => break Err(fault),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let older: Vec<JourneySamples> = match filled {
            Ok(span) => {
                add(&self.counting.backfilled_points, count);
                span.journeys.into_iter().filter_map(|mut blocks| blocks.pop()).collect()
            }
            Err(fault) => {
                add(&self.counting.unfilled_points, count);
                let fault = Arc::new(SelectError::Upstream { fault: fault.to_string(), age: None });
                let state = PointState::Unanswered(fault);
                let empty = |_| {
                    let mut empty = JourneySamples::default();
                    for time in grid.iter() {
                        empty.append(&Point { time, state: state.clone(), samples: Vec::new() });
                    }
                    empty
                };
                gap.journeys.iter().map(empty).collect()
            }
        };
        for (known, older) in gap.journeys.iter().zip(older) {
            // A reload while this was under way: these are not the journey's points any more.
            let current = self.model().journey(&known.journey.name).is_some_and(|now| now.info == known.info);
            if current {
                let kept = self.kept(&known.journey.name);
                let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
                // Dropped meanwhile, where the clock was set back: then these are of a time that has not come.
                if kept.points().first_key_value().is_some_and(|(first, _)| *first == gap.until) {
                    kept.prepend(&older, gap.until);
                }
            }
        }
    }
}
