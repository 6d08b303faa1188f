//! Scripts in Prometheus' test language: our own, those of Prometheus where they are present, and those of every
//! folder in `PROMQLTEST_DIRS` (separated by colons).
//!
//! Our own follow Prometheus' defaults; those of others run with names dropped late, as Prometheus' own runner does.
//! Evaluations that touch a native histogram are counted apart: they are detected by what they select or expect.

#![expect(clippy::print_stdout, reason = "the tally of each script is what the tests are for")]

#[path = "promql_script/compare.rs"]
pub(crate) mod compare;
#[path = "promql_script/fixed_time.rs"]
mod fixed_time;
#[path = "promql_script/generate.rs"]
pub(crate) mod generate;
#[path = "promql_script/notation.rs"]
mod notation;
#[path = "promql_script/planned.rs"]
pub(crate) mod planned;
#[path = "promql_script/run.rs"]
mod run;
#[path = "promql_script/script.rs"]
pub(crate) mod script;
#[path = "promql_script/storage.rs"]
pub(crate) mod storage;

use std::path::{Path, PathBuf};

use emac::promql::limits::Options;
use planned::Mode;
use run::Tally;

/// Here, there, nothing but selectors there, and two mixtures.
const MODES: [Mode; 5] = [Mode::Local, Mode::Pushed, Mode::Selectors, Mode::Split(1), Mode::Split(2)];

/// Runs every script of a folder and prints what became of each.
fn run_folder(folder: &Path, options: &Options, mode: Mode) -> Tally {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let mut total = Tally::default();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let commands = script::parse(&std::fs::read_to_string(&file).unwrap());
        let mut tally = match commands {
            Ok(commands) => run::run(&commands, options, mode),
            Err(fault) => Tally { failed: vec![fault], ..Tally::default() },
        };
        println!("{mode:?}: {name}: {tally}");
        for line in tally.failed.iter_mut().chain(&mut tally.unparsed) {
            *line = format!("{name} {line}");
        }
        total.add(tally);
    }
    println!("{mode:?}: {}: {total}", folder.display());
    total
}

fn assert_no_failure(tally: &Tally) {
    for line in &tally.unparsed {
        println!("not parsed: {line}");
    }
    assert!(tally.failed.is_empty(), "{} failed:\n{}", tally.failed.len(), tally.failed.join("\n"));
}

fn test_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/promql")
}

#[test]
fn our_scripts_pass() {
    for mode in MODES {
        let tally = run_folder(&test_data(), &Options::default(), mode);
        assert!(tally.passed > 0);
        assert_no_failure(&tally);
    }
}

#[test]
fn our_scripts_about_late_names_pass() {
    let options = Options { names_dropped_late: true, ..Options::default() };
    for mode in MODES {
        let tally = run_folder(&test_data().join("names_dropped_late"), &options, mode);
        assert!(tally.passed > 0);
        assert_no_failure(&tally);
    }
}

#[test]
fn the_scripts_of_others_pass() {
    let reference = std::env::var_os("EMAC_REFERENCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference"), PathBuf::from);
    let mut folders = vec![reference.join("promqltest")];
    let given = std::env::var("PROMQLTEST_DIRS").unwrap_or_default();
    folders.extend(given.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from));
    let options = Options { names_dropped_late: true, ..Options::default() };
    for mode in MODES {
        let mut total = Tally::default();
        for (index, folder) in folders.iter().enumerate() {
            // The reference need not be there; a folder that is named must be.
            if index > 0 || folder.is_dir() {
                total.add(run_folder(folder, &options, mode));
            }
        }
        println!("{mode:?}: in total: {total}");
        assert_no_failure(&total);
    }
}
