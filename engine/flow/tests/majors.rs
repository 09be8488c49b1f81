//! Two majors of a command and a journey between them: a flow that began with the older one is moved to the version that
//! begins with the newer one, and follow-up commands of either major mean the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use signalbox_flow::{
    Context, Effect, Flow, Input, Journey, Migration, MigrationPlan, Mover, Refusal, Start, begin,
    step,
};
use signalbox_schemas::{Contract, LaneId, Micros, RecordName, TenantKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");
const FIRST: &str = "payments.payout.RequestPayout";
const CANCEL: &str = "payments.payout.CancelPayout";
const CANCEL_2: &str = "payments.payout.v2.CancelPayout";
const CANCEL_LIFT: &str = "from: payments.payout.CancelPayout
to: payments.payout.v2.CancelPayout
fields: {payout_id: payout_id, tenant: tenant, actor: actor, because.text: reason, requested_at: requested_at}
";

/// The journey as it was when the first major was the only one.
fn first_version(contract: &Contract) -> Journey {
    let yaml = PAYOUT
        .replace("\nversion: 2\n", "\nversion: 1\n")
        .replace("payments.payout.v2.RequestPayout", FIRST)
        .replace("command.remittance.unstructured", "command.reference")
        .replace("      structured_reference: command.remittance.structured_reference\n", "");
    parsed(&yaml, contract)
}

fn parsed(yaml: &str, contract: &Contract) -> Journey {
    Journey::parse(yaml, contract, &BTreeMap::new()).unwrap()
}

/// Today's contract with a second major of the cancellation.
fn with_another_cancel() -> Contract {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |folder: &str| -> Vec<String> {
        let files = fs::read_dir(root.join(folder)).unwrap();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    };
    let (mut avro, mut lifts) = (read("schemas/avro"), read("schemas/lifts"));
    let because = json!({"type": "record", "name": "Because", "fields": [{"name": "text", "type": "string"}]});
    let mut second: Value = serde_json::from_str(
        &fs::read_to_string(root.join(format!("schemas/avro/{CANCEL}.avsc"))).unwrap(),
    )
    .unwrap();
    second["namespace"] = json!("payments.payout.v2");
    let fields = second["fields"].as_array_mut().unwrap();
    fields.retain(|field| field["name"] != "reason");
    fields.push(json!({"name": "because", "type": because}));
    avro.push(second.to_string());
    lifts.push(CANCEL_LIFT.to_owned());
    let topics = fs::read_to_string(root.join("topics.yaml")).unwrap();
    let topics = topics.replace(&format!("{CANCEL}]"), &format!("{CANCEL}, {CANCEL_2}]"));
    let avro: Vec<&str> = avro.iter().map(String::as_str).collect();
    let lifts: Vec<&str> = lifts.iter().map(String::as_str).collect();
    Contract::load(&avro, &topics, &lifts).unwrap()
}

fn first_request() -> Value {
    let text = include_str!("../../signalbox/src/examples/payments.payout.RequestPayout.json");
    serde_json::from_str(text).unwrap()
}

struct Desk {
    key: TenantKey,
    sending: BTreeSet<signalbox_schemas::AttemptId>,
}

impl Desk {
    fn new() -> Self {
        Self { key: TenantKey::new(b"a secret of the tests".to_vec()), sending: BTreeSet::new() }
    }

    fn context(&self) -> Context<'_> {
        Context { now: Micros(1_000_000), key: &self.key, sending: &self.sending }
    }

    fn begun(&self, journey: &Journey, command: Value) -> Flow {
        let command = Arc::new(command);
        let start = Start { command: &command, lane: LaneId(3) };
        begin(journey, start, self.context()).unwrap().flow
    }

    fn cancelled(&self, journey: &Journey, flow: &Flow, record: &str) -> Result<String, Refusal> {
        let record = RecordName::from(record);
        let value = json!({"actor": "ann", "reason": "changed their mind"});
        let input = Input::Command { record: &record, value: &value };
        step(journey, flow, input, self.context()).map(|decision| decision.flow.state.to_string())
    }
}

