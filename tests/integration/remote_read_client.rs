//! A remote reader: what a Prometheus sends to `/api/v1/read`, and how it reads the answer.

use emac::series::{MatchOp, Matcher, NAME};
use emac::wire::remote_read::{
    ChunkedReadResponse, LabelMatcher, Query, ReadHints, ReadRequest, ReadResponse,
};
use emac::wire::xor_chunk;
use prost::Message as _;

use crate::http_client::{RawReply, send};

pub(crate) const SAMPLES: i32 = 0;
pub(crate) const CHUNKS: i32 = 1;

/// A series as read: its labels as `name{a="b"}`, and times in milliseconds with the bits of values.
pub(crate) type ReadSeries = (String, Vec<(i64, u64)>);

pub(crate) fn matcher(text: &str) -> Matcher {
    let at = text.find(['=', '!']).unwrap();
    let (name, rest) = text.split_at(at);
    let (op, value) =
        [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)]
            .into_iter()
            .find_map(|(spelling, op)| Some((op, rest.strip_prefix(spelling)?)))
            .unwrap();
    Matcher { name: name.to_owned(), op, value: value.to_owned() }
}

/// A query of a series by name and further matchers, such as `window=5m`.
pub(crate) fn query(name: &str, others: &[&str], from: i64, to: i64) -> Query {
    let name = (!name.is_empty()).then(|| matcher(&format!("{NAME}={name}")));
    let matchers = name.into_iter().chain(others.iter().map(|text| matcher(text))).map(|m| LabelMatcher {
        r#type: m.op as i32,
        name: m.name,
        value: m.value,
    });
    Query { start_timestamp_ms: from, end_timestamp_ms: to, matchers: matchers.collect(), hints: None }
}

/// The same, for existence alone.
pub(crate) fn existence(query: Query) -> Query {
    Query { hints: Some(ReadHints { func: "series".to_owned(), ..ReadHints::default() }), ..query }
}

/// The body of a request.
pub(crate) fn body(queries: Vec<Query>, accepted: &[i32]) -> Vec<u8> {
    let request = ReadRequest { queries, accepted_response_types: accepted.to_vec() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

/// Posts a body as Prometheus does.
pub(crate) fn post(base: &str, body: &[u8]) -> RawReply {
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Accept-Encoding", "snappy"),
        ("Content-Type", "application/x-protobuf"),
        ("X-Prometheus-Remote-Read-Version", "0.1.0"),
        ("User-Agent", "Prometheus/2.42.0"),
    ];
    send(base, "POST", "/api/v1/read", &headers, body)
}

/// Asks one query and reads the answer, in either way.
pub(crate) fn read(base: &str, asked: Query, accepted: &[i32]) -> Vec<ReadSeries> {
    let reply = post(base, &body(vec![asked], accepted));
    assert_eq!(reply.status, 200, "{}", reply.text());
    if accepted.first() == Some(&CHUNKS) {
        assert_eq!(
            reply.header("content-type"),
            Some("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse")
        );
    } else {
        assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(reply.header("content-encoding"), Some("snappy"));
    }
    decoded(&reply.body, accepted.first().copied().unwrap_or(SAMPLES))
}

/// The series of an answer to one query.
pub(crate) fn decoded(body: &[u8], response: i32) -> Vec<ReadSeries> {
    if response == CHUNKS { chunked(body) } else { sampled(body) }
}

fn sampled(body: &[u8]) -> Vec<ReadSeries> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let answer = ReadResponse::decode(&*plain).unwrap();
    assert_eq!(answer.results.len(), 1);
    let series = answer.results.into_iter().flat_map(|result| result.timeseries);
    series
        .map(|series| {
            let labels = text(series.labels.iter().map(|label| (&*label.name, &*label.value)));
            (labels, series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect())
        })
        .collect()
}

/// The messages of a stream, each checked against its checksum, bit by bit rather than by a table.
pub(crate) fn frames(mut body: &[u8]) -> Vec<ChunkedReadResponse> {
    let mut all = Vec::new();
    while !body.is_empty() {
        let length = prost::encoding::decode_varint(&mut body).unwrap();
        let (crc, rest) = body.split_first_chunk::<4>().unwrap();
        let (message, rest) = rest.split_at(usize::try_from(length).unwrap());
        let computed = message.iter().fold(u32::MAX, |crc, &byte| {
            (0..8)
                .fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
        });
        assert_eq!(u32::from_be_bytes(*crc), !computed);
        all.push(ChunkedReadResponse::decode(message).unwrap());
        body = rest;
    }
    all
}

fn chunked(body: &[u8]) -> Vec<ReadSeries> {
    let series = frames(body).into_iter().flat_map(|frame| {
        assert_eq!((frame.query_index, frame.chunked_series.len()), (0, 1));
        frame.chunked_series
    });
    series
        .map(|series| {
            let labels = text(series.labels.iter().map(|label| (&*label.name, &*label.value)));
            let mut samples = Vec::new();
            for chunk in series.chunks {
                let decoded = xor_chunk::decode(&chunk.data).unwrap();
                let ends = (decoded[0].time.millis(), decoded[decoded.len() - 1].time.millis());
                assert_eq!((chunk.min_time_ms, chunk.max_time_ms), ends);
                samples.extend(decoded.iter().map(|s| (s.time.millis(), s.value.to_bits())));
            }
            assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0), "{labels}: times must rise");
            (labels, samples)
        })
        .collect()
}

fn text<'a>(labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> String {
    let names: Vec<&str> = labels.clone().map(|(name, _)| name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "labels must be sorted and unique: {names:?}");
    labels.collect::<emac::series::Labels>().to_string()
}
