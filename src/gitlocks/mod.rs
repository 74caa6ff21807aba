//! Locks as refs of a git remote: for agents that reach nothing else, and while the
//! coordinator is away.
//!
//! A lock is a ref `refs/coord/locks/<hash>` at a commit without files, whose message holds a
//! [`Record`]. The hash is that of the canonical path; of a shared lock, which others may have
//! beside it, that of path and owner. An owner is (agent, session).
//!
//! States of a record
//!   held      it is live until `expires`, for its owner by its own clock, and for others until
//!             a margin after it by theirs (`git config coord.skew`, 60 seconds): who believes
//!             that a lock is over and who holds it may be that far apart
//!   released  by its owner; kept for an hour
//!   lost      to somebody who holds it in the database; kept for a day
//!
//! `refs/coord/locks/guard` is the register: the number of the last turn, and which refs there
//! are, each with the turn that made it. A turn is whatever makes, takes over or deletes locks:
//! one push, all or nothing (`--atomic`), that also moves the register from where it was read
//! (`--force-with-lease`). So turns happen one after another, and a lock that the one before
//! made is seen by the next, also where the paths only overlap. The number of a turn is the
//! fence of the locks that it makes: it rises by every turn, whatever is released or deleted.
//!
//! To extend or release a lock only its own ref is moved, by the same comparison. That needs no
//! turn: whoever takes an expired lock over replaces or deletes its ref in the same push, so one
//! of the two fails.
//!
//! Reading is not atomic, and neither are servers when they move several refs. A reading counts
//! when it shows all that the register tells: every ref with at least its turn, no other of an
//! older one. Otherwise a push is under way, and it is read again. What a server has not
//! finished within ten seconds it will not finish, and its client was never told that it holds
//! anything.
//!
//! A commit holds a random number, so a ref never comes back to where it was. After a push that
//! failed for any reason it is read whether it happened all the same. A client that is killed
//! leaves what it has pushed, until that expires.
//!
//! Nobody proves who they are: whoever may push may also lie. The coordinator's tokens, limits,
//! lines and audit are not here.

mod path;
mod reconcile;
mod record;
mod remote;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::exit::Exit;
use crate::settings::{Global, env};
use crate::stack::clock;
use crate::{git, remote as here, rpc};
use record::{Ending, Record, State};
use remote::{Change, Remote, Snapshot};

/// How long somebody who loses every race tries again.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a released or expired lock's ref is kept, in seconds; then some turn takes it along.
const KEPT: i64 = 3600;

/// The same for what was lost to the database: its owner should have read it.
const LOST_KEPT: i64 = 86_400;

/// How many such refs one turn takes along.
const SWEPT: usize = 50;

/// Why locks could not be had by git.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Git said no, or cannot reach the remote.
    #[error("the git remote {remote} cannot be used for locks: {said}")]
    Git {
        /// Its name.
        remote: String,
        /// What git said.
        said: String,
    },
    /// The server cannot move several refs at once.
    #[error(
        "the server of the git remote {0} does no atomic pushes, and without them locks by git are not safe; use the coordinator"
    )]
    NotAtomic(String),
    /// The server refuses such refs.
    #[error("the git remote {remote} takes no refs/coord/locks: {said}")]
    Refused {
        /// Its name.
        remote: String,
        /// What it said.
        said: String,
    },
    /// Others were quicker all the time.
    #[error(
        "others change locks of the git remote {0} all the time; nothing was done, try again ({1})"
    )]
    Contended(String, String),
    /// A ref whose commit holds no lock.
    #[error(
        "{name} of the git remote {remote} cannot be read: {why}; whoever made it, `git push {remote} :{name}` takes it away"
    )]
    Unreadable {
        /// The remote.
        remote: String,
        /// The ref.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The coordinator, which is asked as well when both worlds are brought together.
    #[error(transparent)]
    Api(#[from] rpc::Error),
    /// Not what can be asked.
    #[error("{code}: {details}")]
    Input {
        /// As the coordinator calls it.
        code: &'static str,
        /// What is wrong.
        details: String,
    },
}

impl Error {
    /// The exit code this error means.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Git { .. } | Self::Contended(..) => Exit::Unreachable,
            Self::NotAtomic(_) | Self::Refused { .. } | Self::Unreadable { .. } => Exit::Refused,
            Self::Api(error) => error.exit(),
            Self::Input { .. } => Exit::Usage,
        }
    }
}

