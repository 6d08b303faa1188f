//! From the decoded records to a [`Journey`]: names become ids, defaults are filled in, and what the records cannot
//! say alone is checked.

use std::collections::HashMap;

use super::intent::{
    Alerts, DomainRule, GovernanceRecord, JourneyIntent, JourneySpec, LatencyRecord, ObjectivesRecord, Tier,
};
use super::scalar::{Prose, WindowText};
use super::{default_policy, lint, lower_operator, lower_telemetry};
use crate::document::decode::{At, Decoder, Placed};
use crate::document::diagnostic::{Code, did_you_mean};
use crate::document::tree::NodeId;
use crate::journey::component::{
    Component, ComponentId, ComponentKind, LatencyScope, LatencyUnit, Telemetry,
};
use crate::journey::domain::{DomainId, DomainLatency, FailureDomain};
use crate::journey::governance::{AlertLinks, BurnRatePolicy, BurnRateTier, Governance, RolloutGate};
use crate::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
use crate::journey::variant::Variant;
use crate::journey::{Journey, Parameter};
use crate::openslo::{Catalog, Ratio, Slo};
use crate::unit::{Probability, Quantile, Seconds, Window};

/// Prometheus' own default buckets, in milliseconds.
const DEFAULT_BUCKETS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];
/// In thousandths.
const DEFAULT_QUANTILES: [u32; 3] = [500, 900, 990];
/// The default period of the budget.
const DEFAULT_BUDGET_DAYS: u64 = 30;

/// Where the parts of a journey were declared, for findings about them.
pub(crate) struct Places {
    /// The `spec` itself.
    pub(crate) spec: NodeId,
    pub(crate) components: Vec<NodeId>,
    pub(crate) parameters: Vec<NodeId>,
    /// `None` for domains that only components name.
    pub(crate) domains: Vec<Option<NodeId>>,
    /// Page and ticket tiers in their order.
    pub(crate) tiers: Vec<NodeId>,
    pub(crate) dependence: Option<NodeId>,
}

/// Checks and converts; beside the journey, where its parts stand. `None` where an error was reported. The digest is left to the caller, since contracts are part of it.
pub(crate) fn lower(
    intent: &JourneyIntent,
    decoder: &mut Decoder<'_>,
    contracts: &Catalog,
) -> Option<(Journey, Places)> {
    let Placed { record: spec, at } = intent.spec.as_ref()?;
    let mut places = Places {
        spec: *at,
        components: Vec::new(),
        parameters: Vec::new(),
        domains: Vec::new(),
        tiers: Vec::new(),
        dependence: spec
            .governance
            .as_ref()
            .and_then(|governance| governance.dependence.as_ref())
            .map(|dependence| dependence.at),
    };
    let mut domains = declared_domains(spec, decoder, &mut places);
    let mut components = components(spec, decoder, contracts, &mut domains, &mut places);
    let mut parameters = parameters(spec, decoder, &mut places);
    let tree = lower_operator::lower(spec, decoder, &mut components, &mut parameters, &mut places);
    let objectives = objectives(spec.objectives.as_ref());
    let governance = governance(spec.governance.as_ref(), &objectives, decoder, &mut places);
    let windows = match &spec.windows {
        Some(windows) => rising(windows.0.items.iter().map(|window| window.value.0)),
        None => rising(governance.as_ref().into_iter().flat_map(|governance| {
            let policy = &governance.burn_rate_policy;
            policy.page.iter().chain(&policy.ticket).flat_map(|tier| [tier.short_window, tier.long_window])
        })),
    };
    let quantiles = match &spec.quantiles {
        Some(quantiles) => quantiles.0.items.iter().map(|quantile| quantile.value.0).collect(),
        None => DEFAULT_QUANTILES
            .iter()
            .filter_map(|thousandths| Quantile::new(f64::from(*thousandths) / 1000.0).ok())
            .collect::<Vec<_>>(),
    };
    let buckets = match &spec.latency_buckets {
        Some(buckets) => buckets.0.items.iter().map(|edge| edge.value.0).collect(),
        None => DEFAULT_BUCKETS_MS.iter().map(|ms| Seconds::from_millis(*ms)).collect::<Vec<_>>(),
    };
    let latency = objectives.latency.as_ref();
    // What a rollout is held to must be evaluated.
    let gated = governance
        .as_ref()
        .and_then(|governance| governance.rollout_gate)
        .filter(|gate| gate.max_p99_latency_seconds.is_some())
        .and_then(|_| Quantile::new(0.99).ok());
    let metadata = intent.metadata.as_ref();
    ignored_fields(spec, decoder);
    let variants = variants(spec, &components, decoder);
    let journey = Journey {
        name: metadata
            .and_then(|metadata| metadata.name.as_ref())
            .map_or_else(String::new, |n| n.value.0.clone()),
        labels: metadata
            .and_then(|metadata| metadata.labels.as_ref())
            .map(|labels| {
                let pairs = labels.0.iter().filter_map(|(key, value)| {
                    value.as_ref().map(|value| (key.value.0.clone(), value.value.0.clone()))
                });
                pairs.collect()
            })
            .unwrap_or_default(),
        quantiles: rising_by(
            quantiles.into_iter().chain(latency.map(|latency| latency.quantile)).chain(gated),
            Quantile::get,
        ),
        latency_buckets: rising_by(
            buckets.into_iter().chain(latency.map(|latency| latency.threshold)),
            Seconds::get,
        ),
        objectives,
        windows,
        operator: tree.as_ref()?.operator.clone()?,
        components,
        domains,
        parameters,
        variants,
        governance: governance?,
        digest: String::new(),
    };
    lint::lint(&journey, tree.as_ref()?, &places, decoder);
    // The core relies on this; whatever slipped through above must not reach it.
    if decoder.errors() == 0
        && let Err(error) = journey.check()
    {
        decoder.report(Code::OperatorRule, places.spec, error.to_string(), None);
    }
    (decoder.errors() == 0).then_some((journey, places))
}

