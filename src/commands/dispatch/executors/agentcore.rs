//! `agentcore:TARGET`: a runtime of Amazon's `AgentCore` is told of the job
//! (`InvokeAgentRuntime`), and answers its verdict; or it answers none and tells it by
//! `webhook_agentcore`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http;
use super::{Executor, Running, Work, spoken, target};
use crate::commands::dispatch::config::{Wrong, targets};
use crate::commands::dispatch::job::{Ended, Verdict};
use crate::commands::dispatch::secret::Secret;

const WHO: &str = "AgentCore";

/// What requests are signed for.
const SERVICE: &str = "bedrock-agentcore";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runtime {
    arn: String,
    /// Else as the ARN says.
    region: Option<String>,
    /// A version's endpoint, by its name.
    qualifier: Option<String>,
    /// Another root of the API, as of another partition.
    endpoint: Option<String>,
    #[serde(default = "access_key_id")]
    access_key_id: Secret,
    #[serde(default = "secret_access_key")]
    secret_access_key: Secret,
    /// Of temporary credentials.
    session_token: Option<Secret>,
}

fn access_key_id() -> Secret {
    Secret::Env("AWS_ACCESS_KEY_ID".to_owned())
}

fn secret_access_key() -> Secret {
    Secret::Env("AWS_SECRET_ACCESS_KEY".to_owned())
}

impl Runtime {
    fn region(&self) -> &str {
        let of_arn = self.arn.split(':').nth(3).unwrap_or_default();
        self.region.as_deref().unwrap_or(of_arn)
    }

    fn credentials(&self) -> Result<Credentials, String> {
        // Of the environment only together with the keys that it belongs to.
        let of_env =
            matches!(&self.access_key_id, Secret::Env(name) if name == "AWS_ACCESS_KEY_ID");
        let token = match &self.session_token {
            Some(token) => Some(token.read()?),
            None if of_env => crate::settings::env("AWS_SESSION_TOKEN"),
            None => None,
        };
        let (id, key) = (self.access_key_id.read()?, self.secret_access_key.read()?);
        Ok(Credentials::new(id, key, token, None, "coord"))
    }

    fn check(&self) -> Result<(), String> {
        if self.arn.split(':').count() < 6 || self.region().is_empty() {
            return Err("arn is that of a runtime, as arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/NAME".to_owned());
        }
        self.url()?;
        self.credentials().map(drop)
    }

    fn url(&self) -> Result<reqwest::Url, String> {
        let usual = || format!("https://{SERVICE}.{}.amazonaws.com", self.region());
        let root = self.endpoint.clone().unwrap_or_else(usual);
        // Its colons and slashes are part of one segment.
        let arn: String = self.arn.bytes().map(escaped).collect();
        let mut url = reqwest::Url::parse(&format!(
            "{}/runtimes/{arn}/invocations",
            root.trim_end_matches('/')
        ))
        .map_err(|error| format!("endpoint: {error}"))?;
        if let Some(qualifier) = &self.qualifier {
            url.query_pairs_mut().append_pair("qualifier", qualifier);
        }
        Ok(url)
    }

    /// The call, signed.
    fn call(&self, work: &Work, base: &str) -> Result<RequestBuilder, String> {
        let job = &work.job;
        let body = json!({
            "job": job.id, "attempt": job.attempt, "changeset": job.changeset, "check": job.check(), "repo": job.repo,
            "base": base, "head": job.head, "branch": job.branch, "task": job.task, "author": job.author,
            "changed_paths": job.changed_paths, "timeout_seconds": job.timeout_seconds,
        })
        .to_string();
        // Each attempt in a session of its own; an id of one has 33 characters at least.
        let session = format!("coord-{}-{}", work.name(), uuid::Uuid::new_v4().simple());
        let url = self.url()?;
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
            (
                "x-amzn-bedrock-agentcore-runtime-session-id",
                session.as_str(),
            ),
        ];
        let identity = self.credentials()?.into();
        let failed =
            |error: &dyn std::fmt::Display| format!("the call of {WHO} cannot be signed: {error}");
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region())
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let signable = SignableRequest::new(
            "POST",
            url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )
        .map_err(|error| failed(&error))?;
        let (signed, _) = sign(signable, &params)
            .map_err(|error| failed(&error))?
            .into_parts();
        let mut call = http::client()?.post(url);
        for (name, value) in headers.into_iter().chain(signed.headers()) {
            call = call.header(name, value);
        }
        Ok(call.body(body))
    }
}

