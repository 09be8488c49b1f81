//! The consumers' rule: how a reader of the engine's topics tells a new record from a repeat and from a gap.
//!
//! Pure, with one integer per topic, partition and source lane, and without a dependency, so that a service of another
//! team can take it as it is. It reads no topic and stores nothing: a consumer keeps `position` beside its own offset
//! and restores it at start. It does not apply to topics that adapters publish; those are deduplicated by `ce_id`.

use std::collections::{HashMap, VecDeque};

/// Contents remembered per stream, to tell a repeat from an altered one. Repeats come soon or never.
const CONTENTS_MAX: usize = 4_096;

/// Where records of one lane form one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Lane that published, as its header says.
    pub lane: u16,
}

/// What the rule needs to know of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where it was seen.
    pub stream: Stream,
    /// The record's sequence in its lane.
    pub lane_seq: i64,
    /// The lane's sequence before it in this stream; 0 where it is the lane's first there.
    pub prev_seq: i64,
    /// Hash over what the record says, such as its key and value; all zeros where none is kept, then an alteration is not
    /// noticed.
    pub content: [u8; 32],
}

/// What a consumer does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is next: apply it.
    Apply,
    /// It was applied before: skip it.
    Duplicate,
    /// It has the sequence of a record that was applied, and says something else: stop and page.
    Altered,
    /// A record before it is missing: stop and page, unless retention explains it.
    Gap {
        /// The last sequence that was applied.
        last: i64,
        /// The sequence that ought to have come before this record.
        prev_seq: i64,
    },
}

/// The rule with its memory of one consumer.
#[derive(Debug, Default)]
pub struct ConsumerRule {
    streams: HashMap<Stream, Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    last: i64,
    contents: VecDeque<(i64, [u8; 32])>,
}

impl ConsumerRule {
    /// A consumer that has seen nothing: the first record of each stream is where it starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on after a position that was stored.
    pub fn restore(&mut self, stream: Stream, last: i64) {
        self.streams.insert(stream, Memory { last, contents: VecDeque::new() });
    }

    /// The last sequence applied, to be stored beside the consumer's offset.
    #[must_use]
    pub fn position(&self, stream: &Stream) -> Option<i64> {
        self.streams.get(stream).map(|memory| memory.last)
    }

    /// Judges one record. After a gap the position stays, so every later record of the stream is a gap too.
    pub fn judge(&mut self, seen: &Sighting) -> Verdict {
        match self.streams.get_mut(&seen.stream) {
            None => {
                let mut memory = Memory::default();
                memory.apply(seen);
                self.streams.insert(seen.stream.clone(), memory);
                Verdict::Apply
            }
            Some(memory) if seen.prev_seq == memory.last && seen.lane_seq > memory.last => {
                memory.apply(seen);
                Verdict::Apply
            }
            Some(memory) if seen.lane_seq <= memory.last => memory.repeated(seen),
            Some(memory) => Verdict::Gap { last: memory.last, prev_seq: seen.prev_seq },
        }
    }
}

impl Memory {
    fn apply(&mut self, seen: &Sighting) {
        self.last = seen.lane_seq;
        if self.contents.len() == CONTENTS_MAX {
            self.contents.pop_front();
        }
        self.contents.push_back((seen.lane_seq, seen.content));
    }

    fn repeated(&self, seen: &Sighting) -> Verdict {
        let held = self.contents.iter().rev().find(|(seq, _)| *seq == seen.lane_seq);
        match held {
            Some((_, content)) if *content != seen.content => Verdict::Altered,
            Some(_) | None => Verdict::Duplicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CONTENTS_MAX, ConsumerRule, Sighting, Stream, Verdict};

    fn stream(lane: u16) -> Stream {
        Stream { topic: "payments.payout.events.v1".into(), partition: 3, lane }
    }

    fn record(lane_seq: i64, prev_seq: i64) -> Sighting {
        Sighting { stream: stream(3), lane_seq, prev_seq, content: [7; 32] }
    }

    #[test]
    fn records_in_order_are_applied_whatever_sequence_the_first_has() {
        let mut rule = ConsumerRule::new();
        for (lane_seq, prev_seq) in [(12, 9), (15, 12), (16, 15)] {
            assert_eq!(rule.judge(&record(lane_seq, prev_seq)), Verdict::Apply);
        }
        assert_eq!(rule.position(&stream(3)), Some(16));
    }

    #[test]
    fn a_record_published_again_is_skipped() {
        let mut rule = ConsumerRule::new();
        for (lane_seq, prev_seq, verdict) in [
            (1, 0, Verdict::Apply),
            (4, 1, Verdict::Apply),
            (1, 0, Verdict::Duplicate),
            (4, 1, Verdict::Duplicate),
            (5, 4, Verdict::Apply),
        ] {
            assert_eq!(rule.judge(&record(lane_seq, prev_seq)), verdict, "{lane_seq}");
        }
    }

    #[test]
    fn a_repeat_that_says_something_else_is_noticed() {
        let mut rule = ConsumerRule::new();
        assert_eq!(rule.judge(&record(1, 0)), Verdict::Apply);
        let altered = Sighting { content: [8; 32], ..record(1, 0) };
        assert_eq!(rule.judge(&altered), Verdict::Altered);
    }

    #[test]
    fn contents_are_known_of_the_newest_records_and_of_no_more() {
        let mut rule = ConsumerRule::new();
        for (lane_seq, _) in (1..).zip(0..=CONTENTS_MAX) {
            assert_eq!(rule.judge(&record(lane_seq, lane_seq - 1)), Verdict::Apply);
        }
        let altered = |lane_seq| Sighting { content: [8; 32], ..record(lane_seq, lane_seq - 1) };
        assert_eq!(rule.judge(&altered(1)), Verdict::Duplicate);
        assert_eq!(rule.judge(&altered(2)), Verdict::Altered);
    }

    #[test]
    fn a_record_that_names_itself_as_the_one_before_it_is_no_new_one() {
        let mut rule = ConsumerRule::new();
        assert_eq!(rule.judge(&record(4, 1)), Verdict::Apply);
        assert_eq!(rule.judge(&record(4, 4)), Verdict::Duplicate);
    }

    #[test]
    fn a_missing_record_is_a_gap_until_it_comes() {
        let mut rule = ConsumerRule::new();
        assert_eq!(rule.judge(&record(1, 0)), Verdict::Apply);
        assert_eq!(rule.judge(&record(5, 3)), Verdict::Gap { last: 1, prev_seq: 3 });
        assert_eq!(rule.judge(&record(3, 1)), Verdict::Apply);
        assert_eq!(rule.judge(&record(5, 3)), Verdict::Apply);
    }

    #[test]
    fn lanes_in_one_partition_have_sequences_of_their_own() {
        let mut rule = ConsumerRule::new();
        assert_eq!(rule.judge(&record(7, 0)), Verdict::Apply);
        let forwarded = Sighting { stream: stream(4), ..record(2, 0) };
        assert_eq!(rule.judge(&forwarded), Verdict::Apply);
        assert_eq!(rule.judge(&record(8, 7)), Verdict::Apply);
    }

    #[test]
    fn a_consumer_that_starts_again_goes_on_from_its_stored_position() {
        let mut rule = ConsumerRule::new();
        rule.restore(stream(3), 40);
        assert_eq!(rule.judge(&record(40, 39)), Verdict::Duplicate);
        assert_eq!(rule.judge(&record(44, 40)), Verdict::Apply);
        assert_eq!(rule.judge(&record(46, 45)), Verdict::Gap { last: 44, prev_seq: 45 });
    }
}
