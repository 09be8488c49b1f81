//! The closing of the books: what must hold for a set of payouts whatever went wrong on the way. It breaks nothing and
//! waits only for endings.

use std::collections::BTreeMap;
use std::time::Duration;

use signalbox::payouts::Payout;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::installation::Installation;

/// Without any ending for this long, something is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one wait for the next ending lasts, between looks at the processes.
const LOOK: Duration = Duration::from_secs(1);
/// Broken promises that are told before the rest is only counted.
const TOLD_MAX: usize = 12;

/// How a payout must end.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The payout.
    pub payout: Payout,
    /// Statuses that are right.
    pub ends: Vec<String>,
    /// Transfers in the bank's ledger.
    pub transfers: usize,
}

/// What was found, for a line of proof.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// Payouts by ending.
    pub endings: BTreeMap<String, usize>,
    /// Transfers that the bank took on for them.
    pub transfers: usize,
}

impl Expectation {
    /// Paid once and completed.
    #[must_use]
    pub fn completed(payout: Payout) -> Self {
        Self { payout, ends: vec!["completed".to_owned()], transfers: 1 }
    }
}

impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: usize = self.endings.values().sum();
        write!(f, "{total} payouts, each with one ending (")?;
        for (place, (ending, count)) in self.endings.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {ending}")?;
        }
        write!(f, "), {} transfers in the bank's ledger, none twice, audit intact", self.transfers)
    }
}

/// Waits until every payout has ended and proves: one ending each and the right one, transfers as the bank counts
/// them, no gap and no altered repeat on any topic, an intact audit trail.
///
/// # Errors
/// `Late` where payouts do not end, `Broken` with every promise that does not hold.
pub async fn verify(
    installation: &mut Installation,
    expected: &[Expectation],
) -> Result<Verified, Failure> {
    until_all_ended(installation, expected).await?;
    let transfers = installation.bank.transfers_per_account().await?;
    let mut verified = Verified::default();
    let mut broken = installation.witness.ask(|seen| seen.breaks.clone());
    for one in expected {
        let id = &one.payout.id;
        let course = installation.witness.course(id);
        let statuses: Vec<&str> =
            course.endings.iter().map(|ending| ending.status.as_str()).collect();
        match statuses.as_slice() {
            [status] => {
                *verified.endings.entry((*status).to_owned()).or_default() += 1;
                if !one.ends.iter().any(|right| right == status) {
                    let right = one.ends.join(" or ");
                    broken.push(format!("{id} ended {status}, not {right}: {course:?}"));
                }
            }
            several => broken.push(format!("{id} has the endings {several:?}, not one")),
        }
        let moved = transfers.get(&one.payout.account).copied().unwrap_or_default();
        verified.transfers += moved;
        if moved != one.transfers {
            let right = one.transfers;
            broken.push(format!("{id} has {moved} transfers at the bank, not {right}: {course:?}"));
        }
    }
    if let Err(failure) = installation.succeed(&["audit", "verify"]).await {
        broken.push(failure.to_string());
    }
    if broken.is_empty() { Ok(verified) } else { Err(told(&broken)) }
}

async fn until_all_ended(
    installation: &mut Installation,
    expected: &[Expectation],
) -> Result<(), Failure> {
    let ids: Vec<&str> = expected.iter().map(|one| one.payout.id.as_str()).collect();
    let mut last = (0, Instant::now());
    loop {
        let all = |seen: &crate::witness::Sightings| {
            (seen.ended(ids.iter().copied()) == ids.len()).then_some(())
        };
        match installation.witness.until(LOOK, "the end of every payout", all).await {
            Err(Failure::Late { .. }) => {}
            other => return other,
        }
        installation.must_run()?;
        let ended = installation.witness.ask(|seen| seen.ended(ids.iter().copied()));
        if ended > last.0 {
            last = (ended, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            return Err(stuck(installation, &ids));
        }
    }
}

fn stuck(installation: &Installation, ids: &[&str]) -> Failure {
    let courses = ids.iter().map(|id| (id, installation.witness.course(id)));
    let open: Vec<String> = courses
        .filter(|(_, course)| course.endings.is_empty())
        .map(|(id, course)| format!("{id} after {:?} and {:?}", course.statuses, course.tasks))
        .collect();
    Failure::Late {
        what: format!("an ending of {} payouts", open.len()),
        seconds: PATIENCE.as_secs(),
        seen: open.into_iter().take(TOLD_MAX).collect::<Vec<_>>().join("\n"),
    }
}

fn told(broken: &[String]) -> Failure {
    let mut lines: Vec<String> = broken.iter().take(TOLD_MAX).cloned().collect();
    if broken.len() > TOLD_MAX {
        lines.push(format!("and {} more", broken.len() - TOLD_MAX));
    }
    Failure::Broken(lines.join("\n"))
}
