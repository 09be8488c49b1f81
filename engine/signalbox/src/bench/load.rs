//! The load: publishes payouts as a service would and reads their endings as a consumer would.
//! It prepares records before the clock runs, so that making them does not count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use signalbox_bus::Outbound;
use tokio::task::JoinSet;

use super::meter::{Meter, Reading};
use super::trouble::SCORED;
use crate::consumer_rule::Verdict;
use crate::payouts::{Payout, Payouts, REQUEST_PAYOUT, Wish};
use crate::scene::{
    COMMANDS, Commands, Console, Quantiles, Scene, SceneError, Watcher, codec, now,
};

const EVENTS: &str = "payments.payout.events.v1";
/// Start of the latency run that is left out.
const LATENCY_WARM_UP: Duration = Duration::from_secs(2);
/// Without an ending for this long the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where a backlog is worked off: the first endings come when much of it has begun.
const PATIENCE_WITH_BACKLOG: Duration = Duration::from_mins(10);
const REPORT_EVERY: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(2);

/// What a throughput run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throughput {
    /// All flows.
    pub(crate) flows: usize,
    /// Those of them that come first and do not count.
    pub(crate) warm_up: usize,
    /// How many are under way at once.
    pub(crate) in_flight: usize,
    pub(crate) besides: Besides,
}

/// What comes besides, for a thousand commands each. It is counted by nobody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Besides {
    /// Records that nobody can read, at the keys of commands.
    pub(crate) poison: usize,
    /// Repeats of the first command.
    pub(crate) repeats: usize,
    /// Commands of customers who are scored by a vendor that does not answer.
    pub(crate) hung: usize,
}

/// The measured stretch of a throughput run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steady {
    /// Flows that had ended before.
    pub(crate) before: usize,
    /// Flows that ended meanwhile.
    pub(crate) flows: usize,
    pub(crate) from: Reading,
    pub(crate) to: Reading,
}

/// Publishes and reads.
pub(crate) struct Load {
    console: Console,
    commands: Commands,
    watcher: Watcher,
    payouts: Payouts,
    /// What each payout tells its beneficiary, where that is not a few words.
    text: Option<String>,
    /// Of customers who are scored by a vendor that does not answer.
    hung: Payouts,
    /// The first command of all, which is repeated.
    first: Option<Outbound>,
    under_way: HashMap<String, Instant>,
    commanded: usize,
    ended: usize,
    last_ended: String,
    sending: JoinSet<Result<(), SceneError>>,
}

struct Ready {
    id: String,
    record: Outbound,
}

impl Load {
    /// Payouts carry a text of so many bytes; a few words where none are told.
    pub(crate) async fn connect(
        scene: &Scene,
        console: Console,
        text_bytes: Option<u32>,
    ) -> Result<Self, SceneError> {
        let codec = codec(scene.settings()).await?;
        Ok(Self {
            console,
            commands: Commands::connect(scene.settings(), codec.clone())?,
            watcher: Watcher::start(scene.settings(), codec, "signalbox-bench", &[EVENTS])?,
            payouts: Payouts::new("bench", 1),
            text: text_bytes.map(|bytes| "x".repeat(to_usize(bytes))),
            hung: Payouts::new("hung", 2),
            first: None,
            under_way: HashMap::new(),
            commanded: 0,
            ended: 0,
            last_ended: String::new(),
            sending: JoinSet::new(),
        })
    }

    /// Business id of a flow that has ended.
    pub(crate) fn last_flow(&self) -> &str {
        &self.last_ended
    }

    /// As many flows as it takes to keep `in_flight` under way. Measured from the end of the warm-up until the last
    /// flow is published: the run-down is no steady state. Where that is before the end of the warm-up, a backlog is worked
    /// off, and measured until nothing is left.
    pub(crate) async fn throughput(
        &mut self,
        run: Throughput,
        meter: &mut Meter,
    ) -> Result<Steady, SceneError> {
        let Throughput { flows, warm_up, in_flight, besides } = run;
        let mut waiting = self.prepare(flows)?.into_iter();
        let ended_before = self.ended;
        let is_backlog = in_flight >= flows.saturating_sub(warm_up);
        let patience = if is_backlog { PATIENCE_WITH_BACKLOG } else { PATIENCE };
        let mut from: Option<(usize, Reading)> = None;
        let mut to: Option<(usize, Reading)> = None;
        let mut next_report = Instant::now() + REPORT_EVERY;
        let mut last_ending = (Instant::now(), self.ended);
        while self.ended - ended_before < flows {
            let room = in_flight.saturating_sub(self.under_way.len());
            let batch: Vec<Ready> = waiting.by_ref().take(room).collect();
            let others = self.besides(&batch, besides)?;
            self.send(batch, others)?;
            self.read(LOOK).await?;
            let ended = self.ended - ended_before;
            if from.is_none() && ended >= warm_up {
                from = Some((ended, meter.read().await?));
            }
            let over = if is_backlog { ended == flows } else { waiting.len() == 0 };
            if from.is_some() && to.is_none() && over {
                to = Some((ended, meter.read().await?));
            }
            self.must_go_on(&mut last_ending, patience)?;
            if Instant::now() > next_report {
                next_report += REPORT_EVERY;
                self.console.say(&format!("{ended} of {flows} flows ended"));
            }
        }
        match (from, to) {
            (Some((before, from)), Some((after, to))) if after > before => {
                Ok(Steady { before, flows: after - before, from, to })
            }
            _ => Err(SceneError::Data(
                "too few flows for a steady state; ask for more than ten times --in-flight after the warm-up"
                    .to_owned(),
            )),
        }
    }

