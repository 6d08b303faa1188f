//! The words of the language: scalars of which only a few are allowed, each with what it means.

use serde_json::{Value, json};

use super::preset::Preset;
use super::scalar::text;
use crate::document::decode::Scalar;
use crate::document::diagnostic::{Code, did_you_mean};
use crate::document::tree::Plain;
use crate::journey::component::{ComponentKind, HistogramType, LatencyScope, LatencyUnit};
use crate::journey::governance::{BucketError, Dependence, EvaluationMode};
use crate::journey::operator::{AttemptsFate, Jitter};

/// A scalar that is one of a few words.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident($type:ty), $($word:literal => $value:expr),+;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name(pub(crate) $type);

        impl $name {
            /// The words.
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl Scalar for $name {
            const NAME: &'static str = stringify!($name);
            const ALLOWED: &'static str = choices!(@list $($word),+);

            fn read(plain: Plain<'_>, _: &str) -> Result<Self, Code> {
                match text(plain)? {
                    $($word => Ok(Self($value)),)+
                    _ => Err(Code::NotAllowed),
                }
            }

            fn schema() -> Value {
                json!({ "type": "string", "enum": Self::WORDS })
            }

            fn help(plain: Plain<'_>, _: &str) -> Option<String> {
                did_you_mean(text(plain).ok()?, Self::WORDS.iter().copied())
            }
        }
    )*};
    (@list $first:literal $(, $rest:literal)*) => { concat!($first $(, ", ", $rest)*) };
}

choices! {
    /// The version of the language.
    ApiVersion(()), "emac.dev/v1alpha1" => ();
    /// A journey.
    JourneyKind(()), "JourneyIntent" => ();
    /// An evidence file.
    EvidenceKind(()), "Evidence" => ();
    /// Who operates a component.
    Operated(ComponentKind),
        "service" => ComponentKind::Service,
        "external_dependency" => ComponentKind::ExternalDependency;
    /// The unit of a histogram's edges.
    Unit(LatencyUnit),
        "seconds" => LatencyUnit::Seconds,
        "milliseconds" => LatencyUnit::Milliseconds;
    /// How a histogram is stored.
    HistogramTypeWord(HistogramType),
        "classic" => HistogramType::Classic,
        "native" => HistogramType::Native;
    /// What a latency contains.
    Scope(LatencyScope),
        "exclusive" => LatencyScope::Exclusive,
        "inclusive" => LatencyScope::Inclusive;
    /// A well-known instrumentation.
    PresetName(Preset),
        "otel-http-server" => Preset::OtelHttpServer,
        "otel-http-client" => Preset::OtelHttpClient,
        "spanmetrics" => Preset::SpanMetrics,
        "istio" => Preset::Istio,
        "linkerd" => Preset::Linkerd,
        "envoy" => Preset::Envoy;
    /// Whether a person declared a failure domain.
    DomainKind(bool), "declared" => true, "inferred" => false;
    /// How a domain's members slow together.
    DomainLatencyWord(bool), "shared" => true, "independent" => false;
    /// Which bound an objective is held against.
    Mode(EvaluationMode),
        "conservative" => EvaluationMode::Conservative,
        "permissive" => EvaluationMode::Permissive;
    /// What may be assumed inside a failure domain.
    DependenceWord(Dependence),
        "independent" => Dependence::Independent,
        "shared_fate" => Dependence::SharedFate,
        "unknown" => Dependence::Unknown,
        "unknown_all" => Dependence::UnknownAll,
        "paper_eq1" => Dependence::PaperEq1;
    /// How the width of buckets enters the bounds.
    BucketErrorWord(BucketError), "bound" => BucketError::Bound, "interpolate" => BucketError::Interpolate;
    /// The bound of availability that automation uses.
    AvailabilityBound(()), "pessimistic" => ();
    /// The bound of latency that automation uses.
    LatencyBound(()), "upperConfidence" => (), "pessimistic" => ();
    /// What performs rollouts.
    RolloutProvider(()), "argo-rollouts" => ();
    /// How the branches of a Parallel end.
    Join(()), "all" => ();
    /// How a Race starts.
    RaceSemantics(()), "hedged" => ();
    /// Whether the bounds may count on independent tries.
    Fate(AttemptsFate), "shared" => AttemptsFate::Shared, "independent" => AttemptsFate::Independent;
    /// The spread of a backoff.
    JitterWord(Jitter), "none" => Jitter::None, "full" => Jitter::Full;
}
