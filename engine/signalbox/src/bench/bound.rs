//! The bound: what this machine could do if a flow cost nothing but its records in Kafka and its transitions and
//! permits in Postgres. Each is measured alone, with the product's own client code, byte sizes and batch sizes, and
//! counts the CPU time of server and client together. Waiting is not counted: the bound is the best that any order
//! of work on these cores could reach.

use std::time::Duration;

use signalbox_bus::{Headers, KafkaLaneBus, LaneBus, Outbound, Position, TopicAdmin};
use signalbox_schemas::topics::WantedTopic;
use signalbox_schemas::{AggregateId, AttemptId, FlowId, LaneId, Micros, TopicName};
use signalbox_store::{
    AttemptStore, Commit, Contest, FlowRow, FlowWrite, JournalRow, LaneFence, LaneMove, LaneStore,
    LoadedFlow, NewAttempt, PermitRequest, PgAttempts, PgLaneStore, Reader, TickWrite, seal,
};

use super::load::Steady;
use super::meter::Batches;
use super::numbers::{cores, count};
use crate::scene::{Cpu, Scene, SceneError, contract, cpu_of_tree, kafka, now, own_cpu};

const TOPIC: &str = "bench.bound";
const DATABASE: &str = "bound";
const VENDOR: &str = "bound";
/// Records of the Kafka part: some seconds of work, so that ticks of 10 ms do not matter.
const RECORDS: usize = 200_000;
const TRANSITIONS: usize = 60_000;
const PERMITS: usize = 30_000;
const LEASE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

/// Sizes as observed.
pub(crate) struct Sample {
    records_per_flow: f64,
    transitions_per_flow: f64,
    record_bytes: f64,
    tick: usize,
    permits: usize,
    flow: LoadedFlow,
    journal: Vec<JournalRow>,
    request: Vec<u8>,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) per_record: Cpu,
    pub(crate) per_transition: Cpu,
    pub(crate) per_permit: Cpu,
    pub(crate) record_bytes: f64,
    pub(crate) flows_per_second: f64,
}

impl Sample {
    /// Takes sizes from the measured stretch and from one flow that has ended.
    pub(crate) async fn take(
        scene: &Scene,
        steady: &Steady,
        batches: &Batches,
        payout: &str,
    ) -> Result<Self, SceneError> {
        let per_flow = steady.per_flow();
        let reader = Reader::connect(&scene.settings().postgres)?;
        let lost = |what: &str| {
            SceneError::Data(format!("no {what} of the measured flow {payout} is stored"))
        };
        let flow =
            reader.find_flows(payout).await?.into_iter().next().ok_or_else(|| lost("row"))?;
        let journal = reader.journal_of(flow.row.id).await?;
        if journal.is_empty() {
            return Err(lost("journal row"));
        }
        let attempts = reader.attempts_of(flow.row.id).await?;
        let request = attempts.into_iter().find_map(|attempt| attempt.request).unwrap_or_default();
        Ok(Self {
            records_per_flow: per_flow.records,
            transitions_per_flow: per_flow.transitions,
            record_bytes: per_flow.topic_bytes / per_flow.records,
            tick: whole(batches.tick),
            permits: whole(batches.permits),
            flow,
            journal,
            request,
        })
    }
}

/// Measures the three parts and puts them together.
pub(crate) async fn measure(scene: &Scene, sample: &Sample) -> Result<Bound, SceneError> {
    let pids = scene.stack().pids();
    let pid = |part: &str| pids.iter().find(|(name, _)| *name == part).map_or(0, |(_, pid)| *pid);
    let per_record = kafka_alone(scene, sample, pid("kafka")).await?;
    let url = scene.stack().create_database(DATABASE).await?;
    Reader::connect(&url)?.migrate(contract()?.topics().lanes).await?;
    let mut lanes = Lanes::claim(&url, sample).await?;
    let per_transition = lanes.transitions(pid("postgres")).await?;
    let per_permit = lanes.permits(&url, pid("postgres")).await?;
    let per_flow = per_record.as_secs_f64() * sample.records_per_flow
        + per_transition.as_secs_f64() * sample.transitions_per_flow
        + per_permit.as_secs_f64();
    let flows_per_second = count(cores()) / per_flow;
    Ok(Bound {
        per_record,
        per_transition,
        per_permit,
        record_bytes: sample.record_bytes,
        flows_per_second,
    })
}

/// CPU time of one server and of this process.
struct Stopwatch {
    server: u32,
    begun: Cpu,
}

impl Stopwatch {
    fn start(server: u32) -> Self {
        Self { server, begun: Self::used(server) }
    }

