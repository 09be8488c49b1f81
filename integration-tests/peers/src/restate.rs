//! Restate: its server as a process with defaults that are durable, the payout as a workflow of its Rust SDK in a
//! second process, asked for through its HTTP ingress by a third, this one.
//!
//! A payout is one workflow, keyed by its id, so asking twice carries it out once. Each step is a `ctx.run`, whose
//! result is written durably before the next begins. Its ending is the ingress's answer, given when the workflow's
//! result is durable. Kafka has no part in it: commands come over HTTP, and no event goes out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::{Client, ClientBuilder};
use restate_sdk::prelude::{
    ContextSideEffects, Endpoint, HandlerResult, HttpServer, Json, RunFuture, TerminalError,
    WorkflowContext, workflow,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::load::Peer;
use crate::payout::{Ending, Step, ask_vendor, command, id};
use crate::{Wanted, load, process, report};

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Connections of the load. Each carries as many requests as the server lets it.
const CONNECTIONS: usize = 32;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Payouts that have to end one after the other before anything is measured, many for each partition; their numbers are none
/// of the load's.
const PROBES: usize = 200;
const FIRST_PROBE: usize = 1_000_000_000;

/// Arguments of `restate`.
#[derive(Debug, Args)]
pub(crate) struct Measured {
    /// Program of Restate's server
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
}

struct Payout;

#[workflow]
impl Payout {
    #[handler]
    async fn run(
        &self,
        context: WorkflowContext<'_>,
        command: Json<Value>,
    ) -> HandlerResult<Json<Ending>> {
        let command = command.into_inner();
        let payout_id = command.get("payout_id").and_then(Value::as_str).unwrap_or_default();
        for step in Step::ALL {
            let id = payout_id.to_owned();
            let ask = move || async move { Ok(Json(ask_vendor(step, &id))) };
            let answer = context.run(ask).name(step.name()).await?.into_inner();
            if !answer.is_good(step) {
                return Err(TerminalError::new(format!("{answer:?}")).into());
            }
        }
        Ok(Json(Ending::completed(payout_id)))
    }
}

/// Serves the workflow until it is killed, and says on which port.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("opening a port")?;
    println!("{}", listener.local_addr()?.port());
    HttpServer::new(Endpoint::builder().bind(Payout).build()).serve(listener).await;
    Ok(())
}

/// Measures and prints.
pub(crate) async fn measure(arguments: &Measured) -> Result<()> {
    let data = tempfile::tempdir().context("creating a directory for Restate's data")?;
    let [ingress, admin, node] = process::free_ports()?;
    let program = arguments.server.display().to_string();
    let mut server = process::start(&program, |command| {
        command.args(["--no-logo", "--listen-mode=tcp", "--bind-ip=127.0.0.1"]);
        command.arg(format!("--base-dir={}", data.path().display()));
        command.env("RESTATE_INGRESS__BIND_PORT", ingress.to_string());
        command.env("RESTATE_ADMIN__BIND_PORT", admin.to_string());
        command.env("RESTATE_BIND_PORT", node.to_string());
        command.env("RESTATE_LOG_FILTER", "warn");
        command.env("RESTATE_DISABLE_TELEMETRY", "true");
        command.current_dir(data.path());
    })?;
    let (service, port) = process::start_role(|command| {
        command.arg("restate-service");
    })
    .await?;
    register(&mut server, admin, &port).await?;

    answers_everywhere(ingress).await?;

    let (asks, asked) = channel(arguments.wanted.in_flight);
    let (end, endings) = channel(arguments.wanted.in_flight);
    tokio::spawn(ask_all(ingress, asked, end));
    let parts = [("server", process::pid(&server)?), ("service", process::pid(&service)?)];
    let figures = load::measure(Peer { asks, endings }, &arguments.wanted, &parts).await?;
    report::print("restate", &figures);
    drop(service);
    server.kill().await.context("ending Restate's server")
}

/// Tells the server where the workflow is, as soon as it can be told.
async fn register(server: &mut Child, admin: u16, service: &str) -> Result<()> {
    let client = Client::builder().no_proxy().build()?;
    let wanted = json!({"uri": format!("http://127.0.0.1:{service}/")});
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < READY_WITHIN {
        if let Some(status) = server.try_wait()? {
            bail!("Restate's server ended with {status}; see what it said above");
        }
        let deployments = format!("http://127.0.0.1:{admin}/deployments");
        match client.post(deployments).json(&wanted).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => last = answer.text().await.unwrap_or_default(),
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("Restate's server does not take the workflow: {last}")
}

fn client() -> ClientBuilder {
    Client::builder().no_proxy().http2_prior_knowledge()
}

/// Waits until payouts end wherever their ids lead: while its partitions look for leaders, what is asked may never be
/// answered.
async fn answers_everywhere(ingress: u16) -> Result<()> {
    let client = client().timeout(ANSWER_WITHIN).build()?;
    let begun = Instant::now();
    let (mut number, mut in_a_row) = (FIRST_PROBE, 0);
    while in_a_row < PROBES {
        if begun.elapsed() > READY_WITHIN {
            bail!("Restate does not answer everywhere");
        }
        in_a_row = if ask(&client, ingress, number).await.is_ok() { in_a_row + 1 } else { 0 };
        number += 1;
    }
    Ok(())
}

/// Asks for every number as it comes; each is a task that waits for its ending.
async fn ask_all(ingress: u16, mut asked: Receiver<usize>, end: Sender<Result<usize>>) {
    let clients: Vec<Client> = match (0..CONNECTIONS).map(|_| client().build()).collect() {
        Ok(clients) => clients,
        Err(error) => return drop(end.send(Err(error.into())).await),
    };
    let mut turns = clients.iter().cycle();
    while let (Some(number), Some(client)) = (asked.recv().await, turns.next()) {
        let (client, end) = (client.clone(), end.clone());
        tokio::spawn(async move {
            let ended = ask(&client, ingress, number).await;
            let _ = end.send(ended).await;
        });
    }
}

async fn ask(client: &Client, ingress: u16, number: usize) -> Result<usize> {
    let id = id(number);
    let path = format!("http://127.0.0.1:{ingress}/Payout/{id}/run");
    let answer = client.post(path).json(&command(number)).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    let ended = serde_json::from_str::<Ending>(&text).ok();
    if ended != Some(Ending::completed(&id)) {
        bail!("{id} did not complete: {status} {text}");
    }
    Ok(number)
}
