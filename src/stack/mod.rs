//! The local stack: a private PostgreSQL and the official PostgREST, started,
//! watched and stopped as plain child processes.

pub mod clock;
pub mod doctor;
pub mod first_tokens;
pub mod home;
pub mod keys;
pub mod lock;
pub mod migrate;
pub mod postgres;
pub mod postgrest;
pub mod postgrest_binary;
pub mod process;
pub mod progress;
pub mod server_account;
pub mod spawn;
pub mod state;
pub mod supervise;
pub mod token;

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::rpc;

/// Why the stack, its keys or its tokens could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or process operation failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, as "read /x/y".
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A stack already runs in this home.
    #[error("already running in {home} ({url}); stop it with `coord down --home {home}`", home = .0.display(), url = .1)]
    AlreadyRunning(PathBuf, String),
    /// Stopped by a signal while starting.
    #[error("stopped before it was ready")]
    Interrupted,
    /// No PostgreSQL that is new enough.
    #[error(
        "no PostgreSQL {min} or newer was found{found}; install one (Debian: `apt-get install postgresql`, macOS: `brew install postgresql@17`) or set COORD_PG_BIN to the directory of its `postgres`, `initdb` and so on",
        min = postgres::OLDEST
    )]
    NoPostgres {
        /// What was found instead, or nothing.
        found: String,
    },
    /// No PostgREST, and none could be installed.
    #[error("no PostgREST: {0}")]
    NoPostgrest(String),
    /// The port of the API belongs to somebody else.
    #[error(
        "port {0} of 127.0.0.1 is taken by another program; start with `coord up --port 0` for a free one, or name one with `--port N`"
    )]
    PortTaken(u16),
    /// A server ended or never became ready.
    #[error("{name} {what}; the end of {log}:\n{tail}", log = .log.display())]
    Server {
        /// Which server.
        name: &'static str,
        /// What happened.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The `coord up` in the background ended before it was ready.
    #[error("`coord up` did not come up; {log} says:\n{tail}", log = .log.display())]
    Background {
        /// Its exit code.
        code: Option<i32>,
        /// Its log.
        log: PathBuf,
        /// What it said.
        tail: String,
    },
    /// The data directory is not one that this program may use.
    #[error("{0}")]
    Data(String),
    /// The home cannot be used as it is.
    #[error("{0}")]
    Home(String),
    /// The database cannot be brought to this program's migrations.
    #[error("{0}")]
    Migration(String),
    /// The database refused a connection or a command.
    #[error("the private PostgreSQL refused: {0}; `coord doctor` says more")]
    Database(#[from] sqlx::Error),
    /// The signing key.
    #[error("{0}")]
    Key(String),
    /// A token, or an argument about one, is wrong.
    #[error("{0}")]
    Token(String),
    /// A call to the stack's own API failed.
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// Nothing runs in this home.
    #[error("nothing runs in {home}; start it with `coord up --detach`", home = .0.display())]
    NotRunning(PathBuf),
}

impl Error {
    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::AlreadyRunning(..) => Exit::Refused,
            Self::Token(_) | Self::Background { code: Some(2), .. } => Exit::Usage,
            Self::Rpc(error) => error.exit(),
            Self::NoPostgres { .. }
            | Self::NoPostgrest(_)
            | Self::PortTaken(_)
            | Self::Interrupted
            | Self::NotRunning(_)
            | Self::Background { code: Some(3), .. } => Exit::Unreachable,
            _ => Exit::Server,
        }
    }
}

/// Names what was being done in an I/O error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
    fn at(self, verb: &str, path: &Path) -> Result<T, Error>
    where
        Self: Sized,
    {
        self.doing(|| format!("{verb} {}", path.display()))
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            doing: what(),
            source,
        })
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(io::Error::from).doing(what)
    }
}
