//! Hooks of clients, `coord run`, `coord guard` and `coord approvals`: processes of their own
//! against the real stack, with events made by hand. (`make test-clients` has the real clients.)
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{COORD, clean, eventually, shared, told};
use tempfile::TempDir;

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// A checkout, and two agents in it.
struct Desk {
    dir: TempDir,
    repo: String,
    a: String,
    b: String,
}

/// How a command ended and what it said.
struct Ran(Output);

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}", told(&self.0));
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        let said = told(&self.0);
        for word in words {
            assert!(said.contains(word), "{word}\n{said}");
        }
        self
    }

    fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone())
            .unwrap()
            .trim_end()
            .to_owned()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out()).unwrap_or_else(|_| panic!("{}", told(&self.0)))
    }
}

/// The reason of a denial in the clients' shape.
#[track_caller]
fn denied(answer: &Value) -> String {
    let output = &answer["hookSpecificOutput"];
    assert_eq!(output["hookEventName"], "PreToolUse", "{answer}");
    assert_eq!(output["permissionDecision"], "deny", "{answer}");
    output["permissionDecisionReason"]
        .as_str()
        .unwrap()
        .to_owned()
}

impl Desk {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = format!("git.example/clients/{name}");
        let mint = |who: &str, kind| shared().mint(&format!("{name}-{who}"), kind, &repo);
        let (a, b) = (mint("a", "claude-code"), mint("b", "codex"));
        let desk = Self { dir, repo, a, b };
        desk.git(&["init", "-q", "-b", "main"]);
        desk.git(&[
            "remote",
            "add",
            "origin",
            &format!("https://{}.git", desk.repo),
        ]);
        desk.write("src/a.rs", "1\n");
        desk
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn file(&self, name: &str) -> String {
        self.root().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.root().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap()
    }

    fn program(&self, name: &str, token: &str) -> Command {
        let mut command = clean(name);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(self.root())
            .env("HOME", "/nonexistent")
            .env("COORD_HOME", "/nonexistent")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("COORD_URL", &shared().url)
            .env("COORD_TOKEN", token);
        command
    }

    fn git(&self, args: &[&str]) {
        let output = self.program("git", "").args(args).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }

    fn coord(&self, token: &str, args: &[&str]) -> Ran {
        Ran(self.program(COORD, token).args(args).output().unwrap())
    }

    fn event(&self, tool: &str, input: &Value) -> Value {
        json!({"hook_event_name": "PreToolUse", "session_id": "s-1", "cwd": self.root(), "tool_name": tool, "tool_input": input})
    }

    /// What the hook printed; it always ends well.
    #[track_caller]
    fn hook(&self, token: &str, event: &Value) -> Value {
        answer(
            self.program(COORD, token).args(["hook", "claude-code"]),
            event.to_string().as_bytes(),
        )
    }

    fn bash(&self, token: &str, line: &str) -> Value {
        self.hook(token, &self.event("Bash", &json!({"command": line})))
    }

    fn edit(&self, token: &str, name: &str) -> Value {
        let input = json!({"file_path": self.file(name), "old_string": "1", "new_string": "2"});
        self.hook(token, &self.event("Edit", &input))
    }

    fn locks(&self) -> Value {
        self.coord(&self.a, &["lock", "list", "--json"])
            .exits(0)
            .json()["locks"]
            .clone()
    }
}

/// Gives a hook an event; null where it says nothing.
#[track_caller]
fn answer(hook: &mut Command, event: &[u8]) -> Value {
    let ran = fed(hook, event).exits(0);
    match ran.out() {
        out if out.is_empty() => Value::Null,
        _ => ran.json(),
    }
}

fn fed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read says so by its answer.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran(child.wait_with_output().unwrap())
}

#[test]
fn commands_are_judged_and_edits_take_their_locks() {
    let desk = Desk::new("judged");
    let why = denied(&desk.bash(&desk.a, "git push --force origin main"));
    assert!(
        why.contains("git.force_push") && why.contains("--force-with-lease"),
        "{why}"
    );
    assert_eq!(desk.bash(&desk.a, "git status"), Value::Null);
    assert_eq!(desk.locks(), json!([]));

    assert_eq!(desk.edit(&desk.a, "src/a.rs"), Value::Null);
    let locks = desk.locks();
    assert_eq!(locks[0]["path"], "src/a.rs");
    assert_eq!(
        (&locks[0]["holder"], &locks[0]["session_id"]),
        (&json!("judged-a"), &json!("s-1"))
    );
    assert_eq!(
        desk.edit(&desk.a, "src/a.rs"),
        Value::Null,
        "one's own is no obstacle"
    );
    let why = denied(&desk.edit(&desk.b, "src/a.rs"));
    assert!(
        why.contains("judged-a") && why.contains("editing with Edit"),
        "{why}"
    );

    // Codex's patches, alone and in its shell; what git and others keep is no file of the repository.
    let patch = "*** Begin Patch\n*** Add File: new.rs\n+1\n*** Update File: src/a.rs\n@@\n-1\n+2\n*** End Patch";
    for (tool, input) in [
        ("apply_patch", json!({"command": patch})),
        (
            "Bash",
            json!({"command": format!("apply_patch <<'EOF'\n{patch}\nEOF")}),
        ),
        ("shell", json!({"command": ["apply_patch", patch]})),
    ] {
        let why = denied(&desk.hook(&desk.b, &desk.event(tool, &input)));
        assert!(why.contains("judged-a"), "{tool}: {why}");
    }
    let outside = json!({"file_path": "/tmp/elsewhere.txt", "content": "x"});
    desk.hook(&desk.a, &desk.event("Write", &outside));
    assert_eq!(desk.locks().as_array().unwrap().len(), 1);
    assert_eq!(
        desk.hook(&desk.a, &desk.event("TodoWrite", &json!({}))),
        Value::Null
    );
    let fetch = desk.event("WebFetch", &json!({"url": "https://example.com/x"}));
    assert!(denied(&desk.hook(&desk.a, &fetch)).contains("network policy"));
}

