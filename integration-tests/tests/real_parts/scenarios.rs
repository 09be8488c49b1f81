//! The scenarios on a stage of real parts: the product's engine on Kafka and Postgres, with nobody who answers but the
//! test. It has an installation of its own, where no adapter ever runs and times are short; the scenarios play at once,
//! each with a flow of its own.

use std::thread;
use std::time::Duration;

use integration_tests::{
    Failure, Installation, Notebook, Onlooker, Part, Script, Vendors, built_program, flow_of,
    scripts,
};
use signalbox::scene::{EngineName, codec, now};
use signalbox_flow::{Cue, Flow, Journey, Sight, Stage};
use signalbox_schemas::{
    Attempt, AttemptId, Contract, LaneId, Micros, RecordName, StepName, TenantKey, TopicName,
};
use signalbox_store::{AttemptStore, PermitRequest, PgAttempts};
use std::collections::BTreeMap;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::Outcome;

const ENGINE: EngineName = EngineName("engine-1");
/// Whoever answers here, as permits know them.
const ANSWERER: &str = "scenario";
/// How long something that must happen is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Waits are short enough to be waited for, and far enough apart to be told from each other.
const VENDORS: Vendors = Vendors {
    arguments: &[],
    waits: &[
        ("check_time", "120s"),
        ("send_time", "120s"),
        ("retry_wait", "2s"),
        ("identity_retry_wait", "2s"),
        ("step_up_wait", "6s"),
        ("inquire_soon", "2s"),
        ("return_poll", "2s"),
        ("return_window", "8s"),
        ("doubt_escalation", "120s"),
        ("settlement_poll", "120s"),
        ("settlement_escalation", "240s"),
        ("onboarding.check_time", "120s"),
        ("onboarding.retry_wait", "2s"),
        ("onboarding.soft_fail_wait", "2s"),
        ("onboarding.customer_wait", "6s"),
        ("onboarding.consent_wait", "8s"),
    ],
};

/// Every scenario that real servers can play, all at once.
pub(crate) async fn every_scenario(_on: &mut Installation) -> Outcome {
    let mut on = Installation::start(built_program()?, VENDORS, "scenario").await?;
    let outcome = play_all(&mut on).await;
    on.stop().await?;
    outcome
}

async fn play_all(on: &mut Installation) -> Outcome {
    on.start_engine(ENGINE).await?;
    let contract = Contract::builtin().map_err(|error| Failure::Broken(error.to_string()))?;
    let notebook = Notebook::start(on.settings(), codec(on.settings()).await?)?;
    let attempts = PgAttempts::connect(&on.settings().postgres, 4)?;
    attempts.ensure_gates(&[ANSWERER.to_owned()]).await?;
    // As the engine has pinned them, with its times.
    let mut journeys = Vec::new();
    for (_, _, source) in on.reader.journeys().await? {
        let journey = Journey::parse(&source, contract, &BTreeMap::new());
        journeys.push(journey.map_err(|error| Failure::Broken(error.to_string()))?);
    }
    let key = TenantKey::new(on.settings().tenant_key.clone().into_bytes());
    let theatre = Theatre { on, notebook: &notebook, attempts: &attempts, key, contract };
    let (played, left_out): (Vec<Script>, Vec<Script>) =
        scripts()?.into_iter().partition(|script| script.scenario.only_simulated().is_none());
    let begun = Instant::now();
    // Stages wait for one another's servers, not for one another: each plays on a thread of its own.
    let broken = tokio::task::block_in_place(|| theatre.play(&played, &journeys));
    if !broken.is_empty() {
        return Err(Failure::Broken(broken.join("\n\n")));
    }
    on.succeed(&["audit", "verify"]).await?;
    let left_out: Vec<String> = left_out.into_iter().map(|script| script.name).collect();
    Ok(format!(
        "{} scenarios in {:.0} s, audit intact; only simulated: {}",
        played.len(),
        begun.elapsed().as_secs_f64(),
        left_out.join(", ")
    ))
}

/// What the stages share.
struct Theatre<'a> {
    on: &'a Installation,
    notebook: &'a Notebook,
    attempts: &'a PgAttempts,
    key: TenantKey,
    contract: &'static Contract,
}

impl Theatre<'_> {
    /// Plays scripts at once; what does not hold.
    fn play(&self, scripts: &[Script], journeys: &[Journey]) -> Vec<String> {
        let servers = Handle::current();
        let play = |script: &Script| {
            let journey = |journey: &&Journey| journey.name().as_str() == script.scenario.journey();
            let Some(journey) = journeys.iter().find(journey) else {
                return Some(format!("{}: its journey is not deployed", script.name));
            };
            match Real::begin(self, servers.clone(), script, journey) {
                Ok(mut stage) => script.play(journey, self.contract, &mut stage),
                Err(failure) => Some(format!("{}: {failure}", script.name)),
            }
        };
        thread::scope(|scope| {
            let playing: Vec<_> =
                scripts.iter().map(|script| scope.spawn(move || play(script))).collect();
            let told = |result: thread::Result<Option<String>>| match result {
                Ok(broken) => broken,
                Err(_panic) => Some("a scenario panicked; see standard error".to_owned()),
            };
            playing.into_iter().filter_map(|thread| told(thread.join())).collect()
        })
    }
}

/// The stage of one scenario.
struct Real<'a> {
    theatre: &'a Theatre<'a>,
    servers: Handle,
    part: Part,
    onlooker: Onlooker,
}

