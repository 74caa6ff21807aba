//! `coord hook status`: which hooks are in place, and whether the coordinator answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::canary::{self, Seen};
use super::place::Place;
use super::{Caller, Error, Hook, script, within, words};
use crate::commands::Error as CommandError;
use crate::commands::show::{self, BAD, FAINT, GOOD, NAME, styled};
use crate::exit::Exit;
use crate::settings::Global;

const LIMIT: Duration = Duration::from_secs(8);

/// 0: it answers; 3: it does not, and no hook can do its work.
pub async fn run(repo: Option<&str>, global: &Global) -> Result<Exit, CommandError> {
    let place = Place::find().map_err(|error| CommandError::Usage(error.to_string()))?;
    let hooks: Vec<_> = Hook::ALL.iter().map(|hook| look(&place, *hook)).collect();
    let clients = canary::all();
    let asked = ask(repo, global).await;
    let exit = if asked.is_ok() {
        Exit::Done
    } else {
        Exit::Unreachable
    };
    if global.json {
        let coordinator = match asked {
            Ok(answer) => answer,
            Err(error) => {
                json!({"answers": false, "why": error.to_string(), "mend": words::mend(&error)})
            }
        };
        show::json(
            &json!({"hooks": hooks, "clients": clients.iter().map(client).collect::<Vec<_>>(), "coordinator": coordinator}),
        );
        return Ok(exit);
    }
    let rows: Vec<Vec<String>> = hooks
        .iter()
        .map(|hook| {
            ["hook", "state", "path", "before"]
                .map(|name| words::text(hook, name))
                .to_vec()
        })
        .collect();
    show::print(&show::table(
        &["hook", "state", "where", "runs first"],
        &rows,
        &[NAME, GOOD, FAINT],
    ));
    let rows: Vec<Vec<String>> = clients.iter().map(client_row).collect();
    show::print(&show::table(
        &["client", "state", "where", "why"],
        &rows,
        &[NAME, GOOD, FAINT],
    ));
    show::print(&match asked {
        Ok(answer) => format!(
            "coordinator: {}; you are {}, the policy in {} is {}\n",
            styled(GOOD, words::text(&answer, "url")),
            styled(NAME, words::text(&answer, "agent")),
            words::text(&answer, "repo"),
            words::text(&answer, "policy"),
        ),
        Err(error) => format!(
            "coordinator: {}: {}\n  what mends it: {}\n",
            styled(BAD, "does not answer"),
            words::why_not(&error),
            words::mend(&error)
        ),
    });
    Ok(exit)
}

fn client(seen: &Seen) -> Value {
    json!({"client": seen.client, "state": seen.canary.state(), "path": seen.path, "why": seen.canary.why()})
}

fn client_row(seen: &Seen) -> Vec<String> {
    vec![
        seen.client.to_owned(),
        seen.canary.state().to_owned(),
        seen.path.display().to_string(),
        show::harmless(seen.canary.why()).replace('\n', " "),
    ]
}

fn look(place: &Place, hook: Hook) -> Value {
    let file = place.script(hook);
    let (path, called) = match place {
        Place::Folder(_) => (file.clone(), true),
        Place::Husky { shared, .. } => {
            let path = shared.join(hook.name());
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (path, text.lines().any(script::is_line))
        }
    };
    let state = if script::ours(&file).is_some() && called {
        "installed"
    } else if path.symlink_metadata().is_ok() {
        "not ours"
    } else {
        "not there"
    };
    let before = Some(script::before(&file)).filter(|it| it.symlink_metadata().is_ok());
    json!({"hook": hook.name(), "state": state, "path": path, "before": before})
}

/// The question that a commit of everything would ask: the answer says who asks and under which policy.
async fn ask(repo: Option<&str>, global: &Global) -> Result<Value, Error> {
    let caller = Caller::new(global, repo)?;
    let mut args = caller.args();
    args.insert("paths".to_owned(), json!(["./"]));
    let asked = async { Ok(caller.client.call("verify_locks", &args).await?.body) };
    let answer = within(LIMIT, asked).await?;
    let field = |name| words::text(&answer, name);
    Ok(json!({
        "answers": true, "url": caller.client.target().url,
        "agent": field("agent"), "repo": field("repo"), "policy": field("policy"),
    }))
}
