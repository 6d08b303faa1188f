//! The parameters of a request: URL and form together, read as Prometheus reads them.

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::body::to_upstream;
use super::error::ApiError;
use super::timed_body::is_late;
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};
use crate::upstream::Body as UpstreamBody;

/// How much of a form is looked at. Whatever is larger holds no query that we would parse, and is passed through.
const MAX_FORM_BYTES: usize = 1 << 20;

/// A request whose parameters were read, and which can still be passed on as it came.
pub(crate) struct Call {
    head: http::request::Parts,
    body: CallBody,
    /// `None` where the body is too large to be looked at.
    parameters: Option<Parameters>,
}

enum CallBody {
    /// Read whole.
    Whole(Bytes),
    /// What was read, and what follows.
    Begun(Bytes, Body),
}

impl Call {
    /// Reads the parameters. The body is looked at whatever its content type says, and may be empty.
    ///
    /// # Errors
    /// Where the client's body breaks off.
    pub(crate) async fn read(request: Request) -> Result<Self, ApiError> {
        let (head, mut body) = request.into_parts();
        let mut read = BytesMut::new();
        let has_form = head.method == Method::POST;
        while has_form && read.len() <= MAX_FORM_BYTES {
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    let message = format!("reading the body: {error}");
                    return Err(ApiError::request_broken(is_late(&error), message));
                }
            }
        }
        let read = read.freeze();
        if !has_form || read.len() > MAX_FORM_BYTES {
            let parameters = (!has_form).then(|| Parameters::parse(head.uri.query(), b""));
            return Ok(Self { head, body: CallBody::Begun(read, body), parameters });
        }
        let parameters = Some(Parameters::parse(head.uri.query(), &read));
        Ok(Self { head, body: CallBody::Whole(read), parameters })
    }

    /// What the request asks for; `None` where nobody looked.
    pub(crate) const fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    /// The headers of the request.
    pub(crate) const fn headers(&self) -> &http::HeaderMap {
        &self.head.headers
    }

    /// The request as it came.
    pub(crate) fn into_request(self) -> http::Request<UpstreamBody> {
        // Whatever is answered here only reads.
        let whole = match &self.body {
            CallBody::Whole(bytes) => Some(bytes.clone()),
            CallBody::Begun(begun, rest) => (begun.is_empty() && rest.is_end_stream()).then(Bytes::new),
        };
        match whole {
            Some(whole) => Request::from_parts(self.head, UpstreamBody::replayable(whole)),
            None => self.into_unread().map(to_upstream),
        }
    }

    /// The request as it came, to be read again.
    pub(crate) fn into_unread(self) -> Request {
        let body = match self.body {
            CallBody::Whole(bytes) => Body::from(bytes),
            CallBody::Begun(begun, rest) if begun.is_empty() => rest,
            CallBody::Begun(begun, rest) => {
                let begun = futures::stream::iter([Ok(begun)]);
                Body::from_stream(begun.chain(rest.into_data_stream()).map_err(axum::Error::new))
            }
        };
        Request::from_parts(self.head, body)
    }

    /// The request as it came, but for an answer that we can read: not compressed.
    pub(crate) fn into_readable_request(mut self) -> http::Request<UpstreamBody> {
        self.head.headers.remove(header::ACCEPT_ENCODING);
        self.into_request()
    }
}

