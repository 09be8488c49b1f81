//! The sandbox's control routes: the bank's own ledger, which no part of the product writes, and its faults.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// One transfer that the bank took on.
#[derive(Debug, Clone, Deserialize)]
pub struct Transfer {
    /// Account that is paid, or IBAN.
    pub account_number: String,
    /// Idempotency key that it was asked for with.
    pub idempotency_key: Option<String>,
    /// Amount in minor units.
    pub amount: i64,
    /// How often the bank was asked for it.
    pub requests_seen: u32,
    /// What became of it, oldest first.
    status_history: Vec<Moment>,
}

#[derive(Debug, Clone, Deserialize)]
struct Moment {
    status: String,
}

impl Transfer {
    /// What it is now.
    #[must_use]
    pub fn status(&self) -> &str {
        self.status_history.last().map_or("", |moment| moment.status.as_str())
    }
}

/// The simulated vendors, seen from their own side.
#[derive(Debug, Clone)]
pub struct Bank {
    http: reqwest::Client,
    control: String,
}

impl Bank {
    /// The sandbox that listens at `address`.
    ///
    /// # Errors
    /// `Bank` where no HTTP client can be made.
    pub fn at(address: &str) -> Result<Self, Failure> {
        // A proxy of the environment has no business on loopback.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, control: format!("http://{address}/_sandbox") })
    }

    /// Every transfer, oldest first.
    ///
    /// # Errors
    /// `Bank` where the sandbox does not answer.
    pub async fn ledger(&self) -> Result<Vec<Transfer>, Failure> {
        let answer = self.http.get(format!("{}/ledger", self.control)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// How many transfers each account got.
    ///
    /// # Errors
    /// As `ledger`.
    pub async fn transfers_per_account(&self) -> Result<HashMap<String, usize>, Failure> {
        let mut counts = HashMap::new();
        for transfer in self.ledger().await? {
            *counts.entry(transfer.account_number).or_default() += 1;
        }
        Ok(counts)
    }

    /// Sets faults for every request from now on, as docs/sandbox.md describes them; `{}` lifts them.
    ///
    /// # Errors
    /// As `ledger`.
    pub async fn faults(&self, faults: &Value) -> Result<(), Failure> {
        let answer = self.http.post(format!("{}/faults", self.control)).json(faults).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Every answer takes between these times, in milliseconds.
    ///
    /// # Errors
    /// As `ledger`.
    pub async fn be_slow(&self, min_ms: u32, max_ms: u32) -> Result<(), Failure> {
        self.faults(&json!({"latency_min_ms": min_ms, "latency_max_ms": max_ms})).await
    }
}