/// Who asks. Nobody checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `COORD_AGENT`, else as the token says, else git's user.email.
    pub agent: String,
    /// As the token says, else what was given, else one for the token.
    pub session: String,
    /// As the token says.
    pub agent_type: String,
}

impl Who {
    /// Whoever the settings speak for; the token is read, not checked.
    ///
    /// # Errors
    /// There is neither a token nor a name, or the token that was named cannot be read.
    pub fn new(global: &Global, session: Option<&str>) -> Result<Self, Error> {
        let token = global.token_here().map_err(|error| Error::Input {
            code: "token_unreadable",
            details: error.to_string(),
        })?;
        let claims = token.as_deref().and_then(claims);
        let claim = |name: &str| {
            let text = claims.as_ref()?.get(name)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let agent = env("COORD_AGENT")
            .or_else(|| claim("sub"))
            .or_else(|| git::text(&["config", "--get", "user.email"]))
            .ok_or_else(|| Error::Input {
                code: "agent_unknown",
                details: "locks by git need a name: set COORD_AGENT, or a token".to_owned(),
            })?;
        let session = claim("session_id")
            .or_else(|| session.map(str::to_owned))
            .or_else(|| global.session.clone().filter(|id| !id.is_empty()))
            .or_else(|| claim("jti"))
            .unwrap_or_else(|| "git".to_owned());
        Ok(Self {
            agent,
            session,
            agent_type: claim("agent_type").unwrap_or_else(|| "git".to_owned()),
        })
    }
}

fn claims(token: &str) -> Option<Map<String, Value>> {
    let claims = jsonwebtoken::dangerous::insecure_decode::<Map<String, Value>>(token);
    claims.ok().map(|token| token.claims)
}

/// The functions that git can stand in for.
pub const FUNCTIONS: [&str; 4] = [
    "acquire_lock",
    "release_lock",
    "check_locks",
    "verify_locks",
];

/// Locks of one remote, as one owner sees them.
#[derive(Debug)]
pub struct Locks {
    remote: Remote,
    who: Who,
    margin: i64,
}

impl Locks {
    /// Nothing is read yet. Without a name it is `origin`, else the first remote.
    ///
    /// # Errors
    /// Here is no git checkout with a remote.
    pub fn new(remote: Option<&str>, who: Who) -> Result<Self, Error> {
        let named = |name: &str| name.to_owned();
        let remote = remote.map(named).or_else(|| {
            let remotes = git::text(&["remote"])?;
            let first = remotes.lines().next()?;
            let origin = remotes.lines().find(|it| *it == "origin");
            Some(origin.unwrap_or(first).to_owned())
        });
        let remote = remote.ok_or_else(|| Error::Input {
            code: "remote_unknown",
            details: "here is no git checkout with a remote to keep locks in".to_owned(),
        })?;
        if remote.starts_with('-') {
            return Err(Error::Input {
                code: "remote_unknown",
                details: format!("{remote} names no remote"),
            });
        }
        let skew = git::text(&["config", "--type=int", "--get", "coord.skew"]);
        let skew = skew.and_then(|text| text.parse().ok());
        Ok(Self {
            remote: Remote::new(remote),
            who,
            margin: skew.unwrap_or(60).clamp(0, 3600),
        })
    }

    /// Answers a function in the coordinator's shapes, with `via: git`.
    ///
    /// # Errors
    /// The remote cannot be used, or the arguments make no sense.
    pub async fn answer(&self, function: &str, args: &Map<String, Value>) -> Result<Value, Error> {
        let mut answer = match function {
            "acquire_lock" => self.acquire(args).await?,
            "release_lock" => self.release(args).await?,
            "check_locks" => self.check(args).await?,
            "verify_locks" => self.verify(args).await?,
            _ => {
                return Err(Error::Input {
                    code: "not_by_git",
                    details: format!("{function} needs the coordinator"),
                });
            }
        };
        if let Value::Object(answer) = &mut answer {
            answer.insert("via".to_owned(), "git".into());
            answer.insert("remote".to_owned(), self.remote.name().into());
            if let Some(repo) = args.get("repo").filter(|repo| !repo.is_null()) {
                answer.insert("repo".to_owned(), repo.clone());
            }
        }
        Ok(answer)
    }

