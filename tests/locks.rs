//! Locks through the real API: who gets one, who is told what, and that no two ever hold the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use support::agents::{
    Agent, Held, fence, holdings, never_two_holders, no_errors, now, refusals_tell_the_truth, work,
};
use support::{clean, eventually, shared, told};

#[tokio::test]
async fn one_gets_the_lock_and_the_other_is_told_who_has_it() {
    let (a, b) = (
        Agent::new("first-a", "first"),
        Agent::new("first-b", "first"),
    );
    let args = json!({"paths": ["src/a.rs"], "ttl_seconds": 600, "reason": "renaming the widget"});
    let got = a.call("acquire_lock", args).await;
    assert_eq!(
        (&got["ok"], &got["outcome"]),
        (&json!(true), &json!("acquired"))
    );
    let lock = &got["locks"][0];
    assert_eq!(
        (&lock["path"], &lock["mode"]),
        (&json!("src/a.rs"), &json!("exclusive"))
    );
    assert!(
        (590..=600).contains(&lock["seconds_left"].as_i64().unwrap()),
        "{lock}"
    );

    let held = b.acquire("src/a.rs").await;
    assert_eq!(
        (&held["ok"], &held["outcome"]),
        (&json!(false), &json!("held"))
    );
    assert_eq!(held["blockers"].as_array().unwrap().len(), 1);
    let blocker = &held["blockers"][0];
    for (name, value) in [
        ("path", "src/a.rs"),
        ("held_path", "src/a.rs"),
        ("holder", "first-a"),
        ("agent_type", "test-client"),
        ("reason", "renaming the widget"),
    ] {
        assert_eq!(blocker[name], value, "{blocker}");
    }
    assert!(
        (1..=600).contains(&blocker["seconds_left"].as_i64().unwrap()),
        "{blocker}"
    );
    assert!(!blocker["session_id"].as_str().unwrap().is_empty());
    assert!(held["next"].as_str().unwrap().contains("first-a"), "{held}");
    // A second session of the holder is somebody else as well.
    let elsewhere = a.in_session("elsewhere").acquire("src/a.rs").await;
    assert_eq!(elsewhere["outcome"], "held");
    // Being refused releases nothing of others.
    assert_eq!(b.release().await["outcome"], "released");
    assert_eq!(a.acquire("src/a.rs").await["outcome"], "renewed");

    let released = a.release().await;
    assert_eq!(released["released"][0]["fence"], got["locks"][0]["fence"]);
    let next = b.acquire("src/a.rs").await;
    assert_eq!(next["outcome"], "acquired");
    assert!(fence(&next) > fence(&got), "{next}");
}

#[tokio::test]
async fn every_spelling_is_one_lock_and_another_repo_is_free() {
    let (a, b) = (
        Agent::new("spell-a", "spelling"),
        Agent::new("spell-b", "spelling"),
    );
    let spellings = [
        "src/a.rs",
        "./src//a.rs",
        "src/./a.rs",
        "src/b/../a.rs",
        ".//src/a.rs",
        "x/../src/a.rs",
        // Decomposed and composed.
        "src/e\u{301}.rs",
        "src/\u{e9}.rs",
    ];
    for (at, mine) in spellings.iter().enumerate() {
        let got = a.acquire(mine).await;
        assert_eq!(got["outcome"], "acquired", "{mine}: {got}");
        for (other, theirs) in spellings.iter().enumerate() {
            let same = (at < 6) == (other < 6);
            let answer = b.acquire(theirs).await;
            let wanted = if same { "held" } else { "acquired" };
            assert_eq!(answer["outcome"], wanted, "{mine} and {theirs}: {answer}");
            if same {
                assert_eq!(answer["blockers"][0]["holder"], "spell-a");
            } else {
                b.release().await;
            }
        }
        // Spelt in two ways in one call, it is one lock, and the session's own.
        let both = a
            .call(
                "acquire_lock",
                json!({"paths": [mine, format!("./{mine}")]}),
            )
            .await;
        assert_eq!(both["outcome"], "renewed", "{both}");
        assert_eq!(both["locks"].as_array().unwrap().len(), 1, "{both}");
        assert_eq!(fence(&both), fence(&got));
        a.release().await;
    }

    a.acquire("src/a.rs").await;
    let (inside, above, below) = ("src/", "./", "src/a.rs/");
    for overlapping in [inside, above] {
        let answer = b.acquire(overlapping).await;
        assert_eq!(answer["outcome"], "held", "{overlapping}: {answer}");
        assert_eq!(answer["blockers"][0]["held_path"], "src/a.rs");
    }
    for free in ["src/a.rsx", "src/a", "src.rs", "SRC/a.rs", below] {
        let answer = b.acquire(free).await;
        assert_eq!(answer["outcome"], "acquired", "{free}: {answer}");
    }
    let neighbour = Agent::new("spell-c", "spelling-too");
    assert_eq!(neighbour.acquire("src/a.rs").await["outcome"], "acquired");
    let remote = json!({"repo": "git@GIT.example:locks/spelling.git", "paths": ["src/a.rs"]});
    assert_eq!(b.call("acquire_lock", remote).await["outcome"], "held");
    let foreign = json!({"repo": "git.example/locks/spelling", "paths": ["src/z.rs"]});
    let (status, denied) = neighbour.ask("acquire_lock", foreign, None).await;
    assert_eq!(
        (status, &denied["code"]),
        (403, &json!("repo_not_granted")),
        "{denied}"
    );
}

