//! The traps of evaluating a query in two places, each with the mistake that it is about: metrics called `ours…` are
//! here, all others at an upstream that is asked in text and answers in JSON. The evaluator's own traps are tested
//! beside it.

use std::time::{Duration, Instant};

use emac::promql::evaluate::into_series;
use emac::promql::guard::MAX_QUERY_BYTES;
use emac::promql::limits::Options;
use emac::promql::matcher::MatcherSet;
use emac::promql::pushdown::{Origin, QueryPlan, Side, When};
use emac::promql::query::Query;
use emac::promql::value::Value;
use emac::series::{Sample, StepGrid};
use emac::unit::{Timestamp, Window};

use crate::promql_scripts::planned::{Noted, evaluate_with};
use crate::promql_scripts::script::{self, Command};
use crate::promql_scripts::storage::Storage;

struct ByName;

impl Origin for ByName {
    fn side(&self, matchers: &MatcherSet) -> Side {
        match matchers.literal_name() {
            Some(name) if name.starts_with("ours") => Side::Ours,
            Some(_) => Side::Theirs,
            None => Side::Both,
        }
    }
}

fn storage(text: &str) -> Storage {
    let mut storage = Storage::default();
    for command in script::parse(text).unwrap() {
        if let Command::Load { step, native_histograms, series } = command {
            storage.load(step, native_histograms, &series);
        }
    }
    storage
}

fn grid(start: i64, end: i64, step: u64) -> StepGrid {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    StepGrid::new(at(start), at(end), Window::from_millis(step * 1_000).unwrap()).unwrap()
}

fn plan(text: &str, grid: &StepGrid, range_query: bool) -> QueryPlan {
    let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
    QueryPlan::new(&query, grid, range_query, &Options::default(), &ByName).unwrap()
}

/// What the upstream is asked, and the expression that is left.
fn split(text: &str) -> (Vec<String>, String) {
    let plan = plan(text, &grid(600, 1_200, 60), true);
    let asked = plan.requests().iter().map(|request| request.text().to_owned()).collect();
    (asked, plan.query().root().to_string())
}

fn evaluated(text: &str, grid: &StepGrid, range_query: bool, storage: &Storage) -> Value {
    let query = Query::parse(text, MAX_QUERY_BYTES).unwrap();
    let Noted { value, .. } =
        evaluate_with(&ByName, &query, grid, range_query, &Options::default(), storage).unwrap();
    value
}

/// `labels seconds=value …`, a line for each series.
fn range(text: &str, grid: &StepGrid, storage: &Storage) -> Vec<String> {
    let Value::Vector(vector) = evaluated(text, grid, true, storage) else { panic!("{text}") };
    let point = |sample: &Sample| format!(" {}={}", sample.time.millis() / 1_000, sample.value);
    let lines = into_series(vector, grid)
        .into_iter()
        .map(|series| series.labels.to_string() + &series.samples.iter().map(point).collect::<String>());
    lines.collect()
}

fn instant(text: &str, at: i64, storage: &Storage) -> Vec<String> {
    let grid = grid(at, at, 60);
    match evaluated(text, &grid, false, storage) {
        Value::Vector(vector) => into_series(vector, &grid)
            .into_iter()
            .map(|series| format!("{} {}", series.labels, series.samples[0].value))
            .collect(),
        Value::Scalar(numbers) => vec![format!("scalar {}", numbers[0])],
        other => panic!("{other:?}"),
    }
}

#[test]
fn lookback_is_not_applied_again_to_steps_that_the_upstream_evaluated() {
    // Seen until 299 s. A lookback over the steps would see it until 540 s.
    let storage = storage("load 60s\n  x 7\n  ours 1+0x20\n");
    assert_eq!(range("x * on() ours", &grid(0, 600, 60), &storage), ["{} 0=7 60=7 120=7 180=7 240=7"]);
    assert_eq!(instant("count_over_time((x * on() ours)[10m:1m])", 600, &storage), ["{} 4"]);
    assert!(instant("x * on() ours", 300, &storage).is_empty());
}

