//! Reads every topic that the engine publishes, from the first record on, as a consumer that applies the rule would,
//! and keeps what it saw for the tests to ask. It reads in the background and publishes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use signalbox::consumer_rule::{Sighting, Verdict, sighting};
use signalbox::scene::{SceneError, Seen, Settings, Tally, Watcher};
use signalbox_bus::{Codec, Inbound};
use signalbox_schemas::{Contract, TopicName, topics};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failure::Failure;

/// How long one look at the topics waits.
const LOOK: Duration = Duration::from_millis(50);

/// A final event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Status.
    pub status: String,
    /// Reason, where it has one.
    pub reason: Option<String>,
    /// When it was read.
    pub at: Instant,
}

/// A change of a review task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// State of the journey.
    pub step: String,
    /// `opened`, `confirmed`, `escalated` or `closed`.
    pub status: String,
}

/// What was published about one case, repeats left out.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// Statuses of all events in order.
    pub statuses: Vec<String>,
    /// Final events; exactly one in the end.
    pub endings: Vec<Ending>,
    /// Answers to repeated commands.
    pub repeated: usize,
    /// Reasons of rejections.
    pub rejected: Vec<String>,
    /// Changes of review tasks in order.
    pub tasks: Vec<Task>,
}

impl Course {
    /// Whether a task of this state is in this status.
    #[must_use]
    pub fn has_task(&self, step: &str, status: &str) -> bool {
        self.tasks.iter().any(|task| task.step == step && task.status == status)
    }
}

/// A record on a dead-letter topic.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// As it lies there.
    pub record: Inbound,
}

impl DeadLetter {
    /// A header as text; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.record.headers.text(name).unwrap_or_default()
    }
}

/// Everything seen so far.
#[derive(Debug, Default)]
pub struct Sightings {
    /// By business id.
    pub courses: HashMap<String, Course>,
    /// Dead letters in order, repeats left out.
    pub dead_letters: Vec<DeadLetter>,
    /// Counts of the consumers' rule per topic.
    pub tally: BTreeMap<TopicName, Tally>,
    /// Every record that a lane published, in the order in which it was read.
    pub published: Vec<Sighting>,
    /// Records that break the rule.
    pub breaks: Vec<String>,
    /// Why reading ended.
    failed: Option<String>,
}

impl Sightings {
    /// What is known of a payout.
    #[must_use]
    pub fn course(&self, payout: &str) -> Course {
        self.courses.get(payout).cloned().unwrap_or_default()
    }

