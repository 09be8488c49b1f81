//! Operators: they pause flows, hurry and cancel them at any moment, and mend what is parked, two by two where it takes
//! two; some act twice, too early or about flows that never were.

use serde_json::{Value, json};
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_schemas::{TopicName, home_lane};
use signalbox_store::{FlowRow, MemoryStore, Standing};
use std::sync::Arc;

use super::business::Business;

pub(crate) const ACTS: &str = "signalbox.operator.acts.v1";
pub(crate) const ACT: &str = "signalbox.operator.OperatorAct";

/// What an operator says.
pub(crate) fn act_of(journey: &str, id: &str, act: &str, actor: &str) -> Value {
    json!({
        "aggregate_id": id, "journey": journey, "act": act, "actor": actor, "reason": "a simulated one",
        "requested_at": 0})
}

pub(crate) struct Operators {
    broker: MemoryBroker,
    store: MemoryStore,
    codec: Arc<Codec>,
}

impl Operators {
    pub(crate) fn new(broker: MemoryBroker, store: MemoryStore, codec: Arc<Codec>) -> Self {
        Self { broker, store, codec }
    }

    /// Something that comes to an operator's mind about one of the flows.
    pub(crate) fn turn(&self, rng: &mut fastrand::Rng, asked_for: &[(&'static Business, String)]) {
        let Some((business, id)) = rng.choice(asked_for) else { return };
        let journey = business.file.trim_end_matches(".yaml");
        match rng.u8(0..12) {
            0..=4 => self.act(journey, id, "pause", "ann"),
            5..=7 => self.act(journey, id, "resume", "bob"),
            8 => self.act(journey, id, "release", "ann"),
            9 => self.act(journey, id, "retry", "ann"),
            10 if id.contains("cancel") => self.act(journey, id, "cancel", "ann"),
            _ => self.act(journey, "nobody", "pause", "ann"),
        }
    }

    /// What stands still is let go, as long as it takes.
    pub(crate) fn mend(&self, flows: &[FlowRow]) {
        for flow in flows {
            let (journey, id) = (flow.journey.as_str(), flow.aggregate.as_str());
            let data = flow.data.value();
            let code = data.pointer("/standstill/parked/reason").and_then(|code| code.as_str());
            match (flow.standing, code) {
                (Some(Standing::Paused), _) => self.act(journey, id, "resume", "bob"),
                (Some(Standing::Parked), _) if data.pointer("/standstill/paused").is_some() => {
                    self.act(journey, id, "resume", "ann");
                }
                (Some(Standing::Parked), Some("unresolvable")) => {
                    // Ann is one person, however often and however she signs.
                    ["ann", " Ann ", "bob"]
                        .iter()
                        .for_each(|who| self.act(journey, id, "set_aside", who));
                }
                (Some(Standing::Parked), _) => self.act(journey, id, "release", "ann"),
                (None, _) => {}
            }
        }
    }

    fn act(&self, journey: &str, id: &str, act: &str, actor: &str) {
        let (topic, value) = (TopicName::from(ACTS), act_of(journey, id, act, actor));
        self.broker.append(&Outbound {
            payload: Some(self.codec.encode(&topic, &ACT.into(), &value).unwrap()),
            topic,
            partition: home_lane(id.as_bytes(), self.store.lane_count()).partition(),
            key: id.as_bytes().to_vec(),
            headers: Headers::new(),
        });
    }
}
