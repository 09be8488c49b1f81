//! What is known of every case of the demo, from events and review tasks as a consumer applies them, and what is to
//! be done about them. It publishes nothing itself.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cast::{Moment, Persona};
use crate::consumer_rule::Verdict;
use crate::scene::{Decision, Seen, Word};

/// How long people take to decide once a task is open.
const THINKING: Duration = Duration::from_millis(300);
/// How long they take where the customer cancels at the same moment: the cancellation comes first.
const THINKING_AFTER_CANCEL: Duration = Duration::from_millis(1_500);

/// One case.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) persona: usize,
    /// Account that a payout goes to.
    pub(crate) account: Option<String>,
    pub(crate) published_at: Instant,
    /// Statuses of events, in order, the final one included.
    pub(crate) statuses: Vec<String>,
    /// Final events applied.
    pub(crate) finals: Vec<String>,
    pub(crate) ended_at: Option<Instant>,
    said: bool,
}

/// Something that people do, not before an instant.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) due: Instant,
    pub(crate) what: What,
}

/// What people do.
#[derive(Debug)]
pub(crate) enum What {
    /// The customer says something more.
    Say(String, Word),
    /// Somebody decides.
    Decide(Decision),
}

/// All cases.
#[derive(Debug)]
pub(crate) struct Book {
    cast: Vec<Persona>,
    pub(crate) entries: HashMap<String, Entry>,
    pub(crate) ended: usize,
    /// Answers to repeated commands.
    pub(crate) repeated: usize,
    /// Rejections by reason.
    pub(crate) rejected: BTreeMap<String, usize>,
    /// Tasks opened, by state.
    pub(crate) tasks: BTreeMap<String, usize>,
    /// Final events of cases that nobody asked for.
    pub(crate) strangers: usize,
}

impl Book {
    pub(crate) fn new(cast: Vec<Persona>) -> Self {
        Self {
            cast,
            entries: HashMap::new(),
            ended: 0,
            repeated: 0,
            rejected: BTreeMap::new(),
            tasks: BTreeMap::new(),
            strangers: 0,
        }
    }

    pub(crate) fn cast(&self) -> &[Persona] {
        &self.cast
    }

    /// Opens a page; what the customer does at once is returned.
    pub(crate) fn open(
        &mut self,
        id: &str,
        persona: usize,
        account: Option<String>,
        now: Instant,
    ) -> Option<Act> {
        let says = self.cast.get(persona).and_then(|persona| persona.says.as_ref());
        let says = says.filter(|(_, when)| *when == Moment::AtOnce).map(|(word, _)| *word);
        let entry = Entry {
            persona,
            account,
            published_at: now,
            statuses: Vec::new(),
            finals: Vec::new(),
            ended_at: None,
            said: says.is_some(),
        };
        self.entries.insert(id.to_owned(), entry);
        says.map(|word| Act { due: now, what: What::Say(id.to_owned(), word) })
    }

    /// Takes note of a record; what people do about it is returned.
    pub(crate) fn see(&mut self, seen: &Seen, now: Instant) -> Vec<Act> {
        if seen.verdict != Verdict::Apply {
            return Vec::new();
        }
        let Some((name, content)) = &seen.content else { return Vec::new() };
        match name.as_str() {
            "signalbox.review.ReviewTask" => self.task(content, now),
            "signalbox.RequestRepeated" => {
                self.repeated += 1;
                Vec::new()
            }
            "signalbox.RequestRejected" => {
                *self.rejected.entry(text(content, "reason").to_owned()).or_default() += 1;
                Vec::new()
            }
            // Every journey's own events say whether they are the last.
            _ if content.get("final").is_some() => {
                self.event(seen.record.key_text().unwrap_or_default(), content, now)
            }
            _ => Vec::new(),
        }
    }

    fn event(&mut self, id: &str, content: &Value, now: Instant) -> Vec<Act> {
        let status = text(content, "status").to_owned();
        let is_final = content.get("final").and_then(Value::as_bool).unwrap_or_default();
        let Some(entry) = self.entries.get_mut(id) else {
            self.strangers += 1;
            return Vec::new();
        };
        entry.statuses.push(status.clone());
        if is_final {
            entry.finals.push(status);
            self.ended += usize::from(entry.ended_at.is_none());
            entry.ended_at.get_or_insert(now);
            return Vec::new();
        }
        self.says(id, &Moment::Event(status), now).into_iter().collect()
    }

