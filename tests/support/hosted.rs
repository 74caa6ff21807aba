//! A database as hosted Supabase has it (`sql-tests/hosted --serve`): no stack, no PostgREST.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use super::{clean, told};

/// Goes when its standard input ends, so with its test whatever happens.
pub struct Hosted {
    /// Of the server: its socket is here.
    pub dir: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Hosted {
    pub fn start(options: &[&str]) -> Self {
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut child = script("hosted")
            .arg("--serve")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(
            line.starts_with('/'),
            "sql-tests/hosted --serve {options:?}; is all there (.ci/setup test)?\n{}",
            super::read(errors.path())
        );
        Self {
            dir: line.trim().into(),
            child,
            stdin,
        }
    }

    /// What `psql -At` prints, as one of the server's users.
    pub fn psql(&self, user: &str, sql: &str) -> String {
        let output = clean("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres"])
            .args(["-U", user, "-c", sql, "-h"])
            .arg(&self.dir)
            .output()
            .expect("psql is installed");
        assert!(output.status.success(), "{sql}\n{}", told(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Calls a function of the contract as `PostgREST` would, in a session of that name.
    pub fn call(&self, claims: &Value, session: &str, call: &str) -> Value {
        let answer = self.psql(
            "supabase_admin",
            &format!(
                "begin;
                 select set_config('request.jwt.claims', '{claims}', true),
                   set_config('request.headers', '{headers}', true), set_config('role', '{role}', true);
                 select coord_v1.{call};
                 commit",
                headers = json!({"x-session-id": session}),
                role = claims["role"].as_str().unwrap(),
            ),
        );
        let answer = answer.lines().last().unwrap_or_default();
        serde_json::from_str(answer).unwrap_or_else(|_| panic!("{call}: {answer}"))
    }

    pub fn restart(&self) {
        let output = script("scratch")
            .arg("restart")
            .arg(&self.dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// The claims of a token, as whoever verified it passes them on.
pub fn claims(sub: &str, role: &str) -> Value {
    json!({
        "role": role, "sub": sub, "aud": "coord", "jti": format!("jti-{sub}"),
        "agent_type": "test", "exp": 4_000_000_000_u64,
    })
}

fn script(name: &str) -> Command {
    clean(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("sql-tests")
            .join(name),
    )
}
