//! What calls that come in bursts prove: less than as many independent ones.

use std::process::Command;

use emac::algebra::composition::Composition;
use emac::distribution::confidence::DesignEffect;
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::evidence::{Counts, DesignEffects, Measurement};
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::operator::Operator;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Beta, Binomial, Distribution as _};

use crate::journey_builder::{Case, leaves, quantile};
use crate::prometheus::{Prometheus, Setup, hour_of_counts};

const SUB_WINDOWS: usize = 12;
/// The correlation of two calls of one sub-window.
const CORRELATION: f64 = 0.03;
const TRIALS: usize = 400;

/// An hour of calls by sub-window: of so many calls so many that did what happens with the probability `p` on average.
fn hour(rng: &mut SmallRng, p: f64) -> Vec<(f64, f64)> {
    let odds = 1.0 / CORRELATION - 1.0;
    let share = Beta::new(p * odds, (1.0 - p) * odds).unwrap();
    (0..SUB_WINDOWS)
        .map(|_| {
            let calls: u64 = rng.random_range(150..=250);
            let share = share.sample(rng);
            (Binomial::new(calls, share).unwrap().sample(rng) as f64, calls as f64)
        })
        .collect()
}

fn sums(hour: &[(f64, f64)]) -> (f64, f64) {
    hour.iter().fold((0.0, 0.0), |(x, n), &(more, calls)| (x + more, n + calls))
}

/// How often a bound holds where the design effect is known, and where the calls are taken as independent.
fn held(seed: u64, holds: impl Fn(&mut SmallRng, bool) -> bool) -> [usize; 2] {
    [true, false].map(|known| {
        let mut rng = SmallRng::seed_from_u64(seed);
        (0..TRIALS).filter(|_| holds(&mut rng, known)).count()
    })
}

fn compose(measurements: Vec<Measurement>) -> Composition {
    let case = Case::new(Operator::Series(leaves(measurements.len())))
        .policy(Dependence::Independent, BucketError::Bound);
    measurements.into_iter().fold(case, |case, measurement| case.component(measurement, &[])).compose()
}

/// A design effect from a dozen sub-windows is itself uncertain, and errors that come in bursts are skewed: of 95 % remain
/// 92 % at least, not the three quarters of calls taken as independent.
fn judge(what: &str, [known, unknown]: [usize; 2]) {
    eprintln!("{what}: holds in {known} of {TRIALS}, {unknown} where bursts are not known");
    assert!(known >= TRIALS * 92 / 100, "{what}: {known} of {TRIALS}");
    assert!(unknown <= TRIALS * 85 / 100, "{what}: {unknown} of {TRIALS} without, which shows nothing");
}

#[test]
fn availability_bounds_hold_where_errors_come_in_bursts() {
    const FAILING: f64 = 0.02;
    let holds = |rng: &mut SmallRng, known: bool| {
        let component = |rng: &mut SmallRng| {
            let hour = hour(rng, FAILING);
            let (failures, calls) = sums(&hour);
            let mut counts = Counts::new(calls, calls - failures, None, None).unwrap();
            if known {
                let failures = DesignEffect::of_sub_windows(hour);
                assert!(failures.is_some());
                counts.set_design_effects(DesignEffects { failures, latency: None });
            }
            Measurement::Counts(counts)
        };
        let composed = compose(vec![component(rng), component(rng)]);
        composed.availability.pessimistic.get() <= (1.0 - FAILING).powi(2)
    };
    judge("the bound of availability", held(1, holds));
}

