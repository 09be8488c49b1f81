//! One lane with two outputs: claim, commit, publish, resume (protocol sections 2 to 5).
//!
//! Covers: the fence by epoch and revision; offset, flow, timer and journal in one transaction; commits whose answer is
//! lost, and their resolution by the lane row; batch n+1 committed while n is published; `pub_seq` over contiguous
//! acknowledgements; a resume per output by reading its tail, also where the broker lost it or everything expired;
//! producers that are replaced, requests in flight from the dead, zombies; a restored database; consumers by the rule
//! that is shipped to them (`signalbox_consumer`); timers.
//! Assumes: a transaction is all or nothing, and reading the lane row waits for one under way; the broker refuses what
//! does not follow a producer's last record (`BrokerForgetsProducer` shows what follows where it forgets), and loses no
//! tail that another producer wrote and on which a worker relies (`TailLostUnseen`: consumers see the gap); nothing
//! expires that a consumer has not read; all processes are stopped while a database is restored.
//! Leaves out: what a flow does at vendors (`effect`), several lanes and forwards (`forward`), parking, migrations,
//! personal data, several flows, batches of more than one record (a batch is as atomic as a record).
//!
//! | action | code |
//! |---|---|
//! | `Claim` | `engine/store/src/tables/lane.rs` `claim`, `engine/worker/src/worker/leases.rs` `begin_lane`, `claim.rs` `begin`, `resume` |
//! | `Commit` | `engine/worker/src/worker/tick.rs` `apply`, `take_over`, `flush_acks`; `decide.rs` `moves_on`, `timer`; `engine/store/src/postgres.rs` `prepare`, `commit` |
//! | `Resolve` | `engine/store/src/postgres.rs` `resolve` |
//! | `Append` | `engine/worker/src/lane.rs` `acknowledged`, `settle`, `merge_acks` |
//! | `Fail` | `engine/worker/src/worker.rs` `replace_producer`, `worker/leases.rs` `resume_lane` |
//! | tail read | `engine/worker/src/claim.rs` `last_on_topic`, `republish` |
//! | `ReadTimer` | `engine/worker/src/worker/tick.rs` `take_timers` |
//! | `Crash`, `Land`, `LoseTail`, `Expire`, `TimePasses`, `Restore` | the world |

mod checks;
mod moves;
mod parts;

use parts::{Broken, Log, OUTPUTS, Reader, Store, WORKERS, Work, Worker};
use stateright::{Model, Property};

use crate::explore::Protocol;
pub use parts::Input;

/// The protocol, or what is left of it without one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As designed.
    Sound,
    /// A commit looks at neither epoch nor revision.
    NoFence,
    /// A commit compares the input's offset alone, and decides from what is cached.
    FenceByOffset,
    /// The offset is kept in a transaction of its own.
    OffsetOutside,
    /// A commit says that what it publishes is published.
    MarkedBeforeAck,
    /// The highest acknowledgement counts, whatever is missing below.
    MarkedOverHoles,
    /// The producer sends a record although the one before it failed.
    LaterPassesFailed,
    /// Publishing is resumed after the highest sequence found on any output.
    OneResumePoint,
    /// Where a log ends before its last acknowledged offset, everything counts as published.
    LostTailIgnored,
    /// Where a log has expired records and none of the lane's, what was acknowledged counts as published although the
    /// broker lost the tail.
    ExpiryHidesLostTail,
    /// A claim does not look whether the topics are ahead of the store.
    TopicsNotChecked,
    /// A commit without an answer counts as failed, and the fence is the epoch alone.
    LostAnswerIsFailure,
    /// A commit without an answer counts as done.
    LostAnswerIsSuccess,
    /// A timer that was read as due fires whatever the flow says by now.
    TimerNotLookedUp,
    /// Timers are judged by a clock that runs ahead of the database's.
    TimerByOwnClock,
    /// The broker takes any record of a producer whose records it has lost.
    BrokerForgetsProducer,
    /// A tail is lost on which a worker relies whose own producer did not write it: nobody refuses what follows.
    TailLostUnseen,
}

/// How far the model goes.
#[derive(Debug, Clone)]
pub struct LaneModel {
    /// Which rule is missing.
    pub variant: Variant,
    /// What the lane reads.
    pub inputs: Vec<Input>,
    /// Crashes, lost answers, failed deliveries, lost tails and claims from a live owner, all together, at most.
    pub faults: u8,
    /// Records that expire at most.
    pub expiries: u8,
    /// Whether the database may be restored once, to before the first commit.
    pub restore: bool,
}

/// A state of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    store: Store,
    /// Whether the flow's timer is due.
    due: bool,
    logs: [Log; OUTPUTS],
    readers: [Reader; OUTPUTS],
    workers: [Worker; WORKERS],
    faults: u8,
    expiries: u8,
    restored: bool,
    tail_lost: bool,
    /// How often each input was applied.
    applied: Vec<u8>,
    broken: Broken,
}

/// How the answer to a commit fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It comes.
    Comes,
    /// It is lost, and the transaction was committed.
    LostAfterCommit,
    /// It is lost, and the transaction was not committed.
    LostBeforeCommit,
}

/// What may happen next. Numbers are those of workers and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Action {
    Claim(usize),
    CommitInput(usize, Answer),
    CommitTimer(usize, Answer),
    CommitAcks(usize),
    Resolve(usize),
    /// The separate transaction of `OffsetOutside`.
    SaveOffset(usize),
    ReadTimer(usize),
    Append(usize, usize),
    /// A delivery fails or its acknowledgement is lost; the flag says whether the record was appended.
    Fail(usize, usize, bool),
    Crash(usize),
    Land(usize),
    LoseTail(usize),
    Expire(usize),
    TimePasses,
    Restore,
}

