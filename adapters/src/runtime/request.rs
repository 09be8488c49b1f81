//! One request record: decoded, routed, given a place at its vendor, talked through, kept, and told to its lane.
//! It commits nothing; when it returns, its offset is done.

use serde_json::Value;
use signalbox_bus::{Death, Inbound, Outbound, Undecoded, dead_letter, follow};
use signalbox_schemas::{AttemptId, Capability, ErrorClass, RecogniseRequest, TopicName};
use signalbox_store::{AttemptRow, AttemptStore};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::metrics;
use crate::model::{Answer, Ask, Outcome, Sent};
use crate::routing::{Route, route};
use crate::rules::{self, Inquiry, Words};
use crate::runtime::conversation::{Conversation, Ending, Keep, unknown_to_vendor};
use crate::runtime::desk::{Desk, TROUBLE, Trouble, pause, wall_clock};
use crate::runtime::publish::{self, Cause, VendorCall};
use crate::runtime::{Outlet, group_of};

/// The capability whose vendor inquiries and recalls are put to.
const SEND: &str = "payout.send";

/// What was decided for a request: what is told, and the calls that were made for it.
struct Decided {
    ending: Ending,
    calls: Vec<VendorCall>,
}

impl Decided {
    /// Said at once, without a call.
    fn said(answer: Answer) -> Self {
        Self { ending: Ending::said(answer), calls: Vec::new() }
    }
}

/// Carries out one record to its end.
pub(crate) async fn handle<S: AttemptStore + 'static, O: Outlet>(
    desk: &Desk<S>,
    outlet: &O,
    capability: &Capability,
    record: &Inbound,
) {
    let arrived = Instant::now();
    let ask = match read(desk, capability, record).await {
        Ok(ask) => ask,
        Err(death) => return bury(outlet, capability, record, &death).await,
    };
    let cause = Cause::of(record);
    let call = ask.call();
    // Whatever is logged on the way carries whose request it is.
    let span = tracing::info_span!(
        "request",
        otel.name = capability.name,
        otel.kind = "consumer",
        correlation_id = %call.flow_id,
        traceparent = cause.traceparent.as_deref(),
        capability = %capability.name
    );
    follow(&span, cause.traceparent.as_deref());
    let decided = decide(desk, &capability.name, &ask, arrived).instrument(span).await;
    let mut records = Vec::new();
    let answer = kept(desk, capability, call.attempt_id, decided.ending).await;
    if let Some(answer) = &answer {
        let (codec, name) = (&desk.codec, &capability.name);
        match publish::outcome(codec, name, call, answer, &cause, wall_clock()) {
            Ok(outcome) => records.push(outcome),
            Err(error) => {
                return unspeakable(outlet, capability, record, &error.to_string()).await;
            }
        }
    }
    for made in &decided.calls {
        match publish::vendor_call(&desk.codec, &capability.name, call, made, &cause) {
            Ok(record) => records.push(record),
            Err(error) => tracing::error!(error = %error, "a vendor call cannot be recorded"),
        }
    }
    desk.pace.depart(records.len()).await;
    futures_util::future::join_all(records.iter().map(|record| tell(outlet, record))).await;
    if let Some(answer) = &answer {
        metrics::outcome(&capability.name, answer.outcome.word(), arrived.elapsed());
        tracing::debug!(
            capability = %capability.name, attempt = %call.attempt_id, flow = %call.flow_id,
            outcome = answer.outcome.word(), reason = answer.reason.as_deref(), "a request is answered"
        );
    }
}

/// What is told of how a request ended, once it is stored with the attempt where it must be.
async fn kept<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    capability: &Capability,
    attempt: AttemptId,
    ending: Ending,
) -> Option<Answer> {
    match ending {
        Ending::Silence(reason) => {
            metrics::dropped(&capability.name, reason);
            None
        }
        Ending::Answer { answer, keep: Keep::No } => Some(*answer),
        Ending::Answer { answer, keep: Keep::Yes { rests_on } } => {
            Some(desk.keep(attempt, *answer, rests_on).await)
        }
    }
}

/// Decodes a record. An unknown schema is learnt, however long the registry takes: that is not the record's fault.
async fn read<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    capability: &Capability,
    record: &Inbound,
) -> Result<Ask, Death> {
    let mut wait = TROUBLE;
    let (name, value): (_, Value) = loop {
        match desk.codec.decode(record.payload.as_deref()) {
            Ok(decoded) => break decoded,
            Err(Undecoded::UnknownId(id)) => {
                let _one_at_a_time = desk.learning.lock().await;
                match desk.codec.learn(id).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(undecoded(&Undecoded::NoSuchId(id))),
                    Err(error) => {
                        metrics::disturbance("registry");
                        tracing::warn!(error = %error, "the registry does not answer as it should");
                        pause(&mut wait).await;
                    }
                }
            }
            Err(error) => return Err(undecoded(&error)),
        }
    };
    let wrong = |code, message: &str| Death { code, ..Death::undecodable(message) };
    if name != capability.request() {
        return Err(wrong("foreign_record", &format!("{name} does not belong here")));
    }
    // The parser's own words may quote the record, so they are not told.
    Ask::read(&capability.name, value)
        .map_err(|_| wrong("wrong_shape", "a field of the request has no valid value"))
}

