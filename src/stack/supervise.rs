//! Brings the stack up, keeps it up, and takes it down in order.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::first_tokens;
use super::home::Home;
use super::keys::Keys;
use super::lock::{self, Lock, Taken};
use super::postgres::{self, DATABASE, Data, Programs};
use super::postgrest::{self, Ports};
use super::process::Process;
use super::progress::{Progress, say};
use super::server_account::ServerAccount;
use super::state::State;
use super::{Doing, Error, clock, migrate, postgrest_binary};

/// Between two rounds of `maintain`: dead sessions are found this late at most.
const MAINTENANCE: Duration = Duration::from_secs(15);
/// Between two looks at the age of the first tokens.
const RENEWAL: Duration = Duration::from_hours(6);
/// Longest pause before a child that keeps dying is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A child that ran for this long begins with the shortest pause again.
const STEADY: Duration = Duration::from_mins(1);

/// How to bring it up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port of the API, 0 for a free one.
    pub port: u16,
    /// Move the data aside first.
    pub reset: bool,
}

/// Takes up keys that were rotated, drops those whose time is over, renews the first tokens.
fn refresh_keys(home: &Home, ready: &mut Ready, postgrest: &Slot) -> Result<(), Error> {
    let keys = Keys::ensure(home)?;
    if keys.jwks != ready.keys.jwks {
        let child = postgrest.child.as_ref();
        postgrest::reload_keys(home, &ready.account, child, &keys)?;
        ready.keys = keys;
    }
    first_tokens::renew(home, &ready.keys)
}

/// What ends a running stack.
#[derive(Debug)]
pub struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Whether the end of standard input counts.
    stdin: bool,
}

impl Ending {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen(stdin: bool) -> Result<Self, Error> {
        let on = |kind| signal(kind).doing(|| "listen for signals".to_owned());
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            stdin,
        })
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        let stdin = self.stdin;
        let end_of_input = async {
            if !stdin {
                std::future::pending::<()>().await;
            }
            // What is written there means nothing; that it ends does.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            () = end_of_input => {}
        }
    }
}

/// A server process, or the pause before the next.
#[derive(Debug, Default)]
struct Slot {
    child: Option<Child>,
    since: Option<Instant>,
    failures: u32,
    due: Option<Instant>,
}

/// What happens to a server.
enum Event {
    Died(String),
    Due,
}

impl Slot {
    fn holds(&mut self, child: Child) -> &mut Child {
        self.since = Some(Instant::now());
        self.due = None;
        self.child.insert(child)
    }

    async fn next(&mut self) -> Event {
        if let Some(child) = &mut self.child {
            let status = child.wait().await;
            self.child = None;
            return Event::Died(status.map_or_else(|e| e.to_string(), |s| s.to_string()));
        }
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        Event::Due
    }

