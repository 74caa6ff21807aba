//! `coord dispatch`: takes verification jobs, runs them, reports what came of it.

mod attempt;
mod config;
mod executors;
mod git;
mod job;
mod process;
mod scratch;
mod secret;
mod voice;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use attempt::Keeper;
use config::{Config, Repo};
use executors::Work;
use job::Job;
use scratch::Scratch;
use voice::Voice;

use crate::commands::{Error, arguments, show};
use crate::exit::Exit;
use crate::rpc::{self, Client};
use crate::settings::Global;
use crate::signals;

/// What only waits here for a run elsewhere costs little.
const ELSEWHERE: usize = 50;

/// Between two looks at an empty queue.
const PAUSE: Duration = Duration::from_secs(5);

/// Arguments of `coord dispatch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its token is that of an agent of trust 3 or more who is granted the repositories; nobody runs the checks of \
                  their own change. What is manual is not dispatched: `coord verify list` shows it, and operators and agents of trust 4 \
                  decide it.\n\nSIGTERM or Ctrl-C ends what runs and gives it back.\n\ndocs/verification.md tells what the configuration says."
)]
pub struct Args {
    /// What to run, and where
    #[arg(long, value_name = "FILE", default_value = "dispatch.yaml")]
    config: PathBuf,
    /// Take what is ready, and end when nothing is
    #[arg(long)]
    once: bool,
    /// Only these of the configured executors, as inline,local
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    executors: Vec<String>,
    /// Only these of the configured repositories
    #[arg(long = "repo", value_name = "REPO", value_delimiter = ',')]
    repos: Vec<String>,
    /// So many at once on this machine
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// How soon another takes the jobs of a dispatcher that was killed; 60s at least
    #[arg(long, value_name = "TIME", value_parser = arguments::seconds, default_value = "2m")]
    lease: i64,
}

/// Runs jobs until it is told to stop.
///
/// # Errors
/// The configuration is wrong, or the coordinator cannot be reached at first or refuses.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let stop = signals::stop();
    if let Some(name) = args
        .executors
        .iter()
        .find(|name| !executors::ALL.iter().any(|(known, _)| known == name))
    {
        let known: Vec<_> = executors::ALL.iter().map(|(known, _)| *known).collect();
        let known = known.join(", ");
        return Err(Error::Usage(format!(
            "{name} is no executor; there are: {known}"
        )));
    }
    let mut config = Config::read(&args.config, &args.executors)?;
    if let Some(name) = args
        .repos
        .iter()
        .find(|name| !config.repos.iter().any(|repo| repo.name == **name))
    {
        let file = args.config.display();
        return Err(Error::Usage(format!("{name} is not in {file}")));
    }
    if !args.repos.is_empty() {
        config.repos.retain(|repo| args.repos.contains(&repo.name));
    }
    let dir = config
        .scratch
        .take()
        .unwrap_or_else(|| global.home_dir().join("dispatch"));
    let scratch = Scratch::open(&dir).map_err(|error| Error::Write(dir.clone(), error))?;
    let voice = Voice { json: global.json };
    match scratch.clean().await {
        Ok(0) => {}
        Ok(count) => voice.warn(&format!(
            "removed what {count} runs left whose dispatcher was killed"
        )),
        Err(error) => return Err(Error::Write(dir, error)),
    }
    let stopping = CancellationToken::new();
    let mut dispatcher = Dispatcher {
        keeper: Arc::new(Keeper {
            client: Client::new(global.target()?)?,
            lease_seconds: u64::try_from(args.lease).unwrap_or_default(),
            stopping: stopping.clone(),
            voice,
        }),
        repos: config.repos.into_iter().map(Arc::new).collect(),
        scratch: Arc::new(scratch),
        log_url: config.log_url,
        jobs: usize::from(args.jobs),
        running: JoinSet::new(),
        here: 0,
        once: args.once,
        reached: false,
    };
    // A job that was just taken is not forgotten when the signal comes.
    tokio::spawn(async move {
        stop.await;
        stopping.cancel();
    });
    let ended = dispatcher.work().await;
    dispatcher.keeper.stopping.cancel();
    while dispatcher.running.join_next().await.is_some() {}
    ended
}

