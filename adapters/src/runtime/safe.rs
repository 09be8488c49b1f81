//! Requests that move money are stored sealed under the key of whom they are about, and opened when they are sent again.
//! Keys are fetched for each batch and forgotten with it.

use signalbox_schemas::{AttemptId, SubjectId};
use signalbox_store::{AttemptRow, AttemptStore, KeyRow, Permit, PermitRequest, StoreError};
use signalbox_vault::{KeyProvider, OpenError, Place, ProviderError, Vault};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::metrics;

/// Requests can neither be sealed nor opened now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SafeError {
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As whoever keeps the envelope key says.
    #[error(transparent)]
    Keys(#[from] ProviderError),
    /// A stored request is not what was stored: a bug, or somebody changed it.
    #[error("a stored request cannot be opened: {0}")]
    Open(#[from] OpenError),
}

/// Seals and opens requests.
pub(crate) struct Safe<S> {
    pub(crate) store: Arc<S>,
    pub(crate) keys: Arc<dyn KeyProvider>,
}

impl<S> Clone for Safe<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), keys: Arc::clone(&self.keys) }
    }
}

impl<S: AttemptStore> Safe<S> {
    /// Takes permits for requests whose bytes are stored sealed; rows come back with their requests opened. None where
    /// it is not known how a permit stands: it is asked for again.
    pub(crate) async fn take_permits(
        &self,
        requests: Vec<PermitRequest>,
    ) -> Result<Vec<Option<Permit>>, SafeError> {
        let attempts: Vec<AttemptId> = requests.iter().map(|request| request.attempt).collect();
        let keys = self.store.keys_of(&attempts).await?;
        let mut vault = self.vault(keys.iter().map(|(_, row)| row.clone()).collect()).await?;
        let subjects: HashMap<AttemptId, SubjectId> =
            keys.iter().map(|(attempt, row)| (*attempt, row.id.subject)).collect();
        let ring = vault.ring(&subjects.values().copied().collect());
        let seal = |request: &PermitRequest| {
            let subject = *subjects.get(&request.attempt)?;
            let place = Place::Request(request.attempt);
            let (_, sealed) = ring.seal(subject, place, &request.request)?;
            Some(PermitRequest { request: sealed, ..request.clone() })
        };
        let asked: Vec<PermitRequest> = requests.iter().filter_map(seal).collect();
        let told = self.store.take_permits(&asked).await?;
        let mut told: HashMap<AttemptId, Permit> =
            asked.iter().map(|request| request.attempt).zip(told).collect();
        // Of what was sent before, the bytes are needed. Where nobody has a key, there is no such attempt, or its
        // subject was erased after its flow had ended.
        let unclear = |id: &AttemptId| match told.get(id) {
            Some(Permit::Sending(row) | Permit::Answered(row)) => row.request.is_some(),
            Some(_) => false,
            None => true,
        };
        let unclear: BTreeSet<AttemptId> = attempts.iter().copied().filter(unclear).collect();
        let rows = match unclear.is_empty() {
            true => Ok(Vec::new()),
            false => self.find(&unclear.iter().copied().collect::<Vec<_>>()).await,
        };
        // A permit that was granted is told even where another cannot be read.
        let rows = rows.inspect_err(disturbed).ok();
        let permit = |id: &AttemptId| {
            if !unclear.contains(id) {
                return told.remove(id);
            }
            let row = rows.as_ref()?.iter().find(|row| row.plan.id == *id).cloned();
            Some(Permit::refused(row, false))
        };
        Ok(attempts.iter().map(permit).collect())
    }

    /// Attempts by id, their requests opened. A request whose subject was erased is as if it had never been stored.
    pub(crate) async fn find(&self, attempts: &[AttemptId]) -> Result<Vec<AttemptRow>, SafeError> {
        let mut rows = self.store.find(attempts).await?;
        let sealed = rows.iter().filter_map(|row| row.request.as_deref());
        let mut vault = self.vault(Vec::new()).await?;
        let needed = vault.needed(sealed);
        if needed.is_empty() {
            return Ok(rows);
        }
        let mut vault = self.vault(self.store.keys(&needed).await?).await?;
        for row in &mut rows {
            let Some(sealed) = row.request.take() else { continue };
            row.request = match vault.open(Place::Request(row.plan.id), &sealed) {
                Ok(plain) => Some(plain),
                // A key that the store does not know was forgotten by a database that was restored.
                Err(OpenError::Erased(_) | OpenError::NoKey(_)) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(rows)
    }

    async fn vault(&self, rows: Vec<KeyRow>) -> Result<Vault, ProviderError> {
        let mut vault = Vault::new(Arc::clone(&self.keys), rows.len());
        vault.learn(rows.into_iter().map(|row| (row.id, row.wrapped)).collect()).await?;
        Ok(vault)
    }
}

/// Tells that something that requests rest on does not answer as it should.
pub(crate) fn disturbed(error: &SafeError) {
    let (part, told) = match error {
        SafeError::Store(_) => ("store", "the store does not answer as it should"),
        SafeError::Keys(_) | SafeError::Open(_) => {
            ("keys", "a request can neither be sealed nor opened")
        }
    };
    metrics::disturbance(part);
    tracing::warn!(error = %error, "{told}");
}
