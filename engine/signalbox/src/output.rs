//! The one place that writes to standard output and standard error as a person reads them. Logs go another way.

use serde::Serialize;
use signalbox_schemas::Micros;
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

/// An instant as RFC 3339 with all six decimals, so that instants stand under each other.
pub(crate) fn instant(at: Micros) -> String {
    let latest = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    format!("{:.6}", jiff::Timestamp::from_microsecond(at.0).unwrap_or(latest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_the_same_width() {
        assert_eq!(instant(Micros(1_795_256_288_770_000)), "2026-11-21T10:18:08.770000Z");
        assert_eq!(instant(Micros(0)), "1970-01-01T00:00:00.000000Z");
    }
}
