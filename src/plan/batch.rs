//! Which selectors are asked for together.

use std::collections::{BTreeMap, BTreeSet};

use super::selector::{Batch, LE, Selector};
use crate::series::{MatchOp, NAME};

/// The most members of one batch: keeps texts and answers of a size that every upstream takes.
pub const MAX_MEMBERS: usize = 64;

/// The value of the batch's label that a selector's answers carry; empty in a batch of one.
pub type MemberKey = String;

/// Groups selectors that are equal but for the value of one `=` matcher. Each selector chooses the label by which
/// most others could join it (the first by name where several do).
///
/// Every selector is in exactly one batch. Order: as the batches sort.
#[must_use]
pub fn batches(selectors: &BTreeSet<Selector>) -> BTreeMap<Selector, (Batch, MemberKey)> {
    let mut mates: BTreeMap<(Selector, &str), usize> = BTreeMap::new();
    for selector in selectors {
        for (shared, label, _) in splits(selector) {
            *mates.entry((shared, label)).or_default() += 1;
        }
    }
    let mut groups: BTreeMap<(Selector, String), Vec<(&Selector, String)>> = BTreeMap::new();
    let mut placed = BTreeMap::new();
    for selector in selectors {
        let best = splits(selector)
            .map(|(shared, label, value)| (mates[&(shared.clone(), label)], shared, label, value))
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        match best {
            Some((count, shared, label, value)) if count > 1 => {
                groups.entry((shared, label.to_owned())).or_default().push((selector, value.to_owned()));
            }
            _ => {
                placed.insert(selector.clone(), alone(selector));
            }
        }
    }
    for ((shared, label), members) in groups {
        for chunk in members.chunks(MAX_MEMBERS) {
            if let [(selector, _)] = chunk {
                placed.insert((*selector).clone(), alone(selector));
                continue;
            }
            let mut values: Vec<String> = chunk.iter().map(|(_, value)| value.clone()).collect();
            values.sort_unstable();
            let batch = Batch { shared: shared.clone(), members: Some((label.clone(), values)) };
            for (selector, value) in chunk {
                placed.insert((*selector).clone(), (batch.clone(), value.clone()));
            }
        }
    }
    placed
}

fn alone(selector: &Selector) -> (Batch, MemberKey) {
    (Batch { shared: selector.clone(), members: None }, String::new())
}

/// Every way to take one `=` matcher out: the rest, the label, its value. A label that has another matcher beside
/// it stays, and so do empty values (which match series without the label).
fn splits(selector: &Selector) -> impl Iterator<Item = (Selector, &str, &str)> {
    selector.matchers.iter().enumerate().filter_map(|(at, matcher)| {
        let name = matcher.name.as_str();
        let alone = selector.matchers.iter().filter(|other| other.name == name).count() == 1;
        if matcher.op != MatchOp::Equal || matcher.value.is_empty() || name == LE || name == NAME || !alone {
            return None;
        }
        let mut rest = selector.clone();
        rest.matchers.remove(at);
        Some((rest, name, matcher.value.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::component::HistogramType;
    use crate::series::Matcher;

    fn selector(pairs: &[(&str, &str)]) -> Selector {
        let matchers: Vec<Matcher> = pairs
            .iter()
            .map(|(name, value)| Matcher {
                name: (*name).to_owned(),
                op: if value.starts_with('!') { MatchOp::NotRegex } else { MatchOp::Equal },
                value: value.trim_start_matches('!').to_owned(),
            })
            .collect();
        Selector::new("m", HistogramType::Classic, &matchers)
    }

    #[test]
    fn selectors_that_differ_in_one_value_share_a_batch() {
        let all: BTreeSet<Selector> = [
            selector(&[("job", "shop"), ("service", "a")]),
            selector(&[("job", "shop"), ("service", "b")]),
            selector(&[("job", "shop"), ("service", "a"), ("code", "!5..")]),
            selector(&[("job", "shop"), ("service", "b"), ("code", "!5..")]),
            selector(&[("other", "x")]),
        ]
        .into();
        let placed = batches(&all);
        assert_eq!(placed.len(), all.len());
        let distinct: BTreeSet<&Batch> = placed.values().map(|(batch, _)| batch).collect();
        assert_eq!(distinct.len(), 3);
        let (batch, key) = &placed[&selector(&[("job", "shop"), ("service", "b")])];
        assert_eq!(batch.members, Some(("service".to_owned(), vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(key, "b");
    }

    #[test]
    fn the_label_by_which_most_can_join_wins() {
        let all: BTreeSet<Selector> = [("eu", "a"), ("eu", "b"), ("eu", "c"), ("us", "a")]
            .map(|(region, service)| selector(&[("region", region), ("service", service)]))
            .into();
        let placed = batches(&all);
        let (batch, _) = &placed[&selector(&[("region", "eu"), ("service", "a")])];
        assert_eq!(batch.members.as_ref().unwrap().1, ["a", "b", "c"]);
        let (batch, key) = &placed[&selector(&[("region", "us"), ("service", "a")])];
        assert_eq!((&batch.members, key.as_str()), (&None, ""));
    }

    #[test]
    fn a_batch_has_at_most_its_limit_of_members_and_nobody_is_lost() {
        let all: BTreeSet<Selector> =
            (0..MAX_MEMBERS * 2 + 1).map(|i| selector(&[("service", &format!("s{i}"))])).collect();
        let placed = batches(&all);
        assert_eq!(placed.len(), all.len());
        for (batch, _) in placed.values() {
            assert!(batch.members.as_ref().is_none_or(|(_, values)| values.len() <= MAX_MEMBERS));
        }
    }
}
