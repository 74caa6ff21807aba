//! `coord call` and `coord lock` as separate processes against the real stack.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::process::Stdio;

use agent_coordinator::commands::spoken::spoken;
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

/// A word that stands alone, as advice says it: in quotes or a path it is somebody else's.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace()
        .map(|word| {
            word.trim_start_matches(['(', '`'])
                .trim_end_matches(['.', ',', ':', ';', ')', '`'])
        })
        .collect()
}

#[test]
fn whatever_advice_names_has_a_command() {
    // All that functions say: texts of several words among their literals, and the codes.
    let texts: Vec<String> = serde_json::from_str(&shared().psql(
        "select json_agg(t) from (
           select m[1] from pg_proc p, regexp_replace(p.prosrc, '^\\s*--[^\n]*$', '', 'gn') s,
             regexp_matches(s, $$'((?:[^']|'')*)'$$, 'g') m
           where p.pronamespace = 'coord'::regnamespace and p.proname !~ '^prompt_' and m[1] ~ ' '
           union all select e.meaning from coord.error_codes e
           union all select e.remedy from coord.error_codes e) t(t)",
    ))
    .unwrap();
    let functions: Vec<String> = serde_json::from_str(&shared().psql(
        "select json_agg(distinct p.proname) from pg_proc p
         where p.pronamespace = 'coord_v1'::regnamespace and p.proname ~ '_'",
    ))
    .unwrap();
    let is_function = |word: &str| functions.iter().any(|it| it == word);
    let named = |text: &str| words(text).into_iter().filter(|it| is_function(it)).count();
    let advice: Vec<&String> = texts.iter().filter(|text| named(text) > 0).collect();
    assert!(advice.len() > 30, "{advice:?}");
    for text in advice {
        let said = spoken(text);
        for of_three in words(&format!(". . {said}")).windows(3) {
            assert!(
                !is_function(of_three[2]) || of_three[..2] == ["coord", "call"],
                "{text}\n{said}"
            );
        }
    }
}

#[test]
fn advice_at_a_terminal_is_what_to_type() {
    let a = Agent::new("cli-advice", "advice");
    let b = Agent::new("cli-advised", "advice");
    a.run(&["lock", "acquire", "x"])
        .exits(0)
        .says(&["then `coord lock release`;"]);
    b.run(&["lock", "acquire", "x"])
        .exits(1)
        .says(&["line up (--wait)"]);
    b.run(&["work", "claim"]).exits(1).says(&["with --wait."]);
    b.run(&["mem", "recall", "x", "--min-relevance", "2"])
        .exits(2)
        .says(&["--min-relevance is between 0 and 1"]);
    // Scripts, models and whoever calls functions get the coordinator's own words.
    let held = b.run(&["lock", "acquire", "x", "--json"]).exits(1).json();
    assert!(held["next"].as_str().unwrap().contains("(wait_seconds)"));
    b.run(&["call", "acquire_lock", "--paths", "y"])
        .exits(0)
        .says(&["then release_lock;"]);

    // Who never claimed a task is not told of a lease that ran out.
    let task = a.run(&["work", "submit", "t", "--json"]).exits(0).json();
    let task = task["task"].as_str().unwrap();
    let stranger = |what: &str| b.run(&["work", what, task]).exits(1).says(&["not_yours"]);
    stranger("return").says(&["is not claimed by you; `coord work claim` claims"]);
    let claim = a.run(&["work", "claim", "--session", "s-1"]).exits(0);
    claim.says(&[task]);
    let said = stranger("return").says(&["is not claimed by you"]);
    assert!(!said.err().contains("lease"), "{}", said.err());
    a.run(&["work", "return", task])
        .exits(1)
        .says(&["You claimed it in another session"]);
    a.run(&["work", "return", task, "--session", "s-1"])
        .exits(0);
    a.run(&["work", "return", task, "--session", "s-1"])
        .exits(1)
        .says(&["it was returned"]);
}

