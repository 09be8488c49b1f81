//! Analysts: they read review tasks and decide, two by two where it takes two; some decide twice or too late.

use serde_json::{Value, json};
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_schemas::{TopicName, home_lane};
use signalbox_store::MemoryStore;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::restore::Books;

pub(crate) struct People {
    broker: MemoryBroker,
    store: MemoryStore,
    codec: Arc<Codec>,
    read: BTreeMap<i32, usize>,
    /// Tasks that nobody can decide yet.
    undecided: Vec<Value>,
}

impl People {
    pub(crate) fn new(broker: MemoryBroker, store: MemoryStore, codec: Arc<Codec>) -> Self {
        Self { broker, store, codec, read: BTreeMap::new(), undecided: Vec::new() }
    }

    /// They publish as if there were so many lanes. With the vendor's books they also settle what nobody else can.
    pub(crate) fn turn(&mut self, rng: &mut fastrand::Rng, lanes: u16, books: Option<&Books>) {
        let topic = TopicName::from("signalbox.review.tasks.v1");
        let mut tasks = std::mem::take(&mut self.undecided);
        for lane in 0..i32::from(self.store.lane_count()) {
            let read = self.read.entry(lane).or_insert(0);
            let fresh = self.broker.log_from(&topic, lane, *read);
            *read += fresh.len();
            for record in fresh {
                let (_, task) = self.codec.decode(record.payload.as_deref()).unwrap();
                if matches!(task["status"].as_str(), Some("opened" | "escalated")) {
                    tasks.push(task);
                }
            }
        }
        for task in tasks {
            if !self.decide(&task, rng, lanes, books) {
                self.undecided.push(task);
            }
        }
    }

    /// Holds of ids with `uphold` are upheld, other holds released; the money that is in doubt is left to inquiries, where
    /// the books do not tell. Whether it is decided.
    fn decide(
        &self,
        task: &Value,
        rng: &mut fastrand::Rng,
        lanes: u16,
        books: Option<&Books>,
    ) -> bool {
        let id = task["aggregate_id"].as_str().unwrap();
        let step = task["step"].as_str().unwrap();
        let hold =
            task["hold"].as_bool().unwrap() || matches!(step, "review_screening" | "review_match");
        let decision = match (hold, id.contains("uphold")) {
            _ if matches!(
                step,
                "settle_doubt" | "await_settlement" | "settle_recall" | "review_settlement"
            ) =>
            {
                match books.and_then(|books| settled_by(books, id, step)) {
                    Some(true) => "executed",
                    Some(false) => "not_executed",
                    None => return false,
                }
            }
            (true, true) => "uphold",
            (true, false) => "release",
            (false, _) => "approve",
        };
        let mut actors = vec!["ann", "bob"];
        if rng.bool() {
            actors.insert(1, "ann");
        }
        for actor in actors {
            self.publish(task, decision, actor, lanes);
        }
        true
    }

    fn publish(&self, task: &Value, decision: &str, actor: &str, lanes: u16) {
        let value = json!({
            "aggregate_id": task["aggregate_id"], "tenant": task["tenant"], "journey": task["journey"],
            "step": task["step"], "decision": decision, "actor": actor, "reason": "looked at it", "decided_at": 0});
        let topic = TopicName::from("signalbox.review.decisions.v1");
        let key = task["aggregate_id"].as_str().unwrap().as_bytes().to_vec();
        self.broker.append(&Outbound {
            payload: Some(
                self.codec
                    .encode(&topic, &"signalbox.review.ReviewDecision".into(), &value)
                    .unwrap(),
            ),
            topic,
            partition: home_lane(&key, lanes).partition(),
            key,
            headers: Headers::new(),
        });
    }
}

/// What the vendor's books say about what is in doubt.
fn settled_by(books: &Books, id: &str, step: &str) -> Option<bool> {
    if step == "settle_recall" {
        return Some(books.recalled.contains(id));
    }
    books.paid.get(id).copied()
}
