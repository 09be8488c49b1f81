//! `signalbox audit keygen`: the key pair of anchors, as two files. It never writes over a key that is there.

use clap::Args;
use signalbox_store::AnchorKey;
use std::path::{Path, PathBuf};

use crate::commands::wiring;
use crate::error::CliError;
use crate::output;

/// Where the key goes.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// File of the secret; the public key goes to FILE.pub
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Makes a key.
pub(super) fn run(args: &KeygenArgs) -> Result<(), CliError> {
    let refused = |error: signalbox_store::AnchorKeyError| CliError::Input(error.to_string());
    let secret = AnchorKey::generate().map_err(refused)?;
    let public = AnchorKey::parse(&secret).map_err(refused)?.public().text();
    let mut public_file = args.file.clone().into_os_string();
    public_file.push(".pub");
    wiring::write_new(&args.file, &secret, 0o600)?;
    wiring::write_new(Path::new(&public_file), &public, 0o644)?;
    output::line(format_args!(
        "the secret is in {}, for audit.signing_key; the public key, for auditors, in {}:\n{public}",
        args.file.display(),
        Path::new(&public_file).display()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_its_owner_s_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("anchor.key");
        run(&KeygenArgs { file: file.clone() }).unwrap();
        let secret = std::fs::read_to_string(&file).unwrap();
        assert!(AnchorKey::parse(&secret).is_ok());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(run(&KeygenArgs { file: file.clone() }).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    }
}
