//! What a reader is told about a file: one fault, its place, what is allowed, what to do.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can be used, but probably does not say what was meant.
    Warning,
    /// Something a reader may want to know.
    Note,
}

impl Severity {
    /// In lower case, as printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Declares every code once: name, spelling, and what it stands for. The first letter says the severity.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        /// What kind of finding it is; the spelling is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            /// Every code, in the order of the spellings.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable spelling, such as `E101`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it stands for, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    FileTooLarge = "E001", "the file is too large";
    NotUtf8 = "E002", "the file is not UTF-8";
    Syntax = "E003", "the file is not YAML";
    TooDeep = "E004", "nested too deeply";
    TooManyNodes = "E005", "the document is too large";
    CyclicAlias = "E006", "an alias inside its own anchor";
    DuplicateKey = "E007", "a key is given twice";
    KeyNotText = "E008", "a key is not text";
    Tag = "E009", "a YAML tag";
    UnknownKind = "E010", "an unknown kind of document";
    NothingFound = "E011", "no journey found";
    UnknownField = "E101", "an unknown field";
    MissingField = "E102", "a required field is missing";
    WrongType = "E103", "a value of the wrong type";
    OutOfRange = "E104", "a number out of range";
    NotAllowed = "E105", "not one of the allowed values";
    Malformed = "E106", "malformed text";
    Conflict = "E107", "fields that exclude each other";
    ItemCount = "E108", "too few or too many items";
    ExpressionSyntax = "E109", "an expression that cannot be read";
    Unformattable = "E110", "cannot be formatted without losing something";
    UnknownComponent = "E201", "an unknown component";
    UnknownParameter = "E202", "an unknown parameter";
    Probabilities = "E203", "probabilities that do not sum to 1";
    OperatorRule = "E204", "an operator breaks its own rule";
    DuplicateName = "E205", "a name is declared twice";
    InvalidRegex = "E206", "an invalid regular expression";
    NoWindowInQuery = "E207", "a query without its window";
    WindowOrder = "E208", "a short window that is not shorter";
    EvidenceOfOther = "E209", "evidence of another journey";
    Inconsistent = "E210", "inconsistent evidence";
    NoSeries = "E301", "a selector matches nothing upstream";
    NoLabel = "E302", "a label does not exist upstream";
    NotAHistogram = "E303", "no classic histogram upstream";
    NoTelemetry = "W401", "a component without telemetry";
    NoDomainRule = "W402", "a failure domain without a rule";
    UnusedComponent = "W403", "an unused component";
    UnusedParameter = "W404", "an unused parameter";
    UnusedDomain = "W405", "a rule for a failure domain without members";
    NoProbability = "W406", "a probability without evidence";
    InclusiveLatency = "W407", "inclusive latency counted twice";
    SharedRedundancy = "W408", "redundancy inside one failure domain";
    NeverFires = "W409", "an alert that can never fire";
    TimeoutBeyondObjective = "W410", "a timeout larger than the objective";
    RaceOrCond = "W411", "a race that looks like an exclusive split, or the other way round";
    UnresolvedReference = "W412", "a reference that does not resolve";
    AttemptsShareFate = "W413", "attempts that share their fate";
    OneDomain = "W414", "one failure domain holds every component";
    Optimistic = "W415", "an optimistic assumption";
    UnreadablePromql = "W416", "a query that cannot be read as PromQL";
    LowEdge = "W417", "the last finite bucket lies below the objective";
    SingleErrorPages = "W418", "a page from a single error at the usual traffic";
    NoTraffic = "W419", "no traffic upstream";
    UnseenVariant = "W420", "a variant that no series upstream belongs to";
    OtherDocument = "N501", "a document of another kind";
    HedgedRace = "N502", "a race starts all branches at once";
    Ignored = "N503", "a field without effect";
    NotEvaluated = "N504", "declared but not evaluated yet";
    TooMany = "N505", "more findings are left out";
    LeftAsIs = "N506", "left as it is";
    IdleVariant = "N507", "a variant without series at present";
    ForeignName = "W601", "a name that other OpenSLO tools reject";
    UnusableIndicator = "W602", "an OpenSLO indicator or target that gives no share of calls";
    AbsentMeansGood = "W603", "an absent series is read as no failure";
    ShareWithoutCounts = "W604", "a share without the counts behind it";
    UnusedOpenSlo = "N605", "an OpenSLO document that nothing uses";
}

impl Code {
    /// By the first letter of the spelling.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self.as_str().as_bytes()[0] {
            b'E' => Severity::Error,
            b'W' => Severity::Warning,
            _ => Severity::Note,
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable ([`Code::as_str`]).
    pub code: &'static str,
    /// The path of the file.
    pub file: String,
    /// From 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// In characters, from 1; 0 where the file as a whole is meant.
    pub column: usize,
    /// The place in the document, such as `spec.operator.steps[1].ref`; empty for the document itself.
    pub path: String,
    /// What was found and what is allowed.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// About a file as a whole.
    #[must_use]
    pub fn of_file(code: Code, file: &str, message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            severity: code.severity(),
            code: code.as_str(),
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message: message.into(),
            help,
        }
    }
}

/// `error[E012] file.yaml:14:7 spec.operator.steps[1].ref: message; help: …`, always on one line.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {}", self.severity.as_str(), self.code, self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}", printable(&self.path))?;
        }
        write!(f, ": {}", printable(&self.message))?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; help: {}", printable(help)))
    }
}

/// Control characters of a hostile file do not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The candidate that `name` was probably meant to be, if any is near.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Beyond these, comparing costs more than a hint is worth.
    const MAX_CANDIDATES: usize = 2_000;
    const MAX_LENGTH: usize = 100;
    if name.len() > MAX_LENGTH {
        return None;
    }
    let folded = name.to_lowercase();
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|candidate| candidate.len() <= MAX_LENGTH)
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, where something is near.
#[must_use]
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sorted() {
        let spelled: Vec<_> = Code::ALL.iter().map(|code| &code.as_str()[1..]).collect();
        assert!(spelled.is_sorted() && spelled.windows(2).all(|pair| pair[0] != pair[1]), "{spelled:?}");
    }

    #[test]
    fn a_typo_is_recognised_and_a_stranger_is_not() {
        let names = ["front", "cart", "pricing"];
        assert_eq!(nearest("pricng", names), Some("pricing"));
        assert_eq!(nearest("Front", names), Some("front"));
        assert_eq!(nearest("inventory", names), None);
    }

    #[test]
    fn a_finding_is_one_line_without_control_characters() {
        let mut finding = Diagnostic::of_file(Code::Syntax, "a.yaml", "x\ny\u{1b}[31m", None);
        (finding.line, finding.column) = (3, 7);
        assert_eq!(finding.to_string(), "error[E003] a.yaml:3:7: x\u{fffd}y\u{fffd}[31m");
    }
}
