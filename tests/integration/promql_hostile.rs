//! Soup of PromQL's own words: whatever it is, it is parsed or refused, and evaluated or refused, without a panic.

use std::time::{Duration, Instant};

use emac::promql::evaluate::evaluate;
use emac::promql::guard::MAX_QUERY_BYTES;
use emac::promql::limits::Options;
use emac::promql::query::Query;
use emac::promql::source::Fetched;
use emac::series::StepGrid;
use emac::unit::{Timestamp, Window};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const WORDS: [&str; 78] = [
    "x",
    "sum",
    "rate",
    "by",
    "on",
    "group_left",
    "fill",
    "offset",
    "@",
    "start",
    "end",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "[5m]",
    "[5m:]",
    "[1s:1ms]",
    ",",
    "=",
    "=~",
    "!~",
    "\"a\"",
    "'b'",
    "`c`",
    "\"(\"",
    "1",
    "0",
    "-1",
    "1e308",
    "1e999",
    "Inf",
    "NaN",
    "5m",
    "99999999999y",
    "0x1F",
    "0x",
    "1_000",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "atan2",
    "==",
    "bool",
    "and",
    "or",
    "unless",
    "topk",
    "quantile",
    "count_values",
    "label_replace",
    "info",
    "time",
    "vector",
    "scalar",
    "absent",
    "histogram_quantile",
    "__name__",
    "#",
    "\n",
    "é",
    "\u{0}",
    ":",
    "x:y",
    "limit_ratio",
    "without",
    "ignoring",
    "predict_linear",
    "[Inf]",
    "offset -NaN",
    "@ -1e300",
];

#[test]
fn word_soup_is_refused_or_evaluated_at_once() {
    let mut random = StdRng::seed_from_u64(5);
    let at = Timestamp::from_millis;
    let grid = StepGrid::new(at(0), at(600_000), Window::MINUTE).unwrap();
    let (mut parsed, mut slowest) = (0, Duration::ZERO);
    for number in 0..30_000 {
        let length = if number % 100 == 0 { 2_000 } else { random.random_range(1..12) };
        let words = (0..length).map(|_| WORDS[random.random_range(0..WORDS.len())]);
        let text = words.collect::<Vec<_>>().join(if number % 3 == 0 { "" } else { " " });
        let started = Instant::now();
        if let Ok(query) = Query::parse(&text, MAX_QUERY_BYTES) {
            parsed += 1;
            let options = Options::default();
            let fetched = query.selections(&grid, &options).map(|selections| {
                Fetched(selections.into_iter().map(|selection| (selection, Vec::new())).collect())
            });
            if let Ok(fetched) = fetched {
                let _ = evaluate(&query, &grid, true, &options, &fetched);
                let _ =
                    evaluate(&query, &StepGrid::instant(at(0), Window::MINUTE), false, &options, &fetched);
            }
        }
        slowest = slowest.max(started.elapsed());
    }
    assert!(parsed > 300, "only {parsed} texts were PromQL at all");
    // Unoptimised, on a machine that does other things too.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}
