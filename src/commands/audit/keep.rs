//! `coord audit seal`, `erase` and `drop`: the operators' functions with a terminal face.

use serde_json::{Map, Value};

use super::time;
use crate::commands::{Error, show};
use crate::exit::Exit;
use crate::rpc::{Answer, Client};

#[derive(Debug, clap::Args)]
pub struct Erase {
    /// Whose rows
    #[arg(value_name = "NAME")]
    name: String,
    /// Why; the audit will show it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub struct Drop {
    /// Months that end before then: 90d ago, or a time
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: String,
}

pub async fn seal(client: &Client, json: bool) -> Result<Exit, Error> {
    Ok(told(&client.call("seal_audit", &Map::new()).await?, json))
}

pub async fn drop(args: &Drop, client: &Client, json: bool) -> Result<Exit, Error> {
    let call = Map::from_iter([("before".to_owned(), args.before.as_str().into())]);
    Ok(told(&client.call("drop_audit_before", &call).await?, json))
}

/// In as many calls as it takes.
pub async fn erase(args: &Erase, client: &Client, json: bool) -> Result<Exit, Error> {
    let call = Map::from_iter([
        ("name".to_owned(), args.name.as_str().into()),
        ("reason".to_owned(), args.reason.as_str().into()),
    ]);
    let mut rows = 0;
    loop {
        let mut answer = client.call("erase_audit_details", &call).await?;
        rows += answer.body["rows"].as_i64().unwrap_or_default();
        if answer.body["more"] != Value::Bool(true) {
            if let Some(count) = answer.body.get_mut("rows") {
                *count = rows.into();
            }
            return Ok(told(&answer, json));
        }
    }
}

fn told(answer: &Answer, json: bool) -> Exit {
    if json {
        show::json(&answer.body);
    } else {
        show::print(&show::answer(&answer.body));
    }
    if answer.ok() {
        Exit::Done
    } else {
        Exit::Refused
    }
}
