//! Where chaos takes place: an installation whose services reach every server by links of their own, on disks that can be
//! filled and with clocks that can be set, where the machine allows that. It breaks nothing by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use signalbox::local::StackOptions;
use signalbox::scene::{Console, EngineName};

use super::link::{Link, Weather};
use crate::failure::Failure;
use crate::installation::{Installation, Setting, Vendors};

/// Engines.
pub(crate) const ENGINES: [EngineName; 2] = [EngineName("engine-1"), EngineName("engine-2")];
/// Adapters.
pub(crate) const ADAPTERS: [&str; 2] = ["adapter-1", "adapter-2"];
/// Names of all services.
pub(crate) const SERVICES: [&str; 4] = ["engine-1", "engine-2", "adapter-1", "adapter-2"];
/// Room for everything that a run writes, and little enough to be filled within a second.
const DISK_BYTES: u64 = 3 << 30;
/// Where Debian and its relatives keep the library that sets clocks.
const CLOCK_LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];
const POLICY: &str = "deploy/demo/routing.yaml";
const VENDORS: Vendors = Vendors {
    arguments: &[
        "--settle-after",
        "2s",
        "--return-after",
        "1s",
        "--slow-for",
        "1s",
        "--hang-for",
        "5s",
        "--latency-min",
        "20ms",
        "--latency-max",
        "200ms",
    ],
    // A payment in doubt is asked about only when the bank has had the time to refuse it.
    waits: &[
        ("check_time", "60s"),
        ("send_time", "120s"),
        ("inquire_soon", "3s"),
        ("return_window", "5s"),
    ],
};

/// What this machine lets us break.
#[derive(Debug, Clone)]
pub(crate) struct Means {
    /// Disks of their own can be mounted.
    pub(crate) disks: bool,
    /// The library that sets clocks.
    pub(crate) clocks: Option<PathBuf>,
}

impl Means {
    /// Looks for the clocks' library; whether disks can be mounted is known to who started us.
    pub(crate) fn find(disks: bool) -> Self {
        let clocks = CLOCK_LIBRARIES.iter().map(PathBuf::from).find(|path| path.is_file());
        Self { disks, clocks }
    }
}

/// A server as services know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Kafka,
    Postgres,
    Registry,
    Vendors,
}

impl Server {
    pub(crate) const ALL: [Self; 4] = [Self::Kafka, Self::Postgres, Self::Registry, Self::Vendors];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::Postgres => "Postgres",
            Self::Registry => "the registry",
            Self::Vendors => "the vendors",
        }
    }
}

/// The ways of one service.
#[derive(Debug)]
struct Ways {
    service: &'static str,
    kafka: Link,
    postgres: Link,
    registry: Link,
    vendors: Link,
}

impl Ways {
    fn to(&self, server: Server) -> &Link {
        match server {
            Server::Kafka => &self.kafka,
            Server::Postgres => &self.postgres,
            Server::Registry => &self.registry,
            Server::Vendors => &self.vendors,
        }
    }
}

/// The installation with its links.
pub(crate) struct Site {
    pub(crate) on: Installation,
    ways: Vec<Ways>,
    pub(crate) means: Means,
    policy: PathBuf,
}

impl Site {
    /// Starts servers, vendors and services.
    ///
    /// # Errors
    /// As [`Installation::start`].
    pub(crate) async fn start(
        program: PathBuf,
        means: Means,
        seed: u64,
        console: Console,
    ) -> Result<Self, Failure> {
        let mut ways = Vec::new();
        for service in SERVICES {
            let (kafka, postgres) = (Link::listen().await?, Link::listen().await?);
            let (registry, vendors) = (Link::listen().await?, Link::listen().await?);
            ways.push(Ways { service, kafka, postgres, registry, vendors });
        }
        let options = StackOptions {
            progress: console.progress(),
            kafka_doors: ways.iter().map(|ways| ways.kafka.address().port()).collect(),
            // Times by which recovery is measured are the broker's, whatever clocks services have.
            kafka_settings: vec![(
                "log.message.timestamp.type".to_owned(),
                "LogAppendTime".to_owned(),
            )],
            disk_bytes: means.disks.then_some(DISK_BYTES),
            ..StackOptions::default()
        };
        let on = Installation::start_on(options, program, VENDORS, "chaos", seed).await?;
        let mut site = Self { on, ways, means, policy: PathBuf::new() };
        site.policy = site.impatient_policy()?;
        site.lead();
        for engine in ENGINES {
            site.start_engine(engine).await?;
        }
        for adapter in ADAPTERS {
            site.start_adapter(adapter).await?;
        }
        Ok(site)
    }

    /// Links lead where the servers are now.
    pub(crate) fn lead(&mut self) {
        let settings = self.on.settings().clone();
        let vendors = self.on.sandbox_address().to_owned();
        let doors = self.on.stack().kafka_doors();
        for (ways, door) in self.ways.iter().zip(doors) {
            ways.kafka.lead_to(&door);
            ways.postgres.lead_to(&server_of(&settings.postgres));
            ways.registry.lead_to(&server_of(&settings.registry));
            ways.vendors.lead_to(&vendors);
        }
    }

