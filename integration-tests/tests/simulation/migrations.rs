//! A new version of every journey in the midst of a run: it is pinned, and the flows that run are moved to it.

use serde_json::json;
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_flow::Journey;
use signalbox_schemas::{Contract, JourneyName, LaneId, Micros, MigrationId, TopicName, home_lane};
use signalbox_store::{JournalRow, MemoryStore, MigrationRow};
use signalbox_worker::JourneyLibrary;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::business::{ALL, Business};

/// The migration of a journey.
pub(crate) fn id_of(business: &Business) -> MigrationId {
    let number = ALL.iter().position(|each| each.file == business.file).unwrap() + 1;
    format!("00000000-0000-7000-8000-{number:012}").parse().unwrap()
}

/// What becomes of a journey in a run: the version with which it begins, the next one, and the names of states in both.
/// Where a run begins with the first major of the commands, the next version is today's.
fn versions(business: &Business, from_first: bool) -> [Journey; 2] {
    let contract = Contract::builtin().unwrap();
    match from_first && business.older.is_some() {
        true => [business.first_journey(contract), business.journey(contract)],
        false => [business.journey(contract), business.next_journey(contract)],
    }
}

/// Journeys as every run needs them: reading them takes longer than most runs.
struct Versions {
    /// Of each of `ALL`, with which it begins and the next one.
    all: Vec<[Journey; 2]>,
    at_first: JourneyLibrary,
    /// Drawings, by name and version.
    drawn: BTreeMap<(JourneyName, u32), String>,
}

impl Versions {
    fn read(from_first: bool) -> Self {
        let all: Vec<_> = ALL.iter().map(|each| versions(each, from_first)).collect();
        let first = |business: &Business| {
            let [first, _] = versions(business, from_first);
            first
        };
        let draw = |journey: &Journey| {
            let drawing = signalbox_flow::graph(journey).unwrap();
            ((journey.name().clone(), journey.version()), drawing)
        };
        Self {
            at_first: JourneyLibrary::new(ALL.iter().map(first).collect()).unwrap(),
            drawn: all.iter().flatten().map(draw).collect(),
            all,
        }
    }

    fn of(from_first: bool) -> &'static Self {
        static TODAY: LazyLock<Versions> = LazyLock::new(|| Versions::read(false));
        static FIRST: LazyLock<Versions> = LazyLock::new(|| Versions::read(true));
        if from_first { &FIRST } else { &TODAY }
    }
}

/// The journeys with which a run begins.
pub(crate) fn library_at_first(from_first: bool) -> JourneyLibrary {
    Versions::of(from_first).at_first.clone()
}

/// Pins the next version of each journey and puts a migration to it down.
pub(crate) fn ask(store: &MemoryStore, from_first: bool, now: Micros) {
    for (business, [_, next]) in ALL.iter().zip(&Versions::of(from_first).all) {
        store.deploy(next.name().clone(), next.version(), next.source());
        let renamed: &[_] =
            if from_first && business.older.is_some() { &[] } else { business.renamed };
        let states: BTreeMap<_, _> = renamed.iter().copied().collect();
        let (from, to) = (next.version() - 1, next.version());
        let plan = json!({"journey": next.name(), "from": from, "to": to, "states": states});
        store.ask_for_migration(MigrationRow {
            id: id_of(business),
            journey: next.name().clone(),
            from,
            to,
            plan: plan.to_string(),
            actor: "ann".to_owned(),
            reason: "a better version".to_owned(),
            requested_at: now,
        });
    }
}

/// Tells every lane to begin.
pub(crate) fn begin(broker: &MemoryBroker, codec: &Codec, lanes: u16) {
    tell(broker, codec, lanes, "migrate");
}

/// Tells every lane to stop.
pub(crate) fn stop(broker: &MemoryBroker, codec: &Codec, lanes: u16) {
    tell(broker, codec, lanes, "stop_migration");
}

fn tell(broker: &MemoryBroker, codec: &Codec, lanes: u16, act: &str) {
    let topic = TopicName::from("signalbox.operator.acts.v1");
    for business in &ALL {
        let id = id_of(business);
        let journey = JourneyName::from(business.file.trim_end_matches(".yaml"));
        for lane in 0..lanes {
            let key = (0_u32..).map(|number| format!("{id}/{number}"));
            let key =
                key.into_iter().find(|key| home_lane(key.as_bytes(), lanes).0 == lane).unwrap();
            let value = json!({
                "aggregate_id": key, "journey": journey, "act": act, "actor": "ann", "reason": "a better version",
                "requested_at": 0, "migration": id});
            let record = "signalbox.operator.OperatorAct".into();
            broker.append(&Outbound {
                payload: Some(codec.encode(&topic, &record, &value).unwrap()),
                topic: topic.clone(),
                partition: i32::from(lane),
                key: key.into_bytes(),
                headers: Headers::new(),
            });
        }
    }
}

