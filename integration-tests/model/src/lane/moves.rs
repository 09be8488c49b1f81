//! What workers, brokers and time do to the lane model's state.
//! Each function is one action of the table in `lane`; the rule that a variant leaves out is marked by its name.

use super::parts::{Entry, OUTPUTS, Orphan, Owned, Record, Store, Work, Worker, bit};
use super::{Answer, LaneModel, State, Variant};
use crate::consume::{self, Seen};

impl State {
    /// Whether a worker's view of the lane is that of its owner.
    pub(super) fn is_owner(&self, worker: &Worker) -> bool {
        worker.lane.as_ref().is_some_and(|lane| lane.epoch == self.store.epoch)
    }

    pub(super) fn claim(&mut self, model: &LaneModel, worker: usize) {
        if self.workers.iter().any(|other| self.is_owner(other)) {
            self.faults -= 1;
        }
        self.store.epoch += 1;
        let store = &self.store;
        self.workers[worker].lane = Some(Owned {
            epoch: store.epoch,
            rev: store.rev,
            next: store.next,
            last: store.last(),
            out_seq: store.out_seq(),
            pub_seq: store.pub_seq,
            written_pub_seq: store.pub_seq,
            acked: store.acked,
            outstanding: 0,
            flow: store.flow,
            timer: false,
            unsure: None,
        });
        self.resume(model, worker);
    }

    /// One transaction. What it decides comes from the worker's memory, what it changes is in the store.
    pub(super) fn commit(&mut self, model: &LaneModel, worker: usize, work: Work, answer: Answer) {
        let Some(lane) = self.workers[worker].lane.clone() else { return };
        if answer != Answer::Comes {
            self.faults -= 1;
        }
        if work == Work::Timer && model.variant != Variant::TimerNotLookedUp && !lane.flow.armed {
            // The flow took the timer back after it was read.
            return self.forget_timer(worker);
        }
        if work == Work::Timer && !self.due && !self.may_fire_early(model) {
            return self.forget_timer(worker);
        }
        if !self.fence_holds(model, &lane) {
            self.workers[worker].lane = None;
            return;
        }
        if answer != Answer::LostBeforeCommit {
            self.write(model, &lane, work);
        }
        match answer {
            Answer::Comes => self.take_over(model, worker, work),
            Answer::LostAfterCommit | Answer::LostBeforeCommit => {
                if let Some(lane) = &mut self.workers[worker].lane {
                    lane.unsure = Some(work);
                }
            }
        }
    }

    fn may_fire_early(&self, model: &LaneModel) -> bool {
        matches!(model.variant, Variant::TimerByOwnClock | Variant::TimerNotLookedUp)
    }

    fn forget_timer(&mut self, worker: usize) {
        if let Some(lane) = &mut self.workers[worker].lane {
            lane.timer = false;
        }
    }

    fn fence_holds(&self, model: &LaneModel, lane: &Owned) -> bool {
        match model.variant {
            Variant::NoFence => true,
            Variant::FenceByOffset => lane.next == self.store.next,
            Variant::LostAnswerIsFailure => lane.epoch == self.store.epoch,
            _ => (lane.epoch, lane.rev) == (self.store.epoch, self.store.rev),
        }
    }

    fn write(&mut self, model: &LaneModel, lane: &Owned, work: Work) {
        let store = &mut self.store;
        store.rev += 1;
        store.pub_seq = lane.pub_seq;
        store.acked = lane.acked;
        if matches!(work, Work::Input(_)) {
            let times = &mut self.applied[usize::from(lane.next)];
            self.broken.applied_twice |= *times > 0;
            *times = 1;
            if model.variant != Variant::OffsetOutside {
                store.next = lane.next + 1;
            }
        }
        let flow = decided_from(model, lane, work);
        let Some((flow, outputs)) = flow.step(work) else { return };
        self.broken.stale_write |= store.flow.rev + 1 != flow.rev;
        self.broken.wrong_timer |= work == Work::Timer && !(store.flow.armed && self.due);
        store.flow = flow;
        self.due = false;
        store.journal.extend(records(lane, outputs, work));
        if model.variant == Variant::MarkedBeforeAck {
            store.pub_seq = store.out_seq();
        }
    }

