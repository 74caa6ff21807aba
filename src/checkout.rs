//! The git checkout around the working directory: what a path typed here is
//! called in it. The coordinator canonicalises the rest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A checkout and the place in it where the caller stands.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Its root, as git says: without symbolic links.
    root: PathBuf,
    /// The working directory below the root: empty or with a slash at its end.
    prefix: String,
}

impl Checkout {
    /// The checkout around the working directory, if there is one.
    #[must_use]
    pub fn here() -> Option<Self> {
        let told = git(&["rev-parse", "--show-toplevel", "--show-prefix"])?;
        let (root, prefix) = told.split_once('\n').unwrap_or((&told, ""));
        Some(Self {
            root: PathBuf::from(root),
            prefix: prefix.to_owned(),
        })
    }

    /// A path as typed here, said from the root. What is no path of this
    /// checkout stays as it is, so that the coordinator can say what is wrong with it.
    #[must_use]
    pub fn name(&self, typed: &str) -> String {
        if typed.is_empty() || has_scheme(typed) {
            return typed.to_owned();
        }
        let mut name = if typed.starts_with('/') {
            let Some(below) = self.below_root(typed) else {
                return typed.to_owned();
            };
            below
        } else {
            format!("{}{typed}", self.prefix)
        };
        // Only here is it known that src is a directory; as a file it would guard nothing.
        if !name.ends_with('/') && self.root.join(&name).is_dir() {
            name.push('/');
        }
        name
    }

    /// What follows the root in an absolute path; the root may be written through
    /// symbolic links, what lies below it is nobody's business here.
    fn below_root(&self, typed: &str) -> Option<String> {
        let ends = typed.match_indices('/').map(|(at, _)| at).skip(1);
        ends.chain([typed.len()]).find_map(|end| {
            let above = Path::new(&typed[..end]).canonicalize().ok()?;
            let below = typed[end..].trim_start_matches('/');
            let below = if below.is_empty() { "./" } else { below };
            (above == self.root).then(|| below.to_owned())
        })
    }
}

/// `port:5432`, `db:migrations`: no file, but a thing with a name of its own.
fn has_scheme(path: &str) -> bool {
    path.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-')
    })
}

/// What git prints, without its last line end; nothing when it fails.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_said_from_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/src")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        let here = Checkout {
            root: root.join("real"),
            prefix: "src/".to_owned(),
        };
        let absolute = |path: &str| format!("{}/{path}", root.display());
        assert_eq!(here.name("a.rs"), "src/a.rs");
        assert_eq!(here.name("../b.rs"), "src/../b.rs");
        assert_eq!(here.name("."), "src/./");
        assert_eq!(here.name("new/"), "src/new/");
        assert_eq!(here.name(""), "");
        assert_eq!(here.name("db:migrations"), "db:migrations");
        assert_eq!(here.name(&absolute("real/src/a.rs")), "src/a.rs");
        assert_eq!(here.name(&absolute("link/src/a.rs")), "src/a.rs");
        assert_eq!(here.name(&absolute("real/src")), "src/");
        assert_eq!(here.name(&absolute("real")), "./");
        assert_eq!(here.name("/etc/passwd"), "/etc/passwd");
    }
}
