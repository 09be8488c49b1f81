//! One installation for all tests of a run: the local stack, the sandbox, and engines and adapters that are started,
//! killed and stopped by name. Each test draws payouts of its own from it. It knows no test.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use signalbox::applications::{Application, Applications, Newcomer};
use signalbox::local::{LocalStack, StackOptions};
use signalbox::payouts::{Payout, Payouts, Wish};
use signalbox::scene::{
    Commands, Console, EngineName, SandboxWish, Scene, Settings, Started, codec, memory, now,
};
use signalbox_schemas::LaneId;
use signalbox_store::{AnchorKey, AnchorPublicKey, FlowRow, Reader};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::bank::Bank;
use crate::failure::Failure;
use crate::witness::Witness;

/// Waits of the journeys, shortened for a run that sees every ending.
const JOURNEY: &str = include_str!("../../deploy/demo/journeys.env");
/// How long a graceful stop may take: longer than a lease.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How often something is looked at that does not tell by itself.
const LOOK: Duration = Duration::from_millis(50);

/// Name and value of an environment variable.
pub type Setting = (String, String);

/// How the vendors behave in this run.
#[derive(Debug, Clone, Copy)]
pub struct Vendors {
    /// Arguments of `signalbox sandbox`.
    pub arguments: &'static [&'static str],
    /// Waits that differ from the demo's, by parameter of the payout journey or as `<journey>.<parameter>`.
    pub waits: &'static [(&'static str, &'static str)],
}

/// What a command of the product answered.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Everything that runs.
pub struct Installation {
    engines: Vec<(EngineName, Started)>,
    adapters: Vec<(&'static str, Started)>,
    sandbox: Option<Started>,
    sandbox_wish: SandboxWish,
    /// Where adapters find the vendors.
    vendors_at: String,
    /// The sandbox's own view.
    pub bank: Bank,
    /// Publishes as a service of the bank would.
    pub commands: Commands,
    /// Sees everything that is published.
    pub witness: Arc<Witness>,
    /// Answers questions about the database.
    pub reader: Reader,
    payouts: Payouts,
    applications: Applications,
    /// Checks the anchors of this run's engines.
    pub anchor_key: AnchorPublicKey,
    waits: Vec<Setting>,
    also: Vec<Setting>,
    program: PathBuf,
    scene: Scene,
}

impl Installation {
    /// Starts the servers and the vendors, and prepares topics, tables and schemas. No engine runs yet.
    ///
    /// # Errors
    /// `Scene` with what to do about it.
    pub async fn start(program: PathBuf, vendors: Vendors, run: &str) -> Result<Self, Failure> {
        let options =
            StackOptions { progress: Console::start().progress(), ..StackOptions::default() };
        Self::start_on(options, program, vendors, run, fastrand::u64(..)).await
    }

    /// The same on servers of a special sort; the same seed invents the same people.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_on(
        options: StackOptions,
        program: PathBuf,
        vendors: Vendors,
        run: &str,
        seed: u64,
    ) -> Result<Self, Failure> {
        let mut scene = Scene::start_on(Console::start(), options).await?;
        scene.run_from(program.clone());
        scene.prepare_by_command().await?;
        let mut arguments: Vec<String> =
            vendors.arguments.iter().map(|word| (*word).to_owned()).collect();
        let ledger = scene.stack().directory().join("sandbox.ledger");
        arguments.extend(["--ledger-file".to_owned(), ledger.display().to_string()]);
        let sandbox_wish = SandboxWish { arguments };
        let sandbox = scene.sandbox(&sandbox_wish).await?;
        let codec = codec(scene.settings()).await?;
        let anchoring = AnchorKey::generate()
            .and_then(|secret| Ok((AnchorKey::parse(&secret)?.public(), secret)));
        let (anchor_key, secret) =
            anchoring.map_err(|error| Failure::Broken(format!("anchors: {error}")))?;
        let mut waits = waits(vendors.waits);
        waits.push(("SIGNALBOX__AUDIT__SIGNING_KEY".to_owned(), secret));
        waits.push(("SIGNALBOX__AUDIT__ANCHOR_EVERY_MS".to_owned(), "1000".to_owned()));
        Ok(Self {
            engines: Vec::new(),
            adapters: Vec::new(),
            bank: Bank::at(&sandbox.address)?,
            commands: Commands::connect(scene.settings(), codec.clone())?,
            witness: Arc::new(Witness::start(scene.settings(), codec)?),
            reader: Reader::connect(&scene.settings().postgres)?,
            payouts: Payouts::new(run, seed),
            applications: Applications::new(run, seed),
            anchor_key,
            waits,
            also: Vec::new(),
            vendors_at: sandbox.address.clone(),
            sandbox: Some(sandbox),
            sandbox_wish,
            program,
            scene,
        })
    }

