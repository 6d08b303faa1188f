//! What differs between two models, as paths into them.

use serde_json::Value;

/// One difference: where, what was there, what is there now; `None` where nothing was or is.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Such as `components.front.contract`.
    pub path: String,
    /// Before.
    pub old: Option<Value>,
    /// After.
    pub new: Option<Value>,
}

/// Every difference of two documents, in the order of the old one; lists are compared item by item.
#[must_use]
pub fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(path: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for (key, value) in old {
                compare(below(key), Some(value), new.get(key), found);
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                compare(below(key), None, Some(value), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(format!("{path}[{index}]"), old.get(index), new.get(index), found);
            }
        }
        (old, new) => found.push(Change { path, old: old.cloned(), new: new.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_paths() {
        let old = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": true});
        let new = json!({"a": 1, "b": {"c": [1, 3, 4], "d": "x"}, "here": null});
        let shown: Vec<String> = changes(&old, &new).into_iter().map(|change| change.path).collect();
        assert_eq!(shown, ["b.c[1]", "b.c[2]", "gone", "here"]);
        assert_eq!(changes(&old, &old), []);
    }
}