/// Names and values, those of the form before those of the URL, as in Go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(query: Option<&str>, form: &[u8]) -> Self {
        let pairs =
            form_urlencoded::parse(form).chain(form_urlencoded::parse(query.unwrap_or("").as_bytes()));
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of `name`; empty where there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time; `None` where it is not given.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text).map(Some).ok_or_else(|| {
                let fault =
                    format!("Invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
                invalid(name, &fault)
            }),
        }
    }

    fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.get(name);
        parse_time(text).ok_or_else(|| invalid(name, &format!("cannot parse {text:?} to a valid timestamp")))
    }

    /// A duration in milliseconds, perhaps zero or negative; `None` where it is not given.
    pub(crate) fn duration_millis(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_duration_millis(text)
                .map(Some)
                .ok_or_else(|| invalid(name, &format!("cannot parse {text:?} to a valid duration"))),
        }
    }

    /// `start`, `end` and `step` of a range query.
    pub(crate) fn grid(&self, max_points: usize) -> Result<StepGrid, ApiError> {
        let start = self.required_time("start")?;
        let end = self.required_time("end")?;
        if end < start {
            return Err(invalid("end", "end timestamp must not be before start time"));
        }
        let step = self
            .duration_millis("step")?
            .ok_or_else(|| invalid("step", "cannot parse \"\" to a valid duration"))?;
        let step = u64::try_from(step).ok().and_then(|ms| Window::from_millis(ms).ok()).ok_or_else(|| {
            invalid(
                "step",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            )
        })?;
        let grid = StepGrid::new(start, end, step).map_err(|error| invalid("end", &error.to_string()))?;
        if grid.points() > max_points.saturating_add(1) {
            let limit = grouped(max_points);
            return Err(ApiError::bad_data(format!(
                "exceeded maximum resolution of {limit} points per timeseries. Try decreasing the query resolution (?step=XX)"
            )));
        }
        Ok(grid)
    }

    /// A positive duration; `None` where it is not given, or 0.
    pub(crate) fn window(&self, name: &str) -> Result<Option<Window>, ApiError> {
        match self.duration_millis(name)? {
            None | Some(0) => Ok(None),
            Some(millis) => {
                let window = u64::try_from(millis).ok().and_then(|millis| Window::from_millis(millis).ok());
                window.map(Some).ok_or_else(|| invalid(name, "a duration above 0 is needed"))
            }
        }
    }

    /// The most results asked for; `None`: all.
    pub(crate) fn limit(&self) -> Result<Option<usize>, ApiError> {
        match self.get("limit") {
            "" | "0" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| invalid("limit", &format!("cannot parse {text:?} to a valid limit"))),
        }
    }
}

fn invalid(name: &str, fault: &str) -> ApiError {
    ApiError::bad_data(format!("invalid parameter {name:?}: {fault}"))
}

/// `11,000`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds as a number, or RFC 3339; rounded to milliseconds. The texts with which Go's client writes the least and
/// the greatest time, and numbers beyond the representable range, are clamped.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    const GO_MIN: &str = "-292273086-05-16T16:47:06Z";
    const GO_MAX: &str = "292277025-08-18T07:12:54.999999999Z";
    match text {
        GO_MIN => return Some(Timestamp::from_millis(i64::MIN)),
        GO_MAX => return Some(Timestamp::from_millis(i64::MAX)),
        _ => {}
    }
    if let Some(seconds) = parse_number(text) {
        #[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
        return (!seconds.is_nan()).then(|| Timestamp::from_millis((seconds * 1000.0).round() as i64));
    }
    parse_rfc3339(text)
}

/// A number as Go's `ParseFloat` reads it.
fn parse_number(text: &str) -> Option<f64> {
    // Rust also takes `infinity` and `nan`, as Go does; neither takes blanks.
    text.parse().ok()
}

/// `2006-01-02T15:04:05.999Z` or with an offset such as `+02:00`.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, expected)| bytes.get(at) != Some(&expected))
        || !matches!(bytes.get(10), Some(b'T' | b't'))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut fraction_ms = 0.0;
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        if digits == 0 {
            return None;
        }
        fraction_ms = format!("0.{}", &after[..digits]).parse::<f64>().ok()? * 1000.0;
        rest = &after[digits..];
    }
    let offset_minutes = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = match rest.chars().next()? {
                '+' => 1,
                '-' => -1,
                _ => return None,
            };
            let (hours, minutes) = rest.get(1..)?.split_once(':')?;
            let two = |t: &str| -> Option<i64> {
                (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().ok())?
            };
            let (hours, minutes) = (two(hours)?, two(minutes)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 60 + minutes)
        }
    };
    // Days since the epoch by counting years from March, so that the leap day is the last of its year.
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_minutes * 60;
    #[expect(clippy::cast_possible_truncation, reason = "below 1000")]
    Some(Timestamp::from_millis(seconds * 1000 + fraction_ms.round() as i64))
}

