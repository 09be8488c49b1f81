//! A journey is proven once by a program, under the rules of its bank: what was proven is kept in the database, so that
//! an engine that starts again, or beside others, does not explore it again. Another program, text or rule is another proof.

use sha2::{Digest, Sha256};
use signalbox_flow::Journey;
use signalbox_store::Reader;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::load;
use crate::commands::wiring;
use crate::error::CliError;

/// Bytes of the program that are read at once.
const CHUNK: usize = 1 << 16;

/// Refuses a journey that the checker does not pass, with its findings.
pub(super) async fn prove(file: &Path, journey: &Journey, reader: &Reader) -> Result<(), CliError> {
    let digest = digest(journey, load::rules_beside(file)?.as_deref());
    if let Some(digest) = &digest
        && reader.is_proven(digest).await?
    {
        return Ok(());
    }
    load::refuse_unsafe(file, &signalbox_flow::check(journey, wiring::contract()?))?;
    if let Some(digest) = &digest {
        reader.keep_proof(journey.name().as_str(), journey.version(), digest).await?;
    }
    Ok(())
}

/// All that a proof rests on: this very program, which holds the checker and the contract, the journey with its
/// parameters, and the rules of the bank. None where the program cannot read itself: then it proves each time.
fn digest(journey: &Journey, rules: Option<&str>) -> Option<[u8; 32]> {
    let texts = [journey.source(), rules.unwrap_or_default()];
    let [journey, rules] = texts.map(|text| Sha256::digest(text.as_bytes()));
    let program = File::open(std::env::current_exe().ok()?).and_then(digest_of).ok()?;
    Some(Sha256::digest([program, journey.into(), rules.into()].concat()).into())
}

fn digest_of(mut file: File) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut bytes = vec![0; CHUNK];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(bytes.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_proof_holds_for_the_same_journey_under_the_same_rules_alone() {
        let text = include_str!("../../../../../journeys/onboarding.yaml");
        let contract = wiring::contract().unwrap();
        let journey = |text| Journey::parse(text, contract, &BTreeMap::new()).unwrap();
        let (plain, other) = (journey(text), journey(&format!("{text}\n# another text\n")));
        let proof = digest(&plain, Some("rules: []")).unwrap();
        assert_eq!(digest(&plain, Some("rules: []")), Some(proof));
        assert_ne!(digest(&plain, Some("rules: [other]")), Some(proof));
        assert_ne!(digest(&plain, None), Some(proof));
        assert_ne!(digest(&other, Some("rules: []")), Some(proof));
    }
}
