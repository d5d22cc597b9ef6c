//! One text for one JSON value, however it was written.

use serde_json::Value;

/// A JSON value with sorted keys and without blanks. Two texts of the same value have the same canonical form.
#[must_use]
pub fn canonical_json(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical_json(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(canonical_json).collect();
            format!("[{}]", list.join(","))
        }
        // Numbers, strings and literals have one form each.
        other => other.to_string(),
    }
}
