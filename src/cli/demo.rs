//! `emac demo`: a simulated shop, its Prometheus and emac in front, in one process.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Outcome;
use super::serve::STACK;
use crate::api::{self, ApiSettings, ApiState};
use crate::demo::incident::Schedule;
use crate::demo::journeys;
use crate::demo::live::{Demo, PRE_RUN_MILLIS, View};
use crate::demo::pace::Pace;
use crate::demo::services::SHOP;
use crate::demo::shop::Shop;
use crate::demo::simulation::SCRAPE_INTERVAL_MILLIS;
use crate::demo::table;
use crate::demo::targets::Targets;
use crate::telemetry::Telemetry;
use crate::unit::{Seconds, Timestamp, Window};

/// How often simulated time moves on.
const TICK: Duration = Duration::from_millis(100);

/// Without a terminal, the table comes once a simulated minute.
const PLAIN_INTERVAL_MILLIS: i64 = 60_000;

/// Arguments of `emac demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the page and the API are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9099")]
    pub listen: SocketAddr,
    /// Simulated seconds a second, 0.1 to 60. Clients that send their own time, such as Grafana and promtool, need 1
    #[arg(long, value_name = "FACTOR", default_value_t = 10.0, value_parser = speed)]
    pub speed: f64,
    /// The same seed gives the same shop
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End by itself after this long, such as 60s
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<Seconds>,
    /// Print the first table and end; nothing is served
    #[arg(long, conflicts_with_all = ["duration", "targets", "write_spec"])]
    pub once: bool,
    /// Only serve the shop's metrics at /metrics, in real time, for a real Prometheus to scrape
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:9100",
        conflicts_with_all = ["listen", "speed", "write_spec"]
    )]
    pub targets: Option<SocketAddr>,
    /// Only write the specs of the shop's journeys into this directory
    #[arg(long, value_name = "DIR")]
    pub write_spec: Option<PathBuf>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.1..=60.0).contains(&factor) => Ok(factor),
        _ => Err("allowed: 0.1 to 60".to_owned()),
    }
}

/// Runs until Ctrl-C, SIGTERM or the end of `--duration`.
///
/// # Errors
/// Where an address cannot be listened on, a file cannot be written, or the simulation fails.
pub fn run(args: &DemoArgs) -> anyhow::Result<Outcome> {
    if let Some(directory) = &args.write_spec {
        return write_specs(directory);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK).enable_all().build()?;
    match args.targets {
        Some(address) => runtime.block_on(serve_targets(args, address))?,
        None if args.once => runtime.block_on(print_once(args.seed))?,
        None => runtime.block_on(serve_demo(args))?,
    }
    // Blocking work that nobody waits for any more must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    Ok(Outcome::Done)
}

