//! Remote read over an upstream in memory: what is answered, from where, and what is refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use emac::series::{Labels, STALE_NAN_BITS, StepGrid};
use emac::unit::Timestamp;
use emac::upstream::embedded::{EmbeddedStore, EmbeddedUpstream, StoreLimits};
use emac::upstream::{Answer, Body, Upstream, UpstreamError};
use futures::future::BoxFuture;
use http::{Request, Response};
use prost::Message as _;

use crate::http_client::{get, send};
use crate::prometheus::escape;
use crate::remote_read_client::{CHUNKS, ReadSeries, SAMPLES, body, existence, matcher, post, query, read};
use crate::served::{Options, Served, journeys};

const STEP: i64 = 15_000;
/// The first scrape, a multiple of the interval.
const BEGIN: i64 = 1_700_000_010_000;
const ESTIMATE: &str = "emac_journey_availability_estimate";
const GATE: &str = "emac_journey_gate";

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {window: 30d, target: 0.99}
    latency: {window: 30d, objective: {metric: p90, threshold: 400ms}}
  windows: [5m, 10m]
  expression: Series(front, pay)
  components:
    front: {telemetry: {histogram: m, matchers: {service: front}, success: {code: '!~\"5..\"'}}}
    pay: {telemetry: {histogram: m, matchers: {service: pay}, success: {code: '!~\"5..\"'}}}
";

/// Three hours of two services, scraped a second before each grid point, by a server that can be cut off.
pub(crate) struct Shop {
    inner: EmbeddedUpstream,
    down: AtomicBool,
    /// Queries with this text are refused; empty: none.
    refused: Mutex<&'static str>,
    asked: AtomicUsize,
    forwarded: AtomicUsize,
}

impl Shop {
    fn new() -> Arc<Self> {
        let limits =
            StoreLimits { retention: "1d".parse().unwrap(), samples_per_series: 10_000, series: 100 };
        let store = Arc::new(EmbeddedStore::new(limits));
        for (service, shift) in [("front", 1.0), ("pay", 2.0)] {
            let series = ["200", "500"].into_iter().flat_map(|code| {
                ["0.1", "0.5", "+Inf"].map(|le| {
                    Labels::named("m_bucket").with("service", service).with("code", code).with("le", le)
                })
            });
            let target = store.add_target(series.collect()).unwrap();
            let mut counters = [0.0; 6];
            for i in 0..720 {
                let (load, slow) = (20.0 + (i * i % 13) as f64, shift + (i % 5) as f64);
                for (counter, calls) in
                    counters.iter_mut().zip([load - slow, load, load, 0.0, 0.0, slow / 5.0])
                {
                    *counter += calls;
                }
                store.append(target, Timestamp::from_millis(BEGIN + i * STEP - 1_000), &counters).unwrap();
            }
        }
        let inner = EmbeddedUpstream::new("shop", store, Arc::new(|| Timestamp::from_millis(BEGIN)));
        Arc::new(Self {
            inner,
            down: AtomicBool::default(),
            refused: Mutex::default(),
            asked: AtomicUsize::default(),
            forwarded: AtomicUsize::default(),
        })
    }

    /// Refuses queries with this text from now on.
    pub(crate) fn refuse(&self, text: &'static str) {
        *self.refused.lock().unwrap() = text;
    }

    fn check(&self, query: &str) -> Result<(), UpstreamError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let refused = *self.refused.lock().unwrap();
        if !refused.is_empty() && query.contains(refused) {
            let message = "too much".to_owned();
            return Err(UpstreamError::Refused { upstream: "shop".into(), status: 422, message });
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(UpstreamError::Unreachable { upstream: "shop".into(), fault: "cut off".into() });
        }
        Ok(())
    }
}

impl Upstream for Shop {
    fn name(&self) -> &str {
        "shop"
    }

    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        by: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let checked = self.check(query);
        let answer = self.inner.instant(query, at, by);
        Box::pin(async move { checked.and(answer.await) })
    }

    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        by: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let checked = self.check(query);
        let answer = self.inner.range(query, grid, by);
        Box::pin(async move { checked.and(answer.await) })
    }

    fn forward(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        if request.uri().path() != "/api/v1/status/config" {
            self.forwarded.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.forward(request)
    }
}

/// The grid point `i`, in milliseconds.
fn at(i: i64) -> i64 {
    BEGIN + i * STEP
}

