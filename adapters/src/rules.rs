//! The rules of a call, as pure functions: what a permit's answer allows, whether a refusal may be believed, whether to
//! send again, what an inquiry may conclude. The runtime only obeys; the rules are those of the lane protocol, section 6.

use signalbox_schemas::{ErrorClass, Micros, RecogniseRequest};
use signalbox_store::{AttemptRow, Disposition, Permit, RecognitionRow};
use std::time::Duration;

use crate::model::{Answer, Ask, Evidence, HttpRequest, Idempotency, Outcome};

/// What to do with a write, given the answer to its permit request.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// The permit is ours: send what was stored, once.
    Send,
    /// It may have been sent: send the stored bytes again under the same key, after raising `sends` from this value.
    Resend {
        /// The stored request.
        request: HttpRequest,
        /// `sends` as stored.
        sends: u32,
        /// Age of the first send.
        age: Duration,
    },
    /// It may have been sent and must not be sent again: ask the vendor by our reference.
    Inquire {
        /// The stored request, where there is one that can be read.
        request: Option<HttpRequest>,
        /// `sends` as stored.
        sends: u32,
    },
    /// The result is known: publish it again.
    Publish(Answer),
    /// Somebody else is at the row right now: ask again soon.
    AskAgain,
    /// The lane gave it up: nothing is sent and nothing is answered.
    Drop,
    /// No such attempt: nothing is sent, and a human must act.
    Page,
    /// The gate is closed: answer that.
    Closed,
}

impl Move {
    /// The move as its metric names it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Send => "granted",
            Self::Resend { .. } => "resend",
            Self::Inquire { .. } => "inquire",
            Self::Publish(_) => "answered",
            Self::AskAgain => "busy",
            Self::Drop => "abandoned",
            Self::Page => "missing",
            Self::Closed => "gate_closed",
        }
    }
}

/// Redelivery: result stored, publish again; sending and key usable, same bytes; sending otherwise, inquire.
pub fn on_permit(permit: &Permit, terms: Idempotency, now: Micros) -> Move {
    match permit {
        Permit::Granted { .. } => Move::Send,
        Permit::Answered(row) => match stored_answer(row) {
            Some(answer) => Move::Publish(answer),
            None => Move::Inquire { request: stored_request(row), sends: row.sends },
        },
        Permit::Sending(row) if row.disposition != Disposition::Sending => Move::AskAgain,
        Permit::Sending(row) => {
            let usable = key_usable(row, terms, now);
            match (usable, stored_request(row)) {
                (Some(age), Some(request)) => Move::Resend { request, sends: row.sends, age },
                (_, request) => Move::Inquire { request, sends: row.sends },
            }
        }
        Permit::Abandoned => Move::Drop,
        Permit::Missing => Move::Page,
        Permit::GateClosed => Move::Closed,
    }
}

/// The age of the first send, where the key may still be used.
pub fn key_usable(row: &AttemptRow, terms: Idempotency, now: Micros) -> Option<Duration> {
    let age = now.since(row.first_sent_at?);
    (terms.honours_keys && age < terms.resend_within()).then_some(age)
}

/// The request as it was stored.
pub(crate) fn stored_request(row: &AttemptRow) -> Option<HttpRequest> {
    row.request.as_deref().and_then(HttpRequest::restore)
}

/// The result as it was stored.
pub(crate) fn stored_answer(row: &AttemptRow) -> Option<Answer> {
    serde_json::from_value(row.result.clone()?).ok()
}

/// Whether a negative answer proves that nothing was and will be executed, after this many sends.
fn holds(evidence: Evidence, sends: u32, terms: Idempotency) -> bool {
    match evidence {
        _ if sends == 0 => true,
        Evidence::Recorded => true,
        Evidence::Refused => terms.replays_refusals || sends == 1,
        Evidence::NotSent => sends == 1,
        Evidence::NotFound | Evidence::None => false,
    }
}

/// The sends on which an answer rests, where it proves something about no more than them: it is not believed any more once
/// somebody else has sent again. None where it stands by itself.
pub fn rests_on(words: Words, answer: &Answer, sends: u32, terms: Idempotency) -> Option<u32> {
    let one_more = sends.saturating_add(1);
    (says_no(words, answer) && !holds(answer.evidence, one_more, terms)).then_some(sends)
}

/// What is left of a negative answer that proves nothing.
pub fn unproven(answer: &Answer) -> Answer {
    Answer::in_doubt("refusal_is_no_proof").reference(answer.vendor_reference.as_deref())
}

/// Whether an answer says that a write did not happen.
fn says_no(words: Words, answer: &Answer) -> bool {
    matches!(
        (words, answer.outcome),
        (
            Words::Send,
            Outcome::Rejected | Outcome::RequiresRepair | Outcome::Blocked | Outcome::Unavailable
        ) | (Words::Recall, Outcome::Unavailable)
            | (Words::Inquire, Outcome::NotExecuted | Outcome::Blocked)
    )
}

/// Whether a customer is recognised: as the person who was approved, and not too long ago.
pub(crate) fn recognise(
    found: Option<&RecognitionRow>,
    request: &RecogniseRequest,
    now: Micros,
) -> Outcome {
    let known = found.and_then(|row| Some((row.known?, row.at)));
    let Some((known, at)) = known.filter(|(known, _)| known.likeness == request.likeness) else {
        return Outcome::Stranger;
    };
    match now.since(at) > Duration::from_millis(request.fresh_for_ms) {
        true => Outcome::Outdated,
        false if known.watched => Outcome::Watched,
        false => Outcome::Recognised,
    }
}

/// In whose words an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// A capability that moves no money.
    Read,
    /// payout.send.
    Send,
    /// payout.inquire.
    Inquire,
    /// payout.recall.
    Recall,
}

