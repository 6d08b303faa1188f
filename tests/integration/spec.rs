//! The language, by samples: what is said about each bad one, that the schema agrees, and hostile input.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use emac::spec::{self, Code, Severity, SourceFile};

fn samples(folder: &str) -> Vec<SourceFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/spec").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            SourceFile { path: name, text: std::fs::read_to_string(path).unwrap() }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn load(text: &str) -> spec::Loaded {
    spec::load(&[SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() }])
}

fn journey(spec: &str) -> String {
    format!("apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: a}}\nspec:\n{spec}")
}

fn codes(loaded: &spec::Loaded) -> Vec<&'static str> {
    loaded.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn every_bad_sample_is_told_what_is_wrong_where_and_what_is_allowed() {
    let mut report = String::new();
    for file in samples("bad") {
        writeln!(report, "# {}", file.path).unwrap();
        // Enough of each to see it; one sample has too many on purpose.
        for diagnostic in spec::load(&[file]).diagnostics.iter().take(14) {
            writeln!(report, "{diagnostic}").unwrap();
        }
    }
    insta::with_settings!({ snapshot_path => "../testdata/spec/snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("diagnostics", report);
    });
}

#[test]
fn the_sample_named_after_a_code_has_it() {
    for file in samples("bad") {
        let code = file.path.split('_').next().unwrap().to_uppercase();
        let loaded = spec::load(std::slice::from_ref(&file));
        assert!(codes(&loaded).contains(&code.as_str()), "{}: {:?}", file.path, codes(&loaded));
    }
}

/// Codes that need more than a file: sizes beyond a sample, the command line, `fmt`, an upstream.
const ELSEWHERE: [Code; 14] = [
    Code::FileTooLarge,
    Code::NotUtf8,
    Code::NothingFound,
    Code::Unformattable,
    Code::LeftAsIs,
    Code::EvidenceOfOther,
    Code::NoSeries,
    Code::NoLabel,
    Code::NotAHistogram,
    Code::LowEdge,
    Code::SingleErrorPages,
    Code::NoTraffic,
    Code::UnseenVariant,
    Code::IdleVariant,
];

#[test]
fn every_code_has_a_sample() {
    let seen: BTreeSet<_> = samples("bad").into_iter().flat_map(|file| codes(&spec::load(&[file]))).collect();
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code.as_str()) && !ELSEWHERE.contains(code))
        .map(|code| format!("{} {}", code.as_str(), code.title()))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn good_samples_have_no_errors() {
    for file in samples("good") {
        let name = file.path.clone();
        let loaded = spec::load(&[file]);
        let errors: Vec<_> = loaded
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{name}");
        for journey in &loaded.journeys {
            journey.check().unwrap();
        }
    }
}

/// What the schema can know: fields, types, words, ranges. Names and sums it cannot.
fn is_structural(code: &str) -> bool {
    matches!(code, "E101" | "E102" | "E103" | "E104" | "E105" | "E106" | "E107" | "E108")
}

#[test]
fn the_schema_accepts_what_the_decoder_accepts() {
    let validator = jsonschema::validator_for(&spec::json_schema()).unwrap();
    let mut seen = (0, 0);
    for file in samples("good").into_iter().chain(samples("bad")) {
        for text in file.text.split("---\n").filter(|text| !text.is_empty()) {
            let loaded = spec::load(&[SourceFile { path: file.path.clone(), text: text.to_owned() }]);
            if text.contains("openslo/v1") {
                continue;
            }
            // Other documents, and what is not a document, are beyond the schema.
            if codes(&loaded).iter().any(|code| code.starts_with("E0") || *code == "N501") {
                continue;
            }
            if codes(&loaded).is_empty() && loaded.journeys.is_empty() {
                continue;
            }
            let decoded = !codes(&loaded).iter().any(|code| is_structural(code));
            // YAML's infinities and NaN have no JSON; the sample that holds one has other faults too.
            let Ok(value) = serde_saphyr::from_str::<serde_json::Value>(text) else {
                assert!(text.contains(".nan"), "{}", file.path);
                continue;
            };
            assert_eq!(validator.is_valid(&value), decoded, "{}: {:?}", file.path, loaded.diagnostics);
            *(if decoded { &mut seen.0 } else { &mut seen.1 }) += 1;
        }
    }
    assert!(seen.0 > 20 && seen.1 > 8, "{seen:?}");
}

