//! The traps that serving.md names for an evaluator, each with the mistake that it is about.

use super::evaluate::{EvaluationError, evaluate, into_series};
use super::evaluate_tests::{Memory, instant, memory, run};
use super::expression::ValueType;
use super::guard::MAX_QUERY_BYTES;
use super::query::Query;
use super::value::Value;
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};

fn range(text: &str, start: i64, end: i64, step: u64, source: &Memory) -> Vec<(String, Vec<(i64, f64)>)> {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    let grid = StepGrid::new(at(start), at(end), Window::from_millis(step * 1_000).unwrap()).unwrap();
    let Value::Vector(vector) = run(text, &grid, true, source).unwrap() else { panic!("{text}") };
    let series = into_series(vector, &grid).into_iter().map(|series| {
        let points = series.samples.iter().map(|sample| (sample.time.millis() / 1_000, sample.value));
        (series.labels.to_string(), points.collect())
    });
    series.collect()
}

#[test]
fn lookback_is_not_applied_a_second_time_to_evaluated_points() {
    // The sample at 0 s is seen until 299 s by the selector inside. A second lookback would see it for longer.
    let source = memory(&[("x", &[], &[7.0])]);
    assert_eq!(instant("last_over_time(x[1m:10s])", 340, &source), ["x 7"]);
    assert!(instant("last_over_time(x[1m:10s])", 350, &source).is_empty());
    assert_eq!(instant("count_over_time(x[10m:10s])", 599, &source), ["{} 30"]);
}

#[test]
fn a_start_off_the_step_grid_stays_where_it_is() {
    let source = memory(&[("x", &[], &[0.0, 1.0, 2.0, 3.0])]);
    let found = range("x", 67, 187, 60, &source);
    assert_eq!(found, [("x".to_owned(), vec![(67, 1.0), (127, 2.0), (187, 3.0)])]);
    // While the steps of a subquery are multiples of its own step, wherever the query starts.
    let found = range("min_over_time(vector(time())[1m:25s])", 67, 127, 60, &source);
    assert_eq!(found, [("{}".to_owned(), vec![(67, 25.0), (127, 75.0)])]);
}

#[test]
fn a_literal_is_applied_once() {
    let source = memory(&[("x", &[], &[3.0, 3.0])]);
    for (text, value) in
        [("x * 2", 6.0), ("2 * (x + 1)", 8.0), ("-x", -3.0), ("x ^ 2 - 1", 8.0), ("vector(2) * 2", 4.0)]
    {
        assert_eq!(
            range(text, 0, 60, 60, &source),
            [("{}".to_owned(), vec![(0, value), (60, value)])],
            "{text}"
        );
    }
}

#[test]
fn offset_inside_a_subquery_shifts_the_inside_alone() {
    let values: Vec<f64> = (0..30).map(f64::from).collect();
    let source = memory(&[("x", &[], &values)]);
    // At 20 m: steps 18, 19, 20 m look at 13, 14, 15 m; with the offset of the subquery at 11, 12, 13 m.
    assert_eq!(instant("sum_over_time((x offset 5m)[3m:1m])", 1_200, &source), ["{} 42"]);
    assert_eq!(instant("sum_over_time((x offset 5m)[3m:1m] offset 2m)", 1_200, &source), ["{} 36"]);
    assert_eq!(instant("sum_over_time(x[3m:1m] offset 5m)", 1_200, &source), ["{} 42"]);
    assert_eq!(instant("sum_over_time((x offset -5m)[3m:1m])", 1_200, &source), ["{} 72"]);
}

#[test]
fn a_matrix_selector_is_no_vector() {
    let source = memory(&[("x", &[], &[1.0, 2.0, 3.0])]);
    assert_eq!(instant("x[2m]", 120, &source), ["x 2,3"]);
    assert_eq!(instant("x[2m:1m]", 120, &source), ["x 2,3"]);
    for text in ["x[2m] + 1", "sum(x[2m])", "abs(x[2m])", "-x[2m]", "rate(x)", "x[2m][2m:1m]"] {
        assert!(Query::parse(text, MAX_QUERY_BYTES).is_err(), "{text}");
    }
    let grid = StepGrid::instant(Timestamp::from_millis(120_000), Window::MINUTE);
    assert_eq!(run("x[2m]", &grid, true, &source), Err(EvaluationError::RangeType { found: "range vector" }));
}

