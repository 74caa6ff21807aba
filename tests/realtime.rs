//! What a subscriber of Supabase Realtime gets of locks: the publication as the migrations
//! leave it, the stream of a real server, and row-level security asked as Realtime asks it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::hosted::{Hosted, claims};

const ADMIN: &str = "supabase_admin";

fn db() -> &'static Hosted {
    static SHARED: OnceLock<Hosted> = OnceLock::new();
    SHARED.get_or_init(|| Hosted::start(&[]))
}

/// An agent in a repository that no other test uses.
fn agent(name: &str, repo: &str) -> Value {
    let repo = format!("{{git.example/realtime/{repo}}}");
    db().call(
        &claims("operator", "coord_operator"),
        "setup",
        &format!("register_agent('{name}', 'test', 'agent', '{repo}')"),
    );
    claims(name, "coord_agent")
}

fn call(who: &Value, function: &str, outcome: &str) {
    let session = format!("session of {}", who["sub"].as_str().unwrap());
    let answer = db().call(who, &session, function);
    assert_eq!(answer["outcome"], outcome, "{function}: {answer}");
}

type Row = BTreeMap<String, Option<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    Delete,
}

#[derive(Clone, Debug)]
struct Change {
    kind: Kind,
    /// The new row; of a DELETE what is left of the old one.
    row: Row,
}

impl Change {
    fn get(&self, column: &str) -> &str {
        self.row[column].as_deref().unwrap_or("null")
    }

    /// Kind, path and why it was released.
    fn story(&self) -> (Kind, &str, &str) {
        (self.kind, self.get("path"), self.get("release_reason"))
    }
}

/// A logical slot, read as Realtime's: everything in the publication from its making on.
struct Watch {
    slot: String,
    /// Every table that anything came of.
    tables: BTreeSet<String>,
}

impl Watch {
    fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let slot = format!("watch_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        db().psql(
            ADMIN,
            &format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
        );
        Self {
            slot,
            tables: BTreeSet::new(),
        }
    }

    /// What came since it was asked last.
    fn changes(&mut self) -> Vec<Change> {
        let messages = db().psql(
            ADMIN,
            &format!(
                "select encode(data, 'hex') from pg_logical_slot_get_binary_changes('{}', null, null,
                   'proto_version', '1', 'publication_names', 'supabase_realtime')",
                self.slot
            ),
        );
        let mut relations = HashMap::new();
        let mut changes = Vec::new();
        for line in messages.lines() {
            let bytes: Vec<u8> = (0..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                .collect();
            let mut message = Message(&bytes);
            let kind = match message.byte() {
                b'R' => {
                    let (id, name, columns) = message.relation();
                    self.tables.insert(name);
                    relations.insert(id, columns);
                    continue;
                }
                b'I' => Kind::Insert,
                b'U' => Kind::Update,
                b'D' => Kind::Delete,
                // Begin, commit, origin, type.
                b'B' | b'C' | b'O' | b'Y' => continue,
                other => panic!("a message {:?}", other as char),
            };
            let columns: &Vec<String> = &relations[&message.long()];
            let mut part = message.byte();
            let mut row = message.row(columns);
            if kind == Kind::Update && part != b'N' {
                part = message.byte();
                row = message.row(columns);
            }
            // Of a deleted row the key alone ('K'), never the whole of it ('O').
            assert_eq!(part, if kind == Kind::Delete { b'K' } else { b'N' });
            changes.push(Change { kind, row });
        }
        changes
    }

    fn changes_in(&mut self, repo: &str) -> Vec<Change> {
        let mut changes = self.changes();
        let repo = format!("git.example/realtime/{repo}");
        changes.retain(|change| change.kind != Kind::Delete && change.get("repo") == repo);
        changes
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let slot = &self.slot;
            db().psql(ADMIN, &format!("select pg_drop_replication_slot('{slot}')"));
        }
    }
}

