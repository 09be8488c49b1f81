//! More lanes in the midst of a run, at a moment that suits nobody, and producers that hear of it late.

use signalbox_store::{Growth, GrowthOrder};
use std::time::Duration;
use tokio::time::Instant;

use super::migrations;
use super::plan::Fault;
use super::world::World;

impl World {
    /// Engines are stopped in order, but for those that hang, and lanes are added unless something stands in the way.
    /// Records lie unread, requests and answers are under way, timers run, and inputs wait for flows that stand still.
    pub(super) async fn grow(&mut self) {
        if self.store.lane_count() > self.lanes_at_first {
            return;
        }
        let now = Instant::now();
        for process in &mut self.processes {
            if process.paused_until.is_some_and(|until| now < until) {
                continue;
            }
            let Some(mut worker) = process.worker.take() else { continue };
            process.leaving = false;
            worker.leave().await;
            worker.stop().await;
        }
        self.sync_clock();
        let order = GrowthOrder {
            to: self.lanes_at_first + 4,
            actor: "ann".to_owned(),
            reason: "more customers".to_owned(),
        };
        self.chronicle.tell("operator", || format!("adds lanes: {} there shall be", order.to));
        if matches!(self.store.grow(&order), Growth::Done(_)) && self.plan.has(Fault::Migrates) {
            // Whom an act told that was not read before is another lane now.
            migrations::begin(&self.broker, &self.codec, self.store.lane_count());
        }
        self.pass(Duration::from_millis(1)).await;
    }

    /// Lanes as some producer knows them: after a growth it may be some time until it asks again.
    pub(super) fn known_lanes(&mut self) -> u16 {
        let lanes = self.store.lane_count();
        if lanes > self.lanes_at_first && self.rng.bool() { self.lanes_at_first } else { lanes }
    }
}
