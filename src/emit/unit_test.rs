//! Unit tests of the alerts, in promtool's format: each tier fires, holds, is kept and resets; stays silent at its
//! threshold and where the samples prove nothing; fires at `+Inf`; and where its signal is NaN, stale or gone, a guard
//! fires in its place.

use super::alert;
use super::guard;
use super::phase::{Value, phased, values};
use super::rule::{Labels, minutes, pairs};
use super::selector::{pessimistic, proven, selector};
use super::tier::{Budget, Tier, tiers, windows};
use super::yaml::Writer;
use crate::journey::Journey;
use crate::synthetic::catalog;

/// Samples of one phase of a guard's test, one a minute.
const GUARD_PHASE: u64 = 10;

/// The file, behind its provenance; `absent` and evidence are guarded in any case.
pub(crate) fn document(journey: &Journey, header: &str) -> String {
    let mut text = String::with_capacity(1 << 15);
    Writer::new(&mut text)
        .comment(header)
        .list("rule_files", |out| {
            out.text_item("alerts.yaml");
        })
        .word("evaluation_interval", "1m")
        .list("tests", |out| tests(journey, out));
    text
}

fn tests(journey: &Journey, out: &mut Writer<'_>) {
    let tiers = tiers(journey);
    let budgets = Budget::of(journey);
    let mut named = Named::default();
    if !budgets.is_empty() {
        for group in together(&tiers) {
            tiers_test(journey, &budgets, &group, &tiers, &mut named, out);
        }
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
            contributor_test(journey, first, &kinds, out);
        }
    }
    if !tiers.is_empty() && !budgets.is_empty() {
        incomplete_test(journey, &budgets, &tiers, &mut named, out);
    }
    absent_test(journey, out);
    evidence_test(journey, out);
}

/// A series over one window; of all traffic, so that it carries no `variant`.
fn over(name: &str, journey: &Journey, window: &str) -> String {
    selector(name, journey, &[",window=\"", window, "\""])
}

fn input(out: &mut Writer<'_>, series: &str, values: &str) {
    out.item(|out| {
        out.text("series", series).text("values", values);
    });
}

