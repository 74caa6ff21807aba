//! Calls of other services' APIs.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::commands::dispatch::job::last;
use crate::stack::clock;

/// Longer than that nobody is waited for.
const MOST: u64 = 3600;

/// For an answer that should come at once.
pub const PROMPT: Duration = Duration::from_mins(1);

/// For a last word: nobody waits for long when a run was stopped.
pub const GOODBYE: Duration = Duration::from_secs(10);

/// An answer, read whole.
pub struct Reply {
    pub status: StatusCode,
    pub body: Value,
}

impl Reply {
    /// What was refused, in the service's own words.
    pub fn refusal(&self, who: &str) -> String {
        let said = match self.body.get("message") {
            Some(Value::String(said)) => said.clone(),
            _ => self.body.to_string(),
        };
        format!(
            "{who} answered {}: {}",
            self.status.as_u16(),
            last(&said, 500)
        )
    }
}

/// A client that is no browser: it follows nobody elsewhere with a secret in its hand.
pub fn client() -> Result<Client, String> {
    Client::builder()
        .user_agent(concat!("coord/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| format!("cannot start the HTTP client: {error}"))
}

/// Sends it, again where the service wants it later. A call that got no answer is not
/// repeated: what it asked for may have been done.
pub async fn send(
    who: &str,
    request: &RequestBuilder,
    stop: &CancellationToken,
) -> Result<Reply, String> {
    loop {
        let Some(request) = request.try_clone() else {
            return Err(format!("the call of {who} cannot be made"));
        };
        let response = tokio::select! {
            response = request.send() => response,
            () = stop.cancelled() => return Err("stopped".to_owned()),
        };
        // Without its address, which may say more than is to be told.
        let failed =
            |error: reqwest::Error| format!("{who} cannot be reached: {}", error.without_url());
        let response = response.map_err(failed)?;
        let status = response.status();
        if let Some(pause) = later(status, response.headers()) {
            tokio::select! {
                () = sleep(pause) => continue,
                () = stop.cancelled() => return Err(format!("{who} wants to be asked later")),
            }
        }
        let bytes = response.bytes().await.map_err(failed)?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        return Ok(Reply { status, body });
    }
}

/// How long a service wants to be left alone.
fn later(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status.as_u16(), 403 | 429) {
        return None;
    }
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let seconds = number("retry-after").or_else(|| {
        let spent = number("x-ratelimit-remaining") == Some(0);
        let now = u64::try_from(clock::now()).unwrap_or_default();
        // A second more: both clocks are cut to the second.
        spent.then(|| number("x-ratelimit-reset").map(|reset| reset.saturating_sub(now) + 1))?
    })?;
    Some(Duration::from_secs(seconds.clamp(1, MOST)))
}

/// What comes of it, unless the run is stopped before.
pub async fn unless<T>(
    stop: &CancellationToken,
    run: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::select! {
        ended = run => ended,
        () = stop.cancelled() => Err("stopped".to_owned()),
    }
}

/// Waits until nobody waits for the run any more: its verdict comes by a webhook.
pub async fn elsewhere(stop: &CancellationToken) {
    stop.cancelled().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_says_when_it_wants_to_be_asked_again() {
        let ask = |status: u16, pairs: &[(&'static str, String)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = reqwest::header::HeaderName::from_static(name);
                (name, value.parse().unwrap())
            });
            let status = StatusCode::from_u16(status).unwrap();
            later(status, &pairs.collect()).map(|pause| pause.as_secs())
        };
        let at = (clock::now() + 100).to_string();
        let spent = ("x-ratelimit-remaining", "0".to_owned());
        assert_eq!(ask(429, &[("retry-after", "7".to_owned())]), Some(7));
        assert_eq!(ask(403, &[("retry-after", "99999".to_owned())]), Some(3600));
        assert!(
            ask(403, &[spent.clone(), ("x-ratelimit-reset", at.clone())])
                .is_some_and(|it| (99..=101).contains(&it))
        );
        assert_eq!(
            ask(
                403,
                &[
                    ("x-ratelimit-remaining", "5".to_owned()),
                    ("x-ratelimit-reset", at)
                ]
            ),
            None
        );
        assert_eq!(ask(403, &[]), None);
        assert_eq!(ask(200, &[("retry-after", "7".to_owned())]), None);
    }
}
