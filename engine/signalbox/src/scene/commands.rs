//! Publishes commands and decisions as a service of the bank would: Avro, CloudEvents headers, the business id as key.
//! It waits for no outcome.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_bus::{Codec, Headers, Outbound, Publisher};
use signalbox_schemas::topics::Role;
use signalbox_schemas::{LaneId, Micros, RecordName, TopicName, headers, home_lane};

use super::error::SceneError;
use super::prepare::{contract, kafka, partitions, registry};
use super::settings::Settings;
use crate::applications::consent;
use crate::payouts::REQUEST_PAYOUT;

/// Topic of payout commands.
pub const COMMANDS: &str = "payments.payout.commands.v1";
/// Topic of review decisions.
pub const DECISIONS: &str = "signalbox.review.decisions.v1";
const SOURCE: &str = "/signalbox/scene";

/// Publishes commands; cheap to clone.
#[derive(Clone)]
pub struct Commands {
    publisher: Publisher,
    codec: Arc<Codec>,
    lanes: u16,
    source: String,
}

/// What a customer says about a case of theirs that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Stop the payout.
    Cancel,
    /// I consent.
    Consent,
    /// I have done what you wait for.
    Continue,
    /// I do not want to become a customer any more.
    Withdraw,
}

/// One person's decision on a review task.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Business id of the case.
    pub case: String,
    /// State whose task is decided.
    pub step: String,
    /// Journey of the task.
    pub journey: String,
    /// What is decided, such as `release`.
    pub decision: String,
    /// Who decides.
    pub actor: String,
}

/// The instant that the machine's clock shows.
#[must_use]
pub fn now() -> Micros {
    Micros(jiff::Timestamp::now().as_microsecond())
}

/// Learns the schema ids of the installation.
///
/// # Errors
/// `Registry` where a schema is not registered or the registry does not answer.
pub async fn codec(settings: &Settings) -> Result<Arc<Codec>, SceneError> {
    let (codec, _) = Codec::resolve(contract()?, registry(settings)?, &[]).await?;
    Ok(Arc::new(codec))
}

impl Commands {
    /// Connects a producer. It goes on with the partitions that there are now, as one does whose metadata is old.
    ///
    /// # Errors
    /// `Bus` where the client refuses its settings.
    pub fn connect(settings: &Settings, codec: Arc<Codec>) -> Result<Self, SceneError> {
        let publisher = Publisher::connect(&kafka(settings), "signalbox-scene")?;
        let lanes = partitions(settings, &[COMMANDS])?.first().map_or(1, |(_, found)| *found);
        Ok(Self { publisher, codec, lanes, source: SOURCE.to_owned() })
    }

    /// The same, as another service, by its `ce_source`.
    #[must_use]
    pub fn of(&self, source: &str) -> Self {
        Self { source: source.to_owned(), ..self.clone() }
    }

    /// Publishes a `RequestPayout` of the newest major; returns when it is acknowledged.
    ///
    /// # Errors
    /// `Encode` where it does not fit the contract, `Bus` where it cannot be delivered.
    pub async fn request(&self, id: &str, command: &Value) -> Result<(), SceneError> {
        self.command(REQUEST_PAYOUT, id, command).await
    }

    /// Publishes a command of any journey; returns when it is acknowledged.
    ///
    /// # Errors
    /// `Data` where no command topic takes the record, else as `request`.
    pub async fn command(&self, name: &str, id: &str, content: &Value) -> Result<(), SceneError> {
        let record = self.record(topic_of(name)?, name, id, content)?;
        self.send(&record).await
    }

    /// Publishes a `CancelPayout`.
    ///
    /// # Errors
    /// As `request`.
    pub async fn cancel(&self, id: &str) -> Result<(), SceneError> {
        self.say(id, Word::Cancel).await
    }

    /// Publishes what a customer says.
    ///
    /// # Errors
    /// As `request`.
    pub async fn say(&self, id: &str, word: Word) -> Result<(), SceneError> {
        let now = now();
        let reason = "the customer changed their mind";
        let (name, content) = match word {
            Word::Cancel => (
                "payments.payout.CancelPayout",
                json!({"payout_id": id, "tenant": "default", "actor": "customer-service",
                       "reason": reason, "requested_at": now.0}),
            ),
            Word::Consent => (
                "onboarding.application.RecordConsent",
                json!({"onboarding_id": id, "tenant": "default", "consent": consent(id, now),
                       "actor": "app", "requested_at": now.0}),
            ),
            Word::Continue => (
                "onboarding.application.ContinueOnboarding",
                json!({"onboarding_id": id, "tenant": "default", "actor": "app",
                       "requested_at": now.0}),
            ),
            Word::Withdraw => (
                "onboarding.application.WithdrawOnboarding",
                json!({"onboarding_id": id, "tenant": "default", "actor": "app",
                       "reason": reason, "requested_at": now.0}),
            ),
        };
        self.command(name, id, &content).await
    }

