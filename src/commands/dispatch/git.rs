//! The operator's checkout, as far as a job needs it: its commits, and what really changed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use unicode_normalization::UnicodeNormalization as _;

use super::config::Repo;
use super::job::{Job, last};

/// A fetch that takes longer does not end by itself.
const PATIENCE: Duration = Duration::from_mins(10);

/// What git prints in a directory. No hook runs, nobody is asked for a password.
pub async fn git(dir: &Path, args: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("git");
    command
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .args(["-c", "protocol.ext.allow=never", "-C"])
        .arg(dir)
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        // A commit is what its id says.
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // Whoever starts us from a hook speaks of another repository.
    for name in [
        "GIT_DIR",
        "GIT_COMMON_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
    ] {
        command.env_remove(name);
    }
    let what = args.first().map_or_else(String::new, |arg| {
        arg.as_ref().to_string_lossy().into_owned()
    });
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => Err(format!("git {what} did not end within 10 minutes")),
        Ok(Err(error)) => Err(format!("cannot run git: {error}")),
        Ok(Ok(output)) if output.status.success() => Ok(output.stdout),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("git {what} failed: {}", last(&said, 500)))
        }
    }
}

async fn line(dir: &Path, args: &[&str]) -> Option<String> {
    let said = String::from_utf8(git(dir, args).await.ok()?).ok()?;
    let said = said.trim();
    (!said.is_empty()).then(|| said.to_owned())
}

async fn is_there(dir: &Path, commit: &str) -> bool {
    let name = format!("{commit}^{{commit}}");
    git(dir, &["cat-file", "-e", &name]).await.is_ok()
}

/// Brings a commit here, by its id or else with the branch it is on.
async fn bring(dir: &Path, commit: &str, branch: Option<&str>) -> bool {
    if is_there(dir, commit).await {
        return true;
    }
    let heads = branch.map(|branch| format!("refs/heads/{branch}"));
    for wanted in [Some(commit), heads.as_deref()].into_iter().flatten() {
        let args = [
            "fetch",
            "-q",
            "--no-tags",
            "--no-recurse-submodules",
            "origin",
            wanted,
        ];
        if git(dir, &args).await.is_ok() && is_there(dir, commit).await {
            return true;
        }
    }
    false
}

/// Whether a commit is on one of these lines, as they are here or at the remote.
async fn is_on(dir: &Path, lines: &[String], commit: &str) -> bool {
    for fetched in [false, true] {
        if fetched
            && git(dir, &["fetch", "-q", "--no-tags", "origin"])
                .await
                .is_err()
        {
            return false;
        }
        for name in lines {
            let args = ["merge-base", "--is-ancestor", commit, name];
            if git(dir, &args).await.is_ok() {
                return true;
            }
        }
    }
    false
}

/// Sees to it that the head is here, and answers the commit that the change begins after.
pub async fn ground(dir: &Path, repo: &Repo, job: &Job) -> Result<String, String> {
    if !bring(dir, &job.head, job.branch.as_deref()).await {
        return Err(format!(
            "commit {} is neither in {} nor at its remote origin: push it, or fetch it there",
            job.head,
            dir.display()
        ));
    }
    let named = repo.default_branch.as_deref();
    let mut lines: Vec<String> = named
        .into_iter()
        .flat_map(|name| {
            [
                format!("refs/remotes/origin/{name}"),
                format!("refs/heads/{name}"),
            ]
        })
        .collect();
    if lines.is_empty() {
        lines.extend(["refs/remotes/origin/HEAD".to_owned(), "HEAD".to_owned()]);
    }
    // A base that the author chose leaves nothing out: it is on the line, or was verified.
    let known = job.base.bytes().any(|byte| byte != b'0');
    if known
        && bring(dir, &job.base, None).await
        && (job.base_verified || is_on(dir, &lines, &job.base).await)
    {
        return Ok(job.base.clone());
    }
    for name in &lines {
        if let Some(base) = line(dir, &["merge-base", name, &job.head]).await {
            return Ok(base);
        }
    }
    // A history of its own: all of it is new.
    line(dir, &["hash-object", "-t", "tree", "/dev/null"])
        .await
        .ok_or_else(|| format!("{} is no git repository", dir.display()))
}

/// Refuses a change that touches more than its author told: it would have taken other checks.
pub async fn compare(dir: &Path, base: &str, job: &Job) -> Result<(), String> {
    if !job.paths_known {
        return Ok(());
    }
    let args = [
        "diff-tree",
        "-r",
        "-z",
        "--name-only",
        "--no-renames",
        base,
        &job.head,
    ];
    let changed = git(dir, &args).await?;
    let told: BTreeSet<String> = job
        .changed_paths
        .iter()
        .map(|path| path.nfc().collect())
        .collect();
    let untold: Vec<String> = crate::git::parts(&changed)
        .map(|path| String::from_utf8_lossy(path).nfc().collect::<String>())
        .filter(|path| !told.contains(path))
        .collect();
    if untold.is_empty() {
        return Ok(());
    }
    let some = untold
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    Err(format!(
        "{} changed files are not in changed_paths: {some}; submit the change again with all that \
         git diff --name-only --no-renames {base} {} lists",
        untold.len(),
        job.head
    ))
}
