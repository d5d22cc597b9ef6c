//! Declared against found, field by field.

use std::fmt;

use serde_json::{Map, Value};

use super::{ConsumerDeclaration, StreamDeclaration};

/// The field of an object that is not there.
const EXISTS: &str = "(exists)";
/// Settings that weaken a stream and that we never ask for: they must be absent, or say this.
const NEVER: [(&str, &str); 5] = [
    ("persist_mode", "default"),
    ("mirror", ""),
    ("sources", ""),
    ("republish", ""),
    ("subject_transform", ""),
];

/// One field that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The stream, or `stream > consumer`.
    pub object: String,
    /// The field, as JetStream names it; `(exists)` when the object itself is missing.
    pub field: String,
    /// What we declare, as JSON.
    pub declared: String,
    /// What the server has, as JSON.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, field, declared, found } = self;
        if field == EXISTS {
            return write!(f, "{object} does not exist");
        }
        write!(f, "{object}: {field} is {found}, declared is {declared}")
    }
}

impl Difference {
    /// The object is not there at all.
    pub(crate) fn missing(object: String) -> Self {
        Self { object, field: EXISTS.to_owned(), declared: "true".to_owned(), found: "false".to_owned() }
    }
}

/// What differs between a declared stream and the `config` that the server shows.
pub(crate) fn compare_stream(declared: &StreamDeclaration, found: &Value) -> Vec<Difference> {
    let mut differences = compare(&declared.name, &declared.config(), found);
    for (field, harmless) in NEVER {
        let value = found.get(field).unwrap_or(&Value::Null);
        if !is_zero(value) && value != harmless {
            differences.push(Difference {
                object: declared.name.clone(),
                field: field.to_owned(),
                declared: "(unset)".to_owned(),
                found: value.to_string(),
            });
        }
    }
    differences
}

/// What differs between a declared consumer and the `config` that the server shows.
pub(crate) fn compare_consumer(declared: &ConsumerDeclaration, found: &Value) -> Vec<Difference> {
    compare(&object_name(declared), &declared.config(), found)
}

/// How a consumer is called in reports.
pub(crate) fn object_name(consumer: &ConsumerDeclaration) -> String {
    format!("{} > {}", consumer.stream, consumer.durable)
}

fn compare(object: &str, declared: &Map<String, Value>, found: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (field, wanted) in declared {
        let value = found.get(field).unwrap_or(&Value::Null);
        // The server leaves out what is zero.
        let same = value == wanted || (is_zero(wanted) && is_zero(value));
        if !same {
            differences.push(Difference {
                object: object.to_owned(),
                field: field.clone(),
                declared: wanted.to_string(),
                found: value.to_string(),
            });
        }
    }
    differences
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_counts_as_zero_and_nothing_else_does() {
        let declared = StreamDeclaration::new("S", vec!["s.>".to_owned()]);
        let mut found = Value::Object(declared.config());
        found.as_object_mut().unwrap().remove("allow_atomic");
        assert_eq!(compare_stream(&declared, &found), []);

        found["deny_delete"] = Value::Bool(false);
        found["max_age"] = Value::from(1);
        found["persist_mode"] = Value::from("async");
        let fields: Vec<_> =
            compare_stream(&declared, &found).into_iter().map(|difference| difference.field).collect();
        assert_eq!(fields, ["deny_delete", "max_age", "persist_mode"]);
    }
}
