//! A remote-read request: from a snappy block to checked queries.
//!
//! Whoever can reach the port can send one, so every size is bounded before anything is allocated for it: the announced
//! one before decompressing, and the number of elements before decoding, since two bytes of an empty query become a
//! hundred in memory.

use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::remote_read::label_matcher::Type;
use super::remote_read::read_request::ResponseType;
use super::remote_read::{Query, ReadRequest};
use crate::series::{MatchOp, Matcher};
use crate::unit::Timestamp;

/// The largest request, in bytes, before and after decompression.
pub const MAX_REQUEST_BYTES: usize = 32 << 20;

/// The most queries of one request. Prometheus sends one.
pub const MAX_QUERIES: usize = 64;

/// The most matchers of one query.
pub const MAX_MATCHERS: usize = 64;

/// The longest name or value of a matcher, in bytes.
pub const MAX_MATCHER_BYTES: usize = 64 << 10;

/// The most values of any other list of a request: accepted response types, labels in hints.
const MAX_LISTED: usize = 1_024;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too large, or too large after decompression: nothing was decompressed.
    #[error("the request announces {bytes} bytes, allowed are {MAX_REQUEST_BYTES}")]
    TooLarge {
        /// As announced.
        bytes: usize,
    },
    /// Not a snappy block.
    #[error("the request is not a snappy block: {0}")]
    Snappy(String),
    /// Not the message.
    #[error("the request is not a prometheus.ReadRequest: {0}")]
    Message(String),
    /// Too many queries.
    #[error("the request has {count} queries, allowed are {MAX_QUERIES}")]
    TooManyQueries {
        /// How many.
        count: usize,
    },
    /// Too many matchers.
    #[error("a query has {count} matchers, allowed are {MAX_MATCHERS}")]
    TooManyMatchers {
        /// How many.
        count: usize,
    },
    /// A matcher that no series can need.
    #[error("a matcher's name or value has {bytes} bytes, allowed are {MAX_MATCHER_BYTES}")]
    LongMatcher {
        /// Its bytes.
        bytes: usize,
    },
    /// Too long a list of something else.
    #[error("the request lists more than {MAX_LISTED} response types, or labels to group by")]
    TooManyListed,
    /// A comparison that is none of `=`, `!=`, `=~` and `!~`.
    #[error(
        "the matcher of label `{label}` has the unknown type {kind}; known are 0 (=), 1 (!=), 2 (=~), 3 (!~)"
    )]
    UnknownMatcher {
        /// Of which label.
        label: String,
        /// What was sent.
        kind: i32,
    },
    /// The reader takes no answer that we can give.
    #[error(
        "none of the accepted response types {0:?} is known; known are 0 (SAMPLES), 1 (STREAMED_XOR_CHUNKS)"
    )]
    NoResponseType(Vec<i32>),
}

/// What a reader asks.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteRead {
    /// One result follows for each.
    pub queries: Vec<RemoteQuery>,
    /// How the reader prefers the answer.
    pub response: ResponseType,
}

/// One query.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteQuery {
    /// First time, inclusive.
    pub from: Timestamp,
    /// Last time, inclusive.
    pub to: Timestamp,
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// Nobody will look at samples: only which series there are.
    pub existence_only: bool,
}

/// How many bytes a body has after decompression, as it says itself. Nothing is decompressed.
///
/// # Errors
/// Where that, or the body, is more than [`MAX_REQUEST_BYTES`], or the body begins with no size.
pub fn announced(body: &[u8]) -> Result<usize, RequestError> {
    if body.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLarge { bytes: body.len() });
    }
    match snap::raw::decompress_len(body) {
        Ok(bytes) if bytes > MAX_REQUEST_BYTES => Err(RequestError::TooLarge { bytes }),
        Ok(bytes) => Ok(bytes),
        // Beyond 4 GiB the library does not read on.
        Err(snap::Error::TooBig { given, .. }) => {
            Err(RequestError::TooLarge { bytes: usize::try_from(given).unwrap_or(usize::MAX) })
        }
        Err(error) => Err(RequestError::Snappy(error.to_string())),
    }
}

/// Reads the body of a request.
///
/// # Errors
/// The first fault.
pub fn decode(body: &[u8]) -> Result<RemoteRead, RequestError> {
    announced(body)?;
    let message = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|error| RequestError::Snappy(error.to_string()))?;
    count(&message)?;
    let request = ReadRequest::decode(&*message).map_err(|error| RequestError::Message(error.to_string()))?;
    Ok(RemoteRead {
        response: response_type(&request.accepted_response_types)?,
        queries: request.queries.into_iter().map(query).collect::<Result<_, _>>()?,
    })
}

