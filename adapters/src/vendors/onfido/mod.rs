//! Onfido (Entrust), kyc.check, API v3.6: an applicant, a workflow run for it, polls until the run has ended.
//! No idempotency keys: a check repeated after a crash is a second run (and is paid twice), which harms nobody.
//! Limits: 400 requests a minute. What is not recognised becomes `unavailable`, never `pass`.
//! It does not upload documents, issue SDK tokens or read webhooks: the workflow is configured at the vendor.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::{ErrorClass, KycRequest, shapes};
use std::collections::HashMap;
use std::time::Duration;

use crate::codes::records;
use crate::model::{
    Answer, Exchange, HttpRequest, Kyc, Next, Outcome, Partner, Reply, Vendor, VendorError,
    read_failure,
};
use crate::vendors::{Listing, settings};

const NAME: &str = "onfido";
const CREATE_APPLICANT: &str = "create_applicant";
const START_RUN: &str = "start_run";
const POLL_RUN: &str = "poll_run";

pub(crate) const LISTING: Listing = Listing { name: NAME, build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// API token.
    api_token: SecretString,
    /// The workflow that a check of the identity runs.
    workflow_id: String,
    /// The workflow that a check of one document runs; without it such checks are refused.
    #[serde(default)]
    document_workflow_id: Option<String>,
    /// Wait between polls in milliseconds.
    #[serde(default = "default_poll_after_ms")]
    poll_after_ms: u64,
}

fn default_poll_after_ms() -> u64 {
    1_000
}

struct Onfido {
    workflow_id: String,
    document_workflow_id: Option<String>,
    poll_after: Duration,
    countries: HashMap<&'static str, &'static str>,
}

fn build(given: Value) -> Result<Vendor, VendorError> {
    let config: Config = settings(NAME, given)?;
    let rows = records::<2>("onfido countries", include_str!("countries.csv"))?;
    let countries = rows.into_iter().map(|(_, [two, three])| (two, three)).collect();
    let token = SecretString::from(format!("Token token={}", config.api_token.expose_secret()));
    let checks = Onfido {
        workflow_id: config.workflow_id,
        document_workflow_id: config.document_workflow_id,
        poll_after: Duration::from_millis(config.poll_after_ms),
        countries,
    };
    let partner = Partner::parse(NAME, include_str!("partner.yaml"))?;
    Ok(Vendor::new(partner).credential("authorization", token).kyc(checks))
}

/// An applicant as answered to its creation.
#[derive(Deserialize)]
struct Applicant {
    id: String,
}

/// A workflow run as answered.
#[derive(Deserialize)]
struct Run {
    id: String,
    status: String,
    output: Option<RunOutput>,
    #[serde(default)]
    reasons: Vec<String>,
}

/// What our workflow puts into its output.
#[derive(Deserialize)]
struct RunOutput {
    retry_allowed: Option<bool>,
}

impl Kyc for Onfido {
    fn next(&self, request: &KycRequest, so_far: &[Exchange]) -> Next {
        let Some(workflow) = self.workflow(request) else {
            let class = ErrorClass::Misconfigured;
            return Next::Done(Answer::unavailable(class, "no_workflow_for_documents"));
        };
        let Some(last) = so_far.last() else { return self.create_applicant(request) };
        match last.operation.as_str() {
            CREATE_APPLICANT => match body::<Applicant>(last, 201) {
                Some(applicant) => Next::Call(start_run(request, workflow, &applicant.id)),
                None => Next::Done(read_failure(last)),
            },
            _ => match body::<Run>(last, if last.operation == START_RUN { 201 } else { 200 }) {
                Some(run) => self.read(&run),
                None => Next::Done(read_failure(last)),
            },
        }
    }
}

impl Onfido {
    /// A document is checked by a workflow of its own: one for identities may pass without looking at any.
    fn workflow(&self, request: &KycRequest) -> Option<&str> {
        match &request.document {
            Some(_) => self.document_workflow_id.as_deref(),
            None => Some(&self.workflow_id),
        }
    }

    fn create_applicant(&self, request: &KycRequest) -> Next {
        let party = &request.subject;
        let unfit = |reason| Next::Done(Answer::unavailable(ErrorClass::RequiresRepair, reason));
        if party.kind == shapes::PartyKind::Organisation {
            return unfit("not_a_person");
        }
        let Some((first, last)) = names(party) else { return unfit("name_incomplete") };
        let Some(country) = self.countries.get(party.address.country.as_str()) else {
            return unfit("country_unknown");
        };
        let mut applicant = json!({"first_name": first, "last_name": last});
        set(&mut applicant, "dob", party.birth_date.and_then(date));
        let mut address = json!({});
        set(&mut address, "street", party.address.street.clone());
        set(&mut address, "building_number", party.address.building.clone());
        set(&mut address, "town", Some(party.address.town.clone()));
        set(&mut address, "state", party.address.region.clone());
        set(&mut address, "postcode", party.address.post_code.clone());
        set(&mut address, "country", Some((*country).to_owned()));
        set(&mut applicant, "address", Some(address));
        set(&mut applicant, "location", Some(json!({"country_of_residence": country})));
        Next::Call(HttpRequest::post(CREATE_APPLICANT, "/v3.6/applicants".to_owned(), &applicant))
    }

