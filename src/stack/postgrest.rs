//! The official PostgREST as a child process: its settings, its start, its readiness.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::home::{Home, write_private};
use super::keys::Keys;
use super::process::Process;
use super::progress::Progress;
use super::server_account::ServerAccount;
use super::spawn::{self, StopSignal};
use super::state::percent;
use super::token::AUDIENCE;
use super::{Doing, Error, postgres};

/// The port of the API unless another is named.
pub const DEFAULT_PORT: u16 = 3011;
/// How long a start may take: some seconds on a slow machine.
const START: Duration = Duration::from_mins(1);

/// The two ports of one PostgREST.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The API.
    pub api: u16,
    /// `/ready` and `/live`.
    pub admin: u16,
}

impl Ports {
    /// This port, or a free one for 0, and a free one for the admin server.
    ///
    /// # Errors
    /// The named port is taken.
    pub fn choose(wanted: u16) -> Result<Self, Error> {
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        // Both are held until both are known, so that they differ.
        let api = free(wanted).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Error::PortTaken(wanted),
            _ => Error::Io {
                doing: format!("listen on port {wanted} of 127.0.0.1"),
                source: error,
            },
        })?;
        let admin = free(0).doing(|| "find a free port".to_owned())?;
        let number = |listener: &TcpListener| {
            listener
                .local_addr()
                .map(|address| address.port())
                .doing(|| "find a free port".to_owned())
        };
        Ok(Self {
            api: number(&api)?,
            admin: number(&admin)?,
        })
    }

    /// Root of the API.
    #[must_use]
    pub fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }
}

/// Starts it. It is not ready yet: see [`ready`].
///
/// # Errors
/// It cannot be executed.
pub fn start(
    home: &Home,
    account: &ServerAccount,
    program: &Path,
    keys: &Keys,
    ports: Ports,
) -> Result<Child, Error> {
    let mut command = spawn::server(
        program.as_os_str(),
        account,
        StopSignal::Term,
        home,
        "postgrest",
    )?;
    let uri = format!(
        "postgresql://authenticator@localhost/{}?host={}&application_name=postgrest",
        postgres::DATABASE,
        percent(&home.socket_dir().to_string_lossy())
    );
    // By the environment, because files of ours cannot be read by the servers' account;
    // the keys by a file of theirs, because these may change while it runs.
    keys.hand_over(home, account)?;
    command
        .env("PGRST_DB_URI", uri)
        .env("PGRST_DB_SCHEMAS", "coord_v1")
        .env("PGRST_DB_ANON_ROLE", "anon")
        .env("PGRST_DB_PRE_REQUEST", "coord.pre_request")
        .env("PGRST_DB_EXTRA_SEARCH_PATH", "")
        .env("PGRST_DB_MAX_ROWS", "1000")
        .env(
            "PGRST_JWT_SECRET",
            format!("@{}", home.served_jwks().display()),
        )
        .env("PGRST_JWT_AUD", AUDIENCE)
        .env("PGRST_SERVER_HOST", "127.0.0.1")
        .env("PGRST_SERVER_PORT", ports.api.to_string())
        .env("PGRST_ADMIN_SERVER_PORT", ports.admin.to_string())
        .env("PGRST_LOG_LEVEL", "warn");
    let child = command.spawn().doing(|| "start PostgREST".to_owned())?;
    if let Some(process) = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Process::of)
    {
        write_private(&home.postgrest_pid(), &process.to_text())?;
    }
    Ok(child)
}

/// Makes a running PostgREST take up the keys as they are now.
///
/// # Errors
/// They cannot be handed over.
pub fn reload_keys(
    home: &Home,
    account: &ServerAccount,
    child: Option<&Child>,
    keys: &Keys,
) -> Result<(), Error> {
    keys.hand_over(home, account)?;
    if let Some(child) = child {
        spawn::tell(child, Signal::SIGUSR2);
    }
    Ok(())
}

/// Waits until the API answers: `/ready` alone may say yes with nothing loaded yet.
///
/// # Errors
/// It ended, or does not become ready.
pub async fn ready(
    home: &Home,
    child: &mut Child,
    ports: Ports,
    progress: &Progress,
) -> Result<(), Error> {
    let log = home.log("postgrest");
    let offset = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let begun = Instant::now();
    let http = http_client();
    let failed = |what: String| Error::Server {
        name: "PostgREST",
        what,
        log: log.clone(),
        tail: home.log_tail("postgrest", offset),
    };
    loop {
        let last = match probe_with(&http, ports).await {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        if let Some(status) = child.try_wait().doing(|| "wait for PostgREST".to_owned())? {
            return Err(failed(format!("ended while starting ({status})")));
        }
        if begun.elapsed() > START {
            return Err(failed(format!("does not become ready ({last})")));
        }
        if begun.elapsed() > Duration::from_secs(5) {
            progress.step(&format!("waiting for PostgREST ({last})"));
        }
        sleep(Duration::from_millis(40)).await;
    }
}

/// Asks once whether the API works: its admin server, then a call that reaches the database.
///
/// # Errors
/// Why not.
pub async fn probe(ports: Ports) -> Result<(), String> {
    probe_with(&http_client(), ports).await
}

/// Never through a proxy: this is our own machine.
fn http_client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap_or_default()
}

async fn probe_with(http: &reqwest::Client, ports: Ports) -> Result<(), String> {
    for url in [
        format!("http://127.0.0.1:{}/ready", ports.admin),
        format!("{}/rpc/health", ports.url()),
    ] {
        let status = http
            .get(&url)
            .send()
            .await
            .map_err(|_| format!("no answer from {url}"))?
            .status();
        if !status.is_success() {
            return Err(format!("{url} answers {}", status.as_u16()));
        }
    }
    Ok(())
}

/// Ends the PostgREST that a killed `coord up` left behind, if it is that very process.
pub async fn stop_leftover(home: &Home, progress: &Progress) -> bool {
    let file = home.postgrest_pid();
    let left = std::fs::read_to_string(&file)
        .ok()
        .and_then(|text| Process::from_text(&text))
        .filter(Process::alive);
    if let Some(process) = &left {
        progress.step("stopping the PostgREST that an earlier `coord up` left behind");
        process.signal(Signal::SIGTERM);
        if !process.gone_within(Duration::from_secs(5)).await {
            process.signal(Signal::SIGKILL);
            process.gone_within(Duration::from_secs(5)).await;
        }
    }
    // Gone already when there was none.
    let _ = std::fs::remove_file(&file);
    left.is_some()
}

/// Ends it in order, then by force.
pub async fn stop(child: &mut Child) {
    spawn::tell(child, Signal::SIGTERM);
    if tokio::time::timeout(Duration::from_secs(5), child.wait())
        .await
        .is_err()
    {
        // Nothing more can be done for it.
        let _ = child.kill().await;
    }
}
