//! Both worlds brought together when the coordinator is back: the database wins.
//!
//! What this principal holds by git is acquired in the database, in the session that holds it.
//! Then the refs become what the database says: its locks are shown with its fences, a lock of
//! git that stands in the way of one is lost, and what is over goes. Locks of other principals
//! that are in nobody's way stay as they are: theirs to bring over.
//!
//! All changes of refs are one turn, computed anew from both worlds until its push is first;
//! acquiring twice in the database is extending. So it may be cut off anywhere, run twice and
//! by two at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::record::{self, Ending, Loser, Record, State};
use super::remote::{Seen, Snapshot};
use super::{Error, Locks, PATIENCE, Plan, Who, path, random};
use crate::rpc::Client;
use crate::stack::clock;

/// How many rows one reading of the database brings.
const PAGE: usize = 500;

/// A lock of git that this run acquired in the database: by path, session and mode.
type Key = (String, String, bool);

/// What came of it so far.
#[derive(Default)]
struct Run {
    me: String,
    taken: BTreeMap<Key, Value>,
    refused: BTreeMap<Key, Value>,
    lost: Vec<Value>,
    theirs: Vec<Value>,
    shown: Vec<String>,
    cleared: Vec<String>,
}

impl Locks {
    /// Brings both worlds together; with `dry` it only says what would be done.
    ///
    /// # Errors
    /// The coordinator or the remote cannot be used.
    pub async fn reconcile(
        &self,
        client: &Client,
        repo: &Map<String, Value>,
        dry: bool,
    ) -> Result<Value, Error> {
        let mut run = Run::default();
        let profile = client.call("my_profile", &Map::new()).await?.body;
        profile["agent"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut run.me);
        let seen = client.call("check_locks", repo).await?.body;
        let repo = seen["repo"].as_str().unwrap_or_default().to_owned();
        let until = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.remote.read().await?;
            let now = clock::now();
            if !dry {
                run.give_back(client, &repo, &snapshot, now).await?;
            }
            run.take(client, &repo, &snapshot, now, dry).await?;
            let rows = rows(client, &repo).await?;
            let plan = run.plan(&snapshot, &rows, now, self.margin);
            if dry || plan.changes.is_empty() {
                break;
            }
            let changes = plan.written(&self.remote).await?;
            match self.remote.push(&changes).await? {
                None => break,
                Some(why) if Instant::now() > until => {
                    return Err(Error::Contended(self.remote.name().to_owned(), why));
                }
                Some(_) => tokio::time::sleep(random(20..300)).await,
            }
        }
        let mut report = run.report(dry);
        report["repo"] = repo.into();
        report["remote"] = self.remote.name().into();
        Ok(report)
    }
}

impl Run {
    /// Locks that their sessions released while this was under way are not to stay in the database.
    async fn give_back(
        &mut self,
        client: &Client,
        repo: &str,
        snapshot: &Snapshot,
        now: i64,
    ) -> Result<(), Error> {
        let held = |key: &Key| {
            snapshot
                .records()
                .any(|it| it.agent == self.me && it.is_live(now) && key_of(it) == *key)
        };
        let gone: Vec<Key> = self
            .taken
            .keys()
            .filter(|key| !held(key))
            .cloned()
            .collect();
        for key in gone {
            let args = json!({"repo": repo, "paths": [key.0]});
            let speaker = client.speaking(None, Some(&key.1))?;
            speaker.call("release_lock", &object(args)).await?;
            self.taken.remove(&key);
        }
        Ok(())
    }

