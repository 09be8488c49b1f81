//! Adapters and vendors as a twin: permits from the store, effects in a ledger of the vendor's own, outcomes on topics;
//! redelivery, crashes between permit, send and answer, answers lost after the effect, duplicates and delays.

use futures_util::FutureExt;
use serde_json::{Value, json};
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_schemas::{AttemptId, Effect, FlowId, RecordName, TopicName};
use signalbox_store::{
    AttemptRow, AttemptStore, Disposition, MemoryStore, Permit, PermitRequest, StoredResult,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::world::Plan;

pub(crate) struct Adapters {
    broker: MemoryBroker,
    store: MemoryStore,
    codec: Arc<Codec>,
    positions: BTreeMap<(TopicName, i32), usize>,
    /// Outcomes that are under way.
    delayed: Vec<Outbound>,
    /// The vendor's own books: every effect by key, with how often it was carried out.
    pub(crate) ledger: BTreeMap<AttemptId, u32>,
    /// Attempts whose transfer the vendor has called back.
    recalled: BTreeSet<AttemptId>,
    /// The database forgot some time: an attempt that does not exist is no mistake.
    restored: bool,
}

impl Adapters {
    pub(crate) fn new(broker: MemoryBroker, store: MemoryStore, codec: Arc<Codec>) -> Self {
        let (positions, delayed) = (BTreeMap::new(), Vec::new());
        Self {
            broker,
            store,
            codec,
            positions,
            delayed,
            ledger: BTreeMap::new(),
            recalled: BTreeSet::new(),
            restored: false,
        }
    }

    /// Handles some requests and lets some outcomes arrive.
    pub(crate) async fn turn(&mut self, rng: &mut fastrand::Rng, plan: Plan) {
        for capability in self.codec.contract().capabilities() {
            for lane in 0..i32::from(self.store.lane_count()) {
                let at = (capability.requests_topic(), lane);
                let log = self.broker.log(&at.0, lane);
                let position = self.positions.entry(at).or_insert(0);
                if plan.duplicates && *position > 0 && rng.u8(0..20) == 0 {
                    // A rebalance: what was not committed is delivered again.
                    *position -= rng.usize(1..=(*position).min(3));
                }
                let until = log.len().min(*position + rng.usize(0..4));
                let records = log[*position..until].to_vec();
                *position = until;
                for record in records {
                    let (_, request) = self.codec.decode(record.payload.as_deref()).unwrap();
                    let outcome = match capability.effect {
                        Effect::Read => Some(self.read(&capability.name, &request, rng)),
                        Effect::Write => self.write(&capability.name, &request, rng, plan).await,
                    };
                    if let Some(word) = outcome {
                        self.answer(&capability.name, &request, &word, rng, plan);
                    }
                }
            }
        }
        self.arrive(rng);
    }

    /// From now on attempts may be missing.
    pub(crate) fn database_was_restored(&mut self) {
        self.restored = true;
    }

    /// Whether the payment of an attempt was called back.
    pub(crate) fn is_recalled(&self, attempt: AttemptId) -> bool {
        self.recalled.contains(&attempt)
    }

    /// Whether nothing is under way any more.
    pub(crate) fn is_idle(&self) -> bool {
        let behind = self.codec.contract().capabilities().any(|capability| {
            let topic = capability.requests_topic();
            (0..i32::from(self.store.lane_count())).any(|lane| {
                let done = self.positions.get(&(topic.clone(), lane)).copied().unwrap_or(0);
                self.broker.log(&topic, lane).len() > done
            })
        });
        !behind && self.delayed.is_empty()
    }

    /// Checks by a word in the flow's id; inquiries by the vendor's books.
    fn read(&mut self, capability: &str, request: &Value, rng: &mut fastrand::Rng) -> String {
        let id = request["call"]["aggregate_id"].as_str().unwrap();
        let role = request["role"].as_str().unwrap_or_default();
        if rng.u8(0..12) == 0 {
            return if capability == "payout.inquire" { "in_doubt" } else { "unavailable" }
                .to_owned();
        }
        if capability == "customer.recognise" {
            return self.recognise(request).to_owned();
        }
        let first_try = request["call"]["group"].as_u64().unwrap() < 2;
        let word = match capability {
            "kyc.check" if id.contains("hardfail") => "hard_fail",
            "kyc.check" if id.contains("forged") && !request["document"].is_null() => "hard_fail",
            "kyc.check" if id.contains("stepup") && first_try => "step_up",
            "kyc.check" if id.contains("softfail") && first_try => "soft_fail",
            "kyc.check" => "pass",
            "aml.screen" if id.contains("hit") && role != "originator" => "hit",
            "aml.screen" if id.contains("ambiguous") && role != "beneficiary" => "ambiguous",
            "aml.screen" => "clear",
            "fraud.score" if id.contains("fraudreview") => "review",
            "fraud.score" if id.contains("fraud") => "decline",
            "fraud.score" => "approve",
            _ => return self.inquire(request, rng),
        };
        word.to_owned()
    }

    /// The house's own answer, by what flows have put down. Whoever is special was approved too long ago.
    fn recognise(&self, request: &Value) -> &'static str {
        let id = request["call"]["aggregate_id"].as_str().unwrap();
        let flow = FlowId(request["call"]["flow_id"].as_str().unwrap().parse().unwrap());
        let found = self.store.recognition(flow).now_or_never().unwrap().unwrap();
        let Some(known) = found.and_then(|row| row.known) else { return "stranger" };
        if json!(known.likeness) != request["likeness"] {
            return "stranger";
        }
        match known.watched {
            _ if ["hardfail", "stepup"].iter().any(|word| id.contains(word)) => "outdated",
            true => "watched",
            false => "recognised",
        }
    }

    fn inquire(&mut self, request: &Value, rng: &mut fastrand::Rng) -> String {
        let subject = attempt(&request["subject_attempt"]);
        if self.recalled.contains(&subject) {
            return "returned".to_owned();
        }
        // What the database has forgotten is asked about and never sent again.
        let began = |row: &AttemptRow| {
            row.plan.id == subject
                && row.disposition == Disposition::Sending
                && row.request.is_some()
        };
        let begun = self.store.attempts().into_iter().find(began).map(|row| row.sends);
        let raised =
            |sends: &u32| self.store.raise_sends(subject, *sends).now_or_never().unwrap().unwrap();
        let word = match self.ledger.entry(subject) {
            Entry::Occupied(_) if rng.bool() => "settled",
            Entry::Occupied(_) => "pending",
            // Not found is no proof: the request may still be on its way.
            Entry::Vacant(_) if rng.bool() || begun.is_none() => "in_doubt",
            // The vendor honours keys, so what was begun is sent again: the same bytes under the same key. Unless people
            // have ruled meanwhile.
            Entry::Vacant(place) => match begun.filter(raised) {
                Some(_) => {
                    place.insert(1);
                    "pending"
                }
                None => "in_doubt",
            },
        };
        word.to_owned()
    }

    async fn write(
        &mut self,
        capability: &str,
        request: &Value,
        rng: &mut fastrand::Rng,
        plan: Plan,
    ) -> Option<String> {
        if rng.u8(0..12) == 0 {
            // The vendor is full: nothing was sent and no permit taken.
            return Some("unavailable".to_owned());
        }
        let id = attempt(&request["call"]["attempt_id"]);
        let bytes = request.to_string().into_bytes();
        let permit = PermitRequest { attempt: id, vendor: "vendor".to_owned(), request: bytes };
        match self.store.take_permits(&[permit]).await.unwrap().remove(0) {
            Permit::Granted { .. } => {
                if plan.crashes && rng.u8(0..15) == 0 {
                    // The adapter dies with its permit; the request is delivered again.
                    self.deliver_again(capability, request);
                    return None;
                }
                self.send(id, capability, request, rng, plan).await
            }
            // Nobody knows what was sent: the vendor is asked.
            Permit::Sending(row) if row.request.is_none() => {
                let found = self.ledger.contains_key(&id);
                if found {
                    self.keep(id, "accepted").await;
                }
                Some(if found { "accepted" } else { "in_doubt" }.to_owned())
            }
            // The vendor honours keys: the same bytes under the same key once more.
            Permit::Sending(row) => match self.store.raise_sends(id, row.sends).await.unwrap() {
                true => self.send(id, capability, request, rng, plan).await,
                false => Some("in_doubt".to_owned()),
            },
            Permit::Answered(row) => {
                Some(row.result.unwrap()["outcome"].as_str().unwrap().to_owned())
            }
            Permit::Abandoned => None,
            Permit::Missing if self.restored => None,
            Permit::Missing => {
                panic!("attempt {id} of {capability} is asked for and does not exist")
            }
            Permit::GateClosed => Some("unavailable".to_owned()),
        }
    }

    async fn send(
        &mut self,
        id: AttemptId,
        capability: &str,
        request: &Value,
        rng: &mut fastrand::Rng,
        plan: Plan,
    ) -> Option<String> {
        if capability == "payout.recall" {
            let recalled = rng.bool();
            let subject = attempt(&request["subject_attempt"]);
            let word = if recalled && self.ledger.contains_key(&subject) {
                self.recalled.insert(subject);
                "recalled"
            } else {
                "refused"
            };
            self.keep(id, word).await;
            return Some(word.to_owned());
        }
        if plan.lost_answers && rng.u8(0..8) == 0 {
            // The request is lost before the vendor sees it.
            return Some("in_doubt".to_owned());
        }
        self.ledger.entry(id).or_insert(1);
        if plan.lost_answers && rng.u8(0..8) == 0 {
            return Some("in_doubt".to_owned());
        }
        if plan.crashes && rng.u8(0..15) == 0 {
            self.deliver_again(capability, request);
            return None;
        }
        self.keep(id, "accepted").await;
        Some("accepted".to_owned())
    }

    async fn keep(&self, attempt: AttemptId, word: &str) {
        self.store
            .store_results(&[StoredResult {
                attempt,
                result: json!({"outcome": word}),
                sends: None,
            }])
            .await
            .unwrap();
    }

    /// The request was not committed: it comes once more.
    fn deliver_again(&mut self, capability: &str, request: &Value) {
        let lane = i32::try_from(request["call"]["lane"].as_i64().unwrap()).unwrap();
        let topic = TopicName::from(format!("{capability}.requests.v1"));
        let position = self.positions.get_mut(&(topic, lane)).unwrap();
        *position = position.saturating_sub(1);
    }

    fn answer(
        &mut self,
        capability: &str,
        request: &Value,
        word: &str,
        rng: &mut fastrand::Rng,
        plan: Plan,
    ) {
        let call = &request["call"];
        let value = json!({
            "ref": {"attempt_id": call["attempt_id"], "flow_id": call["flow_id"], "aggregate_id": call["aggregate_id"],
                    "tenant": call["tenant"], "lane": call["lane"], "answered_at": 0},
            "outcome": word});
        let topic = TopicName::from(format!("{capability}.outcomes.v1"));
        let record = RecordName::from(format!("{capability}.Outcome"));
        let outbound = Outbound {
            payload: Some(self.codec.encode(&topic, &record, &value).unwrap()),
            topic,
            partition: i32::try_from(call["lane"].as_i64().unwrap()).unwrap(),
            key: call["aggregate_id"].as_str().unwrap().as_bytes().to_vec(),
            headers: Headers::new(),
        };
        if plan.bad_data && rng.u8(0..20) == 0 {
            self.answer_what_nobody_asked(&outbound, &of_nobody(&value, rng), &record);
        }
        let copies = if plan.duplicates { rng.usize(1..3) } else { 1 };
        self.delayed.extend(std::iter::repeat_n(outbound, copies));
    }

    /// An answer to a call that the flow never made: no flow can process it.
    fn answer_what_nobody_asked(&mut self, like: &Outbound, value: &Value, record: &RecordName) {
        let payload = self.codec.encode(&like.topic, record, value).unwrap();
        self.delayed.push(Outbound { payload: Some(payload), ..like.clone() });
    }

    fn arrive(&mut self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(0..=self.delayed.len()) {
            let any = rng.usize(0..self.delayed.len());
            self.broker.append(&self.delayed.swap_remove(any));
        }
    }
}

/// The answer under an attempt that does not exist.
fn of_nobody(value: &Value, rng: &mut fastrand::Rng) -> Value {
    let mut other = value.clone();
    let asked = value["ref"]["attempt_id"].as_str().unwrap();
    other["ref"]["attempt_id"] = json!(format!("{:08x}{}", rng.u32(..), &asked[8..]));
    other
}

fn attempt(value: &Value) -> AttemptId {
    AttemptId(value.as_str().unwrap().parse().unwrap())
}
