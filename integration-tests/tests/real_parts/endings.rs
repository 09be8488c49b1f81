//! Every persona from command to ending, and what the whole run left behind.

use std::time::Duration;

use integration_tests::{Expectation, Installation, People, cast, verify};

use crate::Outcome;

/// The slowest persona waits through twenty retries; the rest is for a machine busy with a build.
const PATIENCE: Duration = Duration::from_secs(120);

/// One payout of each persona, with people who decide and customers who change their minds.
pub(crate) async fn every_persona(on: &mut Installation) -> Outcome {
    let cast = cast()?;
    let mut people = People::default();
    let mut expected = Vec::new();
    for (persona, wish) in cast.iter().filter_map(|one| Some((one, one.wish()?))) {
        let payout = on.payout(wish);
        on.commands.request(&payout.id, &payout.command).await?;
        people.play(&payout.id, persona);
        let (ends, transfers) = (persona.ends.clone(), persona.transfers);
        expected.push(Expectation { payout, ends, transfers });
    }
    people.act(on, PATIENCE).await?;
    let verified = verify(on, &expected).await?;
    Ok(format!("{} personas: {verified}", expected.len()))
}

/// Looks at every record of the run once more: late repeats of a crash would show here.
pub(crate) async fn nothing_twice(on: &mut Installation) -> Outcome {
    let (payouts, twice, breaks, duplicates, records) = on.witness.ask(|seen| {
        let twice = seen.courses.iter().filter(|(_, course)| course.endings.len() > 1);
        let records: u64 = seen.tally.values().map(|tally| tally.applied).sum();
        let twice: Vec<String> = twice.map(|(id, course)| format!("{id}: {course:?}")).collect();
        (seen.courses.len(), twice, seen.breaks.clone(), seen.duplicates(), records)
    });
    assert!(twice.is_empty(), "payouts that ended twice: {twice:?}");
    assert!(breaks.is_empty(), "records that break the consumers' rule: {breaks:?}");
    let transfers = on.bank.transfers_per_account().await?;
    let repeated: Vec<_> = transfers.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "accounts that were paid twice: {repeated:?}");
    let stopped: Vec<_> =
        on.reader.lanes().await?.into_iter().filter(|lane| lane.stopped.is_some()).collect();
    assert!(stopped.is_empty(), "lanes that were stopped: {stopped:?}");
    Ok(format!(
        "{payouts} payouts, {records} records without a gap, {duplicates} repeats recognised, {} transfers, no account paid twice",
        transfers.len()
    ))
}
