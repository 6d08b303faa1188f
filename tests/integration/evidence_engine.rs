//! The engine against an upstream in memory that fails on demand, in simulated time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use emac::algebra::compose::Composer;
use emac::execute::{Engine, EvaluationSettings, SelectError, Selected, fetch_evidence};
use emac::journey::Journey;
use emac::journey::component::ComponentId;
use emac::journey::evidence::Reason;
use emac::plan::read::{ReadSettings, Reading};
use emac::series::{Labels, MatchOp, Matcher, NAME, STALE_NAN_BITS, StepGrid};
use emac::synthetic::evaluation::Flaw;
use emac::unit::{Timestamp, Window};
use emac::upstream::embedded::{EmbeddedStore, EmbeddedUpstream, StoreLimits, TargetId};
use emac::upstream::{Answer, Body, Upstream, UpstreamError};
use futures::future::BoxFuture;
use http::{Request, Response};

use crate::served::journeys;

/// Two services in series, by the success of their codes.
pub(crate) const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {window: 30d, target: 0.99}
    latency: {window: 30d, objective: {metric: p90, threshold: 400ms}}
  windows: [5m, 10m]
  expression: Series(front, pay)
  components:
    front: {telemetry: {histogram: m, matchers: {service: front}, success: {code: '!~\"5..\"'}}}
    pay: {telemetry: {histogram: m, matchers: {service: pay}, success: {code: '!~\"5..\"'}}}
";

const STEP: i64 = 15_000;
const EDGES: [&str; 3] = ["0.1", "0.5", "+Inf"];

fn at(point: i64) -> Timestamp {
    Timestamp::from_millis(point * STEP)
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Unreachable,
    Malformed,
    Warnings,
    /// Only queries that hold this text fail.
    Refuses(&'static str),
}

struct Faulty {
    inner: EmbeddedUpstream,
    fault: Mutex<Fault>,
}

impl Faulty {
    fn check(&self, query: &str) -> Result<bool, UpstreamError> {
        let upstream = "shop".to_owned();
        match *self.fault.lock().unwrap() {
            Fault::None => Ok(false),
            Fault::Warnings => Ok(true),
            Fault::Unreachable => Err(UpstreamError::Unreachable { upstream, fault: "gone".into() }),
            Fault::Malformed => Err(UpstreamError::Malformed { upstream, fault: "garbage".into() }),
            Fault::Refuses(text) if query.contains(text) => {
                Err(UpstreamError::Refused { upstream, status: 422, message: "too much".into() })
            }
            Fault::Refuses(_) => Ok(false),
        }
    }
}

fn warned(answer: Answer, warned: bool) -> Answer {
    if warned { Answer { warnings: vec!["a store is missing".into()], ..answer } } else { answer }
}

impl Upstream for Faulty {
    fn name(&self) -> &str {
        "shop"
    }

    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let fault = self.check(query);
        let answer = self.inner.instant(query, at, deadline);
        Box::pin(async move { Ok(warned(answer.await?, fault?)) })
    }

    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let fault = self.check(query);
        let answer = self.inner.range(query, grid, deadline);
        Box::pin(async move { Ok(warned(answer.await?, fault?)) })
    }

    fn forward(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        self.inner.forward(request)
    }
}

