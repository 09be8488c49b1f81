//! Sharing lanes: heartbeat, claim up to the fair share, hand over what is more, renew, and drop what is lost.

use signalbox_bus::{LaneBus, Position};
use signalbox_schemas::{LaneId, TopicName};
use signalbox_store::{ClaimedLane, LaneFence, LaneStore, StopCause};
use std::collections::BTreeMap;
use tokio::time::Instant;

use super::{Worker, WorkerError, millis};
use crate::claim::{self, ClaimError, LaneLogs};
use crate::lane::Lane;
use crate::metrics;

impl<B: LaneBus, S: LaneStore> Worker<B, S> {
    /// Says that this worker is alive, prolongs its leases, and learns what operators have deployed.
    pub(super) async fn keep_alive(&mut self) -> Result<(), WorkerError> {
        self.meet_brokers().await?;
        if self.handover.is_leaving() {
            // Again: it may not have been heard.
            self.store.leave(&self.options.worker_id).await?;
        } else {
            self.store.heartbeat(&self.options.worker_id).await?;
        }
        self.learn_journeys().await?;
        self.migrations.stale = true;
        if !self.lanes.is_empty() {
            let (lost, now) = self.store.renew(&self.fences(), self.options.lease).await?;
            self.clock.set(now);
            self.check_time().await?;
            self.drop_lanes(&lost)?;
        }
        metrics::lanes(self.lanes.len());
        Ok(())
    }

    /// Where the database went back to before what this worker has committed, that was forgotten, and what of it is not
    /// published must never be: the same sequences are given out again.
    pub(super) async fn check_time(&mut self) -> Result<(), WorkerError> {
        let older = self.store.gone_back(&self.fences()).await?;
        if older.is_empty() {
            return Ok(());
        }
        self.bus.reset_producer().await?;
        Err(WorkerError::Installation(format!(
            "Postgres went back to before what was committed to lanes {older:?}; run `signalbox lane reconcile`"
        )))
    }

    /// Asks about every input once before others count on this worker: one that cannot reach the brokers gets no lane, and the
    /// first lane does not wait for connections.
    async fn meet_brokers(&mut self) -> Result<(), WorkerError> {
        if !self.met_brokers {
            let logs: Vec<_> = self.inputs.iter().map(|topic| (topic.clone(), 0)).collect();
            self.bus.ranges(&logs).await?;
            self.met_brokers = true;
        }
        Ok(())
    }

    /// Takes a lane, or lets one go, where this worker's share asks for that. True where it took one and there may be more.
    pub(super) async fn share_lanes(&mut self) -> Result<bool, WorkerError> {
        let held = self.held();
        let share = self.store.share(&self.options.worker_id, &held, self.options.lease).await?;
        self.clock.set(share.now);
        self.check_lanes(share.lanes)?;
        self.handover.shared(share);
        let fair = if self.handover.is_leaving() {
            0
        } else {
            share.lanes.div_ceil(share.others.saturating_add(1))
        };
        if self.lanes.len() > fair {
            self.let_one_go(share)?;
        } else if held.len() < fair && share.free > 0 {
            return self.claim_one(&held).await;
        }
        Ok(false)
    }

    /// Whether there was a lane to claim.
    async fn claim_one(&mut self, held: &[LaneId]) -> Result<bool, WorkerError> {
        let cluster = self.bus.cluster_id().await?;
        let installation = self.store.installation().await?;
        if let Err(error) = claim::check_installation(&installation, &cluster) {
            return Err(WorkerError::Installation(error.to_string()));
        }
        if self.lanes.is_empty() {
            // A database that was restored may have other keys under the names of those at hand.
            self.vault.forget_all();
        }
        if installation.kafka_cluster.is_none() || installation.system_identifier.is_none() {
            self.store.remember_installation(&cluster).await?;
        }
        let claimed =
            self.store.claim(&self.options.worker_id, held, 1, self.options.lease).await?;
        let took = !claimed.is_empty();
        if took {
            self.handover.took_one();
        }
        for lane in claimed {
            if let Err(error) = self.check_lanes(lane.lanes) {
                self.store.release(&[lane.fence], self.clock.now()).await?;
                return Err(error);
            }
            self.begin_lane(lane).await?;
        }
        Ok(took)
    }

