//! A canary: an event that must come back denied, sent through a hook as its client sends one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::wiring::Client;
use super::{Error, Hook, place, place::Place, script};
use crate::settings::env;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canary {
    /// The client does not call us.
    NotThere,
    /// It would ask, and be told this.
    Active(String),
    /// It would not, and why.
    Dead(String),
}

impl Canary {
    /// In a word.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::NotThere => "not there",
            Self::Active(_) => "active",
            Self::Dead(_) => "NOT ACTIVE",
        }
    }

    /// And in some more.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::NotThere => "",
            Self::Active(why) | Self::Dead(why) => why,
        }
    }
}

/// A client, where its settings are, and what a canary through them showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name.
    pub client: &'static str,
    /// Its settings.
    pub path: PathBuf,
    /// What became of the canary.
    pub canary: Canary,
}

/// Sends one through every client's hook of the checkout here; nothing where there is none.
#[must_use]
pub fn all() -> Vec<Seen> {
    let Some(root) = place::root() else {
        return Vec::new();
    };
    let seen = Client::ALL.iter().map(|client| Seen {
        client: client.name(),
        path: client.file(&root),
        canary: send(*client, &root).unwrap_or_else(|error| Canary::Dead(error.to_string())),
    });
    seen.collect()
}

fn send(client: Client, root: &Path) -> Result<Canary, Error> {
    let lines = client.lines(root)?;
    let Some(line) = lines.first() else {
        return Ok(Canary::NotThere);
    };
    if client == Client::Aider {
        let hooked =
            Place::find().is_ok_and(|place| script::ours(&place.script(Hook::PreCommit)).is_some());
        return Ok(if hooked {
            Canary::Active("its commits run git's hooks".to_owned())
        } else {
            Canary::Dead("its commits run git's hooks, and pre-commit is none of ours: coord hook install pre-commit".to_owned())
        });
    }
    if client == Client::Codex && !is_trusted(&client.file(root)) {
        return Ok(Canary::Dead(
            "Codex skips hooks that nobody trusted: start it here and say /hooks".to_owned(),
        ));
    }
    Ok(judged(&answer(line, root)?))
}

/// Codex keeps what its person trusted in its own settings; the hash in it is its own affair.
fn is_trusted(file: &Path) -> bool {
    let home = env("CODEX_HOME").map_or_else(
        || PathBuf::from(env("HOME").unwrap_or_default()).join(".codex"),
        PathBuf::from,
    );
    let settings = std::fs::read_to_string(home.join("config.toml")).unwrap_or_default();
    settings.contains(&format!("{}:pre_tool_use:", file.display()))
}

/// What the hook's command line prints for a forced push, run as a client runs it.
fn answer(line: &str, root: &Path) -> Result<String, Error> {
    let event = json!({
        "hook_event_name": "PreToolUse", "session_id": "coord-canary", "cwd": root, "coord_canary": true,
        "tool_name": "Bash", "tool_input": {"command": "git push --force origin main"},
    });
    let fail = |error: std::io::Error| Error::Event(error.to_string());
    let mut hook = Command::new("sh")
        .args(["-c", line])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = hook.stdin.take() {
        // A hook that does not read says so by its answer.
        let _ = stdin.write_all(event.to_string().as_bytes());
    }
    let output = hook.wait_with_output().map_err(fail)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Event(format!("{}: {}", output.status, said.trim())))
}

fn judged(answer: &str) -> Canary {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let said = text("/hookSpecificOutput/permissionDecisionReason").or(text("/systemMessage"));
    match text("/canary/decision") {
        Some("deny") => Canary::Active("a forced push came back denied".to_owned()),
        Some(decision) => Canary::Active(format!(
            "a forced push came back as {decision}: the guardrails of your profile are on {}",
            text("/canary/mode").unwrap_or_default()
        )),
        None => Canary::Dead(
            said.unwrap_or("a forced push came back without a word")
                .to_owned(),
        ),
    }
}