impl Model for LaneModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: Store::default(),
            due: false,
            logs: Default::default(),
            readers: Default::default(),
            workers: Default::default(),
            faults: self.faults,
            expiries: self.expiries,
            restored: false,
            tail_lost: false,
            applied: vec![0; self.inputs.len()],
            broken: Broken::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for worker in 0..WORKERS {
            self.worker_actions(state, worker, actions);
        }
        for (output, log) in state.logs.iter().enumerate() {
            if log.orphan.is_some() {
                actions.push(Action::Land(output));
            }
            if state.faults > 0 && self.may_lose_tail(state, output) {
                actions.push(Action::LoseTail(output));
            }
            if state.expiries > 0 && log.start < log.end().min(state.readers[output].at) {
                actions.push(Action::Expire(output));
            }
        }
        if state.store.flow.armed && !state.due {
            actions.push(Action::TimePasses);
        }
        if self.restore && !state.restored && !state.store.journal.is_empty() {
            actions.push(Action::Restore);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim(worker) => state.claim(self, worker),
            Action::CommitInput(worker, answer) => {
                let next = usize::from(state.workers[worker].lane.as_ref()?.next);
                state.commit(self, worker, Work::Input(*self.inputs.get(next)?), answer);
            }
            Action::CommitTimer(worker, answer) => state.commit(self, worker, Work::Timer, answer),
            Action::CommitAcks(worker) => state.commit(self, worker, Work::Acks, Answer::Comes),
            Action::Resolve(worker) => state.resolve(self, worker),
            Action::SaveOffset(worker) => {
                state.store.next = state.workers[worker].lane.as_ref()?.next;
            }
            Action::ReadTimer(worker) => state.workers[worker].lane.as_mut()?.timer = true,
            Action::Append(worker, output) => state.append(self, worker, output),
            Action::Fail(worker, output, appended) => state.fail(self, worker, output, appended),
            Action::Crash(worker) => state.crash(worker),
            Action::Land(output) => state.land(output),
            Action::LoseTail(output) => state.lose_tail(self, output),
            Action::Expire(output) => {
                state.expiries -= 1;
                state.logs[output].start += 1;
            }
            Action::TimePasses => state.due = true,
            Action::Restore => state.restore(),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties()
    }
}

impl LaneModel {
    /// Whether the loss of an output's tail is one that the protocol mends: see `TailLostUnseen`.
    fn may_lose_tail(&self, state: &State, output: usize) -> bool {
        let log = &state.logs[output];
        let Some(entry) = log.entries.last().filter(|_| log.end() > log.start) else {
            return false;
        };
        let seq = entry.record.seq;
        let relies = |(number, worker): (usize, &Worker)| {
            let producer = &worker.producer;
            let wrote = entry.by == number && producer.tip[output] == seq;
            let knows = worker.lane.as_ref().is_some_and(|lane| lane.out_seq >= seq);
            knows && !wrote && !producer.queue[output].contains(&entry.record)
        };
        self.variant == Variant::TailLostUnseen || !state.workers.iter().enumerate().any(relies)
    }

    fn worker_actions(&self, state: &State, worker: usize, actions: &mut Vec<Action>) {
        let me = &state.workers[worker];
        let owner = state.workers.iter().position(|worker| state.is_owner(worker));
        // Which worker is first makes no difference.
        let first = worker == 0 || state.store.epoch > 0;
        let may_claim = owner.is_none() || owner != Some(worker) && state.faults > 0;
        if first && may_claim && !state.store.stopped {
            actions.push(Action::Claim(worker));
        }
        if state.faults > 0 && *me != Worker::default() {
            actions.push(Action::Crash(worker));
        }
        for (output, queue) in me.producer.queue.iter().enumerate() {
            if !queue.is_empty() {
                actions.push(Action::Append(worker, output));
                if state.faults > 0 {
                    actions.push(Action::Fail(worker, output, true));
                    actions.push(Action::Fail(worker, output, false));
                }
            }
        }
        let Some(lane) = &me.lane else { return };
        if lane.unsure.is_some() {
            return actions.push(Action::Resolve(worker));
        }
        let lost = [Answer::LostAfterCommit, Answer::LostBeforeCommit];
        let answers =
            std::iter::once(Answer::Comes).chain(lost).take(if state.faults > 0 { 3 } else { 1 });
        for answer in answers {
            if usize::from(lane.next) < self.inputs.len() {
                actions.push(Action::CommitInput(worker, answer));
            }
            if lane.timer {
                actions.push(Action::CommitTimer(worker, answer));
            }
        }
        if lane.pub_seq > lane.written_pub_seq {
            actions.push(Action::CommitAcks(worker));
        }
        if self.variant == Variant::OffsetOutside && state.store.next != lane.next {
            actions.push(Action::SaveOffset(worker));
        }
        let clock_is_ahead = self.variant == Variant::TimerByOwnClock;
        if state.store.flow.armed && (state.due || clock_is_ahead) && !lane.timer {
            actions.push(Action::ReadTimer(worker));
        }
    }
}

impl Protocol for LaneModel {
    fn ended(&self, state: &State) -> bool {
        let store = &state.store;
        let all = usize::from(store.next) == self.inputs.len() && !store.flow.armed;
        store.stopped || all && store.pub_seq == store.out_seq()
    }
}
