//! The envelope key, behind a trait: data keys are stored wrapped by it. Here it comes from a file or a variable; a
//! service that keeps it and never shows it (Vault transit, a KMS) is another implementation, which is why both calls
//! take many keys and may wait. It never writes a key anywhere.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use sha2::{Digest, Sha256};
use signalbox_schemas::{EnvelopeId, SubjectId};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

const KEY_BYTES: usize = 32;
/// Version of wrapped keys: `[1][id of the envelope key 8][nonce 12][ciphertext and tag]`.
const VERSION: u8 = 1;

/// An answer that may take a while.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// Who keeps the envelope key. Every wrapped key begins as `VERSION` says, whoever wrapped it, so that anybody can tell
/// which envelope key it needs.
pub trait KeyProvider: Send + Sync {
    /// Wraps data keys, each for its subject: unwrapped for another it is refused. In the order given.
    fn wrap<'a>(&'a self, keys: &'a [(SubjectId, PlainKey)]) -> Waiting<'a, Vec<Vec<u8>>>;
    /// Unwraps data keys. In the order given.
    fn unwrap<'a>(&'a self, wrapped: &'a [(SubjectId, Vec<u8>)]) -> Waiting<'a, Vec<PlainKey>>;
}

/// What a provider cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// An envelope key wrapped it that is not here.
    #[error(
        "the key of subject {0} is wrapped by the envelope key {1}, which is not configured; add that key to privacy.other_envelope_keys"
    )]
    OtherKey(SubjectId, EnvelopeId),
    /// It was changed, or belongs to another subject.
    #[error("the wrapped key of subject {0} was changed")]
    Forged(SubjectId),
    /// Wrapped anew, it opens to something else or not at all; what it was wrapped as before must be kept.
    #[error("the key of subject {0} does not come out of a new wrapping as it went in")]
    NotTheSame(SubjectId),
    /// The provider does not answer: try again.
    #[error("the envelope key is out of reach: {0}")]
    Away(String),
}

/// Why there is no envelope key.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// It says neither `file:` nor `env:`.
    #[error("an envelope key is named as file:PATH or env:VARIABLE")]
    Source,
    /// The file cannot be read.
    #[error("{}: {source}; make a key with `signalbox subject keygen {}`", path.display(), path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The variable is not there.
    #[error(
        "the variable {0} is not set; put a key into it, as `signalbox subject keygen FILE` makes one"
    )]
    Variable(String),
    /// It is not a key.
    #[error(
        "{0} holds no key: 64 hexadecimal digits are expected, as `signalbox subject keygen FILE` writes them"
    )]
    NoKey(String),
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random,
}

/// The bytes of a key. They cannot be printed.
pub struct PlainKey([u8; KEY_BYTES]);

impl PlainKey {
    /// Takes the bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Draws a key.
    ///
    /// # Errors
    /// `Away` where the system has no random numbers.
    pub fn draw() -> Result<Self, ProviderError> {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| ProviderError::Away("no random numbers".to_owned()))?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// One envelope key.
struct EnvelopeKey {
    id: EnvelopeId,
    key: LessSafeKey,
}

/// Envelope keys in this process: one wraps, all unwrap. They cannot be printed.
pub struct EnvelopeKeys {
    current: EnvelopeKey,
    others: Vec<EnvelopeKey>,
}

impl EnvelopeKeys {
    /// Reads keys from where they are: `file:PATH` or `env:VARIABLE`. `variable` looks a variable up.
    ///
    /// # Errors
    /// Whatever must be corrected in the configuration or beside it.
    pub fn open(
        current: &str,
        others: &[String],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, KeySourceError> {
        let read = |source: &str| -> Result<EnvelopeKey, KeySourceError> {
            EnvelopeKey::parse(source, &secret(source, &variable)?)
        };
        let current = read(current)?;
        let others = others.iter().map(|source| read(source)).collect::<Result<_, _>>()?;
        Ok(Self { current, others })
    }

    /// A key out of its text.
    ///
    /// # Errors
    /// `NoKey`.
    pub fn of_text(text: &str) -> Result<Self, KeySourceError> {
        Ok(Self { current: EnvelopeKey::parse("the text", text)?, others: Vec::new() })
    }

    /// The text of a new key.
    ///
    /// # Errors
    /// `Random`.
    pub fn generate() -> Result<String, KeySourceError> {
        let key = PlainKey::draw().map_err(|_| KeySourceError::Random)?;
        Ok(hex::encode(key.bytes()))
    }

    /// The one that wraps.
    pub fn current(&self) -> EnvelopeId {
        self.current.id
    }

    /// Whether what this one wrapped can be unwrapped.
    pub fn opens(&self, id: EnvelopeId) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: EnvelopeId) -> Option<&EnvelopeKey> {
        std::iter::once(&self.current).chain(&self.others).find(|key| key.id == id)
    }

    fn wrap_one(&self, subject: SubjectId, plain: &PlainKey) -> Result<Vec<u8>, ProviderError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| ProviderError::Away("no random numbers".to_owned()))?;
        let mut text = plain.bytes().to_vec();
        self.current
            .key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                authenticated(subject),
                &mut text,
            )
            .map_err(|_| ProviderError::Away("the key cannot be used".to_owned()))?;
        let mut wrapped = vec![VERSION];
        wrapped.extend_from_slice(&self.current.id.0);
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&text);
        Ok(wrapped)
    }

    fn unwrap_one(&self, subject: SubjectId, wrapped: &[u8]) -> Result<PlainKey, ProviderError> {
        let forged = || ProviderError::Forged(subject);
        let (id, rest) = parts(wrapped).ok_or_else(forged)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(forged)?;
        let key = self.find(id).ok_or(ProviderError::OtherKey(subject, id))?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .key
            .open_in_place(nonce, authenticated(subject), &mut text)
            .map_err(|_| forged())?;
        let bytes: [u8; KEY_BYTES] = (&*plain).try_into().map_err(|_| forged())?;
        Ok(PlainKey(bytes))
    }
}