    /// Lanes are added while nobody holds one, so a worker that knows another number must not begin with any.
    fn check_lanes(&self, found: usize) -> Result<(), WorkerError> {
        let began = self.options.lanes;
        if found == usize::from(began) { Ok(()) } else { Err(WorkerError::Lanes { began, found }) }
    }

    /// Every log to which a lane may publish.
    fn outputs_of(&self, lane: LaneId) -> Vec<(TopicName, i32)> {
        let lanes = || (0..self.options.lanes).map(LaneId);
        let logs = |(topic, of_others): &(TopicName, bool)| {
            let (topic, of_others) = (topic.clone(), *of_others);
            let there = lanes().filter(move |other| (*other != lane) == of_others);
            there.map(move |there| (topic.clone(), there.partition()))
        };
        self.outputs.iter().flat_map(logs).collect()
    }

    async fn begin_lane(&mut self, mut claimed: ClaimedLane) -> Result<(), WorkerError> {
        let id = claimed.fence.lane;
        let epoch = claimed.fence.epoch;
        let (begun, resting_since) = (Instant::now(), claimed.resting_since);
        let acked_elsewhere = std::mem::take(&mut claimed.acked_elsewhere);
        let mut lane = Lane::new(claimed, begun);
        let outputs = self.outputs_of(id);
        let logs =
            LaneLogs { inputs: &self.inputs, outputs: &outputs, acked_elsewhere: &acked_elsewhere };
        match claim::begin(&mut lane, &logs, &mut self.bus, &mut self.store, &mut self.vault).await
        {
            Ok(republished) => {
                metrics::republished(republished);
                self.heads.moved(&lane.position, self.clock.now());
                self.lanes.insert(id, lane);
                self.next_timer = None;
                self.assign(id)?;
                self.health.lane(id, Some(format!("epoch {epoch}")));
                let gap = resting_since.map(|since| self.clock.now().since(since));
                let (claim_ms, gap_ms) = (millis(begun.elapsed()), gap.map(millis));
                metrics::claimed(begun.elapsed(), gap);
                metrics::lanes(self.lanes.len());
                tracing::info!(lane = id.0, epoch, republished, claim_ms, gap_ms, "lane claimed");
                Ok(())
            }
            Err(error) => self.refuse_lane(&lane, error).await,
        }
    }

    /// A lane that cannot be served: given back where it may work later, stopped where a person must look.
    async fn refuse_lane(&mut self, lane: &Lane, error: ClaimError) -> Result<(), WorkerError> {
        let fence = lane.position.fence;
        match error {
            ClaimError::Bus(error) => {
                drop(self.store.release(&[fence], self.clock.now()).await);
                Err(error.into())
            }
            ClaimError::Store(error) => Err(error.into()),
            ClaimError::Keys(error) => {
                drop(self.store.release(&[fence], self.clock.now()).await);
                Err(error.into())
            }
            ClaimError::Installation(reason) | ClaimError::Lane(reason) => {
                self.stop_lane(fence, StopCause::Lane, &reason).await
            }
            ClaimError::LostCommits(reason) => {
                self.stop_lane(fence, StopCause::LostCommits, &reason).await
            }
        }
    }

    /// Stops lanes to which a forward is missing.
    pub(super) async fn stop_behind_gaps(
        &mut self,
        gaps: &BTreeMap<LaneId, String>,
    ) -> Result<(), WorkerError> {
        for (id, reason) in gaps {
            let Some(fence) = self.lanes.get(id).map(|lane| lane.position.fence) else { continue };
            self.forget(&[*id])?;
            self.stop_lane(fence, StopCause::Lane, reason).await?;
        }
        Ok(())
    }

    async fn stop_lane(
        &mut self,
        fence: LaneFence,
        cause: StopCause,
        reason: &str,
    ) -> Result<(), WorkerError> {
        if !self.store.stop_lane(fence, cause, reason).await? {
            // Whoever looks at a lane for longer than its lease sees what another has written meanwhile.
            tracing::warn!(
                lane = fence.lane.0,
                reason,
                "a lane that another has claimed is not stopped"
            );
            return Ok(());
        }
        tracing::error!(lane = fence.lane.0, reason, "lane stopped: a person must look");
        metrics::stopped(fence.lane);
        self.health.lane(fence.lane, Some(format!("stopped: {reason}")));
        Ok(())
    }

