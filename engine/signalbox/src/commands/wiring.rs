//! What several commands connect to, built from the configuration. It holds no connection of its own.

use signalbox_bus::{Codec, KnownSchema, Registry};
use signalbox_schemas::Contract;
use signalbox_store::Reader;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::error::CliError;

/// The contract that this program was built with.
pub(crate) fn contract() -> Result<&'static Contract, CliError> {
    Ok(Contract::builtin()?)
}

/// The database, for questions. Connects with the first one.
pub(crate) fn reader(config: &Config) -> Result<Reader, CliError> {
    Ok(Reader::connect(config.postgres()?)?)
}

/// How many lanes this installation has: the one number by which keys are shared out.
pub(crate) async fn lanes(config: &Config) -> Result<u16, CliError> {
    Ok(reader(config)?.lane_count().await?)
}

/// The codec, from the registry alone.
pub(crate) async fn codec(config: &Config) -> Result<Codec, CliError> {
    let (codec, _learnt) =
        Codec::resolve(contract()?, Registry::new(config.registry()?)?, &[]).await?;
    Ok(codec)
}

/// The codec, from what the database remembers and else from the registry; what was learnt is remembered.
pub(crate) async fn remembering_codec(config: &Config, reader: &Reader) -> Result<Codec, CliError> {
    let known =
        reader.known_schemas().await?.into_iter().map(|(id, text)| KnownSchema { id, text });
    let known: Vec<KnownSchema> = known.collect();
    let (codec, learnt) =
        Codec::resolve(contract()?, Registry::new(config.registry()?)?, &known).await?;
    if !learnt.is_empty() {
        let learnt: Vec<(u32, String)> =
            learnt.into_iter().map(|schema| (schema.id, schema.text)).collect();
        reader.remember_schemas(&learnt).await?;
    }
    Ok(codec)
}

/// A file's text.
pub(crate) fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// Writes a file that must not be there yet, with these permissions.
pub(crate) fn write_new(file: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: file.to_owned(), source };
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    opened.and_then(|mut opened| writeln!(opened, "{text}")).map_err(failed)
}

/// A name for this process that no other running one has: the host's and the process's.
pub(crate) fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!(
        "{}-{}",
        if host.trim().is_empty() { "signalbox" } else { host.trim() },
        std::process::id()
    )
}

/// Reads who wants something or why: a word at least, without spaces around it. For clap.
pub(crate) fn word(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("write a word at least: it is put down for good".to_owned()),
        word => Ok(word.to_owned()),
    }
}

/// Reads a duration as people write it: `500ms`, `5s`, `2m`, `1h`. For clap.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let wrong = || {
        format!(
            "{text:?} is not a duration; write a whole number with ms, s, m or h, such as 500ms"
        )
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3_600))),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_acts_without_a_name_and_a_reason() {
        assert_eq!(word(" ann "), Ok("ann".to_owned()));
        assert!(word("").is_err() && word("  ").is_err());
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let rows = [
            ("500ms", Some(500)),
            ("5s", Some(5_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("5", None),
            ("s", None),
            ("-1s", None),
        ];
        for (text, millis) in rows {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
    }
}
