//! A fleet of agents that wait for each other, die and come back: who is served when, and what is told meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::agents::{
    Agent, Held, Line, covers, fence, history, holdings, never_two_holders, no_errors, now,
    overlap, refusals_tell_the_truth, work, worker,
};
use support::{read, shared};

const TREE: [&str; 16] = [
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
    "tests/a.rs",
    "tests/b.rs",
    "benches/",
    "benches/a.rs",
    "README.md",
    "Cargo.toml",
];
const SECONDS: f64 = 60.0;
/// What two clocks and a late answer may differ by.
const SLACK: f64 = 0.05;

// ----------------------------------------------------------------- the line

/// A place in line as its owner knows it: for sure from `told` until `left`, at most from `asked` until `gone`.
#[derive(Clone)]
struct Ticket<'a> {
    owner: usize,
    number: &'a str,
    repo: &'a str,
    paths: Vec<&'a str>,
    mode: &'a str,
    asked: f64,
    told: f64,
    left: f64,
    gone: f64,
}

/// A path that was given, and when its owner began to ask for it.
struct Grant<'a> {
    owner: usize,
    repo: &'a str,
    path: &'a str,
    mode: &'a str,
    fence: i64,
    began: f64,
    sent: f64,
    got: f64,
}

/// All tickets that one worker ever had, and what it was given.
fn line_of<'a>(owner: usize, history: &'a [Line]) -> (Vec<Ticket<'a>>, Vec<Grant<'a>>) {
    let mut past: Vec<Ticket> = Vec::new();
    let mut now: HashMap<(&str, Vec<&str>, &str), Ticket> = HashMap::new();
    let mut grants: HashMap<(&str, i64), Grant> = HashMap::new();
    for line in history {
        let end = |ticket: Ticket<'a>| -> Ticket<'a> {
            Ticket {
                left: ticket.left.min(line.sent),
                gone: if line.status == 0 {
                    f64::MAX
                } else {
                    ticket.gone.min(line.got)
                },
                ..ticket
            }
        };
        let ended = |ticket: &Ticket| {
            let number = json!(ticket.number);
            line.status == 0
                || line.list("cancelled").contains(&number)
                || line.outcome() == "cancelled" && line.answer["ticket"] == number
        };
        if line.call != "acquire_lock" {
            let gone: Vec<_> = now
                .iter()
                .filter(|(_, it)| ended(it))
                .map(|(key, _)| key.clone())
                .collect();
            for key in gone {
                past.push(end(now.remove(&key).unwrap()));
            }
            continue;
        }
        let text = |name: &str| line.args[name].as_str().unwrap();
        let mut paths: Vec<&str> = line
            .list_of_args("paths")
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect();
        paths.sort_unstable();
        let key = (text("repo"), paths, text("mode"));
        let before = now.remove(&key);
        if line.outcome() == "queued" {
            let number = line.answer["ticket"].as_str().unwrap();
            let silence = 3.0 * line.answer["retry_after_seconds"].as_f64().unwrap();
            let (left, gone) = (line.sent + silence - SLACK, line.got + silence + SLACK);
            let ticket = match before {
                Some(same) if same.number == number => Ticket { left, gone, ..same },
                before => {
                    past.extend(before.map(end));
                    Ticket {
                        owner,
                        number,
                        repo: key.0,
                        paths: key.1.clone(),
                        mode: key.2,
                        asked: line.sent,
                        told: line.got,
                        left,
                        gone,
                    }
                }
            };
            now.insert(key, ticket);
            continue;
        }
        let began = before.as_ref().map_or(line.sent, |it| it.asked);
        past.extend(before.map(end));
        if line.outcome() == "acquired" {
            for lock in line.list("locks") {
                let (path, fence) = (
                    lock["path"].as_str().unwrap(),
                    lock["fence"].as_i64().unwrap(),
                );
                // What was kept is not given again.
                grants.entry((path, fence)).or_insert(Grant {
                    owner,
                    repo: key.0,
                    path,
                    mode: lock["mode"].as_str().unwrap(),
                    fence,
                    began,
                    sent: line.sent,
                    got: line.got,
                });
            }
        }
    }
    past.extend(now.into_values());
    (past, grants.into_values().collect())
}

