//! Arguments against a tool's schema: a misspelt or missing one is named
//! before the call, because the server can only say that no such function exists.

use rmcp::model::JsonObject;
use serde_json::Value;

use crate::alike::nearest;

/// What a call does not match in its tool's schema, in words for a model.
pub fn mismatch(schema: &JsonObject, args: &JsonObject) -> Option<String> {
    let none = JsonObject::new();
    let known = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let open = schema.get("additionalProperties") == Some(&Value::Bool(true));
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();

    let mut problems = Vec::new();
    for name in args
        .keys()
        .filter(|name| !open && !known.contains_key(*name))
    {
        problems.push(match nearest(name, known.keys()) {
            Some(right) => format!("unknown argument `{name}`: did you mean `{right}`?"),
            None => format!("unknown argument `{name}`."),
        });
    }
    for name in &required {
        if args.get(*name).is_none_or(Value::is_null) {
            let what = known
                .get(*name)
                .and_then(|property| property.get("description"))
                .and_then(Value::as_str)
                .map_or_else(String::new, |text| format!(" ({text})"));
            problems.push(format!("missing argument `{name}`{what}."));
        }
    }
    for (name, value) in args {
        let wanted = known.get(name).and_then(|property| property.get("type"));
        // Only the shape: the database casts scalars, and says itself what it cannot cast.
        let wrong = match wanted.and_then(Value::as_str) {
            Some("array") => !value.is_array(),
            Some("object") => !value.is_object(),
            _ => false,
        };
        if let (true, false, Some(wanted)) = (wrong, value.is_null(), wanted) {
            let wanted = wanted.as_str().unwrap_or_default();
            problems.push(format!("argument `{name}` must be an {wanted}."));
        }
    }
    if problems.is_empty() {
        return None;
    }
    let takes = known.keys().map(|name| {
        if required.contains(&name.as_str()) {
            format!("{name} (required)")
        } else {
            name.clone()
        }
    });
    let takes: Vec<String> = takes.collect();
    let takes = if takes.is_empty() {
        "It takes no arguments.".to_owned()
    } else {
        format!("It takes: {}.", takes.join(", "))
    };
    Some(format!(
        "invalid_arguments: {} {takes}\nnext: repeat the call with the arguments named so.",
        problems.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(args: Value) -> Option<String> {
        let schema = json!({"type": "object", "required": ["paths"], "properties": {
            "paths": {"type": "array", "items": {"type": "string"}, "description": "what to lock"},
            "ttl_seconds": {"type": "integer"}, "reason": {"type": "string"}}});
        let (Value::Object(schema), Value::Object(args)) = (schema, args) else {
            panic!("objects")
        };
        mismatch(&schema, &args)
    }

    #[test]
    fn a_call_that_fits_is_let_through() {
        assert_eq!(check(json!({"paths": ["a"], "ttl_seconds": "60"})), None);
        assert_eq!(check(json!({"paths": ["a"], "reason": null})), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = check(json!({"path": ["a"], "ttl": 60})).unwrap();
        assert!(
            text.contains("unknown argument `path`: did you mean `paths`?"),
            "{text}"
        );
        assert!(
            text.contains("`ttl`: did you mean `ttl_seconds`?"),
            "{text}"
        );
        assert!(
            text.contains("missing argument `paths` (what to lock)"),
            "{text}"
        );
        let text = check(json!({"paths": "a"})).unwrap();
        assert!(text.contains("argument `paths` must be an array"), "{text}");
        let text = check(json!({"paths": ["a"], "zzz": 1})).unwrap();
        assert!(text.contains("unknown argument `zzz`."), "{text}");
    }
}