/// The rest of a message of `pgoutput`, protocol 1.
struct Message<'a>(&'a [u8]);

impl Message<'_> {
    fn bytes(&mut self, count: usize) -> &[u8] {
        let (these, rest) = self.0.split_at(count);
        self.0 = rest;
        these
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }

    fn long(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(self.bytes(end).to_vec()).unwrap();
        self.byte();
        text
    }

    fn relation(&mut self) -> (u32, String, Vec<String>) {
        let id = self.long();
        let name = format!("{}.{}", self.text(), self.text());
        self.byte();
        let columns = (0..self.short())
            .map(|_| {
                self.byte();
                let column = self.text();
                self.long();
                self.long();
                column
            })
            .collect();
        (id, name, columns)
    }

    fn row(&mut self, columns: &[String]) -> Row {
        let count = usize::from(self.short());
        assert_eq!(count, columns.len());
        columns
            .iter()
            .map(|column| {
                let value = match self.byte() {
                    b'n' => None,
                    b't' => {
                        let length = self.long() as usize;
                        Some(String::from_utf8(self.bytes(length).to_vec()).unwrap())
                    }
                    other => panic!("{column} comes as {:?}", other as char),
                };
                (column.clone(), value)
            })
            .collect()
    }
}

/// Whether Realtime would pass an INSERT or UPDATE on to who has these claims: it becomes
/// their role, sets nothing but the claims, and looks for the row by its key.
fn reaches(change: &Change, who: &Value) -> bool {
    let role = who["role"].as_str().unwrap();
    let readable = db().psql(
        ADMIN,
        &format!(
            "select bool_and(has_column_privilege('{role}', attrelid, attname, 'select'))
             from pg_attribute where attrelid = 'coord.locks'::regclass and attnum > 0"
        ),
    );
    if readable != "t" {
        return false;
    }
    let id = change.get("id");
    let answer = db().psql(
        ADMIN,
        &format!(
            "begin;
             prepare it as select exists (select from coord.locks where id = '{id}'::uuid);
             select set_config('role', '{role}', true), set_config('request.jwt.claims', '{who}', true);
             execute it;
             rollback"
        ),
    );
    answer.ends_with("\nt")
}

