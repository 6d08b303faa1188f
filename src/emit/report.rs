//! The derivation report: what was decided, every number with its formula and assumption, what the policy can and cannot
//! see, and which artifact rests on which nodes of the operator tree.
//!
//! Its layout keeps the change of one line of a spec in one hunk of a diff. What is declared (the expression, the
//! objectives) stands right around the provenance, what the policy sees before it, what was decided and derived behind it.
//! What the components must keep changes with the objectives and with the numbers, and stands between them. Each node of the
//! tree takes one line, components among their operators: as soon as one number changes, so do all components' shares, and
//! bridge what stays. What no edit changes together with something else comes last: latencies without evidence, warnings,
//! the files. Telemetry is not repeated from the spec, unless it was measured.

use rustc_hash::FxHashMap;

use super::alert::shared_domains;
use super::decimal::complement;
use super::flow::{Flow, number};
use super::provenance;
use super::tier::{Budget, Reach, Tier, tiers};
use super::yaml_scalar::{anywhere, in_block};
use crate::derive::Derivation;
use crate::derive::by_assumption::ByAssumption;
use crate::derive::derivation::{
    AvailabilityResult, ComponentResult, LatencyResult, Margins, ReasonResult, WarningResult,
};
use crate::derive::formula;
use crate::derive::number::significant;
use crate::derive::step::Step;
use crate::journey::Journey;
use crate::journey::governance::{BucketError, EvaluationMode};

/// What all forms of the report are drawn from.
pub(crate) struct Report<'a> {
    pub(crate) journey: &'a Journey,
    pub(crate) derivation: &'a Derivation,
    pub(crate) policy: Vec<PolicyRow>,
    pub(crate) artifacts: Vec<ArtifactRow>,
    /// The operator tree as the text form writes it.
    pub(crate) expression: String,
    /// Whether any component's latency was measured: without, there is nothing to say of each node's.
    pub(crate) timed: bool,
    budgets: Vec<Budget>,
    /// Places of components in the spec, by name.
    places: FxHashMap<&'a str, usize>,
}

/// One tier, and what it can see of each budget.
pub(crate) struct PolicyRow {
    pub(crate) tier: Tier,
    pub(crate) reach: Vec<(Budget, Reach)>,
}

/// One artifact and what it comes from.
pub(crate) struct ArtifactRow {
    pub(crate) path: String,
    /// Names of nodes of the operator tree, or of parts of the spec.
    pub(crate) rests_on: Vec<String>,
}

/// A sentence that all components of a kind share.
pub(crate) struct Remark {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl<'a> Report<'a> {
    pub(crate) fn new(journey: &'a Journey, derivation: &'a Derivation, written: &[String]) -> Self {
        let budgets = Budget::of(journey);
        let row = |tier: Tier| {
            let reach = budgets.iter().map(|&budget| (budget, tier.reach(journey, budget))).collect();
            PolicyRow { tier, reach }
        };
        let artifacts = written
            .iter()
            .map(|path| ArtifactRow { path: path.clone(), rests_on: rests_on(journey, derivation, path) })
            .collect();
        Self {
            journey,
            derivation,
            policy: if budgets.is_empty() {
                Vec::new()
            } else {
                tiers(journey).into_iter().map(row).collect()
            },
            artifacts,
            expression: formula::expression(journey, &journey.operator),
            timed: derivation.components.iter().any(|component| component.evidence.latency),
            budgets,
            places: derivation.components.iter().enumerate().map(|(at, c)| (c.name.as_str(), at)).collect(),
        }
    }

    /// The dominant failure domain and component, with their shares of the unavailability.
    pub(crate) fn dominant(&self) -> Vec<(&'static str, &'a str, f64)> {
        let greatest = |shares: Vec<(&'static str, &'a str, f64)>| {
            shares.into_iter().filter(|share| share.2 > 0.0).reduce(|a, b| if b.2 > a.2 { b } else { a })
        };
        let domains = self.derivation.domains.iter();
        let components = self.derivation.components.iter();
        let domain = greatest(domains.map(|d| ("failure domain", d.name.as_str(), d.budget_share)).collect());
        let component =
            greatest(components.map(|c| ("component", c.name.as_str(), c.budget_share)).collect());
        let mut both: Vec<_> = domain.into_iter().chain(component).collect();
        both.sort_by(|a, b| b.2.total_cmp(&a.2));
        both
    }