/// Two services scraped every 15 s, a second before the grid point.
struct World {
    store: Arc<EmbeddedStore>,
    targets: Vec<TargetId>,
    counters: Vec<Vec<f64>>,
    scraped: i64,
    upstream: Arc<Faulty>,
    clock: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        let limits =
            StoreLimits { retention: "1d".parse().unwrap(), samples_per_series: 10_000, series: 100 };
        let store = Arc::new(EmbeddedStore::new(limits));
        let mut targets = Vec::new();
        for service in ["front", "pay"] {
            let series = |code: &'static str| {
                EDGES.map(|le| {
                    Labels::named("m_bucket").with("service", service).with("code", code).with("le", le)
                })
            };
            targets.push(store.add_target([series("200"), series("500")].concat()).unwrap());
        }
        let clock = Arc::new(AtomicI64::new(0));
        let shown = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp::from_millis(shown.load(Ordering::SeqCst)));
        let inner = EmbeddedUpstream::new("shop", Arc::clone(&store), now);
        Self {
            store,
            counters: vec![vec![0.0; 6]; targets.len()],
            targets,
            scraped: 0,
            upstream: Arc::new(Faulty { inner, fault: Mutex::new(Fault::None) }),
            clock,
        }
    }

    /// Scrapes up to the one before `point`; calls grow by a number that differs from scrape to scrape.
    fn scrape_until(&mut self, point: i64) {
        while self.scraped < point {
            self.scraped += 1;
            let load = 20.0 + (self.scraped * self.scraped % 13) as f64;
            for (service, counters) in self.counters.iter_mut().enumerate() {
                let slow = 1.0 + (self.scraped % 5) as f64 + service as f64;
                for (counter, calls) in
                    counters.iter_mut().zip([load - slow, load, load, 0.0, 0.0, slow / 5.0])
                {
                    *counter += calls;
                }
                let time = at(self.scraped).plus_millis(-1_000);
                self.store.append(self.targets[service], time, counters).unwrap();
            }
        }
    }

    /// Time passes to `point` and the evaluation's delay, and the engine evaluates.
    async fn evaluate(&mut self, engine: &Engine, point: i64) {
        self.scrape_until(point);
        self.clock.store(at(point).millis() + 5_000, Ordering::SeqCst);
        engine.evaluate_now(at(point)).await;
    }

    fn engine(&self, journeys: Vec<Journey>) -> Arc<Engine> {
        let shown = Arc::clone(&self.clock);
        let clock = Arc::new(move || Timestamp::from_millis(shown.load(Ordering::SeqCst)));
        let settings = EvaluationSettings::with_clock(clock);
        Engine::new(Arc::clone(&self.upstream) as Arc<dyn Upstream>, journeys, settings)
    }

    fn breaks(&self, fault: Fault) {
        *self.upstream.fault.lock().unwrap() = fault;
    }
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() }
}

async fn select(engine: &Arc<Engine>, name: &str, from: i64, to: i64) -> Result<Selected, SelectError> {
    let matchers = [equal(NAME, name), equal("journey", "checkout")];
    engine.select(&matchers, at(from), at(to), Instant::now() + Duration::from_secs(30)).await
}

/// Bits of every sample by labels and grid point, without stale markers.
type Bits = BTreeMap<(String, i64), u64>;

async fn everything(engine: &Arc<Engine>, from: i64, to: i64) -> Bits {
    let matchers = [equal("journey", "checkout")];
    let deadline = Instant::now() + Duration::from_secs(30);
    let selected = engine.select(&matchers, at(from), at(to), deadline).await.unwrap();
    let mut all = Bits::new();
    for series in &selected.series {
        for sample in series.samples.iter().filter(|s| s.value.to_bits() != STALE_NAN_BITS) {
            all.insert((series.labels.to_string(), sample.time.millis() / STEP), sample.value.to_bits());
        }
    }
    all
}

fn flaw(reason: Reason, component: Option<usize>) -> Flaw {
    Flaw { reason, component: component.map(ComponentId) }
}

const PESSIMISTIC: &str = "emac_journey_availability_pessimistic";

#[tokio::test]
async fn a_pass_composes_what_the_same_queries_give_directly() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    let journey = Arc::new(journeys(SPEC).remove(0));
    let settings = ReadSettings { max_lookback: "1h".parse().unwrap(), delay: Duration::from_secs(5) };
    let five: Window = "5m".parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let upstream = &*world.upstream;
    let readings =
        fetch_evidence(upstream, &[Arc::clone(&journey)], Some(&[five]), at(100), &settings, deadline)
            .await
            .unwrap();
    let Reading::Evidence { windows, flaws, age } = &readings[0] else { panic!("{readings:?}") };
    assert_eq!((windows.len(), flaws.len()), (1, 0));
    // Scraped one second before the point, which is a multiple of the minute.
    assert_eq!(age.unwrap().get(), 1.0);
    let composed = Composer::new().compose(&journey, &windows[0].evidence, &[]);
    let selected = select(&engine, PESSIMISTIC, 100, 100).await.unwrap();
    let in_five = selected.series.iter().find(|s| s.labels.get("window") == "5m").unwrap();
    assert_eq!(in_five.samples[0].value, composed.availability.pessimistic.get());
    assert!(composed.availability.pessimistic.get() > 0.5 && composed.availability.pessimistic.get() < 1.0);
    assert_eq!(selected.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn an_upstream_that_is_gone_leaves_one_stale_value_and_then_none() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    world.breaks(Fault::Unreachable);
    world.evaluate(&engine, 101).await;
    let stale = &engine.latest()[0];
    assert_eq!(stale.flaws, [flaw(Reason::Stale, None)]);
    assert_eq!(stale.evidence_age.unwrap().get(), 16.0);
    let selected = select(&engine, PESSIMISTIC, 101, 101).await.unwrap();
    assert_eq!(selected.series.len(), 2);

    world.evaluate(&engine, 102).await;
    assert_eq!(engine.latest()[0].flaws, [flaw(Reason::Upstream, None)]);
    let error = select(&engine, PESSIMISTIC, 102, 102).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("shop") && text.contains("gone") && text.contains("31s"), "{text}");
    assert!(matches!(error, SelectError::Upstream { .. }));

    // A range that is answerable in part: that part, a warning, and an end that no lookback reaches beyond.
    let selected = select(&engine, PESSIMISTIC, 100, 102).await.unwrap();
    let samples = &selected.series[0].samples;
    assert_eq!(samples.iter().map(|s| s.time).collect::<Vec<_>>(), [at(100), at(101), at(102)]);
    assert_eq!(samples[2].value.to_bits(), STALE_NAN_BITS);
    assert_eq!(selected.warnings.len(), 1);
    assert_eq!(selected.unanswered_at(at(101)), None);
    assert!(selected.unanswered_at(at(102)).is_some() && selected.unanswered_at(at(110)).is_some());

    // The meta series are answered all along.
    for (name, value) in [("emac_journey_evidence_age_seconds", 31.0), ("emac_journey_model_info", 1.0)] {
        let selected = select(&engine, name, 102, 102).await.unwrap();
        assert_eq!(selected.series[0].samples[0].value, value, "{name}");
        assert_eq!(selected.unanswered, []);
    }

    world.breaks(Fault::None);
    world.evaluate(&engine, 103).await;
    assert_eq!(engine.latest()[0].flaws, []);
    let selected = select(&engine, PESSIMISTIC, 100, 103).await.unwrap();
    assert_eq!(selected.unanswered_at(at(103)), None);
    assert!(selected.unanswered_at(at(102)).is_some());
    assert_eq!(engine.counters().failed_passes, 2);
}

