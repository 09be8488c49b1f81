//! A recorded run of one lane is judged, as it was and with one fault planted at a time: each has to be found, by the
//! promise that it breaks. The chain is linked anew after a plant that is not about the chain.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use crate::chain::hash;
use crate::graph::Graph;
use crate::{Evidence, Fault, Line, Promise, Record, Report, Row, judge};

const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const COMMANDS: &str = "payments.payout.commands.v1";
const EVENTS: &str = "payments.payout.events.v1";

fn recorded() -> Evidence {
    serde_json::from_str(include_str!("../recorded/lane.json")).unwrap()
}

fn judged(plant: impl FnOnce(&mut Evidence)) -> Report {
    let mut evidence = recorded();
    plant(&mut evidence);
    judge(&evidence, &[])
}

/// Judges what was changed; the promises that do not hold.
fn broken(plant: impl FnOnce(&mut Evidence)) -> Vec<Promise> {
    let mut promises: Vec<Promise> =
        judged(plant).findings.into_iter().map(|finding| finding.promise).collect();
    promises.dedup();
    promises
}

fn rows(evidence: &mut Evidence) -> impl Iterator<Item = &mut Row> {
    evidence.export.iter_mut().filter_map(|line| match line {
        Line::Row(row) => Some(row.as_mut()),
        _ => None,
    })
}

/// Rows are numbered and linked as whoever wrote them would, and no anchor contradicts them.
fn relink(evidence: &mut Evidence) {
    evidence.export.retain(|line| !matches!(line, Line::Anchor { .. }));
    let (mut before, mut seq) = (GENESIS.to_owned(), 0);
    for row in rows(evidence) {
        seq += 1;
        (row.seq, row.prev_hash) = (seq, before.clone());
        row.hash = hash(&before, row).unwrap();
        before.clone_from(&row.hash);
    }
    for line in &mut evidence.export {
        if let Line::Stretch { last_seq, .. } = line {
            *last_seq = seq;
        }
    }
}

fn position(evidence: &Evidence, wanted: impl Fn(&Record) -> bool) -> usize {
    evidence.records.iter().position(wanted).unwrap()
}

fn event(evidence: &Evidence, status: &str) -> usize {
    position(evidence, |record| record.topic == EVENTS && record.value["status"] == status)
}

/// One more command behind the others.
fn another_command(evidence: &mut Evidence) -> Record {
    let at = position(evidence, |record| record.topic == COMMANDS);
    let last = evidence.records.iter().rfind(|record| record.topic == COMMANDS);
    let offset = last.unwrap().offset + 1;
    let command = Record { offset, ..evidence.records[at].clone() };
    evidence.records.push(command.clone());
    command
}

/// One more row about a command.
fn another_row(evidence: &mut Evidence, kind: &str, flow: Option<&str>, about: &Record) {
    let start = rows(evidence).find(|row| row.kind == "start").unwrap().clone();
    let out_last = rows(evidence).last().unwrap().out_last;
    evidence.export.push(Line::Row(Box::new(Row {
        kind: kind.to_owned(),
        flow: flow.map(str::to_owned),
        after: None,
        input_offset: Some(about.offset),
        out_last,
        ..start
    })));
    relink(evidence);
}

#[test]
fn a_good_run_is_good() {
    let report = judged(|_| {});
    assert_eq!(report.findings, []);
    assert_eq!(report.counted.commands, 5);
    assert_eq!(report.counted.flows, 5);
    assert_eq!(report.counted.transfers, 3);
    assert_eq!(report.endings.values().sum::<u64>(), 5);
    assert!(judged(relink).findings.is_empty(), "linking anew must break nothing");
}

#[test]
fn repeats_are_recognised_and_a_zombie_among_them() {
    // The record that a dead engine had sent and that arrived after its successor's.
    let before = judged(|_| {}).counted;
    assert_eq!((before.repeats, before.zombies), (1, 1));
    let again = |epoch: Option<&str>| {
        judged(|evidence| {
            let at = event(evidence, "submitted");
            let mut copy = evidence.records[at].clone();
            if let Some(epoch) = epoch {
                copy.headers.insert("lane_epoch".to_owned(), epoch.to_owned());
            }
            evidence.records.insert(at + 1, copy);
        })
    };
    let report = again(None);
    assert_eq!(report.findings, []);
    assert_eq!((report.counted.repeats, report.counted.zombies), (2, 1));
    assert_eq!(again(Some("0")).counted.zombies, 2);
}