#[test]
fn links_and_folders_lead_to_the_same_file() {
    let desk = Desk::new("links");
    std::os::unix::fs::symlink("src", desk.root().join("link")).unwrap();
    desk.write("ä ö/ü.txt", "1");
    assert_eq!(desk.edit(&desk.a, "link/a.rs"), Value::Null);
    assert_eq!(desk.edit(&desk.a, "ä ö/ü.txt"), Value::Null);
    let mut event = desk.event(
        "Edit",
        &json!({"file_path": desk.file("src/b.rs"), "new_string": "x"}),
    );
    event["cwd"] = json!(desk.file("src"));
    assert_eq!(desk.hook(&desk.a, &event), Value::Null);
    let locks = desk.locks();
    let mut paths: Vec<_> = locks
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["src/a.rs", "src/b.rs", "ä ö/ü.txt"]);
}

#[test]
fn a_session_hears_what_is_open_and_leaves_nothing_behind() {
    let desk = Desk::new("sessions");
    let handoff = [
        "call",
        "write_handoff",
        "--repo",
        &desk.repo,
        "--summary",
        "half of the cart is done",
        "--next_steps",
        "the other half",
    ];
    desk.coord(&desk.b, &handoff).exits(0);
    let task = [
        "call",
        "submit_work",
        "--repo",
        &desk.repo,
        "--task_type",
        "fix",
        "--title",
        "mend the cart",
    ];
    desk.coord(&desk.b, &task).exits(0);
    let mut claim = desk.program(COORD, &desk.a);
    let claim = claim.args(["call", "get_work", "--repo", &desk.repo, "--session", "s-1"]);
    Ran(claim.output().unwrap())
        .exits(0)
        .says(&["mend the cart"]);

    let start = json!({"hook_event_name": "SessionStart", "session_id": "s-1", "cwd": desk.root(), "source": "startup"});
    let told = desk.hook(&desk.a, &start);
    assert_eq!(told["hookSpecificOutput"]["hookEventName"], "SessionStart");
    let told = told["hookSpecificOutput"]["additionalContext"]
        .as_str()
        .unwrap()
        .to_owned();
    for words in [
        "half of the cart is done",
        "the other half",
        "mend the cart",
        "acquire_lock",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }

    assert_eq!(desk.edit(&desk.a, "src/a.rs"), Value::Null);
    let end = json!({"hook_event_name": "SessionEnd", "session_id": "s-1", "cwd": desk.root(), "reason": "exit"});
    assert_eq!(desk.hook(&desk.a, &end), Value::Null);
    assert_eq!(desk.locks(), json!([]));
    let other = json!({"hook_event_name": "Notification", "session_id": "s-1"});
    assert_eq!(desk.hook(&desk.a, &other), Value::Null);
}

