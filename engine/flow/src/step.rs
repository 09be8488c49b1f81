//! Decides what an input changes.
use crate::decision::{Context, Decision, Input, Refusal, Start};
use crate::flow::Flow;
use crate::journey::Journey;

/// Begins a flow.
pub fn begin(_journey: &Journey, _start: Start<'_>, _ctx: Context<'_>) -> Result<Decision, Refusal> {
    Err(Refusal::Known)
}

/// Applies an input to a flow.
pub fn step(_journey: &Journey, _flow: &Flow, _input: Input<'_>, _ctx: Context<'_>) -> Result<Decision, Refusal> {
    Err(Refusal::Known)
}
