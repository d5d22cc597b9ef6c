//! The part of a contract's schema that every provider can hold a model to, and the way back.
//!
//! Providers accept a small part of JSON Schema (facts: OpenAI's strict form, Anthropic's `output_config`, Gemini's
//! `responseJsonSchema`): types, properties that are all required and no others, items, enums of strings, `anyOf`,
//! and references. What a contract says beyond that moves into the descriptions, for the model to read; the
//! router checks the answer against the whole contract either way. A field that may be absent is sent as one that
//! may be `null`, and [`restore`] takes such a `null` for the absent field that it stands for.

use serde_json::{Map, Value, json};

use crate::answer;

/// How deep a schema may be nested before it is sent in words only.
const DEEPEST: usize = 40;

/// The schema as providers accept it; nothing if it says something that they cannot express, such as an object
/// with any keys: such a schema is sent in words.
pub(super) fn subset(schema: &Value) -> Option<Value> {
    let mut subset = Transform { root: schema }.schema(schema, 0)?;
    let object = subset.as_object_mut()?;
    if object.get("type") != Some(&json!("object")) {
        return None;
    }
    if let Some(definitions) = schema.get("$defs").and_then(Value::as_object) {
        let mut kept = Map::new();
        for (name, definition) in definitions {
            // One that nobody can express is missed only if something that is sent refers to it.
            if let Some(definition) = (Transform { root: schema }).schema(definition, 0) {
                kept.insert(name.clone(), definition);
            }
        }
        object.insert("$defs".to_owned(), Value::Object(kept));
    }
    let subset = referenced_only(subset);
    is_whole(&subset, &subset, 0).then_some(subset)
}

struct Transform<'a> {
    root: &'a Value,
}

impl Transform<'_> {
    fn schema(&self, schema: &Value, depth: usize) -> Option<Value> {
        let mut rest = schema.as_object()?.clone();
        if depth > DEEPEST {
            return None;
        }
        for silent in ["$schema", "$id", "$comment", "$defs", "title", "examples", "default"] {
            rest.remove(silent);
        }
        let mut sent = Map::new();
        let description = rest.remove("description");
        if let Some(reference) = rest.remove("$ref") {
            if description.is_none() && rest.is_empty() {
                return Some(json!({"$ref": reference}));
            }
            // A reference has no siblings: what it refers to is copied, unless that would never end.
            let target = self.resolve(reference.as_str()?)?;
            if refers_to(target, reference.as_str()?) {
                return Some(json!({"$ref": reference}));
            }
            let mut copy = target.as_object()?.clone();
            copy.extend(rest);
            if let Some(description) = description {
                copy.insert("description".to_owned(), description);
            }
            return self.schema(&Value::Object(copy), depth + 1);
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(branches) = rest.remove(union) {
                if sent.contains_key("anyOf") {
                    rest.insert(union.to_owned(), branches);
                    continue;
                }
                let branches: Option<Vec<Value>> =
                    branches.as_array()?.iter().map(|branch| self.schema(branch, depth + 1)).collect();
                sent.insert("anyOf".to_owned(), Value::Array(branches?));
            }
        }
        if sent.contains_key("anyOf") {
            // Beside a union there is room for words only.
            return Some(described(sent, description, rest));
        }
        match self.kind(&mut rest)? {
            Kind::One(name) => {
                self.body(&name, &mut rest, &mut sent, depth)?;
                Some(described(sent, description, rest))
            }
            Kind::Any(names) => {
                let mut branches = Vec::new();
                for name in names {
                    let mut branch = Map::new();
                    self.body(&name, &mut rest.clone(), &mut branch, depth)?;
                    branches.push(Value::Object(branch));
                }
                for said in ["properties", "required", "items", "additionalProperties", "enum"] {
                    rest.remove(said);
                }
                sent.insert("anyOf".to_owned(), Value::Array(branches));
                Some(described(sent, description, rest))
            }
        }
    }

    /// What type it is; of an enum without one, what its values are.
    fn kind(&self, rest: &mut Map<String, Value>) -> Option<Kind> {
        match rest.remove("type") {
            Some(Value::String(name)) => Some(Kind::One(name)),
            Some(Value::Array(names)) => {
                let names: Option<Vec<String>> =
                    names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
                Some(Kind::Any(names?))
            }
            Some(_) => None,
            None => {
                let values = rest.get("enum").and_then(Value::as_array).cloned();
                let values = values.or_else(|| rest.get("const").map(|value| vec![value.clone()]))?;
                let name = type_of(values.first()?)?;
                values.iter().all(|value| type_of(value) == Some(name)).then(|| Kind::One(name.to_owned()))
            }
        }
    }

    fn body(
        &self,
        name: &str,
        rest: &mut Map<String, Value>,
        sent: &mut Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        sent.insert("type".to_owned(), json!(name));
        match name {
            "object" => self.object(rest, sent, depth)?,
            "array" => {
                let items = self.schema(&rest.remove("items")?, depth + 1)?;
                sent.insert("items".to_owned(), items);
            }
            "string" => {
                let values = rest.remove("enum").or_else(|| rest.remove("const").map(|value| json!([value])));
                if let Some(Value::Array(mut values)) = values {
                    // Of a type among several these are the values of this one.
                    values.retain(Value::is_string);
                    sent.insert("enum".to_owned(), Value::Array(values));
                }
            }
            "integer" | "number" | "boolean" | "null" => {}
            _ => return None,
        }
        Some(())
    }

    fn object(
        &self,
        rest: &mut Map<String, Value>,
        sent: &mut Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        let is_closed = match rest.remove("additionalProperties") {
            None | Some(Value::Bool(false)) => true,
            Some(_) => false,
        };
        let properties = rest.remove("properties").unwrap_or_else(|| json!({}));
        let properties = properties.as_object()?;
        // An object of any keys cannot be said: closed, it would be another one.
        if !is_closed || rest.contains_key("patternProperties") || properties.is_empty() {
            return None;
        }
        let required = rest.remove("required").unwrap_or_else(|| json!([]));
        let required = required.as_array()?;
        let mut all = Map::new();
        for (key, property) in properties {
            let sent = self.schema(property, depth + 1)?;
            let is_required = required.iter().any(|name| name == key);
            let sent =
                if is_required || accepts_null(property, self.root, 0) { sent } else { nullable(sent) };
            all.insert(key.clone(), sent);
        }
        sent.insert("required".to_owned(), all.keys().cloned().collect());
        sent.insert("properties".to_owned(), Value::Object(all));
        sent.insert("additionalProperties".to_owned(), json!(false));
        Some(())
    }

    fn resolve(&self, reference: &str) -> Option<&Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }
}

