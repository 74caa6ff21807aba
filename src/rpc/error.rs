//! What can come back instead of an answer.

use std::fmt;

use serde_json::Value;

use crate::exit::Exit;

/// A call that brought no answer of its function.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, a broken one, or no answer in time.
    #[error("cannot reach the coordinator at {0}: {cause}", cause = root(.1))]
    Unreachable(String, #[source] reqwest::Error),
    /// The server answered with an error.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// A setting that cannot stand in an HTTP header.
    #[error("the value for the {0} header holds a character that HTTP does not allow")]
    Header(&'static str),
    /// The HTTP client could not be made.
    #[error("cannot start the HTTP client: {0}")]
    Setup(#[source] reqwest::Error),
}

/// PostgREST's error body: `message` is a stable code for errors of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// SQLSTATE or PostgREST code, as `PT400` or `PGRST202`.
    pub code: String,
    /// The machine code (`ttl_out_of_range`) or the server's own message.
    pub message: String,
    /// What went wrong, in a sentence.
    pub details: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn read(status: u16, body: &Value) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            status,
            code: text("code").unwrap_or_default(),
            message: text("message")
                .or_else(|| body.as_str().map(str::to_owned))
                .unwrap_or_else(|| format!("the server answered {status} without a reason")),
            details: text("details"),
            hint: text("hint"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(details) = &self.details {
            write!(f, ": {details}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl Error {
    /// Whether trying again soon may help: no connection, or a server that is
    /// starting, restarting or losing its database.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable(..) => true,
            Self::Problem(problem) => matches!(problem.status, 502..=504),
            Self::Header(_) | Self::Setup(_) => false,
        }
    }

    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(..) => Exit::Unreachable,
            Self::Header(_) => Exit::Usage,
            Self::Setup(_) => Exit::Server,
            Self::Problem(problem) => match problem.status {
                400 | 404 | 405 | 406 | 415 | 422 => Exit::Usage,
                502..=504 => Exit::Unreachable,
                400..=499 => Exit::Refused,
                _ => Exit::Server,
            },
        }
    }
}

/// The innermost cause: `reqwest` says "error sending request", the reason is below it.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
