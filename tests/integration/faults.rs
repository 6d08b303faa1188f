//! Every fault of an upstream, seen from every side: the direct API, the scrape page and remote read. No value is more
//! optimistic than the truth, none stands without its reason, and after the fault the next answer is right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use emac::execute::EvaluationSettings;
use emac::series::STALE_NAN_BITS;
use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use emac::upstream::{GuardSettings, GuardedUpstream, MemoryBudget, Upstream, UpstreamError};

use crate::faulty_upstream::{Fault, FaultyUpstream, SPEC, STEP, Shop};
use crate::http_client::get;
use crate::prometheus::escape;
use crate::remote_read_client;
use crate::served::{Options, Served, journeys};

const POINT: i64 = 100;
const AVAILABILITY: &str = "emac_journey_availability_pessimistic";
const LATENCY: &str = "emac_journey_latency_pessimistic_seconds";

fn serve(shop: &FaultyUpstream) -> Served {
    let url = shop.url.clone();
    let upstream = move || -> Arc<dyn Upstream> {
        let settings = HttpSettings { body_limit: 1 << 20, ..HttpSettings::new(url) };
        let http = HttpUpstream::new(settings).unwrap();
        Arc::new(GuardedUpstream::new(Arc::new(http), Vec::new(), GuardSettings::default()))
    };
    let adjust = |settings: &mut EvaluationSettings| settings.timeout = Duration::from_millis(1_500);
    let now = Timestamp::from_millis(POINT * STEP + 5_000);
    Served::start(upstream, journeys(SPEC), now, Options { adjust: Some(adjust), ..Options::default() })
}

/// What one series is at a point: a value, or nothing. `Err`: the way says that it cannot be answered.
type Seen = Result<Option<f64>, String>;

/// A series at the newest point, by each way.
fn by_every_way(served: &Served, point: i64, name: &str) -> [Seen; 3] {
    by_every_way_of(served, point, name, &[])
}

/// The same of one that has more labels.
fn by_every_way_of(served: &Served, point: i64, name: &str, labels: &[(&str, &str)]) -> [Seen; 3] {
    let labels: Vec<(&str, &str)> = [("journey", "checkout")].iter().chain(labels).copied().collect();
    let number = |text: &str| -> f64 { text.replace("+Inf", "inf").parse().unwrap() };
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let text = escape(&format!("{name}{{{}}}", pairs.join(",")));
    let reply = get(&served.url, &format!("/api/v1/query?query={text}&time={}", point * STEP / 1000 + 5));
    let direct = match reply.status {
        200 => {
            let json = reply.json();
            let result = json["data"]["result"].as_array().unwrap();
            assert!(result.len() <= 1, "{json}");
            Ok(result.first().map(|series| number(series["value"][1].as_str().unwrap())))
        }
        422 => Err(reply.json()["error"].as_str().unwrap().to_owned()),
        status => panic!("{status}: {}", reply.text()),
    };
    let page = get(&served.url, "/journeys/metrics");
    assert_eq!(page.status, 200);
    let scraped = page.text().lines().find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let is_it = series.split('{').next() == Some(name) && pairs.iter().all(|pair| series.contains(pair));
        is_it.then(|| number(value))
    });
    let at = point * STEP;
    let matchers: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let matchers: Vec<&str> = matchers.iter().map(String::as_str).collect();
    let query = remote_read_client::query(name, &matchers, at - 5 * 60_000, at + 5_000);
    let read = remote_read_client::read(&served.url, query, &[]);
    // As an engine looks back: the newest sample, unless it marks an end.
    let newest = read.first().and_then(|(_, samples)| samples.last().copied());
    let read = newest.filter(|(_, bits)| *bits != STALE_NAN_BITS).map(|(_, bits)| f64::from_bits(bits));
    [direct, Ok(scraped), Ok(read)]
}

