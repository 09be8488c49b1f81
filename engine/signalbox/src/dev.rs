//! `signalbox dev`: the whole system on this machine, kept running to play with, stopped cleanly at the end.
//! Nothing outlives it and nothing in it is fit for production.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::scene::{Console, EngineName, SandboxWish, Scene, SceneError, Started};

/// Where the settings of the running system are left for other shells.
const SETTINGS_FILE: &str = ".local/dev.env";

/// Arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
While it runs, another shell joins in with
  . .local/dev.env

Ctrl-C stops everything and removes its data; --keep leaves data and logs behind.")]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct DevArgs {
    /// Start only Kafka, the registry and Postgres
    #[arg(long)]
    parts_only: bool,
    /// With --parts-only: create tables and topics and register schemas too
    #[arg(long, requires = "parts_only")]
    prepared: bool,
    /// When ready, print one line of JSON with addresses and process ids instead of the table
    #[arg(long)]
    json: bool,
    /// End when standard input is closed: for programs that start this one
    #[arg(long)]
    until_stdin_closes: bool,
    /// Leave the directory with data and logs behind
    #[arg(long)]
    keep: bool,
}

/// Runs until it is told to stop.
///
/// # Errors
/// See [`SceneError`]; what had been started is ended again.
pub async fn run(args: &DevArgs) -> Result<(), SceneError> {
    let console = Console::start();
    let scene = Scene::start(console, args.keep).await?;
    if !args.parts_only || args.prepared {
        scene.prepare().await?;
    }
    let services = if args.parts_only { Vec::new() } else { start_services(&scene).await? };
    let sandbox = services.first().map(|(_, sandbox)| sandbox.address.clone());
    let settings_file = write_settings(&scene, sandbox.as_deref())?;
    if args.json {
        console.print(&described(&scene, &services).to_string());
    } else {
        table(console, &scene, &services);
    }
    let ended_by = wait(args.until_stdin_closes, services).await?;
    console.say(&format!("{}; stopping", ended_by.why));
    settings_file.remove();
    scene.stop(ended_by.services).await?;
    ended_by.failure.map_or(Ok(()), Err)
}

type Named = (&'static str, Started);

/// In the order in which they are stopped again, but for the sandbox, which comes first.
async fn start_services(scene: &Scene) -> Result<Vec<Named>, SceneError> {
    let sandbox = scene.sandbox(&SandboxWish::default()).await?;
    let adapter = scene.adapter(Some(&sandbox.address), &[]).await?;
    let engine = scene.engine(EngineName("engine"), &[]).await?;
    Ok(vec![("sandbox", sandbox), ("engine", engine), ("adapter", adapter)])
}

/// The file that other shells read.
struct SettingsFile {
    path: PathBuf,
    text: String,
}

impl SettingsFile {
    /// A file that points to servers that are gone would mislead whoever reads it next. One that another `dev` of the
    /// same checkout has written since stays.
    fn remove(&self) {
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write_settings(scene: &Scene, sandbox: Option<&str>) -> Result<SettingsFile, SceneError> {
    let file = scene.checkout().join(SETTINGS_FILE);
    let failed = || SceneError::while_doing(format!("writing {}", file.display()));
    let mut text = String::from(
        "# Settings of the running `signalbox dev`; read them into a shell with: . .local/dev.env\n",
    );
    let sandbox =
        sandbox.map(|at| ("SIGNALBOX__ADAPTER__VENDOR_BASE".to_owned(), format!("http://{at}")));
    for (name, value) in scene.environment().into_iter().chain(sandbox) {
        text.push_str(&format!("export {name}='{value}'\n"));
    }
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).map_err(failed())?;
    std::fs::write(&file, &text).map_err(failed())?;
    Ok(SettingsFile { path: file, text })
}

/// Everything that a program needs to know.
fn described(scene: &Scene, services: &[Named]) -> Value {
    let settings = scene.settings();
    let mut pids: Map<String, Value> =
        scene.stack().pids().into_iter().map(|(name, pid)| (name.to_owned(), pid.into())).collect();
    let mut addresses = Map::new();
    for (name, service) in services {
        pids.insert((*name).to_owned(), service.child.pid().into());
        addresses.insert((*name).to_owned(), service.address.as_str().into());
    }
    json!({
        "kafka": settings.brokers,
        "registry": settings.registry,
        "postgres": settings.postgres,
        "tenant_key": settings.tenant_key,
        "services": addresses,
        "pids": pids,
        "environment": scene.environment().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "directory": scene.stack().directory(),
    })
}

fn table(console: Console, scene: &Scene, services: &[Named]) {
    let settings = scene.settings();
    let mut rows = vec![
        ("Kafka".to_owned(), settings.brokers.clone()),
        ("registry".to_owned(), settings.registry.clone()),
        ("Postgres".to_owned(), settings.postgres.clone()),
    ];
    for (name, service) in services {
        let what = match *name {
            "sandbox" => format!("http://{}/_sandbox/ledger", service.address),
            _ => format!("http://{}/metrics", service.address),
        };
        rows.push(((*name).to_owned(), what));
    }
    rows.push(("logs".to_owned(), scene.stack().directory().join("logs").display().to_string()));
    console.print("");
    for (name, address) in rows {
        console.print(&format!("  {name:<10} {address}"));
    }
    let program = std::env::current_exe()
        .map_or_else(|_| "signalbox".to_owned(), |path| path.display().to_string());
    console.print("\nIn another shell, in this directory:\n  . .local/dev.env");
    if services.is_empty() {
        console.print(&format!("  {program} topics plan --replicas 1"));
    } else {
        console.print(&format!("  {program} publish --example | {program} publish -"));
        console.print(&format!("  {program} tail"));
        console.print(&format!("  {program} flow show ID"));
    }
    console.print("\nCtrl-C stops everything.");
}

struct Ended {
    why: &'static str,
    services: Vec<Started>,
    failure: Option<SceneError>,
}

/// Waits for a signal, for the end of standard input where that counts, or for a service that ends by itself.
async fn wait(until_stdin_closes: bool, services: Vec<Named>) -> Result<Ended, SceneError> {
    let listen = |kind| signal(kind).map_err(SceneError::while_doing("listening for signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let (closed, mut stdin) = tokio::sync::oneshot::channel::<()>();
    let closed = if until_stdin_closes {
        // A thread of its own: a read that never ends must not hold up the end of the runtime.
        std::thread::spawn(move || {
            let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
            let _ = closed.send(());
        });
        None
    } else {
        Some(closed)
    };
    let mut services: Vec<Started> = services.into_iter().map(|(_, service)| service).collect();
    let mut look = tokio::time::interval(std::time::Duration::from_millis(250));
    let (why, failure) = loop {
        tokio::select! {
            _ = interrupt.recv() => break ("interrupted", None),
            _ = terminate.recv() => break ("told to end", None),
            _ = &mut stdin, if until_stdin_closes => break ("standard input is closed", None),
            _ = look.tick() => {
                let ended = services.iter_mut().find_map(|service| service.child.must_run().err());
                if let Some(failure) = ended {
                    break ("a service has ended by itself", Some(failure));
                }
            }
        }
    };
    drop(closed);
    // The sandbox goes last: what engines and adapters finish still needs it.
    if services.len() > 1 {
        services.rotate_left(1);
    }
    Ok(Ended { why, services, failure })
}
