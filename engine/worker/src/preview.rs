//! What a migration would come to, over the flows that there really are: the very move that lanes make, decided and thrown
//! away. It writes nothing, and what happens to flows meanwhile it does not know.

use signalbox_flow::{Context, Decision, Effect, Migration, Mover, Unmovable};
use signalbox_schemas::{FlowId, Micros, StepName, TenantKey};
use signalbox_store::{Reader, StoreError};
use std::collections::{BTreeMap, BTreeSet};

use crate::worker::tick::flow_of;

/// Flows read at once.
const PAGE: usize = 500;
/// Examples kept of each answer.
const EXAMPLES: usize = 3;

/// Flows of which the same would become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many.
    pub flows: u64,
    /// Some of them.
    pub examples: Vec<FlowId>,
}

/// What would become of flows: by state, and by the state they would be moved to or the code of why they would not.
pub type Preview = BTreeMap<(StepName, Result<StepName, String>), Sample>;

/// Decides the move of every flow that the plan is about.
///
/// # Errors
/// Where the store does not answer.
pub async fn preview(migration: &Migration, reader: &Reader) -> Result<Preview, StoreError> {
    let plan = migration.plan();
    let now = reader.now().await?;
    let mut seen = Preview::new();
    let mut after = None;
    loop {
        let page = reader.flows_of_version(plan.journey.as_str(), plan.from, after, PAGE).await?;
        let ids: Vec<FlowId> = page.iter().map(|loaded| loaded.row.id).collect();
        let Some(last) = ids.last() else { return Ok(seen) };
        let sending = reader.sending_of(&ids).await?;
        for loaded in page {
            let flow = flow_of(loaded)?;
            let decided = decide(migration, &flow, now, &sending);
            let became = match decided {
                Ok(decision) => Ok(decision.flow.state),
                Err((why, _)) => Err(why.code().to_owned()),
            };
            let sample = seen.entry((flow.state.clone(), became)).or_default();
            sample.flows += 1;
            if sample.examples.len() < EXAMPLES {
                sample.examples.push(flow.id);
            }
        }
        after = Some(*last);
    }
}

/// The move, and where it would take back what may be sent, the move that knows it.
fn decide(
    migration: &Migration,
    flow: &signalbox_flow::Flow,
    now: Micros,
    sending: &BTreeSet<signalbox_schemas::AttemptId>,
) -> Result<Decision, (Unmovable, String)> {
    // Nothing that is decided here is kept, so no id is one.
    let key = TenantKey::new(b"preview".to_vec());
    let by = Mover { actor: "preview", reason: "preview" };
    let none = BTreeSet::new();
    let step = |sending| migration.step(flow, by, Context { now, key: &key, sending });
    let decision = step(&none)?;
    let lost = |effect: &Effect| matches!(effect, Effect::Abandon { attempt } if sending.contains(attempt));
    if decision.effects.iter().any(lost) { step(sending) } else { Ok(decision) }
}