pub(crate) fn start(options: Options) -> (Served, Arc<Shop>) {
    let shop = Shop::new();
    let upstream = Arc::clone(&shop);
    let served =
        Served::start(|| upstream as Arc<dyn Upstream>, journeys(SPEC), Timestamp::from_millis(0), options);
    (served, shop)
}

/// Evaluates the points `from..=to`, each five seconds late.
pub(crate) fn evaluate(served: &Served, from: i64, to: i64) {
    for i in from..=to {
        served.clock.store(at(i) + 5_000, Ordering::SeqCst);
        served.evaluate();
    }
}

/// The samples of a range by the proxy's own API.
fn by_api(served: &Served, selector: &str, seconds: i64, end: i64) -> Vec<ReadSeries> {
    let asked = escape(&format!("{selector}[{seconds}s]"));
    let reply = get(&served.url, &format!("/api/v1/query?query={asked}&time={}", end as f64 / 1000.0));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json = reply.json();
    let mut series: Vec<ReadSeries> = json["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let labels = series["metric"].as_object().unwrap().iter();
            let labels: Labels =
                labels.map(|(name, value)| (name.clone(), value.as_str().unwrap())).collect();
            let samples = series["values"].as_array().unwrap().iter().map(|pair| {
                let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
                ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, value.to_bits())
            });
            (labels.to_string(), samples.collect())
        })
        .collect();
    series.sort();
    series
}

fn without_markers(mut all: Vec<ReadSeries>) -> Vec<ReadSeries> {
    all.iter_mut().for_each(|(_, samples)| samples.retain(|(_, bits)| *bits != STALE_NAN_BITS));
    all.retain(|(_, samples)| !samples.is_empty());
    all.sort();
    all
}

/// Point numbers of the only series; stale markers apart.
fn points(all: &[ReadSeries]) -> (Vec<i64>, Vec<i64>) {
    let [(_, samples)] = all else { panic!("{all:?}") };
    let number = |(time, _): &(i64, u64)| (time - BEGIN) / STEP;
    let (markers, values): (Vec<_>, Vec<_>) = samples.iter().partition(|(_, bits)| *bits == STALE_NAN_BITS);
    (values.iter().map(number).collect(), markers.iter().map(number).collect())
}

#[test]
fn both_ways_of_reading_give_the_samples_of_the_query_api_bit_for_bit() {
    let (served, _) = start(Options::default());
    evaluate(&served, 200, 260);
    let seconds = 50 * 15;
    for (name, others, selector) in [
        (ESTIMATE, vec![], ESTIMATE.to_owned()),
        (ESTIMATE, vec!["window=5m"], format!("{ESTIMATE}{{window=\"5m\"}}")),
        (GATE, vec!["verdict!=pass", "window=~1.*"], format!("{GATE}{{verdict!=\"pass\",window=~\"1.*\"}}")),
        (GATE, vec!["verdict!~pass|block"], format!("{GATE}{{verdict!~\"pass|block\"}}")),
        (
            "",
            vec!["__name__=~emac_journey_latency_.+_bucket", "le=0.5"],
            "{__name__=~\"emac_journey_latency_.+_bucket\",le=\"0.5\"}".to_owned(),
        ),
        (ESTIMATE, vec!["journey=nobody"], format!("{ESTIMATE}{{journey=\"nobody\"}}")),
    ] {
        let asked = query(name, &others, at(211), at(260));
        let samples = read(&served.url, asked.clone(), &[]);
        assert_eq!(read(&served.url, asked.clone(), &[SAMPLES, CHUNKS]), samples, "{selector}");
        assert_eq!(read(&served.url, asked, &[CHUNKS, SAMPLES]), samples, "{selector}");
        let labels: Vec<&String> = samples.iter().map(|(labels, _)| labels).collect();
        assert!(labels.is_sorted_by(|a, b| a < b) || labels.len() < 2, "{labels:?}");
        assert_eq!(samples.is_empty(), others == ["journey=nobody"]);
        assert_eq!(without_markers(samples), by_api(&served, &selector, seconds, at(260)), "{selector}");
    }
}

