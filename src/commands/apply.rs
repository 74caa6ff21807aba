//! `coord apply`: profiles and policies as code.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::alike::with_nearest;
use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, WARN, styled};
use crate::exit::Exit;
use crate::rpc::{self, Client};
use crate::settings::Global;
use crate::yaml::Document;

/// Arguments of `coord apply`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The files' sections (profiles, defaults) become what stands: what an earlier apply brought and \
                  these leave out of a section is removed. Agents feel it with their next call."
)]
pub struct Args {
    /// YAML files, or directories with such, as agents/
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    plan: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "plan")]
    yes: bool,
    /// Remove nothing
    #[arg(long)]
    no_prune: bool,
}

/// The files, read: one configuration, and where each section came from.
struct Config {
    sections: Map<String, Value>,
    sources: BTreeMap<String, (PathBuf, Document)>,
}

/// Plans, asks, applies.
///
/// # Errors
/// A file cannot be read or is refused, or the coordinator cannot be reached.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let config = Config::read(&args.paths)?;
    let client = Client::new(global.target()?)?;
    let planned = config.call(&client, true, !args.no_prune).await?;
    let changes: usize = ["added", "changed", "removed"]
        .iter()
        .map(|name| planned[name].as_array().map_or(0, Vec::len))
        .sum();
    if planned.get("outcome") == Some(&json!("denied")) {
        show::json(&planned);
        return Ok(Exit::Refused);
    }
    if !global.json {
        show::print(&plan(&planned));
    }
    if args.plan || changes == 0 {
        if global.json {
            show::json(&planned);
        }
        return Ok(Exit::Done);
    }
    if !args.yes && !agreed(changes)? {
        anstream::eprintln!("nothing was changed");
        return Ok(Exit::Refused);
    }
    let applied = config.call(&client, false, !args.no_prune).await?;
    if global.json {
        show::json(&applied);
    } else {
        show::print(&format!("{}\n", styled(GOOD, "applied")));
    }
    Ok(Exit::Done)
}

impl Config {
    fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut config = Self {
            sections: Map::new(),
            sources: BTreeMap::new(),
        };
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                files.extend(yaml_files(path)?);
            } else {
                files.push(path.clone());
            }
        }
        for file in files {
            config.add(&file)?;
        }
        Ok(config)
    }

    fn add(&mut self, file: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::Usage(format!("cannot read {}: {error}", file.display())))?;
        let document = Document::parse(&text)
            .map_err(|error| misplaced(file, error.at.line, error.at.column, &error.why))?;
        let sections = match &document.value {
            Value::Object(sections) => sections.clone(),
            Value::Null => return Ok(()),
            _ => return Err(misplaced(file, 1, 1, "a file is a mapping of sections")),
        };
        for name in sections.keys() {
            if let Some((other, _)) = self.sources.get(name) {
                let at = document.position(name);
                let why = format!("{name} is in {} already", other.display());
                return Err(misplaced(file, at.line, at.column, &why));
            }
        }
        for (name, section) in sections {
            let source = (file.to_owned(), document.clone());
            self.sources.insert(name.clone(), source);
            self.sections.insert(name, section);
        }
        Ok(())
    }

    async fn call(&self, client: &Client, plan: bool, prune: bool) -> Result<Value, Error> {
        let args = Map::from_iter([
            ("config".to_owned(), Value::Object(self.sections.clone())),
            ("plan".to_owned(), plan.into()),
            ("prune".to_owned(), prune.into()),
        ]);
        match client.call("apply_config", &args).await {
            Ok(answer) => Ok(answer.body),
            Err(rpc::Error::Problem(problem)) => Err(self
                .placed(problem.details.as_deref().unwrap_or_default())
                .unwrap_or(Error::Rpc(rpc::Error::Problem(problem)))),
            Err(error) => Err(error.into()),
        }
    }

    /// `at profiles/a/trust: trust is 0 to 4`, with the place as file, line and column.
    fn placed(&self, details: &str) -> Option<Error> {
        let (place, why) = details.strip_prefix("at ")?.split_once(": ")?;
        let place = place.strip_prefix("the top/").unwrap_or(place);
        let (section, key) = (place.split('/').next()?, place.rsplit('/').next()?);
        let (file, document) = self.sources.get(section)?;
        let at = document.position(place);
        Some(misplaced(
            file,
            at.line,
            at.column,
            &format!("{place}: {}", with_nearest(key, why)),
        ))
    }
}

fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::Usage(format!("cannot read {}: {error}", directory.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let yaml = path
            .extension()
            .is_some_and(|it| it == "yaml" || it == "yml");
        if yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Usage(format!(
            "{} holds no YAML files",
            directory.display()
        )));
    }
    Ok(files)
}

fn misplaced(file: &Path, line: usize, column: usize, why: &str) -> Error {
    Error::Usage(format!("{}:{line}:{column}: {why}", file.display()))
}

/// Asks on a terminal; elsewhere nobody can answer.
fn agreed(changes: usize) -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "nobody is there to agree: pass --yes to apply this, or --plan to only look".to_owned(),
        ));
    }
    let things = if changes == 1 { "change" } else { "changes" };
    anstream::eprint!("Apply {changes} {things}? [y/N] ");
    // What cannot be asked is not agreed to.
    if std::io::stderr().flush().is_err() {
        return Ok(false);
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn plan(planned: &Value) -> String {
    let entries = |name: &str| planned[name].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    let title = |entry: &Value| {
        let text = |name: &str| show::harmless(entry[name].as_str().unwrap_or_default());
        format!("{} {}", text("kind"), styled(NAME, text("name")))
    };
    for entry in entries("added") {
        lines.push(format!("{} {}", styled(GOOD, "+"), title(&entry)));
        lines.extend(keys(&Value::Null, &entry["after"]));
    }
    for entry in entries("changed") {
        lines.push(format!("{} {}", styled(WARN, "~"), title(&entry)));
        lines.extend(keys(&entry["before"], &entry["after"]));
    }
    for entry in entries("removed") {
        lines.push(format!("{} {}", styled(BAD, "-"), title(&entry)));
    }
    if lines.is_empty() {
        return "nothing to change\n".to_owned();
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What differs, key by key.
fn keys(before: &Value, after: &Value) -> Vec<String> {
    let none = Map::new();
    let (Value::Object(after), before) = (after, before.as_object().unwrap_or(&none)) else {
        return match before {
            Value::Null => vec![format!("    {}", said(after))],
            before => vec![format!(
                "    {} {} {}",
                said(before),
                styled(FAINT, "->"),
                said(after)
            )],
        };
    };
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| match (before.get(name), after.get(name)) {
            (None, Some(new)) => format!("    {name}: {}", said(new)),
            (Some(old), Some(new)) => {
                format!(
                    "    {name}: {} {} {}",
                    said(old),
                    styled(FAINT, "->"),
                    said(new)
                )
            }
            (Some(old), None) => format!(
                "    {name}: {} {}",
                said(old),
                styled(FAINT, "-> (inherited)")
            ),
            (None, None) => String::new(),
        })
        .collect()
}

fn said(value: &Value) -> String {
    show::harmless(&value.to_string())
}
