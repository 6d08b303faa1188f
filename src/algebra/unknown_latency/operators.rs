//! The operators on brackets. `apart` says that the operands share no fate.

use super::bracket::{Bracket, Rising, TIMES};
use crate::algebra::availability::{Bounds, any_of};
use crate::distribution::expected_shortfall::{TailLaw, sum_quantile_quick};
use crate::distribution::order_statistic;

/// Atoms that a law keeps.
pub(super) const ATOMS: usize = 288;
/// Levels at which a bound in the increasing convex order is turned into one of the usual order.
const LEVELS: i32 = 100;

/// The sum of times under any joint law: in the usual order, and in the increasing convex one. The former from the latter
/// alone where nothing but the journey itself asks for it: the root's quantiles are searched one by one.
pub(super) fn dependent_sum(
    terms: &[(TailLaw, Option<TailLaw>)],
    total: f64,
    searched: bool,
) -> (TailLaw, TailLaw) {
    let convex: Vec<&TailLaw> = terms.iter().map(|(late, convex)| convex.as_ref().unwrap_or(late)).collect();
    let late: Vec<&TailLaw> = terms.iter().map(|(late, _)| late).collect();
    let comonotone = TailLaw::comonotone_sum(&convex, total).coarsened(ATOMS);
    let bound = |v: f64| {
        let convex = comonotone.expected_shortfall(v);
        // What may never arrive makes every shortfall infinite, the sum only up to its own mass.
        if searched || convex.is_infinite() { convex.min(sum_quantile_quick(&late, v)) } else { convex }
    };
    (from_quantiles(bound, total), comonotone)
}

/// A measure of mass `total` whose quantiles are at least `bound`, taken at some levels.
pub(super) fn from_quantiles(bound: impl Fn(f64) -> f64, total: f64) -> TailLaw {
    /// The least level, as a share of the mass.
    const LEAST: f64 = 1e-5;
    let mut atoms = Vec::new();
    let (mut before, mut time) = (0.0, bound(0.0));
    for step in 0..=LEVELS {
        let level = total * LEAST.powf(1.0 - f64::from(step) / f64::from(LEVELS));
        atoms.push((time, level - before));
        (before, time) = (level, bound(level).min(time));
    }
    TailLaw::from_atoms(atoms)
}

pub(super) fn all_bounds(members: &[&Bracket], apart: bool) -> Bounds {
    let lower = members.iter().map(|member| member.bounds.lower);
    let upper = members.iter().map(|member| member.bounds.upper);
    if apart {
        Bounds { lower: lower.product(), upper: upper.product() }
    } else {
        let lost: f64 = lower.map(|a| 1.0 - a).sum();
        let upper = upper.fold(1.0, f64::min);
        Bounds { lower: (1.0 - lost).clamp(0.0, upper), upper }
    }
}

/// At most [`TIMES`] of the times at which one of the laws jumps, and 0; finite and rising. A function that is sampled at
/// them and held until the next is not below a falling one, nor above a rising one.
fn common_times<'a>(laws: impl Iterator<Item = &'a TailLaw>) -> Vec<f64> {
    let mut times: Vec<f64> =
        laws.flat_map(|law| law.atoms().map(|(time, _)| time)).filter(|t| t.is_finite()).collect();
    times.push(0.0);
    times.sort_unstable_by(f64::total_cmp);
    times.dedup();
    thinned(times)
}

fn thinned(times: Vec<f64>) -> Vec<f64> {
    let every = times.len().div_ceil(TIMES).max(1);
    let last = times.len() - 1;
    times
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % every == 0 || *at == last)
        .map(|(_, time)| time)
        .collect()
}

/// `combine` of the members' `S̄` at each time, held from the time before: not below the function.
pub(super) fn pointwise_early(members: &[&Bracket], upper: f64, combine: impl Fn(&[f64]) -> f64) -> Rising {
    // Any times will do; twice as many as are kept are sorted.
    let all: usize = members.iter().map(|member| member.early.times.len()).sum();
    let every = (all / (2 * TIMES)).max(1);
    let mut times: Vec<f64> =
        members.iter().flat_map(|member| member.early.times.iter().step_by(every).copied()).collect();
    times.push(0.0);
    times.sort_unstable_by(f64::total_cmp);
    times.dedup();
    let times = thinned(times);
    let mut at = vec![0.0; members.len()];
    // On [t_k, t_{k+1}) no more than just before t_{k+1}; thinning may have dropped jumps in between.
    let ends = || times.iter().copied().skip(1).chain([f64::INFINITY]);
    let mut early: Vec<_> = members.iter().map(|member| member.early.at_each(ends())).collect();
    let mut values: Vec<f64> = (0..times.len())
        .map(|_| {
            at.iter_mut().zip(&mut early).for_each(|(value, early)| *value = early.next().unwrap_or(0.0));
            combine(&at).min(upper)
        })
        .collect();
    drop(early);
    let mut most: f64 = 0.0;
    values.iter_mut().for_each(|value| {
        most = value.max(most);
        *value = most;
    });
    Rising { times, values }
}

