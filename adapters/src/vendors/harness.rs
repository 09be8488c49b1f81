//! What must hold for every vendor, proved for each by its being registered: nothing that is not the vendor's own
//! business answer becomes one, catalog entries are complete, writes are repeatable byte for byte.
//! What a recorded body means is each vendor's own test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::{AttemptId, Contract, Effect};
use std::path::PathBuf;

use crate::model::{
    Answer, Ask, Evidence, Exchange, HttpRequest, Lost, Next, Outcome, Reply, Sent, Vendor,
};
use crate::vendors::{ALL, Listing};

/// Attempt of every request of these tests.
pub(super) const ATTEMPT: &str = "8d8ac610-566d-8ef0-9c22-186b2a5ed793";

/// What the harness needs to play a vendor: `rehearsal.yaml` of its folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rehearsal {
    /// Settings.
    settings: Value,
    /// A good reply to each operation.
    takes: Vec<Take>,
}

/// A good reply to an operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Take {
    operation: String,
    status: u16,
    /// Recorded body; none for an empty one.
    fixture: Option<String>,
}

impl Take {
    fn reply(&self, vendor: &str) -> Reply {
        let body = self.fixture.as_ref().map(|name| fixture(vendor, name)).unwrap_or_default();
        let body = String::from_utf8(body).unwrap().replace("attempt-71f0", ATTEMPT).into_bytes();
        Reply::Answered { status: self.status, retry_after: None, body }
    }
}

