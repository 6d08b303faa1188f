use super::*;
use crate::journey::Journey;
use crate::journey::component::{Component, Telemetry};
use crate::journey::evidence::DesignEffects;
use crate::journey::fixture;
use crate::journey::operator::Operator;
use crate::series::{Labels, MatchOp, Matcher, Sample, Series, StepGrid};

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher { name: name.to_owned(), op, value: value.to_owned() }
}

pub(in super::super) fn component(service: &str) -> Component {
    with_telemetry(
        service,
        Telemetry::Histogram {
            metric: "m".to_owned(),
            matchers: vec![matcher("service", MatchOp::Equal, service)],
            success: vec![matcher("code", MatchOp::NotRegex, "5..")],
            unit: LatencyUnit::Seconds,
            histogram_type: HistogramType::Classic,
        },
    )
}

fn with_telemetry(name: &str, telemetry: Telemetry) -> Component {
    Component { telemetry: Some(telemetry), ..Component::new(name) }
}

pub(in super::super) fn journey(windows: &[&str], components: Vec<Component>) -> Journey {
    let all = (0..components.len()).map(|i| Operator::Component(ComponentId(i))).collect();
    Journey {
        name: "j".to_owned(),
        windows: windows.iter().map(|text| text.parse().unwrap()).collect(),
        ..fixture::journey(Operator::Series(all), components)
    }
}

const AT: Timestamp = Timestamp::from_millis(600_000);

