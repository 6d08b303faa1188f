//! What the handlers share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use regex::Regex;

use super::classify::Known;
use super::connection::ConnectionLimits;
use super::page::JourneyState;
use super::page::observed::Observer;
use super::reader_labels::ReaderLabels;
use super::web_security::WebSecurity;
use crate::execute::{Dialect, Engine};
use crate::series::Labels;
use crate::synthetic::catalog;
use crate::telemetry::Telemetry;
use crate::unit::Timestamp;
use crate::upstream::{MemoryBudget, Upstream, UpstreamError};

/// Bounds of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// The longest text that is parsed, in bytes.
    pub query_bytes: usize,
    /// The most points of a series; one more is legal, as in Prometheus.
    pub points: usize,
    /// The most samples that one query may read.
    pub samples: usize,
    /// The most series of an answer.
    pub series: usize,
    /// The greatest answer of the upstream that is merged with ours, in bytes.
    pub body_bytes: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            query_bytes: crate::promql::guard::MAX_QUERY_BYTES,
            points: 11_000,
            samples: 2_000_000,
            series: 10_000,
            body_bytes: 64 << 20,
        }
    }
}

/// How requests are answered.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Bounds of one query.
    pub limits: QueryLimits,
    /// How long a query of synthetic series may take, unless it asks for less.
    pub timeout: Duration,
    /// Which origins of browsers may read answers.
    pub cors_origin: Regex,
    /// Whether the upstream evaluates the parts of a query that concern its series alone. Otherwise all of every query
    /// but its selectors is evaluated here, also of those that concern no synthetic series: for diagnosis.
    pub pushdown: bool,
    /// The labels that remote readers add to their selectors; `None`: the upstream's own external labels, and those
    /// with which replicas commonly tell themselves apart.
    pub reader_labels: Option<BTreeSet<String>>,
    /// What protects the way in; replaced by a reload.
    pub web: Arc<ArcSwap<WebSecurity>>,
    /// Bounds of connections.
    pub connections: ConnectionLimits,
    /// What bodies that are read whole, and answers on their way, may take in all.
    pub memory: MemoryBudget,
}

impl ApiSettings {
    /// The documented defaults: ten seconds, any origin.
    ///
    /// # Errors
    /// Never; the pattern is legal.
    pub fn with_defaults() -> Result<Self, regex::Error> {
        Ok(Self {
            limits: QueryLimits::default(),
            timeout: Duration::from_secs(10),
            cors_origin: Regex::new("^(?:.*)$")?,
            pushdown: true,
            reader_labels: None,
            web: Arc::default(),
            connections: ConnectionLimits::default(),
            memory: MemoryBudget::default(),
        })
    }
}

impl Known for ApiState {
    fn has_label(&self, name: &str) -> bool {
        catalog::LABELS.contains(&name) || !self.inner.engine.settings().external_labels.get(name).is_empty()
    }

    fn series(&self) -> Arc<Vec<Labels>> {
        self.known_series()
    }
}

/// Reads, checks and swaps the model; blocking. `Err` holds the diagnostics, and the last good model stays.
pub type Reload = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    inner: Arc<Inner>,
    journeys: JourneyState,
}

struct Inner {
    engine: Arc<Engine>,
    upstream: Arc<dyn Upstream>,
    settings: ApiSettings,
    telemetry: Telemetry,
    reload: Option<Reload>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    draining: AtomicBool,
    known: Mutex<KnownSeries>,
    dialect: Mutex<Dialect>,
    reader_labels: ReaderLabels,
}

/// The labels of all synthetic series, and which evaluations they are of.
#[derive(Default)]
struct KnownSeries {
    revision: u64,
    evaluated: Option<Timestamp>,
    series: Arc<Vec<Labels>>,
}

impl ApiState {
    /// The state of a server in front of the engine's upstream. Without `reload` there is nothing to reload from.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        settings: ApiSettings,
        telemetry: Telemetry,
        reload: Option<Reload>,
    ) -> Self {
        let upstream = Arc::clone(engine.upstream());
        Self {
            journeys: JourneyState::new(Arc::clone(&engine), None),
            inner: Arc::new(Inner {
                engine,
                upstream,
                reader_labels: ReaderLabels::new(settings.reader_labels.clone()),
                settings,
                telemetry,
                reload,
                reloading: tokio::sync::Mutex::default(),
                draining: AtomicBool::new(false),
                known: Mutex::default(),
                dialect: Mutex::default(),
            }),
        }
    }

    /// The same, with the truth of `observer` beside the numbers on the pages.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.journeys.observer = Some(observer);
        self
    }

    /// What pages and the journeys API are answered from.
    pub(crate) fn journeys(&self) -> &JourneyState {
        &self.journeys
    }

    /// The running model.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// The Prometheus behind.
    #[must_use]
    pub fn upstream(&self) -> &dyn Upstream {
        &*self.inner.upstream
    }

    /// How requests are answered.
    #[must_use]
    pub fn settings(&self) -> &ApiSettings {
        &self.inner.settings
    }

    /// Own metrics.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.inner.telemetry
    }

    /// How the upstream evaluates, as far as it is known: as a Prometheus 3.x before [`ApiState::learn_dialect`].
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        *self.inner.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out how the upstream evaluates, and follows it from here on.
    ///
    /// # Errors
    /// Where it does not answer; what was known stays.
    pub async fn learn_dialect(&self) -> Result<Dialect, UpstreamError> {
        let learnt = Dialect::learn(self.upstream()).await?;
        *self.inner.dialect.lock().unwrap_or_else(PoisonError::into_inner) = learnt;
        Ok(learnt)
    }

    /// The labels that remote readers add to their selectors.
    pub(crate) fn reader_labels(&self) -> &ReaderLabels {
        &self.inner.reader_labels
    }

    /// What protects the way in.
    pub(crate) fn web_security(&self) -> Arc<WebSecurity> {
        self.inner.settings.web.load_full()
    }

    /// The bytes that may be in flight.
    pub(crate) fn memory(&self) -> &MemoryBudget {
        &self.inner.settings.memory
    }

    /// The time, by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.inner.engine.settings().clock)()
    }

    /// The labels of all synthetic series, sorted and unique. Rendered at most once for each pass of the evaluation:
    /// for a large model that takes much longer than a query may.
    #[must_use]
    pub fn known_series(&self) -> Arc<Vec<Labels>> {
        let engine = &self.inner.engine;
        let revision = engine.model().revision;
        let evaluated = engine.latest().iter().map(|evaluation| evaluation.time).max();
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revision != revision || known.evaluated != evaluated {
            let series = Arc::new(engine.known_series());
            *known = KnownSeries { revision, evaluated, series };
        }
        Arc::clone(&known.series)
    }

    /// From here on the server is not ready, and finishes what it has begun.
    pub fn start_draining(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server finishes what it has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Reloads the model, one reload after the other. `None` where there is nothing to reload from. On failure the
    /// engine is told that an older model answers.
    pub async fn reload(&self) -> Option<Result<(), String>> {
        let reload = Arc::clone(self.inner.reload.as_ref()?);
        let _one_at_a_time = self.inner.reloading.lock().await;
        let outcome = tokio::task::spawn_blocking(move || reload())
            .await
            .unwrap_or_else(|_| Err("the reload ended in a panic".to_owned()));
        if outcome.is_err() {
            self.inner.engine.note_invalid_model(self.now());
        }
        self.inner.telemetry.reloaded(outcome.is_ok(), self.now());
        Some(outcome)
    }
}
