//! The one client of the REST API: every door (CLI, MCP bridge, hooks) calls through it.
//!
//! It names the schema, sends the token and the session, gives each write an
//! idempotency key, and retries what is safe to retry. It decides nothing.

mod error;
pub mod line;

pub use error::{Error, Problem};

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::settings::Target;

/// The exposed schema: sent as `Content-Profile`, because on hosted Supabase another one is first.
const SCHEMA: &str = "coord_v1";

/// Pauses before the second, third and fourth try of a call that did not get through.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// An answer of a function: a 2xx, or a denial (403 and 429 with an `outcome`).
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON that the function returned.
    pub body: Value,
}

impl Answer {
    /// Whether the function did what was asked: `false` for `held`, `denied` and their like.
    /// Reads that carry no `ok` count as done.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.body.get("ok").and_then(Value::as_bool).unwrap_or(true)
    }
}

/// Calls functions of `coord_v1` at one URL with one identity.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    target: Target,
    /// Sent instead of the target's own: see [`Client::speaking`].
    instead: HeaderMap,
}

impl Client {
    /// A client for this target; connects on first use.
    ///
    /// # Errors
    /// The TLS backend could not be started, or a header value holds control characters.
    pub fn new(target: Target) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str, secret: bool| {
            let mut value = HeaderValue::from_str(value).map_err(|_| Error::Header(name))?;
            value.set_sensitive(secret);
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, Error>(())
        };
        put("content-profile", SCHEMA, false)?;
        put("accept-profile", SCHEMA, false)?;
        if let Some(token) = &target.token {
            put("authorization", &format!("Bearer {token}"), true)?;
        }
        if let Some(key) = &target.apikey {
            put("apikey", key, true)?;
        }
        if let Some(session) = &target.session {
            put("x-session-id", session, false)?;
        }
        let mut builder = reqwest::Client::builder();
        if on_this_machine(&target.url) {
            // A proxy leads elsewhere, and no certificate is ever asked for.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let http = builder
            .default_headers(headers)
            .user_agent(concat!("coord/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_mins(1))
            .build()
            .map_err(Error::Setup)?;
        Ok(Self {
            http,
            target,
            instead: HeaderMap::new(),
        })
    }

    /// The same connections, speaking for somebody else: a whole `Authorization`
    /// value and a session, where given, take the place of the target's own.
    ///
    /// # Errors
    /// A value holds characters that HTTP does not allow.
    pub fn speaking(
        &self,
        authorization: Option<&str>,
        session: Option<&str>,
    ) -> Result<Self, Error> {
        let mut client = self.clone();
        let mut put = |name: &'static str, value: &str| {
            let mut value = HeaderValue::from_str(value).map_err(|_| Error::Header(name))?;
            value.set_sensitive(name == "authorization");
            client.instead.insert(HeaderName::from_static(name), value);
            Ok::<_, Error>(())
        };
        if let Some(value) = authorization {
            put("authorization", value)?;
        }
        if let Some(value) = session {
            put("x-session-id", value)?;
        }
        Ok(client)
    }

    /// Where this client calls and as whom.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Calls one function. The call carries a fresh idempotency key, the same
    /// on every retry, so a lost answer never makes it happen twice.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no try got an answer, [`Error::Problem`] for every other status.
    pub async fn call(&self, function: &str, args: &Map<String, Value>) -> Result<Answer, Error> {
        self.call_with_key(function, args, &Uuid::new_v4().to_string())
            .await
    }

    /// As [`Client::call`], with the caller's own idempotency key.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_with_key(
        &self,
        function: &str,
        args: &Map<String, Value>,
        key: &str,
    ) -> Result<Answer, Error> {
        let mut pauses = PAUSES.iter();
        loop {
            match (self.send(function, args, key, None).await, pauses.next()) {
                (Err(error), Some(pause)) if error.passes() => tokio::time::sleep(*pause).await,
                (Err(Error::Problem(problem)), _) => {
                    return Err(Error::Problem(
                        self.count(function, args, key, problem).await,
                    ));
                }
                (outcome, _) => return outcome,
            }
        }
    }

