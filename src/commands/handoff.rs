//! `coord handoff`: what agents leave for those who go on.

use std::fmt::Write as _;

use serde_json::Value;

use crate::commands::Error;
use crate::commands::arguments::{Repo, put, put_list, words};
use crate::commands::show::{self, FAINT, GOOD, HEAD, NAME, list, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;
use crate::stack::clock;

/// Arguments of `coord handoff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Leave for whoever goes on how things stand and what comes next
    Write(Write),
    /// Read what others left, newest first
    Read(Read),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each option that takes a list may be repeated. All of it has at most 32 kB."
)]
struct Write {
    /// How things stand; - reads standard input
    #[arg(long, value_name = "TEXT")]
    summary: String,
    /// Something that is done
    #[arg(long, value_name = "TEXT")]
    done: Vec<String>,
    /// Something that is begun and not done
    #[arg(long, value_name = "TEXT")]
    doing: Vec<String>,
    /// Something that was decided, and why
    #[arg(long, value_name = "TEXT")]
    decision: Vec<String>,
    /// What comes next
    #[arg(long, value_name = "TEXT")]
    next: Vec<String>,
    /// A file that it is about
    #[arg(long, value_name = "PATH")]
    file: Vec<String>,
    #[command(flatten)]
    repo: Repo,
}

#[derive(Debug, clap::Args)]
struct Read {
    /// Whose; without it, anybody's
    #[arg(value_name = "AGENT")]
    agent: Option<String>,
    /// At most so many, up to 50 [default: 1]
    #[arg(long = "max", value_name = "N")]
    most: Option<i64>,
    #[command(flatten)]
    repo: Repo,
}

/// Writes or reads.
///
/// # Errors
/// The coordinator cannot be reached, or refuses the arguments.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let connect = || Ok::<_, Error>(Client::new(global.target()?)?);
    match args.what {
        What::Write(args) => {
            let mut call = args.repo.args();
            put(&mut call, "summary", Some(words(args.summary)?));
            put_list(&mut call, "completed", args.done);
            put_list(&mut call, "in_progress", args.doing);
            put_list(&mut call, "decisions", args.decision);
            put_list(&mut call, "next_steps", args.next);
            put_list(&mut call, "files", args.file);
            let answer = connect()?.call("write_handoff", &call).await?;
            Ok(show::told(&answer, global.json, |body| {
                let (outcome, repo) = (text(body, "outcome"), text(body, "repo"));
                format!("{} for {}\n", styled(GOOD, outcome), styled(NAME, repo))
            }))
        }
        What::Read(args) => {
            let mut call = args.repo.args();
            put(&mut call, "agent", args.agent);
            put(&mut call, "max_results", args.most);
            let answer = connect()?.call("read_handoff", &call).await?;
            Ok(show::told(&answer, global.json, read))
        }
    }
}

fn read(body: &Value) -> String {
    let handoffs: Vec<String> = list(body, "handoffs").iter().map(one).collect();
    if handoffs.is_empty() {
        return "no handoffs\n".to_owned();
    }
    handoffs.join("\n")
}

fn one(handoff: &Value) -> String {
    let at = text(handoff, "written_at");
    let ago = clock::read(&at).map(|at| show::span((clock::now() - at).max(0)));
    let mut out = format!(
        "{} {} {}\n",
        styled(NAME, text(handoff, "agent")),
        styled(FAINT, format_args!("({})", text(handoff, "agent_type"))),
        styled(
            FAINT,
            format_args!("{} ago in {}", ago.unwrap_or(at), text(handoff, "repo"))
        ),
    );
    // Of as many lines as it has, each of them marked: they are somebody else's words.
    let summary = handoff.get("summary").and_then(Value::as_str);
    for line in show::harmless(summary.unwrap_or_default()).lines() {
        let _ = writeln!(out, "{} {line}", styled(FAINT, "│"));
    }
    for (name, title) in [
        ("completed", "done"),
        ("in_progress", "in progress"),
        ("decisions", "decided"),
        ("next_steps", "next"),
        ("files", "files"),
    ] {
        let items = list(handoff, name);
        if items.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", styled(HEAD, title));
        for item in items.iter().filter_map(Value::as_str) {
            let item = show::harmless(item).replace('\n', "\n    ");
            let _ = writeln!(out, "  - {item}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_of_others_stay_words() {
        let told = read(&json!({"handoffs": [{
            "agent": "bob", "agent_type": "cli", "repo": "h/o/r", "written_at": "2026-11-22T20:30:00+00:00",
            "summary": "half\u{1b}[2J\ndone", "completed": ["a\nb"], "next_steps": [], "files": ["x"]}]}));
        let told = anstream::adapter::strip_str(&told).to_string();
        let (_, told) = told.split_once(" ago").unwrap();
        assert_eq!(
            told,
            " in h/o/r\n│ half\u{fffd}[2J\n│ done\ndone\n  - a\n    b\nfiles\n  - x\n"
        );
    }
}
