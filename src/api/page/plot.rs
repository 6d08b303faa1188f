//! The latency distribution of a journey as inline SVG.
//!
//! Time runs on a logarithmic axis; upwards go the nines of the share of successes that are done by then, so that the
//! tail, where objectives live, takes most of the room. The curve stretches with the page while text keeps its size:
//! shapes are drawn in an inner `svg` that scales unevenly, labels in the outer one at percentages. Each label has a
//! line of its own above the plot and grows towards the middle, so that labels neither collide nor leave the page.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::observed::Observed;
use crate::algebra::composition::{Composition, Side, SuccessCurve};
use crate::derive::number::seconds;
use crate::derive::text::percentile;
use crate::journey::objective::LatencyObjective;
use crate::unit::{Quantile, Seconds};

/// The nines at the upper end of the axis: p99.95.
const MOST_NINES: f64 = 3.3;
/// Units of the inner drawing, both ways.
const UNITS: f64 = 1000.0;
/// Pixels of one label's line.
const LANE: f64 = 20.0;
/// Pixels from the bottom of the plot to that of the picture.
const BELOW: f64 = 26.0;
/// Pixels of the plot.
const HEIGHT: f64 = 250.0;
/// Ticks keep this share of the width between them, so that their labels fit on a phone.
const TICK_GAP: f64 = 0.14;
/// The pessimistic curve may widen the axis to at most this multiple of everything else.
const WIDEST: f64 = 8.0;

/// A labelled mark at a time.
struct Mark {
    class: &'static str,
    text: String,
    at: Seconds,
    /// Where on the nines axis its dot lies; a line through the whole plot where there is none.
    nines: Option<f64>,
}

/// A logarithmic axis of time.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// From where a few percent are done to beyond everything that is marked.
    fn around(composition: &Composition, marks: &[Mark]) -> Option<Self> {
        let estimate = &composition.curves.estimate;
        let start = [&composition.curves.optimistic, estimate]
            .into_iter()
            .filter_map(|curve| time_of(curve, 0.02))
            .fold(f64::INFINITY, f64::min);
        let finite = |mark: &&Mark| mark.at.is_finite() && mark.class != "pessimistic";
        let marked = marks.iter().filter(finite).map(|mark| mark.at.get()).fold(0.0, f64::max);
        let tail = time_of(estimate, 0.9995).or_else(|| estimate.times.last().copied()).unwrap_or(0.0);
        let needed = marked.max(tail);
        let bound = time_of(&composition.curves.pessimistic, 0.9995)
            .or_else(|| {
                let finite = |mark: &&Mark| mark.class == "pessimistic" && mark.at.is_finite();
                marks.iter().find(finite).map(|mark| mark.at.get())
            })
            .unwrap_or(0.0);
        let to = needed.max(bound.min(WIDEST * needed)) * 1.25;
        let from = start.min(to / 10.0).max(to / 1e6) * 0.8;
        (from.is_finite() && from > 0.0 && to.is_finite() && to > from).then_some(Self { from, to })
    }

    /// 0 at the left end, 1 at the right; clamped.
    fn share(self, t: f64) -> f64 {
        if t <= self.from {
            return 0.0;
        }
        ((t / self.from).ln() / (self.to / self.from).ln()).min(1.0)
    }

    /// Round times, 1, 2, 5 where there is room, else decades.
    fn ticks(self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let steps: &[f64] = if decades < 1.6 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        let mut decade = 10_f64.powf(self.from.log10().floor());
        while decade <= self.to {
            for step in steps {
                let tick = decade * step;
                let at = self.share(tick);
                let free = ticks.last().is_none_or(|&last| at - self.share(last) >= TICK_GAP);
                if tick > self.from && tick < self.to && (0.03..=0.97).contains(&at) && free {
                    ticks.push(tick);
                }
            }
            decade *= 10.0;
        }
        ticks
    }
}

