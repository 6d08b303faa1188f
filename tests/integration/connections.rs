//! Connections that are slow, idle, too many, or in the way of a shutdown.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use emac::api::ConnectionLimits;
use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};

use crate::faulty_upstream::{Fault, FaultyUpstream};
use crate::http_client::{get, send};
use crate::prometheus::{PATIENCE, wait_for};
use crate::served::{Options, Served};

const THROUGH: &str = "/api/v1/query?query=m_bucket&time=1500";

/// Short enough for a test, and far from each other on a busy machine.
fn short() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_secs(600),
        body_timeout: Duration::from_millis(400),
        write_stall: Duration::from_millis(400),
        lame_duck: Duration::from_millis(400),
        ..ConnectionLimits::default()
    }
}

fn serve(shop: &FaultyUpstream, limits: ConnectionLimits) -> Served {
    let url = shop.url.clone();
    let upstream =
        move || -> Arc<dyn Upstream> { Arc::new(HttpUpstream::new(HttpSettings::new(url)).unwrap()) };
    let now = Timestamp::from_millis(1_500_000);
    Served::start(upstream, Vec::new(), now, Options { connections: Some(limits), ..Options::default() })
}

fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The rest of what comes, until the other side ends it.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(fault) => assert_eq!(fault.kind(), std::io::ErrorKind::ConnectionReset, "{fault}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One request on a connection that stays, and its answer's head and body.
fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: emac\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let mut byte = [0; 1];
    while !text.ends_with(b"emac is healthy.\n") {
        stream.read_exact(&mut byte).unwrap();
        text.extend_from_slice(&byte);
    }
}

fn closed(served: &Served, reason: &str) -> usize {
    let line = format!("emac_connections_closed_total{{reason=\"{reason}\"}} ");
    let metrics = get(&served.url, "/metrics");
    let found = metrics.text().lines().find_map(|text| text.strip_prefix(&line)?.parse().ok());
    found.unwrap_or(0)
}

#[test]
fn a_connection_without_a_head_is_closed_in_time_and_one_between_requests_is_left() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, short());
    let mut kept = connect(&served);
    ask(&mut kept);
    let begun = Instant::now();
    let mut silent = connect(&served);
    let mut trickling = connect(&served);
    let mut sender = trickling.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for byte in b"GET /-/healthy HTTP/1.1\r\nX-Long: ".iter().chain(&[b'x'; 10_000]) {
            if sender.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    });
    assert_eq!(rest(&mut silent), "");
    assert_eq!(rest(&mut trickling), "");
    assert!(begun.elapsed() >= Duration::from_millis(380), "{:?}", begun.elapsed());
    trickle.join().unwrap();
    wait_for("both to be counted", || (closed(&served, "header_timeout") == 2).then_some(()));
    // The head of a later request is timed as well, from its first byte on.
    ask(&mut kept);
    kept.write_all(b"GET /-/hea").unwrap();
    assert_eq!(rest(&mut kept), "");
    assert_eq!(closed(&served, "header_timeout"), 3);
}

#[test]
fn an_idle_connection_is_closed_after_its_own_time() {
    let shop = FaultyUpstream::start();
    let limits = ConnectionLimits {
        header_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_millis(300),
        ..short()
    };
    let served = serve(&shop, limits);
    let mut idle = connect(&served);
    ask(&mut idle);
    assert_eq!(rest(&mut idle), "");
    assert_eq!(closed(&served, "idle_timeout"), 1);
}

#[test]
fn a_head_beyond_16_kib_is_refused() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, ConnectionLimits::default());
    let reply = |bytes: usize| send(&served.url, "GET", "/-/healthy", &[("X-Long", &"x".repeat(bytes))], b"");
    assert_eq!(reply(15 << 10).status, 200);
    assert_eq!(reply(17 << 10).status, 431);
}

#[test]
fn a_body_that_does_not_arrive_is_408_and_nobodys_fault_but_the_clients() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, short());
    for target in ["/api/v1/query", "/api/v1/labels", "/api/v1/read", "/api/v1/write", "/any/other"] {
        let mut stream = connect(&served);
        let head = format!("POST {target} HTTP/1.1\r\nHost: emac\r\nContent-Length: 100\r\n\r\nquery=");
        stream.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 408", "{target}");
    }
}

