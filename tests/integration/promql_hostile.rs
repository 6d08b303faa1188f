//! Soup of PromQL's own words, expressions with words cut out and moved, and hostile nesting: whatever it is, it is
//! parsed or refused, planned, printed and evaluated or refused, at once and without a panic.
//!
//! A million of them: `cargo test --release --test integration a_million_texts -- --ignored --nocapture`.
//! `EMAC_PROMQL_SEED` and `EMAC_PROMQL_COUNT` choose other texts, and more of them.

#![expect(clippy::print_stdout, reason = "how many texts were planned is what the test is for")]

use std::time::{Duration, Instant};

use crate::promql_scripts::generate::{Generator, number_of};
use crate::promql_scripts::planned::Mode;
use emac::promql::evaluate::evaluate;
use emac::promql::guard::{MAX_QUERY_BYTES, concerns};
use emac::promql::limits::Options;
use emac::promql::pushdown::QueryPlan;
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

/// The time that a text may take from its first byte to its plan as text. Unoptimised code is some ten times slower.
const BOUND: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

/// Words and what stands between them.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let kind = |c: char| if c.is_alphanumeric() || c == '_' { 1 } else { 0 };
    for c in text.chars() {
        match tokens.last_mut() {
            Some(last) if kind(c) == 1 && last.chars().next_back().map(kind) == Some(1) => last.push(c),
            _ => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// What nests, with its end.
const NESTS: [(&str, &str); 18] = [
    ("(", ")"),
    ("sum(", ")"),
    ("-", ""),
    ("abs(", ")"),
    ("x + (", ")"),
    ("-(", ")"),
    ("max_over_time((", ")[5m:1m])"),
    ("1 - ", ""),
    ("scalar(", ")"),
    ("x ^ ", ""),
    ("topk by (a) (scalar(", "), x)"),
    ("label_replace(", ", \"a\", \"$1\", \"b\", \"((a*)*)*\")"),
    ("x and on (a) (", ") offset 5m"),
    ("histogram_quantile(0.9, sum by (le) (rate((", ")[1m:5s])))"),
    ("vector(", ") @ 5"),
    ("", "[1y:1ms]"),
    ("{", "}"),
    ("count_values without () (\"v\", ", ")"),
];

/// What makes a text of 8 KiB when it is repeated.
const REPEATS: [&str; 14] = [
    "x or ",
    "x{a=~\"(a|b)*c{1,99}\"} + ",
    "a,",
    "\"a\",",
    "a=\"b\",",
    "1e999 ^ ",
    "x[5m] offset -1m ",
    "on(a) group_left(b) x * ",
    "bool ",
    "\\x",
    "é",
    "#\n",
    "emac_journey_gate == ",
    "5m",
];

/// A text of one of many kinds, of at most 8 KiB and a little.
fn hostile_text(random: &mut StdRng, generator: &mut Generator) -> String {
    let word = |random: &mut StdRng| WORDS[random.random_range(0..WORDS.len())];
    let cut = |text: String| text.chars().take(MAX_QUERY_BYTES + 10).collect();
    match random.random_range(0..9) {
        0 => {
            let length = if random.random_range(0..20) == 0 { 1_500 } else { random.random_range(1..15) };
            (0..length).map(|_| word(random)).collect::<Vec<_>>().join(" ")
        }
        // An expression with some of its words replaced, doubled, exchanged or left out.
        1..=3 => {
            let mut tokens = tokens(&generator.expression());
            for _ in 0..random.random_range(0..4) {
                let at = random.random_range(0..tokens.len());
                let other = random.random_range(0..tokens.len());
                match random.random_range(0..4) {
                    0 => tokens[at] = word(random).to_owned(),
                    1 => tokens.insert(at, tokens[other].clone()),
                    2 => tokens.swap(at, other),
                    _ => drop(tokens.remove(at)),
                }
                if tokens.is_empty() {
                    tokens.push("x".to_owned());
                }
            }
            tokens.concat()
        }
        // Nesting of one kind, up to and beyond what is allowed.
        4 => {
            let (opens, closes) = NESTS[random.random_range(0..NESTS.len())];
            let deepest = if random.random_range(0..4) == 0 { 2_000 } else { 70 };
            let depth = random.random_range(1..deepest);
            let inner = generator.expression();
            cut(format!("{}{inner}{}", opens.repeat(depth), closes.repeat(depth)))
        }
        // Nesting of all kinds.
        5 => {
            let mut text = generator.expression();
            for _ in 0..random.random_range(1..40) {
                let (opens, closes) = NESTS[random.random_range(0..NESTS.len())];
                text = format!("{opens}{text}{closes}");
            }
            cut(text)
        }
        // Much of the same, between the halves of an expression.
        6 => {
            let repeated = REPEATS[random.random_range(0..REPEATS.len())];
            let most = MAX_QUERY_BYTES / repeated.len();
            let count = if random.random_range(0..2) == 0 { most } else { random.random_range(0..most) };
            let around = tokens(&generator.expression());
            let (before, after) = around.split_at(random.random_range(0..around.len()));
            cut(format!("{}{}{}", before.concat(), repeated.repeat(count), after.concat()))
        }
        // Expressions in a row, up to the limit of bytes.
        7 => {
            let mut text = generator.expression();
            let longest = if random.random_range(0..4) == 0 { MAX_QUERY_BYTES } else { 1_000 };
            while text.len() < random.random_range(0..longest) {
                text = format!("{text} {} ({})", word(random), generator.expression());
            }
            cut(text)
        }
        _ => {
            let longest = if random.random_range(0..20) == 0 { MAX_QUERY_BYTES } else { 200 };
            let length = random.random_range(0..longest);
            (0..length).filter_map(|_| char::from_u32(random.random_range(0..0x250))).collect()
        }
    }
}

/// Parses, plans and prints a text as a query of one kind.
fn planned(text: &str, grid: &StepGrid, seed: u64) -> Option<(Query, QueryPlan, String)> {
    let _ = concerns(text, |name| name.starts_with("emac_"));
    let query = Query::parse(text, MAX_QUERY_BYTES).ok()?;
    let plan = QueryPlan::new(&query, grid, true, &Options::default(), &Mode::Split(seed)).ok()?;
    let shown = plan.to_string();
    Some((query, plan, shown))
}

fn hammer(seed: u64, count: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut generator = Generator::new(seed);
    let at = Timestamp::from_millis;
    let grid = StepGrid::new(at(0), at(600_000), Window::MINUTE).unwrap();
    let (mut plans, mut slowest) = (0, (Duration::ZERO, String::new()));
    for number in 0..count {
        let text = hostile_text(&mut random, &mut generator);
        let begun = Instant::now();
        let found = planned(&text, &grid, number);
        let mut taken = begun.elapsed();
        // Others use the machine too: what counts is how fast it can be.
        for _ in 0..9 {
            if taken <= slowest.0 {
                break;
            }
            let begun = Instant::now();
            let _ = planned(&text, &grid, number);
            taken = taken.min(begun.elapsed());
        }
        if let Some((query, plan, shown)) = found {
            plans += 1;
            assert!(shown.starts_with("query "), "{shown}");
            // What is printed means the same: it is parsed, and printed again alike.
            let printed = query.root().to_string();
            let again = Query::parse(&printed, 4 * MAX_QUERY_BYTES);
            let again =
                again.unwrap_or_else(|fault| panic!("seed {seed}: {text}\nprinted as {printed}\n{fault}"));
            assert_eq!(again.root().to_string(), printed, "seed {seed}: {text}");
            for request in plan.requests() {
                let parsed = Query::parse(request.text(), 4 * MAX_QUERY_BYTES);
                parsed.unwrap_or_else(|fault| {
                    panic!("seed {seed}: {text}\nasks for {}\n{fault}", request.text())
                });
            }
        }
        if taken > slowest.0 {
            slowest = (taken, text);
        }
    }
    let begin: String = slowest.1.chars().take(120).collect();
    println!(
        "seed {seed}: {plans} of {count} texts were planned, the slowest in {:?}, of {} bytes: {begin}",
        slowest.0,
        slowest.1.len()
    );
    assert!(plans * 10 > count, "only {plans} of {count} texts were PromQL at all");
    assert!(slowest.0 < BOUND, "seed {seed}: {:?} for {}", slowest.0, slowest.1);
}

#[test]
fn any_text_becomes_a_plan_or_an_error_at_once() {
    hammer(number_of("EMAC_PROMQL_SEED", 1), 6_000);
}

#[test]
#[ignore = "long: a million texts"]
fn a_million_texts_become_plans_or_errors_at_once() {
    hammer(number_of("EMAC_PROMQL_SEED", 2), number_of("EMAC_PROMQL_COUNT", 1_000_000));
}
