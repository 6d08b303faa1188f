//! The proxy in front of a real Prometheus, against that Prometheus: generated expressions over its own series, passed
//! through, pushed down, and evaluated here over its samples; and expressions that mix synthetic series with its own,
//! where Prometheus is asked for recorded copies of the synthetic ones.
//!
//! `EMAC_PROMQL_SEED` and `EMAC_PROMQL_COUNT` choose other expressions, and more of them.

#![expect(clippy::print_stdout, reason = "how many expressions said something is what the test is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use emac::series::{Labels, MatchOp, Matcher, NAME, STALE_NAN_BITS, Sample, Series};
use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::prometheus::{Prometheus, Setup, get, post_form};
use crate::promql_scripts::compare::{Points, difference};
use crate::promql_scripts::generate::{Generator, Vocabulary, number_of};
use crate::served::{Options, Served, journeys};

/// A multiple of the evaluation interval.
const START: i64 = 1_700_000_010;
/// Of scrapes and evaluations, in seconds.
const INTERVAL: i64 = 15;
/// Less than an hour of samples: Prometheus takes nothing older than that beside the newest.
const POINTS: i64 = 170;
/// The first evaluation: the longest window lies behind.
const FIRST: i64 = 50;
/// How long before the first scrape the copies begin, in seconds: without evidence the synthetic series say so.
const BEFORE: i64 = 1_000;
/// What recorded copies are called.
const RECORDED: &str = "recorded_journey_";

fn spec(name: &str, expression: &str) -> String {
    let component = |service: &str| {
        format!(
            "    {service}: {{telemetry: {{histogram: http_seconds, matchers: {{service: {service}}}, success: {{code: '!~\"5..\"'}}}}}}\n"
        )
    };
    format!(
        "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: {name}}}\nspec:\n  objectives:\n    \
         availability: {{target: 0.99, window: 30d}}\n  windows: [5m, 10m]\n  components:\n{}{}  expression: {expression}\n",
        component("front"),
        component("pay"),
    )
}

/// The series of Prometheus: evidence that changes from scrape to scrape, gauges and counters with gaps and resets and
/// the labels of journeys, one that comes and goes. Values are sums of powers of two, so that they add up alike in any
/// order.
fn real_series() -> Vec<Series> {
    let mut random = StdRng::seed_from_u64(11);
    let mut all = Vec::new();
    let time = |point: i64| Timestamp::from_millis((START + INTERVAL * point) * 1_000);
    for (service, code, calls) in
        [("front", "200", 90), ("front", "500", 2), ("pay", "200", 70), ("pay", "500", 1)]
    {
        let mut totals = [0_u32; 4];
        let mut columns: [Vec<Sample>; 4] = Default::default();
        for point in 0..POINTS {
            let mut below = 0;
            for (at, total) in totals.iter_mut().enumerate() {
                below += random.random_range(0..calls) * u32::from(at < 3);
                *total += below;
                columns[at].push(Sample { time: time(point), value: f64::from(*total) });
            }
        }
        for (le, samples) in ["0.1", "0.25", "0.5", "+Inf"].iter().zip(&columns) {
            let labels = Labels::named("http_seconds_bucket").with("service", service).with("code", code);
            all.push(Series { labels: labels.with("le", *le), samples: samples.clone() });
        }
    }
    for (journey, window, share) in [
        ("checkout", "5m", 101),
        ("checkout", "10m", 103),
        ("search", "5m", 107),
        ("search", "10m", 109),
        ("login", "", 113),
    ] {
        let labels = |name: &str| Labels::named(name).with("journey", journey).with("window", window);
        // Which of equals `topk` keeps depends on the order of the storage. Counters grow by a whole number and a part of
        // 2^14 that is prime and of each its own, so that within a hundred scrapes no two grow alike.
        let share = f64::from(share) / 16_384.0;
        let (mut counter, mut gauge, mut total) = (Vec::new(), Vec::new(), 1e6);
        for point in 0..POINTS {
            let reset = random.random_range(0..60) == 0;
            total = share + if reset { 3.0 } else { total + f64::from(random.random_range(0..50)) };
            let away = journey == "search" && window == "5m" && (70..105).contains(&point);
            if away || random.random_range(0..20) == 0 {
                continue;
            }
            counter.push(Sample { time: time(point), value: total });
            gauge
                .push(Sample { time: time(point), value: f64::from(random.random_range(-40_i16..40)) / 4.0 });
        }
        all.push(Series { labels: labels("c_total"), samples: counter });
        all.push(Series { labels: labels("g"), samples: gauge });
    }
    let comes_and_goes = (0..POINTS).filter(|point| (point / 25) % 2 == 0).map(|point| {
        let ends = point % 50 == 24;
        let value =
            if ends { f64::from_bits(STALE_NAN_BITS) } else { f64::from(i16::try_from(point).unwrap()) };
        Sample { time: time(point), value }
    });
    all.push(Series {
        labels: Labels::named("sparse").with("journey", "checkout"),
        samples: comes_and_goes.collect(),
    });
    all
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<WrittenSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WrittenSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<WrittenLabel>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WrittenSample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WrittenLabel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WrittenSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    time: i64,
}

