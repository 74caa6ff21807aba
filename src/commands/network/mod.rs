//! `coord network`: hosts and the policies about them. The coordinator decides; this asks,
//! shows, and writes a policy the way others' proxies read it.

mod export;

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, WARN, styled, text};
use crate::commands::spoken::spoken;
use crate::exit::Exit;
use crate::rpc::Client;
use crate::settings::Global;
use export::{Format, Policy};

/// Arguments of `coord network`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Ask whether a host may be reached; exits 1 if not
    Check {
        /// A host name, an address, or a URL that leads there
        domain: String,
    },
    /// Write a policy as the allowlist of whoever enforces it
    Export(Export),
    /// Show what was asked, the latest first
    Log(Log),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What the format cannot say is left out, so that nothing is open that the policy closes, \
                  and named on standard error."
)]
struct Export {
    /// Who enforces it
    #[arg(long = "for", value_enum, value_name = "WHO")]
    format: Format,
    /// The policy [default: that of your own profile]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Exit 1 if anything had to be left out
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, clap::Args)]
struct Log {
    /// So many rows at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    max: u32,
    /// Only what was denied
    #[arg(long)]
    denied: bool,
}

/// Does it.
///
/// # Errors
/// The coordinator cannot be reached, or refuses the arguments.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let client = Client::new(global.target()?)?;
    match args.what {
        What::Check { domain } => check(&client, &domain, global.json).await,
        What::Export(args) => args.run(&client, global.json).await,
        What::Log(args) => args.run(&client, global.json).await,
    }
}

async fn check(client: &Client, domain: &str, as_json: bool) -> Result<Exit, Error> {
    let call = Map::from_iter([("domain".to_owned(), json!(domain))]);
    let answer = client.call("check_network", &call).await?.body;
    let allowed = allowed(&answer);
    if as_json {
        show::json(&answer);
    } else {
        show::print(&format!(
            "{} {}: {}\n",
            styled(if allowed { GOOD } else { BAD }, text(&answer, "decision")),
            styled(NAME, text(&answer, "host")),
            spoken(&text(&answer, "next")),
        ));
    }
    Ok(if allowed { Exit::Done } else { Exit::Refused })
}

impl Export {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let policy = self.policy.map(|name| ("policy".to_owned(), json!(name)));
        let answer = client
            .call("network_rules", &Map::from_iter(policy))
            .await?;
        let policy = Policy::read(&answer.body);
        let format = if as_json { Format::Json } else { self.format };
        let exported = export::export(&policy, format);
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(exported.text.as_bytes());
        for note in &exported.left_out {
            anstream::eprintln!("{} {}", styled(WARN, "left out:"), show::harmless(note));
        }
        Ok(if self.strict && !exported.left_out.is_empty() {
            Exit::Refused
        } else {
            Exit::Done
        })
    }
}

impl Log {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut query = vec![
            ("order", "last_at.desc".to_owned()),
            ("limit", self.max.to_string()),
        ];
        if self.denied {
            query.push(("allowed", "is.false".to_owned()));
        }
        let rows = client.read("network_log", &query).await?;
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        if as_json {
            show::json(&json!(rows));
            return Ok(Exit::Done);
        }
        if rows.is_empty() {
            show::print("nothing was asked in the last 30 days\n");
            return Ok(Exit::Done);
        }
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let names = [
            "last", "agent", "decision", "host", "times", "policy", "rule",
        ];
        show::print(&show::table(&names, &cells, &[FAINT, NAME]));
        Ok(Exit::Done)
    }
}

fn allowed(answer: &Value) -> bool {
    answer.get("allowed") == Some(&json!(true))
}

fn cells(row: &Value) -> Vec<String> {
    let mut last = text(row, "last_at");
    last.truncate("2026-11-22T10:00:00".len());
    vec![
        last,
        text(row, "agent"),
        if allowed(row) { "allow" } else { "deny" }.to_owned(),
        text(row, "host"),
        text(row, "checks"),
        text(row, "policy"),
        text(row, "rule"),
    ]
}
