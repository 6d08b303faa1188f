//! Evidence from a real Prometheus over its HTTP API, on a history whose every number is known.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use emac::execute::{Engine, EvaluationSettings, SelectError, fetch_evidence};
use emac::journey::evidence::{Measurement, Reason};
use emac::plan::read::{ReadSettings, Reading};
use emac::series::{Labels, MatchOp, Matcher, NAME, STALE_NAN_BITS};
use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};

use crate::evidence_engine::SPEC;
use crate::prometheus::{Prometheus, Setup, escape, get};
use crate::served::journeys;

const STEP: i64 = 15_000;
/// Scrapes of the history: it ends where the clock stands, else its rest would lie in the future.
const SCRAPES: i64 = 161;

/// The start of the history: five hours ago, at a full minute.
fn start() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap() - 5 * 3_600_000)
        .floor_to("1m".parse().unwrap())
}

/// Two services, scraped every 15 s; every seventh scrape sees another load.
fn history(start: Timestamp) -> String {
    let mut text = String::from("# TYPE m histogram\n");
    for (service, failures) in [("front", 1.0), ("pay", 2.0)] {
        for code in ["200", "500"] {
            for (le, share) in [("0.1", 0.5), ("0.5", 0.9), ("+Inf", 1.0)] {
                let mut count = 0.0;
                for scrape in 0..SCRAPES {
                    let calls = if code == "500" { failures } else { 40.0 + 3.0 * (scrape % 7) as f64 };
                    count += calls * share;
                    let time = start.plus_millis(scrape * STEP).seconds();
                    let labels = format!("service=\"{service}\",code=\"{code}\",le=\"{le}\"");
                    writeln!(text, "m_bucket{{{labels}}} {count} {time}").unwrap();
                }
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn upstream(prometheus: &Prometheus) -> Arc<dyn Upstream> {
    Arc::new(HttpUpstream::new(HttpSettings::new(prometheus.url())).unwrap())
}

fn engine(upstream: Arc<dyn Upstream>, now: Timestamp) -> Arc<Engine> {
    let settings = EvaluationSettings::with_clock(Arc::new(move || now));
    Engine::new(upstream, journeys(SPEC), settings)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn matcher(name: &str, value: &str) -> Matcher {
    Matcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() }
}

/// `(le, value)` of a query at a time, by its own words.
fn direct(prometheus: &Prometheus, query: &str, at: Timestamp) -> Vec<(f64, f64)> {
    let url = format!("{}/api/v1/query?time={}&query={}", prometheus.url(), at.seconds(), escape(query));
    let answer = get(&url).json();
    let mut pairs: Vec<(f64, f64)> = answer["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let edge = series["metric"]["le"].as_str().unwrap().parse().unwrap();
            (edge, series["value"][1].as_str().unwrap().parse().unwrap())
        })
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    pairs
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn evidence_is_what_the_same_queries_give_directly() {
    let start = start();
    let prometheus = Prometheus::start(&Setup { history: Some(&history(start)), ..Setup::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let at = start.plus_millis(100 * STEP);
    let settings = ReadSettings { max_lookback: "1h".parse().unwrap(), delay: Duration::from_secs(5) };
    let journey = Arc::new(journeys(SPEC).remove(0));
    let readings = runtime.block_on(async {
        let upstream = upstream(&prometheus);
        fetch_evidence(&*upstream, &[journey], None, at, &settings, soon()).await.unwrap()
    });
    let Reading::Evidence { windows, flaws, age } = &readings[0] else { panic!("{readings:?}") };
    assert_eq!((windows.len(), flaws.as_slice(), age.unwrap().get()), (2, &[][..], 0.0));
    for window in windows {
        for (component, service) in window.evidence.components.iter().zip(["front", "pay"]) {
            let Measurement::Counts(counts) = &component.measurement else { panic!("{component:?}") };
            let asked = |matchers: &str| {
                let selector = format!("m_bucket{{service=\"{service}\"{matchers}}}[{}]", window.window);
                direct(&prometheus, &format!("sum by (le) (increase({selector}))"), at)
            };
            let (all, good) = (asked(""), asked(",code!~\"5..\""));
            assert_eq!(counts.total(), all[2].1);
            assert_eq!(counts.good(), good[2].1);
            let expected: Vec<f64> = good.iter().map(|pair| pair.1).collect();
            assert_eq!(counts.latency().unwrap().counts(), expected);
            assert_eq!(counts.latency().unwrap().edges(), [0.1, 0.5]);
            // Failures are constant: one or two a scrape.
            let scrapes = window.window.millis() as f64 / STEP as f64;
            let failures = if service == "front" { 1.0 } else { 2.0 } * scrapes;
            assert!((counts.failure_latency().unwrap().total() / failures - 1.0).abs() < 1e-9, "{counts:?}");
        }
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_back_fill_over_range_queries_equals_the_live_samples_and_a_killed_prometheus_is_named() {
    let start = start();
    let mut prometheus = Prometheus::start(&Setup { history: Some(&history(start)), ..Setup::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (first, last) = (start.plus_millis(60 * STEP), start.plus_millis(160 * STEP));
    let now = last.plus_millis(5_000);
    let upstream = {
        let _inside = runtime.enter();
        upstream(&prometheus)
    };
    let samples = |engine: &Arc<Engine>| {
        let selected =
            runtime.block_on(engine.select(&[matcher("journey", "checkout")], first, last, soon())).unwrap();
        let mut all: Vec<(Labels, i64, u64)> = Vec::new();
        for series in selected.series {
            let live = series.samples.iter().filter(|s| s.value.to_bits() != STALE_NAN_BITS);
            all.extend(live.map(|s| (series.labels.clone(), s.time.millis(), s.value.to_bits())));
        }
        all
    };
    let live = engine(Arc::clone(&upstream), now);
    for point in 60..=160 {
        runtime.block_on(live.evaluate_now(start.plus_millis(point * STEP)));
    }
    // A tenth of the calls lies beyond the last finite edge: the p99 has no finite value, and says so.
    let flaws = &live.latest()[0].flaws;
    assert!(flaws.iter().all(|flaw| flaw.reason == Reason::OverflowBucket) && flaws.len() == 2, "{flaws:?}");
    let restarted = engine(Arc::clone(&upstream), now);
    runtime.block_on(restarted.evaluate_now(last));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = runtime.spawn(Arc::clone(&restarted).run(async {
        let _ = stopped.await;
    }));
    crate::prometheus::wait_for("the back-fill", || {
        (restarted.counters().backfilled_points >= 100).then_some(())
    });
    drop(stop);
    runtime.block_on(running).unwrap();
    let expected = samples(&live);
    assert!(expected.len() > 5_000, "{}", expected.len());
    assert_eq!(samples(&restarted), expected);

    prometheus.kill();
    let later = engine(upstream, now.plus_millis(120_000));
    runtime.block_on(later.evaluate_now(last.plus_millis(120_000)));
    let availability = [matcher(NAME, "emac_journey_availability_pessimistic")];
    let error =
        runtime.block_on(later.select(&availability, last, last.plus_millis(120_000), soon())).unwrap_err();
    assert!(matches!(error, SelectError::Upstream { .. }));
    assert!(error.to_string().contains(prometheus.url()), "{error}");
}
