//! Expressions as text that means the same to any PromQL parser: what is sent to an upstream, and what a plan shows.
//!
//! The parser crate's own text is not used: it loses times before the epoch. Parentheses stand only where they are
//! needed, so that a text does not nest deeper than the one that it was parsed from.

use super::aggregation::Aggregation;
use super::arithmetic::{Arithmetic, Operation, SetOperation};
use super::expression::{
    Aggregate, At, Binary, Cardinality, Grouping, Kind, Node, Selector, Shift, Subquery, ValueType,
};
use super::grid::QueryTimes;
use super::keyword::is_keyword;
use super::matcher::MatcherSet;
use super::number::go_g;
use super::position::line_and_column;
use super::ranking::Ranking;
use crate::series::{MatchOp, Matcher, NAME, quoted};

/// A printed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) text: String,
    /// Where arguments start in the text, and where they start in the text that the tree was parsed from.
    places: Vec<(usize, usize)>,
}

/// Prints an expression. `fixed`: `start()` and `end()` after `@` become the times of this query, for a text that is
/// evaluated on another grid than that of the query.
pub(crate) fn print(node: &Node, fixed: Option<QueryTimes>) -> Printed {
    // No argument starts where the text does: a note that points there has lost its place.
    let mut printer = Printer { out: String::new(), places: vec![(0, 0)], fixed };
    printer.expression(node, 0);
    Printed { text: printer.out, places: printer.places }
}

impl Printed {
    /// A text that is none of an expression's own.
    pub(crate) const fn of_text(text: String) -> Self {
        Self { text, places: Vec::new() }
    }

    /// A note on this text, such as `PromQL info: … (1:5)`, with the place in the text `original` that the tree was
    /// parsed from. A place that has no counterpart is left out.
    pub(crate) fn translated(&self, note: &str, original: &str) -> String {
        let Some((said, place)) = note.strip_suffix(')').and_then(|note| note.rsplit_once(" (")) else {
            return note.to_owned();
        };
        let Some((line, column)) = place.split_once(':') else { return note.to_owned() };
        let (Ok(line), Ok(column)) = (line.parse::<usize>(), column.parse::<usize>()) else {
            return note.to_owned();
        };
        // What is printed has one line.
        let offset = column.checked_sub(1).filter(|_| line == 1);
        match self.places.iter().find(|(printed, _)| Some(*printed) == offset) {
            Some((_, at)) => format!("{said} ({})", line_and_column(original, *at)),
            None => said.to_owned(),
        }
    }
}

/// How tightly unary minus binds: as multiplication.
const UNARY: u8 = 5;
/// What needs no parentheses anywhere.
const ATOM: u8 = 7;

/// From loose to tight.
const fn precedence(operation: Operation) -> u8 {
    match operation {
        Operation::Set(SetOperation::Or) => 1,
        Operation::Set(_) => 2,
        Operation::Comparison(_) => 3,
        Operation::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => 4,
        Operation::Arithmetic(Arithmetic::Power) => 6,
        Operation::Arithmetic(_) => 5,
    }
}

fn precedence_of(node: &Node) -> u8 {
    match &node.unmarked().kind {
        Kind::Binary(binary) => precedence(binary.operation),
        Kind::Negation(_) => UNARY,
        Kind::Number(number) if number.is_sign_negative() && !number.is_nan() => UNARY,
        _ => ATOM,
    }
}

struct Printer {
    out: String,
    places: Vec<(usize, usize)>,
    fixed: Option<QueryTimes>,
}

impl Printer {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Prints `node`, in parentheses where it binds more loosely than `tightest`.
    fn expression(&mut self, node: &Node, tightest: u8) {
        if precedence_of(node) < tightest {
            self.push("(");
            self.bare(node);
            self.push(")");
        } else {
            self.bare(node);
        }
    }

    fn argument(&mut self, node: &Node) {
        self.places.push((self.out.len(), node.at));
        self.bare(node);
    }

