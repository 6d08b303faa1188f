//! PromQL: parsed, planned, printed, parsed again, and evaluated over a few series.

use std::path::Path;

use emac::promql::evaluate::evaluate;
use emac::promql::expression::Node;
use emac::promql::guard::{MAX_QUERY_BYTES, concerns};
use emac::promql::limits::Options;
use emac::promql::matcher::MatcherSet;
use emac::promql::pushdown::{Origin, QueryPlan, Side};
use emac::promql::query::Query;
use emac::promql::source::Fetched;
use emac::series::{Labels, Sample, Series, StepGrid};
use emac::unit::{Timestamp, Window};

/// What the scripts in `tests/testdata/promql` evaluate.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/promql");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("eval")) {
            // `eval instant at 5m EXPRESSION`, `eval range from 0 to 10m step 5m EXPRESSION`
            let words = if line.contains("range from") { 7 } else { 3 };
            let expression: Vec<&str> = line.split_whitespace().skip(words).collect();
            all.push(expression.join(" ").into_bytes());
        }
    }
    assert!(all.len() > 20);
    all
}

/// Selectors of names that begin with an `a` are ours, those without a name everybody's.
struct Mixed;

impl Origin for Mixed {
    fn side(&self, matchers: &MatcherSet) -> Side {
        match matchers.literal_name() {
            Some(name) if name.starts_with('a') => Side::Ours,
            Some(_) => Side::Theirs,
            None => Side::Both,
        }
    }

    fn pushes(&self, _: &Node) -> bool {
        true
    }
}

/// Reads a text as PromQL; whether it is.
pub(crate) fn read(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let _ = concerns(text, |name| name.starts_with('a'));
    let Ok(query) = Query::parse(text, MAX_QUERY_BYTES) else { return false };
    let at = Timestamp::from_millis;
    // Bounded as queries are, but for what a slow build can do in a second.
    let options = Options { max_samples: 100_000, ..Options::default() };
    for (grid, range) in [
        (StepGrid::instant(at(300_000), Window::MINUTE), false),
        (StepGrid::new(at(0), at(600_000), Window::MINUTE).unwrap(), true),
    ] {
        if let Ok(plan) = QueryPlan::new(&query, &grid, range, &options, &Mixed) {
            for request in plan.requests() {
                let again = Query::parse(request.text(), usize::MAX);
                assert!(again.is_ok(), "{text:?} asks for {:?}: {:?}", request.text(), again.err());
            }
            assert!(!plan.to_string().is_empty());
        }
        let Ok(selections) = query.selections(&grid, &options) else { continue };
        let fetched = selections.into_iter().map(|selection| {
            let series = [1.0, -2.5].map(|factor| Series {
                labels: Labels::named("a").with("le", format!("{factor}")).with("b", "c"),
                samples: (0..10)
                    .map(|i| Sample { time: at(i * 60_000), value: factor * i as f64 })
                    .filter(|sample| (selection.from..=selection.to).contains(&sample.time))
                    .collect(),
            });
            (selection, series.to_vec())
        });
        let _ = evaluate(&query, &grid, range, &options, &Fetched(fetched.collect()));
    }
    true
}
