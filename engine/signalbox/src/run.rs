//! From parsed arguments to an exit code: logging, runtime, the one match over commands.

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::commands;
use crate::config::Config;
use crate::error::CliError;
use crate::logs::{self, LogLevel, Reader};
use crate::output;
use signalbox_edge::Traces;

/// Runs a command to its end and tells an error.
pub fn main(cli: Cli) -> ExitCode {
    let reader = cli.command.log_reader();
    let usual = if reader == Reader::Machine { LogLevel::Info } else { LogLevel::Warn };
    let traces = traces(&cli);
    let exporting = traces.as_ref().ok().and_then(Option::as_ref);
    logs::init(reader, cli.global.log_level.unwrap_or(usual), exporting);
    let (ended, traces) = match traces {
        Ok(traces) => (begin(cli), traces),
        Err(error) => (Err(error), None),
    };
    if let Some(traces) = traces {
        traces.end();
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.is_news() {
                tell(reader, &error);
            }
            error.exit_code()
        }
    }
}

/// Where this command's spans go. Before the async runtime is there, since the exporter brings its own thread.
fn traces(cli: &Cli) -> Result<Option<Traces>, CliError> {
    let service = match &cli.command {
        Command::Engine(_) => "signalbox-engine",
        Command::Adapter(_) => "signalbox-adapter",
        _ => return Ok(None),
    };
    let config = Config::load(cli.global.config.as_deref())?;
    let Some(collector) = config.traces.otlp else { return Ok(None) };
    Ok(Some(Traces::start(&collector, service)?))
}

/// A service's last words go to its log, where a collector finds them.
fn tell(reader: Reader, error: &CliError) {
    match reader {
        Reader::Machine => tracing::error!(%error, "the service has ended"),
        Reader::Person => output::note(format_args!("signalbox: {error}")),
    }
}

fn begin(cli: Cli) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::System { doing: "starting the async runtime", source })?;
    runtime.block_on(Box::pin(dispatch(cli)))
}

async fn dispatch(cli: Cli) -> Result<(), CliError> {
    let file = cli.global.config.as_deref();
    let config = || Config::load(file);
    match &cli.command {
        Command::Dev(args) => Ok(Box::pin(crate::dev::run(args)).await?),
        Command::Demo(args) => Ok(Box::pin(crate::demo::run(args)).await?),
        Command::Bench(args) => Ok(Box::pin(crate::bench::run(args)).await?),
        Command::Engine(args) => Box::pin(commands::engine::run(args, &config()?)).await,
        Command::Adapter(args) => Box::pin(commands::adapter::run(args, &config()?)).await,
        Command::Sandbox(args) => commands::sandbox::run(args).await,
        Command::Migrate(args) => commands::migrate::run(args, &config()?).await,
        Command::Topics(command) => commands::topics::run(command, &config()?).await,
        Command::Schemas(command) => commands::schemas::run(command, &config()?).await,
        Command::Journeys(command) => commands::journeys::run(command, &config()?).await,
        Command::Publish(args) => Box::pin(commands::publish::run(args, &config()?)).await,
        Command::Review(command) => Box::pin(commands::review::run(command, &config()?)).await,
        Command::Tail(args) => Box::pin(commands::tail::run(args, &config()?)).await,
        Command::Flow(command) => Box::pin(commands::flow::run(command, &config()?)).await,
        Command::Subject(command) => Box::pin(commands::subject::run(command, config)).await,
        Command::Lane(command) => commands::lane::run(command, &config()?).await,
        Command::Audit(command) => Box::pin(commands::audit::run(command, config)).await,
        Command::Doctor(args) => Box::pin(commands::doctor::run(args, &config()?)).await,
        Command::Config(command) => commands::config::run(command, &config()?),
    }
}
