//! `emac compile` and `emac diff`: what is emitted passes the tools that will run it, stays the same for the same spec, and
//! changes little for a small change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use emac::algebra::compose::Composer;
use emac::derive::explain;
use emac::emit::{self, Artifact, Options, Target};
use emac::journey::Journey;
use emac::journey::evidence::{ComponentEvidence, Evidence, Measurement};
use emac::spec::{self, SourceFile};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The specs that ship with the project.
const EXAMPLES: [&str; 3] = ["examples/specs/checkout", "examples/specs/timeouts", "src/demo/shop"];

fn spec_files(folder: &Path) -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push(SourceFile { path: path.display().to_string(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

pub(crate) fn journeys_of(files: &[SourceFile]) -> Vec<Journey> {
    let loaded = spec::load(files);
    let errors: Vec<String> =
        loaded.diagnostics.iter().filter(|d| d.code.starts_with('E')).map(ToString::to_string).collect();
    assert!(errors.is_empty() && !loaded.journeys.is_empty(), "{errors:#?}");
    loaded.journeys
}

fn one(text: &str) -> Journey {
    journeys_of(&[SourceFile { path: "j.yaml".to_owned(), text: text.to_owned() }]).remove(0)
}

pub(crate) fn compiled(journey: &Journey, target: Target) -> Vec<Artifact> {
    let evidence = Evidence::of_contracts(journey);
    let derivation = explain(&mut Composer::new(), journey, &evidence, None);
    emit::artifacts(journey, &derivation, &Options { target, ..Options::default() })
}

/// The text of the artifact whose path ends so.
pub(crate) fn artifact<'a>(artifacts: &'a [Artifact], end: &str) -> Option<&'a str> {
    artifacts.iter().find(|artifact| artifact.path.ends_with(end)).map(|artifact| artifact.text.as_str())
}

/// Every shipped journey, compiled.
pub(crate) fn examples() -> Vec<(String, Vec<Artifact>)> {
    EXAMPLES
        .iter()
        .flat_map(|folder| journeys_of(&spec_files(&root().join(folder))))
        .map(|journey| (journey.name.clone(), compiled(&journey, Target::Prometheus)))
        .collect()
}

fn emac(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emac")).args(args).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn promtool(args: &[&str], folder: &Path) {
    let output = Command::new("promtool").args(args).current_dir(folder).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "promtool {args:?}: {}{}", said(&output.stdout), said(&output.stderr));
}

