//! The message of a commit to be, and the trailers that say under which locks it is made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::staged::{self, Becoming};
use super::verdict::{self, Verdict};
use super::{Caller, Error, words};
use crate::git;
use crate::settings::Global;

/// Adds the trailers. They are a help for the push: a commit never fails for want of them.
pub async fn add(file: &Path, becoming: Becoming, repo: Option<&str>, global: &Global) {
    if let Err(error) = try_add(file, becoming, repo, global).await {
        anstream::eprintln!(
            "coord: the commit does not say under which locks it was made: {error}"
        );
    }
}

async fn try_add(
    file: &Path,
    becoming: Becoming,
    repo: Option<&str>,
    global: &Global,
) -> Result<(), Error> {
    let files = staged::files(becoming)?;
    if files.is_empty() {
        return Ok(());
    }
    let caller = Caller::new(global, repo)?;
    let verdict = verdict::ask(&caller, &files).await?;
    if verdict.covered.is_empty() {
        anstream::eprintln!(
            "coord: the commit names no locks: {} holds none on its files",
            verdict.agent
        );
        return Ok(());
    }
    // Whatever trailer.* says in the user's git config; and --- is no end of a message here.
    let mut args: Vec<OsString> = [
        "interpret-trailers",
        "--in-place",
        "--no-divider",
        "--where=end",
        "--if-exists=addIfDifferent",
        "--if-missing=add",
    ]
    .map(OsString::from)
    .to_vec();
    for trailer in trailers(&verdict) {
        args.extend(["--trailer".into(), trailer.into()]);
    }
    args.push(file.into());
    git::run(&args)?;
    Ok(())
}

/// Who, in which sessions, under which fences; each once.
fn trailers(verdict: &Verdict) -> Vec<String> {
    let mut sessions = Vec::new();
    let mut fences = Vec::new();
    for lock in &verdict.covered {
        let session = format!("Coord-Session: {}", words::text(lock, "session_id"));
        if !sessions.contains(&session) {
            sessions.push(session);
        }
        let (fence, path) = (words::text(lock, "fence"), words::text(lock, "held_path"));
        let fence = format!("Coord-Fence: {fence} {path}");
        if !fences.contains(&fence) {
            fences.push(fence);
        }
    }
    let agent = format!("Coord-Agent: {}", verdict.agent);
    [vec![agent], sessions, fences].concat()
}

/// What git would keep of a message, or an empty text where it would call it empty: git
/// counts neither comments nor sign-offs, and nothing below its scissors.
pub fn substance(message: &str) -> Result<String, git::Error> {
    const SCISSORS: &str = " ------------------------ >8 ------------------------";
    let above: Vec<_> = message
        .lines()
        .take_while(|line| !line.ends_with(SCISSORS))
        .collect();
    let kept = git::run_in(
        Path::new("."),
        &["stripspace", "--strip-comments"],
        above.join("\n").as_bytes(),
    )?;
    let kept = String::from_utf8_lossy(&kept).into_owned();
    let written = kept
        .lines()
        .any(|line| !line.is_empty() && !line.starts_with("Signed-off-by: "));
    Ok(if written { kept } else { String::new() })
}

/// The text of a message, whatever its encoding.
pub fn read(file: &Path) -> Result<String, Error> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => Err(Error::File {
            doing: "read",
            path: file.to_owned(),
            source,
        }),
    }
}

/// Where a message lies that an editor is to change, as it was before: git gives a commit
/// up if nobody writes anything, so nothing may be added until somebody has.
pub fn unwritten() -> Option<PathBuf> {
    git::text(&["rev-parse", "--git-path", "coord-unwritten-message"]).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Decision;
    use super::*;
    use serde_json::json;

    #[test]
    fn each_session_and_each_lock_once() {
        let lock = |session: &str, fence: i64, path: &str| json!({"path": "x", "session_id": session, "fence": fence, "held_path": path});
        let verdict = Verdict {
            decision: Decision::Allow,
            agent: "agent-a".to_owned(),
            covered: vec![
                lock("s1", 17, "src/"),
                lock("s1", 17, "src/"),
                lock("s2", 18, "a b"),
            ],
            problems: vec![],
        };
        assert_eq!(
            trailers(&verdict),
            [
                "Coord-Agent: agent-a",
                "Coord-Session: s1",
                "Coord-Session: s2",
                "Coord-Fence: 17 src/",
                "Coord-Fence: 18 a b"
            ]
        );
    }

    #[test]
    fn what_git_calls_empty_is_empty() {
        let empty = [
            "",
            "\n# a comment\n",
            "\nSigned-off-by: A <a@b>\n\n# x\n",
            "\n# ------------------------ >8 ------------------------\n# Do not\ndiff --git a/a b/a\n",
        ];
        for message in empty {
            assert_eq!(substance(message).unwrap(), "", "{message}");
        }
        assert_eq!(substance("one\n# two\n").unwrap(), "one\n");
    }
}