#[test]
fn absent_keeps_what_its_selector_matches_by_equality() {
    let source = memory(&[("x", &[("job", "a")], &[1.0])]);
    for (text, expected) in [
        (r#"absent(x{job="b", zone="z", name=~"n"})"#, vec![r#"{job="b", zone="z"} 1"#]),
        (r#"absent(x{job="b", job="c", zone="z"})"#, vec![r#"{zone="z"} 1"#]),
        (r#"absent(x{job!="a"})"#, vec!["{} 1"]),
        (r#"absent(x{job="a"})"#, vec![]),
        (r#"absent((x{job="b"}))"#, vec![r#"{job="b"} 1"#]),
        (r#"absent(sum(x{job="b"}))"#, vec!["{} 1"]),
        (r#"absent(x{job="b"} @ 0)"#, vec![r#"{job="b"} 1"#]),
        (r#"absent_over_time(x{job="b"}[5m])"#, vec![r#"{job="b"} 1"#]),
        (r#"absent_over_time(x{job="b"}[5m:])"#, vec!["{} 1"]),
    ] {
        assert_eq!(instant(text, 0, &source), expected, "{text}");
    }
    // Two names with the same labels are present, not in each other's way.
    let twins = memory(&[("x", &[], &[1.0]), ("y", &[], &[1.0])]);
    assert!(instant(r#"absent_over_time({__name__=~"x|y"}[5m])"#, 0, &twins).is_empty());
    assert_eq!(
        range(r#"absent(x{job="a"})"#, 240, 420, 60, &source)[0].1,
        [(300, 1.0), (360, 1.0), (420, 1.0)]
    );
}

#[test]
fn sort_order_is_kept_in_an_instant_query() {
    let series = |name: &'static str, value: &'static [f64]| ("x", name, value);
    let all = [series("c", &[2.0]), series("a", &[1.0]), series("b", &[3.0]), series("d", &[f64::NAN])];
    let labels: Vec<[(&str, &str); 1]> = all.iter().map(|(_, label, _)| [("l", *label)]).collect();
    let input: Vec<_> =
        all.iter().zip(&labels).map(|((name, _, values), l)| (*name, &l[..], *values)).collect();
    let source = memory(&input);
    let order = |text: &str| -> String {
        instant(text, 0, &source).iter().map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
    };
    for (text, expected) in [
        ("sort(x)", "acbd"),
        ("sort_desc(x)", "bcad"),
        ("topk(2, x)", "bc"),
        ("bottomk(2, x)", "ac"),
        ("sort_by_label(x, \"l\")", "abcd"),
        ("sort_by_label_desc(x, \"l\")", "dcba"),
        ("sort_desc(x) + 1", "bcad"),
        ("abs(sort(x))", "acbd"),
    ] {
        assert_eq!(order(text), expected, "{text}");
    }
}

#[test]
fn scalar_is_a_scalar() {
    let source = memory(&[("x", &[], &[4.0]), ("y", &[("a", "1")], &[1.0]), ("y", &[("a", "2")], &[2.0])]);
    for (text, expected) in [
        ("scalar(x)", "scalar 4"),
        ("scalar(x) + 1", "scalar 5"),
        ("scalar(y)", "scalar NaN"),
        ("scalar(none)", "scalar NaN"),
        ("vector(scalar(x))", "{} 4"),
    ] {
        assert_eq!(instant(text, 0, &source), [expected], "{text}");
        let is_scalar = Query::parse(text, MAX_QUERY_BYTES).unwrap().root().value_type() == ValueType::Scalar;
        assert_eq!(is_scalar, expected.starts_with("scalar"), "{text}");
    }
}

#[test]
fn count_values_keeps_its_by() {
    let source = memory(&[
        ("x", &[("job", "a"), ("i", "1")], &[1.5]),
        ("x", &[("job", "a"), ("i", "2")], &[1.5]),
        ("x", &[("job", "b"), ("i", "1")], &[1.5]),
    ]);
    let by_job = [r#"{job="a", v="1.5"} 2"#, r#"{job="b", v="1.5"} 1"#];
    assert_eq!(instant(r#"count_values by (job) ("v", x)"#, 0, &source), by_job);
    assert_eq!(instant(r#"count_values without (i) ("v", x)"#, 0, &source), by_job);
    assert_eq!(instant(r#"count_values("v", x)"#, 0, &source), [r#"{v="1.5"} 3"#]);
}

#[test]
fn timestamp_and_predict_linear_under_at_look_at_the_right_times() {
    let values: Vec<f64> = (0..=20).map(|i| 60.0 * f64::from(i)).collect();
    let source = memory(&[("x", &[], &values)]);
    // The time of the sample that `@` finds, at every step; around anything else, the time of the step.
    assert_eq!(
        range("timestamp(x @ 90)", 300, 420, 60, &source)[0].1,
        [(300, 60.0), (360, 60.0), (420, 60.0)]
    );
    assert_eq!(
        range("timestamp(abs(x @ 90))", 300, 420, 60, &source)[0].1,
        [(300, 300.0), (360, 360.0), (420, 420.0)]
    );
    // The value equals the time: predicted from wherever, it is that of the step plus the distance asked for.
    for (text, ahead) in [("predict_linear(x[5m] @ 600, 0)", 0.0), ("predict_linear(x[5m:] @ 600, 30)", 30.0)]
    {
        for (time, value) in &range(text, 0, 1_800, 600, &source)[0].1 {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
            let expected = *time as f64 + ahead;
            assert!((value - expected).abs() < 1e-6, "{text} at {time}: {value}");
        }
    }
}

#[test]
fn a_tree_as_deep_as_the_text_may_be_is_parsed_and_evaluated_at_once() {
    let source = memory(&[("x", &[], &[1.0])]);
    let grid = StepGrid::instant(Timestamp::from_millis(0), Window::MINUTE);
    for text in [
        format!("{}x{}", "(".repeat(64), ")".repeat(64)),
        format!("{}x{}", "sum(".repeat(64), ")".repeat(64)),
        format!("x{}", " or x".repeat(256)),
        format!("{}1", "-".repeat(256)),
    ] {
        let query = Query::parse(&text, MAX_QUERY_BYTES).unwrap();
        evaluate(&query, &grid, false, &super::limits::Options::default(), &source).unwrap();
    }
}
