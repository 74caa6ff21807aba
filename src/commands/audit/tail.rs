//! `coord audit tail`: rows as they are committed, none twice and none skipped.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{query, strange};
use crate::commands::{Error, show};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::signals;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

pub async fn run(client: &Client, json: bool) -> Result<Exit, Error> {
    let mut args = Map::new();
    let mut stop = std::pin::pin!(signals::stop());
    loop {
        let answer = tokio::select! {
            answer = client.call("audit_since", &args) => answer,
            () = &mut stop => return Ok(Exit::Done),
        };
        let body = match answer {
            Ok(answer) => answer.body,
            // The cursor outlives a restart.
            Err(error) if error.passes() => {
                tokio::time::sleep(4 * PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Some(cursor) = body.get("cursor").filter(|cursor| cursor.is_string()) else {
            return Err(strange("audit_since answered no cursor"));
        };
        args.insert("cursor".to_owned(), cursor.clone());
        for row in body["rows"].as_array().into_iter().flatten() {
            if json {
                show::json(row);
            } else {
                show::print(&query::line(row));
            }
        }
        if body["more"] != Value::Bool(true) {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = &mut stop => return Ok(Exit::Done),
            }
        }
    }
}
