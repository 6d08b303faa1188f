//! The guards around an upstream that ails: how much is asked of it, who is refused, who is answered meanwhile, and how
//! soon all is well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use emac::upstream::{GuardSettings, GuardedUpstream, Upstream, UpstreamError};

use crate::faulty_upstream::{Fault, FaultyUpstream, SPEC, STEP};
use crate::http_client::{get, send};
use crate::prometheus::{escape, wait_for};
use crate::served::{Options, Served, journeys};

const POINT: i64 = 100;

fn guarded(shops: &[&FaultyUpstream], settings: GuardSettings) -> GuardedUpstream {
    let mut all = shops.iter().map(|shop| -> Arc<dyn Upstream> {
        Arc::new(HttpUpstream::new(HttpSettings::new(&shop.url)).unwrap())
    });
    GuardedUpstream::new(all.next().unwrap(), all.collect(), settings)
}

fn serve(shops: &[&FaultyUpstream], settings: GuardSettings) -> Served {
    for shop in shops {
        shop.scrape_until(POINT, 1.0);
    }
    let now = Timestamp::from_millis(POINT * STEP + 5_000);
    let upstream = || -> Arc<dyn Upstream> { Arc::new(guarded(shops, settings)) };
    let adjust = |settings: &mut emac::execute::EvaluationSettings| {
        settings.timeout = Duration::from_secs(3);
    };
    Served::start(upstream, journeys(SPEC), now, Options { adjust: Some(adjust), ..Options::default() })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

const OURS: &str = "emac_journey_availability_pessimistic";

fn ours(point: i64) -> String {
    format!("/api/v1/query?query={OURS}&time={}", point * STEP / 1000 + 5)
}

/// What only the upstream can answer.
fn theirs() -> String {
    format!("/api/v1/query?query={}&time=1500", escape("sum(m_bucket)"))
}

#[test]
fn an_ailing_upstream_is_asked_at_most_a_tenth_more_than_without_faults() {
    const ASKED: usize = 100;
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(502),
        Fault::Reset,
        Fault::ResetReused,
        Fault::CutAt(20),
        Fault::Silent,
    ] {
        let shop = FaultyUpstream::start();
        shop.breaks(fault.clone());
        // Without the breaker: it would hide what the budget does.
        let settings = GuardSettings { breaker: false, ..GuardSettings::default() };
        let runtime = runtime();
        runtime.block_on(async {
            let upstream = guarded(&[&shop], settings);
            for _ in 0..ASKED / 2 {
                let deadline =
                    Instant::now() + Duration::from_millis(if fault == Fault::Silent { 5 } else { 20_000 });
                let _ = upstream.instant("m_bucket", Timestamp::from_millis(1_500_000), deadline).await;
            }
        });
        let served = serve(&[&shop], settings);
        for _ in 0..if fault == Fault::Silent { 0 } else { ASKED / 2 } {
            get(&served.url, &theirs());
        }
        // One more: a retry is there from the start; and the server asks for the dialect on its own account.
        let asked = shop.queries();
        assert!(asked <= ASKED * 11 / 10 + 2, "{asked} requests instead of {ASKED} with {fault:?}");
    }
}

#[test]
fn a_read_whose_connection_breaks_is_asked_once_more_and_a_write_never() {
    let shop = FaultyUpstream::start();
    let served = serve(&[&shop], GuardSettings::default());
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(get(&served.url, &theirs()).status, 200);
    for _ in 0..3 {
        shop.breaks(Fault::ResetOnce);
        let before = shop.queries();
        assert_eq!(get(&served.url, &theirs()).status, 200);
        assert_eq!(shop.queries(), before + 2);
        // What the next retry is paid with.
        for _ in 0..10 {
            assert_eq!(get(&served.url, &theirs()).status, 200);
        }
    }
    shop.breaks(Fault::ResetOnce);
    assert_eq!(send(&served.url, "POST", "/api/v1/query", &form, b"query=m_bucket&time=1500").status, 200);
    shop.breaks(Fault::Reset);
    shop.heads();
    assert_eq!(send(&served.url, "POST", "/api/v1/write", &[], b"x").status, 503);
    let writes = shop.heads().iter().filter(|head| head.contains("/api/v1/write")).count();
    assert_eq!(writes, 1);
}

