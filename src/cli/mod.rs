//! The command line: one file for each verb. Only here live `anyhow` and exit codes.
//!
//! Exit codes: 0 all is well, 1 faults were found ([`Outcome::Faults`]), 2 wrong usage or an I/O error.

pub mod check;
pub mod check_upstream;
pub mod compile;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod diff_model;
pub mod explain;
pub mod fmt;
pub mod journey_evidence;
pub mod query;
mod query_plot;
mod query_table;
pub mod report;
pub mod schema;
pub mod serve;
pub mod spec_files;
pub mod what_if;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Bounded journey SLOs, computed from per-service evidence and served as Prometheus series.
#[derive(Debug, Parser)]
#[command(name = "emac", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs, one line each; each has a file of its own with its arguments and a `run`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check journey specs and report every fault
    Check(check::CheckArgs),
    /// Compile specs into rules, gates and reports
    Compile(compile::CompileArgs),
    /// Say what changed between two versions of specs, and what that does to the bounds
    Diff(diff::DiffArgs),
    /// Watch a simulated shop: predictions beside what its users saw
    Demo(demo::DemoArgs),
    /// Format the operators of specs, and convert them between tree and text
    Fmt(fmt::FmtArgs),
    /// Print the JSON Schema of the language
    Schema(schema::SchemaArgs),
    /// Print a shell's completion script
    Completions(completions::CompletionsArgs),
    /// Explain how a journey's numbers follow from its evidence
    Explain(explain::ExplainArgs),
    /// Say what a journey would be, were some of its components different
    WhatIf(what_if::WhatIfArgs),
    /// Ask a running emac, and show the answer as a table, a plot or JSON
    Query(query::QueryArgs),
    /// Serve synthetic series in front of a Prometheus
    Serve(serve::ServeArgs),
}

/// How a verb ended, where it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well: exit code 0.
    Done,
    /// The input has faults, all of them reported: exit code 1.
    Faults,
}

impl Verb {
    fn run(self) -> anyhow::Result<Outcome> {
        match self {
            Self::Check(args) => check::run(&args),
            Self::Compile(args) => compile::run(&args),
            Self::Diff(args) => diff::run(&args),
            Self::Demo(args) => demo::run(&args),
            Self::Fmt(args) => fmt::run(&args),
            Self::Schema(args) => schema::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Explain(args) => explain::run(&args),
            Self::WhatIf(args) => what_if::run(&args),
            Self::Query(args) => query::run(&args),
            Self::Serve(args) => serve::run(&args),
        }
    }
}

/// Parses the arguments, runs the verb, and turns its end into an exit code. Usage errors and `--help` are
/// clap's, which exits with 2 and 0.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().verb.run() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Faults) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed too there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "emac: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The reader of our output went away (`emac schema | head`): not an error of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
