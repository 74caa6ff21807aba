//! `coord hook install`: hooks in front of which those that were there keep their say.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::WhenDown;
use super::place::{self, Place};
use super::wiring::{Change, Client};
use super::{Caller, Error, Hook, Names, config, script, within};
use crate::cli;
use crate::commands::Error as CommandError;
use crate::commands::show::{self, FAINT, GOOD, NAME, styled};
use crate::exit::Exit;
use crate::settings::{AGENT, Global};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    names: Names,
    /// Only show what would be written
    #[arg(long)]
    dry_run: bool,
    /// What clients' hooks do where the coordinator cannot be asked [default: as your profile says, else deny]
    #[arg(long, value_enum)]
    when_down: Option<WhenDown>,
}

/// Puts them in, or brings them up to date.
pub async fn run(args: &Args, repo: Option<&str>, global: &Global) -> Result<Exit, CommandError> {
    let kept = |error: Error| CommandError::Usage(error.to_string());
    let place = Place::find().map_err(|error| kept(error.into()))?;
    let (mut hooks, mut clients) = (args.names.of_git(), args.names.of_clients());
    let root = place::root();
    if args.names.names.is_empty() {
        hooks = Hook::CLIENT.to_vec();
        clients = Client::ALL.to_vec();
        clients.retain(|client| root.as_ref().is_some_and(|root| client.is_here(root)));
    }
    // Before anything is written: all or nothing, as far as can be known.
    for hook in &hooks {
        room(&place.script(*hook))?;
    }
    let mut changes = Vec::new();
    let mut granted = None;
    if !clients.is_empty() {
        let root = root.ok_or_else(|| {
            CommandError::Usage(
                "clients work in a checkout, and this repository is bare".to_owned(),
            )
        })?;
        if !args.dry_run {
            granted = grant(repo, global).await;
        }
        let when_down = match args.when_down {
            Some(when_down) => when_down,
            None => of_profile(repo, global).await,
        };
        for client in clients {
            changes.push((client, client.wire(&root, when_down).map_err(kept)?));
        }
    }
    if args.dry_run {
        for hook in &hooks {
            let file = place.script(*hook);
            show::print(&format!("would write {}\n", file.display()));
        }
        for (_, change) in &changes {
            show::print(&change.diff());
        }
        return Ok(Exit::Done);
    }
    let program = std::env::current_exe()
        .map_err(|source| kept(file_error("find", Path::new("coord"))(source)))?;
    let settings = config::keep(global, repo, cli::said).map_err(kept)?;
    let mut done = Vec::new();
    for hook in hooks {
        done.push(put(&place, hook, &program).map_err(kept)?);
    }
    for (client, change) in &changes {
        change.make().map_err(kept)?;
        done.push(Put::of_client(*client, change));
    }
    let for_all = place::is_for_all();
    if global.json {
        let config: serde_json::Map<_, _> = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str())))
            .collect();
        let hooks: Vec<_> = done.iter().map(Put::json).collect();
        show::json(
            &json!({"ok": true, "hooks": hooks, "config": config, "granted": granted, "for_all_repositories": for_all}),
        );
        return Ok(Exit::Done);
    }
    for put in &done {
        show::print(&put.told());
    }
    for (key, value) in &settings {
        show::print(&format!(
            "{} {} = {value}\n",
            styled(GOOD, "set"),
            styled(NAME, key)
        ));
    }
    if let Some(repo) = granted {
        show::print(&format!(
            "{} {AGENT}, whom agents speak as here, may work in {}; a token of its own makes another: coord token mint\n",
            styled(GOOD, "granted"),
            styled(NAME, &repo),
        ));
    }
    if for_all {
        show::print(
            "Mind: core.hooksPath of your own git config leads there, so these hooks are for all your repositories.\n\
             For this one alone: `coord hook uninstall`, `git config core.hooksPath .git/hooks`, and again.\n",
        );
    }
    Ok(Exit::Done)
}

/// Beside a local stack its operator installs the hooks, so that its first agent works here: it
/// is granted the repository. Gives the repository.
async fn grant(repo: Option<&str>, global: &Global) -> Option<String> {
    if config::Config::read().behind(global).names_principal() {
        return None;
    }
    let granted = within(Duration::from_secs(5), async {
        let caller = Caller::new(global, repo)?;
        let Some(repo) = caller.repo else {
            return Err(Error::Usage(
                "this checkout has no remote to name it by; say --repo local/NAME".to_owned(),
            ));
        };
        let args = json!({"name": AGENT, "repos": [repo]});
        let args = args.as_object().cloned().unwrap_or_default();
        let answer = caller.client.call("register_agent", &args).await?;
        if answer.ok() {
            Ok(repo)
        } else {
            Err(Error::NoDecision(answer.body.to_string()))
        }
    });
    granted
        .await
        .inspect_err(|error| {
            anstream::eprintln!(
                "coord: {AGENT}, whom agents speak as here, is granted nothing: {error}"
            );
        })
        .ok()
}