#[test]
fn what_happens_to_a_lock_arrives_and_a_release_is_an_update() {
    let (ann, bob) = (agent("tale-ann", "tale"), agent("tale-bob", "tale"));
    let operator = claims("operator", "coord_operator");
    let mut watch = Watch::start();

    call(
        &ann,
        "acquire_lock('{src/a.rs}', reason => 'renaming')",
        "acquired",
    );
    let changes = watch.changes_in("tale");
    assert_eq!(changes.len(), 1, "{changes:?}");
    let first = &changes[0];
    assert_eq!(first.story(), (Kind::Insert, "src/a.rs", "null"));
    for (column, value) in [
        ("repo", "git.example/realtime/tale"),
        ("agent", "tale-ann"),
        ("session_id", "session of tale-ann"),
        ("agent_type", "test"),
        ("mode", "exclusive"),
        ("reason", "renaming"),
        ("released_at", "null"),
    ] {
        assert_eq!(first.get(column), value, "{column}");
    }

    call(&ann, "release_lock('{src/a.rs}')", "released");
    let released = watch.changes_in("tale");
    assert_eq!(released.len(), 1, "{released:?}");
    assert_eq!(
        released[0].story(),
        (Kind::Update, "src/a.rs", "released"),
        "a DELETE would reach everybody and say nothing"
    );
    assert_ne!(released[0].get("released_at"), "null");
    assert_eq!(released[0].get("id"), first.get("id"));

    // The same owner again: its row is used again, under a higher fence.
    call(&ann, "acquire_lock('{src/a.rs}')", "acquired");
    call(&ann, "acquire_lock('{src/a.rs}')", "renewed");
    let again = watch.changes_in("tale");
    assert_eq!(
        again.iter().map(Change::story).collect::<Vec<_>>(),
        [(Kind::Update, "src/a.rs", "null"); 2]
    );
    let fence = |change: &Change| change.get("fence").parse::<i64>().unwrap();
    assert!(fence(&again[0]) > fence(first));
    assert_eq!(fence(&again[1]), fence(&again[0]));
    assert_eq!(again[0].get("released_at"), "null");

    // Whoever is refused, waits, or reads changes no lock.
    call(&bob, "acquire_lock('{src/a.rs}')", "held");
    call(
        &bob,
        "acquire_lock('{src/a.rs}', wait_seconds => 60)",
        "queued",
    );
    assert_eq!(watch.changes_in("tale").len(), 0);

    call(
        &operator,
        "force_release_lock('{src/a.rs}', 'stuck', 'git.example/realtime/tale')",
        "released",
    );
    call(
        &bob,
        "acquire_lock('{src/a.rs}', wait_seconds => 60)",
        "acquired",
    );
    call(&bob, "acquire_lock('{src/b/,docs/}')", "acquired");
    call(&bob, "end_session()", "ended");
    let mut rest = watch.changes_in("tale");
    // What one statement releases comes in any order.
    rest[4..].sort_by(|one, other| one.get("path").cmp(other.get("path")));
    assert_eq!(
        rest.iter().map(Change::story).collect::<Vec<_>>(),
        [
            (Kind::Update, "src/a.rs", "forced"),
            (Kind::Insert, "src/a.rs", "null"),
            (Kind::Insert, "docs/", "null"),
            (Kind::Insert, "src/b/", "null"),
            (Kind::Update, "docs/", "session_ended"),
            (Kind::Update, "src/a.rs", "session_ended"),
            (Kind::Update, "src/b/", "session_ended"),
        ]
    );
    assert_eq!(watch.tables, BTreeSet::from(["coord.locks".to_owned()]));
}

#[test]
fn a_lock_reaches_those_who_are_granted_its_repository_and_nobody_else() {
    let (one, two) = (agent("wall-one", "wall-one"), agent("wall-two", "wall-two"));
    let operator = claims("operator", "coord_operator");
    for (name, role, repos) in [
        ("wall-auditor", "auditor", "*"),
        ("wall-guest", "auditor", "git.example/realtime/wall-two"),
    ] {
        call(
            &operator,
            &format!("register_agent('{name}', 'test', '{role}', '{{{repos}}}')"),
            "registered",
        );
    }
    let auditor = claims("wall-auditor", "coord_auditor");
    let guest = claims("wall-guest", "coord_auditor");
    let unknown = claims("wall-nobody", "coord_agent");
    let anonymous = claims("wall-one", "anon");
    // Signed by whom we trust, but for a role that the principal was not registered with.
    let posing = claims("operator", "coord_agent");
    let nameless = serde_json::json!({"role": "coord_agent"});

    let mut watch = Watch::start();
    call(&one, "acquire_lock('{src/a.rs}')", "acquired");
    call(&one, "release_lock()", "released");
    call(&two, "acquire_lock('{src/a.rs}')", "acquired");
    let changes = watch.changes();
    let of = |repo: &str| -> Vec<Change> {
        let repo = format!("git.example/realtime/{repo}");
        let theirs = |change: &&Change| change.kind != Kind::Delete && change.get("repo") == repo;
        changes.iter().filter(theirs).cloned().collect()
    };
    let (ones, twos) = (of("wall-one"), of("wall-two"));
    assert_eq!((ones.len(), twos.len()), (2, 1));
    for (changes, reached, not) in [
        (
            &ones,
            vec![&one, &operator, &auditor],
            vec![&two, &guest, &unknown, &anonymous, &posing, &nameless],
        ),
        (
            &twos,
            vec![&two, &operator, &auditor, &guest],
            vec![&one, &unknown, &anonymous, &posing, &nameless],
        ),
    ] {
        for change in changes {
            for who in &reached {
                assert!(
                    reaches(change, who),
                    "{who} is not told of {:?}",
                    change.story()
                );
            }
            for who in &not {
                assert!(
                    !reaches(change, who),
                    "{who} is told of {:?}",
                    change.story()
                );
            }
        }
    }

    // Realtime has no pre-request function: the policy alone cuts off an open subscription.
    call(
        &operator,
        "disable_agent('wall-two', 'lost laptop')",
        "disabled",
    );
    assert!(!reaches(&twos[0], &two));
    call(&operator, "enable_agent('wall-two')", "enabled");
    assert!(reaches(&twos[0], &two));
}

