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
    /// The last flow looked at, and whether the lane has ended.
    lanes: BTreeMap<(MigrationId, LaneId), (Option<FlowId>, bool)>,
    flows: BTreeMap<(MigrationId, FlowId), MigratedFlow>,
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
        let open =
            self.lanes.iter().filter(|((_, lane), (_, ended))| !ended && lanes.contains(lane));
        open.filter_map(|((id, lane), (reached, _))| {
            let migration = self.asked.get(id)?.clone();
            Some(OpenMigration { migration, lane: *lane, reached: *reached })
        })
        .collect()
    }

    /// Migrations that any lane has begun, with how many have ended them.
    pub(super) fn ended_by_lanes(&self) -> Vec<(MigrationId, u16)> {
        let mut found: BTreeMap<MigrationId, u16> = BTreeMap::new();
        for ((id, _), (_, ended)) in &self.lanes {
            *found.entry(*id).or_default() += u16::from(*ended);
        }
        found.into_iter().collect()
    }

    /// What every other lane has ended a new one has, too.
    pub(super) fn end_in(&mut self, lane: LaneId) {
        for (id, _) in self.ended_by_lanes() {
            self.lanes.insert((id, lane), (None, true));
        }
    }

    pub(super) fn write(&mut self, write: &TickWrite) -> Result<(), StoreError> {
        for (id, lane) in &write.migrations_begun {
            if !self.asked.contains_key(id) {
                return Err(StoreError::BadData(sqlx::Error::RowNotFound));
            }
            self.lanes.entry((*id, *lane)).or_default();
        }
        for moved in &write.migrations_moved {
            let held = self.lanes.get_mut(&(moved.migration, moved.lane));
            let Some((reached, ended)) = held.filter(|(_, ended)| !ended) else {
                return Err(StoreError::Invariant("migration_lane: not as expected".to_owned()));
            };
            *reached = moved.reached.or(*reached);
            *ended = moved.ended;
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

    /// How many lanes have ended a migration.
    pub fn lanes_migrated(&self, id: MigrationId) -> usize {
        let tables = self.lock();
        tables.migrations.lanes.iter().filter(|((of, _), (_, ended))| *of == id && *ended).count()
    }

    /// What became of the flows of every migration.
    pub fn migrated(&self) -> Vec<MigratedFlow> {
        self.lock().migrations.flows.values().cloned().collect()
    }
}
