//! Every scenario of `journeys/scenarios` holds on its journey, and one that does not hold says where and why.
//! It plays them with `step` alone; the same files with real parts are another test's work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use signalbox_flow::{Journey, JourneyError, Played, Scenario, play};
use signalbox_schemas::Contract;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn journeys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../journeys")
}

fn journey(name: &str) -> Journey {
    let text = fs::read_to_string(journeys().join(format!("{name}.yaml"))).unwrap();
    Journey::parse(&text, Contract::builtin().unwrap(), &BTreeMap::new()).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Files that scenarios name are relative to their folder, of which any will do.
fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(journeys().join("scenarios/payout").join(file))
        .map_err(|error| error.to_string())
}

fn played(text: &str) -> Result<Played, JourneyError> {
    let scenario = Scenario::parse(text, read)?;
    play(&scenario, &journey(scenario.journey()), Contract::builtin().unwrap())
}

#[test]
fn every_scenario_holds() {
    let folders: Vec<PathBuf> =
        entries(&journeys().join("scenarios")).into_iter().filter(|path| path.is_dir()).collect();
    let mut broken = Vec::new();
    assert!(!folders.is_empty(), "journeys/scenarios: no scenario was found");
    for file in folders.iter().flat_map(|folder| entries(folder)) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.display();
        let scenario =
            Scenario::parse(&text, read).unwrap_or_else(|error| panic!("{name}: {error}"));
        let folder = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert_eq!(scenario.journey(), folder, "{name}: lies in the folder of another journey");
        assert!(
            scenario.title().len() > 20,
            "{name}: must begin with a comment that says its rule"
        );
        let played = played(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if !played.failures.is_empty() {
            let told: Vec<String> = played.moments.iter().map(ToString::to_string).collect();
            broken.push(format!("{name}: {:#?}\n{}", played.failures, told.join("\n")));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

const BEGINNING: &str = "journey: payout\ncommand: {like: ../payout.command.yaml}\nsteps:\n  - answers: {recognise_customer: stranger}\n";

/// What is said of a scenario that begins as usual and goes on with these steps.
fn said(steps: &str) -> String {
    match played(&format!("{BEGINNING}{steps}")) {
        Ok(played) => {
            played.failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_expectation_that_does_not_hold_is_told_with_its_place() {
    let rows = [
        (
            "  - answers: {confirm_identity: hard_fail}\n    expect: {state: screen_parties}\n",
            "line 6, column 14: steps[1].expect.state: screen_parties is expected, but the flow has ended as declined_identity",
        ),
        (
            "  - answers: {confirm_identity: pass}\nexpect: {ending: completed}\n",
            "line 6, column 10: expect.ending: completed is expected, but the flow waits in screen_parties",
        ),
        (
            "  - answers: {confirm_identity: hard_fail}\nexpect: {events: [blocked]}\n",
            "line 6, column 10: expect.events: blocked is expected, but published was declined",
        ),
        (
            "  - answers: {confirm_identity: pass}\nexpect: {never_asks: [aml.screen], asks: [payout.send]}\n",
            "aml.screen is asked",
        ),
        (
            "  - answers: {confirm_identity: pass}\nexpect: {asks: [payout.send]}\n",
            "payout.send is not asked",
        ),
        (
            "  - answers: {confirm_identity: pass}\nexpect: {tasks: [review_fraud opened]}\n",
            "no task `review_fraud opened`; told was nothing",
        ),
        (
            "  - decide: release\n    by: anna\n",
            "line 5, column 5: steps[1]: nothing came of it: confirm_identity takes no decisions",
        ),
        (
            "  - command: cancel\n    expect: {refused: too late}\n",
            "steps[1].expect.refused: it is not refused: the flow has ended as cancelled",
        ),
    ];
    for (steps, expected) in rows {
        let said = said(steps);
        assert!(said.contains(expected), "{steps}: {said}");
    }
}

#[test]
fn a_scenario_that_cannot_happen_is_refused_with_its_place() {
    let rows = [
        (
            "  - answers: {confirm_idntity: pass}\n",
            "line 5, column 15: steps[1].answers.confirm_idntity: the journey asks nothing by that name. Did you mean confirm_identity?",
        ),
        (
            "  - answers: {confirm_identity: clear}\n",
            "kyc.check never answers clear; it answers pass",
        ),
        ("  - answers: {send: accepted}\n", "send was not asked; the flow is in confirm_identity"),
        (
            "  - timer: retry\n",
            "no timer retry is set in confirm_identity; set are deadline, within",
        ),
        ("  - command: stop\n", "the journey takes cancel, not stop"),
        ("  - wait: soon\n", "\"soon\" is neither a length of time nor a parameter"),
        ("  - sent: confirm_identity\n", "confirm_identity is not a write that was asked for"),
        ("  - decide: release\n", "say who decides"),
        ("  - {}\n", "a step is exactly one of"),
        ("  - {timer: within, wait: 1h}\n", "a step is exactly one of"),
        (
            "  - anwers: {send: accepted}\n",
            "line 5, column 5: anwers is not a key here. Did you mean answers?",
        ),
    ];
    for (steps, expected) in rows {
        let said = said(steps);
        assert!(said.contains(expected), "{steps}: {said}");
    }
    let wrong = BEGINNING.replace("{like", "{with: {amount.minor: 1}, like");
    let error = played(&format!("{wrong}  - wait: 1h\n")).unwrap_err().to_string();
    assert!(
        error.contains("line 2, column 1: command: it is no payments.payout.v2.RequestPayout"),
        "{error}"
    );
}

#[test]
fn the_path_is_told_step_by_step() {
    let steps = "  - answers: {confirm_identity: soft_fail}\n  - wait: 10m\n  - answers: {confirm_identity: hard_fail}\n";
    let played = played(&format!("{BEGINNING}{steps}")).unwrap();
    let told: Vec<String> = played.moments.iter().map(ToString::to_string).collect();
    assert_eq!(
        told.join("\n"),
        "        0s  payments.payout.v2.RequestPayout comes -> check_request -> recognise_customer
            asks recognise_customer (customer.recognise), try 1
        0s  recognise_customer answers stranger -> confirm_identity
            asks confirm_identity (kyc.check), try 1
        0s  confirm_identity answers soft_fail -> confirm_identity
       10m  timer retry fires -> confirm_identity
            asks confirm_identity (kyc.check), try 2
       10m  confirm_identity answers hard_fail -> declined_identity
            lets later flows recognise: nobody
            publishes the last event: declined, because of identity_not_verified"
    );
}