    async fn acquire(&self, args: &Map<String, Value>) -> Result<Value, Error> {
        let wanted = Wanted {
            paths: paths(args)?.ok_or_else(|| Error::Input {
                code: "paths_required",
                details: "the call names no path".to_owned(),
            })?,
            shared: match text(args, "mode").as_deref() {
                None | Some("exclusive") => false,
                Some("shared") => true,
                Some(_) => {
                    return Err(Error::Input {
                        code: "mode_unknown",
                        details: "mode is exclusive or shared".to_owned(),
                    });
                }
            },
            // Shorter than the coordinator's: nothing here ends with its session.
            ttl: number(args, "ttl_seconds", 1800, 5..=28_800, "ttl_out_of_range")?,
            reason: text(args, "reason").map(|text| text.chars().take(500).collect()),
        };
        let wait = number(args, "wait_seconds", 0, 0..=3600, "wait_out_of_range")?;
        let patient = Instant::now() + Duration::from_secs(wait.unsigned_abs());
        let mut tries = Tries::new();
        loop {
            let snapshot = self.remote.read().await?;
            if let Some(granted) = tries.landed(&snapshot) {
                return Ok(granted);
            }
            let now = clock::now();
            let blockers = self.blockers(&snapshot, &wanted, now);
            if !blockers.is_empty() {
                let left = patient.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    // There is no line here: who comes first after it is free has it.
                    tries = Tries::new();
                    tokio::time::sleep(left.min(random(500..1500))).await;
                    continue;
                }
                return Ok(json!({
                    "ok": false, "outcome": "held", "blockers": blockers,
                    "next": "Work on something else and ask again later.",
                }));
            }
            let plan = self.plan(&snapshot, &wanted, now);
            if let Some(granted) = tries.push(&self.remote, plan).await? {
                return Ok(granted);
            }
        }
    }

    /// Who keeps this owner from locking these paths.
    fn blockers(&self, snapshot: &Snapshot, wanted: &Wanted, now: i64) -> Vec<Value> {
        let mut blockers = Vec::new();
        for held in snapshot.records() {
            let free = held.owned_by(&self.who)
                || !held.is_live(now - self.margin)
                || (wanted.shared && held.shared);
            let path = wanted
                .paths
                .iter()
                .find(|path| path::overlap(path, &held.path));
            if let (false, Some(path)) = (free, path) {
                let mut blocker = held.told(now - self.margin);
                blocker["path"] = path.as_str().into();
                blocker["held_path"] = held.path.as_str().into();
                blockers.push(blocker);
            }
        }
        blockers.truncate(20);
        blockers
    }

    /// What makes these paths this owner's, given that nobody is in the way.
    fn plan(&self, snapshot: &Snapshot, wanted: &Wanted, now: i64) -> Plan {
        let turn = snapshot.next_turn();
        let mut plan = Plan::default();
        let expires = now + wanted.ttl;
        for path in &wanted.paths {
            let own = snapshot.locks.iter().find(|(_, seen)| {
                let held = &seen.it;
                held.owned_by(&self.who)
                    && held.is_live(now)
                    && held.path == *path
                    && (!held.shared || wanted.shared)
            });
            if let Some((name, seen)) = own {
                let mut held = seen.it.clone();
                held.expires = held.expires.max(expires);
                held.reason = wanted.reason.clone().or(held.reason);
                // A lock of the database that was extended here must be extended there.
                held.database = false;
                plan.put(name, Some(&seen.at), &held, now);
                continue;
            }
            let name = record::name(path, wanted.shared.then_some(&self.who));
            let before = snapshot.locks.get(&name).map(|seen| &*seen.at);
            let fresh = Record {
                state: State::Held,
                path: path.clone(),
                shared: wanted.shared,
                agent: self.who.agent.clone(),
                session: self.who.session.clone(),
                agent_type: self.who.agent_type.clone(),
                reason: wanted.reason.clone(),
                acquired: now,
                expires,
                turn,
                fence: turn,
                database: false,
                ending: None,
                over: Vec::new(),
            };
            plan.made = true;
            plan.put(&name, before, &fresh, now);
        }
        if plan.made {
            // Whatever is over and overlaps goes in the same push, so that its owner cannot
            // extend it any more; and some of what nobody needs to see any longer.
            let mut swept = 0;
            for (name, seen) in &snapshot.locks {
                let old = &seen.it;
                let overlaps = wanted
                    .paths
                    .iter()
                    .any(|path| path::overlap(path, &old.path));
                let own = old.owned_by(&self.who);
                let over = match (old.state, own) {
                    (State::Held, true) => {
                        !old.is_live(now)
                            || (old.shared && !wanted.shared && wanted.paths.contains(&old.path))
                    }
                    (State::Held, false) => !old.is_live(now - self.margin),
                    _ => false,
                };
                let stale = old.is_stale(now - self.margin);
                if plan.has(name) || !(overlaps && over || stale && swept < SWEPT) {
                    continue;
                }
                swept += usize::from(stale);
                plan.take(name, &seen.at);
            }
            plan.register(snapshot, turn);
        }
        plan
    }