/// Beside a local stack, where nobody set a token: what an agent starts is the agent, in its client's
/// session through every door, and what its person starts is the operator.
#[test]
fn beside_a_local_stack_an_agent_is_itself_through_every_door() {
    let desk = Desk::new("itself");
    let here = |program: &str, agent: bool| {
        let mut command = desk.program(program, "");
        command
            .env_remove("COORD_URL")
            .env_remove("COORD_TOKEN")
            .env("COORD_HOME", &shared().home);
        if agent {
            command
                .env("CLAUDE_CODE_SESSION_ID", "s-1")
                .env("CLAUDECODE", "1");
        }
        command
    };
    let ran = |agent, args: &[&str]| Ran(here(COORD, agent).args(args).output().unwrap());
    let event = desk.event(
        "Edit",
        &json!({"file_path": desk.file("src/a.rs"), "old_string": "1", "new_string": "2"}),
    );
    let hook = || {
        answer(
            here(COORD, false).args(["hook", "claude-code"]),
            event.to_string().as_bytes(),
        )
    };

    assert!(denied(&hook()).contains("is not granted to agent-1"));
    // Whoever installs it is the operator, and grants it; an agent cannot.
    let refused = ran(true, &["hook", "install", "claude-code"]).exits(0);
    assert!(
        told(&refused.0).contains("is granted nothing"),
        "{}",
        told(&refused.0)
    );
    let installed = ran(
        false,
        &["hook", "install", "--json", "claude-code", "pre-commit"],
    )
    .exits(0)
    .json();
    assert!(installed["granted"].as_str().unwrap().contains(&desk.repo));

    // Locked by a tool of the bridge, in the same session.
    let mut bridge = support::mcp::Client::connect(here(COORD, true).arg("mcp"));
    let locked = bridge.call("acquire_lock", &json!({"paths": ["src/a.rs"]}));
    assert!(support::mcp::text(&locked).contains("acquired"), "{locked}");
    assert_eq!(hook(), Value::Null);
    let locks = ran(true, &["lock", "list", "--json"]).exits(0).json();
    assert_eq!(locks["locks"].as_array().unwrap().len(), 1, "{locks}");
    assert_eq!(locks["locks"][0]["holder"], "agent-1");
    assert_eq!(locks["locks"][0]["session_id"], "s-1");
    // Its commit has its lock, its person's has not.
    let commit = |agent| {
        let mut git = here("git", agent);
        git.args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@b.example",
            "commit",
            "-m",
            "x",
        ]);
        Ran(git.output().unwrap())
    };
    desk.git(&["add", "src/a.rs"]);
    commit(false).exits(1);
    commit(true).exits(0);
    // Nor does it decide what it asked for.
    let why = ran(true, &["approvals", "approve", "A-1"]);
    assert_ne!(why.0.status.code(), Some(0));
    let me = |agent| {
        ran(agent, &["call", "my_profile", "--json"])
            .exits(0)
            .json()["agent"]
            .clone()
    };
    assert_eq!((me(true), me(false)), (json!("agent-1"), json!("operator")));
}

#[test]
fn who_cannot_be_asked_is_told_and_the_hook_does_as_it_was_set() {
    let desk = Desk::new("down");
    // Listens and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}", mute.local_addr().unwrap());
    let event = desk.event("Bash", &json!({"command": "ls"})).to_string();
    let cases: [(&str, &str, &str, &[u8]); 7] = [
        (
            NOBODY,
            &desk.a,
            "cannot reach the coordinator",
            event.as_bytes(),
        ),
        (
            &mute,
            &desk.a,
            "no answer within 0.5 seconds",
            event.as_bytes(),
        ),
        (&shared().url, "wrong", "COORD_TOKEN", event.as_bytes()),
        (&shared().url, "", "no token", event.as_bytes()),
        (
            &shared().url,
            &desk.a,
            "the event of the client cannot be read",
            b"{\"hook",
        ),
        (
            &shared().url,
            &desk.a,
            "the event of the client cannot be read",
            b"\0\xff",
        ),
        (
            &shared().url,
            &desk.a,
            "the event of the client cannot be read",
            b"",
        ),
    ];
    for client in ["claude-code", "codex"] {
        for (url, token, why, event) in cases {
            // Only who never answers is not worth waiting for.
            let deadline = if url == mute { "0.5" } else { "10" };
            let ask = |when_down| {
                let mut hook = desk.program(COORD, token);
                hook.env("COORD_URL", url).args([
                    "hook",
                    client,
                    "--deadline",
                    deadline,
                    "--when-down",
                    when_down,
                ]);
                if token.is_empty() {
                    hook.env_remove("COORD_TOKEN");
                }
                answer(&mut hook, event)
            };
            let said = denied(&ask("deny"));
            assert!(
                said.contains("nobody judged this") && said.contains(why),
                "{why}: {said}"
            );
            assert!(said.contains("What mends it"), "{said}");
            let allowed = ask("allow");
            assert_eq!(allowed["hookSpecificOutput"], Value::Null);
            let said = allowed["systemMessage"].as_str().unwrap();
            assert!(
                said.contains("unchecked") && said.contains(why),
                "{why}: {said}"
            );
        }
    }
    // Not even a command line that nobody understands.
    let mut wrong = desk.program(COORD, &desk.a);
    assert!(denied(&answer(wrong.args(["hook", "codex", "--odd"]), b"{}")).contains("--odd"));
    let mut wrong = desk.program(COORD, &desk.a);
    let wrong = answer(
        wrong.args(["hook", "codex", "--when-down", "allow", "--odd"]),
        b"{}",
    );
    assert!(wrong["systemMessage"].as_str().unwrap().contains("--odd"));
}

