//! `coord lock`: the lock functions with a terminal face.

use serde_json::{Map, Value, json};

use crate::commands::Error;
use crate::commands::arguments::{Repo, put, put_paths, seconds};
use crate::commands::in_line;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, left, list, next, rows, styled, text};
use crate::exit::Exit;
use crate::gitlocks::{self, Locks, Who};
use crate::rpc::{Answer, Client};
use crate::settings::{self, Global};
use crate::standby::{self, Standby};

/// Arguments of `coord lock`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Paths are those of files as you would type them here, or names like db:migrations. \
                  A directory stands for everything in it. With --via git you are whom your token names, \
                  else COORD_AGENT, else git's user.email; docs/github.md tells what is different."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lock files or directories, all or nothing; again to extend
    Acquire(Acquire),
    /// Release your locks; without paths, all that this session holds here
    Release(Paths),
    /// Show who holds what
    List(Paths),
    /// Check that you hold what you are about to commit
    Verify(Verify),
    /// Break locks of others; for operators
    Break(Break),
}

/// Where locks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    Api,
    // Binds those alone who do the same.
    Git,
}

#[derive(Debug, clap::Args)]
struct Way {
    /// By the coordinator or as refs of the git remote [default: api; git while the coordinator is away, if the profile says `when_down: git`]
    #[arg(long, value_enum, value_name = "WAY")]
    via: Option<Via>,
    /// With --via git: which remote [default: origin, else the first]
    #[arg(long, value_name = "REMOTE")]
    remote: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Acquire {
    /// What to lock: src/a.rs is a file, src/ a directory with all below it
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// exclusive, or shared: many may hold it, none exclusively [default: exclusive]
    #[arg(long)]
    mode: Option<String>,
    /// How long, in seconds or as 30m or 2h [default: 30m]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<i64>,
    /// Why, in a few words; others see it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// If somebody else holds it, wait in line for this long; Ctrl-C leaves the line
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    wait: Option<i64>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    repo: Repo,
}

#[derive(Debug, clap::Args)]
struct Paths {
    /// Which paths; all of them if none is named
    #[arg(value_name = "PATH")]
    named: Vec<String>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    repo: Repo,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// What must be held
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// The fences that acquire gave, one for each path, in their order
    #[arg(long = "fence", value_name = "N", num_args = 1..)]
    fences: Vec<i64>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    repo: Repo,
}

#[derive(Debug, clap::Args)]
struct Break {
    /// Whose locks to break
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Why: the holder and the audit will show it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    repo: Repo,
}

/// Makes the call and tells its answer.
///
/// # Errors
/// The coordinator cannot be reached, or refuses the arguments.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let (function, args, way, tell): (_, _, _, fn(&Value) -> String) = match args.what {
        What::Acquire(args) => {
            let mut call = args.repo.args();
            put_paths(&mut call, &args.paths)?;
            put(&mut call, "mode", args.mode);
            put(&mut call, "ttl_seconds", args.ttl);
            put(&mut call, "reason", args.reason);
            put(&mut call, "wait_seconds", args.wait);
            ("acquire_lock", call, Some(args.way), acquired)
        }
        What::Release(args) => {
            let (call, way) = args.call()?;
            ("release_lock", call, way, released)
        }
        What::List(args) => {
            let (call, way) = args.call()?;
            ("check_locks", call, way, listed)
        }
        What::Verify(args) => {
            let mut call = args.repo.args();
            put_paths(&mut call, &args.paths)?;
            if !args.fences.is_empty() {
                call.insert("fences".to_owned(), json!(args.fences));
            }
            ("verify_locks", call, Some(args.way), verified)
        }
        What::Break(args) => {
            let mut call = args.repo.args();
            put_paths(&mut call, &args.paths)?;
            put(&mut call, "reason", Some(args.reason));
            ("force_release_lock", call, None, broken)
        }
    };
    if let Some(way) = way.as_ref().filter(|way| way.via == Some(Via::Git)) {
        let body = by_git(way, global, function, &args).await?;
        return Ok(show::told(&Answer { status: 200, body }, global.json, tell));
    }
    let asked = async {
        let client = Client::new(global.target()?)?;
        let answer = client.call(function, &args).await?;
        Ok::<_, Error>((client, answer))
    };
    let (client, answer) = match asked.await {
        Ok(answered) => answered,
        Err(error) => {
            // Whoever says how they want it does not want the other way.
            let may = way.is_some_and(|way| way.via.is_none()) && is_away(&error);
            let stood_in = if may {
                standby::answer(global, None, function, &args).await
            } else {
                None
            };
            let Some(answer) = stood_in else {
                return Err(error);
            };
            anstream::eprintln!("coord: {error}; so this is by git alone, as your profile says");
            let body = answer?;
            return Ok(show::told(&Answer { status: 200, body }, global.json, tell));
        }
    };
    let answer = in_line::wait(&client, function, &args, answer, place).await?;
    let exit = show::told(&answer, global.json, tell);
    if way.is_some() {
        Standby::new(global).keep(&client).await;
    }
    Ok(exit)
}

