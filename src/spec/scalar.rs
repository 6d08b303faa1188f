//! The scalars of the language: how each is read, and the schema that accepts exactly that.

use serde_json::{Value, json};

use crate::document::decode::Scalar;
use crate::document::diagnostic::Code;
use crate::document::tree::Plain;
use crate::journey::expression::{self, Share, Written};
use crate::series::{MatchOp, Matcher};
use crate::unit::{Quantile, Seconds, Window};

/// Durations with fractions, units in falling order ([`Seconds`]'s syntax).
const DURATION: &str = concat!(
    r"^(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)y)?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)w)?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)d)?",
    r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)h)?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)m)?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)s)?",
    r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)ms)?$"
);
/// Durations of whole numbers ([`Window`]'s syntax).
const WINDOW: &str =
    "^(?:[0-9]+y)?(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?$";

fn number(plain: Plain<'_>) -> Result<f64, Code> {
    match plain {
        Plain::Number(value) => Ok(value),
        _ => Err(Code::WrongType),
    }
}

pub(super) fn text(plain: Plain<'_>) -> Result<&str, Code> {
    match plain {
        Plain::Text(text) => Ok(text),
        _ => Err(Code::WrongType),
    }
}

fn written_number(value: f64, text: &str) -> Written<f64> {
    // YAML knows spellings that the text form does not, such as 0x10.
    expression::number(text).unwrap_or_else(|| Written { value, text: value.to_string() })
}

/// A scalar that is a number within a range.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident, $allowed:literal, $test:expr, $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct $name(pub(crate) f64);

        impl Scalar for $name {
            const NAME: &'static str = stringify!($name);
            const ALLOWED: &'static str = $allowed;

            fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
                let value = number(plain)?;
                let test: fn(f64) -> bool = $test;
                if test(value) { Ok(Self(value)) } else { Err(Code::OutOfRange) }
            }

            fn schema() -> Value {
                json!($schema)
            }
        }
    )*};
}

numbers! {
    /// A probability.
    Fraction, "a number from 0 to 1", |v| (0.0..=1.0).contains(&v),
        { "type": "number", "minimum": 0, "maximum": 1 };
    /// A promised share: none of it would be no promise, all of it would leave no budget.
    Target, "a number above 0 and below 1", |v| v > 0.0 && v < 1.0,
        { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 };
    /// The level of a one-sided interval.
    Confidence, "a number from 0.5 to below 1", |v| (0.5..1.0).contains(&v),
        { "type": "number", "minimum": 0.5, "exclusiveMaximum": 1 };
    /// A rate or a bound.
    Positive, "a number above 0", |v| v > 0.0 && v.is_finite(),
        { "type": "number", "exclusiveMinimum": 0 };
    /// A growth factor.
    Growth, "a number of at least 1", |v| v >= 1.0 && v.is_finite(),
        { "type": "number", "minimum": 1 };
    /// How many of something were counted; `increase` extrapolates, so it may be fractional.
    Counted, "a number of at least 0", |v| v >= 0.0 && v.is_finite(),
        { "type": "number", "minimum": 0 };
}

/// A scalar that is text of a certain form.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($type:ty), $allowed:literal, $read:expr, $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name(pub(crate) $type);

        impl Scalar for $name {
            const NAME: &'static str = stringify!($name);
            const ALLOWED: &'static str = $allowed;

            fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
                let read: fn(&str) -> Option<$type> = $read;
                read(text(plain)?).map(Self).ok_or(Code::Malformed)
            }

            fn schema() -> Value {
                json!($schema)
            }
        }
    )*};
}

fn is_journey_name(text: &str) -> bool {
    expression::is_name(text)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains(['/', ':', '@'])
}

fn identifier(text: &str, more: fn(char) -> bool) -> Option<String> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || more(c));
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more(c));
    (starts && goes_on && text.len() <= 256).then(|| text.to_owned())
}

