//! `coord verify submit`: a change as git knows it.

use serde_json::Value;

use super::status;
use crate::commands::Error;
use crate::commands::arguments::{Repo, put};
use crate::commands::show;
use crate::exit::Exit;
use crate::git;
use crate::rpc::Client;
use crate::settings::Global;

/// With more, all policies match; no list is needed for that.
const PATHS: usize = 5000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit that the change begins after [default: where it left the default branch of origin]
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Its last commit
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    head: String,
    /// Its branch [default: the one that is checked out, if that is the head]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The task it was made for [default: T-17 of a branch agent/NAME/T-17]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Whose change it is; for operators [default: yours]
    #[arg(long, value_name = "AGENT")]
    author: Option<String>,
    #[command(flatten)]
    repo: Repo,
}

pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let head = commit(&args.head)?;
    let base = match &args.base {
        Some(base) => commit(base)?,
        None => left_at(&head)?,
    };
    let branch = args.branch.or_else(|| checked_out(&head));
    let task = args.task.or_else(|| task_of(branch.as_deref()?));
    let (paths, lines) = changed(&base, &head)?;
    let mut call = args.repo.args();
    put(&mut call, "files", Some(paths.len()));
    if paths.len() <= PATHS {
        call.insert("changed_paths".to_owned(), paths.into());
    }
    let committed = git::text(&["show", "-s", "--format=%cI", &head]);
    put(&mut call, "head_committed_at", committed);
    put(&mut call, "base", Some(base));
    put(&mut call, "head", Some(head));
    put(&mut call, "lines", lines);
    put(&mut call, "branch", branch);
    put(&mut call, "task", task);
    let function = if args.author.is_some() {
        "submit_changeset_for"
    } else {
        "submit_changeset"
    };
    put(&mut call, "author", args.author);
    let answer = Client::new(global.target()?)?.call(function, &call).await?;
    Ok(show::told(&answer, global.json, told))
}

fn told(body: &Value) -> String {
    format!(
        "{} {}{}",
        show::styled(show::GOOD, show::text(body, "outcome")),
        status::shown(body),
        show::next(body)
    )
}

fn commit(name: &str) -> Result<String, Error> {
    let wanted = format!("{name}^{{commit}}");
    git::text(&[
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &wanted,
    ])
    .ok_or_else(|| Error::Usage(format!("{name} is no commit of the repository here")))
}

/// Where the change left the line that it is to be merged into.
fn left_at(head: &str) -> Result<String, Error> {
    [
        "origin/HEAD",
        "origin/main",
        "origin/master",
        "main",
        "master",
    ]
    .iter()
    .find_map(|name| git::text(&["merge-base", name, head]))
    .filter(|base| base != head)
    .ok_or_else(|| {
        Error::Usage("it is not plain what the change begins after; say it by --base".to_owned())
    })
}

fn checked_out(head: &str) -> Option<String> {
    let branch = git::text(&["symbolic-ref", "--quiet", "--short", "HEAD"])?;
    (git::text(&["rev-parse", "HEAD"]).as_deref() == Some(head)).then_some(branch)
}

fn task_of(branch: &str) -> Option<String> {
    let name = branch.strip_prefix("agent/")?.split_once('/')?.1;
    let digits = name.strip_prefix("T-")?;
    digits.parse::<u64>().ok().map(|_| name.to_owned())
}

/// The paths, a renamed file under both its names, and how many lines; those of a binary
/// file are not known.
fn changed(base: &str, head: &str) -> Result<(Vec<String>, Option<usize>), Error> {
    let args = [
        "diff-tree",
        "-r",
        "-z",
        "--numstat",
        "--no-renames",
        base,
        head,
    ];
    let told = git::run(&args).map_err(|error| Error::Usage(error.to_string()))?;
    let mut paths = Vec::new();
    let mut lines = Some(0);
    for row in git::parts(&told) {
        let row = String::from_utf8_lossy(row);
        let mut cells = row.splitn(3, '\t');
        let counts = [cells.next(), cells.next()].map(|it| it?.parse::<usize>().ok());
        lines = match (lines, counts) {
            (Some(lines), [Some(added), Some(removed)]) => Some(lines + added + removed),
            _ => None,
        };
        paths.extend(cells.next().map(str::to_owned));
    }
    if paths.is_empty() {
        return Err(Error::Usage(format!(
            "nothing changed between {base} and {head}"
        )));
    }
    Ok((paths, lines))
}

#[cfg(test)]
mod tests {
    use super::task_of;

    #[test]
    fn a_branch_tells_its_task() {
        assert_eq!(task_of("agent/ann/T-17").as_deref(), Some("T-17"));
        for other in ["agent/ann/x", "agent/T-17", "main", "agent/ann/T-x"] {
            assert_eq!(task_of(other), None);
        }
    }
}
