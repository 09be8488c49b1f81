//! One lane as its owner keeps it in memory: where it reads, where it writes, what is not acknowledged yet.
//! Nothing here talks to Kafka or Postgres.

use signalbox_bus::Ack;
use signalbox_schemas::{FlowId, LaneId, StepName, TopicName};
use signalbox_store::{
    ClaimedLane, Forgotten, InputRow, LaneFence, LaneMove, OutputRow, PublishedEnding,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// What a tick moves: copied at its begin, taken over after its commit, thrown away otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LanePosition {
    /// Epoch and revision that the next write must find.
    pub(crate) fence: LaneFence,
    /// Last sequence given out.
    pub(crate) out_seq: i64,
    /// Last journal row.
    pub(crate) journal_seq: i64,
    /// Its hash.
    pub(crate) journal_head: Vec<u8>,
    /// Inputs by topic.
    pub(crate) inputs: BTreeMap<TopicName, InputRow>,
    /// Outputs by topic and partition.
    pub(crate) outputs: BTreeMap<(TopicName, i32), OutputRow>,
    /// Forwards taken, by source lane.
    pub(crate) peers: BTreeMap<LaneId, i64>,
    /// What it knows of a time that the database forgot.
    pub(crate) past: Arc<Past>,
}

/// A time that the database forgot, as far as topics have told of it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Status and reason of final events that are out.
    pub(crate) endings: HashMap<FlowId, (String, Option<String>)>,
    /// Writes that may have been sent, by step and group.
    pub(crate) writes: HashMap<FlowId, Vec<(StepName, u32)>>,
    /// Up to which offset inputs had been read.
    pub(crate) read_before: BTreeMap<TopicName, i64>,
}

impl From<Forgotten> for Past {
    fn from(forgotten: Forgotten) -> Self {
        let mut past = Self::default();
        let ending = |each: PublishedEnding| (each.flow, (each.status, each.reason));
        past.endings.extend(forgotten.endings.into_iter().map(ending));
        for (flow, step, group) in forgotten.writes {
            past.writes.entry(flow).or_default().push((step, group));
        }
        past.read_before.extend(forgotten.read_before);
        past
    }
}

/// A lane that this worker owns.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) position: LanePosition,
    /// Everything up to it is acknowledged, as far as is known now.
    pub(crate) pub_seq: i64,
    /// Journal rows up to it need not be published again.
    pub(crate) pub_journal_seq: i64,
    /// What of that is written already.
    written_pub_seq: i64,
    /// Sequences queued or in flight.
    outstanding: BTreeSet<i64>,
    /// Journal rows whose records are not all acknowledged: position and last sequence.
    unpublished_rows: VecDeque<(i64, i64)>,
    /// Offsets acknowledged since the last write, by output.
    acked: BTreeMap<(TopicName, i32), i64>,
    /// When it last read anything or had nothing to read.
    pub(crate) progress_at: Instant,
    /// When the oldest commit that is not acknowledged was made, and its last sequence.
    publishing: VecDeque<(i64, Instant)>,
}

impl Lane {
    pub(crate) fn new(claimed: ClaimedLane, now: Instant) -> Self {
        let position = LanePosition {
            fence: claimed.fence,
            out_seq: claimed.out_seq,
            journal_seq: claimed.journal_seq,
            journal_head: claimed.journal_head,
            inputs: claimed.inputs.into_iter().map(|row| (row.topic.clone(), row)).collect(),
            outputs: claimed
                .outputs
                .into_iter()
                .map(|row| ((row.topic.clone(), row.partition), row))
                .collect(),
            peers: claimed.peers.into_iter().map(|row| (row.source, row.last_seq)).collect(),
            past: Arc::new(claimed.forgotten.into()),
        };
        Self {
            position,
            pub_seq: claimed.pub_seq,
            pub_journal_seq: claimed.pub_journal_seq,
            written_pub_seq: claimed.pub_seq,
            outstanding: BTreeSet::new(),
            unpublished_rows: VecDeque::new(),
            acked: BTreeMap::new(),
            progress_at: now,
            publishing: VecDeque::new(),
        }
    }

    pub(crate) fn id(&self) -> LaneId {
        self.position.fence.lane
    }

    /// Records queued or in flight.
    pub(crate) fn unpublished(&self) -> usize {
        self.outstanding.len()
    }

    /// True where something is acknowledged that the store does not know yet.
    pub(crate) fn has_unwritten_acks(&self) -> bool {
        self.pub_seq > self.written_pub_seq
    }

    /// Forgets what was in flight: the producer is gone, the log will tell.
    pub(crate) fn forget_in_flight(&mut self) {
        self.outstanding.clear();
        self.unpublished_rows.clear();
        self.publishing.clear();
    }