    fn arguments<'a>(&mut self, arguments: impl IntoIterator<Item = &'a Node>) {
        self.push("(");
        for (index, argument) in arguments.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.argument(argument);
        }
        self.push(")");
    }

    fn bare(&mut self, node: &Node) {
        match &node.kind {
            Kind::Number(number) => self.push(&number_text(*number)),
            Kind::Text(text) => self.push(&quoted(text)),
            Kind::Selector(selector) => self.selector(selector, None),
            Kind::Range(selector, range) => self.selector(selector, Some(*range)),
            Kind::Subquery(subquery) => self.subquery(subquery),
            Kind::Negation(inner) => {
                self.push("-");
                match inner.unmarked().kind {
                    Kind::Negation(_) => self.bare(inner),
                    // `-5` is a number, `-(5)` is not.
                    Kind::Number(_) => self.expression(inner, ATOM + 1),
                    _ => self.expression(inner, precedence(Operation::Arithmetic(Arithmetic::Power))),
                }
            }
            Kind::Binary(binary) => self.binary(binary),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate),
            Kind::Call(_, name, arguments) => {
                self.push(name);
                self.arguments(arguments);
            }
            Kind::Unsupported(construct, arguments) => {
                self.push(construct.trim_end_matches("()"));
                self.arguments(arguments);
            }
            Kind::Invariant(inner) => self.bare(inner),
            Kind::Evaluated(subtree) => self.push(&format!("${}", subtree.id.0)),
            Kind::Union(subtree) => {
                self.push("union(");
                self.bare(&subtree.node);
                self.push(&format!(", ${})", subtree.id.0));
            }
        }
    }

    fn selector(&mut self, selector: &Selector, range: Option<i64>) {
        self.push(&selector_text(&selector.matchers));
        if let Some(range) = range {
            self.push(&format!("[{}]", duration(range)));
        }
        self.shift(selector.shift);
    }

    fn subquery(&mut self, subquery: &Subquery) {
        let shifted = subquery.inner.selector().is_some_and(|s| s.shift.at.is_some() || s.shift.offset != 0);
        self.expression(&subquery.inner, if shifted { ATOM + 1 } else { ATOM });
        let step = subquery.step.map(duration).unwrap_or_default();
        self.push(&format!("[{}:{step}]", duration(subquery.range)));
        self.shift(subquery.shift);
    }

    fn shift(&mut self, shift: Shift) {
        let at = match (shift.at, self.fixed) {
            (Some(At::Start), Some(times)) => Some(At::Time(times.start)),
            (Some(At::End), Some(times)) => Some(At::Time(times.end)),
            (at, _) => at,
        };
        match at {
            None => {}
            Some(At::Start) => self.push(" @ start()"),
            Some(At::End) => self.push(" @ end()"),
            Some(At::Time(time)) => {
                let (sign, ms) = (if time < 0 { "-" } else { "" }, time.unsigned_abs());
                self.push(&format!(" @ {sign}{}.{:03}", ms / 1_000, ms % 1_000));
            }
        }
        if shift.offset != 0 {
            let sign = if shift.offset < 0 { "-" } else { "" };
            let length = i64::try_from(shift.offset.unsigned_abs()).unwrap_or(i64::MAX);
            self.push(&format!(" offset {sign}{}", duration(length)));
        }
    }

    fn binary(&mut self, binary: &Binary) {
        let own = precedence(binary.operation);
        let (left, right) = match binary.operation {
            Operation::Arithmetic(Arithmetic::Power) => (own + 1, own),
            _ => (own, own + 1),
        };
        self.expression(&binary.left, left);
        self.push(&format!(" {}", operator(binary.operation)));
        if binary.as_number {
            self.push(" bool");
        }
        let matching = &binary.matching;
        let is_default = matching.cardinality == Cardinality::OneToOne
            && matching.grouping == Grouping::Except(Vec::new());
        if !is_default {
            match &matching.grouping {
                Grouping::Only(names) => self.names(" on", names),
                Grouping::Except(names) => self.names(" ignoring", names),
            }
        }
        match &matching.cardinality {
            Cardinality::OneToOne => {}
            Cardinality::ManyToOne(names) => self.names(" group_left", names),
            Cardinality::OneToMany(names) => self.names(" group_right", names),
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                self.push(&format!(" fill({})", number_text(left)));
            }
            (left, right) => {
                for (word, value) in [("fill_left", left), ("fill_right", right)] {
                    if let Some(value) = value {
                        self.push(&format!(" {word}({})", number_text(value)));
                    }
                }
            }
        }
        self.push(" ");
        // A minus in front of a right side needs no parentheses, whatever binds tighter than it.
        if matches!(binary.right.unmarked().kind, Kind::Negation(_) | Kind::Number(_)) {
            self.bare(&binary.right);
        } else {
            self.expression(&binary.right, right);
        }
    }

    fn names(&mut self, word: &str, names: &[String]) {
        let names: Vec<String> = names.iter().map(|name| label_name(name)).collect();
        self.push(&format!("{word} ({})", names.join(", ")));
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.push(aggregation(aggregate.aggregation));
        match &aggregate.grouping {
            Grouping::Only(names) if names.is_empty() => {}
            Grouping::Only(names) => self.names(" by", names),
            Grouping::Except(names) => self.names(" without", names),
        }
        if aggregate.grouping != Grouping::ALL {
            self.push(" ");
        }
        self.arguments(aggregate.parameter.iter().chain([&aggregate.inner]));
    }
}

