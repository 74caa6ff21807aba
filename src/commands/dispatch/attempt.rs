//! One attempt at a job: it is run while its lease is kept, and what came of it is reported.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::executors::Work;
use super::git;
use super::job::{Ended, Job, Verdict};
use super::voice::Voice;
use crate::rpc::{self, Client};

/// For a run to end that was told to.
const GRACE: Duration = Duration::from_secs(20);

/// Between tries to get through.
const PAUSE: Duration = Duration::from_secs(2);

/// A renewal that takes longer is tried again.
const PROMPT: Duration = Duration::from_secs(10);

/// Why nobody waits for a run any more.
enum Over {
    TimedOut,
    /// Somebody else has it, or it has ended: nothing is reported.
    Lost(String),
    Stopping,
}

/// What a dispatcher has to look after its attempts with.
pub struct Keeper {
    pub client: Client,
    pub lease_seconds: u64,
    /// The dispatcher is to end.
    pub stopping: CancellationToken,
    pub voice: Voice,
}

/// Runs a job that was taken at that moment, and reports.
pub async fn attend(keeper: Arc<Keeper>, work: Work, taken: Instant) {
    let work = Arc::new(work);
    let job = &work.job;
    keeper.voice.tell(job, "running", "");
    let mut lease = Lease {
        until: taken + Duration::from_secs(job.seconds_left),
    };
    let (ended, over) = run(&keeper, &work, taken, &mut lease).await;
    match verdict(job, ended, over) {
        Ok(ended) => {
            let seconds = taken.elapsed().as_secs();
            report(&keeper, job, &ended, seconds, lease.until).await;
        }
        Err(why) => keeper.voice.tell(job, "dropped", &why),
    }
    if let Some(run) = work.left.lock().await.take() {
        run.remove().await;
    }
}

/// What is reported, or why nothing is.
fn verdict(job: &Job, ended: Option<Ended>, over: Option<Over>) -> Result<Ended, String> {
    match over {
        Some(Over::Lost(why)) => Err(why),
        Some(Over::Stopping) => Ok(Ended::error("the dispatcher was stopped")),
        Some(Over::TimedOut) => {
            let mut late = ended.unwrap_or_else(|| Ended::error(""));
            late.verdict = Verdict::TimedOut;
            late.summary = format!(
                "it took longer than {} seconds: {}",
                job.timeout_seconds, late.summary
            );
            Ok(late)
        }
        None => Ok(ended.unwrap_or_else(|| Ended::error("the run ended without a word"))),
    }
}

struct Lease {
    /// Before that nobody else is given the job.
    until: Instant,
}

async fn run(
    keeper: &Arc<Keeper>,
    work: &Arc<Work>,
    taken: Instant,
    lease: &mut Lease,
) -> (Option<Ended>, Option<Over>) {
    let job = &work.job;
    let mut task = {
        let work = Arc::clone(work);
        // Beside this, so that no slow renewal holds it up.
        tokio::spawn(async move { perform(&work).await })
    };
    // Earlier than the database would say so itself: the run is ended and told of by then.
    let whole = Duration::from_secs(job.timeout_seconds);
    let late = taken + whole.saturating_sub((whole / 4).min(Duration::from_secs(10)));
    let third = Duration::from_secs((keeper.lease_seconds / 3).max(1));
    let mut renewal = interval_at(taken + third, third);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = loop {
        tokio::select! {
            ended = &mut task => return (ended.ok(), None),
            () = sleep_until(late) => break Over::TimedOut,
            () = keeper.stopping.cancelled() => break Over::Stopping,
            _ = renewal.tick() => if let Some(over) = renew(keeper, job, lease).await {
                break over;
            },
        }
    };
    work.stop.cancel();
    let ended = timeout(GRACE, &mut task).await;
    if ended.is_err() {
        task.abort();
    }
    (ended.ok().and_then(Result::ok), Some(over))
}

