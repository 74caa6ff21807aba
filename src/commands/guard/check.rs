//! `coord guard check` and `coord guard explain`: about one command, or one a line.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{end, lines, list, passes, place, told};
use crate::commands::Error;
use crate::commands::show::{FAINT, NAME, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Violations are recorded as an agent's own would be, unless --dry-run. \
                  --stdin-json records nothing, unless --record."
)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// A file that would be written; once for each
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// The file whose text would be written
    #[arg(long, value_name = "FILE")]
    content_file: Option<PathBuf>,
    /// What would be done to the paths, as `file_read`, or a named operation
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Where it would run [default: here]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Record nothing, ask for no approval and use none
    #[arg(long)]
    dry_run: bool,
    /// Record what the lines of --stdin-json violate
    #[arg(long, requires = "stdin_json", conflicts_with = "dry_run")]
    record: bool,
}

/// Where the command comes from.
#[derive(Debug, clap::Args)]
struct Input {
    /// The command line, in quotes
    #[arg(value_name = "COMMAND", conflicts_with_all = ["stdin", "stdin_json"], allow_hyphen_values = true)]
    command: Option<String>,
    /// Read the command line from standard input
    #[arg(long, conflicts_with = "stdin_json")]
    stdin: bool,
    /// Read one JSON string a line, and print one object with the decision as d for each
    #[arg(long, conflicts_with_all = ["paths", "content_file"])]
    stdin_json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The command line, in quotes
    #[arg(value_name = "COMMAND", allow_hyphen_values = true)]
    command: String,
    /// Where it would run [default: here]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
}

impl Args {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut call = place(self.cwd.as_deref());
        if self.input.stdin_json {
            call.insert("dry_run".to_owned(), (!self.record).into());
            return lines::check(client, call).await;
        }
        let command = if self.input.stdin {
            let mut bytes = Vec::new();
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|error| Error::Usage(format!("cannot read standard input: {error}")))?;
            Some(lossy(&bytes))
        } else {
            self.input.command
        };
        if command.is_none()
            && self.paths.is_empty()
            && self.content_file.is_none()
            && self.operation.is_none()
        {
            return Err(Error::Usage(
                "nothing to check: name a command, --path, --content-file or --operation"
                    .to_owned(),
            ));
        }
        put(&mut call, "command", command);
        put(&mut call, "operation", self.operation);
        if !self.paths.is_empty() {
            call.insert("paths".to_owned(), json!(self.paths));
        }
        if let Some(file) = &self.content_file {
            let bytes = std::fs::read(file).map_err(|error| {
                Error::Usage(format!("cannot read {}: {error}", file.display()))
            })?;
            put(&mut call, "content", Some(lossy(&bytes)));
        }
        call.insert("dry_run".to_owned(), self.dry_run.into());
        let answer = client.call("check_guardrails", &call).await?.body;
        Ok(end(&answer, as_json, told, passes(&answer)))
    }
}

impl Explain {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut call = place(self.cwd.as_deref());
        put(&mut call, "command", Some(self.command));
        let answer = client.call("explain_guardrails", &call).await?.body;
        Ok(end(&answer, as_json, explained, true))
    }
}

/// Text whatever it was; the reader of commands takes the marks for what it cannot read.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

fn put(call: &mut Map<String, Value>, name: &str, value: Option<String>) {
    call.extend(value.map(|value| (name.to_owned(), value.into())));
}

fn explained(answer: &Value) -> String {
    let mut out = Vec::new();
    for command in list(answer, "commands") {
        out.push(format!("{}\n", styled(NAME, text(command, "command"))));
        for (name, value) in command.as_object().into_iter().flatten() {
            let words: Vec<&str> = value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if !words.is_empty() {
                out.push(format!(
                    "  {} {}\n",
                    styled(FAINT, format_args!("{name}:")),
                    words.join(" ")
                ));
            }
        }
        for rule in list(command, "rules") {
            let binds = if rule["binds"] == json!(false) {
                ", which does not bind you"
            } else {
                ""
            };
            out.push(format!(
                "  {} {}{binds}\n",
                text(rule, "severity"),
                text(rule, "rule")
            ));
        }
    }
    out.push(format!(
        "{} {} ({})\n",
        styled(FAINT, "decision:"),
        text(answer, "decision"),
        text(answer, "mode")
    ));
    out.concat()
}
