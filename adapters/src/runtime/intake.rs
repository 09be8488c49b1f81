//! Reads one capability's requests, carries them out side by side up to a bound, and commits offsets in order.
//! It knows nothing of vendors; when the bound is reached it stops reading.

use signalbox_bus::Inbound;
use signalbox_schemas::{Capability, TopicName};
use signalbox_store::AttemptStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::runtime::desk::Desk;
use crate::runtime::offsets::InOrder;
use crate::runtime::request::handle;
use crate::runtime::{AdapterError, Inlet, Outlet};

/// Bounds of one capability's intake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most requests under way.
    pub(crate) under_way_max: usize,
    /// How long a stop waits for requests under way.
    pub(crate) drain: Duration,
}

type Done = (TopicName, i32, i64);

/// Serves until told to stop or until the consumer ends.
pub(crate) async fn serve<S, I, O>(
    desk: Arc<Desk<S>>,
    capability: Capability,
    mut inlet: I,
    outlet: O,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) -> Result<(), AdapterError>
where
    S: AttemptStore + 'static,
    I: Inlet,
    O: Outlet,
{
    let capability = Arc::new(capability);
    let mut under_way: JoinSet<Done> = JoinSet::new();
    let mut order = InOrder::default();
    let mut stopped = *stop.borrow();
    while !stopped {
        // In this order always: the same inputs give the same run, and what is done is committed before more is read.
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => stopped = true,
            Some(done) = under_way.join_next(), if !under_way.is_empty() => commit(&mut inlet, &mut order, done)?,
            record = inlet.next(), if under_way.len() < bounds.under_way_max => {
                let Some(record) = record else { return Err(AdapterError::ConsumerEnded(capability.name.clone())) };
                order.begin(&record.topic, record.partition, record.offset);
                under_way.spawn(one(Arc::clone(&desk), outlet.clone(), Arc::clone(&capability), record));
            }
        }
    }
    let drained = tokio::time::timeout(bounds.drain, async {
        while let Some(done) = under_way.join_next().await {
            commit(&mut inlet, &mut order, done)?;
        }
        Ok(())
    });
    // What is still under way is cut off; its requests come again, and permits protect their effects.
    drained.await.unwrap_or(Ok(()))
}

async fn one<S, O>(
    desk: Arc<Desk<S>>,
    outlet: O,
    capability: Arc<Capability>,
    record: Inbound,
) -> Done
where
    S: AttemptStore + 'static,
    O: Outlet,
{
    handle(&desk, &outlet, &capability, &record).await;
    (record.topic, record.partition, record.offset)
}

fn commit<I: Inlet>(
    inlet: &mut I,
    order: &mut InOrder,
    done: Result<Done, JoinError>,
) -> Result<(), AdapterError> {
    // A request that panicked is a bug; its offset is never done, so nothing after it is lost when the process restarts.
    let (topic, partition, offset) = done.map_err(|_| AdapterError::Bug)?;
    if let Some(next) = order.done(&topic, partition, offset) {
        inlet.commit(&topic, partition, next)?;
    }
    Ok(())
}
