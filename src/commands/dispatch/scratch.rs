//! Where jobs run on this machine: a directory for each, with a worktree of the head, that is
//! gone when the run is; and their logs, which stay for a month.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::git::git;
use super::process;

const KEPT: Duration = Duration::from_hours(30 * 24);

/// The directory of the dispatchers of one account.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
}

/// A directory of one run and a lock beside it, which is there first and gone last. Whoever
/// dies leaves it unlocked: [`Scratch::clean`] removes both.
#[derive(Debug)]
pub struct Run {
    /// What marks its processes, too.
    pub name: String,
    dir: PathBuf,
    /// Empty where nobody said yet.
    checkout: PathBuf,
    _lock: File,
}

fn private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

impl Scratch {
    pub fn open(dir: &Path) -> io::Result<Self> {
        for below in ["runs", "logs"] {
            private(&dir.join(below))?;
        }
        // Git says where a worktree is by its real name.
        let dir = dir.canonicalize()?;
        Ok(Self { dir })
    }

    /// Creating a run and looking for dead ones are not done at once.
    fn lock(&self) -> io::Result<File> {
        let lock = open(&self.dir.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// The log of an attempt, begun anew.
    pub fn log(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let path = self.dir.join("logs").join(format!("{name}.log"));
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        Ok((path, file))
    }

    /// A directory for a run.
    pub fn run(&self, name: &str, checkout: &Path) -> io::Result<Run> {
        let name = format!("{name}-{}", uuid::Uuid::new_v4().simple());
        let dir = self.dir.join("runs").join(&name);
        let checkout = checkout.canonicalize()?;
        let creating = self.lock()?;
        let lock = open(&dir.with_extension("lock"))?;
        lock.lock()?;
        drop(creating);
        for below in ["", "home", "tmp"] {
            private(&dir.join(below))?;
        }
        fs::write(
            dir.join("checkout"),
            checkout.as_os_str().as_encoded_bytes(),
        )?;
        Ok(Run {
            name,
            dir,
            checkout,
            _lock: lock,
        })
    }

    /// Ends and removes what dispatchers left that were killed, and logs of long ago.
    pub async fn clean(&self) -> io::Result<usize> {
        let mut dead = Vec::new();
        {
            let _looking = self.lock()?;
            for entry in fs::read_dir(self.dir.join("runs"))? {
                let path = entry?.path();
                if path.extension().is_none_or(|it| it != "lock") {
                    continue;
                }
                // Another may be just removing it.
                let Ok(lock) = File::open(&path) else {
                    continue;
                };
                if lock.try_lock().is_err() {
                    continue;
                }
                let dir = path.with_extension("");
                let checkout = fs::read_to_string(dir.join("checkout")).unwrap_or_default();
                let name = dir.file_name().unwrap_or_default();
                dead.push(Run {
                    name: name.to_string_lossy().into_owned(),
                    checkout: checkout.into(),
                    dir,
                    _lock: lock,
                });
            }
        }
        let count = dead.len();
        for run in dead {
            run.remove().await;
        }
        for entry in fs::read_dir(self.dir.join("logs"))? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?;
            if SystemTime::now()
                .duration_since(age)
                .is_ok_and(|age| age > KEPT)
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(count)
    }
}

impl Run {
    pub fn tree(&self) -> PathBuf {
        // Git keeps what it knows of a worktree under this last name.
        self.dir.join(&self.name)
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Checks the head out.
    pub async fn check_out(&self, head: &str) -> Result<(), String> {
        let tree = self.tree();
        let args = ["worktree", "add", "--detach", "--force"].map(std::ffi::OsStr::new);
        let args = [&args[..], &[tree.as_os_str(), head.as_ref()]].concat();
        git(&self.checkout, &args).await.map(drop)
    }

    /// Ends what still runs, and removes the tree and everything else.
    pub async fn remove(self) {
        process::sweep(&self.name).await;
        if !self.checkout.as_os_str().is_empty() {
            let tree = self.tree();
            let args = ["worktree", "remove", "--force", "--force"].map(std::ffi::OsStr::new);
            // It may never have been made, or be half gone.
            let _ = git(&self.checkout, &[&args[..], &[tree.as_os_str()]].concat()).await;
        }
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // What stays is looked at again by who starts next.
                anstream::eprintln!("coord: cannot remove {}: {error}", self.dir.display());
                return;
            }
            _ => {}
        }
        if !self.checkout.as_os_str().is_empty() {
            let _ = git(&self.checkout, &["worktree", "prune"]).await;
        }
        let _ = fs::remove_file(self.dir.with_extension("lock"));
    }
}
