//! The running demo: simulation, engine and truth side by side, and what there is to show of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::incident::Schedule;
use super::journeys::{self, ShopJourneyError};
use super::simulation::{Simulation, SimulationError};
use super::truth::{Observed, TruthError};
use crate::algebra::composition::Bounded;
use crate::algebra::verdict::{self, Judgement};
use crate::api::page::observed::{self, Observer};
use crate::execute::{Engine, EvaluationSettings};
use crate::synthetic::evaluation::Evaluation;
use crate::unit::{Probability, Quantile, Seconds, Timestamp, Window};
use crate::upstream::embedded::EmbeddedUpstream;

/// How long the shop runs before anyone looks, in milliseconds of simulated time: a bit more than the longest window.
pub const PRE_RUN_MILLIS: i64 = 65 * 60_000;

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The shop's journeys.
    #[error(transparent)]
    Journeys(#[from] ShopJourneyError),
    /// The simulation.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The truth.
    #[error(transparent)]
    Truth(#[from] TruthError),
    /// The simulation's thread ended early.
    #[error("the simulation stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// The running demo.
pub struct Demo {
    simulation: Arc<Mutex<Simulation>>,
    engine: Arc<Engine>,
    upstream: EmbeddedUpstream,
    schedule: Option<Schedule>,
    evaluated: Timestamp,
}

/// One quantity predicted, seen and promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison<T> {
    /// Predicted; `None` where nothing was.
    pub predicted: Option<Bounded<T>>,
    /// Seen by users; `None` where there were none.
    pub observed: Option<T>,
    /// Promised, if anything is.
    pub objective: Option<T>,
}

/// One journey at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct JourneyView {
    /// Its name.
    pub journey: String,
    /// The window that all figures are of.
    pub window: Window,
    /// How many requests users made within it.
    pub requests: u64,
    /// P(success).
    pub availability: Comparison<Probability>,
    /// The level of [`JourneyView::latency`]: the objective's, or the highest; `None` where the journey has none.
    pub quantile: Option<Quantile>,
    /// The latency quantile of the successes.
    pub latency: Comparison<Seconds>,
    /// What automation would do; `None` without evidence.
    pub judgement: Option<Judgement>,
}

/// Everything that there is to show at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The evaluation's grid point.
    pub time: Timestamp,
    /// The incident under way then, and for how much longer.
    pub incident: Option<(&'static str, Window)>,
    /// In the order of the specs.
    pub journeys: Vec<JourneyView>,
}

impl Demo {
    /// Opens a shop at `opening`. Incidents begin with `schedule`; without one nothing ever goes wrong.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn new(schedule: Option<Schedule>, seed: u64, opening: Timestamp) -> Result<Self, DemoError> {
        let simulation = Simulation::new(journeys::load()?, schedule, seed, opening)?;
        let upstream = simulation.upstream();
        let models = simulation.shop().journeys().iter().map(|one| one.journey.as_ref().clone()).collect();
        let settings = EvaluationSettings::with_clock(simulation.clock());
        let engine = Engine::new(Arc::new(upstream.clone()), models, settings);
        let evaluated = simulation.now();
        let simulation = Arc::new(Mutex::new(simulation));
        Ok(Self { simulation, engine, upstream, schedule, evaluated })
    }

    /// The engine, for whoever serves its series.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The embedded Prometheus.
    #[must_use]
    pub const fn upstream(&self) -> &EmbeddedUpstream {
        &self.upstream
    }

    /// The truth, for the pages.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(ShopObserver { simulation: Arc::clone(&self.simulation), engine: Arc::clone(&self.engine) })
    }

    /// What users saw of a journey over the window that ends with its newest evaluation; `None` where there is no such
    /// journey.
    ///
    /// # Errors
    /// [`TruthError`].
    pub fn observed(&self, journey: &str, window: Window) -> Result<Option<Observed>, TruthError> {
        observed(&self.simulation, &self.engine, journey, window)
    }

    /// How far the simulation has come.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        lock(&self.simulation).now()
    }

    /// Lets the shop run up to `until` without evaluating anything on the way.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn run_unwatched(&mut self, until: Timestamp) -> Result<(), DemoError> {
        let simulation = Arc::clone(&self.simulation);
        tokio::task::spawn_blocking(move || lock(&simulation).advance(until)).await??;
        Ok(())
    }

    /// Lets the shop run up to `until` and evaluates the journeys at every grid point whose time has come on the way;
    /// yields one view of each.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn run(&mut self, until: Timestamp) -> Result<Vec<View>, DemoError> {
        let settings = self.engine.settings();
        let interval = i64::try_from(settings.interval.millis()).unwrap_or(i64::MAX);
        let delay = i64::try_from(settings.delay.as_millis()).unwrap_or(i64::MAX);
        let mut views = Vec::new();
        // What passed unwatched is not evaluated after the fact.
        let newest = self.now().plus_millis(delay.saturating_neg()).floor_to(settings.interval);
        self.evaluated = self.evaluated.max(newest.plus_millis(interval.saturating_neg()));
        loop {
            let next = self.evaluated.plus_millis(interval);
            if next.plus_millis(delay) > until {
                break;
            }
            self.run_unwatched(next.plus_millis(delay)).await?;
            self.engine.evaluate_budgets().await;
            self.engine.evaluate_now(next).await;
            self.evaluated = next;
            views.push(self.view()?);
        }
        self.run_unwatched(until).await?;
        Ok(views)
    }

    /// What there is to show of the newest evaluation.
    fn view(&self) -> Result<View, DemoError> {
        let mut journeys = Vec::new();
        for evaluation in self.engine.latest() {
            let window = evaluation.journey.windows.first().copied();
            let window = window.unwrap_or(self.engine.settings().interval);
            if let Some(observed) = self.observed(&evaluation.journey.name, window)? {
                journeys.push(journey_view(&evaluation, window, &observed));
            }
        }
        let incident = self.schedule.and_then(|schedule| schedule.at(self.evaluated));
        let incident = incident.map(|(incident, left)| (incident.name, left));
        Ok(View { time: self.evaluated, incident, journeys })
    }
}