/// L4: nobody was given what conflicts with a ticket that was there before he began to ask,
/// unless he had it covered. Gives the number of pairs that could have gone wrong.
fn nobody_is_passed(tickets: &[Ticket], grants: &[Grant], held: &[Held]) -> usize {
    let mut pairs = 0;
    for ticket in tickets {
        for grant in grants {
            if grant.owner == ticket.owner
                || grant.repo != ticket.repo
                || ![grant.mode, ticket.mode].contains(&"exclusive")
                || !ticket.paths.iter().any(|it| overlap(it, grant.path))
                || grant.began < ticket.told
            {
                continue;
            }
            pairs += 1;
            let covered = || {
                held.iter().any(|it| {
                    it.owner == grant.owner
                        && it.repo == grant.repo
                        && it.fence < grant.fence
                        && covers(it.path, grant.path)
                        && ["exclusive", grant.mode].contains(&it.mode)
                        && it.got <= grant.sent
                        && it.gone >= grant.sent
                })
            };
            assert!(
                grant.got > ticket.left || covered(),
                "worker {} waited for {:?} since {} ({}), and worker {} got {} at {} though it asked at {}",
                ticket.owner,
                ticket.paths,
                ticket.told,
                ticket.number,
                grant.owner,
                grant.path,
                grant.got,
                grant.began
            );
        }
    }
    pairs
}

/// All that is known of a run.
struct Run<'a> {
    agents: &'a [Agent],
    histories: &'a [Vec<Line>],
    held: &'a [Held<'a>],
    tickets: &'a [Ticket<'a>],
}

impl Run<'_> {
    fn owner(&self, session: &Value) -> usize {
        let session = session.as_str().unwrap();
        self.agents
            .iter()
            .position(|it| it.session.as_deref() == Some(session))
            .unwrap_or_else(|| panic!("there is no session {session}"))
    }

    /// Whether an owner was in line for a path while a call was under way.
    fn waited(&self, owner: usize, path: &str, line: &Line) -> bool {
        let known = self.tickets.iter().any(|it| {
            it.owner == owner
                && it.paths.contains(&path)
                && it.asked <= line.got
                && line.sent <= it.gone
        });
        known || self.died_asking(owner, path, line)
    }

    /// Whether nobody knows what an owner's last call came to.
    fn died_asking(&self, owner: usize, path: &str, line: &Line) -> bool {
        self.histories[owner].last().is_some_and(|it| {
            it.status == 0
                && it.call == "acquire_lock"
                && it.list_of_args("paths").contains(&json!(path))
                && it.sent <= line.got
        })
    }

    /// Whether an owner had a path for itself all through a call.
    fn covered(&self, owner: usize, repo: &Value, path: &str, line: &Line) -> bool {
        self.held.iter().any(|it| {
            it.owner == owner
                && it.repo == repo
                && it.mode == "exclusive"
                && covers(it.path, path)
                && it.got <= line.sent
                && line.got <= it.left
        })
    }

    fn held(&self, owner: usize, path: &str, line: &Line) -> bool {
        self.held.iter().any(|it| {
            it.owner == owner && it.path == path && it.asked <= line.got && line.sent <= it.gone
        })
    }

    /// L3, for those in line: who is named as waiting waited, before who is told so.
    fn those_in_line_are_there(&self) -> usize {
        let by_number: HashMap<&str, &Ticket> =
            self.tickets.iter().map(|it| (it.number, it)).collect();
        let mut named = 0;
        for (worker, line) in self.lines() {
            for blocker in line
                .list("blockers")
                .iter()
                .filter(|it| it["waiting"] == true)
            {
                named += 1;
                let owner = self.owner(&blocker["session_id"]);
                assert_ne!(owner, worker, "{blocker}");
                assert_eq!(blocker["holder"], self.agents[owner].name, "{blocker}");
                let path = blocker["held_path"].as_str().unwrap();
                let asked = blocker["path"].as_str().unwrap();
                assert!(overlap(path, asked), "{blocker}");
                assert!(
                    !self.covered(worker, &line.args["repo"], asked, line),
                    "not in the way of whoever has it: {blocker}"
                );
                let number = |it: &Value| -> Option<u64> { it.as_str()?.get(2..)?.parse().ok() };
                if let Some(own) = number(&line.answer["ticket"]) {
                    assert!(number(&blocker["ticket"]).unwrap() < own, "{}", line.answer);
                }
                let ticket = by_number.get(blocker["ticket"].as_str().unwrap());
                let there = ticket.map_or_else(
                    || self.died_asking(owner, path, line),
                    |it| {
                        it.owner == owner
                            && it.paths.contains(&path)
                            && it.asked <= line.got
                            && line.sent <= it.gone
                    },
                );
                assert!(there, "nobody waited: {blocker}");
            }
        }
        named
    }

    /// L3, for circles: each waits for the next, and the last for the first.
    fn circles_are_closed(&self) -> usize {
        let mut circles = 0;
        for (worker, line) in self.lines().filter(|it| it.1.outcome() == "deadlock") {
            circles += 1;
            let cycle = line.list("cycle");
            assert!(cycle.len() > 1, "{}", line.answer);
            assert_eq!(self.owner(&cycle[0]["session_id"]), worker);
            for (at, step) in cycle.iter().enumerate() {
                let next = &cycle[(at + 1) % cycle.len()];
                assert_eq!(step["holder"], next["waiter"], "{}", line.answer);
                let (waiter, holder) = (
                    self.owner(&step["session_id"]),
                    self.owner(&next["session_id"]),
                );
                let path = |name: &str| step[name].as_str().unwrap();
                let repo = step.get("repo").unwrap_or(&line.args["repo"]);
                assert!(
                    !self.covered(waiter, repo, path("path"), line),
                    "waits for nobody, for it has it: {step} of {}",
                    line.answer
                );
                assert!(overlap(path("path"), path("held_path")), "{step}");
                assert!(
                    waiter == worker || self.waited(waiter, path("path"), line),
                    "does not wait: {step}"
                );
                assert!(
                    if step["waiting"] == true {
                        self.waited(holder, path("held_path"), line)
                    } else {
                        self.held(holder, path("held_path"), line)
                    },
                    "not in the way: {step}"
                );
            }
        }
        circles
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.histories
            .iter()
            .enumerate()
            .flat_map(|(worker, history)| history.iter().map(move |line| (worker, line)))
    }
}

