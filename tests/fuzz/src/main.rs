//! Coverage-guided fuzzing of everything that reads what others send. `tests/fuzz/run` builds and starts it; which parser is
//! tried, `EMAC_FUZZ_TARGET` says. `EMAC_FUZZ_SEEDS` is a folder for inputs to begin with.

#![no_main]

mod answers;
mod heads;
mod openslo;
mod promql;
mod quantities;
mod remote_reads;
mod specs;

use std::sync::OnceLock;

/// What an input is read by, and says whether it was valid. It panics where it finds a fault.
type Target = (&'static str, fn() -> Vec<Vec<u8>>, fn(&[u8]) -> bool);

const TARGETS: [Target; 7] = [
    ("specs", specs::seeds, specs::read),
    ("openslo", openslo::seeds, openslo::read),
    ("promql", promql::seeds, promql::read),
    ("remote_reads", remote_reads::seeds, remote_reads::read),
    ("answers", answers::seeds, answers::read),
    ("quantities", quantities::seeds, quantities::read),
    ("heads", heads::seeds, heads::read),
];

fn target() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("EMAC_FUZZ_TARGET").unwrap_or_default();
        let names = TARGETS.map(|target| target.0).join(", ");
        TARGETS
            .iter()
            .find(|target| target.0 == name)
            .unwrap_or_else(|| panic!("EMAC_FUZZ_TARGET is one of {names}"))
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        let (_, seeds, _) = target();
        if let Ok(folder) = std::env::var("EMAC_FUZZ_SEEDS") {
            for (number, seed) in seeds().iter().enumerate() {
                std::fs::write(format!("{folder}/seed-{number}"), seed).unwrap();
            }
        }
    },
    |bytes: &[u8]| {
        let (_, _, read) = target();
        read(bytes);
    }
);