/// Writes the artifacts into folders of their own and lets promtool check the rules and, where asked to, run the tests.
fn assert_promtool_accepts(all: &[(String, Vec<Artifact>)], with_tests: impl Fn(usize) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let (mut rules, mut tests) = (Vec::new(), Vec::new());
    for (index, (name, artifacts)) in all.iter().enumerate() {
        for artifact in artifacts.iter().filter(|artifact| artifact.path.contains("/prometheus/")) {
            let path = folder.path().join(index.to_string()).join(&artifact.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &artifact.text).unwrap();
            let path = format!("{index}/{}", artifact.path);
            if !path.ends_with("tests.yaml") {
                rules.push(path);
            } else if with_tests(index) {
                tests.push(path);
            }
        }
        assert!(artifacts.iter().any(|a| a.path.ends_with("tests.yaml")), "{name}");
    }
    for rules in rules.chunks(60) {
        let args: Vec<&str> = ["check", "rules", "--lint=all", "--lint-fatal"]
            .into_iter()
            .chain(rules.iter().map(String::as_str))
            .collect();
        promtool(&args, folder.path());
    }
    for tests in tests.chunks(20) {
        let args: Vec<&str> = ["test", "rules"].into_iter().chain(tests.iter().map(String::as_str)).collect();
        promtool(&args, folder.path());
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn every_example_passes_promtools_checks_and_its_own_tests() {
    assert_promtool_accepts(&examples(), |_| true);
}

/// A valid spec of random size, policy, objectives and names.
fn random_spec(seed: u64) -> String {
    let mut rng = SmallRng::seed_from_u64(seed);
    let n = rng.random_range(1..9_usize);
    let leaf = |i: usize| format!("c{i}");
    let mut parts: Vec<String> = (0..n).map(leaf).collect();
    while parts.len() > 1 {
        let take = rng.random_range(2..=parts.len().min(4));
        let taken: Vec<String> = parts.drain(..take).collect();
        let all = taken.join(", ");
        parts.push(match rng.random_range(0..6) {
            0 => format!("Parallel({all})"),
            1 => format!("Race({all})"),
            2 => format!("KofN({}; {all})", rng.random_range(1..=take)),
            3 => format!("Fallback({}, {})", taken[0], taken[1..].first().unwrap())
                .replace("Fallback", if take == 2 { "Fallback" } else { "Series" }),
            4 if take == 2 => format!("Timeout({}ms; {all})", rng.random_range(1..900)),
            _ => format!("Series({all})"),
        });
        // What the arms above left out comes back.
        if let Some(last) = parts.pop() {
            let missing: Vec<&String> = taken.iter().filter(|t| !last.contains(t.as_str())).collect();
            parts.push(if missing.is_empty() {
                last
            } else {
                format!("Series({last}, {})", missing.into_iter().cloned().collect::<Vec<_>>().join(", "))
            });
        }
        let turn = rng.random_range(0..parts.len());
        parts.rotate_left(turn);
    }
    let names = [
        "checkout",
        "Pay_Now",
        "a.b-c",
        "x",
        "search-2",
        "very-long-name-that-goes-on-and-on-and-on-for-more-than-sixty-characters",
    ];
    let target = [0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999][rng.random_range(0..8)];
    let budget = ["30d", "28d", "7d", "90d", "1d"][rng.random_range(0..5)];
    let mut text = format!(
        "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: {}, labels: {{team: t{seed}, emac.example: \"x\"}}}}\nspec:\n  objectives:\n",
        names[rng.random_range(0..names.len())]
    );
    let (mut availability, latency) = (rng.random_bool(0.85), rng.random_bool(0.7));
    availability |= !latency;
    if availability {
        let sli = if rng.random_bool(0.4) {
            ", sli: {goodEventQuery: 'sum(rate(g[{{window}}]))', totalEventQuery: 'sum(rate(t[{{ .window }}]))'}"
        } else {
            ""
        };
        let _ = writeln!(text, "    availability: {{window: {budget}, target: {target}{sli}}}");
    }
    if latency {
        let p = ["p50", "p90", "p99", "p99.9"][rng.random_range(0..4)];
        let _ = writeln!(
            text,
            "    latency: {{window: {budget}, objective: {{metric: {p}, threshold: {}ms}}}}",
            rng.random_range(1..5000)
        );
    }
    if seed.is_multiple_of(3) {
        text += "  variants: {canary: {components: [c0], matchers: {rollout: canary}, podHashLabel: pod}, b: {components: [c0], matchers: {x: '!~\"y\"'}}}\n";
    }
    let _ = writeln!(text, "  expression: {}\n  components:", parts[0]);
    for i in 0..n {
        let domains = ["[]", "[d0]", "[d0, d1]", "[k8s/zone]"][rng.random_range(0..4)];
        let _ = writeln!(
            text,
            "    c{i}: {{histogram: h, matchers: {{service: c{i}}}, failureDomains: {domains}}}"
        );
    }
    text += "  governance:\n";
    if rng.random_bool(0.5) {
        text += "    progressiveDelivery: {gate: {maxCanaryBurnRate: 1.5, maxP99LatencySeconds: 0.25}}\n";
    }
    text += "    alerts:\n      runbookURL: https://example.org/run?a=b&c=d#e\n";
    if rng.random_bool(0.5) {
        text += "      burnRatePolicy:\n";
        for (list, rates) in [("page", [14.4, 6.0]), ("ticket", [3.0, 1.0])] {
            let _ = writeln!(text, "        {list}:");
            for (i, rate) in rates.iter().enumerate().take(rng.random_range(1..3)) {
                let long = ["30m", "1h", "6h", "1d"][rng.random_range(0..4)];
                let short = ["1m", "5m", "15m"][rng.random_range(0..3)];
                let more = ["", ", severity: sev1", ", disabled: true"][rng.random_range(0..3)];
                let rate = rate * [1.0, 0.5, 1.37][(i + n) % 3];
                let _ = writeln!(
                    text,
                    "          - {{burnRate: {rate}, longWindow: {long}, shortWindow: {short}{more}}}"
                );
            }
        }
    }
    text
}

fn generated(count: u64) -> Vec<(String, Vec<Artifact>)> {
    let compile = |seed| {
        let journey = one(&random_spec(seed));
        (journey.name.clone(), compiled(&journey, Target::Prometheus))
    };
    (0..count).map(compile).collect()
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn two_hundred_generated_specs_pass_promtools_checks_and_some_of_them_their_tests() {
    assert_promtool_accepts(&generated(200), |index| index % 20 == 0);
}

#[test]
#[ignore = "long: two hundred generated specs, each with all of its unit tests"]
fn two_hundred_generated_specs_pass_their_own_tests() {
    assert_promtool_accepts(&generated(200), |_| true);
}

#[test]
fn the_papers_example_compiles_to_its_published_numbers_and_a_block_with_its_reason() {
    let reference =
        std::env::var("EMAC_REFERENCE").map_or_else(|_| root().join("../shared/reference"), PathBuf::from);
    let out = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for spec in [reference.join("checkout"), root().join("examples/specs/checkout")] {
        if !spec.exists() {
            eprintln!("skipped: {} is not here", spec.display());
            continue;
        }
        seen += 1;
        let to = out.path().join(seen.to_string());
        let output = emac(&["compile", spec.to_str().unwrap(), "--out", to.to_str().unwrap()], out.path());
        assert!(output.status.success(), "{output:?}");
        let text = std::fs::read_to_string(to.join("checkout/report/derivation.yaml")).unwrap();
        let report: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let spec = &report["spec"];
        let availability = &spec["derivation"]["availability"];
        let close =
            |value: &serde_json::Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 5e-9;
        assert!(close(&availability["estimate"], 0.997_477_06), "{availability}");
        assert!(close(&availability["pessimistic"], 0.992_514_49), "{availability}");
        assert_eq!(spec["decision"]["verdict"], "block");
        let reason = spec["decision"]["reason"].as_str().unwrap();
        assert!(reason.contains("99.251 % is below the objective 99.5 %"), "{reason}");
        assert_eq!(spec["decision"]["dominant"][0]["name"], "payment-network");
        assert_eq!(spec["errorBudget"], serde_json::json!(0.005));
        assert!(text.contains("errorBudget: 0.005\n"));
        let markdown = std::fs::read_to_string(to.join("checkout/report/derivation.md")).unwrap();
        for part in ["0.99747706", "0.99251449", "**BLOCK**", "failure domain `payment-network` (67 %)"] {
            assert!(markdown.contains(part), "{part} is not in {markdown}");
        }
    }
    assert!(seen > 0);
}

/// 240 failures of 24,000 calls with an effect of 8 are worth as much as 30 of 3,000.
#[test]
fn the_report_says_how_many_independent_calls_bursts_leave() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file(
        "spec.yaml",
        "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {name: shop}\nspec:\n  windows: [1h]\n  \
         components:\n    front: {histogram: m}\n    pay: {histogram: m}\n    ship: {histogram: m}\n  \
         expression: Series(front, pay, ship)\n",
    );
    file(
        "evidence.yaml",
        "apiVersion: emac.dev/v1alpha1\nkind: Evidence\nmetadata: {journey: shop}\nspec:\n  window: 1h\n  components:\n    \
         front: {total: 24000, good: 23760, designEffect: {failures: 8, latency: 2.5}}\n    \
         pay: {total: 24000, good: 23760, designEffect: {failures: 8}}\n    ship: {total: 24000, good: 23760}\n",
    );
    let compile = ["compile", "spec.yaml", "--evidence", "evidence.yaml", "--out", "out"];
    let output = emac(&compile, folder.path());
    assert!(output.status.success(), "{output:?}");
    let report = std::fs::read_to_string(folder.path().join("out/shop/report/derivation.yaml")).unwrap();
    let evidence: Vec<&str> =
        report.lines().filter_map(|line| Some(line.split_once("evidence: ")?.1)).collect();
    insta::assert_snapshot!(evidence.join("\n"), @"
    {kind: counts, total: 24000, good: 23760, independentCalls: {failures: 3000, latency: 9600}, source: m}}
    {kind: counts, total: 24000, good: 23760, independentCalls: {failures: 3000}, source: m}}
    {kind: counts, total: 24000, good: 23760, source: m}}
    ");
    let parsed: serde_json::Value = serde_saphyr::from_str(&report).unwrap();
    let nodes = parsed["spec"]["derivation"]["nodes"].as_array().unwrap();
    let worth = |at: usize| &nodes[at]["evidence"]["independentCalls"];
    assert_eq!(worth(1), &serde_json::json!({"failures": 3000, "latency": 9600}));
    assert_eq!(worth(2), &serde_json::json!({"failures": 3000}));
    assert!(worth(3).is_null(), "nothing is known of its bursts");
    // The bound is that of so many calls, and wider than where they are independent.
    let lower = |at: usize| nodes[at]["pessimistic"].as_f64().unwrap();
    assert!(lower(1) == lower(2) && lower(1) < lower(3) && lower(3) < 0.99, "{nodes:?}");
}

