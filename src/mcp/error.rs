//! Why the bridge got no answer, in words for a model or for its user.

use crate::exit::Exit;
use crate::rpc::{self, Problem};
use crate::settings;

/// What stands between a caller and an answer, or between the bridge and its client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody to call.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// A call failed.
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// `tool_catalog` answered something that is no catalogue.
    #[error("the coordinator's catalogue of tools cannot be read: {0}")]
    Catalogue(#[from] serde_json::Error),
    /// The HTTP server could not listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client's first words were not MCP.
    #[error("the client does not speak MCP: {0}")]
    Protocol(String),
}

impl Error {
    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(settings::Error::NoStack(_)) => Exit::Unreachable,
            Self::Settings(_) | Self::Listen { .. } | Self::Protocol(_) => Exit::Usage,
            Self::Rpc(error) => error.exit(),
            Self::Catalogue(_) => Exit::Server,
        }
    }

    /// Whether looking up address and token again may help: the stack came
    /// back on another port, or a fresh token was written.
    pub(super) fn may_be_stale(&self) -> bool {
        match self {
            Self::Rpc(rpc::Error::Unreachable(..)) => true,
            Self::Rpc(rpc::Error::Problem(problem)) => problem.status == 401,
            _ => false,
        }
    }

    /// Whether nobody answered, as opposed to somebody who said no.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Settings(settings::Error::NoStack(_)) => true,
            Self::Rpc(error) => error.exit() == Exit::Unreachable,
            _ => false,
        }
    }

    /// For the model: what happened, whether anything was done, what to do now.
    pub(super) fn tell(&self) -> String {
        match self {
            Self::Rpc(rpc::Error::Unreachable(_, source)) if source.is_connect() => format!(
                "coordinator_unreachable: {self}. Nothing was done.\n\
                 next: ask the user to start it with `coord up` or to check COORD_URL, then \
                 repeat this call; until then work as if everything were locked by others."
            ),
            Self::Rpc(rpc::Error::Unreachable(..)) => format!(
                "coordinator_unreachable: {self}. Whether this call took effect is not known.\n\
                 next: look at the state before repeating it; if it stays unreachable, ask the \
                 user to check `coord status` and COORD_URL."
            ),
            Self::Rpc(rpc::Error::Problem(problem)) => tell_problem(problem),
            Self::Settings(settings::Error::NoStack(_)) => {
                format!("coordinator_unreachable: {self}. Nothing was done.")
            }
            other => format!("bridge_error: {other}. Nothing was done."),
        }
    }
}

fn tell_problem(problem: &Problem) -> String {
    let mut text = problem.message.clone();
    // Codes of ours say enough by their message; others are for whoever debugs.
    if !problem.code.is_empty() && !problem.code.starts_with("PT") {
        text = format!("{text} ({})", problem.code);
    }
    if let Some(details) = &problem.details {
        text = format!("{text}: {details}");
    }
    if let Some(hint) = &problem.hint {
        text = format!("{text}\nnext: {hint}");
    } else if problem.status == 401 {
        text.push_str(
            "\nnext: the token is missing, expired or revoked; ask the user for a new one \
             (`coord token mint`, into the token file or COORD_TOKEN).",
        );
    }
    text
}
