//! What must hold at the end of every run, from topics, journal, attempts and the vendor's own books alone.

use signalbox_bus::Inbound;
use signalbox_schemas::{LaneId, TopicName, headers};
use signalbox_store::{AttemptRow, Disposition, FlowRow, GENESIS, verify};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use signalbox_flow::FlowData;
use signalbox_vault::{OpenError, Place, Vault, key_of};
use signalbox_worker::decode_records;

use super::business::{ALL, Business, customer};
use super::world::World;

const FORWARDS: &str = "signalbox.forwards.v1";

/// How often flows stood still in a run: a plan under which none does shows nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Standstills {
    pub(crate) paused: usize,
    pub(crate) parked: usize,
    pub(crate) held: usize,
    pub(crate) set_aside: usize,
    pub(crate) migrated: usize,
    /// Lanes that stopped a migration half way.
    pub(crate) stopped: usize,
    /// Lanes that workers handed over before they ended.
    pub(crate) handed_over: usize,
    /// Customers erased, and erasures that were refused while a flow ran.
    pub(crate) erased: usize,
    pub(crate) refused: usize,
    /// Databases that lost commits and lanes that found out, and what was forgotten.
    pub(crate) found_out: usize,
    pub(crate) forgotten_writes: usize,
    pub(crate) forgotten_endings: usize,
    /// Runs in which lanes were added, and records that lanes forwarded in them.
    pub(crate) grown: usize,
    pub(crate) forwarded: usize,
    /// How often the clock of the database was set back, and questions to a registry that was away.
    pub(crate) went_back: usize,
    pub(crate) unanswered: usize,
    /// Payouts whose customer was recognised and not checked again.
    pub(crate) recognised: usize,
}

impl Standstills {
    pub(crate) fn add(&mut self, other: Self) {
        self.paused += other.paused;
        self.parked += other.parked;
        self.held += other.held;
        self.set_aside += other.set_aside;
        self.migrated += other.migrated;
        self.stopped += other.stopped;
        self.handed_over += other.handed_over;
        self.erased += other.erased;
        self.refused += other.refused;
        self.found_out += other.found_out;
        self.forgotten_writes += other.forgotten_writes;
        self.forgotten_endings += other.forgotten_endings;
        self.grown += other.grown;
        self.forwarded += other.forwarded;
        self.went_back += other.went_back;
        self.unanswered += other.unanswered;
        self.recognised += other.recognised;
    }
}

pub(crate) fn everything(world: &World, commanded: &[(&Business, String)]) -> Standstills {
    let events = topics_follow_the_consumers_rule(world);
    each_flow_ends_once(&events, commanded);
    no_effect_without_permit_and_none_twice(world, &events);
    journals_hold(world);
    only_what_contradicts_is_refused(world);
    each_forward_is_taken_once(world);
    each_question_is_answered(world);
    let recognised = who_was_not_checked_was_approved(world, &events);
    let away = world.store.away_from_home();
    assert!(away.is_empty(), "not in the home lane of their key: {away:?}");
    for lane in 0..world.store.lane_count() {
        assert_eq!(world.store.stopped(LaneId(lane)), None, "lane {lane} was stopped");
    }
    what_is_sealed_is_readable_unless_erased(world);
    let (erased, refused) = (world.erased.len(), world.refused);
    let rows = (0..world.store.lane_count()).flat_map(|lane| world.store.journal(LaneId(lane)));
    let forwarded = rows.filter(|row| row.kind == "forward").count();
    let grown = usize::from(world.store.lane_count() > world.lanes_at_first);
    Standstills {
        erased,
        refused,
        grown,
        forwarded,
        recognised,
        went_back: world.went_back,
        unanswered: world.registry.unanswered(),
        handed_over: world.handed_over,
        found_out: usize::from(world.restore.found_out),
        forgotten_writes: world.restore.forgotten_writes,
        forgotten_endings: world.restore.forgotten_endings,
        ..what_waited_was_applied_in_order(world)
    }
}

/// The same command is never a contradiction, whichever major it comes by, and each contradiction is answered once.
fn only_what_contradicts_is_refused(world: &World) {
    let lanes = world.store.lane_count();
    let journals = (0..lanes).flat_map(|lane| world.store.journal(LaneId(lane)));
    let refused =
        journals.filter(|row| row.kind == "reject" && row.reason == "idempotency_conflict");
    assert_eq!(refused.count(), world.contradictions, "contradictions");
}

/// Whatever a flow waits for, a row wakes it in time. A row may be early, where its timer was put off by a step; it is
/// never missing, and late only where it was looked at when it was due.
pub(crate) fn every_flow_is_woken_in_time(world: &World) {
    let rows = world.store.all_timers().into_iter();
    let rows: BTreeMap<_, _> = rows.map(|row| ((row.flow, row.name), row.due_at)).collect();
    let waits = |flow: &&FlowRow| !flow.ended && flow.standing.is_none();
    for flow in world.store.flows().iter().filter(waits) {
        let data: FlowData = flow.data.read().unwrap();
        for (name, due) in data.timers {
            let woken = rows.get(&(flow.id, name.clone()));
            assert!(
                woken.is_some_and(|at| *at <= due || due <= world.latest),
                "{} waits for {name} until {due:?} and is woken at {woken:?}",
                flow.aggregate
            );
        }
    }
}

