//! The shop with a Prometheus beside it: simulated time moves on, the shop runs, its counters are scraped into the
//! embedded store.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::counters::FAMILIES;
use super::incident::Schedule;
use super::journeys::ShopJourney;
use super::shop::{Shop, ShopError};
use crate::series::Labels;
use crate::unit::{Timestamp, UnitError, Window};
use crate::upstream::embedded::{
    Clock, EmbeddedStore, EmbeddedUpstream, Metadata, StoreError, StoreLimits, TargetId,
};

/// How often the shop is scraped, in milliseconds of simulated time.
pub const SCRAPE_INTERVAL_MILLIS: u64 = 15_000;

/// How long the store keeps samples, in milliseconds of simulated time: the longest window and three hours of it.
const RETENTION_MILLIS: u64 = 4 * 3_600_000;

/// The most series of the store; the shop has some 5,000.
const MAX_SERIES: usize = 20_000;

/// Why a simulation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The shop.
    #[error(transparent)]
    Shop(#[from] ShopError),
    /// The store.
    #[error("the embedded store: {0}")]
    Store(#[from] StoreError),
    /// A constant that is no window.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// A simulated shop and its telemetry.
#[derive(Debug)]
pub struct Simulation {
    shop: Shop,
    store: Arc<EmbeddedStore>,
    target: TargetId,
    now: Arc<AtomicI64>,
    scraped: Timestamp,
}

impl Simulation {
    /// Opens the shop at the last scrape time that is not after `opening`. Without a schedule nothing ever goes wrong.
    ///
    /// # Errors
    /// [`SimulationError`].
    pub fn new(
        journeys: Vec<ShopJourney>,
        schedule: Option<Schedule>,
        seed: u64,
        opening: Timestamp,
    ) -> Result<Self, SimulationError> {
        let interval = Window::from_millis(SCRAPE_INTERVAL_MILLIS)?;
        let retention = Window::from_millis(RETENTION_MILLIS)?;
        let opening = opening.floor_to(interval);
        let longest = journeys.iter().filter_map(|one| one.journey.windows.last()).max();
        let shop =
            Shop::new(journeys.clone(), schedule, seed, opening, interval, *longest.unwrap_or(&retention))?;
        let samples_per_series = usize::try_from(RETENTION_MILLIS / SCRAPE_INTERVAL_MILLIS + 1);
        let store = Arc::new(EmbeddedStore::new(StoreLimits {
            retention,
            samples_per_series: samples_per_series.unwrap_or(usize::MAX),
            series: MAX_SERIES,
        }));
        for (family, kind, help) in FAMILIES {
            store.describe(family, Metadata { kind: kind.to_owned(), help: help.to_owned() });
        }
        store.describe(
            "up",
            Metadata { kind: "gauge".to_owned(), help: "Whether the scrape succeeded.".to_owned() },
        );
        // As a scrape adds them.
        let labelled = |labels: Labels| labels.with("job", "shop").with("instance", "shop");
        let series = [Labels::named("up")].into_iter().chain(shop.counters().series()).map(labelled);
        let target = store.add_target(series.collect())?;
        let now = Arc::new(AtomicI64::new(opening.millis()));
        let mut simulation = Self { shop, store, target, now, scraped: opening };
        simulation.scrape(opening)?;
        Ok(simulation)
    }

    /// How far the simulation has come.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Acquire))
    }

    /// The simulated clock, for everyone who needs the time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::Acquire)))
    }

    /// The shop's Prometheus.
    #[must_use]
    pub fn upstream(&self) -> EmbeddedUpstream {
        EmbeddedUpstream::new("the demo's embedded store", Arc::clone(&self.store), self.clock())
    }

    /// The shop.
    #[must_use]
    pub const fn shop(&self) -> &Shop {
        &self.shop
    }

    /// Moves simulated time to `until`, scraping whenever it is due. Never backwards.
    ///
    /// # Errors
    /// [`SimulationError`].
    pub fn advance(&mut self, until: Timestamp) -> Result<(), SimulationError> {
        let interval = i64::try_from(SCRAPE_INTERVAL_MILLIS).unwrap_or(i64::MAX);
        loop {
            let due = self.scraped.plus_millis(interval);
            if due > until {
                break;
            }
            self.shop.advance(due)?;
            self.scrape(due)?;
            self.scraped = due;
        }
        self.shop.advance(until)?;
        self.now.fetch_max(until.millis(), Ordering::AcqRel);
        Ok(())
    }

    fn scrape(&mut self, at: Timestamp) -> Result<(), SimulationError> {
        let mut values = vec![1.0];
        values.extend(self.shop.counters().values());
        self.store.append(self.target, at, &values)?;
        self.now.fetch_max(at.millis(), Ordering::AcqRel);
        Ok(())
    }
}
