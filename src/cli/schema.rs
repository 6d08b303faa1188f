//! `emac schema`: the JSON Schema of the language on stdout, for editors.

use std::io::Write as _;

use clap::Args;

use super::Outcome;
use crate::spec;

/// Arguments of `emac schema`: none.
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Prints the schema.
///
/// # Errors
/// Where stdout cannot be written.
pub fn run(_: &SchemaArgs) -> anyhow::Result<Outcome> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &spec::json_schema())
        .map_err(|error| error.io_error_kind().map_or_else(|| error.into(), std::io::Error::from))
        .map_err(|error: std::io::Error| anyhow::Error::new(error).context("cannot write the schema"))?;
    writeln!(out)?;
    Ok(Outcome::Done)
}
