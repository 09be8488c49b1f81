//! What adapters, vendors and time do to the effect model's state.
//! Each function is one action of the table in `effect`; a rule that a variant leaves out is marked by its name.

use super::judge::{self, Course, Found};
use super::parts::{ADAPTERS, Desk, Disposition, Money, Question, Word};
use super::{EffectModel, Fate, State, Variant};

impl State {
    /// A request is taken: its permit, or what an earlier one allows.
    pub(super) fn take(&mut self, model: &EffectModel, desk: usize, group: usize, answered: bool) {
        let terms = model.terms;
        let attempt = &mut self.attempts[group];
        let question = Question::Send;
        if attempt.disposition == Disposition::Planned && !self.held {
            attempt.disposition = Disposition::Sending;
            attempt.sends = 1;
            attempt.age = 0;
            if answered {
                self.desks[desk] = Desk::Ready { group, sends: 1, question, fresh: true };
            } else {
                self.faults -= 1;
            }
            return;
        }
        if !answered {
            return;
        }
        if model.variant == Variant::SentBeforePermit
            && attempt.disposition == Disposition::Abandoned
        {
            // The bytes left while the permit was asked for.
            self.vendor[group].adrift_young = 1;
            return;
        }
        self.desks[desk] = match judge::on_permit(attempt, terms, self.held) {
            Course::Resend(sends) => Desk::Raising { group, sends, question, fresh: true },
            Course::Inquire(sends) if model.variant == Variant::WholeWindow && attempt.age < 2 => {
                Desk::Raising { group, sends, question, fresh: true }
            }
            Course::Inquire(sends) => Desk::Asking { group, sends, question },
            Course::Publish(money) => {
                self.tell(group, money.word());
                Desk::Idle
            }
            Course::Nothing => Desk::Idle,
        };
    }

    pub(super) fn take_inquiry(&mut self, desk: usize, group: usize) {
        match judge::on_inquiry(&self.attempts[group]) {
            Ok(sends) => {
                self.desks[desk] = Desk::Asking { group, sends, question: Question::Inquiry };
            }
            Err(Found::Refused) => self.tell(group, Some(Word::NotExecuted)),
            Err(Found::Executed | Found::Nothing) => {}
        }
    }

    /// The vendor is asked by our reference.
    pub(super) fn ask(&mut self, model: &EffectModel, desk: usize) {
        let Desk::Asking { group, sends, question } = self.desks[desk] else { return };
        let vendor = self.vendor[group];
        let found = match (vendor.effects > 0, vendor.refused) {
            (true, _) => Found::Executed,
            (false, true) => Found::Refused,
            (false, false) => Found::Nothing,
        };
        let unknown = found == Found::Nothing;
        if unknown && model.variant == Variant::ResentWithoutKey {
            self.attempts[group].sends += 1;
            self.desks[desk] = Desk::Ready { group, sends: sends + 1, question, fresh: true };
            return;
        }
        let usable = judge::key_usable(&self.attempts[group], model.terms);
        if unknown && usable && question == Question::Inquiry {
            self.desks[desk] = Desk::Raising { group, sends, question, fresh: true };
            return;
        }
        let found = match found {
            Found::Nothing if model.variant == Variant::NotFoundIsProof => Found::Refused,
            found => found,
        };
        let money = judge::found(found, sends, model.terms);
        self.desks[desk] = Desk::Done { group, sends, question, money, firm: true };
    }

    /// `sends` is raised before a resend, by compare.
    pub(super) fn raise(&mut self, model: &EffectModel, desk: usize) {
        let Desk::Raising { group, sends, question, fresh } = self.desks[desk] else { return };
        let attempt = &mut self.attempts[group];
        let settled = attempt.is_final() && model.variant != Variant::ResendOverResult;
        let ours = attempt.sends == sends && attempt.disposition == Disposition::Sending;
        if !ours || settled || self.held || sends >= model.sends_max {
            self.desks[desk] = Desk::Idle;
            return;
        }
        let sends = if model.variant == Variant::ResendUncounted { sends } else { sends + 1 };
        attempt.sends = sends;
        let fresh = fresh || model.variant == Variant::ResendNeverAges;
        self.desks[desk] = Desk::Ready { group, sends, question, fresh };
    }

    /// In the same conversation, an answer that says nothing is tried for again under the key.
    pub(super) fn again(&mut self, desk: usize) {
        let Desk::Done { group, sends, question, money: Money::InDoubt, firm: false } =
            self.desks[desk]
        else {
            return;
        };
        if self.attempts[group].age == 0 {
            self.desks[desk] = Desk::Raising { group, sends, question, fresh: true };
        }
    }

    pub(super) fn leave(&mut self, model: &EffectModel, desk: usize) {
        let Desk::Ready { group, sends, question, fresh } = self.desks[desk] else { return };
        self.desks[desk] = if fresh || model.variant == Variant::PermitNeverAges {
            Desk::Out { group, sends, question, young: self.attempts[group].age == 0 }
        } else {
            let money = judge::unsent(sends, model.terms);
            Desk::Done { group, sends, question, money, firm: false }
        };
    }

