//! What is missing, as rows: what the database knows, what topics hold, what is concluded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::json;
use signalbox_schemas::{AttemptId, FlowId};
use signalbox_store::{Installation, LaneFence};

use super::*;

const LANE: LaneId = LaneId(3);

fn id(number: u32) -> AttemptId {
    AttemptId(format!("00000000-0000-8000-8000-{number:012}").parse().unwrap())
}

fn attempt(number: u32) -> NewAttempt {
    NewAttempt {
        id: id(number),
        lane: LANE,
        flow: FlowId(id(1_000 + number).0),
        step: "send".into(),
        group: 1,
        capability: "payout.send".to_owned(),
        planned_at: Micros(5),
    }
}

fn row(number: u32, disposition: Disposition) -> AttemptRow {
    AttemptRow {
        plan: attempt(number),
        disposition,
        vendor: None,
        sends: 0,
        request: None,
        first_sent_at: None,
        result: None,
        contradiction: None,
    }
}

/// A database with one lane that gave out 10 sequences, a write that is planned and one that is being sent.
fn remembered() -> Remembered {
    Remembered {
        installation: Installation {
            kafka_cluster: Some("k".to_owned()),
            ..Installation::default()
        },
        lanes: vec![StoredLane {
            fence: LaneFence { lane: LANE, epoch: 7, rev: 70 },
            owner: None,
            out_seq: 10,
        }],
        inputs: Vec::new(),
        outputs: vec![OutputRow {
            lane: LANE,
            topic: "requests".into(),
            partition: 3,
            last_seq: 9,
            last_acked_offset: 40,
        }],
        open_attempts: vec![row(1, Disposition::Planned), row(2, Disposition::Sending)],
        last_journaled: None,
    }
}

fn record(seq: i64, topic: &str, what: What) -> Published {
    Published {
        lane: LANE,
        seq,
        epoch: 9,
        topic: topic.into(),
        partition: 3,
        offset: 40 + seq,
        aggregate: "p-3".to_owned(),
        what,
    }
}

fn ending() -> PublishedEnding {
    let flow = attempt(3).flow;
    PublishedEnding { flow, lane: LANE, status: "completed".to_owned(), reason: None }
}

/// Topics that hold five records more, a write and an ending among them; the write was called and answered.
fn seen() -> Seen {
    let mut seen = Seen {
        published: vec![
            record(10, "requests", What::Other),
            record(11, "requests", What::Write(attempt(3))),
            record(12, "events", What::Other),
            record(13, "events", What::Ending(ending())),
            record(13, "events", What::Ending(ending())),
        ],
        ..Seen::default()
    };
    let id = attempt(3).id;
    seen.told.insert(id, json!({"outcome": "accepted"}));
    seen.called.insert(id, ("bank".to_owned(), Micros(77)));
    seen
}

fn found(seen: Seen, permits: Permits) -> Missing {
    plan("k".to_owned(), &remembered(), &[], seen, permits)
}

#[test]
fn every_write_that_may_have_been_sent_is_named() {
    let found = found(seen(), Permits::MayBeLost);
    let named: Vec<_> = found
        .writes
        .iter()
        .map(|write| (write.plan.id, write.known, write.vendor.as_deref(), write.outcome()))
        .collect();
    assert_eq!(
        named,
        [
            (id(1), Known::Planned, None, None),
            (id(2), Known::Sending, None, None),
            (id(3), Known::Forgotten, Some("bank"), Some("accepted")),
        ]
    );
    let settled = found.settlement("ann", "INC-1");
    assert_eq!(settled.attempts.len(), 3);
    assert_eq!(settled.attempts[2].first_sent_at, Some(Micros(77)));
    assert_eq!(settled.endings, [ending()]);
}

#[test]
fn a_lane_goes_on_after_everything_that_was_published_and_under_an_epoch_that_nobody_had() {
    let found = found(seen(), Permits::MayBeLost);
    assert_eq!(found.gaps, [LaneGap { lane: LANE, stored: 10, seen: 13, records: 3 }]);
    let settled = found.settlement("ann", "INC-1");
    let lane = &settled.lanes[0];
    assert_eq!((lane.out_seq, lane.forgotten), (13, 3));
    assert!(lane.epoch > 9, "{}", lane.epoch);
    let ends: Vec<_> = settled
        .outputs
        .iter()
        .map(|row| (row.topic.as_str(), row.last_seq, row.last_acked_offset))
        .collect();
    assert_eq!(ends, [("events", 13, 53), ("requests", 11, 51)]);
}

#[test]
fn where_topics_hold_no_more_nothing_is_missing() {
    let found = found(Seen::default(), Permits::MayBeLost);
    assert!(found.is_settled());
    assert_eq!(found.settlement("ann", "INC-1").lanes[0].out_seq, 10);
}

#[test]
fn behind_a_synchronous_standby_what_is_planned_stays_planned() {
    let mut moved = remembered();
    moved.installation.timeline = Some("00000001".to_owned());
    moved.installation.current_timeline = "00000002".to_owned();
    let told = |seen, permits| plan("k".to_owned(), &moved, &[], seen, permits);
    let kept = told(Seen::default(), Permits::Kept);
    assert!(!kept.is_settled() && !kept.contradicts());
    assert_eq!(kept.settlement("ann", "INC-1").attempts, []);
    let careful = told(Seen::default(), Permits::MayBeLost).settlement("ann", "INC-1");
    assert_eq!(careful.attempts.len(), 2);
    assert!(told(seen(), Permits::Kept).contradicts(), "topics hold what it never gave out");
    let called = BTreeMap::from([(attempt(1).id, ("bank".to_owned(), Micros(7)))]);
    let seen = Seen { called, ..Seen::default() };
    assert!(told(seen, Permits::Kept).contradicts(), "a planned write was called");
}
