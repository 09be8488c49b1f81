//! What the failures that all vendors share mean. Vendors read their own bodies first and fall back to this.
//! It never yields a business answer.

use signalbox_schemas::ErrorClass;

use crate::model::answer::{Answer, Evidence};
use crate::model::wire::{Exchange, Lost, Reply};

/// A read that did not bring a business answer: `unavailable` with the class that the status tells.
pub fn read_failure(exchange: &Exchange) -> Answer {
    let (status, retry_after) = match &exchange.reply {
        Reply::Answered { status, retry_after, .. } => (*status, *retry_after),
        Reply::Lost(lost) => return Answer::unavailable(ErrorClass::Transient, lost_reason(*lost)),
    };
    let (class, reason) = match status {
        401 | 403 => (ErrorClass::Misconfigured, "credentials_refused"),
        404 | 405 | 410 => (ErrorClass::Misconfigured, "resource_unknown"),
        408 | 425 | 500..=599 => (ErrorClass::Transient, "vendor_error"),
        429 => (ErrorClass::Transient, "rate_limited"),
        400..=499 => (ErrorClass::RequiresRepair, "request_refused"),
        _ => (ErrorClass::RequiresRepair, "answer_unrecognised"),
    };
    Answer::unavailable(class, reason).retry_after(retry_after)
}

/// A write that brought nothing recognisable: it may have happened, unless it certainly did not leave.
pub fn write_failure(exchange: &Exchange) -> Answer {
    match exchange.reply {
        Reply::Lost(Lost::NotSent) => {
            Answer::unavailable(ErrorClass::Transient, lost_reason(Lost::NotSent))
                .evidence(Evidence::NotSent)
        }
        Reply::Lost(lost) => Answer::in_doubt(lost_reason(lost)),
        Reply::Answered { status: 409, .. } => Answer::in_doubt("conflict"),
        Reply::Answered { status: 500..=599, .. } => Answer::in_doubt("vendor_error"),
        Reply::Answered { .. } => Answer::in_doubt("answer_unrecognised"),
    }
}

fn lost_reason(lost: Lost) -> &'static str {
    match lost {
        Lost::NotSent => "not_reached",
        Lost::TimedOut => "timeout",
        Lost::Broken => "connection_broken",
    }
}