/// Each is refused with its code, its status in the table of codes, and a remedy.
#[tokio::test]
async fn bad_input_is_refused_by_its_code_and_changes_nothing() {
    let agent = Agent::new("clumsy", "bad-input").in_session("clumsy");
    assert_eq!(agent.acquire("mine.rs").await["outcome"], "acquired");
    let codes = codes(&agent).await;
    let before = agent.traces();
    let paths = |paths: Value| json!({"paths": paths});
    let with = |name: &str, value: Value| json!({"paths": ["a.rs"], name: value});
    let many: Vec<String> = (0..65).map(|number| format!("src/{number}.rs")).collect();
    let long = "x".repeat(501);
    for (args, code) in [
        (paths(json!(["../x"])), "path_outside_repo"),
        (paths(json!(["a/../../x"])), "path_outside_repo"),
        (paths(json!([".."])), "path_outside_repo"),
        (paths(json!(["/x"])), "path_absolute"),
        (paths(json!(["C:\\x"])), "path_absolute"),
        (paths(json!([])), "paths_required"),
        (paths(Value::Null), "paths_required"),
        (paths(json!(many)), "too_many_paths"),
        (paths(json!([""])), "path_empty"),
        (paths(json!(["a.rs", null])), "path_empty"),
        (paths(json!(["a.rs", "b\nc.rs"])), "path_control_character"),
        (paths(json!(["a.rs "])), "path_trailing_blank"),
        (paths(json!(["y".repeat(1025)])), "path_too_long"),
        (paths(json!(["\u{e9}".repeat(513)])), "path_too_long"),
        (paths(json!(["nonsense:5432"])), "path_unknown_scheme"),
        (with("ttl_seconds", json!(29)), "ttl_out_of_range"),
        (with("ttl_seconds", json!(0)), "ttl_out_of_range"),
        (with("ttl_seconds", json!(-1)), "ttl_out_of_range"),
        (with("ttl_seconds", json!(28801)), "ttl_out_of_range"),
        (with("mode", json!("exclusiv")), "mode_unknown"),
        (with("reason", json!(long)), "argument_too_long"),
        (with("repo", json!("../x")), "repo_invalid"),
    ] {
        let (status, body) = agent.ask("acquire_lock", args.clone(), Some("bad")).await;
        assert_eq!(body["message"], code, "{args}: {status} {body}");
        assert_eq!(codes.get(code), Some(&status), "{code}: {body}");
        assert!((400..500).contains(&status), "{code}: {status}");
        for said in ["details", "hint"] {
            let text = body[said].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{code} without {said}: {body}");
        }
    }
    // What no code is for, PostgreSQL or PostgREST refuses.
    for (function, args) in [
        ("acquire_lock", with("ttl_seconds", json!("soon"))),
        (
            "acquire_lock",
            with("ttl_seconds", json!(99_999_999_999_i64)),
        ),
        ("acquire_lock", with("agent", json!("somebody"))),
        ("acquire_lock", paths(json!("a.rs"))),
        ("acquire_lock", paths(json!(["nul\u{0}.rs"]))),
        ("acquire_lock", json!({"path": ["a.rs"]})),
        ("acquire_locks", paths(json!(["a.rs"]))),
    ] {
        let (status, body) = agent.ask(function, args.clone(), None).await;
        assert!((400..500).contains(&status), "{args}: {status} {body}");
        assert!(body["message"].is_string(), "{args}: {body}");
    }
    assert_eq!(agent.traces(), before, "nothing else changed");
    assert_eq!(agent.call("check_locks", json!({})).await["total"], 1);
}

