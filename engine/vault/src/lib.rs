//! Personal data at rest. Each subject has a data key of its own, under which everything stored about them is sealed;
//! the keys are stored wrapped by an envelope key, and destroying one makes what it sealed unreadable for good.
//! It knows neither tables nor topics nor what it seals, holds no connection and logs nothing.

mod envelope;
mod rewrap;
mod sealed;
mod vault;

pub use envelope::{
    EnvelopeKeys, KeyProvider, KeySourceError, PlainKey, ProviderError, Waiting, envelope_of,
};
pub use rewrap::rewrap;
pub use sealed::{DataKey, OpenError, Place, key_of};
pub use vault::{Candidate, KeyRing, Vault};
