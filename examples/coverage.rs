//! How often the one-sided 95 % bounds hold, and how wide they are: a table in Markdown.
//!
//! `cargo run --release --example coverage [trials [file [threads [name]]]]`: so many trials a cell (200), and at least
//! 1,000 for availability, which is cheap. Finished cells are kept in the file (`target/coverage.tsv`) and not run again;
//! a name, or a part of one, runs its journeys alone. Truth is simulated without the algebra (`tests/support`). Every cell
//! has seeds of its own, so that a table can be made again in any order.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a study prints its table and fails by panicking"
)]
#![allow(dead_code, clippy::allow_attributes, unreachable_pub, reason = "modules shared with the tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A composite deadline's chance is known this well: ± 1e-4 at two standard errors.
const PLAYS: usize = 20_000_000;
/// For the quantiles of the truth.
const JOURNEYS: usize = 4_000_000;
const SIZES: [u64; 4] = [300, 1_000, 10_000, 100_000];
/// Trials of availability in a cell, at least.
const AVAILABILITY_TRIALS: usize = 1_000;

#[path = "../tests/support/coverage_study.rs"]
mod coverage_study;
#[path = "../tests/integration/journey_builder.rs"]
mod journey_builder;
#[path = "../tests/support/random_tree.rs"]
mod random_tree;
#[path = "../tests/support/simulation.rs"]
mod simulation;

use coverage_study::{Cell, Subject, facts, run, subjects};

type Table = BTreeMap<(String, u64), Vec<f64>>;

fn finished(file: &str) -> Table {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next().unwrap().to_owned();
            let n = fields.next().unwrap().parse().unwrap();
            ((name, n), fields.map(|field| field.parse().unwrap()).collect())
        })
        .collect()
}

fn print(subjects: &[Subject], table: &Table) {
    println!(
        "| journey | n | bound: p99 | width | bound: A | loss | interpolate: p99 | width | interpolate: A | loss |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut below = 0;
    for subject in subjects {
        for n in SIZES {
            let Some(cell) = table.get(&(subject.name.clone(), n)) else { continue };
            let mut share = |trials: f64, covered: f64, held: bool| {
                // Two standard errors of the binomial law below 95 %.
                let low = covered / trials < 0.95 - 2.0 * (0.95 * 0.05 / trials).sqrt();
                below += usize::from(low && held);
                format!("{:.1} %{}", 100.0 * covered / trials, if low { " (!)" } else { "" })
            };
            let mut columns = Vec::new();
            for (cell, held) in cell.chunks(6).zip([true, false]) {
                columns.push(share(cell[0], cell[1], held));
                columns.push(format!("{:.3}", cell[2]));
                columns.push(share(cell[3], cell[4], held));
                columns.push(format!("{:.1e}", cell[5]));
            }
            println!("| {} | {n} | {} |", subject.name, columns.join(" | "));
        }
    }
    println!(
        "\n{} cells; under `bound` {below} of their coverages lie below 95 % by more than two standard errors.",
        table.len()
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let trials: usize = arguments.next().map_or(200, |text| text.parse().unwrap());
    let file = arguments.next().unwrap_or_else(|| "target/coverage.tsv".to_owned());
    let threads: usize = arguments.next().map_or(1, |text| text.parse().unwrap());
    let name = arguments.next().unwrap_or_default();
    let subjects = subjects();
    let done = finished(&file);
    let missing = |subject: &Subject| -> Vec<u64> {
        let open = |n: &u64| done.get(&(subject.name.clone(), *n)).is_none_or(|cell| cell[0] < trials as f64);
        SIZES.into_iter().filter(open).collect()
    };
    let chosen: Vec<usize> = (0..subjects.len()).filter(|&at| subjects[at].name.contains(&name)).collect();
    let (next, log) = (AtomicUsize::new(0), Mutex::new(()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&at) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let subject = &subjects[at];
                    let sizes = missing(subject);
                    if sizes.is_empty() {
                        continue;
                    }
                    let facts = facts(subject, JOURNEYS, PLAYS, 1_000 + at as u64);
                    for n in sizes {
                        let started = std::time::Instant::now();
                        let cells =
                            run(subject, facts, n, [trials, AVAILABILITY_TRIALS], 17 * (at as u64 + 1) + n);
                        let fields: Vec<String> = cells
                            .into_iter()
                            .flat_map(Cell::summary)
                            .map(|field| field.to_string())
                            .collect();
                        let _one_at_a_time = log.lock().unwrap();
                        let mut open =
                            std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
                        writeln!(open, "{}\t{n}\t{}", subject.name, fields.join("\t")).unwrap();
                        eprintln!("{}, n = {n}: {:.1} s", subject.name, started.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    print(&subjects, &finished(&file));
}
