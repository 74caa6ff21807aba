//! The directory of one stack: what lies where, and who may read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{chown, geteuid};
use sha2::{Digest, Sha256};

use super::server_account::ServerAccount;
use super::{Doing, Error};
use crate::settings;

/// Longest path of a Unix socket, without the closing zero.
const SOCKET_PATH: usize = 107;
/// Name of PostgreSQL's socket in its directory.
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// A log larger than this is put aside at the next start.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// The paths of one stack.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// A home at this path, which need not exist yet.
    ///
    /// # Errors
    /// The current directory is gone.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).at("find", path)?;
        // The real path, as the servers and `/proc` will name it.
        let path = fs::canonicalize(&path).unwrap_or(path);
        Ok(Self { path })
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// PostgreSQL's data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }
    /// Held by the running `coord up`.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
    /// What clients need to know of the running stack.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        settings::state_file(&self.path)
    }
    /// Who PostgREST is, for the next `coord up` if this one is killed.
    #[must_use]
    pub fn postgrest_pid(&self) -> PathBuf {
        self.path.join("postgrest.pid")
    }
    /// The signing key and the JWKS.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }
    /// The public keys, where PostgREST reads them.
    #[must_use]
    pub fn served_jwks(&self) -> PathBuf {
        self.socket_dir().join("jwks.json")
    }
    /// Tokens, one file per principal.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.path.join("tokens")
    }
    /// Where the token of this principal is kept.
    #[must_use]
    pub fn token(&self, name: &str) -> PathBuf {
        settings::token_file(&self.path, name)
    }
    /// A log: `coord`, `postgres` or `postgrest`.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    /// The directory of PostgreSQL's socket: in the home, or, where that path
    /// is too long for a socket, a short private one that follows from the home's path.
    #[must_use]
    pub fn socket_dir(&self) -> PathBuf {
        let inside = self.path.join("run");
        if inside.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH {
            return inside;
        }
        let digest = Sha256::digest(self.path.as_os_str().as_encoded_bytes());
        let short = hex(&digest[..6]);
        let uid = geteuid();
        let base = settings::env("XDG_RUNTIME_DIR")
            .filter(|dir| !uid.is_root() && dir.len() < 60)
            .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        base.join(format!("coord-{uid}-{short}"))
    }

    /// Removes the directory of the socket, if it is not in the home and nothing is in it.
    pub(crate) fn remove_outside(&self) {
        let dir = self.socket_dir();
        if !dir.starts_with(&self.path) {
            // Something in it means that somebody still uses it.
            let _ = fs::remove_dir(dir);
        }
    }

    /// Makes the directories and closes them to everybody else.
    ///
    /// # Errors
    /// The home belongs to somebody else, or the servers could not reach it.
    pub fn prepare(&mut self, account: &ServerAccount) -> Result<(), Error> {
        let new = !self.path.exists();
        if new && let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).at("create", parent)?;
        }
        if let Some(dir) = account.barred(&self.path) {
            return Err(Error::Home(format!(
                "the servers run as {} and may not pass through {}; name another home with --home, or `chmod o+x {}`",
                account.name,
                dir.display(),
                dir.display()
            )));
        }
        private_dir(&self.path)?;
        self.path = fs::canonicalize(&self.path).at("find", &self.path)?;
        let meta = fs::metadata(&self.path).at("read", &self.path)?;
        if meta.uid() != geteuid().as_raw() {
            return Err(Error::Home(format!(
                "the home {} belongs to user id {}; name another with --home or COORD_HOME",
                self.path.display(),
                meta.uid()
            )));
        }
        if !new && !self.is_ours()? {
            return Err(Error::Home(format!(
                "{} exists and is no home of coord: it holds other files; name an empty or a new directory with --home",
                self.path.display()
            )));
        }
        self.secure(account)?;
        for dir in [self.keys(), self.tokens(), self.path.join("log")] {
            private_dir(&dir)?;
            mode(&dir, 0o700)?;
        }
        let sockets = self.socket_dir();
        private_dir(&sockets)?;
        let meta = fs::symlink_metadata(&sockets).at("read", &sockets)?;
        // Under /tmp anybody could have made it first.
        if !meta.is_dir()
            || ![geteuid(), account.uid]
                .iter()
                .any(|u| u.as_raw() == meta.uid())
        {
            return Err(Error::Home(format!(
                "{} is not ours; remove it, or name a shorter home with --home",
                sockets.display()
            )));
        }
        account.own(&sockets)?;
        mode(&sockets, 0o700)
    }

    /// Closes the home itself: the servers, when they are somebody else, may pass through by their group.
    pub(crate) fn secure(&self, account: &ServerAccount) -> Result<(), Error> {
        if account.other {
            chown(&self.path, None, Some(account.gid))
                .doing(|| format!("change the group of {}", self.path.display()))?;
        }
        mode(&self.path, Self::wanted_mode(account))
    }

    pub(crate) fn wanted_mode(account: &ServerAccount) -> u32 {
        if account.other { 0o710 } else { 0o700 }
    }

    /// Whether everything in the home is of our making: somebody else's directory is left alone.
    fn is_ours(&self) -> Result<bool, Error> {
        let mut entries = fs::read_dir(&self.path).at("read", &self.path)?;
        let known = self.lock().exists() || self.keys().exists();
        Ok(known || entries.next().is_none())
    }

    /// Opens a log to append to, putting a very long one aside.
    pub(crate) fn open_log(&self, name: &str) -> Result<File, Error> {
        let path = self.log(name);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
            let old = path.with_extension("log.old");
            fs::rename(&path, &old).at("rename", &path)?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .at("open", &path)
    }

    /// The last lines of a log, from `offset` on.
    #[must_use]
    pub fn log_tail(&self, name: &str, offset: u64) -> String {
        let bytes = fs::read(self.log(name)).unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or_default().min(bytes.len());
        let text = String::from_utf8_lossy(&bytes[from..]);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// Makes a directory for ourselves only, if it is not there.
pub(crate) fn private_dir(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.at("create", path),
    }
}

/// Sets the permission bits where they differ.
pub(crate) fn mode(path: &Path, wanted: u32) -> Result<(), Error> {
    let now = fs::metadata(path).at("read", path)?.permissions().mode() & 0o7777;
    if now == wanted {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(wanted)).at("change the mode of", path)
}

/// Writes a file that only we may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(dir)
        .at("write in", dir)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .at("write", path)?;
    file.persist(path)
        .map_err(|error| error.error)
        .at("write", path)?;
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
