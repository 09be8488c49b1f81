//! Canaries in every field that is marked as personal data, through good and bad endings: then everything that must not
//! hold personal data is searched for them, and what may hold them must show that the search finds something.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::{Course, Expectation, Failure, Installation, verify};
use serde_json::{Value, json};
use signalbox::applications::Newcomer;
use signalbox::payouts::{Account, Payout, REQUEST_PAYOUT, Wish};
use signalbox::scene::COMMANDS;
use signalbox_bus::{Inbound, KafkaConfig, KafkaLaneBus, LaneBus};
use signalbox_schemas::{Contract, TopicName, topics};
use sqlx::{Connection, PgConnection, Row};

use crate::Outcome;

const ONBOARDING: &str = "onboarding.application.RequestOnboarding";
const SOON: Duration = Duration::from_secs(60);
/// A date of birth that nobody else has, as days and as people write it.
const BORN: (i32, &str) = (-21_122, "1912-03-04");

/// Texts that occur nowhere unless somebody copied them.
pub(crate) struct Canary {
    word: String,
    digits: String,
    /// Account numbers and IBANs that are drawn elsewhere.
    also: Vec<String>,
}

impl Canary {
    pub(crate) fn new() -> Self {
        let word = (0..4).map(|_| fastrand::lowercase()).collect::<String>();
        let digits = format!("90817{:06}", fastrand::u32(..1_000_000));
        Self { word: format!("Qz{word}"), digits, also: Vec::new() }
    }

    /// Puts canaries into every marked field of a command; a family name that directs the vendors stays.
    pub(crate) fn mark(&self, command: &mut Value, tag: &str) {
        let Some(fields) = command.as_object_mut() else { return };
        if fields.contains_key("remittance") {
            let remittance = json!({
                "structured_reference": format!("{}{tag} RF18", self.word),
                "unstructured": format!("{}{tag} for rent", self.word)});
            fields.insert("remittance".to_owned(), remittance);
        }
        for person in ["/originator", "/beneficiary/party", "/customer"] {
            if let Some(party) = command.pointer_mut(person) {
                self.mark_party(party, tag);
            }
        }
        if let Some(number) = command.pointer_mut("/beneficiary/account/account_number")
            && number.is_string()
        {
            *number = json!(format!("{}{}", self.digits, fastrand::u32(1_000..10_000)));
        }
    }

    /// A payout with canaries, whose account in the bank's ledger is the new one.
    pub(crate) fn mark_payout(&self, payout: &mut Payout, tag: &str) {
        self.mark(&mut payout.command, tag);
        let number = payout.command.pointer("/beneficiary/account/account_number");
        if let Some(number) = number.and_then(Value::as_str) {
            payout.account = number.to_owned();
        }
    }

    fn mark_party(&self, party: &mut Value, tag: &str) {
        let given = format!("{}{tag}", self.word);
        let family =
            party.get("family_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(fields) = party.as_object_mut() else { return };
        fields.insert("name".to_owned(), json!(format!("{given} {family}")));
        fields.insert("given_name".to_owned(), json!(given));
        fields.insert("birth_date".to_owned(), json!(BORN.0));
        for field in ["street", "building", "post_code", "town"] {
            if let Some(address) = fields.get_mut("address").and_then(Value::as_object_mut) {
                address.insert(field.to_owned(), json!(format!("{given}{field}")));
            }
        }
    }

    /// Whether a text holds one, as it is or in hexadecimal digits.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let own = [self.word.as_str(), &self.digits, BORN.1].into_iter();
        own.chain(self.also.iter().map(String::as_str)).any(|needle| {
            let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
            text.contains(needle) || text.contains(&hex)
        })
    }
}

/// Every row of every table as text, beside the table's name.
pub(crate) async fn dump(database: &mut PgConnection) -> Result<Vec<(String, String)>, Failure> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&mut *database)
    .await?;
    let mut lines = Vec::new();
    for table in tables {
        let sql = format!("SELECT held::text AS line FROM \"{table}\" AS held");
        for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *database).await? {
            lines.push((table.clone(), row.try_get("line")?));
        }
    }
    Ok(lines)
}

