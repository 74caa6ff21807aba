//! `coord call` and `coord lock` as separate processes against the real stack.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use support::cli::{Agent, Ran, operator};
use support::{coord, shared, told};

#[test]
fn every_function_of_the_catalogue_has_help() {
    let catalogue = operator(&["call", "tool_catalog", "--json"])
        .exits(0)
        .json();
    let tools = catalogue["tools"].as_array().unwrap();
    let prompts = catalogue["prompts"].as_array().unwrap();
    assert!(tools.len() > 10 && !prompts.is_empty());
    let list = operator(&["call"]).exits(0).out();
    assert_eq!(list, operator(&["call", "--help"]).exits(0).out());
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        assert!(list.contains(name), "{name}");
        let help = operator(&["call", name, "--help"]).exits(0).out();
        let squeezed = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            squeezed.contains(tool["description"].as_str().unwrap()),
            "{help}"
        );
        for (argument, schema) in tool["inputSchema"]["properties"].as_object().unwrap() {
            let flag = format!("--{}", argument.replace('_', "-"));
            assert!(help.contains(&flag), "{flag}: {help}");
            if let Some(limit) = schema.get("maximum") {
                assert!(help.contains(&limit.to_string()), "{limit}: {help}");
            }
        }
    }
    for prompt in prompts {
        let name = prompt["function"].as_str().unwrap();
        assert!(list.contains(name), "{name}");
        operator(&["call", name, "--help"]).exits(0);
    }
}

