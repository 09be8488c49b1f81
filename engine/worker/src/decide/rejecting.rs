//! What is told to whoever gave a command that cannot be carried out. Whether it can, others decide.

use serde_json::{Value, json};
use signalbox_flow::{Journey, Refusal};
use signalbox_schemas::{AggregateId, FlowId, Micros, RecordName, Tenant, TopicName};

use super::{Deciding, Transition};
use crate::intake::Work;

impl<'d> Deciding<'_, 'd> {
    pub(super) fn no_such_flow(
        &mut self,
        work: &'d Work,
        journey: &Journey,
        (aggregate, tenant): (&AggregateId, &Tenant),
        record: &RecordName,
    ) {
        let told = rejection(
            aggregate,
            tenant,
            record,
            "no_such_flow",
            "there is no such payout or journey; check the id",
            self.tick.now,
        );
        self.reject(work, None, aggregate, journey.events_topic(), told);
    }

    pub(super) fn reject(
        &mut self,
        work: &'d Work,
        flow: Option<FlowId>,
        aggregate: &AggregateId,
        topic: &TopicName,
        mut told: Value,
    ) {
        if let (Some(flow), Some(fields)) = (flow, told.as_object_mut()) {
            fields.insert("flow_id".to_owned(), json!(flow));
        }
        let reason = told.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
        let transition = Transition {
            kind: "reject",
            flow: None,
            before: None,
            actor: work.operator().unwrap_or("command").to_owned(),
            reason,
        };
        self.tell(work, transition, topic, (aggregate, flow), ("signalbox.RequestRejected", told));
    }
}

/// A `signalbox.RequestRejected` value.
pub(super) fn rejection(
    aggregate: &AggregateId,
    tenant: &Tenant,
    command: &RecordName,
    reason: &str,
    detail: &str,
    now: Micros,
) -> Value {
    json!({"aggregate_id": aggregate, "tenant": tenant, "command": command, "reason": reason, "detail": detail,
           "problems": [], "flow_id": null, "occurred_at": now})
}

pub(super) fn refusal_text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Known => "the command was applied before".to_owned(),
        Refusal::NotPossibleNow { detail } | Refusal::Unresolvable { detail } => detail.clone(),
    }
}
