//! Every version of every journey that a flow may follow. Which version starts new flows is decided here, once.

use signalbox_flow::Journey;
use signalbox_schemas::{JourneyName, RecordName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Journeys by name and version; clones share them.
#[derive(Default, Clone)]
pub struct JourneyLibrary {
    versions: BTreeMap<(JourneyName, u32), Arc<Journey>>,
    starting: BTreeMap<RecordName, Arc<Journey>>,
    reacting: BTreeMap<RecordName, Arc<Journey>>,
}

/// Journeys that cannot stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// One command would start two journeys.
    #[error(
        "record {record} would start both {first} and {second}; one command starts one journey"
    )]
    TwoStarts {
        /// The command's record.
        record: RecordName,
        /// One journey.
        first: JourneyName,
        /// Another.
        second: JourneyName,
    },
}

impl JourneyLibrary {
    /// Takes all versions; the newest of each name starts new flows.
    pub fn new(journeys: Vec<Journey>) -> Result<Self, LibraryError> {
        Self::of(journeys.into_iter().map(Arc::new))
    }

    /// The library with further versions.
    pub(crate) fn with(&self, more: Vec<Journey>) -> Result<Self, LibraryError> {
        let known = self.versions.values().map(Arc::clone);
        Self::of(known.chain(more.into_iter().map(Arc::new)))
    }

    fn of(journeys: impl Iterator<Item = Arc<Journey>>) -> Result<Self, LibraryError> {
        let mut library = Self::default();
        let mut newest: BTreeMap<JourneyName, Arc<Journey>> = BTreeMap::new();
        for journey in journeys {
            library
                .versions
                .insert((journey.name().clone(), journey.version()), Arc::clone(&journey));
            let best = newest.entry(journey.name().clone()).or_insert_with(|| Arc::clone(&journey));
            if best.version() < journey.version() {
                *best = journey;
            }
        }
        for journey in newest.into_values() {
            let record = journey.starts_with().clone();
            if let Some(other) = library.starting.get(&record) {
                let (first, second) = (other.name().clone(), journey.name().clone());
                return Err(LibraryError::TwoStarts { record, first, second });
            }
            for reacts_to in journey.reacts_to() {
                library.reacting.insert(reacts_to.clone(), Arc::clone(&journey));
            }
            library.starting.insert(record, journey);
        }
        // A command that only older versions take is for the flows that run under them.
        for journey in library.versions.values().rev() {
            for reacts_to in journey.reacts_to() {
                let known = library.reacting.entry(reacts_to.clone());
                known.or_insert_with(|| Arc::clone(journey));
            }
        }
        Ok(library)
    }

    pub(crate) fn version(&self, name: &JourneyName, version: u32) -> Option<&Arc<Journey>> {
        self.versions.get(&(name.clone(), version))
    }

    /// Every version that is known.
    pub(crate) fn known(&self) -> impl Iterator<Item = &(JourneyName, u32)> {
        self.versions.keys()
    }

    /// The newest version of a journey.
    pub(crate) fn newest(&self, name: &JourneyName) -> Option<&Arc<Journey>> {
        self.starting.values().find(|journey| journey.name() == name)
    }

    pub(crate) fn starting(&self, record: &RecordName) -> Option<&Arc<Journey>> {
        self.starting.get(record)
    }

    pub(crate) fn reacting(&self, record: &RecordName) -> Option<&Arc<Journey>> {
        self.reacting.get(record)
    }
}
