//! `coord mem export` and `import`: memories as JSON lines.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::commands::Error;
use crate::commands::arguments::{Repo, put};
use crate::commands::show::{self, FAINT, GOOD, styled, told};
use crate::exit::Exit;
use crate::rpc::{self, Client};

/// What one call brings in at most.
const LINES: usize = 500;
const BYTES: usize = 4_000_000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Where it ended is told on standard error: --cursor goes on from there, after an \
                  interruption or for what is new. What changed of older memories comes with a whole export."
)]
pub struct Export {
    /// Go on where an earlier export ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    repo: Repo,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line needs only a summary; those whose uid is here already are skipped, so it may be repeated."
)]
pub struct Import {
    /// JSON lines, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    repo: Repo,
}

impl Export {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let mut call = self.repo.args();
        put(&mut call, "cursor", self.cursor);
        let mut count = 0;
        let ended = pages(client, &mut call, &mut count).await;
        // Also where it broke off: what came until then is whole.
        if let Some(cursor) = call.get("cursor") {
            if as_json {
                eprintln!("{}", json!({"memories": count, "cursor": cursor}));
            } else {
                let cursor = cursor.as_str().unwrap_or_default();
                let words = format!("{count} memories; --cursor {cursor} goes on from here");
                anstream::eprintln!("{}", styled(FAINT, show::harmless(&words)));
            }
        }
        ended.map(|()| Exit::Done)
    }
}

async fn pages(
    client: &Client,
    call: &mut Map<String, Value>,
    count: &mut usize,
) -> Result<(), Error> {
    let failed = |error| Error::Write("standard output".into(), error);
    let mut out = std::io::stdout().lock();
    loop {
        let body = client.call("export_memories", call).await?.body;
        let memories = show::list(&body, "memories");
        for memory in memories {
            writeln!(out, "{memory}").map_err(failed)?;
        }
        out.flush().map_err(failed)?;
        *count += memories.len();
        put(call, "cursor", body.get("cursor").cloned());
        if body.get("more") != Some(&Value::Bool(true)) {
            return Ok(());
        }
    }
}

/// Lines for one call.
#[derive(Default)]
struct Batch {
    lines: Vec<Value>,
    /// Where each stood in the file.
    numbers: Vec<usize>,
    bytes: usize,
}

/// What came of all batches.
#[derive(Default)]
struct Tally {
    imported: u64,
    skipped: u64,
    batches: usize,
    /// Lines that say what they supersede: it may come in a later batch.
    superseding: Batch,
}

impl Import {
    pub async fn run(self, client: &Client, as_json: bool) -> Result<Exit, Error> {
        let Self { file, repo } = self;
        let mut call = repo.args();
        let mut tally = Tally::default();
        let mut batch = Batch::default();
        for (line, number) in BufReader::new(open(&file)?).lines().zip(1..) {
            let wrong = |what| Error::Usage(format!("{}: line {number} {what}", file.display()));
            let line = line.map_err(|error| wrong(format!("cannot be read: {error}")))?;
            if line.trim().is_empty() {
                continue;
            }
            let memory: Value = serde_json::from_str(&line)
                .map_err(|error| wrong(format!("is no JSON: {error}")))?;
            if memory.get("supersedes").is_some() {
                tally.superseding.push(memory.clone(), number, line.len());
            }
            batch.push(memory, number, line.len());
            if batch.lines.len() == LINES || batch.bytes > BYTES {
                let full = std::mem::take(&mut batch);
                if let Some(refused) = tally.send(client, &mut call, full, as_json).await? {
                    return Ok(refused);
                }
            }
        }
        // Even nothing is sent: then who may not do this is told so.
        if (tally.batches == 0 || !batch.lines.is_empty())
            && let Some(refused) = tally.send(client, &mut call, batch, as_json).await?
        {
            return Ok(refused);
        }
        // Before anything is sent a second time.
        let totals = json!({
            "ok": true, "outcome": "imported", "imported": tally.imported, "skipped": tally.skipped,
        });
        if tally.batches > 1 {
            let superseding = std::mem::take(&mut tally.superseding);
            for part in superseding.parts() {
                if let Some(refused) = tally.send(client, &mut call, part, as_json).await? {
                    return Ok(refused);
                }
            }
        }
        if as_json {
            show::json(&totals);
        } else {
            show::print(&format!(
                "{} {} memories; {} were here already\n",
                styled(GOOD, "imported"),
                totals["imported"],
                totals["skipped"]
            ));
        }
        Ok(Exit::Done)
    }
}

impl Batch {
    fn push(&mut self, line: Value, number: usize, bytes: usize) {
        self.lines.push(line);
        self.numbers.push(number);
        self.bytes += bytes;
    }

    fn parts(self) -> impl Iterator<Item = Self> {
        let mut lines = self.lines.into_iter().zip(self.numbers).peekable();
        std::iter::from_fn(move || {
            lines.peek()?;
            let mut part = Self::default();
            for (line, number) in lines.by_ref().take(LINES) {
                part.push(line, number, 0);
            }
            Some(part)
        })
    }

    /// The coordinator counts lines of its call; people those of their file.
    fn placed(&self, error: rpc::Error) -> rpc::Error {
        let rpc::Error::Problem(mut problem) = error else {
            return error;
        };
        let placed = problem.details.as_deref().and_then(|details| {
            let rest = details.strip_prefix("line ")?;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let at = rest[..end].parse::<usize>().ok()?.checked_sub(1)?;
            Some(format!("line {}{}", self.numbers.get(at)?, &rest[end..]))
        });
        problem.details = placed.or(problem.details);
        rpc::Error::Problem(problem)
    }
}

impl Tally {
    /// Brings in a batch; how the command ends if it is refused.
    async fn send(
        &mut self,
        client: &Client,
        call: &mut Map<String, Value>,
        mut batch: Batch,
        as_json: bool,
    ) -> Result<Option<Exit>, Error> {
        let lines = std::mem::take(&mut batch.lines);
        call.insert("memories".to_owned(), lines.into());
        let answer = client
            .call("import_memories", call)
            .await
            .map_err(|error| batch.placed(error))?;
        if !answer.ok() {
            return Ok(Some(told(&answer, as_json, show::answer)));
        }
        let number = |name: &str| answer.body.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.imported += number("imported");
        self.skipped += number("skipped");
        self.batches += 1;
        Ok(None)
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>, Error> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = std::fs::File::open(path)
        .map_err(|error| Error::Usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(Box::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Problem;

    #[test]
    fn a_refusal_names_the_line_of_the_file() {
        let mut batch = Batch::default();
        batch.push(json!({}), 501, 2);
        batch.push(json!({}), 503, 2);
        let problem = |details: &str| {
            rpc::Error::Problem(Box::new(Problem {
                status: 422,
                code: "PT422".to_owned(),
                message: "memory_invalid".to_owned(),
                details: Some(details.to_owned()),
                hint: None,
            }))
        };
        for (told, placed) in [
            ("line 2 is no object", "line 503 is no object"),
            ("line 1: bad uuid", "line 501: bad uuid"),
            ("line 9: what", "line 9: what"),
            ("no line", "no line"),
        ] {
            let error = batch.placed(problem(told)).to_string();
            assert_eq!(error, format!("memory_invalid: {placed}"));
        }
    }
}
