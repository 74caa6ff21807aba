//! Commands in a scratch worktree: what `inline` and `local` have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::Work;
use crate::commands::dispatch::config::Wrong;
use crate::commands::dispatch::job::{Ended, Verdict, last};
use crate::commands::dispatch::process::{self, Came, Line, Log};
use crate::commands::dispatch::scratch::Run;

/// Commands and their limits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    #[serde(default)]
    pub commands: Vec<String>,
    timeout_seconds: Option<u64>,
    memory_mb: Option<u64>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Variables of the dispatcher's own environment.
    #[serde(default)]
    pass: Vec<String>,
}

impl Shell {
    pub fn read(section: &Value) -> Result<Self, Wrong> {
        // `inline:` alone wants nothing more than what is built in.
        let section = match section {
            Value::Null => Value::Object(serde_json::Map::new()),
            section => section.clone(),
        };
        let shell: Self = serde_json::from_value(section).map_err(|error| error.to_string())?;
        shell.check()?;
        Ok(shell)
    }

    pub fn check(&self) -> Result<(), String> {
        let names = self.pass.iter().chain(self.env.keys());
        match names.into_iter().find(|name| name.starts_with("COORD_")) {
            Some(name) => Err(format!(
                "{name} stays with the dispatcher: a check runs what the author of a change wrote"
            )),
            None => self.memory_mb.map_or(Ok(()), process::can_limit),
        }
    }

    /// Runs the commands in turn, until one fails.
    pub async fn run(&self, work: &Work, base: &str, built_in: Option<&str>) -> Ended {
        let Some(checkout) = &work.repo.checkout else {
            return Ended::error("there is no checkout of the repository here");
        };
        let run = match work.scratch.run(&work.name(), checkout) {
            Ok(run) => run,
            Err(error) => return Ended::error(format!("there is no place to run it: {error}")),
        };
        let ended = match run.check_out(&work.job.head).await {
            Ok(()) => self.attend(work, base, &run, built_in).await,
            Err(why) => Ok(Ended::error(why)),
        };
        process::sweep(&run.name).await;
        *work.left.lock().await = Some(run);
        ended.unwrap_or_else(|error| Ended::error(format!("it could not be run: {error}")))
    }

    async fn attend(
        &self,
        work: &Work,
        base: &str,
        run: &Run,
        built_in: Option<&str>,
    ) -> std::io::Result<Ended> {
        let env = self.environment(work, base, run);
        let (path, file) = work.scratch.log(&work.name())?;
        let mut log = Log::new(file);
        let until = self
            .timeout_seconds
            .map(|it| Instant::now() + Duration::from_secs(it));
        let tree = run.tree();
        let mut ended = Ended::new(Verdict::Passed, "");
        for line in built_in
            .into_iter()
            .chain(self.commands.iter().map(String::as_str))
        {
            log.write(format!("$ {line}\n").as_bytes());
            let line = Line {
                text: line,
                dir: &tree,
                env: &env,
                mark: &run.name,
                memory_mb: self.memory_mb,
                until,
            };
            let came = line.run(&mut log, &work.stop).await?;
            log.write(format!("[coord: {}]\n", came.said()).as_bytes());
            ended.verdict = match came {
                Came::To(status) if status.success() => continue,
                Came::To(_) => Verdict::Failed,
                Came::TimedOut => Verdict::TimedOut,
                Came::Stopped => Verdict::Error,
            };
            break;
        }
        ended.summary = last(&log.tail(), 1900);
        ended = ended.with("log", path.display().to_string());
        if let Some(url) = &work.log_url {
            ended = ended.with("log_url", url.replace("{name}", &work.name()));
        }
        Ok(ended)
    }

    /// All that a command finds: nothing of the dispatcher's but what it is passed.
    fn environment(&self, work: &Work, base: &str, run: &Run) -> Vec<(String, String)> {
        let mut env = work.facts(base);
        let mut put = |name: &str, value: String| env.push((name.to_owned(), value));
        put("HOME", run.home().display().to_string());
        put("TMPDIR", run.tmp().display().to_string());
        put("LANG", "C.UTF-8".to_owned());
        put("CI", "true".to_owned());
        // No hook of the repository, or of the change, where a command uses git.
        put("GIT_CONFIG_COUNT", "1".to_owned());
        put("GIT_CONFIG_KEY_0", "core.hooksPath".to_owned());
        put("GIT_CONFIG_VALUE_0", "/dev/null".to_owned());
        for name in ["PATH"]
            .into_iter()
            .chain(self.pass.iter().map(String::as_str))
        {
            if let Ok(value) = std::env::var(name) {
                put(name, value);
            }
        }
        env.extend(self.env.clone());
        env
    }
}
