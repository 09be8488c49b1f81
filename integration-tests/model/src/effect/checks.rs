//! What the effect model must never reach, and what it must be able to reach.

use stateright::Property;

use super::parts::{Desk, Disposition, Question, Stage};
use super::{EffectModel, State};

pub(super) fn properties(model: &EffectModel) -> Vec<Property<EffectModel>> {
    let mut all = vec![
        Property::always("at most one effect per attempt", |_, s: &State| {
            s.vendor.iter().all(|vendor| vendor.effects <= 1)
        }),
        Property::always("a flow pays at most once", |_, s: &State| effects(s) <= 1),
        Property::always("no second attempt before the first is settled", |_, s: &State| {
            s.vendor.iter().take(usize::from(s.flow.group)).all(|vendor| vendor.effects == 0)
        }),
        Property::always("a flow that ended unpaid has not paid", |_, s: &State| {
            s.flow.stage != Stage::Unpaid || effects(s) == 0
        }),
        Property::always("a flow that is paid has paid", |_, s: &State| {
            s.flow.stage != Stage::Paid || effects(s) == 1
        }),
        Property::sometimes("paid at the first attempt", |_, s: &State| {
            s.flow.stage == Stage::Paid && s.flow.group == 0
        }),
        Property::sometimes("paid at the second attempt", |_, s: &State| {
            s.flow.stage == Stage::Paid && s.flow.group == 1
        }),
        Property::sometimes("taken back before it was sent", |_, s: &State| {
            s.flow.stage == Stage::Unpaid && s.attempts[0].disposition == Disposition::Abandoned
        }),
        Property::sometimes("in doubt, and settled as not executed", |_, s: &State| {
            s.flow.stage == Stage::Free && s.flow.asked_about == 1
        }),
        Property::sometimes("in doubt, and settled as executed", |_, s: &State| {
            s.flow.stage == Stage::Paid && s.flow.asked_about == 1
        }),
    ];
    if model.terms.honours_keys {
        all.push(Property::sometimes("sent again under the same key", |_, s: &State| {
            s.desks.iter().any(|desk| matches!(desk, Desk::Out { sends: 2, .. }))
        }));
        all.push(Property::sometimes("a key is too old to be used again", |_, s: &State| {
            s.desks.iter().any(|desk| matches!(desk, Desk::Asking { question: Question::Send, .. }))
        }));
    }
    if model.restore {
        all.push(Property::sometimes("restored, and reconciled as paid", |_, s: &State| {
            s.restored && !s.held && s.flow.stage == Stage::Paid
        }));
    }
    all
}

fn effects(s: &State) -> u8 {
    s.vendor.iter().map(|vendor| vendor.effects).sum()
}
