//! The hooks with real git, the real stack, and `coord` as git calls it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::{COORD, clean, shared, told};
use tempfile::TempDir;

/// A program without the settings of whoever runs the tests, and with `coord` on its PATH.
fn program(name: &str, dir: &Path) -> Command {
    let mut command = clean(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(&name);
        }
    }
    let bin = Path::new(COORD).parent().unwrap().display();
    command
        .current_dir(dir)
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .env("HOME", "/nonexistent")
        .env("COORD_HOME", "/nonexistent")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Tester")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "t@git.example")));
    command
}

/// How a command ended and what it said.
struct Ran {
    output: Output,
    args: String,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        Self {
            output: command.output().unwrap(),
            args: format!("{:?}", command.get_args().collect::<Vec<_>>()),
        }
    }

    #[track_caller]
    fn exits(self, code: i32) -> Self {
        let said = told(&self.output);
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "{}\n{said}",
            self.args
        );
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        let said = told(&self.output);
        for word in words {
            assert!(said.contains(word), "{word}: {}\n{said}", self.args);
        }
        self
    }

    #[track_caller]
    fn says_nothing_of(self, word: &str) -> Self {
        let said = told(&self.output);
        assert!(!said.contains(word), "{word}: {}\n{said}", self.args);
        self
    }

    fn out(&self) -> String {
        String::from_utf8(self.output.stdout.clone())
            .unwrap()
            .trim_end()
            .to_owned()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out()).unwrap_or_else(|_| panic!("{}", told(&self.output)))
    }
}

/// An agent in a work tree of its own.
#[derive(Clone)]
struct Agent {
    token: String,
    dir: PathBuf,
}

impl Agent {
    fn new(name: &str, repo: &str, dir: &Path) -> Self {
        Self {
            token: shared().mint(name, "test-client", &format!("git.example/hooks/{repo}")),
            dir: dir.to_owned(),
        }
    }

    fn command(&self, program_name: &str) -> Command {
        let mut command = program(program_name, &self.dir);
        command
            .env("COORD_URL", &shared().url)
            .env("COORD_TOKEN", &self.token);
        command
    }

    fn git(&self, args: &[&str]) -> Ran {
        Ran::of(self.command("git").args(args))
    }

    fn coord(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(COORD).args(args))
    }

    fn lock(&self, paths: &[&str]) -> i64 {
        let args = [&["lock", "acquire", "--json"], paths].concat();
        let locks = self.coord(&args).exits(0).json();
        locks["locks"][0]["fence"].as_i64().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// Writes a file and stages it.
    fn stage(&self, name: &str, text: &str) {
        self.write(name, text);
        self.git(&["--literal-pathspecs", "add", "--", name])
            .exits(0);
    }

    fn commit(&self, message: &str) -> Ran {
        self.git(&["commit", "-q", "-m", message])
    }

    fn message(&self) -> String {
        self.git(&["log", "-1", "--format=%B"]).exits(0).out()
    }

    /// An executable file.
    fn script(&self, name: &str, text: &str) {
        self.write(name, text);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.dir.join(name), mode).unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap()
    }
}

/// A repository with two work trees and an agent in each. Its remote names it to the
/// coordinator; the hooks are not in yet.
struct Shop {
    a: Agent,
    b: Agent,
    repo: String,
    dir: TempDir,
}

