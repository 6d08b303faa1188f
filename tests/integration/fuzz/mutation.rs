//! From valid inputs to others.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The longest input.
const LONGEST: usize = 256 << 10;

/// Numbers at the edges of types.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1e308",
    "-1e999",
    "NaN",
    "Inf",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "0.1e-320",
    "1e",
    "00",
    "99999999999y",
];

pub(super) struct Mutator {
    random: StdRng,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    pub(super) fn new(seed: u64, corpus: &[Vec<u8>], words: &[&str]) -> Self {
        let words = words.iter().chain(&NUMBERS).map(|word| word.as_bytes().to_vec()).collect();
        Self { random: StdRng::seed_from_u64(seed), corpus: corpus.to_vec(), words }
    }

    /// One input: a valid one after a few changes, now and then many.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut input = self.any();
        let changes = if self.random.random_bool(0.1) { 40 } else { 1 + self.random.random_range(0..4) };
        for _ in 0..changes {
            self.change(&mut input);
            input.truncate(LONGEST);
        }
        input
    }

    fn any(&mut self) -> Vec<u8> {
        let at = self.random.random_range(0..self.corpus.len());
        self.corpus[at].clone()
    }

    fn span(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let from = self.random.random_range(0..=input.len());
        // Short ones mostly, so that what stands around them stays valid.
        let longest = if self.random.random_bool(0.8) { 16 } else { 4 << 10 };
        let length = self.random.random_range(0..=longest.min(input.len() - from));
        from..from + length
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let span = self.span(input);
        match self.random.random_range(0..11) {
            0 if !input.is_empty() => {
                let at = self.random.random_range(0..input.len());
                input[at] ^= 1 << self.random.random_range(0..8);
            }
            1 if !input.is_empty() => {
                let at = self.random.random_range(0..input.len());
                input[at] = self.random.random();
            }
            2 => drop(input.drain(span)),
            3 => {
                // The same again, up to thousands of times: depth, length, quadratic work.
                let piece = input[span.clone()].to_vec();
                let times = 1 << self.random.random_range(0..13);
                let times = times.min(LONGEST / piece.len().max(1));
                input.splice(span.end..span.end, piece.repeat(times));
            }
            4 => {
                let word = self.random.random_range(0..self.words.len());
                let word = self.words[word].clone();
                input.splice(span, word);
            }
            5 => {
                let word = self.random.random_range(0..self.words.len());
                let word = self.words[word].clone();
                input.splice(span.start..span.start, word);
            }
            6 => {
                let other = self.any();
                let piece = self.span(&other);
                input.splice(span, other[piece].to_vec());
            }
            7 => {
                let piece = input[span.clone()].to_vec();
                let to = self.random.random_range(0..=input.len());
                input.splice(to..to, piece);
            }
            8 => self.change_number(input),
            9 => self.exchange_lines(input),
            _ => {
                let byte = *[b'\n', b' ', b'"', b':', b'{', b'[', b'(', 0, 0xff, b'%', b'&']
                    .as_slice()
                    .get(self.random.random_range(0..11))
                    .unwrap_or(&0);
                input.insert(span.start, byte);
            }
        }
    }

    fn change_number(&mut self, input: &mut Vec<u8>) {
        let digits: Vec<usize> = (0..input.len()).filter(|&at| input[at].is_ascii_digit()).collect();
        if digits.is_empty() {
            return;
        }
        let from = digits[self.random.random_range(0..digits.len())];
        let length = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = NUMBERS[self.random.random_range(0..NUMBERS.len())];
        input.splice(from..from + length, number.bytes());
    }

    fn exchange_lines(&mut self, input: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let (a, b) = (self.random.random_range(0..lines.len()), self.random.random_range(0..lines.len()));
        if self.random.random_bool(0.5) {
            lines.swap(a, b);
        } else {
            let line = lines[a].clone();
            lines.insert(b, line);
        }
        *input = lines.join(&b'\n');
    }
}
