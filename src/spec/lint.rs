//! Warnings: what is valid but probably not what was meant, or costs more than it seems to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lower::Places;
use super::lower_operator::{Tree, root_node};
use crate::document::decode::Decoder;
use crate::document::diagnostic::Code;
use crate::journey::Journey;
use crate::journey::component::{Component, LatencyScope, Telemetry};
use crate::journey::domain::DomainLatency;
use crate::journey::expression::{Expression, Share, Term};
use crate::journey::governance::Dependence;
use crate::series::MatchOp;
use crate::unit::Seconds;

/// How many leaves the search for shared redundancy looks at; deep nests of wide races would cost their product.
const REDUNDANCY_BUDGET: usize = 100_000;

/// Labels that name a service: what differs beside an equal one of these splits that service's requests.
const SERVICE_LABELS: [&str; 7] =
    ["service", "service_name", "app", "job", "destination_service", "deployment", "envoy_cluster_name"];

/// Reports every warning about a journey that could be read whole.
pub(crate) fn lint(journey: &Journey, tree: &Tree<'_>, places: &Places, decoder: &mut Decoder<'_>) {
    let ids: HashMap<&str, usize> =
        journey.components.iter().enumerate().map(|(id, component)| (component.name.as_str(), id)).collect();
    let mut used = vec![false; journey.components.len()];
    let mut parameters_used = BTreeSet::new();
    let mut lint = Lint { journey, tree, ids: &ids, decoder, budget: REDUNDANCY_BUDGET };
    lint.visit(&tree.expression, &mut used, &mut parameters_used);
    components(journey, places, &used, decoder);
    for (parameter, at) in journey.parameters.iter().zip(&places.parameters) {
        if !parameters_used.contains(parameter.name.as_str()) {
            let message = format!("no branch refers to the parameter `{}`", parameter.name);
            decoder.report(Code::UnusedParameter, *at, message, None);
        } else if parameter.value.is_none() && parameter.promql.is_none() {
            let message = format!(
                "the probability `{}` has neither a value nor a query: the bounds take the worst of any",
                parameter.name
            );
            let help = format!("declare `parameters: {{{}: {{value: …}}}}`, or `promql: …`", parameter.name);
            decoder.report(Code::NoProbability, *at, message, Some(help));
        }
    }
    domains(journey, tree, places, &used, decoder);
    policy(journey, places, decoder);
    if journey.governance.dependence == Dependence::PaperEq1 {
        let message = "`paper_eq1` is optimistic: a Series collapses to the best case of its domain; it is for \
                       comparison alone";
        decoder.report(
            Code::Optimistic,
            places.dependence.unwrap_or(places.spec),
            message,
            Some("write `shared_fate`".to_owned()),
        );
    }
}

fn components(journey: &Journey, places: &Places, used: &[bool], decoder: &mut Decoder<'_>) {
    let calls_others = used.iter().filter(|used| **used).count() > 1;
    for ((component, at), used) in journey.components.iter().zip(&places.components).zip(used) {
        let name = &component.name;
        if !used {
            let message = format!("the operator does not call the component `{name}`");
            decoder.report(Code::UnusedComponent, *at, message, None);
            continue;
        }
        if component.telemetry.is_none() {
            let message = format!(
                "the component `{name}` has no telemetry: without an evidence file, nothing is known of it"
            );
            let help = "add `telemetry: {histogram: …, matchers: …}`".to_owned();
            decoder.report(Code::NoTelemetry, *at, message, Some(help));
        }
        if component.scope == LatencyScope::Inclusive && calls_others {
            let message = format!(
                "the latency of `{name}` includes the calls that it makes: those to other components of this \
                 journey are counted twice, so that the bounds are too high"
            );
            let help = "measure its self time, or its callers' client-side histograms".to_owned();
            decoder.report(Code::InclusiveLatency, *at, message, Some(help));
        }
    }
}

fn domains(journey: &Journey, tree: &Tree<'_>, places: &Places, used: &[bool], decoder: &mut Decoder<'_>) {
    let mut members = vec![0_usize; journey.domains.len()];
    for (component, used) in journey.components.iter().zip(used) {
        for domain in component.domains.iter().filter(|_| *used) {
            members[domain.0] += 1;
        }
    }
    let all = used.iter().filter(|used| **used).count();
    for ((domain, members), at) in journey.domains.iter().zip(&members).zip(&places.domains) {
        let place = at.unwrap_or_else(|| root_node(tree));
        if *members == 0 {
            if let Some(at) = at {
                let message =
                    format!("no component of the operator is in the failure domain `{}`", domain.name);
                decoder.report(Code::UnusedDomain, *at, message, None);
            }
        } else if *members == all && all > 1 && domain.latency == DomainLatency::Shared {
            let message = format!(
                "the failure domain `{}` holds all {all} components: the bounds let them fail and slow together, so \
                 that redundancy adds nothing and the tails add up",
                domain.name
            );
            let help =
                "where it fails as one but does not slow as one, write `latency: independent` in its rule";
            decoder.report(Code::OneDomain, place, message, Some(help.to_owned()));
        }
    }
}