    /// Takes note of a journal row whose records are being published.
    pub(crate) fn publishing_row(&mut self, journal_seq: i64, out_last: i64) {
        self.unpublished_rows.push_back((journal_seq, out_last));
    }

    /// Takes note of a record handed to the producer.
    pub(crate) fn publishing(&mut self, lane_seq: i64) {
        self.outstanding.insert(lane_seq);
    }

    /// Takes note of when a tick was committed, to measure how long publishing takes.
    pub(crate) fn committed_at(&mut self, now: Instant) {
        if self.publishing.back().is_none_or(|(seq, _)| *seq < self.position.out_seq) {
            self.publishing.push_back((self.position.out_seq, now));
        }
    }

    /// Moves what is known to be published. Returns how long the ticks that are now fully published took.
    pub(crate) fn acknowledged(&mut self, ack: &Ack, now: Instant) -> Vec<std::time::Duration> {
        self.outstanding.remove(&ack.lane_seq);
        if ack.offset >= 0 {
            let offset = self.acked.entry((ack.topic.clone(), ack.partition)).or_insert(ack.offset);
            *offset = ack.offset.max(*offset);
        }
        self.settle(now)
    }

    /// Recomputes what is published after acknowledgements, or when nothing had to be published.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<std::time::Duration> {
        let pub_seq = self.outstanding.first().map_or(self.position.out_seq, |first| first - 1);
        self.pub_seq = pub_seq.max(self.pub_seq);
        while let Some((journal_seq, out_last)) = self.unpublished_rows.front().copied()
            && out_last <= self.pub_seq
        {
            self.pub_journal_seq = journal_seq;
            self.unpublished_rows.pop_front();
        }
        let mut took = Vec::new();
        while let Some((seq, since)) = self.publishing.front().copied()
            && seq <= self.pub_seq
        {
            took.push(now.duration_since(since));
            self.publishing.pop_front();
        }
        took
    }

    /// Acknowledged offsets that the store does not know yet, merged into the given outputs.
    pub(crate) fn merge_acks(
        &self,
        outputs: &mut BTreeMap<(TopicName, i32), OutputRow>,
    ) -> BTreeSet<(TopicName, i32)> {
        let mut changed = BTreeSet::new();
        for (output, offset) in &self.acked {
            if let Some(row) = outputs.get_mut(output)
                && row.last_acked_offset < *offset
            {
                row.last_acked_offset = *offset;
                changed.insert(output.clone());
            }
        }
        changed
    }

    /// The lane row that a tick writes.
    pub(crate) fn row(&self, position: &LanePosition) -> LaneMove {
        LaneMove {
            fence: self.position.fence,
            out_seq: position.out_seq,
            pub_seq: self.pub_seq,
            pub_journal_seq: self.pub_journal_seq,
            journal_seq: position.journal_seq,
            journal_head: position.journal_head.clone(),
        }
    }

    /// Takes over what a committed tick moved.
    pub(crate) fn take_over(&mut self, position: LanePosition) {
        self.position = position;
        self.position.fence.rev += 1;
        self.written_pub_seq = self.pub_seq;
        self.acked.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Lane 0 of one; it has given out 10.
    pub(crate) fn lane() -> Lane {
        let fence = LaneFence { lane: LaneId(0), epoch: 1, rev: 1 };
        let claimed = ClaimedLane {
            fence,
            lanes: 1,
            out_seq: 10,
            pub_seq: 10,
            pub_journal_seq: 4,
            journal_seq: 4,
            journal_head: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            acked_elsewhere: BTreeMap::new(),
            peers: Vec::new(),
            forgotten: Forgotten::default(),
            resting_since: None,
        };
        Lane::new(claimed, Instant::now())
    }

    fn ack(lane_seq: i64) -> Ack {
        Ack { topic: "t".into(), partition: 0, offset: lane_seq, lane: 0, lane_seq }
    }

    #[test]
    fn nothing_counts_as_published_while_something_before_it_is_in_flight() {
        let mut lane = lane();
        lane.position.out_seq = 13;
        (11..=13).for_each(|seq| lane.publishing(seq));
        lane.publishing_row(5, 12);
        lane.publishing_row(6, 13);
        let now = Instant::now();
        lane.acknowledged(&ack(12), now);
        lane.acknowledged(&ack(13), now);
        assert_eq!((lane.pub_seq, lane.pub_journal_seq), (10, 4));
        lane.acknowledged(&ack(11), now);
        assert_eq!((lane.pub_seq, lane.pub_journal_seq), (13, 6));
    }
}