/// Rows of an answer: labels as `name=value` pairs and the value.
type Rows = Vec<(Vec<(&'static str, String)>, f64)>;

/// Answers each query of the plan by what `script` says to its text; `None`: nothing matches.
fn read_all(
    journey: Journey,
    now: Option<Timestamp>,
    script: impl Fn(QueryKind, &str) -> Result<Rows, Outcome>,
) -> Reading {
    let plan = EvidencePlan::new(&[Arc::new(journey)], "15s".parse().unwrap());
    let outcomes: Vec<Outcome> = plan
        .queries()
        .iter()
        .map(|query| {
            let Some(time) = plan.time_of(query.kind, AT, now) else { return Outcome::NotAsked };
            match script(query.kind, &query.text) {
                Err(outcome) => outcome,
                Ok(rows) => {
                    let series = rows.into_iter().map(|(labels, value)| Series {
                        labels: labels.into_iter().collect::<Labels>(),
                        samples: vec![Sample { time, value }],
                    });
                    let grid = StepGrid::instant(time, plan.side_interval());
                    Outcome::Answered(Arc::new(Table::new(
                        series.collect(),
                        grid,
                        query.member_label.as_deref(),
                    )))
                }
            }
        })
        .collect();
    let settings = ReadSettings { max_lookback: "1h".parse().unwrap(), delay: Duration::from_secs(5) };
    Answers::new(&plan, &outcomes).read(AT, now, &settings).remove(0)
}

fn buckets(counts: [f64; 3]) -> Rows {
    ["0.1", "1", "+Inf"].into_iter().zip(counts).map(|(le, n)| (vec![("le", le.to_owned())], n)).collect()
}

fn one(value: f64) -> Rows {
    vec![(Vec::new(), value)]
}

/// A healthy service: 100 calls, 90 of them successes, scraped every 15 s.
fn healthy(kind: QueryKind, text: &str) -> Result<Rows, Outcome> {
    Ok(match kind {
        QueryKind::Increase(_) if text.contains("code") => buckets([50.0, 80.0, 90.0]),
        QueryKind::Increase(_) => buckets([55.0, 85.0, 100.0]),
        QueryKind::Layout => buckets([2.0, 2.0, 2.0]),
        QueryKind::Newest => one(595.0),
        QueryKind::Samples => one(20.0),
        QueryKind::Ahead | QueryKind::SubWindows(_) => Vec::new(),
        QueryKind::Declared(_) => unreachable!(),
    })
}

fn only(reading: &Reading, window: &str) -> ComponentEvidence {
    let Reading::Evidence { windows, .. } = reading else { panic!("unusable") };
    let window = window.parse().unwrap();
    windows.iter().find(|w| w.window == window).unwrap().evidence.components[0].clone()
}

fn read_one(script: impl Fn(QueryKind, &str) -> Result<Rows, Outcome>) -> ComponentEvidence {
    only(&read_all(journey(&["5m"], vec![component("a")]), Some(AT), script), "5m")
}

fn measured(evidence: &ComponentEvidence) -> &Counts {
    match &evidence.measurement {
        Measurement::Counts(counts) => counts,
        other => panic!("{other:?} {:?}", evidence.reasons),
    }
}

#[test]
fn good_total_and_both_latencies_come_from_one_histogram() {
    let evidence = read_one(healthy);
    assert_eq!(evidence.reasons, []);
    let counts = measured(&evidence);
    assert_eq!((counts.good(), counts.total()), (90.0, 100.0));
    assert_eq!(counts.latency().unwrap().counts(), [50.0, 80.0, 90.0]);
    assert_eq!(counts.failure_latency().unwrap().counts(), [5.0, 5.0, 10.0]);
    let reading = read_all(journey(&["5m"], vec![component("a")]), Some(AT), healthy);
    let Reading::Evidence { age, .. } = reading else { panic!() };
    assert_eq!(age.unwrap().get(), 5.0);
}

/// Reads a healthy service whose sub-windows hold these counts by bucket: of all calls, and of successes.
fn read_in_sub_windows(
    sub_windows: impl Fn(usize) -> ([f64; 3], [f64; 3]),
    lost: Option<Outcome>,
) -> Reading {
    let plan =
        EvidencePlan::new(&[Arc::new(journey(&["5m", "1h"], vec![component("a")]))], "15s".parse().unwrap());
    let outcomes: Vec<Outcome> = plan
        .queries()
        .iter()
        .map(|query| {
            let time = plan.time_of(query.kind, AT, Some(AT)).unwrap();
            let QueryKind::SubWindows(_) = query.kind else {
                let series = healthy(query.kind, &query.text).unwrap().into_iter().map(|(labels, value)| {
                    Series { labels: labels.into_iter().collect(), samples: vec![Sample { time, value }] }
                });
                let grid = StepGrid::instant(time, plan.side_interval());
                return Outcome::Answered(Arc::new(Table::new(series.collect(), grid, None)));
            };
            if let Some(lost) = &lost {
                return lost.clone();
            }
            let grid = plan.grid_of(query.kind, time, time).unwrap();
            assert_eq!(grid.points(), 12);
            let column = |bucket: usize| -> Vec<Sample> {
                let counted = grid.iter().enumerate().map(|(at, time)| {
                    let (all, good) = sub_windows(at);
                    let value = if query.text.contains("code") { good } else { all }[bucket];
                    Sample { time, value }
                });
                counted.filter(|sample| sample.value >= 0.0).collect()
            };
            let series = ["0.1", "1", "+Inf"].into_iter().enumerate().map(|(bucket, le)| Series {
                labels: [("le", le.to_owned())].into_iter().collect(),
                samples: column(bucket),
            });
            let table = Table::new(series.collect(), grid, query.member_label.as_deref());
            Outcome::Answered(Arc::new(table.condensed(0.9)))
        })
        .collect();
    let settings = ReadSettings { max_lookback: "1h".parse().unwrap(), delay: Duration::from_secs(5) };
    Answers::new(&plan, &outcomes).read(AT, Some(AT), &settings).remove(0)
}

#[test]
fn errors_and_slow_calls_in_bursts_take_from_the_worth_of_the_calls() {
    let worth = |sub_windows: &dyn Fn(usize) -> ([f64; 3], [f64; 3])| {
        let reading = read_in_sub_windows(sub_windows, None);
        // Five minutes are too short to be cut.
        assert_eq!(measured(&only(&reading, "5m")).design_effects(), DesignEffects::default());
        let evidence = only(&reading, "1h");
        assert_eq!(evidence.reasons, []);
        let counts = measured(&evidence).clone();
        assert_eq!(counts.total(), 100.0);
        let effects = counts.design_effects();
        (effects.failures.map(|effect| effect.get()), effects.latency.map(|effect| effect.get()))
    };
    // A tenth fails everywhere; of the successes a ninth is slower than 1 s, an even share.
    assert_eq!(worth(&|_| ([55.0, 85.0, 100.0], [50.0, 80.0, 90.0])), (Some(1.0), Some(1.0)));
    // Everything bad in one of twelve sub-windows of 100 calls: two differences (the last one counts twice), of 13 that
    // are each 200·p(1−p) for independent calls. χ² of 7.33 degrees of freedom is below 4.5225 with probability .25.
    let effect = |bad: f64| {
        let p = bad / 1200.0;
        7.33 / 4.5225 * 2.0 * bad * bad / (13.0 * 200.0 * p * (1.0 - p))
    };
    let good = |at: usize| if at == 3 { 40.0 } else { 100.0 };
    let (failures, latency) =
        worth(&|at| ([55.0, 85.0, 100.0], [0.5, 0.9, 1.0].map(|share| share * good(at))));
    assert!((failures.unwrap() / effect(60.0) - 1.0).abs() < 1e-3, "{failures:?} {}", effect(60.0));
    assert_eq!(latency, Some(1.0));
    let slow = |at: usize| if at == 11 { [0.0, 0.0, 100.0] } else { [50.0, 100.0, 100.0] };
    let (failures, latency) = worth(&|at| (slow(at), slow(at)));
    assert_eq!(failures, Some(1.0));
    assert!((latency.unwrap() / effect(100.0) - 1.0).abs() < 1e-3, "{latency:?} {}", effect(100.0));
    // A young service: seven sub-windows have calls.
    let young = |at: usize| if at < 5 { [-1.0; 3] } else { [50.0, 80.0, 100.0] };
    assert_eq!(worth(&|at| (young(at), young(at))), (None, None));
}

#[test]
fn sub_windows_that_were_not_answered_make_the_evidence_partial() {
    for lost in [Outcome::Failed, Outcome::Incomplete] {
        let reading = read_in_sub_windows(|_| unreachable!(), Some(lost));
        let evidence = only(&reading, "1h");
        assert_eq!(evidence.reasons, [Reason::Partial]);
        assert_eq!(measured(&evidence).total(), 100.0);
        assert_eq!(only(&reading, "5m").reasons, []);
    }
}

#[test]
fn native_buckets_that_hold_no_success_are_still_edges_of_the_failures() {
    let native = |edges: &[(&str, f64)]| -> Rows {
        edges.iter().map(|&(le, n)| (vec![("le", le.to_owned())], n)).collect()
    };
    let mut component = component("a");
    if let Some(Telemetry::Histogram { histogram_type, .. }) = &mut component.telemetry {
        *histogram_type = HistogramType::Native;
    }
    let reading = read_all(journey(&["5m"], vec![component]), Some(AT), |kind, text| {
        Ok(match kind {
            QueryKind::Increase(_) if text.contains("code") => {
                native(&[("0.1", 0.0), ("0.2", 60.0), ("0.4", 90.0), ("+Inf", 90.0)])
            }
            QueryKind::Increase(_) => native(&[
                ("0.1", 0.0),
                ("0.2", 60.0),
                ("0.4", 91.0),
                ("0.8", 91.0),
                ("1.6", 100.0),
                ("+Inf", 100.0),
            ]),
            QueryKind::Layout => panic!("asked for the layout of a native histogram: {text}"),
            _ => return healthy(kind, text),
        })
    });
    let evidence = only(&reading, "5m");
    assert_eq!(evidence.reasons, []);
    let counts = measured(&evidence);
    assert_eq!((counts.good(), counts.total()), (90.0, 100.0));
    assert_eq!(counts.latency().unwrap().counts(), [0.0, 60.0, 90.0, 90.0, 90.0, 90.0]);
    assert_eq!(counts.failure_latency().unwrap().counts(), [0.0, 0.0, 1.0, 1.0, 10.0, 10.0]);
}

#[test]
fn calls_without_a_success_series_are_failures_and_no_flaw() {
    let evidence =
        read_one(|kind, text| if text.contains("code") { Ok(Vec::new()) } else { healthy(kind, text) });
    assert_eq!(evidence.reasons, []);
    let counts = measured(&evidence);
    assert_eq!((counts.good(), counts.total()), (0.0, 100.0));
    assert_eq!(counts.failure_latency().unwrap().counts(), [55.0, 85.0, 100.0]);
    assert!(counts.latency().is_none());
}

#[test]
fn without_traffic_the_next_longer_window_with_traffic_stands_in_and_says_so() {
    let quiet = |window: &'static str| {
        move |kind: QueryKind, text: &str| match kind {
            QueryKind::Increase(w) if w <= window.parse().unwrap() => Ok(buckets([0.0; 3])),
            _ => healthy(kind, text),
        }
    };
    let windows = ["5m", "30m", "1h", "6h"];
    let model = || journey(&windows, vec![component("a")]);
    let reading = read_all(model(), Some(AT), quiet("5m"));
    let evidence = only(&reading, "5m");
    assert_eq!(evidence.from_window, Some("30m".parse().unwrap()));
    assert_eq!(evidence.reasons, [Reason::NoTraffic]);
    assert_eq!(measured(&evidence).total(), 100.0);
    assert_eq!(only(&reading, "30m").from_window, None);
    // 6h has traffic, but lies beyond the longest lookback.
    let reading = read_all(model(), Some(AT), quiet("1h"));
    assert_eq!(only(&reading, "5m"), ComponentEvidence::vacuous(Reason::NoTraffic));
    let Reading::Evidence { flaws, .. } = reading else { panic!() };
    assert_eq!(flaws, [Flaw { reason: Reason::NoTraffic, component: Some(ComponentId(0)) }]);
}

#[test]
fn series_that_are_gone_are_absent_even_where_the_window_still_holds_their_past() {
    let never = read_one(|kind, text| match kind {
        QueryKind::Increase(_) | QueryKind::Layout | QueryKind::Newest => Ok(Vec::new()),
        _ => healthy(kind, text),
    });
    assert_eq!(never, ComponentEvidence::vacuous(Reason::Absent));
    let gone = read_one(|kind, text| match kind {
        QueryKind::Layout | QueryKind::Newest | QueryKind::Samples => Ok(Vec::new()),
        _ => healthy(kind, text),
    });
    assert_eq!(gone, ComponentEvidence::vacuous(Reason::Absent));
}

#[test]
fn a_series_that_is_there_with_too_few_samples_is_reset() {
    let evidence = read_one(|kind, text| match kind {
        QueryKind::Increase(_) => Ok(Vec::new()),
        _ => healthy(kind, text),
    });
    assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Reset));
}