/// As RFC 3986 leaves only what is unreserved.
fn escaped(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

struct Agentcore(BTreeMap<String, Runtime>);

pub fn read(section: &Value) -> Result<Box<dyn Executor>, Wrong> {
    let runtimes = targets(section, |_, runtime: &Runtime| runtime.check())?;
    Ok(Box::new(Agentcore(runtimes)))
}

impl Executor for Agentcore {
    fn targets(&self) -> Vec<Option<String>> {
        spoken(self.0.keys())
    }

    fn run<'a>(&'a self, work: &'a Work, base: &'a str) -> Running<'a> {
        Box::pin(async move {
            let Some(runtime) = self.0.get(target(&work.job)) else {
                return Ended::error("this runtime is not configured here");
            };
            let call = match runtime.call(work, base) {
                Ok(call) => call,
                Err(why) => return Ended::error(why),
            };
            let reply = match http::send(WHO, &call, &work.stop).await {
                Ok(reply) => reply,
                Err(why) => return Ended::error(why),
            };
            if !reply.status.is_success() {
                return Ended::error(reply.refusal(WHO));
            }
            if let Some(ended) = verdict(&reply.body, &work.job.head) {
                return ended;
            }
            http::elsewhere(&work.stop).await;
            Ended::error("stopped")
        })
    }
}

/// What the runtime says: as `webhook_agentcore` takes it. None where the verdict is to come.
fn verdict(said: &Value, head: &str) -> Option<Ended> {
    let Some(said) = said.as_object() else {
        return Some(Ended::error("the runtime answered no JSON object"));
    };
    let status = said.get("status")?.as_str().unwrap_or_default();
    let verdict = match status {
        "accepted" => return None,
        "passed" => Verdict::Passed,
        "failed" => Verdict::Failed,
        "timed_out" => Verdict::TimedOut,
        "error" => Verdict::Error,
        _ => {
            return Some(Ended::error(
                "the runtime's status is none of passed, failed, error, timed_out, accepted",
            ));
        }
    };
    let ends = matches!(verdict, Verdict::Passed | Verdict::Failed);
    if ends && said.get("commit").and_then(Value::as_str) != Some(head) {
        return Some(Ended::error(format!(
            "the runtime does not say that it ran on {head} (commit)"
        )));
    }
    let summary = said
        .get("summary")
        .and_then(Value::as_str)
        .unwrap_or(status);
    let mut ended = Ended::new(verdict, summary);
    if let Some(url @ Value::String(_)) = said.get("log_url") {
        ended = ended.with("log_url", url.clone());
    }
    Some(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_for_the_head_or_none() {
        let says = |said: Value| verdict(&said, "abc").map(|ended| ended.verdict.name());
        assert_eq!(
            says(json!({"status": "passed", "commit": "abc"})),
            Some("passed")
        );
        assert_eq!(
            says(json!({"status": "passed", "commit": "def"})),
            Some("error")
        );
        assert_eq!(says(json!({"status": "failed"})), Some("error"));
        assert_eq!(
            says(json!({"status": "great", "commit": "abc"})),
            Some("error")
        );
        assert_eq!(says(json!("passed")), Some("error"));
        assert_eq!(says(json!({"status": "accepted"})), None);
        assert_eq!(says(json!({})), None);
    }
}
