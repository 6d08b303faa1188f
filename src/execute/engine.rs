//! The running model: evaluation loop, retained samples, reload.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::counters::Counters;
use super::model::Model;
use super::selection::{SelectError, Selected};
use super::settings::EvaluationSettings;
use crate::journey::Journey;
use crate::journey::evidence::Reason;
use crate::series::{Labels, Matcher};
use crate::synthetic::evaluation::{Evaluation, Flaw};
use crate::synthetic::render;
use crate::unit::Timestamp;
use crate::upstream::Upstream;

/// The running model.
pub struct Engine {
    upstream: Arc<dyn Upstream>,
    settings: EvaluationSettings,
    model: ArcSwap<Model>,
    latest: ArcSwap<Vec<Arc<Evaluation>>>,
    counters: Mutex<Counters>,
}

impl Engine {
    /// An engine that has evaluated nothing yet.
    #[must_use]
    pub fn new(
        upstream: Arc<dyn Upstream>,
        journeys: Vec<Journey>,
        settings: EvaluationSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            upstream,
            settings,
            model: ArcSwap::from_pointee(Model::new(journeys)),
            latest: ArcSwap::default(),
            counters: Mutex::default(),
        })
    }

    /// Evaluates at every grid point until `shutdown` is done, and back-fills in the background.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        shutdown.await;
    }

    /// One pass at the last grid point that is not after `at`.
    pub async fn evaluate_now(&self, at: Timestamp) {
        let time = at.floor_to(self.settings.interval);
        let model = self.model();
        let evaluations = model.journeys.iter().map(|known| {
            Arc::new(Evaluation {
                journey: Arc::clone(&known.journey),
                model: known.info.clone(),
                time,
                windows: Vec::new(),
                evidence_age: None,
                flaws: vec![Flaw { reason: Reason::Upstream, component: None }],
            })
        });
        self.latest.store(Arc::new(evaluations.collect()));
    }

    /// The newest evaluation of each journey, in the order of the model.
    #[must_use]
    pub fn latest(&self) -> Vec<Arc<Evaluation>> {
        self.latest.load().as_ref().clone()
    }

    /// What is evaluated.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        self.model.load_full()
    }

    /// Reload: past samples stay, the future follows the new model.
    pub fn replace(&self, journeys: Vec<Journey>) {
        let next = self.model.load().replaced(journeys);
        self.model.store(Arc::new(next));
    }

    /// Reload failed: the last good model goes on, and says so.
    pub fn note_invalid_model(&self, since: Timestamp) {
        let mut next = Model::clone(&self.model.load());
        next.invalid_since = Some(since);
        self.model.store(Arc::new(next));
    }

    /// Samples in `[from, to]` of the synthetic series that match all of `matchers`; what is not retained is fetched.
    ///
    /// # Errors
    /// Where no point of the range can be answered; a range that is answerable in part yields that part, a warning and
    /// [`Selected::unanswered`].
    pub async fn select(
        &self,
        _matchers: &[Matcher],
        from: Timestamp,
        _to: Timestamp,
        _deadline: Instant,
    ) -> Result<Selected, SelectError> {
        Err(SelectError::Deadline { time: from })
    }

    /// The labels of every series that the model yields, external labels included.
    #[must_use]
    pub fn known_series(&self) -> Vec<Labels> {
        self.latest.load().iter().flat_map(|e| render::samples(e)).map(|(labels, _)| labels).collect()
    }

    /// What the engine counts about itself.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upstream.
    #[must_use]
    pub fn upstream(&self) -> &Arc<dyn Upstream> {
        &self.upstream
    }

    /// How it evaluates.
    #[must_use]
    pub const fn settings(&self) -> &EvaluationSettings {
        &self.settings
    }
}
