//! `coord hook`: the coordinator's word in the hooks of agents' clients and of git.
//!
//! Before a client uses a tool it asks whether it may. Before a commit the locks are asked
//! for, its message says under which it was made, and the server that takes the push checks
//! that. What to do about it is the coordinator's decision; here it is asked, and told to
//! whoever waits. A hook's exit code is its host's: for git, 0 goes on and all else stops.

pub mod canary;
mod client;
mod commit_msg;
mod config;
mod install;
mod message;
mod place;
mod pre_commit;
mod pre_receive;
mod prepare_commit_msg;
mod pushed;
mod script;
mod staged;
mod status;
mod uninstall;
mod verdict;
mod wiring;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::commands::Error as CommandError;
use crate::exit::Exit;
use crate::settings::Global;
use crate::{git, remote, rpc, settings};
use config::Config;
use wiring::Client;

pub use client::misused;

/// Arguments of `coord hook`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "docs/client-hooks.md and docs/git-hooks.md tell what is checked, what to paste, and how a server is set up."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// host/owner/name or a remote's URL [default: `COORD_REPO`, else git config coord.repo, else git's remote origin]
    #[arg(long, global = true, value_name = "REPO")]
    repo: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Put hooks into this repository, beside those that are there; what --repo, --url, --token-file and --home say is kept in its git config
    Install(install::Args),
    /// Take the hooks out again and put back what was there
    Uninstall(Names),
    /// Say which hooks are in place and work, and whether the coordinator answers
    Status,
    /// For Claude Code: judge an event of its hooks
    ClaudeCode(client::Args),
    /// For Codex: judge an event of its hooks
    Codex(client::Args),
    /// For git: check that what is staged is locked by you
    PreCommit,
    /// For git: say in the commit's message under which locks it is made
    PrepareCommitMsg(prepare_commit_msg::Args),
    /// For git: the same for a message that was just written
    CommitMsg(commit_msg::Args),
    /// For a server's git: check that what is pushed was made under locks
    PreReceive,
}

#[derive(Debug, clap::Args)]
struct Names {
    /// Which hooks; without names git's that are for a clone, and those of the clients that are found
    #[arg(value_enum, value_name = "HOOK")]
    names: Vec<Name>,
}

impl Names {
    /// Those of git.
    fn of_git(&self) -> Vec<Hook> {
        let hooks = self.names.iter().filter_map(|name| name.of_git());
        hooks.collect()
    }

    /// Those of clients.
    fn of_clients(&self) -> Vec<Client> {
        let clients = self.names.iter().filter_map(|name| name.of_client());
        clients.collect()
    }
}

/// What can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    PreCommit,
    PrepareCommitMsg,
    CommitMsg,
    PreReceive,
    ClaudeCode,
    Codex,
    Aider,
}

impl Name {
    fn of_git(self) -> Option<Hook> {
        match self {
            Self::PreCommit => Some(Hook::PreCommit),
            Self::PrepareCommitMsg => Some(Hook::PrepareCommitMsg),
            Self::CommitMsg => Some(Hook::CommitMsg),
            Self::PreReceive => Some(Hook::PreReceive),
            _ => None,
        }
    }

    fn of_client(self) -> Option<Client> {
        match self {
            Self::ClaudeCode => Some(Client::ClaudeCode),
            Self::Codex => Some(Client::Codex),
            Self::Aider => Some(Client::Aider),
            _ => None,
        }
    }
}

/// A hook of git that calls us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    PreCommit,
    PrepareCommitMsg,
    CommitMsg,
    PreReceive,
}

impl Hook {
    const ALL: [Self; 4] = [
        Self::PreCommit,
        Self::PrepareCommitMsg,
        Self::CommitMsg,
        Self::PreReceive,
    ];
    /// Those of whoever commits.
    const CLIENT: [Self; 3] = [Self::PreCommit, Self::PrepareCommitMsg, Self::CommitMsg];

    fn name(self) -> &'static str {
        match self {
            Self::PreCommit => "pre-commit",
            Self::PrepareCommitMsg => "prepare-commit-msg",
            Self::CommitMsg => "commit-msg",
            Self::PreReceive => "pre-receive",
        }
    }

    /// Whether git waits for its word. The others only add to the message.
    fn decides(self) -> bool {
        matches!(self, Self::PreCommit | Self::PreReceive)
    }
}

/// Why a hook cannot do what it is for.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Git(#[from] git::Error),
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    #[error(transparent)]
    Settings(#[from] settings::Error),
    #[error("no token: the coordinator at {0} must know who asks")]
    NoToken(String),
    #[error("the coordinator gave no answer within {0} seconds")]
    Late(f64),
    #[error("the event of the client cannot be read: {0}")]
    Event(String),
    #[error("{0}")]
    Usage(String),
    #[error("the coordinator answered without a decision: {0}")]
    NoDecision(String),
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// One call of a hook: with whom, about which repository.
struct Caller {
    client: rpc::Client,
    repo: Option<String>,
}

impl Caller {
    /// Flags, then the environment, then the repository's git config: a server's hooks have little of the first two.
    fn new(global: &Global, repo: Option<&str>) -> Result<Self, Error> {
        Self::speaking(global, repo, |global| global)
    }

    /// The same for what an agent's client calls, which is never the operator.
    fn of_client(global: &Global, repo: Option<&str>) -> Result<Self, Error> {
        Self::speaking(global, repo, |global| global.of_agent())
    }

    fn speaking(
        global: &Global,
        repo: Option<&str>,
        as_whom: impl FnOnce(Global) -> Global,
    ) -> Result<Self, Error> {
        let (config, repo) = std::thread::scope(|scope| {
            let config = scope.spawn(Config::read);
            let repo = repo.map(str::to_owned).or_else(remote::repo);
            (config.join().unwrap_or_default(), repo)
        });
        let target = as_whom(config.behind(global)).target()?;
        if target.token.is_none() {
            return Err(Error::NoToken(target.url));
        }
        Ok(Self {
            client: rpc::Client::new(target)?,
            repo,
        })
    }

    /// The arguments that every call begins with.
    fn args(&self) -> serde_json::Map<String, serde_json::Value> {
        let repo = self.repo.clone();
        repo.map(|repo| ("repo".to_owned(), repo.into()))
            .into_iter()
            .collect()
    }
}

/// Git waits, and so does whoever called it.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Late(limit.as_secs_f64())),
    }
}

/// Installs hooks or is one.
///
/// # Errors
/// Only where it is not a hook: those tell what went wrong themselves.
pub async fn run(args: Args, global: &Global) -> Result<Exit, CommandError> {
    let repo = args.repo.as_deref();
    match args.what {
        What::Install(args) => install::run(&args, repo, global).await,
        What::Uninstall(names) => uninstall::run(&names, global),
        What::ClaudeCode(args) | What::Codex(args) => Ok(client::run(&args, repo, global).await),
        What::Status => status::run(repo, global).await,
        What::PreCommit => Ok(pre_commit::run(repo, global).await),
        What::PrepareCommitMsg(args) => Ok(prepare_commit_msg::run(&args, repo, global).await),
        What::CommitMsg(args) => Ok(commit_msg::run(&args, repo, global).await),
        What::PreReceive => Ok(pre_receive::run(repo, global).await),
    }
}
