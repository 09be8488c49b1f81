//! The identity vendor's memory: applicants and workflow runs. It judges nobody; `onfido` does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use uuid::{Builder, Uuid};

use crate::clock::{Millis, scramble};
use crate::personas::Identity;

/// Applicants and runs kept, each; the oldest are forgotten first and answer 404 from then on.
const KEPT_MAX: usize = 200_000;

/// Applicants and runs in memory.
#[derive(Debug)]
pub(crate) struct Checks {
    inner: Mutex<Inner>,
    seed: u64,
}

#[derive(Debug, Default)]
struct Inner {
    ids_given: u64,
    names: HashMap<Uuid, String>,
    runs: HashMap<Uuid, Run>,
    names_by_age: VecDeque<Uuid>,
    runs_by_age: VecDeque<Uuid>,
}

/// One workflow run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) applicant_id: Uuid,
    pub(crate) workflow_id: Uuid,
    pub(crate) customer_user_id: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) created_at_ms: Millis,
    pub(crate) decided_at_ms: Option<Millis>,
    pub(crate) polls: u32,
    pub(crate) end: Identity,
}

impl Checks {
    pub(crate) fn new(seed: u64) -> Self {
        Self { inner: Mutex::default(), seed }
    }

    pub(crate) fn reset(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    pub(crate) fn keep_name(&self, name: String) -> Uuid {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let id = inner.next_id(self.seed);
        inner.names.insert(id, name);
        inner.names_by_age.push_back(id);
        if inner.names_by_age.len() > KEPT_MAX
            && let Some(oldest) = inner.names_by_age.pop_front()
        {
            inner.names.remove(&oldest);
        }
        id
    }

    pub(crate) fn name(&self, applicant_id: Uuid) -> Option<String> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.names.get(&applicant_id).cloned()
    }

    pub(crate) fn keep_run(&self, run: Run) -> Run {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let run = Run { id: inner.next_id(self.seed), ..run };
        inner.runs.insert(run.id, run.clone());
        inner.runs_by_age.push_back(run.id);
        if inner.runs_by_age.len() > KEPT_MAX
            && let Some(oldest) = inner.runs_by_age.pop_front()
        {
            inner.runs.remove(&oldest);
        }
        run
    }

    /// Counts the poll and shows the run as it is then.
    pub(crate) fn poll(&self, id: Uuid, polls_needed: u32, now: Millis) -> Option<Run> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let run = inner.runs.get_mut(&id)?;
        run.polls = run.polls.saturating_add(1);
        if run.decided_at_ms.is_none() && run.polls >= polls_needed {
            run.decided_at_ms = Some(now);
        }
        Some(run.clone())
    }
}

impl Inner {
    fn next_id(&mut self, seed: u64) -> Uuid {
        self.ids_given += 1;
        let high = u128::from(scramble(seed, self.ids_given));
        let low = u128::from(scramble(!seed, self.ids_given));
        Builder::from_random_bytes(((high << 64) | low).to_be_bytes()).into_uuid()
    }
}