    /// After the commit: memory follows, and records go to the producer in sequence order.
    fn take_over(&mut self, model: &LaneModel, worker: usize, work: Work) {
        let me = &mut self.workers[worker];
        let Some(lane) = &mut me.lane else { return };
        lane.written_pub_seq = lane.pub_seq;
        lane.unsure = None;
        lane.rev += 1;
        match work {
            Work::Input(_) => lane.next += 1,
            Work::Timer => lane.timer = false,
            Work::Acks => {}
        }
        if let Some((flow, outputs)) = decided_from(model, lane, work).step(work) {
            for record in records(lane, outputs, work) {
                lane.last[record.output] = record.seq;
                lane.out_seq = record.seq;
                lane.outstanding |= bit(record.seq);
                me.producer.queue[record.output].push(record);
            }
            lane.flow = flow;
        }
        lane.settle();
    }

    /// The lane row tells whether a commit without an answer happened.
    pub(super) fn resolve(&mut self, model: &LaneModel, worker: usize) {
        let Some(lane) = &mut self.workers[worker].lane else { return };
        let Some(work) = lane.unsure else { return };
        let (epoch, rev) = (self.store.epoch, self.store.rev);
        let done = match model.variant {
            Variant::LostAnswerIsFailure => false,
            Variant::LostAnswerIsSuccess => true,
            _ => (epoch, rev) == (lane.epoch, lane.rev + 1),
        };
        if done {
            return self.take_over(model, worker, work);
        }
        lane.unsure = None;
        let again = model.variant == Variant::LostAnswerIsFailure;
        if !again && (epoch, rev) != (lane.epoch, lane.rev) {
            self.workers[worker].lane = None;
        }
    }

    /// The broker takes the next record of an output, and its acknowledgement comes.
    pub(super) fn append(&mut self, model: &LaneModel, worker: usize, output: usize) {
        let producer = &mut self.workers[worker].producer;
        if producer.severed[output] {
            return self.replace_producer(model, worker, None);
        }
        let record = producer.queue[output].remove(0);
        producer.tip[output] = record.seq;
        let offset = self.put(Entry { record, by: worker });
        let Some(lane) = &mut self.workers[worker].lane else { return };
        lane.outstanding &= !bit(record.seq);
        lane.acked[output] = lane.acked[output].max(offset + 1);
        lane.settle();
        if model.variant == Variant::MarkedOverHoles {
            lane.pub_seq = lane.pub_seq.max(record.seq);
        }
    }

    fn put(&mut self, entry: Entry) -> u8 {
        let record = entry.record;
        let (log, reader) = (&mut self.logs[record.output], &mut self.readers[record.output]);
        let offset = log.end();
        let same = |other: &&Entry| other.record.seq == record.seq;
        self.broken.altered |= log.entries.iter().find(same).is_some_and(|it| it.record != record);
        log.entries.push(entry);
        // Where the tail was lost, a reader may be ahead: it misses what is put below.
        if reader.at == offset {
            reader.at += 1;
            match consume::judge(reader.last, record.seq, record.prev) {
                Seen::New => {
                    let below =
                        self.store.journal.iter().filter(|other| {
                            other.output == record.output && other.seq < record.seq
                        });
                    self.broken.skipped |=
                        below.into_iter().any(|other| reader.applied & bit(other.seq) == 0);
                    self.broken.read_twice |= reader.applied & bit(record.seq) != 0;
                    reader.applied |= bit(record.seq);
                    reader.last = record.seq;
                }
                Seen::Repeat => {}
                Seen::Gap => self.broken.unexplained_gap |= !self.tail_lost,
            }
        }
        u8::try_from(offset).unwrap_or(u8::MAX)
    }

    pub(super) fn fail(&mut self, model: &LaneModel, worker: usize, output: usize, appended: bool) {
        self.faults -= 1;
        let producer = &mut self.workers[worker].producer;
        let refused = producer.severed[output];
        let queue = &mut producer.queue[output];
        let record = queue[0];
        if appended && !refused {
            self.put(Entry { record, by: worker });
        } else if model.variant == Variant::LaterPassesFailed && queue.len() > 1 {
            return queue.swap(0, 1);
        }
        self.replace_producer(model, worker, Some(output));
    }

    /// A new producer; the lane's outputs are settled by what their logs hold. What was in flight on other outputs than
    /// the one that `failed` may still land.
    fn replace_producer(&mut self, model: &LaneModel, worker: usize, failed: Option<usize>) {
        self.drop_producer(worker, failed);
        if self.workers[worker].lane.is_some() {
            self.resume(model, worker);
        }
    }

