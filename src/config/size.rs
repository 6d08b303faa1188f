//! Sizes in bytes, written with a binary unit.

use std::fmt;

/// A number of bytes; prints with the greatest binary unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, usize)| self.0.is_multiple_of(*size) && self.0 >= *size;
        let (unit, size) = UNITS.iter().find(fits).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// `8KiB`, `64MiB`, `1GiB`, `512B`; above 0.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<Bytes> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let size = UNITS.iter().find(|(known, _)| *known == unit)?.1;
    let bytes = number.parse::<usize>().ok()?.checked_mul(size)?;
    (bytes > 0).then_some(Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit_and_print_as_they_are_written() {
        for text in ["8KiB", "64MiB", "1GiB", "1000B", "1536KiB"] {
            assert_eq!(parse_bytes(text).map(|bytes| bytes.to_string()).as_deref(), Some(text));
        }
        for text in ["", "8", "KiB", "8KB", "-1B", "0B", "1.5MiB", "99999999999999999999GiB", "8 KiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
