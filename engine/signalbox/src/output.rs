//! The one place that writes to standard output and standard error as a person reads them. Logs go another way.

use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};

use crate::error::CliError;

/// Prints a line of the answer.
pub(crate) fn line(text: impl Display) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Output)
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
    line(text)
}

/// Tells something that is not part of the answer. That it cannot be told stops nothing.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