    fn read(&self, run: &Run) -> Next {
        let poll = || HttpRequest::get(POLL_RUN, format!("/v3.6/workflow_runs/{}", run.id));
        let retry_allowed =
            run.output.as_ref().and_then(|output| output.retry_allowed).unwrap_or(false);
        let answer = match run.status.as_str() {
            "processing" => return Next::Poll(self.poll_after, poll()),
            "approved" => Answer::of(Outcome::Pass),
            "declined" if retry_allowed => {
                Answer::of(Outcome::SoftFail).reason(why(run, "identity_not_verified"))
            }
            "declined" => Answer::of(Outcome::HardFail).reason(why(run, "identity_refused")),
            "review" => Answer::of(Outcome::SoftFail).reason("manual_review"),
            "abandoned" => Answer::of(Outcome::SoftFail).reason("abandoned_by_customer"),
            "awaiting_input" => Answer::of(Outcome::StepUp).reason("customer_input_needed"),
            // The workflow waits for a call of ours that we do not know how to make.
            "awaiting_client_input" => {
                Answer::unavailable(ErrorClass::Misconfigured, "workflow_waits_for_us")
            }
            "error" => Answer::unavailable(ErrorClass::Transient, "check_failed"),
            _ => Answer::unavailable(ErrorClass::RequiresRepair, "answer_unrecognised"),
        };
        Next::Done(answer.reference(Some(&run.id)))
    }
}

fn start_run(request: &KycRequest, workflow: &str, applicant: &str) -> HttpRequest {
    let run = json!({
        "applicant_id": applicant,
        "workflow_id": workflow,
        "customer_user_id": request.customer_id,
        "tags": [request.purpose, request.call.attempt_id],
    });
    HttpRequest::post(START_RUN, "/v3.6/workflow_runs".to_owned(), &run)
}

/// Our word for the first of the run's reasons that we know.
fn why(run: &Run, otherwise: &'static str) -> &'static str {
    let known = run.reasons.iter().find_map(|reason| match reason.as_str() {
        "document_image_quality" => Some("document_unreadable"),
        "document_suspected_fraud" => Some("document_suspicious"),
        "document_data_comparison" => Some("document_does_not_match"),
        _ => None,
    });
    known.unwrap_or(otherwise)
}

fn body<'a, T: Deserialize<'a>>(exchange: &'a Exchange, expected: u16) -> Option<T> {
    match &exchange.reply {
        Reply::Answered { status, body, .. } if *status == expected => {
            serde_json::from_slice(body).ok()
        }
        _ => None,
    }
}

/// Given and family name; where they are not apart, the last word is the family name.
fn names(party: &shapes::Party) -> Option<(String, String)> {
    if let (Some(given), Some(family)) = (&party.given_name, &party.family_name) {
        return Some((given.clone(), family.clone()));
    }
    let (given, family) = party.name.trim().rsplit_once(' ')?;
    Some((given.trim().to_owned(), family.to_owned()))
}

fn date(days: i32) -> Option<String> {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().try_days(days).ok()?).ok().map(|date| date.to_string())
}

