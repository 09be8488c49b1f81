//! yente, the OpenSanctions match API, aml.screen: one query about one party, its candidates with scores and topics.
//! No keys: screening twice harms nobody. Limits: own hosting, bounded by our in-flight limit.
//! Whatever is not recognised is not clear: an unknown topic is a hit, an unknown answer is `unavailable`.
//! It does not decide on matches and does not keep a list of dismissed ones: that is the analyst's work.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_schemas::{AmlRequest, ErrorClass, shapes};
use std::collections::{BTreeMap, HashMap};

use crate::codes::records;
use crate::model::{
    Aml, Answer, Exchange, HttpRequest, Next, Outcome, Partner, Reply, Vendor, VendorError,
    read_failure,
};
use crate::vendors::{Listing, settings};

const NAME: &str = "yente";
const MATCH: &str = "match_party";
/// Name of our one query within a request.
const QUERY: &str = "q";

pub(crate) const LISTING: Listing = Listing { name: NAME, build };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// API key; a self-hosted server needs none.
    api_key: Option<SecretString>,
    /// Collection of lists to screen against.
    #[serde(default = "default_dataset")]
    dataset: String,
}

fn default_dataset() -> String {
    "default".to_owned()
}

struct Yente {
    path: String,
    topics: HashMap<&'static str, (Outcome, &'static str)>,
}

fn build(given: Value) -> Result<Vendor, VendorError> {
    let config: Config = settings(NAME, given)?;
    let rows = records::<3>("yente topics", include_str!("topics.csv"))?;
    // Any word but `ambiguous` counts as a hit, so that a slip in the table cannot clear anybody.
    let outcome = |word: &str| if word == "ambiguous" { Outcome::Ambiguous } else { Outcome::Hit };
    let topics = rows
        .into_iter()
        .map(|(_, [topic, word, reason])| (topic, (outcome(word), reason)))
        .collect();
    let vendor = Vendor::new(Partner::parse(NAME, include_str!("partner.yaml"))?);
    let vendor = vendor.aml(Yente { path: format!("/match/{}", config.dataset), topics });
    Ok(match config.api_key {
        Some(key) => vendor.credential(
            "authorization",
            SecretString::from(format!("ApiKey {}", key.expose_secret())),
        ),
        None => vendor,
    })
}

/// The answer to a match request.
#[derive(Deserialize)]
struct Matches {
    responses: BTreeMap<String, Response>,
}

/// The answer to one query.
#[derive(Deserialize)]
struct Response {
    status: u16,
    results: Vec<Candidate>,
    total: Total,
}

/// How many candidates there are beyond those returned.
#[derive(Deserialize)]
struct Total {
    value: i64,
}

/// One listed entity.
#[derive(Deserialize)]
struct Candidate {
    id: String,
    #[serde(rename = "match")]
    matched: bool,
    #[serde(default)]
    properties: Properties,
}

/// The properties of an entity that are read.
#[derive(Default, Deserialize)]
struct Properties {
    #[serde(default)]
    topics: Vec<String>,
}

impl Aml for Yente {
    fn next(&self, request: &AmlRequest, so_far: &[Exchange]) -> Next {
        match so_far.last() {
            None => Next::Call(self.request(request)),
            Some(reply) => Next::Done(self.outcome(reply)),
        }
    }
}

impl Yente {
    fn request(&self, request: &AmlRequest) -> HttpRequest {
        let party = &request.party;
        let schema = match party.kind {
            shapes::PartyKind::Person => "Person",
            shapes::PartyKind::Organisation => "Organization",
            shapes::PartyKind::Unknown => "LegalEntity",
        };
        let mut properties = json!({"name": [party.name]});
        if let (Some(properties), Some(born)) =
            (properties.as_object_mut(), party.birth_date.and_then(date))
        {
            properties.insert("birthDate".to_owned(), json!([born]));
        }
        if let Some(properties) = properties.as_object_mut() {
            properties
                .insert("country".to_owned(), json!([party.address.country.to_ascii_lowercase()]));
        }
        let body = json!({"queries": {QUERY: {"schema": schema, "properties": properties}}});
        HttpRequest::post(MATCH, self.path.clone(), &body)
    }

    fn outcome(&self, reply: &Exchange) -> Answer {
        let Reply::Answered { status: 200, body, .. } = &reply.reply else {
            return read_failure(reply);
        };
        let matches: Option<Matches> = serde_json::from_slice(body).ok();
        let Some(response) = matches.and_then(|mut matches| matches.responses.remove(QUERY)) else {
            return read_failure(reply);
        };
        if response.status != 200 {
            return Answer::unavailable(ErrorClass::Transient, "vendor_error");
        }
        self.judge(&response)
    }

