//! The queue on the real stack: workers that are killed, fall silent and come back, thousands of
//! tasks that depend on each other, and what was done by whom when all is over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use support::agents::{Line, history, now};
use support::{clean, read, rpc, script, shared};

const WORKERS: usize = 16;
/// Of the first workers, how many fall silent once for certain and are spared meanwhile, so that some are late.
const SLOW: usize = 4;
/// Tasks of one `submit_graph`.
const CHUNK: usize = 500;
/// Clocks may be set while we run.
const SLACK: f64 = 0.05;

/// Numbers from a seed; nothing that depends on them needs to be good.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

/// `COORD_SEED=n` throws the same dice again.
fn seed() -> u64 {
    number_from("COORD_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1000)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|it| it.parse().unwrap_or_else(|_| panic!("{variable}={it}")))
}

/// Makes a profile and agents that have it.
fn profile(name: &str, spec: &Value) {
    let output = shared()
        .coord()
        .arg("--token-file")
        .arg(shared().home.join("tokens/operator.jwt"))
        .args(["call", "set_profile", "--name", name, "--spec"])
        .arg(spec.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", support::told(&output));
}

fn mint(agent: &str, profile: &str, repo: &str) -> String {
    let args = ["--agent", agent, "--type", "test-client", "--repo", repo];
    shared().mint_with(&[&args[..], &["--profile", profile]].concat())
}

fn name(number: i64) -> String {
    format!("T-{number}")
}

fn number(name: &str) -> i64 {
    name.strip_prefix("T-").unwrap().parse().unwrap()
}

/// The T-17 in some words.
fn named_in(words: &str) -> Option<i64> {
    words
        .split(|it: char| !it.is_ascii_alphanumeric() && it != '-')
        .find_map(|it| it.strip_prefix("T-")?.parse().ok())
}

// ------------------------------------------------------------------ the graph

/// Who submits, retries and cancels.
#[derive(Clone)]
struct Foreman {
    token: String,
    repo: String,
}

impl Foreman {
    async fn call(&self, function: &str, args: Value) -> (u16, Value) {
        rpc(&shared().url, &self.token, function, args, &[]).await
    }

    /// Submits chunk after chunk; gives the tasks that each was said to depend on.
    async fn submit(&self, chunks: Vec<Vec<Value>>, given: &mut Given) {
        for mut tasks in chunks {
            for task in &mut tasks {
                // Those of other chunks were planned by their place.
                for it in task["depends_on"].as_array_mut().unwrap() {
                    if let Some(place) = it.as_u64() {
                        *it = json!(name(given.numbers[usize::try_from(place).unwrap()]));
                    }
                }
            }
            let answer = loop {
                let args = json!({"repo": self.repo, "tasks": tasks});
                let (status, answer) = self.call("submit_graph", args).await;
                if status == 200 {
                    break answer;
                }
                // One that it needs has died while the workers were at it: then it needs it no more.
                assert_eq!(answer["message"], "dependency_failed", "{answer}");
                let dead = json!(name(named_in(answer["details"].as_str().unwrap()).unwrap()));
                for task in tasks
                    .iter_mut()
                    .filter(|it| it["on_dependency_failure"] == "fail")
                {
                    task["depends_on"]
                        .as_array_mut()
                        .unwrap()
                        .retain(|it| *it != dead);
                }
            };
            assert_eq!(answer["outcome"], "submitted", "{answer}");
            let number_of = |key: &Value| {
                let key = key.as_str().unwrap();
                number(answer["tasks"][key].as_str().unwrap_or(key))
            };
            for task in &tasks {
                let number = number_of(&task["key"]);
                given.numbers.push(number);
                let needs = task["depends_on"].as_array().unwrap();
                given
                    .needs
                    .insert(number, needs.iter().map(number_of).collect());
            }
        }
    }

    /// Queues a dead task again, and first what it died of.
    async fn retry(&self, task: i64) -> usize {
        let mut stack = vec![task];
        let mut retried = 0;
        while let Some(&task) = stack.last() {
            let (status, answer) = self.call("retry_work", json!({"task": name(task)})).await;
            if status == 422 {
                assert_eq!(answer["message"], "dependency_failed", "{answer}");
                stack.push(named_in(answer["details"].as_str().unwrap()).unwrap());
                continue;
            }
            assert_eq!(status, 200, "{answer}");
            retried += usize::from(answer["outcome"] == "submitted");
            stack.pop();
        }
        retried
    }
}

/// What was submitted: numbers in their order, and what each depends on.
#[derive(Default)]
struct Given {
    numbers: Vec<i64>,
    needs: HashMap<i64, BTreeSet<i64>>,
}

/// A random acyclic graph in chunks; a dependency is a key of the chunk, or the place of a task of an earlier one.
fn graph(tasks: usize, dice: &mut Dice) -> Vec<Vec<Value>> {
    (0..tasks)
        .step_by(CHUNK)
        .map(|start| {
            (start..tasks.min(start + CHUNK))
                .map(|place| {
                    let mut needs = BTreeSet::new();
                    for _ in 0..dice.below(4) {
                        if place > start {
                            needs.insert(place - 1 - dice.below((place - start).min(100)));
                        }
                    }
                    if start > 0 && dice.one_in(8) {
                        needs.insert(dice.below(start));
                    }
                    let needs: Vec<Value> = needs
                        .into_iter()
                        .map(|it| {
                            if it < start {
                                json!(it)
                            } else {
                                json!(format!("k{it}"))
                            }
                        })
                        .collect();
                    let mut task = json!({
                        "key": format!("k{place}"),
                        "title": format!("task {place}"),
                        "task_type": (["build", "review", "test"][dice.below(3)]),
                        "priority": 1 + dice.below(10),
                        "max_attempts": 1 + dice.below(3),
                        "on_dependency_failure": (["fail", "wait", "ignore"][dice.below(3)]),
                        "depends_on": needs,
                    });
                    if dice.one_in(20) {
                        task["paths"] = json!([format!("src/m{}/", dice.below(100))]);
                    }
                    task
                })
                .collect()
        })
        .collect()
}

// ---------------------------------------------------------------- the workers

/// A worker process from its start to its end; the next one in its place is another session.
struct Life {
    agent: String,
    session: String,
    log: PathBuf,
    killed: bool,
    /// When its time was let pass, because it was dead or silent.
    given_up: Vec<f64>,
}

struct Fleet {
    dir: tempfile::TempDir,
    repo: String,
    seed: u64,
    tokens: Vec<(String, String)>,
    lives: Vec<Life>,
    /// The process and the life at each place.
    places: Vec<(Child, usize)>,
    silent: Vec<usize>,
    silences: usize,
}

impl Fleet {
    fn new(seed: u64, repo: &str) -> Self {
        profile(
            "queue",
            &json!({"trust": 2, "allowed": ["*"], "limits": {"max_tasks": 1000, "max_writes_per_hour": 1_000_000}}),
        );
        // Three places are sessions of one agent.
        let tokens: Vec<_> = (0..WORKERS)
            .map(|place| {
                let agent = format!("queue-{}", if place < 3 { 0 } else { place });
                let token = mint(&agent, "queue", repo);
                (agent, token)
            })
            .collect();
        let mut fleet = Self {
            dir: tempfile::tempdir().unwrap(),
            repo: repo.to_owned(),
            seed,
            tokens,
            lives: Vec::new(),
            places: Vec::new(),
            silent: Vec::new(),
            silences: 0,
        };
        for place in 0..WORKERS {
            let life = fleet.start(place);
            fleet.places.push(life);
        }
        fleet
    }

    fn done(&self) -> PathBuf {
        self.dir.path().join("done")
    }

    fn start(&mut self, place: usize) -> (Child, usize) {
        let life = self.lives.len();
        let (agent, token) = &self.tokens[place];
        let session = format!("{place}-{life}");
        let log = self.dir.path().join(&session);
        let settings = json!({
            "url": shared().url, "token": token, "session": session, "repo": self.repo, "seed": self.seed,
            "life": life, "log": log, "done": self.done(), "silence": 0.004,
            "slow": life < SLOW,
        });
        let process = clean("python3")
            .arg(script("work_worker.py"))
            .arg(settings.to_string())
            .spawn()
            .expect("python3 starts");
        self.lives.push(Life {
            agent: agent.clone(),
            session,
            log,
            killed: false,
            given_up: Vec::new(),
        });
        (process, life)
    }

    /// Kill -9, and another one in its place.
    fn kill(&mut self, place: usize) {
        let (process, life) = &mut self.places[place];
        if process.try_wait().unwrap().is_some() || self.silent.contains(life) && *life < SLOW {
            return;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let life = *life;
        self.lives[life].killed = true;
        self.lives[life].given_up.push(now());
        self.silent.retain(|it| *it != life);
        self.places[place] = self.start(place);
    }

    /// Lets time pass for the dead and the silent, whom coord's own housekeeping then finds.
    fn let_time_pass(&mut self) {
        for (_, life) in &self.places {
            let said = with(&self.lives[*life].log, ".silent");
            if said.exists() {
                std::fs::remove_file(said).unwrap();
                self.silent.push(*life);
                self.silences += 1;
                self.lives[*life].given_up.push(now());
            }
        }
        let sessions: Vec<&str> = (0..self.lives.len())
            .filter(|life| self.lives[*life].killed || self.silent.contains(life))
            .map(|life| self.lives[life].session.as_str())
            .collect();
        let still_there = shared().psql(&format!(
            // Rows in the order in which all others lock them.
            "create temp table quiet (agent text, id text);
             with gone as (
               update coord.sessions set renewed_at = renewed_at - interval '1 hour'
               where live and id = any ('{{{}}}') returning agent, id)
             insert into quiet select * from gone;
             update coord.tasks set lease_until = lease_until - interval '1 hour'
             where number = any (array(select t.number from coord.tasks t join quiet q on t.agent = q.agent and t.session_id = q.id
               where t.session_live order by t.number for update of t));
             update coord.locks l set acquired_at = l.acquired_at - interval '1 hour', expires_at = l.expires_at - interval '1 hour'
             from quiet q where l.agent = q.agent and l.session_id = q.id and l.released_at is null;
             -- Nor is backing off waited for.
             update coord.tasks set next_at = next_at - interval '5 seconds'
             where number = any (array(select number from coord.tasks where next_at is not null order by number for update skip locked));
             select coalesce(string_agg(id, ' '), '') from quiet",
            sessions.join(",")
        ));
        let still_there: HashSet<&str> = still_there.split_whitespace().collect();
        let lives = &self.lives;
        self.silent.retain(|life| {
            let life = &lives[*life];
            let there = still_there.contains(life.session.as_str());
            if !there {
                std::fs::write(with(&life.log, ".wake"), "").unwrap();
            }
            there
        });
    }

    fn ended(&mut self) -> bool {
        self.places
            .iter_mut()
            .all(|(process, _)| match process.try_wait().unwrap() {
                Some(status) => {
                    assert!(status.success(), "a worker failed");
                    true
                }
                None => false,
            })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (process, _) in &mut self.places {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_tasks_end_once_whoever_is_killed() {
    let (seed, tasks) = (seed(), number_from("COORD_TASKS").unwrap_or(3000));
    println!("COORD_SEED={seed} COORD_TASKS={tasks}");
    let repo = "git.example/queue/fleet";
    let mut dice = Dice(seed);
    let chunks = graph(usize::try_from(tasks).unwrap(), &mut dice);
    let mut fleet = Fleet::new(seed, repo);
    let foreman = Foreman {
        token: mint("foreman", "queue", repo),
        repo: repo.to_owned(),
    };
    let began = Instant::now();
    let submitting = {
        let foreman = foreman.clone();
        tokio::spawn(async move {
            let mut given = Given::default();
            foreman.submit(chunks, &mut given).await;
            (given, began.elapsed())
        })
    };

    let (mut retried, mut cancelled, mut round) = (0, HashMap::new(), 0);
    let mut kill_at = Instant::now();
    loop {
        if Instant::now() > kill_at && !fleet.done().exists() {
            fleet.kill(dice.below(WORKERS));
            kill_at = Instant::now() + Duration::from_millis(200 + dice.below(1000) as u64);
        }
        fleet.let_time_pass();
        round += 1;
        if round % 5 == 0 {
            shared().psql("select coord.maintain(1000)");
        }
        // What waits for a task that died waits until somebody has it tried again.
        let waited_for = shared().psql(
            "select distinct d.depends_on from coord.task_dependencies d
             where not exists (select from coord.tasks t where t.number = d.depends_on)",
        );
        for task in waited_for.lines() {
            retried += foreman.retry(task.parse().unwrap()).await;
        }
        let open = shared().psql(&format!(
            "select number from coord.tasks where repo = '{repo}' order by hashint8(number + {round}) limit 1"
        ));
        if open.is_empty() && submitting.is_finished() {
            if fleet.ended() {
                break;
            }
            std::fs::write(fleet.done(), "").unwrap();
        } else if !open.is_empty() && dice.one_in(8) {
            let task: i64 = open.parse().unwrap();
            let sent = now();
            let (status, answer) = foreman
                .call("cancel_work", json!({"task": name(task)}))
                .await;
            assert_eq!(status, 200, "{answer}");
            if answer["outcome"] == "cancelled" {
                cancelled.insert(task, sent);
            }
        }
        assert!(
            began.elapsed() < Duration::from_mins(10),
            "it comes to no end"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ran = began.elapsed();
    let (given, submitted) = submitting.await.unwrap();
    assert_eq!(given.numbers.len(), usize::try_from(tasks).unwrap());
    println!("submitted in {submitted:.1?}, all over in {ran:.1?}, {retried} retried");
    Run::read(&fleet, given, cancelled, retried).check();
}

// ------------------------------------------------------------ what came of it

/// A task that has ended.
#[derive(Deserialize)]
struct Ended {
    number: i64,
    state: String,
    reason: Option<String>,
    attempt: i64,
    failures: i64,
    max_attempts: i64,
    agent: Option<String>,
    session_id: Option<String>,
    on_dependency_failure: String,
    depends_on: Vec<i64>,
    retry_of: Option<i64>,
    result: Value,
    finished: f64,
}

/// A claim as its worker saw it: it has the task for sure from `got` until `left`.
struct Claim {
    life: usize,
    attempt: i64,
    got: f64,
    left: f64,
}

struct Run<'a> {
    fleet: &'a Fleet,
    given: Given,
    cancelled: HashMap<i64, f64>,
    retried: usize,
    histories: Vec<Vec<Line>>,
    tasks: BTreeMap<i64, Ended>,
    claims: BTreeMap<i64, Vec<Claim>>,
}

fn task_of(line: &Line) -> (i64, i64) {
    let attempt = line.args["attempt"].as_i64().unwrap();
    (number(line.args["task"].as_str().unwrap()), attempt)
}

impl<'a> Run<'a> {
    fn read(fleet: &'a Fleet, given: Given, cancelled: HashMap<i64, f64>, retried: usize) -> Self {
        let histories: Vec<_> = fleet
            .lives
            .iter()
            // Who was killed at once has written nothing.
            .map(|it| {
                if it.log.exists() {
                    history(&read(&it.log))
                } else {
                    Vec::new()
                }
            })
            .collect();
        let tasks = shared().psql(&format!(
            "select json_build_object('number', number, 'state', state, 'reason', reason, 'attempt', attempt, 'failures', failures,
               'max_attempts', max_attempts, 'agent', agent, 'session_id', session_id, 'on_dependency_failure', on_dependency_failure,
               'depends_on', depends_on, 'retry_of', retry_of, 'result', result, 'finished', extract(epoch from finished_at))
             from coord.past_tasks where repo = '{}'",
            fleet.repo
        ));
        let tasks = tasks
            .lines()
            .map(|it| serde_json::from_str::<Ended>(it).unwrap())
            .map(|it| (it.number, it))
            .collect();
        let mut run = Self {
            fleet,
            given,
            cancelled,
            retried,
            histories,
            tasks,
            claims: BTreeMap::new(),
        };
        run.claims = run.all_claims();
        run
    }

    fn all_claims(&self) -> BTreeMap<i64, Vec<Claim>> {
        let mut claims: BTreeMap<i64, Vec<Claim>> = BTreeMap::new();
        for (life, history) in self.histories.iter().enumerate() {
            let given_up = &self.fleet.lives[life].given_up;
            let ends: HashMap<_, _> = history
                .iter()
                .filter(|it| it.call != "get_work")
                .map(|it| (task_of(it), it.sent))
                .collect();
            for line in history {
                for task in line.list("tasks") {
                    let number = number(task["id"].as_str().unwrap());
                    let attempt = task["attempt"].as_i64().unwrap();
                    let left = [ends.get(&(number, attempt)), self.cancelled.get(&number)]
                        .into_iter()
                        .flatten()
                        .chain(given_up.iter().filter(|it| **it >= line.sent))
                        .copied()
                        .fold(f64::INFINITY, f64::min);
                    assert!(left.is_finite(), "{} never ended {task}", self.who(life));
                    claims.entry(number).or_default().push(Claim {
                        life,
                        attempt,
                        got: line.got,
                        left,
                    });
                }
            }
        }
        for of_task in claims.values_mut() {
            of_task.sort_unstable_by_key(|it| it.attempt);
        }
        claims
    }

    fn who(&self, life: usize) -> String {
        let life = &self.fleet.lives[life];
        format!("{} in {}", life.agent, life.session)
    }

    fn check(&self) {
        self.no_errors();
        self.all_have_ended();
        self.never_two_claims();
        self.completions_are_there_once();
        let late = self.the_late_are_refused();
        self.dependencies_were_met();
        self.audited();
        let count = |state: &str, reason: Option<&str>| {
            let are = |it: &&Ended| it.state == state && it.reason.as_deref() == reason;
            self.tasks.values().filter(are).count()
        };
        let killed = self.fleet.lives.iter().filter(|it| it.killed).count();
        println!(
            "{} tasks ({} of them retries): {} completed, {} dead of attempts, {} of a dependency, {} cancelled; \
             {} claims seen, {killed} workers killed, {} silences, {late} late answers refused",
            self.tasks.len(),
            self.retried,
            count("completed", None),
            count("dead", Some("attempts")),
            count("dead", Some("dependency")),
            self.cancelled.len(),
            self.claims.values().map(Vec::len).sum::<usize>(),
            self.fleet.silences,
        );
        assert!(
            killed > 0 && late > 0 && self.retried > 0,
            "all of it happened"
        );
    }

    fn no_errors(&self) {
        let outcomes: HashMap<&str, &[&str]> = HashMap::from([
            ("get_work", &["claimed", "none"][..]),
            (
                "complete_work",
                &["completed", "retrying", "dead", "already_done", "not_yours"],
            ),
            ("return_work", &["returned", "already_done", "not_yours"]),
        ]);
        for line in self.histories.iter().flatten().filter(|it| it.status != 0) {
            assert!(
                line.status == 200 && outcomes[&*line.call].contains(&line.outcome()),
                "{} {}: {} {}",
                line.call,
                line.args,
                line.status,
                line.answer
            );
        }
    }

    /// Completed, dead for a reason that is true, or cancelled by the foreman; each as it was submitted.
    fn all_have_ended(&self) {
        assert_eq!(self.tasks.len(), self.given.numbers.len() + self.retried);
        let left = shared().psql("select count(*) from coord.task_dependencies");
        assert_eq!(left, "0", "ties are left");
        for task in self.tasks.values() {
            let name = name(task.number);
            let failed = || {
                let needs = task.depends_on.iter().map(|it| &self.tasks[it]);
                needs.filter(|it| it.state != "completed").count()
            };
            match (&*task.state, task.reason.as_deref()) {
                ("completed", None) => assert!(task.failures < task.max_attempts, "{name}"),
                ("dead", Some("attempts")) => {
                    assert_eq!(task.failures, task.max_attempts, "{name}");
                }
                ("dead", Some("dependency")) => {
                    assert_eq!(task.on_dependency_failure, "fail", "{name}");
                    assert!(failed() > 0, "{name} died of nothing");
                    assert_eq!(task.attempt, 0, "{name} was claimed too early");
                }
                ("cancelled", _) => assert!(self.cancelled.contains_key(&task.number), "{name}"),
                (state, reason) => panic!("{name} is {state}: {reason:?}"),
            }
            if let Some(needs) = self.given.needs.get(&task.number) {
                let have: BTreeSet<i64> =
                    task.depends_on.iter().map(|it| self.first(*it)).collect();
                let needs: BTreeSet<i64> = needs.iter().map(|it| self.first(*it)).collect();
                assert_eq!(have, needs, "{name} depends on what it was submitted with");
            }
        }
    }

    /// The task that a retry tries again.
    fn first(&self, number: i64) -> i64 {
        self.tasks[&number]
            .retry_of
            .map_or(number, |it| self.first(it))
    }

    /// Q1: a claim began only when the one before it was over; each attempt is one worker's.
    fn never_two_claims(&self) {
        for (task, claims) in &self.claims {
            let name = name(*task);
            for pair in claims.windows(2) {
                let [one, two] = pair else { unreachable!() };
                assert!(
                    one.attempt < two.attempt,
                    "{name}: attempt {} is that of {} and {}",
                    one.attempt,
                    self.who(one.life),
                    self.who(two.life)
                );
                assert!(
                    one.left <= two.got + SLACK,
                    "{name}: {} had it until {}, and {} got it at {}",
                    self.who(one.life),
                    one.left,
                    self.who(two.life),
                    two.got
                );
            }
            let ended = &self.tasks[task];
            let last = claims.last().unwrap();
            assert!(last.attempt <= ended.attempt, "{name}");
            // Q2: nobody got it once it had ended; an answer may have been under way.
            assert!(
                claims
                    .iter()
                    .filter(|it| it.left > ended.finished + SLACK)
                    .count()
                    <= 1,
                "{name}"
            );
        }
    }

    /// What a worker was told to be completed is, by it and in this attempt; and nothing else is.
    fn completions_are_there_once(&self) {
        let mut told = HashSet::new();
        let mut tried = HashSet::new();
        for (life, history) in self.histories.iter().enumerate() {
            let life = &self.fleet.lives[life];
            for line in history
                .iter()
                .filter(|it| it.call == "complete_work" && it.args["success"] == true)
            {
                let (number, attempt) = task_of(line);
                tried.insert((number, attempt, &*life.session));
                if line.outcome() != "completed" {
                    continue;
                }
                let task = &self.tasks[&number];
                assert!(told.insert(number), "{} was completed twice", name(number));
                assert_eq!(
                    (&*task.state, task.attempt, &task.result),
                    ("completed", attempt, &line.args["result"]),
                    "{}",
                    name(number)
                );
                assert_eq!(task.agent.as_ref(), Some(&life.agent));
                assert_eq!(task.session_id.as_ref(), Some(&life.session));
                assert!(line.sent <= task.finished + SLACK && task.finished <= line.got + SLACK);
            }
        }
        for task in self.tasks.values().filter(|it| it.state == "completed") {
            let by = task.session_id.as_deref().unwrap();
            assert!(
                tried.contains(&(task.number, task.attempt, by)),
                "{} was completed by nobody",
                name(task.number)
            );
        }
    }

    /// Who was given up and comes back with an old attempt is not heard; and who was not, is.
    fn the_late_are_refused(&self) -> usize {
        let mut late = 0;
        for (life, history) in self.histories.iter().enumerate() {
            for line in history
                .iter()
                .filter(|it| it.call != "get_work" && it.status != 0)
            {
                let (number, attempt) = task_of(line);
                let claims = &self.claims[&number];
                let claim = claims
                    .iter()
                    .find(|it| it.attempt == attempt && it.life == life)
                    .unwrap();
                let refused = ["not_yours", "already_done"].contains(&line.outcome());
                assert!(
                    refused || claim.left >= line.sent || self.cancelled.contains_key(&number),
                    "{} was late with {}: {}",
                    self.who(life),
                    line.args,
                    line.answer
                );
                assert!(
                    !refused || claim.left < line.sent || self.cancelled.contains_key(&number),
                    "{} was not late with {}: {}",
                    self.who(life),
                    line.args,
                    line.answer
                );
                if refused {
                    let answer = (line.outcome(), line.answer["state"].as_str().unwrap());
                    assert_ne!(answer, ("already_done", "completed"), "it never did");
                    late += usize::from(claim.left < line.sent);
                }
            }
        }
        late
    }

    /// Q4: nobody got a task before what it needs had ended as its policy wants it.
    fn dependencies_were_met(&self) {
        // The first moment at which somebody said that it is done.
        let mut done: HashMap<i64, f64> = HashMap::new();
        for line in self.histories.iter().flatten() {
            if line.call == "complete_work" && line.args["success"] == true {
                let at = done.entry(task_of(line).0).or_insert(line.sent);
                *at = at.min(line.sent);
            }
        }
        for task in self.tasks.values() {
            let got = self.claims.get(&task.number).map(|it| it[0].got);
            for needed in task.depends_on.iter().map(|it| &self.tasks[it]) {
                let both = format!("{} needs {}", name(task.number), name(needed.number));
                let ignores = task.on_dependency_failure == "ignore";
                if task.attempt > 0 {
                    assert!(ignores || needed.state == "completed", "{both}");
                }
                if task.state == "completed" {
                    assert!(needed.finished <= task.finished, "{both}");
                }
                if let Some(got) = got {
                    assert!(needed.finished <= got + SLACK, "{both}");
                    assert!(ignores || done[&needed.number] <= got + SLACK, "{both}");
                }
            }
        }
    }

    /// A1: a row for each attempt that was ever claimed, and for each completion.
    fn audited(&self) {
        let odd = shared().psql(&format!(
            "with claimed as (
               select t.task, a.attempt, count(*) as rows
               from coord_v1.audit l
               cross join jsonb_array_elements_text(l.detail #> '{{result,tasks}}') with ordinality t (task, n)
               join jsonb_array_elements(l.detail #> '{{result,attempts}}') with ordinality a (attempt, n) on a.n = t.n
               where l.function = 'get_work' and l.outcome = 'claimed' and l.repo = '{0}'
               group by 1, 2),
             completed as (
               select l.detail #>> '{{args,task}}' as task, count(*) as rows from coord_v1.audit l
               where l.function = 'complete_work' and l.outcome = 'completed' and l.repo = '{0}'
               group by 1),
             counted as (
               select c.task, count(*) as attempts, max(c.attempt::integer) as last, max(c.rows) as most from claimed c group by 1)
             select p.number, p.state, p.attempt, c.attempts, c.last, c.most, d.rows
             from (select * from coord.past_tasks where repo = '{0}') p
             left join counted c on c.task = 'T-' || p.number
             full join completed d on d.task = 'T-' || p.number
             where p.number is null
               or (p.attempt, p.attempt) is distinct from (coalesce(c.attempts, 0), coalesce(c.last, 0)) or c.most > 1
               or coalesce(d.rows, 0) <> (p.state = 'completed')::integer",
            self.fleet.repo
        ));
        assert_eq!(odd, "", "the audit says otherwise");
    }
}

// ------------------------------------------------------------------ at once

/// Who submits looks at tasks in an order of its own, and who cancels ends them in theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submitting_and_cancelling_at_once_never_lock_each_other_out() {
    const MANY: usize = 60;
    let repo = "git.example/queue/at-once";
    let foreman = Foreman {
        token: mint("at-once", "standard", repo),
        repo: repo.to_owned(),
    };
    for round in 0..12 {
        let below: Vec<Value> = (0..MANY)
            .map(|it| json!({"key": format!("k{it}"), "title": "below", "depends_on": if it == 0 { json!([]) } else { json!(["k0"]) }}))
            .collect();
        let args = json!({"repo": repo, "tasks": below});
        let (status, answer) = foreman.call("submit_graph", args).await;
        assert_eq!(status, 200, "{answer}");
        let task = |it: usize| answer["tasks"][format!("k{it}")].clone();
        let upwards: Vec<Value> = (1..MANY)
            .map(|it| {
                json!({"key": format!("u{it:03}"), "title": "up", "depends_on": [task(MANY - it)],
                    "on_dependency_failure": "ignore", "dedup_key": format!("up {}", it * 37 % MANY)})
            })
            .collect();
        let downwards: Vec<Value> = upwards
            .iter()
            .rev()
            .enumerate()
            .map(|(place, it)| {
                let mut it = it.clone();
                it["key"] = json!(format!("d{place:03}"));
                it
            })
            .collect();
        let [up, down] = [upwards, downwards]
            .map(|it| foreman.call("submit_graph", json!({"repo": repo, "tasks": it})));
        let cancel = foreman.call("cancel_work", json!({"task": task(0), "reason": "enough"}));
        let (up, down, cancel) = tokio::join!(up, down, cancel);
        for (status, answer) in [up, down, cancel] {
            assert_eq!(status, 200, "round {round}: {answer}");
        }
        shared().psql(&format!("delete from coord.task_dependencies where repo = '{repo}'; delete from coord.tasks where repo = '{repo}'"));
    }
}

// ------------------------------------------------------------------ in turn

/// A submitted task: by the clock of the test, of which three minutes pass with each round, the
/// moments before and after it was submitted.
struct Submitted {
    number: i64,
    priority: u32,
    round: u32,
    before: f64,
    after: f64,
    claimed: Option<u32>,
}

const ROUND: f64 = 180.0;

struct Member {
    token: String,
    session: &'static str,
}

impl Member {
    fn new(agent: &str, profile: &str, repo: &str) -> Self {
        Self {
            token: mint(agent, profile, repo),
            session: "in-turn",
        }
    }

    async fn call(&self, function: &str, args: Value) -> (u16, Value) {
        let headers = [("x-session-id", self.session)];
        rpc(&shared().url, &self.token, function, args, &headers).await
    }

    async fn start(&self) {
        let args = json!({"capabilities": ["rust", "docs"]});
        let (status, answer) = self.call("start_session", args).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Claims and completes one task.
    async fn work(&self, repo: &str) -> i64 {
        let (_, answer) = self.call("get_work", json!({"repo": repo})).await;
        assert_eq!(answer["outcome"], "claimed", "{answer}");
        let task = &answer["tasks"][0];
        let done = json!({"task": task["id"], "success": true, "attempt": task["attempt"]});
        let (_, answer) = self.call("complete_work", done).await;
        assert_eq!(answer["outcome"], "completed", "{answer}");
        number(task["id"].as_str().unwrap())
    }

    /// Tries everything on tasks that it may not run; gives what it was told.
    async fn hammer(&self, repo: &str, known: &Mutex<Vec<i64>>, mut dice: Dice) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let task = {
                let known = known.lock().unwrap();
                if known.last() == Some(&0) {
                    return told;
                }
                (!known.is_empty()).then(|| name(known[dice.below(known.len())]))
            };
            let (function, args) = match (dice.below(5), task) {
                (1, Some(task)) => ("complete_work", json!({"task": task, "success": false})),
                (2, Some(task)) => ("complete_work", json!({"task": task, "success": true})),
                (3, Some(task)) => ("return_work", json!({"task": task})),
                (4, Some(task)) => ("renew_work", json!({"task": task})),
                _ => ("get_work", json!({"repo": repo, "max_tasks": 10})),
            };
            let (status, answer) = self.call(function, args).await;
            assert_eq!(status, 200, "{answer}");
            told.push(format!(
                "{function}: {}",
                answer["outcome"].as_str().unwrap()
            ));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Submits more than is done in rounds of three minutes; gives what became of each task.
async fn rounds(
    repo: &str,
    foreman: &Member,
    able: &[Member],
    known: &Mutex<Vec<i64>>,
) -> Vec<Submitted> {
    const ROUNDS: u32 = 68;
    let mut all: Vec<Submitted> = Vec::new();
    for round in 0..ROUNDS {
        let mut priorities = vec![1; 6];
        if round % 3 == 0 {
            priorities.extend(2..=10);
        }
        let tasks: Vec<Value> = priorities
            .iter()
            .enumerate()
            .map(|(it, priority)| {
                json!({"key": format!("k{it}"), "title": format!("p{priority} of round {round}"), "priority": priority,
                    "requires": {"min_trust": 3, "capabilities": ["rust"]}})
            })
            .collect();
        let passed = |at: f64| at + ROUND * f64::from(round);
        let before = passed(now());
        let (status, answer) = foreman
            .call("submit_graph", json!({"repo": repo, "tasks": tasks}))
            .await;
        assert_eq!(status, 200, "{answer}");
        let after = passed(now());
        for (it, priority) in priorities.into_iter().enumerate() {
            let number = number(answer["tasks"][format!("k{it}")].as_str().unwrap());
            known.lock().unwrap().push(number);
            all.push(Submitted {
                number,
                priority,
                round,
                before,
                after,
                claimed: None,
            });
        }
        let (a, b, c, d) = tokio::join!(
            able[0].work(repo),
            able[1].work(repo),
            able[2].work(repo),
            able[3].work(repo)
        );
        for number in [a, b, c, d] {
            let task = all.iter_mut().find(|it| it.number == number).unwrap();
            assert!(task.claimed.replace(round).is_none());
        }
        shared().psql(&format!(
            "set session_replication_role = replica;
             update coord.tasks set submitted_at = submitted_at - interval '{ROUND} s', turn_at = turn_at - interval '{ROUND} s'
             where repo = '{repo}'"
        ));
    }
    all
}

fn the_bound_holds(all: &[Submitted]) {
    let (mut passes, mut late) = (0, 0.0_f64);
    for taken in all.iter().filter(|it| it.claimed.is_some()) {
        let at = taken.claimed.unwrap();
        // Those that were there and not taken in this round.
        for waited in all
            .iter()
            .filter(|it| it.round <= at && it.claimed.is_none_or(|it| it > at))
        {
            let after = taken.before - waited.after;
            let bound = f64::from(waited.priority - 1) * 600.0;
            assert!(
                after <= bound,
                "priority {} was passed by one submitted {after} s after it",
                waited.priority
            );
            if after > 0.0 {
                passes += 1;
                late = late.max(after / bound);
            }
        }
    }
    let first = |priority| all.iter().find(|it| it.priority == priority).unwrap();
    assert!(
        first(10).claimed.is_some(),
        "the last priority has had its turn"
    );
    let waiting = all
        .iter()
        .filter(|it| it.priority == 1 && it.claimed.is_none())
        .count();
    assert!(
        passes > 0 && waiting > 0,
        "urgent ones passed others, and more of them came than were done"
    );
    println!(
        "{} tasks, {passes} passes, the latest at {:.0} % of its bound; priority 10 had its turn in round {}, {waiting} urgent ones still wait",
        all.len(),
        late * 100.0,
        first(10).claimed.unwrap()
    );
}

/// The bound: a task of priority p is passed by nothing submitted more than (p - 1) x 10 minutes after
/// it, though urgent ones come faster than they are done; and who may not run it is in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_ever_and_nobody_is_in_the_way() {
    let repo = "git.example/queue/in-turn";
    let limits = json!({"max_writes_per_hour": 1_000_000});
    let kind = |trust: usize, capabilities: Value| json!({"trust": trust, "allowed": ["*"], "limits": limits, "capabilities": capabilities});
    profile("in-turn-able", &kind(3, json!(["rust"])));
    profile("in-turn-low", &kind(2, json!(["rust"])));
    profile("in-turn-wrong", &kind(3, json!(["docs"])));
    let foreman = Member::new("in-turn-foreman", "in-turn-low", repo);
    let able: Vec<Member> = (0..4)
        .map(|it| Member::new(&format!("able-{it}"), "in-turn-able", repo))
        .collect();
    for it in &able {
        it.start().await;
    }
    // A zero at the end tells the others to stop.
    let known = Arc::new(Mutex::new(Vec::new()));
    let hammers: Vec<_> = [
        "in-turn-low",
        "in-turn-wrong",
        "in-turn-low",
        "in-turn-wrong",
    ]
    .into_iter()
    .enumerate()
    .map(|(it, profile)| {
        let member = Member::new(&format!("hammer-{it}"), profile, repo);
        let known = known.clone();
        tokio::spawn(async move {
            member.start().await;
            member.hammer(repo, &known, Dice(it as u64)).await
        })
    })
    .collect();

    let all = rounds(repo, &foreman, &able, &known).await;
    known.lock().unwrap().push(0);
    the_bound_holds(&all);

    let mut told = HashMap::new();
    for hammer in hammers {
        for words in hammer.await.unwrap() {
            *told.entry(words).or_insert(0) += 1;
        }
    }
    println!("those who may not were told {told:?}");
    let mut words: Vec<&str> = told.keys().map(String::as_str).collect();
    words.sort_unstable();
    let refused = [
        "complete_work: not_yours",
        "get_work: none",
        "renew_work: not_yours",
        "return_work: not_yours",
    ];
    assert_eq!(words, refused);
    // And their trying has left no trace on any task.
    let touched = shared().psql(&format!(
        "select number, state, agent, attempt, failures from coord_v1.tasks where repo = '{repo}' and not
           (state = 'pending' and attempt = 0 and next_at is null or state = 'completed' and attempt = 1 and failures = 0 and agent like 'able-%')"
    ));
    assert_eq!(touched, "");
}
