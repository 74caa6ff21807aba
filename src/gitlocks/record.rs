//! What the commits say: a line for people, and JSON for machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{KEPT, LOST_KEPT, Who, nonce};
use crate::stack::clock;

/// Where all of it lies.
pub const PREFIX: &str = "refs/coord/locks/";

/// The register.
pub const GUARD: &str = "refs/coord/locks/guard";

/// The only form there is.
const VERSION: u32 = 1;

/// How a lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Held,
    Released,
    Lost,
}

/// How it came to its end, if not by time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub at: i64,
    /// To whom it was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Who lost a lock to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loser {
    pub agent: String,
    pub session: String,
    pub fence: i64,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub state: State,
    pub path: String,
    #[serde(default)]
    pub shared: bool,
    pub agent: String,
    pub session: String,
    #[serde(default)]
    pub agent_type: String,
    #[serde(default)]
    pub reason: Option<String>,
    /// Times in seconds since 1970.
    pub acquired: i64,
    pub expires: i64,
    /// The turn that made its ref.
    pub turn: i64,
    /// What its holder was given: the turn, or the database's.
    pub fence: i64,
    /// Whether this is a lock of the database, shown here.
    #[serde(default)]
    pub database: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<Loser>,
}

impl Record {
    /// Held, and not over at this time.
    pub fn is_live(&self, now: i64) -> bool {
        self.state == State::Held && now < self.expires
    }

    /// Over for so long that nobody needs to see it.
    pub fn is_stale(&self, now: i64) -> bool {
        let ended = self.ending.as_ref().map_or(self.expires, |it| it.at);
        match self.state {
            State::Lost => now > ended + LOST_KEPT,
            State::Held => now > self.expires + KEPT,
            State::Released => now > ended + KEPT,
        }
    }

    pub fn owned_by(&self, who: &Who) -> bool {
        self.agent == who.agent && self.session == who.session
    }

    pub fn mode(&self) -> &'static str {
        if self.shared { "shared" } else { "exclusive" }
    }

    /// As answers show it to anybody.
    pub fn told(&self, now: i64) -> Value {
        json!({
            "path": self.path, "mode": self.mode(), "holder": self.agent, "agent_type": self.agent_type,
            "session_id": self.session, "reason": self.reason, "fence": self.fence,
            "acquired_at": clock::rfc3339(self.acquired), "expires_at": clock::rfc3339(self.expires),
            "seconds_left": self.expires - now,
            "origin": if self.database { "database" } else { "git" },
        })
    }

    /// As its holder is told.
    pub fn granted(&self, now: i64) -> Value {
        json!({
            "path": self.path, "mode": self.mode(), "fence": self.fence,
            "expires_at": clock::rfc3339(self.expires), "seconds_left": self.expires - now,
        })
    }

    /// The commit's message.
    pub fn message(&self) -> String {
        let how = match self.state {
            State::Held => "held by",
            State::Released => "released by",
            State::Lost => "lost by",
        };
        let title = format!("coord lock: {} {how} {}", self.path, self.agent);
        message(&title, serde_json::to_value(self).unwrap_or_default())
    }

    pub fn read(message: &str) -> Option<Self> {
        serde_json::from_value(body(message)?).ok()
    }
}

/// The register as it is written.
pub fn register(turn: i64, refs: &BTreeMap<String, i64>) -> String {
    let body = json!({"turn": turn, "refs": refs});
    message(&format!("coord locks: turn {turn}"), body)
}

/// The register as it is read.
#[derive(Clone, Debug, Deserialize)]
pub struct Register {
    pub turn: i64,
    pub refs: BTreeMap<String, i64>,
}

impl Register {
    pub fn read(message: &str) -> Option<Self> {
        serde_json::from_value(body(message)?).ok()
    }
}

fn message(title: &str, mut body: Value) -> String {
    body["v"] = VERSION.into();
    // No commit is ever made twice.
    body["nonce"] = nonce().into();
    let title: String = title.chars().take(200).collect();
    format!("{title}\n\n{body}\n")
}

fn body(message: &str) -> Option<Value> {
    let json = message.lines().find(|line| line.starts_with('{'))?;
    let body: Value = serde_json::from_str(json).ok()?;
    (body["v"] == VERSION).then_some(body)
}

/// The ref of a path's lock; of a shared one, that of this owner.
pub fn name(path: &str, owner: Option<&Who>) -> String {
    let mut hash = Sha256::new();
    hash.update(path);
    if let Some(owner) = owner {
        hash.update(format!("\n{}\n{}", owner.agent, owner.session));
    }
    let hash = hash.finalize();
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| hash[8 * at + i]));
    format!("{PREFIX}{:016x}{:016x}", number(0), number(1))
}