/// Writes series by remote write, which keeps stale markers, in the order of time.
fn write(prometheus: &Prometheus, all: &[Series]) {
    let mut times: Vec<Timestamp> = all.iter().flat_map(|s| &s.samples).map(|sample| sample.time).collect();
    times.sort_unstable();
    times.dedup();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for span in times.chunks(40) {
        let (from, to) = (span[0], span[span.len() - 1]);
        let of_series = |series: &Series| {
            let label = |(name, value): (&str, &str)| WrittenLabel { name: name.into(), value: value.into() };
            let inside = series.samples.iter().filter(|sample| (from..=to).contains(&sample.time));
            let samples = inside.map(|s| WrittenSample { value: s.value, time: s.time.millis() });
            WrittenSeries { labels: series.labels.iter().map(label).collect(), samples: samples.collect() }
        };
        let series = all.iter().map(of_series).filter(|series| !series.samples.is_empty()).collect();
        let body = prost::Message::encode_to_vec(&WriteRequest { series });
        let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let mut answer = agent
            .post(format!("{}/api/v1/write", prometheus.url()))
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .send(&body)
            .unwrap();
        let status = answer.status().as_u16();
        assert!(status < 300, "{status}: {}", answer.body_mut().read_to_string().unwrap());
    }
}

struct World {
    prometheus: Prometheus,
    /// The proxy as it is.
    served: Served,
    /// The same without push-down.
    here: Served,
}

/// A Prometheus with its own series and recorded copies of the synthetic ones, and two proxies in front.
fn world() -> World {
    let flags = ["--web.enable-remote-write-receiver"];
    let prometheus = Prometheus::start(&Setup { flags: &flags, ..Setup::default() });
    write(&prometheus, &real_series());
    let start = |pushdown: bool| {
        let url = prometheus.url().to_owned();
        let upstream =
            move || -> Arc<dyn Upstream> { Arc::new(HttpUpstream::new(HttpSettings::new(url)).unwrap()) };
        let models = [spec("checkout", "Series(front, pay)"), spec("search", "Race(front, pay)")];
        let all = models.iter().flat_map(|text| journeys(text)).collect();
        let options = Options { pushdown: Some(pushdown), ..Options::default() };
        let served = Served::start(upstream, all, Timestamp::from_millis(START * 1_000), options);
        served.learn_dialect();
        served
    };
    let world = World { served: start(true), here: start(false), prometheus };
    let checkout_alone = journeys(&spec("checkout", "Series(front, pay)"));
    let both: Vec<_> = [spec("checkout", "Series(front, pay)"), spec("search", "Race(front, pay)")]
        .iter()
        .flat_map(|text| journeys(text))
        .collect();
    for point in FIRST..POINTS {
        // A journey that goes and comes back leaves stale markers.
        match point {
            90 => world.served.engine.replace(checkout_alone.clone()),
            115 => world.served.engine.replace(both.clone()),
            _ => {}
        }
        world.served.evaluate_at(Timestamp::from_millis((START + INTERVAL * point + 5) * 1_000));
    }
    let mut recorded = world.served.select(
        &[Matcher { name: NAME.into(), op: MatchOp::Regex, value: "emac_journey_.+".into() }],
        Timestamp::from_millis((START - BEFORE) * 1_000),
        Timestamp::from_millis((START + INTERVAL * POINTS) * 1_000),
    );
    for series in &mut recorded {
        let name = series.labels.get(NAME).replace("emac_journey_", RECORDED);
        series.labels.set(NAME, name);
    }
    let stale =
        recorded.iter().flat_map(|s| &s.samples).filter(|s| s.value.to_bits() == STALE_NAN_BITS).count();
    assert!(stale > 10, "only {stale} stale markers were recorded");
    write(&world.prometheus, &recorded);
    world
}