#[test]
fn a_start_off_the_step_grid_is_asked_for_as_it_is() {
    let off = grid(67, 200, 60);
    let plan = plan("x + on() ours", &off, true);
    assert_eq!(plan.requests()[0].when, When::Steps(off));
    let storage = storage("load 30s\n  x 0+1x20\n  ours 100+0x20\n");
    assert_eq!(range("x + on() ours", &off, &storage), ["{} 67=102 127=104 187=106"]);
    // Within a subquery the steps are multiples of its own, wherever the query starts.
    let inside = self::plan("max_over_time((x + on() ours)[1m:25s])", &off, true);
    assert_eq!(inside.requests()[0].when, When::Steps(grid(25, 175, 25)));
}

#[test]
fn a_literal_is_applied_once_whoever_applies_it() {
    let (asked, left) = split("(x * 2 + 1) * on() ours * 3");
    assert_eq!((asked, left.as_str()), (vec!["x * 2 + 1".to_owned()], "$0 * on () ours * 3"));
    let storage = storage("load 60s\n  x 5 5\n  ours 10 10\n");
    assert_eq!(instant("(x * 2 + 1) * on() ours * 3", 60, &storage), ["{} 330"]);
    assert_eq!(instant("-x + on() (2 * ours)", 60, &storage), ["{} 15"]);
}

#[test]
fn offset_inside_a_subquery_travels_with_it() {
    let text = "sum_over_time((x offset 5m)[3m:1m] offset 2m) + on() ours";
    assert_eq!(split(text).0, ["sum_over_time((x offset 5m)[3m:1m] offset 2m)"]);
    let storage = storage("load 60s\n  x 0+1x30\n  ours 0+0x30\n");
    assert_eq!(instant(text, 1_200, &storage), ["{} 36"]);
    // Where the subquery stays here, its inside is asked for on the steps that its offset leads to.
    let mixed = "sum_over_time((x offset 5m + on() ours)[3m:1m] offset 2m)";
    assert_eq!(
        split(mixed),
        (vec!["x offset 5m".to_owned()], "sum_over_time(($0 + on () ours)[3m:1m] offset 2m)".to_owned())
    );
    assert_eq!(instant(mixed, 1_200, &storage), ["{} 36"]);
}

#[test]
fn a_matrix_selector_is_asked_for_as_samples_and_not_as_a_vector() {
    let text = "quantile_over_time(scalar(ours), x[2m])";
    let plan = plan(text, &grid(600, 1_200, 60), true);
    let requests = plan.requests();
    // From 480.001 s, the first sample of the first range, to the last step.
    assert_eq!(
        (requests[0].text(), requests[0].when),
        ("x[12m]", When::Samples(Timestamp::from_millis(1_200_000)))
    );
    let storage = storage("load 60s\n  x 0 10 20 30 40\n  ours 1+0x5\n");
    assert_eq!(range(text, &grid(60, 240, 60), &storage), ["{} 60=10 120=20 180=30 240=40"]);
    assert_eq!(split("rate(x[5m]) + on() ours").0, ["rate(x[5m])"]);
}

#[test]
fn absent_keeps_its_matchers_whoever_evaluates_it() {
    let storage = storage("load 60s\n  x{job=\"a\"} 1\n  ours{job=\"a\"} 1\n");
    for text in [
        "absent(x{job=\"b\"}) and on() ours",
        "absent(ours{job=\"b\"}) and on() x",
        "absent_over_time(x{job=\"b\"}[5m]) and on() ours",
        "absent({__name__=~\"x|ours\", job=\"b\"})",
    ] {
        assert_eq!(instant(text, 0, &storage), ["{job=\"b\"} 1"], "{text}");
    }
    assert!(instant("absent({__name__=~\"x|ours\", job=\"a\"})", 0, &storage).is_empty());
}

