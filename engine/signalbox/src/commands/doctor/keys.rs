//! The keys of customers: whether the envelope keys that wrap them are configured, and whether one can be retired.

use super::finding::Finding;
use crate::commands::subject::{Envelope, Known, envelopes};
use crate::commands::wiring;
use crate::config::Config;

const AREA: &str = "keys";

/// Asks and judges. What keeps it from asking has been told of the configuration or of Postgres.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let (Ok(reader), Ok(Some(here))) = (wiring::reader(config), config.envelope_keys()) else {
        return Vec::new();
    };
    envelopes(&reader, Some(&here)).await.map(|found| judge(&found)).unwrap_or_default()
}

fn judge(envelopes: &[Envelope]) -> Vec<Finding> {
    let of = |known| envelopes.iter().filter(move |envelope| envelope.known == known);
    let mut findings: Vec<Finding> = of(Known::Not)
        .map(|Envelope { id, keys, .. }| {
            let found = format!("{keys} keys of customers are wrapped by the envelope key {id}, which is not configured");
            let advice = "name it in privacy.other_envelope_keys: what these keys sealed cannot be read without it";
            Finding::fail(AREA, found, advice.to_owned())
        })
        .collect();
    findings.extend(of(Known::Other).map(|Envelope { id, keys, .. }| {
        let found = format!("{keys} keys of customers are still wrapped by the envelope key {id}");
        let advice =
            "run `signalbox subject rewrap`, or keep that key: \"The envelope key\" in docs/privacy.md";
        Finding::warn(AREA, found, advice.to_owned())
    }));
    if findings.is_empty() {
        let keys: i64 = envelopes.iter().map(|envelope| envelope.keys).sum();
        let found = format!("{keys} keys of customers are wrapped by privacy.envelope_key");
        findings.push(Finding::ok(AREA, found));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use signalbox_schemas::EnvelopeId;

    #[test]
    fn keys_under_other_envelope_keys_are_counted_and_named_with_what_to_do() {
        let envelope = |byte, known, keys| Envelope { id: EnvelopeId([byte; 8]), known, keys };
        let current = envelope(1, Known::Current, 40);
        let other = envelope(2, Known::Other, 7);
        let lost = envelope(3, Known::Not, 1);
        for (envelopes, expected) in [
            (vec![], vec![(Level::Ok, "0 keys")]),
            (vec![current], vec![(Level::Ok, "40 keys")]),
            (vec![current, other], vec![(Level::Warn, "0202020202020202")]),
            (
                vec![current, other, lost],
                vec![(Level::Fail, "0303030303030303"), (Level::Warn, "7 keys")],
            ),
        ] {
            let found = judge(&envelopes);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, (level, word)) in found.iter().zip(&expected) {
                assert!(finding.level == *level && finding.to_string().contains(word), "{finding}");
            }
        }
    }
}
