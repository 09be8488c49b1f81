//! What one flow has found out counts for another: an onboarded customer's payout asks no identity vendor, and everybody
//! else's does. The records of vendor calls tell.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Failure, Installation};
use serde_json::{Value, json};
use signalbox::applications::Newcomer;
use signalbox::payouts::Wish;

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn known_and_unknown(on: &mut Installation) -> Outcome {
    let application = on.apply(&Newcomer::default()).await?;
    ended(on, &application.id, "approved").await?;
    let onboarding = called_by(on, &application.id).await?;
    let customer = application.command.get("customer_id").and_then(Value::as_str);
    let shown = ["subject", "show", "--customer", customer.unwrap_or_default()];
    let shown = on.succeed(&shown).await?;
    assert!(shown.contains("  recognised, by flow "), "{shown}");
    let known = json!({"customer_id": application.command.get("customer_id"),
                       "originator": application.command.get("customer")});
    let mut other = known.clone();
    if let Some(name) = other.pointer_mut("/originator/name") {
        *name = Value::from("Eve Elder");
    }
    let of_known = vendors_of_payout(on, &known).await?;
    let of_other = vendors_of_payout(on, &other).await?;
    let of_stranger = vendors_of_payout(on, &json!({})).await?;
    let spared: Vec<&String> = of_stranger.difference(&of_known).collect();
    let [identity] = spared.as_slice() else {
        let told =
            format!("a stranger's payout calls {of_stranger:?}, a known customer's {of_known:?}");
        return Err(Failure::Broken(told));
    };
    if !onboarding.contains(*identity) || of_other != of_stranger {
        return Err(Failure::Broken(format!(
            "onboarding calls {onboarding:?}, a payout under the known id with another's name {of_other:?}"
        )));
    }
    Ok(format!(
        "the payout of an onboarded customer calls {} vendors, a stranger's {}, one with another's name {}",
        of_known.len(),
        of_stranger.len(),
        of_other.len()
    ))
}

/// The vendors that are called for one payout with some fields of its command.
async fn vendors_of_payout(
    on: &mut Installation,
    fields: &Value,
) -> Result<BTreeSet<String>, Failure> {
    let mut payout = on.payout(&Wish::default());
    if let (Some(command), Some(fields)) = (payout.command.as_object_mut(), fields.as_object()) {
        command.extend(fields.clone());
    }
    on.commands.request(&payout.id, &payout.command).await?;
    ended(on, &payout.id, "completed").await?;
    called_by(on, &payout.id).await
}

async fn ended(on: &Installation, case: &str, status: &str) -> Result<(), Failure> {
    let course =
        on.witness.until_course(PATIENCE, case, "the ending", |course| !course.endings.is_empty());
    let course = course.await?;
    match course.endings.as_slice() {
        [one] if one.status == status => Ok(()),
        other => Err(Failure::Broken(format!("{case} ended {other:?} instead of {status}"))),
    }
}

/// The vendors that were called on behalf of one case.
async fn called_by(on: &Installation, case: &str) -> Result<BTreeSet<String>, Failure> {
    let shown = on.succeed(&["flow", "show", case, "--json"]).await?;
    let shown: Value = serde_json::from_str(&shown)
        .map_err(|cause| Failure::Broken(format!("flow show {case} is not JSON: {cause}")))?;
    let moments = shown.get("timeline").and_then(Value::as_array).cloned().unwrap_or_default();
    let partner = |moment: &Value| {
        let is_call = moment.get("what")?.as_str()? == "call";
        let partner = moment.get("detail")?.get("partner")?.as_str()?.to_owned();
        is_call.then_some(partner)
    };
    Ok(moments.iter().filter_map(partner).collect())
}
