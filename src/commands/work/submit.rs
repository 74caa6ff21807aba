//! `coord work submit`: one task from flags, or a graph of them from a file.

use serde_json::{Map, Value};

use super::Connect;
use crate::alike::with_nearest;
use crate::commands::Error;
use crate::commands::arguments::{Repo, data, put, put_list, put_paths, read, words};
use crate::commands::show::{self, GOOD, NAME, next, styled, text};
use crate::exit::Exit;
use crate::rpc;
use crate::stack::clock;
use crate::yaml::Document;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A file for --graph is a list of tasks in YAML or JSON, each with a key of its own and what the \
                  others are called in flags here; depends_on names keys, or tasks like T-17:\n\n  \
                  - key: parse\n    title: Write the parser\n    paths: [src/parse/]\n  \
                  - key: review\n    title: Review the parser\n    task_type: review\n    depends_on: [parse]\n    \
                  requires: {not_agents: [\"@dependencies\"]}"
)]
pub struct Args {
    /// What is to be done, in one line
    #[arg(required_unless_present = "graph", value_name = "TITLE")]
    title: Option<String>,
    /// All that one needs to know to do it; - reads standard input
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Kind of task, as review; agents may claim by it [default: task]
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,
    /// Data for it: JSON or a text, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// 1 (first) to 10; a step is worth ten minutes of waiting [default: 5]
    #[arg(long, value_name = "N")]
    priority: Option<i64>,
    /// Tasks to be done before, as T-1,T-2
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    after: Vec<String>,
    /// If one of them fails: fail as well, wait until it is retried, or ignore it [default: fail]
    #[arg(long, value_name = "EFFECT", value_parser = ["fail", "wait", "ignore"])]
    on_dependency_failure: Option<String>,
    /// If nobody has begun by then, it is dead: 2h or 3d from now, or a time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    deadline: Option<String>,
    /// How often it may be tried [default: 3]
    #[arg(long, value_name = "N")]
    max_attempts: Option<i64>,
    /// A capability it takes; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    needs: Vec<String>,
    /// The trust it takes, 1 to 4
    #[arg(long, value_name = "N")]
    min_trust: Option<i64>,
    /// Only for agents of this type; may be repeated
    #[arg(long, value_name = "TYPE")]
    for_type: Vec<String>,
    /// Not for this agent; @submitter is you, @dependencies whoever did what it depends on
    #[arg(long, value_name = "AGENT")]
    not_agent: Vec<String>,
    /// Locked for whoever claims it, as `coord lock acquire` would; may be repeated
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// Of tasks with the same key only one is open at a time
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Submit all tasks of a YAML or JSON file, or none; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "title", "description", "task_type", "input", "priority", "after", "on_dependency_failure", "deadline",
        "max_attempts", "needs", "min_trust", "for_type", "not_agent", "paths", "key"])]
    graph: Option<String>,
    #[command(flatten)]
    repo: Repo,
}

/// A time as `2h` from now, or as it is written.
fn moment(text: &str) -> Result<String, &'static str> {
    match clock::duration(text) {
        Some(ahead) => Ok(clock::rfc3339(clock::now() + ahead)),
        None if clock::read(text).is_some() => Ok(text.to_owned()),
        None => Err("write it as 30m, 2h or 3d from now, or as 2026-11-22T20:30:00Z"),
    }
}

pub async fn run(args: Args, connect: impl Connect, json: bool) -> Result<Exit, Error> {
    let mut call = args.repo.args();
    if let Some(file) = args.graph {
        let text = read(&file)?;
        call.insert("tasks".to_owned(), tasks(&file, &text)?);
        let answer = match connect()?.call("submit_graph", &call).await {
            Err(rpc::Error::Problem(problem)) => {
                let told = placed(&file, &text, problem.details.as_deref(), &problem.message);
                return Err(told.unwrap_or(rpc::Error::Problem(problem).into()));
            }
            answer => answer?,
        };
        return Ok(show::told(&answer, json, many));
    }
    put(&mut call, "title", args.title);
    put(
        &mut call,
        "description",
        args.description.map(words).transpose()?,
    );
    put(&mut call, "task_type", args.task_type);
    put(&mut call, "input", args.input.map(data).transpose()?);
    put(&mut call, "priority", args.priority);
    put_list(&mut call, "depends_on", args.after);
    put(
        &mut call,
        "on_dependency_failure",
        args.on_dependency_failure,
    );
    put(&mut call, "deadline", args.deadline);
    put(&mut call, "max_attempts", args.max_attempts);
    let mut requires = Map::new();
    put_list(&mut requires, "capabilities", args.needs);
    put(&mut requires, "min_trust", args.min_trust);
    put_list(&mut requires, "agent_types", args.for_type);
    put_list(&mut requires, "not_agents", args.not_agent);
    put(
        &mut call,
        "requires",
        (!requires.is_empty()).then_some(requires),
    );
    if !args.paths.is_empty() {
        put_paths(&mut call, &args.paths)?;
    }
    put(&mut call, "dedup_key", args.key);
    let answer = connect()?.call("submit_work", &call).await?;
    Ok(show::told(&answer, json, one))
}

