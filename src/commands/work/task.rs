//! `coord work show`, and what other commands say of tasks.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, HEAD, NAME, WARN, list, span, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::stack::clock;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which task, as T-17
    #[arg(value_name = "TASK")]
    task: String,
}

pub async fn run(args: Args, client: &Client, json: bool) -> Result<Exit, Error> {
    let call = Map::from_iter([("task".to_owned(), args.task.into())]);
    let answer = client.call("get_task", &call).await?;
    Ok(show::told(&answer, json, shown))
}

fn shown(task: &Value) -> String {
    let mut out = format!(
        "{}  {}\n{}",
        styled(NAME, text(task, "id")),
        styled(HEAD, text(task, "title")),
        state(task)
    );
    out.push_str(&standing(task));
    out.push('\n');
    for (name, value) in facts(task) {
        if !value.is_empty() {
            let _ = writeln!(
                out,
                "{}  {value}",
                styled(FAINT, format_args!("{name:>10}"))
            );
        }
    }
    out.push_str(&relatives(task, "depends_on", "needs"));
    out.push_str(&relatives(task, "needed_by", "needed by"));
    for failure in list(task, "history") {
        let _ = writeln!(
            out,
            "{}  attempt {} of {} failed {} ago: {}",
            styled(FAINT, format_args!("{:>10}", "history")),
            text(failure, "attempt"),
            text(failure, "agent"),
            ago(failure, "at"),
            text(failure, "error")
        );
    }
    out.push_str(&block(task, "description"));
    out.push_str(&block(task, "input"));
    out.push_str(&block(task, "result"));
    out.push_str(&block(task, "error"));
    out
}

/// What more there is to say of its state.
fn standing(task: &Value) -> String {
    let agent = styled(GOOD, text(task, "agent"));
    match text(task, "state").as_str() {
        "claimed" => {
            let left = match ahead(task, "lease_until") {
                Some(left) => format!("{left} of its lease left"),
                None => "its lease is over".to_owned(),
            };
            format!(
                " by {agent} (session {}) {} ago, {left}",
                text(task, "session_id"),
                ago(task, "claimed_at")
            )
        }
        "pending" => match ahead(task, "next_at") {
            Some(left) => format!(", not before {left} from now"),
            None => String::new(),
        },
        "completed" => format!(" by {agent} {} ago", ago(task, "finished_at")),
        _ => {
            let why = match text(task, "reason").as_str() {
                "attempts" => ": its attempts are used up".to_owned(),
                "dependency" => ": what it depended on failed".to_owned(),
                "deadline" => ": its deadline passed".to_owned(),
                "" => String::new(),
                other => format!(": {other}"),
            };
            format!(" {} ago{why}", ago(task, "finished_at"))
        }
    }
}

fn facts(task: &Value) -> [(&'static str, String); 10] {
    let requires = task.get("requires").unwrap_or(&Value::Null);
    let mut who = Vec::new();
    match text(requires, "min_trust").as_str() {
        "" | "1" => {}
        trust => who.push(format!("trust {trust}")),
    }
    for (name, words) in [
        ("capabilities", ""),
        ("agent_types", "type "),
        ("not_agents", "not "),
    ] {
        who.extend(words_of(requires, name).map(|it| format!("{words}{it}")));
    }
    let attempts = format!(
        "{} claimed, {} failed of {} at most",
        text(task, "attempt"),
        text(task, "failures"),
        text(task, "max_attempts")
    );
    [
        ("repo", text(task, "repo")),
        ("type", text(task, "task_type")),
        ("priority", text(task, "priority")),
        (
            "submitted",
            format!(
                "by {} {} ago",
                text(task, "submitted_by"),
                ago(task, "submitted_at")
            ),
        ),
        ("deadline", text(task, "deadline")),
        ("attempts", attempts),
        ("key", text(task, "dedup_key")),
        ("retries", text(task, "retry_of")),
        ("only for", who.join(", ")),
        (
            "locks",
            words_of(task, "paths").collect::<Vec<_>>().join(" "),
        ),
    ]
}

fn relatives(task: &Value, name: &str, words: &str) -> String {
    let line = |(at, other): (usize, &Value)| {
        let words = if at == 0 { words } else { "" };
        format!(
            "{}  {}  {}  {}\n",
            styled(FAINT, format_args!("{words:>10}")),
            styled(NAME, text(other, "task")),
            state(other),
            text(other, "title")
        )
    };
    list(task, name).iter().enumerate().map(line).collect()
}

fn words_of<'a>(body: &'a Value, name: &str) -> impl Iterator<Item = String> + 'a {
    list(body, name)
        .iter()
        .filter_map(Value::as_str)
        .map(show::harmless)
}

/// A field that may be long, under its name.
pub fn block(body: &Value, name: &str) -> String {
    let value = match body.get(name) {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => show::harmless(text),
        Some(value) => show::harmless(&serde_json::to_string_pretty(value).unwrap_or_default()),
    };
    let lines: Vec<String> = value
        .lines()
        .map(|line| format!("  {line}").trim_end().to_owned())
        .collect();
    format!("{}\n{}\n", styled(HEAD, name), lines.join("\n"))
}

/// The state in its colour; `blocked` for what waits for others, `later` for what is put aside.
pub fn state(task: &Value) -> String {
    let blocked = task.get("blocked") == Some(&Value::Bool(true));
    let later = ahead(task, "next_at").is_some();
    match text(task, "state").as_str() {
        "pending" if blocked => styled(FAINT, "blocked"),
        "pending" if later => styled(WARN, "later"),
        "claimed" => styled(WARN, "claimed"),
        "completed" => styled(GOOD, "completed"),
        state @ ("dead" | "cancelled") => styled(BAD, state),
        state => state.to_owned(),
    }
}

/// How long ago that was.
pub fn ago(body: &Value, name: &str) -> String {
    match clock::read(&text(body, name)) {
        Some(at) => span((clock::now() - at).max(0)),
        None => String::new(),
    }
}

/// How far ahead that is, if it is.
pub fn ahead(body: &Value, name: &str) -> Option<String> {
    let left = clock::read(&text(body, name))? - clock::now();
    (left > 0).then(|| span(left))
}
