//! Where a scenario is played: things happen to one flow, and what comes of them is seen. Three are real: `bare` here, and
//! in the tests of the whole a worker over its twins, and the product on real servers. A stage judges nothing; `play` does.

use serde_json::Value;
use signalbox_schemas::{AttemptId, Micros, RecordName, StepName};
use std::time::Duration;

use crate::expectation::Seen;
use crate::flow::Flow;

/// One flow that things happen to.
pub trait Stage {
    /// The flow as it was at the last look.
    fn flow(&self) -> &Flow;

    /// The instant that the stage's clock shows.
    fn now(&self) -> Micros;

    /// The attempt of a step's try, counted from 1; none where it was not asked so often.
    fn attempt(&self, step: &StepName, group: u32) -> Option<AttemptId>;

    /// Lets something happen to the flow, and returns when it has and everything that came of it can be seen. `said`
    /// tells it in words.
    ///
    /// # Errors
    /// Why it cannot happen here.
    fn happen(&mut self, said: &str, cue: &Cue<'_>) -> Result<(), String>;

    /// What was seen since the last look, in order.
    ///
    /// # Errors
    /// Why nothing can be seen.
    fn look(&mut self) -> Result<Vec<Sight>, String>;
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cue<'a> {
    /// A capability answers.
    Answer {
        /// What is answered.
        attempt: AttemptId,
        /// The capability.
        capability: &'a str,
        /// The whole `<capability>.Outcome`.
        value: &'a Value,
    },
    /// A command comes, or a person decides.
    Command {
        /// Its record.
        record: &'a RecordName,
        /// Its content.
        value: &'a Value,
    },
    /// Time passes, and every timer that is due meanwhile fires.
    Pass {
        /// Until this instant.
        until: Micros,
    },
    /// The permit of a write is taken.
    Permit {
        /// The write.
        attempt: AttemptId,
    },
}

/// What one thing that happened came to.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// Time since the flow began.
    pub after: Duration,
    /// What happened, in words.
    pub input: String,
    /// States that the flow passed through, as far as the stage can tell; the last one is where it waits.
    pub path: Vec<String>,
    /// What the flow did.
    pub seen: Seen,
}