#[test]
fn nobody_there_says_who_was_asked_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| Ran::of(coord().arg("--home").arg(home.path()).args(args)).exits(3);
    run(&["lock", "list", "--url", "http://127.0.0.1:9"]).says(&[
        "at http://127.0.0.1:9: ",
        "--url says so",
        "coord up --detach",
        "coord status",
    ]);
    let mut far = coord();
    far.env("COORD_URL", "http://coord.invalid:9/rest/v1")
        .args(["lock", "list"]);
    let said = Ran::of(&mut far).exits(3);
    let said = said.says(&[
        "COORD_URL says so",
        "the way to coord.invalid",
        "coord doctor",
    ]);
    assert!(!said.err().contains("coord up"), "{}", said.err());
    // A stack that went away, and one that is somewhere else.
    std::fs::write(
        home.path().join("state.json"),
        r#"{"url": "http://127.0.0.1:10"}"#,
    )
    .unwrap();
    std::fs::create_dir(home.path().join("tokens")).unwrap();
    std::fs::write(home.path().join("tokens/operator.jwt"), "t").unwrap();
    let gone = run(&["lock", "list"]).says(&["last ran at this address", "coord up --detach"]);
    assert!(!gone.err().contains("COORD_URL"), "{}", gone.err());
    run(&["lock", "list", "--url", "http://127.0.0.1:9"])
        .says(&["is at http://127.0.0.1:10: to ask that one, leave --url out"]);
    let said = run(&["lock", "list", "--json"]).err();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(
        said["hint"].as_str().unwrap().contains("coord up"),
        "{said}"
    );
}

#[test]
fn a_token_that_is_not_taken_says_whose_it_is_and_how_to_get_another() {
    let a = Agent::new("cli-token", "token");
    let stack = shared();
    let with = |token: &str| {
        let mut command = coord();
        command
            .env("COORD_HOME", &stack.home)
            .env("COORD_REPO", &a.repo)
            .env("COORD_TOKEN", token);
        command
    };
    let list = ["lock", "list"];
    let mend = format!(
        "export COORD_TOKEN=$(coord token mint --agent cli-token --type test-client --repo {})",
        a.repo
    );
    let refused = |command: &mut std::process::Command, words: &[&str]| {
        let ran = Ran::of(command).exits(1).says(words);
        assert!(
            !ran.err().contains("JW") || ran.err().contains("no JWT"),
            "{}",
            ran.err()
        );
    };
    refused(
        with("garbage").args(list),
        &["the token in COORD_TOKEN was not taken", "it is no JWT"],
    );
    // Another signature.
    let (head, signature) = a.token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{other}{}", &signature[1..]);
    refused(
        with(&forged).args(list),
        &["no key of this coordinator signed it", &mend],
    );
    // One that ended. Half a minute is forgiven, so an older one is asked about.
    let ended = stack.mint_with(&[
        "--agent",
        "cli-token",
        "--type",
        "test-client",
        "--repo",
        &a.repo,
        "--ttl",
        "1s",
    ]);
    support::eventually("the token has ended", || {
        !Ran::of(with(&ended).args(list)).output.status.success()
    });
    refused(
        with(&ended).args(list),
        &["in COORD_TOKEN was not taken: it ended", " ago, at ", &mend],
    );
    // From a file, at an address that is not the home's.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, &forged).unwrap();
    let mut there = coord();
    there
        .env("COORD_URL", &stack.url)
        .env("COORD_TOKEN_FILE", &file)
        .args(list);
    refused(
        &mut there,
        &[
            file.to_str().unwrap(),
            "(COORD_TOKEN_FILE)",
            "whoever runs the coordinator at 127.0.0.1 mints it",
        ],
    );
    // One that was kept, and one that was revoked.
    std::fs::write(stack.home.join("tokens/cli-forged.jwt"), &forged).unwrap();
    refused(
        stack.coord().args(list).args(["--as", "cli-forged"]),
        &["cli-forged.jwt (--as cli-forged)", "--save"],
    );
    operator(&["token", "revoke", &a.token]).exits(0);
    refused(with(&a.token).args(list), &["token_revoked", &mend]);
    // None at all.
    Ran::of(coord().args(list).args(["--url", &stack.url]))
        .exits(1)
        .says(&[
            "no token came with the call",
            "set COORD_TOKEN",
            "coord token mint",
        ]);
    let said = Ran::of(with(&forged).args(list).arg("--json")).exits(1);
    let said: Value = serde_json::from_str(&said.err()).unwrap();
    assert!(said["code"].is_string() && said["message"].is_string());
    assert!(
        said["hint"].as_str().unwrap().contains("token mint"),
        "{said}"
    );
}

