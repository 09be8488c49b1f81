//! Recovery in memory: the same promises as over Postgres; and a database that goes back to an earlier time.

use signalbox_schemas::{AttemptId, LaneId};
use std::sync::Arc;

use super::{MemoryStore, Tables};
use crate::error::StoreError;
use crate::journal::{GENESIS, JournalRow, seal};
use crate::recovery::RecoveryStore;
use crate::recovery_rows::{
    DoubtfulAttempt, LANE_BREAK, Remembered, Settled, SettledLane, Settlement, StoredLane,
};
use crate::rows::{AttemptRow, Disposition, Forgotten, LaneFence};

/// The database as it was at one time.
#[derive(Clone)]
pub struct MemoryBackup(Tables);

impl MemoryStore {
    /// A backup.
    pub fn backup(&self) -> MemoryBackup {
        MemoryBackup(self.lock().clone())
    }

    /// Puts a backup in the place of the database: everything since is forgotten, but time goes on.
    pub fn restore(&self, backup: MemoryBackup) {
        let mut tables = self.lock();
        let now = tables.now;
        *tables = backup.0;
        tables.now = now;
    }

    /// Whether commits are known to be lost: then no permit is given.
    pub fn lost_commits(&self) -> bool {
        self.lock().installation.lost_commits
    }
}

impl Tables {
    /// What a lane must know of a time that was forgotten.
    pub(super) fn forgotten_of(&self, lane: LaneId) -> Forgotten {
        let running = |flow| self.flows.get(flow).is_none_or(|row| !row.ended);
        let endings = self.endings.values().filter(|each| each.lane == lane);
        let writes = self.forgotten.iter().filter_map(|id| self.attempts.get(id));
        let writes = writes.map(|row| &row.plan).filter(|plan| plan.lane == lane);
        let read = self.read_before.iter().filter(|((of, _), _)| *of == lane);
        Forgotten {
            endings: endings.filter(|each| running(&each.flow)).cloned().collect(),
            writes: writes
                .filter(|plan| running(&plan.flow))
                .map(|plan| (plan.flow, plan.step.clone(), plan.group))
                .collect(),
            read_before: read.map(|((_, topic), until)| (topic.clone(), *until)).collect(),
        }
    }

    fn stored_lanes(&self) -> Vec<StoredLane> {
        let stored = |(id, lane): (&LaneId, &super::LaneState)| StoredLane {
            fence: LaneFence { lane: *id, epoch: lane.epoch, rev: lane.rev },
            owner: lane.owner.clone().filter(|_| lane.lease_until > self.now),
            out_seq: lane.out_seq,
        };
        self.lanes.iter().map(stored).collect()
    }

    fn doubt(&mut self, one: &DoubtfulAttempt) {
        let row = self.attempts.entry(one.plan.id).or_insert_with(|| AttemptRow {
            plan: one.plan.clone(),
            disposition: Disposition::Sending,
            vendor: None,
            sends: 0,
            request: None,
            first_sent_at: None,
            result: None,
            contradiction: None,
        });
        if row.disposition == Disposition::Abandoned {
            return;
        }
        let in_doubt = |result: &serde_json::Value| {
            result.get("outcome").is_some_and(|word| word == "in_doubt")
        };
        row.disposition = Disposition::Sending;
        row.sends += 1;
        row.vendor = row.vendor.take().or_else(|| one.vendor.clone());
        row.first_sent_at = row.first_sent_at.or(one.first_sent_at);
        if row.result.as_ref().is_none_or(in_doubt) && one.result.is_some() {
            row.result.clone_from(&one.result);
        }
        self.forgotten.insert(one.plan.id);
    }

    fn settle_lane(&mut self, settled: &SettledLane, actor: &str, reason: &str) {
        let (id, at) = (settled.fence.lane, self.now);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let told = settled.told(reason);
        let act = (LANE_BREAK, actor, told.as_str());
        let row = JournalRow::of_lane(id, lane.journal_seq + 1, at, act, settled.out_seq);
        let head = if lane.journal_head.is_empty() { &GENESIS[..] } else { &lane.journal_head };
        let row = seal(row, head);
        (lane.journal_seq, lane.journal_head) = (row.seq, row.hash.clone());
        (lane.epoch, lane.rev, lane.out_seq) = (settled.epoch, lane.rev + 1, settled.out_seq);
        lane.owner = None;
        if settled.forgotten > 0 {
            lane.stopped = None;
        }
        self.journal.entry(id).or_default().push(Arc::new(row));
    }
}

impl RecoveryStore for MemoryStore {
    async fn remembered(&self) -> Result<Remembered, StoreError> {
        let tables = self.lock();
        let unsettled = |row: &&AttemptRow| {
            let word = row.result.as_ref().and_then(|result| result.get("outcome"));
            row.disposition != Disposition::Abandoned && word.is_none_or(|word| word == "in_doubt")
        };
        Ok(Remembered {
            installation: tables.installation.clone(),
            lanes: tables.stored_lanes(),
            inputs: tables.inputs.values().cloned().collect(),
            outputs: tables.outputs.values().cloned().collect(),
            open_attempts: tables.attempts.values().filter(unsettled).cloned().collect(),
            last_journaled: tables.journal.values().flatten().map(|row| row.at).max(),
        })
    }

    async fn known_attempts(&self, ids: &[AttemptId]) -> Result<Vec<AttemptRow>, StoreError> {
        let tables = self.lock();
        Ok(ids.iter().filter_map(|id| tables.attempts.get(id).cloned()).collect())
    }

    async fn settle(&self, settlement: &Settlement) -> Result<Settled, StoreError> {
        let mut tables = self.lock();
        let held = settlement.held(&tables.stored_lanes());
        if !held.is_empty() {
            return Ok(Settled::Held(held));
        }
        settlement.attempts.iter().for_each(|one| tables.doubt(one));
        for ending in &settlement.endings {
            tables.endings.entry(ending.flow).or_insert_with(|| ending.clone());
        }
        for row in &settlement.read_before {
            tables.read_before.insert((row.lane, row.topic.clone()), row.until);
        }
        for row in &settlement.outputs {
            tables.outputs.insert((row.lane, row.topic.clone(), row.partition), row.clone());
        }
        for lane in &settlement.lanes {
            tables.settle_lane(lane, &settlement.actor, &settlement.reason);
        }
        tables.installation.kafka_cluster = Some(settlement.kafka_cluster.clone());
        tables.installation.lost_commits = false;
        Ok(Settled::Done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::lane_store::{LaneStore, StopCause};
    use signalbox_schemas::Micros;
    use std::time::Duration;

    const LEASE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn whoever_is_fenced_holds_no_money_back() {
        let mut store = MemoryStore::new(1, Micros(1));
        let paused = store.claim("east", &[], 1, LEASE).await.unwrap()[0].fence;
        store.advance(LEASE * 2);
        let owner = store.claim("west", &[], 1, LEASE).await.unwrap()[0].fence;
        let late = store.stop_lane(paused, StopCause::LostCommits, "it saw the owner's records");
        assert!(!late.await.unwrap(), "a lane was stopped by whoever had lost it");
        assert!(!store.lost_commits() && store.stopped(paused.lane).is_none());
        let stopped = store.stop_lane(owner, StopCause::LostCommits, "commits are lost");
        assert!(stopped.await.unwrap());
        assert!(store.lost_commits() && store.stopped(owner.lane).is_some());
    }
}
