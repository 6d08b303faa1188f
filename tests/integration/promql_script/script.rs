//! The commands of Prometheus' test language, parsed.

use emac::series::Labels;

use super::notation::{self, Point};

/// A command and its line (from 1).
#[derive(Debug)]
pub(crate) enum Command {
    Clear,
    Load { step: i64, native_histograms: bool, series: Vec<(Labels, Vec<Point>)> },
    Eval(Box<Eval>),
}

/// An expectation about a message: any, one text, or a pattern.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Any,
    Text(String),
    Pattern(regex::Regex),
}

impl Message {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Text(expected) => expected == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// Times in milliseconds; an instant has `step` 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) expression: String,
    pub(crate) range_query: bool,
    pub(crate) times: Times,
    pub(crate) fail: Option<Message>,
    pub(crate) warn: Vec<Message>,
    pub(crate) no_warn: bool,
    pub(crate) info: Vec<Message>,
    pub(crate) no_info: bool,
    pub(crate) ordered: bool,
    pub(crate) scalar: Option<f64>,
    pub(crate) text: Option<String>,
    /// The times of an expected range vector.
    pub(crate) range_vector: Option<Times>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// Parses a script.
pub(crate) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = (at + 1, lines[at]);
        at += 1;
        if line.is_empty() {
            continue;
        }
        let block_end = (at..lines.len()).find(|&at| lines[at].is_empty()).unwrap_or(lines.len());
        let fault = |fault: String| format!("line {number}: {fault}");
        let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
        if word == "clear" {
            commands.push(Command::Clear);
        } else if word == "load" || word == "load_with_nhcb" {
            let step = duration(line[word.len()..].trim()).map_err(fault)?;
            let series = lines[at..block_end].iter().map(|line| notation::series(line));
            let series = series.collect::<Result<_, _>>().map_err(fault)?;
            commands.push(Command::Load { step, native_histograms: word != "load", series });
            at = block_end;
        } else if word.starts_with("eval") {
            let (eval, used) = eval(number, &word, line, &lines[at..block_end]).map_err(fault)?;
            commands.push(Command::Eval(Box::new(eval)));
            at += used;
        } else {
            return Err(fault(format!("unknown command `{line}`")));
        }
    }
    Ok(commands)
}

/// The evaluation that starts with `line`, and how many of the following `lines` belong to it.
fn eval(number: usize, word: &str, line: &str, lines: &[&str]) -> Result<(Eval, usize), String> {
    let (range_query, times, expression) = head(line[word.len()..].trim_start())?;
    let once = |is: bool| if is { vec![Message::Any] } else { Vec::new() };
    let mut eval = Eval {
        line: number,
        expression,
        range_query,
        times,
        fail: (word == "eval_fail").then_some(Message::Any),
        warn: once(word == "eval_warn"),
        no_warn: false,
        info: once(word == "eval_info"),
        no_info: false,
        ordered: word == "eval_ordered",
        scalar: None,
        text: None,
        range_vector: None,
        series: Vec::new(),
    };
    for (used, &line) in lines.iter().enumerate() {
        if let Some(message) = line.strip_prefix("expected_fail_message") {
            eval.fail = Some(Message::Text(message.trim().to_owned()));
            return Ok((eval, used + 1));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            eval.fail = Some(pattern_of(pattern)?);
            return Ok((eval, used + 1));
        } else if let Some(expectation) = line.strip_prefix("expect ") {
            eval.expect(expectation.trim())?;
        } else if let Ok(scalar) = notation::number(line) {
            eval.scalar = Some(scalar);
            return Ok((eval, used + 1));
        } else {
            eval.series.push(notation::series(line)?);
        }
    }
    let used = lines.len();
    Ok((eval, used))
}

impl Eval {
    fn expect(&mut self, expectation: &str) -> Result<(), String> {
        if let Some(times) = expectation.strip_prefix("range vector from ") {
            let (from, rest) = times.split_once(" to ").ok_or("no `to`")?;
            let (to, step) = rest.split_once(" step ").ok_or("no `step`")?;
            let times = Times { start: duration(from)?, end: duration(to)?, step: duration(step)? };
            self.range_vector = Some(times);
            return Ok(());
        }
        if let Some(text) = expectation.strip_prefix("string ") {
            self.text = Some(notation::quoted(text.trim())?.0);
            return Ok(());
        }
        let (what, message) = expectation.split_once(char::is_whitespace).unwrap_or((expectation, ""));
        let message = match message.trim() {
            "" => Message::Any,
            message => match message.split_once(':') {
                Some(("msg", text)) => Message::Text(text.trim().to_owned()),
                Some(("regex", pattern)) => pattern_of(pattern)?,
                _ => return Err(format!("unknown expectation `{expectation}`")),
            },
        };
        match what {
            "fail" => self.fail = Some(message),
            "warn" => self.warn.push(message),
            "info" => self.info.push(message),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "ordered" => self.ordered = true,
            _ => return Err(format!("unknown expectation `{expectation}`")),
        }
        Ok(())
    }
}

fn pattern_of(pattern: &str) -> Result<Message, String> {
    regex::Regex::new(pattern.trim()).map(Message::Pattern).map_err(|fault| fault.to_string())
}

/// `instant at 5m x` or `range from 0 to 5m step 1m x`.
fn head(text: &str) -> Result<(bool, Times, String), String> {
    let mut rest = text;
    let mut word = |expected: Option<&str>| -> Result<&str, String> {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.trim_start();
        match expected {
            Some(expected) if expected != word => Err(format!("`{word}` where `{expected}` is needed")),
            _ => Ok(word),
        }
    };
    match word(None)? {
        "instant" => {
            word(Some("at"))?;
            let at = duration(word(None)?)?;
            Ok((false, Times { start: at, end: at, step: 0 }, rest.to_owned()))
        }
        "range" => {
            word(Some("from"))?;
            let start = duration(word(None)?)?;
            word(Some("to"))?;
            let end = duration(word(None)?)?;
            word(Some("step"))?;
            let step = duration(word(None)?)?;
            Ok((true, Times { start, end, step }, rest.to_owned()))
        }
        other => Err(format!("neither instant nor range: `{other}`")),
    }
}

/// A duration in milliseconds; `0` needs no unit.
fn duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("y", 31_536_000_000),
    ];
    let fault = || format!("no duration: `{text}`");
    let (mut rest, mut total) = (text.trim(), 0);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(fault());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let number: i64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, length) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(fault)?;
        total += number * length;
        rest = &rest[letters..];
    }
    Ok(total)
}
