//! Attempts in memory, as adapters see them: the same permits and results as in Postgres, with every gate open unless commits
//! are lost.

use signalbox_schemas::{AttemptId, FlowId, KeyId, Micros};
use std::collections::BTreeSet;

use super::{MemoryStore, keys};
use crate::attempts::{AttemptStore, Permit};
use crate::error::StoreError;
use crate::keys::KeyRow;
use crate::rows::{AttemptRow, Disposition, PermitRequest, RecognitionRow, StoredResult};

impl AttemptStore for MemoryStore {
    async fn take_permits(&self, requests: &[PermitRequest]) -> Result<Vec<Permit>, StoreError> {
        let mut tables = self.lock();
        let (now, held) = (tables.now, tables.installation.lost_commits);
        let mut permits = Vec::new();
        for request in requests {
            let row = tables.attempts.get_mut(&request.attempt);
            match row {
                Some(row) if row.disposition == Disposition::Planned && !held => {
                    row.disposition = Disposition::Sending;
                    row.vendor = Some(request.vendor.clone());
                    row.sends = 1;
                    row.request = Some(request.request.clone());
                    row.first_sent_at = Some(now);
                    permits.push(Permit::Granted { first_sent_at: now });
                }
                row => permits.push(Permit::refused(row.cloned(), held)),
            }
        }
        Ok(permits)
    }

    async fn raise_sends(&self, attempt: AttemptId, expected: u32) -> Result<bool, StoreError> {
        let mut tables = self.lock();
        if tables.installation.lost_commits {
            return Ok(false);
        }
        let row = tables.attempts.get_mut(&attempt);
        let row =
            row.filter(|row| row.sends == expected && row.disposition == Disposition::Sending);
        Ok(row.map(|row| row.sends += 1).is_some())
    }

    async fn store_results(&self, results: &[StoredResult]) -> Result<(), StoreError> {
        let mut tables = self.lock();
        for given in results {
            let Some(row) = tables.attempts.get_mut(&given.attempt) else { continue };
            let word = |value: &serde_json::Value| {
                value.get("outcome").and_then(|word| word.as_str()).map(str::to_owned)
            };
            match row.result.as_ref().map(word) {
                None => row.result = Some(given.result.clone()),
                Some(Some(first)) if first == "in_doubt" => row.result = Some(given.result.clone()),
                Some(first)
                    if first != word(&given.result)
                        && word(&given.result).as_deref() != Some("in_doubt") =>
                {
                    row.contradiction = Some(given.result.clone());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    async fn find(&self, attempts: &[AttemptId]) -> Result<Vec<AttemptRow>, StoreError> {
        let tables = self.lock();
        let ids: BTreeSet<&AttemptId> = attempts.iter().collect();
        Ok(ids.into_iter().filter_map(|id| tables.attempts.get(id).cloned()).collect())
    }

    async fn keys_of(
        &self,
        attempts: &[AttemptId],
    ) -> Result<Vec<(AttemptId, KeyRow)>, StoreError> {
        let tables = self.lock();
        Ok(attempts.iter().filter_map(|id| keys::of_attempt(&tables, *id)).collect())
    }

    async fn keys(&self, ids: &[KeyId]) -> Result<Vec<KeyRow>, StoreError> {
        let tables = self.lock();
        Ok(ids.iter().filter_map(|id| tables.keys.get(id).cloned()).collect())
    }

    async fn recognition(&self, flow: FlowId) -> Result<Option<RecognitionRow>, StoreError> {
        let tables = self.lock();
        let subject = tables.flows.get(&flow).map(|flow| flow.subject);
        Ok(subject.and_then(|subject| tables.recognitions.get(&subject).copied()))
    }

    async fn ensure_gates(&self, _vendors: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn now(&self) -> Result<Micros, StoreError> {
        Ok(self.clock())
    }
}