#[test]
fn a_function_of_new_sql_can_be_called() {
    shared().psql(
        "create domain coord_v1.test_volume as integer;
         comment on domain coord_v1.test_volume is $$How loud.\n@schema {\"minimum\": 1, \"maximum\": 11}$$;
         create function coord_v1.test_echo(words text, volume coord_v1.test_volume default 3, details jsonb default null)
           returns jsonb language sql stable set search_path = ''
           return jsonb_build_object('words', words, 'volume', volume, 'details', details);
         comment on function coord_v1.test_echo is 'Say it again.';
         grant usage on type coord_v1.test_volume to coord_agent, coord_operator;
         grant execute on function coord_v1.test_echo to coord_agent, coord_operator;
         notify pgrst, 'reload schema';",
    );
    support::eventually("PostgREST knows the function", || {
        Ran::of(shared().coord().args(["call", "test_echo", "--words", "x"]))
            .output
            .status
            .success()
    });
    operator(&["call"])
        .exits(0)
        .says(&["test_echo", "Say it again."]);
    operator(&["call", "test_echo", "--help"])
        .exits(0)
        .says(&["How loud. [1 to 11] [default: 3]", "--words <TEXT>"]);
    let args = [
        "call",
        "test-echo",
        "--words=-x",
        "--volume",
        "11",
        "--details",
        r#"{"a":[1]}"#,
        "--json",
    ];
    let said = operator(&args).exits(0).json();
    assert_eq!(
        said,
        json!({"words": "-x", "volume": 11, "details": {"a": [1]}})
    );
    operator(&["call", "test_echo", "--words", "x", "--volume", "12"])
        .exits(2)
        .says(&["must be 1 to 11"]);
}

#[test]
fn one_session_through_lock_and_call() {
    let (a, b) = (
        Agent::new("cli-a", "session"),
        Agent::new("cli-b", "session"),
    );
    let run = |args: &[&str]| Ran::of(a.coord().env("COORD_SESSION_ID", "s-1").args(args));

    let taken = run(&[
        "lock", "acquire", "x.rs", "src/", "--ttl", "10m", "--reason", "a move", "--json",
    ])
    .exits(0)
    .json();
    assert_eq!(taken["outcome"], "acquired");
    let fence = taken["locks"][1]["fence"].to_string();
    assert_eq!(taken["locks"][1]["path"], "x.rs");

    let again = run(&["call", "acquire_lock", "--paths", "./x.rs", "--json"])
        .exits(0)
        .json();
    assert_eq!(
        (&again["outcome"], &again["locks"][0]["fence"]),
        (&json!("renewed"), &taken["locks"][1]["fence"])
    );

    // Another session of the same agent, and another agent, are somebody else.
    a.run(&["lock", "acquire", "x.rs"]).exits(1);
    b.run(&["lock", "acquire", "src/deep/y.rs", "free.rs"])
        .exits(1)
        .says(&[
            "held",
            "src/deep/y.rs: cli-a holds src/",
            "test-client",
            "s-1",
            "a move",
            "next:",
        ]);
    let held = b
        .run(&["call", "acquire_lock", "--paths", "x.rs", "--json"])
        .exits(1)
        .json();
    assert_eq!(held["blockers"][0]["holder"], "cli-a");

    b.run(&["lock", "list"]).exits(0).says(&[
        "x.rs",
        "src/",
        "cli-a",
        "exclusive",
        "s-1",
        "a move",
        &fence,
    ]);
    b.run(&["lock", "list", "free.rs"])
        .exits(0)
        .says(&["no locks"]);
    let list = b.run(&["lock", "list", "--json"]).exits(0).json();
    assert_eq!(list["total"], 2);

    run(&["lock", "verify", "x.rs", "--fence", &fence])
        .exits(0)
        .says(&["covered"]);
    run(&["lock", "verify", "x.rs", "--fence", "1000000000"])
        .exits(1)
        .says(&["x.rs", "newer fence"]);
    b.run(&["lock", "verify", "x.rs", "free.rs"])
        .exits(1)
        .says(&["x.rs is held by cli-a", "free.rs is not locked"]);

    b.run(&["lock", "release", "x.rs"])
        .exits(1)
        .says(&["not held", "cli-a holds it"]);
    let freed = run(&["call", "release_lock", "--paths", "x.rs", "--json"])
        .exits(0)
        .json();
    assert_eq!(freed["released"][0]["path"], "x.rs");
    run(&["lock", "release"]).exits(0).says(&["released src/"]);
    run(&["lock", "release"]).exits(0).says(&["held nothing"]);
    b.run(&["lock", "acquire", "x.rs"])
        .exits(0)
        .says(&["acquired", "30m"]);

    // Only operators break locks; a denial says code, meaning and hint.
    a.run(&["lock", "break", "x.rs", "--reason", "mine"])
        .exits(1)
        .says(&["insufficient_trust_level", "operator"]);
    operator(&[
        "lock", "break", "x.rs", "--reason", "test", "--repo", &a.repo,
    ])
    .exits(0)
    .says(&["broken x.rs", "cli-b"]);
}

#[test]
fn paths_are_those_of_the_checkout() {
    let a = Agent::new("cli-paths", "paths");
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().canonicalize().unwrap().join("tree");
    std::fs::create_dir_all(tree.join("src/deep")).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    let git = |args: &[&str]| {
        let done = support::clean("git")
            .args(args)
            .current_dir(&tree)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", told(&done));
    };
    git(&["init", "-q"]);
    git(&[
        "remote",
        "add",
        "origin",
        &format!("https://user:secret@{}.git", a.repo),
    ]);
    let acquire = |dir: &std::path::Path, paths: &[&str]| {
        let mut command = a.coord();
        command.env_remove("COORD_REPO").current_dir(dir);
        let ran = Ran::of(command.args(["lock", "acquire", "--json"]).args(paths)).exits(0);
        let answer = ran.json();
        assert_eq!(answer["repo"], a.repo.as_str());
        let locks = answer["locks"].as_array().unwrap();
        locks
            .iter()
            .map(|lock| lock["path"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let src = tree.join("src");
    assert_eq!(
        acquire(&src, &["a.rs", "../b.rs", "./c"]),
        ["b.rs", "src/a.rs", "src/c"]
    );
    // A directory is known as one, with a slash or without.
    assert_eq!(acquire(&src, &["deep"]), ["src/deep/"]);
    assert_eq!(acquire(&src, &["new/"]), ["src/new/"]);
    let typed = link.join("src/d.rs");
    assert_eq!(acquire(&src, &[typed.to_str().unwrap()]), ["src/d.rs"]);
    assert_eq!(acquire(&link.join("src"), &["e.rs"]), ["src/e.rs"]);
    for wrong in ["../../x", "/etc/passwd", ""] {
        let ran = Ran::of(a.coord().current_dir(&src).args(["lock", "acquire", wrong])).exits(2);
        assert!(ran.err().contains("path_"), "{}", ran.err());
    }
}

#[test]
fn what_is_misspelt_is_named_with_what_is_meant() {
    let a = Agent::new("cli-misspelt", "misspelt");
    a.run(&["call", "aquire_lock"])
        .exits(2)
        .says(&["aquire_lock", "acquire_lock"]);
    a.run(&["call", "acquire_lock", "--pathes", "a"])
        .exits(2)
        .says(&["--pathes", "'--paths'"]);
    a.run(&["call", "acquire_lock", "--arg", "ttl=60"])
        .exits(2)
        .says(&["'--ttl-seconds'"]);
    a.run(&["call", "acquire_lock", "--paths", "a", "--mode", "exclusve"])
        .exits(2)
        .says(&["'exclusive'"]);
    a.run(&["call", "acquire_lock", "--args-json", r#"{"path": ["a"]}"#])
        .exits(2)
        .says(&["`path`", "paths"]);
    a.run(&["call", "acquire_lock"])
        .exits(2)
        .says(&["needs paths"]);
    a.run(&[
        "call",
        "acquire_lock",
        "--paths",
        "a",
        "--ttl-seconds",
        "29",
    ])
    .exits(2)
    .says(&["30 to 28800"]);
    a.run(&[
        "call",
        "acquire_lock",
        "--paths",
        "a",
        "--ttl-seconds",
        "soon",
    ])
    .exits(2)
    .says(&["whole number"]);
    a.run(&["call", "--jsn", "health"])
        .exits(2)
        .says(&["'--json'"]);
    a.run(&["lock", "aquire", "x"])
        .exits(2)
        .says(&["'acquire'"]);
    a.run(&["locks"]).exits(2).says(&["'lock'"]);
    assert_eq!(
        a.run(&["lock", "list", "--json"]).exits(0).json()["total"],
        0
    );
}

#[test]
fn arguments_come_as_flags_pairs_or_json() {
    let a = Agent::new("cli-args", "args");
    let paths = |ran: Ran| {
        let answer = ran.exits(0).json();
        answer["locks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["path"].to_string())
            .collect::<String>()
    };
    let call = |args: &[&str]| paths(a.run(&[&["call", "acquire_lock", "--json"], args].concat()));
    assert_eq!(
        call(&["--paths", "a", "b", "--ttl_seconds", "60"]),
        r#""a""b""#
    );
    assert_eq!(call(&["--paths", "a", "--paths", "b"]), r#""a""b""#);
    assert_eq!(call(&["--arg", "paths=a=b", "--arg=reason=x"]), r#""a=b""#);
    assert_eq!(
        call(&["--args-json", r#"{"paths": ["j"], "ttl_seconds": 60}"#]),
        r#""j""#
    );
    let mut child = a.coord();
    child
        .args(["call", "acquire_lock", "--args-json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(br#"{"paths": ["piped"]}"#)
        .unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(
        done.status.success() && String::from_utf8_lossy(&done.stdout).contains("piped"),
        "{}",
        told(&done)
    );
}

#[test]
fn a_repeated_key_gives_the_first_answer() {
    let a = Agent::new("cli-key", "key");
    let call = |path: &str| {
        a.run(&[
            "call",
            "acquire_lock",
            "--paths",
            path,
            "--idempotency-key",
            "k-1",
            "--json",
        ])
    };
    let first = call("x").exits(0).json();
    let mut second = call("x").exits(0).json();
    assert_eq!(second["replayed"], true);
    second.as_object_mut().unwrap().remove("replayed");
    assert_eq!(first, second);
    call("y").exits(2).says(&["idempotency_key_reused"]);
}

#[test]
fn exit_codes_say_how_it_ended() {
    let a = Agent::new("cli-exit", "exit");
    a.run(&["call", "health"]).exits(0);
    // 1: refused, by an outcome, a denial or a token.
    let denied = a
        .run(&[
            "lock",
            "acquire",
            "x",
            "--repo",
            "git.example/cli/other",
            "--json",
        ])
        .exits(1);
    assert_eq!(denied.json()["code"], "repo_not_granted");
    Ran::of(
        a.coord()
            .env("COORD_TOKEN", "garbage")
            .args(["lock", "list"]),
    )
    .exits(1);
    // 2: what the coordinator cannot take, with its code.
    let bad = a
        .run(&["lock", "acquire", "x", "--ttl", "5", "--json"])
        .exits(2);
    let error: Value = serde_json::from_str(&bad.err()).unwrap();
    assert_eq!(error["message"], "ttl_out_of_range");
    assert!(error["hint"].is_string() && bad.out().is_empty());
    a.run(&["lock", "acquire", "x", "--ttl", "5"])
        .exits(2)
        .says(&["ttl_out_of_range", "28800"]);
    // 3: nobody there.
    Ran::of(coord().args(["lock", "list", "--url", "http://127.0.0.1:9"]))
        .exits(3)
        .says(&["127.0.0.1:9"]);
    Ran::of(coord().args(["call", "--help", "--url", "http://127.0.0.1:9"]))
        .exits(3)
        .says(&["Usage: "]);
    Ran::of(coord().args(["lock", "list", "--home", "/nowhere"]))
        .exits(3)
        .says(&["coord up"]);
    // 4: the server failed.
    shared().psql(
        "create function coord_v1.test_broken() returns jsonb language plpgsql set search_path = '' as
           $$ begin raise exception using errcode = 'PT500', message = 'internal_error'; end $$;
         comment on function coord_v1.test_broken is 'Fails.';
         grant execute on function coord_v1.test_broken to coord_agent;
         notify pgrst, 'reload schema';",
    );
    support::eventually("PostgREST knows the function", || {
        a.run(&["call", "test_broken"]).output.status.code() == Some(4)
    });
}

#[test]
fn without_a_token_only_health_answers() {
    let url = &shared().url;
    let run = |args: &[&str]| Ran::of(coord().args(args).args(["--url", url]));
    run(&["call", "health"]).exits(0).says(&["ready"]);
    assert_eq!(
        run(&["call", "health", "--json"]).exits(0).json()["ok"],
        true
    );
    run(&["call", "check_locks"]).exits(1);
    run(&["lock", "list"]).exits(1);
}

#[test]
fn manual_pages_and_completions_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("man1");
    Ran::of(coord().arg("man").arg("--dir").arg(&place)).exits(0);
    for page in [
        "coord.1",
        "coord-call.1",
        "coord-lock-acquire.1",
        "coord-lock-break.1",
        "coord-up.1",
    ] {
        let text = support::read(&place.join(page));
        assert!(text.contains(".SH NAME"), "{page}");
    }
    Ran::of(coord().arg("man"))
        .exits(0)
        .says(&[".TH coord 1", "coord\\-lock(1)"]);
    for shell in ["bash", "zsh", "fish"] {
        Ran::of(coord().args(["completions", shell]))
            .exits(0)
            .says(&["acquire"]);
    }
}

#[test]
fn text_of_others_does_not_steer_the_terminal() {
    let a = Agent::new("cli-text", "text");
    a.run(&["lock", "acquire", "x", "--reason", "a\u{1b}[2Jb\nc"])
        .exits(0);
    for args in [["lock", "list"], ["call", "check_locks"]] {
        let out = a.run(&args).exits(0).out();
        assert!(!out.contains('\u{1b}') && out.contains("[2Jb"), "{out}");
    }
}
