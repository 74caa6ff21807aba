//! `coord approvals`: what agents asked others to allow.

use serde_json::{Map, Value, json};

use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, Style, WARN, styled, text};
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;

/// Arguments of `coord approvals`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nobody decides what they asked for themselves; operators and agents of trust 4 decide."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List requests, the newest first: those that are open, or all of them
    List(List),
    /// Show one request with all that it is about
    Show(Which),
    /// Let it be done, once, within half an hour
    Approve(Decide),
    /// Do not let it be done
    Reject(Decide),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Also those that were decided or expired
    #[arg(long)]
    all: bool,
    /// So many rows at most
    #[arg(long = "max", value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    most: u32,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// As A-17
    id: String,
}

#[derive(Debug, clap::Args)]
struct Decide {
    /// As A-17
    id: String,
    /// Why, for who asked
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached, or refuses the arguments.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    match args.what {
        What::List(args) => args.run(&client, global.json).await,
        What::Show(Which { id }) => {
            let call = Map::from_iter([("id".to_owned(), json!(id))]);
            let answer = client.call("get_approval", &call).await?.body;
            if global.json {
                show::json(&answer);
            } else {
                show::print(&show::answer(&answer));
            }
            Ok(Exit::Done)
        }
        What::Approve(args) => args.run(&client, true, global.json).await,
        What::Reject(args) => args.run(&client, false, global.json).await,
    }
}

impl List {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut query = vec![
            ("order", "number.desc".to_owned()),
            ("limit", self.most.to_string()),
        ];
        if !self.all {
            query.push(("state", "eq.open".to_owned()));
        }
        let rows = client.read("approvals", &query).await?;
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        if as_json {
            show::json(&json!(rows));
        } else if rows.is_empty() {
            show::print("nothing waits for a decision\n");
        } else {
            let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
            let names = [
                "id",
                "state",
                "agent",
                "until",
                "operation",
                "what",
                "reason",
            ];
            show::print(&show::table(&names, &cells, &[NAME, WARN, NAME, FAINT]));
        }
        Ok(Exit::Done)
    }
}

impl Decide {
    async fn run(self, client: &Client, approve: bool, as_json: bool) -> Result<Exit, Error> {
        let mut call = Map::new();
        call.insert("id".to_owned(), json!(self.id));
        call.insert("approve".to_owned(), approve.into());
        call.extend(self.note.map(|note| ("note".to_owned(), note.into())));
        let answer = client.call("decide_approval", &call).await?;
        if as_json {
            show::json(&answer.body);
        } else if answer.ok() {
            let approval = &answer.body["approval"];
            let outcome = text(&answer.body, "outcome");
            show::print(&format!(
                "{} {} of {}: {}\n",
                styled(style(&outcome), &outcome),
                styled(NAME, text(approval, "id")),
                styled(NAME, text(approval, "agent")),
                what(approval),
            ));
        } else {
            anstream::eprint!("{}", show::answer(&answer.body));
        }
        Ok(if answer.ok() {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}

fn style(outcome: &str) -> Style {
    if outcome == "approved" { GOOD } else { BAD }
}

fn cells(row: &Value) -> Vec<String> {
    let mut until = text(row, "expires_at");
    until.truncate("2026-11-22T10:00".len());
    vec![
        text(row, "id"),
        text(row, "state"),
        text(row, "agent"),
        until,
        text(row, "operation"),
        what(row),
        text(row, "reason"),
    ]
}

/// A command as it was typed; anything else as it is.
fn what(approval: &Value) -> String {
    let resource = &approval["resource"];
    match resource.get("command") {
        Some(Value::String(_)) => text(resource, "command"),
        _ => show::harmless(&resource.to_string()),
    }
}
