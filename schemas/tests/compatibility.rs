//! The compatibility gate: the contract of today against everything that was released, and planted mistakes, each of
//! which must be refused with its field, its rule and those whom it would hurt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use signalbox_schemas::topics::Topics;
use signalbox_schemas::{Consumers, Contract, Direction, History, RecordSchema, Rule, breaking};
use std::fs;
use std::path::Path;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The contract of today with one change to one of its schemas.
fn contract_with(file: &str, change: impl Fn(&mut Value)) -> Contract {
    let mut texts = Vec::new();
    for entry in fs::read_dir(Path::new(HERE).join("avro")).unwrap() {
        let path = entry.unwrap().path();
        let mut schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        if path.file_stem().unwrap() == file {
            change(&mut schema);
        }
        texts.push(schema.to_string());
    }
    let topics = fs::read_to_string(Path::new(HERE).join("../topics.yaml")).unwrap();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Contract::load(&texts, &topics, &[]).unwrap()
}

/// What of today's contract would be the history of a changed one.
fn history_of(contract: &Contract) -> History {
    let held: Vec<&String> =
        contract.topics().topics.values().flat_map(|topic| &topic.schemas.value).collect();
    let released =
        contract.records().filter(|record| held.iter().any(|name| *name == record.name().as_str()));
    let files: Vec<(&str, u32, &str)> =
        released.map(|record| (record.name().as_str(), 1, record.text())).collect();
    History::load(&files).unwrap()
}

fn field<'v>(schema: &'v mut Value, name: &str) -> &'v mut Value {
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.iter_mut().find(|field| field["name"] == name).unwrap()
}

fn remove(schema: &mut Value, name: &str) {
    schema["fields"].as_array_mut().unwrap().retain(|field| field["name"] != name);
}

fn add(schema: &mut Value, field: Value) {
    schema["fields"].as_array_mut().unwrap().push(field);
}

/// A planted mistake and what the gate must say of it.
struct Planted {
    what: &'static str,
    file: &'static str,
    change: fn(&mut Value),
    record: &'static str,
    path: &'static str,
    rule: Rule,
    direction: Direction,
    /// Who breaks; those that say that they read the field are marked with `*`.
    breaks: &'static str,
}

const EVENT: &str = "payments.payout.PayoutEvent";
const COMMAND: &str = "payments.payout.RequestPayout";

const PLANTED: [Planted; 11] = [
    Planted {
        what: "an event loses a field that had no default",
        file: EVENT,
        change: |event| remove(event, "amount"),
        record: EVENT,
        path: "amount",
        rule: Rule::ReaderFieldMissingDefaultValue,
        direction: Direction::Forward,
        breaks: "ledger*, risk*, notifications",
    },
    Planted {
        what: "an event loses a field with a default that somebody reads",
        file: EVENT,
        change: |event| remove(event, "next_step"),
        record: EVENT,
        path: "next_step",
        rule: Rule::FieldInUse,
        direction: Direction::Silent,
        breaks: "notifications*",
    },
    Planted {
        what: "an event gains a field without default",
        file: EVENT,
        change: |event| add(event, json!({"name": "fee", "type": "long"})),
        record: EVENT,
        path: "fee",
        rule: Rule::ReaderFieldMissingDefaultValue,
        direction: Direction::Backward,
        breaks: "ledger, notifications, risk",
    },
    Planted {
        what: "an amount becomes text, deep inside an event",
        file: "signalbox.common.Money",
        change: |money| field(money, "minor_units")["type"] = json!("string"),
        record: EVENT,
        path: "amount.minor_units",
        rule: Rule::TypeMismatch,
        direction: Direction::Backward,
        breaks: "ledger*, risk*, notifications",
    },
    Planted {
        what: "a long shrinks to an int, which new readers refuse",
        file: "signalbox.common.Money",
        change: |money| field(money, "minor_units")["type"] = json!("int"),
        record: COMMAND,
        path: "amount.minor_units",
        rule: Rule::TypeMismatch,
        direction: Direction::Backward,
        breaks: "engine",
    },
    Planted {
        what: "microseconds become milliseconds under the same bytes",
        file: EVENT,
        change: |event| {
            field(event, "occurred_at")["type"]["logicalType"] = json!("timestamp-millis")
        },
        record: EVENT,
        path: "occurred_at",
        rule: Rule::LogicalTypeMismatch,
        direction: Direction::Backward,
        breaks: "ledger*, risk*, notifications",
    },
    Planted {
        what: "a field that could be null no longer can",
        file: EVENT,
        change: |event| {
            field(event, "reason")["type"] = json!("string");
            field(event, "reason")["default"] = json!("");
        },
        record: EVENT,
        path: "reason",
        rule: Rule::MissingUnionBranch,
        direction: Direction::Backward,
        breaks: "risk*, ledger, notifications",
    },
    Planted {
        what: "an item of a list loses a field",
        file: "signalbox.common.Problem",
        change: |problem| remove(problem, "code"),
        record: EVENT,
        path: "problems[].code",
        rule: Rule::ReaderFieldMissingDefaultValue,
        direction: Direction::Forward,
        breaks: "ledger, notifications, risk",
    },
    Planted {
        what: "an enum is renamed",
        file: EVENT,
        change: |event| field(event, "status")["type"]["name"] = json!("Status"),
        record: EVENT,
        path: "status",
        rule: Rule::NameMismatch,
        direction: Direction::Backward,
        breaks: "ledger*, notifications*, risk*",
    },
    Planted {
        what: "an enum loses a symbol and its default",
        file: EVENT,
        change: |event| {
            let status = &mut field(event, "status")["type"];
            status.as_object_mut().unwrap().remove("default");
            status["symbols"].as_array_mut().unwrap().retain(|symbol| symbol != "settled");
        },
        record: EVENT,
        path: "status",
        rule: Rule::MissingEnumSymbols,
        direction: Direction::Backward,
        breaks: "ledger*, notifications*, risk*",
    },
    Planted {
        what: "a command gains a field that older services do not send",
        file: COMMAND,
        change: |command| add(command, json!({"name": "channel", "type": "string"})),
        record: COMMAND,
        path: "channel",
        rule: Rule::ReaderFieldMissingDefaultValue,
        direction: Direction::Backward,
        breaks: "engine",
    },
];

