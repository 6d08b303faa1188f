//! Joint laws of the calls of a journey: which of them makes a number worst?
//!
//! Every call ends in one of a few ways with known chances. What may be chosen is how the calls of one block go together
//! (blocks are independent of each other). A number that is linear in the joint law, such as P(success) or the margin of a
//! quantile, is made worst by a linear programme for each block ([`super::transport`]), one block after the other.

use emac::journey::operator::{AttemptsFate, BranchProbability, Jitter, Operator};

use crate::simulation::{Ending, kth, until};
use crate::transport;

/// How a call can end, with the chances.
pub(crate) type Ends = Vec<(Ending, f64)>;

/// One way through a journey's conditions and repetitions; each call has a number of its own.
#[derive(Debug, Clone)]
enum Play {
    Call(usize),
    Wait(f64),
    Series(Vec<Play>),
    Kth(usize, Vec<Play>),
    Until(f64, Box<Play>),
    /// The second starts where the first has failed, or at a fixed time.
    Rescue(Box<Play>, Option<f64>, Box<Play>),
    Optional(f64, Box<Play>),
}

impl Play {
    fn end(&self, calls: &[Ending]) -> Ending {
        match self {
            Self::Call(number) => calls[*number],
            Self::Wait(t) => Ending::Success(*t),
            Self::Series(all) => {
                let mut now = 0.0;
                for one in all {
                    match one.end(calls) {
                        Ending::Success(t) => now += t,
                        failure @ Ending::Failure(_) => return failure.later(now),
                    }
                }
                Ending::Success(now)
            }
            Self::Kth(k, all) => kth(all.iter().map(|one| one.end(calls)).collect(), *k),
            Self::Until(after, body) => until(*after, body.end(calls)),
            Self::Rescue(first, start, second) => match first.end(calls) {
                Ending::Failure(t) => second.end(calls).later(start.unwrap_or(t)),
                success => success,
            },
            Self::Optional(timeout, body) => Ending::Success(body.end(calls).time().min(*timeout)),
        }
    }
}

/// Numbers the calls of a journey.
struct Numbering {
    /// For each call its component, and which of the independent attempts of one Retry it is.
    calls: Vec<(usize, Option<usize>)>,
    retries: usize,
}

type Ways = Vec<(f64, Play)>;

impl Numbering {
    fn each(&mut self, all: &[Operator]) -> Vec<Ways> {
        all.iter().map(|one| self.ways(one)).collect()
    }

    /// All ways through an operator, with their chances.
    fn ways(&mut self, operator: &Operator) -> Ways {
        match operator {
            Operator::Component(id) => {
                self.calls.push((id.0, None));
                vec![(1.0, Play::Call(self.calls.len() - 1))]
            }
            Operator::Series(all) => joined(&self.each(all), Play::Series),
            Operator::Parallel(all) => joined(&self.each(all), |all| Play::Kth(all.len(), all)),
            Operator::Race(all) => joined(&self.each(all), |all| Play::Kth(1, all)),
            Operator::KofN { k, branches } => joined(&self.each(branches), |all| Play::Kth(*k, all)),
            Operator::Cond(branches) => branches
                .iter()
                .flat_map(|branch| {
                    let BranchProbability::Fixed(p) = branch.probability else {
                        panic!("only fixed probabilities")
                    };
                    let ways = self.ways(&branch.body);
                    ways.into_iter().map(move |(weight, play)| (p.get() * weight, play))
                })
                .collect(),
            Operator::Timeout { after, body, fallback } => {
                let body = within(self.ways(body), Some(after.get()));
                match fallback {
                    None => body,
                    Some(fallback) => {
                        let fallback = self.ways(fallback);
                        rescued(&body, Some(after.get()), &fallback)
                    }
                }
            }
            Operator::Fallback { body, fallback } => {
                let body = self.ways(body);
                let fallback = self.ways(fallback);
                rescued(&body, None, &fallback)
            }
            Operator::Retry { attempts, per_try_timeout, backoff, fate, body } => {
                let first = self.calls.len();
                let all: Vec<Ways> = (0..*attempts)
                    .map(|_| within(self.ways(body), per_try_timeout.map(|after| after.get())))
                    .collect();
                if *fate == AttemptsFate::Independent {
                    assert!(
                        matches!(**body, Operator::Component(_)),
                        "independent attempts of one call only"
                    );
                    let own = self.retries;
                    self.calls[first..].iter_mut().for_each(|call| call.1 = Some(own));
                    self.retries += 1;
                }
                let mut attempt = *attempts;
                let mut all = all.into_iter().rev();
                let mut rest = all.next().unwrap();
                for ways in all {
                    attempt -= 1;
                    if let Some(backoff) = backoff {
                        assert!(backoff.jitter == Jitter::None, "no draws beside the calls");
                        let wait = vec![(1.0, Play::Wait(backoff.after_attempt(attempt).get()))];
                        rest = joined(&[wait, rest], Play::Series);
                    }
                    rest = rescued(&ways, None, &rest);
                }
                rest
            }
            Operator::Hedge { delay, body, alternate } => {
                let body = self.ways(body);
                let wait = vec![(1.0, Play::Wait(delay.get()))];
                let alternate = joined(&[wait, self.ways(alternate)], Play::Series);
                joined(&[body, alternate], |all| Play::Kth(1, all))
            }
            Operator::Optional { timeout, body } => self
                .ways(body)
                .into_iter()
                .map(|(weight, play)| (weight, Play::Optional(timeout.get(), Box::new(play))))
                .collect(),
            Operator::Repeat { counts, body } => {
                let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0);
                let runs: Vec<Ways> = (0..most).map(|_| self.ways(body)).collect();
                counts
                    .iter()
                    .flat_map(|&(count, p)| {
                        let ways = joined(&runs[..count as usize], Play::Series);
                        ways.into_iter().map(move |(weight, play)| (p.get() * weight, play))
                    })
                    .collect()
            }
        }
    }
}

