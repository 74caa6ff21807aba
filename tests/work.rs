//! The queue through every door: each sees what the others do. curl, the MCP bridge and
//! `coord` as processes of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use support::cli::{Agent, Ran, operator};
use support::mcp::{self, Client, text};
use support::{clean, coord, shared, told};

/// A call by curl: the status and the answer.
fn curl(agent: &Agent, session: &str, function: &str, args: &Value) -> (String, Value) {
    let output = clean("curl")
        .args(["-sS", "-X", "POST", "-w", "\n%{http_code}"])
        .args(["-H", &format!("Authorization: Bearer {}", agent.token)])
        .args([
            "-H",
            "Content-Type: application/json",
            "-H",
            "Content-Profile: coord_v1",
        ])
        .args(["-H", &format!("X-Session-Id: {session}")])
        .args(["-d", &args.to_string()])
        .arg(format!("{}/rpc/{function}", shared().url))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap())
}

fn bridge(agent: &Agent) -> Client {
    let mut command = mcp::bridge(shared());
    command
        .env("COORD_TOKEN", &agent.token)
        .env("COORD_REPO", &agent.repo);
    Client::connect(&mut command)
}

fn call(client: &mut Client, tool: &str, args: &Value) -> Value {
    let result = client.call(tool, args);
    assert_eq!(result["isError"], json!(false), "{result}");
    serde_json::from_str(text(&result)).unwrap()
}

