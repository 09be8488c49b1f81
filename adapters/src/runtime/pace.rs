//! When records leave for Kafka: at once while there are few, in groups while there are many. What a record costs Kafka and
//! its clients is mostly the request that it comes with, and a group shares one for each partition.
//! It orders nothing and holds nothing back for longer than `LONGEST`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long the next group gathers for each record of the one before it. Where fewer come than one in this time, each
/// leaves at once.
const FOR_EACH: Duration = Duration::from_millis(1);
/// Longest time for which a group gathers.
const LONGEST: Duration = Duration::from_millis(50);

/// The departures of one process.
pub(crate) struct Pace(Mutex<Departure>);

/// The newest group.
#[derive(Debug, Clone, Copy)]
struct Departure {
    leaves_at: Instant,
    records: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Departure { leaves_at: Instant::now(), records: 0 }))
    }

    /// Waits until so many records may leave.
    pub(crate) async fn depart(&self, records: usize) {
        let now = Instant::now();
        let leaves_at = {
            let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *newest = newest.join(now, u32::try_from(records).unwrap_or(u32::MAX));
            newest.leaves_at
        };
        if leaves_at > now {
            tokio::time::sleep_until(leaves_at).await;
        }
    }
}

impl Departure {
    /// The group with which records leave that are there now.
    fn join(self, now: Instant, records: u32) -> Self {
        if now < self.leaves_at {
            return Self { records: self.records.saturating_add(records), ..self };
        }
        let gathers = FOR_EACH.saturating_mul(self.records).min(LONGEST);
        Self { leaves_at: now.max(self.leaves_at + gathers), records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each of `count` records waits, and how many groups they make, where one comes `every` so often.
    fn run(every: Duration, count: u32) -> (Vec<Duration>, usize) {
        let begun = Instant::now();
        let mut newest = Departure { leaves_at: begun, records: 0 };
        let mut departures = Vec::new();
        let mut waits = Vec::new();
        for number in 0..count {
            let now = begun + every * number;
            newest = newest.join(now, 1);
            waits.push(newest.leaves_at - now);
            departures.push(newest.leaves_at);
        }
        departures.dedup();
        (waits, departures.len())
    }

    #[tokio::test]
    async fn what_comes_after_many_waits_for_its_group() {
        let (pace, begun) = (Pace::new(), Instant::now());
        pace.depart(30).await;
        pace.depart(1).await;
        assert!(begun.elapsed() >= FOR_EACH * 30, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_record_that_comes_alone_leaves_at_once() {
        let (waits, groups) = run(Duration::from_millis(2), 100);
        assert!(waits.iter().all(Duration::is_zero), "{waits:?}");
        assert_eq!(groups, 100);
    }

    #[test]
    fn of_a_flood_the_first_leaves_at_once_and_the_others_in_groups_of_the_longest_time() {
        let (waits, groups) = run(Duration::from_micros(100), 10_000);
        assert_eq!(waits.first(), Some(&Duration::ZERO));
        assert!(waits.iter().all(|wait| *wait <= LONGEST), "{:?}", waits.iter().max());
        // A second of it: twenty groups, and the few that grew up to them.
        assert!((20..=26).contains(&groups), "{groups} groups");
    }

    #[test]
    fn after_a_flood_a_record_leaves_at_once_again() {
        let begun = Instant::now();
        let flood = Departure { leaves_at: begun, records: 5_000 };
        let after = flood.join(begun + LONGEST, 1);
        assert_eq!(after.leaves_at, begun + LONGEST);
        assert_eq!(after.join(after.leaves_at + FOR_EACH, 1).leaves_at, after.leaves_at + FOR_EACH);
    }
}
