//! The local stack as processes: two at once, killed in every way, changed, foreign, closed to others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{Stack, coord, eventually, psql, read, rpc, shared, told};

/// A home of one test, stopped and removed at its end.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("coord-test-")
            .tempdir()
            .unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = coord();
        command.env("COORD_HOME", self.path()).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "coord {args:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn up(&self) -> String {
        self.done(&["up", "--detach", "--port", "0"])
    }

    fn state(&self) -> Value {
        serde_json::from_str(&read(&self.path().join("state.json"))).unwrap()
    }

    fn pid(&self, of: &str) -> i32 {
        i32::try_from(self.state()[of].as_i64().unwrap()).unwrap()
    }

    fn healthy(&self) -> bool {
        self.run(&["status"]).status.success()
    }

    async fn agent(&self, function: &str, args: Value) -> Value {
        let url = self.state()["url"].as_str().unwrap().to_owned();
        let token = read(&self.path().join("tokens/agent-1.jwt"));
        let (status, body) = rpc(&url, &token, function, args, &[]).await;
        assert_eq!(status, 200, "{function}: {body}");
        body
    }

    async fn fences(&self) -> Vec<i64> {
        let body = self.agent("check_locks", json!({})).await;
        let locks = body["locks"].as_array().unwrap();
        locks
            .iter()
            .map(|lock| lock["fence"].as_i64().unwrap())
            .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn bits(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Runs and is no zombie: in a container nobody may ever collect orphans.
fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

fn under(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            all.extend(under(&path));
        }
        all.push(path);
    }
    all
}

/// The processes of a server on this data directory: each works in it.
fn servers_of(home: &Path) -> Vec<i32> {
    let data = home.join("data");
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
        .collect()
}

#[tokio::test]
async fn two_homes_run_at_once_and_share_nothing() {
    let (one, two) = (shared(), Stack::start());
    assert_ne!(one.url, two.url);
    let agents: Vec<String> = [one, &two]
        .iter()
        .map(|stack| read(&stack.home.join("tokens/agent-1.jwt")))
        .collect();
    let paths = json!({ "paths": ["two-homes.md"] });
    for (stack, token) in [(one, &agents[0]), (&two, &agents[1])] {
        let (status, body) = stack.rpc(token, "acquire_lock", paths.clone(), &[]).await;
        assert_eq!(
            (status, &body["outcome"]),
            (200, &json!("acquired")),
            "{body}"
        );
    }
    // The token of one is nothing to the other.
    let (status, _) = two.rpc(&agents[0], "check_locks", json!({}), &[]).await;
    assert_eq!(status, 401);

    let (home, pid) = (two.home.clone(), two.pid());
    let port: u16 = two.url.rsplit(':').next().unwrap().parse().unwrap();
    drop(two);
    assert!(!home.exists(), "an ephemeral home goes at the end");
    assert!(!alive(i32::try_from(pid).unwrap()));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(servers_of(&home).is_empty());
}

#[test]
fn nothing_secret_is_open_to_others() {
    let home = &shared().home;
    let as_root = nix::unistd::geteuid().is_root();
    assert_eq!(bits(home), if as_root { 0o710 } else { 0o700 });
    for dir in ["data", "keys", "log", "run", "tokens"] {
        assert_eq!(bits(&home.join(dir)), 0o700, "{dir}");
    }
    let files: Vec<PathBuf> = under(home)
        .into_iter()
        .filter(|path| path.is_file() && !path.starts_with(home.join("data")))
        .collect();
    assert!(files.contains(&home.join("keys/signing.pem")), "{files:?}");
    assert!(
        files.contains(&home.join("tokens/operator.jwt")),
        "{files:?}"
    );
    for file in files {
        assert_eq!(bits(&file) & 0o077, 0, "{}", file.display());
    }
    let nowhere = shared().psql("select current_setting('listen_addresses') = ''");
    assert_eq!(nowhere, "t", "PostgreSQL listens on its socket only");
    assert_eq!(shared().psql("show wal_level"), "logical");
    assert_eq!(shared().psql("show fsync"), "on");
}