    /// The link between a service and a server.
    ///
    /// # Errors
    /// `Broken` where there is no such service.
    pub(crate) fn link(&self, service: &str, server: Server) -> Result<&Link, Failure> {
        let ways = self.ways.iter().find(|ways| ways.service == service);
        let ways = ways.ok_or_else(|| Failure::Broken(format!("there is no {service}")))?;
        Ok(ways.to(server))
    }

    /// Every link works again, and no trap is left.
    pub(crate) fn clear(&self) {
        for ways in &self.ways {
            for link in Server::ALL.map(|server| ways.to(server)) {
                link.disarm();
                link.set(Weather::FINE);
            }
        }
    }

    /// Starts an engine behind its links.
    ///
    /// # Errors
    /// As [`Installation::start_engine`].
    pub(crate) async fn start_engine(&mut self, name: EngineName) -> Result<(), Failure> {
        let settings = self.settings_of(name.0)?;
        self.on.also(settings);
        self.on.start_engine(name).await
    }

    /// Starts an adapter behind its links.
    ///
    /// # Errors
    /// As [`Installation::start_adapter`].
    pub(crate) async fn start_adapter(&mut self, name: &'static str) -> Result<(), Failure> {
        let settings = self.settings_of(name)?;
        self.on.also(settings);
        self.on.vendors_behind(self.link(name, Server::Vendors)?.address().to_string());
        self.on.start_adapter(name).await
    }

    /// Starts what has ended by itself; what it was.
    ///
    /// # Errors
    /// As `start_engine` and `start_adapter`.
    pub(crate) async fn restart_ended(&mut self) -> Result<Vec<(&'static str, String)>, Failure> {
        let ended = self.on.take_ended();
        for (name, _) in &ended {
            match ENGINES.iter().find(|engine| engine.0 == *name) {
                Some(engine) => self.start_engine(*engine).await?,
                None => self.start_adapter(name).await?,
            }
        }
        Ok(ended)
    }

    /// Sets the clock of a service, as an offset such as `+3600`.
    ///
    /// # Errors
    /// `System` where its file cannot be written.
    pub(crate) fn set_clock(&self, service: &str, offset: &str) -> Result<(), Failure> {
        let file = self.clock_file(service);
        fs::write(&file, format!("{offset}\n")).map_err(Failure::while_doing("setting a clock"))
    }

    fn clock_file(&self, service: &str) -> PathBuf {
        self.on.directory().join(format!("{service}.clock"))
    }

    fn settings_of(&self, service: &str) -> Result<Vec<Setting>, Failure> {
        let settings = self.on.settings().clone();
        let at = |server| Ok::<_, Failure>(self.link(service, server)?.address());
        let through = |url: &str, link: SocketAddr| url.replace(&server_of(url), &link.to_string());
        let mut own: Vec<Setting> = vec![
            ("SIGNALBOX__KAFKA__BROKERS".to_owned(), at(Server::Kafka)?.to_string()),
            (
                "SIGNALBOX__POSTGRES__URL".to_owned(),
                through(&settings.postgres, at(Server::Postgres)?),
            ),
            (
                "SIGNALBOX__REGISTRY__URL".to_owned(),
                through(&settings.registry, at(Server::Registry)?),
            ),
            ("SIGNALBOX__ADAPTER__POLICY".to_owned(), self.policy.display().to_string()),
        ];
        if let Some(library) = self.means.clocks.clone() {
            self.set_clock(service, "+0")?;
            let file = self.clock_file(service).display().to_string();
            let library = library.display().to_string();
            own.extend(
                [
                    ("LD_PRELOAD", library.as_str()),
                    ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
                    ("FAKETIME_CACHE_DURATION", "1"),
                    // What waits is not to notice: only the clock on the wall jumps.
                    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
        }
        Ok(own)
    }

    /// The demo's routes with deadlines so short that a run sees what happens when they pass.
    fn impatient_policy(&self) -> Result<PathBuf, Failure> {
        let reading = || Failure::while_doing("writing the routes");
        let demo = fs::read_to_string(self.on.checkout().join(POLICY)).map_err(reading())?;
        let path = self.on.directory().join("routing.yaml");
        let impatient = demo.replace("deadline_ms: 10000", "deadline_ms: 4000");
        fs::write(&path, impatient).map_err(reading())?;
        Ok(path)
    }
}

/// Host and port within a URL.
fn server_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    rest.rsplit('@').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::server_of;

    #[test]
    fn a_server_is_found_in_every_sort_of_address() {
        for url in ["postgres://me@127.0.0.1:5/db", "http://127.0.0.1:5/apis/v7", "127.0.0.1:5"] {
            assert_eq!(server_of(url), "127.0.0.1:5", "{url}");
        }
    }
}
