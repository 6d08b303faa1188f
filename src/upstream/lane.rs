//! Who asks, and so who goes first where not all can.

use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};

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
        // Looking at each once is cheaper than looking three of them up.
        let (mut said, mut agent, mut dashboard) = (None, None, false);
        for (name, value) in headers {
            if *name == USER_AGENT {
                agent = agent.or(Some(value));
            } else if *name == LANE {
                said = said.or(Some(value));
            } else {
                dashboard |= *name == DASHBOARD_UID;
            }
        }
        match said.map(HeaderValue::as_bytes) {
            Some(b"dashboard") => return Self::Dashboard,
            Some(b"automation") => return Self::Automation,
            _ => {}
        }
        let grafana = agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Grafana/"));
        if grafana || dashboard { Self::Dashboard } else { Self::Automation }
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
