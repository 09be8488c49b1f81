//! Decides what an input changes: `(journey, flow, input, context) -> decision`, and nothing else.
//! The work is in `run` (moving between states), `answers`, `people` and `clock`; here is who does what.

use serde_json::Value;
use signalbox_schemas::{AggregateId, Tenant};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decision::{Context, Decision, Effect, Input, Refusal, Start};
use crate::flow::{Flow, FlowData, Status};
use crate::journey::Journey;
use crate::run::Run;
use crate::stop::{Stop, refused};
use crate::world::{Real, World};

/// Begins a flow: it runs on through states that do not wait, to the first that does. `rev` is 1.
///
/// # Errors
/// `Unresolvable` where the command lacks its business id or tenant.
pub fn begin(journey: &Journey, start: Start<'_>, ctx: Context<'_>) -> Result<Decision, Refusal> {
    let text = |field: &str| start.command.get(field).and_then(Value::as_str);
    let (Some(aggregate), Some(tenant)) = (text(journey.aggregate_field()), text("tenant")) else {
        let detail = format!("the command needs {} and tenant", journey.aggregate_field());
        return Err(Refusal::Unresolvable { detail });
    };
    if text(journey.subject_field()).is_none_or(str::is_empty) {
        let detail = format!("the command needs {}", journey.subject_field());
        return Err(Refusal::Unresolvable { detail });
    }
    let (aggregate, tenant) = (AggregateId::from(aggregate), Tenant::from(tenant));
    let flow = fresh(journey, aggregate, tenant, &start, ctx);
    let actor = text("actor").unwrap_or("service").to_owned();
    let begun = refused(begin_in(journey, flow, ctx, &mut Real))?;
    Ok(Decision { actor, ..begun })
}

/// A beginning in a given world.
pub(crate) fn begin_in(
    journey: &Journey,
    flow: Flow,
    ctx: Context<'_>,
    world: &mut dyn World,
) -> Result<Decision, Stop> {
    let mut run = Run::new(journey, flow, ctx, world);
    run.begin()?;
    Ok(finish(run, &BTreeMap::new(), String::new(), format!("{} accepted", journey.starts_with())))
}

/// Applies one input to a flow. Where nothing changes, a refusal says why; the flow stays as it is.
///
/// # Errors
/// `Known`: nothing to do. `NotPossibleNow`: answer the caller. `Unresolvable`: a dead letter.
pub fn step(
    journey: &Journey,
    flow: &Flow,
    input: Input<'_>,
    ctx: Context<'_>,
) -> Result<Decision, Refusal> {
    refused(step_in(journey, flow, input, ctx, &mut Real))
}

/// A step in a given world.
pub(crate) fn step_in(
    journey: &Journey,
    flow: &Flow,
    input: Input<'_>,
    ctx: Context<'_>,
    world: &mut dyn World,
) -> Result<Decision, Stop> {
    let mut next = flow.clone();
    next.rev = flow.rev.saturating_add(1);
    let mut run = Run::new(journey, next, ctx, world);
    let (actor, reason) = match input {
        Input::Outcome { attempt, capability, value } => {
            run.outcome(attempt, capability, value)?;
            let word = value.get("outcome").and_then(Value::as_str).unwrap_or_default();
            ("adapter".to_owned(), format!("{capability} {word}"))
        }
        Input::Timer { name } => {
            run.timer(name)?;
            ("timer".to_owned(), name.to_owned())
        }
        Input::Act(act) => {
            let reason = run.operate(act)?;
            (act.actor.to_owned(), reason)
        }
        Input::Command { record, value } => {
            run.command(record, value)?;
            let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
            let what = value.get("decision").and_then(Value::as_str).unwrap_or(record.as_str());
            (text("actor").to_owned(), format!("{what}: {}", text("reason")))
        }
    };
    Ok(finish(run, &flow.data.timers, actor, reason))
}

/// A flow before its first state.
pub(crate) fn fresh(
    journey: &Journey,
    aggregate: AggregateId,
    tenant: Tenant,
    start: &Start<'_>,
    ctx: Context<'_>,
) -> Flow {
    let customer = start.command.get(journey.subject_field()).and_then(Value::as_str);
    Flow {
        id: ctx.key.flow_id(&tenant, journey.name(), &aggregate),
        subject: ctx.key.subject_id(&tenant, customer.unwrap_or_default()),
        tenant,
        aggregate,
        journey: journey.name().clone(),
        version: journey.version(),
        lane: start.lane,
        state: journey.first.clone(),
        status: Status::Running,
        rev: 1,
        started_at: ctx.now,
        command: Arc::clone(start.command),
        data: FlowData::default(),
    }
}

/// The decision: what the run did, and the net change of its timers.
pub(crate) fn finish(
    run: Run<'_>,
    before: &BTreeMap<String, signalbox_schemas::Micros>,
    actor: String,
    reason: String,
) -> Decision {
    let Run { flow, mut effects, mut path, .. } = run;
    let after = &flow.data.timers;
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        effects.push(Effect::CancelTimer { name: name.clone() });
    }
    for (name, due) in after.iter().filter(|(name, due)| before.get(*name) != Some(due)) {
        effects.push(Effect::SetTimer { name: name.clone(), due: *due });
    }
    if path.is_empty() {
        path.push(flow.state.clone());
    }
    debug_assert!(
        flow.status == Status::Running || after.is_empty(),
        "an ended flow waits for nothing"
    );
    Decision { flow, effects, path, actor, reason }
}
