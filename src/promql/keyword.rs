//! PromQL's words that are no names. All may be written in either case.

/// Words that may stand before a bracket without calling anything, and after which an operand begins.
const BETWEEN_OPERANDS: [&str; 14] = [
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
];

/// Other words that some parser, of Prometheus or of a server compatible with it, may not take for the name of a metric
/// where they stand alone.
const OTHERS: [&str; 28] = [
    "offset",
    "smoothed",
    "anchored",
    "start",
    "end",
    "step",
    "range",
    "inf",
    "nan",
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "quantile",
    "count_values",
    "topk",
    "bottomk",
    "limitk",
    "limit_ratio",
    "keep_metric_names",
    "default",
    "if",
    "ifnot",
    "with",
];

/// Operators that are words.
const OPERATORS: [&str; 5] = ["and", "or", "unless", "atan2", "offset"];

/// Whether `word` is one of `words`, in either case.
pub(crate) fn is_any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a word joins operands or says how they are joined: a bracket after it makes no call of it.
pub(crate) fn is_between_operands(word: &str) -> bool {
    is_any(word, &BETWEEN_OPERANDS)
}

/// Whether a word is an operator.
pub(crate) fn is_operator(word: &str) -> bool {
    is_any(word, &OPERATORS)
}

/// Whether a word that stands alone may be taken for something else than the name of a metric.
pub(crate) fn is_keyword(word: &str) -> bool {
    is_between_operands(word) || is_any(word, &OTHERS)
}
