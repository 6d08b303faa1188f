//! The notation of series in Prometheus' test language: `name{label="value"} 1 2+3x4 _ _x5 stale {{…}}`.

use emac::series::{Labels, NAME, STALE_NAN_BITS};

/// One place of a sequence of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Point {
    /// No sample here.
    Omitted,
    /// A number, or a stale marker.
    Float(f64),
    /// A native histogram, which the evaluator does not know: only its presence is kept.
    Histogram,
}

/// The labels and the sequence of one line.
pub(crate) fn series(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let (labels, rest) = labels(line)?;
    Ok((labels, sequence(rest)?))
}

/// The labels at the start of `line`, and what follows them.
fn labels(line: &str) -> Result<(Labels, &str), String> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Labels::new();
    if !name.is_empty() {
        labels.set(NAME, name);
    }
    // Two brackets are a histogram.
    let braces = rest.trim_start().strip_prefix('{').filter(|inside| !inside.starts_with('{'));
    let Some(inside) = braces else { return Ok((labels, rest)) };
    rest = inside.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after, was_quoted) = if rest.starts_with(['"', '\'', '`']) {
            let (name, after) = quoted(rest)?;
            (name, after, true)
        } else {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..], false)
        };
        let after = after.trim_start();
        rest = match after.strip_prefix('=') {
            Some(value) => {
                let (value, after) = quoted(value.trim_start())?;
                labels.set(&name, value);
                after
            }
            None if was_quoted => {
                labels.set(NAME, name);
                after
            }
            None => return Err(format!("no label at `{rest}`")),
        }
        .trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

/// The string literal at the start of `text`, and what follows it.
pub(crate) fn quoted(text: &str) -> Result<(String, &str), String> {
    let fault = || format!("no string at `{text}`");
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, c)| matches!(c, '"' | '\'' | '`')).ok_or_else(fault)?;
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((out, &text[at + 1..])),
            '\\' if quote != '`' => match chars.next().ok_or_else(fault)?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                c @ ('\\' | '"' | '\'') => out.push(c),
                other => return Err(format!("unknown escape `\\{other}` in `{text}`")),
            },
            _ => out.push(c),
        }
    }
    Err(fault())
}

fn sequence(text: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    for token in tokens(text) {
        if token.starts_with("{{") {
            let count = token.rsplit_once("}}").and_then(|(_, after)| after.strip_prefix('x'));
            let repeats: usize = match count {
                Some(count) => count.parse().map_err(|_| format!("no count in `{token}`"))?,
                None => 0,
            };
            points.extend(std::iter::repeat_n(Point::Histogram, repeats + 1));
            continue;
        }
        let (value, count) = match token.split_once('x') {
            Some((value, count)) => {
                (value, count.parse::<usize>().map_err(|_| format!("no count in `{token}`"))?)
            }
            None => (token, 0),
        };
        match value {
            "_" => points.extend(std::iter::repeat_n(Point::Omitted, count.max(1))),
            "stale" => {
                points.extend(std::iter::repeat_n(Point::Float(f64::from_bits(STALE_NAN_BITS)), count + 1))
            }
            _ => {
                let (mut value, step) = value_and_step(value)?;
                for _ in 0..=count {
                    points.push(Point::Float(value));
                    value += step;
                }
            }
        }
    }
    Ok(points)
}

/// Parts between white space, histograms kept whole.
fn tokens(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut depth) = (Vec::new(), None, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            out.extend(start.take().map(|start: usize| &text[start..at]));
        } else if start.is_none() {
            start = Some(at);
        }
    }
    out.extend(start.map(|start| &text[start..]));
    out
}

/// `3`, `-1+2`, `1e-3-0.5`.
fn value_and_step(text: &str) -> Result<(f64, f64), String> {
    let bytes = text.as_bytes();
    let sign = (1..bytes.len())
        .find(|&at| matches!(bytes[at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E' | b'+' | b'-'));
    match sign {
        Some(at) => Ok((number(&text[..at])?, number(&text[at..])?)),
        None => Ok((number(text)?, 0.0)),
    }
}

/// A number as Go reads it.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        #[expect(clippy::cast_precision_loss, reason = "test data")]
        return i64::from_str_radix(hex, 16)
            .map(|n| sign * n as f64)
            .map_err(|_| format!("no number: `{text}`"));
    }
    digits.parse::<f64>().map(|n| sign * n).map_err(|_| format!("no number: `{text}`"))
}

#[test]
fn series_are_read_as_prometheus_writes_them() {
    let floats = |line: &str| {
        let (labels, points) = series(line).unwrap();
        let text: Vec<_> = points
            .iter()
            .map(|point| match point {
                Point::Omitted => "_".to_owned(),
                Point::Histogram => "h".to_owned(),
                Point::Float(value) if value.to_bits() == STALE_NAN_BITS => "stale".to_owned(),
                Point::Float(value) => value.to_string(),
            })
            .collect();
        format!("{labels} {}", text.join(" "))
    };
    for (line, read) in [
        ("x 1 2 3", "x 1 2 3"),
        ("x{a=\"b c\", d='e'}\t0+10x2 _ stale", "x{a=\"b c\", d=\"e\"} 0 10 20 _ stale"),
        ("x 1x2 _x3 -1-2x1 1e-3+1x1", "x 1 1 1 _ _ _ -1 -3 0.001 1.001"),
        ("{__name__=\"x\"} NaN Inf -Inf", "x NaN inf -inf"),
        ("{\"x.y\", a=\"b\"} 1", "x.y{a=\"b\"} 1"),
        ("x {{sum:1 count:2}}+{{sum:1}}x2 5", "x h h h 5"),
        ("{} 2", "{} 2"),
        ("x", "x "),
    ] {
        assert_eq!(floats(line), read);
    }
}
