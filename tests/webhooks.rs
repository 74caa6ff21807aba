//! Real bodies of GitHub's webhooks, signed, through the real PostgREST.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use support::shared;

const SECRET: &str = "what the examples are signed with";
const REPO: &str = "github.com/codertocat/hello-world";

fn signature(body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(&key, body).as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// A way to tell, and whoever it is told as.
struct Hook {
    http: reqwest::Client,
}

impl Hook {
    async fn new() -> Self {
        shared().mint("github-app", "github", REPO);
        let source = json!({"name": "github-examples", "kind": "github", "principal": "github-app", "secret": SECRET, "repos": [REPO]});
        let (status, set) = shared()
            .rpc(&shared().operator, "set_webhook_source", source, &[])
            .await;
        assert_eq!((status, &set["outcome"]), (200, &json!("set")), "{set}");
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn post(&self, event: &str, body: Vec<u8>, signed: &str) -> (u16, Value) {
        let response = self
            .http
            .post(format!("{}/rpc/webhook_github", shared().url))
            .header("content-profile", "coord_v1")
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-hub-signature-256", signed)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }
}

/// Everything that GitHub publishes as an example, each body once: its event and the body.
fn examples() -> Vec<(String, Vec<u8>)> {
    let file = support::github().join("@octokit/webhooks-examples/api.github.com/index.json");
    let events: Value = serde_json::from_str(&support::read(&file)).unwrap();
    let mut seen = HashSet::new();
    let mut examples = Vec::new();
    for event in events.as_array().unwrap() {
        for example in event["examples"].as_array().unwrap() {
            let body = example.to_string().into_bytes();
            if seen.insert(body.clone()) {
                examples.push((event["name"].as_str().unwrap().to_owned(), body));
            }
        }
    }
    examples
}

#[tokio::test]
async fn real_bodies_are_accepted_once_and_only_as_they_were_signed() {
    let hook = Hook::new().await;
    let examples = examples();
    assert!(examples.len() > 250, "{}", examples.len());
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (number, (event, body)) in examples.iter().enumerate() {
        let signed = signature(body);
        // One byte of a letter, so that it stays JSON: it is the signature that refuses.
        let mut flipped = body.clone();
        let letters: Vec<usize> = (0..body.len())
            .filter(|at| body[*at].is_ascii_alphabetic())
            .collect();
        flipped[letters[(number * 7919) % letters.len()]] ^= 0x01;
        let (status, answer) = hook.post(event, flipped, &signed).await;
        let refused =
            status == 401 && answer["message"] == "webhook_signature_invalid" || status == 400;
        assert!(refused, "{event} {number}: {status} {answer}");

        let (status, answer) = hook.post(event, body.clone(), &signed).await;
        assert_eq!(status, 200, "{event} {number}: {answer}");
        *outcomes
            .entry(answer["outcome"].as_str().unwrap().to_owned())
            .or_default() += 1;

        let (status, answer) = hook.post(event, body.clone(), &signed).await;
        assert_eq!(
            (status, &answer["message"]),
            (409, &json!("webhook_replayed")),
            "{event} {number}"
        );
        // Under another name it is the same.
        if number % 16 != 0 {
            continue;
        }
        let (status, _) = hook.post("ping", body.clone(), &signed).await;
        assert_eq!(status, 409, "{event} {number}");
    }
    println!("{} bodies: {outcomes:?}", examples.len());
    let known = ["accepted", "ignored", "refused"];
    assert!(
        outcomes.keys().all(|it| known.contains(&&**it)),
        "{outcomes:?}"
    );
    // Those of other repositories are refused; some of this one mean something.
    assert!(
        outcomes["refused"] > 0 && outcomes["ignored"] > 0,
        "{outcomes:?}"
    );
    let kept =
        shared().psql("select count(*) from coord.webhook_events where source = 'github-examples'");
    assert!(kept.parse::<usize>().unwrap() >= examples.len(), "{kept}");
}

#[tokio::test]
async fn what_is_too_large_or_no_json_is_refused_clearly() {
    let hook = Hook::new().await;
    let of = |size: usize| {
        let around = r#"{"zen": ""}"#.len();
        format!(r#"{{"zen": "{}"}}"#, "x".repeat(size - around)).into_bytes()
    };
    let body = of(1_048_576);
    let (status, answer) = hook.post("ping", body.clone(), &signature(&body)).await;
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("ignored")),
        "{answer}"
    );
    let body = of(1_048_577);
    let (status, answer) = hook.post("ping", body.clone(), &signature(&body)).await;
    assert_eq!(
        (status, &answer["message"]),
        (413, &json!("webhook_too_large")),
        "{answer}"
    );

    for body in [&b"{"[..], b"", b"zen=x", b"{\"a\": 1,}"] {
        let (status, answer) = hook.post("ping", body.to_vec(), &signature(body)).await;
        assert_eq!(status, 400, "{answer}");
        let said = answer.to_string().to_lowercase();
        assert!(
            said.contains("json") || said.contains("a webhook has a body"),
            "{answer}"
        );
    }
    // PostgREST itself takes no list where one body is meant.
    let body = b"[1]";
    let (status, answer) = hook.post("ping", body.to_vec(), &signature(body)).await;
    assert_eq!(status, 400, "{answer}");
}
