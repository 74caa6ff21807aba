//! The catalogue as a grammar of clap: a function is a subcommand, an argument is
//! a flag. So help, suggestions and refusals read as those of every other command.

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema::Schema;

/// What `tool_catalog` answers, as far as a caller needs it.
#[derive(Debug, Default, Deserialize)]
pub struct Catalogue {
    tools: Vec<Tool>,
    #[serde(default)]
    prompts: Vec<Prompt>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    help: String,
    input_schema: Input,
    #[serde(default)]
    annotations: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Prompt {
    function: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    arguments: Vec<PromptArgument>,
}

#[derive(Debug, Deserialize)]
struct PromptArgument {
    name: String,
    description: Option<String>,
    #[serde(default)]
    required: bool,
}

/// The arguments of a function.
#[derive(Clone, Debug, Default, Deserialize)]
struct Input {
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    required: Vec<String>,
    /// Whether others than these may be passed.
    #[serde(default, rename = "additionalProperties")]
    open: bool,
}

/// A function that can be called.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name in the API.
    pub name: String,
    description: String,
    help: String,
    input: Input,
}

impl Catalogue {
    /// All functions, those that are prompts for MCP clients last.
    pub fn functions(self) -> Vec<Function> {
        let tools = self.tools.into_iter().map(|tool| {
            let is = |hint: &str| tool.annotations.get(hint) == Some(&Value::Bool(true));
            let mark = match (is("readOnlyHint"), is("destructiveHint")) {
                (true, _) => "Changes nothing.",
                (_, true) => "Takes something away.",
                _ => "",
            };
            Function {
                help: [mark, &tool.help].join("\n").trim().to_owned(),
                name: tool.name,
                description: tool.description,
                input: tool.input_schema,
            }
        });
        let prompts = self.prompts.into_iter().map(|prompt| Function {
            name: prompt.function,
            description: prompt.description,
            help: "A prompt for MCP clients.".to_owned(),
            input: Input {
                required: prompt
                    .arguments
                    .iter()
                    .filter(|argument| argument.required)
                    .map(|argument| argument.name.clone())
                    .collect(),
                properties: prompt
                    .arguments
                    .into_iter()
                    .map(|argument| {
                        let schema = json!({"type": "string", "description": argument.description});
                        (argument.name, schema)
                    })
                    .collect(),
                open: false,
            },
        });
        tools.chain(prompts).collect()
    }
}

/// Flags of every call; arguments of these names are reached as `--arg-NAME`.
const OWN: [&str; 4] = ["help", "arg", "args-json", "idempotency-key"];

/// Arguments are known to clap under a prefix, so that they never meet its own names.
fn id(name: &str) -> String {
    format!("argument {name}")
}