#[test]
fn today_s_contract_breaks_nothing_that_was_released() {
    let found = breaking(
        Contract::builtin().unwrap(),
        &History::builtin().unwrap(),
        &Consumers::builtin().unwrap(),
    );
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "breaking changes:\n\n{}\n", told.join("\n\n"));
}

#[test]
fn every_planted_breaking_change_is_refused_with_field_rule_and_consumer() {
    let history = history_of(&contract_with("", |_| {}));
    let consumers = Consumers::builtin().unwrap();
    for planted in PLANTED {
        let contract = contract_with(planted.file, planted.change);
        let found = breaking(&contract, &history, &consumers);
        let told = found.iter().find(|told| {
            told.record == planted.record
                && told.difference.path == planted.path
                && told.difference.rule == planted.rule
                && told.direction == planted.direction
        });
        let told =
            told.unwrap_or_else(|| panic!("{}: not refused; found {found:#?}", planted.what));
        let mark = |reads: bool| if reads { "*" } else { "" };
        let who: Vec<String> = told
            .consumers
            .iter()
            .map(|broken| format!("{}{}", broken.name, mark(broken.reads_field)))
            .collect();
        assert_eq!(who.join(", "), planted.breaks, "{}", planted.what);
    }
}

#[test]
fn a_refusal_says_field_rule_release_consumer_and_what_to_do_instead() {
    let history = history_of(&contract_with("", |_| {}));
    let contract = contract_with(EVENT, |event| remove(event, "amount"));
    let found = breaking(&contract, &history, &Consumers::builtin().unwrap());
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "payments.payout.PayoutEvent: amount: READER_FIELD_MISSING_DEFAULT_VALUE: the reader needs it and has no default, the writer does not have it\n  \
          promised:  FULL_TRANSITIVE on payments.payout.events.v1, broken against release 1\n  \
          breaks:    ledger (reads this field; core banking on call), risk (reads this field; risk analytics on call), notifications (customer experience on call): with the schema they have they cannot read new records\n  \
          instead:   give a field a default when it is added, and never remove one that had none"
        ]
    );
}

#[test]
fn changes_that_hurt_nobody_are_let_through() {
    let history = history_of(&contract_with("", |_| {}));
    let consumers = Consumers::builtin().unwrap();
    type Row = (&'static str, &'static str, fn(&mut Value));
    let rows: [Row; 7] = [
        ("a field with a default joins an event", EVENT, |event| {
            add(event, json!({"name": "fee", "type": ["null", "long"], "default": null}));
        }),
        ("a symbol joins an enum that has a default", EVENT, |event| {
            let symbols = &mut field(event, "status")["type"]["symbols"];
            symbols.as_array_mut().unwrap().push(json!("reversed"));
        }),
        ("words change", EVENT, |event| event["doc"] = json!("Other words.")),
        ("fields change their order", EVENT, |event| {
            event["fields"].as_array_mut().unwrap().reverse();
        }),
        ("a type is first mentioned by an earlier field", COMMAND, |command| {
            command["fields"].as_array_mut().unwrap().reverse();
        }),
        ("a command loses a field, which only services could miss", COMMAND, |command| {
            remove(command, "segment");
        }),
        ("a command may leave out what it had to say", COMMAND, |command| {
            field(command, "customer_id")["default"] = json!("");
        }),
    ];
    for (what, file, change) in rows {
        let contract = contract_with(file, change);
        let found = breaking(&contract, &history, &consumers);
        assert!(found.is_empty(), "{what}: refused: {}", found[0]);
        // What the gate lets through, Avro really reads.
        let record = contract.record(file).unwrap();
        reads_what_was_written(&history.of(file)[0].record, record, what);
    }
}

