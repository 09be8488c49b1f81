//! The examples of `docs/journeys.md` are journeys: each is put in its place in the payout journey and must load there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use signalbox_flow::Journey;
use signalbox_schemas::Contract;
use std::collections::BTreeMap;

const PAYOUT: &str = include_str!("../../../journeys/payout.yaml");
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
    let examples =
        DOCUMENT.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (head, parts): (Vec<&str>, Vec<&str>) =
        examples.partition(|example| example.starts_with("journey:"));
    assert_eq!((head.len(), parts.len()), (1, 6));
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
