//! Evidence that is bad, row by row: its value and its reason, seen from every side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use emac::api::Reload;
use emac::unit::Timestamp;

use crate::every_way::{
    AVAILABILITY, LATENCY, POINT, by_every_way, by_every_way_of, go_to, reasons, right, serve, serve_with,
    value,
};
use crate::faulty_upstream::{Fault, FaultyUpstream, SPEC, STEP, Shop};
use crate::http_client::send;
use crate::served::journeys;

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
        Row {
            fault: Fault::Refuses("code"),
            ..row("the successes are refused", usual(), &["partial"], 0.0, infinite)
        },
        Row {
            fault: Fault::Refuses("count%20by"),
            ..row("the layout of buckets is refused", usual(), &["partial"], 0.0, infinite)
        },
        Row {
            fault: Fault::Refuses("count_over_time"),
            ..row("the number of samples is refused", usual(), &["partial"], 0.0, infinite)
        },
        row(
            "an instance lacks a bucket",
            Shop { lacks: Some("0.1"), ..usual() },
            &["partial"],
            0.9801,
            infinite,
        ),
        row(
            // Its calls are counted nowhere: what the others sum up is a part.
            "an instance lacks the last bucket",
            Shop { lacks: Some("+Inf"), ..usual() },
            &["partial"],
            0.0,
            infinite,
        ),
        // What was counted before is not lost: an increase over a restart adds up.
        row("the counters started anew", Shop { restarts_at: Some(92), ..usual() }, &[], 0.9801, 0.1),
        row(
            "a service has a single sample",
            Shop { begins_at: Some(POINT), ..usual() },
            &["reset"],
            0.0,
            infinite,
        ),
        row("samples are from the future", Shop { ahead: 40_000, ..usual() }, &["clock"], 0.9801, 0.1),
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

/// An hour, in points.
const HOUR: i64 = 240;

#[test]
fn a_clock_that_jumps_ahead_shows_no_value_as_fresh_and_is_right_again_when_it_is_set_back() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop);
    go_to(&served, &shop, POINT, 1.0);
    assert!(value(&by_every_way(&served, POINT, AVAILABILITY)[0]) > 0.9);
    // Ours alone.
    served.evaluate_at(Timestamp::from_millis((POINT + HOUR) * STEP + 5_000));
    let ahead = by_every_way(&served, POINT + HOUR, AVAILABILITY);
    assert!(ahead.iter().all(|seen| *seen == Ok(Some(0.0))), "{ahead:?}");
    assert_eq!(reasons(&served, POINT + HOUR), ["absent"]);
    for point in [POINT + 1, POINT + 2] {
        go_to(&served, &shop, point, 50.0);
        let truth = right(&shop, point, AVAILABILITY);
        let back = by_every_way(&served, point, AVAILABILITY);
        assert!(back.iter().all(|seen| *seen == Ok(Some(truth))), "{back:?} where {truth} is right");
        assert_eq!(reasons(&served, point), Vec::<String>::new());
    }
}

#[test]
fn a_clock_that_is_set_back_says_that_evidence_is_from_the_future() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop);
    go_to(&served, &shop, POINT, 1.0);
    served.evaluate_at(Timestamp::from_millis((POINT - 50) * STEP + 5_000));
    let behind = by_every_way(&served, POINT - 50, AVAILABILITY);
    assert!(behind.iter().all(|seen| value(seen) < 0.9801), "{behind:?}");
    assert_eq!(reasons(&served, POINT - 50), ["clock"]);
    go_to(&served, &shop, POINT + 1, 50.0);
    let truth = right(&shop, POINT + 1, AVAILABILITY);
    let back = by_every_way(&served, POINT + 1, AVAILABILITY);
    assert!(back.iter().all(|seen| *seen == Ok(Some(truth))), "{back:?} where {truth} is right");
    assert_eq!(reasons(&served, POINT + 1), Vec::<String>::new());
}

#[test]
fn a_spec_that_became_invalid_leaves_the_last_good_model_and_says_so() {
    let shop = FaultyUpstream::start();
    let invalid = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&invalid);
    let reload: Reload = Arc::new(move || match told.load(Ordering::SeqCst) {
        true => Err("error[E001] journey.yaml:3:5: no".to_owned()),
        false => Ok(()),
    });
    let served = serve_with(&shop, Some(reload));
    go_to(&served, &shop, POINT, 1.0);
    assert_eq!(reasons(&served, POINT), Vec::<String>::new());
    invalid.store(true, Ordering::SeqCst);
    assert_eq!(send(&served.url, "POST", "/-/reload", &[], b"").status, 422);
    go_to(&served, &shop, POINT + 1, 50.0);
    assert_eq!(reasons(&served, POINT + 1), ["model"]);
    let truth = right(&shop, POINT + 1, AVAILABILITY);
    let seen = by_every_way(&served, POINT + 1, AVAILABILITY);
    assert!(seen.iter().all(|seen| *seen == Ok(Some(truth))), "{seen:?} where {truth} is right");
    // Beside another reason, both are named.
    shop.breaks(Fault::Warnings);
    go_to(&served, &shop, POINT + 2, 50.0);
    assert_eq!(reasons(&served, POINT + 2), ["model", "partial"]);
    shop.breaks(Fault::None);
    invalid.store(false, Ordering::SeqCst);
    assert_eq!(send(&served.url, "POST", "/-/reload", &[], b"").status, 200);
    // That reload read nothing: a real one replaces the model, which is what ends the reason.
    served.engine.replace(journeys(SPEC));
    go_to(&served, &shop, POINT + 3, 50.0);
    assert_eq!(reasons(&served, POINT + 3), Vec::<String>::new());
}

#[test]
fn a_model_that_changed_changes_the_future_only_and_never_takes_over_what_was_stale() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop);
    go_to(&served, &shop, POINT, 1.0);
    let before = by_every_way(&served, POINT, AVAILABILITY);
    assert_eq!(value(&by_every_way(&served, POINT, "emac_journey_model_info")[0]), 1.0);
    served.engine.replace(journeys(&SPEC.replace("Series(front, pay)", "Race(front, pay)")));
    go_to(&served, &shop, POINT + 1, 1.0);
    let after = by_every_way(&served, POINT + 1, AVAILABILITY);
    let (old, new) = (value(&before[0]), value(&after[0]));
    assert!(
        after.iter().all(|seen| *seen == Ok(Some(new))) && new > 0.99 && old < 0.9801,
        "{before:?} {after:?}"
    );
    // The past is what it was, and the revision tells which model it is of.
    let [direct, _, read] = by_every_way(&served, POINT, AVAILABILITY);
    assert_eq!((direct, read), (Ok(Some(old)), Ok(Some(old))));
    assert_eq!(reasons(&served, POINT + 1), Vec::<String>::new());
    // Changed again while the upstream is gone: no value of another model stands in.
    served.engine.replace(journeys(SPEC));
    shop.breaks(Fault::Reset);
    go_to(&served, &shop, POINT + 2, 1.0);
    let [direct, scraped, read] = by_every_way(&served, POINT + 2, AVAILABILITY);
    assert!(direct.unwrap_err().contains(&shop.url));
    assert_eq!((scraped, read), (Ok(None), Ok(None)));
    assert_eq!(reasons(&served, POINT + 2), ["upstream"]);
}
