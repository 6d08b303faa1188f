//! The hash of a set of labels that Prometheus uses to choose series for `limit_ratio`, so that both choose the same:
//! xxHash64 with seed 0 over names and values, each after its length (one byte below 255, else 255 and three bytes,
//! little-endian).

use crate::series::Labels;

/// The hash as a place in `[0, 1]`.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus divides")]
pub(crate) fn share(labels: &Labels) -> f64 {
    xxhash64(&encoded(labels)) as f64 / u64::MAX as f64
}

fn encoded(labels: &Labels) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(length) if length < 255 => bytes.push(length),
            _ => {
                bytes.push(255);
                bytes.extend(text.len().to_le_bytes().into_iter().take(3));
            }
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// xxHash64, seed 0 (Yann Collet's specification, `doc/xxhash_spec.md`).
fn xxhash64(input: &[u8]) -> u64 {
    let [p1, p2, p3, p4, p5] = PRIMES;
    let round =
        |lane: u64, word: u64| lane.wrapping_add(word.wrapping_mul(p2)).rotate_left(31).wrapping_mul(p1);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let mut stripes = input.chunks_exact(32);
    let mut hash = if input.len() >= 32 {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, 0_u64.wrapping_sub(p1)];
        for stripe in stripes.by_ref() {
            for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(bytes));
            }
        }
        let rotated = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        let merged = rotated.fold(0_u64, u64::wrapping_add);
        lanes.iter().fold(merged, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(p1).wrapping_add(p4))
    } else {
        p5
    };
    hash = hash.wrapping_add(input.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for bytes in words.by_ref() {
        hash = (hash ^ round(0, word(bytes))).rotate_left(27).wrapping_mul(p1).wrapping_add(p4);
    }
    let mut rest = words.remainder();
    if let Some((bytes, after)) = rest.split_at_checked(4) {
        hash = (hash ^ word(bytes).wrapping_mul(p1)).rotate_left(23).wrapping_mul(p2).wrapping_add(p3);
        rest = after;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(p2);
    hash = (hash ^ hash >> 29).wrapping_mul(p3);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_hashed_as_prometheus_hashes_them() {
        // From `labels.FromStrings(…).Hash()` of github.com/prometheus/prometheus v0.309.1.
        let labels = Labels::named("http_requests").with("job", "api").with("instance", "0");
        assert_eq!(xxhash64(&encoded(&labels)), 0xd38b_5155_c2f4_ccb1);
        assert_eq!(xxhash64(&encoded(&Labels::new().with("a", "x".repeat(300)))), 0x7334_729f_4d20_ea0b);
    }

    #[test]
    fn hashes_are_those_of_xxhash() {
        // From Go's github.com/cespare/xxhash/v2.
        assert_eq!(xxhash64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxhash64(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(xxhash64(b"abc"), 0x44bc_2cf5_ad77_0999);
    }
}
