//! The private PostgreSQL: its programs, its data directory, its start and its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::home::{Home, mode, private_dir};
use super::process::{self, Process};
use super::progress::Progress;
use super::server_account::ServerAccount;
use super::spawn::{self, StopSignal};
use super::{Doing, Error, clock};
use crate::settings;

/// The oldest major version that the migrations run on.
pub const OLDEST: u32 = 15;
/// The newest major version that is tested.
pub const NEWEST: u32 = 18;
/// The database of the coordinator.
pub const DATABASE: &str = "coord";
/// Our mark in the data directory: no other is ever adopted.
const MARKER: &str = "coord-stack";
const MARKER_TEXT: &str = "This data directory belongs to `coord up` (format 1).\n";
/// How long crash recovery may take before we say that it does not end.
const RECOVERY: Duration = Duration::from_mins(30);

/// One installed PostgreSQL.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The directory of `postgres`, `initdb` and so on.
    pub dir: PathBuf,
    /// As 17.
    pub major: u32,
    /// As `17.2`.
    pub version: String,
}

/// The newest usable PostgreSQL, or the one of this major version.
///
/// # Errors
/// None is installed, or none that fits.
pub fn find(major: Option<u32>) -> Result<Programs, Error> {
    let found = installed();
    let fits = |p: &&Programs| major.map_or(p.major >= OLDEST, |wanted| p.major == wanted);
    let best = found
        .iter()
        .filter(fits)
        // Prefer what is tested; among equals, what was named first.
        .max_by_key(|p| (p.major <= NEWEST, p.major));
    match (best, major) {
        (Some(programs), _) => Ok(programs.clone()),
        (None, Some(major)) => Err(Error::Data(format!(
            "the data directory was made by PostgreSQL {major}, which is not installed any more; install it again (Debian: `apt-get install postgresql-{major}`), or start with an empty database: `coord up --reset` (the old data is kept aside)"
        ))),
        (None, None) => Err(Error::NoPostgres {
            found: found
                .iter()
                .max_by_key(|p| p.major)
                .map(|p| format!(" (only {} in {})", p.version, p.dir.display()))
                .or_else(|| {
                    settings::env("COORD_PG_BIN").map(|dir| format!(" in COORD_PG_BIN ({dir})"))
                })
                .unwrap_or_default(),
        }),
    }
}

/// Every PostgreSQL server on this machine that can be found; `COORD_PG_BIN` is the only one if set.
fn installed() -> Vec<Programs> {
    if let Some(dir) = settings::env("COORD_PG_BIN") {
        return probe(Path::new(&dir)).into_iter().collect();
    }
    let mut dirs = Vec::new();
    if let Ok(output) = std::process::Command::new("pg_config")
        .arg("--bindir")
        .output()
        && let Ok(text) = String::from_utf8(output.stdout)
    {
        dirs.push(PathBuf::from(text.trim()));
    }
    for (parent, below) in [
        ("/usr/lib/postgresql", "bin"),
        ("/usr/local", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
    ] {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        dirs.extend(entries.map(|entry| entry.path().join(below)));
    }
    // Fedora's, FreeBSD's and everybody's who put it on the PATH.
    if let Some(path) = std::env::var_os("PATH") {
        dirs.extend(std::env::split_paths(&path));
    }
    let mut seen = Vec::new();
    dirs.retain(|dir| {
        let real = fs::canonicalize(dir.join("postgres")).ok();
        let new = real.is_some() && !seen.contains(&real);
        seen.push(real);
        new
    });
    dirs.iter().filter_map(|dir| probe(dir)).collect()
}

/// `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`; development versions say `18beta1`.
fn probe(dir: &Path) -> Option<Programs> {
    if !dir.join("initdb").exists() {
        return None;
    }
    let output = std::process::Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split(' ').nth(2)?.trim().to_owned();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some(Programs {
        dir: dir.to_owned(),
        major: digits.parse().ok()?,
        version,
    })
}

/// What the data directory is.
#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    /// Not there yet.
    None,
    /// Ours, made by this major version.
    Ours(u32),
}

/// Looks at the data directory, and refuses one that is not ours.
///
/// # Errors
/// There is something else in its place.
pub fn data(home: &Home) -> Result<Data, Error> {
    let dir = home.data();
    if !dir.exists() {
        return Ok(Data::None);
    }
    let foreign = |what: &str| {
        Error::Data(format!(
            "{dir} {what}; it is left alone: name another home with --home, or move it aside and start afresh with `coord up --reset`",
            dir = dir.display()
        ))
    };
    if !dir.join(MARKER).exists() {
        return Err(foreign("was not made by `coord up`"));
    }
    let version = fs::read_to_string(dir.join("PG_VERSION"))
        .map_err(|_| foreign("has no readable PG_VERSION"))?;
    version
        .trim()
        .parse()
        .map(Data::Ours)
        .map_err(|_| foreign("has a PG_VERSION that is no number"))
}

