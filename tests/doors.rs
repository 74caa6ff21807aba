//! One session through every door, and a function that every door shows as soon as SQL has it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use support::{COORD, clean, clients, coord, eventually, script, shared, told};

/// Who comes through the doors.
struct Caller {
    token: String,
    repo: String,
    session: String,
}

impl Caller {
    fn new(name: &str) -> Self {
        let repo = format!("git.example/doors/{name}");
        Self {
            token: shared().mint(name, "test-client", &repo),
            repo,
            session: format!("{name}-session"),
        }
    }

    fn coord(&self) -> Command {
        let mut command = coord();
        command.env("COORD_URL", &shared().url);
        command.env("COORD_TOKEN", &self.token);
        command.env("COORD_REPO", &self.repo);
        command.env("COORD_SESSION_ID", &self.session);
        command.env("COORD_CACHE_DIR", shared().home.join("cache-of-tests"));
        command.env_remove("CLAUDE_CODE_SESSION_ID");
        command
    }

    /// Runs a command that answers with JSON, whether it was refused or not.
    fn json(mut command: Command) -> Value {
        let output = command.stdin(Stdio::null()).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{command:?}: {}", told(&output)))
    }

    fn curl(&self, function: &str, args: &Value) -> Value {
        let mut curl = clean("curl");
        curl.args(["-sS", "--noproxy", "*", "-X", "POST"]);
        curl.arg(format!("{}/rpc/{function}", shared().url));
        for header in [
            format!("Authorization: Bearer {}", self.token),
            format!("X-Session-Id: {}", self.session),
            "Content-Type: application/json".to_owned(),
        ] {
            curl.args(["-H", &header]);
        }
        curl.args(["-d", &args.to_string()]);
        Self::json(curl)
    }

    fn call(&self, function: &str, args: &Value) -> Value {
        let mut command = self.coord();
        command.args(["call", "--json", function, "--args-json", &args.to_string()]);
        Self::json(command)
    }

    /// The hand-made face of the three functions that are walked through here.
    fn lock(&self, function: &str, args: &Value) -> Value {
        let mut command = self.coord();
        command.args(["lock", "--json"]);
        command.arg(match function {
            "acquire_lock" => "acquire",
            "release_lock" => "release",
            "check_locks" => "list",
            other => panic!("{other}"),
        });
        let paths = args["paths"].as_array().unwrap();
        command.args(paths.iter().map(|path| path.as_str().unwrap()));
        Self::json(command)
    }
}

/// An MCP client as a process, driven by lines of JSON.
struct Mcp {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Mcp {
    fn over_stdio(caller: &Caller, era: &str) -> Self {
        Self::start(caller, era, &[COORD, "mcp", "--refresh", "1"])
    }

    fn over_http(caller: &Caller, era: &str, url: &str) -> Self {
        Self::start(caller, era, &["--url", url])
    }

    fn start(caller: &Caller, era: &str, server: &[&str]) -> Self {
        let mut command = clean(clients().join("python/bin/python"));
        command.arg(script("session.py")).arg(era).args(server);
        for (name, value) in caller.coord().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, line: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{line}: {answer:?}"))
    }

    fn call(&mut self, function: &str, args: &Value) -> Value {
        let answer = self.ask(&json!({"tool": function, "arguments": args}));
        assert_eq!(answer["is_error"], false, "{answer}");
        serde_json::from_str(answer["text"].as_str().unwrap()).unwrap()
    }

    fn tools(&mut self) -> Vec<String> {
        serde_json::from_value(self.ask(&json!({"list": true}))["tools"].take()).unwrap()
    }

