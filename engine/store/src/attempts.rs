//! Attempts as adapters see them: permits before sending, results after. Engines plan and abandon attempts in their own
//! transactions; nothing here decides whether to send.

use signalbox_schemas::{AttemptId, FlowId, KeyId, Micros};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use crate::error::StoreError;
use crate::keys::KeyRow;
use crate::pool::{self, Pool, answered};
use crate::rows::{AttemptRow, Disposition, PermitRequest, RecognitionRow, StoredResult};
use crate::tables;

/// How long the server may take for a connection, and for one call of ours.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer to a permit request.
#[derive(Debug, Clone, PartialEq)]
pub enum Permit {
    /// It is yours: send once.
    Granted {
        /// Database time of the permit.
        first_sent_at: Micros,
    },
    /// It was taken before: it may have been sent. The row tells vendor, sends and bytes.
    Sending(Box<AttemptRow>),
    /// Its result is known: publish it again.
    Answered(Box<AttemptRow>),
    /// The lane gave it up: drop it.
    Abandoned,
    /// No such attempt, as after a restore: do not send, page.
    Missing,
    /// The vendor's gate is closed or write effects are held: answer `unavailable`.
    GateClosed,
}

/// Attempts, with two implementations: Postgres and a twin in memory.
pub trait AttemptStore: Send + Sync {
    /// Takes permits for many attempts at once, in one transaction that is durable when this returns. Answers are in
    /// the order of the requests.
    fn take_permits(
        &self,
        requests: &[PermitRequest],
    ) -> impl Future<Output = Result<Vec<Permit>, StoreError>> + Send;

    /// Raises `sends` from the expected value before a resend. False: somebody else resends, or its outcome is known for
    /// good, or people have ruled on it; do not.
    fn raise_sends(
        &self,
        attempt: AttemptId,
        expected: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps results; see `StoredResult`. Returns the attempts whose result was not kept, because they were sent again since.
    fn store_results(
        &self,
        results: &[StoredResult],
    ) -> impl Future<Output = Result<BTreeSet<AttemptId>, StoreError>> + Send;

    /// Attempts by id; missing ones are left out.
    fn find(
        &self,
        attempts: &[AttemptId],
    ) -> impl Future<Output = Result<Vec<AttemptRow>, StoreError>> + Send;

    /// The current keys of those whom attempts are about; an attempt that does not exist is left out.
    fn keys_of(
        &self,
        attempts: &[AttemptId],
    ) -> impl Future<Output = Result<Vec<(AttemptId, KeyRow)>, StoreError>> + Send;

    /// Keys by name; those that never existed are left out.
    fn keys(&self, ids: &[KeyId]) -> impl Future<Output = Result<Vec<KeyRow>, StoreError>> + Send;

    /// What was found out about the customers whom flows are about, and database time; flows about whom nothing was are left
    /// out.
    fn recognitions(
        &self,
        flows: &[FlowId],
    ) -> impl Future<Output = Result<(BTreeMap<FlowId, RecognitionRow>, Micros), StoreError>> + Send;

    /// Makes vendors' gates known; existing gates stay as they are.
    fn ensure_gates(
        &self,
        vendors: &[String],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Database time.
    fn now(&self) -> impl Future<Output = Result<Micros, StoreError>> + Send;
}

/// Attempts in Postgres. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PgAttempts {
    pool: Pool,
}

impl PgAttempts {
    /// Connects lazily with up to `connections` connections.
    pub fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        let server = PgConnectOptions::from_str(url)?.options(pool::BY_KEY);
        Ok(Self { pool: Pool::open(server, connections, PATIENCE) })
    }

    /// Asks on a connection of its own, which is not used again where it may lead nowhere.
    async fn ask<T>(
        &self,
        asking: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let asked = answered(PATIENCE, asking(&mut connection)).await;
        if matches!(asked, Err(StoreError::Retry(_))) {
            drop(connection.detach().close_hard().await);
        }
        asked
    }
}

impl AttemptStore for PgAttempts {
    async fn take_permits(&self, requests: &[PermitRequest]) -> Result<Vec<Permit>, StoreError> {
        self.ask(async |connection| take_permits(connection, requests).await).await
    }

