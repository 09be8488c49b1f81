//! The vendors: one folder each, and one line each here. Nothing outside its folder names a vendor in code.

#[cfg(test)]
mod harness;
mod increase;
mod instant;
mod onfido;
mod seon;
mod yente;

use serde_json::Value;

use crate::model::{Vendor, VendorError};
use crate::without_values;

/// A vendor that can be made ready.
pub struct Listing {
    /// Name: that of its folder.
    pub name: &'static str,
    /// Makes it ready from its settings; unknown keys are refused.
    pub build: fn(settings: Value) -> Result<Vendor, VendorError>,
}

/// Every vendor.
pub const ALL: &[Listing] =
    &[increase::LISTING, instant::LISTING, onfido::LISTING, seon::LISTING, yente::LISTING];

/// Finds a vendor by its name.
pub fn find<'a>(listings: &'a [Listing], name: &str) -> Option<&'a Listing> {
    listings.iter().find(|listing| listing.name == name)
}

/// Reads a vendor's own settings.
fn settings<T: serde::de::DeserializeOwned>(
    vendor: &'static str,
    settings: Value,
) -> Result<T, VendorError> {
    serde_json::from_value(settings).map_err(|error| VendorError::Settings {
        vendor,
        reason: without_values(&error.to_string()),
    })
}
