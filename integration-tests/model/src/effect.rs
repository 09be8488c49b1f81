//! One payment of one flow: permits, sends, refusals, inquiries, and every way out (protocol section 6).
//!
//! Covers: two adapters and any redelivery of any request; vendors that honour keys, that replay refusals as well, and
//! that do neither; the window of a key and the age of a permit; lost answers of the store and of the vendor, and requests
//! that arrive after whoever sent them has given up; inquiries, and the resend that may follow one; rulings of people;
//! late and contradicting outcomes; each way out of a planned payment as the same compare-and-set; a second group; a
//! database that is restored to before the permit, held until it is reconciled.
//! What a permit allows, what a refusal proves, and what an inquiry may conclude, the product's own rules decide
//! (`signalbox_adapters::rules`).
//! Assumes: the lane applies each outcome once and in one place (`lane`); a request arrives within half a window of its
//! leaving or never; people rule what is true, when nothing is under way; all processes are stopped while a database is
//! restored, and reconciling finds every attempt whose request was published.
//! Leaves out: routing, limits, reads, recalls (a recall is a payment of its own with the same rules), the codec.
//!
//! | action | code |
//! |---|---|
//! | `Take` | `adapters/src/runtime/conversation.rs` `permitted`, `sent_before`; `engine/store/src/tables/attempt.rs` `take_permits` |
//! | `TakeInquiry`, `Ask` | `adapters/src/runtime/request.rs` `inquire`; `conversation.rs` `inquire_instead` |
//! | `Raise` | `conversation.rs` `again`, `sent_before`, `send_again`; `attempt.rs` `raise_sends` |
//! | `Leave`, `GiveUp` | `conversation.rs` `call`; `adapters/src/runtime/http.rs` |
//! | `Keep` | `conversation.rs` `answered`; `desk.rs` `keep`; `attempt.rs` `store_results` |
//! | `Deliver` | `engine/flow/src/answers.rs` |
//! | `WayOut` | `engine/flow/src/run.rs` `way_out`; `attempt.rs` `abandon` |
//! | `Rule` | `engine/flow/src/people.rs` `decide`, `close`; `attempt.rs` `rule` |
//! | `Reconcile` | `engine/signalbox/src/commands/lane/reconcile.rs` |
//! | `Arrive`, `Drift`, `Tick`, `Forget`, `Crash`, `Restore` | the world |

mod checks;
mod desk;
mod judge;
mod parts;
mod ways;

use signalbox_adapters::model::Idempotency;
use stateright::{Model, Property};

use crate::explore::Protocol;
use parts::{ADAPTERS, Attempt, Desk, Disposition, Flow, GROUPS, Money, Stage, Told, Vendor};
pub use parts::{Way, Word};

/// The protocol, or what is left of it without one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As designed.
    Sound,
    /// One way out does not ask whether the payment is still planned.
    WayOutUnchecked(Way),
    /// An inquiry that finds nothing counts as not executed.
    NotFoundIsProof,
    /// A vendor without keys is sent the payment again when it does not know it.
    ResentWithoutKey,
    /// The vendor executes a repeated key again.
    VendorIgnoresKey,
    /// A key is used for its whole window.
    WholeWindow,
    /// A permit may be used however old it is.
    PermitNeverAges,
    /// A resend may leave however long ago its key was judged usable.
    ResendNeverAges,
    /// The bytes leave before the permit is committed.
    SentBeforePermit,
    /// A resend is not counted.
    ResendUncounted,
    /// A refusal counts as proof whatever the sends.
    RefusalAlwaysProof,
    /// A refusal counts by the sends that its sender knows of, not by those that are stored.
    RefusalByOwnCount,
    /// A resend does not ask whether a final result is stored.
    ResendOverResult,
    /// A timer ends doubt.
    TimerEndsDoubt,
    /// A ruling of people leaves the attempt open to resends.
    RulingLeavesOpen,
    /// After a restore, money is not held.
    RestoreNotHeld,
    /// Nobody rules on what stays in doubt.
    NobodyRules,
}

