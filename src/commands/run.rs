//! `coord run`: a command that is checked before it runs, under locks that are kept while
//! it does. For agents without hooks (Aider), scripts and people.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::up::quote;
use crate::commands::{Error, arguments, guard, in_line, lock};
use crate::exit::Exit;
use crate::remote;
use crate::rpc::Client;
use crate::settings::{Global, token_file};

/// A try that takes longer is as good as none: somebody waits for the end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Arguments of `coord run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It ends as the command does. Refused: 1, and the command did not run; the coordinator cannot be asked: 3.\n\
                  As the shell of an agent: a link called coord-sh to coord, and SHELL set to it."
)]
pub struct Args {
    /// Lock this while it runs; once for each
    #[arg(long = "lock", value_name = "PATH")]
    locks: Vec<String>,
    /// If somebody else holds it, wait in line for this long
    #[arg(long, value_name = "TIME", value_parser = arguments::seconds)]
    wait: Option<i64>,
    /// Why, in a few words; others see it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long the locks outlive a run that is killed; they are renewed while it lives
    #[arg(long, value_name = "TIME", value_parser = arguments::seconds, default_value = "5m")]
    ttl: i64,
    /// host/owner/name or a remote's URL [default: `COORD_REPO`, else git config coord.repo, else git's remote origin]
    #[arg(long = "repo", value_name = "REPO")]
    repo: Option<String>,
    /// A line for the shell, in place of a command
    #[arg(short = 'c', value_name = "LINE", allow_hyphen_values = true)]
    line: Option<String>,
    // Shells are asked to be interactive or a login, and it means nothing here.
    #[arg(short = 'i', hide = true)]
    interactive: bool,
    #[arg(short = 'l', hide = true)]
    login: bool,
    /// The command and its arguments, after --
    #[arg(last = true, required_unless_present = "line", value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Checks, locks, runs, releases.
///
/// # Errors
/// The coordinator cannot be reached or refuses the arguments, or the command cannot be started.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let agent = global.of_agent();
    let mut target = agent.target()?;
    // Locks of a run are its own, not those of all runs with this token.
    let session = target.session.clone();
    let own = session.is_none();
    let session = session.unwrap_or_else(|| format!("run-{}", uuid::Uuid::new_v4()));
    target.session = Some(session.clone());
    let client = Client::new(target)?;

    let locks = args.lock_call()?;
    if !is_permitted(&client, &args, global.json).await? {
        return Ok(Exit::Refused);
    }
    let locked = match locks {
        Some(call) => match take(&client, &call, global.json).await? {
            Some(paths) => Some((call, paths)),
            None => return Ok(Exit::Refused),
        },
        None => None,
    };
    let ended = match args.command(&session, &agent).spawn() {
        Ok(child) => Ok(attend(child, &client, locked.as_ref().map(|it| &it.0), args.ttl).await),
        Err(error) => Err(error),
    };
    if let Some((call, paths)) = locked {
        leave(&client, &call, paths, own).await;
    }
    match ended {
        Ok(status) => Ok(Exit::Of(code(status))),
        Err(error) => {
            anstream::eprintln!("coord: cannot run {}: {error}", args.said());
            // As shells say it.
            Ok(Exit::Of(if error.kind() == std::io::ErrorKind::NotFound {
                127
            } else {
                126
            }))
        }
    }
}

impl Args {
    /// As a shell would be given it.
    fn said(&self) -> String {
        self.line.clone().unwrap_or_else(|| {
            let words = self.command.iter().map(|word| quote(Path::new(word)));
            words.collect::<Vec<_>>().join(" ")
        })
    }

    /// What it starts speaks as it does, git's hooks as well.
    fn command(&self, session: &str, agent: &Global) -> Command {
        let mut command = match (&self.line, self.command.split_first()) {
            (None, Some((program, rest))) => {
                let mut command = Command::new(program);
                command.args(rest);
                command
            }
            (line, _) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", line.as_deref().unwrap_or_default()]);
                // What it starts in turn would come back here.
                if std::env::var("SHELL").is_ok_and(|shell| shell.ends_with("/coord-sh")) {
                    command.env("SHELL", "/bin/sh");
                }
                command
            }
        };
        command.env("COORD_SESSION_ID", session);
        if let Some(name) = &agent.principal {
            command.env("COORD_TOKEN_FILE", token_file(&agent.home_dir(), name));
        }
        command
    }

    fn repo(&self) -> Option<String> {
        self.repo.clone().or_else(remote::repo)
    }

    fn lock_call(&self) -> Result<Option<Map<String, Value>>, Error> {
        if self.locks.is_empty() {
            return Ok(None);
        }
        let mut call = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            call.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("repo", self.repo().map(Value::from));
        put("ttl_seconds", Some(self.ttl.into()));
        put("reason", self.reason.clone().map(Value::from));
        put("wait_seconds", self.wait.map(Value::from));
        arguments::put_paths(&mut call, &self.locks)?;
        Ok(Some(call))
    }
}

