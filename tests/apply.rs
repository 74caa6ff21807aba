//! Profiles as code: planned, applied once, and every mistake told by file, line and column.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::{Stack, shared, told};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/agents");

fn apply(stack: &Stack, args: &[&str]) -> Output {
    let mut command = stack.coord();
    command.arg("apply").args(args).stdin(Stdio::null());
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", told(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn count(plan: &Value, name: &str) -> usize {
    plan[name].as_array().unwrap().len()
}

#[test]
fn what_is_shipped_is_applied_once() {
    let stack = Stack::start();
    let planned = apply(&stack, &[SHIPPED, "--plan"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.status.success(), "{}", told(&planned));
    assert!(
        text.contains("+ profile claude-code-cli") && text.contains("    trust: 3"),
        "{text}"
    );
    let profiles = "select count(*) from coord.profiles";
    assert_eq!(stack.psql(profiles), "1", "a plan changes nothing");

    let unasked = apply(&stack, &[SHIPPED]);
    assert_eq!(unasked.status.code(), Some(2), "{}", told(&unasked));
    assert!(told(&unasked).contains("--yes"), "{}", told(&unasked));
    assert_eq!(stack.psql(profiles), "1");

    let applied = json(&apply(&stack, &[SHIPPED, "--yes", "--json"]));
    assert_eq!(applied["outcome"], "applied");
    assert!(count(&applied, "added") >= 12, "{applied}");
    let again = json(&apply(&stack, &[SHIPPED, "--plan", "--json"]));
    let changes = ["added", "changed", "removed"].map(|name| count(&again, name));
    assert_eq!(changes, [0, 0, 0], "{again}");
    let again = apply(&stack, &[SHIPPED, "--yes"]);
    assert!(
        told(&again).contains("nothing to change"),
        "{}",
        told(&again)
    );

    // The type in the token finds its profile.
    let trust = "select trust from coord_v1.profiles where 'strands' = any (default_for)";
    assert_eq!(stack.psql(trust), "3");

    // What the files leave out goes, what they change changes.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("profiles.yaml");
    std::fs::write(
        &file,
        "profiles:\n  standard: {trust: 1, allowed: ['*']}\ndefaults: {'*': standard}\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let kept = json(&apply(&stack, &[file, "--plan", "--json", "--no-prune"]));
    assert_eq!(count(&kept, "removed"), 0);
    let planned = apply(&stack, &[file, "--plan"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        text.contains("- profile git-server")
            && text.contains("~ profile standard")
            && text.contains("trust: 2 -> 1"),
        "{text}"
    );
    let applied = json(&apply(&stack, &[file, "--yes", "--json"]));
    assert!(count(&applied, "removed") >= 10, "{applied}");
    assert_eq!(stack.psql(profiles), "1");
}

#[test]
fn types_find_their_profiles_and_environments_their_hosts() {
    let stack = Stack::start();
    json(&apply(&stack, &[SHIPPED, "--yes", "--json"]));
    let repo = "git.example/apply/app";
    stack.mint("swarm", "strands", repo);
    stack.mint_with(&[
        "--agent",
        "odd",
        "--type",
        "new-thing",
        "--repo",
        repo,
        "--profile",
        "cloud",
    ]);
    let listed = json(&stack.coord().args(["agents", "--json"]).output().unwrap());
    let of = |name: &str| {
        let all = listed.as_array().unwrap();
        let agent = all.iter().find(|agent| agent["name"] == name).unwrap();
        (
            agent["profile"].clone(),
            agent["trust"].clone(),
            agent["profile_assigned"].clone(),
        )
    };
    assert_eq!(
        of("swarm"),
        ("strands-orchestrator".into(), 3.into(), false.into())
    );
    assert_eq!(of("odd"), ("cloud".into(), 2.into(), true.into()));
    let only = stack
        .coord()
        .args(["agents", "--profile", "cloud"])
        .output()
        .unwrap();
    let said = told(&only);
    assert!(said.contains("odd") && !said.contains("swarm"), "{said}");

    // The policy is what the environment is given.
    let export = stack
        .coord()
        .args([
            "network",
            "export",
            "--for",
            "claude-code-web",
            "--policy",
            "cloud-reviewer",
            "--strict",
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&export.stdout),
        "api.github.com\ncodeload.github.com\ngithub.com\n",
        "{}",
        told(&export)
    );
    let open = [
        "network",
        "export",
        "--for",
        "codex-cloud",
        "--policy",
        "laptop",
        "--strict",
    ];
    let open = stack.coord().args(open).output().unwrap();
    assert_eq!(open.status.code(), Some(1), "{}", told(&open));
    assert!(
        told(&open).contains("every other host is allowed"),
        "{}",
        told(&open)
    );
}

/// A mistake, and where it is said to be.
fn refused(text: &str, at: &str, why: &str) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profiles.yaml"), text).unwrap();
    let before = shared().psql("select count(*) from coord.profiles");
    let output = apply(
        shared(),
        &[dir.path().to_str().unwrap(), "--yes", "--no-prune"],
    );
    let said = told(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("profiles.yaml:{at}: ")) && said.contains(why),
        "{at} {why}\n{said}"
    );
    assert_eq!(shared().psql("select count(*) from coord.profiles"), before);
}

#[test]
fn a_mistake_is_told_by_file_line_and_column_and_nothing_is_applied() {
    refused(
        "profiles:\n  good: {trust: 1}\n  bad:\n    trusst: 2\n",
        "4:5",
        "profiles/bad/trusst: no such key; did you mean trust? These are known: ",
    );
    refused("profiles:\n  a:\n    trust: 7\n", "3:5", "trust is 0 to 4");
    refused(
        "profiles:\n  a:\n    allowed: [check_locks, aquire_lock]\n",
        "3:28",
        "no operation has this name",
    );
    refused(
        "profiles:\n  a:\n    extends: nobody\n",
        "3:5",
        "no profile is called nobody",
    );
    refused(
        "profiles:\n  a: {}\ndefaults:\n  mine: other\n",
        "4:3",
        "no profile is called other",
    );
    refused(
        "profiles:\n  a: {}\n  b: {}\n  a: {}\n",
        "4:3",
        "a is there already, in line 2",
    );
    refused("profiles:\n  a: {\n", "3:1", "");
    refused("profils: {}\n", "1:1", "did you mean profiles?");
    refused(
        "guardrails:\n  a.b:\n    severity: ask\n    remedy: No.\n    matches: [x]\n    passes: [y]\n    \
         when:\n      programm: x\n",
        "8:7",
        "when/programm: no such key; did you mean program?",
    );
    refused(
        "profiles:\n  a:\n    limits:\n      max_locks: many\n",
        "4:7",
        "a whole number",
    );
    refused(
        "network_policies:\n  a:\n    allow:\n      - fine.example\n      - a..b\n",
        "5:9",
        "this is no host",
    );
    refused(
        "profiles:\n  a: {}\n  b:\n    network_policy: none\n",
        "4:5",
        "no network policy is called none",
    );
    refused("- a\n", "1:1", "a mapping of sections");
}

#[test]
fn files_that_are_not_there_or_say_the_same_section_twice_are_named() {
    let missing = apply(shared(), &["/nonexistent.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        told(&missing).contains("/nonexistent.yaml"),
        "{}",
        told(&missing)
    );
    let dir = tempfile::tempdir().unwrap();
    let empty = apply(shared(), &[dir.path().to_str().unwrap()]);
    assert!(
        told(&empty).contains("holds no YAML files"),
        "{}",
        told(&empty)
    );
    for name in ["a.yaml", "b.yaml"] {
        std::fs::write(dir.path().join(name), "profiles: {}\n").unwrap();
    }
    let twice = apply(shared(), &[dir.path().to_str().unwrap()]);
    assert!(
        told(&twice).contains("b.yaml:1:1: profiles is in")
            && told(&twice).contains("a.yaml already"),
        "{}",
        told(&twice)
    );
    assert!(Path::new(SHIPPED).join("profiles.yaml").exists());
}