impl Function {
    /// A function of which only the name is known: it takes whatever JSON it is given.
    pub fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            help: String::new(),
            input: Input {
                open: true,
                ..Input::default()
            },
        }
    }

    /// Whether it can be told which repository is meant.
    pub fn takes_repo(&self) -> bool {
        self.input.properties.contains_key("repo")
    }

    /// The required arguments in their order, then the others.
    fn arguments(&self) -> impl Iterator<Item = (&String, Schema)> {
        let required = |name: &str| self.input.required.iter().any(|it| it == name);
        let properties = &self.input.properties;
        let first = self
            .input
            .required
            .iter()
            .filter_map(|name| properties.get_key_value(name));
        let rest = properties.iter().filter(move |(name, _)| !required(name));
        first
            .chain(rest)
            .map(|(name, schema)| (name, Schema(schema.clone())))
    }

    fn flag(&self, name: &str, schema: &Schema, taken: &[String]) -> Arg {
        let mut long = name.replace('_', "-");
        if taken.contains(&long) {
            long = format!("arg-{long}");
        }
        let arg = Arg::new(id(name));
        let arg = match schema.kind() {
            Some("array") => {
                let each = schema.items();
                arg.action(ArgAction::Append)
                    .num_args(usize::from(schema.refuses_none())..)
                    .value_name(each.placeholder())
                    .value_parser(each.parser())
            }
            Some("boolean") => arg
                .num_args(0..=1)
                .default_missing_value("true")
                .value_name(schema.placeholder())
                .value_parser(schema.parser()),
            _ => arg
                .value_name(schema.placeholder())
                .value_parser(schema.parser()),
        };
        let heading = if self.input.required.iter().any(|it| it == name) {
            "Required arguments"
        } else {
            "Arguments"
        };
        arg.long(long)
            .allow_negative_numbers(true)
            .help(format!("{}{}", schema.description(), schema.limits()))
            .help_heading(heading)
    }

    /// Its grammar; the flags of every command stand in `global`, to be seen in the help.
    fn grammar(&self, global: &[Arg]) -> Command {
        let taken: Vec<String> = global
            .iter()
            .filter_map(Arg::get_long)
            .chain(OWN)
            .map(str::to_owned)
            .collect();
        let required = self.input.required.iter().filter_map(|name| {
            let schema = Schema(self.input.properties.get(name)?.clone());
            let flag = self.flag(name, &schema, &taken);
            let many = schema.kind() == Some("array");
            let (what, more) = if many {
                (schema.items().placeholder(), "...")
            } else {
                (schema.placeholder(), "")
            };
            Some(format!("--{} <{what}>{more} ", flag.get_long()?))
        });
        let usage: String = required.collect();
        let long = [self.description.as_str(), &self.help].join("\n\n");
        Command::new(self.name.clone())
            .bin_name(format!("coord call {}", self.name))
            .about(self.description.clone())
            .long_about(long.trim().to_owned())
            .override_usage(format!("coord call {} {usage}[OPTIONS]", self.name))
            .args(self.arguments().map(|(name, schema)| self.flag(name, &schema, &taken)))
            .disable_help_flag(true)
            .next_help_heading("Options of every call")
            .arg(
                Arg::new("args-json")
                    .long("args-json")
                    .value_name("JSON")
                    .value_parser(ValueParser::new(object))
                    .help("Arguments as one JSON object, - to read it from standard input; flags win"),
            )
            .arg(
                Arg::new("arg")
                    .long("arg")
                    .value_name("NAME=VALUE")
                    .help("Another way to write --NAME=VALUE"),
            )
            .arg(
                Arg::new("idempotency-key")
                    .long("idempotency-key")
                    .value_name("KEY")
                    .help("Repeat a call under its key to get its first answer again [default: a fresh one]"),
            )
            .arg(
                Arg::new("help")
                    .long("help")
                    .short('h')
                    .action(ArgAction::Help)
                    .help("Print help"),
            )
            .args(global.iter().cloned())
    }

    /// The arguments to send, from what was typed.
    ///
    /// # Errors
    /// An argument is unknown, missing, or beyond its limits.
    pub fn read(&self, matches: &ArgMatches) -> Result<Map<String, Value>, clap::Error> {
        let refuse = |kind, text: String| Err(self.grammar(&[]).error(kind, text));
        let mut args = matches
            .get_one::<Map<String, Value>>("args-json")
            .cloned()
            .unwrap_or_default();
        for name in args.keys() {
            if !self.input.open && !self.input.properties.contains_key(name) {
                let known: Vec<&str> = self.arguments().map(|(name, _)| name.as_str()).collect();
                let text = format!(
                    "--args-json: {} has no argument `{name}`; it takes {}",
                    self.name,
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                );
                return refuse(ErrorKind::UnknownArgument, text);
            }
        }
        for (name, schema) in self.arguments() {
            let id = id(name);
            if matches.contains_id(&id) {
                let mut values = matches.get_many::<Value>(&id).unwrap_or_default().cloned();
                let value = match schema.kind() {
                    Some("array") => Some(values.collect()),
                    _ => values.next(),
                };
                args.extend(value.map(|value| (name.clone(), value)));
            }
            if let Some(Err(limit)) = args.get(name).map(|value| schema.check(value)) {
                return refuse(ErrorKind::ValueValidation, format!("`{name}` {limit}"));
            }
        }
        let missing = |name: &&String| args.get(*name).is_none_or(Value::is_null);
        let missing: Vec<&str> = self
            .input
            .required
            .iter()
            .filter(missing)
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let text = format!("{} needs {}", self.name, missing.join(" and "));
            return refuse(ErrorKind::MissingRequiredArgument, text);
        }
        Ok(args)
    }
}

