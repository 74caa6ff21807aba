//! One file per command; each has its arguments and a `run`.

pub mod call;
mod completions;
mod lock;
mod man;
pub mod show;

use std::path::PathBuf;

use serde_json::json;

use crate::exit::Exit;
use crate::settings::Global;
use crate::{rpc, settings};

/// The commands of `coord`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Call any function of the coordinator
    Call(call::Args),
    /// Take, release and show locks
    Lock(lock::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

/// Runs one command.
///
/// # Errors
/// What the command could not do; [`Error::exit`] says how to end.
pub async fn run(command: Command, global: &Global) -> Result<Exit, Error> {
    match command {
        Command::Call(args) => call::run(args, global).await,
        Command::Lock(args) => lock::run(args, global).await,
        Command::Man(args) => man::run(&args),
        Command::Completions(args) => Ok(completions::run(&args)),
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// Nobody to call.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// A file or directory that cannot be written.
    #[error("cannot write {path}: {1}", path = .0.display())]
    Write(PathBuf, #[source] std::io::Error),
    /// Arguments that clap cannot judge.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Rpc(error) => error.exit(),
            Self::Settings(settings::Error::NoStack(_)) => Exit::Unreachable,
            Self::Settings(_) | Self::Usage(_) | Self::Write(..) => Exit::Usage,
        }
    }

    /// Tells it on standard error: a line for people, an object for scripts.
    pub fn print(&self, json: bool) {
        if !json {
            anstream::eprintln!("coord: {self}");
            return;
        }
        let object = match self {
            Self::Rpc(rpc::Error::Problem(problem)) => json!({
                "code": problem.code, "message": problem.message,
                "details": problem.details, "hint": problem.hint,
            }),
            other => json!({ "message": other.to_string() }),
        };
        eprintln!("{object}");
    }
}
