//! Where to call and as whom: flags, then the environment, then the home of the local stack.

use std::path::{Path, PathBuf};

/// The local stack's first agent: whom agents speak as while nobody says otherwise, and never the operator.
pub const AGENT: &str = "agent-1";
/// The principal that the migrations seed, who registers the others.
pub const OPERATOR: &str = "operator";

/// A REST API and the identity to call it with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Root of the REST API, without a trailing slash.
    pub url: String,
    /// The JWT.
    pub token: Option<String>,
    /// Sent as `apikey`, which hosted Supabase wants.
    pub apikey: Option<String>,
    /// Sent as `X-Session-Id`.
    pub session: Option<String>,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Directory of the local stack [default: /var/lib/coord as root, else ~/.local/share/coord]
    #[arg(long, global = true, env = "COORD_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Root of the REST API; with a token, no local stack is needed
    #[arg(long, global = true, env = "COORD_URL", value_name = "URL")]
    pub url: Option<String>,
    /// File that holds the token (or set `COORD_TOKEN` to the token itself)
    #[arg(long, global = true, env = "COORD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Use the local stack's token of this name
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub principal: Option<String>,
    /// Session to speak as; without it, the token is the session
    #[arg(long, global = true, env = "COORD_SESSION_ID", value_name = "ID")]
    pub session: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where the token of calls comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// None is sent.
    Nowhere,
    /// `COORD_TOKEN`.
    Variable,
    /// The home keeps it under this name.
    Kept(String, PathBuf),
    /// A file that was named.
    File(PathBuf),
}

/// Why there is nobody to call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No URL, and no stack runs in the home.
    #[error(
        "no coordinator is known: {0} holds no running stack; start one with `coord up`, or set COORD_URL and COORD_TOKEN"
    )]
    NoStack(PathBuf),
    /// A token file that cannot be read.
    #[error(
        "cannot read the token in {path}: {source}; `coord token mint … > {path}` makes one, `--token-file` names another"
    )]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Global {
    /// The home of the local stack.
    #[must_use]
    pub fn home_dir(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(default_home)
    }

    /// The API to call: `--url` and its token, or the running stack of the home.
    ///
    /// # Errors
    /// No stack is known, or a token cannot be read.
    pub fn target(&self) -> Result<Target, Error> {
        let mut target = self.bare_target()?;
        target.token = self.token(&self.home_dir())?;
        let session = self.session.clone().filter(|id| !id.is_empty());
        target.session = session.or_else(session_of_client);
        Ok(target)
    }

    /// The same, for what only agents start: beside a local stack it speaks as their principal.
    #[must_use]
    pub fn of_agent(&self) -> Self {
        let mut global = self.clone();
        if !self.names_principal() {
            global.principal = Some(AGENT.to_owned());
        }
        global
    }

    /// Whether somebody said as whom to speak, or to a coordinator that is not the local stack.
    #[must_use]
    pub fn names_principal(&self) -> bool {
        self.principal.is_some()
            || self.token_file.is_some()
            || self.url.is_some()
            || env("COORD_TOKEN").is_some()
    }

    /// The API alone, for a door whose callers bring their own tokens and sessions.
    ///
    /// # Errors
    /// No stack is known.
    pub fn bare_target(&self) -> Result<Target, Error> {
        let url = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => stack_url(&self.home_dir()).ok_or_else(|| Error::NoStack(self.home_dir()))?,
        };
        Ok(Target {
            url,
            apikey: env("COORD_APIKEY"),
            ..Target::default()
        })
    }

    /// The token that calls would carry, if there is one.
    ///
    /// # Errors
    /// One was named, and cannot be read.
    pub fn token_here(&self) -> Result<Option<String>, Error> {
        match self.token(&self.home_dir()) {
            Err(_) if self.principal.is_none() && self.token_file.is_none() => Ok(None),
            token => token,
        }
    }

    /// What names the coordinator across its restarts: the URL if one was given, else the home.
    #[must_use]
    pub fn coordinator(&self) -> String {
        match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => self.home_dir().display().to_string(),
        }
    }

    /// Where what the coordinator said is kept for when it is away, in the order in which they are tried.
    #[must_use]
    pub fn cache_dirs(&self) -> Vec<PathBuf> {
        if let Some(place) = env("COORD_CACHE_DIR") {
            return vec![PathBuf::from(place)];
        }
        let mut places = Vec::new();
        let home = self.home_dir();
        // The home may belong to somebody else, as root's stack does: then the user's own cache.
        if self.url.is_none() && home.is_dir() {
            places.push(home.join("cache"));
        }
        let user = env("XDG_CACHE_HOME")
            .map(PathBuf::from)
            // Nobody's home that is not there is made.
            .or_else(|| {
                env("HOME")
                    .map(PathBuf::from)
                    .filter(|home| home.is_dir())
                    .map(|home| home.join(".cache"))
            });
        places.extend(user.map(|user| user.join("coord")));
        places
    }

    fn token(&self, home: &Path) -> Result<Option<String>, Error> {
        let file = match self.token_place(home) {
            TokenPlace::Nowhere => return Ok(None),
            TokenPlace::Variable => return Ok(env("COORD_TOKEN")),
            TokenPlace::Kept(_, file) | TokenPlace::File(file) => file,
        };
        match std::fs::read_to_string(&file) {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(source) => Err(Error::Token { path: file, source }),
        }
    }

    /// `--as`, else `COORD_TOKEN`, else `--token-file`, else (only beside the home's own URL) the
    /// operator's, unless an agent's client started us.
    #[must_use]
    pub fn token_place(&self, home: &Path) -> TokenPlace {
        let kept = |name: &str| TokenPlace::Kept(name.to_owned(), token_file(home, name));
        if let Some(name) = &self.principal {
            kept(name)
        } else if env("COORD_TOKEN").is_some() {
            TokenPlace::Variable
        } else if let Some(path) = &self.token_file {
            TokenPlace::File(path.clone())
        } else if self.url.is_none() {
            kept(if in_client() { AGENT } else { OPERATOR })
        } else {
            TokenPlace::Nowhere
        }
    }
}

