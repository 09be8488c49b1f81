//! Where a scene's servers are, as the product's processes are told: through the environment.

use std::fmt::Write;

/// Variable that holds the key itself.
const ENVELOPE_KEY: &str = "SIGNALBOX_ENVELOPE_KEY";

/// Addresses of one installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Kafka's bootstrap servers.
    pub brokers: String,
    /// Root of the registry's Confluent API.
    pub registry: String,
    /// Postgres, as a URL.
    pub postgres: String,
    /// Secret from which flow and attempt ids are derived.
    pub tenant_key: String,
    /// Key that wraps the keys of customers.
    pub envelope_key: String,
}

impl Settings {
    /// As environment variables of the `signalbox` command.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("SIGNALBOX__KAFKA__BROKERS", &self.brokers),
            ("SIGNALBOX__REGISTRY__URL", &self.registry),
            ("SIGNALBOX__POSTGRES__URL", &self.postgres),
            ("SIGNALBOX__TENANT_KEY", &self.tenant_key),
            (ENVELOPE_KEY, &self.envelope_key),
        ];
        let named = ("SIGNALBOX__PRIVACY__ENVELOPE_KEY".to_owned(), format!("env:{ENVELOPE_KEY}"));
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
        pairs.chain([named]).collect()
    }

    /// As lines that a shell can read with `.`.
    #[must_use]
    pub fn shell(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.environment() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "export {name}='{value}'");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn settings_can_be_sourced_by_a_shell() {
        let settings = Settings {
            brokers: "127.0.0.1:1".to_owned(),
            registry: "http://127.0.0.1:2/apis".to_owned(),
            postgres: "postgres://me@127.0.0.1:3/db".to_owned(),
            tenant_key: "k".to_owned(),
            envelope_key: "e".to_owned(),
        };
        let expected = "export SIGNALBOX__KAFKA__BROKERS='127.0.0.1:1'\n\
                        export SIGNALBOX__REGISTRY__URL='http://127.0.0.1:2/apis'\n\
                        export SIGNALBOX__POSTGRES__URL='postgres://me@127.0.0.1:3/db'\n\
                        export SIGNALBOX__TENANT_KEY='k'\n\
                        export SIGNALBOX_ENVELOPE_KEY='e'\n\
                        export SIGNALBOX__PRIVACY__ENVELOPE_KEY='env:SIGNALBOX_ENVELOPE_KEY'\n";
        assert_eq!(settings.shell(), expected);
    }
}