    fn leave(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The bridge over HTTP; it has no token of its own.
struct Bridge {
    child: Child,
    url: String,
}

impl Bridge {
    fn start() -> Self {
        let mut command = coord();
        command.env("COORD_URL", &shared().url);
        command.args(["mcp", "--refresh", "1", "--http", "127.0.0.1:0"]);
        command.env("COORD_CACHE_DIR", shared().home.join("cache-of-bridge"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        let url = line.split_whitespace().last().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Self { child, url }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Door<'a> = (&'static str, Box<dyn FnMut(&str, &Value) -> Value + 'a>);

fn doors<'a>(caller: &'a Caller, clients: &'a mut [(&'static str, Mcp)]) -> Vec<Door<'a>> {
    let mut doors: Vec<Door> = vec![
        (
            "curl",
            Box::new(|function, args| caller.curl(function, args)),
        ),
        (
            "coord lock",
            Box::new(|function, args| caller.lock(function, args)),
        ),
        (
            "coord call",
            Box::new(|function, args| caller.call(function, args)),
        ),
    ];
    for (name, client) in clients {
        doors.push((name, Box::new(|function, args| client.call(function, args))));
    }
    doors
}

fn mcp_clients(caller: &Caller, bridge: &Bridge) -> Vec<(&'static str, Mcp)> {
    vec![
        ("MCP over stdio, legacy", Mcp::over_stdio(caller, "legacy")),
        ("MCP over stdio", Mcp::over_stdio(caller, "auto")),
        (
            "MCP over HTTP, legacy",
            Mcp::over_http(caller, "legacy", &bridge.url),
        ),
        ("MCP over HTTP", Mcp::over_http(caller, "auto", &bridge.url)),
    ]
}

/// Taken at any door, a lock is the same session's own at every other one, which may release it.
#[test]
fn one_session_is_one_holder_at_every_door() {
    let bridge = Bridge::start();
    let caller = Caller::new("walker");
    let mut clients = mcp_clients(&caller, &bridge);
    let mut doors = doors(&caller, &mut clients);
    let stranger = Caller {
        session: "another-session".to_owned(),
        ..Caller::new("walker")
    };
    for at in 0..doors.len() {
        let path = format!("src/door-{at}.rs");
        let args = json!({"repo": caller.repo, "paths": [path]});
        let first = doors[at].0;
        let taken = (doors[at].1)("acquire_lock", &args);
        assert_eq!(taken["outcome"], "acquired", "{first}: {taken}");
        let fence = &taken["locks"][0]["fence"];
        for (name, door) in &mut doors {
            let seen = door("check_locks", &args);
            assert_eq!(seen["total"], 1, "{first}, then {name}: {seen}");
            let lock = &seen["locks"][0];
            assert_eq!(
                (&lock["path"], &lock["fence"]),
                (&json!(path), fence),
                "{name}"
            );
            assert_eq!(lock["holder"], "walker", "{name}: {lock}");
            assert_eq!(
                lock["session_id"],
                caller.session.as_str(),
                "{name}: {lock}"
            );
            let again = door("acquire_lock", &args);
            assert_eq!(again["outcome"], "renewed", "{first}, then {name}: {again}");
            assert_eq!(&again["locks"][0]["fence"], fence, "{name}");
        }
        let held = stranger.curl("acquire_lock", &args);
        assert_eq!(held["outcome"], "held", "{first}: {held}");
        assert_eq!(held["blockers"][0]["session_id"], caller.session.as_str());

        let next = (at + 1) % doors.len();
        let (second, door) = &mut doors[next];
        let released = door("release_lock", &args);
        assert_eq!(
            released["outcome"], "released",
            "{first}, then {second}: {released}"
        );
        assert_eq!(&released["released"][0]["fence"], fence, "{second}");
        let seen = (doors[at].1)("check_locks", &args);
        assert_eq!(
            seen["total"], 0,
            "{first}, released at {}: {seen}",
            doors[next].0
        );
    }
}

/// The inspector speaks for itself, in both eras; a client over HTTP that names its session keeps it when it goes.
#[test]
fn the_inspector_finds_the_lock_of_the_session_too() {
    let bridge = Bridge::start();
    let caller = Caller::new("inspected");
    let node = clients().join("node/node_modules/.bin");
    let args = json!({"repo": caller.repo, "paths": ["src/inspected.rs"]});
    let taken = caller.curl("acquire_lock", &args);
    assert_eq!(taken["outcome"], "acquired", "{taken}");
    let path = std::env::var("PATH").unwrap();
    let inspect = |era: &str, args: &[&str]| {
        let mut inspector = clean(node.join("mcp-inspector"));
        inspector.env("PATH", format!("{}:{path}", node.display()));
        inspector.args(["--cli", "--protocol-era", era, "--format", "json"]);
        inspector.args(["--transport", "http", "--server-url", &bridge.url]);
        inspector.args([
            "--header",
            &format!("Authorization: Bearer {}", caller.token),
        ]);
        inspector.args(["--header", &format!("X-Session-Id: {}", caller.session)]);
        let output = inspector.args(args).output().unwrap();
        assert!(output.status.success(), "{era} {args:?}: {}", told(&output));
        told(&output)
    };
    let repo = format!("repo={}", caller.repo);
    let paths = r#"paths=["src/inspected.rs"]"#;
    for era in ["legacy", "modern"] {
        let listed = inspect(era, &["--strict", "--method", "tools/list"]);
        assert!(listed.contains("acquire_lock"), "{era}: {listed}");
        let call = [
            "--method",
            "tools/call",
            "--tool-name",
            "acquire_lock",
            "--tool-arg",
        ];
        let again = inspect(era, &[&call[..], &[&repo, "--tool-arg", paths]].concat());
        assert!(again.contains("renewed"), "{era}: {again}");
        let seen = caller.curl("check_locks", &args);
        let fences = [&seen, &taken].map(|answer| &answer["locks"][0]["fence"]);
        assert_eq!(fences[0], fences[1], "{era}: {seen}");
    }
}

/// The end of its input is the end of a client's session, whoever else speaks under its name.
#[test]
fn a_client_over_stdio_takes_its_locks_along() {
    let caller = Caller::new("leaver");
    let args = json!({"repo": caller.repo, "paths": ["src/left.rs"]});
    let mut client = Mcp::over_stdio(&caller, "auto");
    assert_eq!(client.call("acquire_lock", &args)["outcome"], "acquired");
    assert_eq!(caller.curl("check_locks", &args)["total"], 1);
    client.leave();
    assert_eq!(caller.curl("check_locks", &args)["total"], 0);
}

/// SQL alone makes a function an endpoint, a tool and a command, in what already runs.
#[test]
fn a_new_function_is_at_every_door() {
    let bridge = Bridge::start();
    let caller = Caller::new("novelty");
    let mut clients = mcp_clients(&caller, &bridge);
    for (name, client) in &mut clients {
        let tools = client.tools();
        assert!(tools.contains(&"acquire_lock".to_owned()), "{name}");
        assert!(!tools.contains(&"count_words".to_owned()), "{name}");
    }
    let args = json!({"sentence": "one two three", "at_least": 2});
    assert_eq!(caller.curl("count_words", &args)["code"], "PGRST202");

    // As the migrations do it, from a file.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), NEW_FUNCTION).unwrap();
    let output = clean("psql")
        .args([
            "-Xq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "coord",
            "-h",
        ])
        .arg(&shared().socket)
        .arg("-f")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));

