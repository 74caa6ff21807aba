//! `coord demo` plays to its end and leaves nothing, also when it is stopped.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{coord, told};

/// A directory for everything temporary; the servers' account must get through.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn left(place: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(place.path()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn it_plays_to_its_end() {
    let place = place();
    let output = coord()
        .arg("demo")
        .env("TMPDIR", place.path())
        .output()
        .unwrap();
    let said = told(&output);
    assert!(output.status.success(), "{said}");
    for step in [
        "acquired, with fence 1",
        "refused, and told: agent-mcp",
        "ended the session",
        "fence 2: higher than 1",
    ] {
        assert!(said.contains(step), "{step}: {said}");
    }
    assert!(left(&place).is_empty(), "{:?}", left(&place));
}

#[test]
fn stopped_it_cleans_up() {
    for pause in [300, 4000] {
        let place = place();
        let child = coord()
            .arg("demo")
            .env("TMPDIR", place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        // It may have been faster than we.
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{}",
            told(&output)
        );
        assert!(
            left(&place).is_empty(),
            "{:?} {}",
            left(&place),
            told(&output)
        );
    }
}

#[test]
fn without_postgresql_it_says_so() {
    let place = place();
    let output = coord()
        .arg("demo")
        .env("TMPDIR", place.path())
        .env("COORD_PG_BIN", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("PostgreSQL"), "{}", told(&output));
    assert!(left(&place).is_empty(), "{:?}", left(&place));
}
