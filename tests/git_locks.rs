//! Locks by git: real bare repositories over file and HTTP, processes that race and are killed,
//! and the coordinator going away and coming back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::cli::Ran;
use support::mcp::Client;
use support::{COORD, clean, script, shared};
use tempfile::TempDir;

/// A program without the settings of whoever runs the tests.
fn program(name: &str, dir: &Path) -> Command {
    let mut command = clean(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(dir)
        .env("HOME", "/nonexistent")
        .env("COORD_HOME", "/nonexistent")
        .env("COORD_CACHE_DIR", dir.join(".git/coord-cache"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("CLAUDE_CODE_SESSION_ID");
    command
}

/// A bare repository, and clones of it.
struct Remote {
    dir: TempDir,
    address: String,
    web: Option<Child>,
}

impl Remote {
    fn by_file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bare = dir.path().join("r.git");
        git(
            dir.path(),
            &["init", "-q", "--bare", bare.to_str().unwrap()],
        );
        let address = format!("file://{}", bare.display());
        Self {
            dir,
            address,
            web: None,
        }
    }

    /// The same behind a web server that runs git's own CGI program.
    fn by_http() -> Self {
        let mut remote = Self::by_file();
        let mut web = clean("python3")
            .arg(script("git_http.py"))
            .arg(remote.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(web.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        remote.address = format!("http://127.0.0.1:{}/r.git", port.trim());
        remote.web = Some(web);
        remote
    }

    fn bare(&self) -> PathBuf {
        self.dir.path().join("r.git")
    }

    /// A clone in which an agent works.
    fn clone(&self, agent: &str) -> Agent {
        let dir = self.dir.path().join(agent);
        git(
            self.dir.path(),
            &["clone", "-q", &self.address, dir.to_str().unwrap()],
        );
        git(&dir, &["config", "coord.skew", "1"]);
        Agent {
            name: agent.to_owned(),
            session: format!("{agent}-1"),
            dir,
            env: Vec::new(),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(web) = &mut self.web {
            drop(web.stdin.take());
            let _ = web.wait();
        }
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let ran = Ran::of(program("git", dir).args(args)).exits(0);
    ran.out().trim().to_owned()
}

#[derive(Clone)]
struct Agent {
    name: String,
    session: String,
    dir: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Agent {
    fn command(&self) -> Command {
        let mut command = program(COORD, &self.dir);
        command
            .env("COORD_AGENT", &self.name)
            .env("COORD_SESSION_ID", &self.session)
            .envs(self.env.iter().cloned());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command().args(args))
    }

    /// `coord lock … --via git --json`.
    #[track_caller]
    fn lock(&self, code: i32, args: &[&str]) -> Value {
        let all: Vec<&str> = [&["lock"], args, &["--via", "git", "--json"]].concat();
        self.run(&all).exits(code).json()
    }

    fn with(&self, env: &[(&'static str, &str)]) -> Self {
        let mut agent = self.clone();
        let env = env.iter().map(|(name, value)| (*name, (*value).to_owned()));
        agent.env.extend(env);
        agent
    }

    fn in_session(&self, session: &str) -> Self {
        Self {
            session: session.to_owned(),
            ..self.clone()
        }
    }
}

fn now() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(age.as_secs()).unwrap()
}

fn fence(answer: &Value) -> i64 {
    answer["locks"][0]["fence"].as_i64().expect("a fence")
}

/// Moves the only lock's expiry, and that of nothing else, as its holder would have written it.
fn expire(agent: &Agent, remote: &Remote) {
    let refs = git(
        &remote.bare(),
        &["for-each-ref", "--format=%(refname)", "refs/coord/locks"],
    );
    for name in refs.lines().filter(|name| !name.ends_with("guard")) {
        let message = git(&remote.bare(), &["log", "-1", "--format=%B", name]);
        let (title, json) = message.split_once("\n\n").unwrap();
        let mut record: Value = serde_json::from_str(json).unwrap();
        record["expires"] = json!(now() - 10);
        let tree = git(
            &agent.dir,
            &["hash-object", "-t", "tree", "-w", "/dev/null"],
        );
        let text = format!("{title}\n\n{record}\n");
        let commit = git(
            &agent.dir,
            &[
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@git.example",
                "commit-tree",
                &tree,
                "-m",
                &text,
            ],
        );
        git(
            &agent.dir,
            &["push", "-q", "-f", "origin", &format!("{commit}:{name}")],
        );
    }
}

// ------------------------------------------------------------------------ one at a time

#[test]
fn a_lock_is_a_ref_and_who_has_it_is_told() {
    let remote = Remote::by_file();
    let (a, b) = (remote.clone("a"), remote.clone("b"));
    let got = a.lock(
        0,
        &["acquire", "src/", "--reason", "a move", "--ttl", "10m"],
    );
    assert_eq!(
        (&got["outcome"], &got["via"]),
        (&json!("acquired"), &json!("git")),
        "{got}"
    );
    let seen = git(
        &remote.bare(),
        &["log", "--format=%s", "--glob=refs/coord/locks"],
    );
    assert!(seen.contains("coord lock: src/ held by a"), "{seen}");

    let held = b.lock(1, &["acquire", "lib/y", "src/deep/x.rs"]);
    let blocker = &held["blockers"][0];
    assert_eq!(held["outcome"], "held", "{held}");
    assert_eq!(
        (
            &blocker["holder"],
            &blocker["reason"],
            &blocker["session_id"]
        ),
        (&json!("a"), &json!("a move"), &json!("a-1"))
    );
    assert_eq!(
        (&blocker["path"], &blocker["held_path"]),
        (&json!("src/deep/x.rs"), &json!("src/"))
    );
    // All or nothing.
    assert_eq!(a.lock(0, &["list"])["total"], 1);

    // Again is to extend, never to shorten, under the same fence.
    let again = a.lock(0, &["acquire", "src/", "--ttl", "60"]);
    assert_eq!(
        (&again["outcome"], fence(&again)),
        (&json!("renewed"), fence(&got))
    );
    assert!(
        again["locks"][0]["seconds_left"].as_i64().unwrap() > 500,
        "{again}"
    );

    // Another session of the same agent is somebody else.
    assert_eq!(
        a.in_session("a-2").lock(1, &["acquire", "src/x"])["outcome"],
        "held"
    );
    assert_eq!(
        a.lock(
            0,
            &["verify", "src/x.rs", "--fence", &fence(&got).to_string()]
        )["outcome"],
        "covered"
    );
    assert_eq!(
        a.lock(1, &["verify", "src/x.rs", "--fence", "99"])["problems"][0]["problem"],
        "stale_fence"
    );
    assert_eq!(
        b.lock(1, &["verify", "src/x.rs"])["problems"][0]["problem"],
        "held_by_other"
    );
    assert_eq!(
        b.lock(1, &["release", "src/"])["not_held"][0]["holder"],
        "a"
    );

    assert_eq!(a.lock(0, &["release"])["released"][0]["path"], "src/");
    let next = b.lock(0, &["acquire", "./"]);
    assert!(fence(&next) > fence(&got), "{next}");
    assert_eq!(a.lock(1, &["acquire", "anything"])["outcome"], "held");
    // Not of the repository.
    a.lock(0, &["acquire", "port:5432"]);
}

#[test]
fn readers_share_and_one_of_them_may_become_the_writer() {
    let remote = Remote::by_file();
    let (a, b) = (remote.clone("a"), remote.clone("b"));
    a.lock(0, &["acquire", "doc/", "--mode", "shared"]);
    b.lock(0, &["acquire", "doc/", "--mode", "shared"]);
    assert_eq!(
        a.lock(1, &["acquire", "doc/"])["blockers"][0]["holder"],
        "b"
    );
    assert_eq!(
        a.lock(1, &["verify", "doc/x"])["problems"][0]["problem"],
        "only_shared"
    );
    b.lock(0, &["release"]);
    assert_eq!(
        a.lock(0, &["acquire", "doc/"])["locks"][0]["mode"],
        "exclusive"
    );
    assert_eq!(a.lock(0, &["list"])["total"], 1);
    assert_eq!(
        b.lock(1, &["acquire", "doc/", "--mode", "shared"])["outcome"],
        "held"
    );
}

#[test]
fn what_expired_is_taken_over_and_its_holder_is_told() {
    let remote = Remote::by_file();
    let (a, b) = (remote.clone("a"), remote.clone("b"));
    let first = a.lock(0, &["acquire", "src/a.rs"]);
    expire(&a, &remote);
    assert_eq!(b.lock(0, &["list"])["total"], 0);
    // Over a directory that holds it: another ref, and the old one is gone with it.
    let second = b.lock(0, &["acquire", "src/"]);
    assert!(fence(&second) > fence(&first));
    let names = git(&remote.bare(), &["for-each-ref", "refs/coord/locks"]);
    assert_eq!(names.lines().count(), 2, "{names}");
    assert_eq!(
        a.lock(1, &["acquire", "src/a.rs"])["blockers"][0]["holder"],
        "b"
    );
    assert_eq!(
        a.lock(1, &["release", "src/a.rs"])["not_held"][0]["holder"],
        "b"
    );
    let old = fence(&first).to_string();
    assert_eq!(
        a.lock(1, &["verify", "src/a.rs", "--fence", &old])["problems"][0]["problem"],
        "held_by_other"
    );
    // Within the margin it is nobody's: not its holder's any more, not yet another's.
    git(&b.dir, &["config", "coord.skew", "600"]);
    expire(&b, &remote);
    git(&a.dir, &["config", "coord.skew", "600"]);
    assert_eq!(a.lock(1, &["acquire", "src/a.rs"])["outcome"], "held");
    assert_eq!(
        b.lock(1, &["verify", "src/a.rs"])["problems"][0]["problem"],
        "not_held"
    );
    assert!(fence(&b.lock(0, &["acquire", "src/"])) > fence(&second));
}

#[test]
fn a_server_that_cannot_or_will_not_is_told_of_and_nothing_is_locked() {
    let remote = Remote::by_file();
    let a = remote.clone("a");
    let bare = remote.bare();
    git(&bare, &["config", "receive.advertiseAtomic", "false"]);
    a.run(&["lock", "acquire", "x", "--via", "git"])
        .exits(1)
        .says(&["no atomic pushes"]);
    git(&bare, &["config", "receive.advertiseAtomic", "true"]);

    let hook = bare.join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho no refs of yours; exit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    a.run(&["lock", "acquire", "x", "--via", "git"])
        .exits(1)
        .says(&["takes no refs/coord/locks", "hook declined"]);
    std::fs::remove_file(&hook).unwrap();
    assert_eq!(git(&bare, &["for-each-ref"]), "");

    // Something else under our name stops everybody, and says how to go on.
    git(
        &a.dir,
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@git.example",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "odd",
        ],
    );
    git(
        &a.dir,
        &["push", "-q", "origin", "HEAD:refs/coord/locks/odd"],
    );
    a.run(&["lock", "acquire", "x", "--via", "git"])
        .exits(1)
        .says(&["cannot be read", "push origin :refs/coord/locks/odd"]);
    git(&a.dir, &["push", "-q", "origin", ":refs/coord/locks/odd"]);
    a.lock(0, &["acquire", "x"]);

    git(
        &a.dir,
        &["remote", "set-url", "origin", "http://127.0.0.1:1/r.git"],
    );
    a.run(&["lock", "list", "--via", "git"])
        .exits(3)
        .says(&["the git remote origin"]);
    a.run(&["lock", "acquire", "../x", "--via", "git"])
        .exits(2)
        .says(&["path_outside_repo"]);
    a.run(&["lock", "acquire", "x", "--via", "git", "--ttl", "1"])
        .exits(2)
        .says(&["ttl_out_of_range"]);
    a.run(&[
        "lock",
        "acquire",
        "x",
        "--via",
        "git",
        "--remote",
        "--upload-pack=x",
    ])
    .exits(2);
}

/// Git's spelling of a path is the coordinator's.
#[test]
fn paths_are_spelled_as_the_coordinator_does() {
    let remote = Remote::by_file();
    let a = remote.clone("a");
    let token = shared().mint("git-paths", "test-client", "git.example/git/paths");
    let api = a.with(&[
        ("COORD_URL", &shared().url),
        ("COORD_TOKEN", &token),
        ("COORD_REPO", "git.example/git/paths"),
    ]);
    let typed = [
        "src/a.rs",
        "./src//b.rs",
        "src/c/",
        "src/d/.",
        "src/e/x/..",
        "src/f/*/b.rs",
        "app/[id]/p.tsx",
        "PORT: 5432/",
        "./port:5432",
        "e\u{301}.rs",
        "g/..h/i",
        "j/...",
        "k l.rs",
        "\u{65e5}\u{672c}/x",
        "feature:x:pause",
        "m/./n/../o.rs",
        "api:GET /v1/users",
    ];
    for typed in typed {
        let (by_api, by_git) = (["lock", "acquire", typed, "--json"], ["acquire", typed]);
        let said = api.run(&by_api).exits(0).json();
        assert_eq!(
            said["locks"][0]["path"],
            api.lock(0, &by_git)["locks"][0]["path"],
            "{typed}"
        );
        assert!(said.get("via").is_none());
        api.run(&["lock", "release"]).exits(0);
        api.lock(0, &["release"]);
    }
    for typed in ["../x", "/etc/passwd", "a\nb", "a ", "port:", "C:\\x"] {
        let by_api = api.run(&["lock", "acquire", typed]).exits(2).err();
        let by_git = api
            .run(&["lock", "acquire", typed, "--via", "git"])
            .exits(2)
            .err();
        let code = |text: &str| text.split(':').nth(1).unwrap().trim().to_owned();
        assert_eq!(code(&by_api), code(&by_git), "{typed}");
    }
}

// ------------------------------------------------------------------------ many at once

/// How long each race takes; `COORD_RACE_SECONDS=60` for a whole one.
fn seconds() -> f64 {
    std::env::var("COORD_RACE_SECONDS").map_or(8.0, |text| text.parse().unwrap())
}

/// Eight processes, each with a clone, after four paths that overlap; what they counted.
fn race(remote: &Remote, names: &[String]) -> Value {
    let markers = remote.dir.path().join("markers");
    std::fs::create_dir(&markers).unwrap();
    let seed = std::process::id();
    let workers: Vec<_> = names
        .iter()
        .zip(seed..)
        .map(|(name, seed)| {
            let settings = json!({
                "agent": name, "clone": remote.clone(name).dir, "markers": markers, "coord": COORD,
                "seconds": seconds(), "seed": seed, "skew": 1, "longest": 0.3,
            });
            program("python3", remote.dir.path())
                .arg(script("git_lock_worker.py"))
                .arg(settings.to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut sum = serde_json::Map::new();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "seed {seed}: {}",
            support::told(&output)
        );
        let counted: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (name, count) in counted.as_object().unwrap() {
            let before = sum.get(name).and_then(Value::as_i64).unwrap_or(0);
            sum.insert(name.clone(), json!(before + count.as_i64().unwrap()));
        }
    }
    for log in std::fs::read_dir(&markers)
        .unwrap()
        .map(|it| it.unwrap().path())
    {
        if log.extension().is_some_and(|it| it == "log") {
            let text = std::fs::read_to_string(&log).unwrap();
            let fences: Vec<i64> = text.lines().map(|it| it.parse().unwrap()).collect();
            assert!(
                fences.is_sorted_by(|one, two| one < two),
                "seed {seed}: {fences:?}"
            );
        }
    }
    println!("{}: {}", remote.address, Value::Object(sum.clone()));
    // Each worker goes on until it had so many, and lets one be killed first.
    assert!(sum["acquired"].as_i64() >= Some(16), "seed {seed}: {sum:?}");
    assert!(sum["killed"].as_i64() >= Some(4), "seed {seed}: {sum:?}");
    Value::Object(sum)
}

#[test]
fn eight_racing_over_http_are_one_at_a_time() {
    let remote = Remote::by_http();
    let names: Vec<String> = (0..8).map(|number| format!("h{number}")).collect();
    race(&remote, &names);
}

/// What both worlds say is held, in the same words.
fn both(agent: &Agent) -> (BTreeSet<String>, BTreeSet<String>) {
    let say = |locks: &Value| {
        let line = |lock: &Value| {
            let expires = lock["expires_at"].as_str().unwrap();
            let expires = &expires[..19];
            format!(
                "{} {} {} {} {} {expires}",
                lock["path"], lock["mode"], lock["holder"], lock["session_id"], lock["fence"]
            )
        };
        locks["locks"]
            .as_array()
            .unwrap()
            .iter()
            .map(line)
            .collect()
    };
    let api = agent.run(&["lock", "list", "--json"]).exits(0).json();
    (say(&api), say(&agent.lock(0, &["list"])))
}

#[test]
fn eight_racing_over_files_are_one_at_a_time_and_then_agree_with_the_coordinator() {
    let remote = Remote::by_file();
    let repo = "git.example/git/race";
    let agents: Vec<(String, String)> = (0..8)
        .map(|number| {
            let name = format!("race-{number}");
            let token = shared().mint(&name, "test-client", repo);
            (name, token)
        })
        .collect();
    let names: Vec<String> = agents.iter().map(|(name, _)| name.clone()).collect();
    race(&remote, &names);

    // Everybody ends with a lock by git; one has another in the coordinator, in the way of a first one's.
    let speak = |number: usize| {
        let (name, token) = &agents[number];
        let agent = Agent {
            name: name.clone(),
            session: format!("{name}-last"),
            dir: remote.dir.path().join(name),
            env: Vec::new(),
        };
        agent.with(&[
            ("COORD_URL", &shared().url),
            ("COORD_TOKEN", token),
            ("COORD_REPO", repo),
        ])
    };
    // What the race left is over soon.
    support::eventually("nothing is left of the race", || {
        speak(0).lock(0, &["list"])["total"] == 0
    });
    for number in 0..8 {
        let path = format!("own/{number}/");
        speak(number).lock(0, &["acquire", &path]);
    }
    speak(7).run(&["lock", "acquire", "own/0/x"]).exits(0);
    // All at once.
    let reconciled: Vec<_> = (0..8)
        .map(|number| {
            let mut command = speak(number).command();
            command.args(["github", "reconcile", "--json"]);
            std::thread::spawn(move || Ran::of(&mut command))
        })
        .collect();
    for (number, reconciled) in reconciled.into_iter().enumerate() {
        let ran = reconciled.join().unwrap().exits(i32::from(number == 0));
        let lost = &ran.json()["lost"];
        if number == 0 {
            assert_eq!(
                (&lost[0]["to"]["holder"], &lost[0]["to"]["path"]),
                (&json!("race-7"), &json!("own/0/x")),
                "{lost}"
            );
        }
    }
    let (api, git) = both(&speak(0));
    assert_eq!(api, git);
    assert_eq!(api.len(), 8, "{api:?}");
}

// ------------------------------------------------------------------------ away and back

/// The way to the stack, which can be closed.
struct Gate {
    url: String,
    open: Arc<AtomicBool>,
}

impl Gate {
    fn new() -> Self {
        let to = shared().url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicBool::new(true));
        let gate = open.clone();
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                if !gate.load(Ordering::SeqCst) {
                    continue;
                }
                let there = TcpStream::connect(&to).unwrap();
                // A connection that is kept must not lead past a closed gate.
                pipe(
                    here.try_clone().unwrap(),
                    there.try_clone().unwrap(),
                    gate.clone(),
                );
                pipe(there, here, gate.clone());
            }
        });
        Self { url, open }
    }

    fn set(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream, gate: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16384];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !gate.load(Ordering::SeqCst) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}

/// Two agents whose profile says so, one whose profile does not, and the gate before the stack.
struct Away {
    gate: Gate,
    a: Agent,
    b: Agent,
    strict: Agent,
    _remote: Remote,
}

impl Away {
    fn new() -> Self {
        let remote = Remote::by_file();
        let gate = Gate::new();
        let repo = "git.example/git/away";
        let config = json!({"profiles": {"offline": {"extends": "standard", "when_down": "git"}}});
        let applied = shared()
            .coord()
            .args([
                "call",
                "apply_config",
                "--prune",
                "false",
                "--config",
                &config.to_string(),
            ])
            .output()
            .unwrap();
        assert!(applied.status.success(), "{}", support::told(&applied));
        let mint = |name: &str, more: &[&str]| {
            let args = [
                &["--agent", name, "--type", "test-client", "--repo", repo],
                more,
            ]
            .concat();
            shared().mint_with(&args)
        };
        let agent = |name: &str, token: &str| {
            remote.clone(name).with(&[
                ("COORD_URL", &gate.url),
                ("COORD_TOKEN", token),
                ("COORD_REPO", repo),
            ])
        };
        let offline = ["--profile", "offline"];
        let a = agent("away-a", &mint("away-a", &offline));
        let b = agent("away-b", &mint("away-b", &offline));
        let strict = agent("away-c", &mint("away-c", &[]));
        Self {
            gate,
            a,
            b,
            strict,
            _remote: remote,
        }
    }

    /// Not through the gate.
    fn direct(agent: &Agent) -> Agent {
        agent.with(&[("COORD_URL", &shared().url)])
    }
}

#[test]
fn while_the_coordinator_is_away_git_stands_in_and_afterwards_they_agree() {
    let away = Away::new();
    git_stands_in(&away);
    they_agree(&away);
}

fn git_stands_in(
    Away {
        gate, a, b, strict, ..
    }: &Away,
) {
    for agent in [a, b, strict] {
        agent.run(&["lock", "list"]).exits(0);
    }
    a.run(&["lock", "acquire", "api.rs"]).exits(0);
    let mut bridge = b.command();
    let mut bridge = Client::connect(bridge.arg("mcp"));
    let call = |bridge: &mut Client, name: &str, args: Value| {
        support::mcp::text(&bridge.call(name, &args)).to_owned()
    };
    assert!(call(&mut bridge, "check_locks", json!({})).contains("api.rs"));

    gate.set(false);
    let ran = a
        .run(&["lock", "acquire", "src/", "--json"])
        .exits(0)
        .says(&["cannot reach the coordinator", "by git alone"]);
    assert_eq!(
        (&ran.json()["via"], &ran.json()["outcome"]),
        (&json!("git"), &json!("acquired"))
    );
    a.run(&["lock", "acquire", "src/"])
        .exits(0)
        .says(&["renewed by git (origin)"]);
    a.run(&["lock", "acquire", "gone/"]).exits(0);
    a.run(&["lock", "release", "gone/"])
        .exits(0)
        .says(&["released by git"]);
    let said = call(&mut bridge, "acquire_lock", json!({"paths": ["src/x.rs"]}));
    assert!(
        said.contains(r#""outcome":"held""#)
            && said.contains(r#""via":"git""#)
            && said.contains("away-a"),
        "{said}"
    );
    let said = call(&mut bridge, "acquire_lock", json!({"paths": ["lib/"]}));
    assert!(
        said.contains(r#""outcome":"acquired""#) && said.contains("when_down: git"),
        "{said}"
    );
    let said = call(
        &mut bridge,
        "acquire_lock",
        json!({"paths": ["x"], "repo": "git.example/other/one"}),
    );
    assert!(said.starts_with("coordinator_unreachable"), "{said}");
    assert!(
        call(&mut bridge, "recall", json!({"query": "x"})).starts_with("coordinator_unreachable")
    );
    // A bridge that started meanwhile takes its locks along when it ends.
    let brief = b.in_session("brief");
    let mut short = brief.command();
    let mut short = Client::connect(short.arg("mcp"));
    let said = call(&mut short, "acquire_lock", json!({"paths": ["brief.rs"]}));
    assert!(said.contains(r#""outcome":"acquired""#), "{said}");
    assert_eq!(a.lock(0, &["list", "brief.rs"])["total"], 1);
    short.leave();
    assert_eq!(a.lock(0, &["list", "brief.rs"])["total"], 0);
    // Whose profile does not say so, and who wants it one way.
    strict.run(&["lock", "acquire", "x"]).exits(3);
    a.run(&["lock", "acquire", "x", "--via", "api"]).exits(3);
    a.run(&["github", "reconcile"]).exits(3);
    // Meanwhile somebody who does reach it.
    Away::direct(strict)
        .run(&["lock", "acquire", "lib/y.rs"])
        .exits(0);
}

fn they_agree(
    Away {
        gate, a, b, strict, ..
    }: &Away,
) {
    let (direct, other) = (Away::direct(a), Away::direct(strict));
    gate.set(true);
    let planned = a
        .run(&["github", "reconcile", "--dry-run", "--json"])
        .exits(0)
        .json();
    assert_eq!(
        (&planned["outcome"], &planned["taken"][0]["path"]),
        (&json!("planned"), &json!("src/"))
    );
    assert_eq!(direct.run(&["lock", "list", "--json"]).json()["total"], 2);
    let done = a.run(&["github", "reconcile", "--json"]).exits(0).json();
    assert_eq!(
        (&done["taken"][0]["path"], &done["lost"]),
        (&json!("src/"), &json!([])),
        "{done}"
    );
    // The bridge's session lost; whoever asks for it is told so, once.
    let session = b.in_session("other");
    session
        .run(&["github", "reconcile"])
        .exits(1)
        .says(&["lost lib/", "away-c holds lib/y.rs"]);
    session.run(&["github", "reconcile"]).exits(0);
    let (api, git) = both(a);
    assert_eq!(api, git);
    assert_eq!(api.len(), 3, "{api:?}");
    // Those who have nothing but git see the coordinator's locks.
    let held = b.in_session("git").lock(1, &["acquire", "api.rs"]);
    assert_eq!(
        (
            &held["blockers"][0]["holder"],
            &held["blockers"][0]["origin"]
        ),
        (&json!("away-a"), &json!("database"))
    );
    // Nothing is left to do, and what goes there goes here.
    assert_eq!(
        a.run(&["github", "reconcile", "--json"]).exits(0).json()["shown"],
        json!([])
    );
    other.run(&["lock", "release"]).exits(0);
    a.run(&["github", "reconcile"])
        .exits(0)
        .says(&["1 cleared"]);
    let (api, git) = both(a);
    assert_eq!((api.len(), api == git), (2, true));
    // Others' locks that are in nobody's way are theirs to bring.
    let late = b.in_session("late");
    late.lock(0, &["acquire", "free.rs"]);
    a.run(&["github", "reconcile"])
        .exits(0)
        .says(&["away-b free.rs, by git alone"]);
    late.run(&["github", "reconcile"])
        .exits(0)
        .says(&["taken free.rs"]);
    let (api, git) = both(a);
    assert_eq!((api.len(), api == git), (3, true));
}
