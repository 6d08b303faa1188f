//! What concerns no synthetic series reaches a real Prometheus as it was sent, and its answer comes back byte for byte.

use emac::unit::Timestamp;

use crate::http_client::{RawReply, get, post, send};
use crate::prometheus::{Prometheus, Setup, escape};
use crate::served::Served;

/// Half an hour of two counters and a histogram, a sample each 15 s, ending at 1,700,000,000.
fn history() -> String {
    let mut text = String::new();
    for (name, kind) in [("requests", "counter"), ("level", "gauge")] {
        text.push_str(&format!("# HELP {name} Of {name}.\n# TYPE {name} {kind}\n"));
        for job in ["api", "web"] {
            for i in 0..120 {
                let suffix = if kind == "counter" { "_total" } else { "" };
                let time = 1_700_000_000 - 15 * (119 - i);
                text.push_str(&format!("{name}{suffix}{{job=\"{job}\"}} {} {time}\n", i * 7));
            }
        }
    }
    text + "# EOF\n"
}

fn behind(prometheus: &Prometheus) -> Served {
    Served::behind(prometheus.url(), Vec::new(), Timestamp::from_millis(1_700_000_000_000))
}

/// Everything but what differs from one answer to the next.
fn comparable(mut reply: RawReply) -> RawReply {
    reply.headers.retain(|(name, _)| {
        !["date", "connection", "transfer-encoding", "content-length"].contains(&name.as_str())
    });
    reply
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn answers_of_the_upstream_come_back_byte_for_byte() {
    let history = history();
    let prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
    let served = behind(&prometheus);
    let time = "time=1700000000";
    let range = "start=1699999000&end=1700000000&step=15";
    let deep = format!("{}1{}", "(".repeat(200), ")".repeat(200));
    let queries = [
        "requests_total",
        "sum by (job) (rate(requests_total[5m]))",
        "1+1",
        "\"text\"",
        "requests_total[1m]",
        "{job=\"api\"}",
        "{__name__=~\"req.*\"}",
        "count by (__name__) ({__name__!=\"\"})",
        "nothing",
        "sum(",
        "foo bar",
        "",
        "-{job=\"api\"} or vector(1)",
        "histogram_quantile(0.9, level)",
        "topk(1, level) # emac_journey_gate",
        "label_replace(level, \"a\", \"$1\", \"job\", \"(.*)\")",
        &deep,
    ];
    let mut targets: Vec<String> = Vec::new();
    for query in queries {
        let query = escape(query);
        targets.push(format!("/api/v1/query?query={query}&{time}"));
        targets.push(format!("/api/v1/query_range?query={query}&{range}"));
    }
    for target in [
        "/api/v1/query?query=up&time=x",
        "/api/v1/query?query=up&unknown=parameter&time=1&unknown=again",
        "/api/v1/query_range?query=level&start=2&end=1&step=15",
        "/api/v1/query_range?query=level&start=1&end=2&step=0",
        "/api/v1/query_range?query=level&start=1&end=200000000&step=1",
        "/api/v1/query",
        "/api/v1/series",
        "/api/v1/series?match[]=level&start=1699999000&end=1700000000",
        "/api/v1/series?match%5B%5D=%7Bjob%3D%22api%22%7D",
        "/api/v1/series?match[]={",
        "/api/v1/labels",
        "/api/v1/labels?match[]=level",
        "/api/v1/label/job/values",
        "/api/v1/label/job/values?limit=1",
        "/api/v1/label/no-label/values",
        "/api/v1/label/__name__/values",
        "/api/v1/metadata",
        "/api/v1/metadata?metric=level",
        "/api/v1/query_exemplars?query=level&start=1&end=2",
        "/api/v1/query_exemplars?query=level&start=0.001&end=1830302400000",
        "/api/v1/format_query?query=sum(x)by(y)",
        "/api/v1/parse_query?query=x",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/targets",
        "/api/v1/status/buildinfo",
        "/api/v1/status/flags",
        "/api/v1/nothing",
        "/api/v1/label//values",
        "/federate?match[]=level",
        "/nothing/at%20all?x=%zz",
        "/graph",
    ] {
        targets.push(target.to_owned());
    }
    for target in &targets {
        let direct = comparable(get(prometheus.url(), target));
        assert_eq!(comparable(get(&served.url, target)), direct, "GET {target}");
        // The same, as Grafana asks.
        let headers = [("Accept-Encoding", "gzip"), ("Origin", "http://grafana"), ("X-Unknown", "1")];
        let direct = comparable(send(prometheus.url(), "GET", target, &headers, b""));
        assert_eq!(comparable(send(&served.url, "GET", target, &headers, b"")), direct, "GET {target} gzip");
        // The same as a form: parameters in the body, and the URL's alone with an empty body.
        let (path, parameters) = target.split_once('?').unwrap_or((target, ""));
        let direct = comparable(post(prometheus.url(), path, parameters));
        assert_eq!(comparable(post(&served.url, path, parameters)), direct, "POST {path} {parameters}");
        let direct = comparable(post(prometheus.url(), target, ""));
        assert_eq!(comparable(post(&served.url, target, "")), direct, "POST {target} without a body");
    }
    for method in ["OPTIONS", "HEAD", "PUT", "DELETE"] {
        for target in ["/api/v1/query?query=level", "/api/v1/labels", "/api/v1/status/config"] {
            let direct = comparable(send(prometheus.url(), method, target, &[("Origin", "http://a")], b""));
            let through = comparable(send(&served.url, method, target, &[("Origin", "http://a")], b""));
            assert_eq!(through, direct, "{method} {target}");
        }
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_large_form_passes_whole() {
    let history = history();
    let prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
    let served = behind(&prometheus);
    // Far beyond what is looked at for synthetic series.
    let form = format!("time=1700000000&query=level&padding={}", "x".repeat(3 << 20));
    let direct = comparable(post(prometheus.url(), "/api/v1/query", &form));
    assert_eq!(comparable(post(&served.url, "/api/v1/query", &form)), direct);
    assert_eq!(direct.status, 200);
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_dead_upstream_is_named_in_an_error_that_clients_understand() {
    let mut prometheus = Prometheus::start(&Setup::default());
    let served = behind(&prometheus);
    assert_eq!(get(&served.url, "/api/v1/query?query=1").status, 200);
    prometheus.kill();
    for target in ["/api/v1/query?query=1", "/api/v1/rules", "/graph"] {
        let reply = get(&served.url, target);
        assert_eq!(reply.status, 503, "{target}");
        let json = reply.json();
        assert_eq!(json["status"], "error");
        assert_eq!(json["errorType"], "unavailable");
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(prometheus.url()), "{error}");
    }
    // Own answers do not need it.
    assert_eq!(get(&served.url, "/-/ready").status, 200);
    assert!(get(&served.url, "/metrics").text().contains("emac_upstream_requests_total"));
}