    /// What a reader must know: each sentence once, also where it holds for many components.
    pub(crate) fn remarks(&self) -> Vec<Remark> {
        const NO_LATENCY: &str = "no-latency-evidence";
        let mut remarks: Vec<Remark> = Vec::new();
        let mut untimed = 0_usize;
        for warning in self.derivation.warnings.iter().filter(|warning| !warning.is_of_evidence()) {
            if warning.code == NO_LATENCY {
                untimed += 1;
                continue;
            }
            remarks.push(Remark { code: warning.code.clone(), message: warning.message.clone() });
        }
        if untimed > 0 {
            let message = format!(
                "The latency of {untimed} components is not measured: no finite latency can be stated where it is needed."
            );
            remarks.push(Remark { code: NO_LATENCY.to_owned(), message });
        }
        let mut seen: Vec<&ReasonResult> = Vec::new();
        for reason in self.derivation.components.iter().flat_map(|component| &component.evidence.reasons) {
            if seen.contains(&reason) {
                continue;
            }
            seen.push(reason);
            let code = WarningResult::code_of(reason);
            if remarks.iter().all(|known| known.code != code || known.message != reason.message) {
                remarks.push(Remark { code, message: reason.message.clone() });
            }
        }
        remarks
    }

    /// The component of that name.
    pub(crate) fn component(&self, name: &str) -> Option<&'a ComponentResult> {
        self.derivation.components.get(*self.places.get(name)?)
    }

    /// As YAML, behind what `out` holds.
    pub(crate) fn write(&self, header: &str, out: &mut String) {
        out.push_str("apiVersion: emac.dev/v1alpha1\nkind: DerivationReport\n");
        Flow::new(out, "metadata: ").text("name", &self.journey.name).end_line();
        out.push_str("spec:\n");
        self.write_policy(out);
        field(out, "  expression: ", &self.expression);
        self.write_parameters(out);
        self.write_assumptions(out);
        out.push_str(&provenance::indented(header));
        self.write_objectives(out);
        self.write_allocation(out);
        self.write_decision(out);
        self.write_derivation(out);
        self.write_rest(out);
    }

    fn write_policy(&self, out: &mut String) {
        if self.policy.is_empty() {
            return;
        }
        out.push_str("  policy:\n");
        for PolicyRow { tier, reach } in &self.policy {
            let mut row = Flow::new(out, "    - ");
            row.text("tier", &tier.label)
                .text("severity", &tier.severity)
                .number("burnRate", tier.rate)
                .text("longWindow", &tier.long.to_string())
                .text("shortWindow", &tier.short.to_string());
            for (budget, reach) in reach {
                row.map(budget.name(), |row| {
                    row.flag("canFire", reach.can_fire)
                        .number("smallestOutageSeconds", rounded(reach.smallest_outage_seconds))
                        .number("budgetSpentWhenItFires", rounded(reach.spent))
                        .number("singleErrorFiresBelowRequests", rounded(reach.single_error_below));
                });
            }
            row.end_line();
        }
    }

    fn write_parameters(&self, out: &mut String) {
        let parameters = &self.derivation.evidence.parameters;
        if parameters.is_empty() {
            return;
        }
        let mut row = Flow::new(out, "  parameters: ");
        for (name, value) in parameters {
            match value {
                Some(value) => row.number(name, *value),
                None => row.text(name, "unknown"),
            };
        }
        row.end_line();
    }

    fn write_assumptions(&self, out: &mut String) {
        let governance = &self.journey.governance;
        Flow::new(out, "  assumptions: ")
            .text("dependence", governance.dependence.as_str())
            .text(
                "bucketError",
                match governance.bucket_error {
                    BucketError::Bound => "bound",
                    BucketError::Interpolate => "interpolate",
                },
            )
            .number("confidence", governance.confidence.get())
            .text(
                "evaluationMode",
                match governance.evaluation_mode {
                    EvaluationMode::Conservative => "conservative",
                    EvaluationMode::Permissive => "permissive",
                },
            )
            .number("minModelConfidence", governance.min_model_confidence.get())
            .end_line();
    }

