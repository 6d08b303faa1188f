//! Bytes that nobody meant, at everything that reads what others send: specs, remote reads, requests. Whatever they are,
//! they are read or refused, within a bound of processor time, and without a panic.
//!
//! A corpus that is valid is mutated: bits, bytes, blocks, words, numbers, repetitions, splices. What comes out is
//! determined by a seed, so that a finding is found again. A short run belongs to every test run; the long ones are
//! `EMAC_FUZZ_SECONDS=300 cargo test --release --test integration fuzz:: -- --ignored --nocapture`, with
//! `EMAC_FUZZ_SEED` for other inputs. No tool beyond the compiler is needed: coverage is given up for that.

#![expect(clippy::print_stdout, reason = "how many inputs were tried is what the long runs are for")]

mod http_requests;
mod mutation;
mod remote_reads;
mod specs;
mod upstream_answers;

use std::time::{Duration, Instant};

use crate::promql_scripts::generate::number_of;
use mutation::Mutator;

/// The most processor time for one input.
const MOST: Duration = Duration::from_secs(2);

/// How often an input may take longer: the other tests of this process are counted too.
const TRIES: usize = 5;

/// How many inputs a short run tries.
const FEW: u64 = 1_500;

/// How long a run is.
#[derive(Clone, Copy)]
enum Length {
    Short,
    Long,
}

/// Tries inputs that `target` says something about: whether they were valid. Panics where one took too long.
fn run(
    what: &str,
    length: Length,
    corpus: &[Vec<u8>],
    words: &[&str],
    mut target: impl FnMut(&[u8]) -> bool,
) {
    let seed = number_of("EMAC_FUZZ_SEED", 1);
    let budget = Duration::from_secs(number_of("EMAC_FUZZ_SECONDS", 60));
    let mut mutator = Mutator::new(seed, corpus, words);
    let begun = Instant::now();
    let (mut tried, mut valid, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    loop {
        let ended = match length {
            Length::Short => tried >= FEW,
            Length::Long => begun.elapsed() >= budget,
        };
        if ended {
            break;
        }
        let input = mutator.next();
        let named = Named { what, seed, number: tried, input: &input };
        let mut took = Duration::MAX;
        let mut is_valid = false;
        for _ in 0..TRIES {
            let before = processor_time();
            is_valid = target(&input);
            took = took.min(processor_time().saturating_sub(before));
            if took <= MOST {
                break;
            }
        }
        valid += u64::from(is_valid);
        std::mem::forget(named);
        tried += 1;
        slowest = slowest.max(took);
        assert!(took <= MOST, "{what}: seed {seed}, input {tried} took {took:?}: {}", shown(&input));
    }
    println!(
        "{what}, seed {seed}: {tried} inputs, {valid} of them valid, at most {slowest:?} of processor time"
    );
    // A mutator that breaks everything at once would test the first check alone.
    assert!(valid * 50 >= tried, "{what}: only {valid} of {tried} inputs were valid");
}

/// Says which input it was when a target panics.
struct Named<'a> {
    what: &'a str,
    seed: u64,
    number: u64,
    input: &'a [u8],
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        println!("{}: seed {}, input {}: {}", self.what, self.seed, self.number, shown(self.input));
    }
}

fn shown(input: &[u8]) -> String {
    let begin = &input[..input.len().min(4_000)];
    format!("{} bytes: {}", input.len(), begin.escape_ascii())
}

/// What all threads of this process have used: the work of a server is not done in the thread that asks.
fn processor_time() -> Duration {
    let used = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let times = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    Duration::from_nanos(tasks.filter_map(used).sum())
}
