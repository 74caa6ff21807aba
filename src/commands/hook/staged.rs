//! The files that a commit would change, and what a lock on each is called.

use std::collections::BTreeSet;
use std::path::Path;

use crate::git;

/// The longest path that the coordinator takes.
const LONGEST: usize = 1024;

/// Which commit the staged files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becoming {
    /// A new one on HEAD; a merge while one is under way.
    New,
    /// HEAD's successor in its place.
    Amended,
}

/// Names of the files that differ from every parent of the commit to be: deletions and
/// submodules too; in a merge only what is its own.
pub fn files(becoming: Becoming) -> Result<BTreeSet<Vec<u8>>, git::Error> {
    let mut own: Option<BTreeSet<Vec<u8>>> = None;
    for parent in parents(becoming)? {
        // Not `git diff`, whose answer depends on the user's settings.
        let changed = git::run(&[
            "diff-index",
            "--cached",
            "--ita-invisible-in-index",
            "--ignore-submodules=none",
            "--no-renames",
            "--name-only",
            "-z",
            &parent,
            "--",
        ])?;
        let changed: BTreeSet<_> = git::parts(&changed).map(<[u8]>::to_vec).collect();
        own = Some(match own {
            None => changed,
            Some(own) => own.intersection(&changed).cloned().collect(),
        });
    }
    Ok(own.unwrap_or_default())
}

/// The parents of the commit to be; before the first one, the empty tree.
fn parents(becoming: Becoming) -> Result<Vec<String>, git::Error> {
    let spec = match becoming {
        Becoming::New => "HEAD^0",
        Becoming::Amended => "HEAD^@",
    };
    let known = git::text(&["rev-parse", "--quiet", "--verify", "HEAD^0"])
        .and_then(|_| git::text(&["rev-parse", spec]));
    let Some(known) = known else {
        let empty = git::run_in(
            Path::new("."),
            &["hash-object", "-t", "tree", "--stdin"],
            b"",
        )?;
        return Ok(vec![String::from_utf8_lossy(&empty).trim().to_owned()]);
    };
    let mut parents: Vec<_> = known.lines().map(str::to_owned).collect();
    if becoming == Becoming::New
        && let Some(file) = git::text(&["rev-parse", "--git-path", "MERGE_HEAD"])
        && let Ok(merged) = std::fs::read_to_string(file)
    {
        parents.extend(merged.lines().map(str::to_owned));
    }
    Ok(parents)
}

/// What to lock for a file of this name. Names that the coordinator cannot take are
/// covered by their directory, as globs are.
pub fn lock_path(name: &[u8]) -> String {
    let mut end = name.len();
    loop {
        if let Ok(text) = std::str::from_utf8(&name[..end])
            && let path = literal(text)
            && path.len() <= LONGEST
            && !path.ends_with(char::is_whitespace)
            && !path.contains(is_control)
        {
            return path;
        }
        let above = name[..end.saturating_sub(1)]
            .iter()
            .rposition(|byte| *byte == b'/');
        match above {
            Some(slash) => end = slash + 1,
            None => return "./".to_owned(),
        }
    }
}

/// A file named like a resource (`port:5432`) is written so that it means the file.
fn literal(name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    let mark = if first.contains(':') { "./" } else { "" };
    format!("{mark}{name}")
}

/// What PostgreSQL's `[[:cntrl:]]` may mean, whatever its collation.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_path_to_lock() {
        let long = format!("deep/{}", "x".repeat(1100));
        for (name, path) in [
            (&b"src/a.rs"[..], "src/a.rs"),
            (b"port:5432", "./port:5432"),
            (b"C:\\x/y", "./C:\\x/y"),
            (b"src/port:1", "src/port:1"),
            (b"a*b", "a*b"),
            (b"a \"b\" 'c'", "a \"b\" 'c'"),
            ("naïve/✓".as_bytes(), "naïve/✓"),
            (b"src/new\nline", "src/"),
            (b"new\nline/a/b", "./"),
            (b"src/odd\xff", "src/"),
            (b"x/ends with blank ", "x/"),
            (long.as_bytes(), "deep/"),
        ] {
            assert_eq!(lock_path(name), path);
        }
    }
}
