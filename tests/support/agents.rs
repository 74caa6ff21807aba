//! Agents that lock and release, in processes of their own, and what follows from the
//! histories that they write: who held what and when, and whether the refusals were true.

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{clean, rpc, script, shared};

/// An agent with a token, in a repository that no other test uses.
#[derive(Clone)]
pub struct Agent {
    pub name: String,
    pub token: String,
    pub repo: String,
    pub session: Option<String>,
}

impl Agent {
    pub fn new(name: &str, repo: &str) -> Self {
        let repo = format!("git.example/locks/{repo}");
        Self {
            token: shared().mint(name, "test-client", &repo),
            name: name.to_owned(),
            repo,
            session: None,
        }
    }

    pub fn in_session(&self, session: &str) -> Self {
        Self {
            session: Some(session.to_owned()),
            ..self.clone()
        }
    }

    pub async fn ask(&self, function: &str, args: Value, key: Option<&str>) -> (u16, Value) {
        let mut body = match function {
            "end_session" | "cancel_wait" => json!({}),
            _ => json!({"repo": self.repo}),
        };
        body.as_object_mut()
            .unwrap()
            .extend(args.as_object().unwrap().clone());
        let session = self.session.as_deref().map(|it| ("x-session-id", it));
        let key = key.map(|it| ("idempotency-key", it));
        let headers: Vec<_> = session.into_iter().chain(key).collect();
        rpc(&shared().url, &self.token, function, body, &headers).await
    }

    pub async fn call(&self, function: &str, args: Value) -> Value {
        let (status, body) = self.ask(function, args, None).await;
        assert_eq!(status, 200, "{function}: {body}");
        body
    }

    pub async fn acquire(&self, path: &str) -> Value {
        self.call("acquire_lock", json!({"paths": [path]})).await
    }

    /// The same in line.
    pub async fn wait_for(&self, path: &str) -> Value {
        let args = json!({"paths": [path], "wait_seconds": 600});
        self.call("acquire_lock", args).await
    }

    pub async fn release(&self) -> Value {
        self.call("release_lock", json!({})).await
    }

    /// What `psql` shows of everything that this agent did or holds.
    pub fn traces(&self) -> String {
        let agent = &self.name;
        shared().psql(&format!(
            "select 'lock', l::text from coord.locks l where agent = '{agent}'
             union all select 'audit', a::text from coord_v1.audit a where agent = '{agent}'
             union all select 'key', k::text from coord.idempotency_keys k where agent = '{agent}'
             union all select 'session', s::text from coord.sessions s where agent = '{agent}'
             order by 1, 2"
        ))
    }
}

pub fn fence(answer: &Value) -> i64 {
    answer["locks"][0]["fence"].as_i64().expect("a fence")
}

/// One call of a worker.
#[derive(Clone, Deserialize)]
pub struct Line {
    pub call: String,
    pub args: Value,
    /// When it was sent and answered, in seconds of the machine's monotonic clock.
    pub sent: f64,
    #[serde(default)]
    pub got: f64,
    /// 0 for a call whose answer died with its worker.
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub answer: Value,
}

impl Line {
    pub fn outcome(&self) -> &str {
        self.answer["outcome"].as_str().unwrap_or_default()
    }

    pub fn list(&self, name: &str) -> &[Value] {
        self.answer[name].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn list_of_args(&self, name: &str) -> &[Value] {
        self.args[name].as_array().map_or(&[], Vec::as_slice)
    }

    /// The lease that it asked for.
    fn ttl(&self) -> f64 {
        self.args["ttl_seconds"].as_f64().unwrap_or(1800.0)
    }
}

/// A history as a worker wrote it. One that is killed at any moment announces each call
/// before it makes it, and its last line may have been cut.
pub fn history(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            assert!(text.ends_with(line), "{line}");
            break;
        };
        if lines.last().is_some_and(|it| it.status == 0) {
            lines.pop();
        }
        lines.push(line);
    }
    lines
}

pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// Starts a worker process for an agent.
pub fn worker(mode: &str, agent: &Agent, settings: &Value, seed: usize) -> Child {
    let mut settings = settings.clone();
    settings["url"] = json!(shared().url);
    settings["token"] = json!(agent.token);
    settings["session"] = json!(agent.session);
    settings["repo"] = json!(agent.repo);
    settings["seed"] = json!(seed);
    clean("python3")
        .arg(script("lock_worker.py"))
        .args([mode, &settings.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts")
}

/// Runs a worker process for each agent at once; gives what each of them saw.
pub fn work(mode: &str, agents: &[Agent], settings: &Value, seed: usize) -> Vec<Vec<Line>> {
    let workers: Vec<_> = agents
        .iter()
        .enumerate()
        .map(|(number, agent)| {
            let worker = worker(mode, agent, settings, seed + number);
            // Read as it comes: a full pipe would stop the worker.
            std::thread::spawn(move || {
                let output = worker.wait_with_output().unwrap();
                assert!(output.status.success(), "a worker failed; seed {seed}");
                history(&String::from_utf8(output.stdout).unwrap())
            })
        })
        .collect();
    workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .collect()
}

/// Every call of every worker was answered with 200 and an outcome that is known, or told
/// that a parallel call had ended its session, where that may be.
pub fn no_errors(histories: &[Vec<Line>], outcomes: &[&str]) {
    for line in histories.iter().flatten().filter(|it| it.status != 0) {
        let ended = line.status == 409 && line.answer["message"] == "session_ended";
        let fine = (line.status == 200 && outcomes.contains(&line.outcome()))
            || (ended && outcomes.contains(&"ended"));
        assert!(
            fine,
            "{} {}: {} {}",
            line.call, line.args, line.status, line.answer
        );
    }
}

/// Whether two canonical paths are equal or one lies below the other.
pub fn overlap(one: &str, two: &str) -> bool {
    one == two || covers(one, two) || covers(two, one)
}

/// Whether a path is another one or a directory around it.
pub fn covers(above: &str, path: &str) -> bool {
    above == path || above == "./" || above.ends_with('/') && path.starts_with(above)
}

/// A lock as its holder knows it: for sure from `got` until `left`, at most from `asked` until `gone`.
#[derive(Clone)]
pub struct Held<'a> {
    pub owner: usize,
    pub repo: &'a str,
    pub path: &'a str,
    pub mode: &'a str,
    pub fence: i64,
    pub asked: f64,
    pub got: f64,
    pub left: f64,
    pub gone: f64,
    /// By its holder, who knows it, or replaced by another of its own.
    pub released: bool,
}

impl Held<'_> {
    pub fn conflicts(&self, other: &Held) -> bool {
        self.owner != other.owner
            && self.repo == other.repo
            && overlap(self.path, other.path)
            && [self.mode, other.mode].contains(&"exclusive")
    }

    fn until(self, left: f64, gone: f64) -> Self {
        Self {
            left: self.left.min(left),
            gone: self.gone.min(gone),
            ..self
        }
    }
}

