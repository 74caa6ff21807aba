//! The remote: its refs read as one state, and changed by comparison.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::record::{GUARD, PREFIX, Record, Register};
use super::{Error, random};
use crate::{git, settings::env};

/// How long one git process may take; a push that is killed may have happened.
const LIMIT: Duration = Duration::from_secs(30);

/// A push that a server has begun is done by then, or never.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// A ref's record and the commit that holds it.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    pub at: String,
    pub it: T,
}

/// All locks at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub guard: Option<Seen<Register>>,
    pub locks: BTreeMap<String, Seen<Record>>,
}

impl Snapshot {
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.locks.values().map(|seen| &seen.it)
    }

    /// Higher than any fence that was ever given, also where somebody took the register away.
    pub fn next_turn(&self) -> i64 {
        let seen = self.records().map(|it| it.turn.max(it.fence)).max();
        let last = self.guard.as_ref().map(|guard| guard.it.turn);
        seen.max(last).unwrap_or(0).saturating_add(1)
    }

    pub fn register(&self) -> BTreeMap<String, i64> {
        let turns = self.locks.iter();
        turns
            .map(|(name, seen)| (name.clone(), seen.it.turn))
            .collect()
    }

    /// Whether it shows all that its register tells.
    fn is_whole(&self) -> bool {
        let Some(guard) = &self.guard else {
            return true;
        };
        let there = |(name, turn): (&String, &i64)| {
            self.locks
                .get(name)
                .is_some_and(|seen| seen.it.turn >= *turn)
        };
        let told = |(name, seen): (&String, &Seen<Record>)| {
            guard.it.refs.contains_key(name) || seen.it.turn > guard.it.turn
        };
        guard.it.refs.iter().all(there) && self.locks.iter().all(told)
    }
}

/// A ref that is to move, from where it must be.
#[derive(Clone, Debug)]
pub struct Change {
    pub name: String,
    /// None: it must not be there.
    pub expected: Option<String>,
    /// None: it goes.
    pub new: Option<String>,
}

/// A remote of the checkout here.
#[derive(Debug)]
pub struct Remote {
    name: String,
    committer: String,
    empty: tokio::sync::OnceCell<String>,
}

/// What a git process came to.
struct Ended {
    good: bool,
    out: Vec<u8>,
    err: String,
}

