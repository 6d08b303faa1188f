//! How the shop's services and caches are doing at the moment: their laws, bent by the incidents under way.

use super::incident::{Effect, Incident};
use super::latency_law::{LatencySampler, LawError};
use super::services::Catalog;

/// One service at the moment.
#[derive(Debug, Clone, Copy)]
pub struct ServiceHealth {
    /// Of its successes, before [`ServiceHealth::slowdown`].
    pub latency: LatencySampler,
    /// The share of its calls that fail for reasons of its own.
    pub failure_rate: f64,
    /// What every latency is multiplied with.
    pub slowdown: f64,
}

/// Trouble that some requests meet at several services at once.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonTrouble {
    /// The share of requests that meet it.
    pub rate: f64,
    /// Whether their calls fail.
    pub fails: bool,
    /// What the latency of their calls is multiplied with.
    pub slowdown: f64,
    services: Vec<usize>,
}

impl CommonTrouble {
    /// Whether the service is one of those.
    #[must_use]
    pub fn concerns(&self, service: usize) -> bool {
        self.services.contains(&service)
    }
}

/// The state of the whole shop.
#[derive(Debug, Clone)]
pub struct Health {
    catalog: Catalog,
    services: Vec<ServiceHealth>,
    failure_latency: LatencySampler,
    hit_ratios: Vec<f64>,
    common: Option<CommonTrouble>,
}

impl Health {
    /// Everything as the catalog declares it.
    ///
    /// # Errors
    /// [`LawError`] where the catalog declares a law that is none.
    pub fn good(catalog: Catalog) -> Result<Self, LawError> {
        let services = catalog
            .services
            .iter()
            .map(|service| {
                let latency = service.latency.sampler()?;
                Ok(ServiceHealth { latency, failure_rate: service.failure_rate, slowdown: 1.0 })
            })
            .collect::<Result<_, LawError>>()?;
        let hit_ratios = catalog.caches.iter().map(|cache| cache.hit_ratio).collect();
        let failure_latency = catalog.failure_latency.sampler()?;
        Ok(Self { catalog, services, failure_latency, hit_ratios, common: None })
    }

    /// The same shop with an incident under way. Incidents do not overlap, so at most one is.
    #[must_use]
    pub fn during(&self, incident: &Incident) -> Self {
        let mut health = self.clone();
        let index = |name: &str| self.catalog.services.iter().position(|service| service.name == name);
        match incident.effect {
            Effect::Slow { service, factor } => {
                if let Some(at) = index(service) {
                    health.services[at].slowdown *= factor;
                }
            }
            Effect::CommonTrouble { services, rate, fails, slowdown } => {
                let services = services.iter().filter_map(|name| index(name)).collect();
                health.common = Some(CommonTrouble { rate, fails, slowdown, services });
            }
            Effect::CacheMisses { cache, hit_ratio } => {
                if let Some(at) = self.catalog.caches.iter().position(|known| known.name == cache) {
                    health.hit_ratios[at] = hit_ratio;
                }
            }
        }
        health
    }

    /// The service with this index in the catalog.
    #[must_use]
    pub fn service(&self, index: usize) -> &ServiceHealth {
        &self.services[index]
    }

    /// How long a failing call takes.
    #[must_use]
    pub const fn failure_latency(&self) -> &LatencySampler {
        &self.failure_latency
    }

    /// Of the cache with this index in the catalog.
    #[must_use]
    pub fn hit_ratio(&self, cache: usize) -> f64 {
        self.hit_ratios[cache]
    }

    /// What some requests meet at several services at once, if anything.
    #[must_use]
    pub const fn common_trouble(&self) -> Option<&CommonTrouble> {
        self.common.as_ref()
    }
}
