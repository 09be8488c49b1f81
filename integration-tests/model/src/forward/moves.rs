//! What workers and the store do to the forward model's state.
//! Each function is one action of the table in `forward`; a rule that a variant leaves out is marked by its name.

use super::{
    Answer, Decided, ForwardModel, FromHome, HOME, Owned, Place, SOURCE, State, Tick, Variant,
    Worker,
};
use crate::consume::{self, Seen};

impl State {
    /// The worker that owns a lane and knows it.
    pub(super) fn owner(&self, lane: usize) -> Option<usize> {
        let epoch = self.rows[lane].epoch;
        self.workers
            .iter()
            .position(|worker| worker.lanes[lane].is_some_and(|held| held.epoch == epoch))
    }

    /// The newest forward on the topic.
    pub(super) fn newest(&self) -> u8 {
        self.forwards.iter().copied().max().unwrap_or(0)
    }

    /// Whether what the home lane read last is still where it was. A claim looks, and stops the lane where it is not.
    pub(super) fn still_there(&self) -> bool {
        let Place { at, seen, .. } = self.rows[HOME].place;
        at == 0 || self.forwards.get(usize::from(at) - 1) == Some(&seen)
    }

    /// Whether the home lane has read past a forward that a lost tail moved below it. The next forward tells: its
    /// predecessor is not the last one taken.
    pub(super) fn has_missed(&self) -> bool {
        let place = self.rows[HOME].place;
        let below = self.forwards.iter().take(usize::from(place.at));
        self.tail_lost && below.into_iter().any(|seq| *seq > place.peer)
    }

    pub(super) fn claim(&mut self, worker: usize, lane: usize) {
        if self.owner(lane).is_some() {
            self.faults -= 1;
        }
        let row = &mut self.rows[lane];
        row.epoch += 1;
        if lane == HOME && !self.still_there() {
            self.rows[HOME].stopped = true;
            return;
        }
        let row = &self.rows[lane];
        self.workers[worker].lanes[lane] =
            Some(Owned { epoch: row.epoch, rev: row.rev, place: row.place });
        if lane == SOURCE {
            self.workers[worker].sent = self.newest();
        }
    }

    /// One transaction over the lanes of a tick.
    pub(super) fn commit(
        &mut self,
        model: &ForwardModel,
        worker: usize,
        tick: Tick,
        answer: Answer,
    ) {
        if answer != Answer::Comes {
            self.faults -= 1;
        }
        let decided = self.decide(model, worker, tick);
        let lost = self.fenced(model, worker, tick);
        if !lost.is_empty() {
            for lane in tick.lanes() {
                if lost.contains(&lane) {
                    self.workers[worker].lanes[lane] = None;
                } else if model.variant == Variant::RestForgotten {
                    self.move_memory(worker, decided, lane);
                }
            }
            return;
        }
        if answer != Answer::LostBeforeCommit {
            for lane in tick.lanes() {
                self.write(model, worker, decided, lane);
            }
        }
        match answer {
            Answer::Comes => self.take_over(worker, decided),
            Answer::LostAfterCommit | Answer::LostBeforeCommit => {
                self.workers[worker].unsure = Some(decided);
            }
        }
    }

    /// Lanes of the tick that are not the worker's any more.
    fn fenced(&self, model: &ForwardModel, worker: usize, tick: Tick) -> Vec<usize> {
        let looked_at = if model.variant == Variant::FenceOneOfTwo { 1 } else { 2 };
        let holds = |lane: &usize| {
            let (row, held) = (&self.rows[*lane], &self.workers[worker].lanes[*lane]);
            held.is_some_and(|held| {
                let any_rev = model.variant == Variant::LostAnswerIsFailure;
                held.epoch == row.epoch && (any_rev || held.rev == row.rev)
            })
        };
        tick.lanes().take(looked_at).filter(|lane| !holds(lane)).collect()
    }