impl Remote {
    pub fn new(name: String) -> Self {
        // Some servers take commits of people they know alone.
        let committer = git::text(&["var", "GIT_COMMITTER_IDENT"])
            .and_then(|who| Some(who[..=who.rfind('>')?].to_owned()))
            .unwrap_or_else(|| "coord <coord@localhost>".to_owned());
        Self {
            name,
            committer,
            empty: tokio::sync::OnceCell::new(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The locks as they are.
    pub async fn read(&self) -> Result<Snapshot, Error> {
        let began = Instant::now();
        loop {
            let seen = self.look().await?;
            match seen {
                Some(snapshot) if snapshot.is_whole() || began.elapsed() > UNDER_WAY => {
                    return Ok(snapshot);
                }
                None if began.elapsed() > UNDER_WAY => {
                    return Err(Error::Contended(
                        self.name.clone(),
                        "its refs moved at every look".to_owned(),
                    ));
                }
                _ => tokio::time::sleep(random(10..50)).await,
            }
        }
    }

    /// One look; none where refs moved in between.
    async fn look(&self) -> Result<Option<Snapshot>, Error> {
        let told = self
            .net(&[
                "ls-remote",
                "--refs",
                "--",
                &self.name,
                &format!("{PREFIX}*"),
            ])
            .await?;
        let told = String::from_utf8_lossy(&told.out).into_owned();
        let refs: BTreeMap<&str, &str> = told
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(at, name)| (name, at))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let mut commits = self.commits(refs.values().copied()).await?;
        let missing: Vec<&str> = refs
            .iter()
            .filter(|(_, at)| !commits.contains_key(**at))
            .map(|(name, _)| *name)
            .collect();
        if !missing.is_empty() {
            if !self.fetch(&missing).await? {
                return Ok(None);
            }
            commits = self.commits(refs.values().copied()).await?;
        }
        let mut snapshot = Snapshot::default();
        for (name, at) in refs {
            let Some(message) = commits.get(at) else {
                return Ok(None);
            };
            let unreadable = || Error::Unreadable {
                remote: self.name.clone(),
                name: name.to_owned(),
                why: "its commit holds no lock of a form that is known here".to_owned(),
            };
            let at = at.to_owned();
            if name == GUARD {
                let it = Register::read(message).ok_or_else(unreadable)?;
                snapshot.guard = Some(Seen { at, it });
            } else {
                let it = Record::read(message).ok_or_else(unreadable)?;
                snapshot.locks.insert(name.to_owned(), Seen { at, it });
            }
        }
        Ok(Some(snapshot))
    }

    /// Brings the commits of refs here; false where one of them is gone.
    async fn fetch(&self, names: &[&str]) -> Result<bool, Error> {
        let mut args = vec![
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--refmap=",
            "--",
            &self.name,
        ];
        args.extend(names);
        let ended = self.run(&args, b"").await?;
        if ended.good
            || ended.err.contains("couldn't find remote ref")
            || ended.err.contains("not our ref")
        {
            return Ok(ended.good);
        }
        Err(self.failed(&ended))
    }

    /// The messages of those commits that are here.
    async fn commits(
        &self,
        ids: impl Iterator<Item = &str>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let ids: String = ids.flat_map(|id| [id, "\n"]).collect();
        let mut commits = BTreeMap::new();
        if ids.is_empty() {
            return Ok(commits);
        }
        let ended = self.run(&["cat-file", "--batch"], ids.as_bytes()).await?;
        if !ended.good {
            return Err(self.failed(&ended));
        }
        let mut rest = &ended.out[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            let mut words = head.split(' ');
            let (Some(id), Some(kind), Some(size)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let size: usize = size.parse().unwrap_or(rest.len()).min(rest.len());
            let text = String::from_utf8_lossy(&rest[..size]).into_owned();
            rest = rest.get(size + 1..).unwrap_or_default();
            let message = text.split_once("\n\n").map_or("", |(_, message)| message);
            let message = if kind == "commit" { message } else { "" };
            commits.insert(id.to_owned(), message.to_owned());
        }
        Ok(commits)
    }

    /// Makes a commit without files that says this.
    pub async fn write(&self, message: &str) -> Result<String, Error> {
        let empty = self
            .empty
            .get_or_try_init(|| self.object("tree", b""))
            .await?;
        let now = crate::stack::clock::now();
        let who = &self.committer;
        let commit = format!(
            "tree {empty}\nauthor {who} {now} +0000\ncommitter {who} {now} +0000\n\n{message}"
        );
        self.object("commit", commit.as_bytes()).await
    }

    async fn object(&self, kind: &str, content: &[u8]) -> Result<String, Error> {
        let ended = self
            .run(&["hash-object", "-t", kind, "-w", "--stdin"], content)
            .await?;
        if ended.good {
            return Ok(String::from_utf8_lossy(&ended.out).trim().to_owned());
        }
        Err(self.failed(&ended))
    }

    /// Moves all of these refs or none. None when it did, else why somebody else was first.
    pub async fn push(&self, changes: &[Change]) -> Result<Option<String>, Error> {
        let leases = changes.iter().map(|it| {
            format!(
                "--force-with-lease={}:{}",
                it.name,
                it.expected.as_deref().unwrap_or_default()
            )
        });
        let specs = changes
            .iter()
            .map(|it| format!("{}:{}", it.new.as_deref().unwrap_or_default(), it.name));
        let fixed = [
            "-c",
            "push.gpgSign=false",
            "-c",
            "push.followTags=false",
            "-c",
            "push.recurseSubmodules=no",
            "push",
            "--porcelain",
            "--atomic",
            "--no-verify",
        ];
        let args: Vec<String> = fixed
            .map(str::to_owned)
            .into_iter()
            .chain(leases)
            .chain(["--".to_owned(), self.name.clone()])
            .chain(specs)
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = self.run(&args, b"").await?;
        if ended.good {
            return Ok(None);
        }
        if ended.err.contains("does not support --atomic") {
            return Err(Error::NotAtomic(self.name.clone()));
        }
        let out = String::from_utf8_lossy(&ended.out).into_owned();
        let reasons: Vec<&str> = out
            .lines()
            .filter(|line| line.starts_with('!'))
            .filter_map(|line| line.rsplit('\t').next())
            .collect();
        let hard = [
            "hook declined",
            "prohibited",
            "hidden ref",
            "denied",
            "not allowed",
            "protected",
            "unpack",
        ];
        if reasons
            .iter()
            .any(|reason| hard.iter().any(|word| reason.contains(word)))
        {
            return Err(Error::Refused {
                remote: self.name.clone(),
                said: format!("{}\n{}", reasons.join(", "), ended.err.trim()),
            });
        }
        match reasons.first() {
            Some(reason) => Ok(Some((*reason).to_owned())),
            None => Err(self.failed(&ended)),
        }
    }

    async fn net(&self, args: &[&str]) -> Result<Ended, Error> {
        let ended = self.run(args, b"").await?;
        if ended.good {
            return Ok(ended);
        }
        Err(self.failed(&ended))
    }

    fn failed(&self, ended: &Ended) -> Error {
        Error::Git {
            remote: self.name.clone(),
            said: ended.err.trim().to_owned(),
        }
    }

    /// Git as a process of its own group: it never asks a person, and ends in time with all its helpers.
    async fn run(&self, args: &[&str], input: &[u8]) -> Result<Ended, Error> {
        let fail = |said: String| Error::Git {
            remote: self.name.clone(),
            said,
        };
        let mut command = Command::new("git");
        command
            .args(["-c", "maintenance.auto=false", "-c", "gc.auto=0"])
            .args(args)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GCM_INTERACTIVE", "never")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_NO_LAZY_FETCH", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if env("GIT_SSH_COMMAND").is_none() && env("GIT_SSH").is_none() {
            // In front of what the configuration says, so that it stays in force.
            let ssh = git::text(&["config", "--get", "core.sshCommand"]);
            let ssh = ssh.unwrap_or_else(|| "ssh".to_owned());
            command.env("GIT_SSH_COMMAND", format!("{ssh} -oBatchMode=yes"));
        }
        let mut child = command
            .spawn()
            .map_err(|error| fail(format!("cannot run git: {error}")))?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // Git may have read enough; its exit code tells.
                let _ = stdin.write_all(input).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        match tokio::time::timeout(LIMIT, both).await {
            Ok(Ok(output)) => Ok(Ended {
                good: output.status.success(),
                out: output.stdout,
                err: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Err(_) => {
                if let Some(group) = group {
                    // It may just have ended.
                    let _ = killpg(group, Signal::SIGKILL);
                }
                Err(fail(format!(
                    "git gave no answer within {} seconds",
                    LIMIT.as_secs()
                )))
            }
        }
    }
}
