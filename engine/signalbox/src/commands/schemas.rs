//! `signalbox schemas`: compares the contract with what was released and with the registry, registers it, and keeps
//! what is released. Services never register.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use signalbox_bus::{Registry, RegistryError, SubjectCheck};
use signalbox_schemas::{Consumers, Contract, History, TopicName, breaking};

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// What to do with schemas.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Refuse what breaks a released version, then say for every subject whether it is registered
    #[command(
        after_help = "Needs registry.url unless --offline. Changes nothing; exit status 1 where a change breaks a consumer, or a subject is new or incompatible.\n\nExample:\n  signalbox schemas check\n  signalbox schemas check --offline"
    )]
    Check(CheckArgs),
    /// Register every schema and set the compatibility of every subject
    #[command(
        after_help = "Needs registry.url, and postgres.url where engines remember schema ids. Running it again changes nothing.\n\nExample:\n  signalbox schemas register"
    )]
    Register,
    /// Keep every schema that changed as a released version, against which later changes are judged
    #[command(
        after_help = "Needs no server. Writes FOLDER/<record>/<version>.avsc for records on topics; commit them. Refuses where a change breaks an earlier release.\n\nExample:\n  signalbox schemas release"
    )]
    Release(ReleaseArgs),
}

/// What is compared.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Compare with released versions alone, without a registry
    #[arg(long)]
    offline: bool,
}

/// Where released versions are kept.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// Folder of released versions in the checkout
    #[arg(long, value_name = "FOLDER", default_value = "schemas/released")]
    into: PathBuf,
}

/// One subject as the contract wants it.
struct Wanted {
    subject: String,
    text: &'static str,
    compatibility: &'static str,
}

/// Checks, registers or releases.
pub(crate) async fn run(command: &SchemasCommand, config: &Config) -> Result<(), CliError> {
    let contract = wiring::contract()?;
    let registry = || Ok::<_, CliError>(Registry::new(config.registry()?)?);
    match command {
        SchemasCommand::Check(CheckArgs { offline }) => {
            judge(contract)?;
            if *offline { Ok(()) } else { check(&registry()?, &wanted(contract)).await }
        }
        SchemasCommand::Register => register(&registry()?, &wanted(contract), config).await,
        SchemasCommand::Release(ReleaseArgs { into }) => {
            judge(contract)?;
            release(contract, into)
        }
    }
}

/// The compatibility gate. A registry knows what was registered there; this knows what was released, and to whom.
fn judge(contract: &'static Contract) -> Result<(), CliError> {
    let (history, consumers) = (History::builtin()?, Consumers::builtin()?);
    let found = breaking(contract, &history, &consumers);
    for change in &found {
        output::line(change)?;
    }
    let faults = consumers.faults(contract);
    for fault in &faults {
        output::line(fault)?;
    }
    match found.len() + faults.len() {
        0 => output::line("no change breaks a released version or a registered consumer"),
        count => Err(CliError::Refused(format!(
            "{count} changes break what was released or what somebody reads"
        ))),
    }
}

fn release(contract: &'static Contract, into: &Path) -> Result<(), CliError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::File { path, source }
    };
    if !into.is_dir() {
        return Err(CliError::Refused(format!(
            "{} is no folder; run this in a checkout or name the folder with --into",
            into.display()
        )));
    }
    let unreleased = History::builtin()?.unreleased(contract);
    for (version, record) in &unreleased {
        let folder = into.join(record.name().as_str());
        std::fs::create_dir_all(&folder).map_err(wrong(&folder))?;
        let file = folder.join(format!("{version}.avsc"));
        std::fs::write(&file, record.pretty()).map_err(wrong(&file))?;
        output::line(format_args!("released {}", file.display()))?;
    }
    output::line(format_args!(
        "{} records were released; the next build judges changes against them",
        unreleased.len()
    ))
}

fn wanted(contract: &'static Contract) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (topic, spec) in &contract.topics().topics {
        for (subject, record) in contract.subjects(&TopicName::from(topic.as_str())) {
            wanted.push(Wanted {
                subject,
                text: record.text(),
                compatibility: spec.schemas.compatibility.as_str(),
            });
        }
    }
    wanted
}

async fn check(registry: &Registry, wanted: &[Wanted]) -> Result<(), CliError> {
    let (mut new, mut incompatible) = (0_u32, 0_u32);
    for Wanted { subject, text, .. } in wanted {
        match registry.check(subject, text).await? {
            SubjectCheck::Registered(id) => {
                output::line(format_args!("registered   {subject} (id {id})"))?
            }
            SubjectCheck::New => {
                new += 1;
                output::line(format_args!("new          {subject}"))?;
            }
            SubjectCheck::Incompatible => {
                incompatible += 1;
                output::line(format_args!("incompatible {subject}"))?;
            }
        }
    }
    match (new, incompatible) {
        (0, 0) => output::line(format_args!("all {} subjects are registered", wanted.len())),
        (_, 0) => Err(CliError::Refused(format!(
            "{new} subjects are not registered; run `signalbox schemas register`"
        ))),
        (..) => Err(CliError::Refused(format!(
            "{incompatible} subjects are incompatible with what is registered; add fields with defaults instead of changing or removing them"
        ))),
    }
}

/// Registers everything that it can; what is refused is told at the end, all of it.
async fn register(registry: &Registry, wanted: &[Wanted], config: &Config) -> Result<(), CliError> {
    let mut refused = 0_u32;
    let mut given = Vec::new();
    for Wanted { subject, text, compatibility } in wanted {
        match registry.register(subject, text, compatibility).await {
            Ok(id) => {
                output::line(format_args!("registered {subject} (id {id}, {compatibility})"))?;
                given.push((id, (*text).to_owned()));
            }
            Err(RegistryError::Refused { reason, .. }) => {
                refused += 1;
                output::line(format_args!("refused    {subject}: {reason}"))?;
            }
            Err(other) => return Err(other.into()),
        }
    }
    if refused > 0 {
        return Err(CliError::Refused(format!(
            "{refused} subjects were refused; `signalbox schemas check` compares them"
        )));
    }
    forget_other_ids(config, &given).await
}

/// Engines remember ids, so that they can start without the registry. A registry that was rebuilt gives other ids:
/// then what is remembered would have new records read with the wrong schema.
async fn forget_other_ids(config: &Config, given: &[(u32, String)]) -> Result<(), CliError> {
    let Ok(reader) = wiring::reader(config) else { return Ok(()) };
    if let Err(error) = reader.require_known_schema().await {
        output::note(format_args!("the ids that engines remember were not compared: {error}"));
        return Ok(());
    }
    let known = reader.known_schemas().await?;
    let differs = |(id, text): &(u32, String)| {
        given.iter().any(|(new_id, new_text)| {
            (new_text == text) != (new_id == id) && (new_text == text || new_id == id)
        })
    };
    if known.iter().any(differs) {
        reader.forget_schemas().await?;
        output::line(
            "the registry gives other ids than engines remember: forgotten; restart engines and adapters",
        )?;
    }
    Ok(())
}
