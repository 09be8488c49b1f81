//! Configuration: one TOML file, overridden by `SIGNALBOX__SECTION__KEY`, where `SIGNALBOX__SECTION__KEY_FILE` names a
//! file that holds the value. Unknown keys are errors. It does not say whether the servers it names are there.

use config::{Config as Layers, File, FileFormat};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use signalbox_adapters::without_values;
use signalbox_bus::{KafkaConfig, RegistryConfig};
use signalbox_schemas::TenantKey;
use signalbox_store::{AnchorKey, AnchorKeyError};
use signalbox_vault::{EnvelopeKeys, KeyProvider, KeySourceError};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that is read where none is named.
const DEFAULT_FILE: &str = "signalbox.toml";
/// Beginning of every environment variable that is configuration.
const PREFIX: &str = "SIGNALBOX__";
/// Ending of a variable that names a file with the value.
const FILE_SUFFIX: &str = "_FILE";
/// Fewest bytes of a tenant key.
const TENANT_KEY_BYTES_MIN: usize = 16;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// Everything that can be configured. A command needs only some sections and says which are missing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    kafka: Option<KafkaConfig>,
    registry: Option<RegistryConfig>,
    postgres: Option<PostgresConfig>,
    tenant_key: Option<SecretString>,
    #[serde(default)]
    pub(crate) engine: EngineConfig,
    #[serde(default)]
    pub(crate) adapter: AdapterConfig,
    #[serde(default)]
    pub(crate) journeys: JourneysConfig,
    #[serde(default)]
    pub(crate) traces: TracesConfig,
    #[serde(default)]
    pub(crate) audit: AuditConfig,
    #[serde(default)]
    privacy: PrivacyConfig,
}

/// Where spans go.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TracesConfig {
    /// Base URL of an OpenTelemetry collector that takes OTLP over HTTP; nothing is recorded without one.
    pub(crate) otlp: Option<String>,
}

/// Anchoring of lane heads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditConfig {
    /// Ed25519 key that signs anchors, from `signalbox audit keygen`; without one nothing is anchored.
    signing_key: Option<SecretString>,
    /// How often lane heads are anchored, in milliseconds.
    pub(crate) anchor_every_ms: u64,
}

/// Personal data at rest.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PrivacyConfig {
    /// Where the envelope key is, which wraps the keys of customers: `file:PATH` or `env:VARIABLE`.
    envelope_key: Option<String>,
    /// Where further envelope keys are, which unwrap what they have wrapped and wrap nothing new: the one before, or the
    /// next one while not every service knows it.
    #[serde(deserialize_with = "one_or_more")]
    other_envelope_keys: Vec<String>,
}

/// Connection to Postgres.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostgresConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    url: SecretString,
}

/// The engine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineConfig {
    /// Name under which it holds lanes, unique among running engines; by default the host's name and the process id.
    pub(crate) worker_id: Option<String>,
    /// Where health and metrics are served; port 0 takes any.
    pub(crate) admin_listen: SocketAddr,
    /// How long a lane stays with an engine that is not heard of, in milliseconds.
    pub(crate) lease_ms: u64,
    /// Most records of one transaction.
    pub(crate) tick_records_max: usize,
    /// Most records committed and not yet acknowledged by Kafka before a lane waits.
    pub(crate) unpublished_max: usize,
}

/// The adapters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AdapterConfig {
    /// Name of this adapter process in Kafka, unique among running ones; by default the host's name and the process id.
    pub(crate) id: Option<String>,
    /// Routing policy file.
    pub(crate) policy: PathBuf,
    /// Where health and metrics are served; port 0 takes any.
    pub(crate) admin_listen: SocketAddr,
    /// Where every vendor is reached as `BASE/<vendor>`: a sandbox. Vendors with a `base_url` of their own keep it.
    pub(crate) vendor_base: Option<String>,
    /// Each vendor's own settings.
    pub(crate) vendors: BTreeMap<String, Value>,
}

/// Where journeys come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JourneysConfig {
    /// Directory of `*.yaml` files.
    pub(crate) path: PathBuf,
    /// Values for journeys' parameters: journey, parameter, value.
    pub(crate) parameters: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            worker_id: None,
            admin_listen: (Ipv4Addr::LOCALHOST, 9464).into(),
            lease_ms: 5_000,
            tick_records_max: 2_000,
            unpublished_max: 20_000,
        }
    }
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self {
            id: None,
            policy: "deploy/policies/routing.yaml".into(),
            admin_listen: (Ipv4Addr::LOCALHOST, 9465).into(),
            vendor_base: None,
            vendors: BTreeMap::new(),
        }
    }
}

