//! Whether a flow may make a call, or end, with what it knows: the sentences of `invariant`, and the two that always hold.
//! The same judgement runs in the checker over every path and in `step` before each call, as a last defence.

use signalbox_schemas::StepName;

use crate::flow::FlowData;
use crate::invariant::{Condition, Invariant, RECOGNITION};
use crate::journey::{Call, Journey, WriteStatus};

impl Invariant {
    /// Why `capability` must not be called, or the customer become known, with what the flow knows now.
    pub(crate) fn forbids(
        &self,
        journey: &Journey,
        data: &FlowData,
        capability: &str,
    ) -> Option<String> {
        match self {
            Self::OnlyAfter { text, capability: guarded, conditions } if guarded == capability => {
                let broken =
                    conditions.iter().find_map(|condition| condition.broken(journey, data))?;
                let happens = match capability {
                    RECOGNITION => "the customer becomes known".to_owned(),
                    capability => format!("{capability} is called"),
                };
                Some(format!("{happens}, but {broken}; the invariant is: {text}"))
            }
            Self::OnlyAfter { .. } | Self::NeverTwo { .. } | Self::NoEndInDoubt { .. } => None,
        }
    }
}

/// Why a write must not be called: another of its capability may be under way, or has happened.
pub(crate) fn second_write(journey: &Journey, data: &FlowData, capability: &str) -> Option<String> {
    let same =
        |step: &StepName| journey.calls.get(step).is_some_and(|call| call.capability == capability);
    let other = journey
        .writes(data)
        .find(|(step, status)| same(step) && *status != WriteStatus::NotExecuted);
    other.map(|(step, status)| {
        let what = match status {
            WriteStatus::Executed => "has happened",
            WriteStatus::Planned
            | WriteStatus::Sending
            | WriteStatus::InDoubt
            | WriteStatus::NotExecuted => "may still be in flight",
        };
        format!("{capability} is called while the one of {step} {what}; two would be paid twice")
    })
}

/// Why a journey must not end: a write of which nobody knows whether it happened.
pub(crate) fn end_in_doubt(journey: &Journey, data: &FlowData) -> Option<String> {
    let open = journey.writes(data).find(|(_, status)| status.is_open());
    open.map(|(step, _)| {
        format!("it ends while nobody knows whether {step} happened; settle it by inquiry or by people first")
    })
}

impl Condition {
    /// What does not hold. What stands in for a condition counts only where the capability was never asked.
    fn broken(&self, journey: &Journey, data: &FlowData) -> Option<String> {
        let asked = |(step, call): (&StepName, &Call)| {
            call.capability == self.capability && data.calls.contains_key(step)
        };
        match &self.otherwise {
            Some(other) if !journey.calls.iter().any(asked) => {
                let broken = other.broken(journey, data)?;
                Some(format!("{} was never asked and {broken}", self.capability))
            }
            Some(_) | None => self.broken_itself(journey, data),
        }
    }

    fn broken_itself(&self, journey: &Journey, data: &FlowData) -> Option<String> {
        let steps = journey.calls.iter().filter(|(_, call)| call.capability == self.capability);
        let word = |step: &StepName| data.calls.get(step).and_then(|call| call.word());
        let satisfied = |step: &StepName| {
            word(step).is_some_and(|word| self.words.iter().any(|each| each == word))
        };
        let bad: Vec<&StepName> =
            steps.map(|(step, _)| step).filter(|step| !satisfied(step)).collect();
        let all = journey.calls.values().filter(|call| call.capability == self.capability).count();
        let holds = if self.every { bad.is_empty() && all > 0 } else { bad.len() < all };
        if holds {
            return None;
        }
        if all == 0 {
            return Some(format!("no state of the journey calls {}", self.capability));
        }
        let found = |step: &&StepName| match (word(step), data.calls.contains_key(*step)) {
            (Some(word), _) => format!("{step} is {word}"),
            (None, true) => format!("{step} has no answer"),
            (None, false) => format!("{step} was never asked"),
        };
        Some(bad.iter().map(found).collect::<Vec<_>>().join(" and "))
    }
}
