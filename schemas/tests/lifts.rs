//! Lifts from older majors of commands to newer ones: planted mistakes, each of which the build must refuse by name, and
//! what the lifts of the contract promise for every value.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod random;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use signalbox_schemas::topics::Topics;
use signalbox_schemas::{
    Command, Contract, LiftDoc, RecordName, lift_faults, lifted_to, vague_deprecations,
};

const FIRST: &str = "payments.payout.RequestPayout";
const SECOND: &str = "payments.payout.v2.RequestPayout";

/// A sound lift between two small records.
const LIFT: &str = "from: shop.Order
to: shop.v2.Order
fields:
  id: id
  tenant: tenant
  buyer: customer
  kind: {from: kind, symbols: {UNKNOWN: UNKNOWN, card: electronic, cash: coins}}
  remarks.text: note
  remarks.language: {constant: en}
drops: [till]
";

const TOPICS: &str = "version: 1
lanes: 2
defaults: {replicas: 1, config: {}}
dlq: {config: {}}
topics:
  shop.commands.v1:
    owner: shop
    role: command
    key: id
    group: lanes
    schemas: {value: [shop.Order, shop.v2.Order], strategy: topic-record, compatibility: BACKWARD_TRANSITIVE}
    deprecated: {shop.Order: {since: 2026-01-01, until: 2026-12-31, use: shop.v2.Order}}
    config: {}
    dlq: true
    pii: false
    producers: [service]
    consumers: [engine]
";

fn schemas() -> [Value; 2] {
    let symbols = |symbols: &[&str]| json!({"type": "enum", "name": "Kind", "symbols": symbols, "default": "UNKNOWN"});
    let older = json!({"type": "record", "namespace": "shop", "name": "Order", "fields": [
        {"name": "id", "type": "string"},
        {"name": "tenant", "type": "string", "default": "default"},
        {"name": "customer", "type": "string", "data_subject": true},
        {"name": "kind", "type": symbols(&["UNKNOWN", "card", "cash"]), "default": "UNKNOWN"},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "till", "type": "long"}]});
    let remarks = json!({"type": "record", "name": "Remarks", "fields": [
        {"name": "text", "type": ["null", "string"], "default": null},
        {"name": "language", "type": "string"}]});
    let newer = json!({"type": "record", "namespace": "shop.v2", "name": "Order", "fields": [
        {"name": "id", "type": "string"},
        {"name": "tenant", "type": "string", "default": "default"},
        {"name": "buyer", "type": "string", "data_subject": true},
        {"name": "kind", "type": symbols(&["UNKNOWN", "electronic", "coins"])},
        {"name": "remarks", "type": remarks},
        {"name": "gifts", "type": "long", "default": 0}]});
    [older, newer]
}

fn faults(lifts: &[&str], topics: &str) -> Vec<String> {
    let docs: Vec<LiftDoc> = lifts.iter().map(|text| LiftDoc::parse(text).unwrap()).collect();
    lift_faults(&docs, &schemas(), &Topics::parse(topics).unwrap())
}

#[test]
fn a_sound_lift_has_no_fault_and_fills_defaults() {
    assert_eq!(faults(&[LIFT], TOPICS), Vec::<String>::new());
    let texts = schemas().map(|schema| schema.to_string());
    let contract = Contract::load(&[&texts[0], &texts[1]], TOPICS, &[LIFT]).unwrap();
    let order = json!({"id": "o-1", "tenant": "acme", "customer": "c-1", "kind": "cash", "note": null, "till": 4});
    let names = ["shop.Order", "shop.v2.Order"].map(RecordName::from);
    let lifted = contract.lifts().as_record(&names[0], &order, &names[1]).unwrap();
    let expected = json!({"id": "o-1", "tenant": "acme", "buyer": "c-1", "kind": "coins",
        "remarks": {"text": null, "language": "en"}, "gifts": 0});
    assert_eq!(lifted, expected);
    assert_eq!(
        contract.lifts().as_record(&names[1], &lifted, &names[0]),
        None,
        "there is no way back"
    );
}

