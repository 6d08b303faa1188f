//! Parameters of a request to the HTTP API: of the URL and of a form, together.

use http::Request;
use http_body_util::BodyExt as _;

use super::{Body, ErrorType, Fault};
use crate::promql::guard::MAX_QUERY_BYTES;
use crate::promql::matcher::MatcherSet;
use crate::promql::query::Query;
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};
use crate::wire::prometheus_json::number;

/// The greatest form, in bytes.
const MAX_FORM_BYTES: usize = 1 << 20;

/// The most points of a range query, one more than steps, as in Prometheus.
const MAX_POINTS: usize = 11_001;

/// Name and value, the URL's first.
pub(super) struct Parameters(Vec<(String, String)>);

pub(super) fn bad_data(message: impl Into<String>) -> Fault {
    Fault { kind: ErrorType::BadData, message: message.into() }
}

impl Parameters {
    /// Reads the URL's query and, of a POST, the body as a form, whatever its content type says.
    pub(super) async fn of(request: Request<Body>) -> Result<Self, Fault> {
        let mut pairs = decoded(request.uri().query().unwrap_or_default().as_bytes());
        if request.method() == http::Method::POST {
            let mut body = request.into_body();
            let mut form = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|fault| bad_data(format!("the form cannot be read: {fault}")))?;
                let data = frame.into_data().unwrap_or_default();
                if form.len() + data.len() > MAX_FORM_BYTES {
                    return Err(bad_data(format!("the form has more than {MAX_FORM_BYTES} bytes")));
                }
                form.extend_from_slice(&data);
            }
            pairs.extend(decoded(&form));
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let first = self.0.iter().find(|(known, _)| known == name)?;
        Some(first.1.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Fault> {
        self.get(name).ok_or_else(|| bad_data(format!("invalid parameter \"{name}\": it is missing")))
    }

    /// A time in seconds since the epoch.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = number::parse_float(text).filter(|seconds| !seconds.is_nan()).ok_or_else(|| {
            bad_data(format!("invalid parameter \"{name}\": `{text}` is no time in seconds since the epoch"))
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, as it should")]
        Ok(Some(Timestamp::from_millis((seconds * 1000.0).round() as i64)))
    }

    /// A duration, where it is given: seconds or `15s`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Window>, Fault> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let fault = || bad_data(format!("invalid parameter \"{name}\": `{text}` is no duration above 0"));
        match number::parse_float(text) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, saturates")]
            Some(seconds) if seconds > 0.0 => {
                Window::from_millis((seconds * 1000.0).round() as u64).map(Some).map_err(|_| fault())
            }
            Some(_) => Err(fault()),
            None => text.parse().map(Some).map_err(|_| fault()),
        }
    }

    /// The grid of a range query.
    pub(super) fn grid(&self) -> Result<StepGrid, Fault> {
        let time = |name| self.required(name).and_then(|_| self.time(name));
        let (start, end) = (time("start")?.unwrap_or_default(), time("end")?.unwrap_or_default());
        self.required("step")?;
        let step = self.duration("step")?.unwrap_or(Window::MINUTE);
        let grid = StepGrid::new(start, end, step)
            .map_err(|fault| bad_data(format!("invalid parameter \"end\": {fault}")))?;
        if grid.points() > MAX_POINTS {
            return Err(bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
                 resolution (?step=XX)",
            ));
        }
        Ok(grid)
    }

    /// The selectors of `match[]`.
    pub(super) fn matchers(&self) -> Result<Vec<MatcherSet>, Fault> {
        let mut all = Vec::new();
        for text in self.all("match[]") {
            let query = Query::parse(text, MAX_QUERY_BYTES)?;
            match query.selectors() {
                [selector] if query.is_selector() => all.push(selector.clone()),
                _ => return Err(bad_data(format!("invalid parameter \"match[]\": `{text}` is no selector"))),
            }
        }
        Ok(all)
    }

    /// How many entries are wanted at most; 0 stands for all.
    pub(super) fn limit(&self) -> Result<usize, Fault> {
        match self.get("limit") {
            None | Some("0") => Ok(usize::MAX),
            Some(text) => text
                .parse()
                .map_err(|_| bad_data(format!("invalid parameter \"limit\": `{text}` is no whole number"))),
        }
    }
}

/// The grid of one point.
pub(super) fn instant(at: Timestamp) -> StepGrid {
    // The step of a single point means nothing; any legal window will do.
    match Window::from_millis(1) {
        Ok(step) => StepGrid::instant(at, step),
        Err(_) => unreachable!("1 ms is a legal window"),
    }
}

fn decoded(form: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(form).into_owned().collect()
}