    /// Plans the next start: at once the first time, then later and later.
    fn plan(&mut self) -> Duration {
        if self
            .since
            .take()
            .is_some_and(|since| since.elapsed() > STEADY)
        {
            self.failures = 0;
        }
        let pause = Duration::from_millis(100 << self.failures.min(7)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.due = Some(Instant::now() + pause);
        pause
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }
}

/// One stack of this process.
#[derive(Debug)]
pub struct Stack {
    home: Home,
    options: Options,
    postgres: Slot,
    postgrest: Slot,
    ready: Option<Ready>,
    lock: Option<Lock>,
}

/// What is known once it is up.
#[derive(Debug)]
struct Ready {
    account: ServerAccount,
    programs: Programs,
    postgrest: PathBuf,
    keys: Keys,
    ports: Ports,
    state: State,
}

impl Stack {
    /// A stack that does not run yet.
    #[must_use]
    pub fn new(home: Home, options: Options) -> Self {
        Self {
            home,
            options,
            postgres: Slot::default(),
            postgrest: Slot::default(),
            ready: None,
            lock: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Brings everything up. Whatever comes of it, call [`Stack::stop`] after it.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub async fn start(&mut self, progress: &Progress) -> Result<State, Error> {
        let account = ServerAccount::choose()?;
        self.home.prepare(&account)?;
        self.lock = Some(self.lock_home().await?);
        remove_state(&self.home)?;
        postgrest::stop_leftover(&self.home, progress).await;
        postgres::stop_leftover(&self.home, progress).await?;
        if self.options.reset
            && let Some(aside) = postgres::put_aside(&self.home)?
        {
            say(&format!("the old data is kept in {}", aside.display()));
        }
        let data = postgres::data(&self.home)?;
        let programs = postgres::find(match data {
            Data::None => None,
            Data::Ours(major) => Some(major),
        })?;
        let mut ports = Ports::choose(self.options.port)?;
        let binary = postgrest_binary::obtain(&account, progress).await?;
        let keys = Keys::ensure(&self.home)?;
        if data == Data::None {
            progress.step(&format!(
                "making a database with PostgreSQL {}",
                programs.version
            ));
            postgres::init(&self.home, &account, &programs).await?;
            first_tokens::forget(&self.home)?;
        }

        progress.step("starting PostgreSQL");
        let child = self
            .postgres
            .holds(postgres::start(&self.home, &account, &programs)?);
        let version = postgres::ready(&self.home, child, progress).await?;
        progress.step("applying migrations");
        migrate::run(&self.home).await?;

        progress.step("starting PostgREST");
        let mut tries = 3;
        loop {
            let child = postgrest::start(&self.home, &account, &binary, &keys, ports)?;
            let child = self.postgrest.holds(child);
            match postgrest::ready(&self.home, child, ports, progress).await {
                Ok(()) => break,
                // Somebody took the free port in the moment between.
                Err(Error::Server { .. })
                    if self.options.port == 0 && tries > 0 && self.postgrest.pid().is_none() =>
                {
                    tries -= 1;
                    ports = Ports::choose(0)?;
                }
                Err(error) => return Err(error),
            }
        }
        first_tokens::ensure(&self.home, &keys, &ports.url()).await?;

        let state = State {
            url: ports.url(),
            pid: Process::current().pid,
            port: ports.api,
            admin_port: ports.admin,
            home: self.home.path().to_owned(),
            socket: self.home.socket_dir(),
            database: DATABASE.to_owned(),
            postgres_version: version,
            postgres_bin: programs.dir.clone(),
            postgres_pid: self.postgres.pid(),
            postgrest: binary.clone(),
            postgrest_pid: self.postgrest.pid(),
            started_at: clock::rfc3339(clock::now()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        state.write(&self.home)?;
        self.ready = Some(Ready {
            account,
            programs,
            postgrest: binary,
            keys,
            ports,
            state: state.clone(),
        });
        Ok(state)
    }

    /// Tries for a moment: `coord status` and its like hold the lock while they look.
    async fn lock_home(&self) -> Result<Lock, Error> {
        for _ in 0..20 {
            if let Taken::Ours(lock) = lock::take(&self.home)? {
                return Ok(lock);
            }
            if State::read(&self.home).is_some_and(|state| Process::of(state.pid).is_some()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let url = State::read(&self.home).map_or_else(|| "starting".to_owned(), |s| s.url);
        Err(Error::AlreadyRunning(self.home.path().to_owned(), url))
    }

    /// Keeps it up, for ever: drop this future to end it, then call [`Stack::stop`].
    pub async fn keep(&mut self) {
        let Some(ready) = &mut self.ready else { return };
        let home = &self.home;
        let mut maintenance = interval(MAINTENANCE);
        maintenance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewal = interval(RENEWAL);
        // `coord keys` says so when it changed them.
        let Ok(mut keys_changed) = signal(SignalKind::user_defined1()) else {
            return;
        };
        let mut silent = true;
        loop {
            tokio::select! {
                event = self.postgres.next() => {
                    let start = || postgres::start(home, &ready.account, &ready.programs);
                    if step(&mut self.postgres, event, "PostgreSQL", home, start) {
                        ready.state.postgres_pid = self.postgres.pid();
                        note(&ready.state, home);
                    }
                }
                event = self.postgrest.next() => {
                    let start = || postgrest::start(home, &ready.account, &ready.postgrest, &ready.keys, ready.ports);
                    if step(&mut self.postgrest, event, "PostgREST", home, start) {
                        ready.state.postgrest_pid = self.postgrest.pid();
                        note(&ready.state, home);
                    }
                }
                _ = maintenance.tick() => match timeout(MAINTENANCE, maintain(home)).await {
                    // What takes longer is tried again, and is no reason to overlook a death.
                    Ok(Ok(())) | Err(_) => silent = true,
                    // A restart is told of elsewhere; an error that stays is told of once.
                    Ok(Err(error)) => if std::mem::take(&mut silent) {
                        say(&format!("housekeeping failed, and is tried again: {error}"));
                    }
                },
                _ = renewal.tick() => if let Err(error) = refresh_keys(home, ready, &self.postgrest) {
                    say(&format!("keys and first tokens could not be renewed: {error}"));
                },
                _ = keys_changed.recv() => match refresh_keys(home, ready, &self.postgrest) {
                    Ok(()) => say(&format!("signing with key {}", ready.keys.kid)),
                    Err(error) => say(&format!("the new keys cannot be used: {error}")),
                },
            }
        }
    }

    /// Stops what runs: PostgREST first, so that no call meets a closing database.
    pub async fn stop(&mut self) {
        if self.lock.is_some() {
            // First, so that nobody is sent here any more. Not there if it never came up.
            let _ = std::fs::remove_file(self.home.state());
        }
        if let Some(mut child) = self.postgrest.child.take() {
            postgrest::stop(&mut child).await;
        }
        if let Some(mut child) = self.postgres.child.take() {
            postgres::stop(&mut child).await;
        }
        if self.lock.is_some() {
            let _ = std::fs::remove_file(self.home.postgrest_pid());
            self.home.remove_outside();
        }
        self.ready = None;
        self.lock = None;
    }
}

/// Handles one event of a server; true when a new process runs.
fn step(
    slot: &mut Slot,
    event: Event,
    name: &str,
    home: &Home,
    start: impl FnOnce() -> Result<Child, Error>,
) -> bool {
    match event {
        Event::Died(how) => {
            let pause = slot.plan();
            say(&format!(
                "{name} ended ({how}); it starts again in {} ms; its log: {}",
                pause.as_millis(),
                home.log(&name.to_lowercase().replace("postgresql", "postgres"))
                    .display()
            ));
            false
        }
        Event::Due => match start() {
            Ok(child) => {
                slot.holds(child);
                say(&format!(
                    "{name} runs again, process id {}",
                    slot.pid().unwrap_or_default()
                ));
                true
            }
            Err(error) => {
                slot.plan();
                say(&format!("{name} cannot start, and is tried again: {error}"));
                false
            }
        },
    }
}

fn note(state: &State, home: &Home) {
    if let Err(error) = state.write(home) {
        say(&format!("the new process ids could not be noted: {error}"));
    }
}

/// Ends dead sessions and forgets what is over, in bounded steps.
async fn maintain(home: &Home) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(&postgres::connection(home, DATABASE)).await?;
    sqlx::query("select coord.maintain(1000)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

fn remove_state(home: &Home) -> Result<(), Error> {
    match std::fs::remove_file(home.state()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("remove", &home.state())
        }
        _ => Ok(()),
    }
}

/// What `coord down` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A running stack, which is stopped now.
    Running,
    /// Servers without their `coord up`, which are stopped now.
    Leftovers,
    /// Nothing.
    Nothing,
}

/// Stops the stack of this home, whoever started it, and waits for its end.
///
/// # Errors
/// It does not stop.
pub async fn down(home: &Home, progress: &Progress) -> Result<Stopped, Error> {
    use nix::sys::signal::Signal;
    if !home.lock().exists() {
        return Ok(Stopped::Nothing);
    }
    let until = Instant::now() + Duration::from_secs(90);
    let mut asked = false;
    loop {
        match lock::take(home)? {
            Taken::Ours(_lock) => {
                let api = postgrest::stop_leftover(home, progress).await;
                let database = postgres::stop_leftover(home, progress).await?;
                remove_state(home)?;
                home.remove_outside();
                return Ok(match (asked, api || database) {
                    (true, _) => Stopped::Running,
                    (false, true) => Stopped::Leftovers,
                    (false, false) => Stopped::Nothing,
                });
            }
            Taken::Theirs(holder) => {
                if let (Some(holder), false) = (holder.as_ref().filter(|p| p.alive()), asked) {
                    progress.step("stopping");
                    holder.signal(Signal::SIGTERM);
                    asked = true;
                }
                if Instant::now() > until {
                    return Err(Error::Home(format!(
                        "the `coord up` of {} (process id {}) does not stop; `kill -9` it, and `coord down` again ends its servers in order",
                        home.path().display(),
                        holder.map_or_else(|| "unknown".to_owned(), |p| p.pid.to_string())
                    )));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}