/// The table of codes, as the API shows it.
async fn codes(agent: &Agent) -> HashMap<String, u16> {
    #[derive(Deserialize)]
    struct Row {
        code: String,
        status: u16,
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/error_codes", shared().url);
    let request = http.get(url).bearer_auth(&agent.token);
    let text = request.send().await.unwrap().text().await.unwrap();
    let rows: Vec<Row> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    rows.into_iter().map(|row| (row.code, row.status)).collect()
}

// ------------------------------------------------------------ many processes

fn audited(repo: &str, outcome: &str) -> usize {
    let sql = format!(
        "select count(*) from coord_v1.audit where repo = '{repo}' and outcome = '{outcome}'"
    );
    shared().psql(&sql).parse().unwrap()
}

#[test]
fn sixteen_processes_never_hold_one_path_twice() {
    let agents: Vec<Agent> = (0..16)
        .map(|number| Agent::new(&format!("hammer-{number}"), "contention"))
        .collect();
    let settings = json!({"path": "src/hot.rs", "until": now() + 15.0});
    let histories = work("hammer", &agents, &settings, 1600);
    no_errors(&histories, &["acquired", "held", "released"]);

    let held: Vec<Held> = histories
        .iter()
        .enumerate()
        .flat_map(|(worker, history)| holdings(worker, history))
        .collect();
    assert!(held.iter().all(|it| it.released), "all is released");
    never_two_holders(&held);
    let refusals = refusals_tell_the_truth(&agents, &histories, &held);
    let winners: HashSet<usize> = held.iter().map(|it| it.owner).collect();
    println!(
        "{} locks by {} workers, {refusals} refusals",
        held.len(),
        winners.len()
    );
    assert!(winners.len() >= 2 && refusals >= 10, "they hardly met");
    // A1, and nothing that no worker knows of.
    let repo = &agents[0].repo;
    assert_eq!(audited(repo, "acquired"), held.len());
    assert_eq!(audited(repo, "released"), held.len());
}

const TREE: [&str; 12] = [
    "./",
    "src/",
    "src/a.rs",
    "src/b.rs",
    "src/deep/",
    "src/deep/c.rs",
    "src/deep/d.rs",
    "docs/",
    "docs/e.md",
    "docs/f.md",
    "README.md",
    "Cargo.toml",
];

#[test]
fn batches_in_any_order_never_deadlock() {
    let agents: Vec<Agent> = (0..10)
        .map(|number| Agent::new(&format!("batch-{number}"), "batches"))
        .collect();
    let settings = json!({"paths": TREE, "until": now() + 6.0});
    let histories = work("batches", &agents, &settings, 7000);
    no_errors(
        &histories,
        &["acquired", "renewed", "held", "released", "not_held"],
    );
    let held: Vec<Held> = histories
        .iter()
        .enumerate()
        .flat_map(|(worker, history)| holdings(worker, history))
        .collect();
    assert!(held.iter().all(|it| it.released), "all is released");
    never_two_holders(&held);
    let refusals = refusals_tell_the_truth(&agents, &histories, &held);
    println!("{} locks, {refusals} refusals", held.len());
    assert!(held.len() >= 10 && refusals >= 10, "they hardly met");
}

/// Calls of one session at once, as of an agent whose subagents share its session, and its end between them.
#[test]
fn parallel_calls_of_one_session_never_deadlock() {
    let agent = Agent::new("busy", "one-session").in_session("busy");
    let agents: Vec<Agent> = (0..8).map(|_| agent.clone()).collect();
    churn(&agents, &["acquire_lock", "release_lock"], 8000);
    churn(
        &agents,
        &["acquire_lock", "release_lock", "end_session"],
        8100,
    );
}

/// An agent may start with several calls at once. What can go wrong there takes microseconds, too
/// seldom to be met through HTTP in a short time, so here many connections open sessions directly.
#[test]
fn the_first_calls_of_a_session_may_come_together() {
    let agent = Agent::new("early", "arrivals");
    let script = tempfile::NamedTempFile::new().unwrap();
    // A new session every few milliseconds, the same one for all.
    let sql = format!(
        "set synchronous_commit = off;
         select coord.open_session('{}', floor(extract(epoch from clock_timestamp()) * 300)::text, 'test-client');",
        agent.name
    );
    std::fs::write(script.path(), sql).unwrap();
    let output = clean(shared().postgres_bin.join("pgbench"))
        .args([
            "-n", "-c", "8", "-j", "2", "-T", "4", "-U", "postgres", "-h",
        ])
        .arg(&shared().socket)
        .arg("-f")
        .arg(script.path())
        .arg("coord")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

/// An operator takes locks away while their holder renews them.
#[test]
fn breaking_locks_never_deadlocks() {
    let holder = Agent::new("broken", "breaking").in_session("broken");
    let operator = Agent {
        name: "operator".to_owned(),
        token: shared().operator.clone(),
        ..holder.clone()
    };
    let renewing = std::thread::spawn(move || churn(&vec![holder; 3], &["acquire_lock"], 9100));
    churn(&vec![operator; 3], &["force_release_lock"], 9200);
    renewing.join().unwrap();
}

fn churn(agents: &[Agent], functions: &[&str], seed: usize) {
    let paths: Vec<String> = (0..40).map(|number| format!("f{number}.rs")).collect();
    let settings = json!({"paths": paths, "functions": functions, "until": now() + 5.0});
    let histories = work("churn", agents, &settings, seed);
    let mut outcomes = vec!["acquired", "renewed", "released", "not_held"];
    if functions.contains(&"end_session") {
        outcomes.push("ended");
    }
    no_errors(&histories, &outcomes);
    let calls: usize = histories.iter().map(Vec::len).sum();
    assert!(calls >= 20, "they hardly met: {calls} calls");
}

#[test]
fn one_key_from_many_processes_at_once_is_one_call() {
    let agent = Agent::new("twin", "duplicates").in_session("twin");
    let agents: Vec<Agent> = (0..8).map(|_| agent.clone()).collect();
    let begin = now() + 1.0;
    let rounds: Vec<f64> = (0..10)
        .map(|round| begin + f64::from(round) * 0.3)
        .collect();
    let histories = work("duplicates", &agents, &json!({"rounds": rounds}), 1);
    no_errors(&histories, &["acquired"]);
    for round in 0..rounds.len() {
        let answers: Vec<&Map<String, Value>> = histories
            .iter()
            .map(|history| history[round].answer.as_object().unwrap())
            .collect();
        let fresh = answers
            .iter()
            .filter(|it| !it.contains_key("replayed"))
            .count();
        assert_eq!(fresh, 1, "round {round}: {answers:?}");
        for answer in &answers {
            let mut answer = (*answer).clone();
            assert_eq!(answer.remove("replayed").unwrap_or(json!(true)), true);
            let first = answers
                .iter()
                .find(|it| !it.contains_key("replayed"))
                .unwrap();
            assert_eq!(&answer, *first, "round {round}");
        }
        let rows = format!(
            "select count(*) from coord_v1.audit where agent = 'twin' and request_id = 'round-{round}'"
        );
        assert_eq!(shared().psql(&rows), "1", "round {round}");
    }
}

// --------------------------------------------------------- open transactions

/// A transaction as PostgREST makes it for a call, kept open.
struct Open {
    psql: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pid: String,
}

impl Open {
    fn new(agent: &Agent) -> Self {
        let mut psql = clean("psql")
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "authenticator",
                "-d",
                "coord",
                "-h",
            ])
            .arg(&shared().socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql is installed");
        let mut open = Self {
            input: psql.stdin.take().unwrap(),
            output: BufReader::new(psql.stdout.take().unwrap()),
            psql,
            pid: String::new(),
        };
        open.pid = open.run("select pg_backend_pid()");
        let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&agent.token)
            .unwrap()
            .claims;
        let headers = json!({"x-session-id": agent.session});
        open.run(&format!(
            "begin; set local role {};
             select set_config('request.jwt.claims', '{claims}', true),
               set_config('request.headers', '{headers}', true);
             select coord.pre_request()",
            claims["role"].as_str().unwrap()
        ));
        open
    }

    /// The last line of what it prints.
    fn run(&mut self, sql: &str) -> String {
        writeln!(self.input, "{sql};\nselect 'done';").unwrap();
        let mut last = String::new();
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "psql ended at: {sql}");
            if line.trim_end() == "done" {
                return last;
            }
            line.trim_end().clone_into(&mut last);
        }
    }

    fn acquire(&mut self, agent: &Agent, path: &str) {
        let sql = format!(
            "select coord_v1.acquire_lock(array['{path}'], '{}') ->> 'outcome'",
            agent.repo
        );
        assert_eq!(self.run(&sql), "acquired");
    }

    /// How many wait for this transaction.
    fn waiting(&self) -> usize {
        let sql = format!(
            "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and {} = any (pg_blocking_pids(pid))",
            self.pid
        );
        shared().psql(&sql).parse().unwrap()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// A call in the background.
fn start(agent: &Agent, path: &str, key: String) -> std::thread::JoinHandle<(u16, Value)> {
    let (agent, args) = (agent.clone(), json!({"paths": [path]}));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(agent.ask("acquire_lock", args, Some(&key)))
    })
}

