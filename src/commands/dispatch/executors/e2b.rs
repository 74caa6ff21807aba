//! `e2b:TARGET`: a command in a sandbox of E2B, which is ended with the run.
//!
//! The sandbox starts from a template of the operator's; how the head gets into it is up to the
//! command (`git fetch`), which finds it in `COORD_HEAD`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{self, GOODBYE, PROMPT};
use super::{Executor, Running, Work, spoken, target};
use crate::commands::dispatch::config::{Wrong, targets};
use crate::commands::dispatch::job::{Ended, Verdict, last};
use crate::commands::dispatch::process::Log;
use crate::commands::dispatch::secret::Secret;

const WHO: &str = "E2B";

/// Where the sandbox's own service listens in it.
const PORT: &str = "49983";

/// More than any message of it has; one that says more is none.
const MESSAGE: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    template: String,
    api_key: Secret,
    command: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "api")]
    api: String,
    /// Where sandboxes answer, if not at the domain that the API tells.
    sandbox: Option<String>,
}

fn api() -> String {
    "https://api.e2b.app".to_owned()
}

struct E2b(BTreeMap<String, Target>);

pub fn read(section: &Value) -> Result<Box<dyn Executor>, Wrong> {
    let targets = targets(section, |_, target: &Target| {
        target.api_key.read().map(drop)
    })?;
    Ok(Box::new(E2b(targets)))
}

impl Executor for E2b {
    fn targets(&self) -> Vec<Option<String>> {
        spoken(self.0.keys())
    }

    fn run<'a>(&'a self, work: &'a Work, base: &'a str) -> Running<'a> {
        Box::pin(async move {
            match self.0.get(target(&work.job)) {
                Some(sandbox) => sandbox.run(work, base).await.unwrap_or_else(Ended::error),
                None => Ended::error("this sandbox is not configured here"),
            }
        })
    }
}

impl Target {
    async fn run(&self, work: &Work, base: &str) -> Result<Ended, String> {
        let http = http::client()?;
        let key = self.api_key.read()?;
        let root = self.api.trim_end_matches('/');
        let create = http
            .post(format!("{root}/sandboxes"))
            .header("x-api-key", &key)
            .timeout(PROMPT)
            .json(&json!({
                "templateID": self.template,
                // Should nobody be left to end it.
                "timeout": work.job.timeout_seconds + 60,
                "secure": true,
                "metadata": {"coord_job": work.job.id, "coord_repo": work.job.repo},
            }));
        let reply = http::send(WHO, &create, &work.stop).await?;
        let Some(id) = reply.body["sandboxID"]
            .as_str()
            .filter(|_| reply.status.is_success())
        else {
            return Err(reply.refusal(WHO));
        };
        let command = self.command(&http, &reply.body, id, work, base);
        let ended = http::unless(&work.stop, command).await;
        let end = http
            .delete(format!("{root}/sandboxes/{id}"))
            .header("x-api-key", &key)
            .timeout(GOODBYE);
        // Without it the sandbox ends by itself when its time is up.
        let _ = end.send().await;
        ended
    }

    /// Runs the command in a sandbox that is there.
    async fn command(
        &self,
        http: &Client,
        sandbox: &Value,
        id: &str,
        work: &Work,
        base: &str,
    ) -> Result<Ended, String> {
        let domain = sandbox["domain"].as_str().unwrap_or("e2b.app");
        let root = self
            .sandbox
            .clone()
            .unwrap_or_else(|| format!("https://sandbox.{domain}"));
        let mut env: Map<String, Value> = work
            .facts(base)
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        env.extend(
            self.env
                .iter()
                .map(|(name, value)| (name.clone(), json!(value))),
        );
        let process = json!({"cmd": "/bin/bash", "args": ["-l", "-c", self.command], "envs": env});
        let start = json!({"process": process, "stdin": false}).to_string();
        let mut call = http
            .post(format!(
                "{}/process.Process/Start",
                root.trim_end_matches('/')
            ))
            .header("content-type", "application/connect+json")
            .header("connect-protocol-version", "1")
            .header("e2b-sandbox-id", id)
            .header("e2b-sandbox-port", PORT)
            // A command may be silent for longer than proxies wait.
            .header("keepalive-ping-interval", "50");
        if let Some(token) = sandbox["envdAccessToken"].as_str() {
            call = call.header("x-access-token", token);
        }
        let failed = |error: reqwest::Error| {
            format!("the sandbox cannot be reached: {}", error.without_url())
        };
        let mut response = call.body(enveloped(&start)?).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!(
                "the sandbox answered {}",
                response.status().as_u16()
            ));
        }
        let (path, file) = work
            .scratch
            .log(&work.name())
            .map_err(|error| format!("there is no place for its log: {error}"))?;
        let mut log = Log::new(file);
        let code = follow(&mut response, &mut log).await?;
        log.write(format!("[coord: exit code {code}]\n").as_bytes());
        let verdict = if code == 0 {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        let mut ended = Ended::new(verdict, last(&log.tail(), 1900))
            .with("log", path.display().to_string())
            .with("sandbox", id);
        if let Some(url) = &work.log_url {
            ended = ended.with("log_url", url.replace("{name}", &work.name()));
        }
        Ok(ended)
    }
}

/// A message of the Connect protocol: a byte of flags, its length, itself.
fn enveloped(message: &str) -> Result<Vec<u8>, String> {
    let size = u32::try_from(message.len()).map_err(|_| "the command is too long".to_owned())?;
    let mut envelope = vec![0];
    envelope.extend(size.to_be_bytes());
    envelope.extend(message.as_bytes());
    Ok(envelope)
}

/// Takes a whole message from the beginning of what arrived.
fn message(buffer: &mut Vec<u8>) -> Result<Option<(u8, Value)>, String> {
    let Some(&[flags, a, b, c, d]) = buffer.first_chunk::<5>() else {
        return Ok(None);
    };
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if size > MESSAGE {
        return Err("the sandbox's answer is not understood".to_owned());
    }
    let Some(bytes) = buffer.get(5..5 + size) else {
        return Ok(None);
    };
    let value = serde_json::from_slice(bytes)
        .map_err(|error| format!("the sandbox's answer is not understood: {error}"))?;
    buffer.drain(..5 + size);
    Ok(Some((flags, value)))
}

/// Reads what the command says; answers its exit code.
async fn follow(response: &mut Response, log: &mut Log) -> Result<i64, String> {
    let mut buffer = Vec::new();
    let mut code = None;
    loop {
        while let Some((flags, said)) = message(&mut buffer)? {
            // The end of the stream, with what went wrong.
            if flags & 2 != 0 {
                return match (code, said.get("error")) {
                    (Some(code), None) => Ok(code),
                    (_, Some(error)) => Err(format!("the sandbox says: {error}")),
                    _ => Err("the sandbox does not say how the command ended".to_owned()),
                };
            }
            let event = &said["event"];
            for stream in ["stdout", "stderr"] {
                if let Some(text) = event["data"][stream].as_str() {
                    log.write(&BASE64_STANDARD.decode(text).unwrap_or_default());
                }
            }
            if let Some(end) = event.get("end") {
                if end["exited"] != json!(true) {
                    return Err(format!("the command was ended: {}", end["status"]));
                }
                // What is 0 is left out.
                code = Some(end["exitCode"].as_i64().unwrap_or(0));
            }
        }
        match response.chunk().await {
            Ok(Some(bytes)) => buffer.extend(&bytes),
            Ok(None) => return Err("the sandbox broke off".to_owned()),
            Err(error) => return Err(format!("the sandbox broke off: {}", error.without_url())),
        }
    }
}