/// What Claude Code and Codex set for the commands they run: their session, or only that it is they.
pub const OF_CLIENTS: [&str; 3] = ["CLAUDE_CODE_SESSION_ID", "CODEX_THREAD_ID", "CLAUDECODE"];

/// The session of the agent's client whose command this is.
fn session_of_client() -> Option<String> {
    OF_CLIENTS[..2].iter().find_map(|name| env(name))
}

/// Whether an agent's client runs us.
fn in_client() -> bool {
    OF_CLIENTS.iter().any(|name| env(name).is_some())
}

/// Where the stack keeps the token of this principal.
#[must_use]
pub fn token_file(home: &Path, name: &str) -> PathBuf {
    home.join("tokens").join(format!("{name}.jwt"))
}

/// The file a running stack leaves for its clients: `{"url": …, "pid": …}`.
#[must_use]
pub fn state_file(home: &Path) -> PathBuf {
    home.join("state.json")
}

/// The URL of the stack that runs (or last ran) in this home.
#[must_use]
pub fn stack_url(home: &Path) -> Option<String> {
    let text = std::fs::read_to_string(state_file(home)).ok()?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(state.get("url")?.as_str()?.to_owned())
}

/// `/root` is 0700 and the servers run as another user, so root's home is a system directory.
fn default_home() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/coord");
    }
    let data = env("XDG_DATA_HOME").map_or_else(
        || PathBuf::from(env("HOME").unwrap_or_else(|| "/".to_owned())).join(".local/share"),
        PathBuf::from,
    );
    data.join("coord")
}

/// An environment variable that is set and not empty.
#[must_use]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