/// Seconds as a number, or a Prometheus duration.
fn parse_duration_millis(text: &str) -> Option<i64> {
    /// Go holds durations in nanoseconds.
    const MAX_SECONDS: f64 = 9.223_372_036e9;
    if let Some(seconds) = parse_number(text) {
        #[expect(clippy::cast_possible_truncation, reason = "bounded")]
        return (seconds.abs() <= MAX_SECONDS).then(|| (seconds * 1000.0).round() as i64);
    }
    text.parse::<Window>().ok().and_then(|window| i64::try_from(window.millis()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::prometheus_json::ErrorType;

    fn of(query: &str) -> Parameters {
        Parameters::parse(Some(query), b"")
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorType::BadData);
        error.message
    }

    #[test]
    fn a_form_comes_before_the_url_and_both_are_decoded() {
        let parameters =
            Parameters::parse(Some("query=a&match[]=x&stats=all"), b"query=b%2Bc+d&match%5B%5D=y");
        assert_eq!(parameters.get("query"), "b+c d");
        assert_eq!(parameters.all("match[]").collect::<Vec<_>>(), ["y", "x"]);
        assert_eq!((parameters.get("stats"), parameters.get("none")), ("all", ""));
    }

    #[test]
    fn times_are_numbers_or_rfc_3339_rounded_to_milliseconds() {
        for (text, ms) in [
            ("0", 0),
            ("1435781430.781", 1_435_781_430_781),
            ("1435781430.7814", 1_435_781_430_781),
            ("1435781430.7816", 1_435_781_430_782),
            ("-1.5", -1_500),
            ("1e3", 1_000_000),
            ("+Inf", i64::MAX),
            ("-1e300", i64::MIN),
            ("1830302400000", 1_830_302_400_000_000),
            ("2015-07-01T20:10:30.781Z", 1_435_781_430_781),
            ("2015-07-01T20:10:30Z", 1_435_781_430_000),
            ("2015-07-01T22:40:30.5+02:30", 1_435_781_430_500),
            ("2016-02-29T00:00:00Z", 1_456_704_000_000),
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("-292273086-05-16T16:47:06Z", i64::MIN),
            ("292277025-08-18T07:12:54.999999999Z", i64::MAX),
        ] {
            assert_eq!(parse_time(text).map(Timestamp::millis), Some(ms), "{text}");
        }
        for text in [
            "",
            "x",
            "NaN",
            " 1",
            "1s",
            "2015-02-29T00:00:00Z",
            "2015-13-01T00:00:00Z",
            "2015-07-01 20:10:30Z",
            "2015-07-01T24:00:00Z",
            "2015-07-01T20:10:30",
            "2015-07-01T20:10:30.Z",
            "2015-07-01T20:10:30+2:00",
            "2015-07-0éT20:10:30Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(
            refused(of("time=foo").time("time")),
            r#"invalid parameter "time": Invalid time value for 'time': cannot parse "foo" to a valid timestamp"#
        );
    }

    #[test]
    fn a_grid_has_at_most_one_point_more_than_the_limit() {
        let grid = |query: &str| of(query).grid(11_000);
        assert_eq!(grid("start=0&end=11000&step=1").unwrap().points(), 11_001);
        assert_eq!(grid("start=0&end=1&step=5m").unwrap().points(), 1);
        assert_eq!(grid("start=0&end=1&step=0.25").unwrap().points(), 5);
        for (query, message) in [
            (
                "start=0&end=11001&step=1",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ),
            ("end=1&step=1", r#"invalid parameter "start": cannot parse "" to a valid timestamp"#),
            ("start=1&step=1", r#"invalid parameter "end": cannot parse "" to a valid timestamp"#),
            (
                "start=2&end=1&step=1",
                r#"invalid parameter "end": end timestamp must not be before start time"#,
            ),
            ("start=0&end=1", r#"invalid parameter "step": cannot parse "" to a valid duration"#),
            ("start=0&end=1&step=x", r#"invalid parameter "step": cannot parse "x" to a valid duration"#),
            (
                "start=0&end=1&step=0",
                r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
            ),
            (
                "start=0&end=1&step=-1",
                r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
            ),
        ] {
            assert_eq!(refused(grid(query)), message, "{query}");
        }
        // The whole of time in small steps neither overflows nor takes long.
        let all = "start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z&step=1";
        assert!(refused(grid(all)).starts_with("exceeded"));
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        assert_eq!(of("limit=0").limit(), Ok(None));
        assert_eq!(of("").limit(), Ok(None));
        assert_eq!(of("limit=40000").limit(), Ok(Some(40_000)));
        assert!(of("limit=-1").limit().is_err());
    }
}
