//! `emac query`: asks a running emac, or any Prometheus, and shows the answer as a table, a plot or JSON.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use http::header::{self, HeaderValue};
use http::{Method, Request};
use http_body_util::BodyExt as _;

use super::{Outcome, query_plot, query_table};
use crate::api::parse_time;
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};
use crate::upstream::http::{HttpSettings, HttpUpstream};
use crate::upstream::{Upstream as _, whole_body};
use crate::wire::prometheus_json::decode::{self, DecodeError};
use crate::wire::prometheus_json::number::write_time;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The greatest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// How many steps a range has without `--step`.
const DEFAULT_STEPS: u64 = 120;

/// Arguments of `emac query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// A PromQL expression; synthetic series and those of the Prometheus behind may be mixed
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// The emac to ask; any Prometheus will do
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9099")]
    pub server: String,
    /// When: seconds since the epoch, RFC 3339, or a duration ago such as 5m; now without it
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "step"])]
    pub time: Option<String>,
    /// The first step of a range, given as --time is
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// The end of a range; now without it
    #[arg(long, value_name = "TIME", requires = "start")]
    pub end: Option<String>,
    /// The distance of two steps; about 120 steps without it
    #[arg(long, value_name = "DURATION", requires = "start")]
    pub step: Option<Window>,
    /// How to show the answer: a table for an instant, a plot for a range, unless told otherwise
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Show who would evaluate what instead of the answer
    #[arg(long)]
    pub explain: bool,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each sample
    Table,
    /// A plot in characters; ranges only
    Plot,
    /// The answer of the API as it came
    Json,
}

/// When, as it is asked.
enum Asked {
    At(Timestamp),
    Range(StepGrid),
}

/// Asks once.
///
/// # Errors
/// Where a time is none, or the server does not answer.
pub fn run(args: &QueryArgs) -> anyhow::Result<Outcome> {
    let now = now()?;
    let asked = asked(args, now)?;
    let format = match (args.format, &asked) {
        (Some(Format::Plot), Asked::At(_)) => bail!("a plot needs a range: give --start"),
        (Some(format), _) => format,
        (None, Asked::At(_)) => Format::Table,
        (None, Asked::Range(_)) => Format::Plot,
    };
    let (status, body) = exchange(args, &asked)?;
    let mut out = std::io::stdout().lock();
    if args.explain && status == 200 {
        out.write_all(&body)?;
        return Ok(Outcome::Done);
    }
    let answer = match decode::query(&body) {
        Ok(answer) => answer,
        Err(DecodeError::Error { error_type, message }) => {
            writeln!(std::io::stderr(), "{error_type}: {message}")?;
            return Ok(Outcome::Faults);
        }
        // Native histograms are shown by none of our tables.
        Err(DecodeError::Shape(_)) if status == 200 && format == Format::Json => {
            out.write_all(&body)?;
            return Ok(Outcome::Done);
        }
        Err(DecodeError::Shape(fault)) => bail!("{} answered {status}: {fault}", args.server),
    };
    for (kind, notes) in [("warning", &answer.annotations.warnings), ("info", &answer.annotations.infos)] {
        for note in notes {
            writeln!(std::io::stderr(), "{kind}: {note}")?;
        }
    }
    match (format, &asked) {
        (Format::Json, _) => {
            out.write_all(&body)?;
            out.write_all(b"\n")?;
        }
        (Format::Plot, Asked::Range(grid)) => {
            let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
            let columns = if out.is_terminal() { columns } else { None };
            out.write_all(query_plot::plot(&answer.data, grid, columns).as_bytes())?;
        }
        _ => out.write_all(query_table::table(&answer.data).as_bytes())?,
    }
    Ok(Outcome::Done)
}

fn now() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis())?))
}

/// A time, or how long ago.
fn time(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Some(time) = parse_time(text) {
        return Ok(time);
    }
    let ago: Option<Window> = text.strip_prefix('-').unwrap_or(text).parse().ok();
    let ago = ago.and_then(|ago| i64::try_from(ago.millis()).ok()).with_context(|| {
        format!("`{text}` is no time: give seconds since the epoch, RFC 3339 such as 2026-03-01T09:30:00Z, or a duration ago such as 1h")
    })?;
    Ok(now.plus_millis(-ago))
}

fn asked(args: &QueryArgs, now: Timestamp) -> anyhow::Result<Asked> {
    let given = |text: &Option<String>| text.as_deref().map_or(Ok(now), |text| time(text, now));
    if args.start.is_none() {
        return Ok(Asked::At(given(&args.time)?));
    }
    let (start, end) = (given(&args.start)?, given(&args.end)?);
    let step = match args.step {
        Some(step) => step,
        None => {
            let span = u64::try_from(end.millis().saturating_sub(start.millis())).unwrap_or(0);
            // Whole seconds, so that the steps are readable.
            Window::from_millis((span / DEFAULT_STEPS).div_ceil(1_000).max(1) * 1_000)?
        }
    };
    Ok(Asked::Range(StepGrid::new(start, end, step).context("--start is after --end")?))
}

/// Status and body of the answer.
fn exchange(args: &QueryArgs, asked: &Asked) -> anyhow::Result<(u16, Bytes)> {
    let seconds = |at: Timestamp| {
        let mut text = String::new();
        write_time(&mut text, at);
        text
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", &args.expression);
    let path = match asked {
        Asked::At(at) => {
            form.append_pair("time", &seconds(*at));
            "/api/v1/query"
        }
        Asked::Range(grid) => {
            let step = Timestamp::from_millis(i64::try_from(grid.step().millis())?);
            for (name, at) in [("start", grid.start()), ("end", grid.end()), ("step", step)] {
                form.append_pair(name, &seconds(at));
            }
            "/api/v1/query_range"
        }
    };
    let path = if args.explain { "/api/v1/explain_query" } else { path };
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .body(whole_body(form.finish()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = HttpUpstream::new(HttpSettings::new(&args.server))?;
        let exchange = async {
            let answer = server.forward(request).await.with_context(|| {
                format!("is emac running? `emac serve` listens at {} by default", "http://127.0.0.1:9099")
            })?;
            let status = answer.status().as_u16();
            let (mut body, mut read) = (answer.into_body(), BytesMut::new());
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|fault| anyhow::anyhow!("the answer broke off: {fault}"))?;
                if let Ok(data) = frame.into_data() {
                    anyhow::ensure!(read.len() + data.len() <= MAX_ANSWER_BYTES, "the answer is too large");
                    read.extend_from_slice(&data);
                }
            }
            Ok((status, read.freeze()))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .with_context(|| format!("{} did not answer within {TIMEOUT:?}", args.server))?
    })
}