#[test]
fn a_lift_that_is_not_total_or_not_typed_is_refused_with_field_and_reason() {
    let rows = [
        ("  remarks.language: {constant: en}\n", "", "remarks.language is text and is not given"),
        (
            "  remarks.text: note\n  remarks.language: {constant: en}\n",
            "",
            "remarks is a shop.v2.Remarks and is not given",
        ),
        (
            "remarks.language: {constant: en}",
            "remarks.language: note",
            "remarks.language: note is text, or null, but text is needed",
        ),
        (
            "remarks.language: {constant: en}",
            "remarks.language: {constant: 4}",
            "remarks.language: 4 is not text",
        ),
        (
            "remarks.text: note",
            "remarks.text: till",
            "remarks.text: till is a whole number, but text, or null is needed",
        ),
        ("remarks.text: note", "remarks.text: nota", "remarks.text: shop.Order has no field nota"),
        (
            "{from: kind, symbols: {UNKNOWN: UNKNOWN, card: electronic, cash: coins}}",
            "kind",
            "kind: kind is one of UNKNOWN, card, cash (shop.Kind), but one of UNKNOWN, electronic, coins (shop.v2.Kind) is needed",
        ),
        (", cash: coins", "", "kind may be cash, for which there is no symbol; add cash: <symbol>"),
        ("cash: coins", "cash: gold", "gold is none of UNKNOWN, electronic, coins"),
        (
            "cash: coins",
            "cash: coins, cheque: coins",
            "kind never is cheque; it is UNKNOWN, card, cash",
        ),
        (
            "{from: kind,",
            "{from: till,",
            "symbols go from an enum to an enum; till is a whole number",
        ),
        ("drops: [till]", "drops: []", "till would be lost; use it, or name it under drops"),
        ("drops: [till]", "drops: [till, note]", "drops: note is used; take it off the list"),
        ("drops: [till]", "drops: [till, receipt]", "drops: shop.Order has no field receipt"),
        ("drops:", "  presents: till\ndrops:", "presents is no field of shop.v2.Order"),
        (
            "drops:",
            "  remarks: {constant: null}\ndrops:",
            "remarks.text is no field of shop.v2.Order, or is inside of one that is given as a whole",
        ),
        (
            "  id: id",
            "  id: {constant: o-1}",
            "id says which command it is, and whose; write id: id",
        ),
        (
            "tenant: tenant",
            "tenant: customer",
            "tenant says which command it is, and whose; write tenant: tenant",
        ),
        (
            "buyer: customer",
            "buyer: id",
            "buyer says which command it is, and whose; write buyer: customer",
        ),
        ("from: shop.Order", "from: shop.Bill", "there is no record shop.Bill"),
        ("to: shop.v2.Order", "to: shop.v3.Order", "there is no record shop.v3.Order"),
    ];
    for (old, new, expected) in rows {
        assert!(LIFT.contains(old), "{old}");
        let found = faults(&[&LIFT.replacen(old, new, 1)], TOPICS);
        let told = found.iter().any(|fault| fault.contains(expected));
        assert!(told, "{old:?} -> {new:?}: {expected:?} is not among {found:#?}");
    }
}

#[test]
fn majors_on_different_topics_several_lifts_and_circles_are_refused() {
    let apart = TOPICS.replace("[shop.Order, shop.v2.Order]", "[shop.Order]");
    let told = faults(&[LIFT], &apart).join("\n");
    assert!(told.contains("both belong on one topic, where a key keeps its order"), "{told}");
    let event = TOPICS.replace("role: command", "role: event");
    let told = faults(&[LIFT], &event).join("\n");
    assert!(told.contains("no topic of commands holds shop.Order"), "{told}");
    let told = faults(&[LIFT, LIFT], TOPICS).join("\n");
    assert!(told.contains("shop.Order has several lifts; keep one"), "{told}");
    let back = "from: shop.v2.Order\nto: shop.Order\nfields: {}\n";
    let told = faults(&[LIFT, back], TOPICS).join("\n");
    assert!(told.contains("it leads back to shop.Order"), "{told}");
    assert!(LiftDoc::parse(&LIFT.replace("drops:", "drop:")).is_err(), "an unknown key");
    assert!(LiftDoc::parse(&LIFT.replace("{constant: en}", "{constnt: en}")).is_err());
}

