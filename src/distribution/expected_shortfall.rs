//! Sums and maxima of times whose dependence is unknown: expected shortfall and its relatives.
//!
//! A [`TailLaw`] describes the slow end of a sub-distribution in units of *mass* (of all calls, not of the successful
//! ones): `Q(v)` is the time that mass `v` at most exceeds, `ES(v) = 1/v · ∫_0^v Q` the mean time of the slowest mass
//! `v`. In these units an event that concerns several calls needs no restated levels: whatever mass `v` of journeys is
//! the slowest, call i contributes at most `v · ES_i(v)` to it. Hence, for any joint law,
//!
//! - sum: `Q(v) ≤ Σ ES_i(v)`, and more sharply, for any `c_i ≥ 0` with `β = v − Σ c_i > 0`,
//!   `Q(v) ≤ Σ (1/β) ∫_{c_i}^{c_i+β} Q_i` (Embrechts, Liu & Wang, *Quantile-based risk sharing*, Operations Research
//!   66, 2018): cut the slowest mass `c_i` off each call, at the price of `Σ c_i`. All `c_i = 0` is expected shortfall,
//!   `β → 0` is Makarov's bound `inf Q_1(c) + Q_2(v − c)`, sharp for two times; equal `c_i` are sharp for equal laws
//!   with falling densities (Wang & Wang 2011);
//! - maximum: the masses beyond t add.

/// A sub-distribution by its slow end, as atoms: exact for discrete laws.
///
/// Invariants: times finite or +∞, ≥ 0, strictly falling; masses above 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TailLaw {
    times: Vec<f64>,
    /// Mass at this time or later.
    through: Vec<f64>,
    /// `∫_0^{through} Q`, the part of infinite times left out.
    integral: Vec<f64>,
}

impl TailLaw {
    /// From `(time, mass)` in any order; atoms of no mass are left out, those of one time are joined.
    #[must_use]
    pub fn from_atoms(mut atoms: Vec<(f64, f64)>) -> Self {
        // They come as a few sorted runs, which a stable sort merges.
        atoms.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self::from_falling(atoms)
    }

    /// The same from times that do not rise.
    #[must_use]
    pub fn from_falling(atoms: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let atoms = atoms.into_iter();
        let most = atoms.size_hint().0;
        let mut law = Self {
            times: Vec::with_capacity(most),
            through: Vec::with_capacity(most),
            integral: Vec::with_capacity(most),
        };
        let (mut mass, mut integral, mut last) = (0.0, 0.0, f64::NAN);
        for (time, atom) in atoms {
            debug_assert!(time <= last || last.is_nan(), "the times of a tail rise");
            if !(atom > 0.0 && time >= 0.0) {
                continue;
            }
            mass += atom;
            if time.is_finite() {
                integral += time * atom;
            }
            if time == last {
                law.times.pop();
                law.through.pop();
                law.integral.pop();
            }
            last = time;
            law.times.push(time);
            law.through.push(mass);
            law.integral.push(integral);
        }
        law
    }

    /// From a falling function: mass `later[i]` comes after `times[i]` (rising), up to the next of the times, the last
    /// of it never. `total ≥ later[0]` is all mass.
    #[must_use]
    pub fn from_tail(times: &[f64], later: &[f64], total: f64) -> Self {
        let mut atoms = Vec::with_capacity(times.len() + 1);
        let mut before = total;
        for (&time, &mass) in times.iter().zip(later) {
            let mass = mass.clamp(0.0, before);
            atoms.push((time, before - mass));
            before = mass;
        }
        atoms.push((f64::INFINITY, before));
        Self::from_falling(atoms.into_iter().rev())
    }

    /// `(time, mass)`, times falling.
    pub fn atoms(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let before = std::iter::once(0.0).chain(self.through.iter().copied());
        self.times
            .iter()
            .zip(&self.through)
            .zip(before)
            .map(|((&time, &through), before)| (time, through - before))
    }

