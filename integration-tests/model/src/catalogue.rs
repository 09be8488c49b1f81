//! Everything that is explored, with what it must come to: the protocol within bounds, and each variant that lacks one
//! rule with the promise that falls. It knows no rule itself; a variant without a line here is never explored.

use signalbox_adapters::model::Idempotency;
use std::fmt::Debug;
use std::hash::Hash;

use crate::effect::{self, EffectModel, KEYS, NO_KEYS, REPLAYS, Way};
use crate::explore::{EVERYTHING_CAN_END, Explored, Protocol, explore, explore_ends};
use crate::forward::{self, ForwardModel};
use crate::lane::{self, Input, LaneModel};

/// One exploration.
pub struct Case {
    /// Model and its bounds.
    pub model: String,
    /// What is missing of the protocol.
    pub variant: String,
    /// The promise that must fall; none where all must hold.
    pub falls: Option<&'static str>,
    run: Box<dyn Fn(usize) -> Explored>,
}

impl Case {
    /// Explores, with that many threads. Traces are shortest ones with one thread.
    #[must_use]
    pub fn explore(&self, threads: usize) -> Explored {
        (self.run)(threads)
    }

    /// Whether it came to what it must come to, in words.
    ///
    /// # Errors
    /// It did not: what happened instead.
    pub fn verdict(&self, explored: &Explored) -> Result<String, String> {
        match (&self.falls, &explored.violated) {
            (None, None) if explored.unreached.is_empty() => Ok("holds".to_owned()),
            (None, None) => Err(format!("never reached: {}", explored.unreached.join("; "))),
            (None, Some(violation)) => Err(format!(
                "VIOLATED: {} in {} steps: {}",
                violation.property,
                violation.trace.len(),
                violation.trace.join(", ")
            )),
            (Some(falls), Some(violation)) if *falls == violation.property => {
                Ok(format!("caught in {} steps: {falls}", violation.trace.len()))
            }
            (Some(falls), Some(violation)) => Err(format!(
                "caught by another property than \"{falls}\": {} in {} steps: {}",
                violation.property,
                violation.trace.len(),
                violation.trace.join(", ")
            )),
            (Some(falls), None) => Err(format!("NOT CAUGHT: {falls}")),
        }
    }
}

fn case<M>(model: M, name: String, variant: String, falls: Option<&'static str>) -> Case
where
    M: Protocol + Clone + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let run: Box<dyn Fn(usize) -> Explored> = if falls == Some(EVERYTHING_CAN_END) {
        Box::new(move |_| explore_ends(&model))
    } else {
        Box::new(move |threads| explore(model.clone(), threads))
    };
    Case { model: name, variant, falls, run }
}

/// The same exploration, asked whether everything can still end.
fn ends<M>(model: M, name: &str) -> Case
where
    M: Protocol + 'static,
    M::State: Hash,
    M::Action: Debug + Clone,
{
    Case {
        model: name.to_owned(),
        variant: "Sound, every state has a way to an end".to_owned(),
        falls: None,
        run: Box::new(move |_| explore_ends(&model)),
    }
}

/// The protocol within bounds that take seconds.
#[must_use]
pub fn small() -> Vec<Case> {
    let mut cases = vec![
        lane_case(&LaneBound { faults: 1, expiries: 1, restore: true, notes: 0 }),
        forward_case(3, 1, 2),
    ];
    for terms in TERMS {
        cases.push(effect_case(terms, 0, 2, true));
    }
    cases.push(effect_case(TERMS[0], 1, 2, false));
    cases
}

/// Whether everything can still end, within bounds that take seconds.
#[must_use]
pub fn endings() -> Vec<Case> {
    let mut cases = vec![
        ends(lane_model(lane::Variant::Sound, &SMALL_LANE), &SMALL_LANE.name()),
        ends(forward_model(forward::Variant::Sound, 3, 1, 2), &forward_name(3, 1, 2)),
    ];
    for (terms, named) in TERMS {
        let model = effect_model(effect::Variant::Sound, terms, (0, 2, false));
        cases.push(ends(model, &effect_name(named, 0, 2, false)));
    }
    cases
}

