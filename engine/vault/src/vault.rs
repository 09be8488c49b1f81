//! Keys in use: fetched, made and unwrapped once, then kept for a while; and the ring of keys with which a tick seals.
//! Whoever uses it brings rows of the key table and takes candidates there; it does not reach for them itself.

use lru::LruCache;
use signalbox_schemas::{KeyId, SubjectId};
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::envelope::{KeyProvider, PlainKey, ProviderError};
use crate::sealed::{DataKey, OpenError, Place, key_of};

/// A fresh key, wrapped, to be stored for a subject that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Whose.
    pub subject: SubjectId,
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
}

/// What is known of a key.
enum Held {
    Key(Arc<DataKey>),
    Destroyed,
}

/// Keys in use.
pub struct Vault {
    provider: Arc<dyn KeyProvider>,
    keys: LruCache<KeyId, Held>,
    /// The key with which a subject's data is sealed now.
    current: LruCache<SubjectId, KeyId>,
}

/// Keys to seal with: what a decision without I/O needs.
#[derive(Default)]
pub struct KeyRing {
    keys: HashMap<SubjectId, Arc<DataKey>>,
}

impl KeyRing {
    /// Seals bytes of a subject for their place, and says under which key. None where the ring lacks the subject's key.
    pub fn seal(&self, subject: SubjectId, place: Place, plain: &[u8]) -> Option<(KeyId, Vec<u8>)> {
        let key = self.keys.get(&subject)?;
        Some((key.id(), key.seal(place, plain)))
    }
}

impl Vault {
    /// A vault that keeps up to so many keys at hand.
    pub fn new(provider: Arc<dyn KeyProvider>, keys_max: usize) -> Self {
        let keys_max = NonZeroUsize::new(keys_max).unwrap_or(NonZeroUsize::MIN);
        Self { provider, keys: LruCache::new(keys_max), current: LruCache::new(keys_max) }
    }

    /// Those of the subjects whose current key is not at hand, in order.
    pub fn without_key(&mut self, subjects: &BTreeSet<SubjectId>) -> Vec<SubjectId> {
        let mut at_hand = |subject: &SubjectId| {
            let id = self.current.get(subject).copied();
            id.is_some_and(|id| matches!(self.keys.get(&id), Some(Held::Key(_))))
        };
        subjects.iter().copied().filter(|subject| !at_hand(subject)).collect()
    }

    /// Draws and wraps a key for each subject, in the order given.
    ///
    /// # Errors
    /// As the provider.
    pub async fn candidates(
        &self,
        subjects: &[SubjectId],
    ) -> Result<Vec<Candidate>, ProviderError> {
        let keys: Vec<(SubjectId, PlainKey)> = subjects
            .iter()
            .map(|subject| Ok((*subject, PlainKey::draw()?)))
            .collect::<Result<_, ProviderError>>()?;
        let wrapped = self.provider.wrap(&keys).await?;
        let candidate = |(subject, wrapped)| Candidate { subject, wrapped };
        Ok(subjects.iter().copied().zip(wrapped).map(candidate).collect())
    }

    /// Takes keys from the key table; none where a key was destroyed. A key that is not destroyed is its subject's
    /// current one.
    ///
    /// # Errors
    /// As the provider.
    pub async fn learn(
        &mut self,
        rows: Vec<(KeyId, Option<Vec<u8>>)>,
    ) -> Result<(), ProviderError> {
        let mut ids = Vec::new();
        let mut wrapped = Vec::new();
        for (id, key) in rows {
            match key {
                Some(key) => {
                    ids.push(id);
                    wrapped.push((id.subject, key));
                }
                None => {
                    self.keys.put(id, Held::Destroyed);
                }
            }
        }
        let plain = self.provider.unwrap(&wrapped).await?;
        for (id, plain) in ids.into_iter().zip(plain) {
            self.keys.put(id, Held::Key(Arc::new(DataKey::new(id, &plain))));
            self.current.put(id.subject, id);
        }
        Ok(())
    }

