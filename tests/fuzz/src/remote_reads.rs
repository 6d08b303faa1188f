//! Remote reads: the message and the block around it; and the chunks of samples that answer them.

use emac::promql::matcher::MatcherSet;
use emac::wire::remote_read::{LabelMatcher, Query, ReadRequest};
use emac::wire::remote_read_request::{announced, decode};
use emac::wire::xor_chunk;
use prost::Message as _;

/// Messages, not compressed.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let matcher = |r#type, name: &str, value: &str| LabelMatcher {
        r#type,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let query = |matchers: Vec<LabelMatcher>, from, to| Query {
        start_timestamp_ms: from,
        end_timestamp_ms: to,
        matchers,
        hints: None,
    };
    let one = query(
        vec![matcher(0, "__name__", "emac_journey_gate"), matcher(2, "journey", "check.*")],
        0,
        1_505_000,
    );
    let other = query(vec![matcher(3, "le", "(a|b){9}"), matcher(1, "window", "5m")], i64::MIN, i64::MAX);
    let message = |queries, accepted: &[i32]| {
        ReadRequest { queries, accepted_response_types: accepted.to_vec() }.encode_to_vec()
    };
    vec![message(vec![one.clone()], &[0]), message(vec![one, other], &[1, 0]), vec![]]
}

/// Reads bytes as a message in a good block, as a block, and as a chunk; whether they are a message.
pub(crate) fn read(bytes: &[u8]) -> bool {
    let block = snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let mut good = false;
    for block in [block.as_slice(), bytes] {
        let _ = announced(block);
        if let Ok(read) = decode(block) {
            good = true;
            for query in &read.queries {
                let _ = MatcherSet::new(query.matchers.clone());
            }
        }
    }
    let _ = xor_chunk::decode(bytes);
    good
}
