//! What was found: promises that do not hold, how often rare things were seen, and how long lanes took to recover.

use std::collections::BTreeMap;

use crate::evidence::Evidence;
use crate::recovery::{Fault, Recovery};
use crate::{cases, chain, money, recovery, sequence};

/// A promise that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Every command is exactly one journey, or is answered otherwise.
    Commands,
    /// Every journey has exactly one ending, which is its last word.
    Endings,
    /// Topics are free of gaps and of repeats that cannot be recognised, and in order.
    Sequence,
    /// Nothing is paid twice, to somebody else, or in another amount.
    Money,
    /// No state follows another that the journey does not lead to.
    Transitions,
    /// The audit trail is as it was written.
    Chain,
    /// Every lane works again.
    Recovery,
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Commands => "every command is one journey",
            Self::Endings => "every journey ends once",
            Self::Sequence => "topics are whole and in order",
            Self::Money => "money moves once and as commanded",
            Self::Transitions => "no illegal transition",
            Self::Chain => "the audit trail is intact",
            Self::Recovery => "every lane works again",
        })
    }
}

/// A promise that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub promise: Promise,
    /// Where and how.
    pub what: String,
}

/// How much was judged, and how often rare things were seen in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Commands that begin a journey, repeats among them.
    pub commands: u64,
    /// Journeys.
    pub flows: u64,
    /// Transfers of the bank.
    pub transfers: u64,
    /// Rows of the journal.
    pub rows: u64,
    /// Records of lanes, repeats not counted.
    pub applied: u64,
    /// Records of lanes that were there before.
    pub repeats: u64,
    /// Records that an owner of a lane published after its successor had.
    pub zombies: u64,
    /// Records on dead-letter topics.
    pub dead_letters: u64,
    /// Flows that were parked.
    pub parked: u64,
    /// Payments that were sent again under their key.
    pub resends: u64,
    /// Payments in doubt that an inquiry found to be executed.
    pub found_executed: u64,
    /// Payments in doubt that an inquiry found not to be executed.
    pub found_not_executed: u64,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Promises that do not hold; empty where all do.
    pub findings: Vec<Finding>,
    /// Counts.
    pub counted: Counted,
    /// Endings by status.
    pub endings: BTreeMap<String, u64>,
    /// How long lanes took, fault by fault.
    pub recoveries: Vec<Recovery>,
}

/// Collects findings.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, promise: Promise, what: String) {
        self.0.push(Finding { promise, what });
    }
}

/// Judges a run that has come to rest: every journey has had the time to end. `faults` are what it had to endure.
#[must_use]
pub fn judge(evidence: &Evidence, faults: &[Fault]) -> Report {
    let (mut counted, mut found) = (Counted::default(), Findings::default());
    let applied = sequence::judge(evidence, &mut counted, &mut found);
    chain::judge(evidence, &mut found);
    let endings = cases::judge(evidence, &applied, &mut counted, &mut found);
    money::judge(evidence, &applied, &mut counted, &mut found);
    let recoveries = recovery::measure(evidence, faults, &mut found);
    Report { findings: found.0, counted, endings, recoveries }
}
