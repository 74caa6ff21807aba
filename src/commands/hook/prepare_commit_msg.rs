//! `coord hook prepare-commit-msg`: the message says under which locks the commit is made.

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
    /// Where the message comes from
    source: Option<String>,
    /// The commit it comes from
    commit: Option<String>,
}

/// Never stops a commit.
pub async fn run(args: &Args, repo: Option<&str>, global: &Global) -> Exit {
    let unwritten = message::unwritten();
    if let Some(left_over) = &unwritten {
        // Of a commit that was given up; mostly there is none.
        let _ = std::fs::remove_file(left_over);
    }
    let text = message::read(&args.file).unwrap_or_default();
    let empty = message::substance(&text).is_ok_and(|text| text.is_empty());
    let source = args.source.as_deref();
    if empty || source == Some("template") {
        // commit-msg goes on, once there is a message.
        if matches!(source, None | Some("template"))
            && let Some(file) = unwritten
            && let Err(error) = std::fs::write(&file, text)
        {
            anstream::eprintln!(
                "coord: the commit will not say under which locks it was made: cannot write {}: {error}",
                file.display()
            );
        }
        return Exit::Done;
    }
    // With --amend git names HEAD itself.
    let becoming = if source == Some("commit") && args.commit.as_deref() == Some("HEAD") {
        Becoming::Amended
    } else {
        Becoming::New
    };
    message::add(&args.file, becoming, repo, global).await;
    Exit::Done
}
