//! An upgrade under load: engines and adapters of the program before are replaced one after the other by the new program,
//! while both run on one database. `SIGNALBOX_PREVIOUS_PROGRAM` names the program before; without it, it is the same.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, Stream, built_program, verify};
use serde_json::Value;
use signalbox::payouts::Wish;
use signalbox::scene::{EngineName, Quantiles};
use tokio::time::{Instant, sleep};

use crate::{ADAPTER, ENGINE, OTHER_ENGINE, Outcome};

const OTHER_ADAPTER: &str = "adapter-2";
/// Engines of the new program, which come beside the old ones before those go.
const NEW_ENGINE: EngineName = EngineName("engine-3");
const OTHER_NEW_ENGINE: EngineName = EngineName("engine-4");
const SOON: Duration = Duration::from_secs(60);
/// Payouts in a second, and how many there are at most: more than the upgrade can take.
const RATE: u32 = 15;
const PAYOUTS: usize = 4_000;
/// Payouts that must be under way while anything is replaced; fewer would prove little.
const UNDER_WAY_MIN: usize = 10;

/// Every payout ends once, no consumer sees a gap, and lanes are handed over, not left.
pub(crate) async fn under_load(on: &mut Installation) -> Outcome {
    let (before, new) = (on.program().to_owned(), built_program()?);
    on.bank.be_slow(100, 900).await?;
    on.start_engine(OTHER_ENGINE).await?;
    on.start_adapter(OTHER_ADAPTER).await?;
    let all = on.reader.lanes().await?.len();
    on.until_lanes(SOON, OTHER_ENGINE, |held| held == all / 2).await?;
    let payouts: Vec<_> = (0..PAYOUTS).map(|_| on.payout(&Wish::default())).collect();
    let stream = Stream::start(on.commands.clone(), payouts, RATE);
    until_under_way(on, &stream).await?;
    let known = claims(on)?;

    on.run_from(new.clone());
    let migrated = on.succeed(&["migrate"]).await?;
    on.succeed(&["topics", "apply", "--replicas", "1"]).await?;
    on.succeed(&["schemas", "register"]).await?;
    replace_engines(on, &stream).await?;
    for adapter in [ADAPTER, OTHER_ADAPTER] {
        until_under_way(on, &stream).await?;
        on.stop_adapter(adapter).await?;
        on.start_adapter(adapter).await?;
    }

    stream.cut();
    let published = stream.end().await?;
    let count = published.len();
    assert!(count < PAYOUTS, "the load ended before the upgrade");
    let completed = published.into_iter().map(|(payout, _)| Expectation::completed(payout));
    let verified = verify(on, &completed.collect::<Vec<_>>()).await?;
    let told = gaps(&claims(on)?.difference(&known).copied().collect(), &rests(on)?);
    on.stop_adapter(OTHER_ADAPTER).await?;
    let which = if before == new { "the same program" } else { "the program before" };
    Ok(format!("from {which}: {}; {told}; {verified}", migrated.trim_end()))
}

/// One new engine comes, is taken back, and comes again; then the old ones go, one after the other, each while the new ones
/// work. Rows that the new program wrote are read by the old one on the way back.
async fn replace_engines(on: &mut Installation, stream: &Stream) -> Result<(), Failure> {
    join(on, stream, NEW_ENGINE).await?;
    on.stop_engine(NEW_ENGINE).await?;
    until_under_way(on, stream).await?;
    join(on, stream, NEW_ENGINE).await?;
    on.stop_engine(ENGINE).await?;
    join(on, stream, OTHER_NEW_ENGINE).await?;
    on.stop_engine(OTHER_ENGINE).await?;
    until_under_way(on, stream).await
}

async fn join(on: &mut Installation, stream: &Stream, engine: EngineName) -> Result<(), Failure> {
    until_under_way(on, stream).await?;
    on.start_engine(engine).await?;
    on.until_lanes(SOON, engine, |held| held > 1).await?;
    on.must_run()
}

async fn until_under_way(on: &mut Installation, stream: &Stream) -> Result<(), Failure> {
    let deadline = Instant::now() + SOON;
    loop {
        let under_way = stream.under_way(on);
        if under_way >= UNDER_WAY_MIN {
            return on.must_run();
        }
        if Instant::now() > deadline {
            let what = format!("{UNDER_WAY_MIN} payouts under way");
            let seen = format!("{under_way} of {}", stream.published());
            return Err(Failure::Late { what, seconds: SOON.as_secs(), seen });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A lane taken over, as the engine that took it logs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    lane: u64,
    epoch: u64,
    /// Since nobody read the lane; none where its owner had not given it back.
    gap_ms: Option<u64>,
    claim_ms: u64,
}

fn claims(on: &Installation) -> Result<BTreeSet<Claim>, Failure> {
    let claim = |line: &Value| {
        let number = |name: &str| line.get(name).and_then(Value::as_u64);
        let (lane, epoch) = (number("lane")?, number("epoch")?);
        Some(Claim { lane, epoch, gap_ms: number("gap_ms"), claim_ms: number("claim_ms")? })
    };
    Ok(told_by_engines(on, "lane claimed")?.iter().filter_map(claim).collect())
}

/// For each lane that was given back: how long it rested until all of it was published, in ms.
fn rests(on: &Installation) -> Result<Vec<u64>, Failure> {
    let rest = |line: &Value| line.get("rest_ms").and_then(Value::as_u64);
    Ok(told_by_engines(on, "lane given back")?.iter().filter_map(rest).collect())
}

/// Lines of the engines' logs with a message.
fn told_by_engines(on: &Installation, message: &str) -> Result<Vec<Value>, Failure> {
    let logs = on.logs()?;
    let engines = logs.iter().filter(|(name, _)| name.starts_with("engine"));
    let lines = engines.flat_map(|(_, log)| log.lines());
    let parsed = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_it = |line: &Value| line.get("message").and_then(Value::as_str) == Some(message);
    Ok(parsed.filter(is_it).collect())
}

/// Lanes that were handed over, in words: how long nobody read one is told, not judged, on a machine that does other things.
fn gaps(claims: &BTreeSet<Claim>, rests: &[u64]) -> String {
    let (mut gaps, mut checks) = (Quantiles::default(), Quantiles::default());
    let mut drains = Quantiles::default();
    rests.iter().for_each(|rest_ms| drains.add(Duration::from_millis(*rest_ms)));
    for claim in claims {
        checks.add(Duration::from_millis(claim.claim_ms));
        if let Some(gap_ms) = claim.gap_ms {
            gaps.add(Duration::from_millis(gap_ms));
        }
    }
    assert!(gaps.count() > 0, "no lane was handed over: {claims:?}");
    let at = |times: &Quantiles| {
        [50, 99, 100].map(|rank| times.at(rank).as_millis().to_string()).join(" / ")
    };
    format!(
        "{} lanes handed over and {} taken after their lease, lane gap p50 / p99 / max {} ms, of it until published {} ms and the claim {} ms",
        gaps.count(),
        claims.len() - gaps.count(),
        at(&gaps),
        at(&drains),
        at(&checks)
    )
}
