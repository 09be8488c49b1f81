//! Records that were read and wait for a tick, by lane. A tick takes few lanes, all that waits in them, and lanes have
//! turns: each partition that a tick publishes to is a request of its own, so few lanes with many records each cost less
//! than many with few. It decides nothing about records.

use signalbox_bus::Inbound;
use signalbox_schemas::LaneId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What waits. In a lane, records keep the order in which they were read.
pub(super) struct Waiting {
    /// No lane without a record.
    lanes: BTreeMap<LaneId, VecDeque<Arc<Inbound>>>,
    /// Over all lanes.
    records: usize,
    /// The lane whose turn is next, or the first one after it.
    turn: LaneId,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { lanes: BTreeMap::new(), records: 0, turn: LaneId(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.records
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn add(&mut self, lane: LaneId, record: Arc<Inbound>) {
        self.lanes.entry(lane).or_default().push_back(record);
        self.records += 1;
    }

    /// Forgets what waits in a lane.
    pub(super) fn forget(&mut self, lane: LaneId) {
        self.records -= self.lanes.remove(&lane).map_or(0, |records| records.len());
    }

    /// The records of the lanes whose turn it is: lane after lane until there are `enough`, and never more than `at_most`.
    pub(super) fn take(&mut self, enough: usize, at_most: usize) -> Vec<(LaneId, Arc<Inbound>)> {
        let mut taken = Vec::new();
        while taken.len() < enough.min(at_most) {
            let next = self.lanes.range(self.turn..).next().or_else(|| self.lanes.iter().next());
            let Some(lane) = next.map(|(lane, _)| *lane) else { break };
            let mut records = self.lanes.remove(&lane).unwrap_or_default();
            let left_over = records.split_off(records.len().min(at_most - taken.len()));
            taken.extend(records.into_iter().map(|record| (lane, record)));
            if !left_over.is_empty() {
                self.lanes.insert(lane, left_over);
            }
            self.turn = LaneId(lane.0.wrapping_add(1));
        }
        self.records -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_bus::Headers;
    use signalbox_schemas::TopicName;

    /// So many records in each of these lanes.
    fn waiting(lanes: &[(u16, i64)]) -> Waiting {
        let mut waiting = Waiting::new();
        for (lane, count) in lanes {
            for offset in 0..*count {
                let record = Inbound {
                    topic: TopicName::from("payout.commands.v1"),
                    partition: i32::from(*lane),
                    offset,
                    timestamp_ms: 0,
                    key: None,
                    payload: None,
                    headers: Headers::new(),
                };
                waiting.add(LaneId(*lane), Arc::new(record));
            }
        }
        waiting
    }

    /// Lane and offset of what a tick takes.
    fn taken(waiting: &mut Waiting, enough: usize, at_most: usize) -> Vec<(u16, i64)> {
        let records = waiting.take(enough, at_most).into_iter();
        records.map(|(lane, record)| (lane.0, record.offset)).collect()
    }

    #[test]
    fn a_tick_takes_everything_where_that_is_not_too_much() {
        let mut waiting = waiting(&[(0, 1), (3, 2), (7, 1)]);
        assert_eq!(taken(&mut waiting, 10, 20), [(0, 0), (3, 0), (3, 1), (7, 0)]);
        assert!(waiting.is_empty());
        assert_eq!(taken(&mut waiting, 10, 20), []);
    }

    #[test]
    fn a_tick_takes_all_of_a_few_lanes_and_the_others_have_the_next_turns() {
        let mut waiting = waiting(&[(0, 3), (1, 3), (2, 3)]);
        assert_eq!(taken(&mut waiting, 3, 20), [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(taken(&mut waiting, 4, 20).len(), 6);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_lane_where_too_much_waits_has_its_turn_after_the_others() {
        let mut waiting = waiting(&[(0, 5), (1, 1), (2, 1)]);
        assert_eq!(taken(&mut waiting, 2, 2), [(0, 0), (0, 1)]);
        assert_eq!(taken(&mut waiting, 2, 2), [(1, 0), (2, 0)]);
        assert_eq!(taken(&mut waiting, 2, 2), [(0, 2), (0, 3)]);
        assert_eq!(taken(&mut waiting, 2, 2), [(0, 4)]);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn a_lane_that_is_forgotten_leaves_nothing_behind() {
        let mut waiting = waiting(&[(0, 2), (1, 1)]);
        waiting.forget(LaneId(0));
        waiting.forget(LaneId(5));
        assert_eq!(waiting.len(), 1);
        assert_eq!(taken(&mut waiting, 10, 10), [(1, 0)]);
    }
}