#[test]
fn a_dead_upstream_is_named_at_once_and_asked_again_when_it_is_back() {
    let shop = FaultyUpstream::start();
    let served = serve(&[&shop], GuardSettings::default());
    served.evaluate();
    assert_eq!(get(&served.url, &theirs()).status, 200);
    shop.kill();
    let metric = |name: &str| {
        let line = format!("{name}{{upstream=\"{}\"}} ", shop.url);
        let metrics = get(&served.url, "/metrics");
        metrics.text().lines().find_map(|text| text.strip_prefix(&line)?.parse::<f64>().ok())
    };
    for _ in 0..6 {
        let reply = get(&served.url, &theirs());
        assert_eq!(reply.status, 503);
        assert!(reply.text().contains(&shop.url), "{}", reply.text());
    }
    assert_eq!(metric("emac_upstream_circuit_open"), Some(1.0));
    let reply = get(&served.url, &theirs());
    assert!(reply.text().contains("asked again every second"), "{}", reply.text());
    // Own answers do not need it.
    assert_eq!(get(&served.url, &ours(POINT)).status, 200);
    shop.revive();
    let begun = Instant::now();
    wait_for("an answer", || (get(&served.url, &theirs()).status == 200).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(metric("emac_upstream_circuit_open"), Some(0.0));
    assert_eq!(metric("emac_upstream_circuit_openings_total"), Some(1.0));
}

#[test]
fn a_busy_upstream_refuses_dashboards_on_arrival_while_rules_still_have_their_share() {
    let shop = FaultyUpstream::start();
    let served = serve(&[&shop], GuardSettings::default());
    shop.breaks(Fault::Silent);
    let address = served.url.trim_start_matches("http://").to_owned();
    let begin = |agent: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let head = format!("GET {} HTTP/1.1\r\nHost: emac\r\nUser-Agent: {agent}\r\n\r\n", theirs());
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        stream
    };
    // As many as dashboards may have at the start: seven of ten.
    let held: Vec<_> = (0..7).map(|_| begin("Grafana/12.0")).collect();
    shop.wait_until_active(7);
    let ask = |agent: &str| {
        let begun = Instant::now();
        (send(&served.url, "GET", &theirs(), &[("User-Agent", agent)], b""), begun.elapsed())
    };
    // Once those under way have taken long enough to tell how long a wait would be, it is refused on arrival.
    let refused_on_arrival = |agent: &str| {
        wait_for("a refusal on arrival", || {
            let (reply, took) = ask(agent);
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.text());
            assert_eq!(reply.json()["errorType"], "unavailable");
            (took < Duration::from_millis(200)).then_some(())
        });
    };
    refused_on_arrival("Grafana/12.0");
    let rules: Vec<_> = (0..3).map(|_| begin("vmalert")).collect();
    shop.wait_until_active(10);
    refused_on_arrival("vmalert");
    let metrics = get(&served.url, "/metrics");
    assert!(metrics.text().contains("emac_upstream_refused_total"), "{}", metrics.text());
    drop((held, rules));
    shop.wait_until_active(0);
    shop.breaks(Fault::None);
    assert_eq!(ask("Grafana/12.0").0.status, 200);
}