/// Time in seconds: an instant, or start, end and step.
#[derive(Debug, Clone, Copy)]
enum Asked {
    At(f64),
    Range(f64, f64, f64),
}

/// On and off the grid of the samples.
const TIMES: [Asked; 6] = [
    Asked::At(START as f64 + 1_800.0),
    Asked::At(START as f64 + 2_407.5),
    Asked::At(START as f64 + 2_100.0),
    Asked::Range(START as f64 + 1_500.0, START as f64 + 2_700.0, 60.0),
    Asked::Range(START as f64 + 1_507.0, START as f64 + 2_690.0, 173.0),
    Asked::Range(START as f64 + 1_800.0, START as f64 + 2_400.0, 15.0),
];

#[derive(Debug)]
enum Answer {
    Fails(String),
    Is(Points),
}

fn ask(url: &str, expression: &str, asked: Asked) -> Answer {
    let reply = match asked {
        Asked::At(time) => {
            post_form(&format!("{url}/api/v1/query"), &[("query", expression), ("time", &time.to_string())])
        }
        Asked::Range(start, end, step) => post_form(
            &format!("{url}/api/v1/query_range"),
            &[
                ("query", expression),
                ("start", &start.to_string()),
                ("end", &end.to_string()),
                ("step", &step.to_string()),
            ],
        ),
    };
    let json = reply.json();
    if reply.status != 200 {
        return Answer::Fails(json["error"].as_str().unwrap_or_default().to_owned());
    }
    let sample = |pair: &serde_json::Value| {
        let value = match pair[1].as_str().unwrap() {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            text => text.parse().unwrap(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
        ((pair[0].as_f64().unwrap() * 1_000.0).round() as i64, value)
    };
    let data = &json["data"];
    if data["resultType"] == "scalar" {
        return Answer::Is([("{}".to_owned(), vec![sample(&data["result"])])].into());
    }
    let mut points = Points::new();
    for series in data["result"].as_array().unwrap() {
        let metric = series["metric"].as_object().unwrap();
        let labels: Labels = metric.iter().map(|(name, value)| (name, value.as_str().unwrap())).collect();
        let samples = match series.get("values") {
            Some(values) => values.as_array().unwrap().iter().map(sample).collect(),
            None => vec![sample(&series["value"])],
        };
        points.insert(labels.to_string().replace(RECORDED, "emac_journey_"), samples);
    }
    Answer::Is(points)
}

/// Of values near 0: 2.42 adds without compensation, in the order of its storage.
const NOISE: f64 = 1e-12;

/// Where two answers part, if they do.
fn parted(ours: &Answer, theirs: &Answer) -> Option<String> {
    match (ours, theirs) {
        (Answer::Fails(..), Answer::Fails(..)) => None,
        (Answer::Is(ours), Answer::Is(theirs)) => difference(ours, theirs, NOISE),
        (ours, theirs) => Some(format!("{ours:?}, not {theirs:?}")),
    }
}

/// In the terms of this test: the generator speaks of jobs and zones.
fn of_journeys(expression: &str) -> String {
    [("job", "journey"), ("zone", "window"), ("h_bucket", "http_seconds_bucket"), ("\"a\"", "\"5m\"")]
        .iter()
        .fold(expression.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn vocabulary(selectors: &[&str]) -> Vocabulary {
    let at = START + 1_500;
    Vocabulary {
        selectors: selectors.iter().map(|text| (*text).to_owned()).collect(),
        shifts: ["", "", "", " offset 37s", " offset -2m", &format!(" @ {at}"), " @ end() offset 1m"]
            .map(str::to_owned)
            .into(),
        counter: "c_total".to_owned(),
        for_version_2: true,
    }
}

const REAL: [&str; 8] = [
    "g",
    "c_total",
    "g{journey=\"checkout\"}",
    "g{window=~\"5m|10m\"}",
    "c_total{journey!=\"login\"}",
    "http_seconds_bucket",
    "none",
    "sparse",
];

const SYNTHETIC: [&str; 7] = [
    "emac_journey_availability_estimate",
    "emac_journey_availability_pessimistic{journey=\"checkout\"}",
    "emac_journey_error_budget_burn_rate_pessimistic{window=\"5m\"}",
    "emac_journey_error_budget_remaining_pessimistic{journey=~\"search|none\"}",
    "emac_journey_latency_pessimistic_seconds{quantile=\"0.99\"}",
    "emac_journey_component_availability_estimate",
    "{__name__=~\"emac_journey_availability_(estimate|pessimistic)\",journey=\"search\"}",
];

/// Prometheus is not deterministic itself where values tie: what differs is asked twice.
fn confirmed(url: &str, expression: &str, asked: Asked, ours: &Answer) -> Option<String> {
    let fault = parted(ours, &ask(url, expression, asked))?;
    let theirs = ask(url, expression, asked);
    parted(ours, &theirs).filter(|_| !fails_by_its_filter(expression, ours, &theirs)).map(|_| fault)
}

/// Whether several series match one and a comparison drops all but one of them. Up to 3.8 that is an answer as long as
/// the values happen to be such; since 3.9, and here, it is an error whatever they are.
fn fails_by_its_filter(expression: &str, ours: &Answer, theirs: &Answer) -> bool {
    let (Answer::Fails(said), Answer::Is(_)) = (ours, theirs) else { return false };
    let mut words = expression.split(' ').peekable();
    let mut filters = false;
    while let Some(word) = words.next() {
        filters |= ["==", "!=", "<", ">", "<=", ">="].contains(&word) && words.peek() != Some(&"bool");
    }
    filters && said.starts_with("multiple matches for labels")
}

fn report(what: &str, count: u64, said: u64, differences: &[String]) {
    let begin = differences.len().min(12);
    assert!(
        differences.is_empty(),
        "{what}: {} of {count} differ:\n{}",
        differences.len(),
        differences[..begin].join("\n")
    );
    println!("{what}: {count} expressions, {said} answers that hold something, 0 differ");
}

fn real_alone(world: &World, seed: u64, count: u64) {
    let mut generator = Generator::with_vocabulary(seed, vocabulary(&REAL));
    let direct = world.prometheus.url();
    let (mut said, mut differences) = (0, Vec::new());
    for number in 0..count {
        let expression = of_journeys(&generator.expression());
        let asked = TIMES[usize::try_from(number).unwrap() % TIMES.len()];
        // An empty synthetic vector beside it makes the proxy plan, and push the expression down as a whole.
        let pushed = format!("({expression}) or emac_journey_gate{{journey=\"none\"}}");
        for (way, url, text) in [
            ("passed through", &world.served.url, &expression),
            ("pushed down", &world.served.url, &pushed),
            ("evaluated here", &world.here.url, &expression),
        ] {
            if way == "pushed down" && expression.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '(')
            {
                // A scalar has no union.
                continue;
            }
            let ours = ask(url, text, asked);
            if way == "pushed down" && matches!(&ours, Answer::Fails(said) if said.contains("set operator")) {
                continue;
            }
            said += u64::from(matches!(&ours, Answer::Is(points) if !points.is_empty()));
            if let Some(fault) = confirmed(direct, &expression, asked, &ours) {
                differences
                    .push(format!("{way}: {expression}\n  {asked:?}: {}", &fault[..fault.len().min(500)]));
            }
        }
    }
    report("real series alone", count, said, &differences);
    assert!(said > count, "only {said} of 3 × {count} answers held anything");
}

fn mixed(world: &World, seed: u64, count: u64) {
    let selectors: Vec<&str> = REAL.iter().chain(&SYNTHETIC).chain(&SYNTHETIC).copied().collect();
    let mut generator = Generator::with_vocabulary(seed, vocabulary(&selectors));
    let direct = world.prometheus.url();
    let (mut said, mut number, mut differences) = (0, 0, Vec::new());
    while number < count {
        let expression = of_journeys(&generator.expression());
        if !expression.contains("emac_journey_") {
            continue;
        }
        let asked = TIMES[usize::try_from(number).unwrap() % TIMES.len()];
        number += 1;
        let recorded = expression.replace("emac_journey_", RECORDED);
        let ours = ask(&world.served.url, &expression, asked);
        said += u64::from(matches!(&ours, Answer::Is(points) if !points.is_empty()));
        if let Some(fault) = confirmed(direct, &recorded, asked, &ours) {
            differences.push(format!("{expression}\n  {asked:?}: {}", &fault[..fault.len().min(500)]));
        }
    }
    report("synthetic and real series", count, said, &differences);
    assert!(2 * said > count, "only {said} of {count} answers held anything");
}

fn run(seed: u64, count: u64) {
    let world = world();
    println!("seed {seed}");
    let begun = Instant::now();
    real_alone(&world, seed, count);
    mixed(&world, seed, count);
    println!("in {:?}", Duration::from_secs(begun.elapsed().as_secs()));
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn generated_expressions_mean_what_they_mean_to_a_real_prometheus() {
    run(number_of("EMAC_PROMQL_SEED", 1), 300);
}

#[test]
#[ignore = "long: 10,000 expressions, asked of a real Prometheus three times each"]
fn many_generated_expressions_mean_what_they_mean_to_a_real_prometheus() {
    run(number_of("EMAC_PROMQL_SEED", 2), number_of("EMAC_PROMQL_COUNT", 10_000));
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_boundaries_of_the_upstream_are_found_out() {
    let prometheus = Prometheus::start(&Setup::default());
    let version = get(&format!("{}/api/v1/status/buildinfo", prometheus.url())).json();
    let version = version["data"]["version"].as_str().unwrap().to_owned();
    let url = prometheus.url().to_owned();
    let upstream =
        move || -> Arc<dyn Upstream> { Arc::new(HttpUpstream::new(HttpSettings::new(url)).unwrap()) };
    let model = journeys(&spec("checkout", "Series(front, pay)"));
    let served = Served::start(upstream, model, Timestamp::from_millis(START * 1_000), Options::default());
    let dialect = served.learn_dialect();
    use emac::promql::limits::Boundaries;
    let expected = if version.starts_with("2.") { Boundaries::Closed } else { Boundaries::LeftOpen };
    assert_eq!(dialect.boundaries, expected, "{version}");
    // The harness evaluates rules each second.
    assert_eq!(dialect.subquery_step.to_string(), "1s");
    assert_eq!(dialect.lookback.to_string(), "5m");
    assert!(!dialect.names_dropped_late);
}
