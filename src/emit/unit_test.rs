//! Unit tests of the alerts, in promtool's format: each tier fires, holds, is kept and resets; stays silent at its
//! threshold and where the samples prove nothing; fires at `+Inf`; and where its signal is NaN, stale or gone, a guard
//! fires in its place.

use std::fmt::Write as _;

use super::alert;
use super::guard;
use super::rule::{minutes, table};
use super::selector::{pessimistic, proven};
use super::tier::{Budget, Tier, tiers, windows};
use super::yaml::{Yaml, map};
use crate::journey::Journey;
use crate::synthetic::catalog;
use crate::unit::Window;

/// Samples of one phase of a guard's test, one a minute.
const GUARD_PHASE: u64 = 10;

/// The file; empty where the journey has neither objectives nor guards to test.
pub(crate) fn document(journey: &Journey) -> Yaml {
    let tiers = tiers(journey);
    let budgets = Budget::of(journey);
    let mut tests = Vec::new();
    let mut named = Named::default();
    if !budgets.is_empty() {
        let groups = together(&tiers);
        tests.extend(groups.iter().map(|group| tiers_test(journey, &budgets, group, &tiers, &mut named)));
    }
    if let Some(first) = tiers.first()
        && budgets.contains(&Budget::Availability)
    {
        let mut kinds = Vec::new();
        if journey.components.len() > 1 {
            kinds.push("component");
        }
        if alert::shared_domains(journey) {
            kinds.push("domain");
        }
        if !kinds.is_empty() {
            tests.push(contributor_test(journey, first, &kinds));
        }
    }
    if !tiers.is_empty() && !budgets.is_empty() {
        tests.push(incomplete_test(journey, &budgets, &tiers, &mut named));
    }
    tests.push(absent_test(journey));
    tests.push(evidence_test(journey));
    map([
        ("rule_files", Yaml::List(vec!["alerts.yaml".into()])),
        ("evaluation_interval", "1m".into()),
        ("tests", Yaml::List(tests)),
    ])
}

/// What a series is during a phase.
#[derive(Clone, Copy)]
enum Value {
    Number(f64),
    NotANumber,
    Gone,
}

/// In promtool's notation: `2x19` is twenty times 2. NaN and +Inf have no short form.
fn values(phases: &[Value], samples: u64) -> String {
    phased(&phases.iter().map(|value| (samples, *value)).collect::<Vec<_>>())
}

/// The same for phases of different lengths.
fn phased(phases: &[(u64, Value)]) -> String {
    let mut text = String::with_capacity(128);
    let repeated = |text: &mut String, word: &str, times: u64| {
        for index in 0..times {
            text.push_str(if index > 0 { " " } else { "" });
            text.push_str(word);
        }
    };
    for (index, &(samples, value)) in phases.iter().enumerate() {
        text.push_str(if index > 0 { " " } else { "" });
        let _ = match value {
            Value::Number(value) if value.is_finite() => write!(text, "{value}x{}", samples - 1),
            Value::Number(_) => {
                repeated(&mut text, "Inf", samples);
                Ok(())
            }
            Value::NotANumber => {
                repeated(&mut text, "NaN", samples);
                Ok(())
            }
            Value::Gone => write!(text, "stale _x{}", samples - 1),
        };
    }
    text
}

/// A series of all traffic: it carries no `variant`.
fn series(name: &str, journey: &Journey, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!("{name}{{journey=\"{}\"{comma}{more}}}", journey.name)
}

fn over(name: &str, journey: &Journey, window: Window) -> String {
    series(name, journey, &format!("window=\"{window}\""))
}

fn input(series: String, values: String) -> Yaml {
    map([("series", series.into()), ("values", values.into())])
}

fn test(name: String, inputs: Vec<Yaml>, checks: Vec<Yaml>) -> Yaml {
    map([
        ("name", name.into()),
        ("interval", "1m".into()),
        ("input_series", Yaml::List(inputs)),
        ("alert_rule_test", Yaml::List(checks)),
    ])
}

/// Alerts that are expected more than once in a file: written where they come first, named from there on.
#[derive(Default)]
struct Named(Vec<String>);

impl Named {
    fn get(&mut self, name: &str, write: impl FnOnce() -> Yaml) -> Yaml {
        if self.0.iter().any(|known| known == name) {
            return Yaml::Alias(name.to_owned());
        }
        self.0.push(name.to_owned());
        Yaml::Anchored(name.to_owned(), Box::new(write()))
    }
}

fn check(at: u64, name: &'static str, expected: Vec<Yaml>) -> Yaml {
    map([("eval_time", minutes(at).into()), ("alertname", name.into()), ("exp_alerts", Yaml::List(expected))])
}

