//! What happened in a run, line by line. It is kept only where somebody wants to read it: a run that fails is made again
//! from its seed for it. It judges nothing.

use std::sync::{Arc, Mutex};

/// The log of one run; clones write into the same.
#[derive(Clone, Default)]
pub(crate) struct Chronicle {
    lines: Option<Arc<Mutex<Vec<String>>>>,
}

impl Chronicle {
    /// One that is kept.
    pub(crate) fn kept() -> Self {
        Self { lines: Some(Arc::default()) }
    }

    /// Puts down what somebody did.
    pub(crate) fn tell(&self, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            lines.lock().unwrap().push(format!("{who:<10} {}", what()));
        }
    }

    /// Everything put down so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.as_ref().map(|lines| lines.lock().unwrap().clone()).unwrap_or_default()
    }
}
