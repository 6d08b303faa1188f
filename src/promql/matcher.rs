//! Compiled label matchers.
//!
//! As in Prometheus: regular expressions are anchored at both ends, and a label that a series lacks is the empty
//! string, so that `a=""` and `a=~".*"` match series without `a`.

use promql_parser::label as parsed;
use promql_parser::parser::VectorSelector;
use promql_parser::parser::token::{T_EQL_REGEX, T_NEQ_REGEX};
use regex::Regex;

use crate::series::{Labels, MatchOp, Matcher, NAME};

/// The longest regular expression of a matcher, in bytes.
pub const MAX_REGEX_BYTES: usize = 4 * 1024;

/// The most matchers of one selector.
pub const MAX_MATCHERS: usize = 64;

/// Why matchers were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// Too long.
    #[error("the regular expression of label `{label}` has {bytes} bytes, allowed are {MAX_REGEX_BYTES}")]
    RegexTooLong {
        /// Of which label.
        label: String,
        /// How long it is.
        bytes: usize,
    },
    /// Not a regular expression.
    #[error("error parsing regexp of label `{label}`: {fault}")]
    Regex {
        /// Of which label.
        label: String,
        /// What is wrong.
        fault: String,
    },
    /// `or` between matchers: an extension of another product.
    #[error("`or` between label matchers is not PromQL")]
    Alternatives,
    /// Too many.
    #[error("the selector has {count} matchers, allowed are {MAX_MATCHERS}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// The matchers of one selector, all of which must match. Two sets are equal where their texts are.
#[derive(Debug, Clone)]
pub struct MatcherSet {
    matchers: Vec<Matcher>,
    /// One for each matcher; `None` where a comparison of text suffices.
    compiled: Vec<Option<Regex>>,
}

impl PartialEq for MatcherSet {
    fn eq(&self, other: &Self) -> bool {
        self.matchers == other.matchers
    }
}

impl Eq for MatcherSet {}

impl MatcherSet {
    /// Compiles `matchers`. No matcher at all matches every series.
    ///
    /// # Errors
    /// The first matcher that is no legal one.
    pub fn new(matchers: Vec<Matcher>) -> Result<Self, MatcherError> {
        if matchers.len() > MAX_MATCHERS {
            return Err(MatcherError::TooMany { count: matchers.len() });
        }
        let compiled = matchers.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { matchers, compiled })
    }

    /// The matchers of a parsed selector, its name first.
    ///
    /// # Errors
    /// The first matcher that is no legal one.
    pub fn of_selector(selector: &VectorSelector) -> Result<Self, MatcherError> {
        if !selector.matchers.or_matchers.is_empty() {
            return Err(MatcherError::Alternatives);
        }
        let count = selector.matchers.matchers.len() + 1;
        if count > MAX_MATCHERS {
            return Err(MatcherError::TooMany { count });
        }
        let mut set = Self { matchers: Vec::with_capacity(count), compiled: Vec::with_capacity(count) };
        if let Some(name) = &selector.name {
            set.matchers.push(Matcher { name: NAME.to_owned(), op: MatchOp::Equal, value: name.clone() });
            set.compiled.push(None);
        }
        for parsed in &selector.matchers.matchers {
            let (op, regex) = match &parsed.op {
                parsed::MatchOp::Equal => (MatchOp::Equal, None),
                parsed::MatchOp::NotEqual => (MatchOp::NotEqual, None),
                parsed::MatchOp::Re(regex) => (MatchOp::Regex, Some(regex.clone())),
                parsed::MatchOp::NotRe(regex) => (MatchOp::NotRegex, Some(regex.clone())),
            };
            let matcher = Matcher { name: parsed.name.clone(), op, value: parsed.value.clone() };
            if regex.is_some() {
                check_pattern(&matcher)?;
            }
            set.matchers.push(matcher);
            set.compiled.push(regex);
        }
        Ok(set)
    }

    /// The matchers as text, in their order.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether every matcher matches `labels`.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|name| labels.get(name))
    }

    /// Whether every matcher matches the labels that `label` looks up by name; an absent one is the empty text.
    #[must_use]
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> &'a str) -> bool {
        self.each().all(|(matcher, regex)| is_match(matcher, regex, label(&matcher.name)))
    }

    /// Whether a series of this name could match.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        self.each().filter(|(matcher, _)| matcher.name == NAME).all(|(m, regex)| is_match(m, regex, name))
    }

    /// Whether a series that has none of the labels beyond `known` could match.
    #[must_use]
    pub fn matches_without_others(&self, known: impl Fn(&str) -> bool) -> bool {
        self.each()
            .filter(|(m, _)| m.name != NAME && !known(&m.name))
            .all(|(m, regex)| is_match(m, regex, ""))
    }

    /// The name that every matching series has, where the selector says it literally.
    #[must_use]
    pub fn literal_name(&self) -> Option<&str> {
        let literal = |matcher: &&Matcher| matcher.name == NAME && matcher.op == MatchOp::Equal;
        self.matchers.iter().find(literal).map(|matcher| &*matcher.value)
    }

    /// Whether a series without any label would match: Prometheus refuses such a selector.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.each().all(|(matcher, regex)| is_match(matcher, regex, ""))
    }

    /// Whether a series that has a name and no label at all could match.
    #[must_use]
    pub(crate) fn matches_without_labels(&self) -> bool {
        self.each().filter(|(matcher, _)| matcher.name != NAME).all(|(m, regex)| is_match(m, regex, ""))
    }

    /// A pattern as matchers take it, anchored at both ends; `.` matches line ends too.
    pub(crate) fn anchored(pattern: &str) -> Option<Regex> {
        let matcher = Matcher { name: String::new(), op: MatchOp::Regex, value: format!("(?s:{pattern})") };
        check_pattern(&Matcher { value: pattern.to_owned(), ..matcher.clone() }).ok()?;
        compile(&matcher).ok().flatten()
    }

    fn each(&self) -> impl Iterator<Item = (&Matcher, Option<&Regex>)> {
        self.matchers.iter().zip(self.compiled.iter().map(Option::as_ref))
    }
}