    let right = |answer: &Value| answer["outcome"] == "counted" && answer["words"] == 3;
    eventually("an endpoint", || right(&caller.curl("count_words", &args)));
    assert!(right(&caller.call("count_words", &args)));
    // Its own flags, its help and its limits.
    let coord = |words: &[&str]| caller.coord().args(["call"]).args(words).output().unwrap();
    let typed = coord(&[
        "--json",
        "count_words",
        "--sentence",
        "one two three",
        "--at-least",
        "2",
    ]);
    let counted = serde_json::from_slice::<Value>(&typed.stdout);
    assert!(counted.is_ok_and(|it| right(&it)), "{}", told(&typed));
    let help = told(&coord(&["count_words", "--help"]));
    for words in [
        "Count the words of a sentence.",
        "--sentence",
        "--at-least",
        "What to count in.",
        "9",
    ] {
        assert!(help.contains(words), "{words}: {help}");
    }
    let too_many = coord(&["count_words", "--sentence", "a", "--at-least", "10"]);
    assert_eq!(too_many.status.code(), Some(2), "{}", told(&too_many));
    assert!(told(&coord(&[])).contains("count_words"));
    let few = coord(&[
        "--json",
        "count_words",
        "--sentence",
        "a",
        "--at-least",
        "2",
    ]);
    assert_eq!(
        few.status.code(),
        Some(1),
        "a refusing outcome: {}",
        told(&few)
    );

    for (name, client) in &mut clients {
        eventually(name, || client.tools().contains(&"count_words".to_owned()));
        assert!(right(&client.call("count_words", &args)), "{name}");
    }
    // Without a grant it is nobody's, at every door.
    shared().psql("revoke execute on function coord_v1.count_words from coord_agent; notify pgrst, 'reload schema'");
    assert_eq!(caller.curl("count_words", &args)["code"], "42501");
    for (name, client) in &mut clients {
        eventually(name, || !client.tools().contains(&"count_words".to_owned()));
    }
    assert!(!told(&coord(&[])).contains("count_words"));
}

const NEW_FUNCTION: &str = "
set role coord_owner;

create domain coord_v1.sentence as text;
comment on domain coord_v1.sentence is $$What to count in.
@schema {\"maxLength\": 200}$$;
create domain coord_v1.at_least as integer;
comment on domain coord_v1.at_least is $$How many there must be.
@schema {\"minimum\": 1, \"maximum\": 9}$$;

create function coord_v1.count_words(sentence coord_v1.sentence, at_least coord_v1.at_least default 1) returns jsonb
language sql stable
return jsonb_build_object(
  'ok', cardinality(string_to_array(sentence, ' ')) >= at_least,
  'outcome', case when cardinality(string_to_array(sentence, ' ')) >= at_least then 'counted' else 'too_few' end,
  'words', cardinality(string_to_array(sentence, ' ')));
comment on function coord_v1.count_words is $$Count the words of a sentence.
Outcomes: counted, too_few.
@toolset core$$;

grant usage on type coord_v1.sentence, coord_v1.at_least to coord_agent;
grant execute on function coord_v1.count_words to coord_agent;

reset role;
notify pgrst, 'reload schema';
";