fn rehearsal(listing: &Listing) -> Rehearsal {
    let text = std::fs::read_to_string(folder(listing.name).join("rehearsal.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The vendor with its test settings.
pub(super) fn ready(listing: &Listing) -> Vendor {
    (listing.build)(rehearsal(listing).settings).unwrap()
}

/// A recorded body.
pub(super) fn fixture(vendor: &str, name: &str) -> Vec<u8> {
    std::fs::read(folder(vendor).join("fixtures").join(name)).unwrap()
}

fn folder(vendor: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/vendors").join(vendor)
}

/// Every recorded body is named in the vendor's own tests.
pub(super) fn every_fixture_is_used(vendor: &str, tests: &str) {
    for entry in std::fs::read_dir(folder(vendor).join("fixtures")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(tests.contains(&name), "no test of {vendor} reads {name}");
    }
}

/// Compares JSON, whatever the order of its members.
pub(super) fn same_json(one: &[u8], other: &[u8]) {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(parse(one), parse(other));
}

/// A request of a capability, as the contract's decoder would hand it over.
pub(super) fn ask(capability: &str) -> Ask {
    let call = json!({"attempt_id": ATTEMPT, "flow_id": "8d8ac610-566d-8ef0-9c22-186b2a5ed794", "aggregate_id": "p-1842",
        "tenant": "acme", "lane": 3, "step": "s", "group": 0, "reply_by": 1_800_000_000_000_000_i64, "excluded": []});
    let party = |name: &str, family: &str| {
        json!({"kind": "person", "name": format!("{name} {family}"), "given_name": name, "family_name": family,
            "birth_date": 7_406, "address": {"street": "12 Main Street", "building": null, "post_code": "62701",
            "town": "Springfield", "region": "IL", "country": "US"}})
    };
    let amount = json!({"minor_units": 12_550, "currency": "USD", "exponent": 2});
    let account = json!({"scheme": "aba", "iban": null, "routing_number": "101050001", "account_number": "987654321", "bic": null});
    let (payer, payee) = (party("Ann", "Clear"), party("Bob", "Clear"));
    let value = match capability {
        "kyc.check" => {
            json!({"call": call, "customer_id": "subject-1842", "subject": payer, "purpose": "payout"})
        }
        "aml.screen" => json!({"call": call, "role": "originator", "party": payer}),
        "fraud.score" => {
            json!({"call": call, "customer_id": "subject-1842", "amount": amount, "originator": payer,
            "beneficiary": payee, "account": account})
        }
        "payout.send" => {
            json!({"call": call, "amount": amount, "originator": payer, "beneficiary": payee,
            "account": account, "rail": "ach", "reference": "PAYOUT 1842"})
        }
        "payout.inquire" => json!({"call": call, "subject_attempt": ATTEMPT}),
        _ => json!({"call": call, "subject_attempt": ATTEMPT, "why": "requested_by_customer"}),
    };
    Ask::read(capability, value).unwrap()
}

/// The payout that inquiries and recalls of these tests are about.
pub(super) fn sent(listing: &Listing) -> Sent {
    let request = match ready(listing).next(&ask("payout.send"), None, &[]) {
        Next::Call(request) => request,
        _ => HttpRequest::get("none", "/".to_owned()),
    };
    Sent { attempt: AttemptId(ATTEMPT.parse().unwrap()), request: Some(request) }
}

/// Plays a request to its answer; `spoil` may replace the reply to an operation.
fn play(
    listing: &Listing,
    capability: &str,
    spoil: impl Fn(&str) -> Option<Reply>,
) -> (Answer, Vec<String>) {
    let rehearsed = rehearsal(listing);
    let good = |operation: &str| {
        rehearsed.takes.iter().find(|take| take.operation == operation).unwrap().reply(listing.name)
    };
    let played = play_on(listing, capability, |asked| spoil(asked).unwrap_or_else(|| good(asked)));
    played.unwrap_or_else(|| panic!("{} never answers {capability}", listing.name))
}

/// Plays a request with replies to its operations; none where the vendor is still asked after 20 of them.
fn play_on(
    listing: &Listing,
    capability: &str,
    reply: impl Fn(&str) -> Reply,
) -> Option<(Answer, Vec<String>)> {
    let (vendor, ask, sent) = (ready(listing), ask(capability), sent(listing));
    let mut so_far: Vec<Exchange> = Vec::new();
    for _ in 0..20 {
        let request = match vendor.next(&ask, Some(&sent), &so_far) {
            Next::Done(answer) => {
                let asked = so_far.into_iter().map(|exchange| exchange.operation).collect();
                return Some((answer, asked));
            }
            Next::Call(request) | Next::Poll(_, request) => request,
        };
        let reply = reply(&request.operation);
        so_far.push(Exchange { operation: request.operation, reply });
    }
    None
}

fn served(listing: &Listing) -> Vec<String> {
    ready(listing).partner.capabilities.clone()
}

/// Everything that can come back and is not the vendor's business answer.
fn spoiled() -> Vec<Reply> {
    let mut replies =
        vec![Reply::Lost(Lost::NotSent), Reply::Lost(Lost::TimedOut), Reply::Lost(Lost::Broken)];
    let bodies: [&[u8]; 5] = [b"", b"{}", b"[]", b"<html>upstream error", b"{\"id\": \"\xff"];
    let statuses =
        (200..=204).chain(300..=308).chain(400..=451).chain(500..=511).chain([100, 599, 999]);
    for status in statuses {
        for body in bodies {
            // A 200 without a body is this one vendor's good reply, and no other's.
            replies.push(Reply::Answered { status, retry_after: None, body: body.to_vec() });
        }
    }
    replies
}

#[test]
fn good_replies_become_a_business_answer_in_the_contract_s_words() {
    let contract = Contract::builtin().unwrap();
    for listing in ALL {
        for capability in served(listing) {
            let (answer, _) = play(listing, &capability, |_| None);
            let words = &contract.capability(&capability).unwrap().outcomes;
            assert!(
                words.iter().any(|word| word == answer.outcome.word()),
                "{} {capability}: {answer:?}",
                listing.name
            );
            let business = !matches!(answer.outcome, Outcome::Unavailable | Outcome::InDoubt);
            assert!(business, "{} {capability}: {answer:?}", listing.name);
        }
    }
}

#[test]
fn garbage_errors_and_silence_are_never_a_business_answer() {
    for listing in ALL {
        for capability in served(listing) {
            let (_, operations) = play(listing, &capability, |_| None);
            let good: Vec<Reply> =
                rehearsal(listing).takes.iter().map(|take| take.reply(listing.name)).collect();
            for operation in operations {
                for reply in spoiled() {
                    if good.contains(&reply) {
                        continue;
                    }
                    let (answer, _) = play(listing, &capability, |asked| {
                        (asked == operation).then(|| reply.clone())
                    });
                    let none = matches!(answer.outcome, Outcome::Unavailable | Outcome::InDoubt);
                    assert!(
                        none && answer.class.is_some(),
                        "{} {operation} {reply:?}: {answer:?}",
                        listing.name
                    );
                    assert_ne!(
                        answer.evidence,
                        Evidence::Recorded,
                        "{} {operation} {reply:?}",
                        listing.name
                    );
                    let words =
                        &Contract::builtin().unwrap().capability(&capability).unwrap().outcomes;
                    assert!(
                        words.iter().any(|word| word == answer.outcome.word()),
                        "{capability}: {answer:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn wrong_settings_are_refused_and_not_told() {
    for listing in ALL {
        let error = (listing.build)(Value::from("hush")).err().unwrap().to_string();
        assert!(error.contains(listing.name) && !error.contains("hush"), "{error}");
    }
}

/// Good replies with edits, under any status: what a vendor, a proxy or an attacker in between may send.
#[test]
fn whatever_a_vendor_sends_comes_to_an_answer_in_the_contract_s_words() {
    let contract = Contract::builtin().unwrap();
    let asked: Vec<(&Listing, String)> = ALL
        .iter()
        .flat_map(|listing| {
            served(listing).into_iter().map(move |capability| (listing, capability))
        })
        .collect();
    bolero::check!()
        .with_type::<(u8, bool, u16, Vec<(u16, u8, Vec<u8>)>)>()
        .with_test_time(std::time::Duration::from_secs(5))
        .for_each(|(which, is_good, other, edits)| {
            let (listing, capability) = &asked[usize::from(*which) % asked.len()];
            let takes = rehearsal(listing).takes;
            let played = play_on(listing, capability, |operation| {
                let take = takes.iter().find(|take| take.operation == operation);
                let Some(Reply::Answered { status, retry_after, mut body }) =
                    take.map(|take| take.reply(listing.name))
                else {
                    return Reply::Lost(Lost::Broken);
                };
                for (place, cut, put) in edits {
                    let at = (usize::from(*place) * (body.len() + 1)) >> 16;
                    let end = (at + usize::from(*cut)).min(body.len());
                    body.splice(at..end, put.iter().copied());
                }
                let status = if *is_good { status } else { 100 + other % 900 };
                Reply::Answered { status, retry_after, body }
            });
            // One that is always told to wait is asked until its time is over.
            let Some((answer, _)) = played else { return };
            let words = &contract.capability(capability).unwrap().outcomes;
            let word = answer.outcome.word();
            assert!(words.iter().any(|known| known == word), "{capability}: {answer:?}");
        });
}

#[test]
fn a_write_carries_our_key_and_is_the_same_bytes_each_time() {
    for listing in
        ALL.iter().filter(|listing| served(listing).iter().any(|name| name == "payout.send"))
    {
        let request = sent(listing).request.unwrap();
        assert_eq!(request.effect, Effect::Write, "{}", listing.name);
        assert!(
            !request.body.is_empty(),
            "{}: a write without a body cannot be held back once begun",
            listing.name
        );
        assert!(
            request.headers.iter().any(|(_, value)| value == ATTEMPT),
            "{} sends no key",
            listing.name
        );
        let again = sent(listing).request.unwrap();
        assert_eq!(request.stored(), again.stored(), "{}", listing.name);
        assert_eq!(HttpRequest::restore(&request.stored()), Some(request), "{}", listing.name);
    }
}

#[test]
fn no_stored_request_holds_a_secret() {
    for listing in ALL {
        assert!(
            !String::from_utf8(sent(listing).request.unwrap().stored()).unwrap().contains("secret"),
            "{}",
            listing.name
        );
    }
}

#[test]
fn every_catalog_entry_is_complete_and_says_what_the_code_does() {
    for listing in ALL {
        let vendor = ready(listing);
        let partner = &vendor.partner;
        assert_eq!(partner.name, listing.name);
        for texts in [
            &partner.capabilities,
            &partner.domains,
            &partner.regions,
            &partner.vocabulary,
            &partner.known_gaps,
        ] {
            assert!(
                !texts.is_empty() && texts.iter().all(|text| !text.trim().is_empty()),
                "{}",
                listing.name
            );
        }
        for owner in [&partner.contract_owner, &partner.technical_owner, &partner.rate_limit.source]
        {
            assert!(!owner.trim().is_empty(), "{}", listing.name);
        }
        assert!(partner.rate_limit.per_second > 0);
        assert!(
            partner.vocabulary.contains(&partner.name),
            "{}: its own name is a word of its own",
            listing.name
        );
        for capability in Contract::builtin().unwrap().capabilities() {
            let listed = partner.capabilities.contains(&capability.name);
            assert_eq!(
                vendor.serves(&capability.name),
                listed,
                "{} {}",
                listing.name,
                capability.name
            );
        }
        let moves_money = partner.capabilities.iter().any(|name| name == "payout.send");
        assert_eq!(
            partner.rails.is_empty() || partner.currencies.is_empty(),
            !moves_money,
            "{}",
            listing.name
        );
    }
}

#[test]
fn a_folder_is_a_vendor_and_has_the_same_parts_in_the_same_order() {
    let parts =
        ["//! ", "const NAME", "LISTING", "struct Config", "fn build", "impl ", "#[cfg(test)]"];
    let registered: Vec<&str> = ALL.iter().map(|listing| listing.name).collect();
    for entry in std::fs::read_dir(folder("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(registered.contains(&name), "{name} is not registered in vendors/mod.rs");
        let text = std::fs::read_to_string(path.join("mod.rs")).unwrap();
        let find = |part: &&str| text.find(*part).unwrap_or_else(|| panic!("{name} has no {part}"));
        let places: Vec<usize> = parts.iter().map(find).collect();
        assert!(places.is_sorted(), "{name}: parts stand in another order");
    }
}

#[test]
fn an_unknown_setting_is_refused() {
    for listing in ALL {
        let mut settings = rehearsal(listing).settings;
        settings["colour"] = json!("blue");
        let Err(error) = (listing.build)(settings) else {
            panic!("{} takes any setting", listing.name)
        };
        assert!(error.to_string().contains("colour"), "{error}");
    }
}
