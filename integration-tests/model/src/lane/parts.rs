//! What the lane model is made of: the store, the logs, the consumers and the workers, as small values.
//! Nothing here decides who does what; `moves` does.

/// Workers that compete for the lane.
pub(super) const WORKERS: usize = 2;
/// Topics that the lane publishes to, one partition each.
pub(super) const OUTPUTS: usize = 2;

/// What a lane reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// Starts the flow, which sets its timer.
    Start,
    /// Sets the timer anew.
    Note,
    /// Ends the flow, which takes its timer back.
    Answer,
}

/// What a tick takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// The input at the lane's next offset.
    Input(Input),
    /// A timer that was read as due.
    Timer,
    /// Nothing: acknowledgements are written alone.
    Acks,
}

/// Where the flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Stage {
    #[default]
    New,
    Waiting,
    Ended,
}

/// The one flow of the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Flow {
    pub(super) stage: Stage,
    pub(super) armed: bool,
    pub(super) rev: u8,
}

/// A record that the lane publishes, as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) output: usize,
    pub(super) seq: u8,
    /// The lane's sequence before it on the same output.
    pub(super) prev: u8,
    /// What it says: the work that it follows from.
    pub(super) says: Work,
}

/// The rows of the lane in Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Store {
    pub(super) epoch: u8,
    pub(super) rev: u8,
    pub(super) next: u8,
    pub(super) journal: Vec<Record>,
    pub(super) pub_seq: u8,
    /// One above the last acknowledged offset, by output.
    pub(super) acked: [u8; OUTPUTS],
    pub(super) flow: Flow,
    pub(super) stopped: bool,
}

/// A record on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// Worker whose producer appended it.
    pub(super) by: usize,
}

/// A topic: entries below `start` have expired and are kept for the proof alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Log {
    pub(super) start: usize,
    pub(super) entries: Vec<Entry>,
    /// Sequences that the broker acknowledged and lost.
    pub(super) lost: u16,
    /// In flight from a producer that is gone: it may still land.
    pub(super) orphan: Option<Orphan>,
}

/// A request in flight whose producer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Orphan {
    pub(super) record: Record,
    pub(super) by: usize,
    /// What the same producer appended before it; 0 for nothing.
    pub(super) after: u8,
}

/// A consumer of one topic that reads whatever comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Reader {
    pub(super) at: usize,
    pub(super) last: u8,
    pub(super) applied: u16,
}

/// A worker: what it believes of the lane, and its producer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Worker {
    pub(super) lane: Option<Owned>,
    pub(super) producer: Producer,
}

/// The lane as its owner, or whoever takes itself for it, keeps it in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owned {
    pub(super) epoch: u8,
    pub(super) rev: u8,
    pub(super) next: u8,
    /// Last sequence given out on each output, and overall.
    pub(super) last: [u8; OUTPUTS],
    pub(super) out_seq: u8,
    pub(super) pub_seq: u8,
    pub(super) written_pub_seq: u8,
    pub(super) acked: [u8; OUTPUTS],
    pub(super) outstanding: u16,
    pub(super) flow: Flow,
    /// A timer was read as due and waits to be applied.
    pub(super) timer: bool,
    /// A commit whose answer was lost.
    pub(super) unsure: Option<Work>,
}

/// A producer: what it was given and has not delivered, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Producer {
    pub(super) queue: [Vec<Record>; OUTPUTS],
    /// What it appended last, by output; 0 for nothing.
    pub(super) tip: [u8; OUTPUTS],
    /// The broker has lost its last record there and refuses what follows.
    pub(super) severed: [bool; OUTPUTS],
}

/// What must never happen, as soon as it has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Broken {
    pub(super) stale_write: bool,
    pub(super) applied_twice: bool,
    pub(super) skipped: bool,
    pub(super) read_twice: bool,
    pub(super) unexplained_gap: bool,
    pub(super) altered: bool,
    pub(super) left_out: bool,
    pub(super) wrong_timer: bool,
}

impl Flow {
    /// The pure step: the flow afterwards, and what it publishes where. None where the work changes nothing.
    pub(super) fn step(self, work: Work) -> Option<(Self, Vec<usize>)> {
        let (stage, armed, outputs) = match (self.stage, work) {
            (Stage::New, Work::Input(Input::Start)) => (Stage::Waiting, true, vec![0, 1]),
            (Stage::Waiting, Work::Input(Input::Note)) => (Stage::Waiting, true, vec![1]),
            (Stage::Waiting, Work::Input(Input::Answer)) => (Stage::Ended, false, vec![1]),
            (Stage::Waiting, Work::Timer) => (Stage::Waiting, false, vec![0]),
            _ => return None,
        };
        Some((Self { stage, armed, rev: self.rev + 1 }, outputs))
    }
}

impl Store {
    pub(super) fn out_seq(&self) -> u8 {
        self.journal.last().map_or(0, |record| record.seq)
    }

    /// The lane's last sequence on each output.
    pub(super) fn last(&self) -> [u8; OUTPUTS] {
        let mut last = [0; OUTPUTS];
        for record in &self.journal {
            last[record.output] = record.seq;
        }
        last
    }
}

impl Log {
    pub(super) fn end(&self) -> usize {
        self.entries.len()
    }

    /// The highest sequence between two offsets, of what is retained.
    pub(super) fn last_in(&self, from: usize, to: usize) -> Option<u8> {
        let from = from.max(self.start);
        self.entries.get(from..to)?.iter().map(|entry| entry.record.seq).max()
    }

    pub(super) fn holds(&self, record: &Record) -> bool {
        self.entries.iter().any(|entry| entry.record == *record)
    }
}

impl Owned {
    /// `Lane::settle`: everything below the lowest sequence in flight is published.
    pub(super) fn settle(&mut self) {
        let lowest = u8::try_from(self.outstanding.trailing_zeros()).unwrap_or(0);
        let pub_seq = if self.outstanding == 0 { self.out_seq } else { lowest - 1 };
        self.pub_seq = self.pub_seq.max(pub_seq);
    }
}

/// A sequence in a set of sequences.
pub(super) fn bit(seq: u8) -> u16 {
    1 << seq
}
