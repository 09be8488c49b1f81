//! Whom later flows recognise: what an ending or an event makes of the customer of its flow, and as whom they are known.
//! It keeps nothing and answers nobody: the store keeps it, and adapters answer `customer.recognise` by it.

use serde_json::Value;
use signalbox_schemas::Likeness;

use crate::error::{JourneyError, mistake};
use crate::expression::{Expression, Scope};

/// The key under which an event or an ending says it, beside its fields.
pub(crate) const KEY: &str = "recognise";
/// The key of those who are recognised and watched.
const WATCHED: &str = "watched";

/// What becomes of a customer: an effect of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognition {
    /// Later flows recognise them.
    Known {
        /// As whom.
        likeness: Likeness,
        /// Whether they are watched closely: recognised, and told apart from those who are not.
        watched: bool,
    },
    /// Nobody recognises them any more.
    Nobody,
}

/// The same as a journey says it.
#[derive(Debug)]
pub(crate) enum Recognise {
    /// `recognise: command.customer`, or `recognise: {watched: command.customer}`.
    Known { likeness: Expression, watched: bool },
    /// `recognise: nobody`.
    Nobody,
    /// `recognise: as_before`.
    AsBefore,
}

impl Recognise {
    /// Reads what stands under the key.
    pub(crate) fn parse(place: &str, value: &Value, scope: &Scope) -> Result<Self, JourneyError> {
        let known = |party: &str, watched: bool| {
            let parsed = Expression::parse(&format!("likeness({party})"), scope);
            let (likeness, _) = parsed.or_else(|problem| mistake(place, problem))?;
            Ok(Self::Known { likeness, watched })
        };
        let watched = value.as_object().filter(|fields| fields.len() == 1);
        match (value.as_str(), watched.and_then(|fields| fields.get(WATCHED)?.as_str())) {
            (Some("nobody"), _) => Ok(Self::Nobody),
            (Some("as_before"), _) => Ok(Self::AsBefore),
            (Some(party), _) => known(party, false),
            (None, Some(party)) => known(party, true),
            (None, None) => mistake(
                place,
                "write a party, such as command.customer, {watched: <party>}, nobody or as_before",
            ),
        }
    }

    pub(crate) fn makes_known(&self) -> bool {
        matches!(self, Self::Known { .. })
    }
}
