//! Clients that hold connections or take their answers slowly, while others want to be answered.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Emac, quantile, runtime};

const THEIRS: &str = "/api/v1/query?query=up&time=1";

/// A hundred requests a second for ten seconds, each on a connection of its own.
async fn normal(address: &str) -> (usize, Vec<Duration>) {
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let address = address.to_owned();
        sent.spawn(async move { Client::new(&address).get(THEIRS, Duration::from_secs(5)).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let done = sent.join_all().await;
    let good: Vec<Duration> = done.iter().filter(|o| o.status == 200).map(|o| o.took).collect();
    (done.len(), good)
}

#[test]
#[ignore = "long: a study of a minute"]
fn idle_and_half_open_connections() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 64 << 20);
    let emac = Emac::start(&upstream.url, &[]);
    runtime.block_on(async {
        let address = emac.address.clone();
        let attack = tokio::spawn(async move {
            // Whoever is closed comes again.
            let mut held: Vec<Option<TcpStream>> = (0..2_000).map(|_| None).collect();
            loop {
                for (at, slot) in held.iter_mut().enumerate() {
                    let gone = match slot {
                        None => true,
                        Some(stream) => !matches!(
                            stream.try_read(&mut [0; 512]),
                            Err(ref e) if e.kind() == std::io::ErrorKind::WouldBlock
                        ),
                    };
                    if gone && let Ok(mut stream) = TcpStream::connect(&address).await {
                        if at % 3 == 1 {
                            let _ = stream.write_all(b"GET /-/hea").await;
                        } else if at % 3 == 2 {
                            let _ = stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await;
                        }
                        *slot = Some(stream);
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (all, mut good) = normal(&emac.address).await;
        attack.abort();
        println!(
            "2,000 idle or half-open connections: {:.1} % of {all} normal requests answered, p99 {:.1} ms",
            100.0 * good.len() as f64 / all as f64,
            quantile(&mut good, 0.99)
        );
    });
}

#[test]
#[ignore = "long: a study of a minute"]
fn slow_readers_of_large_answers() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 64 << 20);
    let emac = Emac::start(&upstream.url, &[]);
    runtime.block_on(async {
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let address = emac.address.clone();
            readers.spawn(async move {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                stream.write_all(b"GET /api/v1/query?query=big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                let mut few = [0; 1_024];
                while stream.read(&mut few).await.is_ok_and(|n| n > 0) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (all, mut good) = normal(&emac.address).await;
        println!(
            "100 slow readers × 64 MiB: {:.1} % of {all} normal requests answered, p99 {:.1} ms, resident {:.0} MiB",
            100.0 * good.len() as f64 / all as f64,
            quantile(&mut good, 0.99),
            emac.memory("VmRSS")
        );
        readers.abort_all();
    });
}
