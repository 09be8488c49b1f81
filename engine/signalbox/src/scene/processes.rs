//! The stack and the product's processes on it, started in the order in which they need each other.
//! It starts what it is told and supervises nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use signalbox_vault::EnvelopeKeys;

use super::children::{Child, Program};
use super::console::Console;
use super::error::SceneError;
use super::prepare;
use super::settings::Settings;
use crate::local::{LocalStack, StackOptions};

const DATABASE: &str = "signalbox";
/// For data that are ours alone and gone soon; an installation has a secret of its own.
const TENANT_KEY: &str = "local-stack-tenant-key";
/// How long a process of ours may take to be ready, on a machine that is busy with a build.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than an engine's lease, so that a graceful stop is never cut short.
const STOP_WITHIN: Duration = Duration::from_secs(15);
const VENDORS: &str = include_str!("../../../../deploy/demo/vendors.env");

/// A local stack with what belongs to the product.
#[derive(Debug)]
pub struct Scene {
    stack: LocalStack,
    settings: Settings,
    checkout: PathBuf,
    program: PathBuf,
    console: Console,
}

/// Name of an engine among those of a scene; also its worker id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineName(pub &'static str);

/// A service that is ready.
#[derive(Debug)]
pub struct Started {
    /// The process.
    pub child: Child,
    /// Where it answers: admin address of an engine or adapter, the listener of a sandbox.
    pub address: String,
}

/// How the sandbox shall behave, where it differs from its defaults.
#[derive(Debug, Clone, Default)]
pub struct SandboxWish {
    /// Extra arguments of `signalbox sandbox`.
    pub arguments: Vec<String>,
}

impl Scene {
    /// Starts Kafka, the registry and Postgres, with an empty database.
    ///
    /// # Errors
    /// `Stack` where they do not start, `System` outside a checkout.
    pub async fn start(console: Console, keep: bool) -> Result<Self, SceneError> {
        let options =
            StackOptions { keep, progress: console.progress(), ..StackOptions::default() };
        Self::start_on(console, options).await
    }

