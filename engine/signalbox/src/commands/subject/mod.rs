//! `signalbox subject`: what is known of a customer, and its erasure. A customer is looked up by an HMAC of tenant and
//! customer id; the id itself is stored nowhere in clear.

mod envelopes;
mod erase;
mod keygen;
mod rewrap;
mod show;

pub(crate) use envelopes::{Envelope, Known, envelopes};
pub(crate) use show::{flow_json, flow_text};

use clap::{Args, Subcommand};
use signalbox_schemas::{SubjectId, Tenant};

use crate::config::{Config, ConfigError};
use crate::error::CliError;

/// What to do about a customer.
#[derive(Debug, Subcommand)]
pub(crate) enum SubjectCommand {
    /// List a customer's flows and keys, without any personal data
    #[command(after_help = "\
Needs postgres.url and tenant_key.

Example:
  signalbox subject show --tenant acme --customer c-7")]
    Show(show::ShowArgs),
    /// Destroy a customer's key: everything stored about them is unreadable from then on, for everybody and for good
    #[command(after_help = "\
Needs postgres.url and tenant_key. Refused while a flow of the customer runs or changed a moment ago, or while records
about them are not published; the hindrances are named, and exit status is 1. What it does not reach, Kafka until its
retention and backups until they expire among it, is in docs/privacy.md.

Examples:
  signalbox subject erase --tenant acme --customer c-7 --actor ann --reason 'request 4711'
  signalbox subject erase --unattributed-before 2026-11-01 --actor ann --reason 'dead letters are settled'")]
    Erase(erase::EraseArgs),
    /// Make the envelope key, which wraps the keys of all customers
    #[command(after_help = "\
Needs no server. Writes FILE, readable by its owner alone; engines and adapters take it as privacy.envelope_key =
\"file:FILE\". Without this key nothing that is stored can be read: keep a copy apart from the database.

Example:
  signalbox subject keygen envelope.key")]
    Keygen(keygen::KeygenArgs),
    /// Wrap the keys of all customers anew by the envelope key that is set now, so that another one can be retired
    #[command(after_help = "\
Needs postgres.url, privacy.envelope_key and, for the keys that others wrap, privacy.other_envelope_keys. Engines and
adapters go on working; they must know both envelope keys before. Given up half way, it goes on where it stopped. Each
key is opened again before it takes the place of what was there. The whole procedure is in docs/privacy.md.

Example:
  signalbox subject rewrap --actor ann --reason 'the yearly change of the envelope key'")]
    Rewrap(rewrap::RewrapArgs),
    /// Count the keys that each envelope key wraps, and say which of them can be opened here
    #[command(after_help = "\
Needs postgres.url. Exit status 1 where an envelope key is needed that is not configured here.

Example:
  signalbox subject envelopes")]
    Envelopes(envelopes::EnvelopesArgs),
}

/// Which customer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Customer {
    /// Tenant whose customer it is
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// The customer's id, as commands name it
    #[arg(long, value_name = "ID")]
    pub(crate) customer: String,
}

impl Customer {
    /// The id under which everything about the customer is found.
    pub(crate) fn subject(&self, config: &Config) -> Result<SubjectId, ConfigError> {
        let tenant = Tenant::from(self.tenant.as_str());
        Ok(config.tenant_key()?.subject_id(&tenant, &self.customer))
    }
}

/// Runs one; the configuration is read only where it is needed.
pub(crate) async fn run(
    command: &SubjectCommand,
    config: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), CliError> {
    match command {
        SubjectCommand::Show(args) => show::run(args, &config()?).await,
        SubjectCommand::Erase(args) => erase::run(args, &config()?).await,
        SubjectCommand::Keygen(args) => keygen::run(args),
        SubjectCommand::Rewrap(args) => rewrap::run(args, &config()?).await,
        SubjectCommand::Envelopes(args) => envelopes::run(args, &config()?).await,
    }
}
