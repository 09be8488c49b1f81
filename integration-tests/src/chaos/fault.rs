//! The faults: each is put in, lasts for a while, and is taken out again, or somebody else takes over. Which service it
//! hits is drawn from the run's seed. It measures nothing but when it began and from when on work can be expected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use signalbox::payouts::{Rail, Wish};
use signalbox::scene::{Console, EngineName, SceneError, now};
use signalbox_checker::Fault as Blow;
use signalbox_schemas::LaneId;
use tokio::time::{Instant, sleep};

use super::link::{Link, Spring, Way, Weather};
use super::load::Load;
use super::site::{ADAPTERS, ENGINES, SERVICES, Server, Site};
use super::{disk, log_tail, poison};
use crate::failure::Failure;

/// How long a change of lanes may take: a lease and a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a trap waits for its word.
const TRAP_PATIENCE: Duration = Duration::from_secs(5);
/// Longer than a member of a consumer group may be silent.
const GROUP_SESSION: Duration = Duration::from_secs(12);
/// How long an engine may take to notice that its connections are dead.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
const PERMITS: &str = "signalbox_permits_total";
/// How long a request is held.
pub(crate) const HELD: Duration = Duration::from_secs(30);
/// A statement of Postgres, and a request of the bank, as they travel.
const COMMIT: &str = "COMMIT";
const PAY: &str = "_transfers HTTP/1.1";
/// Payouts of each rail that the bank refuses while nobody hears of it.
const REFUSED: usize = 3;
const LOOK: Duration = Duration::from_millis(50);

/// A sort of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    FreezeEngine,
    LoseCommitAnswer,
    SwallowCommit,
    Zombie,
    LosePaymentAnswers,
    PowerCut,
    Poison,
    KillEngine,
    KillAdapter,
    FreezeAdapter,
    KillKafka,
    KillPostgres,
    KillRegistry,
    KillVendors,
    Cut,
    Slow,
    HalfOpen,
    Forgotten,
    HoldPayment,
    RollingRestart,
    FillPostgres,
    FillKafka,
    JumpClock,
}

impl Fault {
    /// Those without which a run would be too tame, so they come first.
    pub(crate) const TELLING: [Self; 7] = [
        Self::FreezeEngine,
        Self::LoseCommitAnswer,
        Self::SwallowCommit,
        Self::Zombie,
        Self::LosePaymentAnswers,
        Self::PowerCut,
        Self::Poison,
    ];
    /// The others.
    pub(crate) const OTHERS: [Self; 16] = [
        Self::KillEngine,
        Self::KillAdapter,
        Self::FreezeAdapter,
        Self::KillKafka,
        Self::KillPostgres,
        Self::KillRegistry,
        Self::KillVendors,
        Self::Cut,
        Self::Slow,
        Self::HalfOpen,
        Self::Forgotten,
        Self::HoldPayment,
        Self::RollingRestart,
        Self::FillPostgres,
        Self::FillKafka,
        Self::JumpClock,
    ];

    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FreezeEngine => "engine frozen past its lease",
            Self::LoseCommitAnswer => "answer to a commit lost",
            Self::SwallowCommit => "commit lost",
            Self::Zombie => "publications of a dead engine held, then released",
            Self::LosePaymentAnswers => "answers to payments lost",
            Self::PowerCut => "power cut, a topic loses its tail",
            Self::Poison => "poison records",
            Self::KillEngine => "kill -9 of an engine",
            Self::KillAdapter => "kill -9 of an adapter",
            Self::FreezeAdapter => "adapter frozen past its session",
            Self::KillKafka => "kill -9 of Kafka",
            Self::KillPostgres => "kill -9 of Postgres",
            Self::KillRegistry => "kill -9 of the registry",
            Self::KillVendors => "kill -9 of the vendors",
            Self::Cut => "link cut",
            Self::Slow => "link slow",
            Self::HalfOpen => "link half-open, then broken",
            Self::Forgotten => "connections dead, and nobody is told",
            Self::HoldPayment => "payment held for 30 s, then released",
            Self::RollingRestart => "rolling restart",
            Self::FillPostgres => "disk full at Postgres",
            Self::FillKafka => "disk full at Kafka",
            Self::JumpClock => "clock jumps",
        }
    }

    /// Whether everybody needs the server that it takes away.
    pub(crate) fn is_outage(self) -> bool {
        matches!(self, Self::KillKafka | Self::KillPostgres)
    }

    /// Why it cannot be done here.
    pub(crate) fn not_done(self, site: &Site) -> Option<&'static str> {
        match self {
            Self::FillPostgres | Self::FillKafka if !site.means.disks => {
                Some("no privilege to mount a disk that could be filled")
            }
            Self::JumpClock if site.means.clocks.is_none() => Some("libfaketime is not installed"),
            _ => None,
        }
    }
}