#[test]
fn a_flow_of_the_first_major_is_moved_and_asks_in_the_words_of_the_second() {
    let contract = Contract::builtin().unwrap();
    let (old, new) = (Arc::new(first_version(contract)), Arc::new(parsed(PAYOUT, contract)));
    let desk = Desk::new();
    let flow = desk.begun(&old, first_request());
    let plan = MigrationPlan::parse("journey: payout\nfrom: 1\nto: 2\n").unwrap();
    let migration = Migration::new(plan, Arc::clone(&old), Arc::clone(&new)).unwrap();
    let by = Mover { actor: "ann", reason: "CHG-1" };
    let mut moved = migration.step(&flow, by, desk.context()).unwrap().flow;
    assert_eq!(moved.version, 2);
    assert_eq!(Some(&*moved.command), new.starting_command(&FIRST.into(), &flow.command).as_ref());
    assert_eq!(moved.command["remittance"]["unstructured"], "Invoice 42");
    // It is paid with the text that the first major had.
    for (capability, outcome) in [
        ("customer.recognise", "stranger"),
        ("kyc.check", "pass"),
        ("aml.screen", "clear"),
        ("aml.screen", "clear"),
        ("fraud.score", "approve"),
    ] {
        let open = moved.data.calls.values().filter(|call| call.outcome.is_none());
        let attempt = open.map(|call| call.attempt).next().unwrap();
        let value = json!({"ref": {"attempt_id": attempt}, "outcome": outcome, "class": null, "reason": null, "retry_after_ms": null});
        let input = Input::Outcome { attempt, capability, value: &value };
        let decision = step(&new, &moved, input, desk.context()).unwrap();
        let sent = decision.effects.iter().find_map(|effect| match effect {
            Effect::Ask { capability, value, .. } if capability == "payout.send" => Some(value),
            _ => None,
        });
        assert_eq!(sent.is_some(), capability == "fraud.score");
        if let Some(sent) = sent {
            assert_eq!(
                (&sent["reference"], &sent["structured_reference"]),
                (&json!("Invoice 42"), &Value::Null)
            );
        }
        moved = decision.flow;
    }
}

#[test]
fn a_plan_to_a_version_that_begins_with_something_else_is_refused() {
    let contract = Contract::builtin().unwrap();
    let (first, second) = (Arc::new(first_version(contract)), Arc::new(parsed(PAYOUT, contract)));
    let back = MigrationPlan::parse("journey: payout\nfrom: 2\nto: 1\n").unwrap();
    let told = Migration::new(back, second, first).unwrap_err().to_string();
    assert!(told.contains("payments.payout.v2.RequestPayout is not lifted to"), "{told}");
}

#[test]
fn a_cancellation_of_either_major_is_understood_by_the_version_that_takes_the_newer() {
    let contract = with_another_cancel();
    let yaml = PAYOUT.replace(CANCEL, CANCEL_2).replace("\nversion: 2\n", "\nversion: 3\n");
    let (before, after) = (parsed(PAYOUT, &contract), parsed(&yaml, &contract));
    let desk = Desk::new();
    let request = after.starting_command(&FIRST.into(), &first_request()).unwrap();
    let flow = desk.begun(&after, request.clone());
    assert_eq!(desk.cancelled(&after, &flow, CANCEL), Ok("cancelled".to_owned()));
    assert_eq!(desk.cancelled(&after, &flow, CANCEL_2), Ok("cancelled".to_owned()));
    // A version that takes the older one alone says so, and the flow goes on; it is not parked.
    let flow = desk.begun(&before, request);
    assert_eq!(desk.cancelled(&before, &flow, CANCEL), Ok("cancelled".to_owned()));
    let refused = desk.cancelled(&before, &flow, CANCEL_2).unwrap_err();
    let Refusal::NotPossibleNow { detail } = refused else { panic!("{refused:?}") };
    assert!(detail.contains("version 2, which takes payments.payout.CancelPayout"), "{detail}");
}