#[test]
fn a_check_tells_what_differs_and_nothing_is_written_outside() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("specs")).unwrap();
    let spec = random_spec(7);
    std::fs::write(at("specs/a.yaml"), &spec).unwrap();
    let name = one(&spec).name;
    let compile = |more: &[&str]| {
        let args: Vec<&str> = ["compile", "specs", "--out", "out"].iter().chain(more).copied().collect();
        emac(&args, folder.path())
    };
    let missing = compile(&["--check"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stdout(&missing).contains(&format!("missing: out/{name}/prometheus/alerts.yaml")), "{missing:?}");
    assert!(!at("out").exists(), "a check writes nothing");
    assert!(compile(&[]).status.success());
    assert_eq!(compile(&["--check"]).status.code(), Some(0));
    let alerts = at("out").join(&name).join("prometheus/alerts.yaml");
    let (before, written) =
        (std::fs::read(&alerts).unwrap(), std::fs::metadata(&alerts).unwrap().modified().unwrap());
    assert!(compile(&[]).status.success());
    assert_eq!(
        std::fs::metadata(&alerts).unwrap().modified().unwrap(),
        written,
        "an equal file is left alone"
    );
    std::fs::write(&alerts, "groups: []\n").unwrap();
    let differs = compile(&["--check"]);
    assert_eq!(differs.status.code(), Some(1));
    assert!(stdout(&differs).contains("differs: "), "{differs:?}");
    assert!(compile(&[]).status.success());
    assert_eq!(std::fs::read(&alerts).unwrap(), before);
    // A journey that is gone leaves alerts that would go on paging; files of others are not ours to judge.
    std::fs::create_dir_all(at("out/gone/prometheus")).unwrap();
    std::fs::write(at("out/gone/prometheus/alerts.yaml"), &before).unwrap();
    std::fs::write(at("out/README.md"), format!("of people, who say: {}", emit::MARK)).unwrap();
    let left = compile(&["--check"]);
    assert_eq!(left.status.code(), Some(1));
    assert!(
        stdout(&left).contains("left over, no spec compiles to it: out/gone/prometheus/alerts.yaml"),
        "{left:?}"
    );
    assert!(!stdout(&left).contains("README"));
    std::fs::remove_dir_all(at("out")).unwrap();
    std::fs::create_dir_all(at("elsewhere")).unwrap();
    std::fs::create_dir_all(at("out")).unwrap();
    std::os::unix::fs::symlink(at("elsewhere"), at("out").join(&name)).unwrap();
    let refused = compile(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("symbolic link"), "{refused:?}");
    assert_eq!(std::fs::read_dir(at("elsewhere")).unwrap().count(), 0);
}

