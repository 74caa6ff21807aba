//! Commands as JSON strings, one a line, and a verdict a line for each: for whoever
//! measures the guardrails. Every line is answered, in its place.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::task::JoinHandle;

use super::check::lossy;
use crate::commands::Error;
use crate::exit::Exit;
use crate::rpc::Client;

/// Checks under way at once.
const AT_ONCE: usize = 8;

/// What cannot be read, or not be asked about, is not waved through.
const UNSURE: &str = "ask";

pub async fn check(client: &Client, call: Map<String, Value>) -> Result<Exit, Error> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut output = BufWriter::new(tokio::io::stdout());
    let mut under_way: VecDeque<JoinHandle<Value>> = VecDeque::new();
    let broken =
        |error: std::io::Error| Error::Usage(format!("cannot read standard input: {error}"));
    let mut line = Vec::new();
    let mut down = None;
    loop {
        line.clear();
        let more = input.read_until(b'\n', &mut line).await.map_err(broken)? > 0;
        if more {
            let (client, call, line) = (client.clone(), call.clone(), std::mem::take(&mut line));
            under_way.push_back(tokio::spawn(
                async move { judge(&client, call, &line).await },
            ));
        }
        while under_way.len() >= AT_ONCE || !more && !under_way.is_empty() {
            let Some(first) = under_way.pop_front() else {
                break;
            };
            let verdict = first
                .await
                .unwrap_or_else(|error| unsure(&error.to_string()));
            down = down.or(verdict["error"].as_str().map(str::to_owned));
            // Whoever reads has gone: nobody wants the rest.
            if output
                .write_all(format!("{verdict}\n").as_bytes())
                .await
                .is_err()
            {
                return Ok(Exit::Done);
            }
        }
        if !more {
            break;
        }
    }
    let _ = output.flush().await;
    Ok(match down {
        Some(why) => {
            anstream::eprintln!("coord: not every line was judged: {why}");
            Exit::Unreachable
        }
        None => Exit::Done,
    })
}

async fn judge(client: &Client, mut call: Map<String, Value>, line: &[u8]) -> Value {
    let Ok(Value::String(command)) = serde_json::from_str(&lossy(line)) else {
        return json!({"d": UNSURE, "rules": ["unreadable"], "why": "the line is no JSON string"});
    };
    call.insert(
        "command".to_owned(),
        command.replace('\0', "\u{fffd}").into(),
    );
    let answer = match client.call("check_guardrails", &call).await {
        Ok(answer) => answer.body,
        // Too long, say: an answer of its own.
        Err(crate::rpc::Error::Problem(problem)) if (400..500).contains(&problem.status) => {
            return json!({"d": UNSURE, "rules": [problem.message], "why": problem.details});
        }
        Err(error) => return unsure(&error.to_string()),
    };
    let rules: Vec<&Value> = super::list(&answer, "violations")
        .iter()
        .map(|it| &it["rule"])
        .collect();
    match answer["decision"].as_str() {
        Some(decision) => json!({"d": decision, "rules": rules}),
        None => unsure("the coordinator answered without a decision"),
    }
}

fn unsure(why: &str) -> Value {
    json!({"d": UNSURE, "rules": [], "error": why})
}
