//! Each operator on the tape.

use super::{Event, EventSpectra, Influence, Recorded};
use crate::algebra::leaf::Outcome;
use crate::algebra::tape::CurveId;
use crate::algebra::tree::{Kind, Node};
use crate::journey::operator::Backoff;

/// Attempts and repetitions beyond this many change no standard error that matters.
const MAX_CHAIN: u32 = 64;

impl Influence<'_> {
    pub(super) fn node(&mut self, node: &Node, operands: &[Recorded]) -> Recorded {
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
