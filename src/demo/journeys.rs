//! The shop's journeys: their specs, as a user would write them, and how often users start each one.

use std::sync::Arc;

use super::request::Wiring;
use super::services::SHOP;
use crate::journey::Journey;
use crate::spec::{self, Severity, SourceFile};

/// A journey of the shop.
#[derive(Debug, Clone)]
pub struct ShopJourney {
    /// As loaded from its spec.
    pub journey: Arc<Journey>,
    /// How many requests a second start it.
    pub rate: f64,
    /// Which services and caches it means.
    pub wiring: Wiring,
}

/// File name, text and requests a second of every journey: together about 5,000 calls of services a second.
const SPECS: [(&str, &str, f64); 4] = [
    ("checkout.yaml", include_str!("shop/checkout.yaml"), 60.0),
    ("browse.yaml", include_str!("shop/browse.yaml"), 320.0),
    ("search.yaml", include_str!("shop/search.yaml"), 150.0),
    ("account.yaml", include_str!("shop/account.yaml"), 100.0),
];

/// A journey of the shop that cannot be walked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShopJourneyError {
    /// Its spec has errors.
    #[error("the shop's own specs are invalid: {0}")]
    Spec(String),
    /// It is none of the shop's.
    #[error("there is no journey `{0}` in the shop")]
    UnknownJourney(String),
    /// It names a component that is no service of the shop.
    #[error("journey `{journey}`: there is no service `{component}` in the shop")]
    UnknownService {
        /// Which journey.
        journey: String,
        /// What it calls.
        component: String,
    },
    /// It names a parameter that no cache of the shop supplies.
    #[error("journey `{journey}`: no cache of the shop supplies `{parameter}`")]
    UnknownCache {
        /// Which journey.
        journey: String,
        /// What it names.
        parameter: String,
    },
}

/// The spec files, as `--write-spec` writes them.
#[must_use]
pub fn spec_files() -> Vec<SourceFile> {
    let file = |(path, text, _): &(&str, &str, f64)| SourceFile {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    };
    SPECS.iter().map(file).collect()
}

/// Loads the embedded specs the way a user's are loaded, and wires them to the shop.
///
/// # Errors
/// [`ShopJourneyError`] where a spec is invalid or names what the shop does not have.
pub fn load() -> Result<Vec<ShopJourney>, ShopJourneyError> {
    let mut all = Vec::new();
    for (path, text, rate) in SPECS {
        let loaded = spec::load(&[SourceFile { path: path.to_owned(), text: text.to_owned() }]);
        let errors: Vec<String> = loaded
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .map(|diagnostic| format!("{path}:{}: {}", diagnostic.line, diagnostic.message))
            .collect();
        if !errors.is_empty() {
            return Err(ShopJourneyError::Spec(errors.join("; ")));
        }
        for journey in loaded.journeys {
            let wiring = wire(&journey)?;
            all.push(ShopJourney { journey: Arc::new(journey), rate, wiring });
        }
    }
    Ok(all)
}

/// Finds the service of each component and the cache of each parameter.
///
/// # Errors
/// Where there is none of that name.
pub fn wire(journey: &Journey) -> Result<Wiring, ShopJourneyError> {
    let services = journey.components.iter().map(|component| {
        SHOP.services.iter().position(|service| service.name == component.name).ok_or_else(|| {
            ShopJourneyError::UnknownService {
                journey: journey.name.clone(),
                component: component.name.clone(),
            }
        })
    });
    let caches = journey.parameters.iter().map(|parameter| {
        SHOP.caches.iter().position(|cache| cache.parameter == parameter.name).ok_or_else(|| {
            ShopJourneyError::UnknownCache {
                journey: journey.name.clone(),
                parameter: parameter.name.clone(),
            }
        })
    });
    Ok(Wiring { services: services.collect::<Result<_, _>>()?, caches: caches.collect::<Result<_, _>>()? })
}
