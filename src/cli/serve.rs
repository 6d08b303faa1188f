//! `emac serve`: the proxy.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Outcome, spec_files};
use crate::api::{self, ApiSettings, ApiState, ConnectionLimits, QueryLimits, Reload, WebSecurity};
use crate::config::{Config, Credentials, LogFormat, WebFile};
use crate::execute::{Engine, EvaluationSettings, SelfCheck};
use crate::journey::Journey;
use crate::spec::Severity;
use crate::telemetry::Telemetry;
use crate::unit::Timestamp;
use crate::upstream::http::{self, HttpSettings, HttpUpstream, TlsSettings};
use crate::upstream::{GuardSettings, GuardedUpstream, MemoryBudget, Upstream};

/// How often recorded durations are moved into their buckets when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The stack of a worker, in bytes: a nested query is parsed and planned by recursion, below every layer of the server.
pub(super) const STACK: usize = 8 << 20;

/// The most threads that compose, decode and evaluate: each keeps some memory of what it did for a while.
const BLOCKING_THREADS: usize = 16;

/// How often the upstream is asked how it evaluates, before it has said so.
const DIALECT_RETRY: Duration = Duration::from_secs(5);
/// How often after that: it may be upgraded.
const DIALECT_REFRESH: Duration = Duration::from_secs(300);

/// Arguments of `emac serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The Prometheus behind, such as http://prometheus:9090; overrides the file. Repeated: replicas of it in order of
    /// preference
    #[arg(long = "upstream.url", value_name = "URL")]
    pub upstream_url: Vec<String>,
    /// Whether the upstream is spared where it is busy; `false` sends it everything, for comparison
    #[arg(long = "upstream.limiter", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub upstream_limiter: bool,
    /// A file or directory of journey specs; may be repeated
    #[arg(long = "spec", value_name = "PATH")]
    pub specs: Vec<PathBuf>,
    /// A file or directory of OpenSLO documents that atomicSLORef names; may be repeated
    #[arg(long = "openslo", value_name = "PATH")]
    pub openslo: Vec<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9099")]
    pub listen: SocketAddr,
    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whether the upstream evaluates what concerns its series alone; `false` evaluates every query here, for diagnosis
    #[arg(long = "query.pushdown", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub query_pushdown: bool,
    /// A file that protects the way in: TLS, users, tokens, in the format of Prometheus' exporter-toolkit; overrides the
    /// configuration file
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<String>,
    /// Print the configuration that results from file and flags, with secrets redacted, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Where configuration, specs or address cannot be used.
