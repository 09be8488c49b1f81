//! The load under which everything is broken: payouts and applications of every persona at a steady pace, some commands
//! sent twice, and the people who decide. It goes on whatever happens, in the background, and waits where Kafka is away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use signalbox::applications::Applications;
use signalbox::cast::{Asks, Persona, Ruling, cast};
use signalbox::payouts::{Payouts, REQUEST_PAYOUT, Wish};
use signalbox::scene::{Commands, Console, SceneError, now};
use signalbox_store::Reader;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep};

use crate::failure::Failure;
use crate::installation::Installation;
use crate::people::People;
use crate::witness::Witness;

/// What business ids begin with.
const RUN: &str = "chaos";
const REQUEST_ONBOARDING: &str = "onboarding.application.RequestOnboarding";
/// Of a hundred cases so many are the first persona of the cast; the others share the rest in turn.
const PLAIN_PER_CENT: usize = 60;
/// One command of so many is sent a second time, as by somebody who does not know whether it arrived.
const REPEATED_EVERY: usize = 40;
/// Commands that may wait for Kafka at once.
const WAITING_MAX: usize = 20_000;
/// How long a service waits that could not publish, until it tries again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often people look.
const LOOK: Duration = Duration::from_millis(150);

/// What is decided where a fault has led a case to people who are not in its script. What may have moved money is not
/// here: that is ruled by the bank's own books, when nothing is under way any more.
const FRIENDLY: [(&str, &str, usize); 11] = [
    ("review_identity", "approve", 1),
    ("review_document", "approve", 1),
    ("review_screening", "release", 1),
    ("review_match", "release", 1),
    ("review_risk", "approve", 2),
    ("review_fraud", "approve", 1),
    ("review_sending", "approve", 1),
    ("review_recall", "approve", 1),
    ("repeat_screening", "approve", 1),
    ("compliance_hold", "release", 2),
    ("bank_hold", "uphold", 1),
];

/// One thing that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Business id.
    pub(crate) id: String,
    persona: Persona,
    /// The account that is paid, where it is a payout.
    pub(crate) account: Option<String>,
}

/// A case and the command that begins it.
#[derive(Debug)]
struct Asked {
    case: Case,
    record: &'static str,
    command: Value,
}

