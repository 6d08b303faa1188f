//! The gate of a rollout, held to what Argo Rollouts demands of an AnalysisTemplate and to how it evaluates one: the rules
//! of its validation, the semantics of its expression language, and the order of its decisions.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compile::{artifact, examples};

/// What the provider gets for a query.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Vector(Vec<f64>),
    Scalar(f64),
    /// An HTTP error, or nobody there.
    Refused,
}

/// The phase of a measurement or of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Successful,
    Failed,
    Inconclusive,
    Error,
}

/// A value of the expression language.
#[derive(Debug, Clone, PartialEq)]
enum Term {
    Number(f64),
    List(Vec<f64>),
    Flag(bool),
}

/// Evaluates a condition: C-like precedence, `&&` and `||` stop early, an index out of range and a wrong type are errors.
struct Evaluator<'a> {
    rest: &'a str,
    result: Term,
    /// Within the side of `&&` or `||` that decides nothing: errors at run time do not happen there.
    skipping: bool,
}

impl<'a> Evaluator<'a> {
    fn condition(text: &'a str, result: Term) -> Result<bool, String> {
        let mut evaluator = Self { rest: text, result, skipping: false };
        let value = evaluator.any()?;
        match value {
            Term::Flag(flag) if evaluator.rest.trim().is_empty() => Ok(flag),
            other => Err(format!("{other:?}, rest {:?}", evaluator.rest)),
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some(after) = rest.strip_prefix(token) else { return false };
        self.rest = after;
        true
    }

    fn any(&mut self) -> Result<Term, String> {
        let mut left = self.all()?;
        while self.eat("||") {
            let decided = left == Term::Flag(true);
            let right = self.skip(decided, Self::all)?;
            left = if decided { left } else { right };
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Term, String> {
        let mut left = self.compared()?;
        while self.eat("&&") {
            let decided = left == Term::Flag(false);
            let right = self.skip(decided, Self::compared)?;
            left = if decided { left } else { right };
        }
        Ok(left)
    }

    fn skip(
        &mut self,
        skip: bool,
        parse: impl Fn(&mut Self) -> Result<Term, String>,
    ) -> Result<Term, String> {
        let before = self.skipping;
        self.skipping |= skip;
        let value = parse(self);
        self.skipping = before;
        value
    }

    fn compared(&mut self) -> Result<Term, String> {
        let left = self.factor()?;
        for operator in ["==", "<=", ">=", "<", ">"] {
            if self.eat(operator) {
                let right = self.factor()?;
                let (Term::Number(a), Term::Number(b)) = (left, right) else {
                    return Err("types".to_owned());
                };
                return Ok(Term::Flag(match operator {
                    "==" => a == b,
                    "<=" => a <= b,
                    ">=" => a >= b,
                    "<" => a < b,
                    _ => a > b,
                }));
            }
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Term, String> {
        if self.eat("!") {
            let Term::Flag(flag) = self.factor()? else { return Err("not of a non-flag".to_owned()) };
            return Ok(Term::Flag(!flag));
        }
        if self.eat("(") {
            let value = self.any()?;
            return if self.eat(")") { Ok(value) } else { Err("no )".to_owned()) };
        }
        for (word, flag) in [("true", true), ("false", false)] {
            if self.eat(word) {
                return Ok(Term::Flag(flag));
            }
        }
        for function in ["len", "isNaN", "isInf"] {
            if self.eat(&format!("{function}(")) {
                let value = self.any()?;
                if !self.eat(")") {
                    return Err("no )".to_owned());
                }
                #[expect(clippy::cast_precision_loss, reason = "a few samples")]
                return match (function, value) {
                    ("len", Term::List(list)) => Ok(Term::Number(list.len() as f64)),
                    ("isNaN", Term::Number(value)) => Ok(Term::Flag(value.is_nan())),
                    ("isInf", Term::Number(value)) => Ok(Term::Flag(value.is_infinite())),
                    (_, value) => Err(format!("{function} of {value:?}")),
                };
            }
        }
        if self.eat("result") {
            if !self.eat("[") {
                return Ok(self.result.clone());
            }
            let Term::Number(index) = self.factor()? else { return Err("index".to_owned()) };
            if !self.eat("]") {
                return Err("no ]".to_owned());
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small literals")]
            return match &self.result {
                Term::List(list) => match list.get(index as usize) {
                    Some(value) => Ok(Term::Number(*value)),
                    None if self.skipping => Ok(Term::Number(0.0)),
                    None => Err("index out of range".to_owned()),
                },
                other => Err(format!("index into {other:?}")),
            };
        }
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number = rest[..end].parse().map_err(|_| format!("what is {rest:?}"))?;
        self.rest = &rest[end..];
        Ok(Term::Number(number))
    }
}

/// One measurement, as the Prometheus provider takes it: the failure condition is looked at first.
fn measure(metric: &Value, answer: &Answer) -> Phase {
    let result = match answer {
        Answer::Vector(values) => Term::List(values.clone()),
        Answer::Scalar(value) => Term::Number(*value),
        Answer::Refused => return Phase::Error,
    };
    let condition = |name: &str| Evaluator::condition(metric[name].as_str().unwrap(), result.clone());
    match (condition("successCondition"), condition("failureCondition")) {
        (Err(_), _) | (_, Err(_)) => Phase::Error,
        (_, Ok(true)) => Phase::Failed,
        (Ok(true), _) => Phase::Successful,
        _ => Phase::Inconclusive,
    }
}

/// A Go duration in seconds.
fn go_seconds(text: &str) -> Option<f64> {
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let unit = match &rest[digits..digits + letters] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// How a metric's run ends when asked at these times: errors are retried after ten seconds and do not count; too many in a
/// row end it.
fn run(metric: &Value, answer: impl Fn(f64) -> Answer) -> Phase {
    let number = |name: &str| metric[name].as_u64().unwrap_or(0);
    let interval = go_seconds(metric["interval"].as_str().unwrap()).unwrap();
    let mut now = go_seconds(metric["initialDelay"].as_str().unwrap()).unwrap();
    let (mut taken, mut failed, mut errors) = (0, 0, 0);
    while taken < number("count") {
        match measure(metric, &answer(now)) {
            Phase::Error => {
                errors += 1;
                if errors > number("consecutiveErrorLimit") {
                    return Phase::Error;
                }
                now += 10.0;
                continue;
            }
            Phase::Inconclusive => return Phase::Inconclusive,
            Phase::Failed => {
                failed += 1;
                if failed > number("failureLimit") {
                    return Phase::Failed;
                }
            }
            Phase::Successful => {}
        }
        errors = 0;
        taken += 1;
        now += interval;
    }
    Phase::Successful
}

fn templates() -> Vec<(String, Value)> {
    let all = examples().into_iter().filter_map(|(name, artifacts)| {
        let text = artifact(&artifacts, "argo/analysis-template.yaml")?;
        Some((name, serde_saphyr::from_str(&with_limits(text)).unwrap()))
    });
    let all: Vec<_> = all.collect();
    assert!(all.len() >= 6);
    all
}

/// A template with its limits put in where its conditions refer to them, as Argo does with all arguments.
pub(crate) fn with_limits(template: &str) -> String {
    let parsed: Value = serde_saphyr::from_str(template).unwrap();
    let args = parsed["spec"]["args"].as_array().unwrap();
    let limits = args.iter().filter(|arg| arg["name"].as_str().unwrap().starts_with("max-"));
    limits.fold(template.to_owned(), |text, arg| {
        let name = format!("{{{{args.{}}}}}", arg["name"].as_str().unwrap());
        assert!(text.matches(&name).count() > 2, "both conditions and the query take {name}");
        text.replace(&name, arg["value"].as_str().unwrap())
    })
}

fn metrics(template: &Value) -> &[Value] {
    template["spec"]["metrics"].as_array().unwrap()
}

/// What Argo's admission and its controller refuse.
#[test]
fn every_template_passes_argos_rules() {
    for (journey, template) in templates() {
        assert_eq!(template["apiVersion"], "argoproj.io/v1alpha1");
        assert_eq!(template["kind"], "AnalysisTemplate");
        let name = template["metadata"]["name"].as_str().unwrap();
        assert!(
            name.len() <= 63
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        );
        let mut args = BTreeSet::new();
        for arg in template["spec"]["args"].as_array().unwrap() {
            assert!(args.insert(arg["name"].as_str().unwrap()), "{journey}: an argument twice");
            // The hash of the pods comes from the rollout's snippet.
            let given = arg["value"].is_string() || arg["name"] == "pod-hash";
            assert!(given, "{journey}: an argument without a value is not resolved");
        }
        let mut names = BTreeSet::new();
        for metric in metrics(&template) {
            let known = [
                "name",
                "initialDelay",
                "interval",
                "count",
                "failureLimit",
                "consecutiveErrorLimit",
                "successCondition",
                "failureCondition",
                "provider",
            ];
            for key in metric.as_object().unwrap().keys() {
                assert!(known.contains(&key.as_str()), "{journey}: {key}");
            }
            assert!(names.insert(metric["name"].as_str().unwrap()), "{journey}: a metric twice");
            let (count, limit) =
                (metric["count"].as_u64().unwrap(), metric["failureLimit"].as_u64().unwrap());
            // Several measurements need an interval; a limit that the count never reaches would hold nothing.
            assert!(count > 1 && limit < count);
            for field in ["interval", "initialDelay"] {
                let text = metric[field].as_str().unwrap();
                assert!(go_seconds(text).is_some_and(|seconds| seconds > 0.0), "{journey}: {field} {text}");
            }
            let provider = metric["provider"].as_object().unwrap();
            assert_eq!(provider.keys().collect::<Vec<_>>(), ["prometheus"]);
            let prometheus = &metric["provider"]["prometheus"];
            let texts = [prometheus["address"].as_str().unwrap(), prometheus["query"].as_str().unwrap()];
            for text in texts {
                for used in text.split("{{").skip(1) {
                    let used = used.split("}}").next().unwrap().strip_prefix("args.").unwrap();
                    assert!(args.contains(used), "{journey}: {used} is no argument");
                }
            }
            promql_parser::parser::parse(texts[1]).unwrap();
            // The window that is asked for has passed before the first look.
            let window: emac::unit::Window = match texts[1].split("window=\"").nth(1) {
                Some(rest) => rest.split('"').next().unwrap().parse().unwrap(),
                None => continue,
            };
            assert!(go_seconds(metric["initialDelay"].as_str().unwrap()).unwrap() >= window.seconds().get());
        }
    }
}

#[test]
fn one_number_decides_anything_else_pauses_and_a_refusal_is_an_error() {
    for (journey, template) in templates() {
        for metric in metrics(&template) {
            let name = metric["name"].as_str().unwrap();
            let limit: f64 =
                metric["successCondition"].as_str().unwrap().rsplit("<= ").next().unwrap().parse().unwrap();
            let age = name == "evidence-age-seconds";
            let bad = if age { Phase::Inconclusive } else { Phase::Failed };
            for (answer, phase) in [
                (Answer::Vector(vec![0.0]), Phase::Successful),
                (Answer::Vector(vec![limit]), Phase::Successful),
                (Answer::Vector(vec![limit * 1.01]), bad),
                (Answer::Vector(vec![f64::INFINITY]), bad),
                (Answer::Vector(vec![f64::NEG_INFINITY]), Phase::Inconclusive),
                (Answer::Vector(vec![f64::NAN]), Phase::Inconclusive),
                (Answer::Vector(Vec::new()), Phase::Inconclusive),
                (Answer::Vector(vec![0.0, 0.0]), Phase::Inconclusive),
                (Answer::Vector(vec![limit * 2.0, limit * 2.0]), Phase::Inconclusive),
                (Answer::Scalar(0.0), Phase::Error),
                (Answer::Refused, Phase::Error),
            ] {
                assert_eq!(measure(metric, &answer), phase, "{journey} {name} {answer:?}");
            }
        }
    }
}

#[test]
fn a_restart_of_the_proxy_aborts_no_rollout_and_a_long_absence_does() {
    let (_, template) = templates().remove(0);
    for metric in metrics(&template) {
        let ok = || Answer::Vector(vec![0.0]);
        let down = |from: f64, to: f64| {
            move |now: f64| if (from..to).contains(&now) { Answer::Refused } else { ok() }
        };
        for start in [300.0, 310.0, 360.0, 400.0, 540.0] {
            assert_eq!(run(metric, down(start, start + 60.0)), Phase::Successful, "{start}");
        }
        assert_eq!(run(metric, down(300.0, 590.0)), Phase::Successful);
        assert_eq!(run(metric, down(300.0, 1200.0)), Phase::Error);
        // Argo's own default would have given up.
        let mut hasty = metric.clone();
        hasty["consecutiveErrorLimit"] = 4.into();
        assert_eq!(run(&hasty, down(300.0, 360.0)), Phase::Error);
        // One bad look ends it, and one without an answer pauses it.
        let late = |now: f64| if now > 500.0 { Answer::Vector(vec![f64::INFINITY]) } else { ok() };
        let bad = if metric["name"] == "evidence-age-seconds" { Phase::Inconclusive } else { Phase::Failed };
        assert_eq!(run(metric, late), bad);
        let empty = |now: f64| if now > 500.0 { Answer::Vector(Vec::new()) } else { ok() };
        assert_eq!(run(metric, empty), Phase::Inconclusive);
    }
}

#[test]
fn the_evaluator_itself_knows_the_language() {
    let list = |values: &[f64]| Term::List(values.to_vec());
    assert_eq!(Evaluator::condition("len(result) == 1 && result[0] > 1", list(&[])), Ok(false));
    assert!(Evaluator::condition("result[0] > 1", list(&[])).is_err());
    assert!(Evaluator::condition("len(result) == 1 || result[0] > 1", list(&[])).is_err());
    assert!(Evaluator::condition("len(result) == 1", Term::Number(1.0)).is_err());
    assert_eq!(Evaluator::condition("!isNaN(result[0])", list(&[f64::NAN])), Ok(false));
    assert_eq!(Evaluator::condition("result[0] > 1", list(&[f64::NAN])), Ok(false));
    assert_eq!(Evaluator::condition("false || (true && !false)", list(&[])), Ok(true));
}
