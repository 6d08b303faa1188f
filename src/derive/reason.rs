//! What is wrong with evidence, in plain sentences.

use crate::journey::evidence::Reason;
use crate::unit::Window;

/// A sentence for people on call: what was found and how the numbers treat it.
#[must_use]
pub const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Stale => "The upstream cannot be asked; these are the figures of the interval before.",
        Reason::Upstream => {
            "The upstream cannot be asked, or its answer cannot be used; there are no current figures."
        }
        Reason::NoTraffic => "No calls were counted in the window.",
        Reason::Absent => {
            "The series are gone, or never existed; any availability and any latency is possible."
        }
        Reason::Partial => {
            "Only a part of the evidence arrived, or buckets differ between instances; no latency bound can be given."
        }
        Reason::OverflowBucket => {
            "The quantile lies beyond the last finite bucket; its upper bound is infinite until buckets are added."
        }
        Reason::Reset => "A counter was reset and too few samples followed; the window cannot be counted.",
        Reason::Model => "The spec on disk is invalid; the last good model answers.",
        Reason::Clock => "The newest evidence is too old, or from the future.",
        Reason::Retention => "The upstream retains less than the objective's window.",
    }
}

/// The sentence for evidence of a longer window than the one asked for.
#[must_use]
pub fn from_longer_window(asked: Window, used: Window) -> String {
    format!("No calls were counted in {asked}; the figures of {used} stand in.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_sentence() {
        let mut sentences: Vec<_> = Reason::ALL.map(sentence).to_vec();
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), Reason::ALL.len());
        assert!(sentences.iter().all(|text| text.ends_with('.')));
    }
}
