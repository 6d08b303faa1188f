//! How fast simulated time follows the clock.

use std::time::{Duration, Instant};

use crate::unit::Timestamp;

/// The most real time that one step makes up for. A machine that slept or could not keep up loses time; it never has
/// to run after it.
const MOST_PER_STEP: Duration = Duration::from_secs(2);

/// Simulated time at a multiple of real time.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    speed: f64,
    last: Instant,
    /// What rounding to milliseconds has left over.
    rest: f64,
}

impl Pace {
    /// `speed` simulated seconds a second, from `now` on.
    #[must_use]
    pub const fn new(speed: f64, now: Instant) -> Self {
        Self { speed, last: now, rest: 0.0 }
    }

    /// How far simulated time may go at `now`, when it has come to `simulated`.
    pub fn next(&mut self, now: Instant, simulated: Timestamp) -> Timestamp {
        let passed = now.saturating_duration_since(self.last).min(MOST_PER_STEP);
        self.last = now;
        let millis = passed.as_secs_f64() * 1000.0 * self.speed + self.rest;
        self.rest = millis.fract();
        #[expect(clippy::cast_possible_truncation, reason = "two seconds times a speed")]
        simulated.plus_millis(millis as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_keeps_its_pace_without_losing_fractions_and_never_runs_after_a_sleep() {
        let start = Instant::now();
        let mut pace = Pace::new(2.5, start);
        let mut simulated = Timestamp::from_millis(0);
        for step in 1..=1000 {
            simulated = pace.next(start + Duration::from_micros(step * 1_100), simulated);
        }
        assert_eq!(simulated.millis(), 2_750);
        let after_sleep = pace.next(start + Duration::from_secs(3_600), simulated);
        assert_eq!(after_sleep.millis(), 2_750 + 5_000);
    }
}
