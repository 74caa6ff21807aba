//! `coord dispatch` on the real stack: real commands in worktrees of real repositories, with
//! dispatchers that are stopped and killed; and what is sent to services that cannot run here.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::cli::{Ran, operator};
use support::recorder::{Recorder, says};
use support::{clean, coord, eventually, shared, told};
use tempfile::TempDir;

/// Which change takes which check, by its directory.
const POLICIES: &str = r#"
verification:
  unit: {paths: ["unit/"], tier: 2, executors: ["local:unit"], timeout_seconds: 600}
  slow: {paths: ["slow/"], tier: 2, executors: ["local:slow"], timeout_seconds: 20}
  memory: {paths: ["memory/"], tier: 2, executors: ["local:roomy"]}
  narrow: {paths: ["memory/"], tier: 3, executors: ["local:narrow"]}
  alone: {paths: ["alone/"], tier: 2, executors: ["local"]}
  person: {paths: ["person/"], tier: 0, executors: ["inline"], sensitive: true}
  github: {paths: ["github/"], tier: 1, executors: ["github_actions:ci.yml"]}
  agentcore: {paths: ["agentcore/"], tier: 3, executors: ["agentcore:system"]}
  e2b: {paths: ["e2b/"], tier: 2, executors: ["e2b:audit"]}
"#;

fn policies() {
    static APPLIED: OnceLock<()> = OnceLock::new();
    APPLIED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("verification.yaml");
        fs::write(&file, POLICIES).unwrap();
        operator(&["apply", "--yes", file.to_str().unwrap()]).exits(0);
        let spec = json!({"trust": 3, "allowed": ["*"]}).to_string();
        operator(&["call", "set_profile", "--name", "runner", "--spec", &spec]).exits(0);
    });
}