#[tokio::test]
async fn an_open_acquire_is_waited_for_on_its_own_path_only() {
    let (a, b) = (Agent::new("open-a", "open"), Agent::new("open-b", "open"));
    // Sessions exist before, as they do after the first call of each.
    let a = a.in_session("a");
    let also_a = a.in_session("also-a");
    for agent in [&a, &b, &also_a] {
        agent.release().await;
    }
    for end in ["commit", "rollback"] {
        let mut open = Open::new(&a);
        open.acquire(&a, "src/deep/hot.rs");
        // Neighbours, other directories, other repositories, and the same session: at once.
        for (agent, path) in [
            (&b, "src/deep/cold.rs"),
            (&b, "docs/"),
            (&also_a, "src/cold.rs"),
            (&a, "Cargo.toml"),
        ] {
            let call = tokio::time::timeout(Duration::from_secs(4), agent.acquire(path));
            let answer = call
                .await
                .unwrap_or_else(|_| panic!("{} waits for {path}", agent.name));
            assert_eq!(answer["outcome"], "acquired", "{path}: {answer}");
            agent.release().await;
        }
        // So do reads, and they see nothing of what is not committed.
        assert_eq!(b.call("check_locks", json!({})).await["total"], 0);
        assert_eq!(open.waiting(), 0);

        // The path itself, and directories around it: after the end.
        let same = start(&b, "src/deep/hot.rs", format!("same {end}"));
        eventually("the same path waits", || open.waiting() == 1);
        let around = start(&also_a, "src/", format!("around {end}"));
        eventually("the directory waits", || open.waiting() == 2);
        assert!(!same.is_finished() && !around.is_finished());
        open.run(end);
        let (same, around) = (same.join().unwrap(), around.join().unwrap());
        assert_eq!((same.0, around.0), (200, 200), "{same:?} {around:?}");
        if end == "commit" {
            for answer in [same.1, around.1] {
                assert_eq!(answer["outcome"], "held", "{answer}");
                assert_eq!(answer["blockers"][0]["holder"], "open-a");
                assert_eq!(answer["blockers"][0]["session_id"], "a");
            }
        } else {
            // One of the two got it, and the other is told by whom.
            let mut outcomes = [same.1["outcome"].as_str(), around.1["outcome"].as_str()];
            outcomes.sort_unstable();
            assert_eq!(
                outcomes,
                [Some("acquired"), Some("held")],
                "{same:?} {around:?}"
            );
        }
        for agent in [&a, &b, &also_a] {
            agent.release().await;
        }
    }
}

