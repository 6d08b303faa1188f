//! What queries cost: the engine alone over many synthetic series, a mixed join with the share of the engine in it, and
//! what a mixed instant query over loopback adds to the upstream's own time. `cargo bench --bench promql`.
//!
//! Not criterion: what is promised is a share and a percentile.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and reports by printing"
)]

use std::time::{Duration, Instant};

use emac::journey::Journey;
use emac::promql::evaluate::evaluate;
use emac::promql::guard::MAX_QUERY_BYTES;
use emac::promql::limits::Options;
use emac::promql::matcher::MatcherSet;
use emac::promql::pushdown::{Origin, QueryPlan, Side};
use emac::promql::pushdown_answer::Gathered;
use emac::promql::query::Query;
use emac::series::{Labels, Sample, Series, StepGrid};
use emac::spec::{self, SourceFile};
use emac::unit::{Timestamp, Window};
use emac::wire::prometheus_json::{Annotations, QueryAnswer, QueryData, decode, encode};

use crate::loopback::{INTERVAL, POINTS, START, Servers, start};

mod loopback;

const SERIES: usize = 1_000;
const STEPS: i64 = 1_000;
const REPEATED: usize = 9;
const REQUESTS: usize = 4_000;

struct ByName;

impl Origin for ByName {
    fn side(&self, matchers: &MatcherSet) -> Side {
        let ours = matchers.literal_name().is_some_and(|name| name.starts_with("emac_journey_"));
        if ours { Side::Ours } else { Side::Theirs }
    }
}

/// Ten windows of each of a hundred journeys, or whatever the number of series allows.
fn series(name: &str, count: usize) -> Vec<Series> {
    let one = |at: usize| {
        let labels = Labels::named(name)
            .with("journey", format!("j{}", at % 100))
            .with("window", format!("w{}", at / 100));
        let value = |step: i64| 0.9 + f64::from(i32::try_from(step.rem_euclid(97)).unwrap()) / 1_000.0;
        // Five minutes before the first step are looked back at.
        let samples = (-20..STEPS)
            .map(|step| Sample { time: Timestamp::from_millis(START + step * INTERVAL), value: value(step) });
        Series { labels, samples: samples.collect() }
    };
    (0..count).map(one).collect()
}

fn grid() -> StepGrid {
    let at = Timestamp::from_millis;
    let step = Window::from_millis(u64::try_from(INTERVAL).unwrap()).unwrap();
    StepGrid::new(at(START), at(START + (STEPS - 1) * INTERVAL), step).unwrap()
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort_unstable();
    taken[taken.len() / 2]
}

/// The median of each part of a run, in the order of the parts.
fn medians<const N: usize>(mut run: impl FnMut() -> [Duration; N]) -> [Duration; N] {
    run();
    let runs: Vec<[Duration; N]> = (0..REPEATED).map(|_| run()).collect();
    std::array::from_fn(|part| median(runs.iter().map(|run| run[part]).collect()))
}

fn planned(text: &str) -> QueryPlan {
    let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
    QueryPlan::new(&query, &grid(), true, &Options::default(), &ByName).unwrap()
}

fn engine_alone(text: &str) {
    let plan = planned(text);
    let ours = series("emac_journey_availability_pessimistic", SERIES);
    let options = Options { max_samples: 10_000_000, ..Options::default() };
    let gathered = Gathered::new(&plan, Vec::new(), vec![ours; plan.reads().len()]).unwrap();
    let [taken] = medians(|| {
        let begun = Instant::now();
        let evaluated = evaluate(plan.query(), plan.grid(), true, &options, &gathered).unwrap();
        assert!(evaluated.samples_read > 1_000_000);
        [begun.elapsed()]
    });
    println!("{text}\n  over {SERIES} series × {STEPS} steps, engine: {taken:?}");
}

