//! Before a claimed lane does anything: is this the same Kafka and the same Postgres, are positions still valid, did
//! Postgres lose commits; and then what the journal holds and the topics do not is published (protocol section 2).

use signalbox_bus::{BusError, Inbound, LaneBus, LogRange, Outbound, Stretch};
use signalbox_schemas::{LaneId, TopicName, headers};
use signalbox_store::{InputRow, Installation, JournalRow, LaneStore, OutputRow, StoreError};
use signalbox_vault::{OpenError, Place, ProviderError, Vault};
use std::collections::{BTreeMap, BTreeSet};

use crate::keys::{self, KeyTrouble};
use crate::lane::Lane;
use crate::metrics;
use crate::outbox::decode_records;

/// Records read at once while looking for a lane's last sequence, and journal rows read at once.
const STRETCH: i64 = 2_000;
const ROWS: usize = 1_000;

/// Why a lane cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Try again later.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Try again later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Try again later, or correct the configuration.
    #[error(transparent)]
    Keys(#[from] ProviderError),
    /// Another cluster or another database: nothing may be done until a person has looked.
    #[error("{0}")]
    Installation(String),
    /// The lane's own positions do not fit what is there: stop it and page.
    #[error("{0}")]
    Lane(String),
    /// Its topics hold what the database never gave out: stop it, hold money, and page.
    #[error("{0}")]
    LostCommits(String),
}

impl From<KeyTrouble> for ClaimError {
    fn from(trouble: KeyTrouble) -> Self {
        match trouble {
            KeyTrouble::Store(error) => Self::Store(error),
            KeyTrouble::Provider(error) => Self::Keys(error),
        }
    }
}

/// Refuses to work against another Kafka or another Postgres than before, or one that is known to have lost commits.
pub(crate) fn check_installation(
    installation: &Installation,
    cluster: &str,
) -> Result<(), ClaimError> {
    let differs = |what: &str, was: &Option<String>, is: &str| match was {
        Some(was) if was != is => Err(ClaimError::Installation(format!(
            "{what} was {was} and is {is} now: another cluster, a restored database or a promoted standby; run `signalbox lane reconcile`"
        ))),
        _ => Ok(()),
    };
    differs("the Kafka cluster id", &installation.kafka_cluster, cluster)?;
    differs(
        "the Postgres system identifier",
        &installation.system_identifier,
        &installation.current_system_identifier,
    )?;
    differs("the Postgres timeline", &installation.timeline, &installation.current_timeline)?;
    if installation.lost_commits {
        let told = "Postgres lost commits: its lanes' topics hold what it never gave out; run `signalbox lane reconcile`";
        return Err(ClaimError::Installation(told.to_owned()));
    }
    Ok(())
}

/// Checks a claimed lane against the logs that it reads and those that it may publish to, and queues what it left
/// unpublished; how many records that are. The brokers are asked twice: nobody reads the lane meanwhile.
pub(crate) async fn begin<B: LaneBus, S: LaneStore>(
    lane: &mut Lane,
    logs: &LaneLogs<'_>,
    bus: &mut B,
    store: &mut S,
    vault: &mut Vault,
) -> Result<usize, ClaimError> {
    let inputs: Vec<Log> =
        logs.inputs.iter().map(|topic| (topic.clone(), lane.id().partition())).collect();
    let known: Vec<Log> = lane.position.outputs.keys().cloned().collect();
    let is_unknown = |output: &&Log| !lane.position.outputs.contains_key(*output);
    let unknown: Vec<Log> = logs.outputs.iter().filter(is_unknown).cloned().collect();

    let mut of_inputs = bus.ranges(&[&inputs[..], &known, &unknown].concat()).await?;
    let mut of_known = of_inputs.split_off(inputs.len());
    let of_unknown = of_known.split_off(known.len());
    let (consumed, begun) = check_positions(lane, logs.inputs, &of_inputs)?;
    let tails = tails(lane, &of_known);
    let strange = unknown_tails(&unknown, &of_unknown, logs.acked_elsewhere);

    let consumed_last = consumed.iter().map(|(stretch, _)| stretch);
    let stretches: Vec<Stretch> = consumed_last.chain(&tails).chain(&strange).cloned().collect();
    let mut in_inputs = bus.read_all(&stretches).await?;
    let mut in_known = in_inputs.split_off(consumed.len());
    let in_unknown = in_known.split_off(tails.len());
    check_consumed(&consumed, &in_inputs)?;
    check_unknown_outputs(lane, &strange, &in_unknown)?;

    if !begun.is_empty() {
        store.begin_inputs(&begun).await?;
        lane.position.inputs.extend(begun.into_iter().map(|row| (row.topic.clone(), row)));
    }
    publish_rest(lane, of_known.into_iter().zip(in_known), bus, store, vault).await
}

