//! The consumers' rule as it is shipped, asked about sequences alone. Contents are compared by the models themselves.

use signalbox_consumer::{ConsumerRule, Sighting, Stream, Verdict};

/// What a record is to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The next one.
    New,
    /// One that was applied before.
    Repeat,
    /// One before which something is missing.
    Gap,
}

/// What a record is to a consumer that applied `last` before; 0 for nothing.
pub(crate) fn judge(last: u8, seq: u8, prev: u8) -> Seen {
    let mut rule = ConsumerRule::new();
    rule.restore(stream(), i64::from(last));
    seen(&mut rule, seq, prev)
}

/// Whether a consumer that begins with the first of these records finds no gap; `complete` where that is the first that
/// ever was.
pub(crate) fn is_dense(complete: bool, mut records: impl Iterator<Item = (u8, u8)>) -> bool {
    let mut rule = ConsumerRule::new();
    if complete {
        rule.restore(stream(), 0);
    }
    records.all(|(seq, prev)| seen(&mut rule, seq, prev) != Seen::Gap)
}

fn seen(rule: &mut ConsumerRule, seq: u8, prev: u8) -> Seen {
    let sighting = Sighting {
        stream: stream(),
        lane_seq: i64::from(seq),
        prev_seq: i64::from(prev),
        content: [0; 32],
    };
    match rule.judge(&sighting) {
        Verdict::Apply => Seen::New,
        Verdict::Duplicate | Verdict::Altered => Seen::Repeat,
        Verdict::Gap { .. } => Seen::Gap,
    }
}

fn stream() -> Stream {
    Stream { topic: String::new(), partition: 0, lane: 0 }
}
