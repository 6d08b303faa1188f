//! The evaluator against a real Prometheus on the same samples: every expression that is supported, at times off the
//! samples' grid, where the boundaries of 2.x and 3.x agree.

use std::collections::BTreeMap;

use emac::promql::evaluate::{self, into_series};
use emac::promql::guard::MAX_QUERY_BYTES;
use emac::promql::limits::{Boundaries, Options};
use emac::promql::query::Query;
use emac::promql::source::{Selection, SeriesSource};
use emac::promql::value::Value;
use emac::series::{Labels, Sample, Series, StepGrid};
use emac::unit::{Timestamp, Window};

use crate::prometheus::{Prometheus, Setup, escape, get};

const START: i64 = 1_700_000_000;

struct Memory(Vec<Series>);

impl SeriesSource for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
        let (matchers, from, to) = (&selection.matchers, selection.from, selection.to);
        let selected = self.0.iter().filter(|series| matchers.matches(&series.labels)).map(|series| {
            let inside = |sample: &&Sample| (from..=to).contains(&sample.time);
            Series {
                labels: series.labels.clone(),
                samples: series.samples.iter().filter(inside).copied().collect(),
            }
        });
        Ok(selected.collect())
    }
}

/// An hour of samples each 15 s: counters with resets and gaps, gauges with infinities, series that come and go.
fn samples() -> Vec<Series> {
    let mut all = Vec::new();
    // A small generator, so that values differ from series to series but not from run to run.
    let mut state = 0x9e37_79b9_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 40).unwrap()) / f64::from(1_u32 << 24)
    };
    for (number, (job, zone)) in
        [("api", "a"), ("api", "b"), ("web", "a"), ("web", "b"), ("db", "")].into_iter().enumerate()
    {
        let labels = |name: &str| Labels::named(name).with("job", job).with("zone", zone);
        let (mut total, mut counter, mut gauge) = (1e6, Vec::new(), Vec::new());
        for i in 0..240_i64 {
            let time = Timestamp::from_millis((START + 15 * i) * 1000);
            total += (next() * 100.0).floor();
            if next() < 0.01 {
                total = 1e5;
            }
            // Each series has gaps of its own, one of them longer than the lookback.
            let missing = next() < 0.05 || number == 1 && (60..90).contains(&i);
            if !missing {
                counter.push(Sample { time, value: total });
                let value = match i % 97 {
                    13 if number == 2 => f64::INFINITY,
                    14 if number == 2 => f64::NEG_INFINITY,
                    15 if number == 3 => f64::NAN,
                    _ => (next() - 0.5) * 10.0,
                };
                gauge.push(Sample { time, value });
            }
        }
        all.push(Series { labels: labels("c_total"), samples: counter });
        all.push(Series { labels: labels("g"), samples: gauge });
    }
    all
}

fn open_metrics(all: &[Series]) -> String {
    let mut text = String::new();
    for (family, kind, name) in [("c", "counter", "c_total"), ("g", "gauge", "g")] {
        text.push_str(&format!("# TYPE {family} {kind}\n"));
        for series in all.iter().filter(|series| series.labels.get("__name__") == name) {
            for sample in &series.samples {
                let value = match sample.value {
                    v if v.is_nan() => "NaN".to_owned(),
                    f64::INFINITY => "+Inf".to_owned(),
                    f64::NEG_INFINITY => "-Inf".to_owned(),
                    v => v.to_string(),
                };
                text.push_str(&format!("{} {value} {}\n", series.labels, sample.time.millis() / 1000));
            }
        }
    }
    // The exposition format takes no blank after a comma.
    text.replace(", ", ",") + "# EOF\n"
}

