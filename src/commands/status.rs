//! `coord status`: whether the local stack runs and answers.

use serde_json::json;

use crate::exit::Exit;
use crate::settings::Global;
use crate::stack::Error;
use crate::stack::home::Home;
use crate::stack::lock;
use crate::stack::postgrest::{self, Ports};
use crate::stack::state::State;

/// 0: healthy; 3: not running; 4: running and not healthy.
pub async fn run(global: &Global) -> Result<Exit, Error> {
    let home = Home::at(&global.home_dir())?;
    let holder = lock::holder(&home)?;
    let state = State::read(&home).filter(|_| holder.is_some());
    let dir = home.path();
    let Some(state) = state else {
        let starting = holder.is_some();
        if global.json {
            println!(
                "{}",
                json!({ "running": starting, "healthy": false, "starting": starting, "home": dir })
            );
        } else if starting {
            println!("starting in {}", dir.display());
        } else {
            println!(
                "not running in {}; start it with `coord up --detach`",
                dir.display()
            );
        }
        return Ok(if starting {
            Exit::Server
        } else {
            Exit::Unreachable
        });
    };
    let trouble = postgrest::probe(Ports {
        api: state.port,
        admin: state.admin_port,
    })
    .await
    .err();
    if global.json {
        println!(
            "{}",
            json!({
                "running": true, "healthy": trouble.is_none(), "trouble": trouble,
                "url": state.url, "home": state.home, "pid": state.pid, "started_at": state.started_at,
                "postgres": { "version": state.postgres_version, "pid": state.postgres_pid, "socket": state.socket, "database": state.database },
                "postgrest": { "program": state.postgrest, "pid": state.postgrest_pid, "port": state.port },
                "version": state.version,
            })
        );
    } else {
        match &trouble {
            None => println!("healthy: {}", state.url),
            Some(why) => println!("running, not healthy ({why}); `coord doctor` says more"),
        }
        println!(
            "home {}, since {}, process id {} (PostgreSQL {} {}, PostgREST {})",
            state.home.display(),
            state.started_at,
            state.pid,
            state.postgres_version,
            state.postgres_pid.unwrap_or_default(),
            state.postgrest_pid.unwrap_or_default(),
        );
    }
    Ok(if trouble.is_none() {
        Exit::Done
    } else {
        Exit::Server
    })
}
