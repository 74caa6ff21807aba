//! One look at the coordinator: a handful of short reads, and none of them writes.

use serde_json::{Value, json};

use crate::commands::show::{list, text};
use crate::rpc::{Client, Error};
use crate::stack::clock;

/// Rows that are read of anything.
const MOST: usize = 200;
/// Open tasks that are looked at, the oldest first.
pub const MOST_TASKS: usize = 1000;
/// How far back denials are looked for.
const DENIED_WITHIN: i64 = 300;
/// Denials are looked for this seldom: there is no index for them.
const DENIED_EVERY: i64 = 10;

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When, in seconds since 1970.
    pub at: i64,
    pub agents: Vec<Value>,
    pub locks: Vec<Value>,
    pub tasks: Vec<Value>,
    pub waiting: Vec<Value>,
    pub breakers: Vec<Value>,
    pub denied: Vec<Value>,
    pub denied_at: i64,
}

impl Snapshot {
    /// Looks once; denials are those of the last look while they are fresh.
    pub async fn take(client: &Client, last: Option<&Self>) -> Result<Self, Error> {
        let at = clock::now();
        let fresh = last.filter(|last| at - last.denied_at < DENIED_EVERY);
        let denied = async {
            match fresh {
                Some(last) => Ok((last.denied.clone(), last.denied_at)),
                None => Ok((denied(client, at).await?, at)),
            }
        };
        let (team, locks, tasks, waiting, breakers, denied) = tokio::try_join!(
            // By GET, so that looking keeps no session alive.
            client.read("rpc/discover_agents", &[]),
            rows(client, "locks", "order=acquired_at.desc", MOST),
            rows(
                client,
                "tasks",
                "state=in.(pending,claimed)&order=number&\
                 select=task,repo,state,blocked,priority,task_type,title,agent,submitted_at,next_at,lease_until",
                MOST_TASKS
            ),
            rows(client, "lock_queue", "order=asked_at", MOST),
            rows(client, "breakers", "order=last_at.desc", MOST),
            denied,
        )?;
        Ok(Self {
            at,
            agents: list(&team, "agents").to_vec(),
            locks,
            tasks,
            waiting,
            breakers,
            denied: denied.0,
            denied_at: denied.1,
        })
    }

    /// Open tasks by state.
    pub fn counts(&self) -> [(&'static str, usize); 4] {
        let mut counts = [("claimed", 0), ("ready", 0), ("blocked", 0), ("later", 0)];
        for task in &self.tasks {
            let at = match text(task, "state").as_str() {
                "claimed" => 0,
                _ if task["blocked"] == true => 2,
                _ if task["next_at"].is_null() => 1,
                _ => 3,
            };
            counts[at].1 += 1;
        }
        counts
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let [claimed, ready, blocked, later] = self.counts().map(|(_, count)| count);
        json!({
            "at": clock::rfc3339(self.at),
            "agents": self.agents,
            "locks": self.locks,
            "waiting": self.waiting,
            "tasks": {
                "claimed": claimed, "ready": ready, "blocked": blocked, "later": later,
                "more": self.tasks.len() == MOST_TASKS,
                "open": self.tasks,
            },
            "breakers": self.breakers,
            "denied": self.denied,
        })
    }
}

async fn denied(client: &Client, at: i64) -> Result<Vec<Value>, Error> {
    let since = clock::rfc3339(at - DENIED_WITHIN);
    let query = format!(
        "outcome=eq.denied&at=gte.{since}&order=at.desc,id.desc&select=at,agent,session,function,repo,reason"
    );
    match rows(client, "audit", &query, 50).await {
        // Not for everybody's eyes.
        Err(Error::Problem(problem)) if problem.status == 403 => Ok(Vec::new()),
        found => found,
    }
}

async fn rows(client: &Client, view: &str, query: &str, most: usize) -> Result<Vec<Value>, Error> {
    let mut pairs: Vec<(&str, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    pairs.push(("limit", most.to_string()));
    match client.read(view, &pairs).await? {
        Value::Array(rows) => Ok(rows),
        _ => Ok(Vec::new()),
    }
}
