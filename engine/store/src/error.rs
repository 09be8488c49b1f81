//! What can go wrong in the store, by what the caller does next.

use sqlx::error::DatabaseError;

/// Trouble with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection or the server is in trouble: try again on a new connection.
    #[error("the store is not reachable: {0}")]
    Retry(#[source] sqlx::Error),
    /// The statement took too long: try again with half of the batch.
    #[error("the store took too long: {0}")]
    TooMuch(#[source] sqlx::Error),
    /// A value of a business table was refused: find the record and dead-letter it.
    #[error("the store refuses a value: {0}")]
    BadData(#[source] sqlx::Error),
    /// An invariant is broken: stop the lane and page.
    #[error("an invariant of the store is broken: {0}")]
    Invariant(String),
    /// The database's schema is not the one this program knows.
    #[error("{0}")]
    Schema(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::Decode(_) => Self::Invariant(error.to_string()),
                _ => Self::Retry(error),
            };
        };
        let code = database.code().unwrap_or_default().into_owned();
        let class = code.get(..2).unwrap_or_default();
        let on_lane = touches_lane_tables(database);
        match (class, code.as_str()) {
            (_, "57014") => Self::TooMuch(error),
            ("08" | "40" | "53" | "57" | "58", _) | (_, "55P03" | "25P03" | "25006") => {
                Self::Retry(error)
            }
            ("22" | "23", _) if !on_lane => Self::BadData(error),
            _ => Self::Invariant(error.to_string()),
        }
    }
}

/// A refusal by the journal or a lane table is never a record's fault.
fn touches_lane_tables(error: &dyn DatabaseError) -> bool {
    error.table().is_some_and(|table| table.starts_with("lane") || table.starts_with("journal"))
        || error.message().contains("\"journal")
}