/// Draws the distribution; `None` where nothing is known of it.
#[must_use]
pub fn latency(
    id: usize,
    composition: &Composition,
    objective: Option<&LatencyObjective>,
    observed: Option<&Observed>,
) -> Option<Markup> {
    let quantile =
        objective.map_or_else(|| Quantile::new(0.99).ok(), |objective| Some(objective.quantile))?;
    let name = percentile(&quantile.to_string());
    let level = nines(1.0 - quantile.get());
    let value = composition.latency.iter().find(|latency| latency.quantile == quantile).map(|l| l.value);

    let mut marks = Vec::new();
    if let Some(objective) = objective {
        let text = format!("objective {name} ≤ {}", seconds(objective.threshold));
        marks.push(Mark { class: "objective", text, at: objective.threshold, nines: None });
    }
    for (side, class) in [(Side::Estimate, "estimate"), (Side::Pessimistic, "pessimistic")] {
        if let Some(value) = value {
            let at = *value.side(side);
            let text = format!("{name} {side} {}", seconds(at));
            marks.push(Mark { class, text, at, nines: Some(level) });
        }
    }
    if let Some(at) = observed.and_then(|observed| observed.latency_at(quantile)) {
        let text = format!("{name} observed {}", seconds(at));
        marks.push(Mark { class: "observed", text, at, nines: Some(level) });
    }
    let axis = Axis::around(composition, &marks)?;
    let known = composition.curves.estimate.ever.get() > 0.0 && !composition.curves.estimate.times.is_empty();
    if !known {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful of marks")]
    let top = LANE * marks.len() as f64 + 8.0;
    let description = marks.iter().map(|mark| mark.text.as_str()).collect::<Vec<_>>().join(", ");
    Some(html! {
        figure.plot {
            svg role="img" width="100%" height=(top + HEIGHT + BELOW)
                aria-labelledby=(format!("plot-{id}-title plot-{id}-desc")) {
                title id=(format!("plot-{id}-title")) { "Latency distribution of successful attempts" }
                desc id=(format!("plot-{id}-desc")) {
                    "Share of successes done within a time, on a logarithmic time axis: " (description) "."
                }
                (grid(axis, top))
                svg.curves x="0" y=(top) width="100%" height=(HEIGHT)
                    viewBox=(format!("0 0 {UNITS} {UNITS}")) preserveAspectRatio="none" aria-hidden="true" {
                    path.band d=(band(axis, composition)) {}
                    path.pessimistic-line d=(line(axis, &composition.curves.pessimistic, Side::Pessimistic)) {}
                    path.estimate-line d=(line(axis, &composition.curves.estimate, Side::Estimate)) {}
                }
                @for (lane, mark) in marks.iter().enumerate() { (label(axis, top, lane, mark)) }
            }
            figcaption {
                span.key.estimate { "estimate" }
                span.key.band { "optimistic to pessimistic" }
                span.note { "share of successes done within a time" }
            }
        }
    })
}

fn grid(axis: Axis, top: f64) -> Markup {
    let bottom = top + HEIGHT;
    html! {
        @for (level, name) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")] {
            @let y = height_of(nines(1.0 - level), top);
            line.grid x1="0" x2="100%" y1=(fixed(y)) y2=(fixed(y)) {}
            text.tick x="0" y=(fixed(y - 4.0)) { (name) }
        }
        line.axis x1="0" x2="100%" y1=(bottom) y2=(bottom) {}
        @for tick in axis.ticks() {
            @let x = percent(axis.share(tick));
            line.grid x1=(x) x2=(x) y1=(top) y2=(bottom) {}
            text.tick x=(x) y=(bottom + 18.0) text-anchor="middle" { (seconds(Seconds::new(tick).unwrap_or_default())) }
        }
    }
}

/// A label on its own line, its leader, and its dot.
fn label(axis: Axis, top: f64, lane: usize, mark: &Mark) -> Markup {
    let share = if mark.at.is_finite() { axis.share(mark.at.get()) } else { 1.0 };
    let beyond = !mark.at.is_finite() || mark.at.get() > axis.to;
    #[expect(clippy::cast_precision_loss, reason = "a handful of lanes")]
    let y = LANE * lane as f64 + 14.0;
    let end = mark.nines.map_or(top + HEIGHT, |nines| height_of(nines, top));
    let (anchor, shift) = if share > 0.5 { ("end", -6.0) } else { ("start", 6.0) };
    let x = percent(share);
    html! {
        g class=(format!("mark {}", mark.class)) {
            line.leader x1=(x) x2=(x) y1=(fixed(y - 11.0)) y2=(fixed(end)) {}
            @if let (Some(_), false) = (mark.nines, beyond) { circle cx=(x) cy=(fixed(end)) r="4.5" {} }
            text x=(x) dx=(shift) y=(fixed(y)) text-anchor=(anchor) {
                (mark.text) @if beyond { " →" }
            }
        }
    }
}

/// The area between the optimistic curve and the pessimistic one.
fn band(axis: Axis, composition: &Composition) -> String {
    let mut outline = points(axis, &composition.curves.optimistic, Side::Optimistic);
    let mut back = points(axis, &composition.curves.pessimistic, Side::Pessimistic);
    back.reverse();
    outline.append(&mut back);
    path(&outline) + "Z"
}