    fn per(&self, times: usize) -> Cpu {
        let times = u32::try_from(times).unwrap_or(u32::MAX).max(1);
        Self::used(self.server).saturating_sub(self.begun) / times
    }

    fn used(server: u32) -> Cpu {
        cpu_of_tree(server) + own_cpu()
    }
}

/// Every record is produced once and consumed once, in bursts of the product's tick size.
async fn kafka_alone(scene: &Scene, sample: &Sample, server: u32) -> Result<Cpu, SceneError> {
    let config = kafka(scene.settings());
    let lanes = contract()?.topics().lanes;
    let wanted = contract()?.topics().wanted(lanes, Some(1)).into_iter().next();
    let config_of_topic = wanted.map(|topic| topic.config).unwrap_or_default();
    let topic = WantedTopic {
        name: TOPIC.to_owned(),
        partitions: lanes,
        replicas: 1,
        config: config_of_topic,
    };
    let admin = TopicAdmin::connect(&config)?;
    admin.apply(&admin.plan(&[topic]).await?).await?;
    let mut bus = KafkaLaneBus::connect(&config, "signalbox-bench-bound")?;
    let topic = TopicName::from(TOPIC);
    let everywhere = (0..i32::from(lanes)).map(|partition| Position {
        topic: topic.clone(),
        partition,
        offset: 0,
    });
    bus.assign(everywhere.collect())?;

    let records = records(&topic, lanes, whole(sample.record_bytes));
    let mut consumed = 0;
    let watch = Stopwatch::start(server);
    let mut sent = 0;
    while sent < RECORDS {
        let burst = sample.tick.min(RECORDS - sent);
        for record in records.iter().cycle().take(burst) {
            sent += 1;
            bus.publish(0, i64::try_from(sent).unwrap_or(i64::MAX), record)?;
        }
        let mut acknowledged = 0;
        while acknowledged < burst {
            bus.acks_ready(PATIENCE).await;
            acknowledged += bus.take_acks()?.len();
        }
        consumed += bus.poll(burst, Duration::ZERO).await?.len();
    }
    while consumed < RECORDS {
        let found = bus.poll(1_000, PATIENCE).await?.len();
        if found == 0 {
            return Err(SceneError::Broken("Kafka does not give back what it took".to_owned()));
        }
        consumed += found;
    }
    Ok(watch.per(RECORDS))
}

/// One record per partition, of the observed mean size with key and headers.
fn records(topic: &TopicName, lanes: u16, bytes: usize) -> Vec<Outbound> {
    const HEADERS: usize = 300;
    let make = |partition| Outbound {
        topic: topic.clone(),
        partition,
        key: b"bench-000001".to_vec(),
        payload: Some((0..bytes.saturating_sub(HEADERS)).map(|_| fastrand::u8(..)).collect()),
        headers: [
            "ce_id",
            "ce_source",
            "ce_type",
            "ce_time",
            "traceparent",
            "lane_seq",
            "prev_seq",
            "lane_epoch",
        ]
        .iter()
        .fold(Headers::new(), |headers, name| {
            headers.with(name, vec![b'x'; HEADERS / 8 - name.len()])
        }),
    };
    (0..i32::from(lanes)).map(make).collect()
}

/// Lanes of a scratch database, all held by this process.
struct Lanes<'a> {
    sample: &'a Sample,
    store: PgLaneStore,
    lanes: Vec<Lane>,
    flows: usize,
    attempts: Vec<AttemptId>,
}

struct Lane {
    fence: LaneFence,
    seq: i64,
    head: Vec<u8>,
}

impl<'a> Lanes<'a> {
    async fn claim(url: &str, sample: &'a Sample) -> Result<Self, SceneError> {
        let mut store = PgLaneStore::new(url, "bound", LEASE)?;
        store.ensure_journal().await?;
        let claimed =
            store.claim("bound", &[], usize::from(contract()?.topics().lanes), LEASE).await?;
        let lanes = claimed.into_iter().map(|lane| Lane {
            fence: lane.fence,
            seq: lane.journal_seq,
            head: lane.journal_head,
        });
        Ok(Self { sample, store, lanes: lanes.collect(), flows: 0, attempts: Vec::new() })
    }

    /// Flows go through as many transitions as the product's do, a tick of them side by side.
    async fn transitions(&mut self, server: u32) -> Result<Cpu, SceneError> {
        let rounds = self.sample.journal.len();
        let watch = Stopwatch::start(server);
        let mut done = 0;
        while done < TRANSITIONS {
            let first = self.flows;
            self.flows += self.sample.tick;
            for round in 0..rounds {
                self.commit(first, round, false).await?;
                done += self.sample.tick;
            }
        }
        Ok(watch.per(done))
    }

