//! Keys out of the store into the vault: those that sealed what must be read, and those with which a tick will seal.
//! What is sealed, and for whom, is decided elsewhere.

use signalbox_schemas::{KeyId, SubjectId};
use signalbox_store::{KeyRow, LaneStore, NewKey, StoreError};
use signalbox_vault::{ProviderError, Vault};
use std::collections::BTreeSet;

/// Keys that cannot be had now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyTrouble {
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As whoever keeps the envelope key says.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// Has the keys at hand that sealed these bytes. Bytes that were never sealed need none. A key that the store does not know
/// counts as destroyed: a database that was restored has forgotten it, and nobody can bring it back.
pub(crate) async fn to_open<S: LaneStore>(
    vault: &mut Vault,
    store: &mut S,
    sealed: impl Iterator<Item = &[u8]>,
) -> Result<(), KeyTrouble> {
    let needed = vault.needed(sealed);
    if needed.is_empty() {
        return Ok(());
    }
    let rows = store.keys(&needed).await?;
    let known: BTreeSet<KeyId> = rows.iter().map(|row| row.id).collect();
    let unknown = needed.into_iter().filter(|id| !known.contains(id)).map(|id| (id, None));
    let rows: Vec<_> = rows.into_iter().map(pair).chain(unknown).collect();
    Ok(vault.learn(rows).await?)
}

/// Has the current keys of subjects at hand; a subject that has none gets one.
pub(crate) async fn to_seal<S: LaneStore>(
    vault: &mut Vault,
    store: &mut S,
    subjects: &BTreeSet<SubjectId>,
) -> Result<(), KeyTrouble> {
    let missing = vault.without_key(subjects);
    if missing.is_empty() {
        return Ok(());
    }
    let new = |candidate: signalbox_vault::Candidate| NewKey {
        subject: candidate.subject,
        wrapped: candidate.wrapped,
    };
    let wanted: Vec<NewKey> = vault.candidates(&missing).await?.into_iter().map(new).collect();
    let rows = store.ensure_keys(&wanted).await?;
    Ok(vault.learn(rows.into_iter().map(pair).collect()).await?)
}

fn pair(row: KeyRow) -> (KeyId, Option<Vec<u8>>) {
    (row.id, row.wrapped)
}