fn rising(windows: impl Iterator<Item = Window>) -> Vec<Window> {
    let mut windows: Vec<_> = windows.collect();
    windows.sort_unstable();
    windows.dedup();
    windows
}

fn rising_by<T: Copy>(values: impl Iterator<Item = T>, key: fn(T) -> f64) -> Vec<T> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(|a, b| key(*a).total_cmp(&key(*b)));
    values.dedup_by(|a, b| key(*a).total_cmp(&key(*b)).is_eq());
    values
}

fn declared_domains(
    spec: &JourneySpec,
    decoder: &mut Decoder<'_>,
    places: &mut Places,
) -> Vec<FailureDomain> {
    let mut domains: Vec<FailureDomain> = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let rules = spec.failure_domains.as_ref().and_then(|domains| domains.rules.as_ref());
    for rule in rules.map(|rules| rules.items.as_slice()).unwrap_or_default() {
        let Some(name) = &rule.name else { continue };
        if seen.insert(&name.value.0, domains.len()).is_some() {
            let message = format!("the failure domain `{}` is declared twice", name.value.0);
            decoder.report(Code::DuplicateName, name.at, message, Some("leave one of them out".to_owned()));
            continue;
        }
        places.domains.push(Some(name.at));
        domains.push(FailureDomain {
            name: name.value.0.clone(),
            declared: rule.kind.as_ref().is_none_or(|kind| kind.value.0),
            description: rule.description.as_ref().map(|text| text.value.0.clone()),
            latency: domain_latency(rule, decoder),
        });
    }
    domains
}

fn domain_latency(rule: &DomainRule, decoder: &mut Decoder<'_>) -> DomainLatency {
    let shared = rule.latency.as_ref().is_none_or(|latency| latency.value.0);
    match (&rule.correlation, shared) {
        (None, true) => DomainLatency::Shared,
        (None, false) => DomainLatency::Independent,
        (Some(correlation), true) => DomainLatency::Correlation(correlation.value.0),
        (Some(correlation), false) => {
            let message = "a domain that does not slow as one has no correlation of its latencies";
            let help = "leave out `correlation`, or write `latency: shared`".to_owned();
            decoder.report(Code::OperatorRule, correlation.at, message, Some(help));
            DomainLatency::Shared
        }
    }
}