    fn write_objectives(&self, out: &mut String) {
        let objectives = &self.derivation.objectives;
        if let Some(objective) = &self.journey.objectives.availability {
            out.push_str("  errorBudget: ");
            out.push_str(&complement(objective.target.get()));
            out.push('\n');
        }
        if self.budgets.is_empty() {
            return;
        }
        out.push_str("  objectives:\n");
        let margins = |row: &mut Flow<'_>, key: &str, margins: &Margins| {
            row.map(key, |row| {
                sides(row, [margins.estimate, margins.pessimistic, margins.optimistic]);
            });
        };
        if let Some(objective) = &objectives.availability {
            let mut row = Flow::new(out, "    availability: ");
            row.text("window", &objective.window).number("target", objective.target.get());
            margins(&mut row, "margin", &objective.margin);
            margins(&mut row, "burnRate", &objective.burn_rate);
            row.end_line();
        }
        if let Some(objective) = &objectives.latency {
            let mut row = Flow::new(out, "    latency: ");
            row.text("window", &objective.window)
                .text("quantile", &objective.quantile)
                .number("threshold", objective.threshold.get());
            if let Some(margin) = &objective.margin {
                margins(&mut row, "margin", margin);
            }
            margins(&mut row, "burnRate", &objective.burn_rate);
            row.end_line();
        }
    }

    /// What each component must keep: it changes with the objectives and with every number, and stands between them.
    fn write_allocation(&self, out: &mut String) {
        let Some(allocation) = &self.derivation.allocation else { return };
        out.push_str("  allocation:\n");
        Flow::new(out, "    scale: ")
            .number("availability", allocation.availability_scale)
            .optional("latency", allocation.latency_scale)
            .number("recomposed", allocation.recomposed.get())
            .end_line();
        out.push_str("    components:\n");
        for (component, now) in allocation.components.iter().zip(&self.derivation.components) {
            Flow::new(out, "      - ")
                .text("name", &component.name)
                .optional("availability", component.availability.map(|a| a.get()))
                .optional("latency", component.latency.map(|t| t.get()))
                .map("now", |row| {
                    row.number("availability", now.availability.get())
                        .number("budgetShare", now.budget_share);
                })
                .end_line();
        }
    }

    fn write_decision(&self, out: &mut String) {
        let verdict = &self.derivation.verdict;
        out.push_str("  decision:\n");
        field(out, "    verdict: ", verdict.verdict.as_str());
        field(out, "    reason: ", &verdict.reason);
        out.push_str("    confidence: ");
        number(out, verdict.confidence.get());
        out.push('\n');
        let dominant = self.dominant();
        if !dominant.is_empty() {
            out.push_str("    dominant:\n");
        }
        for (kind, name, share) in dominant {
            Flow::new(out, "      - ")
                .text("kind", kind)
                .text("name", name)
                .number("share", share)
                .end_line();
        }
    }

    fn write_derivation(&self, out: &mut String) {
        let derivation = self.derivation;
        out.push_str("  derivation:\n");
        field(out, "    window: ", &derivation.window);
        let mut row = Flow::new(out, "    availability: ");
        availability(&mut row, &derivation.availability);
        row.end_line();
        if !derivation.domains.is_empty() {
            out.push_str("    domains:\n");
        }
        for domain in &derivation.domains {
            Flow::new(out, "      - ")
                .text("name", &domain.name)
                .texts("members", domain.members.iter().map(String::as_str))
                .number("sensitivity", domain.sensitivity)
                .number("budgetShare", domain.budget_share)
                .end_line();
        }
        // Parents first; `depth` says how deep a node lies.
        out.push_str("    nodes:\n");
        derivation.derivation.walk(0, &mut |depth, step| self.write_node(depth, step, out));
        let width = &derivation.width;
        let mut row = Flow::new(out, "    width: ");
        row.number("samples", width.samples)
            .number("buckets", width.buckets)
            .number("dependence", width.dependence);
        if let Some(advice) = &width.advice {
            row.text("advice", advice);
        }
        row.end_line();
        out.push_str("    latency:\n");
        for (quantile, latency) in &derivation.latency {
            out.push_str("      ");
            anywhere(quantile, out);
            let mut row = Flow::new(out, ": ");
            self::latency(&mut row, latency);
            row.end_line();
        }
        if !derivation.distribution.is_empty() {
            out.push_str("    distribution:\n");
        }
        for point in &derivation.distribution {
            let mut row = Flow::new(out, "      - ");
            row.number("seconds", point.seconds.get());
            sides(&mut row, [point.estimate, point.pessimistic, point.optimistic]);
            row.end_line();
        }
    }

    fn write_node(&self, depth: usize, step: &Step, out: &mut String) {
        let mut row = Flow::new(out, "      - ");
        #[expect(clippy::cast_precision_loss, reason = "a tree is not that deep")]
        row.number("depth", depth as f64);
        if step.keyword == "ref" {
            row.text("component", &step.operator);
            sides(&mut row, sides_of(&step.availability));
            if let Some(component) = self.component(&step.operator) {
                self.write_component(&mut row, component);
            }
        } else {
            row.text("operator", formula::name(&step.operator)).text("formula", step.formula);
            if is_known(step) && step.formula.strip_prefix("A = ") != Some(&step.substituted) {
                row.text("substituted", &step.substituted);
            }
            availability(&mut row, &step.availability);
            if self.timed {
                row.text("latencyFormula", step.latency_formula);
            }
        }
        if self.timed {
            row.number("latencyEstimate", step.latency_estimate.get());
        }
        row.end_line();
    }

    fn write_component(&self, row: &mut Flow<'_>, component: &ComponentResult) {
        let evidence = &component.evidence;
        if evidence.kind != "vacuous" {
            row.number("sensitivity", component.sensitivity).number("budgetShare", component.budget_share);
        }
        if self.timed {
            row.number("latencyShare", component.latency_share);
        }
        row.map("evidence", |row| {
            row.text("kind", evidence.kind);
            if evidence.window != self.derivation.window {
                row.text("window", &evidence.window);
            }
            row.optional("total", evidence.total).optional("good", evidence.good);
            if let Some(calls) = evidence.independent_calls
                && (calls.failures.is_some() || calls.latency.is_some())
            {
                row.map("independentCalls", |row| {
                    row.optional("failures", calls.failures).optional("latency", calls.latency);
                });
            }
            if evidence.latency {
                #[expect(clippy::cast_precision_loss, reason = "a histogram has few buckets")]
                row.number("latencyBuckets", evidence.latency_buckets as f64);
                row.optional("latencyLastEdge", evidence.latency_last_edge.map(|edge| edge.get()));
            }
            if let (Some(source), Some(_)) = (&evidence.source, evidence.total) {
                row.text("source", source);
            }
            if !evidence.reasons.is_empty() {
                row.texts("reasons", evidence.reasons.iter().map(|reason| reason.reason));
            }
        });
    }

    fn write_rest(&self, out: &mut String) {
        let remarks = self.remarks();
        if !remarks.is_empty() {
            out.push_str("  warnings:\n");
        }
        for remark in remarks {
            Flow::new(out, "    - ").text("code", &remark.code).text("message", &remark.message).end_line();
        }
        out.push_str("  artifacts:\n");
        for artifact in &self.artifacts {
            Flow::new(out, "    - ")
                .text("path", &artifact.path)
                .texts("restsOn", artifact.rests_on.iter().map(String::as_str))
                .end_line();
        }
    }
}

