//! Versions of journeys that the database keeps, as a program reads them: with their parameters filled in, and not yet under
//! the bank's rules of today.

use signalbox_flow::Journey;
use signalbox_store::Reader;
use std::collections::BTreeMap;

use crate::commands::wiring;
use crate::error::CliError;

/// Every pinned version of every journey.
pub(super) async fn journeys(reader: &Reader) -> Result<Vec<Journey>, CliError> {
    let contract = wiring::contract()?;
    let parse = |(name, version, source): (String, u32, String)| {
        Journey::parse(&source, contract, &BTreeMap::new()).map_err(|error| {
            CliError::Input(format!("pinned journey {name} version {version}: {error}"))
        })
    };
    reader.journeys().await?.into_iter().map(parse).collect()
}
