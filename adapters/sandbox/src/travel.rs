//! The ways of a request as personas ask for them: late, refused, hanging, answered into the void.
//!
//! Everything here is blind to the business answer; which persona asks for which way is decided in
//! `personas`, and a connection is cut by the listener in `server`.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::personas::{Transport, Vendor};
use crate::state::State;

/// Answer header of a replayed creation, in the payout vendor's spelling.
pub(crate) const REPLAYED: &str = "idempotent-replayed";

/// Marks a response whose connection is closed instead of answering.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

/// One request and the way it travels.
pub(crate) struct Trip<'a> {
    pub(crate) vendor: Vendor,
    pub(crate) transport: Option<Transport>,
    /// By what repeats of the request are known.
    pub(crate) key: &'a str,
    /// The vendor's own answer when it cannot serve.
    pub(crate) unavailable: fn() -> Response,
}

/// Answers one request the way its persona travels; `answer` performs the effect.
pub(crate) async fn travel(
    state: &State,
    trip: Trip<'_>,
    answer: impl FnOnce() -> Response,
) -> Response {
    let seen = || state.repeats.count(trip.vendor, trip.key);
    match trip.transport {
        None => answer(),
        Some(Transport::Slow) => {
            let response = answer();
            state.sleep(state.options.slow_for).await;
            response
        }
        Some(Transport::Flaky) if seen() % 3 < 2 => (trip.unavailable)(),
        Some(Transport::Flaky) => answer(),
        Some(Transport::Down) => (trip.unavailable)(),
        Some(Transport::Lost) => lose_first(state, &trip, answer()),
        Some(Transport::LostForever) => {
            drop(answer());
            cut()
        }
        Some(Transport::Vanish) if seen() > 0 => answer(),
        Some(Transport::Vanish | Transport::VanishForever) => {
            state.sleep(state.options.hang_for).await;
            cut()
        }
        Some(Transport::Garbage) => garble(&answer()),
    }
}

/// A response that the listener turns into a closed connection.
pub(crate) fn cut() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(Cut);
    response
}

/// A write shows by its replay header that it was answered before; a read is counted.
fn lose_first(state: &State, trip: &Trip<'_>, response: Response) -> Response {
    let answered_before = match trip.vendor {
        Vendor::Increase => response.headers().contains_key(REPLAYED),
        Vendor::Onfido | Vendor::Yente | Vendor::Seon => {
            state.repeats.count(trip.vendor, trip.key) % 2 == 1
        }
    };
    if answered_before { response } else { cut() }
}

fn garble(response: &Response) -> Response {
    if !response.status().is_success() {
        return (response.status(), "upstream error").into_response();
    }
    let mut garbage = (StatusCode::OK, "{\"id\": \"\u{fffd}\u{fffd}\", \"stat").into_response();
    let json = HeaderValue::from_static("application/json");
    garbage.headers_mut().insert(axum::http::header::CONTENT_TYPE, json);
    garbage
}
