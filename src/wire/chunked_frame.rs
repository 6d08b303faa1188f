//! Frames of the streamed remote-read response (`storage/remote/chunked.go`): the length of the message as an unsigned
//! varint, its CRC-32C (Castagnoli) in four bytes, the highest first, and the message.

/// The reflected polynomial of CRC-32C (RFC 3720, appendix B.4).
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// The checksum of every byte.
const TABLE: [u32; 256] = table();

#[expect(clippy::cast_possible_truncation, reason = "an index below 256")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ CASTAGNOLI } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The CRC-32C of some bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        let [lowest, ..] = (crc ^ u32::from(byte)).to_le_bytes();
        crc >> 8 ^ TABLE[usize::from(lowest)]
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A message as a frame.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(message.len() + 14);
    prost::encoding::encode_varint(u64::try_from(message.len()).unwrap_or(u64::MAX), &mut frame);
    frame.extend_from_slice(&crc32c(message).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_rfc_3720() {
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ] {
            assert_eq!(crc32c(bytes), crc, "{bytes:?}");
        }
    }

    #[test]
    fn a_frame_is_length_checksum_and_message() {
        assert_eq!(frame(b"123456789"), b"\x09\xe3\x06\x92\x83123456789");
        let long = frame(&[0; 300]);
        assert_eq!((long.len(), &long[..2]), (306, &[0xac, 0x02][..]));
    }
}
