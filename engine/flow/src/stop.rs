//! Why a step is not taken, and the short ways to say so. Here nothing is judged; whoever judges an input says it.

use crate::decision::Refusal;

/// Why a step was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The input is refused.
    Refused(Refusal),
    /// The journey would do something that must never happen. The checker finds it before a journey runs.
    Unsafe {
        /// The rule that would be broken.
        rule: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

/// What the caller is answered. A journey that the checker passed does nothing unsafe.
pub(crate) fn refused<T>(result: Result<T, Stop>) -> Result<T, Refusal> {
    result.map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal,
        Stop::Unsafe { rule, message } => Refusal::Unresolvable {
            detail: format!("the journey must not do this ({rule}): {message}"),
        },
    })
}

/// Nothing new.
pub(crate) fn known<T>() -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::Known))
}

/// The command cannot be carried out now.
pub(crate) fn not_now<T>(detail: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::NotPossibleNow { detail: detail.into() }))
}

/// The input does not belong to the flow.
pub(crate) fn unresolvable<T>(detail: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::Unresolvable { detail: detail.into() }))
}

/// The journey is wrong.
pub(crate) fn not_safe<T>(rule: &'static str, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Unsafe { rule, message: message.into() })
}
