//! One thing that was looked at: how it is, and what to do. It holds no secret: findings are pasted into tickets.

use serde::Serialize;
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Works, and a person should look.
    Warn,
    /// Keeps something from working.
    Fail,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// Where: `config`, `postgres`, `keys`, `kafka`, `registry`, `vendors`, `contract`.
    pub(super) area: &'static str,
    /// How it is.
    pub(super) found: String,
    /// What to do; none where it is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(area: &'static str, found: String) -> Self {
        Self { level: Level::Ok, area, found, advice: None }
    }

    pub(super) fn warn(area: &'static str, found: String, advice: String) -> Self {
        Self { level: Level::Warn, area, found, advice: Some(advice) }
    }

    pub(super) fn fail(area: &'static str, found: String, advice: String) -> Self {
        Self { level: Level::Fail, area, found, advice: Some(advice) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Ok => "ok",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        write!(f, "{word:<5} {:<9} {}", self.area, self.found)?;
        match &self.advice {
            Some(advice) => write!(f, "\n                -> {advice}"),
            None => Ok(()),
        }
    }
}