/// One expected alert; templates in the annotations are given their values by `fill`.
fn expected(
    labels: Vec<(String, String)>,
    annotations: Vec<(&'static str, String)>,
    fill: &dyn Fn(String) -> String,
) -> Yaml {
    let filled: Vec<(&'static str, String)> =
        annotations.into_iter().map(|(key, text)| (key, fill(text))).collect();
    map([("exp_labels", table(&labels)), ("exp_annotations", table(&filled))])
}

fn with(journey: &Journey, severity: &str, tier: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut labels = alert::labels(journey, severity, tier);
    labels.push(("journey".to_owned(), journey.name.clone()));
    labels.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    labels
}

/// The template's place taken by `by`.
fn filled(text: &str, by: &str) -> String {
    match (text.find("{{"), text.rfind("}}")) {
        (Some(from), Some(to)) => format!("{}{by}{}", &text[..from], &text[to + 2..]),
        _ => text.to_owned(),
    }
}

/// Tiers that one test can hold: they wait as long as each other, and none reads a window of another. A test takes promtool
/// time for each of its minutes, however many alerts it asks for.
fn together(tiers: &[Tier]) -> Vec<Vec<&Tier>> {
    let apart = |a: &Tier, b: &Tier| {
        a.urgency == b.urgency && [b.long, b.short].iter().all(|window| ![a.long, a.short].contains(window))
    };
    let mut groups: Vec<Vec<&Tier>> = Vec::new();
    for tier in tiers {
        match groups.iter_mut().find(|group| group.iter().all(|other| apart(tier, other))) {
            Some(group) => group.push(tier),
            None => groups.push(vec![tier]),
        }
    }
    groups
}

/// How long one phase of a test lasts in minutes, and what the series of a tier are: the pessimistic burn over its long and
/// its short window, and the proven one.
type Phase = (u64, [Value; 3]);

/// Whether the alert of `tier` fires at a minute of these phases, as Prometheus goes about it: a condition that holds for
/// long enough fires, and what fires is kept for a while after it ends.
fn fires_at(tier: &Tier, phases: &[Phase], at: u64) -> bool {
    let above = |value: Value, limit: f64| matches!(value, Value::Number(value) if value > limit);
    let holds = |[long, short, proven]: [Value; 3]| {
        above(long, tier.rate) && above(short, tier.rate) && above(proven, 1.0)
    };
    let minutes = phases.iter().flat_map(|&(minutes, values)| (0..minutes).map(move |_| values)).zip(0..=at);
    let (mut since, mut ended, mut firing) = (None, None, false);
    for (values, minute) in minutes {
        if holds(values) {
            ended = None;
            firing |= minute - *since.get_or_insert(minute) >= tier.urgency.hold_minutes();
        } else if !firing || minute - *ended.get_or_insert(minute) >= tier.urgency.keep_minutes() {
            (since, ended, firing) = (None, None, false);
        }
    }
    firing
}

/// What the series of a tier are while it is tested: `burn` is a rate beyond every threshold.
fn phases_of(tier: &Tier, burn: f64) -> [Phase; 9] {
    let (hold, keep) = (tier.urgency.hold_minutes(), tier.urgency.keep_minutes());
    let (fires, resets) = (hold + 3, keep + 3);
    let number = |long: f64, short: f64, proven: f64| [long, short, proven].map(Value::Number);
    [
        (3, number(0.0, 0.0, 0.0)),
        (fires, number(burn, burn, 2.0)),
        (resets, number(burn, 0.0, 2.0)),
        (fires, number(tier.rate, tier.rate, 2.0)),
        (fires, number(burn, burn, 1.0)),
        (fires, number(f64::INFINITY, f64::INFINITY, 2.0)),
        (resets, number(0.0, 0.0, 0.0)),
        (fires, [Value::NotANumber; 3]),
        (fires, [Value::Gone; 3]),
    ]
}

/// What the series of `other`, which is not tested, are while those of `group` are these: a window that both read is the
/// same series. `None` where it reads one that is not there.
fn seen_by(other: &Tier, group: &[(&Tier, [Phase; 9])]) -> Option<[Phase; 9]> {
    let pessimistic = |window| {
        group.iter().find_map(|(tier, phases)| {
            let index = if tier.long == window { Some(0) } else { (tier.short == window).then_some(1) };
            index.map(|index| (phases, index))
        })
    };
    let (long, short) = (pessimistic(other.long)?, pessimistic(other.short)?);
    let proven = group.iter().find(|(tier, _)| tier.long == other.long).map(|(_, phases)| (phases, 2))?;
    Some(std::array::from_fn(|phase| {
        let value = |(phases, index): (&[Phase; 9], usize)| phases[phase].1[index];
        (long.0[phase].0, [value(long), value(short), value(proven)])
    }))
}

/// The alerts of the tiers of `group` as they should behave, and of `all` others as they do over the same windows:
/// promtool asks for every alert of a name.
fn tiers_test(
    journey: &Journey,
    budgets: &[Budget],
    group: &[&Tier],
    all: &[Tier],
    named: &mut Named,
) -> Yaml {
    let mut burn = 1000.0;
    while group.iter().any(|tier| burn <= tier.rate) {
        burn *= 10.0;
    }
    let group: Vec<(&Tier, [Phase; 9])> = group.iter().map(|tier| (*tier, phases_of(tier, burn))).collect();
    let others = all.iter().filter(|other| group.iter().all(|(tier, _)| tier.label != other.label));
    let others: Vec<_> = others.filter_map(|other| Some((other, seen_by(other, &group)?))).collect();
    let Some(&(first, times)) = group.first() else { return Yaml::List(Vec::new()) };
    let component = journey.components.first().map_or("", |component| component.name.as_str());
    let total: u64 = times.iter().map(|(minutes, _)| minutes).sum();
    let start = |phase: usize| times[..phase].iter().map(|(minutes, _)| minutes).sum::<u64>();
    let end = |phase: usize| start(phase + 1) - 1;
    let (hold, keep) = (first.urgency.hold_minutes(), first.urgency.keep_minutes());
    let (mut inputs, mut checks) = (Vec::new(), Vec::new());
    for &budget in budgets {
        let share = match budget {
            Budget::Availability => catalog::COMPONENT_BUDGET_SHARE,
            Budget::Latency => catalog::COMPONENT_LATENCY_SHARE,
        };
        for (tier, phases) in &group {
            let of = |index: usize| phased(&phases.map(|(minutes, phase)| (minutes, phase[index])));
            let component = format!("window=\"{}\",component=\"{component}\"", tier.long);
            inputs.extend([
                input(over(pessimistic(budget), journey, tier.long), of(0)),
                input(over(pessimistic(budget), journey, tier.short), of(1)),
                input(over(proven(budget), journey, tier.long), of(2)),
                input(series(share, journey, &component), format!("0.9x{}", total - 1)),
            ]);
        }
        let fill = |text: String| filled(&text, component);
        let mut alert_of = |tier: &Tier| {
            named.get(&format!("{}-{}", budget.name(), tier.label), || {
                let labels = with(journey, &tier.severity, &tier.label, &[]);
                expected(labels, alert::annotations(journey, budget, tier), &fill)
            })
        };
        for (at, fire) in [
            (end(0), false),
            (start(1) + hold - 1, false),
            (end(1), true),
            (start(2) + keep - 1, true),
            (end(2), false),
            (end(3), false),
            (end(4), false),
            (end(5), true),
            (end(6), false),
            (end(7), false),
            (end(8), false),
        ] {
            let own = group.iter().map(|(tier, _)| *tier).filter(|_| fire);
            let too = others.iter().filter(|(other, phases)| fires_at(other, phases, at));
            let fired = own.chain(too.map(|(other, _)| *other));
            checks.push(check(at, budget.alert(), fired.map(&mut alert_of).collect()));
        }
    }
    let labels: Vec<&str> = group.iter().map(|(tier, _)| tier.label.as_str()).collect();
    test(
        format!(
            "{}: normal, burning, reset, threshold, unproven, +Inf, normal, NaN, stale",
            labels.join(", ")
        ),
        inputs,
        checks,
    )
}

fn contributor_test(journey: &Journey, tier: &Tier, kinds: &[&str]) -> Yaml {
    let budget = Budget::Availability;
    let burn = values(&[Value::Number(2.0)], 30);
    let shares = phased(&[(10, Value::Number(0.9)), (20, Value::Number(0.2))]);
    let mut inputs = vec![
        input(over(pessimistic(budget), journey, tier.long), burn.clone()),
        input(over(pessimistic(budget), journey, tier.short), burn.clone()),
        input(over(proven(budget), journey, tier.long), burn),
    ];
    let mut checks = Vec::new();
    for &kind in kinds {
        let (name, share, member) = match kind {
            "component" => (
                alert::COMPONENT_ALERT,
                catalog::COMPONENT_BUDGET_SHARE,
                journey.components.first().map_or("", |component| component.name.as_str()),
            ),
            _ => (
                alert::DOMAIN_ALERT,
                catalog::DOMAIN_BUDGET_SHARE,
                journey.domains.first().map_or("", |domain| domain.name.as_str()),
            ),
        };
        let member_of = format!("window=\"{}\",{kind}=\"{member}\"", tier.long);
        inputs.push(input(series(share, journey, &member_of), shares.clone()));
        let fill = |text: String| filled(&text, member);
        let fires = expected(
            with(journey, "info", "contributor", &[(kind, member)]),
            alert::contributor_annotations(journey, kind),
            &fill,
        );
        checks.extend([check(5, name, vec![fires]), check(28, name, Vec::new())]);
    }
    test(format!("the {} that dominates is named while it does", kinds.join(" or ")), inputs, checks)
}

/// Every tier's long window turns NaN, recovers, goes stale, recovers.
fn incomplete_test(journey: &Journey, budgets: &[Budget], tiers: &[Tier], named: &mut Named) -> Yaml {
    let (all, long) = windows(tiers);
    let healthy = Value::Number(0.0);
    let during = |broken: &dyn Fn(&Tier) -> bool| -> Vec<Value> {
        let mut phases = vec![healthy];
        for tier in tiers {
            let states = if broken(tier) { [Value::NotANumber, healthy, Value::Gone] } else { [healthy; 3] };
            phases.extend(states);
            phases.push(healthy);
        }
        phases
    };
    let mut inputs = vec![input(
        series(catalog::MODEL_INFO, journey, "digest=\"d\""),
        format!("1x{}", GUARD_PHASE * (4 * tiers.len() as u64 + 1) - 1),
    )];
    for &budget in budgets {
        for &window in &all {
            let phases = during(&|tier: &Tier| tier.long == window);
            inputs.push(input(over(pessimistic(budget), journey, window), values(&phases, GUARD_PHASE)));
        }
        for &window in &long {
            let phases = during(&|_: &Tier| false);
            inputs.push(input(over(proven(budget), journey, window), values(&phases, GUARD_PHASE)));
        }
    }
    let mut fires = || {
        let alert = named.get("incomplete", || {
            let labels = with(journey, &guard::severity(journey), "guard", &[]);
            expected(labels, guard::annotations(journey, guard::INCOMPLETE), &|text| text)
        });
        vec![alert]
    };
    let end = |phase: u64| (phase + 1) * GUARD_PHASE - 1;
    let mut checks = vec![check(end(0), guard::INCOMPLETE, Vec::new())];
    for index in 0..tiers.len() as u64 {
        for (phase, fired) in [(1, true), (2, false), (3, true), (4, false)] {
            let expected = if fired { fires() } else { Vec::new() };
            checks.push(check(end(4 * index + phase), guard::INCOMPLETE, expected));
        }
    }
    test("a tier whose signal is NaN or gone has its guard".to_owned(), inputs, checks)
}

fn absent_test(journey: &Journey) -> Yaml {
    let inputs = vec![input(
        series(catalog::MODEL_INFO, journey, "digest=\"d\""),
        values(&[Value::Number(1.0), Value::Gone, Value::Number(1.0)], GUARD_PHASE),
    )];
    let fires = expected(
        with(journey, &guard::severity(journey), "guard", &[]),
        guard::annotations(journey, guard::ABSENT),
        &|text| text,
    );
    let checks = vec![
        check(9, guard::ABSENT, Vec::new()),
        check(10 + guard::HOLD_MINUTES - 1, guard::ABSENT, Vec::new()),
        check(19, guard::ABSENT, vec![fires]),
        check(29, guard::ABSENT, Vec::new()),
    ];
    test("silence is not health: the proxy is gone, then back".to_owned(), inputs, checks)
}

fn evidence_test(journey: &Journey) -> Yaml {
    let flag = [Value::Number(0.0), Value::Number(1.0), Value::Number(0.0)];
    let reason = |reason: &str| series(catalog::EVIDENCE_MISSING, journey, &format!("reason=\"{reason}\""));
    let inputs = vec![
        input(
            series(catalog::EVIDENCE_AGE, journey, ""),
            values(&[Value::Number(10.0), Value::Number(300.0), Value::Number(10.0)], GUARD_PHASE),
        ),
        input(reason("upstream"), values(&flag, GUARD_PHASE)),
        input(reason("no_traffic"), values(&flag, GUARD_PHASE)),
        input(reason("retention"), values(&flag, GUARD_PHASE)),
    ];
    let old = expected(
        with(journey, &guard::severity(journey), "guard", &[]),
        guard::annotations(journey, guard::OLD),
        &|text| text,
    );
    let missing = |name: &'static str, severity: String, reason: &'static str| {
        let fill = move |text: String| filled(&text, reason);
        let labels = with(journey, &severity, "guard", &[("reason", reason)]);
        vec![expected(labels, guard::annotations(journey, name), &fill)]
    };
    let mut checks = vec![
        check(9, guard::OLD, Vec::new()),
        check(19, guard::OLD, vec![old]),
        check(29, guard::OLD, Vec::new()),
    ];
    for (name, severity, reason) in [
        (guard::MISSING, guard::severity(journey), "upstream"),
        (guard::WEAK, guard::weak_severity(journey), "no_traffic"),
    ] {
        checks.push(check(9, name, Vec::new()));
        checks.push(check(19, name, missing(name, severity, reason)));
        checks.push(check(29, name, Vec::new()));
    }
    test("old and missing evidence is said".to_owned(), inputs, checks)
}