// ----------------------------------------------------------- eight processes

/// Numbers from a seed; nothing that depends on them needs to be good.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

fn finish(worker: Child, dies_after: Option<Duration>) -> Vec<Line> {
    let pid = Pid::from_raw(worker.id().try_into().unwrap());
    let reader = std::thread::spawn(move || worker.wait_with_output().unwrap());
    if let Some(time) = dies_after {
        std::thread::sleep(time);
        kill(pid, Signal::SIGKILL).unwrap();
    }
    let output = reader.join().unwrap();
    assert!(
        output.status.success() || dies_after.is_some(),
        "a worker failed"
    );
    history(&String::from_utf8_lossy(&output.stdout))
}

/// `COORD_SEED=n` makes the workers throw the same dice again.
fn seed() -> usize {
    std::env::var("COORD_SEED").map_or_else(
        |_| usize::try_from(std::process::id()).unwrap() * 1000,
        |it| it.parse().unwrap(),
    )
}

#[test]
fn a_fleet_of_eight_processes_keeps_every_promise() {
    const MORTALS: usize = 2;
    let seed = seed();
    println!("COORD_SEED={seed}");
    let repos = ["git.example/locks/fleet", "git.example/locks/fleet-too"];
    // Three workers are sessions of one agent.
    let agents: Vec<Agent> = [0, 0, 0, 3, 4, 5, 6, 7]
        .into_iter()
        .enumerate()
        .map(|(worker, agent)| {
            let name = format!("fleet-{agent}");
            shared().mint(&name, "test-client", repos[1]);
            Agent::new(&name, "fleet").in_session(&format!("fleet-{worker}"))
        })
        .collect();
    let (immortals, mortals) = agents.split_at(agents.len() - MORTALS);
    let operator = Agent {
        name: "operator".to_owned(),
        token: shared().operator.clone(),
        session: Some("undertaker".to_owned()),
        ..agents[0].clone()
    };
    let until = now() + SECONDS;
    let settings = json!({"repos": repos, "paths": TREE, "until": until});

    let mut undertaker = worker("undertaker", &operator, &settings, seed);
    let dead = Arc::new(Mutex::new(undertaker.stdin.take().unwrap()));
    // They die and come back as another session, one after the other.
    let lives: Vec<_> = mortals
        .iter()
        .enumerate()
        .map(|(number, agent)| {
            let (agent, dead) = (agent.clone(), dead.clone());
            let mut settings = settings.clone();
            settings["mortal"] = json!(true);
            std::thread::spawn(move || {
                let mut dice = Dice((seed + 100 * number) as u64);
                let mut lives = Vec::new();
                loop {
                    let name = agent.session.as_deref().unwrap();
                    let life = agent.in_session(&format!("{name}-{}", lives.len()));
                    let process = worker("fleet", &life, &settings, seed + 8 + lives.len());
                    let time = Duration::from_millis(3000 + dice.below(9000));
                    // Who would be killed after the end is not killed at all.
                    let last = now() + time.as_secs_f64() + 1.0 > until;
                    let did = finish(process, (!last).then_some(time));
                    // What an operator does not break ends by itself.
                    if !last && dice.below(3) > 0 {
                        let mut dead = dead.lock().unwrap();
                        writeln!(dead, "{}", life.session.as_deref().unwrap()).unwrap();
                    }
                    lives.push((life, did));
                    if last {
                        return lives;
                    }
                }
            })
        })
        .collect();
    let mut histories = work("fleet", immortals, &settings, seed);
    let mut agents = immortals.to_vec();
    for (life, lines) in lives.into_iter().flat_map(|it| it.join().unwrap()) {
        agents.push(life);
        histories.push(lines);
    }
    drop(dead);
    let broken = finish(undertaker, None);
    check(seed, &agents, &histories, &broken);
}