    async fn release(&self, args: &Map<String, Value>) -> Result<Value, Error> {
        let named = paths(args)?;
        let mut tries = Tries::new();
        loop {
            let snapshot = self.remote.read().await?;
            if let Some(released) = tries.landed(&snapshot) {
                return Ok(released);
            }
            let now = clock::now();
            let mut plan = Plan::default();
            let mut released = Vec::new();
            for (name, seen) in &snapshot.locks {
                let held = &seen.it;
                let asked = named
                    .as_ref()
                    .is_none_or(|paths| paths.contains(&held.path));
                if asked && held.owned_by(&self.who) && held.state == State::Held {
                    let mut freed = held.clone();
                    freed.state = State::Released;
                    freed.ending = Some(Ending { at: now, to: None });
                    plan.put(name, Some(&seen.at), &freed, now);
                    released.push(json!({"path": held.path, "fence": held.fence}));
                }
            }
            let not_held = not_held(&snapshot, named.as_deref(), &released, now);
            let ok = not_held.is_empty() || !released.is_empty();
            plan.answer = json!({
                "ok": ok, "outcome": if ok { "released" } else { "not_held" },
                "released": released, "not_held": not_held,
            });
            if plan.changes.is_empty() {
                return Ok(plan.answer);
            }
            if let Some(released) = tries.push(&self.remote, plan).await? {
                return Ok(released);
            }
        }
    }

    async fn check(&self, args: &Map<String, Value>) -> Result<Value, Error> {
        let named = paths(args)?;
        let snapshot = self.remote.read().await?;
        let now = clock::now();
        let mut locks: Vec<&Record> = snapshot
            .records()
            .filter(|held| held.is_live(now))
            .filter(|held| {
                let overlaps = |path: &String| path::overlap(path, &held.path);
                named
                    .as_ref()
                    .is_none_or(|paths| paths.iter().any(overlaps))
            })
            .collect();
        locks.sort_by_key(|held| (-held.acquired, held.path.clone()));
        let locks: Vec<Value> = locks.into_iter().map(|held| held.told(now)).collect();
        Ok(json!({"ok": true, "total": locks.len(), "locks": locks}))
    }

