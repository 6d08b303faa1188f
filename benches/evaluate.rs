//! The cost of the evaluation loop: 100 journeys × 30 leaves × 5 windows, every leaf another service.
//!
//! `cargo bench --bench evaluate [PASSES]` prints the processor time of passes with and without new evidence, the
//! memory of the process, and what a kept sample costs. The upstream is a script in this process; what it spends on
//! making answers is measured apart and subtracted.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use emac::execute::{Engine, EvaluationSettings};
use emac::journey::Journey;
use emac::series::{Labels, Sample, Series, StepGrid};
use emac::spec::{self, SourceFile};
use emac::unit::Timestamp;
use emac::upstream::{Answer, Body, Upstream, UpstreamError};
use futures::future::BoxFuture;
use http::{Request, Response};

/// As the `emac` command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const JOURNEYS: usize = 100;
const LEAVES: usize = 30;
const EDGES: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const STEP: i64 = 15_000;

/// Answers every query about `service=~"…"`; the counts depend on the service and on `epoch`.
#[derive(Default)]
struct Script {
    epoch: AtomicU64,
    /// Nanoseconds of processor time spent here.
    spent: AtomicU64,
}

impl Script {
    fn answer(&self, query: &str, at: Timestamp) -> Answer {
        let began = Instant::now();
        let members = query.split("service=~\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
        let epoch = self.epoch.load(Ordering::SeqCst) as f64;
        let mut series = Vec::new();
        for service in members.split('|') {
            let seed =
                service.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            let load = 1e4 + (seed % 1000) as f64 + epoch * 3.1;
            let scale = 0.01 + (seed % 97) as f64 * 4e-4;
            let mut push = |le: &str, value: f64| {
                let labels = Labels::new().with("service", service).with("le", le);
                series.push(Series { labels, samples: vec![Sample { time: at, value }] });
            };
            if query.starts_with("max") {
                push("", if query.contains("count_over") { 20.0 } else { at.seconds() - 1.0 });
                continue;
            }
            for edge in EDGES {
                let share = 1.0 - (-edge / scale).exp();
                push(&edge.to_string(), if query.starts_with("count") { 4.0 } else { load * share });
            }
            let failures = if query.contains("!~") { 0.0 } else { 5.0 };
            push("+Inf", if query.starts_with("count") { 4.0 } else { load + failures });
        }
        self.spent.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap(), Ordering::SeqCst);
        Answer { series, warnings: Vec::new() }
    }
}

impl Upstream for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        _: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        // Ahead of the clock there is nothing.
        let ahead = at.millis() % STEP != 0;
        let answer = if ahead { Answer::default() } else { self.answer(query, at) };
        Box::pin(async move { Ok(answer) })
    }

    /// The instant answer at every point, a little more each time.
    fn range(&self, query: &str, grid: StepGrid, _: Instant) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let mut answer = self.answer(query, grid.end());
        let began = Instant::now();
        for series in &mut answer.series {
            let Some(last) = series.samples.pop() else { continue };
            let grown = |(at, time): (usize, Timestamp)| Sample {
                time,
                value: last.value * (1.0 + at as f64 / 100.0),
            };
            series.samples = grid.iter().enumerate().map(grown).collect();
        }
        self.spent.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap(), Ordering::SeqCst);
        Box::pin(async move { Ok(answer) })
    }

    fn forward(&self, _: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        let fault = "a script forwards nothing".to_owned();
        Box::pin(async { Err(UpstreamError::Unreachable { upstream: "script".to_owned(), fault }) })
    }
}

fn journeys(shared_domain: bool) -> Vec<Journey> {
    let mut files = Vec::new();
    for journey in 0..JOURNEYS {
        let names: Vec<String> = (0..LEAVES).map(|leaf| format!("c{leaf}")).collect();
        let mut text = format!(
            "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: journey{journey}}}\nspec:\n  \
             objectives:\n    availability: {{window: 30d, target: 0.99}}\n    \
             latency: {{window: 30d, objective: {{metric: p99, threshold: 2s}}}}\n  \
             windows: [5m, 30m, 1h, 6h, 3d]\n  expression: Series({})\n  components:\n",
            names.join(", ")
        );
        for (leaf, name) in names.iter().enumerate() {
            let domains =
                if shared_domain { format!("failureDomains: [d{}], ", leaf / 5) } else { String::new() };
            text.push_str(&format!(
                "    {name}: {{{domains}telemetry: {{histogram: m, matchers: {{service: s{journey}x{leaf}}}, \
                 success: {{code: '!~\"5..\"'}}}}}}\n"
            ));
        }
        if shared_domain {
            let rules: Vec<String> =
                (0..LEAVES / 5).map(|d| format!("{{name: d{d}, kind: declared}}")).collect();
            text.push_str(&format!("  failureDomains: {{rules: [{}]}}\n", rules.join(", ")));
        }
        files.push(SourceFile { path: format!("{journey}.yaml"), text });
    }
    let loaded = spec::load(&files);
    assert_eq!(loaded.journeys.len(), JOURNEYS, "{:?}", loaded.diagnostics.first());
    loaded.journeys
}

/// User and system time of this process, in seconds.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn main() {
    let passes: i64 = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(8);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for shared_domain in [false, true] {
        println!("-- {}", if shared_domain { "domains of five leaves" } else { "no domains" });
        let script = Arc::new(Script::default());
        let clock = Arc::new(AtomicI64::new(0));
        let shown = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp::from_millis(shown.load(Ordering::SeqCst)));
        let began = processor_seconds();
        let engine = Engine::new(
            Arc::clone(&script) as Arc<dyn Upstream>,
            journeys(shared_domain),
            EvaluationSettings::with_clock(now),
        );
        println!("start: {:.2} s of processor, {:.0} MiB", processor_seconds() - began, resident_mib());
        let count = if shared_domain { passes.min(3) } else { passes };
        for point in 1..=count {
            // The third pass finds the evidence unchanged.
            let changed = point != 3;
            if changed {
                script.epoch.fetch_add(1, Ordering::SeqCst);
            }
            let at = Timestamp::from_millis(point * STEP);
            clock.store(at.millis() + 5_001, Ordering::SeqCst);
            script.spent.store(0, Ordering::SeqCst);
            let began = processor_seconds();
            runtime.block_on(engine.evaluate_now(at));
            let making = script.spent.load(Ordering::SeqCst) as f64 / 1e9;
            println!(
                "pass {point}: {:.2} s of processor + {making:.2} s to make the answers, evidence {}, {:.0} MiB",
                processor_seconds() - began - making,
                if changed { "new" } else { "unchanged" },
                resident_mib(),
            );
        }
        let counters = engine.counters();
        println!(
            "{} series, {:.2} MiB of samples, {:.2} bytes a sample, {counters:?}",
            counters.series,
            counters.sample_bytes as f64 / f64::from(1 << 20),
            counters.sample_bytes as f64 / (counters.series * u64::try_from(count).unwrap()) as f64,
        );
    }
}
