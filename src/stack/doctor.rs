//! Looks at everything a stack needs, names what is wrong and what mends it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::home::{Home, mode};
use super::keys::{self, Keys};
use super::postgres::{self, Data};
use super::postgrest::{self, Ports};
use super::process::Process;
use super::progress::Progress;
use super::server_account::ServerAccount;
use super::state::State;
use super::{Error, lock, migrate, postgrest_binary, supervise};

/// Below this a database gets into trouble soon.
const LEAST_SPACE: u64 = 1024 * 1024 * 1024;

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// Whether all is well with it.
    pub ok: bool,
    /// What was seen.
    pub found: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What `--fix` does about it.
    #[serde(skip)]
    pub fix: Option<Fix>,
}

/// What can be mended without any risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Install PostgREST.
    Postgrest,
    /// Close files and directories to others.
    Modes,
    /// Stop what a killed `coord up` left, and remove its traces.
    Leftovers,
}

fn good(check: &'static str, found: impl Into<String>) -> Finding {
    Finding {
        check,
        ok: true,
        found: found.into(),
        remedy: None,
        fix: None,
    }
}

fn bad(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        ok: false,
        remedy: Some(remedy.into()),
        ..good(check, found)
    }
}

/// A finding from an error, whose words hold the remedy already.
fn from_error(check: &'static str, error: &Error) -> Finding {
    let text = error.to_string();
    match text.split_once("; ") {
        Some((found, remedy)) => bad(check, found, remedy),
        None => bad(check, text, "see docs: coord doctor"),
    }
}

impl Finding {
    fn fixed_by(self, fix: Fix) -> Self {
        Self {
            fix: Some(fix),
            ..self
        }
    }
}

/// Looks at everything; changes nothing.
///
/// # Errors
/// The home cannot even be looked at.
pub async fn examine(home: &Home, port: u16) -> Result<Vec<Finding>, Error> {
    let account = ServerAccount::choose()?;
    let holder = lock::holder(home)?;
    let mut findings = vec![programs(home), postgrest_program()];
    findings.push(directory(home, &account));
    findings.extend(secrets(home));
    findings.extend(space(home));
    match holder {
        Some(holder) => findings.extend(running(home, holder.as_ref()).await),
        None => findings.extend(stopped(home, port)),
    }
    Ok(findings)
}

fn programs(home: &Home) -> Finding {
    let check = "PostgreSQL";
    let major = match postgres::data(home) {
        Ok(Data::Ours(major)) => Some(major),
        Ok(Data::None) => None,
        Err(error) => return from_error("data directory", &error),
    };
    match postgres::find(major) {
        Ok(found) => good(
            check,
            format!("{} in {}", found.version, found.dir.display()),
        ),
        Err(error) => from_error(check, &error),
    }
}

fn postgrest_program() -> Finding {
    let check = "PostgREST";
    let cached = postgrest_binary::cached();
    match postgrest_binary::find() {
        Ok(Some(path)) => good(check, path.display().to_string()),
        Ok(None) if cached.exists() => bad(
            check,
            format!("{} is damaged: its checksum is wrong", cached.display()),
            format!("rm {} && coord up", cached.display()),
        )
        .fixed_by(Fix::Postgrest),
        Ok(None) => bad(
            check,
            "not installed",
            "`coord up` installs it from npm; or name one with COORD_POSTGREST",
        )
        .fixed_by(Fix::Postgrest),
        Err(error) => from_error(check, &error),
    }
}

fn directory(home: &Home, account: &ServerAccount) -> Finding {
    let check = "home";
    let path = home.path();
    if !path.exists() {
        return good(
            check,
            format!("{} is not there yet; `coord up` makes it", path.display()),
        );
    }
    if let Some(dir) = account.barred(path) {
        return bad(
            check,
            format!(
                "the servers run as {} and may not pass through {}",
                account.name,
                dir.display()
            ),
            "name another home with --home or COORD_HOME",
        );
    }
    let mut open: Vec<String> = Vec::new();
    for (dir, wanted) in places(home, account) {
        if bits(&dir).is_some_and(|now| now != wanted) {
            open.push(format!(
                "{} is {:o} instead of {wanted:o}",
                dir.display(),
                bits(&dir).unwrap_or_default()
            ));
        }
    }
    if open.is_empty() {
        good(check, path.display().to_string())
    } else {
        bad(check, open.join(", "), "coord doctor --fix").fixed_by(Fix::Modes)
    }
}

fn places(home: &Home, account: &ServerAccount) -> Vec<(std::path::PathBuf, u32)> {
    vec![
        (home.path().to_owned(), Home::wanted_mode(account)),
        (home.keys(), 0o700),
        (home.tokens(), 0o700),
        (home.path().join("log"), 0o700),
        (home.data(), 0o700),
        (home.socket_dir(), 0o700),
    ]
}