/// One field, values on either side of what is allowed.
#[test]
fn the_schema_draws_the_same_lines_as_the_decoder() {
    let validator = jsonschema::validator_for(&spec::json_schema()).unwrap();
    let places = [
        ("windows", "[?]"),
        ("quantiles", "[?]"),
        ("latencyBuckets", "[?]"),
        ("expression", "?"),
        ("operator", "{ref: ?}"),
        ("operator", "{type: timeout, after: ?, body: {ref: a}}"),
        ("operator", "{type: kofn, k: ?, branches: [{ref: a}]}"),
        ("operator", "{type: cond, branches: [{probability: ?, ref: a}]}"),
        ("operator", "{type: repeat, counts: {?: 1}, body: {ref: a}}"),
        ("operator", "{type: retry, attempts: 1, backoff: {base: 1s, factor: ?}, body: {ref: a}}"),
        ("components", "{?: {}}"),
        ("components", "{a: {telemetry: {histogram: ?}}}"),
        ("components", "{a: {telemetry: {histogram: m, matchers: {?: a}}}}"),
        ("components", "{a: {telemetry: {histogram: m, matchers: {a: ?}}}}"),
        ("components", "{a: {telemetry: {histogram: m, latency: ?}}}"),
        ("parameters", "{?: {value: 1}}"),
        ("parameters", "{a: {value: ?}}"),
        ("failureDomains", "{rules: [{name: ?}]}"),
        ("objectives", "{availability: {window: 1d, target: ?}}"),
        ("objectives", "{latency: {window: 1d, objective: {metric: ?, threshold: 1}}}"),
        ("governance", "{confidence: ?}"),
        ("governance", "{progressiveDelivery: {gate: {maxCanaryBurnRate: ?}}}"),
    ];
    let values = [
        "0",
        "1",
        "0.5",
        "-1",
        "1.5",
        "3.0",
        "10000",
        "10001",
        "1e3",
        "true",
        "null",
        "[]",
        "{}",
        "''",
        "' '",
        "a",
        "A_b-c.d/e:f@g",
        "_",
        "-a",
        "/a",
        "a b",
        "é",
        "'0'",
        "'01'",
        "'10000'",
        "'10001'",
        "5m",
        "1h30m",
        "0s",
        "0h0m",
        "1.5h",
        "1m1h",
        "5",
        "200ms",
        "0.2s",
        ".5s",
        "5.s",
        "1.2.3s",
        "m",
        "ms",
        "p50",
        "p99.9",
        "p0",
        "p00.0",
        "p100",
        "P5",
        "p",
        "p9.",
        "inclusive",
        "le",
        "__name__",
        "a:b",
        "9a",
        "'!~\"5..\"'",
        "'!~5..'",
        "'=~\"a\\\\.\"'",
        "'=~\"a\\.\"'",
        "'!=\"x\"'",
        "'=x'",
        "'=\"x\"'",
        "'!x'",
        "'!'",
        "'='",
        "'=\"a\"b\"'",
        "\"a\\nb\"",
        "\"=~\\\"a\\nb\\\"\"",
    ];
    for (field, shape) in places {
        for value in values {
            let operator = if matches!(field, "operator" | "expression") { "" } else { "  expression: a\n" };
            let text = journey(&format!("{operator}  {field}: {}\n", shape.replace('?', value)));
            let loaded = load(&text);
            if codes(&loaded).iter().any(|code| code.starts_with("E0")) {
                continue;
            }
            let decoded = !codes(&loaded).iter().any(|code| is_structural(code));
            // A null as a key has no JSON.
            let Ok(value) = serde_saphyr::from_str::<serde_json::Value>(&text) else { continue };
            assert_eq!(validator.is_valid(&value), decoded, "{text}{:?}", loaded.diagnostics);
        }
    }
}

#[test]
fn the_papers_checkout_and_its_contracts_load() {
    let Some(root) = reference() else { return };
    let read = |path: &str| SourceFile {
        path: path.to_owned(),
        text: std::fs::read_to_string(root.join("checkout").join(path)).unwrap(),
    };
    let mut files = vec![read("spec/emac.checkout.yaml")];
    for name in ["front", "cart", "pricing", "paya", "payb"] {
        files.push(read(&format!("atomic/openslo/slo.{name}.availability.yaml")));
    }
    let loaded = spec::load(&files);
    assert!(loaded.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error));
    let targets: Vec<_> = loaded.journeys[0]
        .components
        .iter()
        .map(|component| (component.name.as_str(), component.contract.unwrap().get()))
        .collect();
    assert_eq!(
        targets,
        [("front", 0.9995), ("cart", 0.999), ("pricing", 0.999), ("paya", 0.995), ("payb", 0.995)]
    );
}

