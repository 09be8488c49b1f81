//! Wrapping data keys anew under the envelope key that wraps now, so that another one can be retired. Whoever uses it
//! brings the keys and puts them back; no key is given out that would not open to what it was.

use signalbox_schemas::SubjectId;

use crate::envelope::{KeyProvider, PlainKey, ProviderError};

/// Wraps keys anew, in the order given. What it returns was opened again and is the same keys.
///
/// # Errors
/// As the provider; `NotTheSame` where one does not come out as it went in: then none of them may be replaced.
pub async fn rewrap(
    provider: &dyn KeyProvider,
    wrapped: &[(SubjectId, Vec<u8>)],
) -> Result<Vec<Vec<u8>>, ProviderError> {
    let subjects = || wrapped.iter().map(|(subject, _)| *subject);
    let plain = provider.unwrap(wrapped).await?;
    let keys: Vec<(SubjectId, PlainKey)> = subjects().zip(plain).collect();
    let anew = provider.wrap(&keys).await?;
    let anew: Vec<(SubjectId, Vec<u8>)> = subjects().zip(anew).collect();
    let again = provider.unwrap(&anew).await?;
    for (index, subject) in subjects().enumerate() {
        let before = keys.get(index).map(|(_, key)| key.bytes());
        let after = again.get(index).map(PlainKey::bytes);
        if before.is_none() || before != after {
            return Err(ProviderError::NotTheSame(subject));
        }
    }
    Ok(anew.into_iter().map(|(_, wrapped)| wrapped).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::{EnvelopeKeys, Waiting, envelope_of};

    /// The old key alone, the new one with the old beside it, and the new one alone.
    fn changing() -> [EnvelopeKeys; 3] {
        let [old, new] = [EnvelopeKeys::generate().unwrap(), EnvelopeKeys::generate().unwrap()];
        let variable = |name: &str| Some(if name == "OLD" { old.clone() } else { new.clone() });
        let open = |current: &str, others: &[String]| {
            EnvelopeKeys::open(current, others, variable).unwrap()
        };
        [open("env:OLD", &[]), open("env:NEW", &["env:OLD".to_owned()]), open("env:NEW", &[])]
    }

    fn keys(count: u8) -> Vec<(SubjectId, PlainKey)> {
        let key = |byte| (SubjectId::from_bytes([byte; 16]), PlainKey::new([byte; 32]));
        (1..=count).map(key).collect()
    }

    async fn wrapped_by(provider: &EnvelopeKeys, count: u8) -> Vec<(SubjectId, Vec<u8>)> {
        let keys = keys(count);
        let wrapped = provider.wrap(&keys).await.unwrap();
        keys.iter().map(|(subject, _)| *subject).zip(wrapped).collect()
    }

    #[tokio::test]
    async fn keys_wrapped_anew_open_without_the_old_envelope_key_and_are_the_same() {
        let [old, both, new] = changing();
        let before = wrapped_by(&old, 3).await;
        let after = rewrap(&both, &before).await.unwrap();
        assert!(after.iter().all(|wrapped| envelope_of(wrapped) == Some(new.current())));
        let after: Vec<_> = before.iter().map(|(subject, _)| *subject).zip(after).collect();
        let opened = new.unwrap(&after).await.unwrap();
        for ((_, key), opened) in keys(3).iter().zip(opened) {
            assert_eq!(key.bytes(), opened.bytes());
        }
        // Doing it again changes the wrapping and nothing else.
        assert!(rewrap(&both, &after).await.is_ok());
        let refused = rewrap(&new, &before).await.err();
        assert!(matches!(refused, Some(ProviderError::OtherKey(_, id)) if id == old.current()));
    }

    /// Wraps all but the last key, or the key of somebody else.
    struct Careless {
        keys: EnvelopeKeys,
        forgets: bool,
    }

    impl KeyProvider for Careless {
        fn wrap<'a>(&'a self, keys: &'a [(SubjectId, PlainKey)]) -> Waiting<'a, Vec<Vec<u8>>> {
            Box::pin(async {
                if self.forgets {
                    let (_, rest) = keys.split_last().unwrap();
                    return self.keys.wrap(rest).await;
                }
                let other =
                    |(subject, _): &(SubjectId, PlainKey)| (*subject, PlainKey::new([9; 32]));
                let others: Vec<_> = keys.iter().map(other).collect();
                self.keys.wrap(&others).await
            })
        }

        fn unwrap<'a>(&'a self, wrapped: &'a [(SubjectId, Vec<u8>)]) -> Waiting<'a, Vec<PlainKey>> {
            self.keys.unwrap(wrapped)
        }
    }

    #[tokio::test]
    async fn a_key_that_would_be_lost_stops_everything() {
        for (forgets, lost) in [(true, 3), (false, 1)] {
            let [old, both, _] = changing();
            let before = wrapped_by(&old, 3).await;
            let refused = rewrap(&Careless { keys: both, forgets }, &before).await.err();
            let lost = SubjectId::from_bytes([lost; 16]);
            assert_eq!(refused, Some(ProviderError::NotTheSame(lost)));
        }
    }
}