    /// Flows at a steady rate; times from published to ending consumed.
    pub(crate) async fn latency(
        &mut self,
        rate: u32,
        seconds: u32,
    ) -> Result<Quantiles, SceneError> {
        let all = to_usize(rate) * to_usize(seconds);
        let mut waiting = self.prepare(all)?.into_iter().peekable();
        let target = self.ended + all;
        let begun = Instant::now();
        let interval = Duration::from_secs(1) / rate;
        let mut next = begun;
        let mut times = Quantiles::default();
        let mut last_ending = (Instant::now(), self.ended);
        while self.ended < target {
            while Instant::now() >= next && waiting.peek().is_some() {
                next += interval;
                let batch = waiting.next().into_iter().collect();
                self.send(batch, Vec::new())?;
            }
            for (published_at, ended_at) in self.read(LOOK).await? {
                if published_at.duration_since(begun) > LATENCY_WARM_UP {
                    times.add(ended_at.duration_since(published_at));
                }
            }
            self.must_go_on(&mut last_ending, PATIENCE)?;
        }
        Ok(times)
    }

    fn prepare(&mut self, flows: usize) -> Result<Vec<Ready>, SceneError> {
        let wish = Wish::default();
        let make = |_| {
            let mut payout = self.payouts.next(&wish, now());
            if let Some(text) = &self.text
                && let Some(told) = payout.command.pointer_mut("/remittance/unstructured")
            {
                *told = text.as_str().into();
            }
            Ok(Ready { record: self.command(&payout)?, id: payout.id })
        };
        (0..flows).map(make).collect()
    }

    /// What comes besides these commands.
    fn besides(&mut self, batch: &[Ready], besides: Besides) -> Result<Vec<Outbound>, SceneError> {
        let Some(newest) = batch.last() else { return Ok(Vec::new()) };
        let (before, after) = (self.commanded, self.commanded + batch.len());
        self.commanded = after;
        let due =
            |per_thousand: usize| after * per_thousand / 1_000 - before * per_thousand / 1_000;
        let poison = || Outbound {
            payload: Some(b"no schema tells what this is".to_vec()),
            ..newest.record.clone()
        };
        let first = &*self.first.get_or_insert_with(|| newest.record.clone());
        let mut records: Vec<Outbound> =
            std::iter::repeat_with(poison).take(due(besides.poison)).collect();
        records.extend(std::iter::repeat_n(first, due(besides.repeats)).cloned());
        for _ in 0..due(besides.hung) {
            let mut payout = self.hung.next(&Wish::default(), now());
            if let Some(segment) = payout.command.get_mut("segment") {
                *segment = SCORED.into();
            }
            records.push(self.command(&payout)?);
        }
        Ok(records)
    }

    fn command(&self, payout: &Payout) -> Result<Outbound, SceneError> {
        self.commands.record(COMMANDS, REQUEST_PAYOUT, &payout.id, &payout.command)
    }

    /// Hands records to the producer; acknowledgements are looked at when they are there.
    fn send(&mut self, batch: Vec<Ready>, others: Vec<Outbound>) -> Result<(), SceneError> {
        while let Some(sent) = self.sending.try_join_next() {
            sent.map_err(|error| {
                SceneError::Data(format!("a publishing task was lost: {error}"))
            })??;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        for ready in &batch {
            self.under_way.insert(ready.id.clone(), now);
        }
        let commands = self.commands.clone();
        self.sending.spawn(async move {
            let records = batch.iter().map(|ready| &ready.record).chain(&others);
            let sends = records.map(|record| commands.send(record));
            futures_util::future::try_join_all(sends).await.map(drop)
        });
        Ok(())
    }

    /// Endings that have come, with when they were asked for.
    async fn read(&mut self, wait: Duration) -> Result<Vec<(Instant, Instant)>, SceneError> {
        let records = self.watcher.next(wait).await?;
        let now = Instant::now();
        let mut ended = Vec::new();
        for seen in records {
            let (Verdict::Apply, Some((_, content))) = (seen.verdict, seen.content) else {
                continue;
            };
            if content.get("final").and_then(Value::as_bool) != Some(true) {
                continue;
            }
            let Some(id) = content.get("payout_id").and_then(Value::as_str) else { continue };
            let Some((id, published_at)) = self.under_way.remove_entry(id) else { continue };
            if content.get("status").and_then(Value::as_str) != Some("completed") {
                return Err(SceneError::Broken(format!("a flow did not complete: {content}")));
            }
            self.ended += 1;
            self.last_ended = id;
            ended.push((published_at, now));
        }
        Ok(ended)
    }

    fn must_go_on(
        &self,
        last: &mut (Instant, usize),
        patience: Duration,
    ) -> Result<(), SceneError> {
        if self.ended > last.1 || self.under_way.is_empty() {
            *last = (Instant::now(), self.ended);
        } else if last.0.elapsed() > patience {
            let text = format!(
                "{} flows are under way and none has ended for {} s",
                self.under_way.len(),
                patience.as_secs()
            );
            return Err(SceneError::Broken(text));
        }
        Ok(())
    }
}

pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
