//! Faults at run time: what chance decides for a request, and how often a request was seen. It answers nothing; the
//! listener in `server` and `travel` do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::options::Latency;
use crate::personas::Vendor;

/// Request keys whose repeats are counted; beyond it the counts start again.
const REPEATS_MAX: usize = 1_000_000;

/// What `POST /_sandbox/faults` sets; what is left out goes back to nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    pub(crate) latency_min_ms: u32,
    pub(crate) latency_max_ms: u32,
    /// Probability of 503 before any effect, 0 to 1.
    pub(crate) unavailable: f64,
    /// Probability that the answer is lost after the effect, 0 to 1.
    pub(crate) answer_lost: f64,
    /// Probability that a request hangs without effect, 0 to 1.
    pub(crate) hang: f64,
    /// How long such a request hangs, in milliseconds.
    pub(crate) hang_for_ms: u32,
    /// Start value of the choices that follow; left out, the sequence goes on.
    pub(crate) seed: Option<u64>,
    /// Vendors that the faults apply to; left out or empty: all.
    pub(crate) vendors: Vec<Vendor>,
}

impl Faults {
    pub(crate) fn of(latency: Latency) -> Self {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self { latency_min_ms: ms(latency.min), latency_max_ms: ms(latency.max), ..Self::default() }
    }

    /// The name of the first field that is out of its range.
    pub(crate) fn invalid(&self) -> Option<&'static str> {
        [("unavailable", self.unavailable), ("answer_lost", self.answer_lost), ("hang", self.hang)]
            .into_iter()
            .find(|(_, probability)| !(0.0..=1.0).contains(probability))
            .map(|(field, _)| field)
    }
}

/// What chance decided for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Draw {
    pub(crate) latency: Duration,
    pub(crate) unavailable: bool,
    pub(crate) answer_lost: bool,
    pub(crate) hang: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Chance {
    inner: Mutex<(Faults, fastrand::Rng)>,
}

impl Chance {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self { inner: Mutex::new((faults, fastrand::Rng::with_seed(seed))) }
    }

    pub(crate) fn set(&self, faults: Faults) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seed) = faults.seed {
            inner.1 = fastrand::Rng::with_seed(seed);
        }
        inner.0 = faults;
    }

    pub(crate) fn draw(&self, vendor: Vendor) -> Draw {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (faults, rng) = &mut *inner;
        if !faults.vendors.is_empty() && !faults.vendors.contains(&vendor) {
            return Draw::default();
        }
        let most = faults.latency_max_ms.max(faults.latency_min_ms);
        let latency_ms = rng.u32(faults.latency_min_ms..=most);
        let hang_for = Duration::from_millis(u64::from(faults.hang_for_ms));
        Draw {
            latency: Duration::from_millis(u64::from(latency_ms)),
            unavailable: rng.f64() < faults.unavailable,
            answer_lost: rng.f64() < faults.answer_lost,
            hang: (rng.f64() < faults.hang).then_some(hang_for),
        }
    }
}

/// How often each request key was seen, for personas that behave differently the next time.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    seen: Mutex<HashMap<(Vendor, String), u32>>,
}

impl Repeats {
    /// Counts from 0.
    pub(crate) fn count(&self, vendor: Vendor, key: &str) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REPEATS_MAX {
            seen.clear();
        }
        let next = seen.entry((vendor, key.to_owned())).or_default();
        let count = *next;
        *next = next.wrapping_add(1);
        count
    }

    pub(crate) fn reset(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, Draw, Faults};
    use crate::personas::Vendor;

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let faults = Faults { latency_max_ms: 900, unavailable: 0.5, ..Faults::default() };
        let (one, other) = (Chance::new(faults.clone(), 7), Chance::new(faults, 7));
        for _ in 0..50 {
            assert_eq!(one.draw(Vendor::Seon), other.draw(Vendor::Seon));
        }
    }

    #[test]
    fn faults_for_one_vendor_leave_the_others_alone() {
        let faults =
            Faults { unavailable: 1.0, vendors: vec![Vendor::Onfido], ..Faults::default() };
        let chance = Chance::new(faults, 7);
        assert!(chance.draw(Vendor::Onfido).unavailable);
        assert_eq!(chance.draw(Vendor::Increase), Draw::default());
    }

    #[test]
    fn a_probability_above_one_is_named() {
        let faults = Faults { hang: 1.5, ..Faults::default() };
        assert_eq!(faults.invalid(), Some("hang"));
    }
}