enum Kind {
    One(String),
    Any(Vec<String>),
}

fn type_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::Null => Some("null"),
        _ => None,
    }
}

fn nullable(schema: Value) -> Value {
    let nothing = json!({"type": "null"});
    match schema {
        Value::Object(mut object) if object.contains_key("anyOf") => {
            if let Some(branches) = object.get_mut("anyOf").and_then(Value::as_array_mut) {
                branches.push(nothing);
            }
            Value::Object(object)
        }
        Value::Object(mut object) => {
            let description = object.remove("description");
            let mut union = Map::from_iter([("anyOf".to_owned(), json!([object, nothing]))]);
            union.extend(description.map(|description| ("description".to_owned(), description)));
            Value::Object(union)
        }
        other => other,
    }
}

/// With its description, in which the limits stand that providers do not know.
fn described(mut sent: Map<String, Value>, description: Option<Value>, rest: Map<String, Value>) -> Value {
    let mut text = description.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    if !rest.is_empty() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&format!("(JSON Schema, must hold too: {})", Value::Object(rest)));
    }
    if !text.is_empty() {
        sent.insert("description".to_owned(), Value::String(text));
    }
    Value::Object(sent)
}

fn refers_to(schema: &Value, reference: &str) -> bool {
    match schema {
        Value::Object(object) => object
            .iter()
            .any(|(key, value)| (key == "$ref" && value == reference) || refers_to(value, reference)),
        Value::Array(list) => list.iter().any(|value| refers_to(value, reference)),
        _ => false,
    }
}

