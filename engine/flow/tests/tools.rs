//! What people look at: the picture of a journey, the difference of two versions, and the schemas for their editors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::Value;
use signalbox_flow::{
    EditorFile, Journey, check, check_continuation, difference, editor_schema, graph,
};
use signalbox_schemas::Contract;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");
const SMALL: &str = include_str!("../../../deploy/bench/journey.yaml");

fn journey(yaml: &str) -> Journey {
    let parsed = Journey::parse(yaml, Contract::builtin().unwrap(), &BTreeMap::new());
    parsed.unwrap_or_else(|error| panic!("{error}"))
}

/// The small journey with edits, as its next version; every edit must hit.
fn next(edits: &[(&str, &str)]) -> Journey {
    let next = edits.iter().fold(SMALL.replace("version: 2", "version: 3"), |yaml, (old, new)| {
        assert!(yaml.contains(old), "the journey no longer says {old:?}; adapt the test");
        yaml.replacen(old, new, 1)
    });
    journey(&next)
}

#[test]
fn a_journey_is_drawn_with_every_state_and_why_it_goes_on() {
    let drawn = graph(&journey(PAYOUT)).unwrap();
    for line in [
        "stateDiagram-v2\n    [*] --> check_request\n",
        "    state \"send<br/>payout.send\" as send\n",
        "    state \"compliance_hold<br/>held by 2 people of compliance\" as compliance_hold\n",
        "    confirm_identity --> review_identity : soft_fail, 2 retries / unavailable, 20 retries\n",
        "    confirm_identity --> declined_identity : hard_fail / hard_fail, later\n",
        "    compliance_hold --> screen_parties : release by 2\n",
        "    await_customer --> confirm_identity : after step_up_wait\n",
        "    announce_hold --> compliance_hold\n",
        "    after_recall --> await_return : await_settlement.outcome == 'settled'\n",
        "    completed --> [*]\n",
        "    note right of expired : from anywhere after 48h, while no money may be out\n",
        "    class send,recall_payment money\n",
    ] {
        assert!(drawn.contains(line), "{line:?} is not drawn in\n{drawn}");
    }
    assert!(!drawn.contains("--> again") && !drawn.contains("--> remember"), "{drawn}");
}

#[test]
fn a_version_that_changes_nothing_is_no_difference_but_its_number() {
    let changes = difference(&journey(SMALL), &next(&[])).unwrap();
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["version: 2 -> 3"]);
    assert_eq!(check_continuation(&journey(SMALL), &next(&[])), []);
}

#[test]
fn differences_are_told_in_the_words_of_the_file() {
    let new = next(&[
        ("deadline: {after: 48h", "deadline: {after: 24h"),
        ("      review: declined\n", "      review: review_fraud\n"),
        (
            "  send:\n    call: payout.send",
            "  review_fraud:\n    review: fraud_analysts\n    about: score_fraud\n    on:\n      approve: {as: approve, go: send}\n      decline: declined\n\n  send:\n    call: payout.send",
        ),
        ("    wait: 1m  ", "    wait: 5m  "),
        (
            "at_most: 20, after: 1s}, then: declined}\n\n  screen",
            "at_most: 3, after: 1s}, then: declined}\n\n  screen",
        ),
        ("  - never two payout.send in flight\n", ""),
    ]);
    let changes = difference(&journey(SMALL), &new).unwrap();
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "version: 2 -> 3",
            "deadline after: 48h -> 24h",
            "state confirm_identity: on unavailable now asks again up to 3 times after 1s, goes to declined; before it asks again up to 20 times after 1s, goes to declined",
            "state score_fraud: on review now goes to review_fraud; before it goes to declined",
            "state review_fraud: is new; it waits for fraud_analysts",
            "state await_cancellation: waits 5m; before it waits 1m",
            "invariant: is dropped: never two payout.send in flight",
        ]
    );
    assert_eq!(
        check_continuation(&journey(SMALL), &new),
        [],
        "a review more harms no running flow"
    );
}

