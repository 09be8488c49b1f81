//! One request from the first question to its answer: asks the vendor's model what to do next and obeys, with deadline,
//! short retries and, for what moves money, permit, stored bytes and raised `sends`. Every decision is a rule's or a
//! vendor's; nothing is published here.

use signalbox_schemas::{AttemptId, Effect, ErrorClass, Micros};
use signalbox_store::{AttemptRow, AttemptStore, Disposition, Permit, PermitRequest};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use crate::metrics;
use crate::model::{Answer, Ask, Evidence, Exchange, HttpRequest, Next, Sent};
use crate::rules::{self, Move, Repeat, Tries, Words};
use crate::runtime::desk::{Desk, Partner, Trouble, wall_clock};
use crate::runtime::publish::{VendorCall, class_word};

/// Wait before a permit is asked for again while somebody else is at the row.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// A vendor call gets at least this long, however many tries share the deadline.
const CALL_MIN: Duration = Duration::from_millis(250);

/// Whether an answer is stored with its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It need not be: it is known already, or nobody has to remember it.
    No,
    /// It is.
    Yes {
        /// The sends on which it rests; see `rules::rests_on`.
        rests_on: Option<u32>,
    },
}

/// How a conversation ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With an answer.
    Answer {
        /// The answer.
        answer: Box<Answer>,
        /// Whether and how it is stored with the attempt before it is told.
        keep: Keep,
    },
    /// Without one: nothing is told.
    Silence(&'static str),
}

impl Ending {
    /// With an answer that need not be kept.
    pub(crate) fn said(answer: Answer) -> Self {
        Self::Answer { answer: Box::new(answer), keep: Keep::No }
    }
}

/// One request under way.
pub(crate) struct Conversation<'a, S> {
    desk: &'a Desk<S>,
    partner: &'a Partner,
    capability: &'a str,
    ask: &'a Ask,
    sent: Option<&'a Sent>,
    reason: &'a str,
    deadline: Instant,
    /// `sends` of the write of this request.
    sends: u32,
    /// When the key of this request's write may no longer be used.
    key_until: Option<Instant>,
    so_far: Vec<Exchange>,
    calls: Vec<VendorCall>,
}

/// A call that may be repeated: the request, and how often it was made in this round.
struct Attempted {
    request: HttpRequest,
    made: u32,
}