    fn drop_producer(&mut self, worker: usize, failed: Option<usize>) {
        let producer = std::mem::take(&mut self.workers[worker].producer);
        for (output, queue) in producer.queue.iter().enumerate() {
            let Some(record) = queue.first().filter(|_| failed != Some(output)) else { continue };
            if !producer.severed[output] {
                let after = producer.tip[output];
                self.logs[output].orphan = Some(Orphan { record: *record, by: worker, after });
            }
        }
    }

    pub(super) fn crash(&mut self, worker: usize) {
        self.faults -= 1;
        self.workers[worker].lane = None;
        self.drop_producer(worker, None);
    }

    pub(super) fn land(&mut self, output: usize) {
        if let Some(orphan) = self.logs[output].orphan.take() {
            self.put(Entry { record: orphan.record, by: orphan.by });
        }
    }

    pub(super) fn lose_tail(&mut self, model: &LaneModel, output: usize) {
        self.faults -= 1;
        self.tail_lost = true;
        let log = &mut self.logs[output];
        let Some(entry) = log.entries.pop() else { return };
        log.lost |= bit(entry.record.seq);
        if model.variant == Variant::BrokerForgetsProducer {
            return;
        }
        log.orphan =
            log.orphan.filter(|orphan| (orphan.by, orphan.after) != (entry.by, entry.record.seq));
        let producer = &mut self.workers[entry.by].producer;
        producer.severed[output] |= producer.tip[output] == entry.record.seq;
    }

    pub(super) fn restore(&mut self) {
        self.restored = true;
        self.store = Store::default();
        self.due = false;
        self.applied.fill(0);
        self.workers = Default::default();
        self.logs.iter_mut().for_each(|log| log.orphan = None);
    }

    /// What the journal holds and the topics do not goes to the producer, in order.
    fn resume(&mut self, model: &LaneModel, worker: usize) {
        let Some(lane) = &self.workers[worker].lane else { return };
        let mut found = [0; OUTPUTS];
        for (output, last) in found.iter_mut().enumerate() {
            *last = self.last_on_topic(model, lane, output);
            if *last > lane.out_seq && model.variant != Variant::TopicsNotChecked {
                // Whoever is not the owner any more stops nothing.
                self.store.stopped |= lane.epoch == self.store.epoch;
                self.workers[worker].lane = None;
                return;
            }
        }
        if model.variant == Variant::OneResumePoint {
            found = [found.into_iter().max().unwrap_or(0); OUTPUTS];
        }
        let me = &mut self.workers[worker];
        let Some(lane) = &mut me.lane else { return };
        lane.outstanding = 0;
        for record in &self.store.journal {
            if record.seq > found[record.output] && record.seq <= lane.out_seq {
                lane.outstanding |= bit(record.seq);
                me.producer.queue[record.output].push(*record);
            }
        }
        lane.settle();
        let out_seq = lane.out_seq;
        self.broken.left_out |= self.store.journal.iter().any(|record| {
            record.seq <= out_seq
                && !self.logs[record.output].holds(record)
                && !me.producer.queue[record.output].contains(record)
        });
    }

    /// The lane's last sequence on an output: from the last acknowledged offset on, else backwards from the end.
    fn last_on_topic(&self, model: &LaneModel, lane: &Owned, output: usize) -> u8 {
        let log = &self.logs[output];
        let acked = usize::from(lane.acked[output]);
        let cut = acked > log.end();
        if cut && model.variant == Variant::LostTailIgnored {
            return lane.last[output];
        }
        let tail = log.last_in(acked.saturating_sub(1), log.end());
        if let Some(last) = tail.or_else(|| log.last_in(0, log.end())) {
            return last;
        }
        let hidden = cut && model.variant != Variant::ExpiryHidesLostTail;
        if log.start > 0 && !hidden { lane.pub_seq.min(lane.last[output]) } else { 0 }
    }
}

/// The flow as the worker has it. A timer that is not looked up fires as if it were still set.
fn decided_from(model: &LaneModel, lane: &Owned, work: Work) -> super::parts::Flow {
    let mut flow = lane.flow;
    if work == Work::Timer && model.variant == Variant::TimerNotLookedUp {
        flow.stage = super::parts::Stage::Waiting;
    }
    flow
}

/// Records of a decision with their places.
fn records(lane: &Owned, outputs: Vec<usize>, says: Work) -> Vec<Record> {
    let mut last = lane.last;
    let place = |(seq, output): (u8, usize)| {
        let prev = std::mem::replace(&mut last[output], seq);
        Record { output, seq, prev, says }
    };
    (lane.out_seq + 1..).zip(outputs).map(place).collect()
}
