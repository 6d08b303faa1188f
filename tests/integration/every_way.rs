//! What one synthetic series is, seen from every side: the direct API, the scrape page and remote read.

use std::sync::Arc;
use std::time::Duration;

use emac::api::Reload;
use emac::execute::EvaluationSettings;
use emac::series::STALE_NAN_BITS;
use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use emac::upstream::{GuardSettings, GuardedUpstream, Upstream};

use crate::faulty_upstream::{FaultyUpstream, SPEC, STEP};
use crate::http_client::get;
use crate::prometheus::escape;
use crate::remote_read_client;
use crate::served::{Options, Served, journeys};

pub(crate) const POINT: i64 = 100;
pub(crate) const AVAILABILITY: &str = "emac_journey_availability_pessimistic";
pub(crate) const LATENCY: &str = "emac_journey_latency_pessimistic_seconds";

/// A proxy of the shop whose clock stands at [`POINT`], and which has evaluated nothing.
pub(crate) fn serve(shop: &FaultyUpstream) -> Served {
    serve_with(shop, None)
}

/// The same, which can be told to reload.
pub(crate) fn serve_with(shop: &FaultyUpstream, reload: Option<Reload>) -> Served {
    let url = shop.url.clone();
    let upstream = move || -> Arc<dyn Upstream> {
        let settings = HttpSettings { body_limit: 1 << 20, ..HttpSettings::new(url) };
        let http = HttpUpstream::new(settings).unwrap();
        Arc::new(GuardedUpstream::new(Arc::new(http), Vec::new(), GuardSettings::default()))
    };
    let adjust = |settings: &mut EvaluationSettings| settings.timeout = Duration::from_millis(1_500);
    let now = Timestamp::from_millis(POINT * STEP + 5_000);
    Served::start(
        upstream,
        journeys(SPEC),
        now,
        Options { adjust: Some(adjust), reload, ..Options::default() },
    )
}

/// What one series is at a point: a value, or nothing. `Err`: the way says that it cannot be answered.
pub(crate) type Seen = Result<Option<f64>, String>;

/// A series at the newest point, by each way.
pub(crate) fn by_every_way(served: &Served, point: i64, name: &str) -> [Seen; 3] {
    by_every_way_of(served, point, name, &[])
}

/// The same of one that has more labels.
pub(crate) fn by_every_way_of(served: &Served, point: i64, name: &str, labels: &[(&str, &str)]) -> [Seen; 3] {
    let labels: Vec<(&str, &str)> = [("journey", "checkout")].iter().chain(labels).copied().collect();
    let number = |text: &str| -> f64 { text.replace("+Inf", "inf").parse().unwrap() };
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let text = escape(&format!("{name}{{{}}}", pairs.join(",")));
    let reply = get(&served.url, &format!("/api/v1/query?query={text}&time={}", point * STEP / 1000 + 5));
    let direct = match reply.status {
        200 => {
            let json = reply.json();
            let result = json["data"]["result"].as_array().unwrap();
            assert!(result.len() <= 1, "{json}");
            Ok(result.first().map(|series| number(series["value"][1].as_str().unwrap())))
        }
        422 => Err(reply.json()["error"].as_str().unwrap().to_owned()),
        status => panic!("{status}: {}", reply.text()),
    };
    let page = get(&served.url, "/journeys/metrics");
    assert_eq!(page.status, 200);
    let scraped = page.text().lines().find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let is_it = series.split('{').next() == Some(name) && pairs.iter().all(|pair| series.contains(pair));
        is_it.then(|| number(value))
    });
    let at = point * STEP;
    let matchers: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let matchers: Vec<&str> = matchers.iter().map(String::as_str).collect();
    let query = remote_read_client::query(name, &matchers, at - 5 * 60_000, at + 5_000);
    let read = remote_read_client::read(&served.url, query, &[]);
    // As an engine looks back: the newest sample, unless it marks an end.
    let newest = read.first().and_then(|(_, samples)| samples.last().copied());
    let read = newest.filter(|(_, bits)| *bits != STALE_NAN_BITS).map(|(_, bits)| f64::from_bits(bits));
    [direct, Ok(scraped), Ok(read)]
}

/// The reasons that are given, by each way.
pub(crate) fn reasons(served: &Served, point: i64) -> Vec<String> {
    let time = point * STEP / 1000 + 5;
    let query = escape("emac_journey_evidence_missing == 1");
    let json = get(&served.url, &format!("/api/v1/query?query={query}&time={time}")).json();
    let mut direct: Vec<String> = json["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["metric"]["reason"].as_str().unwrap().to_owned())
        .collect();
    direct.sort();
    direct.dedup();
    let page = get(&served.url, "/journeys/metrics");
    let mut scraped: Vec<String> = page
        .text()
        .lines()
        .filter(|line| line.starts_with("emac_journey_evidence_missing{") && line.ends_with(" 1"))
        .map(|line| line.split("reason=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
        .collect();
    scraped.sort();
    scraped.dedup();
    assert_eq!(direct, scraped);
    let at = point * STEP;
    let query = remote_read_client::query("emac_journey_evidence_missing", &[], at, at + 5_000);
    let mut read: Vec<String> = remote_read_client::read(&served.url, query, &[])
        .iter()
        .filter(|(_, samples)| samples.last().is_some_and(|(_, bits)| *bits == 1.0_f64.to_bits()))
        .map(|(labels, _)| labels.split("reason=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
        .collect();
    read.sort();
    read.dedup();
    assert_eq!(direct, read);
    direct
}

pub(crate) fn value(seen: &Seen) -> f64 {
    seen.clone().unwrap().unwrap()
}

pub(crate) fn go_to(served: &Served, shop: &FaultyUpstream, point: i64, failing: f64) {
    shop.scrape_until(point, failing);
    served.evaluate_at(Timestamp::from_millis(point * STEP + 5_000));
}

/// The value of a healthy proxy at the same time.
pub(crate) fn right(shop: &FaultyUpstream, point: i64, name: &str) -> f64 {
    let served = serve(shop);
    served.evaluate_at(Timestamp::from_millis(point * STEP + 5_000));
    value(&by_every_way(&served, point, name)[0])
}