/// What died with its answer, from the audit: its owner never knew that it held it.
fn unseen(agents: &[Agent], histories: &[Vec<Line>]) -> Vec<(usize, f64, Value)> {
    let mut unseen = Vec::new();
    for (owner, history) in histories.iter().enumerate() {
        let Some(line) = history.last().filter(|it| it.status == 0) else {
            continue;
        };
        let session = agents[owner].session.as_deref().unwrap();
        let answer = shared().psql(&format!(
            "select detail -> 'result' from coord_v1.audit
             where session = '{session}' and outcome = 'acquired' order by id desc limit 1"
        ));
        if let Ok(answer) = serde_json::from_str(&answer) {
            unseen.push((owner, line.sent, answer));
        }
    }
    unseen
}

fn check(seed: usize, agents: &[Agent], histories: &[Vec<Line>], broken: &[Line]) {
    no_errors(
        histories,
        &[
            "acquired",
            "renewed",
            "held",
            "queued",
            "deadlock",
            "released",
            "not_held",
            "cancelled",
            "not_waiting",
            "ended",
        ],
    );
    let mut held: Vec<Held> = histories
        .iter()
        .enumerate()
        .flat_map(|(worker, history)| holdings(worker, history))
        .collect();
    let (mut tickets, mut grants) = (Vec::new(), Vec::new());
    for (worker, history) in histories.iter().enumerate() {
        let (its_tickets, its_grants) = line_of(worker, history);
        tickets.extend(its_tickets);
        grants.extend(its_grants);
    }
    // Sure knowledge of those who live.
    never_two_holders(&breaking(held.clone(), broken));

    let unseen = unseen(agents, histories);
    for (owner, asked, answer) in &unseen {
        for lock in answer["locks"].as_array().unwrap() {
            let fence = lock["fence"].as_i64().unwrap();
            if held.iter().all(|it| it.fence != fence) {
                held.push(Held {
                    owner: *owner,
                    repo: answer["repo"].as_str().unwrap(),
                    path: lock["path"].as_str().unwrap(),
                    mode: lock["mode"].as_str().unwrap(),
                    fence,
                    asked: *asked,
                    got: f64::MAX,
                    left: f64::MAX,
                    gone: f64::MAX,
                    released: false,
                });
            }
        }
    }
    let held = breaking(held, broken);
    let refusals = refusals_tell_the_truth(agents, histories, &held);
    let passes = nobody_is_passed(&tickets, &grants, &held);
    let run = Run {
        agents,
        histories,
        held: &held,
        tickets: &tickets,
    };
    let in_line = run.those_in_line_are_there();
    let circles = run.circles_are_closed();

    let mut outcomes: HashMap<&str, usize> = HashMap::new();
    for line in histories.iter().flatten() {
        *outcomes.entry(line.outcome()).or_default() += 1;
    }
    let forced: usize = broken.iter().map(|it| it.list("released").len()).sum();
    println!(
        "COORD_SEED={seed}: {} lives, {outcomes:?}, {} locks, {} tickets, {forced} broken; \
         {refusals} refusals, {in_line} named in line, {circles} circles, {passes} pairs for L4",
        agents.len(),
        held.len(),
        tickets.len()
    );
    for (outcome, floor) in [
        ("acquired", 40),
        ("renewed", 3),
        ("held", 20),
        ("queued", 100),
        ("released", 40),
        ("ended", 1),
        ("deadlock", 1),
    ] {
        let count = outcomes.get(outcome).copied().unwrap_or_default();
        assert!(count >= floor, "{outcome} only {count} times; seed {seed}");
    }
    assert!(
        agents.len() > 8 && in_line > 20 && passes > 50,
        "they hardly met; seed {seed}"
    );
}