/// What stands against running flows going on, as one text.
fn obstacles(edits: &[(&str, &str)]) -> String {
    let new = next(edits);
    assert_eq!(check(&new, Contract::builtin().unwrap()), [], "the new version itself is safe");
    let found = check_continuation(&journey(SMALL), &new);
    let told = |finding: &signalbox_flow::Finding| {
        format!("{}: {} | {}", finding.rule, finding.message, finding.path.join(" | "))
    };
    found.iter().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_flow_that_waits_in_a_state_that_is_gone_cannot_go_on() {
    let said = obstacles(&[
        ("await_cancellation}", "stoppable}"),
        ("  await_cancellation:\n", "  stoppable:\n"),
    ]);
    assert!(
        said.contains("cannot go on: await_cancellation: version 3 has no such state"),
        "{said}"
    );
    assert!(said.contains("payout.inquire answers pending -> await_cancellation"), "{said}");
}

#[test]
fn a_flow_that_never_made_a_check_which_is_now_needed_cannot_go_on() {
    let said = obstacles(&[
        (
            "  screen_beneficiary:\n",
            "  screen_originator:\n    call: aml.screen\n    with: {role: originator, party: command.originator}\n    within: 15m\n    on:\n      clear: screen_beneficiary\n      hit: declined\n      ambiguous: declined\n      unavailable: declined\n\n  screen_beneficiary:\n",
        ),
        ("      pass: screen_beneficiary\n", "      pass: screen_originator\n"),
    ]);
    assert!(
        said.contains(
            "invariant: send: payout.send is called, but screen_originator was never asked"
        ),
        "{said}"
    );
    assert!(said.contains("goes on as version 3"), "{said}");
}

#[test]
fn a_state_that_becomes_something_else_is_no_place_to_go_on() {
    let said = obstacles(&[(
        "    wait: 1m                                     # a payment that was in doubt can be stopped for a while\n    go: completed\n    on_command",
        "    review: operations\n    on: {approve: completed}\n    on_command",
    )]);
    assert!(
        said.contains("await_cancellation: it is a wait and becomes a review by people"),
        "{said}"
    );
}

/// Files that lie under schemas/editor, and what they are made from.
const EDITOR: [(&str, EditorFile); 3] = [
    ("journey", EditorFile::Journey),
    ("scenario", EditorFile::Scenario),
    ("invariants", EditorFile::Invariants),
];

#[test]
fn the_schemas_for_editors_are_those_of_this_version() {
    for (name, of) in EDITOR {
        let path = root().join(format!("schemas/editor/{name}.schema.json"));
        let written = fs::read_to_string(&path).unwrap_or_default();
        let current = format!("{:#}\n", editor_schema(of));
        assert!(
            written == current,
            "schemas/editor/{name}.schema.json is not current; write it with `signalbox journeys schema {name}`"
        );
    }
}

#[test]
fn editors_accept_what_loads_and_mark_what_does_not_belong() {
    let validator = |of| jsonschema::validator_for(&editor_schema(of)).unwrap();
    let journeys = validator(EditorFile::Journey);
    let scenarios = validator(EditorFile::Scenario);
    let read = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap() };
    let mut seen = [0, 0];
    for folder in ["journeys", "journeys/scenarios/payout"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let value = read(&fs::read_to_string(&path).unwrap());
            let (kind, validator) = match (folder, path.ends_with("invariants.yaml")) {
                (_, true) => (0, &validator(EditorFile::Invariants)),
                ("journeys", _) => (0, &journeys),
                _ => (1, &scenarios),
            };
            let wrong: Vec<String> =
                validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
            seen[kind] += 1;
        }
    }
    assert!(seen[0] >= 2 && seen[1] >= 10, "{seen:?}");
    for (right, wrong) in [
        ("    people: 2\n", "    peple: 2\n"),
        ("    people: 2\n", "    within: 1h\n"),
        ("version: 2", "version: one"),
        ("aggregate: payout_id", "aggregat: payout_id"),
        ("at_most: 2, after: identity", "at_mst: 2, after: identity"),
    ] {
        assert!(PAYOUT.contains(right), "{right:?}");
        let value = read(&PAYOUT.replacen(right, wrong, 1));
        assert!(!journeys.is_valid(&value), "{wrong:?} is not marked");
    }
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
