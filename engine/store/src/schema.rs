//! Migrations: forward only, a command of their own. Services refuse a schema that they cannot work on.
//!
//! A program is named by the newest migration that it knows. It works on a database that has exactly those, and on a newer
//! one whose newer migrations all say that it may: so the programs before and after an upgrade run at the same time.

use signalbox_schemas::Micros;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use std::time::Duration;

use crate::error::StoreError;
use crate::tables::schema_step::{self, SchemaWindow};
use crate::tables::{journal, worker};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Begins the line by which a migration says which programs can work on its result.
const WORKS_WITH: &str = "-- works with programs since: ";
/// An engine that was silent for so long has ended, whatever its lease.
const ENGINE_SILENT: Duration = Duration::from_secs(30);
/// Days for which journal partitions exist ahead of today.
const DAYS_AHEAD: i64 = 8;

/// What became of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrated {
    /// It has this program's schema.
    ToThisProgram,
    /// It has the schema of a newer program, with which this one works: nothing was changed.
    ByANewerProgram,
}

/// Brings the database to this program's schema, creates the journal's partitions and, where there are none
/// yet, lanes. Running it again is safe, on a database that a newer program has migrated too.
pub async fn migrate(connection: &mut PgConnection, lanes: u16) -> Result<Migrated, StoreError> {
    let migrated = match schema_step::window(connection).await? {
        Some(window) if window.newest > program() => {
            admits(window, program()).map_err(StoreError::Schema)?;
            Migrated::ByANewerProgram
        }
        found => {
            if let Some(window) = found {
                let done = schema_step::carried_out(connection).await?;
                let open = steps().into_iter().filter(|(version, _)| !done.contains(version));
                refuse_to_end_engines(connection, window, open.map(|(_, oldest)| oldest)).await?;
            }
            let ran = MIGRATOR.run(&mut *connection).await;
            ran.map_err(|error| StoreError::Schema(error.to_string()))?;
            // Until this is done, programs that do not know the new steps are refused: nobody starts too early.
            schema_step::keep(connection, &steps()).await?;
            Migrated::ToThisProgram
        }
    };
    if crate::tables::lane::count(connection).await? == 0 {
        crate::tables::lane::create(connection, lanes).await?;
    }
    let now = crate::tables::now(connection).await?;
    ensure_journal_partitions(connection, now).await?;
    Ok(migrated)
}

/// Refuses migrations that need a newer program than an engine that runs has. Adapters do not say that they run.
async fn refuse_to_end_engines(
    connection: &mut PgConnection,
    window: SchemaWindow,
    open: impl Iterator<Item = i64>,
) -> Result<(), StoreError> {
    let Some(needed) = open.max().filter(|needed| *needed > window.oldest_program) else {
        return Ok(());
    };
    let at_least = window.oldest_program;
    let left = worker::left_behind(connection, needed, at_least, ENGINE_SILENT).await?;
    if left.is_empty() {
        return Ok(());
    }
    Err(StoreError::Schema(format!(
        "engines of an older program run and cannot work on what this migration makes (it needs programs that know \
         {needed}): {}; upgrade them to a release in between, or stop them and wait {} s, then migrate again",
        left.join(", "),
        ENGINE_SILENT.as_secs()
    )))
}

/// Refuses a database that this program cannot work on, with what to do.
pub async fn require_known_schema(connection: &mut PgConnection) -> Result<(), StoreError> {
    let refused = match schema_step::window(connection).await? {
        Some(window) => admits(window, program()),
        None => Err("the database is empty; run `signalbox migrate`".to_owned()),
    };
    refused.map_err(StoreError::Schema)
}

/// This program: the newest migration that it knows.
pub(crate) fn program() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Every migration that this program knows, with the oldest program that can work on its result.
fn steps() -> Vec<(i64, i64)> {
    let step = |version, text| (version, oldest_program(version, text));
    MIGRATOR.iter().map(|migration| step(migration.version, migration.sql.as_str())).collect()
}

/// The oldest program that can work on the result of a migration: what its text says, otherwise only those that know it.
fn oldest_program(version: i64, text: &str) -> i64 {
    let said = text.lines().find_map(|line| line.strip_prefix(WORKS_WITH));
    said.and_then(|said| said.trim().parse().ok()).unwrap_or(version).min(version)
}

/// Why a program cannot work on a database, and what to do.
fn admits(window: SchemaWindow, program: i64) -> Result<(), String> {
    let SchemaWindow { newest, oldest_program } = window;
    if newest < program {
        return Err(format!(
            "the database has schema {newest}, this program needs {program}; run `signalbox migrate`"
        ));
    }
    if program < oldest_program {
        return Err(format!(
            "the database has schema {newest}, which works with programs that know {oldest_program} or newer; this one knows \
             {program}: run the newer program"
        ));
    }
    Ok(())
}

/// A missing partition stops every lane, so partitions exist a week ahead.
pub(crate) async fn ensure_journal_partitions(
    connection: &mut PgConnection,
    now: Micros,
) -> Result<(), StoreError> {
    for day in -1..DAYS_AHEAD {
        journal::ensure_partition(connection, now, day).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_works_on_its_own_schema_and_on_newer_ones_that_say_so() {
        let works = |newest, oldest_program, program| {
            admits(SchemaWindow { newest, oldest_program }, program)
        };
        for (newest, oldest_program, program, told) in [
            (5, 5, 5, None),
            (5, 3, 5, None),
            (7, 5, 5, None),
            (7, 5, 6, None),
            (7, 6, 5, Some("run the newer program")),
            (7, 7, 6, Some("run the newer program")),
            (5, 3, 6, Some("run `signalbox migrate`")),
        ] {
            let said = works(newest, oldest_program, program);
            let case = format!("program {program} on {newest} since {oldest_program}: {said:?}");
            let fits = match (told, said) {
                (None, Ok(())) => true,
                (Some(words), Err(text)) => text.contains(words),
                (None, Err(_)) | (Some(_), Ok(())) => false,
            };
            assert!(fits, "{case}");
        }
    }

    #[test]
    fn a_migration_that_says_nothing_works_with_nobody_older() {
        for (text, oldest) in [
            ("-- A step.\nALTER TABLE flow DROP COLUMN data;\n", 9),
            ("-- A step.\n-- works with programs since: 7\nALTER TABLE flow ADD note text;\n", 7),
            ("-- works with programs since: soon\n", 9),
            // It promises what it cannot know.
            ("-- works with programs since: 12\n", 9),
        ] {
            assert_eq!(oldest_program(9, text), oldest, "{text}");
        }
    }

    #[test]
    fn every_window_begins_at_a_migration() {
        let versions: Vec<i64> = MIGRATOR.iter().map(|step| step.version).collect();
        for (version, oldest) in steps() {
            assert!(versions.contains(&oldest), "{version} works since {oldest}: which is that?");
        }
    }
}
