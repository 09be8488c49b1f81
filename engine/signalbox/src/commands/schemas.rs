//! `signalbox schemas`: compares the contract with the registry, and registers it. Services never register.

use clap::Subcommand;
use signalbox_bus::{Registry, RegistryError, SubjectCheck};
use signalbox_schemas::{Contract, TopicName};

use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// What to do with schemas.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Say for every subject whether it is registered, new or incompatible
    #[command(
        after_help = "Needs registry.url. Changes nothing; exit status 1 where a subject is new or incompatible.\n\nExample:\n  signalbox schemas check"
    )]
    Check,
    /// Register every schema and set the compatibility of every subject
    #[command(
        after_help = "Needs registry.url, and postgres.url where engines remember schema ids. Running it again changes nothing.\n\nExample:\n  signalbox schemas register"
    )]
    Register,
}

/// One subject as the contract wants it.
struct Wanted {
    subject: String,
    text: &'static str,
    compatibility: &'static str,
}

/// Checks or registers.
pub(crate) async fn run(command: &SchemasCommand, config: &Config) -> Result<(), CliError> {
    let registry = Registry::new(config.registry()?)?;
    let wanted = wanted(wiring::contract()?);
    match command {
        SchemasCommand::Check => check(&registry, &wanted).await,
        SchemasCommand::Register => register(&registry, &wanted, config).await,
    }
}

fn wanted(contract: &'static Contract) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (topic, spec) in &contract.topics().topics {
        for (subject, record) in contract.subjects(&TopicName::from(topic.as_str())) {
            wanted.push(Wanted {
                subject,
                text: record.text(),
                compatibility: &spec.schemas.compatibility,
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
    if let Err(error) = reader.require_current_schema().await {
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
