//! `coord github sync` against what stands for GitHub's API, which keeps its state; everything
//! that is sent is judged by GitHub's own description of that API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::cli::{Ran, operator};
use support::{clean, clients, coord, script, shared};
use tempfile::TempDir;

const REPO: &str = "github.com/acme/app";

struct GitHub {
    dir: TempDir,
    url: String,
    fake: Child,
    token: String,
}

impl Drop for GitHub {
    fn drop(&mut self) {
        drop(self.fake.stdin.take());
        let _ = self.fake.wait();
    }
}

impl GitHub {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fake = clean("python3")
            .arg(script("github_fake.py"))
            .arg(dir.path().join("log"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(fake.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        Self {
            dir,
            url: format!("http://127.0.0.1:{}", port.trim()),
            fake,
            token: shared().mint("github-sync", "github", REPO),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What people do.
    async fn set(&self, what: &str, body: Value) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let to = format!("{}/_test/{what}", self.url);
        let answer = http.post(to).json(&body).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    async fn issue(&self, number: u64) -> (Vec<String>, Vec<String>) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let from = format!("{}/_test/issue/{number}", self.url);
        let issue: Value = http.get(from).send().await.unwrap().json().await.unwrap();
        let texts = |name: &str| {
            let list = issue[name].as_array().unwrap().iter();
            list.map(|it| it.as_str().unwrap().to_owned()).collect()
        };
        (texts("labels"), texts("comments"))
    }

    async fn labelled(&self, number: u64, labels: &[&str]) {
        let issue = json!({"number": number, "labels": labels});
        self.set("issue", issue).await;
    }

    async fn labels(&self, number: u64) -> String {
        self.issue(number).await.0.join(" ")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = coord();
        command
            .env("COORD_URL", &shared().url)
            .env("COORD_TOKEN", &self.token)
            .env("COORD_REPO", REPO)
            .env("COORD_CACHE_DIR", self.dir.path().join("cache"))
            .env("GITHUB_TOKEN", "the token of the tests")
            .env("GITHUB_API_URL", &self.url)
            .args(["github", "sync"])
            .args(args);
        command
    }

    #[track_caller]
    fn sync(&self, code: i32, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args)).exits(code)
    }

    /// The same, and what it says of one issue.
    #[track_caller]
    fn sync_of(&self, number: u64) -> Value {
        let all = self.sync(0, &["--json", "--issue", "7"]).json();
        let issues = all["issues"].as_array().unwrap();
        let found = issues.iter().find(|it| it["issue"] == number);
        found.cloned().unwrap_or_default()
    }

    /// How many requests would have changed something.
    fn changes(&self) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let lines = log
            .lines()
            .filter(|line| !line.contains(r#""method": "GET""#));
        lines.count()
    }
}

async fn call(token: &str, function: &str, args: Value) -> Value {
    let (status, body) = shared().rpc(token, function, args, &[]).await;
    assert_eq!(status, 200, "{function}: {body}");
    body
}

async fn what_no_webhook_told_is_done_and_shown(hub: &GitHub, a: &str) {
    // A plan changes nothing, here or there.
    let planned = hub.sync(0, &["--dry-run", "--issue", "7"]);
    planned.says(&[
        "#1 labeled locked:./src/a.rs",
        "#2 labeled status:assigned",
        "#7 comment created",
        "planned",
    ]);
    assert_eq!(hub.changes(), 0);
    assert_eq!(
        call(a, "check_locks", json!({"repo": REPO})).await["total"],
        0
    );

    // What no webhook told is done, and shown.
    let done = hub.sync(0, &["--json", "--issue", "7"]).json();
    let of = |number: u64| {
        done["issues"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["issue"] == number)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(
        (&of(1)["did"][0]["outcome"], &of(1)["did"][0]["as"]),
        (&json!("acquired"), &json!("sync-a")),
        "{done}"
    );
    assert_eq!(of(2)["did"][0]["outcome"], "submitted", "{done}");
    assert_eq!(
        (&of(8)["did"][0]["outcome"], &of(8)["removed"][0]),
        (&json!("held"), &json!("locked:src/")),
        "{done}"
    );
    assert_eq!((of(3), of(5)), (Value::Null, Value::Null));
    let (labels, comments) = hub.issue(1).await;
    assert_eq!(labels.join(" "), "agent:sync-a bug locked:./src/a.rs");
    assert!(
        comments.len() == 1 && comments[0].contains("`src/a.rs` | exclusive | `sync-a`"),
        "{comments:?}"
    );
    let (_, comments) = hub.issue(7).await;
    assert!(
        comments.len() == 1
            && comments[0].contains("src/a.rs")
            && comments[0].contains("`Issue 2` | pending | `sync-b`"),
        "{comments:?}"
    );
    assert_eq!(hub.issue(4).await.1.len(), 0);

    // Again is nothing.
    let changes = hub.changes();
    assert_eq!(hub.sync_of(1)["comment"], "unchanged");
    assert_eq!(hub.changes(), changes);
}

async fn work_is_shown_as_it_goes(hub: &GitHub, b: &str) {
    // Under way, and done.
    let task = call(b, "get_work", json!({})).await["tasks"][0]["id"].clone();
    assert_eq!(hub.sync_of(2)["added"], json!(["status:in-progress"]));
    call(
        b,
        "complete_work",
        json!({"task": task, "success": true, "attempt": 1}),
    )
    .await;
    assert_eq!(hub.sync_of(2)["comment"], "updated");
    assert_eq!(hub.labels(2).await, "agent:sync-b status:completed");
    assert!(hub.issue(2).await.1[0].contains("is completed by `sync-b`"));
}

async fn the_coordinator_wins(hub: &GitHub, a: &str) {
    // The database wins. A label that somebody took off comes back; one whose lock was broken goes.
    hub.labelled(1, &["agent:sync-a"]).await;
    assert_eq!(hub.sync_of(1)["added"], json!(["locked:src/a.rs"]));
    operator(&[
        "lock", "break", "src/a.rs", "--reason", "a test", "--repo", REPO,
    ])
    .exits(0);
    assert_eq!(hub.sync_of(1)["removed"], json!(["locked:src/a.rs"]));
    let (labels, comments) = hub.issue(1).await;
    assert_eq!(labels, ["agent:sync-a"]);
    assert!(
        comments.len() == 1 && comments[0].contains("Nothing is locked."),
        "{comments:?}"
    );

    // Closed is released. Too long for a label is told by the comment alone.
    let long = format!("src/{}.rs", "x".repeat(60));
    hub.labelled(9, &[&format!("locked:{long}")]).await;
    assert_eq!(hub.sync_of(9)["did"][0]["outcome"], "acquired");
    hub.labelled(9, &[]).await;
    assert_eq!(hub.sync_of(9)["added"], json!([]));
    assert!(hub.issue(9).await.1[0].contains(&long));
    hub.set("issue", json!({"number": 9, "state": "closed"}))
        .await;
    assert_eq!(hub.sync_of(9)["did"][0]["outcome"], "released");
    assert_eq!(
        call(a, "check_locks", json!({"repo": REPO})).await["total"],
        0
    );
}

async fn limits_are_waited_for(hub: &GitHub) {
    // Limits are waited for, where that is not long.
    hub.labelled(10, &["locked:ten.rs"]).await;
    let reset = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 1;
    let next = json!([{"status": 403, "headers": {"retry-after": 1}},
        {"status": 429, "headers": {"x-ratelimit-remaining": 0, "x-ratelimit-reset": reset}}, {"status": 502}]);
    hub.set("next", next).await;
    assert_eq!(hub.sync_of(10)["did"][0]["outcome"], "acquired");
    hub.set(
        "next",
        json!([{"status": 403, "headers": {"retry-after": 9999}}]),
    )
    .await;
    hub.sync(3, &[]).says(&["takes no more for 9999 seconds"]);
}

async fn a_run_that_was_cut_off_is_repeated(hub: &GitHub) {
    // Cut off at the comment, the next run goes on; a mark of somebody else is left to them.
    hub.labelled(11, &["locked:eleven.rs"]).await;
    hub.set(
        "comment",
        json!({"issue": 11, "body": "<!-- coord:status --> mine", "others": true}),
    )
    .await;
    hub.set("next", json!([{"status": 500, "method": "POST"}]))
        .await;
    hub.sync(4, &[])
        .says(&["GitHub answered 500", "/issues/11/comments"]);
    assert_eq!(hub.issue(11).await.1.len(), 1);
    assert_eq!(hub.sync_of(11)["comment"], "created");
    assert_eq!(hub.sync_of(11)["comment"], "unchanged");
    assert_eq!(hub.issue(11).await.1.len(), 2);
    // Two who began at once.
    let (_, comments) = hub.issue(11).await;
    hub.set("comment", json!({"issue": 11, "body": comments[1]}))
        .await;
    hub.sync_of(11);
    assert_eq!(hub.issue(11).await.1.len(), 2);
    // With no memory of the last time it comes to the same.
    let changes = hub.changes();
    hub.sync(0, &["--full", "--issue", "7"]);
    assert!(
        hub.changes() <= changes + 1,
        "only somebody else's mark is tried"
    );
}

fn what_cannot_be_is_told(hub: &GitHub) {
    // What cannot be.
    Ran::of(hub.command(&[]).env("GITHUB_TOKEN", ""))
        .exits(2)
        .says(&["set GITHUB_TOKEN"]);
    Ran::of(hub.command(&[]).env("GITHUB_TOKEN", "another"))
        .exits(1)
        .says(&["401", "Bad credentials"]);
    Ran::of(&mut hub.command(&["--api-url", "http://api.github.example"]))
        .exits(2)
        .says(&["no https"]);
}

/// The parts follow each other: later ones begin where the earlier ones ended.
#[tokio::test(flavor = "multi_thread")]
async fn issues_and_the_coordinator_say_the_same() {
    let hub = GitHub::new();
    let (a, b) = (
        shared().mint("sync-a", "test-client", REPO),
        shared().mint("sync-b", "test-client", REPO),
    );
    let source = json!({"name": "sync", "kind": "github", "principal": "github-sync", "secret": "a secret of some length", "repos": [REPO], "speaks_for": ["*"]});
    call(&shared().operator, "set_webhook_source", source).await;
    hub.labelled(1, &["locked:./src/a.rs", "agent:sync-a", "bug"])
        .await;
    let (mine, other) = (
        &hub.token,
        shared().mint("sync-nobody", "test-client", REPO),
    );
    assert_ne!(*mine, other);
    Ran::of(hub.command(&[]).env("COORD_TOKEN", &other))
        .exits(1)
        .says(&["operation_not_permitted"]);
    hub.labelled(2, &["status:assigned", "agent:sync-b"]).await;
    hub.set(
        "issue",
        json!({"number": 3, "labels": ["locked:pull.rs"], "pull": true}),
    )
    .await;
    hub.labelled(4, &[]).await;
    hub.labelled(5, &["question"]).await;
    hub.labelled(7, &[]).await;
    hub.labelled(8, &["locked:src/"]).await;
    what_no_webhook_told_is_done_and_shown(&hub, &a).await;
    work_is_shown_as_it_goes(&hub, &b).await;
    the_coordinator_wins(&hub, &a).await;
    limits_are_waited_for(&hub).await;
    a_run_that_was_cut_off_is_repeated(&hub).await;
    what_cannot_be_is_told(&hub);

    let node = clients().join("node/node_modules/.bin/node");
    let judged = Ran::of(
        clean(node)
            .arg(script("github_validate.mjs"))
            .arg(support::github())
            .arg(hub.log()),
    )
    .exits(0);
    let counts = judged.json();
    println!("{counts}");
    for operation in [
        "repos/get",
        "issues/list-for-repo",
        "issues/get",
        "issues/add-labels",
        "issues/remove-label",
        "issues/list-comments",
        "issues/create-comment",
        "issues/update-comment",
        "issues/delete-comment",
    ] {
        assert!(
            counts[operation].as_u64() > Some(0),
            "{operation}: {counts}"
        );
    }
}