#[test]
fn a_replica_stands_in_for_one_that_is_gone_within_the_same_evaluation() {
    let (first, second) = (FaultyUpstream::start(), FaultyUpstream::start());
    let served = serve(&[&first, &second], GuardSettings::default());
    served.evaluate();
    let asked_of_second = |since: usize| second.queries() - since;
    assert_eq!(asked_of_second(0), 0);
    for point in POINT + 1..POINT + 4 {
        for shop in [&first, &second] {
            shop.scrape_until(point, 1.0);
        }
        let before = second.queries();
        first.kill();
        served.evaluate_at(Timestamp::from_millis(point * STEP + 5_000));
        assert!(asked_of_second(before) > 0);
        let reply = get(&served.url, &ours(point)).json();
        let result = reply["data"]["result"].as_array().unwrap();
        assert_eq!(result.len(), 1, "{reply}");
        let flaws = &served.engine.latest()[0].flaws;
        assert!(flaws.is_empty(), "{flaws:?}");
        // Pass-through as well.
        assert_eq!(get(&served.url, &theirs()).status, 200);
    }
    // And back, once it answers.
    first.revive();
    wait_for("the first to be asked again", || {
        first.heads();
        get(&served.url, &theirs());
        // Not merely probed.
        first.heads().iter().any(|head| head.contains("m%5Fbucket")).then_some(())
    });
    let before = second.queries();
    for shop in [&first, &second] {
        shop.scrape_until(POINT + 5, 1.0);
    }
    served.evaluate_at(Timestamp::from_millis((POINT + 5) * STEP + 5_000));
    assert_eq!(asked_of_second(before), 0, "a round of evidence is not mixed");
}

#[test]
fn identical_cold_queries_are_one_and_an_impatient_client_does_not_start_them_again() {
    // What one alone asks.
    let alone = FaultyUpstream::start();
    let served = serve(&[&alone], GuardSettings::default());
    let before = alone.queries();
    // Far enough in the past to be final.
    let old = ours(POINT - 15);
    assert_eq!(get(&served.url, &old).status, 200);
    let one = alone.queries() - before;
    assert!(one > 0);

    let shop = FaultyUpstream::start();
    let served = serve(&[&shop], GuardSettings::default());
    wait_for("the dialect", || (shop.queries() == 0).then_some(()));
    shop.breaks(Fault::Latency(Duration::from_millis(1_500)));
    let ready = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                assert_eq!(get(&served.url, &old).status, 200);
                ready.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!((ready.load(Ordering::SeqCst), shop.queries()), (100, one));

    // A client that never waits long enough: what it started ends up in the cache.
    let shop = FaultyUpstream::start();
    let served = serve(&[&shop], GuardSettings::default());
    shop.breaks(Fault::Latency(Duration::from_millis(1_000)));
    let impatient = format!("{old}&timeout=100ms");
    let mut tries = 0;
    wait_for("the evidence", || {
        tries += 1;
        (get(&served.url, &impatient).status == 200).then_some(())
    });
    assert!(tries > 1);
    assert_eq!(shop.queries(), one);
}

#[test]
fn an_answer_with_a_label_beyond_64_kib_is_the_upstreams_error() {
    let shop = FaultyUpstream::start();
    let served = serve(&[&shop], GuardSettings::default());
    shop.breaks(Fault::LongLabel(100 << 10));
    let union =
        format!("/api/v1/query?query={}&time=1505", escape("{service=~\"front|pay\",journey=~\".*\"}"));
    let mixed = format!("/api/v1/query?query={}&time=1505", escape(&format!("{OURS} and on() m_bucket")));
    for target in [union, mixed] {
        let reply = get(&served.url, &target);
        // What concerns the upstream alone passes as it is.
        if reply.status != 200 {
            assert_eq!(reply.status, 422, "{}", reply.text());
            assert!(reply.text().contains(&shop.url), "{}", reply.text());
        } else {
            assert!(!reply.text().contains("emac_journey"));
        }
    }
    runtime().block_on(async {
        let upstream = guarded(&[&shop], GuardSettings::default());
        let deadline = Instant::now() + Duration::from_secs(20);
        let answer = upstream.instant("m_bucket", Timestamp::from_millis(1_500_000), deadline).await;
        assert!(matches!(answer, Err(UpstreamError::Malformed { .. })), "{answer:?}");
    });
}
