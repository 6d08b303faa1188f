//! Who asks, and so who goes first where not all can.

use http::header::{HeaderMap, HeaderName, USER_AGENT};

/// Says which lane a request takes.
const LANE: HeaderName = HeaderName::from_static("x-emac-lane");
/// Grafana's mark of a dashboard's request.
const DASHBOARD_UID: HeaderName = HeaderName::from_static("x-dashboard-uid");

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The evaluation itself: few requests, whose answers everybody else waits for.
    Evidence,
    /// Rules, gates, remote reads, scripts.
    Automation,
    /// People at dashboards, who can ask again.
    Dashboard,
}

impl Lane {
    /// All, the first to be served first.
    pub const ALL: [Self; 3] = [Self::Evidence, Self::Automation, Self::Dashboard];

    /// Of a client's request. `X-Emac-Lane` says it, or the marks of Grafana do. No client is the evaluation.
    #[must_use]
    pub fn of_client(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        match text(LANE) {
            Some("dashboard") => return Self::Dashboard,
            Some("automation") => return Self::Automation,
            _ => {}
        }
        let grafana = text(USER_AGENT).is_some_and(|agent| agent.starts_with("Grafana/"));
        if grafana || headers.contains_key(DASHBOARD_UID) { Self::Dashboard } else { Self::Automation }
    }

    /// As in the label of a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Automation => "automation",
            Self::Dashboard => "dashboard",
        }
    }

    /// Its place in [`Lane::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Evidence => 0,
            Self::Automation => 1,
            Self::Dashboard => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashboards_are_known_by_grafanas_marks_unless_the_request_says_otherwise() {
        for (headers, lane) in [
            (&[][..], Lane::Automation),
            (&[("user-agent", "vmalert/1.9")], Lane::Automation),
            (&[("user-agent", "Grafana/12.0")], Lane::Dashboard),
            (&[("x-dashboard-uid", "a")], Lane::Dashboard),
            (&[("user-agent", "Grafana/12.0"), ("x-emac-lane", "automation")], Lane::Automation),
            (&[("x-emac-lane", "dashboard")], Lane::Dashboard),
            (&[("x-emac-lane", "evidence")], Lane::Automation),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(Lane::of_client(&map), lane, "{headers:?}");
        }
    }
}