/// Moves the data directory aside. Nothing is deleted.
///
/// # Errors
/// It cannot be renamed.
pub fn put_aside(home: &Home) -> Result<Option<PathBuf>, Error> {
    let dir = home.data();
    if !dir.exists() {
        return Ok(None);
    }
    let users = process::working_in(&dir);
    if !users.is_empty() {
        return Err(Error::Data(format!(
            "the processes {users:?} work in {}; end them, then `coord up --reset` again",
            dir.display()
        )));
    }
    let stem = format!("data.old-{}", clock::compact(clock::now()));
    let mut aside = home.path().join(&stem);
    for n in 1..1000 {
        if !aside.exists() {
            break;
        }
        aside = home.path().join(format!("{stem}.{n}"));
    }
    fs::rename(&dir, &aside).at("rename", &dir)?;
    Ok(Some(aside))
}

/// Makes the data directory. It appears under its name when it is complete, so
/// an interrupted attempt leaves nothing that looks finished.
///
/// # Errors
/// `initdb` failed.
pub async fn init(home: &Home, account: &ServerAccount, programs: &Programs) -> Result<(), Error> {
    let unfinished = home.path().join("data.new");
    // The encoding and the order of text are the same on every machine: C, with Unicode's letters where there is such a locale.
    let mut locales = vec![vec!["--locale=C.UTF-8"], vec!["--locale=C"]];
    if programs.major >= 17 {
        locales.insert(
            0,
            vec![
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
        );
    }
    let mut last = String::new();
    for locale in locales {
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).at("remove", &unfinished)?;
        }
        private_dir(&unfinished)?;
        account.own(&unfinished)?;
        let offset = log_length(home);
        let mut command = server(
            home,
            account,
            &programs.dir.join("initdb"),
            StopSignal::Kill,
        )?;
        let status = command
            .arg("--pgdata")
            .arg(&unfinished)
            .args(["--username=postgres", "--encoding=UTF8", "--data-checksums"])
            .args(["--auth-local=peer", "--auth-host=reject"])
            .arg("--text-search-config=english")
            .args(&locale)
            .kill_on_drop(true)
            .status()
            .await
            .doing(|| "run initdb".to_owned())?;
        if status.success() {
            let marker = unfinished.join(MARKER);
            fs::write(&marker, MARKER_TEXT).at("write", &marker)?;
            account.own(&marker)?;
            mode(&marker, 0o600)?;
            return fs::rename(&unfinished, home.data()).at("rename", &unfinished);
        }
        last = home.log_tail("postgres", offset);
    }
    Err(failed(home, "could not make its data directory", last))
}

/// Who may connect: over the socket only, each system user as whom the map names.
/// Peer authentication works wherever PostgreSQL itself starts: it needs the same lookup of names.
fn write_access(home: &Home, account: &ServerAccount) -> Result<(), Error> {
    let mut map = String::new();
    let root = if account.other { Some("root") } else { None };
    for system in std::iter::once(account.name.as_str()).chain(root) {
        for role in ["postgres", "authenticator"] {
            map.extend(["coord \"", system, "\" ", role, "\n"]);
        }
    }
    for (name, text) in [
        (
            "pg_hba.conf",
            "# Written by `coord up` at each start.\nlocal all postgres,authenticator peer map=coord\n",
        ),
        ("pg_ident.conf", map.as_str()),
    ] {
        let path = home.data().join(name);
        fs::write(&path, text).at("write", &path)?;
        account.own(&path)?;
        mode(&path, 0o600)?;
    }
    Ok(())
}

/// Starts the server. It is not ready yet: see [`ready`].
///
/// # Errors
/// It cannot be executed.
pub fn start(home: &Home, account: &ServerAccount, programs: &Programs) -> Result<Child, Error> {
    write_access(home, account)?;
    let mut sockets = std::ffi::OsString::from("unix_socket_directories=");
    sockets.push(home.socket_dir());
    let mut command = server(
        home,
        account,
        &programs.dir.join("postgres"),
        StopSignal::Int,
    )?;
    command.arg("-D").arg(home.data()).arg("-c").arg(sockets);
    // What the stack stands on; all else is for postgresql.conf in the data directory.
    for setting in [
        "listen_addresses=",
        "port=5432",
        "unix_socket_permissions=0700",
        "wal_level=logical",
        "fsync=on",
        "full_page_writes=on",
        "cluster_name=coord",
        "logging_collector=off",
        "log_destination=stderr",
        "log_timezone=UTC",
        "timezone=UTC",
        // Homes made earlier have a name that no parallel worker can resolve.
        "default_text_search_config=pg_catalog.english",
    ] {
        command.arg("-c").arg(setting);
    }
    command.spawn().doing(|| "start PostgreSQL".to_owned())
}

