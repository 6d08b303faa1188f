//! A journey and its composition as a derivation that a person can check.
