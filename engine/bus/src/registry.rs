//! The schema registry's Confluent API: look up by text, fetch by id, register, check, set compatibility.
//! Registration is the deploy command's; services only look up. Nothing is cached here.

use schema_registry_converter::async_impl::schema_registry as confluent;
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use serde_json::{Value, json};

use crate::config::RegistryConfig;

/// A registry.
#[derive(Debug, Clone)]
pub struct Registry {
    settings: confluent::SrSettings,
    http: reqwest::Client,
    url: String,
}

/// Trouble with the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It is away, overloaded or answers nonsense: wait and try again, dead-letter nothing.
    #[error("the schema registry does not answer as it should: {0}")]
    Unavailable(String),
    /// It answers that it has no such schema.
    #[error("the schema registry has no {0}; run `signalbox schemas register`")]
    Missing(String),
    /// It refuses the schema.
    #[error("the schema registry refuses {subject}: {reason}")]
    Refused {
        /// Subject.
        subject: String,
        /// Its words.
        reason: String,
    },
}

/// Whether a subject is as the contract wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectCheck {
    /// Registered under this id.
    Registered(u32),
    /// Not registered, and nothing stands against it.
    New,
    /// Not registered, and not compatible with what is.
    Incompatible,
}

impl Registry {
    /// Reaches the registry at a URL.
    pub fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let url = config.url.trim_end_matches('/').to_owned();
        let settings = confluent::SrSettings::new_builder(url.clone())
            .set_timeout(std::time::Duration::from_secs(5))
            .build()
            .map_err(|error| RegistryError::Unavailable(error.to_string()))?;
        Ok(Self { settings, http: reqwest::Client::new(), url })
    }

    /// The text of a schema by its id.
    pub async fn by_id(&self, id: u32) -> Result<String, RegistryError> {
        match confluent::get_schema_by_id_and_type(id, &self.settings, SchemaType::Avro).await {
            Ok(found) => Ok(found.schema),
            Err(error) => Err(missing_or_unavailable(&error, format!("schema id {id}"))),
        }
    }

    /// The id under which a subject holds exactly this schema, newest version first.
    pub async fn find(&self, subject: &str, text: &str) -> Result<Option<u32>, RegistryError> {
        let mut versions =
            match confluent::get_all_versions(&self.settings, subject.to_owned()).await {
                Ok(versions) => versions,
                Err(error) => {
                    return match missing_or_unavailable(&error, subject.to_owned()) {
                        RegistryError::Missing(_) => Ok(None),
                        other => Err(other),
                    };
                }
            };
        versions.sort_unstable();
        let wanted: Option<Value> = serde_json::from_str(text).ok();
        for version in versions.into_iter().rev() {
            let found = confluent::get_schema_by_subject_and_version(
                &self.settings,
                subject,
                Some(version),
            )
            .await
            .map_err(|error| {
                missing_or_unavailable(&error, format!("{subject} version {version}"))
            })?;
            if serde_json::from_str::<Value>(&found.schema).ok() == wanted {
                return Ok(Some(found.id));
            }
        }
        Ok(None)
    }

    /// Compares a subject with the contract without changing anything.
    pub async fn check(&self, subject: &str, text: &str) -> Result<SubjectCheck, RegistryError> {
        if let Some(id) = self.find(subject, text).await? {
            return Ok(SubjectCheck::Registered(id));
        }
        match confluent::is_compatible_schema(&self.settings, subject.to_owned(), avro(text)).await
        {
            Ok(true) => Ok(SubjectCheck::New),
            Ok(false) => Ok(SubjectCheck::Incompatible),
            Err(error) => match missing_or_unavailable(&error, subject.to_owned()) {
                RegistryError::Missing(_) => Ok(SubjectCheck::New),
                other => Err(other),
            },
        }
    }

    /// Registers a schema and sets the subject's compatibility level. Registering the same text again is no change.
    pub async fn register(
        &self,
        subject: &str,
        text: &str,
        compatibility: &str,
    ) -> Result<u32, RegistryError> {
        let registered = confluent::post_schema(&self.settings, subject.to_owned(), avro(text))
            .await
            .map_err(|error| refused_or_unavailable(&error, subject))?;
        let answer = self
            .http
            .put(format!("{}/config/{subject}", self.url))
            .json(&json!({"compatibility": compatibility}))
            .send()
            .await
            .map_err(|error| RegistryError::Unavailable(error.to_string()))?;
        if answer.status().is_success() {
            return Ok(registered.id);
        }
        Err(RegistryError::Refused {
            subject: subject.to_owned(),
            reason: format!("compatibility {compatibility}: {}", answer.status()),
        })
    }
}

fn avro(text: &str) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, text.to_owned())
}

/// The client reports HTTP statuses only in words, so the words are what there is to go by.
fn missing_or_unavailable(error: &SRCError, what: String) -> RegistryError {
    let words = error.to_string();
    let missing = ["404", "40401", "40402", "40403", "not found", "No artifact", "No content"];
    if missing.iter().any(|word| words.contains(word)) {
        RegistryError::Missing(what)
    } else {
        RegistryError::Unavailable(words)
    }
}

fn refused_or_unavailable(error: &SRCError, subject: &str) -> RegistryError {
    let words = error.to_string();
    let refusals = ["409", "422", "42201", "ncompatible"];
    if refusals.iter().any(|word| words.contains(word)) {
        return RegistryError::Refused { subject: subject.to_owned(), reason: words };
    }
    RegistryError::Unavailable(words)
}
