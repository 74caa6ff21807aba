//! `coord apply`: makes the coordinator's configuration what files say. Always shows the
//! plan first; the coordinator decides what it is, and whether it may be.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, HEAD, NAME, WARN, styled, text};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::rpc::{self, Answer, Client};
use crate::settings::Global;

/// Arguments of `coord apply`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A directory stands for its profiles.yaml and network_policies.yaml. What an earlier \
                  configuration brought and this one leaves out is removed, in the sections (profiles, \
                  defaults, network_policies) that it speaks of."
)]
pub struct Args {
    /// Directories and YAML files
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    plan: bool,
    /// Do not ask
    #[arg(long, short, conflicts_with = "plan")]
    yes: bool,
    /// Leave what these files do not speak of
    #[arg(long)]
    no_prune: bool,
}

/// Plans, asks and applies.
///
/// # Errors
/// The files are no configuration, the coordinator cannot be reached or refuses it.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let config = Config::read(&args.paths)?;
    let client = Client::new(global.target()?)?;
    let plan = send(&client, &config, args, true).await?;
    if !plan.ok() {
        return Ok(denied(&plan, global.json));
    }
    if !global.json {
        show::print(&changes(&plan.body));
    }
    if args.plan || count(&plan.body) == 0 {
        if global.json {
            show::json(&lists(&plan.body));
        }
        return Ok(Exit::Done);
    }
    if !args.yes && !agreed()? {
        anstream::eprintln!("nothing was applied");
        return Ok(Exit::Refused);
    }
    let done = send(&client, &config, args, false).await?;
    if !done.ok() {
        return Ok(denied(&done, global.json));
    }
    if global.json {
        show::json(&lists(&done.body));
    } else {
        if lists(&done.body)["added"] != lists(&plan.body)["added"]
            || lists(&done.body)["changed"] != lists(&plan.body)["changed"]
            || lists(&done.body)["removed"] != lists(&plan.body)["removed"]
        {
            // Somebody else applied something in between.
            show::print(&format!(
                "meanwhile something changed; in the end it was this:\n{}",
                changes(&done.body)
            ));
        }
        show::print(&format!("{}\n", styled(GOOD, text(&done.body, "outcome"))));
    }
    Ok(Exit::Done)
}