#[test]
fn events_that_make_no_sense_are_not_waved_through() {
    let desk = Desk::new("senseless");
    for event in [
        json!({}),
        json!({"hook_event_name": "PreToolUse"}),
        json!({"hook_event_name": 7, "tool_name": ["Bash"]}),
        desk.event("Bash", &json!({})),
        desk.event("Bash", &json!("ls")),
        desk.event("Bash", &json!({"command": {"a": 1}})),
        desk.event("Edit", &json!({"content": "x"})),
        desk.event("apply_patch", &json!({"command": "no patch"})),
        desk.event("Bash", &json!({"command": "ls \0"})),
    ] {
        let why = denied(&desk.hook(&desk.a, &event));
        assert!(why.contains("could not judge"), "{event}: {why}");
    }
    let raw = desk
        .event("Bash", &json!({"command": "ls X"}))
        .to_string()
        .replace('X', "\u{fffd}");
    let raw = raw.as_bytes().to_vec();
    let at = raw
        .windows(3)
        .position(|it| it == "\u{fffd}".as_bytes())
        .unwrap();
    let broken = [&raw[..at], b"\xff", &raw[at + 3..]].concat();
    let mut hook = desk.program(COORD, &desk.a);
    assert!(denied(&answer(hook.args(["hook", "codex"]), &broken)).contains("invalid UTF-8"));
}

#[test]
fn a_client_may_post_its_events_by_itself() {
    let desk = Desk::new("http");
    let post = |event: &Value| {
        let output = desk
            .program("curl", "")
            .args([
                "-sS",
                "-w",
                "\n%{http_code}",
                "-H",
                "Content-Profile: coord_v1",
                "-H",
                "Content-Type: application/json",
            ])
            .args([
                "-H",
                &format!("Authorization: Bearer {}", desk.a),
                "-d",
                &event.to_string(),
            ])
            .arg(format!("{}/rpc/hook_claude_code", shared().url))
            .output()
            .unwrap();
        let text = Ran(output).exits(0).out();
        let (body, status) = text.rsplit_once('\n').unwrap();
        assert_eq!(status, "200", "{body}");
        serde_json::from_str::<Value>(body).unwrap()
    };
    let why = denied(&post(
        &desk.event("Bash", &json!({"command": "git push -f"})),
    ));
    assert!(why.contains("git.force_push"), "{why}");
    assert_eq!(
        post(&desk.event("Bash", &json!({"command": "ls"}))),
        json!({})
    );
    let edit = json!({"file_path": desk.file("src/a.rs"), "new_string": "x"});
    assert_eq!(post(&desk.event("Edit", &edit)), json!({}));
    let locks = desk.locks();
    assert_eq!(
        (&locks[0]["path"], &locks[0]["session_id"]),
        (&json!("src/a.rs"), &json!("s-1"))
    );
    let why = denied(&desk.edit(&desk.b, "src/a.rs"));
    assert!(why.contains("http-a"), "{why}");
    post(&json!({"hook_event_name": "SessionEnd", "session_id": "s-1"}));
    assert_eq!(desk.locks(), json!([]));
}