impl Shop {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        let a = Agent::new(&format!("{name}-a"), name, &one);
        let b = Agent::new(&format!("{name}-b"), name, &two);
        a.git(&["init", "-q", "-b", "main"]).exits(0);
        let url = format!("https://user:secret@git.example/hooks/{name}.git");
        a.git(&["remote", "add", "origin", &url]).exits(0);
        for file in ["src/a.rs", "src/b.rs", "c.rs"] {
            a.stage(file, "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        }
        a.commit("start").exits(0);
        a.git(&["worktree", "add", "-q", "-b", "two", "../two"])
            .exits(0);
        Self {
            a,
            b,
            repo: format!("git.example/hooks/{name}"),
            dir,
        }
    }

    fn with_hooks(name: &str) -> Self {
        let shop = Self::new(name);
        shop.a.coord(&["hook", "install"]).exits(0);
        shop
    }

    fn policy(&self, policy: &str) {
        let args = [
            "call",
            "set_lock_policy",
            "--repo",
            &self.repo,
            "--policy",
            policy,
        ];
        Ran::of(shared().coord().args(args)).exits(0);
    }
}

#[test]
fn a_commit_needs_the_locks_of_its_files_and_names_them() {
    let shop = Shop::with_hooks("commit");
    let (a, b) = (&shop.a, &shop.b);
    a.coord(&[
        "lock",
        "acquire",
        "src/",
        "--reason",
        "a big move",
        "--ttl",
        "10m",
    ])
    .exits(0);
    b.stage("src/a.rs", "b");
    b.stage("c.rs", "b");
    b.commit("mine").exits(1).says(&[
        "this commit is refused: 2 staged files are not locked by commit-b",
        "src/a.rs: commit-a holds it (with src/) for up to ",
        ": a big move",
        "c.rs: nobody has locked it",
        "coord lock acquire c.rs src/a.rs",
        "ask the holder, or stand in line with `--wait",
    ]);
    b.git(&["commit", "-q", "-m", "mine", "--no-verify"])
        .exits(0)
        .says(&["the commit names no locks: commit-b holds none"]);

    let fence = a.lock(&["src/"]);
    let other = a.lock(&["c.rs"]);
    a.stage("src/a.rs", "a");
    a.stage("src/b.rs", "a");
    a.stage("c.rs", "a");
    a.commit("Move\n\nAll of it.\n\nFixes: #1")
        .exits(0)
        .says_nothing_of("coord");
    let message = a.message();
    let claims = a.coord(&["lock", "list", "--json"]).exits(0).json();
    let session = claims["locks"][0]["session_id"].as_str().unwrap();
    assert_eq!(
        message,
        format!(
            "Move\n\nAll of it.\n\nFixes: #1\nCoord-Agent: commit-a\nCoord-Session: {session}\n\
             Coord-Fence: {other} c.rs\nCoord-Fence: {fence} src/"
        )
    );
    assert_eq!(
        claims["repo"], *shop.repo,
        "a work tree is of its repository"
    );
    let there = b.coord(&["lock", "list", "--json"]).exits(0).json();
    assert_eq!(there["repo"], *shop.repo, "and so is another one");

    // Once more with the same locks: nothing is said twice. An amended commit is all its files.
    a.stage("c.rs", "b");
    a.git(&["commit", "-q", "--amend", "--no-edit"]).exits(0);
    assert_eq!(a.message(), message);
    a.git(&["commit", "-q", "--amend", "-m", "Anew"]).exits(0);
    a.git(&["commit", "-q", "--amend", "--no-edit"]).exits(0);
    assert!(
        a.message().contains(&format!("Coord-Fence: {fence} src/")),
        "{}",
        a.message()
    );

    // A deletion and both ends of a rename.
    a.coord(&["lock", "release"]).exits(0);
    a.git(&["rm", "-q", "src/a.rs"]).exits(0);
    a.commit("gone").exits(1).says(&["src/a.rs: nobody"]);
    a.git(&["reset", "-q", "--hard"]).exits(0);
    a.lock(&["d.rs"]);
    a.git(&["mv", "c.rs", "d.rs"]).exits(0);
    a.commit("moved")
        .exits(1)
        .says(&["c.rs: nobody"])
        .says_nothing_of("d.rs:");
    a.lock(&["c.rs"]);
    a.commit("moved").exits(0);
    // Below the root, the next step says where its paths begin.
    a.stage("src/b.rs", "x");
    Ran::of(
        a.command("git")
            .args(["commit", "-m", "x"])
            .current_dir(a.dir.join("src")),
    )
    .exits(1)
    .says(&["at the root of the checkout"]);
    // Shared is for reading.
    a.coord(&["lock", "acquire", "src/b.rs", "--mode", "shared"])
        .exits(0);
    a.commit("x")
        .exits(1)
        .says(&["src/b.rs: you hold it shared"]);
    // Part of what is staged, or more than that.
    a.coord(&["lock", "release"]).exits(0);
    a.lock(&["src/a.rs"]);
    a.write("src/a.rs", "y");
    a.git(&["commit", "-q", "-m", "part", "src/a.rs"]).exits(0);
    a.git(&["commit", "-q", "-m", "nothing", "--allow-empty"])
        .exits(1);
}

#[test]
fn nothing_staged_asks_nobody() {
    let shop = Shop::with_hooks("nothing");
    let empty = ["commit", "-q", "-m", "empty", "--allow-empty"];
    Ran::of(
        shop.a
            .command("git")
            .args(empty)
            .env("COORD_URL", "http://127.0.0.1:9"),
    )
    .exits(0);
    assert_eq!(shop.a.message(), "empty");
}

#[test]
fn a_first_commit_and_what_is_only_intended() {
    let dir = tempfile::tempdir().unwrap();
    let a = Agent::new("first-a", "first", dir.path());
    a.git(&["init", "-q"]).exits(0);
    a.coord(&["hook", "install", "--repo", "git.example/hooks/first"])
        .exits(0)
        .says(&["coord.repo = git.example/hooks/first"]);
    a.stage("x.rs", "1");
    a.write("later.rs", "1");
    a.git(&["add", "-N", "later.rs"]).exits(0);
    a.commit("one")
        .exits(1)
        .says(&["1 staged file is", "x.rs: nobody"]);
    a.lock(&["x.rs"]);
    a.commit("one").exits(0);
    assert!(a.message().contains("Coord-Agent: first-a"));
    a.stage("x.rs", "2");
    a.git(&["commit", "-q", "--amend", "--no-edit"]).exits(0);
    assert!(a.message().contains("Coord-Agent: first-a"));
}

#[test]
fn a_merge_is_asked_for_what_is_its_own() {
    let shop = Shop::with_hooks("merge");
    let (a, b) = (&shop.a, &shop.b);
    let free = ["commit", "-q", "--no-verify", "-m", "x"];
    a.stage("src/a.rs", "one\n");
    a.stage("src/b.rs", "0\n2\n3\n4\n5\n6\n7\n8\n9\n");
    a.git(&free).exits(0);
    b.stage("src/a.rs", "two\n");
    b.stage("new.rs", "two\n");
    b.git(&free).exits(0);
    a.git(&["merge", "two"]).exits(1);
    a.stage("src/a.rs", "one and two\n");
    // Only one of the three files that differ from HEAD or from the other side differs from both.
    a.git(&["commit", "-q", "--no-edit"])
        .exits(1)
        .says(&["1 staged file is", "src/a.rs: nobody"]);
    let fence = a.lock(&["src/a.rs"]);
    a.git(&["commit", "-q", "--no-edit"]).exits(0);
    let message = a.message();
    assert!(message.starts_with("Merge branch 'two'"), "{message}");
    assert!(
        message.contains(&format!("Coord-Fence: {fence} src/a.rs")),
        "{message}"
    );
    assert_eq!(
        a.git(&["log", "-1", "--format=%P"])
            .out()
            .split(' ')
            .count(),
        2
    );

    // What git merges by itself has nothing of its own.
    b.stage("new.rs", "three\n");
    b.git(&free).exits(0);
    a.stage("c.rs", "x");
    a.git(&free).exits(0);
    a.git(&["merge", "-q", "two"])
        .exits(0)
        .says_nothing_of("coord");
    assert!(!a.message().contains("Coord-"), "{}", a.message());
}

#[test]
fn a_message_that_nobody_wrote_stays_empty() {
    let shop = Shop::with_hooks("empty");
    let a = &shop.a;
    let fence = a.lock(&["c.rs"]);
    a.stage("c.rs", "x");
    let edit = |editor: &str, args: &[&str]| {
        Ran::of(
            a.command("git")
                .env("GIT_EDITOR", editor)
                .arg("commit")
                .args(args),
        )
    };
    let writes = "sed -i '1i Written'";
    for args in [&[][..], &["-v"], &["-s"], &["--cleanup=scissors"]] {
        edit("true", args).exits(1).says(&["empty commit message"]);
    }
    a.commit("").exits(1).says(&["empty commit message"]);
    edit(writes, &["-v", "-s"])
        .exits(0)
        .says_nothing_of("coord");
    let message = a.message();
    assert!(
        message.starts_with("Written\n\nSigned-off-by: "),
        "{message}"
    );
    assert!(
        message.ends_with(&format!("Coord-Fence: {fence} c.rs")),
        "{message}"
    );

    // A template that nobody filled in, and one that somebody did.
    a.write("../template", "Subject:\n\nWhy:\n");
    a.stage("c.rs", "y");
    edit("true", &["-t", "../template"])
        .exits(1)
        .says(&["did not edit the message"]);
    edit(writes, &["-t", "../template"]).exits(0);
    assert!(
        a.message().contains(&format!("Coord-Fence: {fence} c.rs")),
        "{}",
        a.message()
    );
    // A commit that was given up leaves nothing to the next.
    a.stage("c.rs", "z");
    edit("false", &[]).exits(1);
    a.commit("Plain").exits(0);
    assert_eq!(a.message().matches("Coord-Agent").count(), 1);
}

#[test]
fn hooks_that_were_there_keep_their_say() {
    let shop = Shop::new("chain");
    let a = &shop.a;
    let mine = "#!/bin/sh\necho \"mine $# $0\" >> ran\n[ ! -e stop ] || exit 7\n";
    a.script(".git/hooks/pre-commit", mine);
    a.script(
        ".git/hooks/prepare-commit-msg",
        "#!/bin/sh\nsed -i '1s/^/[T-1] /' \"$1\"\n",
    );
    a.coord(&["hook", "install"])
        .exits(0)
        .says(&["installed pre-commit", "pre-commit.before-coord"]);
    let scripts = ["pre-commit", "prepare-commit-msg", "commit-msg"];
    let texts = || scripts.map(|name| a.text(&format!(".git/hooks/{name}")));
    let first = texts();
    a.coord(&["hook", "install"])
        .exits(0)
        .says(&["unchanged pre-commit"])
        .says_nothing_of("installed");
    assert_eq!(texts(), first);
    assert_eq!(a.text(".git/hooks/pre-commit.before-coord"), mine);
    a.coord(&["hook", "status"]).exits(0).says(&[
        "installed",
        "pre-commit.before-coord",
        "pre-receive",
        "not there",
        "you are chain-a",
        "enforce",
    ]);

    a.stage("c.rs", "x");
    a.commit("x").exits(1).says(&["c.rs: nobody"]);
    assert_eq!(a.text("ran").lines().count(), 1);
    a.lock(&["c.rs"]);
    a.write("stop", "");
    a.commit("x").exits(1).says_nothing_of("coord");
    std::fs::remove_file(a.dir.join("stop")).unwrap();
    a.commit("x").exits(0);
    assert!(
        a.message().starts_with("[T-1] x\n\nCoord-Agent: chain-a"),
        "{}",
        a.message()
    );

    // From the other work tree: the folder is the same, and so is the repository.
    let status = shop.b.coord(&["hook", "status", "--json"]).exits(0).json();
    assert_eq!(status["hooks"][0]["state"], "installed");
    assert_eq!(status["coordinator"]["repo"], *shop.repo);

    // Somebody put another hook in our place: both cannot be kept, and neither is lost.
    a.script(".git/hooks/pre-commit", "#!/bin/sh\n");
    a.coord(&["hook", "install"])
        .exits(2)
        .says(&["is not ours", "before-coord is there already"]);
    a.coord(&["hook", "uninstall"])
        .exits(0)
        .says_nothing_of("removed pre-commit");
    assert_eq!(a.text(".git/hooks/pre-commit"), "#!/bin/sh\n");
    std::fs::remove_file(a.dir.join(".git/hooks/pre-commit")).unwrap();
    a.coord(&["hook", "install", "pre-commit"]).exits(0);
    let gone = a.coord(&["hook", "uninstall", "--json"]).exits(0).json();
    assert_eq!(gone["hooks"].as_array().unwrap().len(), 1);
    assert_eq!(a.text(".git/hooks/pre-commit"), mine);
    assert!(!a.dir.join(".git/hooks/commit-msg").exists());
    a.coord(&["hook", "uninstall"])
        .exits(0)
        .says(&["no hooks of coord"]);
}

#[test]
fn husky_calls_us_from_its_own_file() {
    let shop = Shop::new("husky");
    let a = &shop.a;
    // As husky 9 writes it.
    let stub = "#!/usr/bin/env sh\n. \"$(dirname \"$0\")/h\"\n";
    for name in ["pre-commit", "prepare-commit-msg", "commit-msg"] {
        a.script(&format!(".husky/_/{name}"), stub);
    }
    a.write(
        ".husky/_/h",
        "n=$(basename \"$0\")\ns=$(dirname \"$(dirname \"$0\")\")/$n\n[ ! -f \"$s\" ] && exit 0\n\
         sh -e \"$s\" \"$@\"\nc=$?\n[ $c != 0 ] && echo \"husky - $n script failed (code $c)\"\nexit $c\n",
    );
    a.git(&["config", "core.hooksPath", ".husky/_"]).exits(0);
    a.write(".husky/pre-commit", "echo linted >> ran\ntest ! -e stop");
    Ran::of(
        a.command(COORD)
            .args(["hook", "install"])
            .current_dir(a.dir.join("src")),
    )
    .exits(0);
    let text = a.text(".husky/pre-commit");
    a.coord(&["hook", "install"])
        .exits(0)
        .says_nothing_of("installed");
    assert_eq!(a.text(".husky/pre-commit"), text);
    assert!(
        !text.contains(COORD) && a.text(".husky/_/pre-commit") == stub,
        "{text}"
    );
    a.stage("c.rs", "x");
    a.commit("x")
        .exits(1)
        .says(&["c.rs: nobody", "husky - pre-commit script failed (code 1)"]);
    assert_eq!(a.text("ran"), "linted\n");
    a.lock(&["c.rs"]);
    a.write("stop", "");
    a.commit("x").exits(1);
    std::fs::remove_file(a.dir.join("stop")).unwrap();
    a.commit("x").exits(0);
    assert!(a.message().contains("Coord-Agent: husky-a"));
    a.coord(&["hook", "status"])
        .exits(0)
        .says(&["installed", ".husky/pre-commit"]);
    a.coord(&["hook", "uninstall"])
        .exits(0)
        .says(&["removed pre-commit"]);
    assert_eq!(
        a.text(".husky/pre-commit"),
        "echo linted >> ran\ntest ! -e stop\n"
    );
    assert!(!a.dir.join(".husky/commit-msg").exists());
}

#[test]
fn hooks_find_coord_or_say_what_to_do() {
    let shop = Shop::with_hooks("lost");
    let a = &shop.a;
    let path = std::env::var_os("PATH").unwrap();
    let dirs = std::env::split_paths(&path).filter(|dir| !dir.join("coord").exists());
    let path = std::env::join_paths(dirs).unwrap();
    let without = |args: &[&str]| Ran::of(a.command("git").env("PATH", &path).args(args));
    a.stage("c.rs", "x");
    // Not on the PATH: the one that installed it.
    without(&["commit", "-m", "x"])
        .exits(1)
        .says(&["c.rs: nobody"]);
    for name in ["pre-commit", "prepare-commit-msg"] {
        let text = a
            .text(&format!(".git/hooks/{name}"))
            .replace(COORD, "/nonexistent/coord");
        a.script(&format!(".git/hooks/{name}"), &text);
    }
    without(&["commit", "-m", "x"]).exits(1).says(&[
        "finds no coord",
        "/nonexistent/coord",
        "rm '.git/hooks/pre-commit'",
    ]);
    without(&["commit", "-m", "x", "--no-verify"])
        .exits(0)
        .says(&["finds no coord"]);
    a.coord(&["hook", "install"])
        .exits(0)
        .says(&["updated pre-commit"]);
}

#[test]
fn nobody_to_ask_is_no_refusal() {
    let shop = Shop::with_hooks("down");
    let a = &shop.a;
    let once = |key: &str, value: &str, args: &[&str]| {
        Ran::of(
            a.command("git")
                .env(key, value)
                .args(["commit", "-q", "-m", "x"])
                .args(args),
        )
    };
    a.stage("c.rs", "x");
    let words = [
        "could not be checked",
        "Nobody has refused it",
        "git commit --no-verify",
    ];
    let down = ("COORD_URL", "http://127.0.0.1:9");
    once(down.0, down.1, &[]).exits(1).says(&words).says(&[
        "cannot reach the coordinator at http://127.0.0.1:9",
        "coord up --detach",
    ]);
    once("COORD_TOKEN", "", &[])
        .exits(1)
        .says(&words)
        .says(&["no token", "coord token mint"]);
    once("COORD_TOKEN", "odd", &[]).exits(1).says(&words);
    once("COORD_REPO", "git.example/hooks/other", &[])
        .exits(1)
        .says(&words)
        .says(&["repo_not_granted"]);
    // One that takes the call and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let begun = std::time::Instant::now();
    once("COORD_URL", &url, &[])
        .exits(1)
        .says(&words)
        .says(&["no answer within 8 seconds"]);
    assert!(begun.elapsed().as_secs() < 15);
    once(down.0, down.1, &["--no-verify"])
        .exits(0)
        .says(&["does not say under which locks it was made: cannot reach"]);
    let status = Ran::of(
        a.command(COORD)
            .env(down.0, down.1)
            .args(["hook", "status"]),
    );
    status.exits(3).says(&["does not answer", "what mends it"]);
    let outside = Ran::of(program(COORD, Path::new("/")).args(["hook", "install"]));
    outside.exits(2).says(&["not a git repository"]);
}

#[test]
fn policies_warn_or_let_pass() {
    let shop = Shop::with_hooks("policy");
    let a = &shop.a;
    shop.policy("warn");
    a.stage("c.rs", "x");
    a.commit("x").exits(0).says(&[
        "coord: warning: 1 staged file is not locked by policy-a",
        "c.rs: nobody",
    ]);
    shop.policy("off");
    a.stage("c.rs", "y");
    a.commit("x").exits(0).says_nothing_of("nobody");
    // What is covered is said all the same.
    let fence = a.lock(&["c.rs"]);
    a.stage("c.rs", "z");
    a.stage("src/a.rs", "z");
    a.commit("x").exits(0);
    assert!(
        a.message().ends_with(&format!("Coord-Fence: {fence} c.rs")),
        "{}",
        a.message()
    );
    shop.policy("enforce");
    a.stage("src/a.rs", "y");
    a.commit("x").exits(1);
}

#[test]
fn many_files_and_odd_names() {
    let server = Server::new("names");
    let a = &server.shop.a;
    for at in 0..150 {
        a.write(&format!("many/{at}"), "x");
    }
    a.git(&["add", "many"]).exits(0);
    a.commit("x")
        .exits(1)
        .says(&["150 staged files are", "… and 130 more"]);
    a.lock(&["many/"]);
    a.commit("x").exits(0);
    assert_eq!(a.message().matches("Coord-Fence").count(), 1);

    let names = [
        "with blank",
        "\"quoted\" 'twice'",
        "naïve ✓.rs",
        "-x",
        "port:5432",
        "unknown:x",
        "back\\slash",
        "[a]",
        "tab\tbed",
        ":(top)x",
    ];
    for name in names {
        a.stage(name, "x");
    }
    a.commit("x").exits(1).says(&[
        "10 staged files are",
        "naïve ✓.rs: nobody",
        "./port:5432: nobody",
    ]);
    for name in names.iter().filter(|name| !name.contains('\t')) {
        let path = format!("./{name}");
        a.lock(&["--", &path]);
    }
    a.commit("x").exits(1).says(&["1 staged file is", "./: "]);
    a.coord(&["lock", "release"]).exits(0);
    a.lock(&["./"]);
    a.commit("x").exits(0);
    a.coord(&["lock", "release"]).exits(0);

    // A name that no lock can have: its directory guards it.
    a.stage("d/new\nline", "x");
    a.stage("d/glob*", "x");
    a.stage("d/ends ", "x");
    a.commit("x").exits(1).says(&["d/: nobody"]);
    a.lock(&["d/"]);
    std::fs::write(a.dir.join(OsStr::from_bytes(b"d/odd\xff")), "x").unwrap();
    a.git(&["add", "d"]).exits(0);
    a.commit("x").exits(0);
    a.coord(&["lock", "release"]).exits(0);
    Server::push(a, "main").exits(0);
    a.git(&["mv", "d/new\nline", "d/other\nline"]).exits(0);
    let forged = ["commit", "-q", "--no-verify", "-m", "x"];
    a.git(&forged).exits(0);
    Server::push(a, "main")
        .exits(1)
        .says(&["2 changes are", " d/new line: ", " d/other line: "]);

    // Links lead to the file that is edited.
    symlink("c.rs", a.dir.join("link.rs")).unwrap();
    let locks = a
        .coord(&["lock", "acquire", "link.rs", "--json"])
        .exits(0)
        .json();
    assert_eq!(locks["locks"][0]["path"], "c.rs");
    a.git(&["config", "core.ignorecase", "true"]).exits(0);
    let locks = a
        .coord(&["lock", "acquire", "SRC/A.rs", "--json"])
        .exits(0)
        .json();
    assert_eq!(locks["locks"][0]["path"], "src/a.rs");
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let shop = Shop::new("outer");
    let a = &shop.a;
    let inner = Shop::new("inner");
    let from = inner.a.dir.to_str().unwrap();
    a.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        from,
        "sub",
    ])
    .exits(0);
    a.commit("with sub").exits(0);
    let sub = Agent::new("inner-a", "inner", &a.dir.join("sub"));
    let url = "git@git.example:hooks/inner.git";
    sub.git(&["remote", "set-url", "origin", url]).exits(0);
    sub.coord(&["hook", "install"]).exits(0);
    assert!(a.dir.join(".git/modules/sub/hooks/pre-commit").exists());
    sub.stage("c.rs", "x");
    sub.commit("x").exits(1).says(&["c.rs: nobody", "inner-a"]);
    sub.lock(&["c.rs"]);
    let listed = sub.coord(&["lock", "list", "--json"]).exits(0).json();
    assert_eq!(listed["repo"], "git.example/hooks/inner");
    sub.commit("x").exits(0);
    assert!(sub.message().contains("Coord-Agent: inner-a"));
    // Outside, the submodule is one path, whatever .gitmodules says of it.
    a.coord(&["hook", "install"]).exits(0);
    a.git(&["config", "submodule.sub.ignore", "all"]).exits(0);
    a.git(&["add", "--force", "sub"]).exits(0);
    a.commit("moved on")
        .exits(1)
        .says(&["sub: nobody", "outer-a"]);
}