/// Whatever was asked was answered, but for what its lane had given up, and what the database forgot.
fn each_question_is_answered(world: &World) {
    if world.restore.done {
        return;
    }
    let given_up = |row: &AttemptRow| row.disposition == Disposition::Abandoned;
    let known = world.store.attempts().into_iter().filter(given_up);
    let given_up: BTreeSet<String> = known.map(|row| row.plan.id.to_string()).collect();
    for capability in world.codec.contract().capabilities() {
        let named = |topic: &TopicName, call: &str| -> BTreeSet<String> {
            let lanes = 0..i32::from(world.store.lane_count());
            let records = lanes.flat_map(|lane| world.broker.log(topic, lane));
            let attempt = |record: Inbound| {
                let (_, value) = world.codec.decode(record.payload.as_deref()).unwrap();
                value[call]["attempt_id"].as_str().unwrap().to_owned()
            };
            records.map(attempt).collect()
        };
        let asked = named(&capability.requests_topic(), "call");
        let answered = named(&format!("{}.outcomes.v1", capability.name).into(), "ref");
        let mut open = asked.difference(&answered).filter(|attempt| !given_up.contains(*attempt));
        assert_eq!(open.next(), None, "{} was asked and never answered", capability.name);
    }
}

/// A lane takes each forward of another once, however often it lies on the topic.
fn each_forward_is_taken_once(world: &World) {
    let mut taken = BTreeMap::new();
    let rows = (0..world.store.lane_count()).flat_map(|lane| world.store.journal(LaneId(lane)));
    for row in rows.filter(|row| row.input_topic.as_ref().is_some_and(|at| at.as_str() == FORWARDS))
    {
        let (topic, offset) = (TopicName::from(FORWARDS), row.input_offset.unwrap());
        let from = usize::try_from(offset).unwrap();
        let record =
            world.broker.log_from(&topic, row.input_partition.unwrap(), from).swap_remove(0);
        let (source, seq) = (record.number(headers::LANE), record.number(headers::LANE_SEQ));
        let first = *taken.entry((row.input_partition, source, seq)).or_insert(offset);
        assert_eq!(first, offset, "forward {seq:?} of lane {source:?} was taken twice");
    }
}

/// Every row opens with the keys that are left, but for those whose key was destroyed; and no key that is left was.
fn what_is_sealed_is_readable_unless_erased(world: &World) {
    let keys = world.store.all_keys();
    let mut vault = Vault::new(world.keys.clone(), keys.len());
    let rows = keys.into_iter().map(|key| (key.id, key.wrapped)).collect();
    FutureExt::now_or_never(vault.learn(rows)).unwrap().unwrap();
    let destroyed: BTreeSet<_> = world.erased.iter().map(|(_, key)| *key).collect();
    for lane in (0..world.store.lane_count()).map(LaneId) {
        for row in world.store.journal(lane).iter().filter(|row| !row.records.is_empty()) {
            let key = key_of(&row.records).unwrap();
            let opened = vault.open(Place::Journal { lane, seq: row.seq }, &row.records);
            match destroyed.contains(&key) {
                true => assert_eq!(opened, Err(OpenError::Erased(key))),
                false => assert!(decode_records(&opened.unwrap()).is_ok()),
            }
        }
    }
}

/// Nothing waits at the end, and each flow's inputs were applied in the order in which they came, however often and for
/// whatever reason the flow stood still.
fn what_waited_was_applied_in_order(world: &World) -> Standstills {
    let left = world.store.all_parked();
    assert!(left.is_empty(), "inputs wait for ever: {left:?}");
    let mut seen = Standstills::default();
    for flow in world.store.flows() {
        assert_eq!(flow.standing, None, "{} stands still for ever", flow.aggregate);
        let journal = world.store.journal_of(flow.id);
        let (mut came, mut held, mut last) = (Vec::new(), BTreeSet::new(), None);
        for row in &journal {
            seen.paused += usize::from(row.kind == "act" && row.reason.starts_with("pause"));
            seen.set_aside += usize::from(row.reason == "set_aside");
            let (Some(topic), Some(offset)) = (&row.input_topic, row.input_offset) else {
                continue;
            };
            let place = (topic.clone(), row.input_partition, offset);
            let of_operators =
                read_first_at(world, &place).as_str() == "signalbox.operator.acts.v1";
            if matches!(row.kind.as_str(), "hold" | "park") {
                seen.held += usize::from(row.kind == "hold");
                seen.parked += usize::from(row.kind == "park");
                held.insert(place.clone());
                if !came.contains(&place) {
                    came.push(place);
                }
                continue;
            }
            // Acts about the standing itself do not wait, and neither does the answer to a repeated command.
            if (of_operators && !held.contains(&place)) || row.kind == "repeat" {
                continue;
            }
            if !came.contains(&place) {
                came.push(place.clone());
            }
            let position = came.iter().position(|each| *each == place);
            assert!(
                position > last,
                "{}: {place:?} ({}: {}) was applied after what came later; it came as {position:?}, after {last:?}: {:?}",
                flow.aggregate,
                row.kind,
                row.reason,
                last.map(|last| &came[last])
            );
            last = position;
        }
    }
    seen
}

