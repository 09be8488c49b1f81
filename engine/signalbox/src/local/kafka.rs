//! Apache Kafka of the local stack: one node, broker and controller in one process (KRaft).
//!
//! The durable settings are Kafka's own. What is set here makes one node enough and its start
//! quick; topics are created by `signalbox topics apply`, never by use.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::disk;
use super::error::StackError;
use super::install::JavaParts;
use super::ports::{PORT_TRIES_MAX, free_port};
use super::process::{Answer, Ending, Recipe, Running};
use super::scratch::Scratch;
use super::stack::StackOptions;

const READY_LINE: &str = "Kafka Server started";
const STOP_GRACE: Duration = Duration::from_secs(30);

/// One Kafka node; its ports and data stay the same over restarts.
#[derive(Debug)]
pub(crate) struct Kafka {
    recipe: Recipe,
    bootstrap: String,
    port: u16,
    /// Ports of the further listeners.
    doors: Vec<u16>,
    data: PathBuf,
    running: Option<Running>,
}

impl Kafka {
    /// Formats a storage directory and starts a node on it.
    pub(crate) async fn create(
        parts: &JavaParts,
        scratch: &Scratch,
        options: &StackOptions,
    ) -> Result<Self, StackError> {
        let StackOptions { progress, .. } = options;
        let files = Files::new(scratch);
        fs::create_dir(&files.directory)
            .map_err(StackError::while_doing("creating Kafka's directory"))?;
        disk::make_small(&files.directory, options.disk_bytes)?;
        fs::write(&files.logging, LOGGING)
            .map_err(StackError::while_doing("preparing Kafka's directory"))?;
        let mut formatted = false;
        let mut tries = 0;
        loop {
            let broker = free_port(&[])?;
            let controller = free_port(&[broker])?;
            let mut taken = vec![broker, controller];
            for _ in &options.kafka_doors {
                taken.push(free_port(&taken)?);
            }
            let doors = taken.split_off(2);
            let mut settings = properties(controller, &files.data);
            settings.push_str(&listeners(broker, controller, &doors, &options.kafka_doors));
            for (name, value) in &options.kafka_settings {
                settings.push_str(&format!("{name}={value}\n"));
            }
            fs::write(&files.properties, settings)
                .map_err(StackError::while_doing("writing Kafka's settings"))?;
            if !formatted {
                Running::spawn(&format_recipe(parts, scratch, &files))?.finish(progress).await?;
                formatted = true;
            }
            let mut kafka = Self {
                recipe: broker_recipe(parts, scratch, &files),
                bootstrap: format!("127.0.0.1:{broker}"),
                port: broker,
                doors,
                data: files.data.clone(),
                running: None,
            };
            tries += 1;
            match kafka.start().await {
                Err(StackError::PortTaken { .. }) if tries < PORT_TRIES_MAX => {}
                started => return started.map(|()| kafka),
            }
        }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where each further listener is.
    pub(crate) fn doors(&self) -> Vec<String> {
        self.doors.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Where its logs are.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// Starts the node unless it runs, and waits until it serves.
    pub(crate) async fn start(&mut self) -> Result<(), StackError> {
        if self.running.is_none() {
            let mut running = Running::spawn(&self.recipe)?;
            running.ready(READY_LINE, &Answer::Connection(self.port)).await?;
            self.running = Some(running);
        }
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> Result<(), StackError> {
        match self.running.take() {
            Some(running) => running.stop(Signal::TERM, STOP_GRACE).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }
}

/// Where the node's files are.
struct Files {
    directory: PathBuf,
    data: PathBuf,
    properties: PathBuf,
    logging: PathBuf,
}

impl Files {
    fn new(scratch: &Scratch) -> Self {
        let directory = scratch.path().join("kafka");
        Self {
            data: directory.join("data"),
            properties: directory.join("server.properties"),
            logging: directory.join("log4j2.properties"),
            directory,
        }
    }
}

fn format_recipe(parts: &JavaParts, scratch: &Scratch, files: &Files) -> Recipe {
    let mut arguments = Vec::from(scratch.java_options());
    arguments.extend(class_path(parts, files));
    arguments.extend(["kafka.tools.StorageTool", "format", "-t"].map(OsString::from));
    arguments.extend([cluster_id().into(), "-c".into(), files.properties.clone().into()]);
    recipe("kafka format", arguments, parts, scratch)
}

fn broker_recipe(parts: &JavaParts, scratch: &Scratch, files: &Files) -> Recipe {
    let mut arguments: Vec<OsString> = vec!["-Xmx1g".into()];
    arguments.extend(scratch.java_options());
    arguments.extend(class_path(parts, files));
    arguments.extend(["kafka.Kafka".into(), files.properties.clone().into()]);
    recipe("kafka", arguments, parts, scratch)
}

fn class_path(parts: &JavaParts, files: &Files) -> [OsString; 3] {
    let mut logging = OsString::from("-Dlog4j2.configurationFile=");
    logging.push(&files.logging);
    [logging, "-cp".into(), parts.kafka_jars.join("*").into()]
}

fn recipe(
    part: &'static str,
    arguments: Vec<OsString>,
    parts: &JavaParts,
    scratch: &Scratch,
) -> Recipe {
    Recipe {
        part,
        program: parts.java.clone(),
        arguments,
        directory: scratch.path().to_owned(),
        account: None,
        ending: Ending::Killed,
        log: scratch.log("kafka"),
    }
}

/// A random cluster id: 16 bytes in URL-safe base64 without padding, which is 22 characters. The
/// last one carries two bits only, hence the `A`; letters and digits alone keep a leading `-` out,
/// which the storage tool would take for an option.
fn cluster_id() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(21).chain(['A']).collect()
}

/// Listeners, on loopback only. A client that comes by a door is told to come back by the port under which that door is
/// advertised; without doors everybody is told the one address.
fn listeners(broker: u16, controller: u16, doors: &[u16], advertised: &[u16]) -> String {
    let mut listens = format!("PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}");
    let mut tells = format!("PLAINTEXT://127.0.0.1:{broker}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (number, (door, told)) in doors.iter().zip(advertised).enumerate() {
        listens.push_str(&format!(",DOOR{number}://127.0.0.1:{door}"));
        tells.push_str(&format!(",DOOR{number}://127.0.0.1:{told}"));
        protocols.push_str(&format!(",DOOR{number}:PLAINTEXT"));
    }
    format!(
        "listeners={listens}\nadvertised.listeners={tells}\n\
         listener.security.protocol.map={protocols}\ninter.broker.listener.name=PLAINTEXT\n"
    )
}

/// The node's `server.properties`, listeners apart.
fn properties(controller: u16, data: &Path) -> String {
    let data = data.display();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={data}\n\
         num.partitions=1\n\
         auto.create.topics.enable=false\n\
         log.segment.bytes=268435456\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.num.partitions=8\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.num.partitions=8\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n"
    )
}

/// Warnings only, besides the one line that says that the node serves.
const LOGGING: &str = "\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{cluster_id, listeners, properties};

    #[test]
    fn the_node_listens_on_loopback_only() {
        let rendered = listeners(20_001, 20_002, &[20_003], &[30_001]);
        assert_eq!(
            rendered,
            "listeners=PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002,DOOR0://127.0.0.1:20003\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:20001,DOOR0://127.0.0.1:30001\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,DOOR0:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n"
        );
        let rendered = properties(20_002, Path::new("/tmp/data"));
        assert!(rendered.contains("controller.quorum.voters=1@127.0.0.1:20002\n"));
        assert!(rendered.contains("log.dirs=/tmp/data\n"));
    }

    #[test]
    fn every_setting_is_a_line_of_its_own() {
        for line in (properties(2, Path::new("/data")) + &listeners(1, 2, &[], &[])).lines() {
            let (key, value) = line.split_once('=').unwrap_or_default();
            assert!(!key.is_empty() && key == key.trim() && !value.is_empty(), "{line:?}");
        }
    }

    #[test]
    fn a_cluster_id_is_sixteen_bytes_of_base64_and_never_an_option() {
        let id = cluster_id();
        assert_eq!(id.len(), 22);
        assert!(id.chars().all(|letter| letter.is_ascii_alphanumeric()), "{id}");
        assert_ne!(id, cluster_id());
    }
}