/// From pointwise bounds: `at(t) = (S̲, D̄)`.
fn pointwise(bounds: Bounds, times: Vec<f64>, mut at: impl FnMut(f64) -> (f64, f64)) -> Bracket {
    let (mut within, mut later): (Vec<f64>, Vec<f64>) = times.iter().map(|&t| at(t)).unzip();
    let (mut most, mut least) = (0.0_f64, bounds.upper);
    for (s, d) in within.iter_mut().zip(&mut later) {
        most = most.max(*s);
        *s = most;
        least = least.min(d.max(0.0)).min((bounds.upper - most).max(0.0));
        *d = least;
    }
    let late = TailLaw::from_tail(&times, &later, bounds.upper);
    Bracket { within: Rising { times, values: within }, ..Bracket::from_late(bounds, late) }
}

/// Both orders carry over to the maximum.
pub(super) fn parallel(members: &[&Bracket], apart: bool) -> Bracket {
    if let [only] = members {
        return (*only).clone();
    }
    let bounds = all_bounds(members, apart);
    let early = pointwise_early(members, bounds.upper, |at| {
        if apart { at.iter().product() } else { at.iter().copied().fold(1.0, f64::min) }
    });
    let failed = TailLaw::union(members.iter().map(|member| (1.0, &member.failed)))
        .slowest(1.0 - bounds.lower)
        .coarsened(ATOMS);
    let uncertain = members.iter().any(|member| member.convex.is_some());
    if apart {
        let slow = |convex: bool, t: f64| -> f64 {
            let fast: f64 = members
                .iter()
                .map(|member| match &member.convex {
                    Some(law) if convex => {
                        let d = law.after(t);
                        1.0 - if d > 0.0 { (d / member.bounds.lower).min(1.0) } else { 0.0 }
                    }
                    _ => 1.0 - member.slow_share(t),
                })
                .product();
            1.0 - fast
        };
        let times = common_times(members.iter().map(|member| &member.late));
        let bracket = pointwise(bounds, times, |t| {
            let within: f64 = members.iter().map(|member| member.within.at(t)).product();
            (within, bounds.upper * slow(false, t))
        });
        let convex = uncertain.then(|| {
            let times = common_times(members.iter().map(|member| member.convex()));
            let later: Vec<f64> = times.iter().map(|&t| bounds.upper * slow(true, t)).collect();
            TailLaw::from_tail(&times, &later, bounds.upper)
        });
        Bracket { convex, early, failed, ..bracket }
    } else {
        let union = |pick: fn(&Bracket) -> &TailLaw| {
            TailLaw::union(members.iter().map(|member| (1.0, pick(member))))
                .slowest(bounds.upper)
                .coarsened(ATOMS)
        };
        let convex = uncertain.then(|| union(Bracket::convex));
        let mut bracket =
            Bracket { convex, early, failed, ..Bracket::from_late(bounds, union(|member| &member.late)) };
        bracket.within = bracket.complement_of_late();
        bracket
    }
}

pub(super) fn race(members: &[&Bracket], apart: bool) -> Bracket {
    if let [only] = members {
        return (*only).clone();
    }
    let lower = || members.iter().map(|member| member.bounds.lower);
    let upper = || members.iter().map(|member| member.bounds.upper);
    let any = |values: &mut dyn Iterator<Item = f64>| 1.0 - values.map(|a| 1.0 - a).product::<f64>();
    let bounds = if apart {
        Bounds { lower: any(&mut lower()), upper: any(&mut upper()) }
    } else {
        Bounds { lower: lower().fold(0.0, f64::max), upper: upper().sum::<f64>().min(1.0) }
    };
    let times = common_times(members.iter().map(|member| &member.late));
    let bracket = pointwise(bounds, times, |t| {
        let at = || {
            members.iter().map(move |member| (member.within.at(t), member.late.after(t), member.bounds.upper))
        };
        if apart {
            let yet: f64 = at().map(|(s, _, _)| 1.0 - s).product();
            let ever: f64 = at().map(|(s, d, a)| (1.0 - s - d.min((a - s).max(0.0))).max(0.0)).product();
            (1.0 - yet, yet - ever)
        } else {
            (at().map(|(s, _, _)| s).fold(0.0, f64::max), at().map(|(_, d, _)| d).sum())
        }
    });
    let early = pointwise_early(members, bounds.upper, |at| {
        if apart { any(&mut at.iter().copied()) } else { at.iter().sum::<f64>().min(1.0) }
    });
    let failed = TailLaw::union(members.iter().map(|member| (1.0, &member.failed)))
        .slowest(1.0 - bounds.lower)
        .coarsened(ATOMS);
    Bracket { early, failed, ..bracket }
}