#[test]
fn a_path_outside_of_checkouts_belongs_to_no_repository() {
    let a = Agent::new("cli-outside", "outside");
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = a.coord();
        command.env_remove("COORD_REPO").current_dir(dir.path());
        Ran::of(command.args(args))
    };
    let whole = dir.path().join("src/a.rs");
    for lost in ["src/a.rs", "./", whole.to_str().unwrap()] {
        for args in [
            &["lock", "acquire", lost][..],
            &["lock", "release", lost],
            &["lock", "list", lost],
            &["work", "submit", "t", "--path", lost],
            &["mem", "recall", "x", "--path", lost],
            &["run", "--lock", lost, "--", "true"],
        ] {
            let said = run(args).exits(2);
            said.says(&[lost, "in no repository", "(cd)", "--repo"]);
        }
    }
    let list = run(&["lock", "list", "--json"]).exits(0).json();
    assert_eq!(list["total"], 0);
    // Named, or no path at all.
    let taken = run(&["lock", "acquire", "src/a.rs", "--repo", &a.repo, "--json"]);
    assert_eq!(taken.exits(0).json()["locks"][0]["path"], "src/a.rs");
    run(&["lock", "acquire", "db:migrations"]).exits(0);
    run(&["lock", "release"]).exits(0).says(&["src/a.rs"]);
    let mut named = a.coord();
    named.current_dir(dir.path()).args(["lock", "acquire", "b"]);
    Ran::of(&mut named).exits(0);
}

#[test]
fn usage_is_not_what_the_environment_says() {
    for args in [
        &["lock", "acquire"][..],
        &["work", "done"],
        &["call", "health", "--x"],
    ] {
        let ran = operator(args).exits(2).says(&["Usage: coord "]);
        assert!(!ran.err().contains("--home"), "{}", ran.err());
    }
    let mut wrong = shared().coord();
    wrong.env("COORD_PORT", "many").arg("doctor");
    Ran::of(&mut wrong).exits(2).says(&["'many'", "--port"]);
}

#[test]
fn a_type_that_is_nearly_a_known_one_is_taken_and_told() {
    let mint = |kind: &str| {
        let args = [
            "token",
            "mint",
            "--agent",
            "cli-kind",
            "--repo",
            "git.example/cli/kind",
        ];
        operator(&[&args[..], &["--type", kind]].concat()).exits(0)
    };
    let near = mint("claude_code");
    assert_eq!(near.out().lines().count(), 1);
    near.says(&["claude_code is a type of its own", "claude-code-cli"]);
    assert_eq!(mint("claude-code-cli").err(), "");
}

#[test]
fn agents_are_listed_by_either_name() {
    let a = Agent::new("cli-listed", "listed");
    for flags in [&["--json"][..], &["--json", "--type", "test-client"]] {
        let plain = a.run(&[&["agents"], flags].concat()).exits(0).json();
        let list = a
            .run(&[&["agents", "list"], flags].concat())
            .exits(0)
            .json();
        assert_eq!(plain[0]["name"], "cli-listed");
        assert_eq!(list[0]["name"], plain[0]["name"]);
    }
    a.run(&["lock", "acquire", "x"]).exits(0);
    a.run(&["agents", "list", "--active"])
        .exits(0)
        .says(&["cli-listed"]);
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
