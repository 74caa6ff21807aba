//! `coord github sync`: issues show what the coordinator has, and what their labels ask for reaches it.
//!
//! Each issue is shown to the function `sync_github_issue`, which does what no webhook told and
//! says which labels and which comment the issue should have; here that is carried out. Doing it
//! again changes nothing, so a run that was cut off is simply repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::api::Api;
use crate::commands::Error;
use crate::commands::arguments::Repo;
use crate::commands::show::{self, FAINT, GOOD, NAME, list, styled, text};
use crate::exit::Exit;
use crate::rpc::{Answer, Client};
use crate::settings::{Global, env};
use crate::stack::clock;
use crate::stack::progress::Progress;

/// What marks the one comment among all others.
const MARK: &str = "<!-- coord:status -->";

/// What follows it.
const FOOT: &str = "Kept up to date by `coord github sync`. The coordinator's word goes: a label takes no lock that somebody else holds.";

/// Labels that make an issue ours to look at.
const OURS: [&str; 3] = ["locked:", "agent:", "status:"];

/// Clocks differ: what changed shortly before the last look is looked at again, in seconds.
const OVERLAP: i64 = 120;

/// Arguments of `coord github sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Issue whose comment tells about the whole repository
    #[arg(long, value_name = "NUMBER")]
    issue: Option<u64>,
    /// File that holds a token of GitHub (or set `GITHUB_TOKEN` to the token itself)
    #[arg(long, value_name = "FILE")]
    github_token_file: Option<PathBuf>,
    /// Root of GitHub's REST API [default: `https://api.github.com`]
    #[arg(long, env = "GITHUB_API_URL", value_name = "URL")]
    api_url: Option<String>,
    /// Look at all open issues, not only at those that changed since the last time
    #[arg(long)]
    full: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    repo: Repo,
}

/// What the last run left for the next: a help, nothing depends on it.
#[derive(Default)]
struct Kept {
    since: Option<i64>,
    /// Issues that showed something.
    shown: BTreeSet<u64>,
}

struct Sync {
    client: Client,
    api: Api,
    repo: String,
    /// owner/name in GitHub's own spelling.
    name: String,
    dry: bool,
}

/// Brings both together.
///
/// # Errors
/// GitHub or the coordinator cannot be reached, or refuses.
pub async fn run(args: Args, global: &Global) -> Result<Exit, Error> {
    let token = token(args.github_token_file.as_ref())?;
    let api = Api::new(
        args.api_url.as_deref().unwrap_or("https://api.github.com"),
        &token,
    )?;
    let client = Client::new(global.target()?)?;
    let seen = client.call("check_locks", &args.repo.args()).await?.body;
    let repo = text(&seen, "repo");
    let Some((_, path)) = repo.split_once('/').filter(|(_, path)| path.contains('/')) else {
        return Err(Error::Usage(
            "say which repository with --repo github.com/OWNER/NAME".to_owned(),
        ));
    };
    let progress = Progress::new();
    progress.step("asking GitHub");
    let name = text(&api.get(&format!("/repos/{path}")).await?, "full_name");
    let sync = Sync {
        client,
        api,
        repo,
        name,
        dry: args.dry_run,
    };
    let file = format!(
        "github-{}.json",
        short(&format!(
            "{}\n{}",
            args.api_url.unwrap_or_default(),
            sync.repo
        ))
    );
    let kept = if args.full {
        Kept::default()
    } else {
        Kept::read(global, &file)
    };
    let began = clock::now();
    let mut done = Vec::new();
    let mut shown = BTreeSet::new();
    for (number, issue) in sync.issues(&kept).await? {
        progress.step(&format!("issue (#{number})"));
        let known = kept.shown.contains(&number) || kept.since.is_none();
        let (result, empty) = sync.issue(&issue, false, known).await?;
        if let Some(denied) = result.get("denied") {
            let denied = Answer {
                status: 403,
                body: denied.clone(),
            };
            return Ok(show::told(&denied, global.json, show::denial));
        }
        if !empty {
            shown.insert(number);
        }
        done.push(result);
    }
    if let Some(number) = args.issue {
        let issue = sync
            .api
            .get(&sync.path(&format!("/issues/{number}")))
            .await?;
        done.push(sync.issue(&issue, true, true).await?.0);
    }
    progress.finish();
    if !sync.dry {
        Kept {
            since: Some(began - OVERLAP),
            shown,
        }
        .write(global, &file);
    }
    let outcome = if sync.dry { "planned" } else { "synced" };
    let body = json!({"ok": true, "outcome": outcome, "repo": sync.repo, "issues": done});
    Ok(show::told(&Answer { status: 200, body }, global.json, told))
}