impl Words {
    /// The words of whoever asks.
    pub(crate) fn of(ask: &Ask) -> Self {
        match ask {
            Ask::Recognise(_) | Ask::Kyc(_) | Ask::Aml(_) | Ask::Fraud(_) => Self::Read,
            Ask::Send(_) => Self::Send,
            Ask::Inquire(_) => Self::Inquire,
            Ask::Recall(_) => Self::Recall,
        }
    }
}

/// Turns an answer that says more than is known into `in_doubt`. `sends` counts the sends of the write itself:
/// for an inquiry, those of the payout that it asks about.
pub fn settle(words: Words, answer: Answer, sends: u32, terms: Idempotency) -> Answer {
    if !says_no(words, &answer) || holds(answer.evidence, sends, terms) {
        return answer;
    }
    unproven(&answer)
}

/// What is known when deciding whether to send a call again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tries {
    /// Sends of this call so far, in this round.
    pub(crate) made: u32,
    /// Most of them.
    pub(crate) max: u32,
    /// Wait before the second.
    pub(crate) backoff: Duration,
    /// Time left for the whole request.
    pub(crate) left: Duration,
    /// Whether it may be sent again at all.
    pub(crate) repeat: Repeat,
    /// A number from 0 to 1 that spreads retries.
    pub(crate) jitter: f64,
}

/// Whether a call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A read: freely.
    Freely,
    /// A write under a key that the vendor remembers for this much longer, as far as we use it.
    UnderKey(Duration),
    /// A write without such a key.
    Never,
}

/// How long to wait before sending the call again; none where the answer stands.
pub(crate) fn again_after(answer: &Answer, tries: &Tries) -> Option<Duration> {
    let passing = match answer.outcome {
        Outcome::Unavailable => answer.class == Some(ErrorClass::Transient),
        Outcome::InDoubt => answer.evidence == Evidence::None,
        _ => false,
    };
    let room = match tries.repeat {
        Repeat::Freely => tries.left,
        Repeat::UnderKey(key_left) => tries.left.min(key_left),
        Repeat::Never => return None,
    };
    if !passing || tries.made >= tries.max {
        return None;
    }
    let doubled = tries
        .backoff
        .saturating_mul(1_u32.checked_shl(tries.made.saturating_sub(1)).unwrap_or(u32::MAX));
    let wait = doubled.mul_f64(0.5 + tries.jitter.clamp(0.0, 1.0));
    let wait = wait.max(Duration::from_millis(answer.retry_after_ms.unwrap_or(0)));
    // The retry itself needs some time too, so a wait that uses up what is left helps nobody.
    (wait < room / 2).then_some(wait)
}

/// What an inquiry can do, given the row of the payout that it asks about.
#[derive(Debug, Clone, PartialEq)]
pub enum Inquiry {
    /// Ask a vendor by our reference.
    Ask {
        /// Vendor that got the payout; none where the database has forgotten it.
        vendor: Option<String>,
        /// The stored request, where there is one that can be read.
        request: Option<HttpRequest>,
        /// `sends` as stored.
        sends: u32,
    },
    /// The row alone tells.
    Answer(Answer),
    /// No such attempt: a human must act.
    Page(Answer),
}

/// Reads the row of a payout that is asked about. Only an abandoned attempt, which nobody can send any more, is
/// `not_executed` by its row.
pub fn inquiry(row: Option<&AttemptRow>) -> Inquiry {
    let Some(row) = row else { return Inquiry::Page(Answer::in_doubt("attempt_missing")) };
    match row.disposition {
        Disposition::Abandoned => {
            let given_up = Answer::of(Outcome::NotExecuted)
                .class(ErrorClass::Permanent)
                .reason("given_up_before_sending");
            Inquiry::Answer(given_up.evidence(Evidence::Recorded))
        }
        // It may still be sent: a request is under way or will come again.
        Disposition::Planned => Inquiry::Answer(Answer::in_doubt("not_sent_yet")),
        Disposition::Sending => Inquiry::Ask {
            vendor: row.vendor.clone(),
            request: stored_request(row),
            sends: row.sends,
        },
    }
}

/// An answer to sending again, in payout.inquire's words.
pub fn as_inquired(sent: Answer) -> Answer {
    let outcome = match sent.outcome {
        Outcome::Accepted => Outcome::Pending,
        Outcome::Rejected | Outcome::RequiresRepair => Outcome::NotExecuted,
        Outcome::Blocked => Outcome::Blocked,
        Outcome::Unavailable => Outcome::Unavailable,
        _ => Outcome::InDoubt,
    };
    Answer { outcome, extra: serde_json::Map::new(), ..sent }
}

/// An answer to asking by our reference, in payout.send's words.
pub fn as_sent(inquired: Answer) -> Answer {
    let outcome = match inquired.outcome {
        Outcome::Pending | Outcome::Settled | Outcome::Returned => Outcome::Accepted,
        Outcome::Blocked => Outcome::Blocked,
        Outcome::NotExecuted => match inquired.class {
            Some(ErrorClass::RequiresRepair) => Outcome::RequiresRepair,
            _ => Outcome::Rejected,
        },
        _ => Outcome::InDoubt,
    };
    let class =
        if outcome == Outcome::InDoubt { Some(ErrorClass::InDoubt) } else { inquired.class };
    Answer { outcome, class, ..inquired }
}

/// Whether an answer is kept with the attempt. `unavailable` is not: the lane asks again under the same attempt.
pub fn is_kept(answer: &Answer) -> bool {
    answer.outcome != Outcome::Unavailable
}

#[cfg(test)]
mod tests;