pub fn run(args: &ServeArgs) -> anyhow::Result<Outcome> {
    let mut config = configuration(args.config.as_deref(), &args.upstream_url)?;
    if args.web_config_file.is_some() {
        config.web.config_file.clone_from(&args.web_config_file);
    }
    if args.print_config {
        std::io::stdout().lock().write_all(config.to_yaml()?.as_bytes())?;
        return Ok(Outcome::Done);
    }
    anyhow::ensure!(
        !config.upstream.urls.is_empty(),
        "the upstream is missing: give --upstream.url URL, or upstream.url in the file"
    );
    anyhow::ensure!(!args.specs.is_empty(), "the journeys are missing: give --spec PATH");
    start_log(&config);
    let journeys = match load(&args.specs, &args.openslo)? {
        Ok(journeys) => journeys,
        Err(diagnostics) => {
            writeln!(std::io::stderr(), "{diagnostics}")?;
            return Ok(Outcome::Faults);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(serve(args, &config, journeys))?;
    Ok(Outcome::Done)
}

/// The file, overridden by flags.
pub(super) fn configuration(file: Option<&Path>, upstream_urls: &[String]) -> anyhow::Result<Config> {
    let text = match file {
        Some(path) => fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => String::new(),
    };
    let named = || file.map_or_else(String::new, |path| path.display().to_string());
    let mut config = Config::from_yaml(&text).with_context(named)?;
    if !upstream_urls.is_empty() {
        config.upstream.urls = upstream_urls.to_vec();
    }
    Ok(config)
}

fn start_log(config: &Config) {
    let level = tracing_subscriber::EnvFilter::new(format!("emac={}", config.log.level.as_str()));
    let log = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Fails only where a log is set already: then that one is used.
    let _ = match config.log.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// All journeys of the specs; `Err` holds the diagnostics where any is an error.
fn load(specs: &[PathBuf], openslo: &[PathBuf]) -> anyhow::Result<Result<Vec<Journey>, String>> {
    let loaded = spec_files::load(specs, openslo)?;
    let diagnostics = &loaded.diagnostics;
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        return Ok(Err(lines.join("\n")));
    }
    for diagnostic in diagnostics {
        tracing::warn!("{diagnostic}");
    }
    if loaded.journeys.is_empty() {
        return Ok(Err("the specs hold no journey".to_owned()));
    }
    Ok(Ok(loaded.journeys))
}

async fn serve(args: &ServeArgs, config: &Config, journeys: Vec<Journey>) -> anyhow::Result<()> {
    let mut reload_signal = signal(SignalKind::hangup())?;
    let stop_signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let web = Arc::new(ArcSwap::from_pointee(web_security(config)?));
    let memory = MemoryBudget::new(config.limits.in_flight.0);
    let upstream = Arc::new(upstream(args, config, &memory)?);
    let engine = Engine::new(upstream, journeys, evaluation_settings(config));
    let telemetry = Telemetry::new()?;
    telemetry.reloaded(true, now());
    let settings = ApiSettings {
        limits: QueryLimits {
            query_bytes: config.limits.query_bytes.0,
            points: config.limits.points,
            samples: config.limits.samples,
            series: config.limits.series,
            body_bytes: config.limits.body.0,
        },
        timeout: config.upstream.timeout,
        cors_origin: config.web.cors_origin.clone(),
        pushdown: args.query_pushdown,
        reader_labels: config.remote_read.reader_labels.clone(),
        connections: ConnectionLimits::default(),
        memory,
        web: Arc::clone(&web),
    };
    let reload = reload(args.specs.clone(), args.openslo.clone(), Arc::clone(&engine), config.clone(), web);
    let state = ApiState::new(Arc::clone(&engine), settings, telemetry, Some(reload));
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    if !args.listen.ip().is_loopback() && config.web.config_file.is_none() {
        tracing::warn!(listen = %args.listen, "everybody who reaches this address is answered: see --web.config.file");
    }
    tracing::info!(
        address = %listener.local_addr()?,
        upstream = state.upstream().name(),
        journeys = engine.model().journeys.len(),
        "listening"
    );

    let stop = CancellationToken::new();
    let evaluation = tokio::spawn(Arc::clone(&engine).run(stop.clone().cancelled_owned()));
    let housekeeping = tokio::spawn({
        let (state, stop) = (state.clone(), stop.clone());
        async move {
            let mut upkeep = tokio::time::interval(UPKEEP);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = reload_signal.recv() => reload_and_log(&state).await,
                    _ = upkeep.tick() => state.telemetry().run_upkeep(),
                }
            }
        }
    });
    let checking = tokio::spawn(self_check(state.clone(), stop.clone()));
    let dialect = tokio::spawn(follow_dialect(state.clone(), stop.clone()));
    // Evaluation goes on until the last answer is given: requests that were begun may need it.
    let told = async move {
        first_of(stop_signals).await;
        tracing::info!("stopping");
    };
    let served = api::serve(listener, api::router(state.clone()), state, told).await;
    stop.cancel();
    for task in [evaluation, housekeeping, checking, dialect] {
        task.await.context("a background task ended in a panic")?;
    }
    served.context("the listener failed")
}

