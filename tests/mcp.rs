//! The MCP bridge as real processes: the official SDK and the inspector as
//! clients, the bridge, and a stack of its own behind it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod support;
use support::mcp::{Client, bridge, text};
use support::{COORD, Stack, clients, coord, script, shared, told};

const REPO: &str = "local/playground";

fn token(stack: &Stack) -> String {
    support::read(&stack.home.join("tokens/agent-1.jwt"))
}

/// What somebody else is told who asks for this path.
fn outcome(stack: &Stack, path: &str) -> String {
    let args = json!({"repo": REPO, "paths": [path]});
    let headers = [("x-session-id", "somebody-else")];
    let token = token(stack);
    let call = stack.rpc(&token, "acquire_lock", args, &headers);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_, answer) = runtime.block_on(call);
    answer["outcome"].as_str().unwrap_or_default().to_owned()
}

fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    output
}

/// A bridge over HTTP, and where it is.
fn http_bridge(stack: &Stack) -> (Child, String) {
    let mut command = bridge(stack);
    command.args(["--http", "127.0.0.1:0"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let said = child.stderr.take().unwrap();
    BufReader::new(said).read_line(&mut line).unwrap();
    let url = line.split_whitespace().last().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{line}");
    (child, url)
}

// -------------------------------------------------------------------- tests

/// Both eras, over standard input and over HTTP, with the official SDK.
#[test]
fn the_official_sdk_walks_through_everything() {
    let stack = shared();
    let (mut server, url) = http_bridge(stack);
    for era in ["legacy", "auto"] {
        for over_http in [false, true] {
            let mut python = Command::new(clients().join("python/bin/python"));
            python.arg(script("walk.py")).arg(era);
            python.env("COORD_HOME", &stack.home).current_dir("/");
            if over_http {
                python.args(["--url", &url]);
                python.env("COORD_TOKEN", token(stack));
            } else {
                python.args([COORD, "mcp"]);
                python.env_remove("COORD_TOKEN");
            }
            let saw: Value = serde_json::from_slice(&ok(&mut python).stdout).unwrap();
            check_walk(&saw, era);
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

fn check_walk(saw: &Value, era: &str) {
    let version = if era == "legacy" {
        "2025-11-25"
    } else {
        "2026-07-28"
    };
    assert_eq!(saw["protocol"], version, "{saw}");
    let instructions = saw["instructions"].as_str().unwrap();
    assert!(instructions.contains("acquire_lock"), "{instructions}");
    assert!(instructions.chars().count() <= 600);
    let has = |list: &str, name: &str| saw[list].as_array().unwrap().contains(&json!(name));
    assert!(
        has("tools", "acquire_lock") && has("tools", "check_locks"),
        "{saw}"
    );
    assert!(
        !has("tools", "end_session"),
        "the core toolset is short: {saw}"
    );
    assert!(has("resources", "locks://current") && has("prompts", "start_editing"));
    assert!(
        saw["prompt"]
            .as_str()
            .unwrap()
            .contains("rename the widget")
    );
    assert_eq!(saw["mime_type"], "application/json");
    assert_eq!(saw["acquired"]["outcome"], "acquired");
    assert_eq!(saw["renewed"], "renewed");
    assert_eq!(
        (&saw["updated"], &saw["listed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(saw["misspelt"]["is_error"], true);
    let misspelt = saw["misspelt"]["text"].as_str().unwrap();
    assert!(
        misspelt.contains("`path`: did you mean `paths`?"),
        "{misspelt}"
    );
    assert_eq!(saw["refused"]["is_error"], true);
    let refused = saw["refused"]["text"].as_str().unwrap();
    assert!(refused.starts_with("ttl_out_of_range: "), "{refused}");
    assert!(refused.contains("\nnext: "), "{refused}");
    assert_eq!(saw["unknown_tool"]["code"], -32602);
    assert!(saw["unknown_resource"].is_object(), "{saw}");
}

#[test]
fn the_core_listing_costs_at_most_1500_tokens() {
    let stack = shared();
    let mut client = Client::connect(&mut bridge(stack));
    let listing = client.ask("tools/list", &json!({})).to_string();
    let tokens = listing.len().div_ceil(4);
    assert!(tokens <= 1500, "{tokens} tokens: {listing}");
    for name in client.tools() {
        assert!(name.len() <= 24, "{name}");
    }
    let mut full = Client::connect(bridge(stack).args(["--toolset", "full"]));
    let full = full.tools();
    assert!(full.len() > client.tools().len());
    assert!(client.tools().iter().all(|tool| full.contains(tool)));
}

/// `--strict` fails for schemas that some model provider would refuse.
#[test]
fn the_inspector_finds_nothing_in_either_era() {
    let stack = shared();
    let node = clients().join("node/node_modules/.bin");
    let path = std::env::var("PATH").unwrap();
    for era in ["legacy", "modern"] {
        for toolset in ["core", "full"] {
            let mut inspector = Command::new(node.join("mcp-inspector"));
            inspector.args(["--cli", "--strict", "--protocol-era", era]);
            inspector.args(["--method", "tools/list", "--format", "json"]);
            inspector.args(["-e", &format!("COORD_HOME={}", stack.home.display())]);
            inspector.args([COORD, "mcp", "--toolset", toolset]);
            inspector.env("PATH", format!("{}:{path}", node.display()));
            let listing = ok(&mut inspector).stdout;
            let listing = String::from_utf8_lossy(&listing);
            assert!(listing.contains("acquire_lock"), "{listing}");
        }
    }
}

#[test]
fn a_client_that_goes_frees_its_locks() {
    let stack = shared();
    let mut first = Client::connect(&mut bridge(stack));
    assert_eq!(first.lock("src/eof.rs")["outcome"], "acquired");
    let mut second = Client::connect(&mut bridge(stack));
    // Another process of the same agent is another session; being held is no error.
    assert_eq!(second.lock("src/eof.rs")["outcome"], "held");
    first.leave();
    assert_eq!(second.lock("src/eof.rs")["outcome"], "acquired");

    let pid = nix::unistd::Pid::from_raw(second.bridge.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(second.wait().success());
    assert_eq!(outcome(stack, "src/eof.rs"), "acquired");
}

/// Each session that calls of one process opened ends with it.
#[test]
fn sessions_that_the_host_names_end_with_the_process_too() {
    let stack = shared();
    let mut client = Client::connect(&mut bridge(stack));
    for session in ["thread-1", "thread-2"] {
        let path = format!("src/{session}.rs");
        let args = json!({"repo": REPO, "paths": [path]});
        let params = json!({"name": "acquire_lock", "arguments": args,
                            "_meta": {"sessionId": session}});
        let result = client.ask("tools/call", &params);
        assert!(text(&result).contains("\"acquired\""), "{result}");
    }
    // Under the name of the other thread it is somebody else's.
    let params = json!({"name": "acquire_lock", "_meta": {"sessionId": "thread-2"},
                        "arguments": {"repo": REPO, "paths": ["src/thread-1.rs"]}});
    let result = client.ask("tools/call", &params);
    assert!(text(&result).contains("thread-1"), "{result}");
    client.leave();
    assert_eq!(outcome(stack, "src/thread-1.rs"), "acquired");
    assert_eq!(outcome(stack, "src/thread-2.rs"), "acquired");
}

/// A home whose stack comes and goes.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        let name = format!("coord-mcp-{}", uuid::Uuid::new_v4().simple());
        // Directly in the temporary directory, where the servers' account may go too.
        Self(std::env::temp_dir().join(name))
    }

    fn run(&self, args: &[&str]) {
        ok(self.coord().args(args));
    }

    fn coord(&self) -> Command {
        let mut command = coord();
        command.env("COORD_HOME", &self.0);
        command.env("COORD_CACHE_DIR", self.0.join("cache-of-tests"));
        command.env_remove("CLAUDE_CODE_SESSION_ID");
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.coord().arg("down").output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_coordinator_that_is_down_is_explained_and_its_return_noticed() {
    let home = Home::new();
    let up = ["up", "--port", "0", "--detach"];
    home.run(&up);
    let mut before = Client::connect(home.coord().arg("mcp"));
    let tools = before.tools();
    before.leave();
    home.run(&["down"]);

    let started = Instant::now();
    let mut client = Client::start(home.coord().args(["mcp", "--refresh", "1"]));
    client.hello();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(client.tools(), tools, "the list of last time");
    let result = client.call("acquire_lock", &json!({"paths": ["src/a.rs"]}));
    assert_eq!(result["isError"], true);
    let said = text(&result);
    assert!(said.starts_with("coordinator_unreachable: "), "{said}");
    assert!(said.contains("coord up"), "{said}");

    // It comes back, on another port, and has learnt something.
    home.run(&up);
    let state = support::read(&home.0.join("state.json"));
    let state: Value = serde_json::from_str(&state).unwrap();
    support::psql(
        Path::new(state["socket"].as_str().unwrap()),
        "create function coord_v1.wave() returns jsonb language sql stable
           return '{\"outcome\": \"waved\"}'::jsonb;
         comment on function coord_v1.wave is e'Wave.\\n@toolset core';
         grant execute on function coord_v1.wave to coord_agent;
         notify pgrst, 'reload schema'",
    );
    client.hear("notifications/tools/list_changed");
    assert!(client.tools().contains(&"wave".to_owned()));
    assert_eq!(client.lock("src/a.rs")["outcome"], "acquired");
    // PostgREST takes a moment longer than the catalogue to know it.
    support::eventually("it waves", || {
        text(&client.call("wave", &json!({}))).contains("waved")
    });
}

#[test]
fn a_coordinator_that_was_never_seen_is_said_to_be_so() {
    let nowhere = Home::new();
    let mut client = Client::start(nowhere.coord().arg("mcp"));
    let hello = client.hello();
    let instructions = hello["instructions"].as_str().unwrap();
    assert!(instructions.contains("never reached"), "{instructions}");
    assert!(client.tools().is_empty());
    let result = client.call("acquire_lock", &json!({"paths": ["src/a.rs"]}));
    assert_eq!(result["isError"], true);
    assert!(text(&result).contains("coord up"), "{result}");
}

#[test]
fn http_wants_the_callers_own_token_and_ends_its_session() {
    let stack = shared();
    let (mut server, url) = http_bridge(stack);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let nobody = http.post(&url).body("{}").send().await.unwrap();
        assert_eq!(nobody.status(), 401);
        assert!(nobody.headers().contains_key("www-authenticate"));

        let ask = |session: Option<String>, body: Value| {
            let mut request = http
                .post(&url)
                .bearer_auth(token(stack))
                .header("accept", "application/json, text/event-stream")
                .json(&body);
            if let Some(session) = session {
                request = request.header("mcp-session-id", session);
            }
            request.send()
        };
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}}});
        let hello = ask(None, hello).await.unwrap();
        let session = hello.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let lock = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "acquire_lock", "arguments": {"repo": REPO, "paths": ["src/http.rs"]}}});
        let locked = ask(Some(session.clone()), lock).await.unwrap();
        assert!(locked.text().await.unwrap().contains("acquired"));
        let other = json!({"repo": REPO, "paths": ["src/http.rs"]});
        let other = stack.rpc(&token(stack), "acquire_lock", other, &[]).await;
        assert_eq!(other.1["outcome"], "held");

        let gone = http
            .delete(&url)
            .bearer_auth(token(stack))
            .header("mcp-session-id", session);
        assert!(gone.send().await.unwrap().status().is_success());
    });
    assert_eq!(outcome(stack, "src/http.rs"), "acquired");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_subscriber_hears_of_changes_and_not_of_countdowns() {
    let stack = shared();
    // A repo of its own: other tests lock in the common one.
    let repo = "local/subscriptions";
    let token = stack.mint("subscriber", "cli", repo);
    let lock = |path: &str| {
        let args = json!({"repo": repo, "paths": [path]});
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let call = stack.rpc(&token, "acquire_lock", args, &[]);
        assert_eq!(runtime.block_on(call).1["outcome"], "acquired");
    };
    let mut client = Client::connect(bridge(stack).env("COORD_TOKEN", &token));
    lock("src/before.rs");
    client.ask("resources/subscribe", &json!({"uri": "locks://current"}));
    // Two seconds of one lock's time running down are no news.
    match client.lines.recv_timeout(Duration::from_millis(2500)) {
        Err(RecvTimeoutError::Timeout) => {}
        news => panic!("{news:?}"),
    }
    lock("src/after.rs");
    let news = client.hear("notifications/resources/updated");
    assert_eq!(news["params"]["uri"], "locks://current");
}

// -------------------------------------------------------------- waiting in line

/// Calls that take a lock, or wait for one, in a session of the first agent.
fn rpc(stack: &Stack, session: &str, function: &str, args: Value) -> Value {
    let headers = [("x-session-id", session)];
    let token = token(stack);
    let mut args = args;
    args["repo"] = REPO.into();
    let call = stack.rpc(&token, function, args, &headers);
    let (status, answer) = tokio::runtime::Runtime::new().unwrap().block_on(call);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn in_line(stack: &Stack, path: &str) -> String {
    stack.psql(&format!(
        "select count(*) from coord.lock_tickets where paths = '{{{path}}}' and expires_at > clock_timestamp()"
    ))
}

impl Client {
    fn lock(&mut self, path: &str) -> Value {
        let result = self.call("acquire_lock", &json!({"repo": REPO, "paths": [path]}));
        assert_eq!(result["isError"], json!(false), "{result}");
        serde_json::from_str(text(&result)).unwrap()
    }

    /// Asks for a lock and a place in line, without waiting for the answer.
    fn line_up(&mut self, path: &str) -> u64 {
        self.begin(
            "acquire_lock",
            &json!({"paths": [path], "wait_seconds": 600}),
        )
    }
}

#[test]
fn one_call_waits_until_the_lock_is_free() {
    let stack = shared();
    rpc(
        stack,
        "holder",
        "acquire_lock",
        json!({"paths": ["wait-1"], "reason": "first"}),
    );
    let mut client = Client::connect(&mut bridge(stack));
    let waiting = client.line_up("wait-1");
    let news = client.hear("notifications/progress");
    assert_eq!(news["params"]["progressToken"], "line");
    let message = news["params"]["message"].as_str().unwrap();
    assert_eq!(message, "number 1 in line for wait-1; agent-1 has wait-1");
    assert!(news["params"]["total"].as_f64().unwrap() > 590.0, "{news}");

    // Other calls of the same connection are not held up.
    assert_eq!(client.lock("wait-1-other")["outcome"], "acquired");
    rpc(
        stack,
        "holder",
        "release_lock",
        json!({"paths": ["wait-1"]}),
    );
    let result = client.answer(waiting);
    assert!(
        text(&result).contains("\"outcome\":\"acquired\""),
        "{result}"
    );
    client.leave();
}

#[test]
fn a_wait_that_the_client_cancels_leaves_the_line() {
    let stack = shared();
    rpc(
        stack,
        "holder",
        "acquire_lock",
        json!({"paths": ["wait-2"]}),
    );
    let mut client = Client::connect(&mut bridge(stack));
    let waiting = client.line_up("wait-2");
    client.hear("notifications/progress");
    assert_eq!(in_line(stack, "wait-2"), "1");
    client.cancel(waiting);
    support::eventually("the line is empty", || in_line(stack, "wait-2") == "0");

    // So it does when the client goes in the middle of it.
    client.line_up("wait-2");
    support::eventually("it waits", || in_line(stack, "wait-2") == "1");
    client.leave();
    assert_eq!(in_line(stack, "wait-2"), "0");
    rpc(
        stack,
        "holder",
        "release_lock",
        json!({"paths": ["wait-2"]}),
    );
    assert_eq!(outcome(stack, "wait-2"), "acquired");
}

#[test]
fn a_call_waits_no_longer_than_a_client_may_be_kept() {
    let stack = shared();
    rpc(
        stack,
        "holder",
        "acquire_lock",
        json!({"paths": ["wait-3"]}),
    );
    let mut client = Client::connect(bridge(stack).args(["--patience", "2"]));
    let waiting = client.line_up("wait-3");
    let result = client.answer(waiting);
    assert!(text(&result).contains("\"outcome\":\"queued\""), "{result}");
    assert!(
        text(&result).contains("Make the same call again"),
        "{result}"
    );
    // The place is kept for the next call.
    assert_eq!(in_line(stack, "wait-3"), "1");
    client.leave();
}

// ---------------------------------------------------------------------- work

/// A call for work of one type, which no other test has.
fn work(kind: &str) -> Value {
    json!({"task_types": [kind], "wait_seconds": 600})
}

fn submit(stack: &Stack, kind: &str) {
    let args = json!({"title": "do it", "task_type": kind});
    assert_eq!(
        rpc(stack, "submitter", "submit_work", args)["outcome"],
        "submitted"
    );
}

fn state(stack: &Stack, kind: &str) -> String {
    stack.psql(&format!(
        "select string_agg(state, ' ') from coord_v1.tasks where task_type = '{kind}'"
    ))
}

#[test]
fn one_call_waits_until_there_is_work() {
    let stack = shared();
    let mut client = Client::connect(&mut bridge(stack));
    let waiting = client.begin("get_work", &work("wait-a"));
    let news = client.hear("notifications/progress");
    let message = news["params"]["message"].as_str().unwrap();
    assert!(message.starts_with("nothing to claim yet: "), "{message}");
    assert!(news["params"]["total"].as_f64().unwrap() > 590.0, "{news}");
    assert_eq!(client.lock("work-other")["outcome"], "acquired");
    submit(stack, "wait-a");
    let result = client.answer(waiting);
    let answer: Value = serde_json::from_str(text(&result)).unwrap();
    assert_eq!(
        (&answer["outcome"], &answer["tasks"][0]["attempt"]),
        (&json!("claimed"), &json!(1))
    );
    // What the process held comes back with its end.
    client.leave();
    assert_eq!(state(stack, "wait-a"), "pending");
}

#[test]
fn who_cancels_the_wait_for_work_gets_none() {
    let stack = shared();
    let mut client = Client::connect(&mut bridge(stack));
    let waiting = client.begin("get_work", &work("wait-b"));
    client.hear("notifications/progress");
    client.cancel(waiting);
    submit(stack, "wait-b");
    // Longer than two polls are apart.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(state(stack, "wait-b"), "pending");
    client.leave();
}

#[test]
fn a_call_for_work_waits_no_longer_than_a_client_may_be_kept() {
    let stack = shared();
    let mut client = Client::connect(bridge(stack).args(["--patience", "7"]));
    let waiting = client.begin("get_work", &work("wait-c"));
    let result = client.answer(waiting);
    let answer: Value = serde_json::from_str(text(&result)).unwrap();
    assert_eq!(answer["outcome"], "none");
    // What is left of the wait, for the next call.
    let left = answer["wait_seconds_left"].as_i64().unwrap();
    assert!((590..600).contains(&left), "{answer}");

    let waiting = client.begin(
        "get_work",
        &json!({"task_types": ["wait-c"], "wait_seconds": 1}),
    );
    let result = client.answer(waiting);
    let answer: Value = serde_json::from_str(text(&result)).unwrap();
    assert_eq!(answer["outcome"], "none");
    assert!(answer.get("wait_seconds_left").is_none(), "{answer}");
    client.leave();
}

#[test]
fn what_is_going_on_can_be_read_and_how_to_work_be_asked() {
    let stack = shared();
    let repo = "local/reading";
    let token = stack.mint("reader", "cli", repo);
    let mut client = Client::connect(
        bridge(stack)
            .env("COORD_TOKEN", &token)
            .env("COORD_REPO", repo),
    );
    let submitted = client.call("submit_work", &json!({"title": "read me"}));
    let submitted: Value = serde_json::from_str(text(&submitted)).unwrap();
    let call = stack.rpc(
        &token,
        "write_handoff",
        json!({"summary": "half done"}),
        &[],
    );
    let written = tokio::runtime::Runtime::new().unwrap().block_on(call).1;
    assert_eq!(written["outcome"], "written");

    let listed = client.ask("resources/list", &json!({}));
    let uris: Vec<&str> = (listed["resources"].as_array().unwrap().iter())
        .map(|it| it["uri"].as_str().unwrap())
        .collect();
    let mut read = |uri: &str| {
        assert!(uris.contains(&uri), "{uri}: {listed}");
        let result = client.ask("resources/read", &json!({"uri": uri}));
        let text = result["contents"][0]["text"].as_str().unwrap();
        serde_json::from_str::<Value>(text).unwrap()
    };
    let pending = read("work://pending");
    assert_eq!(pending["tasks"][0]["task"], submitted["task"], "{pending}");
    let agents = read("agents://active");
    assert!(
        agents["agents"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["agent"] == "reader"),
        "{agents}"
    );
    let handoffs = read("handoffs://recent");
    assert_eq!(
        handoffs["handoffs"][0]["summary"], "half done",
        "{handoffs}"
    );

    let listed = client.ask("prompts/list", &json!({})).to_string();
    for (name, words) in [
        ("start_work", "get_work claims one task"),
        ("finish_work", "write_handoff"),
    ] {
        assert!(listed.contains(name), "{listed}");
        let prompt = client.ask("prompts/get", &json!({"name": name, "arguments": {}}));
        assert!(
            prompt["messages"][0]["content"]["text"]
                .as_str()
                .unwrap()
                .contains(words),
            "{prompt}"
        );
    }
    client.leave();
}