#[test]
fn what_belongs_to_others_is_empty_at_once_and_never_passed_on() {
    let (served, shop) = start(Options::default());
    evaluate(&served, 100, 101);
    shop.asked.store(0, Ordering::SeqCst);
    for asked in [
        query("up", &[], 0, at(900)),
        query("", &["job=api"], i64::MIN, i64::MAX),
        query("", &["__name__=~node_.*"], 0, at(900)),
        query("emac_journey_unknown", &[], 0, at(900)),
        existence(query("", &["__name__=m_bucket"], 0, at(900))),
        query(ESTIMATE, &[], at(101), at(100)),
        query(ESTIMATE, &[], at(5_000), at(6_000)),
    ] {
        assert_eq!(read(&served.url, asked.clone(), &[CHUNKS]), [], "{asked:?}");
        assert_eq!(read(&served.url, asked, &[]), []);
    }
    assert_eq!(shop.asked.load(Ordering::SeqCst) + shop.forwarded.load(Ordering::SeqCst), 0);
}

#[test]
fn one_answer_holds_a_result_for_each_query_in_their_order() {
    let (served, _) = start(Options::default());
    evaluate(&served, 100, 100);
    let queries = vec![
        query(GATE, &["window=5m"], at(100), at(100)),
        query("up", &[], at(100), at(100)),
        query(ESTIMATE, &[], at(100), at(100)),
    ];
    let reply = post(&served.url, &body(queries.clone(), &[]));
    let plain = snap::raw::Decoder::new().decompress_vec(&reply.body).unwrap();
    let answer = emac::wire::remote_read::ReadResponse::decode(&*plain).unwrap();
    let sizes: Vec<usize> = answer.results.iter().map(|result| result.timeseries.len()).collect();
    assert_eq!(sizes, [3, 0, 2]);
    let reply = post(&served.url, &body(queries, &[CHUNKS]));
    let indices: Vec<i64> =
        crate::remote_read_client::frames(&reply.body).iter().map(|frame| frame.query_index).collect();
    assert_eq!(indices, [0, 0, 0, 2, 2]);
}

#[test]
fn labels_of_the_reader_are_satisfied_and_unknown_ones_are_counted() {
    let adjust = |settings: &mut emac::execute::EvaluationSettings| {
        settings.external_labels = Labels::new().with("cluster", "eu").with("prometheus", "own");
    };
    let (served, _) = start(Options { adjust: Some(adjust), ..Options::default() });
    evaluate(&served, 100, 100);
    let series = |others: &[&str]| read(&served.url, query(GATE, others, at(90), at(100)), &[]).len();
    for (others, found) in [
        (&[][..], 6),
        (&["replica=r1"], 6),
        (&["replica=r1", "prometheus_replica=x", "window=5m"], 3),
        (&["cluster=eu"], 6),
        (&["cluster=us"], 0),
        (&["cluster=~e.", "replica="], 6),
        // An own external label is a label like any other.
        (&["prometheus=own"], 6),
        (&["prometheus=k8s"], 0),
        (&["replica!="], 0),
        (&["zone=a"], 0),
        (&["zone="], 6),
    ] {
        assert_eq!(series(others), found, "{others:?}");
    }
    let all =
        read(&served.url, query(GATE, &["verdict=pass", "window=5m", "replica=r1"], at(100), at(100)), &[]);
    let labels = r#"emac_journey_gate{cluster="eu", journey="checkout", prometheus="own", verdict="pass", window="5m"}"#;
    assert_eq!(all[0].0, labels);
    let metrics = get(&served.url, "/metrics");
    let counted = "emac_remote_read_unsatisfiable_matchers_total 3";
    assert!(metrics.text().lines().any(|line| line == counted), "{}", metrics.text());
}

