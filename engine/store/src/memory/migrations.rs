//! Journeys and migrations of the twin: what is pinned, what lanes have begun, what became of flows.

use signalbox_schemas::{FlowId, JourneyName, LaneId, MigrationId};
use std::collections::BTreeMap;

use super::MemoryStore;
use crate::error::StoreError;
use crate::lane_store::{PinnedJourney, TickWrite};
use crate::migration_rows::{MigratedFlow, MigrationRow, OpenMigration};

/// The tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Migrations {
    journeys: BTreeMap<(JourneyName, u32), String>,
    asked: BTreeMap<MigrationId, MigrationRow>,
    lanes: BTreeMap<(MigrationId, LaneId), Progress>,
    flows: BTreeMap<(MigrationId, FlowId), MigratedFlow>,
}

/// How far a lane is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The last flow looked at.
    reached: Option<FlowId>,
    ended: bool,
    /// Whether it ended because it was told to.
    stopped: bool,
}

impl Migrations {
    pub(super) fn journeys_but(&self, known: &[(JourneyName, u32)]) -> Vec<PinnedJourney> {
        let unknown = self.journeys.iter().filter(|(version, _)| !known.contains(version));
        let pinned = |((name, version), source): (&(JourneyName, u32), &String)| PinnedJourney {
            name: name.clone(),
            version: *version,
            source: source.clone(),
        };
        unknown.map(pinned).collect()
    }

    pub(super) fn open(&self, lanes: &[LaneId]) -> Vec<OpenMigration> {
        let open = self
            .lanes
            .iter()
            .filter(|((_, lane), progress)| !progress.ended && lanes.contains(lane));
        open.filter_map(|((id, lane), progress)| {
            let migration = self.asked.get(id)?.clone();
            Some(OpenMigration { migration, lane: *lane, reached: progress.reached })
        })
        .collect()
    }

    /// Migrations that any lane has begun, with how many have ended them.
    pub(super) fn ended_by_lanes(&self) -> Vec<(MigrationId, u16)> {
        let mut found: BTreeMap<MigrationId, u16> = BTreeMap::new();
        for ((id, _), progress) in &self.lanes {
            *found.entry(*id).or_default() += u16::from(progress.ended);
        }
        found.into_iter().collect()
    }

    /// What every other lane has ended a new one has, too.
    pub(super) fn end_in(&mut self, lane: LaneId) {
        for (id, _) in self.ended_by_lanes() {
            self.lanes.insert((id, lane), Progress { ended: true, ..Progress::default() });
        }
    }

    pub(super) fn write(&mut self, write: &TickWrite) -> Result<(), StoreError> {
        let told = write.migrations_begun.iter().chain(&write.migrations_stopped);
        for (id, lane) in told {
            if !self.asked.contains_key(id) {
                return Err(StoreError::BadData(sqlx::Error::RowNotFound));
            }
            self.lanes.entry((*id, *lane)).or_default();
        }
        for place in &write.migrations_stopped {
            if let Some(progress) = self.lanes.get_mut(place).filter(|progress| !progress.ended) {
                (progress.ended, progress.stopped) = (true, true);
            }
        }
        for moved in &write.migrations_moved {
            let held = self.lanes.get_mut(&(moved.migration, moved.lane));
            let Some(progress) = held.filter(|progress| !progress.ended) else {
                return Err(StoreError::Invariant("migration_lane: not as expected".to_owned()));
            };
            progress.reached = moved.reached.or(progress.reached);
            progress.ended = moved.ended;
        }
        for row in &write.migrated {
            self.flows.entry((row.migration, row.flow)).or_insert_with(|| row.clone());
        }
        Ok(())
    }
}

impl MemoryStore {
    /// Pins a version of a journey.
    pub fn deploy(&self, name: JourneyName, version: u32, source: &str) {
        self.lock().migrations.journeys.insert((name, version), source.to_owned());
    }

    /// Puts down a migration.
    pub fn ask_for_migration(&self, row: MigrationRow) {
        self.lock().migrations.asked.insert(row.id, row);
    }

    /// How many lanes have ended a migration, and how many of those because they were told to stop.
    pub fn lanes_migrated(&self, id: MigrationId) -> (usize, usize) {
        let tables = self.lock();
        let ended =
            tables.migrations.lanes.iter().filter(|((of, _), lane)| *of == id && lane.ended);
        let stopped = ended.clone().filter(|(_, lane)| lane.stopped);
        (ended.count(), stopped.count())
    }

    /// What became of the flows of every migration.
    pub fn migrated(&self) -> Vec<MigratedFlow> {
        self.lock().migrations.flows.values().cloned().collect()
    }
}
