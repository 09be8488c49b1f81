//! What a database forgot, as a pure function of what it knows and what topics hold; and what settles it.

use serde_json::Value;
use signalbox_schemas::{AggregateId, LaneId, Micros, TopicName};
use signalbox_store::{
    AttemptRow, Disposition, DoubtfulAttempt, NewAttempt, OutputRow, PublishedEnding, ReadBefore,
    Remembered, SettledLane, Settlement, StoredLane,
};
use std::collections::{BTreeMap, BTreeSet};

use super::logs::{Published, Seen, What};

/// Epochs that are skipped: claims of the forgotten time may have published nothing, and their owners must stay fenced.
const EPOCHS_SKIPPED: i64 = 1_000;

/// What is known of permits that were given shortly before the database was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permits {
    /// Some may be lost: what is planned may have been sent.
    MayBeLost,
    /// None is lost, as behind a standby that was synchronous: what is planned was not sent.
    Kept,
}

/// What the database knows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Forgotten,
    /// That it is planned; its permit may be lost.
    Planned,
    /// That it is being sent.
    Sending,
}

impl Known {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Planned => "planned",
            Self::Sending => "sending",
        }
    }
}

/// A write that may have been sent.
#[derive(Debug, Clone, PartialEq)]
pub struct MissingWrite {
    /// As its lane planned it.
    pub plan: NewAttempt,
    /// Business id of its flow, where a topic tells it.
    pub aggregate: Option<AggregateId>,
    /// What the database knows of it.
    pub known: Known,
    /// The vendor that was called, where anybody knows.
    pub vendor: Option<String>,
    /// When it was called first, where a call was recorded.
    pub called_at: Option<Micros>,
    /// What was told about it.
    pub result: Option<Value>,
}

impl MissingWrite {
    /// The outcome that was told, in a word.
    pub fn outcome(&self) -> Option<&str> {
        self.result.as_ref()?.get("outcome")?.as_str()
    }
}

/// A lane whose topics hold more than the database gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneGap {
    /// The lane.
    pub lane: LaneId,
    /// Last sequence that the database gave out.
    pub stored: i64,
    /// Last sequence on any topic.
    pub seen: i64,
    /// Records between them.
    pub records: usize,
}

/// A final event that was published and forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingEnding {
    /// Business id.
    pub aggregate: AggregateId,
    /// What was told.
    pub ending: PublishedEnding,
}

/// Everything that is missing, and how lanes go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Missing {
    /// Another cluster or server, or commits known to be lost: in words, one each.
    pub installation: Vec<String>,
    /// Lanes with forgotten records.
    pub gaps: Vec<LaneGap>,
    /// Every write that may have been sent.
    pub writes: Vec<MissingWrite>,
    /// Every ending that was published and forgotten.
    pub endings: Vec<MissingEnding>,
    /// Lanes that workers hold.
    pub held: Vec<(LaneId, String)>,
    cluster: String,
    permits: Permits,
    lanes: Vec<SettledLane>,
    outputs: Vec<OutputRow>,
    read_before: Vec<ReadBefore>,
}

impl Missing {
    /// Whether nothing has to be settled.
    pub fn is_settled(&self) -> bool {
        self.installation.is_empty() && self.gaps.is_empty() && !self.lost_permits()
    }

    /// Whether a vendor was called for a write that is only planned here.
    fn lost_permits(&self) -> bool {
        let sent = |write: &MissingWrite| write.called_at.is_some() || write.result.is_some();
        self.writes.iter().any(|write| write.known == Known::Planned && sent(write))
    }

    /// Whether topics contradict that no permit was lost.
    pub fn contradicts(&self) -> bool {
        self.permits == Permits::Kept && (!self.gaps.is_empty() || self.lost_permits())
    }

    pub(super) fn settlement(&self, actor: &str, reason: &str) -> Settlement {
        let kept = |write: &&MissingWrite| {
            self.permits == Permits::MayBeLost || write.known == Known::Forgotten
        };
        let doubtful = |write: &MissingWrite| DoubtfulAttempt {
            plan: write.plan.clone(),
            vendor: write.vendor.clone(),
            first_sent_at: write.called_at,
            result: write.result.clone(),
        };
        Settlement {
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            kafka_cluster: self.cluster.clone(),
            lanes: self.lanes.clone(),
            outputs: self.outputs.clone(),
            // Only where something was forgotten is anything read again.
            read_before: if self.gaps.is_empty() { Vec::new() } else { self.read_before.clone() },
            attempts: self.writes.iter().filter(kept).map(doubtful).collect(),
            endings: self.endings.iter().map(|ending| ending.ending.clone()).collect(),
        }
    }
}