/// Locks as refs of a remote.
async fn by_git(
    way: &Way,
    global: &Global,
    function: &str,
    args: &Map<String, Value>,
) -> Result<Value, Error> {
    if !gitlocks::speaks_of(args.get("repo").and_then(Value::as_str)) {
        return Err(Error::Usage(
            "git locks the repository of the checkout here; go there, or leave --repo out"
                .to_owned(),
        ));
    }
    let locks = Locks::new(way.remote.as_deref(), Who::new(global, None)?)?;
    let answer = in_line::telling("asking the git remote", locks.answer(function, args));
    Ok(answer.await?)
}

/// Whether nobody answered, as opposed to somebody who said no.
fn is_away(error: &Error) -> bool {
    match error {
        Error::Rpc(error) => standby::is_away(error),
        Error::Settings(settings::Error::NoStack(_)) => true,
        _ => false,
    }
}

/// Where one stands in line, and behind whom.
pub fn place(body: &Value) -> String {
    let position = text(body, "position");
    match list(body, "blockers").first() {
        Some(first) if first.get("waiting").is_some() => format!(
            "number {position} in line, behind {} (waiting for {})",
            text(first, "holder"),
            text(first, "held_path")
        ),
        Some(first) => format!(
            "number {position} in line; {} holds {} (for up to {} more{})",
            text(first, "holder"),
            text(first, "held_path"),
            left(first),
            because(first)
        ),
        None => format!("number {position} in line"),
    }
}

impl Paths {
    fn call(self) -> Result<(Map<String, Value>, Option<Way>), Error> {
        let mut call = self.repo.args();
        if !self.named.is_empty() {
            put_paths(&mut call, &self.named)?;
        }
        Ok((call, Some(self.way)))
    }
}

/// Why locks were not taken.
pub fn refused(body: &Value) -> String {
    match body.get("outcome") {
        Some(outcome) if outcome == "denied" => show::denial(body),
        _ => acquired(body),
    }
}

fn acquired(body: &Value) -> String {
    if body.get("ok") == Some(&Value::Bool(true)) {
        let rows = rows(body, "locks", |lock| {
            vec![
                text(lock, "path"),
                text(lock, "mode"),
                text(lock, "fence"),
                left(lock),
            ]
        });
        return format!(
            "{}{}\n{}{}",
            styled(GOOD, text(body, "outcome")),
            via(body),
            show::table(&["path", "mode", "fence", "left"], &rows, &[NAME]),
            next(body)
        );
    }
    let mut out = vec![format!(
        "{}{}, so nothing was locked
",
        styled(BAD, text(body, "outcome")),
        via(body)
    )];
    for blocker in list(body, "blockers") {
        let held = text(blocker, "held_path");
        let how = match blocker.get("waiting") {
            Some(_) => format!("waits for {held}"),
            None => format!("holds {held} for up to {} more", left(blocker)),
        };
        out.push(format!(
            "  {}: {} {how} ({}, session {}){}\n",
            styled(NAME, text(blocker, "path")),
            styled(NAME, text(blocker, "holder")),
            text(blocker, "agent_type"),
            text(blocker, "session_id"),
            because(blocker),
        ));
    }
    for step in list(body, "cycle") {
        out.push(match step.get("elsewhere") {
            Some(_) => "  then through a repository that is not granted to you\n".to_owned(),
            None => format!(
                "  {} (session {}) waits for {}, which is {}'s\n",
                styled(NAME, text(step, "waiter")),
                text(step, "session_id"),
                text(step, "path"),
                styled(NAME, text(step, "holder")),
            ),
        });
    }
    out.push(next(body));
    out.concat()
}

fn released(body: &Value) -> String {
    let mut out = Vec::new();
    let freed = list(body, "released");
    for lock in freed {
        out.push(format!(
            "{}{} {} {}\n",
            styled(GOOD, "released"),
            via(body),
            styled(NAME, text(lock, "path")),
            styled(FAINT, format_args!("fence {}", text(lock, "fence")))
        ));
    }
    for ticket in list(body, "cancelled") {
        let ticket = ticket.as_str().unwrap_or_default();
        out.push(format!("left the line ({})\n", show::harmless(ticket)));
    }
    if out.is_empty() && list(body, "not_held").is_empty() {
        out.push("this session held nothing here\n".to_owned());
    }
    for path in list(body, "not_held") {
        let holder = match path.get("holder") {
            Some(_) => format!(
                "; {} holds it (session {})",
                styled(NAME, text(path, "holder")),
                text(path, "session_id")
            ),
            None => String::new(),
        };
        out.push(format!(
            "{} {} by this session{holder}\n",
            styled(NAME, text(path, "path")),
            styled(BAD, "is not held"),
        ));
    }
    out.push(next(body));
    out.concat()
}

