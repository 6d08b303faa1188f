//! `emac check --upstream.url URL`: asks a Prometheus for the facts that [`crate::spec::upstream_rules`] judges.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Limited};

use super::serve::first_upstream;
use crate::config::Config;
use crate::journey::Journey;
use crate::journey::component::{Component, HistogramType, Telemetry};
use crate::journey::variant::Variant;
use crate::series::Matcher;
use crate::spec::upstream_rules::{
    HistogramFacts, QueryFacts, TRAFFIC_WINDOW, histogram_findings, query_findings, variant_findings,
};
use crate::spec::{Diagnostic, JourneyPlaces, Place, with_window};
use crate::unit::{Timestamp, Window};
use crate::upstream::http::HttpUpstream;
use crate::upstream::{Upstream, UpstreamError, whole_body};

/// How long the upstream may take for one question.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The greatest answer about names and labels, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The window that queries are asked for.
const WINDOW: &str = "5m";

/// Everything that the upstream knows against the telemetry of the journeys.
///
/// # Errors
/// Where the upstream does not answer: then nothing is known, and that is not the same as no findings.
pub fn check(
    config: &Config,
    journeys: &[Journey],
    places: &[JourneyPlaces],
) -> anyhow::Result<Vec<Diagnostic>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let upstream = first_upstream(config)?;
        let millis =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
        let mut asking = Asking {
            upstream: &upstream,
            at: Timestamp::from_millis(i64::try_from(millis)?),
            window: WINDOW.parse()?,
            names: Vec::new(),
        };
        asking.names = asking.list("/api/v1/label/__name__/values").await?;
        let mut findings = Vec::new();
        for (journey, places) in journeys.iter().zip(places) {
            for (component, place) in journey.components.iter().zip(&places.components) {
                findings.extend(asking.component(journey, component, place).await?);
            }
            let seen = journey.clone().with_variants().into_iter().skip(1);
            for (variant, seen) in journey.variants.iter().zip(seen) {
                for id in &variant.components {
                    let (Some(component), Some(place)) =
                        (seen.components.get(id.0), places.components.get(id.0))
                    else {
                        continue;
                    };
                    findings.extend(asking.variant(variant, component, place).await?);
                }
            }
            for (parameter, place) in journey.parameters.iter().zip(&places.parameters) {
                if let Some(query) = &parameter.promql {
                    let facts = asking.query(query).await?;
                    findings.extend(query_findings(journey, "promql", None, place, &facts));
                }
            }
        }
        Ok(findings)
    })
}

struct Asking<'a> {
    upstream: &'a HttpUpstream,
    at: Timestamp,
    window: Window,
    names: Vec<String>,
}