fn components(
    spec: &JourneySpec,
    decoder: &mut Decoder<'_>,
    contracts: &Catalog,
    domains: &mut Vec<FailureDomain>,
    places: &mut Places,
) -> Vec<Component> {
    let mut by_name: HashMap<String, usize> =
        domains.iter().enumerate().map(|(id, domain)| (domain.name.clone(), id)).collect();
    let all = spec.components.as_ref().map(|table| table.0.as_slice()).unwrap_or_default();
    let mut components = Vec::with_capacity(all.len());
    for (name, declared) in all {
        places.components.push(name.at);
        let mut of = Vec::new();
        let named = declared.as_ref().and_then(|declared| declared.failure_domains.as_ref());
        for domain in named.map(|list| list.items.as_slice()).unwrap_or_default() {
            let id = DomainId(*by_name.entry(domain.value.0.clone()).or_insert_with(|| {
                let known = domains.iter().map(|domain| domain.name.as_str());
                let help = did_you_mean(&domain.value.0, known);
                let message = format!(
                    "the failure domain `{}` has no rule; it is taken to fail and slow as one",
                    domain.value.0
                );
                decoder.report(Code::NoDomainRule, domain.at, message, help);
                places.domains.push(None);
                domains.push(FailureDomain {
                    name: domain.value.0.clone(),
                    declared: false,
                    description: None,
                    latency: DomainLatency::Shared,
                });
                domains.len() - 1
            }));
            if of.contains(&id) {
                let message = format!("the failure domain `{}` is named twice", domain.value.0);
                decoder.report(Code::DuplicateName, domain.at, message, None);
            } else {
                of.push(id);
            }
        }
        let telemetry = declared.as_ref().and_then(|declared| lower_telemetry::lower(declared, decoder));
        let slo = declared.as_ref().and_then(|declared| declared.atomic_slo_ref.as_ref());
        let contract = slo.and_then(|slo| resolve(slo, contracts, decoder));
        components.push(Component {
            name: name.value.0.clone(),
            kind: declared
                .as_ref()
                .and_then(|declared| declared.kind.as_ref())
                .map_or(ComponentKind::Service, |kind| kind.value.0),
            atomic_slo_ref: slo.map(|slo| slo.value.0.clone()),
            contract: contract.and_then(|contract| contract.target),
            domains: of,
            scope: declared.as_ref().map_or(LatencyScope::Exclusive, lower_telemetry::scope),
            // What is written here wins over what the contract's own indicator counts.
            telemetry: telemetry.or_else(|| contract.and_then(measured_by)),
        });
    }
    components
}

/// The SLO that a component names; one that is nowhere is a warning.
fn resolve<'c>(reference: &At<Prose>, contracts: &'c Catalog, decoder: &mut Decoder<'_>) -> Option<&'c Slo> {
    let slo = contracts.resolve(&reference.value.0);
    if slo.is_none() {
        let name = Catalog::name_of(&reference.value.0);
        let help = did_you_mean(name, contracts.slos().map(|slo| slo.name.as_str()));
        let help = help.or_else(|| Some("name the files that declare it with `--openslo PATH`".to_owned()));
        let message = format!("no OpenSLO document declares the SLO `{name}`");
        decoder.report(Code::UnresolvedReference, reference.at, message, help);
    }
    slo
}

fn measured_by(contract: &Slo) -> Option<Telemetry> {
    Some(match contract.ratio.as_ref()? {
        Ratio::Counts { good, total } => Telemetry::Queries {
            good: Some(good.clone()),
            total: Some(total.clone()),
            latency: None,
            failure_latency: None,
            unit: LatencyUnit::Seconds,
        },
        Ratio::Share(query) => Telemetry::Ratio { query: query.clone() },
    })
}

fn parameters(spec: &JourneySpec, decoder: &mut Decoder<'_>, places: &mut Places) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for (name, declared) in spec.parameters.as_ref().map(|table| table.0.as_slice()).unwrap_or_default() {
        places.parameters.push(name.at);
        let promql = declared.as_ref().and_then(|declared| declared.promql.as_ref());
        if let Some(query) = promql {
            lower_telemetry::check_promql(query, decoder);
        }
        parameters.push(Parameter {
            name: name.value.0.clone(),
            value: declared.as_ref().and_then(|declared| declared.value.as_ref()).map(|value| value.value.0),
            promql: promql.map(|query| query.value.0.clone()),
        });
    }
    parameters
}

