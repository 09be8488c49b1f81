//! Two lanes: records that arrive at a foreign lane and are forwarded to their home, and ticks over both lanes
//! (protocol sections 1 and 3).
//!
//! Covers: `lane_peer` in the transaction that applies a forward; forwards that are published again; a lost tail of the
//! forwards topic; one tick over two lanes of which one is lost, so that it is dropped and the rest runs again; a
//! commit over two lanes whose answer is lost.
//! Assumes of `lane`: what the source committed reaches the forwards topic in order, each at least once, and a lost tail
//! is published again; a lost tail is noticed by the next record or the next claim.
//! Leaves out: what forwards mean to flows, lanes in different databases, deadlocks (rows are locked in the order of
//! their ids, which a model of whole transactions cannot get wrong).
//!
//! | action | code |
//! |---|---|
//! | `Claim` | `engine/store/src/tables/lane.rs` `claim`; `engine/worker/src/claim.rs` `begin` |
//! | `Commit` | `engine/worker/src/worker/tick.rs` `process`, `apply`; `decide.rs` `moves_on`, `forward`; `engine/store/src/tables/lane.rs` `lock` |
//! | `Resolve` | `engine/store/src/postgres.rs` `resolve` |
//! | `Append` | `engine/worker/src/claim.rs` `republish`, `worker/tick.rs` `take_over` |
//! | `Crash`, `LoseTail` | the world |

mod moves;

use stateright::{Model, Property};

use crate::explore::Protocol;

/// Workers that compete for the lanes.
const WORKERS: usize = 2;
/// The lane at which records arrive that belong elsewhere, and the lane where they belong.
const SOURCE: usize = 0;
const HOME: usize = 1;

/// The protocol, or what is left of it without one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As designed.
    Sound,
    /// A forward is told from a repeat by its offset alone.
    NoPeer,
    /// How far forwards were taken is kept in a transaction of its own.
    PeerOutside,
    /// A forward is taken although one before it is missing.
    OverGap,
    /// Of the lanes of a tick only the first is fenced.
    FenceOneOfTwo,
    /// When a tick is fenced, what the other lanes had in it counts as applied.
    RestForgotten,
    /// A commit without an answer counts as failed, and the fence is the epoch alone.
    LostAnswerIsFailure,
}

/// How far the model goes.
#[derive(Debug, Clone)]
pub struct ForwardModel {
    /// Which rule is missing.
    pub variant: Variant,
    /// Records at the source lane, all of which belong to the home lane.
    pub foreign: u8,
    /// Records at the home lane.
    pub own: u8,
    /// Crashes, lost answers, lost tails and claims from a live owner, all together, at most.
    pub faults: u8,
}

/// A lane's rows in Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Row {
    epoch: u8,
    rev: u8,
    place: Place,
    stopped: bool,
}

/// How far a lane has come: what a tick moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Place {
    /// Next offset of its commands. At the source this is also the last sequence given out: each command is forwarded.
    next: u8,
    /// Next offset of the forwards to it.
    at: u8,
    /// What the last record read there was: the hash that a claim compares.
    seen: u8,
    /// Last sequence taken of the source lane: `lane_peer`.
    peer: u8,
}

/// A lane as a worker keeps it in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Owned {
    epoch: u8,
    rev: u8,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Worker {
    lanes: [Option<Owned>; 2],
    /// A commit whose answer was lost.
    unsure: Option<Decided>,
    /// Last sequence that its producer sent to the forwards topic.
    sent: u8,
}

/// What a tick takes from the home lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FromHome {
    /// Nothing.
    Nothing,
    /// The next command.
    Command,
    /// The next forward.
    Forward,
}

/// What a tick takes from both lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tick {
    /// Whether it takes the source's next command.
    source: bool,
    home: FromHome,
}

/// What a tick makes of the lanes that it touches; none where a forward before it is missing, so that a person must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Decided {
    tick: Tick,
    to: [Option<Place>; 2],
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

/// What must never happen, as soon as it has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Broken {
    twice: bool,
    stale: bool,
}

/// A state of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    rows: [Row; 2],
    /// Sequences on the forwards topic; the source publishes nothing else, so each follows the one below it.
    forwards: Vec<u8>,
    workers: [Worker; WORKERS],
    faults: u8,
    tail_lost: bool,
    /// Commands applied, by lane, and forwards applied: one bit each.
    commands: [u8; 2],
    applied: u8,
    broken: Broken,
}

/// What may happen next. Numbers are those of workers and lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Action {
    Claim(usize, usize),
    Commit(usize, Tick, Answer),
    Resolve(usize),
    /// The separate transaction of `PeerOutside`.
    SavePeer(usize),
    Append(usize),
    Crash(usize),
    LoseTail,
}

