//! What the documentation gives to other teams to take along, run as it stands there on what the product published.

use std::collections::HashMap;
use std::str::FromStr;

use integration_tests::{Expectation, Failure, Installation, verify};
use signalbox::consumer_rule::{ConsumerRule, Sighting, Stream, Verdict};
use signalbox::payouts::Wish;
use sqlx::{Connection, PgConnection, Row};

use super::upkeep::database;
use crate::Outcome;

const RECIPE: &str = "docs/clients/sql/consumer_rule.sql";
const WRITTEN: &str = "consumers/sightings.tsv";
/// Every so many records one comes again, a little later.
const REPEATED: usize = 5;
/// How much later.
const LATER: usize = 3;

/// The consumers' rule in SQL says of every record what the package says, and of the written ones what is written.
pub(crate) async fn consumers_rule_in_sql(on: &mut Installation) -> Outcome {
    let payouts = on.request(&Wish::default(), 10).await?;
    let expected: Vec<Expectation> = payouts.into_iter().map(Expectation::completed).collect();
    verify(on, &expected).await?;
    let url = database(on, "consumer_of_events").await?;
    let mut consumer = PgConnection::connect(&url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(read(on, RECIPE)?)).execute(&mut consumer).await?;

    let (seen, wanted): (Vec<Sighting>, Vec<String>) =
        read(on, WRITTEN)?.lines().filter(|line| !line.starts_with('#')).map(written).unzip();
    assert_eq!(judge(&mut consumer, &seen).await?, wanted, "{WRITTEN}");

    let published = disturbed(on.witness.ask(|seen| seen.published.clone()));
    let mut rule = ConsumerRule::new();
    let wanted: Vec<&str> = published.iter().map(|seen| word(rule.judge(seen))).collect();
    let told = judge(&mut consumer, &published).await?;
    for (index, (told, wanted)) in told.iter().zip(&wanted).enumerate() {
        assert_eq!(told, wanted, "record {index}: {:?}", published.get(index));
    }
    let count = |wanted: &str| told.iter().filter(|told| *told == wanted).count();
    let (applied, repeats, gaps) = (count("apply"), count("duplicate"), count("gap"));
    assert!(applied > 0 && repeats > 0 && gaps > 0, "{applied}, {repeats}, {gaps}");
    Ok(format!(
        "SQL and the package agree on {} records that lanes published: {applied} applied, {repeats} repeats, {gaps} after \
         the one that was left out",
        told.len()
    ))
}

/// What lanes published, without one record in the middle of the longest stream, and with repeats.
fn disturbed(mut published: Vec<Sighting>) -> Vec<Sighting> {
    let mut places: HashMap<&Stream, Vec<usize>> = HashMap::new();
    for (place, seen) in published.iter().enumerate() {
        places.entry(&seen.stream).or_default().push(place);
    }
    let longest = places.into_values().max_by_key(Vec::len).unwrap_or_default();
    if let Some(missing) = longest.get(longest.len() / 2) {
        published.remove(*missing);
    }
    let mut disturbed = Vec::with_capacity(published.len() * 2);
    for (place, seen) in published.iter().enumerate() {
        disturbed.push(seen.clone());
        if place % REPEATED == 0 {
            disturbed
                .extend(place.checked_sub(LATER).and_then(|before| published.get(before)).cloned());
        }
    }
    disturbed
}

/// What the function of the recipe says of records, in their order.
async fn judge(consumer: &mut PgConnection, seen: &[Sighting]) -> Result<Vec<String>, Failure> {
    let numbers = |of: fn(&Sighting) -> i32| seen.iter().map(of).collect::<Vec<_>>();
    let rows = sqlx::query(
        "SELECT judge(topic, partition, lane, lane_seq, prev_seq) AS verdict
           FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[])
                AS seen(topic, partition, lane, lane_seq, prev_seq)",
    )
    .bind(seen.iter().map(|seen| seen.stream.topic.as_str()).collect::<Vec<_>>())
    .bind(numbers(|seen| seen.stream.partition))
    .bind(numbers(|seen| i32::from(seen.stream.lane)))
    .bind(seen.iter().map(|seen| seen.lane_seq).collect::<Vec<_>>())
    .bind(seen.iter().map(|seen| seen.prev_seq).collect::<Vec<_>>())
    .fetch_all(consumer)
    .await?;
    rows.iter().map(|row| Ok(row.try_get("verdict")?)).collect()
}

/// A line of the shared sightings, and what SQL has to say of it: it keeps no contents, so that an altered record is a
/// repeat to it.
fn written(line: &str) -> (Sighting, String) {
    let parts: Vec<&str> = line.split('\t').collect();
    let [topic, partition, lane, lane_seq, prev_seq, _content, verdict] = parts.as_slice() else {
        panic!("{WRITTEN}: {line:?} has not seven columns");
    };
    let stream =
        Stream { topic: (*topic).to_owned(), partition: number(partition), lane: number(lane) };
    let (lane_seq, prev_seq) = (number(lane_seq), number(prev_seq));
    let verdict = if *verdict == "altered" { "duplicate" } else { *verdict };
    (Sighting { stream, lane_seq, prev_seq, content: [0; 32] }, verdict.to_owned())
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{WRITTEN}: {text:?} is not a number"))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Apply => "apply",
        Verdict::Duplicate | Verdict::Altered => "duplicate",
        Verdict::Gap { .. } => "gap",
    }
}

fn read(on: &Installation, file: &str) -> Result<String, Failure> {
    let reading = Failure::while_doing(format!("reading {file}"));
    std::fs::read_to_string(on.checkout().join(file)).map_err(reading)
}
