//! PromQL: selectors, and the evaluation of expressions over series in memory.