impl Model for ForwardModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            rows: Default::default(),
            forwards: Vec::new(),
            workers: Default::default(),
            faults: self.faults,
            tail_lost: false,
            commands: [0; 2],
            applied: 0,
            broken: Broken::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, worker) in state.workers.iter().enumerate() {
            self.claims(state, number, actions);
            if state.faults > 0 && *worker != Worker::default() {
                actions.push(Action::Crash(number));
            }
            if worker.unsure.is_some() {
                actions.push(Action::Resolve(number));
                continue;
            }
            let lost = [Answer::LostAfterCommit, Answer::LostBeforeCommit];
            let answers = std::iter::once(Answer::Comes).chain(lost);
            for answer in answers.take(if state.faults > 0 { 3 } else { 1 }) {
                let ticks = self.ticks(state, worker).into_iter();
                actions.extend(ticks.map(|tick| Action::Commit(number, tick, answer)));
            }
            if let Some(source) = &worker.lanes[SOURCE]
                && (worker.sent < source.place.next || state.newest() < worker.sent)
            {
                actions.push(Action::Append(number));
            }
            if self.variant == Variant::PeerOutside
                && worker.lanes[HOME]
                    .is_some_and(|home| home.place.peer > state.rows[HOME].place.peer)
            {
                actions.push(Action::SavePeer(number));
            }
        }
        if state.faults > 0 && !state.forwards.is_empty() {
            actions.push(Action::LoseTail);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Claim(worker, lane) => state.claim(worker, lane),
            Action::Commit(worker, tick, answer) => state.commit(self, worker, tick, answer),
            Action::Resolve(worker) => state.resolve(self, worker),
            Action::SavePeer(worker) => {
                state.rows[HOME].place.peer = state.workers[worker].lanes[HOME]?.place.peer;
            }
            Action::Append(worker) => state.append(worker),
            Action::Crash(worker) => {
                state.faults -= 1;
                state.workers[worker] = Worker::default();
            }
            Action::LoseTail => {
                state.faults -= 1;
                state.tail_lost = true;
                state.forwards.pop();
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("each input is applied once", |_, s: &State| {
                !s.broken.twice
                    && s.commands
                        .iter()
                        .zip(&s.rows)
                        .all(|(applied, row)| *applied == below(row.place.next))
            }),
            Property::always("nothing is written from stale state", |_, s: &State| !s.broken.stale),
            Property::always("no forward is left behind", |_, s: &State| {
                s.applied & below(s.rows[HOME].place.peer) == below(s.rows[HOME].place.peer)
            }),
            Property::always("only a lost tail stops a lane", |_, s: &State| {
                s.tail_lost || s.rows.iter().all(|row| !row.stopped)
            }),
            Property::sometimes("every forward has come home", |m: &Self, s: &State| m.done(s)),
            Property::sometimes("a forward was published again", |_, s: &State| {
                s.forwards.windows(2).any(|two| two[1] <= two[0])
            }),
            Property::sometimes("a missing forward stopped its home", |_, s: &State| {
                s.rows[HOME].stopped
            }),
            Property::sometimes(
                "of two lanes in a commit without an answer one was lost since",
                |_, s: &State| {
                    s.workers.iter().any(|worker| {
                        let both = worker.unsure.is_some_and(|it| it.tick.lanes().count() == 2);
                        let held = |lane: usize| {
                            worker.lanes[lane].is_some_and(|held| held.epoch == s.rows[lane].epoch)
                        };
                        both && held(SOURCE) != held(HOME)
                    })
                },
            ),
        ]
    }
}

impl ForwardModel {
    fn claims(&self, state: &State, worker: usize, actions: &mut Vec<Action>) {
        for (lane, row) in state.rows.iter().enumerate() {
            let owner = state.owner(lane);
            // Which worker is first makes no difference.
            let first = worker == 0 || state.rows.iter().any(|row| row.epoch > 0);
            let free = owner.is_none() || owner != Some(worker) && state.faults > 0;
            if free && first && !row.stopped {
                actions.push(Action::Claim(worker, lane));
            }
        }
    }

    /// Every tick that has something to take.
    fn ticks(&self, state: &State, worker: &Worker) -> Vec<Tick> {
        let source = worker.lanes[SOURCE].is_some_and(|source| source.place.next < self.foreign);
        let mut from_home = vec![FromHome::Nothing];
        if let Some(home) = &worker.lanes[HOME] {
            if home.place.next < self.own {
                from_home.push(FromHome::Command);
            }
            if usize::from(home.place.at) < state.forwards.len() {
                from_home.push(FromHome::Forward);
            }
        }
        let sources: &[bool] = if source { &[true, false] } else { &[false] };
        let each =
            |home: FromHome| sources.iter().map(move |source| Tick { source: *source, home });
        from_home
            .into_iter()
            .flat_map(each)
            .filter(|tick| tick.source || tick.home != FromHome::Nothing)
            .collect()
    }

    fn done(&self, state: &State) -> bool {
        let [source, home] = &state.rows;
        source.place.next == self.foreign
            && home.place.next == self.own
            && home.place.peer == self.foreign
    }
}

impl Tick {
    /// Lanes that it touches, in the order of their ids.
    fn lanes(self) -> impl Iterator<Item = usize> {
        let home = (self.home != FromHome::Nothing).then_some(HOME);
        self.source.then_some(SOURCE).into_iter().chain(home)
    }
}

impl Protocol for ForwardModel {
    fn ended(&self, state: &State) -> bool {
        self.done(state)
            || state.rows.iter().any(|row| row.stopped)
            || !state.still_there()
            || state.has_missed()
    }
}

/// The set of the first numbers.
fn below(count: u8) -> u8 {
    (1 << count) - 1
}