    fn task(&mut self, content: &Value, now: Instant) -> Vec<Act> {
        let (id, step) = (text(content, "aggregate_id"), text(content, "step"));
        if !matches!(text(content, "status"), "opened" | "escalated") {
            return Vec::new();
        }
        *self.tasks.entry(step.to_owned()).or_default() += 1;
        let mut acts: Vec<Act> =
            self.says(id, &Moment::Task(step.to_owned()), now).into_iter().collect();
        let Some(entry) = self.entries.get(id) else { return acts };
        let Some(persona) = self.cast.get(entry.persona) else { return acts };
        let thinking = if entry.said { THINKING_AFTER_CANCEL } else { THINKING };
        if let Some(ruling) = persona.decisions.get(step) {
            acts.extend((1..=ruling.people).map(|person| Act {
                due: now + thinking,
                what: What::Decide(Decision {
                    case: id.to_owned(),
                    step: step.to_owned(),
                    journey: text(content, "journey").to_owned(),
                    decision: ruling.decide.clone(),
                    actor: format!("analyst-{person}"),
                }),
            }));
        }
        acts
    }

    /// The customer's second word, once, where this is the moment for it.
    fn says(&mut self, id: &str, moment: &Moment, now: Instant) -> Option<Act> {
        let entry = self.entries.get_mut(id)?;
        let (word, when) = self.cast.get(entry.persona)?.says.as_ref()?;
        if entry.said || when != moment {
            return None;
        }
        entry.said = true;
        Some(Act { due: now, what: What::Say(id.to_owned(), *word) })
    }
}

fn text<'a>(content: &'a Value, field: &str) -> &'a str {
    content.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use serde_json::{Value, json};
    use signalbox_bus::{Headers, Inbound};

    use super::{Book, What};
    use crate::cast::cast;
    use crate::consumer_rule::Verdict;
    use crate::scene::{Seen, Word};

    fn seen(name: &str, id: &str, content: Value, verdict: Verdict) -> Seen {
        let record = Inbound {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: Some(id.as_bytes().to_vec()),
            payload: None,
            headers: Headers::new(),
        };
        Seen { record, content: Some((name.into(), content)), verdict }
    }

    fn event(id: &str, status: &str, is_final: bool, verdict: Verdict) -> Seen {
        let content = json!({"payout_id": id, "status": status, "final": is_final});
        seen("payments.payout.PayoutEvent", id, content, verdict)
    }

    fn task(id: &str, step: &str) -> Seen {
        let content =
            json!({"aggregate_id": id, "step": step, "journey": "payout", "status": "opened"});
        seen("signalbox.review.ReviewTask", id, content, Verdict::Apply)
    }

    fn book(persona: &str) -> Book {
        let cast = cast().unwrap();
        let index = cast.iter().position(|one| one.name == persona).unwrap();
        let mut book = Book::new(cast);
        book.open("p-1", index, Some("1".to_owned()), Instant::now());
        book
    }

    #[test]
    fn an_ending_counts_once_however_often_it_is_repeated() {
        let mut book = book("clear, ACH");
        for verdict in [Verdict::Apply, Verdict::Duplicate, Verdict::Duplicate] {
            book.see(&event("p-1", "completed", true, verdict), Instant::now());
        }
        assert_eq!((book.ended, book.entries.get("p-1").unwrap().finals.len()), (1, 1));
    }

    #[test]
    fn two_different_people_release_a_hold() {
        let mut book = book("hit, released by two");
        let acts = book.see(&task("p-1", "compliance_hold"), Instant::now());
        let actors: Vec<String> = acts
            .into_iter()
            .filter_map(|act| {
                if let What::Decide(decision) = act.what { Some(decision.actor) } else { None }
            })
            .collect();
        assert_eq!(actors, ["analyst-1", "analyst-2"]);
    }

    #[test]
    fn a_customer_cancels_once_and_before_people_decide() {
        let mut book = book("bank silent, ruled out");
        let acts = book.see(&task("p-1", "settle_doubt"), Instant::now());
        let [cancel, first, second] = acts.as_slice() else { unreachable!("{acts:?}") };
        assert!(
            matches!(cancel.what, What::Say(_, Word::Cancel))
                && cancel.due < first.due
                && first.due == second.due
        );
        let again = book.see(&task("p-1", "settle_doubt"), Instant::now());
        assert!(again.iter().all(|act| matches!(act.what, What::Decide(_))));
    }
}