fn objectives(record: Option<&ObjectivesRecord>) -> Objectives {
    let availability = record.and_then(|record| record.availability.as_ref()).and_then(|record| {
        Some(AvailabilityObjective {
            window: record.window.as_ref()?.value.0,
            target: Probability::new(record.target.as_ref()?.value.0).ok()?,
            observed: record.sli.as_ref().and_then(|sli| {
                Some((sli.good.as_ref()?.value.0.clone(), sli.total.as_ref()?.value.0.clone()))
            }),
        })
    });
    let latency = |record: &LatencyRecord| {
        let objective = record.objective.as_ref()?;
        Some(LatencyObjective {
            window: record.window.as_ref()?.value.0,
            quantile: objective.metric.as_ref()?.value.0,
            threshold: objective.threshold.as_ref()?.value.0,
            observed: record
                .evidence
                .as_ref()
                .and_then(|evidence| Some(evidence.promql.as_ref()?.value.0.clone())),
        })
    };
    Objectives { availability, latency: record.and_then(|record| record.latency.as_ref()).and_then(latency) }
}

/// `None` where a default does not hold, which cannot be.
fn governance(
    record: Option<&GovernanceRecord>,
    objectives: &Objectives,
    decoder: &mut Decoder<'_>,
    places: &mut Places,
) -> Option<Governance> {
    let probability = |value: Option<f64>, default: f64| Probability::new(value.unwrap_or(default)).ok();
    let gate = record
        .and_then(|record| record.progressive_delivery.as_ref())
        .and_then(|delivery| delivery.gate.as_ref());
    Some(Governance {
        evaluation_mode: record
            .and_then(|record| record.evaluation_mode.as_ref())
            .map_or_else(Default::default, |mode| mode.value.0),
        dependence: record
            .and_then(|record| record.dependence.as_ref())
            .map_or_else(Default::default, |dependence| dependence.value.0),
        bucket_error: record
            .and_then(|record| record.bucket_error.as_ref())
            .map_or_else(Default::default, |error| error.value.0),
        confidence: probability(
            record.and_then(|record| record.confidence.as_ref()).map(|confidence| confidence.value.0),
            0.95,
        )?,
        min_model_confidence: probability(
            record
                .and_then(|record| record.min_model_confidence.as_ref())
                .map(|confidence| confidence.value.0),
            0.5,
        )?,
        burn_rate_policy: policy(
            record.and_then(|record| record.alerts.as_ref()),
            objectives,
            decoder,
            places,
        )?,
        rollout_gate: gate.map(|gate| RolloutGate {
            max_canary_burn_rate: gate.max_burn_rate.as_ref().map(|rate| rate.value.0),
            max_p99_latency_seconds: gate.max_p99.as_ref().map(|p99| p99.value.0),
        }),
    })
}

fn policy(
    alerts: Option<&Alerts>,
    objectives: &Objectives,
    decoder: &mut Decoder<'_>,
    places: &mut Places,
) -> Option<BurnRatePolicy> {
    let window = |at: &At<WindowText>| at.value.0;
    let budget_window = match alerts.and_then(|alerts| alerts.budget_window.as_ref()) {
        Some(budget) => window(budget),
        None => match (&objectives.availability, &objectives.latency) {
            (Some(availability), _) => availability.window,
            (None, Some(latency)) => latency.window,
            (None, None) => Window::from_millis(DEFAULT_BUDGET_DAYS * 86_400_000).ok()?,
        },
    };
    let links = AlertLinks {
        runbook_url: alerts.and_then(|alerts| alerts.runbook_url.as_ref()).map(|url| url.value.0.clone()),
        dashboard_url: alerts.and_then(|alerts| alerts.dashboard_url.as_ref()).map(|url| url.value.0.clone()),
    };
    let Some(policy) = alerts.and_then(|alerts| alerts.policy.as_ref()) else {
        let (page, ticket) = default_policy::tiers(budget_window);
        return Some(BurnRatePolicy { budget_window, page, ticket, links });
    };
    let mut tiers = |tiers: &[Placed<Tier>]| {
        let mut read = Vec::new();
        for Placed { record: tier, at } in tiers {
            let (Some(rate), Some(long), Some(short)) =
                (&tier.burn_rate, &tier.long_window, &tier.short_window)
            else {
                continue;
            };
            if window(short) >= window(long) {
                let message = format!(
                    "the short window {} is not shorter than the long one {}",
                    window(short),
                    window(long)
                );
                decoder.report(Code::WindowOrder, short.at, message, None);
            }
            places.tiers.push(*at);
            read.push(BurnRateTier {
                burn_rate: rate.value.0,
                long_window: window(long),
                short_window: window(short),
                severity: tier.severity.as_ref().map(|severity| severity.value.0.clone()),
                disabled: tier.disabled.as_ref().is_some_and(|disabled| disabled.value.0),
            });
        }
        read
    };
    let page = policy.page.as_ref().map(|list| tiers(&list.items)).unwrap_or_default();
    let ticket = policy.ticket.as_ref().map(|list| tiers(&list.items)).unwrap_or_default();
    Some(BurnRatePolicy { budget_window, page, ticket, links })
}

