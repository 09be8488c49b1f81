//! One small trait per capability: from what has been exchanged so far to what to do next.
//! Implementations are pure. They never fail: what they do not recognise is `unavailable` or `in_doubt`.

use signalbox_schemas::{
    AmlRequest, AttemptId, ErrorClass, FraudRequest, InquireRequest, KycRequest, RecallRequest,
    RecogniseRequest, SendRequest, shapes,
};
use std::sync::Arc;
use std::time::Duration;

use crate::model::answer::Answer;
use crate::model::partner::Partner;
use crate::model::wire::{Exchange, HttpRequest, Reply};

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Send this and ask again.
    Call(HttpRequest),
    /// Wait, send this, and ask again: the vendor is not ready yet.
    Poll(Duration, HttpRequest),
    /// Answer.
    Done(Answer),
}

/// kyc.check.
pub trait Kyc: Send + Sync {
    /// What to do next for a check.
    fn next(&self, request: &KycRequest, so_far: &[Exchange]) -> Next;
}

/// aml.screen.
pub trait Aml: Send + Sync {
    /// What to do next for a screening.
    fn next(&self, request: &AmlRequest, so_far: &[Exchange]) -> Next;
}

/// fraud.score.
pub trait Fraud: Send + Sync {
    /// What to do next for a score.
    fn next(&self, request: &FraudRequest, so_far: &[Exchange]) -> Next;
}

/// payout.send, payout.inquire, payout.recall.
pub trait Payout: Send + Sync {
    /// The one call that sends the money, or the answer if this vendor cannot send it. The call carries the attempt's
    /// id as key and reference.
    fn request(&self, order: &SendRequest) -> Next;

    /// What a reply to that request means, in payout.send's words.
    fn outcome(&self, reply: &Exchange) -> Answer;

    /// What to do next to find out what became of it, in payout.inquire's words.
    fn inquire(&self, sent: &Sent, so_far: &[Exchange]) -> Next;

    /// What to do next to get it back, in payout.recall's words. `key` is the recall's own attempt.
    fn recall(&self, key: AttemptId, sent: &Sent, so_far: &[Exchange]) -> Next;
}

/// A payout that was sent or may have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its attempt: the key and reference that the vendor got.
    pub attempt: AttemptId,
    /// The stored request; none where the database has forgotten it. Then every place where it may be is asked.
    pub request: Option<HttpRequest>,
}

/// A decoded request of any capability.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// customer.recognise.
    Recognise(RecogniseRequest),
    /// kyc.check.
    Kyc(KycRequest),
    /// aml.screen.
    Aml(AmlRequest),
    /// fraud.score.
    Fraud(FraudRequest),
    /// payout.send.
    Send(SendRequest),
    /// payout.inquire.
    Inquire(InquireRequest),
    /// payout.recall.
    Recall(RecallRequest),
}

impl Ask {
    /// Reads the request of a capability. The contract's decoder has checked the record; this gives it its shape.
    pub fn read(capability: &str, value: serde_json::Value) -> Result<Self, String> {
        fn shape<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, String> {
            serde_json::from_value(value).map_err(|error| error.to_string())
        }
        match capability {
            "customer.recognise" => shape(value).map(Self::Recognise),
            "kyc.check" => shape(value).map(Self::Kyc),
            "aml.screen" => shape(value).map(Self::Aml),
            "fraud.score" => shape(value).map(Self::Fraud),
            "payout.send" => shape(value).map(Self::Send),
            "payout.inquire" => shape(value).map(Self::Inquire),
            "payout.recall" => shape(value).map(Self::Recall),
            other => Err(format!("capability {other} has no adapter")),
        }
    }

    /// Who asks.
    pub fn call(&self) -> &shapes::Call {
        match self {
            Self::Recognise(request) => &request.call,
            Self::Kyc(request) => &request.call,
            Self::Aml(request) => &request.call,
            Self::Fraud(request) => &request.call,
            Self::Send(request) => &request.call,
            Self::Inquire(request) => &request.call,
            Self::Recall(request) => &request.call,
        }
    }
}

/// Answers a request without leaving the process.
pub type Inside = Arc<dyn Fn(&HttpRequest) -> Reply + Send + Sync>;

