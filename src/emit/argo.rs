//! The gate of a rollout: an Argo `AnalysisTemplate`, and how a Rollout refers to it.
//!
//! One number passes or fails; any other answer (nothing, NaN, −Inf, two series) meets neither condition, which Argo calls
//! inconclusive: the rollout pauses for a person. So a query answers nothing where a bound misses its limit for want of
//! evidence: what is not known neither promotes nor aborts. A refusal (an HTTP error, no connection) is an error: retried every ten
//! seconds outside `count`, up to [`CONSECUTIVE_ERRORS`] times in a row, so that a restart of emac aborts nothing. Argo
//! looks at the failure condition first, and takes a lone condition's complement for the other: both are always given.

use super::decimal::exact;
use super::guard::BLIND_REASONS;
use super::provenance::object_name;
use super::rule;
use super::selector::of_variant;
use super::yaml::Writer;
use crate::journey::Journey;
use crate::journey::component::{ComponentId, HistogramType, Telemetry};
use crate::journey::variant::Variant;
use crate::series::Matcher;
use crate::synthetic::catalog;
use crate::unit::Window;

/// Five minutes of refusals; Argo's default of 4 gives up after 50 seconds.
const CONSECUTIVE_ERRORS: usize = 30;
/// How often the gate looks, and how many times.
const INTERVAL: &str = "1m";
const COUNT: usize = 5;
/// Evidence older than this, in seconds, proves nothing about the canary: inconclusive.
const OLD_SECONDS: usize = 120;
/// The quantile that `maxP99LatencySeconds` is about.
const P99: f64 = 0.99;

/// A duration in Go's notation, which knows no days.
pub(crate) fn go_duration(window: Window) -> String {
    let mut rest = window.millis();
    let mut text = String::new();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            text += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    text
}