fn one(body: &Value) -> String {
    let (outcome, task) = (text(body, "outcome"), text(body, "task"));
    let blocked = body.get("blocked") == Some(&Value::Bool(true));
    format!(
        "{} {}{}\n{}",
        styled(GOOD, outcome),
        styled(NAME, task),
        if blocked { ", blocked for now" } else { "" },
        next(body)
    )
}

fn many(body: &Value) -> String {
    let mut out = format!("{}\n", styled(GOOD, text(body, "outcome")));
    let tasks = body.get("tasks").and_then(Value::as_object);
    let rows: Vec<Vec<String>> = tasks
        .into_iter()
        .flatten()
        .map(|(key, task)| {
            vec![
                task.as_str().unwrap_or_default().to_owned(),
                show::harmless(key),
            ]
        })
        .collect();
    out.push_str(&show::table(&["task", "key"], &rows, &[NAME]));
    out
}

/// The list of tasks in a file: the file itself, or what it calls `tasks`.
fn tasks(file: &str, text: &str) -> Result<Value, Error> {
    // JSON may be indented by tabs, which YAML does not know.
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => {
            Document::parse(text)
                .map_err(|error| misplaced(file, error.at.line, error.at.column, &error.why))?
                .value
        }
    };
    match value {
        Value::Array(_) => Ok(value),
        Value::Object(mut map) => match map.shift_remove("tasks") {
            Some(tasks @ Value::Array(_)) => Ok(tasks),
            _ => Err(misplaced(
                file,
                1,
                1,
                "a file is a list of tasks, or has one named tasks",
            )),
        },
        _ => Err(misplaced(file, 1, 1, "a file is a list of tasks")),
    }
}

/// `tasks[3]: title says what is to be done`, with the place in the file.
fn placed(file: &str, text: &str, details: Option<&str>, code: &str) -> Option<Error> {
    let (place, why) = details?.strip_prefix("tasks[")?.split_once("]: ")?;
    let document = Document::parse(text).ok()?;
    let path = match document.value {
        Value::Array(_) => format!("/{place}"),
        _ => format!("tasks/{place}"),
    };
    let key = why.split(':').next()?;
    let at = document.position(&format!("{path}/{key}"));
    Some(misplaced(
        file,
        at.line,
        at.column,
        &format!("{code}: {}", with_nearest(key, why)),
    ))
}

fn misplaced(file: &str, line: usize, column: usize, why: &str) -> Error {
    Error::Usage(format!("{file}:{line}:{column}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_a_list_or_names_one() {
        let tasks = |text: &str| tasks("f", text).map_err(|error| error.to_string());
        assert_eq!(tasks("- {key: a}\n"), Ok(json!([{"key": "a"}])));
        assert_eq!(tasks("tasks:\n- key: a\n"), Ok(json!([{"key": "a"}])));
        assert_eq!(tasks("[\n\t{\"key\": \"a\"}]"), Ok(json!([{"key": "a"}])));
        assert!(tasks("key: a\n").unwrap_err().starts_with("f:1:1: "));
        assert!(tasks("- key: [\n").unwrap_err().starts_with("f:2:"));
    }

    #[test]
    fn a_refusal_is_told_where_the_task_stands() {
        for (text, place) in [
            ("- key: a\n- key: b\n", "f:2:3: "),
            ("tasks:\n  - key: a\n  - key: b\n", "f:3:5: "),
        ] {
            let error = placed("f", text, Some("tasks[1]: b"), "dependency_unknown").unwrap();
            assert_eq!(error.to_string(), format!("{place}dependency_unknown: b"));
        }
        assert!(placed("f", "- key: a\n", Some("a needs b needs a"), "x").is_none());
    }
}
