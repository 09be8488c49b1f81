//! Apicurio Registry of the local stack, spoken to by its Confluent-compatible interface.
//!
//! Its storage is in memory: after a restart it is empty, and whoever restarts it registers the
//! schemas again. Ids may then differ from those of before.

use std::time::Duration;

use rustix::process::Signal;

use super::error::StackError;
use super::install::JavaParts;
use super::ports::{PORT_TRIES_MAX, free_port};
use super::process::{Answer, Ending, Recipe, Running};
use super::scratch::Scratch;

const STOP_GRACE: Duration = Duration::from_secs(10);

/// One registry; its port stays the same over restarts, its contents do not.
#[derive(Debug)]
pub(crate) struct Registry {
    recipe: Recipe,
    url: String,
    port: u16,
    running: Option<Running>,
}

impl Registry {
    pub(crate) async fn create(parts: &JavaParts, scratch: &Scratch) -> Result<Self, StackError> {
        let mut tries = 0;
        loop {
            let port = free_port(&[])?;
            let mut registry = Self {
                recipe: recipe(parts, scratch, port),
                url: format!("http://127.0.0.1:{port}/apis/ccompat/v7"),
                port,
                running: None,
            };
            tries += 1;
            match registry.start().await {
                Err(StackError::PortTaken { .. }) if tries < PORT_TRIES_MAX => {}
                started => return started.map(|()| registry),
            }
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// Starts the registry, empty, unless it runs, and waits until it answers.
    pub(crate) async fn start(&mut self) -> Result<(), StackError> {
        if self.running.is_none() {
            let mut running = Running::spawn(&self.recipe)?;
            let ready_line = format!("Listening on: http://127.0.0.1:{}", self.port);
            let answer = Answer::Get(format!("{}/subjects", self.url));
            running.ready(&ready_line, &answer).await?;
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

fn recipe(parts: &JavaParts, scratch: &Scratch, port: u16) -> Recipe {
    let [quick, temporary] = scratch.java_options();
    Recipe {
        part: "registry",
        program: parts.java.clone(),
        arguments: vec![
            "-Xmx512m".into(),
            quick,
            temporary,
            "-Dquarkus.http.host=127.0.0.1".into(),
            format!("-Dquarkus.http.port={port}").into(),
            "-jar".into(),
            parts.registry_jar.clone().into(),
        ],
        directory: scratch.path().to_owned(),
        account: None,
        ending: Ending::Killed,
        log: scratch.log("registry"),
    }
}

#[cfg(test)]
mod tests {
    use super::recipe;
    use crate::local::install::JavaParts;
    use crate::local::scratch::Scratch;

    #[test]
    fn the_registry_listens_on_loopback_only() -> Result<(), Box<dyn std::error::Error>> {
        let base = tempfile::tempdir()?;
        let parts = JavaParts {
            java: "java".into(),
            kafka_jars: "kafka".into(),
            registry_jar: "runner.jar".into(),
        };
        let recipe = recipe(&parts, &Scratch::create(base.path(), false)?, 20_003);
        for argument in ["-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port=20003"] {
            assert!(recipe.arguments.iter().any(|given| given == argument), "{argument}");
        }
        Ok(())
    }
}
