//! What a running stack tells its clients and the other commands.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Error;
use super::home::{Home, write_private};

/// The contents of `state.json`; there while the stack runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Root of the REST API.
    pub url: String,
    /// The `coord up` process.
    pub pid: i32,
    /// Port of the API.
    pub port: u16,
    /// Port of PostgREST's `/ready`.
    pub admin_port: u16,
    /// The home, as an absolute path.
    pub home: PathBuf,
    /// Directory of PostgreSQL's socket.
    pub socket: PathBuf,
    /// Name of the database.
    pub database: String,
    /// Version of the server.
    pub postgres_version: String,
    /// Directory of its programs.
    pub postgres_bin: PathBuf,
    /// Process id of the postmaster.
    pub postgres_pid: Option<u32>,
    /// The PostgREST program.
    pub postgrest: PathBuf,
    /// Its process id.
    pub postgrest_pid: Option<u32>,
    /// RFC 3339.
    pub started_at: String,
    /// Version of coord.
    pub version: String,
}

impl State {
    /// What the last `coord up` left here.
    #[must_use]
    pub fn read(home: &Home) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(home.state()).ok()?).ok()
    }

    /// Writes it for others.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, home: &Home) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write_private(&home.state(), &format!("{text}\n"))
    }

    /// For the owner of the home: a URL that psql and sqlx-cli take.
    #[must_use]
    pub fn database_url(&self) -> String {
        format!(
            "postgresql://postgres@localhost/{}?host={}",
            self.database,
            percent(&self.socket.to_string_lossy())
        )
    }
}

/// Encodes what may not stand in a query as it is.
pub(crate) fn percent(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
