//! A command that waits until it gets what it asked for.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::commands::Error;
use crate::rpc::line::{self, Line};
use crate::rpc::{Answer, Client};
use crate::signals;
use crate::stack::progress::Progress;

/// Asks again for as long as the first answer says; `place` tells where one stands.
/// Ctrl-C ends it with the last answer.
///
/// # Errors
/// The coordinator cannot be reached for longer than a place is kept, or refuses.
pub async fn wait(
    client: &Client,
    function: &str,
    args: &Map<String, Value>,
    mut answer: Answer,
    place: fn(&Value) -> String,
) -> Result<Answer, Error> {
    let mut line = Line::new(Duration::MAX);
    let Some(mut pause) = line.pause(&answer) else {
        return Ok(answer);
    };
    let progress = Progress::new();
    let mut stop = std::pin::pin!(signals::stop());
    loop {
        progress.step(&place(&answer.body));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut stop => {
                progress.finish();
                if let Some(ticket) = line::ticket(&answer) {
                    let args = Map::from_iter([("ticket".to_owned(), ticket.into())]);
                    client.call_once("cancel_wait", &args, Duration::from_secs(3)).await?;
                }
                return Ok(answer);
            }
        }
        match client.call(function, &line.again(args)).await {
            Ok(next) => answer = next,
            // The place outlives a restart of the coordinator.
            Err(error) if error.passes() && line.is_kept() => continue,
            Err(error) => return Err(error.into()),
        }
        match line.pause(&answer) {
            Some(next) => pause = next,
            None => break,
        }
    }
    progress.finish();
    Ok(answer)
}

/// Does something, and says so if it takes long.
pub async fn telling<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    let progress = Progress::new();
    progress.step(what);
    let done = work.await;
    progress.finish();
    done
}
