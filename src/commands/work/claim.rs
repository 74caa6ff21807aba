//! `coord work claim`: the next task, all that one needs to do it, and what to type after.

use std::fmt::Write as _;

use serde_json::Value;

use super::task::{block, state};
use crate::cli;
use crate::commands::arguments::{Repo, put, put_list, seconds};
use crate::commands::show::{self, BAD, FAINT, GOOD, HEAD, NAME, left, list, next, styled, text};
use crate::commands::{Error, in_line};
use crate::exit::Exit;
use crate::rpc::{Client, line};
use crate::settings::Global;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits 1 when there is nothing for you. Any call of your session renews the lease; after a \
                        silence as long as that the task goes to somebody else."
)]
pub struct Args {
    /// Only tasks of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// At most so many, up to 10 [default: 1]
    #[arg(long, value_name = "N")]
    max: Option<i64>,
    /// How long you may be silent, in seconds or as 30m [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    lease: Option<i64>,
    /// If there is nothing, wait for this long; Ctrl-C ends it
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    wait: Option<i64>,
    #[command(flatten)]
    repo: Repo,
}

pub async fn run(args: Args, client: &Client, global: &Global) -> Result<Exit, Error> {
    let mut call = args.repo.args();
    put_list(&mut call, "task_types", args.types);
    put(&mut call, "max_tasks", args.max);
    put(&mut call, "lease_seconds", args.lease);
    put(&mut call, "wait_seconds", args.wait);
    let answer = client.call("get_work", &call).await?;
    let answer = in_line::wait(client, "get_work", &call, answer, place).await?;
    Ok(show::told(&answer, global.json, |body| {
        if answer.ok() {
            claimed(body, &flags(global))
        } else {
            none(body)
        }
    }))
}

/// Flags of this call that the next one wants too.
fn flags(global: &Global) -> String {
    let mut flags = String::new();
    for (name, value) in [("as", &global.principal), ("session", &global.session)] {
        // What stands in the environment is there the next time.
        if let Some(value) = value.as_ref().filter(|_| name == "as" || cli::said(name)) {
            let _ = write!(flags, " --{name} {}", show::harmless(value));
        }
    }
    flags
}

fn place(body: &Value) -> String {
    format!("nothing to claim yet: {}", line::reasons(body))
}

fn none(body: &Value) -> String {
    format!(
        "{}: {}\n{}",
        styled(BAD, text(body, "outcome")),
        line::reasons(body),
        next(body)
    )
}

fn claimed(body: &Value, flags: &str) -> String {
    let mut out = String::new();
    for task in list(body, "tasks") {
        out.push_str(&one(task, flags));
    }
    out
}

fn one(task: &Value, flags: &str) -> String {
    let (id, attempt) = (text(task, "id"), text(task, "attempt"));
    let mut out = format!(
        "{} {}  {}\n{}\n",
        styled(GOOD, "claimed"),
        styled(NAME, &id),
        styled(HEAD, text(task, "title")),
        styled(
            FAINT,
            format_args!(
                "attempt {attempt}, type {}, priority {}, from {}, lease {}",
                text(task, "task_type"),
                text(task, "priority"),
                text(task, "submitted_by"),
                left(task)
            )
        ),
    );
    if let Some(failure) = task.get("last_failure") {
        let _ = writeln!(
            out,
            "{} of {}: {}",
            styled(
                BAD,
                format_args!(
                    "failed before, {} of {}",
                    text(task, "failures"),
                    text(task, "max_attempts")
                )
            ),
            text(failure, "agent"),
            text(failure, "error")
        );
    }
    out.push_str(&block(task, "description"));
    out.push_str(&block(task, "input"));
    let locks = list(task, "locks");
    if !locks.is_empty() {
        let row = |lock: &Value| vec![text(lock, "path"), text(lock, "fence"), left(lock)];
        let rows: Vec<_> = locks.iter().map(row).collect();
        let _ = write!(
            out,
            "{}\n{}",
            styled(HEAD, "locked for you"),
            indented(&show::table(&["path", "fence", "left"], &rows, &[NAME]))
        );
    }
    for other in list(task, "dependencies") {
        let _ = writeln!(
            out,
            "{} {} {} {}",
            styled(HEAD, "came from"),
            styled(NAME, text(other, "task")),
            state(other),
            text(other, "title")
        );
        out.push_str(&block(other, "result"));
    }
    let _ = write!(
        out,
        "{}\n  coord work done {id} --attempt {attempt}{flags} --result '…'\n  \
         coord work fail {id} --attempt {attempt}{flags} --error '…'\n  \
         coord work return {id} --attempt {attempt}{flags}\n",
        styled(FAINT, "next:")
    );
    out
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}\n")).collect();
    lines.concat()
}
