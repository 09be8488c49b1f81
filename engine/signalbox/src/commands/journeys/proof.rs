//! A journey is proven once by a program, under the rules of its bank: what was proven is kept in the database, so that
//! an engine that starts again, or beside others, does not explore it again. So is a migration that was tried. Another
//! program, text or rule is another proof.

use sha2::{Digest, Sha256};
use signalbox_flow::{Journey, Migration, PlanFindings};
use signalbox_store::Reader;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::LazyLock;

use super::load;
use crate::commands::wiring;
use crate::error::CliError;

/// Bytes of the program that are read at once.
const CHUNK: usize = 1 << 16;

/// The digest of this very program. None where it cannot read itself.
static PROGRAM: LazyLock<Option<[u8; 32]>> =
    LazyLock::new(|| File::open(std::env::current_exe().ok()?).and_then(digest_of).ok());

/// Refuses a journey that the checker does not pass, with its findings.
pub(super) async fn prove(file: &Path, journey: &Journey, reader: &Reader) -> Result<(), CliError> {
    let digest = digest("", &[journey]);
    if is_kept(digest, reader).await? {
        return Ok(());
    }
    load::refuse_unsafe(file, &signalbox_flow::check(journey, wiring::contract()?))?;
    keep(journey, digest, reader).await
}

/// Refuses a migration that the checker does not pass, with its findings. What was tried with a dry run is not explored
/// again when it is begun.
pub(super) async fn prove_migration(
    file: &Path,
    text: &str,
    migration: &Migration,
    reader: &Reader,
) -> Result<(), CliError> {
    if is_kept(of_migration(text, migration), reader).await? {
        return Ok(());
    }
    explore_migration(file, text, migration, reader).await.map(drop)
}

/// As `prove_migration`, explored in any case; which situations would stay as they are.
pub(super) async fn explore_migration(
    file: &Path,
    text: &str,
    migration: &Migration,
    reader: &Reader,
) -> Result<PlanFindings, CliError> {
    let found = signalbox_flow::check_migration(migration);
    load::refuse_unsafe(file, &found.findings)?;
    keep(migration.to(), of_migration(text, migration), reader).await?;
    Ok(found)
}

fn of_migration(text: &str, migration: &Migration) -> Option<[u8; 32]> {
    digest(text, &[migration.from(), migration.to()])
}

async fn is_kept(digest: Option<[u8; 32]>, reader: &Reader) -> Result<bool, CliError> {
    match digest {
        Some(digest) => Ok(reader.is_proven(&digest).await?),
        None => Ok(false),
    }
}

async fn keep(
    journey: &Journey,
    digest: Option<[u8; 32]>,
    reader: &Reader,
) -> Result<(), CliError> {
    if let Some(digest) = digest {
        reader.keep_proof(journey.name().as_str(), journey.version(), &digest).await?;
    }
    Ok(())
}

/// All that a proof rests on: this very program, which holds the checker and the contract, the plan of a migration, the
/// journeys with their parameters, and the rules of the bank that they are under. None where the program cannot read
/// itself: then it proves each time.
fn digest(plan: &str, journeys: &[&Journey]) -> Option<[u8; 32]> {
    let mut all = Sha256::new();
    all.update((*PROGRAM)?);
    all.update(Sha256::digest(plan));
    for journey in journeys {
        all.update(Sha256::digest(journey.source()));
        journey.bank_sentences().for_each(|sentence| all.update(Sha256::digest(sentence)));
    }
    Some(all.finalize().into())
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
    use signalbox_flow::BankInvariants;
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_proof_holds_for_the_same_journey_under_the_same_rules_alone() {
        let text = include_str!("../../../../../journeys/onboarding.yaml");
        let other_text = format!("{text}\n# another text\n");
        let contract = wiring::contract().unwrap();
        let under = |text: &str, sentences: &str| {
            let journey = Journey::parse(text, contract, &BTreeMap::new()).unwrap();
            let rules = format!("invariants: [{sentences}]");
            let journey = journey.under(&BankInvariants::parse(&rules, contract).unwrap());
            digest("", &[&journey])
        };
        let (rule, other_rule) =
            ("never two kyc.check in flight", "no end while kyc.check is in_doubt");
        let proof = under(text, rule).unwrap();
        assert_eq!(under(text, rule), Some(proof));
        assert_ne!(under(text, other_rule), Some(proof));
        assert_ne!(under(text, ""), Some(proof));
        assert_ne!(under(&other_text, rule), Some(proof));
    }
}
