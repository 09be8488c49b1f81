//! Vendors: does anybody answer where the policy and the settings say they are? Any answer of HTTP will do: whether
//! credentials are right is only known to a vendor who is asked for something, and that may cost money.

use std::time::Duration;

use super::finding::Finding;
use crate::commands::adapter;
use crate::config::Config;

const AREA: &str = "vendors";
/// How long a vendor may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks and judges.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    // That the policy cannot be read has been told.
    let Ok((policy, _)) = adapter::policy(&config.adapter) else { return Vec::new() };
    let client = match reqwest::Client::builder().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(error) => {
            let advice = "look at this machine's certificates".to_owned();
            return vec![Finding::fail(AREA, error.to_string(), advice)];
        }
    };
    let mut findings = Vec::new();
    for (name, terms) in policy.vendors.iter().filter(|(_, terms)| !terms.base_url.is_empty()) {
        let answer = client.get(&terms.base_url).send().await;
        findings.push(match answer {
            Ok(_) => Finding::ok(AREA, format!("{name} answers")),
            Err(error) => {
                let found = format!("{name} does not answer: {}", error.without_url());
                let advice =
                    "correct its base_url, open the network to it, or ask the vendor".to_owned();
                Finding::fail(AREA, found, advice)
            }
        });
    }
    findings
}