fn test(
    out: &mut Writer<'_>,
    name: &str,
    inputs: impl FnOnce(&mut Writer<'_>),
    checks: impl FnOnce(&mut Writer<'_>),
) {
    out.item(|out| {
        out.text("name", name)
            .word("interval", "1m")
            .list("input_series", inputs)
            .list("alert_rule_test", checks);
    });
}

/// Alerts that are expected more than once in a file: written where they come first, named from there on.
#[derive(Default)]
struct Named(Vec<String>);

impl Named {
    fn write(&mut self, name: &str, out: &mut Writer<'_>, write: impl FnOnce(&mut Writer<'_>)) {
        if self.0.iter().any(|known| known == name) {
            out.alias(name);
        } else {
            self.0.push(name.to_owned());
            out.anchored(name, write);
        }
    }
}

fn check(out: &mut Writer<'_>, at: u64, name: &'static str, expected: impl FnOnce(&mut Writer<'_>)) {
    out.item(|out| {
        out.word("eval_time", &minutes(at)).word("alertname", name).list("exp_alerts", expected);
    });
}

/// One expected alert; templates in the annotations are given their values by `fill`.
fn expected(
    out: &mut Writer<'_>,
    labels: &Labels,
    annotations: Vec<(&'static str, String)>,
    fill: &dyn Fn(String) -> String,
) {
    out.map("exp_labels", |out| pairs(out, labels)).map("exp_annotations", |out| {
        for (key, text) in annotations {
            out.text(key, &fill(text));
        }
    });
}

fn with(journey: &Journey, severity: &str, tier: &str, more: &[(&'static str, &str)]) -> Labels {
    let mut labels = alert::labels(journey, severity, tier);
    labels.push(("journey".into(), journey.name.clone()));
    labels.extend(more.iter().map(|(key, value)| ((*key).into(), (*value).to_owned())));
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

/// Whether the alert of `tier` fires at each minute of these phases, as Prometheus goes about it: a condition that holds for
/// long enough fires, and what fires is kept for a while after it ends.
fn firing(tier: &Tier, phases: &[Phase]) -> Vec<bool> {
    let above = |value: Value, limit: f64| matches!(value, Value::Number(value) if value > limit);
    let (mut since, mut ended, mut firing) = (None, None, false);
    let (mut all, mut minute) = (Vec::new(), 0);
    for &(minutes, [long, short, proven]) in phases {
        let holds = above(long, tier.rate) && above(short, tier.rate) && above(proven, 1.0);
        for _ in 0..minutes {
            if holds {
                ended = None;
                firing |= minute - *since.get_or_insert(minute) >= tier.urgency.hold_minutes();
            } else if !firing || minute - *ended.get_or_insert(minute) >= tier.urgency.keep_minutes() {
                (since, ended, firing) = (None, None, false);
            }
            all.push(firing);
            minute += 1;
        }
    }
    all
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
fn tiers_test<'t>(
    journey: &Journey,
    budgets: &[Budget],
    group: &[&'t Tier],
    all: &'t [Tier],
    named: &mut Named,
    out: &mut Writer<'_>,
) {
    let mut burn = 1000.0;
    while group.iter().any(|tier| burn <= tier.rate) {
        burn *= 10.0;
    }
    let group: Vec<(&'t Tier, [Phase; 9])> =
        group.iter().map(|tier| (*tier, phases_of(tier, burn))).collect();
    let others = all.iter().filter(|other| group.iter().all(|(tier, _)| tier.label != other.label));
    let others: Vec<(&'t Tier, Vec<bool>)> =
        others.filter_map(|other| Some((other, firing(other, &seen_by(other, &group)?)))).collect();
    let Some(&(first, times)) = group.first() else { return };
    let component = journey.components.first().map_or("", |component| component.name.as_str());
    let total: u64 = times.iter().map(|(minutes, _)| minutes).sum();
    let start = |phase: usize| times[..phase].iter().map(|(minutes, _)| minutes).sum::<u64>();
    let end = |phase: usize| start(phase + 1) - 1;
    let (hold, keep) = (first.urgency.hold_minutes(), first.urgency.keep_minutes());
    // The same for each budget.
    let values: Vec<[String; 3]> = group
        .iter()
        .map(|(_, phases)| [0, 1, 2].map(|of| phased(&phases.map(|(minutes, phase)| (minutes, phase[of])))))
        .collect();
    let share = format!("0.9x{}", total - 1);
    let minutes: Vec<(u64, Vec<&Tier>)> = [
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
    ]
    .into_iter()
    .map(|(at, fire)| {
        let own = group.iter().map(|(tier, _)| *tier).filter(|_| fire);
        let fires = |firing: &[bool]| usize::try_from(at).is_ok_and(|at| firing.get(at) == Some(&true));
        let too = others.iter().filter(|(_, firing)| fires(firing)).map(|(other, _)| *other);
        (at, own.chain(too).collect())
    })
    .collect();
    let labels: Vec<&str> = group.iter().map(|(tier, _)| tier.label.as_str()).collect();
    let name = format!(
        "{}: normal, burning, reset, threshold, unproven, +Inf, normal, NaN, stale",
        labels.join(", ")
    );
    let inputs = |out: &mut Writer<'_>| {
        for &budget in budgets {
            let share_of = match budget {
                Budget::Availability => catalog::COMPONENT_BUDGET_SHARE,
                Budget::Latency => catalog::COMPONENT_LATENCY_SHARE,
            };
            for ((tier, _), [long, short, proof]) in group.iter().zip(&values) {
                input(out, &over(pessimistic(budget), journey, &tier.long_text), long);
                input(out, &over(pessimistic(budget), journey, &tier.short_text), short);
                input(out, &over(proven(budget), journey, &tier.long_text), proof);
                let of = [",window=\"", &tier.long_text, "\",component=\"", component, "\""];
                input(out, &selector(share_of, journey, &of), &share);
            }
        }
    };
    let checks = |out: &mut Writer<'_>| {
        for &budget in budgets {
            for (at, fired) in &minutes {
                check(out, *at, budget.alert(), |out| {
                    for tier in fired {
                        named.write(&[budget.name(), "-", &tier.label].concat(), out, |out| {
                            let labels = with(journey, &tier.severity, &tier.label, &[]);
                            let annotations = alert::annotations(journey, budget, tier);
                            expected(out, &labels, annotations, &|text| filled(&text, component));
                        });
                    }
                });
            }
        }
    };
    test(out, &name, inputs, checks);
}

fn contributor_test(journey: &Journey, tier: &Tier, kinds: &[&'static str], out: &mut Writer<'_>) {
    let budget = Budget::Availability;
    let burn = values(&[Value::Number(2.0)], 30);
    let shares = phased(&[(10, Value::Number(0.9)), (20, Value::Number(0.2))]);
    let all = kinds.iter().map(|&kind| match kind {
        "component" => (
            kind,
            alert::COMPONENT_ALERT,
            catalog::COMPONENT_BUDGET_SHARE,
            journey.components.first().map_or("", |component| component.name.as_str()),
        ),
        _ => (
            kind,
            alert::DOMAIN_ALERT,
            catalog::DOMAIN_BUDGET_SHARE,
            journey.domains.first().map_or("", |domain| domain.name.as_str()),
        ),
    });
    let inputs = |out: &mut Writer<'_>| {
        input(out, &over(pessimistic(budget), journey, &tier.long_text), &burn);
        input(out, &over(pessimistic(budget), journey, &tier.short_text), &burn);
        input(out, &over(proven(budget), journey, &tier.long_text), &burn);
        for (kind, _, share, member) in all.clone() {
            let of = [",window=\"", &tier.long_text, "\",", kind, "=\"", member, "\""];
            input(out, &selector(share, journey, &of), &shares);
        }
    };
    let checks = |out: &mut Writer<'_>| {
        for (kind, name, _, member) in all.clone() {
            check(out, 5, name, |out| {
                out.item(|out| {
                    let labels = with(journey, "info", "contributor", &[(kind, member)]);
                    let annotations = alert::contributor_annotations(journey, kind);
                    expected(out, &labels, annotations, &|text| filled(&text, member));
                });
            });
            check(out, 28, name, nothing);
        }
    };
    let name = format!("the {} that dominates is named while it does", kinds.join(" or "));
    test(out, &name, inputs, checks);
}

/// No alert is expected.
const fn nothing(_: &mut Writer<'_>) {}

/// Every tier's long window turns NaN, recovers, goes stale, recovers.
fn incomplete_test(
    journey: &Journey,
    budgets: &[Budget],
    tiers: &[Tier],
    named: &mut Named,
    out: &mut Writer<'_>,
) {
    let (all, long) = windows(tiers);
    let healthy = Value::Number(0.0);
    let during = |broken: &dyn Fn(&Tier) -> bool| -> String {
        let mut phases = vec![healthy];
        for tier in tiers {
            let states = if broken(tier) { [Value::NotANumber, healthy, Value::Gone] } else { [healthy; 3] };
            phases.extend(states);
            phases.push(healthy);
        }
        values(&phases, GUARD_PHASE)
    };
    // The same for each budget.
    let read: Vec<(String, String)> =
        all.iter().map(|window| (window.to_string(), during(&|tier| tier.long == *window))).collect();
    let healthy = during(&|_| false);
    let inputs = |out: &mut Writer<'_>| {
        let known = format!("1x{}", GUARD_PHASE * (4 * tiers.len() as u64 + 1) - 1);
        input(out, &selector(catalog::MODEL_INFO, journey, &[DIGEST]), &known);
        for &budget in budgets {
            for (window, values) in &read {
                input(out, &over(pessimistic(budget), journey, window), values);
            }
            for (window, _) in all.iter().zip(&read).filter(|(window, _)| long.contains(window)) {
                input(out, &over(proven(budget), journey, &window.to_string()), &healthy);
            }
        }
    };
    let checks = |out: &mut Writer<'_>| {
        let end = |phase: u64| (phase + 1) * GUARD_PHASE - 1;
        check(out, end(0), guard::INCOMPLETE, nothing);
        for index in 0..tiers.len() as u64 {
            for (phase, fired) in [(1, true), (2, false), (3, true), (4, false)] {
                check(out, end(4 * index + phase), guard::INCOMPLETE, |out| {
                    if fired {
                        named.write("incomplete", out, |out| guard_fires(journey, guard::INCOMPLETE, out));
                    }
                });
            }
        }
    };
    test(out, "a tier whose signal is NaN or gone has its guard", inputs, checks);
}

/// A further matcher of the series that says that a model is there.
const DIGEST: &str = ",digest=\"d\"";

/// The expected alert of a guard that is as urgent as a page.
fn guard_fires(journey: &Journey, name: &str, out: &mut Writer<'_>) {
    let labels = with(journey, &guard::severity(journey), "guard", &[]);
    expected(out, &labels, guard::annotations(journey, name), &|text| text);
}

fn absent_test(journey: &Journey, out: &mut Writer<'_>) {
    let inputs = |out: &mut Writer<'_>| {
        let known = values(&[Value::Number(1.0), Value::Gone, Value::Number(1.0)], GUARD_PHASE);
        input(out, &selector(catalog::MODEL_INFO, journey, &[DIGEST]), &known);
    };
    let checks = |out: &mut Writer<'_>| {
        check(out, 9, guard::ABSENT, nothing);
        check(out, 10 + guard::HOLD_MINUTES - 1, guard::ABSENT, nothing);
        check(out, 19, guard::ABSENT, |out| {
            out.item(|out| guard_fires(journey, guard::ABSENT, out));
        });
        check(out, 29, guard::ABSENT, nothing);
    };
    test(out, "silence is not health: the proxy is gone, then back", inputs, checks);
}

fn evidence_test(journey: &Journey, out: &mut Writer<'_>) {
    let phases = |healthy: f64, bad: f64| {
        values(&[Value::Number(healthy), Value::Number(bad), Value::Number(healthy)], GUARD_PHASE)
    };
    let inputs = |out: &mut Writer<'_>| {
        input(out, &selector(catalog::EVIDENCE_AGE, journey, &[]), &phases(10.0, 300.0));
        let flag = phases(0.0, 1.0);
        for reason in ["upstream", "no_traffic", "retention"] {
            let of = [",reason=\"", reason, "\""];
            input(out, &selector(catalog::EVIDENCE_MISSING, journey, &of), &flag);
        }
    };
    let checks = |out: &mut Writer<'_>| {
        check(out, 9, guard::OLD, nothing);
        check(out, 19, guard::OLD, |out| {
            out.item(|out| guard_fires(journey, guard::OLD, out));
        });
        check(out, 29, guard::OLD, nothing);
        for (name, severity, reason) in [
            (guard::MISSING, guard::severity(journey), "upstream"),
            (guard::WEAK, guard::weak_severity(journey), "no_traffic"),
        ] {
            check(out, 9, name, nothing);
            check(out, 19, name, |out| {
                out.item(|out| {
                    let labels = with(journey, &severity, "guard", &[("reason", reason)]);
                    let annotations = guard::annotations(journey, name);
                    expected(out, &labels, annotations, &|text| filled(&text, reason));
                });
            });
            check(out, 29, name, nothing);
        }
    };
    test(out, "old and missing evidence is said", inputs, checks);
}
