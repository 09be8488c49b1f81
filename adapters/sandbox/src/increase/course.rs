//! The course of a transfer: which step it has reached at a moment of sandbox time.
//!
//! Pure: entry, options and time in, steps out. How a step looks on the wire is `body`'s matter.

use std::time::Duration;

use crate::clock::Millis;
use crate::ledger::{Effect, TransferKind};
use crate::options::SandboxOptions;
use crate::personas::Payout;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    PendingSubmission,
    Submitted,
    /// ACH only: the status stays `submitted`, the settlement is filled in.
    Settled,
    /// RTP only.
    Complete,
    Rejected,
    Returned,
    RequiresAttention,
    Canceled,
}

impl Step {
    /// The vendor's word, but for `settled`, for which the vendor has a sub-object and no word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PendingSubmission => "pending_submission",
            Self::Submitted => "submitted",
            Self::Settled => "settled",
            Self::Complete => "complete",
            Self::Rejected => "rejected",
            Self::Returned => "returned",
            Self::RequiresAttention => "requires_attention",
            Self::Canceled => "canceled",
        }
    }
}

/// Steps reached by `now` with their times, oldest first, never empty.
///
/// Submission is half-way to settlement; a cancellation is only ever taken before it.
pub(crate) fn course(
    effect: &Effect,
    options: &SandboxOptions,
    now: Millis,
) -> Vec<(Millis, Step)> {
    let created = effect.created_at_ms;
    let start = (created, Step::PendingSubmission);
    if let Some(canceled) = effect.canceled_at_ms {
        return vec![start, (canceled, Step::Canceled)];
    }
    let at = |after: Duration| {
        created.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
    };
    let submitted = at(options.settle_after / 2);
    let settled = at(options.settle_after);
    let returned = at(options.settle_after.saturating_add(options.return_after));
    let later = match (effect.order.kind, effect.order.payout) {
        (TransferKind::AchTransfer, Payout::Settles | Payout::BadAccount) => {
            vec![(submitted, Step::Submitted), (settled, Step::Settled)]
        }
        (TransferKind::AchTransfer, Payout::Returned) => {
            vec![(submitted, Step::Submitted), (settled, Step::Settled), (returned, Step::Returned)]
        }
        (TransferKind::AchTransfer, Payout::Blocked) => {
            vec![(submitted, Step::Submitted), (settled, Step::Returned)]
        }
        (TransferKind::AchTransfer, Payout::Rejected) => vec![(submitted, Step::Rejected)],
        (TransferKind::RealTimePaymentsTransfer, Payout::Settles | Payout::Returned) => {
            vec![(submitted, Step::Submitted), (settled, Step::Complete)]
        }
        (
            TransferKind::RealTimePaymentsTransfer,
            Payout::Rejected | Payout::BadAccount | Payout::Blocked,
        ) => vec![(submitted, Step::Submitted), (settled, Step::Rejected)],
        (
            TransferKind::AchTransfer | TransferKind::RealTimePaymentsTransfer,
            Payout::NeedsAttention,
        ) => vec![(submitted, Step::RequiresAttention)],
    };
    let reached = later.into_iter().filter(|(when, _)| *when <= now);
    std::iter::once(start).chain(reached).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Step, course};
    use crate::ledger::{Effect, Order, TransferKind};
    use crate::options::SandboxOptions;
    use crate::personas::Payout;

    const ACH: TransferKind = TransferKind::AchTransfer;
    const RTP: TransferKind = TransferKind::RealTimePaymentsTransfer;

    fn transfer(kind: TransferKind, payout: Payout) -> Effect {
        Effect {
            transfer_id: "t".into(),
            created_at_ms: 0,
            order: Order {
                kind,
                idempotency_key: None,
                amount: 1,
                account_number: "1".into(),
                routing_number: "1".into(),
                beneficiary: "Bob".into(),
                reference: String::new(),
                payout,
                request: Arc::from("{}"),
            },
            canceled_at_ms: None,
            requests_seen: 1,
        }
    }

    fn last_step(effect: &Effect, now: i64) -> &'static str {
        let options = SandboxOptions {
            settle_after: Duration::from_secs(10),
            return_after: Duration::from_secs(20),
            ..SandboxOptions::default()
        };
        course(effect, &options, now).last().map_or("none", |(_, step)| step.name())
    }

    #[test]
    fn a_transfer_takes_the_course_of_its_persona() {
        let (pending, submitted, settled) = ("pending_submission", "submitted", "settled");
        let rejected = "rejected";
        let cases = [
            (ACH, Payout::Settles, [pending, submitted, settled, settled]),
            (ACH, Payout::Returned, [pending, submitted, settled, "returned"]),
            (ACH, Payout::Blocked, [pending, submitted, "returned", "returned"]),
            (ACH, Payout::Rejected, [pending, rejected, rejected, rejected]),
            (RTP, Payout::Settles, [pending, submitted, "complete", "complete"]),
            (RTP, Payout::Returned, [pending, submitted, "complete", "complete"]),
            (RTP, Payout::Blocked, [pending, submitted, rejected, rejected]),
            (RTP, Payout::BadAccount, [pending, submitted, rejected, rejected]),
        ];
        for (kind, payout, expected) in cases {
            let effect = transfer(kind, payout);
            let seen = [4_999, 5_000, 10_000, 30_000].map(|now| last_step(&effect, now));
            assert_eq!(seen, expected, "{kind:?} {payout:?}");
        }
    }

    #[test]
    fn a_canceled_transfer_goes_no_further() {
        let canceled = Effect { canceled_at_ms: Some(7), ..transfer(ACH, Payout::Settles) };
        let steps = course(&canceled, &SandboxOptions::default(), i64::MAX);
        assert_eq!(steps, [(0, Step::PendingSubmission), (7, Step::Canceled)]);
    }
}