#[test]
fn the_order_of_an_instant_answer_is_kept() {
    let storage = storage("load 60s\n  x{l=\"a\"} 2\n  x{l=\"b\"} 3\n  x{l=\"c\"} 1\n  ours 1\n");
    let order = |text: &str| -> String {
        instant(text, 0, &storage).iter().map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(order("sort_desc(x)"), "bac");
    assert_eq!(order("sort(x) and on() ours"), "cab");
    assert_eq!(order("sort_desc(x * on() group_left() ours)"), "bac");
    assert_eq!(order("topk(2, x * on() group_left() ours)"), "ba");
}

#[test]
fn scalar_comes_back_as_a_scalar() {
    let (asked, left) = split("ours + scalar(x)");
    assert_eq!((asked, left.as_str()), (vec!["scalar(x)".to_owned()], "ours + $0"));
    let storage = storage("load 60s\n  x 4+0x9\n  ours 1+0x9\n");
    assert_eq!(instant("ours + scalar(x)", 60, &storage), ["{} 5"]);
    assert_eq!(instant("scalar(x) + scalar(ours)", 60, &storage), ["scalar 5"]);
    assert_eq!(range("ours + scalar(none)", &grid(0, 60, 60), &storage), ["{} 0=NaN 60=NaN"]);
    assert_eq!(range("ours > bool scalar(x)", &grid(0, 60, 60), &storage), ["{} 0=0 60=0"]);
}

#[test]
fn count_values_keeps_its_by() {
    let text = "count_values by (job) (\"v\", x) * on() group_left() ours";
    assert_eq!(split(text).0, ["count_values by (job) (\"v\", x)"]);
    let storage = storage("load 60s\n  x{job=\"a\", i=\"1\"} 5\n  x{job=\"a\", i=\"2\"} 5\n  ours 1\n");
    assert_eq!(instant(text, 0, &storage), ["{job=\"a\", v=\"5\"} 2"]);
    let mixed = "count_values without (i) (\"v\", x * on() group_left() ours)";
    assert_eq!(instant(mixed, 0, &storage), ["{job=\"a\", v=\"5\"} 2"]);
}

#[test]
fn timestamp_and_predict_linear_under_at_are_those_of_the_samples() {
    let storage = storage("load 60s\n  x 0+60x20\n  ours 0+0x20\n");
    // Off the samples' grid: the time of the sample, not that of the step.
    assert_eq!(range("timestamp(x) + on() ours", &grid(90, 150, 60), &storage), ["{} 90=60 150=120"]);
    assert_eq!(range("timestamp(x @ 90) + on() ours", &grid(300, 360, 60), &storage), ["{} 300=60 360=60"]);
    assert_eq!(
        range("timestamp({__name__=~\"x|none\"})", &grid(90, 150, 60), &storage),
        ["{} 90=60 150=120"]
    );
    assert_eq!(
        range("predict_linear(x[5m] @ 600, 30) + on() ours", &grid(600, 660, 60), &storage),
        ["{} 600=630 660=690"]
    );
    // `@ start()` and `@ end()` mean the query, also where a subquery has another grid.
    let (asked, _) = split("max_over_time((x @ end() + on() ours)[2m:1m]) + on() (x @ start())");
    assert_eq!(asked, ["x @ 1200.000", "x @ 600.000"]);
}

#[test]
fn answers_in_json_have_no_stale_markers() {
    let storage = storage("load 60s\n  x 1 2 stale _ _ 5\n  ours 1+0x9\n");
    assert_eq!(range("x * on() ours", &grid(0, 300, 60), &storage), ["{} 0=1 60=2 300=5"]);
    assert_eq!(
        range("sum_over_time((x * on() ours)[3m:1m])", &grid(120, 300, 60), &storage),
        ["{} 120=3 180=2 300=5"]
    );
    // Ranges skip them in any case.
    assert_eq!(instant("quantile_over_time(scalar(ours), x[10m])", 300, &storage), ["{} 5"]);
    // Of an info series the raw samples come without them, the steps tell where it has ended.
    let info = self::storage(
        "load 60s\n  ours{instance=\"i\", job=\"j\"} 1+0x9\n  target_info{instance=\"i\", job=\"j\", v=\"1\"} 1 1 stale\n",
    );
    assert_eq!(
        range("info(ours)", &grid(60, 180, 60), &info),
        ["ours{instance=\"i\", job=\"j\"} 120=1 180=1", "ours{instance=\"i\", job=\"j\", v=\"1\"} 60=1"]
    );
}

#[test]
fn identical_subtrees_are_asked_for_once() {
    let (asked, left) = split("sum(rate(x[5m])) / on() ours + on() sum(rate(x[5m]))");
    assert_eq!((asked, left.as_str()), (vec!["sum(rate(x[5m]))".to_owned()], "$0 / on () ours + on () $0"));
    // On another grid it is another question.
    assert_eq!(split("x + on() ours + on() max_over_time((x + on() ours)[2m:1m])").0, ["x", "x"]);
}

#[test]
fn the_largest_subtree_is_pushed_and_what_never_changes_once() {
    for (text, asked, left) in [
        ("sum(x) / sum(y) > on() ours", &["sum(x) / sum(y)"][..], "$0 > on () ours"),
        ("ours and on() (x > 5 or y < 3)", &["x > 5 or y < 3"], "ours and on () $0"),
        ("topk(scalar(x), ours)", &["scalar(x)"], "topk($0, ours)"),
        (
            "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\") * on() ours",
            &["label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")"],
            "$0 * on () ours",
        ),
        ("ours + time()", &[], "ours + time()"),
        ("newer_function_of_theirs", &["newer_function_of_theirs"], "$0"),
        ("start_timestamp(x) + on() ours", &["start_timestamp(x)"], "$0 + on () ours"),
    ] {
        assert_eq!(split(text), (asked.iter().map(|text| (*text).to_owned()).collect(), left.to_owned()));
    }
    let once = plan("sum(x @ 700) + on() ours", &grid(600, 1_200, 60), true);
    assert_eq!(once.requests()[0].when, When::Instant(Timestamp::from_millis(600_000)));
}

#[test]
fn a_tree_as_deep_and_as_wide_as_the_text_may_be_is_planned_at_once() {
    for text in [
        format!("{}x{} + on() ours", "(".repeat(64), ")".repeat(64)),
        format!("{}x{} + on() ours", "sum(".repeat(64), ")".repeat(64)),
        format!("ours{}", " or x".repeat(255)),
        format!("{}(ours + on() x)", "-".repeat(250)),
        format!("x{}", " + on() (ours - on() x)".repeat(80)),
        format!("max_over_time((x + on() ours){}", "[1m:1m])".to_owned()),
    ] {
        let begun = Instant::now();
        let plan = plan(&text, &grid(0, 60, 60), true);
        // Whatever is sent nests no deeper than what came, so that an upstream can parse it.
        for request in plan.requests() {
            Query::parse(request.text(), MAX_QUERY_BYTES).unwrap();
        }
        // Unoptimised, on a machine that does other things too.
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?} {}", begun.elapsed(), &text[..30]);
    }
}

#[test]
fn a_plan_prints_who_evaluates_what() {
    let plan = plan(
        "ours > on() quantile_over_time(scalar(ours), x[2m]) + on() sum(y)",
        &grid(600, 1_200, 60),
        true,
    );
    assert_eq!(
        plan.to_string(),
        "query     ours > on() quantile_over_time(scalar(ours), x[2m]) + on() sum(y)\n          \
         from 600 to 1200 each 1m (11 steps)\n\
         upstream  2 requests\n  \
         $0      sum(y)\n          instant vector, from 600 to 1200 each 1m (11 steps)\n  \
         $1      x[12m]\n          range vector, raw samples at 1200\n\
         here      ours > on () quantile_over_time(scalar(ours), x[2m]) + on () $0\n  \
         reads   {__name__=\"ours\"}\n          newest samples from 300.001 to 1200, synthetic\n  \
         reads   {__name__=\"x\"}\n          samples from 480.001 to 1200, the upstream's of $1\n"
    );
}
