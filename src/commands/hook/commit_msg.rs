//! `coord hook commit-msg`: what prepare-commit-msg does, for a message that was not written yet then.

use std::path::PathBuf;

use super::message;
use super::staged::Becoming;
use crate::exit::Exit;
use crate::settings::Global;

/// What git tells its hook.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file with the message
    file: PathBuf,
}

/// Never stops a commit. Adds nothing to a message that nobody wrote: git then gives the commit up.
pub async fn run(args: &Args, repo: Option<&str>, global: &Global) -> Exit {
    let Some(unwritten) = message::unwritten().filter(|file| file.exists()) else {
        return Exit::Done;
    };
    let before = message::read(&unwritten).unwrap_or_default();
    // Stays only where it cannot be removed; the next commit tries again.
    let _ = std::fs::remove_file(&unwritten);
    let now = message::read(&args.file).unwrap_or_default();
    let (Ok(before), Ok(now)) = (message::substance(&before), message::substance(&now)) else {
        return Exit::Done;
    };
    if !now.is_empty() && now != before {
        message::add(&args.file, Becoming::New, repo, global).await;
    }
    Exit::Done
}
