//! A job as it was taken, and what came of it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::commands::show;
use crate::stack::clock;

/// What `take_verification` answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    #[serde(rename = "job")]
    pub id: String,
    pub attempt: i64,
    pub changeset: String,
    pub repo: String,
    pub executor: String,
    #[serde(default)]
    pub target: Option<String>,
    pub base: String,
    pub head: String,
    #[serde(default)]
    pub branch: Option<String>,
    #[serde(default)]
    pub task: Option<String>,
    pub author: String,
    pub timeout_seconds: u64,
    pub timeout_at: String,
    /// Of the lease, when it was answered.
    pub seconds_left: u64,
    pub paths_known: bool,
    /// Whether the base is itself a verified head.
    #[serde(default)]
    pub base_verified: bool,
    pub changed_paths: Vec<String>,
}

impl Job {
    /// As in the policies: `local:integration`.
    pub fn check(&self) -> String {
        match &self.target {
            Some(target) => format!("{}:{target}", self.executor),
            None => self.executor.clone(),
        }
    }

    /// When it was taken, by the clock of the database: that is the one that evidence is
    /// measured by, and this machine's may be wrong. To the second, rounded up.
    pub fn taken_at(&self) -> i64 {
        let end = clock::read(&self.timeout_at).unwrap_or_else(clock::now) + 1;
        end.saturating_sub_unsigned(self.timeout_seconds)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// It could not be run, which says nothing of the change.
    Error,
    TimedOut,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::TimedOut => "timed_out",
        }
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug)]
pub struct Ended {
    pub verdict: Verdict,
    pub summary: String,
    /// What else the evidence says, or says otherwise: `log`, `log_url`, `run`, `started_at`, ….
    pub evidence: Map<String, Value>,
}

/// As long as a summary may be.
const SUMMARY: usize = 2000;

impl Ended {
    pub fn new(verdict: Verdict, summary: impl Into<String>) -> Self {
        Self {
            verdict,
            summary: summary.into(),
            evidence: Map::new(),
        }
    }

    /// It could not be run.
    pub fn error(why: impl Into<String>) -> Self {
        Self::new(Verdict::Error, why)
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), value.into());
        self
    }

    /// The evidence for the head, of a run that took so many seconds.
    pub fn evidence(&self, job: &Job, seconds: u64) -> Value {
        let began = job.taken_at();
        let mut evidence = Map::from_iter([
            ("commit".to_owned(), json!(job.head)),
            ("started_at".to_owned(), clock::rfc3339(began).into()),
            (
                "ended_at".to_owned(),
                clock::rfc3339(began.saturating_add_unsigned(seconds)).into(),
            ),
            ("summary".to_owned(), last(&self.summary, SUMMARY).into()),
        ]);
        evidence.extend(self.evidence.clone());
        evidence.into()
    }
}

/// The end of a text, without what steers a terminal or no database stores.
pub fn last(text: &str, most: usize) -> String {
    let plain = anstream::adapter::strip_str(text.trim_end()).to_string();
    let plain = show::harmless(&plain);
    let skip = plain.chars().count().saturating_sub(most);
    plain.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_began_when_the_database_says_it_was_taken() {
        let job: Job = serde_json::from_value(json!({
            "job": "V-1", "attempt": 1, "changeset": "C-1", "repo": "h/o/r", "executor": "local", "target": "unit",
            "base": "", "head": "abc", "author": "ann", "timeout_seconds": 600, "seconds_left": 60,
            "timeout_at": "2026-11-23T10:10:00.25+00:00", "paths_known": true, "changed_paths": ["a"]
        }))
        .unwrap();
        let evidence = Ended::new(Verdict::Passed, "x\u{1b}[31my\u{0}\n").evidence(&job, 5);
        assert_eq!(
            evidence,
            json!({"commit": "abc", "started_at": "2026-11-23T10:00:01Z", "ended_at": "2026-11-23T10:00:06Z", "summary": "xy"})
        );
        assert_eq!(job.check(), "local:unit");
        assert_eq!(last("0123456789", 3), "789");
    }
}
