//! A plan as text.

use std::fmt;

use super::pushdown::{QueryPlan, When};
use super::source::Reading;
use crate::series::StepGrid;
use crate::unit::Timestamp;

/// `2 requests`, `1 request`
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn time(at: Timestamp) -> String {
    at.seconds().to_string()
}

fn steps(grid: &StepGrid) -> String {
    let points = count(grid.points(), "step");
    format!("from {} to {} each {} ({points})", time(grid.start()), time(grid.end()), grid.step())
}

/// The query, when it is evaluated, what the upstream evaluates (`$0`, `$1` …), what is read here, and the expression
/// that is evaluated here.
impl fmt::Display for QueryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "query     {}", self.query.text())?;
        if self.range_query {
            writeln!(f, "          {}", steps(&self.grid))?;
        } else {
            writeln!(f, "          at {}", time(self.grid.start()))?;
        }
        writeln!(f, "upstream  {}", count(self.requests.len(), "request"))?;
        for (id, request) in self.requests.iter().enumerate() {
            let when = match request.when {
                When::Instant(at) => format!("at {}", time(at)),
                When::Steps(grid) => steps(&grid),
                When::Samples(at) => format!("raw samples at {}", time(at)),
            };
            writeln!(f, "  ${id}      {}\n          {}, {when}", request.text(), request.value_type)?;
        }
        writeln!(f, "here      {}", self.query.root())?;
        for read in &self.reads {
            let whose = match (read.ours, &read.theirs) {
                (true, None) => "synthetic".to_owned(),
                (true, Some(theirs)) => format!("synthetic, and the upstream's of ${}", theirs.samples),
                (false, theirs) => {
                    format!("the upstream's of ${}", theirs.as_ref().map_or(0, |theirs| theirs.samples))
                }
            };
            let what = match read.selection.reading {
                Reading::Instant => "newest samples",
                Reading::Range => "samples",
                Reading::InfoSeries(_) => "info series",
            };
            let (from, to) = (time(read.selection.from), time(read.selection.to));
            writeln!(
                f,
                "  reads   {}\n          {what} from {from} to {to}, {whose}",
                read.selection.matchers
            )?;
        }
        Ok(())
    }
}
