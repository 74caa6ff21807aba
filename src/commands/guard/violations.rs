//! `coord guard violations`: what rules found.

use serde_json::{Value, json};

use crate::commands::Error;
use crate::commands::audit::time;
use crate::commands::show::{self, FAINT, NAME, text};
use crate::exit::Exit;
use crate::rpc::Client;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this principal
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only of this rule
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Only since then: 30m, 2h or 7d ago, or a time
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    /// So many rows at most
    #[arg(long = "max", value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1000))]
    most: u32,
}

impl Args {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut query = vec![
            ("order", "id.desc".to_owned()),
            ("limit", self.most.to_string()),
        ];
        query.extend(self.agent.map(|it| ("agent", format!("eq.{it}"))));
        query.extend(self.rule.map(|it| ("rule", format!("eq.{it}"))));
        query.extend(self.since.map(|it| ("at", format!("gte.{it}"))));
        let rows = client.read("guardrail_violations", &query).await?;
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        if as_json {
            show::json(&json!(rows));
        } else if rows.is_empty() {
            show::print("nothing was found\n");
        } else {
            let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
            let names = ["at", "agent", "decision", "severity", "rule", "matched"];
            show::print(&show::table(&names, &cells, &[FAINT, NAME]));
        }
        Ok(Exit::Done)
    }
}

fn cells(row: &Value) -> Vec<String> {
    let mut at = text(row, "at");
    at.truncate("2026-11-22T10:00:00".len());
    let mut cells = vec![at];
    let names = ["agent", "decision", "severity", "rule", "matched"];
    cells.extend(names.map(|name| text(row, name)));
    cells
}
