//! One file per table; together they hold every SQL statement. Functions take slices and write by UNNEST.
//! Transactions are the business of `postgres`.

pub(crate) mod assent;
pub(crate) mod attempt;
pub(crate) mod command;
pub(crate) mod flow;
pub(crate) mod installation;
pub(crate) mod journal;
pub(crate) mod journey;
pub(crate) mod known_schema;
pub(crate) mod lane;
pub(crate) mod lane_input;
pub(crate) mod lane_output;
pub(crate) mod lane_peer;
pub(crate) mod migration;
pub(crate) mod parked;
pub(crate) mod published_ending;
pub(crate) mod recognition;
pub(crate) mod schema_step;
pub(crate) mod server;
pub(crate) mod subject_key;
pub(crate) mod timer;
pub(crate) mod together;
pub(crate) mod worker;

use signalbox_schemas::{LaneId, Micros};
use sqlx::postgres::PgConnection;

use crate::error::StoreError;

/// SQL for "now" as microseconds.
pub(crate) const NOW_MICROS: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Database time.
pub(crate) async fn now(connection: &mut PgConnection) -> Result<Micros, StoreError> {
    let now: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT {NOW_MICROS}")))
        .fetch_one(connection)
        .await?;
    Ok(Micros(now))
}

/// A lane number as the `smallint` of its column.
pub(crate) fn smallint(lane: LaneId) -> i16 {
    i16::try_from(lane.0).unwrap_or(i16::MAX)
}

/// A lane number out of its column.
pub(crate) fn lane_id(stored: i16) -> LaneId {
    LaneId(u16::try_from(stored).unwrap_or(0))
}

/// The version of a journey as the `integer` of its column.
pub(crate) fn integer(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

/// A write that must touch exactly so many rows; otherwise an invariant is broken.
pub(crate) fn all_or_broken(table: &str, expected: usize, affected: u64) -> Result<(), StoreError> {
    if u64::try_from(expected).is_ok_and(|expected| expected == affected) {
        return Ok(());
    }
    Err(StoreError::Invariant(format!(
        "{table}: {expected} rows were to be written, {affected} were"
    )))
}