    /// The times of its atoms, falling.
    #[must_use]
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// All mass.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.through.last().copied().unwrap_or(0.0)
    }

    /// The mass that never arrives.
    #[must_use]
    pub fn never(&self) -> f64 {
        if self.times.first() == Some(&f64::INFINITY) { self.through[0] } else { 0.0 }
    }

    /// The mass after `t`.
    #[must_use]
    pub fn after(&self, t: f64) -> f64 {
        let later = self.times.partition_point(|&time| time > t);
        later.checked_sub(1).map_or(0.0, |last| self.through[last])
    }

    /// [`Self::after`] rising times, in one pass over the atoms.
    pub fn after_each(&self, times: impl IntoIterator<Item = f64>) -> impl Iterator<Item = f64> {
        let mut later = self.times.len();
        times.into_iter().map(move |t| {
            while later > 0 && self.times[later - 1] <= t {
                later -= 1;
            }
            later.checked_sub(1).map_or(0.0, |last| self.through[last])
        })
    }

    /// `Q(v)`: the smallest t after which at most mass `v` comes; 0 from the total mass on.
    #[must_use]
    pub fn quantile(&self, v: f64) -> f64 {
        self.times.get(self.through.partition_point(|&through| through <= v)).copied().unwrap_or(0.0)
    }

    /// `∫_0^v Q`; infinite where some of that mass never arrives.
    #[must_use]
    pub fn integral(&self, v: f64) -> f64 {
        if v <= 0.0 {
            0.0
        } else if self.never() > 0.0 {
            f64::INFINITY
        } else {
            self.quantile_and_integral(v).1
        }
    }

    /// `Q(v)`, and `∫_0^v Q` with 0 for the mass that never arrives.
    fn quantile_and_integral(&self, v: f64) -> (f64, f64) {
        let at = self.through.partition_point(|&through| through <= v);
        let (before, below) =
            at.checked_sub(1).map_or((0.0, 0.0), |last| (self.through[last], self.integral[last]));
        match self.times.get(at) {
            Some(&time) if time.is_finite() => (time, below + time * (v - before).max(0.0)),
            Some(&time) => (time, below),
            None => (0.0, below),
        }
    }

    /// `1/β · ∫_c^{c+β} Q` (the range value at risk); `Q(c)` at β = 0.
    #[must_use]
    pub fn mean_between(&self, c: f64, beta: f64) -> f64 {
        if c < self.never() {
            return f64::INFINITY;
        }
        let (most, before) = self.quantile_and_integral(c);
        if beta <= 0.0 {
            return most;
        }
        let (least, through) = self.quantile_and_integral(c + beta);
        // Cancellation must not take the mean below the least time of the range.
        ((through - before) / beta).clamp(least, most)
    }

    /// `ES(v)`: the mean of the slowest mass `v`; `Q(0)` at 0.
    #[must_use]
    pub fn expected_shortfall(&self, v: f64) -> f64 {
        self.mean_between(0.0, v)
    }

    /// The same, `delay` later.
    #[must_use]
    pub fn delayed(&self, delay: f64) -> Self {
        Self::from_falling(self.atoms().map(|(time, mass)| (time + delay, mass)))
    }

    /// The measure with the masses of all of them, each times its weight: the mixture, or the union bound of a maximum.
    #[must_use]
    pub fn union<'a>(laws: impl IntoIterator<Item = (f64, &'a Self)>) -> Self {
        Self::from_atoms(
            laws.into_iter()
                .flat_map(|(weight, law)| law.atoms().map(move |(time, mass)| (time, weight * mass)))
                .collect(),
        )
    }

    /// The slowest mass `total` of it.
    #[must_use]
    pub fn slowest(&self, total: f64) -> Self {
        let mut left = total;
        let mut atoms = Vec::new();
        for (time, mass) in self.atoms() {
            let taken = mass.min(left);
            atoms.push((time, taken));
            left -= taken;
            if left <= 0.0 {
                break;
            }
        }
        Self::from_falling(atoms)
    }

    /// The law of the comonotone sum, cut to its slowest mass `total`: `Q(v) = Σ Q_i(v)`. In the increasing convex order
    /// no joint law of these times has a greater sum.
    #[must_use]
    pub fn comonotone_sum(laws: &[&Self], total: f64) -> Self {
        // Where which of the laws goes on to its next atom.
        let mut steps: Vec<(f64, u32)> = Vec::with_capacity(laws.iter().map(|law| law.through.len()).sum());
        for (law, index) in laws.iter().zip(0..) {
            steps.extend(law.through.iter().filter(|&&v| v < total).map(|&v| (v, index)));
        }
        // They come as sorted runs, which a stable sort merges.
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut next = vec![0_usize; laws.len()];
        let mut sum = RunningSum::default();
        laws.iter().for_each(|law| sum.change(0.0, law.times.first().copied().unwrap_or(0.0)));
        let mut before = 0.0;
        let mut atoms = Vec::with_capacity(steps.len() + 1);
        for (level, index) in steps {
            if level > before {
                atoms.push((sum.value(), level - before));
                before = level;
            }
            let (law, at) = (laws[index as usize], &mut next[index as usize]);
            let time = |at: usize| law.times.get(at).copied().unwrap_or(0.0);
            sum.change(time(*at), time(*at + 1));
            *at += 1;
        }
        atoms.push((sum.value(), total - before));
        // Rounding may let a sum rise.
        Self::from_atoms(atoms)
    }

    /// At most about `atoms` atoms: neighbours are joined at the later of their times, so that no quantile falls. The slow end
    /// is kept finer than the rest: a share of the atoms is spread over each power of the mass.
    #[must_use]
    pub fn coarsened(self, atoms: usize) -> Self {
        if self.times.len() <= atoms {
            return self;
        }
        /// Below this share of the mass everything is joined to the slowest.
        const LEAST: f64 = 1e-6;
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let ratio = (1.0 / LEAST).powf(1.0 / atoms.max(2) as f64);
        let mut joined: Vec<(f64, f64)> = Vec::with_capacity(atoms + 2);
        let (mut sum, mut limit) = (0.0, self.total() * LEAST);
        let mut open: Option<(f64, f64)> = None;
        for (time, mass) in self.atoms() {
            sum += mass;
            open = match open {
                // What never arrives is not joined to what does.
                Some((late, joined)) if sum <= limit && late.is_finite() == time.is_finite() => {
                    Some((late, joined + mass))
                }
                Some(full) => {
                    joined.push(full);
                    while limit < sum {
                        limit *= ratio;
                    }
                    Some((time, mass))
                }
                None => Some((time, mass)),
            };
        }
        joined.extend(open);
        Self::from_falling(joined)
    }
}