pub(super) fn k_of_n(members: &[&Bracket], k: usize, apart: bool) -> Bracket {
    let sorted = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let least = |values: Vec<f64>| {
        if apart {
            order_statistic::at_least(values.into_iter(), k)
        } else {
            order_statistic::least_at_least(&sorted(values), k)
        }
    };
    let most = |values: Vec<f64>| {
        if apart {
            order_statistic::at_least(values.into_iter(), k)
        } else {
            order_statistic::greatest_at_least(&sorted(values), k).min(1.0)
        }
    };
    let lower = least(members.iter().map(|member| member.bounds.lower).collect()).max(0.0);
    let upper = most(members.iter().map(|member| member.bounds.upper).collect()).max(lower);
    let bounds = Bounds { lower, upper };
    let times = common_times(members.iter().map(|member| &member.late));
    let bracket = pointwise(bounds, times, |t| {
        let within = least(members.iter().map(|member| member.within.at(t)).collect()).max(0.0);
        (within, members.iter().map(|member| member.late.after(t)).sum())
    });
    let early = pointwise_early(members, upper, |at| most(at.to_vec()));
    let failed = TailLaw::union(members.iter().map(|member| (1.0, &member.failed)))
        .slowest(1.0 - lower)
        .coarsened(ATOMS);
    Bracket { early, failed, ..bracket }
}

/// A condition; what free branches share may go to any of them.
pub(super) fn mixture(known: &[f64], rest: f64, free_branches: &[usize], members: &[&Bracket]) -> Bracket {
    let free = || free_branches.iter().map(|&branch| members[branch]);
    let known_sum =
        |side: fn(&Bracket) -> f64| -> f64 { known.iter().zip(members).map(|(p, m)| p * side(m)).sum() };
    let extreme = |side: fn(&Bracket) -> f64, pick: fn(f64, f64) -> f64| {
        if rest > 0.0 { free().map(side).reduce(pick).unwrap_or(0.0) } else { 0.0 }
    };
    let bounds = Bounds {
        lower: known_sum(|m| m.bounds.lower) + rest * extreme(|m| m.bounds.lower, f64::min),
        upper: (known_sum(|m| m.bounds.upper) + rest * extreme(|m| m.bounds.upper, f64::max)).min(1.0),
    };
    let weighted =
        || known.iter().copied().zip(members.iter().copied()).chain(free().map(|member| (rest, member)));
    let union = |pick: fn(&Bracket) -> &TailLaw, total: f64| {
        TailLaw::union(weighted().map(|(p, member)| (p, pick(member)))).slowest(total).coarsened(ATOMS)
    };
    let mut bracket = Bracket::from_late(bounds, union(|member| &member.late, bounds.upper));
    if members.iter().any(|member| member.convex.is_some()) {
        bracket.convex = Some(union(Bracket::convex, bounds.upper));
    }
    bracket.within = bracket.complement_of_late();
    bracket.failed = union(|member| &member.failed, 1.0 - bounds.lower);
    bracket.early = pointwise_early(members, bounds.upper, |at| {
        let sum: f64 = known.iter().zip(at).map(|(p, s)| p * s).sum();
        let best = free_branches.iter().map(|&branch| at[branch]).fold(0.0, f64::max);
        sum + rest * best
    });
    bracket
}

/// Success within the deadline only; what fails is known at the deadline at the latest.
pub(super) fn truncated(body: &Bracket, after: f64) -> Bracket {
    let bounds = Bounds { lower: body.within.at(after), upper: body.early.at(after).min(body.bounds.upper) };
    let bounds = Bounds { lower: bounds.lower.min(bounds.upper), upper: bounds.upper };
    let mut times = common_times([&body.late].into_iter());
    times.retain(|&t| t < after);
    times.push(after);
    let mut bracket = pointwise(bounds, times, |t| {
        if t < after {
            (body.within.at(t).min(bounds.lower), body.late.after(t))
        } else {
            (bounds.lower, 0.0)
        }
    });
    let at = body.early.times.partition_point(|&time| time <= after);
    bracket.early = Rising {
        times: body.early.times[..at].to_vec(),
        values: body.early.values[..at].iter().map(|value| value.min(bounds.upper)).collect(),
    };
    bracket.failed = TailLaw::from_atoms(vec![(after, 1.0 - bounds.lower)]);
    bracket
}

