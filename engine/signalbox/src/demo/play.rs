//! The play itself: publishes requests at their pace, does what customers and people do, breaks things on the way,
//! and reads along until everything has ended. It judges nothing.

use std::time::{Duration, Instant};

use signalbox_schemas::{headers, topics};

use super::Engines;
use super::book::{Act, Book, What};
use crate::applications::{Applications, Newcomer};
use crate::cast::{Asks, Persona};
use crate::consumer_rule::Verdict;
use crate::payouts::{Payout, Payouts, REQUEST_PAYOUT, Wish};
use crate::scene::{
    COMMANDS, Commands, Console, EngineName, Scene, SceneError, Seen, Watcher, codec, contract, now,
};

/// Cases that may be under way at once.
const IN_FLIGHT_MAX: usize = 900;
/// Broken records are published when this many of a hundred requests are published.
const POISON_AT_PER_CENT: usize = 20;
/// The engine is killed when this many of a hundred requests are published.
const KILL_AT_PER_CENT: usize = 45;
/// How long the killed engine stays away.
const AWAY_FOR: Duration = Duration::from_secs(4);
/// Without an ending for this long something is stuck.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long late repeats are waited for at the end.
const ECHO: Duration = Duration::from_secs(3);
const REPORT_EVERY: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(15);

/// A record on a dead-letter topic, as its headers explain it.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A running demo.
pub(crate) struct Play {
    console: Console,
    commands: Commands,
    pub(crate) watcher: Watcher,
    pub(crate) book: Book,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Keys of records that were published broken.
    pub(crate) poison: Vec<String>,
    payouts: Payouts,
    applications: Applications,
    acts: Vec<Act>,
    /// Whether a payout was published again.
    repeated: bool,
}

impl Play {
    pub(crate) async fn prepare(
        scene: &Scene,
        console: Console,
        cast: Vec<Persona>,
        seed: u64,
    ) -> Result<Self, SceneError> {
        let codec = codec(scene.settings()).await?;
        let commands = Commands::connect(scene.settings(), codec.clone())?;
        let watched = watched()?;
        let watched: Vec<&str> = watched.iter().map(String::as_str).collect();
        Ok(Self {
            console,
            commands,
            watcher: Watcher::start(scene.settings(), codec, "signalbox-demo", &watched)?,
            book: Book::new(cast),
            dead_letters: Vec::new(),
            poison: Vec::new(),
            payouts: Payouts::new("demo", seed),
            applications: Applications::new("demo", seed),
            acts: Vec::new(),
            repeated: false,
        })
    }

    /// Publishes the programme and reads along until everything has ended.
    pub(crate) async fn run(
        &mut self,
        programme: &[usize],
        rate: u32,
        engines: &mut Engines<'_>,
    ) -> Result<(), SceneError> {
        let begun = Instant::now();
        let mut published = 0;
        let mut last_ending = (Instant::now(), 0);
        let mut next_report = begun + REPORT_EVERY;
        let mut trouble = Trouble::Coming;
        while self.book.ended < programme.len() || !self.acts.is_empty() || !trouble.is_over() {
            let pace = begun.elapsed().as_millis() * u128::from(rate) / 1_000;
            published = self.publish_due(programme, published, pace).await?;
            self.act().await?;
            self.read(LOOK).await?;
            trouble =
                self.trouble(trouble, published * 100 / programme.len().max(1), engines).await?;
            engines.must_run()?;
            if self.book.ended > last_ending.1 {
                last_ending = (Instant::now(), self.book.ended);
            } else if last_ending.0.elapsed() > PATIENCE {
                return Err(SceneError::Broken(self.stuck()));
            }
            if Instant::now() > next_report {
                next_report += REPORT_EVERY;
                self.report(published, programme.len());
            }
        }
        let until = Instant::now() + ECHO;
        while Instant::now() < until {
            self.read(LOOK).await?;
        }
        Ok(())
    }

    /// Publishes as many requests as the pace asks for and the bound on those under way allows.
    async fn publish_due(
        &mut self,
        programme: &[usize],
        published: usize,
        pace: u128,
    ) -> Result<usize, SceneError> {
        let pace = usize::try_from(pace).unwrap_or(usize::MAX);
        let allowed = pace.min(self.book.ended + IN_FLIGHT_MAX);
        let mut done = published;
        for persona in programme.iter().take(allowed).skip(published) {
            let asks = self.book.cast().get(*persona).map(|persona| persona.asks.clone());
            match asks {
                Some(Asks::Onboarding(like)) => self.apply(*persona, &like).await?,
                Some(Asks::Payout(wish)) => self.pay(*persona, &wish).await?,
                None => {}
            }
            done += 1;
        }
        Ok(done)
    }

    /// Asks to become a customer.
    async fn apply(&mut self, persona: usize, like: &Newcomer) -> Result<(), SceneError> {
        let asked = self.applications.next(like, now());
        let acts = self.book.open(&asked.id, persona, None, Instant::now());
        let record = "onboarding.application.RequestOnboarding";
        self.commands.command(record, &asked.id, &asked.command).await?;
        self.acts.extend(acts);
        Ok(())
    }

    /// Asks for a payout; the first one is published again, and once more under the same id with another content.
    async fn pay(&mut self, persona: usize, wish: &Wish) -> Result<(), SceneError> {
        let payout = self.payouts.next(wish, now());
        let account = Some(payout.account.clone());
        let acts = self.book.open(&payout.id, persona, account, Instant::now());
        self.commands.request(&payout.id, &payout.command).await?;
        self.acts.extend(acts);
        if !std::mem::replace(&mut self.repeated, true) {
            self.repeat(&payout).await?;
        }
        Ok(())
    }