    /// Publishes a `ReviewDecision`.
    ///
    /// # Errors
    /// As `request`.
    pub async fn decide(&self, decision: &Decision) -> Result<(), SceneError> {
        let content = json!({
            "aggregate_id": decision.case, "tenant": "default", "journey": decision.journey,
            "step": decision.step, "decision": decision.decision, "actor": decision.actor,
            "reason": "looked at the case", "decided_at": now().0,
        });
        let record =
            self.record(DECISIONS, "signalbox.review.ReviewDecision", &decision.case, &content)?;
        self.send(&record).await
    }

    /// Publishes bytes as they are, as a broken producer would.
    ///
    /// # Errors
    /// `Bus` where they cannot be delivered.
    pub async fn publish_raw(
        &self,
        topic: &str,
        key: &str,
        payload: Vec<u8>,
    ) -> Result<(), SceneError> {
        let record = self.outbound(topic, key, payload, Headers::new());
        self.send(&record).await
    }

    /// Publishes any record of the contract; its partition and offset once it is acknowledged.
    ///
    /// # Errors
    /// As `request`.
    pub async fn publish(
        &self,
        topic: &TopicName,
        name: &RecordName,
        key: &str,
        content: &Value,
    ) -> Result<(LaneId, i64), SceneError> {
        let record = self.record(topic.as_str(), name.as_str(), key, content)?;
        let offset = self.publisher.publish(&record).await?;
        Ok((home_lane(key.as_bytes(), self.lanes), offset))
    }

    /// The topic that takes a command.
    ///
    /// # Errors
    /// `Data` where none does.
    pub fn topic_of(&self, command: &RecordName) -> Result<TopicName, SceneError> {
        topic_of(command.as_str()).map(TopicName::from)
    }

    /// A command in its wire format.
    ///
    /// # Errors
    /// `Encode` where it does not fit the contract.
    pub fn encode(&self, topic: &str, name: &str, content: &Value) -> Result<Vec<u8>, SceneError> {
        Ok(self.codec.encode(&TopicName::from(topic), &RecordName::from(name), content)?)
    }

    /// A record as it will be sent.
    pub(crate) fn record(
        &self,
        topic: &str,
        name: &str,
        key: &str,
        content: &Value,
    ) -> Result<Outbound, SceneError> {
        let payload = self.encode(topic, name, content)?;
        let trace = uuid::Uuid::new_v4().simple();
        let span: u64 = fastrand::u64(1..);
        let headers = Headers::new()
            .with(headers::CE_SPECVERSION, "1.0")
            .with(headers::CE_ID, uuid::Uuid::now_v7().to_string())
            .with(headers::CE_SOURCE, self.source.as_str())
            .with(headers::CE_TYPE, name)
            .with(headers::CE_TIME, jiff::Timestamp::now().to_string())
            .with(headers::CE_SUBJECT, key)
            .with(headers::CONTENT_TYPE, headers::AVRO)
            .with(headers::TRACEPARENT, format!("00-{trace}-{span:016x}-01"));
        Ok(self.outbound(topic, key, payload, headers))
    }

    pub(crate) async fn send(&self, record: &Outbound) -> Result<(), SceneError> {
        self.publisher.publish(record).await?;
        Ok(())
    }

    fn outbound(&self, topic: &str, key: &str, payload: Vec<u8>, headers: Headers) -> Outbound {
        Outbound {
            topic: TopicName::from(topic),
            partition: home_lane(key.as_bytes(), self.lanes).partition(),
            key: key.as_bytes().to_vec(),
            payload: Some(payload),
            headers,
        }
    }
}

/// The topic that takes a command.
fn topic_of(record: &str) -> Result<&'static str, SceneError> {
    let takes = |(_, topic): &(&str, &signalbox_schemas::topics::Topic)| {
        topic.schemas.value.iter().any(|name| name == record)
    };
    let found = contract()?.topics().of_role(Role::Command).find(takes);
    found
        .map(|(name, _)| name)
        .ok_or_else(|| SceneError::Data(format!("no topic takes the command {record}")))
}