#[test]
fn edges_that_some_instance_lacks_cost_the_latency_but_not_the_counts() {
    for layout in [buckets([1.0, 2.0, 2.0]), buckets([2.0; 3])[1..].to_vec(), Vec::new()] {
        let evidence = read_one(|kind, text| match kind {
            QueryKind::Layout => Ok(layout.clone()),
            _ => healthy(kind, text),
        });
        assert_eq!(evidence.reasons, [Reason::Partial]);
        let counts = measured(&evidence);
        assert_eq!((counts.good(), counts.total()), (90.0, 100.0));
        assert_eq!((counts.latency(), counts.failure_latency()), (None, None));
    }
}

#[test]
fn without_the_infinite_bucket_nothing_is_known() {
    for success in [false, true] {
        let evidence = read_one(|kind, text| match kind {
            QueryKind::Increase(_) if text.contains("code") == success => {
                Ok(buckets([50.0, 80.0, 90.0])[..2].to_vec())
            }
            _ => healthy(kind, text),
        });
        assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Partial));
    }
}

#[test]
fn where_an_instance_lacks_the_infinite_bucket_the_sum_of_the_others_is_no_total() {
    let evidence = read_one(|kind, text| match kind {
        QueryKind::Layout => Ok(buckets([2.0, 2.0, 1.0])),
        _ => healthy(kind, text),
    });
    assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Partial));
}