#[tokio::test]
async fn whatever_is_killed_comes_back_with_its_locks() {
    let home = Home::new();
    home.up();
    home.agent("acquire_lock", json!({ "paths": ["README.md"] }))
        .await;
    let fences = home.fences().await;
    assert_eq!(fences.len(), 1);

    let again = home.run(&["up", "--port", "0"]);
    assert_eq!(again.status.code(), Some(1), "{}", told(&again));
    let url = home.state()["url"].as_str().unwrap().to_owned();
    assert!(told(&again).contains(&url), "{}", told(&again));
    assert!(home.up().contains(&url), "up --detach twice is one stack");

    for server in ["postgrest_pid", "postgres_pid"] {
        let pid = home.pid(server);
        kill_9(pid);
        eventually("the server runs again", || {
            home.pid(server) != pid && home.healthy()
        });
        assert_eq!(home.fences().await, fences, "after kill -9 of {server}");
    }
    let log = read(&home.path().join("log/coord.log"));
    assert!(
        log.contains("PostgREST ended") && log.contains("PostgreSQL ended"),
        "{log}"
    );

    let (coord, postgres, postgrest) = (
        home.pid("pid"),
        home.pid("postgres_pid"),
        home.pid("postgrest_pid"),
    );
    kill_9(coord);
    eventually("no server outlives its coord up", || {
        !alive(postgres) && !alive(postgrest)
    });
    assert_eq!(home.run(&["status"]).status.code(), Some(3));
    home.up();
    assert_eq!(home.fences().await, fences, "after kill -9 of coord up");

    assert_eq!(home.done(&["down"]).trim(), "stopped");
    assert_eq!(servers_of(home.path()), Vec::<i32>::new());
    assert_eq!(home.done(&["down"]).trim(), "not running");
    assert_eq!(home.run(&["status"]).status.code(), Some(3));
}

#[tokio::test]
async fn leftovers_are_stopped_and_strangers_are_not() {
    let home = Home::new();
    home.up();
    home.agent("acquire_lock", json!({ "paths": ["README.md"] }))
        .await;
    let state = home.state();
    home.done(&["down"]);

    // A stranger with the process id that a crash left in the file.
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    let data = home.path().join("data");
    let pid_file = data.join("postmaster.pid");
    fs::write(
        &pid_file,
        format!("{}\n{}\n1\n5432\n", stranger.id(), data.display()),
    )
    .unwrap();
    fs::write(
        home.path().join("postgrest.pid"),
        format!("{} 1@elsewhere\n", stranger.id()),
    )
    .unwrap();
    home.up();
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "a stranger was killed"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    home.done(&["down"]);

    // A postmaster of ours without its coord up.
    let owner = fs::metadata(&data).unwrap();
    let mut leftover =
        Command::new(Path::new(state["postgres_bin"].as_str().unwrap()).join("postgres"));
    leftover
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(state["socket"].as_str().unwrap());
    leftover
        .args(["-c", "listen_addresses="])
        .env("LC_ALL", "C");
    leftover
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    if nix::unistd::geteuid().is_root() {
        leftover.uid(owner.uid()).gid(owner.gid());
    }
    let mut leftover = leftover.spawn().unwrap();
    eventually("the leftover runs", || {
        !servers_of(home.path()).is_empty() && pid_file.exists()
    });
    // Collected as soon as it ends, as init would.
    let reaper = std::thread::spawn(move || leftover.wait().unwrap());
    home.up();
    assert!(
        reaper.join().unwrap().success(),
        "the leftover ended in order"
    );
    assert_eq!(home.fences().await.len(), 1, "and its data is there");
}