#[test]
fn at_the_cap_the_oldest_connection_without_a_request_gives_way_to_a_new_one() {
    let shop = FaultyUpstream::start();
    let limits = ConnectionLimits { connections: 40, header_timeout: Duration::from_secs(600), ..short() };
    let served = serve(&shop, limits);
    // Four that wait for an answer, 36 that hold a place.
    shop.breaks(Fault::Silent);
    let mut waiting: Vec<TcpStream> = (0..4).map(|_| connect(&served)).collect();
    for stream in &mut waiting {
        stream.write_all(format!("GET {THROUGH} HTTP/1.1\r\nHost: emac\r\n\r\n").as_bytes()).unwrap();
    }
    shop.wait_until_active(4);
    let mut idle: Vec<TcpStream> = (0..36).map(|_| connect(&served)).collect();
    for (at, stream) in idle.iter_mut().enumerate() {
        if at % 2 == 0 {
            ask(stream);
        }
    }
    for _ in 0..100 {
        assert_eq!(get(&served.url, "/-/healthy").status, 200);
    }
    assert!(closed(&served, "evicted") >= 1);
    assert_eq!(closed(&served, "refused"), 0);
    assert_eq!(shop.active(), 4, "who waits for an answer is not given up");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_dropped_and_the_upstreams_work_with_it() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, short());
    shop.breaks(Fault::Padding(64 << 20));
    let mut lazy = connect(&served);
    lazy.write_all(format!("GET {THROUGH} HTTP/1.1\r\nHost: emac\r\n\r\n").as_bytes()).unwrap();
    shop.wait_until_active(1);
    shop.wait_until_active(0);
    wait_for("the count", || (closed(&served, "write_stall") == 1).then_some(()));
    // Whoever takes it, gets it whole.
    let reply = get(&served.url, THROUGH);
    assert!(reply.body.len() > 64 << 20);
}

#[test]
fn the_upstreams_work_ends_with_the_client_that_wanted_it() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, ConnectionLimits::default());
    shop.breaks(Fault::Silent);
    for _ in 0..10 {
        let mut client = connect(&served);
        client.write_all(format!("GET {THROUGH} HTTP/1.1\r\nHost: emac\r\n\r\n").as_bytes()).unwrap();
        shop.wait_until_active(1);
        drop(client);
        shop.wait_until_active(0);
    }
    assert!(shop.connections() >= 10);
}

#[test]
fn a_server_that_stops_says_so_first_and_finishes_what_was_begun() {
    let shop = FaultyUpstream::start();
    let mut served = serve(&shop, ConnectionLimits { lame_duck: Duration::from_secs(2), ..short() });
    shop.breaks(Fault::Latency(Duration::from_secs(4)));
    let mut begun = connect(&served);
    begun.write_all(format!("GET {THROUGH} HTTP/1.1\r\nHost: emac\r\n\r\n").as_bytes()).unwrap();
    shop.wait_until_active(1);
    let mut idle = connect(&served);
    ask(&mut idle);
    assert_eq!(get(&served.url, "/-/ready").status, 200);
    served.stop();
    wait_for("not ready", || (get(&served.url, "/-/ready").status == 503).then_some(()));
    let answer = rest(&mut begun);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"status\":\"success\""), "{answer}");
    assert_eq!(rest(&mut idle), "");
    served.join();
    assert!(TcpStream::connect(served.url.trim_start_matches("http://")).is_err());
}

#[test]
fn what_does_not_finish_within_the_drain_is_cut() {
    let shop = FaultyUpstream::start();
    let limits = ConnectionLimits {
        lame_duck: Duration::ZERO,
        drain: Duration::from_millis(300),
        ..ConnectionLimits::default()
    };
    let mut served = serve(&shop, limits);
    shop.breaks(Fault::Silent);
    let mut begun = connect(&served);
    begun.write_all(format!("GET {THROUGH} HTTP/1.1\r\nHost: emac\r\n\r\n").as_bytes()).unwrap();
    shop.wait_until_active(1);
    served.stop();
    served.join();
    assert_eq!(rest(&mut begun), "");
    shop.wait_until_active(0);
}
