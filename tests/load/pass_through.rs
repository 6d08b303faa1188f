//! What the proxy adds.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::{Client, at_rate};
use crate::forwarder::Forwarder;
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

/// Whom a study asks: the upstream itself, the cheapest proxy that there can be, and ours.
struct Ways<'a> {
    direct: &'a str,
    floor: Forwarder,
    through: &'a str,
}

impl<'a> Ways<'a> {
    fn new(direct: &'a str, through: &'a str) -> Self {
        Self { direct, floor: Forwarder::start(direct), through }
    }

    fn addresses(&self) -> [&str; 3] {
        [self.direct, &self.floor.address, self.through]
    }
}

/// `through` and the floor, by what direct takes or gives.
fn ratios([direct, floor, through]: [f64; 3]) -> String {
    format!("{:.2}× (bytes alone {:.2}×)", through / direct, floor / direct)
}

/// The medians of asking in turns, over one connection each.
async fn in_turns(what: &str, ways: &Ways<'_>, target: &str, rounds: usize) {
    let mut clients = ways.addresses().map(Client::new);
    let mut took = [const { Vec::new() }; 3];
    for round in 0..rounds {
        // Who is first changes, so that nobody always finds what another left in the caches.
        for turn in 0..3 {
            let way = (round + turn) % 3;
            let outcome = clients[way].get(target, PATIENCE).await;
            assert_eq!(outcome.status, 200, "{what}");
            took[way].push(outcome.took);
        }
    }
    // Others use the machine too: the quietest twentieth shows what it does by itself.
    let length = rounds / 20;
    let medians_of = |took: &mut [Vec<Duration>; 3], block: std::ops::Range<usize>| {
        took.each_mut().map(|took| quantile(&mut took[block.clone()], 0.5))
    };
    let blocks = (0..20).map(|at| medians_of(&mut took, at * length..(at + 1) * length));
    let quietest = blocks.min_by(|a, b| a.iter().sum::<f64>().total_cmp(&b.iter().sum())).unwrap();
    let all = medians_of(&mut took, 0..rounds);
    for (when, medians) in
        [(format!("p50 of {rounds}"), all), ("the quietest twentieth".to_owned(), quietest)]
    {
        let [direct, floor, through] = medians;
        println!(
            "{what}, {when}: direct {direct:.3} ms, bytes alone {floor:.3} ms, through {through:.3} ms, {}",
            ratios(medians)
        );
    }
}

/// Requests a second over sixteen connections, in turns.
async fn rates(what: &str, ways: &Ways<'_>, target: &'static str) {
    let mut rates = [0.0; 3];
    for _ in 0..3 {
        for (rate, address) in rates.iter_mut().zip(ways.addresses()) {
            let begun = Instant::now();
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let address = address.to_owned();
                clients.spawn(async move {
                    let mut client = Client::new(&address);
                    let mut count = 0_u64;
                    while begun.elapsed() < Duration::from_secs(3) {
                        let status = client.get(target, PATIENCE).await.status;
                        count += u64::from(status == 200);
                    }
                    count
                });
            }
            let count: u64 = clients.join_all().await.into_iter().sum();
            *rate += count as f64 / begun.elapsed().as_secs_f64() / 3.0;
        }
    }
    let [direct, floor, through] = rates;
    println!(
        "{what}, 16 connections: direct {direct:.0}/s, bytes alone {floor:.0}/s, through {through:.0}/s, {}",
        ratios(rates)
    );
}

#[test]
#[ignore = "long: a study of a minute; what is asked of a Prometheus needs one"]
fn through_and_direct_in_turns() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 5 << 20);
    let emac = Emac::start(&upstream.url, &[]);
    let ways = Ways::new(upstream.address(), &emac.address);
    runtime.block_on(async {
        in_turns("answer at once", &ways, THEIRS, 5_000).await;
        in_turns("5 MB body", &ways, BIG, 300).await;
        rates("answer at once", &ways, THEIRS).await;
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
    let ways = Ways::new(prometheus.url().trim_start_matches("http://"), &emac.address);
    const NOW: &str = "/api/v1/query?query=up";
    runtime.block_on(async {
        in_turns("Prometheus, cheap query", &ways, NOW, 5_000).await;
        rates("Prometheus, cheap query", &ways, NOW).await;
        in_turns("Prometheus, 30,000 series", &ways, "/api/v1/query?query=wide", 100).await;
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
