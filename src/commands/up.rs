//! `coord up`: starts the local stack, and stays with it or leaves it in the background.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::exit::Exit;
use crate::settings::{self, Global};
use crate::stack::home::Home;
use crate::stack::process::Process;
use crate::stack::progress::{Progress, say};
use crate::stack::server_account::ServerAccount;
use crate::stack::state::State;
use crate::stack::supervise::{Ending, Options, Stack};
use crate::stack::{Error, lock, postgrest};

/// Arguments of `coord up`.
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port of the API on 127.0.0.1; 0 for a free one [default: 3011, with --ephemeral 0]
    #[arg(long, env = "COORD_PORT", value_name = "N")]
    port: Option<u16>,
    /// Run in the background; returns when it is ready
    #[arg(long)]
    detach: bool,
    /// Use a temporary home and remove it at the end
    #[arg(long, conflicts_with_all = ["detach", "reset"])]
    ephemeral: bool,
    /// Put the old data aside (as data.old-TIME) and start with an empty database
    #[arg(long)]
    reset: bool,
    /// Stop when standard input ends: for a program that starts its own stack
    #[arg(long, conflicts_with = "detach")]
    until_eof: bool,
    /// This is the process in the background
    #[arg(long, hide = true, conflicts_with_all = ["detach", "ephemeral"])]
    in_background: bool,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            port: self.port.unwrap_or(if self.ephemeral {
                0
            } else {
                postgrest::DEFAULT_PORT
            }),
            reset: self.reset,
        }
    }
}

/// Runs the stack until it is told to stop.
pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    if args.ephemeral {
        return ephemeral(args, global.json).await;
    }
    let home = Home::at(&global.home_dir())?;
    if args.detach {
        return detach(args, home, global.json).await;
    }
    if args.in_background {
        // Its own session: the end of the terminal is not its end.
        let _ = nix::unistd::setsid();
    }
    foreground(args, home, global.json).await
}

async fn foreground(args: &Args, home: Home, json: bool) -> Result<Exit, Error> {
    let mut ending = Ending::listen(args.until_eof)?;
    let mut stack = Stack::new(home, args.options());
    let progress = Progress::new();
    let started = tokio::select! {
        started = stack.start(&progress) => started,
        () = ending.wait() => Err(Error::Interrupted),
    };
    progress.finish();
    let result = match started {
        Ok(state) => {
            if args.in_background {
                say(&format!("ready at {}", state.url));
            } else {
                announce(&state, json, true);
            }
            tokio::select! {
                () = stack.keep() => {}
                () = ending.wait() => say("stopping"),
            }
            Ok(Exit::Done)
        }
        Err(error) => Err(error),
    };
    tokio::select! {
        () = stack.stop() => {}
        // Asked once more: the servers' own reaction to our end is to stop.
        () = async { ending.wait().await } , if !args.until_eof => say("not waiting for an orderly end"),
    }
    result
}

async fn ephemeral(args: &Args, json: bool) -> Result<Exit, Error> {
    let io = |source| Error::Io {
        doing: "make a temporary home".to_owned(),
        source,
    };
    sweep().await;
    let dir = tempfile::Builder::new()
        .prefix(EPHEMERAL)
        .tempdir()
        .map_err(io)?;
    let home = Home::at(dir.path())?;
    let result = foreground(args, home, json).await;
    dir.close().map_err(|source| Error::Io {
        doing: "remove the temporary home".to_owned(),
        source,
    })?;
    result
}

/// Begins the name of every temporary home.
const EPHEMERAL: &str = "coord-ephemeral-";

/// How long a start may take from making its lock to holding it.
const SETTLED: Duration = Duration::from_secs(10);

/// Removes the temporary homes of killed processes.
async fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(EPHEMERAL)
            && std::fs::symlink_metadata(&path).is_ok_and(|meta| {
                use std::os::unix::fs::MetadataExt;
                meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw()
            });
        let Ok(home) = Home::at(&path) else { continue };
        // One without a lock, or with a new one, is being made in this moment.
        let settled = std::fs::metadata(home.lock())
            .and_then(|meta| meta.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > SETTLED));
        if ours && settled && lock::holder(&home).is_ok_and(|holder| holder.is_none()) {
            let quiet = Progress::new();
            if crate::stack::supervise::down(&home, &quiet).await.is_ok() {
                // Somebody else may be sweeping too.
                let _ = std::fs::remove_dir_all(&path);
            }
            quiet.finish();
        }
    }
}

