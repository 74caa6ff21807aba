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
    /// Makes the same call again while it is answered `queued`. What comes back is an answer
    /// like any other, `queued` too if this took as long as a client may be kept.
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
                match self.upstream.call(caller, function, args).await {
                    Ok(next) => break next,
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

/// Where the call stands, for people who watch.
fn place(body: &Value) -> String {
    let text = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
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