fn undecoded(error: &Undecoded) -> Death {
    let code = match error {
        Undecoded::Tombstone => "no_value",
        Undecoded::Foreign(_) => "foreign_record",
        Undecoded::NoSuchId(_) | Undecoded::UnknownId(_) => "no_such_schema",
        Undecoded::Broken(_) => "undecodable",
    };
    Death { code, ..Death::undecodable(error.to_string()) }
}

/// Publishes, however long that takes: what an adapter has done must be told.
async fn tell<O: Outlet>(outlet: &O, record: &Outbound) {
    let mut wait = TROUBLE;
    while let Err(error) = outlet.publish(record).await {
        metrics::disturbance("kafka");
        tracing::warn!(topic = %record.topic, error = %error, "a record is not published yet");
        pause(&mut wait).await;
    }
}

async fn bury<O: Outlet>(outlet: &O, capability: &Capability, record: &Inbound, death: &Death) {
    metrics::dead_letter(record.topic.as_str(), death.code);
    tracing::warn!(
        topic = %record.topic, partition = record.partition, offset = record.offset, code = death.code,
        "a request is dead-lettered"
    );
    tell(outlet, &dead_letter(record, death, &group_of(&capability.name), wall_clock())).await;
}

/// An outcome that the contract has no words for is a bug of a vendor's folder: the request is kept for its repair.
async fn unspeakable<O: Outlet>(
    outlet: &O,
    capability: &Capability,
    record: &Inbound,
    problem: &str,
) {
    tracing::error!(capability = %capability.name, problem, "an outcome does not fit the contract");
    let death = Death { stage: "TASK_PUT", ..Death::unprocessable("outcome_unspeakable", problem) };
    bury(outlet, capability, record, &death).await;
}

async fn decide<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    capability: &str,
    ask: &Ask,
    arrived: Instant,
) -> Decided {
    let left = ask.call().reply_by.since(wall_clock());
    if left.is_zero() {
        return Decided::said(Answer::unavailable(ErrorClass::Transient, "too_late"));
    }
    let deadline = arrived + left.min(Duration::from_secs(3_600));
    match ask {
        Ask::Recognise(request) => Decided::said(recognise(desk, request, deadline).await),
        Ask::Kyc(_) | Ask::Aml(_) | Ask::Fraud(_) | Ask::Send(_) => {
            match route(&desk.policy, capability, &ask.call().excluded) {
                Some(route) => talk(desk, capability, (ask, None), &route, deadline).await,
                None => Decided::said(Answer::unavailable(ErrorClass::Misconfigured, "no_route")),
            }
        }
        Ask::Inquire(request) => {
            inquire(desk, (capability, ask), request.subject_attempt, deadline).await
        }
        Ask::Recall(request) => {
            recall(desk, (capability, ask), request.subject_attempt, deadline).await
        }
    }
}

/// What the house itself knows: no vendor is routed to, and none is called.
async fn recognise<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    request: &RecogniseRequest,
    deadline: Instant,
) -> Answer {
    match desk.recognition(request.call.flow_id, deadline).await {
        Ok((found, now)) => Answer::of(rules::recognise(found.as_ref(), request, now)),
        Err(Trouble) => Answer::unavailable(ErrorClass::Transient, "recognition_not_read"),
    }
}

/// Talks to a vendor if it has a place in time.
async fn talk<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    capability: &str,
    (ask, sent): (&Ask, Option<&Sent>),
    route: &Route,
    deadline: Instant,
) -> Decided {
    let Some(partner) = desk.partner(&route.vendor) else {
        tracing::error!(vendor = %route.vendor, "a vendor that is asked for is not configured");
        return Decided::said(Answer::unavailable(
            ErrorClass::Misconfigured,
            "vendor_not_configured",
        ));
    };
    let deadline = deadline.min(Instant::now() + partner.terms.deadline());
    let retry_after = Duration::from_millis(partner.terms.retry_after_ms);
    let Some(_place) = partner.place(deadline).await else {
        metrics::vendor_full(&route.vendor);
        return Decided::said(
            Answer::unavailable(ErrorClass::Transient, "vendor_full")
                .retry_after(Some(retry_after)),
        );
    };
    let mut conversation =
        Conversation::new(desk, partner, (capability, ask, sent), &route.reason, deadline);
    let mut ending = conversation.talk().await;
    if let Ending::Answer { answer, .. } = &mut ending
        && answer.outcome == Outcome::Unavailable
        && answer.retry_after_ms.is_none()
    {
        answer.retry_after_ms = Some(partner.terms.retry_after_ms);
    }
    Decided { ending, calls: conversation.into_calls() }
}

