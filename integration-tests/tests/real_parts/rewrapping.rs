//! The envelope key is changed under load, the old one is taken away, and everything that was readable is readable.

use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, Said, Setting, verify};
use signalbox::payouts::Wish;
use signalbox_vault::{EnvelopeKeys, OpenError};
use sqlx::{Connection, PgConnection, Row};

use super::crashes::{all_completed, in_mid_work};
use super::erasure::{erase, opened, text};
use crate::{ADAPTER, ENGINE, Outcome};

/// Variables with the installation's own envelope key and with the other one.
const OLD: &str = "SIGNALBOX_ENVELOPE_KEY";
const NEW: &str = "SIGNALBOX_OTHER_ENVELOPE_KEY";

/// The procedure of docs/privacy.md, step by step, with payouts under way; and back again.
pub(crate) async fn old_key_retired(on: &mut Installation) -> Outcome {
    let payouts = on.request(&Wish::default(), 20).await?;
    let (Some(erased), Some(kept)) = (payouts.first().cloned(), payouts.last().cloned()) else {
        return Err(Failure::Broken("nobody asked for a payout".to_owned()));
    };
    verify(on, &payouts.into_iter().map(Expectation::completed).collect::<Vec<_>>()).await?;
    erase(on, &text(&erased, "customer_id")).await?;

    let broken = |error: signalbox_vault::KeySourceError| Failure::Broken(error.to_string());
    let key = EnvelopeKeys::generate().map_err(broken)?;
    let change = Change { key: key.clone() };
    let under_way = in_mid_work(on).await?;
    // Every service can open what the new key wraps before the first one wraps with it.
    restart(on, change.settings(OLD, Some(NEW))).await?;
    restart(on, change.settings(NEW, Some(OLD))).await?;
    let (given_up, done) = rewrap(on, &change.settings(NEW, Some(OLD))).await?;
    restart(on, change.settings(NEW, None)).await?;
    let completed = all_completed(on, under_way).await?;

    let (readable, unreadable) = readable(on, EnvelopeKeys::of_text(&key).map_err(broken)?).await?;
    let without_old = change.settings(NEW, None);
    let shown = on.run(&["flow", "show", &kept.id, "--show-personal-data"], &without_old).await?;
    assert!(shown.code == Some(0) && shown.out.contains(&kept.account), "{shown:?}");
    let shown = on.run(&["flow", "show", &erased.id, "--show-personal-data"], &without_old).await?;
    assert!(shown.code == Some(0) && shown.out.contains("erased on 20"), "{shown:?}");
    // Whoever still has the old key alone can open nothing, and is told so.
    let told = on.run(&["subject", "envelopes"], &[]).await?;
    assert!(told.code == Some(1) && told.out.contains("not configured here"), "{told:?}");
    let refused = on.run(&WRAP_ANEW, &[]).await?;
    assert!(
        refused.code == Some(1) && refused.err.contains("is not configured here"),
        "{refused:?}"
    );

    restart(on, change.settings(NEW, Some(OLD))).await?;
    restart(on, change.settings(OLD, Some(NEW))).await?;
    rewrap(on, &change.settings(OLD, Some(NEW))).await?;
    restart(on, Vec::new()).await?;
    Ok(format!(
        "{completed} while the envelope key was changed; {given_up} keys were wrapped anew when it was given up, {done} in \
         the end; without the old one {readable} sealed values are readable, {unreadable} of erased customers are not"
    ))
}

/// The envelope key that comes beside the installation's own.
struct Change {
    key: String,
}

impl Change {
    /// One key wraps; the other one, if any, is known beside it.
    fn settings(&self, wraps: &str, beside: Option<&str>) -> Vec<Setting> {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut settings = vec![
            setting(NEW, &self.key),
            setting("SIGNALBOX__PRIVACY__ENVELOPE_KEY", &format!("env:{wraps}")),
        ];
        settings.extend(beside.map(|beside| {
            setting("SIGNALBOX__PRIVACY__OTHER_ENVELOPE_KEYS", &format!("env:{beside}"))
        }));
        settings
    }
}

const WRAP_ANEW: [&str; 8] =
    ["subject", "rewrap", "--actor", "ann", "--reason", "the yearly change", "--portion", "5"];

/// Wraps everything anew, given up half way the first time. How many keys were done then, and in the end.
async fn rewrap(on: &Installation, settings: &[Setting]) -> Result<(i64, i64), Failure> {
    let before = told(on).await?;
    assert!(doctor(on, settings).await?.out.contains("are still wrapped by the envelope key"));
    // Wherever that stops it.
    let _ = tokio::time::timeout(Duration::from_millis(400), on.run(&WRAP_ANEW, settings)).await;
    let given_up = told(on).await? - before;
    let said = on.run(&WRAP_ANEW, settings).await?;
    assert!(said.code == Some(0) && said.out.contains("every key of a customer"), "{said:?}");
    let done = told(on).await? - before;
    let looked = doctor(on, settings).await?;
    assert!(
        done > 0 && looked.out.contains("wrapped by privacy.envelope_key"),
        "{done}: {looked:?}"
    );
    Ok((given_up, done))
}

async fn doctor(on: &Installation, settings: &[Setting]) -> Result<Said, Failure> {
    on.run(&["doctor", "--replicas", "1"], &[on.vendor_settings().as_slice(), settings].concat())
        .await
}

/// How many keys the database says were wrapped anew.
async fn told(on: &Installation) -> Result<i64, Failure> {
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    let row = sqlx::query("SELECT coalesce(sum(keys), 0)::bigint AS keys FROM rewrapping");
    Ok(row.fetch_one(&mut database).await?.try_get("keys")?)
}

/// How many sealed values can be opened with these envelope keys, and how many nobody can open. There is nothing else.
async fn readable(on: &Installation, keys: EnvelopeKeys) -> Result<(usize, usize), Failure> {
    let opened = opened(on, keys).await?;
    let readable = opened.iter().filter(|(_, _, outcome)| outcome.is_ok()).count();
    for (place, _, outcome) in &opened {
        assert!(matches!(outcome, Ok(_) | Err(OpenError::Erased(_))), "{place:?}: {outcome:?}");
    }
    Ok((readable, opened.len() - readable))
}

/// Engine and adapter, one after the other, with other settings.
async fn restart(on: &mut Installation, settings: Vec<Setting>) -> Result<(), Failure> {
    on.also(settings);
    on.stop_engine(ENGINE).await?;
    on.start_engine(ENGINE).await?;
    on.kill_adapter(ADAPTER)?;
    on.start_adapter(ADAPTER).await?;
    on.also(Vec::new());
    Ok(())
}