/// A curve until it leaves the plot at the top.
fn line(axis: Axis, curve: &SuccessCurve, side: Side) -> String {
    let mut points = points(axis, curve, side);
    if let Some(top) = points.iter().position(|&(_, y)| y <= 0.0) {
        points.truncate(top + 1);
    }
    path(&points)
}

/// The curve in units of the inner drawing, thinned to what a screen can show. A bound is a stair whose steps lie on
/// its own side of the truth; the estimate joins its points.
fn points(axis: Axis, curve: &SuccessCurve, side: Side) -> Vec<(f64, f64)> {
    let y = |within: f64| UNITS * (1.0 - nines(late(curve, within)) / MOST_NINES);
    let mut points = Vec::new();
    let mut level = y(0.0);
    for (&time, &within) in curve.times.iter().zip(&curve.within) {
        let (x, next) = (UNITS * axis.share(time), y(within));
        if time > axis.to {
            if side == Side::Optimistic {
                level = next;
            }
            break;
        }
        let near = points.last().is_some_and(|&(last_x, last_y): &(f64, f64)| {
            (x - last_x).abs() < 1.0 && (next - last_y).abs() < 2.0
        });
        if points.is_empty() {
            points.push((0.0, if x > 0.0 { level } else { next }));
        }
        if near {
            continue;
        }
        match side {
            Side::Pessimistic => points.push((x, level)),
            Side::Optimistic => {
                let before = points.last().map_or(0.0, |&(x, _)| x);
                points.push((before, next));
            }
            Side::Estimate => {}
        }
        points.push((x, next));
        level = next;
    }
    points.push((UNITS, level));
    points
}

fn path(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
    }
    d
}

/// P(not within | success).
fn late(curve: &SuccessCurve, within: f64) -> f64 {
    let ever = curve.ever.get();
    if ever > 0.0 { (1.0 - within / ever).clamp(0.0, 1.0) } else { 1.0 }
}

/// The first time by which `share` of the successes are done.
fn time_of(curve: &SuccessCurve, share: f64) -> Option<f64> {
    let wanted = share * curve.ever.get();
    let at = curve.within.iter().position(|&within| within > 0.0 && within >= wanted)?;
    curve.times.get(at).copied().filter(|time| *time > 0.0)
}

/// The nines of a share of late ones: 0 for all, 2 for one in a hundred.
fn nines(late: f64) -> f64 {
    if late <= 0.0 { MOST_NINES } else { (-late.log10()).clamp(0.0, MOST_NINES) }
}

fn height_of(nines: f64, top: f64) -> f64 {
    top + HEIGHT * (1.0 - nines / MOST_NINES)
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Probability;

    fn curve(rate: f64, ever: f64) -> SuccessCurve {
        let times: Vec<f64> = (1..=2000).map(|k| 0.01 * f64::from(k)).collect();
        let within = times.iter().map(|t| ever * (1.0 - (-rate * t).exp())).collect();
        SuccessCurve { times, within, ever: Probability::new(ever).unwrap() }
    }

    #[test]
    fn the_p99_of_an_exponential_lies_at_two_nines_and_at_ln_100() {
        let time = time_of(&curve(1.0, 0.9), 0.99).unwrap();
        assert!((time - 100_f64.ln()).abs() <= 0.01, "{time}");
        assert!((nines(0.01) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_pessimistic_stair_never_lies_above_its_curve_and_an_optimistic_never_below() {
        let axis = Axis { from: 0.05, to: 20.0 };
        let coarse =
            SuccessCurve { times: vec![0.5, 1.0, 5.0], within: vec![0.5, 0.9, 1.0], ever: Probability::ONE };
        let at = |points: &[(f64, f64)], t: f64| {
            let x = UNITS * axis.share(t);
            points.iter().rev().find(|(px, _)| *px <= x).unwrap().1
        };
        let pessimistic = points(axis, &coarse, Side::Pessimistic);
        let optimistic = points(axis, &coarse, Side::Optimistic);
        let y = |late: f64| UNITS * (1.0 - nines(late) / MOST_NINES);
        // Between 1 s and 5 s at least .9 and at most 1 are done; downwards is later.
        assert_eq!(at(&pessimistic, 3.0), y(0.1));
        assert_eq!(at(&optimistic, 3.0), y(0.0));
    }

    #[test]
    fn ticks_keep_their_distance_over_any_range() {
        for (from, to) in [(0.001, 0.002), (0.01, 0.9), (0.000_1, 100.0), (0.5, 30.0)] {
            let axis = Axis { from, to };
            let ticks = axis.ticks();
            assert!(!ticks.is_empty() || to / from < 3.0, "{from} to {to}");
            assert!(ticks.windows(2).all(|pair| axis.share(pair[1]) - axis.share(pair[0]) >= TICK_GAP));
        }
    }
}