/// A lock that is taken away while its holder renews it: whoever waits for whom, the answer tells what is so.
#[tokio::test]
async fn a_renewal_never_answers_for_a_lock_that_is_gone() {
    let holder = Agent::new("renewing", "renewal").in_session("renewing");
    let other = Agent::new("waiting", "renewal");
    let operator = Agent {
        name: "operator".to_owned(),
        token: shared().operator.clone(),
        ..holder.clone()
    };
    for (who, call) in [
        (
            &operator,
            "force_release_lock(array['src/x.rs'], 'needed', ",
        ),
        (&holder, "release_lock(array['src/x.rs'], "),
        (&holder, "release_lock(null, "),
    ] {
        let first = holder.acquire("src/x.rs").await;
        assert_eq!(first["outcome"], "acquired", "{first}");
        let mut open = Open::new(who);
        let sql = format!("select coord_v1.{call}'{}') ->> 'outcome'", holder.repo);
        assert_eq!(open.run(&sql), "released");
        let renewal = start(&holder, "src/x.rs", format!("renewal while {call}"));
        eventually("the renewal waits", || open.waiting() == 1);
        open.run("commit");
        let (status, answer) = renewal.join().unwrap();
        assert_eq!(status, 200, "{answer}");
        // What was taken away is a new lock or none.
        let live = other.call("check_locks", json!({})).await;
        assert_eq!(
            answer["outcome"], "acquired",
            "{call}: {answer}, but {live}"
        );
        assert!(fence(&answer) > fence(&first), "{call}: {answer}");
        assert_eq!(live["locks"][0]["fence"], fence(&answer), "{call}: {live}");
        assert_eq!(other.acquire("src/x.rs").await["outcome"], "held", "{call}");
        holder.release().await;
    }
}