#[test]
fn gaps_lost_ends_and_altered_repeats_are_found() {
    let gap = broken(|evidence| {
        let at = event(evidence, "submitted");
        evidence.records.remove(at);
    });
    // What comes after a gap is not applied, so more is missing than one record.
    assert!(gap.contains(&Promise::Sequence), "{gap:?}");
    let lost_end = broken(|evidence| {
        let newest = |record: &Record| {
            record.headers.get("lane_seq").and_then(|seq| seq.parse::<i64>().ok())
        };
        let last = evidence.records.iter().filter_map(newest).max();
        evidence.records.retain(|record| newest(record) != last);
    });
    assert!(lost_end.contains(&Promise::Sequence), "{lost_end:?}");
    let altered = broken(|evidence| {
        let at = event(evidence, "submitted");
        let copy = Record { digest: "another".to_owned(), ..evidence.records[at].clone() };
        evidence.records.insert(at + 1, copy);
    });
    assert_eq!(altered, [Promise::Sequence]);
    let invented = broken(|evidence| {
        let last = rows(evidence).last().unwrap().out_last + 1;
        let at = evidence.records.iter().rposition(|record| record.topic == EVENTS).unwrap();
        let mut copy = Record { value: json!(null), ..evidence.records[at].clone() };
        let prev = copy.headers["lane_seq"].clone();
        copy.headers.insert("prev_seq".to_owned(), prev);
        copy.headers.insert("lane_seq".to_owned(), last.to_string());
        evidence.records.insert(at + 1, copy);
    });
    assert_eq!(invented, [Promise::Sequence]);
}

#[test]
fn a_flow_that_is_told_in_another_order_is_found() {
    let turned = broken(|evidence| {
        let submitted = event(evidence, "submitted");
        evidence.records[submitted].headers.insert("flow_rev".to_owned(), "999".to_owned());
    });
    assert_eq!(turned, [Promise::Sequence]);
}

#[test]
fn endings_that_are_repeated_missing_or_not_the_last_word_are_found() {
    let repeated = broken(|evidence| {
        let at = event(evidence, "submitted");
        evidence.records[at].value["final"] = json!(true);
    });
    assert!(repeated.contains(&Promise::Endings), "{repeated:?}");
    let missing = broken(|evidence| {
        let at = event(evidence, "completed");
        evidence.records[at].value["final"] = json!(false);
    });
    assert!(missing.contains(&Promise::Endings), "{missing:?}");
    let stuck = broken(|evidence| {
        let end = rows(evidence).filter(|row| row.after.as_deref() == Some("completed")).last();
        end.unwrap().after = Some("await_return".to_owned());
        relink(evidence);
    });
    assert_eq!(stuck, [Promise::Endings]);
}

#[test]
fn commands_that_are_lost_applied_twice_or_two_journeys_are_found() {
    let lost = broken(|evidence| drop(another_command(evidence)));
    assert_eq!(lost, [Promise::Commands]);
    let unreadable = broken(|evidence| {
        another_command(evidence);
        let last = evidence.records.last_mut().unwrap();
        last.name = None;
    });
    assert_eq!(unreadable, [Promise::Commands]);
    let twice = broken(|evidence| {
        let at = position(evidence, |record| record.topic == COMMANDS);
        let command = evidence.records[at].clone();
        another_row(evidence, "repeat", None, &command);
    });
    assert_eq!(twice, [Promise::Commands]);
    let two_journeys = broken(|evidence| {
        let command = another_command(evidence);
        another_row(evidence, "start", Some("0d8ac610-566d-8ef0-9c22-186b2a5ed793"), &command);
    });
    assert!(two_journeys.contains(&Promise::Commands), "{two_journeys:?}");
    let answered = broken(|evidence| {
        let command = another_command(evidence);
        another_row(evidence, "repeat", None, &command);
    });
    assert_eq!(answered, []);
}

#[test]
fn a_dead_letter_that_is_nowhere_is_found() {
    let dead = |with_letter: bool| {
        broken(|evidence| {
            let command = another_command(evidence);
            another_row(evidence, "dead_letter", None, &command);
            let last = rows(evidence).last().unwrap().out_last + 1;
            if with_letter {
                let headers = [("lane", 6), ("lane_seq", last), ("prev_seq", 0), ("lane_epoch", 1)];
                let headers =
                    headers.map(|(name, value)| (name.to_owned(), value.to_string())).into();
                let topic = format!("{COMMANDS}.dlq");
                evidence.records.push(Record { topic, offset: 0, headers, ..command });
                rows(evidence).last().unwrap().out_last = last;
                relink(evidence);
            }
        })
    };
    assert_eq!(dead(false), [Promise::Commands]);
    assert_eq!(dead(true), []);
}

