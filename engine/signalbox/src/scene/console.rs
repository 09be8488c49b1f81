//! What a person at the terminal reads: progress on standard error, results on standard output.
//! Results stay clean for pipes. It is no log: services have their own.

use std::io::Write;
use std::time::Instant;

use crate::local::Progress;

/// The terminal, with the time since the command began.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    begun: Instant,
}

impl Console {
    /// Begins to count the seconds.
    #[must_use]
    pub fn start() -> Self {
        Self { begun: Instant::now() }
    }

    /// Says what is happening.
    pub fn say(&self, line: &str) {
        // Nobody may be listening any more; that is no reason to stop.
        let _ = writeln!(
            std::io::stderr().lock(),
            "[{:>5.1} s] {line}",
            self.begun.elapsed().as_secs_f64()
        );
    }

    /// Prints a line of the result.
    pub fn print(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// The local stack's progress, said here.
    #[must_use]
    pub fn progress(self) -> Progress {
        Progress::new(move |line| self.say(line))
    }
}
