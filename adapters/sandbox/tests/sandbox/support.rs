//! A sandbox with a client that speaks as the vendors' customers do. Holds no expectations.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use signalbox_sandbox::{Sandbox, SandboxOptions, Vendor, serve};

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
}

pub(crate) fn quick() -> SandboxOptions {
    SandboxOptions {
        settle_after: Duration::from_secs(60),
        return_after: Duration::from_secs(60),
        slow_for: Duration::from_millis(40),
        hang_for: Duration::from_millis(40),
        ..SandboxOptions::default()
    }
}

pub(crate) async fn stage() -> Stage {
    stage_with(quick()).await
}

pub(crate) async fn stage_with(options: SandboxOptions) -> Stage {
    Stage { sandbox: serve(options).await.unwrap(), client: Client::new() }
}

pub(crate) fn ach(name: &str) -> Value {
    json!({
        "account_id": "account_in71c4amph0vgo2qllky",
        "amount": 12_550,
        "statement_descriptor": "PAYOUT 1842",
        "account_number": "987654321",
        "routing_number": "101050001",
        "funding": "checking",
        "individual_name": name,
        "individual_id": "e2e-7c1f",
        "company_name": "Example Bank",
        "standard_entry_class_code": "prearranged_payments_and_deposit",
    })
}

pub(crate) fn real_time(name: &str) -> Value {
    json!({
        "amount": 12_550,
        "creditor_name": name,
        "source_account_number_id": "account_number_v18nkfqm6afpsrvy82b2",
        "unstructured_remittance_information": "e2e-7c1f",
        "account_number": "987654321",
        "routing_number": "101050001",
        "debtor_name": "Ann Clear",
    })
}

pub(crate) async fn json_of(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A member by path, as in `at(&body, "data.state")`; a number is a place in an array.
pub(crate) fn at(body: &Value, path: &str) -> Value {
    let step = |value: &Value, part: &str| match part.parse::<usize>() {
        Ok(index) => value.get(index).cloned(),
        Err(_) => value.get(part).cloned(),
    };
    path.split('.').try_fold(body.clone(), |value, part| step(&value, part)).unwrap_or(Value::Null)
}

impl Stage {
    pub(crate) async fn pay(
        &self,
        kind: &str,
        key: &str,
        body: &Value,
    ) -> reqwest::Result<Response> {
        self.client
            .post(format!("{}/{kind}", self.sandbox.url(Vendor::Increase)))
            .bearer_auth("key")
            .header("Idempotency-Key", key)
            .json(body)
            .send()
            .await
    }

    pub(crate) async fn payout(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("{}/{path}", self.sandbox.url(Vendor::Increase));
        json_of(self.client.get(url).bearer_auth("key").send().await.unwrap()).await
    }

    pub(crate) async fn cancel(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("{}/{path}/cancel", self.sandbox.url(Vendor::Increase));
        json_of(self.client.post(url).bearer_auth("key").send().await.unwrap()).await
    }

    /// Creates an ACH transfer and returns its identifier.
    pub(crate) async fn sent(&self, key: &str, name: &str) -> String {
        let response = self.pay("ach_transfers", key, &ach(name)).await.unwrap();
        let (status, body) = json_of(response).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        at(&body, "id").as_str().unwrap().to_owned()
    }

    pub(crate) async fn applicant(&self, last_name: &str) -> (StatusCode, Value) {
        let body = json!({
            "first_name": "Ann",
            "last_name": last_name,
            "dob": "1990-04-12",
            "address": { "street": "12 Main Street", "town": "Springfield", "country": "USA" },
            "location": { "country_of_residence": "USA" },
        });
        self.onfido_post("applicants", &body).await
    }

    pub(crate) async fn onfido_post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        json_of(self.onfido_try(path, body).await.unwrap()).await
    }

    pub(crate) async fn onfido_try(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        self.client
            .post(format!("{}/v3.6/{path}", self.sandbox.url(Vendor::Onfido)))
            .header("Authorization", "Token token=key")
            .json(body)
            .send()
            .await
    }

    /// Starts a check of a new applicant with this last name.
    pub(crate) async fn check(&self, last_name: &str) -> reqwest::Result<Response> {
        let (_, applicant) = self.applicant(last_name).await;
        let body = json!({
            "applicant_id": at(&applicant, "id"),
            "workflow_id": "7b1c2f64-1f7e-4d8a-8a5b-6d2c9c1e0b42",
            "customer_user_id": format!("subject {last_name}"),
            "tags": ["payout"],
        });
        self.onfido_try("workflow_runs", &body).await
    }

    pub(crate) async fn run(&self, id: &Value) -> (StatusCode, Value) {
        let id = id.as_str().unwrap_or_default();
        let url = format!("{}/v3.6/workflow_runs/{id}", self.sandbox.url(Vendor::Onfido));
        let request = self.client.get(url).header("Authorization", "Token token=key");
        json_of(request.send().await.unwrap()).await
    }

    pub(crate) async fn screen(&self, name: &str) -> reqwest::Result<Response> {
        let body = json!({ "queries": { "q": {
            "schema": "Person",
            "properties": { "name": [name], "birthDate": ["1990-04-12"], "country": ["us"] },
        } } });
        let url = format!("{}/match/default", self.sandbox.url(Vendor::Yente));
        self.client.post(url).json(&body).send().await
    }

    pub(crate) async fn score(&self, name: &str) -> reqwest::Result<Response> {
        let body = json!({ "user_fullname": name, "transaction_id": format!("for {name}") });
        let url = format!("{}/SeonRestService/fraud-api/v2", self.sandbox.url(Vendor::Seon));
        self.client.post(url).header("X-API-KEY", "key").json(&body).send().await
    }

    pub(crate) async fn control(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.sandbox.control_url());
        json_of(self.client.get(url).send().await.unwrap()).await.1
    }

    pub(crate) async fn set(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let url = format!("{}/{path}", self.sandbox.control_url());
        json_of(self.client.post(url).json(&body).send().await.unwrap()).await
    }

    pub(crate) async fn later(&self, seconds: u32) {
        let (status, _) = self.set("clock", json!({ "advance_ms": seconds * 1_000 })).await;
        assert_eq!(status, StatusCode::OK);
    }
}
