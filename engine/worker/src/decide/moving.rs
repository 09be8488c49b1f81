//! Migrations in a tick: a lane begins one, moves flows, ends it, or stops half way. Every flow that moves is journaled as a transition of its
//! own; one that does not is counted with the reason, and stays untouched.

use serde_json::Value;
use signalbox_flow::Mover;
use signalbox_schemas::MigrationId;
use signalbox_store::{MigratedFlow, MigrationMove};

use super::{Deciding, Note, Transition};
use crate::intake::{Work, WorkInput};

impl<'d> Deciding<'_, 'd> {
    /// The lane has been told to begin. A migration that does not exist is the store's to refuse.
    pub(super) fn begin_migration(&mut self, work: &'d Work, id: MigrationId, value: &Value) {
        self.rows.begin_migration(id, work.lane);
        self.turn_migration(work, format!("migration {id} begins"), value);
    }

    /// The lane has been told to move no more. What it has moved stays moved, and it does not begin again.
    pub(super) fn stop_migration(&mut self, work: &'d Work, id: MigrationId, value: &Value) {
        self.rows.stop_migration(id, work.lane);
        self.turn_migration(work, format!("migration {id} stops"), value);
    }

    /// What is left to do is read again after this tick.
    fn turn_migration(&mut self, work: &'d Work, what: String, value: &Value) {
        self.decided.turns_migration = true;
        let text =
            |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let (actor, reason) = (text("actor").to_owned(), format!("{what}: {}", text("reason")));
        let transition = Transition { kind: "migration", flow: None, before: None, actor, reason };
        self.journal(work, transition, Vec::new());
    }

    /// One flow, or the end.
    pub(super) fn migrate(&mut self, work: &'d Work) {
        let WorkInput::Errand(errand) = &work.input else { return };
        let asked = &errand.job.open.migration;
        let reached = MigrationMove {
            migration: asked.id,
            lane: work.lane,
            reached: errand.flow,
            ended: false,
        };
        let Some(id) = errand.flow else {
            self.rows.advance_migration(MigrationMove { ended: true, ..reached });
            let transition = Transition {
                kind: "migration",
                flow: None,
                before: None,
                actor: asked.actor.clone(),
                reason: format!("migration {} has ended here", asked.id),
            };
            return self.journal(work, transition, Vec::new());
        };
        self.rows.advance_migration(reached);
        let Some(flow) = self.flow(id) else { return };
        let reason = format!("migration {}, {}", asked.id, asked.reason);
        let by = Mover { actor: &asked.actor, reason: &reason };
        let moved = match (&work.refused, errand.job.migration.step(&flow, by, self.context())) {
            (Some(death), _) => Err(death.code),
            (None, Ok(decision)) => {
                let after = decision.flow.state.clone();
                let taken = self.transition(work, Some(&flow), decision);
                if taken { Ok(after) } else { Err("unencodable") }
            }
            (None, Err((why, _))) => Err(why.code()),
        };
        self.decided.notes.push(match &moved {
            Ok(_) => Note::Migrated(flow.journey.to_string()),
            Err(code) => Note::NotMigrated(code),
        });
        self.rows.migrated(MigratedFlow {
            migration: asked.id,
            flow: id,
            lane: work.lane,
            before: flow.state.clone(),
            became: moved.map_err(str::to_owned),
        });
    }
}