impl Asked {
    /// Publishes the command until Kafka has taken it, as a service does that may not lose it.
    async fn publish(&self, commands: &Commands) -> Result<(), Failure> {
        loop {
            match commands.command(self.record, &self.case.id, &self.command).await {
                Err(SceneError::Bus(_)) => sleep(AGAIN).await,
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// An endless source of cases, drawn from the cast.
#[derive(Debug)]
struct Source {
    plain: Persona,
    others: Vec<Persona>,
    made: usize,
    payouts: Payouts,
    applications: Applications,
}

impl Source {
    fn new(seed: u64) -> Result<Self, Failure> {
        let mut cast = cast()?.into_iter().map(befriended);
        let plain = cast.next();
        let plain = plain.ok_or_else(|| Failure::Broken("nobody plays anything".to_owned()))?;
        let (payouts, applications) = (Payouts::new(RUN, seed), Applications::new(RUN, seed));
        Ok(Self { plain, others: cast.collect(), made: 0, payouts, applications })
    }

    /// The next case of the steady load.
    fn next(&mut self) -> Asked {
        let plain_of = |cases: usize| cases * PLAIN_PER_CENT / 100;
        let (before, now) = (plain_of(self.made), plain_of(self.made + 1));
        let place = (self.made - before) % self.others.len().max(1);
        self.made += 1;
        let other = self.others.get(place).filter(|_| now == before);
        let persona = other.unwrap_or(&self.plain).clone();
        self.case(persona)
    }

    /// A payout as wished, for which people act as for a plain one.
    fn payout(&mut self, wish: Wish) -> Asked {
        let mut persona = self.plain.clone();
        persona.asks = Asks::Payout(wish);
        self.case(persona)
    }

    fn case(&mut self, persona: Persona) -> Asked {
        match &persona.asks {
            Asks::Payout(wish) => {
                let asked = self.payouts.next(wish, now());
                let case = Case { id: asked.id, persona, account: Some(asked.account) };
                Asked { case, record: REQUEST_PAYOUT, command: asked.command }
            }
            Asks::Onboarding(like) => {
                let asked = self.applications.next(like, now());
                let case = Case { id: asked.id, persona, account: None };
                Asked { case, record: REQUEST_ONBOARDING, command: asked.command }
            }
        }
    }
}

/// The persona, with an answer to whatever else people may be asked about it.
fn befriended(mut persona: Persona) -> Persona {
    for (step, decide, people) in FRIENDLY {
        let ruling = || Ruling { decide: decide.to_owned(), people };
        persona.decisions.entry(step.to_owned()).or_insert_with(ruling);
    }
    persona
}

/// Cases on their way.
pub(crate) struct Load {
    shared: Arc<Shared>,
    publishing: JoinHandle<Result<(), Failure>>,
    people: JoinHandle<()>,
}

/// What the tasks share with the run.
struct Shared {
    commands: Commands,
    reader: Reader,
    source: Mutex<Source>,
    /// Cases that were published so far.
    cases: Mutex<Vec<Case>>,
    witness: Mutex<Arc<Witness>>,
    stop: AtomicBool,
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Begins to publish, so many in a second; the same seed asks for the same.
    ///
    /// # Errors
    /// `Scene` where the cast cannot be read.
    pub(crate) fn start(
        on: &Installation,
        seed: u64,
        rate: u32,
        console: Console,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            commands: on.commands.clone(),
            reader: on.reader.clone(),
            source: Mutex::new(Source::new(seed)?),
            cases: Mutex::new(Vec::new()),
            witness: Mutex::new(Arc::clone(&on.witness)),
            stop: AtomicBool::new(false),
        });
        let publishing = tokio::spawn(publish(Arc::clone(&shared), rate));
        let people = tokio::spawn(decide(Arc::clone(&shared), console));
        Ok(Self { shared, publishing, people })
    }

    /// Cases that were published so far.
    pub(crate) fn cases(&self) -> Vec<Case> {
        lock(&self.shared.cases).clone()
    }

    /// How many of them are payouts.
    pub(crate) fn payouts(&self) -> usize {
        lock(&self.shared.cases).iter().filter(|case| case.account.is_some()).count()
    }

    /// People look at this witness from now on.
    pub(crate) fn look_at(&self, witness: Arc<Witness>) {
        *lock(&self.shared.witness) = witness;
    }

    /// Asks for a payout beside the others; its id.
    ///
    /// # Errors
    /// `Scene` where Kafka does not take it.
    pub(crate) async fn bring(&self, wish: Wish) -> Result<String, Failure> {
        let asked = lock(&self.shared.source).payout(wish);
        asked.publish(&self.shared.commands).await?;
        let id = asked.case.id.clone();
        lock(&self.shared.cases).push(asked.case);
        Ok(id)
    }

    /// Publishes no more; returns when Kafka has taken everything that was begun.
    ///
    /// # Errors
    /// `Scene` where Kafka has not taken something.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        self.shared.stop.store(true, Ordering::SeqCst);
        joined((&mut self.publishing).await)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.publishing.abort();
        self.people.abort();
    }
}

async fn publish(shared: Arc<Shared>, rate: u32) -> Result<(), Failure> {
    let mut pace = interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waiting: JoinSet<Result<(), Failure>> = JoinSet::new();
    for number in 0_usize.. {
        pace.tick().await;
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        while waiting.len() >= WAITING_MAX {
            waiting.join_next().await.map_or(Ok(()), joined)?;
        }
        let asked = lock(&shared.source).next();
        lock(&shared.cases).push(asked.case.clone());
        let commands = shared.commands.clone();
        waiting.spawn(async move {
            asked.publish(&commands).await?;
            if number.is_multiple_of(REPEATED_EVERY) {
                sleep(Duration::from_millis(500)).await;
                asked.publish(&commands).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = waiting.join_next().await {
        joined(ended)?;
    }
    Ok(())
}

fn joined(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.map_err(|error| Failure::Broken(format!("publishing ended badly: {error}")))?
}

/// People act for every case that was published, as long as the run lasts. Where Kafka or Postgres is away they wait.
async fn decide(shared: Arc<Shared>, console: Console) {
    let (mut people, mut known, mut told) = (People::default(), 0, false);
    loop {
        for case in lock(&shared.cases).get(known..).unwrap_or_default() {
            people.play(&case.id, &case.persona);
            known += 1;
        }
        let witness = Arc::clone(&lock(&shared.witness));
        match people.act_now(&witness, &shared.commands, &shared.reader).await {
            Ok(()) => told = false,
            Err(failure) => {
                if !std::mem::replace(&mut told, true) {
                    console.say(&format!("people wait: {failure}"));
                }
            }
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::{PLAIN_PER_CENT, Source};

    #[test]
    fn most_cases_are_plain_and_everybody_plays_a_part() {
        let mut source = Source::new(7).unwrap();
        let everybody: BTreeSet<String> =
            source.others.iter().chain([&source.plain]).map(|one| one.name.clone()).collect();
        let plain = source.plain.name.clone();
        let cases: Vec<String> = (0..400).map(|_| source.next().case.persona.name).collect();
        assert_eq!(cases.iter().filter(|name| **name == plain).count(), 4 * PLAIN_PER_CENT);
        assert_eq!(BTreeSet::from_iter(cases), everybody);
    }
}