impl EnvelopeKey {
    fn parse(source: &str, text: &str) -> Result<Self, KeySourceError> {
        let no_key = || KeySourceError::NoKey(source.to_owned());
        let bytes = hex::decode(text.trim()).map_err(|_| no_key())?;
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).map_err(|_| no_key())?;
        let mut digest = Sha256::new();
        digest.update(b"signalbox envelope key");
        digest.update(&bytes);
        let mut id = [0; 8];
        id.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
        Ok(Self { id: EnvelopeId(id), key: LessSafeKey::new(key) })
    }
}

impl KeyProvider for EnvelopeKeys {
    fn wrap<'a>(&'a self, keys: &'a [(SubjectId, PlainKey)]) -> Waiting<'a, Vec<Vec<u8>>> {
        Box::pin(async { keys.iter().map(|(subject, key)| self.wrap_one(*subject, key)).collect() })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a [(SubjectId, Vec<u8>)]) -> Waiting<'a, Vec<PlainKey>> {
        Box::pin(async {
            wrapped.iter().map(|(subject, key)| self.unwrap_one(*subject, key)).collect()
        })
    }
}

/// Which envelope key wrapped a data key; none where the bytes are no wrapped key.
pub fn envelope_of(wrapped: &[u8]) -> Option<EnvelopeId> {
    parts(wrapped).map(|(id, _)| id)
}

fn parts(wrapped: &[u8]) -> Option<(EnvelopeId, &[u8])> {
    let (version, rest) = wrapped.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    (*version == VERSION).then_some((EnvelopeId(*id), rest))
}

fn secret(
    source: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, KeySourceError> {
    if let Some(path) = source.strip_prefix("file:") {
        let path = PathBuf::from(path);
        return std::fs::read_to_string(&path)
            .map_err(|source| KeySourceError::File { path, source });
    }
    let name = source.strip_prefix("env:").ok_or(KeySourceError::Source)?;
    variable(name).ok_or_else(|| KeySourceError::Variable(name.to_owned()))
}

fn authenticated(subject: SubjectId) -> Aad<Vec<u8>> {
    let mut bytes = b"signalbox/data key\0".to_vec();
    bytes.extend_from_slice(subject.0.as_bytes());
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn subject(byte: u8) -> SubjectId {
        SubjectId::from_bytes([byte; 16])
    }

    fn keys() -> (String, EnvelopeKeys) {
        let text = EnvelopeKeys::generate().unwrap();
        let keys = EnvelopeKeys::of_text(&text).unwrap();
        (text, keys)
    }

    #[test]
    fn a_wrapped_key_opens_for_its_subject_alone_and_unchanged() {
        let (_, keys) = keys();
        let wrapped = keys.wrap_one(subject(1), &PlainKey::new([5; 32])).unwrap();
        assert_eq!(keys.unwrap_one(subject(1), &wrapped).unwrap().bytes(), &[5; 32]);
        assert_eq!(
            keys.unwrap_one(subject(2), &wrapped).err(),
            Some(ProviderError::Forged(subject(2)))
        );
        for place in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            *changed.get_mut(place).unwrap() ^= 1;
            assert!(keys.unwrap_one(subject(1), &changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn another_envelope_key_is_named_as_the_cause_and_one_that_is_kept_still_opens() {
        let (old_text, old) = keys();
        let (new_text, new) = keys();
        let wrapped = old.wrap_one(subject(1), &PlainKey::new([5; 32])).unwrap();
        assert_eq!(
            new.unwrap_one(subject(1), &wrapped).err(),
            Some(ProviderError::OtherKey(subject(1), old.current()))
        );
        assert_eq!(envelope_of(&wrapped), Some(old.current()));
        let variable = |name: &str| match name {
            "NEW" => Some(new_text.clone()),
            "OLD" => Some(old_text.clone()),
            _ => None,
        };
        let both = EnvelopeKeys::open("env:NEW", &["env:OLD".to_owned()], variable).unwrap();
        assert!(both.unwrap_one(subject(1), &wrapped).is_ok());
        assert!(both.opens(old.current()) && !new.opens(old.current()));
        let rewrapped = both.wrap_one(subject(1), &PlainKey::new([5; 32])).unwrap();
        assert!(new.unwrap_one(subject(1), &rewrapped).is_ok(), "the new one wraps");
    }

    #[test]
    fn a_key_comes_from_a_file_or_a_variable_and_its_absence_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("envelope.key");
        let source = format!("file:{}", file.display());
        let none = |_: &str| None;
        let absent = EnvelopeKeys::open(&source, &[], none).err().unwrap().to_string();
        assert!(absent.contains("signalbox subject keygen"), "{absent}");
        std::fs::write(&file, EnvelopeKeys::generate().unwrap() + "\n").unwrap();
        assert!(EnvelopeKeys::open(&source, &[], none).is_ok());
        std::fs::write(&file, "hush").unwrap();
        let wrong = EnvelopeKeys::open(&source, &[], none).err().unwrap().to_string();
        assert!(wrong.contains("64 hexadecimal") && !wrong.contains("hush"), "{wrong}");
        assert!(matches!(
            EnvelopeKeys::open("env:NO", &[], none),
            Err(KeySourceError::Variable(_))
        ));
        assert!(matches!(EnvelopeKeys::open("hush", &[], none), Err(KeySourceError::Source)));
    }
}
