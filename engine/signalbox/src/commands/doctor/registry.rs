//! The schema registry: reachable, and holding every schema of the contract. It registers nothing.

use signalbox_bus::{Registry, RegistryError, SubjectCheck};
use signalbox_schemas::TopicName;

use super::finding::Finding;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;

const AREA: &str = "registry";

/// Asks and judges.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    // That it is not configured has been told.
    let Ok(settings) = config.registry() else { return Vec::new() };
    let checked = async { subjects(&Registry::new(settings)?).await };
    checked.await.unwrap_or_else(|error| {
        let advice = "start the registry or correct registry.url, the root of its Confluent API";
        vec![Finding::fail(AREA, error.to_string(), advice.to_owned())]
    })
}

async fn subjects(registry: &Registry) -> Result<Vec<Finding>, CliError> {
    let contract = wiring::contract()?;
    let mut findings = Vec::new();
    let mut registered = 0_u32;
    for topic in contract.topics().topics.keys() {
        for (subject, record) in contract.subjects(&TopicName::from(topic.as_str())) {
            match registry.check(&subject, record.text()).await {
                Ok(SubjectCheck::Registered(_)) => registered += 1,
                Ok(other) => findings.push(of_subject(&subject, &other)),
                Err(error @ RegistryError::Unavailable(_)) => return Err(error.into()),
                Err(error) => {
                    let advice = "run `signalbox schemas check`".to_owned();
                    findings.push(Finding::fail(AREA, error.to_string(), advice));
                }
            }
        }
    }
    findings.push(Finding::ok(
        AREA,
        format!("{registered} subjects are registered as this program knows them"),
    ));
    Ok(findings)
}

fn of_subject(subject: &str, check: &SubjectCheck) -> Finding {
    match check {
        SubjectCheck::Registered(id) => Finding::ok(AREA, format!("{subject} has id {id}")),
        SubjectCheck::New => {
            let advice = "run `signalbox schemas register`".to_owned();
            Finding::fail(AREA, format!("{subject} is not registered"), advice)
        }
        SubjectCheck::Incompatible => {
            let advice = "another program has registered something else; compare with `signalbox schemas check`".to_owned();
            Finding::fail(AREA, format!("{subject} holds what this program cannot follow"), advice)
        }
    }
}
