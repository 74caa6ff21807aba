//! `github_actions:FILE`: a workflow of the branch, started by `workflow_dispatch`. Its verdict
//! comes by `webhook_github`, or is asked for where `poll_seconds` says so.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::http::{self, GOODBYE, PROMPT, Reply};
use super::{Executor, Running, Work, spoken, target};
use crate::commands::dispatch::config::{Wrong, targets};
use crate::commands::dispatch::job::{Ended, Verdict};
use crate::commands::dispatch::secret::Secret;

const WHO: &str = "GitHub";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workflow {
    token: Secret,
    #[serde(default = "api")]
    api: String,
    poll_seconds: Option<u64>,
}

fn api() -> String {
    "https://api.github.com".to_owned()
}

struct GithubActions(BTreeMap<String, Workflow>);

pub fn read(section: &Value) -> Result<Box<dyn Executor>, Wrong> {
    let workflows = targets(section, |_, workflow: &Workflow| {
        workflow.token.read().map(drop)
    })?;
    Ok(Box::new(GithubActions(workflows)))
}

impl Executor for GithubActions {
    fn targets(&self) -> Vec<Option<String>> {
        spoken(self.0.keys())
    }

    fn run<'a>(&'a self, work: &'a Work, _base: &'a str) -> Running<'a> {
        Box::pin(async move {
            let file = target(&work.job);
            let Some(workflow) = self.0.get(file) else {
                return Ended::error("this workflow is not configured here");
            };
            let ended = match Api::of(workflow, &work.job.repo) {
                Ok(api) => api.run(workflow, file, work).await,
                Err(why) => Err(why),
            };
            ended.unwrap_or_else(Ended::error)
        })
    }
}

/// The API of one repository.
struct Api {
    http: Client,
    token: String,
    root: reqwest::Url,
}

impl Api {
    fn of(workflow: &Workflow, repo: &str) -> Result<Self, String> {
        let mut root =
            reqwest::Url::parse(&workflow.api).map_err(|error| format!("api: {error}"))?;
        let Some((_, repo)) = repo.split_once('/') else {
            return Err(format!("{repo} is no repository of {WHO}"));
        };
        if let Ok(mut path) = root.path_segments_mut() {
            path.pop_if_empty()
                .push("repos")
                .extend(repo.split('/'))
                .push("actions");
        }
        Ok(Self {
            http: http::client()?,
            token: workflow.token.read()?,
            root,
        })
    }

    fn call(&self, method: Method, below: &[&str]) -> RequestBuilder {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(below);
        }
        self.http
            .request(method, url)
            .bearer_auth(&self.token)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .timeout(PROMPT)
    }

    async fn run(&self, workflow: &Workflow, file: &str, work: &Work) -> Result<Ended, String> {
        let job = &work.job;
        let Some(branch) = &job.branch else {
            return Err(format!(
                "{WHO} runs workflows of branches: submit the change with its branch"
            ));
        };
        let start = self
            .call(Method::POST, &["workflows", file, "dispatches"])
            .json(&json!({
                "ref": branch,
                "inputs": {"job": job.id, "attempt": job.attempt.to_string(), "head": job.head},
                "return_run_details": true,
            }));
        let reply = http::send(WHO, &start, &work.stop).await?;
        if !reply.status.is_success() {
            return Err(format!(
                "{} ({file} on {branch} takes `on: workflow_dispatch` with the inputs job, attempt and head)",
                reply.refusal(WHO)
            ));
        }
        // A server that does not say which run it started leaves it to the webhook.
        let Some(run) = reply.body["workflow_run_id"].as_u64() else {
            http::elsewhere(&work.stop).await;
            return Ok(Ended::error("stopped"));
        };
        let ended = self.follow(workflow, run, work).await;
        if work.stop.is_cancelled() || ended.is_err() {
            // Nobody waits for it any more; it may have ended by itself.
            let cancel = self.call(Method::POST, &["runs", &run.to_string(), "cancel"]);
            let _ = cancel.timeout(GOODBYE).send().await;
        }
        ended
    }

    async fn follow(&self, workflow: &Workflow, run: u64, work: &Work) -> Result<Ended, String> {
        let ask = self.call(Method::GET, &["runs", &run.to_string()]);
        loop {
            let Reply { status, body } = http::send(WHO, &ask, &work.stop).await?;
            // It is there a moment after it was started.
            if status.is_success() {
                if body["head_sha"] != json!(work.job.head) {
                    let url = body["html_url"].as_str().unwrap_or_default();
                    return Err(format!(
                        "the branch has moved on: {url} is not of the head {}",
                        work.job.head
                    ));
                }
                if workflow.poll_seconds.is_some() && body["status"] == "completed" {
                    return Ok(verdict(&body));
                }
            }
            let Some(seconds) = workflow.poll_seconds else {
                http::elsewhere(&work.stop).await;
                return Ok(Ended::error("stopped"));
            };
            tokio::select! {
                () = sleep(Duration::from_secs(seconds.max(1))) => {}
                () = work.stop.cancelled() => return Ok(Ended::error("stopped")),
            }
        }
    }
}

/// As `webhook_github` would say it.
fn verdict(run: &Value) -> Ended {
    let conclusion = run["conclusion"].as_str().unwrap_or("nothing");
    let verdict = match conclusion {
        "success" => Verdict::Passed,
        "failure" => Verdict::Failed,
        "timed_out" => Verdict::TimedOut,
        _ => Verdict::Error,
    };
    let name = run["name"].as_str().unwrap_or("the workflow");
    let mut ended =
        Ended::new(verdict, format!("{name}: {conclusion}")).with("run", run["id"].clone());
    for (name, of) in [
        ("log_url", "html_url"),
        ("started_at", "run_started_at"),
        ("ended_at", "updated_at"),
    ] {
        if run[of].is_string() {
            ended = ended.with(name, run[of].clone());
        }
    }
    ended
}
