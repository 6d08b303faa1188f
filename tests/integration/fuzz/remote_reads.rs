//! Remote reads: the message, and the block around it.

use emac::promql::matcher::MatcherSet;
use emac::unit::Timestamp;
use emac::wire::remote_read::ReadRequest;
use emac::wire::remote_read_request::decode;
use prost::Message as _;

use super::{Length, run};
use crate::faulty_upstream::{FaultyUpstream, SPEC};
use crate::http_client::send;
use crate::remote_read_client::{CHUNKS, SAMPLES, existence, query};
use crate::served::{Options, Served, journeys};

/// One in so many is sent to a server, too.
const SENT: u64 = 16;

const WORDS: [&str; 8] = [
    "\u{0}",
    "\u{7f}\u{7f}\u{7f}\u{7f}",
    "emac_journey_gate",
    "__name__",
    "(a|b){9}",
    "\n\u{0}",
    "\u{1}",
    "x",
];

/// Plain messages; they are compressed after they were mutated.
fn corpus() -> Vec<Vec<u8>> {
    let message = |queries, accepted: &[i32]| {
        ReadRequest { queries, accepted_response_types: accepted.to_vec() }.encode_to_vec()
    };
    let name = "emac_journey_availability_pessimistic";
    vec![
        message(vec![query(name, &["journey=checkout", "window=~5m|1h"], 0, 1_505_000)], &[SAMPLES]),
        message(
            vec![query("", &["__name__=~emac.*", "journey!=a", "le!~x"], -5, i64::MAX)],
            &[CHUNKS, SAMPLES],
        ),
        message(vec![existence(query("", &["a="], i64::MIN, i64::MAX)), query("up", &[], 0, 1)], &[]),
        message(vec![query(name, &[], 1_500_000, 1_505_000); 5], &[7, CHUNKS]),
    ]
}

fn try_all(what: &str, length: Length) {
    let shop = FaultyUpstream::start();
    let upstream = || -> std::sync::Arc<dyn emac::upstream::Upstream> {
        std::sync::Arc::new(
            emac::upstream::http::HttpUpstream::new(emac::upstream::http::HttpSettings::new(&shop.url))
                .unwrap(),
        )
    };
    shop.scrape_until(100, 1.0);
    let now = Timestamp::from_millis(1_505_000);
    let served = Served::start(upstream, journeys(SPEC), now, Options::default());
    served.evaluate();
    let mut number = 0;
    run(what, length, &corpus(), &WORDS, |input| {
        number += 1;
        // A mutated message in a good block, or a good message in a mutated block.
        let block = match number % 4 {
            0 => input.to_vec(),
            _ => snap::raw::Encoder::new().compress_vec(input).unwrap(),
        };
        let read = decode(&block);
        if let Ok(read) = &read {
            for query in &read.queries {
                let _ = MatcherSet::new(query.matchers.clone());
            }
        }
        if number % SENT == 0 {
            let reply = send(&served.url, "POST", "/api/v1/read", &[("Content-Encoding", "snappy")], &block);
            assert!([200, 400, 413, 422, 503].contains(&reply.status), "{}: {}", reply.status, reply.text());
            assert!(reply.status != 200 || read.is_ok());
        }
        read.is_ok()
    });
}

#[test]
fn a_mutated_remote_read_is_answered_or_refused() {
    try_all("remote reads", Length::Short);
}

#[test]
#[ignore = "long: a minute, or EMAC_FUZZ_SECONDS"]
fn many_mutated_remote_reads_are_answered_or_refused() {
    try_all("remote reads", Length::Long);
}
