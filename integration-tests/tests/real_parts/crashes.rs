//! Processes of ours that die or freeze in the middle of their work.

use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, verify};
use rustix::process::Signal;
use signalbox::payouts::{Payout, Wish};
use tokio::time::Instant;

use crate::{ADAPTER, ENGINE, OTHER_ENGINE, Outcome};

const SOON: Duration = Duration::from_secs(60);
/// Payouts of one story.
const PAYOUTS: usize = 80;
/// How many must be under way at the moment of the fault; fewer would prove little.
const UNDER_WAY_MIN: usize = 30;

/// Payouts on their way through slow vendors, some of them paid and none of them at its end.
pub(crate) async fn in_mid_work(on: &mut Installation) -> Result<Vec<Payout>, Failure> {
    on.bank.be_slow(100, 900).await?;
    let before = on.bank.ledger().await?.len();
    let payouts = on.request(&Wish::default(), PAYOUTS).await?;
    let deadline = Instant::now() + SOON;
    loop {
        let paid = on.bank.ledger().await?.len() - before;
        if paid >= PAYOUTS / 4 {
            return Ok(payouts);
        }
        on.must_run()?;
        assert!(
            Instant::now() < deadline,
            "the bank was asked for {paid} of {PAYOUTS} payouts only"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many have not ended.
pub(crate) fn under_way(on: &Installation, payouts: &[Payout]) -> usize {
    let ids = payouts.iter().map(|payout| payout.id.as_str());
    let under_way = payouts.len() - on.witness.ask(|seen| seen.ended(ids));
    assert!(
        under_way >= UNDER_WAY_MIN,
        "only {under_way} payouts were under way: the fault came too late"
    );
    under_way
}

/// All of them must be paid once and completed.
pub(crate) async fn all_completed(on: &mut Installation, payouts: Vec<Payout>) -> Outcome {
    let expected: Vec<Expectation> = payouts.into_iter().map(Expectation::completed).collect();
    Ok(verify(on, &expected).await?.to_string())
}

/// kill -9, and the same engine again.
pub(crate) async fn engine(on: &mut Installation) -> Outcome {
    let payouts = in_mid_work(on).await?;
    let under_way = under_way(on, &payouts);
    on.kill_engine(ENGINE)?;
    on.start_engine(ENGINE).await?;
    let verified = all_completed(on, payouts).await?;
    Ok(format!("killed with {under_way} payouts under way; {verified}"))
}

/// kill -9 while transfers are on their way to the bank.
pub(crate) async fn adapter(on: &mut Installation) -> Outcome {
    let payouts = in_mid_work(on).await?;
    let under_way = under_way(on, &payouts);
    on.kill_adapter(ADAPTER)?;
    on.start_adapter(ADAPTER).await?;
    let verified = all_completed(on, payouts).await?;
    Ok(format!("killed with {under_way} payouts under way; {verified}"))
}

/// An engine that stands still past its lease, loses its lanes to another, and goes on as if nothing had happened.
pub(crate) async fn zombie(on: &mut Installation) -> Outcome {
    on.start_engine(OTHER_ENGINE).await?;
    on.until_lanes(SOON, OTHER_ENGINE, |held| held > 0).await?;
    let payouts = in_mid_work(on).await?;
    let under_way = under_way(on, &payouts);
    let held = on.lanes_of(ENGINE).await?.len();
    assert!(held > 0, "the engine to be stopped holds no lane");
    on.signal_engine(ENGINE, Signal::STOP)?;
    on.until_lanes(SOON, ENGINE, |held| held == 0).await?;
    on.signal_engine(ENGINE, Signal::CONT)?;
    let verified = all_completed(on, payouts).await?;
    on.until_lanes(SOON, ENGINE, |held| held > 0).await?;
    on.stop_engine(OTHER_ENGINE).await?;
    Ok(format!(
        "lost {held} lanes with {under_way} payouts under way, woke as a zombie, got lanes again; {verified}"
    ))
}