/// As the profile of whoever asks says; nobody who cannot ask is let through later.
async fn of_profile(repo: Option<&str>, global: &Global) -> WhenDown {
    let profile = within(Duration::from_secs(5), async {
        let caller = Caller::of_client(global, repo)?;
        Ok(caller
            .client
            .call("my_profile", &serde_json::Map::new())
            .await?)
    });
    match profile.await {
        Ok(profile)
            if profile.body["when_down"] == "allow" || profile.body["when_down"] == "git" =>
        {
            WhenDown::Allow
        }
        Ok(_) => WhenDown::Deny,
        Err(error) => {
            anstream::eprintln!(
                "coord: your profile cannot be asked, so clients' hooks deny while the coordinator is down \
                 (--when-down allow is the other way): {error}"
            );
            WhenDown::Deny
        }
    }
}

/// Two hooks of before cannot both be kept.
fn room(file: &Path) -> Result<(), CommandError> {
    let before = script::before(file);
    let foreign = file.symlink_metadata().is_ok() && script::ours(file).is_none();
    if foreign && before.symlink_metadata().is_ok() {
        return Err(CommandError::Usage(format!(
            "{} is not ours, and {} is there already from an earlier install: \
             put what you want to keep into the second, remove the first, and install again",
            file.display(),
            before.display()
        )));
    }
    Ok(())
}

/// What was done about one hook.
struct Put {
    hook: &'static str,
    path: PathBuf,
    /// installed, updated or unchanged.
    what: &'static str,
    /// The hook that runs first.
    before: Option<PathBuf>,
}

impl Put {
    fn of_client(client: Client, change: &Change) -> Self {
        Self {
            hook: client.name(),
            path: change.path.clone(),
            what: change.what(),
            before: None,
        }
    }

    fn json(&self) -> Value {
        json!({"hook": self.hook, "path": self.path, "outcome": self.what, "before": self.before})
    }

    fn told(&self) -> String {
        let first = self
            .before
            .as_ref()
            .map(|it| format!(", after {}", it.display()));
        format!(
            "{} {} {}\n",
            styled(GOOD, self.what),
            styled(NAME, self.hook),
            styled(
                FAINT,
                format_args!("{}{}", self.path.display(), first.unwrap_or_default())
            )
        )
    }
}

fn put(place: &Place, hook: Hook, program: &Path) -> Result<Put, Error> {
    let file = place.script(hook);
    let there = script::ours(&file);
    let text = script::text(hook, program);
    let mut what = match &there {
        None => "installed",
        Some(old) if *old == text && is_executable(&file) => "unchanged",
        Some(_) => "updated",
    };
    if what != "unchanged" {
        write(&file, &text, there.is_none())?;
    }
    let mut path = file.clone();
    if let Place::Husky { shared, .. } = place {
        path = shared.join(hook.name());
        if add_line(&path, hook)? && what == "unchanged" {
            what = "updated";
        }
    }
    let before = Some(script::before(&file)).filter(|it| it.symlink_metadata().is_ok());
    Ok(Put {
        hook: hook.name(),
        path,
        what,
        before,
    })
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|it| it.permissions().mode() & 0o111 != 0)
}

/// A whole script takes the place at once; what was there goes aside first.
fn write(file: &Path, text: &str, aside: bool) -> Result<(), Error> {
    let fail = || file_error("write", file);
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail())?;
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(fail())?;
    new.write_all(text.as_bytes()).map_err(fail())?;
    let mode = std::fs::Permissions::from_mode(0o755);
    new.as_file().set_permissions(mode).map_err(fail())?;
    if aside && file.symlink_metadata().is_ok() {
        std::fs::rename(file, script::before(file)).map_err(fail())?;
    }
    new.persist(file).map_err(|error| fail()(error.error))?;
    Ok(())
}

/// Adds our line to a file of husky's; false where it is there already.
fn add_line(file: &Path, hook: Hook) -> Result<bool, Error> {
    let fail = || file_error("write", file);
    let mut text = match std::fs::read_to_string(file) {
        Ok(text) if text.lines().any(script::is_line) => return Ok(false),
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(fail()(error)),
    };
    let new = text.is_empty();
    if new {
        text.push_str("#!/bin/sh\n");
    } else if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&script::line(hook));
    std::fs::write(file, text).map_err(fail())?;
    if new {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file, mode).map_err(fail())?;
    }
    Ok(true)
}

/// What to say when a file cannot be dealt with.
pub fn file_error(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File {
        doing,
        path,
        source,
    }
}