/// How far the model goes.
#[derive(Debug, Clone)]
pub struct EffectModel {
    /// Which rule is missing.
    pub variant: Variant,
    /// What the vendors promise about keys.
    pub terms: Idempotency,
    /// Crashes, lost answers and requests that are given up, all together, at most.
    pub faults: u8,
    /// Sends of one attempt at most.
    pub sends_max: u8,
    /// Whether the database may be restored once, to before the permit.
    pub restore: bool,
}

/// A vendor that honours keys and judges a refused payment anew.
pub const KEYS: Idempotency =
    Idempotency { honours_keys: true, window_secs: 86_400, replays_refusals: false };
/// A vendor that honours keys and refuses again what it refused.
pub const REPLAYS: Idempotency =
    Idempotency { honours_keys: true, window_secs: 86_400, replays_refusals: true };
/// A vendor that knows no keys.
pub const NO_KEYS: Idempotency =
    Idempotency { honours_keys: false, window_secs: 0, replays_refusals: false };

/// A state of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    flow: Flow,
    attempts: [Attempt; GROUPS],
    /// Write effects are held.
    held: bool,
    restored: bool,
    desks: [Desk; ADAPTERS],
    vendor: [Vendor; GROUPS],
    told: Told,
    faults: u8,
}

/// What the vendor makes of a payment that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It moves the money.
    Executed,
    /// It refuses with a code of its "not executed" list.
    Refused,
}

/// What may happen next. Numbers are those of adapters and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Action {
    /// The flag says whether the store's answer comes.
    Take(usize, usize, bool),
    TakeInquiry(usize, usize),
    Ask(usize),
    Raise(usize),
    /// An answer that may be better after another send under the key.
    Again(usize),
    Leave(usize),
    GiveUp(usize),
    Keep(usize),
    Crash(usize),
    /// The flag says whether the vendor's answer comes.
    Arrive(usize, Fate, bool),
    /// A request arrives whose sender is gone.
    Drift(usize, bool, Fate),
    Tick(usize),
    Forget(usize),
    Deliver(Word),
    WayOut(Way),
    /// Money that is proven unmoved is tried again elsewhere, or the flow ends.
    GoOn,
    Finish,
    Rule,
    EndDoubt,
    Restore,
    Reconcile,
}

impl Model for EffectModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut attempts = [Attempt::default(); GROUPS];
        attempts[0].disposition = Disposition::Planned;
        vec![State {
            flow: Flow { group: 0, highest: 0, stage: Stage::Asked, asked_about: 0 },
            attempts,
            held: false,
            restored: false,
            desks: [Desk::Idle; ADAPTERS],
            vendor: Default::default(),
            told: Default::default(),
            faults: self.faults,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.desk_actions(state, actions);
        self.world_actions(state, actions);
        self.flow_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Take(desk, group, answered) => state.take(self, desk, group, answered),
            Action::TakeInquiry(desk, group) => state.take_inquiry(desk, group),
            Action::Ask(desk) => state.ask(self, desk),
            Action::Raise(desk) => state.raise(self, desk),
            Action::Again(desk) => state.again(desk),
            Action::Leave(desk) => state.leave(self, desk),
            Action::GiveUp(desk) => state.give_up(desk),
            Action::Keep(desk) => state.keep(self, desk),
            Action::Crash(desk) => state.crash(desk),
            Action::Arrive(desk, fate, answered) => state.arrive(self, desk, fate, answered),
            Action::Drift(group, young, fate) => state.drift(self, group, young, fate),
            Action::Tick(group) => state.tick(group),
            Action::Forget(group) => state.vendor[group].key = None,
            Action::Deliver(word) => state.deliver(word),
            Action::WayOut(way) => state.way_out(self, way),
            Action::GoOn => state.plan_next(),
            Action::Finish | Action::EndDoubt => state.settle(Stage::Unpaid),
            Action::Rule => state.rule(self),
            Action::Restore => state.restore(self),
            Action::Reconcile => state.reconcile(),
        }
        // Which adapter is which makes no difference.
        state.desks.sort();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties(self)
    }
}

