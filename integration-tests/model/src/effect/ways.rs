//! What the flow does in the effect model: outcomes, ways out, rulings, and the database that is restored.

use super::parts::{ADAPTERS, Attempt, Disposition, Money, Stage, Told, Way, Word};
use super::{EffectModel, State, Variant};

impl State {
    /// An outcome is published. What would change nothing is left out: see `Told`.
    pub(super) fn tell(&mut self, group: usize, word: Option<Word>) {
        let current = group == usize::from(self.flow.group);
        let news = match self.flow.stage {
            Stage::Asked => true,
            Stage::Doubt => word != Some(Word::InDoubt),
            Stage::Free | Stage::Paid | Stage::Unpaid => false,
        };
        if let Some(word) = word.filter(|_| current && news) {
            self.told.add(word);
        }
    }

    /// The lane applies an outcome.
    pub(super) fn deliver(&mut self, word: Word) {
        match word {
            Word::Executed => self.settle(Stage::Paid),
            Word::NotExecuted => self.settle(Stage::Free),
            Word::InDoubt => self.go_in_doubt(),
        }
    }

    /// The attempt is settled: what is still told of it changes nothing.
    pub(super) fn settle(&mut self, stage: Stage) {
        self.flow.stage = stage;
        self.told = Told::default();
    }

    fn go_in_doubt(&mut self) {
        self.flow.stage = Stage::Doubt;
        self.flow.asked_about |= 1 << self.flow.group;
        self.told.take(Word::InDoubt);
    }

    /// A way out is the compare-and-set `planned -> abandoned`; lost, it is found out what happened.
    pub(super) fn way_out(&mut self, model: &EffectModel, way: Way) {
        let attempt = &mut self.attempts[usize::from(self.flow.group)];
        let unchecked = model.variant == Variant::WayOutUnchecked(way)
            || model.variant == Variant::SentBeforePermit;
        if attempt.disposition == Disposition::Planned {
            attempt.disposition = Disposition::Abandoned;
        } else if !unchecked || model.variant == Variant::SentBeforePermit {
            return self.go_in_doubt();
        }
        match way {
            Way::Deadline | Way::Hold => self.settle(Stage::Free),
            Way::Cancel | Way::LateCheck | Way::Compensation => self.settle(Stage::Unpaid),
            Way::Migration => {
                self.settle(Stage::Free);
                self.plan_next();
            }
        }
    }

    /// A new group, which may go to another vendor.
    pub(super) fn plan_next(&mut self) {
        let next = usize::from(self.flow.group) + 1;
        let Some(attempt) = self.attempts.get_mut(next) else { return };
        // One that exists stays as it is: it was forgotten, and is known again since reconciling.
        if attempt.disposition == Disposition::Missing {
            attempt.disposition = Disposition::Planned;
        }
        self.flow.group += 1;
        self.flow.highest = self.flow.highest.max(self.flow.group);
        self.settle(Stage::Asked);
    }

    /// Two people find out what is true. The attempt is closed with it: nobody sends it again.
    pub(super) fn rule(&mut self, model: &EffectModel) {
        let group = usize::from(self.flow.group);
        let executed = self.vendor[group].effects > 0;
        let attempt = &mut self.attempts[group];
        if model.variant != Variant::RulingLeavesOpen {
            if attempt.disposition == Disposition::Planned {
                attempt.disposition = Disposition::Abandoned;
            }
            attempt.result = Some(if executed { Money::Accepted } else { Money::Rejected });
        }
        self.settle(if executed { Stage::Paid } else { Stage::Free });
    }

    /// The database is as it was before the permit. It is another server now, so money is held.
    pub(super) fn restore(&mut self, model: &EffectModel) {
        self.restored = true;
        for desk in 0..ADAPTERS {
            self.stop_desk(desk);
        }
        if self.flow.group > 0 {
            self.told = Told::default();
        }
        self.flow.group = 0;
        self.flow.stage = Stage::Asked;
        self.attempts = Default::default();
        self.attempts[0].disposition = Disposition::Planned;
        self.held = model.variant != Variant::RestoreNotHeld;
    }

    /// Every attempt whose request was published may have been sent: it is in doubt, and never sent again.
    pub(super) fn reconcile(&mut self) {
        self.held = false;
        for attempt in self.attempts.iter_mut().take(self.flow.asked() + 1) {
            *attempt = Attempt {
                disposition: Disposition::Sending,
                sends: 1,
                // When it was sent nobody knows: its key is not used any more.
                age: 2,
                result: Some(Money::InDoubt),
            };
        }
    }
}