/// A repository with a change, its author and two dispatchers.
struct World {
    dir: TempDir,
    repo: String,
    author: String,
    runner: String,
    other: String,
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut git = clean("git");
    for name in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{name}_NAME"), "Test");
        git.env(format!("GIT_{name}_EMAIL"), "test@example.org");
    }
    let output = git.arg("-C").arg(dir).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl World {
    fn new(name: &str) -> Self {
        policies();
        let dir = tempfile::tempdir().unwrap();
        let repo = format!("github.com/dispatch/{name}");
        let mint = |who: &str, profile: Option<&str>| {
            let agent = format!("{name}-{who}");
            let args = ["--agent", &agent, "--type", "test-client", "--repo", &repo];
            let profile = profile.map_or(vec![], |profile| vec!["--profile", profile]);
            shared().mint_with(&[&args[..], &profile].concat())
        };
        let world = Self {
            author: mint("author", None),
            runner: mint("runner", Some("runner")),
            other: mint("other", Some("runner")),
            repo,
            dir,
        };
        fs::create_dir(world.checkout()).unwrap();
        git(&world.checkout(), &["init", "-q", "-b", "main"]);
        world.commit(&[("README.md", "# Test\n")]);
        git(&world.checkout(), &["checkout", "-q", "-b", "change"]);
        world
    }

    fn checkout(&self) -> PathBuf {
        self.dir.path().join("checkout")
    }

    /// Where commands of the configuration leave what the test looks at.
    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.checkout().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git(&self.checkout(), &["add", "-A"]);
        git(&self.checkout(), &["commit", "-q", "-m", "change"]);
        git(&self.checkout(), &["rev-parse", "HEAD"])
    }

    fn coord(&self, token: &str) -> Command {
        let mut command = coord();
        command
            .env("COORD_URL", &shared().url)
            .env("COORD_TOKEN", token)
            .env("COORD_REPO", &self.repo)
            .env("COORD_HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .current_dir(self.checkout());
        command
    }

    fn run(&self, token: &str, args: &[&str]) -> Ran {
        Ran::of(self.coord(token).args(args))
    }

    /// Submits what is checked out; answers what it is called.
    fn submit(&self) -> String {
        let answer = self.run(&self.author, &["--json", "verify", "submit"]);
        let answer = answer.exits(0).json();
        answer["changeset"].as_str().unwrap().to_owned()
    }

    /// The configuration with these executors, indented as they are below a repository.
    fn configure(&self, executors: &str) {
        let text = format!(
            "scratch: {}\nlog_url: https://logs.example/{{name}}.log\nrepos:\n  {}:\n    checkout: {}\n    default_branch: main\n    inline:\n{executors}",
            self.out("scratch").display(),
            self.repo,
            self.checkout().display(),
        );
        fs::write(self.out("dispatch.yaml"), text).unwrap();
    }

    fn dispatcher(&self, token: &str, args: &[&str]) -> Command {
        let mut command = self.coord(token);
        command
            .args(["--json", "dispatch", "--config"])
            .arg(self.out("dispatch.yaml"))
            .args(args);
        command
    }

    /// Runs all that is ready; answers what was said of it.
    fn dispatch(&self, token: &str) -> Vec<Value> {
        let ran = Ran::of(&mut self.dispatcher(token, &["--once"])).exits(0);
        ran.out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn start(&self, token: &str) -> Dispatcher {
        let mut command = self.dispatcher(token, &["--lease", "60"]);
        Dispatcher(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn status(&self, change: &str) -> Value {
        self.run(&self.author, &["--json", "verify", "status", change])
            .exits(0)
            .json()
    }

    /// The job of a check.
    fn job(&self, change: &str, check: &str) -> Value {
        let status = self.status(change);
        let jobs = status["jobs"].as_array().unwrap();
        let job = jobs.iter().find(|job| job["executor"] == check);
        job.unwrap_or_else(|| panic!("{check}: {status}")).clone()
    }

    /// Nothing of any run is left but its log.
    fn is_clean(&self) {
        let runs: Vec<_> = fs::read_dir(self.out("scratch/runs")).unwrap().collect();
        assert!(runs.is_empty(), "{runs:?}");
        assert_eq!(
            git(&self.checkout(), &["worktree", "list"]).lines().count(),
            1
        );
    }

    fn call(&self, token: &str, function: &str, mut args: Value) -> Value {
        if function.starts_with("submit") || function.starts_with("take") {
            args["repo"] = json!(self.repo);
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(shared().rpc(token, function, args, &[])).1
    }
}

fn events(said: &[Value]) -> Vec<String> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    said.iter()
        .map(|line| format!("{} {}", text(line, "check"), text(line, "event")))
        .collect()
}

fn lives(pid: i32) -> bool {
    // A zombie has no command line; whoever reaps orphans here may take its time.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn pid(file: &Path) -> i32 {
    let mut pid = 0;
    eventually("a command says its process", || {
        pid = fs::read_to_string(file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        pid > 0
    });
    pid
}

/// A dispatcher that ends with its test.
struct Dispatcher(Child);

impl Dispatcher {
    fn tell(&mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The leases of a change run out, and what backs off has.
fn time_passes(change: &str) {
    let number = change.strip_prefix("C-").unwrap();
    shared().psql(&format!(
        "set session_replication_role = replica;
         update coord.verification_jobs set lease_until = clock_timestamp() - interval '1 second' where changeset = {number} and state = 'running';
         update coord.verification_jobs set next_at = clock_timestamp() where changeset = {number} and next_at is not null"
    ));
}

#[test]
fn a_change_is_verified_by_a_real_test_in_a_worktree_of_its_head() {
    let world = World::new("good");
    let hook = world.checkout().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(
        &hook,
        format!("#!/bin/sh\ntouch {}\n", world.out("hooked").display()),
    )
    .unwrap();
    Command::new("chmod")
        .args(["+x"])
        .arg(&hook)
        .status()
        .unwrap();
    let head = world.commit(&[
        (
            "unit/test.sh",
            "test \"$(cat unit/answer)\" = 42 && echo 'all is well'\n",
        ),
        ("unit/answer", "42\n"),
    ]);
    world.configure(&format!(
        "      commands: [\"test -f README.md\"]\n    local:\n      unit:\n        commands: [\"sh unit/test.sh\", \"env > $OUT; git status --short\"]\n        env: {{OUT: {}}}\n        pass: [PASSED]\n",
        world.out("env").display()
    ));
    let change = world.submit();
    // What is in the checkout by now is not what is verified.
    fs::write(world.checkout().join("unit/answer"), "41\n").unwrap();

    let mut command = world.dispatcher(&world.runner, &["--once"]);
    let ran = Ran::of(command.env("PASSED", "on").env("SECRET", "sesame")).exits(0);
    let said: Vec<Value> = ran
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        events(&said),
        [
            "inline running",
            "inline passed",
            "local:unit running",
            "local:unit passed"
        ]
    );
    assert_eq!(said[3]["answer"]["changeset_state"], "verified", "{said:?}");

    let job = world.job(&change, "local:unit");
    let evidence = &job["evidence"];
    assert_eq!(
        (&evidence["commit"], &evidence["by"]),
        (&json!(head), &json!("good-runner")),
        "{job}"
    );
    assert_eq!(
        evidence["log_url"],
        format!(
            "https://logs.example/{}-1.log",
            job["job"].as_str().unwrap()
        )
    );
    assert!(
        evidence["summary"]
            .as_str()
            .unwrap()
            .contains("all is well"),
        "{evidence}"
    );
    let log = fs::read_to_string(evidence["log"].as_str().unwrap()).unwrap();
    assert!(
        log.contains("$ sh unit/test.sh\nall is well\n[coord: exit code 0]\n"),
        "{log}"
    );

    // A clean environment, no hook, nothing left.
    let env = fs::read_to_string(world.out("env")).unwrap();
    for name in ["COORD_TOKEN", "COORD_URL", "COORD_HOME=", "sesame"] {
        assert!(!env.contains(name), "{env}");
    }
    for line in ["PASSED=on", "CI=true", &format!("COORD_HEAD={head}")] {
        assert!(env.lines().any(|it| it == line), "{line}: {env}");
    }
    assert!(!world.out("hooked").exists());
    world.is_clean();
    world
        .run(&world.author, &["verify", "list", "--all"])
        .exits(0)
        .says(&[&change, "verified", "good-author"]);
    world
        .run(&world.author, &["verify", "status", &change])
        .exits(0)
        .says(&["verified", "local:unit", "by good-runner"]);
}

#[test]
fn a_failing_test_rejects_the_change_and_conflict_markers_do_before_it() {
    let world = World::new("bad");
    world.configure(
        "    local: {unit: {commands: [\"echo 3 of 40 failed; exit 3\", \"touch never\"]}}\n",
    );
    world.commit(&[("unit/a", "a\n")]);
    let change = world.submit();
    let said = world.dispatch(&world.runner);
    assert_eq!(
        events(&said)[2..],
        ["local:unit running", "local:unit failed"]
    );
    let job = world.job(&change, "local:unit");
    let summary = job["evidence"]["summary"].as_str().unwrap();
    assert!(
        summary.contains("3 of 40 failed\n[coord: exit code 3]") && !summary.contains("never"),
        "{summary}"
    );
    world
        .run(&world.author, &["verify", "status", &change])
        .exits(0)
        .says(&["rejected", "local:unit failed"]);

    world.commit(&[("unit/b", "<<<<<<< ours\n=======\n>>>>>>> theirs\n")]);
    let change = world.submit();
    assert_eq!(
        events(&world.dispatch(&world.runner)),
        ["inline running", "inline failed"]
    );
    let job = world.job(&change, "inline");
    assert!(
        job["evidence"]["summary"]
            .as_str()
            .unwrap()
            .contains("leftover conflict marker"),
        "{job}"
    );

    // Attributes of the change's own hide nothing.
    for (attributes, text, outcome) in [
        (
            "* -diff -whitespace\n",
            "<<<<<<< ours\n=======\n>>>>>>> theirs\n",
            "inline failed",
        ),
        ("* text=auto\n", "no marker: <<<<<<< a\n", "inline passed"),
    ] {
        world.commit(&[(".gitattributes", attributes), ("unit/b", text)]);
        let change = world.submit();
        assert_eq!(events(&world.dispatch(&world.runner))[1], outcome);
        if outcome == "inline failed" {
            let job = world.job(&change, "inline").to_string();
            assert!(job.contains("in a change of .gitattributes"), "{job}");
        }
    }
    world.is_clean();
}

#[test]
fn a_run_that_takes_too_long_ends_with_all_that_it_started() {
    let world = World::new("slow");
    world.configure(&format!(
        "    local:\n      slow:\n        commands: [\"sleep 997 & echo $! > $OUT/group; setsid sleep 998 & echo $! > $OUT/apart; echo hold on; wait\"]\n        env: {{OUT: {}}}\n",
        world.dir.path().display()
    ));
    world.commit(&[("slow/a", "a\n")]);
    let change = world.submit();
    let said = world.dispatch(&world.runner);
    assert_eq!(
        events(&said)[2..],
        ["local:slow running", "local:slow timed_out"]
    );
    for name in ["group", "apart"] {
        assert!(!lives(pid(&world.out(name))), "{name}");
    }
    let job = world.job(&change, "local:slow");
    assert_eq!(job["state"], "timed_out", "{job}");
    let why = job["history"][0]["why"].as_str().unwrap();
    assert!(
        why.starts_with("it took longer than 20 seconds") && why.contains("hold on"),
        "{job}"
    );
    world.is_clean();
}

#[test]
fn memory_has_a_limit_and_a_target_without_a_name_its_own_commands() {
    let world = World::new("memory");
    let hungry = "python3 -c 'print(len(bytearray(1 << 30)))'";
    world.configure(&format!(
        "    local:\n      roomy: {{commands: [\"{hungry}\"]}}\n      narrow: {{commands: [\"{hungry}\"], memory_mb: 512}}\n      default: {{commands: [\"echo $COORD_CHANGESET\"]}}\n"
    ));
    world.commit(&[("memory/a", "a\n")]);
    let change = world.submit();
    let said = world.dispatch(&world.runner);
    assert_eq!(
        events(&said)[3..],
        [
            "local:roomy passed",
            "local:narrow running",
            "local:narrow failed"
        ]
    );
    let job = world.job(&change, "local:narrow");
    assert!(
        job["evidence"]["summary"]
            .as_str()
            .unwrap()
            .contains("MemoryError"),
        "{job}"
    );

    git(
        &world.checkout(),
        &["checkout", "-q", "-B", "alone", "main"],
    );
    world.commit(&[("alone/a", "a\n")]);
    let change = world.submit();
    assert_eq!(
        events(&world.dispatch(&world.runner))[2..],
        ["local running", "local passed"]
    );
    assert!(
        world.job(&change, "local")["evidence"]["summary"]
            .as_str()
            .unwrap()
            .contains(&change)
    );
}

#[test]
fn a_dispatcher_that_is_killed_loses_its_job_to_another_and_never_runs_beside_it() {
    let world = World::new("killed");
    world.configure(&format!(
        "    local:\n      unit:\n        commands: [\"[ -e $OUT/pid ] && grep -qs . /proc/$(cat $OUT/pid)/cmdline && exit 9; echo $$ > $OUT/pid; [ -e $OUT/gate ] || sleep 999\"]\n        env: {{OUT: {}}}\n",
        world.dir.path().display()
    ));
    world.commit(&[("unit/a", "a\n")]);
    let change = world.submit();
    let mut first = world.start(&world.runner);
    let command = pid(&world.out("pid"));
    first.tell(Signal::SIGKILL);
    // Its command ends with it; the job stays its own until the lease is over.
    eventually("the command is gone", || !lives(command));
    let job = world.job(&change, "local:unit");
    assert_eq!(
        (&job["state"], &job["taken_by"]),
        (&json!("running"), &json!("killed-runner")),
        "{job}"
    );
    fs::write(world.out("gate"), "").unwrap();
    assert!(world.dispatch(&world.other).is_empty());
    // And what it left is removed by whoever comes next.
    world.is_clean();

    time_passes(&change);
    assert!(world.dispatch(&world.other).is_empty(), "it backs off");
    time_passes(&change);
    assert_eq!(
        events(&world.dispatch(&world.other)),
        ["local:unit running", "local:unit passed"]
    );
    let job = world.job(&change, "local:unit");
    assert_eq!(
        (&job["attempt"], &job["evidence"]["by"]),
        (&json!(2), &json!("killed-other")),
        "{job}"
    );
    assert_eq!(
        (
            job["history"].as_array().unwrap().len(),
            &job["history"][0]["why"]
        ),
        (1, &json!("its lease ran out"))
    );
    assert_eq!(world.status(&change)["state"], "verified");

    // The first wakes up and says otherwise.
    let late =
        json!({"job": job["job"], "status": "failed", "attempt": 1, "evidence": job["evidence"]});
    let answer = world.call(&world.runner, "report_verification", late);
    assert_eq!(
        (&answer["outcome"], &answer["state"]),
        (&json!("already_done"), &json!("passed")),
        "{answer}"
    );
}

#[test]
fn a_dispatcher_that_is_told_to_stop_leaves_nothing_running() {
    let world = World::new("stopped");
    world.configure(&format!(
        "    local: {{unit: {{commands: [\"trap '' TERM; echo $$ > $OUT; sleep 999 & wait; wait\"], env: {{OUT: {}}}}}}}\n",
        world.out("pid").display()
    ));
    world.commit(&[("unit/a", "a\n")]);
    let change = world.submit();
    let mut dispatcher = world.start(&world.runner);
    let command = pid(&world.out("pid"));
    assert!(dispatcher.tell(Signal::SIGTERM).success());
    assert!(!lives(command));
    let job = world.job(&change, "local:unit");
    assert_eq!(
        (&job["state"], &job["history"][0]["why"]),
        (&json!("error"), &json!("the dispatcher was stopped")),
        "{job}"
    );
    world.is_clean();
}

#[test]
fn nobody_runs_the_checks_of_their_own_change_or_brings_old_evidence() {
    let world = World::new("own");
    world.configure("    local: {unit: {commands: [\"true\"]}}\n");
    let head = world.commit(&[("unit/a", "a\n")]);
    // Submitted by the dispatcher itself.
    let answer = world
        .run(
            &world.runner,
            &["--json", "verify", "submit", "--base", "main"],
        )
        .exits(0)
        .json();
    let change = answer["changeset"].as_str().unwrap();
    assert!(world.dispatch(&world.runner).is_empty());

    let taken = world.call(
        &world.other,
        "take_verification",
        json!({"executors": ["inline"]}),
    );
    let report = |token: &str, started: &str| {
        let evidence =
            json!({"commit": head, "started_at": started, "ended_at": "2026-01-01T00:00:00Z"});
        let call =
            json!({"job": taken["job"], "status": "passed", "attempt": 1, "evidence": evidence});
        world.call(token, "report_verification", call)
    };
    assert_eq!(
        report(&world.runner, "2026-01-01T00:00:00Z")["code"],
        "author_cannot_verify"
    );
    assert_eq!(
        report(&world.other, "2025-12-31T00:00:00Z")["message"],
        "evidence_stale"
    );
    time_passes(change);
    world.dispatch(&world.other);
    time_passes(change);
    assert_eq!(
        events(&world.dispatch(&world.other)).last().unwrap(),
        "local:unit passed"
    );
    assert_eq!(world.status(change)["state"], "verified");
}

#[test]
fn a_change_of_more_than_was_told_is_not_run() {
    let world = World::new("lie");
    world.configure(&format!(
        "    local: {{unit: {{commands: [\"touch {}\"]}}}}\n",
        world.out("ran").display()
    ));
    let base = git(&world.checkout(), &["rev-parse", "main"]);
    let head = world.commit(&[("unit/a", "a\n"), ("auth/login", "let all in\n")]);
    let told = |paths: Value, head: &str| {
        let call = json!({"base": base, "head": head, "changed_paths": paths, "lines": 2});
        world.call(&world.author, "submit_changeset", call)["changeset"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let change = told(json!(["unit/a"]), &head);
    assert_eq!(
        events(&world.dispatch(&world.runner)),
        ["inline running", "inline error"]
    );
    let job = world.job(&change, "inline");
    let why = job["history"][0]["why"].as_str().unwrap();
    assert!(
        why.starts_with("1 changed files are not in changed_paths: auth/login"),
        "{job}"
    );
    assert!(!world.out("ran").exists());

    // A head that is nowhere says what to do.
    let change = told(json!(["unit/a"]), &"5".repeat(40));
    assert_eq!(
        events(&world.dispatch(&world.runner)),
        ["inline running", "inline error"]
    );
    let job = world.job(&change, "inline");
    assert!(
        job["history"][0]["why"]
            .as_str()
            .unwrap()
            .contains("push it, or fetch it there"),
        "{job}"
    );
}

#[test]
fn a_head_that_was_pushed_is_fetched_and_a_base_that_is_not_known_found() {
    let world = World::new("pushed");
    let origin = world.out("origin.git");
    git(
        world.dir.path(),
        &["clone", "-q", "--bare", "checkout", "origin.git"],
    );
    let work = world.out("work");
    git(world.dir.path(), &["clone", "-q", "origin.git", "work"]);
    git(
        &world.checkout(),
        &["remote", "add", "origin", origin.to_str().unwrap()],
    );
    git(&work, &["checkout", "-q", "-b", "feature"]);
    fs::create_dir(work.join("unit")).unwrap();
    fs::write(work.join("unit/a"), "pushed\n").unwrap();
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "change"]);
    git(&work, &["push", "-q", "origin", "feature"]);
    let head = git(&work, &["rev-parse", "HEAD"]);
    world.configure("    local: {unit: {commands: [\"grep pushed unit/a\", \"test $COORD_BASE = $(git rev-parse main)\"]}}\n");
    let call = json!({"base": "0".repeat(40), "head": head, "branch": "feature", "changed_paths": ["unit/a"], "lines": 1});
    let change = world.call(&world.author, "submit_changeset", call);
    let change = change["changeset"].as_str().unwrap();
    assert_eq!(
        events(&world.dispatch(&world.runner)).last().unwrap(),
        "local:unit passed"
    );
    assert_eq!(world.status(change)["state"], "verified");
}

#[test]
fn what_takes_a_person_is_decided_by_one_with_the_right() {
    let world = World::new("person");
    world.configure("");
    world.commit(&[("person/a", "a\n")]);
    let change = world.submit();
    assert_eq!(
        events(&world.dispatch(&world.runner)),
        ["inline running", "inline passed"]
    );
    let manual = world.job(&change, "manual");
    let job = manual["job"].as_str().unwrap();
    world
        .run(&world.author, &["verify", "status", &change])
        .exits(0)
        .says(&["takes a person", job]);
    for token in [&world.author, &world.runner] {
        world
            .run(token, &["verify", "decide", job, "approve"])
            .exits(1);
    }
    operator(&["verify", "decide", job, "reject"])
        .exits(2)
        .says(&["--note"]);
    operator(&["verify", "decide", job, "approve", "--note", "read"])
        .exits(0)
        .says(&["passed", "verified"]);
}

#[test]
fn a_configuration_is_told_where_it_is_wrong() {
    let world = World::new("config");
    for (text, said) in [
        (
            "    local: {unit: {commands: [true]}}\n",
            "expected a string",
        ),
        (
            "    local: {unit: {}}\n",
            "dispatch.yaml:8:13: commands lists what is run",
        ),
        (
            "    local: {unit: {commands: [x], time: 5}}\n",
            "unknown field `time`",
        ),
        (
            "    local: {unit: {commands: [x], pass: [COORD_TOKEN]}}\n",
            "COORD_TOKEN stays with the dispatcher",
        ),
        (
            "    lokal: {}\n",
            "lokal: no such key; did you mean local? These are known: checkout, default_branch, inline, local",
        ),
    ] {
        world.configure(text);
        Ran::of(&mut world.dispatcher(&world.runner, &["--once"]))
            .exits(2)
            .says(&["dispatch.yaml:8:", said]);
    }
    world.configure("");
    Ran::of(&mut world.dispatcher(&world.author, &["--once"]))
        .exits(1)
        .says(&["insufficient_trust_level"]);
    Ran::of(&mut world.dispatcher(&world.runner, &["--executors", "locale"]))
        .exits(2)
        .says(&["there are: inline, local"]);
    Ran::of(&mut world.dispatcher(&world.runner, &["--repo", "x/y/z"]))
        .exits(2)
        .says(&["is not in"]);
}

/// The time of the database, as evidence says it.
fn now() -> String {
    shared().psql("select to_json(clock_timestamp()) #>> '{}'")
}

/// What a script of `tests/clients` installs.
fn installed(script: &str) -> PathBuf {
    let output = Command::new("sh")
        .arg(support::script(script))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// GitHub's own description of its API, asked about what was sent.
fn right_to_github(log: &Path) -> Value {
    let packages = installed("github_setup.sh");
    let node = support::clients().join("node/node_modules/node/bin/node");
    let judge = Ran::of(
        clean(node)
            .arg(support::script("github_validate.mjs"))
            .arg(packages)
            .arg(log),
    );
    judge.exits(0).json()
}

fn vendors(args: &[&str]) -> String {
    let python = installed("vendors_setup.sh").join("bin/python");
    let judge = Ran::of(clean(python).arg(support::script("vendors.py")).args(args));
    judge.exits(0).out().trim().to_owned()
}

impl World {
    /// Runs all that is ready with these variables, and without any of them in what is said.
    fn dispatch_with(&self, secrets: &[(&str, &str)]) -> Vec<Value> {
        let mut command = self.dispatcher(&self.runner, &["--once", "--lease", "60"]);
        command
            .envs(secrets.iter().copied())
            .env("NO_PROXY", "127.0.0.1");
        let ran = Ran::of(&mut command).exits(0);
        for (name, secret) in secrets {
            assert!(
                !ran.out().contains(secret) && !ran.err().contains(secret),
                "{name}"
            );
        }
        ran.out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

const GITHUB: (&str, &str) = ("GITHUB_TOKEN", "the-token-of-the-tests");

#[test]
fn a_workflow_is_started_on_the_branch_and_its_run_asked_for() {
    let world = World::new("polled");
    let head = world.commit(&[("github/a", "a\n")]);
    let (sha, time) = (head.clone(), now());
    let limited = || (429, vec![("retry-after", "1".to_owned())], vec![]);
    let run = move |status: &str, conclusion: Value, sha: &str| {
        let body = json!({"id": 7, "name": "CI", "status": status, "conclusion": conclusion, "head_sha": sha,
            "html_url": "https://github.com/dispatch/polled/actions/runs/7", "run_started_at": time, "updated_at": time});
        says(200, &body)
    };
    let recorder = Recorder::start(world.dir.path(), move |number, _| match number {
        0 => limited(),
        1 | 5 => says(
            200,
            &json!({"workflow_run_id": 7, "run_url": "https://x", "html_url": "https://y"}),
        ),
        2 => says(404, &json!({"message": "Not Found"})),
        3 => run("in_progress", Value::Null, &sha),
        4 => run("completed", json!("success"), &sha),
        6 => run("in_progress", Value::Null, "another"),
        _ => says(202, &json!({})),
    });
    world.configure(&format!(
        "    github_actions: {{ci.yml: {{token: {{env: GITHUB_TOKEN}}, api: \"{}\", poll_seconds: 1}}}}\n",
        recorder.url
    ));
    let change = world.submit();
    let said = world.dispatch_with(&[GITHUB]);
    assert_eq!(
        events(&said)[2..],
        [
            "github_actions:ci.yml running",
            "github_actions:ci.yml passed"
        ]
    );
    let job = world.job(&change, "github_actions:ci.yml");
    assert_eq!(
        (&job["evidence"]["run"], &job["evidence"]["commit"]),
        (&json!(7), &json!(head)),
        "{job}"
    );
    assert_eq!(world.status(&change)["state"], "verified");

    // A branch that moved on while the workflow was started is no verdict.
    world.commit(&[("github/b", "b\n")]);
    let change = world.submit();
    assert_eq!(
        events(&world.dispatch_with(&[GITHUB])).last().unwrap(),
        "github_actions:ci.yml error"
    );
    let why = world.job(&change, "github_actions:ci.yml")["history"][0]["why"].clone();
    assert!(
        why.as_str().unwrap().starts_with("the branch has moved on"),
        "{why}"
    );

    let seen = recorder.seen();
    let lines: Vec<_> = seen
        .iter()
        .map(|it| format!("{} {}", it["method"], it["path"]).replace('"', ""))
        .collect();
    let root = "/repos/dispatch/polled/actions";
    assert_eq!(lines[1], format!("POST {root}/workflows/ci.yml/dispatches"));
    assert_eq!(lines.last().unwrap(), &format!("POST {root}/runs/7/cancel"));
    assert_eq!(
        seen[1]["body"],
        json!({"ref": "change", "inputs": {"job": job["job"], "attempt": "1", "head": head}, "return_run_details": true})
    );
    assert_eq!(
        seen[1]["headers"]["authorization"],
        format!("Bearer {}", GITHUB.1)
    );
    let counts = right_to_github(recorder.log());
    assert_eq!(counts["actions/create-workflow-dispatch"], 3, "{counts}");
}

#[test]
fn a_workflow_that_is_not_asked_for_tells_its_verdict_by_webhook() {
    let world = World::new("hooked");
    let head = world.commit(&[("github/a", "a\n")]);
    let recorder = Recorder::start(world.dir.path(), |_, _| (204, vec![], vec![]));
    world.configure(&format!(
        "    github_actions: {{ci.yml: {{token: {{env: GITHUB_TOKEN}}, api: \"{}\"}}}}\n",
        recorder.url
    ));
    let change = world.submit();
    let secret = "0123456789abcdef0123456789abcdef";
    let source = [
        "call",
        "set_webhook_source",
        "--name",
        "hooked",
        "--kind",
        "github",
        "--principal",
        "hooked-runner",
        "--secret",
        secret,
    ];
    operator(&[&source[..], &["--repos", &world.repo]].concat()).exits(0);
    let said = std::thread::scope(|scope| {
        let dispatcher = scope.spawn(|| world.dispatch_with(&[GITHUB]));
        eventually("the workflow is started", || recorder.seen().len() == 1);
        let time = now();
        let body = json!({
            "action": "completed", "repository": {"full_name": "dispatch/hooked", "html_url": "https://github.com/dispatch/hooked"},
            "workflow_run": {"id": 8, "event": "workflow_dispatch", "head_repository": {"full_name": "dispatch/hooked"}, "path": ".github/workflows/ci.yml", "head_sha": head, "conclusion": "failure", "name": "CI",
                "run_started_at": time, "updated_at": time, "html_url": "https://github.com/dispatch/hooked/actions/runs/8"},
            "sender": {"login": "ann"},
        });
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let signature = aws_lc_rs::hmac::sign(&key, body.to_string().as_bytes());
        let hex: Vec<_> = signature
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let hex = hex.concat();
        let headers = [
            ("x-hub-signature-256", format!("sha256={hex}")),
            ("x-github-event", "workflow_run".to_owned()),
        ];
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (status, answer) = runtime.block_on(shared().rpc("", "webhook_github", body, &headers));
        assert_eq!(
            (status, &answer["outcome"]),
            (200, &json!("accepted")),
            "{answer}"
        );
        dispatcher.join().unwrap()
    });
    assert_eq!(
        events(&said).last().unwrap(),
        "github_actions:ci.yml dropped"
    );
    assert_eq!(
        said.last().unwrap()["note"],
        "failed, as hooked-runner reports"
    );
    let job = world.job(&change, "github_actions:ci.yml");
    assert_eq!(
        (&job["state"], &job["attempt"], &job["evidence"]["run"]),
        (&json!("failed"), &json!(1), &json!(8)),
        "{job}"
    );
    right_to_github(recorder.log());
}

#[test]
fn a_runtime_of_agentcore_is_told_of_the_job_and_answers_its_verdict() {
    let world = World::new("agentcore");
    let head = world.commit(&[("agentcore/a", "a\n")]);
    let sha = head.clone();
    let recorder = Recorder::start(world.dir.path(), move |_, _| {
        says(
            200,
            &json!({"status": "passed", "commit": sha, "summary": "all 12 scenarios", "log_url": "https://logs.example/12"}),
        )
    });
    let arn = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/checks-AbCdEf1234";
    world.configure(&format!(
        "    agentcore: {{system: {{arn: \"{arn}\", qualifier: prod, endpoint: \"{}\"}}}}\n",
        recorder.url
    ));
    let change = world.submit();
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("AWS_SESSION_TOKEN", "temporary"),
    ];
    let said = world.dispatch_with(&keys);
    assert_eq!(
        events(&said).last().unwrap(),
        "agentcore:system passed",
        "{said:?}"
    );
    let job = world.job(&change, "agentcore:system");
    let evidence = &job["evidence"];
    assert_eq!(
        (&evidence["summary"], &evidence["log_url"]),
        (
            &json!("all 12 scenarios"),
            &json!("https://logs.example/12")
        )
    );
    let request = &recorder.seen()[0];
    let body = &request["body"];
    assert_eq!(
        (&body["job"], &body["head"], &body["changed_paths"]),
        (&job["job"], &json!(head), &json!(["agentcore/a"])),
        "{body}"
    );
    let log = recorder.log().to_str().unwrap();
    assert_eq!(
        vendors(&["judge", log, keys[0].1, keys[1].1, keys[2].1]),
        "InvokeAgentRuntime"
    );
}

#[test]
fn a_command_runs_in_a_sandbox_of_e2b_that_is_ended_with_it() {
    let world = World::new("sandbox");
    let head = world.commit(&[("e2b/a", "a\n")]);
    let [good, bad] = ["0", "3"].map(|code| {
        BASE64_STANDARD
            .decode(vendors(&["says", "no known holes", code]))
            .unwrap()
    });
    let recorder = Recorder::start(
        world.dir.path(),
        move |number, request| match request["method"].as_str() {
            Some("DELETE") => (204, vec![], vec![]),
            _ if request["path"] == "/sandboxes" => says(
                201,
                &json!({"templateID": "audit", "sandboxID": "sbx1", "clientID": "c", "envdVersion": "0.5.0", "envdAccessToken": "the-key-of-the-sandbox"}),
            ),
            _ => (
                200,
                vec![("content-type", "application/connect+json".to_owned())],
                if number < 3 {
                    good.clone()
                } else {
                    bad.clone()
                },
            ),
        },
    );
    let sandbox = format!(
        "template: audit, api_key: {{env: E2B_API_KEY}}, command: \"audit $COORD_HEAD\", env: {{LEVEL: high}}, api: \"{0}\", sandbox: \"{0}\"",
        recorder.url
    );
    world.configure(&format!("    e2b: {{audit: {{{sandbox}}}}}\n"));
    let change = world.submit();
    let key = [("E2B_API_KEY", "the-key-of-the-tests")];
    assert_eq!(
        events(&world.dispatch_with(&key)).last().unwrap(),
        "e2b:audit passed"
    );
    let job = world.job(&change, "e2b:audit");
    assert_eq!(
        job["evidence"]["summary"], "no known holes[coord: exit code 0]",
        "{job}"
    );
    let seen = recorder.seen();
    let raw = BASE64_STANDARD
        .decode(seen[1]["base64"].as_str().unwrap())
        .unwrap();
    let start: Value = serde_json::from_slice(&raw[5..]).unwrap();
    let process = &start["process"];
    assert_eq!(process["args"], json!(["-l", "-c", "audit $COORD_HEAD"]));
    assert_eq!(
        (&process["envs"]["COORD_HEAD"], &process["envs"]["LEVEL"]),
        (&json!(head), &json!("high")),
        "{process}"
    );

    world.commit(&[("e2b/b", "b\n")]);
    world.submit();
    assert_eq!(
        events(&world.dispatch_with(&key)).last().unwrap(),
        "e2b:audit failed"
    );
    assert_eq!(
        vendors(&["judge", recorder.log().to_str().unwrap()]),
        "create Start kill create Start kill"
    );
}

#[test]
fn the_configuration_of_the_reference_is_one() {
    let world = World::new("reference");
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verification.md"))
            .unwrap();
    let (_, text) = page.split_once("\n```yaml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let mut text = text.to_owned();
    for (there, here) in [
        (
            "/var/lib/coord/dispatch",
            world.out("scratch").to_str().unwrap(),
        ),
        ("github.com/acme/app:", &format!("{}:", world.repo)),
        ("/srv/checkouts/app", world.checkout().to_str().unwrap()),
        ("cargo fmt --check", "echo as configured"),
    ] {
        assert!(text.contains(there), "{there}");
        text = text.replace(there, here);
    }
    fs::write(world.out("dispatch.yaml"), text).unwrap();
    world.commit(&[("other/a", "a\n")]);
    let change = world.submit();
    // Without its secrets it says which.
    Ran::of(&mut world.dispatcher(&world.runner, &["--once"]))
        .exits(2)
        .says(&["the variable GITHUB_TOKEN is not set"]);
    let names = [
        "GITHUB_TOKEN",
        "E2B_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ];
    let said = world.dispatch_with(&names.map(|name| (name, "the-secret-of-the-tests")));
    assert_eq!(events(&said), ["inline running", "inline passed"]);
    let job = world.job(&change, "inline");
    assert!(
        job["evidence"]["summary"]
            .as_str()
            .unwrap()
            .contains("as configured"),
        "{job}"
    );
    assert_eq!(world.status(&change)["state"], "verified");
}

#[test]
fn as_many_run_at_once_as_is_said() {
    let world = World::new("many");
    let configure = |command: &str| {
        world.configure(&format!(
            "    local: {{unit: {{commands: [\"{command}\"], timeout_seconds: 120, env: {{OUT: {}}}}}}}\n",
            world.dir.path().display()
        ));
    };
    let submit = |name: &str| {
        git(&world.checkout(), &["checkout", "-q", "-B", name, "main"]);
        world.commit(&[("unit/a", name)]);
        world.submit()
    };
    let run = |jobs: &str, changes: &[String]| {
        let ran =
            Ran::of(&mut world.dispatcher(&world.runner, &["--once", "--jobs", jobs])).exits(0);
        for change in changes {
            assert_eq!(world.status(change)["state"], "verified", "{}", ran.out());
        }
        world.is_clean();
    };
    // Each waits for the others to be there.
    configure("echo >> $OUT/began; until [ $(wc -l < $OUT/began) -ge 4 ]; do sleep 0.1; done");
    run("4", &["a", "b", "c", "d"].map(submit));
    // Each would find the others.
    configure("mkdir $OUT/alone && sleep 0.3 && rmdir $OUT/alone");
    run("1", &["e", "f", "g"].map(submit));
}

#[test]
fn a_run_ends_when_a_newer_head_takes_the_place_of_its_change() {
    let world = World::new("newer");
    world.configure(&format!(
        "    local:\n      unit:\n        commands: [\"[ -e $OUT/gate ] || {{ echo $$ > $OUT/pid; sleep 999; }}\"]\n        env: {{OUT: {}}}\n",
        world.dir.path().display()
    ));
    world.commit(&[("unit/a", "a\n")]);
    let old = world.submit();
    std::thread::scope(|scope| {
        let dispatcher = scope.spawn(|| {
            let args = ["--once", "--lease", "60", "--jobs", "1"];
            Ran::of(&mut world.dispatcher(&world.runner, &args)).exits(0)
        });
        let command = pid(&world.out("pid"));
        fs::write(world.out("gate"), "").unwrap();
        world.commit(&[("unit/a", "b\n")]);
        let new = world.submit();
        let ran = dispatcher.join().unwrap();
        ran.says(&["\"event\":\"dropped\"", "\"note\":\"cancelled\""]);
        assert!(!lives(command));
        assert_eq!(world.status(&old)["superseded_by"], json!(new));
        assert_eq!(world.status(&new)["state"], "verified");
    });
    world.is_clean();
}
