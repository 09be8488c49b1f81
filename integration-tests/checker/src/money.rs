//! The bank's ledger against what was commanded: each transfer was asked for, under a key that nobody else has, for the
//! amount and the payee of the command; of one payout at most one transfer moves money, and exactly one where it says
//! that it is completed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::evidence::{Evidence, Record, Transfer};
use crate::report::{Counted, Findings, Promise};
use crate::sequence::Applied;

/// Statuses of a transfer by which no money has moved, or all of it has come back.
const UNMOVED: [&str; 4] = ["rejected", "canceled", "returned", "requires_attention"];
/// What an ACH transfer has room for of a name.
const NAME_MIN: usize = 22;

/// Judges every transfer.
pub(crate) fn judge(
    evidence: &Evidence,
    applied: &Applied<'_>,
    counted: &mut Counted,
    found: &mut Findings,
) {
    counted.transfers = u64::try_from(evidence.transfers.len()).unwrap_or(u64::MAX);
    counted.resends = resends(evidence);
    let asked: HashMap<&str, &str> = applied
        .records
        .iter()
        .filter(|record| record.name.as_deref() == Some("payout.send.Request"))
        .filter_map(|record| Some((record.text("/call/attempt_id")?, record.key.as_str())))
        .collect();
    let commands: HashMap<&str, &Record> = evidence
        .records
        .iter()
        .filter(|record| record.short_name() == "RequestPayout" && record.header("lane").is_none())
        .map(|record| (record.key.as_str(), record))
        .collect();
    let mut keys = BTreeSet::new();
    let mut moved: BTreeMap<&str, Vec<&Transfer>> = BTreeMap::new();
    for transfer in &evidence.transfers {
        let name = &transfer.transfer_id;
        let key = transfer.idempotency_key.as_deref().unwrap_or_default();
        if !keys.insert(key) {
            found.add(Promise::Money, format!("{name}: the key {key} has moved money before"));
        }
        let payout = asked.get(key);
        let Some((payout, command)) = payout.and_then(|id| Some((*id, commands.get(id)?))) else {
            found.add(Promise::Money, format!("{name}: nobody asked for a transfer under {key}"));
            continue;
        };
        as_commanded(payout, command, transfer, found);
        if !UNMOVED.contains(&transfer.status()) {
            moved.entry(payout).or_default().push(transfer);
        }
    }
    for (payout, transfers) in moved.iter().filter(|(_, transfers)| transfers.len() > 1) {
        let names: Vec<&str> = transfers.iter().map(|one| one.transfer_id.as_str()).collect();
        found.add(Promise::Money, format!("{payout} was paid {} times: {names:?}", names.len()));
    }
    as_told(applied, &moved, found);
}

/// Sends of a payment after its first, by the records of vendor calls; each is told at least once.
fn resends(evidence: &Evidence) -> u64 {
    let calls = evidence.records.iter().filter(|r| r.name.as_deref() == Some("partner.VendorCall"));
    let again: BTreeSet<(&str, i64)> = calls
        .filter(|call| matches!(call.text("/capability"), Some("payout.send" | "payout.inquire")))
        .filter(|call| {
            call.text("/operation").is_some_and(|operation| operation.contains("create"))
        })
        .filter_map(|call| Some((call.text("/attempt_id")?, call.value.get("send")?.as_i64()?)))
        .filter(|(_, send)| *send > 1)
        .collect();
    u64::try_from(again.len()).unwrap_or(u64::MAX)
}

/// Amount, currency and payee are those of the command.
fn as_commanded(payout: &str, command: &Record, transfer: &Transfer, found: &mut Findings) {
    let name = &transfer.transfer_id;
    let mut differs = |what: &str, wanted: &str, is: &str| {
        found.add(
            Promise::Money,
            format!("{name} of {payout}: the {what} is {is}, the command says {wanted}"),
        );
    };
    let amount = command.value.pointer("/amount/minor_units").and_then(Value::as_i64);
    if amount != Some(transfer.amount) {
        differs("amount", &amount.unwrap_or_default().to_string(), &transfer.amount.to_string());
    }
    for (what, pointer, is) in [
        ("currency", "/amount/currency", &transfer.currency),
        ("account", "/beneficiary/account/account_number", &transfer.account_number),
        ("routing number", "/beneficiary/account/routing_number", &transfer.routing_number),
    ] {
        let wanted = command.text(pointer).unwrap_or_default();
        if wanted != is {
            differs(what, wanted, is);
        }
    }
    let wanted = command.text("/beneficiary/party/name").unwrap_or_default();
    let is = transfer.beneficiary_name.as_str();
    // A bank cuts names that are too long for it.
    if wanted != is && !(is.len() >= NAME_MIN && wanted.starts_with(is)) {
        differs("payee", wanted, is);
    }
}

/// A payout that says that it is completed was paid, and any other was not.
fn as_told(applied: &Applied<'_>, moved: &BTreeMap<&str, Vec<&Transfer>>, found: &mut Findings) {
    for event in &applied.records {
        let is_payout = event.name.as_deref() == Some("payments.payout.PayoutEvent");
        if !is_payout || event.value.get("final") != Some(&Value::Bool(true)) {
            continue;
        }
        let paid = moved.get(event.key.as_str()).map_or(0, Vec::len);
        let status = event.text("/status").unwrap_or_default();
        if (status == "completed") != (paid > 0) {
            found.add(
                Promise::Money,
                format!("{} is {status}, and was paid {paid} times", event.key),
            );
        }
    }
}