#[test]
fn a_purge_tells_a_key_and_purges_released_rows_alone() {
    let ann = agent("purge-ann", "purge");
    let mut watch = Watch::start();
    call(&ann, "acquire_lock('{old,fresh,held,lapsed}')", "acquired");
    call(&ann, "release_lock('{old,fresh}')", "released");
    db().psql(
        ADMIN,
        "update coord.locks set released_at = released_at - interval '2 hours'
         where repo = 'git.example/realtime/purge' and path = 'old';
         update coord.locks set expires_at = now() - interval '3 hours'
         where repo = 'git.example/realtime/purge' and path = 'lapsed'",
    );
    // The first round stamps what has lapsed, which is over for hours: the same round purges it.
    db().psql(ADMIN, "select coord.maintain(1000)");

    let mut last: HashMap<String, Change> = HashMap::new();
    let mut purged = BTreeSet::new();
    for change in watch.changes() {
        let id = change.get("id").to_owned();
        if change.kind == Kind::Delete {
            let told: Vec<&String> = change
                .row
                .iter()
                .filter(|(_, value)| value.is_some())
                .map(|(column, _)| column)
                .collect();
            assert_eq!(told, ["id"], "a DELETE goes to every subscriber");
            // A row of another test would be released, too, but came before this watch.
            if let Some(before) = last.get(&id) {
                assert_ne!(before.get("released_at"), "null", "purged while held");
                purged.insert(before.get("path").to_owned());
            }
        } else if change.get("repo") == "git.example/realtime/purge" {
            last.insert(id, change);
        }
    }
    assert_eq!(
        purged,
        BTreeSet::from(["lapsed".to_owned(), "old".to_owned()])
    );
    assert_eq!(
        db().psql(
            ADMIN,
            "select string_agg(path, ' ' order by path) from coord.locks where repo = 'git.example/realtime/purge'"
        ),
        "fresh held"
    );
    assert_eq!(
        db().psql(
            ADMIN,
            "select count(*) from coord.past_locks where repo = 'git.example/realtime/purge'"
        ),
        "2",
        "they went to a table that nobody subscribes to"
    );
    assert_eq!(watch.tables, BTreeSet::from(["coord.locks".to_owned()]));
}

#[test]
fn of_all_our_tables_locks_and_tasks_alone_are_published() {
    assert_eq!(
        db().psql(
            "postgres",
            "select string_agg(schemaname || '.' || tablename, ' ' order by tablename) from pg_publication_tables
             where pubname = 'supabase_realtime'"
        ),
        "coord.locks coord.past_tasks coord.tasks",
        "not lock_tickets, not past_locks, not sessions, not the audit"
    );
    // Realtime passes nothing on of a table without a primary key, and a DELETE of one with
    // REPLICA IDENTITY FULL would carry the row to everybody.
    assert_eq!(
        db().psql(
            "postgres",
            "select distinct c.relreplident, a.attname, a.atttypid::regtype from pg_index i
             join pg_class c on c.oid = i.indrelid
             join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
             where c.oid in (select format('%I.%I', schemaname, tablename)::regclass from pg_publication_tables
               where pubname = 'supabase_realtime') and i.indisprimary"
        ),
        "d|id|uuid"
    );
}
