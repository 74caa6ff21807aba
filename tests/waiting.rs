//! `coord lock acquire --wait` and `coord work claim --wait` do what a person expects.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{eventually, shared, told};

const REPO: &str = "git.example/waiting/app";

/// `coord lock` in a session. No test uses another's: together they could close a circle.
fn lock(session: &str, args: &[&str]) -> Command {
    let token = shared().mint("patient", "test-client", REPO);
    let mut command = shared().coord();
    command
        .arg("lock")
        .args(args)
        .args(["--repo", REPO, "--session", session])
        .env("COORD_TOKEN", token);
    command
}

fn run(session: &str, args: &[&str]) -> Output {
    lock(session, args).output().unwrap()
}

fn in_line(path: &str) -> String {
    shared().psql(&format!(
        "select count(*) from coord.lock_tickets where paths = '{{{path}}}' and expires_at > clock_timestamp()"
    ))
}

/// Starts to wait, and gives what it says first.
fn wait(session: &str, path: &str, time: &str) -> (Child, String) {
    begin(&mut lock(
        session,
        &["acquire", path, "--wait", time, "--json"],
    ))
}

fn begin(command: &mut Command) -> (Child, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    assert!(
        !line.is_empty(),
        "{}",
        told(&child.wait_with_output().unwrap())
    );
    // The rest of it is not read, but must not be refused either.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    (child, line)
}

fn answer(child: Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), answer)
}

#[test]
fn it_waits_says_for_whom_and_gets_the_lock() {
    let output = run("a1", &["acquire", "a", "--reason", "a long build"]);
    assert!(output.status.success(), "{}", told(&output));
    let (child, line) = wait("a2", "a", "60");
    assert!(
        line.contains("number 1 in line; patient holds a (for up to")
            && line.contains("a long build"),
        "{line}"
    );
    let (second, line) = wait("a3", "a", "60");
    assert!(line.contains("number 2 in line"), "{line}");
    let listed = run("a1", &["list", "a", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["locks"][0]["waiters"], 2);

    assert!(run("a1", &["release", "a"]).status.success());
    let (code, first) = answer(child);
    assert_eq!((code, &first["outcome"]), (Some(0), &"acquired".into()));
    assert!(run("a2", &["release", "a"]).status.success());
    let (code, second) = answer(second);
    assert_eq!((code, &second["outcome"]), (Some(0), &"acquired".into()));
    assert!(second["locks"][0]["fence"].as_i64() > first["locks"][0]["fence"].as_i64());
}

#[test]
fn when_the_time_is_over_it_is_held() {
    assert!(run("b1", &["acquire", "b"]).status.success());
    let output = run("b2", &["acquire", "b", "--wait", "2"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("held, so nothing was locked"), "{said}");
    assert_eq!(in_line("b"), "0");
}

#[test]
fn an_interrupt_leaves_the_line() {
    assert!(run("c1", &["acquire", "c"]).status.success());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (child, line) = wait("c2", "c", "60");
        assert_eq!(in_line("c"), "1", "{signal} {line}");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let (code, answer) = answer(child);
        assert_eq!((code, &answer["outcome"]), (Some(1), &"queued".into()));
        assert_eq!(in_line("c"), "0");
    }
}

#[test]
fn a_circle_is_told_and_shown() {
    assert!(run("d1", &["acquire", "d"]).status.success());
    assert!(run("d2", &["acquire", "e"]).status.success());
    let (mut child, _) = wait("d1", "e", "60");
    let output = run("d2", &["acquire", "d", "--wait", "60"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("deadlock, so nothing was locked")
            && said.contains("patient (session d2) waits for d, which is patient's")
            && said.contains("patient (session d1) waits for e, which is patient's"),
        "{said}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // Nobody polls for a process that is gone: its ticket dies of silence.
    shared()
        .psql("update coord.lock_tickets set expires_at = clock_timestamp() where paths = '{e}'");
    assert!(run("d2", &["release", "e"]).status.success());
    eventually("e is free", || {
        run("d3", &["acquire", "e"]).status.success()
    });
}

// ---------------------------------------------------------------------- work

/// `coord work` as an agent in a repository of its own.
fn work(agent: &str, args: &[&str]) -> Command {
    let repo = format!("{REPO}-{agent}");
    let token = shared().mint(agent, "test-client", &repo);
    let mut command = shared().coord();
    command
        .arg("work")
        .args(args)
        .args(["--repo", &repo, "--session", "s"])
        .env("COORD_TOKEN", token);
    command
}

#[test]
fn it_waits_for_work_says_why_there_is_none_and_gets_it() {
    let (child, line) = begin(&mut work("w1", &["claim", "--wait", "60", "--json"]));
    assert!(
        line.contains("nothing to claim yet: the queue is empty"),
        "{line}"
    );
    let submitted = work("w1", &["submit", "a task"]).output().unwrap();
    assert!(submitted.status.success(), "{}", told(&submitted));
    let (code, claimed) = answer(child);
    assert_eq!((code, &claimed["outcome"]), (Some(0), &"claimed".into()));
    assert_eq!(claimed["tasks"][0]["title"], "a task");
}

#[test]
fn two_that_wait_for_one_task_do_not_both_get_it() {
    let (mut first, _) = begin(&mut work("w2", &["claim", "--wait", "60", "--json"]));
    let (mut second, _) = begin(&mut work("w2", &["claim", "--wait", "60", "--json"]));
    assert!(
        work("w2", &["submit", "a task"])
            .status()
            .unwrap()
            .success()
    );
    let mut ended = 0;
    eventually("one of them has it", || {
        let done = |child: &mut Child| child.try_wait().unwrap().is_some();
        ended = usize::from(done(&mut first)) + usize::from(done(&mut second));
        ended > 0
    });
    std::thread::sleep(std::time::Duration::from_secs(6));
    let claims =
        shared().psql("select attempt from coord.tasks where repo = 'git.example/waiting/app-w2'");
    assert_eq!((ended, claims.as_str()), (1, "1"));
    for child in [&mut first, &mut second] {
        let _ = child.kill();
        child.wait().unwrap();
    }
}

#[test]
fn when_the_time_is_over_there_is_none() {
    let began = std::time::Instant::now();
    let output = work("w3", &["claim", "--wait", "2", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let waited = began.elapsed().as_secs_f64();
    assert!((1.0..8.0).contains(&waited), "{waited}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["outcome"], "none");
    assert!(answer.get("wait_seconds_left").is_none(), "{answer}");
}

#[test]
fn an_interrupt_ends_the_wait_for_work() {
    let (child, _) = begin(&mut work("w4", &["claim", "--wait", "600", "--json"]));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let (code, answer) = answer(child);
    assert_eq!((code, &answer["outcome"]), (Some(1), &"none".into()));
}