/// The grammar of `coord call`, without these two words.
pub fn grammar(functions: &[Function], global: &[Arg]) -> Command {
    Command::new("call")
        .no_binary_name(true)
        .bin_name("coord call")
        .about("Call any function of the coordinator; `coord call FUNCTION --help` shows its arguments")
        .override_usage("coord call FUNCTION [ARGUMENTS]")
        .max_term_width(100)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand_value_name("FUNCTION")
        .subcommand_help_heading("Functions")
        .subcommands(functions.iter().map(|function| function.grammar(global)))
        .args(global.iter().cloned())
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    let read = if text == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(|error| error.to_string())?
    } else {
        text.to_owned()
    };
    serde_json::from_str(&read).map_err(|error| format!("must be a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions() -> Vec<Function> {
        let catalogue = json!({
            "tools": [{
                "name": "take_it", "description": "Take it.", "help": "Outcomes: taken.",
                "annotations": {"readOnlyHint": false, "destructiveHint": true},
                "inputSchema": {"required": ["paths"], "additionalProperties": false, "properties": {
                    "ttl_seconds": {"type": "integer", "minimum": 30, "maximum": 60, "default": 30},
                    "paths": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    "mode": {"type": "string", "enum": ["one", "two"]},
                    "dry_run": {"type": "boolean"},
                    "input": {"type": "object"},
                    "json": {"type": "string"},
                    "help": {"type": "string"},
                }},
            }],
            "prompts": [{"name": "p", "function": "prompt_p", "arguments": [{"name": "task"}]}],
        });
        Catalogue::deserialize(&catalogue).unwrap().functions()
    }

    fn parse(words: &[&str]) -> Result<Value, clap::Error> {
        let functions = functions();
        let global = [Arg::new("json").long("json").action(ArgAction::SetTrue)];
        let matches = grammar(&functions, &global).try_get_matches_from(words)?;
        let (name, matches) = matches.subcommand().unwrap();
        let function = functions.iter().find(|it| it.name == name).unwrap();
        function.read(matches).map(Value::Object)
    }

    #[test]
    fn the_grammar_is_sound() {
        grammar(&functions(), &[]).debug_assert();
    }

    #[test]
    fn flags_become_arguments_of_their_types() {
        let args = parse(&[
            "take_it",
            "--paths",
            "a",
            "b",
            "--ttl-seconds",
            "45",
            "--paths=-c",
            "--dry-run",
            "--mode",
            "two",
            "--input",
            "{\"x\":1}",
            "--arg-json",
            "j",
            "--arg-help",
            "h",
        ]);
        assert_eq!(
            args.unwrap(),
            json!({"paths": ["a", "b", "-c"], "ttl_seconds": 45, "mode": "two", "dry_run": true,
                   "input": {"x": 1}, "json": "j", "help": "h"})
        );
        assert_eq!(
            parse(&["prompt_p", "--task", "t"]).unwrap(),
            json!({"task": "t"})
        );
        assert_eq!(
            parse(&["take_it", "--paths", "a", "--dry-run", "false"]).unwrap(),
            json!({"paths": ["a"], "dry_run": false})
        );
    }

    #[test]
    fn flags_win_over_the_object() {
        let args = parse(&[
            "take_it",
            "--args-json",
            r#"{"paths": ["a"], "ttl_seconds": 30, "mode": null}"#,
            "--ttl-seconds",
            "60",
        ]);
        assert_eq!(
            args.unwrap(),
            json!({"paths": ["a"], "ttl_seconds": 60, "mode": null})
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_sent() {
        let refused = |words: &[&str]| parse(words).unwrap_err().to_string();
        let says = |words: &[&str], text: &str| {
            let refusal = refused(words);
            assert!(refusal.contains(text), "{refusal}");
        };
        says(&["take_it"], "take_it needs paths");
        says(&["take_it", "--paths"], "a value is required");
        says(
            &["take_it", "--paths", "a", "--ttl-seconds", "29"],
            "must be 30 to 60",
        );
        says(&["take_it", "--paths", "a", "--mode", "tow"], "two");
        says(&["take_it", "--pahts", "a"], "--paths");
        says(&["tak_it"], "take_it");
        says(
            &["take_it", "--args-json", r#"{"path": []}"#],
            "it takes paths",
        );
        says(
            &["take_it", "--args-json", r#"{"paths": "a"}"#],
            "must be of type array",
        );
        says(&["take_it", "--args-json", "[]"], "must be a JSON object");
    }

    #[test]
    fn help_says_what_the_catalogue_says() {
        let help = parse(&["take_it", "--help"]).unwrap_err().to_string();
        for text in [
            "Take it.",
            "Outcomes: taken.",
            "Takes something away.",
            "--paths",
            "[at least 1 values]",
            "[30 to 60] [default: 30]",
            "possible values: one, two",
            "--json",
        ] {
            assert!(help.contains(text), "{text}: {help}");
        }
    }

    #[test]
    fn an_unknown_function_takes_any_object() {
        let function = Function::unknown("health");
        let read = |words: &[&str]| {
            let matches =
                grammar(std::slice::from_ref(&function), &[]).try_get_matches_from(words)?;
            function.read(matches.subcommand().unwrap().1)
        };
        assert!(read(&["health"]).unwrap().is_empty());
        assert_eq!(
            read(&["health", "--args-json", r#"{"a": 1}"#])
                .unwrap()
                .len(),
            1
        );
        assert!(read(&["health", "--paths", "a"]).is_err());
    }
}
