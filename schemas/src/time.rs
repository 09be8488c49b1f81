//! Instants as the contract writes them. It reads no clock: whoever decides is told what time it is.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::topics::Day;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Microseconds since 1970-01-01T00:00:00Z, as Avro's `timestamp-micros`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// The instant `wait` later; saturates at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC day that it falls on, counted from 1970-01-01.
    pub fn day(self) -> i64 {
        self.0.div_euclid(MICROS_PER_DAY)
    }

    /// RFC 3339 in UTC with microseconds, as CloudEvents' `time`. Instants outside of the years 1 to 9999 are clamped.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let instant = jiff::Timestamp::from_microsecond(self.0);
        instant
            .unwrap_or(if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
            .to_string()
    }
}

impl From<Micros> for Day {
    /// The UTC day of an instant; before all days where it is before the year 1.
    fn from(at: Micros) -> Self {
        Self::of(&at.to_rfc3339()).unwrap_or_default()
    }
}
