//! One argument as its JSON Schema describes it: read from words, checked, told in help.

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use serde_json::Value;

/// A JSON Schema of a value.
#[derive(Clone, Debug)]
pub struct Schema(pub Value);

impl Schema {
    /// `string`, `integer`, …; nothing where any type will do.
    pub fn kind(&self) -> Option<&str> {
        self.0.get("type")?.as_str()
    }

    /// What the elements of an array are.
    pub fn items(&self) -> Self {
        Self(self.0.get("items").cloned().unwrap_or_default())
    }

    /// The first sentence about it.
    pub fn description(&self) -> &str {
        self.0
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn limit(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|limit| limit.is_number())
    }

    /// Whether an empty list is too short.
    pub fn refuses_none(&self) -> bool {
        let least = self.limit("minItems").and_then(Value::as_u64);
        least.is_some_and(|least| least > 0)
    }

    fn choices(&self) -> Option<&Vec<Value>> {
        self.0.get("enum")?.as_array()
    }

    /// A word of the command line as a value.
    fn read(&self, word: &str) -> Result<Value, String> {
        let value = match self.kind() {
            Some("integer") => word
                .parse::<i64>()
                .map(Value::from)
                .map_err(|_| "must be a whole number".to_owned())?,
            Some("number") => serde_json::from_str(word)
                .ok()
                .filter(Value::is_number)
                .ok_or("must be a number")?,
            Some("boolean") => word
                .parse::<bool>()
                .map(Value::from)
                .map_err(|_| "must be true or false".to_owned())?,
            Some("object" | "array") => {
                serde_json::from_str(word).map_err(|error| format!("must be JSON: {error}"))?
            }
            _ => Value::from(word),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Whether a value is within what is allowed; else, what is.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        // An explicit null means: not given.
        if value.is_null() {
            return Ok(());
        }
        let fits = match self.kind() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            // A jsonb argument; a document may be a list as well.
            Some("object") => value.is_object() || value.is_array(),
            _ => true,
        };
        if !fits {
            return Err(format!("must be of type {}", self.kind().unwrap_or("any")));
        }
        if let Some(choices) = self.choices()
            && !choices.contains(value)
        {
            return Err(format!("must be one of {}", words(choices)));
        }
        let (size, (least, most), unit) = match value {
            Value::Number(number) => (number.as_f64(), ("minimum", "maximum"), ""),
            Value::String(text) => (
                count(text.chars().count()),
                ("minLength", "maxLength"),
                " characters",
            ),
            Value::Array(items) => (count(items.len()), ("minItems", "maxItems"), " values"),
            _ => return Ok(()),
        };
        let passes = |limit: Option<&Value>, test: fn(f64, f64) -> bool| {
            let limit = limit.and_then(Value::as_f64);
            size.zip(limit)
                .is_none_or(|(size, limit)| test(size, limit))
        };
        let ends = (self.limit(least), self.limit(most));
        if !passes(ends.0, |size, least| size >= least)
            || !passes(ends.1, |size, most| size <= most)
        {
            return Err(match ends {
                (Some(least), Some(most)) => format!("must be {least} to {most}{unit}"),
                (Some(least), None) => format!("must be at least {least}{unit}"),
                (_, most) => format!("must be at most {}{unit}", most.unwrap_or(&Value::Null)),
            });
        }
        if let Value::Array(items) = value {
            let each = self.items();
            items.iter().try_for_each(|item| each.check(item))?;
        }
        Ok(())
    }

    /// How clap reads one word of it.
    pub fn parser(&self) -> ValueParser {
        let choices = self
            .choices()
            .map(|choices| choices.iter().filter_map(Value::as_str));
        if let Some(choices) = choices {
            let choices: Vec<String> = choices.map(str::to_owned).collect();
            return PossibleValuesParser::new(choices).map(Value::from).into();
        }
        let schema = self.clone();
        ValueParser::new(move |word: &str| schema.read(word))
    }

    /// What stands for a word of it in the help.
    pub fn placeholder(&self) -> &'static str {
        match self.kind() {
            Some("integer") => "N",
            Some("number") => "NUMBER",
            Some("boolean") => "true|false",
            Some("object" | "array") => "JSON",
            _ => "TEXT",
        }
    }

    /// Limits and default, as ` [30 to 28800] [default: 1800]`.
    pub fn limits(&self) -> String {
        let mut out = Vec::new();
        for (least, most, unit) in [
            ("minimum", "maximum", ""),
            ("minLength", "maxLength", " characters"),
            ("minItems", "maxItems", " values"),
        ] {
            match (self.limit(least), self.limit(most)) {
                (Some(least), Some(most)) => out.push(format!(" [{least} to {most}{unit}]")),
                (Some(least), None) => out.push(format!(" [at least {least}{unit}]")),
                (None, Some(most)) => out.push(format!(" [at most {most}{unit}]")),
                (None, None) => {}
            }
        }
        match self.0.get("default") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => out.push(format!(" [default: {text}]")),
            Some(value) => out.push(format!(" [default: {value}]")),
        }
        out.concat()
    }
}

fn words(values: &[Value]) -> String {
    let word = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    values.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Sizes are compared as the numbers of JSON.
fn count(size: usize) -> Option<f64> {
    u32::try_from(size).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(schema: Value, word: &str) -> Result<Value, String> {
        Schema(schema).read(word)
    }

    #[test]
    fn words_become_values_of_their_type() {
        assert_eq!(read(json!({"type": "integer"}), "-7"), Ok(json!(-7)));
        assert_eq!(read(json!({"type": "number"}), "0.5"), Ok(json!(0.5)));
        assert_eq!(read(json!({"type": "string"}), "12"), Ok(json!("12")));
        assert_eq!(
            read(json!({"type": "object"}), r#"{"a": [1]}"#),
            Ok(json!({"a": [1]}))
        );
        assert!(read(json!({"type": "object"}), "a").is_err());
        assert!(read(json!({"type": "integer"}), "1.5").is_err());
    }

    #[test]
    fn limits_are_kept_and_named() {
        let ttl = json!({"type": "integer", "minimum": 30, "maximum": 28800});
        assert_eq!(
            read(ttl.clone(), "29"),
            Err("must be 30 to 28800".to_owned())
        );
        assert_eq!(read(ttl, "30"), Ok(json!(30)));
        let text = json!({"type": "string", "maxLength": 3});
        assert_eq!(
            read(text.clone(), "äöüß"),
            Err("must be at most 3 characters".to_owned())
        );
        assert!(read(text, "äöü").is_ok());
        let list = Schema(json!({"type": "array", "minItems": 1, "items": {"enum": ["a", "b"]}}));
        assert_eq!(
            list.check(&json!([])),
            Err("must be at least 1 values".to_owned())
        );
        assert_eq!(
            list.check(&json!(["c"])),
            Err("must be one of a, b".to_owned())
        );
        assert_eq!(list.check(&json!(["b"])), Ok(()));
        assert_eq!(list.check(&Value::Null), Ok(()));
    }

    #[test]
    fn a_word_that_is_no_choice_or_no_number_is_refused() {
        assert!(read(json!({"type": "boolean"}), "maybe").is_err());
        assert!(read(json!({"type": "string", "enum": ["x"]}), "y").is_err());
    }
}
