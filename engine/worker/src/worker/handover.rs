//! Handing lanes over: a lane that goes to another worker rests, is published to its end, and is given back; the next one
//! follows when somebody has taken it. Lanes that stay, and those whose turn has not come, are worked on all the while.
//! Who takes a lane, and how it is checked, is the other worker's business.

use signalbox_bus::LaneBus;
use signalbox_schemas::{LaneId, Micros};
use signalbox_store::{LaneStore, WorkerShare};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

use super::{Worker, WorkerError, millis};
use crate::lane::Lane;

/// Lanes on their way to other workers.
pub(super) struct Handover {
    /// Read no more, and not given back yet.
    resting: BTreeMap<LaneId, Resting>,
    /// When one was given back last.
    gave_at: Instant,
    /// When one was taken last, or this worker began.
    took_at: Instant,
    /// Whether this worker hands over everything and ends.
    leaving: bool,
    /// Whether there was another worker at the last look.
    accompanied: bool,
}

struct Resting {
    lane: Lane,
    /// Database time since which nobody reads it.
    since: Micros,
    at: Instant,
}

impl Handover {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            resting: BTreeMap::new(),
            gave_at: now,
            took_at: now,
            leaving: false,
            accompanied: false,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// A lane that rests.
    pub(super) fn resting(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.resting.get_mut(&id).map(|resting| &mut resting.lane)
    }

    pub(super) fn shared(&mut self, share: WorkerShare) {
        self.accompanied = share.others > 0;
    }

    pub(super) fn took_one(&mut self) {
        self.took_at = Instant::now();
    }

    /// Whether another lane may be on its way here: they come one after the other.
    pub(super) fn goes_on(&self, lease: Duration) -> bool {
        self.accompanied && !self.leaving && self.took_at.elapsed() < lease / 5
    }
}

impl<B: LaneBus, S: LaneStore> Worker<B, S> {
    /// From now on this worker hands its lanes over. Others count it no more, so that their share grows.
    pub async fn leave(&mut self) {
        self.handover.leaving = true;
        if let Err(error) = self.store.leave(&self.options.worker_id).await {
            tracing::warn!(%error, "the worker is still listed; its heartbeat will expire");
        }
        self.due.share = Instant::now();
    }

    /// Whether there are lanes left that somebody else may take: none is waited for where nobody else is alive.
    pub fn hands_over(&self) -> bool {
        self.handover.accompanied && !(self.lanes.is_empty() && self.handover.resting.is_empty())
    }

    /// Lanes that are this worker's in the store.
    pub(super) fn held(&self) -> Vec<LaneId> {
        self.lanes.keys().chain(self.handover.resting.keys()).copied().collect()
    }

    /// One lane more than this worker should have rests from now on. Only one at a time is on its way, so that whoever takes
    /// it is not busy with another; one that nobody takes holds the next up for a while only.
    pub(super) fn let_one_go(&mut self, share: WorkerShare) -> Result<(), WorkerError> {
        let lately = self.handover.gave_at.elapsed() < self.options.lease / 5;
        let is_on_its_way = share.free > 0 && lately;
        if is_on_its_way || !self.handover.resting.is_empty() || !self.handover.accompanied {
            return Ok(());
        }
        // The one that can go at once, if there is one.
        let first = self.lanes.iter().min_by_key(|(_, lane)| lane.unpublished());
        let Some(id) = first.map(|(id, _)| *id) else { return Ok(()) };
        let Some(lane) = self.lanes.remove(&id) else { return Ok(()) };
        self.forget(&[id])?;
        let resting = Resting { lane, since: self.clock.now(), at: Instant::now() };
        self.handover.resting.insert(id, resting);
        Ok(())
    }

    /// Gives lanes back that have rested until everything of them was published, or for too long.
    pub(super) async fn give_rested_lanes(&mut self) -> Result<(), WorkerError> {
        let patience = self.options.lease / 2;
        let is_ready = |(_, resting): &(&LaneId, &Resting)| {
            resting.lane.unpublished() == 0 || resting.at.elapsed() > patience
        };
        while let Some((id, _)) = self.handover.resting.iter().find(is_ready) {
            let id = *id;
            let Some(resting) = self.handover.resting.remove(&id) else { return Ok(()) };
            let mut one = BTreeMap::from([(id, resting.lane)]);
            if let Err(error) = self.write_acks(&mut one).await {
                tracing::warn!(lane = id.0, %error, "acknowledgements were not written; they will be found in the logs");
            }
            let fences: Vec<_> = one.values().map(|lane| lane.position.fence).collect();
            self.store.release(&fences, resting.since).await?;
            self.handover.gave_at = Instant::now();
            let rest_ms = millis(resting.at.elapsed());
            tracing::info!(lane = id.0, rest_ms, "lane given back");
        }
        Ok(())
    }

    /// Gives lanes that rest back as they are.
    pub(super) async fn release_resting_lanes(&mut self) -> Result<(), WorkerError> {
        while let Some((_, resting)) = self.handover.resting.pop_first() {
            self.store.release(&[resting.lane.position.fence], resting.since).await?;
        }
        Ok(())
    }

    /// Lanes that rest are this worker's again, to be given back with the others.
    pub(super) fn take_resting_lanes_back(&mut self) {
        let resting = std::mem::take(&mut self.handover.resting);
        self.lanes.extend(resting.into_iter().map(|(id, resting)| (id, resting.lane)));
    }
}