/// Whether every lane has ended every migration.
pub(crate) fn are_over(store: &MemoryStore) -> bool {
    let lanes = store.lane_count();
    ALL.iter().all(|business| store.lanes_migrated(id_of(business)).0 == usize::from(lanes))
}

/// How many lanes stopped half way. After the word to stop, none has moved a flow, whatever it was told later.
pub(crate) fn stopped(store: &MemoryStore) -> usize {
    let lanes = store.lane_count();
    for business in &ALL {
        let id = id_of(business);
        for lane in (0..lanes).map(LaneId) {
            let journal = store.journal(lane);
            let told = |row: &&JournalRow| row.reason.starts_with(&format!("migration {id} stops"));
            let after = journal.iter().skip_while(|row| !told(row));
            let moved = |row: &&JournalRow| {
                row.kind == "migrate" && row.reason.contains(&format!("migration {id}"))
            };
            let late: Vec<_> = after.filter(moved).map(|row| row.seq).collect();
            assert!(late.is_empty(), "lane {lane} moved flows after it was stopped: {late:?}");
        }
    }
    ALL.iter().map(|business| store.lanes_migrated(id_of(business)).1).sum()
}

/// Each flow that ran was moved once or stayed for a reason; none is lost, none is in a state that its version does not
/// have, none was moved to something unsafe. How many moved.
pub(crate) fn judge(store: &MemoryStore, from_first: bool) -> usize {
    let flows = store.flows();
    let known = Versions::of(from_first);
    let newest: BTreeMap<_, _> =
        known.all.iter().map(|[_, next]| (next.name().clone(), next.version())).collect();
    let mut moved = 0;
    for row in store.migrated() {
        let flow = flows.iter().find(|flow| flow.id == row.flow).expect("a flow is lost");
        match &row.became {
            Ok(_) => {
                moved += 1;
                let to = newest[&flow.journey];
                assert_eq!(flow.version, to, "{} was moved and is not", flow.aggregate);
                let moves = store.journal_of(flow.id);
                let moves = moves.iter().filter(|each| each.kind == "migrate");
                let told: Vec<_> = moves.map(|each| (each.actor.as_str(), each.version)).collect();
                assert_eq!(told, [("ann", Some(to))], "{}", flow.aggregate);
            }
            Err(why) => {
                let known = ["paused", "parked", "ended"];
                assert!(known.contains(&why.as_str()), "{} stayed: {why}", flow.aggregate);
            }
        }
    }
    nobody_is_left_behind(store, from_first);
    for flow in &flows {
        let drawing = &known.drawn[&(flow.journey.clone(), flow.version)];
        assert!(drawing.contains(flow.state.as_str()), "{} is in {}", flow.aggregate, flow.state);
    }
    moved
}

/// Once a lane has said that a migration has ended there, no flow of it goes on under the version before, but for those
/// that were told to stay.
fn nobody_is_left_behind(store: &MemoryStore, from_first: bool) {
    let flows: BTreeMap<_, _> = store.flows().into_iter().map(|flow| (flow.id, flow)).collect();
    let stays: BTreeSet<_> = store.migrated().into_iter().map(|row| row.flow).collect();
    for (business, [old, _]) in ALL.iter().zip(&Versions::of(from_first).all) {
        let told = format!("migration {} has ended here", id_of(business));
        for lane in (0..store.lane_count()).map(LaneId) {
            let journal = store.journal(lane);
            let after = journal.iter().skip_while(|row| row.reason != told);
            for row in after.filter(|row| row.journey.as_ref() == Some(old.name())) {
                let Some(flow) = row.flow.filter(|_| row.version == Some(old.version())) else {
                    continue;
                };
                let had_ended = row.before.as_ref() == Some(&flows[&flow].state);
                let is_new = row.before.is_none();
                assert!(
                    stays.contains(&flow) || had_ended || is_new,
                    "{} goes on under version {} although its lane has ended the migration",
                    flows[&flow].aggregate,
                    old.version()
                );
            }
        }
    }
}