/// Locks with what an operator did to them.
fn breaking<'a>(held: Vec<Held<'a>>, broken: &[Line]) -> Vec<Held<'a>> {
    let mut forced = HashMap::new();
    for line in broken {
        for lock in line.list("released") {
            forced.insert(lock["fence"].as_i64().unwrap(), (line.sent, line.got));
        }
    }
    let broken = |it: Held<'a>| match forced.get(&it.fence) {
        Some((sent, got)) => Held {
            left: it.left.min(*sent),
            gone: it.gone.min(*got),
            ..it
        },
        None => it,
    };
    held.into_iter().map(broken).collect()
}

// ------------------------------------------------------------------ the line

/// Asks every 100 ms or so until it is given.
async fn served(agent: &Agent, path: &str) -> Value {
    let mut dice = Dice(agent.session.as_deref().map_or(0, str::len) as u64);
    loop {
        let answer = agent.wait_for(path).await;
        match answer["outcome"].as_str().unwrap() {
            "acquired" => return answer,
            "queued" => tokio::time::sleep(Duration::from_millis(60 + dice.below(80))).await,
            _ => panic!("{answer}"),
        }
    }
}

#[tokio::test]
async fn twenty_waiters_are_served_in_the_order_of_their_tickets() {
    let agent = Agent::new("fair", "fairness");
    let holder = agent.in_session("holder");
    assert_eq!(holder.acquire("hot.rs").await["outcome"], "acquired");
    let mut waiters = tokio::task::JoinSet::new();
    for number in 0..20 {
        let waiter = agent.in_session(&format!("waiter-{number}"));
        waiters.spawn(async move {
            let first = waiter.wait_for("hot.rs").await;
            assert_eq!(first["outcome"], "queued", "{first}");
            let ticket = first["ticket"].as_str().unwrap()[2..]
                .parse::<u64>()
                .unwrap();
            let got = served(&waiter, "hot.rs").await;
            waiter.release().await;
            (fence(&got), ticket)
        });
    }
    let line = || shared().psql("select count(*) from coord.lock_tickets where agent = 'fair'");
    while line() != "20" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holder.release().await;
    let mut order = waiters.join_all().await;
    order.sort_unstable();
    assert!(order.is_sorted_by_key(|it| it.1), "{order:?}");
}