    /// Attempts are planned first, which is part of a transition; only taking the permits is measured.
    async fn permits(&mut self, url: &str, server: u32) -> Result<Cpu, SceneError> {
        while self.attempts.len() < PERMITS {
            let first = self.flows;
            self.flows += self.sample.tick;
            self.commit(first, 0, true).await?;
        }
        let attempts = PgAttempts::connect(url, 1)?;
        attempts.ensure_gates(&[VENDOR.to_owned()]).await?;
        let watch = Stopwatch::start(server);
        for batch in self.attempts.chunks(self.sample.permits) {
            let request = |attempt: &AttemptId| PermitRequest {
                attempt: *attempt,
                vendor: VENDOR.to_owned(),
                request: self.sample.request.clone(),
            };
            attempts.take_permits(&batch.iter().map(request).collect::<Vec<_>>()).await?;
        }
        Ok(watch.per(self.attempts.len()))
    }

    /// One transition of each of a tick's flows, in one transaction over all lanes.
    async fn commit(
        &mut self,
        first: usize,
        round: usize,
        with_attempts: bool,
    ) -> Result<(), SceneError> {
        let at = now();
        let rev = i64::try_from(round).unwrap_or(i64::MAX);
        let mut write = TickWrite::default();
        for number in first..first + self.sample.tick {
            let index = number % self.lanes.len().max(1);
            let (Some(lane), Some(row)) =
                (self.lanes.get_mut(index), self.sample.journal.get(round))
            else {
                continue;
            };
            let id = FlowId(uuid::Uuid::from_u128(u128::try_from(number).unwrap_or(0) << 64 | 1));
            let flow = flow_row(&self.sample.flow.row, id, number, lane.fence.lane, rev + 1, at);
            write.flows.push(FlowWrite { row: flow, expected_rev: (round > 0).then_some(rev) });
            lane.seq += 1;
            let row = JournalRow {
                lane: lane.fence.lane,
                seq: lane.seq,
                at,
                flow: Some(id),
                flow_rev: rev + 1,
                ..row.clone()
            };
            let row = seal(row, &lane.head);
            lane.head.clone_from(&row.hash);
            write.journal.push(row);
            if with_attempts {
                let attempt =
                    AttemptId(uuid::Uuid::from_u128(u128::try_from(number).unwrap_or(0) << 64 | 2));
                self.attempts.push(attempt);
                write.attempts.push(planned(attempt, id, lane.fence.lane, at));
            }
        }
        write.lanes = self.lanes.iter().map(Lane::moved).collect();
        let fences: Vec<LaneFence> = self.lanes.iter().map(|lane| lane.fence).collect();
        let mut decided = Some(write);
        let mut decide = |_| decided.take().unwrap_or_default();
        match self.store.commit(&fences, &Contest::default(), LEASE, &mut decide).await? {
            Commit::Done { .. } => {
                self.lanes.iter_mut().for_each(|lane| lane.fence.rev += 1);
                Ok(())
            }
            Commit::Fenced(_) | Commit::Erased(_) => Err(SceneError::Broken(
                "a scratch database has a second owner of its lanes".to_owned(),
            )),
        }
    }
}

impl Lane {
    fn moved(&self) -> LaneMove {
        LaneMove {
            fence: self.fence,
            out_seq: self.seq,
            pub_seq: self.seq,
            pub_journal_seq: self.seq,
            journal_seq: self.seq,
            journal_head: self.head.clone(),
        }
    }
}

fn flow_row(
    like: &FlowRow,
    id: FlowId,
    number: usize,
    lane: LaneId,
    rev: i64,
    at: Micros,
) -> FlowRow {
    let aggregate = AggregateId::new(format!("bound-{number:06}"));
    FlowRow { id, aggregate, lane, rev, started_at: at, updated_at: at, ..like.clone() }
}

fn planned(id: AttemptId, flow: FlowId, lane: LaneId, at: Micros) -> NewAttempt {
    let capability = "payout.send".to_owned();
    NewAttempt { id, lane, flow, step: "send".into(), group: 0, capability, planned_at: at }
}

/// A mean batch as a number of things, at least one. Means of batches are far below the bound of this loop.
fn whole(mean: f64) -> usize {
    const BATCH_MAX: usize = 10_000;
    (1..BATCH_MAX).take_while(|size| count(*size) < mean).last().map_or(1, |size| size + 1)
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_mean_batch_is_rounded_up_and_never_empty() {
        for (mean, size) in [(0.0, 1), (1.0, 1), (1.2, 2), (437.5, 438)] {
            assert_eq!(whole(mean), size, "{mean}");
        }
    }
}
