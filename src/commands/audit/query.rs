//! `coord audit query`: rows of the view, filtered.

use serde_json::Value;

use super::{rows, time};
use crate::commands::Error;
use crate::commands::show::{self, BAD, FAINT, NAME};
use crate::exit::Exit;
use crate::rpc::Client;

/// Rows of one page: no server is asked for more at once.
const PAGE: usize = 1000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this principal's
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only calls of this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Only with this outcome, as `denied`
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only about this repository, as host/owner/name
    #[arg(long, value_name = "REPO")]
    repo: Option<String>,
    /// Only since then: 30m, 2h or 7d ago, or a time
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<String>,
    /// At most so many rows
    #[arg(long = "max", value_name = "N", default_value_t = 50)]
    most: usize,
}

pub async fn run(args: &Args, client: &Client, json: bool) -> Result<Exit, Error> {
    let mut filters = vec![("order", "at.desc,id.desc".to_owned())];
    for (column, value) in [
        ("agent", &args.agent),
        ("function", &args.function),
        ("outcome", &args.outcome),
        ("repo", &args.repo),
    ] {
        filters.extend(value.iter().map(|value| (column, format!("eq.{value}"))));
    }
    filters.extend(args.since.iter().map(|at| ("at", format!("gte.{at}"))));
    filters.extend(args.until.iter().map(|at| ("at", format!("lt.{at}"))));

    let mut found: Vec<Value> = Vec::new();
    while found.len() < args.most {
        let size = PAGE.min(args.most - found.len());
        let mut page = filters.clone();
        page.push(("limit", size.to_string()));
        if let Some(last) = found.last() {
            // Behind the last row: new ones move no page.
            let (at, id) = (last["at"].as_str().unwrap_or_default(), &last["id"]);
            page.push((
                "or",
                format!("(at.lt.\"{at}\",and(at.eq.\"{at}\",id.lt.{id}))"),
            ));
        }
        let page = rows(client.read("audit", &page).await?)?;
        let whole = page.len() == size;
        found.extend(page);
        if !whole {
            break;
        }
    }
    if json {
        show::json(&Value::Array(found));
    } else if found.is_empty() {
        show::print("nothing\n");
    } else {
        show::print(&table(&found));
    }
    Ok(Exit::Done)
}

/// Rows as lines, with what matters most.
pub fn table(rows: &[Value]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    show::table(&HEADINGS, &cells, &[FAINT, NAME])
}

const HEADINGS: [&str; 6] = ["at", "agent", "function", "outcome", "repo", "reason"];

fn cells(row: &Value) -> Vec<String> {
    let text = |name: &str| match &row[name] {
        Value::String(text) => show::harmless(text).replace('\n', " "),
        _ => "-".to_owned(),
    };
    let mut at = text("at");
    at.truncate(19);
    vec![
        at,
        text("agent"),
        text("function"),
        text("outcome"),
        text("repo"),
        text("reason"),
    ]
}

/// A row on a line of its own.
pub fn line(row: &Value) -> String {
    let cells = cells(row);
    let outcome = if cells[3] == "denied" {
        show::styled(BAD, &cells[3])
    } else {
        cells[3].clone()
    };
    format!(
        "{}  {}  {} {outcome}  {}  {}\n",
        show::styled(FAINT, &cells[0]),
        show::styled(NAME, &cells[1]),
        cells[2],
        cells[4],
        cells[5]
    )
}
