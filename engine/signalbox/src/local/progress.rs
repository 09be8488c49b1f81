//! Who is told how a start comes along. It starts nothing.

use std::fmt;
use std::sync::Arc;

/// Where lines about a start's progress go; by default to the log at level INFO.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Calls `listener` with each line, without its end.
    pub fn new(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    pub(crate) fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(|line| tracing::info!(line, "local stack"))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::Progress;

    #[test]
    fn progress_goes_to_whoever_asked_for_it() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        let progress = Progress::new(move |line| listener.lock().unwrap().push(line.to_owned()));
        progress.say("starting");
        assert_eq!(*heard.lock().unwrap(), ["starting"]);
    }
}