#[test]
fn a_deprecation_that_leads_nowhere_is_refused() {
    let rows = [
        ("", "", ""),
        ("deprecated: {shop.Order:", "deprecated: {shop.Bill:", "the topic does not hold it"),
        ("use: shop.v2.Order", "use: shop.v3.Order", "no topic holds shop.v3.Order"),
        ("use: shop.v2.Order", "use: shop.Order", "shop.Order is deprecated itself"),
        (
            "until: 2026-12-31",
            "until: 2025-12-31",
            "until 2025-12-31 is not after since 2026-01-01",
        ),
        ("use: shop.v2.Order", "use: shop.Order", "nothing lifts it to shop.Order"),
    ];
    for (old, new, expected) in rows {
        let docs = [LiftDoc::parse(LIFT).unwrap()];
        let topics = Topics::parse(&TOPICS.replacen(old, new, 1)).unwrap();
        let found = vague_deprecations(&topics, &|record| lifted_to(&docs, record));
        let told = found.iter().any(|fault| fault.contains(expected));
        assert!(
            found.is_empty() == expected.is_empty() && (told || expected.is_empty()),
            "{new}: {found:?}"
        );
    }
    for day in ["2026-13-01", "2026-1-1", "soon", "2026-12-31T00:00:00Z"] {
        assert!(Topics::parse(&TOPICS.replace("2026-12-31", day)).is_err(), "{day}");
    }
}

/// A payout of the first major as a producer that moved would say it, written by hand and not by the lift.
fn by_hand(first: &Value) -> Value {
    let mut second = first.clone();
    let fields = second.as_object_mut().unwrap();
    let text = fields.remove("reference").unwrap();
    fields.insert(
        "remittance".to_owned(),
        json!({"structured_reference": null, "unstructured": text}),
    );
    let segment = match first["segment"].as_str().unwrap() {
        "retail" => "personal",
        "business" => "company",
        other => other,
    };
    fields.insert("segment".to_owned(), json!(segment));
    second
}

#[test]
fn a_payout_means_the_same_and_has_the_same_hash_in_either_major() {
    let contract = Contract::builtin().unwrap();
    let [first, second] = [FIRST, SECOND].map(|name| contract.record(name).unwrap());
    let outcome =
        TestRunner::new(ProptestConfig::with_cases(200)).run(&random::values_of(first), |value| {
            let command = Command { record: FIRST.into(), value: value.clone() };
            let majors = contract.lifts().until(command, |record| record.as_str() == SECOND);
            let lifted = majors.unwrap().expect("there is a lift").into_newest();
            let bytes = second.encode(&by_hand(&value)).expect("it is a value of the second major");
            let sent = second.decode(second, &bytes).unwrap();
            assert_eq!(lifted.value, sent);
            let sent = Command { record: SECOND.into(), value: sent };
            assert_eq!(lifted.content_hash(), sent.content_hash());
            // Any other meaning is another hash.
            let mut other = value;
            other["customer_id"] = json!("somebody else entirely");
            let other = contract.lifts().as_record(&FIRST.into(), &other, &SECOND.into()).unwrap();
            assert_ne!(Contract::content_hash(&SECOND.into(), &other), sent.content_hash());
            Ok(())
        });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_hash_of_a_payout_that_was_stored_long_ago_is_what_it_was() {
    let value: Value = serde_json::from_str(include_str!(
        "../../engine/signalbox/src/examples/payments.payout.RequestPayout.json"
    ))
    .unwrap();
    let hash = Contract::content_hash(&FIRST.into(), &value);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "4733cb9f7d555fd6183b748a7749a0dae1863c3f69957ae046e70d350a01b461");
}
