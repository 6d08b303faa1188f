//! Durations, quantities and the text form of operators: the small languages within the others.

use emac::config::parse_bytes;
use emac::journey::expression::Expression;
use emac::unit::{Quantile, Seconds, Window};

/// Valid ones.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "5m",
        "1h30m",
        "350ms",
        "1.5s",
        "10y",
        "p99",
        "0.999",
        "p99.9",
        "64MiB",
        "1GiB",
        "512",
        "Series(front, Race(a, b), KofN(2, a, b, c), Retry(3, Timeout(350ms, a)), Cond(0.5: a, 0.5: b))",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Reads a text as each of them; whether it is any. What was read is written as it reads.
pub(crate) fn read(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (window, seconds) = (text.parse::<Window>(), text.parse::<Seconds>());
    let quantile = text.parse::<Quantile>();
    if let Ok(window) = window {
        assert_eq!(window.to_string().parse::<Window>().as_ref(), Ok(&window), "{text:?}");
    }
    if let Ok(seconds) = seconds {
        assert!(seconds.get() >= 0.0, "{text:?}");
    }
    if let Ok(quantile) = quantile {
        assert!((0.0..=1.0).contains(&quantile.get()), "{text:?}");
    }
    let expression = Expression::parse(text);
    if let Ok(expression) = &expression {
        let again = Expression::parse(&expression.to_string());
        assert_eq!(again.map(|again| again.to_string()), Ok(expression.to_string()), "{text:?}");
    }
    window.is_ok() || seconds.is_ok() || quantile.is_ok() || parse_bytes(text).is_some() || expression.is_ok()
}