    /// The same command again, and another one under the same id.
    async fn repeat(&mut self, payout: &Payout) -> Result<(), SceneError> {
        self.commands.request(&payout.id, &payout.command).await?;
        let mut other = payout.command.clone();
        if let Some(amount) = other.pointer_mut("/amount/minor_units") {
            *amount = 1.into();
        }
        self.commands.request(&payout.id, &other).await
    }

    /// Does what is due of what customers and people have decided to do.
    async fn act(&mut self) -> Result<(), SceneError> {
        let now = Instant::now();
        let (due, later): (Vec<Act>, Vec<Act>) =
            std::mem::take(&mut self.acts).into_iter().partition(|act| act.due <= now);
        self.acts = later;
        for act in due {
            match act.what {
                What::Say(id, word) => self.commands.say(&id, word).await?,
                What::Decide(decision) => self.commands.decide(&decision).await?,
            }
        }
        Ok(())
    }

    async fn read(&mut self, wait: Duration) -> Result<(), SceneError> {
        for seen in self.watcher.next(wait).await? {
            let acts = self.book.see(&seen, Instant::now());
            self.acts.extend(acts);
            self.dead_letters.extend(dead_letter(&seen));
        }
        Ok(())
    }

    async fn trouble(
        &mut self,
        trouble: Trouble,
        per_cent: usize,
        engines: &mut Engines<'_>,
    ) -> Result<Trouble, SceneError> {
        match trouble {
            Trouble::Coming if per_cent >= POISON_AT_PER_CENT => {
                self.poison().await?;
                Ok(Trouble::Poisoned)
            }
            Trouble::Poisoned if per_cent >= KILL_AT_PER_CENT => {
                let in_flight = self.book.entries.len() - self.book.ended;
                let Some(victim) = engines.kill_one(in_flight) else { return Ok(Trouble::Over) };
                self.console.say(&format!(
                    "kill -9 of {} with {in_flight} cases under way; the other one takes its lanes when their leases end",
                    victim.0
                ));
                Ok(Trouble::Killed(victim, Instant::now()))
            }
            Trouble::Killed(victim, since) if since.elapsed() > AWAY_FOR => {
                engines.add(victim).await?;
                Ok(Trouble::Over)
            }
            Trouble::Coming | Trouble::Poisoned | Trouble::Killed(..) | Trouble::Over => {
                Ok(trouble)
            }
        }
    }

    /// A command that was cut on its way, and bytes that never were one.
    async fn poison(&mut self) -> Result<(), SceneError> {
        self.console.say("publishing a truncated command and one of garbage");
        let payout = Payouts::new("poison", 1).next(&Wish::default(), now());
        let mut cut = self.commands.encode(COMMANDS, REQUEST_PAYOUT, &payout.command)?;
        cut.truncate(cut.len() / 2);
        for (key, payload) in
            [("poison-truncated", cut), ("poison-garbage", b"\xff not a record".to_vec())]
        {
            self.commands.publish_raw(COMMANDS, key, payload).await?;
            self.poison.push(key.to_owned());
        }
        Ok(())
    }

    fn report(&self, published: usize, all: usize) {
        let opened: usize = self.book.tasks.values().sum();
        self.console.say(&format!(
            "{published} of {all} published, {} ended, {} under way, {opened} tasks for people, {} dead letters",
            self.book.ended,
            published - self.book.ended,
            self.dead_letters.len()
        ));
    }

    /// What stands still, by persona.
    fn stuck(&self) -> String {
        let open = self.book.entries.iter().filter(|(_, entry)| entry.ended_at.is_none());
        let mut lines: Vec<String> = open
            .map(|(id, entry)| {
                let persona = self
                    .book
                    .cast()
                    .get(entry.persona)
                    .map_or("?", |persona| persona.name.as_str());
                format!("  {persona}: {id} after [{}]", entry.statuses.join(", "))
            })
            .collect();
        lines.sort();
        let count = lines.len();
        lines.truncate(20);
        format!(
            "{count} cases have not ended, and none did for {} s:\n{}",
            PATIENCE.as_secs(),
            lines.join("\n")
        )
    }
}

/// What goes wrong, in order.
#[derive(Debug)]
enum Trouble {
    Coming,
    Poisoned,
    Killed(EngineName, Instant),
    Over,
}

impl Trouble {
    fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// Every topic that the engine publishes, and every dead-letter topic.
fn watched() -> Result<Vec<String>, SceneError> {
    let all = &contract()?.topics().topics;
    let published =
        all.iter().filter(|(_, topic)| topic.producers.iter().any(|producer| producer == "engine"));
    let dead = all.iter().filter(|(_, topic)| topic.dlq).map(|(name, _)| topics::dlq_of(name));
    Ok(published.map(|(name, _)| name.clone()).chain(dead).collect())
}

fn dead_letter(seen: &Seen) -> Option<DeadLetter> {
    let record = &seen.record;
    if seen.verdict != Verdict::Apply || !record.topic.as_str().ends_with(topics::DLQ_SUFFIX) {
        return None;
    }
    let header = |name| record.headers.text(name).unwrap_or_default().to_owned();
    Some(DeadLetter {
        topic: record.topic.as_str().to_owned(),
        key: record.key_text().unwrap_or_default().to_owned(),
        code: header(headers::DLQ_CODE),
        message: header(headers::DLQ_MESSAGE),
    })
}