    /// What a tick makes of its lanes, from the worker's memory.
    fn decide(&self, model: &ForwardModel, worker: usize, tick: Tick) -> Decided {
        let lanes = &self.workers[worker].lanes;
        let next = |place: Place| Place { next: place.next + 1, ..place };
        let source = lanes[SOURCE].map(|source| next(source.place));
        let home = lanes[HOME].map(|home| home.place).and_then(|place| match tick.home {
            FromHome::Nothing => Some(place),
            FromHome::Command => Some(next(place)),
            FromHome::Forward => self.forwarded(model, place),
        });
        Decided { tick, to: [source, home] }
    }

    fn forwarded(&self, model: &ForwardModel, place: Place) -> Option<Place> {
        let seq = *self.forwards.get(usize::from(place.at))?;
        let read = Place { at: place.at + 1, seen: seq, ..place };
        let seen = match model.variant {
            Variant::NoPeer => Seen::New,
            _ => consume::judge(place.peer, seq, seq - 1),
        };
        match seen {
            Seen::Repeat => Some(read),
            Seen::Gap if model.variant != Variant::OverGap => None,
            Seen::New | Seen::Gap => Some(Place { peer: seq, ..read }),
        }
    }

    fn write(&mut self, model: &ForwardModel, worker: usize, decided: Decided, lane: usize) {
        let Some(held) = self.workers[worker].lanes[lane] else { return };
        let row = &mut self.rows[lane];
        self.broken.stale |= row.place.next != held.place.next || row.place.at != held.place.at;
        row.rev += 1;
        let Some(to) = decided.to[lane] else { return row.stopped = true };
        let applied = |set: &mut u8, number: u8, twice: &mut bool| {
            *twice |= *set & (1 << number) != 0;
            *set |= 1 << number;
        };
        if to.next > held.place.next {
            applied(&mut self.commands[lane], held.place.next, &mut self.broken.twice);
        }
        let forward = to.peer != held.place.peer || model.variant == Variant::NoPeer;
        if to.at > held.place.at && forward {
            applied(&mut self.applied, to.peer - 1, &mut self.broken.twice);
        }
        let peer = row.place.peer;
        row.place = to;
        if model.variant == Variant::PeerOutside {
            row.place.peer = peer;
        }
    }

    fn take_over(&mut self, worker: usize, decided: Decided) {
        for lane in decided.tick.lanes() {
            self.move_memory(worker, decided, lane);
            if let Some(held) = &mut self.workers[worker].lanes[lane] {
                held.rev += 1;
            }
        }
        self.workers[worker].unsure = None;
    }

    fn move_memory(&mut self, worker: usize, decided: Decided, lane: usize) {
        let held = &mut self.workers[worker].lanes[lane];
        *held = held.zip(decided.to[lane]).map(|(held, place)| Owned { place, ..held });
    }

    /// The lane rows tell whether a commit without an answer happened.
    pub(super) fn resolve(&mut self, model: &ForwardModel, worker: usize) {
        let Some(decided) = self.workers[worker].unsure else { return };
        let tick = decided.tick;
        let rows = self.rows;
        let is = |state: &Self, lane: usize, by: u8| {
            state.workers[worker].lanes[lane].is_some_and(|held| {
                (held.epoch, held.rev + by) == (rows[lane].epoch, rows[lane].rev)
            })
        };
        let surely_not = model.variant == Variant::LostAnswerIsFailure;
        if !surely_not && tick.lanes().all(|lane| is(self, lane, 1)) {
            return self.take_over(worker, decided);
        }
        self.workers[worker].unsure = None;
        for lane in tick.lanes() {
            if !surely_not && !is(self, lane, 0) && !is(self, lane, 1) {
                self.workers[worker].lanes[lane] = None;
            }
        }
    }

    /// The source's next forward reaches the topic; where its tail was lost, from there on.
    pub(super) fn append(&mut self, worker: usize) {
        let newest = self.newest();
        let Worker { sent, .. } = &mut self.workers[worker];
        *sent = (*sent).min(newest) + 1;
        self.forwards.push(*sent);
    }
}