#[tokio::test]
async fn small_requests_cannot_starve_a_directory() {
    let agent = Agent::new("starved", "starvation");
    let until = Instant::now() + Duration::from_secs(20);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut small = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (agent, done) = (agent.in_session(&format!("small-{number}")), done.clone());
        small.spawn(async move {
            let path = format!("src/{number}.rs");
            let mut served = 0;
            tokio::time::sleep(Duration::from_millis(40 * number)).await;
            while !done.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < until {
                // Some wait, some do not; none ever leaves the directory free for long.
                let answer = if number % 2 == 0 {
                    agent.acquire(&path).await
                } else {
                    agent.wait_for(&path).await
                };
                if answer["outcome"] == "acquired" {
                    served += 1;
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    agent.release().await;
                }
            }
            served
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let big = agent.in_session("big");
    let answer = big.wait_for("src/").await;
    assert_eq!(
        answer["outcome"], "queued",
        "the stream is steady: {answer}"
    );
    let answer = tokio::time::timeout(Duration::from_secs(15), served(&big, "src/")).await;
    assert_eq!(
        answer.expect("the directory is served")["outcome"],
        "acquired"
    );
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    big.release().await;
    let served: u32 = small.join_all().await.into_iter().sum();
    assert!(served >= 5, "there was hardly a stream: {served}");
}

#[tokio::test]
async fn a_dead_waiter_loses_its_place_after_its_silence_and_not_before() {
    let agent = Agent::new("stranded", "stranding");
    let (holder, dead, next) = (
        agent.in_session("holder"),
        agent.in_session("dead"),
        agent.in_session("next"),
    );
    assert_eq!(holder.acquire("x.rs").await["outcome"], "acquired");
    let settings = json!({"path": "x.rs", "mortal": true});
    let mut process = worker("wait", &dead, &settings, 1);
    let output = process.stdout.take().unwrap();
    let waits =
        || shared().psql("select count(*) from coord.lock_tickets where session_id = 'dead'");
    while waits() != "1" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(next.wait_for("x.rs").await["position"], 2);
    process.kill().unwrap();
    process.wait().unwrap();
    let died = Instant::now();
    let text = std::io::read_to_string(output).unwrap();
    let last = history(&text)
        .into_iter()
        .rfind(|it| it.status == 200)
        .expect("it was told its place");
    let silence = 3.0 * last.answer["retry_after_seconds"].as_f64().unwrap();
    holder.release().await;
    let got = tokio::time::timeout(Duration::from_mins(1), served(&next, "x.rs")).await;
    assert_eq!(got.expect("next is served")["outcome"], "acquired");
    let waited = died.elapsed().as_secs_f64();
    // It asked at most 150 ms and one call before it died.
    assert!(
        (silence - 2.0..silence + 5.0).contains(&waited),
        "{waited} s of {silence}"
    );
}

#[tokio::test]
async fn the_third_of_a_circle_is_told_at_once() {
    let agent = Agent::new("circle", "circles");
    let sessions = ["one", "two", "three"].map(|it| agent.in_session(it));
    for (session, path) in sessions.iter().zip(["a", "b", "c"]) {
        assert_eq!(session.acquire(path).await["outcome"], "acquired");
    }
    for (session, path) in sessions.iter().zip(["b", "c"]) {
        assert_eq!(session.wait_for(path).await["outcome"], "queued");
    }
    let began = Instant::now();
    let told = sessions[2].wait_for("a").await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(told["outcome"], "deadlock", "{told}");
    let circle: Vec<_> = told["cycle"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["session_id"].as_str().unwrap(),
                it["path"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(circle, [("three", "a"), ("one", "b"), ("two", "c")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_close_a_circle_at_the_same_moment_do_not_both_wait() {
    let agent = Agent::new("mutual", "mutual");
    for round in 0..20 {
        let (one, two) = (
            agent.in_session(&format!("one-{round}")),
            agent.in_session(&format!("two-{round}")),
        );
        let (a, b) = (format!("{round}/a"), format!("{round}/b"));
        assert_eq!(one.acquire(&a).await["outcome"], "acquired");
        assert_eq!(two.acquire(&b).await["outcome"], "acquired");
        let start = Arc::new(tokio::sync::Barrier::new(2));
        let calls = [(&one, b), (&two, a)].map(|(session, path)| {
            let (session, start) = (session.clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                session.wait_for(&path).await
            })
        });
        let mut told = Vec::new();
        for call in calls {
            told.push(call.await.unwrap()["outcome"].as_str().unwrap().to_owned());
        }
        told.sort_unstable();
        assert_eq!(told, ["deadlock", "queued"], "round {round}");
        for session in [one, two] {
            session.call("end_session", json!({})).await;
        }
    }
}

#[tokio::test]
async fn what_a_dead_or_paused_holder_had_is_free_when_its_lease_ends() {
    let (agent, other) = (
        Agent::new("lease", "leases"),
        Agent::new("heir", "leases").in_session("heir"),
    );
    let (dead, paused) = (agent.in_session("dead"), agent.in_session("paused"));
    let mut processes = [(&dead, "dead.rs"), (&paused, "paused.rs")]
        .map(|(session, path)| worker("hold", session, &json!({"path": path, "mortal": true}), 1));
    let outputs = processes.each_mut().map(|process| {
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = [String::new(), String::new()];
        for line in &mut lines {
            output.read_line(line).unwrap();
        }
        let got: Line = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(got.outcome(), "acquired");
        (output, fence(&got.answer))
    });
    let began = Instant::now();
    let [(_, dead_fence), (mut output, paused_fence)] = outputs;
    let [killed, stopped] = &mut processes;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let pid = Pid::from_raw(stopped.id().try_into().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();

    // A second of the lease may be over by now, and the machine may stall for some.
    while began.elapsed() < Duration::from_secs(24) {
        for path in ["dead.rs", "paused.rs"] {
            let answer = other.acquire(path).await;
            if began.elapsed() < Duration::from_secs(28) {
                assert_eq!(answer["outcome"], "held", "{answer}");
                assert_eq!(answer["blockers"][0]["holder"], "lease");
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(30_500).saturating_sub(began.elapsed())).await;
    for (path, before) in [("dead.rs", dead_fence), ("paused.rs", paused_fence)] {
        let answer = other.acquire(path).await;
        assert_eq!(answer["outcome"], "acquired", "{answer}");
        assert!(fence(&answer) > before, "{answer} after {before}");
    }

    // It wakes up and does not know how long it slept.
    writeln!(stopped.stdin.as_mut().unwrap(), "go on").unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let text = std::io::read_to_string(&mut output).unwrap();
    assert!(stopped.wait().unwrap().success());
    let [released, verified] = &history(&text)[..] else {
        panic!("{text}");
    };
    assert_eq!(released.outcome(), "not_held");
    assert_eq!(released.answer["not_held"][0]["holder"], "heir");
    assert_eq!(verified.outcome(), "not_covered");
    assert_eq!(verified.answer["problems"][0]["problem"], "held_by_other");
}

#[tokio::test]
async fn the_end_of_a_session_serves_who_waits_for_it_and_ends_its_own_waiting() {
    let agent = Agent::new("ending", "endings");
    let [first, second, third] = ["first", "second", "third"].map(|it| agent.in_session(it));
    assert_eq!(first.acquire("src/").await["outcome"], "acquired");
    assert_eq!(second.wait_for("src/a.rs").await["outcome"], "queued");
    assert_eq!(third.wait_for("src/a.rs").await["position"], 2);
    let waiting = tokio::spawn(async move { served(&third, "src/a.rs").await });

    // Who waits and ends is no longer in line.
    let ended = second.call("end_session", json!({})).await;
    assert_eq!(ended["cancelled"].as_array().unwrap().len(), 1, "{ended}");
    let tickets =
        "select count(*) from coord.lock_tickets where agent = 'ending' and session_id = 'second'";
    assert_eq!(shared().psql(tickets), "0");
    // Who holds and ends holds nothing, and the next is served.
    assert!(!waiting.is_finished());
    let ended = first.call("end_session", json!({})).await;
    assert_eq!(ended["released"][0]["path"], "src/", "{ended}");
    let got = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(got.expect("in time").unwrap()["outcome"], "acquired");
    // Who comes back begins anew, at the end of the line.
    let back = second.wait_for("src/a.rs").await;
    assert_eq!(
        (&back["outcome"], &back["blockers"][0]["session_id"]),
        (&json!("queued"), &json!("third")),
        "{back}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_for_one_ticket_at_once_are_one_ticket() {
    let agent = Agent::new("eager", "eagerness");
    let (holder, eager) = (agent.in_session("holder"), agent.in_session("eager"));
    let paths = json!({"paths": ["b.rs", "a.rs", "dir/"], "wait_seconds": 600});
    let all_at_once = async || {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (eager, paths) = (eager.clone(), paths.clone());
            calls.spawn(async move { eager.call("acquire_lock", paths).await });
        }
        calls.join_all().await
    };
    for round in 0..5 {
        assert_eq!(holder.acquire("dir/x.rs").await["outcome"], "acquired");
        let answers = all_at_once().await;
        for answer in &answers {
            assert_eq!(answer["outcome"], "queued", "round {round}: {answer}");
            assert_eq!(answer["ticket"], answers[0]["ticket"], "round {round}");
        }
        let tickets = "select count(*) from coord.lock_tickets where agent = 'eager'";
        assert_eq!(shared().psql(tickets), "1", "round {round}");
        holder.release().await;
        let answers = all_at_once().await;
        let count = |outcome: &str| answers.iter().filter(|it| it["outcome"] == outcome).count();
        assert_eq!(
            (count("acquired"), count("renewed")),
            (1, 11),
            "{answers:?}"
        );
        assert_eq!(shared().psql(tickets), "0", "round {round}");
        eager.release().await;
    }
    let log = read(&shared().home.join("log/postgres.log"));
    assert!(!log.contains("deadlock detected"), "{log}");
}