/// Locks of one repo, or of every granted one with a column that tells them apart.
fn listed(body: &Value) -> String {
    let repo = body.get("repo").and_then(Value::as_str);
    let mut rows = rows(body, "locks", |lock| {
        vec![
            text(lock, "repo"),
            text(lock, "path"),
            text(lock, "mode"),
            text(lock, "holder"),
            text(lock, "agent_type"),
            text(lock, "session_id"),
            left(lock),
            match text(lock, "waiters").as_str() {
                "0" => String::new(),
                waiters => waiters.to_owned(),
            },
            text(lock, "fence"),
            text(lock, "reason"),
        ]
    });
    let place = repo.map_or(String::new(), |repo| format!(" in {repo}"));
    let place = format!("{place}{}", via(body));
    if rows.is_empty() {
        return format!("no locks{place}\n");
    }
    let mut names = vec![
        "repo", "path", "mode", "holder", "type", "session", "left", "waiting", "fence", "reason",
    ];
    let mut styles = vec![FAINT, NAME, FAINT, GOOD, FAINT, FAINT];
    // Git speaks of one, whatever it is called.
    if repo.is_some() || body.get("via").is_some() {
        names.remove(0);
        styles.remove(0);
        for row in &mut rows {
            row.remove(0);
        }
    }
    let mut out = vec![show::table(&names, &rows, &styles)];
    let total = body.get("total").and_then(Value::as_u64);
    if total.is_some_and(|total| total > rows.len() as u64) {
        out.push(format!(
            "the newest {} of {}{place}\n",
            rows.len(),
            text(body, "total")
        ));
    }
    out.concat()
}

fn verified(body: &Value) -> String {
    let problems = list(body, "problems");
    if problems.is_empty() {
        return format!(
            "{}{}: all of it is locked by you\n",
            styled(GOOD, text(body, "outcome")),
            via(body)
        );
    }
    let mut out = vec![format!(
        "{}{}\n",
        styled(BAD, text(body, "outcome")),
        via(body)
    )];
    for problem in problems {
        let what = match problem.get("problem").and_then(Value::as_str) {
            Some("held_by_other") => {
                format!("is held by {}", styled(NAME, text(problem, "holder")))
            }
            Some("not_held") => "is not locked".to_owned(),
            Some("stale_fence") => format!(
                "has a newer fence: {} instead of {}",
                text(problem, "newest_fence"),
                text(problem, "fence")
            ),
            _ => text(problem, "problem"),
        };
        out.push(format!(
            "  {} {what}\n",
            styled(NAME, text(problem, "path"))
        ));
    }
    out.push(next(body));
    out.concat()
}

fn broken(body: &Value) -> String {
    let freed = list(body, "released");
    if freed.is_empty() {
        return "nobody held any of these\n".to_owned();
    }
    let line = |lock: &Value| {
        format!(
            "{} {}, held by {} (session {}), fence {}\n",
            styled(GOOD, "broken"),
            styled(NAME, text(lock, "path")),
            styled(NAME, text(lock, "holder")),
            text(lock, "session_id"),
            text(lock, "fence")
        )
    };
    freed.iter().map(line).collect()
}

/// Says where it is that these locks are, if not in the coordinator.
fn via(body: &Value) -> String {
    match text(body, "via") {
        via if via.is_empty() => via,
        via => format!(" by {via} ({})", text(body, "remote")),
    }
}

fn because(blocker: &Value) -> String {
    match text(blocker, "reason") {
        reason if reason.is_empty() => String::new(),
        reason => format!(": {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_holds_what_why_and_for_how_long() {
        let body = json!({"ok": false, "outcome": "held", "next": "Ask again.", "blockers": [{
            "path": "src/a.rs", "held_path": "src/", "holder": "agent-a", "agent_type": "cli",
            "session_id": "s1", "seconds_left": 1799, "reason": "big\nmove"}]});
        let told = acquired(&body);
        assert_eq!(
            anstream::adapter::strip_str(&told).to_string(),
            "held, so nothing was locked\n  src/a.rs: agent-a holds src/ for up to 29m 59s more \
             (cli, session s1): big move\nnext: Ask again.\n"
        );
    }
}
