//! What is left of an error budget, over what a server retains of its window.

use std::sync::Arc;

use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};

use crate::http_client::{get, post};
use crate::prometheus::{Prometheus, Setup, escape};
use crate::remote_read_load::{DAY, MINUTE, SPEC, history};
use crate::served::{Options, Served, journeys};

const END: i64 = 1_700_000_100;

/// How often a counter of the history rose between two times.
fn increase(history: &str, service: &str, code: &str, from: i64, to: i64) -> f64 {
    let series = format!("m_bucket{{service=\"{service}\",code=\"{code}\",le=\"+Inf\"}} ");
    let at = |time: i64| -> f64 {
        let lines = history.lines().filter_map(|line| line.strip_prefix(&series));
        let mut samples = lines.filter_map(|line| line.split_once(' '));
        samples.find(|(_, sampled)| *sampled == time.to_string()).unwrap().0.parse().unwrap()
    };
    at(to) - at(from)
}

fn value(served: &Served, query: &str) -> Option<f64> {
    let reply = get(&served.url, &format!("/api/v1/query?query={}&time={END}", escape(query)));
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    let result = reply.json()["data"]["result"].as_array().unwrap().clone();
    assert!(result.len() < 2, "{result:?}");
    Some(result.first()?["value"][1].as_str().unwrap().parse().unwrap())
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn what_is_left_of_a_budget_follows_from_all_that_the_upstream_retains() {
    let text = history(END);
    let prometheus = Prometheus::start(&Setup { history: Some(&text), ..Setup::default() });
    let day = SPEC.replace("target: 0.99, window: 30d", "target: 0.99, window: 1d");
    let month = SPEC.replace("name: checkout", "name: month");
    let models = [&day, &month].into_iter().flat_map(|spec| journeys(spec)).collect();
    let url = prometheus.url().to_owned();
    let upstream =
        move || -> Arc<dyn Upstream> { Arc::new(HttpUpstream::new(HttpSettings::new(url)).unwrap()) };
    let now = Timestamp::from_millis((END + 5) * 1_000);
    let served = Served::start(upstream, models, now, Options::default());
    let remaining = |side: &str, journey: &str| {
        value(&served, &format!("emac_journey_error_budget_remaining_{side}{{journey=\"{journey}\"}}"))
    };
    served.evaluate_budgets();
    served.evaluate();

    // It ends a minute before the newest point.
    let to = END - MINUTE;
    for (journey, from) in [("checkout", to - DAY * MINUTE), ("month", END - (DAY + 120) * MINUTE)] {
        let availability = |service: &str| {
            let rise = |code| increase(&text, service, code, from, to);
            rise("200") / (rise("200") + rise("500"))
        };
        let expected = 1.0 - (1.0 - availability("front") * availability("pay")) / 0.01;
        let estimate = remaining("estimate", journey).unwrap();
        assert!((estimate - expected).abs() < 2e-3, "{journey}: {estimate}, expected {expected}");
        assert!(remaining("pessimistic", journey).unwrap() <= estimate, "{journey}");
        assert!((0.2..0.9).contains(&expected), "{expected} shows little");
    }

    // A day is retained, a month is not.
    let missing = "emac_journey_evidence_missing{reason=\"retention\",component=\"\"}";
    let of = |journey: &str| value(&served, &format!("{missing} and {{journey=\"{journey}\"}}"));
    assert_eq!((of("checkout"), of("month")), (Some(0.0), Some(1.0)));
    assert_eq!(
        value(&served, "sum(emac_journey_evidence_missing{reason=\"retention\",component!=\"\"})"),
        Some(2.0)
    );
    // It holds no verdict back: that is on other windows.
    assert_eq!(value(&served, "emac_journey_gate{journey=\"month\",verdict=\"review\"}"), Some(0.0));
    let form = "query=emac_journey_error_budget_remaining_estimate&start=1700000085&end=1700000100&step=15";
    let range = post(&served.url, "/api/v1/query_range", form).json();
    assert_eq!(range["data"]["result"].as_array().unwrap().len(), 2, "{range}");
}

#[test]
fn a_budget_that_cannot_be_had_is_not_shown_for_long() {
    let served = crate::remote_read::start(Options::default());
    let estimate = "emac_journey_error_budget_remaining_estimate";
    let shown = |served: &Served| {
        let reply = get(&served.url, &format!("/api/v1/query?query={estimate}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        !reply.json()["data"]["result"].as_array().unwrap().is_empty()
    };
    let (served, shop) = served;
    crate::remote_read::evaluate(&served, 100, 100);
    assert!(!shown(&served), "there is none before it was asked for");
    served.evaluate_budgets();
    crate::remote_read::evaluate(&served, 101, 101);
    assert!(shown(&served));
    // Its queries fail from now on, the others do not.
    shop.refuse("[1h]");
    for point in [120, 220, 330] {
        crate::remote_read::evaluate(&served, point, point);
        served.evaluate_budgets();
        assert!(shown(&served), "{point}: an hour is a share of a month");
    }
    crate::remote_read::evaluate(&served, 345, 345);
    assert!(!shown(&served));
    shop.refuse("");
    served.evaluate_budgets();
    crate::remote_read::evaluate(&served, 346, 346);
    assert!(!shown(&served), "it is not asked for again at once");
    crate::remote_read::evaluate(&served, 380, 380);
    served.evaluate_budgets();
    crate::remote_read::evaluate(&served, 381, 381);
    assert!(shown(&served));
}
