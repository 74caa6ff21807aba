//! The commits that a push brings: what they change, and under which locks they say they were made.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::git;

/// The highest fence that the coordinator takes.
const HIGHEST: i64 = 9_000_000_000_000_000_000;

/// What git tells a pre-receive hook becomes what `verify_push` asks for.
///
/// Two git processes, whatever the push holds: one names the new commits and their
/// trailers, one the files they change; of a merge, those that differ from all its parents.
pub fn commits(told: &str) -> Result<Vec<Value>, git::Error> {
    let tips = tips(told);
    if tips.is_empty() {
        return Ok(Vec::new());
    }
    let here = Path::new(".");
    let log = [
        "--no-replace-objects",
        "-c",
        "log.showSignature=false",
        "log",
        "-z",
        "--no-color",
        "--encoding=UTF-8",
        "--reverse",
        "--topo-order",
        "--format=%H%x00%(trailers:only,key=Coord-Agent,key=Coord-Session,key=Coord-Fence,separator=%x00)",
        "--stdin",
        "--not",
        "--all",
    ];
    let claims = claims(&git::run_in(here, &log, tips.join("\n").as_bytes())?);
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let ids: String = claims.iter().flat_map(|it| [&it.id, "\n"]).collect();
    let diff = [
        "--no-replace-objects",
        "diff-tree",
        "--stdin",
        "--root",
        "-r",
        "-c",
        "--no-renames",
        "--ignore-submodules=none",
        "--raw",
        "-z",
    ];
    let mut changes = changes(&git::run_in(here, &diff, ids.as_bytes())?);
    let whole = |claim: Claim| {
        let paths = changes.remove(&claim.id).unwrap_or_default();
        json!({"id": claim.id, "agent": claim.agent, "sessions": claim.sessions, "locks": claim.locks, "paths": paths})
    };
    Ok(claims.into_iter().map(whole).collect())
}

/// The new ends of refs; a ref that goes brings nothing.
fn tips(told: &str) -> Vec<&str> {
    let new = |line| str::split_whitespace(line).nth(1);
    told.lines()
        .filter_map(new)
        .filter(|id| id.contains(|digit| digit != '0'))
        .collect()
}

/// What the trailers of a commit say.
#[derive(Debug, Default, PartialEq)]
struct Claim {
    id: String,
    agent: Option<String>,
    sessions: Vec<String>,
    locks: Vec<Value>,
}

/// What is malformed is not counted.
fn claims(log: &[u8]) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    for part in git::parts(log) {
        let text = String::from_utf8_lossy(part);
        let Some((key, value)) = text.split_once(':') else {
            claims.push(Claim {
                id: text.trim().to_owned(),
                ..Claim::default()
            });
            continue;
        };
        let value = value.trim_start();
        let Some(claim) = claims
            .last_mut()
            .filter(|_| !value.is_empty() && !value.contains('\n'))
        else {
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            // Who amends a commit of another puts its name below the other's.
            "coord-agent" => claim.agent = Some(value.to_owned()),
            "coord-session" => claim.sessions.push(value.to_owned()),
            "coord-fence" => claim.locks.extend(fence(value)),
            _ => {}
        }
    }
    claims
}

/// `17 src/`.
fn fence(value: &str) -> Option<Value> {
    let (fence, path) = value.split_once(' ')?;
    let digits = fence.bytes().all(|byte| byte.is_ascii_digit());
    let fence: i64 = fence.parse().ok().filter(|it| digits && *it <= HIGHEST)?;
    (!path.is_empty()).then(|| json!({"fence": fence, "path": path}))
}

/// Files by commit. A line about a file begins with a colon and is followed by its name.
fn changes(diff: &[u8]) -> HashMap<String, Vec<String>> {
    let mut changes: HashMap<String, Vec<String>> = HashMap::new();
    let mut commit = String::new();
    let mut parts = git::parts(diff);
    while let Some(part) = parts.next() {
        if !part.starts_with(b":") {
            commit = String::from_utf8_lossy(part).into_owned();
        } else if let Some(name) = parts.next() {
            let name = String::from_utf8_lossy(name).into_owned();
            changes.entry(commit.clone()).or_default().push(name);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_that_goes_brings_nothing() {
        let told = "aa bb refs/heads/x\naa 0000 refs/heads/y\nodd\n";
        assert_eq!(tips(told), ["bb"]);
    }

    #[test]
    fn trailers_that_make_no_sense_do_not_count() {
        let log = b"aa\0Coord-Agent: one\0coord-agent: two\0Coord-Session: s1\0Coord-Session: s2\0Coord-Session: \0\
            Coord-Fence: 17 src/\0Coord-Fence: 18  a: b\0Coord-Fence: x src/\0Coord-Fence: 19\0Coord-Fence: -1 x\0\
            Coord-Fence: +1 x\0Coord-Fence: 9999999999999999999 x\0Coord-Fence: 9000000000000000001 x\0\
            Coord-Fence: 20 a\n b\0\0bb\0\0\0";
        let claims = claims(log);
        assert_eq!(
            claims[0],
            Claim {
                id: "aa".to_owned(),
                agent: Some("two".to_owned()),
                sessions: vec!["s1".to_owned(), "s2".to_owned()],
                locks: vec![
                    json!({"fence": 17, "path": "src/"}),
                    json!({"fence": 18, "path": " a: b"})
                ],
            }
        );
        assert_eq!((claims.len(), claims[1].id.as_str()), (2, "bb"));
    }

    #[test]
    fn files_named_like_commits_or_changes_stay_files() {
        let diff =
            b"aa\0:000000 100644 0 1 A\0bb\0:100644 000000 1 0 D\0:odd\nname\0bb\0::1 2 MM\0x\0";
        let changes = changes(diff);
        assert_eq!(changes["aa"], ["bb", ":odd\nname"]);
        assert_eq!(changes["bb"], ["x"]);
    }
}
