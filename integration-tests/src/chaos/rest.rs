//! The end of a run: everything works, nothing more is asked for, and every case has to end. Where a payment is in doubt
//! and only the bank's books can tell, people look into them; they do so now, when nothing can be under way any more.

use std::collections::BTreeSet;
use std::time::Duration;

use signalbox::scene::{Console, Decision};
use tokio::time::{Instant, sleep};

use super::load::{Case, Load};
use super::site::Site;
use crate::failure::Failure;

/// Without any ending for this long, something is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// After this time without a fault no request is under way: longer than any is held, sent or waited for.
const QUIET: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(250);
/// Open cases that are told of.
const TOLD_MAX: usize = 12;

/// Waits until every case has ended.
///
/// # Errors
/// `Late` with what is open where nothing ends any more.
pub(crate) async fn until_all_ended(
    site: &mut Site,
    load: &Load,
    console: Console,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut last = (usize::MAX, begun);
    let mut decided = BTreeSet::new();
    // What was found open before; nothing opens again.
    let mut open = load.cases();
    loop {
        site.on.witness.ask(|seen| {
            let is_open = |case: &Case| {
                seen.courses.get(&case.id).is_none_or(|course| course.endings.is_empty())
            };
            open.retain(is_open);
        });
        if open.is_empty() {
            return Ok(());
        }
        for (name, words) in site.restart_ended().await? {
            console.say(&format!("    {name} has ended by itself: {words}"));
        }
        if open.len() < last.0 {
            last = (open.len(), Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            let seen = open.iter().take(TOLD_MAX).map(|case| {
                let course = site.on.witness.course(&case.id);
                format!("{} after {:?} and {:?}", case.id, course.statuses, course.tasks)
            });
            return Err(Failure::Late {
                what: format!("an ending of {} cases", open.len()),
                seconds: PATIENCE.as_secs(),
                seen: seen.collect::<Vec<_>>().join("\n"),
            });
        }
        if begun.elapsed() > QUIET {
            rule(site, &open, &mut decided).await?;
        }
        sleep(LOOK).await;
    }
}

/// Two people rule what the bank's books say, each time that they are called to a payment in doubt.
async fn rule(
    site: &Site,
    open: &[Case],
    decided: &mut BTreeSet<(String, &'static str, usize)>,
) -> Result<(), Failure> {
    let ledger = site.on.bank.ledger().await?;
    for case in open {
        let Some(account) = &case.account else { continue };
        let course = site.on.witness.course(&case.id);
        let statuses: Vec<&str> = ledger
            .iter()
            .filter(|transfer| transfer.account_number == *account)
            .map(|transfer| transfer.status())
            .collect();
        let is_paid = statuses.iter().any(|s| !matches!(*s, "rejected" | "canceled" | "returned"));
        for (step, executed) in
            [("settle_doubt", is_paid), ("review_settlement", is_paid), ("settle_recall", !is_paid)]
        {
            let calls = course.tasks.iter().filter(|task| task.step == step);
            let calls =
                calls.filter(|task| matches!(task.status.as_str(), "opened" | "escalated")).count();
            if calls == 0 || !decided.insert((case.id.clone(), step, calls)) {
                continue;
            }
            for actor in ["cora", "dan"] {
                let decision = if executed { "executed" } else { "not_executed" };
                site.on.commands.decide(&ruling(&case.id, step, decision, actor)).await?;
            }
        }
    }
    Ok(())
}

fn ruling(case: &str, step: &str, decision: &str, actor: &str) -> Decision {
    Decision {
        case: case.to_owned(),
        journey: "payout".to_owned(),
        step: step.to_owned(),
        decision: decision.to_owned(),
        actor: actor.to_owned(),
    }
}
