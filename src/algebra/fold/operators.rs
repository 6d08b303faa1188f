//! Each operator on the curves of its operands.

use super::{Fold, Leaves, NodeCurves};
use crate::algebra::availability::{Bounds, any_of as any_of_attempts};
use crate::algebra::curve::{Curve, Reading, Spectra, all_of, any_of, kth_of};
use crate::algebra::leaf::Outcome;
use crate::algebra::tree::{Kind, Node, Weights};
use crate::distribution::law::Law;
use crate::distribution::transform::Transform;
use crate::journey::operator::{Backoff, Jitter};

impl<L: Leaves> Fold<'_, L> {
    pub(super) fn combine(
        &mut self,
        node: &Node,
        operands: &[&NodeCurves],
        reading: Reading,
        on_time: Bounds,
    ) -> NodeCurves {
        let wanted = node.failure_time_matters;
        let cells = self.grid.cells;
        let success = || operands.iter().map(|operand| &operand.success);
        let failure = || operands.iter().filter_map(|operand| operand.failure.as_ref());
        let nothing = || Curve::beyond(0.0, cells);
        let when_wanted = |curve: Option<Curve>| wanted.then(|| curve.unwrap_or_else(nothing));
        match &node.kind {
            Kind::Leaf(component) => {
                let curve = |outcome| self.leaves.curve(*component, outcome, reading, self.grid);
                NodeCurves {
                    success: curve(Outcome::Success),
                    failure: wanted.then(|| curve(Outcome::Failure)),
                }
            }
            Kind::Series => self.series(operands, wanted),
            Kind::Parallel => NodeCurves {
                success: all_of(success()).unwrap_or_else(nothing),
                failure: when_wanted(any_of(failure())),
            },
            Kind::Race => NodeCurves {
                success: any_of(success()).unwrap_or_else(nothing),
                failure: when_wanted(all_of(failure())),
            },
            Kind::KofN(k) => {
                let good: Vec<&Curve> = success().collect();
                let bad: Vec<&Curve> = failure().collect();
                NodeCurves {
                    success: kth_of(&good, *k, reading),
                    failure: wanted.then(|| kth_of(&bad, good.len() + 1 - k, reading)),
                }
            }
            Kind::Cond(weights) => {
                let good: Vec<&Curve> = success().collect();
                let bad: Vec<&Curve> = failure().collect();
                NodeCurves {
                    success: mix(weights, &good, &good, reading),
                    failure: wanted.then(|| mix(weights, &bad, &good, reading)),
                }
            }
            Kind::Timeout(after) => self.timeout(*after, operands, reading, on_time, wanted),
            Kind::Fallback => self.fallback(operands, wanted),
            Kind::Retry { attempts, per_try, backoff, .. } => {
                self.retry(*attempts, *per_try, *backoff, operands[0], reading, on_time, wanted)
            }
            Kind::Hedge(delay) => {
                let delay = self.grid.cells_at(*delay);
                let second = operands[1].success.delayed(delay);
                let both_fail = wanted.then(|| {
                    let second = operands[1].failure.as_ref().map(|curve| curve.delayed(delay));
                    all_of(operands[0].failure.iter().chain(second.iter())).unwrap_or_else(nothing)
                });
                NodeCurves {
                    success: any_of([&operands[0].success, &second].into_iter()).unwrap_or_else(nothing),
                    failure: both_fail,
                }
            }
            Kind::Optional(timeout) => {
                let mut done = operands[0].success.within.clone();
                if let Some(failed) = &operands[0].failure {
                    done.iter_mut().zip(&failed.within).for_each(|(a, b)| *a = (*a + b).min(1.0));
                }
                self.replace_from_deadline(*timeout, &mut done, |_| 1.0);
                NodeCurves {
                    success: Curve { within: done, later: None, total: 1.0 },
                    failure: wanted.then(nothing),
                }
            }
            Kind::Repeat(counts) => self.repeat(counts, operands[0], wanted),
        }
    }

    /// Overwrites the cells after the deadline; the cell that holds it is shared by both sides.
    fn replace_from_deadline(&self, deadline: f64, values: &mut [f64], after: impl Fn(usize) -> f64) {
        let at = self.grid.cells_at(deadline);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let first = at as usize;
        for (k, value) in values.iter_mut().enumerate().skip(first) {
            let share = if k == first { at.fract() } else { 0.0 };
            *value = *value * share + after(k) * (1.0 - share);
        }
    }

    fn series(&mut self, operands: &[&NodeCurves], wanted: bool) -> NodeCurves {
        let mut so_far: Option<Spectra> = None;
        let mut failed = wanted.then(|| Spectra::zero(self.transform));
        for operand in operands {
            if let (Some(failed), Some(failure)) = (&mut failed, &operand.failure) {
                let mut next = Spectra::of(failure, self.transform);
                if let Some(so_far) = &so_far {
                    next.multiply(so_far);
                }
                failed.add(1.0, &next);
            }
            let next = Spectra::of(&operand.success, self.transform);
            match &mut so_far {
                None => so_far = Some(next),
                Some(product) => product.multiply(&next),
            }
        }
        let product = so_far.unwrap_or_else(|| Spectra::unit(self.transform));
        NodeCurves {
            success: product.into_curve(self.transform),
            failure: failed.map(|failed| failed.into_curve(self.transform)),
        }
    }

    /// `s = s_b·1{t≤T} + (1−q)·δ_T * s_f`; mass that straddles T is late until T in the tail, and absent from S.
    fn timeout(
        &mut self,
        after: f64,
        operands: &[&NodeCurves],
        reading: Reading,
        on_time: Bounds,
        wanted: bool,
    ) -> NodeCurves {
        let cells = self.grid.cells;
        let body = &operands[0].success;
        let fallback = operands.get(1).map(|fallback| fallback.success.delayed(self.grid.cells_at(after)));
        // `q` is the share on time in this reading's S, `other` in its tail.
        let (q, other) = match reading {
            Reading::Exact | Reading::Late => (on_time.lower, on_time.upper),
            Reading::Early => (on_time.upper, on_time.lower),
        };
        let late_total = fallback.as_ref().map_or(0.0, |fallback| fallback.total);
        let mut within: Vec<f64> = body.within.iter().map(|s| s.min(q)).collect();
        let before_deadline = within.clone();
        self.replace_from_deadline(after, &mut within, |k| {
            q + fallback.as_ref().map_or(0.0, |fallback| (1.0 - q) * fallback.within[k])
        });
        let total = other + (1.0 - other) * late_total;
        let exact = q == other
            && body.later.is_none()
            && fallback.as_ref().is_none_or(|fallback| fallback.later.is_none());
        let later = (!exact).then(|| {
            let mut tail: Vec<f64> = (0..cells)
                .map(|k| {
                    let s = before_deadline[k];
                    let straddling = (other - s).max(0.0);
                    let on_its_way =
                        if reading == Reading::Late { straddling.min(body.tail(k)) } else { straddling };
                    on_its_way + (1.0 - s - on_its_way).max(0.0) * late_total
                })
                .collect();
            let missed = 1.0 - q;
            self.replace_from_deadline(after, &mut tail, |k| {
                fallback.as_ref().map_or(0.0, |fallback| missed * fallback.tail(k))
            });
            tail.iter().map(|tail| (total - tail).max(0.0)).collect()
        });
        let failure = wanted.then(|| {
            // The late reading of a failure is the early one of the success that it is not.
            let (known, possible) = (1.0 - other, 1.0 - q);
            match operands.get(1).and_then(|fallback| fallback.failure.as_ref()) {
                Some(failure) => {
                    let failure = failure.delayed(self.grid.cells_at(after));
                    let scaled = |values: &[f64], by: f64| values.iter().map(|value| value * by).collect();
                    let later = (known != possible || failure.later.is_some())
                        .then(|| scaled(failure.later(), possible));
                    Curve { within: scaled(&failure.within, known), later, total: possible * failure.total }
                }
                None => {
                    let own = operands[0].failure.as_ref();
                    let cut = |values: Option<&[f64]>, end: f64| {
                        let mut cut = values.map_or_else(|| vec![0.0; cells], <[f64]>::to_vec);
                        cut.iter_mut().for_each(|value| *value = value.min(end));
                        self.replace_from_deadline(after, &mut cut, |_| end);
                        cut
                    };
                    let within = cut(own.map(|own| &own.within[..]), known);
                    // The tail before the deadline is what is possible and not yet known.
                    let later = (known != possible).then(|| cut(Some(&within), possible));
                    Curve { within, later, total: possible }
                }
            }
        });
        NodeCurves { success: Curve { within, later, total }, failure }
    }

    fn fallback(&mut self, operands: &[&NodeCurves], wanted: bool) -> NodeCurves {
        let (first, second) = (operands[0], operands[1]);
        let Some(failed) = &first.failure else { return first.clone() };
        let failed = Spectra::of(failed, self.transform);
        let mut success = Spectra::of(&second.success, self.transform);
        success.multiply(&failed);
        success.add(1.0, &Spectra::of(&first.success, self.transform));
        let failure = second.failure.as_ref().filter(|_| wanted).map(|failure| {
            let mut failure = Spectra::of(failure, self.transform);
            failure.multiply(&failed);
            failure.into_curve(self.transform)
        });
        NodeCurves { success: success.into_curve(self.transform), failure }
    }

    #[expect(clippy::too_many_arguments, reason = "the operator's own parameters")]
    fn retry(
        &mut self,
        attempts: u32,
        per_try: Option<f64>,
        backoff: Option<Backoff>,
        body: &NodeCurves,
        reading: Reading,
        on_time: Bounds,
        wanted: bool,
    ) -> NodeCurves {
        let attempt = match per_try {
            Some(after) => self.timeout(after, &[body], reading, on_time, true),
            None => body.clone(),
        };
        let Some(failed) = &attempt.failure else { return attempt };
        let success = Spectra::of(&attempt.success, self.transform);
        let failed = Spectra::of(failed, self.transform);
        // Everything that follows the first failure: Σ_j ∏ r̂ b̂_j.
        let mut tries = Spectra::unit(self.transform);
        let mut reached = Spectra::unit(self.transform);
        // Waits that no longer grow are transformed once.
        let mut last_wait: Option<(f64, Spectra)> = None;
        for k in 1..attempts {
            reached.multiply(&failed);
            if let Some(backoff) = backoff {
                let length = backoff.after_attempt(k).get();
                let wait = match last_wait.take() {
                    Some((known, wait)) if known == length => wait,
                    _ => self.wait(backoff.jitter, length, reading),
                };
                reached.multiply(&wait);
                last_wait = Some((length, wait));
            }
            if reached.total < f64::EPSILON && !wanted {
                break;
            }
            tries.add(1.0, &reached);
        }
        tries.multiply(&success);
        let mut curve = tries.into_curve(self.transform);
        if curve.later.is_none() {
            curve.total = any_of_attempts(attempt.success.total, attempts);
        }
        let failure = wanted.then(|| {
            reached.multiply(&failed);
            reached.into_curve(self.transform)
        });
        NodeCurves { success: curve, failure }
    }

    /// A wait. With full jitter it is uniform in the estimate, the longest late, and none early.
    fn wait(&mut self, jitter: Jitter, wait: f64, reading: Reading) -> Spectra {
        match (jitter, reading) {
            (Jitter::None, _) | (Jitter::Full, Reading::Late) => {
                Spectra::constant(self.transform, self.grid.cells_at(wait))
            }
            (Jitter::Full, Reading::Early) => Spectra::unit(self.transform),
            (Jitter::Full, Reading::Exact) => {
                let mut within = vec![0.0; self.grid.cells];
                Law::uniform(wait).cells(self.grid.step, 1.0, &mut within);
                Spectra::of(&Curve { within, later: None, total: 1.0 }, self.transform)
            }
        }
    }

    /// Powers of the spectrum, in rising order of the counts; failures as in a Series.
    fn repeat(&mut self, counts: &[(u32, f64)], body: &NodeCurves, wanted: bool) -> NodeCurves {
        let mut rising: Vec<(u32, f64)> = counts.to_vec();
        rising.sort_unstable_by_key(|&(count, _)| count);
        let once = Spectra::of(&body.success, self.transform);
        let mut power = Spectra::unit(self.transform);
        // Σ_{j<count} ŝ^j: how often the body is started.
        let mut starts = Spectra::zero(self.transform);
        let mut mixture = Spectra::zero(self.transform);
        let mut started = Spectra::zero(self.transform);
        let mut reached = 0;
        for (count, p) in rising {
            let (step, sum) = power_and_sum(&once, count - reached, self.transform);
            starts.add(1.0, &sum.times(&power));
            power.multiply(&step);
            reached = count;
            mixture.add(p, &power);
            started.add(p, &starts);
        }
        let failure = body.failure.as_ref().filter(|_| wanted).map(|failure| {
            started.multiply(&Spectra::of(failure, self.transform));
            started.into_curve(self.transform)
        });
        NodeCurves { success: mixture.into_curve(self.transform), failure }
    }
}

