//! The consumers' rule, written anew from `docs/consumers.md`, over every topic that lanes publish on; and what the rule
//! alone cannot see: that a lane's sequences over all topics are as many as its journal gave out, so nothing is missing at
//! an end either, and that what is told of a flow is told in the order in which it happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::evidence::{Evidence, Record};
use crate::report::{Counted, Findings, Promise};

/// Records to be applied, in the order of their partitions.
pub(crate) struct Applied<'e> {
    pub(crate) records: Vec<&'e Record>,
}

/// One topic, partition and source lane.
#[derive(Default)]
struct Stream<'e> {
    last: Option<i64>,
    epoch: i64,
    digests: HashMap<i64, &'e str>,
    broken: bool,
}

/// Judges all records that lanes published; which of them are to be applied.
pub(crate) fn judge<'e>(
    evidence: &'e Evidence,
    counted: &mut Counted,
    found: &mut Findings,
) -> Applied<'e> {
    let mut streams: BTreeMap<(&str, i32, i64), Stream<'e>> = BTreeMap::new();
    let mut lanes: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let mut revisions: HashMap<(&str, i32, &str), i64> = HashMap::new();
    let mut applied = Vec::new();
    for record in &evidence.records {
        let Some((lane, seq, prev)) = sequence(record) else { continue };
        let stream = streams.entry((&record.topic, record.partition, lane)).or_default();
        lanes.entry(lane).or_default().insert(seq);
        let epoch = record.number("lane_epoch").unwrap_or_default();
        counted.zombies += u64::from(epoch < stream.epoch);
        stream.epoch = stream.epoch.max(epoch);
        match stream.judge(seq, prev, &record.digest) {
            Verdict::Apply => {
                in_order(record, &mut revisions, found);
                applied.push(record);
            }
            Verdict::Repeat => counted.repeats += 1,
            Verdict::Altered => found.add(
                Promise::Sequence,
                format!("{}: sequence {seq} says something else than before", record.place()),
            ),
            Verdict::Gap(last) => found.add(
                Promise::Sequence,
                format!("{}: a gap: {seq} follows {prev}, {last} was applied last", record.place()),
            ),
            Verdict::AfterGap => {}
        }
    }
    counted.applied = u64::try_from(applied.len()).unwrap_or(u64::MAX);
    whole(evidence, &lanes, found);
    Applied { records: applied }
}

/// Lane, its sequence, and the one before it in this stream; none where no lane published it.
pub(crate) fn sequence(record: &Record) -> Option<(i64, i64, i64)> {
    Some((record.number("lane")?, record.number("lane_seq")?, record.number("prev_seq")?))
}

enum Verdict {
    Apply,
    Repeat,
    Altered,
    Gap(i64),
    /// After a gap every record would be one; it is told once.
    AfterGap,
}

impl<'e> Stream<'e> {
    fn judge(&mut self, seq: i64, prev: i64, digest: &'e str) -> Verdict {
        // The run began with its topics, so here the first record of a stream has nothing before it.
        let last = self.last.unwrap_or_default();
        if prev == last && seq > last {
            self.last = Some(seq);
            self.digests.insert(seq, digest);
            return Verdict::Apply;
        }
        if seq <= last {
            let held = self.digests.get(&seq);
            return if held.is_none_or(|held| *held == digest) {
                Verdict::Repeat
            } else {
                Verdict::Altered
            };
        }
        if std::mem::replace(&mut self.broken, true) {
            Verdict::AfterGap
        } else {
            Verdict::Gap(last)
        }
    }
}

/// Of one flow nothing is told before what happened earlier.
fn in_order<'e>(
    record: &'e Record,
    revisions: &mut HashMap<(&'e str, i32, &'e str), i64>,
    found: &mut Findings,
) {
    let flow = record.header("ce_correlationid");
    let revision = record.number("flow_rev").filter(|revision| *revision > 0);
    let Some((flow, revision)) = flow.zip(revision) else { return };
    let last = revisions.entry((&record.topic, record.partition, flow)).or_default();
    if revision < *last {
        let place = record.place();
        found.add(
            Promise::Sequence,
            format!("{place}: revision {revision} of flow {flow} comes after {last}"),
        );
    }
    *last = revision.max(*last);
}

/// What the journal gave out lies on topics, and nothing else does.
fn whole(evidence: &Evidence, lanes: &BTreeMap<i64, BTreeSet<i64>>, found: &mut Findings) {
    let mut given: BTreeMap<i64, i64> = BTreeMap::new();
    for row in evidence.rows() {
        let last = given.entry(i64::from(row.lane)).or_default();
        *last = row.out_last.max(*last);
    }
    for (lane, last) in &given {
        let seen = lanes.get(lane);
        let is_seen = |seq: &i64| seen.is_some_and(|seen| seen.contains(seq));
        let missing: Vec<i64> = (1..=*last).filter(|seq| !is_seen(seq)).collect();
        if let Some(first) = missing.first() {
            let count = missing.len();
            found.add(
                Promise::Sequence,
                format!("lane {lane}: {count} sequences that its journal gave out are on no topic, the first is {first}"),
            );
        }
    }
    for (lane, seen) in lanes {
        let given = given.get(lane).copied().unwrap_or_default();
        if let Some(last) = seen.last().filter(|last| **last > given) {
            found.add(
                Promise::Sequence,
                format!("lane {lane}: sequence {last} is on a topic, its journal gave out {given}"),
            );
        }
    }
}