/// What a run is, wherever it runs: what really changed is what the checks were chosen by.
async fn perform(work: &Work) -> Ended {
    let base = match &work.repo.checkout {
        Some(dir) => match git::ground(dir, &work.repo, &work.job).await {
            Ok(base) => git::compare(dir, &base, &work.job).await.map(|()| base),
            Err(why) => Err(why),
        },
        None => Ok(work.job.base.clone()),
    };
    let base = match base {
        Ok(base) => base,
        Err(why) => return Ended::error(why),
    };
    match work.repo.executors.get(work.job.executor.as_str()) {
        Some(executor) => executor.run(work, &base).await,
        None => Ended::error(format!("{} is not configured here", work.job.executor)),
    }
}

fn call(job: &Job) -> Map<String, Value> {
    Map::from_iter([
        ("job".to_owned(), json!(job.id)),
        ("attempt".to_owned(), job.attempt.into()),
    ])
}

/// Keeps the lease; answers why it is lost.
async fn renew(keeper: &Keeper, job: &Job, lease: &mut Lease) -> Option<Over> {
    let mut args = call(job);
    args.insert("lease_seconds".to_owned(), keeper.lease_seconds.into());
    let asked = Instant::now();
    match keeper
        .client
        .call_once("renew_verification", &args, PROMPT)
        .await
    {
        Ok(answer) if answer.ok() => {
            let left = answer.body["seconds_left"].as_u64().unwrap_or_default();
            lease.until = asked + Duration::from_secs(left);
            None
        }
        // A limit, or a profile that changed: it is ours until the lease is over.
        Ok(answer)
            if answer.body["outcome"] == "denied" && lease.until > Instant::now() + PROMPT =>
        {
            None
        }
        Ok(answer) => {
            let body = &answer.body;
            let (state, by) = (body["state"].as_str(), body["reported_by"].as_str());
            let mut why = state.unwrap_or("no longer ours").to_owned();
            if let Some(by) = by {
                why = format!("{why}, as {by} reports");
            }
            Some(Over::Lost(why))
        }
        // Another dispatcher may take it from then on.
        Err(error) if lease.until < Instant::now() + PROMPT => Some(Over::Lost(format!(
            "its lease could not be renewed: {error}"
        ))),
        Err(error) => {
            keeper
                .voice
                .warn(&format!("{}: its lease is not renewed: {error}", job.id));
            None
        }
    }
}

/// Reports until the answer is there, or the lease over.
async fn report(keeper: &Keeper, job: &Job, ended: &Ended, seconds: u64, until: Instant) {
    let mut args = call(job);
    args.insert("status".to_owned(), ended.verdict.name().into());
    args.insert("evidence".to_owned(), ended.evidence(job, seconds));
    let key = uuid::Uuid::new_v4().to_string();
    let mut until = until;
    if keeper.stopping.is_cancelled() {
        until = until.min(Instant::now() + PROMPT);
    }
    loop {
        match keeper
            .client
            .call_with_key("report_verification", &args, &key)
            .await
        {
            Ok(answer) => {
                let body = &answer.body;
                let outcome = body["outcome"].as_str().unwrap_or_default();
                return match outcome {
                    "recorded" | "retrying" | "dead" => keeper.voice.ended(job, ended, body),
                    outcome => keeper.voice.tell(job, "dropped", outcome),
                };
            }
            // Evidence that is refused is no verdict; the job is given back, once.
            Err(rpc::Error::Problem(problem)) if problem.status < 500 => {
                keeper.voice.warn(&format!("{}: {problem}", job.id));
                if matches!(ended.verdict, Verdict::Passed | Verdict::Failed) {
                    let refused = Ended::error(format!("its evidence was refused: {problem}"));
                    return Box::pin(report(keeper, job, &refused, seconds, until)).await;
                }
                return;
            }
            Err(error) if Instant::now() + PAUSE > until => {
                keeper.voice.warn(&format!(
                    "{}: {} is not reported: {error}",
                    job.id,
                    ended.verdict.name()
                ));
                return;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