/// A sum whose terms change one by one, without losing what rounding cuts off (Neumaier); infinite terms are counted.
#[derive(Debug, Clone, Copy, Default)]
struct RunningSum {
    finite: f64,
    lost: f64,
    infinite: u32,
}

impl RunningSum {
    fn change(&mut self, from: f64, to: f64) {
        self.infinite += u32::from(to.is_infinite());
        self.infinite -= u32::from(from.is_infinite());
        let finite = |time: f64| if time.is_finite() { time } else { 0.0 };
        for term in [-finite(from), finite(to)] {
            let next = self.finite + term;
            let (large, small) =
                if self.finite.abs() >= term.abs() { (self.finite, term) } else { (term, self.finite) };
            self.lost += (large - next) + small;
            self.finite = next;
        }
    }

    fn value(self) -> f64 {
        if self.infinite > 0 { f64::INFINITY } else { (self.finite + self.lost).max(0.0) }
    }
}

/// How finely the mass that is cut off is searched: shares of what may be cut.
const CUTS: [f64; 13] = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97];

/// Up to this many terms the shares of the cut are searched one by one.
const SEARCHED_TERMS: usize = 8;

/// An upper bound of the time that mass `v` of the sum of these times at most exceeds, whatever their joint law: the
/// smallest of the bounds of the module's doc that a bounded search finds. Infinite where the masses that never arrive
/// reach `v`.
#[must_use]
pub fn sum_quantile(laws: &[&TailLaw], v: f64) -> f64 {
    search(laws, v, true)
}

/// The same after a short search: a bound too, seldom by more than a few percent a looser one.
#[must_use]
pub fn sum_quantile_quick(laws: &[&TailLaw], v: f64) -> f64 {
    search(laws, v, false)
}

fn search(laws: &[&TailLaw], v: f64, thorough: bool) -> f64 {
    /// So much less mass is granted, that rounding never counts an atom as cut off that is not.
    const ROUNDING: f64 = 1e-12;
    let v = v * (1.0 - ROUNDING);
    let never: f64 = laws.iter().map(|law| law.never()).sum();
    let free = v - never;
    match laws {
        [] => 0.0,
        [only] => only.quantile(v),
        _ if free < 0.0 || (free <= 0.0 && never > 0.0) => f64::INFINITY,
        [a, b] if thorough => makarov(a, b, v).min(searched(laws, v, free, true)),
        [a, b] => {
            let split = |share: f64| {
                let cut = a.never() + share * free;
                a.quantile(cut) + b.quantile(v - cut)
            };
            CUTS.into_iter().map(split).fold(searched(laws, v, free, false), f64::min)
        }
        _ => searched(laws, v, free, thorough && laws.len() <= SEARCHED_TERMS),
    }
}

/// `inf Q_1(c) + Q_2(v − c)` over the points where one of the two jumps: the sharp bound for two times.
#[must_use]
pub fn makarov(a: &TailLaw, b: &TailLaw, v: f64) -> f64 {
    let candidates =
        a.through.iter().copied().chain(b.through.iter().map(|through| v - through)).chain([0.0, v]);
    candidates
        .filter(|c| (0.0..=v).contains(c))
        .map(|c| a.quantile(c) + b.quantile(v - c))
        .fold(f64::INFINITY, f64::min)
}

fn searched(laws: &[&TailLaw], v: f64, free: f64, one_by_one: bool) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "bounded by the fan-out")]
    let n = laws.len() as f64;
    let bound = |cuts: &[f64]| {
        let beta = v - cuts.iter().sum::<f64>();
        if beta < 0.0 {
            return f64::INFINITY;
        }
        laws.iter().zip(cuts).map(|(law, &cut)| law.mean_between(cut, beta)).sum()
    };
    let mut cuts: Vec<f64> = laws.iter().map(|law| law.never()).collect();
    let least = cuts.clone();
    let mut best = bound(&cuts);
    for share in CUTS {
        let trial: Vec<f64> = least.iter().map(|cut| cut + share * free / n).collect();
        let value = bound(&trial);
        if value < best {
            (best, cuts) = (value, trial);
        }
    }
    if !one_by_one {
        return best;
    }
    // Coordinate by coordinate, at first over the whole range, then ever closer around the best.
    for reach in [1.0, 0.4, 0.15] {
        for at in 0..laws.len() {
            let most = v - (cuts.iter().sum::<f64>() - cuts[at]);
            let present = cuts[at];
            for share in CUTS {
                let goal = least[at] + share * (most - least[at]);
                let mut trial = cuts.clone();
                trial[at] = (present + (goal - present) * reach).max(least[at]);
                let value = bound(&trial);
                if value < best {
                    (best, cuts) = (value, trial);
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests;