#[test]
fn broken_order_is_partial_and_a_little_of_it_is_repaired() {
    let with = |first: f64| {
        read_one(move |kind, text| match kind {
            QueryKind::Increase(_) if text.contains("code") => Ok(buckets([first, 80.0, 90.0])),
            QueryKind::Increase(_) => Ok(buckets([first, 85.0, 100.0])),
            _ => healthy(kind, text),
        })
    };
    let repaired = with(80.05);
    assert_eq!(measured(&repaired).latency().unwrap().counts(), [80.0, 80.0, 90.0]);
    assert_eq!(repaired.reasons, []);
    let broken = with(80.5);
    assert_eq!(broken.reasons, [Reason::Partial]);
    assert_eq!(measured(&broken).latency(), None);
}

#[test]
fn a_failed_or_incomplete_part_makes_its_component_vacuous_never_a_partial_sum() {
    for outcome in [Outcome::Failed, Outcome::Incomplete] {
        for failing in ["code", "[5m]", "count by", "timestamp", "count_over_time"] {
            let evidence = read_one(|kind, text| {
                if text.contains(failing) && (failing != "[5m]" || !text.contains("code")) {
                    Err(outcome.clone())
                } else {
                    healthy(kind, text)
                }
            });
            assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Partial), "{failing}");
        }
    }
}

