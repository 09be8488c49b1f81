//! What the contract says of itself that a person should know: records that are on their way out. Who still sends them
//! is on the topics, not here.

use signalbox_schemas::topics::{Day, Topics};

use super::finding::Finding;

const AREA: &str = "contract";

/// Judges by the day.
pub(super) fn judge(topics: &Topics, today: &Day) -> Vec<Finding> {
    let told = topics.deprecated().map(|(topic, record, notice)| {
        let found = format!("{record} on {topic} is {notice}");
        if notice.until < *today {
            let advice = format!(
                "that day has passed: `signalbox topics senders {topic} --deprecated` says who still sends it"
            );
            return Finding::warn(AREA, found, advice);
        }
        Finding::ok(AREA, found)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::finding::Level;
    use super::*;
    use signalbox_schemas::Contract;

    #[test]
    fn a_record_past_its_last_day_is_doubtful_and_who_sends_it_can_be_asked() {
        let topics = Contract::builtin().unwrap().topics();
        let (_, _, notice) = topics.deprecated().next().unwrap();
        let on = |day: &Day| judge(topics, day).into_iter().next().unwrap();
        assert_eq!(on(&notice.until).level, Level::Ok);
        let late = on(&Day::of("9999-12-31").unwrap());
        assert_eq!(late.level, Level::Warn);
        assert!(late.advice.unwrap().contains("topics senders"), "{}", late.found);
    }
}