/// The other targets hold the groups of the plain rule files, and beside them those files' alerts and unit tests byte for
/// byte: what promtool says of one target it says of all.
fn assert_same_in_every_target(journey: &Journey) {
    let name = &journey.name;
    let read = |text: &str| -> serde_json::Value { serde_saphyr::from_str(text).unwrap() };
    let plain = compiled(journey, Target::Prometheus);
    for (target, kind) in [(Target::Operator, "PrometheusRule"), (Target::Vm, "VMRule")] {
        let objects = compiled(journey, target);
        for file in ["prometheus/alerts.yaml", "prometheus/recording-rules.yaml"] {
            let object = read(artifact(&objects, file).unwrap());
            assert_eq!(object["kind"], kind, "{name}");
            let groups = &read(artifact(&plain, file).unwrap())["groups"];
            assert_eq!(&object["spec"]["groups"], groups, "{name}");
        }
        for file in ["alerts.yaml", "tests.yaml"] {
            let of = |artifacts, folder| artifact(artifacts, &format!("{folder}/{file}")).map(str::to_owned);
            assert_eq!(of(&objects, "promtool"), of(&plain, "prometheus"), "{name} {file}");
        }
        let guards = artifact(&objects, "prometheus/evaluator-guards.yaml").unwrap();
        let own = if target == Target::Vm {
            "vmalert_alerting_rules_errors_total"
        } else {
            "prometheus_rule_evaluation_failures_total"
        };
        assert!(guards.contains(own) && guards.contains("absent(up{"), "{guards}");
    }
}

#[test]
fn every_target_holds_the_same_groups() {
    for folder in EXAMPLES {
        journeys_of(&spec_files(&root().join(folder))).iter().for_each(assert_same_in_every_target);
    }
    for seed in 0..200 {
        assert_same_in_every_target(&one(&random_spec(seed)));
    }
}

/// Debian's vmalert is older than `keep_firing_for`, and refuses that field alone.
#[test]
#[cfg_attr(not(has_vmalert), ignore = "needs vmalert and victoria-metrics: tests/run installs them")]
fn vmalert_reads_every_rule_file() {
    let folder = tempfile::tempdir().unwrap();
    let journeys = EXAMPLES.iter().flat_map(|folder| journeys_of(&spec_files(&root().join(folder))));
    for (index, journey) in journeys.chain((0..200).map(|seed| one(&random_spec(seed)))).enumerate() {
        let artifacts = compiled(&journey, Target::Prometheus);
        for file in ["alerts", "recording-rules", "evaluator-guards"] {
            let text = artifact(&artifacts, &format!("prometheus/{file}.yaml")).unwrap();
            let kept = |line: &&str| !line.trim_start().starts_with("keep_firing_for: ");
            let text: String = text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
            std::fs::write(folder.path().join(format!("{index}-{file}.yaml")), text).unwrap();
        }
    }
    let rules = format!("-rule={}/*.yaml", folder.path().display());
    let output = Command::new("vmalert").args(["-dryRun", &rules]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_file_says_where_it_comes_from_and_the_same_spec_gives_the_same_bytes() {
    for seed in 0..20 {
        let journey = one(&random_spec(seed));
        let artifacts = compiled(&journey, Target::Prometheus);
        assert_eq!(artifacts, compiled(&one(&random_spec(seed)), Target::Prometheus));
        for artifact in &artifacts {
            assert!(artifact.text.contains(emit::MARK), "{}", artifact.path);
            assert!(artifact.text.contains(&format!("sha256:{}", journey.digest)), "{}", artifact.path);
            assert!(artifact.text.contains(env!("CARGO_PKG_VERSION")), "{}", artifact.path);
            let decimals_are_exact =
                artifact.path.contains("/report/") || !artifact.text.contains("0000000000");
            assert!(artifact.text.ends_with('\n') && decimals_are_exact, "{}", artifact.path);
        }
    }
}

/// How many hunks `diff` shows with these options.
fn hunks(options: &[&str], old: &str, new: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), old).unwrap();
    std::fs::write(folder.path().join("b"), new).unwrap();
    let output =
        Command::new("diff").args(options).args(["a", "b"]).current_dir(folder.path()).output().unwrap();
    stdout(&output).lines().filter(|line| line.starts_with("@@")).count()
}