/// The protocol as far as minutes go.
#[must_use]
pub fn large() -> Vec<Case> {
    let mut cases = vec![forward_case(4, 2, 3)];
    for terms in TERMS {
        cases.push(effect_case(terms, 1, 3, true));
    }
    cases.push(lane_case(&LaneBound { faults: 1, expiries: 2, restore: true, notes: 1 }));
    cases.push(lane_case(&LaneBound { faults: 2, expiries: 0, restore: false, notes: 0 }));
    cases.extend(endings());
    cases
}

/// Every variant, within the smallest bounds that show what it breaks.
#[must_use]
pub fn variants() -> Vec<Case> {
    let mut cases = lane_variants();
    cases.extend(effect_variants());
    cases.extend(forward_variants());
    cases
}

/// How far the lane model goes.
struct LaneBound {
    faults: u8,
    expiries: u8,
    restore: bool,
    notes: usize,
}

const SMALL_LANE: LaneBound = LaneBound { faults: 1, expiries: 0, restore: false, notes: 0 };

impl LaneBound {
    fn name(&self) -> String {
        let restore = if self.restore { ", a restore" } else { "" };
        let inputs = 2 + self.notes;
        format!(
            "lane, {inputs} inputs, {} faults, {} expiries{restore}",
            self.faults, self.expiries
        )
    }
}

fn lane_model(variant: lane::Variant, bound: &LaneBound) -> LaneModel {
    let notes = std::iter::repeat_n(Input::Note, bound.notes);
    let inputs = std::iter::once(Input::Start).chain(notes).chain([Input::Answer]).collect();
    let LaneBound { faults, expiries, restore, .. } = *bound;
    LaneModel { variant, inputs, faults, expiries, restore }
}

fn lane_case(bound: &LaneBound) -> Case {
    let model = lane_model(lane::Variant::Sound, bound);
    case(model, bound.name(), "Sound".to_owned(), None)
}

fn lane_variants() -> Vec<Case> {
    use lane::Variant as V;
    let bound = |faults, expiries| LaneBound { faults, expiries, restore: false, notes: 0 };
    let restored = LaneBound { faults: 0, expiries: 0, restore: true, notes: 0 };
    [
        (V::NoFence, bound(2, 0), "each input is applied once"),
        (V::FenceByOffset, bound(2, 0), "nothing is written from stale state"),
        (V::OffsetOutside, bound(2, 0), "each input is applied once"),
        (V::MarkedBeforeAck, bound(2, 0), "what counts as published is on its topic"),
        (V::MarkedOverHoles, bound(2, 0), "what counts as published is on its topic"),
        (V::LaterPassesFailed, bound(2, 0), "a topic without its repeats is dense and in order"),
        (V::OneResumePoint, bound(2, 0), "resuming leaves nothing out"),
        (V::LostTailIgnored, bound(2, 0), "resuming leaves nothing out"),
        (V::ExpiryHidesLostTail, bound(2, 1), "resuming leaves nothing out"),
        (V::TopicsNotChecked, restored, "a topic without its repeats is dense and in order"),
        (V::LostAnswerIsFailure, bound(2, 0), "each input is applied once"),
        (V::LostAnswerIsSuccess, bound(2, 0), "what is on a topic was committed"),
        (V::TimerNotLookedUp, bound(0, 0), TIMER),
        (V::TimerByOwnClock, bound(0, 0), TIMER),
        (
            V::BrokerForgetsProducer,
            bound(2, 0),
            "a topic without its repeats is dense and in order",
        ),
        (V::TailLostUnseen, bound(2, 0), "a topic without its repeats is dense and in order"),
    ]
    .map(|(variant, bound, falls)| {
        let model = lane_model(variant, &bound);
        case(model, bound.name(), format!("{variant:?}"), Some(falls))
    })
    .into()
}

const TIMER: &str = "a timer fires once, not early, and not after it was taken back";

/// What vendors promise about keys, and how that is called.
const TERMS: [(Idempotency, &str); 3] =
    [(KEYS, "keys"), (REPLAYS, "keys and refusals"), (NO_KEYS, "no keys")];