/// The reference data, where it is present; says so where it is not.
fn reference() -> Option<std::path::PathBuf> {
    let root = std::env::var_os("EMAC_REFERENCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference"),
        std::path::PathBuf::from,
    );
    if root.join("checkout/spec").is_dir() {
        return Some(root);
    }
    eprintln!("skipped: no reference data in {}", root.display());
    None
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let loaded = load(&journey(
        "  objectives: {latency: {window: 30d, objective: {metric: p95, threshold: 0.3}}}\n  expression: a\n",
    ));
    let journey = &loaded.journeys[0];
    let windows: Vec<_> = journey.windows.iter().map(ToString::to_string).collect();
    assert_eq!(windows, ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]);
    let quantiles: Vec<_> = journey.quantiles.iter().map(|quantile| quantile.get()).collect();
    assert_eq!(quantiles, [0.5, 0.9, 0.95, 0.99]);
    let buckets: Vec<_> = journey.latency_buckets.iter().map(|edge| edge.get()).collect();
    assert_eq!(buckets, [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0]);
}

#[test]
fn the_digest_depends_on_the_model_alone() {
    let digest = |spec: &str| load(&journey(spec)).journeys[0].digest.clone();
    let text = digest("  expression: Race(a, b)\n  components: {a: {}, b: {}}\n");
    let tree = "  # a comment\n  components: {b: {}, a: {}}\n  operator:\n    type: race\n    branches: [{ref: a}, {ref: b}]\n";
    assert_eq!(text, digest(tree));
    assert_eq!(text.len(), 64);
    assert_ne!(text, digest("  expression: Race(b, a)\n  components: {a: {}, b: {}}\n"));
    assert_ne!(
        text,
        digest("  expression: Race(a, b)\n  components: {a: {}, b: {kind: external_dependency}}\n")
    );
}

#[test]
fn a_place_inside_folded_text_is_found() {
    let text = journey("  components: {front: {}}\n  expression: >-\n    Series(front,\n\n      frnt)\n");
    let loaded = load(&text);
    let found = loaded.diagnostics.iter().find(|diagnostic| diagnostic.code == "E201").unwrap();
    assert_eq!((found.line, found.column, found.path.as_str()), (9, 7, "spec.expression"));
    assert_eq!(found.help.as_deref(), Some("did you mean `front`?"));
}

/// Each is one finding or a few, in bounded work: the budgets of nodes, depth and findings hold.
#[test]
fn hostile_input_is_a_diagnostic() {
    let one = |text: &str, code: &str| {
        let loaded = load(text);
        assert_eq!(codes(&loaded), [code], "{}", text.chars().take(80).collect::<String>());
        assert!(loaded.journeys.is_empty());
    };
    one(&"x".repeat(10 << 20), "E001");
    let nested =
        |open: &str, close: &str| format!("{}{{ref: a}}{}", open.repeat(10_000), close.repeat(10_000));
    one(&journey(&format!("  operator: {}", nested("{type: series, steps: [", "]}"))), "E004");
    one(&journey(&format!("  operator:\n    {}ref: a\n", "- ".repeat(10_000))), "E004");
    one(&journey(&format!("  expression: {}a{}\n", "Series(".repeat(10_000), ")".repeat(10_000))), "E004");
    let mut block = "  operator:\n".to_owned();
    for depth in 0..400 {
        let indent = " ".repeat(depth + 4);
        writeln!(block, "{indent}type: optional\n{indent}timeout: 1s\n{indent}body:").unwrap();
    }
    writeln!(block, "{}ref: a", " ".repeat(404)).unwrap();
    one(&journey(&block), "E004");
    let many_faults = format!("  operator: {{type: series, steps: [{}]}}\n", "{}, ".repeat(10_000));
    let loaded = load(&journey(&many_faults));
    assert_eq!((loaded.diagnostics.len(), codes(&loaded).last()), (201, Some(&"N505")));
    let wide = format!("  operator: {{type: series, steps: [{}]}}\n", "{ref: a}, ".repeat(10_001));
    assert!(codes(&load(&journey(&wide))).contains(&"E204"));
}

#[test]
fn deep_but_legal_trees_need_little_stack() {
    let mut tree = "  operator:\n".to_owned();
    for depth in 0..255 {
        let indent = " ".repeat(depth + 4);
        writeln!(tree, "{indent}type: optional\n{indent}timeout: 1s\n{indent}body:").unwrap();
    }
    writeln!(tree, "{}ref: a", " ".repeat(259)).unwrap();
    let text = format!("  expression: {}a{}\n", "Optional(1s; ".repeat(255), ")".repeat(255));
    let (tree, text) = (load(&journey(&tree)), load(&journey(&text)));
    assert_eq!(tree.journeys, text.journeys);
    assert_eq!(tree.journeys.len(), 1, "{:?}", tree.diagnostics);
}

mod round_trips {
    use super::*;
    use emac::spec::{Form, format};
    use proptest::prelude::*;

