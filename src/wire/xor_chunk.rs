//! Gorilla-style compression of samples, bit for bit as Prometheus' XOR chunks (`tsdb/chunkenc/xor.go`): two bytes
//! with the number of samples, then times as deltas of deltas and values as XOR with their predecessor.
//!
//! Samples are held in this form, and it is what the streamed remote-read response carries. A series on a regular grid
//! costs one bit a sample for its time, and one for a value that did not change.

use crate::series::Sample;
use crate::unit::Timestamp;

/// The most samples of a chunk: Prometheus' own choice.
pub const MAX_SAMPLES: u16 = 120;

/// No window of significant bits was written yet.
const NO_LEADING: u8 = 0xff;

/// The widths of a delta of deltas with their prefixes, narrowest first; wider ones take all 64 bits.
const WIDTHS: [(u8, u64, u8); 3] = [(14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4)];

/// A chunk under construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorEncoder {
    bytes: Vec<u8>,
    /// Unused bits of the last byte.
    free: u8,
    count: u16,
    leading: u8,
    trailing: u8,
    time: i64,
    delta: i64,
    value: u64,
}

/// The chunk is full, or the time does not rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunk is full, or the time of the sample does not lie after the one before")]
pub struct Refused;

impl Default for XorEncoder {
    fn default() -> Self {
        Self {
            bytes: vec![0, 0],
            free: 0,
            count: 0,
            leading: NO_LEADING,
            trailing: 0,
            time: 0,
            delta: 0,
            value: 0,
        }
    }
}

impl XorEncoder {
    /// Appends a sample; any bit pattern is kept, that of a stale marker too.
    ///
    /// # Errors
    /// [`Refused`] beyond [`MAX_SAMPLES`], or where the time does not rise.
    pub fn push(&mut self, sample: Sample) -> Result<(), Refused> {
        let (time, value) = (sample.time.millis(), sample.value.to_bits());
        let delta = time.wrapping_sub(self.time);
        if self.count >= MAX_SAMPLES || self.count > 0 && time <= self.time {
            return Err(Refused);
        }
        match self.count {
            0 => {
                #[expect(clippy::cast_sign_loss, reason = "zigzag: the sign moves to the lowest bit")]
                self.uvarint(((time << 1) ^ (time >> 63)) as u64);
                self.bits(value, 64);
            }
            1 => {
                #[expect(clippy::cast_sign_loss, reason = "times rise")]
                self.uvarint(delta as u64);
                self.xor(value);
            }
            _ => {
                self.delta_of_delta(delta.wrapping_sub(self.delta));
                self.xor(value);
            }
        }
        self.delta = if self.count == 0 { 0 } else { delta };
        (self.time, self.value, self.count) = (time, value, self.count + 1);
        self.bytes[..2].copy_from_slice(&self.count.to_be_bytes());
        Ok(())
    }