/// `x^n` and `Σ_{j<n} x^j` by repeated squaring.
fn power_and_sum(x: &Spectra, n: u32, transform: &Transform) -> (Spectra, Spectra) {
    let mut power = Spectra::unit(transform);
    let mut sum = Spectra::zero(transform);
    for bit in (0..u32::BITS - n.leading_zeros()).rev() {
        // n → 2n: Σ_{j<2n} = (1 + x^n)·Σ_{j<n}.
        let mut doubled = sum.times(&power);
        doubled.add(1.0, &sum);
        sum = doubled;
        power = power.times(&power);
        if n >> bit & 1 == 1 {
            // n → n + 1.
            sum.add(1.0, &power);
            power.multiply(x);
        }
    }
    (power, sum)
}

/// A mixture; what its free branches share goes to the branch that hurts: in the estimate the one with the least
/// success, which is the same branch for successes and failures.
fn mix(weights: &Weights, branches: &[&Curve], successes: &[&Curve], reading: Reading) -> Curve {
    let cells = branches.first().map_or(0, |branch| branch.within.len());
    let mut sum = Curve::beyond(0.0, cells);
    for (&p, branch) in weights.known.iter().zip(branches) {
        if p > 0.0 {
            sum.add(p, branch);
        }
    }
    let free: Vec<&Curve> = weights.free.iter().map(|&branch| branches[branch]).collect();
    if free.is_empty() {
        return sum;
    }
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::min);
    let hurts = match reading {
        Reading::Exact => {
            // The least available, then the slowest on the whole.
            let speed = |curve: &Curve| curve.within.iter().sum::<f64>();
            let order = |a: &&usize, b: &&usize| {
                let (a, b) = (successes[**a], successes[**b]);
                a.total.total_cmp(&b.total).then(speed(a).total_cmp(&speed(b)))
            };
            match weights.free.iter().min_by(order) {
                Some(&worst) => branches[worst].clone(),
                None => return sum,
            }
        }
        Reading::Late | Reading::Early => {
            let pick: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64 =
                if reading == Reading::Late { &least } else { &most };
            let other: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64 =
                if reading == Reading::Late { &most } else { &least };
            let within = (0..cells).map(|k| pick(&mut free.iter().map(|c| c.within[k]))).collect();
            let total = other(&mut free.iter().map(|c| c.total));
            let later = (0..cells).map(|k| total - other(&mut free.iter().map(|c| c.tail(k)))).collect();
            Curve { within, later: Some(later), total }
        }
    };
    sum.add(weights.rest, &hurts);
    sum
}
