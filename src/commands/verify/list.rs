//! `coord verify list`: rows of the view `verifications`.

use serde_json::Value;

use super::status::state;
use crate::commands::Error;
use crate::commands::arguments::Repo;
use crate::commands::show::{self, FAINT, NAME, Style, span, text};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::stack::clock;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those that were verified, rejected or superseded
    #[arg(long)]
    all: bool,
    /// So many rows at most
    #[arg(long = "max", value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    most: u32,
    #[command(flatten)]
    repo: Repo,
}

pub async fn run(args: Args, client: &Client, as_json: bool) -> Result<Exit, Error> {
    let mut query = vec![
        ("order", "number.desc".to_owned()),
        ("limit", args.most.to_string()),
    ];
    // A read of the repository says how the coordinator writes it, or that it is not granted.
    let pending = client.call("work_pending", &args.repo.args()).await?;
    if let Some(repo) = pending.body.get("repo").and_then(Value::as_str) {
        query.push(("repo", format!("eq.{repo}")));
    }
    if !args.all {
        query.push(("state", "eq.pending".to_owned()));
    }
    let rows = client.read("verifications", &query).await?;
    if as_json {
        show::json(&rows);
        return Ok(Exit::Done);
    }
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        show::print("no changes\n");
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = rows.iter().map(row).collect();
    let names = [
        "change", "state", "tier", "author", "task", "age", "head", "branch", "",
    ];
    let plain = Style::new();
    let styles = [NAME, plain, FAINT, plain, NAME, FAINT, FAINT];
    show::print(&show::table(&names, &cells, &styles));
    Ok(Exit::Done)
}

fn row(change: &Value) -> Vec<String> {
    let age = clock::read(&text(change, "submitted_at"));
    let mut head = text(change, "head");
    head.truncate(12);
    vec![
        text(change, "changeset"),
        state(&text(change, "state")),
        text(change, "tier"),
        text(change, "author"),
        text(change, "task"),
        age.map_or_else(String::new, |at| span((clock::now() - at).max(0))),
        head,
        text(change, "branch"),
        text(change, "reason"),
    ]
}
