//! A tool call that waits in line: the client makes one call, the bridge asks again.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::error::Error;
use super::upstream::{Args, Upstream};
use super::{Bridge, log};
use crate::rpc::Answer;
use crate::rpc::line::{self, Line};

/// What a waiting call hears from its client, and tells it.
pub struct Waiter {
    cancelled: CancellationToken,
    progress: Option<(Peer<RoleServer>, ProgressToken)>,
}

impl Waiter {
    pub fn new(context: &RequestContext<RoleServer>) -> Self {
        let token = context.meta.get_progress_token();
        Self {
            cancelled: context.ct.clone(),
            progress: token.map(|token| (context.peer.clone(), token)),
        }
    }

    async fn tell(&self, waited: Duration, answer: &Answer) {
        let Some((peer, token)) = &self.progress else {
            return;
        };
        let seconds = |name| answer.body.get(name).and_then(Value::as_f64);
        let mut news = ProgressNotificationParam::new(token.clone(), waited.as_secs_f64());
        news.total = seconds("wait_seconds_left").map(|left| waited.as_secs_f64() + left);
        news.message = Some(place(&answer.body));
        // A client that does not listen any more is noticed elsewhere.
        let _ = peer.notify_progress(news).await;
    }
}

impl Bridge {
    /// Makes the same call again while it is answered `queued`, or `none` within the time to
    /// wait. What comes back is an answer like any other, one of these too if this took as
    /// long as a client may be kept.
    pub(super) async fn wait(
        &self,
        caller: &Caller,
        waiter: &Waiter,
        function: &str,
        args: &Args,
        mut answer: Answer,
    ) -> Result<Answer, Error> {
        let mut line = Line::new(self.patience);
        while let Some(pause) = line.pause(&answer) {
            waiter.tell(line.waited(), &answer).await;
            answer = loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    // The session ends with the process, and its tickets with it.
                    () = self.closing.cancelled() => return Ok(answer),
                    () = waiter.cancelled.cancelled() => {
                        leave(&self.upstream, caller, &answer).await;
                        return Ok(answer);
                    }
                }
                let again = line.again(args);
                match self.upstream.call(caller, function, &again).await {
                    Ok(next) => {
                        if waiter.cancelled.is_cancelled() {
                            give_back(&self.upstream, caller, &next).await;
                        }
                        break next;
                    }
                    // The place outlives a restart of the coordinator.
                    Err(error) if error.is_silence() && line.is_kept() => {}
                    Err(error) => return Err(error),
                }
            };
        }
        Ok(answer)
    }
}

/// Gives the place up, so that nobody waits for a client that does not.
async fn leave(upstream: &Upstream, caller: &Caller, answer: &Answer) {
    let Some(ticket) = line::ticket(answer) else {
        return;
    };
    let args = Map::from_iter([("ticket".to_owned(), ticket.into())]);
    let left = upstream.call_once(caller, "cancel_wait", &args, Duration::from_secs(3));
    if let Err(error) = left.await {
        log(format_args!("could not leave the line: {error}"));
    }
}

/// Returns tasks that came when their client had just given up: nobody would work on them.
async fn give_back(upstream: &Upstream, caller: &Caller, answer: &Answer) {
    let tasks = answer.body.get("tasks").and_then(Value::as_array);
    for task in tasks.into_iter().flatten() {
        let (Some(id), Some(attempt)) = (task.get("id"), task.get("attempt")) else {
            continue;
        };
        let args = Map::from_iter([
            ("task".to_owned(), id.clone()),
            ("attempt".to_owned(), attempt.clone()),
            ("reason".to_owned(), "the client gave the call up".into()),
        ]);
        let returned = upstream.call_once(caller, "return_work", &args, Duration::from_secs(3));
        if let Err(error) = returned.await {
            log(format_args!("could not return {id}: {error}"));
        }
    }
}

/// Where the call stands, for people who watch.
fn place(body: &Value) -> String {
    let text = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    if body.get("outcome").is_some_and(|it| it == "none") {
        return format!("nothing to claim yet: {}", line::reasons(body));
    }
    let position = text(body, "position");
    match body.pointer("/blockers/0") {
        Some(first) => format!(
            "number {position} in line for {}; {} has {}",
            text(first, "path"),
            text(first, "holder"),
            text(first, "held_path")
        ),
        None => format!("number {position} in line"),
    }
}