#[test]
fn money_that_moves_twice_elsewhere_or_in_another_amount_is_found() {
    type Change = fn(&mut Evidence);
    let plants: [(&str, Change); 9] = [
        ("amount", |evidence| evidence.transfers[0].amount += 1),
        ("currency", |evidence| evidence.transfers[0].currency = "EUR".to_owned()),
        ("account", |evidence| evidence.transfers[0].account_number.push('0')),
        ("bank", |evidence| evidence.transfers[0].routing_number.push('0')),
        ("payee", |evidence| evidence.transfers[0].beneficiary_name = "Somebody Else".to_owned()),
        ("same key twice", |evidence| {
            let again = evidence.transfers[0].clone();
            evidence.transfers.push(again);
        }),
        ("nobody asked", |evidence| {
            let mut again = evidence.transfers[0].clone();
            again.idempotency_key = Some("a key of its own".to_owned());
            evidence.transfers.push(again);
        }),
        ("not paid", |evidence| drop(evidence.transfers.remove(0))),
        ("paid, and said to be declined", |evidence| {
            let at = event(evidence, "completed");
            evidence.records[at].value["status"] = json!("declined");
        }),
    ];
    for (what, plant) in plants {
        assert_eq!(broken(plant), [Promise::Money], "{what}");
    }
}

#[test]
fn a_payout_that_is_paid_by_two_attempts_is_found_unless_the_first_was_refused() {
    let two_attempts = |first: &str| {
        judged(|evidence| {
            let key = evidence.transfers[0].idempotency_key.clone().unwrap();
            let attempt = |record: &Record| record.value["call"]["attempt_id"] == json!(key);
            let at = position(evidence, |r| r.topic.starts_with("payout.send") && attempt(r));
            // A second attempt is asked for behind the first, and the bank takes it on too.
            let mut asked = evidence.records[at].clone();
            asked.value["call"]["attempt_id"] = json!("another attempt");
            let last = evidence.records.iter().rposition(|r| r.topic == asked.topic).unwrap();
            let next = rows(evidence).last().unwrap().out_last + 1;
            let prev = evidence.records[last].headers["lane_seq"].clone();
            asked.headers.insert("prev_seq".to_owned(), prev);
            asked.headers.insert("lane_seq".to_owned(), next.to_string());
            asked.headers.insert("flow_rev".to_owned(), "999".to_owned());
            evidence.records.insert(last + 1, asked);
            rows(evidence).last().unwrap().out_last = next;
            relink(evidence);
            let mut again = evidence.transfers[0].clone();
            again.idempotency_key = Some("another attempt".to_owned());
            evidence.transfers[0].status_history.last_mut().unwrap().status = first.to_owned();
            evidence.transfers.push(again);
        })
    };
    assert!(two_attempts("rejected").findings.is_empty());
    let report = two_attempts("settled");
    assert!(report.findings.iter().all(|finding| finding.promise == Promise::Money));
    assert!(report.findings[0].what.contains("paid 2 times"), "{:?}", report.findings);
}

#[test]
fn a_step_that_is_left_out_is_an_illegal_transition() {
    let unchecked = broken(|evidence| {
        let to_fraud = rows(evidence).find(|row| row.after.as_deref() == Some("score_fraud"));
        let (flow, seq) = to_fraud.map(|row| (row.flow.clone(), row.seq)).unwrap();
        for row in rows(evidence).filter(|row| row.flow == flow) {
            if row.seq == seq {
                row.after = Some("send".to_owned());
            } else if row.before.as_deref() == Some("score_fraud") {
                row.before = Some("send".to_owned());
            }
        }
        relink(evidence);
    });
    assert_eq!(unchecked, [Promise::Transitions]);
    let elsewhere = broken(|evidence| {
        let row = rows(evidence).find(|row| row.before.as_deref() == Some("score_fraud"));
        row.unwrap().before = Some("review_fraud".to_owned());
        relink(evidence);
    });
    assert_eq!(elsewhere, [Promise::Transitions]);
    let unknown = broken(|evidence| {
        rows(evidence).for_each(|row| row.version = row.version.map(|_| 99));
        relink(evidence);
    });
    assert_eq!(unknown, [Promise::Transitions]);
}