impl Default for JourneysConfig {
    fn default() -> Self {
        Self { path: "journeys".into(), parameters: BTreeMap::new() }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { signing_key: None, anchor_every_ms: 60_000 }
    }
}

/// The configuration is wrong. The operator corrects it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {source}; name a configuration file that exists with --config, or correct the variable", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A value has the wrong shape, or a key is not known.
    #[error("the configuration ({from}) is wrong: {reason}; see signalbox.example.toml")]
    Wrong {
        /// Where it came from.
        from: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing may be stored without a key to seal it.
    #[error(
        "privacy.envelope_key is not set, and personal data is stored sealed or not at all; make a key with `signalbox subject keygen FILE` and set privacy.envelope_key = \"file:FILE\""
    )]
    NoEnvelopeKey,
    /// A command needs what is not there.
    #[error("{key} is not set; set it in the configuration file or as {variable}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The environment variable that sets it too.
        variable: String,
    },
}

impl Config {
    /// Reads the named file, or `signalbox.toml` where there is one, and the environment over it.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = file.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
                String::new()
            }
            Err(source) => return Err(ConfigError::File { path, source }),
        };
        let from = format!("{} and {PREFIX}*", path.display());
        // Variables that are not UTF-8 cannot be configuration.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::assemble(&text, &overrides(variables)?, &from)
    }

    fn assemble(
        text: &str,
        overrides: &[(String, String)],
        from: &str,
    ) -> Result<Self, ConfigError> {
        let wrong = |error: config::ConfigError| ConfigError::Wrong {
            from: from.to_owned(),
            reason: without_values(&error.to_string()),
        };
        let mut layers = Layers::builder().add_source(File::from_str(text, FileFormat::Toml));
        for (key, value) in overrides {
            layers = layers.set_override(key, value.as_str()).map_err(wrong)?;
        }
        let config: Self = layers.build().and_then(Layers::try_deserialize).map_err(wrong)?;
        if let Some(key) = &config.tenant_key
            && key.expose_secret().len() < TENANT_KEY_BYTES_MIN
        {
            let reason = format!("tenant_key is shorter than {TENANT_KEY_BYTES_MIN} bytes");
            return Err(ConfigError::Wrong { from: from.to_owned(), reason });
        }
        Ok(config)
    }

    /// Kafka, where it is set.
    pub(crate) fn kafka(&self) -> Result<&KafkaConfig, ConfigError> {
        self.kafka.as_ref().ok_or_else(|| missing("kafka.brokers"))
    }

    /// The registry, where it is set.
    pub(crate) fn registry(&self) -> Result<&RegistryConfig, ConfigError> {
        self.registry.as_ref().ok_or_else(|| missing("registry.url"))
    }

    /// Address of the database, where it is set. Contains a password: never printed.
    pub(crate) fn postgres(&self) -> Result<&str, ConfigError> {
        self.postgres
            .as_ref()
            .map(|postgres| postgres.url.expose_secret())
            .ok_or_else(|| missing("postgres.url"))
    }

    /// Secret from which ids are derived, where it is set.
    pub(crate) fn tenant_key(&self) -> Result<TenantKey, ConfigError> {
        let key = self.tenant_key.as_ref().ok_or_else(|| missing("tenant_key"))?;
        Ok(TenantKey::new(key.expose_secret().as_bytes()))
    }

    /// Key that signs anchors, where one is set.
    pub(crate) fn anchor_key(&self) -> Result<Option<AnchorKey>, ConfigError> {
        let Some(key) = &self.audit.signing_key else { return Ok(None) };
        let wrong = |error: AnchorKeyError| ConfigError::Wrong {
            from: "audit.signing_key".to_owned(),
            reason: error.to_string(),
        };
        AnchorKey::parse(key.expose_secret()).map(Some).map_err(wrong)
    }

    /// The envelope key, where one is named.
    pub(crate) fn envelope_keys(&self) -> Result<Option<EnvelopeKeys>, ConfigError> {
        let Some(source) = &self.privacy.envelope_key else { return Ok(None) };
        let wrong = |error: KeySourceError| ConfigError::Wrong {
            from: "privacy.envelope_key".to_owned(),
            reason: error.to_string(),
        };
        let variable = |name: &str| std::env::var(name).ok();
        let others = &self.privacy.other_envelope_keys;
        EnvelopeKeys::open(source, others, variable).map(Some).map_err(wrong)
    }

    /// The envelope key, for services, which need one.
    pub(crate) fn key_provider(&self) -> Result<Arc<dyn KeyProvider>, ConfigError> {
        Ok(Arc::new(self.envelope_keys()?.ok_or(ConfigError::NoEnvelopeKey)?))
    }

    /// Everything as it is in effect, secrets masked, for the log at start.
    pub(crate) fn redacted(&self) -> Value {
        let kafka = self.kafka.as_ref().map(|kafka| {
            let shown = |(name, value): (&String, &String)| (name.clone(), Value::from(if is_secret(name) { MASK } else { value }));
            json!({"brokers": kafka.brokers, "properties": kafka.properties.iter().map(shown).collect::<serde_json::Map<_, _>>()})
        });
        let vendors: serde_json::Map<String, Value> =
            self.adapter.vendors.iter().map(|(name, own)| (name.clone(), masked(own))).collect();
        json!({
            "kafka": kafka,
            "registry": self.registry.as_ref().map(|registry| without_password(&registry.url)),
            "postgres": self.postgres.as_ref().map(|postgres| without_password(postgres.url.expose_secret())),
            "tenant_key": self.tenant_key.as_ref().map(|_| MASK),
            "engine": {
                "worker_id": self.engine.worker_id, "admin_listen": self.engine.admin_listen, "lease_ms": self.engine.lease_ms,
                "tick_records_max": self.engine.tick_records_max, "unpublished_max": self.engine.unpublished_max,
            },
            "adapter": {
                "id": self.adapter.id, "policy": self.adapter.policy, "admin_listen": self.adapter.admin_listen,
                "vendor_base": self.adapter.vendor_base, "vendors": vendors,
            },
            "audit": {
                "signing_key": self.audit.signing_key.as_ref().map(|_| MASK), "anchor_every_ms": self.audit.anchor_every_ms,
            },
            "privacy": {
                "envelope_key": self.privacy.envelope_key.as_deref().map(named),
                "other_envelope_keys":
                    self.privacy.other_envelope_keys.iter().map(|source| named(source)).collect::<Vec<_>>(),
            },
            "journeys": {"path": self.journeys.path, "parameters": self.journeys.parameters},
            "traces": {"otlp": self.traces.otlp.as_deref().map(without_password)},
        })
    }
}

