//! The demo's shop, its embedded Prometheus and the engine, in one process and in simulated time.

use emac::algebra::composition::Bounded;
use emac::demo::incident::{INCIDENTS, Schedule};
use emac::demo::live::{Demo, View};
use emac::journey::evidence::Reason;
use emac::unit::{Probability, Timestamp, Window};

const MINUTE: i64 = 60_000;

/// Any time will do.
fn opening() -> Timestamp {
    Timestamp::from_millis(1_700_000_100_000).floor_to(Window::from_millis(15_000).unwrap())
}

/// What four and a half standard errors of the difference of two shares of `n` requests are.
fn binomial_error(p: Probability, n: u64) -> f64 {
    4.5 * (2.0 * p.get() * p.complement().get() / n as f64).sqrt()
}

#[tokio::test]
async fn in_steady_state_the_predictions_agree_with_what_users_saw() {
    let window: Window = "30m".parse().unwrap();
    let mut demo = Demo::new(None, 1, opening()).unwrap();
    demo.run_unwatched(opening().plus_millis(32 * MINUTE)).await.unwrap();
    let views = demo.run(opening().plus_millis(32 * MINUTE)).await.unwrap();
    assert_eq!(views.len(), 1);
    for evaluation in demo.engine().latest() {
        let journey = &evaluation.journey;
        // Of the objectives' month the demo has half an hour.
        let others = evaluation.flaws.iter().filter(|flaw| flaw.reason != Reason::Retention);
        assert_eq!(others.count(), 0, "{}: {:?}", journey.name, evaluation.flaws);
        let answered = evaluation.windows.iter().find(|one| one.window == window).unwrap();
        let seen = demo.observed(&journey.name, window).unwrap().unwrap();
        assert!(seen.total > 100_000, "{}: {} requests", journey.name, seen.total);

        let Bounded { estimate, pessimistic, optimistic } = answered.composition.availability;
        let availability = seen.availability().unwrap();
        let error = binomial_error(availability, seen.total);
        let name = &journey.name;
        assert!((estimate.get() - availability.get()).abs() < error, "{name}: {estimate:?} {availability:?}");
        assert!(pessimistic.get() - error < availability.get(), "{name}: {pessimistic:?} {availability:?}");
        assert!(optimistic.get() + error > availability.get(), "{name}: {optimistic:?} {availability:?}");

        let quantile = journey.objectives.latency.as_ref().unwrap().quantile;
        let predicted = answered.composition.latency_at(quantile).unwrap().value;
        let observed = seen.latency_at(quantile).unwrap();
        let ratio = predicted.estimate.get() / observed.get();
        assert!((ratio - 1.0).abs() < 0.05, "{name}: p99 {:?} for {observed:?}", predicted.estimate);
        assert!(
            predicted.optimistic <= observed && observed <= predicted.pessimistic,
            "{name}: {predicted:?}"
        );
    }
}

#[tokio::test]
async fn a_shared_fate_moves_the_pessimistic_bound_before_the_estimate() {
    let incidents = opening().plus_millis(6 * MINUTE);
    let after = |seconds: u32| incidents.plus_millis(i64::from(seconds) * 1000);
    let [brown_out, outage, ..] = INCIDENTS;
    let mut demo = Demo::new(Some(Schedule::starting(incidents)), 1, opening()).unwrap();
    let mut views = Vec::new();
    // One evaluation a minute is enough to see what comes first.
    for seconds in (brown_out.begins..=outage.ends).step_by(60) {
        demo.run_unwatched(after(seconds)).await.unwrap();
        views.extend(demo.run(after(seconds)).await.unwrap());
    }

    let checkout =
        |view: &View| view.journeys.iter().find(|one| one.journey == "checkout").unwrap().availability;
    let objective = checkout(&views[0]).objective.unwrap();
    let misses = |of: fn(&Bounded<Probability>) -> Probability| {
        views.iter().find(|view| of(&checkout(view).predicted.unwrap()) < objective).map(|view| view.time)
    };
    let (pessimistic, estimate) =
        (misses(|all| all.pessimistic).unwrap(), misses(|all| all.estimate).unwrap());
    assert!(pessimistic < after(outage.begins), "{pessimistic:?}");
    assert!(estimate > after(outage.begins), "{estimate:?}");

    // Who was right: at the end of the brown-out users saw what the bound said, not what the estimate did.
    let view = views.iter().rfind(|view| view.time <= after(outage.begins)).unwrap();
    let (predicted, seen) = (checkout(view).predicted.unwrap(), checkout(view).observed.unwrap());
    let requests = view.journeys.iter().find(|one| one.journey == "checkout").unwrap().requests;
    assert!(seen < objective && objective < predicted.estimate, "{seen:?} {predicted:?}");
    let error = binomial_error(seen, requests);
    assert!((predicted.pessimistic.get() - seen.get()).abs() < error, "{seen:?} {predicted:?}");
}
