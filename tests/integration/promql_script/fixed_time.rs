//! A query whose selectors are all fixed to one time by `@`: it must give the same at any other time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use emac::promql::query::Query;
use promql_parser::parser::{AtModifier, Expr};

/// What looks at the time of the step itself, or at those of its samples.
const TIME_DEPENDENT: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "info",
    "range",
];

/// The query with `@ at` on every selector and subquery that has none. `None` where that changes what it means.
pub(crate) fn fixed(query: &Query, at: i64) -> Option<Query> {
    let mut expression = query.expression().clone();
    let distance = Duration::from_millis(at.unsigned_abs());
    let time = if at < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
    fix(&mut expression, time)?;
    Query::of_expression(expression, query.text()).ok()
}

/// Whether the query calls `start()`, `end()`, `step()` or `range()`.
pub(crate) fn tells_query_times(expression: &Expr) -> bool {
    match expression {
        Expr::Call(call) => {
            ["start", "end", "step", "range"].contains(&call.func.name)
                || call.args.args.iter().any(|argument| tells_query_times(argument))
        }
        Expr::Binary(binary) => tells_query_times(&binary.lhs) || tells_query_times(&binary.rhs),
        Expr::Paren(inner) => tells_query_times(&inner.expr),
        Expr::Unary(unary) => tells_query_times(&unary.expr),
        Expr::Subquery(subquery) => tells_query_times(&subquery.expr),
        Expr::Aggregate(aggregate) => {
            tells_query_times(&aggregate.expr)
                || aggregate.param.as_ref().is_some_and(|parameter| tells_query_times(parameter))
        }
        _ => false,
    }
}

fn fix(expression: &mut Expr, time: SystemTime) -> Option<()> {
    let set = |at: &mut Option<AtModifier>| match at {
        None => *at = Some(AtModifier::At(time)),
        Some(AtModifier::Start | AtModifier::End) => *at = Some(AtModifier::At(time)),
        Some(AtModifier::At(_)) => {}
    };
    match expression {
        Expr::VectorSelector(selector) => set(&mut selector.at),
        Expr::MatrixSelector(selector) => set(&mut selector.vs.at),
        Expr::Subquery(subquery) => set(&mut subquery.at),
        Expr::Unary(unary) => fix(&mut unary.expr, time)?,
        Expr::Paren(inner) => fix(&mut inner.expr, time)?,
        Expr::Binary(binary) => {
            fix(&mut binary.lhs, time)?;
            fix(&mut binary.rhs, time)?;
        }
        Expr::Aggregate(aggregate) => {
            if let Some(parameter) = &mut aggregate.param {
                fix(parameter, time)?;
            }
            fix(&mut aggregate.expr, time)?;
        }
        Expr::Call(call) => {
            if TIME_DEPENDENT.contains(&call.func.name) {
                return None;
            }
            for argument in &mut call.args.args {
                fix(argument, time)?;
            }
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => return None,
    }
    Some(())
}
