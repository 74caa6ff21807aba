//! `coord github reconcile`: locks that were taken by git, and the coordinator's, become one.

use serde_json::Value;

use crate::commands::Error;
use crate::commands::arguments::Repo;
use crate::commands::in_line;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, list, styled, text};
use crate::exit::Exit;
use crate::gitlocks::{Locks, Who};
use crate::rpc::{Answer, Client};
use crate::settings::Global;

/// Arguments of `coord github reconcile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which remote [default: origin, else the first]
    #[arg(long, value_name = "REMOTE")]
    remote: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    repo: Repo,
}

/// Does it and says what became of one's locks: exit 1 where some were lost.
///
/// # Errors
/// The coordinator or the remote cannot be reached, or refuses.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    let locks = Locks::new(args.remote.as_deref(), Who::new(global, None)?)?;
    let repo = args.repo.args();
    let reconciled = locks.reconcile(&client, &repo, args.dry_run);
    let body = in_line::telling("bringing both together", reconciled).await?;
    Ok(show::told(&Answer { status: 200, body }, global.json, told))
}

fn told(body: &Value) -> String {
    let mut out = Vec::new();
    for lock in list(body, "taken") {
        let (path, fence) = (text(lock, "path"), text(lock, "fence"));
        let fence = styled(FAINT, format_args!("fence {fence}"));
        out.push(format!(
            "{} {} {fence}\n",
            styled(GOOD, "taken"),
            styled(NAME, path)
        ));
    }
    for lock in list(body, "lost") {
        let to = lock.get("to").unwrap_or(&Value::Null);
        out.push(format!(
            "{} {} (session {}): {} holds {}\n",
            styled(BAD, "lost"),
            styled(NAME, text(lock, "path")),
            text(lock, "session_id"),
            styled(NAME, text(to, "holder")),
            text(to, "path"),
        ));
    }
    for lock in list(body, "refused") {
        out.push(format!(
            "{} {}: {} {}\n",
            styled(BAD, "refused"),
            styled(NAME, text(lock, "path")),
            text(lock, "code"),
            text(lock, "details"),
        ));
    }
    for lock in list(body, "theirs") {
        out.push(format!(
            "{} {}, by git alone until {} brings it over\n",
            styled(NAME, text(lock, "holder")),
            text(lock, "path"),
            text(lock, "holder"),
        ));
    }
    out.push(format!(
        "{}: {} locks shown by git, {} cleared\n",
        text(body, "outcome"),
        list(body, "shown").len(),
        list(body, "cleared").len()
    ));
    out.concat()
}