fn policy(journey: &Journey, places: &Places, decoder: &mut Decoder<'_>) {
    let objectives = &journey.objectives;
    // How fast each budget can burn at all, and what bounds it.
    let availability = objectives.availability.as_ref().map(|objective| {
        (1.0 / objective.target.complement().get(), format!("a target of {}", objective.target.get()))
    });
    let latency = objectives.latency.as_ref().map(|objective| {
        let greatest = 1.0 / (1.0 - objective.quantile.get());
        (greatest, format!("a latency objective on the quantile {}", objective.quantile))
    });
    let policy = &journey.governance.burn_rate_policy;
    for (i, tier) in policy.page.iter().chain(&policy.ticket).enumerate() {
        if tier.disabled {
            continue;
        }
        let place = places.tiers.get(i).copied().unwrap_or(places.spec);
        for (greatest, what) in availability.iter().chain(&latency) {
            // A hair of slack for the rounding of 1 / (1 − target).
            if tier.burn_rate < greatest * (1.0 - 1e-9) {
                continue;
            }
            let greatest = (greatest * 1e6).round() / 1e6;
            let message = format!(
                "with {what} nothing burns faster than {greatest}, so the tier of burn rate {} can never fire",
                tier.burn_rate
            );
            let help = format!("choose a burn rate below {greatest}, or a stricter objective");
            decoder.report(Code::NeverFires, place, message, Some(help));
        }
        if availability.is_none() && latency.is_none() {
            continue;
        }
        let missing: Vec<_> = [tier.short_window, tier.long_window]
            .into_iter()
            .filter(|window| !journey.windows.contains(window))
            .map(|window| window.to_string())
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "`windows` leaves out {}, so the tier of burn rate {} can never fire",
                missing.join(" and "),
                tier.burn_rate
            );
            let help = "add it to `windows`, or leave `windows` out".to_owned();
            decoder.report(Code::NeverFires, place, message, Some(help));
        }
    }
}

struct Lint<'a, 'm, 'd> {
    journey: &'a Journey,
    tree: &'a Tree<'a>,
    ids: &'a HashMap<&'a str, usize>,
    decoder: &'m mut Decoder<'d>,
    budget: usize,
}

impl<'a> Lint<'a, '_, '_> {
    fn report(&mut self, code: Code, at: &Expression, message: String, help: Option<&str>) {
        self.tree.report(self.decoder, code, at, message, help.map(str::to_owned));
    }