#[tokio::test]
async fn an_upstream_that_was_never_there_is_an_error_and_not_an_empty_answer() {
    let mut world = World::new();
    world.breaks(Fault::Unreachable);
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    let error = select(&engine, PESSIMISTIC, 80, 100).await.unwrap_err();
    assert!(error.to_string().contains("infinitely old"), "{error}");
    // No such journey, no such series: empty.
    for matchers in [
        [equal(NAME, PESSIMISTIC), equal("journey", "other")],
        [equal(NAME, PESSIMISTIC), equal("window", "7m")],
        [equal(NAME, "up"), equal("journey", "checkout")],
    ] {
        let deadline = Instant::now() + Duration::from_secs(30);
        let selected = engine.select(&matchers, at(100), at(100), deadline).await.unwrap();
        assert_eq!(selected, Selected::default());
    }
}

#[tokio::test]
async fn an_answer_that_is_none_counts_as_no_answer_and_an_incomplete_one_as_missing_evidence() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    world.breaks(Fault::Malformed);
    world.evaluate(&engine, 101).await;
    assert_eq!(engine.latest()[0].flaws, [flaw(Reason::Stale, None)]);
    world.breaks(Fault::Refuses("code!~"));
    world.evaluate(&engine, 102).await;
    let both = [flaw(Reason::Partial, Some(0)), flaw(Reason::Partial, Some(1))];
    assert_eq!(engine.latest()[0].flaws, both);
    let selected = select(&engine, PESSIMISTIC, 102, 102).await.unwrap();
    assert_eq!(selected.series[0].samples[0].value, 0.0);
    world.breaks(Fault::Warnings);
    world.evaluate(&engine, 103).await;
    assert_eq!(engine.latest()[0].flaws, both);
}

#[tokio::test]
async fn a_target_that_disappears_is_absent_although_the_window_still_holds_its_past() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    // Time goes on, scrapes do not: first the clock shows it, and beyond the lookback the series are gone.
    let frozen = world.scraped;
    world.scraped = i64::MAX;
    world.evaluate(&engine, 104).await;
    assert_eq!(engine.latest()[0].flaws, [flaw(Reason::Clock, Some(0)), flaw(Reason::Clock, Some(1))]);
    assert_eq!(engine.latest()[0].evidence_age.unwrap().get(), 61.0);
    world.evaluate(&engine, frozen + 24).await;
    let absent = [flaw(Reason::Absent, Some(0)), flaw(Reason::Absent, Some(1))];
    assert_eq!(engine.latest()[0].flaws, absent);
    let selected = select(&engine, PESSIMISTIC, 124, 124).await.unwrap();
    assert_eq!(selected.series[0].samples[0].value, 0.0);
}

