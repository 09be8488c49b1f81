//! Decides: journeys as data, a pure `step`, and a checker that proves a journey safe before it runs.
//! It has no clock, no I/O, no randomness and does not log; time and secrets are arguments. Read `Flow` and `Decision` first.

mod abstraction;
mod answers;
mod bank;
mod check;
mod clock;
mod compile;
mod compile_state;
mod continuation;
mod decision;
mod difference;
mod document;
mod duration;
mod error;
mod expectation;
mod explore;
mod expression;
mod flow;
mod graph;
mod invariant;
mod journey;
mod operators;
mod people;
mod place;
mod play;
mod run;
mod schema;
mod script;
mod step;
mod types;

pub use bank::BankInvariants;
pub use check::{Finding, check, check_continuation};
pub use decision::{Assent, Context, Decision, Effect, Input, Refusal, Start};
pub use difference::{Change, difference};
pub use error::JourneyError;
pub use flow::{CallState, Flow, FlowData, Mark, Standstill, Status, Vote};
pub use graph::graph;
pub use journey::Journey;
pub use operators::{Act, OperatorAct, park};
pub use place::Position;
pub use play::{Moment, Played, play};
pub use schema::{EditorFile, editor_schema};
pub use script::Scenario;
pub use step::{begin, step};