    async fn verify(&self, args: &Map<String, Value>) -> Result<Value, Error> {
        let asked = texts(args, "paths").unwrap_or_default();
        if asked.is_empty() {
            return Err(Error::Input {
                code: "paths_required",
                details: "the call names no path".to_owned(),
            });
        }
        let fences: Option<Vec<i64>> = args
            .get("fences")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_i64).collect());
        if fences.as_ref().is_some_and(|it| it.len() != asked.len()) {
            return Err(Error::Input {
                code: "fences_do_not_match",
                details: format!("{} paths and another number of fences", asked.len()),
            });
        }
        let snapshot = self.remote.read().await?;
        let now = clock::now();
        let (mut covered, mut problems) = (Vec::new(), Vec::new());
        for (at, path) in asked.iter().enumerate() {
            let path = path::canonical(path)?;
            let fence = fences.as_ref().map(|fences| fences[at]);
            let live = || snapshot.records().filter(|held| held.is_live(now));
            let own = live()
                .filter(|held| held.agent == self.who.agent && path::covers(&held.path, &path))
                .min_by_key(|held| (held.shared, -held.fence));
            let other = live()
                .find(|held| held.agent != self.who.agent && path::overlap(&held.path, &path));
            let problem = match (own, other) {
                (None, Some(_)) => "held_by_other",
                (None, None) => "not_held",
                (Some(own), _) if own.shared => "only_shared",
                (Some(own), _) if fence.is_some_and(|fence| fence != own.fence) => "stale_fence",
                (Some(own), _) => {
                    covered.push(json!({
                        "path": path, "held_path": own.path, "fence": own.fence,
                        "session_id": own.session, "seconds_left": own.expires - now,
                    }));
                    continue;
                }
            };
            let mut problem = json!({"path": path, "problem": problem, "fence": fence});
            if let Some(other) = other {
                problem["holder"] = other.agent.as_str().into();
                problem["held_path"] = other.path.as_str().into();
            }
            if let Some(newest) = own.or(other) {
                problem["newest_fence"] = newest.fence.into();
            }
            if let Some(lost) = self.lost(&snapshot, &path) {
                problem["lost_to"] = lost;
            }
            problems.push(problem);
        }
        let ok = problems.is_empty();
        Ok(json!({
            "ok": ok, "outcome": if ok { "covered" } else { "not_covered" },
            "agent": self.who.agent, "covered": covered, "problems": problems,
        }))
    }

    /// To whom this owner lost a lock on a path when both worlds were brought together.
    fn lost(&self, snapshot: &Snapshot, path: &str) -> Option<Value> {
        snapshot.records().find_map(|held| {
            let ending = held.ending.as_ref().and_then(|ending| ending.to.clone());
            if held.owned_by(&self.who) && path::overlap(&held.path, path) && ending.is_some() {
                return ending;
            }
            let over =
                |it: &record::Loser| it.agent == self.who.agent && it.session == self.who.session;
            (path::overlap(&held.path, path) && held.over.iter().any(over)).then(
                || json!({"holder": held.agent, "session_id": held.session, "fence": held.fence}),
            )
        })
    }
}

/// What was asked for by name and is not this owner's, with whoever has it.
fn not_held(
    snapshot: &Snapshot,
    named: Option<&[String]>,
    released: &[Value],
    now: i64,
) -> Vec<Value> {
    let missed = |path: &&String| released.iter().all(|it| it["path"] != path.as_str());
    let tell = |path: &String| {
        let holder = snapshot
            .records()
            .find(|held| held.is_live(now) && path::overlap(path, &held.path));
        match holder {
            Some(held) => {
                json!({"path": path, "holder": held.agent, "session_id": held.session})
            }
            None => json!({"path": path}),
        }
    };
    named
        .unwrap_or_default()
        .iter()
        .filter(missed)
        .map(tell)
        .collect()
}

struct Wanted {
    paths: Vec<String>,
    shared: bool,
    ttl: i64,
    reason: Option<String>,
}

/// What one push is to change, and the answer for when it has.
#[derive(Debug, Default)]
struct Plan {
    /// By ref: from where, and to which record; to nothing where it goes.
    changes: BTreeMap<String, (Option<String>, Option<String>)>,
    locks: Vec<Value>,
    made: bool,
    answer: Value,
}

impl Plan {
    fn put(&mut self, name: &str, before: Option<&str>, record: &Record, now: i64) {
        self.locks.push(record.granted(now));
        let message = record.message();
        self.changes
            .insert(name.to_owned(), (before.map(str::to_owned), Some(message)));
    }

    fn take(&mut self, name: &str, before: &str) {
        self.changes
            .insert(name.to_owned(), (Some(before.to_owned()), None));
    }

    fn has(&self, name: &str) -> bool {
        self.changes.contains_key(name)
    }

    /// With a commit for each record.
    async fn written(&self, remote: &Remote) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        for (name, (expected, message)) in &self.changes {
            let new = match message {
                Some(message) => Some(remote.write(message).await?),
                None => None,
            };
            changes.push(Change {
                name: name.clone(),
                expected: expected.clone(),
                new,
            });
        }
        Ok(changes)
    }

    /// Makes it a turn: the register is moved as well. A ref that is replaced is of this turn;
    /// one that is only extended keeps its own.
    fn register(&mut self, snapshot: &Snapshot, turn: i64) {
        let mut refs = snapshot.register();
        for (name, (_, message)) in &self.changes {
            match message.as_deref().and_then(Record::read) {
                Some(record) => refs.insert(name.clone(), record.turn),
                None => refs.remove(name),
            };
        }
        let before = snapshot.guard.as_ref().map(|seen| seen.at.clone());
        let message = record::register(turn, &refs);
        self.changes
            .insert(record::GUARD.to_owned(), (before, Some(message)));
    }
}