/// A server's repository, which knows the coordinator from its git config alone.
struct Server {
    shop: Shop,
    dir: PathBuf,
}

impl Server {
    fn new(name: &str) -> Self {
        let shop = Shop::with_hooks(name);
        let dir = shop.dir.path().join("server.git");
        let path = dir.to_str().unwrap().to_owned();
        shop.a.git(&["clone", "-q", "--bare", ".", &path]).exits(0);
        let token = shared().mint(&format!("{name}-server"), "git-server", &shop.repo);
        std::fs::write(shop.dir.path().join("token"), token).unwrap();
        // The token's path is kept whole.
        let args = [
            "hook",
            "install",
            "pre-receive",
            "--repo",
            &shop.repo,
            "--url",
            &shared().url,
            "--token-file",
            "../token",
        ];
        Ran::of(program(COORD, &dir).args(args))
            .exits(0)
            .says(&["coord.url", "coord.tokenFile"]);
        for agent in [&shop.a, &shop.b] {
            agent
                .git(&["config", "--replace-all", "remote.server.url", &path])
                .exits(0);
        }
        Self { shop, dir }
    }

    /// As a server runs: without the variables of who pushes.
    fn push(agent: &Agent, refs: &str) -> Ran {
        Ran::of(program("git", &agent.dir).args(["push", "-q", "server", refs]))
    }