/// The shop as the pages ask it.
struct ShopObserver {
    simulation: Arc<Mutex<Simulation>>,
    engine: Arc<Engine>,
}

impl Observer for ShopObserver {
    fn observed(&self, journey: &str, window: Window) -> Option<observed::Observed> {
        let seen = observed(&self.simulation, &self.engine, journey, window).ok()??;
        let model = self.engine.model();
        let levels = &model.journey(journey)?.journey.quantiles;
        #[expect(clippy::cast_precision_loss, reason = "2^53 requests are 57,000 years of this shop")]
        let attempts = seen.total as f64;
        Some(observed::Observed {
            availability: seen.availability()?,
            latency: levels.iter().filter_map(|&level| Some((level, seen.latency_at(level)?))).collect(),
            attempts,
        })
    }
}

fn observed(
    simulation: &Mutex<Simulation>,
    engine: &Engine,
    journey: &str,
    window: Window,
) -> Result<Option<Observed>, TruthError> {
    let latest = engine.latest();
    let Some(evaluation) = latest.iter().find(|evaluation| evaluation.journey.name == journey) else {
        return Ok(None);
    };
    let simulation = lock(simulation);
    let Some(index) = simulation.shop().journeys().iter().position(|one| one.journey.name == journey) else {
        return Ok(None);
    };
    simulation.shop().truth().observed(index, evaluation.time, window).map(Some)
}

fn lock(simulation: &Mutex<Simulation>) -> MutexGuard<'_, Simulation> {
    simulation.lock().unwrap_or_else(PoisonError::into_inner)
}

fn journey_view(evaluation: &Evaluation, window: Window, observed: &Observed) -> JourneyView {
    let journey = &evaluation.journey;
    let objectives = &journey.objectives;
    let quantile =
        objectives.latency.as_ref().map(|one| one.quantile).or_else(|| journey.quantiles.last().copied());
    let answered = evaluation.windows.iter().find(|answered| answered.window == window);
    let composition = answered.map(|answered| &answered.composition);
    JourneyView {
        journey: journey.name.clone(),
        window,
        requests: observed.total,
        availability: Comparison {
            predicted: composition.map(|composition| composition.availability),
            observed: observed.availability(),
            objective: objectives.availability.as_ref().map(|objective| objective.target),
        },
        quantile,
        latency: Comparison {
            predicted: composition
                .zip(quantile)
                .and_then(|(composition, quantile)| composition.latency_at(quantile))
                .map(|latency| latency.value),
            observed: quantile.and_then(|quantile| observed.latency_at(quantile)),
            objective: objectives.latency.as_ref().map(|objective| objective.threshold),
        },
        judgement: answered
            .map(|answered| verdict::judge(journey, &answered.evidence, &answered.composition)),
    }
}