    /// Tells the coordinator of a call that it refused with an error, which leaves no trace in
    /// a database by itself; whoever repeats it too often is told to stop.
    async fn count(
        &self,
        function: &str,
        args: &Map<String, Value>,
        key: &str,
        mut problem: Box<Problem>,
    ) -> Box<Problem> {
        if matches!(problem.status, 400 | 404 | 409 | 422) {
            let mut told = Map::new();
            told.insert("operation".to_owned(), function.into());
            told.insert("code".to_owned(), problem.message.clone().into());
            told.insert("arguments".to_owned(), args.clone().into());
            let limit = Some(Duration::from_secs(2));
            // The error counts for more than its being counted.
            if let Ok(answer) = self.send("report_failure", &told, key, limit).await
                && let Some(stop) = answer.body.get("next").and_then(Value::as_str)
            {
                problem.hint = Some(stop.to_owned());
            }
        }
        problem
    }

    /// As [`Client::call`], but one try that takes no longer than `limit`: for
    /// what has its own rhythm (polling) or no time (a process that ends).
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_once(
        &self,
        function: &str,
        args: &Map<String, Value>,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let key = Uuid::new_v4().to_string();
        self.send(function, args, &key, Some(limit)).await
    }

    /// Hands a function that takes a raw body that body, once, within `limit`: the
    /// events of others' programs, which know no idempotency keys.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn hand_over(
        &self,
        function: &str,
        body: String,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let request = self
            .http
            .post(format!("{}/rpc/{function}", self.target.url))
            .header("content-type", "application/json")
            .headers(headers)
            .body(body)
            .timeout(limit);
        match request.send().await {
            Ok(response) => Self::answer(response).await,
            Err(error) => Err(Error::Unreachable(self.target.url.clone(), error)),
        }
    }

    /// Reads a view: its rows, chosen by `PostgREST`'s query parameters.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn read(&self, view: &str, query: &[(&str, String)]) -> Result<Value, Error> {
        let mut pauses = PAUSES.iter();
        loop {
            let request = self
                .http
                .get(format!("{}/{view}", self.target.url))
                .headers(self.instead.clone())
                .query(query);
            let outcome = match request.send().await {
                Ok(response) => Self::answer(response).await.map(|answer| answer.body),
                Err(error) => Err(Error::Unreachable(self.target.url.clone(), error)),
            };
            match (outcome, pauses.next()) {
                (Err(error), Some(pause)) if error.passes() => tokio::time::sleep(*pause).await,
                (outcome, _) => return outcome,
            }
        }
    }

    async fn send(
        &self,
        function: &str,
        args: &Map<String, Value>,
        key: &str,
        limit: Option<Duration>,
    ) -> Result<Answer, Error> {
        let mut request = self
            .http
            .post(format!("{}/rpc/{function}", self.target.url))
            .headers(self.instead.clone())
            .header("idempotency-key", key)
            .json(args);
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        match request.send().await {
            Ok(response) => Self::answer(response).await,
            Err(error) => Err(Error::Unreachable(self.target.url.clone(), error)),
        }
    }

    async fn answer(response: reqwest::Response) -> Result<Answer, Error> {
        let url = response.url().to_string();
        let status = response.status().as_u16();
        let bytes = response
            .bytes()
            .await
            .map_err(|error| Error::Unreachable(url, error))?;
        let body: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| {
                Value::String(String::from_utf8_lossy(&bytes).trim().to_owned())
            })
        };
        let answered = (200..300).contains(&status) || body.get("outcome").is_some();
        if answered {
            Ok(Answer { status, body })
        } else {
            Err(Error::Problem(Box::new(Problem::read(status, &body))))
        }
    }
}

/// Whether a URL without TLS names this machine itself.
fn on_this_machine(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| {
        url.scheme() == "http"
            && matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
    })
}