impl<'a> Real<'a> {
    fn begin(
        theatre: &'a Theatre<'a>,
        servers: Handle,
        script: &Script,
        journey: &Journey,
    ) -> Result<Self, Failure> {
        let part = script.part(journey, &theatre.key);
        let commands = &theatre.on.commands;
        let flow = servers.block_on(async {
            let name = journey.starts_with().as_str();
            commands.command(name, &part.aggregate, &part.command).await?;
            let flow = until("the flow to begin", || theatre.flow(&part)).await?;
            theatre.published(&part).await?;
            Ok::<_, Failure>(flow)
        })?;
        Ok(Self { theatre, servers, part, onlooker: Onlooker::new(flow) })
    }

    /// Publishes a record, and waits until its lane has taken it.
    async fn take(
        &self,
        topic: &TopicName,
        record: &RecordName,
        value: &serde_json::Value,
    ) -> Result<(), Failure> {
        let on = self.theatre.on;
        let (lane, offset) =
            on.commands.publish(topic, record, &self.part.aggregate, value).await?;
        until("a record to be taken", || async {
            Ok((next_offset(on, lane, topic).await? > offset).then_some(()))
        })
        .await
    }

    /// Waits until none of these timers of the flow is set as it was.
    async fn fired(&self, names: &[String]) -> Result<(), Failure> {
        let before = &self.onlooker.flow;
        until("a timer that is due", || async {
            let flow = self.theatre.flow(&self.part).await?;
            let is_set = |flow: &Flow, name: &String| {
                flow.data
                    .timers
                    .get(name)
                    .is_some_and(|due| before.data.timers.get(name) == Some(due))
            };
            Ok(flow.filter(|flow| !names.iter().any(|name| is_set(flow, name))).map(drop))
        })
        .await
    }

    async fn let_happen(&self, cue: &Cue<'_>) -> Result<(), Failure> {
        match *cue {
            Cue::Answer { capability, value, .. } => {
                let topic = TopicName::from(format!("{capability}.outcomes.v1"));
                self.take(&topic, &RecordName::from(format!("{capability}.Outcome")), value).await
            }
            Cue::Command { record, value } => {
                self.take(&self.theatre.on.commands.topic_of(record)?, record, value).await
            }
            Cue::Pass { until } => {
                let timers = self.onlooker.flow.data.timers.iter();
                let due = timers.filter(|(_, due)| **due <= until);
                let names: Vec<String> = due.map(|(name, _)| name.clone()).collect();
                tokio::time::sleep(until.since(now())).await;
                self.fired(&names).await
            }
            Cue::Permit { attempt } => {
                let vendor = ANSWERER.to_owned();
                let wanted = PermitRequest { attempt, vendor, request: Vec::new() };
                let permits = self.theatre.attempts.take_permits(&[wanted]).await?;
                match permits.as_slice() {
                    [signalbox_store::Permit::Granted { .. }] => Ok(()),
                    other => Err(Failure::Broken(format!("the permit is not granted: {other:?}"))),
                }
            }
        }
    }
}

impl Stage for Real<'_> {
    fn flow(&self) -> &Flow {
        &self.onlooker.flow
    }

    fn now(&self) -> Micros {
        now()
    }

    fn attempt(&self, step: &StepName, group: u32) -> Option<AttemptId> {
        let named = Attempt { flow: self.part.id, step: step.clone(), group };
        Some(self.theatre.key.attempt_id(&named))
    }

    fn happen(&mut self, said: &str, cue: &Cue<'_>) -> Result<(), String> {
        self.onlooker.told(said, matches!(cue, Cue::Answer { .. } | Cue::Command { .. }));
        let happened = self.servers.block_on(async {
            self.let_happen(cue).await?;
            self.theatre.published(&self.part).await
        });
        happened.map_err(|failure| failure.to_string())
    }

    fn look(&mut self) -> Result<Vec<Sight>, String> {
        let looked = self.servers.block_on(async {
            let flow = self.theatre.flow(&self.part).await?;
            let (found, _) = self.theatre.attempts.recognitions(&[self.part.id]).await?;
            Ok::<_, Failure>((flow, found.into_values().next()))
        });
        let (flow, recognition) = looked.map_err(|failure| failure.to_string())?;
        let flow = flow.ok_or("the flow is gone")?;
        let records = self.theatre.notebook.about(&self.part.aggregate);
        Ok(self.onlooker.look(flow, &records, recognition, now()))
    }
}

impl Theatre<'_> {
    async fn flow(&self, part: &Part) -> Result<Option<Flow>, Failure> {
        let found = self.on.reader.find_flows(&part.id.to_string()).await?;
        Ok(found.into_iter().find_map(|loaded| flow_of(loaded.row, &part.command)))
    }

    /// Waits until everything that the flow has published was read.
    async fn published(&self, part: &Part) -> Result<(), Failure> {
        let rows = self.on.reader.journal_of(part.id).await?;
        let Some((lane, last)) = rows.iter().map(|row| (row.lane, row.out_last)).max() else {
            return Ok(());
        };
        let read = || async move { Ok((self.notebook.read_up_to(lane) >= last).then_some(())) };
        until("records to be read", read).await
    }
}

/// The offset that a lane reads next.
async fn next_offset(on: &Installation, lane: LaneId, topic: &TopicName) -> Result<i64, Failure> {
    let inputs = on.reader.inputs(lane).await?;
    Ok(inputs.into_iter().find(|row| row.topic == *topic).map_or(0, |row| row.next_offset))
}

async fn until<T, F: Future<Output = Result<Option<T>, Failure>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let (what, seconds) = (what.to_owned(), PATIENCE.as_secs());
            return Err(Failure::Late { what, seconds, seen: "nothing".to_owned() });
        }
        tokio::time::sleep(LOOK).await;
    }
}