fn token(file: Option<&PathBuf>) -> Result<String, Error> {
    if let Some(file) = file {
        return std::fs::read_to_string(file).map_err(|error| {
            Error::Usage(format!(
                "cannot read the token of GitHub in {}: {error}",
                file.display()
            ))
        });
    }
    env("GITHUB_TOKEN").ok_or_else(|| {
        Error::Usage(
            "no token of GitHub: set GITHUB_TOKEN, or name a file with --github-token-file; it needs to read and write issues".to_owned(),
        )
    })
}

impl Sync {
    fn path(&self, rest: &str) -> String {
        format!("/repos/{}{rest}", self.name)
    }

    /// Issues to look at: changed ones with labels of ours, and all that the coordinator knows of.
    async fn issues(&self, kept: &Kept) -> Result<BTreeMap<u64, Value>, Error> {
        let mut wanted = self.known().await?;
        wanted.extend(&kept.shown);
        let query = match kept.since {
            Some(since) => format!("state=all&since={}", clock::rfc3339(since)),
            None => "state=open".to_owned(),
        };
        let listed = self.path(&format!(
            "/issues?{query}&sort=updated&direction=asc&per_page=100"
        ));
        let mut issues = BTreeMap::new();
        for issue in self.api.list(&listed).await? {
            let Some(number) = issue["number"]
                .as_u64()
                .filter(|_| issue.get("pull_request").is_none())
            else {
                continue;
            };
            let ours = |label: &String| OURS.iter().any(|it| label.starts_with(it));
            if wanted.remove(&number) || labels(&issue).iter().any(ours) {
                issues.insert(number, issue);
            }
        }
        for number in wanted {
            match self.api.get(&self.path(&format!("/issues/{number}"))).await {
                Ok(issue) => drop(issues.insert(number, issue)),
                // Deleted, or moved to where the token does not reach.
                Err(error) if error.is_not_ours() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(issues)
    }

    /// Issues for which the coordinator has a lock or an open task.
    async fn known(&self) -> Result<BTreeSet<u64>, Error> {
        let prefix = format!("github:{}#", self.name);
        let mut numbers = BTreeSet::new();
        let mut add = |rows: &Value, column: &str| {
            for row in rows.as_array().into_iter().flatten() {
                let number = row[column].as_str().and_then(|it| it.strip_prefix(&prefix));
                numbers.extend(number.and_then(|it| it.parse::<u64>().ok()));
            }
        };
        let like = format!("like.{prefix}*");
        let repo = || ("repo", format!("eq.{}", self.repo));
        let locks = [
            repo(),
            ("session_id", like.clone()),
            ("select", "session_id".to_owned()),
        ];
        add(&self.client.read("locks", &locks).await?, "session_id");
        let open = ("state", "in.(pending,claimed)".to_owned());
        let tasks = [
            repo(),
            ("dedup_key", like),
            ("select", "dedup_key".to_owned()),
            open,
        ];
        add(&self.client.read("tasks", &tasks).await?, "dedup_key");
        Ok(numbers)
    }

    /// One issue: the coordinator judges, GitHub is told. With it, whether there is nothing to show.
    async fn issue(
        &self,
        issue: &Value,
        overview: bool,
        known: bool,
    ) -> Result<(Value, bool), Error> {
        let number = issue["number"].as_u64().unwrap_or_default();
        let args = json!({
            "repo": self.repo, "overview": overview, "plan": self.dry,
            "issue": {
                "full_name": self.name, "number": number, "state": issue["state"], "title": issue["title"],
                "body": issue["body"], "url": issue["html_url"], "labels": labels(issue),
            },
        });
        let args: Map<String, Value> = serde_json::from_value(args).unwrap_or_default();
        let answer = self.client.call("sync_github_issue", &args).await?.body;
        if answer["outcome"] == "denied" {
            return Ok((json!({"denied": answer}), true));
        }
        let empty = answer["empty"] == true;
        let names = |list: &str| -> Vec<String> {
            let names = show::list(&answer, list).iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        };
        let (add, remove) = (names("add"), names("remove"));
        if !self.dry {
            if !add.is_empty() {
                let path = self.path(&format!("/issues/{number}/labels"));
                self.api
                    .change(Method::POST, &path, Some(&json!({"labels": add})))
                    .await?;
            }
            for label in &remove {
                let path = self.path(&format!("/issues/{number}/labels/{}", encoded(label)));
                match self.api.change(Method::DELETE, &path, None).await {
                    // Somebody was quicker.
                    Err(error) if error.is_not_ours() => {}
                    other => drop(other?),
                }
            }
        }
        let untouched = empty && add.is_empty() && remove.is_empty() && !known;
        let comment = if untouched {
            "none"
        } else {
            self.comment(number, &text_of(&answer), empty).await?
        };
        let result = json!({"issue": number, "did": answer["did"], "added": add, "removed": remove, "comment": comment});
        Ok((result, empty))
    }

    /// Makes the one comment say this.
    async fn comment(&self, number: u64, said: &str, empty: bool) -> Result<&'static str, Error> {
        let comments = self
            .api
            .list(&self.path(&format!("/issues/{number}/comments?per_page=100")))
            .await?;
        let marked = comments.iter().filter(|it| {
            it["body"]
                .as_str()
                .is_some_and(|body| body.starts_with(MARK))
        });
        let mut ours = None;
        for comment in marked {
            let path = self.path(&format!("/issues/comments/{}", comment["id"]));
            if ours.is_some() {
                // Two who began at once each made one; somebody else's stays.
                if !self.dry {
                    match self.api.change(Method::DELETE, &path, None).await {
                        Err(error) if error.is_not_ours() => {}
                        other => drop(other?),
                    }
                }
                continue;
            }
            if comment["body"] == said {
                ours = Some("unchanged");
            } else if self.dry {
                ours = Some("updated");
            } else {
                match self
                    .api
                    .change(Method::PATCH, &path, Some(&json!({"body": said})))
                    .await
                {
                    // Somebody else wrote our mark.
                    Err(error) if error.is_not_ours() => {}
                    other => {
                        other?;
                        ours = Some("updated");
                    }
                }
            }
        }
        if let Some(ours) = ours {
            return Ok(ours);
        }
        if empty {
            return Ok("none");
        }
        if !self.dry {
            let path = self.path(&format!("/issues/{number}/comments"));
            self.api
                .change(Method::POST, &path, Some(&json!({"body": said})))
                .await?;
        }
        Ok("created")
    }
}

fn text_of(answer: &Value) -> String {
    let said = answer["comment"].as_str().unwrap_or_default();
    format!("{MARK}\n{said}\n\n{FOOT}")
}

fn labels(issue: &Value) -> Vec<String> {
    let names = list(issue, "labels")
        .iter()
        .filter_map(|label| label["name"].as_str());
    names.map(str::to_owned).collect()
}

/// A label as one segment of a path.
fn encoded(label: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in label.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A dot too: two of them are a segment that goes up.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn short(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    format!(
        "{:016x}",
        u64::from_be_bytes(std::array::from_fn(|i| hash[i]))
    )
}

impl Kept {
    fn read(global: &Global, file: &str) -> Self {
        let read = |place: PathBuf| {
            let text = std::fs::read(place.join(file)).ok()?;
            serde_json::from_slice::<Value>(&text).ok()
        };
        let kept = global
            .cache_dirs()
            .into_iter()
            .find_map(read)
            .unwrap_or_default();
        Self {
            since: kept["since"].as_i64(),
            shown: list(&kept, "shown")
                .iter()
                .filter_map(Value::as_u64)
                .collect(),
        }
    }

    /// Best effort: without it the next run looks at more.
    fn write(&self, global: &Global, file: &str) {
        let kept = json!({"since": self.since, "shown": self.shown});
        let write = |place: &PathBuf| {
            std::fs::create_dir_all(place)?;
            let mut aside = tempfile::NamedTempFile::new_in(place)?;
            serde_json::to_writer(&mut aside, &kept)?;
            aside.persist(place.join(file))?;
            Ok::<_, std::io::Error>(())
        };
        let _ = global.cache_dirs().iter().any(|place| write(place).is_ok());
    }
}

fn told(body: &Value) -> String {
    let mut out = Vec::new();
    for issue in list(body, "issues") {
        let mut said = Vec::new();
        for did in list(issue, "did") {
            let what = match did.get("function") {
                Some(_) => format!("{} {}", text(did, "function"), text(did, "outcome")),
                None => format!(
                    "{} {}",
                    text(did, "action"),
                    text(did.get("label").unwrap_or(&Value::Null), "name")
                ),
            };
            said.push(what);
        }
        let names = |list: &[Value], sign: &str| -> Vec<String> {
            list.iter()
                .filter_map(Value::as_str)
                .map(|it| format!("{sign}{}", show::harmless(it)))
                .collect()
        };
        said.extend(names(list(issue, "added"), "+"));
        said.extend(names(list(issue, "removed"), "-"));
        said.push(format!("comment {}", text(issue, "comment")));
        out.push(format!(
            "{} {}\n",
            styled(NAME, format_args!("#{}", text(issue, "issue"))),
            said.join(", ")
        ));
    }
    let count = format!("{} issues", list(body, "issues").len());
    out.push(format!(
        "{} {}\n",
        styled(GOOD, text(body, "outcome")),
        styled(FAINT, count)
    ));
    out.concat()
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_label_is_one_segment() {
        assert_eq!(encoded("locked:src/a b.rs"), "locked%3Asrc%2Fa%20b%2Ers");
        assert_eq!(encoded(".."), "%2E%2E");
    }
}
