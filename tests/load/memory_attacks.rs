//! One process through every attack on its memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::upstream::Upstream;
use crate::{Emac, runtime};

const PATIENCE: Duration = Duration::from_secs(30);

async fn raw(address: &str, head: &str, body: impl Iterator<Item = Vec<u8>>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(head.as_bytes()).await;
    for piece in body {
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 64];
    let n = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.map_or(0, |n| n.unwrap_or(0));
    String::from_utf8_lossy(&answer[..n]).lines().next().unwrap_or("closed").to_owned()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
#[ignore = "long: a study of two minutes"]
fn one_process_through_all_attacks() {
    let _alone = crate::alone();
    let runtime = runtime();
    let upstream = Upstream::start(&runtime, 1_000, Duration::ZERO, 64 << 20);
    let mut emac = Emac::start(&upstream.url, &[]);
    let address = emac.address.clone();
    let say = |emac: &Emac, what: &str, answer: &str| {
        let (now, most) = (emac.memory("VmRSS"), emac.memory("VmHWM"));
        println!("{what}: {answer}; resident {now:.0} MiB, at most so far {most:.0} MiB");
    };
    say(&emac, "at rest", "-");
    runtime.block_on(async {
        for target in ["/api/v1/query", "/api/v1/read", "/federate", "/api/v1/other"] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1_u64 << 30);
            let answer = raw(&address, &head, (0..1_024).map(|_| vec![b'x'; 1 << 20])).await;
            say(&emac, &format!("1 GiB body to {target}"), &answer);
        }
        // A snappy block that announces 4 GiB, and one that unpacks to much.
        let head = |length: usize| {
            format!("POST /api/v1/read HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Length: {length}\r\n\r\n")
        };
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x00];
        let answer = raw(&address, &head(bomb.len()), std::iter::once(bomb.to_vec())).await;
        say(&emac, "remote_read that announces 4 GiB", &answer);
        let mut query = String::from("emac_journey_gate");
        for _ in 0..200 {
            query.push_str(" or emac_journey_gate{journey=~\"(a|b|c|d|e|f){1,50}x\"}");
        }
        let mut client = Client::new(&address);
        let answer = client.get(&format!("/api/v1/query?query={}", escaped(&query[..4_000])), PATIENCE).await;
        say(&emac, "regex bombs", &answer.status.to_string());
        let nested = format!("emac_journey_gate{{journey=~\"{}a{}\"}}", "(".repeat(1_000), "){9}".repeat(1_000));
        let answer = client.get(&format!("/api/v1/query?query={}", escaped(&nested)), PATIENCE).await;
        say(&emac, "a nested regex bomb", &answer.status.to_string());
        let mut asked = tokio::task::JoinSet::new();
        for i in 0..10_000 {
            let address = address.clone();
            asked.spawn(async move {
                let text = escaped("sum_over_time(emac_journey_objective_availability[1d:1s]) or emac_journey_gate");
                let target = format!("/api/v1/query_range?query={text}&start=0&end={}&step=15", 3_600 + i % 7);
                Client::new(&address).get(&target, PATIENCE).await.status
            });
            if i % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let statuses = asked.join_all().await;
        let good = statuses.iter().filter(|status| **status == 200).count();
        let refused = statuses.iter().filter(|status| (400..600).contains(*status)).count();
        say(&emac, "10,000 queries", &format!("{good} answered, {refused} refused"));
        let mut merged = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let address = address.clone();
            merged.spawn(async move {
                let nameless = escaped("{journey=~\".+\"}");
                let target = format!("/api/v1/query?query={nameless}&wide=1");
                Client::new(&address).get(&target, PATIENCE).await.status
            });
        }
        let statuses = merged.join_all().await;
        say(&emac, "10 merged answers of 200,000 series", &format!("{statuses:?}"));
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let address = address.clone();
            readers.spawn(async move {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                // Merged with ours, so that it is read whole here.
                let head = format!(
                    "GET /api/v1/query?query={}&big=1 HTTP/1.1\r\nHost: x\r\n\r\n",
                    escaped("{journey=~\".+\"}")
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut few = [0; 1_024];
                while stream.read(&mut few).await.is_ok_and(|n| n > 0) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
        say(&emac, "100 slow readers of merged answers of 64 MiB", "-");
        readers.abort_all();
        // Its own connection: that of before may have been given up among the thousands.
        let healthy = Client::new(&address).get("/-/healthy", PATIENCE).await;
        assert_eq!(healthy.status, 200);
    });
    assert!(emac.lives());
    let most = emac.memory("VmHWM");
    println!("at most {most:.0} MiB");
    assert!(most <= 512.0, "{most} MiB");
}