    /// How many of these payouts have ended.
    pub fn ended<'a>(&self, payouts: impl IntoIterator<Item = &'a str>) -> usize {
        let has_ended = |payout: &&str| {
            self.courses.get(*payout).is_some_and(|course| !course.endings.is_empty())
        };
        payouts.into_iter().filter(has_ended).count()
    }

    /// Recognised repeats over all topics.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.tally.values().map(|tally| tally.duplicates).sum()
    }

    fn take(&mut self, seen: &Seen) {
        let record = &seen.record;
        self.published.extend(sighting(record));
        match seen.verdict {
            Verdict::Apply => {}
            Verdict::Duplicate => return,
            Verdict::Gap { .. } | Verdict::Altered => {
                let place = format!("{}-{}@{}", record.topic, record.partition, record.offset);
                self.breaks.push(format!("{place}: {:?}", seen.verdict));
                return;
            }
        }
        if record.topic.as_str().ends_with(topics::DLQ_SUFFIX) {
            self.dead_letters.push(DeadLetter { record: record.clone() });
        } else if let Some((name, content)) = &seen.content {
            self.note(name.as_str(), record.key_text().unwrap_or_default(), content);
        }
    }

    fn note(&mut self, name: &str, id: &str, content: &Value) {
        let text =
            |field: &str| content.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        // Every journey's own events say whether they are the last; requests to adapters are read for the rule alone.
        let is_event = content.get("final").is_some();
        let is_told = matches!(
            name,
            "signalbox.RequestRepeated"
                | "signalbox.RequestRejected"
                | "signalbox.review.ReviewTask"
        );
        if !is_event && !is_told {
            return;
        }
        let course = self.courses.entry(id.to_owned()).or_default();
        match name {
            _ if is_event => {
                let reason = content.get("reason").and_then(Value::as_str).map(str::to_owned);
                let is_final = content.get("final").and_then(Value::as_bool).unwrap_or_default();
                let status = text("status");
                course.statuses.push(status.clone());
                if is_final {
                    course.endings.push(Ending { status, reason, at: Instant::now() });
                }
            }
            "signalbox.RequestRepeated" => course.repeated += 1,
            "signalbox.RequestRejected" => course.rejected.push(text("reason")),
            "signalbox.review.ReviewTask" => {
                let task = Task { step: text("step"), status: text("status") };
                course.tasks.push(task);
            }
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    sightings: Mutex<Sightings>,
    changed: Notify,
}

impl Shared {
    fn sightings(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consumer that never forgets.
#[derive(Debug)]
pub struct Witness {
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
}

impl Witness {
    /// Starts to read.
    ///
    /// # Errors
    /// `Scene` where the cluster cannot be reached.
    pub fn start(settings: &Settings, codec: Arc<Codec>) -> Result<Self, Failure> {
        let topics = watched()?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let watcher = Watcher::start(settings, codec, "signalbox-witness", &names)?;
        let shared = Arc::new(Shared::default());
        let reading = tokio::spawn(read(watcher, Arc::clone(&shared)));
        Ok(Self { shared, reading })
    }

    /// Asks about what was seen so far.
    pub fn ask<T>(&self, question: impl FnOnce(&Sightings) -> T) -> T {
        question(&self.shared.sightings())
    }

    /// What is known of a payout so far.
    #[must_use]
    pub fn course(&self, payout: &str) -> Course {
        self.ask(|seen| seen.course(payout))
    }

    /// Waits until `answer` finds what it looks for.
    ///
    /// # Errors
    /// `Late` where it does not within `patience`, `Broken` where reading has failed.
    pub async fn until<T>(
        &self,
        patience: Duration,
        what: &str,
        mut answer: impl FnMut(&Sightings) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let changed = self.shared.changed.notified();
            {
                let seen = self.shared.sightings();
                if let Some(found) = answer(&seen) {
                    return Ok(found);
                }
                if let Some(why) = &seen.failed {
                    return Err(Failure::Broken(format!(
                        "the witness cannot read any more: {why}"
                    )));
                }
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let seen = self.ask(|seen| {
                    format!(
                        "{} payouts, {} dead letters",
                        seen.courses.len(),
                        seen.dead_letters.len()
                    )
                });
                return Err(Failure::Late {
                    what: what.to_owned(),
                    seconds: patience.as_secs(),
                    seen,
                });
            }
        }
    }

    /// Waits until something was published about one payout that satisfies `wanted`.
    ///
    /// # Errors
    /// As `until`, with what is known of the payout.
    pub async fn until_course(
        &self,
        patience: Duration,
        payout: &str,
        what: &str,
        wanted: impl Fn(&Course) -> bool,
    ) -> Result<Course, Failure> {
        let told = format!("{what} of {payout}");
        let found = self.until(patience, &told, |seen| {
            seen.courses.get(payout).filter(|course| wanted(course)).cloned()
        });
        found.await.map_err(|failure| match failure {
            Failure::Late { what, seconds, .. } => {
                Failure::Late { what, seconds, seen: format!("{:?}", self.course(payout)) }
            }
            other => other,
        })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut watcher: Watcher, shared: Arc<Shared>) {
    loop {
        match watcher.next(LOOK).await {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                let mut sightings = shared.sightings();
                for seen in &records {
                    sightings.take(seen);
                }
                sightings.tally.clone_from(watcher.tally());
                drop(sightings);
                shared.changed.notify_waiters();
            }
            Err(error) => {
                shared.sightings().failed = Some(error.to_string());
                shared.changed.notify_waiters();
                return;
            }
        }
    }
}

/// Every topic that the engine publishes, and every dead-letter topic.
pub(crate) fn watched() -> Result<Vec<String>, SceneError> {
    let contract =
        Contract::builtin().map_err(|error| SceneError::Data(format!("the contract: {error}")))?;
    let all = &contract.topics().topics;
    let published =
        all.iter().filter(|(_, topic)| topic.producers.iter().any(|producer| producer == "engine"));
    let dead = all.iter().filter(|(_, topic)| topic.dlq).map(|(name, _)| topics::dlq_of(name));
    Ok(published.map(|(name, _)| name.clone()).chain(dead).collect())
}
