//! Native histograms of a real Prometheus as evidence.

use std::process::Command;

use prost::Message;

use crate::emac_binary::Binary;
use crate::prometheus::{Exporter, Prometheus, Setup, escape, get, wait_for};

/// What Prometheus scrapes native histograms in: delimited messages of io.prometheus.client.MetricFamily.
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    /// 4: a histogram.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Mean time of a successful call, in seconds; times are exponential.
const MEAN: f64 = 0.2;
/// Of failures.
const FAILING: f64 = 0.05;
/// The first and the last bucket, at 1 ms and at 8 s or so.
const BUCKETS: std::ops::RangeInclusive<i32> = -79..=24;

/// So many rounds of `calls` of exponential times in native buckets, eight to each power of two (schema 3) or fewer.
///
/// Rounded within a round: a bucket whose share of a growing whole is rounded can fall by one, which Prometheus rightly
/// takes for a restart.
fn histogram(rounds: u32, calls: f64, mean: f64, schema: i32) -> Histogram {
    let per_octave = f64::from(1 << schema);
    let (first, last) = (BUCKETS.start() >> (3 - schema), BUCKETS.end() >> (3 - schema));
    let edge = |index: i32| (f64::from(index) / per_octave).exp2();
    let by = |time: f64| i64::from(rounds) * (calls * (1.0 - (-time / mean).exp())).round() as i64;
    let counts: Vec<i64> = (first..=last).map(|index| by(edge(index)) - by(edge(index - 1))).collect();
    let mut before = 0;
    let deltas = counts.iter().map(|&count| count - std::mem::replace(&mut before, count)).collect();
    let zero = by(edge(first - 1));
    Histogram {
        sample_count: (zero + counts.iter().sum::<i64>()) as u64,
        sample_sum: f64::from(rounds) * calls * mean,
        schema,
        zero_threshold: edge(first - 1),
        zero_count: zero as u64,
        positive_span: vec![BucketSpan { offset: first, length: (last - first + 1) as u32 }],
        positive_delta: deltas,
    }
}

/// Two instances of one service, of which the second has coarser buckets, after so many rounds of 10,000 calls.
fn page(rounds: u32) -> Vec<u8> {
    let metric = |instance: &str, code: &str, histogram| Metric {
        label: [("service", "front"), ("pod", instance), ("code", code)]
            .map(|(name, value)| LabelPair { name: name.to_owned(), value: value.to_owned() })
            .to_vec(),
        histogram: Some(histogram),
    };
    let family = MetricFamily {
        name: "rq_seconds".to_owned(),
        help: "Requests.".to_owned(),
        kind: 4,
        metric: vec![
            metric("a", "200", histogram(rounds, 9_000.0, MEAN, 3)),
            metric("b", "200", histogram(rounds, 900.0, MEAN, 2)),
            metric("a", "500", histogram(rounds, 100.0, FAILING, 3)),
        ],
    };
    family.encode_length_delimited_to_vec()
}

const SPEC: &str = r#"apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: native}
spec:
  expression: front
  objectives:
    availability: {window: 30d, target: 0.98}
    latency: {window: 30d, objective: {metric: p99, threshold: 2s}}
  windows: [5m]
  components:
    front:
      telemetry:
        histogram: rq_seconds
        histogramType: native
        matchers: {service: front}
        success: {code: '!~"5.."'}
"#;

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn native_histograms_are_evidence_with_narrow_bounds() {
    let mut rounds = 10;
    let exporter = Exporter::start_with(PROTOBUF, &page(rounds));
    let flags = ["--enable-feature=native-histograms"];
    let setup = Setup { targets: &[exporter.target()], flags: &flags, ..Setup::default() };
    let prometheus = Prometheus::start(&setup);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (spec, config) = (
        path("native.yaml", SPEC),
        path("emac.yaml", "evaluation: {interval: 1s, delay: 1s, retention: 1m}\n"),
    );
    let binary = Binary::start(&["--upstream.url", prometheus.url(), "--spec", &spec, "--config", &config]);
    let mut number = |query: &str, is_wanted: &dyn Fn(f64) -> bool| {
        wait_for(query, || {
            rounds += 1;
            exporter.set_bytes(&page(rounds));
            let answer = get(&format!("{}/api/v1/query?query={}", binary.url, escape(query))).json();
            let value = answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()?;
            is_wanted(value).then_some(value)
        })
    };
    // Enough calls, then bounds of at least so many: every page holds the same shares.
    number("histogram_count(sum(increase(rq_seconds[5m])))", &|count| count > 1e6);
    let p99 = |side: &str| {
        format!(r#"emac_journey_latency_{side}_seconds{{journey="native",quantile="0.99",window="5m"}}"#)
    };
    let availability = r#"emac_journey_availability_estimate{journey="native",window="5m"}"#;
    number(availability, &|estimate| (estimate - 0.99).abs() < 1e-3);
    let bound = number(&p99("pessimistic"), &|bound| bound > 0.0 && bound.is_finite());
    let estimate = number(&p99("estimate"), &|estimate| estimate > 0.0 && estimate.is_finite());
    // A Prometheus that has just begun retains less than the error budget's window.
    let missing = escape(r#"emac_journey_evidence_missing{reason!="retention"} == 1"#);
    let missing = get(&format!("{}/api/v1/query?query={missing}", binary.url)).json();
    assert_eq!(missing["data"]["result"], serde_json::json!([]));

    let truth = MEAN * 100.0_f64.ln();
    assert!((estimate / truth - 1.0).abs() < 0.01, "estimate {estimate}, truth {truth}");
    // The coarser of the two instances has four buckets to a power of two: an edge is at most 2^(1/4) away.
    assert!(bound >= truth && bound < truth * 1.3, "bound {bound}, truth {truth}");

    let check = |spec: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_emac"))
            .args(["check", "--upstream.url", prometheus.url(), &path("checked.yaml", spec)])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (sound, said) = check(SPEC);
    assert!(sound, "{said}");
    let (sound, said) = check(&SPEC.replace("        histogramType: native\n", ""));
    assert!(!sound && said.contains("histogramType: native"), "{said}");
}