fn set(object: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(field.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::vendors::harness;

    fn poll(status: u16, fixture: &str) -> Next {
        let vendor = harness::ready(&LISTING);
        let polled = Exchange::answered(POLL_RUN, status, harness::fixture(NAME, fixture));
        vendor.next(&harness::ask("kyc.check"), None, &[polled])
    }

    #[test]
    fn an_applicant_is_created_then_its_run_is_started_then_polled() {
        let vendor = harness::ready(&LISTING);
        let ask = harness::ask("kyc.check");
        let Next::Call(applicant) = vendor.next(&ask, None, &[]) else { panic!() };
        harness::same_json(&applicant.body, &harness::fixture(NAME, "applicant_request.json"));
        let created = Exchange::answered(
            CREATE_APPLICANT,
            201,
            harness::fixture(NAME, "applicant_created.json"),
        );
        let Next::Call(run) = vendor.next(&ask, None, std::slice::from_ref(&created)) else {
            panic!()
        };
        let mut expected: Value =
            serde_json::from_slice(&harness::fixture(NAME, "workflow_run_request.json")).unwrap();
        // Beside the purpose, the run carries our own reference.
        expected["tags"] = json!(["payout", harness::ATTEMPT]);
        harness::same_json(&run.body, expected.to_string().as_bytes());
        let started = Exchange::answered(
            START_RUN,
            201,
            harness::fixture(NAME, "workflow_run_processing.json"),
        );
        let Next::Poll(wait, poll) = vendor.next(&ask, None, &[created, started]) else { panic!() };
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(poll.path, "/v3.6/workflow_runs/5d0b7a3e-0f2c-4b6d-9c41-b0e5a7f4c9d8");
    }

    #[test]
    fn every_ending_of_a_run_has_a_canonical_outcome() {
        let unavailable = Outcome::Unavailable;
        let rows = [
            (200, "workflow_run_approved.json", Outcome::Pass, None, None),
            (
                200,
                "workflow_run_declined_retry_allowed.json",
                Outcome::SoftFail,
                None,
                Some("document_unreadable"),
            ),
            (
                200,
                "workflow_run_declined.json",
                Outcome::HardFail,
                None,
                Some("document_suspicious"),
            ),
            (200, "workflow_run_review.json", Outcome::SoftFail, None, Some("manual_review")),
            (
                200,
                "workflow_run_abandoned.json",
                Outcome::SoftFail,
                None,
                Some("abandoned_by_customer"),
            ),
            (
                200,
                "workflow_run_awaiting_input.json",
                Outcome::StepUp,
                None,
                Some("customer_input_needed"),
            ),
            (
                200,
                "workflow_run_awaiting_client_input.json",
                unavailable,
                Some(ErrorClass::Misconfigured),
                None,
            ),
            (200, "workflow_run_error.json", unavailable, Some(ErrorClass::Transient), None),
            (
                200,
                "workflow_run_unknown_status.json",
                unavailable,
                Some(ErrorClass::RequiresRepair),
                None,
            ),
            (401, "error_401.json", unavailable, Some(ErrorClass::Misconfigured), None),
            (404, "error_404.json", unavailable, Some(ErrorClass::Misconfigured), None),
            (422, "error_422.json", unavailable, Some(ErrorClass::RequiresRepair), None),
            (429, "error_429.json", unavailable, Some(ErrorClass::Transient), None),
            (500, "error_500.json", unavailable, Some(ErrorClass::Transient), None),
            (503, "error_503.json", unavailable, Some(ErrorClass::Transient), None),
            (200, "garbage.txt", unavailable, Some(ErrorClass::RequiresRepair), None),
        ];
        for (status, fixture, outcome, class, reason) in rows {
            let Next::Done(answer) = poll(status, fixture) else { panic!("{fixture}") };
            assert_eq!((answer.outcome, answer.class), (outcome, class), "{fixture}");
            assert!(
                reason.is_none() || answer.reason.as_deref() == reason,
                "{fixture}: {answer:?}"
            );
        }
        harness::every_fixture_is_used(NAME, include_str!("mod.rs"));
    }

    #[test]
    fn a_document_is_checked_by_its_own_workflow_or_not_at_all() {
        let mut ask = harness::ask("kyc.check");
        if let crate::model::Ask::Kyc(request) = &mut ask {
            let country = "DE".to_owned();
            request.document =
                Some(shapes::IdentityDocument { kind: "passport".to_owned(), country });
        }
        let vendor = |settings| (LISTING.build)(settings).unwrap();
        let unset = vendor(json!({"api_token": "secret", "workflow_id": "w-identity"}));
        let Next::Done(answer) = unset.next(&ask, None, &[]) else { panic!() };
        assert_eq!(
            (answer.outcome, answer.class),
            (Outcome::Unavailable, Some(ErrorClass::Misconfigured))
        );
        let set = vendor(json!({"api_token": "secret", "workflow_id": "w-identity",
                                "document_workflow_id": "w-document"}));
        let body = harness::fixture(NAME, "applicant_created.json");
        let created = Exchange::answered(CREATE_APPLICANT, 201, body);
        let Next::Call(run) = set.next(&ask, None, &[created]) else { panic!() };
        let run: Value = serde_json::from_slice(&run.body).unwrap();
        assert_eq!(run["workflow_id"], "w-document");
    }

    #[test]
    fn a_company_is_not_sent_to_an_identity_check() {
        let vendor = harness::ready(&LISTING);
        let mut ask = harness::ask("kyc.check");
        if let crate::model::Ask::Kyc(request) = &mut ask {
            request.subject.kind = shapes::PartyKind::Organisation;
        }
        let Next::Done(answer) = vendor.next(&ask, None, &[]) else { panic!() };
        assert_eq!(answer.class, Some(ErrorClass::RequiresRepair));
    }
}
