//! `coord top` in a terminal of its own, with a coordinator that goes and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{COORD, clean, coord, script, shared, told};

/// Runs `coord top` through these steps; gives what it wrote.
fn top(home: &std::path::Path, steps: &Value) -> String {
    let output = clean("python3")
        .arg(script("terminal.py"))
        .args([&steps.to_string(), COORD, "top", "--every", "1"])
        .env("COORD_HOME", home)
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let ran: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&ran["code"], &ran["same"]),
        (&json!(0), &json!(true)),
        "{ran}"
    );
    let screen = ran["screen"].as_str().unwrap().to_owned();
    let (taken, left) = (screen.find("\u{1b}[?1049h"), screen.rfind("\u{1b}[?1049l"));
    assert!(
        taken.is_some() && left > taken,
        "the screen is given back: {screen:?}"
    );
    screen
}

#[test]
fn it_shows_what_there_is_obeys_keys_and_gives_the_terminal_back() {
    let home = &shared().home;
    let token = shared().mint("top-agent", "test-client", "git.example/top/app");
    let lock = coord()
        .env("COORD_URL", &shared().url)
        .env("COORD_TOKEN", token)
        .args(["lock", "acquire", "seen-on-top.rs"])
        .args(["--repo", "git.example/top/app"])
        .output()
        .unwrap();
    assert!(lock.status.success(), "{}", told(&lock));
    // q; the interrupt as a key, because the terminal is raw; and the signal.
    for end in [
        json!(["send", "q"]),
        json!(["send", "\u{3}"]),
        json!(["signal", 15]),
    ] {
        let screen = top(
            home,
            &json!([
                ["see", "seen-on-top.rs"],
                ["see", "Refusals"],
                ["send", "\t\r"],
                ["send", "/nothing-like-it\r"],
                ["see", "like-it/"],
                end,
            ]),
        );
        assert!(screen.contains("top-agent"), "{screen}");
    }
}

/// A home whose stack comes and goes.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _ = coord().env("COORD_HOME", &self.0).arg("down").output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn it_survives_a_restart_of_the_coordinator() {
    let name = format!("coord-top-{}", uuid::Uuid::new_v4().simple());
    let home = Home(std::env::temp_dir().join(name));
    let path = home.0.to_str().unwrap();
    let up = [COORD, "up", "--home", path, "--port", "0", "--detach"];
    let output = clean(up[0]).args(&up[1..]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    top(
        &home.0,
        &json!([
            ["see", "Agents"],
            ["run", [COORD, "down", "--home", path]],
            ["see", "unreachable since"],
            // Back on another port.
            ["run", up],
            [
                "run",
                [
                    COORD,
                    "lock",
                    "acquire",
                    "after-restart.rs",
                    "--repo",
                    "local/playground",
                    "--home",
                    path,
                    "--as",
                    "agent-1"
                ]
            ],
            ["see", "after-restart.rs"],
            ["send", "q"],
        ]),
    );
}
