//! `signalbox subject keygen`: the envelope key, as a file. It never writes over a key that is there.

use clap::Args;
use signalbox_vault::EnvelopeKeys;
use std::path::PathBuf;

use crate::commands::wiring;
use crate::error::CliError;
use crate::output;

/// Where the key goes.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// File of the key
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Makes a key.
pub(super) fn run(args: &KeygenArgs) -> Result<(), CliError> {
    let key = EnvelopeKeys::generate().map_err(|error| CliError::Input(error.to_string()))?;
    wiring::write_new(&args.file, &key, 0o600)?;
    output::line(format_args!(
        "the key is in {}; for engines and adapters: privacy.envelope_key = \"file:{}\"",
        args.file.display(),
        args.file.display()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_envelope_key_is_its_owner_s_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("envelope.key");
        run(&KeygenArgs { file: file.clone() }).unwrap();
        let secret = std::fs::read_to_string(&file).unwrap();
        assert!(EnvelopeKeys::of_text(&secret).is_ok());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(run(&KeygenArgs { file: file.clone() }).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    }
}