/// A partition of a topic.
type Log = (TopicName, i32);

/// What a lane has to do with, besides what its database knows.
pub(crate) struct LaneLogs<'w> {
    /// Topics of which it reads its own partition.
    pub(crate) inputs: &'w [TopicName],
    /// Every log to which it may publish.
    pub(crate) outputs: &'w [Log],
    /// The last offset that any lane knows of its records in the partition of another.
    pub(crate) acked_elsewhere: &'w BTreeMap<Log, i64>,
}

/// The last record that was consumed of a log: where it is, and its hash.
type Consumed = (Stretch, [u8; 32]);

/// What was consumed last of every input, and inputs never read before, which begin at the start of their log.
fn check_positions(
    lane: &Lane,
    topics: &[TopicName],
    ranges: &[LogRange],
) -> Result<(Vec<Consumed>, Vec<InputRow>), ClaimError> {
    let (mut consumed, mut begun) = (Vec::new(), Vec::new());
    for (topic, range) in topics.iter().zip(ranges) {
        match lane.position.inputs.get(topic) {
            Some(row) => consumed.extend(check_position(row, *range)?),
            None => begun.push(InputRow {
                lane: lane.id(),
                topic: topic.clone(),
                next_offset: range.start.max(0),
                last_offset: None,
                last_record_hash: None,
            }),
        }
    }
    Ok((consumed, begun))
}

/// The place of the last record that was consumed and its hash, where it can be read back.
fn check_position(row: &InputRow, range: LogRange) -> Result<Option<Consumed>, ClaimError> {
    if row.next_offset < range.start || row.next_offset > range.end {
        return Err(ClaimError::Lane(format!(
            "{}-{}: the lane is at offset {}, the log holds {} to {}: records were lost or the topic was made anew",
            row.topic, row.lane, row.next_offset, range.start, range.end
        )));
    }
    let (Some(from), Some(hash)) = (row.last_offset, row.last_record_hash) else { return Ok(None) };
    let (topic, partition) = (row.topic.clone(), row.lane.partition());
    let stretch = Stretch { topic, partition, from, end: from + 1 };
    Ok((from >= range.start).then_some((stretch, hash)))
}

/// The records that were consumed last must be what they were.
fn check_consumed(consumed: &[Consumed], found: &[Vec<Inbound>]) -> Result<(), ClaimError> {
    for ((stretch, hash), found) in consumed.iter().zip(found) {
        // Compaction or an aborted transaction may have taken the record; another record there is another topic.
        if found.first().is_some_and(|record| record.content_hash() != *hash) {
            return Err(ClaimError::Lane(format!(
                "{}-{}: offset {} holds another record than the one that was consumed: the topic was made anew",
                stretch.topic, stretch.partition, stretch.from
            )));
        }
    }
    Ok(())
}

/// The ends of logs that a lane, as far as the database knows, never wrote to, after everything that the database knows to
/// be there. The end is enough: one record tells, and the lane's own partition has no others.
fn unknown_tails(
    unknown: &[Log],
    ranges: &[LogRange],
    acked_elsewhere: &BTreeMap<Log, i64>,
) -> Vec<Stretch> {
    let tail = |(output, range): (&Log, &LogRange)| {
        let after = acked_elsewhere.get(output).map_or(0, |offset| offset + 1);
        let from = after.max(range.start).max(range.end - STRETCH);
        let (topic, partition) = output.clone();
        (from < range.end).then_some(Stretch { topic, partition, from, end: range.end })
    };
    unknown.iter().zip(ranges).filter_map(tail).collect()
}