    fn set(&self, sql: &str) {
        shared().psql(&sql.replace("REPO", &format!("'{}'", self.shop.repo)));
    }
}

#[test]
fn a_push_is_checked_where_it_arrives() {
    let server = Server::new("push");
    let (a, b) = (&server.shop.a, &server.shop.b);
    let fence = a.lock(&["src/"]);
    a.stage("src/a.rs", "a1");
    a.commit("one").exits(0);
    Server::push(a, "main").exits(0).says_nothing_of("coord");
    // Made past the hooks, without a lock.
    b.git(&["rebase", "-q", "main"]).exits(0);
    b.stage("src/a.rs", "b1");
    b.stage("src/new\nline", "b1");
    b.git(&["commit", "-q", "--no-verify", "-m", "sly"])
        .exits(0);
    Server::push(b, "two").exits(1).says(&[
        "this push is refused: 2 changes are",
        " src/a.rs: the commit names no lock; push-a holds src/ now",
        "src/new line: the commit names no lock",
        "Lock the files (`coord lock acquire`)",
        "pre-receive hook declined",
    ]);
    // Nor by another name, nor with a fence that is not its own.
    b.git(&["tag", "-a", "-m", "x", "sly"]).exits(0);
    Server::push(b, "sly").exits(1);
    let forged = format!("x\n\nCoord-Agent: push-b\nCoord-Fence: {fence} src/\nCoord-Fence: odd");
    b.git(&["commit", "-q", "--amend", "--no-verify", "-m", &forged])
        .exits(0);
    Server::push(b, "two")
        .exits(1)
        .says(&["by push-b src/a.rs: no lock that the commit names covers it"]);

    // Released before the push: as good as held, while nobody came after.
    a.stage("src/a.rs", "a2");
    a.commit("two").exits(0);
    a.coord(&["lock", "release"]).exits(0);
    Server::push(a, "main").exits(0);
    // A branch at known commits, and one that goes, bring nothing to check, also when nobody can be asked.
    Ran::of(program("git", &server.dir).args(["config", "coord.url", "http://127.0.0.1:9"]))
        .exits(0);
    Server::push(a, "main:again").exits(0);
    Server::push(a, ":again").exits(0);
    a.lock(&["c.rs"]);
    a.stage("c.rs", "a");
    a.commit("three").exits(0);
    Server::push(a, "main").exits(1).says(&[
        "could not be checked",
        "Nobody has refused it",
        "on the server",
    ]);
    let url = &shared().url;
    Ran::of(program("git", &server.dir).args(["config", "coord.url", url])).exits(0);
    Server::push(a, "main").exits(0);

    // Two at once, one of them without a lock: nothing arrives. A merge answers for its own.
    b.git(&["reset", "-q", "--hard", "main~1"]).exits(0);
    b.lock(&["src/b.rs"]);
    b.stage("src/b.rs", "b");
    b.commit("covered").exits(0);
    b.git(&["merge", "-q", "main", "-m", "join"]).exits(0);
    Server::push(b, "two").exits(0);
    b.stage("c.rs", "b");
    b.git(&["commit", "-q", "--no-verify", "-m", "sly"])
        .exits(0);
    b.stage("src/b.rs", "b2");
    b.commit("covered").exits(0);
    Server::push(b, "two")
        .exits(1)
        .says(&["1 change is", " c.rs: "])
        .says_nothing_of("src/b.rs");

    server.shop.policy("warn");
    Server::push(b, "two")
        .exits(0)
        .says(&["coord: warning: 1 change is"]);
    server.shop.policy("off");
    b.stage("c.rs", "c");
    b.git(&["commit", "-q", "--no-verify", "-m", "sly"])
        .exits(0);
    Server::push(b, "two").exits(0).says_nothing_of("coord");
    server.shop.policy("enforce");
    // A token that may not check pushes.
    std::fs::write(server.shop.dir.path().join("token"), &a.token).unwrap();
    a.stage("c.rs", "d");
    a.commit("four").exits(0);
    Server::push(a, "main")
        .exits(1)
        .says(&["did not check this push", "insufficient_trust_level"]);
}

