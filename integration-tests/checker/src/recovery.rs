//! Time to recover: from the moment at which a fault was over, or began where others take over, until each lane has
//! published again. Times are the topics' own, so the topics must be stamped by their broker.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::report::{Findings, Promise};
use crate::sequence::sequence;

/// A fault that was put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What it was.
    pub what: String,
    /// When it began, in milliseconds.
    pub began_ms: i64,
    /// Lanes whose worker it took away; empty where it hit everybody.
    #[serde(default)]
    pub lanes: BTreeSet<i64>,
    /// From when on lanes can be expected to work again, in milliseconds.
    pub over_ms: i64,
}

/// How long lanes took after one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The fault.
    pub fault: Fault,
    /// Milliseconds until each lane that was hit had published again, in ascending order.
    pub lanes_ms: Vec<i64>,
    /// The same of the lanes that were not.
    pub others_ms: Vec<i64>,
}

impl Recovery {
    /// The lane in the middle.
    #[must_use]
    pub fn median_ms(&self) -> Option<i64> {
        self.lanes_ms.get(self.lanes_ms.len() / 2).copied()
    }

    /// The last lane that was not hit.
    #[must_use]
    pub fn others_worst_ms(&self) -> Option<i64> {
        self.others_ms.last().copied()
    }

    /// The last lane.
    #[must_use]
    pub fn worst_ms(&self) -> Option<i64> {
        self.lanes_ms.last().copied()
    }
}

/// Measures each fault. A lane that never published again is a finding.
pub(crate) fn measure(
    evidence: &Evidence,
    faults: &[Fault],
    found: &mut Findings,
) -> Vec<Recovery> {
    let mut times: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for record in &evidence.records {
        if let Some((lane, _, _)) = sequence(record) {
            times.entry(lane).or_default().push(record.at_ms);
        }
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    let recovery = |fault: &Fault| {
        let mut silent = BTreeSet::new();
        let (mut lanes_ms, mut others_ms) = (Vec::new(), Vec::new());
        let is_hit = |lane| fault.lanes.is_empty() || fault.lanes.contains(lane);
        for (lane, times) in &times {
            let next = times.get(times.partition_point(|at| *at < fault.over_ms));
            match next {
                Some(at) if is_hit(lane) => lanes_ms.push(at - fault.over_ms),
                Some(at) => others_ms.push(at - fault.over_ms),
                None => drop(silent.insert(*lane)),
            }
        }
        if !silent.is_empty() {
            let what = &fault.what;
            found
                .add(Promise::Recovery, format!("after {what} lanes {silent:?} published nothing"));
        }
        lanes_ms.sort_unstable();
        others_ms.sort_unstable();
        Recovery { fault: fault.clone(), lanes_ms, others_ms }
    };
    faults.iter().map(recovery).collect()
}
