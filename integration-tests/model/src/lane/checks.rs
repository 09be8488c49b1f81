//! What the lane model must never reach, and what it must be able to reach.

use stateright::Property;

use super::parts::{Log, bit};
use super::{LaneModel, State};
use crate::consume;

pub(super) fn properties() -> Vec<Property<LaneModel>> {
    vec![
        Property::always("each input is applied once", |_, s: &State| {
            !s.broken.applied_twice
                && (0..usize::from(s.store.next)).all(|offset| s.applied[offset] == 1)
        }),
        Property::always("nothing is written from stale state", |_, s: &State| {
            !s.broken.stale_write
        }),
        Property::always(
            "a timer fires once, not early, and not after it was taken back",
            |_, s: &State| !s.broken.wrong_timer,
        ),
        Property::always("what is on a topic was committed", |_, s: &State| {
            s.restored
                || s.logs
                    .iter()
                    .flat_map(|log| &log.entries)
                    .all(|entry| s.store.journal.contains(&entry.record))
        }),
        Property::always("what counts as published is on its topic", published_is_there),
        Property::always("a topic without its repeats is dense and in order", |_, s: &State| {
            s.logs.iter().all(in_order)
        }),
        Property::always("a sequence says the same wherever it stands", |_, s: &State| {
            !s.broken.altered
        }),
        Property::always("a consumer applies each record once and skips none", |_, s: &State| {
            !s.broken.skipped && !s.broken.read_twice
        }),
        Property::always(
            "a consumer sees no gap but where the broker lost a tail",
            |_, s: &State| !s.broken.unexplained_gap,
        ),
        Property::always("resuming leaves nothing out", |_, s: &State| !s.broken.left_out),
        Property::sometimes(
            "everything is applied, published and acknowledged",
            |m: &LaneModel, s: &State| {
                usize::from(s.store.next) == m.inputs.len()
                    && s.store.pub_seq == s.store.out_seq()
                    && !s.tail_lost
            },
        ),
        Property::sometimes("a zombie's repeat is on a topic", |_, s: &State| {
            s.logs.iter().any(|log| {
                log.entries.iter().any(|one| {
                    log.entries.iter().any(|other| one.record == other.record && one.by != other.by)
                })
            })
        }),
        Property::sometimes("a commit without an answer was found done", |_, s: &State| {
            unsure(s, 1)
        }),
        Property::sometimes("a commit without an answer was found undone", |_, s: &State| {
            unsure(s, 0)
        }),
        Property::sometimes("two ticks are in flight", |_, s: &State| {
            s.workers.iter().any(|worker| {
                worker.lane.as_ref().is_some_and(|lane| lane.outstanding.count_ones() > 2)
            })
        }),
        Property::sometimes("a lost tail was published again", |_, s: &State| {
            s.logs
                .iter()
                .any(|log| log.entries.iter().any(|entry| log.lost & bit(entry.record.seq) != 0))
        }),
    ]
}

fn published_is_there(_: &LaneModel, s: &State) -> bool {
    s.store.journal.iter().filter(|record| record.seq <= s.store.pub_seq).all(|record| {
        let log = &s.logs[record.output];
        log.holds(record) || log.lost & bit(record.seq) != 0
    })
}

/// Judged by a consumer that starts at what is retained now.
fn in_order(log: &Log) -> bool {
    let retained = log.entries.get(log.start..).unwrap_or_default();
    consume::is_dense(
        log.start == 0,
        retained.iter().map(|entry| (entry.record.seq, entry.record.prev)),
    )
}

/// Whether an unresolved commit moved the lane's row by this much.
fn unsure(s: &State, by: u8) -> bool {
    s.workers.iter().filter_map(|worker| worker.lane.as_ref()).any(|lane| {
        lane.unsure.is_some() && lane.epoch == s.store.epoch && lane.rev + by == s.store.rev
    })
}