/// The upstream's body is in memory: decoding it, evaluating, and encoding the answer.
fn mixed_join() {
    let text = "emac_journey_availability_pessimistic / on(journey) group_left sum by (journey) (rate(requests_total[5m]))";
    let plan = planned(text);
    let ours = series("emac_journey_availability_pessimistic", SERIES);
    let mut theirs = series("", 100);
    theirs.iter_mut().for_each(|series| {
        series.labels.set("window", "");
        series.samples.drain(..20);
    });
    let body = |data| encode::query(&QueryAnswer { data, annotations: Annotations::default() });
    let answered = body(QueryData::Matrix(theirs));
    let options = Options { max_samples: 10_000_000, ..Options::default() };
    let [decoding, engine, encoding] = medians(|| {
        let begun = Instant::now();
        let QueryData::Matrix(theirs) = decode::query(answered.as_bytes()).unwrap().data else { panic!() };
        let decoded = begun.elapsed();
        let gathered = Gathered::new(&plan, vec![theirs], vec![ours.clone()]).unwrap();
        let evaluated = evaluate(plan.query(), plan.grid(), true, &options, &gathered).unwrap();
        let done = begun.elapsed();
        let emac::promql::value::Value::Vector(vector) = evaluated.value else { panic!() };
        let series = emac::promql::evaluate::into_series(vector, plan.grid());
        assert_eq!(series.len(), SERIES);
        assert!(body(QueryData::Matrix(series)).len() > 1_000_000);
        [decoded, done - decoded, begun.elapsed() - done]
    });
    let whole = decoding + engine + encoding;
    println!(
        "{text}\n  over {SERIES} + 100 series × {STEPS} steps: {whole:?}, of which decoding {decoding:?}, engine {engine:?} \
         ({:.0} %), encoding {encoding:?}",
        100.0 * engine.as_secs_f64() / whole.as_secs_f64()
    );
}

const CANNED: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"journey":"j0"},"value":[1700000000,"12.5"]},{"metric":{"journey":"j1"},"value":[1700000000,"7"]}]}}"#;

fn journeys() -> Vec<Journey> {
    let model = (0..10).flat_map(|journey| {
        let text = format!(
            "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: j{journey}}}\nspec:\n  \
             objectives: {{availability: {{target: 0.99, window: 30d}}}}\n  windows: [5m]\n  expression: Series(a, b)\n  \
             components:\n    a: {{telemetry: {{histogram: h, matchers: {{service: a}}}}}}\n    \
             b: {{telemetry: {{histogram: h, matchers: {{service: b}}}}}}\n"
        );
        spec::load(&[SourceFile { path: format!("j{journey}.yaml"), text }]).journeys
    });
    model.collect()
}

/// Asks `REQUESTS` times on one connection; 50th and 99th percentile.
fn ask(address: &str, query: &str) -> (Duration, Duration) {
    let time = (START + POINTS * INTERVAL) / 1_000;
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let mut taken = loopback::ask(address, &format!("/api/v1/query?query={query}&time={time}"), REQUESTS);
    taken.sort_unstable();
    (taken[REQUESTS / 2], taken[REQUESTS * 99 / 100])
}

fn over_loopback() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Servers { upstream, proxy, .. } = runtime.block_on(start(CANNED, journeys()));
    let real = "sum by (journey) (rate(requests_total[5m]))";
    let mixed = "emac_journey_objective_availability * on(journey) group_left() sum by (journey) (rate(requests_total[5m]))";
    let direct = ask(&upstream, real);
    for (what, address, query) in [
        ("the upstream itself", &upstream, real),
        ("passed through", &proxy, real),
        ("synthetic alone", &proxy, "sum(emac_journey_objective_availability)"),
        ("mixed", &proxy, mixed),
    ] {
        let (p50, p99) = ask(address, query);
        let (more50, more99) = (p50.saturating_sub(direct.0), p99.saturating_sub(direct.1));
        println!("instant over loopback, {what}: p50 {p50:?} (+{more50:?}), p99 {p99:?} (+{more99:?})");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
}

fn main() {
    engine_alone("sum by (journey) (emac_journey_availability_pessimistic)");
    engine_alone("min_over_time(emac_journey_availability_pessimistic[5m])");
    mixed_join();
    over_loopback();
}
