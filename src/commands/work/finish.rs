//! The ends of a task: done, failed, given back, cancelled; and its second beginning.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Connect;
use crate::commands::Error;
use crate::commands::arguments::{data, put, seconds, words};
use crate::commands::show::{self, BAD, GOOD, NAME, list, next, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;

use super::task::ahead;

#[derive(Debug, clap::Args)]
pub struct Done {
    #[command(flatten)]
    claim: Claim,
    /// What came of it: JSON or a text, @FILE, or - for standard input; tasks that depend on it get it
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Fail {
    #[command(flatten)]
    claim: Claim,
    /// Why; whoever tries next reads it; - reads standard input
    #[arg(long, value_name = "TEXT")]
    error: String,
}

#[derive(Debug, clap::Args)]
pub struct Return {
    #[command(flatten)]
    claim: Claim,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Nobody gets it for so long, in seconds or as 30m
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    delay: Option<i64>,
}

#[derive(Debug, clap::Args)]
pub struct Cancel {
    /// Which task, as T-17
    #[arg(value_name = "TASK")]
    task: String,
    /// Why: whoever works on it is told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Retry {
    /// Which task, as T-17
    #[arg(value_name = "TASK")]
    task: String,
}

/// A task that this session has claimed.
#[derive(Debug, clap::Args)]
struct Claim {
    /// Which task, as T-17
    #[arg(value_name = "TASK")]
    task: String,
    /// The attempt that the claim gave: keeps you from finishing what was taken back and claimed anew
    #[arg(long, value_name = "N")]
    attempt: Option<i64>,
}

impl Claim {
    fn args(self) -> Map<String, Value> {
        let mut call = named(self.task);
        put(&mut call, "attempt", self.attempt);
        call
    }
}

fn named(task: String) -> Map<String, Value> {
    Map::from_iter([("task".to_owned(), task.into())])
}

pub async fn done(args: Done, connect: impl Connect, json: bool) -> Result<Exit, Error> {
    let mut call = args.claim.args();
    put(&mut call, "success", Some(true));
    put(&mut call, "result", args.result.map(data).transpose()?);
    let answer = connect()?.call("complete_work", &call).await?;
    Ok(show::told(&answer, json, ended))
}

pub async fn fail(args: Fail, connect: impl Connect, json: bool) -> Result<Exit, Error> {
    let mut call = args.claim.args();
    put(&mut call, "success", Some(false));
    put(&mut call, "error", Some(words(args.error)?));
    let answer = connect()?.call("complete_work", &call).await?;
    Ok(show::told(&answer, json, ended))
}

pub async fn give_back(args: Return, connect: impl Connect, json: bool) -> Result<Exit, Error> {
    let mut call = args.claim.args();
    put(&mut call, "reason", args.reason);
    put(&mut call, "delay_seconds", args.delay);
    let answer = connect()?.call("return_work", &call).await?;
    Ok(show::told(&answer, json, ended))
}

pub async fn cancel(args: Cancel, connect: impl Connect, json: bool) -> Result<Exit, Error> {
    let mut call = named(args.task);
    put(&mut call, "reason", args.reason);
    let answer = connect()?.call("cancel_work", &call).await?;
    Ok(show::told(&answer, json, ended))
}

pub async fn retry(args: Retry, client: &Client, json: bool) -> Result<Exit, Error> {
    let answer = client.call("retry_work", &named(args.task)).await?;
    Ok(show::told(&answer, json, ended))
}

/// What became of the task, and of others with it.
fn ended(body: &Value) -> String {
    let good = body.get("ok") == Some(&Value::Bool(true));
    let outcome = text(body, "outcome");
    let mut out = format!(
        "{} {}{}\n",
        styled(if good { GOOD } else { BAD }, &outcome),
        styled(NAME, text(body, "task")),
        standing(body, &outcome)
    );
    for (name, words) in [
        ("released", "released"),
        ("unblocked", "can start now:"),
        ("with_it", "died of it:"),
        ("waiting", "waiting for it:"),
    ] {
        let names = list(body, name).iter().filter_map(Value::as_str);
        let names: Vec<String> = names.map(show::harmless).collect();
        if !names.is_empty() {
            let _ = writeln!(out, "{words} {}", styled(NAME, names.join(" ")));
        }
    }
    out.push_str(&next(body));
    out
}

fn standing(body: &Value, outcome: &str) -> String {
    let said = |name| text(body, name);
    let failed = || {
        let (failures, most) = (said("failures"), said("max_attempts"));
        format!(": {failures} of {most} attempts failed")
    };
    match outcome {
        "retrying" => match ahead(body, "next_at") {
            Some(left) => format!("{}, the next one in {left}", failed()),
            None => failed(),
        },
        "dead" => failed(),
        "already_done" => format!(", it is {}", said("state")),
        "not_yours" => match said("holder") {
            holder if holder.is_empty() => format!(": it is {}", said("state")),
            holder => format!(
                ": it is {}, {holder} has attempt {}",
                said("state"),
                said("attempt")
            ),
        },
        "submitted" | "duplicate" => format!(" for {}", said("retry_of")),
        _ => String::new(),
    }
}