impl<'a, S: AttemptStore + 'static> Conversation<'a, S> {
    pub(crate) fn new(
        desk: &'a Desk<S>,
        partner: &'a Partner,
        (capability, ask, sent): (&'a str, &'a Ask, Option<&'a Sent>),
        reason: &'a str,
        deadline: Instant,
    ) -> Self {
        Self {
            desk,
            partner,
            capability,
            ask,
            sent,
            reason,
            deadline,
            sends: 0,
            key_until: None,
            so_far: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// The vendor calls that were made.
    pub(crate) fn into_calls(self) -> Vec<VendorCall> {
        self.calls
    }

    /// Talks until there is an answer.
    pub(crate) async fn talk(&mut self) -> Ending {
        let mut last: Option<Attempted> = None;
        loop {
            let next = self.partner.vendor.next(self.ask, self.sent, &self.so_far);
            match next {
                Next::Done(answer) if last.is_none() && matches!(self.ask, Ask::Send(_)) => {
                    match self.begun_before().await {
                        Ok(None) => return self.answered(answer),
                        Ok(begun) => last = begun,
                        Err(ending) => return ending,
                    }
                }
                Next::Done(answer) => {
                    self.note(Some(&answer));
                    match self.again(&answer, last.as_mut()).await {
                        Some(()) => {}
                        None => return self.answered(answer),
                    }
                }
                Next::Call(request) => {
                    self.note(None);
                    match self.first(request).await {
                        Ok(attempted) => last = Some(attempted),
                        Err(ending) => return ending,
                    }
                }
                Next::Poll(wait, request) => {
                    self.note(None);
                    if wait + CALL_MIN >= self.left() {
                        let slow = Answer::unavailable(ErrorClass::Transient, "still_processing");
                        return self.answered(slow);
                    }
                    tokio::time::sleep(wait).await;
                    // The vendor only needs the newest state; a long wait must not pile up old ones.
                    if self.so_far.len() > 2 {
                        self.so_far.pop();
                    }
                    match self.first(request).await {
                        Ok(attempted) => last = Some(attempted),
                        Err(ending) => return ending,
                    }
                }
            }
        }
    }

    /// An answer, settled by what its sends prove.
    fn answered(&self, answer: Answer) -> Ending {
        let words = Words::of(self.ask);
        let terms = self.partner.vendor.partner.idempotency;
        // An inquiry's proof is about the sends of the payout, which its caller knows; see `inquire`.
        let answer = if words == Words::Inquire {
            answer
        } else {
            rules::settle(words, answer, self.sends, terms)
        };
        let keep = match self.sends > 0 && rules::is_kept(&answer) {
            true => Keep::Yes { rests_on: rules::rests_on(words, &answer, self.sends, terms) },
            false => Keep::No,
        };
        Ending::Answer { answer: Box::new(answer), keep }
    }

    /// Makes a call for the first time in this round; a write only with a permit.
    async fn first(&mut self, request: HttpRequest) -> Result<Attempted, Ending> {
        if request.effect == Effect::Read {
            self.call(&request, 1, None).await;
            return Ok(Attempted { request, made: 1 });
        }
        if self.sends > 0 {
            // A second write in one conversation has no permit of its own.
            return Err(self.answered(Answer::in_doubt("second_write_refused")));
        }
        let (request, leave_before) = self.permitted(request).await?;
        self.call(&request, 1, Some(leave_before)).await;
        Ok(Attempted { request, made: 1 })
    }

    /// Waits and makes the last call again, where that may help and harms nobody.
    async fn again(&mut self, answer: &Answer, last: Option<&mut Attempted>) -> Option<()> {
        let last = last?;
        let repeat = match last.request.effect {
            Effect::Read => Repeat::Freely,
            Effect::Write => {
                self.key_until.map_or(Repeat::Never, |until| Repeat::UnderKey(left_until(until)))
            }
        };
        let tries = Tries {
            made: last.made,
            max: self.partner.terms.attempts_max,
            backoff: Duration::from_millis(self.partner.terms.backoff_ms),
            left: self.left(),
            repeat,
            jitter: fastrand::f64(),
        };
        tokio::time::sleep(rules::again_after(answer, &tries)?).await;
        let mut leave_before = None;
        if last.request.effect == Effect::Write {
            let judged_at = Instant::now();
            // The wait was chosen by what was left of the key; the process may have stood still meanwhile.
            self.key_until.filter(|until| judged_at < *until)?;
            let attempt = self.ask.call().attempt_id;
            leave_before = Some(self.raise(attempt, self.sends, judged_at).await?);
        }
        last.made += 1;
        self.so_far.pop();
        let (request, made) = (last.request.clone(), last.made);
        self.call(&request, made, leave_before).await;
        Some(())
    }

    /// Raises `sends` for a resend, and says until when it may leave; none where it is not ours to send. Its age counts from
    /// when the key was judged to be usable: whoever was stopped since then finds it too old.
    async fn raise(
        &mut self,
        attempt: AttemptId,
        expected: u32,
        judged_at: Instant,
    ) -> Option<Instant> {
        // After trouble it may have been raised, and then it is not ours to use: the row tells when it is asked again.
        if self.desk.raise_sends(attempt, expected).await != Ok(true) {
            return None;
        }
        metrics::resend(&self.partner.vendor.partner.name);
        self.sends = expected + 1;
        Some(judged_at + self.desk.permit_age_max)
    }

    /// Takes the permit of this request's write, or finds out how an earlier one stands.
    async fn permitted(&mut self, request: HttpRequest) -> Result<(HttpRequest, Instant), Ending> {
        if !self.partner.terms.write {
            return Err(self.unavailable("writes_switched_off"));
        }
        let vendor = self.partner.vendor.partner.name.clone();
        let wanted = PermitRequest {
            attempt: self.ask.call().attempt_id,
            vendor,
            request: request.stored(),
        };
        loop {
            let asked_at = Instant::now();
            let Ok(permit) = self.desk.permit(&wanted, self.deadline).await else {
                metrics::permit("trouble");
                return Err(self.unavailable("permit_not_taken"));
            };
            if matches!(permit, Permit::Granted { .. }) {
                metrics::permit(Move::Send.word());
                let terms = self.partner.vendor.partner.idempotency;
                self.sends = 1;
                self.key_until = terms.honours_keys.then(|| asked_at + terms.resend_within());
                return Ok((request, asked_at + self.desk.permit_age_max));
            }
            if let Some(resend) = self.sent_before(&permit).await? {
                return Ok(resend);
            }
            if self.left() < ASK_AGAIN * 2 {
                return Err(self.unavailable("attempt_busy"));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// What an attempt that is not ours to begin allows: the stored bytes once more, an ending, or to ask again (none).
    /// It goes on with the vendor that got the first send, whatever the route is today.
    async fn sent_before(
        &mut self,
        permit: &Permit,
    ) -> Result<Option<(HttpRequest, Instant)>, Ending> {
        let attempt = self.ask.call().attempt_id;
        let judged_at = Instant::now();
        let mut now = Micros::default();
        if let Permit::Sending(row) | Permit::Answered(row) = permit {
            let first = row.vendor.as_deref().map(|vendor| (vendor, self.desk.partner(vendor)));
            match first {
                Some((_, Some(partner))) => self.partner = partner,
                Some((vendor, None)) => {
                    tracing::error!(vendor, "a vendor that holds a payout is not configured");
                    return Err(Ending::said(Answer::in_doubt("vendor_not_configured")));
                }
                None => {}
            }
            now = self.desk.now().await.map_err(|Trouble| self.unavailable("permit_not_taken"))?;
        }
        let terms = self.partner.vendor.partner.idempotency;
        let decided = rules::on_permit(permit, terms, now);
        metrics::permit(decided.word());
        match decided {
            Move::Resend { request, sends, .. } if !self.partner.terms.write => {
                Err(self.inquire_instead(Some(request), sends).await)
            }
            Move::Resend { request, sends, age } => {
                self.key_until = Some(judged_at + terms.resend_within().saturating_sub(age));
                let leave_before = self.raise(attempt, sends, judged_at).await;
                Ok(leave_before.map(|leave_before| (request, leave_before)))
            }
            Move::Send | Move::AskAgain => Ok(None),
            Move::Inquire { request, sends } => Err(self.inquire_instead(request, sends).await),
            Move::Publish(answer) => Err(Ending::said(answer)),
            Move::Drop => Err(Ending::Silence("abandoned")),
            Move::Closed => Err(self.unavailable("vendor_gate_closed")),
            Move::Page => {
                metrics::attempt_missing();
                tracing::error!(attempt = %attempt, "no such attempt: nothing is sent; the database may have been restored");
                Err(Ending::Silence("attempt_missing"))
            }
        }
    }

    /// A payout that this vendor would not even try may have been sent before, by another route or an earlier release.
    async fn begun_before(&mut self) -> Result<Option<Attempted>, Ending> {
        let attempt = self.ask.call().attempt_id;
        let found = self.desk.find(attempt, self.deadline).await;
        let found = found.map_err(|Trouble| self.unavailable("attempt_not_read"))?;
        let Some(row) = found.filter(|row| row.disposition == Disposition::Sending) else {
            return Ok(None);
        };
        let permit = if row.result.is_some() {
            Permit::Answered(Box::new(row))
        } else {
            Permit::Sending(Box::new(row))
        };
        match self.sent_before(&permit).await? {
            Some((request, leave_before)) => {
                self.call(&request, 1, Some(leave_before)).await;
                Ok(Some(Attempted { request, made: 1 }))
            }
            None => Err(self.unavailable("attempt_busy")),
        }
    }

    fn unavailable(&self, reason: &str) -> Ending {
        let retry_after = Some(Duration::from_millis(self.partner.terms.retry_after_ms));
        let answer = Answer::unavailable(ErrorClass::Transient, reason).retry_after(retry_after);
        Ending::said(answer)
    }

    /// It may have been sent and must not be sent again: a payout is asked about, a recall stays in doubt.
    async fn inquire_instead(&mut self, request: Option<HttpRequest>, sends: u32) -> Ending {
        self.sends = sends;
        let kept = |answer: Answer, rests_on| Ending::Answer {
            answer: Box::new(answer),
            keep: Keep::Yes { rests_on },
        };
        let doubt = kept(Answer::in_doubt("sent_before"), None);
        let (Ask::Send(_), Some(payout)) = (self.ask, &self.partner.vendor.payout) else {
            return doubt;
        };
        let sent = Sent { attempt: self.ask.call().attempt_id, request };
        let mut so_far: Vec<Exchange> = Vec::new();
        loop {
            match payout.inquire(&sent, &so_far) {
                Next::Done(answer) => {
                    self.note(Some(&answer));
                    let terms = self.partner.vendor.partner.idempotency;
                    let answer = rules::settle(Words::Inquire, answer, sends, terms);
                    let rests_on = rules::rests_on(Words::Inquire, &answer, sends, terms);
                    return kept(rules::as_sent(answer), rests_on);
                }
                Next::Call(request) | Next::Poll(_, request)
                    if request.effect == Effect::Read && self.left() > CALL_MIN =>
                {
                    self.call(&request, 1, None).await;
                    so_far.extend(self.so_far.pop());
                }
                Next::Call(_) | Next::Poll(..) => return doubt,
            }
        }
    }

    /// An inquiry whose payout the vendor does not know: the stored bytes are sent again under the same key, where that
    /// key is still usable. Returns the answer in payout.send's words, and the sends it is the answer to.
    pub(crate) async fn send_again(
        &mut self,
        sent: &Sent,
        row: &AttemptRow,
    ) -> Option<(Answer, u32)> {
        // What the database has forgotten is never made up again.
        let request = sent.request.as_ref()?;
        let payout = self.partner.vendor.payout.as_ref()?;
        let terms = self.partner.vendor.partner.idempotency;
        let judged_at = Instant::now();
        let age = rules::key_usable(row, terms, self.desk.now().await.ok()?)?;
        let key_left = terms.resend_within().saturating_sub(age);
        if !self.partner.terms.write || key_left < self.left() || self.left() < CALL_MIN {
            return None;
        }
        let leave_before = self.raise(sent.attempt, row.sends, judged_at).await?;
        self.call(request, 1, Some(leave_before)).await;
        let exchange = self.so_far.last()?;
        let answer = payout.outcome(exchange);
        self.note(Some(&answer));
        Some((rules::settle(Words::Send, answer, self.sends, terms), self.sends))
    }

    /// Makes a call and records it; its class follows from what comes next.
    async fn call(&mut self, request: &HttpRequest, made: u32, leave_before: Option<Instant>) {
        let tries_left =
            self.partner.terms.attempts_max.saturating_sub(made).saturating_add(1).max(1);
        let within = (self.left() / tries_left).max(CALL_MIN);
        let (started_at, started) = (wall_clock(), Instant::now());
        let span = tracing::info_span!(
            "vendor_call",
            otel.name = request.operation,
            otel.kind = "client",
            vendor = self.partner.vendor.partner.name,
            http.response.status_code = field::Empty,
        );
        let sending = self.desk.send(self.partner, request, within, leave_before);
        let exchange = sending.instrument(span.clone()).await;
        span.record("http.response.status_code", exchange.status());
        let took = started.elapsed();
        self.calls.push(VendorCall {
            partner: self.partner.vendor.partner.name.clone(),
            operation: request.operation.clone(),
            route_reason: self.reason.to_owned(),
            send: if request.effect == Effect::Write { self.sends } else { made },
            http_status: exchange.status(),
            class: UNTOLD,
            vendor_request_id: None,
            started_at,
            latency_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
        self.so_far.push(exchange);
    }

    /// Tells the last call's class, once: `ok` where it led on, else that of the answer.
    fn note(&mut self, answer: Option<&Answer>) {
        let Some(call) = self.calls.last_mut().filter(|call| call.class == UNTOLD) else { return };
        call.class = class_word(answer);
        call.vendor_request_id = answer.and_then(|answer| answer.vendor_reference.clone());
        metrics::vendor_call(&metrics::Call {
            capability: self.capability,
            vendor: &call.partner,
            operation: &call.operation,
            class: call.class,
            took: Duration::from_micros(call.latency_micros),
        });
        if answer.and_then(|answer| answer.class) == Some(ErrorClass::Misconfigured) {
            tracing::error!(
                vendor = %call.partner, operation = %call.operation, http_status = call.http_status,
                "a vendor refuses us, not the request: credentials, settings or schema must be corrected"
            );
        }
    }

    fn left(&self) -> Duration {
        left_until(self.deadline)
    }
}

/// A call whose class is not known yet.
const UNTOLD: &str = "UNKNOWN";

fn left_until(instant: Instant) -> Duration {
    instant.saturating_duration_since(Instant::now())
}

/// Whether an inquiry's answer leaves the door open for sending again.
pub(crate) fn unknown_to_vendor(answer: &Answer) -> bool {
    answer.evidence == Evidence::NotFound
}