/// Counts what the message holds, without keeping any of it.
fn count(message: &[u8]) -> Result<(), RequestError> {
    const QUERIES: u32 = 1;
    const RESPONSE_TYPES: u32 = 2;
    const MATCHERS: u32 = 3;
    const HINTS: u32 = 4;
    let (mut queries, mut types) = (0, 0);
    let mut within = Vec::new();
    fields(message, |field, value| {
        match field {
            QUERIES => {
                queries += 1;
                if queries <= MAX_QUERIES {
                    within.push(value);
                }
            }
            // Packed or one by one: each has a byte at least.
            RESPONSE_TYPES => types += value.len().max(1),
            _ => {}
        }
        Ok(())
    })?;
    if queries > MAX_QUERIES {
        return Err(RequestError::TooManyQueries { count: queries });
    }
    for query in within {
        let (mut matchers, mut listed) = (0, 0);
        fields(query, |field, value| {
            match field {
                MATCHERS => matchers += 1,
                HINTS => fields(value, |_, _| {
                    listed += 1;
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        if matchers > MAX_MATCHERS {
            return Err(RequestError::TooManyMatchers { count: matchers });
        }
        types = types.max(listed);
    }
    if types > MAX_LISTED { Err(RequestError::TooManyListed) } else { Ok(()) }
}

/// Shows each field of a message: its number, and its bytes where it has a length.
fn fields<'a>(
    mut message: &'a [u8],
    mut show: impl FnMut(u32, &'a [u8]) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    let damaged = |error: prost::DecodeError| RequestError::Message(error.to_string());
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message).map_err(damaged)?;
        if wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut message).map_err(damaged)?;
            let cut = || RequestError::Message("it ends within a field".to_owned());
            let length = usize::try_from(length).map_err(|_| cut())?;
            let (value, rest) = message.split_at_checked(length).ok_or_else(cut)?;
            message = rest;
            show(field, value)?;
        } else {
            skip_field(wire_type, field, &mut message, DecodeContext::default()).map_err(damaged)?;
            show(field, &[])?;
        }
    }
    Ok(())
}

/// The first that is known. A list that is empty is that of readers from before there was a choice.
fn response_type(accepted: &[i32]) -> Result<ResponseType, RequestError> {
    if accepted.is_empty() {
        return Ok(ResponseType::Samples);
    }
    let known = accepted.iter().find_map(|&one| ResponseType::try_from(one).ok());
    known.ok_or_else(|| RequestError::NoResponseType(accepted.iter().copied().take(8).collect()))
}

fn query(query: Query) -> Result<RemoteQuery, RequestError> {
    let matchers = query.matchers.into_iter().map(|matcher| {
        let bytes = matcher.name.len().max(matcher.value.len());
        if bytes > MAX_MATCHER_BYTES {
            return Err(RequestError::LongMatcher { bytes });
        }
        let op = match Type::try_from(matcher.r#type) {
            Ok(Type::Eq) => MatchOp::Equal,
            Ok(Type::Neq) => MatchOp::NotEqual,
            Ok(Type::Re) => MatchOp::Regex,
            Ok(Type::Nre) => MatchOp::NotRegex,
            Err(_) => {
                let (label, kind) = (matcher.name, matcher.r#type);
                return Err(RequestError::UnknownMatcher { label, kind });
            }
        };
        Ok(Matcher { name: matcher.name, op, value: matcher.value })
    });
    Ok(RemoteQuery {
        matchers: matchers.collect::<Result<_, _>>()?,
        from: Timestamp::from_millis(query.start_timestamp_ms),
        to: Timestamp::from_millis(query.end_timestamp_ms),
        existence_only: query.hints.is_some_and(|hints| hints.func == "series"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_read::{LabelMatcher, ReadHints};

    fn compressed(message: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(message).unwrap()
    }

    fn refused(request: &ReadRequest) -> RequestError {
        decode(&compressed(&request.encode_to_vec())).unwrap_err()
    }

    fn asks(matchers: Vec<LabelMatcher>) -> Query {
        Query { start_timestamp_ms: -5, end_timestamp_ms: 7, matchers, hints: None }
    }

    fn matcher(kind: i32) -> LabelMatcher {
        LabelMatcher { r#type: kind, name: "a".into(), value: "b".into() }
    }

    #[test]
    fn a_request_is_read_with_its_matchers_in_order() {
        let hints = Some(ReadHints { func: "series".into(), ..ReadHints::default() });
        let queries = vec![Query { hints, ..asks((0..4).map(matcher).collect()) }];
        let request = ReadRequest { queries, accepted_response_types: vec![7, 1, 0] };
        let read = decode(&compressed(&request.encode_to_vec())).unwrap();
        assert_eq!(read.response, ResponseType::StreamedXorChunks);
        let [query] = &read.queries[..] else { panic!("{read:?}") };
        assert_eq!((query.from.millis(), query.to.millis(), query.existence_only), (-5, 7, true));
        let texts: Vec<String> = query.matchers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [r#"a="b""#, r#"a!="b""#, r#"a=~"b""#, r#"a!~"b""#]);
        let empty = decode(&compressed(b"")).unwrap();
        assert_eq!((empty.response, empty.queries.len()), (ResponseType::Samples, 0));
    }

    #[test]
    fn what_is_too_much_or_unknown_is_named() {
        let with = |queries| ReadRequest { queries, accepted_response_types: vec![] };
        assert_eq!(
            refused(&with(vec![asks(vec![]); 10_000])),
            RequestError::TooManyQueries { count: 10_000 }
        );
        assert_eq!(
            refused(&with(vec![asks(vec![matcher(0); 65])])),
            RequestError::TooManyMatchers { count: 65 }
        );
        assert_eq!(
            refused(&with(vec![asks(vec![matcher(4)])])),
            RequestError::UnknownMatcher { label: "a".into(), kind: 4 }
        );
        let types = ReadRequest { queries: vec![], accepted_response_types: vec![2, 9] };
        assert_eq!(refused(&types), RequestError::NoResponseType(vec![2, 9]));
        let long = LabelMatcher { value: "v".repeat(MAX_MATCHER_BYTES + 1), ..matcher(0) };
        assert_eq!(
            refused(&with(vec![asks(vec![long])])),
            RequestError::LongMatcher { bytes: MAX_MATCHER_BYTES + 1 }
        );
    }

    #[test]
    fn what_would_grow_in_memory_is_counted_before_it_is_decoded() {
        let types = |count| ReadRequest { queries: vec![], accepted_response_types: vec![0; count] };
        assert_eq!(refused(&types(MAX_LISTED + 1)), RequestError::TooManyListed);
        assert!(decode(&compressed(&types(MAX_LISTED).encode_to_vec())).is_ok());
        // One by one, as an encoder may also write them.
        assert_eq!(decode(&compressed(&[0x10, 0].repeat(MAX_LISTED + 1))), Err(RequestError::TooManyListed));
        let hints = ReadHints { grouping: vec![String::new(); MAX_LISTED + 1], ..ReadHints::default() };
        let queries = vec![Query { hints: Some(hints), ..asks(vec![]) }];
        let request = ReadRequest { queries, accepted_response_types: vec![] };
        assert_eq!(refused(&request), RequestError::TooManyListed);
        let millions = compressed(&[0x0a, 0].repeat(8 << 20));
        assert_eq!(decode(&millions), Err(RequestError::TooManyQueries { count: 8 << 20 }));
    }

    #[test]
    fn a_request_of_many_long_matchers_is_read() {
        let long =
            |name: usize| LabelMatcher { name: name.to_string(), value: "v".repeat(7 << 10), r#type: 0 };
        let queries = vec![asks((0..MAX_MATCHERS).map(long).collect()); MAX_QUERIES];
        let message = ReadRequest { queries, accepted_response_types: vec![] }.encode_to_vec();
        assert!((MAX_REQUEST_BYTES / 2..MAX_REQUEST_BYTES).contains(&message.len()), "{}", message.len());
        let read = decode(&compressed(&message)).unwrap();
        assert_eq!((read.queries.len(), read.queries[63].matchers.len()), (MAX_QUERIES, MAX_MATCHERS));
    }

    #[test]
    fn an_announced_size_is_believed_only_within_bounds() {
        // 4 GiB less one byte, and more than the format allows.
        for announced in [&[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
            let error = decode(announced).unwrap_err();
            assert!(matches!(error, RequestError::TooLarge { .. } | RequestError::Snappy(_)), "{error}");
        }
        assert!(matches!(
            decode(&compressed(&vec![0; MAX_REQUEST_BYTES + 1])),
            Err(RequestError::TooLarge { .. })
        ));
        assert!(matches!(decode(&vec![1; MAX_REQUEST_BYTES + 1]), Err(RequestError::TooLarge { .. })));
    }

    #[test]
    fn a_cut_request_is_refused() {
        let whole = compressed(
            &ReadRequest { queries: vec![asks(vec![matcher(2); 9])], accepted_response_types: vec![] }
                .encode_to_vec(),
        );
        assert!(decode(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "{end}");
        }
        assert!(matches!(decode(b"query=up"), Err(RequestError::Snappy(_) | RequestError::TooLarge { .. })));
        assert!(matches!(decode(&compressed(b"\xff\xff\xff")), Err(RequestError::Message(_))));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = decode(&bytes);
            let _ = decode(&compressed(&bytes));
        }
    }
}
