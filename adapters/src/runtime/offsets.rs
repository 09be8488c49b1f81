//! In-order offsets over out-of-order completion: what may be committed is everything below the oldest unfinished record.
//! It does not commit; it only says what may be.

use signalbox_schemas::TopicName;
use std::collections::{BTreeSet, HashMap};

/// Progress of every partition that is read.
#[derive(Debug, Default)]
pub(crate) struct InOrder {
    partitions: HashMap<(TopicName, i32), Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Begun and not finished.
    open: BTreeSet<i64>,
    /// One above the newest that was begun.
    next: i64,
    /// What was said to be committable last.
    told: i64,
}

impl InOrder {
    /// Begins a record. An offset below what was seen is a repeat after a rebalance: the partition is counted anew.
    pub(crate) fn begin(&mut self, topic: &TopicName, partition: i32, offset: i64) {
        let fresh = || Progress { open: BTreeSet::new(), next: offset, told: offset };
        let progress = self.partitions.entry((topic.clone(), partition)).or_insert_with(fresh);
        if offset < progress.next {
            progress.told = progress.told.min(offset);
        }
        progress.open.insert(offset);
        progress.next = progress.next.max(offset + 1);
    }

    /// Finishes a record; the next offset to read, where it has moved.
    pub(crate) fn done(&mut self, topic: &TopicName, partition: i32, offset: i64) -> Option<i64> {
        let progress = self.partitions.get_mut(&(topic.clone(), partition))?;
        progress.open.remove(&offset);
        let committable = progress.open.first().copied().unwrap_or(progress.next);
        if committable <= progress.told {
            return None;
        }
        progress.told = committable;
        Some(committable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_unfinished_record_below_it_is_committed() {
        let topic = TopicName::from("t");
        let mut order = InOrder::default();
        for offset in [5, 6, 9] {
            order.begin(&topic, 0, offset);
        }
        order.begin(&topic, 1, 40);
        assert_eq!(order.done(&topic, 0, 6), None, "5 is not finished");
        assert_eq!(order.done(&topic, 1, 40), Some(41), "partitions do not wait for each other");
        assert_eq!(order.done(&topic, 0, 5), Some(9), "offsets may be sparse");
        assert_eq!(order.done(&topic, 0, 9), Some(10));
    }

    #[test]
    fn a_repeat_after_a_rebalance_is_committed_again() {
        let topic = TopicName::from("t");
        let mut order = InOrder::default();
        order.begin(&topic, 0, 5);
        order.begin(&topic, 0, 6);
        assert_eq!(order.done(&topic, 0, 5), Some(6));
        order.begin(&topic, 0, 5);
        assert_eq!(order.done(&topic, 0, 6), None, "the repeat is not finished");
        assert_eq!(order.done(&topic, 0, 5), Some(7));
    }
}
