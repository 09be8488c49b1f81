//! One thing that makes a journey unsafe to run, as the checker tells it. Who finds it, and how, is not known here.

use signalbox_schemas::StepName;

use crate::journey::{Journey, Kind};
use crate::place::{self, Position};

/// One thing that makes a journey unsafe to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short name of the rule that is broken.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// The way that reaches it: each entry an input and the states it led through, from the start.
    pub path: Vec<String>,
    /// The state in which it goes wrong.
    pub state: StepName,
    /// Where that state is written.
    pub at: Option<Position>,
}

impl Finding {
    pub(crate) fn new(
        rule: &'static str,
        message: String,
        state: StepName,
        path: Vec<String>,
    ) -> Self {
        Self { rule, message, path, state, at: None }
    }

    /// The finding with the place in the file where its state is written.
    pub(crate) fn located(mut self, journey: &Journey) -> Self {
        let place =
            |part: &str| place::position(journey.source(), &format!("{part}.{}", self.state));
        self.at = place("states").filter(|_| !self.is_ending(journey)).or_else(|| place("endings"));
        self
    }

    fn is_ending(&self, journey: &Journey) -> bool {
        journey.state(&self.state).is_some_and(|state| matches!(state.kind, Kind::End { .. }))
    }
}
