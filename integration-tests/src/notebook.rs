//! Keeps every record that engines publish, by the business id that it is about, repeats left out. Where many thousands of
//! flows run, a witness is told less and remembers less.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use signalbox::consumer_rule::Verdict;
use signalbox::scene::{Settings, Watcher};
use signalbox_bus::{Codec, Inbound};
use signalbox_schemas::{LaneId, RecordName, headers};
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::witness::watched;

/// How long one look at the topics waits.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Pages {
    /// By business id.
    records: HashMap<String, Vec<(RecordName, Value)>>,
    /// For each lane, the sequence below which everything was read, and what was read beyond it.
    lanes: HashMap<i64, (i64, BTreeSet<i64>)>,
}

impl Pages {
    fn note(&mut self, record: &Inbound, content: Option<(RecordName, Value)>) {
        let key = record.key_text().unwrap_or_default().to_owned();
        self.records.entry(key).or_default().extend(content);
        let place = record.number(headers::LANE).zip(record.number(headers::LANE_SEQ));
        let Some((lane, seq)) = place else { return };
        let (read, beyond) = self.lanes.entry(lane).or_default();
        beyond.insert(seq);
        while beyond.remove(&(*read + 1)) {
            *read += 1;
        }
    }
}

/// A reader that never forgets a record.
#[derive(Debug)]
pub struct Notebook {
    pages: Arc<Mutex<Pages>>,
    reading: JoinHandle<()>,
}

impl Notebook {
    /// Starts to read from the first record on.
    ///
    /// # Errors
    /// `Scene` where the cluster cannot be reached.
    pub fn start(settings: &Settings, codec: Arc<Codec>) -> Result<Self, Failure> {
        let topics = watched()?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let watcher = Watcher::start(settings, codec, "signalbox-notebook", &names)?;
        let pages = Arc::new(Mutex::new(Pages::default()));
        let reading = tokio::spawn(read(watcher, Arc::clone(&pages)));
        Ok(Self { pages, reading })
    }

    /// What was published about a business id so far; the order within a topic is the topic's.
    #[must_use]
    pub fn about(&self, aggregate: &str) -> Vec<(RecordName, Value)> {
        lock(&self.pages).records.get(aggregate).cloned().unwrap_or_default()
    }

    /// The sequence of a lane up to which every record was read, on whatever topic.
    #[must_use]
    pub fn read_up_to(&self, lane: LaneId) -> i64 {
        lock(&self.pages).lanes.get(&i64::from(lane.0)).map_or(0, |(read, _)| *read)
    }
}

impl Drop for Notebook {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn lock(pages: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends where reading fails: what is waited for is then told as missing.
async fn read(mut watcher: Watcher, pages: Arc<Mutex<Pages>>) {
    while let Ok(records) = watcher.next(LOOK).await {
        let mut pages = lock(&pages);
        for seen in records.into_iter().filter(|seen| seen.verdict == Verdict::Apply) {
            pages.note(&seen.record, seen.content);
        }
    }
}