/// What a lane may publish to and, as far as the database knows, never has, must hold nothing of it: what is there was
/// forgotten.
fn check_unknown_outputs(
    lane: &Lane,
    tails: &[Stretch],
    found: &[Vec<Inbound>],
) -> Result<(), ClaimError> {
    tails.iter().zip(found).try_for_each(|(tail, records)| {
        let last = last_of(lane.id(), records).unwrap_or(0);
        check_given_out(lane, (&tail.topic, tail.partition), last)
    })
}

/// No topic holds a sequence that the lane has not given out.
fn check_given_out(
    lane: &Lane,
    (topic, partition): (&TopicName, i32),
    last: i64,
) -> Result<(), ClaimError> {
    if last <= lane.position.out_seq {
        return Ok(());
    }
    Err(ClaimError::LostCommits(format!(
        "{topic}-{partition}: holds sequence {last} of lane {}, the store gave out {} at most: Postgres lost commits; run `signalbox lane reconcile`",
        lane.id(),
        lane.position.out_seq
    )))
}

/// The lane's last sequence among records.
fn last_of(lane: LaneId, records: &[Inbound]) -> Option<i64> {
    let own = |record: &&Inbound| record.number(headers::LANE) == Some(i64::from(lane.0));
    records.iter().filter(own).filter_map(|record| record.number(headers::LANE_SEQ)).max()
}

/// Finds what of the journal is missing on the topics and queues it, in order. Everything that was in flight is settled
/// by what the logs hold.
pub(crate) async fn resume<B: LaneBus, S: LaneStore>(
    lane: &mut Lane,
    bus: &mut B,
    store: &mut S,
    vault: &mut Vault,
) -> Result<usize, ClaimError> {
    let outputs: Vec<_> = lane.position.outputs.keys().cloned().collect();
    let ranges = bus.ranges(&outputs).await?;
    let tails = bus.read_all(&tails(lane, &ranges)).await?;
    publish_rest(lane, ranges.into_iter().zip(tails), bus, store, vault).await
}

/// Queues what the journal holds and the outputs, in their order, do not.
async fn publish_rest<B: LaneBus, S: LaneStore>(
    lane: &mut Lane,
    found: impl Iterator<Item = (LogRange, Vec<Inbound>)> + Send,
    bus: &mut B,
    store: &mut S,
    vault: &mut Vault,
) -> Result<usize, ClaimError> {
    lane.forget_in_flight();
    let id = lane.id();
    let mut logs = Logs::default();
    for ((output, row), (range, tail)) in lane.position.outputs.iter().zip(found) {
        let (last, cut) = last_on_topic(id, row, range, &tail, lane.pub_seq, bus).await?;
        check_given_out(lane, (&row.topic, row.partition), last)?;
        logs.last.insert(output.clone(), last);
        if cut {
            lost_tail(id, row, range);
            logs.cut.insert(output.clone());
        }
    }
    let behind = lane.position.outputs.iter().filter_map(|(output, row)| {
        logs.last.get(output).copied().filter(|last| *last < row.last_seq)
    });
    let Some(lowest) = behind.min() else {
        lane.settle(tokio::time::Instant::now());
        return Ok(0);
    };
    republish(lane, &logs, lowest, bus, store, vault).await
}

/// What the outputs' logs hold of a lane.
#[derive(Default)]
struct Logs {
    /// The lane's last sequence there.
    last: BTreeMap<Log, i64>,
    /// Outputs whose log ends before a record that was acknowledged: the broker has lost some.
    cut: BTreeSet<Log>,
}

/// The brokers have lost what they had acknowledged; as far as the journal holds it, it is published again.
fn lost_tail(lane: LaneId, row: &OutputRow, range: LogRange) {
    metrics::lost_tail();
    tracing::warn!(
        lane = lane.0,
        topic = %row.topic,
        partition = row.partition,
        acknowledged = row.last_acked_offset,
        end = range.end,
        "a log has lost its tail"
    );
}

