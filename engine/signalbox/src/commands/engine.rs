//! `signalbox engine`: wires bus, store, journeys and worker, and watches over the start. What a worker does with
//! lanes is the worker's own business.

use clap::Args;
use signalbox_bus::{BusError, Codec, KafkaLaneBus, Publisher, TopicAdmin};
use signalbox_edge::{Probe, Readiness};
use signalbox_store::{PgLaneStore, Reader};
use signalbox_worker::{Anchoring, JourneyLibrary, LaneHeads, Worker, WorkerHealth, WorkerOptions};
use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::service::{Admin, ServiceArgs, patiently};
use super::{journeys, wiring};
use crate::config::Config;
use crate::error::CliError;
use crate::shutdown;

/// How long the database may take to answer before it counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_secs(1);

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs kafka.brokers, registry.url, postgres.url, tenant_key and privacy.envelope_key. Run as many as you like: they share the lanes.
SIGTERM and Ctrl-C hand the lanes over; a second signal ends at once, which is safe too.

Example:
  signalbox engine --worker-id engine-1 --admin-listen 127.0.0.1:9464")]
pub(crate) struct EngineArgs {
    /// Name under which lanes are held, unique among running engines, over the configuration
    #[arg(long, value_name = "NAME")]
    worker_id: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What the engine says about itself.
struct EngineProbe {
    reader: Reader,
    stage: Mutex<Stage>,
}

enum Stage {
    Starting(&'static str),
    Running(Arc<WorkerHealth>),
}

impl EngineProbe {
    fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Readiness as the worker sees it.
    fn of_worker(&self) -> Readiness {
        match &*self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Starting(what) => {
                Readiness { ready: false, lines: vec![format!("starting: {what}")] }
            }
            Stage::Running(health) => {
                Readiness { ready: health.is_ready(), lines: health.report() }
            }
        }
    }
}

impl Probe for EngineProbe {
    async fn check(&self) -> Readiness {
        let mut found = self.of_worker();
        let problem = match tokio::time::timeout(DATABASE_PATIENCE, self.reader.now()).await {
            Ok(Ok(_)) => return found,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer within a second".to_owned(),
        };
        found.ready = false;
        found.lines.push(format!("database: {problem}"));
        found
    }
}

/// Runs until it is told to stop.
pub(crate) async fn run(args: &EngineArgs, config: &Config) -> Result<(), CliError> {
    let mut stopping = shutdown::on_signal()?;
    tracing::info!(config = %config.redacted(), "an engine starts");
    // What is missing is told before anything is waited for.
    config.kafka()?;
    config.registry()?;
    config.tenant_key()?;
    config.key_provider()?;
    config.anchor_key()?;
    let probe = Arc::new(EngineProbe {
        reader: wiring::reader(config)?,
        stage: Mutex::new(Stage::Starting("database")),
    });
    let admin = Admin::start(&args.service, config.engine.admin_listen, Arc::clone(&probe)).await?;
    let outcome = work(args, config, &probe, &mut stopping).await;
    admin.end().await;
    outcome
}

async fn work(
    args: &EngineArgs,
    config: &Config,
    probe: &EngineProbe,
    stopping: &mut watch::Receiver<bool>,
) -> Result<(), CliError> {
    let reader = &probe.reader;
    let check_schema = async || Ok(reader.require_known_schema().await?);
    let Some(()) = patiently("database", stopping, check_schema).await? else { return Ok(()) };
    let agree = async || agreed_lanes(config, reader).await;
    let Some(lanes) = patiently("lanes", stopping, agree).await? else { return Ok(()) };
    let deploy = async || journeys::deploy(&config.journeys, reader).await;
    let Some(journeys) = patiently("journeys", stopping, deploy).await? else { return Ok(()) };
    let library =
        JourneyLibrary::new(journeys).map_err(|error| CliError::Input(error.to_string()))?;

    probe.enter(Stage::Starting("schema ids"));
    let resolve = async || wiring::remembering_codec(config, reader).await;
    let Some(codec) = patiently("schema ids", stopping, resolve).await? else { return Ok(()) };

    let worker_id = args
        .worker_id
        .clone()
        .or_else(|| config.engine.worker_id.clone())
        .unwrap_or_else(wiring::process_name);
    let options = WorkerOptions {
        lease: Duration::from_millis(config.engine.lease_ms),
        tick_records_max: config.engine.tick_records_max,
        unpublished_max: config.engine.unpublished_max,
        ..WorkerOptions::new(worker_id.clone(), lanes, config.tenant_key()?)
    };
    let codec = Arc::new(codec);
    let bus = KafkaLaneBus::connect(config.kafka()?, &worker_id)?;
    let store = PgLaneStore::new(config.postgres()?, &worker_id, options.lease)?;
    signalbox_worker::describe_metrics();
    let keys = config.key_provider()?;
    let worker = Worker::new(options, bus, store, Arc::clone(&codec), library, keys)?;
    probe.enter(Stage::Running(worker.health()));
    tracing::info!(worker_id, "an engine runs");
    let anchors = Anchors::start(config, &worker_id, codec, worker.heads())?;
    let outcome = worker.run(stopping.clone()).await;
    anchors.end().await;
    outcome?;
    tracing::info!(worker_id, "an engine has stopped in order");
    Ok(())
}

/// The installation's lanes, with which the partitions of what lanes read must agree: nobody would read what lies in a
/// partition without lane, so more partitions are refused; fewer are waited for.
async fn agreed_lanes(config: &Config, reader: &Reader) -> Result<u16, CliError> {
    let lanes = reader.lane_count().await?;
    let kafka = config.kafka()?.clone();
    let ask = move || TopicAdmin::connect(&kafka)?.partitions();
    let asked = tokio::task::spawn_blocking(ask).await;
    let partitions = asked.map_err(|_| BusError::Stopped)??;
    for topic in wiring::contract()?.topics().lane_inputs() {
        // One that is not there, or that this user may not see, is told of when a lane is claimed.
        let Some(found) = partitions.get(&topic).copied() else { continue };
        let differs =
            format!("topic {topic} has {found} partitions, this installation {lanes} lanes");
        match found.cmp(&lanes) {
            Ordering::Equal => {}
            Ordering::Less => {
                let advice = format!("{differs}: run `signalbox topics apply`");
                return Err(BusError::Unreachable(advice).into());
            }
            Ordering::Greater => {
                return Err(CliError::Refused(format!(
                    "{differs}: what lies in the others would be read by nobody; finish with `signalbox lane grow --to {found}`"
                )));
            }
        }
    }
    Ok(lanes)
}

/// The task that anchors the heads of the engine's lanes; none where no key is configured.
struct Anchors {
    task: Option<JoinHandle<()>>,
    end: watch::Sender<bool>,
}

impl Anchors {
    fn start(
        config: &Config,
        worker_id: &str,
        codec: Arc<Codec>,
        heads: Arc<LaneHeads>,
    ) -> Result<Self, CliError> {
        let (end, ending) = watch::channel(false);
        let Some(key) = config.anchor_key()? else {
            tracing::warn!("audit.signing_key is not set: lane heads are not anchored");
            return Ok(Self { task: None, end });
        };
        tracing::info!(public_key = key.public().text(), "lane heads are anchored");
        // A producer of its own: the lanes' one counts only what lanes publish.
        let publisher = Publisher::connect(config.kafka()?, &format!("{worker_id}-anchors"))?;
        let every = Duration::from_millis(config.audit.anchor_every_ms.max(1));
        let anchoring = Anchoring::new(key, codec, heads);
        Ok(Self { task: Some(tokio::spawn(anchoring.run(publisher, every, ending))), end })
    }

    /// Anchors once more and ends.
    async fn end(self) {
        self.end.send_replace(true);
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "anchoring did not end well");
        }
    }
}
