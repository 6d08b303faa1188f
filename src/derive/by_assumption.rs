//! A value for each assumption about dependence.

use serde::{Serialize, Serializer};

/// Values by the text of the `dependence` label, in the order in which they are reported. There are four at most, in each
/// node of a tree: they are looked through, not hashed.
#[derive(Debug, Clone, PartialEq)]
pub struct ByAssumption<R>(Vec<(&'static str, R)>);

impl<R> ByAssumption<R> {
    /// The value under this assumption.
    #[must_use]
    pub fn get(&self, assumption: &str) -> Option<&R> {
        self.iter().find(|(name, _)| *name == assumption).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &R)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The assumptions' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// The values alone.
    pub fn values(&self) -> impl Iterator<Item = &R> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<R> FromIterator<(&'static str, R)> for ByAssumption<R> {
    fn from_iter<I: IntoIterator<Item = (&'static str, R)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<R: Serialize> Serialize for ByAssumption<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
