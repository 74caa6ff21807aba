//! `coord audit export`: batches as JSON lines: a header, each seal before its rows, an end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{rows, strange, time};
use crate::commands::Error;
use crate::exit::Exit;
use crate::rpc::{self, Client};
use crate::stack::progress::Progress;

/// What takes longer is told of.
const SILENT: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to, or - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Begin with the first batch that reaches there: 30m, 2h or 7d ago, or a time
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
}

pub async fn run(args: &Args, client: &Client) -> Result<Exit, Error> {
    let failed = |error| Error::Write(args.file.clone(), error);
    let out: Box<dyn Write + Send> = if args.file == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        Box::new(std::fs::File::create(&args.file).map_err(failed)?)
    };
    let mut out = std::io::BufWriter::new(out);
    let range = Range::find(client, args.since.as_deref()).await?;
    let mut put = |line: Value| writeln!(out, "{line}").map_err(failed);
    put(json!({
        "type": "audit", "format": "coord-audit-1", "first": range.first, "previous_head": range.before,
    }))?;
    let mut count = 0;
    let mut progress = Telling::new();
    for number in range.first..=range.last {
        let (seal, rows) = batch(client, number).await?;
        put(marked("seal", seal))?;
        count += rows.len();
        for row in rows {
            put(marked("row", row))?;
        }
        progress.step("exporting", number, range.last);
    }
    progress.finish();
    put(json!({"type": "end", "last": range.last, "rows": count}))?;
    out.flush().map_err(failed)?;
    Ok(Exit::Done)
}

fn marked(kind: &str, value: Value) -> Value {
    let mut line = Map::from_iter([("type".to_owned(), kind.into())]);
    if let Value::Object(fields) = value {
        line.extend(fields);
    }
    Value::Object(line)
}

/// Which seals: those that are there now.
pub struct Range {
    pub first: i64,
    pub last: i64,
    /// The head before the first.
    pub before: Option<String>,
}

impl Range {
    pub async fn find(client: &Client, since: Option<&str>) -> Result<Self, Error> {
        let one = async |filters: &[(&str, String)], column: &str| {
            let mut query = vec![("select", column.to_owned()), ("limit", "1".to_owned())];
            query.extend_from_slice(filters);
            let found = rows(client.read("audit_seals", &query).await?)?;
            Ok::<_, Error>(found.first().map(|row| row[column].clone()))
        };
        let newest = [("order", "number.desc".to_owned())];
        let last = one(&newest, "number").await?.and_then(|n| n.as_i64());
        let last = last.unwrap_or_default();
        if last == 0 {
            // Nothing is sealed, or nothing is shown to this caller: asking tells.
            match batch(client, 1).await {
                Err(Error::Rpc(rpc::Error::Problem(it))) if it.message == "seal_not_found" => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        let first = match since {
            None => 1,
            Some(at) => {
                let reaching = [
                    ("last_at", format!("gte.{at}")),
                    ("order", "number.asc".to_owned()),
                ];
                let found = one(&reaching, "number").await?.and_then(|n| n.as_i64());
                found.unwrap_or(last + 1)
            }
        };
        let before = [("number", format!("eq.{}", first - 1))];
        let before = one(&before, "head").await?;
        Ok(Self {
            first,
            last,
            before: before.and_then(|head| head.as_str().map(str::to_owned)),
        })
    }
}

/// One seal and its rows; null where the seal is gone.
pub async fn batch(client: &Client, number: i64) -> Result<(Value, Vec<Value>), Error> {
    let args = Map::from_iter([("number".to_owned(), number.into())]);
    let mut body = client.call("audit_batch", &args).await?.body;
    match body.get_mut("rows").map(Value::take) {
        Some(Value::Array(rows)) => Ok((body["seal"].take(), rows)),
        _ => Err(strange("audit_batch answered no rows")),
    }
}

/// Progress, once it takes long.
pub struct Telling {
    began: Instant,
    progress: Option<Progress>,
}

impl Telling {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            progress: None,
        }
    }

    pub fn step(&mut self, what: &str, number: i64, of: i64) {
        if self.began.elapsed() > SILENT {
            let progress = self.progress.get_or_insert_with(Progress::new);
            progress.step(&format!("{what} the audit (batch {number} of {of})"));
        }
    }

    pub fn finish(self) {
        if let Some(progress) = self.progress {
            progress.finish();
        }
    }
}