/// What the guardrails say; what they refuse is told.
async fn is_permitted(client: &Client, args: &Args, json: bool) -> Result<bool, Error> {
    let mut call = guard::place(None);
    call.insert("command".to_owned(), args.said().into());
    let answer = client.call("check_guardrails", &call).await?.body;
    let passes = guard::passes(&answer);
    if !passes && json {
        eprintln!("{answer}");
    } else if answer["decision"] != json!("allow") {
        anstream::eprint!("coord: {}", guard::told(&answer));
    }
    Ok(passes)
}

/// Takes the locks: those that were not held before are to be released. None where they are refused.
async fn take(
    client: &Client,
    call: &Map<String, Value>,
    json: bool,
) -> Result<Option<Vec<String>>, Error> {
    let before = client
        .call("verify_locks", &only(call, &["repo", "paths"]))
        .await?
        .body;
    let answer = client.call("acquire_lock", call).await?;
    let answer = in_line::wait(client, "acquire_lock", call, answer, lock::place).await?;
    if !answer.ok() {
        if json {
            eprintln!("{}", answer.body);
        } else {
            anstream::eprint!("coord: {}", lock::refused(&answer.body));
        }
        return Ok(None);
    }
    let mine = before["covered"].as_array().into_iter().flatten();
    let mine: Vec<&str> = mine
        .filter(|lock| lock["session_id"].as_str() == client.target().session.as_deref())
        .filter_map(|lock| lock["held_path"].as_str())
        .collect();
    let locks = answer.body["locks"].as_array().into_iter().flatten();
    let paths = locks.filter_map(|lock| lock["path"].as_str());
    let new = paths.filter(|path| !mine.contains(path));
    Ok(Some(new.map(str::to_owned).collect()))
}

fn only(call: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let some = call
        .iter()
        .filter(|(name, _)| names.contains(&name.as_str()));
    some.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Waits for the end of the command, passes signals on, and keeps the locks.
async fn attend(
    mut child: Child,
    client: &Client,
    locks: Option<&Map<String, Value>>,
    ttl: i64,
) -> ExitStatus {
    let kinds = [
        (SignalKind::terminate(), Signal::SIGTERM),
        (SignalKind::hangup(), Signal::SIGHUP),
        (SignalKind::interrupt(), Signal::SIGINT),
        (SignalKind::quit(), Signal::SIGQUIT),
    ];
    let [mut term, mut hup, mut int, mut quit] =
        kinds.map(|(kind, name)| (signal(kind).ok(), name));
    // A terminal tells all in front of it by itself.
    let told_already = std::io::stdin().is_terminal();
    let third = Duration::from_secs(u64::try_from(ttl / 3).unwrap_or(1).max(1));
    let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + third, third);
    loop {
        let (name, typed) = tokio::select! {
            ended = child.wait() => match ended {
                Ok(status) => return status,
                Err(_) => return ExitStatus::from_raw(1 << 8),
            },
            () = heard(&mut term.0) => (term.1, false),
            () = heard(&mut hup.0) => (hup.1, false),
            () = heard(&mut int.0) => (int.1, true),
            () = heard(&mut quit.0) => (quit.1, true),
            _ = renewal.tick(), if locks.is_some() => {
                renew(client, locks).await;
                continue;
            }
        };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
            && !(typed && told_already)
        {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid), name);
        }
    }
}

async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// A lock that is lost is told once it is; the command goes on, for nobody can undo its beginning.
async fn renew(client: &Client, locks: Option<&Map<String, Value>>) {
    let Some(locks) = locks else {
        return;
    };
    let mut call = locks.clone();
    call.remove("wait_seconds");
    match client.call_once("acquire_lock", &call, GOODBYE).await {
        Ok(answer) if answer.ok() => {}
        Ok(answer) => anstream::eprint!(
            "coord: the locks of this run are lost: {}",
            lock::refused(&answer.body)
        ),
        Err(error) => anstream::eprintln!("coord: the locks could not be renewed: {error}"),
    }
}

/// Releases what was taken; a session of the run's own ends with it.
async fn leave(client: &Client, call: &Map<String, Value>, paths: Vec<String>, own: bool) {
    let released = if own {
        client.call_once("end_session", &Map::new(), GOODBYE).await
    } else if paths.is_empty() {
        return;
    } else {
        let mut release = only(call, &["repo"]);
        release.insert("paths".to_owned(), paths.into());
        client.call_once("release_lock", &release, GOODBYE).await
    };
    if let Err(error) = released {
        anstream::eprintln!("coord: the locks were not released, and will run out: {error}");
    }
}

/// As shells tell a signal.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX)
}