/// Of each output what follows what was acknowledged. The record at the last acknowledged offset is read too: it is the
/// floor.
fn tails(lane: &Lane, ranges: &[LogRange]) -> Vec<Stretch> {
    let tail = |(row, range): (&OutputRow, &LogRange)| {
        let from = row.last_acked_offset.max(range.start);
        Stretch { topic: row.topic.clone(), partition: row.partition, from, end: range.end }
    };
    lane.position.outputs.values().zip(ranges).map(tail).collect()
}

/// The lane's last sequence on an output, and whether the broker has lost what it had acknowledged.
async fn last_on_topic<B: LaneBus>(
    lane: LaneId,
    row: &OutputRow,
    range: LogRange,
    tail: &[Inbound],
    pub_seq: i64,
    bus: &mut B,
) -> Result<(i64, bool), ClaimError> {
    let cut = row.last_acked_offset >= range.end;
    if let Some(last) = last_of(lane, tail) {
        return Ok((last, cut));
    }
    // The broker lost its tail, or the record has expired: search backwards from the end.
    let mut end = row.last_acked_offset.clamp(range.start, range.end.max(range.start));
    while end > range.start {
        let begin = (end - STRETCH).max(range.start);
        let records = bus.read(&row.topic, row.partition, begin, end).await?;
        if let Some(last) = last_of(lane, &records) {
            return Ok((last, cut));
        }
        end = begin;
    }
    // Nothing of this lane is there. Where retention took records, what was acknowledged is done; otherwise it is lost. A
    // log that has lost its tail as well does not tell which of the two became of a record: everything is published again.
    let expired = range.start > 0 && !cut;
    Ok((if expired { pub_seq.min(row.last_seq) } else { 0 }, cut))
}

async fn republish<B: LaneBus, S: LaneStore>(
    lane: &mut Lane,
    logs: &Logs,
    lowest: i64,
    bus: &mut B,
    store: &mut S,
    vault: &mut Vault,
) -> Result<usize, ClaimError> {
    let id = lane.id();
    // Where the answer of a commit was lost and is not known yet, the journal may hold more. That is published once it is
    // known: this worker would take it for what a database has forgotten otherwise.
    let known = lane.position.journal_seq;
    let mut after = store.journal_seq_of(id, lowest).await?;
    let mut count = 0;
    let mut out_before = lowest;
    while after < known {
        let mut rows = store.journal_after(id, after, ROWS).await?;
        rows.retain(|row| row.seq <= known);
        let Some(last) = rows.last() else { break };
        after = last.seq;
        keys::to_open(vault, store, rows.iter().map(|row| row.records.as_slice())).await?;
        for row in &rows {
            let first = std::mem::replace(&mut out_before, row.out_last) + 1;
            let Some(records) = records_of(row, vault)? else {
                if may_be_missing(lane, logs, first, row.out_last) {
                    erased_and_missing(row);
                }
                continue;
            };
            let missing: Vec<(i64, &Outbound)> = records
                .iter()
                .filter_map(|record| Some((record.lane_seq()?, record)))
                .filter(|(seq, record)| {
                    logs.last
                        .get(&(record.topic.clone(), record.partition))
                        .is_none_or(|last| seq > last)
                })
                .collect();
            if !missing.is_empty() {
                lane.publishing_row(row.seq, row.out_last);
            }
            for (seq, record) in missing {
                lane.publishing(seq);
                bus.publish(id.0, seq, record)?;
                count += 1;
            }
        }
    }
    lane.settle(tokio::time::Instant::now());
    Ok(count)
}

