//! Versions and migrations that turn up while a worker runs: it reads them where they are pinned, and takes the flows of
//! open migrations in portions. What was read of a lane's progress is forgotten with everything else about the lane.

use signalbox_bus::LaneBus;
use signalbox_flow::Journey;
use signalbox_schemas::{FlowId, JourneyName, LaneId};
use signalbox_store::{FlowRow, LaneStore, OpenMigration};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Worker, WorkerError};
use crate::intake::Work;
use crate::migrating::{Errand, Job};

/// What a worker knows of open migrations.
pub(super) struct Migrations {
    /// Jobs of its lanes in turn, each with the last flow that was taken.
    open: VecDeque<(Arc<Job>, Option<FlowId>)>,
    /// Whether it has to be read again: progress is what is committed.
    pub(super) stale: bool,
    /// Whether the tick before was of migrations: other work has every other tick.
    had_turn: bool,
    /// Versions that are pinned and that this program cannot read.
    unreadable: Vec<(JourneyName, u32)>,
}

impl Migrations {
    pub(super) fn unknown() -> Self {
        Self { open: VecDeque::new(), stale: true, had_turn: false, unreadable: Vec::new() }
    }
}

impl<B: LaneBus, S: LaneStore> Worker<B, S> {
    /// Reads versions of journeys that were pinned since.
    pub(super) async fn learn_journeys(&mut self) -> Result<(), WorkerError> {
        let unreadable = self.migrations.unreadable.iter();
        let known: Vec<_> = self.library.known().chain(unreadable).cloned().collect();
        let mut more = Vec::new();
        for pinned in self.store.journeys_but(&known).await? {
            let (name, version) = (pinned.name, pinned.version);
            match Journey::parse(&pinned.source, self.codec.contract(), &BTreeMap::new()) {
                Ok(journey) => {
                    tracing::info!(journey = %name, version, "a version of a journey is known now");
                    more.push(journey);
                }
                Err(error) => {
                    tracing::error!(journey = %name, version, %error, "a pinned version cannot be read by this program");
                    self.migrations.unreadable.push((name, version));
                }
            }
        }
        if more.is_empty() {
            return Ok(());
        }
        let names: Vec<_> =
            more.iter().map(|journey| (journey.name().clone(), journey.version())).collect();
        match self.library.with(more) {
            Ok(library) => self.library = library,
            Err(error) => {
                tracing::error!(%error, "pinned versions cannot stand beside each other and are left out");
                self.migrations.unreadable.extend(names);
            }
        }
        Ok(())
    }

    /// Another engine may have started a flow under a version that was pinned a moment ago.
    pub(super) async fn learn_versions_of<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a FlowRow>,
    ) -> Result<(), WorkerError> {
        let unknown = |row: &FlowRow| {
            let version = (row.journey.clone(), row.version);
            self.library.version(&row.journey, row.version).is_none()
                && !self.migrations.unreadable.contains(&version)
        };
        let mut rows = rows;
        if rows.any(unknown) {
            self.learn_journeys().await?;
        }
        Ok(())
    }

    /// The next portion of one migration becomes works. Each lane has its turn.
    pub(super) async fn take_migrations(&mut self) -> Result<(), WorkerError> {
        self.migrations.had_turn = !self.migrations.had_turn;
        if !self.migrations.had_turn {
            return Ok(());
        }
        if self.migrations.stale {
            self.read_migrations().await?;
        }
        let Some((job, reached)) = self.migrations.open.pop_front() else { return Ok(()) };
        let at_most = self.options.migrated_flows_max.max(1);
        let open = OpenMigration { reached, ..job.open.clone() };
        let flows = self.store.flows_to_migrate(&open, at_most).await?;
        let errand = |flow| Work::errand(Errand { job: Arc::clone(&job), flow });
        match flows.last().copied() {
            Some(last) => {
                self.works.extend(flows.into_iter().map(|flow| errand(Some(flow))));
                self.migrations.open.push_back((job, Some(last)));
            }
            None => self.works.push_back(errand(None)),
        }
        Ok(())
    }

    async fn read_migrations(&mut self) -> Result<(), WorkerError> {
        let lanes: Vec<LaneId> =
            self.lanes.keys().filter(|lane| !self.paused.contains_key(lane)).copied().collect();
        self.migrations.open.clear();
        let open = self.store.open_migrations(&lanes).await?;
        if !open.is_empty() {
            // From here on new flows of these lanes start under the newest version.
            self.learn_journeys().await?;
        }
        for open in open {
            let (id, lane, reached) = (open.migration.id, open.lane, open.reached);
            match Job::new(open, &self.library) {
                Ok(job) => self.migrations.open.push_back((Arc::new(job), reached)),
                Err(error) => {
                    tracing::error!(migration = %id, lane = lane.0, %error, "a migration waits for another engine");
                }
            }
        }
        self.migrations.stale = false;
        Ok(())
    }
}