#[test]
fn a_changed_migration_is_named_and_reset_keeps_the_old_data() {
    let home = Home::new();
    home.up();
    let socket = PathBuf::from(home.state()["socket"].as_str().unwrap());
    let changed = psql(
        &socket,
        "update coord_meta._sqlx_migrations set checksum = '\\x00'
         where version = (select max(version) from coord_meta._sqlx_migrations) returning version",
    );
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(4), "{}", told(&doctor));
    assert!(told(&doctor).contains(&changed), "{}", told(&doctor));
    home.done(&["down"]);

    let refused = home.run(&["up", "--detach", "--port", "0"]);
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    for word in [changed.as_str(), "was changed", "coord up --reset"] {
        assert!(told(&refused).contains(word), "{}", told(&refused));
    }
    assert!(
        servers_of(home.path()).is_empty(),
        "a failed start leaves nothing running"
    );

    home.done(&["up", "--detach", "--port", "0", "--reset"]);
    assert!(home.healthy());
    let old: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("data.old-"))
        .collect();
    assert_eq!(old.len(), 1);
    let again = home.run(&["up", "--detach", "--reset"]);
    assert!(told(&again).contains("coord down"), "{}", told(&again));
}

#[test]
fn a_foreign_data_directory_is_left_alone() {
    let home = Home::new();
    fs::write(home.path().join("precious.txt"), "mine").unwrap();
    let refused = home.run(&["up", "--port", "0"]);
    assert!(!refused.status.success());
    assert!(
        told(&refused).contains("no home of coord"),
        "{}",
        told(&refused)
    );
    assert!(!home.path().join("keys").exists());

    fs::remove_file(home.path().join("precious.txt")).unwrap();
    fs::write(home.path().join("lock"), "").unwrap();
    fs::create_dir(home.path().join("data")).unwrap();
    fs::write(home.path().join("data/PG_VERSION"), "15\n").unwrap();
    let refused = home.run(&["up", "--port", "0"]);
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    assert!(
        told(&refused).contains("was not made by `coord up`"),
        "{}",
        told(&refused)
    );
}

#[test]
fn a_taken_port_is_said_with_what_to_do() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for args in [
        vec!["up", "--port", &port],
        vec!["up", "--detach", "--port", &port],
    ] {
        let refused = home.run(&args);
        assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
        assert!(told(&refused).contains("--port 0"), "{}", told(&refused));
    }
    let doctor = home.run(&["doctor", "--port", &port]);
    assert!(
        told(&doctor).contains("coord up --port 0"),
        "{}",
        told(&doctor)
    );
}

#[test]
fn the_doctor_closes_what_is_open() {
    let home = Home::new();
    // Makes home and keys, and fails before any server starts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    home.run(&["up", "--port", &port]);
    let tokens = home.path().join("tokens");
    fs::write(tokens.join("x.jwt"), "x").unwrap();
    fs::set_permissions(tokens.join("x.jwt"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o755)).unwrap();
    let before = home.run(&["doctor", "--port", "0"]);
    assert_eq!(before.status.code(), Some(4), "{}", told(&before));
    let after = home.run(&["doctor", "--fix", "--port", "0"]);
    assert_eq!(
        after.status.code(),
        Some(3),
        "only that it does not run: {}",
        told(&after)
    );
    assert_eq!(bits(&tokens), 0o700);
    assert_eq!(bits(&tokens.join("x.jwt")), 0o600);
}