    /// Acquires in the database what this principal holds by git.
    async fn take(
        &mut self,
        client: &Client,
        repo: &str,
        snapshot: &Snapshot,
        now: i64,
        dry: bool,
    ) -> Result<(), Error> {
        for held in snapshot.records() {
            let key = key_of(held);
            let mine = held.agent == self.me && held.is_live(now) && !held.database;
            if !mine || self.taken.contains_key(&key) {
                continue;
            }
            if dry {
                self.taken.insert(key, held.granted(now));
                continue;
            }
            let args = json!({
                "repo": repo, "paths": [held.path], "mode": held.mode(), "reason": held.reason,
                "ttl_seconds": (held.expires - now).clamp(30, 28_800),
            });
            let speaker = client.speaking(None, Some(&held.session))?;
            let answer = speaker.call("acquire_lock", &object(args)).await?.body;
            match answer["outcome"].as_str() {
                Some("acquired" | "renewed") => {
                    self.refused.remove(&key);
                    self.taken.insert(key, answer["locks"][0].clone());
                }
                // Then the plan finds who holds it.
                Some("held") => {}
                _ => {
                    let why = json!({"path": held.path, "code": answer["code"], "details": answer["details"]});
                    self.refused.insert(key, why);
                }
            }
        }
        Ok(())
    }

    /// The turn that makes the refs say what the database says.
    fn plan(&mut self, snapshot: &Snapshot, rows: &[Record], now: i64, margin: i64) -> Plan {
        let mut plan = Plan::default();
        let highest = rows.iter().map(|row| row.fence).max().unwrap_or(0);
        let turn = snapshot.next_turn().max(highest.saturating_add(1));
        let mut unseen: BTreeSet<usize> = (0..rows.len()).collect();
        self.lost.clear();
        self.theirs.clear();
        self.shown.clear();
        self.cleared.clear();
        for (name, seen) in &snapshot.locks {
            if let Some(row) = rows.iter().position(|row| self.same(&seen.it, row)) {
                unseen.remove(&row);
                self.show_again(name, seen, &rows[row], now, &mut plan);
            } else if self.is_over(name, seen, rows, (now, margin), &mut plan) {
                self.cleared.push(seen.it.path.clone());
                plan.take(name, &seen.at);
            }
        }
        for row in &unseen {
            let mut said = rows[*row].clone();
            said.turn = turn;
            let owner = Who {
                agent: said.agent.clone(),
                session: said.session.clone(),
                agent_type: String::new(),
            };
            let name = record::name(&said.path, said.shared.then_some(&owner));
            let before = snapshot.locks.get(&name);
            // A ref tells one thing at a time: the winner's names the loser.
            if let Some(lost) = before.map(|seen| &seen.it)
                && lost.agent != self.me
                && (lost.state == State::Lost || lost.is_live(now - margin) && !lost.database)
            {
                said.over.push(loser(lost));
            }
            self.shown.push(said.path.clone());
            plan.put(&name, before.map(|seen| &*seen.at), &said, now);
        }
        if !unseen.is_empty() || !self.cleared.is_empty() {
            plan.register(snapshot, turn);
        }
        plan
    }

    /// A lock that both have: the ref says what the database says.
    fn show_again(
        &mut self,
        name: &str,
        seen: &Seen<Record>,
        row: &Record,
        now: i64,
        plan: &mut Plan,
    ) {
        let held = &seen.it;
        let mut said = row.clone();
        said.turn = held.turn;
        // Those who lost to it may not have read so yet; this principal has.
        let (mine, others): (Vec<_>, Vec<_>) = held
            .over
            .iter()
            .cloned()
            .partition(|it| it.agent == self.me);
        said.over = others;
        self.lost.extend(mine.iter().map(|it| loss(it, held)));
        if said != *held {
            self.shown.push(held.path.clone());
            plan.put(name, Some(&seen.at), &said, now);
        }
    }

