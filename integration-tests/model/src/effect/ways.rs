//! What the flow does in the effect model: outcomes, ways out, rulings, and the database that is restored.

use super::parts::{ADAPTERS, Attempt, Disposition, Money, Stage, Told, Way};
use super::{EffectModel, State, Variant};

impl State {
    /// The lane applies an outcome.
    pub(super) fn deliver(&mut self, group: usize, told: Told) {
        self.told[group].take(told);
        if group != usize::from(self.flow.group) {
            // An older attempt is proven not to have happened: what says otherwise is reported, and changes nothing.
            return;
        }
        let open = matches!(self.flow.stage, Stage::Asked | Stage::Doubt);
        if !open {
            return;
        }
        if told == Told::sent(Money::Accepted) || told == Told::EXECUTED {
            self.flow.stage = Stage::Paid;
        } else if told == Told::sent(Money::Rejected) || told == Told::NOT_EXECUTED {
            self.flow.stage = Stage::Free;
        } else if told == Told::sent(Money::InDoubt) {
            self.go_in_doubt();
        }
    }

    fn go_in_doubt(&mut self) {
        self.flow.stage = Stage::Doubt;
        self.flow.asked_about |= 1 << self.flow.group;
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
            Way::Deadline | Way::Hold => self.flow.stage = Stage::Free,
            Way::Cancel | Way::LateCheck | Way::Compensation => self.flow.stage = Stage::Unpaid,
            Way::Migration => {
                self.flow.stage = Stage::Free;
                self.plan_next();
            }
        }
    }

    /// A new group, which may go to another vendor.
    pub(super) fn plan_next(&mut self) {
        let next = usize::from(self.flow.group) + 1;
        if let Some(attempt) = self.attempts.get_mut(next) {
            *attempt = Attempt { disposition: Disposition::Planned, ..Attempt::default() };
            self.flow.group += 1;
            self.flow.stage = Stage::Asked;
        }
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
        self.flow.stage = if executed { Stage::Paid } else { Stage::Free };
    }

    /// The database is as it was before the permit. It is another server now, so money is held.
    pub(super) fn restore(&mut self, model: &EffectModel) {
        self.restored = true;
        for desk in 0..ADAPTERS {
            self.stop_desk(desk);
        }
        self.flow.stage = Stage::Asked;
        self.flow.group = 0;
        self.attempts = Default::default();
        self.attempts[0].disposition = Disposition::Planned;
        self.held = model.variant != Variant::RestoreNotHeld;
    }

    /// What the vendor has of the flow is written down; then money flows again.
    pub(super) fn reconcile(&mut self) {
        self.held = false;
        self.told = Default::default();
        let Some(group) = self.vendor.iter().position(|vendor| vendor.effects > 0) else { return };
        self.attempts[group].disposition = Disposition::Sending;
        self.attempts[group].result = Some(Money::Accepted);
        self.flow.group = u8::try_from(group).unwrap_or(0);
        self.flow.stage = Stage::Paid;
    }
}