#[test]
fn a_servers_own_hook_sees_the_push_too() {
    let server = Server::new("chained");
    let a = &server.shop.a;
    let hooks = server.dir.join("hooks");
    let mine = "#!/bin/sh\nread old new ref\necho \"saw $ref\"\n[ \"$ref\" != refs/heads/no ]\n";
    a.script(
        hooks.join("pre-receive.before-coord").to_str().unwrap(),
        mine,
    );
    a.lock(&["c.rs"]);
    a.stage("c.rs", "a");
    a.commit("one").exits(0);
    Server::push(a, "main:no")
        .exits(1)
        .says(&["saw refs/heads/no"])
        .says_nothing_of("coord");
    a.git(&[
        "commit",
        "-q",
        "--amend",
        "--no-verify",
        "-m",
        "no trailers",
    ])
    .exits(0);
    Server::push(a, "main")
        .exits(1)
        .says(&["saw refs/heads/main"]);
}

/// The agent was thought dead, its lock went to another, who pushed; then it goes on as if nothing had been.
#[test]
fn a_resurrected_agent_is_stopped_everywhere() {
    let server = Server::new("risen");
    let (a, b) = (&server.shop.a, &server.shop.b);
    a.lock(&["src/a.rs"]);
    a.stage("src/a.rs", "a");
    a.commit("before the fall").exits(0);
    server.set("update coord.locks set expires_at = clock_timestamp() - interval '1 second' where repo = REPO");
    b.lock(&["src/a.rs"]);
    b.stage("src/a.rs", "b");
    b.commit("taken over").exits(0);
    Server::push(b, "two").exits(0);

    a.coord(&["lock", "release", "src/a.rs"])
        .exits(1)
        .says(&["is not held", "risen-b holds it"]);
    a.coord(&["lock", "verify", "src/a.rs"])
        .exits(1)
        .says(&["held by risen-b"]);
    let refused = [
        "by risen-a src/a.rs: its lock (fence ",
        "ran out before it was released",
        "risen-b holds src/a.rs now",
    ];
    Server::push(a, "main:a").exits(1).says(&refused);
    a.stage("src/a.rs", "a again");
    a.commit("after")
        .exits(1)
        .says(&["src/a.rs: risen-b holds it"]);
    // Also when the other is done.
    b.coord(&["lock", "release"]).exits(0);
    Server::push(a, "main:a")
        .exits(1)
        .says(&["ran out before it was released"])
        .says_nothing_of("now");
    // With the file taken again and the work taken in, it is welcome.
    a.git(&["reset", "-q", "--hard", "two"]).exits(0);
    a.lock(&["src/a.rs"]);
    a.stage("src/a.rs", "both");
    a.commit("after").exits(0);
    Server::push(a, "main:a").exits(0);
}

