//! Ten minutes of ordinary work with a reload every ten seconds, every other one of a spec that is bad.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Emac, SPEC, runtime};

const PATIENCE: Duration = Duration::from_secs(10);

const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// Requests a second.
const RATE: f64 = 50.0;

/// By how much the resident memory may differ between the second minute and the last: pages that the allocator keeps.
const GROWTH: f64 = 1.15;

const TARGETS: [&str; 6] = [
    "/api/v1/query?query=up&time=1",
    "/api/v1/query?query=emac_journey_availability_pessimistic",
    "/api/v1/query?query=emac_journey_gate%20and%20on()%20up",
    "/api/v1/query_range?query=emac_journey_objective_availability&start=START&end=END&step=15",
    "/journeys/metrics",
    "/metrics",
];

/// The spec at the `n`-th reload: good ones differ, so that the model changes.
fn spec(n: u64) -> String {
    match n % 4 {
        0 => SPEC.to_owned(),
        2 => SPEC.replace("Series(front, pay)", "Parallel(front, pay)"),
        1 => SPEC.replace("Series(front, pay)", "Series(front, nobody)"),
        _ => "kind: [unclosed".to_owned(),
    }
}

#[test]
#[ignore = "long: ten minutes, or EMAC_SOAK_SECONDS"]
fn reloads_under_load_neither_fail_requests_nor_grow() {
    let _alone = crate::alone();
    let seconds = std::env::var("EMAC_SOAK_SECONDS").map_or(600, |text| text.parse().unwrap());
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::from_millis(2), 0);
    let emac = Emac::start(&upstream.url, &[]);
    let begun = Instant::now();
    runtime.block_on(async {
        let (mut client, mut admin) = (Client::new(&emac.address), Client::new(&emac.address));
        // Until the first evaluation there is nothing to be asked for.
        while client.get(TARGETS[1], PATIENCE).await.status != 200 {
            assert!(begun.elapsed() < PATIENCE, "it does not evaluate");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (mut asked, mut failed, mut reloads) = (0_u64, Vec::new(), 0_u64);
        let mut settled = None;
        let mut next_reload = begun + RELOAD_EVERY;
        while begun.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep_until((begun + Duration::from_secs_f64(asked as f64 / RATE)).into()).await;
            if Instant::now() >= next_reload {
                next_reload += RELOAD_EVERY;
                reloads += 1;
                std::fs::write(&emac.spec, spec(reloads)).unwrap();
                let status = admin.ask("POST", "/-/reload", PATIENCE).await.status;
                assert_eq!(status, if reloads % 2 == 0 { 200 } else { 422 }, "reload {reloads}");
            }
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let target = TARGETS[(asked % 6) as usize];
            let target = target.replace("START", &(now - 900).to_string()).replace("END", &now.to_string());
            let status = client.get(&target, PATIENCE).await.status;
            if status != 200 {
                failed.push((status, target, begun.elapsed()));
            }
            asked += 1;
            if settled.is_none() && begun.elapsed() >= Duration::from_secs(seconds / 5) {
                settled = Some(emac.memory("VmRSS"));
            }
        }
        let (early, late) = (settled.unwrap(), emac.memory("VmRSS"));
        println!(
            "{seconds} s, {reloads} reloads, half of them bad: {asked} requests, {} failed; resident {early:.1} MiB \
             after a fifth, {late:.1} MiB at the end",
            failed.len()
        );
        assert!(failed.is_empty(), "{failed:?}");
        assert!(late <= early * GROWTH, "{early} MiB to {late} MiB");
    });
}
