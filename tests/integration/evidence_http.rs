//! The HTTP upstream against servers that misbehave: a bad answer is an error that names the upstream, never evidence.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use emac::series::StepGrid;
use emac::unit::{Timestamp, Window};
use emac::upstream::http::{Credentials, HttpSettings, HttpUpstream};
use emac::upstream::{Answer, Body, Upstream as _, UpstreamError, whole_body};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const UP: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[1,"1"]}]}}"#;

/// A server that reads one request head (and body, if announced) per connection and answers with `reply`; the requests
/// come back by the channel.
async fn server(reply: Vec<u8>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (reply, seen) = (reply.clone(), seen.clone());
            tokio::spawn(async move {
                let _ = seen.send(request(&mut stream).await);
                let _ = stream.write_all(&reply).await;
            });
        }
    });
    (url, requests)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    loop {
        let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            });
            body.len() >= length.unwrap_or(0)
        });
        if complete {
            return text;
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return text,
            Ok(n) => text.push_str(std::str::from_utf8(&chunk[..n]).unwrap()),
        }
    }
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn ask(reply: Vec<u8>) -> Result<Answer, UpstreamError> {
    let (url, _requests) = server(reply).await;
    let answer = HttpUpstream::new(HttpSettings::new(&url))
        .unwrap()
        .instant("up", Timestamp::from_millis(1000), soon())
        .await;
    if let Err(error) = &answer {
        assert!(error.to_string().contains(&url), "{error} does not name {url}");
    }
    answer
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_plain_and_a_compressed_answer_are_the_same() {
    let plain = ask(reply("200 OK", "", UP.as_bytes())).await.unwrap();
    let zipped = ask(reply("200 OK", "Content-Encoding: gzip\r\n", &gzip(UP.as_bytes()))).await.unwrap();
    assert_eq!(plain.series[0].samples[0].value, 1.0);
    assert_eq!(plain, zipped);
}

#[tokio::test]
async fn what_is_not_a_complete_answer_is_malformed_whatever_its_status_says() {
    let cut = reply("200 OK", "", UP.as_bytes());
    let zipped = gzip(UP.as_bytes());
    for bad in [
        cut[..cut.len() - 5].to_vec(),
        reply("200 OK", "", &UP.as_bytes()[..UP.len() - 1]),
        reply("200 OK", "", b"<html>log in</html>"),
        reply("200 OK", "", b""),
        reply("204 No Content", "", b""),
        reply("206 Partial Content", "", UP.as_bytes()),
        reply("200 OK", "Content-Encoding: gzip\r\n", UP.as_bytes()),
        reply("200 OK", "Content-Encoding: gzip\r\n", &zipped[..zipped.len() - 4]),
        reply("200 OK", "Content-Encoding: br\r\n", UP.as_bytes()),
        reply("200 OK", "", br#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#),
    ] {
        let answer = ask(bad.clone()).await;
        assert!(
            matches!(answer, Err(UpstreamError::Malformed { .. })),
            "{answer:?} for {:?}",
            String::from_utf8_lossy(&bad)
        );
    }
}

#[tokio::test]
async fn a_small_body_that_unpacks_to_more_than_the_budget_is_refused() {
    let (url, _requests) =
        server(reply("200 OK", "Content-Encoding: gzip\r\n", &gzip(&vec![b' '; 8 << 20]))).await;
    let settings = HttpSettings { body_limit: 1 << 20, ..HttpSettings::new(url) };
    let answer = HttpUpstream::new(settings).unwrap().instant("up", Timestamp::default(), soon()).await;
    assert!(
        matches!(&answer, Err(UpstreamError::Malformed { fault, .. }) if fault.contains("1048576")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn errors_keep_their_words_and_redirects_are_not_followed() {
    let body = br#"{"status":"error","errorType":"execution","error":"query processing would load too many samples"}"#;
    let refused = ask(reply("422 Unprocessable Entity", "", body)).await.unwrap_err();
    assert!(
        matches!(&refused, UpstreamError::Refused { status: 422, message, .. } if message.contains("too many"))
    );
    let moved = ask(reply("302 Found", "Location: http://127.0.0.1:1/\r\n", b"")).await.unwrap_err();
    assert!(matches!(moved, UpstreamError::Refused { status: 302, .. }));
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_a_missing_one_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = HttpUpstream::new(HttpSettings::new(&url)).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let answer = upstream.instant("up", Timestamp::default(), deadline).await;
    assert_eq!(answer, Err(UpstreamError::Timeout { upstream: url.clone() }));
    drop(listener);
    let answer = HttpUpstream::new(HttpSettings::new(&url))
        .unwrap()
        .instant("up", Timestamp::default(), soon())
        .await
        .unwrap_err();
    assert!(
        matches!(&answer, UpstreamError::Unreachable { fault, .. } if fault.contains("refused")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_request_carries_time_deadline_tenant_and_credentials_below_the_prefix() {
    let (url, mut requests) = server(reply("200 OK", "", UP.as_bytes())).await;
    let settings = HttpSettings {
        tenant: Some("team-a".into()),
        credentials: Some(Credentials::Basic { username: "u".into(), password: "p".into() }),
        ..HttpSettings::new(format!("{url}/prefix/"))
    };
    let upstream = HttpUpstream::new(settings).unwrap();
    upstream.instant("up{a=\"ä&b\"}", Timestamp::from_millis(1_435_781_430_781), soon()).await.unwrap();
    let seen = requests.recv().await.unwrap().to_ascii_lowercase();
    let first =
        "get /prefix/api/v1/query?query=up%7ba%3d%22%c3%a4%26b%22%7d&time=1435781430.781&nocache=1&timeout=";
    assert!(seen.starts_with(first), "{seen}");
    assert!(
        seen.contains("x-scope-orgid: team-a\r\n") && seen.contains("authorization: basic dtpw\r\n"),
        "{seen}"
    );

    let long = format!("up{{a=~\"{}\"}}", "x|".repeat(4000));
    upstream.instant(&long, Timestamp::default(), soon()).await.unwrap();
    let seen = requests.recv().await.unwrap();
    assert!(seen.starts_with("POST /prefix/api/v1/query HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("application/x-www-form-urlencoded") && seen.contains("x%7Cx%7C"), "{seen}");
}

#[tokio::test]
async fn a_sample_off_the_grid_is_malformed() {
    let body = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[60,"1"],[76,"1"]]}]}}"#;
    let (url, mut requests) = server(reply("200 OK", "", body)).await;
    let upstream = HttpUpstream::new(HttpSettings::new(url)).unwrap();
    let at = Timestamp::from_millis;
    let grid = |step| StepGrid::new(at(60_000), at(90_000), Window::from_millis(step).unwrap()).unwrap();
    assert!(matches!(upstream.range("x", grid(15_000), soon()).await, Err(UpstreamError::Malformed { .. })));
    assert!(requests.recv().await.unwrap().contains("start=60&end=90&step=15&"));
    assert_eq!(upstream.range("x", grid(16_000), soon()).await.unwrap().series[0].samples.len(), 2);
}

fn client_request(uri: &str) -> http::Request<Body> {
    http::Request::builder()
        .uri(uri)
        .header("accept-encoding", "zstd")
        .header("authorization", "Bearer of-the-client")
        .header("cookie", "session=1")
        .header("x-request-id", "yes")
        .header("x-webauth-user", "admin")
        .header("connection", "x-dropped")
        .header("x-dropped", "1")
        .body(whole_body(Bytes::new()))
        .unwrap()
}

#[tokio::test]
async fn a_forwarded_exchange_is_untouched_except_for_hops_and_credentials() {
    let odd = b"\x00\xffany bytes, not JSON";
    let (url, mut requests) =
        server(reply("418 I'm a teapot", "X-Odd: 1\r\nContent-Encoding: zstd\r\n", odd)).await;
    let upstream = HttpUpstream::new(HttpSettings::new(format!("{url}/p"))).unwrap();
    let response = upstream.forward(client_request("http://emac/api/v1/new?x=%2F&&y")).await.unwrap();
    let seen = requests.recv().await.unwrap();
    assert!(seen.starts_with("GET /p/api/v1/new?x=%2F&&y HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("accept-encoding: zstd") && seen.contains("x-request-id: yes"), "{seen}");
    for gone in ["of-the-client", "cookie", "x-dropped", "admin"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert_eq!(response.status(), 418);
    assert_eq!(
        (&response.headers()["x-odd"], &response.headers()["content-encoding"]),
        (&"1".parse().unwrap(), &"zstd".parse().unwrap())
    );
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), Bytes::from_static(odd));
}

#[tokio::test]
async fn dropping_a_forwarded_body_ends_the_upstreams_work() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream =
        HttpUpstream::new(HttpSettings::new(format!("http://{}", listener.local_addr().unwrap()))).unwrap();
    let client = tokio::spawn(async move {
        let response = upstream.forward(client_request("/endless")).await.unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        upstream
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    request(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    let _upstream = client.await.unwrap();
    // The end of the stream, or a reset: either way the connection is gone.
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn an_answer_that_comes_before_its_question_is_nobodys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = HttpUpstream::new(HttpSettings::new(url)).unwrap();
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let ask = |query| {
        let asked = upstream.forward(client_request(query));
        async { asked.await.unwrap().into_body().collect().await.unwrap().to_bytes() }
    };
    let (first, mut stream) = tokio::join!(ask("/1"), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(answer("first").as_bytes()).await.unwrap();
        stream
    });
    assert_eq!(first, "first");
    stream.write_all(answer("not asked for").as_bytes()).await.unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let (second, seen) = tokio::join!(ask("/2"), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let seen = request(&mut stream).await;
        stream.write_all(answer("second").as_bytes()).await.unwrap();
        seen
    });
    assert_eq!(second, "second");
    assert!(seen.starts_with("GET /2 "), "{seen}");
    // Nor was the question sent twice.
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

/// Answers every request over a connection with the next of `replies`, and ends it after the last; says how many
/// connections were begun and how many ended so.
async fn keeps_alive(replies: Vec<Vec<u8>>) -> (String, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted[0].fetch_add(1, Ordering::SeqCst);
            let (replies, counted) = (replies.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                for reply in replies {
                    request(&mut stream).await;
                    if stream.write_all(&reply).await.is_err() {
                        return;
                    }
                }
                drop(stream);
                counted[1].fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (url, connections)
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection_until_the_upstream_closes_it() {
    let head = "HTTP/1.1 200 OK\r\n";
    let large =
        [format!("{head}Content-Length: 3000000\r\n\r\n").into_bytes(), vec![b'x'; 3_000_000]].concat();
    let replies: Vec<Vec<u8>> = vec![
        format!("{head}Content-Length: 2\r\n\r\nab").into(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").into(),
        large,
        "HTTP/1.1 204 No Content\r\n\r\n".into(),
        format!("{head}Content-Length: 0\r\n\r\n").into(),
    ];
    let lengths = [2, 3, 3_000_000, 0, 0];
    let (url, connections) = keeps_alive(replies).await;
    let upstream = HttpUpstream::new(HttpSettings::new(url)).unwrap();
    // After the last answer it is closed, which is found out before anything is sent: also a write is not lost.
    for round in 1..=3 {
        for length in lengths {
            let mut request = client_request("/a");
            *request.method_mut() = http::Method::POST;
            let body = whole_body(Bytes::from_static(b"abc"));
            let answer = upstream.forward(request.map(|_| body)).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), length);
        }
        assert_eq!(connections[0].load(Ordering::SeqCst), round);
        // The end of the connection is there before the next request is.
        let late = soon();
        while connections[1].load(Ordering::SeqCst) < round {
            assert!(Instant::now() < late);
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    // An answer that is not taken to its end has no successor on its connection.
    let (url, connections) = keeps_alive(vec![
        [
            format!("{head}Content-Length: 3000000\r\n\r\n").into_bytes(),
            vec![b'x'; 3_000_000]
        ]
        .concat();
        2
    ])
    .await;
    let upstream = HttpUpstream::new(HttpSettings::new(url)).unwrap();
    for round in 1..=3 {
        let mut body = upstream.forward(client_request("/a")).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(connections[0].load(Ordering::SeqCst), round);
    }
}