fn joined(all: &[Ways], join: impl Fn(Vec<Play>) -> Play) -> Ways {
    let mut tuples: Vec<(f64, Vec<Play>)> = vec![(1.0, Vec::new())];
    for ways in all {
        tuples = tuples
            .iter()
            .flat_map(|(weight, plays)| {
                ways.iter().map(move |(p, play)| {
                    (weight * p, [plays.as_slice(), std::slice::from_ref(play)].concat())
                })
            })
            .collect();
    }
    tuples.into_iter().map(|(weight, plays)| (weight, join(plays))).collect()
}

fn within(ways: Ways, after: Option<f64>) -> Ways {
    let Some(after) = after else { return ways };
    ways.into_iter().map(|(weight, play)| (weight, Play::Until(after, Box::new(play)))).collect()
}

fn rescued(first: &Ways, start: Option<f64>, second: &Ways) -> Ways {
    joined(&[first.clone(), second.clone()], |both| {
        let [first, second] = <[Play; 2]>::try_from(both).unwrap();
        Play::Rescue(Box::new(first), start, Box::new(second))
    })
}

/// Calls whose joint law is given: one call, or the independent attempts of one Retry.
struct Source {
    calls: Vec<usize>,
    /// The endings of its calls, with their chances.
    points: Vec<(Vec<Ending>, f64)>,
}

/// Sources that may go together in any way.
struct Block {
    sources: Vec<usize>,
    /// How many points its sources have together.
    size: usize,
}

/// What all combinations of its calls' endings do to a journey.
pub(crate) struct Journeys {
    sources: Vec<Source>,
    blocks: Vec<Block>,
    weights: Vec<f64>,
    /// By combination (the last block runs fastest), then by way.
    endings: Vec<Ending>,
}

/// More combinations than this are refused.
pub(crate) const MOST: usize = 8_000;

