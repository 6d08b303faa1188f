//! Samples of a unit test's series, phase by phase, in promtool's notation.

use std::fmt::Write as _;

use super::decimal::push_count;

/// What a series is during a phase.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Number(f64),
    NotANumber,
    Gone,
}

/// In promtool's notation: `2x19` is twenty times 2. NaN and +Inf have no short form.
pub(super) fn values(phases: &[Value], samples: u64) -> String {
    phased(&phases.iter().map(|value| (samples, *value)).collect::<Vec<_>>())
}

/// The same for phases of different lengths.
pub(super) fn phased(phases: &[(u64, Value)]) -> String {
    let mut text = String::with_capacity(128);
    let repeated = |text: &mut String, word: &str, times: u64| {
        for index in 0..times {
            text.push_str(if index > 0 { " " } else { "" });
            text.push_str(word);
        }
    };
    for (index, &(samples, value)) in phases.iter().enumerate() {
        text.push_str(if index > 0 { " " } else { "" });
        match value {
            Value::Number(value) if value.is_finite() => {
                number(value, &mut text);
                text.push('x');
                push_count(samples - 1, &mut text);
            }
            Value::Number(_) => repeated(&mut text, "Inf", samples),
            Value::NotANumber => repeated(&mut text, "NaN", samples),
            Value::Gone => {
                text.push_str("stale _x");
                push_count(samples - 1, &mut text);
            }
        }
    }
    text
}

/// A finite number, exactly. Most are whole, and quicker to write as such.
fn number(value: f64, out: &mut String) {
    const WHOLE: f64 = 1e15;
    if (0.0..WHOLE).contains(&value) && value.fract() == 0.0 && value.is_sign_positive() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, within 0 and 1e15"
        )]
        push_count(value as u64, out);
    } else {
        let _ = write!(out, "{value}");
    }
}