/// The reasons that are given, by each way.
fn reasons(served: &Served, point: i64) -> Vec<String> {
    let time = point * STEP / 1000 + 5;
    let query = escape("emac_journey_evidence_missing == 1");
    let json = get(&served.url, &format!("/api/v1/query?query={query}&time={time}")).json();
    let mut direct: Vec<String> = json["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["metric"]["reason"].as_str().unwrap().to_owned())
        .collect();
    direct.sort();
    direct.dedup();
    let page = get(&served.url, "/journeys/metrics");
    let mut scraped: Vec<String> = page
        .text()
        .lines()
        .filter(|line| line.starts_with("emac_journey_evidence_missing{") && line.ends_with(" 1"))
        .map(|line| line.split("reason=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
        .collect();
    scraped.sort();
    scraped.dedup();
    assert_eq!(direct, scraped);
    direct
}

fn value(seen: &Seen) -> f64 {
    seen.clone().unwrap().unwrap()
}

fn go_to(served: &Served, shop: &FaultyUpstream, point: i64, failing: f64) {
    shop.scrape_until(point, failing);
    served.evaluate_at(Timestamp::from_millis(point * STEP + 5_000));
}

/// The value of a healthy proxy at the same time.
fn right(shop: &FaultyUpstream, point: i64, name: &str) -> f64 {
    let served = serve(shop);
    served.evaluate_at(Timestamp::from_millis(point * STEP + 5_000));
    value(&by_every_way(&served, point, name)[0])
}

#[test]
fn an_upstream_that_does_not_answer_leaves_one_stale_value_then_none_and_then_the_truth() {
    let mut unusable: Vec<(&str, Option<Fault>)> = vec![("killed", None)];
    unusable.extend(
        [
            ("silent", Fault::Silent),
            ("late", Fault::Latency(Duration::from_secs(10))),
            ("one byte a second", Fault::Drip),
            ("cut in the head", Fault::CutAt(30)),
            ("cut in the body", Fault::CutAt(150)),
            ("garbage", Fault::Garbage),
            ("too short", Fault::TooShort),
            ("too long", Fault::TooLong),
            ("204", Fault::NoContent),
            ("500", Fault::Status(500)),
            ("503", Fault::Status(503)),
            ("429", Fault::Status(429)),
            ("reset", Fault::Reset),
            ("4 MiB", Fault::Padding(4 << 20)),
            ("gzip bomb", Fault::GzipBomb(64 << 20)),
            ("long label", Fault::LongLabel(100 << 10)),
        ]
        .map(|(what, fault)| (what, Some(fault))),
    );
    for (what, fault) in unusable {
        let shop = FaultyUpstream::start();
        let served = serve(&shop);
        go_to(&served, &shop, POINT, 1.0);
        let good = by_every_way(&served, POINT, AVAILABILITY);
        let truth = right(&shop, POINT, AVAILABILITY);
        assert!(truth > 0.9 && truth < 0.9801, "{truth}");
        assert!(good.iter().all(|seen| *seen == Ok(Some(truth))), "{what}: {good:?}");
        assert_eq!(reasons(&served, POINT), Vec::<String>::new(), "{what}");
        match &fault {
            Some(fault) => shop.breaks(fault.clone()),
            None => shop.kill(),
        }
        // Worse by far, which nobody can know yet.
        go_to(&served, &shop, POINT + 1, 50.0);
        let stale = by_every_way(&served, POINT + 1, AVAILABILITY);
        assert!(stale.iter().all(|seen| *seen == Ok(Some(truth))), "{what}: {stale:?}");
        assert_eq!(reasons(&served, POINT + 1), ["stale"], "{what}");
        let age = by_every_way(&served, POINT + 1, "emac_journey_evidence_age_seconds");
        assert!(age.iter().all(|seen| value(seen) > 15.0), "{what}: {age:?}");

        go_to(&served, &shop, POINT + 2, 50.0);
        let [direct, scraped, read] = by_every_way(&served, POINT + 2, AVAILABILITY);
        let said = direct.unwrap_err();
        assert!(said.contains(&shop.url) && said.contains("the newest evidence is"), "{what}: {said}");
        assert_eq!((scraped, read), (Ok(None), Ok(None)), "{what}");
        assert_eq!(reasons(&served, POINT + 2), ["upstream"], "{what}");
        // What is always answered says so.
        for (name, least) in [("emac_journey_evidence_age_seconds", 30.0), ("emac_journey_model_info", 1.0)] {
            let seen = by_every_way(&served, POINT + 2, name);
            assert!(seen.iter().all(|seen| value(seen) >= least), "{what}: {seen:?}");
        }

        match &fault {
            Some(_) => shop.breaks(Fault::None),
            None => shop.revive(),
        }
        go_to(&served, &shop, POINT + 3, 50.0);
        let back = by_every_way(&served, POINT + 3, AVAILABILITY);
        let truth = right(&shop, POINT + 3, AVAILABILITY);
        assert!(truth < 0.9, "{truth}");
        assert!(back.iter().all(|seen| *seen == Ok(Some(truth))), "{what}: {back:?} where {truth} is right");
        assert_eq!(reasons(&served, POINT + 3), Vec::<String>::new(), "{what}");
    }
}

/// One condition of the evidence itself.
struct Row {
    what: &'static str,
    shop: Shop,
    failing: f64,
    fault: Fault,
    reasons: &'static [&'static str],
    /// At most.
    availability: f64,
    /// At least.
    latency: f64,
}

#[test]
fn evidence_that_is_bad_gives_the_pessimistic_value_with_its_reason() {
    let usual = Shop::default;
    let infinite = f64::INFINITY;
    let row = |what, shop, reasons, availability, latency| Row {
        what,
        shop,
        failing: 1.0,
        fault: Fault::None,
        reasons,
        availability,
        latency,
    };
    let rows = [
        // 1 − 0.01 for each of two, at best.
        row("all is well", usual(), &[], 0.9801, 0.1),
        Row { fault: Fault::Warnings, ..row("warnings", usual(), &["partial"], 0.0, infinite) },
        Row {
            fault: Fault::Refuses("increase"),
            ..row("the sums are refused", usual(), &["upstream"], 0.0, infinite)
        },
        row("no success series, and calls", Shop { codes: &["500"], ..usual() }, &[], 0.0, infinite),
        Row { failing: 100.0, ..row("every call fails", usual(), &[], 0.0, infinite) },
        row("no traffic", Shop { idle: true, ..usual() }, &["no_traffic"], 0.0, infinite),
        row(
            "a service's series are gone",
            Shop { gone_after: Some(70), ..usual() },
            &["absent"],
            0.0,
            infinite,
        ),
        row(
            "all is slower than the last edge",
            Shop { slow: true, ..usual() },
            &["overflow_bucket"],
            0.9801,
            infinite,
        ),
        row(
            "scrapes stopped two minutes ago",
            Shop { stopped_after: Some(92), ..usual() },
            &["clock"],
            0.9801,
            0.1,
        ),
    ];
    for row in rows {
        let shop = FaultyUpstream::with(row.shop);
        let served = serve(&shop);
        shop.breaks(row.fault);
        go_to(&served, &shop, POINT, row.failing);
        let what = row.what;
        let said = reasons(&served, POINT);
        assert_eq!(said, row.reasons, "{what}");
        let held = |name: &str, labels: &[(&str, &str)], holds: &dyn Fn(f64) -> bool| {
            for (way, seen) in by_every_way_of(&served, POINT, name, labels).iter().enumerate() {
                match seen {
                    Ok(Some(value)) => assert!(holds(*value), "{what}: {name} is {value} by way {way}"),
                    // No value is no optimism, but the direct way must say why.
                    Ok(None) => assert_ne!(way, 0, "{what}: {name} is empty"),
                    Err(said) => assert!(said.contains(&shop.url), "{what}: {said}"),
                }
            }
        };
        held(AVAILABILITY, &[], &|value| value <= row.availability);
        held(LATENCY, &[("quantile", "0.9")], &|value| value >= row.latency);
    }
}

#[test]
fn an_answer_cut_at_any_byte_is_never_an_answer() {
    let shop = FaultyUpstream::start();
    shop.scrape_until(POINT, 1.0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = HttpUpstream::new(HttpSettings::new(&shop.url)).unwrap();
        let ask = || {
            let deadline = Instant::now() + Duration::from_secs(20);
            upstream.instant("sum(m_bucket)", Timestamp::from_millis(POINT * STEP), deadline)
        };
        let whole = ask().await.unwrap();
        assert_eq!(whole.series.len(), 1);
        let mut cut = 0;
        loop {
            shop.breaks(Fault::CutAt(cut));
            match ask().await {
                Ok(answer) => {
                    // The first that is not cut at all.
                    assert_eq!(answer, whole);
                    break;
                }
                Err(UpstreamError::Unreachable { .. } | UpstreamError::Malformed { .. }) => cut += 1,
                Err(other) => panic!("{other} at {cut}"),
            }
        }
        assert!(cut > 150, "{cut}");
        shop.breaks(Fault::None);
        assert_eq!(ask().await.unwrap(), whole);
    });
}

#[test]
fn what_passes_through_is_never_completed_where_the_upstream_broke_off() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop);
    shop.scrape_until(POINT, 1.0);
    let target = "/api/v1/query?query=m_bucket&time=1500";
    let whole = get(&served.url, target);
    assert_eq!(whole.status, 200);
    for fault in [Fault::CutAt(300), Fault::TooShort] {
        shop.breaks(fault.clone());
        let cut = get(&served.url, target);
        // Announced more than came, so that every client knows.
        let announced: usize = cut.header("content-length").unwrap().parse().unwrap();
        assert!(cut.body.len() < announced, "{fault:?}");
    }
    // Merged with ours, the same is an error.
    served.evaluate();
    shop.breaks(Fault::NoContent);
    assert_eq!(get(&served.url, target).status, 204);
    let union = format!("/api/v1/query?query={}&time=1505", escape("{journey=\"checkout\"}"));
    for fault in [Fault::CutAt(100), Fault::TooShort, Fault::NoContent, Fault::Garbage, Fault::Status(500)] {
        shop.breaks(fault.clone());
        let reply = get(&served.url, &union);
        assert_eq!(reply.status, 422, "{fault:?}: {}", reply.text());
    }
}

#[test]
fn a_flood_of_answers_is_held_within_the_memory_budget() {
    let shop = FaultyUpstream::start();
    let memory = MemoryBudget::new(4 << 20);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = HttpSettings { memory: memory.clone(), ..HttpSettings::new(&shop.url) };
        let upstream = HttpUpstream::new(settings).unwrap();
        shop.breaks(Fault::Padding(3 << 20));
        let asked = (0..8).map(|_| {
            let deadline = Instant::now() + Duration::from_secs(20);
            upstream.instant("1", Timestamp::from_millis(0), deadline)
        });
        let answers = futures::future::join_all(asked).await;
        let refused = answers.iter().filter(|answer| {
            matches!(answer, Err(UpstreamError::Malformed { fault, .. }) if fault.contains("in flight"))
        });
        assert!(refused.count() >= 1, "{answers:?}");
        assert_eq!(memory.in_use(), 0);
        shop.breaks(Fault::None);
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(upstream.instant("1", Timestamp::from_millis(0), deadline).await.is_ok());
    });
}
