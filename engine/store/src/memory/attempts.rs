//! Attempts in memory, as adapters see them: the same permits and results as in Postgres, with every gate open unless commits
//! are lost.

use signalbox_schemas::{AttemptId, FlowId, KeyId, Micros};
use std::collections::{BTreeMap, BTreeSet};

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
        Ok(tables.attempts.get_mut(&attempt).is_some_and(|row| row.raise(expected)))
    }

    async fn store_results(
        &self,
        results: &[StoredResult],
    ) -> Result<BTreeSet<AttemptId>, StoreError> {
        let mut tables = self.lock();
        let mut sent_again = BTreeSet::new();
        for given in results {
            let kept = match tables.attempts.get_mut(&given.attempt) {
                Some(row) => row.note(given),
                None => given.sends.is_none(),
            };
            if !kept {
                sent_again.insert(given.attempt);
            }
        }
        Ok(sent_again)
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

    async fn recognitions(
        &self,
        flows: &[FlowId],
    ) -> Result<(BTreeMap<FlowId, RecognitionRow>, Micros), StoreError> {
        let tables = self.lock();
        let held = |flow: &FlowId| {
            let subject = tables.flows.get(flow)?.subject;
            Some((*flow, *tables.recognitions.get(&subject)?))
        };
        Ok((flows.iter().filter_map(held).collect(), tables.now))
    }

    async fn ensure_gates(&self, _vendors: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn now(&self) -> Result<Micros, StoreError> {
        Ok(self.clock())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};
    use signalbox_schemas::LaneId;
    use std::time::Duration;
    use uuid::Uuid;

    use super::*;
    use crate::lane_store::{Contest, LaneStore, TickWrite};
    use crate::rows::NewAttempt;

    const PAYMENT: AttemptId = AttemptId(Uuid::nil());

    fn planned() -> NewAttempt {
        NewAttempt {
            id: PAYMENT,
            lane: LaneId(0),
            flow: FlowId(Uuid::nil()),
            step: "send".into(),
            group: 1,
            capability: "payout.send".to_owned(),
            planned_at: Micros(0),
        }
    }

    async fn write(store: &MemoryStore, write: TickWrite) {
        let mut write = Some(write);
        let mut decide = |_| write.take().unwrap();
        let (lease, contest) = (Duration::from_secs(1), Contest::default());
        store.clone().commit(&[], &contest, lease, &mut decide).await.unwrap();
    }

    /// A payment whose permit may be taken.
    async fn a_planned_payment() -> MemoryStore {
        let store = MemoryStore::new(1, Micros(0));
        write(&store, TickWrite { attempts: vec![planned()], ..TickWrite::default() }).await;
        store
    }

    async fn permit(store: &MemoryStore) -> Permit {
        let (vendor, request) = ("bank".to_owned(), b"bytes".to_vec());
        let wanted = PermitRequest { attempt: PAYMENT, vendor, request };
        store.take_permits(&[wanted]).await.unwrap().remove(0)
    }

    /// A payment that was sent once.
    async fn a_sent_payment() -> MemoryStore {
        let store = a_planned_payment().await;
        assert!(matches!(permit(&store).await, Permit::Granted { .. }));
        store
    }

    fn result(outcome: &str, sends: Option<u32>) -> StoredResult {
        StoredResult { attempt: PAYMENT, result: json!({"outcome": outcome}), sends }
    }

    /// Whether a result was kept.
    async fn keeps(store: &MemoryStore, outcome: &str, sends: Option<u32>) -> bool {
        store.store_results(&[result(outcome, sends)]).await.unwrap().is_empty()
    }

    async fn row(store: &MemoryStore) -> AttemptRow {
        store.find(&[PAYMENT]).await.unwrap().remove(0)
    }

    async fn outcome(store: &MemoryStore) -> Value {
        row(store).await.result.unwrap_or_default()["outcome"].take()
    }

    #[tokio::test]
    async fn a_refusal_of_an_older_send_does_not_settle_a_payment_that_was_sent_again() {
        let store = a_sent_payment().await;
        assert!(store.raise_sends(PAYMENT, 1).await.unwrap());
        assert!(!keeps(&store, "rejected", Some(1)).await);
        assert_eq!(row(&store).await.result, None);
        assert!(keeps(&store, "in_doubt", None).await);
        assert!(keeps(&store, "accepted", None).await);
        assert!(!keeps(&store, "rejected", Some(1)).await);
        let row = row(&store).await;
        assert_eq!(row.contradiction, None, "it is about another send");
        assert_eq!(row.result.unwrap()["outcome"], "accepted");
    }

    #[tokio::test]
    async fn a_refusal_of_the_only_send_settles_a_payment() {
        let store = a_sent_payment().await;
        assert!(keeps(&store, "rejected", Some(1)).await);
        assert_eq!(outcome(&store).await, "rejected");
    }

    #[tokio::test]
    async fn a_payment_is_sent_again_while_its_outcome_is_in_doubt_and_not_once_it_is_known() {
        for (told, again) in [("in_doubt", true), ("accepted", false), ("rejected", false)] {
            let store = a_sent_payment().await;
            assert!(keeps(&store, told, None).await);
            assert_eq!(store.raise_sends(PAYMENT, 1).await.unwrap(), again, "{told}");
            assert_eq!(row(&store).await.sends, if again { 2 } else { 1 });
        }
    }

    #[tokio::test]
    async fn a_payment_on_which_people_have_ruled_is_not_sent_again() {
        for (told, kept) in
            [(None, "rejected"), (Some("in_doubt"), "rejected"), (Some("accepted"), "accepted")]
        {
            let store = a_sent_payment().await;
            if let Some(told) = told {
                assert!(keeps(&store, told, None).await);
            }
            let rulings = vec![result("rejected", None)];
            write(&store, TickWrite { rulings, ..TickWrite::default() }).await;
            assert!(
                !store.raise_sends(PAYMENT, 1).await.unwrap(),
                "an inquiry would send it again"
            );
            assert!(matches!(permit(&store).await, Permit::Answered(_)), "a redelivery would");
            assert_eq!(outcome(&store).await, kept);
            let contradicted = row(&store).await.contradiction.is_some();
            assert_eq!(contradicted, told == Some("accepted"));
        }
    }

    #[tokio::test]
    async fn a_payment_that_nobody_had_sent_is_never_sent_once_people_have_ruled() {
        let store = a_planned_payment().await;
        let rulings = vec![result("rejected", None)];
        write(&store, TickWrite { rulings, ..TickWrite::default() }).await;
        assert_eq!(permit(&store).await, Permit::Abandoned);
    }
}