    async fn raise_sends(&self, attempt: AttemptId, expected: u32) -> Result<bool, StoreError> {
        self.ask(async |connection| {
            tables::attempt::raise_sends(connection, attempt, expected).await
        })
        .await
    }

    async fn store_results(
        &self,
        results: &[StoredResult],
    ) -> Result<BTreeSet<AttemptId>, StoreError> {
        self.ask(async |connection| tables::attempt::store_results(connection, results).await).await
    }

    async fn find(&self, attempts: &[AttemptId]) -> Result<Vec<AttemptRow>, StoreError> {
        self.ask(async |connection| tables::attempt::find(connection, attempts).await).await
    }

    async fn keys_of(
        &self,
        attempts: &[AttemptId],
    ) -> Result<Vec<(AttemptId, KeyRow)>, StoreError> {
        self.ask(async |connection| tables::subject_key::of_attempts(connection, attempts).await)
            .await
    }

    async fn keys(&self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        self.ask(async |connection| tables::subject_key::find(connection, ids).await).await
    }

    async fn recognitions(
        &self,
        flows: &[FlowId],
    ) -> Result<(BTreeMap<FlowId, RecognitionRow>, Micros), StoreError> {
        self.ask(async |connection| {
            let found = tables::recognition::of_flows(connection, flows).await?;
            Ok((found, tables::now(connection).await?))
        })
        .await
    }

    async fn ensure_gates(&self, vendors: &[String]) -> Result<(), StoreError> {
        self.ask(async |connection| tables::attempt::ensure_gates(connection, vendors).await).await
    }

    async fn now(&self) -> Result<Micros, StoreError> {
        self.ask(async |connection| tables::now(connection).await).await
    }
}

/// All that tells how permits stand.
async fn take_permits(
    connection: &mut PgConnection,
    requests: &[PermitRequest],
) -> Result<Vec<Permit>, StoreError> {
    // A single statement is its own transaction: durable when it returns.
    let granted = tables::attempt::take_permits(connection, requests).await?;
    let granted: BTreeMap<AttemptId, Micros> = granted.into_iter().collect();
    // A permit is given once, however often the batch asks for it: any further request finds it taken.
    let mut given = BTreeSet::new();
    let time_of: Vec<Option<Micros>> = requests
        .iter()
        .map(|request| granted.get(&request.attempt).filter(|_| given.insert(request.attempt)))
        .map(Option::<&Micros>::copied)
        .collect();
    let refused: Vec<AttemptId> = requests
        .iter()
        .zip(&time_of)
        .filter(|(_, at)| at.is_none())
        .map(|(request, _)| request.attempt)
        .collect();
    if refused.is_empty() {
        let grant = |first_sent_at| Permit::Granted { first_sent_at };
        return Ok(time_of.into_iter().flatten().map(grant).collect());
    }
    let rows = tables::attempt::find(connection, &refused).await?;
    let open = tables::attempt::open_gates(connection).await?;
    let answer = |(request, at): (&PermitRequest, Option<Micros>)| match at {
        Some(first_sent_at) => Permit::Granted { first_sent_at },
        None => {
            let row = rows.iter().find(|row| row.plan.id == request.attempt).cloned();
            Permit::refused(row, !open.contains(&request.vendor))
        }
    };
    Ok(requests.iter().zip(time_of).map(answer).collect())
}

impl Permit {
    /// Why a permit was not granted, from the row as it is.
    pub fn refused(row: Option<AttemptRow>, gate_closed: bool) -> Self {
        match row {
            None => Self::Missing,
            Some(row) if row.disposition == Disposition::Abandoned => Self::Abandoned,
            Some(row) if row.result.is_some() => Self::Answered(Box::new(row)),
            Some(row) if row.disposition == Disposition::Sending => Self::Sending(Box::new(row)),
            // Still planned and not granted: the gate; or another adapter is at it right now, which a retry will tell.
            Some(_) if gate_closed => Self::GateClosed,
            Some(row) => Self::Sending(Box::new(row)),
        }
    }
}
