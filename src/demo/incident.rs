//! Scheduled incidents: what goes wrong in the shop, and when.

use crate::unit::{Timestamp, Window};

/// What an incident does to the shop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// One service slows down.
    Slow {
        /// Which.
        service: &'static str,
        /// What its latency is multiplied with.
        factor: f64,
    },
    /// Some requests meet the same trouble at several services: they share a fate.
    CommonTrouble {
        /// Where.
        services: &'static [&'static str],
        /// The share of requests.
        rate: f64,
        /// Whether the calls fail.
        fails: bool,
        /// What their latency is multiplied with.
        slowdown: f64,
    },
    /// A cache loses its content.
    CacheMisses {
        /// Which.
        cache: &'static str,
        /// The hit ratio that is left.
        hit_ratio: f64,
    },
}

/// One incident of the cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// What a person would call it.
    pub name: &'static str,
    /// What it does.
    pub effect: Effect,
    /// When it begins, in seconds from the start of the cycle.
    pub begins: u32,
    /// When it is over, likewise.
    pub ends: u32,
}

/// How long a cycle of incidents takes, in seconds.
pub const CYCLE_SECONDS: u32 = 45 * 60;

/// The cycle, in the order of time; incidents do not overlap.
///
/// The payment network comes first and in two steps. In the brown-out 3 % of all requests fail at *both* providers.
/// Each provider alone then looks as if it failed a little more often, which an independent estimate shrugs off
/// (both at once would be one in a thousand), but the assumption of a shared fate does not.
pub const INCIDENTS: [Incident; 4] = [
    Incident {
        name: "payment brown-out: 3% fail at both providers",
        effect: Effect::CommonTrouble { services: &PAYMENT, rate: 0.03, fails: true, slowdown: 1.0 },
        begins: 2 * 60,
        ends: 9 * 60,
    },
    Incident {
        name: "payment outage: 35% fail at both providers",
        effect: Effect::CommonTrouble { services: &PAYMENT, rate: 0.35, fails: true, slowdown: 2.0 },
        begins: 9 * 60,
        ends: 13 * 60,
    },
    Incident {
        name: "fraud is four times slower",
        effect: Effect::Slow { service: "fraud", factor: 4.0 },
        begins: 20 * 60,
        ends: 26 * 60,
    },
    Incident {
        name: "product cache storm: hit ratio 20%",
        effect: Effect::CacheMisses { cache: "product", hit_ratio: 0.2 },
        begins: 33 * 60,
        ends: 39 * 60,
    },
];

const PAYMENT: [&str; 2] = ["pay-alpha", "pay-beta"];

/// When the cycle of incidents starts, and with that, what is wrong at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    start: Timestamp,
}

impl Schedule {
    /// The first cycle starts at `start`; before it nothing goes wrong.
    #[must_use]
    pub const fn starting(start: Timestamp) -> Self {
        Self { start }
    }

    /// The incident under way, if any, and for how much longer.
    #[must_use]
    pub fn at(&self, time: Timestamp) -> Option<(&'static Incident, Window)> {
        let since = u64::try_from(time.millis().saturating_sub(self.start.millis())).ok()?;
        let in_cycle = since % (u64::from(CYCLE_SECONDS) * 1000);
        let millis = |seconds: u32| u64::from(seconds) * 1000;
        let incident =
            INCIDENTS.iter().find(|one| (millis(one.begins)..millis(one.ends)).contains(&in_cycle))?;
        Some((incident, Window::from_millis(millis(incident.ends) - in_cycle).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::services::SHOP;

    #[test]
    fn incidents_follow_each_other_within_the_cycle_and_name_what_exists() {
        let mut free_from = 0;
        for incident in &INCIDENTS {
            assert!(free_from <= incident.begins && incident.begins < incident.ends, "{}", incident.name);
            free_from = incident.ends;
            let is_service = |name: &str| SHOP.services.iter().any(|service| service.name == name);
            assert!(match incident.effect {
                Effect::Slow { service, .. } => is_service(service),
                Effect::CommonTrouble { services, .. } => services.iter().all(|name| is_service(name)),
                Effect::CacheMisses { cache, .. } => SHOP.caches.iter().any(|known| known.name == cache),
            });
        }
        assert!(free_from <= CYCLE_SECONDS);
    }

    #[test]
    fn the_schedule_repeats_and_has_a_quiet_time_before_its_start() {
        let start = Timestamp::from_millis(1_000_000);
        let schedule = Schedule::starting(start);
        let at = |seconds: i64| schedule.at(start.plus_millis(seconds * 1000));
        assert_eq!(at(-1), None);
        assert_eq!(at(0), None);
        let (incident, left) = at(130).unwrap();
        assert_eq!((incident.begins, left.to_string().as_str()), (120, "6m50s"));
        assert_eq!(at(i64::from(CYCLE_SECONDS) + 130), at(130));
    }
}
