//! What a JSON text takes in memory once it is a value, found without making one: a value is several times its text, and
//! by how much is the text's to say.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What an allocation costs beside its bytes.
const ALLOCATION: usize = 16;

/// Places for so many: a list that grows doubles, and begins with four.
const fn places(count: usize) -> usize {
    match count {
        0 => 0,
        1..=4 => 4,
        more => more.next_power_of_two(),
    }
}

/// An entry of a map: key, value and hash, and its places in the index.
const ENTRY: usize = size_of::<String>() + size_of::<Value>() + 8 + 16;

/// In bytes, an upper estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JsonWeight(pub(super) usize);

impl<'de> Deserialize<'de> for JsonWeight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Weighing)
    }
}

struct Weighing;

/// Beside the value itself, which stands in whatever holds it.
fn text(text: &str) -> usize {
    ALLOCATION + text.len()
}

impl<'de> Visitor<'de> for Weighing {
    type Value = JsonWeight;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<JsonWeight, E> {
        Ok(JsonWeight(0))
    }

    fn visit_i64<E>(self, _: i64) -> Result<JsonWeight, E> {
        Ok(JsonWeight(0))
    }

    fn visit_u64<E>(self, _: u64) -> Result<JsonWeight, E> {
        Ok(JsonWeight(0))
    }

    fn visit_f64<E>(self, _: f64) -> Result<JsonWeight, E> {
        Ok(JsonWeight(0))
    }

    fn visit_unit<E>(self) -> Result<JsonWeight, E> {
        Ok(JsonWeight(0))
    }

    fn visit_str<E>(self, value: &str) -> Result<JsonWeight, E> {
        Ok(JsonWeight(text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<JsonWeight, A::Error> {
        let (mut count, mut within) = (0, 0);
        while let Some(JsonWeight(element)) = all.next_element()? {
            count += 1;
            within += element;
        }
        Ok(JsonWeight(ALLOCATION + within + places(count) * size_of::<Value>()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<JsonWeight, A::Error> {
        let (mut count, mut within) = (0, 0);
        while let Some(JsonWeight(key)) = all.next_key()? {
            let JsonWeight(value) = all.next_value()?;
            count += 1;
            within += key + value;
        }
        Ok(JsonWeight(2 * ALLOCATION + within + places(count) * ENTRY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a value takes, counted on itself.
    fn taken(value: &Value) -> usize {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.capacity(),
            Value::Array(all) => all.capacity() * size_of::<Value>() + all.iter().map(taken).sum::<usize>(),
            Value::Object(all) => {
                let entries = all.iter().map(|(name, value)| name.capacity() + taken(value)).sum::<usize>();
                entries + all.len() * (size_of::<String>() + size_of::<Value>() + 8)
            }
        }
    }

    #[test]
    fn a_value_takes_no_more_than_its_text_weighs_and_not_much_less() {
        let series = r#"{"metric":{"__name__":"up","instance":"a:1","job":"a"},"value":[1.5,"1"]},"#;
        let vector = format!(r#"{{"status":"success","data":[{}null]}}"#, series.repeat(1_000));
        let lists = format!("[{}1]", "[[],[1,2,3]],".repeat(1_000));
        let names = format!("[{}1]", r#""a_name_of_a_label","#.repeat(1_000));
        for text in [&vector, &lists, &names, "1", "{}", r#"{"a":{"b":{"c":[{}]}}}"#] {
            let JsonWeight(weight) = serde_json::from_str(text).unwrap();
            let value: Value = serde_json::from_str(text).unwrap();
            let taken = taken(&value);
            assert!(taken <= weight && weight <= 5 * taken + 200, "{weight} for {taken}: {}", &text[..1]);
        }
        assert!(serde_json::from_str::<JsonWeight>("[1,").is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(serde_json::from_str::<JsonWeight>(&deep).is_err());
    }
}