/// The topic of a record: where it was forwarded, the one from which that was.
fn read_first_at(world: &World, place: &(TopicName, Option<i32>, i64)) -> TopicName {
    let (topic, partition, offset) = place;
    if topic.as_str() != FORWARDS {
        return topic.clone();
    }
    let log = world.broker.log(topic, partition.unwrap());
    log[usize::try_from(*offset).unwrap()].headers.text(headers::FORWARD_TOPIC).unwrap().into()
}

/// Per partition and source lane: no gap, and a repeat is the same record. Returns events of flows, repeats left out.
fn topics_follow_the_consumers_rule(world: &World) -> Vec<serde_json::Value> {
    let mut events = Vec::new();
    for (topic, partition) in world.broker.partitions() {
        let mut last: BTreeMap<i64, i64> = BTreeMap::new();
        let mut held: BTreeMap<(i64, i64), [u8; 32]> = BTreeMap::new();
        for record in world.broker.log(&topic, partition) {
            let (Some(lane), Some(seq), Some(prev)) = (
                record.number(headers::LANE),
                record.number(headers::LANE_SEQ),
                record.number(headers::PREV_SEQ),
            ) else {
                continue;
            };
            let before = last.get(&lane).copied().unwrap_or(0);
            if seq <= before {
                let same = held.get(&(lane, seq)).is_none_or(|hash| *hash == record.content_hash());
                assert!(
                    same,
                    "{topic}-{partition}: sequence {seq} of lane {lane} was used for two records"
                );
                continue;
            }
            assert_eq!(
                prev, before,
                "{topic}-{partition}: a record of lane {lane} is missing before {seq}"
            );
            last.insert(lane, seq);
            held.insert((lane, seq), record.content_hash());
            if let Some(business) = ALL.iter().find(|each| topic.as_str() == each.events) {
                let (name, value) = world.codec.decode(record.payload.as_deref()).unwrap();
                if name.as_str() == business.event {
                    events.push(value);
                }
            }
        }
    }
    events
}

fn each_flow_ends_once(events: &[serde_json::Value], commanded: &[(&Business, String)]) {
    for (business, id) in commanded {
        let of_id = |event: &&serde_json::Value| event[business.aggregate] == id.as_str();
        let endings: Vec<&str> = events
            .iter()
            .filter(of_id)
            .filter(|event| event["final"] == true)
            .map(|event| event["status"].as_str().unwrap())
            .collect();
        assert_eq!(endings.len(), 1, "{id} has these endings: {endings:?}");
        let ending = endings[0];
        assert!((business.endings)(id).contains(&ending), "{id} ended as {ending}");
    }
}

fn no_effect_without_permit_and_none_twice(world: &World, events: &[serde_json::Value]) {
    let attempts = world.store.attempts();
    let mut paid: BTreeMap<String, u32> = BTreeMap::new();
    for (id, times) in &world.adapters.ledger() {
        assert_eq!(*times, 1, "attempt {id} was carried out {times} times");
        let row =
            attempts.iter().find(|row| row.plan.id == *id).expect("every effect has its attempt");
        assert_eq!(
            row.disposition,
            Disposition::Sending,
            "attempt {id} was carried out without a permit"
        );
        *paid.entry(row.plan.flow.to_string()).or_default() += 1;
    }
    let twice: Vec<_> = paid.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "flows that were paid twice: {twice:?}");
    let settled: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["status"] == "completed")
        .map(|event| event["flow_id"].as_str().unwrap())
        .collect();
    for flow in settled {
        assert!(paid.contains_key(flow), "flow {flow} completed and the vendor paid nothing");
    }
}

/// Whoever is paid for without an identity check was approved by an onboarding before. How many were.
fn who_was_not_checked_was_approved(world: &World, events: &[serde_json::Value]) -> usize {
    let approved: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["status"] == "approved")
        .map(|event| event["customer_id"].as_str().unwrap())
        .collect();
    let asked = |capability: &str| -> BTreeSet<Vec<u8>> {
        let topic = TopicName::from(format!("{capability}.requests.v1"));
        let lanes = i32::from(world.store.lane_count());
        let records = (0..lanes).flat_map(|lane| world.broker.log(&topic, lane));
        records.filter_map(|record| record.key).collect()
    };
    let checked = asked("kyc.check");
    let unchecked: Vec<Vec<u8>> =
        asked("payout.send").into_iter().filter(|id| !checked.contains(id)).collect();
    for id in &unchecked {
        let customer = customer(std::str::from_utf8(id).unwrap());
        assert!(
            approved.contains(customer.as_str()),
            "{customer} was paid for and nobody checked them"
        );
    }
    unchecked.len()
}

fn journals_hold(world: &World) {
    for lane in 0..world.store.lane_count() {
        verify(&world.store.journal(LaneId(lane)), 0, &GENESIS).unwrap();
    }
}