fn server(
    home: &Home,
    account: &ServerAccount,
    program: &Path,
    stop: StopSignal,
) -> Result<Command, Error> {
    spawn::server(program.as_os_str(), account, stop, home, "postgres")
}

/// How to connect as the superuser.
#[must_use]
pub fn connection(home: &Home, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(home.socket_dir())
        .port(5432)
        .username("postgres")
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("coord")
        .disable_statement_logging()
}

/// Waits until the server takes connections, however long recovery takes, and
/// makes the database if it is not there. Gives its version.
///
/// # Errors
/// The server ended, or refuses us.
pub async fn ready(home: &Home, child: &mut Child, progress: &Progress) -> Result<String, Error> {
    let offset = log_length(home);
    let begun = Instant::now();
    let mut connection = loop {
        match PgConnection::connect_with(&connection(home, "postgres")).await {
            Ok(connection) => break connection,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() != Some("57P03") => {
                return Err(sqlx::Error::Database(error).into());
            }
            Err(error) => {
                if let Some(status) = child
                    .try_wait()
                    .doing(|| "wait for PostgreSQL".to_owned())?
                {
                    let tail = home.log_tail("postgres", offset.saturating_sub(2000));
                    return Err(failed(
                        home,
                        &format!("ended while starting ({status})"),
                        tail,
                    ));
                }
                if begun.elapsed() > RECOVERY {
                    return Err(error.into());
                }
                if begun.elapsed() > Duration::from_secs(5) {
                    progress.step(&format!(
                        "PostgreSQL recovers its data ({} s)",
                        begun.elapsed().as_secs()
                    ));
                }
            }
        }
        sleep(Duration::from_millis(40)).await;
    };
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        sqlx::query("create database coord template template0")
            .execute(&mut connection)
            .await?;
    }
    let version: String = sqlx::query_scalar("select current_setting('server_version')")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}

/// The postmaster that runs on our data directory, whoever started it.
#[must_use]
pub fn postmaster(home: &Home) -> Option<Process> {
    let pid = pid_in_file(home)?;
    let process = Process::of(pid)?;
    let here = process::working_dir(pid)?;
    (here == home.data()).then_some(process)
}

fn pid_in_file(home: &Home) -> Option<i32> {
    let text = fs::read_to_string(home.data().join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Ends what a killed `coord up` left on our data directory, and only that, so
/// that there are never two servers on live data.
///
/// # Errors
/// It does not end.
pub async fn stop_leftover(home: &Home, progress: &Progress) -> Result<bool, Error> {
    if !home.data().join(MARKER).exists() {
        return Ok(false);
    }
    let mut found = false;
    if let Some(postmaster) = postmaster(home) {
        found = true;
        progress.step("stopping the PostgreSQL that an earlier `coord up` left behind");
        postmaster.signal(Signal::SIGINT);
        // One that was stopped by a signal hears nothing before this.
        postmaster.signal(Signal::SIGCONT);
        if !postmaster.gone_within(Duration::from_mins(2)).await {
            postmaster.signal(Signal::SIGQUIT);
        }
        if !postmaster.gone_within(Duration::from_secs(20)).await {
            return Err(Error::Data(format!(
                "the PostgreSQL with process id {pid} still runs on {dir} and does not stop; see {log}, then `kill -QUIT {pid}` and `coord up` again",
                pid = postmaster.pid,
                dir = home.data().display(),
                log = home.log("postgres").display()
            )));
        }
    }
    wait_until_vacant(home).await?;
    // PostgreSQL takes any process with the pid in the file for a live server. After a
    // reboot or in a container that may be a stranger or a zombie; nobody works in the directory.
    if let Some(pid) = pid_in_file(home)
        && cfg!(target_os = "linux")
        && process::pid_in_use(pid)
    {
        let file = home.data().join("postmaster.pid");
        fs::remove_file(&file).at("remove", &file)?;
    }
    Ok(found)
}

/// The backends of a killed postmaster notice by themselves, within moments.
async fn wait_until_vacant(home: &Home) -> Result<(), Error> {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let left = process::working_in(&home.data());
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Error::Data(format!(
                "the processes {left:?} still work in {}; end them, then `coord up` again",
                home.data().display()
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Fast shutdown, then firmer.
pub async fn stop(child: &mut Child) {
    for (signal, patience) in [
        (Signal::SIGINT, Duration::from_mins(1)),
        (Signal::SIGQUIT, Duration::from_secs(10)),
    ] {
        spawn::tell(child, signal);
        if tokio::time::timeout(patience, child.wait()).await.is_ok() {
            return;
        }
    }
    // Nothing more can be done for it.
    let _ = child.kill().await;
}

fn log_length(home: &Home) -> u64 {
    fs::metadata(home.log("postgres")).map_or(0, |meta| meta.len())
}

fn failed(home: &Home, what: &str, tail: String) -> Error {
    Error::Server {
        name: "PostgreSQL",
        what: what.to_owned(),
        log: home.log("postgres"),
        tail,
    }
}
