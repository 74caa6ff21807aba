//! Clients that others wrote, unmodified: supabase-js and postgrest-py, straight to the API and
//! through a gateway that wants an `apikey`, as hosted Supabase has one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{clean, clients, coord, script, shared, told};

const APIKEY: &str = "sb_publishable_test";

/// The gateway as a process; it ends when its standard input does.
struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    fn start() -> Self {
        let mut child = clean("python3")
            .arg(script("gateway.py"))
            .args([&shared().url, APIKEY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut url = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        Self { child, url }
    }

    fn api(&self) -> String {
        format!("{}/rest/v1", self.url)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn postgrest_py() -> Command {
    let mut command = clean(clients().join("python/bin/python"));
    command.arg(script("talk.py"));
    command
}

fn supabase_js() -> Command {
    let mut command = clean(clients().join("node/node_modules/.bin/node"));
    command.arg(script("talk.mjs")).env("CLIENTS", clients());
    command
}

/// Lets two agents of a repository of their own meet through this client, and looks at what it saw.
fn talks(mut client: Command, name: &str) {
    let stack = shared();
    let repo = format!("git.example/clients/{name}");
    let (a, b) = (format!("{name}-a"), format!("{name}-b"));
    client.env("REPO", &repo);
    client.env("A", stack.mint(&a, "cloud", &repo));
    client.env("B", stack.mint(&b, "cloud", &repo));
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        client.env_remove(proxy);
    }
    let output = client.output().unwrap();
    assert!(output.status.success(), "{name}: {}", told(&output));
    let saw: Value = serde_json::from_slice(&output.stdout).unwrap();

    let paths = ["src/a b.rs", "src/c,d.rs"];
    assert_eq!(saw["acquired"]["outcome"], "acquired", "{name}: {saw}");
    assert_eq!(saw["held"]["outcome"], "held", "{name}: {saw}");
    for (path, blocker) in paths
        .iter()
        .zip(saw["held"]["blockers"].as_array().unwrap())
    {
        assert_eq!(blocker["path"], *path, "{name}");
        assert_eq!(blocker["holder"], a.as_str(), "{name}");
        assert_eq!(blocker["agent_type"], "cloud", "{name}");
        assert_eq!(blocker["reason"], "by a client", "{name}");
        assert!(blocker["seconds_left"].as_i64().unwrap() > 0, "{name}");
    }
    for read in ["checked", "got"] {
        assert_eq!(saw[read]["total"], 2, "{name}: {saw}");
    }
    let lock = |at: usize| {
        json!({"path": paths[at], "holder": a, "mode": "exclusive",
        "fence": saw["acquired"]["locks"][at]["fence"]})
    };
    assert_eq!(saw["locks"], json!([lock(0), lock(1)]), "{name}");
    assert_eq!(saw["counted"], 2, "{name}");
    assert_eq!(
        saw["agents"],
        json!([{"name": a, "role": "agent"}]),
        "{name}"
    );
    assert_eq!(
        saw["audit"],
        json!([{"function": "acquire_lock", "outcome": "acquired"}]),
        "{name}"
    );
    assert_eq!(saw["refused"]["code"], "PT400", "{name}");
    assert_eq!(saw["refused"]["message"], "ttl_out_of_range", "{name}");
    assert_eq!(saw["denied"]["code"], "repo_not_granted", "{name}");
    for failure in ["refused", "denied"] {
        for said in ["message", "details", "hint"] {
            assert!(
                saw[failure][said].is_string(),
                "{name}: {failure} without {said}: {saw}"
            );
        }
    }
    assert_eq!(saw["released"]["outcome"], "released", "{name}");
    assert_eq!(saw["next"]["outcome"], "acquired", "{name}");
    let fence = |answer: &str| saw[answer]["locks"][0]["fence"].as_i64().unwrap();
    assert!(fence("next") > fence("acquired"), "{name}");
}

#[test]
fn they_call_the_api_itself() {
    let mut python = postgrest_py();
    python.env("API", &shared().url);
    talks(python, "py-direct");
    let mut node = supabase_js();
    node.env("API", &shared().url);
    talks(node, "js-direct");
}

#[test]
fn they_call_through_a_gateway_that_wants_an_apikey() {
    let gateway = Gateway::start();
    let mut python = postgrest_py();
    python.env("API", gateway.api()).env("APIKEY", APIKEY);
    talks(python, "py-gateway");
    let mut node = supabase_js();
    node.env("SUPABASE", &gateway.url).env("APIKEY", APIKEY);
    talks(node, "js-gateway");

    // Without the key the gateway lets nobody through: the test would notice its absence.
    let mut python = postgrest_py();
    python.env("API", gateway.api());
    python.envs([("REPO", "x/y"), ("A", "a"), ("B", "b")]);
    let output = python.output().unwrap();
    assert!(!output.status.success());
    assert!(told(&output).contains("No API key"), "{}", told(&output));
}

#[test]
fn our_own_doors_send_the_apikey_too() {
    let gateway = Gateway::start();
    let repo = "git.example/clients/coord";
    let token = shared().mint("coord-gateway", "cli", repo);
    let run = |args: &[&str], key: Option<&str>| {
        let mut command = coord();
        command
            .env("COORD_URL", gateway.api())
            .env("COORD_TOKEN", &token);
        command.env("COORD_REPO", repo).args(args);
        command.envs(key.map(|key| ("COORD_APIKEY", key)));
        command.stdin(Stdio::null()).output().unwrap()
    };
    for (args, words) in [
        (vec!["lock", "acquire", "src/a.rs"], "acquired"),
        (vec!["lock", "list"], "coord-gateway"),
        (
            vec!["call", "acquire_lock", "--paths", "src/a.rs"],
            "renewed",
        ),
        (vec!["lock", "release"], "released"),
        (vec!["call", "health"], "ready"),
    ] {
        let done = run(&args, Some(APIKEY));
        assert!(done.status.success(), "{args:?}: {}", told(&done));
        assert!(told(&done).contains(words), "{args:?}: {}", told(&done));
        for wrong in [None, Some("another")] {
            let refused = run(&args, wrong);
            assert_eq!(
                refused.status.code(),
                Some(1),
                "{args:?}: {}",
                told(&refused)
            );
            assert!(
                told(&refused).contains("No API key"),
                "{args:?}: {}",
                told(&refused)
            );
        }
    }

    // The bridge: its catalogue and its calls.
    let mut client = clean(clients().join("python/bin/python"));
    client
        .arg(script("session.py"))
        .args(["auto", support::COORD, "mcp"]);
    client
        .env("COORD_URL", gateway.api())
        .env("COORD_TOKEN", &token)
        .env("COORD_APIKEY", APIKEY);
    client.env("COORD_CACHE_DIR", shared().home.join("cache-of-tests"));
    let mut client = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ask = json!({"tool": "acquire_lock", "arguments": {"repo": repo, "paths": ["src/m.rs"]}});
    writeln!(client.stdin.take().unwrap(), "{ask}").unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(told(&output).contains("acquired"), "{}", told(&output));
}
