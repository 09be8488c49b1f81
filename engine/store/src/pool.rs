//! How connections are set up, and a connection out of a pool, or why there is none. A pool that waits tells only that it
//! has waited; what stood in the way is learnt by one attempt outside of it.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use crate::error::StoreError;

/// How lanes and adapters have their statements planned: whatever they touch they look up by key. Left to itself the
/// server plans a statement by how large tables are when it is first run, and keeps that plan: what was planned on empty
/// tables reads whole tables for hours. A plan that must read one all the same is never worth compiling. And one plan serves for
/// ever: the server would plan what a tick writes anew each time, as it takes few rows to be cheaper than many.
pub(crate) const BY_KEY: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// How long a connection may take to say that it lives, and the attempt that asks for a reason; also how long one may have
/// rested without being asked.
const ANSWER: Duration = Duration::from_secs(1);

/// Connections to one server, made when they are first needed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    connections: PgPool,
    cause: Arc<Mutex<Option<Cause>>>,
}

/// Why there was no connection, for as long as that is news.
#[derive(Debug)]
struct Cause {
    found: Instant,
    reason: String,
}

impl Pool {
    /// Lets no dead connection take the place of a living one.
    pub(crate) fn open(server: PgConnectOptions, connections: u32, patience: Duration) -> Self {
        Self::of(options(connections, patience, ANSWER).connect_lazy_with(server))
    }

    fn of(connections: PgPool) -> Self {
        Self { connections, cause: Arc::default() }
    }

    /// Takes a connection.
    ///
    /// # Errors
    /// `Retry` with the server's or the system's own words.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        match self.connections.acquire().await {
            Err(sqlx::Error::PoolTimedOut) => Err(self.cause().await.into()),
            outcome => Ok(outcome?),
        }
    }

    /// One asks the server and the others are told: where hundreds wait in vain, hundreds of questions would take the
    /// places of those that serve.
    async fn cause(&self) -> sqlx::Error {
        let mut known = self.cause.lock().await;
        if let Some(cause) = known.as_ref().filter(|cause| cause.found.elapsed() < ANSWER) {
            return told(cause.reason.clone());
        }
        let error = asked(&self.connections).await;
        let reason = match &error {
            sqlx::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        *known = Some(Cause { found: Instant::now(), reason });
        error
    }
}

/// The pool's own questions whether a connection lives have no end where it leads nowhere: a connection that is given back
/// would keep its place for ever, one that has rested would use up the patience of whoever wants it. These ask first.
/// Connections have no age at which they are closed: the pool would look through those that rest, every ten minutes, and lay
/// them back as if they had just been used, dead ones too.
fn options(connections: u32, patience: Duration, answer: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            Box::pin(async move {
                if meta.idle_for > answer {
                    answered(answer, connection.ping()).await?;
                }
                Ok(true)
            })
        })
        .after_release(move |connection, _| {
            Box::pin(async move {
                answered(answer, connection.ping()).await?;
                Ok(true)
            })
        })
}