/// What a row publishes; none where the key that sealed it was destroyed.
fn records_of(row: &JournalRow, vault: &mut Vault) -> Result<Option<Vec<Outbound>>, ClaimError> {
    if row.records.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let unreadable = |why: String| {
        ClaimError::Lane(format!("lane {}: journal row {} is unreadable: {why}", row.lane, row.seq))
    };
    match vault.open(Place::Journal { lane: row.lane, seq: row.seq }, &row.records) {
        Ok(plain) => {
            decode_records(&plain).map(Some).map_err(|error| unreadable(error.to_string()))
        }
        Err(OpenError::Erased(_)) => Ok(None),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Whether one of the sequences may be one that its topic has lost. Which topic it was for, the bytes alone could tell.
/// What was never acknowledged is never erased.
fn may_be_missing(lane: &Lane, logs: &Logs, first: i64, last: i64) -> bool {
    logs.cut.iter().any(|output| {
        let known = logs.last.get(output).zip(lane.position.outputs.get(output));
        known.is_some_and(|(found, row)| *found < last && row.last_seq >= first)
    })
}

/// A subject is erased only once Kafka has acknowledged what is about them, so Kafka has lost it since, and nobody can
/// publish it again. The lane goes on: stopping would not bring it back, and consumers see the gap by `prev_seq`.
fn erased_and_missing(row: &JournalRow) {
    metrics::erased_and_missing();
    tracing::error!(
        lane = row.lane.0,
        journal_row = row.seq,
        last_lane_seq = row.out_last,
        "Kafka may have lost records of a subject who was erased since; they cannot be published again, and their consumers see a gap"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lane::tests::lane;
    use signalbox_bus::{Headers, MemoryBroker, MemoryLaneBus};

    #[tokio::test]
    async fn a_lost_tail_is_not_taken_for_an_expired_log() {
        let mut bus = MemoryLaneBus::connect(MemoryBroker::new());
        // The lane's records had the offsets 4 to 9 and the sequences up to 30; nothing of it is there any more.
        let row = OutputRow {
            lane: LaneId(2),
            topic: TopicName::from("payments.payout.events.v1"),
            partition: 2,
            last_seq: 30,
            last_acked_offset: 9,
        };
        for (start, end, found, why) in [
            (10, 10, (30, false), "everything has expired: it was published"),
            (0, 0, (0, true), "the broker has lost everything"),
            (7, 7, (0, true), "some has expired and some is lost: nobody knows what"),
        ] {
            let range = LogRange { start, end };
            let last = last_on_topic(row.lane, &row, range, &[], 30, &mut bus).await.unwrap();
            assert_eq!(last, found, "{why}");
        }
    }

    /// What becomes of a claim where lane 0 never wrote to a partition, as far as its database knows.
    async fn claimed(
        source: u16,
        seq: i64,
        partition: i32,
        acked: Option<i64>,
    ) -> Result<(), ClaimError> {
        let broker = MemoryBroker::new();
        let topic = TopicName::from("t");
        let headers = Headers::new()
            .with(headers::LANE, source.to_string())
            .with(headers::LANE_SEQ, seq.to_string());
        let (key, payload) = (b"k".to_vec(), None);
        broker.append(&Outbound { topic: topic.clone(), partition, key, payload, headers });
        let output = [(topic, partition)];
        let acked = acked.map(|offset| (output[0].clone(), offset)).into_iter().collect();
        let mut bus = MemoryLaneBus::connect(broker);
        let tails = unknown_tails(&output, &bus.ranges(&output).await?, &acked);
        check_unknown_outputs(&lane(), &tails, &bus.read_all(&tails).await?)
    }

    #[tokio::test]
    async fn what_a_lane_told_where_its_database_knows_nothing_of_it_was_forgotten() {
        let rows = [
            ("its own partition", claimed(0, 11, 0, None).await, true),
            ("another's partition", claimed(0, 11, 3, None).await, true),
            ("something else was given out", claimed(0, 10, 0, None).await, false),
            ("another lane wrote it", claimed(1, 11, 3, None).await, false),
            ("before what is known to be there", claimed(0, 11, 3, Some(0)).await, false),
        ];
        for (what, claimed, is_lost) in rows {
            assert_eq!(matches!(claimed, Err(ClaimError::LostCommits(_))), is_lost, "{what}");
        }
    }
}