/// Starts this program again in the background and waits until it is ready or has failed.
async fn detach(args: &Args, mut home: Home, json: bool) -> Result<Exit, Error> {
    home.prepare(&ServerAccount::choose()?)?;
    while lock::holder(&home)?.is_some() {
        if args.reset {
            return Err(Error::Home(format!(
                "a stack runs in {home}; stop it first: `coord down --home {home}`, then `coord up --reset`",
                home = home.path().display()
            )));
        }
        if already(&home, json).await? {
            return Ok(Exit::Done);
        }
    }
    let log = home.log("coord");
    let io = |doing: &str| {
        let doing = doing.to_owned();
        move |source| Error::Io { doing, source }
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .map_err(io("open the log of coord"))?;
    let offset = file.metadata().map_or(0, |meta| meta.len());
    let errors = file.try_clone().map_err(io("open the log of coord"))?;
    let program = std::env::current_exe().map_err(io("find this program"))?;
    let mut command = tokio::process::Command::new(program);
    command
        .args(["up", "--in-background", "--home"])
        .arg(home.path())
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    if let Some(port) = args.port {
        command.arg("--port").arg(port.to_string());
    }
    if args.reset {
        command.arg("--reset");
    }
    let mut child = command.spawn().map_err(io("start in the background"))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let progress = Progress::new();
    loop {
        if let Some(state) = State::read(&home).filter(|state| Some(state.pid) == pid) {
            progress.finish();
            announce(&state, json, false);
            return Ok(Exit::Done);
        }
        if let Some(status) = child.try_wait().map_err(io("wait for the background"))? {
            progress.finish();
            // Two at once: the other one won.
            if already(&home, json).await? {
                return Ok(Exit::Done);
            }
            return Err(Error::Background {
                code: status.code(),
                log,
                tail: home.log_tail("coord", offset),
            });
        }
        if let Some(step) = home.log_tail("coord", offset).lines().last() {
            let what = step.split_once(" coord: ").map_or(step, |(_, what)| what);
            progress.step(what);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Says that it runs, if it does or is about to: the same end as having started it.
async fn already(home: &Home, json: bool) -> Result<bool, Error> {
    let progress = Progress::new();
    while lock::holder(home)?.is_some() {
        if let Some(state) = State::read(home).filter(|s| Process::of(s.pid).is_some()) {
            progress.finish();
            if json {
                println!("{}", summary(&state));
            } else {
                println!("already running: {}", state.url);
            }
            return Ok(true);
        }
        progress.step("waiting for another `coord up` or `coord down` here");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    progress.finish();
    Ok(false)
}

fn summary(state: &State) -> serde_json::Value {
    json!({
        "url": state.url, "home": state.home, "pid": state.pid, "port": state.port,
        "socket": state.socket, "database": state.database, "postgres_version": state.postgres_version,
        "postgres_bin": state.postgres_bin, "postgrest": state.postgrest,
    })
}

/// What to do next. With a foreground stack that is for another terminal.
fn announce(state: &State, json: bool, foreground: bool) {
    if json {
        println!("{}", summary(state));
        return;
    }
    let token = Home::at(&state.home).map_or_else(
        |_| state.home.join("tokens"),
        |home| home.token(settings::AGENT),
    );
    let coord = program();
    let default = Global::default().home_dir() == state.home;
    let home = if default {
        String::new()
    } else {
        format!(" --home {}", quote(&state.home))
    };
    anstream::println!(
        "ready: {url}   (PostgreSQL {version}, home {dir})

A first lock, over HTTP:
  curl -sS {url}/rpc/acquire_lock -H \"Authorization: Bearer $(cat {token})\" -H 'Content-Type: application/json' -d '{{\"paths\":[\"README.md\"]}}'
Who holds what:
  {coord} lock list{home}
In a repository, so that its agents and commits ask first, and the tools for Claude Code:
  {coord} hook install{home}
  claude mcp add coord{environment} -- {coord} mcp",
        url = state.url,
        version = state.postgres_version,
        dir = state.home.display(),
        token = quote(&token),
        environment = if default {
            String::new()
        } else {
            format!(" --env COORD_HOME={}", quote(&state.home))
        },
    );
    if foreground {
        anstream::println!("\nCtrl-C stops it; `{coord} up --detach` runs it in the background.");
    } else {
        anstream::println!("\n`{coord} down{home}` stops it.");
    }
}

/// How a shell finds this program: by its name where that leads here.
fn program() -> String {
    let Ok(here) = std::env::current_exe() else {
        return "coord".to_owned();
    };
    let found = settings::env("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|directory| directory.join("coord"))
            .find(|file| file.is_file())?
            .canonicalize()
            .ok()
    });
    if found == here.canonicalize().ok() {
        "coord".to_owned()
    } else {
        quote(&here)
    }
}

/// For a shell; most paths stand as they are.
pub fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
