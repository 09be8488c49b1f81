//! The store of the tests: attempts in memory, with a clock that may be set forward, and the key of the one person whom
//! all of them are about.

#![allow(clippy::unwrap_used)]

use futures_util::FutureExt;
use signalbox_schemas::{AttemptId, FlowId, KeyId, LaneId, Micros, SubjectId};
use signalbox_store::{
    AttemptRow, AttemptStore, Disposition, KeyRow, NewAttempt, Permit, PermitRequest,
    RecognitionRow, StoreError, StoredResult,
};
use signalbox_vault::{EnvelopeKeys, KeyProvider, Place, PlainKey, Vault};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use uuid::Uuid;

/// Attempts in memory, with a clock that a test may set forward.
#[derive(Clone, Default)]
pub(super) struct Book {
    rows: Arc<Mutex<HashMap<AttemptId, AttemptRow>>>,
    pub(super) later: Arc<Mutex<i64>>,
    /// What was found out about the customer of every flow.
    pub(super) known: Arc<Mutex<Option<RecognitionRow>>>,
    /// How long raising `sends` takes.
    pub(super) slow_to_raise: Arc<Mutex<Duration>>,
    /// Whether another adapter sends what was sent once again, before its result is stored.
    pub(super) another_sends: Arc<Mutex<bool>>,
    /// Whether the key was destroyed.
    erased: Arc<Mutex<bool>>,
}

/// The envelope key of the tests.
pub(super) fn envelope() -> EnvelopeKeys {
    EnvelopeKeys::of_text(&"5a".repeat(32)).unwrap()
}

impl Book {
    pub(super) fn plan(&self, attempt: AttemptId, capability: &str) {
        let plan = NewAttempt {
            id: attempt,
            lane: LaneId(3),
            flow: FlowId(Uuid::nil()),
            step: "send".into(),
            group: 0,
            capability: capability.to_owned(),
            planned_at: Micros(0),
        };
        let row = AttemptRow {
            plan,
            disposition: Disposition::Planned,
            vendor: None,
            sends: 0,
            request: None,
            first_sent_at: None,
            result: None,
            contradiction: None,
        };
        self.rows.lock().unwrap().insert(attempt, row);
    }

    /// The key of the one person that all attempts are about.
    fn key(&self) -> KeyRow {
        static WRAPPED: OnceLock<Vec<u8>> = OnceLock::new();
        let subject = SubjectId::from_bytes([1; 16]);
        let wrap = || {
            let plain = [(subject, PlainKey::new([2; 32]))];
            FutureExt::now_or_never(envelope().wrap(&plain)).unwrap().unwrap().remove(0)
        };
        let wrapped = (!*self.erased.lock().unwrap()).then(|| WRAPPED.get_or_init(wrap).clone());
        let id = KeyId { subject, generation: 1 };
        KeyRow { id, wrapped, created_at: Micros(0), erased_at: None }
    }

    /// The vault of whoever has the envelope key.
    fn vault(&self) -> (Vault, KeyId) {
        let (mut vault, row) = (Vault::new(Arc::new(envelope()), 1), self.key());
        let learnt = vault.learn(vec![(row.id, row.wrapped)]);
        FutureExt::now_or_never(learnt).unwrap().unwrap();
        (vault, row.id)
    }

    /// The stored request of an attempt, as it was sent.
    pub(super) fn opened(&self, attempt: AttemptId) -> String {
        let sealed = self.row(attempt).request.unwrap();
        let plain = self.vault().0.open(Place::Request(attempt), &sealed).unwrap();
        String::from_utf8(plain).unwrap()
    }

    /// A request as it would be stored.
    pub(super) fn sealed(&self, attempt: AttemptId, plain: &str) -> Vec<u8> {
        let (mut vault, id) = self.vault();
        let ring = vault.ring(&BTreeSet::from([id.subject]));
        ring.seal(id.subject, Place::Request(attempt), plain.as_bytes()).unwrap().1
    }

    /// Destroys the key.
    pub(super) fn erase(&self) {
        *self.erased.lock().unwrap() = true;
    }

    pub(super) fn row(&self, attempt: AttemptId) -> AttemptRow {
        self.rows.lock().unwrap()[&attempt].clone()
    }

    pub(super) fn change(&self, attempt: AttemptId, change: impl FnOnce(&mut AttemptRow)) {
        change(self.rows.lock().unwrap().get_mut(&attempt).unwrap());
    }
}

impl AttemptStore for Book {
    async fn take_permits(&self, requests: &[PermitRequest]) -> Result<Vec<Permit>, StoreError> {
        let now = self.now().await?;
        let mut rows = self.rows.lock().unwrap();
        let mut permit = |request: &PermitRequest| match rows.get_mut(&request.attempt) {
            None => Permit::Missing,
            Some(row) if row.disposition == Disposition::Planned => {
                row.disposition = Disposition::Sending;
                row.vendor = Some(request.vendor.clone());
                row.sends = 1;
                row.request = Some(request.request.clone());
                row.first_sent_at = Some(now);
                Permit::Granted { first_sent_at: now }
            }
            Some(row) if row.disposition == Disposition::Abandoned => Permit::Abandoned,
            Some(row) if row.result.is_some() => Permit::Answered(Box::new(row.clone())),
            Some(row) => Permit::Sending(Box::new(row.clone())),
        };
        Ok(requests.iter().map(&mut permit).collect())
    }

    async fn raise_sends(&self, attempt: AttemptId, expected: u32) -> Result<bool, StoreError> {
        let slow = *self.slow_to_raise.lock().unwrap();
        tokio::time::sleep(slow).await;
        Ok(self.rows.lock().unwrap().get_mut(&attempt).unwrap().raise(expected))
    }

    async fn store_results(
        &self,
        results: &[StoredResult],
    ) -> Result<BTreeSet<AttemptId>, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let sent_again = |given: &&StoredResult| {
            let row = rows.get_mut(&given.attempt).unwrap();
            if *self.another_sends.lock().unwrap() && row.sends == 1 {
                assert!(row.raise(1), "nothing final is stored yet");
            }
            !row.note(given)
        };
        Ok(results.iter().filter(sent_again).map(|given| given.attempt).collect())
    }

    async fn find(&self, attempts: &[AttemptId]) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = self.rows.lock().unwrap();
        Ok(attempts.iter().filter_map(|attempt| rows.get(attempt).cloned()).collect())
    }

    async fn keys_of(
        &self,
        attempts: &[AttemptId],
    ) -> Result<Vec<(AttemptId, KeyRow)>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let live =
            |attempt: &&AttemptId| rows.contains_key(attempt) && self.key().wrapped.is_some();
        Ok(attempts.iter().filter(live).map(|attempt| (*attempt, self.key())).collect())
    }

    async fn keys(&self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        Ok(ids.iter().filter(|id| **id == self.key().id).map(|_| self.key()).collect())
    }

    async fn recognitions(
        &self,
        flows: &[FlowId],
    ) -> Result<(BTreeMap<FlowId, RecognitionRow>, Micros), StoreError> {
        let known = *self.known.lock().unwrap();
        let found = flows.iter().filter_map(|flow| Some((*flow, known?))).collect();
        Ok((found, self.now().await?))
    }

    async fn ensure_gates(&self, _vendors: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn now(&self) -> Result<Micros, StoreError> {
        Ok(Micros(*self.later.lock().unwrap()))
    }
}