/// The new schema reads an old record, and where others read the topic the old one reads a new record.
fn reads_what_was_written(old: &RecordSchema, new: &RecordSchema, what: &str) {
    let examples = json!({
        EVENT: {"payout_id": "p-1", "tenant": "t", "flow_id": "8d8ac610-566d-8ef0-9c22-186b2a5ed793",
                "status": "settled", "final": false, "amount": {"minor_units": 7, "currency": "USD", "exponent": 2},
                "problems": [{"field": "a", "code": "b", "message": "c"}], "occurred_at": 1},
        COMMAND: serde_json::from_str::<Value>(include_str!("../../engine/signalbox/src/examples/payments.payout.RequestPayout.json")).unwrap(),
    });
    let bytes = old.encode(&examples[old.name().as_str()]).unwrap();
    new.decode(old, &bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    if old.name().as_str() == EVENT {
        let bytes = new.encode(&examples[EVENT]).unwrap();
        old.decode(new, &bytes).unwrap_or_else(|error| panic!("{what}, other way: {error}"));
    }
}

#[test]
fn what_is_compatible_with_the_last_release_alone_is_not_enough() {
    // Release 2 gave the field a default; readers of release 1 still have none.
    let first = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"},{"name":"note","type":"string"}]}"#;
    let second = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"},{"name":"note","type":"string","default":""}]}"#;
    let third = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"}]}"#;
    let history = History::load(&[("shop.Order", 1, first), ("shop.Order", 2, second)]).unwrap();
    let contract = Contract::load(&[third], SHOP, &[]).unwrap();
    let found = breaking(&contract, &history, &shop_consumers());
    let told: Vec<(u32, &str)> =
        found.iter().map(|told| (told.version, told.difference.path.as_str())).collect();
    assert_eq!(told, [(1, "note")]);
}

#[test]
fn a_released_record_that_leaves_every_topic_is_refused() {
    let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"}]}"#;
    let bill = r#"{"type":"record","name":"Bill","namespace":"shop","fields":[{"name":"id","type":"string"}]}"#;
    let history = History::load(&[("shop.Order", 1, order), ("shop.Bill", 1, bill)]).unwrap();
    let contract = Contract::load(&[order], SHOP, &[]).unwrap();
    let found = breaking(&contract, &history, &shop_consumers());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].record.as_str(), found[0].difference.rule),
        ("shop.Bill", Rule::RecordRemoved)
    );
    assert_eq!(found[0].consumers[0].name, "accounting");
}

#[test]
fn a_type_that_contains_itself_is_compared_to_its_end() {
    let tree = |kind: &str| {
        format!(
            r#"{{"type":"record","name":"Order","namespace":"shop","fields":[{{"name":"id","type":"{kind}"}},{{"name":"parts","type":{{"type":"array","items":"shop.Order"}},"default":[]}}]}}"#
        )
    };
    let history = History::load(&[("shop.Order", 1, &tree("long"))]).unwrap();
    let contract = Contract::load(&[&tree("string")], SHOP, &[]).unwrap();
    let found = breaking(&contract, &history, &shop_consumers());
    assert!(found.iter().all(|told| told.difference.path == "id"), "{found:?}");
    assert_eq!(found.len(), 2, "once in each direction: {found:?}");
}

const SHOP: &str = "{version: 1, lanes: 1, defaults: {replicas: 1, config: {}}, dlq: {config: {}}, topics: {shop.orders.v1: {owner: shop, role: event, key: id, \
    group: lanes, schemas: {value: [shop.Order], strategy: topic, compatibility: FULL_TRANSITIVE}, config: {}, dlq: false, pii: false, producers: [engine], consumers: [accounting]}}}";

fn shop_consumers() -> Consumers {
    Consumers::parse(
        "{version: 1, consumers: {accounting: {owner: books, contact: books on call, purpose: books, reads: {shop.orders.v1: {shop.Bill: [id]}}}}}",
    )
    .unwrap()
}

#[test]
fn consumers_and_contract_agree() {
    let faults = Consumers::builtin().unwrap().faults(Contract::builtin().unwrap());
    assert!(faults.is_empty(), "schemas/consumers.yaml:\n  {}", faults.join("\n  "));
}

#[test]
fn a_consumer_that_reads_what_does_not_exist_is_named() {
    let found = shop_consumers().faults(Contract::builtin().unwrap());
    assert!(
        found.iter().any(|fault| fault.contains("accounting: reads shop.orders.v1")),
        "{found:?}"
    );
    assert!(found.iter().any(|fault| fault.contains("consumer ledger is unknown")), "{found:?}");
}

#[test]
fn a_topic_that_promises_too_little_for_its_role_is_refused() {
    let topics = SHOP.replace("FULL_TRANSITIVE", "BACKWARD_TRANSITIVE");
    let order = json!({"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "id", "type": "string"}]});
    let found = signalbox_schemas::faults(&[order], &Topics::parse(&topics).unwrap(), &[]);
    assert!(found.iter().any(|fault| fault.contains("use FULL_TRANSITIVE")), "{found:?}");
}