/// A number as a literal.
fn number_text(number: f64) -> String {
    match go_g(number).as_str() {
        "+Inf" => "Inf".to_owned(),
        text => text.to_owned(),
    }
}

/// A positive duration in the largest unit that holds it without a remainder.
pub(crate) fn duration(millis: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.iter().find(|(length, _)| millis % length == 0 && millis > 0);
    unit.map_or_else(|| format!("{millis}ms"), |(length, unit)| format!("{}{unit}", millis / length))
}

const fn operator(operation: Operation) -> &'static str {
    use super::arithmetic::Comparison;
    match operation {
        Operation::Arithmetic(arithmetic) => match arithmetic {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
            Arithmetic::Power => "^",
            Arithmetic::Atan2 => "atan2",
        },
        Operation::Comparison(comparison) => match comparison {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Greater => ">",
            Comparison::Less => "<",
            Comparison::GreaterOrEqual => ">=",
            Comparison::LessOrEqual => "<=",
        },
        Operation::Set(SetOperation::And) => "and",
        Operation::Set(SetOperation::Or) => "or",
        Operation::Set(SetOperation::Unless) => "unless",
    }
}

const fn aggregation(aggregation: Aggregation) -> &'static str {
    match aggregation {
        Aggregation::Sum => "sum",
        Aggregation::Average => "avg",
        Aggregation::Count => "count",
        Aggregation::Minimum => "min",
        Aggregation::Maximum => "max",
        Aggregation::Group => "group",
        Aggregation::StandardDeviation => "stddev",
        Aggregation::Variance => "stdvar",
        Aggregation::Quantile => "quantile",
        Aggregation::CountValues => "count_values",
        Aggregation::Rank(Ranking::Top) => "topk",
        Aggregation::Rank(Ranking::Bottom) => "bottomk",
        Aggregation::Rank(Ranking::Limit) => "limitk",
        Aggregation::Rank(Ranking::Ratio) => "limit_ratio",
    }
}

fn is_legacy_name(name: &str, also: &[char]) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(&c);
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(inside)
}

fn label_name(name: &str) -> String {
    if is_legacy_name(name, &[]) { name.to_owned() } else { quoted(name) }
}

fn matcher_text(matcher: &Matcher) -> String {
    let operator = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    format!("{}{operator}{}", label_name(&matcher.name), quoted(&matcher.value))
}

/// A selector without modifiers: `name{a="b"}` where it has a plain name, and `{__name__=…}` otherwise.
pub(crate) fn selector_text(matchers: &MatcherSet) -> String {
    let of_name = |matcher: &&Matcher| matcher.name == NAME;
    let mut names = matchers.matchers().iter().filter(of_name);
    let plain = match (names.next(), names.next()) {
        (Some(Matcher { op: MatchOp::Equal, value, .. }), None)
            if is_legacy_name(value, &[':']) && !is_keyword(value) =>
        {
            Some(value)
        }
        _ => None,
    };
    let others = matchers.matchers().iter().filter(|matcher| plain.is_none() || matcher.name != NAME);
    let others: Vec<String> = others.map(matcher_text).collect();
    match plain {
        Some(name) if others.is_empty() => name.clone(),
        name => format!("{}{{{}}}", name.map_or("", String::as_str), others.join(", ")),
    }
}

