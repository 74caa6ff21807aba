//! `coord audit anchor`: the newest head, kept where the database cannot reach it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::rows;
use crate::commands::{Error, show};
use crate::exit::Exit;
use crate::rpc::Client;

/// Where git keeps the notes.
const NOTES: &str = "refs/notes/coord-audit";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a place, prints it. `git notes --ref coord-audit show | coord audit verify --anchor -` checks a note."
)]
pub struct Args {
    /// As a git note on HEAD, under refs/notes/coord-audit
    #[arg(long, conflicts_with = "file")]
    git_note: bool,
    /// As a line at the end of this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub async fn run(args: &Args, client: &Client) -> Result<Exit, Error> {
    let newest = [
        ("select", "number,head,sealed_at".to_owned()),
        ("order", "number.desc".to_owned()),
        ("limit", "1".to_owned()),
    ];
    let found = rows(client.read("audit_seals", &newest).await?)?;
    let Some(head) = found.first() else {
        return Err(Error::Usage(
            "nothing is sealed yet; `coord audit seal` does it now".to_owned(),
        ));
    };
    let line = json!({
        "number": head["number"], "head": head["head"], "sealed_at": head["sealed_at"],
    });
    if args.git_note {
        note(&line)?;
    }
    if let Some(path) = &args.file {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|error| Error::Write(path.clone(), error))?;
    }
    show::json(&line);
    Ok(Exit::Done)
}

fn note(line: &Value) -> Result<(), Error> {
    let done = Command::new("git")
        .args(["notes", "--ref", NOTES, "append", "-m", &line.to_string()])
        .arg("HEAD")
        .stdin(Stdio::null())
        .output();
    let why = match done {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::Usage(format!("git writes no note on HEAD: {why}")))
}
