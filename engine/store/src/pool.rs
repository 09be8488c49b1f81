//! A connection out of a pool, or why there is none. A pool that waits tells only that it has waited; what stood in the
//! way is learnt by one attempt outside of it.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Postgres};
use std::io;
use std::time::Duration;

use crate::error::StoreError;

/// How long the attempt that asks for the reason may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes a connection.
///
/// # Errors
/// `Retry` with the server's or the system's own words.
pub(crate) async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, StoreError> {
    match pool.acquire().await {
        Err(sqlx::Error::PoolTimedOut) => Err(cause(pool).await.into()),
        outcome => Ok(outcome?),
    }
}

async fn cause(pool: &PgPool) -> sqlx::Error {
    let options = pool.connect_options();
    let attempt = PgConnection::connect_with(&options);
    match tokio::time::timeout(PATIENCE, attempt).await {
        Ok(Err(error)) => error,
        Ok(Ok(connection)) => {
            drop(connection.close().await);
            let size = pool.options().get_max_connections();
            told(format!("all {size} connections of this process were in use"))
        }
        Err(_elapsed) => told("the server takes no connection and refuses none".to_owned()),
    }
}

fn told(reason: String) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sqlx::postgres::PgPoolOptions;
    use std::net::{Ipv4Addr, TcpListener};

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_as_such() {
        // A port that was free a moment ago: nobody answers there.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(100));
        let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
        let error = acquire(&options.connect_lazy(&url).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("refused") && !error.contains("pool"), "{error}");
    }
}