#[test]
fn quantile_bounds_hold_where_slow_calls_come_in_bursts() {
    // Times are 0.1 s or 1 s, both on an edge, and the p97 is 1 s by little.
    const SLOW: f64 = 0.0303;
    let holds = |rng: &mut SmallRng, known: bool| {
        let hour = hour(rng, SLOW);
        let (slow, calls) = sums(&hour);
        let histogram = ClassicHistogram::new(vec![0.1, 1.0], vec![calls - slow, calls, calls]).unwrap();
        let mut counts = Counts::new(calls, calls, Some(histogram), None).unwrap();
        if known {
            let latency = DesignEffect::of_sub_windows(hour);
            counts.set_design_effects(DesignEffects { failures: None, latency });
        }
        let mut case = Case::new(Operator::Series(leaves(1)))
            .policy(Dependence::Independent, BucketError::Bound)
            .component(Measurement::Counts(counts), &[]);
        case.journey.quantiles = vec![quantile(0.97)];
        case.compose().latency_at(quantile(0.97)).unwrap().value.pessimistic.get() >= 1.0 - 1e-9
    };
    judge("the bound of the p97", held(2, holds));
}

const SPEC: &str = r#"
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: NAME}
spec:
  windows: [5m, 1h]
  components:
    pay: {telemetry: {histogram: m, matchers: {service: NAME}, success: {code: "200"}}}
  expression: pay
"#;

/// Two services with 100 calls every 15 s, of which 240 fail in an hour: one every 15 s, or fifteen in each of
/// 16 samples in the middle of one twelfth of the hour.
#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn errors_of_a_real_prometheus_that_came_at_once_prove_less_than_those_that_came_evenly() {
    let end = 1_700_000_100_i64 / 300 * 300;
    let steady = |i: u8| f64::from(i);
    let burst = |i: u8| 15.0 * f64::from(i.saturating_sub(102).min(16));
    let history = hour_of_counts(
        end,
        &[
            ("service=\"steady\",code=\"200\"", &|i| 100.0 * f64::from(i) - steady(i)),
            ("service=\"steady\",code=\"500\"", &steady),
            ("service=\"burst\",code=\"200\"", &|i| 100.0 * f64::from(i) - burst(i)),
            ("service=\"burst\",code=\"500\"", &burst),
        ],
    );
    let prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
    let folder = tempfile::tempdir().unwrap();
    let documents = ["steady", "burst"].map(|name| SPEC.replace("NAME", name));
    std::fs::write(folder.path().join("spec.yaml"), documents.join("---")).unwrap();
    let explain = |journey: &str, window: &str| -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_emac"))
            .args(["explain", journey, "--spec", "spec.yaml", "--upstream.url", prometheus.url()])
            .args(["--window", window, "--time", &end.to_string(), "--format", "json"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value}"));
    let worth = |explained: &serde_json::Value, what: &str| {
        number(&explained["components"][0]["evidence"]["independent_calls"][what])
    };
    let side = |explained: &serde_json::Value, side: &str| number(&explained["availability"][side]);
    let error = |explained: &serde_json::Value| side(explained, "estimate") - side(explained, "pessimistic");

    let [steady, burst] = ["steady", "burst"].map(|journey| explain(journey, "1h"));
    for explained in [&steady, &burst] {
        assert!((side(explained, "estimate") - 0.99).abs() < 2e-4, "{}", explained["availability"]);
    }
    assert!(worth(&steady, "failures") > 23_000.0, "{}", steady["components"][0]["evidence"]);
    // Twelve sub-windows of 2,000 calls: two differences of 240, where 13 of independent calls are 4,000·.01·.99 each (the
    // first and the last count twice); the limit is 1.62 times that.
    let effect = 1.62 * 2.0 * 240f64.powi(2) / (13.0 * 4_000.0 * 0.01 * 0.99);
    let expected = 24_000.0 / effect;
    let found = worth(&burst, "failures");
    assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}");
    // Clopper and Pearson's limit of 0.66 failures in 66 calls is .0616; that of 240 in 24,000 is .0112.
    assert!((error(&burst) / 0.0516 - 1.0).abs() < 0.03, "{}", error(&burst));
    assert!((error(&steady) / 0.0011 - 1.0).abs() < 0.1, "{}", error(&steady));
    // The optimistic side takes nothing off: an outage in one piece is no less of one.
    assert!((side(&burst, "optimistic") - side(&steady, "optimistic")).abs() < 1e-4);
}
