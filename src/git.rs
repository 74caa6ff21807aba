//! Git, asked as a process.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Git could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be started.
    #[error("cannot run git: {0}")]
    Start(#[source] std::io::Error),
    /// It said no.
    #[error("git {what} failed: {said}")]
    Failed {
        /// Its subcommand.
        what: String,
        /// What it said.
        said: String,
    },
}

/// What git prints when it runs here.
///
/// # Errors
/// Git cannot be run, or fails.
pub fn run(args: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, Error> {
    run_in(Path::new("."), args, b"")
}

/// What git prints when it runs in a directory and is given something to read.
///
/// # Errors
/// Git cannot be run, or fails.
pub fn run_in(dir: &Path, args: &[impl AsRef<OsStr>], input: &[u8]) -> Result<Vec<u8>, Error> {
    let mut git = Command::new("git")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::Start)?;
    let stdin = git.stdin.take();
    let output = std::thread::scope(|scope| {
        // Beside the reading of its answer: both pipes may fill.
        scope.spawn(move || {
            // Git may have read enough; its exit code tells.
            stdin.map(|mut stdin| stdin.write_all(input));
        });
        git.wait_with_output()
    })
    .map_err(Error::Start)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let flag = |arg: &&str| !arg.starts_with('-') && !arg.contains('=');
    let words: Vec<_> = args
        .iter()
        .filter_map(|arg| arg.as_ref().to_str())
        .collect();
    Err(Error::Failed {
        what: words.into_iter().find(flag).unwrap_or_default().to_owned(),
        said: if said.is_empty() {
            output.status.to_string()
        } else {
            said
        },
    })
}

/// What git prints here, without its last line end; nothing when it fails or has nothing to say.
#[must_use]
pub fn text(args: &[&str]) -> Option<String> {
    text_in(Path::new("."), args)
}

/// The same in a directory.
#[must_use]
pub fn text_in(dir: &Path, args: &[&str]) -> Option<String> {
    let text = String::from_utf8(run_in(dir, args, b"").ok()?).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The parts of an answer that end with NUL.
pub fn parts(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    answer
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
}
