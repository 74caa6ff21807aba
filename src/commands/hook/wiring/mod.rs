//! The settings that make a client ask: whose they are, what stands in them, and a change
//! of them that leaves all else as it was.

mod aider;
mod handlers;

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::Error;
use super::client::WhenDown;
use super::install::file_error;
use crate::commands::up::quote;
use crate::settings::env;

/// A client whose settings can name our hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    ClaudeCode,
    Codex,
    Aider,
}

impl Client {
    pub const ALL: [Self; 3] = [Self::ClaudeCode, Self::Codex, Self::Aider];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Aider => "aider",
        }
    }

    /// Its settings in a checkout.
    pub fn file(self, root: &Path) -> PathBuf {
        root.join(match self {
            Self::ClaudeCode => ".claude/settings.json",
            Self::Codex => ".codex/hooks.json",
            Self::Aider => ".aider.conf.yml",
        })
    }

    /// Whether somebody uses it here.
    pub fn is_here(self, root: &Path) -> bool {
        let (traces, program): (&[&str], _) = match self {
            Self::ClaudeCode => (&[".claude", "CLAUDE.md"], "claude"),
            Self::Codex => (&[".codex"], "codex"),
            Self::Aider => (&[".aider.conf.yml", ".aider.chat.history.md"], "aider"),
        };
        traces.iter().any(|name| root.join(name).exists()) || on_path(program).is_some()
    }

    /// Its settings with our hook.
    pub fn wire(self, root: &Path, when_down: WhenDown) -> Result<Change, Error> {
        self.change(root, |text| match self {
            Self::Aider => Ok(aider::wired(text)),
            _ => handlers::wired(text, self, &program()?, when_down),
        })
    }

    /// Its settings without it.
    pub fn unwire(self, root: &Path) -> Result<Change, Error> {
        self.change(root, |text| match self {
            Self::Aider => Ok(aider::unwired(text)),
            _ => handlers::unwired(text, self),
        })
    }

    /// The command lines that it would run before a tool is used.
    pub fn lines(self, root: &Path) -> Result<Vec<String>, Error> {
        let text = read(&self.file(root))?;
        match self {
            Self::Aider if aider::is_wired(&text) => Ok(vec![aider::LINE.to_owned()]),
            Self::Aider => Ok(Vec::new()),
            _ => handlers::lines(&text, self),
        }
    }

    fn change(
        self,
        root: &Path,
        after: impl Fn(&str) -> Result<String, String>,
    ) -> Result<Change, Error> {
        let path = self.file(root);
        let before = read(&path)?;
        let after = after(&before).map_err(|why| {
            Error::Usage(format!(
                "{} is not what {} reads, so it was left as it is: {why}",
                path.display(),
                self.name()
            ))
        })?;
        Ok(Change {
            path,
            before,
            after,
        })
    }
}

/// A file as it is and as it shall be; empty is not there.
#[derive(Debug)]
pub struct Change {
    pub path: PathBuf,
    before: String,
    after: String,
}

impl Change {
    /// What it comes to.
    pub fn what(&self) -> &'static str {
        match (&*self.before, &*self.after) {
            (before, after) if before == after => "unchanged",
            ("", _) => "installed",
            (_, "") => "removed",
            _ => "updated",
        }
    }

    /// As patches are written.
    pub fn diff(&self) -> String {
        let name = self.path.display().to_string();
        TextDiff::from_lines(&self.before, &self.after)
            .unified_diff()
            .header(&name, &name)
            .to_string()
    }

    /// Makes it so; the file is whole at any moment, and its mode stays.
    pub fn make(&self) -> Result<(), Error> {
        if self.before == self.after {
            return Ok(());
        }
        // Through a link, to what it leads to.
        let path = self.path.canonicalize().unwrap_or(self.path.clone());
        let fail = || file_error("write", &self.path);
        if self.after.is_empty() {
            return std::fs::remove_file(&path).map_err(fail());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(fail())?;
        let mode = std::fs::metadata(&path).map_or_else(
            |_| std::fs::Permissions::from_mode(0o644),
            |it| it.permissions(),
        );
        let mut new = tempfile::NamedTempFile::new_in(folder).map_err(fail())?;
        new.write_all(self.after.as_bytes()).map_err(fail())?;
        new.as_file().set_permissions(mode).map_err(fail())?;
        new.persist(&path).map_err(|error| fail()(error.error))?;
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(file_error("read", path)(error)),
    }
}

/// `coord` where the PATH leads to it, for these settings are shared; else where it is.
fn program() -> Result<String, String> {
    if on_path("coord").is_some() {
        return Ok("coord".to_owned());
    }
    match std::env::current_exe() {
        Ok(path) => Ok(quote(&path)),
        Err(error) => Err(format!("coord does not know where it is: {error}")),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&env("PATH")?)
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        })
}
