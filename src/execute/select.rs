//! Selections: what is kept, joined with what of the past must be fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::engine::Engine;
use super::fetch::MAX_POINTS;
use super::history::Block;
use super::model::ModelledJourney;
use super::samples::PointState;
use super::selection::{SelectError, Selected, Unanswered};
use crate::journey::variant::labels_of;
use crate::promql::matcher::MatcherSet;
use crate::series::{Labels, MatchOp, Matcher, NAME, STALE_NAN_BITS, Sample, Series};
use crate::synthetic::catalog;
use crate::unit::{Timestamp, Window};

/// Grid points `[first, last]`.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: Timestamp,
    last: Timestamp,
}

/// What one journey yields.
#[derive(Default)]
struct Part {
    series: BTreeMap<Labels, Vec<Sample>>,
    /// When the oldest of it was fetched that is due to be fetched again.
    overdue_since: Option<Timestamp>,
    /// What is known of each point of the range.
    points: BTreeMap<Timestamp, PointState>,
}

pub(super) async fn select(
    engine: &Arc<Engine>,
    matchers: &[Matcher],
    from: Timestamp,
    to: Timestamp,
    deadline: Instant,
) -> Result<Selected, SelectError> {
    let compile =
        |matchers: Vec<Matcher>| MatcherSet::new(matchers).map_err(|e| SelectError::Matcher(e.to_string()));
    let set = compile(matchers.to_vec())?;
    let external = &engine.settings.external_labels;
    let by_journey =
        compile(matchers.iter().filter(|m| tells_journeys_apart(m, external)).cloned().collect())?;
    let interval = engine.interval_millis();
    let newest = engine.last_due((engine.settings.clock)());
    let range = Range {
        first: from.plus_millis(interval - 1).floor_to(engine.settings.interval),
        last: to.min(newest).floor_to(engine.settings.interval),
    };
    if range.first > range.last || !catalog::families().iter().any(|family| set.matches_name(family.name)) {
        return Ok(Selected::default());
    }
    let window = only_window(matchers);
    let mut parts = Vec::new();
    for name in journeys(engine).into_iter().filter(|name| concerns(&by_journey, name)) {
        let part = part(engine, &name, &set, window, range, deadline).await?;
        parts.push((name, part));
    }
    finish(engine, &set, parts, range)
}

/// Whether a matcher says which journeys are meant, or which of their variants.
pub(super) fn tells_journeys_apart(matcher: &Matcher, external: &Labels) -> bool {
    matcher.name == "journey" || (matcher.name == "variant" && external.get("variant").is_empty())
}

/// Whether such matchers mean the journey of this name.
pub(super) fn concerns(set: &MatcherSet, name: &str) -> bool {
    let (journey, variant) = labels_of(name);
    set.matches_by(|label| if label == "variant" { variant } else { journey })
}

/// Every journey with a past or a future.
pub(super) fn journeys(engine: &Engine) -> BTreeSet<String> {
    let kept = engine.samples.read().unwrap_or_else(PoisonError::into_inner);
    let model = engine.model();
    let modelled = model.journeys.iter().map(|known| known.journey.name.clone());
    kept.keys().cloned().chain(modelled).collect()
}

/// The one window that the matchers allow, if they say so literally: others need not be evaluated.
pub(super) fn only_window(matchers: &[Matcher]) -> Option<Window> {
    let equal = matchers.iter().find(|m| m.name == "window" && m.op == MatchOp::Equal)?;
    equal.value.parse().ok().filter(|window: &Window| window.to_string() == equal.value)
}

async fn part(
    engine: &Arc<Engine>,
    name: &str,
    set: &MatcherSet,
    window: Option<Window>,
    range: Range,
    deadline: Instant,
) -> Result<Part, SelectError> {
    let interval = engine.interval_millis();
    let external = &engine.settings.external_labels;
    let kept = engine.samples.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
    let mut segments: Vec<(Timestamp, Block)> = Vec::new();
    let mut ends = None;
    if let Some(kept) = kept {
        let points = kept.read().unwrap_or_else(PoisonError::into_inner);
        let known = points.points();
        ends = known
            .first_key_value()
            .zip(known.last_key_value())
            .map(|((&first, _), (&last, _))| (first, last));
        drop(points);
        if let Some((first, _)) = ends {
            segments.push((first, kept));
        }
    }
    let known: Option<ModelledJourney> = engine.model().journey(name).cloned();
    let fetch_until = ends.map_or(range.last, |(first, _)| range.last.min(first.plus_millis(-interval)));
    let (mut past_fault, mut overdue_since) = (None, None);
    if let (true, Some(known)) = (range.first <= fetch_until, known) {
        let points = fetch_until.millis().abs_diff(range.first.millis()) / interval.unsigned_abs() + 1;
        let points = usize::try_from(points).unwrap_or(usize::MAX);
        if points > MAX_POINTS {
            return Err(SelectError::TooManyPoints { points, limit: MAX_POINTS });
        }
        match engine.past(&known, window, range.first, fetch_until, deadline).await {
            Ok(past) => {
                overdue_since = past.overdue_since;
                segments.splice(0..0, past.blocks).for_each(drop);
            }
            Err(fault) => past_fault = Some(Arc::new(fault)),
        }
    }
    let mut part = Part { overdue_since, ..Part::default() };
    let mut end = range.last;
    // Backwards, so that each segment ends where the next begins: kept points win over fetched ones.
    for (start, segment) in segments.iter().rev() {
        let segment = segment.read().unwrap_or_else(PoisonError::into_inner);
        for (&time, state) in segment.points().range(..=end).filter(|(time, _)| **time >= range.first) {
            part.points.insert(time, state.clone());
        }
        if range.first <= end {
            for series in segment.select(set, external, range.first, end) {
                part.series.entry(series.labels).or_default().splice(0..0, series.samples);
            }
        }
        end = end.min(start.plus_millis(-interval));
    }
    let starts: Vec<Timestamp> = segments.iter().skip(1).map(|(start, _)| *start).collect();
    join(&mut part.series, &starts, interval);
    if let Some(fault) = past_fault {
        let mut time = range.first;
        while time <= fetch_until {
            part.points.insert(time, PointState::Unanswered(Arc::clone(&fault)));
            time = time.plus_millis(interval);
        }
    }
    if let Some((_, last)) = ends {
        // One point may be under way; beyond that the loop is late.
        let mut time = last.plus_millis(interval).max(range.first);
        while time <= range.last.plus_millis(-interval) {
            let fault = Arc::new(SelectError::Skipped { time });
            part.points.insert(time, PointState::Unanswered(fault));
            time = time.plus_millis(interval);
        }
    }
    Ok(part)
}