#[tokio::test]
async fn tokens_are_minted_inspected_and_revoked() {
    let stack = shared();
    let token = stack.mint("minted", "codex", "git@GitHub.com:owner/name.git");
    let (status, body) = stack.rpc(&token, "check_locks", json!({}), &[]).await;
    assert_eq!(
        (status, &body["repo"]),
        (200, &json!("github.com/owner/name")),
        "{body}"
    );

    let inspect = |token: &str| -> Value {
        let output = stack
            .coord()
            .args(["token", "inspect", "--json", token])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)))
    };
    let found = inspect(&token);
    assert_eq!(found["signature_valid"], true);
    assert_eq!(found["claims"]["role"], "coord_agent");
    assert_eq!(found["claims"]["aud"], "coord");
    let (body, signature) = token.rsplit_once('.').unwrap();
    let forged = format!(
        "{body}.{}{}",
        if signature.starts_with('A') { 'B' } else { 'A' },
        &signature[1..]
    );
    assert_eq!(inspect(&forged)["signature_valid"], false);

    let revoked = stack
        .coord()
        .args(["token", "revoke", &token, "--reason", "test"])
        .output()
        .unwrap();
    assert!(revoked.status.success(), "{}", told(&revoked));
    let (status, body) = stack.rpc(&token, "check_locks", json!({}), &[]).await;
    assert_eq!(
        (status, &body["message"]),
        (401, &json!("token_revoked")),
        "{body}"
    );

    let auditor = stack.mint_with(&[
        "--agent", "eye", "--type", "person", "--role", "auditor", "--ttl", "60",
    ]);
    let left = inspect(&auditor)["seconds_left"].as_i64().unwrap();
    assert!((1..=60).contains(&left), "{left}");
    let no_repo = stack
        .coord()
        .args(["token", "mint", "--agent", "x", "--type", "cli"])
        .output()
        .unwrap();
    assert_eq!(no_repo.status.code(), Some(2), "{}", told(&no_repo));
}

#[test]
fn a_proxy_is_not_asked_for_this_machine() {
    let stack = shared();
    let output = stack
        .coord()
        .args([
            "token", "mint", "--agent", "p", "--type", "cli", "--repo", "local/p",
        ])
        .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:9")))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

/// A worker takes over all settings, and fails on one that only passes in the main process.
#[test]
fn big_queries_run_in_parallel() {
    let plan = shared().psql(
        "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
         explain (analyze, costs off) select count(*) from coord.audit_log",
    );
    assert!(plan.contains("Workers Launched: "), "{plan}");
    assert!(!plan.contains("Workers Launched: 0"), "{plan}");
    assert_eq!(
        shared().psql("show default_text_search_config"),
        "pg_catalog.english"
    );
}

#[test]
fn the_environment_leads_psql_to_the_database() {
    let stack = shared();
    let script = r#"eval "$("$0" env)" && psql -XAtc 'select current_user, current_database()' && psql -XAt "$DATABASE_URL" -c 'select 1'"#;
    let output = support::clean("sh")
        .args(["-c", script, support::COORD])
        .env("COORD_HOME", &stack.home)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "postgres|coord\n1\n",
        "{}",
        told(&output)
    );
}

/// Root drops its servers to another account; here everything runs as a plain user.
#[tokio::test]
async fn a_plain_user_needs_no_root() {
    let me = nix::unistd::geteuid();
    if !me.is_root() {
        // Every test of this file is this test then.
        assert_eq!(
            fs::metadata(shared().home.join("data")).unwrap().uid(),
            me.as_raw()
        );
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody")
        .unwrap()
        .expect("an account nobody");
    // Where the program and PostgREST were built or cached, nobody may not be able to go.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("coord");
    let postgrest = dir.path().join("postgrest");
    fs::copy(support::COORD, &program).unwrap();
    fs::copy(&shared().postgrest, &postgrest).unwrap();
    let mut command = support::clean(&program);
    command
        .env("COORD_POSTGREST", &postgrest)
        .env("HOME", "/nonexistent");
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    let stack = Stack::from(command);
    let owner = fs::metadata(stack.home.join("data")).unwrap().uid();
    assert_eq!(owner, nobody.uid.as_raw());
    let token = read(&stack.home.join("tokens/agent-1.jwt"));
    let (status, body) = stack
        .rpc(&token, "acquire_lock", json!({ "paths": ["x"] }), &[])
        .await;
    assert_eq!(
        (status, &body["outcome"]),
        (200, &json!("acquired")),
        "{body}"
    );
}
