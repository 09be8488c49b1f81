//! What a migration would come to, over the flows that there really are: the very move that lanes make, decided and thrown
//! away. It writes nothing, and what happens to flows meanwhile it does not know.

use signalbox_flow::{Context, Decision, Effect, Migration, Mover, Unmovable};
use signalbox_schemas::{FlowId, Micros, StepName, TenantKey};
use signalbox_store::{LoadedFlow, Reader, StoreError};
use signalbox_vault::{KeyProvider, OpenError, Place, ProviderError, Vault};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::worker::tick::flow_of;

/// Flows read at once.
const PAGE: usize = 500;
/// Examples kept of each answer.
const EXAMPLES: usize = 3;

/// Flows cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As whoever keeps the envelope key says.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The command of a running flow cannot be opened: it is under another envelope key, or was changed.
    #[error("flow {flow}: its command cannot be read: {source}")]
    Sealed {
        /// The flow.
        flow: FlowId,
        /// Why.
        source: OpenError,
    },
}

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

/// Decides the move of every flow that the plan is about. The provider opens their commands, on which guards may depend.
///
/// # Errors
/// Where the store or the provider does not answer, or a command cannot be opened.
pub async fn preview(
    migration: &Migration,
    reader: &Reader,
    provider: Arc<dyn KeyProvider>,
) -> Result<Preview, PreviewError> {
    let plan = migration.plan();
    // Pages follow one another and keys of one are seldom those of the next.
    let mut vault = Vault::new(provider, PAGE);
    let now = reader.now().await?;
    let mut seen = Preview::new();
    let mut after = None;
    loop {
        let page = reader.flows_of_version(plan.journey.as_str(), plan.from, after, PAGE).await?;
        let ids: Vec<FlowId> = page.iter().map(|loaded| loaded.row.id).collect();
        let Some(last) = ids.last() else { return Ok(seen) };
        let sending = reader.sending_of(&ids).await?;
        learn(&mut vault, reader, &page).await?;
        for loaded in page {
            let id = loaded.row.id;
            let sealed = |source| PreviewError::Sealed { flow: id, source };
            let plain = vault.open(Place::Command(id), &loaded.command).map_err(sealed)?;
            let command = serde_json::from_slice(&plain).map_err(|error| {
                StoreError::Invariant(format!("flow {id}: its command is no JSON: {error}"))
            })?;
            let flow = flow_of(loaded, command, Some(migration.from()))?;
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

/// Has the keys of a page at hand.
async fn learn(
    vault: &mut Vault,
    reader: &Reader,
    page: &[LoadedFlow],
) -> Result<(), PreviewError> {
    let needed = vault.needed(page.iter().map(|loaded| loaded.command.as_slice()));
    let rows = reader.keys(&needed).await?;
    Ok(vault.learn(rows.into_iter().map(|row| (row.id, row.wrapped)).collect()).await?)
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
