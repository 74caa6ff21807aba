//! `coord verify decide`: a person's verdict.

use serde_json::{Map, Value, json};

use super::status::state;
use crate::commands::Error;
use crate::commands::show::{self, NAME, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which check, as V-17
    #[arg(value_name = "JOB")]
    job: String,
    /// Whether the change is good
    #[arg(value_name = "VERDICT", value_parser = ["approve", "reject"])]
    verdict: String,
    /// Why; a rejection takes it
    #[arg(long, value_name = "TEXT", required_if_eq("verdict", "reject"))]
    note: Option<String>,
}

pub async fn run(args: Args, client: &Client, json: bool) -> Result<Exit, Error> {
    let mut call = Map::from_iter([
        ("job".to_owned(), json!(args.job)),
        ("approve".to_owned(), (args.verdict == "approve").into()),
    ]);
    call.extend(args.note.map(|note| ("note".to_owned(), note.into())));
    let answer = client.call("decide_verification", &call).await?;
    Ok(show::told(&answer, json, told))
}

fn told(body: &Value) -> String {
    format!(
        "{} {}: {} is {}\n",
        styled(NAME, text(body, "job")),
        state(&text(body, "state")),
        styled(NAME, text(body, "changeset")),
        state(&text(body, "changeset_state")),
    )
}
