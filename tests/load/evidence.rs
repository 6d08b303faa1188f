//! Many clients that ask for the same of the past, and one that never waits long enough.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Barrier;

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Emac, runtime};

const PATIENCE: Duration = Duration::from_secs(30);

/// Three hours ago, and what the upstream is asked then: no back-fill goes so far.
struct Past {
    query: String,
    asked: String,
}

fn past() -> Past {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // In the middle of a block of five minutes, so that the lookback needs two of them, which are one request.
    let at = (now - 3 * 3_600) / 300 * 300 + 150;
    Past {
        query: format!("/api/v1/query?query=emac_journey_availability_pessimistic&time={at}"),
        asked: format!("start={}", at - 450),
    }
}

#[test]
#[ignore = "long: a study of half a minute"]
fn a_thousand_identical_cold_queries() {
    let _alone = crate::alone();
    for clients in [1, 1_000] {
        let runtime = runtime();
        let upstream = Upstream::start(&runtime, 1_000, Duration::from_secs(2), 0);
        let emac = Emac::start(&upstream.url, &[]);
        let past = past();
        upstream.shared.studied.lock().unwrap().clone_from(&past.asked);
        let statuses = runtime.block_on(async {
            let together = Arc::new(Barrier::new(clients));
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..clients {
                let (address, query) = (emac.address.clone(), past.query.clone());
                let together = Arc::clone(&together);
                all.spawn(async move {
                    let mut client = Client::new(&address);
                    // Connected, so that the queries themselves are at the same time.
                    client.get("/-/healthy", PATIENCE).await;
                    together.wait().await;
                    client.get(&query, PATIENCE).await.status
                });
            }
            all.join_all().await
        });
        let good = statuses.iter().filter(|status| **status == 200).count();
        println!(
            "{clients} identical cold queries: {good} answered, the upstream was asked {} evidence queries",
            upstream.shared.asked.load(Ordering::SeqCst)
        );
        assert_eq!(good, clients);
    }
}

#[test]
#[ignore = "long: a study of half a minute"]
fn a_lone_client_that_never_waits_long_enough() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::from_secs(3), 0);
    let emac = Emac::start(&upstream.url, &[]);
    let past = past();
    upstream.shared.studied.lock().unwrap().clone_from(&past.asked);
    runtime.block_on(async {
        let begun = Instant::now();
        let mut tries = 1;
        // A new connection each time, as after a client's own timeout.
        while Client::new(&emac.address).get(&past.query, Duration::from_millis(250)).await.status != 200 {
            tries += 1;
            assert!(begun.elapsed() < PATIENCE, "no answer after {tries} tries");
        }
        println!(
            "a client that waits 250 ms for evidence that takes 3 s: answered at try {tries} after {:.1} s, \
             the upstream was asked {} evidence queries",
            begun.elapsed().as_secs_f64(),
            upstream.shared.asked.load(Ordering::SeqCst)
        );
    });
}