/// What differs between what two specs compile to: files and their hunks.
fn changed(options: &[&str], before: &[Artifact], after: &[Artifact]) -> BTreeMap<String, usize> {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(old, new)| (old.path.clone(), hunks(options, &old.text, &new.text)))
        .filter(|(_, hunks)| *hunks > 0)
        .collect()
}

fn timeouts_spec() -> String {
    std::fs::read_to_string(root().join("examples/specs/timeouts/journey.yaml")).unwrap()
}

/// As a reviewer sees it: every file has one hunk, which holds the new digest and, in a file that the change concerns, what
/// it changes. `edits` are a text, what takes its place, and the files that it concerns among those that run.
fn assert_one_hunk(spec: &str, edits: &[(&str, &str, Option<&str>)]) {
    for target in [Target::Prometheus, Target::Operator, Target::Vm] {
        let before = compiled(&one(spec), target);
        let every: BTreeMap<_, _> = before.iter().map(|artifact| (artifact.path.clone(), 1)).collect();
        for (from, to, touched) in edits {
            assert!(spec.contains(from), "{from}");
            let after = compiled(&one(&spec.replacen(from, to, 1)), target);
            assert_eq!(changed(&["-U3"], &before, &after), every, "{target:?}: {from}");
            // Beside the digest, only what the change concerns.
            let runs = |path: &String| !path.contains("/report/");
            let mut said = changed(&["-U3", "-I", emit::MARK], &before, &after);
            said.retain(|path, _| runs(path));
            let said: Vec<_> = said.into_keys().collect();
            let expected: Vec<_> = before
                .iter()
                .map(|artifact| artifact.path.clone())
                .filter(|path| touched.is_some_and(|end| path.ends_with(end)))
                .collect();
            assert_eq!(said, expected, "{target:?}: {from}");
        }
    }
}

const GATE: Option<&str> = Some("argo/analysis-template.yaml");
const RECORDS: Option<&str> = Some("prometheus/recording-rules.yaml");

#[test]
fn a_change_of_one_line_is_one_hunk_in_each_artifact() {
    let spec = timeouts_spec();
    let spec = spec.replacen(
        "  governance:",
        "  governance:\n    progressiveDelivery: {gate: {maxCanaryBurnRate: 1.0}}",
        usize::from(!spec.contains("progressiveDelivery")),
    );
    let edits = [
        ("target: 0.999", "target: 0.9995", None),
        ("threshold: 400ms", "threshold: 350ms", GATE),
        ("maxCanaryBurnRate: 1.0", "maxCanaryBurnRate: 2.0", GATE),
        ("p_hit: {value: 0.8}", "p_hit: {value: 0.7}", None),
        ("Timeout(200ms;", "Timeout(150ms;", None),
        ("service_name: front}", "service_name: edge}", None),
        (
            "goodEventQuery: sum(rate(checkout_total{outcome=\"ok\"}",
            "goodEventQuery: sum(rate(checkout_total{outcome=\"paid\"}",
            RECORDS,
        ),
        ("totalEventQuery: sum(rate(checkout_total", "totalEventQuery: sum(rate(checkouts_total", RECORDS),
    ];
    assert_one_hunk(&spec, &edits);
    // The same where every component has a contract, so that numbers follow.
    let known: String = spec
        .lines()
        .map(|line| {
            let component = line.contains("preset: ");
            let name = line.trim().split(':').next().unwrap();
            let contract = format!("{{atomicSLORef: slo-{name}, ");
            let line = if component { line.replacen('{', &contract, 1) } else { line.to_owned() };
            line + "\n"
        })
        .collect();
    let contracts = ["front", "cache", "catalog", "paya", "payb", "queue"].into_iter().enumerate();
    let contracts =
        contracts.map(|(at, name)| format!("---\n{}", slo(&format!("slo-{name}"), &format!("0.999{at}"))));
    let known = known + &contracts.collect::<String>();
    let more = [
        ("objectives: [{target: 0.9990}]", "objectives: [{target: 0.9995}]", None),
        ("objectives: [{target: 0.9995}]", "objectives: [{target: 0.9999}]", None),
    ];
    assert_one_hunk(&known, &[&edits[..], &more].concat());
}