/// As a selector without a name writes it: `{a="b",c=~"d"}`.
impl std::fmt::Display for MatcherSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (at, matcher) in self.matchers.iter().enumerate() {
            write!(f, "{}{matcher}", if at > 0 { "," } else { "" })?;
        }
        f.write_str("}")
    }
}

fn is_match(matcher: &Matcher, regex: Option<&Regex>, value: &str) -> bool {
    let matched = regex.map_or_else(|| matcher.value == value, |regex| regex.is_match(value));
    matched == matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)
}

fn compile(matcher: &Matcher) -> Result<Option<Regex>, MatcherError> {
    let token = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => return Ok(None),
        MatchOp::Regex => T_EQL_REGEX,
        MatchOp::NotRegex => T_NEQ_REGEX,
    };
    check_pattern(matcher)?;
    // The parser knows how Go's syntax differs from Rust's.
    let parsed = parsed::Matcher::new_matcher(token, matcher.name.clone(), matcher.value.clone());
    match parsed.map(|parsed| parsed.op) {
        Ok(parsed::MatchOp::Re(regex) | parsed::MatchOp::NotRe(regex)) => Ok(Some(regex)),
        Ok(parsed::MatchOp::Equal | parsed::MatchOp::NotEqual) => Ok(None),
        Err(fault) => Err(MatcherError::Regex { label: matcher.name.clone(), fault }),
    }
}

/// Bounds a pattern's size, and holds it between its anchors: `a)|(b` would escape from them.
fn check_pattern(matcher: &Matcher) -> Result<(), MatcherError> {
    let label = matcher.name.clone();
    if matcher.value.len() > MAX_REGEX_BYTES {
        Err(MatcherError::RegexTooLong { label, bytes: matcher.value.len() })
    } else if escapes_its_group(&matcher.value) {
        Err(MatcherError::Regex { label, fault: "unexpected )".to_owned() })
    } else {
        Ok(())
    }
}

/// Whether a `)` closes a group that the text itself did not open.
fn escapes_its_group(text: &str) -> bool {
    let (mut depth, mut in_class) = (0_usize, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, op: MatchOp, value: &str) -> Result<MatcherSet, MatcherError> {
        MatcherSet::new(vec![Matcher { name: name.to_owned(), op, value: value.to_owned() }])
    }

    #[test]
    fn regular_expressions_are_anchored_and_an_absent_label_is_empty() {
        let labels = Labels::named("up").with("job", "api-1").with("pod", "a{x}");
        for (name, op, value, expected) in [
            ("job", MatchOp::Equal, "api-1", true),
            ("job", MatchOp::NotEqual, "api-1", false),
            ("job", MatchOp::Regex, "api", false),
            ("job", MatchOp::Regex, "api.*|x", true),
            ("job", MatchOp::Regex, "x|api-1", true),
            ("job", MatchOp::NotRegex, "api", true),
            ("zone", MatchOp::Equal, "", true),
            ("zone", MatchOp::Regex, ".*", true),
            ("zone", MatchOp::Regex, ".+", false),
            ("zone", MatchOp::NotEqual, "a", true),
            ("zone", MatchOp::NotRegex, "a", true),
            ("job", MatchOp::Regex, "api-{1}1|api-1{1}", true),
            ("pod", MatchOp::Regex, "a{x}", true),
        ] {
            assert_eq!(
                set(name, op, value).unwrap().matches(&labels),
                expected,
                "{name}{}{value}",
                op.as_str()
            );
        }
    }

    #[test]
    fn a_pattern_cannot_escape_from_its_anchors() {
        assert!(set("a", MatchOp::Regex, "x)|(y").is_err());
        assert!(set("a", MatchOp::Regex, "(").is_err());
        assert!(set("a", MatchOp::Regex, r"\)|[)]").is_ok());
    }

    #[test]
    fn size_and_number_are_bounded() {
        assert!(matches!(
            set("a", MatchOp::Regex, &"x".repeat(MAX_REGEX_BYTES + 1)),
            Err(MatcherError::RegexTooLong { .. })
        ));
        let matcher = Matcher { name: "a".to_owned(), op: MatchOp::Equal, value: String::new() };
        assert!(matches!(
            MatcherSet::new(vec![matcher; MAX_MATCHERS + 1]),
            Err(MatcherError::TooMany { .. })
        ));
        // A repetition of a repetition that would need gigabytes.
        assert!(matches!(set("a", MatchOp::Regex, "((x{100}){100}){100}"), Err(MatcherError::Regex { .. })));
    }

    #[test]
    fn names_are_matched_apart_from_other_labels() {
        let set = MatcherSet::new(vec![
            Matcher { name: NAME.to_owned(), op: MatchOp::Regex, value: "emac_.*".to_owned() },
            Matcher { name: "journey".to_owned(), op: MatchOp::Equal, value: "checkout".to_owned() },
        ])
        .unwrap();
        assert!(set.matches_name("emac_journey_gate") && !set.matches_name("up"));
        assert_eq!(set.literal_name(), None);
        assert!(
            set.matches_without_others(|label| label == "journey") && !set.matches_without_others(|_| false)
        );
        assert!(!set.matches_everything());
        assert_eq!(set.to_string(), r#"{__name__=~"emac_.*",journey="checkout"}"#);
    }
}
