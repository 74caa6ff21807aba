//! What the coordinator offers: tools, resources, prompts and instructions,
//! read from its own description. Nothing here knows a tool by name.

use rmcp::model::{JsonObject, Prompt, Resource, ResourceTemplate, Tool};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A described thing and the function that stands behind it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Backed<T> {
    /// The function to call.
    pub function: String,
    /// What clients are told.
    #[serde(flatten)]
    pub shown: T,
}

/// One answer of `tool_catalog`, in the shapes of the protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// How to work with these tools.
    pub instructions: Option<String>,
    /// In the order of the answer.
    pub tools: Vec<Tool>,
    /// In the order of the answer.
    pub resources: Vec<Backed<Resource>>,
    /// In the order of the answer.
    pub templates: Vec<Backed<ResourceTemplate>>,
    /// In the order of the answer.
    pub prompts: Vec<Backed<Prompt>>,
}

/// The answer before its entries are read one by one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    instructions: Option<String>,
    tools: Vec<Value>,
    #[serde(default)]
    resources: Vec<Value>,
    #[serde(default)]
    resource_templates: Vec<Value>,
    #[serde(default)]
    prompts: Vec<Value>,
}

impl Catalogue {
    /// Reads an answer of `tool_catalog`. One entry that cannot be read costs
    /// that entry, not the others.
    ///
    /// # Errors
    /// It is no catalogue at all.
    pub fn read(answer: &Value) -> Result<Self, serde_json::Error> {
        let wire = Wire::deserialize(answer)?;
        Ok(Self {
            instructions: wire.instructions.filter(|text| !text.is_empty()),
            tools: readable("tool", wire.tools),
            resources: readable("resource", wire.resources),
            templates: readable("resource template", wire.resource_templates),
            prompts: readable("prompt", wire.prompts),
        })
    }

    /// The tool of this name.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// The prompt of this name.
    pub fn prompt(&self, name: &str) -> Option<&Backed<Prompt>> {
        self.prompts.iter().find(|prompt| prompt.shown.name == name)
    }

    /// What stands behind a URI: the function, its arguments and the MIME type.
    pub fn source(&self, uri: &str) -> Option<Source<'_>> {
        let plain = self.resources.iter().find(|it| it.shown.uri == uri);
        if let Some(resource) = plain {
            return Some(Source {
                function: &resource.function,
                args: Map::new(),
                mime_type: resource.shown.mime_type.as_deref(),
            });
        }
        self.templates.iter().find_map(|template| {
            Some(Source {
                function: &template.function,
                args: matched(&template.shown.uri_template, uri)?,
                mime_type: template.shown.mime_type.as_deref(),
            })
        })
    }
}

/// How a resource is read.
pub struct Source<'a> {
    /// The function to call.
    pub function: &'a str,
    /// From the variables of a template.
    pub args: JsonObject,
    /// Of the content.
    pub mime_type: Option<&'a str>,
}

fn readable<T: DeserializeOwned>(what: &str, entries: Vec<Value>) -> Vec<T> {
    let read = |entry: Value| match T::deserialize(&entry) {
        Ok(entry) => Some(entry),
        Err(error) => {
            let name = entry.get("name").unwrap_or(&Value::Null);
            super::log(format_args!("skipping {what} {name}: {error}"));
            None
        }
    };
    entries.into_iter().filter_map(read).collect()
}

/// The variables of a template such as `memory://{id}` in a URI, where each
/// `{name}` stands for one segment.
fn matched(template: &str, uri: &str) -> Option<JsonObject> {
    let mut values = JsonObject::new();
    let (mut template, mut uri) = (template, uri);
    while let Some((literal, rest)) = template.split_once('{') {
        let (name, after) = rest.split_once('}')?;
        uri = uri.strip_prefix(literal)?;
        let end = uri.find(|c| c == '/' || after.starts_with(c));
        let (value, left) = uri.split_at(end.unwrap_or(uri.len()));
        if value.is_empty() {
            return None;
        }
        values.insert(name.to_owned(), value.into());
        (template, uri) = (after, left);
    }
    (template == uri).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_ours_is_not_shown() {
        let catalogue = Catalogue::read(&json!({
            "revision": "1", "instructions": "Lock before you write.",
            "tools": [
                {"name": "a", "title": "A", "description": "d", "help": "h", "toolset": "core",
                 "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}},
                {"name": "broken"},
            ],
            "resources": [{"uri": "x://y", "name": "y", "function": "f"}],
        }))
        .unwrap();
        let tools = serde_json::to_value(&catalogue.tools).unwrap();
        assert_eq!(
            tools,
            json!([{"name": "a", "title": "A", "description": "d",
                    "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}}])
        );
        let resource = serde_json::to_value(&catalogue.resources[0].shown).unwrap();
        assert_eq!(resource, json!({"uri": "x://y", "name": "y"}));
        assert_eq!(catalogue.source("x://y").unwrap().function, "f");
    }

    #[test]
    fn a_template_gives_its_variables_as_arguments() {
        let args = |template, uri| matched(template, uri).map(Value::Object);
        assert_eq!(args("t://{id}", "t://T-1"), Some(json!({"id": "T-1"})));
        assert_eq!(
            args("t://{a}/x/{b}", "t://1/x/2"),
            Some(json!({"a": "1", "b": "2"}))
        );
        assert_eq!(args("t://{id}", "t://"), None);
        assert_eq!(args("t://{id}", "t://1/2"), None);
    }
}
