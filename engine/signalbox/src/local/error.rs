//! What can go wrong while the local stack starts or is being driven.
//!
//! Each variant carries what a person needs to act, the last lines of the part's log included: by
//! the time it is read the temporary directory with the log is usually gone.

use std::io;

/// Lines of a log that an error repeats.
const TAIL_LINES_MAX: usize = 20;

/// Why the local stack did not start, or a part of it did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Programs are missing and could not be installed from here: install them by the command
    /// that the text names, then start again.
    #[error("programs are missing\n{detail}")]
    ProgramsMissing {
        /// What is missing and the command that installs it.
        detail: String,
    },
    /// A part could not be resolved from Maven Central: check the network, then start again.
    #[error("{part} could not be resolved from Maven Central; its log ends with\n{log_tail}")]
    Download {
        /// The part that is missing.
        part: &'static str,
        /// The last lines of Maven's output.
        log_tail: String,
    },
    /// A part (or a tool of it) ended or did not answer in time: read the log.
    #[error("{part} {what}; its log ends with\n{log_tail}")]
    PartFailed {
        /// The part or tool.
        part: &'static str,
        /// What it did, as a phrase after its name.
        what: String,
        /// The last lines that it logged.
        log_tail: String,
    },
    /// Another process took the part's port, again and again: start again, or find out who takes
    /// ports between 15,000 and 32,000.
    #[error("{part} lost its port to another process; its log ends with\n{log_tail}")]
    PortTaken {
        /// The part.
        part: &'static str,
        /// The last lines that it logged.
        log_tail: String,
    },
    /// No free port was found on loopback: free some, then start again.
    #[error("no free port between {first} and {last} on 127.0.0.1")]
    NoFreePort {
        /// First port of the range that was tried.
        first: u16,
        /// Last port of the range that was tried.
        last: u16,
    },
    /// The database name is not one that needs no quoting: choose another.
    #[error("database name {name:?} must be a lower-case letter, then letters, digits or _")]
    DatabaseName {
        /// The name as given.
        name: String,
    },
    /// The operating system refused something: the text says what was being done.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl StackError {
    /// Wraps an I/O error with what was being done, for `map_err`.
    pub(crate) fn while_doing(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}

/// Whether a log says that another process took the port between our choosing it and the part's
/// binding it.
pub(crate) fn tells_of_taken_port(log: &str) -> bool {
    let log = log.to_lowercase();
    let signs = ["address already in use", "port already bound", "in use by another process"];
    signs.iter().any(|sign| log.contains(sign))
}

/// The last lines of a log, each with two spaces before it.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES_MAX);
    let kept: Vec<String> = lines.iter().skip(skipped).map(|line| format!("  {line}")).collect();
    if kept.is_empty() { "  (nothing was logged)".to_owned() } else { kept.join("\n") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{tail, tells_of_taken_port};

    #[test]
    fn each_part_says_a_port_clash_in_its_own_words() {
        for (log, clash) in [
            ("could not bind IPv4 address \"127.0.0.1\": Address already in use", true),
            ("java.net.BindException: Address already in use", true),
            ("Port 20123 seems to be in use by another process", true),
            ("Port already bound: 20123", true),
            ("lock file \"postmaster.pid\" already exists", false),
            ("", false),
        ] {
            assert_eq!(tells_of_taken_port(log), clash, "{log}");
        }
    }

    #[test]
    fn an_error_repeats_only_the_end_of_a_long_log() {
        let log: String = (1..=50).map(|line| format!("line {line}\n")).collect();
        let text = tail(&log);
        assert!(!text.contains("line 30\n"), "{text}");
        assert!(text.starts_with("  line 31\n") && text.ends_with("  line 50"), "{text}");
    }

    #[test]
    fn an_empty_log_is_said_to_be_empty() {
        assert_eq!(tail(""), "  (nothing was logged)");
    }
}
