//! Where git looks for the hooks of this repository.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::{Hook, script};
use crate::git;

/// A folder of hooks, and how one gets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Git's own, or that of `core.hooksPath`: the hooks are its files.
    Folder(PathBuf),
    /// Husky makes the folder anew with each install of packages; it calls the files above it.
    /// Those are shared with everybody, so they hold one line that calls a script of this machine.
    Husky {
        /// `.husky`.
        shared: PathBuf,
        /// Where the scripts are.
        own: PathBuf,
    },
}

impl Place {
    /// That of the repository here.
    pub fn find() -> Result<Self, git::Error> {
        let root = match path(Path::new("."), &["rev-parse", "--show-toplevel"]) {
            Ok(root) => root,
            // A server's repository has no work tree.
            Err(_) => path(Path::new("."), &["rev-parse", "--absolute-git-dir"])?,
        };
        // Git takes a relative core.hooksPath from the root, and says it as it is.
        let folder = root.join(path(&root, &["rev-parse", "--git-path", "hooks"])?);
        let husky = folder.parent().filter(|_| folder.ends_with(".husky/_"));
        Ok(match husky {
            Some(shared) => Self::Husky {
                shared: shared.to_owned(),
                own: root
                    .join(path(&root, &["rev-parse", "--git-common-dir"])?)
                    .join(script::FOLDER),
            },
            None => Self::Folder(folder),
        })
    }

    /// The file that is our script.
    pub fn script(&self, hook: Hook) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(hook.name()),
            Self::Husky { own, .. } => own.join(hook.name()),
        }
    }
}

/// The root of the checkout here; none where there is no work tree.
pub fn root() -> Option<PathBuf> {
    path(Path::new("."), &["rev-parse", "--show-toplevel"]).ok()
}

/// Whether the folder is one for all repositories of this user or machine.
pub fn is_for_all() -> bool {
    let scope = git::text(&["config", "--show-scope", "--get", "core.hooksPath"]);
    scope.is_some_and(|told| told.starts_with("global") || told.starts_with("system"))
}

fn path(dir: &Path, args: &[&str]) -> Result<PathBuf, git::Error> {
    let mut told = git::run_in(dir, args, b"")?;
    told.pop_if(|last| *last == b'\n');
    Ok(PathBuf::from(OsString::from_vec(told)))
}
