//! Failure domains: what fails, and perhaps slows, together.

/// Index into [`super::Journey::domains`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub usize);

/// How a domain's members slow together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DomainLatency {
    /// The whole scenario family, ρ ∈ {0, .5, .8, 1}.
    Shared,
    /// The worse of this ρ and 0; in `[0, 1]`.
    Correlation(f64),
    /// It fails as one but does not slow as one.
    Independent,
}

/// A set of components that may fail together; components name their domains.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureDomain {
    /// Its name, such as `k8s/zone`: the value of the `domain` label.
    pub name: String,
    /// `true` where a person declared it, `false` where it was inferred.
    pub declared: bool,
    /// For readers.
    pub description: Option<String>,
    /// How its members slow together.
    pub latency: DomainLatency,
}
