//! Plans as data: which evidence to ask for, in how few queries.