struct Dispatcher {
    keeper: Arc<Keeper>,
    repos: Vec<Arc<Repo>>,
    scratch: Arc<Scratch>,
    log_url: Option<String>,
    jobs: usize,
    /// Each says at its end whether it was one of this machine.
    running: JoinSet<bool>,
    here: usize,
    once: bool,
    /// Whether the coordinator ever answered.
    reached: bool,
}

impl Dispatcher {
    async fn work(&mut self) -> Result<Exit, Error> {
        let stopping = self.keeper.stopping.clone();
        while !stopping.is_cancelled() {
            let mut took = false;
            for repo in self.repos.clone() {
                match self.take(&repo).await {
                    Ok(Taken::Job(job, at)) => {
                        took = true;
                        self.start(&repo, *job, at);
                    }
                    Ok(Taken::Nothing) => {}
                    Ok(Taken::Refused(answer)) => {
                        anstream::eprint!("{}", show::answer(&answer));
                        return Ok(Exit::Refused);
                    }
                    Err(error) if self.reached && error.passes() => {
                        self.keeper.voice.warn(&error.to_string());
                    }
                    Err(error) => return Err(error.into()),
                }
                if stopping.is_cancelled() {
                    break;
                }
            }
            if took {
                continue;
            }
            if self.once && self.running.is_empty() {
                break;
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                Some(ended) = self.running.join_next() => {
                    self.here -= usize::from(ended.unwrap_or(false));
                }
                // Not all dispatchers at once.
                () = sleep(PAUSE.mul_f32(0.75 + fastrand::f32() / 2.0)) => {}
            }
        }
        Ok(Exit::Done)
    }

    async fn take(&mut self, repo: &Repo) -> Result<Taken, rpc::Error> {
        let elsewhere = self.running.len().saturating_sub(self.here);
        let executors = repo.takes(self.here < self.jobs, elsewhere < ELSEWHERE);
        if executors.is_empty() {
            return Ok(Taken::Nothing);
        }
        let args = Map::from_iter([
            ("executors".to_owned(), Value::from(executors)),
            ("lease_seconds".to_owned(), self.keeper.lease_seconds.into()),
            ("repo".to_owned(), repo.name.as_str().into()),
        ]);
        let at = Instant::now();
        let answer = self.keeper.client.call("take_verification", &args).await?;
        self.reached = true;
        match answer.body["outcome"].as_str() {
            Some("taken") => match Job::deserialize(&answer.body) {
                Ok(job) => Ok(Taken::Job(Box::new(job), at)),
                Err(error) => {
                    // Its lease runs out; nothing that is known can be reported of it.
                    let why = format!("the coordinator's answer is not understood: {error}");
                    self.keeper.voice.warn(&why);
                    Ok(Taken::Nothing)
                }
            },
            Some("none") => Ok(Taken::Nothing),
            _ => Ok(Taken::Refused(answer.body)),
        }
    }

    fn start(&mut self, repo: &Arc<Repo>, job: Job, at: Instant) {
        let executor = repo.executors.get(job.executor.as_str());
        let here = executor.is_some_and(|it| it.here());
        self.here += usize::from(here);
        let work = Work {
            job,
            repo: Arc::clone(repo),
            scratch: Arc::clone(&self.scratch),
            log_url: self.log_url.clone(),
            stop: CancellationToken::new(),
            left: Mutex::default(),
        };
        let keeper = Arc::clone(&self.keeper);
        self.running.spawn(async move {
            attempt::attend(keeper, work, at).await;
            here
        });
    }
}

enum Taken {
    Job(Box<Job>, Instant),
    Nothing,
    Refused(Value),
}