impl EffectModel {
    fn desk_actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Which of two idle adapters takes a request makes no difference.
        if let Some(desk) = state.desks.iter().position(|desk| *desk == Desk::Idle) {
            for group in 0..=state.flow.asked() {
                actions.push(Action::Take(desk, group, true));
                if state.faults > 0 {
                    actions.push(Action::Take(desk, group, false));
                }
                if state.flow.asked_about & (1 << group) != 0 {
                    actions.push(Action::TakeInquiry(desk, group));
                }
            }
        }
        for (desk, at) in state.desks.iter().enumerate() {
            match at {
                Desk::Idle => continue,
                Desk::Asking { .. } => actions.push(Action::Ask(desk)),
                Desk::Raising { .. } => actions.push(Action::Raise(desk)),
                Desk::Ready { .. } => actions.push(Action::Leave(desk)),
                Desk::Out { .. } => {
                    for fate in [Fate::Executed, Fate::Refused] {
                        actions.push(Action::Arrive(desk, fate, true));
                        if state.faults > 0 {
                            actions.push(Action::Arrive(desk, fate, false));
                        }
                    }
                    if state.faults > 0 {
                        actions.push(Action::GiveUp(desk));
                    }
                }
                Desk::Done { money, .. } => {
                    actions.push(Action::Keep(desk));
                    if *money == Money::InDoubt && self.terms.honours_keys {
                        actions.push(Action::Again(desk));
                    }
                }
            }
            if state.faults > 0 {
                actions.push(Action::Crash(desk));
            }
        }
    }

    fn world_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (group, attempt) in state.attempts.iter().enumerate() {
            for young in [true, false] {
                if state.vendor[group].adrift(young) > 0 {
                    actions.push(Action::Drift(group, young, Fate::Executed));
                    actions.push(Action::Drift(group, young, Fate::Refused));
                }
            }
            let ages = self.terms.honours_keys && attempt.disposition == Disposition::Sending;
            if ages && attempt.age < 2 && !(attempt.age == 1 && state.young_is_out(group)) {
                actions.push(Action::Tick(group));
            }
            // What left below half the window arrives within it. Of what was forgotten nobody knows how long ago it was.
            let forgotten =
                matches!(attempt.disposition, Disposition::Missing | Disposition::Planned);
            let window_is_over = (attempt.age == 2 || state.restored && forgotten)
                && state.vendor[group].adrift(true) == 0;
            if state.vendor[group].key.is_some() && window_is_over {
                actions.push(Action::Forget(group));
            }
        }
        if self.restore && !state.restored && state.flow.stage != Stage::Unpaid {
            actions.push(Action::Restore);
        }
        if state.held {
            actions.push(Action::Reconcile);
        }
    }

    fn flow_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.held {
            // Lanes are not claimed either while the database is another one.
            return;
        }
        actions.extend(state.told.each().map(Action::Deliver));
        match state.flow.stage {
            Stage::Asked => actions.extend(Way::ALL.map(Action::WayOut)),
            Stage::Free => {
                if state.flow.group == state.flow.highest {
                    actions.push(Action::Finish);
                }
                if usize::from(state.flow.group) + 1 < GROUPS {
                    actions.push(Action::GoOn);
                }
            }
            Stage::Doubt => {
                if self.variant != Variant::NobodyRules && state.is_quiet() {
                    actions.push(Action::Rule);
                }
                if self.variant == Variant::TimerEndsDoubt {
                    actions.push(Action::EndDoubt);
                }
            }
            Stage::Paid | Stage::Unpaid => {}
        }
    }
}

impl Protocol for EffectModel {
    fn ended(&self, state: &State) -> bool {
        matches!(state.flow.stage, Stage::Paid | Stage::Unpaid)
    }
}