texts! {
    /// For people.
    Prose(String), "text", |text| Some(text.to_owned()), { "type": "string" };
    /// A name that ends up in paths and labels.
    JourneyName(String), "1 to 128 letters, digits and _ . -, beginning with a letter or digit",
        |text| is_journey_name(text).then(|| text.to_owned()),
        { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$" };
    /// A journey, or a variant of one behind an `@`.
    JourneyOrVariant(String), "the name of a journey, or `journey@variant`",
        |text| {
            let (journey, variant) = text.split_once('@').unwrap_or((text, "v"));
            (is_journey_name(journey) && is_journey_name(variant)).then(|| text.to_owned())
        },
        { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(?:@[A-Za-z0-9][A-Za-z0-9_.-]{0,127})?$" };
    /// The value of a label that alerts are routed by.
    LabelWord(String), "1 to 63 letters, digits and _ . -, beginning with a letter or digit",
        |text| (text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))).then(|| text.to_owned()),
        { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" };
    /// Where a person is led to.
    WebAddress(String), "an address that begins with http:// or https://, without white space",
        |text| (text.len() <= 2048
            && ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
            && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '{' | '}' | '"'))).then(|| text.to_owned()),
        { "type": "string", "maxLength": 2048, "pattern": r#"^https?://[!#-z|~]+$"# };
    /// The name of a component.
    ComponentName(String), "1 to 128 letters, digits and _ . / : @ -, beginning with a letter, digit or _",
        |text| expression::is_name(text).then(|| text.to_owned()),
        { "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,127}$" };
    /// The name of a parameter.
    ParameterName(String), "1 to 128 letters, digits and _ . / : @ -, beginning with a letter or _",
        |text| expression::is_parameter_name(text).then(|| text.to_owned()),
        { "type": "string", "pattern": "^(?:[A-Za-z][A-Za-z0-9_./:@-]{0,127}|_[A-Za-z0-9_./:@-]{1,127})$" };
    /// A label that chooses series of a histogram: not its name, and not the edges of its buckets.
    SelectingLabel(String), "a label name other than le and __name__: letters, digits and _, not beginning with a digit",
        |text| identifier(text, |_| false).filter(|name| !matches!(name.as_str(), "le" | "__name__")),
        { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,255}$", "not": { "enum": ["le", "__name__"] } };
    /// A metric.
    MetricName(String), "a metric name: letters, digits, _ and :, not beginning with a digit",
        |text| identifier(text, |c| c == ':'),
        { "type": "string", "pattern": "^[A-Za-z_:][A-Za-z0-9_:]{0,255}$" };
    /// The name of a failure domain, such as k8s/zone.
    DomainName(String), "1 to 128 visible characters",
        |text| (!text.is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control))
            .then(|| text.to_owned()),
        { "type": "string", "pattern": r"^[^\p{Cc}]{1,128}$" };
    /// A query.
    Query(String), "a PromQL query",
        |text| (!text.is_empty()).then(|| text.to_owned()),
        { "type": "string", "minLength": 1 };
    /// A range of time.
    WindowText(Window), "a Prometheus duration such as 5m, 1h30m, 30d",
        |text| text.parse().ok(),
        { "type": "string", "minLength": 1, "maxLength": 64, "pattern": WINDOW, "not": { "pattern": "^[0ywdhms]*$" } };
    /// A length of time with its unit.
    Duration(Written<Seconds>), "a duration with its unit, such as 200ms, 0.5s, 1m30s",
        expression::duration,
        { "type": "string", "minLength": 1, "maxLength": 64, "pattern": DURATION };
    /// A quantile by its percentage.
    Percentile(Quantile), "p50, p99, p99.9, …",
        |text| text.starts_with(['p', 'P']).then(|| text.parse().ok()).flatten(),
        { "type": "string", "pattern": r"^[pP][0-9]{1,2}(?:\.[0-9]*)?$", "not": { "pattern": r"^[pP][0.]*$" } };
    /// How a label is compared.
    MatcherText((MatchOp, String)),
        "a value, or an operator with a value in double quotes: =\"a\", !=\"a\", =~\"a|b\", !~\"5..\"",
        matcher,
        { "type": "string", "pattern": r#"^(?:(?:=~|!~|!=|=)"(?:[^"\\\n]|\\["\\nt])*"|[^=!][\s\S]*|![^=~][\s\S]*|!?)$"# };
}