const EXPRESSIONS: [&str; 92] = [
    "c_total",
    "g{job=\"api\"}",
    "g{job=~\"a.*|web\", zone!=\"a\"}",
    "g{zone=\"\"}",
    "g{zone!~\".+\"}",
    "{__name__=~\"g|c_total\", zone=\"b\"}",
    "g offset 3m",
    "g offset -90s",
    "c_total @ 1700001807",
    "c_total @ 1700001807 offset 10m",
    "g @ start()",
    "g @ end()",
    "rate(c_total[5m])",
    "rate(c_total[38s])",
    "increase(c_total[20m])",
    "increase(c_total[1h] offset 5m)",
    "increase(c_total[10m] @ 1700002007)",
    "rate(c_total{job=\"api\"}[2m])",
    "count_over_time(g[4m])",
    "count_over_time(g[10s])",
    "timestamp(g)",
    "timestamp(g offset 1m)",
    "timestamp(g + 1)",
    "sum(rate(c_total[5m]))",
    "sum by (job) (rate(c_total[5m]))",
    "sum without (zone) (increase(c_total[5m]))",
    "sum by (nothing) (c_total)",
    "count(g)",
    "count by (zone) (g)",
    "max by (job) (g)",
    "min without (job) (g)",
    "avg by (zone) (g)",
    "avg(c_total)",
    "sum(g)",
    "max(count_over_time(g[5m])) by (zone)",
    "g * 2 + 1",
    "-g",
    "1 / g",
    "g % 3",
    "2 ^ g",
    // 2.42 keeps the name here, 3.x does not.
    "sum by (job, zone) (g atan2 2)",
    "g > 0",
    "0 < g",
    "g > bool 1",
    "sum(g) / count(g)",
    "rate(c_total[5m]) * 60 > 100",
    "1 + 2 * 3 ^ 2 % 5",
    "(2 > bool 1) * -3",
    "g + on (job, zone) c_total",
    "g / ignoring (zone) group_left sum by (job) (c_total)",
    "sum by (zone) (g) * on (zone) group_right c_total",
    "g > on (job, zone) avg by (job, zone) (c_total) / 1e6",
    "g and on (zone) c_total{job=\"api\"}",
    "g{job=\"api\"} or c_total{zone=\"a\"}",
    "g unless on (job) c_total{zone=\"b\"}",
    "topk(2, c_total)",
    "topk by (zone) (1, c_total)",
    "bottomk(3, rate(c_total[5m]))",
    "quantile(0.3, g{job!=\"db\"})",
    "quantile by (job) (0.9, c_total)",
    "count_values(\"v\", ceil(g{job=\"api\"}))",
    "count_values by (job) (\"v\", floor(g{zone=\"a\"}))",
    "group by (job) (g)",
    "delta(g{job=\"api\"}[5m])",
    "irate(c_total[2m])",
    "idelta(g{job=\"api\"}[2m])",
    "deriv(g{job=\"api\"}[10m])",
    "predict_linear(g{job=\"api\"}[10m], 600)",
    "holt_winters(g{job=\"api\"}[10m], 0.4, 0.2)",
    "changes(g[10m])",
    "resets(c_total[1h])",
    "avg_over_time(g{job=\"web\"}[7m])",
    "sum_over_time(g{job=\"api\"}[7m])",
    "min_over_time(g[7m])",
    "max_over_time(g[7m])",
    "stddev_over_time(g{job=\"api\"}[7m])",
    "quantile_over_time(0.7, g{job=\"api\"}[7m])",
    "last_over_time(g[3m])",
    "present_over_time(g[3m])",
    "absent_over_time(g{job=\"none\", zone=\"a\"}[3m])",
    "absent(g{job=\"none\"})",
    "max_over_time(rate(c_total[2m])[10m:50s])",
    "sum_over_time((g{job=\"api\"} > 0)[5m:20s])",
    "avg_over_time(sum(c_total)[5m:25s] offset 90s)",
    "max_over_time(c_total[5m:30s] @ 1700001807)",
    "label_replace(g, \"j\", \"$1\", \"job\", \"(.).*\")",
    "label_join(g, \"x\", \"-\", \"job\", \"zone\")",
    "clamp(g, -2, 2)",
    "round(g{job=\"api\"}, 0.5)",
    "scalar(g{job=\"api\", zone=\"a\"}) + vector(1)",
    "minute(vector(time())) + hour() * 100",
    "histogram_quantile(0.5, label_replace(label_replace(g{job=\"db\"} * 0 + 5, \"le\", \"+Inf\", \"\", \"\"), \"x\", \"\", \"\", \"\"))",
];

type Values = BTreeMap<String, Vec<(i64, f64)>>;

