//! `signalbox demo`: over a thousand payouts and onboardings of every kind on real parts, an engine killed among them,
//! and proof at the end.
//!
//! It plays the services of a bank and its people: publishes commands, takes decisions, cancels, breaks things, and
//! watches as a consumer does. What must be true afterwards is in `proof`; nothing here looks into the engine.

mod book;
mod play;
mod proof;
mod summary;

use std::time::Duration;

use clap::Args;

use crate::cast;
use crate::scene::{Console, EngineName, SandboxWish, Scene, SceneError, Started, assignments};
use play::Play;

const JOURNEYS: &str = include_str!("../../../../deploy/demo/journeys.env");
/// Longest time for `audit verify`.
const AUDIT_WITHIN: Duration = Duration::from_secs(120);

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Starts Kafka, a registry, Postgres, simulated vendors, two engines and an adapter, all on this machine and with data
of their own, and removes everything at the end. Exits with 0 only if everything ended once and as it must, money
moved once, nothing is missing or unrecognisably repeated on the topics, and the audit trail is intact.")]
pub struct DemoArgs {
    /// Payouts and onboardings, over all personas
    #[arg(long, value_name = "N", default_value_t = 1_450)]
    flows: usize,
    /// Requests published per second
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Start value of every random choice
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave the directory with data and logs behind
    #[arg(long)]
    keep: bool,
}

/// The engines of a demo; the second one is killed.
pub(crate) const ENGINES: [EngineName; 2] = [EngineName("engine-1"), EngineName("engine-2")];

/// Plays, proves, prints.
///
/// # Errors
/// `Broken` where a promise does not hold; see [`SceneError`] for the rest.
pub async fn run(args: &DemoArgs) -> Result<(), SceneError> {
    let console = Console::start();
    let cast = cast::cast()?;
    let programme = cast::programme(&cast, args.flows, args.seed);
    console.say(&format!(
        "{} payouts and onboardings of {} kinds; starting the parts",
        programme.len(),
        cast.len()
    ));
    let scene = Scene::start(console, args.keep).await?;
    scene.prepare().await?;
    let sandbox = scene.sandbox(&sandbox_wish(args.seed)).await?;
    let policy = scene.checkout().join("deploy/demo/routing.yaml").display().to_string();
    let policy = [("SIGNALBOX__ADAPTER__POLICY".to_owned(), policy)];
    let adapter = scene.adapter(Some(&sandbox.address), &policy).await?;
    let mut play = Play::prepare(&scene, console, cast, args.seed).await?;
    let mut engines = Engines::start(&scene).await?;
    let played = play.run(&programme, args.rate, &mut engines).await;
    if let Err(error) = played {
        summary::print(console, &play);
        return Err(error);
    }
    console.say("everything has ended; looking at the bank's ledger and the audit trail");
    let ledger = proof::ledger(&sandbox.address).await?;
    let audit = scene.command(&["audit", "verify"], AUDIT_WITHIN).await;
    let broken = proof::broken(&play, &ledger, audit.as_ref().err());
    summary::print(console, &play);
    summary::outlook(console, &ledger, engines.killed_with);
    let mut services = engines.end();
    services.extend([adapter, sandbox]);
    scene.stop(services).await?;
    if broken.is_empty() {
        console.print("\nEvery promise held. Next:");
        console.print("  make dev                             the same system, to play with");
        console.print("  signalbox publish --example          a payout to change and publish");
        console
            .print("  signalbox journeys check             what the journeys are proven to keep");
        return Ok(());
    }
    Err(SceneError::Broken(broken.join("\n")))
}

/// Fast enough that settlements, returns and lost answers fit into a demo. A return comes so soon that a killed
/// engine's lanes are back before the window for returns has closed.
fn sandbox_wish(seed: u64) -> SandboxWish {
    let seed = seed.to_string();
    let arguments = [
        "--settle-after",
        "2s",
        "--return-after",
        "3s",
        "--slow-for",
        "1500ms",
        "--hang-for",
        "2s",
        "--latency-min",
        "5ms",
        "--latency-max",
        "60ms",
        "--seed",
        &seed,
    ];
    SandboxWish { arguments: arguments.map(str::to_owned).to_vec() }
}

/// Two engines that share the lanes.
pub(crate) struct Engines<'a> {
    scene: &'a Scene,
    settings: Vec<(String, String)>,
    running: Vec<(EngineName, Started)>,
    /// Cases in flight when an engine was killed.
    pub(crate) killed_with: Option<usize>,
}

impl<'a> Engines<'a> {
    async fn start(scene: &'a Scene) -> Result<Self, SceneError> {
        let mut engines =
            Self { scene, settings: assignments(JOURNEYS), running: Vec::new(), killed_with: None };
        for name in ENGINES {
            engines.add(name).await?;
        }
        Ok(engines)
    }

    /// Starts an engine and waits until it is ready.
    pub(crate) async fn add(&mut self, name: EngineName) -> Result<(), SceneError> {
        let started = self.scene.engine(name, &self.settings).await?;
        self.running.push((name, started));
        Ok(())
    }

    /// Kills the engine that was started last, as a crash would, and says which.
    pub(crate) fn kill_one(&mut self, in_flight: usize) -> Option<EngineName> {
        let (name, victim) = self.running.pop()?;
        victim.child.kill();
        self.killed_with = Some(in_flight);
        Some(name)
    }

    /// An error where one has ended although nobody killed it.
    pub(crate) fn must_run(&mut self) -> Result<(), SceneError> {
        self.running.iter_mut().try_for_each(|(_, engine)| engine.child.must_run())
    }

    fn end(self) -> Vec<Started> {
        self.running.into_iter().map(|(_, engine)| engine).collect()
    }
}
