//! Answers to remote read: one message of samples, or a stream of frames with chunks.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::chunked_frame;
use super::remote_read::chunk::Encoding;
use super::remote_read::{self as message, ChunkedReadResponse, Label, TimeSeries};
use super::xor_chunk::{self, Damaged, XorEncoder};
use crate::series::{Labels, STALE_NAN_BITS, Sample};
use crate::unit::Timestamp;

/// The field number of `ReadResponse.results`, and of `QueryResult.timeseries`.
const FIRST_FIELD: u32 = 1;

/// A run of samples, compressed, with its exact ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorChunk {
    /// The time of the first sample.
    pub min: Timestamp,
    /// The time of the last sample.
    pub max: Timestamp,
    /// How many there are.
    pub samples: u16,
    /// As [`xor_chunk`] writes them.
    pub bytes: Box<[u8]>,
}

/// A series as chunks, under construction. Compact: a day of minutes has some ten KiB.
#[derive(Debug, Clone, Default)]
pub struct ChunkedSamples {
    full: Vec<XorChunk>,
    head: Option<(Timestamp, XorEncoder)>,
    bytes: usize,
    samples: usize,
}

impl ChunkedSamples {
    /// Appends a sample; one that does not lie after the last is left out: the past does not change.
    pub fn push(&mut self, sample: Sample) {
        if self.head.as_ref().is_some_and(|(_, head)| head.len() >= xor_chunk::MAX_SAMPLES) {
            self.cut();
        }
        if self.full.last().is_some_and(|chunk| chunk.max >= sample.time) {
            return;
        }
        let (_, head) = self.head.get_or_insert_with(|| (sample.time, XorEncoder::default()));
        let before = if head.is_empty() { 0 } else { head.bytes().len() };
        if head.push(sample).is_ok() {
            self.bytes += head.bytes().len() - before;
            self.samples += 1;
        }
    }

    /// The last sample.
    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        self.head.as_ref().and_then(|(_, head)| head.last())
    }

    /// The time of the last sample, unless the series ended there.
    #[must_use]
    pub fn alive_at(&self) -> Option<Timestamp> {
        self.last().filter(|last| last.value.to_bits() != STALE_NAN_BITS).map(|last| last.time)
    }

    /// Bytes of compressed samples.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many samples there are.
    #[must_use]
    pub const fn samples(&self) -> usize {
        self.samples
    }

    /// The chunks.
    #[must_use]
    pub fn finish(mut self) -> Vec<XorChunk> {
        self.cut();
        self.full
    }

    fn cut(&mut self) {
        if let Some((min, head)) = self.head.take()
            && let Some(last) = head.last()
        {
            self.full.push(XorChunk { min, max: last.time, samples: head.len(), bytes: head.bytes().into() });
        }
    }
}

/// A series of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkedSeries {
    /// Its identity.
    pub labels: Labels,
    /// In the order of time; none where only existence was asked for.
    pub chunks: Vec<XorChunk>,
}

