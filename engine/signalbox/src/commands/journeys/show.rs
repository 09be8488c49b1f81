//! `signalbox journeys graph`, `diff` and `schema`: a journey as a picture, two as a difference, the language as a schema.

use clap::{Args, ValueEnum};
use signalbox_flow::EditorFile;
use std::path::PathBuf;

use super::load;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Which journey.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// Journey file
    file: PathBuf,
}

/// Which journeys.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// File of the old version
    old: PathBuf,
    /// File of the new version
    new: PathBuf,
}

/// Which language.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Kind of file
    #[arg(value_enum, default_value_t = Language::Journey)]
    of: Language,
}

/// Files that people write.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// A journey
    Journey,
    /// A scenario
    Scenario,
    /// The bank's invariants
    Invariants,
}

/// Draws a journey. It need not be safe to be looked at.
pub(super) fn graph(args: &GraphArgs, config: &Config) -> Result<(), CliError> {
    let journey = load::load(&args.file, &config.journeys, &[])?;
    let drawn =
        signalbox_flow::graph(&journey).map_err(|error| load::mistaken(&args.file, &error))?;
    output::line(drawn.trim_end())
}

/// Tells what changed, and whether running flows of the old version could go on in the new one.
pub(super) fn diff(args: &DiffArgs, config: &Config) -> Result<(), CliError> {
    let old = load::load(&args.old, &config.journeys, &[])?;
    let new = load::load(&args.new, &config.journeys, &[])?;
    let changes = signalbox_flow::difference(&old, &new)
        .map_err(|error| load::mistaken(&args.new, &error))?;
    if changes.is_empty() {
        return output::line("nothing that a flow could notice is different");
    }
    for change in &changes {
        output::line(change)?;
    }
    if old.name() != new.name() {
        return Ok(());
    }
    let obstacles = signalbox_flow::check_continuation(&old, &new);
    if obstacles.is_empty() {
        return output::line(format_args!(
            "running flows of version {} could go on as they are as version {}, wherever they wait",
            old.version(),
            new.version()
        ));
    }
    for obstacle in &obstacles {
        output::line(load::told(&args.new, obstacle))?;
    }
    Err(CliError::Refused(format!(
        "running flows of version {} could not all go on as version {}; they end under their own version",
        old.version(),
        new.version()
    )))
}

/// Prints a schema.
pub(super) fn schema(args: &SchemaArgs) -> Result<(), CliError> {
    let of = match args.of {
        Language::Journey => EditorFile::Journey,
        Language::Scenario => EditorFile::Scenario,
        Language::Invariants => EditorFile::Invariants,
    };
    output::line(format_args!("{:#}", signalbox_flow::editor_schema(of)))
}
