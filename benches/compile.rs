//! What `emac compile` costs: 1,000 journeys × 50 components, every file written anew.
//!
//! `cargo bench --bench compile [RUNS]` runs the program as its user does, and prints the processor time (user and
//! system) of the best of some runs and the most memory that it held: for components with telemetry alone, where every
//! bound is vacuous, and for components with contracts, where every journey is composed.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const JOURNEYS: usize = 1_000;
const COMPONENTS: usize = 50;
/// Of the kernel's accounting.
const TICKS_A_SECOND: f64 = 100.0;

/// One file a journey; with `contracts` also the SLOs that its components refer to.
fn write_specs(folder: &Path, contracts: bool) {
    std::fs::create_dir(folder).unwrap();
    let names: Vec<String> = (0..COMPONENTS).map(|component| format!("c{component}")).collect();
    for journey in 0..JOURNEYS {
        let mut text = format!(
            "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: journey{journey}}}\nspec:\n  \
             objectives:\n    availability: {{window: 30d, target: 0.99}}\n    \
             latency: {{window: 30d, objective: {{metric: p99, threshold: 2s}}}}\n  \
             expression: Series({})\n  components:\n",
            names.join(", ")
        );
        for name in &names {
            let slo = if contracts { format!("atomicSLORef: slo-{name}, ") } else { String::new() };
            let _ = writeln!(
                text,
                "    {name}: {{{slo}telemetry: {{histogram: m, matchers: {{service: s{journey}{name}}}, \
                 success: {{code: '!~\"5..\"'}}}}}}"
            );
        }
        std::fs::write(folder.join(format!("journey{journey}.yaml")), text).unwrap();
    }
    if contracts {
        let slo = |name: &String| {
            format!(
                "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: slo-{name}}}\nspec:\n  service: {name}\n  \
                 indicatorRef: slo-{name}\n  budgetingMethod: Occurrences\n  \
                 timeWindow: [{{duration: 30d, isRolling: true}}]\n  objectives: [{{target: 0.9999}}]\n"
            )
        };
        let all: Vec<String> = names.iter().map(slo).collect();
        std::fs::write(folder.join("slos.yaml"), all.join("---\n")).unwrap();
    }
}

/// Processor seconds, user and system, and the most memory in MiB of one compilation.
fn measure(specs: &Path, out: &Path) -> (f64, f64, f64) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_emac"))
        .args(["compile", specs.to_str().unwrap(), "--out", out.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
    let mut peak = 0.0_f64;
    // Once it has ended and nobody has asked how, the kernel still tells what it used.
    let ended = loop {
        let status = read("status");
        let held = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let held = held.and_then(|held| held.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(held.unwrap_or(0.0) / 1024.0);
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields.first() == Some(&"Z") {
            break [fields[11], fields[12]].map(|ticks| ticks.parse::<f64>().unwrap() / TICKS_A_SECOND);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    assert!(child.wait().unwrap().success());
    (ended[0], ended[1], peak)
}

fn main() {
    let runs: usize = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().unwrap();
    for (name, contracts) in [("telemetry alone", false), ("contracts", true)] {
        let specs = folder.path().join(name);
        write_specs(&specs, contracts);
        let run = |index: usize| measure(&specs, &folder.path().join(format!("{name} {index}")));
        let all: Vec<_> = (0..runs).map(run).collect();
        let best = all.iter().copied().reduce(|a, b| if b.0 + b.1 < a.0 + a.1 { b } else { a }).unwrap();
        let memory = all.iter().map(|run| run.2).fold(0.0, f64::max);
        println!(
            "{JOURNEYS} journeys × {COMPONENTS}, {name}: {:.2} s of processor ({:.2} user, {:.2} system), {memory:.0} MiB",
            best.0 + best.1,
            best.0,
            best.1
        );
    }
}
