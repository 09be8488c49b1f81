//! HTTP as data: what is to be sent and what came back. It does no I/O and knows no base URL and no secret,
//! so that the bytes of a write can be stored, and sent again as they were.

use serde::{Deserialize, Serialize};
use signalbox_schemas::Effect;
use std::time::Duration;

/// HTTP methods that vendors ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// One request to a vendor, without base URL and credentials. Equal input makes equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Name of the vendor's operation, for metrics and records; made up of a-z and `_`.
    pub operation: String,
    /// Whether sending it may move money.
    pub effect: Effect,
    /// Method.
    pub method: Method,
    /// Path and query below the base URL, from the slash on.
    pub path: String,
    /// Headers in lower case, without credentials.
    pub headers: Vec<(String, String)>,
    /// Body; empty where there is none. A write has one.
    #[serde(with = "text")]
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A GET.
    pub fn get(operation: &str, path: String) -> Self {
        Self {
            operation: operation.to_owned(),
            effect: Effect::Read,
            method: Method::Get,
            path,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A POST of JSON that harms nobody when it is repeated.
    pub fn post(operation: &str, path: String, body: &serde_json::Value) -> Self {
        Self {
            operation: operation.to_owned(),
            effect: Effect::Read,
            method: Method::Post,
            path,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// The same request as one that may move money.
    #[must_use]
    pub fn write(mut self) -> Self {
        self.effect = Effect::Write;
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The form in which it is stored with its attempt.
    pub fn stored(&self) -> Vec<u8> {
        // A struct of texts has no key that JSON refuses.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the stored form back.
    pub fn restore(stored: &[u8]) -> Option<Self> {
        serde_json::from_slice(stored).ok()
    }
}

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Operation of the request.
    pub operation: String,
    /// What came back.
    pub reply: Reply,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A whole HTTP response.
    Answered {
        /// Status.
        status: u16,
        /// `retry-after` header, where it is in seconds.
        retry_after: Option<Duration>,
        /// Body.
        body: Vec<u8>,
    },
    /// No response, or not a whole one.
    Lost(Lost),
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It is certain that the request did not leave whole.
    NotSent,
    /// It may have left; no answer in time.
    TimedOut,
    /// It may have left; the connection broke.
    Broken,
}

impl Exchange {
    /// A whole response, for tests and vendors that answer inside the process.
    pub fn answered(operation: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        let reply = Reply::Answered { status, retry_after: None, body: body.into() };
        Self { operation: operation.to_owned(), reply }
    }

    /// HTTP status, where there was one.
    pub fn status(&self) -> Option<u16> {
        match self.reply {
            Reply::Answered { status, .. } => Some(status),
            Reply::Lost(_) => None,
        }
    }
}

/// Bodies are JSON text; stored as text so that a person can read what was sent.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(body: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(body).map_err(serde::ser::Error::custom)?;
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(from).map(String::into_bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stored_request_is_sent_again_byte_for_byte() {
        let request = HttpRequest::post(
            "create_transfer",
            "/transfers".to_owned(),
            &serde_json::json!({"amount": 5}),
        )
        .header("idempotency-key", "a-1")
        .write();
        let again = HttpRequest::restore(&request.stored()).unwrap();
        assert_eq!(again, request);
        assert_eq!(again.stored(), request.stored());
    }
}