/// Without definitions that nothing refers to any more; some providers compile every one.
fn referenced_only(mut schema: Value) -> Value {
    let Some(Value::Object(mut definitions)) =
        schema.as_object_mut().and_then(|object| object.remove("$defs"))
    else {
        return schema;
    };
    loop {
        let everything = json!([schema, definitions]);
        let before = definitions.len();
        let names: Vec<String> = definitions.keys().cloned().collect();
        for name in names {
            if !refers_to(&everything, &format!("#/$defs/{name}")) {
                definitions.remove(&name);
            }
        }
        if definitions.len() == before {
            break;
        }
    }
    if let (Some(object), false) = (schema.as_object_mut(), definitions.is_empty()) {
        object.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

/// Whether every reference leads somewhere.
fn is_whole(schema: &Value, root: &Value, depth: usize) -> bool {
    match schema {
        Value::Object(object) => object.iter().all(|(key, value)| match (key.as_str(), value.as_str()) {
            ("$ref", Some(reference)) => {
                reference.strip_prefix('#').is_some_and(|pointer| root.pointer(pointer).is_some())
            }
            _ => depth <= 2 * DEEPEST && is_whole(value, root, depth + 1),
        }),
        Value::Array(list) => list.iter().all(|value| is_whole(value, root, depth + 1)),
        _ => true,
    }
}

/// The answer as the contract has it: a `null` for a field that may be absent, and that may not be `null`, is gone.
/// A text that is no plain JSON object stays as it came.
pub(super) fn restore(text: String, contract: &Value) -> String {
    match answer::parse(&text) {
        Ok(parsed) if parsed.repairs.is_empty() => {
            let mut value = parsed.value;
            if strip(&mut value, contract, contract, 0) { value.to_string() } else { text }
        }
        _ => text,
    }
}

/// Whether anything was taken away.
fn strip(value: &mut Value, schema: &Value, root: &Value, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let mut stripped = false;
    if let Some(target) = resolved(schema, root) {
        stripped |= strip(value, target, root, depth + 1);
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        for branch in schema.get(union).and_then(Value::as_array).into_iter().flatten() {
            stripped |= strip(value, branch, root, depth + 1);
        }
    }
    match value {
        Value::Object(object) => {
            let required = schema.get("required").and_then(Value::as_array);
            let is_required = |key: &str| required.is_some_and(|names| names.iter().any(|name| name == key));
            for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let Some(value) = object.get_mut(key) else { continue };
                if value.is_null() && !is_required(key) && !accepts_null(property, root, 0) {
                    object.remove(key);
                    stripped = true;
                } else {
                    stripped |= strip(value, property, root, depth + 1);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for value in list {
                    stripped |= strip(value, items, root, depth + 1);
                }
            }
        }
        _ => {}
    }
    stripped
}

fn accepts_null(schema: &Value, root: &Value, depth: usize) -> bool {
    if depth > DEEPEST {
        return true;
    }
    if schema == &Value::Bool(true) {
        return true;
    }
    if let Some(target) = resolved(schema, root) {
        return accepts_null(target, root, depth + 1);
    }
    for union in ["anyOf", "oneOf"] {
        if let Some(branches) = schema.get(union).and_then(Value::as_array) {
            return branches.iter().any(|branch| accepts_null(branch, root, depth + 1));
        }
    }
    let values = schema.get("enum").and_then(Value::as_array);
    if values.is_some_and(|values| !values.contains(&Value::Null)) {
        return false;
    }
    match schema.get("type") {
        Some(Value::String(name)) => name == "null",
        Some(Value::Array(names)) => names.iter().any(|name| name == "null"),
        _ => schema.get("const").is_none_or(Value::is_null),
    }
}

fn resolved<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::contracts::Contracts;

    const KEPT: [&str; 9] = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "anyOf",
        "$ref",
        "description",
    ];

    fn assert_strict(schema: &Value, at: &str) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{at}: {schema}"));
        for key in object.keys() {
            assert!(KEPT.contains(&key.as_str()) || (key == "$defs" && at == "#"), "{at}: {key}");
        }
        if object.contains_key("$ref") {
            assert_eq!(object.len(), 1, "{at}: siblings of a reference");
            return;
        }
        if let Some(branches) = object.get("anyOf") {
            for branch in branches.as_array().unwrap() {
                assert_strict(branch, &format!("{at}/anyOf"));
            }
            return;
        }
        assert!(object["type"].is_string(), "{at}");
        if object["type"] == "object" {
            assert_eq!(object["additionalProperties"], false, "{at}");
            let mut names: Vec<&str> =
                object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut required: Vec<&str> =
                object["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            names.sort_unstable();
            required.sort_unstable();
            assert_eq!(names, required, "{at}");
            for (key, property) in object["properties"].as_object().unwrap() {
                assert_strict(property, &format!("{at}/{key}"));
            }
        }
        if let Some(items) = object.get("items") {
            assert_strict(items, &format!("{at}/items"));
        }
        for (name, definition) in object.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            assert_strict(definition, &format!("{at}/$defs/{name}"));
        }
    }

    #[test]
    fn every_contract_has_a_form_that_every_provider_accepts() {
        let contracts = Contracts::bundled().unwrap();
        let mut in_words = Vec::new();
        for name in contracts.names() {
            let Some(sent) = subset(contracts.get(name).unwrap().schema()) else {
                in_words.push(name);
                continue;
            };
            assert_strict(&sent, "#");
            jsonschema::draft202012::new(&sent).unwrap();
        }
        // The arguments of a tool may be any object.
        assert_eq!(in_words, ["agent_turn"]);
    }

    #[test]
    fn limits_move_into_the_description_and_nothing_is_lost() {
        let sent = subset(&json!({
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": {"description": "An a.", "type": "string", "maxLength": 5, "pattern": "^x"},
                "b": {"enum": ["p", "q"]},
                "c": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/n"}},
                "d": {"type": ["integer", "null"], "minimum": 3},
                "e": {"const": "fixed"},
                "f": {"$ref": "#/$defs/n", "description": "An f."},
            },
            "if": {"required": ["b"]}, "then": {"required": ["c"]},
            "$defs": {"n": {"type": "number", "exclusiveMinimum": 0}, "unused": {"type": "null"}},
        }))
        .unwrap();
        assert_strict(&sent, "#");
        let property = |name: &str| sent["properties"][name].to_string();
        for (name, words) in [
            ("a", r#"{\"maxLength\":5,\"pattern\":\"^x\"}"#),
            ("b", r#"{"anyOf":[{"enum":["p","q"],"type":"string"},{"type":"null"}]}"#),
            ("c", r#"{\"minItems\":1}"#),
            ("d", r#"{\"minimum\":3}"#),
            ("e", r#""enum":["fixed"]"#),
            ("f", "An f."),
        ] {
            assert!(property(name).contains(words), "{name}: {}", property(name));
        }
        assert!(sent["description"].as_str().unwrap().contains(r#""then":{"required":["c"]}"#), "{sent}");
        assert_eq!(sent["$defs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["n"]);
    }

    #[test]
    fn what_cannot_be_said_is_not_said_otherwise() {
        for property in [
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!(true),
            json!({}),
            json!({"type": "array"}),
            json!({"$ref": "#/$defs/nowhere"}),
        ] {
            let schema = json!({"type": "object", "properties": {"a": property}});
            assert_eq!(subset(&schema), None, "{schema}");
        }
        assert_eq!(subset(&json!({"type": "string"})), None);
    }

    /// An answer in the sent form is, restored, one in the contract's form.
    #[test]
    fn an_absent_field_goes_there_as_null_and_comes_back_as_absent() {
        let contracts = Contracts::bundled().unwrap();
        let contract = contracts.get("worker").unwrap();
        let sent = jsonschema::draft202012::new(&subset(contract.schema()).unwrap()).unwrap();
        let edit = |action: &str, content: Value, find: Value, replace: Value| json!({"path": "a", "action": action, "content": content, "find": find, "replace": replace});
        let mut answer = json!({
            "edits": [edit("write", json!("x"), json!(null), json!(null)), edit("delete", json!(null), json!(null), json!(null))],
            "commands": [], "dry_run": false, "pr_required": true, "rollback_commands": [], "title": null, "summary": "s",
        });
        let properties = contract.schema()["properties"].as_object().unwrap();
        for name in properties.keys() {
            if answer.get(name).is_none() {
                answer[name] = json!(null);
            }
        }
        assert!(
            sent.is_valid(&answer),
            "{:?}",
            sent.iter_errors(&answer).map(|e| e.to_string()).collect::<Vec<_>>()
        );
        assert!(contract.validate(&answer).is_err());
        let restored: Value = serde_json::from_str(&restore(answer.to_string(), contract.schema())).unwrap();
        contract.validate(&restored).unwrap();
        assert_eq!(
            restored["edits"],
            json!([{"path": "a", "action": "write", "content": "x"}, {"path": "a", "action": "delete"}])
        );
    }

    #[test]
    fn nothing_else_is_changed_on_the_way_back() {
        let schema = json!({
            "type": "object", "required": ["a"],
            "properties": {"a": {"type": "string"}, "n": {"type": ["string", "null"]}, "o": {"type": "string"}},
        });
        for text in [
            r#"{ "a": "x",  "n": null }"#,
            r#"{"a": null}"#,
            r#"{"a": "x", "o": null, "o": "y"}"#,
            r#"{"a": "x", "unknown": null}"#,
            "```json\n{\"a\": \"x\", \"o\": null}\n```",
            "no JSON",
        ] {
            assert_eq!(restore(text.to_owned(), &schema), text);
        }
        assert_eq!(restore(r#"{"a": "x", "o": null}"#.to_owned(), &schema), r#"{"a":"x"}"#);
    }
}
