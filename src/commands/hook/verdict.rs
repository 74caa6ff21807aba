//! What the coordinator says of the files of a commit.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::words::{list, text};
use super::{Caller, Error, staged, within};

/// Paths in one call; the coordinator takes no more.
const BATCH: usize = 64;

/// Somebody waits for the commit.
const LIMIT: Duration = Duration::from_secs(8);

/// What git is to do, from the mildest to the hardest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Allow,
    Warn,
    Deny,
}

impl Decision {
    /// The one in an answer.
    pub fn of(answer: &Value) -> Result<Self, Error> {
        match answer.get("decision").and_then(Value::as_str) {
            Some("allow") => Ok(Self::Allow),
            Some("warn") => Ok(Self::Warn),
            Some("deny") => Ok(Self::Deny),
            _ => Err(Error::NoDecision(text(answer, "outcome"))),
        }
    }
}

/// The answers about all files of a commit, together.
#[derive(Debug)]
pub struct Verdict {
    /// The hardest of the decisions.
    pub decision: Decision,
    /// Who asked.
    pub agent: String,
    /// The locks behind the files.
    pub covered: Vec<Value>,
    /// The files without one.
    pub problems: Vec<Value>,
}

/// Asks about files as git names them.
pub async fn ask(caller: &Caller, files: &BTreeSet<Vec<u8>>) -> Result<Verdict, Error> {
    let paths: BTreeSet<String> = files.iter().map(|name| staged::lock_path(name)).collect();
    let paths: Vec<String> = paths.into_iter().collect();
    let mut verdict = Verdict {
        decision: Decision::Allow,
        agent: String::new(),
        covered: Vec::new(),
        problems: Vec::new(),
    };
    within(LIMIT, async {
        for batch in paths.chunks(BATCH) {
            let mut args = caller.args();
            args.insert("paths".to_owned(), json!(batch));
            let answer = caller.client.call("verify_locks", &args).await?.body;
            verdict.decision = verdict.decision.max(Decision::of(&answer)?);
            verdict.agent = text(&answer, "agent");
            verdict.covered.extend_from_slice(list(&answer, "covered"));
            verdict
                .problems
                .extend_from_slice(list(&answer, "problems"));
        }
        Ok(())
    })
    .await?;
    Ok(verdict)
}