    /// Texts of random expressions in their canonical layout.
    fn expression() -> impl Strategy<Value = String> {
        let name = "[a-z][a-z0-9_.:/@-]{0,6}|true|null|[0-9]{1,3}|_x";
        let duration = prop_oneof![
            (1_u32..5_000).prop_map(|ms| format!("{ms}ms")),
            (1_u32..500).prop_map(|s| format!("{}.5s", s)),
            Just("1m30s".to_owned()),
        ];
        let share = prop_oneof![Just("0.25".to_owned()), Just(".125".to_owned()), Just("p_hit".to_owned())];
        name.prop_map(String::from).prop_recursive(5, 60, 4, move |inner| {
            let list =
                |least| proptest::collection::vec(inner.clone(), least..4).prop_map(|all| all.join(", "));
            let (duration, share) = (duration.clone(), share.clone());
            prop_oneof![
                list(1).prop_map(|all| format!("Series({all})")),
                (any::<bool>(), list(1)).prop_map(|(join, all)| format!(
                    "Parallel({}{all})",
                    if join { "join=all; " } else { "" }
                )),
                (any::<bool>(), list(1)).prop_map(|(hedged, all)| {
                    format!("Race({}{all})", if hedged { "semantics=hedged; " } else { "" })
                }),
                list(2).prop_map(|all| format!("KofN(2; {all})")),
                (share.clone(), inner.clone(), inner.clone())
                    .prop_map(|(share, a, b)| format!("Cond({share}; {a}, {b})")),
                (share, inner.clone(), inner.clone())
                    .prop_map(|(share, a, b)| format!("Cond(_, {share}; {a}, {b})")),
                (duration.clone(), inner.clone()).prop_map(|(d, a)| format!("Timeout({d}; {a})")),
                (duration.clone(), inner.clone(), inner.clone())
                    .prop_map(|(d, a, b)| format!("Timeout({d}; {a}, {b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("Fallback({a}, {b})")),
                (1_u32..9, inner.clone()).prop_map(|(n, a)| format!("Retry({n}; {a})")),
                (1_u32..9, duration.clone(), duration.clone(), inner.clone())
                    .prop_map(|(n, t, b, a)| format!("Retry({n}, {t}, {b}, factor=2, jitter=full; {a})")),
                (1_u32..9, duration.clone(), inner.clone())
                    .prop_map(|(n, b, a)| format!("Retry({n}, backoff={b}, attemptsFate=independent; {a})")),
                (duration.clone(), inner.clone(), inner.clone())
                    .prop_map(|(d, a, b)| format!("Hedge({d}; {a}, {b})")),
                (duration, inner.clone()).prop_map(|(d, a)| format!("Optional({d}; {a})")),
                (0_u32..9, inner.clone()).prop_map(|(n, a)| format!("Repeat({n}; {a})")),
                inner.clone().prop_map(|a| format!("Repeat(1=0.75, 3=.25; {a})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn text_and_tree_convert_both_ways_without_loss(text in expression()) {
            let file = |text: String| SourceFile { path: "a.yaml".to_owned(), text };
            let quoted = journey(&format!("  expression: '{text}'\n"));
            // Once through the formatter, which breaks long lines.
            let written = format(&file(quoted), None);
            prop_assert_eq!(&written.diagnostics, &[]);
            let tree = format(&file(written.text.clone()), Some(Form::Tree));
            prop_assert_eq!(&tree.diagnostics, &[]);
            prop_assert!(tree.text.contains("  operator:\n"));
            let back = format(&file(tree.text.clone()), Some(Form::Expression));
            prop_assert_eq!(&back.diagnostics, &[]);
            prop_assert_eq!(&back.text, &written.text);
            let (a, b) = (load(&written.text), load(&tree.text));
            prop_assert_eq!(a.journeys, b.journeys);
        }

        #[test]
        fn no_text_makes_the_loader_panic(text in "[ -~\n]{0,200}") {
            let _ = load(&text);
            let _ = load(&journey(&format!("  expression: |\n    {}\n", text.replace('\n', "\n    "))));
        }

        #[test]
        fn no_mutation_of_a_sample_makes_the_loader_panic(
            index in any::<proptest::sample::Index>(),
            at in any::<proptest::sample::Index>(),
            cut in 0_usize..40,
            with in "[ -~\n]{0,8}",
        ) {
            let all = samples("good");
            let text = &all[index.index(all.len())].text;
            let from = text.floor_char_boundary(at.index(text.len()));
            let to = text.ceil_char_boundary((from + cut).min(text.len()));
            let mutated = format!("{}{with}{}", &text[..from], &text[to..]);
            let _ = load(&mutated);
            let done = format(&SourceFile { path: "a.yaml".to_owned(), text: mutated.clone() }, Some(Form::Tree));
            // Whatever it did, it says the same.
            prop_assert_eq!(load(&done.text).journeys, load(&mutated).journeys);
        }
    }
}