/// The story.
pub(crate) async fn nowhere_but_where_they_may_be(on: &mut Installation) -> Outcome {
    let mut canary = Canary::new();
    let sent = send(on, &mut canary).await?;
    let errors = errors(on, &canary, &sent).await?;
    let mut searched: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found: Vec<String> = Vec::new();
    let mut look = |what: &'static str, place: String, text: &str| {
        *searched.entry(what).or_default() += 1;
        if canary.is_in(text) {
            found.push(format!("{what} {place}"));
        }
    };
    errors.iter().for_each(|(place, text)| look("command outputs", place.clone(), text));
    for address in on.admin_addresses() {
        let page = on.get(&format!("http://{address}/metrics")).await?.1;
        assert!(page.contains("signalbox_"), "no metrics at {address}");
        look("pages of metrics", address, &page);
    }
    for (name, text) in on.logs()? {
        look("logs", name, &text);
    }
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    for (table, line) in dump(&mut database).await? {
        look("rows of Postgres", table, &line);
    }
    let mut allowed = 0;
    for (topic, record) in records(on).await? {
        let place = format!("{topic}-{}@{}", record.partition, record.offset);
        look("keys and headers", place.clone(), &envelope(&record));
        let value =
            String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).into_owned();
        if may_be_personal(&topic)? {
            allowed += usize::from(canary.is_in(&value));
        } else {
            look("values of public topics", place, &value);
        }
    }
    assert!(found.is_empty(), "personal data leaked into {found:?}");
    assert!(allowed >= sent.len(), "the search finds nothing: {allowed} where canaries may be");
    Ok(format!(
        "canaries of {} commands in {searched:?}: none; in {allowed} records of topics that may hold them",
        sent.len()
    ))
}

/// Canaries through every sort of ending; the ids of those that were commands.
async fn send(on: &mut Installation, canary: &mut Canary) -> Result<Vec<String>, Failure> {
    let marker = |originator: Option<&str>, beneficiary: Option<&str>| Wish {
        originator: originator.map(str::to_owned),
        beneficiary: beneficiary.map(str::to_owned),
        ..Wish::default()
    };
    let wishes = [
        Wish::default(),
        marker(Some("Hardfail"), None),
        marker(None, Some("Badaccount")),
        marker(None, Some("Payoutflaky")),
        marker(Some("Fraudgarbage"), None),
        Wish { account: Account::Iban, ..Wish::default() },
        Wish { account: Account::BrokenAba, ..Wish::default() },
    ];
    let mut sent = Vec::new();
    let mut good = Vec::new();
    for (number, wish) in wishes.iter().enumerate() {
        let mut payout = on.payout(wish);
        canary.mark_payout(&mut payout, &number.to_string());
        canary.also.push(payout.account.clone());
        on.commands.request(&payout.id, &payout.command).await?;
        if number == 0 {
            good.push(payout.clone());
        }
        sent.push(payout.id);
    }
    let mut applicant = on.applications_next(&Newcomer::default());
    canary.mark(&mut applicant.command, "n");
    on.commands.command(ONBOARDING, &applicant.id, &applicant.command).await?;
    sent.push(applicant.id);
    for first in &good {
        repeated_and_broken(on, canary, first).await?;
    }
    // Others wait for people or for a bank; what they leave behind on the way is searched all the same.
    for payout in &good {
        let ended = |course: &Course| !course.endings.is_empty();
        on.witness.until_course(SOON, &payout.id, "an ending", ended).await?;
    }
    let quiet = on.request(&Wish::default(), 3).await?;
    verify(on, &quiet.into_iter().map(Expectation::completed).collect::<Vec<_>>()).await?;
    Ok(sent)
}

