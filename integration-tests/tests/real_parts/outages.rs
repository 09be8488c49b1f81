//! Servers that are away: the registry at start and later, Postgres and Kafka killed under load.

use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, verify};
use signalbox::payouts::Wish;
use signalbox::scene::{COMMANDS, SceneError};
use signalbox_schemas::headers;

use super::crashes::{all_completed, in_mid_work, under_way};
use crate::{ENGINE, Outcome};

const SOON: Duration = Duration::from_secs(60);
/// No registry of a test gives out an id this high.
const UNKNOWN_SCHEMA: u32 = 900_002;

/// Engines remember schema ids: they start and work without the registry. What they do not know waits for it.
pub(crate) async fn registry(on: &mut Installation) -> Outcome {
    on.stop_engine(ENGINE).await?;
    on.stack().kill_registry().await;
    on.start_engine(ENGINE).await?;
    let payouts = on.request(&Wish::default(), 10).await?;
    let started: Vec<Expectation> = payouts.into_iter().map(Expectation::completed).collect();
    verify(on, &started).await?;

    let key = "a record of a schema that nobody knows";
    let mut payload = vec![0];
    payload.extend(UNKNOWN_SCHEMA.to_be_bytes());
    payload.push(1);
    on.commands.publish_raw(COMMANDS, key, payload).await?;
    let payouts = on.request(&Wish::default(), 20).await?;
    // Lanes other than the one that waits go on.
    let ids: Vec<String> = payouts.iter().map(|payout| payout.id.clone()).collect();
    on.witness
        .until(SOON, "the end of payouts in other lanes", |seen| {
            (seen.ended(ids.iter().map(String::as_str)) >= ids.len() / 2).then_some(())
        })
        .await?;
    let is_dead = |seen: &integration_tests::Sightings| {
        seen.dead_letters.iter().find(|dead| dead.record.key_text() == Some(key)).cloned()
    };
    assert!(
        on.witness.ask(is_dead).is_none(),
        "a record was given up while the registry could not be asked"
    );

    on.stack().start_registry().await.map_err(SceneError::from)?;
    on.prepare().await?;
    let dead = on.witness.until(SOON, "the dead letter of the unknown schema", is_dead).await?;
    let cause = dead.header(headers::DLQ_MESSAGE).to_owned();
    let verified = all_completed(on, payouts).await?;
    Ok(format!(
        "started and worked without it; an unknown schema waited for it and then died of {cause:?}; {verified}"
    ))
}

/// kill -9 of the whole database server, and crash recovery.
pub(crate) async fn postgres(on: &mut Installation) -> Outcome {
    let payouts = in_mid_work(on).await?;
    let under_way = under_way(on, &payouts);
    on.stack().kill_postgres().await;
    on.stack().start_postgres().await.map_err(SceneError::from)?;
    let verified = all_completed(on, payouts).await?;
    Ok(format!("killed with {under_way} payouts under way; {verified}"))
}

/// kill -9 of the only broker.
pub(crate) async fn kafka(on: &mut Installation) -> Outcome {
    let payouts = in_mid_work(on).await?;
    let under_way = under_way(on, &payouts);
    on.stack().kill_kafka().await;
    on.stack().start_kafka().await.map_err(SceneError::from)?;
    let late = on.request(&Wish::default(), 5).await?;
    let verified = all_completed(on, payouts.into_iter().chain(late).collect()).await?;
    Ok::<String, Failure>(format!("killed with {under_way} payouts under way; {verified}"))
}