async fn send(client: &Client, config: &Config, args: &Args, plan: bool) -> Result<Answer, Error> {
    let call = Map::from_iter([
        ("config".to_owned(), config.value()),
        ("plan".to_owned(), json!(plan)),
        ("prune".to_owned(), json!(!args.no_prune)),
    ]);
    match client.call("apply_config", &call).await {
        Ok(answer) => Ok(answer),
        Err(rpc::Error::Problem(problem)) if problem.message == "config_invalid" => {
            let details = problem.details.as_deref().unwrap_or_default();
            Err(match config.mistake(details) {
                Some(mistake) => config::Error::Mistake(mistake).into(),
                None => rpc::Error::Problem(problem).into(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks whoever sits there; nobody does without a terminal.
fn agreed() -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "nothing was applied: nobody can be asked without a terminal; look at the plan, then say --yes".to_owned(),
        ));
    }
    anstream::eprint!("Apply this? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok(read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn denied(answer: &Answer, json: bool) -> Exit {
    if json {
        show::json(&answer.body);
    } else {
        anstream::eprint!("{}", show::denial(&answer.body));
    }
    Exit::Refused
}

/// The answer without what belongs to the call.
fn lists(body: &Value) -> Value {
    let list = |name: &str| body.get(name).cloned().unwrap_or_else(|| json!([]));
    json!({
        "outcome": body.get("outcome"), "added": list("added"),
        "changed": list("changed"), "removed": list("removed"),
    })
}

fn entries<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn count(body: &Value) -> usize {
    ["added", "changed", "removed"]
        .map(|name| entries(body, name).len())
        .iter()
        .sum()
}

/// The plan for people.
fn changes(body: &Value) -> String {
    let mut out = String::new();
    for (name, sign, style) in [
        ("added", '+', GOOD),
        ("changed", '~', WARN),
        ("removed", '-', BAD),
    ] {
        for entry in entries(body, name) {
            let title = format!("{sign} {}", text(entry, "kind").replace('_', " "));
            let _ = write!(
                out,
                "{} {}",
                styled(style, title),
                styled(NAME, text(entry, "name"))
            );
            let before = entry.get("before").unwrap_or(&Value::Null);
            let after = entry.get("after").unwrap_or(&Value::Null);
            match (before, after) {
                (Value::Object(_), Value::Object(_)) => {
                    out.push('\n');
                    differences(&mut out, "", before, after);
                }
                (Value::Null, Value::Object(fields)) => {
                    out.push('\n');
                    for (key, value) in fields {
                        let _ = writeln!(
                            out,
                            "    {} {}",
                            styled(FAINT, format_args!("{key}:")),
                            said(value)
                        );
                    }
                }
                (Value::String(_), Value::String(_)) => {
                    let _ = writeln!(out, ": {} → {}", said(before), said(after));
                }
                (Value::Null, value) => {
                    let _ = writeln!(out, ": {}", said(value));
                }
                _ => out.push('\n'),
            }
        }
    }
    let total = ["added", "changed", "removed"].map(|name| entries(body, name).len());
    if total == [0, 0, 0] {
        return "nothing to change: the coordinator has this configuration already\n".to_owned();
    }
    let [added, changed, removed] = total;
    let sum = format!("{added} to add, {changed} to change, {removed} to remove");
    let _ = writeln!(out, "{}", styled(HEAD, sum));
    out
}

/// Key by key what is other than before.
fn differences(out: &mut String, path: &str, before: &Value, after: &Value) {
    let empty = Map::new();
    let (old, new) = (
        before.as_object().unwrap_or(&empty),
        after.as_object().unwrap_or(&empty),
    );
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (was, is) = (old.get(key), new.get(key));
        if was == is {
            continue;
        }
        let name = format!("{path}{key}");
        let object = |value: Option<&Value>| value.is_none_or(Value::is_object);
        if object(was) && object(is) {
            let nothing = Value::Null;
            differences(
                out,
                &format!("{name}."),
                was.unwrap_or(&nothing),
                is.unwrap_or(&nothing),
            );
            continue;
        }
        let name = styled(FAINT, format_args!("{name}:"));
        match (was.and_then(Value::as_array), is.and_then(Value::as_array)) {
            (Some(was), Some(is))
                if was.iter().any(|item| !is.contains(item))
                    || is.iter().any(|item| !was.contains(item)) =>
            {
                let gone = was.iter().filter(|item| !is.contains(item));
                let come = is.iter().filter(|item| !was.contains(item));
                let items: Vec<String> = gone
                    .map(|item| styled(BAD, format_args!("- {}", said(item))))
                    .chain(come.map(|item| styled(GOOD, format_args!("+ {}", said(item)))))
                    .collect();
                let _ = writeln!(out, "    {name} {}", items.join(", "));
            }
            _ => {
                let said = |value: Option<&Value>| value.map_or_else(|| "(unset)".to_owned(), said);
                let _ = writeln!(out, "    {name} {} → {}", said(was), said(is));
            }
        }
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::String(text) => show::harmless(text).replace(['\n', '\t'], " "),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(said).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| format!("{key} {}", said(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shows_what_becomes_of_each_key() {
        let body = json!({
            "added": [{"kind": "default", "name": "aider", "after": "x"},
                {"kind": "network_policy", "name": "net", "after": {"allow": ["a", "b"]}}],
            "changed": [{"kind": "profile", "name": "p", "before": {"trust": 2, "limits": {"max_locks": 1}, "allowed": ["a", "b"]},
                    "after": {"trust": 3, "limits": {"max_locks": 2, "max_tasks": 1}, "allowed": ["b", "c"], "enabled": false}},
                {"kind": "default", "name": "*", "before": "x", "after": "y"}],
            "removed": [{"kind": "profile", "name": "old", "before": {"trust": 1}}]});
        assert_eq!(
            anstream::adapter::strip_str(&changes(&body)).to_string(),
            "+ default aider: x\n+ network policy net\n    allow: a, b\n~ profile p\n    allowed: - a, + c\n    enabled: (unset) → false\n\
             \x20   limits.max_locks: 1 → 2\n    limits.max_tasks: (unset) → 1\n    trust: 2 → 3\n~ default *: x → y\n- profile old\n\
             2 to add, 2 to change, 1 to remove\n"
        );
    }
}