/// Why a pool has no connection, by one attempt outside of it.
async fn asked(pool: &PgPool) -> sqlx::Error {
    let options = pool.connect_options();
    let attempt = PgConnection::connect_with(&options);
    match tokio::time::timeout(ANSWER, attempt).await {
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

/// What a server answers, within a time that it needs only where it is not there: a connection that leads nowhere has
/// neither an end nor an error. Whoever gets no answer must not use the connection again, and cannot know what was done.
///
/// # Errors
/// What `asking` says, or that nothing was answered.
pub(crate) async fn answered<T, E: From<sqlx::Error>>(
    within: Duration,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(within, asking).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let seconds = within.as_secs_f64();
            Err(told(format!("the server has not answered within {seconds} s")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::{LaneStore, PgLaneStore};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// In the server's protocol: come in; I am ready.
    const COME_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";
    const READY: &[u8] = b"Z\0\0\0\x05I";
    /// How long a connection may take to say that it lives.
    const SOON: Duration = Duration::from_millis(50);
    /// How long somebody may wait for a connection.
    const LONG: Duration = Duration::from_secs(60);

    /// A server that lets everybody in and says that it is ready, whatever it is asked; to whom it knows until it forgets
    /// them it says nothing more. Its address.
    async fn forgetful(forgets: Arc<AtomicBool>) -> String {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("postgres://me@{}/db?sslmode=disable", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (forgets, mut bytes) = (Arc::clone(&forgets), [0; 1024]);
                let is_new = forgets.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut answer = [COME_IN, READY].concat();
                    while let Ok(1..) = stream.read(&mut bytes).await {
                        if is_new || !forgets.load(Ordering::SeqCst) {
                            stream.write_all(&answer).await.unwrap();
                        }
                        answer = READY.to_vec();
                    }
                });
            }
        });
        url
    }

    #[tokio::test]
    async fn a_connection_that_died_at_rest_is_replaced() {
        let forgets = Arc::new(AtomicBool::new(false));
        let url = forgetful(Arc::clone(&forgets)).await;
        let pool = Pool::of(options(1, LONG, SOON).connect_lazy(&url).unwrap());
        drop(pool.acquire().await.unwrap());
        let begun = Instant::now();
        while pool.connections.num_idle() == 0 || begun.elapsed() < SOON * 2 {
            tokio::task::yield_now().await;
        }
        forgets.store(true, Ordering::SeqCst);
        pool.acquire().await.unwrap().ping().await.unwrap();
    }

    #[test]
    fn nobody_touches_connections_that_rest() {
        let options = options(1, LONG, SOON);
        assert_eq!((options.get_idle_timeout(), options.get_max_lifetime()), (None, None));
    }

    #[tokio::test]
    async fn a_connection_that_died_in_use_does_not_keep_its_place() {
        let forgets = Arc::new(AtomicBool::new(false));
        let url = forgetful(Arc::clone(&forgets)).await;
        let pool = Pool::of(options(1, LONG, SOON).connect_lazy(&url).unwrap());
        let connection = pool.acquire().await.unwrap();
        forgets.store(true, Ordering::SeqCst);
        drop(connection);
        pool.acquire().await.unwrap().ping().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_told_as_such_by_everybody() {
        // It takes connections and says nothing.
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("postgres://me@{}/db", listener.local_addr().unwrap());
        let mut lanes = PgLaneStore::new(&url, "w", Duration::from_millis(50)).unwrap();
        let patience = Duration::from_secs(60);
        let asked = tokio::time::timeout(patience, lanes.heartbeat("w")).await.unwrap();
        assert!(matches!(asked, Err(StoreError::Retry(_))), "{asked:?}");
        let asked: Result<(), StoreError> =
            answered(Duration::from_millis(50), std::future::pending()).await;
        assert!(matches!(asked, Err(StoreError::Retry(_))), "{asked:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_as_such() {
        // A port that was free a moment ago: nobody answers there.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(100));
        let url = format!("postgres://nobody@127.0.0.1:{port}/nothing");
        let pool = Pool::of(options.connect_lazy(&url).unwrap());
        // Whoever asks and whoever is told.
        for _ in 0..2 {
            let error = pool.acquire().await.unwrap_err().to_string();
            assert!(error.contains("refused") && !error.contains("pool"), "{error}");
        }
    }

    #[tokio::test]
    async fn hundreds_that_wait_in_vain_do_not_take_the_places_of_others_to_learn_why() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("postgres://me@{}/db", listener.local_addr().unwrap());
        let came = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&came);
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                held.push(listener.accept().await.unwrap());
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(SOON);
        let pool = Pool::of(options.connect_lazy(&url).unwrap());
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..300 {
            let pool = pool.clone();
            waiting.spawn(async move { matches!(pool.acquire().await, Err(StoreError::Retry(_))) });
        }
        assert!(waiting.join_all().await.into_iter().all(|in_vain| in_vain));
        let came = came.load(Ordering::SeqCst);
        assert!(came <= 3, "{came} connections were made");
    }
}
