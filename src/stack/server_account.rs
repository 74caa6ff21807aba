//! Whom the servers run as. PostgreSQL refuses to run as root, so root drops
//! every server process, `initdb` included, to an unprivileged account.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, chown, geteuid};

use super::{Doing, Error};

/// The account of the server processes.
#[derive(Clone, Debug)]
pub struct ServerAccount {
    /// Its name, which peer authentication sees.
    pub name: String,
    /// User id.
    pub uid: Uid,
    /// Group id.
    pub gid: Gid,
    /// Whether that is somebody else than this process: then this process is root.
    pub other: bool,
}

impl ServerAccount {
    /// `postgres`, else `nobody`, for root; oneself for everybody else.
    ///
    /// # Errors
    /// The system has no such account.
    pub fn choose() -> Result<Self, Error> {
        let me = geteuid();
        let user = if me.is_root() {
            ["postgres", "nobody"]
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .ok_or_else(|| {
                    Error::Home("PostgreSQL does not run as root, and this system has neither an account `postgres` nor `nobody`; add one (`useradd --system postgres`) or run as another user".to_owned())
                })?
        } else {
            User::from_uid(me).ok().flatten().ok_or_else(|| {
                Error::Home(format!(
                    "user id {me} has no name in the password database, and PostgreSQL wants one; add it to /etc/passwd or run as another user"
                ))
            })?
        };
        Ok(Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            other: me.is_root(),
        })
    }

    /// Gives a file or directory to the servers.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        if !self.other {
            return Ok(());
        }
        chown(path, Some(self.uid), Some(self.gid))
            .doing(|| format!("give {} to the account {}", path.display(), self.name))
    }

    /// The first directory above `path` that the servers may not pass through.
    pub(crate) fn barred<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        if !self.other {
            return None;
        }
        path.ancestors().skip(1).find(|dir| {
            std::fs::metadata(dir).is_ok_and(|meta| {
                let mode = meta.permissions().mode();
                let bit = if meta.uid() == self.uid.as_raw() {
                    0o100
                } else if meta.gid() == self.gid.as_raw() {
                    0o010
                } else {
                    0o001
                };
                mode & bit == 0
            })
        })
    }
}
