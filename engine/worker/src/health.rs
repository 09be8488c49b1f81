//! What a worker says about itself to whoever asks: is it ready, and how are its lanes.

use signalbox_schemas::LaneId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Health of one worker; shared with the admin server.
#[derive(Debug, Default)]
pub struct WorkerHealth {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    lanes: BTreeMap<LaneId, String>,
    problem: Option<String>,
}

impl WorkerHealth {
    /// True once the worker takes part in sharing lanes and nothing keeps it from working.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        state.started && state.problem.is_none()
    }

    /// A line per lane, and the problem there is.
    pub fn report(&self) -> Vec<String> {
        let state = self.lock();
        let lanes = state.lanes.iter().map(|(lane, text)| format!("lane {lane}: {text}"));
        lanes.chain(state.problem.iter().map(|problem| format!("problem: {problem}"))).collect()
    }

    pub(crate) fn started(&self) {
        self.lock().started = true;
    }

    pub(crate) fn problem(&self, problem: Option<String>) {
        self.lock().problem = problem;
    }

    pub(crate) fn lane(&self, lane: LaneId, text: Option<String>) {
        let mut state = self.lock();
        match text {
            Some(text) => state.lanes.insert(lane, text),
            None => state.lanes.remove(&lane),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