#[test]
fn an_upstream_that_answers_nothing_or_nonsense_is_no_evidence_at_all() {
    let model = || journey(&["5m"], vec![component("a")]);
    assert_eq!(read_all(model(), Some(AT), |_, _| Err(Outcome::Failed)), Reading::Unusable);
    let one_bad = read_all(model(), Some(AT), |kind, text| match kind {
        QueryKind::Layout => Err(Outcome::Malformed),
        _ => healthy(kind, text),
    });
    assert_eq!(one_bad, Reading::Unusable);
}

#[test]
fn numbers_that_are_none_never_become_evidence() {
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        let evidence = read_one(|kind, text| match kind {
            QueryKind::Increase(_) => Ok(buckets([50.0, value, 90.0])),
            _ => healthy(kind, text),
        });
        assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Upstream));
    }
}

#[test]
fn evidence_that_is_too_old_or_from_the_future_has_a_wrong_clock() {
    let newest = |value: f64| {
        read_one(move |kind, text| match kind {
            QueryKind::Newest => Ok(one(value)),
            _ => healthy(kind, text),
        })
    };
    // Scraped every 15 s, 5 s of delay: up to 35 s are usual.
    assert_eq!(newest(565.0).reasons, []);
    let old = newest(564.9);
    assert_eq!(old.reasons, [Reason::Clock]);
    assert_eq!(measured(&old).total(), 100.0);
    let ahead = |value: f64| {
        read_one(move |kind, text| match kind {
            QueryKind::Ahead => Ok(one(value)),
            _ => healthy(kind, text),
        })
    };
    assert_eq!(ahead(630.0).reasons, []);
    assert_eq!(ahead(630.1).reasons, [Reason::Clock]);
}