/// Decides. `known` are the rows of attempts that topics tell of.
pub(super) fn plan(
    cluster: String,
    remembered: &Remembered,
    known: &[AttemptRow],
    mut seen: Seen,
    permits: Permits,
) -> Missing {
    let out_seq: BTreeMap<LaneId, i64> =
        remembered.lanes.iter().map(|lane| (lane.fence.lane, lane.out_seq)).collect();
    seen.published.retain(|record| out_seq.get(&record.lane).is_some_and(|seq| record.seq > *seq));
    let mut writes: Vec<MissingWrite> = open_writes(remembered, &seen);
    let mut endings: BTreeMap<_, MissingEnding> = BTreeMap::new();
    for record in &seen.published {
        let aggregate = AggregateId::from(record.aggregate.clone());
        match &record.what {
            What::Write(plan) if known.iter().any(|row| row.plan.id == plan.id) => {}
            What::Write(plan) if writes.iter().any(|write| write.plan.id == plan.id) => {}
            What::Write(plan) => writes.push(MissingWrite {
                aggregate: Some(aggregate),
                ..write_of(plan, Known::Forgotten, None, &seen)
            }),
            What::Ending(ending) => {
                let missing = MissingEnding { aggregate, ending: ending.clone() };
                endings.entry(ending.flow).or_insert(missing);
            }
            What::Other => {}
        }
    }
    let lanes = remembered.lanes.iter().map(|lane| settled(lane, &seen)).collect();
    Missing {
        installation: differences(&cluster, remembered),
        gaps: remembered.lanes.iter().filter_map(|lane| gap(lane, &seen)).collect(),
        endings: endings.into_values().collect(),
        held: remembered
            .lanes
            .iter()
            .filter_map(|lane| Some((lane.fence.lane, lane.owner.clone()?)))
            .collect(),
        outputs: outputs(remembered, &seen),
        read_before: seen.inputs,
        writes,
        cluster,
        permits,
        lanes,
    }
}

/// Writes whose outcome the database does not know for good.
fn open_writes(remembered: &Remembered, seen: &Seen) -> Vec<MissingWrite> {
    let known = |row: &AttemptRow| match row.disposition {
        Disposition::Sending => Known::Sending,
        Disposition::Planned | Disposition::Abandoned => Known::Planned,
    };
    let write = |row: &AttemptRow| write_of(&row.plan, known(row), row.vendor.clone(), seen);
    remembered.open_attempts.iter().map(write).collect()
}

fn write_of(plan: &NewAttempt, known: Known, vendor: Option<String>, seen: &Seen) -> MissingWrite {
    let called = seen.called.get(&plan.id);
    MissingWrite {
        plan: plan.clone(),
        aggregate: None,
        known,
        vendor: vendor.or_else(|| called.map(|(vendor, _)| vendor.clone())),
        called_at: called.map(|(_, at)| *at),
        result: seen.told.get(&plan.id).cloned(),
    }
}

fn differences(cluster: &str, remembered: &Remembered) -> Vec<String> {
    let installation = &remembered.installation;
    let differs = |what: &str, was: &Option<String>, is: &str| {
        let was = was.as_deref().filter(|was| *was != is)?;
        Some(format!("{what} was {was} and is {is} now"))
    };
    let (server, timeline) =
        (&installation.current_system_identifier, &installation.current_timeline);
    let lost = installation.lost_commits.then(|| "a lane found that commits are lost".to_owned());
    [
        differs("the Kafka cluster id", &installation.kafka_cluster, cluster),
        differs("the Postgres system identifier", &installation.system_identifier, server),
        differs("the Postgres timeline", &installation.timeline, timeline),
        lost,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn gap(lane: &StoredLane, seen: &Seen) -> Option<LaneGap> {
    let own: Vec<i64> = of_lane(seen, lane.fence.lane).map(|record| record.seq).collect();
    let last = own.iter().copied().max()?;
    Some(LaneGap {
        lane: lane.fence.lane,
        stored: lane.out_seq,
        seen: last,
        records: own.into_iter().collect::<BTreeSet<_>>().len(),
    })
}

fn of_lane(seen: &Seen, lane: LaneId) -> impl Iterator<Item = &Published> {
    seen.published.iter().filter(move |record| record.lane == lane)
}

fn settled(lane: &StoredLane, seen: &Seen) -> SettledLane {
    let gap = gap(lane, seen);
    let epoch = of_lane(seen, lane.fence.lane).map(|record| record.epoch).max().unwrap_or(0);
    SettledLane {
        fence: lane.fence,
        out_seq: gap.map_or(lane.out_seq, |gap| gap.seen),
        epoch: lane.fence.epoch.max(epoch) + EPOCHS_SKIPPED,
        forgotten: gap.map_or(0, |gap| gap.records),
    }
}

/// Outputs whose topics hold more than they know go on after that.
fn outputs(remembered: &Remembered, seen: &Seen) -> Vec<OutputRow> {
    let mut moved: BTreeMap<(LaneId, TopicName, i32), OutputRow> = BTreeMap::new();
    for record in &seen.published {
        let key = (record.lane, record.topic.clone(), record.partition);
        let stored = || {
            let same =
                |row: &&OutputRow| (row.lane, &row.topic, row.partition) == (key.0, &key.1, key.2);
            remembered.outputs.iter().find(same).cloned()
        };
        let fresh = || OutputRow {
            lane: key.0,
            topic: key.1.clone(),
            partition: key.2,
            last_seq: 0,
            last_acked_offset: -1,
        };
        let row = moved.entry(key.clone()).or_insert_with(|| stored().unwrap_or_else(fresh));
        row.last_seq = row.last_seq.max(record.seq);
        row.last_acked_offset = row.last_acked_offset.max(record.offset);
    }
    moved.into_values().collect()
}

#[cfg(test)]
mod tests;