    /// Whether a ref that the database has no lock for goes. One that is in the way of the
    /// database's is lost, and says so until its owner has read it.
    fn is_over(
        &mut self,
        name: &str,
        seen: &Seen<Record>,
        rows: &[Record],
        (now, margin): (i64, i64),
        plan: &mut Plan,
    ) -> bool {
        let held = &seen.it;
        let mine = held.agent == self.me;
        match held.state {
            State::Released => true,
            State::Lost => {
                if mine {
                    let to = held.ending.as_ref().and_then(|it| it.to.clone());
                    self.lost.push(json!({"path": held.path, "session_id": held.session, "fence": held.fence, "to": to}));
                }
                mine || held.is_stale(now - margin)
            }
            State::Held if held.database || !held.is_live(now - margin) => true,
            State::Held => {
                let in_its_way = |row: &&Record| {
                    path::overlap(&row.path, &held.path)
                        && !(row.shared && held.shared)
                        && (&row.agent, &row.session) != (&held.agent, &held.session)
                };
                match rows.iter().find(in_its_way) {
                    Some(winner) if mine => {
                        self.lost.push(loss(&loser(held), winner));
                        return true;
                    }
                    Some(winner) => {
                        let mut lost = held.clone();
                        lost.state = State::Lost;
                        lost.ending = Some(Ending {
                            at: now,
                            to: Some(holder(winner)),
                        });
                        plan.put(name, Some(&seen.at), &lost, now);
                    }
                    None if !mine => self.theirs.push(held.told(now)),
                    None => {}
                }
                false
            }
        }
    }

    /// Whether a row of the database is this lock of git.
    fn same(&self, held: &Record, row: &Record) -> bool {
        held.state == State::Held
            && held.path == row.path
            && held.shared == row.shared
            && held.agent == row.agent
            // A token that names a session speaks for that one, whatever git was told.
            && (held.session == row.session || self.taken.contains_key(&key_of(held)))
    }

    fn report(self, dry: bool) -> Value {
        let ok = self.lost.is_empty() && self.refused.is_empty();
        json!({
            "ok": ok, "outcome": if dry { "planned" } else { "reconciled" },
            "taken": self.taken.into_values().collect::<Vec<_>>(), "lost": self.lost,
            "refused": self.refused.into_values().collect::<Vec<_>>(), "theirs": self.theirs,
            "shown": self.shown, "cleared": self.cleared,
        })
    }
}

fn loser(lost: &Record) -> Loser {
    Loser {
        agent: lost.agent.clone(),
        session: lost.session.clone(),
        fence: lost.fence,
    }
}

fn holder(winner: &Record) -> Value {
    json!({"holder": winner.agent, "session_id": winner.session, "path": winner.path, "fence": winner.fence})
}

fn loss(loser: &Loser, winner: &Record) -> Value {
    json!({
        "path": winner.path, "session_id": loser.session, "fence": loser.fence, "to": holder(winner),
    })
}

fn key_of(held: &Record) -> Key {
    (held.path.clone(), held.session.clone(), held.shared)
}

fn object(args: Value) -> Map<String, Value> {
    match args {
        Value::Object(args) => args.into_iter().filter(|(_, it)| !it.is_null()).collect(),
        _ => Map::new(),
    }
}

/// All live locks of the repository that the database has.
async fn rows(client: &Client, repo: &str) -> Result<Vec<Record>, Error> {
    let mut rows: Vec<Record> = Vec::new();
    loop {
        let query = [
            ("repo", format!("eq.{repo}")),
            ("order", "fence".to_owned()),
            ("limit", PAGE.to_string()),
            (
                "fence",
                format!("gt.{}", rows.last().map_or(0, |row| row.fence)),
            ),
        ];
        let page = client.read("locks", &query).await?;
        let page = page.as_array().map_or(&[][..], Vec::as_slice);
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page.iter().map(record));
    }
}

fn record(row: &Value) -> Record {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let time = |name: &str| row[name].as_str().and_then(clock::read).unwrap_or_default();
    Record {
        state: State::Held,
        path: text("path"),
        shared: row["mode"] == "shared",
        agent: text("holder"),
        session: text("session_id"),
        agent_type: text("agent_type"),
        reason: row["reason"].as_str().map(str::to_owned),
        acquired: time("acquired_at"),
        expires: time("expires_at"),
        turn: 0,
        fence: row["fence"].as_i64().unwrap_or_default(),
        database: true,
        ending: None,
        over: Vec::new(),
    }
}