    fn component(&self, name: &str) -> Option<&'a Component> {
        self.ids.get(name).map(|id| &self.journey.components[*id])
    }

    fn visit(&mut self, at: &'a Expression, used: &mut [bool], parameters: &mut BTreeSet<&'a str>) {
        match &at.term {
            Term::Component(name) => {
                if let Some(id) = self.ids.get(name.as_str()) {
                    used[*id] = true;
                }
            }
            Term::Race { branches, hedged } => {
                if *hedged {
                    let message =
                        "`semantics: hedged` says what a race does anyway: all branches start at once";
                    self.report(Code::HedgedRace, at, message.to_owned(), Some("a delay is a `hedge`"));
                }
                self.redundancy(at, branches.iter().collect());
                self.split_as_race(at, branches);
            }
            Term::KofN { k, branches } if *k < branches.len() => {
                self.redundancy(at, branches.iter().collect())
            }
            Term::Fallback { body, fallback: other } | Term::Hedge { body, alternate: other, .. } => {
                self.redundancy(at, vec![body, other]);
            }
            Term::Cond(branches) => {
                for (share, _) in branches {
                    if let Share::Parameter(name) = share {
                        parameters.insert(name);
                    }
                }
                self.degenerate_cond(at, branches);
            }
            Term::Retry { attempts, fate: None, .. } if *attempts > 1 => {
                let message =
                    "the attempts share their fate in the bounds, so that they add no availability there";
                let help = "where failures are transient, write `attemptsFate: independent`; else `shared`";
                self.report(Code::AttemptsShareFate, at, message.to_owned(), Some(help));
            }
            _ => {}
        }
        if let Term::Timeout { body, fallback: Some(fallback), .. } = &at.term {
            self.redundancy(at, vec![body, fallback]);
        }
        self.timers(at);
        for operand in at.operands() {
            self.visit(operand, used, parameters);
        }
    }

    fn timers(&mut self, at: &Expression) {
        let Some(objective) = &self.journey.objectives.latency else { return };
        let (what, timer): (_, Option<Seconds>) = match &at.term {
            Term::Timeout { after, .. } => ("the timeout", Some(after.value)),
            Term::Optional { timeout, .. } => ("the timeout", Some(timeout.value)),
            Term::Hedge { delay, .. } => ("the delay", Some(delay.value)),
            Term::Retry { per_try_timeout, .. } => {
                ("the timeout of each try", per_try_timeout.as_ref().map(|after| after.value))
            }
            _ => return,
        };
        let threshold = objective.threshold;
        if let Some(timer) = timer.filter(|timer| *timer > threshold) {
            let message = format!("{what} of {timer} is larger than the latency objective of {threshold}");
            self.report(
                Code::TimeoutBeyondObjective,
                at,
                message,
                Some("a request that waits so long has missed it"),
            );
        }
    }

    /// What every alternative depends on defeats the redundancy.
    fn redundancy(&mut self, at: &Expression, alternatives: Vec<&'a Expression>) {
        if alternatives.len() < 2 {
            return;
        }
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        let mut domains: BTreeMap<usize, usize> = BTreeMap::new();
        for alternative in &alternatives {
            let mut leaves = BTreeSet::new();
            collect_leaves(alternative, &mut leaves, &mut self.budget);
            if self.budget == 0 {
                return;
            }
            let of: BTreeSet<usize> = leaves
                .iter()
                .filter_map(|name| self.component(name))
                .flat_map(|component| component.domains.iter().map(|domain| domain.0))
                .collect();
            for domain in of {
                *domains.entry(domain).or_default() += 1;
            }
            for name in leaves {
                *names.entry(name).or_default() += 1;
            }
        }
        let mut shared: Vec<_> = names
            .into_iter()
            .filter(|(_, count)| *count == alternatives.len())
            .map(|(name, _)| format!("the component `{name}`"))
            .collect();
        shared.extend(
            domains
                .into_iter()
                .filter(|(_, count)| *count == alternatives.len())
                .map(|(domain, _)| format!("the failure domain `{}`", self.journey.domains[domain].name)),
        );
        if !shared.is_empty() {
            let message = format!(
                "every alternative of this {} depends on {}: in the bounds this redundancy adds little or nothing",
                at.keyword(),
                shared.join(" and ")
            );
            self.report(Code::SharedRedundancy, at, message, None);
        }
    }

    /// A race between parts of one service's requests: they are told apart by a label, so each request is in one part.
    fn split_as_race(&mut self, at: &Expression, branches: &[Expression]) {
        let selectors: Option<Vec<_>> = branches
            .iter()
            .map(|branch| match &branch.term {
                Term::Component(name) => match &self.component(name)?.telemetry {
                    Some(Telemetry::Histogram { metric, matchers, .. }) => Some((metric, matchers)),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let Some([(metric, first), rest @ ..]) = selectors.as_deref() else { return };
        let service = |label: &str| SERVICE_LABELS.contains(&label);
        let split = !rest.is_empty()
            && first.iter().any(|matcher| service(&matcher.name) && matcher.op == MatchOp::Equal)
            && rest.iter().all(|(other, matchers)| {
                let ours = first.iter().filter(|matcher| service(&matcher.name));
                let theirs = matchers.iter().filter(|matcher| service(&matcher.name));
                other == metric && ours.eq(theirs) && matchers != first
            });
        if split {
            let message = "the branches are parts of one service's requests, so each request takes exactly one of \
                           them; in a race all start at once";
            self.report(
                Code::RaceOrCond,
                at,
                message.to_owned(),
                Some("write a `cond` with their probabilities"),
            );
        }
    }

    fn degenerate_cond(&mut self, at: &Expression, branches: &[(Share, Expression)]) {
        let certain = branches.len() > 1
            && branches
                .iter()
                .any(|(share, _)| matches!(share, Share::Number(number) if number.value == 1.0));
        if certain {
            let message =
                "one branch is always taken and the others never; in a cond exactly one branch runs";
            let help = "if the others run too, write a `race` or a `parallel`";
            self.report(Code::RaceOrCond, at, message.to_owned(), Some(help));
        }
    }
}

fn collect_leaves<'a>(at: &'a Expression, leaves: &mut BTreeSet<&'a str>, budget: &mut usize) {
    if *budget == 0 {
        return;
    }
    *budget -= 1;
    if let Term::Component(name) = &at.term {
        leaves.insert(name);
    }
    for operand in at.operands() {
        collect_leaves(operand, leaves, budget);
    }
}