#[test]
#[allow(clippy::too_many_lines)] // It is one story.
fn each_door_sees_what_the_others_do() {
    let [ann, bob, carl] =
        ["work-ann", "work-bob", "work-carl"].map(|name| Agent::new(name, "story"));

    // Submitted by curl, the second task to be done by somebody else than the first.
    let (status, first) = curl(
        &ann,
        "http",
        "submit_work",
        &json!({"title": "Write the parser", "paths": ["src/parse/"], "input": {"dialect": "sql"}}),
    );
    assert_eq!(
        (status.as_str(), &first["outcome"]),
        ("200", &json!("submitted")),
        "{first}"
    );
    let parser = first["task"].as_str().unwrap();
    let requires = json!({"not_agents": ["@dependencies"]});
    let (_, second) = curl(
        &ann,
        "http",
        "submit_work",
        &json!({"title": "Review the parser", "task_type": "review", "depends_on": [parser], "requires": requires}),
    );
    assert_eq!(second["blocked"], true, "{second}");
    let review = second["task"].as_str().unwrap();

    // Claimed by MCP, with its lock.
    let mut client = bridge(&bob);
    let claimed = call(&mut client, "get_work", &json!({}));
    let task = &claimed["tasks"][0];
    assert_eq!(
        (&task["id"], &task["input"]["dialect"]),
        (&json!(parser), &json!("sql")),
        "{claimed}"
    );
    assert_eq!(task["locks"][0]["path"], "src/parse/", "{claimed}");

    // The command line sees it held: nothing to claim, the lock with its reason, who is here.
    carl.run(&["work", "claim"])
        .exits(1)
        .says(&["none: 1 waiting for other tasks"]);
    let reason = format!("{parser} Write the parser");
    carl.run(&["lock", "acquire", "src/parse/a.rs"])
        .exits(1)
        .says(&["work-bob holds src/parse/", &reason]);
    carl.run(&["work", "list"])
        .exits(0)
        .says(&[parser, "claimed", "work-bob", review, "blocked"]);
    carl.run(&["work", "show", parser]).exits(0).says(&[
        "Write the parser",
        "claimed by work-bob",
        "src/parse/",
        review,
    ]);
    carl.run(&["agents", "--active"])
        .exits(0)
        .says(&["work-bob", parser, "active"]);
    let listed = operator(&["agents", "--json"]).exits(0).json();
    let listed = listed.as_array().unwrap();
    let here = listed.iter().find(|it| it["name"] == "work-bob").unwrap();
    assert_eq!(here["sessions"][0]["tasks"], json!([parser]), "{here}");
    carl.run(&["work", "done", parser])
        .exits(1)
        .says(&["not_yours", "work-bob has attempt 1"]);

    // Completed by MCP; the author may not review.
    let attempt = &task["attempt"];
    let result = json!({"commit": "abc123"});
    let args = json!({"task": parser, "success": true, "attempt": attempt, "result": result});
    let done = call(&mut client, "complete_work", &args);
    assert_eq!(
        (&done["outcome"], &done["unblocked"]),
        (&json!("completed"), &json!([review]))
    );
    assert_eq!(done["released"], json!(["src/parse/"]));
    let again = call(&mut client, "complete_work", &args);
    assert_eq!(again["outcome"], "already_done");
    let none = call(&mut client, "get_work", &json!({}));
    assert_eq!(
        none["reasons"]["lacking"],
        json!(["another agent than work-bob"]),
        "{none}"
    );
    client.leave();
    carl.run(&["lock", "acquire", "src/parse/a.rs"]).exits(0);

    // Claimed by curl, with what the first came to; completed by the command line in that session.
    let (_, claimed) = curl(&ann, "http", "get_work", &json!({}));
    let task = &claimed["tasks"][0];
    assert_eq!(task["id"], review, "{claimed}");
    let came = json!([{"task": parser, "title": "Write the parser", "state": "completed", "result": result}]);
    assert_eq!(task["dependencies"], came);
    ann.run(&["work", "done", review])
        .exits(1)
        .says(&["not_yours"]);
    let session = ["--session", "http"];
    let done = [
        "work",
        "done",
        review,
        "--attempt",
        "1",
        "--result",
        "looks good",
    ];
    Ran::of(ann.coord().args(done).args(session))
        .exits(0)
        .says(&["completed"]);
    Ran::of(ann.coord().args(done).args(session))
        .exits(0)
        .says(&["already_done"]);
    let (_, seen) = curl(&bob, "any", "get_task", &json!({"task": review}));
    assert_eq!(
        (&seen["state"], &seen["result"]),
        (&json!("completed"), &json!("looks good"))
    );
    carl.run(&["work", "graph", review]).exits(0).says(&[
        "completed by work-bob  Write the parser",
        "└─ ",
        "completed by work-ann  Review",
    ]);
    let listed = carl
        .run(&["work", "list", "--state", "completed", "--json"])
        .exits(0)
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[test]
#[allow(clippy::too_many_lines)] // And so is this.
fn the_command_line_alone() {
    let [ann, bob] = ["work-dora", "work-emil"].map(|name| Agent::new(name, "alone"));
    let submit = |args: &[&str]| {
        let answer = ann
            .run(&[&["work", "submit", "--json"], args].concat())
            .exits(0)
            .json();
        answer["task"].as_str().unwrap().to_owned()
    };
    let first = submit(&[
        "Say \u{1b}[2J it",
        "--description",
        "at\nlength",
        "--input",
        r#"{"a": [1]}"#,
        "--priority",
        "1",
        "--path",
        "a.rs",
        "--key",
        "k",
        "--max-attempts",
        "2",
        "--deadline",
        "2h",
        "--min-trust",
        "2",
        "--for-type",
        "test-client",
    ]);
    ann.run(&["work", "submit", "Again", "--key", "k"])
        .exits(0)
        .says(&["duplicate", &first]);
    let gpu = submit(&["On a GPU", "--type", "train", "--needs", "gpu"]);
    let second = submit(&[
        "After it",
        "--after",
        &first,
        "--on-dependency-failure",
        "wait",
    ]);

    // What one claims is all there to be read, and harmless.
    let ran = bob.run(&["work", "claim", "--type", "task"]).exits(0);
    assert!(!ran.out().contains('\u{1b}'), "{}", ran.out());
    let next = format!("coord work done {first} --attempt 1");
    ran.says(&["attempt 1", "lease 15m", "  at\n  length\n", "a.rs", &next]);
    bob.run(&["work", "claim", "--type", "train"])
        .exits(1)
        .says(&["others need capability gpu"]);

    // Failed, put aside, failed again, dead; each as it was asked for.
    let failed = ["work", "fail", &first, "--error", "no luck"];
    bob.run(&failed)
        .exits(0)
        .says(&["retrying", "1 of 2 attempts failed", "released a.rs"]);
    ann.run(&["work", "list"]).exits(0).says(&["later", "in "]);
    bob.run(&["work", "claim", "--type", "task"])
        .exits(1)
        .says(&["put aside"]);
    let shown = ann.run(&["work", "show", &first]).exits(0);
    shown.says(&[
        "blocked",
        "no luck",
        "1 failed of 2",
        &second,
        "type test-client",
    ]);
    shared().psql(&format!(
        "set role coord_janitor; update coord.tasks set next_at = clock_timestamp() where 'T-' || number = '{first}'"
    ));
    let again = bob
        .run(&["work", "claim", "--type", "task", "--lease", "5m", "--json"])
        .exits(0)
        .json();
    assert_eq!(again["tasks"][0]["last_failure"]["error"], "no luck");
    bob.run(&[&failed[..], &["--attempt", "1"]].concat())
        .exits(1)
        .says(&["not_yours"]);
    bob.run(&failed)
        .exits(0)
        .says(&["dead", "2 of 2 attempts failed"]);
    ann.run(&["work", "list", "--all"])
        .exits(0)
        .says(&["dead", "attempts"]);

    // A new life; what waited for the old one waits for the new one.
    let retried = ann
        .run(&["work", "retry", &first, "--json"])
        .exits(0)
        .json();
    assert_eq!(retried["waiting"], json!([second]));
    let third = retried["task"].as_str().unwrap();
    ann.run(&["work", "graph"])
        .exits(0)
        .says(&[third, "└─ ", &second, &gpu]);
    for (format, word) in [("dot", "digraph"), ("svg", "<svg")] {
        let drawn = ann
            .run(&["work", "graph", third, "--format", format])
            .exits(0)
            .out();
        assert!(
            drawn.starts_with(word) && drawn.contains(third) && !drawn.contains('\u{1b}'),
            "{drawn}"
        );
    }

    // Given back is no failure.
    bob.run(&["work", "claim", "--type", "task"]).exits(0);
    bob.run(&[
        "work", "return", third, "--reason", "lunch", "--delay", "10m",
    ])
    .exits(0)
    .says(&["returned"]);
    ann.run(&["work", "show", third])
        .exits(0)
        .says(&["not before", "0 failed"]);
    ann.run(&["work", "cancel", third, "--reason", "not now"])
        .exits(0)
        .says(&["cancelled"]);
    ann.run(&["work", "list", "--mine", "--blocked"])
        .exits(0)
        .says(&[&second]);
    bob.run(&["work", "list", "--mine", "--state", "pending"])
        .exits(0)
        .says(&["no tasks"]);
}

#[test]
fn a_graph_comes_from_a_file_whole_or_not_at_all() {
    let ann = Agent::new("work-fay", "graph");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tasks.yaml");
    let submit = |text: &str| {
        std::fs::write(&file, text).unwrap();
        ann.run(&["work", "submit", "--graph", file.to_str().unwrap()])
    };
    let one = "- key: parse\n  title: Parse\n";
    submit(&format!(
        "{one}- key: ship\n  depends_on: [pasre]\n  title: Ship\n"
    ))
    .exits(2)
    .says(&["tasks.yaml:3:3: dependency_unknown", "'pasre' is no key"]);
    submit(&format!("{one}- key: ship\n"))
        .exits(2)
        .says(&["tasks.yaml:3:3: argument_required"]);
    submit("- key: a\n  title: A\n  depends_on: [b]\n- key: b\n  title: B\n  depends_on: [a]\n")
        .exits(2)
        .says(&["dependency_cycle", "a needs b needs a"]);
    submit(&format!("{one}  depend_on: [a]\n")).exits(2).says(&[
        "tasks.yaml:3:3: argument_invalid: depend_on: no such key; did you mean depends_on?",
    ]);
    submit("- key: a\n\ttitle: A\n")
        .exits(2)
        .says(&["tasks.yaml:2:1: a tab"]);
    submit("title: A\n").exits(2).says(&["list of tasks"]);
    ann.run(&["work", "list"]).exits(0).says(&["no tasks"]);

    submit(&format!(
        "{one}- key: ship\n  title: Ship\n  depends_on: [parse]\n"
    ))
    .exits(0)
    .says(&["submitted", "parse", "ship"]);
    let mut child = ann.coord();
    child.args(["work", "submit", "--graph", "-", "--json"]);
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let tasks = br#"{"tasks": [{"key": "x", "title": "X"}]}"#;
    child.stdin.take().unwrap().write_all(tasks).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", told(&done));
    ann.run(&["work", "graph"])
        .exits(0)
        .says(&["pending  Parse\n└─ "]);
}

#[test]
fn wrong_input_is_told_and_exit_codes_say_how_it_ended() {
    let [ann, bob] = ["work-gus", "work-hal"].map(|name| Agent::new(name, "wrong"));
    for (args, word) in [
        (vec!["submit"], "TITLE"),
        (vec!["submit", ""], "argument_required"),
        (vec!["submit", "x", "--input", "{a"], "this is no JSON"),
        (
            vec!["submit", "x", "--input", "@/nowhere"],
            "cannot read /nowhere",
        ),
        (
            vec!["submit", "x", "--priority", "11"],
            "priority_out_of_range",
        ),
        (
            vec!["submit", "x", "--after", "T-999999999"],
            "dependency_unknown",
        ),
        (vec!["submit", "x", "--after", "x"], "task_invalid"),
        (vec!["submit", "x", "--deadline", "soon"], "3d from now"),
        (
            vec!["submit", "x", "--deadline", "2020-01-01T00:00:00Z"],
            "deadline_passed",
        ),
        (
            vec!["submit", "x", "--on-dependency-failure", "cry"],
            "ignore",
        ),
        (vec!["submit", "x", "--graph", "f"], "--graph"),
        (vec!["list", "--state", "open"], "pending"),
        (vec!["show", "T-999999999"], "task_not_found"),
        (vec!["show", "x"], "task_invalid"),
        (vec!["claim", "--max", "11"], "max_tasks_out_of_range"),
        (vec!["claim", "--lease", "5"], "lease_out_of_range"),
        (vec!["claim", "--wait", "2h"], "wait_out_of_range"),
        (vec!["fail", "T-1"], "--error"),
        (vec!["graph", "T-999999999"], "task_not_found"),
        (vec!["graph", "--max", "0"], "argument_invalid"),
        (vec!["clam"], "'claim'"),
    ] {
        bob.run(&[vec!["work"], args].concat())
            .exits(2)
            .says(&[word]);
    }
    // 1: refused, by an outcome, a denial or a state.
    let task = ann
        .run(&["work", "submit", "Mine", "--json"])
        .exits(0)
        .json();
    let task = task["task"].as_str().unwrap();
    bob.run(&["work", "cancel", task])
        .exits(1)
        .says(&["denied", "insufficient_trust_level"]);
    ann.run(&["work", "retry", task])
        .exits(1)
        .says(&["task_not_failed"]);
    bob.run(&["work", "done", task])
        .exits(1)
        .says(&["not_yours", "pending"]);
    bob.run(&["work", "submit", "x", "--repo", "git.example/cli/other"])
        .exits(1)
        .says(&["repo_not_granted"]);
    bob.run(&["work", "list", "--repo", "git.example/cli/other"])
        .exits(1);
    let auditor = shared().mint_with(&[
        "--agent",
        "work-auditor",
        "--type",
        "person",
        "--role",
        "auditor",
        "--repo",
        "*",
    ]);
    let as_auditor = |args: &[&str]| {
        let mut command = ann.coord();
        Ran::of(command.env("COORD_TOKEN", &auditor).args(args))
    };
    as_auditor(&["work", "list"]).exits(0).says(&[task]);
    as_auditor(&["work", "claim"]).exits(1);
    // 3: nobody there.
    let url = ["--url", "http://127.0.0.1:9"];
    Ran::of(coord().args(["work", "claim"]).args(url)).exits(3);
    Ran::of(coord().args(["top", "--once"]).args(url))
        .exits(3)
        .says(&["127.0.0.1:9"]);
}

#[test]
fn who_runs_against_a_wall_is_told_to_stop_and_seen() {
    let [ann, bob] = ["work-ida", "work-jim"].map(|name| Agent::new(name, "wall"));
    Ran::of(ann.coord().args(["lock", "acquire", "x", "--session", "s"])).exits(0);
    let mut client = bridge(&bob);
    let mut last = Value::Null;
    for time in 1..=5 {
        last = call(&mut client, "acquire_lock", &json!({"paths": ["x"]}));
        assert_eq!(last["outcome"], "held");
        assert_eq!(last.get("repeated").is_some(), time == 5, "{last}");
    }
    let next = last["next"].as_str().unwrap();
    assert!(
        next.starts_with("Stop: this same call was refused 5 times"),
        "{next}"
    );
    assert!(next.contains("work-ida holds x"), "{next}");

    let seen = operator(&["top", "--json"]).exits(0).json();
    let breakers = seen["breakers"].as_array().unwrap();
    assert!(
        breakers
            .iter()
            .any(|it| it["agent"] == "work-jim" && it["times"] == 5),
        "{seen}"
    );
    assert!(
        seen["locks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["holder"] == "work-ida")
    );
    operator(&["top", "--once"]).exits(0).says(&[
        "Agents", "Locks", "Queue", "Waiting", "Refusals", "work-jim", "5x",
    ]);
    // What is no terminal gets text as well; an agent sees its own.
    let own = bob.run(&["top"]).exits(0);
    own.says(&["acquire_lock", "5x"]);

    // An error leaves no trace in the database; it is counted all the same.
    for time in 1..=5 {
        let ran = bob.run(&["lock", "acquire", "y", "--ttl", "1", "--session", "s"]);
        let said = ran.exits(2).err();
        assert_eq!(said.contains("Stop: this same call"), time == 5, "{said}");
    }
    bob.run(&["top"]).exits(0).says(&["ttl_out_of_range"]);
    client.leave();
}

#[test]
fn handoffs_are_written_and_read() {
    let [ann, bob] = ["work-kim", "work-leo"].map(|name| Agent::new(name, "handoffs"));
    bob.run(&["handoff", "read"])
        .exits(0)
        .says(&["no handoffs"]);
    let mut write = ann.coord();
    write.args([
        "handoff",
        "write",
        "--summary",
        "half \u{1b}[2J done",
        "--done",
        "the parser",
        "--doing",
        "the printer",
        "--decision",
        "no regexes",
        "--next",
        "print",
        "--next",
        "ship",
        "--file",
        "src/print.rs",
    ]);
    Ran::of(&mut write).exits(0).says(&["written", &ann.repo]);
    let ran = bob.run(&["handoff", "read", "work-kim"]).exits(0);
    assert!(!ran.out().contains('\u{1b}'), "{}", ran.out());
    ran.says(&[
        "work-kim",
        "│ half",
        "- the parser",
        "- no regexes",
        "- print\n  - ship",
        "src/print.rs",
    ]);
    let read = bob
        .run(&["handoff", "read", "--max", "5", "--json"])
        .exits(0)
        .json();
    assert_eq!(read["handoffs"][0]["in_progress"], json!(["the printer"]));
    bob.run(&["handoff", "read", "work-leo"])
        .exits(0)
        .says(&["no handoffs"]);
    bob.run(&["handoff", "read", "--max", "51"])
        .exits(2)
        .says(&["argument_invalid"]);
    bob.run(&["handoff", "write", "--summary", " "])
        .exits(2)
        .says(&["argument_required"]);
}
