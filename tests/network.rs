//! `coord network` as a separate process against the real stack, with policies of its own.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Stack, told};

const POLICIES: &str = "\
network_policies:
  cloud:
    allow:
      - Example.COM
      - \"*.example.org\"
    deny: [secret.example.org]
  list:
    allow: [a.example, \"*.b.example\", b.example]
profiles:
  networked:
    extends: standard
    network_policy: cloud
";

struct Desk(Stack);

impl Desk {
    fn new() -> Self {
        let stack = Stack::start();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policies.yaml");
        std::fs::write(&file, POLICIES).unwrap();
        let mut command = stack.coord();
        let output = command
            .arg("apply")
            .arg(&file)
            .args(["--yes", "--no-prune"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let agent = ["--agent", "aid", "--type", "aider", "--save"];
        let rest = ["--repo", "github.com/acme/app", "--profile", "networked"];
        stack.mint_with(&[&agent[..], &rest].concat());
        Self(stack)
    }

    /// What it printed, what it complained of, and how it ended.
    fn run(&self, args: &[&str]) -> (String, String, i32) {
        let output = self.0.coord().args(args).output().unwrap();
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap(),
        )
    }

    fn export(&self, form: &str, policy: &str) -> (String, String, i32) {
        let args = ["network", "export", "--strict", "--for", form];
        self.run(&[&args[..], &["--policy", policy]].concat())
    }
}

#[test]
fn exports_open_nothing_that_is_denied_and_say_what_they_leave_out() {
    let desk = Desk::new();
    let all = "*.b.example\na.example\nb.example\n".to_owned();
    assert_eq!(
        desk.export("claude-code-web", "list"),
        (all, String::new(), 0)
    );
    let (text, left_out, code) = desk.export("claude-code-web", "cloud");
    assert_eq!((text.as_str(), code), ("example.com\n", 1));
    assert!(
        left_out.contains("*.example.org: the policy denies secret.example.org"),
        "{left_out}"
    );

    let (text, left_out, code) = desk.export("codex-cloud", "list");
    assert_eq!((text.as_str(), code), ("a.example, b.example\n", 1));
    assert!(left_out.contains("*.b.example"), "{left_out}");

    let (text, left_out, code) = desk.export("squid", "cloud");
    assert_eq!((left_out.as_str(), code), ("", 0));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "acl coord_deny dstdomain -n secret.example.org",
            "http_access deny coord_deny",
            "acl coord_deny_itself dstdomain -n example.org",
            "http_access deny coord_deny_itself",
            "acl coord_allow dstdomain -n .example.org",
            "acl coord_allow dstdomain -n example.com",
            "http_access allow coord_allow",
            "http_access deny all",
        ]
    );
    let (text, _, code) = desk.export("json", "cloud");
    let policy: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({"policy": "cloud", "fallback": "deny",
        "allow": ["*.example.org", "example.com"], "deny": ["secret.example.org"]});
    assert_eq!((policy, code), (expected, 0));
    let (_, error, code) = desk.export("json", "none");
    assert!(code == 2 && error.contains("policy_not_found"), "{error}");
}

#[test]
fn an_agent_asks_and_sees_what_it_asked() {
    let desk = Desk::new();
    let aid = |args: &[&str]| desk.run(&[&["--as", "aid"], args].concat());
    let (own, _, _) = aid(&["network", "export", "--for", "json"]);
    assert!(own.contains("\"policy\": \"cloud\""), "{own}");
    for (host, code, word) in [
        ("https://EXAMPLE.com:443/x", 0, "allow example.com"),
        ("example.com", 0, "allow example.com"),
        ("secret.example.org", 1, "deny secret.example.org"),
        ("https://example.com@evil.example", 1, "deny evil.example"),
        ("127.1", 1, "deny 127.0.0.1"),
        ("no host", 2, "host_invalid"),
    ] {
        let (out, error, ended) = aid(&["network", "check", host]);
        assert_eq!(ended, code, "{host}: {out}{error}");
        assert!(
            (out.clone() + &error).contains(word),
            "{host}: {out}{error}"
        );
    }
    let (denied, _, _) = desk.run(&["network", "check", "example.com"]);
    assert!(denied.contains("no network policy"), "{denied}");

    let (log, _, code) = aid(&["network", "log", "--json"]);
    assert_eq!(code, 0);
    let log: Vec<Value> = serde_json::from_str(&log).unwrap();
    let mut seen: Vec<(&str, u64)> = log
        .iter()
        .map(|row| {
            (
                row["host"].as_str().unwrap(),
                row["checks"].as_u64().unwrap(),
            )
        })
        .collect();
    seen.sort_unstable();
    let expected = [
        ("127.0.0.1", 1),
        ("evil.example", 1),
        ("example.com", 2),
        ("secret.example.org", 1),
    ];
    assert_eq!(seen, expected);
    let (table, _, _) = aid(&["network", "log", "--denied"]);
    assert!(table.contains("evil.example") && !table.contains("example.com "));
    let (all, _, _) = desk.run(&["network", "log", "--json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&all).unwrap().len(), 5);
}