#[test]
fn a_bare_listing_of_series_asks_for_all_of_time_and_gets_labels_alone() {
    let (served, shop) = start(Options::default());
    evaluate(&served, 100, 101);
    shop.asked.store(0, Ordering::SeqCst);
    let all = existence(query("", &["__name__=~.+"], -9_223_309_901_257_974, 9_223_309_901_257_974));
    let begun = Instant::now();
    let found = read(&served.url, all.clone(), &[]);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(read(&served.url, all, &[CHUNKS]).len(), found.len());
    let listed =
        get(&served.url, &format!("/api/v1/series?match[]={}", escape("{__name__=~\"emac_.+\"}"))).json();
    assert_eq!(found.len(), listed["data"].as_array().unwrap().len());
    assert!(found.len() > 50 && found.iter().all(|(_, samples)| samples.is_empty()));
    assert_eq!(shop.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn nothing_within_the_retention_is_fetched_for_a_reader() {
    let (served, shop) = start(Options::default());
    evaluate(&served, 400, 401);
    shop.asked.store(0, Ordering::SeqCst);
    // The last five minutes, of which only two points were evaluated since the start.
    let found = read(&served.url, query(ESTIMATE, &["window=5m"], at(381), at(401)), &[]);
    assert_eq!(points(&found), (vec![400, 401], vec![]));
    assert_eq!(shop.asked.load(Ordering::SeqCst), 0);
    let metrics = get(&served.url, "/metrics");
    let counted = "emac_remote_read_unfilled_points_total 19";
    assert!(metrics.text().lines().any(|line| line == counted), "{}", metrics.text());
}

#[test]
fn what_is_older_than_the_retention_is_fetched_and_fails_as_a_whole() {
    let adjust =
        |settings: &mut emac::execute::EvaluationSettings| settings.retention = "10m".parse().unwrap();
    let (served, shop) = start(Options { adjust: Some(adjust), ..Options::default() });
    evaluate(&served, 400, 440);
    let asked = || query(ESTIMATE, &["window=5m"], at(385), at(440));
    let found = read(&served.url, asked(), &[CHUNKS]);
    assert_eq!(points(&found).0, (385..=440).collect::<Vec<_>>());
    let selector = format!("{ESTIMATE}{{window=\"5m\"}}");
    assert_eq!(without_markers(found), by_api(&served, &selector, 56 * 15, at(440)));
    // Another window is not cached yet.
    shop.down.store(true, Ordering::SeqCst);
    let reply = post(&served.url, &body(vec![query(ESTIMATE, &["window=10m"], at(385), at(440))], &[]));
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("shop"), "{}", reply.text());
    // What is kept is answered all the same.
    let recent = read(&served.url, query(ESTIMATE, &["window=10m"], at(420), at(440)), &[]);
    assert_eq!(points(&recent).0.len(), 21);
    let reply = post(&served.url, &body(vec![query(ESTIMATE, &[], 0, at(440))], &[]));
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert!(reply.text().contains("shorter range"), "{}", reply.text());
}

#[test]
fn a_gap_ends_every_number_one_step_after_it_became_unanswerable() {
    let (served, shop) = start(Options::default());
    evaluate(&served, 100, 110);
    shop.down.store(true, Ordering::SeqCst);
    evaluate(&served, 111, 115);
    let asked = || query(ESTIMATE, &["window=5m"], at(100), at(130));
    let selector = escape(&format!("{ESTIMATE}{{window=\"5m\"}}"));
    let status =
        |i: i64| get(&served.url, &format!("/api/v1/query?query={selector}&time={}", at(i) / 1000)).status;
    // One interval on the last evidence, marked as stale; then nothing.
    for accepted in [&[][..], &[CHUNKS]] {
        let found = read(&served.url, asked(), accepted);
        assert_eq!(points(&found), ((100..=111).collect(), vec![112]));
    }
    assert_eq!((status(111), status(112), status(115)), (200, 422, 422));
    shop.down.store(false, Ordering::SeqCst);
    evaluate(&served, 116, 120);
    let found = read(&served.url, asked(), &[CHUNKS]);
    assert_eq!(points(&found), ((100..=111).chain(116..=120).collect(), vec![112]));
    assert_eq!((status(112), status(116)), (422, 200));
    // The verdict has no gap: it says review.
    let review = query(GATE, &["window=5m", "verdict=review"], at(112), at(115));
    let found = read(&served.url, review, &[]);
    assert_eq!(found[0].1.iter().map(|(_, bits)| f64::from_bits(*bits)).collect::<Vec<_>>(), [1.0; 4]);
}

#[test]
fn a_loop_that_is_late_ends_the_series_before_it_says_anything_itself() {
    let (served, _) = start(Options::default());
    evaluate(&served, 100, 110);
    let asked = || query(ESTIMATE, &["window=5m"], at(105), at(140));
    // One point may be under way.
    served.clock.store(at(111) + 5_000, Ordering::SeqCst);
    assert_eq!(points(&read(&served.url, asked(), &[])), ((105..=110).collect(), vec![]));
    served.clock.store(at(112) + 5_000, Ordering::SeqCst);
    assert_eq!(points(&read(&served.url, asked(), &[])), ((105..=110).collect(), vec![111]));
    // The marker stays where the loop itself puts it when it comes back.
    evaluate(&served, 115, 116);
    assert_eq!(points(&read(&served.url, asked(), &[])), ((105..=110).chain(115..=116).collect(), vec![111]));
}

#[test]
fn hostile_requests_are_refused_at_once() {
    let (served, shop) = start(Options::default());
    evaluate(&served, 100, 101);
    shop.asked.store(0, Ordering::SeqCst);
    let valid = body(vec![query(ESTIMATE, &[], at(100), at(101))], &[]);
    let bombs: Vec<String> = (0..64).map(|i| format!("a{i}=~(\\w{{50}}|x){{{}}}", 100 + i)).collect();
    let bombs: Vec<&str> = bombs.iter().map(String::as_str).collect();
    let long = format!("a=~{}", "x".repeat(4_097));
    let mut unknown_type = query(ESTIMATE, &[], 0, 1);
    unknown_type.matchers[0].r#type = 9;
    for (what, request, status) in [
        ("4 GiB announced", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], 413),
        ("not snappy", b"query=up".to_vec(), 400),
        ("empty", Vec::new(), 400),
        ("cut", valid[..valid.len() - 3].to_vec(), 400),
        ("not the message", snap::raw::Encoder::new().compress_vec(&[0xff; 64]).unwrap(), 400),
        ("10,000 queries", body(vec![query("up", &[], 0, 1); 10_000], &[]), 400),
        ("65 matchers", body(vec![query("up", &["a=b"; 65], 0, 1)], &[]), 400),
        ("an unknown comparison", body(vec![unknown_type], &[]), 400),
        ("no known response type", body(vec![query("up", &[], 0, 1)], &[5]), 400),
        ("a broken regular expression", body(vec![query("", &["a=~("], 0, 1)], &[]), 400),
        ("one that escapes its anchors", body(vec![query("", &["a=~x)|(y"], 0, 1)], &[]), 400),
        ("one that is too long", body(vec![query("", &[&long], 0, 1)], &[]), 400),
        ("one that is too large", body(vec![query("", &["a=~((x{100}){100}){100}"], 0, 1)], &[]), 400),
        ("many that are large", body(vec![query("", &bombs, 0, 1); 4], &[]), 400),
        ("too many", body(vec![query("", &["a=~b"; 60], 0, 1); 60], &[]), 400),
        (
            "33 MiB that compress well",
            snap::raw::Encoder::new().compress_vec(&vec![0; 33 << 20]).unwrap(),
            413,
        ),
        (
            "16 million queries",
            snap::raw::Encoder::new().compress_vec(&[10, 0].repeat(16 << 20)).unwrap(),
            400,
        ),
        (
            "a label of 65 KiB",
            body(vec![query("", &[&format!("a={}", "x".repeat(65 << 10))], 0, 1)], &[]),
            400,
        ),
    ] {
        let begun = Instant::now();
        let reply = post(&served.url, &request);
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.json()["status"], "error", "{what}");
        println!("{what}: {} in {:?}", reply.status, begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(3), "{what} took {:?}", begun.elapsed());
    }
    // An announced length is refused before anything was sent.
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Length", "4294967296")];
    assert_eq!(send(&served.url, "POST", "/api/v1/read", &headers, b"").status, 413);
    assert_eq!(get(&served.url, "/api/v1/read").status, 405);
    assert_eq!(shop.asked.load(Ordering::SeqCst) + shop.forwarded.load(Ordering::SeqCst), 0);
    assert_eq!(post(&served.url, &valid).status, 200);
    let metrics = get(&served.url, "/metrics").text().to_owned();
    assert!(metrics.contains("emac_remote_read_requests_total{result=\"refused\"}"), "{metrics}");
}

#[test]
fn a_query_that_reads_more_samples_than_allowed_is_refused_and_not_cut() {
    let (served, _) = start(Options::default());
    evaluate(&served, 100, 102);
    let engine = Arc::clone(&served.engine);
    let everything = emac::promql::matcher::MatcherSet::new(vec![matcher("__name__=~.+")]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = |limit| {
        let (from, to) = (Timestamp::from_millis(at(100)), Timestamp::from_millis(at(102)));
        runtime.block_on(engine.read(&everything, from, to, limit))
    };
    let all = read(usize::MAX).unwrap();
    let samples: usize = all.iter().flat_map(|one| &one.chunks).map(|chunk| usize::from(chunk.samples)).sum();
    assert_eq!(read(samples).unwrap(), all);
    let error = read(samples - 1).unwrap_err().to_string();
    assert!(error.contains(&(samples - 1).to_string()), "{error}");
    let by_name: BTreeMap<&str, usize> = all.iter().map(|one| (one.labels.get("__name__"), 1)).collect();
    assert!(by_name.len() > 20);
}