/// A vendor made ready: its catalog entry and what it can do.
#[derive(Clone)]
pub struct Vendor {
    /// Catalog entry.
    pub partner: Arc<Partner>,
    /// Credentials as headers, added to every request and never stored.
    pub credentials: Vec<(String, secrecy::SecretString)>,
    /// Identity checks.
    pub kyc: Option<Arc<dyn Kyc>>,
    /// Screening.
    pub aml: Option<Arc<dyn Aml>>,
    /// Fraud scores.
    pub fraud: Option<Arc<dyn Fraud>>,
    /// Payouts.
    pub payout: Option<Arc<dyn Payout>>,
    /// Answers inside the process where the vendor is not reached over HTTP.
    pub inside: Option<Inside>,
}

/// A vendor cannot be made ready: its settings or its catalog entry must be corrected before the adapter starts.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// Settings are missing, unknown or of the wrong type.
    #[error("settings of vendor {vendor}: {reason}")]
    Settings {
        /// Vendor.
        vendor: &'static str,
        /// What is wrong, without values.
        reason: String,
    },
    /// The catalog entry is not complete.
    #[error(transparent)]
    Partner(#[from] crate::model::partner::PartnerError),
    /// A code table is broken.
    #[error(transparent)]
    Codes(#[from] crate::codes::CodesError),
}

impl Vendor {
    /// A vendor that can do nothing yet.
    pub fn new(partner: Partner) -> Self {
        Self {
            partner: Arc::new(partner),
            credentials: Vec::new(),
            kyc: None,
            aml: None,
            fraud: None,
            payout: None,
            inside: None,
        }
    }

    /// With a header that carries a secret.
    #[must_use]
    pub fn credential(mut self, header: &str, value: secrecy::SecretString) -> Self {
        self.credentials.push((header.to_owned(), value));
        self
    }

    /// With identity checks.
    #[must_use]
    pub fn kyc(mut self, kyc: impl Kyc + 'static) -> Self {
        self.kyc = Some(Arc::new(kyc));
        self
    }

    /// With screening.
    #[must_use]
    pub fn aml(mut self, aml: impl Aml + 'static) -> Self {
        self.aml = Some(Arc::new(aml));
        self
    }

    /// With fraud scores.
    #[must_use]
    pub fn fraud(mut self, fraud: impl Fraud + 'static) -> Self {
        self.fraud = Some(Arc::new(fraud));
        self
    }

    /// With payouts.
    #[must_use]
    pub fn payout(mut self, payout: impl Payout + 'static) -> Self {
        self.payout = Some(Arc::new(payout));
        self
    }

    /// Answering inside the process.
    #[must_use]
    pub fn inside(
        mut self,
        inside: impl Fn(&HttpRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.inside = Some(Arc::new(inside));
        self
    }

    /// Whether it can serve a capability.
    pub fn serves(&self, capability: &str) -> bool {
        match capability {
            "kyc.check" => self.kyc.is_some(),
            "aml.screen" => self.aml.is_some(),
            "fraud.score" => self.fraud.is_some(),
            "payout.send" | "payout.inquire" | "payout.recall" => self.payout.is_some(),
            _ => false,
        }
    }

    /// What to do next for a request. `sent` is the payout that an inquiry or a recall is about.
    pub fn next(&self, ask: &Ask, sent: Option<&Sent>, so_far: &[Exchange]) -> Next {
        let next = match ask {
            // The house answers it; no vendor is asked.
            Ask::Recognise(_) => None,
            Ask::Kyc(request) => self.kyc.as_ref().map(|kyc| kyc.next(request, so_far)),
            Ask::Aml(request) => self.aml.as_ref().map(|aml| aml.next(request, so_far)),
            Ask::Fraud(request) => self.fraud.as_ref().map(|fraud| fraud.next(request, so_far)),
            Ask::Send(order) => {
                self.payout.as_ref().map(|payout| send(payout.as_ref(), order, so_far))
            }
            Ask::Inquire(_) => {
                self.payout.as_ref().zip(sent).map(|(payout, sent)| payout.inquire(sent, so_far))
            }
            Ask::Recall(request) => {
                let key = request.call.attempt_id;
                self.payout
                    .as_ref()
                    .zip(sent)
                    .map(|(payout, sent)| payout.recall(key, sent, so_far))
            }
        };
        let unable =
            || Next::Done(Answer::unavailable(ErrorClass::Misconfigured, "capability_not_served"));
        next.unwrap_or_else(unable)
    }
}

fn send(payout: &dyn Payout, order: &SendRequest, so_far: &[Exchange]) -> Next {
    match so_far.last() {
        Some(reply) => Next::Done(payout.outcome(reply)),
        None => payout.request(order),
    }
}