    /// A payout that no other test has: id and account are its own.
    pub fn payout(&mut self, wish: &Wish) -> Payout {
        self.payouts.next(wish, now())
    }

    /// Draws somebody who wants to become a customer, and publishes the application.
    ///
    /// # Errors
    /// `Scene` where Kafka does not take it.
    pub async fn apply(&mut self, like: &Newcomer) -> Result<Application, Failure> {
        let asked = self.applications.next(like, now());
        let record = "onboarding.application.RequestOnboarding";
        self.commands.command(record, &asked.id, &asked.command).await?;
        Ok(asked)
    }

    /// Somebody who wants to become a customer, as no other test has them.
    pub fn applications_next(&mut self, like: &Newcomer) -> Application {
        self.applications.next(like, now())
    }

    /// Draws payouts and publishes them.
    ///
    /// # Errors
    /// `Scene` where Kafka does not take one.
    pub async fn request(&mut self, wish: &Wish, count: usize) -> Result<Vec<Payout>, Failure> {
        let mut requested = Vec::with_capacity(count);
        for _ in 0..count {
            let payout = self.payout(wish);
            self.commands.request(&payout.id, &payout.command).await?;
            requested.push(payout);
        }
        Ok(requested)
    }

    /// Where the servers are.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.scene.settings()
    }

    /// The checkout.
    #[must_use]
    pub fn checkout(&self) -> &std::path::Path {
        self.scene.checkout()
    }

    /// Where servers keep their data and everybody their logs.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        self.scene.stack().directory()
    }

    /// The servers, to be broken.
    pub fn stack(&mut self) -> &mut LocalStack {
        self.scene.stack_mut()
    }

    /// Engines and adapters that are started from now on have these settings over those of the installation.
    pub fn also(&mut self, settings: Vec<Setting>) {
        self.also = settings;
    }

    /// Creates tables, topics and subjects that are missing, as after a registry has lost everything. Tables are those of the
    /// program that runs; topics and subjects are of this checkout, for the tests' own clients need them.
    ///
    /// # Errors
    /// `Scene` where a server refuses.
    pub async fn prepare(&self) -> Result<(), Failure> {
        Ok(self.scene.prepare_by_command().await?)
    }

    /// The program that services and commands are started from.
    #[must_use]
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// Services and commands are started from this program from now on; what runs goes on.
    pub fn run_from(&mut self, program: PathBuf) {
        self.program.clone_from(&program);
        self.scene.run_from(program);
    }

    /// Starts an engine and waits until it is ready.
    ///
    /// # Errors
    /// `Scene` with the end of its log.
    pub async fn start_engine(&mut self, name: EngineName) -> Result<(), Failure> {
        let settings = [self.waits.as_slice(), &self.also].concat();
        let engine = self.scene.engine(name, &settings).await?;
        self.engines.push((name, engine));
        Ok(())
    }

    /// Kills an engine as a crash would.
    ///
    /// # Errors
    /// `Broken` where no engine of that name runs.
    pub fn kill_engine(&mut self, name: EngineName) -> Result<(), Failure> {
        self.take_engine(name)?.child.kill();
        Ok(())
    }

    /// Sends an engine a signal, such as STOP and CONT.
    ///
    /// # Errors
    /// `Broken` where no engine of that name runs.
    pub fn signal_engine(&self, name: EngineName, signal: Signal) -> Result<(), Failure> {
        let found = self.engines.iter().find(|(running, _)| *running == name);
        let (_, engine) = found.ok_or_else(|| not_running(name.0))?;
        engine.child.signal(signal);
        Ok(())
    }

    /// Waits until an engine ends although nobody told it to, and says how.
    ///
    /// # Errors
    /// `Late` where it goes on, `Broken` where no engine of that name runs.
    pub async fn engine_gives_up(
        &mut self,
        name: EngineName,
        patience: Duration,
    ) -> Result<String, Failure> {
        let mut engine = self.take_engine(name)?;
        let deadline = Instant::now() + patience;
        loop {
            if let Err(ended) = engine.child.must_run() {
                return Ok(ended.to_string());
            }
            if Instant::now() > deadline {
                let (what, seen) = (format!("the end of {}", name.0), "it still runs".to_owned());
                return Err(Failure::Late { what, seconds: patience.as_secs(), seen });
            }
            sleep(LOOK).await;
        }
    }

    /// Clients of the tests that know the partitions that topics have now. What publishes as before is returned.
    ///
    /// # Errors
    /// `Scene` where the cluster cannot be reached.
    pub async fn learn_partitions(&mut self) -> Result<Commands, Failure> {
        let codec = codec(self.scene.settings()).await?;
        self.witness = Arc::new(Witness::start(self.scene.settings(), codec.clone())?);
        let commands = Commands::connect(self.scene.settings(), codec)?;
        Ok(std::mem::replace(&mut self.commands, commands))
    }

    /// A witness that has seen nothing yet, for when topics are not what the one before has read.
    ///
    /// # Errors
    /// `Scene` where the cluster cannot be reached.
    pub async fn look_anew(&mut self) -> Result<(), Failure> {
        let codec = codec(self.scene.settings()).await?;
        self.witness = Arc::new(Witness::start(self.scene.settings(), codec)?);
        Ok(())
    }

    /// Stops an engine as an operator would; it must end by itself.
    ///
    /// # Errors
    /// `Broken` where it had to be killed.
    pub async fn stop_engine(&mut self, name: EngineName) -> Result<(), Failure> {
        let engine = self.take_engine(name)?;
        if engine.child.stop(STOP_WITHIN).await? {
            return Ok(());
        }
        Err(Failure::Broken(format!("{} did not stop within {} s", name.0, STOP_WITHIN.as_secs())))
    }

    /// Stops every engine but one, which is started if it does not run: how a test finds and leaves the installation.
    ///
    /// # Errors
    /// As `start_engine` and `stop_engine`.
    pub async fn only_engine(&mut self, name: EngineName) -> Result<(), Failure> {
        // Of one that has died by itself its story has told.
        self.engines.retain_mut(|(_, engine)| engine.child.must_run().is_ok());
        let others: Vec<EngineName> =
            self.engines.iter().map(|(other, _)| *other).filter(|other| *other != name).collect();
        for other in others {
            // One that is stopped by a signal could not end.
            self.signal_engine(other, Signal::CONT)?;
            self.stop_engine(other).await?;
        }
        if self.engines.is_empty() {
            self.start_engine(name).await?;
        }
        Ok(())
    }

    /// Starts an adapter for every capability, under a name that survives its restarts.
    ///
    /// # Errors
    /// `Scene` with the end of its log.
    pub async fn start_adapter(&mut self, name: &'static str) -> Result<(), Failure> {
        let policy = self.scene.checkout().join("deploy/demo/routing.yaml").display().to_string();
        let own = [
            ("SIGNALBOX__ADAPTER__ID".to_owned(), name.to_owned()),
            ("SIGNALBOX__ADAPTER__POLICY".to_owned(), policy),
        ];
        let settings = [own.as_slice(), &self.also].concat();
        let adapter = self.scene.adapter(Some(&self.vendors_at), &settings).await?;
        self.adapters.push((name, adapter));
        Ok(())
    }

    /// Kills an adapter as a crash would.
    ///
    /// # Errors
    /// `Broken` where no adapter of that name runs.
    pub fn kill_adapter(&mut self, name: &str) -> Result<(), Failure> {
        let place = self.adapters.iter().position(|(running, _)| *running == name);
        let place = place.ok_or_else(|| not_running(name))?;
        self.adapters.remove(place).1.child.kill();
        Ok(())
    }

    /// Sends an adapter a signal, such as STOP and CONT.
    ///
    /// # Errors
    /// `Broken` where no adapter of that name runs.
    pub fn signal_adapter(&self, name: &str, signal: Signal) -> Result<(), Failure> {
        let found = self.adapters.iter().find(|(running, _)| *running == name);
        found.ok_or_else(|| not_running(name))?.1.child.signal(signal);
        Ok(())
    }

    /// Adapters that are started from now on find the vendors here.
    pub fn vendors_behind(&mut self, address: String) {
        self.vendors_at = address;
    }

    /// Kills the vendors as a crash would.
    pub fn kill_sandbox(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.child.kill();
        }
    }

    /// Starts the vendors again, with every effect that they had taken on; where they are now.
    ///
    /// # Errors
    /// `Scene` with the end of their log.
    pub async fn start_sandbox(&mut self) -> Result<String, Failure> {
        self.kill_sandbox();
        let sandbox = self.scene.sandbox(&self.sandbox_wish).await?;
        let address = sandbox.address.clone();
        self.bank = Bank::at(&address)?;
        self.sandbox = Some(sandbox);
        Ok(address)
    }

    /// Where the vendors are.
    #[must_use]
    pub fn sandbox_address(&self) -> &str {
        self.sandbox.as_ref().map_or("", |sandbox| sandbox.address.as_str())
    }

    /// Engines and adapters that have ended although nobody told them to, with their last words. They are forgotten.
    pub fn take_ended(&mut self) -> Vec<(&'static str, String)> {
        let mut ended = Vec::new();
        self.engines.retain_mut(|(name, engine)| match engine.child.must_run() {
            Ok(()) => true,
            Err(error) => {
                ended.push((name.0, error.to_string()));
                false
            }
        });
        self.adapters.retain_mut(|(name, adapter)| match adapter.child.must_run() {
            Ok(()) => true,
            Err(error) => {
                ended.push((*name, error.to_string()));
                false
            }
        });
        ended
    }

    /// Stops an adapter as an operator would; it must end by itself.
    ///
    /// # Errors
    /// `Broken` where no adapter of that name runs or it had to be killed.
    pub async fn stop_adapter(&mut self, name: &str) -> Result<(), Failure> {
        let place = self.adapters.iter().position(|(running, _)| *running == name);
        let place = place.ok_or_else(|| not_running(name))?;
        if self.adapters.remove(place).1.child.stop(STOP_WITHIN).await? {
            return Ok(());
        }
        Err(Failure::Broken(format!("{name} did not stop within {} s", STOP_WITHIN.as_secs())))
    }

    /// Stops every adapter but one, which is started if it does not run.
    ///
    /// # Errors
    /// As `start_adapter` and `stop_adapter`.
    pub async fn only_adapter(&mut self, name: &'static str) -> Result<(), Failure> {
        self.adapters.retain_mut(|(_, adapter)| adapter.child.must_run().is_ok());
        let others = self.adapters.iter().map(|(other, _)| *other).filter(|other| *other != name);
        for other in others.collect::<Vec<_>>() {
            self.stop_adapter(other).await?;
        }
        if self.adapters.is_empty() { self.start_adapter(name).await } else { Ok(()) }
    }

    /// An error where a process has ended although nobody told it to.
    ///
    /// # Errors
    /// `Scene` with the end of its log.
    pub fn must_run(&mut self) -> Result<(), Failure> {
        let engines = self.engines.iter_mut().map(|(_, engine)| engine);
        let adapters = self.adapters.iter_mut().map(|(_, adapter)| adapter);
        for service in engines.chain(adapters) {
            service.child.must_run()?;
        }
        match self.sandbox.as_mut() {
            Some(sandbox) => Ok(sandbox.child.must_run()?),
            None => Ok(()),
        }
    }

    /// Lanes that an engine holds.
    ///
    /// # Errors
    /// `Store` where Postgres does not answer.
    pub async fn lanes_of(&self, name: EngineName) -> Result<Vec<LaneId>, Failure> {
        let lanes = self.reader.lanes().await?;
        let is_owner = |owner: &Option<String>| owner.as_deref() == Some(name.0);
        Ok(lanes.into_iter().filter(|lane| is_owner(&lane.owner)).map(|lane| lane.lane).collect())
    }

    /// Waits until an engine holds a number of lanes that is right.
    ///
    /// # Errors
    /// `Late` where it does not.
    pub async fn until_lanes(
        &self,
        patience: Duration,
        name: EngineName,
        is_right: impl Fn(usize) -> bool,
    ) -> Result<usize, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let held = self.lanes_of(name).await?.len();
            if is_right(held) {
                return Ok(held);
            }
            if Instant::now() > deadline {
                let what = format!("{} with the right number of lanes", name.0);
                let seen = format!("{held} lanes");
                return Err(Failure::Late { what, seconds: patience.as_secs(), seen });
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the flow of a business id is as wanted.
    ///
    /// # Errors
    /// `Late` with the flow where it does not become so, `Store` where Postgres does not answer.
    pub async fn until_flow(
        &self,
        id: &str,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&FlowRow) -> bool,
    ) -> Result<FlowRow, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.reader.find_flows(id).await?.into_iter().next().map(|found| found.row);
            if let Some(row) = found.as_ref().filter(|row| wanted(row)) {
                return Ok(row.clone());
            }
            if Instant::now() > deadline {
                let (what, seen) = (format!("{what} of {id}"), format!("{found:?}"));
                return Err(Failure::Late { what, seconds: patience.as_secs(), seen });
            }
            sleep(LOOK).await;
        }
    }

    /// Where engines and adapters serve health and metrics.
    #[must_use]
    pub fn admin_addresses(&self) -> Vec<String> {
        self.services().map(|(_, service)| service.address.clone()).collect()
    }

    /// Where an engine or adapter serves health and metrics.
    ///
    /// # Errors
    /// `Broken` where nobody of that name runs.
    pub fn admin_of(&self, name: &str) -> Result<&str, Failure> {
        let found = self.services().find(|(running, _)| *running == name);
        found.map(|(_, started)| started.address.as_str()).ok_or_else(|| not_running(name))
    }

    /// Resident memory of an engine or adapter, in bytes; none where it does not run.
    #[must_use]
    pub fn memory_of(&self, name: &str) -> Option<u64> {
        let (_, found) = self.services().find(|(running, _)| *running == name)?;
        memory(found.child.pid())
    }

    /// Status and body of a page of a service.
    ///
    /// # Errors
    /// `Bank` where nobody answers.
    pub async fn get(&self, url: &str) -> Result<(u16, String), Failure> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(url).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Logs of servers and services so far, by name.
    ///
    /// # Errors
    /// `System` where they cannot be read.
    pub fn logs(&self) -> Result<Vec<(String, String)>, Failure> {
        let folder = self.scene.stack().directory().join("logs");
        let reading = || Failure::while_doing("reading logs");
        let mut logs = Vec::new();
        for log in fs::read_dir(folder).map_err(reading())? {
            let log = log.map_err(reading())?;
            let text = fs::read(log.path()).map_err(reading())?;
            let name = log.file_name().to_string_lossy().into_owned();
            logs.push((name, String::from_utf8_lossy(&text).into_owned()));
        }
        Ok(logs)
    }

    /// Lines in logs of engines and adapters that hold all of these words.
    ///
    /// # Errors
    /// As `logs`.
    pub fn count_in_logs(&self, words: &[&str]) -> Result<u64, Failure> {
        let logs = self.logs()?;
        let services = logs
            .iter()
            .filter(|(name, _)| name.starts_with("engine") || name.starts_with("adapter"));
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        let count: usize = services.map(|(_, text)| text.lines().filter(has_all).count()).sum();
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Copies the logs of servers and services to `target/NAME`, and says where they are.
    ///
    /// # Errors
    /// `System` where they cannot be copied.
    pub fn keep_logs(&self, name: &str) -> Result<PathBuf, Failure> {
        let kept = self.program.with_file_name(name);
        let copying = || Failure::while_doing(format!("copying logs to {}", kept.display()));
        // What an earlier run left would be taken for this one's.
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir_all(&kept).map_err(copying())?;
        let logs = fs::read_dir(self.scene.stack().directory().join("logs")).map_err(copying())?;
        for log in logs {
            let log = log.map_err(copying())?;
            fs::copy(log.path(), kept.join(log.file_name())).map_err(copying())?;
        }
        Ok(kept)
    }

    /// Settings of a command that shall see the vendors as the adapters of this installation do.
    #[must_use]
    pub fn vendor_settings(&self) -> Vec<Setting> {
        let policy = self.scene.checkout().join("deploy/demo/routing.yaml").display().to_string();
        vec![
            ("SIGNALBOX__ADAPTER__POLICY".to_owned(), policy),
            (
                "SIGNALBOX__ADAPTER__VENDOR_BASE".to_owned(),
                format!("http://{}", self.sandbox_address()),
            ),
        ]
    }

    /// Runs a command of the product to its end, with settings over those of the installation.
    ///
    /// # Errors
    /// `System` where it cannot be started, `Late` where it does not end within a minute.
    pub async fn run(&self, arguments: &[&str], settings: &[Setting]) -> Result<Said, Failure> {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.scene.environment()).envs(self.waits.iter().cloned());
        command.envs(settings.iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
        let told = arguments.join(" ");
        let patience = Duration::from_secs(60);
        let output = tokio::time::timeout(patience, command.output()).await;
        let output = output.map_err(|_elapsed| Failure::Late {
            what: format!("the end of `signalbox {told}`"),
            seconds: patience.as_secs(),
            seen: "it still runs".to_owned(),
        })?;
        let output = output.map_err(Failure::while_doing(format!("running `signalbox {told}`")))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    /// Runs a command that must succeed, and returns its standard output.
    ///
    /// # Errors
    /// `Broken` with its words where it does not; see `run`.
    pub async fn succeed(&self, arguments: &[&str]) -> Result<String, Failure> {
        let said = self.run(arguments, &[]).await?;
        if said.code == Some(0) {
            return Ok(said.out);
        }
        let told = arguments.join(" ");
        Err(Failure::Broken(format!("`signalbox {told}` says no:\n{}{}", said.out, said.err)))
    }

    /// Stops everything in order.
    ///
    /// # Errors
    /// `Scene` where a process had to be killed.
    pub async fn stop(self) -> Result<(), Failure> {
        // One that a story left stopped by a signal could not end.
        self.engines.iter().for_each(|(_, engine)| engine.child.signal(Signal::CONT));
        let engines = self.engines.into_iter().map(|(_, engine)| engine);
        let adapters = self.adapters.into_iter().map(|(_, adapter)| adapter);
        let services = engines.chain(adapters).chain(self.sandbox).collect();
        Ok(self.scene.stop(services).await?)
    }

    /// Engines and adapters that run, by name.
    fn services(&self) -> impl Iterator<Item = (&'static str, &Started)> {
        let engines = self.engines.iter().map(|(engine, started)| (engine.0, started));
        engines.chain(self.adapters.iter().map(|(adapter, started)| (*adapter, started)))
    }

    fn take_engine(&mut self, name: EngineName) -> Result<Started, Failure> {
        let place = self.engines.iter().position(|(running, _)| *running == name);
        let place = place.ok_or_else(|| not_running(name.0))?;
        Ok(self.engines.remove(place).1)
    }
}

fn not_running(name: &str) -> Failure {
    Failure::Broken(format!("{name} does not run: the test is wrong"))
}

/// The demo's waits with those of this run over them.
fn waits(own: &[(&str, &str)]) -> Vec<Setting> {
    let lines = JOURNEY.lines().filter(|line| !line.starts_with('#'));
    let demo = lines.filter_map(|line| line.split_once('='));
    let mut waits: Vec<Setting> =
        demo.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let name = |parameter: &str| {
        let (journey, parameter) = parameter.split_once('.').unwrap_or(("payout", parameter));
        let (journey, parameter) = (journey.to_uppercase(), parameter.to_uppercase());
        format!("SIGNALBOX__JOURNEYS__PARAMETERS__{journey}__{parameter}")
    };
    waits.extend(own.iter().map(|(parameter, value)| (name(parameter), (*value).to_owned())));
    waits
}