/// The body of a SAMPLES answer, one item for each query, as a snappy block.
///
/// # Errors
/// [`Damaged`] where a chunk does not decode.
pub fn samples(results: &[Vec<ChunkedSeries>]) -> Result<Vec<u8>, Damaged> {
    let mut body = Vec::new();
    for result in results {
        let begin = body.len();
        for series in result {
            let mut all = Vec::new();
            for chunk in &series.chunks {
                all.extend(
                    xor_chunk::decode(&chunk.bytes)?.into_iter().map(|sample| message::Sample {
                        value: sample.value,
                        timestamp: sample.time.millis(),
                    }),
                );
            }
            let series = TimeSeries { labels: labels(&series.labels), samples: all };
            prost::encoding::message::encode(FIRST_FIELD, &series, &mut body);
        }
        // The length stands before what it counts: put in afterwards, so that nothing is held twice.
        let length = u64::try_from(body.len() - begin).unwrap_or(u64::MAX);
        let mut head = Vec::with_capacity(1 + encoded_len_varint(length));
        encode_key(FIRST_FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(length, &mut head);
        body.splice(begin..begin, head);
    }
    // Fails only beyond 4 GiB, which the budget of samples excludes.
    snap::raw::Encoder::new().compress_vec(&body).map_err(|_| Damaged)
}

/// One series as a frame of a STREAMED_XOR_CHUNKS answer.
#[must_use]
pub fn frame(query: usize, series: ChunkedSeries) -> Vec<u8> {
    let chunks = series.chunks.into_iter().map(|chunk| message::Chunk {
        min_time_ms: chunk.min.millis(),
        max_time_ms: chunk.max.millis(),
        r#type: Encoding::Xor.into(),
        data: chunk.bytes.into(),
    });
    let series = message::ChunkedSeries { labels: labels(&series.labels), chunks: chunks.collect() };
    let response = ChunkedReadResponse {
        chunked_series: vec![series],
        query_index: i64::try_from(query).unwrap_or(i64::MAX),
    };
    chunked_frame::frame(&response.encode_to_vec())
}

fn labels(labels: &Labels) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::remote_read::ReadResponse;

    fn series(samples: &[(i64, f64)]) -> ChunkedSeries {
        let mut chunked = ChunkedSamples::default();
        for &(time, value) in samples {
            chunked.push(Sample { time: Timestamp::from_millis(time), value });
        }
        ChunkedSeries { labels: Labels::named("x").with("b", "2").with("a", "1"), chunks: chunked.finish() }
    }

    #[test]
    fn samples_decode_to_what_was_pushed_with_the_bits_of_stale_markers() {
        let many: Vec<(i64, f64)> = (0..500).map(|i| (i * 15_000, i as f64 / 7.0)).collect();
        let stale = series(&[(1, 2.0), (2, f64::from_bits(STALE_NAN_BITS))]);
        let body = samples(&[vec![series(&many), stale], vec![], vec![series(&[])]]).unwrap();
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let answer = ReadResponse::decode(&*plain).unwrap();
        let sizes: Vec<usize> = answer.results.iter().map(|result| result.timeseries.len()).collect();
        assert_eq!(sizes, [2, 0, 1]);
        let first = &answer.results[0].timeseries[0];
        let names: Vec<&str> = first.labels.iter().map(|label| &*label.name).collect();
        assert_eq!(names, ["__name__", "a", "b"]);
        let back: Vec<(i64, f64)> = first.samples.iter().map(|s| (s.timestamp, s.value)).collect();
        assert_eq!(back, many);
        assert_eq!(answer.results[0].timeseries[1].samples[1].value.to_bits(), STALE_NAN_BITS);
        assert!(answer.results[2].timeseries[0].samples.is_empty());
    }

    #[test]
    fn chunks_hold_at_most_120_samples_and_say_their_ends() {
        let many: Vec<(i64, f64)> = (0..250).map(|i| (i * 15_000, 1.0)).collect();
        let chunks = series(&many).chunks;
        let ends: Vec<(i64, i64)> =
            chunks.iter().map(|c| (c.min.millis() / 15_000, c.max.millis() / 15_000)).collect();
        assert_eq!(ends, [(0, 119), (120, 239), (240, 249)]);
        for chunk in &chunks {
            let samples = xor_chunk::decode(&chunk.bytes).unwrap();
            assert_eq!((samples[0].time, samples[samples.len() - 1].time), (chunk.min, chunk.max));
        }
    }

    #[test]
    fn a_repeated_or_older_time_is_left_out_also_after_a_cut() {
        let mut chunked = ChunkedSamples::default();
        for i in 0..121 {
            chunked.push(Sample { time: Timestamp::from_millis(i), value: 1.0 });
        }
        for i in [119, 120, 50] {
            chunked.push(Sample { time: Timestamp::from_millis(i), value: 9.0 });
        }
        assert_eq!(chunked.samples(), 121);
        assert_eq!(chunked.alive_at(), Some(Timestamp::from_millis(120)));
        let all: Vec<Sample> =
            chunked.finish().iter().flat_map(|chunk| xor_chunk::decode(&chunk.bytes).unwrap()).collect();
        assert!(all.iter().all(|sample| sample.value == 1.0));
    }

    #[test]
    fn a_frame_carries_the_index_of_its_query() {
        let bytes = frame(3, series(&[(5, 1.0)]));
        let response = ChunkedReadResponse::decode(&bytes[5..]).unwrap();
        assert_eq!((response.query_index, response.chunked_series.len()), (3, 1));
        let chunk = &response.chunked_series[0].chunks[0];
        assert_eq!((chunk.min_time_ms, chunk.max_time_ms, chunk.r#type()), (5, 5, Encoding::Xor));
    }
}