    /// The current keys of subjects, as far as they are at hand.
    pub fn ring(&mut self, subjects: &BTreeSet<SubjectId>) -> KeyRing {
        let mut ring = KeyRing::default();
        for subject in subjects {
            let Some(id) = self.current.get(subject) else { continue };
            if let Some(Held::Key(key)) = self.keys.get(id) {
                ring.keys.insert(*subject, Arc::clone(key));
            }
        }
        ring
    }

    /// Keys that are needed to open sealed bytes and are not at hand, in order, each once.
    pub fn needed<'a>(&mut self, sealed: impl Iterator<Item = &'a [u8]>) -> Vec<KeyId> {
        let ids: BTreeSet<KeyId> = sealed.filter_map(|bytes| key_of(bytes).ok()).collect();
        ids.into_iter().filter(|id| self.keys.get(id).is_none()).collect()
    }

    /// Opens sealed bytes with a key that is at hand.
    ///
    /// # Errors
    /// See `OpenError`; `NoKey` also where the key was not learnt before.
    pub fn open(&mut self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let id = key_of(sealed)?;
        match self.keys.get(&id) {
            Some(Held::Key(key)) => key.open(place, sealed),
            Some(Held::Destroyed) => Err(OpenError::Erased(id)),
            None => Err(OpenError::NoKey(id)),
        }
    }

    /// Forgets what is at hand of subjects.
    pub fn forget(&mut self, subjects: &[SubjectId]) {
        for subject in subjects {
            if let Some(id) = self.current.pop(subject) {
                self.keys.pop(&id);
            }
        }
    }

    /// Forgets everything at hand, so that no destroyed key stays in memory for long.
    pub fn forget_all(&mut self) {
        self.keys.clear();
        self.current.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::EnvelopeKeys;
    use signalbox_schemas::LaneId;

    const AT: Place = Place::Journal { lane: LaneId(0), seq: 1 };

    fn vault() -> Vault {
        let keys = EnvelopeKeys::of_text(&EnvelopeKeys::generate().unwrap()).unwrap();
        Vault::new(Arc::new(keys), 10)
    }

    #[tokio::test]
    async fn a_subject_s_bytes_are_read_until_the_key_is_destroyed() {
        let mut vault = vault();
        let subject = SubjectId::from_bytes([1; 16]);
        let wanted = BTreeSet::from([subject]);
        assert_eq!(vault.without_key(&wanted), [subject]);
        let candidate = vault.candidates(&[subject]).await.unwrap().remove(0);
        let first = KeyId { subject, generation: 1 };
        vault.learn(vec![(first, Some(candidate.wrapped.clone()))]).await.unwrap();
        assert!(vault.without_key(&wanted).is_empty());
        let (id, sealed) = vault.ring(&wanted).seal(subject, AT, b"Ada").unwrap();
        assert_eq!((id, vault.open(AT, &sealed)), (first, Ok(b"Ada".to_vec())));

        vault.forget_all();
        assert_eq!(vault.open(AT, &sealed), Err(OpenError::NoKey(first)));
        assert_eq!(vault.needed(std::iter::once(sealed.as_slice())), [first]);
        vault.learn(vec![(first, None)]).await.unwrap();
        assert_eq!(vault.open(AT, &sealed), Err(OpenError::Erased(first)));
        assert!(
            vault.ring(&wanted).seal(subject, AT, b"Ada").is_none(),
            "a destroyed key seals nothing"
        );

        let second = KeyId { subject, generation: 2 };
        let fresh = vault.candidates(&[subject]).await.unwrap().remove(0);
        vault.learn(vec![(second, Some(fresh.wrapped))]).await.unwrap();
        let (id, again) = vault.ring(&wanted).seal(subject, AT, b"Ada").unwrap();
        assert_eq!((id, vault.open(AT, &again)), (second, Ok(b"Ada".to_vec())));
        assert_eq!(
            vault.open(AT, &sealed),
            Err(OpenError::Erased(first)),
            "the old bytes stay unreadable"
        );
    }
}