fn bits(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

fn secrets(home: &Home) -> Vec<Finding> {
    let check = "keys and tokens";
    if !home.keys().join("signing.pem").exists() {
        return vec![good(check, "none yet; `coord up` makes them")];
    }
    let mut findings = Vec::new();
    match Keys::load(home) {
        Ok(keys) => findings.push(good(check, format!("key {}", keys.kid))),
        Err(error) => findings.push(from_error(check, &error)),
    }
    let exposed = keys::exposed(home);
    if !exposed.is_empty() {
        let names: Vec<String> = exposed.iter().map(|p| p.display().to_string()).collect();
        findings.push(
            bad(
                check,
                format!("others may read {}", names.join(" ")),
                format!("chmod 600 {}", names.join(" ")),
            )
            .fixed_by(Fix::Modes),
        );
    }
    findings
}

fn space(home: &Home) -> Option<Finding> {
    let dir = home.path().ancestors().find(|dir| dir.exists())?;
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    // Their types differ between systems.
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
    let free = u64::try_from(stat.blocks_available())
        .ok()?
        .saturating_mul(u64::try_from(stat.fragment_size()).ok()?);
    let found = format!("{} MB free in {}", free / 1024 / 1024, dir.display());
    Some(if free < LEAST_SPACE {
        bad(
            "disk space",
            found,
            format!(
                "free some; `du -sh {}/*` says what is large (data.old-* is only kept for you)",
                home.path().display()
            ),
        )
    } else {
        good("disk space", found)
    })
}

async fn running(home: &Home, holder: Option<&Process>) -> Vec<Finding> {
    let pid = holder.map_or_else(|| "unknown".to_owned(), |p| p.pid.to_string());
    let Some(state) = State::read(home) else {
        return vec![bad(
            "stack",
            format!("`coord up` (process id {pid}) is starting"),
            format!("wait, or see {}", home.log("coord").display()),
        )];
    };
    let mut findings = Vec::new();
    let ports = Ports {
        api: state.port,
        admin: state.admin_port,
    };
    findings.push(match postgrest::probe(ports).await {
        Ok(()) => good(
            "stack",
            format!("healthy: {} (process id {pid})", state.url),
        ),
        Err(why) => bad(
            "stack",
            format!("runs (process id {pid}) and is not healthy: {why}"),
            format!(
                "see {} and {}; `coord down && coord up --detach` starts it anew",
                home.log("postgres").display(),
                home.log("postgrest").display()
            ),
        ),
    });
    findings.push(match migrate::difference(home).await {
        Ok(None) => good("migrations", "those of this coord"),
        Ok(Some(difference)) => {
            let (found, remedy) = difference
                .split_once("; ")
                .unwrap_or((&difference, "coord up --reset"));
            bad("migrations", found, remedy)
        }
        Err(error) => from_error("migrations", &error),
    });
    findings
}

fn stopped(home: &Home, port: u16) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut left = Vec::new();
    if let Some(process) = postgres::postmaster(home) {
        left.push(format!("PostgreSQL (process id {})", process.pid));
    }
    let file = home.postgrest_pid();
    if let Ok(text) = fs::read_to_string(&file) {
        match Process::from_text(&text).filter(Process::alive) {
            Some(process) => left.push(format!("PostgREST (process id {})", process.pid)),
            None => left.push(file.display().to_string()),
        }
    }
    if home.state().exists() {
        left.push(home.state().display().to_string());
    }
    if !left.is_empty() {
        findings.push(
            bad(
                "leftovers",
                format!("a killed `coord up` left {}", left.join(", ")),
                "coord down",
            )
            .fixed_by(Fix::Leftovers),
        );
    }
    if left.is_empty()
        && let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
    {
        findings.push(bad(
            "port",
            format!("port {port} of 127.0.0.1 cannot be used: {error}"),
            "coord up --port 0",
        ));
    }
    findings.push(bad("stack", "not running", "coord up --detach"));
    findings
}

/// Mends what can be mended without risk.
///
/// # Errors
/// The mending failed.
pub async fn mend(home: &Home, fix: Fix, progress: &Progress) -> Result<(), Error> {
    match fix {
        Fix::Postgrest => postgrest_binary::install(progress).await.map(drop),
        Fix::Leftovers => supervise::down(home, progress).await.map(drop),
        Fix::Modes => {
            let account = ServerAccount::choose()?;
            home.secure(&account)?;
            for (dir, wanted) in places(home, &account) {
                if dir.exists() {
                    mode(&dir, wanted)?;
                }
            }
            for path in keys::exposed(home) {
                mode(&path, 0o600)?;
            }
            Ok(())
        }
    }
}
