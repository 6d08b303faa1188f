//! The evaluator as a whole, against values worked out by hand.

use super::evaluate::{EvaluationError, check_supported, evaluate, into_series};
use super::guard::MAX_QUERY_BYTES;
use super::limits::{Boundaries, Options};
use super::query::Query;
use super::source::{Selection, SeriesSource};
use super::value::{StepSeries, Value};
use crate::series::{Labels, STALE_NAN_BITS, Sample, Series, StepGrid};
use crate::unit::{Timestamp, Window};

#[derive(Clone)]
pub(crate) struct Memory(pub(crate) Vec<Series>);

impl SeriesSource for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
        let (matchers, from, to) = (&selection.matchers, selection.from, selection.to);
        let inside = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series
                .samples
                .iter()
                .filter(|sample| (from..=to).contains(&sample.time))
                .copied()
                .collect(),
        };
        Ok(self.0.iter().filter(|series| matchers.matches(&series.labels)).map(inside).collect())
    }
}

pub(crate) const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

/// Name, labels, and a value each minute from 0; NaN of the stale kind marks the end.
pub(crate) type Written<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [f64]);

/// The series as they are written.
pub(crate) fn memory(series: &[Written<'_>]) -> Memory {
    let sample = |(minute, &value): (usize, &f64)| Sample {
        time: Timestamp::from_millis(60_000 * i64::try_from(minute).unwrap()),
        value,
    };
    Memory(
        series
            .iter()
            .map(|(name, labels, values)| Series {
                labels: labels
                    .iter()
                    .fold(Labels::named(name), |labels, (name, value)| labels.with(name, *value)),
                samples: values.iter().enumerate().map(sample).collect(),
            })
            .collect(),
    )
}

pub(crate) fn run(
    text: &str,
    grid: &StepGrid,
    range: bool,
    source: &Memory,
) -> Result<Value, EvaluationError> {
    let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
    evaluate(&query, grid, range, &Options::default(), source).map(|evaluated| evaluated.value)
}

/// The answer to an instant query, as `labels value` in the order of the answer.
pub(crate) fn instant(text: &str, seconds: i64, source: &Memory) -> Vec<String> {
    let grid = StepGrid::instant(Timestamp::from_millis(seconds * 1_000), Window::from_millis(1).unwrap());
    match run(text, &grid, false, source).unwrap() {
        Value::Scalar(numbers) => vec![format!("scalar {}", numbers[0])],
        Value::Text(text) => vec![text],
        Value::Vector(vector) => into_series(vector, &grid)
            .iter()
            .map(|series| format!("{} {}", series.labels, series.samples[0].value))
            .collect(),
        Value::Range(all) => all
            .iter()
            .map(|series| {
                let values: Vec<_> = series.samples.iter().map(|s| s.value.to_string()).collect();
                format!("{} {}", series.labels, values.join(","))
            })
            .collect(),
    }
}

#[test]
fn lookback_is_five_minutes_and_open_on_the_left() {
    let source = memory(&[("x", &[], &[7.0])]);
    assert_eq!(instant("x", 0, &source), ["x 7"]);
    assert_eq!(instant("x", 299, &source), ["x 7"]);
    assert!(instant("x", 300, &source).is_empty());
    assert!(instant("x", -1, &source).is_empty());
}

#[test]
fn a_stale_marker_ends_a_series_at_once() {
    let source = memory(&[("x", &[], &[7.0, STALE])]);
    assert_eq!(instant("x", 59, &source), ["x 7"]);
    assert!(instant("x", 60, &source).is_empty());
    assert_eq!(instant("count_over_time(x[5m])", 60, &source), ["{} 1"]);
    assert_eq!(instant("x[5m]", 60, &source), ["x 7"]);
}

#[test]
fn offset_and_at_move_the_time_that_is_looked_at() {
    let source = memory(&[("x", &[], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]);
    for (text, value) in [
        ("x offset 2m", 3.0),
        ("x offset -1m", 5.0),
        ("x @ 60", 1.0),
        ("x @ 180 offset 1m", 2.0),
        ("x offset 1m @ 180", 2.0),
        ("x @ end()", 5.0),
        ("timestamp(x @ 90)", 60.0),
        ("timestamp((x))", 300.0),
        ("timestamp(-x)", 300.0),
    ] {
        let found = instant(text, 300, &source);
        assert_eq!(found.len(), 1, "{text}");
        assert!(found[0].ends_with(&format!(" {value}")), "{text}: {found:?}");
    }
    assert_eq!(instant("x offset -1m", 240, &source), ["x 5"]);
}

#[test]
fn increase_and_rate_extrapolate_to_the_edges_of_the_range() {
    // 0, 10, … 100 each minute. Over (0, 10m] lie 10 … 100: 90 in 9 minutes, extended by one to the left, where
    // the counter would have been 0.
    let counter: Vec<f64> = (0..=10).map(|i| 10.0 * f64::from(i)).collect();
    let source = memory(&[("x", &[], &counter)]);
    assert_eq!(instant("increase(x[10m])", 600, &source), ["{} 100"]);
    let value = |text: &str, seconds, source: &Memory| -> f64 {
        instant(text, seconds, source)[0].split(' ').next_back().unwrap().parse().unwrap()
    };
    assert!((value("rate(x[10m])", 600, &source) - 1.0 / 6.0).abs() < 1e-15);
    // Past the last sample by 5 minutes: (5m, 15m] holds 60 … 100 at 6 … 10m; one minute to the left edge is
    // within reach, five to the right are not: half a minute instead. 40 · (4 + 1 + 0.5) / 4.
    assert!((value("increase(x[10m])", 900, &source) - 55.0).abs() < 1e-12);
    // A reset: 5, 7, 1, 3 grows by 2 + 1 + 2 within 3 minutes. (−30 s, 3m30s] reaches half a minute beyond each
    // end, and to the left the counter would be 0 only 3 minutes earlier.
    let source = memory(&[("x", &[], &[5.0, 7.0, 1.0, 3.0])]);
    assert!((value("increase(x[4m])", 210, &source) - 5.0 * 4.0 / 3.0).abs() < 1e-12);
    assert!(instant("increase(x[1m])", 60, &source).is_empty(), "one sample is too few");
}

#[test]
fn aggregations_group_by_and_without_labels() {
    let source = memory(&[
        ("x", &[("job", "a"), ("zone", "1")], &[1.0]),
        ("x", &[("job", "a"), ("zone", "2")], &[2.0]),
        ("x", &[("job", "b"), ("zone", "1")], &[f64::NAN]),
        ("x", &[("job", "b"), ("zone", "2")], &[4.0]),
    ]);
    for (text, expected) in [
        ("sum by (job) (x{job=\"a\"})", vec![r#"{job="a"} 3"#]),
        ("sum(x{job=\"a\"})", vec!["{} 3"]),
        ("count without (zone) (x)", vec![r#"{job="a"} 2"#, r#"{job="b"} 2"#]),
        ("max by (job) (x)", vec![r#"{job="a"} 2"#, r#"{job="b"} 4"#]),
        ("min(x)", vec!["{} 1"]),
        ("avg by (zone) (x)", vec![r#"{zone="1"} NaN"#, r#"{zone="2"} 3"#]),
        ("count by (__name__, none) (x)", vec!["x 4"]),
        ("sum(x{job=\"c\"})", vec![]),
    ] {
        assert_eq!(instant(text, 0, &source), expected, "{text}");
    }
}

#[test]
fn sums_and_averages_survive_cancellation_and_overflow() {
    let source = memory(&[
        ("x", &[("a", "1")], &[1e100]),
        ("x", &[("a", "2")], &[1.0]),
        ("x", &[("a", "3")], &[-1e100]),
        ("y", &[("a", "1")], &[f64::MAX]),
        ("y", &[("a", "2")], &[f64::MAX]),
        ("z", &[("a", "1")], &[f64::INFINITY]),
        ("z", &[("a", "2")], &[1.0]),
    ]);
    assert_eq!(instant("sum(x)", 0, &source), ["{} 1"]);
    assert_eq!(instant("avg(y)", 0, &source), [format!("{{}} {}", f64::MAX)]);
    assert_eq!(instant("avg(z)", 0, &source), ["{} inf"]);
    assert_eq!(instant("sum(z)", 0, &source), ["{} inf"]);
}

#[test]
fn comparisons_filter_and_keep_names_arithmetic_drops_them() {
    let source = memory(&[("x", &[("a", "1")], &[1.0]), ("x", &[("a", "2")], &[2.0])]);
    for (text, expected) in [
        ("x > 1", vec![r#"x{a="2"} 2"#]),
        ("1 < x", vec![r#"x{a="2"} 2"#]),
        ("x >bool 1", vec![r#"{a="1"} 0"#, r#"{a="2"} 1"#]),
        ("2 - x", vec![r#"{a="1"} 1"#, r#"{a="2"} 0"#]),
        ("-x{a=\"1\"} ^ 2", vec![r#"{a="1"} -1"#]),
        ("2 ^ 3 ^ 2", vec!["scalar 512"]),
        ("-7 % 3", vec!["scalar -1"]),
        ("1 ==bool 1", vec!["scalar 1"]),
        ("x / 0 > 1", vec![r#"{a="1"} inf"#, r#"{a="2"} inf"#]),
    ] {
        assert_eq!(instant(text, 0, &source), expected, "{text}");
    }
}

#[test]
fn series_that_become_equal_without_their_names_are_an_error_only_where_both_have_a_value() {
    let grid = StepGrid::new(
        Timestamp::from_millis(0),
        Timestamp::from_millis(600_000),
        Window::from_millis(600_000).unwrap(),
    )
    .unwrap();
    let mut source = memory(&[("x", &[], &[1.0]), ("y", &[], &[2.0])]);
    assert_eq!(run("-{__name__=~\"x|y\"}", &grid, true, &source), Err(EvaluationError::SameLabels));
    source.0[1].samples[0].time = Timestamp::from_millis(600_000);
    let Ok(Value::Vector(merged)) = run("-{__name__=~\"x|y\"}", &grid, true, &source) else { panic!() };
    assert_eq!(
        merged,
        [StepSeries { labels: Labels::new(), values: vec![Some(-1.0), Some(-2.0)], drops_name: true }]
    );
}

#[test]
fn a_range_query_has_a_value_at_each_step_that_a_sample_reaches() {
    let source = memory(&[("x", &[], &[1.0, 2.0, STALE])]);
    let at = Timestamp::from_millis;
    let grid = StepGrid::new(at(-30_000), at(150_000), Window::from_millis(45_000).unwrap()).unwrap();
    let Ok(Value::Vector(vector)) = run("x", &grid, true, &source) else { panic!() };
    // At -30, 15, 60, 105 and 150 seconds.
    assert_eq!(vector[0].values, [None, Some(1.0), Some(2.0), Some(2.0), None]);
    let series = into_series(vector, &grid);
    assert_eq!(series[0].samples.len(), 3);
    assert!(matches!(run("x[5m]", &grid, true, &source), Err(EvaluationError::RangeType { .. })));
    assert!(matches!(run("\"a\"", &grid, true, &source), Err(EvaluationError::RangeType { .. })));
    assert_eq!(run("2", &grid, true, &source), Ok(Value::Scalar(vec![2.0; 5])));
}

fn steps(start: i64, end: i64, step: u64) -> StepGrid {
    let at = Timestamp::from_millis;
    StepGrid::new(at(start * 1_000), at(end * 1_000), Window::from_millis(step * 1_000).unwrap()).unwrap()
}

#[test]
fn every_budget_is_an_error_with_its_limit() {
    let source = memory(&[("x", &[("a", "1")], &[1.0; 200]), ("x", &[("a", "2")], &[1.0; 200])]);
    let within = |text: &str, options: &Options| {
        let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
        evaluate(&query, &steps(0, 12_000, 60), true, options, &source).map(drop)
    };
    let all = Options::default();
    assert_eq!(within("rate(x[1h])", &all), Ok(()));
    let limit = 399;
    let samples = Options { max_samples: limit, ..all.clone() };
    assert_eq!(within("x", &samples), Err(EvaluationError::TooManySamples { limit }));
    let values = Options { max_values: limit, ..all.clone() };
    assert_eq!(within("x", &values), Err(EvaluationError::TooManyValues { limit }));
    let subqueries = Options { max_subquery_steps: limit, ..all.clone() };
    // 12,000 s of steps and 6,000 s of range, each 10 s.
    assert_eq!(
        within("max_over_time(x[1h40m:10s])", &subqueries),
        Err(EvaluationError::TooManySubquerySteps { steps: 1_800, limit })
    );
    assert_eq!(within("max_over_time(x[10m:50s] @ 600)", &subqueries), Ok(()));
    let visits = Options { max_visits: 399, ..all.clone() };
    assert_eq!(within("rate(x[1h])", &visits), Err(EvaluationError::TooManyVisits { limit: 399 }));
    let cancelled = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let cancelled = Options { cancelled: Some(cancelled), ..all };
    assert_eq!(within("x", &cancelled), Err(EvaluationError::Cancelled));
}

#[test]
fn the_deepest_text_that_is_parsed_is_evaluated() {
    let source = memory(&[("x", &[], &[1.0])]);
    let nested = format!("{}x{}", "abs(".repeat(64), ")".repeat(64));
    assert_eq!(instant(&nested, 0, &source), ["{} 1"]);
    let chain = format!("x{}", " + 1".repeat(250));
    assert_eq!(instant(&chain, 0, &source), ["{} 251"]);
    let both = format!("{}x{}", "abs(1 + ".repeat(64), ")".repeat(64));
    assert_eq!(instant(&both, 0, &source), ["{} 65"]);
}

#[test]
fn closed_boundaries_hold_the_sample_at_the_left_edge() {
    let source = memory(&[("x", &[], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]);
    let of = |text: &str, at: i64, boundaries| {
        let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
        let grid = StepGrid::instant(Timestamp::from_millis(at * 1_000), Window::MINUTE);
        let options = Options { boundaries, ..Options::default() };
        match evaluate(&query, &grid, false, &options, &source).unwrap().value {
            Value::Vector(vector) => vector.first().and_then(|series| series.values[0]),
            other => panic!("{other:?}"),
        }
    };
    for (text, at, open, closed) in [
        ("count_over_time(x[2m])", 300, Some(2.0), Some(3.0)),
        ("count_over_time(x[2m:1m])", 300, Some(2.0), Some(3.0)),
        ("x", 600, None, Some(5.0)),
    ] {
        assert_eq!(of(text, at, Boundaries::LeftOpen), open, "{text}");
        assert_eq!(of(text, at, Boundaries::Closed), closed, "{text}");
    }
}

#[test]
fn only_what_was_announced_is_read() {
    struct Strict<'a>(&'a Memory, Vec<super::source::Selection>);
    impl SeriesSource for Strict<'_> {
        fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
            if self.1.contains(selection) { self.0.select(selection) } else { Err(format!("{selection:?}")) }
        }
    }
    let source =
        memory(&[("x", &[("job", "a"), ("instance", "b")], &[1.0; 100]), ("target_info", &[], &[1.0])]);
    for text in [
        "x offset 3m + on() group_left() max_over_time(rate(x[5m] @ 600)[10m:30s] offset 1m)",
        "sum_over_time(max_over_time(x[3m:])[10m:45s] @ end())",
        "info(x, {a=~\".+\"})",
        "topk(scalar(x @ start()), x)",
        "timestamp(x @ 90)",
    ] {
        let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
        let (grid, options) = (steps(30, 3_000, 70), Options::default());
        let strict = Strict(&source, query.selections(&grid, &options).unwrap());
        assert!(!strict.1.is_empty());
        evaluate(&query, &grid, true, &options, &strict).unwrap();
    }
}

#[test]
fn what_is_not_built_is_named() {
    let query = Query::parse("1 + start_timestamp(x)", MAX_QUERY_BYTES).unwrap();
    let construct = "start_timestamp()".to_owned();
    assert_eq!(check_supported(&query, false), Err(EvaluationError::Unsupported { construct }));
    let query = Query::parse("topk(1, rate(x[5m:1m])) or absent(x)", MAX_QUERY_BYTES).unwrap();
    assert_eq!(check_supported(&query, true), Ok(()));
}