/// With the boundaries of 2.x; those of 3.x must give the same, except within subqueries, whose steps fall onto samples.
fn ours(text: &str, grid: &StepGrid, range: bool, source: &Memory) -> Values {
    let closed = ours_with(Boundaries::Closed, text, grid, range, source);
    let is_subquery = text.contains("m:");
    if !is_subquery {
        let open = ours_with(Boundaries::LeftOpen, text, grid, range, source);
        assert_same(&open, &closed, &format!("{text} with the boundaries of 3.x"));
    }
    closed
}

fn ours_with(boundaries: Boundaries, text: &str, grid: &StepGrid, range: bool, source: &Memory) -> Values {
    let options = Options { boundaries, ..Options::default() };
    let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
    let series = match evaluate::evaluate(&query, grid, range, &options, source).unwrap().value {
        Value::Vector(vector) => into_series(vector, grid),
        Value::Scalar(numbers) => {
            let samples = grid.iter().zip(numbers).map(|(time, value)| Sample { time, value }).collect();
            vec![Series { labels: Labels::new(), samples }]
        }
        other => panic!("a {}", other.type_name()),
    };
    series
        .into_iter()
        .map(|series| {
            let samples = series.samples.iter().map(|sample| (sample.time.millis(), sample.value)).collect();
            (series.labels.to_string(), samples)
        })
        .collect()
}

fn theirs(url: &str) -> Values {
    let reply = get(url);
    assert_eq!(reply.status, 200, "{url}: {}", reply.text());
    let data = &reply.json()["data"];
    let sample = |pair: &serde_json::Value| {
        let value = match pair[1].as_str().unwrap() {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            text => text.parse().unwrap(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
        ((pair[0].as_f64().unwrap() * 1000.0).round() as i64, value)
    };
    if data["resultType"] == "scalar" {
        return [("{}".to_owned(), vec![sample(&data["result"])])].into();
    }
    data["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let metric = series["metric"].as_object().unwrap();
            let labels: Labels = metric.iter().map(|(name, value)| (name, value.as_str().unwrap())).collect();
            let samples = match series.get("values") {
                Some(values) => values.as_array().unwrap().iter().map(sample).collect(),
                None => vec![sample(&series["value"])],
            };
            (labels.to_string(), samples)
        })
        .collect()
}

fn assert_same(ours: &Values, theirs: &Values, what: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    for (labels, ours) in ours {
        let theirs = &theirs[labels];
        assert_eq!(ours.len(), theirs.len(), "{what} {labels}");
        for ((time, a), (their_time, b)) in ours.iter().zip(theirs) {
            assert_eq!(time, their_time, "{what} {labels}");
            // Prometheus 2.42 sums without compensation.
            let close = (a - b).abs() <= 1e-10 * a.abs().max(b.abs()).max(1.0);
            let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() || close;
            assert!(same, "{what} {labels} at {time}: {a}, not {b}");
        }
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_evaluator_agrees_with_a_real_prometheus() {
    let source = Memory(samples());
    let history = open_metrics(&source.0);
    let prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    for text in EXPRESSIONS {
        let query = escape(text);
        for seconds in [-10, 7, 307, 1_021, 1_399, 2_777, 3_590, 3_860, 9_001] {
            let time = START + seconds;
            let grid = StepGrid::instant(at(time), Window::from_millis(1).unwrap());
            let url = format!("{}/api/v1/query?query={query}&time={time}", prometheus.url());
            assert_same(&ours(text, &grid, false, &source), &theirs(&url), &format!("{text} at {time}"));
        }
        // Steps that never fall onto a sample, nor do the edges of ranges.
        for (start, end, step) in [(-400, 4_100, 45), (1_001, 1_002, 60), (604, 3_304, 300)] {
            let (start, end) = (START + start + 8, START + end + 8);
            let grid = StepGrid::new(at(start), at(end), Window::from_millis(step * 1000).unwrap()).unwrap();
            let url = format!(
                "{}/api/v1/query_range?query={query}&start={start}&end={end}&step={step}",
                prometheus.url()
            );
            let what = format!("{text} from {start} to {end} by {step}");
            assert_same(&ours(text, &grid, true, &source), &theirs(&url), &what);
        }
    }
}