impl Journeys {
    /// `ends` has one entry for each component. Components of one block, by its number, may go together in any way, also
    /// with themselves; where `everywhere`, all calls may. `None` where there are too many combinations.
    pub(crate) fn new(
        operator: &Operator,
        ends: &[Ends],
        block_of: &[usize],
        everywhere: bool,
    ) -> Option<Self> {
        let mut numbering = Numbering { calls: Vec::new(), retries: 0 };
        let ways = numbering.ways(operator);
        let mut sources: Vec<Source> = Vec::new();
        let mut of_retry = vec![None; numbering.retries];
        let mut blocks: Vec<(usize, Vec<usize>)> = Vec::new();
        for (call, &(component, retry)) in numbering.calls.iter().enumerate() {
            let known = retry.filter(|_| !everywhere).and_then(|retry: usize| of_retry[retry]);
            if let Some(source) = known {
                let source: &mut Source = &mut sources[source];
                source.calls.push(call);
                source.points = source
                    .points
                    .iter()
                    .flat_map(|(all, p)| {
                        ends[component]
                            .iter()
                            .map(move |&(ending, more)| ([all.as_slice(), &[ending]].concat(), p * more))
                    })
                    .collect();
                continue;
            }
            if let Some(retry) = retry {
                of_retry[retry] = Some(sources.len());
            }
            let points = ends[component].iter().map(|&(ending, p)| (vec![ending], p)).collect();
            let block = if everywhere { 0 } else { block_of[component] };
            match blocks.iter_mut().find(|(number, _)| *number == block) {
                Some((_, members)) => members.push(sources.len()),
                None => blocks.push((block, vec![sources.len()])),
            }
            sources.push(Source { calls: vec![call], points });
        }
        let mut combinations = ways.len();
        for source in &sources {
            combinations = combinations.checked_mul(source.points.len()).filter(|&n| n <= MOST)?;
        }
        let blocks: Vec<Block> = blocks
            .into_iter()
            .map(|(_, members)| {
                let size = members.iter().map(|&source| sources[source].points.len()).product();
                Block { sources: members, size }
            })
            .collect();
        let (weights, plays): (Vec<f64>, Vec<Play>) = ways.into_iter().unzip();
        let mut calls = vec![Ending::Failure(0.0); numbering.calls.len()];
        let mut endings = Vec::with_capacity(combinations);
        for combination in 0..combinations / weights.len() {
            let mut rest = combination;
            for block in blocks.iter().rev() {
                for &source in block.sources.iter().rev() {
                    let source = &sources[source];
                    let (ends, _) = &source.points[rest % source.points.len()];
                    rest /= source.points.len();
                    source.calls.iter().zip(ends).for_each(|(&call, &ending)| calls[call] = ending);
                }
            }
            endings.extend(plays.iter().map(|play| play.end(&calls)));
        }
        Some(Self { sources, blocks, weights, endings })
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// All times at which a success may come, rising.
    pub(crate) fn times(&self) -> Vec<f64> {
        let mut times: Vec<f64> = self
            .endings
            .iter()
            .filter_map(|ending| if let Ending::Success(t) = ending { Some(*t) } else { None })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        times.dedup_by(|a, b| *a - *b <= 1e-9 * *b);
        times
    }

    /// The greatest expectation of a function of the ending over all joint laws (over those that were found where there
    /// are several blocks, and at least over each block's comonotone and independent law).
    pub(crate) fn greatest(&self, of: impl Fn(Ending) -> f64) -> f64 {
        let values: Vec<f64> = self
            .endings
            .chunks(self.weights.len())
            .map(|ways| ways.iter().zip(&self.weights).map(|(&ending, p)| p * of(ending)).sum())
            .collect();
        if self.blocks.len() == 1 {
            let law = self.best(0, &values);
            return values.iter().zip(&law).map(|(value, mass)| value * mass).sum();
        }
        [false, true].into_iter().map(|together| self.alternate(&values, together)).fold(f64::MIN, f64::max)
    }

    fn alternate(&self, values: &[f64], together: bool) -> f64 {
        const ROUNDS: usize = 4;
        let mut laws: Vec<Vec<f64>> = self
            .blocks
            .iter()
            .map(|block| if together { self.comonotone(block) } else { self.independent(block) })
            .collect();
        let mut greatest = f64::MIN;
        for _ in 0..ROUNDS {
            let before = greatest;
            for block in 0..self.blocks.len() {
                let costs = self.expected(values, &laws, block);
                if self.blocks[block].sources.len() > 1 {
                    laws[block] = self.best(block, &costs);
                }
                let now: f64 = costs.iter().zip(&laws[block]).map(|(cost, mass)| cost * mass).sum();
                greatest = greatest.max(now);
            }
            if greatest <= before + 1e-12 {
                break;
            }
        }
        greatest
    }

    /// The expectation by the combination of one block, the others following their laws.
    fn expected(&self, values: &[f64], laws: &[Vec<f64>], of: usize) -> Vec<f64> {
        let mut costs = vec![0.0; self.blocks[of].size];
        for (combination, value) in values.iter().enumerate() {
            let (mut rest, mut own, mut mass) = (combination, 0, 1.0);
            for (number, block) in self.blocks.iter().enumerate().rev() {
                let at = rest % block.size;
                rest /= block.size;
                if number == of {
                    own = at;
                } else {
                    mass *= laws[number][at];
                }
            }
            costs[own] += mass * value;
        }
        costs
    }

    fn margins(&self, block: &Block) -> Vec<Vec<f64>> {
        let of = |&source: &usize| self.sources[source].points.iter().map(|&(_, p)| p).collect();
        block.sources.iter().map(of).collect()
    }

    fn best(&self, block: usize, costs: &[f64]) -> Vec<f64> {
        transport::greatest(&self.margins(&self.blocks[block]), costs)
    }

    fn comonotone(&self, block: &Block) -> Vec<f64> {
        let mut law = vec![0.0; block.size];
        for (at, mass) in transport::corner(&self.margins(block)) {
            law[at] += mass;
        }
        law
    }

    fn independent(&self, block: &Block) -> Vec<f64> {
        let margins = self.margins(block);
        (0..block.size)
            .map(|at| {
                let mut rest = at;
                let each = margins.iter().rev().map(|margin| {
                    let p = margin[rest % margin.len()];
                    rest /= margin.len();
                    p
                });
                each.product()
            })
            .collect()
    }
}