/// What is evaluated besides for some of the traffic: matchers can only be put where the spec leaves the queries to be
/// written here.
fn variants(spec: &JourneySpec, components: &[Component], decoder: &mut Decoder<'_>) -> Vec<Variant> {
    let Some(declared) = &spec.variants else { return Vec::new() };
    let mut variants = Vec::new();
    for (name, record) in &declared.0 {
        let Some(record) = record else { continue };
        let mut ids = Vec::new();
        for written in record.components.as_ref().map(|list| list.0.items.as_slice()).unwrap_or_default() {
            let name = &written.value.0;
            let Some(at) = components.iter().position(|component| component.name == *name) else {
                if spec.components.is_some() {
                    let known = components.iter().map(|component| component.name.as_str());
                    let message = format!("there is no component `{name}`");
                    decoder.report(Code::UnknownComponent, written.at, message, did_you_mean(name, known));
                }
                continue;
            };
            match &components[at].telemetry {
                Some(Telemetry::Histogram { .. }) => {}
                Some(Telemetry::Queries { .. } | Telemetry::Ratio { .. }) => {
                    let message = format!(
                        "`{name}` is measured by queries, into which the matchers of a variant cannot be put; allowed: \
                         a component with a histogram"
                    );
                    let help = "measure it by `histogram` with `matchers` and `success`".to_owned();
                    decoder.report(Code::OperatorRule, written.at, message, Some(help));
                }
                None => {
                    let message =
                        format!("`{name}` has no telemetry: nothing is known of it in this variant");
                    decoder.report(Code::NoTelemetry, written.at, message, None);
                }
            }
            ids.push(ComponentId(at));
        }
        let matchers = record.matchers.as_ref().map(|all| lower_telemetry::matchers(all, decoder));
        ids.sort_unstable();
        ids.dedup();
        let matchers = matchers.unwrap_or_default();
        let pod_hash_label = record.pod_hash_label.as_ref().map(|label| label.value.0.clone());
        variants.push(Variant { name: name.value.0.clone(), components: ids, matchers, pod_hash_label });
    }
    variants
}

/// Fields that are read but change nothing yet say so.
fn ignored_fields(spec: &JourneySpec, decoder: &mut Decoder<'_>) {
    let governance = spec.governance.as_ref();
    let outputs = [
        governance.and_then(|g| g.alerts.as_ref()).and_then(|alerts| alerts.output.as_ref()),
        governance
            .and_then(|g| g.progressive_delivery.as_ref())
            .and_then(|delivery| delivery.output.as_ref()),
    ];
    for output in outputs.into_iter().flatten() {
        let message = "where compiled files go is not the spec's to say: nothing is written outside `--out`";
        decoder.report(Code::Ignored, output.at, message, None);
    }
    if let Some(discovery) = spec.evidence.as_ref().and_then(|evidence| evidence.model_discovery.as_ref()) {
        let message = "a discovered model is recorded, but not compared with this one yet";
        decoder.report(Code::NotEvaluated, discovery.at, message, None);
    }
}
