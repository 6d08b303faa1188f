//! What each category of each leaf's sample does to one number of the journey: the late reading of the fold on a
//! [`Tape`], and its derivatives.
//!
//! A leaf's sample is multinomial: its categories are the buckets of its successes and of its failures. The number is
//! `(1−q)·S̲(t) − q·D̄(t)` (the margin of a quantile, semantics §3) or P(success by a deadline). The grid is coarser
//! than that of the estimates: standard errors need no third digit.

use super::fold::Grid;
use super::leaf::Outcome;
use super::tape::{ByMass, CurveId, SpectrumId, Tape};
use super::tree::{Kind, Node, Tree};
use crate::distribution::transform::Transform;
use crate::journey::operator::Backoff;

/// Attempts and repetitions beyond this many change no standard error that matters.
const MAX_CHAIN: u32 = 64;

/// One category of a leaf's sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Category {
    pub(crate) outcome: Outcome,
    /// The bucket's edges in seconds; the upper one may be infinite.
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    /// The probability of the category.
    pub(crate) share: f64,
    /// How its mass is spread over the bucket: rising times from the lower to the upper edge, with the share up to each;
    /// empty: evenly.
    pub(crate) inner: Vec<(f64, f64)>,
}

/// Where in its bucket a category's mass lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// At the upper edge.
    UpperEdge,
    /// Spread over it.
    Spread,
}

impl Category {
    /// `∫_0^t` of the category's step or ramp.
    fn integral(&self, placement: Placement, t: f64) -> f64 {
        if !self.upper.is_finite() {
            return 0.0;
        }
        if placement == Placement::UpperEdge || self.upper <= self.lower {
            return (t - self.upper).max(0.0);
        }
        let mut sum = (t - self.upper).max(0.0);
        let mut piece = |(from, low): (f64, f64), (to, high): (f64, f64)| {
            let end = t.min(to);
            if end > from {
                let reached = low + (high - low) * (end - from) / (to - from);
                sum += 0.5 * (low + reached) * (end - from);
            }
        };
        if self.inner.is_empty() {
            piece((self.lower, 0.0), (self.upper, 1.0));
        }
        self.inner.windows(2).for_each(|pair| piece(pair[0], pair[1]));
        sum
    }

    /// The share of it by a deadline: in the late reading, and in the early one.
    pub(crate) fn by(&self, placement: Placement, t: f64) -> (f64, f64) {
        let whole = |on_time: bool| if on_time { 1.0 } else { 0.0 };
        match placement {
            Placement::UpperEdge => (whole(self.upper <= t), whole(self.lower < t)),
            Placement::Spread if self.upper.is_finite() && self.upper > self.lower && t < self.upper => {
                let next = self.inner.partition_point(|&(time, _)| time <= t);
                let share = match (next.checked_sub(1).map(|at| self.inner[at]), self.inner.get(next)) {
                    (Some((from, low)), Some(&(to, high))) => low + (high - low) * (t - from) / (to - from),
                    _ if self.inner.is_empty() => (t - self.lower) / (self.upper - self.lower),
                    _ => 0.0,
                };
                let share = share.clamp(0.0, 1.0);
                (share, share)
            }
            Placement::Spread => (whole(self.upper <= t), whole(self.upper <= t)),
        }
    }
}

/// A bracket of one event: P(by t) from below and, where it differs, the measure of its tail (see [`super::curve`]).
#[derive(Debug, Clone, Copy)]
struct Event {
    within: CurveId,
    later: Option<CurveId>,
}

#[derive(Debug, Clone, Copy)]
struct EventSpectra {
    within: SpectrumId,
    later: Option<SpectrumId>,
}

#[derive(Debug, Clone, Copy)]
struct Recorded {
    success: Event,
    failure: Option<Event>,
}

/// What an input of the tape is made of.
enum Input {
    /// The law of an outcome.
    Law(Outcome),
    /// A constant: this share of each category.
    Shares(Vec<f64>),
}

/// The fold of a subtree on a tape.
pub(crate) struct Influence<'a> {
    tree: &'a Tree,
    samples: &'a [Vec<Category>],
    placement: Placement,
    grid: Grid,
    tape: Tape<'a>,
    inputs: Vec<(CurveId, usize, Input)>,
    root: Event,
}