/// What faults act on.
pub(crate) struct Hand<'a> {
    pub(crate) site: &'a mut Site,
    pub(crate) load: &'a Load,
    pub(crate) random: &'a mut Rng,
    /// How long servers are away.
    pub(crate) away: Option<Duration>,
    /// Lanes whose engine is taken away.
    pub(crate) hit: BTreeSet<i64>,
    pub(crate) console: Console,
}

/// Milliseconds that the machine's clock shows.
pub(crate) fn clock_ms() -> i64 {
    now().0 / 1_000
}

impl Hand<'_> {
    /// Puts a fault in and takes it out again.
    ///
    /// # Errors
    /// `Late` where something does not happen that has to, `Scene` where a part does not start again.
    pub(crate) async fn strike(&mut self, fault: Fault) -> Result<Blow, Failure> {
        let began_ms = clock_ms();
        let over_ms = match fault {
            Fault::FreezeEngine => self.freeze_engine().await?,
            Fault::LoseCommitAnswer => self.commit(Spring::LoseAnswer, "committed").await?,
            Fault::SwallowCommit => self.commit(Spring::Swallow, "not committed").await?,
            Fault::Zombie => self.zombie().await?,
            Fault::LosePaymentAnswers => self.lose_payment_answers().await?,
            Fault::PowerCut => self.power_cut().await?,
            Fault::Poison => poison::publish(self).await?,
            Fault::KillEngine => self.kill_engine().await?,
            Fault::KillAdapter => self.kill_adapter().await?,
            Fault::FreezeAdapter => self.freeze_adapter().await?,
            Fault::KillKafka | Fault::KillPostgres | Fault::KillRegistry => {
                self.kill_server(fault).await?
            }
            Fault::KillVendors => self.kill_vendors().await?,
            Fault::Cut | Fault::Slow | Fault::HalfOpen => self.spoil_link(fault).await?,
            Fault::Forgotten => self.forget_connections().await?,
            Fault::HoldPayment => self.hold_payment().await?,
            Fault::RollingRestart => self.rolling_restart().await?,
            Fault::FillPostgres => disk::fill_postgres(self.site).await?,
            Fault::FillKafka => disk::fill_kafka(self.site).await?,
            Fault::JumpClock => self.jump_clock().await?,
        };
        let lanes = std::mem::take(&mut self.hit);
        Ok(Blow { what: fault.name().to_owned(), began_ms, over_ms, lanes })
    }

    fn say(&self, what: &str) {
        self.console.say(&format!("    {what}"));
    }

    /// An engine that holds lanes.
    async fn busy_engine(&mut self) -> Result<EngineName, Failure> {
        let victim = self.random.choice(ENGINES).unwrap_or(EngineName("engine-1"));
        self.site.on.until_lanes(PATIENCE, victim, |held| held > 0).await?;
        Ok(victim)
    }

    async fn lanes_of(&self, engine: EngineName) -> Result<BTreeSet<i64>, Failure> {
        let held = self.site.on.lanes_of(engine).await?;
        Ok(held.into_iter().map(|lane| lane.0.into()).collect())
    }

    fn adapter(&mut self) -> &'static str {
        self.random.choice(ADAPTERS).unwrap_or("adapter-1")
    }

    fn some_time(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.u64(least_ms..=most_ms))
    }

    async fn kill_engine(&mut self) -> Result<i64, Failure> {
        let victim = self.busy_engine().await?;
        self.say(victim.0);
        self.hit = self.lanes_of(victim).await?;
        self.site.on.kill_engine(victim)?;
        let over = clock_ms();
        self.site.start_engine(victim).await?;
        Ok(over)
    }

    async fn freeze_engine(&mut self) -> Result<i64, Failure> {
        let victim = self.busy_engine().await?;
        self.say(victim.0);
        self.hit = self.lanes_of(victim).await?;
        let over = clock_ms();
        self.site.on.signal_engine(victim, Signal::STOP)?;
        let lost = self.site.on.until_lanes(PATIENCE, victim, |held| held == 0).await;
        self.site.on.signal_engine(victim, Signal::CONT)?;
        lost.map(|_| over)
    }

    async fn kill_adapter(&mut self) -> Result<i64, Failure> {
        let victim = self.adapter();
        self.say(victim);
        self.site.on.kill_adapter(victim)?;
        let over = clock_ms();
        self.site.start_adapter(victim).await?;
        Ok(over)
    }

    async fn freeze_adapter(&mut self) -> Result<i64, Failure> {
        let victim = self.adapter();
        self.say(victim);
        let over = clock_ms();
        self.site.on.signal_adapter(victim, Signal::STOP)?;
        sleep(GROUP_SESSION).await;
        self.site.on.signal_adapter(victim, Signal::CONT)?;
        Ok(over)
    }

    async fn kill_server(&mut self, server: Fault) -> Result<i64, Failure> {
        let some = self.some_time(500, 3_000);
        let away = self.away.unwrap_or(some);
        let stack = self.site.on.stack();
        match server {
            Fault::KillKafka => stack.kill_kafka().await,
            Fault::KillPostgres => stack.kill_postgres().await,
            _ => stack.kill_registry().await,
        }
        let killed = clock_ms();
        sleep(away).await;
        let stack = self.site.on.stack();
        match server {
            Fault::KillKafka => stack.start_kafka().await.map_err(SceneError::from)?,
            Fault::KillPostgres => stack.start_postgres().await.map_err(SceneError::from)?,
            _ => {
                stack.start_registry().await.map_err(SceneError::from)?;
                self.register_again().await?;
                // Nobody needs it who knows the schemas.
                return Ok(killed);
            }
        }
        Ok(clock_ms())
    }

    /// Schemas again in a registry that kept nothing, as an operator does: once more where it was not ready yet.
    async fn register_again(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.site.on.prepare().await {
                Err(Failure::Scene(SceneError::Registry(_))) if Instant::now() < deadline => {
                    sleep(Duration::from_secs(1)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn kill_vendors(&mut self) -> Result<i64, Failure> {
        let away = self.some_time(500, 3_000);
        self.site.on.kill_sandbox();
        sleep(away).await;
        self.site.on.start_sandbox().await?;
        self.site.lead();
        Ok(clock_ms())
    }

    /// One link of one service is bad for a while.
    async fn spoil_link(&mut self, how: Fault) -> Result<i64, Failure> {
        let service = self.random.choice(SERVICES).unwrap_or("engine-1");
        let servers = if ADAPTERS.contains(&service) { Server::ALL.len() } else { 3 };
        let server = self.random.choice(Server::ALL.into_iter().take(servers));
        let server = server.unwrap_or(Server::Postgres);
        let time = match how {
            Fault::HalfOpen => self.some_time(6_000, 12_000),
            _ => self.some_time(2_000, 8_000),
        };
        let delay = self.some_time(20, 200);
        self.say(&format!("from {service} to {}, for {:.1} s", server.name(), time.as_secs_f64()));
        let link = self.site.link(service, server)?;
        match how {
            Fault::Cut => link.cut(),
            Fault::Slow => link.set(Weather::both(Way::Slow(delay))),
            _ => link.set(Weather::both(Way::Lost)),
        }
        sleep(time).await;
        link.set(Weather::FINE);
        Ok(clock_ms())
    }

    /// The connections of a service to a server lead nowhere, without an end and without an error. It has to notice.
    async fn forget_connections(&mut self) -> Result<i64, Failure> {
        let server = self.random.choice([Server::Postgres, Server::Kafka]);
        let server = server.unwrap_or(Server::Postgres);
        let engine = if self.random.bool() { Some(self.busy_engine().await?) } else { None };
        let victim = engine.map_or_else(|| self.adapter(), |engine| engine.0);
        self.say(&format!("of {victim} to {}", server.name()));
        let over = clock_ms();
        self.site.link(victim, server)?.forget_all();
        // What had been under way is done by then.
        sleep(Duration::from_secs(1)).await;
        match engine {
            Some(engine) => self.until_works(engine, NOTICED_WITHIN).await?,
            None => self.until_permitted(victim, NOTICED_WITHIN).await?,
        }
        Ok(over)
    }

    /// Waits until this adapter has taken a permit: it reads Kafka, and Postgres answers it.
    async fn until_permitted(&self, name: &str, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        let url = format!("http://{}/metrics", self.site.on.admin_of(name)?);
        let taken = async || -> Result<Vec<String>, Failure> {
            let (_, page) = self.site.on.get(&url).await?;
            let permits = page.lines().filter(|line| line.starts_with(PERMITS));
            Ok(permits.filter(|line| line.contains("granted")).map(str::to_owned).collect())
        };
        let before = taken().await?;
        while taken().await? == before {
            if Instant::now() > deadline {
                let (what, seen) = (format!("{name} at work again"), format!("{before:?}"));
                return Err(Failure::Late { what, seconds: patience.as_secs(), seen });
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Waits until a lane goes on that this engine holds.
    async fn until_works(&self, name: EngineName, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        let held = async || -> Result<BTreeMap<LaneId, i64>, Failure> {
            let lanes = self.site.on.reader.lanes().await?.into_iter();
            let own = lanes.filter(|lane| lane.owner.as_deref() == Some(name.0));
            Ok(own.map(|lane| (lane.lane, lane.journal_seq)).collect())
        };
        let mut before = held().await?;
        loop {
            sleep(Duration::from_millis(500)).await;
            let now = held().await?;
            if now.iter().any(|(lane, seq)| before.get(lane).is_some_and(|before| seq > before)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("{} at work again", name.0);
                let seen = format!("it holds the lanes {:?}, and none goes on", now.keys());
                return Err(Failure::Late { what, seconds: patience.as_secs(), seen });
            }
            before = now;
        }
    }

    /// The commit of a tick whose answer does not arrive, or which does not arrive itself; the engine has to find out.
    async fn commit(&mut self, spring: Spring, found: &'static str) -> Result<i64, Failure> {
        let victim = self.busy_engine().await?;
        self.say(victim.0);
        let settled = |site: &Site| site.on.count_in_logs(&[LOST_COMMIT, &told(found)]);
        let before = settled(self.site)?;
        let deadline = Instant::now() + PATIENCE;
        // Other statements commit too; only a tick has to look.
        while settled(self.site)? == before {
            if Instant::now() > deadline {
                let what = format!("a commit that was found to be {found}");
                let seen = format!(
                    "{} traps sprung",
                    self.site.link(victim.0, Server::Postgres)?.sprung()
                );
                return Err(Failure::Late { what, seconds: PATIENCE.as_secs(), seen });
            }
            trap(self.site.link(victim.0, Server::Postgres)?, COMMIT, spring).await;
            sleep(Duration::from_millis(300)).await;
        }
        Ok(clock_ms())
    }

    /// What an engine has sent to Kafka arrives when it is dead and another has published the same.
    async fn zombie(&mut self) -> Result<i64, Failure> {
        let victim = self.busy_engine().await?;
        self.say(victim.0);
        self.site.link(victim.0, Server::Kafka)?.set(Weather { up: Way::Held, ..Weather::FINE });
        sleep(Duration::from_secs(1)).await;
        self.site.on.kill_engine(victim)?;
        let over = clock_ms();
        self.site.on.until_lanes(PATIENCE, victim, |held| held == 0).await?;
        sleep(Duration::from_secs(1)).await;
        self.site.link(victim.0, Server::Kafka)?.set(Weather::FINE);
        self.site.start_engine(victim).await?;
        Ok(over)
    }

    /// The bank pays, or refuses to, and nobody hears of it.
    async fn lose_payment_answers(&mut self) -> Result<i64, Failure> {
        let time = self.some_time(7_000, 9_000);
        for adapter in ADAPTERS {
            self.site.link(adapter, Server::Vendors)?.trap_all(PAY, Spring::LoseAnswer);
        }
        for rail in [Rail::Ach, Rail::Rtp] {
            let refused =
                Wish { beneficiary: Some("Rejected".to_owned()), rail, ..Wish::default() };
            for _ in 0..REFUSED {
                self.load.bring(refused.clone()).await?;
            }
        }
        sleep(time).await;
        for adapter in ADAPTERS {
            self.site.link(adapter, Server::Vendors)?.disarm();
        }
        Ok(clock_ms())
    }

    /// One request for money waits somewhere for 30 s while everybody goes on, and arrives in the end.
    async fn hold_payment(&mut self) -> Result<i64, Failure> {
        let victim = self.adapter();
        self.say(victim);
        trap(self.site.link(victim, Server::Vendors)?, PAY, Spring::Hold(HELD)).await;
        Ok(clock_ms())
    }

    async fn rolling_restart(&mut self) -> Result<i64, Failure> {
        let over = clock_ms();
        for engine in ENGINES {
            self.site.on.stop_engine(engine).await?;
            self.site.start_engine(engine).await?;
        }
        for adapter in ADAPTERS {
            self.site.on.stop_adapter(adapter).await?;
            self.site.start_adapter(adapter).await?;
        }
        Ok(over)
    }

    /// Engines and the broker die at once, and the broker has not kept the last of what it had acknowledged.
    async fn power_cut(&mut self) -> Result<i64, Failure> {
        for engine in ENGINES {
            self.site.on.kill_engine(engine)?;
        }
        self.site.on.stack().kill_kafka().await;
        let lost = log_tail::cut(&self.site.on.stack().kafka_logs(), self.random)?;
        self.say(&format!("{lost} batches of events are lost"));
        self.site.on.stack().start_kafka().await.map_err(SceneError::from)?;
        let over = clock_ms();
        for engine in ENGINES {
            self.site.start_engine(engine).await?;
        }
        // Whoever read what was lost is at offsets that mean something else now.
        let read = self.site.on.witness.ask(|seen| seen.published.len());
        self.site.on.look_anew().await?;
        let patience = Instant::now() + PATIENCE;
        while self.site.on.witness.ask(|seen| seen.published.len()) < read {
            if Instant::now() > patience {
                break;
            }
            sleep(LOOK).await;
        }
        self.load.look_at(std::sync::Arc::clone(&self.site.on.witness));
        Ok(over)
    }

    async fn jump_clock(&mut self) -> Result<i64, Failure> {
        let service = self.random.choice(SERVICES).unwrap_or("engine-1");
        let offset = self.random.choice(["+3600", "-3600", "+90", "-90"]).unwrap_or("+90");
        self.say(&format!("{service} by {offset} s"));
        let over = clock_ms();
        self.site.set_clock(service, offset)?;
        sleep(Duration::from_secs(6)).await;
        self.site.set_clock(service, "+0")?;
        Ok(over)
    }
}

/// Sets a trap until it is sprung, or has waited long enough.
async fn trap(link: &Link, word: &str, spring: Spring) {
    let sprung = link.sprung();
    link.trap(word, spring);
    let deadline = Instant::now() + TRAP_PATIENCE;
    while link.sprung() == sprung && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    link.disarm();
}

/// What an engine says about a commit whose answer was lost.
pub(crate) const LOST_COMMIT: &str = "the answer to a commit was lost";

/// How it says what it found.
pub(crate) fn told(found: &str) -> String {
    format!("\"found\":\"{found}\"")
}
