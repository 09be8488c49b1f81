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
    shared_out: bool,
    lanes: BTreeMap<LaneId, String>,
    problem: Option<String>,
}

impl WorkerHealth {
    /// True once the worker has claimed what of the lanes is its share for now and nothing keeps it from working.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        state.shared_out && state.problem.is_none()
    }

    /// A line per lane, and the problem there is.
    pub fn report(&self) -> Vec<String> {
        let state = self.lock();
        let sharing = match (state.shared_out, state.lanes.is_empty()) {
            (false, _) => Some("lanes are being claimed".to_owned()),
            (true, true) => {
                Some("no lane is held: other engines hold them, or they are stopped".to_owned())
            }
            (true, false) => None,
        };
        let lanes = state.lanes.iter().map(|(lane, text)| format!("lane {lane}: {text}"));
        sharing
            .into_iter()
            .chain(lanes)
            .chain(state.problem.iter().map(|problem| format!("problem: {problem}")))
            .collect()
    }

    /// Lanes were shared out: there is none that this worker could claim now.
    pub(crate) fn shared_out(&self) {
        self.lock().shared_out = true;
    }

    /// Whether that is news.
    pub(crate) fn problem(&self, problem: Option<String>) -> bool {
        let mut state = self.lock();
        let is_news = state.problem != problem;
        state.problem = problem;
        is_news
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_ready_when_lanes_were_shared_out_and_names_them() {
        let health = WorkerHealth::default();
        health.lane(LaneId(3), Some("epoch 1".to_owned()));
        assert!(!health.is_ready(), "{:?}", health.report());
        assert_eq!(health.report(), ["lanes are being claimed", "lane 3: epoch 1"]);
        health.shared_out();
        assert!(health.is_ready());
        assert_eq!(health.report(), ["lane 3: epoch 1"]);
        health.problem(Some("kafka is away".to_owned()));
        assert!(!health.is_ready());
    }
}
