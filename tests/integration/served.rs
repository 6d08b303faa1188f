//! The proxy in this process, on a free port of loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use emac::api::{self, ApiSettings, ApiState, ConnectionLimits, Reload};
use emac::execute::{Dialect, Engine, EvaluationSettings};
use emac::journey::Journey;
use emac::series::{Matcher, Series};
use emac::spec::{self, SourceFile};
use emac::telemetry::Telemetry;
use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use tokio_util::sync::CancellationToken;

/// A server that ends with its value.
pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<AtomicI64>,
    state: ApiState,
    runtime: Option<tokio::runtime::Runtime>,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

/// What a test changes of the defaults.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) reload: Option<Reload>,
    pub(crate) adjust: Option<fn(&mut EvaluationSettings)>,
    pub(crate) pushdown: Option<bool>,
    pub(crate) connections: Option<ConnectionLimits>,
}

impl Served {
    /// As [`Self::start`], in front of an HTTP server that nothing guards, with the defaults.
    pub(crate) fn behind(url: &str, journeys: Vec<Journey>, now: Timestamp) -> Self {
        let settings = HttpSettings::new(url);
        Self::start(|| Arc::new(HttpUpstream::new(settings).unwrap()), journeys, now, Options::default())
    }

    /// Starts a server whose engine has evaluated nothing. The clock stands still at `now`. `upstream` is called within
    /// the server's runtime.
    pub(crate) fn start(
        upstream: impl FnOnce() -> Arc<dyn Upstream>,
        journeys: Vec<Journey>,
        now: Timestamp,
        options: Options,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_stack_size(8 << 20)
            .enable_all()
            .build()
            .unwrap();
        let clock = Arc::new(AtomicI64::new(now.millis()));
        let shown = Arc::clone(&clock);
        let mut settings = EvaluationSettings::with_clock(Arc::new(move || {
            Timestamp::from_millis(shown.load(Ordering::SeqCst))
        }));
        if let Some(adjust) = options.adjust {
            adjust(&mut settings);
        }
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let (url, engine, state, serving) = runtime.block_on(async {
            let engine = Engine::new(upstream(), journeys, settings);
            let state = ApiState::new(
                Arc::clone(&engine),
                ApiSettings {
                    pushdown: options.pushdown.unwrap_or(true),
                    connections: options.connections.unwrap_or_default(),
                    ..ApiSettings::with_defaults().unwrap()
                },
                Telemetry::new().unwrap(),
                options.reload,
            );
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let router = api::router(state.clone());
            let serving = tokio::spawn(api::serve(listener, router, state.clone(), stopped));
            (url, engine, state, serving)
        });
        Self { url, engine, clock, state, runtime: Some(runtime), stop, serving: Some(serving) }
    }

    /// What SIGTERM does.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server has ended.
    pub(crate) fn join(&mut self) {
        let serving = self.serving.take().unwrap();
        self.runtime.as_ref().unwrap().block_on(serving).unwrap().unwrap();
    }

    /// Sets the clock, and evaluates.
    pub(crate) fn evaluate_at(&self, now: Timestamp) {
        self.clock.store(now.millis(), Ordering::SeqCst);
        self.evaluate();
    }

    /// Finds out how the upstream evaluates.
    pub(crate) fn learn_dialect(&self) -> Dialect {
        self.runtime.as_ref().unwrap().block_on(self.state.learn_dialect()).unwrap()
    }

    /// The samples of synthetic series.
    pub(crate) fn select(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<Series> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let selecting = self.engine.select(matchers, from, to, deadline);
        self.runtime.as_ref().unwrap().block_on(selecting).unwrap().series
    }

    /// Evaluates the budgets that are due.
    pub(crate) fn evaluate_budgets(&self) {
        self.runtime.as_ref().unwrap().block_on(self.engine.evaluate_budgets());
    }

    /// Evaluates at the clock's time.
    pub(crate) fn evaluate(&self) {
        let now = Timestamp::from_millis(self.clock.load(Ordering::SeqCst));
        self.runtime.as_ref().unwrap().block_on(self.engine.evaluate_now(now));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// The journeys of a spec that must be valid.
pub(crate) fn journeys(text: &str) -> Vec<Journey> {
    let file = SourceFile { path: "journey.yaml".to_owned(), text: text.to_owned() };
    let loaded = spec::load(&[file]);
    assert!(!loaded.journeys.is_empty(), "{:?}", loaded.diagnostics);
    loaded.journeys
}