#[tokio::test]
async fn a_client_that_was_cut_off_finds_its_answer_under_its_key() {
    let (a, b) = (Agent::new("cut-a", "cut"), Agent::new("cut-b", "cut"));
    let (a, b) = (a.in_session("cut"), b.in_session("cut"));
    for agent in [&a, &b] {
        agent.release().await;
    }
    let body = json!({"repo": a.repo, "paths": ["src/x.rs"], "reason": "cut off"}).to_string();
    let host = shared().url.strip_prefix("http://").unwrap();
    let request = |key: &str| {
        format!(
            "POST /rpc/acquire_lock HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Profile: coord_v1\r\nX-Session-Id: cut\r\n\
             Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n",
            a.token,
            body.len()
        )
    };
    let args = json!({"paths": ["src/x.rs"], "reason": "cut off"});

    // In the middle of sending: nothing happened, so the retry is the first call.
    let mut socket = TcpStream::connect(host).unwrap();
    let (half, _) = body.split_at(10);
    write!(socket, "{}{half}", request("half")).unwrap();
    drop(socket);
    let (status, first) = a.ask("acquire_lock", args.clone(), Some("half")).await;
    assert_eq!((status, &first["outcome"]), (200, &json!("acquired")));
    assert!(first.get("replayed").is_none(), "{first}");
    a.release().await;

    // While the coordinator is at it: what it did is found under the key.
    let mut open = Open::new(&b);
    open.acquire(&b, "src/x.rs");
    let mut socket = TcpStream::connect(host).unwrap();
    write!(socket, "{}{body}", request("whole")).unwrap();
    eventually("the call waits", || open.waiting() == 1);
    drop(socket);
    let retry = {
        let (agent, args) = (a.clone(), args.clone());
        tokio::spawn(async move { agent.ask("acquire_lock", args, Some("whole")).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    open.run("rollback");
    let (status, answer) = retry.await.unwrap();
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("acquired")),
        "{answer}"
    );
    assert_eq!(answer["replayed"], true, "{answer}");
    let again = a.ask("acquire_lock", args.clone(), Some("whole")).await;
    assert_eq!(again, (200, answer.clone()));
    let live = a.call("check_locks", json!({})).await;
    assert_eq!(
        (&live["total"], &live["locks"][0]["fence"]),
        (&json!(1), &answer["locks"][0]["fence"])
    );
    let rows = shared()
        .psql("select count(*) from coord_v1.audit where agent = 'cut-a' and request_id = 'whole'");
    assert_eq!(rows, "1");

    // Read to the end or not, an answer that was on its way is the same one.
    let mut socket = TcpStream::connect(host).unwrap();
    write!(socket, "{}{body}", request("whole")).unwrap();
    let mut some = [0; 16];
    socket.read_exact(&mut some).unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200"));

    // The key is that call's: another call may not use it.
    let (status, refused) = a
        .ask(
            "acquire_lock",
            json!({"paths": ["other.rs"]}),
            Some("whole"),
        )
        .await;
    assert_eq!(
        (status, &refused["message"]),
        (422, &json!("idempotency_key_reused")),
        "{refused}"
    );
}
