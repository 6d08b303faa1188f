//! An indicator's query for any window.
//!
//! OpenSLO leaves open how a query says its range. Three ways are understood: a placeholder such as `{{.window}}`, a
//! literal range, and a bare selector of a counter. Text is replaced at the places that a scan of the query's tokens
//! gives, never by search: a string that looks like a range stays as it is.

use promql_parser::parser::Expr;

use crate::promql::query::Query;
use crate::promql::ranges::ranges;

/// The longest query, in bytes.
const MAX_QUERY_BYTES: usize = 8 * 1024;

/// What takes the place of a range.
pub const PLACEHOLDER: &str = "{{window}}";

/// Why a query cannot be asked for any window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryFault {
    /// It is no PromQL.
    #[error("the query cannot be read: {0}")]
    Unreadable(String),
    /// Ranges of different lengths: which of them is the window?
    #[error("the query holds the ranges {}, and only equal ones can be replaced by the window", .0.join(" and "))]
    DifferentRanges(Vec<String>),
    /// A range with a resolution.
    #[error("the query holds the subquery range [{0}], which cannot be replaced by the window")]
    Subquery(String),
    /// No range, and neither a bare selector nor a number.
    #[error("the query does not say over which window it counts")]
    NoRange,
}

/// The query with [`PLACEHOLDER`] for its range. `counter`: what it selects only grows, so that a bare selector means its
/// increase; otherwise a query without a range is a number already.
///
/// # Errors
/// [`QueryFault`], where guessing would be needed.
pub fn for_any_window(text: &str, counter: bool) -> Result<String, QueryFault> {
    let text = text.trim();
    if has_placeholder(text) {
        return Ok(text.to_owned());
    }
    let parsed =
        Query::parse(text, MAX_QUERY_BYTES).map_err(|error| QueryFault::Unreadable(error.to_string()))?;
    let ranges = ranges(text);
    if let Some(range) = ranges.iter().map(|range| &text[range.clone()]).find(|range| range.contains(':')) {
        return Err(QueryFault::Subquery(range.trim().to_owned()));
    }
    let mut different: Vec<String> =
        ranges.iter().map(|range| text[range.clone()].trim().to_owned()).collect();
    different.sort_unstable();
    different.dedup();
    match (different.len(), parsed.expression()) {
        (0, Expr::VectorSelector(selector)) if counter => {
            if selector.offset.is_some() || selector.at.is_some() {
                return Err(QueryFault::NoRange);
            }
            Ok(format!("sum(increase({text}[{PLACEHOLDER}]))"))
        }
        (0, _) if counter => Err(QueryFault::NoRange),
        (0, _) => Ok(text.to_owned()),
        (1, _) => {
            let mut out = String::with_capacity(text.len() + PLACEHOLDER.len());
            let mut from = 0;
            for range in ranges {
                out.push_str(&text[from..range.start]);
                out.push_str(PLACEHOLDER);
                from = range.end;
            }
            out.push_str(&text[from..]);
            Ok(out)
        }
        _ => Err(QueryFault::DifferentRanges(different)),
    }
}

/// Whether a query holds `{{window}}`, `{{ .window }}` and the like.
pub(crate) fn has_placeholder(query: &str) -> bool {
    query.split("{{").skip(1).any(|rest| {
        rest.split_once("}}").is_some_and(|(name, _)| name.trim().trim_start_matches('.') == "window")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ranges_become_the_window_wherever_they_stand() {
        for (query, expected) in [
            (r#"sum(increase(x{code!~"5.."}[30d]))"#, r#"sum(increase(x{code!~"5.."}[{{window}}]))"#),
            ("sum(rate(a[ 5m ])) - sum(rate(b[5m]))", "sum(rate(a[{{window}}])) - sum(rate(b[{{window}}]))"),
            (r#"sum(increase(x{l="[5m]"}[1h]))"#, r#"sum(increase(x{l="[5m]"}[{{window}}]))"#),
            ("sum(increase(x[{{.window}}]))", "sum(increase(x[{{.window}}]))"),
            (r#"x{a="b"}"#, r#"sum(increase(x{a="b"}[{{window}}]))"#),
            ("  x\n", "sum(increase(x[{{window}}]))"),
        ] {
            assert_eq!(for_any_window(query, true).as_deref(), Ok(expected), "{query}");
        }
        assert_eq!(for_any_window("job:errors:count5m", false).as_deref(), Ok("job:errors:count5m"));
    }

    #[test]
    fn nothing_is_guessed_where_the_window_is_not_clear() {
        assert_eq!(
            for_any_window("sum(increase(a[5m])) / sum(increase(b[1h]))", true),
            Err(QueryFault::DifferentRanges(vec!["1h".to_owned(), "5m".to_owned()]))
        );
        assert_eq!(
            for_any_window("sum(max_over_time(a[5m:1m]))", true),
            Err(QueryFault::Subquery("5m:1m".to_owned()))
        );
        assert_eq!(for_any_window("sum(x)", true), Err(QueryFault::NoRange));
        assert_eq!(for_any_window("x offset 1h", true), Err(QueryFault::NoRange));
        assert!(matches!(for_any_window("sum(x", true), Err(QueryFault::Unreadable(_))));
    }
}