#[test]
fn separate_queries_give_the_same_evidence() {
    let text = |text: &str| Some(text.to_owned());
    let telemetry = |total| {
        with_telemetry(
            "a",
            Telemetry::Queries {
                good: text("good[{{window}}]"),
                total,
                latency: text("ok[{{ .window }}]"),
                failure_latency: text("bad[{{.window}}]"),
                unit: LatencyUnit::Milliseconds,
            },
        )
    };
    let answer = |kind: QueryKind, text: &str| {
        if kind.is_side() {
            return healthy(kind, text);
        }
        Ok(match text {
            "good[5m]" => one(90.0),
            "total[5m]" => one(100.0),
            "ok[5m]" => buckets([50.0, 80.0, 90.0]),
            "bad[5m]" => buckets([5.0, 5.0, 10.0]),
            other => panic!("{other}"),
        })
    };
    for total in [text("total[{{window}}]"), None] {
        let evidence = only(&read_all(journey(&["5m"], vec![telemetry(total)]), None, answer), "5m");
        let counts = measured(&evidence);
        assert_eq!((counts.good(), counts.total(), evidence.reasons.len()), (90.0, 100.0, 0));
        assert_eq!(counts.latency().unwrap().edges(), [0.0001, 0.001]);
        assert_eq!(counts.failure_latency().unwrap().total(), 10.0);
    }
    let model = journey(&["5m"], vec![telemetry(text("total[{{window}}]"))]);
    let two = |kind: QueryKind, text: &str| match text {
        "total[5m]" => Ok([one(1.0), one(2.0)].concat()),
        "good[5m]" => Ok(Vec::new()),
        _ => answer(kind, text),
    };
    assert_eq!(only(&read_all(model.clone(), None, two), "5m"), ComponentEvidence::vacuous(Reason::Upstream));
    let all_failed = |kind: QueryKind, text: &str| match text {
        "good[5m]" => Ok(Vec::new()),
        _ => answer(kind, text),
    };
    let evidence = only(&read_all(model, None, all_failed), "5m");
    assert_eq!((measured(&evidence).good(), evidence.reasons.len()), (0.0, 0));
}

#[test]
fn separate_queries_are_as_old_as_the_stalest_series_that_they_read() {
    let telemetry = |total: &str| {
        let text = |text: &str| Some(text.to_owned());
        let (good, total) = (text("sum(increase(good[{{window}}]))"), text(total));
        let unit = LatencyUnit::Seconds;
        with_telemetry("a", Telemetry::Queries { good, total, latency: None, failure_latency: None, unit })
    };
    let model = |total: &str| journey(&["5m"], vec![telemetry(total)]);
    let readable = "sum(increase(total[{{window}}]))";
    let newest = |good: Option<f64>, total: Option<f64>| {
        move |kind: QueryKind, text: &str| match kind {
            QueryKind::Newest => {
                let time = if text.contains("good") { good } else { total };
                Ok(time.map_or_else(Vec::new, one))
            }
            QueryKind::Declared(_) => Ok(one(if text.contains("good") { 90.0 } else { 100.0 })),
            _ => healthy(kind, text),
        }
    };
    let age = |reading: &Reading| match reading {
        Reading::Evidence { age, .. } => age.map(Seconds::get),
        other => panic!("{other:?}"),
    };
    let fresh = read_all(model(readable), None, newest(Some(595.0), Some(598.0)));
    assert_eq!((age(&fresh), only(&fresh, "5m").reasons), (Some(5.0), vec![]));
    let old = read_all(model(readable), None, newest(Some(598.0), Some(400.0)));
    assert_eq!((age(&old), only(&old, "5m").reasons), (Some(200.0), vec![Reason::Clock]));
    // No success in the lookback is not a gap as long as calls are counted.
    let failing = read_all(model(readable), None, newest(None, Some(598.0)));
    assert_eq!((age(&failing), only(&failing, "5m").reasons), (Some(2.0), vec![]));
    let gone = read_all(model(readable), None, newest(None, None));
    assert_eq!(only(&gone, "5m"), ComponentEvidence::vacuous(Reason::Absent));
    let unreadable = read_all(model("sum(total[{{window}}] syntax of tomorrow)"), None, newest(None, None));
    assert_eq!(age(&unreadable), Some(f64::INFINITY));
}

#[test]
fn more_successes_than_calls_are_noise_within_a_thousandth_and_beyond_it_inconsistent() {
    let with = |good: f64| {
        read_one(move |kind, text| match kind {
            QueryKind::Increase(_) if text.contains("code") => Ok(buckets([50.0, 80.0, good])),
            _ => healthy(kind, text),
        })
    };
    assert_eq!(measured(&with(100.05)).good(), 100.0);
    assert_eq!(with(100.2), ComponentEvidence::vacuous(Reason::Partial));
}