/// The row of the payout that is asked about, and the row of the request itself where there is one.
async fn rows<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    subject: AttemptId,
    own: AttemptId,
    deadline: Instant,
) -> Result<(Option<AttemptRow>, Option<AttemptRow>), Answer> {
    tokio::try_join!(desk.find(subject, deadline), desk.find(own, deadline))
        .map_err(|Trouble| Answer::unavailable(ErrorClass::Transient, "attempt_not_read"))
}

fn page(attempt: AttemptId) {
    metrics::attempt_missing();
    tracing::error!(attempt = %attempt, "the attempt that is asked about cannot be read; the database may have been restored");
}

async fn inquire<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    (capability, ask): (&str, &Ask),
    subject: AttemptId,
    deadline: Instant,
) -> Decided {
    let row = match rows(desk, subject, ask.call().attempt_id, deadline).await {
        Ok((row, _)) => row,
        Err(answer) => return Decided::said(answer),
    };
    let (vendor, request, sends) = match rules::inquiry(row.as_ref()) {
        Inquiry::Ask { vendor, request, sends } => (vendor, request, sends),
        Inquiry::Answer(answer) => return Decided::said(answer),
        Inquiry::Page(answer) => {
            page(subject);
            return Decided::said(answer);
        }
    };
    let sent = Sent { attempt: subject, request };
    let Some(route) = holder(desk, vendor) else {
        return Decided::said(Answer::in_doubt("vendor_unknown"));
    };
    let mut decided = talk(desk, capability, (ask, Some(&sent)), &route, deadline).await;
    let Some(partner) = desk.partner(&route.vendor) else { return decided };
    let terms = partner.vendor.partner.idempotency;
    let Ending::Answer { answer, .. } = &decided.ending else { return decided };
    let unknown = unknown_to_vendor(answer);
    let settled = rules::settle(Words::Inquire, answer.as_ref().clone(), sends, terms);
    decided.ending = Ending::said(settled);
    let Some(row) = row.filter(|_| unknown) else { return decided };
    let deadline = deadline.min(Instant::now() + partner.terms.deadline());
    let Some(_place) = partner.place(deadline).await else { return decided };
    let reason = "same bytes under the same key, as the vendor did not know them";
    let mut conversation =
        Conversation::new(desk, partner, (capability, ask, Some(&sent)), reason, deadline);
    if let Some((answer, sends)) = conversation.send_again(&sent, &row).await {
        let rests_on = rules::rests_on(Words::Send, &answer, sends, terms);
        let answer = match rules::is_kept(&answer) {
            true => desk.keep(subject, answer, rests_on).await,
            false => answer,
        };
        let answer = rules::settle(Words::Inquire, rules::as_inquired(answer), sends, terms);
        decided.ending = Ending::said(answer);
    }
    decided.calls.extend(conversation.into_calls());
    decided
}

/// Who is asked about a payout: the vendor that got it; where the database has forgotten that, the one that gets payouts
/// now, who can only say that it is there.
fn holder<S: AttemptStore + 'static>(desk: &Desk<S>, vendor: Option<String>) -> Option<Route> {
    let known = |vendor| Route { vendor, reason: "vendor of the payout".to_owned() };
    let today = || {
        let route = route(&desk.policy, SEND, &[])?;
        Some(Route { reason: "the payout's vendor is forgotten".to_owned(), ..route })
    };
    vendor.map(known).or_else(today)
}

async fn recall<S: AttemptStore + 'static>(
    desk: &Desk<S>,
    (capability, ask): (&str, &Ask),
    subject: AttemptId,
    deadline: Instant,
) -> Decided {
    let (row, own) = match rows(desk, subject, ask.call().attempt_id, deadline).await {
        Ok(found) => found,
        Err(answer) => return Decided::said(answer),
    };
    if let Some(answer) = own.as_ref().and_then(rules::stored_answer) {
        return Decided::said(answer);
    }
    match rules::inquiry(row.as_ref()) {
        Inquiry::Ask { vendor, request, .. } => {
            let sent = Sent { attempt: subject, request };
            let Some(route) = holder(desk, vendor) else {
                return Decided::said(Answer::in_doubt("vendor_unknown"));
            };
            talk(desk, capability, (ask, Some(&sent)), &route, deadline).await
        }
        Inquiry::Answer(answer) if answer.outcome == Outcome::NotExecuted => {
            Decided::said(Answer::of(Outcome::Recalled).reason("given_up_before_sending"))
        }
        Inquiry::Answer(answer) => Decided::said(answer),
        Inquiry::Page(answer) => {
            page(subject);
            Decided::said(answer)
        }
    }
}

/// Topics on which a capability's requests arrive.
pub(crate) fn topics_of(capability: &Capability) -> Vec<TopicName> {
    vec![capability.requests_topic()]
}
