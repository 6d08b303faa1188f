//! Specs, evidence files, OpenSLO documents and configurations: all that is read as YAML.

#[path = "../../fuzz/src/specs.rs"]
mod target;

use super::{Length, run};

const WORDS: [&str; 30] = [
    "&a",
    "*a",
    "<<: *a",
    "!!binary",
    "? ",
    "- ",
    ": ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "{{window}}",
    "Series(",
    "KofN(2, ",
    "Race(",
    "Retry(3, ",
    "Timeout(350ms, ",
    "Cond(0.5: ",
    "expression: ",
    "components:",
    "windows: [1ms, 1000y]",
    "quantiles: [0, 1]",
    "latencyBuckets: [-1, 0, .inf]",
    "=~\"(a+)+$\"",
    "(x{100}){100}",
    "\u{0}",
    "\u{feff}",
    "é",
    "0x7fffffffffffffff",
    "1e999999",
];

#[test]
fn a_mutated_spec_is_read_or_refused() {
    run("specs", Length::Short, &target::seeds(), &WORDS, target::read);
}

#[test]
#[ignore = "long: a minute, or EMAC_FUZZ_SECONDS"]
fn many_mutated_specs_are_read_or_refused() {
    run("specs", Length::Long, &target::seeds(), &WORDS, target::read);
}
