//! The contract in the words of other tools: Strimzi, AsyncAPI, KEDA, Kafka's ACLs, and a page for people.
//! Texts only: nothing here talks to a cluster, and nothing that is exported is read back.

mod acls;
mod asyncapi;
mod catalog;
mod keda;
mod strimzi;

pub use acls::{AclOptions, acls};
pub use asyncapi::{AsyncApiOptions, asyncapi};
pub use catalog::catalog;
pub use keda::{KedaOptions, keda};
pub use strimzi::{StrimziOptions, strimzi};

use serde_json::Value;

/// A text cannot be written: a bug, because everything that is exported has been checked.
#[derive(Debug, thiserror::Error)]
#[error("the export cannot be written: {0}")]
pub struct ExportError(String);

/// Several documents as one YAML stream.
fn yaml(documents: &[Value]) -> Result<String, ExportError> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        let written =
            serde_saphyr::to_string(document).map_err(|error| ExportError(error.to_string()))?;
        text.push_str(written.trim_end());
        text.push('\n');
    }
    Ok(text)
}

/// A configuration value as the number that it is, where it is one.
fn plain(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
}
