//! What a large remote read costs the program that answers it: a day of a journey's series, from what is kept and fetched
//! anew, in both response types. `EMAC_PROGRAM=target/release/emac` measures that build instead of the tests' own.

use std::time::{Duration, Instant};

use crate::emac_binary::Binary;
use crate::http_client::get;
use crate::live_shop::now;
use crate::prometheus::{Prometheus, Setup, wait_for};
use crate::remote_read_client::{CHUNKS, SAMPLES, body, decoded, post, query};

pub(crate) const MINUTE: i64 = 60;
pub(crate) const DAY: i64 = 24 * 60;

/// The most that a read may add to an idle program, in KiB.
const MOST_KIB: u64 = 64 << 10;

pub(crate) const SPEC: &str = r#"
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.99, window: 30d}
    latency: {window: 30d, objective: {metric: p99, threshold: 800ms}}
  windows: [5m]
  components:
    front: {telemetry: {histogram: m, matchers: {service: front}, success: {code: '!~"5.."'}}}
    pay: {telemetry: {histogram: m, matchers: {service: pay}, success: {code: '!~"5.."'}}}
  expression: Series(front, pay)
"#;

/// A day and two hours up to `end`, each minute, of two services whose load and speed change all the time.
pub(crate) fn history(end: i64) -> String {
    const EDGES: [&str; 12] =
        ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
    let mut text = "# TYPE m histogram\n".to_owned();
    let minutes = DAY + 120;
    for (seed, service) in [(1, "front"), (2, "pay")] {
        for (code, share) in [("200", 1.0), ("500", 0.003)] {
            for (i, le) in EDGES.iter().enumerate() {
                let mut calls = 0.0;
                for minute in 0..=minutes {
                    let wave = |length: f64| (seed as f64 + minute as f64 / length).sin();
                    let load = 3_000.0 + 1_000.0 * wave(97.0) + 300.0 * wave(3.7);
                    // Up to this edge: a logistic law whose middle wanders.
                    let middle = 5.5 + 1.5 * wave(41.0);
                    let within = if i == 11 { 1.0 } else { 1.0 / (1.0 + (-2.0 * (i as f64 - middle)).exp()) };
                    calls += load * share * (1.0 + 0.5 * wave(11.0)) * within;
                    let time = end - MINUTE * (minutes - minute);
                    text.push_str(&format!(
                        "m_bucket{{service=\"{service}\",code=\"{code}\",le=\"{le}\"}} {calls:.0} {time}\n"
                    ));
                }
            }
        }
    }
    text + "# EOF\n"
}

/// Memory of a process from its `status`, in KiB.
fn memory(process: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The resident memory once it has stopped to change much, with its greatest value so far forgotten.
fn idle(process: u32) -> u64 {
    let mut last = (Instant::now(), memory(process, "VmRSS"));
    wait_for("the program to be idle", || {
        let current = memory(process, "VmRSS");
        if current.abs_diff(last.1) > 256 {
            last = (Instant::now(), current);
        }
        (last.0.elapsed() > Duration::from_secs(3)).then_some(())
    });
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    memory(process, "VmRSS")
}

fn metric(base: &str, name: &str) -> f64 {
    let metrics = get(base, "/metrics");
    let line = metrics.text().lines().find(|line| line.starts_with(name)).unwrap_or("0").to_owned();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
#[cfg_attr(has_prometheus, ignore = "long: evaluates a day of a journey four times")]
fn a_day_of_a_hundred_series_is_read_in_bounded_memory() {
    // The newest point on the grid that is offered already when the program has started.
    let end = (now() as i64 - 10).div_euclid(MINUTE) * MINUTE;
    let text = history(end);
    let prometheus = Prometheus::start(&Setup { history: Some(&text), ..Setup::default() });
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("checkout.yaml");
    std::fs::write(&spec, SPEC).unwrap();
    for (retention, source) in [("24h", "kept"), ("1h", "fetched")] {
        let config = folder.path().join(format!("{retention}.config"));
        let evaluation = format!("evaluation: {{interval: 60s, delay: 5s, retention: {retention}}}\n");
        std::fs::write(&config, evaluation).unwrap();
        for (name, accepted) in [("samples", SAMPLES), ("chunks", CHUNKS)] {
            let arguments = ["--config", config.to_str().unwrap(), "--spec", spec.to_str().unwrap()];
            let binary = Binary::start(&[&arguments[..], &["--upstream.url", prometheus.url()]].concat());
            let points = if source == "kept" { DAY - 1 } else { 59 };
            wait_for("the back-fill", || {
                (metric(&binary.url, "emac_backfilled_points_total") >= points as f64).then_some(())
            });
            let process = binary.child.id();
            let before = idle(process);
            let names = "__name__=~emac_journey_(availability|latency|error|component|domain).*";
            let matchers = [names, "journey=checkout", "window=5m"];
            let asked = query("", &matchers, (end - (DAY - 1) * MINUTE) * 1_000, end * 1_000);
            let begun = Instant::now();
            let reply = post(&binary.url, &body(vec![asked], &[accepted]));
            let took = begun.elapsed();
            assert_eq!(reply.status, 200, "{}", reply.text());
            // Frames are sent as they are made: nothing says beforehand how much will come.
            let streamed = reply.header("transfer-encoding") == Some("chunked");
            assert_eq!(streamed, accepted == CHUNKS, "{name}");
            let most = memory(process, "VmHWM");
            let after = memory(process, "VmRSS");
            let series = decoded(&reply.body, accepted);
            let values: usize = series.iter().map(|(_, samples)| samples.len()).sum();
            println!(
                "{source}, {name}: {} series, {values} samples, {} KiB in {took:?}; idle {before} KiB, at most \
                 +{} KiB, afterwards +{} KiB",
                series.len(),
                reply.body.len() >> 10,
                most - before,
                after.saturating_sub(before)
            );
            assert!(series.len() >= 100, "{}", series.len());
            assert!(values as i64 >= series.len() as i64 * (DAY - 5), "{values}");
            assert!(most - before <= MOST_KIB, "{} KiB above idle", most - before);
        }
    }
}