/// Ends series that do not go on where one segment meets the next.
fn join(series: &mut BTreeMap<Labels, Vec<Sample>>, starts: &[Timestamp], interval: i64) {
    for samples in series.values_mut() {
        for &start in starts {
            let at = samples.partition_point(|sample| sample.time < start);
            let goes_on = samples.get(at).is_some_and(|sample| sample.time == start);
            let Some(before) = at.checked_sub(1).map(|at| samples[at]) else { continue };
            let alive = before.value.to_bits() != STALE_NAN_BITS;
            if alive && !goes_on && before.time == start.plus_millis(-interval) {
                samples.insert(at, Sample { time: start, value: f64::from_bits(STALE_NAN_BITS) });
            }
        }
    }
}

/// Whether the selection names series of a journey that are not always answered.
fn wants_numbers(engine: &Engine, journey: &str, set: &MatcherSet) -> bool {
    let external = &engine.settings.external_labels;
    engine.labels_of(journey).iter().any(|labels| {
        !catalog::is_meta(labels.get(NAME))
            && set.matches_by(|name| match labels.get(name) {
                "" => external.get(name),
                value => value,
            })
    })
}

fn finish(
    engine: &Engine,
    set: &MatcherSet,
    parts: Vec<(String, Part)>,
    range: Range,
) -> Result<Selected, SelectError> {
    let interval = engine.interval_millis();
    let mut selected = Selected::default();
    let mut faults: BTreeMap<Timestamp, Arc<SelectError>> = BTreeMap::new();
    let mut answered: BTreeSet<Timestamp> = BTreeSet::new();
    for (name, part) in parts {
        if let (Some(since), false) = (part.overdue_since, part.series.is_empty()) {
            let age = (engine.settings.clock)().millis().saturating_sub(since.millis()) / 1_000;
            let note =
                format!("the past of journey {name} was fetched {age} s ago, and is being fetched again");
            selected.infos.push(note);
        }
        let unanswered = part.points.values().any(|state| *state != PointState::Answered);
        if unanswered && wants_numbers(engine, &name, set) {
            for (&time, state) in &part.points {
                match state {
                    PointState::Answered => {
                        answered.insert(time);
                    }
                    PointState::Unanswered(fault) => {
                        faults.entry(time).or_insert_with(|| Arc::clone(fault));
                    }
                }
            }
        } else {
            answered.extend(part.points.keys().filter(|_| !part.series.is_empty()));
        }
        selected.series.extend(part.series.into_iter().map(|(labels, samples)| Series { labels, samples }));
    }
    selected.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    if let Some(warning) = warning(&faults) {
        selected.warnings.push(warning);
    }
    let live = selected.series.iter().any(|series| {
        !catalog::is_meta(series.labels.get(NAME))
            && series.samples.iter().any(|sample| sample.value.to_bits() != STALE_NAN_BITS)
    });
    let meta = selected.series.iter().any(|series| catalog::is_meta(series.labels.get(NAME)));
    // Where another journey of the selection is answered, or some of its series always are, the point is answered in
    // part, and the warning says which part is missing.
    faults.retain(|time, _| !meta && !answered.contains(time));
    if let (false, Some((_, fault))) = (live, faults.last_key_value()) {
        return Err(SelectError::clone(fault));
    }
    for (time, fault) in faults {
        let until = time.plus_millis(interval);
        match selected.unanswered.last_mut() {
            Some(span) if span.until == time && same_cause(&span.fault, &fault) => span.until = until,
            _ => {
                selected.unanswered.push(Unanswered { from: time, until, fault: SelectError::clone(&fault) })
            }
        }
    }
    // The newest point answers for every later time, until there is a newer one.
    if let Some(span) = selected.unanswered.last_mut()
        && span.until > range.last
    {
        span.until = Timestamp::from_millis(i64::MAX);
    }
    Ok(selected)
}

/// Whether two points have no answer for the same reason, their ages aside.
fn same_cause(a: &SelectError, b: &SelectError) -> bool {
    match (a, b) {
        (SelectError::Upstream { fault: a, .. }, SelectError::Upstream { fault: b, .. }) => a == b,
        (SelectError::Skipped { .. }, SelectError::Skipped { .. }) => true,
        (a, b) => a == b,
    }
}

fn warning(faults: &BTreeMap<Timestamp, Arc<SelectError>>) -> Option<String> {
    let ((first, _), (last, fault)) = faults.first_key_value().zip(faults.last_key_value())?;
    let (first, last) = (first.seconds(), last.seconds());
    Some(format!("{} points between {first} and {last} have no answer: {fault}", faults.len()))
}
