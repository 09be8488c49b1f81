//! `signalbox audit`: proves the journal in the database, exports parts of it, and proves an export without any server.
//! It trusts nothing that it reads but the chain and the signatures; it repairs nothing.

pub(crate) mod anchors;
mod export;
mod keygen;
mod offline;
mod verify;

use clap::Subcommand;

use crate::config::{Config, ConfigError};
use crate::error::CliError;

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute every hash of the journal, or of an export, and name the first row that is not as it was written
    #[command(after_help = "\
In the database: needs postgres.url; engines may run meanwhile. From an export: needs no server and no configuration.
Exit status 1 where a chain is broken, an anchor is forged, or rows of an export are newer than its last anchor.

Examples:
  signalbox audit verify
  signalbox audit verify --lane 3
  signalbox audit verify --export p-42.jsonl --public-key anchor.key.pub
  signalbox audit verify --export p-42.jsonl --anchors kept-elsewhere.jsonl --public-key anchor.key.pub")]
    Verify(verify::VerifyArgs),
    /// Write rows of the journal as JSON lines that can be verified without a server
    #[command(after_help = "\
Needs postgres.url; kafka.brokers and registry.url too, for the anchors that prove the rows; a customer takes tenant_key.
What rows publish stays sealed. Rows that are not selected
are represented by hashes, which say nothing of what they hold. Rows of the last minute have no anchor yet.

Examples:
  signalbox audit export --flow p-42 --out p-42.jsonl
  signalbox audit export --subject customer-7 --tenant acme --out customer-7.jsonl
  signalbox audit export --from 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --out november.jsonl")]
    Export(export::ExportArgs),
    /// Write the anchors that engines have published as JSON lines, to be kept apart from Kafka and the database
    #[command(
        after_help = "Needs kafka.brokers and registry.url.\n\nExample:\n  signalbox audit anchors > anchors.jsonl"
    )]
    Anchors,
    /// Make the key that signs anchors
    #[command(
        after_help = "Needs no server. Writes FILE, readable by its owner alone, and FILE.pub. Engines take the first as audit.signing_key.\n\nExample:\n  signalbox audit keygen anchor.key"
    )]
    Keygen(keygen::KeygenArgs),
}

/// Runs one; the configuration is read only where it is needed.
pub(crate) async fn run(
    command: &AuditCommand,
    config: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), CliError> {
    match command {
        AuditCommand::Verify(args) => match args.offline() {
            Some(offline) => offline::verify(&offline),
            None => verify::run(args, &config()?).await,
        },
        AuditCommand::Export(args) => export::run(args, &config()?).await,
        AuditCommand::Anchors => anchors::run(&config()?).await,
        AuditCommand::Keygen(args) => keygen::run(args),
    }
}