/// `value`, `="value"`, `!="value"`, `=~"regex"`, `!~"regex"`; inside the quotes `\"`, `\\`, `\n` and `\t` are escapes.
fn matcher(text: &str) -> Option<(MatchOp, String)> {
    let operators =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let Some((op, rest)) = operators.iter().find_map(|(sign, op)| Some((*op, text.strip_prefix(sign)?)))
    else {
        return Some((MatchOp::Equal, text.to_owned()));
    };
    let quoted = rest.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some((op, value)),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            '\n' => return None,
            c => value.push(c),
        }
    }
}

impl MatcherText {
    pub(crate) fn named(&self, name: &str) -> Matcher {
        Matcher { name: name.to_owned(), op: self.0.0, value: self.0.1.clone() }
    }
}

/// A length of time: a number of seconds, or a duration with its unit.
#[derive(Debug, Clone)]
pub(crate) struct SecondsOrDuration(pub(crate) Seconds);

impl Scalar for SecondsOrDuration {
    const NAME: &'static str = "SecondsOrDuration";
    const ALLOWED: &'static str = "a number of seconds above 0, or a duration such as 400ms";

    fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
        match plain {
            Plain::Number(value) => Seconds::new(value)
                .ok()
                .filter(|seconds| seconds.is_finite() && seconds.get() > 0.0)
                .map(Self)
                .ok_or(Code::OutOfRange),
            Plain::Text(text) => expression::duration(text)
                .filter(|duration| duration.value.get() > 0.0)
                .map(|duration| Self(duration.value))
                .ok_or(Code::Malformed),
            Plain::Null | Plain::Bool(_) => Err(Code::WrongType),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "number", "exclusiveMinimum": 0 },
            { "type": "string", "minLength": 1, "maxLength": 64, "pattern": DURATION,
              "not": { "pattern": "^[0.ywdhms]*$" } },
        ] })
    }
}

/// A quantile: a number, or its percentage.
#[derive(Debug, Clone)]
pub(crate) struct QuantileLevel(pub(crate) Quantile);

impl Scalar for QuantileLevel {
    const NAME: &'static str = "QuantileLevel";
    const ALLOWED: &'static str = "a number above 0 and below 1, or p50, p99, p99.9, …";

    fn read(plain: Plain<'_>, text: &str) -> Result<Self, Code> {
        match plain {
            Plain::Number(value) => Quantile::new(value).map(Self).map_err(|_| Code::OutOfRange),
            Plain::Text(_) => Percentile::read(plain, text).map(|level| Self(level.0)),
            Plain::Null | Plain::Bool(_) => Err(Code::WrongType),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [
            { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 },
            Percentile::schema(),
        ] })
    }
}

/// A branch's probability: a number, or the name of a parameter.
#[derive(Debug, Clone)]
pub(crate) struct ShareText(pub(crate) Share);

impl Scalar for ShareText {
    const NAME: &'static str = "BranchProbability";
    const ALLOWED: &'static str = "a number from 0 to 1, or the name of a parameter";

    fn read(plain: Plain<'_>, text: &str) -> Result<Self, Code> {
        match plain {
            Plain::Number(value) if (0.0..=1.0).contains(&value) => {
                Ok(Self(Share::Number(written_number(value, text))))
            }
            Plain::Number(_) => Err(Code::OutOfRange),
            Plain::Text(_) => ParameterName::read(plain, text).map(|name| Self(Share::Parameter(name.0))),
            Plain::Null | Plain::Bool(_) => Err(Code::WrongType),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [Fraction::schema(), ParameterName::schema()] })
    }

    fn help(plain: Plain<'_>, text: &str) -> Option<String> {
        let quoted = matches!(plain, Plain::Text(_)) && text.parse::<f64>().is_ok();
        quoted.then(|| format!("write the number without quotes: {text}"))
    }
}

/// As [`Fraction`], with its spelling.
#[derive(Debug, Clone)]
pub(crate) struct WrittenFraction(pub(crate) Written<f64>);