/// `None` where the journey has neither an objective nor a gate to hold.
pub(crate) fn template(journey: &Journey, header: &str, address: &str) -> Option<String> {
    let window = *journey.windows.first()?;
    let gate = journey.governance.rollout_gate;
    let objectives = &journey.objectives;
    let mut metrics = Vec::new();
    let gated = gated_variant(journey);
    let variant = gated.map(|_| "{{args.variant}}");
    let mut add = |name: &str, query: String, success: String, failure: String| {
        metrics.push(Metric { name: name.to_owned(), query, success, failure });
    };
    // The limits are arguments so that they stand together, right below the file's provenance. A value is that unless a rollout
    // gives another.
    let mut args: Vec<(&'static str, Option<String>)> = Vec::new();
    let at_most = |limit: &str| {
        (
            format!("len(result) == 1 && !isNaN(result[0]) && !isInf(result[0]) && result[0] <= {limit}"),
            format!("len(result) == 1 && result[0] > {limit}"),
        )
    };
    if objectives.availability.is_some() {
        let limit = exact(gate.and_then(|gate| gate.max_canary_burn_rate).unwrap_or(1.0));
        args.push(("max-burn-rate", Some(limit)));
        let (success, failure) = at_most("{{args.max-burn-rate}}");
        let window = format!("window=\"{window}\"");
        let worst = |name| format!("max by (journey) ({})", of_variant(name, journey, variant, &window));
        let query = Gate {
            number: worst(catalog::ERROR_BUDGET_BURN_RATE_PESSIMISTIC),
            limit: "{{args.max-burn-rate}}",
            // At its best, with what is not known taken as good, it burns faster still.
            proven: Some(format!(
                "1 - {} > {{{{args.max-burn-rate}}}} * (1 - max by (journey) ({}))",
                worst(catalog::AVAILABILITY_OPTIMISTIC),
                of_variant(catalog::OBJECTIVE_AVAILABILITY, journey, variant, "")
            )),
        };
        add("error-budget-burn-rate", query.text(journey, gated), success, failure);
    }
    let promised =
        objectives.latency.as_ref().map(|latency| (latency.quantile.get(), latency.threshold.get()));
    let asked = gate.and_then(|gate| gate.max_p99_latency_seconds).map(|seconds| (P99, seconds));
    if let Some((level, seconds)) = asked.or(promised) {
        let quantile = journey.quantiles.iter().find(|q| (q.get() - level).abs() < 1e-12);
        if let Some(quantile) = quantile {
            args.push(("max-latency-seconds", Some(exact(seconds))));
            let (success, failure) = at_most("{{args.max-latency-seconds}}");
            let matchers = format!("window=\"{window}\",quantile=\"{quantile}\"");
            let number = of_variant(catalog::LATENCY_PESSIMISTIC, journey, variant, &matchers);
            let number = format!("max by (journey) ({number})");
            let query = Gate { number, limit: "{{args.max-latency-seconds}}", proven: None };
            add("latency-seconds", query.text(journey, gated), success, failure);
        }
    }
    if metrics_is_empty(journey) {
        return None;
    }
    let age = of_variant(catalog::EVIDENCE_AGE, journey, variant, "");
    // Old evidence neither promotes nor aborts.
    let (fresh, _) = at_most(&OLD_SECONDS.to_string());
    add("evidence-age-seconds", format!("max by (journey) ({age})"), fresh, "false".to_owned());
    // Another rollout's canary proves nothing either.
    for (component, query) in gated.map(|variant| own_pods(journey, variant, window)).unwrap_or_default() {
        let seen = "len(result) == 1 && !isNaN(result[0]) && !isInf(result[0]) && result[0] > 0".to_owned();
        add(&format!("own-pods-measured-{component}"), query, seen, "false".to_owned());
    }
    args.push(("prometheus-address", Some(address.to_owned())));
    if let Some(variant) = gated {
        args.push(("variant", Some(variant.name.clone())));
        if variant.pod_hash_label.is_some() {
            // Its value is the rollout's: see the snippet.
            args.push((POD_HASH, None));
        }
    }
    let mut text = String::with_capacity(1 << 12);
    let mut out = Writer::new(&mut text);
    rule::object(&mut out, "argoproj.io/v1alpha1", "AnalysisTemplate", &object_name(journey, "gate"));
    out.map("spec", |out| {
        out.comment(header);
        out.list("args", |out| {
            for (name, value) in &args {
                out.item(|out| {
                    out.text("name", name);
                    if let Some(value) = value {
                        out.text("value", value);
                    }
                });
            }
        });
        out.list("metrics", |out| metrics.iter().for_each(|metric| metric.write(window, out)));
    });
    Some(text)
}

/// One question and its two answers.
struct Metric {
    name: String,
    query: String,
    success: String,
    failure: String,
}

impl Metric {
    fn write(&self, window: Window, out: &mut Writer<'_>) {
        out.item(|out| {
            out.text("name", &self.name)
                .word("initialDelay", &go_duration(window))
                .word("interval", INTERVAL)
                .count("count", COUNT)
                .count("failureLimit", 0)
                .count("consecutiveErrorLimit", CONSECUTIVE_ERRORS)
                .text("successCondition", &self.success)
                .text("failureCondition", &self.failure)
                .map("provider", |out| {
                    out.map("prometheus", |out| {
                        out.text("address", "{{args.prometheus-address}}").text("query", &self.query);
                    });
                });
        });
    }
}

/// A number that is to stay within a limit.
struct Gate {
    number: String,
    limit: &'static str,
    /// What holds where even the evidence that is there proves it to be beyond the limit.
    proven: Option<String>,
}

impl Gate {
    /// The number where it is within its limit; beyond it, only where no evidence is missing or where what there is proves
    /// it. A variant's components must all have been measured before it passes.
    fn text(&self, journey: &Journey, gated: Option<&Variant>) -> String {
        let Self { number, limit, proven } = self;
        let variant = gated.map(|_| "{{args.variant}}");
        let missing = |more: &str| {
            let reasons = format!("reason=~\"{BLIND_REASONS}|no_traffic\"{more}");
            let missing = of_variant(catalog::EVIDENCE_MISSING, journey, variant, &reasons);
            format!("max by (journey) ({missing}) == 1")
        };
        let own = gated.map(|variant| {
            let names = variant.components.iter().filter_map(|id| journey.components.get(id.0));
            let names: Vec<String> = names.map(|component| component.name.replace('.', "[.]")).collect();
            missing(&format!(",component=~\"{}\"", names.join("|")))
        });
        let own = own.map_or_else(String::new, |own| format!("\nunless on (journey) (\n  {own}\n)"));
        let proven =
            proven.as_ref().map_or_else(String::new, |proven| format!("\n  unless on (journey)\n  {proven}"));
        format!(
            "{number} <= {limit}{own}\nor\n{number} > {limit}\nunless on (journey) (\n  {}{proven}\n)",
            missing("")
        )
    }
}

/// The argument that holds the hash of the rollout's pod template.
const POD_HASH: &str = "pod-hash";

/// The variant that a rollout brings: the one called `canary`, else the first.
fn gated_variant(journey: &Journey) -> Option<&Variant> {
    let canary = journey.variants.iter().find(|variant| variant.name == "canary");
    canary.or_else(|| journey.variants.first())
}

/// By component of the variant, the calls that the rollout's own pods had in the window: asked through emac of its upstream.
fn own_pods(journey: &Journey, variant: &Variant, window: Window) -> Vec<(String, String)> {
    let Some(label) = &variant.pod_hash_label else { return Vec::new() };
    let query = |id: &ComponentId| {
        let component = journey.components.get(id.0)?;
        let Some(Telemetry::Histogram { metric, matchers, histogram_type, .. }) = &component.telemetry else {
            return None;
        };
        let replaced = |own: &&Matcher| {
            own.name != *label && variant.matchers.iter().all(|matcher| matcher.name != own.name)
        };
        let mut selecting: Vec<String> = matchers.iter().filter(replaced).map(ToString::to_string).collect();
        let added = variant.matchers.iter().filter(|matcher| matcher.name != *label);
        selecting.extend(added.map(ToString::to_string));
        selecting.push(format!("{label}=\"{{{{args.{POD_HASH}}}}}\""));
        let query = match histogram_type {
            HistogramType::Classic => {
                selecting.push("le=\"+Inf\"".to_owned());
                format!("sum(increase({metric}_bucket{{{}}}[{window}]))", selecting.join(","))
            }
            HistogramType::Native => {
                format!("histogram_count(sum(increase({metric}{{{}}}[{window}])))", selecting.join(","))
            }
        };
        let name: String = component
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        Some((name, query))
    };
    variant.components.iter().filter_map(query).collect()
}

fn metrics_is_empty(journey: &Journey) -> bool {
    journey.objectives.availability.is_none()
        && journey.objectives.latency.is_none()
        && journey.governance.rollout_gate.is_none_or(|gate| gate.max_p99_latency_seconds.is_none())
}

/// Steps to be merged into a Rollout.
pub(crate) fn rollout(journey: &Journey, header: &str) -> String {
    let hash = gated_variant(journey).and_then(|variant| variant.pod_hash_label.as_ref());
    let analysis = |out: &mut Writer<'_>| {
        out.item(|out| {
            out.map("analysis", |out| {
                out.list("templates", |out| {
                    out.item(|out| {
                        out.text("templateName", &object_name(journey, "gate"));
                    });
                });
                if hash.is_some() {
                    out.list("args", |out| {
                        out.item(|out| {
                            out.word("name", POD_HASH).map("valueFrom", |out| {
                                out.word("podTemplateHashValue", "Latest");
                            });
                        });
                    });
                }
            });
        });
    };
    let weight = |percent: usize, out: &mut Writer<'_>| {
        out.item(|out| {
            out.count("setWeight", percent);
        });
    };
    let mut text = String::with_capacity(1 << 10);
    Writer::new(&mut text).comment(header).map("spec", |out| {
        out.map("strategy", |out| {
            out.map("canary", |out| {
                out.list("steps", |out| {
                    for percent in [10, 50] {
                        weight(percent, out);
                        analysis(out);
                    }
                });
            });
        });
    });
    text
}
