//! Brings the database to the migrations that are built into this program.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection};

use super::home::Home;
use super::postgres::{self, DATABASE};
use super::{Error, clock};

/// `sqlx.toml` names the schema and table of the record.
static MIGRATOR: Migrator = sqlx::migrate!("supabase/migrations");

/// Applies what is missing.
///
/// # Errors
/// A migration failed, or one that was applied is now another.
pub async fn run(home: &Home) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(&postgres::connection(home, DATABASE)).await?;
    let result = MIGRATOR.run(&mut connection).await;
    connection.close().await?;
    result.map_err(|error| Error::Migration(explain(home, &error)))
}

fn explain(home: &Home, error: &MigrateError) -> String {
    let dir = home.path().display();
    let reset = format!(
        "either run the version of coord that made this database, or start with an empty one: `coord up --reset --home {dir}` (the old data is kept as data.old-{}…)",
        &clock::compact(clock::now())[..8]
    );
    match error {
        MigrateError::VersionMismatch(version) => format!(
            "migration {} was changed after it was applied to the database in {dir}; {reset}",
            name(*version)
        ),
        MigrateError::VersionMissing(version) => format!(
            "the database in {dir} has migration {version}, which this coord does not know (made by a newer version?); {reset}"
        ),
        MigrateError::ExecuteMigration(cause, version) => format!(
            "migration {} failed and was rolled back: {}",
            name(*version),
            database_words(cause)
        ),
        other => format!(
            "the migrations cannot be applied: {other}; see {}",
            home.log("postgres").display()
        ),
    }
}

/// `20261122000100_foundation.sql`.
fn name(version: i64) -> String {
    let description = MIGRATOR
        .iter()
        .find(|migration| migration.version == version)
        .map_or(Cow::Borrowed(""), |m| m.description.clone());
    format!("{version}_{}.sql", description.replace(' ', "_"))
}

fn database_words(error: &sqlx::Error) -> String {
    let sqlx::Error::Database(error) = error else {
        return error.to_string();
    };
    let mut words = error.to_string();
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        for more in [error.detail(), error.hint(), error.r#where()]
            .into_iter()
            .flatten()
        {
            words.push_str("; ");
            words.push_str(more);
        }
    }
    words
}

/// Whether the database has exactly our migrations; `None` when all is well.
///
/// # Errors
/// The database cannot be reached.
pub async fn difference(home: &Home) -> Result<Option<String>, Error> {
    use sqlx::migrate::Migrate;
    let mut connection = PgConnection::connect_with(&postgres::connection(home, DATABASE)).await?;
    let table = MIGRATOR.table_name.as_ref();
    let applied = connection
        .list_applied_migrations(table)
        .await
        .map_err(|error| Error::Migration(explain(home, &error)))?;
    connection.close().await?;
    for migration in MIGRATOR.iter() {
        match applied.iter().find(|a| a.version == migration.version) {
            Some(a) if a.checksum != migration.checksum => {
                return Ok(Some(explain(
                    home,
                    &MigrateError::VersionMismatch(a.version),
                )));
            }
            Some(_) => {}
            None => {
                return Ok(Some(format!(
                    "migration {} is not applied yet; restart the stack: `coord down`, then `coord up`",
                    name(migration.version)
                )));
            }
        }
    }
    Ok(applied
        .iter()
        .find(|a| !MIGRATOR.version_exists(a.version))
        .map(|a| explain(home, &MigrateError::VersionMissing(a.version))))
}