/// What is no text never reaches a rule over plain HTTP; what is too much is still answered.
#[test]
fn over_plain_http_what_is_no_text_is_a_clear_400() {
    let desk = Desk::new("bytes");
    let post = |function: &str, body: &[u8]| {
        let mut curl = desk.program("curl", "");
        curl.args(["-sS", "-w", "\n%{http_code}", "--data-binary", "@-"])
            .args(["-H", "Content-Profile: coord_v1"])
            .args(["-H", "Content-Type: application/json"])
            .args(["-H", &format!("Authorization: Bearer {}", desk.a)])
            .arg(format!("{}/rpc/{function}", shared().url));
        let text = fed(&mut curl, body).exits(0).out();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let answer: Value = serde_json::from_str(body).unwrap();
        (status.to_owned(), answer)
    };
    let event = |line: &[u8]| {
        let head = br#"{"hook_event_name": "PreToolUse", "session_id": "s-1", "cwd": "/x", "tool_name": "Bash", "tool_input": {"command": ""#;
        [head.as_slice(), line, b"\"}}"].concat()
    };
    let check = |line: &[u8]| [br#"{"command": ""#.as_slice(), line, b"\"}"].concat();
    for (line, code, says) in [
        (r"ls \u0000".as_bytes(), "22P05", "Unicode"),
        (b"ls \0", "PGRST102", "json"),
        (b"ls \xff\xfe", "PGRST102", "json"),
        (br"ls \ud800", "PGRST102", "json"),
    ] {
        for (function, body) in [
            ("check_guardrails", check(line)),
            ("hook_claude_code", event(line)),
        ] {
            let (status, answer) = post(function, &body);
            let said = answer["message"].as_str().unwrap();
            assert_eq!((status.as_str(), &answer["code"]), ("400", &json!(code)));
            assert!(said.contains(says), "{function}: {answer}");
        }
    }
    for line in ["$(".repeat(32768), "a ".repeat(524_288), "'".repeat(999)] {
        let (status, answer) = post("check_guardrails", &check(line.as_bytes()));
        assert_eq!(
            (status.as_str(), &answer["decision"]),
            ("200", &json!("ask"))
        );
        assert_eq!(answer["violations"][0]["rule"], "reader.unreadable");
    }
}

#[test]
fn install_wires_what_it_finds_and_uninstall_takes_exactly_that_out() {
    let desk = Desk::new("wired");
    let theirs = "{\n\t\"model\": \"opus\",\n\t\"hooks\": {\n\t\t\"PreToolUse\": [\n\t\t\t{\n\t\t\t\t\"matcher\": \"Bash\",\n\t\t\t\t\"hooks\": [\n\t\t\t\t\t{\n\t\t\t\t\t\t\"type\": \"command\",\n\t\t\t\t\t\t\"command\": \"./theirs.sh\"\n\t\t\t\t\t}\n\t\t\t\t]\n\t\t\t}\n\t\t]\n\t}\n}\n";
    desk.write(".claude/settings.json", theirs);
    desk.write(".aider.conf.yml", "model: x\n");
    let dry = desk
        .coord(&desk.a, &["hook", "install", "--dry-run"])
        .exits(0);
    dry.says(&[
        "+\t\t\"SessionEnd\": [",
        "+git-commit-verify: true",
        "would write",
        "pre-commit",
    ]);
    assert_eq!(desk.text(".claude/settings.json"), theirs);
    assert!(!desk.root().join(".git/hooks/pre-commit").exists());

    let names = |ran: &Ran| {
        let hooks = ran.json()["hooks"].clone();
        let names = hooks.as_array().unwrap().iter().map(|it| {
            format!(
                "{} {}",
                it["hook"].as_str().unwrap(),
                it["outcome"].as_str().unwrap()
            )
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let first = desk.coord(&desk.a, &["hook", "install", "--json"]).exits(0);
    assert_eq!(
        names(&first),
        "pre-commit installed, prepare-commit-msg installed, commit-msg installed, claude-code updated, aider updated"
    );
    let wired = desk.text(".claude/settings.json");
    // The profile of claude-code is not applied here: closed.
    assert!(
        wired.contains("hook claude-code --when-down deny || {") && wired.contains("./theirs.sh"),
        "{wired}"
    );
    let again = desk.coord(&desk.a, &["hook", "install", "--json"]).exits(0);
    assert!(
        names(&again).matches("unchanged").count() == 5,
        "{}",
        names(&again)
    );
    assert_eq!(desk.text(".claude/settings.json"), wired);

    let status = desk
        .coord(&desk.a, &["hook", "status", "--json"])
        .exits(0)
        .json();
    let found: Vec<_> = status["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(found, ["active", "not there", "active"], "{status}");
    let found =
        shared().psql("select count(*) from coord_v1.guardrail_violations where agent = 'wired-a'");
    assert_eq!(found, "0", "a canary is no violation");

    desk.coord(&desk.a, &["hook", "uninstall"]).exits(0);
    assert_eq!(desk.text(".claude/settings.json"), theirs);
    assert_eq!(desk.text(".aider.conf.yml"), "model: x\n");

    // By name; what did not exist goes again; what nobody understands stays.
    desk.coord(
        &desk.a,
        &["hook", "install", "codex", "--when-down", "allow"],
    )
    .exits(0);
    assert!(!desk.text(".codex/hooks.json").contains("exit 2"));
    assert!(!desk.root().join(".git/hooks/pre-commit").exists());
    desk.coord(&desk.a, &["hook", "uninstall", "codex"])
        .exits(0);
    assert!(!desk.root().join(".codex/hooks.json").exists());
    desk.write(".claude/settings.json", "{ // mine\n}");
    desk.coord(&desk.a, &["hook", "install"])
        .exits(2)
        .says(&[".claude/settings.json", "left as it is"]);
    assert!(
        !desk.root().join(".git/hooks/pre-commit").exists(),
        "all or nothing"
    );
}

#[test]
fn a_dead_hook_is_found() {
    let desk = Desk::new("dead");
    desk.coord(
        &desk.a,
        &["hook", "install", "claude-code", "codex", "aider"],
    )
    .exits(0);
    let states = |ran: Ran| {
        let clients = ran.json()["clients"].clone();
        clients
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                format!(
                    "{}: {}",
                    it["state"].as_str().unwrap(),
                    it["why"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    let told = states(desk.coord(&desk.a, &["hook", "status", "--json"]));
    assert!(
        told[0].starts_with("active: a forced push came back denied"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("NOT ACTIVE: Codex skips hooks that nobody trusted"),
        "{told:?}"
    );
    assert!(
        told[2].starts_with("NOT ACTIVE") && told[2].contains("pre-commit"),
        "{told:?}"
    );
    let mut down = desk.program(COORD, &desk.a);
    let told = states(
        Ran(down
            .env("COORD_URL", NOBODY)
            .args(["hook", "status", "--json"])
            .output()
            .unwrap())
        .exits(3),
    );
    assert!(
        told[0].starts_with("NOT ACTIVE: coord: nobody judged this"),
        "{told:?}"
    );
    let gone = desk
        .text(".claude/settings.json")
        .replace(COORD, "/nonexistent/coord");
    desk.write(".claude/settings.json", &gone);
    let told = states(desk.coord(&desk.a, &["hook", "status", "--json"]));
    assert!(
        told[0].starts_with("NOT ACTIVE") && told[0].contains("coord does not run here"),
        "{told:?}"
    );

    let doctor = desk
        .program(COORD, &desk.a)
        .env("COORD_HOME", &shared().home)
        .arg("doctor")
        .output()
        .unwrap();
    Ran(doctor)
        .exits(4)
        .says(&["client hooks: claude-code", "coord does not run here"]);
}

#[test]
fn run_checks_locks_passes_through_and_releases() {
    let desk = Desk::new("run");
    let run = |args: &[&str]| desk.coord(&desk.a, &[&["run"], args].concat());
    run(&["--", "git", "push", "--force"])
        .exits(1)
        .says(&["git.force_push", "--force-with-lease"]);
    run(&["-c", "touch ran; git push -f"])
        .exits(1)
        .says(&["git.force_push"]);
    assert!(!desk.root().join("ran").exists());
    run(&["--", "sh", "-c", "exit 7"]).exits(7);
    run(&["--", "/nonexistent/program"]).exits(127);
    run(&["-c", "kill -9 $$"]).exits(137);
    assert_eq!(
        run(&["-i", "-c", "echo \"$((1 + 1))\""]).exits(0).out(),
        "2"
    );
    let echoed = fed(
        desk.program(COORD, &desk.a).args(["run", "--", "cat"]),
        b"in and out",
    )
    .exits(0);
    assert_eq!(echoed.out(), "in and out");

    let inside = run(&[
        "--lock",
        "src/",
        "--reason",
        "a test",
        "-c",
        &format!("'{COORD}' lock list --json"),
    ])
    .exits(0)
    .json();
    assert_eq!(
        (&inside["locks"][0]["path"], &inside["locks"][0]["reason"]),
        (&json!("src/"), &json!("a test"))
    );
    assert_eq!(desk.locks(), json!([]));
    desk.coord(&desk.b, &["lock", "acquire", "src/a.rs"])
        .exits(0);
    run(&["--lock", "src/", "-c", "touch ran"])
        .exits(1)
        .says(&["run-b holds src/a.rs"]);
    assert!(!desk.root().join("ran").exists());
    desk.coord(&desk.b, &["lock", "release"]).exits(0);

    // In a session of somebody's, what it held before stays.
    let lock = ["lock", "acquire", "src/a.rs", "--session", "mine"];
    desk.coord(&desk.a, &lock).exits(0);
    run(&[
        "--session",
        "mine",
        "--lock",
        "src/a.rs",
        "--lock",
        "b",
        "-c",
        "true",
    ])
    .exits(0);
    let locks = desk.locks();
    assert_eq!(
        (locks.as_array().unwrap().len(), &locks[0]["path"]),
        (1, &json!("src/a.rs"))
    );
    desk.coord(&desk.a, &["lock", "release", "--session", "mine"])
        .exits(0);

    let mut down = desk.program(COORD, &desk.a);
    let down = down
        .env("COORD_URL", NOBODY)
        .args(["run", "-c", "touch ran"])
        .output()
        .unwrap();
    Ran(down).exits(3);
    assert!(!desk.root().join("ran").exists());

    // As a shell.
    let shell = desk.root().join("coord-sh");
    std::os::unix::fs::symlink(COORD, &shell).unwrap();
    let said = desk
        .program(shell.to_str().unwrap(), &desk.a)
        .args(["-c", "echo hi; git push -f"])
        .output()
        .unwrap();
    Ran(said).exits(1).says(&["git.force_push"]);
}

#[test]
fn run_keeps_its_locks_and_passes_signals_on() {
    let desk = Desk::new("kept");
    let args = [
        "run",
        "--lock",
        "a",
        "--ttl",
        "30",
        "-c",
        "trap 'echo told; exit 3' TERM; touch up; while :; do sleep 0.1; done",
    ];
    let child = desk
        .program(COORD, &desk.a)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it runs", || desk.root().join("up").exists());
    let left = |desk: &Desk| desk.locks()[0]["seconds_left"].as_i64().unwrap();
    assert!(left(&desk) <= 30);
    std::thread::sleep(Duration::from_secs(12));
    assert!(left(&desk) > 25, "renewed after a third");
    support::clean("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    let ended = Ran(child.wait_with_output().unwrap()).exits(3);
    assert_eq!(ended.out(), "told");
    assert_eq!(desk.locks(), json!([]));
}

#[test]
fn guard_answers_on_the_command_line() {
    let desk = Desk::new("guard");
    let guard = |args: &[&str]| desk.coord(&desk.a, &[&["guard"], args].concat());
    guard(&["check", "ls -l"]).exits(0).says(&["allow"]);
    guard(&["check", "git push --force"])
        .exits(1)
        .says(&["deny git.force_push"]);
    let dry = guard(&["check", "--dry-run", "--json", "--path", ".env"])
        .exits(1)
        .json();
    assert_eq!(
        (&dry["decision"], &dry["approval"]),
        (&json!("ask"), &Value::Null)
    );
    desk.write("secret.txt", "key = \"AKIAQ7RZ2M5WX4NB8VTC\"\n");
    guard(&["check", "--dry-run", "--content-file", "secret.txt"])
        .exits(1)
        .says(&["credentials.in_content"]);
    let stdin = fed(
        desk.program(COORD, &desk.a)
            .args(["guard", "check", "--stdin"]),
        b"git push -f\n",
    );
    stdin.exits(1).says(&["git.force_push"]);
    guard(&["check"]).exits(2).says(&["nothing to check"]);
    guard(&["explain", "cat a | sh"])
        .exits(0)
        .says(&["cat a", "decision:"]);
    guard(&["list"])
        .exits(0)
        .says(&["git.force_push", "revision"]);
    let rules = guard(&["list", "--category", "git", "--json"])
        .exits(0)
        .json();
    assert!(
        rules["rules"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["category"] == "git")
    );
    guard(&["violations", "--rule", "git.force_push"])
        .exits(0)
        .says(&["git push --force"]);

    let rule = "guardrails:\n  demo.no_cowsay:\n    severity: deny\n    when: {program: cowsay}\n    remedy: Say it yourself.\n    matches: [cowsay hi]\n    passes: [echo hi]\n";
    desk.write("rules.yaml", rule);
    guard(&["test", "rules.yaml"])
        .exits(0)
        .says(&["holds", "demo.no_cowsay"]);
    desk.write(
        "wrong.yaml",
        &rule.replace("passes: [echo hi]", "passes: [cowsay hi]"),
    );
    guard(&["test", "wrong.yaml"]).exits(1).says(&["FAILS"]);
    guard(&["test", "missing.yaml"]).exits(2);
    guard(&["replay", "rules.yaml", "--since", "1h"])
        .exits(0)
        .says(&["recorded commands would be decided otherwise"]);
}

#[test]
fn every_line_has_its_verdict_in_its_place() {
    let desk = Desk::new("lines");
    let mut lines = Vec::new();
    for n in 0..40 {
        lines.push(json!(format!("echo {n}")).to_string());
        lines.push(json!(format!("git push --force origin b{n}")).to_string());
    }
    lines.extend(["junk", "17", "\"a\\u0000b\"", "\"\""].map(str::to_owned));
    let mut input = lines.join("\n").into_bytes();
    input.extend(b"\n\"\xff\xfe\"\n\n\"ls\"");
    let ran = fed(
        desk.program(COORD, &desk.a)
            .args(["guard", "check", "--stdin-json"]),
        &input,
    )
    .exits(0);
    let verdicts: Vec<Value> = ran
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let decisions: Vec<_> = verdicts
        .iter()
        .map(|it| it["d"].as_str().unwrap())
        .collect();
    assert_eq!(decisions[..80], ["allow", "deny"].repeat(40));
    assert_eq!(
        decisions[80..],
        ["ask", "ask", "ask", "allow", "ask", "ask", "allow"]
    );
    let found =
        shared().psql("select count(*) from coord_v1.guardrail_violations where agent = 'lines-a'");
    assert_eq!(found, "0", "without --record");
    let mut down = desk.program(COORD, &desk.a);
    let down = fed(
        down.env("COORD_URL", NOBODY)
            .args(["guard", "check", "--stdin-json"]),
        b"\"ls\"\n",
    )
    .exits(3);
    assert_eq!(down.json()["d"], "ask");
}

/// A transaction that holds the row of an approval, until its input ends.
fn holding(approval: &str) -> (Child, ChildStdin) {
    let mut psql = clean("psql")
        .args(["-XAtq", "-U", "postgres", "-d", "coord", "-h"])
        .arg(&shared().socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = psql.stdin.take().unwrap();
    let sql = format!("select from coord.approvals where 'A-' || number = '{approval}' for update");
    writeln!(input, "set application_name = 'holds'; begin; {sql};").unwrap();
    sessions(
        "1",
        "application_name = 'holds' and state = 'idle in transaction' and query ~ 'for update'",
    );
    (psql, input)
}

/// Waits until so many of the database's sessions are like this.
fn sessions(count: &str, like: &str) {
    let sql = format!("select count(*) from pg_stat_activity where {like}");
    eventually(like, || shared().psql(&sql) == count);
}

#[test]
fn an_approval_opens_one_command_once() {
    let desk = Desk::new("approved");
    let operator = shared().operator.clone();
    let line = "npm publish";
    let asked = |answer: &Value| {
        let why = denied(answer);
        let at = why.find("A-").unwrap_or_else(|| panic!("{why}"));
        why[at..]
            .split(|c: char| c.is_whitespace() || c == ':')
            .next()
            .unwrap()
            .to_owned()
    };
    let id = asked(&desk.bash(&desk.a, line));
    assert_eq!(
        asked(&desk.bash(&desk.a, line)),
        id,
        "asked twice, it is one request"
    );
    desk.coord(&operator, &["approvals", "list"])
        .exits(0)
        .says(&[&id, "approved-a", line]);
    desk.coord(&desk.a, &["approvals", "show", &id])
        .exits(0)
        .says(&["open"]);

    // Whoever asked cannot approve, whatever its token may do.
    desk.coord(&desk.a, &["approvals", "approve", &id]).exits(1);
    desk.coord(&operator, &["approvals", "approve", "A-0"])
        .exits(2);
    assert_eq!(asked(&desk.bash(&desk.a, line)), id);

    // Two deciders at once, both waiting for the row: one wins.
    let second = shared().mint_with(&[
        "--agent",
        "approved-o",
        "--type",
        "person",
        "--repo",
        "*",
        "--role",
        "operator",
    ]);
    let (mut holder, input) = holding(&id);
    let deciders = [(&operator, "approve"), (&second, "approve")].map(|(token, what)| {
        desk.program(COORD, token)
            .args(["approvals", what, &id, "--note", "for 1.0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    // One waits for the row, the other behind it.
    sessions(
        "2",
        "wait_event_type = 'Lock' and query ~ 'decide_approval'",
    );
    drop(input);
    holder.wait().unwrap();
    let mut codes = deciders.map(|it| it.wait_with_output().unwrap().status.code().unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 1]);

    // Not for another command, place or agent.
    assert_ne!(asked(&desk.bash(&desk.a, "npm publish --tag next")), id);
    let mut elsewhere = desk.event("Bash", &json!({"command": line}));
    elsewhere["cwd"] = json!(desk.file("src"));
    assert_ne!(asked(&desk.hook(&desk.a, &elsewhere)), id);
    assert_ne!(asked(&desk.bash(&desk.b, line)), id);
    // A dry run does not use it up.
    desk.coord(&desk.a, &["guard", "check", "--dry-run", line])
        .exits(1);

    assert_eq!(desk.bash(&desk.a, line), Value::Null, "it passes");
    desk.coord(&desk.a, &["approvals", "show", &id])
        .exits(0)
        .says(&["used"]);
    let next = asked(&desk.bash(&desk.a, line));
    assert_ne!(next, id, "once");

    // Rejected and expired ones open nothing.
    desk.coord(&operator, &["approvals", "reject", &next, "--note", "no"])
        .exits(0)
        .says(&["rejected"]);
    let last = asked(&desk.bash(&desk.a, line));
    assert_ne!(last, next);
    desk.coord(&operator, &["approvals", "approve", &last])
        .exits(0);
    shared().psql(&format!(
        "set session_replication_role = replica; update coord.approvals set expires_at = clock_timestamp() - interval '1 second' where 'A-' || number = '{last}'"
    ));
    assert_ne!(asked(&desk.bash(&desk.a, line)), last);
    let audited = shared().psql("select string_agg(outcome, ' ' order by id) from coord_v1.audit where agent = 'approved-a' and function = 'request_approval'");
    assert_eq!(
        audited, "open open open used open open open",
        "each change once"
    );
}

#[test]
fn no_variable_or_argument_opens_a_door() {
    let desk = Desk::new("doors");
    let mut hook = desk.program(COORD, &desk.a);
    for name in [
        "COORD_SKIP",
        "COORD_FORCE",
        "COORD_APPROVED",
        "COORD_DISABLE",
    ] {
        hook.env(name, "1");
    }
    let mut event = desk.event("Bash", &json!({"command": "git push --force", "approved": true, "dangerouslyDisableSandbox": true}));
    event["permission_mode"] = json!("bypassPermissions");
    event["coord_canary"] = json!(true);
    event["approval"] = json!("A-1");
    denied(&answer(
        hook.args(["hook", "claude-code"]),
        event.to_string().as_bytes(),
    ));
    denied(&desk.bash(&desk.a, "COORD_APPROVED=1 git push --force"));
}

/// The repository's own profiles say which clients go on when the coordinator is down.
#[test]
fn profiles_say_what_install_writes() {
    let stack = support::Stack::start();
    let agents = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents");
    let apply = stack
        .coord()
        .arg("apply")
        .arg(agents)
        .arg("--yes")
        .output()
        .unwrap();
    assert!(apply.status.success(), "{}", told(&apply));
    let desk = Desk::new("profiles");
    for (kind, word) in [
        ("claude-code-cli", "allow"),
        ("claude-web-implementer", "deny"),
        ("codex-cloud-worker", "deny"),
    ] {
        let token = stack.mint(&format!("p-{kind}"), kind, &desk.repo);
        let mut install = desk.program(COORD, &token);
        let install = install
            .env("COORD_URL", &stack.url)
            .args(["hook", "install", "claude-code"]);
        Ran(install.output().unwrap()).exits(0);
        assert!(
            desk.text(".claude/settings.json")
                .contains(&format!("--when-down {word}")),
            "{kind}"
        );
    }
}
