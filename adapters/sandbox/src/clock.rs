//! The sandbox's time: the machine's clock plus an offset that tests may raise instead of sleeping.
//! It never goes backwards by a request of a test and knows no time zones: everything is UTC.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Sandbox time in milliseconds since the Unix epoch.
pub(crate) type Millis = i64;

#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "simulated vendors live by a clock of their own, which begins with the machine's"
    )]
    pub(crate) fn now(&self) -> Millis {
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let machine_ms = i64::try_from(machine.as_millis()).unwrap_or(i64::MAX);
        machine_ms.saturating_add(self.offset_ms.load(Ordering::SeqCst))
    }

    /// Moves the clock ahead and returns the whole offset in milliseconds.
    pub(crate) fn advance(&self, by_ms: u32) -> i64 {
        let by_ms = i64::from(by_ms);
        self.offset_ms.fetch_add(by_ms, Ordering::SeqCst).saturating_add(by_ms)
    }

    pub(crate) fn set_offset(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::SeqCst);
    }
}

/// ISO 8601 in UTC with whole seconds, as the vendors write their timestamps.
pub(crate) fn iso(at: Millis) -> String {
    Timestamp::from_second(at.div_euclid(1_000)).unwrap_or_default().to_string()
}

/// The calendar date of an instant in UTC.
pub(crate) fn iso_date(at: Millis) -> String {
    iso(at).chars().take(10).collect()
}

/// Unique-looking yet repeatable 64 bits for a counter (the finalizer of SplitMix64).
pub(crate) fn scramble(seed: u64, counter: u64) -> u64 {
    let mut bits = seed.wrapping_add(counter.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Clock, iso, iso_date};

    #[test]
    fn the_clock_moves_ahead_by_what_it_is_told() {
        let clock = Clock::default();
        let before = clock.now();
        clock.advance(60_000);
        assert!(clock.now() - before >= 60_000);
    }

    #[test]
    fn instants_are_written_as_the_vendors_write_them() {
        assert_eq!(iso(1_772_446_540_999), "2026-03-02T10:15:40Z");
        assert_eq!(iso_date(1_772_446_540_999), "2026-03-02");
    }
}
