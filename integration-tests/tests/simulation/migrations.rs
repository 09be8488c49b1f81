//! A new version of every journey in the midst of a run: it is pinned, and the flows that run are moved to it.

use serde_json::json;
use signalbox_bus::{Codec, Headers, MemoryBroker, Outbound};
use signalbox_schemas::{Contract, JourneyName, Micros, MigrationId, TopicName, home_lane};
use signalbox_store::{MemoryStore, MigrationRow};
use std::collections::BTreeMap;

use super::business::{ALL, Business};

/// The migration of a journey.
pub(crate) fn id_of(business: &Business) -> MigrationId {
    let number = ALL.iter().position(|each| each.file == business.file).unwrap() + 1;
    format!("00000000-0000-7000-8000-{number:012}").parse().unwrap()
}

/// Pins the next version of each journey and puts a migration to it down.
pub(crate) fn ask(store: &MemoryStore, contract: &Contract, now: Micros) {
    for business in &ALL {
        let next = business.next_journey(contract);
        store.deploy(next.name().clone(), next.version(), next.source());
        let states: BTreeMap<_, _> = business.renamed.iter().copied().collect();
        let plan = json!({"journey": next.name(), "from": 1, "to": 2, "states": states});
        store.ask_for_migration(MigrationRow {
            id: id_of(business),
            journey: next.name().clone(),
            from: 1,
            to: 2,
            plan: plan.to_string(),
            actor: "ann".to_owned(),
            reason: "a better version".to_owned(),
            requested_at: now,
        });
    }
}

/// Tells every lane to begin.
pub(crate) fn begin(broker: &MemoryBroker, codec: &Codec, lanes: u16) {
    let topic = TopicName::from("signalbox.operator.acts.v1");
    for business in &ALL {
        let id = id_of(business);
        let journey = JourneyName::from(business.file.trim_end_matches(".yaml"));
        for lane in 0..lanes {
            let key = (0_u32..).map(|number| format!("{id}/{number}"));
            let key =
                key.into_iter().find(|key| home_lane(key.as_bytes(), lanes).0 == lane).unwrap();
            let value = json!({
                "aggregate_id": key, "journey": journey, "act": "migrate", "actor": "ann", "reason": "a better version",
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
    ALL.iter().all(|business| store.lanes_migrated(id_of(business)) == usize::from(lanes))
}

/// Each flow that ran was moved once or stayed for a reason; none is lost, none is in a state that its version does not
/// have, none was moved to something unsafe. How many moved.
pub(crate) fn judge(store: &MemoryStore, contract: &Contract) -> usize {
    let flows = store.flows();
    let mut moved = 0;
    for row in store.migrated() {
        let flow = flows.iter().find(|flow| flow.id == row.flow).expect("a flow is lost");
        match &row.became {
            Ok(_) => {
                moved += 1;
                assert_eq!(flow.version, 2, "{} was moved and is not", flow.aggregate);
                let moves = store.journal_of(flow.id);
                let moves = moves.iter().filter(|each| each.kind == "migrate");
                let told: Vec<_> = moves.map(|each| (each.actor.as_str(), each.version)).collect();
                assert_eq!(told, [("ann", Some(2))], "{}", flow.aggregate);
            }
            Err(why) => {
                let known = ["paused", "parked", "ended"];
                assert!(known.contains(&why.as_str()), "{} stayed: {why}", flow.aggregate);
            }
        }
    }
    let drawn: BTreeMap<_, _> = ALL
        .iter()
        .map(|business| {
            let (old, new) = (business.journey(contract), business.next_journey(contract));
            let draw = |journey| signalbox_flow::graph(journey).unwrap();
            (old.name().clone(), [draw(&old), draw(&new)])
        })
        .collect();
    for flow in &flows {
        let version = usize::try_from(flow.version).unwrap() - 1;
        let drawing = &drawn[&flow.journey][version];
        assert!(drawing.contains(flow.state.as_str()), "{} is in {}", flow.aggregate, flow.state);
    }
    moved
}
