//! Two engines: one joins under load, one leaves under load. Neither proves again what its program has proven.

use std::time::Duration;

use integration_tests::{Failure, Installation};
use signalbox::payouts::Wish;
use sqlx::{Connection, PgConnection};

use super::crashes::{all_completed, under_way};
use crate::{ENGINE, OTHER_ENGINE, Outcome};

const SOON: Duration = Duration::from_secs(60);
const WAVE: usize = 50;

/// Lanes move to the engine that joins and away from the one that leaves, with payouts under way each time.
pub(crate) async fn join_and_leave(on: &mut Installation) -> Outcome {
    on.bank.be_slow(100, 900).await?;
    let all = on.reader.lanes().await?.len();
    on.until_lanes(SOON, ENGINE, |held| held == all).await?;
    let mut payouts = on.request(&Wish::default(), WAVE).await?;
    on.start_engine(OTHER_ENGINE).await?;
    let joined = on.until_lanes(SOON, OTHER_ENGINE, |held| held >= all / 2).await?;
    let left = on.until_lanes(SOON, ENGINE, |held| held > 0 && held < all).await?;
    payouts.extend(on.request(&Wish::default(), WAVE).await?);
    let leaving_with = under_way(on, &payouts);
    on.stop_engine(ENGINE).await?;
    payouts.extend(on.request(&Wish::default(), WAVE).await?);
    on.until_lanes(SOON, OTHER_ENGINE, |held| held == all).await?;
    let proven = proven_once(on).await?;
    let verified = all_completed(on, payouts).await?;
    Ok(format!(
        "{all} lanes became {left} and {joined}, then {all} again with {leaving_with} payouts under way; {proven} journeys \
         are proven once; {verified}"
    ))
}

/// Versions of journeys that engines of this program have started with, each explored by one engine alone.
async fn proven_once(on: &Installation) -> Result<i64, Failure> {
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    let count = "SELECT count(DISTINCT (name, version)), count(*) FROM journey_proof";
    let (versions, proofs): (i64, i64) = sqlx::query_as(count).fetch_one(&mut database).await?;
    assert!(versions > 0 && proofs == versions, "{proofs} proofs of {versions} versions");
    Ok(versions)
}
