//! `emac query`, run as its users run it, against a proxy in this process.

use std::process::Command;
use std::sync::Arc;

use emac::series::Labels;
use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::embedded::{EmbeddedStore, EmbeddedUpstream, StoreLimits};

use crate::promql_api::{NOW, SPEC};
use crate::served::{Options, Served, journeys};

/// An upstream that holds `x{job=\"a\"}`: 1, 2, 3 … each 15 s over ten minutes.
fn served() -> Served {
    let upstream = || -> Arc<dyn Upstream> {
        let limits = StoreLimits { retention: "1h".parse().unwrap(), samples_per_series: 100, series: 10 };
        let store = Arc::new(EmbeddedStore::new(limits));
        let target = store.add_target(vec![Labels::named("x").with("job", "a")]).unwrap();
        for point in 0..40_i32 {
            let at = Timestamp::from_millis((NOW - 15 * i64::from(39 - point)) * 1_000);
            store.append(target, at, &[f64::from(point + 1)]).unwrap();
        }
        Arc::new(EmbeddedUpstream::new("embedded", store, Arc::new(|| Timestamp::from_millis(NOW * 1_000))))
    };
    let served =
        Served::start(upstream, journeys(SPEC), Timestamp::from_millis(NOW * 1_000), Options::default());
    served.evaluate_at(Timestamp::from_millis((NOW + 5) * 1_000));
    served
}

/// Exit code, standard output and standard error of `emac query` with these arguments.
fn query(served: &Served, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_emac"))
        .args(["query", "--server", &served.url])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_instant_is_shown_as_a_table_and_a_range_as_a_plot() {
    let served = served();
    let at = NOW.to_string();
    let mixed = "x * on() group_left() emac_journey_objective_availability";
    assert_eq!(query(&served, &["--time", &at, mixed]), (0, "{job=\"a\"}  30\n".to_owned(), String::new()));
    assert_eq!(query(&served, &["--time", &at, "1 + 1"]).1, "2\n");
    assert_eq!(query(&served, &["--time", &at, "none"]).1, "no series\n");

    let start = (NOW - 300).to_string();
    let range = ["--start", &start, "--end", &at, "--step", "1m"];
    let (code, plot, _) = query(&served, &[&range[..], &["x"]].concat());
    assert_eq!(code, 0);
    assert!(plot.contains("a  x{job=\"a\"}  last 40.00, least 20.00, greatest 40.00"), "{plot}");
    assert_eq!(plot.lines().filter(|line| line.contains('│') && line.contains('a')).count(), 6, "{plot}");

    let (_, table, _) = query(&served, &[&range[..], &["--format", "table", "x"]].concat());
    assert!(table.starts_with("x{job=\"a\"}\n  2023-11-14 22:08:30 UTC  20\n"), "{table}");
    let (_, json, _) = query(&served, &[&range[..], &["--format", "json", "x"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["data"]["result"][0]["values"].as_array().unwrap().len(), 6);
}

#[test]
fn a_plan_is_shown_instead_of_the_answer() {
    let served = served();
    let (code, plan, _) = query(&served, &["--explain", "--time", "0", "sum(x) * on() emac_journey_gate"]);
    assert_eq!(code, 0);
    assert!(
        plan.contains("  $0      sum(x)\n") && plan.contains("here      $0 * on () emac_journey_gate\n"),
        "{plan}"
    );
}

#[test]
fn faults_go_to_standard_error_with_their_exit_code() {
    let served = served();
    let (code, out, error) = query(&served, &["emac_journey_gate{"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.starts_with("bad_data: ") && error.contains("1:18"), "{error}");
    let (code, _, error) = query(&served, &["--time", "yesterday", "x"]);
    assert!(code == 2 && error.contains("RFC 3339"), "{error}");
    let (code, _, error) = query(&served, &["--format", "plot", "x"]);
    assert!(code == 2 && error.contains("--start"), "{error}");
    let (code, _, error) = query(&served, &["--start", "5", "--end", "4", "x"]);
    assert!(code == 2 && error.contains("--start is after --end"), "{error}");
    let nobody = Command::new(env!("CARGO_BIN_EXE_emac"))
        .args(["query", "--server", "http://127.0.0.1:1", "x"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("is emac running?"));
}
