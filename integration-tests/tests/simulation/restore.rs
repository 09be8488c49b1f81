//! The database goes back to an earlier time in the midst of a storm: engines find out, money is held, an operator
//! reconciles, and everything goes on. Adapters live through it, with what they know and hold.

use signalbox_bus::MemoryLaneBus;
use signalbox_store::{AttemptRow, Disposition, MemoryBackup, RecoveryStore, Settled};
use signalbox_worker::{Missing, Permits, missing, settle};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

use super::check;
use super::chronicle::Chronicle;
use super::plan::Plan;
use super::world::{World, in_simulated_time};

/// Longer than any lease.
const PAST_LEASES: Duration = Duration::from_secs(20);

/// When what happens, in turns of the storm; and what it came to.
pub(crate) struct Restore {
    backup_at: usize,
    restore_at: usize,
    reconcile_at: usize,
    backup: Option<MemoryBackup>,
    /// The database has been put back.
    pub(crate) done: bool,
    /// Whether a lane found out before anybody looked.
    pub(crate) found_out: bool,
    pub(crate) forgotten_writes: usize,
    pub(crate) forgotten_endings: usize,
}

impl Restore {
    pub(crate) fn at_some_time(rng: &mut fastrand::Rng) -> Self {
        let backup_at = rng.usize(20..220);
        let restore_at = backup_at + rng.usize(5..120);
        Self {
            backup_at,
            restore_at,
            reconcile_at: restore_at + rng.usize(10..60),
            backup: None,
            done: false,
            found_out: false,
            forgotten_writes: 0,
            forgotten_endings: 0,
        }
    }
}

/// What the vendor's books say about flows of which nobody else knows: people ask there.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Business ids, and whether the payment was carried out.
    pub(crate) paid: BTreeMap<String, bool>,
    /// Business ids whose payment was called back.
    pub(crate) recalled: BTreeSet<String>,
}

impl World {
    /// One turn of the storm.
    pub(crate) async fn lose_time(&mut self, turn: usize) {
        if turn == self.restore.backup_at {
            self.restore.backup = Some(self.store.backup());
        }
        if turn == self.restore.restore_at
            && let Some(backup) = self.restore.backup.take()
        {
            self.go_back(backup);
            // Engines are stopped for it: what they had queued and was not delivered by now never will be.
            self.stop_engines();
        }
        if turn == self.restore.reconcile_at {
            self.reconcile().await;
        }
    }

    /// The backup is from before any lane wrote anything, so that the database knows no topic where it should look.
    pub(crate) fn knows_nothing(
        seed: u64,
        plan: Plan,
        chronicle: &Chronicle,
    ) -> check::Standstills {
        in_simulated_time(async {
            let (mut world, backup) = Self::backed_up_before_anything(seed, plan, chronicle).await;
            let lanes = usize::from(world.store.lane_count());
            let some_end = |world: &Self| world.store.flows().iter().any(|flow| flow.ended);
            world.step_until(lanes, some_end).await;
            world.stop_engines();
            world.go_back(backup);
            world.pass(PAST_LEASES).await;
            world.step_until(lanes, |world| world.store.lost_commits()).await;
            world.reconcile().await;
            world.calm_down().await;
            check::everything(&world, &world.commanded)
        })
    }

    /// Nobody stops the engines for a restore, and what they have committed by then waits for brokers that are away. They
    /// find out before the brokers are back, and nothing of it is published.
    pub(crate) fn left_running(seed: u64, plan: Plan, chronicle: &Chronicle) -> check::Standstills {
        in_simulated_time(async {
            let (mut world, backup) = Self::backed_up_before_anything(seed, plan, chronicle).await;
            let lanes = usize::from(world.store.lane_count());
            world.fates(|fate| fate.silent = true);
            world.step_until(lanes, |world| world.store.flows().len() == world.plan.flows).await;
            world.go_back(backup);
            let heartbeats_later = Instant::now() + PAST_LEASES;
            world.step_until(lanes, |_| Instant::now() > heartbeats_later).await;
            world.fates(|fate| fate.silent = false);
            world.workers_turn().await;
            assert!(world.store.lost_commits(), "nobody holds the money");
            assert_eq!(world.missing().await.gaps, [], "what was forgotten was published");
            world.reconcile().await;
            world.calm_down().await;
            check::everything(&world, &world.commanded)
        })
    }