impl Scalar for WrittenFraction {
    const NAME: &'static str = "Fraction";
    const ALLOWED: &'static str = Fraction::ALLOWED;

    fn read(plain: Plain<'_>, text: &str) -> Result<Self, Code> {
        Fraction::read(plain, text).map(|value| Self(written_number(value.0, text)))
    }

    fn schema() -> Value {
        Fraction::schema()
    }
}

/// As [`Growth`], with its spelling.
#[derive(Debug, Clone)]
pub(crate) struct WrittenGrowth(pub(crate) Written<f64>);

impl Scalar for WrittenGrowth {
    const NAME: &'static str = "Growth";
    const ALLOWED: &'static str = Growth::ALLOWED;

    fn read(plain: Plain<'_>, text: &str) -> Result<Self, Code> {
        Growth::read(plain, text).map(|value| Self(written_number(value.0, text)))
    }

    fn schema() -> Value {
        Growth::schema()
    }
}

/// A number of attempts, repetitions or branches.
#[derive(Debug, Clone)]
pub(crate) struct Times(pub(crate) u32);

impl Scalar for Times {
    const NAME: &'static str = "Times";
    const ALLOWED: &'static str = "a whole number from 0 to 10000";

    fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
        whole(number(plain)?).map(Self)
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": 10_000 })
    }
}

fn whole(value: f64) -> Result<u32, Code> {
    if value.fract() != 0.0 {
        return Err(if value.is_finite() { Code::WrongType } else { Code::OutOfRange });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    if (0.0..=10_000.0).contains(&value) { Ok(value as u32) } else { Err(Code::OutOfRange) }
}

/// The key of a distribution of repetitions.
#[derive(Debug, Clone)]
pub(crate) struct TimesKey(pub(crate) u32);

impl Scalar for TimesKey {
    const NAME: &'static str = "TimesKey";
    const ALLOWED: &'static str = "a whole number from 0 to 10000";

    fn read(_: Plain<'_>, text: &str) -> Result<Self, Code> {
        let plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
        let canonical = plain && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|value| canonical && *value <= 10_000).map(Self).ok_or(Code::Malformed)
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^(?:0|[1-9][0-9]{0,3}|10000)$" })
    }
}

/// The upper edge of a bucket as the key of a mapping: a number, or `+Inf`.
#[derive(Debug, Clone)]
pub(crate) struct Edge(pub(crate) f64);

impl Scalar for Edge {
    const NAME: &'static str = "BucketEdge";
    const ALLOWED: &'static str = "an upper edge as a number above 0, or +Inf";

    fn read(_: Plain<'_>, text: &str) -> Result<Self, Code> {
        if text == "+Inf" {
            return Ok(Self(f64::INFINITY));
        }
        // Within these, every number is finite and none vanishes.
        let exponent =
            text.split_once(['e', 'E']).map_or("", |(_, exponent)| exponent.trim_start_matches(['+', '-']));
        if text.len() > 64 || exponent.len() > 2 {
            return Err(Code::Malformed);
        }
        expression::number(text)
            .filter(|edge| edge.value > 0.0)
            .map(|edge| Self(edge.value))
            .ok_or(Code::Malformed)
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": 64,
            "pattern": r"^(?:\+Inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?)$",
            "not": { "pattern": r"^[0.]+(?:[eE].*)?$" } })
    }
}

/// `true` or `false`; only fields without effect are flags so far, so the value is not kept.
#[derive(Debug, Clone)]
pub(crate) struct Flag;

impl Scalar for Flag {
    const NAME: &'static str = "Flag";
    const ALLOWED: &'static str = "true or false";

    fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
        match plain {
            Plain::Bool(_) => Ok(Self),
            _ => Err(Code::WrongType),
        }
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

/// `true` or `false`.
#[derive(Debug, Clone)]
pub(crate) struct Switch(pub(crate) bool);

impl Scalar for Switch {
    const NAME: &'static str = "Switch";
    const ALLOWED: &'static str = "true or false";

    fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
        match plain {
            Plain::Bool(value) => Ok(Self(value)),
            _ => Err(Code::WrongType),
        }
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}