#[test]
fn an_edit_that_moves_no_number_changes_the_digest_alone_and_a_comment_changes_nothing() {
    let files = spec_files(&root().join("examples/specs/checkout"));
    let edited = |from: &str, to: &str| {
        let mut files = files.clone();
        let file = files.iter_mut().find(|file| file.text.contains(from)).unwrap_or_else(|| panic!("{from}"));
        file.text = file.text.replacen(from, to, 1);
        journeys_of(&files).remove(0)
    };
    let before = journeys_of(&files).remove(0);
    for target in [Target::Prometheus, Target::Operator, Target::Vm] {
        let old = compiled(&before, target);
        assert_eq!(compiled(&edited("  expression:", "  # Two providers.\n  expression:"), target), old);
        for (from, to) in [
            ("one control plane for all services", "one control plane"),
            ("k8s/zone, kind: inferred", "k8s/zone, kind: declared"),
            ("{kind: external_dependency, atomicSLORef: openslo:paya", "{atomicSLORef: openslo:paya"),
        ] {
            let new = compiled(&edited(from, to), target);
            let all = changed(&["-U3"], &old, &new);
            assert_eq!(all.len(), old.len(), "every file names the digest: {all:?}");
            assert!(all.values().all(|hunks| *hunks == 1), "{from}: {all:?}");
            assert_eq!(changed(&["-U3", "-I", emit::MARK], &old, &new), BTreeMap::new(), "{from}");
        }
    }
}

/// An SLO of OpenSLO.
fn slo(name: &str, target: &str) -> String {
    format!(
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: {name}}}\nspec:\n  service: s\n  \
         indicator: {{metadata: {{name: i}}, spec: {{ratioMetric: {{counter: true, good: {{metricSource: {{spec: {{query: 'a[{{{{.window}}}}]'}}}}}}, \
         total: {{metricSource: {{spec: {{query: 'b[{{{{.window}}}}]'}}}}}}}}}}}}\n  \
         budgetingMethod: Occurrences\n  timeWindow: [{{duration: 30d, isRolling: true}}]\n  \
         objectives: [{{target: {target}}}]\n"
    )
}

/// Sixty components below operators of each kind, each with a contract of its own.
fn large_spec() -> String {
    let leaf = |i: usize| format!("c{i}");
    let mut parts: Vec<String> = (0..60).map(leaf).collect();
    for (index, (operator, size)) in [
        ("Parallel(", 4),
        ("Race(", 2),
        ("KofN(2; ", 3),
        ("Cond(0.2, 0.3; ", 3),
        ("Fallback(", 2),
        ("Series(", 5),
        ("Timeout(2s; ", 2),
        ("Retry(3; ", 1),
        ("Parallel(", 3),
    ]
    .into_iter()
    .enumerate()
    {
        let taken: Vec<String> = parts.splice(index..index + size, [String::new()]).collect();
        parts[index] = format!("{operator}{})", taken.join(", "));
    }
    let mut spec = format!(
        "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: large}}\nspec:\n  objectives:\n    \
         availability: {{window: 30d, target: 0.99}}\n    \
         latency: {{window: 30d, objective: {{metric: p99, threshold: 2s}}}}\n  expression: Series({})\n  components:\n",
        parts.join(", ")
    );
    let mut contracts = String::new();
    for i in 0..60 {
        let _ = writeln!(
            spec,
            "    c{i}: {{atomicSLORef: slo-{i}, histogram: h, matchers: {{service: c{i}}}, failureDomains: [d{}]}}",
            i / 7
        );
        contracts += &format!("---\n{}", slo(&format!("slo-{i}"), &format!("0.999{i:02}")));
    }
    spec + &contracts
}

#[test]
fn a_change_of_one_line_of_a_large_journey_is_one_hunk_too() {
    assert_one_hunk(
        &large_spec(),
        &[
            ("target: 0.99}", "target: 0.995}", None),
            ("threshold: 2s", "threshold: 3s", GATE),
            ("service: c0}", "service: edge}", None),
            ("service: c31}", "service: edge}", None),
            ("service: c59}", "service: edge}", None),
            ("target: 0.99900", "target: 0.9991", None),
            ("target: 0.99931", "target: 0.99932", None),
            ("target: 0.99959", "target: 0.9996", None),
            ("Timeout(2s;", "Timeout(1s;", None),
            ("Cond(0.2, 0.3;", "Cond(0.2, 0.4;", None),
            ("KofN(2;", "KofN(1;", None),
        ],
    );
}

/// What several alerts carry (the severity of a tier, its rate, a runbook) changes where they carry it, and nowhere else: the
/// old file with the new value put in is the new file. Each alert must say it all, since a pager reads one at a time.
#[test]
fn a_value_that_several_alerts_carry_changes_those_lines_alone() {
    let linked = "      runbookURL: https://example.org/run\n      burnRatePolicy:";
    let spec = timeouts_spec().replacen("      burnRatePolicy:", linked, 1);
    for (from, to, old_text, new_text) in [
        ("severity: critical", "severity: urgent", "severity: critical\n", "severity: urgent\n"),
        ("burnRate: 14.4", "burnRate: 12.5", "14.4", "12.5"),
        (
            "runbookURL: https://",
            "runbookURL: https://new.",
            "runbook_url: https://",
            "runbook_url: https://new.",
        ),
    ] {
        assert!(spec.contains(from), "{from}");
        let journeys = [one(&spec), one(&spec.replacen(from, to, 1))];
        let [before, after] = [0, 1].map(|at: usize| compiled(&journeys[at], Target::Prometheus));
        let mut seen = 0;
        for (old, new) in before.iter().zip(&after).filter(|(old, _)| !old.path.contains("/report/")) {
            let expected = old.text.replace(&journeys[0].digest, &journeys[1].digest);
            seen += expected.matches(old_text).count();
            assert_eq!(new.text, expected.replace(old_text, new_text), "{from}: {}", old.path);
        }
        assert!(seen > 1, "{from}");
    }
}