async fn first_of([mut terminate, mut interrupt]: [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Asks the upstream how it evaluates, soon again where it does not answer.
async fn follow_dialect(state: ApiState, stop: CancellationToken) {
    loop {
        let known = state.dialect();
        let wait = match state.learn_dialect().await {
            Ok(dialect) => {
                if dialect != known {
                    tracing::info!(?dialect, "the upstream evaluates otherwise than assumed: following it");
                }
                DIALECT_REFRESH
            }
            Err(fault) => {
                tracing::debug!(%fault, "how the upstream evaluates is not known yet");
                DIALECT_RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Composes the journey whose answer is known, every interval.
async fn self_check(state: ApiState, stop: CancellationToken) {
    let check = match SelfCheck::new() {
        Ok(check) => Arc::new(check),
        Err(fault) => {
            tracing::error!(%fault, "no self-check");
            return state.telemetry().self_checked(false);
        }
    };
    let mut due = tokio::time::interval(Duration::from_millis(state.engine().settings().interval.millis()));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        let running = Arc::clone(&check);
        let outcome = tokio::task::spawn_blocking(move || running.run()).await;
        if !matches!(outcome, Ok(Ok(()))) {
            tracing::error!(?outcome, "the self-check failed");
        }
        state.telemetry().self_checked(matches!(outcome, Ok(Ok(()))));
    }
}

async fn reload_and_log(state: &ApiState) {
    match state.reload().await {
        Some(Ok(())) => tracing::info!(revision = state.engine().model().revision, "reloaded the model"),
        Some(Err(diagnostics)) => {
            tracing::error!("the model was not reloaded, the last good one goes on:\n{diagnostics}");
        }
        None => {}
    }
}

/// The model and what protects the way in, both or neither.
fn reload(
    specs: Vec<PathBuf>,
    openslo: Vec<PathBuf>,
    engine: Arc<Engine>,
    config: Config,
    web: Arc<ArcSwap<WebSecurity>>,
) -> Reload {
    Arc::new(move || {
        let security = web_security(&config).map_err(|error| format!("{error:#}"))?;
        let journeys = load(&specs, &openslo).map_err(|error| format!("{error:#}"))??;
        engine.replace(journeys);
        web.store(Arc::new(security));
        Ok(())
    })
}

/// What protects the way in. Paths in the file are relative to it.
fn web_security(config: &Config) -> anyhow::Result<WebSecurity> {
    let file = match &config.web.config_file {
        None => WebFile::default(),
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            WebFile::from_yaml(&text).with_context(|| path.clone())?
        }
    };
    anyhow::ensure!(
        !config.upstream.forward_authorization || file.authenticates(),
        "upstream.forward_authorization needs authentication here (web.config_file with basic_auth_users, \
         bearer_token_file or RequireAndVerifyClientCert): synthetic series are computed with our credentials, and \
         would be given to whoever shows none"
    );
    let path = config.web.config_file.as_deref().map_or(Path::new(""), Path::new);
    let folder = path.parent().unwrap_or(Path::new(""));
    let read = |path: &str| {
        let path = folder.join(path);
        fs::read_to_string(&path).map_err(|fault| format!("cannot read {}: {fault}", path.display()))
    };
    WebSecurity::new(&file, read).with_context(|| path.display().to_string())
}

fn evaluation_settings(config: &Config) -> EvaluationSettings {
    EvaluationSettings {
        interval: config.evaluation.interval,
        delay: config.evaluation.delay,
        retention: config.evaluation.retention,
        external_labels: config.external_labels.clone(),
        max_lookback: config.evidence.max_lookback,
        timeout: config.upstream.timeout,
        ..EvaluationSettings::with_clock(Arc::new(now))
    }
}

/// The system's clock. A time before the epoch, on a machine without a clock, is the epoch.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The replicas of the upstream, guarded.
fn upstream(args: &ServeArgs, config: &Config, memory: &MemoryBudget) -> anyhow::Result<GuardedUpstream> {
    let mut replicas: Vec<Arc<dyn Upstream>> = Vec::new();
    for url in &config.upstream.urls {
        let settings = HttpSettings { memory: memory.clone(), ..http_settings(config, url)? };
        replicas.push(Arc::new(HttpUpstream::new(settings)?));
    }
    let mut replicas = replicas.into_iter();
    let first = replicas.next().context("the upstream is missing")?;
    let guards = GuardSettings { limiter: args.upstream_limiter, ..GuardSettings::default() };
    Ok(GuardedUpstream::new(first, replicas.collect(), guards))
}

/// The first of the configured upstreams, for a command that asks one of them once.
pub(super) fn first_upstream(config: &Config) -> anyhow::Result<HttpUpstream> {
    let url = config.upstream.urls.first().context("the upstream is missing: give --upstream.url URL")?;
    Ok(HttpUpstream::new(http_settings(config, url)?)?)
}

fn http_settings(config: &Config, url: &str) -> anyhow::Result<HttpSettings> {
    let upstream = &config.upstream;
    let read =
        |path: &str| fs::read_to_string(Path::new(path)).with_context(|| format!("cannot read {path}"));
    let secret = |path: &str| read(path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    let credentials = match &upstream.credentials {
        None => None,
        Some(Credentials::Basic { username, password_file }) => {
            Some(http::Credentials::Basic { username: username.clone(), password: secret(password_file)? })
        }
        Some(Credentials::BearerFile(path)) => Some(http::Credentials::Bearer(secret(path)?)),
    };
    let identity = match &upstream.tls.identity {
        None => None,
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
    };
    Ok(HttpSettings {
        tenant: upstream.tenant.clone(),
        credentials,
        headers: upstream.headers.clone(),
        tls: TlsSettings {
            ca: upstream.tls.ca_file.as_deref().map(read).transpose()?,
            identity,
            server_name: upstream.tls.server_name.clone(),
        },
        body_limit: config.limits.body.0,
        forward_authorization: upstream.forward_authorization,
        ..HttpSettings::new(url)
    })
}