#[tokio::test]
async fn skipped_points_end_every_series_and_are_counted() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    world.evaluate(&engine, 103).await;
    assert_eq!(engine.counters().skipped_points, 2);
    let selected = select(&engine, PESSIMISTIC, 100, 103).await.unwrap();
    let marks: Vec<_> = selected.series[0]
        .samples
        .iter()
        .map(|s| (s.time.millis() / STEP, s.value.to_bits() == STALE_NAN_BITS))
        .collect();
    assert_eq!(marks, [(100, false), (101, true), (103, false)]);
    assert_eq!(selected.unanswered_at(at(102)), Some(&SelectError::Skipped { time: at(101) }));
    assert!(matches!(select(&engine, PESSIMISTIC, 101, 102).await, Err(SelectError::Skipped { .. })));
    // A past sample never changes.
    world.evaluate(&engine, 101).await;
    assert_eq!(engine.counters().evaluations, 2);
}

#[tokio::test]
async fn evidence_that_did_not_change_is_not_composed_again() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    assert_eq!((engine.counters().compositions, engine.counters().reused_compositions), (2, 0));
    // The same journey twice, one renamed: evidence is asked for once.
    let queries = engine.counters().queries;
    let twice = [journeys(SPEC), journeys(&SPEC.replace("checkout", "again"))].concat();
    let both = world.engine(twice);
    both.evaluate_now(at(100)).await;
    assert_eq!(both.counters().queries, queries);
    // Idle services: the increase is 0 for both windows at every later point.
    let mut idle = World::new();
    for _ in 0..100 {
        idle.scraped += 1;
        for &target in &idle.targets {
            idle.store.append(target, at(idle.scraped).plus_millis(-1_000), &[7.0; 6]).unwrap();
        }
    }
    let engine = idle.engine(journeys(SPEC));
    for point in 98..=100 {
        idle.evaluate(&engine, point).await;
    }
    assert_eq!((engine.counters().compositions, engine.counters().reused_compositions), (2, 4));
}

#[tokio::test]
async fn a_back_fill_gives_the_samples_that_a_live_engine_had() {
    let mut world = World::new();
    let live = world.engine(journeys(SPEC));
    for point in 60..=340 {
        world.evaluate(&live, point).await;
    }
    let restarted = world.engine(journeys(SPEC));
    world.evaluate(&restarted, 341).await;
    world.evaluate(&live, 341).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&restarted).run(async {
        let _ = stopped.await;
    }));
    // One hour: points 101 to 340.
    let deadline = Instant::now() + Duration::from_secs(60);
    while restarted.counters().backfilled_points < 240 {
        assert!(Instant::now() < deadline, "{:?}", restarted.counters());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stop);
    running.await.unwrap();
    let expected = everything(&live, 101, 341).await;
    assert!(expected.len() > 240 * 20, "{}", expected.len());
    assert_eq!(everything(&restarted, 101, 341).await, expected);
    assert_eq!(restarted.counters().unfilled_points, 0);
}

#[tokio::test]
async fn the_past_beyond_the_retention_is_fetched_and_equals_what_was_live() {
    let mut world = World::new();
    let live = world.engine(journeys(SPEC));
    for point in 60..=110 {
        world.evaluate(&live, point).await;
    }
    let expected = everything(&live, 60, 110).await;
    let later = world.engine(journeys(SPEC));
    world.evaluate(&later, 600).await;
    assert_eq!(everything(&later, 60, 110).await, expected);
    // Cached: the upstream may be gone.
    world.breaks(Fault::Unreachable);
    assert_eq!(everything(&later, 60, 110).await, expected);
    assert!(select(&later, PESSIMISTIC, 200, 300).await.is_err());
    // No bad answer is cached: asked again after the fault, the truth comes.
    world.breaks(Fault::None);
    assert_eq!(select(&later, PESSIMISTIC, 200, 300).await.unwrap().series[0].samples.len(), 101);
    let endless = select(&later, PESSIMISTIC, -4_000_000_000, 300).await;
    assert!(matches!(endless, Err(SelectError::TooManyPoints { .. })), "{endless:?}");
}

