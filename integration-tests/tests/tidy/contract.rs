//! Planted mistakes in a contract, each of which the build's rules must name. It does not judge the contract itself.

use serde_json::{Value, json};
use signalbox_schemas::{faults, topics::Topics, unclear_subjects};

#[test]
fn a_contract_that_contradicts_itself_is_refused() {
    let record = |name: &str, field: Value| json!({"type": "record", "namespace": "shop", "name": name, "fields": [field]});
    let text = json!({"name": "id", "type": "string"});
    let symbols = |default: Option<&str>| {
        let mut kind = json!({"type": "enum", "name": "Kind", "symbols": ["UNKNOWN", "card"]});
        if let Some(default) = default {
            kind["default"] = json!(default);
        }
        json!({"name": "kind", "type": kind})
    };
    let rows: [(&str, Vec<Value>, &[&str]); 6] = [
        ("", vec![record("Order", text.clone())], &[]),
        ("", vec![record("Order", symbols(Some("UNKNOWN")))], &[]),
        ("shop.Bill does not exist", vec![record("Order", text.clone())], &["shop.Bill"]),
        ("no topic holds it", vec![record("Order", text.clone()), record("Bill", text)], &[]),
        ("no default symbol", vec![record("Order", symbols(None))], &[]),
        (
            "vendor word \"acme_ref\"",
            vec![record("Order", json!({"name": "acme_ref", "type": "string"}))],
            &[],
        ),
    ];
    for (expected, schemas, further) in rows {
        let found = faults(&schemas, &one_topic(further), &["acme_ref".to_owned()]);
        if expected.is_empty() {
            assert!(
                found.is_empty(),
                "a sound contract is refused: {found:?}; correct schemas/src/rules.rs"
            );
        } else {
            assert!(
                found.iter().any(|fault| fault.contains(expected)),
                "a planted mistake is not found: {expected:?}; found {found:?}; correct schemas/src/rules.rs"
            );
        }
    }
}

#[test]
fn a_record_that_starts_a_journey_says_whose_data_it_holds_and_no_other_does() {
    let order = |marks: &[(&str, Value)]| {
        let field = |(name, kind): &(&str, Value)| json!({"name": name, "type": kind, "data_subject": true});
        let fields: Vec<Value> = marks.iter().map(field).collect();
        json!({"type": "record", "namespace": "shop", "name": "Order", "fields": fields})
    };
    let text = || json!("string");
    let nullable = json!(["null", "string"]);
    type Row = (&'static str, Vec<(&'static str, Value)>, bool);
    let rows: [Row; 5] = [
        ("", vec![("customer", text())], true),
        ("", vec![], false),
        ("exactly one", vec![], true),
        ("exactly one", vec![("customer", text()), ("payer", text())], true),
        ("starts no journey", vec![("customer", text())], false),
    ];
    let nullable = ("exactly one", vec![("customer", nullable)], true);
    for (expected, marks, starts) in rows.into_iter().chain([nullable]) {
        let starting: Vec<String> = starts.then(|| "shop.Order".to_owned()).into_iter().collect();
        let found = unclear_subjects(&[order(&marks)], &starting);
        let told = found.iter().any(|fault| fault.contains(expected));
        assert!(
            found.is_empty() == expected.is_empty() && (expected.is_empty() || told),
            "{marks:?}, starts {starts}: {found:?}; correct schemas/src/rules.rs"
        );
    }
}

#[test]
fn a_topic_that_keeps_personal_data_for_ever_is_refused() {
    let personal = json!({"type": "record", "namespace": "shop", "name": "Order",
        "fields": [{"name": "name", "type": "string", "personal_data": true}]});
    let rows = [
        (
            "{cleanup.policy: delete, retention.ms: 1000}",
            "{cleanup.policy: delete, retention.ms: 1000}",
            "",
        ),
        (
            "{cleanup.policy: compact}",
            "{cleanup.policy: delete, retention.ms: 1000}",
            "shop.orders.v1: carries",
        ),
        (
            "{cleanup.policy: delete, retention.ms: -1}",
            "{cleanup.policy: delete, retention.ms: 1000}",
            "shop.orders.v1: carries",
        ),
        (
            "{cleanup.policy: delete}",
            "{cleanup.policy: delete, retention.ms: 1000}",
            "shop.orders.v1: carries",
        ),
        ("{cleanup.policy: delete, retention.ms: 1000}", "{}", "shop.orders.v1.dlq: carries"),
    ];
    for (own, dead, expected) in rows {
        let text = topic_text(&["shop.Order"])
            .replace("    config: {}\n", &format!("    config: {own}\n"))
            .replace("dlq: {config: {}}", &format!("dlq: {{config: {dead}}}"))
            .replace("dlq: false\n    pii: false", "dlq: true\n    pii: true");
        let found = faults(std::slice::from_ref(&personal), &Topics::parse(&text).unwrap(), &[]);
        let told = found.iter().any(|fault| fault.contains(expected));
        assert!(
            found.is_empty() == expected.is_empty() && (expected.is_empty() || told),
            "{own}, {dead}: {found:?}; correct schemas/src/rules.rs"
        );
    }
}

/// One topic that holds `shop.Order` and, by mistake, further records.
fn one_topic(further: &[&str]) -> Topics {
    let mut held = vec!["shop.Order"];
    held.extend(further);
    Topics::parse(&topic_text(&held)).unwrap()
}

fn topic_text(held: &[&str]) -> String {
    format!(
        "version: 1\nlanes: 2\ndefaults: {{replicas: 1, config: {{}}}}\ndlq: {{config: {{}}}}\ntopics:\n  shop.orders.v1:\n    \
         owner: shop\n    role: event\n    key: id\n    group: lanes\n    \
         schemas: {{value: [{}], strategy: topic-record, compatibility: FULL_TRANSITIVE}}\n    \
         config: {{}}\n    dlq: false\n    pii: false\n    producers: [engine]\n    consumers: [ledger]\n",
        held.join(", ")
    )
}
