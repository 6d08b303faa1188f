//! `emac check`, `fmt` and `schema` as their users run them, and against a real Prometheus.

use std::path::Path;
use std::process::{Command, Output};

use crate::prometheus::{Exporter, Prometheus, Setup};

fn emac(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emac")).args(args).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn journey(spec: &str) -> String {
    format!("apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: a}}\nspec:\n{spec}")
}

#[test]
fn exit_codes_tell_sound_specs_faults_and_wrong_usage_apart() {
    let good = journey("  expression: a\n");
    let folder = folder(&[
        ("good/a.yaml", good.as_bytes()),
        ("good/other.txt", b"not a spec"),
        ("bad/a.yml", b"kind: JourneyIntent\n"),
        ("none/service.yaml", b"apiVersion: v1\nkind: Service\n"),
        ("binary/a.yaml", b"\xff\xfe"),
        ("large/a.yaml", &vec![b' '; 10 << 20]),
    ]);
    for (args, code, said) in [
        (["check", "good"], 0, "1 valid journey; 0 errors, 1 warning, 0 notes"),
        (["check", "bad"], 1, "error[E102] bad/a.yml:1:1: the field `spec` is missing"),
        (["check", "none"], 1, "error[E011] none: no document of the language was found"),
        (["check", "binary"], 1, "error[E002] binary/a.yaml: byte 1 is not UTF-8"),
        (["check", "large"], 1, "error[E001] large/a.yaml: the file is larger than 1048576 bytes"),
        (["check", "missing"], 2, ""),
        (["check", "--nonsense"], 2, ""),
        (["schema", "--help"], 0, "JSON Schema"),
        (["completions", "zsh"], 0, "#compdef emac"),
    ] {
        let output = emac(&args, folder.path());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(stdout(&output).contains(said), "{args:?}: {}", stdout(&output));
    }
    let schema: serde_json::Value = serde_json::from_slice(&emac(&["schema"], folder.path()).stdout).unwrap();
    assert!(jsonschema::validator_for(&schema).is_ok());
}

#[test]
fn findings_are_also_json_and_sarif() {
    let folder = folder(&[("a.yaml", journey("  expression: Serie(a)\n").as_bytes())]);
    let read = |format: &str| -> serde_json::Value {
        let output = emac(&["check", "a.yaml", "--format", format], folder.path());
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let json = read("json");
    assert_eq!(json["errors"], 1);
    let finding = &json["diagnostics"][0];
    assert_eq!(
        (&finding["code"], &finding["file"], &finding["line"], &finding["column"], &finding["path"]),
        (&"E109".into(), &"a.yaml".into(), &5.into(), &15.into(), &"spec.expression".into())
    );
    assert_eq!(finding["help"], "did you mean `Series`?");
    let sarif = read("sarif");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"E109".into(), &"error".into()));
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 5);
}