/// All that one worker, alone in its session, ever held. What it did not release ended with its lease.
pub fn holdings(owner: usize, history: &[Line]) -> Vec<Held<'_>> {
    // Clocks are read on both sides.
    const SLACK: f64 = 0.05;
    let mut past = Vec::new();
    let mut now: HashMap<(&str, &str), Held> = HashMap::new();
    for line in history {
        let repo = line.answer["repo"].as_str().unwrap_or_default();
        if let "acquired" | "renewed" = line.outcome() {
            for lock in line.list("locks") {
                let (path, fence) = (
                    lock["path"].as_str().unwrap(),
                    lock["fence"].as_i64().unwrap(),
                );
                let (left, gone) = (
                    line.sent + line.ttl() - SLACK,
                    line.got + line.ttl() + SLACK,
                );
                if let Some(held) = now.get_mut(&(repo, path))
                    && held.fence == fence
                {
                    (held.left, held.gone) = (held.left.max(left), held.gone.max(gone));
                    continue;
                }
                // An upgrade from shared to exclusive is a lock of its own.
                let before = now.insert(
                    (repo, path),
                    Held {
                        owner,
                        repo,
                        path,
                        mode: lock["mode"].as_str().unwrap(),
                        fence,
                        asked: line.sent,
                        got: line.got,
                        left,
                        gone,
                        released: false,
                    },
                );
                past.extend(before.map(|held| Held {
                    released: true,
                    ..held.until(line.sent, line.got)
                }));
            }
        }
        for lock in line.list("released") {
            let repo = lock["repo"].as_str().unwrap_or(repo);
            let held = now
                .remove(&(repo, lock["path"].as_str().unwrap()))
                .expect("only what was held is released");
            assert_eq!(lock["fence"], json!(held.fence));
            past.push(Held {
                released: true,
                ..held.until(line.sent, line.got)
            });
        }
        if line.status == 0 {
            // Nobody knows what came of it: nothing is sure from here, and a lease may be longer.
            for held in now.values_mut() {
                (held.left, held.gone) = (held.left.min(line.sent), f64::MAX);
            }
        }
    }
    past.extend(now.into_values());
    past
}

/// No two that conflict were held at once, and the later one has the higher fence.
pub fn never_two_holders(held: &[Held]) {
    for (at, one) in held.iter().enumerate() {
        for two in &held[at + 1..] {
            if !one.conflicts(two) {
                continue;
            }
            let (first, second) = if one.got <= two.got {
                (one, two)
            } else {
                (two, one)
            };
            assert!(
                first.left <= second.got,
                "{} was held by worker {} (fence {}) when worker {} got {} (fence {})",
                first.path,
                first.owner,
                first.fence,
                second.owner,
                second.path,
                second.fence
            );
            assert!(
                first.fence < second.fence,
                "{}: {} before {}",
                first.path,
                first.fence,
                second.fence
            );
        }
    }
}

/// Every refusal by a lock names somebody else who held what is in the way while it was
/// asked for. Those in line who are named are another matter.
pub fn refusals_tell_the_truth(agents: &[Agent], histories: &[Vec<Line>], held: &[Held]) -> usize {
    let by_lock: HashMap<_, _> = held.iter().map(|it| ((it.fence, it.path), it)).collect();
    let mut refusals = 0;
    for (worker, history) in histories.iter().enumerate() {
        for line in history
            .iter()
            .filter(|line| ["held", "queued", "deadlock"].contains(&line.outcome()))
        {
            let blockers = line.list("blockers");
            assert!(!blockers.is_empty(), "{}", line.answer);
            refusals += 1;
            for blocker in blockers.iter().filter(|it| it["waiting"] != true) {
                let lock = (
                    blocker["fence"].as_i64().unwrap(),
                    blocker["held_path"].as_str().unwrap(),
                );
                let holder = by_lock
                    .get(&lock)
                    .unwrap_or_else(|| panic!("nobody held it: {blocker}"));
                assert_ne!(holder.owner, worker, "{blocker}");
                assert_eq!(blocker["holder"], agents[holder.owner].name, "{blocker}");
                if let Some(session) = &agents[holder.owner].session {
                    assert_eq!(blocker["session_id"], *session, "{blocker}");
                }
                assert_eq!(blocker["agent_type"], "test-client", "{blocker}");
                assert!(overlap(blocker["path"].as_str().unwrap(), holder.path));
                assert!(blocker["seconds_left"].as_i64().unwrap() > 0, "{blocker}");
                assert!(
                    holder.asked <= line.got && line.sent <= holder.gone,
                    "held at another time: {blocker}"
                );
            }
        }
    }
    refusals
}