    /// How many samples there are.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The chunk so far: complete and decodable at any time.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last sample.
    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        (self.count > 0)
            .then(|| Sample { time: Timestamp::from_millis(self.time), value: f64::from_bits(self.value) })
    }

    fn delta_of_delta(&mut self, dod: i64) {
        if dod == 0 {
            return self.bits(0, 1);
        }
        for (width, prefix, length) in WIDTHS {
            let half = 1_i64 << (width - 1);
            if (1 - half..=half).contains(&dod) {
                self.bits(prefix, length);
                #[expect(clippy::cast_sign_loss, reason = "the low bits are what is written")]
                return self.bits(dod as u64, width);
            }
        }
        self.bits(0b1111, 4);
        #[expect(clippy::cast_sign_loss, reason = "all 64 bits are written")]
        self.bits(dod as u64, 64);
    }

    fn xor(&mut self, value: u64) {
        let xor = value ^ self.value;
        if xor == 0 {
            return self.bits(0, 1);
        }
        self.bits(1, 1);
        // At most 63, since `xor` is not 0; five bits hold up to 31 leading zeros.
        let (leading, trailing) = (small(xor.leading_zeros()).min(31), small(xor.trailing_zeros()));
        if self.leading != NO_LEADING && leading >= self.leading && trailing >= self.trailing {
            self.bits(0, 1);
            self.bits(xor >> self.trailing, 64 - self.leading - self.trailing);
        } else {
            (self.leading, self.trailing) = (leading, trailing);
            let significant = 64 - leading - trailing;
            self.bits(1, 1);
            self.bits(u64::from(leading), 5);
            // 64 does not fit into six bits and is written as 0, which cannot occur.
            self.bits(u64::from(significant) & 63, 6);
            self.bits(xor >> trailing, significant);
        }
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(low_byte(value & 0x7f | 0x80));
            value >>= 7;
        }
        self.byte(low_byte(value));
    }

    /// Writes the lowest `count` bits, the highest of them first.
    fn bits(&mut self, value: u64, count: u8) {
        let mut left = count;
        while left >= 8 {
            left -= 8;
            self.byte(low_byte(value >> left));
        }
        while left > 0 {
            left -= 1;
            self.bit(value >> left & 1 == 1);
        }
    }

    /// A whole byte leaves a fresh one behind it, empty where the bytes were aligned: Prometheus does, and a chunk
    /// that ends there ends with a zero.
    fn byte(&mut self, byte: u8) {
        let free = self.room();
        if let Some(last) = self.bytes.last_mut() {
            *last |= byte >> (8 - free);
        }
        self.bytes.push(byte.checked_shl(free).unwrap_or(0));
    }

    fn bit(&mut self, bit: bool) {
        let free = self.room();
        if let (Some(last), true) = (self.bytes.last_mut(), bit) {
            *last |= 1 << (free - 1);
        }
        self.free -= 1;
    }

    /// How many bits of the last byte are free, at least one.
    fn room(&mut self) -> u32 {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        u32::from(self.free)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 64")]
const fn small(zeros: u32) -> u8 {
    zeros as u8
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is written")]
const fn low_byte(bits: u64) -> u8 {
    bits as u8
}

/// A chunk that ends early or announces what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the XOR chunk is damaged")]
pub struct Damaged;

/// The samples of a chunk.
///
/// # Errors
/// [`Damaged`]: never a part of the samples.
pub fn decode(chunk: &[u8]) -> Result<Vec<Sample>, Damaged> {
    let (head, rest) = chunk.split_first_chunk::<2>().ok_or(Damaged)?;
    let count = u16::from_be_bytes(*head);
    let mut reader = Reader { bytes: rest, at: 0 };
    let mut samples = Vec::with_capacity(usize::from(count).min(chunk.len() * 4));
    let (mut time, mut delta, mut value): (i64, i64, u64) = (0, 0, 0);
    let (mut leading, mut trailing) = (0, 0);
    for at in 0..count {
        if at == 0 {
            let zigzag = reader.uvarint()?;
            #[expect(clippy::cast_possible_wrap, reason = "zigzag: both halves fit")]
            let decoded = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            (time, value) = (decoded, reader.bits(64)?);
        } else {
            if at == 1 {
                delta = i64::try_from(reader.uvarint()?).map_err(|_| Damaged)?;
            } else {
                delta = delta.wrapping_add(reader.delta_of_delta()?);
            }
            time = time.wrapping_add(delta);
            if reader.bits(1)? == 1 {
                if reader.bits(1)? == 1 {
                    leading = reader.bits(5)?;
                    let significant = match reader.bits(6)? {
                        0 => 64,
                        some => some,
                    };
                    trailing = 64_u64.checked_sub(leading + significant).ok_or(Damaged)?;
                }
                value ^= reader.bits(64 - leading - trailing)? << trailing;
            }
        }
        samples.push(Sample { time: Timestamp::from_millis(time), value: f64::from_bits(value) });
    }
    Ok(samples)
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, count: u64) -> Result<u64, Damaged> {
        let mut value = 0;
        let mut left = usize::try_from(count).map_err(|_| Damaged)?;
        while left > 0 {
            let byte = u64::from(*self.bytes.get(self.at / 8).ok_or(Damaged)?);
            let free = 8 - self.at % 8;
            let take = left.min(free);
            value = value << take | byte >> (free - take) & ((1 << take) - 1);
            self.at += take;
            left -= take;
        }
        Ok(value)
    }

    fn uvarint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.bits(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    fn delta_of_delta(&mut self) -> Result<i64, Damaged> {
        let mut ones = 0;
        while ones < 4 && self.bits(1)? == 1 {
            ones += 1;
        }
        let width = match ones {
            0 => return Ok(0),
            4 => 64,
            some => u64::from(WIDTHS[some - 1].0),
        };
        let bits = self.bits(width)?;
        #[expect(clippy::cast_possible_wrap, reason = "two's complement is what was written")]
        Ok(if width < 64 && bits > 1 << (width - 1) { bits as i64 - (1 << width) } else { bits as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::STALE_NAN_BITS;

    fn sample(time: i64, value: f64) -> Sample {
        Sample { time: Timestamp::from_millis(time), value }
    }

    fn encoded(samples: &[Sample]) -> XorEncoder {
        let mut encoder = XorEncoder::default();
        samples.iter().for_each(|&sample| encoder.push(sample).unwrap());
        encoder
    }

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        samples.iter().map(|s| (s.time.millis(), s.value.to_bits())).collect()
    }

    #[test]
    fn three_samples_have_the_bytes_that_the_format_prescribes() {
        // Worked out by hand from the description of the format: count 3; varint(1000) = d0 0f; 1.0 = 3ff0…;
        // uvarint(15000) = 98 75; equal value: bit 0; delta of deltas 0: bit 0; 1.0 ^ 2.0 = 7ff0…: bits 1 1, one
        // leading zero 00001, eleven significant bits 001011, 11111111111.
        let chunk = encoded(&[sample(1000, 1.0), sample(16_000, 1.0), sample(31_000, 2.0)]);
        let head = [0x00, 0x03, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x98, 0x75];
        assert_eq!(chunk.bytes()[..14], head);
        assert_eq!(chunk.bytes()[14..], [0b0011_0000, 0b1001_0111, 0b1111_1111, 0b1100_0000][..]);
    }

    #[test]
    fn a_full_chunk_and_a_time_that_does_not_rise_are_refused() {
        let mut chunk = encoded(&(0..120).map(|i| sample(i * 15_000, 0.5)).collect::<Vec<_>>());
        assert_eq!(chunk.push(sample(10_000_000, 0.5)), Err(Refused));
        // A regular, constant series: the head and first two samples, then two bits a sample.
        assert_eq!(chunk.bytes().len(), 2 + 1 + 8 + 2 + (1_usize + 118 * 2).div_ceil(8));
        let mut chunk = encoded(&[sample(5, 1.0)]);
        assert_eq!(chunk.push(sample(5, 1.0)), Err(Refused));
        assert_eq!(chunk.len(), 1);
    }

    #[test]
    fn no_cut_chunk_decodes() {
        let chunk =
            encoded(&[sample(-7, 1.0), sample(0, f64::from_bits(STALE_NAN_BITS)), sample(1 << 40, -0.3)]);
        for end in 0..chunk.bytes().len() {
            assert_eq!(decode(&chunk.bytes()[..end]), Err(Damaged), "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_bit_of_every_sample_comes_back(
            start in proptest::num::i64::ANY.prop_map(|t: i64| t / 4),
            steps in proptest::collection::vec((
                proptest::prop_oneof![
                    5 => proptest::strategy::Just(15_000_i64),
                    2 => 1_i64..20_000,
                    2 => 1_i64..2_000_000,
                    1 => 1_i64..1_i64 << 50,
                ],
                proptest::num::u64::ANY,
                0_u32..64,
            ), 1..120),
        ) {
            let (mut time, mut samples) = (start, Vec::new());
            for (step, value, shift) in steps {
                time += step;
                samples.push(sample(time, f64::from_bits(value << shift)));
            }
            let chunk = encoded(&samples);
            let back = decode(chunk.bytes()).unwrap();
            proptest::prop_assert_eq!(bits(&back), bits(&samples));
            proptest::prop_assert_eq!(bits(&[chunk.last().unwrap()]), bits(&samples[samples.len() - 1..]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode(&bytes);
        }
    }

    use proptest::strategy::Strategy as _;
}
