//! `coord audit verify`: the proof, recomputed from an export or from what the coordinator answers.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::export::{self, Range, Telling};
use super::proof::{Anchor, Report, Row, Seal, Verifier};
use crate::commands::Error;
use crate::commands::show::{self, BAD, GOOD, NAME, styled};
use crate::exit::Exit;
use crate::rpc::{self, Client};
use crate::settings::Global;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `coord audit export` wrote, or - for standard input; without it, the coordinator is asked
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Heads kept elsewhere, by `coord audit anchor`: the chain must still contain them
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
}

pub async fn run(args: &Args, global: &Global) -> Result<Exit, Error> {
    let anchors = match &args.anchor {
        Some(path) => anchors(path)?,
        None => Vec::new(),
    };
    let report = match &args.file {
        Some(path) => from_file(path, anchors)?,
        None => from_coordinator(&Client::new(global.target()?)?, anchors).await?,
    };
    let ok = report.problems.is_empty();
    if global.json {
        let outcome = if ok { "verified" } else { "broken" };
        let mut body = json!({"ok": ok, "outcome": outcome});
        if let (Value::Object(body), Ok(Value::Object(fields))) =
            (&mut body, serde_json::to_value(&report))
        {
            body.extend(fields);
        }
        show::json(&body);
    } else if ok {
        show::print(&told(&report));
    } else {
        anstream::eprint!("{}", told(&report));
    }
    Ok(if ok { Exit::Done } else { Exit::Refused })
}

async fn from_coordinator(client: &Client, anchors: Vec<Anchor>) -> Result<Report, Error> {
    let range = Range::find(client, None).await?;
    let mut verifier = Verifier::new(None, anchors);
    let mut progress = Telling::new();
    for number in range.first..=range.last {
        let (seal, rows) = match export::batch(client, number).await {
            Ok(batch) => batch,
            // The next one tells that this is missing.
            Err(Error::Rpc(rpc::Error::Problem(it))) if it.message == "seal_not_found" => continue,
            Err(error) => return Err(error),
        };
        let rows: Option<Vec<Row>> = rows.into_iter().map(read).collect();
        match (read::<Seal>(seal), rows) {
            (Some(seal), Some(rows)) => verifier.batch(seal, &rows, range.first),
            _ => verifier.unreadable(),
        }
        progress.step("verifying", number, range.last);
    }
    progress.finish();
    Ok(verifier.finish(true))
}

fn from_file(path: &Path, anchors: Vec<Anchor>) -> Result<Report, Error> {
    let mut lines = BufReader::new(open(path)?).lines();
    let header = lines.next().and_then(Result::ok);
    let header: Value = header
        .and_then(|line| serde_json::from_str(&line).ok())
        .filter(|header: &Value| header["format"] == "coord-audit-1")
        .ok_or_else(|| {
            Error::Usage(format!(
                "{} is nothing that `coord audit export` wrote",
                path.display()
            ))
        })?;
    let first = header["first"].as_i64().unwrap_or(1);
    let mut verifier = Verifier::new(header["previous_head"].as_str(), anchors);
    let mut pending: Option<(Seal, Vec<Row>)> = None;
    let mut count = 0;
    let mut whole = false;
    for line in lines {
        let line: Option<Value> = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        let line = line.unwrap_or_default();
        let kind = line["type"].as_str().unwrap_or_default().to_owned();
        match &*kind {
            "seal" => {
                if let Some((seal, rows)) = pending.take() {
                    verifier.batch(seal, &rows, first);
                }
                match read(line) {
                    Some(seal) => pending = Some((seal, Vec::new())),
                    None => verifier.unreadable(),
                }
            }
            "row" => match (read(line), &mut pending) {
                (Some(row), Some((_, rows))) => {
                    rows.push(row);
                    count += 1;
                }
                _ => verifier.unreadable(),
            },
            "end" => {
                let last = pending.as_ref().map(|(seal, _)| seal.number);
                whole = line["rows"].as_i64() == Some(count)
                    && line["last"].as_i64() == Some(last.unwrap_or(first - 1));
            }
            _ => verifier.unreadable(),
        }
    }
    if let Some((seal, rows)) = pending {
        verifier.batch(seal, &rows, first);
    }
    Ok(verifier.finish(whole))
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

fn open(path: &Path) -> Result<Box<dyn Read>, Error> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = std::fs::File::open(path)
        .map_err(|error| Error::Usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(Box::new(file))
}

/// One head a line; other lines (of a git note, as people write them) are none.
fn anchors(path: &Path) -> Result<Vec<Anchor>, Error> {
    let found: Vec<Anchor> = BufReader::new(open(path)?)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect();
    if found.is_empty() {
        let none = format!(
            "{} holds no head; `coord audit anchor` writes one",
            path.display()
        );
        return Err(Error::Usage(none));
    }
    Ok(found)
}

fn told(report: &Report) -> String {
    let mut out = vec![if report.problems.is_empty() {
        format!(
            "{}: {} rows in {} seals\n",
            styled(GOOD, "verified"),
            report.rows,
            report.seals
        )
    } else {
        format!(
            "{}: not everything is as it was sealed\n",
            styled(BAD, "broken")
        )
    }];
    for problem in &report.problems {
        let row = problem
            .audit_id
            .map_or(String::new(), |id| format!(", row {id}"));
        out.push(format!(
            "  seal {}{row}: {}\n",
            problem.seal,
            styled(NAME, problem.problem)
        ));
    }
    for (count, what) in [
        (report.dropped_rows, "rows dropped, their roots kept"),
        (report.erased, "rows with their details erased"),
    ] {
        if count > 0 {
            out.push(format!("{count} {what}\n"));
        }
    }
    if report.seals > 0 {
        out.push(format!("head of seal {}: {}\n", report.number, report.head));
    }
    out.concat()
}
