//! `coord apply`, `coord network` and `coord agents` as separate processes against the real
//! stack. Each test has a stack of its own: a configuration is everybody's.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{Stack, told};

const PROFILES: &str = "\
profiles:
  base:
    description: what others extend
    trust: 2
    allowed: [\"*\"]
    limits: {max_locks: 10}
  cloud:
    extends: base
    trust: 1
    network_policy: cloud
defaults:
  aider: cloud
  \"*\": standard
";
const NETWORK: &str = "\
network_policies:
  cloud:
    allow:
      - Example.COM
      - \"*.example.org\"
    deny: [secret.example.org]
  list:
    allow: [a.example, \"*.b.example\", b.example]
";

/// Files in a directory of their own, applied to a stack of their own.
struct Desk {
    stack: Stack,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            stack: Stack::start(),
            dir: tempfile::tempdir().unwrap(),
        };
        desk.write("profiles.yaml", PROFILES);
        desk.write("network_policies.yaml", NETWORK);
        desk
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.stack.coord().args(args))
    }

    fn apply(&self, args: &[&str]) -> Ran {
        let mut command = self.stack.coord();
        Ran::of(command.arg("apply").arg(self.dir.path()).args(args))
    }

    fn apply_file(&self, file: &Path, args: &[&str]) -> Ran {
        Ran::of(self.stack.coord().arg("apply").arg(file).args(args))
    }

    /// What is configured, as one text to compare.
    fn state(&self) -> String {
        self.stack.psql(
            "select string_agg(kind || name || spec, e'\\n' order by kind, name collate \"C\") from \
             (select kind, name, spec from coord.declared() union all select kind, name, spec from coord.declared_network()) s",
        )
    }
}

struct Ran(Output);

impl Ran {
    fn of(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).output().unwrap())
    }

    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}", told(&self.0));
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        let said = told(&self.0);
        for word in words {
            assert!(said.contains(word), "{word}:\n{said}");
        }
        self
    }

    fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out()).unwrap_or_else(|_| panic!("{}", told(&self.0)))
    }
}

fn names(answer: &Value, list: &str) -> Vec<String> {
    let entries = answer[list].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The folder of the project itself, which is a configuration.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents")
}