    /// Reads a lane's inputs from where it is.
    pub(super) fn assign(&mut self, id: LaneId) -> Result<(), WorkerError> {
        let Some(lane) = self.lanes.get(&id) else { return Ok(()) };
        self.paused.remove(&id);
        self.waiting.forget(id);
        self.works.retain(|work| work.lane != id);
        self.migrations.stale = true;
        // Timers among the works dropped are due still.
        self.next_timer = None;
        let position = |(topic, row): (&TopicName, &signalbox_store::InputRow)| Position {
            topic: topic.clone(),
            partition: id.partition(),
            offset: row.next_offset,
        };
        Ok(self.bus.assign(lane.position.inputs.iter().map(position).collect())?)
    }

    /// Settles a lane's outputs by what their logs hold.
    pub(super) async fn resume_lane(&mut self, id: LaneId) -> Result<(), WorkerError> {
        let Some(mut lane) = self.lanes.remove(&id) else { return Ok(()) };
        match claim::resume(&mut lane, &mut self.bus, &mut self.store, &mut self.vault).await {
            Ok(republished) => {
                metrics::republished(republished);
                self.lanes.insert(id, lane);
                Ok(())
            }
            Err(ClaimError::Bus(error)) => {
                // Tried again with a new producer.
                self.lanes.insert(id, lane);
                self.producer_broken = true;
                Err(error.into())
            }
            Err(ClaimError::Store(error)) => {
                self.lanes.insert(id, lane);
                self.producer_broken = true;
                Err(error.into())
            }
            Err(ClaimError::Keys(error)) => {
                self.lanes.insert(id, lane);
                self.producer_broken = true;
                Err(error.into())
            }
            Err(error) => {
                self.lanes.insert(id, lane);
                let Some(lane) = self.lanes.remove(&id) else { return Ok(()) };
                self.forget(&[id])?;
                self.refuse_lane(&lane, error).await
            }
        }
    }

    /// Forgets lanes that belong to somebody else now.
    pub(super) fn drop_lanes(&mut self, lost: &[LaneId]) -> Result<(), WorkerError> {
        if lost.is_empty() {
            return Ok(());
        }
        metrics::fenced(lost.len());
        tracing::warn!(lanes = ?lost, "lanes belong to another worker now");
        self.forget(lost)
    }

    pub(super) fn forget(&mut self, ids: &[LaneId]) -> Result<(), WorkerError> {
        let mut partitions = Vec::new();
        for id in ids {
            self.lanes.remove(id);
            self.paused.remove(id);
            self.waiting.forget(*id);
            self.heads.forget(*id);
            self.health.lane(*id, None);
            partitions.extend(self.inputs.iter().map(|topic| (topic.clone(), id.partition())));
        }
        self.works.retain(|work| !ids.contains(&work.lane));
        self.migrations.stale = true;
        let stale: Vec<_> = self
            .cache
            .iter()
            .filter(|(_, flow)| ids.contains(&flow.lane))
            .map(|(flow_id, _)| *flow_id)
            .collect();
        for flow_id in stale {
            self.cache.pop(&flow_id);
        }
        Ok(self.bus.unassign(&partitions)?)
    }

    /// Gives everything back after trouble that claiming again will explain.
    pub(super) async fn drop_all_lanes(&mut self) {
        let fences = self.fences();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        if let Err(error) = self.forget(&ids) {
            tracing::warn!(%error, "inputs were not unassigned");
        }
        if let Err(error) = self.store.release(&fences, self.clock.now()).await {
            tracing::warn!(%error, "lanes were not given back; their leases will expire");
        }
    }

    /// Stops every lane of this worker for good: an invariant is broken.
    pub(super) async fn stop_lanes(&mut self, reason: &str) {
        let fences = self.fences();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        if let Err(error) = self.forget(&ids) {
            tracing::warn!(%error, "inputs were not unassigned");
        }
        for fence in fences {
            match self.store.stop_lane(fence, StopCause::Lane, reason).await {
                // It is another worker's by now.
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::error!(lane = fence.lane.0, %error, "the lane could not be marked as stopped");
                }
            }
            metrics::stopped(fence.lane);
            self.health.lane(fence.lane, Some(format!("stopped: {reason}")));
        }
    }
}