fn effect_name(named: &str, faults: u8, sends_max: u8, restore: bool) -> String {
    let restore = if restore { ", a restore" } else { "" };
    format!("effect, {named}, {faults} faults, {sends_max} sends{restore}")
}

fn effect_model(
    variant: effect::Variant,
    terms: Idempotency,
    (faults, sends_max, restore): (u8, u8, bool),
) -> EffectModel {
    EffectModel { variant, terms, faults, sends_max, restore }
}

fn effect_case((terms, named): (Idempotency, &str), faults: u8, sends: u8, restore: bool) -> Case {
    let model = effect_model(effect::Variant::Sound, terms, (faults, sends, restore));
    case(model, effect_name(named, faults, sends, restore), "Sound".to_owned(), None)
}

fn effect_variants() -> Vec<Case> {
    use effect::Variant as V;
    let unpaid = "a flow that ended unpaid has not paid";
    let second = "no second attempt before the first is settled";
    let twice = "at most one effect per attempt";
    let ways = Way::ALL.map(|way| {
        let ends = matches!(way, Way::Cancel | Way::LateCheck | Way::Compensation);
        (V::WayOutUnchecked(way), KEYS, if ends { unpaid } else { second })
    });
    let rules = [
        (V::NotFoundIsProof, KEYS, second),
        (V::ResentWithoutKey, NO_KEYS, twice),
        (V::VendorIgnoresKey, KEYS, twice),
        (V::WholeWindow, KEYS, twice),
        (V::PermitNeverAges, KEYS, second),
        (V::ResendNeverAges, KEYS, twice),
        (V::SentBeforePermit, KEYS, second),
        (V::ResendUncounted, KEYS, second),
        (V::RefusalAlwaysProof, KEYS, second),
        (V::RefusalByOwnCount, KEYS, second),
        (V::ResendOverResult, KEYS, second),
        (V::TimerEndsDoubt, NO_KEYS, unpaid),
        (V::RulingLeavesOpen, KEYS, second),
        (V::RestoreNotHeld, NO_KEYS, second),
        (V::NobodyRules, NO_KEYS, EVERYTHING_CAN_END),
    ];
    let named = |terms: Idempotency| {
        TERMS.iter().find(|(each, _)| *each == terms).map_or("", |(_, named)| named)
    };
    ways.into_iter()
        .chain(rules)
        .map(|(variant, terms, falls)| {
            let restore = variant == V::RestoreNotHeld;
            // Without a fault nothing stays in doubt.
            let faults = u8::from(variant == V::NobodyRules);
            let model = effect_model(variant, terms, (faults, 2, restore));
            let name = effect_name(named(terms), faults, 2, restore);
            case(model, name, format!("{variant:?}"), Some(falls))
        })
        .collect()
}

fn forward_name(foreign: u8, own: u8, faults: u8) -> String {
    format!("forward, {foreign} foreign, {own} own, {faults} faults")
}

fn forward_model(variant: forward::Variant, foreign: u8, own: u8, faults: u8) -> ForwardModel {
    ForwardModel { variant, foreign, own, faults }
}

fn forward_case(foreign: u8, own: u8, faults: u8) -> Case {
    let model = forward_model(forward::Variant::Sound, foreign, own, faults);
    case(model, forward_name(foreign, own, faults), "Sound".to_owned(), None)
}

fn forward_variants() -> Vec<Case> {
    use forward::Variant as V;
    [
        (V::NoPeer, 2, "each input is applied once"),
        (V::PeerOutside, 2, "only a lost tail stops a lane"),
        (V::OverGap, 2, "no forward is left behind"),
        (V::FenceOneOfTwo, 1, "each input is applied once"),
        (V::RestForgotten, 1, "each input is applied once"),
        (V::LostAnswerIsFailure, 1, "each input is applied once"),
    ]
    .map(|(variant, faults, falls)| {
        let model = forward_model(variant, 3, 1, faults);
        case(model, forward_name(3, 1, faults), format!("{variant:?}"), Some(falls))
    })
    .into()
}
