//! Every fault of an upstream, seen from every side: the direct API, the scrape page and remote read. No value is more
//! optimistic than the truth, none stands without its reason, and after the fault the next answer is right.

use std::time::{Duration, Instant};

use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use emac::upstream::{MemoryBudget, Upstream as _, UpstreamError};

use crate::every_way::{AVAILABILITY, POINT, by_every_way, go_to, reasons, right, serve, value};
use crate::faulty_upstream::{Fault, FaultyUpstream, STEP};
use crate::http_client::get;
use crate::prometheus::escape;

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
        // The end of the last connection may be seen only after the next request was sent over it.
        let again = match ask().await {
            Err(UpstreamError::Unreachable { .. }) => ask().await,
            other => other,
        };
        assert_eq!(again.unwrap(), whole);
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
            matches!(answer, Err(UpstreamError::Malformed { fault, .. }) if fault.contains("in_flight"))
        });
        assert!(refused.count() >= 1, "{answers:?}");
        assert_eq!(memory.in_use(), 0);
        shop.breaks(Fault::None);
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(upstream.instant("1", Timestamp::from_millis(0), deadline).await.is_ok());
    });
}