    /// Clear only where there is no candidate at all; the worst candidate decides.
    fn judge(&self, response: &Response) -> Answer {
        let count =
            i64::try_from(response.results.len()).unwrap_or(i64::MAX).max(response.total.value);
        if count == 0 {
            return Answer::of(Outcome::Clear).with("matches", 0);
        }
        let verdicts: Vec<_> =
            response.results.iter().map(|candidate| (self.verdict(candidate), candidate)).collect();
        let worst =
            verdicts.iter().find(|((outcome, _), _)| *outcome == Outcome::Hit).or(verdicts.first());
        let ((outcome, reason), reference) = match worst {
            Some((verdict, candidate)) => (*verdict, Some(candidate.id.as_str())),
            None => ((Outcome::Ambiguous, "candidates_not_shown"), None),
        };
        let matches = i32::try_from(count).unwrap_or(i32::MAX);
        let answer =
            Answer::of(outcome).reason(reason).reference(reference).with("matches", matches);
        if outcome == Outcome::Hit { answer.class(ErrorClass::ComplianceHold) } else { answer }
    }

    fn verdict(&self, candidate: &Candidate) -> (Outcome, &'static str) {
        if !candidate.matched {
            return (Outcome::Ambiguous, "similar_name");
        }
        let known = |topic: &String| self.topics.get(topic.as_str()).copied();
        let meanings: Vec<_> = candidate.properties.topics.iter().map(known).collect();
        let hit = meanings.iter().flatten().find(|(outcome, _)| *outcome == Outcome::Hit);
        match (hit, meanings.first()) {
            (Some(hit), _) => *hit,
            (None, Some(Some(first))) if meanings.iter().all(Option::is_some) => *first,
            _ => (Outcome::Hit, "listed_for_unknown_reason"),
        }
    }
}

fn date(days: i32) -> Option<String> {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().try_days(days).ok()?).ok().map(|date| date.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::vendors::harness;

    fn outcome(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        let reply = Exchange::answered(MATCH, status, body);
        let Next::Done(answer) =
            harness::ready(&LISTING).next(&harness::ask("aml.screen"), None, &[reply])
        else {
            panic!()
        };
        answer
    }

    #[test]
    fn a_party_is_asked_about_by_name_birth_date_and_country() {
        let Next::Call(request) =
            harness::ready(&LISTING).next(&harness::ask("aml.screen"), None, &[])
        else {
            panic!()
        };
        assert_eq!(request.path, "/match/default");
        harness::same_json(&request.body, &harness::fixture(NAME, "match_request.json"));
    }

    #[test]
    fn only_an_answer_without_candidates_is_clear() {
        let rows = [
            (200, "match_clear.json", Outcome::Clear, None, 0),
            (200, "match_hit.json", Outcome::Hit, Some("sanctions"), 1),
            (200, "match_many.json", Outcome::Hit, Some("sanctions"), 2),
            (200, "match_ambiguous.json", Outcome::Ambiguous, Some("similar_name"), 1),
            (200, "match_pep.json", Outcome::Ambiguous, Some("politically_exposed"), 1),
            (200, "match_unknown_topic.json", Outcome::Hit, Some("listed_for_unknown_reason"), 1),
        ];
        for (status, fixture, expected, reason, matches) in rows {
            let answer = outcome(status, harness::fixture(NAME, fixture));
            assert_eq!((answer.outcome, answer.reason.as_deref()), (expected, reason), "{fixture}");
            assert_eq!(answer.extra.get("matches"), Some(&json!(matches)), "{fixture}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_not_clear() {
        let rows = [
            (200, "match_missing_query.json", ErrorClass::RequiresRepair),
            (200, "match_query_status_500.json", ErrorClass::Transient),
            (200, "garbage.txt", ErrorClass::RequiresRepair),
            (400, "error_400.json", ErrorClass::RequiresRepair),
            (401, "error_401.json", ErrorClass::Misconfigured),
            (404, "error_404.json", ErrorClass::Misconfigured),
            (422, "error_422.json", ErrorClass::RequiresRepair),
            (500, "error_500.json", ErrorClass::Transient),
            (503, "error_503.json", ErrorClass::Transient),
        ];
        for (status, fixture, class) in rows {
            let answer = outcome(status, harness::fixture(NAME, fixture));
            assert_eq!(
                (answer.outcome, answer.class),
                (Outcome::Unavailable, Some(class)),
                "{fixture}"
            );
        }
        harness::every_fixture_is_used(NAME, include_str!("mod.rs"));
    }

    #[test]
    fn candidates_that_are_counted_but_not_shown_are_not_clear() {
        let hidden = r#"{"responses": {"q": {"status": 200, "results": [], "total": {"value": 3}}}, "limit": 5}"#;
        assert_eq!(outcome(200, hidden).outcome, Outcome::Ambiguous);
    }
}
