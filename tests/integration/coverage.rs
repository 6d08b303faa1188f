//! A small part of the study of coverage (`examples/coverage.rs`), with seeds that make it the same every time.

use crate::coverage_study::{Cell, Subject, facts, run, subjects};

fn subject(name: &str) -> Subject {
    subjects().into_iter().find(|subject| subject.name.starts_with(name)).unwrap()
}

/// At least 95 %, within two standard errors of the binomial law.
fn hold(name: &str, what: &str, covered: usize, trials: usize) {
    eprintln!("{name}: the {what} holds in {covered} of {trials} trials");
    let share = covered as f64 / trials as f64;
    let least = 0.95 - 2.0 * (0.95 * 0.05 / trials as f64).sqrt();
    assert!(share >= least, "{name}: the {what} holds in {covered} of {trials} trials");
}

fn cells(name: &str, n: u64, trials: [usize; 2]) -> [Cell; 2] {
    let subject = subject(name);
    let facts = facts(&subject, 100_000, 400_000, 3);
    run(&subject, facts, n, trials, 5)
}

#[test]
fn availability_bounds_hold_at_their_level_under_redundancy_and_deadlines() {
    for (name, n, trials) in [
        ("Race(2)", 10_000, 200),
        ("2-of-3", 300, 100),
        ("Timeout", 1_000, 100),
        ("Retry(3, 500ms)", 1_000, 400),
        ("Series of 5", 1_000, 100),
    ] {
        for cell in cells(name, n, [0, trials]) {
            hold(name, "bound of availability", cell.availability_covered, cell.availability_trials);
        }
    }
}

#[test]
fn bounds_of_the_p99_hold_at_their_level() {
    // The law of tries that end on an edge jumps near the quantile.
    for (name, n) in [("Series of 5", 300), ("Race(2)", 1_000), ("Timeout", 10_000), ("Retry(3, 500ms)", 300)]
    {
        let [bound, _] = cells(name, n, [60, 0]);
        hold(name, "bound of the p99", bound.latency_covered, bound.trials);
        // Not by saying nothing: the buckets alone are up to 2.5 times apart.
        let width = bound.summary()[2];
        assert!((1.0..6.0).contains(&width), "{name}: the median bound is {width} times the p99");
    }
}