    /// The same on servers of a special sort.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_on(console: Console, options: StackOptions) -> Result<Self, SceneError> {
        let checkout = checkout()?;
        let stack = LocalStack::start(options).await?;
        let settings = Settings {
            brokers: stack.bootstrap().to_owned(),
            registry: stack.registry_url().to_owned(),
            postgres: stack.create_database(DATABASE).await?,
            tenant_key: TENANT_KEY.to_owned(),
            envelope_key: EnvelopeKeys::generate()
                .map_err(|error| SceneError::Broken(format!("the envelope key: {error}")))?,
        };
        let program = std::env::current_exe()
            .map_err(SceneError::while_doing("finding this program's file"))?;
        Ok(Self { stack, settings, checkout, program, console })
    }

    /// The product's processes are started from this file from now on instead of from our own.
    pub fn run_from(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Creates tables, topics and subjects.
    ///
    /// # Errors
    /// `Store`, `Bus` or `Registry`, after the part that refuses.
    pub async fn prepare(&self) -> Result<(), SceneError> {
        self.prepare_for(prepare::contract()?.topics().lanes).await
    }

    /// The same for another number of lanes than the contract names.
    ///
    /// # Errors
    /// As `prepare`.
    pub async fn prepare_for(&self, lanes: u16) -> Result<(), SceneError> {
        self.console.say("creating tables and topics, registering schemas");
        prepare::tables(&self.settings, lanes).await?;
        prepare::topics_and_subjects(&self.settings).await
    }

    /// As `prepare`, but the tables are made by `signalbox migrate` of the program that the scene runs.
    ///
    /// # Errors
    /// As `prepare`, and `Child` with the words of the command.
    pub async fn prepare_by_command(&self) -> Result<(), SceneError> {
        self.console.say("creating tables and topics, registering schemas");
        self.command(&["migrate"], READY_WITHIN).await?;
        prepare::topics_and_subjects(&self.settings).await
    }

    /// Where the servers are.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The servers.
    #[must_use]
    pub fn stack(&self) -> &LocalStack {
        &self.stack
    }

    /// The servers, to be stopped or broken.
    pub fn stack_mut(&mut self) -> &mut LocalStack {
        &mut self.stack
    }

    /// The checkout that journeys and policies are read from.
    #[must_use]
    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// What every process of ours is told.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.settings.environment();
        let path = |relative: &str| self.checkout.join(relative).display().to_string();
        environment.push(("SIGNALBOX__JOURNEYS__PATH".to_owned(), path("journeys")));
        environment
            .push(("SIGNALBOX__ADAPTER__POLICY".to_owned(), path("deploy/policies/routing.yaml")));
        environment.extend(assignments(VENDORS));
        environment
    }

    /// Starts `signalbox engine`.
    ///
    /// # Errors
    /// `Child` where it is not ready in time.
    pub async fn engine(
        &self,
        name: EngineName,
        settings: &[(String, String)],
    ) -> Result<Started, SceneError> {
        let arguments = ["engine", "--worker-id", name.0, "--admin-listen", "127.0.0.1:0"];
        self.service(name.0, &arguments, settings, "admin").await
    }

    /// Starts `signalbox adapter` for every capability; `sandbox` is where vendors are, if they are not in the process.
    ///
    /// # Errors
    /// `Child` where it is not ready in time.
    pub async fn adapter(
        &self,
        sandbox: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Started, SceneError> {
        let mut settings = settings.to_vec();
        settings.extend(
            sandbox
                .map(|at| ("SIGNALBOX__ADAPTER__VENDOR_BASE".to_owned(), format!("http://{at}"))),
        );
        self.service(
            "adapter",
            &["adapter", "--all", "--admin-listen", "127.0.0.1:0"],
            &settings,
            "admin",
        )
        .await
    }

    /// Starts `signalbox sandbox`.
    ///
    /// # Errors
    /// `Child` where it is not ready in time.
    pub async fn sandbox(&self, wish: &SandboxWish) -> Result<Started, SceneError> {
        let mut arguments = vec!["sandbox", "--listen", "127.0.0.1:0"];
        arguments.extend(wish.arguments.iter().map(String::as_str));
        self.service("sandbox", &arguments, &[], "address").await
    }

    /// Runs a command of ours to its end.
    ///
    /// # Errors
    /// `Child` with its words where it ends badly.
    pub async fn command(&self, arguments: &[&str], within: Duration) -> Result<(), SceneError> {
        let name = format!("signalbox {}", arguments.join(" "));
        let program = self.program(name, &arguments.join("-"), arguments, &[]);
        Child::spawn(&program)?.finish(within).await
    }

    /// Ends services in the order given, each as an operator would, then the stack.
    ///
    /// # Errors
    /// `Child` where one had to be killed.
    pub async fn stop(self, services: Vec<Started>) -> Result<(), SceneError> {
        let mut stubborn = Vec::new();
        for service in services {
            let pid = service.child.pid();
            if !service.child.stop(STOP_WITHIN).await? {
                stubborn.push(format!("process {pid} at {}", service.address));
            }
        }
        self.stack.stop().await;
        if stubborn.is_empty() {
            return Ok(());
        }
        let what =
            format!("did not stop within {} s: {}", STOP_WITHIN.as_secs(), stubborn.join(", "));
        Err(SceneError::Child { name: "a service".to_owned(), what, log_tail: String::new() })
    }

    async fn service(
        &self,
        name: &str,
        arguments: &[&str],
        settings: &[(String, String)],
        address_key: &str,
    ) -> Result<Started, SceneError> {
        let ready = self.stack.directory().join(format!("{name}.ready"));
        // What a predecessor of the same name left would look like readiness.
        let _ = std::fs::remove_file(&ready);
        let mut program = self.program(name.to_owned(), name, arguments, settings);
        program.arguments.extend([OsString::from("--ready-file"), ready.clone().into()]);
        let mut child = Child::spawn(&program)?;
        let content = child.ready(&ready, READY_WITHIN).await?;
        let told: Value = serde_json::from_str(&content).unwrap_or_default();
        let address = told.get(address_key).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.console.say(&format!("{name} is ready (process {}, {address})", child.pid()));
        Ok(Started { child, address })
    }

    fn program(
        &self,
        name: String,
        log: &str,
        arguments: &[&str],
        settings: &[(String, String)],
    ) -> Program {
        let mut environment = self.environment();
        environment.extend_from_slice(settings);
        Program {
            name,
            file: self.program.clone(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment,
            log: self.stack.directory().join("logs").join(format!("{log}.log")),
        }
    }
}

/// `NAME=value` lines; empty ones and comments are left out.
pub(crate) fn assignments(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The checkout that the working directory is in.
fn checkout() -> Result<PathBuf, SceneError> {
    let here = std::env::current_dir()
        .map_err(SceneError::while_doing("finding the working directory"))?;
    let found = here.ancestors().find(|above| above.join("journeys/payout.yaml").is_file());
    let refuse = || {
        SceneError::Data(format!(
            "{} is in no checkout of Signalbox; change into one",
            here.display()
        ))
    };
    found.map(Path::to_path_buf).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::{VENDORS, assignments};

    #[test]
    fn files_of_settings_are_read_without_their_comments() {
        let read = assignments("# A=0\n\nA=1\n B=x=y \n");
        assert_eq!(read, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
        assert!(
            assignments(VENDORS)
                .iter()
                .all(|(name, _)| name.starts_with("SIGNALBOX__ADAPTER__VENDORS__"))
        );
    }
}