/// Pushes until one is first, and remembers what the last one was.
struct Tries {
    until: Instant,
    count: u32,
    failures: u32,
    last: Vec<Change>,
    answer: Value,
    why: String,
}

impl Tries {
    fn new() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
            count: 0,
            failures: 0,
            last: Vec::new(),
            answer: Value::Null,
            why: String::new(),
        }
    }

    /// The answer, if the last push happened: all of its refs are where it put them.
    fn landed(&mut self, snapshot: &Snapshot) -> Option<Value> {
        let new = self.last.iter().filter(|it| it.name != record::GUARD);
        let there =
            |it: &Change| snapshot.locks.get(&it.name).map(|seen| &seen.at) == it.new.as_ref();
        (!self.last.is_empty() && new.clone().all(there)).then(|| self.answer.take())
    }

    /// The answer if this was first, none if it is to be tried again with what is there then.
    async fn push(&mut self, remote: &Remote, plan: Plan) -> Result<Option<Value>, Error> {
        if Instant::now() > self.until {
            return Err(Error::Contended(remote.name().to_owned(), self.why.clone()));
        }
        if self.count > 0 {
            let longest = 50 * u64::from(self.count.min(10));
            tokio::time::sleep(random(longest / 2..longest)).await;
        }
        self.count += 1;
        let outcome = if plan.made { "acquired" } else { "renewed" };
        let answer = if plan.answer.is_null() {
            json!({"ok": true, "outcome": outcome, "locks": plan.locks})
        } else {
            plan.answer.clone()
        };
        self.last = plan.written(remote).await?;
        match remote.push(&self.last).await {
            Ok(None) => return Ok(Some(answer)),
            Ok(Some(why)) => self.why = why,
            // It may have happened: that is read before it is tried again.
            Err(Error::Git { said, .. }) if self.failures < 2 => {
                self.failures += 1;
                self.why = said;
            }
            Err(error) => return Err(error),
        }
        self.answer = answer;
        Ok(None)
    }
}

fn random(millis: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(
        millis.start..millis.end.max(millis.start + 1),
    ))
}

fn text(args: &Map<String, Value>, name: &str) -> Option<String> {
    args.get(name)?.as_str().map(str::to_owned)
}

fn texts(args: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let list = args.get(name)?.as_array()?;
    Some(
        list.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

/// Canonical, sorted and each once; none where none is named.
fn paths(args: &Map<String, Value>) -> Result<Option<Vec<String>>, Error> {
    let Some(typed) = texts(args, "paths") else {
        return Ok(None);
    };
    if typed.is_empty() || typed.len() > 64 {
        return Err(Error::Input {
            code: if typed.is_empty() {
                "paths_required"
            } else {
                "too_many_paths"
            },
            details: "a call names 1 to 64 paths".to_owned(),
        });
    }
    let mut paths = typed
        .iter()
        .map(|path| path::canonical(path))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.dedup();
    Ok(Some(paths))
}

fn number(
    args: &Map<String, Value>,
    name: &str,
    otherwise: i64,
    range: std::ops::RangeInclusive<i64>,
    code: &'static str,
) -> Result<i64, Error> {
    let number = args.get(name).and_then(Value::as_i64).unwrap_or(otherwise);
    if range.contains(&number) {
        return Ok(number);
    }
    Err(Error::Input {
        code,
        details: format!("{name} is {} to {} by git", range.start(), range.end()),
    })
}

/// Whether the repository that a call names is the one around us, which is all that git can lock.
#[must_use]
pub fn speaks_of(repo: Option<&str>) -> bool {
    let (Some(repo), Some(here)) = (repo, here::repo()) else {
        return true;
    };
    plain(repo) == plain(&here)
}

/// The address of a remote, as near to host/owner/name as can be said without the coordinator.
fn plain(repo: &str) -> String {
    let rest = repo.split_once("://").map_or(repo, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/').trim_end_matches(".git");
    rest.replace(':', "/").to_lowercase()
}

fn nonce() -> String {
    Uuid::new_v4().simple().to_string()
}
