//! What the proxy adds.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::{Client, at_rate};
use crate::prometheus::{Exporter, Prometheus, Setup};
use crate::upstream::Upstream;
use crate::{Emac, quantile, runtime};

const PATIENCE: Duration = Duration::from_secs(20);
const THEIRS: &str = "/api/v1/query?query=up&time=1";
const OURS: &str = "/api/v1/query?query=emac_journey_objective_availability";
const BIG: &str = "/api/v1/query?query=big&time=1";

#[test]
#[ignore = "long: a study of a minute"]
fn latency_at_a_thousand_requests_a_second() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 0);
    let emac = Emac::start(&upstream.url, &[]);
    for (what, address, target) in [
        ("direct", upstream.address(), THEIRS),
        ("through", &emac.address, THEIRS),
        ("direct", upstream.address(), THEIRS),
        ("through", &emac.address, THEIRS),
        ("warm synthetic", &emac.address, OURS),
    ] {
        let done = runtime.block_on(at_rate(address, target, 1_000.0, Duration::from_secs(8), PATIENCE));
        // A machine that stalls for long makes the upstream look busy.
        let refused = done.iter().filter(|(_, outcome)| outcome.status != 200).count();
        assert!(refused * 100 < done.len(), "{what}: {refused} not answered well");
        let mut took: Vec<Duration> = done.iter().map(|(_, outcome)| outcome.took).collect();
        // Others use the machine too: the quietest second shows what it does by itself.
        let seconds = done.chunks(1_000).map(|second| {
            let mut took: Vec<Duration> = second.iter().map(|(_, outcome)| outcome.took).collect();
            quantile(&mut took, 0.99)
        });
        let quietest = seconds.fold(f64::INFINITY, f64::min);
        println!(
            "1,000 requests/s, {what}: p50 {:.3} ms, p99 {:.3} ms, in the quietest second {quietest:.3} ms, \
             {refused} of {} not answered well",
            quantile(&mut took, 0.5),
            quantile(&mut took, 0.99),
            done.len()
        );
    }
}

/// The medians of asking both in turns, over one connection each.
async fn in_turns(what: &str, direct: &str, through: &str, target: &str, rounds: usize) {
    let (mut direct, mut through) = (Client::new(direct), Client::new(through));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who is first changes, so that neither always finds what the other left in the caches.
        for turn in 0..2 {
            let (client, took) =
                if (round + turn) % 2 == 0 { (&mut direct, &mut a) } else { (&mut through, &mut b) };
            let outcome = client.get(target, PATIENCE).await;
            assert_eq!(outcome.status, 200, "{what}");
            took.push(outcome.took);
        }
    }
    // Others use the machine too: the quietest twentieth shows what it does by itself.
    let blocks = a.chunks_mut(rounds / 20).zip(b.chunks_mut(rounds / 20));
    let blocks = blocks.map(|(a, b)| (quantile(a, 0.5), quantile(b, 0.5)));
    let quietest = blocks.min_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1))).unwrap();
    let (a, b) = (quantile(&mut a, 0.5), quantile(&mut b, 0.5));
    println!(
        "{what}, p50 of {rounds}: direct {a:.3} ms, through {b:.3} ms, {:.2}×; in the quietest twentieth \
         {:.3} and {:.3} ms, {:.2}×",
        b / a,
        quietest.0,
        quietest.1,
        quietest.1 / quietest.0
    );
}

/// Requests a second over sixteen connections, direct and through, in turns.
async fn rates(what: &str, direct: &str, through: &str, target: &'static str) {
    let mut rates = [0.0; 4];
    for (rate, address) in rates.iter_mut().zip([direct, through, direct, through]) {
        let begun = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let address = address.to_owned();
            clients.spawn(async move {
                let mut client = Client::new(&address);
                let mut count = 0_u64;
                while begun.elapsed() < Duration::from_secs(5) {
                    let status = client.get(target, PATIENCE).await.status;
                    count += u64::from(status == 200);
                }
                count
            });
        }
        let count: u64 = clients.join_all().await.into_iter().sum();
        *rate = count as f64 / begun.elapsed().as_secs_f64();
    }
    let ratio = (rates[1] + rates[3]) / (rates[0] + rates[2]);
    println!(
        "{what}, 16 connections: direct {:.0}/s and {:.0}/s, through {:.0}/s and {:.0}/s, {ratio:.2}×",
        rates[0], rates[2], rates[1], rates[3]
    );
}

#[test]
#[ignore = "long: a study of a minute; what is asked of a Prometheus needs one"]
fn through_and_direct_in_turns() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 5 << 20);
    let emac = Emac::start(&upstream.url, &[]);
    runtime.block_on(async {
        in_turns("answer at once", upstream.address(), &emac.address, THEIRS, 5_000).await;
        in_turns("5 MB body", upstream.address(), &emac.address, BIG, 300).await;
        rates("answer at once", upstream.address(), &emac.address, THEIRS).await;
    });
    println!("resident afterwards: {:.0} MiB", emac.memory("VmRSS"));
    if !cfg!(has_prometheus) {
        println!("no Prometheus here: tests/run installs it");
        return;
    }
    // About 5 MB as JSON.
    let wide =
        |i: usize| format!("wide{{handler=\"/api/v1/some/path/{i}\",method=\"GET\",zone=\"eu-1\"}} {i}\n");
    let exporter =
        Exporter::start(&format!("# TYPE wide gauge\n{}", (0..30_000).map(wide).collect::<String>()));
    let prometheus = Prometheus::start(&Setup { targets: &[exporter.target()], ..Setup::default() });
    prometheus.wait_for_series("up == 1 and scrape_samples_scraped > 29999");
    let emac = Emac::start(prometheus.url(), &[]);
    let direct = prometheus.url().trim_start_matches("http://");
    const NOW: &str = "/api/v1/query?query=up";
    runtime.block_on(async {
        in_turns("Prometheus, cheap query", direct, &emac.address, NOW, 5_000).await;
        rates("Prometheus, cheap query", direct, &emac.address, NOW).await;
        in_turns("Prometheus, 30,000 series", direct, &emac.address, "/api/v1/query?query=wide", 100).await;
    });
    println!("resident afterwards: {:.0} MiB", emac.memory("VmRSS"));
}

#[test]
#[ignore = "long: a study"]
fn work_ends_with_its_client() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::from_secs(60), 0);
    let emac = Emac::start(&upstream.url, &[]);
    let mut took = Vec::new();
    runtime.block_on(async {
        for _ in 0..100 {
            let before = upstream.shared.active.load(Ordering::SeqCst);
            let mut stream = tokio::net::TcpStream::connect(&emac.address).await.unwrap();
            let head = format!("GET {THEIRS} HTTP/1.1\r\nHost: x\r\n\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
            while upstream.shared.active.load(Ordering::SeqCst) <= before {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            upstream.shared.abandoned.lock().unwrap().clear();
            let left = Instant::now();
            drop(stream);
            let ended = loop {
                if let Some(ended) = upstream.shared.abandoned.lock().unwrap().first() {
                    break *ended;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            };
            took.push(ended - left);
        }
    });
    println!(
        "work ends after its client: p50 {:.2} ms, p99 {:.2} ms",
        quantile(&mut took.clone(), 0.5),
        quantile(&mut took, 0.99)
    );
}
