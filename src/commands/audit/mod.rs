//! `coord audit`: what was done and denied, and the proof that nobody changed it.

mod anchor;
mod export;
mod keep;
mod proof;
mod query;
mod tail;
mod verify;

use serde_json::Value;

use crate::commands::Error;
use crate::exit::Exit;
use crate::rpc::{Client, Problem};
use crate::settings::Global;
use crate::stack::clock;

/// Arguments of `coord audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what was done and what was denied, newest first
    Query(query::Args),
    /// Follow what is done, until Ctrl-C
    Tail,
    /// Write sealed rows with everything needed to recompute their seals, as JSON lines
    Export(export::Args),
    /// Recompute every seal outside the database; exits 1 and names the rows if one differs
    Verify(verify::Args),
    /// Keep the newest head of the chain where the database cannot reach it
    Anchor(anchor::Args),
    /// Seal what is committed, now; for operators
    Seal,
    /// Erase what a principal's rows say beyond who, what and when; for operators
    Erase(keep::Erase),
    /// Drop whole sealed months; their seals stay; for operators
    Drop(keep::Drop),
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached or refuses, or a file cannot be read or written.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let connect = || Ok::<_, Error>(Client::new(global.target()?)?);
    match args.what {
        What::Query(args) => query::run(&args, &connect()?, global.json).await,
        What::Tail => tail::run(&connect()?, global.json).await,
        What::Export(args) => export::run(&args, &connect()?).await,
        What::Verify(args) => verify::run(&args, global).await,
        What::Anchor(args) => anchor::run(&args, &connect()?).await,
        What::Seal => keep::seal(&connect()?, global.json).await,
        What::Erase(args) => keep::erase(&args, &connect()?, global.json).await,
        What::Drop(args) => keep::drop(&args, &connect()?, global.json).await,
    }
}

/// A time as `2h` ago, or as RFC 3339.
pub fn time(text: &str) -> Result<String, &'static str> {
    match clock::duration(text) {
        Some(ago) => Ok(clock::rfc3339(clock::now() - ago)),
        None if text.len() >= 10 && text.as_bytes()[4] == b'-' => Ok(text.to_owned()),
        None => Err("write it as 30m, 2h or 7d ago, or as 2026-11-22T20:30:00Z"),
    }
}

/// The rows of a view's answer; anything else is an answer of something else.
fn rows(body: Value) -> Result<Vec<Value>, Error> {
    match body {
        Value::Array(rows) => Ok(rows),
        _ => Err(strange("the view did not answer rows")),
    }
}

/// An answer that this version does not understand.
fn strange(what: &str) -> Error {
    Error::Rpc(crate::rpc::Error::Problem(Box::new(Problem {
        status: 500,
        code: String::new(),
        message: what.to_owned(),
        details: None,
        hint: Some("is the coordinator of another version?".to_owned()),
    })))
}
