//! Keys of subjects in memory: the same promises as the key table, made and destroyed under one lock.

use signalbox_schemas::{AttemptId, KeyId, SubjectId};
use std::collections::BTreeSet;

use super::{MemoryStore, Tables};
use crate::keys::{Erasure, ErasureOrder, Hindrance, KeyRow, NewKey};

impl MemoryStore {
    /// Every key.
    pub fn all_keys(&self) -> Vec<KeyRow> {
        self.lock().keys.values().cloned().collect()
    }

    /// As `Reader::erase`.
    pub fn erase(&self, order: &ErasureOrder) -> Erasure {
        let mut tables = self.lock();
        let hindrances = hindrances(&tables, order);
        if !hindrances.is_empty() {
            return Erasure::Refused(hindrances);
        }
        let at = tables.now;
        let mut destroyed = Vec::new();
        for row in tables.keys.values_mut() {
            if order.subjects.contains(&row.id.subject) && row.erased_at.is_none() {
                (row.wrapped, row.erased_at) = (None, Some(at));
                destroyed.push(row.id);
            }
        }
        tables.recognitions.retain(|subject, _| !order.subjects.contains(subject));
        Erasure::Done { keys: destroyed, at }
    }
}

fn hindrances(tables: &Tables, order: &ErasureOrder) -> Vec<Hindrance> {
    let mut found = Vec::new();
    for flow in tables.flows.values().filter(|flow| order.subjects.contains(&flow.subject)) {
        let aggregate = flow.aggregate.clone();
        if !flow.ended {
            let journey = flow.journey.clone();
            found.push(Hindrance::Running { flow: flow.id, aggregate, journey });
        } else if tables.now.since(flow.updated_at) < order.settled_for {
            found.push(Hindrance::JustChanged { aggregate, at: flow.updated_at });
        }
    }
    for (lane, state) in &tables.lanes {
        let rows = tables.journal.get(lane).map(Vec::as_slice).unwrap_or_default();
        // Sealed bytes name their subject after their first byte.
        let theirs = |records: &[u8]| {
            let subjects = order.subjects.iter();
            subjects.map(|subject| subject.0).any(|id| records.get(1..17) == Some(id.as_bytes()))
        };
        let waiting = rows.iter().find(|row| row.out_last > state.pub_seq && theirs(&row.records));
        found.extend(waiting.map(|row| Hindrance::Unpublished { lane: *lane, seq: row.seq }));
    }
    found
}

/// The current key of a subject, or the new one.
pub(super) fn ensure(tables: &mut Tables, new: &NewKey) -> KeyRow {
    let of_subject = |row: &&KeyRow| row.id.subject == new.subject;
    let current = tables.keys.values().filter(of_subject).find(|row| row.erased_at.is_none());
    if let Some(current) = current {
        return current.clone();
    }
    let last = tables.keys.values().filter(of_subject).map(|row| row.id.generation).max();
    let row = KeyRow {
        id: KeyId { subject: new.subject, generation: last.unwrap_or(0) + 1 },
        wrapped: Some(new.wrapped.clone()),
        created_at: tables.now,
        erased_at: None,
    };
    tables.keys.insert(row.id, row.clone());
    row
}

/// Those of the keys that are destroyed or unknown.
pub(super) fn destroyed(tables: &Tables, used: &BTreeSet<KeyId>) -> Vec<SubjectId> {
    let gone = |id: &&KeyId| tables.keys.get(id).is_none_or(|row| row.erased_at.is_some());
    used.iter().filter(gone).map(|id| id.subject).collect()
}

/// The current key of whom an attempt is about.
pub(super) fn of_attempt(tables: &Tables, id: AttemptId) -> Option<(AttemptId, KeyRow)> {
    let flow = tables.attempts.get(&id)?.plan.flow;
    let subject = tables.flows.get(&flow)?.subject;
    let current =
        tables.keys.values().find(|row| row.id.subject == subject && row.erased_at.is_none())?;
    Some((id, current.clone()))
}
