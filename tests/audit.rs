//! The audit on the real stack: whoever is killed, every change and every denial has one row,
//! and whatever is changed afterwards is found, in the database and outside of it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::{Stack, told};

const REPO: &str = "audit.example/acme/app";
const WORKERS: usize = 8;

/// How many calls at most, and for how long: a machine that is busy makes fewer.
const CALLS: usize = 10_000;
const WRITING: Duration = Duration::from_mins(1);

fn coord(stack: &Stack, args: &[&str]) -> Output {
    stack.coord().args(args).output().unwrap()
}

fn audit(stack: &Stack, args: &[&str]) -> Value {
    let output = coord(stack, &[&["audit", "--json"], args].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {}", told(&output)))
}

/// Seals until nothing is left but the row of the seal itself.
fn seal(stack: &Stack) {
    support::eventually("everything is sealed", || {
        audit(stack, &["seal"]);
        stack.psql(
            "select count(*) from coord.audit_log a where a.function <> 'seal_audit'
             and a.xid >= (select max(upper) from coord.audit_seals)",
        ) == "0"
    });
}

/// What both say of the audit as it is: the database's own check, and ours from outside.
fn verdicts(stack: &Stack) -> (Value, Value) {
    let mut problems = Vec::new();
    let mut from = 1;
    loop {
        let output = coord(
            stack,
            &[
                "--json",
                "call",
                "verify_audit",
                "--from-seal",
                &from.to_string(),
            ],
        );
        let answer: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
        problems.extend(answer["problems"].as_array().unwrap().clone());
        match answer["next_seal"].as_i64() {
            Some(next) => from = next,
            None => break,
        }
    }
    (
        json!(problems),
        audit(stack, &["verify"])["problems"].clone(),
    )
}

fn tamper(stack: &Stack, sql: &str) {
    stack.psql(&format!("set session_replication_role = replica; {sql}"));
}

#[tokio::test]
async fn every_change_and_every_denial_has_one_row_whoever_is_killed() {
    let stack = Stack::start();
    let logs = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let until = (SystemTime::now() + WRITING)
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut workers: Vec<Child> = (0..WORKERS)
        .map(|n| spawn(&stack, logs.path(), n, CALLS / WORKERS, until))
        .collect();

    // Some die in the middle of a call, and others go on in their place.
    let mut killed = 0;
    let mut during = None;
    let mut round = 0;
    while workers
        .iter_mut()
        .any(|it| it.try_wait().unwrap().is_none())
    {
        std::thread::sleep(Duration::from_millis(700));
        round += 1;
        let n = round % WORKERS;
        if killed < 6 && workers[n].try_wait().unwrap().is_none() {
            workers[n].kill().unwrap();
            workers[n].wait().unwrap();
            killed += 1;
            let sent = std::fs::read_to_string(logs.path().join(n.to_string())).unwrap();
            let sent = sent.lines().filter(|line| line.ends_with('?')).count();
            workers[n] = spawn(&stack, logs.path(), n, CALLS / WORKERS - sent, until);
        }
        if round == 4 {
            // An export while they write holds what was sealed by then, whole.
            audit(&stack, &["seal"]);
            let file = logs.path().join("during.jsonl");
            let output = coord(&stack, &["audit", "export", file.to_str().unwrap()]);
            assert!(output.status.success(), "{}", told(&output));
            during = Some(file);
        }
    }
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    let wrote = began.elapsed();
    assert!(killed >= 3, "{killed} were killed");

    tally(&stack, logs.path(), killed, wrote);

    seal(&stack);
    let began = Instant::now();
    let (inside, outside) = verdicts(&stack);
    println!("verified inside and outside in {:?}", began.elapsed());
    assert_eq!((inside, outside), (json!([]), json!([])));
    let during = during.expect("it took long enough to export meanwhile");
    let output = coord(&stack, &["audit", "verify", during.to_str().unwrap()]);
    assert!(output.status.success(), "{}", told(&output));

    let file = logs.path().join("whole.jsonl");
    let file = file.to_str().unwrap();
    assert!(coord(&stack, &["audit", "export", file]).status.success());
    let whole = audit(&stack, &["verify", file]);
    assert_eq!(whole["problems"], json!([]));
    // Housekeeping may have sealed more since the file was written.
    let total: i64 = stack
        .psql(&format!(
            "select sum(rows) from coord.audit_seals where number <= {}",
            whole["number"]
        ))
        .parse()
        .unwrap();
    assert_eq!(whole["rows"], total);
    one_byte(&stack, file);
}

/// What each call was answered, against its rows.
fn tally(stack: &Stack, logs: &Path, killed: usize, wrote: Duration) {
    let mut rows: HashMap<String, usize> = HashMap::new();
    for line in stack
        .psql("select request_id || ' ' || count(*) from coord_v1.audit where agent like 'worker-%' and function <> 'maintain' group by request_id")
        .lines()
    {
        let (id, count) = line.rsplit_once(' ').unwrap();
        rows.insert(id.to_owned(), count.parse().unwrap());
    }
    let (mut sent, mut answered, mut expected, mut kinds) = (0, 0, 0, HashMap::new());
    for n in 0..WORKERS {
        let log = std::fs::read_to_string(logs.join(n.to_string())).unwrap();
        let mut open: Option<&str> = None;
        for line in log.lines() {
            if let Some(id) = line.strip_suffix('?') {
                if let Some(lost) = open.replace(id) {
                    assert!(rows.remove(lost).unwrap_or(0) <= 1, "{lost}: lost, twice");
                }
                sent += 1;
                continue;
            }
            let [id, want, kind] = line.split(' ').collect::<Vec<_>>()[..] else {
                continue;
            };
            let want: usize = want.parse().unwrap();
            assert_eq!(rows.remove(id).unwrap_or(0), want, "{id}: {kind}");
            *kinds.entry(kind.to_owned()).or_insert(0) += 1;
            expected += want;
            answered += 1;
            open = None;
        }
        if let Some(lost) = open {
            assert!(rows.remove(lost).unwrap_or(0) <= 1, "{lost}: lost, twice");
        }
    }
    assert!(rows.is_empty(), "rows of no call: {rows:?}");
    assert!(
        answered > 500 && sent - answered <= killed,
        "{sent} {answered}"
    );
    for kind in ["acquired", "held", "denied", "released", "400"] {
        assert!(kinds.contains_key(kind), "{kind} came up: {kinds:?}");
    }
    println!("{sent} calls in {wrote:?}, {expected} audited, {killed} clients killed: {kinds:?}");
}

/// One byte of one row, changed behind the coordinator's back.
fn one_byte(stack: &Stack, export: &str) {
    let row = stack.psql("select a.id || ' ' || s.number from coord.audit_log a join coord.audit_seals s on a.xid >= s.lower and a.xid < s.upper where a.function = 'acquire_lock' and a.outcome = 'denied' order by a.id offset 20 limit 1");
    let (id, seal) = row.split_once(' ').unwrap();
    let expected = |problem: &str| {
        let (id, seal): (i64, i64) = (id.parse().unwrap(), seal.parse().unwrap());
        json!([{"seal": seal, "audit_id": id, "problem": problem}])
    };
    for (change, back, problem) in [
        (
            "audit_log set outcome = 'deniee'",
            "audit_log set outcome = 'denied'",
            "row_changed",
        ),
        (
            "audit_details set content = jsonb_set(content, '{reason}', '\"repo_not_grantee\"')",
            "audit_details set content = jsonb_set(content, '{reason}', '\"repo_not_granted\"')",
            "details_changed",
        ),
    ] {
        tamper(stack, &format!("update coord.{change} where id = {id}"));
        let (inside, outside) = verdicts(stack);
        assert_eq!(inside, expected(problem));
        assert_eq!(outside, expected(problem));
        let output = coord(stack, &["audit", "verify"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains(id), "{}", told(&output));
        tamper(stack, &format!("update coord.{back} where id = {id}"));
        assert_eq!(verdicts(stack), (json!([]), json!([])));
    }

    // And in the file.
    let text = std::fs::read_to_string(export).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains(&format!("\"id\":{id},")))
        .unwrap();
    let forged = line.replace("\"denied\"", "\"deniee\"");
    std::fs::write(export, text.replace(line, &forged)).unwrap();
    assert_eq!(
        audit(stack, &["verify", export])["problems"],
        expected("row_changed")
    );
    std::fs::write(export, text.replace(&format!("{line}\n"), "")).unwrap();
    let problems = audit(stack, &["verify", export])["problems"].clone();
    assert_eq!(problems[0], expected("row_missing")[0]);
    let half = text.rsplit_once("\n{\"type\":\"seal\"").unwrap().0;
    std::fs::write(export, half).unwrap();
    assert_eq!(
        audit(stack, &["verify", export])["problems"][0]["problem"],
        "cut_off"
    );
}

fn spawn(stack: &Stack, logs: &Path, n: usize, calls: usize, until: u64) -> Child {
    let agent = format!("worker-{n}");
    let settings = json!({
        "url": stack.url, "token": stack.mint(&agent, "test", REPO), "agent": agent,
        "log": logs.join(n.to_string()), "calls": calls, "until": until,
    });
    Command::new("python3")
        .arg(support::script("audit_worker.py"))
        .arg(settings.to_string())
        .spawn()
        .unwrap()
}

/// A psql that stays open.
struct Psql {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Psql {
    fn open(stack: &Stack) -> Self {
        let mut child = support::clean("psql")
            .args(["-XAtq", "-U", "postgres", "-d", "coord", "-h"])
            .arg(&stack.socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn run(&mut self, sql: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{sql};\n\\echo done").unwrap();
        let mut line = String::new();
        while line.trim() != "done" {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "psql ended");
        }
    }
}

#[tokio::test]
async fn a_late_commit_is_sealed_later_and_is_no_forgery() {
    let stack = support::shared();
    let token = stack.mint("late", "test", REPO);
    let claims = json!({"role": "coord_agent", "sub": "late", "aud": "coord", "jti": "late-token", "exp": 4_000_000_000_u32});
    let mut late = Psql::open(stack);
    late.run(&format!(
        "begin; set local request.jwt.claims = '{claims}'; set local role coord_agent;
         select coord_v1.acquire_lock('{{late}}', reason => 'late')"
    ));
    let mut tail = stack
        .coord()
        .args(["audit", "tail", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = BufReader::new(tail.stdout.take().unwrap()).lines();
    std::thread::sleep(Duration::from_secs(1));
    let (status, _) = stack
        .rpc(&token, "acquire_lock", json!({"paths": ["after"]}), &[])
        .await;
    assert_eq!(status, 200);
    audit(stack, &["seal"]);
    let unsealed = "select count(*) from coord.audit_log a where a.agent = 'late' and a.xid >= (select max(upper) from coord.audit_seals)";
    assert_eq!(
        stack.psql(unsealed),
        "1",
        "the later row waits for the earlier transaction"
    );
    late.run("commit");
    support::eventually("both are sealed", || {
        audit(stack, &["seal"]);
        stack.psql(unsealed) == "0"
    });
    assert_eq!(audit(stack, &["verify"])["problems"], json!([]));

    let mut paths = Vec::new();
    while paths.len() < 2 {
        let row: Value = serde_json::from_str(&seen.next().unwrap().unwrap()).unwrap();
        if row["agent"] == "late" {
            paths.push(row["detail"]["args"]["paths"][0].clone());
        }
    }
    assert_eq!(
        paths,
        [json!("late"), json!("after")],
        "none skipped, none twice"
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(tail.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert!(tail.wait().unwrap().success(), "Ctrl-C ends it");
}

#[tokio::test]
async fn what_was_done_can_be_asked_and_erased() {
    let stack = Stack::start();
    let token = stack.mint("asked", "test", REPO);
    for n in 0..3 {
        let reason = format!("personal {n} sk-abcdefghijklmnop1");
        let args = json!({"paths": [format!("p{n}")], "reason": reason});
        let id = format!("asked-{n}");
        stack
            .rpc(&token, "acquire_lock", args, &[("x-request-id", &id)])
            .await;
    }
    stack
        .rpc(
            &token,
            "acquire_lock",
            json!({"paths": ["x"], "repo": "audit.example/no/no"}),
            &[],
        )
        .await;

    let rows = audit(
        &stack,
        &["query", "--agent", "asked", "--since", "2h", "--max", "2"],
    );
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(
        (
            &rows[0]["outcome"],
            &rows[0]["reason"],
            &rows[1]["request_id"]
        ),
        (
            &json!("denied"),
            &json!("repo_not_granted"),
            &json!("asked-2")
        )
    );
    assert_eq!(rows[1]["detail"]["args"]["reason"], "personal 2 [redacted]");
    assert!(rows[0]["token_id"].is_string() && rows[0]["duration_ms"].is_number());
    let only = [
        "query",
        "--outcome",
        "acquired",
        "--repo",
        REPO,
        "--function",
        "acquire_lock",
    ];
    assert_eq!(audit(&stack, &only).as_array().unwrap().len(), 3);
    assert_eq!(audit(&stack, &["query", "--until", "1h"]), json!([]));
    let output = coord(&stack, &["audit", "query", "--agent", "asked"]);
    assert!(
        told(&output).contains("repo_not_granted"),
        "{}",
        told(&output)
    );

    let erased = audit(
        &stack,
        &["erase", "asked", "--reason", "asked to be forgotten"],
    );
    assert_eq!(
        (&erased["outcome"], &erased["rows"]),
        (&json!("erased"), &json!(4))
    );
    assert!(
        !stack
            .psql("select string_agg(a::text, '') from coord_v1.audit a where agent = 'asked'")
            .contains("personal")
    );
    seal(&stack);
    let verified = audit(&stack, &["verify"]);
    assert_eq!(
        (&verified["outcome"], &verified["erased"]),
        (&json!("verified"), &json!(4))
    );
    // Who is no operator.
    let mut words = String::new();
    for args in [&["verify"][..], &["export", "-"], &["seal"]] {
        let output = stack
            .coord()
            .args(["audit"])
            .args(args)
            .env("COORD_TOKEN", &token)
            .output()
            .unwrap();
        let _ = writeln!(words, "{}", told(&output));
        assert!(!output.status.success(), "{args:?} by an agent: {words}");
    }
}

#[tokio::test]
async fn a_head_kept_elsewhere_convicts_a_chain_made_anew() {
    let stack = Stack::start();
    stack.mint("asked", "test", REPO);
    seal(&stack);
    let dir = tempfile::tempdir().unwrap();
    let heads = dir.path().join("heads");
    let heads = heads.to_str().unwrap();
    let head = audit(&stack, &["anchor", "--file", heads]);
    for args in [
        &["init", "-q"][..],
        &["commit", "-q", "--allow-empty", "-m", "c"],
    ] {
        assert!(git(dir.path(), args).status.success());
    }
    let noted = stack
        .coord()
        .args(["audit", "anchor", "--git-note"])
        .current_dir(dir.path())
        .envs(SOMEBODY)
        .output()
        .unwrap();
    assert!(noted.status.success(), "{}", told(&noted));
    let note = git(dir.path(), &["notes", "--ref", "coord-audit", "show"]);
    let note: Value = serde_json::from_slice(&note.stdout).unwrap();
    assert_eq!(note, head);

    let kept = audit(&stack, &["verify", "--anchor", heads]);
    assert_eq!(kept["problems"], json!([]), "the head is in the chain");
    let dropped = audit(&stack, &["drop", "--before", "1d"]);
    assert_eq!(dropped["dropped"], json!([]), "this month stays");

    // A chain made anew, consistent in itself, does not contain the head.
    tamper(
        &stack,
        "delete from coord.audit_seals; delete from coord.audit_log where function = 'register_agent'",
    );
    seal(&stack);
    assert_eq!(verdicts(&stack), (json!([]), json!([])));
    let output = coord(&stack, &["--json", "audit", "verify", "--anchor", heads]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("anchor_"), "{}", told(&output));
}

const SOMEBODY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "t"),
    ("GIT_AUTHOR_EMAIL", "t@example"),
    ("GIT_COMMITTER_NAME", "t"),
    ("GIT_COMMITTER_EMAIL", "t@example"),
];

fn git(dir: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(args)
        .envs(SOMEBODY)
        .output()
        .unwrap()
}
