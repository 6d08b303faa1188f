//! How much more an ailing upstream is asked than its clients ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::{Client, at_rate};
use crate::upstream::{Ailment, Upstream};
use crate::{Emac, runtime};

const THEIRS: &str = "/api/v1/query?query=up&time=1";

/// Aimed at: a tenth more, as the budget of retries allows.
const MOST: f64 = 1.1;

const CLIENTS: usize = 16;

/// Asks so many times in all, sixteen clients at a time; how many were answered with 200.
async fn asked(address: &str, requests: usize, patience: Duration) -> usize {
    let left = Arc::new(AtomicUsize::new(requests));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, left) = (address.to_owned(), Arc::clone(&left));
        clients.spawn(async move {
            let mut client = Client::new(&address);
            let mut good = 0;
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                good += usize::from(client.get(THEIRS, patience).await.status == 200);
            }
            good
        });
    }
    clients.join_all().await.into_iter().sum()
}

fn report(what: &str, sent: usize, good: usize, came: usize) {
    let times = came as f64 / sent as f64;
    println!("{what}: {sent} requests, {good} answered well, {came} asked of the upstream, {times:.2}×");
    assert!(times <= MOST, "{what}: {times}");
}

#[test]
#[ignore = "long: a study of a minute"]
fn amplification_while_the_upstream_ails() {
    let _alone = crate::alone();
    for (what, ailment, requests, patience) in [
        ("500", Ailment::Status(500), 2_000, 5_000),
        ("502", Ailment::Status(502), 2_000, 5_000),
        ("503", Ailment::Status(503), 2_000, 5_000),
        ("429", Ailment::Status(429), 2_000, 5_000),
        ("killed in every answer", Ailment::Closes, 2_000, 5_000),
        ("connections end when used again", Ailment::ClosesReused, 2_000, 5_000),
        ("silent, clients leave after 200 ms", Ailment::Silent, 500, 200),
    ] {
        let runtime = runtime();
        let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 0);
        let emac = Emac::start(&upstream.url, &[]);
        // What a healthy time saves up of retries may be spent, too.
        runtime.block_on(asked(&emac.address, 200, Duration::from_secs(5)));
        *upstream.shared.ailment.lock().unwrap() = ailment;
        let before = upstream.shared.asked.load(Ordering::SeqCst);
        let good = runtime.block_on(asked(&emac.address, requests, Duration::from_millis(patience)));
        report(what, requests, good, upstream.shared.asked.load(Ordering::SeqCst) - before);
    }
}

#[test]
#[ignore = "long: a study of half a minute"]
fn amplification_in_a_brown_out() {
    let _alone = crate::alone();
    for (arm, more) in [("with the limiter", &[][..]), ("without", &["--upstream.limiter=false"])] {
        let runtime = runtime();
        let upstream = Upstream::start(&runtime, 16, Duration::from_millis(400), 0);
        upstream.shared.drag.store(10, Ordering::Relaxed);
        let emac = Emac::start(&upstream.url, more);
        let length = Duration::from_secs(10);
        let done = runtime.block_on(at_rate(&emac.address, THEIRS, 300.0, length, Duration::from_secs(1)));
        let good = done.iter().filter(|(_, outcome)| outcome.status == 200).count();
        let came = upstream.shared.asked.load(Ordering::SeqCst);
        report(&format!("a brown-out, {arm}"), done.len(), good, came);
    }
}