pub(super) fn fallback(first: &Bracket, second: &Bracket, apart: bool) -> Bracket {
    let (a, b) = (first.bounds, second.bounds);
    let any = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
    let bounds = if apart {
        Bounds { lower: any(a.lower, b.lower), upper: any(a.upper, b.upper) }
    } else {
        Bounds { lower: a.lower.max(b.lower), upper: (a.upper + b.upper).min(1.0) }
    };
    let rescued = if apart { (1.0 - a.lower) * b.upper } else { b.upper.min(1.0 - a.lower) };
    let failed = (first.failed.clone(), None);
    let (then, _) = dependent_sum(&[failed.clone(), (second.late.clone(), None)], rescued, true);
    let late = TailLaw::union([(1.0, &first.late), (1.0, &then)]).slowest(bounds.upper).coarsened(ATOMS);
    let mut bracket = Bracket::from_late(bounds, late);
    let sums = bracket.complement_of_late();
    let times = common_times([&bracket.late, &first.late].into_iter());
    let values = times.iter().map(|&t| first.within.at(t).max(sums.at(t))).collect();
    bracket.within = Rising { times, values };
    bracket.early = pointwise_early(&[first, second], bounds.upper, |at| at[0] + at[1].min(1.0 - a.lower));
    bracket.failed = dependent_sum(&[failed, (second.failed.clone(), None)], 1.0 - bounds.lower, false).0;
    bracket
}

/// Attempts of which nothing but their number is used.
pub(super) fn never_ending(attempt: &Bracket, attempts: u32, apart: bool) -> Bracket {
    let upper = if apart {
        any_of(attempt.bounds.upper, attempts)
    } else {
        (f64::from(attempts) * attempt.bounds.upper).min(1.0)
    };
    let bounds = Bounds {
        lower: if apart { any_of(attempt.bounds.lower, attempts) } else { attempt.bounds.lower },
        upper,
    };
    let never = |mass| TailLaw::from_atoms(vec![(f64::INFINITY, mass)]);
    Bracket {
        early: Rising { times: vec![0.0], values: vec![upper] },
        within: Rising { times: vec![0.0], values: vec![0.0] },
        failed: never(1.0 - bounds.lower),
        ..Bracket::from_late(bounds, never(upper))
    }
}

/// Done at the deadline at the latest, however it ends.
pub(super) fn optional(body: &Bracket, timeout: f64) -> Bracket {
    let bounds = Bounds::exactly(1.0);
    let ends = TailLaw::union([(1.0, &body.late), (1.0, &body.failed)]).slowest(1.0);
    let late = TailLaw::from_atoms(ends.atoms().map(|(time, mass)| (time.min(timeout), mass)).collect());
    let mut bracket = Bracket::from_late(bounds, late);
    bracket.within = bracket.complement_of_late();
    let at = body.early.times.partition_point(|&time| time < timeout);
    let failed = 1.0 - body.bounds.lower;
    let mut early = Rising { times: vec![0.0], values: vec![failed] };
    for (&time, &value) in body.early.times[..at].iter().zip(&body.early.values) {
        early.times.push(time);
        early.values.push((value + failed).min(1.0));
    }
    early.times.push(timeout);
    early.values.push(1.0);
    bracket.early = early;
    bracket
}

/// Runs of one component share their fate.
pub(super) fn repeat(body: &Bracket, counts: &[(u32, f64)]) -> Bracket {
    let at_once = Bracket {
        within: Rising { times: vec![0.0], values: vec![1.0] },
        early: Rising { times: vec![0.0], values: vec![1.0] },
        ..Bracket::from_late(Bounds::exactly(1.0), TailLaw::default())
    };
    let runs: Vec<Bracket> = counts
        .iter()
        .map(|&(count, _)| {
            let n = f64::from(count);
            match count {
                0 => at_once.clone(),
                1 => body.clone(),
                _ => {
                    let times = |law: &TailLaw| {
                        TailLaw::from_atoms(law.atoms().map(|(time, mass)| (n * time, mass)).collect())
                    };
                    let lower = (1.0 - n * (1.0 - body.bounds.lower)).clamp(0.0, body.bounds.upper);
                    let bounds = Bounds { lower, upper: body.bounds.upper };
                    let convex = times(body.convex());
                    let late = from_quantiles(|v| convex.expected_shortfall(v), bounds.upper);
                    let calls = times(&TailLaw::union([(1.0, &body.late), (1.0, &body.failed)]));
                    let failed = from_quantiles(|v| calls.expected_shortfall(v), 1.0 - lower);
                    let mut run = Bracket { convex: Some(convex), ..Bracket::from_late(bounds, late) };
                    run.within = run.complement_of_late();
                    run.early = body.early.clone();
                    run.failed = failed;
                    run
                }
            }
        })
        .collect();
    let shares: Vec<f64> = counts.iter().map(|&(_, p)| p).collect();
    mixture(&shares, 0.0, &[], &runs.iter().collect::<Vec<_>>())
}
