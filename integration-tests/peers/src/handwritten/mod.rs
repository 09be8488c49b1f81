//! A consumer as a good team writes it by hand for this one flow: commands from Kafka, state in Postgres, outcomes to
//! Kafka through an outbox. The consumer is a process of its own; this side makes its tables and topics, starts it and
//! makes its load.
//!
//! It has no journeys, audit chain, encryption, schemas, vendors' routes, holds or reviews, and one process owns it all.

mod consumer;
mod store;
mod traffic;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

pub(crate) use consumer::consume;

use crate::{Wanted, load, process, report};

/// As many as the product has lanes by default.
const PARTITIONS: i32 = 8;

/// How transitions are put into transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// Each transition of each payout is a transaction; many payouts side by side
    Single,
    /// Each step of a whole batch of payouts is a transaction
    Batched,
}

impl Style {
    /// Payouts per transaction.
    fn size(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Batched => 125,
        }
    }

    /// Transactions at once, each on a connection of its own.
    fn connections(self) -> usize {
        match self {
            Self::Single => 16,
            Self::Batched => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batched => "batched",
        }
    }
}

/// What the consumer has to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Bootstrap servers of Kafka
    #[arg(long, value_name = "HOST:PORT")]
    kafka: String,
    /// An empty database
    #[arg(long, value_name = "URL")]
    postgres: String,
    /// How transitions are put into transactions
    #[arg(long, value_enum)]
    style: Style,
}

impl Settings {
    /// Each style has topics of its own, so that both can run on the same parts.
    fn topic(&self, what: &str) -> String {
        format!("peer.{}.{what}", self.style.name())
    }

    fn commands(&self) -> String {
        self.topic("commands")
    }

    fn events(&self) -> String {
        self.topic("events")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka);
        config
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "1");
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0");
        config
    }
}

/// Arguments of `handwritten`.
#[derive(Debug, Args)]
pub(crate) struct Measured {
    #[command(flatten)]
    settings: Settings,
    /// Process of Kafka, whose CPU time counts
    #[arg(long, value_name = "PID")]
    kafka_pid: u32,
    /// Process of Postgres, whose CPU time counts
    #[arg(long, value_name = "PID")]
    postgres_pid: u32,
    #[command(flatten)]
    wanted: Wanted,
}

/// Measures and prints.
pub(crate) async fn measure(arguments: &Measured) -> Result<()> {
    let settings = &arguments.settings;
    create_topics(settings).await?;
    store::create_tables(&settings.postgres).await?;
    let (consumer, _ready) = process::start_role(|command| {
        command.arg("handwritten-consumer").args(["--style", settings.style.name()]);
        command.args(["--kafka", &settings.kafka, "--postgres", &settings.postgres]);
    })
    .await?;
    let parts = [
        ("consumer", process::pid(&consumer)?),
        ("kafka", arguments.kafka_pid),
        ("postgres", arguments.postgres_pid),
    ];
    let peer = traffic::start(settings, arguments.wanted.in_flight)?;
    let figures = load::measure(peer, &arguments.wanted, &parts).await?;
    report::print(&format!("by hand, {}", settings.style.name()), &figures);
    Ok(())
}

async fn create_topics(settings: &Settings) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        settings.client().create().context("connecting to Kafka")?;
    let names = [settings.commands(), settings.events()];
    let topic = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| topic(name)).collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for created in admin.create_topics(&topics, &options).await.context("creating topics")? {
        created.map_err(|(topic, code)| anyhow::anyhow!("creating {topic}: {code}"))?;
    }
    Ok(())
}
