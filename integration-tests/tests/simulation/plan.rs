//! Which faults a run has, how much is asked for in it and how long they rain: what a failing run is shrunk along. It makes
//! nothing happen itself.

use std::fmt;
use std::str::FromStr;

/// What may happen in a run besides work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Workers and adapters die at any point.
    Crashes,
    /// Workers stand still past their lease and go on as if nothing were.
    Pauses,
    /// Requests to vendors, or their answers, are lost.
    LostAnswers,
    /// Commands, requests and outcomes come several times.
    Duplicates,
    /// The answer of a commit is lost, before or after it.
    AmbiguousCommits,
    /// A producer fails with records queued.
    BrokenProducers,
    /// Commands lie at any partition.
    ForeignPartitions,
    /// Topics lose their last records.
    LostTails,
    /// Operators act, at any moment.
    Operators,
    /// Customers are erased, at any moment that allows it.
    Erasures,
    /// Answers to questions that were never asked, and requests too large for the topics until somebody widens them.
    BadData,
    /// The database goes back to an earlier time.
    Restores,
    /// Workers leave in order and come again.
    Leaves,
    /// Half way, every journey gets a new version, and what runs is moved to it.
    Migrates,
    /// Soon after that everybody is told to move no more.
    Stops,
    /// Commands come by every major that they have, the same one by several, some with another meaning.
    Majors,
    /// The journeys are first those of the commands' first majors.
    FromFirst,
    /// In the midst of it lanes are added, with everything that is under way; producers learn of it late.
    Grows,
    /// Somebody sets the clock of the database, forward and back.
    ClockJumps,
    /// The registry is away now and then, and every process has yet to learn what it reads.
    RegistryAway,
}

impl Fault {
    /// Every fault.
    pub(crate) const ALL: [Self; 20] = [
        Self::Crashes,
        Self::Pauses,
        Self::LostAnswers,
        Self::Duplicates,
        Self::AmbiguousCommits,
        Self::BrokenProducers,
        Self::ForeignPartitions,
        Self::LostTails,
        Self::Operators,
        Self::Erasures,
        Self::BadData,
        Self::Restores,
        Self::Leaves,
        Self::Migrates,
        Self::Stops,
        Self::Majors,
        Self::FromFirst,
        Self::Grows,
        Self::ClockJumps,
        Self::RegistryAway,
    ];
}

/// What a run consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Commands that start a flow.
    pub(crate) flows: usize,
    /// Turns in which faults rain; afterwards everything has to come to its end.
    pub(crate) turns: usize,
    faults: u32,
}

/// Processes and servers fail in every way, and no record is lost for it.
pub(crate) const STORM: &[Fault] = &[
    Fault::Crashes,
    Fault::Pauses,
    Fault::Duplicates,
    Fault::LostAnswers,
    Fault::AmbiguousCommits,
    Fault::BrokenProducers,
];

impl Plan {
    /// Nothing happens but work.
    pub(crate) const CALM: Self = Self { flows: 18, turns: 400, faults: 0 };

    /// A run of the usual size with some faults.
    pub(crate) const fn with(faults: &[Fault]) -> Self {
        Self::CALM.and(faults)
    }

    /// The same with further faults.
    pub(crate) const fn and(mut self, faults: &[Fault]) -> Self {
        let mut index = 0;
        while index < faults.len() {
            self.faults |= 1 << faults[index] as u32;
            index += 1;
        }
        self
    }

    pub(crate) fn has(self, fault: Fault) -> bool {
        self.faults & (1 << fault as u32) != 0
    }

    /// Plans with a little less than this one, those that take away most first.
    pub(crate) fn smaller(self) -> Vec<Self> {
        let sizes = [(self.flows / 2, self.turns), (self.flows, self.turns / 2)];
        let fewer = [(self.flows.saturating_sub(1), self.turns)];
        let sized = |(flows, turns): (usize, usize)| Self { flows, turns, ..self };
        let calmer = Fault::ALL
            .into_iter()
            .filter(|fault| self.has(*fault))
            .map(|fault| Self { faults: self.faults & !(1 << fault as u32), ..self });
        let sizes = sizes.into_iter().map(sized);
        let all = sizes.chain(calmer).chain(fewer.into_iter().map(sized));
        all.filter(|plan| *plan != self && plan.flows > 0 && plan.turns > 0).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = Fault::ALL.into_iter().filter(|fault| self.has(*fault));
        let faults: Vec<String> = faults.map(|fault| format!("{fault:?}")).collect();
        write!(f, "flows={} turns={} faults={}", self.flows, self.turns, faults.join(","))
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut plan = Self::CALM;
        for word in text.split_whitespace() {
            let number = |value: &str| value.parse().map_err(|_| format!("{word} is no number"));
            match word.split_once('=') {
                Some(("flows", value)) => plan.flows = number(value)?,
                Some(("turns", value)) => plan.turns = number(value)?,
                Some(("faults", names)) => {
                    for name in names.split(',').filter(|name| !name.is_empty()) {
                        let known = |fault: &Fault| format!("{fault:?}") == name;
                        let fault = Fault::ALL.into_iter().find(known);
                        plan = plan.and(&[fault.ok_or_else(|| format!("{name} is no fault"))?]);
                    }
                }
                _ => return Err(format!("{word} is no part of a plan")),
            }
        }
        Ok(plan)
    }
}