impl<'a> Influence<'a> {
    /// Folds the subtree of `top`; `samples` has the categories of each component, `grid` as many cells as `transform`.
    pub(crate) fn new(
        tree: &'a Tree,
        top: usize,
        samples: &'a [Vec<Category>],
        placement: Placement,
        grid: Grid,
        transform: &'a mut Transform,
    ) -> Self {
        let mut tape = Tape::new(transform);
        let nothing = tape.affine(0.0, Vec::new());
        let root = Event { within: nothing, later: None };
        let mut influence = Self { tree, samples, placement, grid, tape, inputs: Vec::new(), root };
        let mut recorded: Vec<Option<Recorded>> = vec![None; tree.nodes.len()];
        for at in tree.nodes[top].first..=top {
            let node = &tree.nodes[at];
            let operands: Vec<Recorded> =
                node.operands.iter().filter_map(|&operand| recorded[operand]).collect();
            recorded[at] = Some(influence.node(node, &operands));
        }
        if let Some(top) = recorded[top] {
            influence.root = top.success;
        }
        influence
    }

    /// `(1−q)·S̲ − q·D̄` of each cell's mean, and `S̲ + D̄`.
    pub(crate) fn margins(&self, q: f64) -> (Vec<f64>, Vec<f64>) {
        let within = self.tape.value(self.root.within);
        let later = self.tape.value(self.root.later.unwrap_or(self.root.within));
        let total = later[self.grid.cells];
        (0..self.grid.cells)
            .map(|k| {
                let tail = total - later[k];
                ((1.0 - q) * within[k] - q * tail, within[k] + tail)
            })
            .unzip()
    }

    /// The derivatives of the margin of `q` in a cell by the probability of every category of every component.
    pub(crate) fn of_margin(&mut self, q: f64, cell: usize) -> Vec<Vec<f64>> {
        let later = self.root.later.unwrap_or(self.root.within);
        self.contract(&[(self.root.within, cell, 1.0 - q), (later, self.grid.cells, -q), (later, cell, q)])
    }

    /// The derivatives of `S̲` in a cell (the number of cells: at ∞).
    pub(crate) fn of_success(&mut self, cell: usize) -> Vec<Vec<f64>> {
        self.contract(&[(self.root.within, cell, 1.0)])
    }

    fn contract(&mut self, seeds: &[(CurveId, usize, f64)]) -> Vec<Vec<f64>> {
        let mut derivatives: Vec<Vec<f64>> =
            self.samples.iter().map(|sample| vec![0.0; sample.len()]).collect();
        let mut input_of = vec![None; self.inputs.len()];
        for (id, adjoint) in self.tape.gradient(seeds) {
            if let Ok(place) = self.inputs.binary_search_by_key(&id, |input| input.0) {
                input_of[place] = Some(adjoint);
            }
        }
        for ((_, component, input), adjoint) in self.inputs.iter().zip(input_of) {
            let Some(adjoint) = adjoint else { continue };
            let sample = &self.samples[*component];
            for (place, (category, derivative)) in sample.iter().zip(&mut derivatives[*component]).enumerate()
            {
                *derivative += match input {
                    Input::Shares(shares) => shares[place] * (adjoint.from_cell(0) + adjoint.ever),
                    Input::Law(outcome) if *outcome == category.outcome => {
                        adjoint.ever + self.against_law(category, &adjoint)
                    }
                    Input::Law(_) => 0.0,
                };
            }
        }
        derivatives
    }

    /// `Σ_k adjoint_k · (mean of the category's unit law over cell k)`.
    fn against_law(&self, category: &Category, adjoint: &ByMass) -> f64 {
        let (first, last) = self.cells_of(category);
        let partial: f64 = (first..last).map(|k| adjoint.by_value(k) * self.cell_mean(category, k)).sum();
        partial + adjoint.from_cell(last)
    }

