//! `coord env`: variables for a shell, as in `eval "$(coord env)"`.

use std::path::Path;

use crate::exit::Exit;
use crate::settings::Global;
use crate::stack::Error;
use crate::stack::home::Home;
use crate::stack::lock;
use crate::stack::state::State;

use super::up::quote;

/// Prints where the running stack is, for clients and for database administrators.
pub fn run(global: &Global) -> Result<Exit, Error> {
    let home = Home::at(&global.home_dir())?;
    let state = State::read(&home)
        .filter(|_| lock::holder(&home).is_ok_and(|holder| holder.is_some()))
        .ok_or_else(|| Error::NotRunning(home.path().to_owned()))?;
    let variables = [
        ("COORD_URL", state.url.clone()),
        ("COORD_HOME", state.home.display().to_string()),
        ("PGHOST", state.socket.display().to_string()),
        ("PGPORT", "5432".to_owned()),
        ("PGDATABASE", state.database.clone()),
        ("PGUSER", "postgres".to_owned()),
        ("DATABASE_URL", state.database_url()),
    ];
    if global.json {
        let object: serde_json::Map<String, serde_json::Value> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        println!("{}", serde_json::Value::Object(object));
    } else {
        for (name, value) in variables {
            println!("export {name}={}", quote(Path::new(&value)));
        }
    }
    Ok(Exit::Done)
}