/// Whether anything is known below a node: without, there are no numbers to put into its formula.
pub(crate) fn is_known(step: &Step) -> bool {
    let AvailabilityResult { estimate, pessimistic, optimistic, .. } = &step.availability;
    estimate.get() > 0.0 || pessimistic.get() > 0.0 || optimistic.get() < 1.0
}

/// A text behind `lead`, to the end of the line.
fn field(out: &mut String, lead: &str, text: &str) {
    out.push_str(lead);
    in_block(text, out);
    out.push('\n');
}

/// As people state it: what is measured in four digits.
fn rounded(value: f64) -> f64 {
    significant(value, 4).parse().unwrap_or(value)
}

fn sides(row: &mut Flow<'_>, [estimate, pessimistic, optimistic]: [f64; 3]) {
    row.numbers([("estimate", estimate), ("pessimistic", pessimistic), ("optimistic", optimistic)]);
}

fn sides_of(availability: &AvailabilityResult) -> [f64; 3] {
    let AvailabilityResult { estimate, pessimistic, optimistic, .. } = availability;
    [estimate.get(), pessimistic.get(), optimistic.get()]
}

/// The lower and the upper end of each range, which `ends` gives.
fn by_dependence<R>(row: &mut Flow<'_>, ranges: &ByAssumption<R>, ends: impl Fn(&R) -> [f64; 2]) {
    row.map("byDependence", |row| {
        for (name, range) in ranges.iter() {
            let [lower, upper] = ends(range);
            row.map(name, |row| {
                row.numbers([("lower", lower), ("upper", upper)]);
            });
        }
    });
}

fn availability(row: &mut Flow<'_>, availability: &AvailabilityResult) {
    sides(row, sides_of(availability));
    by_dependence(row, &availability.by_dependence, |range| [range.lower.get(), range.upper.get()]);
}

fn latency(row: &mut Flow<'_>, latency: &LatencyResult) {
    let LatencyResult { estimate, pessimistic, optimistic, .. } = latency;
    sides(row, [estimate.get(), pessimistic.get(), optimistic.get()]);
    by_dependence(row, &latency.by_dependence, |range| [range.lower.get(), range.upper.get()]);
}

impl Budget {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }
}

/// Which nodes an artifact rests on: the root for what reads the journey's own numbers, components and domains where it
/// reads their shares.
fn rests_on(journey: &Journey, derivation: &Derivation, path: &str) -> Vec<String> {
    let root = format!("operator {}", formula::name(&derivation.derivation.operator));
    let mut nodes = vec![root];
    if path.contains("/prometheus/") || path.contains("/promtool/") {
        nodes.push("governance.alerts".to_owned());
    }
    if path.contains("/argo/") {
        nodes.push("governance.progressiveDelivery.gate".to_owned());
    }
    if path.ends_with("alerts.yaml") || path.ends_with("dashboard.json") {
        nodes.push("every component".to_owned());
        if shared_domains(journey) {
            nodes.push("every failure domain".to_owned());
        }
    }
    if path.ends_with("recording-rules.yaml")
        && journey.objectives.availability.as_ref().is_some_and(|objective| objective.observed.is_some())
    {
        nodes.push("objectives.availability.sli".to_owned());
    }
    nodes
}