    /// The cells in which the category's law is neither 0 nor 1 throughout.
    fn cells_of(&self, category: &Category) -> (usize, usize) {
        let cells = self.grid.cells;
        if !category.upper.is_finite() {
            return (cells, cells);
        }
        let begin = if self.placement == Placement::UpperEdge { category.upper } else { category.lower };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, times are ≥ 0"
        )]
        let index = |t: f64| (t / self.grid.step) as usize;
        let first = index(begin).min(cells);
        (first, index(category.upper).saturating_add(1).min(cells))
    }

    #[expect(clippy::cast_precision_loss, reason = "hundreds of cells")]
    fn cell_mean(&self, category: &Category, k: usize) -> f64 {
        let step = self.grid.step;
        let integral = |k: usize| category.integral(self.placement, k as f64 * step);
        (integral(k + 1) - integral(k)) / step
    }

    fn law(&mut self, component: usize, outcome: Outcome) -> Event {
        let cells = self.grid.cells;
        let mut jumps = vec![0.0; cells + 1];
        let mut value = vec![0.0; cells + 1];
        for category in self.samples[component].iter().filter(|category| category.outcome == outcome) {
            let (first, last) = self.cells_of(category);
            for (k, value) in value.iter_mut().enumerate().take(last).skip(first) {
                *value += category.share * self.cell_mean(category, k);
            }
            if last < cells {
                jumps[last] += category.share;
            }
            value[cells] += category.share;
        }
        let mut full = 0.0;
        for (value, jump) in value.iter_mut().zip(&jumps).take(cells) {
            full += jump;
            *value += full;
        }
        let within = self.tape.input(value);
        self.inputs.push((within, component, Input::Law(outcome)));
        Event { within, later: None }
    }

    fn constant_of(&mut self, component: usize, shares: Vec<f64>) -> CurveId {
        let sample = &self.samples[component];
        let value: f64 = sample.iter().zip(&shares).map(|(category, share)| category.share * share).sum();
        let id = self.tape.input(vec![value; self.grid.cells + 1]);
        self.inputs.push((id, component, Input::Shares(shares)));
        id
    }

    fn zero(&mut self) -> Event {
        Event { within: self.tape.affine(0.0, Vec::new()), later: None }
    }

    fn node(&mut self, node: &Node, operands: &[Recorded]) -> Recorded {
        let wanted = node.failure_time_matters;
        let good: Vec<Event> = operands.iter().map(|operand| operand.success).collect();
        let bad: Vec<Event> = operands.iter().filter_map(|operand| operand.failure).collect();
        match &node.kind {
            &Kind::Leaf(component) => Recorded {
                success: self.law(component, Outcome::Success),
                failure: wanted.then(|| self.law(component, Outcome::Failure)),
            },
            Kind::Series => self.series(operands, wanted),
            Kind::Parallel => {
                Recorded { success: self.all_of(&good), failure: wanted.then(|| self.any_of(&bad)) }
            }
            Kind::Race => {
                Recorded { success: self.any_of(&good), failure: wanted.then(|| self.all_of(&bad)) }
            }
            Kind::KofN(k) => Recorded {
                success: self.kth_of(&good, *k),
                failure: wanted.then(|| self.kth_of(&bad, good.len() + 1 - k)),
            },
            Kind::Cond(weights) => {
                // What free branches share goes to the one with the least success.
                let ever = |event: &Event| self.tape.value(event.within)[self.grid.cells];
                let worst =
                    weights.free.iter().copied().min_by(|&a, &b| ever(&good[a]).total_cmp(&ever(&good[b])));
                let mut shares = weights.known.clone();
                if let Some(worst) = worst {
                    shares[worst] += weights.rest;
                }
                Recorded {
                    success: self.mix(&shares, &good),
                    failure: wanted.then(|| self.mix(&shares, &bad)),
                }
            }
            &Kind::Timeout(after) => self.timeout(node, after, operands, wanted),
            Kind::Fallback => {
                let Some(failed) = operands[0].failure else { return operands[0] };
                let failed = self.spectra(failed);
                let second = self.spectra(good[1]);
                let then = self.convolved(failed, second);
                let first = self.spectra(good[0]);
                let success = self.mixed(&[(1.0, first), (1.0, then)]);
                let success = self.event(success);
                let failure = operands[1].failure.filter(|_| wanted).map(|failure| {
                    let failure = self.spectra(failure);
                    let both = self.convolved(failed, failure);
                    self.event(both)
                });
                Recorded { success, failure }
            }
            Kind::Retry { attempts, per_try, backoff, .. } => {
                self.retry(node, *attempts, *per_try, *backoff, operands, wanted)
            }
            &Kind::Hedge(delay) => {
                let delay = delay / self.grid.step;
                let second = self.delayed(good[1], delay);
                let success = self.any_of(&[good[0], second]);
                let failure = wanted.then(|| {
                    let late: Vec<Event> =
                        bad.get(1).map(|&event| self.delayed(event, delay)).into_iter().collect();
                    let both: Vec<Event> = bad.first().copied().into_iter().chain(late).collect();
                    self.all_of(&both)
                });
                Recorded { success, failure }
            }
            &Kind::Optional(timeout) => {
                let mut terms = vec![(1.0, good[0].within)];
                terms.extend(bad.first().map(|event| (1.0, event.within)));
                let done = self.tape.affine(0.0, terms);
                let always = self.tape.affine(1.0, Vec::new());
                let within = self.tape.until(done, always, timeout / self.grid.step);
                let failure = wanted.then(|| self.zero());
                Recorded { success: Event { within, later: None }, failure }
            }
            Kind::Repeat(counts) => self.repeat(counts, operands[0], wanted),
        }
    }

    fn later(event: Event) -> CurveId {
        event.later.unwrap_or(event.within)
    }

    fn all_of(&mut self, events: &[Event]) -> Event {
        if events.is_empty() {
            return self.zero();
        }
        let within = self.tape.product(events.iter().map(|event| event.within).collect());
        let later = events
            .iter()
            .any(|event| event.later.is_some())
            .then(|| self.tape.product(events.iter().map(|&event| Self::later(event)).collect()));
        Event { within, later }
    }

    /// `later = total − (∏(1−S) − ∏(1−S−D))`.
    fn any_of(&mut self, events: &[Event]) -> Event {
        if events.is_empty() {
            return self.zero();
        }
        let missing: Vec<CurveId> = events.iter().map(|event| self.tape.complement(event.within)).collect();
        let none_yet = self.tape.product(missing);
        let within = self.tape.complement(none_yet);
        let later = events.iter().any(|event| event.later.is_some()).then(|| {
            let (mut never, mut none) = (Vec::new(), Vec::new());
            for &event in events {
                let later = Self::later(event);
                let total = self.tape.ever(later);
                never.push(self.tape.affine(1.0, vec![(-1.0, event.within), (-1.0, total), (1.0, later)]));
                none.push(self.tape.complement(total));
            }
            let none_ever = self.tape.product(never);
            let none = self.tape.product(none);
            self.tape.affine(1.0, vec![(-1.0, none), (-1.0, none_yet), (1.0, none_ever)])
        });
        Event { within, later }
    }

    fn kth_of(&mut self, events: &[Event], k: usize) -> Event {
        if events.is_empty() {
            return self.zero();
        }
        let within = self.tape.at_least(events.iter().map(|event| event.within).collect(), k);
        let later = events.iter().any(|event| event.later.is_some()).then(|| {
            let totals: Vec<CurveId> =
                events.iter().map(|&event| self.tape.ever(Self::later(event))).collect();
            let total = self.tape.at_least(totals.clone(), k);
            let missing = self.tape.affine(0.0, vec![(1.0, total), (-1.0, within)]);
            let mut terms: Vec<(f64, CurveId)> = totals.into_iter().map(|total| (1.0, total)).collect();
            terms.extend(events.iter().map(|&event| (-1.0, Self::later(event))));
            let tails = self.tape.affine(0.0, terms);
            let tail = self.tape.least(missing, tails);
            self.tape.affine(0.0, vec![(1.0, total), (-1.0, tail)])
        });
        Event { within, later }
    }

    fn mix(&mut self, shares: &[f64], events: &[Event]) -> Event {
        let terms = |pick: fn(Event) -> CurveId| {
            shares.iter().zip(events).map(|(&p, &event)| (p, pick(event))).collect()
        };
        let within = self.tape.affine(0.0, terms(|event| event.within));
        let later = events
            .iter()
            .any(|event| event.later.is_some())
            .then(|| self.tape.affine(0.0, terms(Self::later)));
        Event { within, later }
    }

    fn delayed(&mut self, event: Event, cells: f64) -> Event {
        Event {
            within: self.tape.delayed(event.within, cells),
            later: event.later.map(|later| self.tape.delayed(later, cells)),
        }
    }

    fn spectra(&mut self, event: Event) -> EventSpectra {
        EventSpectra {
            within: self.tape.spectrum(event.within),
            later: event.later.map(|later| self.tape.spectrum(later)),
        }
    }

    fn convolved(&mut self, a: EventSpectra, b: EventSpectra) -> EventSpectra {
        let later = (a.later.is_some() || b.later.is_some())
            .then(|| self.tape.convolution(a.later.unwrap_or(a.within), b.later.unwrap_or(b.within)));
        EventSpectra { within: self.tape.convolution(a.within, b.within), later }
    }

    fn mixed(&mut self, terms: &[(f64, EventSpectra)]) -> EventSpectra {
        let within = self.tape.mixture(terms.iter().map(|&(p, term)| (p, term.within)).collect());
        let later = terms.iter().any(|(_, term)| term.later.is_some()).then(|| {
            self.tape.mixture(terms.iter().map(|&(p, term)| (p, term.later.unwrap_or(term.within))).collect())
        });
        EventSpectra { within, later }
    }

    fn event(&mut self, spectra: EventSpectra) -> Event {
        Event {
            within: self.tape.curve(spectra.within),
            later: spectra.later.map(|later| self.tape.curve(later)),
        }
    }

    fn fixed(&mut self, delay: f64) -> EventSpectra {
        EventSpectra { within: self.tape.fixed(delay / self.grid.step, 1.0), later: None }
    }

    fn series(&mut self, operands: &[Recorded], wanted: bool) -> Recorded {
        let mut product: Option<EventSpectra> = None;
        let mut failed = Vec::new();
        for operand in operands {
            if let Some(failure) = operand.failure.filter(|_| wanted) {
                let failure = self.spectra(failure);
                failed.push((1.0, product.map_or(failure, |before| self.convolved(before, failure))));
            }
            let next = self.spectra(operand.success);
            product = Some(product.map_or(next, |before| self.convolved(before, next)));
        }
        let success = match (product, operands) {
            (_, [only]) => only.success,
            (Some(product), _) => self.event(product),
            (None, _) => self.zero(),
        };
        let failure = wanted.then(|| {
            let failed = self.mixed(&failed);
            self.event(failed)
        });
        Recorded { success, failure }
    }

    /// P(success of the body by the deadline), late and early, as constants.
    fn on_time(&mut self, node: &Node, after: f64, body: Event) -> (CurveId, CurveId) {
        if let Kind::Leaf(component) = self.tree.nodes[node.operands[0]].kind {
            let by = |pick: fn((f64, f64)) -> f64| -> Vec<f64> {
                self.samples[component]
                    .iter()
                    .map(|category| match category.outcome {
                        Outcome::Success => pick(category.by(self.placement, after)),
                        Outcome::Failure => 0.0,
                    })
                    .collect()
            };
            let (late, early) = (by(|by| by.0), by(|by| by.1));
            let lower = self.constant_of(component, late.clone());
            let upper = if late == early { lower } else { self.constant_of(component, early) };
            return (lower, upper);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let cell = ((after / self.grid.step) as usize).saturating_sub(1).min(self.grid.cells - 1);
        let lower = self.tape.everywhere(body.within, cell);
        (lower, lower)
    }

    fn timeout(&mut self, node: &Node, after: f64, operands: &[Recorded], wanted: bool) -> Recorded {
        let body = operands[0].success;
        let at = after / self.grid.step;
        let (q, other) = self.on_time(node, after, body);
        let fallback = operands.get(1).map(|fallback| self.delayed(fallback.success, at));
        let missed = self.tape.complement(q);
        let before = self.tape.least(body.within, q);
        let from = match fallback {
            Some(fallback) => {
                let then = self.tape.product(vec![missed, fallback.within]);
                self.tape.affine(0.0, vec![(1.0, q), (1.0, then)])
            }
            None => q,
        };
        let within = self.tape.until(before, from, at);
        let exact =
            q == other && body.later.is_none() && fallback.is_none_or(|fallback| fallback.later.is_none());
        let later = (!exact).then(|| {
            let body_later = Self::later(body);
            let body_total = self.tape.ever(body_later);
            let body_tail = self.tape.affine(0.0, vec![(1.0, body_total), (-1.0, body_later)]);
            let straddling = self.tape.affine(0.0, vec![(1.0, other), (-1.0, before)]);
            let on_its_way = self.tape.least(straddling, body_tail);
            let (total, tail) = match fallback {
                Some(fallback) => {
                    let late = Self::later(fallback);
                    let late_total = self.tape.ever(late);
                    let not_in_time = self.tape.complement(other);
                    let rescued = self.tape.product(vec![not_in_time, late_total]);
                    let total = self.tape.affine(0.0, vec![(1.0, other), (1.0, rescued)]);
                    let open = self.tape.affine(1.0, vec![(-1.0, before), (-1.0, on_its_way)]);
                    let open = self.tape.product(vec![open, late_total]);
                    let early = self.tape.affine(0.0, vec![(1.0, on_its_way), (1.0, open)]);
                    let tail = self.tape.affine(0.0, vec![(1.0, late_total), (-1.0, late)]);
                    let late = self.tape.product(vec![missed, tail]);
                    (total, self.tape.until(early, late, at))
                }
                None => {
                    let none = self.tape.affine(0.0, Vec::new());
                    (other, self.tape.until(on_its_way, none, at))
                }
            };
            self.tape.affine(0.0, vec![(1.0, total), (-1.0, tail)])
        });
        let failure = wanted.then(|| {
            let known = self.tape.complement(other);
            match operands.get(1).and_then(|fallback| fallback.failure) {
                Some(failure) => {
                    let failure = self.delayed(failure, at);
                    let within = self.tape.product(vec![known, failure.within]);
                    let later = (q != other || failure.later.is_some())
                        .then(|| self.tape.product(vec![missed, Self::later(failure)]));
                    Event { within, later }
                }
                None => {
                    let own = operands[0].failure.map(|own| own.within);
                    let own = own.unwrap_or_else(|| self.tape.affine(0.0, Vec::new()));
                    let start = self.tape.least(own, known);
                    let within = self.tape.until(start, known, at);
                    let later = (q != other).then(|| {
                        let start = self.tape.least(start, missed);
                        self.tape.until(start, missed, at)
                    });
                    Event { within, later }
                }
            }
        });
        Recorded { success: Event { within, later }, failure }
    }

    fn retry(
        &mut self,
        node: &Node,
        attempts: u32,
        per_try: Option<f64>,
        backoff: Option<Backoff>,
        operands: &[Recorded],
        wanted: bool,
    ) -> Recorded {
        let attempt = match per_try {
            Some(after) => self.timeout(node, after, &operands[..1], true),
            None => operands[0],
        };
        let Some(failed) = attempt.failure else { return attempt };
        let success = self.spectra(attempt.success);
        let failed = self.spectra(failed);
        let mut reached = self.fixed(0.0);
        let mut tries = vec![(1.0, reached)];
        for k in 1..attempts.min(MAX_CHAIN) {
            reached = self.convolved(reached, failed);
            if let Some(backoff) = backoff {
                let wait = self.wait(backoff.after_attempt(k).get());
                reached = self.convolved(reached, wait);
            }
            tries.push((1.0, reached));
        }
        let tries = self.mixed(&tries);
        let tries = self.convolved(tries, success);
        let success = self.event(tries);
        let failure = wanted.then(|| {
            let all = self.convolved(reached, failed);
            self.event(all)
        });
        Recorded { success, failure }
    }

    /// The longest wait.
    fn wait(&mut self, wait: f64) -> EventSpectra {
        self.fixed(wait)
    }

    fn repeat(&mut self, counts: &[(u32, f64)], body: Recorded, wanted: bool) -> Recorded {
        let once = self.spectra(body.success);
        let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0).min(MAX_CHAIN);
        let mut powers = vec![self.fixed(0.0)];
        for n in 0..most as usize {
            let next = self.convolved(powers[n], once);
            powers.push(next);
        }
        let terms: Vec<(f64, EventSpectra)> =
            counts.iter().map(|&(count, p)| (p, powers[count.min(most) as usize])).collect();
        let mixture = self.mixed(&terms);
        let success = self.event(mixture);
        let failure = body.failure.filter(|_| wanted).map(|failure| {
            // Run j + 1 is started where more than j are due.
            let starts: Vec<(f64, EventSpectra)> = (0..most)
                .map(|j| {
                    (
                        counts.iter().filter(|&&(count, _)| count.min(most) > j).map(|&(_, p)| p).sum(),
                        powers[j as usize],
                    )
                })
                .collect();
            let starts = self.mixed(&starts);
            let failure = self.spectra(failure);
            let failed = self.convolved(starts, failure);
            self.event(failed)
        });
        Recorded { success, failure }
    }
}

#[cfg(test)]
mod tests;