#[test]
fn fmt_rewrites_in_place_and_check_only_looks() {
    let untidy = journey("  expression: Series( a,b )   \n");
    let folder = folder(&[("a.yaml", untidy.as_bytes())]);
    let path = folder.path().join("a.yaml");
    assert_eq!(emac(&["fmt", "--check", "."], folder.path()).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), untidy);
    assert_eq!(emac(&["fmt", "."], folder.path()).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), journey("  expression: Series(a, b)\n"));
    assert_eq!(emac(&["fmt", "--check", "."], folder.path()).status.code(), Some(0));
    assert_eq!(emac(&["fmt", "--to", "tree", "."], folder.path()).status.code(), Some(0));
    let tree = journey("  operator:\n    type: series\n    steps:\n      - ref: a\n      - ref: b\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), tree);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn evidence_must_be_of_the_journey_and_names_what_it_lacks() {
    use emac::journey::evidence::{Measurement, Reason};
    use emac::spec::{SourceFile, load, load_evidence};
    let file = |text: String| SourceFile { path: "a.yaml".to_owned(), text };
    let loaded = load(&[file(journey("  expression: Cond(p; a, b)\n  parameters: {p: {value: 0.8}}\n"))]);
    let evidence = |of: &str, components: &str| {
        let text = format!(
            "apiVersion: emac.dev/v1alpha1\nkind: Evidence\nmetadata: {{journey: {of}}}\nspec:\n  window: 5m\n  \
             components: {components}\n"
        );
        load_evidence(&loaded.journeys[0], &file(text))
    };
    let (none, findings) = evidence("b", "{}");
    assert!(none.is_none());
    assert_eq!(findings[0].code, "E209");
    let (some, findings) = evidence(
        "a",
        "{a: {total: 10, good: 9, latency: {unit: milliseconds, buckets: {\"+Inf\": 9, \"500\": 7, \"100\": 2}}}}",
    );
    assert_eq!(findings, []);
    let some = some.unwrap();
    assert_eq!(some.parameters, [Some(0.8)]);
    assert_eq!(some.components[1].reasons, [Reason::Absent]);
    let Measurement::Counts(counts) = &some.components[0].measurement else { panic!("{some:?}") };
    let latency = counts.latency().unwrap();
    assert_eq!((latency.edges(), latency.counts()), (&[0.1, 0.5][..], &[2.0, 7.0, 9.0][..]));
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_upstream_knows_which_telemetry_does_not_exist() {
    let mut page = String::from("# TYPE rq_seconds histogram\n# TYPE short_seconds histogram\n");
    for (le, count) in [("0.1", 50), ("1", 90), ("+Inf", 100)] {
        page.push_str(&format!("rq_seconds_bucket{{service=\"front\",code=\"200\",le=\"{le}\"}} {count}\n"));
        if le != "1" {
            page.push_str(&format!("short_seconds_bucket{{service=\"front\",le=\"{le}\"}} {count}\n"));
        }
    }
    page.push_str("plain_bucket{service=\"front\"} 5\ngauge{service=\"front\"} 5\n");
    let exporter = Exporter::start(&page);
    let prometheus = Prometheus::start(&Setup { targets: &[exporter.target()], ..Setup::default() });
    prometheus.wait_for_series("gauge");
    let telemetry = [
        ("sound", "histogram: rq_seconds, matchers: {service: front}, success: {code: '!~\"5..\"'}"),
        ("typo", "histogram: rq_secnds"),
        ("value", "histogram: rq_seconds, matchers: {service: frontt}"),
        ("label", "histogram: rq_seconds, matchers: {servce: front}"),
        ("status", "histogram: rq_seconds, success: {status: '!~\"5..\"'}"),
        ("gauge", "histogram: gauge"),
        ("plain", "histogram: plain"),
        ("short", "histogram: short_seconds"),
        ("empty", "good: 'sum(increase(g[{{window}}]))', total: 'sum(increase(t[{{window}}]))'"),
    ];
    let names: Vec<_> = telemetry.iter().map(|(name, _)| *name).collect();
    let mut spec = format!(
        "  expression: Series({})\n  objectives: {{latency: {{window: 30d, objective: {{metric: p99, threshold: \
         400ms}}}}}}\n  components:\n",
        names.join(", ")
    );
    for (name, telemetry) in telemetry {
        spec.push_str(&format!("    {name}: {{telemetry: {{{telemetry}}}}}\n"));
    }
    // One that does not run at present, and one of which no series ever told.
    spec.push_str(
        "  variants:\n    canary: {components: [sound], matchers: {service: next}}\n    \
         ghost: {components: [sound], matchers: {rollout: ghost}, podHashLabel: servic}\n",
    );
    let folder = folder(&[("a.yaml", journey(&spec).as_bytes())]);
    let url = prometheus.url().to_owned();
    let args = ["check", "a.yaml", "--format", "json", "--upstream.url", &url];
    let output = emac(&args, folder.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<_> = json["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        // Whether an hour of traffic is there yet is not what this test is about.
        .filter(|finding| !matches!(finding["code"].as_str().unwrap(), "W418" | "W419"))
        .map(|finding| {
            let component = finding["path"].as_str().unwrap().rsplit('.').next().unwrap();
            let help = finding["help"].as_str().unwrap_or_default();
            format!("{component} {} {help}", finding["code"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        found,
        [
            "typo E301 did you mean `rq_seconds`?",
            "value E301 did you mean `service=\"front\"`?",
            "label E302 did you mean `service`?",
            "status E302 its labels are __name__, code, instance, job, le, service",
            "gauge E303 name a histogram with `le` buckets, or write `histogramType: native` for a native one",
            "plain E303 sum it `by (le)`",
            "short W417 add buckets beyond the objective, or check `unit`",
            "empty E301 ",
            "sound N507 `service` is one of front",
            "sound W420 its labels are __name__, code, instance, job, le, service",
            "sound W420 did you mean `service`?",
        ]
    );
    drop(prometheus);
    let gone = emac(&args, folder.path());
    assert_eq!(gone.status.code(), Some(2), "no answer is not the same as no findings");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("upstream http://127.0.0.1"), "{gone:?}");
}