/// It paused past its lease while nobody wanted the file, released in between, or somebody was faster.
#[test]
fn a_paused_holder_is_told_what_it_missed() {
    let server = Server::new("paused");
    let (a, b) = (&server.shop.a, &server.shop.b);
    a.lock(&["c.rs"]);
    a.stage("c.rs", "a");
    a.commit("one").exits(0);
    server.set("update coord.locks set expires_at = clock_timestamp() - interval '1 second' where repo = REPO");
    Server::push(a, "main:a")
        .exits(1)
        .says(&["ran out before it was released"]);
    a.stage("c.rs", "aa");
    a.commit("two")
        .exits(1)
        .says(&["c.rs: nobody has locked it"]);
    // The same session again, with nobody between: it vouches for what it did before.
    a.lock(&["c.rs"]);
    Server::push(a, "main:a").exits(0);

    // Released, and only then overtaken.
    a.stage("c.rs", "aaa");
    a.commit("three").exits(0);
    a.coord(&["lock", "release"]).exits(0);
    b.lock(&["c.rs"]);
    b.stage("c.rs", "b");
    b.commit("faster").exits(0);
    Server::push(b, "two").exits(0);
    Server::push(a, "main:a").exits(1).says(&[
        "by paused-a c.rs: paused-b pushed it under fence ",
        "which is newer than ",
        "paused-b holds c.rs now",
    ]);
    // Taken again while its work goes on top of the other's: git says the new lock itself.
    b.coord(&["lock", "release"]).exits(0);
    a.lock(&["c.rs"]);
    a.git(&["rebase", "-q", "-X", "theirs", "two"]).exits(0);
    Server::push(a, "main:a")
        .exits(1)
        .says(&["non-fast-forward"]);
    Server::push(a, "+main:a").exits(0);
}
