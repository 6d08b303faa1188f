use emac::demo::{incident::Schedule, journeys, simulation::Simulation};
use emac::plan::{
    EvidencePlan,
    answer::{Outcome, Table},
    read::{Answers, ReadSettings, Reading},
};
use emac::series::StepGrid;
use emac::unit::*;
use emac::upstream::Upstream;
use std::sync::Arc;
use std::time::{Duration, Instant};
#[tokio::main]
async fn main() {
    let t0 = Instant::now();
    let now = Timestamp::from_millis(1_700_000_000_000 / 15_000 * 15_000);
    let incident = std::env::args().nth(1).map(|x| x.parse::<i64>().unwrap());
    let mut sim = Simulation::new(
        journeys::load().unwrap(),
        Some(Schedule::starting(now)),
        1,
        now.plus_millis(-65 * 60_000),
    )
    .unwrap();
    let at = now.plus_millis(incident.unwrap_or(0) * 1000);
    sim.advance(at).unwrap();
    println!("prerun {:?} calls {}", t0.elapsed(), sim.shop().counters().calls());
    let up = sim.upstream();
    let models: Vec<_> = sim.shop().journeys().iter().map(|j| j.journey.clone()).collect();
    let interval = Window::from_millis(15_000).unwrap();
    let plan = EvidencePlan::new(&models, interval);
    println!("{plan}");
    let t1 = Instant::now();
    let mut outcomes = vec![];
    for q in plan.queries() {
        let t = Instant::now();
        outcomes.push(match plan.time_of(q.kind, at, Some(at)) {
            None => Outcome::NotAsked,
            Some(time) => match up.instant(&q.text, time, Instant::now() + Duration::from_secs(10)).await {
                Ok(a) => Outcome::Answered(Table::new(a.series, StepGrid::instant(time, interval))),
                Err(e) => {
                    println!("{e}");
                    Outcome::Failed
                }
            },
        });
        println!("   {:?}", t.elapsed());
    }
    println!("fetched {:?}", t1.elapsed());
    let readings = Answers::new(&plan, &outcomes).read(
        at,
        Some(at),
        &ReadSettings { max_lookback: "1h".parse().unwrap(), delay: Duration::from_secs(5) },
    );
    println!("read {:?}", t1.elapsed());
    let mut composer = emac::algebra::compose::Composer::new();
    for (i, (journey, reading)) in models.iter().zip(readings).enumerate() {
        let Reading::Evidence { windows, age, flaws } = reading else {
            println!("unusable");
            continue;
        };
        println!("{} age {age:?} flaws {flaws:?}", journey.name);
        for w in windows {
            let t = Instant::now();
            let c = composer.compose(journey, &w.evidence, &[]);
            let dt = t.elapsed();
            let o = sim.shop().truth().observed(i, at, w.window).unwrap();
            for q in [0.5, 0.9, 0.99, 0.999] {
                let q = Quantile::new(q).unwrap();
                if let (Some(l), Some(ob)) = (c.latency_at(q), o.latency_at(q)) {
                    println!(
                        "  {} {q}: est {:.4} pess {:.4} opt {:.4} obs {:.4} ({:+.2}%)",
                        w.window,
                        l.value.estimate.get(),
                        l.value.pessimistic.get(),
                        l.value.optimistic.get(),
                        ob.get(),
                        (l.value.estimate.get() / ob.get() - 1.) * 100.
                    );
                }
            }
            let oa = o.availability().unwrap().get();
            println!(
                "  {} A: est {:.6} pess {:.6} opt {:.6} obs {:.6} n {} z {:+.2}  {:?} compose {dt:?} {}",
                w.window,
                c.availability.estimate.get(),
                c.availability.pessimistic.get(),
                c.availability.optimistic.get(),
                oa,
                o.total,
                (c.availability.estimate.get() - oa) / (oa * (1. - oa) / o.total as f64).sqrt(),
                Arc::<emac::journey::Journey>::strong_count(journey),
                emac::algebra::verdict::judge(journey, &w.evidence, &c).reason
            );
        }
    }
}