/// The same again, the same id with another content, and bytes that no engine can read.
async fn repeated_and_broken(
    on: &Installation,
    canary: &Canary,
    payout: &Payout,
) -> Result<(), Failure> {
    on.commands.request(&payout.id, &payout.command).await?;
    let mut other = payout.command.clone();
    canary.mark(&mut other, "x");
    on.commands.request(&payout.id, &other).await?;
    let whole = on.commands.encode(COMMANDS, REQUEST_PAYOUT, &payout.command)?;
    let cut = whole.iter().copied().take(whole.len() - 9).collect();
    on.commands.publish_raw(COMMANDS, &format!("{}-cut", payout.id), cut).await?;
    on.commands.publish_raw(COMMANDS, &format!("{}-elsewhere", payout.id), whole).await?;
    let garbage = format!("{{\"name\": \"{}\"", canary.word).into_bytes();
    on.commands.publish_raw(COMMANDS, &format!("{}-garbage", payout.id), garbage).await?;
    Ok(())
}

/// What commands of the product say about them, right and wrong.
async fn errors(
    on: &Installation,
    canary: &Canary,
    sent: &[String],
) -> Result<Vec<(String, String)>, Failure> {
    let directory = tempfile::tempdir().map_err(Failure::while_doing("making a directory"))?;
    let file = directory.path().join("wrong.jsonl");
    let wrong = json!({"payout_id": "p", "customer_id": "c", "amount": canary.word, "originator": canary.word,
                       "rail": canary.word, "remittance": {"unstructured": {"text": canary.word}}, "requested_at": canary.word});
    let lines = format!("{wrong}\n{{\"remittance\": \"{} \n", canary.word);
    std::fs::write(&file, lines).map_err(Failure::while_doing("writing a file"))?;
    let file = file.display().to_string();
    let mut said = vec![("publish".to_owned(), on.run(&["publish", &file], &[]).await?)];
    assert_eq!(said.first().and_then(|(_, said)| said.code), Some(1), "wrong lines are published");
    for id in sent {
        said.push((format!("flow show {id}"), on.run(&["flow", "show", id, "--json"], &[]).await?));
        said.push((
            format!("audit export {id}"),
            on.run(&["audit", "export", "--flow", id], &[]).await?,
        ));
        let customer = format!("c-{id}");
        said.push((
            format!("subject show {id}"),
            on.run(&["subject", "show", "--customer", &customer], &[]).await?,
        ));
    }
    Ok(said.into_iter().map(|(place, said)| (place, format!("{}{}", said.out, said.err))).collect())
}

/// Every record of every topic, dead letters among them.
async fn records(on: &Installation) -> Result<Vec<(String, Inbound)>, Failure> {
    let kafka = KafkaConfig { brokers: on.settings().brokers.clone(), properties: BTreeMap::new() };
    let mut bus = KafkaLaneBus::connect(&kafka, "signalbox-canaries")?;
    let wanted = contract()?.topics().wanted(on.reader.lane_count().await?, Some(1));
    let mut found = Vec::new();
    for topic in wanted {
        let name = TopicName::from(topic.name.as_str());
        for partition in 0..i32::from(topic.partitions) {
            let range = bus.range(&name, partition).await?;
            let records = bus.read(&name, partition, range.start, range.end).await?;
            found.extend(records.into_iter().map(|record| (topic.name.clone(), record)));
        }
    }
    Ok(found)
}

/// A topic may hold personal data where topics.yaml says so; so may the dead letters of it, which are its own bytes.
fn may_be_personal(topic: &str) -> Result<bool, Failure> {
    let source = topic.strip_suffix(topics::DLQ_SUFFIX).unwrap_or(topic);
    Ok(contract()?.topics().topics.get(source).is_some_and(|topic| topic.pii))
}

fn contract() -> Result<&'static Contract, Failure> {
    Contract::builtin().map_err(|error| Failure::Broken(format!("the contract: {error}")))
}

fn envelope(record: &Inbound) -> String {
    format!("{:?} {:?}", record.key_text(), record.headers)
}