#[test]
fn a_chain_that_is_changed_anywhere_is_found() {
    type Change = fn(&mut Evidence);
    let plants: [(&str, Change); 5] = [
        ("altered", |evidence| rows(evidence).nth(3).unwrap().reason.push('!')),
        ("cut", |evidence| {
            let last = evidence.export.iter().rposition(|line| matches!(line, Line::Row(_)));
            evidence.export.remove(last.unwrap());
        }),
        ("not from the beginning", |evidence| {
            let first = evidence.export.iter().position(|line| matches!(line, Line::Row(_)));
            evidence.export.remove(first.unwrap());
        }),
        ("reordered", |evidence| {
            let first = evidence.export.iter().position(|line| matches!(line, Line::Row(_)));
            let first = first.unwrap();
            evidence.export.swap(first, first + 1);
        }),
        ("written anew", |evidence| {
            let anchors = evidence.export.clone();
            rows(evidence).next().unwrap().reason.push('!');
            relink(evidence);
            let anchors = anchors.into_iter().filter(|line| matches!(line, Line::Anchor { .. }));
            evidence.export.splice(1..1, anchors);
        }),
    ];
    for (what, plant) in plants {
        let found = broken(plant);
        assert!(found.contains(&Promise::Chain), "{what}: {found:?}");
    }
}

#[test]
fn time_to_recover_is_measured_and_a_lane_that_never_works_again_is_found() {
    let evidence = recorded();
    let times = evidence.records.iter().filter(|record| record.headers.contains_key("lane_seq"));
    let mut times: Vec<i64> = times.map(|record| record.at_ms).collect();
    times.sort_unstable();
    let fault = |over_ms| Fault {
        what: "a fault".to_owned(),
        began_ms: over_ms,
        lanes: BTreeSet::new(),
        over_ms,
    };
    let report = judge(&evidence, &[fault(times[5] - 7)]);
    assert!(report.findings.is_empty());
    assert!(report.recoveries[0].worst_ms().is_some_and(|worst| (0..=7).contains(&worst)));
    assert_eq!(report.recoveries[0].others_worst_ms(), None, "everybody was hit");
    let lanes: Vec<i64> = report.recoveries[0].lanes_ms.clone();
    let elsewhere = Fault { lanes: BTreeSet::from([-1]), ..fault(times[5] - 7) };
    let report = judge(&evidence, &[elsewhere]);
    assert_eq!((&report.recoveries[0].others_ms, report.recoveries[0].worst_ms()), (&lanes, None));
    let report = judge(&evidence, &[fault(times.last().unwrap() + 1)]);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].promise, Promise::Recovery);
    assert_eq!(report.recoveries[0].worst_ms(), None);
}

#[test]
fn journeys_lead_where_their_files_say() {
    let graphs = Graph::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../journeys"));
    let graphs = graphs.unwrap();
    let payout = graphs.iter().find(|graph| graph.journey == "payout").unwrap();
    for (before, after) in [
        (None, "recognise_customer"),
        (None, "repair_amount"),
        (Some("screen_parties"), "score_fraud"),
        (Some("screen_parties"), "compliance_hold"),
        (Some("compliance_hold"), "score_fraud"),
        (Some("compliance_hold"), "cancelled"),
        (Some("confirm_identity"), "declined_step_up"),
        (Some("await_customer"), "screen_parties"),
        (Some("settle_doubt"), "cancelled"),
        // The answer to the payment itself, when it comes while it is asked about.
        (Some("settle_doubt"), "declined_bank"),
        (Some("settle_doubt"), "repair_payment"),
        (Some("send"), "await_settlement"),
        (Some("recall_payment"), "await_settlement"),
    ] {
        assert!(payout.allows(before, after), "{before:?} to {after}");
    }
    for (before, after) in [
        (None, "send"),
        (Some("screen_parties"), "send"),
        (Some("confirm_identity"), "score_fraud"),
        (Some("compliance_hold"), "send"),
        (Some("send"), "completed"),
        (Some("await_settlement"), "completed"),
        (Some("await_settlement"), "repair_payment"),
        (Some("completed"), "send"),
    ] {
        assert!(!payout.allows(before, after), "{before:?} to {after}");
    }
    assert!(payout.settles_doubt("settle_doubt") && !payout.settles_doubt("await_settlement"));
    assert!(payout.ends("completed") && !payout.ends("send"));
}
