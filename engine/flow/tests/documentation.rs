//! The examples of `docs/journeys.md` are journeys: each is put in its place in the payout journey and must load there.
//! Scenarios among them are played and must hold, rules of the bank must be readable, messages must be those that are said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use signalbox_flow::{BankInvariants, Journey, Migration, MigrationPlan, Scenario, play};
use signalbox_schemas::Contract;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");
const COMMAND: &str = include_str!("../../../journeys/scenarios/payout.command.yaml");
const DOCUMENT: &str = include_str!("../../../docs/journeys.md");

/// The payout journey with the example in the place of what it is an example of.
fn with_example(example: &str) -> String {
    let first = example.lines().next().unwrap();
    let start = PAYOUT
        .find(&format!("\n{first}\n"))
        .unwrap_or_else(|| panic!("the journey has no {first}"));
    let end = PAYOUT
        .get(start + 1..)
        .unwrap()
        .find("\n\n")
        .map_or(PAYOUT.len(), |length| start + 1 + length);
    let (before, after) = (PAYOUT.get(..=start).unwrap(), PAYOUT.get(end..).unwrap());
    format!("{before}{}{after}", example.trim_end())
}

#[test]
fn every_example_loads_in_the_payout_journey() {
    let (head, parts): (Vec<&str>, Vec<&str>) = examples("yaml")
        .filter(|example| !example.starts_with('#') && !is_plan(example))
        .partition(|example| example.starts_with("journey:"));
    assert_eq!((head.len(), parts.len()), (1, 7));
    for line in head
        .iter()
        .flat_map(|head| head.lines())
        .filter(|line| !line.starts_with("commands:") && !line.starts_with("parameters:"))
    {
        let line = line.split(" #").next().unwrap().trim();
        assert!(PAYOUT.contains(line), "the journey no longer says {line}");
    }
    for example in parts {
        let parsed =
            Journey::parse(&with_example(example), Contract::builtin().unwrap(), &BTreeMap::new());
        assert!(parsed.is_ok(), "{}\n{example}", parsed.unwrap_err());
    }
}

/// Whether an example is a plan of a migration.
fn is_plan(example: &str) -> bool {
    example.contains("\nfrom: ")
}

#[test]
fn the_plan_of_the_document_means_what_it_says() {
    let plans: Vec<&str> = examples("yaml").filter(|example| is_plan(example)).collect();
    let [plan] = plans.as_slice() else { panic!("{} plans", plans.len()) };
    let parsed = |yaml: &str| {
        let contract = Contract::builtin().unwrap();
        Arc::new(Journey::parse(yaml, contract, &BTreeMap::new()).unwrap())
    };
    let next = PAYOUT.replace("\nversion: 2\n", "\nversion: 3\n");
    let next = parsed(&next.replace("review_fraud", "judge_fraud"));
    let plan = MigrationPlan::parse(plan).unwrap_or_else(|error| panic!("{error}"));
    let made = Migration::new(plan, parsed(PAYOUT), next);
    assert!(made.is_ok(), "{made:?}");
}

/// Examples of one language, as the document has them.
fn examples(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let parts: Vec<&str> = DOCUMENT.split(fence.as_str()).skip(1).collect();
    parts.into_iter().map(|rest| rest.split("```").next().unwrap())
}

#[test]
fn every_scenario_of_the_document_holds_and_every_rule_of_the_bank_is_one() {
    let contract = Contract::builtin().unwrap();
    let journey = Journey::parse(PAYOUT, contract, &BTreeMap::new()).unwrap();
    let command = |_: &str| Ok(COMMAND.to_owned());
    let files: Vec<&str> = examples("yaml").filter(|example| example.starts_with('#')).collect();
    assert_eq!(files.len(), 2);
    for example in files {
        if example.contains("\ninvariants:") {
            BankInvariants::parse(example, contract).unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        let scenario = Scenario::parse(example, command).unwrap_or_else(|error| panic!("{error}"));
        let played = play(&scenario, &journey, contract).unwrap_or_else(|error| panic!("{error}"));
        assert!(played.failures.is_empty(), "{:#?}", played.failures);
    }
}

#[test]
fn messages_are_said_as_the_document_shows_them() {
    let said = |right: &str, wrong: &str| {
        assert!(PAYOUT.contains(right), "the journey no longer says {right:?}");
        let yaml = PAYOUT.replacen(right, wrong, 1);
        let error =
            Journey::parse(&yaml, Contract::builtin().unwrap(), &BTreeMap::new()).unwrap_err();
        let at = error.at().unwrap();
        format!("journeys/payout.yaml:{}:{}: {}", at.line, at.column, error.problem())
    };
    let shown: Vec<&str> = examples("text").next().unwrap().lines().collect();
    for (line, (right, wrong)) in shown.iter().zip([
        ("pass: screen_parties", "pass: screen_partys"),
        ("    people: 2\n", "    peple: 2\n"),
    ]) {
        let said = said(right, wrong);
        assert!(said.starts_with(line), "{said}");
    }
}