#[test]
fn a_diff_names_what_changed_and_its_effect_on_both_bounds() {
    let folder = tempfile::tempdir().unwrap();
    for (name, from, to) in
        [("old", "", ""), ("new", "Race(paya, payb)", "Race(paya, payb, paya)"), ("slo", "", "")]
    {
        let to_folder = folder.path().join(name);
        for file in spec_files(&root().join("examples/specs/checkout")) {
            let path = to_folder.join(Path::new(&file.path).file_name().unwrap());
            std::fs::create_dir_all(&to_folder).unwrap();
            let mut text = if from.is_empty() { file.text } else { file.text.replace(from, to) };
            if name == "slo" {
                text = text.replacen("target: 0.995}]", "target: 0.998}]", 1);
            }
            std::fs::write(path, text).unwrap();
        }
    }
    let same = emac(&["diff", "old", "old", "--exit-code"], folder.path());
    assert_eq!((same.status.code(), stdout(&same).as_str()), (Some(0), "no difference\n"));
    let changed = emac(&["diff", "old", "slo", "--exit-code"], folder.path());
    assert_eq!(changed.status.code(), Some(1), "{changed:?}");
    let said = stdout(&changed);
    // 0.9995 · 0.999² · 0.998 and with 1 − 0.002 · 0.005.
    for part in [
        "components.paya.contract: 0.995 → 0.998",
        "availability, pessimistic",
        "0.99251449",
        "→ 0.99550700",
        "→ 0.99749202",
        "→ review",
        "because the latency objective lacks evidence",
        "file checkout/report/derivation.yaml",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!said.contains("file checkout/prometheus"), "the rules do not depend on a contract:\n{said}");
    let json = emac(&["diff", "old", "new", "--format", "json"], folder.path());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["journeys"][0]["journey"], "checkout");
    assert!(json["journeys"][0]["changes"][0]["path"].as_str().unwrap().starts_with("operator"), "{json}");
}