    /// Every lane is held and nothing was done by the time of the backup; then everything is asked for at once.
    async fn backed_up_before_anything(
        seed: u64,
        plan: Plan,
        chronicle: &Chronicle,
    ) -> (Self, MemoryBackup) {
        let mut world = Self::new(seed, plan, chronicle);
        world.fates(|fate| fate.calm = true);
        let lanes = usize::from(world.store.lane_count());
        let held = |world: &Self| world.owned("east") + world.owned("west");
        world.step_until(lanes, |world| held(world) == lanes).await;
        let backup = world.store.backup();
        (0..world.plan.flows).for_each(|_| world.command());
        (world, backup)
    }

    fn go_back(&mut self, backup: MemoryBackup) {
        self.chronicle.tell("database", || "goes back to its backup".to_owned());
        self.store.restore(backup);
        self.restore.done = true;
        self.adapters.database_was_restored();
    }

    /// As docs/operations.md says: engines are stopped, what is missing is told and settled, and then nothing is missing.
    async fn reconcile(&mut self) {
        self.chronicle.tell("operator", || "reconciles".to_owned());
        self.restore.found_out = self.store.lost_commits();
        self.stop_engines();
        self.pass(PAST_LEASES).await;
        let found = self.missing().await;
        self.names_every_write(&found).await;
        self.restore.forgotten_writes = found.writes.len();
        self.restore.forgotten_endings = found.endings.len();
        if found.is_settled() {
            return;
        }
        let settled = settle(&self.store, &found, "ann", "a simulated restore").await.unwrap();
        assert_eq!(settled, Settled::Done);
        let again = settle(&self.store, &found, "ann", "once more").await.unwrap();
        assert!(matches!(again, Settled::Held(_)), "what was settled is settled again: {again:?}");
        assert!(self.missing().await.is_settled(), "something is missing after it was settled");
        assert!(!self.store.lost_commits(), "money is held for ever");
    }

    async fn missing(&self) -> Missing {
        let mut bus = MemoryLaneBus::connect(self.broker.clone());
        missing(&mut bus, &self.store, &self.codec, Permits::MayBeLost).await.unwrap()
    }

    /// Whatever the vendor carried out is known for good, or named.
    async fn names_every_write(&self, found: &Missing) {
        let ids: Vec<_> = self.adapters.ledger().into_keys().collect();
        let known = self.store.known_attempts(&ids).await.unwrap();
        for id in ids {
            let settled = known.iter().any(|row| row.plan.id == id && row.result.is_some());
            let named = found.writes.iter().any(|write| write.plan.id == id);
            assert!(settled || named, "attempt {id} was carried out and is not named");
        }
    }

    /// The vendor's books, for those whose payment nobody can send any more.
    pub(crate) fn books(&self) -> Option<Books> {
        let are_needed = self.restore.done || !self.adapters.send_again();
        if !are_needed || !self.adapters.is_idle() {
            return None;
        }
        let mut books = Books::default();
        let ledger = self.adapters.ledger();
        let attempts = self.store.attempts();
        for flow in self.store.flows() {
            let of_flow = attempts.iter().filter(|row| row.plan.flow == flow.id);
            let sends: Vec<&AttemptRow> =
                of_flow.filter(|row| row.plan.capability == "payout.send").collect();
            let id = flow.aggregate.to_string();
            if sends.iter().any(|row| self.adapters.is_recalled(row.plan.id)) {
                books.recalled.insert(id.clone());
            }
            let paid = sends.iter().any(|row| ledger.contains_key(&row.plan.id));
            let sendable = |row: &&AttemptRow| {
                row.disposition == Disposition::Planned
                    || (row.disposition == Disposition::Sending
                        && row.request.is_some()
                        && self.adapters.send_again())
            };
            if paid || !sends.iter().any(sendable) {
                books.paid.insert(id, paid);
            }
        }
        Some(books)
    }
}
