//! What a look shows: the same rows in a terminal and as text.

use std::fmt::Write as _;

use serde_json::Value;

use super::snapshot::{MOST_TASKS, Snapshot};
use crate::commands::show::{left, list, span, text};
use crate::stack::clock;

/// A table with a title.
pub struct Pane {
    pub name: &'static str,
    /// What it comes to.
    pub sum: String,
    pub heads: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
}

/// How many there are.
pub const COUNT: usize = 5;

pub fn of(snapshot: &Snapshot) -> [Pane; COUNT] {
    [
        agents(snapshot),
        locks(snapshot),
        queue(snapshot),
        waiting(snapshot),
        refusals(snapshot),
    ]
}

fn agents(snapshot: &Snapshot) -> Pane {
    let row = |agent: &Value| {
        let mut doing: Vec<String> = words(agent, "tasks");
        match agent["locks"].as_u64() {
            None | Some(0) => {}
            Some(1) => doing.push("1 lock".to_owned()),
            Some(locks) => doing.push(format!("{locks} locks")),
        }
        vec![
            text(agent, "agent"),
            text(agent, "agent_type"),
            match (text(agent, "status").as_str(), agent.get("busy_until")) {
                ("active", Some(_)) => "busy".to_owned(),
                (status, _) => status.to_owned(),
            },
            since(agent, "seen_at", snapshot.at),
            doing.join(" "),
            words(agent, "capabilities").join(" "),
            text(agent, "session_id"),
        ]
    };
    Pane {
        name: "Agents",
        sum: snapshot.agents.len().to_string(),
        heads: &["agent", "type", "status", "seen", "has", "can", "session"],
        rows: snapshot.agents.iter().map(row).collect(),
    }
}

fn locks(snapshot: &Snapshot) -> Pane {
    let row = |lock: &Value| {
        vec![
            text(lock, "path"),
            text(lock, "holder"),
            text(lock, "mode"),
            left(lock),
            text(lock, "repo"),
            text(lock, "reason"),
        ]
    };
    Pane {
        name: "Locks",
        sum: snapshot.locks.len().to_string(),
        heads: &["path", "holder", "mode", "left", "repo", "reason"],
        rows: snapshot.locks.iter().map(row).collect(),
    }
}

/// Claimed tasks, then those that wait, the oldest first.
fn queue(snapshot: &Snapshot) -> Pane {
    let row = |task: &Value| {
        let state = match text(task, "state").as_str() {
            "claimed" => "claimed",
            _ if task["blocked"] == true => "blocked",
            _ if task["next_at"].is_null() => "ready",
            _ => "later",
        };
        vec![
            text(task, "task"),
            state.to_owned(),
            text(task, "priority"),
            text(task, "task_type"),
            text(task, "agent"),
            since(task, "submitted_at", snapshot.at),
            text(task, "title"),
        ]
    };
    let mut rows: Vec<Vec<String>> = snapshot.tasks.iter().map(row).collect();
    rows.sort_by_key(|row| match row[1].as_str() {
        "claimed" => 0,
        "ready" => 1,
        "later" => 2,
        _ => 3,
    });
    let counts = snapshot
        .counts()
        .map(|(name, count)| format!("{count} {name}"));
    let mut sum = counts.join(", ");
    if snapshot.tasks.len() == MOST_TASKS {
        sum.push_str(" of the oldest 1000");
    }
    let ready = rows.iter().find(|row| row[1] == "ready");
    if let Some(oldest) = ready {
        let _ = write!(sum, ", {} waits for {}", oldest[0], oldest[5]);
    }
    Pane {
        name: "Queue",
        sum,
        heads: &["task", "state", "prio", "type", "agent", "age", "title"],
        rows,
    }
}

fn waiting(snapshot: &Snapshot) -> Pane {
    let row = |ticket: &Value| {
        let waited = ticket["seconds_waited"].as_i64();
        vec![
            text(ticket, "ticket"),
            text(ticket, "waiter"),
            waited.map(|it| span(it.max(0))).unwrap_or_default(),
            words(ticket, "paths").join(" "),
            text(ticket, "repo"),
            text(ticket, "reason"),
        ]
    };
    Pane {
        name: "Waiting",
        sum: snapshot.waiting.len().to_string(),
        heads: &["ticket", "agent", "since", "for", "repo", "reason"],
        rows: snapshot.waiting.iter().map(row).collect(),
    }
}

/// Who runs against a wall over and over, then what was denied.
fn refusals(snapshot: &Snapshot) -> Pane {
    let repeated = |row: &Value| {
        vec![
            since(row, "last_at", snapshot.at),
            text(row, "agent"),
            text(row, "function"),
            text(row, "outcome"),
            format!("{}x", text(row, "times")),
            text(row, "held_by"),
        ]
    };
    let denied = |row: &Value| {
        vec![
            since(row, "at", snapshot.at),
            text(row, "agent"),
            text(row, "function"),
            "denied".to_owned(),
            String::new(),
            text(row, "reason"),
        ]
    };
    let rows = snapshot.breakers.iter().map(repeated);
    Pane {
        name: "Refusals",
        sum: format!(
            "{} repeated, {} denied",
            snapshot.breakers.len(),
            snapshot.denied.len()
        ),
        heads: &["ago", "agent", "function", "outcome", "times", "why"],
        rows: rows.chain(snapshot.denied.iter().map(denied)).collect(),
    }
}

fn words(row: &Value, name: &str) -> Vec<String> {
    let words = list(row, name).iter().filter_map(Value::as_str);
    words
        .map(|word| crate::commands::show::harmless(word).replace('\n', " "))
        .collect()
}

fn since(row: &Value, name: &str, now: i64) -> String {
    let at = clock::read(&text(row, name));
    at.map(|at| span((now - at).max(0))).unwrap_or_default()
}