/// A key that a command needs and nobody has set.
pub(crate) fn missing(key: &'static str) -> ConfigError {
    ConfigError::Missing {
        key,
        variable: format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__")),
    }
}

/// Paths and values out of the environment. A value from a file loses the newline that editors put at its end.
fn overrides(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut overrides = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let (key, value) = match key.strip_suffix(FILE_SUFFIX) {
            None => (key, value),
            Some(key) => {
                let path = PathBuf::from(value);
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| ConfigError::File { path, source })?;
                (key, text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        overrides.push((key.to_ascii_lowercase().replace("__", "."), value));
    }
    Ok(overrides)
}

/// Where a key is; what does not say where may be a key.
fn named(source: &str) -> &str {
    if source.starts_with("file:") || source.starts_with("env:") { source } else { MASK }
}

/// A list, or one of its kind: an environment variable cannot say a list.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(from)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// Whether a librdkafka property holds a secret.
fn is_secret(property: &str) -> bool {
    ["password", "secret", "key.pem", "jaas", "oauthbearer.config"]
        .iter()
        .any(|word| property.contains(word))
}

/// A vendor's settings with everything masked that is not known to be harmless.
fn masked(settings: &Value) -> Value {
    match settings {
        Value::Object(object) => {
            let shown = |(name, value): (&String, &Value)| {
                let harmless = name == "base_url" || value.is_number() || value.is_boolean();
                (name.clone(), if harmless { value.clone() } else { masked(value) })
            };
            Value::Object(object.iter().map(shown).collect())
        }
        _ => Value::from(MASK),
    }
}

/// A URL without the password of its user part and without its query, which may hold one too.
fn without_password(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(plain, _)| plain);
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{name}:{MASK}@{host}")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const FILE: &str = r#"
        tenant_key = "0123456789abcdef"
        [kafka]
        brokers = "kafka:9092"
        properties = { "security.protocol" = "SASL_SSL", "sasl.password" = "hush" }
        [postgres]
        url = "postgres://app:hush@db:5432/signalbox"
        [engine]
        lease_ms = 3000
        [adapter.vendors.bank]
        base_url = "https://bank.example"
        api_key = "hush"
        [audit]
        signing_key = "hush"
        [privacy]
        envelope_key = "hush"
        other_envelope_keys = ["file:/old.key"]
        [journeys.parameters.payout]
        review_sla = "4h"
    "#;

    /// The mistake is told with its place, and what stands beside it in the file is not: there are passwords among it.
    #[test]
    fn whatever_the_file_says_is_read_or_refused_and_no_secret_is_told() {
        bolero::check!()
            .with_type::<Vec<(u16, u8, Vec<u8>)>>()
            .with_test_time(std::time::Duration::from_secs(2))
            .for_each(|edits| {
                let mut bytes = FILE.replace("hush", "a-word-that-nobody-tells").into_bytes();
                for (place, cut, put) in edits {
                    let at = (usize::from(*place) * (bytes.len() + 1)) >> 16;
                    let end = (at + usize::from(*cut)).min(bytes.len());
                    bytes.splice(at..end, put.iter().copied());
                }
                let text = String::from_utf8_lossy(&bytes);
                if let Err(error) = Config::assemble(&text, &[], "signalbox.toml") {
                    let told = error.to_string();
                    assert!(told.contains("signalbox.toml"), "{told}");
                    assert!(!told.contains("nobody-tells"), "{told}");
                }
            });
    }

    fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        overrides(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
            .unwrap()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let over = environment(&[
            ("SIGNALBOX__KAFKA__BROKERS", "other:9092"),
            ("SIGNALBOX__ENGINE__LEASE_MS", "7000"),
            ("PATH", "/bin"),
        ]);
        let config = Config::assemble(FILE, &over, "test").unwrap();
        assert_eq!(config.kafka().unwrap().brokers, "other:9092");
        assert_eq!(
            config.kafka().unwrap().properties.get("security.protocol").unwrap(),
            "SASL_SSL"
        );
        assert_eq!(config.engine.lease_ms, 7_000);
        assert_eq!(
            config.journeys.parameters.get("payout").unwrap().get("review_sla").unwrap(),
            "4h"
        );
    }

    #[test]
    fn envelope_keys_are_a_list_in_the_file_and_one_in_the_environment() {
        let others = |over: &[(&str, &str)]| {
            let config = Config::assemble(FILE, &environment(over), "test").unwrap();
            config.privacy.other_envelope_keys
        };
        assert_eq!(others(&[]), ["file:/old.key"]);
        let one = ("SIGNALBOX__PRIVACY__OTHER_ENVELOPE_KEYS", "env:NEXT");
        assert_eq!(others(&[one]), ["env:NEXT"]);
    }

    #[test]
    fn a_secret_can_come_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tenant-key");
        std::fs::write(&path, "a secret of 24 characters\n").unwrap();
        let over = environment(&[("SIGNALBOX__TENANT_KEY_FILE", path.to_str().unwrap())]);
        let config = Config::assemble("", &over, "test").unwrap();
        assert_eq!(config.tenant_key.unwrap().expose_secret(), "a secret of 24 characters");
    }

    #[test]
    fn an_unknown_key_is_an_error_wherever_it_comes_from() {
        let variable = ("SIGNALBOX__ENGINE__LEASE", "1");
        let rows = [
            ("[kafka]\nbrokers = \"k\"\nbroker = \"k\"", None, "broker"),
            ("[engin]\nlease_ms = 1", None, "engin"),
            ("", Some(variable), "lease"),
            ("tenant_key = \"short\"", None, "16 bytes"),
        ];
        for (file, variable, word) in rows {
            let variables: Vec<(&str, &str)> = variable.into_iter().collect();
            let error =
                Config::assemble(file, &environment(&variables), "test").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_mistake_is_told_without_the_secret_in_its_place() {
        for (file, place) in [
            ("[postgres]\nurl = postgres://app:hush@db", "line 2"),
            ("postgres = \"postgres://app:hush@db\"", "postgres"),
            ("[engine]\nlease_ms = \"hush\"", "lease_ms"),
            ("[kafka]\nbrokers = \"k\"\nproperties = \"sasl.password=hush\"", "properties"),
        ] {
            let error = Config::assemble(file, &[], "test").unwrap_err().to_string();
            assert!(error.contains(place) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn what_a_command_lacks_is_named_with_the_variable_that_sets_it() {
        let error = Config::default().kafka().unwrap_err().to_string();
        assert!(
            error.contains("kafka.brokers") && error.contains("SIGNALBOX__KAFKA__BROKERS"),
            "{error}"
        );
    }

    #[test]
    fn without_an_envelope_key_a_service_is_told_how_to_make_one() {
        let error = Config::default().key_provider().err().unwrap().to_string();
        assert!(error.contains("signalbox subject keygen"), "{error}");
        let config = Config::assemble(FILE, &[], "test").unwrap();
        let error = config.key_provider().err().unwrap().to_string();
        assert!(error.contains("file:PATH") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn no_secret_is_printed() {
        let config = Config::assemble(FILE, &[], "test").unwrap();
        let printed = config.redacted().to_string();
        assert!(!printed.contains("hush") && !printed.contains("0123456789abcdef"), "{printed}");
        assert!(
            printed.contains("postgres://app:***@db:5432/signalbox")
                && printed.contains("https://bank.example"),
            "{printed}"
        );
        assert!(
            !format!("{config:?}").contains("hush@"),
            "the database's address stays hidden in Debug too"
        );
    }
}