impl Asking<'_> {
    async fn component(
        &self,
        journey: &Journey,
        component: &Component,
        place: &Place,
    ) -> anyhow::Result<Vec<Diagnostic>> {
        match &component.telemetry {
            None => Ok(Vec::new()),
            Some(Telemetry::Histogram { metric, matchers, success, histogram_type, .. }) => {
                let facts = self.histogram(metric, *histogram_type, matchers, success).await?;
                Ok(histogram_findings(journey, component, place, &facts))
            }
            Some(Telemetry::Ratio { query }) => {
                let facts = self.query(query).await?;
                Ok(query_findings(journey, "raw", None, place, &facts))
            }
            Some(Telemetry::Queries { good, total, latency, failure_latency, unit }) => {
                let fields = [
                    ("good", good, None),
                    ("total", total, None),
                    ("latency", latency, Some(*unit)),
                    ("failureLatency", failure_latency, Some(*unit)),
                ];
                let mut findings = Vec::new();
                for (field, query, buckets) in fields {
                    let Some(query) = query else { continue };
                    let facts = self.query(query).await?;
                    // Where nothing failed or everything did, one of these is rightly empty.
                    let may_be_empty = matches!(field, "good" | "failureLatency");
                    if may_be_empty && facts == QueryFacts::Series(Vec::new()) {
                        continue;
                    }
                    findings.extend(query_findings(journey, field, buckets, place, &facts));
                }
                Ok(findings)
            }
        }
    }

    /// The component as the variant sees it.
    async fn variant(
        &self,
        variant: &Variant,
        component: &Component,
        place: &Place,
    ) -> anyhow::Result<Vec<Diagnostic>> {
        let Some(Telemetry::Histogram { metric, matchers, success, histogram_type, .. }) =
            &component.telemetry
        else {
            return Ok(Vec::new());
        };
        let facts = self.histogram(metric, *histogram_type, matchers, success).await?;
        Ok(variant_findings(variant, component, place, &facts))
    }

    async fn histogram(
        &self,
        metric: &str,
        histogram_type: HistogramType,
        matchers: &[Matcher],
        success: &[Matcher],
    ) -> anyhow::Result<HistogramFacts> {
        let buckets = histogram_type.series_name(metric);
        let mut facts = HistogramFacts { names: self.names.clone(), ..HistogramFacts::default() };
        if !facts.names.contains(&buckets) {
            return Ok(facts);
        }
        let matching = format!("?match[]={}", escape(&buckets)).replace("[]", "%5B%5D");
        facts.labels = self.list(&format!("/api/v1/labels{matching}")).await?;
        let named: BTreeMap<_, _> =
            matchers.iter().chain(success).map(|matcher| (&matcher.name, ())).collect();
        for name in named.into_keys().filter(|name| facts.labels.contains(name)) {
            let values = self.list(&format!("/api/v1/label/{}/values{matching}", escape(name))).await?;
            facts.values.insert(name.clone(), values);
        }
        let selector = |more: &str| {
            let mut shown: Vec<_> = matchers.iter().map(ToString::to_string).collect();
            if !more.is_empty() {
                shown.push(more.to_owned());
            }
            format!("{buckets}{{{}}}", shown.join(","))
        };
        let (matching, traffic) = match histogram_type {
            HistogramType::Classic => (
                format!("count by (le) ({})", selector("")),
                format!("sum(increase({}[{TRAFFIC_WINDOW}]))", selector("le=\"+Inf\"")),
            ),
            // Samples that are numbers have no count.
            HistogramType::Native => (
                format!("count(histogram_count({}))", selector("")),
                format!("sum(histogram_count(increase({}[{TRAFFIC_WINDOW}])))", selector("")),
            ),
        };
        if let QueryFacts::Series(edges) = self.query(&matching).await? {
            facts.edges = edges;
        }
        facts.traffic = self.ask(&traffic).await?.and_then(|answer| {
            answer.series.first().and_then(|series| series.samples.first()).map(|sample| sample.value)
        });
        Ok(facts)
    }

    async fn query(&self, query: &str) -> anyhow::Result<QueryFacts> {
        let query = with_window(query, self.window);
        match self.upstream.instant(&query, self.at, Instant::now() + TIMEOUT).await {
            Ok(answer) => {
                let edges = answer.series.iter().map(|series| series.labels.get("le").to_owned());
                Ok(QueryFacts::Series(edges.collect()))
            }
            Err(UpstreamError::Refused { status: 400 | 422, message, .. }) => {
                Ok(QueryFacts::Refused(message))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An answer, or nothing where the upstream refuses the query.
    async fn ask(&self, query: &str) -> anyhow::Result<Option<crate::upstream::Answer>> {
        match self.upstream.instant(query, self.at, Instant::now() + TIMEOUT).await {
            Ok(answer) => Ok(Some(answer)),
            Err(UpstreamError::Refused { status: 400 | 422, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A list of names of the upstream's API.
    async fn list(&self, target: &str) -> anyhow::Result<Vec<String>> {
        let ask = async {
            let request = Request::get(target).body(whole_body(Bytes::new()))?;
            let response = self.upstream.forward(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            if !status.is_success() {
                bail!("status {status}");
            }
            #[derive(serde::Deserialize)]
            struct List {
                data: Vec<String>,
            }
            Ok(serde_json::from_slice::<List>(&body)?.data)
        };
        let name = self.upstream.name();
        tokio::time::timeout(TIMEOUT, ask)
            .await
            .with_context(|| format!("upstream {name} did not answer {target} in time"))?
            .with_context(|| format!("upstream {name} did not answer {target}"))
    }
}

/// A component of a URL: everything but the unreserved characters is escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