#[tokio::test]
async fn a_fetched_past_is_fetched_again_behind_an_answer_and_dropped_when_that_does_not_help() {
    const MINUTE: i64 = 60_000;
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 600).await;
    let queries = || engine.counters().queries;
    let expected = everything(&engine, 60, 110).await;
    let fetched = queries();
    let clock = Arc::clone(&world.clock);
    let fetched_at = clock.load(Ordering::SeqCst);
    let at_minute = |minutes: i64| clock.store(fetched_at + minutes * MINUTE, Ordering::SeqCst);
    let read = async || select(&engine, PESSIMISTIC, 60, 110).await;
    // A fifth less than half an hour: as fetched.
    at_minute(23);
    assert_eq!(read().await.unwrap().infos, [""; 0]);
    assert_eq!(queries(), fetched);
    // A fifth more: shown with its age, and fetched again behind that, a run of blocks behind each answer.
    at_minute(37);
    let selected = read().await.unwrap();
    assert_eq!(selected.series[0].samples.len(), 51);
    let note = "the past of journey checkout was fetched 2220 s ago, and is being fetched again";
    assert_eq!(selected.infos, [note]);
    let patience = Instant::now() + Duration::from_secs(60);
    while !read().await.unwrap().infos.is_empty() {
        assert!(Instant::now() < patience, "it was not fetched again");
        tokio::task::yield_now().await;
    }
    assert!(queries() > fetched);
    assert_eq!(everything(&engine, 60, 110).await, expected);
    // Where that fails it is still shown with its age, until it is a fifth more than an hour old.
    world.breaks(Fault::Unreachable);
    at_minute(37 + 47);
    assert_eq!(read().await.unwrap().infos.len(), 1);
    at_minute(37 + 73);
    assert!(matches!(read().await, Err(SelectError::Upstream { .. })));
    world.breaks(Fault::None);
    let selected = read().await.unwrap();
    assert_eq!((selected.series[0].samples.len(), selected.infos.len()), (51, 0));
    // Set back, it would be as if what was fetched came from the future.
    world.breaks(Fault::Unreachable);
    at_minute(0);
    assert!(read().await.is_err());
}

#[tokio::test]
async fn a_reload_changes_the_future_only() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    world.evaluate(&engine, 100).await;
    let before = everything(&engine, 100, 100).await;
    let renamed = SPEC.replace("Series(front, pay)", "Race(front, pay)");
    engine.replace(journeys(&renamed));
    world.evaluate(&engine, 101).await;
    assert_eq!(everything(&engine, 100, 100).await, before);
    let info = select(&engine, "emac_journey_model_info", 101, 101).await.unwrap();
    let live = |s: &&emac::series::Series| s.samples.iter().any(|s| s.value == 1.0);
    assert_eq!(info.series.iter().find(live).unwrap().labels.get("revision"), "2");
    let selected = select(&engine, PESSIMISTIC, 100, 101).await.unwrap();
    assert!(selected.series[0].samples[1].value > selected.series[0].samples[0].value);

    // The same spec again is no change of the journey.
    engine.replace(journeys(&renamed));
    assert_eq!((engine.model().revision, engine.model().journeys[0].info.revision), (3, 2));
    engine.note_invalid_model(at(101));
    world.evaluate(&engine, 102).await;
    assert_eq!(engine.latest()[0].flaws, [flaw(Reason::Model, None)]);
    engine.replace(journeys(&renamed));
    world.evaluate(&engine, 103).await;
    assert_eq!(engine.latest()[0].flaws, []);

    // A journey that is taken out ends at once.
    engine.replace(Vec::new());
    world.evaluate(&engine, 104).await;
    let selected = select(&engine, PESSIMISTIC, 103, 104).await.unwrap();
    assert_eq!(selected.series[0].samples[1].value.to_bits(), STALE_NAN_BITS);
    assert_eq!(engine.known_series(), []);
}

#[tokio::test]
async fn known_series_are_those_that_an_evaluation_has() {
    let mut world = World::new();
    let engine = world.engine(journeys(SPEC));
    let before = engine.known_series();
    world.evaluate(&engine, 100).await;
    let selected = engine
        .select(&[equal("journey", "checkout")], at(100), at(100), Instant::now() + Duration::from_secs(30))
        .await
        .unwrap();
    let evaluated: Vec<Labels> = selected.series.into_iter().map(|series| series.labels).collect();
    // Budgets exist only where the evidence lets the objective be met.
    let (budgets, always): (Vec<Labels>, Vec<Labels>) = evaluated
        .iter()
        .cloned()
        .partition(|labels| labels.get("__name__") == "emac_journey_component_budget");
    // What is left of a budget is told once it was asked for, beside the loop.
    let of_the_loop = |known: Vec<Labels>| -> Vec<Labels> {
        let remaining = "emac_journey_error_budget_remaining_";
        let (remaining, others): (Vec<_>, _) =
            known.into_iter().partition(|labels| labels.get("__name__").starts_with(remaining));
        assert_eq!(remaining.len(), 2);
        others
    };
    assert_eq!(of_the_loop(before), always);
    assert_eq!(budgets.len(), 2);
    assert_eq!(of_the_loop(engine.known_series()), evaluated);
}