/// Never overwrites a file.
fn write_specs(directory: &Path) -> anyhow::Result<Outcome> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut out = io::stdout().lock();
    for spec in journeys::spec_files() {
        let path = directory.join(&spec.path);
        let file = fs::File::options().write(true).create_new(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(spec.text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(Outcome::Done)
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A demo that has run for an hour of simulated time, up to now, and its first view.
async fn prepared(seed: u64) -> anyhow::Result<(Demo, Option<View>)> {
    // Whole intervals, so that what is left of an incident is a whole number of seconds.
    let now = wall_clock().floor_to(Window::from_millis(SCRAPE_INTERVAL_MILLIS)?);
    let mut demo = Demo::new(Some(Schedule::starting(now)), seed, now.plus_millis(-PRE_RUN_MILLIS))?;
    demo.run_unwatched(now).await?;
    let first = demo.run(now).await?.pop();
    Ok((demo, first))
}

async fn print_once(seed: u64) -> anyhow::Result<()> {
    let (_, first) = prepared(seed).await?;
    let mut out = io::stdout().lock();
    for line in first.iter().flat_map(table::lines) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

async fn serve_demo(args: &DemoArgs) -> anyhow::Result<()> {
    let listener = listen(args.listen).await?;
    let address = listener.local_addr()?;
    let mut screen = Screen::new();
    screen.note(&format!(
        "emac demo: a simulated shop of {} services, 5,000 requests a second, {} × real time",
        SHOP.services.len(),
        args.speed
    ))?;
    screen.note("running an hour of simulated time first …")?;
    let (mut demo, first) = prepared(args.seed).await?;

    let (stop, stopped) = watch::channel(false);
    let state = ApiState::new(
        demo.engine().clone(),
        ApiSettings::with_defaults()?,
        Telemetry::new().context("own metrics cannot be set up")?,
        None,
    )
    .observed_by(demo.observer());
    let router = api::router(state.clone());
    let server = tokio::spawn(api::serve(listener, router, state, until(stopped.clone())));
    screen.note(&format!("page   http://{address}/"))?;
    screen.note(&format!(
        "query  curl 'http://{address}/api/v1/query?query=emac_journey_availability_pessimistic'"
    ))?;
    screen.note("specs  emac demo --write-spec DIR     end   Ctrl-C")?;
    screen.note("")?;
    if let Some(first) = &first {
        screen.show(first)?;
    }

    let end = ending(args.duration);
    tokio::pin!(end);
    let mut pace = Pace::new(args.speed, Instant::now());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = &mut end => { ended?; break }
            _ = ticks.tick() => {}
        }
        let until = pace.next(Instant::now(), demo.now());
        for view in demo.run(until).await? {
            screen.show(&view)?;
        }
        anyhow::ensure!(!server.is_finished(), "the server stopped by itself");
    }
    stop.send_replace(true);
    server.await?.context("the server failed")
}

async fn serve_targets(args: &DemoArgs, address: SocketAddr) -> anyhow::Result<()> {
    let listener = listen(address).await?;
    let address = listener.local_addr()?;
    let start = wall_clock();
    let schedule = Schedule::starting(start);
    let slot = Window::from_millis(SCRAPE_INTERVAL_MILLIS)?;
    let shop = Shop::new(journeys::load()?, Some(schedule), args.seed, start, slot, slot)?;
    let targets = Targets::new(shop);
    let mut screen = Screen::new();
    screen.note(&format!("the shop's metrics: http://{address}/metrics"))?;
    screen.note("a Prometheus scrapes them with this configuration:")?;
    screen.note(&format!(
        "  scrape_configs: [{{job_name: shop, scrape_interval: 15s, static_configs: [{{targets: [\"{address}\"]}}]}}]"
    ))?;
    screen.note(
        "then: emac demo --write-spec specs; emac serve --upstream.url http://127.0.0.1:9090 --spec specs",
    )?;

    let (stop, stopped) = watch::channel(false);
    let served = axum::serve(listener, targets.router()).with_graceful_shutdown(until(stopped));
    let server = tokio::spawn(async move { served.await });
    let end = ending(args.duration);
    tokio::pin!(end);
    let mut pace = Pace::new(1.0, Instant::now());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut now = start;
    let mut incident = None;
    loop {
        tokio::select! {
            ended = &mut end => { ended?; break }
            _ = ticks.tick() => {}
        }
        now = pace.next(Instant::now(), now);
        let running = targets.clone();
        tokio::task::spawn_blocking(move || running.advance(now)).await??;
        let current = schedule.at(now).map(|(incident, _)| incident.name);
        if current != incident {
            screen.note(current.unwrap_or("the incident is over"))?;
            incident = current;
        }
        anyhow::ensure!(!server.is_finished(), "the server stopped by itself");
    }
    stop.send_replace(true);
    server.await?.context("the server failed")
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Until the sender says so, or is gone.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Ctrl-C, SIGTERM, or the given time.
async fn ending(duration: Option<Seconds>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match duration.and_then(|limit| Duration::try_from_secs_f64(limit.get()).ok()) {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("Ctrl-C cannot be waited for"),
        _ = terminate.recv() => Ok(()),
        () = over => Ok(()),
    }
}

/// Where the table goes: redrawn in place on a terminal, plain lines elsewhere.
struct Screen {
    in_place: bool,
    /// How many lines the table on the terminal has.
    drawn: usize,
    last: Option<(Timestamp, Option<&'static str>)>,
}

impl Screen {
    fn new() -> Self {
        Self { in_place: io::stdout().is_terminal(), drawn: 0, last: None }
    }

    /// A line that stays.
    fn note(&mut self, text: &str) -> io::Result<()> {
        self.drawn = 0;
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    fn show(&mut self, view: &View) -> io::Result<()> {
        let lines = table::lines(view);
        let mut out = io::stdout().lock();
        if self.in_place {
            if self.drawn > 0 {
                write!(out, "\x1b[{}A", self.drawn)?;
            }
            for line in &lines {
                writeln!(out, "\x1b[2K{line}")?;
            }
            self.drawn = lines.len();
        } else if self.is_due(view) {
            self.last = Some((view.time, view.incident.map(|(name, _)| name)));
            for line in &lines {
                writeln!(out, "{line}")?;
            }
            writeln!(out)?;
        }
        out.flush()
    }

    /// Once a simulated minute, and where an incident begins or ends.
    fn is_due(&self, view: &View) -> bool {
        let incident = view.incident.map(|(name, _)| name);
        self.last.is_none_or(|(time, before)| {
            before != incident || view.time.millis() - time.millis() >= PLAIN_INTERVAL_MILLIS
        })
    }
}