/// A change that moves no bound is a difference too, where it changes what runs.
#[test]
fn a_diff_names_a_query_that_changed_and_the_file_that_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let spec = timeouts_spec();
    std::fs::write(folder.path().join("old.yaml"), &spec).unwrap();
    std::fs::write(folder.path().join("new.yaml"), spec.replacen("outcome=\"ok\"", "outcome=\"paid\"", 1))
        .unwrap();
    let said = emac(&["diff", "old.yaml", "new.yaml", "--exit-code"], folder.path());
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let said = stdout(&said);
    for part in [
        "objectives.availability.sli.goodEventQuery: sum(rate(checkout_total{outcome=\"ok\"}",
        "file checkout-with-timeouts/prometheus/recording-rules.yaml",
        "availability, pessimistic",
        "unchanged",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

/// Those among so many random specs, each with its seed.
fn random_journeys_without_timeouts(seeds: u64) -> impl Iterator<Item = (u64, Journey)> {
    let specs = (0..seeds).map(|seed| (seed, random_spec(seed)));
    specs.filter(|(_, spec)| !spec.contains("Timeout")).map(|(seed, spec)| (seed, one(&spec)))
}

/// The allocated availabilities, put in as contracts, compose to the objective.
#[test]
fn an_allocation_meets_the_objective_when_it_is_composed_again() {
    let mut seen = 0;
    for (seed, mut journey) in random_journeys_without_timeouts(300) {
        let Some(objective) = journey.objectives.availability.clone() else { continue };
        let mut rng = SmallRng::seed_from_u64(seed);
        for component in &mut journey.components {
            component.contract =
                emac::unit::Probability::new(1.0 - 10_f64.powf(rng.random_range(-6.0..-1.0))).ok();
        }
        let evidence = Evidence::of_contracts(&journey);
        let composition = Composer::new().compose(&journey, &evidence, &[]);
        let allocation = composition.allocation.unwrap();
        let again = Evidence {
            components: allocation
                .components
                .iter()
                .map(|p| ComponentEvidence::measured(Measurement::Figure(p.unwrap())))
                .collect(),
            ..evidence.clone()
        };
        let recomposed = Composer::new().compose(&journey, &again, &[]).availability.pessimistic.get();
        assert!(
            (recomposed - objective.target.get()).abs() < 1e-9,
            "{seed}: {recomposed} for {objective:?}\n{}",
            random_spec(seed)
        );
        assert!((allocation.recomposed.get() - recomposed).abs() < 1e-12);
        // Equal burn: all lose the same multiple of what they lose now, but for those that lose next to nothing.
        let multiples: Vec<f64> = allocation
            .components
            .iter()
            .zip(&journey.components)
            .map(|(p, c)| (1.0 - p.unwrap().get()) / (1.0 - c.contract.unwrap().get()))
            .collect();
        for multiple in multiples {
            let capped = multiple < allocation.scale;
            assert!(
                multiple > allocation.scale * (1.0 - 1e-6) || capped,
                "{seed}: {multiple} {allocation:?}"
            );
        }
        seen += 1;
    }
    assert!(seen > 150, "{seen}");
}

/// Components made slower by the allocation's scale bring the pessimistic quantile to the objective, and the parts that
/// they are granted sum to it.
#[test]
fn an_allocated_latency_meets_the_objective_when_it_is_composed_again() {
    use emac::distribution::histogram::ClassicHistogram;
    use emac::journey::evidence::Counts;
    let text = "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {name: a}\nspec:\n  objectives:\n    \
                availability: {window: 30d, target: 0.99}\n    \
                latency: {window: 30d, objective: {metric: p99, threshold: 700ms}}\n  \
                expression: Series(a, Parallel(b, c), d)\n  components:\n    \
                a: {histogram: h}\n    b: {histogram: h, failureDomains: [z]}\n    c: {histogram: h, failureDomains: [z]}\n    d: {histogram: h}\n";
    let journey = one(text);
    let evidence = |scale: f64| {
        let component = |median: f64| {
            let edges: Vec<f64> = (1..=60).map(|k| f64::from(k) * 0.02 * scale).collect();
            let counts = edges.iter().map(|t| 1e6 * -f64::exp_m1(-t / scale / median)).chain([1e6]).collect();
            let histogram = ClassicHistogram::new(edges, counts).unwrap();
            let counts = Counts::new(1.002e6, 1e6, Some(histogram), None).unwrap();
            ComponentEvidence::measured(Measurement::Counts(counts))
        };
        Evidence {
            window: "5m".parse().unwrap(),
            time: None,
            components: [0.02, 0.05, 0.03, 0.04].map(component).to_vec(),
            parameters: Vec::new(),
        }
    };
    let derivation = explain(&mut Composer::new(), &journey, &evidence(1.0), None);
    let allocation = derivation.allocation.unwrap();
    let scale = allocation.latency_scale.unwrap();
    assert!(scale > 0.5 && scale < 20.0, "{scale}");
    let again = explain(&mut Composer::new(), &journey, &evidence(scale), None);
    let recomposed = again.latency["0.99"].pessimistic.get();
    // What the transform rounds (1e-9 of mass) moves a quantile in a thin tail by more.
    assert!((recomposed - 0.7).abs() < 1e-6, "{recomposed}");
    let parts: f64 = allocation.components.iter().map(|component| component.latency.unwrap().get()).sum();
    assert!((parts - 0.7).abs() < 1e-9, "{parts}");
    // A timer does not scale with the calls below it.
    let timed = one(&text.replace("Parallel(b, c)", "Timeout(300ms; Parallel(b, c))"));
    let timed = explain(&mut Composer::new(), &timed, &evidence(1.0), None).allocation.unwrap();
    assert_eq!(timed.latency_scale, None);
    // Under a deadline the availabilities still meet the objective, with what comes late lost as now.
    assert!((timed.recomposed.get() - 0.99).abs() < 1e-9, "{timed:?}");
}

/// Where no time enters, `explain` does not compose once more for the levels that it shows beside the published ones: they
/// are what they would be.
#[test]
fn levels_of_a_journey_without_times_are_those_of_a_composition_that_has_them() {
    use emac::derive::Derivation;
    use emac::derive::derivation::explained_quantiles;
    use emac::journey::evidence::Reason;
    use emac::unit::Probability;
    let mut seen = 0;
    for (seed, journey) in random_journeys_without_timeouts(80) {
        seen += 1;
        let mut evidence = Evidence::of_contracts(&journey);
        for (at, component) in evidence.components.iter_mut().enumerate() {
            *component = if (usize::try_from(seed).unwrap() + at).is_multiple_of(4) {
                ComponentEvidence::vacuous(Reason::Absent)
            } else {
                ComponentEvidence::measured(Measurement::Figure(Probability::new(0.99).unwrap()))
            };
        }
        let explained = explain(&mut Composer::new(), &journey, &evidence, None);
        let composed = Composer::new().compose(&journey, &evidence, &explained_quantiles());
        assert_eq!(explained, Derivation::new(&journey, &evidence, &composed, None), "{seed}");
    }
    assert!(seen > 30, "{seen}");
}

/// `rules/` shows what compiles from `examples/specs`; `EMAC_REGENERATE=1` writes it anew.
#[test]
fn the_shipped_rules_are_those_of_the_shipped_examples() {
    let mut args = vec!["compile", "examples/specs", "--out", "rules"];
    if std::env::var_os("EMAC_REGENERATE").is_none() {
        args.push("--check");
    }
    let output = emac(&args, root());
    assert!(output.status.success(), "EMAC_REGENERATE=1 writes them anew: {}", stdout(&output));
}
