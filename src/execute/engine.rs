//! The running model: what is evaluated, what is kept, how it is reloaded.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};

use super::budget::Budgets;
use super::counters::{Counters, Counting};
use super::evaluate;
use super::fetch::Fetched;
use super::history::History;
use super::model::{Model, ModelledJourney};
use super::pass::PassState;
use super::samples::JourneySamples;
use super::selection::{SelectError, Selected};
use super::settings::EvaluationSettings;
use crate::algebra::compose::Composer;
use crate::journey::Journey;
use crate::plan::EvidencePlan;
use crate::plan::read::ReadSettings;
use crate::series::{Labels, Matcher};
use crate::synthetic::evaluation::Evaluation;
use crate::synthetic::render;
use crate::unit::Timestamp;
use crate::upstream::{Upstream, UpstreamError};

/// The longest sleep of the loop: a clock that is set is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The most threads that compose at once.
const MAX_COMPOSERS: usize = 4;

/// The samples of one journey, shared by the loop that appends and the queries that read.
pub(super) type Kept = Arc<RwLock<JourneySamples>>;

/// A model with everything that follows from it.
pub(super) struct Running {
    pub(super) model: Arc<Model>,
    pub(super) plan: Arc<EvidencePlan>,
    /// One for each journey: an evaluation without evidence, for its labels.
    shadows: Vec<Arc<Evaluation>>,
}

/// The running model.
pub struct Engine {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) settings: EvaluationSettings,
    pub(super) running: ArcSwap<Running>,
    pub(super) latest: ArcSwap<Vec<Arc<Evaluation>>>,
    pub(super) samples: RwLock<HashMap<String, Kept>>,
    pub(super) pass: tokio::sync::Mutex<PassState>,
    /// One for each composing thread, so that what it keeps serves the same journeys again.
    pub(super) composers: Vec<Arc<Mutex<Composer>>>,
    /// For everything that is composed beside the loop.
    pub(super) side_work: Arc<Semaphore>,
    pub(super) counting: Counting,
    pub(super) history: History,
    /// For queries whose answers are complete.
    pub(super) evaluations: Arc<Semaphore>,
    pub(super) budgets: Budgets,
    /// For remote reads beyond what is kept.
    pub(super) old_reads: Arc<Semaphore>,
    /// How many series the newest round of evidence held.
    pub(super) evidence_series: AtomicUsize,
    /// Rung after each pass and each reload.
    pub(super) changed: Notify,
    reload: Mutex<()>,
}

