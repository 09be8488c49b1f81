//! What workers and the store do to the forward model's state.
//! Each function is one action of the table in `forward`; a rule that a variant leaves out is marked by its name.

use super::{
    Answer, ForwardModel, FromHome, HOME, Owned, Place, SOURCE, State, Tick, Variant, Worker,
};
use crate::consume::{self, Seen};

/// What becomes of a lane in a tick.
enum Moved {
    To(Place),
    /// A forward before it is missing: a person must look.
    Stop,
}

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
        let lost = self.fenced(model, worker, tick);
        if !lost.is_empty() {
            for lane in tick.lanes() {
                if lost.contains(&lane) {
                    self.workers[worker].lanes[lane] = None;
                } else if model.variant == Variant::RestForgotten {
                    self.move_memory(model, worker, tick, lane);
                }
            }
            return;
        }
        if answer != Answer::LostBeforeCommit {
            for lane in tick.lanes() {
                self.write(model, worker, tick, lane);
            }
        }
        match answer {
            Answer::Comes => self.take_over(model, worker, tick),
            Answer::LostAfterCommit | Answer::LostBeforeCommit => {
                self.workers[worker].unsure = Some(tick);
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

    /// What a tick makes of a lane, from the worker's memory.
    fn decide(
        &self,
        model: &ForwardModel,
        worker: usize,
        tick: Tick,
        lane: usize,
    ) -> Option<Moved> {
        let place = self.workers[worker].lanes[lane]?.place;
        if lane == SOURCE || tick.home == FromHome::Command {
            return Some(Moved::To(Place { next: place.next + 1, ..place }));
        }
        let seq = *self.forwards.get(usize::from(place.at))?;
        let read = Place { at: place.at + 1, seen: seq, ..place };
        let seen = match model.variant {
            Variant::NoPeer => Seen::New,
            _ => consume::judge(place.peer, seq, seq - 1),
        };
        Some(match seen {
            Seen::Repeat => Moved::To(read),
            Seen::Gap if model.variant != Variant::OverGap => Moved::Stop,
            Seen::New | Seen::Gap => Moved::To(Place { peer: seq, ..read }),
        })
    }

    fn write(&mut self, model: &ForwardModel, worker: usize, tick: Tick, lane: usize) {
        let Some(held) = self.workers[worker].lanes[lane] else { return };
        let Some(moved) = self.decide(model, worker, tick, lane) else { return };
        let row = &mut self.rows[lane];
        self.broken.stale |= row.place.next != held.place.next || row.place.at != held.place.at;
        row.rev += 1;
        let to = match moved {
            Moved::To(to) => to,
            Moved::Stop => return row.stopped = true,
        };
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

    fn take_over(&mut self, model: &ForwardModel, worker: usize, tick: Tick) {
        for lane in tick.lanes() {
            self.move_memory(model, worker, tick, lane);
            if let Some(held) = &mut self.workers[worker].lanes[lane] {
                held.rev += 1;
            }
        }
        self.workers[worker].unsure = None;
    }

    fn move_memory(&mut self, model: &ForwardModel, worker: usize, tick: Tick, lane: usize) {
        match self.decide(model, worker, tick, lane) {
            Some(Moved::To(place)) => {
                if let Some(held) = &mut self.workers[worker].lanes[lane] {
                    held.place = place;
                }
            }
            Some(Moved::Stop) => self.workers[worker].lanes[lane] = None,
            None => {}
        }
    }

    /// The lane rows tell whether a commit without an answer happened.
    pub(super) fn resolve(&mut self, model: &ForwardModel, worker: usize) {
        let Some(tick) = self.workers[worker].unsure else { return };
        let rows = self.rows;
        let is = |state: &Self, lane: usize, by: u8| {
            state.workers[worker].lanes[lane].is_some_and(|held| {
                (held.epoch, held.rev + by) == (rows[lane].epoch, rows[lane].rev)
            })
        };
        let surely_not = model.variant == Variant::LostAnswerIsFailure;
        if !surely_not && tick.lanes().all(|lane| is(self, lane, 1)) {
            return self.take_over(model, worker, tick);
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
