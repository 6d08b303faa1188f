//! More than the upstream can carry, and an upstream that is slow for a while; with and without the limiter.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::at_rate;
use crate::upstream::Upstream;
use crate::{Emac, quantile, runtime};

const THEIRS: &str = "/api/v1/query?query=up&time=1";

/// Sixteen at a time, 40 ms each.
const CAPACITY: f64 = 400.0;

/// Each study with the guard and without, and what is told to `emac serve` for it.
const ARMS: [(&str, &[&str]); 2] = [("with the limiter", &[]), ("without", &["--upstream.limiter=false"])];

/// An upstream of that capacity, and emac in front of it.
fn started(more: &[&str]) -> (tokio::runtime::Runtime, Upstream, Emac) {
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 16, Duration::from_millis(40), 0);
    // A line that slows down those who are served.
    upstream.shared.drag.store(10, Ordering::Relaxed);
    let emac = Emac::start(&upstream.url, more);
    (runtime, upstream, emac)
}

#[test]
#[ignore = "long: a study of a minute"]
fn goodput_at_five_times_the_load() {
    let _alone = crate::alone();
    for (arm, more) in ARMS {
        let (runtime, _upstream, emac) = started(more);
        let mut peak = 0.0_f64;
        for load in [0.5, 0.8, 1.0, 5.0] {
            let length = Duration::from_secs(8);
            let patience = Duration::from_secs(1);
            let done = runtime.block_on(at_rate(&emac.address, THEIRS, CAPACITY * load, length, patience));
            let good = done.iter().filter(|(_, outcome)| outcome.status == 200).count();
            let goodput = good as f64 / length.as_secs_f64();
            let of = |status: u16| -> Vec<Duration> {
                done.iter().filter(|(_, o)| o.status == status).map(|(_, o)| o.took).collect()
            };
            let (mut refused, late) = (of(503), of(0));
            println!(
                "{arm}, {load}× of {CAPACITY}/s: goodput {goodput:.0}/s ({:.0} % of the peak), refused {} in {:.1} ms at p99, in vain {}",
                100.0 * goodput / peak.max(goodput),
                refused.len(),
                quantile(&mut refused, 0.99),
                late.len()
            );
            peak = peak.max(goodput);
        }
    }
}

#[test]
#[ignore = "long: a study of three minutes"]
fn recovery_after_a_brown_out() {
    let _alone = crate::alone();
    for (arm, more) in ARMS {
        let (runtime, upstream, emac) = started(more);
        let shared = std::sync::Arc::clone(&upstream.shared);
        let begun = Instant::now();
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            shared.service.store(400_000, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(30)).await;
            shared.service.store(40_000, Ordering::Relaxed);
        });
        let load = CAPACITY * 0.75;
        let length = Duration::from_secs(80);
        let patience = Duration::from_secs(1);
        let done = runtime.block_on(at_rate(&emac.address, THEIRS, load, length, patience));
        let mut by_second = vec![(0_u32, 0_u32); 90];
        for (ended, outcome) in &done {
            let second = (*ended - outcome.took - begun).as_secs() as usize;
            by_second[second.min(89)].0 += 1;
            by_second[second.min(89)].1 += u32::from(outcome.status == 200);
        }
        let well = |(all, good): (u32, u32)| all > 0 && f64::from(good) >= 0.95 * f64::from(all);
        let recovered = (35..80).find(|second| by_second[*second..80].iter().all(|&counts| well(counts)));
        println!(
            "{arm}: well again {} after the brown-out; answered in its 30 s: {} of {}",
            recovered.map_or_else(|| "not within 45 s".to_owned(), |second| format!("{} s", second - 35)),
            by_second[5..35].iter().map(|counts| counts.1).sum::<u32>(),
            by_second[5..35].iter().map(|counts| counts.0).sum::<u32>()
        );
    }
}