/// The text of a whole tree, without places.
impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print(self, None).text)
    }
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::MAX_QUERY_BYTES;
    use super::super::query::Query;
    use super::*;

    fn printed(text: &str) -> String {
        Query::parse(text, MAX_QUERY_BYTES).unwrap().root().to_string()
    }

    #[test]
    fn an_expression_is_printed_as_one_would_write_it() {
        for (text, expected) in [
            ("x", "x"),
            ("x{}", "x"),
            ("{__name__=\"x\",a=~\"b.*\",c!=\"\"}", "x{a=~\"b.*\", c!=\"\"}"),
            ("{__name__=\"sum\"}", "{__name__=\"sum\"}"),
            ("{__name__=\"a.b\"}", "{__name__=\"a.b\"}"),
            (
                "{__name__=~\"x|y\",\"l.m\"=\"a\\\"b\\\\\\n\"}",
                "{__name__=~\"x|y\", \"l.m\"=\"a\\\"b\\\\\\n\"}",
            ),
            ("x[5m] offset 90s", "x[5m] offset 90s"),
            ("x offset -1h @ -1.5", "x @ -1.500 offset -1h"),
            ("rate(x[1500ms] @ start())", "rate(x[1500ms] @ start())"),
            ("(x)[1h:] @ end()", "x[1h:] @ end()"),
            ("(x offset 1m)[1h:30s]", "(x offset 1m)[1h:30s]"),
            ("(a + b)[1h:30s] offset 2d", "(a + b)[1h:30s] offset 2d"),
            ("a + b * c ^ d", "a + b * c ^ d"),
            ("(a + b) * c", "(a + b) * c"),
            ("a - (b - c) - d", "a - (b - c) - d"),
            ("(a ^ b) ^ c ^ d", "(a ^ b) ^ c ^ d"),
            ("-a ^ b", "-a ^ b"),
            ("(-a) ^ b", "(-a) ^ b"),
            ("-1 ^ 2", "-1 ^ 2"),
            ("(-1) ^ 2", "(-1) ^ 2"),
            ("-(5)", "-(5)"),
            ("a * -b ^ -c", "a * -b ^ -c"),
            ("a ^ -b * c", "a ^ -b * c"),
            ("a - -b + -3", "a - -b + -3"),
            ("a or b and c unless d", "a or b and c unless d"),
            ("(a or b) and c", "(a or b) and c"),
            ("a and (b and c)", "a and (b and c)"),
            ("a > bool on (l) b", "a > bool on (l) b"),
            ("a / ignoring (l, m) group_left (n) b", "a / ignoring (l, m) group_left (n) b"),
            ("a * on () group_right b", "a * on () group_right () b"),
            ("a + ignoring () b", "a + b"),
            ("a + on (l) fill (-2) b", "a + on (l) fill(-2) b"),
            ("a + fill_left (1) fill_right (2) b", "a + fill_left(1) fill_right(2) b"),
            ("sum(x) by (a, b)", "sum by (a, b) (x)"),
            ("sum by () (x)", "sum(x)"),
            ("count_values without (a) (\"v\", x)", "count_values without (a) (\"v\", x)"),
            ("topk(3, (x))", "topk(3, x)"),
            ("clamp(x, -Inf, 1e300)", "clamp(x, -Inf, 1e+300)"),
            ("holt_winters(x[5m], 0.3, 0.6)", "holt_winters(x[5m], 0.3, 0.6)"),
            ("start_timestamp(x)", "start_timestamp(x)"),
            ("NaN + +Inf", "NaN + Inf"),
            ("time() - hour()", "time() - hour()"),
        ] {
            assert_eq!(printed(text), expected, "{text}");
            assert_eq!(printed(expected), expected, "{expected}");
        }
    }

    #[test]
    fn times_of_the_query_become_literal_for_another_grid() {
        let query = Query::parse("x @ start() + (y @ end())[1h:1m] offset 1m @ end()", 1_000);
        assert!(query.is_err(), "a range vector is no operand");
        let query = Query::parse("x @ start() + max_over_time((y @ end())[1h:1m] @ end())", 1_000).unwrap();
        let times = QueryTimes { start: 5, end: 1_700_000_000_000, step: 1 };
        let text = print(query.root(), Some(times)).text;
        assert_eq!(text, "x @ 0.005 + max_over_time((y @ 1700000000.000)[1h:1m] @ 1700000000.000)");
    }

    #[test]
    fn a_note_points_into_the_text_that_was_asked() {
        let original = "emac_x +\n  quantile( (2),  rate(y[5m]))";
        let query = Query::parse(original, 1_000).unwrap();
        let Kind::Binary(binary) = &query.root().kind else { panic!() };
        let printed = print(&binary.right, None);
        assert_eq!(printed.text, "quantile(2, rate(y[5m]))");
        let note = |column| format!("PromQL warning: something (with brackets) (1:{column})");
        let said = |note: &str| printed.translated(note, original);
        assert_eq!(said(&note(10)), "PromQL warning: something (with brackets) (2:14)");
        assert_eq!(said(&note(18)), "PromQL warning: something (with brackets) (2:24)");
        assert_eq!(said(&note(3)), "PromQL warning: something (with brackets)");
        assert_eq!(said("no place (at all)"), "no place (at all)");
        assert_eq!(said("nothing"), "nothing");
    }
}
