//! Opens what is stored sealed, for commands that show it. Without the envelope key it still tells what was erased; it
//! never shows anything itself.

use signalbox_schemas::{KeyId, Micros};
use signalbox_store::Reader;
use signalbox_vault::{OpenError, Place, Vault, key_of};
use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::error::CliError;

/// Keys kept at hand by one command.
const KEYS_MAX: usize = 10_000;

/// What became of sealed bytes.
pub(crate) enum Opened {
    /// As they were before they were sealed.
    Plain(Vec<u8>),
    /// Nobody can read them any more, since then.
    Erased(Micros),
    /// They could be read with the envelope key, which this command was not given.
    Sealed,
}

/// Opens sealed bytes with the keys of the database.
pub(crate) struct Opener<'a> {
    reader: &'a Reader,
    vault: Option<Vault>,
    erased: HashMap<KeyId, Option<Micros>>,
}

impl<'a> Opener<'a> {
    /// An opener with the configured envelope key, if there is one.
    pub(crate) fn new(config: &Config, reader: &'a Reader) -> Result<Self, CliError> {
        let keys = config.envelope_keys()?;
        let vault = keys.map(|keys| Vault::new(Arc::new(keys), KEYS_MAX));
        Ok(Self { reader, vault, erased: HashMap::new() })
    }

    /// Opens bytes of a place.
    pub(crate) async fn open(&mut self, place: Place, sealed: &[u8]) -> Result<Opened, CliError> {
        let id = key_of(sealed)?;
        if !self.erased.contains_key(&id) {
            let row = self.reader.keys(&[id]).await?.pop().ok_or(OpenError::NoKey(id))?;
            self.erased.insert(id, row.erased_at);
            if let Some(vault) = &mut self.vault {
                vault.learn(vec![(row.id, row.wrapped)]).await?;
            }
        }
        if let Some(Some(at)) = self.erased.get(&id) {
            return Ok(Opened::Erased(*at));
        }
        match &mut self.vault {
            Some(vault) => Ok(Opened::Plain(vault.open(place, sealed)?)),
            None => Ok(Opened::Sealed),
        }
    }
}
