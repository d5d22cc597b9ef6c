//! Which schemas the providers accept. Each says no in its own words.

use serde_json::{Map, Value};

/// OpenAI's strict form: every object closed, every property required, a type everywhere, a few keywords.
///
/// # Errors
/// The words in which OpenAI refuses it.
pub(super) fn openai(schema: &Value) -> Result<(), String> {
    if schema.get("type") != Some(&Value::from("object")) || schema.get("anyOf").is_some() {
        return Err(format!(
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{}\"'.",
            kind(schema)
        ));
    }
    const KNOWN: &[&str] = &[
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "description",
        "title",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    ];
    walk(schema, schema, "()", &|node, at| {
        if let Some(unknown) = node.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("In context={at}, '{unknown}' is not permitted."));
        }
        if node.contains_key("$ref") {
            return if node.len() == 1 {
                Ok(())
            } else {
                Err(format!("In context={at}, $ref cannot have keywords."))
            };
        }
        if !node.contains_key("type") && !node.contains_key("anyOf") {
            return Err(format!("In context={at}, schema must have a 'type' key."));
        }
        closed(node, at)?;
        let names = node.get("properties").and_then(Value::as_object);
        let required: Vec<&Value> =
            node.get("required").and_then(Value::as_array).into_iter().flatten().collect();
        match names.into_iter().flatten().find(|(name, _)| !required.contains(&&Value::from(name.as_str()))) {
            Some((name, _)) => Err(format!(
                "In context={at}, 'required' is required to be supplied and to be an array including every key in \
                 properties. Missing '{name}'."
            )),
            None => Ok(()),
        }
    })
}

/// Anthropic's form: every object closed, none of the limits.
///
/// # Errors
/// The words in which Anthropic refuses it.
pub(super) fn anthropic(schema: &Value) -> Result<(), String> {
    const KNOWN: &[&str] = &[
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "description",
        "title",
        "default",
        "format",
        "minItems",
    ];
    walk(schema, schema, "schema", &|node, at| {
        if let Some(unknown) = node.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!(
                "output_config.format.schema: For '{at}', property '{unknown}' is not supported"
            ));
        }
        closed(node, at).map_err(|_| {
            format!("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false ({at})")
        })
    })
}

/// What `responseJsonSchema` knows.
///
/// # Errors
/// The words in which Google refuses it.
pub(super) fn google(schema: &Value) -> Result<(), String> {
    const KNOWN: &[&str] = &[
        "$id",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "oneOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    ];
    walk(schema, schema, "response_json_schema", &|node, at| {
        if let Some(unknown) = node.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("Unknown name \"{unknown}\" at '{at}': Cannot find field."));
        }
        let siblings = node.keys().any(|key| !key.starts_with('$'));
        if node.contains_key("$ref") && siblings {
            return Err(format!("at '{at}': $ref must not have siblings."));
        }
        Ok(())
    })
}

fn closed(node: &Map<String, Value>, at: &str) -> Result<(), String> {
    let is_object = node.get("type").is_some_and(|kind| kind == "object");
    if is_object && node.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(format!(
            "In context={at}, 'additionalProperties' is required to be supplied and to be false."
        ));
    }
    Ok(())
}

/// What looks at one schema, with its place.
type Look<'a> = dyn Fn(&Map<String, Value>, &str) -> Result<(), String> + 'a;

/// Looks at each schema in a schema, and that each reference leads somewhere.
fn walk(schema: &Value, root: &Value, at: &str, look: &Look<'_>) -> Result<(), String> {
    let node = schema.as_object().ok_or_else(|| format!("In context={at}, a schema must be an object."))?;
    look(node, at)?;
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target
            .map(drop)
            .ok_or_else(|| format!("In context={at}, reference '{reference}' not found."));
    }
    for container in ["properties", "$defs"] {
        for (name, inner) in node.get(container).and_then(Value::as_object).into_iter().flatten() {
            walk(inner, root, &format!("{at}.{container}.{name}"), look)?;
        }
    }
    for inner in node.get("items").into_iter() {
        walk(inner, root, &format!("{at}.items"), look)?;
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        for inner in node.get(union).and_then(Value::as_array).into_iter().flatten() {
            walk(inner, root, &format!("{at}.{union}"), look)?;
        }
    }
    Ok(())
}

fn kind(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or("None")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Checker = fn(&Value) -> Result<(), String>;
    const ALL: [Checker; 3] = [openai, anthropic, google];

    #[test]
    fn what_all_accept_is_accepted() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["a", "b"],
            "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"anyOf": [{"type": "string", "enum": ["p"]}, {"type": "null"}]}},
            "$defs": {"x": {"type": "array", "items": {"type": "integer"}, "description": "d"}},
        });
        for accepts in ALL {
            accepts(&schema).unwrap();
        }
    }

    #[test]
    fn each_refuses_what_it_does_not_know() {
        let with = |property: Value| json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": property}});
        for (schema, refused) in [
            (with(json!({"type": "object", "properties": {}})), [true, true, false]),
            (with(json!({"type": "string", "maxLength": 3})), [true, true, true]),
            (with(json!({"type": "integer", "maximum": 3})), [false, true, false]),
            (with(json!({"not": {"type": "null"}})), [true, true, true]),
            (with(json!({"oneOf": [{"type": "null"}]})), [true, true, false]),
            (with(json!({"enum": ["x"]})), [true, false, false]),
            (with(json!({"$ref": "#/$defs/none"})), [true, true, true]),
            (
                json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "null"}}}),
                [true, false, false],
            ),
            (json!({"type": "array", "items": {"type": "string"}}), [true, false, false]),
        ] {
            assert_eq!(ALL.map(|accepts| accepts(&schema).is_err()), refused, "{schema}");
        }
    }
}
