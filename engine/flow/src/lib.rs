//! Decides: journeys as data, a pure `step`, and a checker that proves a journey safe before it runs.
//! It has no clock, no I/O, no randomness and does not log; time and secrets are arguments. Read `Flow` and `Decision` first.

mod abstraction;
mod answers;
mod check;
mod clock;
mod compile;
mod compile_state;
mod decision;
mod document;
mod duration;
mod explore;
mod expression;
mod flow;
mod invariant;
mod journey;
mod people;
mod run;
mod step;
mod types;

pub use check::{Finding, check};
pub use decision::{Context, Decision, Effect, Input, Refusal, Start};
pub use flow::{CallState, Flow, FlowData, Status, Vote};
pub use journey::{Journey, JourneyError};
pub use step::{begin, step};
