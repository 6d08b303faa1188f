//! How far the p99 that is estimated from Prometheus' default buckets is from the truth: a table in Markdown.
//!
//! `cargo run --release --example interpolation [members]`; a test holds a small version of it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a study prints its table and fails by panicking"
)]
#![allow(dead_code, clippy::allow_attributes, unreachable_pub, reason = "modules shared with the tests")]

#[path = "../tests/support/interpolation_study.rs"]
mod interpolation_study;
#[path = "../tests/support/simulation.rs"]
mod simulation;

use interpolation_study::{FAMILIES, errors, middle};

fn main() {
    let members: usize = std::env::args().nth(1).map_or(2_000, |text| text.parse().unwrap());
    println!("| family | estimate: median | 90 % | worst | linear: median | 90 % | worst |");
    println!("|---|---|---|---|---|---|---|");
    for family in FAMILIES {
        let errors = errors(family, members, 5);
        let columns = |sorted: &[f64]| {
            let at = |share: f64| 100.0 * sorted[((sorted.len() - 1) as f64 * share) as usize].abs();
            format!("{:.2} % | {:.2} % | {:.1} %", 100.0 * middle(sorted), at(0.9), at(1.0))
        };
        println!("| {family} | {} | {} |", columns(&errors.estimate), columns(&errors.linear));
    }
}