impl Engine {
    /// An engine that has evaluated nothing yet.
    #[must_use]
    pub fn new(
        upstream: Arc<dyn Upstream>,
        journeys: Vec<Journey>,
        settings: EvaluationSettings,
    ) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_COMPOSERS);
        let running = running(Model::new(journeys), None, &settings);
        Arc::new(Self {
            upstream,
            running: ArcSwap::from_pointee(running),
            latest: ArcSwap::default(),
            samples: RwLock::default(),
            pass: tokio::sync::Mutex::default(),
            composers: (0..threads).map(|_| Arc::default()).collect(),
            side_work: Arc::new(Semaphore::new(threads.div_ceil(2))),
            counting: Counting::default(),
            history: History::default(),
            evaluations: Arc::new(Semaphore::new(super::query::EVALUATIONS)),
            budgets: Budgets::default(),
            old_reads: Arc::new(Semaphore::new(super::remote_read::MAX_OLD_READS)),
            evidence_series: AtomicUsize::new(0),
            changed: Notify::new(),
            reload: Mutex::new(()),
            settings,
        })
    }

    /// Evaluates at every grid point that is [`EvaluationSettings::delay`] old, until `shutdown` is done, and
    /// back-fills and evaluates budgets in the background. A point that is missed because the pass before overran is skipped.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        let backfill = Arc::clone(&self).backfill();
        let budgets = Arc::clone(&self).keep_budgets();
        let evaluating = async {
            let mut last = None;
            loop {
                let due = self.last_due((self.settings.clock)());
                if last.is_none_or(|last| due > last || self.is_beyond_the_clock(last)) {
                    self.evaluate_now(due).await;
                    last = Some(due);
                } else {
                    let next = due.plus_millis(self.interval_millis() + self.delay_millis());
                    let wait = next.millis().saturating_sub((self.settings.clock)().millis());
                    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0).max(1));
                    tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = evaluating => {}
            () = backfill => {}
            () = budgets => {}
        }
    }

    /// One pass at the last grid point that is not after `at`; nothing where that point or a later one was evaluated
    /// already. Points between the last one and this are skipped. A point is offered once the clock is
    /// [`EvaluationSettings::delay`] past it.
    pub async fn evaluate_now(&self, at: Timestamp) {
        self.pass(at.floor_to(self.settings.interval)).await;
        self.changed.notify_one();
    }

    /// The newest evaluation of each journey, in the order of the model.
    #[must_use]
    pub fn latest(&self) -> Vec<Arc<Evaluation>> {
        self.latest.load().as_ref().clone()
    }

    /// What is evaluated.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        Arc::clone(&self.running.load().model)
    }

    /// Reload: past samples stay, the future follows the new model. Journeys are composed once before the swap.
    pub fn replace(&self, journeys: Vec<Journey>) {
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.running.load_full();
        let next = running(before.model.replaced(journeys), Some(&before), &self.settings);
        self.running.store(Arc::new(next));
        self.changed.notify_one();
    }

    /// Reload failed: the last good model goes on, and says so.
    pub fn note_invalid_model(&self, since: Timestamp) {
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.running.load_full();
        let mut model = Model::clone(&before.model);
        model.invalid_since = Some(model.invalid_since.unwrap_or(since));
        self.running.store(Arc::new(Running {
            model: Arc::new(model),
            plan: Arc::clone(&before.plan),
            shadows: before.shadows.clone(),
        }));
    }

    /// Samples in `[from, to]` of the synthetic series that match all of `matchers`; what is not retained is fetched.
    ///
    /// # Errors
    /// Where no point of the range can be answered; a range that is answerable in part yields that part, a warning and
    /// [`Selected::unanswered`].
    pub async fn select(
        self: &Arc<Self>,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
        deadline: Instant,
    ) -> Result<Selected, SelectError> {
        super::select::select(self, matchers, from, to, deadline).await
    }

    /// The labels of every series that the model yields, external labels included, sorted and unique: those that every
    /// evaluation has, and those of the newest one.
    #[must_use]
    pub fn known_series(&self) -> Vec<Labels> {
        let running = self.running.load();
        let latest = self.latest.load();
        let mut all: Vec<Labels> = running
            .shadows
            .iter()
            .chain(latest.iter())
            .flat_map(|evaluation| render::samples(evaluation))
            .map(|(labels, _)| self.with_external(labels))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The labels that every evaluation of a journey has, without external ones.
    pub(super) fn labels_of(&self, journey: &str) -> Vec<Labels> {
        let running = self.running.load();
        let shadow = running.shadows.iter().find(|shadow| shadow.journey.name == journey);
        shadow.map_or_else(Vec::new, |s| render::samples(s).into_iter().map(|(labels, _)| labels).collect())
    }

    /// What the engine counts about itself.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let kept: Vec<Kept> =
            self.samples.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let (mut series, mut bytes) = (0, 0);
        for kept in kept {
            let kept = kept.read().unwrap_or_else(PoisonError::into_inner);
            series += kept.series_count();
            bytes += kept.sample_bytes();
        }
        self.counting.snapshot(series, bytes)
    }

    /// The upstream.
    #[must_use]
    pub fn upstream(&self) -> &Arc<dyn Upstream> {
        &self.upstream
    }

    /// One round of evidence, asked of one server alone; of the next, where the first did not answer at all.
    pub(super) async fn round<R: Future<Output = Fetched>>(
        &self,
        deadline: Instant,
        ask: impl Fn(Arc<dyn Upstream>) -> R,
    ) -> Fetched {
        let pinned =
            |except: Option<&str>| self.upstream.pinned(except).unwrap_or_else(|| Arc::clone(&self.upstream));
        let first = pinned(None);
        let fetched = ask(Arc::clone(&first)).await;
        let silent = fetched.sent > 0
            && fetched.sent == fetched.failed
            && matches!(
                fetched.fault,
                Some(UpstreamError::Unreachable { .. } | UpstreamError::Timeout { .. })
            );
        let next = pinned(Some(first.name()));
        if !silent || next.name() == first.name() || Instant::now() >= deadline {
            return fetched;
        }
        let mut again = ask(next).await;
        again.sent += fetched.sent;
        again.failed += fetched.failed;
        again
    }

    /// How it evaluates.
    #[must_use]
    pub const fn settings(&self) -> &EvaluationSettings {
        &self.settings
    }

    /// The last grid point that is old enough to be evaluated at `now`.
    pub(super) fn last_due(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(-self.delay_millis()).floor_to(self.settings.interval)
    }

    pub(super) fn interval_millis(&self) -> i64 {
        i64::try_from(self.settings.interval.millis()).unwrap_or(i64::MAX)
    }

    fn delay_millis(&self) -> i64 {
        i64::try_from(self.settings.delay.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) const fn read_settings(&self) -> ReadSettings {
        ReadSettings { max_lookback: self.settings.max_lookback, delay: self.settings.delay }
    }

    /// The kept samples of a journey, made where there are none.
    pub(super) fn kept(&self, journey: &str) -> Kept {
        let mut all = self.samples.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(journey.to_owned()).or_default())
    }

    fn with_external(&self, labels: Labels) -> Labels {
        let mut all = self.settings.external_labels.clone();
        for (name, value) in labels.iter() {
            all.set(name, value);
        }
        all
    }
}

/// Everything that follows from a model; what did not change is taken over.
fn running(model: Model, before: Option<&Running>, settings: &EvaluationSettings) -> Running {
    let journeys: Vec<Arc<Journey>> = model.journeys.iter().map(|known| Arc::clone(&known.journey)).collect();
    let mut composer = Composer::new();
    let unchanged = |known: &ModelledJourney| {
        let shadows = before.into_iter().flat_map(|before| &before.shadows);
        shadows
            .into_iter()
            .find(|shadow| shadow.model == known.info && shadow.journey.name == known.journey.name)
            .cloned()
    };
    let shadow = |known: &ModelledJourney| {
        unchanged(known).unwrap_or_else(|| Arc::new(evaluate::shadow(known, &mut composer)))
    };
    Running {
        shadows: model.journeys.iter().map(shadow).collect(),
        plan: Arc::new(EvidencePlan::new(&journeys, settings.interval)),
        model: Arc::new(model),
    }
}
