//! The `emac` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    emac::cli::run()
}
