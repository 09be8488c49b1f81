//! One HTTP request out, one reply in. No redirects, no retries, no proxies, HTTP/1.1, nothing kept between calls but
//! connections.
//!
//! A write must not leave on a permit that has grown old while the process was stopped or the connection was being made.
//! So its body is handed over only when the connection asks for it, and the permit's age is checked there: a request
//! whose body never left cannot have been carried out. What cannot be known: how long the bytes then wait in the
//! kernel or on the network, and whether a connection that breaks afterwards broke before or after the effect.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use secrecy::{ExposeSecret, SecretString};
use signalbox_schemas::Effect;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

use crate::model::{Exchange, HttpRequest, Lost, Method, Reply};

/// Longest time to make a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Connections that have been idle for longer are not used again: the other side may have closed them.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Larger replies are cut, and so become unreadable.
const REPLY_BYTES_MAX: usize = 1_048_576;

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
}

/// Where and under which limits a request is sent.
pub(crate) struct Sending<'a> {
    /// Base URL of the vendor.
    pub(crate) base_url: &'a str,
    /// Headers with secrets.
    pub(crate) credentials: &'a [(String, SecretString)],
    /// Longest time for the whole exchange.
    pub(crate) within: Duration,
    /// A write leaves before this instant or not at all.
    pub(crate) leave_before: Option<Instant>,
}

impl Http {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE_MAX)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { client })
    }

    /// Sends a request and reads the whole reply, or says why there is none.
    pub(crate) async fn send(&self, request: &HttpRequest, sending: &Sending<'_>) -> Exchange {
        let left = Arc::new(AtomicBool::new(false));
        let built = self.build(request, sending, &left);
        let reply = match tokio::time::timeout(sending.within, exchange(built)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                // The error's text may hold the URL, and with it a reference; never a body or a credential.
                tracing::debug!(operation = %request.operation, error = %error.without_url(), "a vendor call failed");
                Reply::Lost(Lost::Broken)
            }
            Err(_elapsed) => Reply::Lost(Lost::TimedOut),
        };
        let stayed = request.effect == Effect::Write && !left.load(Ordering::SeqCst);
        let reply = match reply {
            Reply::Lost(_) if stayed => Reply::Lost(Lost::NotSent),
            other => other,
        };
        Exchange { operation: request.operation.clone(), reply }
    }

    fn build(
        &self,
        request: &HttpRequest,
        sending: &Sending<'_>,
        left: &Arc<AtomicBool>,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}{}", sending.base_url, request.path);
        let mut built = match request.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
        };
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        for (name, secret) in sending.credentials {
            let mut value = reqwest::header::HeaderValue::from_str(secret.expose_secret());
            if let Ok(value) = &mut value {
                value.set_sensitive(true);
            }
            built = match value {
                Ok(value) => built.header(name, value),
                Err(_) => built,
            };
        }
        if request.body.is_empty() && request.method == Method::Get {
            return built;
        }
        built.body(reqwest::Body::wrap(HeldBody {
            bytes: Some(Bytes::from(request.body.clone())),
            leave_before: sending.leave_before,
            left: Arc::clone(left),
        }))
    }
}

async fn exchange(built: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
    let mut response = built.send().await?;
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply::Answered { status, retry_after: retry_after.map(Duration::from_secs), body })
}

/// Whether a write that was to leave before an instant has missed it.
pub(crate) fn is_too_late(leave_before: Option<Instant>) -> bool {
    leave_before.is_some_and(|limit| Instant::now() >= limit)
}

/// A body that leaves only while it may, and remembers that it did.
struct HeldBody {
    bytes: Option<Bytes>,
    leave_before: Option<Instant>,
    left: Arc<AtomicBool>,
}

/// The permit has grown too old to send on it.
#[derive(Debug, thiserror::Error)]
#[error("the permit has grown too old")]
struct TooOld;

impl Body for HeldBody {
    type Data = Bytes;
    type Error = TooOld;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooOld>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        if is_too_late(self.leave_before) {
            return Poll::Ready(Some(Err(TooOld)));
        }
        self.left.store(true, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn write() -> HttpRequest {
        HttpRequest::post("create", "/transfers".to_owned(), &serde_json::json!({"amount": 5}))
            .write()
    }

    async fn send(base_url: &str, leave_before: Option<Instant>) -> Reply {
        let within = Duration::from_millis(500);
        let sending = Sending { base_url, credentials: &[], within, leave_before };
        Http::new().unwrap().send(&write(), &sending).await.reply
    }

    /// A server that reads one request, then answers or closes. It tells what it read.
    async fn server(answer: Option<&'static str>) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; 4_096];
            let mut length = 0;
            while !String::from_utf8_lossy(&read).contains("}") {
                match stream.read(read.get_mut(length..).unwrap()).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => length += more,
                }
            }
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            String::from_utf8_lossy(read.get(..length).unwrap()).into_owned()
        });
        (url, task)
    }

    #[tokio::test]
    async fn a_write_is_sent_whole_and_its_redirect_is_an_answer_not_followed() {
        let (url, task) =
            server(Some("HTTP/1.1 307 x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"))
                .await;
        let reply = send(&url, Some(Instant::now() + Duration::from_secs(5))).await;
        assert!(matches!(reply, Reply::Answered { status: 307, .. }), "{reply:?}");
        let read = task.await.unwrap();
        assert!(read.contains("content-length: 12") && read.ends_with(r#"{"amount":5}"#), "{read}");
    }

    #[tokio::test]
    async fn a_write_on_an_old_permit_does_not_leave() {
        let (url, task) = server(None).await;
        assert_eq!(send(&url, Some(Instant::now())).await, Reply::Lost(Lost::NotSent));
        assert!(!task.await.unwrap().contains("amount"));
    }

    #[tokio::test]
    async fn a_vendor_that_is_not_there_got_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(send(&url, None).await, Reply::Lost(Lost::NotSent));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_after_the_request_may_have_had_its_effect() {
        let (url, task) = server(None).await;
        let reply = send(&url, None).await;
        assert_eq!(reply, Reply::Lost(Lost::Broken));
        assert!(task.await.unwrap().contains("amount"));
    }
}
