//! The simulated shop: users arrive, their requests walk the journeys, the shop counts.
//!
//! Time is simulated and only moves when it is told to. Requests do not queue behind each other, so each is walked on
//! its own and the shop's whole state is its counters. The same seed gives the same shop, call for call.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Poisson, PoissonError};

use super::counters::Counters;
use super::health::Health;
use super::incident::Schedule;
use super::journeys::ShopJourney;
use super::latency_law::LawError;
use super::request::Request;
use super::services::SHOP;
use super::truth::{Truth, TruthError};
use crate::unit::{Timestamp, Window};

/// Incidents begin and end at whole steps; within one the shop is stationary.
const STEP_MILLIS: i64 = 1000;

/// Why there is no shop.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// The catalog declares a law that is none.
    #[error(transparent)]
    Law(#[from] LawError),
    /// A journey's rate is none.
    #[error("the rate of journey `{journey}` is no number of requests a second: {source}")]
    Rate {
        /// Which.
        journey: String,
        /// What is wrong with it.
        source: PoissonError,
    },
    /// The truth.
    #[error(transparent)]
    Truth(#[from] TruthError),
}

/// The shop.
#[derive(Debug)]
pub struct Shop {
    journeys: Vec<ShopJourney>,
    /// Arrivals in one step, for each journey.
    arrivals: Vec<Poisson<f64>>,
    good_health: Health,
    schedule: Option<Schedule>,
    counters: Counters,
    truth: Truth,
    rng: Xoshiro256PlusPlus,
    now: Timestamp,
}

impl Shop {
    /// A shop that opens at `now`, rounded down to a second, and remembers what its users saw for `kept`, in slots of
    /// `slot`. Without a schedule nothing ever goes wrong.
    ///
    /// # Errors
    /// [`ShopError`] where the catalog is not one.
    pub fn new(
        journeys: Vec<ShopJourney>,
        schedule: Option<Schedule>,
        seed: u64,
        now: Timestamp,
        slot: Window,
        kept: Window,
    ) -> Result<Self, ShopError> {
        #[expect(clippy::cast_precision_loss, reason = "a step is short")]
        let step_seconds = STEP_MILLIS as f64 / 1000.0;
        let arrivals = journeys
            .iter()
            .map(|one| {
                Poisson::new(one.rate * step_seconds)
                    .map_err(|source| ShopError::Rate { journey: one.journey.name.clone(), source })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            counters: Counters::new(SHOP, journeys.iter().map(|one| one.journey.name.clone()).collect()),
            truth: Truth::new(journeys.len(), slot, kept),
            arrivals,
            journeys,
            good_health: Health::good(SHOP)?,
            schedule,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Timestamp::from_millis(now.millis() - now.millis().rem_euclid(STEP_MILLIS)),
        })
    }

    /// How far the shop has come.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Its journeys.
    #[must_use]
    pub fn journeys(&self) -> &[ShopJourney] {
        &self.journeys
    }

    /// What it has counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What its users saw.
    #[must_use]
    pub const fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Lets the shop run up to the last whole second that is not after `until`.
    ///
    /// # Errors
    /// [`ShopError::Truth`].
    pub fn advance(&mut self, until: Timestamp) -> Result<(), ShopError> {
        while self.now.millis().saturating_add(STEP_MILLIS) <= until.millis() {
            self.step()?;
            self.now = self.now.plus_millis(STEP_MILLIS);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), ShopError> {
        let incident = self.schedule.and_then(|schedule| schedule.at(self.now));
        let bent = incident.map(|(incident, _)| self.good_health.during(incident));
        let health = bent.as_ref().unwrap_or(&self.good_health);
        for (index, one) in self.journeys.iter().enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a Poisson draw is a count, and small at these rates"
            )]
            let requests = self.arrivals[index].sample(&mut self.rng) as u64;
            for _ in 0..requests {
                let mut request = Request::new(health, &one.wiring, &mut self.counters, &mut self.rng);
                let outcome = request.walk(&one.journey.operator, 0.0, f64::INFINITY);
                self.counters.record_journey(index, outcome.success, outcome.at);
                self.truth.record(self.now, index, outcome.success, outcome.at)?;
            }
        }
        Ok(())
    }
}
