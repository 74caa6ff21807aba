//! Who runs checks, one file each. Another one is another file, a line here, and a row of
//! `coord.executors`.

mod agentcore;
mod e2b;
mod github_actions;
mod http;
mod inline;
mod local;
mod shell;

use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::config::{Repo, Wrong};
use super::job::{Ended, Job};
use super::scratch::{Run, Scratch};

/// An executor's section of the configuration, read and checked.
pub type Read = fn(&Value) -> Result<Box<dyn Executor>, Wrong>;

/// All there are.
pub const ALL: [(&str, Read); 5] = [
    ("inline", inline::read),
    ("local", local::read),
    ("github_actions", github_actions::read),
    ("e2b", e2b::read),
    ("agentcore", agentcore::read),
];

/// A run under way.
pub type Running<'a> = Pin<Box<dyn Future<Output = Ended> + Send + 'a>>;

/// Something that runs checks.
pub trait Executor: Send + Sync {
    /// The targets that it knows; none for all there are, an empty one for a job without.
    fn targets(&self) -> Vec<Option<String>>;

    /// Whether that is work for this machine.
    fn here(&self) -> bool {
        false
    }

    /// Runs a job to its end, or soon to none when it is stopped. The base is the commit that
    /// the change begins after: what it says, or what git does where that is not known.
    fn run<'a>(&'a self, work: &'a Work, base: &'a str) -> Running<'a>;
}

/// A job and what surrounds it.
pub struct Work {
    pub job: Job,
    pub repo: Arc<Repo>,
    pub scratch: Arc<Scratch>,
    pub log_url: Option<String>,
    /// Says that nobody waits for the run any more.
    pub stop: CancellationToken,
    /// What is to be removed once the verdict is reported, which does not wait for that.
    pub left: Mutex<Option<Run>>,
}

impl Work {
    /// The name of its log, and of what else is its own.
    pub fn name(&self) -> String {
        format!("{}-{}", self.job.id, self.job.attempt)
    }

    /// What a check is told about the change.
    pub fn facts(&self, base: &str) -> Vec<(String, String)> {
        let job = &self.job;
        [
            ("COORD_JOB", &*job.id),
            ("COORD_CHANGESET", &job.changeset),
            ("COORD_REPO", &job.repo),
            ("COORD_BASE", base),
            ("COORD_HEAD", &job.head),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// A target as the configuration spells it: a job without one is the default.
pub const DEFAULT: &str = "default";

/// What a job's target is called in the configuration.
pub fn target(job: &Job) -> &str {
    job.target.as_deref().unwrap_or(DEFAULT)
}

/// The configuration's targets, as the queue calls them.
pub fn spoken<'a>(names: impl Iterator<Item = &'a String>) -> Vec<Option<String>> {
    let spoken = |name: &String| match name.as_str() {
        DEFAULT => vec![Some(String::new()), Some(DEFAULT.to_owned())],
        name => vec![Some(name.to_owned())],
    };
    names.flat_map(spoken).collect()
}