    /// The vendor gets the bytes.
    pub(super) fn arrive(&mut self, model: &EffectModel, desk: usize, fate: Fate, answered: bool) {
        let Desk::Out { group, sends, question, .. } = self.desks[desk] else { return };
        let answer = self.execute(model, group, fate);
        if !answered {
            self.faults -= 1;
        }
        let money = match answer {
            _ if !answered => Money::InDoubt,
            Fate::Executed => Money::Accepted,
            Fate::Refused if model.variant == Variant::RefusalAlwaysProof => Money::Rejected,
            Fate::Refused if judge::refusal_holds(sends, model.terms) => Money::Rejected,
            Fate::Refused => Money::InDoubt,
        };
        self.desks[desk] = Desk::Done { group, sends, question, money, firm: false };
    }

    /// What the vendor makes of a payment; what it knows under the key, it answers.
    fn execute(&mut self, model: &EffectModel, group: usize, fate: Fate) -> Fate {
        let vendor = &mut self.vendor[group];
        let known = vendor.key.filter(|_| model.variant != Variant::VendorIgnoresKey);
        let answer = known.unwrap_or(fate);
        if known.is_none() {
            match fate {
                Fate::Executed => vendor.effects += 1,
                Fate::Refused => vendor.refused |= model.terms.replays_refusals,
            }
        }
        let remembered = match answer {
            Fate::Executed => model.terms.honours_keys,
            Fate::Refused => model.terms.replays_refusals,
        };
        if remembered {
            vendor.key = Some(answer);
        }
        answer
    }

    /// A request arrives whose sender does not wait any more.
    pub(super) fn drift(&mut self, model: &EffectModel, group: usize, young: bool, fate: Fate) {
        let vendor = &mut self.vendor[group];
        if young {
            vendor.adrift_young -= 1;
        } else {
            vendor.adrift_old -= 1;
        }
        self.execute(model, group, fate);
    }

    fn set_adrift(&mut self, desk: usize) {
        if let Desk::Out { group, young, .. } = self.desks[desk] {
            let vendor = &mut self.vendor[group];
            if young {
                vendor.adrift_young += 1;
            } else {
                vendor.adrift_old += 1;
            }
        }
    }

    pub(super) fn give_up(&mut self, desk: usize) {
        let Desk::Out { group, sends, question, .. } = self.desks[desk] else { return };
        self.faults -= 1;
        self.set_adrift(desk);
        self.desks[desk] =
            Desk::Done { group, sends, question, money: Money::InDoubt, firm: false };
    }

    pub(super) fn crash(&mut self, desk: usize) {
        self.faults -= 1;
        self.stop_desk(desk);
    }

    pub(super) fn stop_desk(&mut self, desk: usize) {
        self.set_adrift(desk);
        self.desks[desk] = Desk::Idle;
    }

    /// The answer is stored with its attempt and told.
    pub(super) fn keep(&mut self, model: &EffectModel, desk: usize) {
        let Desk::Done { group, sends, question, money, firm } = self.desks[desk] else { return };
        self.desks[desk] = Desk::Idle;
        let attempt = &mut self.attempts[group];
        let counted = attempt.sends == sends
            || !judge::refusal_rests_on_sends(sends, model.terms)
            || matches!(model.variant, Variant::RefusalByOwnCount | Variant::RefusalAlwaysProof);
        let money = match money {
            // Somebody else has sent it meanwhile: the refusal of one send proves nothing about the other.
            Money::Rejected if !firm && !counted => Money::InDoubt,
            money => money,
        };
        let kept = question == Question::Send || !firm;
        if kept && money != Money::Unavailable && !attempt.is_final() {
            attempt.result = Some(money);
        }
        self.tell(group, money.word());
    }

    /// Half a window passes for an attempt: permits are too old now.
    pub(super) fn tick(&mut self, group: usize) {
        self.attempts[group].age += 1;
        if self.attempts[group].age == 2 {
            // What left below half the window has arrived or never will.
            self.vendor[group].adrift_young = 0;
        }
        for desk in &mut self.desks {
            if desk.group() != Some(group) {
                continue;
            }
            if let Desk::Ready { fresh, .. } | Desk::Raising { fresh, .. } = desk {
                *fresh = false;
            }
        }
    }

    /// Whether bytes are out that left below half the window.
    pub(super) fn young_is_out(&self, group: usize) -> bool {
        self.desks
            .iter()
            .any(|desk| matches!(desk, Desk::Out { group: at, young: true, .. } if *at == group))
    }

    /// Whether nothing can reach the vendor any more from what is under way.
    pub(super) fn is_quiet(&self) -> bool {
        let idle = (0..ADAPTERS).all(|desk| {
            !matches!(self.desks[desk], Desk::Ready { fresh: true, .. } | Desk::Out { .. })
        });
        idle && self.vendor.iter().all(|vendor| vendor.adrift_young + vendor.adrift_old == 0)
    }
}