#[test]
fn a_new_stack_has_what_is_shipped() {
    let desk = Desk::new();
    let shipped = shipped();
    desk.apply_file(&shipped, &["--plan"])
        .exits(0)
        .says(&["nothing to change"]);
    let expected = [
        ("claude-code-cli", 3),
        ("claude-web-reviewer", 1),
        ("claude-web-implementer", 2),
        ("codex-cloud-worker", 2),
        ("strands-orchestrator", 3),
        ("git-server", 2),
        ("claude_code", 3),
        ("codex", 2),
        ("strands", 3),
        ("whatever", 2),
    ];
    for (kind, _) in expected {
        let name = format!("a-{kind}");
        let args = ["--agent", &name, "--type", kind, "--save"];
        desk.stack
            .mint_with(&[&args[..], &["--repo", "github.com/acme/app"]].concat());
    }
    let agents = desk.run(&["agents", "--json"]).exits(0).json();
    for (kind, trust) in expected {
        let name = format!("a-{kind}");
        let agents = agents.as_array().unwrap();
        let agent = agents.iter().find(|agent| agent["name"] == json!(name));
        assert_eq!(agent.unwrap()["trust"], json!(trust), "{kind}");
    }
    desk.run(&["agents"])
        .exits(0)
        .says(&["profile", "a-git-server"]);

    // What each may: reviews only read, the server only asks about pushes.
    let as_type = |kind: &str, function: &str, args: &str| {
        desk.run(&[
            "--as",
            &format!("a-{kind}"),
            "call",
            function,
            "--args-json",
            args,
        ])
    };
    as_type("claude-web-reviewer", "acquire_lock", r#"{"paths": ["a"]}"#)
        .exits(1)
        .says(&["insufficient_trust_level"]);
    as_type("claude-web-reviewer", "check_locks", "{}").exits(0);
    as_type(
        "claude-web-implementer",
        "acquire_lock",
        r#"{"paths": ["a"]}"#,
    )
    .exits(0);
    as_type("git-server", "acquire_lock", r#"{"paths": ["b"]}"#)
        .exits(1)
        .says(&["operation_not_permitted"]);
    as_type(
        "codex-cloud-worker",
        "force_release_lock",
        r#"{"paths": ["a"], "reason": "x"}"#,
    )
    .exits(1)
    .says(&["insufficient_trust_level"]);
    as_type(
        "claude-code-cli",
        "force_release_lock",
        r#"{"paths": ["a"], "reason": "x"}"#,
    )
    .exits(0);

    // And where to.
    let reach = |kind: &str, domain: &str, code| {
        desk.run(&["--as", &format!("a-{kind}"), "network", "check", domain])
            .exits(code)
    };
    reach("claude-web-implementer", "https://pypi.org/simple", 0);
    reach("claude-web-implementer", "example.com", 1)
        .says(&["policy claude-web has no rule for it"]);
    reach("claude-web-implementer", "pypi.org.evil.com", 1);
    reach("codex-cloud-worker", "api.openai.com", 0);
    reach("codex-cloud-worker", "api.anthropic.com", 1);
    reach("claude-code-cli", "example.com", 0);
    reach("claude-code-cli", "pastebin.com", 1);
    reach("claude-code-cli", "169.254.169.254", 1);
    reach("whatever", "pypi.org", 1).says(&["names no network policy", "coord apply"]);
    reach("whatever", "no host", 2).says(&["domain_invalid"]);
}

#[test]
fn what_an_operator_made_of_it_stays() {
    let shipped = shipped();
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        home.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let home = home.path().join("home");
    let coord = |args: &[&str]| {
        let mut command = support::coord();
        Ran::of(command.env("COORD_HOME", &home).args(args))
    };
    coord(&["up", "--detach", "--port", "0"]).exits(0);
    let args = r#"{"name": "claude-code-cli", "spec": {"trust": 1, "allowed": ["*"]}}"#;
    coord(&["call", "set_profile", "--args-json", args]).exits(0);
    coord(&["down"]).exits(0);
    std::fs::remove_file(home.join("tokens/agent-1.jwt")).unwrap();
    coord(&["up", "--detach", "--port", "0"]).exits(0);
    let plan = coord(&["apply", shipped.to_str().unwrap(), "--plan", "--json"])
        .exits(0)
        .json();
    assert_eq!(names(&plan, "changed"), ["claude-code-cli"]);
    coord(&["down"]).exits(0);
}

#[test]
fn planned_asked_applied_once_and_pruned() {
    let desk = Desk::new();
    let before = desk.state();
    desk.apply(&["--plan"]).exits(0).says(&[
        "+ profile base",
        "+ network policy list",
        "+ default aider: cloud",
        "- profile git-server",
        "to remove",
    ]);
    assert_eq!(desk.state(), before, "a plan changes nothing");
    // Nobody can be asked.
    desk.apply(&[])
        .exits(2)
        .says(&["+ profile base", "--yes", "nothing was applied"]);
    desk.apply(&["--json"]).exits(2).says(&["--yes"]);
    assert_eq!(desk.state(), before);

    let done = desk.apply(&["--yes", "--json"]).exits(0).json();
    assert_eq!(done["outcome"], json!("applied"));
    assert!(names(&done, "added").contains(&"base".to_owned()));
    assert!(names(&done, "removed").contains(&"git-server".to_owned()));
    let again = desk.apply(&["--plan", "--json"]).exits(0).json();
    assert_eq!(
        again,
        json!({"outcome": "planned", "added": [], "changed": [], "removed": []})
    );
    desk.apply(&[]).exits(0).says(&["nothing to change"]);
    assert_eq!(
        desk.stack.psql("select count(*) from coord.audit_log where function = 'apply_config' and agent = 'operator'"),
        "2",
        "the first of `coord up`, the second of this"
    );

    // What a file says no more goes; or stays, on request.
    desk.write(
        "network_policies.yaml",
        &NETWORK.replace(
            "  list:\n    allow: [a.example, \"*.b.example\", b.example]\n",
            "  other: {}\n",
        ),
    );
    desk.write(
        "profiles.yaml",
        &PROFILES.replace("max_locks: 10", "max_locks: 20"),
    );
    desk.apply(&["--plan", "--no-prune"]).exits(0).says(&[
        "limits.max_locks: 10 → 20",
        "+ network policy other",
        "1 to add, 1 to change, 0 to remove",
    ]);
    desk.apply(&["--yes"])
        .exits(0)
        .says(&["- network policy list", "applied"]);
    desk.apply(&["--plan"])
        .exits(0)
        .says(&["nothing to change"]);

    // A section that no file speaks of stays whole.
    let one = desk.write(
        "one.txt",
        "network_policies:\n  cloud:\n    allow: [example.com, '*.example.org']\n",
    );
    let plan = desk.apply_file(&one, &["--plan", "--json"]).exits(0).json();
    assert_eq!(names(&plan, "changed"), ["cloud"]);
    assert_eq!(names(&plan, "removed"), ["other"]);

    // An agent may not even plan.
    desk.stack.mint_with(&[
        "--agent",
        "a",
        "--type",
        "x",
        "--repo",
        "github.com/acme/app",
        "--save",
    ]);
    desk.apply(&["--as", "a", "--plan"]).exits(1);
}

#[test]
fn on_a_terminal_it_asks() {
    let desk = Desk::new();
    let answer = |said: &str| {
        // script(1) gives it a terminal.
        let line = format!("{} apply {}", support::COORD, desk.dir.path().display());
        let mut command = support::clean("script");
        command
            .env("COORD_HOME", &desk.stack.home)
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), said.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let before = desk.state();
    let (code, said) = answer("n\n");
    assert!(
        code == Some(1) && said.contains("[y/N]") && said.contains("nothing was applied"),
        "{said}"
    );
    assert_eq!(desk.state(), before);
    let (code, said) = answer("y\n");
    assert!(code == Some(0) && said.contains("applied"), "{said}");
    assert_ne!(desk.state(), before);
}

/// A file, what is wrong in it, where, and what is said of it.
type Mistake = (&'static str, String, &'static str, &'static str);

fn mistakes() -> Vec<Mistake> {
    let profiles = [
        ("trust: 2", "trusst: 2", "4:5", "no such key"),
        ("trust: 2", "trust: 9", "4:12", "trust is 0 to 4"),
        ("trust: 2", "trust: yes", "4:12", "trust is 0 to 4"),
        (
            "trust: 2",
            "enabled: no",
            "4:14",
            "enabled is true or false",
        ),
        ("trust: 2", "trust: 2.5", "4:12", "whole"),
        (
            "[\"*\"]",
            "[aquire_lock]",
            "5:15",
            "no operation has this name",
        ),
        ("max_locks: 10", "max_lock: 10", "6:14", "no such key"),
        (
            "extends: base",
            "extends: basis",
            "8:14",
            "no profile is called basis",
        ),
        (
            "network_policy: cloud",
            "network_policy: clouds",
            "10:21",
            "no network policy is called clouds",
        ),
        (
            "aider: cloud",
            "aider: none-such",
            "12:10",
            "no profile is called none-such",
        ),
        (
            "  cloud:\n",
            "  base:\n",
            "7:3",
            "a second time; the first is in line 2",
        ),
        (
            "    trust: 2",
            "\ttrust: 2",
            "4:1: ",
            "a tab does not indent",
        ),
        ("\"*\": standard", "*: standard", "13:3: ", "quotes"),
        ("defaults:", "default:", "11:1", "no such key"),
        ("trust: 2", "trust: &t 2", "4:", "anchors"),
        (PROFILES, "- a\n", "1:1", "mapping"),
    ]
    .map(|(good, bad, at, why)| ("profiles.yaml", PROFILES.replace(good, bad), at, why));
    let network = [
        (
            "Example.COM",
            "https://example.com",
            "4:9",
            "a pattern is example.com",
        ),
        (
            "deny: [secret.example.org]",
            "default: off",
            "6:14",
            "default is allow or deny",
        ),
        // This one stands in the other file: who names it is mistaken.
        (
            "  cloud:\n",
            "  clouds:\n",
            "",
            "no network policy is called cloud",
        ),
    ]
    .map(|(good, bad, at, why)| ("network_policies.yaml", NETWORK.replace(good, bad), at, why));
    profiles.into_iter().chain(network).collect()
}

#[test]
fn mistakes_are_told_by_line_and_column_and_nothing_is_applied() {
    let desk = Desk::new();
    let before = desk.state();
    let file = |name: &str| desk.dir.path().join(name).display().to_string();
    for (name, text, place, why) in mistakes() {
        let (good, kept) = if name == "profiles.yaml" {
            (PROFILES, name)
        } else {
            (NETWORK, name)
        };
        desk.write(name, &text);
        for args in [&["--plan"][..], &["--yes"]] {
            let ran = desk.apply(args).exits(2).says(&[why]);
            let expected = if place.is_empty() {
                format!("{}:10:21: ", file("profiles.yaml"))
            } else {
                format!("{}:{place}", file(name))
            };
            assert!(
                ran.err().starts_with(&expected),
                "{expected}\n{}",
                told(&ran.0)
            );
        }
        desk.write(kept, good);
    }
    assert_eq!(desk.state(), before, "nothing of it was applied");

    // For scripts.
    desk.write("profiles.yaml", &PROFILES.replace("trust: 2", "trust: 9"));
    let ran = desk.apply(&["--json", "--plan"]).exits(2);
    let error: Value = serde_json::from_str(&ran.err()).unwrap();
    assert_eq!((&error["line"], &error["column"]), (&json!(4), &json!(12)));
    assert_eq!(error["file"], json!(file("profiles.yaml")));
    desk.write("profiles.yaml", PROFILES);
}

#[test]
fn what_is_named_stays_and_files_are_what_they_seem() {
    let desk = Desk::new();
    // A policy that a profile names cannot go, and a name may stand in one file only.
    desk.apply(&["--yes"]).exits(0);
    let lonely = desk.write("lonely.txt", "network_policies:\n  list: {}\n");
    desk.apply_file(&lonely, &["--plan"])
        .exits(2)
        .says(&["lonely.txt:1:1: ", "cloud names cloud"]);
    let twice = desk.write("twice.txt", "profiles:\n  base: {}\n");
    desk.apply(&[twice.to_str().unwrap()]).exits(2).says(&[
        "twice.txt:2:3: ",
        "a second time; the first is in",
        "profiles.yaml, line 2",
    ]);

    // Files.
    desk.write("profile.yaml", "profiles: {}\n");
    desk.apply(&["--plan"])
        .exits(2)
        .says(&["profile.yaml is no file of a configuration"]);
    desk.run(&["apply", "/nonexistent"])
        .exits(2)
        .says(&["cannot read /nonexistent"]);
    let empty = tempfile::tempdir().unwrap();
    desk.apply_file(empty.path(), &[])
        .exits(2)
        .says(&["holds none of"]);
}

#[test]
fn policies_are_exported() {
    let desk = Desk::new();
    desk.apply(&["--yes"]).exits(0);
    let export = |args: &[&str]| desk.run(&[&["network", "export"], args].concat());

    let list = export(&["--for", "claude-code-web", "--policy", "list", "--strict"]).exits(0);
    assert_eq!(
        (list.out().as_str(), list.err().as_str()),
        ("*.b.example\na.example\nb.example\n", "")
    );
    let holes = export(&["--for", "claude-code-web", "--policy", "cloud"]).exits(0);
    assert_eq!(holes.out(), "example.com\n");
    assert!(
        holes
            .err()
            .contains("left out: *.example.org: the policy denies secret.example.org"),
        "{}",
        holes.err()
    );
    export(&["--for", "claude-code-web", "--policy", "cloud", "--strict"]).exits(1);

    let list = export(&["--for", "codex-cloud", "--policy", "list"]).exits(0);
    assert_eq!(list.out(), "a.example, b.example\n");
    assert!(
        list.err().contains("left out: *.b.example"),
        "{}",
        list.err()
    );
    export(&["--for", "codex-cloud", "--policy", "list", "--strict"]).exits(1);

    let squid = export(&["--for", "squid", "--policy", "cloud", "--strict"])
        .exits(0)
        .out();
    let lines: Vec<&str> = squid
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
    let policy = export(&["--for", "json", "--policy", "cloud"])
        .exits(0)
        .json();
    assert_eq!(
        policy,
        json!({"policy": "cloud", "default": "deny", "allow": ["*.example.org", "example.com"], "deny": ["secret.example.org"]})
    );
    export(&["--for", "json", "--policy", "none"])
        .exits(2)
        .says(&["network_policy_not_found"]);
    export(&["--for", "json"])
        .exits(2)
        .says(&["policy is the name of a network policy"]);

    // An agent has its own.
    desk.stack.mint_with(&[
        "--agent",
        "aid",
        "--type",
        "aider",
        "--repo",
        "github.com/acme/app",
        "--save",
    ]);
    let aid = |args: &[&str]| desk.run(&[&["--as", "aid"], args].concat());
    assert_eq!(
        aid(&["network", "export", "--for", "json"]).exits(0).json()["policy"],
        json!("cloud")
    );
}

#[test]
fn an_agent_asks_and_sees_what_it_asked() {
    let desk = Desk::new();
    desk.apply(&["--yes"]).exits(0);
    desk.stack.mint_with(&[
        "--agent",
        "aid",
        "--type",
        "aider",
        "--repo",
        "github.com/acme/app",
        "--save",
    ]);
    let aid = |args: &[&str]| desk.run(&[&["--as", "aid"], args].concat());
    aid(&["network", "check", "https://EXAMPLE.com:443/x"])
        .exits(0)
        .says(&["allow", "example.com: policy cloud allows example.com"]);
    aid(&["network", "check", "example.com"]).exits(0);
    let denied = aid(&["network", "check", "secret.example.org", "--json"])
        .exits(1)
        .json();
    assert_eq!(denied["rule"], json!("secret.example.org"));
    desk.run(&["network", "check", "example.com"])
        .exits(1)
        .says(&["Ask as an agent"]);
    let log = aid(&["network", "log", "--json"]).exits(0).json();
    let mut seen: Vec<(&str, i64)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["domain"].as_str().unwrap(),
                row["times"].as_i64().unwrap(),
            )
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("example.com", 2), ("secret.example.org", 1)]);
    aid(&["network", "log", "--denied"])
        .exits(0)
        .says(&["secret.example.org"]);
    assert_eq!(
        desk.run(&["network", "log", "--json"])
            .exits(0)
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );

    let agents = aid(&["agents", "--json"]).exits(0).json();
    assert_eq!(agents.as_array().unwrap().len(), 1);
    assert_eq!(
        (&agents[0]["effective_profile"], &agents[0]["trust"]),
        (&json!("cloud"), &json!(1))
    );
    let table = desk.run(&["agents"]).exits(0).out();
    let row = table.lines().find(|line| line.starts_with("aid")).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        [
            "aid",
            "aider",
            "agent",
            "cloud",
            "1",
            "yes",
            "github.com/acme/app"
        ]
    );
}
